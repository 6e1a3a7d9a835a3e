/* SPDX-License-Identifier: Apache-2.0
 *
 * From the connections to the rings. A frame without objects goes straight into the
 * ring when nothing waits before it; any other is a parcel, which waits in the span's
 * line until its objects are here, and there is room.
 *
 * Objects of a call are held until it is done; a value is handed to the client. Packed
 * items name objects within an object: what those are here follows in the frame
 * (NATIVE_MOVED).
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "far/span_impl.h"

/* --- taking in --- */

static void acknowledge(struct far__span *s, size_t size)
{
    s->taken += size;
    if (s->taken - s->told < SPAN__ACK)
        return;
    s->told = s->taken;
    span__send(s, SPAN__ACKED, &s->taken, sizeof(s->taken));
    store_bell_ring(s->set->bell); /* it is flushed there */
}

/* false: there is no room now. */
static bool put(struct far__span *s, const void *frame, size_t size)
{
    const struct native_msg *m = frame;
    void *room = store_ring_reserve(s->ring, size);
    if (!room)
        return false;
    memcpy(room, frame, size);
    store_ring_commit(s->ring);
    if (s->side == SPAN_OF_WORKER && m->type == NATIVE_CALL) {
        s->calls++;
        span__watch(s->set);
    }
    return true;
}

void span__refuse(struct far__span *s, const struct native_msg *m, int code,
                  const char *text)
{
    char buf[sizeof(struct span__frame) + sizeof(struct native_done) +
             sizeof(struct native_item) + 256] = {0};
    size_t len = strnlen(text, 255), padded = native_pad(len);
    size_t size = sizeof(struct native_done) + sizeof(struct native_item) + padded;
    const struct span__frame head = {(uint32_t)size, 0};
    const struct native_done done = {
        .msg = {NATIVE_DONE, 0, m->epoch, m->task}, .code = code, .count = 1};
    const struct native_item item = {len, 0};
    char *at = buf;
    memcpy(at, &head, sizeof(head));
    memcpy(at += sizeof(head), &done, sizeof(done));
    memcpy(at += sizeof(done), &item, sizeof(item));
    memcpy(at + sizeof(item), text, len);
    s->sent += sizeof(head) + size;
    span__send(s, SPAN__FRAMES, buf, sizeof(head) + size);
    store_bell_ring(s->set->bell);
}

/* --- what calls hold --- */

static void give_back_all(struct far__spans *set, const store_object *o, size_t n)
{
    for (size_t i = 0; i < n; i++)
        peer_give_back(set->plane, o[i]);
}

void span__held_drop(struct far__span *s, const struct native_msg *m, bool all)
{
    struct span__held **at = &s->held;
    while (*at) {
        struct span__held *h = *at;
        if (!all && (h->task != m->task || h->epoch != m->epoch)) {
            at = &h->next;
            continue;
        }
        *at = h->next;
        give_back_all(s->set, h->locals, h->count);
        free(h->locals);
        free(h);
    }
}

static void hold(struct far__span *s, struct span__parcel *p)
{
    const struct native_msg *m = (const void *)p->frame;
    struct span__held *h = rwf_xmalloc(sizeof(*h));
    *h = (struct span__held){s->held, m->task, m->epoch, p->local_count, p->locals};
    s->held = h;
    p->locals = NULL;
    p->local_count = 0;
}

/* --- parcels --- */

static void parcel_free(struct span__parcel *p)
{
    give_back_all(p->span->set, p->locals, p->local_count);
    span__unref(p->span);
    free(p->locals);
    free(p->frame);
    free(p->text);
    free(p);
}

static struct span__parcel *parcel_add(struct far__span *s, const void *frame,
                                       size_t size)
{
    struct span__parcel *p = rwf_xcalloc(1, sizeof(*p));
    p->span = s;
    s->refs++;
    p->session = s->road->session;
    p->size = size;
    p->frame = rwf_xmalloc(size + 8);
    memcpy(p->frame, frame, size);
    TAILQ_INSERT_TAIL(&s->parcels, p, link);
    return p;
}

/* An object could not be had: the call is refused, or its result is an error. */
static void spoil(struct far__span *s, struct span__parcel *p)
{
    const struct native_msg m = *(const struct native_msg *)(const void *)p->frame;
    char text[240];
    size_t len =
        (size_t)snprintf(text, sizeof(text), "%s cannot be brought %s: %s",
                         s->side == SPAN_OF_WORKER ? "an argument" : "a result",
                         s->side == SPAN_OF_WORKER ? "to its node" : "here", p->text);
    if (s->side == SPAN_OF_WORKER) {
        span__refuse(s, &m, p->code == ENOENT ? RAYWF_E_LOST : RAYWF_E_RUNTIME, text);
        p->size = 0;
        return;
    }
    len = len < sizeof(text) ? len : sizeof(text) - 1;
    const struct native_done d = {.msg = {NATIVE_DONE, 0, m.epoch, m.task},
                                  .code = RAYWF_E_RUNTIME,
                                  .count = 1,
                                  .ns = 1};
    const struct native_item item = {len, 0};
    p->size = sizeof(d) + sizeof(item) + native_pad(len);
    p->frame = rwf_xrealloc(p->frame, p->size);
    memset(p->frame, 0, p->size);
    memcpy(p->frame, &d, sizeof(d));
    memcpy(p->frame + sizeof(d), &item, sizeof(item));
    memcpy(p->frame + sizeof(d) + sizeof(item), text, len);
}

static void hand_over(struct far__span *s, struct span__parcel *p)
{
    for (size_t i = 0; i < p->local_count; i++)
        (void)store_object_hand(s->set->store, p->locals[i], s->slot);
}

/* false: there is no room. */
static bool deliver(struct far__span *s, struct span__parcel *p)
{
    uint64_t task;
    if (p->end) {
        memcpy(&task, p->frame, sizeof(task));
        atomic_store(store_ring_word(s->ring, STORE_WORD_TASK), task);
        s->last_task = 0;
        span__over(s, p->frame + sizeof(task), p->size - sizeof(task));
        return true;
    }
    if (p->code && p->text)
        spoil(s, p);
    free(p->text);
    p->text = NULL;
    if (p->size) {
        if (s->side == SPAN_OF_CLIENT)
            hand_over(s, p);
        if (!put(s, p->frame, p->size))
            return false;
    }
    if (p->size && s->side == SPAN_OF_WORKER && p->local_count)
        hold(s, p);
    return true;
}

/* --- objects --- */

struct bringing {
    struct span__parcel *parcel;
    size_t at; /* of the item in the frame */
};

static void brought(void *ctx, store_object local, size_t size,
                    const struct rwf_err *err);

static void bring_one(struct span__parcel *p, size_t at, store_object theirs)
{
    struct far__span *s = p->span;
    struct bringing *b = rwf_xmalloc(sizeof(*b));
    *b = (struct bringing){p, at};
    p->waits++;
    peer_fetch(s->set->plane, p->session, theirs,
               s->side == SPAN_OF_CLIENT ? PEER_LENT : 0, brought, b);
}

static int bring(void *ctx, struct native_item *item)
{
    struct span__parcel *p = ctx;
    bring_one(p, (size_t)((char *)item - p->frame), item->object);
    return 0;
}

static int count_one(void *ctx, struct native_item *item)
{
    (void)item;
    ++*(size_t *)ctx;
    return 0;
}

static int append_one(void *ctx, struct native_item *item)
{
    struct span__parcel *p = ctx;
    const struct native_item moved = {item->object, 0};
    memcpy(p->frame + p->size, &moved, sizeof(moved));
    p->size += sizeof(moved);
    return 0;
}

static int refuse_one(void *ctx, struct native_item *item)
{
    struct span__parcel *p = ctx;
    peer_refuse(p->span->set->plane, p->session, item->object);
    return 0;
}

/* The objects that its packed object names are wanted (or not), too. */
static int unpack(struct span__parcel *p, uint32_t count, bool wanted)
{
    struct store *store = p->span->set->eyes;
    struct native_msg *m = (void *)p->frame;
    size_t bytes, moved = 0, first = p->size;
    const void *data = store_object_pin(store, p->locals[0], 0, &bytes, NULL);
    if (!data)
        return -1;
    int rc = span__packed(data, bytes, count, wanted ? count_one : refuse_one,
                          wanted ? (void *)&moved : p);
    if (rc == 0 && moved &&
        p->size + moved * sizeof(struct native_item) > STORE_FRAME_MAX)
        rc = -1;
    if (rc == 0 && moved) {
        p->frame = rwf_xrealloc(p->frame, p->size + moved * sizeof(struct native_item));
        m = (void *)p->frame;
        m->flags |= NATIVE_MOVED;
        rc = span__packed(data, bytes, count, append_one, p);
    }
    store_object_unpin(store, p->locals[0]);
    for (size_t at = first; rc == 0 && at < p->size; at += sizeof(struct native_item))
        bring_one(p, at,
                  ((const struct native_item *)(const void *)(p->frame + at))->size);
    return rc;
}

/* false: more is to come. */
static bool stow(struct span__parcel *p)
{
    uint32_t count = p->end ? 0 : span__packed_count(p->frame, p->size);
    p->stowed = true;
    if (count && !p->code && p->local_count == 1 && unpack(p, count, true) < 0) {
        p->code = EPROTO;
        p->text = rwf_xstrdup("it holds too many large values, or is damaged");
    }
    return p->waits == 0;
}

/* Nobody wants it: what was lent for it goes back. */
static void parcel_end(struct span__parcel *p)
{
    uint32_t count = p->end || p->stowed ? 0 : span__packed_count(p->frame, p->size);
    if (p->dead && count && p->local_count == 1 && p->span->side == SPAN_OF_CLIENT)
        (void)unpack(p, count, false);
    parcel_free(p);
}

void span__advance(struct far__span *s)
{
    struct span__parcel *p;
    while ((p = TAILQ_FIRST(&s->parcels)) && !s->broken) {
        if (p->waits || (!p->stowed && !stow(p)) || !deliver(s, p))
            break;
        TAILQ_REMOVE(&s->parcels, p, link);
        acknowledge(s, p->weight);
        parcel_free(p);
    }
    store_ring_flush(s->ring);
}

void span__parcels_drop(struct far__span *s)
{
    struct span__parcel *p;
    while ((p = TAILQ_FIRST(&s->parcels))) {
        TAILQ_REMOVE(&s->parcels, p, link);
        p->dead = true;
        if (!p->waits)
            parcel_end(p);
    }
}

static void brought(void *ctx, store_object local, size_t size,
                    const struct rwf_err *err)
{
    struct bringing *b = ctx;
    struct span__parcel *p = b->parcel;
    struct far__spans *set = p->span->set;
    (void)size;
    pthread_mutex_lock(&set->lock);
    p->waits--;
    if (local) {
        *RWF_PUSH(p->locals, p->local_count, p->local_cap) = local;
        ((struct native_item *)(void *)(p->frame + b->at))->object = local;
    } else if (!p->code) {
        p->code = err && err->code ? err->code : EIO;
        p->text = rwf_xstrdup(err ? err->text : "it is lost");
        if (p->code == EHOSTUNREACH && !p->dead)
            span__lost(set, p->session);
    }
    if (!p->dead)
        span__advance(p->span);
    else if (!p->waits)
        parcel_end(p);
    pthread_mutex_unlock(&set->lock);
    free(b);
}

/* --- records --- */

static void take_frame(struct far__span *s, char *frame, size_t size)
{
    size_t weight = sizeof(struct span__frame) + native_pad(size), objects = 0;
    bool good = size >= sizeof(struct native_msg) && size <= STORE_FRAME_MAX &&
                span__items(frame, size, count_one, &objects) == 0;
    if (!good) {
        span__break(s, "the other node sent what is no message");
        return;
    }
    if (!objects && TAILQ_EMPTY(&s->parcels) && put(s, frame, size)) {
        acknowledge(s, weight);
        return;
    }
    struct span__parcel *p = parcel_add(s, frame, size);
    p->weight = weight;
    p->stowed = !objects;
    if (objects)
        span__items(p->frame, size, bring, p);
}

struct refusing {
    struct peer *plane;
    uint64_t session;
};

static int refuse_item(void *ctx, struct native_item *item)
{
    const struct refusing *r = ctx;
    peer_refuse(r->plane, r->session, item->object);
    return 0;
}

/* s NULL: nobody wants them any more. */
static void take_frames(struct far__spans *set, struct far__span *s, uint64_t session,
                        bool to_worker, char *at, size_t rest)
{
    struct refusing r = {set->plane, session};
    struct span__frame head;
    while (rest >= sizeof(head) && !(s && s->broken)) {
        memcpy(&head, at, sizeof(head));
        at += sizeof(head);
        rest -= sizeof(head);
        if (head.size > rest || native_pad(head.size) > rest)
            break;
        if (s)
            take_frame(s, at, head.size);
        else if (!to_worker)
            (void)span__items(at, head.size, refuse_item, &r);
        at += native_pad(head.size);
        rest -= native_pad(head.size);
    }
    if (s && !s->broken && rest)
        span__break(s, "the other node sent half a message");
}

static void take_word(struct far__span *s, const struct span__word *w)
{
    if (w->word == STORE_WORD_CANCEL && s->side == SPAN_OF_WORKER) {
        atomic_store(store_ring_word(s->ring, STORE_WORD_CANCEL), w->value);
        store_bell_ring(s->bell);
    } else if (w->word == STORE_WORD_TASK && s->side == SPAN_OF_CLIENT) {
        atomic_store(store_ring_word(s->ring, STORE_WORD_STARTED),
                     (uint64_t)rwf_clock_mono() - w->ran);
        atomic_store(store_ring_word(s->ring, STORE_WORD_TASK), w->value);
    }
}

static void take_acked(struct far__span *s, uint64_t acked)
{
    bool blocked = s->sent - s->acked >= SPAN__WINDOW;
    if (acked - s->acked > s->sent - s->acked) {
        span__break(s, "the other node took more than it got");
        return;
    }
    s->acked = acked;
    if (blocked)
        store_bell_ring(s->set->bell);
}

static void take_end(struct far__span *s, const void *data, size_t size)
{
    struct span__parcel *p = parcel_add(s, data, size);
    p->end = p->stowed = true;
}

static void take(struct far__span *s, const struct peer_record *r, char *data)
{
    switch (r->kind) {
    case SPAN__WORD:
        if (r->size == sizeof(struct span__word))
            take_word(s, (const struct span__word *)(const void *)data);
        break;
    case SPAN__ACKED:
        if (r->size == sizeof(uint64_t))
            take_acked(s, *(const uint64_t *)(const void *)data);
        break;
    case SPAN__END:
        if (r->size >= sizeof(uint64_t) && s->side == SPAN_OF_CLIENT)
            take_end(s, data, r->size);
        break;
    default:
        break;
    }
    span__advance(s);
}

void span__on_record(void *ctx, struct peer_conn *c, const struct peer_record *r,
                     const void *data)
{
    struct far__spans *set = ctx;
    bool to_worker = r->flags & SPAN__TO_WORKER;
    uint64_t session = peer_conn_session(c);
    char *bytes = (char *)(uintptr_t)data, *copy = NULL;
    if ((uintptr_t)data % 8)
        bytes = copy = memcpy(rwf_xmalloc(r->size + 8), data, r->size);
    pthread_mutex_lock(&set->lock);
    struct far__span *s = span__find(set, to_worker ? SPAN_OF_WORKER : SPAN_OF_CLIENT,
                                     session, r->channel);
    if (r->kind == SPAN__FRAMES)
        take_frames(set, s, session, to_worker, bytes, r->size);
    if (s && !s->broken)
        take(s, r, bytes);
    pthread_mutex_unlock(&set->lock);
    free(copy);
}
