/* SPDX-License-Identifier: Apache-2.0
 *
 * The process of a job (`raywf job-run FOLDER`, started by the head with the job's lock
 * on descriptor 3): unpacks the recipe's folder, runs `raywf run` (or resume, or retry)
 * there, writes what both it and its steps print to the job's log, stages what comes
 * back, and says at the end in exit.json how it went. It needs no head meanwhile.
 *
 * SIGTERM asks the run to end, SIGUSR1 makes it. What it has started ends with it.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/json_read.h"
#include "base/mem.h"
#include "bundle/bundle.h"
#include "cmd/cmd.h"
#include "cmd/job_stage.h"
#include "job/log.h"
#include "job/process.h"
#include "run/engine.h"
#include "run/layout.h"

#define LOOK_MS 100        /* for the id of the run */
#define LOGS_PATIENCE 5000 /* for the last lines of steps, when the run has ended */

struct child {
    pid_t pid; /* 0: none */
    int fd;    /* what it prints; -1: no more */
    int status;
    bool ended;
};

struct job_run {
    char *folder, *work, *dir, *root; /* dir: the recipe's; root: its .raywf */
    json_t *task;
    const json_t *spec;
    int attempt;
    const char *mode, *program;
    char *before; /* id of the last run before this one; NULL: none */
    char *run;    /* id of the run; NULL: not known yet */
    struct job_log *log;
    int signals;
    struct child driver, logs;
    bool asked, forced;
};

/* --- small things --- */

static const char *text(const json_t *j, const char *key)
{
    const char *value = json_string_value(json_object_get(j, key));
    return value ? value : "";
}

static int write_json(const struct job_run *r, const char *name, json_t *j,
                      struct rwf_err *err)
{
    char *line = json_dumps(j, JSON_COMPACT | JSON_ENSURE_ASCII);
    char *path = rwf_fs_join(r->folder, name);
    int rc = rwf_fs_write(path, line, strlen(line), true, err);
    free(path);
    free(line);
    json_decref(j);
    return rc;
}

static void say(struct job_run *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static void say(struct job_run *r, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *line = rwf_xvasprintf(fmt, ap),
         *whole = rwf_xasprintf("raywf: job: %s\n", line);
    va_end(ap);
    job_log_add(r->log, whole, strlen(whole), NULL);
    free(whole);
    free(line);
}

/* The run that .raywf/runs/last names; NULL: none. */
static char *last_run(const struct job_run *r)
{
    char *link = rwf_fs_join(r->root, "runs/last"), to[256];
    ssize_t n = readlink(link, to, sizeof(to));
    free(link);
    return n > 0 && n < (ssize_t)sizeof(to)
               ? rwf_xstrdup(rwf_fs_basename(strndupa(to, (size_t)n)))
               : NULL;
}

/* --- the folder --- */

static int unpack(struct job_run *r, const char *bundle, struct rwf_err *err)
{
    enum { CHUNK = 1 << 18 };
    const struct bundle_options all = {.everything = true};
    char digest[RWF_DIGEST_LEN], *chunk = rwf_xmalloc(CHUNK);
    struct bundle_writer *from = bundle_writer_open(bundle, &all, err);
    const struct bundle_options same = {.digest = text(r->spec, "digest")};
    struct bundle_reader *to = from ? bundle_reader_open(r->work, &same, err) : NULL;
    ssize_t n = to ? 1 : -1;
    while (n > 0 && (n = bundle_writer_read(from, chunk, CHUNK, err)) > 0)
        n = bundle_reader_feed(to, chunk, (size_t)n, err) ? -1 : n;
    if (n == 0 && bundle_reader_finish(to, digest, err))
        n = rwf_wrap(err, "the bundle on the head is damaged, submit it again");
    bundle_writer_close(from);
    bundle_reader_close(to);
    free(chunk);
    return n < 0 ? -1 : 0;
}

/* What is changed after this was changed by the run: cmd_job_stage. */
static int stamp(const struct job_run *r, struct rwf_err *err)
{
    char *path = rwf_fs_join(r->folder, CMD_JOB_STAMP);
    int rc = rwf_fs_write(path, "", 0, false, err);
    free(path);
    return rc;
}

static int prepare(struct job_run *r, struct rwf_err *err)
{
    char *recipe = rwf_fs_join(r->work, text(r->spec, "recipe"));
    r->dir = rwf_fs_dirname(recipe);
    free(recipe);
    r->root = rwf_fs_join(r->dir, ".raywf");
    if (!rwf_fs_exists(r->work) &&
        (unpack(r, text(r->task, "bundle"), err) || stamp(r, err)))
        return -1;
    r->before = last_run(r);
    return 0;
}

/* --- children --- */

/* What the run gets: ours, the job's, and where the cluster is. */
static void set_environment(const struct job_run *r)
{
    const char *name;
    json_t *value;
    size_t i;
    unsetenv("RAYWF_DIR");
    unsetenv("RAYWF_ADDRESS");
    setenv("RAYWF_CLUSTER_ADDRESS", text(r->task, "address"), true);
    setenv("RAYWF_CLUSTER_KEY", text(r->task, "key"), true);
    char *priority = rwf_xasprintf("%lld", (long long)json_integer_value(json_object_get(
                                               r->spec, "priority")));
    setenv("RAYWF_CLUSTER_PRIORITY", priority, true);
    free(priority);
    setenv("RAYWF_JOB_ID", text(r->task, "id"), true);
    struct rwf_str names = {0}, secrets = {0};
    json_object_foreach(json_object_get(r->spec, "env"), name, value) {
        setenv(name, json_string_value(value), true);
        rwf_str_addf(&names, "%s,", name);
    }
    json_array_foreach(json_object_get(r->spec, "secrets"), i, value)
        rwf_str_addf(&secrets, "%s,", json_string_value(value));
    rwf_str_add(&names, "RAYWF_JOB_ID");
    setenv("RAYWF_JOB_ENV", names.data, true);
    setenv("RAYWF_JOB_SECRETS", secrets.data ? secrets.data : "", true);
    rwf_str_free(&names);
    rwf_str_free(&secrets);
}

/* Nothing is held here that a fork could copy to its harm; the child must end with us.
 */
static void become(const struct job_run *r, char *const argv[], int out, pid_t parent)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent || chdir(r->dir) || dup2(out, STDOUT_FILENO) < 0 ||
        dup2(out, STDERR_FILENO) < 0)
        _exit(127);
    execv(r->program, argv);
    _exit(127);
}

static int start(struct job_run *r, struct child *c, char *const argv[],
                 struct rwf_err *err)
{
    int pipes[2];
    pid_t parent = getpid();
    if (pipe2(pipes, O_CLOEXEC))
        return rwf_fail(err, errno, "pipe: %s", strerror(errno));
    c->pid = fork();
    if (c->pid == 0)
        become(r, argv, pipes[1], parent);
    close(pipes[1]);
    c->fd = pipes[0];
    if (c->pid < 0) {
        close(c->fd);
        c->fd = -1;
        c->pid = 0;
        return rwf_fail(err, errno, "fork: %s", strerror(errno));
    }
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    return 0;
}

static int start_driver(struct job_run *r, struct rwf_err *err)
{
    const json_t *args = json_object_get(r->spec, "args"), *one;
    const char *argv[64 + 8] = {r->program};
    char *file = rwf_xstrdup(rwf_fs_basename(text(r->spec, "recipe")));
    size_t n = 1, i;
    bool anew = strcmp(r->mode, "run") == 0 || !r->before;
    int rc = 0;
    if (anew) {
        argv[n++] = "run";
        argv[n++] = file;
        json_array_foreach((json_t *)(uintptr_t)args, i, one) {
            if (n < 64)
                argv[n++] = json_string_value(one);
            else
                rc = rwf_fail(err, RWF_E_USAGE, "too many options: at most 60");
        }
    } else {
        argv[n++] = r->mode;
        argv[n++] = r->before;
        if (strcmp(r->mode, "retry") == 0)
            argv[n++] = "--failed";
        r->run = rwf_xstrdup(r->before);
    }
    argv[n++] = "--progress";
    argv[n++] = "plain";
    rc = rc ? rc : start(r, &r->driver, (char *const *)(uintptr_t)argv, err);
    free(file);
    return rc;
}

/* What steps print; of a run that goes on, only what is new. */
static void start_logs(struct job_run *r)
{
    const char *argv[8] = {r->program, "logs", "-f", r->run};
    bool anew = !r->before || strcmp(r->run, r->before) != 0;
    struct rwf_err err = RWF_ERR_INIT;
    if (!anew) {
        argv[4] = "--tail";
        argv[5] = "0";
    }
    if (start(r, &r->logs, (char *const *)(uintptr_t)argv, &err))
        say(r, "%s", err.text);
}

static void look_for_run(struct job_run *r)
{
    if (!r->run) {
        char *now = last_run(r);
        if (now && (!r->before || strcmp(now, r->before) != 0))
            r->run = now;
        else
            free(now);
    }
    if (r->run && !r->logs.pid &&
        (r->driver.ended || engine_active(r->root, r->run) != 0))
        start_logs(r);
}

/* --- the loop --- */

static void pump(struct job_run *r, struct child *c)
{
    char chunk[65536];
    ssize_t n;
    while (c->fd >= 0 && (n = read(c->fd, chunk, sizeof(chunk))) != -1) {
        if (n > 0) {
            job_log_add(r->log, chunk, (size_t)n, NULL);
            continue;
        }
        close(c->fd);
        c->fd = -1;
    }
}

static void reap(struct child *c)
{
    if (c->pid > 0 && !c->ended && waitpid(c->pid, &c->status, WNOHANG) == c->pid)
        c->ended = true;
}

static void on_signals(struct job_run *r)
{
    struct signalfd_siginfo s;
    while (read(r->signals, &s, sizeof(s)) == sizeof(s)) {
        bool force = s.ssi_signo == SIGUSR1, first = !r->asked;
        if (s.ssi_signo == SIGCHLD)
            continue;
        r->asked = true;
        if (r->driver.pid > 0 && !r->driver.ended && (first || (force && !r->forced)))
            kill(r->driver.pid, SIGINT);
        r->forced = r->forced || (force && !first);
    }
    reap(&r->driver);
    reap(&r->logs);
}

static void wait_once(struct job_run *r, int ms)
{
    struct pollfd p[] = {
        {r->signals, POLLIN, 0}, {r->driver.fd, POLLIN, 0}, {r->logs.fd, POLLIN, 0}};
    poll(p, RWF_COUNT(p), ms);
    pump(r, &r->driver);
    pump(r, &r->logs);
    on_signals(r);
}

/* Until the run has ended and all was read, also what its steps have printed. */
static void run_to_end(struct job_run *r)
{
    int patience = LOGS_PATIENCE / LOOK_MS;
    while (!r->driver.ended) {
        wait_once(r, LOOK_MS);
        look_for_run(r);
    }
    while (r->logs.pid && !r->logs.ended && patience-- > 0)
        wait_once(r, LOOK_MS);
    if (r->logs.pid && !r->logs.ended) {
        kill(r->logs.pid, SIGKILL);
        waitpid(r->logs.pid, &r->logs.status, 0);
    }
    pump(r, &r->driver);
    pump(r, &r->logs);
}

/* --- the end --- */

static json_t *result(const struct job_run *r, const struct rwf_err *err)
{
    json_t *j = json_pack("{s:i}", "attempt", r->attempt);
    int status = r->driver.status, code = rwf_exit_code(err);
    if (r->driver.ended && WIFEXITED(status))
        code = WEXITSTATUS(status);
    if (r->driver.ended && WIFSIGNALED(status)) {
        char *cause = rwf_xasprintf("raywf run was killed by signal %d (%s)",
                                    WTERMSIG(status), strsignal(WTERMSIG(status)));
        code = 1;
        json_object_set_new(j, "signal", json_integer(WTERMSIG(status)));
        json_object_set_new(j, "cause", json_string(cause));
        free(cause);
    } else if (!r->driver.ended) {
        json_object_set_new(j, "cause", cmd_string(err->text));
    } else if (code && rwf_exit_help(code)) {
        json_object_set_new(j, "cause", json_string(rwf_exit_help(code)));
    }
    json_object_set_new(j, "exit_code", json_integer(code));
    if (r->asked && code != 0)
        json_object_set_new(j, "interrupted", json_true());
    if (r->run)
        json_object_set_new(j, "run", json_string(r->run));
    return j;
}

static void finish(struct job_run *r, const struct rwf_err *failed)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *log = r->run ? run_log_path(r->root, r->run) : NULL;
    if (log && !rwf_fs_exists(log)) {
        free(log);
        log = NULL;
    }
    if (r->work && rwf_fs_exists(r->work) &&
        cmd_job_stage(r->folder, text(r->task, "bundle"), log, &err))
        say(r, "its outputs cannot come back: %s", err.text);
    if (failed->code)
        say(r, "%s", failed->text);
    /* The log first: who sees the end has seen all of it. */
    job_log_close(r->log);
    r->log = NULL;
    if (write_json(r, "exit.json", result(r, failed), &err))
        fprintf(stderr, "raywf: %s\n", err.text);
    free(log);
}

/* --- all of it --- */

static int begin(struct job_run *r, const char *folder, struct rwf_err *err)
{
    sigset_t set;
    struct stat st;
    if (fstat(JOB_LOCK_FD, &st) || fcntl(JOB_LOCK_FD, F_SETFD, FD_CLOEXEC))
        return rwf_fail(err, RWF_E_USAGE,
                        "job-run: the head starts it, nobody else does");
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    umask(077);
    r->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    r->folder = rwf_fs_absolute(folder);
    r->work = rwf_fs_join(r->folder, "work");
    r->task = rwf_read_json(r->folder, "task.json", false, err);
    if (!r->task)
        return -1;
    r->spec = json_object_get(r->task, "spec");
    r->attempt = (int)json_integer_value(json_object_get(r->task, "attempt"));
    r->mode = text(r->task, "mode");
    r->program = text(r->task, "program");
    r->log = job_log_open(r->folder, 0, err);
    if (!r->log)
        return -1;
    return write_json(r, "alive.json",
                      json_pack("{s:i, s:i, s:I}", "attempt", r->attempt, "pid",
                                (int)getpid(), "start",
                                (json_int_t)job_process_start_time(getpid())),
                      err);
}

static int job_run_run(struct cmd_call *call, struct rwf_err *err)
{
    struct job_run r = {.signals = -1, .driver.fd = -1, .logs.fd = -1};
    struct rwf_err failed = RWF_ERR_INIT;
    if (begin(&r, call->operands[0], err))
        return -1;
    set_environment(&r);
    int rc = prepare(&r, &failed);
    on_signals(&r);
    if (!rc && r.asked)
        rc = rwf_fail(&failed, RWF_E_STOPPED, "it was stopped before it began");
    if (!rc && start_driver(&r, &failed) == 0)
        run_to_end(&r);
    finish(&r, &failed);
    json_decref(r.task);
    free(r.folder);
    free(r.work);
    free(r.dir);
    free(r.root);
    free(r.before);
    free(r.run);
    return 0;
}

const struct cmd cmd_job_run = {
    .name = "job-run",
    .group = CMD_MORE,
    .flags = CMD_HIDDEN | CMD_BARE,
    .summary = "the process of a job (for the head's own use)",
    .exits = "0 2 7",
    .operands = {{"FOLDER", CMD_DIR, 1, 1}},
    .run = job_run_run,
};
