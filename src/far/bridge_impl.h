/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of the bridges: bridge.c (the client's side, life), bridge_far.c (the
 * worker's side: proxies).
 */
#ifndef RWF_FAR_BRIDGE_IMPL_H
#define RWF_FAR_BRIDGE_IMPL_H
#include "far/bridge.h"
#include "far/span.h"

/* A client of another node, as a client of this one: we are the program at the other
 * end of its link. */
struct bridge__proxy {
    struct far__bridges *bridges;
    uint64_t client; /* its number there */
    uint64_t session;
    struct far__peer *peer; /* to its node */
    struct wire_link *link;  /* to this node */
    uint64_t local;          /* number of its end here */
    LIST_ENTRY(bridge__proxy) link_all;
};

/* One lease, or ring to an actor, seen from here. */
struct bridge__end {
    struct far__bridges *bridges;
    struct bridge__proxy *proxy; /* NULL: the client is here */
    struct far__peer *peer;
    uint64_t channel; /* the worker's node's number for it */
    uint64_t lease;   /* ours: as the client, or this node, names it */
    uint64_t worker;
    uint64_t client; /* the client is here: its number */
    uint64_t actor;
    struct far__span *span;
    LIST_ENTRY(bridge__end) link;
};

/* A node that could not be reached a moment ago. */
struct bridge__bad {
    uint64_t session;
    int64_t until;
    LIST_ENTRY(bridge__bad) link;
};

/* A lease for a client that cannot be reached: given back in a while. */
struct bridge__late {
    uint64_t lease;
    LIST_ENTRY(bridge__late) link;
};

struct far__bridges {
    struct node *node;
    struct far__spans *spans; /* NULL: there is no plane yet */
    int slot;                  /* of the plane: with it rings are shared */
    uint64_t last;
    bool closing;
    uv_timer_t timer;
    LIST_HEAD(, bridge__end) ends;
    LIST_HEAD(, bridge__proxy) proxies;
    LIST_HEAD(, bridge__bad) bads;
    LIST_HEAD(, bridge__late) lates;
};

/* bridge.c */
void bridge__end_free(struct bridge__end *e);
struct bridge__end *bridge__end_add(struct far__bridges *b, struct far__peer *peer,
                                    uint64_t channel);
void bridge__say(struct far__peer *p, uint64_t channel, enum wire_type type,
                 const ProtobufCMessage *m);
bool bridge__is_bad(struct far__bridges *b, uint64_t session);
/* What is late, and actors without a ring: soon. */
void bridge__again(struct far__bridges *b);

/* bridge_far.c */
void bridge__far_broken(struct bridge__end *e);
/* p NULL: all of that session. */
void bridge__far_lost(struct far__bridges *b, uint64_t session, struct far__peer *p);
void bridge__far_leave(struct far__peer *p, const Wire__ClientLeave *m);
void bridge__far_do(struct bridge__end *e, uint32_t type, const ProtobufCMessage *m);
void bridge__proxy_close(struct bridge__proxy *x);
void bridge__lates_give(struct far__bridges *b);
void bridge__lates_free(struct far__bridges *b);

#endif
