/* SPDX-License-Identifier: Apache-2.0
 *
 * What a call gives back to its client, as frames in the ring: the reply with all values
 * or an error, and the values of a stream, one by one, as the client has room for them.
 */
#include "config.h"

#include <string.h>

#include "native/call_impl.h"
#include "native/copy.h"

/* --- the reply --- */

/* Passes a reference of an object on to the client. */
static store_object hand(struct raywf_call *c, store_object o)
{
    /* When the client is gone nobody reads the message either. */
    (void)store_object_hand(c->store, o, c->peer->slot);
    return o;
}

static size_t reply_size(const struct raywf_call *c, size_t i)
{
    if (i >= c->value_count || !c->values[i].status)
        return 0;
    return sizeof(struct native_reply) +
           (c->values[i].type ? strlen(c->values[i].type) : 0);
}

static size_t items_size(const struct raywf_call *c)
{
    size_t size = 0;

    for (int32_t i = 0; i < native__call_returned(c); i++) {
        size += sizeof(struct native_item);
        if ((size_t)i < c->value_count && !c->values[i].object)
            size += native_pad(c->values[i].size);
        if (c->replies)
            size += sizeof(struct native_item) + native_pad(reply_size(c, (size_t)i));
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

static void put_reply(const struct raywf_call *c, size_t i, char **at)
{
    char buf[sizeof(struct native_reply) + NATIVE_TYPE_MAX];
    const size_t size = reply_size(c, i);

    if (size > 0) {
        const struct native_reply r = {c->values[i].status,
                                       (uint32_t)(size - sizeof(r))};
        memcpy(buf, &r, sizeof(r));
        if (r.len)
            memcpy(buf + sizeof(r), c->values[i].type, r.len);
    }
    *at = put_item(*at, buf, size, 0);
}

static void put_items(struct raywf_call *c, char *at)
{
    for (int32_t i = 0; i < native__call_returned(c); i++) {
        const struct native__given none = {0};
        const struct native__given *v =
            (size_t)i < c->value_count ? &c->values[i] : &none;
        at = put_item(at, v->data, v->size, v->object ? hand(c, v->object) : 0);
    }
    for (int32_t i = 0; c->replies && i < native__call_returned(c); i++)
        put_reply(c, (size_t)i, &at);
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
    char *data = native__call_object(c, size, &ret->object);

    if (!data)
        return -1;
    ret->size = size;
    put_items(c, data);
    return native__call_object_seal(c, ret->object, size);
}

void native__call_reply(struct raywf_call *c, uint64_t ns)
{
    const size_t size = c->code == RAYWF_OK ? items_size(c) : 0;
    struct native_done done = {.msg = {NATIVE_DONE, 0, c->msg.epoch, c->msg.task},
                               .count = (uint32_t)native__call_returned(c),
                               .ns = ns};
    struct native_item packed;
    const bool pack = sizeof(done) + size > STORE_FRAME_MAX / 2;

    if (c->replies)
        done.msg.flags = NATIVE_REPLIES;
    if (c->code == RAYWF_OK && pack && reply_packed(c, size, &packed) == 0)
        done.msg.flags |= NATIVE_PACKED;
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
        void *copy = native__call_object(c, size, &o);
        if (!copy)
            return -1;
        native__copy(copy, data, size);
        if (native__call_object_seal(c, o, size) < 0)
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
    if (c->replies)
        return native__call_fail(c, RAYWF_E_ARGUMENT,
                                 "%s: yields, but has replied: that is its answer",
                                 c->function);
    if (c->cancelled(c->worker))
        return native__call_fail(c, RAYWF_E_CANCELLED, "%s: cancelled", c->function);
    native__gate_return(c->gate);
    int result = yield(c, data, size);
    if (store_ring_dirty(c->peer->ring))
        native__gate_leave(c->gate);
    return result;
}
