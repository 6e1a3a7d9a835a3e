/* SPDX-License-Identifier: Apache-2.0
 *
 * Places in the cluster for the steps of a run: reservations at the head, which decides
 * between runs. The run's own node asks for them in the name of a client that it is
 * itself, so that all of them are free again when it is gone. When the head comes back
 * it is told again what is held, and where.
 *
 * All of it in the loop's thread; handlers may ask for and give back others.
 */
#ifndef RWF_FAR_PLACES_H
#define RWF_FAR_PLACES_H
#include "node/node.h"

/* For whom the places of this node are; the last call holds. */
struct far_places_options {
    const char *job; /* its name for people */
    int priority;
};
void far_places_for(struct node *n, const struct far_places_options *o);

struct far_place_request {
    const struct schedule_need *need; /* of each bundle */
    uint32_t bundles;
    enum plan_placement placement;
    int priority;       /* added to the job's */
    const char *prefer; /* a node, if it fits there; or NULL */
    bool may_wait;      /* nodes may still join: wait for what none can hold */
};

struct far_bundle {
    const char *node;
    const uint32_t *gpus;
    size_t gpu_count;
};

struct far_place_handler {
    void *ctx;
    /* All of it is reserved; borrowed until it is given back. */
    void (*ready)(void *ctx, const struct far_bundle *bundles, uint32_t count);
    /* The last call: it is refused (err RWF_E_FIT: no node can ever hold it), or what
     * was ready is lost: a node of it is gone, or drains. The place is gone with it. */
    void (*over)(void *ctx, const struct rwf_err *err);
    /* Why it waits, in words; from now on and whenever asked (far_place_why). */
    void (*why)(void *ctx, const char *text);
};

struct far_place;
struct far_place *far_place(struct node *n, const struct far_place_request *r,
                            const struct far_place_handler *h);
/* Asks the head why it waits; nothing is told when it does not. */
void far_place_why(struct far_place *p);
/* It is needed no more; nothing is told. */
void far_place_give(struct far_place *p);

#endif
