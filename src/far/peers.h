/* SPDX-License-Identifier: Apache-2.0
 *
 * The other nodes of the cluster. The head tells who is there; a link to one is made when
 * something is to be said, and kept. Each side's requests go over the link that it has
 * made itself, answers come back over the same one: so two nodes may have two links.
 *
 * Each part (steps, trees, bridges) has its rows in the table of handlers in peers.c, and is
 * told when a link ends: all that it had over that link is over.
 */
#ifndef RWF_FAR_PEERS_H
#define RWF_FAR_PEERS_H
#include <stdbool.h>
#include <sys/queue.h>
#include "node/node.h"

/* A node of the cluster, this one among them, until the head says that it is gone. */
struct far__member {
    uint32_t number; /* the head's */
    char *name;
    uint64_t session;
    char *host; /* where it listens for others; NULL: it does not */
    int port;
    bool draining, driver;
    bool missing; /* the head, which came back, has not said it yet */
    Wire__Member *wire; /* what it has */
    struct far__peer *peer; /* the link that we made to it; NULL: none now */
    LIST_ENTRY(far__member) link;
};

/* A link to or from another node. */
struct far__peer {
    struct node *node;
    struct wire_link *link;
    char *name;       /* of the other node; NULL: it has not said it yet */
    uint64_t session; /* the same */
    bool ours;        /* we made it */
    bool bridged;     /* it lends workers to our clients over it */
    char *gone;       /* why the head says that the node is; NULL: it does not */
    LIST_ENTRY(far__peer) all;
};

/* A link that has ended, for those who had something over it. */
struct far__gone {
    struct far__peer *peer;
    const struct rwf_err *err; /* NULL: the other side has closed it */
};

struct far__member *far__member_find(struct node *n, const char *name);
struct far__member *far__member_by_session(struct node *n, uint64_t session);
/* The first of all; the next: LIST_NEXT(m, link). */
struct far__member *far__members_first(struct node *n);
struct far__member *far__member_by_number(struct node *n, uint32_t number);
/* The link that we made to m, made now if there is none. What is sent before it is open
 * waits; when it cannot be opened the parts are told as of any that ends. NULL and *err: it
 * listens nowhere, or it is this node. */
struct far__peer *far__peer_to(struct node *n, struct far__member *m, struct rwf_err *err);
#define FAR__PEER_SEND(peer, type, message)                                           \
    wire_link_send((peer)->link, type, &(message)->base, NULL, 0)

void far__peers_each(struct node *n, void (*fn)(void *ctx, struct far__peer *p),
                     void *ctx);

/* far.c */
int far__peers_create(struct node *n, struct rwf_err *err);
/* "HOST:PORT" for others, or NULL. */
const char *far__peers_address(const struct node *n);
void far__peers_members(struct node *n, const Wire__Members *m);
void far__peers_close(struct node *n);
void far__peers_free(struct node *n);

#endif
