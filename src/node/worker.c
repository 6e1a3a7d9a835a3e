/* SPDX-License-Identifier: Apache-2.0
 *
 * One worker's process: `raywf worker NUMBER` of this very program, with its socket on
 * descriptor 3, in a session of its own; it dies with the node.
 *
 * Its end is complete when the process has exited and its socket has said so too (what
 * it sent last, an error above all, must be heard), or LISTEN_NS later. The process
 * stays a zombie until its group was killed, so its id cannot be somebody else's.
 */
#include "config.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/units.h"
#include "node/gpu.h"
#include "node/inside.h"
#include "node/procfs.h"
#include "node/spawn.h"

#define SELF "/proc/self/exe" /* also when it was replaced on disk meanwhile */
#define LOG_LIMIT ((int64_t)4 << 20)
#define LISTEN_NS (200 * RAYWF_MS)
#define TERM_GRACE (2 * RAYWF_S)
#define START_TIMEOUT (60 * RAYWF_S)

extern char **environ;

/* --- its environment --- */

struct environment {
    char **vars;
    size_t count, cap;
};

static void env_put(struct environment *e, char *var)
{
    size_t len = strcspn(var, "=") + 1;
    for (size_t i = 0; i < e->count; i++)
        if (strncmp(e->vars[i], var, len) == 0) {
            free(e->vars[i]);
            e->vars[i] = var;
            return;
        }
    *RWF_PUSH(e->vars, e->count, e->cap) = var;
}

static void env_set(void *ctx, const char *name, const char *value)
{
    env_put(ctx, rwf_xasprintf("%s=%s", name, value));
}

static void env_gpus(struct environment *e, const struct node__lease *l)
{
    const Wire__Resources *r = node__lease_resources(l);
    int ids[NODE_GPU_MAX], count = 0;
    for (size_t i = 0; i < l->wire->n_gpus && count < NODE_GPU_MAX; i++)
        ids[count++] = (int)l->wire->gpus[i];
    node_gpu_env(ids, count, r && r->gpu > 0 && r->gpu < 1 ? r->gpu : 1, env_set, e);
}

static void env_build(struct environment *e, const struct node__worker *w,
                      const struct node__lease *l)
{
    const Wire__ActorSpec *spec = l->actor ? node__actor_spec(l->actor) : NULL;
    const Wire__Shape *shape = l->wire->shape;
    size_t n = spec ? spec->n_env : shape ? shape->n_env : 0;
    char **env = spec ? spec->env : shape ? shape->env : NULL;
    char text[32];
    *e = (struct environment){0};
    for (char **v = environ; v && *v; v++)
        *RWF_PUSH(e->vars, e->count, e->cap) = rwf_xstrdup(*v);
    env_gpus(e, l);
    for (size_t i = 0; i < n; i++)
        if (strchr(env[i], '=') && env[i][0] != '=')
            env_put(e, rwf_xstrdup(env[i]));
    env_set(e, "RAYWF_ADDRESS", w->node->address);
    if (w->node->options.peer_host)
        env_set(e, "RAYWF_NODE_HOST", w->node->options.peer_host);
    snprintf(text, sizeof(text), "%llu", (unsigned long long)w->id);
    env_set(e, "RAYWF_WORKER", text);
    *RWF_PUSH(e->vars, e->count, e->cap) = NULL;
}

static void env_free(struct environment *e)
{
    for (size_t i = 0; i < e->count; i++)
        free(e->vars[i]);
    free(e->vars);
}

/* --- its end --- */

static void on_handle_closed(uv_handle_t *h)
{
    struct node__worker *w = h->data;
    struct node *n = w->node;
    if (--w->open_handles > 0)
        return;
    node__capture_free(&w->out);
    node__capture_free(&w->err);
    free(w->key);
    free(w->plugin);
    free(w->gpus);
    free(w->asked_text);
    free(w);
    node__closed(n);
}

void node__worker_release(struct node__worker *w)
{
    uv_handle_t *all[] = {(uv_handle_t *)&w->exit_poll, (uv_handle_t *)&w->out_poll,
                          (uv_handle_t *)&w->err_poll, (uv_handle_t *)&w->timer};
    for (size_t i = 0; i < RWF_COUNT(all); i++)
        if (all[i]->type != UV_UNKNOWN_HANDLE && !uv_is_closing(all[i]))
            uv_close(all[i], on_handle_closed);
    if (w->pidfd >= 0)
        close(w->pidfd);
    w->pidfd = -1;
}

static void end(struct node__worker *w)
{
    struct rusage usage = {0};
    int status = 127 << 8;
    kill(-w->pid, SIGKILL);
    if (w->out.pipe >= 0 || w->err.pipe >= 0)
        node__session_kill(w->pid, SIGKILL); /* somebody else holds its output */
    pid_t got;
    do
        got = wait4(w->pid, &status, 0, &usage);
    while (got < 0 && errno == EINTR);
    node__capture_close(&w->out);
    node__capture_close(&w->err);
    node__worker_died(w, status, &usage);
}

static void maybe_end(struct node__worker *w)
{
    if (w->exited && !w->client)
        end(w);
}

static void on_silence_time(uv_timer_t *t)
{
    node__worker_kill(t->data, RAYWF_ON_EXIT, "closed its socket and lived on");
}

void node__worker_socket_closed(struct node__worker *w)
{
    if (w->exited) {
        maybe_end(w);
        return;
    }
    /* Its exit is on its way. A worker that hears us no more is of no use. */
    uv_update_time(w->node->loop);
    uv_timer_start(&w->timer, on_silence_time, TERM_GRACE / RWF_NS_PER_MS, 0);
}

static void on_listen_time(uv_timer_t *t)
{
    struct node__worker *w = t->data;
    if (w->client)
        node__client_close(w->client); /* and then end() */
}

static void read_output(struct node__worker *w, struct node__capture *c, uv_poll_t *h)
{
    if (c->pipe < 0 || !node__capture_read(c))
        return;
    if (!uv_is_closing((uv_handle_t *)h))
        uv_close((uv_handle_t *)h, on_handle_closed);
    close(c->pipe);
    c->pipe = -1;
    (void)w;
}

static void on_exit_event(uv_poll_t *h, int status, int events)
{
    struct node__worker *w = h->data;
    (void)status;
    (void)events;
    uv_poll_stop(h);
    w->exited = true;
    read_output(w, &w->out, &w->out_poll);
    read_output(w, &w->err, &w->err_poll);
    uv_timer_stop(&w->timer);
    if (w->client) {
        uv_update_time(w->node->loop);
        uv_timer_start(&w->timer, on_listen_time, LISTEN_NS / RWF_NS_PER_MS, 0);
    }
    maybe_end(w);
}

static void on_out(uv_poll_t *h, int status, int events)
{
    struct node__worker *w = h->data;
    (void)status;
    (void)events;
    read_output(w, &w->out, h);
}

static void on_err(uv_poll_t *h, int status, int events)
{
    struct node__worker *w = h->data;
    (void)status;
    (void)events;
    read_output(w, &w->err, h);
}

/* --- asking it to end --- */

static void ask(struct node__worker *w, unsigned cause, const char *text)
{
    if (w->asked_text)
        return;
    w->asked = cause;
    w->asked_text = rwf_xstrdup(text);
}

static bool has_exited(const struct node__worker *w)
{
    siginfo_t info = {0};
    return w->exited ||
           (waitid(P_PID, (id_t)w->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
            info.si_pid == w->pid);
}

void node__worker_kill(struct node__worker *w, unsigned cause, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    if (has_exited(w))
        return; /* of itself, though the loop has not told us yet */
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    ask(w, cause, text);
    if (w->state < WORKER_RETIRING)
        node__worker_event(w, EVENT_RETIRE);
    kill(-w->pid, SIGKILL);
}

static void on_deadline(uv_timer_t *t)
{
    struct node__worker *w = t->data;
    if (!has_exited(w))
        kill(-w->pid, SIGKILL);
}

static void on_start_deadline(uv_timer_t *t)
{
    struct node__worker *w = t->data;
    char span[RWF_UNITS_LEN];
    if (w->state == WORKER_STARTING)
        node__worker_kill(w, RAYWF_ON_TIMEOUT, "was ended: it was not ready within %s",
                          rwf_duration_format(w->start_timeout, span));
}

void node__worker_deadline(struct node__worker *w, int64_t ns, unsigned cause,
                           const char *text)
{
    if (w->exited)
        return;
    ask(w, cause, text);
    uv_update_time(w->node->loop);
    uv_timer_start(&w->timer, on_deadline, (uint64_t)(ns / RWF_NS_PER_MS), 0);
}

void node__worker_term(struct node__worker *w)
{
    if (has_exited(w))
        return;
    if (w->state < WORKER_RETIRING)
        node__worker_event(w, EVENT_RETIRE);
    kill(-w->pid, SIGTERM);
    kill(-w->pid, SIGCONT); /* a stopped process could not hear it */
    node__worker_deadline(w, TERM_GRACE, RAYWF_ON_NODE, "was ended: its node ends");
}

/* --- its start --- */

/* Both closed on exec; ours, of [0], does not block; the child's is above 3. */
static int lift(int fds[2], struct rwf_err *err)
{
    for (int i = 0; i < 2; i++) {
        int high = fds[i] > 3 ? fds[i] : fcntl(fds[i], F_DUPFD_CLOEXEC, 4);
        if (high < 0)
            return rwf_fail(err, errno, "cannot connect a worker: %s", strerror(errno));
        if (high != fds[i])
            close(fds[i]);
        fds[i] = high;
    }
    return fcntl(fds[0], F_SETFL, O_NONBLOCK);
}

static int connect_all(int fds[3][2], struct rwf_err *err)
{
    bool ok = pipe2(fds[0], O_CLOEXEC) == 0 && pipe2(fds[1], O_CLOEXEC) == 0 &&
              socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds[2]) == 0;
    if (!ok)
        return rwf_fail(err, errno, "cannot connect a worker: %s%s", strerror(errno),
                        errno == EMFILE || errno == ENFILE ? " (see ulimit -n)" : "");
    for (int i = 0; i < 3; i++)
        if (lift(fds[i], err) < 0)
            return -1;
    return 0;
}

static int spawn(struct node__worker *w, const struct node__lease *l, int fds[3][2],
                 struct rwf_err *err)
{
    struct environment e;
    char name[] = "raywf", role[] = "worker", number[32];
    env_build(&e, w, l);
    snprintf(number, sizeof(number), "%llu", (unsigned long long)w->id);
    struct node__spawn s = {.program = SELF,
                            .argv = (char *[]){name, role, number, NULL},
                            .envp = e.vars,
                            .cwd = ".",
                            .out = fds[0][1],
                            .err = fds[1][1],
                            .report = fds[2][1],
                            .join = -1};
    w->started = rwf_clock_mono();
    int rc = node__spawn(&s, &w->pid, &w->pidfd, err);
    env_free(&e);
    return rc;
}

static void poll_fd(struct node__worker *w, uv_poll_t *h, int fd, uv_poll_cb fn)
{
    h->data = w;
    if (uv_poll_init(w->node->loop, h, fd) < 0) {
        h->type = UV_UNKNOWN_HANDLE;
        return;
    }
    w->open_handles++;
    uv_poll_start(h, UV_READABLE, fn);
}

static void listen_to(struct node__worker *w)
{
    poll_fd(w, &w->exit_poll, w->pidfd, on_exit_event);
    poll_fd(w, &w->out_poll, w->out.pipe, on_out);
    poll_fd(w, &w->err_poll, w->err.pipe, on_err);
    uv_timer_init(w->node->loop, &w->timer);
    w->timer.data = w;
    w->open_handles++;
    uv_update_time(w->node->loop);
    uv_timer_start(&w->timer, on_start_deadline,
                   (uint64_t)(w->start_timeout / RWF_NS_PER_MS), 0);
}

static char *log_path(const struct node__worker *w, const char *kind)
{
    return rwf_xasprintf("%s/workers/%llu.%s", w->node->folder,
                         (unsigned long long)w->id, kind);
}

static struct node__worker *create(struct node *n, const struct node__lease *l)
{
    struct node__worker *w = rwf_xcalloc(1, sizeof(*w));
    const Wire__ActorSpec *spec = l->actor ? node__actor_spec(l->actor) : NULL;
    const Wire__Resources *r = node__lease_resources(l);
    w->node = n;
    w->id = ++n->last_worker;
    w->plugin = rwf_xstrdup(spec ? spec->plugin : l->wire->shape->plugin);
    w->limit = (struct node__limit){.kind = LIMIT_NONE};
    if (r && r->memory > 0) {
        /* No cgroup: it would charge the worker with the shared memory of objects that
         * it happens to be the first to touch. */
        w->limit.kind = LIMIT_WATCH;
        w->limit.bytes = (int64_t)r->memory;
    }
    w->gpu_count = l->wire->n_gpus;
    w->gpus = rwf_xmalloc((w->gpu_count + 1) * sizeof(*w->gpus));
    for (size_t i = 0; i < w->gpu_count; i++)
        w->gpus[i] = l->wire->gpus[i];
    w->slot = w->pidfd = -1;
    w->out.pipe = w->out.file = w->err.pipe = w->err.file = -1;
    w->exit_poll.type = w->out_poll.type = w->err_poll.type = UV_UNKNOWN_HANDLE;
    w->timer.type = UV_UNKNOWN_HANDLE;
    LIST_INIT(&w->rings);
    return w;
}

static void undo_spawn(struct node__worker *w)
{
    kill(-w->pid, SIGKILL);
    while (waitpid(w->pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    close(w->pidfd);
}

static void abandon(struct node__worker *w)
{
    free(w->plugin);
    free(w->gpus);
    free(w);
}

/* It runs: from here on its end goes the way of all ends. */
static void adopt(struct node__worker *w, const struct node__lease *l, int fds[3][2])
{
    const Wire__ActorSpec *spec = l->actor ? node__actor_spec(l->actor) : NULL;
    struct node *n = w->node;
    struct rwf_err err = RWF_ERR_INIT;
    node__capture_open(&w->out, fds[0][0], log_path(w, "out"), LOG_LIMIT);
    node__capture_open(&w->err, fds[1][0], log_path(w, "err"), LOG_LIMIT);
    fds[0][0] = fds[1][0] = -1;
    w->oom_kills = node__oom_kills();
    LIST_INSERT_HEAD(&n->workers, w, link);
    n->worker_count++;
    n->open++;
    w->start_timeout =
        spec && spec->start_timeout > 0 ? spec->start_timeout : START_TIMEOUT;
    listen_to(w);
    w->client = node__client_open(n, fds[2][0], w, &err);
    if (w->client)
        fds[2][0] = -1;
    else
        node__worker_kill(w, RAYWF_ON_EXIT, "%s", err.text);
}

struct node__worker *node__worker_start(struct node *n, const struct node__lease *l,
                                        struct rwf_err *err)
{
    int fds[3][2] = {{-1, -1}, {-1, -1}, {-1, -1}};
    struct node__worker *w = create(n, l);
    bool ok = false;
    if (n->stopping) {
        rwf_fail(err, ESHUTDOWN, "the node is ending");
        goto out;
    }
    if (connect_all(fds, err) < 0 || spawn(w, l, fds, err) < 0)
        goto out;
    w->slot = store_slot_claim(n->store, w->pid, err);
    if (w->slot < 0) {
        err->code = ENOSPC;
        undo_spawn(w);
        goto out;
    }
    adopt(w, l, fds);
    ok = true;
out:
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 2; j++)
            if (fds[i][j] >= 0)
                close(fds[i][j]);
    if (ok)
        return w;
    abandon(w);
    return NULL;
}
