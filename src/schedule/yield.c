/* SPDX-License-Identifier: Apache-2.0
 *
 * Room for those who wait: nodes kept free for the one that was passed too often, and
 * the grants that must end for one of higher priority.
 */
#include "config.h"
#include "schedule/nodes.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

/* --- holds --- */

struct wish {
    uint32_t node;
    double missing; /* 0: free now */
};

static double lacks(int64_t need, int64_t free)
{
    return need <= free || need == 0 ? 0 : (double)(need - free) / (double)need;
}

static double missing(const struct schedule__stock *s, const struct schedule__demand *d)
{
    double most = lacks(d->cpu, s->cpu_free), other = lacks(d->memory, s->memory_free);
    most = other > most ? other : most;
    other = lacks(d->gpu_whole, s->gpu_whole);
    most = other > most ? other : most;
    other = lacks(d->gpu_share, s->gpu_most);
    return other > most ? other : most;
}

static int by_missing(const void *a, const void *b)
{
    const struct wish *x = a, *y = b;
    if (x->missing != y->missing)
        return x->missing < y->missing ? -1 : 1;
    return (x->node > y->node) - (x->node < y->node);
}

/* How many of shapes, in order, the node takes when nothing else is there. */
static uint32_t holds(const struct schedule_cluster *c, const struct schedule__node *n,
                      const uint32_t *shapes, uint32_t count)
{
    struct schedule__stock empty;
    uint32_t done = 0;
    schedule__stock_clear(&empty, &n->stock);
    while (done < count && schedule__has_labels(n, &c->shapes[shapes[done]]) &&
           schedule__stock_fits(&empty, &c->shapes[shapes[done]].demand)) {
        (void)schedule__stock_take(&empty, &c->shapes[shapes[done]].demand);
        done++;
    }
    schedule__stock_free(&empty);
    return done;
}

/* Nodes that could take the first shape. */
static struct wish *wishes(const struct schedule_cluster *c, uint32_t shape,
                           size_t *ret_count)
{
    const struct schedule__shape *s = &c->shapes[shape];
    struct wish *list = rwf_xmalloc((c->count + 1) * sizeof(*list));
    size_t count = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        const struct schedule__node *n = &c->nodes[i];
        if (n->name != NULL && !n->gone && !n->closed && n->hold_owner == NULL &&
            schedule__stock_could(&n->stock, &s->demand) && schedule__has_labels(n, s))
            list[count++] = (struct wish){i, missing(&n->stock, &s->demand)};
    }
    *ret_count = count;
    return list;
}

/* Sorts, or brings only the first to its place. */
static void order(struct wish *list, size_t count, bool all)
{
    size_t first = 0;
    if (all)
        qsort(list, count, sizeof(*list), by_missing);
    for (size_t i = 1; i < count && !all; i++)
        if (by_missing(&list[i], &list[first]) < 0)
            first = i;
    if (first > 0)
        list[0] = list[first];
}

void schedule_cluster_hold_node(struct schedule_cluster *c, const void *owner,
                                uint64_t hold, uint32_t node)
{
    struct schedule__node *n = &c->nodes[node];
    rwf_assert(owner != NULL && hold != 0);
    if (n->hold_owner != NULL || n->name == NULL || n->gone)
        return;
    n->hold_owner = owner;
    n->hold = hold;
    *RWF_PUSH(c->held, c->held_count, c->held_cap) = node;
    schedule__refresh(c, node);
}

bool schedule_cluster_hold(struct schedule_cluster *c, const void *owner, uint64_t hold,
                           const uint32_t *shapes, uint32_t count,
                           enum plan_placement placement)
{
    size_t wish_count;
    uint32_t done = 0;
    bool some = false;
    schedule_cluster_unhold(c, owner, hold);
    struct wish *list = wishes(c, shapes[0], &wish_count);
    order(list, wish_count, count > 1);
    for (size_t i = 0; i < wish_count && done < count; i++) {
        const struct schedule__node *n = &c->nodes[list[i].node];
        bool one_each = placement == PLAN_DIFFERENT_NODES || placement == PLAN_SPREAD;
        uint32_t here = one_each ? 1 : holds(c, n, shapes + done, count - done);
        if (here == 0 || (placement == PLAN_SAME_NODE && here < count))
            continue;
        schedule_cluster_hold_node(c, owner, hold, list[i].node);
        done += here;
        some = true;
    }
    free(list);
    /* spread over fewer nodes than there are ranks: the whole of them */
    if (done >= count || (placement == PLAN_SPREAD && some))
        return true;
    schedule_cluster_unhold(c, owner, hold);
    return false;
}

void schedule_cluster_unhold(struct schedule_cluster *c, const void *owner,
                             uint64_t hold)
{
    for (size_t i = 0; i < c->held_count;) {
        uint32_t node = c->held[i];
        if (c->nodes[node].hold_owner != owner || c->nodes[node].hold != hold) {
            i++;
            continue;
        }
        c->held[i] = c->held[--c->held_count];
        c->nodes[node].hold_owner = NULL;
        schedule__freed(c, node);
    }
}

/* --- victims --- */

struct hunt {
    struct schedule_cluster *c;
    const struct schedule_claim *claim;
    schedule_prey_fn prey;
    void *ctx;
    uint32_t *list; /* grants that are given back for the time being */
    size_t count, cap;
};

static bool has_lower(const struct schedule_cluster *c,
                      const struct schedule_claim *claim)
{
    for (size_t i = 0; i < c->level_count; i++)
        if (c->levels[i].owner == claim->owner &&
            c->levels[i].priority < claim->priority)
            return true;
    return false;
}

static bool is_prey(const struct hunt *h, const struct schedule__grant *g)
{
    if (g->claim.owner != h->claim->owner || g->claim.inside != SCHEDULE_NO_GRANT)
        return false;
    if (g->ending)
        return true;
    if (h->prey != NULL)
        return h->prey(h->ctx, &g->claim);
    return g->claim.retriable && g->claim.priority < h->claim->priority;
}

static int64_t taken_cpu(const struct schedule_cluster *c,
                         const struct schedule__grant *g)
{
    return g->blocked ? c->shapes[g->shape].demand.cpu : 0;
}

/* Gives back without telling anyone, and takes it back. */
static void lay_down(struct hunt *h, uint32_t grant)
{
    struct schedule__grant *g = &h->c->grants[grant];
    struct schedule__stock *s = &h->c->nodes[g->node].stock;
    schedule__stock_put_cpu(s, -taken_cpu(h->c, g));
    schedule__stock_give(s, &h->c->shapes[g->shape].demand, g->gpus);
    schedule__refresh(h->c, g->node);
}

static void pick_up(struct hunt *h, uint32_t grant)
{
    struct schedule__grant *g = &h->c->grants[grant];
    struct schedule__stock *s = &h->c->nodes[g->node].stock;
    schedule__stock_retake(s, &h->c->shapes[g->shape].demand, g->gpus);
    schedule__stock_put_cpu(s, taken_cpu(h->c, g));
    schedule__refresh(h->c, g->node);
}

/* Those that end already, then the lowest priority, then the youngest. */
static bool goes_before(const struct schedule__grant *a,
                        const struct schedule__grant *b)
{
    if (a->ending != b->ending)
        return a->ending;
    return a->claim.priority < b->claim.priority;
}

/* The prey on a node, in the order in which it would end. */
static void gather(struct hunt *h, uint32_t node)
{
    struct schedule_cluster *c = h->c;
    size_t from = h->count;
    for (uint32_t g = c->nodes[node].last; g != SCHEDULE_NO_GRANT;
         g = c->grants[g].prev) {
        if (!is_prey(h, &c->grants[g]))
            continue;
        (void)RWF_PUSH(h->list, h->count, h->cap);
        size_t i = h->count - 1; /* insertion keeps the youngest first */
        while (i > from && goes_before(&c->grants[g], &c->grants[h->list[i - 1]])) {
            h->list[i] = h->list[i - 1];
            i--;
        }
        h->list[i] = g;
    }
}

static bool is_usable(const struct schedule__node *n)
{
    return n->name != NULL && !n->gone && !n->closed && n->first != SCHEDULE_NO_GRANT &&
           n->hold_owner == NULL;
}

/* Ends as few of list[from…] as make shapes fit on their node; false: not even all. */
static bool reduce(struct hunt *h, size_t from, uint32_t node, const uint32_t *shapes,
                   uint32_t count, size_t *ret_used)
{
    struct schedule_cluster *c = h->c;
    struct schedule__stock *stock = &c->nodes[node].stock;
    size_t used = from;
    bool fits = schedule__fits_together(c, stock, shapes, count);
    while (!fits && used < h->count) {
        lay_down(h, h->list[used++]);
        fits = schedule__fits_together(c, stock, shapes, count);
    }
    /* an early one may have been of no help: those are spared */
    size_t kept = from;
    for (size_t i = from; fits && i < used; i++) {
        pick_up(h, h->list[i]);
        if (!schedule__fits_together(c, stock, shapes, count)) {
            lay_down(h, h->list[i]);
            uint32_t grant = h->list[i];
            h->list[i] = h->list[kept];
            h->list[kept++] = grant;
        }
    }
    for (size_t i = from; i < (fits ? kept : used); i++)
        pick_up(h, h->list[i]);
    *ret_used = kept;
    return fits;
}

static bool hunt_one(struct hunt *h, uint32_t shape)
{
    struct schedule_cluster *c = h->c;
    const struct schedule__shape *s = &c->shapes[shape];
    for (uint32_t node = 0; node < c->count; node++) {
        const struct schedule__node *n = &c->nodes[node];
        if (!is_usable(n) || !schedule__stock_could(&n->stock, &s->demand) ||
            !schedule__has_labels(n, s))
            continue;
        h->count = 0;
        gather(h, node);
        if (h->count > 0 && reduce(h, 0, node, &shape, 1, &h->count))
            return true;
    }
    h->count = 0;
    return false;
}

/* All prey of all nodes goes; the gang is placed; then the nodes it uses are reduced.
 */
static bool place_without(struct hunt *h, const uint32_t *shapes, uint32_t count,
                          enum plan_placement placement, uint32_t *nodes)
{
    struct schedule_cluster *c = h->c;
    uint64_t *gpus = rwf_xmalloc(count * sizeof(*gpus));
    for (uint32_t node = 0; node < c->count; node++)
        if (is_usable(&c->nodes[node]))
            gather(h, node);
    for (size_t i = 0; i < h->count; i++)
        lay_down(h, h->list[i]);
    for (uint32_t i = 0; i < count; i++) {
        struct schedule__shape *s = &c->shapes[shapes[i]];
        s->cursor[0] = s->cursor[1] = 0;
    }
    bool placed = schedule__place(c, shapes, count, placement, h->claim, nodes, gpus);
    for (uint32_t i = 0; placed && i < count; i++) {
        const struct schedule__demand *d = &c->shapes[shapes[i]].demand;
        schedule__stock_give(&c->nodes[nodes[i]].stock, d, gpus[i]);
        schedule__refresh(c, nodes[i]);
        schedule__look_again(c, shapes, count, nodes[i]);
    }
    for (size_t i = 0; i < h->count; i++)
        pick_up(h, h->list[i]);
    h->count = 0;
    free(gpus);
    return placed;
}

static bool hunt_gang(struct hunt *h, const uint32_t *shapes, uint32_t count,
                      enum plan_placement placement)
{
    uint32_t *nodes = rwf_xmalloc(count * sizeof(*nodes));
    uint32_t *here = rwf_xmalloc(count * sizeof(*here));
    bool *seen = rwf_xcalloc(count, sizeof(*seen));
    bool fits = place_without(h, shapes, count, placement, nodes);
    for (uint32_t i = 0; fits && i < count; i++) {
        uint32_t on = 0;
        size_t from = h->count;
        for (uint32_t k = i; k < count && !seen[i]; k++)
            if (nodes[k] == nodes[i]) {
                here[on++] = shapes[k];
                seen[k] = k != i;
            }
        if (on == 0)
            continue;
        gather(h, nodes[i]);
        fits = reduce(h, from, nodes[i], here, on, &h->count);
    }
    free(nodes);
    free(here);
    free(seen);
    return fits;
}

uint32_t schedule_cluster_victims(struct schedule_cluster *c, const uint32_t *shapes,
                                  uint32_t count, enum plan_placement placement,
                                  const struct schedule_claim *claim,
                                  schedule_prey_fn prey, void *ctx, uint32_t **ret)
{
    struct hunt h = {.c = c, .claim = claim, .prey = prey, .ctx = ctx};
    *ret = NULL;
    if ((prey == NULL && !has_lower(c, claim)) || claim->inside != SCHEDULE_NO_GRANT)
        return 0;
    bool found =
        count == 1 ? hunt_one(&h, shapes[0]) : hunt_gang(&h, shapes, count, placement);
    uint32_t fresh = 0;
    for (size_t i = 0; found && i < h.count; i++)
        if (!c->grants[h.list[i]].ending)
            h.list[fresh++] = h.list[i];
    if (!found || fresh == 0) {
        free(h.list);
        return found ? UINT32_MAX : 0;
    }
    *ret = h.list;
    return fresh;
}
