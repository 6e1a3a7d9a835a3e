/* SPDX-License-Identifier: Apache-2.0
 *
 * The client's connections: where they lead, making one, or taking one from the pool.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/unix.h"
#include "http/client_impl.h"

int http__client_target(struct http_client *c, const char *target, struct rwf_err *err)
{
    char *end;
    long port;
    if (rwf_starts_with(target, "unix:") && target[5]) {
        c->path = rwf_xstrdup(target + 5);
        return 0;
    }
    if (rwf_starts_with(target, "http://127.0.0.1:")) {
        port = strtol(target + 17, &end, 10);
        if (port > 0 && port < 65536 && (!*end || !strcmp(end, "/")))
            return uv_ip4_addr("127.0.0.1", (int)port, &c->addr);
    }
    return rwf_fail(err, RWF_E_USAGE,
                    "'%s' is no place to call: unix:PATH or http://127.0.0.1:PORT",
                    target);
}

void http__link_push(struct http__link **list, struct http__link *l)
{
    l->prev = NULL;
    l->next = *list;
    if (l->next)
        l->next->prev = l;
    *list = l;
}

void http__link_pull(struct http__link **list, struct http__link *l)
{
    if (l->prev)
        l->prev->next = l->next;
    else
        *list = l->next;
    if (l->next)
        l->next->prev = l->prev;
}

static const char *target_of(const struct http_client *c, char *room, size_t size)
{
    if (c->path)
        snprintf(room, size, "unix:%s", c->path);
    else
        snprintf(room, size, "http://127.0.0.1:%d", ntohs(c->addr.sin_port));
    return room;
}

static void connected(uv_connect_t *connect, int status)
{
    struct http__link *l = connect->data;
    struct rwf_err err = RWF_ERR_INIT;
    char target[300];
    if (l->closing)
        return;
    if (!status) {
        http__link_send(l);
        return;
    }
    rwf_fail(&err, -status, "cannot connect to %s: %s",
             target_of(l->client, target, sizeof(target)), uv_strerror(status));
    http__call_end(l->call, &err);
}

struct http__link *http__link_new(struct http_client *c, struct http_call *call)
{
    struct http__link *l = rwf_xcalloc(1, sizeof(*l));
    l->client = c;
    l->call = call;
    call->link = l;
    if (c->path)
        uv_pipe_init(c->loop, &l->u.pipe, 0);
    else
        uv_tcp_init(c->loop, &l->u.tcp);
    uv_timer_init(c->loop, &l->timer);
    l->u.handle.data = l->timer.data = l;
    l->open = 2;
    c->open++;
    http__link_push(&c->links, l);
    return l;
}

static int connect_unix(struct http__link *l, struct rwf_err *err)
{
    struct rwf_unix a;
    const char *path = l->client->path;
    if (rwf_unix_open(&a, path, err))
        return -1;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), code = 0;
    if (fd < 0 || connect(fd, (const struct sockaddr *)&a.addr, a.len))
        code = errno;
    else
        code = -uv_pipe_open(&l->u.pipe, fd);
    if (code && fd >= 0)
        close(fd);
    rwf_unix_close(&a);
    if (!code)
        return 0;
    return rwf_fail(err, code, "cannot connect to unix:%s: %s", path, strerror(code));
}

int http__link_connect(struct http__link *l, struct rwf_err *err)
{
    struct http_client *c = l->client;
    if (c->path) {
        if (connect_unix(l, err))
            return -1;
        http__link_send(l);
        return 0;
    }
    l->connect.data = l;
    int rc = uv_tcp_connect(&l->connect, &l->u.tcp, (const struct sockaddr *)&c->addr,
                            connected);
    if (rc)
        return rwf_fail(err, -rc, "cannot connect: %s", uv_strerror(rc));
    uv_tcp_nodelay(&l->u.tcp, 1);
    return 0;
}

struct http__link *http__link_take(struct http_client *c)
{
    while (c->idle) {
        struct http__link *l = c->idle;
        char byte;
        uv_os_fd_t fd;
        if (!uv_fileno(&l->u.handle, &fd) &&
            recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN) {
            http__link_pull(&c->idle, l);
            c->idle_count--;
            http__link_push(&c->links, l);
            uv_read_stop(&l->u.stream);
            return l;
        }
        http__link_close(l);
    }
    return NULL;
}
