/* SPDX-License-Identifier: Apache-2.0
 *
 * The data plane between nodes: connections that carry records of calls, and objects
 * that are brought from one node's store into another's. It has threads of its own and
 * no event loop; who has one (src/far/data.c) makes the connections, proves who is on
 * the other side, and gives the sockets over.
 *
 *   calls thread   records: reads them, tells of them; writes what a socket refused
 *   bulk thread    objects: asks for chunks, takes them in, serves them to others
 *   keeper thread  what may wait in the store: room, and what lies on disk
 *
 * A node is named by its session (unique for ever). The plane is a client of its node's
 * store with a slot of its own: what is lent to other nodes is handed to that slot.
 *
 * All functions may be called by any thread. Callbacks come from the thread that is
 * named with them, without locks; they must not wait for anything.
 */
#ifndef RWF_PEER_PEER_H
#define RWF_PEER_PEER_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>
#include "base/err.h"
#include "store/store.h"

struct peer;      /* the plane of this node */
struct peer_conn; /* a connection for records, to or from another node */

enum peer_class { PEER_CALLS, PEER_BULK };

/* In front of the data of each record; little endian on the wire. */
struct peer_record {
    uint32_t size; /* of the data that follows, at most PEER_RECORD_MAX */
    uint16_t kind, flags;
    uint64_t channel;
};
_Static_assert(sizeof(struct peer_record) == 16, "layout on the wire");

#define PEER_RECORD_MAX ((uint32_t)1 << 20)
#define PEER_WINDOW                                                                    \
    ((size_t)4 << 20) /* more than this unsent: the sender should pause */
#define PEER_UNSENT ((size_t)64 << 20) /* more than this unsent: it is refused */

struct peer_options {
    struct store *store; /* of the node (slot 0), which outlives the plane */
    uint64_t session;    /* of this node */
    const char *name;
    /* A connection to that node is wanted: answered by peer_attach or peer_unreachable,
     * by any thread, also from within. From any thread of the plane, or of who calls
     * it. */
    void (*connect)(void *ctx, uint64_t session, enum peer_class class);
    void *ctx;
    int64_t spin; /* ns that a thread looks before it sleeps; 0: as RAYWF_PEER_SPIN
                     says, else 40 us where there are more than 2 processors, or none;
                     -1: never */
    size_t chunk; /* bytes of an object that travel at once; 0: 1 MiB */
    int64_t
        patience; /* ns: a fetch that has moved no byte for so long fails; 0: 60 s */
    unsigned fan; /* how many a node sends the same object to at once; 0: 2 */
};

/* What is heard of records; all on the calls thread. */
struct peer_handler {
    void *ctx;
    /* data lies there until this returns. */
    void (*record)(void *ctx, struct peer_conn *c, const struct peer_record *r,
                   const void *data);
    /* All that a peer_send had to leave waiting (it returned 1) is sent. */
    void (*drained)(void *ctx, struct peer_conn *c);
    /* For ever; what was queued and not sent is lost. err: NULL: an orderly end. The
     * last of it: whoever has hold of c releases it. */
    void (*closed)(void *ctx, struct peer_conn *c, const struct rwf_err *err);
};

struct peer *peer_create(const struct peer_options *o, struct rwf_err *err);
/* Before there is any traffic; h is copied. */
void peer_handle(struct peer *p, const struct peer_handler *h);
/* Ends the threads, closes all; each fetch that goes on fails (ECANCELED) before it
 * returns. */
void peer_destroy(struct peer *p);
/* What a client hands objects to that are for other nodes. */
int peer_slot(const struct peer *p);
/* The plane's own view of the store, with that slot. */
struct store *peer_store(const struct peer *p);
uint64_t peer_session(const struct peer *p);

/* --- connections --- */

/* A socket to (ours) or from the node `session`; takes fd, and copies what was read of
 * it already. The kernel's buffers are left as they are. */
void peer_attach(struct peer *p, uint64_t session, const char *name,
                 enum peer_class class, bool ours, int fd, const void *bytes,
                 size_t len);
/* A wanted connection cannot be had now; gone: the node is no member (any more): all
 * that has to do with it ends. */
void peer_unreachable(struct peer *p, uint64_t session, enum peer_class class,
                      bool gone, const char *why);
/* The connection for records to that node: the one there is, or a new one (what is sent
 * waits until it is made). The caller holds it. */
struct peer_conn *peer_conn_to(struct peer *p, uint64_t session);
void peer_conn_hold(struct peer_conn *c);
void peer_conn_release(struct peer_conn *c);
/* `closed` follows. */
void peer_conn_close(struct peer_conn *c);
uint64_t peer_conn_session(const struct peer_conn *c);

/* One record, in the order of the calls of a thread; copied unless it is written at
 * once. Never waits. 0; 1: it is queued, and more than PEER_WINDOW waits: pause until
 * `drained`; -1: c is closed, or PEER_UNSENT is reached (then c is closed, too). */
int peer_send(struct peer_conn *c, uint16_t kind, uint16_t flags, uint64_t channel,
              const struct iovec *iov, int count);
/* The same in two steps, so that many records go out in one call of the system. */
int peer_queue(struct peer_conn *c, uint16_t kind, uint16_t flags, uint64_t channel,
               const struct iovec *iov, int count);
int peer_flush(struct peer_conn *c);

/* Runs fn on the calls thread, soon; all that were posted by one thread in their order.
 * What was posted before peer_destroy runs. */
void peer_post(struct peer *p, void (*fn)(void *ctx), void *ctx);

/* Who waits for work of another kind (a ring) may look for it without sleeping, for up
 * to peer_spin ns, if this says so; then ends it. No two threads of a process spin at
 * once. */
int64_t peer_spin(const struct peer *p);
bool peer_spin_begin(struct peer *p);
void peer_spin_end(struct peer *p);

/* --- objects --- */

/* local: a sealed object in this node's store that the plane's slot holds, on behalf of
 * the caller: it hands it on (store_object_hand with peer_store), then calls
 * peer_give_back. 0: *err says why: ENOENT: its owner has dropped it; ENOSPC, ENOMEM;
 * EHOSTUNREACH: the node is gone; EILSEQ: what comes is damaged, again and again;
 * ECANCELED. On the bulk thread. */
typedef void (*peer_fetched_fn)(void *ctx, store_object local, size_t size,
                                const struct rwf_err *err);

/* An object of another node (session, theirs), which that node has lent to this one
 * (peer_lend): it is given back there once it is here, or cannot be had. */
#define PEER_LENT 1u

/* Brings an object of another node here; one that is here already, or on its way, is
 * not fetched again. Tried again while its owner is a member. An object of this node
 * itself is only held. */
void peer_fetch(struct peer *p, uint64_t session, store_object theirs, unsigned flags,
                peer_fetched_fn fn, void *ctx);
/* The caller needs local no more. */
void peer_give_back(struct peer *p, store_object local);
/* Whether it is here: its number here (to be given back), or 0. */
store_object peer_local(struct peer *p, uint64_t session, store_object theirs,
                        size_t *ret_size);
/* The same for who only wants to know: for placement. */
bool peer_has(struct peer *p, uint64_t session, store_object theirs);

/* object of this node, handed to peer_slot by a client, or held by it otherwise: kept
 * for the node `session` until that has fetched it (PEER_LENT), says that it does not
 * want it (peer_refuse there), or is gone. -1: the object is gone. Counted. */
int peer_lend(struct peer *p, uint64_t session, store_object object);
/* The opposite, by either side: where it lies (session: who got it), or where it was
 * lent to (session: whose it is). */
void peer_take_back(struct peer *p, uint64_t session, store_object object);
void peer_refuse(struct peer *p, uint64_t session, store_object theirs);

struct peer_stats {
    uint64_t fetched, served, bytes_in, bytes_out; /* objects; bytes of objects */
    uint64_t again;                                /* chunks that had to come again */
    uint64_t records_in, records_out;
    unsigned conns, fetching, lent, kept;
};
void peer_stats(struct peer *p, struct peer_stats *ret);

#endif
