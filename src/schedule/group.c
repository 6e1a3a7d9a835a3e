/* SPDX-License-Identifier: Apache-2.0
 *
 * Groups: bundles that are reserved all or nothing, and asks inside them. A group whose
 * node dies asks again for the bundles it lost, by the same placement.
 */
#include "config.h"
#include "schedule/leases.h"

#include <stdlib.h>
#include "base/mem.h"

static bool are_alike(struct schedule_cluster *c, const struct schedule_group *g)
{
    uint32_t first = schedule_cluster_shape(c, &g->bundles[0]);
    for (uint32_t i = 1; i < g->bundle_count; i++)
        if (schedule_cluster_shape(c, &g->bundles[i]) != first)
            return false;
    return true;
}

/* Each bundle by itself; all of them together when they are alike. */
static int refuse_group(const struct schedule_leases *l, const struct schedule_group *g,
                        struct rwf_err *err)
{
    struct rwf_str path = {NULL, 0, 0}, what = {NULL, 0, 0};
    bool never = false, alike = are_alike(l->cluster, g);
    for (uint32_t i = 0; i < g->bundle_count && !never && !g->may_wait; i++) {
        never = schedule_cluster_never(l->cluster, &g->bundles[i],
                                       alike ? g->bundle_count : 1, g->placement, &path,
                                       &what);
        if (never)
            rwf_fail(err, RWF_E_FIT,
                     "bundle %u of the group %s; ask for less (%s), or add a node that "
                     "has it",
                     i, what.data, path.data);
    }
    rwf_str_free(&path);
    rwf_str_free(&what);
    return never ? -1 : 0;
}

int schedule_leases_group_add(struct schedule_leases *l, const struct schedule_group *g,
                              int64_t now, struct rwf_err *err)
{
    struct leases__job *job = rwf_ids_get(&l->job_ids, g->job);
    if (job == NULL)
        return rwf_fail(err, RWF_E_USAGE, "there is no job %llu (any more)",
                        (unsigned long long)g->job);
    if (g->bundle_count == 0)
        return rwf_fail(err, RWF_E_USAGE, "a group needs at least one bundle");
    if (refuse_group(l, g, err) != 0)
        return -1;
    struct leases__group *group = rwf_xcalloc(1, sizeof(*group));
    group->id = g->id;
    group->job = job;
    group->count = g->bundle_count;
    group->placement = g->placement;
    group->version = 1;
    group->bundles = rwf_xcalloc(g->bundle_count, sizeof(*group->bundles));
    for (uint32_t i = 0; i < g->bundle_count; i++)
        group->bundles[i] = (struct leases__bundle){
            schedule_cluster_shape(l->cluster, &g->bundles[i]), SCHEDULE_NO_GRANT};
    rwf_ids_add(&l->group_ids, g->id, group);
    job->group_count++;
    group->ask = leases__ask_new(l, job, LEASES__GROUP, group->bundles[0].shape,
                                 g->placement, group, -1);
    group->ask->priority = job->spec.priority + g->priority;
    group->ask->wanted = 1;
    if (g->preferred)
        group->ask->prefer = g->prefer;
    leases__line_up(l, group->ask, now);
    return 0;
}

uint32_t *leases__missing(const struct leases__group *g, uint32_t *ret_count)
{
    uint32_t *shapes = rwf_xmalloc(g->count * sizeof(*shapes)), count = 0;
    for (uint32_t i = 0; i < g->count; i++)
        if (g->bundles[i].grant == SCHEDULE_NO_GRANT)
            shapes[count++] = g->bundles[i].shape;
    *ret_count = count;
    return shapes;
}

/* The nodes of the bundles that are placed. */
static uint32_t *present(const struct schedule_leases *l, const struct leases__group *g,
                         uint32_t *ret_count)
{
    uint32_t *nodes = rwf_xmalloc(g->count * sizeof(*nodes)), count = 0;
    for (uint32_t i = 0; i < g->count; i++)
        if (g->bundles[i].grant != SCHEDULE_NO_GRANT)
            nodes[count++] =
                schedule_cluster_grant(l->cluster, g->bundles[i].grant).node;
    *ret_count = count;
    return nodes;
}

bool leases__group_place(struct schedule_leases *l, struct leases__ask *a)
{
    struct leases__group *g = a->group;
    uint32_t count, avoid_count, at = 0;
    uint32_t *shapes = leases__missing(g, &count);
    uint32_t *avoid = present(l, g, &avoid_count);
    uint32_t *grants = rwf_xmalloc(g->count * sizeof(*grants));
    struct schedule_claim claim = leases__claim(l, a);
    claim.retriable = false;
    claim.cookie = g->id | LEASES__BUNDLE;
    claim.avoid = avoid;
    claim.avoid_count = avoid_count;
    bool placed =
        schedule_cluster_place(l->cluster, shapes, count, g->placement, &claim, grants);
    for (uint32_t i = 0; placed && i < g->count; i++)
        if (g->bundles[i].grant == SCHEDULE_NO_GRANT) {
            g->bundles[i].grant = grants[at++];
            leases__charge(l, g->job, g->bundles[i].shape, 1);
        }
    g->version += placed;
    free(shapes);
    free(avoid);
    free(grants);
    return placed;
}

/* --- asks inside --- */

static bool is_bundle(const struct leases__ask *a, uint32_t i)
{
    return a->bundle < 0 || a->bundle == (int)i;
}

int leases__bundle_for(struct schedule_leases *l, const struct leases__ask *a,
                       uint32_t *ret_grant)
{
    struct leases__group *g = a->group;
    struct schedule_claim claim = leases__claim(l, a);
    claim.cookie = l->next_lease;
    for (uint32_t i = 0; i < g->count; i++) {
        claim.inside = g->bundles[i].grant;
        if (is_bundle(a, i) && claim.inside != SCHEDULE_NO_GRANT &&
            schedule_cluster_place(l->cluster, &a->shape, 1, PLAN_PACK, &claim,
                                   ret_grant))
            return (int)i;
    }
    return -1;
}

bool leases__bundle_could(const struct schedule_leases *l,
                          const struct leases__group *g, int bundle, uint32_t shape)
{
    bool could = false;
    for (uint32_t i = 0; i < g->count; i++)
        if (bundle < 0 || bundle == (int)i)
            could |= schedule_cluster_contains(l->cluster, g->bundles[i].shape, shape);
    return could;
}

/* --- the end --- */

static void give_bundle(struct schedule_leases *l, struct leases__group *g, uint32_t i)
{
    if (g->bundles[i].grant == SCHEDULE_NO_GRANT)
        return;
    schedule_cluster_give(l->cluster, g->bundles[i].grant);
    g->bundles[i].grant = SCHEDULE_NO_GRANT;
    leases__charge(l, g->job, g->bundles[i].shape, -1);
}

/* A class of a group that is gone has nobody to ask. */
static void forget_classes(struct schedule_leases *l, const struct leases__group *g)
{
    for (size_t i = 0; i < l->class_count;) {
        struct leases__class *c = l->classes[i];
        if (c->group != g) {
            i++;
            continue;
        }
        for (size_t k = 0; k < c->queue_count; k++)
            free(c->queues[k]);
        free(c->queues);
        free(c);
        l->classes[i] = l->classes[--l->class_count];
    }
}

void leases__group_settle(struct schedule_leases *l, struct leases__group *g)
{
    if (!g->removed || g->lease_count > 0)
        return;
    for (uint32_t i = 0; i < g->count; i++)
        give_bundle(l, g, i);
    rwf_ids_remove(&l->group_ids, g->id);
    forget_classes(l, g);
    g->job->group_count--;
    g->ask->held = 0;
    leases__ask_free(l, g->ask);
    free(g->bundles);
    free(g);
}

void leases__group_drop(struct schedule_leases *l, struct leases__group *g, int64_t now)
{
    struct leases__lease *x, *next;
    if (g->removed)
        return;
    g->removed = true;
    struct leases__ask **inside = rwf_xcalloc(l->ask_ids.count + 1, sizeof(*inside));
    size_t count = 0;
    for (size_t i = 0; i < l->ask_ids.size; i++) {
        struct leases__ask *a = l->ask_ids.rows[i].item;
        if (l->ask_ids.rows[i].id != 0 && a->group == g)
            inside[count++] = a;
    }
    for (size_t i = 0; i < count; i++)
        leases__drop(l, inside[i]);
    free(inside);
    leases__line_up(l, g->ask, now);
    g->ask->dropped = true;
    for (x = TAILQ_FIRST(&l->all); x != NULL; x = next) {
        next = TAILQ_NEXT(x, all);
        if (x->ask->group == g)
            leases__recall(l, x, true, NULL);
    }
    leases__group_settle(l, g);
}

bool schedule_leases_group_remove(struct schedule_leases *l, uint64_t group,
                                  int64_t now)
{
    struct leases__group *g = rwf_ids_get(&l->group_ids, group);
    if (g == NULL || g->removed)
        return false;
    leases__group_drop(l, g, now);
    return true;
}

uint32_t schedule_leases_group_node(const struct schedule_leases *l, uint64_t group,
                                    int bundle)
{
    const struct leases__group *g = rwf_ids_get(&l->group_ids, group);
    if (g == NULL || bundle < 0 || bundle >= (int)g->count ||
        g->bundles[bundle].grant == SCHEDULE_NO_GRANT)
        return SCHEDULE_NO_NODE;
    return schedule_cluster_grant(l->cluster, g->bundles[bundle].grant).node;
}

uint64_t schedule_leases_group_gpus(const struct schedule_leases *l, uint64_t group,
                                    int bundle)
{
    const struct leases__group *g = rwf_ids_get(&l->group_ids, group);
    if (schedule_leases_group_node(l, group, bundle) == SCHEDULE_NO_NODE)
        return 0;
    return schedule_cluster_grant(l->cluster, g->bundles[bundle].grant).gpus;
}

bool schedule_leases_group_restore(struct schedule_leases *l, uint64_t group,
                                   const uint32_t *nodes, const uint64_t *gpus,
                                   int64_t now)
{
    struct leases__group *g = rwf_ids_get(&l->group_ids, group);
    if (g == NULL || g->removed || g->ask->held > 0)
        return false;
    struct schedule_claim claim = leases__claim(l, g->ask);
    claim.retriable = false;
    claim.cookie = g->id | LEASES__BUNDLE;
    bool good = true;
    for (uint32_t i = 0; i < g->count && good; i++) {
        struct leases__bundle *b = &g->bundles[i];
        b->grant =
            schedule_cluster_place_at(l->cluster, b->shape, nodes[i], gpus[i], &claim);
        good = b->grant != SCHEDULE_NO_GRANT;
        if (good)
            leases__charge(l, g->job, b->shape, 1);
    }
    for (uint32_t i = 0; i < g->count && !good; i++)
        give_bundle(l, g, i);
    if (!good)
        return false;
    g->version++;
    g->ask->held = 1;
    leases__line_up(l, g->ask, now);
    return true;
}

void leases__group_lost(struct schedule_leases *l, uint32_t node, int64_t now)
{
    for (size_t i = 0; i < l->group_ids.size; i++) {
        struct leases__group *g = l->group_ids.rows[i].item;
        bool lost = false;
        for (uint32_t k = 0; l->group_ids.rows[i].id != 0 && k < g->count; k++) {
            uint32_t grant = g->bundles[k].grant;
            if (grant == SCHEDULE_NO_GRANT ||
                schedule_cluster_grant(l->cluster, grant).node != node)
                continue;
            give_bundle(l, g, k);
            lost = true;
        }
        if (!lost || g->removed)
            continue;
        leases__say(l,
                    &(struct schedule_lease_decision){.verb = SCHEDULE_LEASE_GROUP_LOST,
                                                      .group = g->id,
                                                      .job = g->job->spec.id,
                                                      .node = node});
        g->ask->held = 0;
        g->ask->class->version = 0;
        leases__line_up(l, g->ask, now);
    }
}
