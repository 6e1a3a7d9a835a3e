/* SPDX-License-Identifier: Apache-2.0
 *
 * Refs that other clients own: the owner is asked through the node, once, and the
 * answer lies in an entry of ours like any other value.
 */
#ifndef RWF_NATIVE_REMOTE_H
#define RWF_NATIVE_REMOTE_H
#include "native/internal.h"

/* The entry for ref, with a reference more; asks when there was none. */
struct native__value *native__borrow(struct native__client *c, struct raywf_ref ref);
/* The entry for ref if there is one: no reference more. */
struct native__value *native__borrowed(struct native__client *c, struct raywf_ref ref);
/* Its last reference goes. */
void native__borrow_drop(struct native__client *c, struct native__value *v);
/* Another client asks for a value of ours; one of ours was told. With the lock. */
void native__asked(struct native__client *c, const Wire__Ask *m);
void native__told(struct native__client *c, const Wire__Tell *m);
/* The node is gone: what was asked is asked again. */
void native__borrow_again(struct native__client *c);
void native__borrows_free(struct native__client *c);

#endif
