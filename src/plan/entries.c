/* SPDX-License-Identifier: Apache-2.0
 *
 * Sections -> entries: each named thing of a section that an op serves, with the
 * recipe's defaults merged under it. Merging makes new maps and shares the scalars, so
 * spans and remembered parses stay those of the source.
 */
#include "config.h"
#include "plan/inside.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

/* What defaults: may give to the entries of a section; NULL: everything it holds. */
static const char *const dataset_defaults[] = {"retry",     "timeout", "grace",
                                               "resources", "cache",   NULL};
static const char *const no_defaults[] = {NULL};
static const struct {
    const char *section;
    const char *const *keys;
} defaults_for[] = {
    {"tasks", NULL},
    {"datasets", dataset_defaults},
    {"checks", no_defaults},
    {"tune", no_defaults},
    {"actors", no_defaults},
    {"serve", no_defaults},
};

static bool takes_default(const char *section, const char *key)
{
    for (size_t i = 0; i < RWF_COUNT(defaults_for); i++) {
        if (strcmp(defaults_for[i].section, section) != 0)
            continue;
        const char *const *k = defaults_for[i].keys;
        for (; k && *k; k++)
            if (strcmp(*k, key) == 0)
                return true;
        return !k;
    }
    return true;
}

static bool is_map(const struct recipe_node *node)
{
    return node && node->kind == RECIPE_MAP;
}

/* over on top of under: maps merge deeply, everything else replaces. */
static struct recipe_node *merge(struct rwf_arena *a, struct recipe_node *under,
                                 struct recipe_node *over)
{
    if (!under || !is_map(under) || !is_map(over))
        return over;
    struct recipe_node *out = recipe_node_new(a, RECIPE_MAP, over->span);
    for (size_t i = 0; i < over->count; i++) {
        struct recipe_pair *p = &over->pairs[i];
        recipe_map_add(a, out, p->key, p->key_span,
                       merge(a, recipe_get(under, p->key), p->value));
    }
    for (size_t i = 0; i < under->count; i++) {
        struct recipe_pair *p = &under->pairs[i];
        if (!recipe_get(over, p->key))
            recipe_map_add(a, out, p->key, p->key_span, p->value);
    }
    return out;
}

static bool takes_env(const char *section)
{
    return strcmp(section, "tasks") == 0 || strcmp(section, "actors") == 0 ||
           strcmp(section, "train") == 0 || strcmp(section, "serve") == 0;
}

/* The part of defaults: that a section takes, with env: beneath it where programs are. */
static struct recipe_node *section_defaults(struct plan_graph *g, const char *section)
{
    const struct recipe_node *root = recipe_root(g->recipe);
    struct recipe_node *defaults = recipe_get(root, "defaults");
    struct recipe_node *env = recipe_get(root, "env");
    struct recipe_node *out = recipe_node_new(g->arena, RECIPE_MAP, root->span);

    if (is_map(env) && takes_env(section))
        recipe_map_add(g->arena, out, "env", env->span, env);
    if (!is_map(defaults))
        return out;
    struct recipe_node *taken = recipe_node_new(g->arena, RECIPE_MAP, defaults->span);
    for (size_t i = 0; i < defaults->count; i++) {
        struct recipe_pair *p = &defaults->pairs[i];
        if (takes_default(section, p->key) && strncmp(p->key, "x-", 2) != 0)
            recipe_map_add(g->arena, taken, p->key, p->key_span, p->value);
    }
    return merge(g->arena, out, taken);
}

static struct recipe_node *merge_entry(struct plan_graph *g,
                                       struct recipe_node *defaults,
                                       struct recipe_node *body)
{
    struct recipe_node *merged;

    if (defaults->count == 0)
        return body;
    merged = merge(g->arena, defaults, body);
    merged->schema = body->schema;
    return merged;
}

static void take_outputs(struct plan_graph *g, struct plan__entry *e)
{
    const char *name;
    json_t *value;
    json_t *main;

    e->outputs = e->op->outputs ? e->op->outputs(e->body) : NULL;
    if (!json_is_object(e->outputs)) {
        json_decref(e->outputs);
        e->outputs = json_object();
    }
    main = json_incref(json_object_get(e->outputs, ""));
    json_object_del(e->outputs, "");
    json_object_foreach(e->outputs, name, value)
        if (main && !e->main_output && json_equal(main, value))
            e->main_output = rwf_arena_strdup(g->arena, name);
    json_decref(main);
}

static void add_entry(struct plan__build *b, const char *section,
                      const struct recipe_pair *pair, struct recipe_node *defaults)
{
    struct plan_graph *g = b->g;
    const struct op *op = op_for_entry(g->ops, section, pair->value);
    if (!op)
        return;
    struct plan__entry *e = rwf_arena_alloc(g->arena, sizeof(*e));

    e->op = op;
    e->section = op->section;
    e->name = pair->key;
    e->address = rwf_arena_printf(g->arena, "%s.%s", op->section, pair->key);
    e->span = pair->key_span;
    e->body = merge_entry(g, defaults, pair->value);
    if (op->validate)
        op->validate(g->recipe, e->name, e->body, b->diags);
    take_outputs(g, e);
    *RWF_PUSH(g->entries, g->entry_count, g->entry_cap) = e;
    rwf_map_set(g->by_address, e->address, e);
}

void plan__entries_collect(struct plan__build *b)
{
    const struct recipe_node *root = recipe_root(b->g->recipe);

    if (!is_map(root))
        return;
    for (size_t i = 0; i < root->count; i++) {
        const struct recipe_pair *section = &root->pairs[i];
        if (!op_for_section(b->g->ops, section->key) || !is_map(section->value))
            continue;
        struct recipe_node *defaults = section_defaults(b->g, section->key);
        for (size_t k = 0; k < section->value->count; k++) {
            const struct recipe_pair *pair = &section->value->pairs[k];
            if (is_map(pair->value) && strncmp(pair->key, "x-", 2) != 0)
                add_entry(b, section->key, pair, defaults);
        }
    }
}

void plan__entry_release(struct plan__entry *e)
{
    if (plan__is_trials(e))
        plan__search_release(e->search);
    json_decref(e->outputs);
    for (uint32_t i = 0; e->step_outputs && i < e->count; i++)
        json_decref(e->step_outputs[i]);
    free(e->step_outputs);
    free(e->deps);
    rwf_map_destroy(e->dep_by_address, NULL);
    rwf_map_destroy(e->needs_by_key, NULL);
    for (struct plan__index *x = e->indexes; x; x = x->next)
        rwf_map_destroy(x->groups, NULL);
}
