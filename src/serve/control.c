/* SPDX-License-Identifier: Apache-2.0
 *
 * A client of the control socket is freed when its pipe is closed; what it asked for
 * may go on then, unheard.
 */
#include "config.h"
#include "serve/control.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "serve/server_inside.h"
#include "wire/unix.h"

#define LINE_MAX_BYTES ((size_t)64 << 20)
#define BEHIND_MAX                                                                     \
    ((size_t)16 << 20) /* a reader of events that is so far behind is cut off */
#define DRAIN (30 * RWF_NS_PER_S)

struct client {
    struct serve_control *control;
    uv_pipe_t pipe;
    struct rwf_str in;
    bool events, closing;
    bool busy; /* a request goes on: its end is still to be told */
    TAILQ_ENTRY(client) link;
};
TAILQ_HEAD(clients, client);

struct serve_control {
    struct serve_server *server;
    uv_pipe_t listen;
    char *path;
    struct clients clients;
    bool closing, deaf; /* deaf: its own handle is closed */
};

/* --- writing --- */

struct message {
    uv_write_t request;
    char text[];
};

static void on_written(uv_write_t *request, int status)
{
    (void)status;
    free(request);
}

static void maybe_free(struct serve_control *c)
{
    if (!c->deaf || !TAILQ_EMPTY(&c->clients))
        return;
    free(c->path);
    free(c);
}

static void on_client_closed(uv_handle_t *handle)
{
    struct client *c = handle->data;
    struct serve_control *control = c->control;
    serve__unhear(control->server, c);
    TAILQ_REMOVE(&control->clients, c, link);
    rwf_str_free(&c->in);
    free(c);
    maybe_free(control);
}

static void close_client(struct client *c)
{
    if (c->closing)
        return;
    c->closing = true;
    uv_close((uv_handle_t *)&c->pipe, on_client_closed);
}

static void say(struct client *c, const json_t *line)
{
    char *text = json_dumps(line, JSON_COMPACT);
    if (c->closing || text == NULL) {
        free(text);
        return;
    }
    if (uv_stream_get_write_queue_size((uv_stream_t *)&c->pipe) > BEHIND_MAX) {
        free(text);
        close_client(c);
        return;
    }
    size_t len = strlen(text);
    struct message *m = rwf_xmalloc(sizeof(*m) + len + 1);
    memcpy(m->text, text, len);
    m->text[len] = '\n';
    free(text);
    uv_buf_t buf = uv_buf_init(m->text, (unsigned)(len + 1));
    if (uv_write(&m->request, (uv_stream_t *)&c->pipe, &buf, 1, on_written) != 0)
        free(m);
}

static void say_take(struct client *c, json_t *line)
{
    say(c, line);
    json_decref(line);
}

static void read_lines(struct client *c);

/* The request is over; the next one may have come already. */
static void say_ok(struct client *c, json_t *data)
{
    c->busy = false;
    say_take(c, json_pack("{s:b, s:o}", "ok", 1, "data",
                          data != NULL ? data : json_object()));
}

static void say_error(struct client *c, const struct rwf_err *err)
{
    json_t *text = json_string(err->text);
    c->busy = false;
    say_take(c, json_pack("{s:b, s:i, s:o}", "ok", 0, "code", err->code, "error",
                          text != NULL ? text : json_string("?")));
}

void serve_control_event(struct serve_control *c, const json_t *event)
{
    struct client *x;
    if (c == NULL)
        return;
    TAILQ_FOREACH(x, &c->clients, link)
    if (x->events)
        say(x, event);
}

/* --- requests --- */

static const char *text_of(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

static int64_t time_of(const json_t *o, const char *key, int64_t fallback)
{
    const json_t *v = json_object_get(o, key);
    return json_is_integer(v) ? json_integer_value(v) : fallback;
}

static void on_progress(void *ctx, double share, const char *text)
{
    say_take(ctx, json_pack("{s:f, s:s}", "progress", share, "message", text));
}

static void on_deployed(void *ctx, const struct rwf_err *err)
{
    struct client *c = ctx;
    if (err != NULL)
        say_error(c, err);
    else
        say_ok(c, NULL);
    read_lines(c);
}

static void do_deploy(struct client *c, json_t *request)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *app = json_object_get(request, "app");
    bool waits = !json_is_false(json_object_get(request, "wait"));
    struct serve_deploy how = {.progress = waits ? on_progress : NULL,
                               .done = waits ? on_deployed : NULL,
                               .ctx = c};
    if (serve__deploy(c->control->server, app, &how, &err) != 0)
        say_error(c, &err);
    else if (!waits)
        say_ok(c, NULL);
}

static void on_removed(void *ctx)
{
    say_ok(ctx, NULL);
    read_lines(ctx);
}

static void do_remove(struct client *c, json_t *request)
{
    struct rwf_err err = RWF_ERR_INIT;
    const char *app = text_of(request, "app");
    if (serve__remove(c->control->server, app != NULL ? app : "",
                      time_of(request, "timeout", DRAIN), on_removed, c, &err) != 0)
        say_error(c, &err);
}

static void do_scale(struct client *c, json_t *request)
{
    struct rwf_err err = RWF_ERR_INIT;
    const char *app = text_of(request, "app"),
               *deployment = text_of(request, "deployment");
    struct serve__slot *slot =
        serve__slot_find(c->control->server, app != NULL ? app : "");
    int64_t replicas = time_of(request, "replicas", -1);
    int rc = -1;
    if (slot == NULL)
        rwf_fail(&err, RWF_E_NORUN, "no application '%s' is served",
                 app != NULL ? app : "");
    else if (replicas < 0 || replicas > SERVE_REPLICAS_MAX)
        rwf_fail(&err, RWF_E_USAGE, "scale: replicas must be a number from 0 to %d",
                 SERVE_REPLICAS_MAX);
    else
        rc = serve_application_scale(slot->app, deployment, (int)replicas, &err);
    if (rc != 0) {
        say_error(c, &err);
        return;
    }
    serve__state_dirty(c->control->server);
    say_ok(c, NULL);
}

static void do_status(struct client *c, json_t *request)
{
    (void)request;
    say_ok(c, serve__status(c->control->server));
}

static void on_down(void *ctx)
{
    say_ok(ctx, NULL);
}

static void do_down(struct client *c, json_t *request)
{
    serve__down(c->control->server, time_of(request, "timeout", DRAIN), on_down, c);
}

static void do_events(struct client *c, json_t *request)
{
    (void)request;
    c->events = true;
    c->busy = false;
}

static const struct {
    const char *name;
    void (*run)(struct client *c, json_t *request);
} verbs[] = {{"deploy", do_deploy}, {"remove", do_remove}, {"scale", do_scale},
             {"status", do_status}, {"down", do_down},     {"events", do_events}};

static void take_line(struct client *c, const char *line, size_t len)
{
    json_error_t why;
    struct rwf_err err = RWF_ERR_INIT;
    json_t *request = json_loadb(line, len, 0, &why);
    const char *name = text_of(request, "do");
    size_t i = 0;
    while (name != NULL && i < RWF_COUNT(verbs) && strcmp(verbs[i].name, name) != 0)
        i++;
    c->busy = true;
    if (request == NULL)
        rwf_fail(&err, RWF_E_USAGE, "control: a line is no JSON: %s", why.text);
    else if (name == NULL || i == RWF_COUNT(verbs))
        rwf_fail(&err, RWF_E_USAGE, "control: there is no request '%s'",
                 name != NULL ? name : "");
    else
        verbs[i].run(c, request);
    if (err.code != 0)
        say_error(c, &err);
    json_decref(request);
}

/* One request after the other. */
static void read_lines(struct client *c)
{
    char *newline;
    while (!c->busy && !c->closing && c->in.len > 0 &&
           (newline = memchr(c->in.data, '\n', c->in.len)) != NULL) {
        size_t len = (size_t)(newline - c->in.data);
        char *line = rwf_xstrndup(c->in.data, len);
        c->in.len -= len + 1;
        memmove(c->in.data, newline + 1, c->in.len);
        take_line(c, line, len);
        free(line);
    }
}

/* --- the socket --- */

static void on_room(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    (void)handle;
    *buf = uv_buf_init(rwf_xmalloc(size), (unsigned)size);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct client *c = stream->data;
    if (n > 0)
        rwf_str_addn(&c->in, buf->base, (size_t)n);
    free(buf->base);
    if (n < 0 || c->in.len > LINE_MAX_BYTES)
        close_client(c);
    else
        read_lines(c);
}

static void on_connection(uv_stream_t *listen, int status)
{
    struct serve_control *control = listen->data;
    struct rwf_err err = RWF_ERR_INIT;
    uv_os_fd_t fd;
    if (status != 0 || control->closing)
        return;
    struct client *c = rwf_xcalloc(1, sizeof(*c));
    c->control = control;
    uv_pipe_init(listen->loop, &c->pipe, 0);
    c->pipe.data = c;
    TAILQ_INSERT_TAIL(&control->clients, c, link);
    if (uv_accept(listen, (uv_stream_t *)&c->pipe) == 0 &&
        uv_fileno((uv_handle_t *)&c->pipe, &fd) == 0 &&
        wire__unix_check_peer(fd, &err) == 0 &&
        uv_read_start((uv_stream_t *)&c->pipe, on_room, on_read) == 0)
        return;
    rwf_log(RWF_LOG_WARN, "serve", "a client of the control socket is refused: %s",
            err.text);
    close_client(c);
}

struct serve_control *serve_control_open(struct serve_server *s, uv_loop_t *loop,
                                         const char *path, struct rwf_err *err)
{
    struct serve_control *c = rwf_xcalloc(1, sizeof(*c));
    c->server = s;
    c->path = rwf_xstrdup(path);
    TAILQ_INIT(&c->clients);
    uv_pipe_init(loop, &c->listen, 0);
    c->listen.data = c;
    unlink(path);
    int rc = uv_pipe_bind(&c->listen, path);
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)&c->listen, 64, on_connection);
    if (rc == 0)
        return c;
    rwf_fail(err, RWF_E_ENV, "cannot listen at the control socket %s: %s%s", path,
             uv_strerror(rc),
             rc == UV_EINVAL ? " (a longer path than sockets have)" : "");
    serve_control_close(c);
    return NULL;
}

static void on_listen_closed(uv_handle_t *handle)
{
    struct serve_control *c = handle->data;
    c->deaf = true;
    maybe_free(c);
}

static void on_flushed(uv_shutdown_t *request, int status)
{
    struct client *c = request->data;
    (void)status;
    free(request);
    close_client(c);
}

/* Its last line is sent, then it is closed. */
static void leave(struct client *c)
{
    uv_shutdown_t *request = rwf_xmalloc(sizeof(*request));
    request->data = c;
    if (c->closing || uv_shutdown(request, (uv_stream_t *)&c->pipe, on_flushed) != 0) {
        free(request);
        close_client(c);
    }
}

void serve_control_close(struct serve_control *c)
{
    struct client *x;
    if (c == NULL)
        return;
    c->closing = true;
    unlink(c->path);
    TAILQ_FOREACH(x, &c->clients, link)
    leave(x);
    uv_close((uv_handle_t *)&c->listen, on_listen_closed);
}
