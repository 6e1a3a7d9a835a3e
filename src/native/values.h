/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RWF_NATIVE_VALUES_H
#define RWF_NATIVE_VALUES_H
#include "native/internal.h"

/* Copies data into a sealed object: a value with one reference. Without the lock (it
 * may have to wait for room); NULL and *err. */
struct native__value *native__put_object(struct native__client *c, const void *data,
                                         size_t size, struct raywf_error *err);
/* The value that ref names, with a reference more; borrowed if need be. NULL, *err. */
struct native__value *native__value_of(struct native__client *c, struct raywf_ref ref,
                                       struct raywf_error *err);
/* Waits until v is there. 0; -1 and *err: its time-out. */
int native__value_wait(struct native__client *c, struct native__value *v,
                       int64_t deadline, struct raywf_error *err);

#endif
