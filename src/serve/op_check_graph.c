/* SPDX-License-Identifier: Apache-2.0
 *
 * A graph as it stands in a recipe: each name that it calls is a deployment, each
 * deployment is called, and a split goes somewhere. The shape itself is the schema's
 * matter.
 */
#include "config.h"
#include "serve/op_serve.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/suggest.h"

enum { DEPTH_MAX = 64 };

struct graph {
    const char *name; /* of the entry */
    const struct recipe_node *all;
    bool *called;
    struct recipe_diags *diags;
};

static void call(struct graph *g, const char *name, struct recipe_span span)
{
    struct rwf_suggest near;

    rwf_suggest_init(&near, name);
    for (size_t i = 0; i < g->all->count; i++) {
        if (strcmp(g->all->pairs[i].key, name) == 0) {
            g->called[i] = true;
            return;
        }
        rwf_suggest_try(&near, g->all->pairs[i].key);
    }
    struct recipe_diag *d = recipe_diag_add(
        g->diags, RECIPE_E0310, span,
        "serve.%s: the graph calls '%s', which is no deployment", g->name, name);
    if (rwf_suggest_best(&near) != NULL) {
        recipe_diag_hint(d, "did you mean '%s'?", rwf_suggest_best(&near));
        recipe_diag_fix(d, rwf_suggest_best(&near));
    } else {
        recipe_diag_hint(d, "add it to deployments:");
    }
}

static void walk(struct graph *g, const struct recipe_node *node, int depth);

static void walk_all(struct graph *g, const struct recipe_node *node, int depth)
{
    bool map = node != NULL && node->kind == RECIPE_MAP;

    for (size_t i = 0; node != NULL && node->kind != RECIPE_SCALAR && i < node->count;
         i++)
        walk(g, map ? node->pairs[i].value : node->items[i], depth);
}

static void walk_split(struct graph *g, const struct recipe_node *split)
{
    const struct recipe_node *weights = recipe_get(split, "weights");
    bool all_zero = true;

    for (size_t i = 0;
         weights != NULL && weights->kind == RECIPE_MAP && i < weights->count; i++) {
        const struct recipe_pair *p = &weights->pairs[i];
        double weight;
        call(g, p->key, p->key_span);
        all_zero = all_zero &&
                   recipe_looks_number(recipe_text(p->value, ""), &weight) &&
                   weight == 0;
    }
    if (weights == NULL || weights->kind != RECIPE_MAP || weights->count == 0 ||
        !all_zero)
        return;
    struct recipe_diag *d =
        recipe_diag_add(g->diags, RECIPE_E0310, weights->span,
                        "serve.%s: all weights of this split are 0", g->name);
    recipe_diag_hint(d, "give one of them the rest, as in {a: 0.9, b: 0.1}");
}

static void walk(struct graph *g, const struct recipe_node *node, int depth)
{
    if (node == NULL || node->null)
        return;
    if (depth > DEPTH_MAX) {
        recipe_diag_add(g->diags, RECIPE_E0310, node->span,
                        "serve.%s: the graph is nested deeper than %d", g->name,
                        DEPTH_MAX);
        return;
    }
    if (node->kind == RECIPE_SCALAR) {
        call(g, node->text, node->span);
        return;
    }
    for (size_t i = 0; node->kind == RECIPE_MAP && i < node->count; i++) {
        const char *key = node->pairs[i].key;
        const struct recipe_node *value = node->pairs[i].value;
        if (strcmp(key, "split") == 0) {
            walk_split(g, value);
        } else if (strcmp(key, "switch") == 0) {
            walk_all(g, recipe_get(value, "cases"), depth + 1);
            walk(g, recipe_get(value, "otherwise"), depth + 1);
        } else {
            walk_all(g, value, depth + 1);
        }
    }
}

static void say_unused(struct graph *g)
{
    for (size_t i = 0; i < g->all->count; i++) {
        const struct recipe_pair *p = &g->all->pairs[i];
        if (g->called[i] || strncmp(p->key, "x-", 2) == 0)
            continue;
        struct recipe_diag *d = recipe_diag_add(
            g->diags, RECIPE_E0310, p->key_span,
            "serve.%s: the graph does not call the deployment '%s'", g->name, p->key);
        recipe_diag_hint(d, "call it in graph:, or remove it");
    }
}

void serve_op_check_graph(const char *name, const struct recipe_node *body,
                          struct recipe_diags *diags)
{
    const struct recipe_pair *all = recipe_pair_get(body, "deployments");
    const struct recipe_node *graph = recipe_get(body, "graph");
    struct graph g = {.name = name, .all = all->value, .diags = diags};

    if (all->value->kind != RECIPE_MAP || all->value->count == 0)
        return;
    if (graph == NULL || graph->null) {
        if (all->value->count == 1)
            return;
        struct recipe_diag *d = recipe_diag_add(
            diags, RECIPE_E0310, all->key_span,
            "serve.%s: with several deployments a graph is needed", name);
        recipe_diag_hint(d,
                         "say how a request goes through them, as in graph: {sequence: "
                         "[%s, %s]}",
                         all->value->pairs[0].key, all->value->pairs[1].key);
        return;
    }
    g.called = rwf_xcalloc(all->value->count, sizeof(*g.called));
    size_t errors = recipe_diags_errors(diags);
    walk(&g, graph, 0);
    if (recipe_diags_errors(diags) == errors) /* a misspelt call is not two problems */
        say_unused(&g);
    free(g.called);
}
