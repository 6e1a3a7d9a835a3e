/* SPDX-License-Identifier: Apache-2.0
 *
 * What all applications and replicas of a server share. The rules of serving know no
 * loop and no clock of their own: they ask here, so that tests can turn both by hand.
 */
#ifndef RWF_SERVE_POOL_H
#define RWF_SERVE_POOL_H
#include <jansson.h>
#include <stdint.h>
#include <uv.h>
#include "base/clock.h"
#include "serve/replica.h"

struct serve_pool {
    uv_loop_t *loop;     /* of replicas; NULL in tests without any that need one */
    const char *folder;  /* of the server: logs lie in its log/ */
    const char *sockets; /* folder with a short path, for programs' sockets */
    /* By enum serve_kind. */
    const struct serve_replica_ops *const *kinds;
    /* Ticks are wanted at that time at the latest. */
    void (*wake)(struct serve_pool *p, int64_t at);
    /* A decision, as JSON with "event": taken over. */
    void (*event)(struct serve_pool *p, json_t *event);
    int64_t (*clock)(const struct serve_pool *p); /* NULL: the monotonic one */
    void *own;                                    /* of wake, event and clock */
    uint64_t chance;                              /* of balancing and splits */
    size_t
        calls; /* to actors, that are out: their results are worth waiting for awake */
};

static inline int64_t serve_now(const struct serve_pool *p)
{
    return p->clock != NULL ? p->clock(p) : rwf_clock_mono();
}

/* An application as it was deployed once: alive as long as a replica or a request needs
 * it. */
struct serve_generation {
    int refs;
    struct serve_app *app;
};
struct serve_generation *
serve_generation_create(struct serve_app *app); /* taken; 1 ref */
struct serve_generation *serve_generation_ref(struct serve_generation *g);
void serve_generation_unref(struct serve_generation *g); /* NULL is fine */

#endif
