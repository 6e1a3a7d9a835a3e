/* SPDX-License-Identifier: Apache-2.0
 *
 * The objects of a node in shared memory: created, written once, sealed, then read in
 * place by any process of the node.
 *
 * Two memfds, made by the node and passed to its clients: the table (entries, slots,
 * unit map; all clients write it, with atomics only) and the arena (data; a client can
 * write only the units it holds). Readers take no lock. Every client has a slot; an
 * entry has a bitmap of slots that hold a reference and one of slots that read in place,
 * so that what a killed client had is taken back by clearing its bits.
 *
 * An object lives while somebody holds it. Within a process holds and pins are not
 * counted here: the client (native/) counts them and calls on the first and the last.
 * All functions may be called by any thread of a client, unless said otherwise.
 */
#ifndef RWF_STORE_STORE_H
#define RWF_STORE_STORE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "store/ring.h"

#define STORE_SLOTS 256 /* 0 is the node itself */
#define STORE_UNIT ((size_t)1 << 20)

/* Index and generation of an entry; 0: none. */
typedef uint64_t store_object;

struct store_options {
    size_t arena;          /* bytes, rounded up to units */
    uint32_t objects;      /* most entries; 0: by the size of the arena */
    size_t prefault;       /* bytes to touch in the background; 0: none */
    const char *spill_dir; /* NULL: never spill. Made 0700; leftovers in it are swept */
    int64_t spill_quota;   /* bytes on disk at most */
};

/* What a client asks of the node when it cannot go on alone; called without locks, by
 * the thread that waits, again and again (about every 100 ms) while it waits. Need not
 * wait for an answer. The node itself has none: it relieves and restores in place. */
struct store_hooks {
    void *ctx;
    void (*full)(void *ctx, size_t bytes);             /* make room for so many bytes */
    void (*restore)(void *ctx, store_object object);   /* bring it back */
};

struct store;

struct store *store_create(const struct store_options *o, struct rwf_err *err);
/* A client's view; both descriptors stay the caller's. */
struct store *store_attach(int table_fd, int arena_fd, int slot,
                           const struct store_hooks *hooks, struct rwf_err *err);
/* Of a client: unmaps; what it holds stays until its slot is released. */
void store_destroy(struct store *s);
int store_table_fd(const struct store *s);
int store_arena_fd(const struct store *s);
int store_slot(const struct store *s);
/* Brings the first bytes of the arena in, in the background; once. */
void store_prefault(struct store *s, size_t bytes);

/* --- slots --- */

/* Node: a slot for process pid; -1 when all are taken. */
int store_slot_claim(struct store *s, int pid, struct rwf_err *err);
/* Node: its client is gone. Clears its holds and pins, frees what it was creating and
 * its units. Idempotent. */
void store_slot_release(struct store *s, int slot);
bool store_slot_alive(const struct store *s, int slot);
/* Where to ring a client. From now on store_object_hand means the one that has the slot
 * now: after its end the slot will be somebody else's. */
struct store_bell *store_slot_bell(struct store *s, int slot);

/* --- objects --- */

/* A new object of size bytes that the caller holds; its memory, 64-byte aligned, writable
 * until sealed. Waits for room until deadline (monotonic ns; in the past: asks for room
 * once, never sleeps). ENOSPC: it can never fit, or the disk quota is used up; ENOMEM:
 * the machine has no memory for it; ETIMEDOUT. */
void *store_object_create(struct store *s, size_t size, int64_t deadline,
                          store_object *ret, struct rwf_err *err);
/* From now on it never changes. EFAULT when somebody wrote past its end (or before its
 * start): the object is then damaged and freed. */
int store_object_seal(struct store *s, store_object o, struct rwf_err *err);
/* Instead of seal. */
void store_object_abort(struct store *s, store_object o);

/* Its bytes in place until unpinned; brings it back from disk if it must, waits for its
 * seal until deadline. ENOENT: there is no such object (any more); EILSEQ: its checksum
 * is wrong on disk; ETIMEDOUT. */
const void *store_object_pin(struct store *s, store_object o, int64_t deadline,
                             size_t *ret_size, struct rwf_err *err);
void store_object_unpin(struct store *s, store_object o);

/* A reference for this client (it must be alive: somebody holds it), -1 when gone. */
int store_object_hold(struct store *s, store_object o);
/* A reference for another client, who then must drop it; -1 when it, or the client (the
 * one whose bell store_slot_bell gave last, if any did), is gone. 1: that client has one
 * already, which it may drop at any time: keep yours until it says that it has taken
 * this one. */
int store_object_hand(struct store *s, store_object o, int slot);
/* Gives up this client's reference. */
void store_object_drop(struct store *s, store_object o);
/* -1 when there is none. */
int64_t store_object_size(const struct store *s, store_object o);

/* --- the node's work --- */

/* Spills until `bytes` in one piece can be allocated, or nothing more can be spilled.
 * 0, or -1: quota, disk (who waits for room then fails), or all pinned (EAGAIN: they wait
 * on). Writes to disk: not on a loop. With 0 it only removes the files of what clients
 * have dropped; to be called so from time to time. Takes turns with itself and with
 * restore, so that any thread may call it. */
int store_relieve(struct store *s, size_t bytes, struct rwf_err *err);
/* Brings o back from disk (nothing to do: 0) and wakes who waits for it. EILSEQ, ENOENT,
 * EAGAIN: no room; whoever waits asks again. */
int store_restore(struct store *s, store_object o, struct rwf_err *err);

struct store_info {
    store_object object;
    const char *state; /* "sealed", "spilled", … */
    size_t size;
    int creator, holders, pins; /* slot, and numbers of clients */
};
/* All objects, in no order, while others go on. */
void store_each(struct store *s, void (*fn)(void *ctx, const struct store_info *info),
                void *ctx);

struct store_stats {
    size_t arena, used, warm; /* bytes: all, in objects, touched before */
    uint64_t objects, created, spilled, restored;
    int64_t spill_bytes, spill_quota;
    int slots;
};
void store_stats(struct store *s, struct store_stats *ret);

#endif
