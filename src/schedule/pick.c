/* SPDX-License-Identifier: Apache-2.0
 *
 * Which step starts, and which must make room.
 *
 * The class whose head comes first and fits, starts. One that comes before it and does
 * not fit lets a bounded number of others go first; then nodes are kept for it. One of
 * higher priority than what runs may have steps ended that may be retried; their nodes
 * are kept for it until it has them.
 */
#include "config.h"
#include "schedule/internal.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

/* --- grants --- */

static uint32_t gang_slot(struct schedule *s)
{
    for (size_t i = 0; i < s->gang_count; i++)
        if (s->gangs[i] == NULL)
            return (uint32_t)i;
    (void)RWF_PUSH(s->gangs, s->gang_count, s->gang_cap);
    return (uint32_t)s->gang_count - 1;
}

static struct schedule_claim claim_of(const struct schedule *s,
                                      const struct schedule__class *c, uint32_t step)
{
    return (struct schedule_claim){.owner = s,
                                   .cookie = step,
                                   .priority = c->priority,
                                   .retriable = c->retriable,
                                   .hold = c->holds ? c->number + 1 : 0,
                                   .prefer = SCHEDULE_NO_NODE,
                                   .inside = SCHEDULE_NO_GRANT};
}

/* One that wants to be near itself is on one node if any can ever hold it. */
static void look_near(struct schedule *s, struct schedule__class *c)
{
    uint64_t members = schedule_cluster_members(s->cluster) + 1;
    struct rwf_str path = {NULL, 0, 0}, what = {NULL, 0, 0};
    struct schedule_need need;

    if (c->near == NULL || c->near_at == members)
        return;
    c->near_at = members;
    schedule_need_of(c->near, &need);
    c->placement = schedule_cluster_never(s->cluster, &need, c->least, PLAN_SAME_NODE,
                                          &path, &what)
                       ? PLAN_PACK
                       : PLAN_SAME_NODE;
    rwf_str_free(&path);
    rwf_str_free(&what);
}

enum plan_placement schedule_placement(const struct schedule *s, uint32_t step)
{
    return s->classes[s->items[step].class]->placement;
}

/* As many ranks as there is room for, up to all, and enough of them: how many; 0: none. */
static uint32_t place_most(struct schedule *s, const struct schedule__class *c,
                           const struct schedule_claim *claim, uint32_t most,
                           uint32_t *grants)
{
    uint32_t low = c->least, high = most == 0 ? c->ranks : most, count = high;
    while (!schedule_cluster_place(s->cluster, c->shapes, count, c->placement, claim,
                                   grants)) {
        /* what is known: `count` and all above are too many */
        if (count == low)
            return 0;
        high = count - 1;
        count = low;
    }
    while (count < high) {
        uint32_t more = high - (high - count) / 2;
        for (uint32_t i = 0; i < count; i++)
            schedule_cluster_give(s->cluster, grants[i]);
        if (schedule_cluster_place(s->cluster, c->shapes, more, c->placement, claim,
                                   grants)) {
            count = more;
            continue;
        }
        high = more - 1;
        if (!schedule_cluster_place(s->cluster, c->shapes, count, c->placement, claim,
                                    grants))
            return 0;
    }
    return count;
}

/* Reserves what the head of a class needs. */
static bool take(struct schedule *s, struct schedule__class *c, uint32_t step)
{
    struct schedule__item *it = &s->items[step];
    struct schedule_claim claim = claim_of(s, c, step);
    if (c->ranks == 1)
        return schedule_cluster_place(s->cluster, &c->shape, 1, c->placement, &claim,
                                      &it->grant);
    uint32_t *grants = rwf_xmalloc(c->ranks * sizeof(*grants));
    look_near(s, c);
    it->ranks = place_most(s, c, &claim, it->most, grants);
    if (it->ranks == 0) {
        free(grants);
        return false;
    }
    it->grant = gang_slot(s);
    s->gangs[it->grant] = grants;
    return true;
}

uint32_t schedule_ranks(const struct schedule *s, uint32_t step)
{
    const struct schedule__item *it = &s->items[step];
    return s->classes[it->class]->ranks == 1 ? 1 : it->ranks;
}

bool schedule_fewer(struct schedule *s, uint32_t step)
{
    struct schedule__item *it = &s->items[step];
    uint32_t ranks = schedule_ranks(s, step), least = s->classes[it->class]->least;
    if (!it->granted || ranks <= least)
        return false;
    it->most = ranks - (ranks - least + 1) / 2;
    return true;
}

static uint32_t grant_of(const struct schedule *s, uint32_t step, uint32_t rank)
{
    const struct schedule__item *it = &s->items[step];
    const struct schedule__class *c = s->classes[it->class];
    rwf_assert(it->granted && rank < schedule_ranks(s, step));
    return c->ranks == 1 ? it->grant : s->gangs[it->grant][rank];
}

struct schedule_grant schedule_rank(const struct schedule *s, uint32_t step,
                                    uint32_t rank)
{
    return schedule_cluster_grant(s->cluster, grant_of(s, step, rank));
}

bool schedule_granted(const struct schedule *s, uint32_t step)
{
    return s->items[step].granted;
}

bool schedule_move(struct schedule *s, uint32_t step, uint32_t rank, uint32_t node,
                   uint64_t gpus)
{
    struct schedule__item *it = &s->items[step];
    const struct schedule__class *c = s->classes[it->class];
    struct schedule_grant was = schedule_rank(s, step, rank);
    struct schedule_claim claim = *was.claim;
    uint32_t *slot = c->ranks == 1 ? &it->grant : &s->gangs[it->grant][rank];
    struct schedule_node_view view;
    if (was.node == node && was.gpus == gpus)
        return true;
    schedule_cluster_view(s->cluster, was.node, &view);
    if (was.node == node && view.name == NULL)
        return false;
    /* On one node its cards may overlap: it gives first, and takes back what it had. */
    if (was.node == node)
        schedule_cluster_give(s->cluster, *slot);
    uint32_t to = schedule_cluster_place_at(s->cluster, c->shape, node, gpus, &claim);
    bool moved = to != SCHEDULE_NO_GRANT;
    if (was.node != node && moved)
        schedule_cluster_give(s->cluster, *slot);
    else if (was.node == node && !moved)
        to = schedule_cluster_place_at(s->cluster, c->shape, node, was.gpus, &claim);
    if (moved || was.node == node) {
        rwf_assert(to != SCHEDULE_NO_GRANT);
        *slot = to;
    }
    return moved;
}

/* It ended, for whatever reason: nobody waits for that any more. */
static void forget_end(struct schedule *s, uint32_t step)
{
    s->items[step].preempted = false;
    for (size_t i = 0; i < s->end_count; i++)
        if (s->ends[i].step == step) {
            s->classes[s->ends[i].class]->owed--;
            memmove(&s->ends[i], &s->ends[i + 1],
                    (--s->end_count - i) * sizeof(*s->ends));
            return;
        }
}

void schedule__give(struct schedule *s, uint32_t step)
{
    struct schedule__item *it = &s->items[step];
    uint32_t ranks = schedule_ranks(s, step);
    for (uint32_t i = 0; i < ranks; i++)
        schedule_cluster_give(s->cluster, grant_of(s, step, i));
    if (s->classes[it->class]->ranks > 1) {
        free(s->gangs[it->grant]);
        s->gangs[it->grant] = NULL;
    }
    it->granted = false;
    if (it->preempted)
        forget_end(s, step);
}

void schedule__unhold(struct schedule *s, struct schedule__class *c)
{
    if (c->holds)
        schedule_cluster_unhold(s->cluster, s, c->number + 1);
    c->holds = false;
}

/* --- starting --- */

static bool goes_first(const struct schedule__class *a, const struct schedule__class *b)
{
    if (a->priority != b->priority)
        return a->priority > b->priority;
    return schedule__heap_first(&a->queue)->key < schedule__heap_first(&b->queue)->key;
}

/* False: nothing of this class can be placed now. */
static bool may_fit(struct schedule *s, struct schedule__class *c)
{
    uint64_t version = schedule_cluster_version(s->cluster);
    if (c->missed == version + 1)
        return false;
    /* a gang, and one for which nodes are kept, are simply tried */
    if (c->ranks > 1 || c->holds || schedule_cluster_might(s->cluster, c->shape, NULL))
        return true;
    c->missed = version + 1;
    return false;
}

/* The first class that may fit, and the first of those that do not. */
static struct schedule__class *choose(struct schedule *s,
                                      struct schedule__class **ret_misfit)
{
    struct schedule__class *c, *best = NULL, *misfit = NULL;
    TAILQ_FOREACH(c, &s->active, active)
    {
        struct schedule__class **slot = may_fit(s, c) ? &best : &misfit;
        if (slot == &best) {
            bool some = schedule__heap_clean(s, &c->queue, schedule__waits_to_start);
            rwf_assert(some);
        }
        if (*slot == NULL || goes_first(c, *slot))
            *slot = c;
    }
    *ret_misfit = misfit;
    return best;
}

/* Others go before this one once more; true: it had enough of that, and nodes are kept
 * for it from now on. */
static bool is_passed(struct schedule *s, struct schedule__class *c)
{
    int patience = SCHEDULE__PATIENCE + (int)schedule_cluster_count(s->cluster) - 1;
    if (c->holds || c->passed++ < patience)
        return false;
    c->passed = 0;
    c->holds = schedule_cluster_hold(s->cluster, s, c->number + 1, c->shapes, c->least,
                                     c->placement);
    c->missed = 0;
    return c->holds;
}

static void grant(struct schedule *s, struct schedule__class *c, uint32_t step,
                  struct schedule_decision *d)
{
    struct schedule__item *it = &s->items[step];
    it->granted = true;
    c->running++;
    c->passed = 0;
    c->queued--;
    schedule__unhold(s, c);
    schedule__update_class(s, c);
    struct schedule_grant first = schedule_rank(s, step, 0);
    d->verb = SCHEDULE_START;
    d->step = step;
    d->attempt = it->attempt + 1;
    d->ranks = schedule_ranks(s, step);
    d->node = first.node;
    d->gpu_share = first.share;
    for (uint64_t left = first.gpus; left != 0; left &= left - 1)
        d->gpus[d->gpu_count++] = __builtin_ctzll(left);
}

bool schedule__pick_start(struct schedule *s, struct schedule_decision *d)
{
    for (;;) {
        struct schedule__class *misfit, *c;
        uint64_t version = schedule_cluster_version(s->cluster);
        if (s->full == version + 1)
            return false;
        c = choose(s, &misfit);
        if (c == NULL) {
            s->full = version + 1;
            return false;
        }
        if (misfit != NULL && goes_first(misfit, c) && is_passed(s, misfit))
            continue;
        uint32_t step = schedule__heap_first(&c->queue)->step;
        if (take(s, c, step)) {
            (void)schedule__heap_pop(&c->queue);
            grant(s, c, step, d);
            return true;
        }
        c->missed = schedule_cluster_version(s->cluster) + 1;
    }
}

/* --- making room --- */

static bool tell_end(struct schedule *s, struct schedule_decision *d)
{
    for (size_t i = 0; i < s->end_count; i++) {
        struct schedule__end *end = &s->ends[i];
        if (end->told)
            continue;
        end->told = true;
        d->verb = SCHEDULE_PREEMPT;
        d->step = end->step;
        d->because = s->classes[end->class]->queue.count > 0
                         ? schedule__heap_first(&s->classes[end->class]->queue)->step
                         : PLAN_NO_STEP;
        return true;
    }
    return false;
}

static void end_for(struct schedule *s, struct schedule__class *c, uint32_t grant_id)
{
    struct schedule_grant g = schedule_cluster_grant(s->cluster, grant_id);
    uint32_t step = (uint32_t)g.claim->cookie;
    struct schedule__item *it = &s->items[step];
    if (it->preempted)
        return; /* another rank of the same gang */
    it->preempted = true;
    c->owed++;
    *RWF_PUSH(s->ends, s->end_count, s->end_cap) =
        (struct schedule__end){step, c->number, false};
    uint32_t ranks = schedule_ranks(s, step);
    for (uint32_t i = 0; i < ranks; i++) {
        uint32_t one = grant_of(s, step, i);
        schedule_cluster_ending(s->cluster, one);
        schedule_cluster_hold_node(s->cluster, s, c->number + 1,
                                   schedule_cluster_grant(s->cluster, one).node);
    }
    c->holds = true;
    c->missed = 0;
}

struct hunt {
    const struct schedule *s;
    int priority;
};

/* What runs may be ended; what is granted and not started yet may not. */
static bool is_prey(void *ctx, const struct schedule_claim *held)
{
    const struct hunt *h = ctx;
    return held->retriable && held->priority < h->priority &&
           h->s->items[held->cookie].state == STEP_RUNNING;
}

static void hunt(struct schedule *s, struct schedule__class *c)
{
    struct schedule_claim claim = claim_of(s, c, 0);
    struct hunt h = {s, c->priority};
    uint32_t *list = NULL;
    uint32_t count = schedule_cluster_victims(s->cluster, c->shapes, c->least,
                                              c->placement, &claim, is_prey, &h, &list);
    c->hunted = schedule_cluster_version(s->cluster) + 1;
    for (uint32_t i = 0; count != UINT32_MAX && i < count; i++)
        end_for(s, c, list[i]);
    free(list);
}

bool schedule__pick_preempt(struct schedule *s, struct schedule_decision *d)
{
    struct schedule__class *c;
    uint64_t version = schedule_cluster_version(s->cluster);
    if (!s->priorities)
        return false;
    if (tell_end(s, d))
        return true;
    TAILQ_FOREACH(c, &s->active, active)
    {
        bool again = c->hunted == 0 || version + 1 >= c->hunted + SCHEDULE__HUNT_AGAIN;
        if (c->owed == 0 && again && !may_fit(s, c))
            hunt(s, c);
    }
    return tell_end(s, d);
}
