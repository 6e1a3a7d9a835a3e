/* SPDX-License-Identifier: Apache-2.0
 *
 * Who gets an object from whom, as its owner decides: a tree of pullers under it, so
 * that no node sends it to more than `fan` others at once, and each passes on what it
 * has got so far. Pure: no I/O, no clock.
 *
 * Invariants: parents never form a circle; a puller that is complete has no parent any
 * more and is as good a source as the owner.
 */
#ifndef RWF_PEER_TREE_H
#define RWF_PEER_TREE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct peer__puller {
    uint64_t session;
    uint64_t parent; /* 0: the owner */
    bool complete;
};

struct peer__tree {
    struct peer__puller *pullers;
    size_t count, cap;
};

#define PEER__AVOID_ALL UINT64_MAX

/* From whom `session` gets it (0: the owner), now that it asks, for the first time or
 * again; never from avoid. */
uint64_t peer__tree_place(struct peer__tree *t, uint64_t session, uint64_t avoid,
                          unsigned fan);
/* It has all of it. */
void peer__tree_done(struct peer__tree *t, uint64_t session);
/* It is gone, or has dropped it. Whoever got it from there asks again by itself. */
void peer__tree_leave(struct peer__tree *t, uint64_t session);
/* Those that do not have all of it. */
size_t peer__tree_active(const struct peer__tree *t);
void peer__tree_free(struct peer__tree *t);

#endif
