/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of the spans: span.c (life, events), span_out.c (from rings to
 * connections), span_in.c (from connections to rings), span_items.c (objects in
 * frames).
 *
 * One lock for all of it. Invariants: a span is in `all` and found by its key until it
 * is closed; parcels of a span go into its ring in their order, whichever thread puts
 * them there; who waits for an object holds the span's memory (refs), not its life.
 */
#ifndef RWF_FAR_SPAN_IMPL_H
#define RWF_FAR_SPAN_IMPL_H
#include <pthread.h>
#include <sys/queue.h>
#include "base/ids.h"
#include "far/span.h"
#include "native/msg.h"
#include "native/raywf.h"

#define SPAN__WINDOW STORE_RING_BYTES /* bytes that a span sends ahead */
#define SPAN__ACK (SPAN__WINDOW / 8)
#define SPAN__STAGE ((size_t)64 << 10) /* a record is sent when it has so much */

enum span__kind {
    SPAN__FRAMES = 1, /* struct span__frame and its bytes, padded to 8; and so on */
    SPAN__ACKED,      /* uint64_t: bytes that were taken, ever */
    SPAN__WORD,       /* struct span__word */
    SPAN__END,        /* uint64_t: task that ran; then a packed Wire__Death */
};
#define SPAN__TO_WORKER 1 /* flags: for the span of the worker */

struct span__frame {
    uint32_t size, zero;
};
struct span__word {
    uint64_t word, value, ran; /* ran: ns, of TASK */
};

/* A frame (or the end) that waits: for objects, for room, or for those before it. */
struct span__parcel {
    TAILQ_ENTRY(span__parcel) link;
    struct far__span *span;
    unsigned waits; /* objects on their way */
    bool end;       /* frame: the data of SPAN__END */
    bool dead;      /* its span is closed */
    bool stowed;    /* second step of packed ones is done */
    int code;       /* not 0: an object could not be had: errno */
    char *text;
    store_object *locals; /* to be given back */
    size_t local_count, local_cap;
    uint64_t session;
    size_t size, weight; /* weight: what the other side counts it for */
    char *frame;
};

/* Objects that a call has until it is done. */
struct span__held {
    struct span__held *next;
    uint64_t task;
    uint32_t epoch;
    size_t count;
    store_object *locals;
};

struct span__road;

struct far__span {
    struct far__spans *set;
    struct span__road *road;
    LIST_ENTRY(far__span) all;
    enum far__span_side side;
    uint64_t channel, key;
    int slot;
    void *owner;
    struct store_ring *ring;
    struct store_bell *bell; /* of who is here */
    unsigned refs;           /* parcels, events, and one until it is closed */
    bool closed, broken;
    /* from the ring */
    uint64_t sent, acked; /* bytes */
    uint64_t last_task;   /* of the last call that went out */
    uint64_t cancel;      /* word as sent */
    uint8_t *death;       /* SPAN__END that follows the last frame */
    size_t death_size;
    /* into the ring */
    TAILQ_HEAD(, span__parcel) parcels;
    uint64_t taken, told; /* bytes */
    struct span__held *held;
    uint64_t calls, dones; /* of a worker */
    uint64_t seen, shown;  /* task: at the last look; that the other side knows of */
};

/* To another node: as long as there are spans. */
struct span__road {
    LIST_ENTRY(span__road) all;
    uint64_t session;
    struct peer_conn *conn;
    unsigned spans;
    bool full;  /* too much waits there */
    bool dirty; /* to be flushed */
    bool dead;  /* its connection has ended: it is no more in `roads` */
};

/* For the loop's thread. */
struct span__event {
    struct far__spans *set;
    struct far__span *span; /* NULL: lost */
    uint64_t session;
    uint8_t *death;
    size_t size;
};

struct far__spans {
    struct node *node;
    struct peer *plane;
    struct store *store; /* the plane's view, for holds */
    struct store
        *eyes; /* the node's own, for pins: those of the plane are counted there */
    struct store_bell *bell;
    struct far__span_handler handler;
    pthread_mutex_t lock;
    LIST_HEAD(, far__span) all;
    LIST_HEAD(, span__road) roads;
    struct rwf_ids keys[2]; /* by side */
    pthread_t thread;
    bool runs, stopping;
    int64_t tick; /* when to look what workers execute; INT64_MAX: nobody works */
    char *stage;
};

/* span.c */
struct far__span *span__find(struct far__spans *set, enum far__span_side side,
                             uint64_t session, uint64_t channel);
void span__unref(struct far__span *s);
/* Closes it, once. */
void span__finish(struct far__span *s);
/* These tell the loop's thread. death: copied, may be NULL. */
void span__over(struct far__span *s, const void *death, size_t size);
void span__lost(struct far__spans *set, uint64_t session);
void span__break(struct far__span *s, const char *why);

/* span_out.c */
void *span__main(void *set);
/* A record of this span, to be flushed. */
void span__send(struct far__span *s, enum span__kind kind, const void *data,
                size_t size);
/* There is a call in a worker's ring: look now and then what it executes. */
void span__watch(struct far__spans *set);

/* span_in.c */
void span__on_record(void *set, struct peer_conn *c, const struct peer_record *r,
                     const void *data);
/* Puts into the ring what can go there. */
void span__advance(struct far__span *s);
/* An answer of ours to the other side. */
void span__refuse(struct far__span *s, const struct native_msg *m, int code,
                  const char *text);
void span__parcels_drop(struct far__span *s);
void span__held_drop(struct far__span *s, const struct native_msg *m, bool all);

/* span_items.c */
typedef int (*span__item_fn)(void *ctx, struct native_item *item);
/* Each object that the frame names, in place. -1: it does not hold what it says, or fn
 * gave -1. */
int span__items(void *frame, size_t size, span__item_fn fn, void *ctx);
/* The same of packed items. */
int span__packed(const void *data, size_t size, uint32_t count, span__item_fn fn,
                 void *ctx);
/* How many items a packed frame has; 0: it is none. */
uint32_t span__packed_count(const void *frame, size_t size);

#endif
