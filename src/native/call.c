/* SPDX-License-Identifier: Apache-2.0
 *
 * The functions of raywf.h that a plugin calls while a call of it runs, and what the
 * worker does before and after. What goes back to the client is in reply.c.
 *
 * Small values lie in scratch memory until the reply is written, large ones in objects
 * of the store. Memory that a function fills itself (raywf_return_create) is followed
 * by a red zone: the store's, or one here.
 */
#include "config.h"

#include "native/call_impl.h"

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

/* From another node: what its objects are called here. */
static int rename_args(struct raywf_call *c, const char *at, size_t rest)
{
    for (size_t i = 0; i < c->arg_count; i++)
        if (c->args[i].object && native_moved(&at, &rest, &c->args[i].object) < 0)
            return -1;
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
    if (parse_items(c, data, data + size, c->arg_count) < 0 ||
        (c->msg.flags & NATIVE_MOVED &&
         rename_args(c, at + sizeof(item), len - sizeof(item)) < 0)) {
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
    c->replies = false;
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
    if (c->returns == RAYWF_STREAM && !c->replies) {
        native__call_fail(c, RAYWF_E_ARGUMENT,
                          "%s: is called as a stream: it gives values with raywf_yield",
                          c->function);
        return NULL;
    }
    if (i >= (size_t)native__call_returned(c)) {
        native__call_fail(
            c, RAYWF_E_ARGUMENT,
            "%s: gives value %zu, but was submitted for %d (the first is 0)",
            c->function, i, native__call_returned(c));
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

void *native__call_object(struct raywf_call *c, size_t size, store_object *ret)
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

int native__call_object_seal(struct raywf_call *c, store_object o, size_t size)
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
        v->data = native__call_object(c, size, &v->object);
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

/* A type goes into a header: nothing in it may end that. */
static bool is_type(const char *type)
{
    size_t len = strlen(type);

    if (len == 0 || len > NATIVE_TYPE_MAX)
        return false;
    for (size_t i = 0; i < len; i++)
        if (type[i] < ' ' || type[i] > '~')
            return false;
    return true;
}

int raywf_reply(struct raywf_call *c, size_t i, int status, const char *content_type,
                const void *data, size_t size)
{
    if (status < 200 || status > 599)
        return native__call_fail(c, RAYWF_E_ARGUMENT,
                                 "%s: replies with status %d; 200 to 599 are possible",
                                 c->function, status);
    if (content_type && !is_type(content_type))
        return native__call_fail(c, RAYWF_E_ARGUMENT,
                                 "%s: the content type of a reply is 1 to %d printable "
                                 "ASCII characters",
                                 c->function, NATIVE_TYPE_MAX);
    if (c->returns == RAYWF_STREAM && c->yielded > 0)
        return native__call_fail(c, RAYWF_E_ARGUMENT,
                                 "%s: replies, but has yielded: its status is sent",
                                 c->function);
    c->replies = true;
    if (raywf_return(c, i, data, size) < 0)
        return -1;
    struct native__given *v = &c->values[i];
    v->status = (uint16_t)status;
    if (content_type) {
        size_t len = strlen(content_type) + 1;
        v->type = memcpy(scratch_take(&c->scratch, len), content_type, len);
    }
    return 0;
}

void *raywf_return_create(struct raywf_call *c, size_t i, size_t size)
{
    struct native__given *v = value_slot(c, i);

    if (!v)
        return NULL;
    if (size > RAYWF_INLINE_MAX) {
        v->data = native__call_object(c, size, &v->object);
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
        } else if (native__call_object_seal(c, v->object, v->size) < 0) {
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
