/* SPDX-License-Identifier: Apache-2.0
 *
 * Workers and actors of other nodes for clients of this one, and the other way round.
 * Neither client nor worker notices: each has a ring to somebody of its own node, which
 * is a span (span.h); control goes over links between the nodes.
 *
 *   head           node of the worker              node of the client
 *   HEAD_LEND   -> a lease, for a proxy: a client
 *                  of this node in memory that
 *                  gets GRANT as any does       -> BRIDGE_OPEN; GRANT to the client
 *                  frames                      <-> frames
 *   HEAD_RECALL -> RECALL                       -> BRIDGE_DO: RECALL
 *   HEAD_RETURN <- RETURN                      <-  BRIDGE_DO: RETURN, END
 *                  DEATH behind the last frame  -> DEATH
 *                  ACTOR_CONNECT               <-  ACTOR_CONNECT of a client
 *
 * Invariants: all that a node lends to another lives as long as the link that it made to
 * it for that, and both their data connections: when one ends, the proxies end as clients
 * do, and the client hears that its workers are gone with their node.
 */
#ifndef RWF_FAR_BRIDGE_H
#define RWF_FAR_BRIDGE_H
#include "far/inside.h"

struct peer;

/* far.c: stop before the plane's end, free after it. */
void far__bridges_create(struct node *n);
void far__bridges_close(struct node *n);
void far__bridges_stop(struct node *n);
void far__bridges_free(struct node *n);
/* data.c: the plane is there. */
void far__bridges_plane(struct node *n, struct peer *plane);

/* From the head: a worker of this node for a client of another. */
void far__bridge_lend(struct node *n, const Wire__HeadLend *m);
/* What clients of this node say about workers elsewhere: true: taken. */
bool far__bridge_return(struct node__client *c, const Wire__Return *r);
bool far__bridge_end(struct node__client *c, const Wire__End *e);
void far__bridge_client_gone(struct node__client *c);
/* c wants a ring to an actor that is alive on the node `where`. */
void far__bridge_actor(struct node__client *c, uint64_t actor, const char *where);
/* Something was lost meanwhile: actors.c asks again for who has no ring. */
void far__bridge_actor_retry(struct node *n);

/* peers.c */
void far__on_bridge_open(struct far__peer *p, struct wire_message *m);
void far__on_bridge_close(struct far__peer *p, struct wire_message *m);
void far__on_bridge_do(struct far__peer *p, struct wire_message *m);
void far__on_bridge_connect(struct far__peer *p, struct wire_message *m);
void far__bridge_peer_closed(struct far__peer *p);

#endif
