/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls into rings. Arguments by reference are resolved here, at the last moment: small
 * values are copied into the frame, objects are named. A call that is too large for a
 * frame is first put together in an object, by the thread of the pump.
 */
#include "config.h"
#include "native/internal.h"
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "native/args.h"
#include "native/lineage.h"
#include "native/near.h"
#include "native/values.h"

void native__flush(struct native__line *l)
{
    l->unflushed = 0;
    store_ring_flush(l->ring);
}

/* --- functions by number --- */

static bool is_named(const struct native__line *l, uint32_t function)
{
    return function / 64 < l->named_words &&
           (l->named[function / 64] >> (function % 64) & 1);
}

static int name_function(struct native__client *c, struct native__line *l,
                         uint32_t function)
{
    const char *name = native__function_name(c, function);
    size_t len = strlen(name);
    struct native_name *m = store_ring_reserve(l->ring, native_pad(sizeof(*m) + len));
    if (!m)
        return 0;
    *m = (struct native_name){
        .msg = {.type = NATIVE_NAME}, .function = function, .len = (uint32_t)len};
    memcpy(m + 1, name, len);
    store_ring_commit(l->ring);
    while (function / 64 >= l->named_words) {
        l->named = rwf_xrealloc(l->named, (l->named_words + 1) * sizeof(uint64_t));
        l->named[l->named_words++] = 0;
    }
    l->named[function / 64] |= UINT64_C(1) << (function % 64);
    return 1;
}

/* --- arguments --- */

static const void *bytes_of(const struct native__value *v)
{
    return v->state == NATIVE__TINY ? (const void *)v->tiny : v->bytes;
}

/* Bytes of the items; -1: an argument is not there (any more). */
static int64_t resolved_size(struct native__client *c, struct native__task *t)
{
    if (!(t->flags & NATIVE__HAS_REFS))
        return t->arg_bytes;
    int64_t size = 0;
    struct native__arg_walk w = native__args_of(t);
    struct native_item *item;
    while ((item = native__args_next(&w))) {
        size += (int64_t)sizeof(*item);
        if (item->object != NATIVE__REF) {
            size += (int64_t)native_pad(item->size);
            continue;
        }
        struct native__value *v = native__value_at(c, (uint32_t)item->size);
        if (v->state == NATIVE__STORED) {
            if (native__present(c, v) < 0)
                return -1;
        } else if (v->state == NATIVE__TINY || v->state == NATIVE__BYTES) {
            size += (int64_t)native_pad(v->size);
        } else {
            return -1;
        }
    }
    return size;
}

static void write_items(struct native__client *c, struct native__task *t, char *to)
{
    if (!(t->flags & NATIVE__HAS_REFS)) {
        memcpy(to, native__task_args(t), t->arg_bytes);
        return;
    }
    struct native__arg_walk w = native__args_of(t);
    struct native_item *item;
    while ((item = native__args_next(&w))) {
        struct native_item *out = (struct native_item *)(void *)to;
        const void *bytes = item + 1;
        *out = *item;
        if (item->object == NATIVE__REF) {
            struct native__value *v = native__value_at(c, (uint32_t)item->size);
            out->size = v->size;
            out->object = v->state == NATIVE__STORED ? v->object : 0;
            bytes = bytes_of(v);
        }
        to += sizeof(*out);
        if (!out->object) {
            memcpy(to, bytes, out->size);
            to += native_pad(out->size);
        }
    }
}

/* --- packing --- */

struct packing {
    struct native__job job;
    struct native__task *task;
    size_t size;
};

static void pack_done(struct native__client *c, struct native__task *t,
                      struct native__value *v, struct raywf_error *err)
{
    t->missing--;
    if (t->flags & NATIVE__GONE) {
        if (v)
            native__value_unref(c, v);
        if (!t->missing)
            native__task_free(c, t);
        return;
    }
    if (!v) {
        native__task_fail(c, t, err->code, err->text);
        return;
    }
    t->packed = native__value_index(v);
    t->flags |= NATIVE__PACK;
    if (t->place == NATIVE__HELD)
        native__lane_queue(c, t->lane, t, true);
    else /* it has kept its place in an ordered lane */
        native__lane_fill(c, t->lane);
}

/* The items, copied with the lock; NULL: no memory, or an argument has just been lost.
 */
static char *copy_items(struct native__client *c, struct packing *p,
                        struct raywf_error *err)
{
    struct rwf_err why;
    char *bytes = rwf_alloc(p->size, &why);
    if (!bytes) {
        native__fail(err, RAYWF_E_RUNTIME, "arguments: %s", why.text);
        return NULL;
    }
    native__lock(c);
    bool same = resolved_size(c, p->task) == (int64_t)p->size;
    if (same)
        write_items(c, p->task, bytes);
    native__unlock(c);
    if (same)
        return bytes;
    native__fail(err, RAYWF_E_LOST, "an argument was lost while the call was prepared");
    free(bytes);
    return NULL;
}

static void pack(struct native__client *c, struct native__job *j)
{
    struct packing *p = (struct packing *)j;
    struct raywf_error err;
    char *bytes = copy_items(c, p, &err);
    struct native__value *v =
        bytes ? native__put_object(c, bytes, p->size, &err) : NULL;
    free(bytes);
    native__lock(c);
    pack_done(c, p->task, v, &err);
    native__unlock(c);
    free(p);
}

static void start_packing(struct native__client *c, struct native__task *t, size_t size)
{
    if (!t->lane->ordered) {
        native__list_remove(&t->lane->queue, t);
        t->place = NATIVE__HELD;
    }
    t->missing = 1;
    struct packing *p = rwf_xmalloc(sizeof(*p));
    *p = (struct packing){.job = {.fn = pack}, .task = t, .size = size};
    native__job_add(c, &p->job);
}

/* --- calls --- */

static struct native_call *begin_call(struct native__line *l, struct native__task *t,
                                      size_t item_bytes)
{
    struct native_call *m = store_ring_reserve(l->ring, sizeof(*m) + item_bytes);
    if (!m)
        return NULL;
    *m = (struct native_call){
        .msg = {.type = NATIVE_CALL, .epoch = t->epoch, .task = t->id},
        .function = t->function,
        .attempt = t->attempt,
        .credit = t->policy->credit,
        .returns = t->policy->returns,
        .arg_count = t->arg_count,
    };
    return m;
}

static int send_packed(struct native__client *c, struct native__line *l,
                       struct native__task *t)
{
    struct native__value *v = native__value_at(c, t->packed);
    if (native__present(c, v) < 0) { /* its store is gone: put together again */
        t->flags &= (uint8_t)~NATIVE__PACK;
        native__value_unref(c, v);
        return native__send(c, l, t);
    }
    struct native_call *m = begin_call(l, t, sizeof(struct native_item));
    if (!m)
        return 0;
    m->msg.flags = NATIVE_PACKED;
    *(struct native_item *)(void *)(m + 1) = (struct native_item){v->size, v->object};
    return 1;
}

static int send_plain(struct native__client *c, struct native__line *l,
                      struct native__task *t)
{
    int64_t size = resolved_size(c, t);
    if (size < 0) {
        if (!t->lane->ordered)
            native__list_remove(&t->lane->queue, t);
        t->missing = 0;
        native__hold(c, t);
        return -1;
    }
    if (sizeof(struct native_call) + (size_t)size > STORE_FRAME_MAX) {
        start_packing(c, t, (size_t)size);
        return -1;
    }
    struct native_call *m = begin_call(l, t, (size_t)size);
    if (!m)
        return 0;
    write_items(c, t, (char *)(m + 1));
    if (l->at && t->flags & NATIVE__HAS_REFS)
        native__near_sent(c, l->at, t);
    return 1;
}

static void watch_time(struct native__client *c, struct native__line *l,
                       struct native__task *t)
{
    if (t->policy->timeout)
        native__line_watch(c, l, t->policy->timeout);
}

static int send_resume(struct native__line *l)
{
    struct native_msg *m = store_ring_reserve(l->ring, sizeof(*m));
    if (!m)
        return 0;
    *m = (struct native_msg){.type = NATIVE_RESUME};
    store_ring_commit(l->ring);
    l->resume = false;
    return 1;
}

int native__send(struct native__client *c, struct native__line *l,
                 struct native__task *t)
{
    if (l->resume && !send_resume(l))
        return 0;
    if (!is_named(l, t->function) && !name_function(c, l, t->function))
        return 0;
    int rc = t->flags & NATIVE__PACK ? send_packed(c, l, t) : send_plain(c, l, t);
    if (rc <= 0)
        return rc;
    store_ring_commit(l->ring);
    native__list_remove(&l->lane->queue, t);
    native__list_push(&l->flight, t);
    l->lane->in_flight++;
    t->place = NATIVE__SENT;
    t->line = l;
    watch_time(c, l, t);
    return 1;
}
