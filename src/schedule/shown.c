/* SPDX-License-Identifier: Apache-2.0
 *
 * Leases, asks and shares as others see them, and why an ask waits.
 */
#include "config.h"
#include "schedule/leases.h"

#include <stdlib.h>
#include "base/units.h"

static void add_quota(const struct leases__job *job, struct rwf_str *out)
{
    const struct schedule_job *q = &job->spec;
    char text[RWF_UNITS_LEN];
    rwf_str_addf(out, "waits: job '%s' is at its quota of", job->name);
    const char *between = " ";
    if (q->cpu_quota > 0) {
        rwf_str_addf(out, "%s%g cpu", between, q->cpu_quota);
        between = ", ";
    }
    if (q->gpu_quota > 0) {
        rwf_str_addf(out, "%s%g gpu", between, q->gpu_quota);
        between = ", ";
    }
    if (q->memory_quota > 0)
        rwf_str_addf(out, "%s%s memory", between,
                     rwf_size_format(q->memory_quota, text));
}

static void add_inside(const struct schedule_leases *l, const struct leases__ask *a,
                       struct rwf_str *out)
{
    unsigned long long id = a->group->id;
    uint32_t missing;
    free(leases__missing(a->group, &missing));
    if (missing > 0)
        rwf_str_addf(out, "waits for group %llu, %u of whose %u bundles are not placed",
                     id, missing, a->group->count);
    else if (a->bundle >= 0)
        rwf_str_addf(out, "waits for room in bundle %d of group %llu", a->bundle, id);
    else
        rwf_str_addf(out, "waits for room in any bundle of group %llu", id);
    (void)l;
}

/* "4 bundles (spread), each with ", of a group of several. */
static void add_bundles(const struct leases__ask *a, struct rwf_str *out)
{
    if (a->kind == LEASES__GROUP && a->group->count > 1)
        rwf_str_addf(out, "%u at once (%s), each with ", a->group->count,
                     plan_placement_name(a->group->placement));
}

static void add_why(const struct schedule_leases *l, const struct leases__ask *a,
                    int64_t now, struct rwf_str *out)
{
    char text[RWF_UNITS_LEN];
    struct schedule_claim claim = {.owner = l};
    if (!leases__within_quota(l, a->job, a)) {
        add_quota(a->job, out);
    } else if (a->kind == LEASES__INSIDE) {
        add_inside(l, a, out);
    } else if ((a->kind != LEASES__GROUP || a->group->count == 1) &&
               schedule_cluster_might(l->cluster, a->shape, &claim)) {
        rwf_str_add(out, "waits for its turn: others of higher priority, of a smaller "
                         "share or older come first");
    } else {
        rwf_str_add(out, "waits for ");
        add_bundles(a, out);
        schedule_cluster_short(l->cluster, a->shape, out);
    }
    if (a->owed > 0)
        rwf_str_addf(out, "; %u lease%s %s recalled for it", a->owed,
                     a->owed == 1 ? "" : "s", a->owed == 1 ? "is" : "are");
    if (a->holds)
        rwf_str_add(out, "; nodes are kept free for it");
    if (now > a->waiting_since)
        rwf_str_addf(out, " (for %s now)",
                     rwf_duration_format(now - a->waiting_since, text));
}

char *schedule_leases_why(const struct schedule_leases *l, uint64_t ask, int64_t now)
{
    struct rwf_str out = {NULL, 0, 0};
    const struct leases__ask *a = rwf_ids_get(&l->ask_ids, ask);
    if (a == NULL)
        rwf_str_add(&out, "is not known: it was dropped, or never made");
    else if (!a->in_line)
        rwf_str_addf(&out, "has the %u it wants", a->held);
    else
        add_why(l, a, now, &out);
    return rwf_str_take(&out);
}

char *schedule_leases_group_why(const struct schedule_leases *l, uint64_t group,
                                int64_t now)
{
    struct rwf_str out = {NULL, 0, 0};
    const struct leases__group *g = rwf_ids_get(&l->group_ids, group);
    if (g == NULL || g->removed || !g->ask->in_line)
        return NULL;
    add_why(l, g->ask, now, &out);
    return rwf_str_take(&out);
}

static void view(const struct leases__lease *x, struct schedule_lease_view *ret)
{
    const struct leases__ask *a = x->ask;
    *ret = (struct schedule_lease_view){
        .lease = x->id,
        .ask = a->id,
        .client = a->client,
        .job = a->job->spec.id,
        .group = a->kind == LEASES__INSIDE ? a->group->id : 0,
        .node = x->node,
        .gpus = x->gpus,
        .gpu_share = x->gpu_share,
        .blocked = x->blocked,
        .recalled = x->recalled,
        .retriable = a->retriable,
        .since = x->since};
}

bool schedule_leases_view(const struct schedule_leases *l, uint64_t lease,
                          struct schedule_lease_view *ret)
{
    const struct leases__lease *x = rwf_ids_get(&l->lease_ids, lease);
    if (x != NULL)
        view(x, ret);
    return x != NULL;
}

void schedule_leases_each(const struct schedule_leases *l,
                          void (*fn)(void *ctx, const struct schedule_lease_view *v),
                          void *ctx)
{
    const struct leases__lease *x;
    struct schedule_lease_view v;
    TAILQ_FOREACH(x, &l->all, all)
    {
        view(x, &v);
        fn(ctx, &v);
    }
}

bool schedule_leases_ask_view(const struct schedule_leases *l, uint64_t ask,
                              struct schedule_ask_view *ret)
{
    const struct leases__ask *a = rwf_ids_get(&l->ask_ids, ask);
    if (a != NULL)
        *ret = (struct schedule_ask_view){a->wanted, a->held, a->waiting_since};
    return a != NULL;
}

double schedule_leases_share(const struct schedule_leases *l, uint64_t job)
{
    const struct leases__job *j = rwf_ids_get(&l->job_ids, job);
    if (j == NULL)
        return 0;
    return j->share * (j->spec.weight > 0 ? j->spec.weight : 1);
}
