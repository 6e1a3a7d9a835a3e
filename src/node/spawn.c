/* SPDX-License-Identifier: Apache-2.0
 *
 * Spawns by clone(CLONE_VM | CLONE_VFORK): the child borrows our memory, so that
 * starting a program costs the same whether the head is small or holds 100,000 steps,
 * and we stand still until it has called execve or given up. posix_spawn does the same
 * but can set neither the parent-death signal nor a cgroup.
 *
 * Invariants of child_main, which runs in our memory on a borrowed stack: only
 * system calls, no allocation, no locks; all signals are blocked until our handlers are
 * gone from its (own) table. What went wrong comes back in struct child.
 */
#include "config.h"
#include "node/spawn.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <paths.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/mem.h"

#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x00001000
#endif

#define CHILD_STACK 32768

enum stage { STAGE_NONE, STAGE_SETUP, STAGE_CGROUP, STAGE_CHDIR, STAGE_EXEC };

struct child {
    const struct node__spawn *spawn;
    pid_t parent;
    int status_fd; /* fork variant only, else -1 */
    enum stage stage;
    int error;
};

static void child_fail(struct child *c, enum stage stage)
{
    c->error = errno;
    c->stage = stage;
    if (c->status_fd >= 0 && write(c->status_fd, c, sizeof(*c)) < 0)
        _exit(126);
    _exit(127);
}

/* Handlers of ours must never run in here, and what we ignore (SIGPIPE) is not for the
 * program to inherit. Real-time signals are never used by us. */
static void child_signals(void)
{
    struct sigaction dfl = { .sa_handler = SIG_DFL };
    for (int sig = 1; sig < SIGSYS + 1; sig++)
        if (sig != SIGKILL && sig != SIGSTOP)
            sigaction(sig, &dfl, NULL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static void child_descriptors(struct child *c)
{
    const struct node__spawn *s = c->spawn;
    close(0); /* so that open gives 0, the lowest one free */
    if (open(_PATH_DEVNULL, O_RDONLY) != 0 || dup2(s->out, 1) < 0 ||
        dup2(s->err, 2) < 0 || dup2(s->report, 3) < 0)
        child_fail(c, STAGE_SETUP);
    /* All of ours are close-on-exec; this is for what libraries opened without it.
     * Kernels before 5.9 do not know the call. */
    unsigned from = 4, kept = c->status_fd < 0 ? 0 : (unsigned)c->status_fd;
    if (kept > from)
        syscall(SYS_close_range, from, kept - 1, 0U);
    if (kept >= from)
        from = kept + 1;
    syscall(SYS_close_range, from, UINT_MAX, 0U);
}

static int child_main(void *arg)
{
    struct child *c = arg;
    const struct node__spawn *s = c->spawn;
    setsid();
    /* Sent when the thread that spawned us ends: the loop's, which lives as long as the
     * head. If it is gone already, the signal never comes. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != c->parent)
        child_fail(c, STAGE_SETUP);
    /* A set-user-ID program would lose the parent-death signal and escape our kill. */
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    child_signals();
    if (s->join >= 0 && write(s->join, "0\n", 2) < 0)
        child_fail(c, STAGE_CGROUP);
    child_descriptors(c);
    if (chdir(s->cwd) < 0)
        child_fail(c, STAGE_CHDIR);
    execve(s->program, s->argv, s->envp);
    child_fail(c, STAGE_EXEC);
    return 127;
}

#ifdef RWF_SANITIZED
/* The sanitizers keep per-thread shadow state that a child in our memory would spoil,
 * so there we fork, and learn of a failure through a pipe that execve closes. */
static pid_t start_child(struct child *c, int *ret_pidfd)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0) {
        close(fds[0]);
        c->status_fd = fcntl(fds[1], F_DUPFD_CLOEXEC, 4);
        _exit(child_main(c));
    }
    close(fds[1]);
    struct child told;
    if (pid > 0 && read(fds[0], &told, sizeof(told)) == (ssize_t)sizeof(told)) {
        c->stage = told.stage;
        c->error = told.error;
    }
    close(fds[0]);
    if (pid > 0)
        *ret_pidfd = (int)syscall(SYS_pidfd_open, pid, 0U);
    return pid;
}
#else
static pid_t start_child(struct child *c, int *ret_pidfd)
{
    /* Ours is not touched while the child runs, so its stack may lie within it. */
    char stack[CHILD_STACK] __attribute__((aligned(16)));
    return clone(child_main, stack + sizeof(stack),
                 CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, c, ret_pidfd);
}
#endif

/* First line of a script, without "#!"; false when path is no script. */
static bool interpreter_of(const char *path, char *buf, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, buf, size - 1);
    close(fd);
    if (n < 3 || buf[0] != '#' || buf[1] != '!')
        return false;
    buf[n] = '\0';
    char *start = buf + 2 + strspn(buf + 2, " \t");
    size_t len = strcspn(start, " \t\n");
    memmove(buf, start, len);
    buf[len] = '\0';
    return true;
}

static int fail_missing_interpreter(const char *path, struct rwf_err *err)
{
    char interp[256];
    if (!interpreter_of(path, interp, sizeof(interp)))
        return rwf_fail(err, ENOENT,
                        "cannot run '%s': the loader it was linked for is not on "
                        "this machine (built for another system?)",
                        path);
    size_t len = strlen(interp);
    if (len > 0 && interp[len - 1] == '\r')
        return rwf_fail(err, ENOENT,
                        "'%s' has DOS line ends, so that its first line asks for "
                        "'%.*s\\r': convert it (sed -i 's/\\r$//')",
                        path, (int)len - 1, interp);
    return rwf_fail(err, ENOENT,
                    "'%s' asks for the interpreter '%s' in its #! line, which does "
                    "not exist: install it or change that line",
                    path, interp);
}

static int fail_exec(const char *path, int error, struct rwf_err *err)
{
    switch (error) {
    case ENOENT:
        return fail_missing_interpreter(path, err);
    case ENOEXEC:
        return rwf_fail(err, error,
                        "'%s' is neither a program nor a script: begin it with a "
                        "line like #!/bin/sh",
                        path);
    case E2BIG:
        return rwf_fail(err, error,
                        "cannot run '%s': its arguments and environment are too "
                        "long for the system; pass a file of names instead",
                        path);
    case EACCES:
        return rwf_fail(err, error,
                        "no permission to run '%s': look at its mode, its folder's "
                        "and whether the file system is mounted noexec",
                        path);
    case ETXTBSY:
        return rwf_fail(err, error, "cannot run '%s': somebody is still writing it",
                        path);
    default:
        return rwf_fail(err, error, "cannot run '%s': %s", path, strerror(error));
    }
}

static int fail_child(const struct child *c, struct rwf_err *err)
{
    const struct node__spawn *s = c->spawn;
    switch (c->stage) {
    case STAGE_EXEC: {
        char *full = rwf_fs_join(s->cwd, s->program);
        fail_exec(full, c->error, err);
        free(full);
        return -1;
    }
    case STAGE_CHDIR:
        return rwf_fail(err, c->error, "cannot enter the working folder '%s': %s",
                        s->cwd, strerror(c->error));
    case STAGE_CGROUP:
        return rwf_fail(err, c->error,
                        "cannot join the cgroup made for its memory limit: %s",
                        strerror(c->error));
    default:
        return rwf_fail(err, c->error, "cannot set the process up: %s",
                        strerror(c->error));
    }
}

int node__spawn(const struct node__spawn *s, pid_t *ret_pid, int *ret_pidfd,
               struct rwf_err *err)
{
    rwf_assert(s->out > 3 && s->err > 3 && s->report > 3);
    struct child c = { .spawn = s, .parent = getpid(), .status_fd = -1 };
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int pidfd = -1;
    pid_t pid = start_child(&c, &pidfd);
    int error = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (pid < 0)
        return rwf_fail(err, error, "cannot start a process: %s%s", strerror(error),
                        error == EAGAIN ? " (too many processes: see ulimit -u)" : "");
    if (c.stage == STAGE_NONE && pidfd >= 0) {
        *ret_pid = pid;
        *ret_pidfd = pidfd;
        return 0;
    }
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    if (pidfd >= 0)
        close(pidfd);
    if (c.stage == STAGE_NONE)
        return rwf_fail(err, ENOSYS,
                        "this kernel gives no process descriptors: raywf needs "
                        "Linux 5.4 or later");
    return fail_child(&c, err);
}

/* 0 when path is a program one may run, else an errno value. */
static int runnable(const char *path)
{
    if (access(path, X_OK) < 0)
        return errno;
    struct stat st;
    if (stat(path, &st) < 0)
        return errno;
    return S_ISDIR(st.st_mode) ? EISDIR : S_ISREG(st.st_mode) ? 0 : EACCES;
}

static int fail_not_runnable(const char *name, const char *full, int why,
                             struct rwf_err *err)
{
    switch (why) {
    case ENOENT:
    case ENOTDIR:
        return rwf_fail(err, ENOENT, "there is no program '%s' (looked for '%s')", name,
                        full);
    case EISDIR:
        return rwf_fail(err, EACCES, "'%s' is a folder, not a program", full);
    case EACCES:
        return rwf_fail(err, EACCES, "'%s' is not executable: chmod +x %s", full, full);
    default:
        return rwf_fail(err, why, "cannot run '%s': %s", full, strerror(why));
    }
}

static char *find_by_path(const char *name, const char *cwd, struct rwf_err *err)
{
    char *full = rwf_fs_join(cwd, name);
    int why = runnable(full);
    if (why == 0)
        return full;
    fail_not_runnable(name, full, why, err);
    free(full);
    return NULL;
}

/* One folder of PATH; an empty or relative one is meant from the child's folder. */
static int path_candidate(const char *dir, size_t len, const char *name,
                          const char *cwd, char out[PATH_MAX])
{
    size_t n = strlen(name), at = 0;
    bool absolute = len > 0 && dir[0] == '/';
    size_t base = absolute ? 0 : strlen(cwd) + 1;
    if (base + len + 1 + n + 1 > PATH_MAX)
        return -1;
    if (!absolute) {
        memcpy(out, cwd, base - 1);
        out[base - 1] = '/';
        at = base;
    }
    memcpy(out + at, dir, len);
    at += len;
    if (len > 0)
        out[at++] = '/';
    memcpy(out + at, name, n + 1);
    return 0;
}

static void fail_not_in_path(const char *name, const char *path, const char *cwd,
                             struct rwf_err *err)
{
    char *here = rwf_fs_join(cwd, name);
    if (rwf_fs_is_file(here))
        rwf_fail(err, ENOENT,
                 "program '%s' is not in PATH (%s); for the file in %s write "
                 "'./%s'",
                 name, path, cwd, name);
    else
        rwf_fail(err, ENOENT,
                 "program '%s' is not in PATH (%s): install it, or add its folder "
                 "to PATH",
                 name, path);
    free(here);
}

char *node__spawn_find(const char *name, const char *path, const char *cwd,
                      struct rwf_err *err)
{
    if (*name == '\0') {
        rwf_fail(err, ENOENT, "the name of the program is empty");
        return NULL;
    }
    if (strchr(name, '/'))
        return find_by_path(name, cwd, err);
    if (!path)
        path = _PATH_DEFPATH;
    char candidate[PATH_MAX], *near = NULL;
    for (const char *p = path;; p++) {
        size_t len = strcspn(p, ":");
        if (path_candidate(p, len, name, cwd, candidate) == 0) {
            int why = runnable(candidate);
            if (why == 0) {
                free(near);
                return rwf_xstrdup(candidate);
            }
            if (why == EACCES && !near)
                near = rwf_xstrdup(candidate);
        }
        p += len;
        if (*p == '\0')
            break;
    }
    if (near)
        fail_not_runnable(name, near, EACCES, err);
    else
        fail_not_in_path(name, path, cwd, err);
    free(near);
    return NULL;
}
