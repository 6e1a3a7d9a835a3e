/* SPDX-License-Identifier: Apache-2.0
 *
 * How many requests go to a replica together, and when. A batch is due when it is full,
 * or when its oldest request has waited for batch_wait_timeout; with none, an idle
 * replica takes what is queued at once. "Full" is max_batch_size, or, with a latency
 * objective, a size that follows it: one more after each full batch within the
 * objective, a tenth less after one beyond it (AIMD), and it remembers the size that
 * was too much: it goes back there only as a probe, ever more seldom, so that nearly no
 * batch violates the objective in steady state.
 */
#ifndef RWF_SERVE_BATCH_H
#define RWF_SERVE_BATCH_H
#include <stdint.h>
#include "serve/spec.h"

/* Plain state: copy it as you like. One per deployment, or per replica where they
 * differ. */
struct serve_batch {
    struct serve_batching how;
    int size;    /* a full batch now, 1 … how.max_batch_size */
    int ceiling; /* the size that was too much; 0: none */
    int since;   /* full batches just below it, since the last probe */
    int hold;    /* of which so many go by before the next probe */
};

void serve_batch_init(struct serve_batch *b, const struct serve_batching *how);
/* How many of `queued` requests, the oldest of which arrived at `oldest`, go now to a
 * replica that has room for `room`. 0: none yet; then *ret_wake (may be NULL) is when
 * to ask again at the latest, 0: when there is more. */
int serve_batch_due(const struct serve_batch *b, size_t queued, int64_t oldest,
                    int room, int64_t now, int64_t *ret_wake);
/* A batch of n took so long, from sending to its answers. */
void serve_batch_done(struct serve_batch *b, int n, int64_t took);

#endif
