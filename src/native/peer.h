/* SPDX-License-Identifier: Apache-2.0
 *
 * A client as its worker sees it: one end of a ring, the names it gave to functions,
 * and the frames that were read ahead.
 *
 * Frames are used in place. They are read ahead, into memory of our own, when one that
 * lies behind concerns one before it: a credit for the stream that runs, a call that is
 * to be forgotten. All of it is for the thread that runs the calls.
 */
#ifndef RWF_NATIVE_PEER_H
#define RWF_NATIVE_PEER_H
#include <stdbool.h>
#include <stddef.h>
#include "native/msg.h"
#include "native/raywf.h"

/* A function that a client has named. */
struct native__function {
    char *name;
    raywf_fn fn; /* NULL: there is none: code, error */
    int code;
    char *error;
    int64_t ns; /* it takes so long, about; -1: not known yet */
};

struct native__frame {
    size_t size;
    bool forgotten;
    uint64_t data[]; /* a struct native_msg and what follows */
};

struct native__peer {
    struct store_ring *ring;
    uint64_t lease, client;
    int slot;
    struct native__function *functions; /* by number */
    size_t function_count;
    struct native__frame **queue; /* read ahead: [head, tail) */
    size_t head, tail, queue_cap;
    uint64_t running; /* task */
    uint64_t credit;  /* of the stream that runs */
    bool stalled;     /* calls are skipped up to NATIVE_RESUME */
    bool gone;        /* the client has left, or wrote what is no frame */
};

/* Takes nothing of fd; peer_bell is the client's. */
struct native__peer *native__peer_open(int fd, uint64_t lease, uint64_t client,
                                       int slot, struct store_bell *peer_bell,
                                       struct rwf_err *err);
void native__peer_close(struct native__peer *p);

/* The next frame, valid until consumed or read ahead (then: asked for again). */
const struct native_msg *native__peer_next(struct native__peer *p, size_t *ret_size,
                                           bool *ret_forgotten);
void native__peer_consume(struct native__peer *p);
/* There is a next one. */
bool native__peer_has(struct native__peer *p);
/* Takes in what lies in the ring (at most max frames), in order; credits of the running
 * stream and calls to forget take effect. */
void native__peer_read_ahead(struct native__peer *p, size_t max);

/* Room for a frame; waits while the client does not read. NULL: it is gone. */
void *native__peer_reserve(struct native__peer *p, size_t size);
/* The other side broke the rules: no more of it. */
void native__peer_break(struct native__peer *p, const char *why);

#endif
