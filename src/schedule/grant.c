/* SPDX-License-Identifier: Apache-2.0
 *
 * Who holds what. A grant is on the list of its node, oldest first. Retriable grants
 * are counted by owner and priority, so that asking for victims costs nothing when
 * there are none.
 */
#include "config.h"
#include "schedule/nodes.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

static struct schedule__grant *grant_at(struct schedule_cluster *c, uint32_t grant)
{
    rwf_assert(grant < c->grant_count && c->grants[grant].used);
    return &c->grants[grant];
}

static void count_level(struct schedule_cluster *c, const struct schedule_claim *claim,
                        int sign)
{
    if (!claim->retriable)
        return;
    struct schedule__level *level = NULL;
    for (size_t i = 0; i < c->level_count && level == NULL; i++)
        if (c->levels[i].owner == claim->owner &&
            c->levels[i].priority == claim->priority)
            level = &c->levels[i];
    if (level == NULL) {
        level = RWF_PUSH(c->levels, c->level_count, c->level_cap);
        *level = (struct schedule__level){claim->owner, claim->priority, 0};
    }
    level->count += (uint32_t)sign;
    if (level->count == 0)
        *level = c->levels[--c->level_count];
}

static uint32_t take_slot(struct schedule_cluster *c)
{
    uint32_t slot = c->free_grant;
    if (slot != SCHEDULE_NO_GRANT) {
        c->free_grant = c->grants[slot].next;
        return slot;
    }
    (void)RWF_PUSH(c->grants, c->grant_count, c->grant_cap);
    return (uint32_t)c->grant_count - 1;
}

uint32_t schedule__grant_add(struct schedule_cluster *c, uint32_t node, uint32_t shape,
                             uint64_t gpus, const struct schedule_claim *claim)
{
    uint32_t grant = take_slot(c);
    struct schedule__node *n = &c->nodes[node];
    c->grants[grant] = (struct schedule__grant){.node = node,
                                                .shape = shape,
                                                .next = SCHEDULE_NO_GRANT,
                                                .prev = n->last,
                                                .gpus = gpus,
                                                .claim = *claim,
                                                .used = true};
    if (n->last == SCHEDULE_NO_GRANT)
        n->first = grant;
    else
        c->grants[n->last].next = grant;
    n->last = grant;
    c->grants[grant].claim.avoid = NULL; /* was lent for the call */
    c->grants[grant].claim.avoid_count = 0;
    n->grants++;
    count_level(c, claim, 1);
    return grant;
}

static void unlink_grant(struct schedule_cluster *c, uint32_t grant)
{
    struct schedule__grant *g = &c->grants[grant];
    struct schedule__node *n = &c->nodes[g->node];
    if (g->prev == SCHEDULE_NO_GRANT)
        n->first = g->next;
    else
        c->grants[g->prev].next = g->next;
    if (g->next == SCHEDULE_NO_GRANT)
        n->last = g->prev;
    else
        c->grants[g->next].prev = g->prev;
    n->grants--;
    g->used = false;
    g->next = c->free_grant;
    c->free_grant = grant;
}

static struct schedule__stock *stock_of(struct schedule_cluster *c,
                                        const struct schedule__grant *g)
{
    return g->claim.inside == SCHEDULE_NO_GRANT ? &c->nodes[g->node].stock
                                                : grant_at(c, g->claim.inside)->inner;
}

/* Out of a bundle. */
static bool place_inside(struct schedule_cluster *c, uint32_t shape,
                         const struct schedule_claim *claim, uint32_t *ret_grant)
{
    struct schedule__grant *bundle = grant_at(c, claim->inside);
    const struct schedule__demand *d = &c->shapes[shape].demand;
    uint32_t node = bundle->node;
    if (c->nodes[node].gone)
        return false;
    if (bundle->inner == NULL) {
        bundle->inner = rwf_xcalloc(1, sizeof(*bundle->inner));
        schedule__stock_carve(bundle->inner, &c->shapes[bundle->shape].demand,
                              bundle->gpus, c->nodes[node].stock.gpu_count);
    }
    if (!schedule__stock_fits(bundle->inner, d))
        return false;
    bundle->inside_count++;
    uint64_t gpus = schedule__stock_take(bundle->inner, d);
    *ret_grant = schedule__grant_add(c, node, shape, gpus, claim);
    return true;
}

bool schedule_cluster_place(struct schedule_cluster *c, const uint32_t *shapes,
                            uint32_t count, enum plan_placement placement,
                            const struct schedule_claim *claim, uint32_t *ret_grants)
{
    uint32_t one_node, *nodes = &one_node;
    uint64_t one_gpus, *gpus = &one_gpus;
    if (claim->inside != SCHEDULE_NO_GRANT) {
        rwf_assert(count == 1);
        return place_inside(c, shapes[0], claim, ret_grants);
    }
    if (count > 1) {
        nodes = rwf_xmalloc(count * sizeof(*nodes));
        gpus = rwf_xmalloc(count * sizeof(*gpus));
    }
    bool lift = claim->hold != 0 && c->held_count > 0;
    if (lift)
        schedule__lift(c, claim, shapes, count);
    bool placed = schedule__place(c, shapes, count, placement, claim, nodes, gpus);
    if (lift)
        schedule__lift(c, NULL, NULL, 0);
    for (uint32_t i = 0; placed && i < count; i++)
        ret_grants[i] = schedule__grant_add(c, nodes[i], shapes[i], gpus[i], claim);
    if (count > 1) {
        free(nodes);
        free(gpus);
    }
    return placed;
}

static bool gpus_are_free(const struct schedule__stock *s,
                          const struct schedule__demand *d, uint64_t gpus)
{
    int32_t each = d->gpu_share > 0 ? d->gpu_share : SCHEDULE__UNIT;
    int wanted = d->gpu_share > 0 ? 1 : d->gpu_whole;
    for (uint64_t left = gpus; left != 0; left &= left - 1) {
        int i = __builtin_ctzll(left);
        if (i >= s->gpu_count || s->gpu_free[i] < each)
            return false;
    }
    return __builtin_popcountll(gpus) == wanted;
}

uint32_t schedule_cluster_place_at(struct schedule_cluster *c, uint32_t shape,
                                   uint32_t node, uint64_t gpus,
                                   const struct schedule_claim *claim)
{
    if (node >= c->count || c->nodes[node].name == NULL || c->nodes[node].gone)
        return SCHEDULE_NO_GRANT;
    struct schedule__stock *s = &c->nodes[node].stock;
    const struct schedule__demand *d = &c->shapes[shape].demand;
    if (!schedule__stock_fits(s, d) || !gpus_are_free(s, d, gpus))
        return SCHEDULE_NO_GRANT;
    schedule__stock_retake(s, d, gpus);
    schedule__refresh(c, node);
    return schedule__grant_add(c, node, shape, gpus, claim);
}

void schedule_cluster_give(struct schedule_cluster *c, uint32_t grant)
{
    struct schedule__grant *g = grant_at(c, grant);
    uint32_t node = g->node;
    const struct schedule__demand *d = &c->shapes[g->shape].demand;
    rwf_assert(g->inside_count == 0);
    if (g->blocked)
        schedule_cluster_block(c, grant, false);
    schedule__stock_give(stock_of(c, g), d, g->gpus);
    if (g->claim.inside != SCHEDULE_NO_GRANT)
        c->grants[g->claim.inside].inside_count--;
    if (g->inner != NULL) {
        schedule__stock_free(g->inner);
        free(g->inner);
        g->inner = NULL;
    }
    count_level(c, &g->claim, -1);
    unlink_grant(c, grant);
    schedule__freed(c, node);
    schedule__bury(c, node);
}

struct schedule_grant schedule_cluster_grant(const struct schedule_cluster *c,
                                             uint32_t grant)
{
    const struct schedule__grant *g = grant_at((struct schedule_cluster *)c, grant);
    const struct schedule__demand *d = &c->shapes[g->shape].demand;
    return (struct schedule_grant){
        .node = g->node,
        .shape = g->shape,
        .gpus = g->gpus,
        .share = d->gpu_share > 0 ? schedule__amount(d->gpu_share) : 1,
        .claim = &g->claim};
}

void schedule_cluster_block(struct schedule_cluster *c, uint32_t grant, bool blocked)
{
    struct schedule__grant *g = grant_at(c, grant);
    int64_t cpu = c->shapes[g->shape].demand.cpu;
    if (g->blocked == blocked)
        return;
    g->blocked = blocked;
    schedule__stock_put_cpu(stock_of(c, g), blocked ? cpu : -cpu);
    if (blocked)
        schedule__freed(c, g->node);
    else
        schedule__refresh(c, g->node);
}

void schedule_cluster_ending(struct schedule_cluster *c, uint32_t grant)
{
    struct schedule__grant *g = grant_at(c, grant);
    if (g->ending)
        return;
    g->ending = true;
    count_level(c, &g->claim, -1);
    g->claim.retriable = false; /* not counted any more */
}

void schedule_cluster_each(struct schedule_cluster *c, uint32_t node,
                           void (*fn)(void *ctx, uint32_t grant), void *ctx)
{
    if (node >= c->count || c->nodes[node].name == NULL)
        return;
    for (uint32_t next, g = c->nodes[node].first; g != SCHEDULE_NO_GRANT; g = next) {
        next = c->grants[g].next;
        fn(ctx, g);
    }
}

struct schedule_amounts schedule_cluster_amounts(const struct schedule_cluster *c,
                                                 uint32_t shape)
{
    const struct schedule__demand *d = &c->shapes[shape].demand;
    double gpu = d->gpu_whole + schedule__amount(d->gpu_share);
    return (struct schedule_amounts){schedule__amount(d->cpu), gpu, (double)d->memory};
}

bool schedule_cluster_contains(const struct schedule_cluster *c, uint32_t outer,
                               uint32_t inner)
{
    const struct schedule__demand *d = &c->shapes[outer].demand;
    struct schedule__stock stock;
    int cards = d->gpu_share > 0 ? 1 : d->gpu_whole;
    if (cards > SCHEDULE_MAX_GPUS)
        return false;
    uint64_t gpus = cards == 64 ? UINT64_MAX : (1ULL << cards) - 1;
    schedule__stock_carve(&stock, d, gpus, cards);
    bool fits = schedule__stock_fits(&stock, &c->shapes[inner].demand);
    schedule__stock_free(&stock);
    return fits;
}
