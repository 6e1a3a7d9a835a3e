/* SPDX-License-Identifier: Apache-2.0
 *
 * The process of a program, and what it prints: read by us, so that its log has an end.
 * The worker that forks here holds no data of its own, and its shared memory is not
 * copied; the child makes only system calls until it is the program.
 */
#include "config.h"
#include "serve/class_program.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

#define TAIL_LINES 12
#define TAIL_BYTES 640

struct start {
    char *const *argv, *const *envp;
    const char *dir;
    int out, told; /* told: errno when it cannot run */
    bool own_group;
    pid_t parent;
};

static void child_fail(const struct start *s)
{
    int why = errno;
    if (write(s->told, &why, sizeof(why)) < 0)
        _exit(126);
    _exit(127);
}

static void child_main(const struct start *s)
{
    struct sigaction plain = {.sa_handler = SIG_DFL};
    sigset_t none;
    sigemptyset(&none);
    if (s->own_group)
        setpgid(0, 0);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != s->parent)
        child_fail(s);
    for (int sig = 1; sig < SIGSYS + 1; sig++)
        if (sig != SIGKILL && sig != SIGSTOP)
            sigaction(sig, &plain, NULL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int in = open("/dev/null", O_RDONLY);
    if (in < 0 || dup2(in, 0) < 0 || dup2(s->out, 1) < 0 || dup2(s->out, 2) < 0)
        child_fail(s);
    if (s->dir != NULL && chdir(s->dir) < 0)
        child_fail(s);
    execvpe(s->argv[0], s->argv, s->envp);
    child_fail(s);
}

/* Waits until it is the program, or for what stands in the way. */
static int started(pid_t pid, int told, const char *program, struct rwf_err *err)
{
    int why = 0;
    ssize_t n;
    do {
        n = read(told, &why, sizeof(why));
    } while (n < 0 && errno == EINTR);
    if (n != (ssize_t)sizeof(why))
        return 0;
    waitpid(pid, NULL, 0);
    return rwf_fail(err, why, "cannot run '%s': %s%s", program, strerror(why),
                    why == ENOENT ? " (neither in PATH nor a path from its folder)"
                                  : "");
}

static int open_log(struct serve__child *c, const char *path, struct rwf_err *err)
{
    struct stat st;
    c->log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (c->log < 0)
        return rwf_fail(err, errno, "%s: %s", path, strerror(errno));
    c->log_path = rwf_xstrdup(path);
    c->log_size = fstat(c->log, &st) == 0 ? st.st_size : 0;
    return 0;
}

static int spawn(struct serve__child *c, struct start *s, int out[2], int told[2],
                 struct rwf_err *err)
{
    s->out = out[1];
    s->told = told[1];
    c->pid = fork();
    if (c->pid == 0)
        child_main(s);
    close(out[1]);
    close(told[1]);
    c->out = out[0];
    int rc = c->pid > 0 ? started(c->pid, told[0], s->argv[0], err)
                        : rwf_fail(err, errno, "cannot start a process: %m");
    close(told[0]);
    if (rc != 0)
        c->pid = 0;
    return rc;
}

int serve__child_start(struct serve__child *c, char *const *argv, char *const *envp,
                       const char *dir, const char *log, struct rwf_err *err)
{
    int out[2], told[2];
    struct start s = {.argv = argv,
                      .envp = envp,
                      .dir = dir,
                      .own_group = getpgrp() != getpid(),
                      .parent = getpid()};
    *c = (struct serve__child){.out = -1, .log = -1, .own_group = s.own_group};
    if (log != NULL && open_log(c, log, err) != 0)
        return -1;
    if (dir != NULL && access(dir, X_OK) != 0)
        return rwf_fail(err, errno, "its folder %s: %s", dir, strerror(errno));
    if (pipe2(out, O_CLOEXEC) < 0)
        return rwf_fail(err, errno, "cannot make a pipe: %m");
    if (pipe2(told, O_CLOEXEC) < 0) {
        close(out[0]);
        close(out[1]);
        return rwf_fail(err, errno, "cannot make a pipe: %m");
    }
    fcntl(out[0], F_SETFL, O_NONBLOCK);
    return spawn(c, &s, out, told, err);
}

/* --- its output --- */

static void rotate(struct serve__child *c)
{
    char *old = rwf_xasprintf("%s.1", c->log_path);
    if (rename(c->log_path, old) == 0) {
        close(c->log);
        c->log = open(c->log_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        c->log_size = 0;
    }
    free(old);
}

static void keep(struct serve__child *c, const char *data, size_t size)
{
    struct rwf_err ignored = RWF_ERR_INIT;
    for (size_t i = 0; i < size; i++)
        c->tail[c->tail_len++ % sizeof(c->tail)] = data[i];
    if (c->log < 0)
        return;
    if (c->log_size + (int64_t)size > SERVE_PROGRAM_LOG_MAX)
        rotate(c);
    /* A full disk must not stop the program. */
    if (c->log >= 0 && rwf_fs_write_all(c->log, data, size, &ignored) == 0)
        c->log_size += (int64_t)size;
}

static void take_output(struct serve__child *c)
{
    char data[16384];
    for (int i = 0; c->out >= 0 && i < 16; i++) {
        ssize_t n = read(c->out, data, sizeof(data));
        if (n > 0) {
            keep(c, data, (size_t)n);
        } else if (n == 0) {
            close(c->out);
            c->out = -1;
        } else if (errno != EINTR) {
            return;
        }
    }
}

static bool reaped(struct serve__child *c)
{
    pid_t pid;
    do {
        pid = waitpid(c->pid, &c->status, WNOHANG);
    } while (pid < 0 && errno == EINTR);
    if (pid == 0)
        return false;
    c->pid = 0;
    return true;
}

bool serve__child_turn(struct serve__child *c, int ms)
{
    struct pollfd p = {.fd = c->out, .events = POLLIN};
    if (c->pid == 0)
        return false;
    poll(&p, c->out >= 0 ? 1 : 0, ms);
    take_output(c);
    if (!reaped(c))
        return true;
    take_output(c);
    return false;
}

/* In our own group we are meant, too, and must not hear it. */
void serve__child_signal(struct serve__child *c, int sig)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
    if (c->pid == 0)
        return;
    if (c->own_group || sig == SIGKILL) {
        kill(c->own_group ? -c->pid : c->pid, sig);
        return;
    }
    sigaction(sig, &ignore, &before);
    kill(0, sig);
    sigaction(sig, &before, NULL);
}

/* --- its last lines --- */

static const char *last_lines(const char *text, size_t len)
{
    const char *at = text + len, *from = at;
    int lines = 0;
    while (at > text && text + len - at < TAIL_BYTES) {
        at--;
        if (*at == '\n' && at + 1 < text + len && ++lines == TAIL_LINES)
            return at + 1;
        if (at == text || at[-1] == '\n')
            from = at;
    }
    return from < text + len ? from : at; /* one long line: its end */
}

char *serve__child_tail(const struct serve__child *c)
{
    struct rwf_str all = {0};
    size_t size = sizeof(c->tail), len = c->tail_len < size ? c->tail_len : size;
    for (size_t i = c->tail_len - len; i < c->tail_len; i++) {
        char x = c->tail[i % size];
        rwf_str_addc(&all, x == '\n' || x == '\t' || (unsigned char)x >= ' ' ? x : '?');
    }
    while (all.len > 0 && all.data[all.len - 1] == '\n')
        all.data[--all.len] = '\0';
    char *out = rwf_xstrdup(all.len > 0 ? last_lines(all.data, all.len) : "");
    rwf_str_free(&all);
    return out;
}

void serve__child_close(struct serve__child *c)
{
    if (c->pid > 0) {
        serve__child_signal(c, SIGKILL);
        while (waitpid(c->pid, &c->status, 0) < 0 && errno == EINTR)
            continue;
    }
    if (c->out >= 0)
        close(c->out);
    if (c->log >= 0)
        close(c->log);
    free(c->log_path);
    *c = (struct serve__child){.out = -1, .log = -1};
}
