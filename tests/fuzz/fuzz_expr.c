/* SPDX-License-Identifier: Apache-2.0
 *
 * Templates and conditions from any text: what parses is also evaluated, against a scope
 * that answers by the name's first letter with a value of each type, or not at all.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include "base/arena.h"
#include "base/err.h"
#include "base/mem.h"
#include "recipe/expr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int lookup(void *ctx, struct rwf_arena *a, const struct expr_ref *ref,
                  struct expr_value *ret, struct rwf_err *err)
{
    static struct expr_value items[] = {
        {.type = EXPR_STRING, .text = "it's"},
        {.type = EXPR_INT, .text = "-7"},
    };
    static const struct expr_value values[] = {
        {.type = EXPR_STRING, .text = "linux"},
        {.type = EXPR_INT, .text = "42"},
        {.type = EXPR_FLOAT, .text = "0.5"},
        {.type = EXPR_BOOL, .text = "true"},
        {.type = EXPR_LIST, .items = items, .count = RWF_COUNT(items)},
        {.type = EXPR_SECRET, .text = "hush"},
    };
    size_t i = (unsigned char)ref->parts[0][0] % (RWF_COUNT(values) + 1);

    (void)ctx;
    (void)a;
    if (i == RWF_COUNT(values))
        return rwf_fail(err, RWF_E_RECIPE, "no '%s'", ref->text);
    *ret = values[i];
    return 0;
}

/* A reference lies inside the text that it was found in. */
static void check_refs(const struct expr_ref *refs, size_t count, size_t size)
{
    for (size_t i = 0; i < count; i++)
        if (refs[i].count == 0 || refs[i].offset > size ||
            refs[i].len > size - refs[i].offset)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct expr_scope scope = {.lookup = lookup};
    struct rwf_arena *a = rwf_arena_create();
    char *text = rwf_xstrndup((const char *)data, size);
    struct rwf_err err = {0};
    struct expr_value value;
    size_t count;

    struct expr_template *t = expr_template_parse(a, text, &err);
    if (t) {
        check_refs(t->refs, t->count, strlen(text));
        expr_template_eval(t, &scope, a, &value, &err);
    } else if (err.text[0] == '\0') {
        abort();
    }
    struct expr_condition *c = expr_condition_parse(a, text, &err);
    if (c) {
        const struct expr_ref *refs = expr_condition_refs(c, &count);
        check_refs(refs, count, strlen(text));
        /* What passes the check of types evaluates, unless a name is unknown. */
        if (expr_condition_check(c, &scope, a, &err) == 0)
            expr_condition_eval(c, &scope, a, &err);
    }
    free(text);
    rwf_arena_destroy(a);
    return 0;
}
