/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "job/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/json_read.h"
#include "base/mem.h"

extern char **environ;

int job_process_lock(const char *folder, bool *ret_held, struct rwf_err *err)
{
    char *path = rwf_fs_join(folder, "lock");
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    int code = fd < 0 || flock(fd, LOCK_EX | LOCK_NB) ? errno : 0;
    *ret_held = fd >= 0 && code == EWOULDBLOCK;
    if (code) {
        if (!*ret_held)
            rwf_fail(err, code, "%s: %s", path, strerror(code));
        if (fd >= 0)
            close(fd);
        fd = -1;
    }
    free(path);
    return fd;
}

/* What asks it to end waits until it has made itself ready for it. */
static void set_attributes(posix_spawnattr_t *a)
{
    sigset_t held, all;
    sigemptyset(&held);
    sigaddset(&held, SIGTERM);
    sigaddset(&held, SIGUSR1);
    sigfillset(&all);
    posix_spawnattr_init(a);
    posix_spawnattr_setsigmask(a, &held);
    posix_spawnattr_setsigdefault(a, &all);
    posix_spawnattr_setflags(a, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK |
                                    POSIX_SPAWN_SETSIGDEF);
}

pid_t job_process_start(const char *program, const char *folder, int lock,
                        struct rwf_err *err)
{
    char *said = rwf_fs_join(folder, "err");
    char *argv[] = {(char *)program, (char *)"job-run", (char *)folder, NULL};
    posix_spawn_file_actions_t f;
    posix_spawnattr_t a;
    pid_t pid;
    set_attributes(&a);
    posix_spawn_file_actions_init(&f);
    posix_spawn_file_actions_addopen(&f, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&f, STDOUT_FILENO, said,
                                     O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_adddup2(&f, STDOUT_FILENO, STDERR_FILENO);
    posix_spawn_file_actions_adddup2(&f, lock, JOB_LOCK_FD);
    int code = posix_spawn(&pid, program, &f, &a, argv, environ);
    posix_spawn_file_actions_destroy(&f);
    posix_spawnattr_destroy(&a);
    free(said);
    close(lock);
    if (code)
        return rwf_fail(err, code, "cannot start %s: %s", program, strerror(code));
    return pid;
}

int job_process_watch(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

uint64_t job_process_start_time(pid_t pid)
{
    char path[64];
    unsigned long long start = 0;
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    char *text = rwf_fs_read(path, 1 << 16, NULL, NULL);
    /* The name, in brackets, may have anything in it. */
    const char *at = text ? strrchr(text, ')') : NULL;
    if (!at || sscanf(at + 1,
                      " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d "
                      "%*d %*d %*d %*d %*d %llu",
                      &start) != 1)
        start = 0;
    free(text);
    return start;
}

static json_t *read_of(const char *folder, const char *name, int attempt)
{
    json_t *j = rwf_read_json(folder, name, true, NULL);
    if (json_integer_value(json_object_get(j, "attempt")) == attempt)
        return j;
    json_decref(j);
    return NULL;
}

pid_t job_process_find(const char *folder, int attempt)
{
    json_t *j = read_of(folder, "alive.json", attempt);
    pid_t pid = (pid_t)json_integer_value(json_object_get(j, "pid"));
    uint64_t start = (uint64_t)json_integer_value(json_object_get(j, "start"));
    json_decref(j);
    return pid > 0 && start && job_process_start_time(pid) == start ? pid : 0;
}

json_t *job_process_result(const char *folder, int attempt)
{
    return read_of(folder, "exit.json", attempt);
}
