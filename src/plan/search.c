/* SPDX-License-Identifier: Apache-2.0
 *
 * Searches. An entry whose op has `trials` stands for two things: its trials, which are the
 * steps of another entry (the target) with configurations of their own, and the step that
 * follows them all. The trials are an entry beside it that has the target's op, body and
 * needs, so that everything that holds for the target holds for them: keys, resources,
 * retries, outputs.
 *
 * A configuration is laid over the target's body when it is known: maps on the way are new,
 * all else is shared. The types of its values are known from the check, in which every value
 * of a list, and the ends of every range, stood at its place before the schema.
 */
#include "config.h"
#include "plan/inside.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/suggest.h"
#include "plan/expand.h"
#include "plan/lookup.h"
#include "recipe/schema.h"

/* A key of a space that is a path of the recipe. */
struct plan__overlay {
    const char **path; /* beneath the target's body */
    size_t depth;
    const json_t *values;             /* all there are, if they are listed */
    const struct recipe_node **nodes; /* the same, checked */
    size_t count;
    enum recipe_type type; /* of values that are not listed */
    struct recipe_span span;
};

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

static struct recipe_node *scalar_of(struct rwf_arena *a, const json_t *value,
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

static struct recipe_node *node_of(struct rwf_arena *a, const json_t *value,
                                   struct recipe_span span)
{
    struct recipe_node *node;
    const char *key;
    json_t *item;
    size_t i;

    if (json_is_object(value)) {
        node = recipe_node_new(a, RECIPE_MAP, span);
        json_object_foreach((json_t *)(uintptr_t)value, key, item)
            recipe_map_add(a, node, rwf_arena_strdup(a, key), span, node_of(a, item, span));
        return node;
    }
    if (!json_is_array(value))
        return scalar_of(a, value, span);
    node = recipe_node_new(a, RECIPE_LIST, span);
    json_array_foreach(value, i, item)
        recipe_list_add(a, node, node_of(a, item, span));
    return node;
}

/* --- laying over --- */

/* body with value at path[0..depth): new maps on the way. NULL: something that is no map
 * stands on the way. */
static struct recipe_node *lay(struct rwf_arena *a, const struct recipe_node *body,
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
                         : lay(a, p->value, o, at + 1, value);
            found = true;
        }
        if (!inner)
            return NULL;
        recipe_map_add(a, out, p->key, p->key_span, inner);
    }
    if (!found)
        recipe_map_add(a, out, key, o->span,
                       last ? (struct recipe_node *)(uintptr_t)value
                            : lay(a, NULL, o, at + 1, value));
    out->schema = body ? body->schema : NULL;
    return out;
}

static bool same(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b))
        return json_number_value(a) == json_number_value(b);
    return json_equal(a, b);
}

static const struct recipe_node *value_node(struct plan_graph *g, const struct plan__overlay *o,
                                            const json_t *value)
{
    struct recipe_node *node;

    for (size_t i = 0; o->values && i < o->count; i++)
        if (same(json_array_get(o->values, i), value))
            return o->nodes[i];
    node = node_of(g->arena, value, o->span);
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
            body = lay(g->arena, body, o, 0, value_node(g, o, value));
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

static void give_json(struct plan__lookup *l, const json_t *value, struct expr_value *ret)
{
    const struct recipe_node *node;
    static const enum expr_type types[] = {
        [JSON_OBJECT] = EXPR_STRING, [JSON_ARRAY] = EXPR_LIST,   [JSON_STRING] = EXPR_STRING,
        [JSON_INTEGER] = EXPR_INT,   [JSON_REAL] = EXPR_FLOAT,   [JSON_TRUE] = EXPR_BOOL,
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
    node = scalar_of(l->a, value, (struct recipe_span){0});
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
    struct plan__search *list = e ? (plan__is_trials(e) ? e->search : e->searched) : NULL;
    const char *name = l->ref->count == 2 ? l->ref->parts[1] : "";
    const json_t *config = NULL, *value;
    struct rwf_suggest near;

    if (!list && has_broken_search(l->s->g, e))
        return plan__lookup_give(l, EXPR_PENDING, "<trial>");
    if (!list)
        return plan__lookup_fail(l, RECIPE_E0202,
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
        return plan__lookup_fail(l, RECIPE_E0203,
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
        return plan__lookup_give(l, EXPR_PENDING, rwf_arena_printf(l->a, "<trial.%s>", name));
    if (l->ref->fallback)
        return plan__lookup_give(l, EXPR_STRING, l->ref->fallback);
    plan__lookup_fail(l, RECIPE_E0203, "'${%s}' has no value %s", l->ref->text,
                      plan__is_trials(e) ? "in this trial" : "outside of trials");
    plan__lookup_hint(l, "give a default: ${trial.%s ?? \"…\"}", name);
    return -1;
}

/* --- the trials of a search --- */

static const struct recipe_node *space_of(const struct plan__entry *e)
{
    return recipe_get(e->body, "space");
}

static struct recipe_diag *complain(struct plan__build *b, struct recipe_span span,
                                    const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    char *text = rwf_xvasprintf(fmt, ap);
    va_end(ap);
    struct recipe_diag *d = recipe_diag_add(b->diags, RECIPE_E0308, span, "%s", text);
    free(text);
    return d;
}

static struct plan__entry *find_target(struct plan__build *b, struct plan__entry *e,
                                       const char *address)
{
    struct plan__entry *target = rwf_map_get(b->g->by_address, address);
    const struct recipe_node *node = recipe_get(e->body, "target");
    struct recipe_span span = node ? node->span : e->span;
    struct rwf_suggest near;
    struct recipe_diag *d;

    if (target && (recipe_get(target->body, "matrix") || recipe_get(target->body, "foreach"))) {
        complain(b, span, "%s has a matrix or a foreach: the target of a search is one step",
                 address);
        return NULL;
    }
    if (target && !target->op->trials && (!target->op->decide || target->op->outputs))
        return target;
    d = complain(b, span, "there is no %s to try", address);
    rwf_suggest_init(&near, address);
    for (size_t i = 0; i < b->g->entry_count; i++)
        if (!b->g->entries[i]->op->decide)
            rwf_suggest_try(&near, b->g->entries[i]->address);
    if (rwf_suggest_best(&near)) {
        recipe_diag_hint(d, "did you mean '%s'?", rwf_suggest_best(&near));
        recipe_diag_fix(d, rwf_suggest_best(&near));
    } else {
        recipe_diag_hint(d, "a target is an entry of train or tasks");
    }
    return NULL;
}

static void make_instances(struct plan_graph *g, struct plan__entry *t, uint32_t count)
{
    struct plan_binding *bindings = rwf_arena_alloc(g->arena, count * sizeof(*bindings));

    t->axes = rwf_arena_alloc(g->arena, sizeof(*t->axes));
    t->axes[0] = "trial";
    t->axis_count = 1;
    t->count = count;
    t->instances = rwf_arena_alloc(g->arena, count * sizeof(*t->instances));
    for (uint32_t i = 0; i < count; i++) {
        const char *text = rwf_arena_printf(g->arena, "%u", (unsigned)i);
        bindings[i] = (struct plan_binding){
            "trial", recipe_scalar_new(g->arena, text, RECIPE_INT, t->span)};
        t->instances[i] = (struct plan__instance){&bindings[i], 1, false};
    }
}

static struct plan__entry *make_trials(struct plan__build *b, struct plan__entry *e,
                                       struct plan__entry *target,
                                       const struct op_trials *trials)
{
    struct plan_graph *g = b->g;
    struct plan__entry *t = rwf_arena_alloc(g->arena, sizeof(*t));
    const char *name;
    json_t *path;

    t->op = target->op;
    t->section = e->section;
    t->name = e->name;
    t->address = e->address;
    t->span = e->span;
    t->body = target->body;
    t->outputs = json_incref(target->outputs);
    t->main_output = target->main_output;
    t->max_parallel = trials->max_parallel;
    make_instances(g, t, (uint32_t)trials->count);
    json_object_foreach(target->outputs, name, path)
        if (!json_object_get(e->outputs, name))
            json_object_set(e->outputs, name, path);
    if (target->main_output)
        e->main_output = target->main_output;
    *RWF_PUSH(g->entries, g->entry_count, g->entry_cap) = t;
    return t;
}

/* --- the keys of its space --- */

/* What is read when planning cannot differ between trials. */
static bool is_fixed(const char *key)
{
    static const char *const keys[] = {"resources", "retry",   "timeout",   "grace",
                                       "cache",     "outputs", "log_limit", "priority",
                                       "workers",   "needs",   "when",      "matrix",
                                       "foreach",   "help"};

    for (size_t i = 0; i < RWF_COUNT(keys); i++)
        if (strcmp(keys[i], key) == 0)
            return true;
    return false;
}

static const char **split(struct rwf_arena *a, const char *path, size_t *ret_depth)
{
    size_t count = 1;

    for (const char *p = path; *p; p++)
        count += *p == '.';
    const char **out = rwf_arena_alloc(a, count * sizeof(*out));
    for (size_t i = 0; i < count; i++) {
        size_t len = strcspn(path, ".");
        out[i] = rwf_arena_printf(a, "%.*s", (int)len, path);
        path += len + (path[len] == '.');
    }
    *ret_depth = count;
    return out;
}

static void add_path(struct plan__build *b, struct plan__search *s, const char *key,
                     const char *rest, const json_t *values, struct recipe_span span)
{
    struct plan__overlay *o = rwf_arena_alloc(b->g->arena, sizeof(*o));

    o->span = span;
    o->path = split(b->g->arena, rest, &o->depth);
    if (json_is_true(json_object_get(values, "listed"))) {
        o->values = json_object_get(values, "values");
        o->count = json_array_size(o->values);
        o->nodes = rwf_arena_alloc(b->g->arena, (o->count + 1) * sizeof(*o->nodes));
    }
    if (is_fixed(o->path[0]))
        complain(b, span, "'%s' is the same for all trials: it is read when planning", key);
    else
        rwf_map_set(s->overlays, rwf_arena_strdup(b->g->arena, key), o);
}

static bool is_name(const char *key)
{
    return strchr(key, '.') == NULL && *key != '\0';
}

static void add_keys(struct plan__build *b, struct plan__search *s)
{
    size_t count = json_object_size(s->keys);
    const char *key, *address = s->target->address;
    size_t len = strlen(address);
    json_t *values;

    s->names = rwf_arena_alloc(b->g->arena, (count + 1) * sizeof(*s->names));
    s->used = rwf_arena_alloc(b->g->arena, (count + 1) * sizeof(*s->used));
    json_object_foreach(s->keys, key, values) {
        const struct recipe_pair *p = recipe_pair_get(space_of(s->owner), key);
        struct recipe_span span = p ? p->key_span : s->owner->span;
        if (strncmp(key, address, len) == 0 && key[len] == '.' && key[len + 1]) {
            add_path(b, s, key, key + len + 1, values, span);
        } else if (is_name(key)) {
            s->names[s->name_count++] = rwf_arena_strdup(b->g->arena, key);
        } else {
            struct recipe_diag *d = complain(b, span, "'%s' is no part of the target %s", key,
                                             address);
            recipe_diag_hint(d, "write %s.KEY, or a name for ${trial.NAME}", address);
        }
    }
}

static struct recipe_span span_at(const struct plan__entry *e, const char *const *path)
{
    const struct recipe_node *node = e->body;
    struct recipe_span span = e->span;

    for (; *path && node; path++) {
        const struct recipe_pair *p = recipe_pair_get(node, *path);
        if (!p)
            break;
        node = p->value;
        span = node->kind == RECIPE_SCALAR ? node->span : p->key_span;
    }
    return span;
}

/* What the target is known to report has the metric. */
static bool check_metric(struct plan__build *b, struct plan__entry *e,
                         const struct plan__entry *target, const json_t *body)
{
    const char *metric = json_string_value(json_object_get(body, "metric"));
    const char *const *names = target->op->metrics ? target->op->metrics(target->body) : NULL;
    const struct recipe_node *node = recipe_get(e->body, "metric");
    struct rwf_suggest near;
    struct rwf_str all = {0};

    if (!names || !metric)
        return true;
    rwf_suggest_init(&near, metric);
    for (; *names; names++) {
        if (strcmp(*names, metric) == 0) {
            rwf_str_free(&all);
            return true;
        }
        rwf_suggest_try(&near, *names);
        rwf_str_addf(&all, "%s%s", all.len ? ", " : "", *names);
    }
    struct recipe_diag *d = complain(b, node ? node->span : e->span,
                                     "%s never reports '%s'; it reports %s", target->address,
                                     metric, all.data);
    if (rwf_suggest_best(&near))
        recipe_diag_hint(d, "did you mean '%s'?", rwf_suggest_best(&near));
    rwf_str_free(&all);
    return false;
}

static int64_t length_of(const struct plan__entry *target, const json_t *body)
{
    const char *metric = json_string_value(json_object_get(body, "metric"));
    const char *unit = json_string_value(json_object_get(body, "time_attr"));

    return target->op->length
               ? target->op->length(target->body, metric ? metric : "", unit ? unit : "report")
               : 0;
}

static void add_search(struct plan__build *b, struct plan__entry *e, const json_t *body)
{
    const char *name = json_string_value(json_object_get(body, "target"));
    struct op_trials trials = {.max_parallel = 0};
    struct rwf_err err = RWF_ERR_INIT;
    struct plan__entry *target = name ? find_target(b, e, name) : NULL;
    struct plan__search *s;

    if (!target || !check_metric(b, e, target, body))
        return;
    trials.length = length_of(target, body);
    if (e->op->trials(body, &trials, &err) < 0) {
        complain(b, span_at(e, trials.blame), "%s: %s", e->address, err.text);
        json_decref(trials.keys);
        return;
    }
    if (!plan__take_total(b, e->span, trials.count)) {
        json_decref(trials.keys);
        return;
    }
    s = rwf_arena_alloc(b->g->arena, sizeof(*s));
    s->owner = e;
    s->target = target;
    s->keys = trials.keys;
    s->overlays = rwf_map_create();
    s->trials = make_trials(b, e, target, &trials);
    s->configs = rwf_xcalloc(trials.count + 1, sizeof(*s->configs));
    s->next = target->searched;
    target->searched = s;
    e->search = s->trials->search = s;
    add_keys(b, s);
}

void plan__searches_collect(struct plan__build *b)
{
    size_t count = b->g->entry_count;

    for (size_t i = 0; i < count && !b->quiet; i++) {
        struct plan__entry *e = b->g->entries[i];
        struct plan__scope scope = {.g = b->g, .entry = e, .stage = PLAN__STATIC};
        json_t *body = e->op->trials ? plan__resolve_in(&scope, e->body, NULL) : NULL;
        if (body) /* else the check of references says why */
            add_search(b, e, body);
        json_decref(body);
    }
}

/* --- what depends on what --- */

static void copy_deps(struct plan__entry *to, const struct plan__entry *from)
{
    for (size_t i = 0; i < from->dep_count; i++)
        plan__dep_add(to, from->deps[i].entry, from->deps[i].span);
}

static bool is_named(const struct plan__entry *e, const struct plan_options *options)
{
    for (size_t i = 0; options && i < options->only_count; i++)
        if (strcmp(options->only[i], e->address) == 0)
            return true;
    for (size_t i = 0; options && i < options->from_count; i++)
        if (strcmp(options->from[i], e->address) == 0)
            return true;
    return false;
}

static bool is_referred_to(const struct plan_graph *g, const struct plan__entry *target)
{
    for (size_t i = 0; i < g->entry_count; i++)
        for (size_t k = 0; k < g->entries[i]->dep_count; k++)
            if (g->entries[i]->deps[k].entry == target)
                return true;
    return false;
}

static void check_names(struct plan__build *b, const struct plan__search *s)
{
    for (size_t i = 0; i < s->name_count; i++) {
        const struct recipe_pair *p = recipe_pair_get(space_of(s->owner), s->names[i]);
        struct recipe_diag *d;
        if (s->used[i])
            continue;
        d = complain(b, p ? p->key_span : s->owner->span, "nothing in %s refers to ${trial.%s}",
                     s->target->address, s->names[i]);
        recipe_diag_hint(d, "write ${trial.%s} there, or name a key: %s.KEY", s->names[i],
                         s->target->address);
    }
}

void plan__searches_settle(struct plan__build *b, const struct plan_options *options)
{
    struct plan_graph *g = b->g;

    for (size_t i = 0; i < g->entry_count; i++) {
        struct plan__entry *e = g->entries[i];
        if (e->op->trials && !e->search && recipe_diags_errors(b->diags) == 0)
            complain(b, e->span, "%s cannot be read", e->address);
        if (e->search && !plan__is_trials(e) && recipe_diags_errors(b->diags) == 0)
            check_names(b, e->search);
        if (e->searched && !is_referred_to(g, e) && !is_named(e, options))
            e->count = 0;
    }
    for (size_t i = 0; i < g->entry_count; i++) {
        struct plan__search *s = g->entries[i]->search;
        if (!s || plan__is_trials(g->entries[i]))
            continue;
        copy_deps(s->trials, s->target);
        copy_deps(s->trials, s->owner);
        plan__dep_add(s->owner, s->trials, s->owner->span);
    }
}

/* --- the recipe without the search --- */

struct settling {
    struct plan_graph *g;
    struct rwf_arena *a;
    const struct plan__search *search;
    const json_t *config;
    const char *metric;
};

/* text with every `from` replaced. */
static char *replaced(const char *text, const char *from, const char *to)
{
    struct rwf_str out = {0};
    const char *next;

    while ((next = strstr(text, from)) != NULL) {
        rwf_str_addn(&out, text, (size_t)(next - text));
        rwf_str_add(&out, to);
        text = next + strlen(from);
    }
    rwf_str_add(&out, text);
    return rwf_str_take(&out);
}

/* "${trial.x}" and "${trial.x ?? "…"}" with a value: that; what the search gave: what the
 * target gives. */
static char *settle_text(const struct settling *s, const char *text)
{
    char *from = rwf_xasprintf("${%s.metrics.best}", s->search->owner->address);
    char *to = rwf_xasprintf("${%s.metrics.%s}", s->search->target->address, s->metric);
    char *out = replaced(text, from, to), *before;
    const char *key;
    json_t *value;

    free(from);
    free(to);
    from = rwf_xasprintf("${%s", s->search->owner->address);
    to = rwf_xasprintf("${%s", s->search->target->address);
    before = out;
    out = replaced(before, from, to);
    free(before);
    free(from);
    free(to);
    json_object_foreach((json_t *)(uintptr_t)s->config, key, value) {
        char *mark = rwf_xasprintf("${trial.%s", key), *at = strstr(out, mark);
        char *end = at ? strchr(at, '}') : NULL;
        if (end && strchr(" }", at[strlen(mark)])) {
            const struct recipe_node *node = scalar_of(s->a, value, (struct recipe_span){0});
            char *whole = rwf_xstrndup(at, (size_t)(end + 1 - at));
            before = out;
            out = replaced(before, whole, node->text);
            free(before);
            free(whole);
        }
        free(mark);
    }
    return out;
}

static struct recipe_node *settle_node(const struct settling *s, const struct recipe_node *node)
{
    struct recipe_node *out = recipe_node_copy(s->a, node);
    char *text;

    if (node->kind == RECIPE_SCALAR) {
        text = plan__has_refs(node) ? settle_text(s, node->text) : NULL;
        if (text) {
            out->text = rwf_arena_strdup(s->a, text);
            out->len = strlen(text);
        }
        free(text);
        return out;
    }
    for (size_t i = 0; i < node->count; i++) {
        if (node->kind == RECIPE_MAP)
            out->pairs[i].value = settle_node(s, node->pairs[i].value);
        else
            out->items[i] = settle_node(s, node->items[i]);
    }
    return out;
}

static const struct recipe_node *settled_body(const struct settling *s,
                                              const struct recipe_node *body)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)s->config, key, value) {
        const struct plan__overlay *o = rwf_map_get(s->search->overlays, key);
        struct recipe_node *next =
            o ? lay(s->a, body, o, 0, node_of(s->a, value, o->span)) : NULL;
        body = next ? next : body;
    }
    return body;
}

/* A section: the target with its configuration, and all but the search. */
static struct recipe_node *settled_section(const struct settling *s, const char *section,
                                           const struct recipe_node *map)
{
    struct recipe_node *out = recipe_node_new(s->a, RECIPE_MAP, map->span);
    const struct plan__entry *target = s->search->target, *owner = s->search->owner;

    for (size_t i = 0; i < map->count; i++) {
        const struct recipe_pair *p = &map->pairs[i];
        const struct recipe_node *value = p->value;
        if (strcmp(section, owner->section) == 0 && strcmp(p->key, owner->name) == 0)
            continue;
        if (strcmp(section, target->section) == 0 && strcmp(p->key, target->name) == 0)
            value = settled_body(s, value);
        recipe_map_add(s->a, out, p->key, p->key_span, settle_node(s, value));
    }
    return out;
}

struct recipe_node *plan_search_settled(struct plan_graph *g, const struct plan_step *search,
                                        const json_t *config)
{
    const struct plan__entry *owner = ((const struct plan__step *)search)->entry;
    const struct recipe_node *root = recipe_root(g->recipe);
    struct settling s = {.g = g,
                         .a = recipe_arena(g->recipe),
                         .search = owner->search,
                         .config = config,
                         .metric = recipe_text(recipe_get(owner->body, "metric"), "")};
    struct recipe_node *out = recipe_node_new(s.a, RECIPE_MAP, root->span);

    for (size_t i = 0; i < root->count; i++) {
        const struct recipe_pair *p = &root->pairs[i];
        struct recipe_node *value;
        if (strcmp(p->key, "include") == 0 || strcmp(p->key, "profiles") == 0)
            continue;
        value = p->value->kind == RECIPE_MAP ? settled_section(&s, p->key, p->value)
                                             : settle_node(&s, p->value);
        if (value->kind != RECIPE_MAP || value->count > 0)
            recipe_map_add(s.a, out, p->key, p->key_span, value);
    }
    return out;
}

/* --- values against the schema --- */

/* A recipe with nothing but this target. */
static struct recipe_node *tree_with(struct rwf_arena *a, const struct plan__entry *target,
                                     struct recipe_node *body)
{
    struct recipe_node *root = recipe_node_new(a, RECIPE_MAP, body->span);
    struct recipe_node *map = recipe_node_new(a, RECIPE_MAP, body->span);
    struct recipe_node *version = recipe_scalar_new(a, "raywf/v1", RECIPE_TEXT, body->span);

    recipe_map_add(a, root, "recipe", body->span, version);
    recipe_map_add(a, map, target->name, body->span, body);
    recipe_map_add(a, root, target->section, body->span, map);
    return root;
}

static struct recipe_span span_of_value(const struct plan__search *s, const char *key,
                                        bool listed, size_t i)
{
    const struct recipe_pair *p = recipe_pair_get(space_of(s->owner), key);
    const struct recipe_node *at = p ? p->value : NULL;

    if (listed) {
        const struct recipe_node *list = recipe_get(at, "values");
        if (list && list->kind == RECIPE_LIST && i < list->count)
            return list->items[i]->span;
    } else if (recipe_get(at, i == 0 ? "min" : "max")) {
        return recipe_get(at, i == 0 ? "min" : "max")->span;
    }
    return p ? p->key_span : s->owner->span;
}

static bool check_value(struct plan__build *b, struct plan__search *s, struct plan__overlay *o,
                        const json_t *value, struct recipe_span span,
                        const struct recipe_node **ret_node)
{
    const struct recipe_node *root = recipe_root(b->g->recipe);
    const struct recipe_node *said =
        recipe_get(recipe_get(root, s->target->section), s->target->name);
    size_t errors = recipe_diags_errors(b->diags);
    struct rwf_arena *a = rwf_arena_create();
    struct recipe_node *node = node_of(b->g->arena, value, span), *body;
    bool good = false;

    body = lay(a, recipe_node_copy(a, said), o, 0, node);
    if (!body) {
        complain(b, o->span, "on the way to this key stands something that is no map");
    } else {
        recipe_schema_check(tree_with(a, s->target, body), b->diags);
        good = recipe_diags_errors(b->diags) == errors;
    }
    rwf_arena_destroy(a);
    *ret_node = node;
    return good;
}

static void check_key(struct plan__build *b, struct plan__search *s, const char *key,
                      const json_t *about)
{
    struct plan__overlay *o = rwf_map_get(s->overlays, key);
    const json_t *values = json_object_get(about, "values");
    bool listed = json_is_true(json_object_get(about, "listed"));
    const struct recipe_node *node;

    for (size_t i = 0; o && i < json_array_size(values); i++) {
        struct recipe_span span = span_of_value(s, key, listed, i);
        if (!check_value(b, s, o, json_array_get(values, i), span, &node))
            return;
        if (listed)
            o->nodes[i] = node;
        else
            o->type = node->type;
    }
}

void plan__searches_check(struct plan__build *b)
{
    const char *key;
    json_t *about;

    for (size_t i = 0; i < b->g->entry_count && !b->quiet; i++) {
        struct plan__search *s = b->g->entries[i]->search;
        if (s && !plan__is_trials(b->g->entries[i]))
            json_object_foreach(s->keys, key, about)
                check_key(b, s, key, about);
    }
}
