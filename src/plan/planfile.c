/* SPDX-License-Identifier: Apache-2.0
 *
 * Plans on disk. A plan holds the recipe's snapshot, so opening it reads nothing else;
 * its list of steps is compared with what the snapshot compiles to now, so that a plan
 * of another raywf, or one that was edited, never runs something else than it shows.
 */
#include "config.h"
#include "plan/planfile.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

#define KIND "raywf-plan"
#define HEAD_MAX 65536 /* where KIND must stand */

static json_t *names_json(const char *const *names, size_t count)
{
    json_t *out = json_array();

    for (size_t i = 0; i < count; i++)
        json_array_append_new(out, json_string(names[i]));
    return out;
}

static json_t *steps_json(const struct plan_graph *g, const char *const *keys)
{
    json_t *out = json_array();

    for (uint32_t i = 0; i < plan_graph_count(g); i++) {
        json_t *step = json_object();
        json_object_set_new(step, "address",
                            json_string(plan_graph_step(g, i)->address));
        json_object_set_new(step, "key",
                            keys && keys[i] ? json_string(keys[i]) : json_null());
        json_array_append_new(out, step);
    }
    return out;
}

json_t *planfile_make(const struct plan_graph *g, const struct plan_options *options,
                      const char *const *keys)
{
    static const struct plan_options none;
    const struct plan_options *o = options ? options : &none;
    json_t *out = json_object();

    json_object_set_new(out, "v", json_string("1.0"));
    json_object_set_new(out, "kind", json_string(KIND));
    json_object_set_new(out, "raywf", json_string(PACKAGE_VERSION));
    json_object_set_new(out, "recipe", recipe_snapshot(plan_graph_recipe(g)));
    json_object_set_new(out, "only", names_json(o->only, o->only_count));
    json_object_set_new(out, "from", names_json(o->from, o->from_count));
    json_object_set_new(out, "steps", steps_json(g, keys));
    return out;
}

bool planfile_is(const char *text, size_t len)
{
    static const char mark[] = "\"" KIND "\"";
    size_t at = 0;

    while (at < len && strchr(" \t\r\n", text[at]) && text[at])
        at++;
    if (at == len || text[at] != '{')
        return false;
    return memmem(text + at, len - at < HEAD_MAX ? len - at : HEAD_MAX, mark,
                  sizeof(mark) - 1) != NULL;
}

static int check_head(const json_t *plan, struct rwf_err *err)
{
    const char *v = json_string_value(json_object_get(plan, "v"));
    const char *kind = json_string_value(json_object_get(plan, "kind"));
    const char *by = json_string_value(json_object_get(plan, "raywf"));

    if (!kind || strcmp(kind, KIND) != 0)
        return rwf_fail(err, RWF_E_INPUT,
                        "this is not a plan: make one with "
                        "`raywf plan -o FILE`");
    if (!v || strncmp(v, "1.", 2) != 0)
        return rwf_fail(err, RWF_E_LOCK,
                        "this plan has format %.20s (raywf %.20s); this "
                        "raywf reads 1.x: make the plan anew",
                        v ? v : "unknown", by ? by : "unknown");
    if (!json_is_object(json_object_get(plan, "recipe")) ||
        !json_is_array(json_object_get(plan, "steps")))
        return rwf_fail(err, RWF_E_INPUT,
                        "the plan is damaged: its recipe or its steps are "
                        "missing");
    return 0;
}

/* The strings of an array; NULL when it holds something else. */
static const char **take_names(const json_t *list, size_t *ret_count,
                               struct rwf_err *err)
{
    const char **out = rwf_xcalloc(json_array_size(list) + 1, sizeof(*out));
    json_t *item;
    size_t i;

    json_array_foreach((json_t *)list, i, item) {
        out[i] = json_string_value(item);
        if (!out[i]) {
            rwf_fail(err, RWF_E_INPUT,
                     "the plan is damaged: only and from hold addresses");
            free(out);
            return NULL;
        }
    }
    *ret_count = json_array_size(list);
    return out;
}

static int compare_steps(const struct plan_graph *g, const json_t *steps,
                         struct rwf_err *err)
{
    size_t count = plan_graph_count(g);

    for (uint32_t i = 0; i < count; i++) {
        const char *now = plan_graph_step(g, i)->address;
        const char *was =
            json_string_value(json_object_get(json_array_get(steps, i), "address"));
        if (!was || strcmp(was, now) != 0)
            return rwf_fail(err, RWF_E_LOCK,
                            "the plan's step %u is %s, but its recipe gives "
                            "%s: make the plan anew",
                            (unsigned)i + 1, was ? was : "absent", now);
    }
    if (json_array_size(steps) != count)
        return rwf_fail(err, RWF_E_LOCK,
                        "the plan has %zu steps, but its recipe gives %zu: "
                        "make the plan anew",
                        json_array_size(steps), count);
    return 0;
}

static struct plan_graph *build(const json_t *plan, const struct op *const *ops,
                                const struct recipe *r, struct recipe_diags *diags,
                                struct rwf_err *err)
{
    struct plan_options o = {0};
    struct plan_graph *g = NULL;

    o.only = take_names(json_object_get(plan, "only"), &o.only_count, err);
    if (o.only)
        o.from = take_names(json_object_get(plan, "from"), &o.from_count, err);
    if (o.from)
        g = plan_graph_build(r, ops, &o, diags, err);
    free((void *)o.only);
    free((void *)o.from);
    return g;
}

struct plan_graph *planfile_open(const json_t *plan, const struct op *const *ops,
                                 struct recipe **ret_recipe, struct recipe_diags *diags,
                                 struct rwf_err *err)
{
    struct recipe_options options = {.snapshot = json_object_get(plan, "recipe")};
    struct plan_graph *g;
    struct recipe *r;

    if (check_head(plan, err) < 0)
        return NULL;
    r = recipe_load("-", &options, diags, err);
    if (!r)
        return NULL;
    *ret_recipe = r;
    g = build(plan, ops, r, diags, err);
    if (g && compare_steps(g, json_object_get(plan, "steps"), err) == 0)
        return g;
    plan_graph_destroy(g);
    return NULL;
}
