/* SPDX-License-Identifier: Apache-2.0
 *
 * Searches. An entry whose op has `trials` stands for two things: its trials, which are
 * the steps of another entry (the target) with configurations of their own, and the
 * step that follows them all. The trials are an entry beside it that has the target's
 * op, body and needs, so that everything that holds for the target holds for them:
 * keys, resources, retries, outputs.
 *
 * A configuration is laid over the target's body when it is known: maps on the way are
 * new, all else is shared. The types of its values are known from the check, in which
 * every value of a list, and the ends of every range, stood at its place before the
 * schema.
 */
#include "config.h"
#include "plan/search.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/suggest.h"
#include "plan/expand.h"
#include "plan/lookup.h"
#include "recipe/schema.h"

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

    if (target &&
        (recipe_get(target->body, "matrix") || recipe_get(target->body, "foreach"))) {
        complain(b, span,
                 "%s has a matrix or a foreach: the target of a search is one step",
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
    struct plan_binding *bindings =
        rwf_arena_alloc(g->arena, count * sizeof(*bindings));

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
    static const char *const keys[] = {
        "resources", "retry",   "timeout", "grace", "cache",  "outputs", "log_limit",
        "priority",  "workers", "needs",   "when",  "matrix", "foreach", "help"};

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
        complain(b, span, "'%s' is the same for all trials: it is read when planning",
                 key);
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
            struct recipe_diag *d =
                complain(b, span, "'%s' is no part of the target %s", key, address);
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
    const char *const *names =
        target->op->metrics ? target->op->metrics(target->body) : NULL;
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
    struct recipe_diag *d =
        complain(b, node ? node->span : e->span, "%s never reports '%s'; it reports %s",
                 target->address, metric, all.data);
    if (rwf_suggest_best(&near))
        recipe_diag_hint(d, "did you mean '%s'?", rwf_suggest_best(&near));
    rwf_str_free(&all);
    return false;
}

static int64_t length_of(const struct plan__entry *target, const json_t *body)
{
    const char *metric = json_string_value(json_object_get(body, "metric"));
    const char *unit = json_string_value(json_object_get(body, "time_attr"));

    return target->op->length ? target->op->length(target->body, metric ? metric : "",
                                                   unit ? unit : "report")
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
        d = complain(b, p ? p->key_span : s->owner->span,
                     "nothing in %s refers to ${trial.%s}", s->target->address,
                     s->names[i]);
        recipe_diag_hint(d, "write ${trial.%s} there, or name a key: %s.KEY",
                         s->names[i], s->target->address);
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

/* --- values against the schema --- */

/* A recipe with nothing but this target. */
static struct recipe_node *tree_with(struct rwf_arena *a,
                                     const struct plan__entry *target,
                                     struct recipe_node *body)
{
    struct recipe_node *root = recipe_node_new(a, RECIPE_MAP, body->span);
    struct recipe_node *map = recipe_node_new(a, RECIPE_MAP, body->span);
    struct recipe_node *version =
        recipe_scalar_new(a, "raywf/v1", RECIPE_TEXT, body->span);

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

static bool check_value(struct plan__build *b, struct plan__search *s,
                        struct plan__overlay *o, const json_t *value,
                        struct recipe_span span, const struct recipe_node **ret_node)
{
    const struct recipe_node *root = recipe_root(b->g->recipe);
    const struct recipe_node *said =
        recipe_get(recipe_get(root, s->target->section), s->target->name);
    size_t errors = recipe_diags_errors(b->diags);
    struct rwf_arena *a = rwf_arena_create();
    struct recipe_node *node = plan__json_node(b->g->arena, value, span), *body;
    bool good = false;

    body = plan__lay(a, recipe_node_copy(a, said), o, 0, node);
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
