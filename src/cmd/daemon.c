/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cmd/daemon.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"

#define LOG_MAX (8 << 20)
#define LOGS_KEPT 3

#define ENDING (5 * RWF_NS_PER_S) /* so long a killed owner may take to be gone */

char *cmd_daemon_dir(const char *given, struct rwf_err *err)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    if (!given || !*given)
        given = getenv("RAYWF_CLUSTER");
    if (given && *given)
        return rwf_fs_absolute(given);
    if (state && *state == '/')
        return rwf_fs_join(state, "raywf");
    if (home && *home == '/')
        return rwf_fs_join(home, ".local/state/raywf");
    rwf_fail(err, RWF_E_USAGE, "there is no HOME: say where with --dir DIR");
    return NULL;
}

/* --- who is it --- */

/* The open file "pid" of folder, and whether somebody else has its lock. */
static int open_pid(const char *folder, int flags, bool *ret_taken)
{
    char *path = rwf_fs_join(folder, "pid");
    int fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
    free(path);
    if (fd >= 0)
        *ret_taken = flock(fd, LOCK_EX | LOCK_NB) != 0;
    return fd;
}

/* A process that was killed is gone for others before the kernel has closed its files;
 * and who asks for the owner has the lock for a moment. */
static bool is_ending(const char *folder)
{
    return !rwf_process_lives(cmd_daemon_owner(folder));
}

static int claim_pid(const char *folder, bool *ret_taken)
{
    const struct timespec pause = {.tv_nsec = 20 * RWF_NS_PER_MS};
    int64_t end = rwf_clock_mono() + ENDING;
    int fd = open_pid(folder, O_RDWR | O_CREAT, ret_taken);
    while (fd >= 0 && *ret_taken && is_ending(folder) && rwf_clock_mono() < end) {
        close(fd);
        nanosleep(&pause, NULL);
        fd = open_pid(folder, O_RDWR | O_CREAT, ret_taken);
    }
    return fd;
}

int cmd_daemon_claim(const char *folder, const char *what, struct rwf_err *err)
{
    bool taken;
    char text[32];
    if (rwf_fs_mkdirs(folder, err))
        return -1;
    if (chmod(folder, 0700))
        return rwf_fail(err, errno, "%s: %s", folder, strerror(errno));
    int fd = claim_pid(folder, &taken);
    if (fd < 0)
        return rwf_fail(err, errno, "%s/pid: %s", folder, strerror(errno));
    if (taken) {
        close(fd);
        return rwf_fail(err, EBUSY,
                        "%s runs already (process %d, %s); raywf shutdown ends it",
                        what, (int)cmd_daemon_owner(folder), folder);
    }
    /* The descriptor stays open: its lock is what says that we live. */
    int len = snprintf(text, sizeof(text), "%d\n", (int)getpid());
    if (ftruncate(fd, 0) || pwrite(fd, text, (size_t)len, 0) != len)
        return rwf_fail(err, errno, "%s/pid: %s", folder, strerror(errno));
    return 0;
}

pid_t cmd_daemon_owner(const char *folder)
{
    bool taken = false;
    char text[32] = "";
    int fd = open_pid(folder, O_RDONLY, &taken);
    if (fd < 0)
        return 0;
    ssize_t got = taken ? read(fd, text, sizeof(text) - 1) : 0;
    close(fd);
    return got > 0 ? (pid_t)atoi(text) : 0;
}

char *cmd_daemon_node(void)
{
    char *dir = cmd_daemon_dir(NULL, NULL), *socket = NULL;
    char *nodes = dir ? rwf_fs_join(dir, "nodes") : NULL;
    DIR *d = nodes ? opendir(nodes) : NULL;
    struct dirent *e;

    while (d && !socket && (e = readdir(d))) {
        char *folder = rwf_fs_join(nodes, e->d_name);
        if (*e->d_name != '.' && cmd_daemon_owner(folder) != 0)
            socket = rwf_fs_join(folder, "node");
        free(folder);
    }
    if (d)
        closedir(d);
    free(nodes);
    free(dir);
    return socket;
}

/* Sends the signal and waits: 1 it has ended, 0 not within timeout, -1 and errno. */
static int end_by(int pidfd, int signal, int64_t timeout)
{
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    if (syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0))
        return errno == ESRCH ? 1 : -1;
    return poll(&p, 1, (int)(timeout / RWF_NS_PER_MS));
}

int cmd_daemon_end(const char *folder, int64_t timeout, bool force, struct rwf_err *err)
{
    pid_t pid = cmd_daemon_owner(folder);
    if (pid <= 0)
        return 0;
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    /* Still the same after it was opened: the number was not used again meanwhile. */
    if (fd < 0 || cmd_daemon_owner(folder) != pid) {
        if (fd >= 0)
            close(fd);
        return 0;
    }
    int rc = end_by(fd, SIGTERM, timeout), ended = 1;
    if (rc == 0 && force) {
        rc = end_by(fd, SIGKILL, ENDING);
        ended = 2;
    }
    int error = errno;
    close(fd);
    if (rc > 0)
        return ended;
    if (rc < 0)
        return rwf_fail(err, error, "cannot end process %d: %s", (int)pid,
                        strerror(error));
    return rwf_fail(err, RWF_E_DEADLINE,
                    "process %d (%s) has not ended in time; --force kills it", (int)pid,
                    folder);
}

/* --- into the background --- */

/* What the shell had open must not stay open as long as the daemon lives. */
static void close_others(int keep)
{
    if (keep > 3)
        syscall(SYS_close_range, 3u, (unsigned)keep - 1, 0u);
    syscall(SYS_close_range, (unsigned)keep + 1, ~0u, 0u);
}

static int background(const char *log, int keep, struct rwf_err *err)
{
    setsid();
    close_others(keep);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
        chdir("/"))
        return rwf_fail(err, errno, "cannot go into the background: %s",
                        strerror(errno));
    close(null);
    if (!getenv("RAYWF_LOG"))
        rwf_log_set_level(RWF_LOG_INFO);
    return rwf_log_to_file(log, LOG_MAX, LOGS_KEPT, err);
}

void cmd_daemon_say(int fd, const char *text)
{
    rwf_fs_write_all(fd, "ok ", 3, NULL);
    rwf_fs_write_all(fd, text, strlen(text), NULL);
}

void cmd_daemon_say_error(int fd, const struct rwf_err *err)
{
    char code[16];
    int len = snprintf(code, sizeof(code), "%d ", err->code);
    rwf_fs_write_all(fd, code, (size_t)len, NULL);
    rwf_fs_write_all(fd, err->text, strlen(err->text), NULL);
}

/* What the child says, until it closes its end. */
static int listen_to(int fd, char **ret_text, struct rwf_err *err)
{
    struct rwf_str s = {0};
    char chunk[512];
    ssize_t n;
    while ((n = read(fd, chunk, sizeof(chunk))) > 0 || (n < 0 && errno == EINTR))
        if (n > 0)
            rwf_str_addn(&s, chunk, (size_t)n);
    char *text = rwf_str_take(&s), *space = strchr(text, ' ');
    int rc = -1;
    if (rwf_starts_with(text, "ok ")) {
        *ret_text = rwf_xstrdup(text + 3);
        rc = 1;
    } else if (space) {
        rwf_fail(err, atoi(text), "%s", space + 1);
    } else {
        rwf_fail(err, RWF_E_ENV, "the daemon ended before it was ready; see its log");
    }
    free(text);
    return rc;
}

int cmd_daemon_fork(const char *log, int *ret_fd, char **ret_text, struct rwf_err *err)
{
    int pipes[2];
    if (pipe2(pipes, O_CLOEXEC))
        return rwf_fail(err, errno, "pipe: %s", strerror(errno));
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        close(pipes[0]);
        *ret_fd = pipes[1];
        if (background(log, pipes[1], err) == 0)
            return 0;
        cmd_daemon_say_error(pipes[1], err);
        _exit(7);
    }
    int error = errno;
    close(pipes[1]);
    int rc = pid < 0 ? rwf_fail(err, error, "fork: %s", strerror(error))
                     : listen_to(pipes[0], ret_text, err);
    close(pipes[0]);
    return rc;
}
