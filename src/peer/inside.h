/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of the plane, shared by its parts:
 *
 *   plane.c  life                    conn.c    connections for records
 *   loop.c   a thread's loop         bulk.c    connections for objects
 *   item.c   what objects it knows   fetch.c   bringing one here
 *   serve.c  giving one to others    tree.c    who gets it from whom (pure)
 *   keeper.c what may wait in the store   gone.c    who is lost
 *   lend.c   what is held for others
 *
 * Locks: a connection's own, and the plane's (`lock`: the lists of connections, the
 * table of objects, what is lent), taken in the order plane, connection, loop; never
 * across a callback. All else belongs to one thread, which is named with it.
 */
#ifndef RWF_PEER_INSIDE_H
#define RWF_PEER_INSIDE_H
#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>
#include "peer/loop.h"
#include "peer/peer.h"

struct peer_conn {
    struct peer__source source; /* first */
    struct peer *peer;
    uint64_t session;
    char *name;
    _Atomic int refs;
    LIST_ENTRY(peer_conn) link; /* plane's lock */
    bool listed;                /* the same */

    pthread_mutex_t lock; /* of what follows */
    int fd;               /* -1: wanted, and not made yet; or closed */
    bool closed, ending, armed, paused;
    char *out;
    size_t out_start, out_end, out_cap;

    /* The calls thread's. */
    char *in;
    size_t in_start, in_end, in_cap;
};

struct peer__keeper;
struct peer__items;

struct peer {
    struct peer_options options;
    char *name;
    struct store *view; /* of options.store, with a slot of ours */
    int slot;
    struct peer_handler handler;
    struct peer__spin spin;
    struct peer__loop calls, bulk;
    bool ending;

    pthread_mutex_t lock;
    LIST_HEAD(, peer_conn) conns;
    struct peer__items *items;
    struct peer__keeper *keeper;
    /* The bulk thread's. */
    LIST_HEAD(, peer__bulk) bulks;
    STAILQ_HEAD(, peer__gift) gifts;

    _Atomic uint64_t fetched, served, bytes_in, bytes_out, again;
    _Atomic uint64_t records_in, records_out;
};

/* --- conn.c --- */

/* A socket has come for c's node, or in from one. */
void peer__conn_attach(struct peer *p, uint64_t session, const char *name, bool ours,
                       int fd, const void *bytes, size_t len);
/* Those to that node which are not made yet (all: or are) end with why. */
void peer__conn_fail(struct peer *p, uint64_t session, bool all, const char *why);
/* All; the calls thread does it before it ends. */
void peer__conns_close(struct peer *p);

/* --- bulk.c, gone.c: any thread --- */

void peer__bulk_attach(struct peer *p, uint64_t session, const char *name, bool ours,
                       int fd, const void *bytes, size_t len);
void peer__bulk_fail(struct peer *p, uint64_t session, bool gone, const char *why);
/* The bulk thread's last and usual work. */
void peer__bulk_end(void *plane);
void peer__bulk_tick(void *plane, int64_t now);

/* --- item.c --- */

int peer__items_create(struct peer *p, struct rwf_err *err);
void peer__items_stop(struct peer *p);
void peer__items_free(struct peer *p);

#endif
