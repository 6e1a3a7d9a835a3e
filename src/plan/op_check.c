/* SPDX-License-Identifier: Apache-2.0
 *
 * checks: a value of another step compared with a bound, in the head. Its spec is
 *
 *   {"name":"acc","value":0.93,"op":">=","than":0.9}
 *
 * Two numbers are compared as numbers; texts only for being equal or not.
 */
#include "config.h"
#include "plan/builtin.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "plan/inside.h"

static bool is_eq(double a, double b)
{
    return a == b;
}
static bool is_ne(double a, double b)
{
    return a != b;
}
static bool is_lt(double a, double b)
{
    return a < b;
}
static bool is_le(double a, double b)
{
    return a <= b;
}
static bool is_gt(double a, double b)
{
    return a > b;
}
static bool is_ge(double a, double b)
{
    return a >= b;
}

static const struct comparison {
    const char *name;
    bool (*holds)(double, double);
    bool for_text;
    bool when_same; /* texts: the answer for equal ones */
} comparisons[] = {
    {">=", is_ge, false, false}, {">", is_gt, false, false},
    {"<=", is_le, false, false}, {"<", is_lt, false, false},
    {"==", is_eq, true, true},   {"!=", is_ne, true, false},
};

static const struct comparison *find_comparison(const char *name)
{
    for (size_t i = 0; i < RWF_COUNT(comparisons); i++)
        if (strcmp(comparisons[i].name, name) == 0)
            return &comparisons[i];
    return NULL;
}

static int lower(struct plan_lowering *l, const char *name,
                 const struct recipe_node *body, struct rwf_err *err)
{
    return plan_lower_one(l, name, body, err);
}

/* "${tasks.eval.metrics.acc}" -> "acc": what people call the value. */
static const char *label(const struct plan_graph *g, const struct plan_step *step,
                         const struct recipe_node *node)
{
    size_t at;
    const struct expr_template *t =
        plan__has_refs(node) ? plan__template((struct plan_graph *)g, node, &at, NULL)
                             : NULL;

    if (!t || !t->whole)
        return step->entry;
    const struct expr_ref *ref = &t->refs[0];
    return ref->count > 3 && strcmp(ref->parts[2], "metrics") == 0
               ? strstr(ref->text, ".metrics.") + strlen(".metrics.")
               : ref->text;
}

static json_t *spec(const struct plan_graph *g, const struct plan_step *step,
                    struct rwf_err *err)
{
    const struct recipe_node *value = recipe_get(step->body, "value");
    const struct recipe_node *than = recipe_get(step->body, "than");
    const struct recipe_node *op = recipe_get(step->body, "op");
    json_t *out = json_object(), *json;

    if (!value || !than) {
        rwf_fail(err, RWF_E_RECIPE, "%s wants value and than", step->address);
        goto fail;
    }
    json_object_set_new(out, "name", json_string(label(g, step, value)));
    json_object_set_new(out, "op", json_string(recipe_text(op, ">=")));
    json = plan_resolve(g, step, value, err);
    if (!json || json_object_set_new(out, "value", json) < 0)
        goto fail;
    json = plan_resolve(g, step, than, err);
    if (!json || json_object_set_new(out, "than", json) < 0)
        goto fail;
    return out;
fail:
    json_decref(out);
    return NULL;
}

/* A number, or a text that looks like one. */
static bool as_number(const json_t *json, double *ret)
{
    if (json_is_number(json)) {
        *ret = json_number_value(json);
        return true;
    }
    return json_is_string(json) && recipe_looks_number(json_string_value(json), ret);
}

static void add_json(struct rwf_str *out, const json_t *json)
{
    double number;

    if (as_number(json, &number))
        rwf_str_addf(out, "%.10g", number);
    else if (json_is_string(json))
        rwf_str_addf(out, "'%.200s'", json_string_value(json));
    else
        rwf_str_add(out, json_is_true(json)    ? "true"
                         : json_is_false(json) ? "false"
                                               : "?");
}

/* 1 holds, 0 does not, -1 cannot be compared. */
static int compare(const struct comparison *c, const json_t *value, const json_t *than)
{
    double a, b;

    if (as_number(value, &a) && as_number(than, &b))
        return c->holds(a, b);
    if (!c->for_text)
        return -1;
    return json_equal(value, than) ? c->when_same : !c->when_same;
}

static int decide(const json_t *spec, struct op_outcome *ret, struct rwf_err *err)
{
    const char *name = json_string_value(json_object_get(spec, "name"));
    const char *op = json_string_value(json_object_get(spec, "op"));
    const json_t *value = json_object_get(spec, "value");
    const json_t *than = json_object_get(spec, "than");
    const struct comparison *c = op ? find_comparison(op) : NULL;
    struct rwf_str message = {0};
    int holds;

    if (!c || !value || !than)
        return rwf_fail(err, RWF_E_RECIPE,
                        "a check wants op (>= > <= < == !=), value and "
                        "than");
    holds = compare(c, value, than);
    rwf_str_addf(&message, "%s = ", name ? name : "value");
    add_json(&message, value);
    rwf_str_addf(&message,
                 holds < 0 ? ", and %s compares only numbers, not with "
                           : ", expected %s ",
                 c->name);
    add_json(&message, than);
    ret->ok = holds > 0;
    ret->exit_code = ret->ok ? 0 : RWF_E_CHECK - RWF_E_BASE;
    ret->message = rwf_str_take(&message);
    ret->metrics = NULL;
    return 0;
}

const struct op plan_check_op = {
    .name = "check",
    .section = "checks",
    .summary = "compares a metric of a step with a bound",
    .version = 1,
    .lower = lower,
    .spec = spec,
    .decide = decide,
};
