/* SPDX-License-Identifier: Apache-2.0
 *
 * Nodes of a step's body -> typed JSON, on demand. Text without "${" takes the short
 * way. The type is the schema's; a whole reference brings its own, which must fit.
 */
#include "config.h"
#include "plan/inside.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/units.h"

#define SCRATCH_MAX (4 << 20)

struct rwf_arena *plan__scratch(struct plan_graph *g)
{
    if (g->scratch && rwf_arena_bytes(g->scratch) > SCRATCH_MAX) {
        rwf_arena_destroy(g->scratch);
        g->scratch = NULL;
    }
    if (!g->scratch)
        g->scratch = rwf_arena_create();
    return g->scratch;
}

/* --- values -> JSON --- */

static json_t *fail_type(const char *text, const char *want, struct rwf_err *err)
{
    rwf_fail(err, RWF_E_RECIPE, "'%.80s' is not %s", text, want);
    return NULL;
}

static json_t *text_json(const char *text, struct rwf_err *err)
{
    json_t *json = json_string(text);

    if (!json)
        rwf_fail(err, RWF_E_RECIPE, "a value is not UTF-8 text: '%.40s…'", text);
    return json;
}

static json_t *number_json(const char *text, struct rwf_err *err)
{
    int64_t whole;
    double number;

    if (recipe_looks_int(text, &whole))
        return json_integer(whole);
    if (!recipe_looks_number(text, &number))
        return fail_type(text, "a number", err);
    return isfinite(number) ? json_real(number) : text_json(text, err);
}

static json_t *unit_json(enum recipe_type type, const char *text, struct rwf_err *err)
{
    int64_t value;

    if ((type == RECIPE_SIZE ? rwf_size_parse(text, &value, err)
                             : rwf_duration_parse(text, &value, err)) < 0)
        return NULL;
    return json_integer(value);
}

static json_t *bool_json(const char *text, struct rwf_err *err)
{
    bool truth;

    if (!recipe_looks_bool(text, &truth))
        return fail_type(text, "true or false", err);
    return json_boolean(truth);
}

static json_t *int_json(const char *text, struct rwf_err *err)
{
    int64_t whole;
    double number;

    if (recipe_looks_int(text, &whole))
        return json_integer(whole);
    if (recipe_looks_number(text, &number) && fabs(number) < 9e15 &&
        number == floor(number))
        return json_integer((json_int_t)number);
    return fail_type(text, "a whole number", err);
}

/* A value in a field of a type. What is only shown stays text. */
static json_t *typed_json(enum recipe_type type, const struct expr_value *v,
                          struct rwf_err *err)
{
    if (v->type == EXPR_PENDING)
        return text_json(v->text, err);
    switch (type) {
    case RECIPE_UNTYPED:
    case RECIPE_TEXT:
        return text_json(v->text, err);
    case RECIPE_ANY:
        if (v->type == EXPR_BOOL)
            return bool_json(v->text, err);
        return v->type == EXPR_INT || v->type == EXPR_FLOAT ? number_json(v->text, err)
                                                            : text_json(v->text, err);
    case RECIPE_INT:
        return int_json(v->text, err);
    case RECIPE_NUMBER:
        return number_json(v->text, err);
    case RECIPE_BOOL:
        return bool_json(v->text, err);
    case RECIPE_SIZE:
    case RECIPE_DURATION:
        return unit_json(type, v->text, err);
    }
    rwf_assert(!"an unknown type");
    return NULL;
}

static json_t *list_json(enum recipe_type type, const struct expr_value *v,
                         struct rwf_err *err)
{
    json_t *list = json_array();

    for (size_t i = 0; i < v->count; i++) {
        json_t *item = typed_json(type, &v->items[i], err);
        if (!item) {
            json_decref(list);
            return NULL;
        }
        json_array_append_new(list, item);
    }
    return list;
}

/* --- nodes -> JSON --- */

static int eval_scalar(struct plan__scope *s, const struct recipe_node *node,
                       struct expr_value *ret, struct rwf_err *err)
{
    struct expr_scope scope = plan__scope(s);
    const struct expr_template *t;
    size_t at = 0;

    t = plan__template(s->g, node, &at, err);
    if (!t)
        return -1;
    return expr_template_eval(t, &scope, plan__scratch(s->g), ret, err);
}

static json_t *scalar_json(struct plan__scope *s, const struct recipe_node *node,
                           bool *ret_splice, struct rwf_err *err)
{
    struct expr_value v;
    json_t *out;

    *ret_splice = false;
    if (!plan__has_refs(node)) {
        v = plan__scalar_value(node);
    } else if (eval_scalar(s, node, &v, err) < 0) {
        s->failed = node;
        return NULL;
    }
    *ret_splice = v.type == EXPR_LIST;
    out =
        *ret_splice ? list_json(node->type, &v, err) : typed_json(node->type, &v, err);
    if (!out)
        s->failed = node;
    return out;
}

static json_t *node_json(struct plan__scope *s, const struct recipe_node *node,
                         int depth, bool *ret_splice, struct rwf_err *err);

static json_t *items_json(struct plan__scope *s, const struct recipe_node *node,
                          int depth, struct rwf_err *err)
{
    json_t *out = json_array(), *item;
    bool splice;

    for (size_t i = 0; i < node->count; i++) {
        item = node_json(s, node->items[i], depth + 1, &splice, err);
        if (!item) {
            json_decref(out);
            return NULL;
        }
        if (splice) {
            json_array_extend(out, item);
            json_decref(item);
        } else {
            json_array_append_new(out, item);
        }
    }
    return out;
}

static json_t *pairs_json(struct plan__scope *s, const struct recipe_node *node,
                          int depth, struct rwf_err *err)
{
    json_t *out = json_object(), *value;
    bool splice;

    for (size_t i = 0; i < node->count; i++) {
        const struct recipe_pair *p = &node->pairs[i];
        if (strncmp(p->key, "x-", 2) == 0 || p->value->null)
            continue;
        value = node_json(s, p->value, depth + 1, &splice, err);
        if (!value || json_object_set_new(out, p->key, value) < 0) {
            json_decref(out);
            return NULL;
        }
    }
    return out;
}

static json_t *node_json(struct plan__scope *s, const struct recipe_node *node,
                         int depth, bool *ret_splice, struct rwf_err *err)
{
    *ret_splice = false;
    if (depth > 100) {
        s->failed = node;
        rwf_fail(err, RWF_E_RECIPE, "nested too deeply");
        return NULL;
    }
    if (node->kind == RECIPE_MAP)
        return pairs_json(s, node, depth, err);
    if (node->kind == RECIPE_LIST)
        return items_json(s, node, depth, err);
    if (node->null)
        return json_null();
    return scalar_json(s, node, ret_splice, err);
}

json_t *plan__resolve_in(struct plan__scope *s, const struct recipe_node *node,
                         struct rwf_err *err)
{
    bool splice;

    return node_json(s, node, 0, &splice, err);
}

/* --- what others call --- */

/* Puts the place before the message and the hint behind it. */
static void blame(const struct plan__scope *s, const struct recipe_node *node,
                  struct rwf_err *err)
{
    char *where = recipe_where(recipe_sources(s->g->recipe), node->span);

    rwf_wrap(err, "%s", where);
    free(where);
    if (err && s->hint[0]) {
        size_t len = strlen(err->text);
        snprintf(err->text + len, sizeof(err->text) - len, " (%s)", s->hint);
    }
}

static json_t *resolve_placed(struct plan__scope *s, const struct recipe_node *node,
                              struct rwf_err *err)
{
    json_t *out = plan__resolve_in(s, node, err);

    if (!out)
        blame(s, s->failed ? s->failed : node, err);
    return out;
}

json_t *plan__resolve_ref(const struct plan_graph *g, const struct plan_step *step,
                          const char *root, const char *name,
                          const struct recipe_node *place, struct rwf_err *err)
{
    const struct plan__step *mine = (const struct plan__step *)step;
    struct plan__scope s = {.g = (struct plan_graph *)g, .stage = PLAN__RESOLVE};
    const char *parts[] = {root, name};
    struct expr_ref ref = {.text = name, .parts = parts, .count = 2};
    struct expr_scope scope;
    struct expr_value v;
    json_t *out = NULL;

    plan__scope_enter(&s, mine->entry, mine->instance);
    scope = plan__scope(&s);
    if (scope.lookup(&s, plan__scratch(s.g), &ref, &v, err) == 0)
        out = v.type == EXPR_LIST ? list_json(RECIPE_TEXT, &v, err)
                                  : typed_json(RECIPE_TEXT, &v, err);
    if (!out)
        blame(&s, place, err);
    return out;
}

json_t *plan_resolve(const struct plan_graph *g, const struct plan_step *step,
                     const struct recipe_node *node, struct rwf_err *err)
{
    const struct plan__step *s = (const struct plan__step *)step;
    struct plan__scope scope = {
        .g = (struct plan_graph *)g, .stage = PLAN__RESOLVE, .secrets = true};

    plan__scope_enter(&scope, s->entry, s->instance);
    return resolve_placed(&scope, node, err);
}

json_t *plan_resolve_top(const struct plan_graph *g, const struct recipe_node *node,
                         struct rwf_err *err)
{
    struct plan__scope scope = {
        .g = (struct plan_graph *)g, .stage = PLAN__RESOLVE, .secrets = true};

    return resolve_placed(&scope, node, err);
}

json_t *plan_step_spec(const struct plan_graph *g, const struct plan_step *step,
                       struct rwf_err *err)
{
    return step->op->spec(g, step, err);
}

/* --- outputs --- */

static json_t *output_path(struct plan_graph *g, const struct plan__step *step,
                           const char *text)
{
    struct plan__scope s = {.g = g, .stage = PLAN__STATIC};
    struct expr_scope scope;
    struct expr_value v = {.type = EXPR_STRING};
    struct expr_template *t;

    plan__scope_enter(&s, step->entry, step->instance);
    scope = plan__scope(&s);
    t = expr_template_parse(plan__scratch(g), text, NULL);
    if (!t || expr_template_eval(t, &scope, plan__scratch(g), &v, NULL) < 0 || !v.text)
        return json_string(text);
    return json_string(v.text);
}

static bool outputs_vary(const json_t *outputs)
{
    const char *name;
    json_t *path;

    json_object_foreach((json_t *)outputs, name, path)
        if (json_is_string(path) && strstr(json_string_value(path), "${"))
            return true;
    return false;
}

const json_t *plan_step_outputs(const struct plan_graph *g,
                                const struct plan_step *step)
{
    const struct plan__step *s = (const struct plan__step *)step;
    struct plan__entry *e = s->entry;
    const char *name;
    json_t *path;

    if (!outputs_vary(e->outputs))
        return e->outputs;
    if (!e->step_outputs)
        e->step_outputs = rwf_xcalloc((size_t)e->count + 1, sizeof(json_t *));
    json_t **slot = &e->step_outputs[s->instance];
    if (*slot)
        return *slot;
    *slot = json_object();
    json_object_foreach(e->outputs, name, path)
        json_object_set_new(
            *slot, name,
            json_is_string(path)
                ? output_path((struct plan_graph *)g, s, json_string_value(path))
                : json_incref(path));
    return *slot;
}

/* --- when --- */

static const struct expr_condition *condition_of(const struct plan_graph *g,
                                                 const struct plan_step *step,
                                                 const struct recipe_node **ret_node)
{
    const struct recipe_node *node = recipe_get(step->body, "when");
    size_t at;

    *ret_node = node;
    if (!node || node->kind != RECIPE_SCALAR || node->null)
        return NULL;
    return plan__condition((struct plan_graph *)g, node, &at, NULL);
}

int plan_step_when(const struct plan_graph *g, const struct plan_step *step,
                   struct rwf_err *err)
{
    const struct plan__step *s = (const struct plan__step *)step;
    struct plan__scope scope = {.g = (struct plan_graph *)g, .stage = PLAN__RESOLVE};
    const struct recipe_node *node;
    const struct expr_condition *c = condition_of(g, step, &node);
    int rc;

    if (!c)
        return 1;
    plan__scope_enter(&scope, s->entry, s->instance);
    struct expr_scope look = plan__scope(&scope);
    rc = expr_condition_eval(c, &look, plan__scratch(scope.g), err);
    if (rc < 0) {
        char *where = recipe_where(recipe_sources(g->recipe), node->span);
        rwf_wrap(err, "%s: when", where);
        free(where);
    }
    return rc;
}

bool plan_step_when_pending(const struct plan_graph *g, const struct plan_step *step)
{
    const struct recipe_node *node;
    const struct expr_condition *c = condition_of(g, step, &node);
    size_t count = 0;
    const struct expr_ref *refs = c ? expr_condition_refs(c, &count) : NULL;

    for (size_t i = 0; i < count; i++)
        if (op_for_section(g->ops, refs[i].parts[0]))
            return true;
    return false;
}
