/* SPDX-License-Identifier: Apache-2.0
 *
 * Streams: values that a call gives one by one. The reader lets it run `credit` values
 * ahead; it is told of more when half of that is used up.
 *
 * Invariants: a stream lives as long as its value or its task does, whichever ends
 * last. When its task is tried again it starts from the first value; what has come
 * already is not given twice.
 */
#include "config.h"

#include <stdlib.h>

#include "base/mem.h"
#include "native/internal.h"

struct native__stream {
    struct native__stream *next; /* in its bucket */
    struct native__client *client;
    uint64_t id;               /* of its value */
    struct native__task *task; /* NULL: it has ended */
    bool read;                 /* its value still is there */
    int code;                  /* how it ended */
    char *text;
    uint32_t epoch; /* of the task, which upto is about */
    uint16_t credit;
    uint64_t upto;    /* told to the worker: so many may come */
    uint64_t seen;    /* of this attempt */
    uint64_t arrived; /* of all attempts */
    uint64_t taken;
    struct native__value **ready; /* [first, last): came, and not taken */
    size_t first, last, cap;
};

/* By the ids of their values; with the client's lock. */
#define BUCKETS 1024
static struct native__stream *streams[BUCKETS];

static struct native__stream **bucket(uint64_t id)
{
    return &streams[(id ^ id >> 28) % BUCKETS];
}

static struct native__stream *find(uint64_t id)
{
    struct native__stream *s = *bucket(id);

    while (s && s->id != id)
        s = s->next;
    return s;
}

static void free_when_unused(struct native__client *c, struct native__stream *s)
{
    struct native__stream **at = bucket(s->id);

    if (s->read || s->task)
        return;
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    while (s->first < s->last)
        native__value_unref(c, s->ready[s->first++]);
    free(s->ready);
    free(s->text);
    free(s);
}

/* Tells the worker how far it may go, when that is worth a message. true: it should
 * have been told, but its ring is full. */
static bool grant(struct native__stream *s)
{
    struct native__task *t = s->task;
    const uint64_t upto = s->taken + s->credit;

    if (!t || !t->line || upto < s->upto + (s->credit + 1u) / 2)
        return false;
    struct native_credit *m = store_ring_reserve(t->line->ring, sizeof(*m));
    if (!m)
        return true; /* whoever waits for the next value tries again */
    *m = (struct native_credit){
        .msg = {.type = NATIVE_CREDIT, .epoch = t->epoch, .task = t->id}, .upto = upto};
    s->upto = upto;
    store_ring_commit(t->line->ring);
    native__flush(t->line);
    return false;
}

/* --- what becomes of its task --- */

static void open_stream(struct native__client *c, struct native__task *t)
{
    struct native__value *v = native__value_at(c, t->values[0]);
    struct native__stream *s = rwf_xcalloc(1, sizeof(*s));
    struct native__stream **at = bucket(v->id);

    s->client = c;
    s->id = v->id;
    s->task = t;
    s->read = true;
    s->credit = t->policy->credit;
    s->next = *at;
    *at = s;
    t->stream = s;
    v->flags |= NATIVE__STREAMED;
}

static void give_back(struct native__client *c, const struct native_item *item)
{
    struct store *store = native__store(c);

    if (item->object && store)
        store_object_drop(store, item->object);
}

static void yield(struct native__client *c, struct native__task *t,
                  const struct native_yield *m, size_t size)
{
    struct native__stream *s = t->stream;
    const char *at = (const char *)(m + 1);
    size_t rest = size - sizeof(*m);
    struct native_item item;
    const void *bytes;

    if (native__item(&at, &rest, &item, &bytes) < 0)
        return;
    if (s->epoch != t->epoch) { /* another attempt: from the start */
        s->epoch = t->epoch;
        s->upto = s->credit;
        s->seen = 0;
    }
    if (++s->seen <= s->arrived || !s->read) {
        give_back(c, &item);
        grant(s);
        return;
    }
    s->arrived++;
    struct native__value *v = native__value_add(c);
    *RWF_PUSH(s->ready, s->last, s->cap) = v;
    if (item.object)
        native__value_object(c, v, item.object, item.size);
    else
        native__value_bytes(c, v, bytes, item.size);
    grant(s);
    if (t->watch)
        native__watch_flows(c, t->watch);
    native__changed(c);
}

static void end(struct native__client *c, struct native__task *t, int code,
                const char *text)
{
    struct native__stream *s = t->stream;

    s->code = code;
    free(s->text);
    s->text = rwf_xstrdup(text);
    s->task = NULL;
    t->stream = NULL;
    free_when_unused(c, s);
    native__changed(c);
}

static void drop(struct native__client *c, struct native__task *t)
{
    end(c, t, RAYWF_E_CANCELLED, "the stream was ended");
}

/* Its value is gone: nobody can read it any more. */
static void unread(struct native__client *c, struct native__value *v)
{
    struct native__stream *s = find(v->id);

    if (!s)
        return;
    s->read = false;
    free_when_unused(c, s);
}

static void free_all(struct native__client *c)
{
    (void)c; /* the values go with all others */
    for (size_t i = 0; i < BUCKETS; i++) {
        while (streams[i]) {
            struct native__stream *s = streams[i];
            streams[i] = s->next;
            if (s->task)
                s->task->stream = NULL;
            free(s->ready);
            free(s->text);
            free(s);
        }
    }
}

/* --- reading --- */

static bool something_came(void *ctx)
{
    struct native__stream *s = ctx;

    if (s->first < s->last || !s->task)
        return true;
    grant(s);
    return false;
}

static struct native__value *take(struct native__stream *s)
{
    struct native__value *v = s->ready[s->first++];

    if (s->first == s->last)
        s->first = s->last = 0;
    s->taken++;
    grant(s);
    return v;
}

/* For who never waits. */
static struct native__value *take_now(struct native__value *v, bool *ret_again)
{
    struct native__stream *s = find(v->id);

    *ret_again = false;
    if (s && s->first < s->last)
        return take(s);
    if (s)
        *ret_again = grant(s);
    return NULL;
}

static const struct native__stream_ops ops = {
    open_stream, yield, end, drop, unread, take_now, free_all};
const struct native__stream_ops *native__streams = &ops;

static int next(struct native__client *c, struct native__stream *s, int64_t deadline,
                struct raywf_ref *ret, struct raywf_error *err)
{
    if (!something_came(s) && !native__await(c, something_came, s, deadline, true))
        return native__fail(err, RAYWF_E_TIMEOUT,
                            "the next value of the stream was not there in time");
    if (s->first < s->last) {
        *ret = (struct raywf_ref){native__client_id(c), take(s)->id};
        return 1;
    }
    return s->code == RAYWF_OK ? 0 : native__fail(err, s->code, "%s", s->text);
}

int raywf_next(struct raywf_ref stream, int64_t timeout, struct raywf_ref *ret,
               struct raywf_error *err)
{
    struct native__client *c = native__client(err);
    int result;

    if (!c)
        return -1;
    native__lock(c);
    struct native__value *v =
        stream.owner == native__client_id(c) ? native__value_find(c, stream.id) : NULL;
    if (v && v->flags & NATIVE__STREAMED) {
        v->refs++; /* it stays while we wait */
        result = next(c, find(v->id), native__deadline(timeout), ret, err);
        native__value_unref(c, v);
    } else {
        result =
            native__fail(err, RAYWF_E_ARGUMENT,
                         v ? "this is no stream: its task was not submitted with "
                             "returns = RAYWF_STREAM"
                           : "there is no such stream: it was dropped, or is another "
                             "process's (only the one that submitted it reads it)");
    }
    native__unlock(c);
    return result;
}
