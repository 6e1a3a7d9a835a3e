/* SPDX-License-Identifier: Apache-2.0
 *
 * What workers answer. The commit: a result is taken when its call is in flight on the
 * very line it came by, with the epoch it was sent with; else it is dropped, and what
 * it brought is given back.
 *
 * What comes in is input: a frame that does not hold what it says ends the line.
 */
#include "config.h"
#include "native/internal.h"
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "native/lineage.h"

#define BATCH 512 /* frames of one line in a turn */

int native__item(const char **at, size_t *rest, struct native_item *ret,
                 const void **ret_bytes)
{
    if (*rest < sizeof(*ret))
        return -1;
    memcpy(ret, *at, sizeof(*ret));
    *at += sizeof(*ret);
    *rest -= sizeof(*ret);
    *ret_bytes = *at;
    if (ret->object)
        return 0;
    if (ret->size > *rest || native_pad(ret->size) > *rest)
        return -1;
    *at += native_pad(ret->size);
    *rest -= native_pad(ret->size);
    return 0;
}

static struct native__task *in_flight(struct native__line *l,
                                      const struct native_msg *m)
{
    for (struct native__task *t = l->flight.first; t; t = t->next)
        if (t->id == m->task)
            return t->epoch == m->epoch ? t : NULL;
    return NULL;
}

static void land(struct native__client *c, struct native__line *l,
                 struct native__task *t)
{
    native__list_remove(&l->flight, t);
    l->lane->in_flight--;
    t->line = NULL;
    if (l->flight.count)
        return;
    l->idle_since = c->now;
    l->lane->stalled -= l->stalled;
    l->stalled = false;
}

static void drop_object(struct native__client *c, store_object o)
{
    struct store *s = native__store(c);
    if (s)
        store_object_drop(s, o);
}

/* Value i of t from its item. A value that is there already (another one of the same
 * call was lost and made again) keeps what it has. */
static void commit_value(struct native__client *c, struct native__task *t, uint32_t i,
                         const struct native_item *item, const void *bytes)
{
    struct native__value *v =
        t && i < t->value_count && t->values[i] != NATIVE__NO_VALUE
            ? native__value_at(c, t->values[i])
            : NULL;
    if (!v || v->state != NATIVE__PENDING) {
        if (item->object)
            drop_object(c, item->object);
        return;
    }
    if (item->object)
        native__value_object(c, v, item->object, item->size);
    else
        native__value_bytes(c, v, bytes, item->size);
    native__value_unref(c, v); /* the task's own */
}

/* What value i is as a reply; only who watches the call wants to know. */
static int commit_reply(struct native__task *t, uint32_t i, const char **at,
                        size_t *rest)
{
    struct native_item item;
    const void *bytes;
    if (native__item(at, rest, &item, &bytes) < 0 || item.object)
        return -1;
    if (!item.size)
        return 0;
    const struct native_reply *r = bytes;
    if (item.size < sizeof(*r) || item.size != sizeof(*r) + r->len ||
        r->len > NATIVE_TYPE_MAX || r->status < 200 || r->status > 599)
        return -1;
    if (t && t->watch)
        native__watch_reply(t->watch, i, r);
    return 0;
}

/* What packed items that came from another node are called here. */
struct moved {
    const char *at;
    size_t rest;
};

/* Items one by one; t NULL: only gives back what they hold. moved: NULL: of this node.
 */
static int commit_items(struct native__client *c, struct native__task *t,
                        const char *at, size_t rest, uint32_t count, bool replies,
                        struct moved *moved)
{
    for (uint32_t i = 0; i < count; i++) {
        struct native_item item;
        const void *bytes;
        if (native__item(&at, &rest, &item, &bytes) < 0)
            return -1;
        if (moved && item.object &&
            native_moved(&moved->at, &moved->rest, &item.object) < 0)
            return -1;
        commit_value(c, t, i, &item, bytes);
    }
    for (uint32_t i = 0; replies && i < count; i++)
        if (commit_reply(t, i, &at, &rest) < 0)
            return -1;
    return 0;
}

static int commit_packed(struct native__client *c, struct native__task *t,
                         const struct native_item *item, uint32_t count, bool replies,
                         struct moved *moved)
{
    size_t size;
    struct rwf_err err;
    struct store *s = native__store(c);
    const char *at = store_object_pin(s, item->object, INT64_MAX, &size, &err);
    if (!at) {
        rwf_log(RWF_LOG_WARN, "native", "packed results are gone: %s", err.text);
        return -1;
    }
    int rc = commit_items(c, t, at, size, count, replies, moved);
    store_object_unpin(s, item->object);
    store_object_drop(s, item->object);
    return rc;
}

static int take_values(struct native__client *c, struct native__task *t,
                       const struct native_done *m, size_t size)
{
    const char *at = (const char *)(m + 1);
    size_t rest = size - sizeof(*m);
    bool replies = m->msg.flags & NATIVE_REPLIES;
    if (!(m->msg.flags & NATIVE_PACKED))
        return commit_items(c, t, at, rest, m->count, replies, NULL);
    struct native_item item;
    const void *bytes;
    if (native__item(&at, &rest, &item, &bytes) < 0 || !item.object)
        return -1;
    struct moved moved = {at, rest};
    return commit_packed(c, t, &item, m->count, replies,
                         m->msg.flags & NATIVE_MOVED ? &moved : NULL);
}

/* Each value that is still pending was not returned. */
static void finish(struct native__client *c, struct native__task *t)
{
    c->outstanding--;
    for (uint32_t i = 0; i < t->value_count; i++) {
        if (t->values[i] == NATIVE__NO_VALUE)
            continue;
        struct native__value *v = native__value_at(c, t->values[i]);
        if (v->state == NATIVE__PENDING) {
            if (t->policy->returns == RAYWF_STREAM)
                native__value_bytes(c, v, NULL, 0);
            else
                native__value_fail(c, v, RAYWF_E_FAILED,
                                   "the function ended without this return value: it "
                                   "must call raywf_return for each");
            native__value_unref(c, v);
        }
    }
    if (t->watch)
        native__watch_end(c, t, RAYWF_OK, "");
    native__keep(c, t);
}

static void failed(struct native__client *c, struct native__task *t,
                   const struct native_done *m, size_t size)
{
    struct native_item item;
    const void *bytes = "";
    const char *at = (const char *)(m + 1);
    size_t rest = size - sizeof(*m);
    if (native__item(&at, &rest, &item, &bytes) < 0 || item.object)
        item.size = 0;
    char *text = rwf_xstrndup(bytes, item.size);
    if (m->ns)
        t->flags |= NATIVE__RAN;
    if (m->code == RAYWF_E_LOST && t->rebuilds++ < 3)
        native__again(c, t); /* its arguments are looked at when it is sent */
    else
        native__retry(c, t, RAYWF_ON_ERROR, m->code, text);
    free(text);
}

static void measure(struct native__lane *lane, uint64_t ns)
{
    if (!ns)
        return;
    if (!lane->average)
        lane->average = ns;
    else
        lane->average = (lane->average * 7 + ns) / 8 + 1;
}

static int done(struct native__client *c, struct native__line *l,
                const struct native_done *m, size_t size)
{
    if (size < sizeof(*m))
        return -1;
    struct native__task *t = in_flight(l, &m->msg);
    if (!t) /* an old epoch: somebody else's result counts */
        return m->code ? 0 : take_values(c, NULL, m, size);
    land(c, l, t);
    native__lane_touch(c, l->lane);
    measure(l->lane, m->ns);
    if (t->flags & NATIVE__GONE) {
        if (!m->code)
            take_values(c, NULL, m, size);
        native__task_free(c, t);
        return 0;
    }
    if (m->code) {
        failed(c, t, m, size);
        return 0;
    }
    if (t->stream)
        native__streams->end(c, t, 0, "");
    int rc = take_values(c, t, m, size);
    finish(c, t);
    return rc;
}

static int yield(struct native__client *c, struct native__line *l,
                 const struct native_yield *m, size_t size)
{
    if (size < sizeof(*m))
        return -1;
    struct native__task *t = in_flight(l, &m->msg);
    if (t && t->stream && !(t->flags & NATIVE__GONE)) {
        native__streams->yield(c, t, m, size);
        return 0;
    }
    return commit_items(c, NULL, (const char *)(m + 1), size - sizeof(*m), 1, false,
                        NULL);
}

/* What was sent behind t is queued again: it has not begun, and will not there. */
static int stalled(struct native__client *c, struct native__line *l,
                   const struct native_msg *m)
{
    struct native__task *t = in_flight(l, m), *last;
    if (!t || l->lane->ordered)
        return 0;
    while ((last = l->flight.last) != t) {
        land(c, l, last);
        if (last->flags & NATIVE__GONE) {
            native__task_free(c, last);
            continue;
        }
        last->epoch++;
        last->place = NATIVE__QUEUED;
        native__list_unshift(&l->lane->queue, last);
    }
    l->lane->stalled += !l->stalled;
    l->stalled = l->resume = true;
    native__lane_touch(c, l->lane);
    return 0;
}

static int take(struct native__client *c, struct native__line *l,
                const struct native_msg *m, size_t size)
{
    if (size < sizeof(*m))
        return -1;
    switch (m->type) {
    case NATIVE_DONE:
        return done(c, l, (const struct native_done *)m, size);
    case NATIVE_YIELD:
        return yield(c, l, (const struct native_yield *)m, size);
    case NATIVE_STALLED:
        return stalled(c, l, m);
    default:
        return -1;
    }
}

bool native__receive(struct native__client *c, struct native__line *l)
{
    const void *m;
    size_t size;
    int n = 0;
    while (n < BATCH && (m = store_ring_peek(l->ring, &size))) {
        int rc = take(c, l, m, size);
        store_ring_consume(l->ring);
        n++;
        if (rc < 0) {
            l->broken = true;
            break;
        }
    }
    if (store_ring_broken(l->ring))
        l->broken = true;
    return n > 0;
}
