/* SPDX-License-Identifier: Apache-2.0
 *
 * The socket to the node: the first words, then a thread that reads it.
 */
#ifndef RWF_NATIVE_CONTROL_H
#define RWF_NATIVE_CONTROL_H
#include "native/internal.h"

/* Says hello and joins over fd, which is taken; attaches to the store it is given. */
int native__join(struct native__client *c, int fd, struct rwf_err *err);
int native__control_start(struct native__client *c, struct rwf_err *err);
void native__control_stop(struct native__client *c);
/* Stores of nodes that are gone, once nothing lies in them any more. */
void native__sessions_sweep(struct native__client *c);
void native__sessions_free(struct native__client *c);

#endif
