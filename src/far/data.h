/* SPDX-License-Identifier: Apache-2.0
 *
 * The data plane (src/peer) of a node: made when it is first needed. Its connections
 * begin as links to members, which prove that they know the cluster's key and say
 * DATA_HELLO; then the socket is the plane's.
 */
#ifndef RWF_FAR_DATA_H
#define RWF_FAR_DATA_H
#include "far/peers.h"
#include "peer/peer.h"

/* Loop's thread. NULL and *err: it cannot be made. */
struct peer *far__plane(struct node *n, struct rwf_err *err);
/* The same, or NULL when it was not needed yet. */
struct peer *far__plane_if(const struct node *n);
/* Runs fn in the loop's thread, soon; any thread. Not after far__data_close. */
void far__data_post(struct node *n, void (*fn)(void *ctx), void *ctx);

/* far.c */
void far__data_create(struct node *n);
void far__data_close(struct node *n);
void far__data_free(struct node *n);
/* peers.c: a link says that it is for data; a member is gone. */
void far__on_data_hello(struct far__peer *p, struct wire_message *m);
void far__data_gone(struct node *n, const struct far__member *m);

#endif
