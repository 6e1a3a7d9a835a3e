/* SPDX-License-Identifier: Apache-2.0
 *
 * The recipe as it would be with a configuration in place of the search that found it:
 * the target has it, the search is gone, and what refers to the search refers to the
 * target.
 */
#include "config.h"
#include "plan/search.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

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

/* "${trial.x}" and "${trial.x ?? "…"}" with a value: that; what the search gave: what
 * the target gives. */
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
            const struct recipe_node *node =
                plan__json_scalar(s->a, value, (struct recipe_span){0});
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

static struct recipe_node *settle_node(const struct settling *s,
                                       const struct recipe_node *node)
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
            o ? plan__lay(s->a, body, o, 0, plan__json_node(s->a, value, o->span))
              : NULL;
        body = next ? next : body;
    }
    return body;
}

/* A section: the target with its configuration, and all but the search. */
static struct recipe_node *settled_section(const struct settling *s,
                                           const char *section,
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

struct recipe_node *plan_search_settled(struct plan_graph *g,
                                        const struct plan_step *search,
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
