/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of a cluster, shared by cluster.c (nodes and shapes), grant.c (who holds
 * what), place.c (where something goes), yield.c (holds and victims) and never.c (what
 * can never be met, and what is short).
 *
 * Every node has a place in one of two trees: without GPUs and with. What the tree says
 * of a node is what is free on it, or nothing while it is gone, closed or held.
 * A shape's cursor: no node at a smaller place of that tree fits it. It moves up by
 * searching, and down when a node at a smaller place gets something free: the ring of
 * those is read by each shape before it searches.
 */
#ifndef RWF_SCHEDULE_NODES_H
#define RWF_SCHEDULE_NODES_H
#include "base/map.h"
#include "schedule/cluster.h"
#include "schedule/stock.h"
#include "schedule/tree.h"

#define SCHEDULE__RING 1024
#define SCHEDULE__TREES 2
#define SCHEDULE__MARKS 64 /* labels and custom names that the tree knows */

struct schedule__label {
    char *key, *value;
};

struct schedule__shape {
    struct schedule__demand demand;
    struct schedule__top top; /* the demand as the trees compare it */
    struct schedule__label *labels;
    size_t label_count;
    const char *pinned; /* the one node that will do, by its label node; or NULL */
    bool exact; /* there is more than the tree says: custom amounts, too many labels */
    uint32_t cursor[SCHEDULE__TREES];
    uint64_t seen;                  /* of the ring */
    uint32_t turn[SCHEDULE__TREES]; /* spread: the place that is next */
};

struct schedule__node {
    char *name; /* NULL: a number that waits to be used again */
    struct schedule__stock stock;
    struct schedule__label *labels;
    size_t label_count;
    int64_t *gpu_memory;
    char **gpu_names;
    uint64_t marks;
    uint32_t tree, place;
    uint32_t stamp;       /* equal to the cluster's: taken by the gang being placed */
    uint32_t first, last; /* grants */
    uint32_t grants;
    bool gone, closed;
    const void *hold_owner; /* NULL: not held */
    uint64_t hold;
};

struct schedule__grant {
    uint32_t node, shape, next, prev; /* of its node; next: also of free ones */
    uint64_t gpus;
    struct schedule_claim claim;
    bool used, blocked, ending;
    struct schedule__stock *inner; /* a bundle out of which others are granted */
    uint32_t inside_count;
};

/* How many retriable grants an owner has at a priority. */
struct schedule__level {
    const void *owner;
    int priority;
    uint32_t count;
};

struct schedule_cluster {
    struct schedule__node *nodes;
    size_t count, cap;
    uint32_t live; /* have a name */
    bool by_name;  /* a single one is not "this machine" */
    struct schedule__tree trees[SCHEDULE__TREES];
    uint32_t *at[SCHEDULE__TREES]; /* place -> node */
    size_t at_count[SCHEDULE__TREES], at_cap[SCHEDULE__TREES];
    uint32_t *empty[SCHEDULE__TREES]; /* places of removed nodes */
    size_t empty_count[SCHEDULE__TREES], empty_cap[SCHEDULE__TREES];
    struct rwf_map *names;      /* node name -> number + 1 */
    struct rwf_map *marks;      /* "key=value" or "#custom" -> bit + 1 */
    struct rwf_map *customs;    /* name -> number + 1 */
    struct rwf_map *shape_keys; /* -> number + 1 */
    struct schedule__shape *shapes;
    size_t shape_count, shape_cap;
    struct schedule__grant *grants;
    size_t grant_count, grant_cap;
    uint32_t free_grant;
    struct schedule__level *levels;
    size_t level_count, level_cap;
    uint32_t ring[SCHEDULE__RING];
    uint64_t gives;
    uint64_t members; /* rises when nodes come and go */
    uint32_t stamp;
    uint32_t *held;
    size_t held_count, held_cap;
    const void *lift_owner; /* this one's held nodes are open now */
    uint64_t lift;
    double most_cpu, most_memory, most_gpu; /* of one node, to compare leftovers */
};

/* cluster.c */
/* Tells the tree what is free on the node. */
void schedule__refresh(struct schedule_cluster *c, uint32_t node);
/* The same, and tells the shapes that something became free. */
void schedule__freed(struct schedule_cluster *c, uint32_t node);
bool schedule__has_labels(const struct schedule__node *n,
                          const struct schedule__shape *s);
/* A node whose last grant is given back and that is gone: its number is free. */
void schedule__bury(struct schedule_cluster *c, uint32_t node);
/* Opens the nodes that are held for a claim to these shapes (NULL: closes them). */
void schedule__lift(struct schedule_cluster *c, const struct schedule_claim *claim,
                    const uint32_t *shapes, uint32_t count);

/* grant.c */
uint32_t schedule__grant_add(struct schedule_cluster *c, uint32_t node, uint32_t shape,
                             uint64_t gpus, const struct schedule_claim *claim);

/* place.c */
/* The nodes for shapes in *nodes, with everything taken from their stocks (and the
 * trees) but no grants made; *gpus by shape. False: nothing was taken. */
bool schedule__place(struct schedule_cluster *c, const uint32_t *shapes, uint32_t count,
                     enum plan_placement placement, const struct schedule_claim *claim,
                     uint32_t *nodes, uint64_t *gpus);
/* These shapes' cursors must not be past this node: it has more free than the ring
 * says. */
void schedule__look_again(struct schedule_cluster *c, const uint32_t *shapes,
                          uint32_t count, uint32_t node);
/* Whether all of shapes fit a stock at once. */
bool schedule__fits_together(struct schedule_cluster *c, struct schedule__stock *stock,
                             const uint32_t *shapes, uint32_t count);

#endif
