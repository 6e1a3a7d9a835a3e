/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of a node, shared by its parts and by src/far, which is the rest of it:
 * what it does with other nodes. Nothing here calls src/far by name: it is reached
 * through struct node_far.
 *
 *   node.c     life                          clients.c  who is connected, slots
 *   uplink.c   the head                      wants.c    what clients want
 *   pool.c     which worker for what         worker.c   one worker's process
 *   rings.c    who shares a ring with whom   leases.c   workers lent to clients
 *   actors.c   workers that are actors       deaths.c   what died, and of what
 *   pressure.c memory                        service.c  the store's slow work
 *   list.c     what ps and others show       drain.c    a node that is emptied
 *
 * All of it runs in the loop's thread, save the store's slow work. A node lives until
 * the last of what it opened is closed (open), so callbacks may always use it.
 */
#ifndef RWF_NODE_INSIDE_H
#define RWF_NODE_INSIDE_H
#include <stdbool.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include "base/ids.h"
#include "native/raywf.h"
#include "node/capture.h"
#include "node/limit.h"
#include "node/memory.h"
#include "node/node.h"
#include "node/proc.h"
#include "store/store.h"

/* Of the arena: brought in once somebody has work, not for who only looks. */
#define NODE__PREFAULT ((size_t)16 << 20)

struct node__lease;
struct node__actor;
struct node__worker;
struct far__parts;

/* What a client said last about a lane. */
struct node__want {
    uint64_t lane;
    Wire__Want *said; /* with its shape */
};

/* A driver, a worker in its role as a client, or one who only looks. */
struct node__client {
    struct node *node;
    struct wire_link *link;
    uint64_t id; /* unique for ever */
    int slot;    /* -1: none */
    int pid;
    bool greeted, joined, announced; /* announced: the head knows it */
    bool proxy; /* of another node's client (bridge.h), whom the head knows there */
    char *job, *program;
    int priority;
    Wire__Quota *quota;          /* NULL: none */
    uint64_t parent;             /* a worker: whom it works for */
    struct node__worker *worker; /* NULL: no worker */
    struct rwf_ids wants;        /* by lane */
    int64_t window;              /* flood: since when, and how many messages */
    unsigned messages;
};

enum node__worker_state {
    WORKER_STARTING, /* until it said that it is ready */
    WORKER_IDLE,
    WORKER_LEASED,   /* by a client, or it is an actor */
    WORKER_RETIRING, /* was told to end */
    WORKER_ENDING,   /* its process is gone */
    WORKER_STATE_COUNT
};

struct node__worker {
    struct node *node;
    uint64_t id;
    enum node__worker_state state;
    pid_t pid;
    int pidfd, slot;
    struct node__client *client; /* its socket; NULL: closed */
    char *key;                   /* leases of the same key can use it; NULL: none */
    char *plugin;
    uint32_t *gpus;
    size_t gpu_count;
    struct node__lease *lease; /* NULL: nobody's */
    LIST_HEAD(, node__ring) rings;
    struct node__limit limit;
    struct node__capture out, err;
    uv_poll_t exit_poll, out_poll, err_poll;
    uv_timer_t timer; /* start, grace, or the wait for its socket's end */
    int open_handles;
    bool exited;
    unsigned asked;   /* enum raywf_cause of our kill; 0: not a failure, or not asked */
    char *asked_text; /* NULL: we did not end it */
    int64_t started, start_timeout, idle_since, seen_peak;
    int64_t oom_kills; /* of the machine, when it started */
    LIST_ENTRY(node__worker) link;
};

/* A client and a worker share one. */
struct node__ring {
    uint64_t lease; /* by which both name it; an actor's have numbers of ours */
    uint64_t lane;
    struct node__client *client;
    struct node__worker *worker;
    struct store_ring *view;
    int fd; /* -1: both have it */
    bool served, granted;
    LIST_ENTRY(node__ring) link;
};

struct node__lease {
    struct node *node;
    Wire__Lease *wire;           /* as the head gave it */
    struct node__worker *worker; /* NULL: waits for a slot */
    struct node__actor *actor;   /* NULL: a client's */
    uint64_t proxy;              /* the client is another node's; else 0 */
    bool granted;
    TAILQ_ENTRY(node__lease) parked;
};

struct node {
    uv_loop_t *loop;
    struct node_options options; /* strings are ours */
    struct schedule_machine machine;
    char *name, *folder, *address, *spill;
    uint64_t session;
    uint8_t key[WIRE_KEY_LEN]; /* options.key */
    struct store *store;
    struct wire_listener *listener;
    int open; /* what must close before this is freed */
    bool stopping, destroyed;
    void (*stopped)(void *ctx);
    void *stopped_ctx;

    uint32_t boot, last_client; /* high and low half of a client's number */
    struct rwf_ids clients; /* by id */

    LIST_HEAD(, node__worker) workers;
    uint64_t last_worker;
    unsigned worker_count, idle_count;
    uv_timer_t idle_timer;
    struct node__crash *crashes;

    struct rwf_ids leases; /* by the head's number */
    TAILQ_HEAD(, node__lease) parked;
    uint64_t last_ring;

    struct rwf_ids actors; /* by number */

    uv_timer_t watch; /* memory, while workers work */
    bool watching;
    int64_t last_relief, last_warning, last_sessions;

    struct node__service *service;

    bool draining;
    uv_timer_t drain_timer;
    int64_t drain_until;
    void (*drained)(void *ctx); /* NULL: node_drain was not called, or is over */
    void (*end)(void *ctx);
    void *drained_ctx, *end_ctx;

    struct node__uplink *uplink;
    struct far__parts *far; /* of options.far */
};

/* What may be said to a node by a client, by the head; NULL: not to this part. */
struct node__client_row {
    void (*fn)(struct node__client *c, struct wire_message *m);
    bool anytime; /* without having joined */
    bool workers; /* by workers only */
};
typedef void (*node__head_fn)(struct node *n, struct wire_message *m);

/* What a node does with other nodes: far_nodes (far/far.h). All of it in the loop's thread. */
struct node_far {
    /* Its life: create before the node takes clients, stop with node_stop, ending while
     * there is still a way to the head, close after that, free when all is closed. */
    int (*create)(struct node *n, struct rwf_err *err);
    void (*stop)(struct node *n);
    void (*ending)(struct node *n);
    void (*close)(struct node *n);
    void (*free)(struct node *n);
    bool (*busy)(const struct node *n); /* processes of steps run here */
    const char *(*address)(const struct node *n); /* "HOST:PORT" for others, or NULL */
    /* Messages: tables of WIRE_TYPE_COUNT. */
    const struct node__client_row *client;
    const node__head_fn *head;
    void (*members)(struct node *n, const Wire__Members *m);
    bool (*answer)(struct node *n, struct wire_message *m); /* the head's; true: taken */
    void (*head_is_back)(struct node *n);
    /* Workers elsewhere, of clients here. true: that is where it is, and it was told. */
    bool (*returned)(struct node__client *c, const Wire__Return *r);
    bool (*ended)(struct node__client *c, const Wire__End *e);
    void (*give_back)(struct node__client *c); /* all that it has there: it goes */
    void (*client_gone)(struct node__client *c);
    /* c wants a ring to an actor that is alive on the node `where`. */
    void (*actor)(struct node__client *c, uint64_t actor, const char *where);
    /* Other nodes may fetch what these name: a client here wants it used there. */
    void (*offer)(struct node *n, const char *plugin);
    void (*offer_spec)(struct node *n, const Wire__ActorSpec *spec);
    /* m names a plugin that is not here but on node home (NULL, "": none): true, and m is
     * carried out once it was fetched. */
    bool (*bring)(struct node *n, const char *home, const char *plugin,
                  enum wire_type type, const ProtobufCMessage *m);
};

/* node.c */
void node__closed(struct node *n); /* one of what is open */
/* A handle of libuv whose data is the node, and which is one of what is open. */
void node__close(void *handle);
void node__timer(struct node *n, uv_timer_t *t);
/* A copy for the caller to free with protobuf_c_message_free_unpacked. */
void *node__copy(const ProtobufCMessage *m);
void node__free(void *message); /* NULL is fine */
#define NODE__SEND(link, type, message)                                                \
    wire_link_send(link, type, &(message)->base, NULL, 0)

/* clients.c */
struct node__client *node__client_find(struct node *n, uint64_t id);
/* Takes the socket of a new worker. */
struct node__client *node__client_open(struct node *n, int fd, struct node__worker *w,
                                       struct rwf_err *err);
/* The client at this end of a link in memory stands for another node's; slot: of the
 * plane. */
struct node__client *node__client_proxy(struct node *n, struct wire_link *link, int slot);
void node__client_accept(void *ctx, struct wire_link *link);
void node__client_close(struct node__client *c);
/* The same after a message that it should not have sent. */
void node__client_drop(struct node__client *c, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void node__client_error(struct node__client *c, uint64_t request, int code,
                        const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* Tells the head of it, if it does not know it under this parent. */
void node__client_announce(struct node__client *c);
void node__clients_announce(struct node *n);

/* uplink.c */
void node__uplink_create(struct node *n);
void node__uplink_close(struct node *n);
void node__uplink_free(struct node *n);
bool node__head_is_far(const struct node *n); /* in another process */
/* What to tell who asks the head while it is not just between two lives: where it was and
 * why it cannot be reached. NULL: it is there. The caller's to free. */
char *node__head_is_away(const struct node *n);
/* What is lost while there is no head is said again when it is back. */
void node__head_send(struct node *n, enum wire_type type, const ProtobufCMessage *m);
/* The answer goes to c under its own number of the request. */
void node__head_ask(struct node__client *c, uint64_t request, enum wire_type type,
                    const ProtobufCMessage *m, uint64_t *number);
void node__uplink_client_gone(struct node__client *c);

/* wants.c */
void node__on_want(struct node__client *c, struct wire_message *m);
void node__wants_refuse(struct node__client *c, uint64_t lane, int code,
                        const char *text);
void node__wants_say(struct node__client *c); /* all, to a new head */
void node__wants_stop(struct node__client *c); /* it wants nothing any more */
void node__wants_free(struct node__client *c);

/* pool.c */
enum node__worker_event {
    EVENT_READY,
    EVENT_LEND,
    EVENT_BACK,
    EVENT_RETIRE,
    EVENT_EXIT
};
void node__worker_event(struct node__worker *w, enum node__worker_event event);
/* A worker for lease: an idle one, or a new one. ENOSPC: no slot for it now. */
int node__pool_take(struct node *n, struct node__lease *lease, struct rwf_err *err);
/* Its lease is over. */
void node__pool_back(struct node__worker *w, bool broken);
void node__pool_retire(struct node__worker *w, const char *reason);
void node__pool_retire_idle(struct node *n, const char *reason);
void node__pool_stop(struct node *n);
/* Tells whoever stops the node, when nothing of it runs any more. */
void node__pool_say_stopped(struct node *n);
void node__pool_gone(struct node__worker *w);
/* Counts what happens while workers of a key start; true: three times in a row. */
bool node__crash_count(struct node *n, const char *key, bool crashed);
void node__crashes_free(struct node *n);
const char *node__worker_state_name(enum node__worker_state s);

/* worker.c */
struct node__worker *node__worker_start(struct node *n, const struct node__lease *lease,
                                        struct rwf_err *err);
/* Ends it; the first reason is the one that is told. cause: enum raywf_cause. */
void node__worker_kill(struct node__worker *w, unsigned cause, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void node__worker_term(struct node__worker *w);
/* kill, unless it ended within ms. */
void node__worker_deadline(struct node__worker *w, int64_t ns, unsigned cause,
                           const char *text);
void node__worker_socket_closed(struct node__worker *w);
void node__worker_release(struct node__worker *w);

/* rings.c */
struct node__ring *node__ring_make(struct node__client *c, struct node__worker *w,
                                   uint64_t lease, uint64_t lane, struct rwf_err *err);
/* first: the worker is to load its plugin. */
void node__ring_serve(struct node__ring *r, bool first);
void node__ring_grant(struct node__ring *r, const struct node__lease *lease);
struct node__ring *node__ring_find(struct node *n, const struct node__client *c,
                                   uint64_t lease);
/* What its worker executes for its client now, since when; 0: nothing. */
uint64_t node__ring_task(const struct node__ring *r, int64_t *ret_started);
/* Nothing runs and nothing waits in it. */
bool node__ring_quiet(const struct node__ring *r);
/* leave: tell the worker. */
void node__ring_end(struct node__ring *r, bool leave);

/* leases.c */
/* proxy: the client here that stands for another node's, or 0. */
void node__lease_granted(struct node *n, const Wire__Lease *wire, uint64_t proxy);
void node__lease_serve(struct node__lease *l);
void node__lease_ready(struct node__lease *l);
/* Its worker cannot be had, for good. */
void node__lease_refuse(struct node__lease *l, int code, const char *text);
/* Over: the head may lend the resources again. Frees it. */
void node__lease_end(struct node__lease *l);
void node__lease_place(struct node__lease *l);
void node__lease_recall(struct node *n, const Wire__HeadRecall *m);
void node__on_return(struct node__client *c, struct wire_message *m);
void node__on_ready(struct node__client *c, struct wire_message *m);
void node__on_blocked(struct node__client *c, struct wire_message *m);
void node__on_end(struct node__client *c, struct wire_message *m);
/* A slot, or something else that may be all, has become free. */
void node__leases_retry(struct node *n);
/* c is gone: what it had is given back. */
void node__leases_client_gone(struct node__client *c);
const Wire__Resources *node__lease_resources(const struct node__lease *l);

/* actors.c */
void node__actor_start(struct node *n, const Wire__HeadActorStart *m);
void node__actor_serve(struct node__lease *l);
void node__actor_ready(struct node__lease *l, int code, const char *text);
void node__actor_failed(struct node__lease *l, unsigned cause, const char *text);
void node__actor_state(struct node *n, const Wire__ActorState *m);
void node__actor_kill(struct node *n, const Wire__ActorKill *m);
void node__actor_client_gone(struct node__client *c);
/* Adds what runs here to the message of a node that joins. */
void node__actors_say(struct node *n, Wire__NodeJoin *m);
/* After that: which of them are alive. */
void node__actors_said(struct node *n);
/* Rings to actors elsewhere are asked for again where there is none. */
void node__actors_again(struct node *n);
void node__actors_free(struct node *n);
const Wire__ActorSpec *node__actor_spec(const struct node__actor *a);
void node__on_actor_create(struct node__client *c, struct wire_message *m);
void node__on_actor_find(struct node__client *c, struct wire_message *m);
void node__on_actor_connect(struct node__client *c, struct wire_message *m);
void node__on_actor_kill(struct node__client *c, struct wire_message *m);
void node__on_actor_drop(struct node__client *c, struct wire_message *m);

/* deaths.c */
void node__worker_died(struct node__worker *w, int status, const struct rusage *usage);

/* uplink.c: the head's clock less ours, and a round trip to it, in ns */
int64_t node__clock_offset(const struct node *n);
int64_t node__head_rtt(const struct node *n);

/* drain.c */
void node__on_drain(struct node *n, const Wire__NodeDrain *m);

/* pressure.c */
void node__pressure_watch(struct node *n); /* starts when there is work */

/* service.c */
void node__service_create(struct node *n);
void node__service_free(struct node *n);
void node__on_full(struct node__client *c, struct wire_message *m);
void node__on_restore(struct node__client *c, struct wire_message *m);

/* list.c */
void node__on_list(struct node__client *c, struct wire_message *m);
/* What the head knows, with what this node adds to it. */
char *node__list_merge(struct node *n, const char *what, const char *json);

#endif
