/* SPDX-License-Identifier: Apache-2.0
 *
 * See service.h. The process is one of proc.h: it dies with the engine, and what an
 * earlier engine left is swept by its run. Its control socket lies in the folder of the
 * native runtime, whose path is short enough for one; RUN/serve/control says where.
 */
#include "config.h"
#include "run/service.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "run/internal.h"
#include "run/layout.h"

#define LOOK_MS 5    /* until it listens */
#define AGAIN_MS 100 /* to connect anew for events */
#define BACKOFF_FIRST_MS 100
#define BACKOFF_MOST_MS 10000
#define STABLE (10 * RWF_NS_PER_S) /* so long up: earlier deaths are forgotten */
#define TRIES 3                    /* of one that was never up */
#define GRACE (60 * RWF_NS_PER_S)  /* for its drain, which has limits of its own */
#define LOG_LIMIT ((int64_t)16 << 20)
#define EVENT_MAX ((size_t)1 << 20)

struct engine__service {
    struct engine *engine;
    enum { STARTING, UP, WAITING, ENDING, GONE } phase;
    bool foreign; /* another run's */
    bool was_up;
    char *dir, *control;
    struct proc *proc;
    uv_timer_t timer;
    uv_pipe_t *pipe; /* for events; NULL: not connected */
    struct rwf_str in;
    int deaths; /* in a row */
    int64_t since;
};

static void connect_events(struct engine__service *s);
static void launch(struct engine__service *s);

/* --- events --- */

/* {"event": "serve.scaled", …}: the name goes, the rest is what the log keeps. */
static void take_event(struct engine__service *s, json_t *line)
{
    const char *name = json_string_value(json_object_get(line, "event"));
    enum run_event type = run_event_parse(name);

    if (type < RUN_SERVE_UP || type > RUN_SERVE_DOWN) {
        if (name != NULL)
            rwf_log(RWF_LOG_WARN, "run", "the server told of '%s', which is not known",
                    name);
        return;
    }
    json_t *event = json_copy(line);
    json_object_del(event, "event");
    run_log_append(s->engine->log, type, event);
}

static void take_lines(struct engine__service *s)
{
    char *at = s->in.data, *end = at + s->in.len, *newline;

    while (at < end && (newline = memchr(at, '\n', (size_t)(end - at))) != NULL) {
        json_t *line = json_loadb(at, (size_t)(newline - at), 0, NULL);
        if (line != NULL)
            take_event(s, line);
        json_decref(line);
        at = newline + 1;
    }
    size_t rest = (size_t)(end - at);
    memmove(s->in.data, at, rest);
    s->in.len = rest > EVENT_MAX ? 0 : rest;
}

static void end_it(struct engine__service *s)
{
    s->phase = GONE;
    uv_timer_stop(&s->timer);
}

static void pipe_closed(uv_handle_t *handle)
{
    free(handle);
}

static void drop_pipe(struct engine__service *s)
{
    if (s->pipe != NULL)
        uv_close((uv_handle_t *)s->pipe, pipe_closed);
    s->pipe = NULL;
    s->in.len = 0;
}

static void on_timer(uv_timer_t *timer)
{
    struct engine__service *s = timer->data;

    if (s->phase == WAITING)
        launch(s);
    else
        connect_events(s);
}

static void look_again(struct engine__service *s, uint64_t ms)
{
    uv_update_time(&s->engine->loop);
    uv_timer_start(&s->timer, on_timer, ms, 0);
}

static void on_room(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    (void)handle;
    *buf = uv_buf_init(rwf_xmalloc(size), (unsigned)size);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct engine__service *s = stream->data;

    if (n > 0 && s->pipe == (uv_pipe_t *)stream) {
        rwf_str_addn(&s->in, buf->base, (size_t)n);
        take_lines(s);
    }
    free(buf->base);
    if (n >= 0 || s->pipe != (uv_pipe_t *)stream)
        return;
    drop_pipe(s);
    if (s->foreign)
        end_it(s);
    else if (s->phase == UP && s->proc != NULL)
        look_again(s, AGAIN_MS);
}

static void on_written(uv_write_t *request, int status)
{
    (void)status; /* its end is read */
    free(request);
}

static void is_up(struct engine__service *s)
{
    int pid = s->proc != NULL ? proc_pid(s->proc) : 0;

    s->phase = UP;
    s->was_up = true;
    s->since = rwf_clock_mono();
    if (!s->foreign)
        run_log_append(s->engine->log, RUN_SERVE_UP,
                       json_pack("{s:i, s:i}", "pid", pid, "restarts", s->deaths));
}

static void on_connect(uv_connect_t *request, int status)
{
    static char ask[] = "{\"do\":\"events\"}\n";
    struct engine__service *s = request->handle->data;
    bool current = s->pipe == (uv_pipe_t *)request->handle;

    free(request);
    if (!current)
        return;
    if (status != 0) {
        drop_pipe(s);
        if (s->foreign)
            end_it(s);
        else if (s->phase == STARTING || s->phase == UP)
            look_again(s, s->phase == UP ? AGAIN_MS : LOOK_MS);
        return;
    }
    uv_buf_t buf = uv_buf_init(ask, sizeof(ask) - 1);
    uv_write(rwf_xmalloc(sizeof(uv_write_t)), (uv_stream_t *)s->pipe, &buf, 1,
             on_written);
    uv_read_start((uv_stream_t *)s->pipe, on_room, on_read);
    if (s->phase == STARTING)
        is_up(s);
}

static void connect_events(struct engine__service *s)
{
    if (s->pipe != NULL || (s->phase != STARTING && s->phase != UP))
        return;
    s->pipe = rwf_xmalloc(sizeof(*s->pipe));
    uv_pipe_init(&s->engine->loop, s->pipe, 0);
    s->pipe->data = s;
    uv_pipe_connect(rwf_xmalloc(sizeof(uv_connect_t)), s->pipe, s->control, on_connect);
}

/* --- the process --- */

static uint64_t backoff(const struct engine__service *s)
{
    int doublings = s->deaths < 8 ? s->deaths - 1 : 7;
    uint64_t ms = (uint64_t)BACKOFF_FIRST_MS << doublings;

    return ms < BACKOFF_MOST_MS ? ms : BACKOFF_MOST_MS;
}

/* Its last words, else how it ended. */
static void cannot_start(struct engine__service *s, const struct proc_exit *result)
{
    struct rwf_err err = RWF_ERR_INIT;
    bool tail = result->tail != NULL && *result->tail != '\0';
    const char *last = tail ? strrchr(result->tail, '\n') : NULL;

    end_it(s);
    rwf_fail(&err,
             result->exit_code > 0 && result->exit_code < 70
                 ? RWF_E_BASE + result->exit_code
                 : RWF_E_ENV,
             "the server of what is served cannot start (%s): %s", result->message,
             !tail             ? s->dir
             : last && last[1] ? last + 1
                               : result->tail);
    engine__fatal(s->engine, &err);
}

static void log_down(struct engine__service *s, const struct proc_exit *result,
                     const char *cause, double delay)
{
    run_log_append(s->engine->log, RUN_SERVE_DOWN,
                   json_pack("{s:s, s:o, s:f}", "cause", cause, "message",
                             run_text(result->message), "delay", delay));
}

static void on_end(void *ctx, const struct proc_exit *result)
{
    struct engine__service *s = ctx;
    bool good = result->cause == PLAN_CAUSE_NONE;

    if (s->phase == ENDING || good) { /* as it was told, by us or `serve down` */
        log_down(s, result, s->phase == ENDING ? "stopped" : "down", 0);
        end_it(s);
    } else {
        if (s->phase == UP && rwf_clock_mono() - s->since > STABLE)
            s->deaths = 0;
        s->deaths++;
        if (!s->was_up && s->deaths >= TRIES) {
            cannot_start(s, result);
        } else {
            s->phase = WAITING;
            log_down(s, result, plan_cause_name(result->cause),
                     (double)backoff(s) / 1000);
            look_again(s, backoff(s));
        }
    }
    proc_free(s->proc);
    s->proc = NULL;
}

static void on_report(void *ctx, const json_t *line)
{
    (void)ctx, (void)line;
}

static int start_process(struct engine__service *s, struct rwf_err *err)
{
    struct engine *e = s->engine;
    json_t *argv = json_pack("[s, s, s]", e->self, "serve-front", s->dir);
    json_t *env = json_object();
    const struct proc_handler handler = {s, on_report, on_end};
    struct proc_spec spec = {.argv = argv,
                             .env = env,
                             .cwd = s->dir,
                             .dir = s->dir,
                             .run_id = e->id,
                             .address = "serve",
                             .grace = GRACE,
                             .log_limit = LOG_LIMIT,
                             .gpu_count = -1};

    engine__runtime_env(e, env);
    engine__service_env(e, env);
    json_object_set_new(env, "RAYWF_RECIPE_DIR",
                        run_text(recipe_dir(plan_graph_recipe(e->graph))));
    (void)unlink(s->control);
    s->proc = proc_start(&e->loop, &spec, &handler, err);
    json_decref(argv);
    json_decref(env);
    return s->proc == NULL ? -1 : 0;
}

static void launch(struct engine__service *s)
{
    struct rwf_err err = RWF_ERR_INIT;

    s->phase = STARTING;
    if (start_process(s, &err) != 0) {
        end_it(s);
        engine__fatal(s->engine, &err);
        return;
    }
    look_again(s, LOOK_MS);
}

/* --- for the engine --- */

static int write_control(struct engine__service *s, struct rwf_err *err)
{
    char *path = run_serve_control(s->engine->root, s->engine->id);
    int result = rwf_fs_write(path, s->control, strlen(s->control), false, err);

    free(path);
    return result;
}

static struct engine__service *create(struct engine *e)
{
    struct engine__service *s = rwf_xcalloc(1, sizeof(*s));

    s->engine = e;
    e->service = s;
    uv_timer_init(&e->loop, &s->timer);
    s->timer.data = s;
    return s;
}

static int start(struct engine *e, struct rwf_err *err)
{
    if (engine__runtime_wanted(e, err) != 0)
        return -1;
    struct engine__service *s = create(e);
    s->phase = GONE;
    s->dir = run_serve_dir(e->root, e->id);
    s->control = rwf_xasprintf("%s/serve", engine__runtime_folder(e));
    if (rwf_fs_mkdirs(s->dir, err) != 0 || write_control(s, err) != 0)
        return -1;
    launch(s);
    return 0;
}

static void borrow(struct engine *e)
{
    struct engine__service *s = create(e);

    s->foreign = true;
    s->phase = STARTING;
    s->control = rwf_xstrdup(e->options->serve_control);
    connect_events(s);
}

int engine__service_wanted(struct engine *e, struct rwf_err *err)
{
    if (e->service == NULL && e->options->serve_control != NULL)
        borrow(e);
    else if (e->service == NULL && start(e, err) != 0)
        return -1;
    if (e->service->phase == GONE || e->service->phase == ENDING)
        return rwf_fail(err, RWF_E_FAILED,
                        e->service->foreign
                            ? "the server that was to be updated has ended"
                            : "the server of this run was ended (raywf serve down)");
    return e->service->phase == UP;
}

void engine__service_env(const struct engine *e, json_t *env)
{
    if (e->service != NULL)
        json_object_set_new(env, "RAYWF_SERVE_CONTROL", run_text(e->service->control));
}

bool engine__service_stays(struct engine *e)
{
    const struct engine__service *s = e->service;

    if (!e->stay || e->stopping || e->leaving || e->exit_code != 0 || s == NULL ||
        s->foreign || s->phase == ENDING || s->phase == GONE)
        return false;
    if (!e->staying)
        run_log_append(e->log, RUN_SERVE_READY,
                       json_pack("{s:s}", "control", s->control));
    e->staying = true;
    return true;
}

bool engine__service_leave(struct engine *e, const char *reason)
{
    if (!e->staying)
        return false;
    if (!e->leaving)
        run_log_append(e->log, RUN_RUN_STOPPING, json_pack("{s:s}", "reason", reason));
    e->leaving = true;
    return true;
}

bool engine__service_gone(struct engine *e)
{
    struct engine__service *s = e->service;

    if (s == NULL)
        return true;
    if (s->foreign || (s->proc == NULL && s->phase != GONE)) {
        drop_pipe(s);
        end_it(s);
    }
    if (s->proc != NULL && s->phase != ENDING) {
        s->phase = ENDING;
        proc_stop(s->proc);
    }
    /* Its last events are read to their end. */
    return s->proc == NULL && s->pipe == NULL;
}

void engine__service_kill(struct engine *e)
{
    if (e->service != NULL && e->service->proc != NULL) {
        e->service->phase = ENDING;
        proc_kill(e->service->proc);
    }
}

void engine__service_free(struct engine *e)
{
    struct engine__service *s = e->service;

    if (s == NULL)
        return;
    rwf_assert(s->proc == NULL);
    rwf_str_free(&s->in);
    free(s->pipe); /* the loop has closed it, and was told nothing else */
    free(s->dir);
    free(s->control);
    free(s);
    e->service = NULL;
}
