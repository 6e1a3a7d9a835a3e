/* SPDX-License-Identifier: Apache-2.0
 *
 * Supervises one process:
 *
 *   RUNS     exits: DRAINS; exits after TERM was sent: LINGERS
 *   LINGERS  its session is empty, or grace is over: DRAINS
 *   DRAINS   the pipes are at their end, or a second has passed: SETTLES
 *   SETTLES  its cgroup is empty: CLOSES, and then exited() is called
 *
 * Invariants: the process stays a zombie until its group and session have been killed,
 * so its id cannot have become somebody else's. All uv handles live in struct proc, and
 * exited is called only after the last of them is closed, so that proc_free is legal
 * there. A process that is asked to end after it was asked already keeps the first
 * reason.
 */
#include "config.h"
#include "node/proc.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/redact.h"
#include "node/attempt.h"
#include "node/capture.h"
#include "node/limit.h"
#include "node/outcome.h"
#include "node/procfs.h"
#include "node/spawn.h"

#define LINGER_MS 25       /* between looks at what outlives a stopped process */
#define DRAIN_STEP_MS 20
#define DRAIN_MS 1000      /* a pipe held by a process that fled our session */
#define SETTLE_MS 1000     /* a cgroup whose killed processes are not gone yet */
#define WATCH_FIRST_MS 100 /* doubles to WATCH_MAX_MS, save for a memory watch */
#define WATCH_MAX_MS 1000

enum phase { RUNS, LINGERS, DRAINS, SETTLES, CLOSES };
enum pipe_id { PIPE_OUT, PIPE_ERR, PIPE_REPORT, PIPE_COUNT };

struct proc {
    uv_loop_t *loop;
    struct proc_handler handler;
    enum phase phase;
    pid_t pid;
    int pidfd;
    char *dir;
    uv_poll_t exit_poll;
    uv_poll_t pipe_poll[PIPE_COUNT];
    uv_timer_t clock; /* timeout, then grace, then lingering or draining */
    uv_timer_t watch; /* memory */
    int open_handles;
    int open_pipes;
    uint64_t watch_ms;
    struct node__capture out, err;
    struct node__report report;
    struct node__limit limit;
    struct node__facts facts;
    int64_t grace;
    bool terminated;       /* TERM was sent and its grace is not over */
    int64_t started;       /* mono */
    int64_t give_up;       /* mono: end of grace, or of draining */
    char *tail;
    struct proc_exit result;
};

static void make_result(struct proc *p)
{
    struct proc_exit *r = &p->result;
    node__outcome(&p->facts, r);
    p->tail = node__capture_tail(&p->err);
    if (!p->tail)
        p->tail = node__capture_tail(&p->out);
    r->tail = p->tail;
    struct rwf_err err = RWF_ERR_INIT;
    if (node__attempt_end(p->dir, r, &err) < 0)
        rwf_log(RWF_LOG_WARN, "run", "%s", err.text);
}

/* --- the end --- */

static void on_closed(uv_handle_t *h)
{
    struct proc *p = h->data;
    if (--p->open_handles > 0)
        return;
    if (p->handler.exited)
        p->handler.exited(p->handler.ctx, &p->result);
    else
        proc_free(p); /* it never was the caller's: proc_start failed */
}

static void close_handles(struct proc *p)
{
    p->phase = CLOSES;
    uv_handle_t *all[] = {(uv_handle_t *)&p->exit_poll,
                          (uv_handle_t *)&p->pipe_poll[PIPE_OUT],
                          (uv_handle_t *)&p->pipe_poll[PIPE_ERR],
                          (uv_handle_t *)&p->pipe_poll[PIPE_REPORT],
                          (uv_handle_t *)&p->clock,
                          (uv_handle_t *)&p->watch};
    for (size_t i = 0; i < RWF_COUNT(all); i++)
        if (all[i]->type != UV_UNKNOWN_HANDLE && !uv_is_closing(all[i]))
            uv_close(all[i], on_closed);
    close(p->pidfd);
    p->pidfd = -1;
}

static void on_settle_time(uv_timer_t *t)
{
    struct proc *p = t->data;
    if (node__limit_end(&p->limit) || rwf_clock_mono() >= p->give_up)
        close_handles(p);
}

static void reap(struct proc *p)
{
    while (wait4(p->pid, &p->facts.status, 0, &p->facts.rusage) < 0)
        if (errno != EINTR) {
            p->facts.status = 127 << 8; /* somebody else took it: the truth is lost */
            return;
        }
}

static void finish(struct proc *p)
{
    p->phase = SETTLES;
    uv_timer_stop(&p->clock);
    for (int id = 0; id < PIPE_COUNT; id++)
        if (!uv_is_closing((uv_handle_t *)&p->pipe_poll[id]))
            uv_close((uv_handle_t *)&p->pipe_poll[id], on_closed);
    reap(p);
    node__capture_close(&p->out);
    node__capture_close(&p->err);
    node__report_close(&p->report);
    make_result(p);
    p->give_up = rwf_clock_mono() + SETTLE_MS * RWF_NS_PER_MS;
    if (node__limit_end(&p->limit))
        close_handles(p);
    else
        uv_timer_start(&p->clock, on_settle_time, 1, 5);
}

static bool read_pipe(struct proc *p, enum pipe_id id)
{
    switch (id) {
    case PIPE_OUT:
        return node__capture_read(&p->out);
    case PIPE_ERR:
        return node__capture_read(&p->err);
    default:
        return node__report_read(&p->report);
    }
}

static void pipe_ended(struct proc *p, enum pipe_id id)
{
    int *fds[] = { &p->out.pipe, &p->err.pipe, &p->report.pipe };
    uv_close((uv_handle_t *)&p->pipe_poll[id], on_closed);
    close(*fds[id]);
    *fds[id] = -1;
    p->open_pipes--;
}

static void drain(struct proc *p)
{
    for (int id = 0; id < PIPE_COUNT; id++)
        if (!uv_is_closing((uv_handle_t *)&p->pipe_poll[id]) && read_pipe(p, id))
            pipe_ended(p, id);
    if (p->open_pipes == 0)
        finish(p);
}

static void on_drain_time(uv_timer_t *t)
{
    struct proc *p = t->data;
    node__session_kill(p->pid, SIGKILL); /* those that left the process group */
    if (rwf_clock_mono() < p->give_up)
        drain(p);
    else
        finish(p);
}

/* The main process is a zombie, and nothing is to outlive it. */
static void end_session(struct proc *p)
{
    kill(-p->pid, SIGKILL);
    uv_poll_stop(&p->exit_poll);
    uv_timer_stop(&p->clock);
    uv_timer_stop(&p->watch);
    p->phase = DRAINS;
    p->give_up = rwf_clock_mono() + DRAIN_MS * RWF_NS_PER_MS;
    drain(p);
    if (p->phase == DRAINS)
        uv_timer_start(&p->clock, on_drain_time, DRAIN_STEP_MS, DRAIN_STEP_MS);
}

static void on_linger(uv_timer_t *t)
{
    struct proc *p = t->data;
    if (rwf_clock_mono() >= p->give_up || node__session_count(p->pid) == 0)
        end_session(p);
}

static void on_exit_event(uv_poll_t *h, int status, int events)
{
    struct proc *p = h->data;
    (void)status;
    (void)events;
    if (p->phase != RUNS)
        return;
    p->result.usage.wall = rwf_clock_mono() - p->started;
    if (!p->terminated || node__session_count(p->pid) == 0) {
        end_session(p);
        return;
    }
    /* It was asked to end and has, but its children may still be saving their work. */
    p->phase = LINGERS;
    uv_poll_stop(h);
    uv_timer_start(&p->clock, on_linger, LINGER_MS, LINGER_MS);
}

static void on_pipe_event(uv_poll_t *h, int status, int events)
{
    struct proc *p = h->data;
    enum pipe_id id = (enum pipe_id)(h - p->pipe_poll);
    (void)status;
    (void)events;
    /* Who is told of the output may have ended the process there and then. */
    if (!read_pipe(p, id) || uv_is_closing((uv_handle_t *)h))
        return;
    pipe_ended(p, id);
    if (p->phase == DRAINS && p->open_pipes == 0)
        finish(p);
}

void proc_tap(struct proc *p,
              void (*output)(void *ctx, int stream, const void *data, size_t size),
              void *ctx)
{
    p->out.fn = p->err.fn = output;
    p->out.ctx = p->err.ctx = ctx;
    p->out.stream = 1;
    p->err.stream = 2;
}

void proc_hold(struct proc *p, bool hold)
{
    if (p->phase != RUNS && p->phase != LINGERS)
        return;
    for (int id = 0; id < PIPE_COUNT; id++) {
        uv_poll_t *h = &p->pipe_poll[id];
        if (uv_is_closing((uv_handle_t *)h))
            continue;
        if (hold)
            uv_poll_stop(h);
        else
            uv_poll_start(h, UV_READABLE, on_pipe_event);
    }
}

/* --- asking it to end --- */

static uint64_t ms_of(int64_t ns)
{
    return (uint64_t)((ns + RWF_NS_PER_MS - 1) / RWF_NS_PER_MS);
}

static void kill_all(struct proc *p)
{
    p->terminated = false;
    kill(-p->pid, SIGKILL);
    node__session_kill(p->pid, SIGKILL);
}

static void on_grace_over(uv_timer_t *t)
{
    kill_all(t->data);
}

/* Ended already, of itself, though the loop has not told us yet. */
static bool has_exited(const struct proc *p)
{
    siginfo_t info = { 0 };
    return waitid(P_PID, (id_t)p->pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == p->pid;
}

static void ask_to_end(struct proc *p, enum plan_cause why)
{
    if (p->facts.asked != PLAN_CAUSE_NONE || p->phase != RUNS || has_exited(p))
        return;
    p->facts.asked = why;
    p->terminated = true;
    p->give_up = rwf_clock_mono() + p->grace;
    kill(-p->pid, SIGTERM);
    kill(-p->pid, SIGCONT); /* a stopped process could not hear it */
    uv_update_time(p->loop);
    uv_timer_start(&p->clock, on_grace_over, ms_of(p->grace), 0);
}

static void on_timeout(uv_timer_t *t)
{
    ask_to_end(t->data, PLAN_CAUSE_TIMEOUT);
}

void proc_stop(struct proc *p)
{
    ask_to_end(p, PLAN_CAUSE_STOPPED);
}

void proc_kill(struct proc *p)
{
    if (p->phase == LINGERS)
        end_session(p);
    if (p->phase != RUNS || has_exited(p))
        return;
    if (p->facts.asked == PLAN_CAUSE_NONE)
        p->facts.asked = PLAN_CAUSE_STOPPED;
    kill_all(p);
}

static void on_watch(uv_timer_t *t)
{
    struct proc *p = t->data;
    int64_t peak = node__process_peak(p->pid);
    if (peak > p->facts.seen_peak)
        p->facts.seen_peak = peak;
    if (p->limit.kind == LIMIT_WATCH) {
        if (node__limit_over(&p->limit, p->pid))
            kill_all(p);
        return;
    }
    if (p->watch_ms < WATCH_MAX_MS) {
        p->watch_ms *= 2;
        uv_timer_start(&p->watch, on_watch, p->watch_ms, p->watch_ms);
    }
}

/* --- the start --- */

/* Both ends closed on exec; the child's is 4 or higher, so that making it 1, 2 or 3
 * never hits another of them even if the head itself was started without stdin. */
static int make_pipe(int fds[2], struct rwf_err *err)
{
    if (pipe2(fds, O_CLOEXEC) < 0)
        return rwf_fail(err, errno, "cannot make a pipe: %s%s", strerror(errno),
                        errno == EMFILE ? " (see ulimit -n)" : "");
    for (int i = 0; i < 2; i++) {
        if (fds[i] > 3)
            continue;
        int high = fcntl(fds[i], F_DUPFD_CLOEXEC, 4);
        if (high < 0)
            return rwf_fail(err, errno, "cannot make a pipe: %s", strerror(errno));
        close(fds[i]);
        fds[i] = high;
    }
    return 0;
}

static void close_all(int (*fds)[2], int end)
{
    for (int i = 0; i < PIPE_COUNT; i++)
        if (fds[i][end] >= 0) {
            close(fds[i][end]);
            fds[i][end] = -1;
        }
}

static void open_capture(struct node__capture *c, int *fd, const struct proc_spec *spec,
                         const char *name)
{
    node__capture_open(c, *fd, rwf_fs_join(spec->dir, name), spec->log_limit);
    *fd = -1; /* it is the capture's now */
}

static int open_output(struct proc *p, const struct proc_spec *spec, int (*fds)[2],
                       struct rwf_err *err)
{
    for (int i = 0; i < PIPE_COUNT; i++)
        if (make_pipe(fds[i], err) < 0)
            return -1;
    open_capture(&p->out, &fds[PIPE_OUT][0], spec, "stdout");
    open_capture(&p->err, &fds[PIPE_ERR][0], spec, "stderr");
    p->report = (struct node__report){ .pipe = fds[PIPE_REPORT][0],
                                      .fn = p->handler.report, .ctx = p->handler.ctx };
    fds[PIPE_REPORT][0] = -1;
    return 0;
}

static int spawn(struct proc *p, const struct proc_spec *spec,
                 const struct node__command *c, int (*fds)[2], struct rwf_err *err)
{
    char *program =
        node__spawn_find(c->argv[0], node__command_env(c, "PATH"), spec->cwd, err);
    if (!program)
        return -1;
    struct node__spawn s = { .program = program, .argv = c->argv, .envp = c->envp,
                            .cwd = spec->cwd, .out = fds[PIPE_OUT][1],
                            .err = fds[PIPE_ERR][1], .report = fds[PIPE_REPORT][1],
                            .join = node__limit_join(&p->limit) };
    p->started = rwf_clock_mono();
    int rc = node__spawn(&s, &p->pid, &p->pidfd, err);
    if (s.join >= 0)
        close(s.join);
    free(program);
    return rc;
}

static int poll_fd(struct proc *p, uv_poll_t *h, int fd, uv_poll_cb fn,
                   struct rwf_err *err)
{
    int rc = uv_poll_init(p->loop, h, fd);
    if (rc < 0) {
        h->type = UV_UNKNOWN_HANDLE;
        return rwf_fail(err, -rc, "cannot watch a process: %s", uv_strerror(rc));
    }
    h->data = p;
    p->open_handles++;
    rc = uv_poll_start(h, UV_READABLE, fn);
    if (rc < 0)
        return rwf_fail(err, -rc, "cannot watch a process: %s", uv_strerror(rc));
    return 0;
}

static int listen_to(struct proc *p, struct rwf_err *err)
{
    int fds[] = { p->out.pipe, p->err.pipe, p->report.pipe };
    uv_timer_init(p->loop, &p->clock);
    uv_timer_init(p->loop, &p->watch);
    p->clock.data = p->watch.data = p;
    p->open_handles = 2;
    for (int id = 0; id < PIPE_COUNT; id++)
        if (poll_fd(p, &p->pipe_poll[id], fds[id], on_pipe_event, err) < 0)
            return -1;
    p->open_pipes = PIPE_COUNT;
    if (poll_fd(p, &p->exit_poll, p->pidfd, on_exit_event, err) < 0)
        return -1;
    p->watch_ms = WATCH_FIRST_MS;
    uv_update_time(p->loop);
    uv_timer_start(&p->watch, on_watch, p->watch_ms, p->watch_ms);
    if (p->facts.timeout > 0)
        uv_timer_start(&p->clock, on_timeout, ms_of(p->facts.timeout), 0);
    return 0;
}

/* A SIGCHLD that our own parent ignored would make exit statuses vanish. */
static void keep_exit_statuses(void)
{
    struct sigaction now;
    if (sigaction(SIGCHLD, NULL, &now) == 0 && !(now.sa_flags & SA_SIGINFO) &&
        now.sa_handler == SIG_IGN)
        signal(SIGCHLD, SIG_DFL);
}

static struct proc *create(uv_loop_t *loop, const struct proc_spec *spec,
                           const struct proc_handler *handler)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, keep_exit_statuses);
    struct proc *p = rwf_xcalloc(1, sizeof(*p));
    struct rusage self;
    p->loop = loop;
    p->handler = *handler;
    p->dir = rwf_xstrdup(spec->dir);
    p->facts.timeout = spec->timeout;
    p->grace = spec->grace;
    p->facts.limit = &p->limit;
    p->pidfd = p->out.pipe = p->out.file = p->err.pipe = p->err.file = -1;
    p->report.pipe = -1;
    if (getrusage(RUSAGE_SELF, &self) == 0)
        p->facts.head_peak = (int64_t)self.ru_maxrss * 1024;
    return p;
}

static void record_failed_start(const struct proc_spec *spec, const struct rwf_err *err)
{
    struct proc_exit r = { .cause = PLAN_CAUSE_START, .exit_code = -1 };
    struct rwf_str text = { 0 };
    rwf_redact(&text, err->text, strlen(err->text));
    snprintf(r.message, sizeof(r.message), "%s", text.len ? text.data : "");
    rwf_str_free(&text);
    node__attempt_end(spec->dir, &r, NULL);
}

/* What proc_start began and cannot go on with. */
static void abandon(struct proc *p, bool spawned)
{
    if (spawned) {
        kill_all(p);
        reap(p);
    }
    node__limit_end(&p->limit);
    p->handler.exited = NULL;
    if (p->open_handles > 0)
        close_handles(p); /* frees it when all are closed */
    else
        proc_free(p);
}

struct proc *proc_start(uv_loop_t *loop, const struct proc_spec *spec,
                        const struct proc_handler *handler, struct rwf_err *err)
{
    struct rwf_err local = RWF_ERR_INIT;
    struct node__command command;
    int fds[PIPE_COUNT][2] = { { -1, -1 }, { -1, -1 }, { -1, -1 } };
    if (!err)
        err = &local;
    if (node__command_build(&command, spec, err) < 0) {
        record_failed_start(spec, err);
        return NULL;
    }
    struct proc *p = create(loop, spec, handler);
    node__limit_begin(&p->limit, spec->run_id, spec->memory);
    bool spawned = node__attempt_begin(spec, &command, err) == 0 &&
                   open_output(p, spec, fds, err) == 0 &&
                   spawn(p, spec, &command, fds, err) == 0;
    close_all(fds, 1);
    close_all(fds, 0);
    node__command_free(&command);
    if (spawned && listen_to(p, err) == 0)
        return p;
    record_failed_start(spec, err);
    abandon(p, spawned);
    return NULL;
}

int proc_pid(const struct proc *p)
{
    return p->pid;
}

void proc_free(struct proc *p)
{
    if (!p)
        return;
    rwf_assert(p->open_handles == 0);
    node__capture_free(&p->out);
    node__capture_free(&p->err);
    if (p->report.pipe >= 0)
        close(p->report.pipe);
    if (p->pidfd >= 0)
        close(p->pidfd);
    rwf_str_free(&p->report.line);
    node__limit_free(&p->limit);
    free(p->tail);
    free(p->dir);
    free(p);
}
