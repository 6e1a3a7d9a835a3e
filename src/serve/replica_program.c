/* SPDX-License-Identifier: Apache-2.0
 *
 * Replicas that are programs. An actor of raywf:program starts one, where the scheduler wants
 * it; once it is healthy the actor tells its address, and requests go straight there. The call
 * "wait" is out as long as the program lives: its end is the program's.
 *
 *   create -> UP -> address -> ready -> wait … -> died
 *                                    \-> stop: wait is cancelled (TERM, grace), address again:
 *                                        answered when the program is gone -> stopped
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "serve/brought.h"
#include "serve/pool.h"
#include "serve/class_program.h"
#include "serve/relay.h"
#include "serve/replica_actor.h"
#include "serve/replica_http.h"

#define OVER (2 * RWF_NS_PER_S) /* beyond its grace, until it is ended by force */

struct serve_replica {
    struct serve_pool *pool;
    struct serve_replica_events e;
    struct raywf_actor *actor;  /* NULL: not there yet, or ended */
    struct serve__proxy *proxy; /* NULL: not ready */
    char *health, *content_type, *socket;
    char token[SERVE_RELAY_TOKEN + 1]; /* of a way to it on another machine */
    struct serve__relay *relay;        /* our side of that; NULL: it is here */
    struct native_watch *address, *wait, *last;
    bool creating, up, dead, stopping, closing;
    uv_timer_t timer; /* its close is the last thing */
};

static void died(struct serve_replica *r, const char *why)
{
    if (r->dead || r->stopping)
        return;
    r->dead = true;
    serve__proxy_lose(r->proxy, why);
    r->e.died(r->e.ctx, r, why);
}

/* Without the name of the class that raywf_fail puts before. */
static const char *reason_of(const char *text)
{
    const char *why = serve__actor_reason(text);
    static const char *const before[] = {"program.wait: ", "program: "};
    for (size_t i = 0; i < RWF_COUNT(before); i++)
        if (rwf_starts_with(why, before[i]))
            return why + strlen(before[i]);
    return why;
}

static void on_wait(void *ctx, const struct native_outcome *o)
{
    struct serve_replica *r = ctx;
    r->wait = NULL;
    died(r, reason_of(o->text));
}

/* One on another machine is reached through its worker, and a socket of ours. */
static char *relay_to(struct serve_replica *r, const char *target, struct rwf_err *err)
{
    char *at = rwf_xasprintf("unix:%s", r->socket);
    const struct serve__relay_options o = {
        .listen = at, .target = target, .token = r->token};
    r->relay = serve__relay_open(r->pool->loop, &o, err);
    if (r->relay != NULL)
        return at;
    free(at);
    return NULL;
}

/* Other sockets of programs are of one machine. */
static bool is_here(const struct native_result *machine, struct rwf_err *err)
{
    char *here = serve_program_machine();
    bool same = machine->size == strlen(here) &&
                memcmp(machine->data, here, machine->size) == 0;
    if (!same)
        rwf_fail(err, RWF_E_ENV,
                 "it was placed on another machine (%.*s), where the front cannot ask "
                 "it: start its node with an address of a network that they share",
                 (int)machine->size, (const char *)machine->data);
    free(here);
    return same;
}

static void on_address(void *ctx, const struct native_outcome *o)
{
    struct serve_replica *r = ctx;
    struct raywf_error error = {0};
    struct rwf_err err = RWF_ERR_INIT;
    r->address = NULL;
    if (r->stopping || r->dead)
        return;
    if (o->code != RAYWF_OK) {
        died(r, reason_of(o->text));
        return;
    }
    char *target = rwf_xstrndup(o->results[0].data, o->results[0].size);
    char *to = rwf_starts_with(target, "tcp:")   ? relay_to(r, target, &err)
               : is_here(&o->results[1], &err) ? rwf_xstrdup(target)
                                               : NULL;
    if (to != NULL)
        r->proxy =
            serve__proxy_create(r->pool->loop, to, "", NULL, r->content_type, &err);
    free(to);
    free(target);
    if (r->proxy != NULL)
        r->wait = native_client_call(r->actor, "wait", NULL, RAYWF_NO_ARGS, on_wait, r,
                                     &error);
    if (r->proxy == NULL || r->wait == NULL)
        died(r, r->proxy == NULL ? err.text : error.text);
    else
        r->e.ready(r->e.ctx, r);
}

static const struct raywf_call_options address_options = {.returns = 2};

static void on_event(void *ctx, enum native_actor_event e, const char *text)
{
    struct serve_replica *r = ctx;
    struct raywf_error error = {0};
    if (e == NATIVE_ACTOR_DEAD) {
        died(r, reason_of(text));
    } else if (e == NATIVE_ACTOR_UP && !r->up && !r->stopping) {
        r->up = true;
        r->address = native_client_call(r->actor, "address", &address_options,
                                        RAYWF_NO_ARGS, on_address, r, &error);
        if (r->address == NULL)
            died(r, error.text);
    }
}

/* --- its start --- */

static void finish(struct serve_replica *r);

static void on_created(void *ctx, struct raywf_actor *a, const struct rwf_err *err)
{
    struct serve_replica *r = ctx;
    r->creating = false;
    r->actor = a;
    if (r->stopping) {
        finish(r);
    } else if (a == NULL) {
        died(r, err->text);
    } else {
        native_client_watch(a, on_event, r);
    }
}

static char *how_of(const struct serve_pool *p, const struct serve_deployment *d,
                    const char *id, const char *token)
{
    char *socket = rwf_xasprintf("%s/%s", p->sockets, id);
    char *front = serve_program_machine();
    char *log = rwf_xasprintf("%s/log/%s.log", p->folder, id);
    json_t *how = json_pack("{s:O, s:O?, s:s?, s:s, s:s, s:s, s:s?, s:I, s:I, s:s, s:s}", "argv",
                            d->argv, "env", d->env, "dir", d->dir, "id", id, "socket",
                            socket, "log", log, "health", d->health.path, "start_grace",
                            (json_int_t)d->health.start_grace, "grace",
                            (json_int_t)d->drain_timeout, "front", front, "token",
                            token);
    char *text = json_dumps(how, JSON_COMPACT);
    json_decref(how);
    free(front);
    free(socket);
    free(log);
    return text;
}

static struct serve_replica *
program_start(struct serve_pool *p, const struct serve_deployment *d, const char *id,
              const struct serve_replica_events *e, struct rwf_err *err)
{
    char token[SERVE_RELAY_TOKEN + 1];
    serve__relay_token(token);
    char *how = how_of(p, d, id, token);
    if (how == NULL) {
        rwf_fail(err, RWF_E_RECIPE, "the program's words are no UTF-8");
        return NULL;
    }
    struct serve_replica *r = rwf_xcalloc(1, sizeof(*r));
    r->pool = p;
    r->e = *e;
    memcpy(r->token, token, sizeof(token));
    r->socket = rwf_xasprintf("%s/%s", p->sockets, id);
    r->health = d->health.path != NULL ? rwf_xstrdup(d->health.path) : NULL;
    r->content_type = d->content_type != NULL ? rwf_xstrdup(d->content_type) : NULL;
    uv_timer_init(p->loop, &r->timer);
    r->timer.data = r;
    r->creating = true;
    serve__actor_create(p->loop, d, "raywf:program", "program", false, &how, 1,
                        serve__files_of(p, d, how), on_created, r);
    return r;
}

/* --- work --- */

static void program_send(struct serve_replica *r, struct serve_item *const *items,
                         int count)
{
    for (int i = 0; i < count; i++)
        if (r->proxy != NULL && !r->dead && !r->stopping)
            serve__proxy_send(r->proxy, items[i]);
        else
            items[i]->lost(items[i]->ctx, false, "the program has ended");
}

static void program_drop(struct serve_replica *r, struct serve_item *item)
{
    if (r->proxy != NULL)
        serve__proxy_drop(r->proxy, item);
}

static void program_pause(struct serve_replica *r, struct serve_item *item, bool paused)
{
    if (r->proxy != NULL)
        serve__proxy_pause(r->proxy, item, paused);
}

/* Without a path it is well as long as it lives, which "wait" tells. */
static void program_check(struct serve_replica *r, int64_t timeout,
                          void (*done)(void *ctx, const char *wrong), void *ctx)
{
    if (r->proxy == NULL || r->dead || r->health == NULL)
        done(ctx, r->proxy == NULL || r->dead ? "the program has ended" : NULL);
    else
        serve__proxy_check(r->proxy, r->health, 400, timeout, done, ctx);
}

static void program_configure(struct serve_replica *r, const json_t *config,
                              void (*done)(void *ctx, const char *wrong), void *ctx)
{
    (void)r, (void)config;
    done(ctx, "a program has no user_config");
}

/* --- its end --- */

static void on_closed(uv_handle_t *timer)
{
    struct serve_replica *r = timer->data;
    r->e.stopped(r->e.ctx, r);
    serve__proxy_destroy(r->proxy);
    if (r->relay != NULL)
        (void)unlink(r->socket);
    serve__relay_close(r->relay);
    explicit_bzero(r->token, sizeof(r->token));
    free(r->socket);
    free(r->health);
    free(r->content_type);
    free(r);
}

static void finish(struct serve_replica *r)
{
    if (r->closing || r->creating) /* then on_created goes on with it */
        return;
    r->closing = true;
    struct native_watch *out[] = {r->address, r->wait, r->last};
    for (size_t i = 0; i < RWF_COUNT(out); i++)
        if (out[i] != NULL)
            native_client_forget(out[i]);
    /* By force: what the program left in its group goes, too. */
    serve__actor_end(r->actor, false);
    r->actor = NULL;
    uv_close((uv_handle_t *)&r->timer, on_closed);
}

static void on_last(void *ctx, const struct native_outcome *o)
{
    struct serve_replica *r = ctx;
    (void)o;
    r->last = NULL;
    finish(r);
}

static void on_over(uv_timer_t *timer)
{
    finish(timer->data);
}

static void program_stop(struct serve_replica *r, int64_t grace)
{
    struct raywf_error error = {0};
    if (r->stopping)
        return;
    r->stopping = true;
    serve__proxy_lose(r->proxy, "the program was stopped");
    if (grace <= 0 || r->dead || r->wait == NULL) {
        finish(r);
        return;
    }
    native_client_forget(r->wait);
    r->wait = NULL;
    r->last = native_client_call(r->actor, "address", &address_options, RAYWF_NO_ARGS,
                                 on_last, r, &error);
    if (r->last == NULL) {
        finish(r);
        return;
    }
    uv_update_time(r->pool->loop);
    uv_timer_start(&r->timer, on_over, (uint64_t)((grace + OVER) / RWF_NS_PER_MS), 0);
}

const struct serve_replica_ops serve_replica_program = {
    .name = "program",
    .start = program_start,
    .send = program_send,
    .drop = program_drop,
    .configure = program_configure,
    .check = program_check,
    .stop = program_stop,
    .pause = program_pause,
};
