/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/unix.h"
#include "wire/link_impl.h"
#include "wire/tls_impl.h"
#include "wire/unix.h"

#define UNPROVED_MAX 128 /* connections that have not said who they are */
#define ACCEPTS_PER_TURN 32
#define SAY_EVERY (2 * RWF_NS_PER_S)

struct wire_listener {
    uv_loop_t *loop;
    uv_poll_t poll;
    int fd;
    int spare; /* given up to refuse a connection when there are no descriptors */
    bool tcp;
    bool keyed, tls;
    uint8_t key[WIRE_KEY_LEN];
    char *path; /* of a unix socket; removed at the end */
    int port;
    wire_accept_fn fn;
    void *ctx;
    struct wire_link *unproved;
    int unproved_count;
    int64_t said_at; /* when a stranger was logged last */
    unsigned unsaid; /* strangers since */
};

void wire__listener_forget(struct wire_link *l, bool accept)
{
    struct wire_listener *lis = l->listener;
    if (l->prev)
        l->prev->next = l->next;
    else
        lis->unproved = l->next;
    if (l->next)
        l->next->prev = l->prev;
    l->prev = l->next = NULL;
    l->listener = NULL;
    lis->unproved_count--;
    if (accept)
        lis->fn(lis->ctx, l);
}

void wire__listener_refused(struct wire_listener *lis, const struct rwf_err *err)
{
    int64_t now = rwf_clock_mono();
    if (err->code != EACCES && err->code != EPROTO) {
        rwf_log(RWF_LOG_INFO, "wire", "%s", err->text);
    } else if (lis->said_at && now - lis->said_at < SAY_EVERY) {
        lis->unsaid++;
    } else {
        rwf_log(RWF_LOG_WARN, "wire", "a peer was refused: %s%s", err->text,
                lis->unsaid ? " (and others before)" : "");
        lis->said_at = now;
        lis->unsaid = 0;
    }
}

static void remember(struct wire_listener *lis, struct wire_link *l)
{
    l->listener = lis;
    l->next = lis->unproved;
    if (l->next)
        l->next->prev = l;
    lis->unproved = l;
    lis->unproved_count++;
}

static void accept_unix(struct wire_listener *lis, int fd)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct wire_link *l = NULL;
    if (!wire__unix_check_peer(fd, &err))
        l = wire_link_open(lis->loop, fd, &err);
    if (l) {
        lis->fn(lis->ctx, l);
        return;
    }
    rwf_log(RWF_LOG_WARN, "wire", "%s: %s", lis->path, err.text);
    close(fd);
}

/* Of its name, "HOST:PORT". */
static size_t host_len(const struct wire_link *l)
{
    return (size_t)(strrchr(l->name, ':') - l->name);
}

static bool same_host(const struct wire_link *a, const struct wire_link *b)
{
    size_t len = host_len(a);
    return len == host_len(b) && memcmp(a->name, b->name, len) == 0;
}

static int count_of_host(const struct wire_listener *lis, const struct wire_link *of)
{
    int count = 0;
    for (const struct wire_link *l = lis->unproved; l; l = l->next)
        count += same_host(l, of);
    return count;
}

/* Closes the oldest of the host that has most of them: who fills the list pays for it,
 * and who has the key needs but a moment. */
static void make_room(struct wire_listener *lis)
{
    struct wire_link *l, *worst = NULL;
    int most = 0, count;
    for (l = lis->unproved; l; l = l->next) {
        if (worst && same_host(l, worst)) {
            worst = l; /* the list begins with the newest */
        } else if ((count = count_of_host(lis, l)) > most) {
            most = count;
            worst = l;
        }
    }
    wire_link_close(worst);
}

static void accept_tcp(struct wire_listener *lis, int fd, const struct sockaddr *addr)
{
    struct rwf_err err = RWF_ERR_INIT;
    char host[INET6_ADDRSTRLEN] = "?";
    if (lis->unproved_count >= UNPROVED_MAX)
        make_room(lis);
    struct wire_link *l = wire__link_create(lis->loop, WIRE__TCP);
    bool v4 = addr->sa_family == AF_INET;
    const struct sockaddr_in *in4 = (const void *)addr;
    const struct sockaddr_in6 *in6 = (const void *)addr;
    if (v4)
        inet_ntop(AF_INET, &in4->sin_addr, host, sizeof(host));
    else
        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
    snprintf(l->name, sizeof(l->name), v4 ? "%s:%d" : "[%s]:%d", host,
             ntohs(v4 ? in4->sin_port : in6->sin6_port));
    wire__tcp_options(fd);
    int plain = wire__tcp_wrap(l, fd, true, lis->tls, &err);
    if (plain < 0) {
        close(fd);
        wire__link_fail(l, &err);
        return;
    }
    fd = plain;
    l->in.frame_max = WIRE__GREETING_MAX;
    if (lis->keyed)
        l->auth = wire__auth_create(lis->key, true);
    else
        l->state = WIRE__OPEN;
    if (wire__link_start(l, fd, &err)) {
        close(fd);
        wire__link_fail(l, &err);
    } else if (lis->keyed) {
        remember(lis, l);
    } else {
        l->in.frame_max = 0;
        lis->fn(lis->ctx, l);
    }
}

/* Without a descriptor left, the loop would be told of the same connection for ever. */
static void refuse_one(struct wire_listener *lis)
{
    rwf_log(RWF_LOG_WARN, "wire", "a connection is refused: no descriptors are left");
    if (lis->spare < 0)
        return;
    close(lis->spare);
    int fd = accept4(lis->fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0)
        close(fd);
    lis->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void on_connection(uv_poll_t *poll, int status, int events)
{
    struct wire_listener *lis = poll->data;
    (void)status;
    (void)events;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        struct sockaddr_storage addr = {0};
        socklen_t len = sizeof(addr);
        int fd = accept4(lis->fd, (struct sockaddr *)&addr, &len,
                         SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0 && (errno == EMFILE || errno == ENFILE))
            refuse_one(lis);
        if (fd < 0)
            return;
        if (lis->tcp)
            accept_tcp(lis, fd, (const struct sockaddr *)&addr);
        else
            accept_unix(lis, fd);
        if (lis->fd < 0)
            return; /* closed by what it called */
    }
}

static void free_listener(uv_handle_t *h)
{
    struct wire_listener *lis = h->data;
    explicit_bzero(lis->key, sizeof(lis->key));
    free(lis->path);
    free(lis);
}

void wire_listener_close(struct wire_listener *lis)
{
    if (!lis)
        return;
    while (lis->unproved)
        wire_link_close(lis->unproved);
    if (lis->path)
        unlink(lis->path);
    uv_close((uv_handle_t *)&lis->poll, free_listener);
    close(lis->fd);
    lis->fd = -1;
    if (lis->spare >= 0)
        close(lis->spare);
}

/* Takes fd, which listens. */
static struct wire_listener *listen_on(uv_loop_t *loop, int fd, wire_accept_fn fn,
                                       void *ctx, struct rwf_err *err)
{
    struct wire_listener *lis = rwf_xcalloc(1, sizeof(*lis));
    lis->loop = loop;
    lis->fd = fd;
    lis->fn = fn;
    lis->ctx = ctx;
    lis->poll.data = lis;
    int rc = listen(fd, SOMAXCONN) ? -errno : uv_poll_init(loop, &lis->poll, fd);
    if (rc) {
        rwf_fail(err, -rc, "cannot listen: %s", uv_strerror(rc));
        close(fd);
        free(lis);
        return NULL;
    }
    lis->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    uv_poll_start(&lis->poll, UV_READABLE, on_connection);
    return lis;
}

/* --- unix --- */

/* Others must not even reach the socket, or put one of theirs in its place. */
static int make_folder(const char *path, struct rwf_err *err)
{
    char *folder = rwf_fs_dirname(path);
    struct stat st;
    int rc = -1;
    if (mkdir(folder, 0700) && errno != EEXIST)
        rwf_fail(err, errno, "cannot make the folder %s: %s", folder, strerror(errno));
    else if (stat(folder, &st))
        rwf_fail(err, errno, "%s: %s", folder, strerror(errno));
    else if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077))
        rwf_fail(err, EACCES, "%s must be a folder of yours alone (chmod 700 %s)",
                 folder, folder);
    else
        rc = 0;
    free(folder);
    return rc;
}

struct wire_listener *wire_listen_unix(uv_loop_t *loop, const char *path,
                                       wire_accept_fn fn, void *ctx,
                                       struct rwf_err *err)
{
    struct rwf_unix a;
    struct wire_listener *lis = NULL;
    if (make_folder(path, err) || rwf_unix_open(&a, path, err))
        return NULL;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (rwf_unix_remove_stale(&a, path, err))
        goto out;
    if (fd < 0 || bind(fd, (const struct sockaddr *)&a.addr, a.len) ||
        chmod(path, 0600)) {
        rwf_fail(err, errno, "cannot make the socket %s: %s", path, strerror(errno));
        goto out;
    }
    lis = listen_on(loop, fd, fn, ctx, err);
    fd = -1;
    if (lis)
        lis->path = rwf_xstrdup(path);
out:
    if (fd >= 0)
        close(fd);
    rwf_unix_close(&a);
    return lis;
}

/* --- TCP --- */

static int bind_to(const struct addrinfo *a, const char *host, int port,
                   struct rwf_err *err)
{
    int on = 1;
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (fd >= 0 && !bind(fd, a->ai_addr, a->ai_addrlen))
        return fd;
    rwf_fail(err, errno, "cannot listen on %s:%d: %s%s", host, port, strerror(errno),
             errno == EADDRINUSE ? " (choose another port; 0 is any that is free)"
                                 : "");
    if (fd >= 0)
        close(fd);
    return -1;
}

static int bound_port(int fd)
{
    struct sockaddr_storage addr = {0};
    socklen_t len = sizeof(addr);
    getsockname(fd, (struct sockaddr *)&addr, &len);
    return ntohs(addr.ss_family == AF_INET ? ((struct sockaddr_in *)&addr)->sin_port
                                           : ((struct sockaddr_in6 *)&addr)->sin6_port);
}

struct wire_listener *wire_listen_tcp(uv_loop_t *loop, const char *host, int port,
                                      const uint8_t *key, wire_accept_fn fn, void *ctx,
                                      struct rwf_err *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE},
                    *found;
    struct wire_listener *lis = NULL;
    char service[16];
    snprintf(service, sizeof(service), "%d", port);
    int rc = getaddrinfo(host, service, &hints, &found);
    if (rc) {
        rwf_fail(err, EINVAL, "cannot listen on %s:%d: %s", host, port,
                 gai_strerror(rc));
        return NULL;
    }
    const struct addrinfo *a = found;
    while (a->ai_next && a->ai_family != AF_INET)
        a = a->ai_next;
    int fd = -1, tls = wire_tls_wanted(err);
    if (tls < 0)
        ;
    else if (!key && !wire__is_loopback(a->ai_addr))
        rwf_fail(err, EACCES,
                 "cannot listen on %s: a host that is not loopback needs a key", host);
    else
        fd = bind_to(a, host, port, err);
    if (fd >= 0)
        lis = listen_on(loop, fd, fn, ctx, err);
    freeaddrinfo(found);
    if (!lis)
        return NULL;
    lis->tcp = true;
    lis->tls = tls > 0;
    lis->port = bound_port(lis->fd);
    lis->keyed = key != NULL;
    if (key)
        memcpy(lis->key, key, WIRE_KEY_LEN);
    return lis;
}

int wire_listener_port(const struct wire_listener *lis)
{
    return lis->port;
}
