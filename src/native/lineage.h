/* SPDX-License-Identifier: Apache-2.0
 *
 * What is lost is made again: a task whose values lie in the store is kept, with its
 * arguments, for as long as they are wanted (at most 1 GiB of such tasks: the oldest go
 * first); a value that was put is copied out of the old mapping, which outlives its
 * node.
 */
#ifndef RWF_NATIVE_LINEAGE_H
#define RWF_NATIVE_LINEAGE_H
#include "native/internal.h"

/* After its commit: keeps t when it could be of use, else frees it. */
void native__keep(struct native__client *c, struct native__task *t);
/* v, of a kept task, has no references any more. */
void native__kept_drop(struct native__client *c, struct native__task *t,
                       struct native__value *v);
/* The object of v is gone. v is PENDING again, or FAILED for good. */
void native__lost(struct native__client *c, struct native__value *v);
/* v, a dependency of a call that is about to be sent, lies in the store: 0: and is
 * there; -1: is not (any more), or in the store of a node that is gone; it is then
 * PENDING (or FAILED) and is being brought back. */
int native__present(struct native__client *c, struct native__value *v);

#endif
