/* SPDX-License-Identifier: Apache-2.0
 *
 * A configuration over a body. Maps on the way are new, all else is shared with the
 * target.
 */
#include "config.h"
#include "plan/search.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "plan/lookup.h"

/* --- a JSON value as a node --- */

/* The shortest text that reads back as the same number. */
static const char *number_text(struct rwf_arena *a, double x)
{
    char text[40];

    for (int digits = 6; digits <= 17; digits += digits < 15 ? 9 : 1) {
        snprintf(text, sizeof(text), "%.*g", digits, x);
        if (strtod(text, NULL) == x)
            break;
    }
    return rwf_arena_strdup(a, text);
}

/* Text stands for itself here: "${" is no reference. */
static const char *literal_text(struct rwf_arena *a, const char *text)
{
    struct rwf_str out = {0};
    const char *kept;

    for (; *text; text++)
        rwf_str_addf(&out, "%s%c", rwf_starts_with(text, "${") ? "$" : "", *text);
    kept = rwf_arena_strdup(a, out.data ? out.data : "");
    rwf_str_free(&out);
    return kept;
}

struct recipe_node *plan__json_scalar(struct rwf_arena *a, const json_t *value,
                                      struct recipe_span span)
{
    const char *text = "";
    struct recipe_node *node;

    if (json_is_string(value))
        text = literal_text(a, json_string_value(value));
    else if (json_is_integer(value))
        text = rwf_arena_printf(a, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        text = number_text(a, json_real_value(value));
    else if (json_is_boolean(value))
        text = json_is_true(value) ? "true" : "false";
    node = recipe_scalar_new(a, text, RECIPE_ANY, span);
    node->plain = !json_is_string(value);
    node->null = json_is_null(value);
    return node;
}

struct recipe_node *plan__json_node(struct rwf_arena *a, const json_t *value,
                                    struct recipe_span span)
{
    struct recipe_node *node;
    const char *key;
    json_t *item;
    size_t i;

    if (json_is_object(value)) {
        node = recipe_node_new(a, RECIPE_MAP, span);
        json_object_foreach((json_t *)(uintptr_t)value, key, item)
            recipe_map_add(a, node, rwf_arena_strdup(a, key), span,
                           plan__json_node(a, item, span));
        return node;
    }
    if (!json_is_array(value))
        return plan__json_scalar(a, value, span);
    node = recipe_node_new(a, RECIPE_LIST, span);
    json_array_foreach(value, i, item)
        recipe_list_add(a, node, plan__json_node(a, item, span));
    return node;
}

/* --- laying over --- */

struct recipe_node *plan__lay(struct rwf_arena *a, const struct recipe_node *body,
                              const struct plan__overlay *o, size_t at,
                              const struct recipe_node *value)
{
    const char *key = o->path[at];
    bool last = at + 1 == o->depth, found = false;
    struct recipe_node *out;

    if (body && body->kind == RECIPE_SCALAR && body->null)
        body = NULL;
    if (body && body->kind != RECIPE_MAP)
        return NULL;
    out = recipe_node_new(a, RECIPE_MAP, body ? body->span : o->span);
    for (size_t i = 0; body && i < body->count; i++) {
        const struct recipe_pair *p = &body->pairs[i];
        struct recipe_node *inner = p->value;
        if (strcmp(p->key, key) == 0) {
            inner = last ? (struct recipe_node *)(uintptr_t)value
                         : plan__lay(a, p->value, o, at + 1, value);
            found = true;
        }
        if (!inner)
            return NULL;
        recipe_map_add(a, out, p->key, p->key_span, inner);
    }
    if (!found)
        recipe_map_add(a, out, key, o->span,
                       last ? (struct recipe_node *)(uintptr_t)value
                            : plan__lay(a, NULL, o, at + 1, value));
    out->schema = body ? body->schema : NULL;
    return out;
}

static bool same(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b))
        return json_number_value(a) == json_number_value(b);
    return json_equal(a, b);
}

static const struct recipe_node *
value_node(struct plan_graph *g, const struct plan__overlay *o, const json_t *value)
{
    struct recipe_node *node;

    for (size_t i = 0; o->values && i < o->count; i++)
        if (same(json_array_get(o->values, i), value))
            return o->nodes[i];
    node = plan__json_node(g->arena, value, o->span);
    if (node->kind == RECIPE_SCALAR)
        node->type = o->type;
    return node;
}

void plan_trial_configure(struct plan_graph *g, uint32_t step, const json_t *config)
{
    struct plan__step *s = &g->steps[step];
    struct plan__search *search = s->entry->search;
    const struct recipe_node *body = s->entry->body;
    const struct plan__overlay *o;
    const char *key;
    json_t *value;

    rwf_assert(plan__is_trials(s->entry));
    json_decref(search->configs[s->instance]);
    search->configs[s->instance] = json_deep_copy(config);
    json_object_foreach((json_t *)(uintptr_t)config, key, value) {
        o = rwf_map_get(search->overlays, key);
        if (o)
            body = plan__lay(g->arena, body, o, 0, value_node(g, o, value));
        rwf_assert(body != NULL);
    }
    s->step.body = body;
}

const json_t *plan_trial_config(const struct plan_graph *g, uint32_t step)
{
    const struct plan__step *s = &g->steps[step];

    return plan__is_trials(s->entry) ? s->entry->search->configs[s->instance] : NULL;
}

json_t *plan_search_body(const struct plan_graph *g, const struct plan_step *step,
                         struct rwf_err *err)
{
    return plan_resolve(g, step, step->body, err);
}

void plan__search_release(struct plan__search *s)
{
    for (uint32_t i = 0; s->configs && i < s->trials->count; i++)
        json_decref(s->configs[i]);
    free(s->configs);
    rwf_map_destroy(s->overlays, NULL);
    json_decref(s->keys);
}

/* --- ${trial.NAME} --- */

static const char *known_name(struct plan__search *list, const char *name,
                              struct rwf_suggest *near)
{
    for (struct plan__search *s = list; s; s = s->next)
        for (size_t i = 0; i < s->name_count; i++) {
            if (strcmp(s->names[i], name) == 0) {
                s->used[i] = true;
                return s->names[i];
            }
            rwf_suggest_try(near, s->names[i]);
        }
    return NULL;
}

static void give_json(struct plan__lookup *l, const json_t *value,
                      struct expr_value *ret)
{
    const struct recipe_node *node;
    static const enum expr_type types[] = {
        [JSON_OBJECT] = EXPR_STRING, [JSON_ARRAY] = EXPR_LIST,
        [JSON_STRING] = EXPR_STRING, [JSON_INTEGER] = EXPR_INT,
        [JSON_REAL] = EXPR_FLOAT,    [JSON_TRUE] = EXPR_BOOL,
        [JSON_FALSE] = EXPR_BOOL,    [JSON_NULL] = EXPR_STRING,
    };

    *ret = (struct expr_value){.type = types[json_typeof(value)]};
    if (json_is_array(value)) {
        ret->count = json_array_size(value);
        ret->items = rwf_arena_alloc(l->a, (ret->count + 1) * sizeof(*ret->items));
        for (size_t i = 0; i < ret->count; i++)
            give_json(l, json_array_get(value, i), &ret->items[i]);
        return;
    }
    if (json_is_object(value)) {
        char *text = json_dumps(value, JSON_COMPACT);
        ret->text = rwf_arena_strdup(l->a, text ? text : "");
        free(text);
        return;
    }
    node = plan__json_scalar(l->a, value, (struct recipe_span){0});
    ret->text = json_is_string(value) ? rwf_arena_strdup(l->a, json_string_value(value))
                                      : node->text;
}

/* A search of e of which something is wrong: that was said already. */
static bool has_broken_search(const struct plan_graph *g, const struct plan__entry *e)
{
    for (size_t i = 0; e && i < g->entry_count; i++) {
        const struct plan__entry *other = g->entries[i];
        if (other->op->trials && !other->search &&
            strcmp(recipe_text(recipe_get(other->body, "target"), ""), e->address) == 0)
            return true;
    }
    return false;
}

int plan__lookup_trial(struct plan__lookup *l)
{
    struct plan__entry *e = l->s->entry;
    struct plan__search *list =
        e ? (plan__is_trials(e) ? e->search : e->searched) : NULL;
    const char *name = l->ref->count == 2 ? l->ref->parts[1] : "";
    const json_t *config = NULL, *value;
    struct rwf_suggest near;

    if (!list && has_broken_search(l->s->g, e))
        return plan__lookup_give(l, EXPR_PENDING, "<trial>");
    if (!list)
        return plan__lookup_fail(
            l, RECIPE_E0202,
            "there is no trial here: no search (tune) has this entry as "
            "its target");
    rwf_suggest_init(&near, name);
    if (!known_name(list, name, &near)) {
        plan__lookup_fail(l, RECIPE_E0202, "the space of %s has no parameter '%s'",
                          list->owner->address, name);
        plan__lookup_hint(l, "add it under space:");
        plan__lookup_near(l, &near);
        return -1;
    }
    if (l->s->stage == PLAN__STATIC)
        return plan__lookup_fail(
            l, RECIPE_E0203,
            "'${%s}' is known only when the trial begins, but this must "
            "be known when planning",
            l->ref->text);
    if (l->s->stage == PLAN__RESOLVE && plan__is_trials(e))
        config = e->search->configs[l->s->number];
    value = json_object_get(config, name);
    if (value) {
        give_json(l, value, l->ret);
        return 0;
    }
    if (l->s->stage == PLAN__CHECK || (!config && plan__lookup_shows(l)))
        return plan__lookup_give(l, EXPR_PENDING,
                                 rwf_arena_printf(l->a, "<trial.%s>", name));
    if (l->ref->fallback)
        return plan__lookup_give(l, EXPR_STRING, l->ref->fallback);
    plan__lookup_fail(l, RECIPE_E0203, "'${%s}' has no value %s", l->ref->text,
                      plan__is_trials(e) ? "in this trial" : "outside of trials");
    plan__lookup_hint(l, "give a default: ${trial.%s ?? \"…\"}", name);
    return -1;
}
