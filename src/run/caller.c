/* SPDX-License-Identifier: Apache-2.0
 *
 * Three lists of calls: inbox (from the loop), pending (the thread's own), outbox (to
 * the loop). A call is in one of them, or held by the loop while its handler runs.
 * Under the lock: the lists' heads, stopping, ready, and `cancel` of each call.
 */
#include "config.h"
#include "run/caller.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>
#include "base/map.h"
#include "base/mem.h"
#include "base/str.h"
#include "native/client.h"

enum cancel { CANCEL_NO, CANCEL_ASKED, CANCEL_FORCED };

struct caller_call {
    /* The order. */
    char *plugin, *name, *args, *actor_name;
    char **env; /* NAME=value … NULL */
    struct raywf_resources resources;
    struct raywf_resource *custom;
    int64_t timeout, backoff;
    int actor, max_restarts;
    bool creates; /* an actor: no result follows */
    caller_fn fn;
    void *ctx;
    /* The thread's. */
    struct raywf_ref ref;
    bool submitted;
    enum cancel cancel, cancelled; /* asked for; done */
    /* The result. */
    enum plan_cause cause;
    char *text, *value;
    size_t size;
    TAILQ_ENTRY(caller_call) link;
};
TAILQ_HEAD(call_list, caller_call);

struct actor {
    struct raywf_actor *handle; /* NULL: error says why */
    char *error;
    int code;
};

struct caller {
    uv_loop_t *loop;
    uv_async_t async;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct call_list inbox, outbox;
    bool stopping, ready, poked, finished;
    int actors_made; /* the loop's: numbers given */
    void (*done)(void *ctx);
    void *done_ctx;
    /* The thread's. */
    int fd;
    char *job;
    struct raywf_error broken; /* code 0: the client is well */
    struct call_list pending;
    size_t pending_count;
    struct rwf_map
        *tasks; /* key -> struct raywf_task: they live as long as the client */
    struct actor *actors;
    size_t actor_count, actor_cap;
};

/* --- calls --- */

static void call_free(struct caller_call *call)
{
    for (size_t i = 0; call->env != NULL && call->env[i] != NULL; i++)
        free(call->env[i]);
    free(call->env);
    free(call->custom);
    free(call->plugin);
    free(call->name);
    free(call->args);
    free(call->actor_name);
    free(call->text);
    free(call->value);
    free(call);
}

static char *copy(const char *text)
{
    return text == NULL ? NULL : rwf_xstrdup(text);
}

static char **copy_env(const json_t *env)
{
    char **out = rwf_xcalloc(json_object_size(env) + 1, sizeof(*out));
    const char *name;
    json_t *value;
    size_t n = 0;

    json_object_foreach((json_t *)(uintptr_t)env, name, value)
        if (json_is_string(value))
            out[n++] = rwf_xasprintf("%s=%s", name, json_string_value(value));
    return out;
}

static void copy_resources(struct caller_call *call, const struct caller_spec *spec)
{
    const struct plan_policy *p = spec->policy;

    call->resources.cpu = p->cpu > 0 ? p->cpu : -1;
    call->resources.memory = p->memory;
    call->resources.gpu = p->gpu;
    call->custom = rwf_xcalloc(p->custom_count + 1, sizeof(*call->custom));
    for (size_t i = 0; i < p->custom_count; i++)
        call->custom[i] =
            (struct raywf_resource){p->custom_names[i], p->custom_amounts[i]};
    call->resources.custom = call->custom;
}

static struct caller_call *call_new(const struct caller_spec *spec)
{
    struct caller_call *call = rwf_xcalloc(1, sizeof(*call));

    call->plugin = copy(spec->plugin);
    call->name = copy(spec->name);
    call->args = copy(spec->args);
    call->actor_name = copy(spec->actor_name);
    call->env = copy_env(spec->env);
    copy_resources(call, spec);
    call->timeout = spec->timeout;
    call->actor = spec->actor;
    call->max_restarts = spec->max_restarts;
    call->backoff = spec->backoff;
    return call;
}

/* --- what failures mean --- */

static const struct {
    int code; /* enum raywf_code */
    enum plan_cause cause;
} causes[] = {
    {RAYWF_OK, PLAN_CAUSE_NONE},
    {RAYWF_E_ARGUMENT, PLAN_CAUSE_START},
    {RAYWF_E_RUNTIME, PLAN_CAUSE_NODE_LOST},
    {RAYWF_E_TIMEOUT, PLAN_CAUSE_TIMEOUT},
    {RAYWF_E_FAILED, PLAN_CAUSE_EXIT},
    {RAYWF_E_WORKER, PLAN_CAUSE_EXIT},
    {RAYWF_E_OOM, PLAN_CAUSE_OOM},
    {RAYWF_E_PLUGIN, PLAN_CAUSE_START},
    {RAYWF_E_ACTOR, PLAN_CAUSE_EXIT},
    {RAYWF_E_CANCELLED, PLAN_CAUSE_STOPPED},
    {RAYWF_E_LOST, PLAN_CAUSE_NODE_LOST},
    {RAYWF_E_FIT, PLAN_CAUSE_START},
    {RAYWF_E_OVERRUN, PLAN_CAUSE_EXIT},
};

static enum plan_cause cause_of(int code, const char *text)
{
    bool died = code == RAYWF_E_WORKER || code == RAYWF_E_ACTOR;

    if (died && strstr(text, "signal ") != NULL)
        return PLAN_CAUSE_SIGNAL;
    for (size_t i = 0; i < RWF_COUNT(causes); i++)
        if (causes[i].code == code)
            return causes[i].cause;
    return PLAN_CAUSE_EXIT;
}

/* --- the thread --- */

static void finish(struct caller *c, struct caller_call *call, int code,
                   const char *text)
{
    if (call->submitted) {
        TAILQ_REMOVE(&c->pending, call, link);
        c->pending_count--;
        raywf_drop(call->ref);
    }
    if (call->creates) {
        call_free(call);
        return;
    }
    call->cause = cause_of(code, text);
    call->text = code == RAYWF_OK ? NULL : rwf_xstrdup(text);
    pthread_mutex_lock(&c->lock);
    TAILQ_INSERT_TAIL(&c->outbox, call, link);
    pthread_mutex_unlock(&c->lock);
    uv_async_send(&c->async);
}

/* A function with its options, by all that tells it apart. */
static struct raywf_task *task_for(struct caller *c, const struct caller_call *call,
                                   struct raywf_error *err)
{
    struct rwf_str key = {0};
    struct raywf_task_options o = {
        .resources = call->resources,
        .retry = {.max = -1}, /* the schedule's matter */
        .timeout = call->timeout,
        .env = (const char *const *)call->env,
    };

    rwf_str_addf(&key, "%s\n%s\n%lld %lld %g %g", call->plugin, call->name,
                 (long long)o.timeout, (long long)o.resources.memory, o.resources.cpu,
                 o.resources.gpu);
    for (const struct raywf_resource *r = o.resources.custom; r && r->name; r++)
        rwf_str_addf(&key, " %s=%g", r->name, r->amount);
    for (size_t i = 0; call->env[i] != NULL; i++)
        rwf_str_addf(&key, "\n%s", call->env[i]);
    struct raywf_task *task = rwf_map_get(c->tasks, key.data);
    if (task == NULL && (task = raywf_task(call->plugin, call->name, &o, err)) != NULL)
        rwf_map_set(c->tasks, key.data, task);
    rwf_str_free(&key);
    return task;
}

static int call_method(struct caller *c, struct caller_call *call,
                       struct raywf_error *err)
{
    const struct raywf_call_options o = {.timeout = call->timeout};
    const struct actor *actor = &c->actors[call->actor];

    if (actor->handle == NULL) {
        err->code = actor->code;
        snprintf(err->text, sizeof(err->text), "%s", actor->error);
        return -1;
    }
    return raywf_actor_call(actor->handle, call->name, &o,
                            RAYWF_ARGS(RAYWF_TEXT(call->args)), &call->ref, err);
}

static int call_function(struct caller *c, struct caller_call *call,
                         struct raywf_error *err)
{
    struct raywf_task *task = task_for(c, call, err);

    if (task == NULL)
        return -1;
    return raywf_submit(task, RAYWF_ARGS(RAYWF_TEXT(call->args)), &call->ref, err);
}

static void make_actor(struct caller *c, struct caller_call *call)
{
    struct actor *actor;
    struct raywf_error err = {0};
    struct raywf_actor_options o = {
        .resources = call->resources,
        .name = call->actor_name,
        .max_restarts = call->max_restarts,
        .backoff = call->backoff,
        .start_timeout = call->timeout,
        .env = (const char *const *)call->env,
    };

    actor = RWF_PUSH(c->actors, c->actor_count, c->actor_cap);
    *actor = (struct actor){0};
    if (c->broken.code != RAYWF_OK)
        err = c->broken;
    else
        actor->handle = raywf_actor_create(call->plugin, call->name, &o,
                                           RAYWF_ARGS(RAYWF_TEXT(call->args)), &err);
    if (actor->handle == NULL) {
        actor->code = err.code;
        actor->error = rwf_xasprintf("the actor %s cannot be made: %s",
                                     call->actor_name, err.text);
    }
    call_free(call);
}

static void begin(struct caller *c, struct caller_call *call)
{
    struct raywf_error err = c->broken;

    if (call->creates) {
        make_actor(c, call);
        return;
    }
    if (err.code != RAYWF_OK || (call->actor >= 0 ? call_method(c, call, &err)
                                                  : call_function(c, call, &err)) < 0) {
        finish(c, call, err.code, err.text);
        return;
    }
    call->submitted = true;
    TAILQ_INSERT_TAIL(&c->pending, call, link);
    c->pending_count++;
}

static void take_result(struct caller *c, struct caller_call *call)
{
    struct raywf_value value;
    struct raywf_error err = {0};

    if (raywf_get(call->ref, 0, &value, &err) == 0) {
        call->size = value.size;
        call->value = rwf_xmalloc(value.size + 1);
        memcpy(call->value, value.data, value.size);
        call->value[value.size] = '\0';
        raywf_release(&value);
    }
    finish(c, call, err.code, err.text);
}

static void take_results(struct caller *c)
{
    size_t n = c->pending_count, i = 0;
    struct raywf_ref *refs = rwf_xcalloc(n + 1, sizeof(*refs));
    bool *ready = rwf_xcalloc(n + 1, sizeof(*ready));
    struct caller_call *call, *next;

    TAILQ_FOREACH(call, &c->pending, link)
    refs[i++] = call->ref;
    if (n > 0 && raywf_wait(refs, n, n, 0, ready, NULL) > 0) {
        i = 0;
        for (call = TAILQ_FIRST(&c->pending); call != NULL; call = next) {
            next = TAILQ_NEXT(call, link);
            if (ready[i++])
                take_result(c, call);
        }
    }
    free(ready);
    free(refs);
}

static void cancel_asked(struct caller *c)
{
    struct caller_call *call;

    TAILQ_FOREACH(call, &c->pending, link)
    {
        pthread_mutex_lock(&c->lock);
        enum cancel asked = call->cancel;
        pthread_mutex_unlock(&c->lock);
        if (asked == call->cancelled)
            continue;
        call->cancelled = asked;
        raywf_cancel(call->ref, asked == CANCEL_FORCED ? RAYWF_CANCEL_FORCE : 0, NULL);
    }
}

static void on_ready(void *ctx)
{
    struct caller *c = ctx;

    pthread_mutex_lock(&c->lock);
    c->ready = true;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->lock);
}

static void open_client(struct caller *c)
{
    const struct raywf_options o = {.job = c->job};

    c->broken = (struct raywf_error){0};
    if (native_client_open(c->fd, &o, &c->broken) == 0)
        native_client_on_ready(on_ready, c);
}

static void close_client(struct caller *c)
{
    struct caller_call *call, *next;

    for (call = TAILQ_FIRST(&c->pending); call != NULL; call = next) {
        next = TAILQ_NEXT(call, link);
        call_free(call);
    }
    for (size_t i = 0; i < c->actor_count; i++) {
        if (c->actors[i].handle != NULL)
            raywf_actor_kill(c->actors[i].handle, false, NULL);
        free(c->actors[i].error);
    }
    if (c->broken.code == RAYWF_OK)
        raywf_shutdown();
    free(c->actors);
}

/* Takes the orders; false: the end. */
static bool wait_for_work(struct caller *c, struct call_list *ret)
{
    TAILQ_INIT(ret);
    pthread_mutex_lock(&c->lock);
    while (!c->stopping && !c->ready && !c->poked && TAILQ_EMPTY(&c->inbox))
        pthread_cond_wait(&c->wake, &c->lock);
    c->ready = c->poked = false;
    TAILQ_CONCAT(ret, &c->inbox, link);
    bool go_on = !c->stopping;
    pthread_mutex_unlock(&c->lock);
    return go_on;
}

static void drop_list(struct call_list *list)
{
    struct caller_call *call;

    while ((call = TAILQ_FIRST(list)) != NULL) {
        TAILQ_REMOVE(list, call, link);
        call_free(call);
    }
}

static void *thread_main(void *arg)
{
    struct caller *c = arg;
    struct call_list orders;
    struct caller_call *call;

    open_client(c);
    while (wait_for_work(c, &orders)) {
        while ((call = TAILQ_FIRST(&orders)) != NULL) {
            TAILQ_REMOVE(&orders, call, link);
            begin(c, call);
        }
        cancel_asked(c);
        take_results(c);
    }
    drop_list(&orders);
    close_client(c);
    pthread_mutex_lock(&c->lock);
    c->finished = true;
    pthread_mutex_unlock(&c->lock);
    uv_async_send(&c->async);
    return NULL;
}

/* --- the loop's side --- */

static void on_closed(uv_handle_t *handle)
{
    struct caller *c = handle->data;
    void (*done)(void *ctx) = c->done;
    void *ctx = c->done_ctx;

    drop_list(&c->inbox);
    drop_list(&c->outbox);
    pthread_cond_destroy(&c->wake);
    pthread_mutex_destroy(&c->lock);
    rwf_map_destroy(c->tasks, NULL);
    free(c->job);
    free(c);
    if (done != NULL)
        done(ctx);
}

static void on_async(uv_async_t *async)
{
    struct caller *c = async->data;
    struct call_list done;
    struct caller_call *call;

    TAILQ_INIT(&done);
    pthread_mutex_lock(&c->lock);
    TAILQ_CONCAT(&done, &c->outbox, link);
    bool finished = c->finished;
    pthread_mutex_unlock(&c->lock);
    while ((call = TAILQ_FIRST(&done)) != NULL) {
        struct caller_result result = {.cause = call->cause,
                                       .text = call->text,
                                       .value = call->value,
                                       .size = call->size};
        TAILQ_REMOVE(&done, call, link);
        if (!c->stopping)
            call->fn(call->ctx, &result);
        call_free(call);
    }
    if (finished) {
        pthread_join(c->thread, NULL);
        uv_close((uv_handle_t *)&c->async, on_closed);
    }
}

static void give(struct caller *c, struct caller_call *call)
{
    pthread_mutex_lock(&c->lock);
    TAILQ_INSERT_TAIL(&c->inbox, call, link);
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->lock);
}

struct caller *caller_start(uv_loop_t *loop, int fd, const char *job,
                            struct rwf_err *err)
{
    struct caller *c = rwf_xcalloc(1, sizeof(*c));

    c->loop = loop;
    c->fd = fd;
    c->job = rwf_xstrdup(job);
    c->tasks = rwf_map_create();
    TAILQ_INIT(&c->inbox);
    TAILQ_INIT(&c->outbox);
    TAILQ_INIT(&c->pending);
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->wake, NULL);
    uv_async_init(loop, &c->async, on_async);
    c->async.data = c;
    int failed = pthread_create(&c->thread, NULL, thread_main, c);
    if (failed == 0)
        return c;
    close(fd);
    rwf_fail(err, RWF_E_ENV, "cannot start a thread: %s", strerror(failed));
    uv_close((uv_handle_t *)&c->async, on_closed);
    return NULL;
}

struct caller_call *caller_submit(struct caller *c, const struct caller_spec *spec,
                                  caller_fn fn, void *ctx)
{
    struct caller_call *call = call_new(spec);

    call->fn = fn;
    call->ctx = ctx;
    give(c, call);
    return call;
}

int caller_actor(struct caller *c, const struct caller_spec *spec)
{
    struct caller_call *call = call_new(spec);

    call->creates = true;
    give(c, call);
    return c->actors_made++;
}

void caller_cancel(struct caller *c, struct caller_call *call, bool force)
{
    pthread_mutex_lock(&c->lock);
    call->cancel = force ? CANCEL_FORCED : CANCEL_ASKED;
    c->poked = true;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->lock);
}

void caller_stop(struct caller *c, void (*done)(void *ctx), void *ctx)
{
    pthread_mutex_lock(&c->lock);
    c->stopping = true;
    c->done = done;
    c->done_ctx = ctx;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->lock);
}
