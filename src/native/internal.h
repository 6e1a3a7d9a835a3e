/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside native/: the client of a process. One struct, one lock.
 *
 *   value   what a ref names: an entry of 64 bytes in a slab that never moves
 *   task    a call that is queued, sent, or kept because its value can be made again
 *   lane    calls that may use the same workers, in order: a shape, or an actor
 *   line    a lane's ring to one worker, for the time of a lease
 *
 * Invariants, under the lock:
 *   - a task is in exactly one place: held (waits for arguments), asleep (back-off),
 * its lane's queue, a line's flight, or kept (lineage);
 *   - a value leaves PENDING in native__value_* only, and those are reached from one
 *     place for results of workers: native__receive, which compares line and epoch;
 *   - nothing blocks under the lock: the store is entered without it.
 * Results are taken in by whoever waits (the leader: it alone sleeps on the bell of the
 * process; other threads follow it), else by the thread of pump.c.
 */
#ifndef RWF_NATIVE_INTERNAL_H
#define RWF_NATIVE_INTERNAL_H
#include <pthread.h>
#include <stdatomic.h>
#include "base/err.h"
#include "base/map.h"
#include "native/client.h"
#include "native/lane.h"
#include "native/msg.h"
#include "native/refs.h"

/* --- tasks (task.c) --- */

/* How calls are run: shared by all calls of one raywf_task, or of like options. */
struct native__policy {
    struct raywf_retry retry; /* defaults filled in; max 0: none */
    int64_t timeout;          /* of one attempt; 0: none */
    int32_t returns;          /* RAYWF_STREAM */
    uint16_t credit;
    bool once; /* what has begun is never run again (actor calls) */
};

enum native__place {
    NATIVE__HELD,
    NATIVE__ASLEEP,
    NATIVE__QUEUED,
    NATIVE__SENT,
    NATIVE__KEPT,
};

enum native__task_flags {
    NATIVE__HAS_REFS = 1, /* some arguments are by reference */
    NATIVE__GONE = 2,     /* cancelled or failed; is only waited for on its line */
    NATIVE__PACK = 4,     /* too large for a frame: `packed` holds the arguments */
    NATIVE__DOOMED = 8,   /* in the list of those whose arguments have failed */
    NATIVE__RAN = 16,     /* its function was run, or may have been */
};

/* Behind it: uint32_t values[returns], padded to 8; then the arguments as they go into
 * a frame (native_item …), where by reference object is NATIVE__REF and size the index.
 */
#define NATIVE__REF UINT64_MAX
#define NATIVE__NO_VALUE UINT32_MAX /* in values: dropped, or not a return of it */

struct native__task {
    uint64_t id;                      /* never again used */
    struct native__task *next, *prev; /* in its place */
    struct native__lane *lane;
    struct native__line *line; /* SENT */
    const struct native__policy *policy;
    void *stream;      /* client_stream.c's */
    struct native_watch *watch; /* watch.c's: is told how it ends, once */
    uint32_t function; /* of native__function */
    uint32_t value_count, arg_count, arg_bytes;
    uint32_t epoch;
    uint32_t missing; /* HELD: arguments that are pending */
    uint32_t packed;  /* PACK: index of a value */
    uint32_t parent;  /* call of a worker that submitted it; 0: none */
    uint16_t attempt; /* from 1 */
    uint8_t place, flags;
    uint32_t live;   /* KEPT: values that it could make again */
    uint16_t class_; /* of its memory; 0: malloc */
    uint16_t rebuilds;
    _Alignas(8) uint32_t values[]; /* and the arguments behind them */
};

static inline void *native__task_args(const struct native__task *t)
{
    return (char *)t->values + native_pad(t->value_count * sizeof(uint32_t));
}
/* A number for the name of a function, method ("class.method") or constructor. */
uint32_t native__function(struct native__client *c, const char *name);
const char *native__function_name(const struct native__client *c, uint32_t function);
/* One of equal content that lives as long as the client. */
const struct native__policy *native__policy(struct native__client *c,
                                            const struct native__policy *p);
/* Defaults of raywf.h filled in. */
void native__retry_defaults(struct raywf_retry *ret, const struct raywf_retry *r);
/* Makes a call of lane: copies arguments (large ones into the store: without the lock
 * meanwhile), and queues it, or holds it until its arguments are there. Called with the
 * lock; ret_refs: as many as policy->returns. w may be NULL. */
int native__submit(struct native__client *c, struct native__lane *lane,
                   uint32_t function, const struct native__policy *policy,
                   const struct raywf_arg *args, size_t n, struct raywf_ref *ret_refs,
                   struct native_watch *w, struct raywf_error *err);
/* Waits for those of its arguments that are pending, then queues it. */
void native__hold(struct native__client *c, struct native__task *t);
/* All its values fail, unless it is gone already. The task is freed, or (SENT) waits
 * for the end of its line's interest in it. */
void native__task_fail(struct native__client *c, struct native__task *t, int code,
                       const char *text);
void native__task_free(struct native__client *c, struct native__task *t);
void native__tasks_free(struct native__client *c);

/* --- sending, receiving --- */

/* Encodes t into its line's ring: 1; 0: the ring is full now; -1: it failed or is held
 * again (it is not in the queue any more). */
int native__send(struct native__client *c, struct native__line *l,
                 struct native__task *t);
void native__flush(struct native__line *l);
/* Takes in what came on l; true: something. */
bool native__receive(struct native__client *c, struct native__line *l);

/* Streams: client_stream.c sets these when the first stream is opened. */
struct native__stream_ops {
    /* t->stream = …; called by native__submit for RAYWF_STREAM. */
    void (*open)(struct native__client *c, struct native__task *t);
    void (*yield)(struct native__client *c, struct native__task *t,
                  const struct native_yield *m, size_t size);
    /* The call has ended (code 0), or failed; the stream's value is set afterwards. */
    void (*end)(struct native__client *c, struct native__task *t, int code,
                const char *text);
    /* t is freed. */
    void (*drop)(struct native__client *c, struct native__task *t);
    /* Its value is gone: nobody can read it. */
    void (*unread)(struct native__client *c, struct native__value *v);
    /* The next value of the stream v that is there, its reference the caller's; or NULL.
     * *ret_again: its worker waits to be told that more are wanted, and could not be
     * told: ask again soon. */
    struct native__value *(*take)(struct native__value *v, bool *ret_again);
    void (*free)(struct native__client *c);
};
extern const struct native__stream_ops *native__streams;
/* Actors: what concerns them on the control socket; true: taken. Set by client_actor.c.
 */
struct native__actor_ops {
    bool (*message)(struct native__client *c, struct wire_message *m);
    /* Connected anew: another node. */
    void (*again)(struct native__client *c);
    /* Its ordered lane was touched: with the next turn. */
    void (*settled)(struct native__client *c, struct native__lane *lane);
    void (*free)(struct native__client *c);
};
extern const struct native__actor_ops *native__actors;
/* Takes the item at *at (moves it on; rest is what is left): an inline value in place,
 * or an object. -1: it does not lie within the message. */
int native__item(const char **at, size_t *rest, struct native_item *ret,
                 const void **ret_bytes);

/* --- retries, timers (retry.c) --- */

struct native__timer {
    int64_t when;
    void (*fn)(struct native__client *c, void *ctx);
    void *ctx;
};
void native__timer_add(struct native__client *c, int64_t when,
                       void (*fn)(struct native__client *c, void *ctx), void *ctx);
/* Runs what is due; returns when the next is, INT64_MAX: none. */
int64_t native__timers_run(struct native__client *c);
/* At once, at no cost: a new epoch, its arguments are looked at anew. */
void native__again(struct native__client *c, struct native__task *t);
/* t has ended without a result: again by its policy (front of the queue, or after its
 * back-off), or its error. */
void native__retry(struct native__client *c, struct native__task *t,
                   enum raywf_cause cause, int code, const char *text);

/* --- calls that are told of (watch.c) --- */

/* t->watch: the call has ended; what it returned are its values. */
void native__watch_end(struct native__client *c, struct native__task *t, int code,
                       const char *text);
/* A value of its stream has come. */
void native__watch_flows(struct native__client *c, struct native_watch *w);
/* Value i is a reply. */
void native__watch_reply(struct native_watch *w, uint32_t i,
                         const struct native_reply *r);
/* Something has become of an actor; text is copied. */
void native__watch_actor(struct native__client *c, uint64_t actor,
                         enum native_actor_event e, const char *text);
void native__watches_free(struct native__client *c);
/* client_actor.c: tells who watches it, without the lock. */
void native__actor_tell(struct native__client *c, uint64_t actor,
                        enum native_actor_event e, const char *text);
int native__actor_submit(struct native__client *c, struct raywf_actor *a,
                         const char *method, const struct raywf_call_options *o,
                         const struct raywf_arg *args, size_t n,
                         struct raywf_ref *ret_refs, struct native_watch *w,
                         struct raywf_error *err);

/* --- waiting (pump.c) --- */

/* One turn: receives, runs timers, fills lanes, flushes. */
void native__turn(struct native__client *c);
/* Called with the lock (given up meanwhile). Takes in results until done(ctx) or the
 * deadline (monotonic ns); done is called with the lock, often: it must be cheap.
 * A worker's loop idles here, too: done then looks at its rings. blocks: in a worker,
 * its CPU is given back while this takes long. */
bool native__await(struct native__client *c, bool (*done)(void *ctx), void *ctx,
                   int64_t deadline, bool blocks);
/* Something that an await may wait for has changed (with the lock). */
void native__changed(struct native__client *c);
/* Who sleeps on the bell wakes, also when it is muted. */
void native__wake_leader(struct native__client *c);
/* A call was submitted: the thread must not sleep deeply. */
void native__stir(struct native__client *c);
/* There is something to tell: a loop that rests is told that it is ready. */
void native__news(struct native__client *c);
/* A loop is awake, and takes results in by itself from now on; until rest. */
void native__awake(struct native__client *c);
void native__poll(struct native__client *c); /* a turn of it */
bool native__rest(struct native__client *c); /* false: something has just come */
int native__pump_start(struct native__client *c, struct rwf_err *err);
void native__pump_stop(struct native__client *c);

/* --- the control socket (control.c) --- */

/* Queues a frame; never waits. */
void native__tell(struct native__client *c, enum wire_type type,
                  const ProtobufCMessage *body);
/* A question: returns its number for the `request` field; then native__answer waits for
 * the message that carries it: 0, or -1 and *err from ERROR (or the loss of the node).
 * The message is the caller's to clear. */
uint64_t native__request(struct native__client *c);
int native__answer(struct native__client *c, uint64_t request, int64_t deadline,
                   struct wire_message *ret, struct raywf_error *err);

/* What a worker's loop hears of the control socket; called by its reader, without the
 * lock: SERVE, LEAVE, RETIRE, and lost (the node is gone). */
struct native_worker_ops {
    void *ctx;
    void (*message)(void *ctx, struct wire_message *m);
    void (*lost)(void *ctx);
    /* The thread that runs the calls has waited for a while, and goes on doing so; with
     * the lock, again and again. */
    void (*blocked)(void *ctx);
};
/* Before native_client_open, in a worker: its number goes into JOIN. */
void native__worker_ops(const struct native_worker_ops *ops, uint64_t worker);
/* The loop's: the call it runs (its submissions are its children), 0: none; cancelled:
 * asked while it waits; when true its children are cancelled. */
void native__worker_call(struct native__client *c, bool (*cancelled)(void *ctx),
                         void *ctx);

/* --- cancelling (calls.c) --- */

void native__cancel(struct native__client *c, uint64_t id, int flags);
/* All that this call of a worker has submitted. */
void native__cancel_children(struct native__client *c, uint32_t call);

/* --- the client itself (client.c) --- */

#define NATIVE__CLASSES 33 /* of 32 bytes each */

/* A store that this client is, or was, attached to. */
struct native__session {
    struct store *store;
    uint64_t number;
    size_t values; /* that lie in it, or are about to */
};

struct native__waiting; /* control.c: for an answer */

enum native__leader { NATIVE__NOBODY, NATIVE__A_THREAD, NATIVE__THE_PUMP };

struct native__client {
    pthread_mutex_t lock;
    uint64_t id; /* of the first WELCOME: owner of all refs made here */
    int slot;

    /* refs.c */
    struct native__value **pages;
    size_t page_count, page_cap;
    uint32_t used, vacant; /* vacant: index + 1 */

    /* task.c */
    struct native__task *spare[NATIVE__CLASSES];
    char *chunk;
    size_t chunk_left;
    void **chunks;
    size_t chunk_count, chunk_cap;
    uint64_t next_task;
    size_t outstanding; /* tasks whose values are pending */
    /* Chains of calls may be long: what follows from one's end is done in a loop. */
    struct native__task *doomed, *dead;
    bool dooming, burying;
    struct rwf_map *function_map;
    char **functions;
    size_t function_count, function_cap;
    struct native__policy **policies;
    size_t policy_count, policy_cap;
    struct raywf_task **handles;
    size_t handle_count, handle_cap;

    /* lane.c */
    struct native__lane *lanes, *dirty;
    uint64_t next_lane;
    struct rwf_map *shapes;
    struct native__line **lines; /* all */
    size_t line_count, line_cap;

    /* near.c */
    struct native__near *nears;
    bool near; /* some of them have something */

    /* lineage.c */
    struct native__list kept; /* oldest first */
    size_t kept_bytes;

    /* retry.c */
    struct native__timer *timers; /* a heap */
    size_t timer_count, timer_cap;

    /* remote.c */
    struct native__borrow *borrows;

    /* pump.c */
    enum native__leader leader;
    pthread_cond_t changed; /* followers */
    int followers;
    pthread_cond_t stir; /* the pump's thread */
    bool deep;           /* it sleeps until stirred */
    bool stopping;
    pthread_t pump;
    bool pump_runs;
    uint64_t turns, progress;
    int64_t now;         /* of this turn */
    uint32_t since_turn; /* submissions */
    int64_t spin;        /* ns; 0: never */
    int spin_luck;
    struct store_bell *bell;
    struct native__job *jobs, **jobs_end;
    void (*ready)(void *ctx);
    void *ready_ctx;
    uint64_t ready_seen; /* progress when it was called last */
    bool polling;        /* a loop takes results in by itself: nobody else does */
    bool loops;          /* it has done so once: the pump sleeps on the bell for it, */
    bool muted;          /* where nobody wakes it while the loop polls */
    int64_t pump_until;  /* when the pump wakes by itself */

    /* watch.c */
    struct native_watch *told, **told_end; /* to be told, in order */
    struct native_watch *watches;          /* not ended yet, or held */
    struct native_watch *flowing;          /* streams of which values have come */
    struct native_watch *spare_watches;

    /* control.c */
    int fd;
    struct wire_reader *reader;
    pthread_cond_t closing; /* the control thread, while it pauses */
    pthread_t control;
    bool control_runs;
    pthread_mutex_t send_lock;
    bool connected;
    uint64_t next_request;
    struct native__waiting *waiting;
    struct native__session *sessions;
    size_t session_count, session_cap;

    /* session.c */
    struct raywf_options options; /* strings are copies */
    char *address;                /* NULL: a socket was given, or a session of ours */
    int child;                    /* process of the session, 0: none */
    bool given;                   /* the socket was given: never connected again */

    /* A worker's. */
    struct native_worker_ops worker_ops;
    uint64_t worker;
    bool (*cancelled)(void *ctx);
    void *cancelled_ctx;
    pthread_t caller;      /* runs the calls */
    _Atomic uint32_t call; /* number of the one that runs; 0: none */
    uint32_t calls;
    uint64_t ended_tasks; /* those up to this number were ended with their parent */
    bool blocked;
};

/* Work for the pump's thread, without the lock; of who adds it. */
struct native__job {
    struct native__job *next;
    void (*fn)(struct native__client *c, struct native__job *j);
};
void native__job_add(struct native__client *c, struct native__job *j);

extern struct native__client *native__the; /* NULL: raywf_init was not called */
/* The one of this process, or NULL and *err. */
struct native__client *native__client(struct raywf_error *err);
void native__lock(struct native__client *c);
void native__unlock(struct native__client *c);
struct store *native__store(struct native__client *c);
uint64_t native__client_id(const struct native__client *c);
/* Sets *err (may be NULL); returns -1. */
int native__fail(struct raywf_error *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Monotonic deadline from a relative time-out. */
int64_t native__deadline(int64_t timeout);

#endif
