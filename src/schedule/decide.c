/* SPDX-License-Identifier: Apache-2.0
 *
 * Who is next: what was decided already; then what has nodes kept for it; then the best
 * of those that can be placed; and when nothing can, whose lease is to be given back.
 */
#include "config.h"
#include "schedule/leases.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

/* So many grants (and one per node) go before one that does not fit, then nodes are
 * kept for it; and after so many again it is looked at again which. */
#define PATIENCE 64
/* An ask that found nobody to recall looks again after so much became free. */
#define HUNT_AGAIN 64

/* Higher priority, then the smaller share, then the older. */
static bool goes_first(const struct leases__ask *a, const struct leases__ask *b)
{
    if (a->priority != b->priority)
        return a->priority > b->priority;
    if (a->job->share != b->job->share)
        return a->job->share < b->job->share;
    return a->number < b->number;
}

static uint64_t version_of(const struct schedule_leases *l,
                           const struct leases__class *c)
{
    return c->kind == LEASES__INSIDE ? c->group->version
                                     : schedule_cluster_version(l->cluster);
}

/* False: nothing in this class can be placed now. */
static bool may_fit(struct schedule_leases *l, struct leases__class *c)
{
    uint64_t version = version_of(l, c);
    if (c->waiting == 0 || c->version == version + 1)
        return false;
    struct schedule_claim claim = {.owner = l};
    if (c->kind != LEASES__PLAIN ||
        schedule_cluster_might(l->cluster, c->shape, &claim))
        return true;
    c->version = version + 1;
    return false;
}

static struct leases__ask *first_of(const struct schedule_leases *l,
                                    const struct leases__class *c,
                                    struct leases__ask *best)
{
    for (size_t i = 0; i < c->queue_count; i++) {
        struct leases__ask *a = TAILQ_FIRST(&c->queues[i]->asks);
        if (a != NULL && (best == NULL || goes_first(a, best)) &&
            leases__within_quota(l, c->queues[i]->job, a))
            best = a;
    }
    return best;
}

static struct schedule_lease_decision granted(const struct leases__lease *x)
{
    const struct leases__ask *a = x->ask;
    return (struct schedule_lease_decision){
        .verb = SCHEDULE_LEASE_GRANT,
        .lease = x->id,
        .ask = a->id,
        .client = a->client,
        .job = a->job->spec.id,
        .group = a->kind == LEASES__INSIDE ? a->group->id : 0,
        .bundle = x->bundle,
        .node = x->node,
        .gpus = x->gpus,
        .gpu_share = x->gpu_share};
}

/* Places the ask and says so; false: it does not fit. */
static bool place(struct schedule_leases *l, struct leases__ask *a, int64_t now,
                  struct schedule_lease_decision *ret)
{
    uint32_t grant;
    int bundle = -1;
    bool placed;
    struct schedule_claim claim = leases__claim(l, a);
    claim.cookie = l->next_lease;
    if (a->kind == LEASES__GROUP) {
        if (!leases__group_place(l, a))
            return false;
        *ret = (struct schedule_lease_decision){.verb = SCHEDULE_LEASE_GROUP_READY,
                                                .group = a->group->id,
                                                .job = a->job->spec.id,
                                                .node = SCHEDULE_NO_NODE};
        l->grants++;
        a->held = 1;
        leases__line_up(l, a, now);
        return true;
    }
    if (a->kind == LEASES__INSIDE)
        placed = (bundle = leases__bundle_for(l, a, &grant)) >= 0;
    else
        placed = schedule_cluster_place(l->cluster, &a->shape, 1, a->class->placement,
                                        &claim, &grant);
    if (!placed)
        return false;
    l->grants++;
    *ret = granted(leases__lease_add(l, a, l->next_lease++, grant, bundle, now));
    return true;
}

static bool decide(struct schedule_leases *l, int64_t now,
                   struct schedule_lease_decision *ret)
{
    for (;;) {
        struct leases__ask *best = NULL;
        for (size_t i = 0; i < l->class_count; i++)
            if (may_fit(l, l->classes[i]))
                best = first_of(l, l->classes[i], best);
        if (best == NULL)
            return false;
        if (place(l, best, now, ret))
            return true;
        best->class->version = version_of(l, best->class) + 1;
    }
}

/* --- those who are passed too often --- */

static void look_for_starving(struct schedule_leases *l)
{
    struct leases__ask *worst = NULL;
    uint64_t patience = PATIENCE + l->totals.nodes;
    if (l->grants - l->patient < patience)
        return;
    l->patient = l->grants;
    for (size_t i = 0; i < l->class_count; i++) {
        struct leases__class *c = l->classes[i];
        if (c->kind == LEASES__INSIDE || c->waiting == 0 || may_fit(l, c))
            continue;
        struct leases__ask *a = first_of(l, c, NULL);
        if (a != NULL && l->grants - a->since >= patience &&
            (worst == NULL || goes_first(a, worst)))
            worst = a;
    }
    if (worst == NULL || worst->owed > 0 ||
        (l->starving != NULL && l->starving != worst &&
         !goes_first(worst, l->starving)))
        return;
    uint32_t count = 1, *shapes = &worst->shape;
    if (worst->kind == LEASES__GROUP)
        shapes = leases__missing(worst->group, &count);
    if (l->starving != NULL)
        leases__unhold(l, l->starving);
    if (schedule_cluster_hold(l->cluster, l, worst->number, shapes, count,
                              worst->class->placement)) {
        leases__hold(l, worst);
        l->starving = worst;
    }
    if (worst->kind == LEASES__GROUP)
        free(shapes);
}

/* Those for whom nodes are kept may have room there now. */
static bool serve_holders(struct schedule_leases *l, int64_t now,
                          struct schedule_lease_decision *ret)
{
    struct leases__ask *a, *next;
    for (a = TAILQ_FIRST(&l->holders); a != NULL; a = next) {
        uint64_t version = schedule_cluster_version(l->cluster);
        next = TAILQ_NEXT(a, holder);
        if (a->tried == version + 1 || !leases__within_quota(l, a->job, a))
            continue;
        if (place(l, a, now, ret)) {
            leases__unhold(l, a); /* it may want more, but has not waited for that */
            return true;
        }
        a->tried = version + 1;
    }
    return false;
}

/* --- recalls --- */

struct fair {
    const struct schedule_leases *l;
    const struct leases__ask *ask;
    double share; /* of its job, with one more */
};

/* Whether a job would still hold no less than the one that waits, one lease fewer. */
static bool has_too_much(const struct fair *f, const struct leases__lease *x)
{
    const struct leases__job *job = x->ask->job;
    struct schedule_amounts one =
        schedule_cluster_amounts(f->l->cluster, x->ask->shape);
    double left = leases__dominant(f->l, job, job->cpu - job->owed_cpu - one.cpu,
                                   job->gpu - job->owed_gpu - one.gpu,
                                   job->memory - job->owed_memory - one.memory);
    return left + 1e-9 >= f->share;
}

static bool is_fair_prey(void *ctx, const struct schedule_claim *held)
{
    const struct fair *f = ctx;
    if ((held->cookie & LEASES__BUNDLE) != 0)
        return false;
    const struct leases__lease *x = rwf_ids_get(&f->l->lease_ids, held->cookie);
    if (x == NULL || x->recalled || x->ask->job == f->ask->job)
        return false;
    if (x->ask->priority != f->ask->priority)
        return x->ask->priority < f->ask->priority;
    return has_too_much(f, x);
}

static bool someone_has_too_much(const struct fair *f)
{
    for (size_t i = 0; i < f->l->job_count; i++) {
        const struct leases__job *job = f->l->jobs[i];
        if (job != f->ask->job && job->lease_count > 0 &&
            (job->spec.priority < f->ask->priority || job->share > f->share))
            return true;
    }
    return false;
}

static struct leases__lease *lease_of(struct schedule_leases *l, uint32_t grant)
{
    struct schedule_grant g = schedule_cluster_grant(l->cluster, grant);
    return rwf_ids_get(&l->lease_ids, g.claim->cookie);
}

static bool recall_for_fairness(struct schedule_leases *l, struct leases__ask *a)
{
    struct schedule_amounts need = schedule_cluster_amounts(l->cluster, a->shape);
    const struct leases__job *job = a->job;
    struct fair f = {l, a,
                     leases__dominant(l, job, job->cpu + need.cpu, job->gpu + need.gpu,
                                      job->memory + need.memory)};
    struct schedule_claim claim = leases__claim(l, a);
    uint32_t *list = NULL;
    if (!someone_has_too_much(&f))
        return false;
    uint32_t count = schedule_cluster_victims(l->cluster, &a->shape, 1, PLAN_PACK,
                                              &claim, is_fair_prey, &f, &list);
    if (count == UINT32_MAX)
        count = 0;
    uint32_t done = 0;
    for (; done < count; done++) {
        struct leases__lease *x = lease_of(l, list[done]);
        if (x->ask->priority == a->priority && !has_too_much(&f, x))
            break; /* together they would take too much: what is recalled comes back */
        leases__recall(l, x, false, a);
    }
    free(list);
    return done > 0;
}

static bool recall_by_priority(struct schedule_leases *l, struct leases__ask *a)
{
    uint32_t count = 1, *shapes = &a->shape, *list = NULL;
    struct schedule_claim claim = leases__claim(l, a);
    if (a->kind == LEASES__GROUP)
        shapes = leases__missing(a->group, &count);
    uint32_t found = schedule_cluster_victims(
        l->cluster, shapes, count, a->class->placement, &claim, NULL, NULL, &list);
    for (uint32_t i = 0; i < found && found != UINT32_MAX; i++) {
        struct leases__lease *x = lease_of(l, list[i]);
        schedule_cluster_hold_node(l->cluster, l, a->number, x->node);
        leases__recall(l, x, true, a);
        leases__hold(l, a);
    }
    if (found == UINT32_MAX) /* what ends already is enough */
        a->hunted = schedule_cluster_version(l->cluster) + 1;
    if (a->kind == LEASES__GROUP)
        free(shapes);
    free(list);
    return found > 0;
}

static void recall_some(struct schedule_leases *l)
{
    uint64_t version = schedule_cluster_version(l->cluster);
    for (size_t i = 0; i < l->class_count; i++) {
        struct leases__class *c = l->classes[i];
        if (c->waiting == 0 || c->kind == LEASES__INSIDE)
            continue;
        struct leases__ask *a = first_of(l, c, NULL);
        if (a == NULL || a->owed > 0 ||
            (a->hunted > 0 && version + 1 < a->hunted + HUNT_AGAIN))
            continue;
        if (!recall_by_priority(l, a) &&
            (a->kind != LEASES__PLAIN || !recall_for_fairness(l, a)))
            a->hunted = version + 1;
    }
}

static bool say(struct schedule_leases *l, struct schedule_lease_decision *ret)
{
    while (l->out_first < l->out_count) {
        *ret = l->out[l->out_first++];
        /* a lease may have been given back before its recall was read */
        if (ret->verb != SCHEDULE_LEASE_RECALL ||
            rwf_ids_get(&l->lease_ids, ret->lease) != NULL)
            return true;
    }
    *ret = (struct schedule_lease_decision){.verb = SCHEDULE_LEASE_NONE};
    return false;
}

struct schedule_lease_decision schedule_leases_next(struct schedule_leases *l,
                                                    int64_t now)
{
    struct schedule_lease_decision d = {.verb = SCHEDULE_LEASE_NONE};
    if (say(l, &d))
        return d;
    if (l->members != schedule_cluster_members(l->cluster))
        leases__recount(l);
    look_for_starving(l);
    if (serve_holders(l, now, &d) || decide(l, now, &d))
        return d;
    recall_some(l);
    (void)say(l, &d);
    return d;
}
