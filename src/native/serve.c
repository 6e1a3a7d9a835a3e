/* SPDX-License-Identifier: Apache-2.0
 *
 * The hot loop of a worker: one frame after the other, in place. A call costs one read
 * of the clock, and its result is published with others: when there is no more to do,
 * 20 us after the last time, or before a function that is known to take long. (When one
 * takes long against expectation, the gate's helper publishes.)
 */
#include "config.h"

#include "native/serve.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"

#define FLUSH_NS 20000 /* a result waits so long for others */
#define SLOW_NS 20000  /* calls that take longer: what waits is published before */
#define TURN_CALLS 64  /* of one client, before the next has its turn */
#define TURN_NS 200000
#define AHEAD                                                                          \
    4096 /* frames read ahead of slow calls, so that they can be forgotten             \
          */
#define NAMES_MAX 65536
#define NAME_LEN 255

void native__serve_flush(struct native__worker *w)
{
    for (size_t i = 0; i < w->peer_count; i++) {
        struct native__peer *p = w->peers[i];
        if (store_ring_dirty(p->ring))
            store_ring_flush(p->ring);
        /* Not before: a call whose result is lost with us may have run. */
        if (!p->running)
            atomic_store_explicit(store_ring_word(p->ring, STORE_WORD_TASK), 0,
                                  memory_order_release);
    }
    w->dirty = false;
    w->flushed = w->now;
}

/* --- names --- */

/* What "?NAME" runs when there is a NAME. */
static int there_is(struct raywf_call *call)
{
    (void)call;
    return 0;
}

static raywf_fn resolve_method(struct native__worker *w, const char *name,
                               struct rwf_err *err)
{
    return w->class_ ? native_plugin_method(w->plugin, w->class_, name, err)
                     : native_plugin_function(w->plugin, name, err);
}

static raywf_fn resolve(struct native__worker *w, const char *name, struct rwf_err *err)
{
    size_t len = w->class_ ? strlen(w->class_->name) : 0;

    if (w->code) {
        rwf_fail(err, w->code, "%s", w->text);
        return NULL;
    }
    if (w->class_ && (strncmp(name, w->class_->name, len) != 0 || name[len] != '.')) {
        rwf_fail(err, RAYWF_E_PLUGIN, "'%s' is not a method of actor class %s", name,
                 w->class_->name);
        return NULL;
    }
    name += w->class_ ? len + 1 : 0;
    if (*name != '?')
        return resolve_method(w, name, err);
    return resolve_method(w, name + 1, err) ? there_is : NULL;
}

static void name_function(struct native__worker *w, struct native__peer *p,
                          const struct native_msg *m, size_t size)
{
    const struct native_name *n = (const struct native_name *)m;
    struct rwf_err err = RWF_ERR_INIT;

    if (size < sizeof(*n) || n->len > size - sizeof(*n) || n->len > NAME_LEN ||
        n->function >= NAMES_MAX) {
        native__peer_break(p, "a name is not valid");
        return;
    }
    if (n->function >= p->function_count) {
        size_t count = n->function + 1;
        p->functions = rwf_xrealloc(p->functions, count * sizeof(*p->functions));
        memset(p->functions + p->function_count, 0,
               (count - p->function_count) * sizeof(*p->functions));
        p->function_count = count;
    }
    struct native__function *f = &p->functions[n->function];
    if (f->name)
        return; /* a number keeps its name */
    f->name = rwf_xstrndup((const char *)(n + 1), n->len);
    f->ns = -1;
    f->fn = resolve(w, f->name, &err);
    if (!f->fn) {
        f->code = err.code;
        f->error = rwf_xstrdup(err.text);
    }
}

/* --- one call --- */

static bool cancelled(struct native__worker *w)
{
    struct native__peer *p = w->call.peer;

    if (atomic_load_explicit(&w->mail, memory_order_acquire)) {
        native__gate_return(&w->gate);
        native__worker_mail(w);
        native__serve_flush(w);
    }
    if (!p)
        return false;
    return p->gone || atomic_load_explicit(store_ring_word(p->ring, STORE_WORD_CANCEL),
                                           memory_order_relaxed) == w->call.msg.task;
}

/* For the client: a call that waits for tasks of its own. The client's lock is held, so
 * that mail is left to the loop. */
static bool cancelled_while_waiting(void *ctx)
{
    const struct native__worker *w = ctx;
    const struct native__peer *p = w->call.peer;

    return p && (p->gone || atomic_load(store_ring_word(p->ring, STORE_WORD_CANCEL)) ==
                                w->call.msg.task);
}

struct wait {
    struct native__worker *w;
    bool (*done)(struct raywf_call *c);
};

static bool wait_over(void *ctx)
{
    struct wait *wait = ctx;

    return atomic_load(&wait->w->mail) || cancelled_while_waiting(wait->w) ||
           store_ring_broken(wait->w->call.peer->ring) || wait->done(&wait->w->call);
}

static bool wait_for(struct native__worker *w, bool (*done)(struct raywf_call *c))
{
    struct wait wait = {w, done};

    while (!cancelled(w)) {
        if (done(&w->call))
            return true;
        native__lock(w->client);
        native__await(w->client, wait_over, &wait, INT64_MAX, true);
        native__unlock(w->client);
    }
    return false;
}

/* What a function did not say itself. */
static void judge(struct raywf_call *c, int result)
{
    if (result == 0 && c->code == RAYWF_E_FAILED)
        c->code = RAYWF_OK; /* it got over it */
    else if (result != 0)
        native__call_fail(
            c, c->cancelled(c->worker) ? RAYWF_E_CANCELLED : RAYWF_E_FAILED,
            "%s: returned %d and did not say why (raywf_fail)", c->function, result);
    native__call_seal(c);
    if (c->code == RAYWF_OK)
        native__call_complete(c);
}

/* Before the function: nothing that is done may wait for it. */
static void depart(struct native__worker *w, const struct native__function *f)
{
    if (!w->dirty)
        return;
    if (f->ns < 0 || f->ns > SLOW_NS || w->now - w->flushed > FLUSH_NS)
        native__serve_flush(w);
    else
        native__gate_leave(&w->gate);
}

static void measure(struct native__worker *w, struct native__function *f,
                    int64_t *ret_ns)
{
    int64_t now = rwf_clock_mono();

    *ret_ns = now > w->now ? now - w->now : 1;
    f->ns = f->ns < 0 ? *ret_ns : f->ns + (*ret_ns - f->ns) / 8;
    w->now = now;
}

static void execute(struct native__worker *w, struct native__peer *p,
                    struct native__function *f)
{
    struct raywf_call *c = &w->call;
    int64_t ns;

    atomic_store_explicit(store_ring_word(p->ring, STORE_WORD_STARTED),
                          (uint64_t)w->now, memory_order_relaxed);
    atomic_store_explicit(store_ring_word(p->ring, STORE_WORD_TASK), c->msg.task,
                          memory_order_release);
    c->function = f->name;
    c->state = w->state;
    depart(w, f);
    native__worker_call(w->client, cancelled_while_waiting, w);
    int result = f->fn(c);
    native__worker_call(w->client, NULL, NULL);
    native__gate_return(&w->gate);
    judge(c, result);
    measure(w, f, &ns);
    native__call_reply(c, (uint64_t)ns);
    w->dirty = true;
}

/* Streams and slow calls must not lie in the ring while they run. */
static bool must_read_ahead(const struct native_call *m,
                            const struct native__function *f)
{
    return m->returns == RAYWF_STREAM || f->ns < 0 || f->ns > SLOW_NS;
}

void native__serve_stall(struct native__worker *w)
{
    struct native__peer *p = w->call.peer;

    if (!p || p->stalled || p->gone || w->actor)
        return;
    native__gate_return(&w->gate);
    struct native_msg *m = store_ring_reserve(p->ring, sizeof(*m));
    if (!m)
        return; /* we are called again */
    *m = (struct native_msg){
        .type = NATIVE_STALLED, .epoch = w->call.msg.epoch, .task = w->call.msg.task};
    store_ring_commit(p->ring);
    p->stalled = true;
    native__serve_flush(w);
}

static void call(struct native__worker *w, struct native__peer *p,
                 const struct native_msg *m, size_t size, bool forgotten)
{
    const struct native_call *frame = (const struct native_call *)m;
    struct raywf_call *c = &w->call;
    bool broken = false;

    if (size < sizeof(*frame) || frame->function >= p->function_count ||
        !p->functions[frame->function].name) {
        native__peer_break(p, "a call is of no function that was named");
        return;
    }
    struct native__function *f = &p->functions[frame->function];
    w->dirty = true;
    if (forgotten) {
        native__call_refuse(p, m, RAYWF_E_CANCELLED, "cancelled before it began");
        return;
    }
    if (!f->fn) {
        native__call_refuse(p, m, f->code, f->error);
        return;
    }
    p->running = m->task;
    p->credit = frame->credit;
    if (must_read_ahead(frame, f)) {
        native__peer_read_ahead(p, AHEAD);
        frame = (const struct native_call *)native__peer_next(p, &size, &forgotten);
    }
    c->peer = p;
    c->recycle = false;
    if (native__call_open(c, frame, size, &broken) == 0)
        execute(w, p, f);
    else if (!broken)
        native__call_reply(c, 0);
    native__call_close(c);
    if (broken)
        native__peer_break(p, "a call is not valid");
    p->running = 0;
    c->peer = NULL;
    w->calls++;
    w->ending |= c->recycle || w->calls == w->max_calls;
}

bool native__serve(struct native__worker *w, struct native__peer *p)
{
    const int64_t until = w->now + TURN_NS;
    int taken = 0;

    for (; taken < TURN_CALLS && w->now < until && !w->ending && !p->gone; taken++) {
        bool forgotten;
        size_t size;
        const struct native_msg *m = native__peer_next(p, &size, &forgotten);
        if (!m || atomic_load_explicit(&w->mail, memory_order_relaxed))
            break;
        if (m->type == NATIVE_RESUME)
            p->stalled = false;
        else if (m->type == NATIVE_CALL && p->stalled)
            ; /* taken back: NATIVE_STALLED has answered it */
        else if (m->type == NATIVE_CALL)
            call(w, p, m, size, forgotten);
        else if (m->type == NATIVE_NAME)
            name_function(w, p, m, size);
        else if (m->type != NATIVE_FORGET && m->type != NATIVE_CREDIT)
            native__peer_break(p, "a message is of no known type");
        native__peer_consume(p);
    }
    /* Somebody is busy, and others may be waiting for what is done already. */
    if (w->dirty && w->now - w->flushed > FLUSH_NS)
        native__serve_flush(w);
    return taken > 0;
}

/* --- the worker's one call --- */

static void flush_late(void *ctx)
{
    struct native__worker *w = ctx;

    for (size_t i = 0; i < w->peer_count; i++)
        store_ring_flush(w->peers[i]->ring);
}

void native__serve_init(struct native__worker *w)
{
    w->call.store = w->store;
    w->call.gate = &w->gate;
    w->call.worker = w;
    w->call.wait = wait_for;
    w->call.cancelled = cancelled;
    native__gate_start(&w->gate, flush_late, w);
}

void native__serve_free(struct native__worker *w)
{
    native__gate_stop(&w->gate);
    native__call_free(&w->call);
}

int native__serve_construct(struct native__worker *w, const void *args, size_t size)
{
    struct raywf_call *c = &w->call;
    bool broken;

    c->peer = NULL;
    c->function = w->class_->name;
    if (native__call_open(c, args, size, &broken) < 0) {
        if (broken)
            native__call_fail(c, RAYWF_E_ARGUMENT, "%s: its arguments are not valid",
                              w->class_->name);
    } else {
        c->returns = 0;
        native__worker_call(w->client, cancelled_while_waiting, w);
        judge(c, w->class_->create(c, &w->state));
        native__worker_call(w->client, NULL, NULL);
    }
    native__call_close(c);
    w->code = c->code;
    snprintf(w->text, sizeof(w->text), "%s", c->text);
    return c->code == RAYWF_OK ? 0 : -1;
}
