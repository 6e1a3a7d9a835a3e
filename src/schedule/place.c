/* SPDX-License-Identifier: Apache-2.0
 *
 * Finding nodes. One demand: the first CHOICES nodes that fit, from where the shape
 * need not look any more, are compared. A gang that packs takes, again and again, the
 * node that holds the most of what is left.
 */
#include "config.h"
#include "schedule/nodes.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

#define CHOICES 8

struct search {
    struct schedule_cluster *c;
    uint32_t shape;
    bool apart; /* not on nodes that have the cluster's stamp */
    uint32_t node;
    double best;
};

static int first_tree(const struct schedule__shape *s)
{
    return s->demand.gpu_share > 0 || s->demand.gpu_whole > 0;
}

static bool exactly(const struct schedule_cluster *c, const struct schedule__shape *s,
                    uint32_t node)
{
    const struct schedule__node *n = &c->nodes[node];
    return !s->exact ||
           (schedule__stock_fits(&n->stock, &s->demand) && schedule__has_labels(n, s));
}

static bool fits_node(const struct schedule_cluster *c, const struct schedule__shape *s,
                      uint32_t node)
{
    const struct schedule__node *n = &c->nodes[node];
    const struct schedule__tree *t = &c->trees[n->tree];
    return schedule__top_fits(&t->tops[t->size + n->place], &s->top) &&
           exactly(c, s, node);
}

static uint32_t pinned_place(const struct schedule_cluster *c,
                             const struct schedule__shape *s, int tree, uint32_t from)
{
    uint32_t node = schedule_cluster_find(c, s->pinned);
    if (node == SCHEDULE_NO_NODE || c->nodes[node].tree != (uint32_t)tree ||
        c->nodes[node].place < from || !fits_node(c, s, node))
        return SCHEDULE__NO_PLACE;
    return c->nodes[node].place;
}

/* The first place from `from` on that fits. */
static uint32_t next_place(const struct schedule_cluster *c,
                           const struct schedule__shape *s, int tree, uint32_t from)
{
    uint32_t place = from;
    if (s->pinned != NULL)
        return pinned_place(c, s, tree, from);
    while ((place = schedule__tree_next(&c->trees[tree], place, &s->top)) !=
           SCHEDULE__NO_PLACE) {
        if (exactly(c, s, c->at[tree][place]))
            break;
        place++;
    }
    return place;
}

/* Hears what became free since the shape last looked. */
static void catch_up(const struct schedule_cluster *c, struct schedule__shape *s)
{
    if (c->gives - s->seen > SCHEDULE__RING) {
        s->cursor[0] = s->cursor[1] = 0;
        s->seen = c->gives;
    }
    for (; s->seen < c->gives; s->seen++) {
        uint32_t node = c->ring[s->seen % SCHEDULE__RING];
        const struct schedule__node *n = &c->nodes[node];
        if (n->place < s->cursor[n->tree] && fits_node(c, s, node))
            s->cursor[n->tree] = n->place;
    }
}

void schedule__look_again(struct schedule_cluster *c, const uint32_t *shapes,
                          uint32_t count, uint32_t node)
{
    const struct schedule__node *n = &c->nodes[node];
    for (uint32_t i = 0; i < count; i++)
        if ((i == 0 || shapes[i] != shapes[i - 1]) &&
            c->shapes[shapes[i]].cursor[n->tree] > n->place)
            c->shapes[shapes[i]].cursor[n->tree] = n->place;
}

/* Moves the cursor to the first place that fits; SCHEDULE__NO_PLACE: none does. */
static uint32_t seek(struct schedule_cluster *c, struct schedule__shape *s, int tree)
{
    uint32_t place = next_place(c, s, tree, s->cursor[tree]);
    s->cursor[tree] = place == SCHEDULE__NO_PLACE ? c->trees[tree].count : place;
    return place;
}

bool schedule_cluster_might(struct schedule_cluster *c, uint32_t shape,
                            const struct schedule_claim *claim)
{
    struct schedule__shape *s = &c->shapes[shape];
    bool might = false;
    if (claim != NULL && claim->hold != 0 && c->held_count > 0)
        return true;
    catch_up(c, s);
    for (int t = first_tree(s); t < SCHEDULE__TREES && !might; t++)
        might = seek(c, s, t) != SCHEDULE__NO_PLACE;
    return might;
}

/* --- which of those that fit --- */

/* What a node would have left, by the largest node: the less the better. Opening an
 * idle node, or a GPU that nobody uses for a share of it, counts more than any of that.
 */
static double leftover(const struct schedule_cluster *c,
                       const struct schedule__shape *s, uint32_t node)
{
    const struct schedule__node *n = &c->nodes[node];
    double left = (double)n->stock.cpu_free / c->most_cpu +
                  (double)n->stock.memory_free / c->most_memory;
    int whole = n->stock.gpu_whole;
    left += 4.0 * whole / c->most_gpu + (n->grants == 0 ? 16 : 0);
    if (s->demand.gpu_share > 0) {
        bool shared = false;
        for (int i = 0; i < n->stock.gpu_count && !shared; i++)
            shared = n->stock.gpu_free[i] != SCHEDULE__UNIT &&
                     n->stock.gpu_free[i] >= s->demand.gpu_share;
        left += shared ? 0 : 8;
    }
    return left;
}

static double ratio(double used, double all)
{
    return all > 0 ? used / all : 0;
}

static double load(const struct schedule_cluster *c, uint32_t node)
{
    const struct schedule__node *n = &c->nodes[node];
    const struct schedule__stock *s = &n->stock;
    double most = ratio((double)(s->cpu - s->cpu_free), (double)s->cpu);
    double memory = ratio((double)(s->memory - s->memory_free), (double)s->memory);
    double gpu = ratio(s->gpu_count - s->gpu_whole, s->gpu_count);
    most = memory > most ? memory : most;
    most = gpu > most ? gpu : most;
    return most + 1e-6 * n->grants;
}

static void consider(struct search *f, uint32_t node, double score)
{
    if (f->node == SCHEDULE_NO_NODE || score < f->best) {
        f->node = node;
        f->best = score;
    }
}

static bool allowed(const struct search *f, uint32_t node)
{
    return !f->apart || f->c->nodes[node].stamp != f->c->stamp;
}

static void search_pack(struct search *f, int tree)
{
    struct schedule_cluster *c = f->c;
    struct schedule__shape *s = &c->shapes[f->shape];
    uint32_t place = seek(c, s, tree);
    for (int seen = 0; place != SCHEDULE__NO_PLACE && seen < CHOICES;
         place = next_place(c, s, tree, place + 1)) {
        uint32_t node = c->at[tree][place];
        if (!allowed(f, node))
            continue;
        consider(f, node, leftover(c, s, node));
        seen++;
    }
}

static void search_spread(struct search *f, int tree)
{
    struct schedule_cluster *c = f->c;
    struct schedule__shape *s = &c->shapes[f->shape];
    if (seek(c, s, tree) == SCHEDULE__NO_PLACE)
        return;
    uint32_t start = s->turn[tree], place = start;
    bool wrapped = false;
    for (int seen = 0; seen < CHOICES; place++) {
        place = next_place(c, s, tree, place);
        if (place == SCHEDULE__NO_PLACE && !wrapped) {
            wrapped = true;
            place = next_place(c, s, tree, 0);
        }
        if (place == SCHEDULE__NO_PLACE || (wrapped && place >= start))
            break;
        uint32_t node = c->at[tree][place];
        if (!allowed(f, node))
            continue;
        consider(f, node, load(c, node));
        seen++;
    }
    if (f->node != SCHEDULE_NO_NODE)
        s->turn[tree] = c->nodes[f->node].place + 1;
}

static uint32_t find(struct schedule_cluster *c, uint32_t shape, bool spread,
                     bool apart)
{
    struct search f = {
        .c = c, .shape = shape, .apart = apart, .node = SCHEDULE_NO_NODE};
    struct schedule__shape *s = &c->shapes[shape];
    catch_up(c, s);
    for (int t = first_tree(s); t < SCHEDULE__TREES && f.node == SCHEDULE_NO_NODE; t++)
        if (spread)
            search_spread(&f, t);
        else
            search_pack(&f, t);
    return f.node;
}

/* --- gangs --- */

struct gang {
    struct schedule_cluster *c;
    const uint32_t *shapes;
    uint32_t count;
    uint32_t *nodes;
    uint64_t *gpus;
    uint32_t done, prefer;
};

static void take(struct gang *g, uint32_t node)
{
    struct schedule__node *n = &g->c->nodes[node];
    uint32_t shape = g->shapes[g->done];
    g->gpus[g->done] = schedule__stock_take(&n->stock, &g->c->shapes[shape].demand);
    g->nodes[g->done++] = node;
    n->stamp = g->c->stamp;
    schedule__refresh(g->c, node);
}

static bool undo(struct gang *g)
{
    while (g->done > 0) {
        uint32_t i = --g->done;
        const struct schedule__demand *d = &g->c->shapes[g->shapes[i]].demand;
        schedule__stock_give(&g->c->nodes[g->nodes[i]].stock, d, g->gpus[i]);
        schedule__refresh(g->c, g->nodes[i]);
        schedule__look_again(g->c, g->shapes, g->count, g->nodes[i]);
    }
    return false;
}

bool schedule__fits_together(struct schedule_cluster *c, struct schedule__stock *stock,
                             const uint32_t *shapes, uint32_t count)
{
    uint64_t *gpus = rwf_xmalloc(count * sizeof(*gpus));
    uint32_t done = 0;
    while (done < count &&
           schedule__stock_fits(stock, &c->shapes[shapes[done]].demand)) {
        gpus[done] = schedule__stock_take(stock, &c->shapes[shapes[done]].demand);
        done++;
    }
    bool fits = done == count;
    while (done-- > 0)
        schedule__stock_give(stock, &c->shapes[shapes[done]].demand, gpus[done]);
    free(gpus);
    return fits;
}

/* What several need at least, together, on one node. */
static struct schedule__top sum(const struct schedule_cluster *c,
                                const uint32_t *shapes, uint32_t count)
{
    struct schedule__top all = {0};
    for (uint32_t i = 0; i < count; i++) {
        const struct schedule__top *one = &c->shapes[shapes[i]].top;
        all.cpu += one->cpu;
        all.memory += one->memory;
        all.marks |= one->marks;
        all.gpu_whole += one->gpu_whole;
        all.gpu_most = one->gpu_most > all.gpu_most ? one->gpu_most : all.gpu_most;
    }
    if (all.gpu_whole > 0 && all.gpu_most < SCHEDULE__UNIT)
        all.gpu_most = SCHEDULE__UNIT;
    return all;
}

static bool labels_hold(const struct schedule_cluster *c, uint32_t node,
                        const uint32_t *shapes, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if ((i == 0 || shapes[i] != shapes[i - 1]) &&
            !schedule__has_labels(&c->nodes[node], &c->shapes[shapes[i]]))
            return false;
    return true;
}

static bool prefers(const struct gang *g, const struct schedule__top *all,
                    uint32_t count)
{
    struct schedule_cluster *c = g->c;
    const uint32_t *shapes = g->shapes + g->done;
    if (g->prefer >= c->count)
        return false;
    struct schedule__node *n = &c->nodes[g->prefer];
    const struct schedule__tree *t = &c->trees[n->tree];
    return schedule__top_fits(&t->tops[t->size + n->place], all) &&
           labels_hold(c, g->prefer, shapes, count) &&
           schedule__fits_together(c, &n->stock, shapes, count);
}

/* A node that takes the next count of what is left, all of it. */
static uint32_t find_block(struct gang *g, uint32_t count)
{
    struct schedule_cluster *c = g->c;
    const uint32_t *shapes = g->shapes + g->done;
    struct search f = {.c = c, .node = SCHEDULE_NO_NODE};
    struct schedule__top all = sum(c, shapes, count);
    if (prefers(g, &all, count))
        return g->prefer;
    int tree = all.gpu_most > 0;
    for (; tree < SCHEDULE__TREES && f.node == SCHEDULE_NO_NODE; tree++) {
        uint32_t place = 0;
        for (int seen = 0; seen < CHOICES; place++) {
            place = schedule__tree_next(&c->trees[tree], place, &all);
            if (place == SCHEDULE__NO_PLACE)
                break;
            uint32_t node = c->at[tree][place];
            if (!labels_hold(c, node, shapes, count) ||
                !schedule__fits_together(c, &c->nodes[node].stock, shapes, count))
                continue;
            consider(&f, node, leftover(c, &c->shapes[shapes[0]], node));
            seen++;
        }
    }
    return f.node;
}

static void take_block(struct gang *g, uint32_t node, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        take(g, node);
}

/* The node that takes the most of what is left, *ret_count of them. */
static uint32_t find_most(struct gang *g, uint32_t *ret_count)
{
    uint32_t low = 1, high = g->count - g->done, attempt = high;
    uint32_t best = find(g->c, g->shapes[g->done], false, false);
    while (best != SCHEDULE_NO_NODE && low < high) {
        uint32_t node = find_block(g, attempt);
        if (node == SCHEDULE_NO_NODE) {
            high = attempt - 1;
        } else {
            low = attempt;
            best = node;
        }
        attempt = high - (high - low) / 2;
    }
    *ret_count = low;
    return best;
}

static bool pack(struct gang *g)
{
    while (g->done < g->count) {
        uint32_t count, node = find_most(g, &count);
        if (node == SCHEDULE_NO_NODE)
            return undo(g);
        take_block(g, node, count);
    }
    return true;
}

static bool apart(struct gang *g, bool must, const struct schedule_claim *claim)
{
    g->c->stamp++;
    for (uint32_t i = 0; i < claim->avoid_count; i++)
        g->c->nodes[claim->avoid[i]].stamp = g->c->stamp;
    while (g->done < g->count) {
        uint32_t node = find(g->c, g->shapes[g->done], !must, true);
        if (node == SCHEDULE_NO_NODE && !must) {
            g->c->stamp++; /* once round: begin again */
            node = find(g->c, g->shapes[g->done], true, false);
        }
        if (node == SCHEDULE_NO_NODE)
            return undo(g);
        take(g, node);
    }
    return true;
}

static bool fits_there(const struct gang *g, uint32_t node)
{
    return node < g->c->count && fits_node(g->c, &g->c->shapes[g->shapes[0]], node);
}

static bool place_one(struct gang *g, bool spread, uint32_t near)
{
    struct schedule_cluster *c = g->c;
    uint32_t node = g->prefer;
    if (!fits_there(g, node) && near > 0)
        node = near - 1;
    if (!fits_there(g, node))
        node = find(c, g->shapes[0], spread, false);
    if (node == SCHEDULE_NO_NODE)
        return false;
    take(g, node);
    return true;
}

static bool together(struct gang *g)
{
    uint32_t node = find_block(g, g->count);
    if (node == SCHEDULE_NO_NODE)
        return false;
    take_block(g, node, g->count);
    return true;
}

bool schedule__place(struct schedule_cluster *c, const uint32_t *shapes, uint32_t count,
                     enum plan_placement placement, const struct schedule_claim *claim,
                     uint32_t *nodes, uint64_t *gpus)
{
    struct gang g = {c, shapes, count, nodes, gpus, 0, claim->prefer};
    bool spread = placement == PLAN_SPREAD;
    if (spread || placement == PLAN_DIFFERENT_NODES) {
        if (count > 1 || claim->avoid_count > 0)
            return apart(&g, !spread, claim);
    } else if (count > 1) {
        return placement == PLAN_PACK ? pack(&g) : together(&g);
    }
    return place_one(&g, spread, claim->near);
}
