/* SPDX-License-Identifier: Apache-2.0
 *
 * A gang over several nodes (gang/places.h). Its step runs on the node of the first
 * rank, as any other; before that the other nodes get what they need: the recipe's
 * folder and the outputs of the steps before it, unless they see the files here. Each
 * place says how the first node's paths are called there.
 */
#include "config.h"
#include "run/away.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

/* --- places --- */

/* The cards of one of the ranks of a bundle: a part of them, or, of fewer cards than
 * ranks, all of them. */
static json_t *gpus_of(const struct far_bundle *b, int rank, int block)
{
    size_t each = b->gpu_count / (size_t)block;
    size_t first = each > 0 ? each * (size_t)rank : 0;
    json_t *gpus = json_array();

    for (size_t k = first; k < first + (each > 0 ? each : b->gpu_count); k++)
        json_array_append_new(gpus, json_integer(b->gpus[k]));
    return gpus;
}

static void add_places(const struct engine *e, const struct plan_step *p,
                       const struct far_bundle *b, json_t *places)
{
    const struct away_node *n = engine__away_find(e, b->node);
    int block = p->policy->block > 1 ? p->policy->block : 1;

    for (int rank = 0; rank < block; rank++) {
        json_t *one = json_pack("{s:s}", "node", b->node);
        if (n != NULL && *n->host)
            json_object_set_new(one, "host", json_string(n->host));
        if (n != NULL && *n->interface)
            json_object_set_new(one, "interface", json_string(n->interface));
        if (p->policy->gpu > 0)
            json_object_set_new(one, "gpus", gpus_of(b, rank, block));
        json_array_append_new(places, one);
    }
}

/* Ranks of one node are neighbours; its nodes come in the order of their first bundles.
 */
json_t *engine__away_places(const struct engine *e, const struct plan_step *p,
                            const struct far_bundle *bundles, uint32_t count)
{
    json_t *places = json_array();
    bool *done = rwf_xcalloc(count + 1, sizeof(*done));

    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = i; k < count; k++) {
            if (done[k] || strcmp(bundles[k].node, bundles[i].node) != 0)
                continue;
            done[k] = true;
            add_places(e, p, &bundles[k], places);
        }
    free(done);
    return places;
}

/* --- what its other nodes need --- */

struct gathering {
    struct engine__attempt *attempt;
    away_done_fn done;
    void *ctx;
    size_t next; /* place */
};

static const char *node_at(const struct engine__attempt *a, size_t place)
{
    return json_string_value(json_object_get(json_array_get(a->places, place), "node"));
}

/* The first place of another node after `from`; the number of places: none. */
static size_t next_node(const struct engine__attempt *a, size_t from)
{
    size_t count = json_array_size(a->places);
    const char *last = node_at(a, from);

    while (from < count && strcmp(node_at(a, from), last) == 0)
        from++;
    return from;
}

/* --- paths --- */

static void add_pair(json_t *pairs, const char *here, const char *there)
{
    if (strcmp(here, there) != 0)
        json_array_append_new(pairs, json_pack("[s, s]", here, there));
}

/* Of the first node's paths, how they are called on the node of a place. */
static json_t *pairs_for(struct engine__attempt *a, const char *node)
{
    const char *own[] = {recipe_dir(plan_graph_recipe(a->engine->graph)),
                         a->engine->root};
    json_t *pairs = json_array();

    for (size_t i = 0; i < RWF_COUNT(own); i++) {
        char *first, *there;
        engine__away_visit(a, node);
        there = engine__away_path(a, own[i]);
        engine__away_visit(a, node_at(a, 0));
        first = engine__away_path(a, own[i]);
        add_pair(pairs, first, there);
        free(first);
        free(there);
    }
    return pairs;
}

static void set_paths(struct engine__attempt *a)
{
    json_t *place;
    size_t i;

    json_array_foreach(a->places, i, place) {
        json_t *pairs = pairs_for(a, node_at(a, i));
        if (json_array_size(pairs) > 0)
            json_object_set(place, "paths", pairs);
        json_decref(pairs);
    }
}

/* --- files --- */

static void finish(struct gathering *g, const struct rwf_err *err)
{
    struct engine__attempt *a = g->attempt;
    away_done_fn done = g->done;
    void *ctx = g->ctx;

    engine__away_visit(a, node_at(a, 0));
    free(g);
    if (err == NULL)
        set_paths(a);
    done(ctx, err);
}

static void visit_next(struct gathering *g);

static void brought(void *ctx, const struct rwf_err *err)
{
    struct gathering *g = ctx;

    if (err != NULL)
        finish(g, err);
    else
        visit_next(g);
}

static void looked(void *ctx, const struct rwf_err *err)
{
    struct gathering *g = ctx;

    if (err != NULL)
        finish(g, err);
    else
        engine__away_put_needs(g->attempt, brought, g);
}

static void visit_next(struct gathering *g)
{
    g->next = next_node(g->attempt, g->next);
    if (g->next >= json_array_size(g->attempt->places)) {
        finish(g, NULL);
        return;
    }
    engine__away_visit(g->attempt, node_at(g->attempt, g->next));
    engine__away_look(g->attempt, looked, g);
}

void engine__away_gather(struct engine__attempt *a, away_done_fn done, void *ctx)
{
    if (a->places == NULL || json_array_size(a->places) == 0) {
        done(ctx, NULL);
        return;
    }
    struct gathering *g = rwf_xcalloc(1, sizeof(*g));
    *g = (struct gathering){a, done, ctx, 0};
    visit_next(g);
}

/* "node gpu2, with ranks 2 to 3 of 4, is gone", of the first one that is; or NULL. */
char *engine__away_gang_lost(const struct engine__attempt *a)
{
    size_t count = json_array_size(a->places), next;

    for (size_t i = 0; i < count; i = next) {
        next = next_node(a, i);
        if (engine__away_find(a->engine, node_at(a, i)) != NULL)
            continue;
        return next - i == 1
                   ? rwf_xasprintf("node %s, with rank %zu of %zu, is gone",
                                   node_at(a, i), i, count)
                   : rwf_xasprintf("node %s, with ranks %zu to %zu of %zu, is gone",
                                   node_at(a, i), i, next - 1, count);
    }
    return NULL;
}
