/* SPDX-License-Identifier: Apache-2.0
 *
 * Replicas that are actors: functions and classes of plugins, and checkpoints (the
 * built-in class raywf:model). One call carries a batch: argument i is the body of item
 * i, return i its reply. Calls are made and their ends taken on the loop's thread
 * (native_client_poll), so that nothing here is locked.
 *
 * With native.stream a call has one item and is a stream: the first value makes the head
 * of the answer, each one is a piece of it; a call that replies has answered whole.
 *
 * A class gets its `args` as a JSON text; `reconfigure` is called with the user_config,
 * before the first request and with each new one, `check_health` where it is there.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/json_text.h"
#include "base/mem.h"
#include "serve/error_body.h"
#include "serve/pool.h"
#include "serve/brought.h"
#include "serve/replica_actor.h"

/* A batch that is out. */
struct call {
    struct serve_replica *r;
    struct native_watch *watch;
    bool telling; /* its items are being told: it must not go */
    bool begun;   /* a stream: its first value was told */
    int count, left, cap;
    TAILQ_ENTRY(call) link;
    struct serve_item *items[]; /* NULL: dropped */
};
TAILQ_HEAD(calls, call);

struct serve_replica {
    struct serve_pool *pool;
    struct serve_replica_events e;
    struct raywf_actor *actor; /* NULL: not there yet, or ended */
    char *method, *content_type;
    char *config; /* JSON that a class is given before its first request; NULL: none */
    bool idempotent, is_model, streams;
    bool creating, up, dead, stopping;
    struct calls calls, spare;
    struct raywf_arg *args;
    int arg_cap;
    /* A check, and a configure. */
    struct question {
        struct serve_replica *r;
        struct native_watch *watch;
        void (*done)(void *ctx, const char *wrong);
        void *ctx;
    } check, configure;
    uv_timer_t timer; /* of the check; its close is the last thing */
};

/* --- calls --- */

static struct call *call_new(struct serve_replica *r, int n)
{
    struct call *c = TAILQ_FIRST(&r->spare);
    if (c != NULL && c->cap >= n) {
        TAILQ_REMOVE(&r->spare, c, link);
    } else {
        int cap = n > 8 ? n : 8;
        c = rwf_xmalloc(sizeof(*c) + (size_t)cap * sizeof(c->items[0]));
        c->cap = cap;
    }
    c->r = r;
    c->watch = NULL;
    c->telling = c->begun = false;
    c->count = c->left = n;
    TAILQ_INSERT_TAIL(&r->calls, c, link);
    r->pool->calls++;
    return c;
}

static void call_free(struct call *c)
{
    c->r->pool->calls--;
    TAILQ_REMOVE(&c->r->calls, c, link);
    TAILQ_INSERT_HEAD(&c->r->spare, c, link);
}

static void make_call(struct serve_replica *r, struct serve_item *const *items,
                      int count);

/* Tells all that are left lost. */
static void lose(struct call *c, bool ran, const char *why)
{
    c->telling = true;
    for (int i = 0; i < c->count; i++) {
        struct serve_item *item = c->items[i];
        c->items[i] = NULL;
        if (item != NULL)
            item->lost(item->ctx, ran, why);
    }
    call_free(c);
}

static void answer_all(struct call *c, const struct native_outcome *o)
{
    struct serve_replica *r = c->r;
    c->telling = true;
    for (int i = 0; i < c->count; i++) {
        struct serve_item *item = c->items[i];
        const struct native_result *x = &o->results[i];
        c->items[i] = NULL;
        if (item == NULL)
            continue;
        struct serve_answer a = {
            .status = x->status != 0 ? x->status : 200,
            .content_type = x->content_type != NULL ? x->content_type : r->content_type,
            .data = x->data,
            .size = x->size};
        item->answer(item->ctx, &a);
    }
    call_free(c);
}

/* The function itself failed. One of a batch may have spoiled it for the others, which
 * are asked anew, alone, if that does no harm. */
static void failed(struct call *c, const char *why)
{
    struct serve_replica *r = c->r;
    struct rwf_str body = {0};
    bool again = c->count > 1 && r->idempotent && !r->stopping;
    c->telling = true;
    serve__error_body(&body, 500, why);
    struct serve_answer a = {.status = 500,
                             .content_type = "application/json",
                             .data = body.data,
                             .size = body.len};
    for (int i = 0; i < c->count; i++) {
        struct serve_item *item = c->items[i];
        c->items[i] = NULL;
        if (item != NULL && again)
            make_call(r, &item, 1);
        else if (item != NULL)
            item->answer(item->ctx, &a);
    }
    rwf_str_free(&body);
    call_free(c);
}

/* --- streams --- */

#define CREDIT 16 /* values that a call may be ahead of its client */

/* c may be gone after a callback: its client left. */
static void on_piece(void *ctx, const void *data, size_t size)
{
    struct call *c = ctx;
    struct serve_item *item = c->items[0];
    struct serve_answer a = {.status = 200,
                             .content_type = c->r->content_type,
                             .data = data,
                             .size = size,
                             .more = true};
    if (c->begun) {
        item->piece(item->ctx, data, size);
        return;
    }
    c->begun = true;
    item->answer(item->ctx, &a);
}

/* What has begun is over. */
static void end_stream(struct call *c, const struct native_outcome *o)
{
    struct serve_item *item = c->items[0];
    if (o->code != RAYWF_OK) {
        lose(c, true, serve__actor_reason(o->text));
        return;
    }
    c->telling = true;
    c->items[0] = NULL;
    item->end(item->ctx);
    call_free(c);
}

static void on_done(void *ctx, const struct native_outcome *o)
{
    struct call *c = ctx;
    if (c->begun) {
        end_stream(c, o);
        return;
    }
    switch (o->code) {
    case RAYWF_OK:
        answer_all(c, o);
        break;
    case RAYWF_E_FAILED:
    case RAYWF_E_PLUGIN:
    case RAYWF_E_ARGUMENT:
    case RAYWF_E_OVERRUN:
    case RAYWF_E_FIT:
        if (c->r->up) {
            failed(c, o->text);
            break;
        }
        /* fall through */
    default:
        lose(c, o->ran, serve__actor_reason(o->text));
    }
}

static void make_call(struct serve_replica *r, struct serve_item *const *items,
                      int count)
{
    struct raywf_call_options o = {.returns = count};
    struct raywf_error err = {0};
    struct call *c = call_new(r, count);
    if (count > r->arg_cap) {
        r->arg_cap = count;
        r->args = rwf_xrealloc(r->args, (size_t)count * sizeof(*r->args));
    }
    for (int i = 0; i < count; i++) {
        const void *body = items[i]->size > 0 ? items[i]->body : "";
        c->items[i] = items[i];
        items[i]->own = c;
        r->args[i] = RAYWF_BYTES(body, items[i]->size);
    }
    if (r->actor != NULL && r->streams)
        c->watch = native_client_stream(r->actor, r->method,
                                        &(struct raywf_call_options){.credit = CREDIT},
                                        r->args, 1, on_piece, on_done, c, &err);
    else if (r->actor != NULL)
        c->watch = native_client_call(r->actor, r->method, &o, r->args, (size_t)count,
                                      on_done, c, &err);
    if (c->watch == NULL)
        lose(c, false, r->actor != NULL ? err.text : "the replica has ended");
}

static void native_send(struct serve_replica *r, struct serve_item *const *items,
                        int count)
{
    make_call(r, items, count);
}

static void native_drop(struct serve_replica *r, struct serve_item *item)
{
    struct call *c = item->own;
    (void)r;
    c->left = 0;
    for (int i = 0; i < c->count; i++) {
        if (c->items[i] == item)
            c->items[i] = NULL;
        c->left += c->items[i] != NULL;
    }
    if (c->left > 0 || c->telling)
        return;
    native_client_forget(c->watch);
    call_free(c);
}

static void native_pause(struct serve_replica *r, struct serve_item *item, bool paused)
{
    struct call *c = item->own;
    (void)r;
    if (!c->telling)
        native_client_hold(c->watch, paused);
}

/* --- questions --- */

static void answer_question(struct question *q, const char *wrong)
{
    void (*done)(void *, const char *) = q->done;
    if (q == &q->r->check)
        uv_timer_stop(&q->r->timer);
    q->watch = NULL;
    q->done = NULL;
    if (done != NULL)
        done(q->ctx, wrong);
}

static void on_question(void *ctx, const struct native_outcome *o)
{
    struct question *q = ctx;
    /* A plugin without check_health that says so is alive. */
    bool none = o->code == RAYWF_E_PLUGIN && strstr(o->text, "'check_health'") != NULL;
    bool good = o->code == RAYWF_OK || (q == &q->r->check && none);
    answer_question(q, good ? NULL : o->text);
}

static void ask(struct question *q, const char *method, const struct raywf_arg *args,
                size_t n, void (*done)(void *ctx, const char *wrong), void *ctx)
{
    struct raywf_error err = {0};
    q->done = done;
    q->ctx = ctx;
    if (q->r->actor != NULL)
        q->watch = native_client_call(q->r->actor, method, NULL, args, n, on_question,
                                      q, &err);
    if (q->watch == NULL)
        answer_question(q, q->r->actor != NULL ? err.text : "the replica has ended");
}

static void on_late(uv_timer_t *timer)
{
    struct serve_replica *r = timer->data;
    if (r->check.watch == NULL)
        return;
    native_client_forget(r->check.watch);
    answer_question(&r->check, "no answer in time");
}

static void native_check(struct serve_replica *r, int64_t timeout,
                         void (*done)(void *ctx, const char *wrong), void *ctx)
{
    if (r->pool->loop != NULL && timeout > 0) {
        uv_update_time(r->pool->loop);
        uv_timer_start(&r->timer, on_late, (uint64_t)(timeout / RWF_NS_PER_MS), 0);
    }
    ask(&r->check, "check_health", RAYWF_NO_ARGS, done, ctx);
}

static void native_configure(struct serve_replica *r, const json_t *config,
                             void (*done)(void *ctx, const char *wrong), void *ctx)
{
    char *text = rwf_json_text(config);
    if (r->is_model)
        done(ctx, "a model has no user_config");
    else
        ask(&r->configure, "reconfigure",
            RAYWF_ARGS(RAYWF_BYTES(text, text != NULL ? strlen(text) : 0)), done, ctx);
    free(text);
}

/* --- life --- */

static void dies(struct serve_replica *r, const char *why)
{
    if (r->dead || r->stopping)
        return;
    r->dead = true;
    r->e.died(r->e.ctx, r, why);
}

static void on_configured(void *ctx, const char *wrong)
{
    struct serve_replica *r = ctx;
    if (wrong != NULL)
        dies(r, serve__actor_reason(wrong));
    else if (!r->dead && !r->stopping)
        r->e.ready(r->e.ctx, r);
}

static void on_found(void *ctx, const char *wrong)
{
    struct serve_replica *r = ctx;
    if (wrong != NULL || r->config == NULL || r->dead || r->stopping)
        on_configured(r, wrong);
    else
        ask(&r->configure, "reconfigure", RAYWF_ARGS(RAYWF_TEXT(r->config)),
            on_configured, r);
}

/* A plugin that lacks what is to be called is no replica. */
static void find_method(struct serve_replica *r)
{
    char *question = rwf_xasprintf("?%s", r->method);
    ask(&r->check, question, RAYWF_NO_ARGS, on_found, r);
    free(question);
}

static void on_event(void *ctx, enum native_actor_event e, const char *text)
{
    struct serve_replica *r = ctx;
    if (r->stopping)
        return;
    if (e == NATIVE_ACTOR_UP && !r->up) {
        r->up = true;
        find_method(r);
    } else if (e == NATIVE_ACTOR_DEAD) {
        dies(r, serve__actor_reason(text));
    }
}

static char *json_text(const json_t *value)
{
    char *text = rwf_json_text(value);
    return text != NULL ? text : rwf_xstrdup("{}");
}

static void on_closed(uv_handle_t *timer);

static void on_created(void *ctx, struct raywf_actor *a, const struct rwf_err *err)
{
    struct serve_replica *r = ctx;
    r->creating = false;
    if (r->stopping) {
        serve__actor_end(a, false);
        uv_close((uv_handle_t *)&r->timer, on_closed);
    } else if (a == NULL) {
        dies(r, err->text);
    } else {
        r->actor = a;
        native_client_watch(a, on_event, r);
    }
}

/* raywf:model gets the folder, the device and the threads. */
static void create_model(struct serve_replica *r, const struct serve_deployment *d)
{
    double gpu = json_number_value(json_object_get(d->resources, "gpu"));
    double cpu = json_number_value(json_object_get(d->resources, "cpu"));
    json_t *how =
        json_pack("{s:s, s:s, s:i}", "folder", d->model, "device",
                  gpu > 0 ? "cuda" : "cpu", "threads", cpu > 1 ? (int)cpu : 1);
    char *args[] = {json_text(how)};
    serve__actor_create(r->pool->loop, d, "raywf:model", "model", true, args, 1,
                        serve__files_of(r->pool, d, args[0]), on_created, r);
    json_decref(how);
}

static void create_actor(struct serve_replica *r, const struct serve_deployment *d)
{
    r->creating = true;
    if (d->kind == SERVE_MODEL) {
        create_model(r, d);
    } else if (d->class_ == NULL) {
        serve__actor_create(r->pool->loop, d, d->plugin, NULL, true, NULL, 0, NULL,
                            on_created, r);
    } else {
        char *args[] = {json_text(d->args)};
        if (d->user_config != NULL)
            r->config = json_text(d->user_config);
        serve__actor_create(r->pool->loop, d, d->plugin, d->class_, true, args, 1,
                            NULL, on_created, r);
    }
}

static const char *method_of(const struct serve_deployment *d)
{
    if (d->kind == SERVE_MODEL)
        return "answer";
    return d->class_ != NULL ? d->method : d->function;
}

static struct serve_replica *
native_start(struct serve_pool *p, const struct serve_deployment *d, const char *id,
             const struct serve_replica_events *e, struct rwf_err *err)
{
    struct serve_replica *r = rwf_xcalloc(1, sizeof(*r));
    (void)id, (void)err;
    r->pool = p;
    r->e = *e;
    r->method = rwf_xstrdup(method_of(d));
    r->streams = d->stream;
    r->content_type = rwf_xstrdup(d->content_type != NULL ? d->content_type
                                  : d->stream             ? "text/event-stream"
                                                          : "application/json");
    r->idempotent = d->idempotent || d->kind == SERVE_MODEL;
    r->is_model = d->kind == SERVE_MODEL;
    r->check.r = r->configure.r = r;
    TAILQ_INIT(&r->calls);
    TAILQ_INIT(&r->spare);
    uv_timer_init(p->loop, &r->timer);
    r->timer.data = r;
    create_actor(r, d);
    return r;
}

static void on_closed(uv_handle_t *timer)
{
    struct serve_replica *r = timer->data;
    struct call *c;
    r->e.stopped(r->e.ctx, r);
    while ((c = TAILQ_FIRST(&r->spare)) != NULL) {
        TAILQ_REMOVE(&r->spare, c, link);
        free(c);
    }
    free(r->args);
    free(r->method);
    free(r->content_type);
    free(r->config);
    free(r);
}

static void end_question(struct question *q)
{
    if (q->watch == NULL)
        return;
    native_client_forget(q->watch);
    answer_question(q, "the replica was stopped");
}

/* A call whose items are just being told goes by itself. */
static struct call *any_call(const struct serve_replica *r)
{
    struct call *c;
    TAILQ_FOREACH(c, &r->calls, link)
    if (!c->telling)
        return c;
    return NULL;
}

static void native_stop(struct serve_replica *r, int64_t grace)
{
    struct call *c;
    if (r->stopping)
        return;
    r->stopping = true;
    bool kindly = grace > 0 && r->up && TAILQ_EMPTY(&r->calls);
    serve__actor_end(r->actor, kindly);
    r->actor = NULL;
    while ((c = any_call(r)) != NULL) {
        native_client_forget(c->watch);
        lose(c, true, "the replica was stopped");
    }
    end_question(&r->check);
    end_question(&r->configure);
    if (!r->creating)
        uv_close((uv_handle_t *)&r->timer, on_closed);
}

const struct serve_replica_ops serve_replica_native = {
    .name = "native",
    .start = native_start,
    .send = native_send,
    .drop = native_drop,
    .configure = native_configure,
    .check = native_check,
    .stop = native_stop,
    .pause = native_pause,
};
