/* SPDX-License-Identifier: Apache-2.0
 *
 * Objects between nodes, inside the plane. All of it is the bulk thread's, save what is
 * marked with (lock): the plane's.
 *
 * Whoever wants an object of another node connects to that node and asks (ASK); the
 * answer (WHERE) is its size, and who it gets the chunks from: the owner itself, or
 * another node that has some of them already. Each chunk is asked for (CHUNK), some at
 * a time, and may come (DATA) as soon as the other side has it. So nothing is lost with
 * a connection but what was on its way: the next one asks for what is missing.
 */
#ifndef RWF_PEER_BULK_H
#define RWF_PEER_BULK_H
#include "peer/inside.h"
#include "peer/tree.h"

/* --- on the wire: little endian --- */

enum peer__kind {
    PEER__NOTHING,
    PEER__ASK,   /* object; arg: not from that node (0, a session, PEER__AVOID_ALL) */
    PEER__CHUNK, /* object of owner, chunk */
    PEER__DONE,  /* object; flags: PEER__HAS: all of it is there; else: it is not any
                    more */
    PEER__GIVE,  /* object: one that was lent is given back */
    PEER__WHERE, /* object; owner: from whom; arg: its size; chunk: size of chunks */
    PEER__DATA,  /* object of owner, chunk, crc; then the bytes */
    PEER__NONE,  /* object of owner; chunk: an errno value; then text */
    PEER__GONE,  /* object: its owner has freed it */
    PEER__KINDS
};
#define PEER__HAS 1

struct peer__head {
    uint32_t size; /* of all that follows the first 16 bytes */
    uint16_t kind, flags;
    uint64_t object;
    uint64_t owner;
    uint64_t arg;
    uint32_t chunk, crc;
};
_Static_assert(sizeof(struct peer__head) == 40, "layout on the wire");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "layout on the wire");
#define PEER__HEAD_REST ((uint32_t)(sizeof(struct peer__head) - 16))
#define PEER__TEXT_MAX 512
#define PEER__CHUNK_MIN ((size_t)4 << 10)
#define PEER__CHUNK_MAX ((size_t)64 << 20)

/* --- connections --- */

struct peer__item;

struct peer__out {
    STAILQ_ENTRY(peer__out) link; /* of a list of its connection */
    struct peer__head head;
    struct peer__item *item; /* DATA: its chunk follows */
    char *text;              /* NONE */
    size_t len;              /* of what follows */
};

struct peer__bulk {
    struct peer__source source; /* first */
    struct peer *peer;
    uint64_t session;
    char *name;
    bool ours;
    int fd; /* -1: wanted, and not made yet */
    bool closed, writing;
    int low_water; /* what the socket was told; 0: nothing */
    LIST_ENTRY(peer__bulk) link;

    /* What is said, and small data, goes before large data. */
    STAILQ_HEAD(peer__outs, peer__out) first, out;
    struct peer__out *now; /* a part of it is sent; in no list */
    size_t sent;           /* of that */
    unsigned out_count;

    char *early; /* what was read before the socket was ours */
    size_t early_at, early_len;
    struct peer__head head;
    size_t got;              /* of the head */
    size_t left;             /* of what follows it */
    struct peer__item *item; /* DATA that is wanted: into its memory */
    uint32_t crc;
    char text[PEER__TEXT_MAX];
    int64_t heard;
};

/* Ours to that node; wanted now if there is none. */
struct peer__bulk *peer__bulk_to(struct peer *p, uint64_t session);
/* A record without data: object and owner name what it is about. */
void peer__bulk_say(struct peer__bulk *b, enum peer__kind kind, uint64_t object,
                    uint64_t owner, uint64_t arg, uint32_t chunk);
void peer__bulk_say_none(struct peer__bulk *b, uint64_t object, uint64_t owner,
                         int code, const char *text);
void peer__bulk_say_where(struct peer__bulk *b, uint64_t object, uint64_t from,
                          uint64_t size, uint32_t chunk);
void peer__bulk_say_done(struct peer__bulk *b, uint64_t object, bool has);
/* The chunk of it goes out, once its memory is there. */
void peer__bulk_say_data(struct peer__bulk *b, struct peer__item *it, uint32_t chunk);
/* Its memory is there (again): who waits for it goes on. */
void peer__bulk_go_on(struct peer *p);
void peer__bulk_end_one(struct peer__bulk *b, const char *why);
/* The same; gone: so is its node. */
void peer__bulk_let_go(struct peer__bulk *b, const char *why, bool gone);
/* What comes for it goes nowhere. */
void peer__bulk_forget(struct peer *p, const struct peer__item *it);

/* --- objects --- */

enum peer__state {
    PEER__NEW,     /* of another node: nothing was asked yet */
    PEER__ASKING,  /* where it is */
    PEER__MAKING,  /* room for it */
    PEER__COMING,  /* chunks */
    PEER__WAITING, /* to ask again */
    PEER__HERE,    /* complete; an object of this node always */
};

/* Of each chunk. */
enum { PEER__WANTED = 1, PEER__HAVE = 2, PEER__SUMMED = 4 };

struct peer__waiter {
    STAILQ_ENTRY(peer__waiter) link;
    peer_fetched_fn fn;
    void *ctx;
    unsigned flags;
};

/* Somebody waits for a chunk. */
struct peer__want {
    struct peer__bulk *bulk;
    uint32_t chunk;
};

struct peer__loan {
    uint64_t session;
    unsigned count;
};

/* An object that has to do with other nodes: one of ours, or one of theirs that is here
 * or on its way. */
struct peer__item {
    struct peer *peer;
    uint64_t session;              /* its owner's */
    store_object theirs;           /* its number there */
    LIST_ENTRY(peer__item) bucket; /* (lock) */
    LIST_ENTRY(peer__item) all;

    store_object local;       /* (lock) 0: not made yet; ours: theirs */
    size_t size;              /* (lock, until HERE) */
    enum peer__state state;   /* (lock, to and from HERE) */
    unsigned users;           /* (lock) whom it was given to */
    bool held;                /* (lock) the plane's slot holds it */
    struct peer__loan *loans; /* (lock) of ours */
    size_t loan_count, loan_cap;
    int64_t idle_since; /* (lock) */

    /* Its bytes. */
    char *data; /* NULL: not made, or not pinned */
    bool pinned, pinning, dead;
    unsigned ops, sends; /* the keeper's, and what is queued to be sent */
    size_t chunk;
    uint32_t count;
    uint8_t *flags;
    uint32_t *sums;
    struct peer__want *wants;
    size_t want_count, want_cap;
    int64_t used_at;

    /* Bringing it here. */
    STAILQ_HEAD(, peer__waiter) waiters;
    struct peer__bulk *asked, *from; /* NULL: none now */
    uint64_t parent, avoid;
    uint32_t cursor, have, on_way;
    unsigned tries, relays_failed, damaged; /* damaged: in a row */
    int64_t retry_at, moved_at;
    char why[200]; /* the last connection ended; "": none has */
    bool orphan;   /* its owner has freed it */

    struct peer__tree tree; /* of ours */
};

struct peer__items;
/* (lock held) */
struct peer__item *peer__item_find(struct peer *p, uint64_t session,
                                   store_object theirs);
struct peer__item *peer__item_add(struct peer *p, uint64_t session,
                                  store_object theirs);
/* Takes the lock. */
struct peer__item *peer__item_get(struct peer *p, uint64_t session,
                                  store_object theirs);
/* Out of the table; freed when nothing needs its memory any more. */
void peer__item_remove(struct peer__item *it);
/* One need less (ops, sends). */
void peer__item_released(struct peer__item *it);
void peer__item_set_size(struct peer__item *it, size_t size, size_t chunk);
size_t peer__chunk_len(const struct peer__item *it, uint32_t chunk);
/* The plane's work on all of them, again and again while there are any. */
void peer__items_tick(struct peer *p, int64_t now);
void peer__items_stir(struct peer *p);
/* Room is wanted: what was brought here and nobody uses goes. */
void peer__items_squeeze(void *plane);
/* fn may remove the item it is called for. */
void peer__items_each(struct peer *p, void (*fn)(struct peer__item *it, void *ctx),
                      void *ctx);
/* (lock held) A copy, sealed now: the slot holds it since it was made. */
void peer__item_local_set(struct peer__item *it, store_object local);

/* (lock held) Of the slot, counted. */
int peer__hold(struct peer *p, store_object local);
void peer__hold_made(struct peer *p, store_object local);
void peer__drop(struct peer *p, store_object local);
/* Takes the lock. Add before it is pinned. */
void peer__pin_add(struct peer *p, store_object local);
void peer__pin_drop(struct peer *p, store_object local);

/* fetch.c */
void peer__fetch_where(struct peer__bulk *b, const struct peer__head *h);
void peer__fetch_none(struct peer__bulk *b, const struct peer__head *h,
                      const char *text);
void peer__fetch_gone(struct peer__bulk *b, const struct peer__head *h);
/* The item whose memory takes the data, or NULL: it is not wanted. */
struct peer__item *peer__fetch_data_begins(struct peer__bulk *b,
                                           const struct peer__head *h);
void peer__fetch_data(struct peer__bulk *b, struct peer__item *it,
                      const struct peer__head *h, uint32_t crc);
void peer__fetch_made(struct peer__item *it, store_object local, char *data,
                      const struct rwf_err *err);
void peer__fetch_closed(struct peer__bulk *b, const char *why);
void peer__fetch_tick(struct peer__item *it, int64_t now);
void peer__fetch_fail(struct peer__item *it, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
bool peer__fetching(const struct peer__item *it);

/* serve.c */
void peer__serve_ask(struct peer__bulk *b, const struct peer__head *h);
void peer__serve_chunk(struct peer__bulk *b, const struct peer__head *h);
void peer__serve_done(struct peer__bulk *b, const struct peer__head *h);
void peer__serve(struct peer__item *it);
/* It cannot be served: who waits is told. */
void peer__serve_refuse(struct peer__item *it, int code, const char *text);
void peer__serve_pinned(struct peer__item *it, const void *data, size_t size,
                        const struct rwf_err *err);
void peer__serve_closed(struct peer__bulk *b);
void peer__serve_tick(struct peer__item *it, int64_t now);
void peer__unpin(struct peer__item *it);

/* lend.c */
void peer__lend_given(struct peer *p, uint64_t session, store_object object);
/* Tells that node that we do not need what it lent us; later: when there is a
 * connection again. */
void peer__lend_give(struct peer *p, uint64_t session, store_object theirs);
void peer__lend_give_later(struct peer *p, uint64_t session, store_object theirs);
void peer__lend_tick(struct peer *p, int64_t now);
void peer__lend_free(struct peer *p);
/* All that was lent to that node, or is to be given back there. */
void peer__lend_gone(struct peer *p, uint64_t session);

/* keeper.c: the answers are peer__fetch_made and peer__serve_pinned. */
int peer__keeper_create(struct peer *p, struct rwf_err *err);
void peer__keeper_stop(struct peer *p);
void peer__keeper_make(struct peer__item *it);
void peer__keeper_pin(struct peer__item *it);

#endif
