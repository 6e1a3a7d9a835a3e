/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of the leases, shared by lease.c (what is told), ask.c (what is asked for),
 * decide.c (what is decided), group.c (reservations) and shown.c (views and
 * explanations).
 *
 * Asks that could be placed by the same question (same shape, same way) are one class;
 * in a class each job has a line of asks. A decision asks the cluster once per class,
 * and only when something became free since; then it compares the first of each job's
 * line.
 */
#ifndef RWF_SCHEDULE_LEASES_H
#define RWF_SCHEDULE_LEASES_H
#include <sys/queue.h>
#include "base/ids.h"
#include "schedule/lease.h"
#include "schedule/stock.h"

/* In the cookie of a claim: a group's number, else a lease's. */
#define LEASES__BUNDLE (UINT64_C(1) << 63)

struct leases__job;

enum leases__kind { LEASES__PLAIN, LEASES__INSIDE, LEASES__GROUP };

struct leases__ask {
    uint64_t id, client;
    struct leases__job *job;
    struct leases__group *group; /* it reserves, or in which it asks */
    enum leases__kind kind;
    struct leases__class *class;
    uint32_t shape;
    int bundle, priority; /* priority: with the job's */
    bool retriable, dropped, in_line;
    uint32_t wanted, held, prefer, near;
    uint64_t number; /* in order of arrival */
    uint64_t since;  /* grants made when it began to wait */
    uint64_t hunted; /* version of the cluster when no lease was found to recall */
    int64_t waiting_since;
    uint32_t owed; /* leases recalled for it and not yet released */
    bool holds;
    uint64_t tried; /* version of the cluster, + 1, when the held nodes were not enough */
    TAILQ_ENTRY(leases__ask) line, holder;
};
TAILQ_HEAD(leases__line, leases__ask);

/* A job's line in a class. */
struct leases__queue {
    struct leases__job *job;
    struct leases__line asks; /* higher priority, then older first */
};

struct leases__class {
    enum leases__kind kind;
    uint32_t shape;
    enum plan_placement placement;
    struct leases__group *group; /* of GROUP and INSIDE */
    int bundle;                  /* of INSIDE */
    struct leases__queue **queues;
    size_t queue_count, queue_cap;
    size_t waiting;   /* asks in all lines */
    uint64_t version; /* of the cluster, or the group, when it did not fit, + 1 */
};

struct leases__lease {
    uint64_t id, owed_to; /* owed_to: the ask for which it was recalled */
    struct leases__ask *ask;
    uint32_t grant, node;
    uint64_t gpus;
    double gpu_share;
    int bundle;
    bool recalled, killed, blocked;
    int64_t since;
    TAILQ_ENTRY(leases__lease) all, ours;
};
TAILQ_HEAD(leases__list, leases__lease);

struct leases__job {
    struct schedule_job spec;
    char *name;
    bool ended;
    double cpu, gpu, memory;                /* held now */
    double share;                           /* dominant, by weight */
    double owed_cpu, owed_gpu, owed_memory; /* of that: recalled */
    struct leases__list leases;
    size_t lease_count, ask_count, group_count;
};

struct leases__bundle {
    uint32_t shape, grant; /* SCHEDULE_NO_GRANT: not placed */
};

struct leases__group {
    uint64_t id;
    struct leases__job *job;
    struct leases__bundle *bundles;
    uint32_t count;
    enum plan_placement placement;
    struct leases__ask *ask; /* for what is not placed */
    uint64_t version;        /* rises when something in it becomes free; from 1 */
    size_t lease_count;
    bool removed;
};

struct schedule_leases {
    struct schedule_cluster *cluster;
    struct rwf_ids job_ids, ask_ids, lease_ids, group_ids;
    struct leases__job **jobs;
    size_t job_count, job_cap;
    struct leases__class **classes;
    size_t class_count, class_cap;
    struct leases__list all;
    uint64_t next_lease, next_ask, grants;
    struct schedule_totals totals; /* as of `members` of the cluster */
    uint64_t members;
    struct schedule_lease_decision *out; /* decided already: a queue */
    size_t out_first, out_count, out_cap;
    uint64_t patient; /* grants at the last look for somebody who starves */
    TAILQ_HEAD(, leases__ask) holders; /* nodes are held for these */
    struct leases__ask *starving;      /* one of them */
    uint64_t
        held_tried; /* version of the cluster when the held nodes were not enough */
};

/* lease.c */
void leases__hold(struct schedule_leases *l, struct leases__ask *a);
void leases__unhold(struct schedule_leases *l, struct leases__ask *a);
void leases__say(struct schedule_leases *l, const struct schedule_lease_decision *d);
void leases__recount(struct schedule_leases *l);
/* The dominant share of so much, by a job's weight. */
double leases__dominant(const struct schedule_leases *l, const struct leases__job *job,
                        double cpu, double gpu, double memory);
/* A need of one shape comes (+1) or goes. */
void leases__charge(struct schedule_leases *l, struct leases__job *job, uint32_t shape,
                    int sign);
/* Puts the ask into its line, or takes it out, as it waits or not. */
void leases__line_up(struct schedule_leases *l, struct leases__ask *a, int64_t now);
struct leases__ask *leases__ask_new(struct schedule_leases *l, struct leases__job *job,
                                    enum leases__kind kind, uint32_t shape,
                                    enum plan_placement placement,
                                    struct leases__group *group, int bundle);
void leases__ask_free(struct schedule_leases *l, struct leases__ask *a);
void leases__drop(struct schedule_leases *l, struct leases__ask *a);
struct leases__lease *leases__lease_add(struct schedule_leases *l,
                                        struct leases__ask *a, uint64_t id,
                                        uint32_t grant, int bundle, int64_t now);
void leases__lease_end(struct schedule_leases *l, struct leases__lease *x, int64_t now);
void leases__recall(struct schedule_leases *l, struct leases__lease *x, bool kill,
                    struct leases__ask *owed_to);
struct schedule_claim leases__claim(const struct schedule_leases *l,
                                    const struct leases__ask *a);
bool leases__within_quota(const struct schedule_leases *l,
                          const struct leases__job *job, const struct leases__ask *a);

/* group.c */
/* The shapes of a group that are not placed; the caller's to free. */
uint32_t *leases__missing(const struct leases__group *g, uint32_t *ret_count);
bool leases__group_place(struct schedule_leases *l, struct leases__ask *a);
void leases__group_lost(struct schedule_leases *l, uint32_t node, int64_t now);
void leases__group_drop(struct schedule_leases *l, struct leases__group *g,
                        int64_t now);
/* Frees what is removed and empty. */
void leases__group_settle(struct schedule_leases *l, struct leases__group *g);
/* Whether the empty bundle (-1: one of them) has room for it. */
bool leases__bundle_could(const struct schedule_leases *l,
                          const struct leases__group *g, int bundle, uint32_t shape);
/* A bundle that has room for the ask, or -1. */
int leases__bundle_for(struct schedule_leases *l, const struct leases__ask *a,
                       uint32_t *ret_grant);

#endif
