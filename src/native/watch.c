/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls whose end is told, for a loop of one thread that never waits: it submits,
 * polls, and gets its functions called. The thread that takes a result in only hangs
 * the watch into the list of what is to be told; poll takes the whole list at once,
 * calls without the lock, then gives all values back together.
 *
 * A watch is in exactly one place: `watches` (its call goes on, or has ended while it is
 * held), `told` (ended), or the batch of a poll. Forgetting one that has ended only takes
 * its function away. One of a stream hangs in `flowing`, too, while values of it wait.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "native/internal.h"
#include "native/values.h"

/* So long a poll waits for a large value that the store has to bring back first. */
#define BRING (10 * RAYWF_S)

struct native_watch {
    struct native_watch *next, **link; /* link: of `watches` */
    native_call_fn fn;                 /* NULL: forgotten */
    native_piece_fn piece;             /* NULL: not a stream */
    struct native_watch *next_flowing;
    void *ctx;
    bool ended, ran;
    bool flows;        /* is in `flowing` */
    bool held, parked; /* parked: its end is told when it is held no more */
    int code;
    char *text;     /* of an error; or of an event */
    uint64_t actor; /* an event of this actor; 0: a call */
    enum native_actor_event event;
    uint32_t count, cap;
    struct raywf_ref *refs;
    struct native_result *results;
};

/* --- memory --- */

static struct native_watch *make(struct native__client *c, uint32_t count)
{
    struct native_watch *w = c->spare_watches;

    if (w)
        c->spare_watches = w->next;
    else
        w = rwf_xcalloc(1, sizeof(*w));
    if (count > w->cap) {
        w->cap = count;
        w->refs = rwf_xrealloc(w->refs, count * sizeof(*w->refs));
        w->results = rwf_xrealloc(w->results, count * sizeof(*w->results));
    }
    if (count)
        memset(w->results, 0, count * sizeof(*w->results));
    w->count = count;
    return w;
}

static void recycle(struct native__client *c, struct native_watch *w)
{
    for (uint32_t i = 0; i < w->count; i++)
        free((char *)(uintptr_t)w->results[i].content_type);
    free(w->text);
    *w = (struct native_watch){.cap = w->cap, .refs = w->refs, .results = w->results};
    w->next = c->spare_watches;
    c->spare_watches = w;
}

/* Gives back what the call returned. */
static void release(struct native__client *c, struct native_watch *w)
{
    for (uint32_t i = 0; !w->actor && i < w->count; i++) {
        struct native__value *v = native__value_find(c, w->refs[i].id);
        if (v) {
            v->user--;
            native__value_unref(c, v);
        }
    }
    recycle(c, w);
}

static void destroy(struct native_watch *w)
{
    for (uint32_t i = 0; i < w->count; i++)
        free((char *)(uintptr_t)w->results[i].content_type);
    free(w->text);
    free(w->refs);
    free(w->results);
    free(w);
}

static void destroy_all(struct native_watch *w)
{
    while (w) {
        struct native_watch *next = w->next;
        destroy(w);
        w = next;
    }
}

void native__watches_free(struct native__client *c)
{
    destroy_all(c->watches);
    destroy_all(c->told);
    destroy_all(c->spare_watches);
}

/* --- lists --- */

static void link_in(struct native__client *c, struct native_watch *w)
{
    w->next = c->watches;
    w->link = &c->watches;
    if (w->next)
        w->next->link = &w->next;
    c->watches = w;
}

static void unlink_from(struct native_watch *w)
{
    *w->link = w->next;
    if (w->next)
        w->next->link = w->link;
}

static void tell_later(struct native__client *c, struct native_watch *w)
{
    w->ended = true;
    w->next = NULL;
    if (!c->told)
        c->told_end = &c->told;
    *c->told_end = w;
    c->told_end = &w->next;
}

/* --- what happens, with the lock --- */

void native__watch_end(struct native__client *c, struct native__task *t, int code,
                       const char *text)
{
    struct native_watch *w = t->watch;

    t->watch = NULL;
    w->code = code;
    for (uint32_t i = 0; i < w->count; i++)
        w->results[i].data = native__value_find(c, w->refs[i].id);
    w->ran = code == RAYWF_OK || t->flags & NATIVE__RAN;
    if (code != RAYWF_OK)
        w->text = rwf_xstrdup(text);
    unlink_from(w);
    tell_later(c, w);
    c->progress++;
}

void native__watch_flows(struct native__client *c, struct native_watch *w)
{
    if (w->flows || !w->piece)
        return;
    w->flows = true;
    w->next_flowing = c->flowing;
    c->flowing = w;
    native__news(c);
}

void native__watch_reply(struct native_watch *w, uint32_t i,
                         const struct native_reply *r)
{
    if (i >= w->count)
        return;
    w->results[i].status = (int)r->status;
    free((char *)(uintptr_t)w->results[i].content_type);
    w->results[i].content_type =
        r->len ? rwf_xstrndup((const char *)(r + 1), r->len) : NULL;
}

void native__watch_actor(struct native__client *c, uint64_t actor,
                         enum native_actor_event e, const char *text)
{
    struct native_watch *w = make(c, 0);

    w->actor = actor;
    w->event = e;
    w->text = rwf_xstrdup(text);
    tell_later(c, w);
    native__news(c);
}

/* --- telling, without the lock --- */

/* From a value to its bytes. Only what lies in the store needs more than a look: nobody
 * else knows these values. */
static int result(struct raywf_ref ref, struct native_result *ret,
                  struct raywf_value *pin, struct raywf_error *err)
{
    const struct native__value *v = ret->data;

    switch (v->state) {
    case NATIVE__TINY:
        ret->data = v->tiny;
        break;
    case NATIVE__BYTES:
        ret->data = v->bytes;
        break;
    case NATIVE__FAILED:
        return native__fail(err, v->code, "%s", v->text);
    default:
        if (raywf_get(ref, BRING, pin, err) < 0)
            return -1;
        ret->data = pin->data;
        ret->size = pin->size;
        return 0;
    }
    ret->size = v->size;
    return 0;
}

static void tell(struct native_watch *w)
{
    struct native_outcome o = {w->code, w->text ? w->text : "", w->ran, w->results,
                               w->count};
    struct raywf_value few[16], *pins = few;
    struct raywf_error err;

    if (w->count > 16)
        pins = rwf_xcalloc(w->count, sizeof(*pins));
    else
        memset(few, 0, w->count * sizeof(*few));
    for (uint32_t i = 0; o.code == RAYWF_OK && i < w->count; i++) {
        if (result(w->refs[i], &w->results[i], &pins[i], &err) < 0) {
            o.code = err.code ? err.code : RAYWF_E_LOST;
            o.text = err.text;
        }
    }
    if (o.code != RAYWF_OK)
        o.results = NULL, o.count = 0;
    w->fn(w->ctx, &o);
    for (uint32_t i = 0; i < w->count; i++)
        if (pins[i].pin)
            raywf_release(&pins[i]);
    if (pins != few)
        free(pins);
}

/* Without the lock. One that the store cannot bring back ends the stream: what follows
 * would be torn. */
static void tell_piece(struct native__client *c, struct native_watch *w,
                       struct native__value *v)
{
    struct raywf_ref ref = {native__client_id(c), v->id};
    struct native_result r = {.data = v, .size = 0};
    struct raywf_value pin = {0};
    struct raywf_error err = {0};

    if (result(ref, &r, &pin, &err) == 0) {
        w->piece(w->ctx, r.data, r.size);
    } else {
        struct native_outcome o = {err.code, err.text, true, NULL, 0};
        native_call_fn fn = w->fn;
        void *ctx = w->ctx;
        native_client_forget(w);
        fn(ctx, &o);
    }
    if (pin.pin)
        raywf_release(&pin);
}

/* Tells the values that are there, with the lock, which is given up meanwhile; how many.
 */
static size_t flow(struct native__client *c, struct native_watch *w)
{
    struct native__value *stream, *v;
    bool again = false;
    size_t count = 0;

    while (w->fn && w->piece && !w->held &&
           (stream = native__value_find(c, w->refs[0].id)) != NULL &&
           (v = native__streams->take(stream, &again)) != NULL) {
        native__unlock(c);
        tell_piece(c, w, v);
        native__lock(c);
        v->user--;
        native__value_unref(c, v);
        count++;
    }
    if (again && !w->ended)
        native__watch_flows(c, w);
    return count;
}

static size_t flow_all(struct native__client *c)
{
    struct native_watch *w = c->flowing, *next;
    size_t count = 0;

    c->flowing = NULL;
    for (; w; w = next) {
        next = w->next_flowing;
        w->flows = false;
        count += flow(c, w);
    }
    return count;
}

/* Those of held streams are put back. With the lock. */
static struct native_watch *unheld(struct native__client *c, struct native_watch *batch)
{
    struct native_watch *first = NULL, **end = &first;

    for (struct native_watch *w = batch, *next; w; w = next) {
        next = w->next;
        if (w->held && w->fn) {
            w->parked = true;
            link_in(c, w);
            continue;
        }
        *end = w;
        end = &w->next;
        w->next = NULL;
    }
    return first;
}

static size_t tell_all(struct native__client *c, struct native_watch *batch)
{
    size_t count = 0;

    for (struct native_watch *w = batch; w; w = w->next) {
        if (w->actor)
            native__actor_tell(c, w->actor, w->event, w->text);
        else if (w->fn)
            tell(w);
        count++;
    }
    return count;
}

size_t native_client_poll(void)
{
    struct native__client *c = native__the;

    if (!c)
        return 0;
    native__lock(c);
    native__poll(c);
    struct native_watch *batch = c->told;
    c->told = NULL;
    /* All values of a stream that has ended are there: they are told before its end. */
    size_t count = c->flowing ? flow_all(c) : 0;
    batch = unheld(c, batch);
    native__unlock(c);
    if (!batch)
        return count;
    count += tell_all(c, batch);
    native__lock(c);
    while (batch) {
        struct native_watch *next = batch->next;
        release(c, batch);
        batch = next;
    }
    native__unlock(c);
    return count;
}

bool native_client_rest(void)
{
    struct native__client *c = native__the;
    bool rests;

    if (!c)
        return true;
    native__lock(c);
    native__poll(c);
    rests = !c->told && !c->flowing && native__rest(c);
    native__unlock(c);
    return rests;
}

/* --- calls --- */

static struct native_watch *call(struct raywf_actor *actor, const char *method,
                                 const struct raywf_call_options *options,
                                 const struct raywf_arg *args, size_t n, int returns,
                                 native_piece_fn piece, native_call_fn fn, void *ctx,
                                 struct raywf_error *err)
{
    struct native__client *c = native__client(err);

    if (!c)
        return NULL;
    native__lock(c);
    if (c->loops)
        native__awake(c);
    struct native_watch *w = make(c, (uint32_t)returns);
    w->piece = piece;
    w->fn = fn;
    w->ctx = ctx;
    link_in(c, w);
    if (native__actor_submit(c, actor, method, options, args, n, w->refs, w, err) < 0) {
        unlink_from(w);
        recycle(c, w);
        w = NULL;
    }
    native__unlock(c);
    return w;
}

struct native_watch *native_client_call(struct raywf_actor *actor, const char *method,
                                        const struct raywf_call_options *options,
                                        const struct raywf_arg *args, size_t n,
                                        native_call_fn fn, void *ctx,
                                        struct raywf_error *err)
{
    const int returns = options && options->returns ? options->returns : 1;

    if (returns >= 1 && returns <= RAYWF_RETURNS_MAX)
        return call(actor, method, options, args, n, returns, NULL, fn, ctx, err);
    native__fail(err, RAYWF_E_ARGUMENT, "returns: %d; 1 to %d are possible here",
                 returns, RAYWF_RETURNS_MAX);
    return NULL;
}

struct native_watch *native_client_stream(struct raywf_actor *actor, const char *method,
                                          const struct raywf_call_options *options,
                                          const struct raywf_arg *args, size_t n,
                                          native_piece_fn piece, native_call_fn fn,
                                          void *ctx, struct raywf_error *err)
{
    struct raywf_call_options o = options ? *options : (struct raywf_call_options){0};

    o.returns = RAYWF_STREAM;
    return call(actor, method, &o, args, n, 1, piece, fn, ctx, err);
}

/* One that was parked is told of with the next poll. */
static void unpark(struct native__client *c, struct native_watch *w)
{
    w->parked = false;
    unlink_from(w);
    tell_later(c, w);
}

void native_client_forget(struct native_watch *w)
{
    struct native__client *c = native__the;

    if (!c || !w)
        return;
    native__lock(c);
    w->fn = NULL;
    if (!w->ended)
        native__cancel(c, w->refs[0].id, 0);
    else if (w->parked)
        unpark(c, w);
    native__unlock(c);
}

void native_client_hold(struct native_watch *w, bool held)
{
    struct native__client *c = native__the;

    if (!c || !w)
        return;
    native__lock(c);
    w->held = held;
    if (!held && (w->parked || !w->ended))
        native__watch_flows(c, w);
    if (!held && w->parked)
        unpark(c, w);
    native__unlock(c);
}
