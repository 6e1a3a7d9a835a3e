/* SPDX-License-Identifier: Apache-2.0
 *
 * The listening socket. Connections are accepted here and handed to libmicrohttpd, so
 * that those over the limit are closed and counted, and do not wait in the queue.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/unix.h"
#include "http/impl.h"

#define ACCEPTS_PER_TURN 64
#define BACKLOG 4096

/* --- who has the port --- */

/* The inode of the socket that listens on port, from one of /proc/net/tcp{,6}. */
static unsigned long listener_inode(const char *table, int port)
{
    char line[512];
    unsigned long found = 0;
    FILE *f = fopen(table, "re");
    while (f && !found && fgets(line, sizeof(line), f)) {
        unsigned local, state;
        unsigned long inode;
        if (sscanf(
                line,
                " %*d: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s %*s %*u %*d %lu",
                &local, &state, &inode) == 3 &&
            (int)local == port && state == 10 /* LISTEN */)
            found = inode;
    }
    if (f)
        fclose(f);
    return found;
}

static bool has_socket(const char *pid, const char *wanted)
{
    char path[300], target[64];
    snprintf(path, sizeof(path), "/proc/%s/fd", pid);
    DIR *d = opendir(path);
    bool found = false;
    for (struct dirent *e; d && !found && (e = readdir(d));) {
        ssize_t n = readlinkat(dirfd(d), e->d_name, target, sizeof(target) - 1);
        target[n < 0 ? 0 : n] = '\0';
        found = !strcmp(target, wanted);
    }
    if (d)
        closedir(d);
    return found;
}

static char *name_of(const char *pid)
{
    char path[300], name[64] = "";
    snprintf(path, sizeof(path), "/proc/%s/comm", pid);
    FILE *f = fopen(path, "re");
    if (f && fgets(name, sizeof(name), f))
        name[strcspn(name, "\n")] = '\0';
    if (f)
        fclose(f);
    return rwf_xasprintf(" by %s (process %s)", name, pid);
}

/* " by nginx (process 12)", or "": other users' processes tell nothing. */
static char *owner_of(int port)
{
    char wanted[64];
    char *who = NULL;
    unsigned long inode = listener_inode("/proc/net/tcp", port);
    if (!inode)
        inode = listener_inode("/proc/net/tcp6", port);
    snprintf(wanted, sizeof(wanted), "socket:[%lu]", inode);
    DIR *d = inode ? opendir("/proc") : NULL;
    for (struct dirent *e; d && !who && (e = readdir(d));)
        if (e->d_name[0] >= '1' && e->d_name[0] <= '9' && has_socket(e->d_name, wanted))
            who = name_of(e->d_name);
    if (d)
        closedir(d);
    return who ? who : rwf_xstrdup("");
}

/* --- sockets --- */

bool http__is_loopback(const char *host)
{
    return !strcmp(host, "localhost") || !strncmp(host, "127.", 4) ||
           !strcmp(host, "::1");
}

static int fail_bind(const char *host, int port, struct rwf_err *err)
{
    int code = errno;
    char *who = code == EADDRINUSE ? owner_of(port) : rwf_xstrdup("");
    rwf_fail(err, RWF_E_ENV, "cannot listen on %s:%d: %s%s%s", host, port,
             strerror(code), who,
             code == EADDRINUSE ? "; choose another port" : "");
    free(who);
    return -1;
}

static int bind_tcp(struct http_server *s, const char *host, struct rwf_err *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV},
                    *found = NULL;
    char service[16];
    int on = 1, rc = -1, fd = -1;
    snprintf(service, sizeof(service), "%d", s->o.port);
    int code = getaddrinfo(host, service, &hints, &found);
    if (code)
        return rwf_fail(err, RWF_E_ENV, "cannot listen on '%s': %s", host,
                        gai_strerror(code));
    fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
        bind(fd, found->ai_addr, found->ai_addrlen) || listen(fd, BACKLOG)) {
        fail_bind(host, s->o.port, err);
        if (fd >= 0)
            close(fd);
    } else {
        s->listen_fd = fd;
        rc = 0;
    }
    freeaddrinfo(found);
    return rc;
}

static void set_tcp_url(struct http_server *s, const char *host)
{
    struct sockaddr_storage addr = {0};
    socklen_t len = sizeof(addr);
    bool six = strchr(host, ':') != NULL;
    getsockname(s->listen_fd, (struct sockaddr *)&addr, &len);
    int port =
        ntohs(addr.ss_family == AF_INET ? ((struct sockaddr_in *)&addr)->sin_port
                                        : ((struct sockaddr_in6 *)&addr)->sin6_port);
    s->url = rwf_xasprintf("%s://%s%s%s:%d", s->tls ? "https" : "http", six ? "[" : "",
                           host, six ? "]" : "", port);
}

static int bind_unix(struct http_server *s, struct rwf_err *err)
{
    const char *path = s->o.unix_path;
    struct rwf_unix a;
    int fd = -1, rc = -1;
    mode_t mode = s->o.unix_mode ? (mode_t)s->o.unix_mode : 0600;
    if (rwf_unix_open(&a, path, err) || rwf_unix_remove_stale(&a, path, err)) {
        if (err != NULL)
            err->code = RWF_E_ENV;
        goto out;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || fchmod(fd, mode) ||
        bind(fd, (const struct sockaddr *)&a.addr, a.len) || chmod(path, mode) ||
        listen(fd, BACKLOG)) {
        rwf_fail(err, RWF_E_ENV, "cannot listen on %s: %s", path, strerror(errno));
        goto out;
    }
    s->listen_fd = fd;
    s->unix_path = rwf_xstrdup(path);
    s->url = rwf_xasprintf("unix:%s", path);
    fd = -1;
    rc = 0;
out:
    if (fd >= 0)
        close(fd);
    rwf_unix_close(&a);
    return rc;
}

/* --- connections --- */

/* No descriptors are left: the spare one makes room to take and close it, since
 * otherwise the loop would be told of it for ever. */
static void refuse_one(struct http_server *s)
{
    if (s->spare_fd < 0)
        return;
    close(s->spare_fd);
    int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0) {
        close(fd);
        s->stats.refused++;
    }
    s->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void take_connection(struct http_server *s, int fd,
                            const struct sockaddr_storage *addr, socklen_t len)
{
    if (s->stats.open >= (uint64_t)s->o.max_connections) {
        s->stats.refused++;
        close(fd);
        return;
    }
    /* It closes fd when it fails. */
    if (s->mhd->add(s->daemon, fd, (const struct sockaddr *)addr, len) != MHD_YES)
        s->stats.refused++;
}

static void acceptable(uv_poll_t *poll, int status, int events)
{
    struct http_server *s = poll->data;
    (void)status, (void)events;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        struct sockaddr_storage addr = {0};
        socklen_t len = sizeof(addr);
        int fd = accept4(s->listen_fd, (struct sockaddr *)&addr, &len,
                         SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE)
                refuse_one(s);
            break;
        }
        take_connection(s, fd, &addr, len);
    }
    http__soon(s, 1);
}

int http__listen(struct http_server *s, struct rwf_err *err)
{
    const char *host = s->o.host ? s->o.host : "127.0.0.1";
    if (s->o.unix_path) {
        if (bind_unix(s, err))
            return -1;
    } else {
        if (!http__is_loopback(host) && !s->any_key)
            return rwf_fail(
                err, RWF_E_USAGE,
                "a server on %s can be reached from other machines: give it "
                "api_keys, or the host 127.0.0.1",
                host);
        if (bind_tcp(s, host, err))
            return -1;
        set_tcp_url(s, host);
    }
    s->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int rc = uv_poll_init(s->loop, &s->listen_poll, s->listen_fd);
    if (rc)
        return rwf_fail(err, RWF_E_ENV, "cannot watch the socket: %s", uv_strerror(rc));
    s->listen_poll.data = s;
    s->handles++;
    uv_poll_start(&s->listen_poll, UV_READABLE, acceptable);
    return 0;
}

static void listen_closed(uv_handle_t *handle)
{
    struct http_server *s = handle->data;
    http__handle_closed(s);
}

void http__listen_close(struct http_server *s)
{
    if (s->listen_poll.data && !uv_is_closing((uv_handle_t *)&s->listen_poll))
        uv_close((uv_handle_t *)&s->listen_poll, listen_closed);
    if (s->listen_fd >= 0)
        close(s->listen_fd);
    if (s->spare_fd >= 0)
        close(s->spare_fd);
    s->listen_fd = s->spare_fd = -1;
    if (s->unix_path)
        unlink(s->unix_path);
    free(s->unix_path);
    s->unix_path = NULL;
}
