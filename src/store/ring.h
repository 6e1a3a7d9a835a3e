/* SPDX-License-Identifier: Apache-2.0
 *
 * A pair of processes exchanges frames through one memfd: two single-producer,
 * single-consumer rings, one for each direction, of variable-length frames that are
 * aligned to 8 bytes and contiguous. No locks, no system calls while both are awake.
 *
 *   producer   reserve, fill, commit … flush       (flush publishes and wakes)
 *   consumer   peek, use in place, consume …       (room is given back in batches)
 *
 * A process sleeps on its bell, one for all rings it reads; a producer looks whether
 * its reader is asleep after it has published. What the other side wrote is input: a
 * frame that does not lie within the ring ends the pair (store_ring_broken).
 */
#ifndef RWF_STORE_RING_H
#define RWF_STORE_RING_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

/* The word that a process sleeps on; lies in shared memory. */
struct store_bell {
    _Atomic uint32_t word;   /* counts rings; futex */
    _Atomic uint32_t asleep; /* the owner sleeps, or is about to */
};

/* Sleeps until it is rung or deadline (monotonic ns, INT64_MAX: none) has passed.
 * Protocol: seen = store_bell_prepare(b); look whether there is work (frames to peek at,
 * room for what a full ring refused: reserve again); if none, store_bell_wait(b, seen,
 * deadline), which may also return for nothing; else store_bell_cancel(b). Spinning
 * before that is the caller's business. One waiter for each bell at a time. */
uint32_t store_bell_prepare(struct store_bell *b);
void store_bell_wait(struct store_bell *b, uint32_t seen, int64_t deadline);
void store_bell_cancel(struct store_bell *b);
/* Wakes its owner when that sleeps. */
void store_bell_ring(struct store_bell *b);

/* Words beside the rings that either side may write and both may read at any time. Whoever
 * writes one that the other may sleep on rings its bell. */
enum store_ring_word {
    STORE_WORD_TASK,    /* worker: id of the task it executes, 0: none */
    STORE_WORD_CANCEL,  /* client: id of the task that is to end early */
    STORE_WORD_STARTED, /* worker: monotonic ns when that task began */
    STORE_WORD_CLOSED,  /* either: no more frames will come */
    STORE_WORD_COUNT = 8
};

enum store_side { STORE_CLIENT, STORE_WORKER };

#define STORE_RING_BYTES ((size_t)1 << 20)      /* of each direction by default */
#define STORE_FRAME_MAX (STORE_RING_BYTES / 4)

/* One end of a pair. One thread may produce while another consumes. */
struct store_ring;

/* A new pair as a descriptor (memfd, sealed against resizing), bytes for each direction
 * (a power of 2); -1 and *err. */
int store_ring_make(size_t bytes, struct rwf_err *err);
/* Maps it; fd stays the caller's. peer: the bell of the other side, may be NULL. */
struct store_ring *store_ring_open(int fd, enum store_side side,
                                   struct store_bell *peer, struct rwf_err *err);
void store_ring_close(struct store_ring *r);

/* Room for a frame of size bytes (at most a quarter of the ring), 8-byte aligned, or NULL:
 * full now (or broken). When it was full, the reader rings our bell once there is room. */
void *store_ring_reserve(struct store_ring *r, size_t size);
/* The reserved frame is complete; it is published with the next flush. */
void store_ring_commit(struct store_ring *r);
void store_ring_flush(struct store_ring *r);
/* Committed, and not yet flushed. */
bool store_ring_dirty(const struct store_ring *r);

/* The next frame, in place until consumed, or NULL: nothing there (or broken). The other
 * side can still write it: what must be checked is copied first, then checked. */
const void *store_ring_peek(struct store_ring *r, size_t *ret_size);
void store_ring_consume(struct store_ring *r);
/* The other side wrote what is no frame. */
bool store_ring_broken(const struct store_ring *r);

/* All that was published, in both directions, was given back. Also for a third process
 * that only looks. */
bool store_ring_idle(const struct store_ring *r);

_Atomic uint64_t *store_ring_word(struct store_ring *r, enum store_ring_word word);

#endif
