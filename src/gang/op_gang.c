/* SPDX-License-Identifier: Apache-2.0
 *
 * tasks with `gang`: the program of the task as several ranks. Its spec is that of a
 * task (plan/op_task.c; the command stands in gang) with
 *
 *   {…,"gang":{"ranks":N|{"min":N,"max":N},"per_node":K?,
 *    and in PLAN_RUN mode, because it does not decide the result: "heartbeat" (ns)}}
 */
#include "config.h"
#include "gang/op_gang.h"

#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "gang/program.h"
#include "plan/builtin.h"
#include "plan/graph.h"

#define HEARTBEAT (30 * RWF_NS_PER_S)

static bool serves(const struct recipe_node *body)
{
    return recipe_get(body, "gang") != NULL;
}

/* --- what the schema cannot say --- */

/* A whole number that stands there as such; 0: something else does, or nothing. */
static int64_t number_at(const struct recipe_node *body, const char *path)
{
    int64_t value = 0;

    return recipe_looks_int(recipe_text(recipe_at(body, path), ""), &value) ? value : 0;
}

static void check_multiple(const struct recipe_node *body, const char *path,
                           struct recipe_diags *diags)
{
    int64_t ranks = number_at(body, path), each = number_at(body, "gang.per_node");

    if (ranks <= 0 || each <= 0 || ranks % each == 0)
        return;
    struct recipe_diag *d =
        recipe_diag_add(diags, RECIPE_E0313, recipe_at(body, path)->span,
                        "%lld ranks are no whole number of nodes with %lld ranks each",
                        (long long)ranks, (long long)each);
    recipe_diag_hint(d, "ranks: %lld, or %lld",
                     (long long)(ranks < each ? each : ranks - ranks % each),
                     (long long)(ranks - ranks % each + each));
}

static void validate(const struct recipe *r, const char *name,
                     const struct recipe_node *body, struct recipe_diags *diags)
{
    static const char *const paths[] = {"gang.ranks", "gang.ranks.min",
                                        "gang.ranks.max"};
    const struct recipe_node *twice = recipe_at(body, "resources.ranks");

    plan_task_validate(r, name, body, diags);
    for (size_t i = 0; i < RWF_COUNT(paths); i++)
        check_multiple(body, paths[i], diags);
    if (number_at(body, "gang.ranks.max") > 0 &&
        number_at(body, "gang.ranks.min") > number_at(body, "gang.ranks.max"))
        recipe_diag_add(diags, RECIPE_E0313, recipe_at(body, "gang.ranks.min")->span,
                        "at least %lld ranks are more than at most %lld",
                        (long long)number_at(body, "gang.ranks.min"),
                        (long long)number_at(body, "gang.ranks.max"));
    if (twice != NULL && !twice->null)
        recipe_diag_hint(recipe_diag_add(diags, RECIPE_E0313, twice->span,
                                         "tasks.%s says twice how many ranks it has",
                                         name),
                         "gang.ranks is the one that counts: remove this one");
}

/* --- the spec --- */

/* One value of gang. */
static int add(const struct plan_graph *g, const struct plan_step *step, json_t *gang,
               const char *key, struct rwf_err *err)
{
    const struct recipe_node *node = recipe_get(recipe_get(step->body, "gang"), key);
    json_t *value =
        node == NULL || node->null ? NULL : plan_resolve(g, step, node, err);

    if (node == NULL || node->null)
        return 0;
    return value == NULL ? -1 : json_object_set_new(gang, key, value);
}

static json_t *make_spec(const struct plan_graph *g, const struct plan_step *step,
                         struct rwf_err *err)
{
    json_t *spec = plan_task_spec(g, step, err), *gang = json_object();
    bool runs = plan_graph_mode(g) == PLAN_RUN;

    if (spec == NULL || add(g, step, gang, "ranks", err) != 0 ||
        add(g, step, gang, "per_node", err) != 0 ||
        (runs && add(g, step, gang, "heartbeat", err) != 0)) {
        json_decref(gang);
        json_decref(spec);
        return NULL;
    }
    json_object_set_new(spec, "gang", gang);
    if (recipe_at(step->body, "gang.command") != NULL)
        gang_program_find_files(g, step, json_object_get(spec, "argv"));
    return spec;
}

static char *describe(const struct plan_step *step, const json_t *spec)
{
    const json_t *gang = json_object_get(spec, "gang");
    const json_t *ranks = json_object_get(gang, "ranks");
    const json_t *each = json_object_get(gang, "per_node");
    const json_t *least = json_object_get(ranks, "min");
    struct rwf_str out = {0};

    (void)step;
    if (json_is_object(ranks))
        rwf_str_addf(&out, "%lld to %lld ranks",
                     json_is_integer(least) ? (long long)json_integer_value(least) : 1,
                     (long long)json_integer_value(json_object_get(ranks, "max")));
    else
        rwf_str_addf(&out, "%lld rank%s", (long long)json_integer_value(ranks),
                     json_integer_value(ranks) == 1 ? "" : "s");
    if (json_is_integer(each))
        rwf_str_addf(&out, ", %lld on each node", (long long)json_integer_value(each));
    return rwf_str_take(&out);
}

/* --- running --- */

/* Where the attempt does not say how many there are, all that there may be. */
static int ranks_of(const json_t *gang)
{
    const json_t *ranks = json_object_get(gang, "ranks");

    if (json_is_object(ranks))
        ranks = json_object_get(ranks, "max");
    return json_is_integer(ranks) ? (int)json_integer_value(ranks) : 1;
}

static int run(struct op_run *r, struct rwf_err *err)
{
    const json_t *gang = json_object_get(r->spec, "gang");
    const json_t *heartbeat = json_object_get(gang, "heartbeat");
    struct gang_program program = {
        .ranks = ranks_of(gang),
        .heartbeat =
            json_is_integer(heartbeat) ? json_integer_value(heartbeat) : HEARTBEAT,
    };

    return gang_program_run(r, &program, err);
}

const struct op gang_op = {
    .name = "gang",
    .section = "tasks",
    .summary = "a program as several ranks that start and end together",
    .version = 1,
    .gang = true,
    .serves = serves,
    .validate = validate,
    .lower = plan_lower_one,
    .outputs = plan_task_outputs,
    .spec = make_spec,
    .inputs = plan_task_inputs,
    .describe = describe,
    .run = run,
};
