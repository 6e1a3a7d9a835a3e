/* SPDX-License-Identifier: Apache-2.0
 *
 * Arguments of a call. Small bytes are copied; large ones become a value of ours in the
 * store, passed by reference, so that the one mechanism holds, rebuilds and drops both.
 */
#include "config.h"
#include "native/args.h"
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "native/remote.h"
#include "native/values.h"

static void take(struct native__args *a, struct native__value *v)
{
    *RWF_PUSH(a->refs, a->ref_count, a->ref_cap) = native__value_index(v);
    a->flags |= NATIVE__HAS_REFS;
    a->bytes += sizeof(struct native_item);
    if (!native__value_ready(v) || v->state == NATIVE__FAILED)
        a->pending = true;
}

static int by_reference(struct native__client *c, struct native__args *a, size_t i,
                        struct raywf_error *err)
{
    struct raywf_ref ref = a->args[i].ref;
    struct native__value *v;
    if (ref.owner == c->id) {
        v = native__value_find(c, ref.id);
        if (!v)
            return native__fail(
                err, RAYWF_E_ARGUMENT,
                "argument %zu: there is no such ref; it was dropped "
                "before this call: drop it afterwards, or raywf_retain it",
                i);
        if (v->flags & NATIVE__STREAMED)
            return native__fail(
                err, RAYWF_E_ARGUMENT,
                "argument %zu is a stream: pass the refs that raywf_next "
                "gives",
                i);
        v->refs++;
    } else if (!ref.owner) {
        return native__fail(err, RAYWF_E_ARGUMENT,
                            "argument %zu is neither bytes nor a ref", i);
    } else {
        v = native__borrow(c, ref);
    }
    take(a, v);
    return 0;
}

static int one(struct native__client *c, struct native__args *a, size_t i,
               struct raywf_error *err)
{
    const struct raywf_arg *arg = &a->args[i];
    if (!arg->data && (arg->ref.owner || arg->size))
        return by_reference(c, a, i, err);
    if (arg->size <= RAYWF_INLINE_MAX) {
        a->bytes += sizeof(struct native_item) + native_pad(arg->size);
        return 0;
    }
    native__unlock(c);
    struct native__value *v = native__put_object(c, arg->data, arg->size, err);
    native__lock(c);
    if (!v)
        return -1;
    take(a, v);
    return 0;
}

int native__args_prepare(struct native__client *c, struct native__args *a,
                         struct raywf_error *err)
{
    if (a->count > RAYWF_ARGS_MAX)
        return native__fail(err, RAYWF_E_ARGUMENT,
                            "%zu arguments: a call has at most %d; put what belongs "
                            "together into one value",
                            a->count, RAYWF_ARGS_MAX);
    for (size_t i = 0; i < a->count; i++) {
        if (one(c, a, i, err) == 0)
            continue;
        for (size_t k = 0; k < a->ref_count; k++)
            native__value_unref(c, native__value_at(c, a->refs[k]));
        free(a->refs);
        return -1;
    }
    return 0;
}

void native__args_write(struct native__client *c, struct native__args *a, void *to)
{
    (void)c;
    char *at = to;
    size_t ref = 0;
    for (size_t i = 0; i < a->count; i++) {
        const struct raywf_arg *arg = &a->args[i];
        struct native_item *item = (struct native_item *)(void *)at;
        at += sizeof(*item);
        if (arg->size > RAYWF_INLINE_MAX || (!arg->data && arg->ref.owner)) {
            *item = (struct native_item){a->refs[ref++], NATIVE__REF};
            continue;
        }
        *item = (struct native_item){arg->size, 0};
        if (arg->size)
            memcpy(at, arg->data, arg->size);
        at += native_pad(arg->size);
    }
    free(a->refs);
}
