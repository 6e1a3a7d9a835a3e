/* SPDX-License-Identifier: Apache-2.0
 *
 * Who gets workers. Jobs ask for leases of a shape; this decides which lease is granted
 * where, and which is to be given back. Pure: no I/O, no clock but the times passed in;
 * the same calls give the same decisions (replay: call them again).
 *
 *   head                                         here
 *   job_add, ask (wanted = 3)           ->
 *                                       <-  GRANT lease 1 node 4 gpus {0} (up to
 * wanted) release(lease)                      ->      when its client needs it no more,
 * when its worker ended, or as answer to RECALL want(ask, n), drop(ask)             ->
 * at any time block(lease, true / false)          ->      its worker waits in get: its
 * cores are free node_gone(node)                     ->
 *                                       <-  LOST lease: it is over, nothing to release
 *   group_add(bundles)                  ->
 *                                       <-  GROUP_READY: all bundles are reserved
 *                                       <-  GROUP_LOST: a node of it died; it is placed
 * anew and GROUP_READY follows
 *
 * Order: priority, then the job with the least dominant share of the cluster by weight
 * (weighted DRF: Ghodsi et al., NSDI 2011), then the older ask. Within a quota's limits
 * only. An ask that others pass too often has nodes kept for it.
 *
 * RECALL without kill: a job of the same priority holds more than its fair share while
 * another with less waits; the client gives the lease back once its current task is
 * done. RECALL with kill: an ask of higher priority waits and this work may be retried;
 * the task is ended and costs no attempt. Either way release() is the answer, and a
 * client that still wants as many is granted another when its turn comes.
 *
 * Ids of jobs, asks and groups are the caller's (unique among the living of their kind,
 * not 0); ids of leases are ours, from 1 up, never used twice.
 */
#ifndef RWF_SCHEDULE_LEASE_H
#define RWF_SCHEDULE_LEASE_H
#include "schedule/cluster.h"

struct schedule_leases;

struct schedule_job {
    uint64_t id;
    const char *name; /* for people */
    int priority;     /* higher first */
    double weight;    /* its part among jobs of one priority; 0: 1 */
    /* What it may hold at once, at most; 0: no limit. */
    double cpu_quota, gpu_quota;
    int64_t memory_quota;
};

struct schedule_ask {
    uint64_t id, job;
    uint64_t client; /* the caller's, handed back in decisions */
    struct schedule_need need;
    enum plan_placement placement; /* PLAN_SPREAD, or anything else for pack */
    uint64_t group;                /* in a bundle of this group; 0: none */
    int bundle;                    /* -1: whichever has room */
    int priority;                  /* added to the job's, to order a job's own asks */
    bool retriable;                /* a higher priority may end its work */
    bool may_wait;   /* nodes may still join: do not refuse what no node can hold */
    uint32_t wanted; /* leases in all, counting those it has */
    uint32_t prefer; /* this node if it fits, or SCHEDULE_NO_NODE */
};

struct schedule_group {
    uint64_t id, job;
    const struct schedule_need *bundles;
    uint32_t bundle_count;
    enum plan_placement placement;
    int priority; /* added to the job's */
    bool may_wait;
    bool preferred; /* node `prefer` if it fits, of packed ones all that it holds */
    uint32_t prefer;
};

enum schedule_lease_verb {
    SCHEDULE_LEASE_NONE, /* nothing now */
    SCHEDULE_LEASE_GRANT,
    SCHEDULE_LEASE_RECALL,
    SCHEDULE_LEASE_LOST,
    SCHEDULE_LEASE_GROUP_READY,
    SCHEDULE_LEASE_GROUP_LOST,
};

struct schedule_lease_decision {
    enum schedule_lease_verb verb;
    uint64_t lease, ask, client, job; /* not of a group's */
    uint64_t group;                   /* GROUP_…, and of leases in one; else 0 */
    int bundle;                       /* GRANT in a group */
    uint32_t node;                    /* GRANT, RECALL, LOST */
    uint64_t gpus;                    /* GRANT: ids on that node, as bits */
    double gpu_share;                 /* GRANT: of that one card, or 1 */
    bool kill;                        /* RECALL: do not wait for the task's end */
};

/* cluster is the caller's and must outlive this. */
struct schedule_leases *schedule_leases_create(struct schedule_cluster *cluster);
void schedule_leases_destroy(struct schedule_leases *l);
/* Numbers of leases begin here instead of at 1: a head that was started again gives
 * none that its nodes may still hold. Before the first lease. */
void schedule_leases_start(struct schedule_leases *l, uint64_t first);

void schedule_leases_job_add(struct schedule_leases *l, const struct schedule_job *job);
/* Its asks and groups are dropped; leases stay until they are released. */
void schedule_leases_job_end(struct schedule_leases *l, uint64_t job);
/* A job's share changes. */
void schedule_leases_job_set(struct schedule_leases *l, const struct schedule_job *job);
bool schedule_leases_job_known(const struct schedule_leases *l, uint64_t job);

/* RWF_E_FIT: no node can ever hold it, the text says which comes nearest; RWF_E_USAGE:
 * no such job, group or bundle, or the quota can never hold it. */
int schedule_leases_ask(struct schedule_leases *l, const struct schedule_ask *ask,
                        int64_t now, struct rwf_err *err);
/* False (and for drop nothing happens): no such ask. */
/* Where its next leases should be when the node that it prefers has no room for them;
 * SCHEDULE_NO_NODE: anywhere. One that prefers none (it spreads) goes anywhere. */
void schedule_leases_near(struct schedule_leases *l, uint64_t ask, uint32_t node);
bool schedule_leases_want(struct schedule_leases *l, uint64_t ask, uint32_t wanted,
                          int64_t now);
bool schedule_leases_drop(struct schedule_leases *l, uint64_t ask);

/* False: no such lease (any more): it was lost or released before. */
bool schedule_leases_release(struct schedule_leases *l, uint64_t lease, int64_t now);
bool schedule_leases_block(struct schedule_leases *l, uint64_t lease, bool blocked,
                           int64_t now);
/* A node that registers again tells which lease it still runs (the head was restarted):
 * the lease is held again, under its old number, when its resources are free there. */
bool schedule_leases_restore(struct schedule_leases *l, uint64_t lease, uint64_t ask,
                             uint32_t node, uint64_t gpus);

int schedule_leases_group_add(struct schedule_leases *l, const struct schedule_group *g,
                              int64_t now, struct rwf_err *err);
/* Its asks are dropped, its leases recalled (kill); its bundles are free as soon as
 * they are empty. */
bool schedule_leases_group_remove(struct schedule_leases *l, uint64_t group,
                                  int64_t now);
/* SCHEDULE_NO_NODE: not placed, or no such bundle. */
uint32_t schedule_leases_group_node(const struct schedule_leases *l, uint64_t group,
                                    int bundle);
/* Its GPUs on that node, as bits; 0: none, or not placed. */
uint64_t schedule_leases_group_gpus(const struct schedule_leases *l, uint64_t group,
                                    int bundle);
/* Puts every bundle of a group that is not placed where it was (the head was
 * restarted); false: something of it is not free there, and the group waits as any
 * other. */
bool schedule_leases_group_restore(struct schedule_leases *l, uint64_t group,
                                   const uint32_t *nodes, const uint64_t *gpus,
                                   int64_t now);
/* As schedule_leases_why; NULL: it is placed, or there is no such group. */
char *schedule_leases_group_why(const struct schedule_leases *l, uint64_t group,
                                int64_t now);

/* After schedule_cluster_remove of that node. */
void schedule_leases_node_gone(struct schedule_leases *l, uint32_t node, int64_t now);

/* The next decision; call until SCHEDULE_LEASE_NONE after each round of events. */
struct schedule_lease_decision schedule_leases_next(struct schedule_leases *l,
                                                    int64_t now);

/* One line: why an ask does not get what it wants ("waits for 1 of 8 gpu", "its job is
 * at its quota of 16 cpu", …). The caller's to free. */
char *schedule_leases_why(const struct schedule_leases *l, uint64_t ask, int64_t now);

struct schedule_lease_view {
    uint64_t lease, ask, client, job, group;
    uint32_t node;
    uint64_t gpus;
    double gpu_share;
    bool blocked, recalled, retriable;
    int64_t since;
};
/* False: no such lease. */
bool schedule_leases_view(const struct schedule_leases *l, uint64_t lease,
                          struct schedule_lease_view *ret);
/* Calls fn with each lease, the oldest first. */
void schedule_leases_each(const struct schedule_leases *l,
                          void (*fn)(void *ctx, const struct schedule_lease_view *v),
                          void *ctx);

struct schedule_ask_view {
    uint32_t wanted, held;
    int64_t waiting_since; /* or 0 */
};
bool schedule_leases_ask_view(const struct schedule_leases *l, uint64_t ask,
                              struct schedule_ask_view *ret);
/* A job's dominant share of the cluster, 0 to 1, before weights. */
double schedule_leases_share(const struct schedule_leases *l, uint64_t job);

#endif
