/* SPDX-License-Identifier: Apache-2.0
 *
 * Spans: the way of frames between a client here and a worker of another node, or the
 * other way round. Each has a ring to the one who is here (for whom it is the other
 * side), and a channel of the connection for records to the other node, where another
 * span is its opposite.
 *
 *   client - ring - span = connection = span - ring - worker
 *
 * Frames keep their order. Objects that a frame names are brought into this node's store
 * before it goes into the ring. A span sends no more than a window ahead of what its
 * opposite has put into the ring, so that a slow one holds up nobody else.
 *
 * A thread of its own empties the rings; records come by the plane's (peer/peer.h). The
 * functions here are for the loop's thread, where the handler is called, too.
 */
#ifndef RWF_FAR_SPAN_H
#define RWF_FAR_SPAN_H
#include <stdbool.h>
#include "node/node.h"
#include "peer/peer.h"

struct far__spans; /* all of a node */
struct far__span;

struct far__span_handler {
    void *ctx;
    /* Its worker has ended: all that it had published lies in the client's ring, and the
     * word says what it executed. Or it broke the rules (death: NULL). */
    void (*over)(void *ctx, void *owner, const Wire__Death *death);
    /* A connection with that node has ended: so have its spans. */
    void (*lost)(void *ctx, uint64_t session);
};

/* Takes the records of the plane, which must have seen no traffic. */
struct far__spans *far__spans_create(struct node *n, struct peer *plane,
                                     const struct far__span_handler *h);
/* Ends the thread and closes all; before the plane's end. */
void far__spans_stop(struct far__spans *set);
/* After it, and after the last job for the loop. */
void far__spans_destroy(struct far__spans *set);

enum far__span_side { SPAN_OF_CLIENT, SPAN_OF_WORKER }; /* who is here */

/* fd: of the ring, stays the caller's; slot: of who is here; owner: for the handler. */
struct far__span *far__span_open(struct far__spans *set, enum far__span_side side,
                                 uint64_t session, uint64_t channel, int fd, int slot,
                                 void *owner, struct rwf_err *err);
/* Of a worker that is dead: what it had published is sent, then the death. The span is
 * the set's from now on. */
void far__span_died(struct far__span *s, const Wire__Death *death);
/* At once. For a client whose worker is out of reach the word says which call is the
 * last that may have begun. */
void far__span_close(struct far__span *s);

#endif
