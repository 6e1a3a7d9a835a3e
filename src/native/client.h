/* SPDX-License-Identifier: Apache-2.0
 *
 * What raywf's own programs need of the client besides raywf.h: the engine is a client
 * of the node in its process, a worker is one over its inherited socket.
 */
#ifndef RWF_NATIVE_CLIENT_H
#define RWF_NATIVE_CLIENT_H
#include "native/raywf.h"

/* raywf_init over a connected socket, which is taken. */
int native_client_open(int fd, const struct raywf_options *options,
                       struct raywf_error *err);
/* From now on results are taken in as they come, by a thread, and fn is called by it
 * after each batch (to wake a loop; it must not call into the client). */
void native_client_on_ready(void (*fn)(void *ctx), void *ctx);
/* A list of live state from the node and the head (see node.h, head.h), as JSON text
 * for the caller to free. */
char *native_client_list(const char *what, const char *about, struct raywf_error *err);

#endif
