/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cluster/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

extern char **environ;

#define KEPT_MAX 65536
#define LOOK_MS 50

void cluster__child_arg(struct cluster__child *c, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *text = rwf_xvasprintf(fmt, ap);
    va_end(ap);
    *RWF_PUSH(c->argv, c->argc, c->cap) = text;
    c->argv = rwf_grow(c->argv, c->argc, &c->cap, sizeof(*c->argv));
    c->argv[c->argc] = NULL;
}

void cluster__child_free(struct cluster__child *c)
{
    for (size_t i = 0; i < c->argc; i++)
        free(c->argv[i]);
    free(c->argv);
    if (c->input)
        explicit_bzero(c->input, strlen(c->input));
    free(c->input);
    rwf_str_free(&c->out);
    rwf_str_free(&c->err);
}

/* --- start --- */

static void set_failed(struct cluster__child *c, int status, const char *why)
{
    c->pid = -1;
    c->status = status;
    rwf_str_addf(&c->err, "%s: %s", c->argv[0], why);
}

/* In a group of its own: Ctrl-C is for us, who then end it. */
static int spawn(struct cluster__child *c, const int fds[3])
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none;
    sigemptyset(&none);
    posix_spawn_file_actions_init(&actions);
    for (int i = 0; i < 3; i++)
        posix_spawn_file_actions_adddup2(&actions, fds[i], i);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setpgroup(&attr, 0);
    posix_spawnattr_setsigmask(&attr, &none);
    int rc = posix_spawnp(&c->pid, c->argv[0], &actions, &attr, c->argv, environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    return rc;
}

static void start(struct cluster__child *c)
{
    int in[2], out[2] = {-1, -1}, err[2] = {-1, -1};
    c->in_fd = c->out_fd = c->err_fd = -1;
    if (pipe2(in, O_CLOEXEC)) {
        set_failed(c, 126, strerror(errno));
        return;
    }
    int rc = pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC) ? errno : 0;
    if (rc == 0)
        rc = spawn(c, (const int[3]){in[0], out[1], err[1]});
    close(in[0]);
    close(out[1]);
    close(err[1]);
    if (rc) {
        set_failed(c, rc == ENOENT ? 127 : 126, strerror(rc));
        close(in[1]);
        close(out[0]);
        close(err[0]);
        return;
    }
    c->in_fd = in[1];
    c->out_fd = out[0];
    c->err_fd = err[0];
    fcntl(c->in_fd, F_SETFL, O_NONBLOCK);
}

/* --- while they run --- */

static void shut(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void feed(struct cluster__child *c)
{
    size_t left = c->input ? strlen(c->input) - c->written : 0;
    ssize_t n = left ? write(c->in_fd, c->input + c->written, left) : 0;
    if (n > 0)
        c->written += (size_t)n;
    if ((size_t)(n > 0 ? n : 0) == left || (n < 0 && errno != EAGAIN && errno != EINTR))
        shut(&c->in_fd);
}

static void take(int *fd, struct rwf_str *to)
{
    char chunk[4096];
    ssize_t n = read(*fd, chunk, sizeof(chunk));
    if (n > 0 && to->len < KEPT_MAX)
        rwf_str_addn(to, chunk, (size_t)n);
    if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
        shut(fd);
}

static void look(struct cluster__child *list, size_t count)
{
    struct pollfd *p = rwf_xcalloc(3 * count + 1, sizeof(*p));
    for (size_t i = 0; i < count; i++) {
        p[3 * i] = (struct pollfd){.fd = list[i].in_fd, .events = POLLOUT};
        p[3 * i + 1] = (struct pollfd){.fd = list[i].out_fd, .events = POLLIN};
        p[3 * i + 2] = (struct pollfd){.fd = list[i].err_fd, .events = POLLIN};
    }
    if (poll(p, 3 * count, LOOK_MS) > 0)
        for (size_t i = 0; i < count; i++) {
            if (p[3 * i].revents)
                feed(&list[i]);
            if (p[3 * i + 1].revents)
                take(&list[i].out_fd, &list[i].out);
            if (p[3 * i + 2].revents)
                take(&list[i].err_fd, &list[i].err);
        }
    free(p);
}

static void finish(struct cluster__child *c, int status)
{
    c->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    c->pid = -1;
    /* What it left in its pipes; a daemon that it started may hold them open. */
    fcntl(c->out_fd, F_SETFL, O_NONBLOCK);
    fcntl(c->err_fd, F_SETFL, O_NONBLOCK);
    for (int i = 0; i < KEPT_MAX / 4096 && c->out_fd >= 0; i++)
        take(&c->out_fd, &c->out);
    for (int i = 0; i < KEPT_MAX / 4096 && c->err_fd >= 0; i++)
        take(&c->err_fd, &c->err);
    shut(&c->in_fd);
    shut(&c->out_fd);
    shut(&c->err_fd);
}

static size_t reap(struct cluster__child *list, size_t count)
{
    size_t left = 0;
    int status;
    for (size_t i = 0; i < count; i++) {
        if (list[i].pid > 0 && waitpid(list[i].pid, &status, WNOHANG) == list[i].pid)
            finish(&list[i], status);
        left += list[i].pid > 0;
    }
    return left;
}

static void kill_all(struct cluster__child *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (list[i].pid > 0) {
            list[i].timed_out = true;
            kill(-list[i].pid, SIGTERM);
            kill(-list[i].pid, SIGKILL);
        }
}

void cluster__children_run(struct cluster__child *list, size_t count, int64_t timeout,
                           volatile sig_atomic_t *stop)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN}, old;
    int64_t deadline = rwf_clock_mono() + timeout;
    bool killed = false;
    sigaction(SIGPIPE, &ignore, &old);
    for (size_t i = 0; i < count; i++)
        start(&list[i]);
    while (reap(list, count) > 0) {
        if (!killed && (rwf_clock_mono() >= deadline || (stop && *stop))) {
            kill_all(list, count);
            killed = true;
        }
        look(list, count);
    }
    sigaction(SIGPIPE, &old, NULL);
}

char *cluster__child_why(const struct cluster__child *c)
{
    const char *text = c->err.len ? c->err.data : c->out.len ? c->out.data : "";
    size_t len = strlen(text);
    while (len > 0 && strchr("\r\n ", text[len - 1]))
        len--;
    size_t start = len;
    while (start > 0 && text[start - 1] != '\n')
        start--;
    const char *line = text + start;
    len -= start;
    static const char prefix[] = "raywf: error: ";
    if (len > sizeof(prefix) - 1 && strncmp(line, prefix, sizeof(prefix) - 1) == 0) {
        line += sizeof(prefix) - 1;
        len -= sizeof(prefix) - 1;
    }
    if (len == 0)
        return rwf_xasprintf("it ended with exit code %d", c->status);
    return rwf_xstrndup(line, len < 400 ? len : 400);
}
