/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of a call: call.c (arguments and values), reply.c (what goes back).
 */
#ifndef RWF_NATIVE_CALL_IMPL_H
#define RWF_NATIVE_CALL_IMPL_H
#include "native/call.h"

/* How many values go back. Of a stream only the reply that it gave instead of values. */
static inline int32_t native__call_returned(const struct raywf_call *c)
{
    return c->returns > 0 ? c->returns : c->replies;
}

/* An object of the store for a value. NULL: the call has failed, and says why. */
void *native__call_object(struct raywf_call *c, size_t size, store_object *ret);
/* -1: the same; the object is freed. */
int native__call_object_seal(struct raywf_call *c, store_object o, size_t size);

#endif
