/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of the head, shared by its parts:
 *
 *   head.c        life, the table of messages
 *   member.c      nodes: join, beats, death
 *   head_lease.c  clients, what they want, who gets what
 *   head_stray.c  leases of clients that are still to come
 *   head_actor*.c the directory of actors (actor.h)
 *   head_group.c  reservations
 *   head_drain.c  nodes that are emptied, and the end of all of them
 *   base/journal  what must not be lost
 *   need.c        resources of the wire as needs of the scheduler
 *   list.c        what `raywf status` shows
 *
 * A node whose link is gone is kept for dead_after: it may come back with all it runs.
 * A client gets workers and actors of any node, when others reach its own: see
 * far/bridge.h.
 */
#ifndef RWF_HEAD_INSIDE_H
#define RWF_HEAD_INSIDE_H
#include <stdbool.h>
#include <sys/queue.h>
#include "base/clock.h"
#include "base/ids.h"
#include "base/map.h"
#include "base/str.h"
#include "head/head.h"
#include "base/journal.h"
#include "native/raywf.h" /* its error codes and causes */
#include "schedule/lease.h"

/* A link that is open; of a node once it has said NODE_JOIN. */
struct head__peer {
    struct head *head;
    struct wire_link *link;
    struct head__node *node; /* NULL: none yet, or another link is the node's now */
    int64_t opened;
    bool near; /* in this process: it cannot be silent */
    LIST_ENTRY(head__peer) all;
};

struct head__node {
    struct head *head;
    char *name;
    uint64_t session;        /* a restarted node has another */
    uint32_t number;         /* in the cluster */
    bool ours;               /* we added it to the cluster */
    Wire__Member *member;    /* what other nodes are told of it */
    struct head__peer *peer; /* NULL: away */
    unsigned clients;        /* how many it has */
    int64_t heard;
    bool leaving; /* it has said that it ends: when its link does, it is gone */
    int64_t drain_until; /* then what is left there is ended; 0: it is not drained */
    int64_t sweep_at; /* after a join: then clients that were not said again are gone */
    LIST_ENTRY(head__node) all;
};

struct head__client {
    uint64_t id, job, parent;
    struct head__node *node;
    int priority;
    double quota_cpu, quota_gpu; /* 0: no limit */
    int64_t quota_memory;
    char *name;           /* of its job; NULL: known only from a lease */
    bool said;            /* by its node, since that joined */
    struct rwf_ids lanes; /* lane -> ask */
};

/* One ask of the scheduler: for a lane of a client, or for an actor. */
struct head__ask {
    uint64_t id;
    struct head__client *client; /* NULL: an actor's */
    uint64_t lane;
    Wire__Shape *shape;
    struct head__actor *actor; /* NULL: a client's */
    unsigned wanted;
    int priority;
    bool retriable;
};

#define HEAD__ACTOR_STATES(X)                                                          \
    X(PENDING, "pending")   /* waits for resources */                                  \
    X(STARTING, "starting") /* its worker starts, its constructor runs */              \
    X(ALIVE, "alive")                                                                  \
    X(RESTARTING, "restarting") /* waits for its back-off */                           \
    X(AWAY, "restarting")       /* the head came back; its node may still run it */    \
    X(DEAD, "dead")
enum head__actor_state {
#define X(name, text) ACTOR_##name,
    HEAD__ACTOR_STATES(X)
#undef X
};

struct head__actor {
    struct head *head;
    uint64_t id;
    enum head__actor_state state;
    Wire__ActorSpec *spec;
    char *home;              /* the node where it is, or was, or must be; NULL: any */
    struct head__node **watchers; /* nodes whose processes call it */
    size_t watcher_count, watcher_cap;
    struct head__ask *ask;   /* NULL: nothing is asked for */
    uint64_t lease;          /* 0: none */
    struct head__node *node; /* it runs there, or NULL */
    unsigned restarts;
    unsigned in_a_row; /* of them: since it last lived for longer than it had waited */
    bool started;   /* its constructor may have run */
    bool end;       /* it must not start again */
    bool moves;     /* it was ended to start elsewhere: its node drains */
    unsigned cause; /* of its last death: enum raywf_cause */
    char *text;     /* the same in words; NULL: none yet */
    uint64_t went_with; /* session of the node with which it and its creator went */
    int64_t since, restart_at;
    TAILQ_ENTRY(head__actor) dead;
};

struct head__group {
    struct head *head;
    uint64_t id, client, request;
    char *home;
    Wire__GroupCreate *wire;
    bool placed, ready;
    bool kept; /* in the journal */
};

struct head {
    uv_loop_t *loop;
    struct schedule_cluster *cluster;
    bool own_cluster, closing, deciding;
    struct schedule_leases *leases;
    struct wire_listener *listener;
    char *folder;
    int64_t dead_after, started, settled_at; /* when who is away is gone; 0: it was */
    int64_t returns_until; /* nodes of an earlier head come back; 0: no more */
    struct rwf_journal *journal;
    bool (*other)(void *ctx, struct wire_link *link, struct wire_message *m);
    void *other_ctx;
    void (*end)(void *ctx);
    bool ending; /* when all other nodes have ended, end is called */
    uv_timer_t timer;
    int64_t due; /* of the timer; INT64_MAX: never */
    LIST_HEAD(, head__peer) peers;
    LIST_HEAD(, head__relay) relays;
    LIST_HEAD(, head__node) nodes;
    LIST_HEAD(, head__stray) strays;
    struct rwf_ids clients, asks, actors, groups;
    struct rwf_ids made;   /* by who asked and its request: see head_actor.c */
    struct rwf_map *names; /* -> an actor that is not dead, or head__nobody */
    size_t nobodies;
    TAILQ_HEAD(, head__actor) dead;
    unsigned dead_count;
    uint64_t last_ask, last_id;
    int open; /* handles and links that libuv still knows, and one until head_destroy */
    unsigned long granted, recalled, refused; /* for `raywf status` */
};

/* --- head.c --- */
#define HEAD__SEND(node, type, message) head__send(node, type, &(message)->base)
/* Nothing happens while it is away: what it must know is said again when it joins. */
void head__send(struct head__node *n, enum wire_type type, const ProtobufCMessage *m);
void head__error(struct head__node *n, uint64_t request, int code, const char *text);
void *head__copy(const ProtobufCMessage *m);
void head__free_message(void *m);      /* NULL is fine */
uint64_t head__new_id(struct head *h); /* of actors and groups: never used before */
/* Carries out what the scheduler decides now. */
void head__decide(struct head *h);
void head__timer_set(struct head *h);

/* --- member.c --- */
void head__on_join(struct head__peer *p, const Wire__NodeJoin *m);
void head__peer_closed(struct head__peer *p);
struct head__node *head__node_find(struct head *h, const char *name);
struct head__node *head__node_by_number(struct head *h, uint32_t number);
/* Ends who is silent; returns when to look again. */
int64_t head__members_check(struct head *h, int64_t now);
/* For so long this head has heard nobody: that is nobody's silence, and there is time to
 * read what was said. */
void head__members_forgive(struct head *h, int64_t now, int64_t spent);
void head__node_free(struct head__node *n);
/* Other nodes can make links to it: its clients may have workers there. */
bool head__node_is_open(const struct head__node *n);
/* All nodes are told what has changed about n. */
void head__member_say(struct head__node *n);

/* --- head_lease.c --- */
void head__on_client_join(struct head__node *n, const Wire__ClientJoin *m);
void head__on_client_leave(struct head__node *n, uint64_t client);
void head__on_want(struct head__node *n, const Wire__HeadWant *m);
void head__on_return(struct head__node *n, uint64_t lease);
/* What a node that joins already runs: false: the lease cannot be kept. */
bool head__lease_restore(struct head__node *n, const Wire__Lease *l);
/* The client's, made when there is none; NULL: it is another node's. */
struct head__client *head__client_get(struct head__node *n, uint64_t id);
/* c->job is a job that the scheduler knows. */
void head__job_ensure(struct head__client *c);
struct head__ask *head__ask_add(struct head *h, struct schedule_ask *a,
                                struct head__client *c, struct head__actor *actor,
                                struct rwf_err *err);
void head__ask_drop(struct head *h, struct head__ask *a);
/* Nodes had their time to come back: what none can hold is refused. */
void head__asks_settle(struct head *h);
void head__client_gone(struct head__client *c);
void head__recall(struct head__node *n, uint64_t lease, bool kill, const char *text);

/* --- head_stray.c --- */
/* n runs it for a client of a node that may still come: true: it is kept until then. */
bool head__stray_add(struct head__node *n, const Wire__Lease *l);
/* It has ended. */
void head__stray_drop(struct head__node *n, uint64_t lease);
/* n has joined, or is gone. */
void head__strays_node(struct head__node *n, bool gone);
/* Ends those whose time is over; returns when to look again. */
int64_t head__strays_check(struct head *h, int64_t now);
void head__strays_free(struct head *h);

/* --- head_actor.c --- */
void head__on_actor(struct head__node *n, const Wire__HeadActor *m);
void head__on_actor_find(struct head__node *n, const Wire__ActorFind *m);
void head__on_actor_connect(struct head__node *n, const Wire__ActorConnect *m);
void head__on_actor_state(struct head__node *n, const Wire__HeadActorState *m);
void head__on_actor_kill(struct head__node *n, const Wire__ActorKill *m);
void head__on_actor_drop(struct head__node *n, const Wire__ActorDrop *m);
void head__actor_granted(struct head__actor *a, uint64_t lease, struct head__node *n,
                         uint64_t gpus);
/* Its lease is over, for whatever reason: the worker is gone. */
void head__actor_lost(struct head__actor *a, unsigned cause, const char *text);
/* A node that joins runs it: true, or it must end there. */
bool head__actor_adopt(struct head__node *n, const Wire__ActorSpec *spec,
                       const Wire__Lease *lease);
/* It may not go on there: ends it, and tells those there what has become of it. */
void head__actor_refuse(struct head__node *n, uint64_t actor);
/* n is about to be gone, and its clients: what came of both may come back with it. */
void head__actors_going(struct head__node *n);
/* All that ran on n and did not come back with it. */
void head__actors_node(struct head__node *n, bool gone);
void head__actors_client_gone(struct head *h, uint64_t client);
int64_t head__actors_check(struct head *h, int64_t now);
/* The head came back, and its nodes had their time to join: who is not there is gone.
 */
void head__actors_settle(struct head *h);
void head__actor_replay(struct head *h, const json_t *record);
json_t *head__actor_record(const struct head__actor *a);
void head__actors_free(struct head *h);
const char *head__actor_state_name(enum head__actor_state s);

/* Those that run on n and may restart do so, elsewhere; all: the others end. */
void head__actors_drain(struct head__node *n, bool all);

/* --- head_group.c --- */
/* It is placed anew: nothing runs in it. */
void head__group_move(struct head__group *g);
/* Its client is told, and may ask for another. */
void head__group_lost(struct head__group *g, const char *text);
void head__on_group_create(struct head__node *n, const Wire__GroupCreate *m);
void head__on_group_remove(struct head__node *n, const Wire__GroupRemove *m);
void head__group_ready(struct head *h, uint64_t group, bool ready);
void head__groups_node(struct head__node *n, bool gone);
void head__groups_client_gone(struct head *h, uint64_t client);
void head__groups_settle(struct head *h);
void head__group_replay(struct head *h, const json_t *record);
json_t *head__group_record(const struct head__group *g);
void head__groups_free(struct head *h);

/* --- head_drain.c --- */
void head__on_drain(struct head__peer *p, const Wire__NodeDrain *m);
void head__drain(struct head__node *n, int64_t timeout);
/* Ends what is left when its time is over; returns when to look again. */
int64_t head__drain_check(struct head__node *n, int64_t now);
/* Tells it to end, as all are told while the head ends. */
void head__end_node(struct head__node *n);
/* A node has gone: of those that were told to end perhaps the last. */
void head__end_check(struct head *h);

/* --- head_relay.c --- */
/* False: it is the head's own to answer. */
bool head__relay_list(struct head__peer *p, const Wire__List *m);
void head__relay_answer(struct head__node *n, const struct wire_message *m);
bool head__relay_waits(const struct head__peer *p);
void head__relay_node_gone(struct head__node *n);
void head__relay_peer_gone(struct head__peer *p);

/* --- need.c --- */
struct head__need {
    struct schedule_need need;
    const char **names, **keys, **values;
    double *amounts;
};
/* What r asks for, on the node named home (NULL: any); all strings are borrowed. */
int head__need_set(struct head__need *ret, const Wire__Resources *r, const char *home,
                   struct rwf_err *err);
void head__need_clear(struct head__need *n);
/* Packed and in hexadecimal, for the journal; and back: NULL: no such message. */
json_t *head__message_json(const ProtobufCMessage *m);
void *head__message_parse(const json_t *text, const ProtobufCMessageDescriptor *d);
/* The ids in gpus: returns how many. */
size_t head__gpu_list(uint64_t gpus, uint32_t ret[64]);
uint64_t head__gpu_bits(const uint32_t *gpus, size_t count);

#endif
