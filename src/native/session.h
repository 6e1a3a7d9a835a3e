/* SPDX-License-Identifier: Apache-2.0
 *
 * Where a runtime comes from: a node's socket, or a session of one's own.
 */
#ifndef RWF_NATIVE_SESSION_H
#define RWF_NATIVE_SESSION_H
#include "native/internal.h"

/* A connected socket: to c->address, or to a new session (c->child). -1 and *err. */
int native__connect(struct native__client *c, struct rwf_err *err);
/* After our end of its socket was closed: waits for the end of the session. */
void native__session_end(struct native__client *c);

#endif
