/* SPDX-License-Identifier: Apache-2.0
 *
 * The functions of raywf.h that a plugin calls while a call of it runs, and what the
 * worker does before and after.
 *
 * Small values lie in scratch memory until the reply is written, large ones in objects
 * of the store. Memory that a function fills itself (raywf_return_create) is followed
 * by a red zone: the store's, or one here.
 */
#include "config.h"

#include "native/call.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "native/copy.h"

#define CHUNK ((size_t)256 << 10)
#define RED_ZONE 16
#define RED_BYTE 0xa5

int native__call_fail(struct raywf_call *c, int code, const char *fmt, ...)
{
    va_list ap;

    if (c->code == RAYWF_OK) {
        c->code = code;
        va_start(ap, fmt);
        vsnprintf(c->text, sizeof(c->text), fmt, ap);
        va_end(ap);
    }
    return -1;
}

/* --- memory for small values --- */

static void *scratch_take(struct native__scratch *s, size_t size)
{
    size = native_pad(size ? size : 1);
    if (size > s->size - s->used) {
        if (s->chunk)
            *RWF_PUSH(s->old, s->old_count, s->old_cap) = s->chunk;
        s->size = size > CHUNK ? size : CHUNK;
        s->chunk = rwf_xmalloc(s->size);
        s->used = 0;
    }
    void *got = s->chunk + s->used;
    s->used += size;
    return got;
}

static void scratch_reset(struct native__scratch *s)
{
    for (size_t i = 0; i < s->old_count; i++)
        free(s->old[i]);
    s->old_count = 0;
    s->used = 0;
    if (s->size > CHUNK) {
        free(s->chunk);
        s->chunk = NULL;
        s->size = 0;
    }
}

/* --- arguments --- */

/* Takes the items in [at, end) apart. -1: they do not lie in there. */
static int parse_items(struct raywf_call *c, const char *at, const char *end,
                       size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct native_item item;
        if ((size_t)(end - at) < sizeof(item))
            return -1;
        memcpy(&item, at, sizeof(item));
        at += sizeof(item);
        struct native__given *a = &c->args[i];
        *a = (struct native__given){.size = item.size, .object = item.object};
        if (item.object)
            continue;
        if (item.size > (size_t)(end - at))
            return -1;
        a->data = (void *)(uintptr_t)at;
        size_t padded = native_pad(item.size);
        at += padded < (size_t)(end - at) ? padded : (size_t)(end - at);
    }
    return 0;
}

static const void *pin(struct raywf_call *c, store_object o, const char *what,
                       size_t *ret_size)
{
    struct rwf_err err = RWF_ERR_INIT;
    const void *data = store_object_pin(c->store, o, INT64_MAX, ret_size, &err);

    if (!data)
        native__call_fail(c, RAYWF_E_LOST, "%s cannot be read: %s", what, err.text);
    return data;
}

static int pin_args(struct raywf_call *c)
{
    for (size_t i = 0; i < c->arg_count; i++) {
        struct native__given *a = &c->args[i];
        char what[40];
        if (!a->object)
            continue;
        snprintf(what, sizeof(what), "argument %zu", i);
        a->data = (void *)(uintptr_t)pin(c, a->object, what, &a->size);
        if (!a->data)
            return -1;
    }
    return 0;
}

static int open_packed(struct raywf_call *c, const char *at, size_t len,
                       bool *ret_broken)
{
    struct native_item item;
    size_t size;

    if (len < sizeof(item)) {
        *ret_broken = true;
        return -1;
    }
    memcpy(&item, at, sizeof(item));
    const char *data = pin(c, item.object, "the arguments", &size);
    if (!data)
        return -1;
    c->packed = item.object;
    if (parse_items(c, data, data + size, c->arg_count) < 0) {
        *ret_broken = true;
        c->arg_count = 0;
        return -1;
    }
    return pin_args(c);
}

int native__call_open(struct raywf_call *c, const struct native_call *frame,
                      size_t size, bool *ret_broken)
{
    const char *at = (const char *)(frame + 1);

    *ret_broken = false;
    c->arg_count = c->value_count = 0;
    c->code = RAYWF_OK;
    c->yielded = 0;
    c->packed = 0;
    if (size < sizeof(*frame) || frame->arg_count > RAYWF_ARGS_MAX ||
        frame->returns < RAYWF_STREAM || frame->returns > RAYWF_RETURNS_MAX) {
        *ret_broken = true;
        return -1;
    }
    c->msg = frame->msg;
    c->attempt = frame->attempt;
    c->returns = frame->returns;
    while (c->arg_cap < frame->arg_count)
        c->args = rwf_grow(c->args, c->arg_cap, &c->arg_cap, sizeof(*c->args));
    if (frame->msg.flags & NATIVE_PACKED) {
        c->arg_count = frame->arg_count;
        memset(c->args, 0, c->arg_count * sizeof(*c->args));
        return open_packed(c, at, size - sizeof(*frame), ret_broken);
    }
    if (parse_items(c, at, (const char *)frame + size, frame->arg_count) < 0) {
        *ret_broken = true;
        return -1;
    }
    c->arg_count = frame->arg_count;
    return pin_args(c);
}

size_t raywf_arg_count(const struct raywf_call *c)
{
    return c->arg_count;
}

const void *raywf_arg(const struct raywf_call *c, size_t i, size_t *ret_size)
{
    if (i >= c->arg_count) {
        if (ret_size)
            *ret_size = 0;
        return NULL;
    }
    if (ret_size)
        *ret_size = c->args[i].size;
    return c->args[i].data;
}

/* --- values --- */

static void value_clear(struct raywf_call *c, struct native__given *v)
{
    if (v->object && v->open)
        store_object_abort(c->store, v->object);
    else if (v->object)
        store_object_drop(c->store, v->object);
    *v = (struct native__given){0};
}

/* The i-th value to be set, empty; NULL: there is none. */
static struct native__given *value_slot(struct raywf_call *c, size_t i)
{
    if (c->returns == RAYWF_STREAM) {
        native__call_fail(c, RAYWF_E_ARGUMENT,
                          "%s: is called as a stream: it gives values with raywf_yield",
                          c->function);
        return NULL;
    }
    if (i >= (size_t)c->returns) {
        native__call_fail(
            c, RAYWF_E_ARGUMENT,
            "%s: gives value %zu, but was submitted for %d (the first is 0)",
            c->function, i, c->returns);
        return NULL;
    }
    while (c->value_cap <= i)
        c->values =
            rwf_grow(c->values, c->value_cap, &c->value_cap, sizeof(*c->values));
    while (c->value_count <= i)
        c->values[c->value_count++] = (struct native__given){0};
    struct native__given *v = &c->values[i];
    if (v->data)
        value_clear(c, v);
    return v;
}

static void *object_create(struct raywf_call *c, size_t size, store_object *ret)
{
    struct rwf_err err = RWF_ERR_INIT;
    void *data = store_object_create(c->store, size, INT64_MAX, ret, &err);

    if (!data)
        native__call_fail(c, err.code == ENOSPC ? RAYWF_E_FIT : RAYWF_E_RUNTIME,
                          "%s: a value of %zu bytes: %s", c->function, size, err.text);
    return data;
}

static int overrun(struct raywf_call *c, size_t size)
{
    c->code = RAYWF_OK; /* whatever it was, it came of this */
    c->recycle = true;  /* who knows what else it wrote to */
    return native__call_fail(
        c, RAYWF_E_OVERRUN,
        "function '%s' of plugin %s wrote outside of a value of %zu "
        "bytes that it was to fill",
        c->function, c->plugin, size);
}

static int object_seal(struct raywf_call *c, store_object o, size_t size)
{
    struct rwf_err err = RWF_ERR_INIT;

    if (store_object_seal(c->store, o, &err) == 0)
        return 0;
    if (err.code == EFAULT)
        return overrun(c, size);
    return native__call_fail(c, RAYWF_E_RUNTIME, "%s: %s", c->function, err.text);
}

int raywf_return(struct raywf_call *c, size_t i, const void *data, size_t size)
{
    struct native__given *v = value_slot(c, i);

    if (!v)
        return -1;
    if (size > RAYWF_INLINE_MAX) {
        v->data = object_create(c, size, &v->object);
        if (!v->data)
            return -1;
        native__copy(v->data, data, size);
        v->open = true;
    } else {
        v->data = scratch_take(&c->scratch, size);
        if (size > 0)
            memcpy(v->data, data, size);
    }
    v->size = size;
    return 0;
}

void *raywf_return_create(struct raywf_call *c, size_t i, size_t size)
{
    struct native__given *v = value_slot(c, i);

    if (!v)
        return NULL;
    if (size > RAYWF_INLINE_MAX) {
        v->data = object_create(c, size, &v->object);
        if (!v->data)
            return NULL;
    } else {
        v->data = scratch_take(&c->scratch, size + RED_ZONE);
        memset((char *)v->data + size, RED_BYTE, RED_ZONE);
    }
    v->size = size;
    v->open = true;
    return v->data;
}

static bool red_zone_whole(const struct native__given *v)
{
    const unsigned char *zone = (const unsigned char *)v->data + v->size;

    for (size_t i = 0; i < RED_ZONE; i++)
        if (zone[i] != RED_BYTE)
            return false;
    return true;
}

void native__call_seal(struct raywf_call *c)
{
    for (size_t i = 0; i < c->value_count; i++) {
        struct native__given *v = &c->values[i];
        if (!v->open)
            continue;
        v->open = false;
        if (!v->object) {
            if (!red_zone_whole(v))
                overrun(c, v->size);
        } else if (object_seal(c, v->object, v->size) < 0) {
            v->object = 0; /* a damaged one is freed already */
        }
    }
}

void native__call_complete(struct raywf_call *c)
{
    int32_t given = 0;

    if (c->returns <= 1)
        return;
    for (size_t i = 0; i < c->value_count; i++)
        given += c->values[i].data != NULL;
    if (given < c->returns)
        native__call_fail(c, RAYWF_E_FAILED,
                          "%s: gave %d values, but was submitted for %d (raywf_return)",
                          c->function, given, c->returns);
}

void native__call_close(struct raywf_call *c)
{
    for (size_t i = 0; i < c->value_count; i++)
        if (c->values[i].object)
            value_clear(c, &c->values[i]);
    c->value_count = 0;
    for (size_t i = 0; i < c->arg_count; i++)
        if (c->args[i].object && c->args[i].data)
            store_object_unpin(c->store, c->args[i].object);
    c->arg_count = 0;
    if (c->packed)
        store_object_unpin(c->store, c->packed);
    c->packed = 0;
    if (c->scratch.used > 0 || c->scratch.old_count > 0)
        scratch_reset(&c->scratch);
}

void native__call_free(struct raywf_call *c)
{
    scratch_reset(&c->scratch);
    free(c->scratch.chunk);
    free(c->scratch.old);
    free(c->args);
    free(c->values);
}

/* --- the reply --- */

/* Passes a reference of an object on to the client. */
static store_object hand(struct raywf_call *c, store_object o)
{
    /* When the client is gone nobody reads the message either. */
    (void)store_object_hand(c->store, o, c->peer->slot);
    return o;
}

static size_t items_size(const struct raywf_call *c)
{
    size_t size = 0;

    for (int32_t i = 0; i < c->returns; i++) {
        size += sizeof(struct native_item);
        if ((size_t)i < c->value_count && !c->values[i].object)
            size += native_pad(c->values[i].size);
    }
    return size;
}

static char *put_item(char *at, const void *data, size_t size, store_object o)
{
    const struct native_item item = {size, o};

    memcpy(at, &item, sizeof(item));
    at += sizeof(item);
    if (o == 0 && size > 0) {
        memcpy(at, data, size);
        at += native_pad(size);
    }
    return at;
}

static void put_items(struct raywf_call *c, char *at)
{
    for (int32_t i = 0; i < c->returns; i++) {
        const struct native__given none = {0};
        const struct native__given *v =
            (size_t)i < c->value_count ? &c->values[i] : &none;
        at = put_item(at, v->data, v->size, v->object ? hand(c, v->object) : 0);
    }
}

static void reply_error(struct native__peer *p, const struct native_msg *m, int code,
                        const char *text, uint64_t ns)
{
    size_t len = strlen(text);
    struct native_done *d = native__peer_reserve(
        p, sizeof(*d) + sizeof(struct native_item) + native_pad(len));

    if (!d)
        return;
    *d = (struct native_done){
        .msg = {NATIVE_DONE, 0, m->epoch, m->task}, .code = code, .count = 1, .ns = ns};
    put_item((char *)(d + 1), text, len, 0);
    store_ring_commit(p->ring);
}

void native__call_refuse(struct native__peer *p, const struct native_msg *m, int code,
                         const char *text)
{
    reply_error(p, m, code, text, 0);
}

/* All values in one object, because they are too much for a frame. */
static int reply_packed(struct raywf_call *c, size_t size, struct native_item *ret)
{
    char *data = object_create(c, size, &ret->object);

    if (!data)
        return -1;
    ret->size = size;
    put_items(c, data);
    return object_seal(c, ret->object, size);
}

void native__call_reply(struct raywf_call *c, uint64_t ns)
{
    const size_t size = c->code == RAYWF_OK && c->returns > 0 ? items_size(c) : 0;
    struct native_done done = {.msg = {NATIVE_DONE, 0, c->msg.epoch, c->msg.task},
                               .count = c->returns > 0 ? (uint32_t)c->returns : 0,
                               .ns = ns};
    struct native_item packed;
    const bool pack = sizeof(done) + size > STORE_FRAME_MAX / 2;

    if (c->code == RAYWF_OK && pack && reply_packed(c, size, &packed) == 0)
        done.msg.flags = NATIVE_PACKED;
    if (c->code != RAYWF_OK) {
        reply_error(c->peer, &c->msg, c->code, c->text, ns);
        return;
    }
    char *room =
        native__peer_reserve(c->peer, sizeof(done) + (pack ? sizeof(packed) : size));
    if (room) {
        memcpy(room, &done, sizeof(done));
        if (pack)
            put_item(room + sizeof(done), NULL, packed.size, hand(c, packed.object));
        else
            put_items(c, room + sizeof(done));
        store_ring_commit(c->peer->ring);
    }
    if (pack)
        store_object_drop(c->store, packed.object);
}

/* --- streams --- */

static bool has_credit(struct raywf_call *c)
{
    native__peer_read_ahead(c->peer, SIZE_MAX);
    return c->yielded < c->peer->credit;
}

static int await_credit(struct raywf_call *c)
{
    if (has_credit(c))
        return 0;
    store_ring_flush(c->peer->ring);
    if (c->wait(c->worker, has_credit))
        return 0;
    return native__call_fail(c, RAYWF_E_CANCELLED,
                             "%s: nobody reads its values any more", c->function);
}

static int send_yield(struct raywf_call *c, const void *data, size_t size,
                      store_object o)
{
    const size_t inline_ = o ? 0 : native_pad(size);
    struct native_yield *y = native__peer_reserve(
        c->peer, sizeof(*y) + sizeof(struct native_item) + inline_);

    if (!y)
        return native__call_fail(c, RAYWF_E_CANCELLED, "%s: its client is gone",
                                 c->function);
    *y = (struct native_yield){.msg = {NATIVE_YIELD, 0, c->msg.epoch, c->msg.task},
                               .index = ++c->yielded};
    put_item((char *)(y + 1), data, size, o ? hand(c, o) : 0);
    store_ring_commit(c->peer->ring);
    store_ring_flush(c->peer->ring);
    return 0;
}

static int yield(struct raywf_call *c, const void *data, size_t size)
{
    store_object o = 0;
    int result;

    if (await_credit(c) < 0)
        return -1;
    if (size > RAYWF_INLINE_MAX) {
        void *copy = object_create(c, size, &o);
        if (!copy)
            return -1;
        native__copy(copy, data, size);
        if (object_seal(c, o, size) < 0)
            return -1;
    }
    result = send_yield(c, data, size, o);
    if (o)
        store_object_drop(c->store, o);
    return result;
}

int raywf_yield(struct raywf_call *c, const void *data, size_t size)
{
    if (c->returns != RAYWF_STREAM)
        return native__call_fail(
            c, RAYWF_E_ARGUMENT,
            "%s: yields, but was not submitted as a stream (returns: "
            "RAYWF_STREAM)",
            c->function);
    if (c->cancelled(c->worker))
        return native__call_fail(c, RAYWF_E_CANCELLED, "%s: cancelled", c->function);
    native__gate_return(c->gate);
    int result = yield(c, data, size);
    if (store_ring_dirty(c->peer->ring))
        native__gate_leave(c->gate);
    return result;
}

/* --- the rest --- */

int raywf_fail(struct raywf_call *c, const char *fmt, ...)
{
    va_list ap;

    if (c->code != RAYWF_OK && c->code != RAYWF_E_FAILED)
        return -1; /* the first cause counts: a value that could not be made */
    c->code = RAYWF_E_FAILED;
    int n = snprintf(c->text, sizeof(c->text), "%s: ", c->function);
    va_start(ap, fmt);
    vsnprintf(c->text + n, sizeof(c->text) - (size_t)n, fmt, ap);
    va_end(ap);
    return -1;
}

void *raywf_state(const struct raywf_call *c)
{
    return c->state;
}

bool raywf_cancelled(const struct raywf_call *c)
{
    return c->cancelled(c->worker);
}

int raywf_attempt(const struct raywf_call *c)
{
    return c->attempt;
}

void raywf_recycle(struct raywf_call *c)
{
    c->recycle = true;
}
