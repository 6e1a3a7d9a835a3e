/* SPDX-License-Identifier: Apache-2.0
 *
 * What leases are told: jobs, releases, nodes that go. What is asked for: ask.c.
 *
 * Invariants: an ask is in its line exactly while it waits (held < wanted, not dropped,
 * its group not removed); a job's usage is the sum of its leases outside of groups and
 * of its groups' bundles; what is dropped is freed with its last lease.
 */
#include "config.h"
#include "schedule/leases.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

struct schedule_leases *schedule_leases_create(struct schedule_cluster *cluster)
{
    struct schedule_leases *l = rwf_xcalloc(1, sizeof(*l));
    l->cluster = cluster;
    l->next_lease = l->next_ask = 1;
    TAILQ_INIT(&l->all);
    TAILQ_INIT(&l->holders);
    leases__recount(l);
    return l;
}

static void job_free(struct leases__job *job)
{
    free(job->name);
    free(job);
}

static void class_free(struct leases__class *c)
{
    for (size_t i = 0; i < c->queue_count; i++)
        free(c->queues[i]);
    free(c->queues);
    free(c);
}

void schedule_leases_start(struct schedule_leases *l, uint64_t first)
{
    l->next_lease = first;
}

void schedule_leases_destroy(struct schedule_leases *l)
{
    if (l == NULL)
        return;
    for (size_t i = 0; i < l->job_count;) /* an end may take it off the list */
        if (l->jobs[i]->ended)
            i++;
        else
            schedule_leases_job_end(l, l->jobs[i]->spec.id);
    while (!TAILQ_EMPTY(&l->all))
        leases__lease_end(l, TAILQ_FIRST(&l->all), 0);
    rwf_assert(l->job_count == 0);
    for (size_t i = 0; i < l->class_count; i++)
        class_free(l->classes[i]);
    rwf_ids_free(&l->job_ids);
    rwf_ids_free(&l->ask_ids);
    rwf_ids_free(&l->lease_ids);
    rwf_ids_free(&l->group_ids);
    free(l->jobs);
    free(l->classes);
    free(l->out);
    free(l);
}

void leases__say(struct schedule_leases *l, const struct schedule_lease_decision *d)
{
    if (l->out_first == l->out_count)
        l->out_first = l->out_count = 0;
    *RWF_PUSH(l->out, l->out_count, l->out_cap) = *d;
}

/* --- shares --- */

static double part(double used, double all)
{
    return used <= 0 ? 0 : all > 0 ? used / all : 1;
}

double leases__dominant(const struct schedule_leases *l, const struct leases__job *job,
                        double cpu, double gpu, double memory)
{
    double most = part(cpu, l->totals.cpu), other = part(gpu, l->totals.gpu);
    most = other > most ? other : most;
    other = part(memory, l->totals.memory);
    most = other > most ? other : most;
    return most / (job->spec.weight > 0 ? job->spec.weight : 1);
}

static void share_of(const struct schedule_leases *l, struct leases__job *job)
{
    job->share = leases__dominant(l, job, job->cpu, job->gpu, job->memory);
}

void leases__recount(struct schedule_leases *l)
{
    schedule_cluster_totals(l->cluster, &l->totals);
    l->members = schedule_cluster_members(l->cluster);
    for (size_t i = 0; i < l->job_count; i++)
        share_of(l, l->jobs[i]);
}

void leases__charge(struct schedule_leases *l, struct leases__job *job, uint32_t shape,
                    int sign)
{
    struct schedule_amounts need = schedule_cluster_amounts(l->cluster, shape);
    job->cpu += sign * need.cpu;
    job->gpu += sign * need.gpu;
    job->memory += sign * need.memory;
    share_of(l, job);
}

bool leases__within_quota(const struct schedule_leases *l,
                          const struct leases__job *job, const struct leases__ask *a)
{
    const struct schedule_job *q = &job->spec;
    struct schedule_amounts need = {0};
    if (a->kind == LEASES__INSIDE ||
        (q->cpu_quota <= 0 && q->gpu_quota <= 0 && q->memory_quota <= 0))
        return true;
    if (a->kind == LEASES__PLAIN)
        need = schedule_cluster_amounts(l->cluster, a->shape);
    for (uint32_t i = 0; a->kind == LEASES__GROUP && i < a->group->count; i++) {
        const struct leases__bundle *b = &a->group->bundles[i];
        struct schedule_amounts one = schedule_cluster_amounts(l->cluster, b->shape);
        if (b->grant != SCHEDULE_NO_GRANT)
            continue;
        need.cpu += one.cpu;
        need.gpu += one.gpu;
        need.memory += one.memory;
    }
    return (q->cpu_quota <= 0 || job->cpu + need.cpu <= q->cpu_quota + 1e-6) &&
           (q->gpu_quota <= 0 || job->gpu + need.gpu <= q->gpu_quota + 1e-6) &&
           (q->memory_quota <= 0 ||
            job->memory + need.memory <= (double)q->memory_quota + 0.5);
}

/* --- jobs --- */

void schedule_leases_job_add(struct schedule_leases *l, const struct schedule_job *job)
{
    struct leases__job *j = rwf_xcalloc(1, sizeof(*j));
    j->spec = *job;
    j->name = rwf_xstrdup(job->name != NULL ? job->name : "");
    j->spec.name = j->name;
    TAILQ_INIT(&j->leases);
    rwf_ids_add(&l->job_ids, job->id, j);
    *RWF_PUSH(l->jobs, l->job_count, l->job_cap) = j;
}

bool schedule_leases_job_known(const struct schedule_leases *l, uint64_t job)
{
    return rwf_ids_get(&l->job_ids, job) != NULL;
}

void schedule_leases_job_set(struct schedule_leases *l, const struct schedule_job *job)
{
    struct leases__job *j = rwf_ids_get(&l->job_ids, job->id);
    if (j == NULL)
        return;
    int shift = job->priority - j->spec.priority;
    j->spec = *job;
    j->spec.name = j->name;
    for (size_t i = 0; i < l->ask_ids.size && shift != 0; i++) {
        struct leases__ask *a = l->ask_ids.rows[i].item;
        if (l->ask_ids.rows[i].id != 0 && a->job == j)
            a->priority += shift; /* all of a line alike: it stays in order */
    }
    share_of(l, j);
}

/* Forgets jobs that ended and hold nothing. */
static void sweep_job(struct schedule_leases *l, struct leases__job *job)
{
    if (!job->ended || job->lease_count > 0 || job->ask_count > 0 ||
        job->group_count > 0)
        return;
    for (size_t c = 0; c < l->class_count; c++)
        for (size_t q = 0; q < l->classes[c]->queue_count; q++)
            if (l->classes[c]->queues[q]->job == job) {
                struct leases__class *class = l->classes[c];
                free(class->queues[q]);
                class->queues[q] = class->queues[--class->queue_count];
            }
    for (size_t i = 0; i < l->job_count; i++)
        if (l->jobs[i] == job)
            l->jobs[i] = l->jobs[--l->job_count];
    job_free(job);
}

void schedule_leases_job_end(struct schedule_leases *l, uint64_t job)
{
    struct leases__job *j = rwf_ids_get(&l->job_ids, job);
    if (j == NULL)
        return;
    rwf_ids_remove(&l->job_ids, job);
    j->ended = true;
    j->lease_count++; /* keeps it while we go through what it has */
    struct leases__ask **asks = rwf_xcalloc(l->ask_ids.count + 1, sizeof(*asks));
    struct leases__group **groups =
        rwf_xcalloc(l->group_ids.count + 1, sizeof(*groups));
    size_t ask_count = 0, group_count = 0;
    for (size_t i = 0; i < l->ask_ids.size; i++) {
        struct leases__ask *a = l->ask_ids.rows[i].item;
        if (l->ask_ids.rows[i].id != 0 && a->job == j)
            asks[ask_count++] = a;
    }
    for (size_t i = 0; i < l->group_ids.size; i++) {
        struct leases__group *g = l->group_ids.rows[i].item;
        if (l->group_ids.rows[i].id != 0 && g->job == j)
            groups[group_count++] = g;
    }
    for (size_t i = 0; i < ask_count; i++)
        leases__drop(l, asks[i]);
    for (size_t i = 0; i < group_count; i++)
        leases__group_drop(l, groups[i], 0);
    j->lease_count--;
    sweep_job(l, j);
    free(asks);
    free(groups);
}

/* --- lines --- */

static struct leases__class *class_for(struct schedule_leases *l,
                                       enum leases__kind kind, uint32_t shape,
                                       enum plan_placement placement,
                                       struct leases__group *group, int bundle)
{
    for (size_t i = 0; i < l->class_count; i++) {
        struct leases__class *c = l->classes[i];
        if (c->kind == kind && c->shape == shape && c->placement == placement &&
            c->group == group && c->bundle == bundle)
            return c;
    }
    struct leases__class *c = rwf_xcalloc(1, sizeof(*c));
    c->kind = kind;
    c->shape = shape;
    c->placement = placement;
    c->group = group;
    c->bundle = bundle;
    *RWF_PUSH(l->classes, l->class_count, l->class_cap) = c;
    return c;
}

static struct leases__queue *queue_for(struct leases__class *c, struct leases__job *job)
{
    for (size_t i = 0; i < c->queue_count; i++)
        if (c->queues[i]->job == job)
            return c->queues[i];
    struct leases__queue *q = rwf_xcalloc(1, sizeof(*q));
    q->job = job;
    TAILQ_INIT(&q->asks);
    *RWF_PUSH(c->queues, c->queue_count, c->queue_cap) = q;
    return q;
}

void leases__hold(struct schedule_leases *l, struct leases__ask *a)
{
    a->tried = 0;
    if (!a->holds)
        TAILQ_INSERT_TAIL(&l->holders, a, holder);
    a->holds = true;
}

void leases__unhold(struct schedule_leases *l, struct leases__ask *a)
{
    if (!a->holds)
        return;
    a->holds = false;
    TAILQ_REMOVE(&l->holders, a, holder);
    if (l->starving == a)
        l->starving = NULL;
    schedule_cluster_unhold(l->cluster, l, a->number);
}

static bool waits(const struct leases__ask *a)
{
    if (a->dropped || a->held >= a->wanted)
        return false;
    return a->group == NULL || !a->group->removed;
}

void leases__line_up(struct schedule_leases *l, struct leases__ask *a, int64_t now)
{
    bool should = waits(a);
    if (should == a->in_line)
        return;
    a->in_line = should;
    struct leases__queue *q = queue_for(a->class, a->job);
    if (!should) {
        TAILQ_REMOVE(&q->asks, a, line);
        a->class->waiting--;
        a->waiting_since = 0;
        leases__unhold(l, a);
        return;
    }
    struct leases__ask *other;
    TAILQ_FOREACH_REVERSE(other, &q->asks, leases__line, line)
    if (other->priority > a->priority ||
        (other->priority == a->priority && other->number < a->number))
        break;
    if (other == NULL)
        TAILQ_INSERT_HEAD(&q->asks, a, line);
    else
        TAILQ_INSERT_AFTER(&q->asks, other, a, line);
    a->class->waiting++;
    a->waiting_since = now;
    a->since = l->grants;
    a->hunted = 0;
}

struct leases__ask *leases__ask_new(struct schedule_leases *l, struct leases__job *job,
                                    enum leases__kind kind, uint32_t shape,
                                    enum plan_placement placement,
                                    struct leases__group *group, int bundle)
{
    struct leases__ask *a = rwf_xcalloc(1, sizeof(*a));
    a->job = job;
    a->kind = kind;
    a->shape = shape;
    a->group = group;
    a->class = class_for(l, kind, shape, placement, group, bundle);
    a->number = l->next_ask++;
    a->prefer = SCHEDULE_NO_NODE;
    a->bundle = bundle;
    job->ask_count++;
    return a;
}

void leases__ask_free(struct schedule_leases *l, struct leases__ask *a)
{
    struct leases__job *job = a->job;
    rwf_assert(!a->in_line && a->held == 0);
    job->ask_count--;
    free(a);
    sweep_job(l, job);
}

void leases__drop(struct schedule_leases *l, struct leases__ask *a)
{
    a->dropped = true;
    leases__line_up(l, a, 0);
    rwf_ids_remove(&l->ask_ids, a->id);
    if (a->held == 0)
        leases__ask_free(l, a);
}

/* --- leases --- */

struct schedule_claim leases__claim(const struct schedule_leases *l,
                                    const struct leases__ask *a)
{
    return (struct schedule_claim){.owner = l,
                                   .priority = a->priority,
                                   .retriable = a->retriable,
                                   .hold = a->holds ? a->number : 0,
                                   .prefer = a->prefer,
                                   .near = a->near,
                                   .inside = SCHEDULE_NO_GRANT};
}

struct leases__lease *leases__lease_add(struct schedule_leases *l,
                                        struct leases__ask *a, uint64_t id,
                                        uint32_t grant, int bundle, int64_t now)
{
    struct leases__lease *x = rwf_xcalloc(1, sizeof(*x));
    struct schedule_grant g = schedule_cluster_grant(l->cluster, grant);
    x->id = id;
    x->ask = a;
    x->grant = grant;
    x->node = g.node;
    x->gpus = g.gpus;
    x->gpu_share = g.share;
    x->bundle = bundle;
    x->since = now;
    TAILQ_INSERT_TAIL(&l->all, x, all);
    TAILQ_INSERT_TAIL(&a->job->leases, x, ours);
    rwf_ids_add(&l->lease_ids, id, x);
    a->job->lease_count++;
    a->held++;
    if (a->kind == LEASES__INSIDE)
        a->group->lease_count++;
    else
        leases__charge(l, a->job, a->shape, 1);
    leases__line_up(l, a, now);
    a->since = l->grants;
    a->hunted = 0;
    return x;
}

static void owe(const struct schedule_leases *l, struct leases__job *job,
                uint32_t shape, int sign)
{
    struct schedule_amounts need = schedule_cluster_amounts(l->cluster, shape);
    job->owed_cpu += sign * need.cpu;
    job->owed_gpu += sign * need.gpu;
    job->owed_memory += sign * need.memory;
}

void leases__lease_end(struct schedule_leases *l, struct leases__lease *x, int64_t now)
{
    struct leases__ask *a = x->ask;
    struct leases__job *job = a->job;
    struct leases__group *group = a->kind == LEASES__INSIDE ? a->group : NULL;
    struct leases__ask *owed = rwf_ids_get(&l->ask_ids, x->owed_to);
    bool recalled = x->recalled;
    schedule_cluster_give(l->cluster, x->grant);
    TAILQ_REMOVE(&l->all, x, all);
    TAILQ_REMOVE(&job->leases, x, ours);
    rwf_ids_remove(&l->lease_ids, x->id);
    free(x);
    if (owed != NULL && owed->owed > 0)
        owed->owed--;
    if (recalled && group == NULL)
        owe(l, job, a->shape, -1);
    job->lease_count--;
    a->held--;
    if (group == NULL)
        leases__charge(l, job, a->shape, -1);
    leases__line_up(l, a, now);
    if (a->dropped && a->held == 0)
        leases__ask_free(l, a);
    if (group != NULL) {
        group->lease_count--;
        group->version++;
        leases__group_settle(l, group);
    }
}

bool schedule_leases_release(struct schedule_leases *l, uint64_t lease, int64_t now)
{
    struct leases__lease *x = rwf_ids_get(&l->lease_ids, lease);
    if (x != NULL)
        leases__lease_end(l, x, now);
    return x != NULL;
}

bool schedule_leases_block(struct schedule_leases *l, uint64_t lease, bool blocked,
                           int64_t now)
{
    struct leases__lease *x = rwf_ids_get(&l->lease_ids, lease);
    (void)now;
    if (x == NULL)
        return false;
    if (x->blocked != blocked) {
        x->blocked = blocked;
        schedule_cluster_block(l->cluster, x->grant, blocked);
        if (x->ask->kind == LEASES__INSIDE)
            x->ask->group->version++;
    }
    return true;
}

bool schedule_leases_restore(struct schedule_leases *l, uint64_t lease, uint64_t ask,
                             uint32_t node, uint64_t gpus)
{
    struct leases__ask *a = rwf_ids_get(&l->ask_ids, ask);
    if (a == NULL || a->kind != LEASES__PLAIN || lease == 0 ||
        rwf_ids_get(&l->lease_ids, lease) != NULL)
        return false;
    struct schedule_claim claim = leases__claim(l, a);
    claim.cookie = lease;
    uint32_t grant =
        schedule_cluster_place_at(l->cluster, a->shape, node, gpus, &claim);
    if (grant == SCHEDULE_NO_GRANT)
        return false;
    (void)leases__lease_add(l, a, lease, grant, -1, 0);
    if (lease >= l->next_lease)
        l->next_lease = lease + 1;
    return true;
}

static struct schedule_lease_decision about(const struct leases__lease *x,
                                            enum schedule_lease_verb verb)
{
    const struct leases__ask *a = x->ask;
    return (struct schedule_lease_decision){
        .verb = verb,
        .lease = x->id,
        .ask = a->id,
        .client = a->client,
        .job = a->job->spec.id,
        .group = a->kind == LEASES__INSIDE ? a->group->id : 0,
        .bundle = x->bundle,
        .node = x->node};
}

void leases__recall(struct schedule_leases *l, struct leases__lease *x, bool kill,
                    struct leases__ask *owed_to)
{
    if (x->recalled && (!kill || x->killed))
        return;
    struct schedule_lease_decision d = about(x, SCHEDULE_LEASE_RECALL);
    d.kill = kill;
    if (!x->recalled && x->ask->kind == LEASES__PLAIN)
        owe(l, x->ask->job, x->ask->shape, 1);
    x->recalled = true;
    x->killed = kill;
    if (owed_to != NULL && x->owed_to == 0) {
        x->owed_to = owed_to->id;
        owed_to->owed++;
    }
    if (kill)
        schedule_cluster_ending(l->cluster, x->grant);
    leases__say(l, &d);
}

struct gone {
    struct schedule_leases *l;
    int64_t now;
};

static void lose(void *ctx, uint32_t grant)
{
    struct gone *g = ctx;
    struct schedule_leases *l = g->l;
    const struct schedule_claim *claim =
        schedule_cluster_grant(l->cluster, grant).claim;
    if (claim->owner != l || (claim->cookie & LEASES__BUNDLE) != 0)
        return;
    struct leases__lease *x = rwf_ids_get(&l->lease_ids, claim->cookie);
    rwf_assert(x != NULL && x->grant == grant);
    struct schedule_lease_decision d = about(x, SCHEDULE_LEASE_LOST);
    leases__say(l, &d);
    leases__lease_end(l, x, g->now);
}

void schedule_leases_node_gone(struct schedule_leases *l, uint32_t node, int64_t now)
{
    struct gone g = {l, now};
    schedule_cluster_each(l->cluster, node, lose, &g);
    leases__group_lost(l, node, now);
    leases__recount(l);
}
