/* SPDX-License-Identifier: Apache-2.0
 * The connecting side of TCP: resolve, connect, prove. */
#include "config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "wire/link_impl.h"

bool wire__is_loopback(const struct sockaddr *a)
{
    if (a->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)a)->sin_addr.s_addr) >> 24 == 127;
    return a->sa_family == AF_INET6 &&
           IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)a)->sin6_addr);
}

void wire__tcp_options(int fd)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
}

static void fail_connect(struct wire_link *l, const char *why)
{
    struct rwf_err err;
    rwf_fail(&err, ECONNREFUSED,
             "cannot connect to %s: %s; does a head run there (raywf start --head)?",
             l->name, why);
    wire__link_fail(l, &err);
}

static void begin(struct wire_link *l, const struct sockaddr *addr)
{
    struct rwf_err err = RWF_ERR_INIT;
    socklen_t len = addr->sa_family == AF_INET ? sizeof(struct sockaddr_in)
                                               : sizeof(struct sockaddr_in6);
    int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || (connect(fd, addr, len) && errno != EINPROGRESS)) {
        fail_connect(l, strerror(errno));
        if (fd >= 0)
            close(fd);
        return;
    }
    wire__tcp_options(fd);
    if (wire__link_start(l, fd, &err)) {
        close(fd);
        wire__link_fail(l, &err);
    }
}

static void resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *found)
{
    struct wire_link *l = req->data;
    req->data = NULL; /* nothing to cancel any more */
    const struct addrinfo *a = found;
    /* "localhost" is both: what listens there by default is IPv4. */
    while (a && a->ai_next && a->ai_family != AF_INET)
        a = a->ai_next;
    if (l->state == WIRE__WAITING && (status || !a))
        fail_connect(l, status ? uv_strerror(status) : "it has no address");
    else if (l->state == WIRE__WAITING)
        begin(l, a->ai_family == AF_INET || a == found ? a->ai_addr : found->ai_addr);
    uv_freeaddrinfo(found);
    wire__link_release(l);
}

void wire__tcp_writable(struct wire_link *l)
{
    struct rwf_err err = RWF_ERR_INIT;
    int error = 0;
    socklen_t len = sizeof(error);
    if (getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &error, &len) || error) {
        fail_connect(l, strerror(error ? error : errno));
        return;
    }
    if (!l->keyed) {
        wire__link_opened(l);
        return;
    }
    l->auth = wire__auth_create(l->key, false);
    explicit_bzero(l->key, sizeof(l->key));
    if (wire__auth_begin(l->auth, l->fd, &err)) {
        rwf_wrap(&err, "%s", l->name);
        wire__link_fail(l, &err);
    }
}

struct wire_link *wire_link_connect(uv_loop_t *loop, const char *host, int port,
                                    const uint8_t *key, struct rwf_err *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    char service[16];
    if (port < 1 || port > 65535) {
        rwf_fail(err, EINVAL, "%s:%d: a port is a number from 1 to 65535", host, port);
        return NULL;
    }
    struct wire_link *l = wire__link_create(loop, WIRE__TCP);
    snprintf(l->name, sizeof(l->name), strchr(host, ':') ? "[%.60s]:%d" : "%.60s:%d",
             host, port);
    snprintf(service, sizeof(service), "%d", port);
    l->in.frame_max = WIRE__GREETING_MAX;
    l->keyed = key != NULL;
    if (key)
        memcpy(l->key, key, WIRE_KEY_LEN);
    l->resolve.data = l;
    int rc = uv_getaddrinfo(loop, &l->resolve, resolved, host, service, &hints);
    if (rc) {
        rwf_fail(err, EINVAL, "%s: %s", l->name, uv_strerror(rc));
        wire_link_close(l);
        return NULL;
    }
    l->pending++;
    uv_timer_start(&l->timer, wire__link_stalled, WIRE__HANDSHAKE_MS, 0);
    return l;
}
