/* SPDX-License-Identifier: Apache-2.0
 *
 * What is asked of leases: refused at once, where it can never be granted, or put in its
 * line; wanted more or less of later, and dropped.
 */
#include "config.h"
#include "schedule/leases.h"

static int refuse(const struct schedule_leases *l, const struct schedule_ask *ask,
                  struct rwf_err *err)
{
    struct rwf_str path = {NULL, 0, 0}, what = {NULL, 0, 0};
    bool never = !ask->may_wait && schedule_cluster_never(l->cluster, &ask->need, 1,
                                                          ask->placement, &path, &what);
    if (never)
        rwf_fail(err, RWF_E_FIT, "%s; ask for less (%s), or add a node that has it",
                 what.data, path.data);
    rwf_str_free(&path);
    rwf_str_free(&what);
    return never ? -1 : 0;
}

static int refuse_quota(const struct schedule_ask *ask, const struct leases__job *job,
                        struct rwf_err *err)
{
    const struct schedule_job *q = &job->spec;
    const struct schedule_need *n = &ask->need;
    if (q->cpu_quota > 0 && n->cpu > q->cpu_quota)
        return rwf_fail(
            err, RWF_E_USAGE,
            "asks for %g cpu, job '%s' may hold %g at once; ask for less or "
            "raise its quota",
            n->cpu, job->name, q->cpu_quota);
    if (q->gpu_quota > 0 && n->gpu > q->gpu_quota)
        return rwf_fail(
            err, RWF_E_USAGE,
            "asks for %g gpu, job '%s' may hold %g at once; ask for less or "
            "raise its quota",
            n->gpu, job->name, q->gpu_quota);
    if (q->memory_quota > 0 && n->memory > q->memory_quota)
        return rwf_fail(
            err, RWF_E_USAGE,
            "asks for %lld bytes of memory, job '%s' may hold %lld at once; "
            "ask for less or raise its quota",
            (long long)n->memory, job->name, (long long)q->memory_quota);
    return 0;
}

static int check_group(const struct leases__group *g, const struct schedule_ask *ask,
                       struct rwf_err *err)
{
    if (ask->group == 0)
        return 0;
    if (g == NULL || g->removed)
        return rwf_fail(err, RWF_E_USAGE, "there is no group %llu (any more)",
                        (unsigned long long)ask->group);
    if (ask->bundle >= (int)g->count)
        return rwf_fail(err, RWF_E_USAGE,
                        "group %llu has bundles 0 to %u, and %d is none of them",
                        (unsigned long long)ask->group, g->count - 1, ask->bundle);
    return 0;
}

int schedule_leases_ask(struct schedule_leases *l, const struct schedule_ask *ask,
                        int64_t now, struct rwf_err *err)
{
    struct leases__job *job = rwf_ids_get(&l->job_ids, ask->job);
    struct leases__group *group = rwf_ids_get(&l->group_ids, ask->group);
    if (job == NULL)
        return rwf_fail(err, RWF_E_USAGE, "there is no job %llu (any more)",
                        (unsigned long long)ask->job);
    if (check_group(group, ask, err) != 0 ||
        (group == NULL && refuse_quota(ask, job, err) != 0) || refuse(l, ask, err) != 0)
        return -1;
    uint32_t shape = schedule_cluster_shape(l->cluster, &ask->need);
    if (group != NULL && !leases__bundle_could(l, group, ask->bundle, shape))
        return rwf_fail(err, RWF_E_FIT,
                        "no bundle of group %llu is large enough for it; ask for less, "
                        "or make the group with larger bundles",
                        (unsigned long long)ask->group);
    struct leases__ask *a = leases__ask_new(
        l, job, group != NULL ? LEASES__INSIDE : LEASES__PLAIN, shape,
        group == NULL && ask->placement == PLAN_SPREAD ? PLAN_SPREAD : PLAN_PACK, group,
        group != NULL && ask->bundle >= 0 ? ask->bundle : -1);
    a->id = ask->id;
    a->client = ask->client;
    a->priority = job->spec.priority + ask->priority;
    a->retriable = ask->retriable;
    a->prefer = ask->prefer;
    a->wanted = ask->wanted;
    rwf_ids_add(&l->ask_ids, a->id, a);
    leases__line_up(l, a, now);
    a->class->version = 0;
    return 0;
}

bool schedule_leases_want(struct schedule_leases *l, uint64_t ask, uint32_t wanted,
                          int64_t now)
{
    struct leases__ask *a = rwf_ids_get(&l->ask_ids, ask);
    if (a == NULL)
        return false;
    a->wanted = wanted;
    leases__line_up(l, a, now);
    return true;
}

void schedule_leases_near(struct schedule_leases *l, uint64_t ask, uint32_t node)
{
    struct leases__ask *a = rwf_ids_get(&l->ask_ids, ask);
    if (a != NULL && a->prefer != SCHEDULE_NO_NODE)
        a->near = node + 1; /* SCHEDULE_NO_NODE: 0 */
}

bool schedule_leases_drop(struct schedule_leases *l, uint64_t ask)
{
    struct leases__ask *a = rwf_ids_get(&l->ask_ids, ask);
    if (a != NULL)
        leases__drop(l, a);
    return a != NULL;
}
