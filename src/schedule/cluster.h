/* SPDX-License-Identifier: Apache-2.0
 *
 * Many nodes, what they have, and who holds what of it. Pure: no I/O, no clock; the
 * same calls give the same answers. Steps (schedule.h) and leases (lease.h) of one
 * process share one cluster, so that together they never take more than there is.
 *
 * A need is interned as a shape; placing costs a walk down a tree of maxima, and a
 * shape remembers where it need not look again, so that no decision looks at all nodes.
 *
 *   pack             the fullest of the first nodes that fit: few nodes, whole GPUs
 * kept; work without GPUs goes to nodes without GPUs when one fits spread           the
 * least used of the nodes that come next in turn same_node        a gang: all on one
 * node (as pack for one) different_nodes  a gang: no two on one node (as pack for one)
 *
 * A gang is placed all or nothing.
 */
#ifndef RWF_SCHEDULE_CLUSTER_H
#define RWF_SCHEDULE_CLUSTER_H
#include <stdbool.h>
#include "base/str.h"
#include "plan/graph.h"
#include "schedule/machine.h"

#define SCHEDULE_NO_NODE UINT32_MAX
#define SCHEDULE_NO_GRANT UINT32_MAX

struct schedule_cluster;

struct schedule_cluster *schedule_cluster_create(void);
/* One node, for those who have only that. */
struct schedule_cluster *schedule_cluster_of(const struct schedule_machine *m);
void schedule_cluster_destroy(struct schedule_cluster *c);
/* Its nodes are other machines: a single one, too, is told by its name. */
void schedule_cluster_by_name(struct schedule_cluster *c);

/* --- nodes --- */

/* Returns its number: from 0 up; that of a removed node is used again once nothing is
 * granted there. */
uint32_t schedule_cluster_add(struct schedule_cluster *c,
                              const struct schedule_machine *m);
/* The node is gone: nothing is placed there any more; what is granted there stays with
 * its owners until they give it back (schedule_leases_node_gone; of steps, the failure
 * of each). */
void schedule_cluster_remove(struct schedule_cluster *c, uint32_t node);
/* Closed: nothing new is placed there, what runs may end. */
void schedule_cluster_close(struct schedule_cluster *c, uint32_t node, bool closed);
/* By name, among those not removed; or SCHEDULE_NO_NODE. */
uint32_t schedule_cluster_find(const struct schedule_cluster *c, const char *name);
/* Numbers are below this; not all of them may be in use. */
uint32_t schedule_cluster_count(const struct schedule_cluster *c);

struct schedule_node_view {
    const char *name; /* NULL: no such node (any more) */
    double cpu, cpu_free;
    int64_t memory, memory_free;
    int gpu_count;
    double gpu_free[SCHEDULE_MAX_GPUS]; /* 0 to 1, by card */
    bool closed, held;                  /* held: kept free for one who waits */
    uint32_t grants;                    /* held on it, by all owners */
};
void schedule_cluster_view(const struct schedule_cluster *c, uint32_t node,
                           struct schedule_node_view *ret);
/* Bytes of one GPU, 0: not known; and its name or NULL. */
int64_t schedule_cluster_gpu_memory(const struct schedule_cluster *c, uint32_t node,
                                    int gpu);
const char *schedule_cluster_gpu_name(const struct schedule_cluster *c, uint32_t node,
                                      int gpu);

/* Of all nodes that are not removed: what there is and what is taken. */
struct schedule_totals {
    uint32_t nodes;
    double cpu, cpu_used, gpu, gpu_used, memory, memory_used;
};
void schedule_cluster_totals(const struct schedule_cluster *c,
                             struct schedule_totals *ret);

/* Rises whenever a node is added or removed. */
uint64_t schedule_cluster_members(const struct schedule_cluster *c);

/* --- needs --- */

/* A small number for need: equal needs have one. */
uint32_t schedule_cluster_shape(struct schedule_cluster *c,
                                const struct schedule_need *need);
/* What a policy asks for, per rank. */
void schedule_need_of(const struct plan_policy *p, struct schedule_need *ret);

/* What a shape asks for, in cores, cards and bytes. */
struct schedule_amounts {
    double cpu, gpu, memory;
};
struct schedule_amounts schedule_cluster_amounts(const struct schedule_cluster *c,
                                                 uint32_t shape);
/* Whether what outer gets has room for inner. */
bool schedule_cluster_contains(const struct schedule_cluster *c, uint32_t outer,
                               uint32_t inner);

/* True when count of need by placement can never be met, not even by the empty nodes:
 * *ret_path is the key of an entry to blame ("resources.memory") and *out a sentence
 * with the nearest node and what it lacks. */
bool schedule_cluster_never(const struct schedule_cluster *c,
                            const struct schedule_need *need, uint32_t count,
                            enum plan_placement placement, struct rwf_str *ret_path,
                            struct rwf_str *out);
/* "2 of 4 cpu": what is short now, on the node where least is. */
void schedule_cluster_short(const struct schedule_cluster *c, uint32_t shape,
                            struct rwf_str *out);

/* --- grants --- */

/* For whom something is placed. */
struct schedule_claim {
    const void *owner; /* who gives it back: only its own grants are its victims */
    uint64_t cookie;   /* the owner's, for its own use */
    int priority;
    bool retriable; /* a claim of higher priority of the same owner may end it */
    uint64_t hold;  /* the nodes that are held under this number are open to it; or 0 */
    uint32_t prefer; /* this node if it fits, or SCHEDULE_NO_NODE */
    uint32_t near;   /* one demand: else this node, less 1, if it fits; 0: none */
    uint32_t inside; /* the grant of a bundle: a part of that; or SCHEDULE_NO_GRANT */
    const uint32_t
        *avoid; /* spread, different_nodes: not on these, which hold the rest */
    uint32_t avoid_count;
};
#define SCHEDULE_CLAIM_INIT                                                            \
    {                                                                                  \
        .prefer = SCHEDULE_NO_NODE, .inside = SCHEDULE_NO_GRANT                        \
    }

struct schedule_grant {
    uint32_t node;
    uint32_t shape;
    uint64_t gpus; /* ids on that node, as bits */
    double share;  /* of its one card, when below 1; else 1 */
    const struct schedule_claim *claim;
};

/* Places shapes[0..count) or none of them: false. ret_grants has room for count. */
bool schedule_cluster_place(struct schedule_cluster *c, const uint32_t *shapes,
                            uint32_t count, enum plan_placement placement,
                            const struct schedule_claim *claim, uint32_t *ret_grants);
/* Puts one on this node with these GPUs when they are free (a replay, or a node that
 * tells what it runs); SCHEDULE_NO_GRANT when they are not. */
uint32_t schedule_cluster_place_at(struct schedule_cluster *c, uint32_t shape,
                                   uint32_t node, uint64_t gpus,
                                   const struct schedule_claim *claim);
void schedule_cluster_give(struct schedule_cluster *c, uint32_t grant);
struct schedule_grant schedule_cluster_grant(const struct schedule_cluster *c,
                                             uint32_t grant);
/* Its cores are free for others while it waits. Going on takes them back at once, even
 * when that is more than there is: nothing else starts there until the debt is paid. */
void schedule_cluster_block(struct schedule_cluster *c, uint32_t grant, bool blocked);
/* claim: NULL for one without a hold. False: nothing could be placed for shape now.
 * True may still be wrong for a gang. */
bool schedule_cluster_might(struct schedule_cluster *c, uint32_t shape,
                            const struct schedule_claim *claim);
/* Rises whenever something becomes free: what could not be placed at one value cannot
 * be at the same value. */
uint64_t schedule_cluster_version(const struct schedule_cluster *c);

/* --- for those who wait --- */

/* Holds: nothing is placed on a held node but what owner claims with the number of the
 * hold (not 0). _hold replaces those of that number by the nodes on which the demand
 * could be placed soonest; false: no set of nodes could ever take it now, nothing is
 * held. _hold_node adds one, unless another holds it. */
bool schedule_cluster_hold(struct schedule_cluster *c, const void *owner, uint64_t hold,
                           const uint32_t *shapes, uint32_t count,
                           enum plan_placement placement);
void schedule_cluster_hold_node(struct schedule_cluster *c, const void *owner,
                                uint64_t hold, uint32_t node);
void schedule_cluster_unhold(struct schedule_cluster *c, const void *owner,
                             uint64_t hold);

/* Whether a grant of claim's owner may be ended for claim; NULL: it is retriable and of
 * lower priority. */
typedef bool (*schedule_prey_fn)(void *ctx, const struct schedule_claim *held);
/* Which grants of the same owner must end so that the demand can be placed: their
 * numbers in *ret (the caller's to free), few, and low priority and young first. 0:
 * none help. What already ends (schedule_cluster_ending) counts as free; UINT32_MAX:
 * those alone are enough, wait. */
uint32_t schedule_cluster_victims(struct schedule_cluster *c, const uint32_t *shapes,
                                  uint32_t count, enum plan_placement placement,
                                  const struct schedule_claim *claim,
                                  schedule_prey_fn prey, void *ctx, uint32_t **ret);
/* Its owner has been told to end it. */
void schedule_cluster_ending(struct schedule_cluster *c, uint32_t grant);
/* Calls fn with each grant on node, oldest first; fn may give it back. */
void schedule_cluster_each(struct schedule_cluster *c, uint32_t node,
                           void (*fn)(void *ctx, uint32_t grant), void *ctx);

#endif
