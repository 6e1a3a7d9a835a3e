/* SPDX-License-Identifier: Apache-2.0
 *
 * The mock op: stands in for tasks, so that plan, schedule and engine are tested
 * without any process. What happens is said by the words of run (or the items of argv):
 *
 *   fail          the step fails with exit code 1
 *   NAME=NUMBER   it reports a metric
 */
#include "config.h"
#include "plan/builtin.h"

#include <string.h>
#include "base/mem.h"
#include "plan/graph.h"

static int lower(struct plan_lowering *l, const char *name,
                 const struct recipe_node *body, struct rwf_err *err)
{
    return plan_lower_one(l, name, body, err);
}

static json_t *outputs(const struct recipe_node *body)
{
    return plan_task_op.outputs(body);
}

static json_t *spec(const struct plan_graph *g, const struct plan_step *step,
                    struct rwf_err *err)
{
    const struct recipe_node *run = recipe_get(step->body, "run");
    const struct recipe_node *node = run ? run : recipe_get(step->body, "argv");
    json_t *words = node ? plan_resolve(g, step, node, err) : json_array();

    return words ? json_pack("{so}", "words", words) : NULL;
}

static void take_word(const char *word, size_t len, struct op_outcome *ret)
{
    const char *eq = memchr(word, '=', len);
    char name[64], value[64];
    double number;

    if (len == 4 && memcmp(word, "fail", 4) == 0) {
        ret->ok = false;
        ret->exit_code = RWF_E_FAILED - RWF_E_BASE;
    }
    if (!eq || (size_t)(eq - word) >= sizeof(name) ||
        len - (size_t)(eq - word) > sizeof(value))
        return;
    memcpy(name, word, (size_t)(eq - word));
    name[eq - word] = '\0';
    memcpy(value, eq + 1, len - (size_t)(eq - word) - 1);
    value[len - (size_t)(eq - word) - 1] = '\0';
    if (recipe_looks_number(value, &number))
        json_object_set_new(ret->metrics, name, json_real(number));
}

static void take_text(const char *text, struct op_outcome *ret)
{
    while (text && *text) {
        size_t len = strcspn(text, " \n");
        take_word(text, len, ret);
        text += len + strspn(text + len, " \n");
    }
}

static int decide(const json_t *spec, struct op_outcome *ret, struct rwf_err *err)
{
    const json_t *words = json_object_get(spec, "words"), *word;
    size_t i;

    (void)err;
    *ret = (struct op_outcome){.ok = true, .metrics = json_object()};
    take_text(json_string_value(words), ret);
    json_array_foreach((json_t *)words, i, word)
        take_text(json_string_value(word), ret);
    ret->message = rwf_xstrdup(ret->ok ? "done" : "told to fail");
    return 0;
}

const struct op plan_mock_op = {
    .name = "mock",
    .section = "tasks",
    .summary = "pretends: for tests",
    .version = 1,
    .lower = lower,
    .outputs = outputs,
    .spec = spec,
    .decide = decide,
};
