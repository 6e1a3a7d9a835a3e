/* SPDX-License-Identifier: Apache-2.0
 * The connecting side of TCP: resolve, connect, prove. */
#include "config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "wire/link_impl.h"
#include "wire/tls_impl.h"

bool wire__is_loopback(const struct sockaddr *a)
{
    if (a->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)a)->sin_addr.s_addr) >> 24 == 127;
    return a->sa_family == AF_INET6 &&
           IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)a)->sin6_addr);
}

void wire__tcp_options(int fd)
{
    static const struct {
        int level, name, value;
    } options[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},
        /* A peer whose machine or network is gone says nothing, for ever: the kernel
         * asks after so many seconds of silence, and again, and ends it. */
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, 5},
        {IPPROTO_TCP, TCP_KEEPINTVL, 2},
        {IPPROTO_TCP, TCP_KEEPCNT, 4},
        {IPPROTO_TCP, TCP_USER_TIMEOUT, 13000}, /* ms: of what it has not confirmed */
    };
    for (size_t i = 0; i < RWF_COUNT(options); i++)
        setsockopt(fd, options[i].level, options[i].name, &options[i].value,
                   sizeof(options[i].value));
}

void wire__tcp_refused(struct wire_link *l, const char *why)
{
    struct rwf_err err;
    rwf_fail(&err, ECONNREFUSED,
             "cannot connect to %s: %s; does raywf run there (raywf start)?", l->name,
             why);
    wire__link_fail(l, &err);
}

static void tls_failed(void *ctx, bool connecting, int code, const char *text)
{
    struct wire_link *l = ctx;
    struct rwf_err err;
    if (connecting)
        wire__tcp_refused(l, text);
    rwf_fail(&err, code, "%s: TLS: %s", l->name, text);
    wire__link_fail(l, &err); /* does nothing the second time */
}

int wire__tcp_wrap(struct wire_link *l, int fd, bool server, bool tls,
                   struct rwf_err *err)
{
    if (!tls)
        return fd;
    int plain = wire__tls_wrap(l->loop, fd, server, tls_failed, l, &l->tls, err);
    return plain < 0 ? rwf_wrap(err, "%s", l->name) : plain;
}

static void begin(struct wire_link *l, const struct sockaddr *addr)
{
    struct rwf_err err = RWF_ERR_INIT;
    socklen_t len = addr->sa_family == AF_INET ? sizeof(struct sockaddr_in)
                                               : sizeof(struct sockaddr_in6);
    int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || (connect(fd, addr, len) && errno != EINPROGRESS)) {
        wire__tcp_refused(l, strerror(errno));
        if (fd >= 0)
            close(fd);
        return;
    }
    wire__tcp_options(fd);
    int tls = wire_tls_wanted(&err);
    int plain = tls < 0 ? -1 : wire__tcp_wrap(l, fd, false, tls, &err);
    if (plain < 0 || wire__link_start(l, plain, &err)) {
        close(plain < 0 ? fd : plain);
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
        wire__tcp_refused(l, status ? uv_strerror(status) : "it has no address");
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
        wire__tcp_refused(l, strerror(error ? error : errno));
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

/* --- HOST:PORT --- */

int wire_address_split(const char *text, char **ret_host, int *ret_port)
{
    const char *colon = strrchr(text, ':');
    char *end = NULL;
    long port = colon ? strtol(colon + 1, &end, 10) : -1;
    bool brackets = colon && *text == '[' && colon > text + 2 && colon[-1] == ']';
    if (!colon || colon == text || end == colon + 1 || *end || port < 0 || port > 65535)
        return -1;
    *ret_host =
        rwf_xstrndup(text + brackets, (size_t)(colon - text) - 2 * (size_t)brackets);
    *ret_port = (int)port;
    return 0;
}

/* --- the way to a host --- */

static bool same_address(const struct sockaddr *a, const struct sockaddr *b)
{
    if (!a || a->sa_family != b->sa_family)
        return false;
    if (a->sa_family == AF_INET)
        return ((const struct sockaddr_in *)a)->sin_addr.s_addr ==
               ((const struct sockaddr_in *)b)->sin_addr.s_addr;
    return a->sa_family == AF_INET6 &&
           IN6_ARE_ADDR_EQUAL(&((const struct sockaddr_in6 *)a)->sin6_addr,
                              &((const struct sockaddr_in6 *)b)->sin6_addr);
}

/* Of 127.0.0.0/8, of which the loopback lists one address. */
static bool is_loopback(const struct sockaddr *a)
{
    return a->sa_family == AF_INET &&
           ntohl(((const struct sockaddr_in *)a)->sin_addr.s_addr) >> 24 == 127;
}

static void find_interface(const struct sockaddr *address, char *ret)
{
    struct ifaddrs *all = NULL;
    *ret = '\0';
    if (getifaddrs(&all) < 0)
        return;
    for (const struct ifaddrs *i = all; i && !*ret; i = i->ifa_next)
        if (same_address(i->ifa_addr, address))
            snprintf(ret, IF_NAMESIZE, "%s", i->ifa_name);
    freeifaddrs(all);
    if (!*ret && is_loopback(address))
        snprintf(ret, IF_NAMESIZE, "lo");
}

/* A datagram socket that is connected sends nothing, but knows its way. */
static int route(const struct addrinfo *to, char *ret_address, char *ret_interface)
{
    struct sockaddr_storage mine = {0};
    socklen_t len = sizeof(mine);
    int fd = socket(to->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int rc = fd < 0 || connect(fd, to->ai_addr, to->ai_addrlen) ||
                     getsockname(fd, (struct sockaddr *)&mine, &len)
                 ? errno
                 : 0;
    if (fd >= 0)
        close(fd);
    if (rc == 0 && ret_address)
        rc = getnameinfo((struct sockaddr *)&mine, len, ret_address, INET6_ADDRSTRLEN,
                         NULL, 0, NI_NUMERICHOST)
                 ? EINVAL
                 : 0;
    if (rc == 0 && ret_interface)
        find_interface((struct sockaddr *)&mine, ret_interface);
    return rc;
}

int wire_route_host(const char *host, char *ret_address, char *ret_interface,
                    struct rwf_err *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_DGRAM}, *found;
    int rc = getaddrinfo(host, "9", &hints, &found);
    if (rc)
        return rwf_fail(
            err, RWF_E_ENV,
            "the host '%s' is not known here (%s): look at its spelling, or add it to "
            "/etc/hosts",
            host, gai_strerror(rc));
    const struct addrinfo *a = found;
    while (a->ai_next && a->ai_family != AF_INET)
        a = a->ai_next;
    if (a->ai_family != AF_INET)
        a = found;
    rc = route(a, ret_address, ret_interface);
    freeaddrinfo(found);
    return rc ? rwf_fail(err, RWF_E_ENV, "there is no way to the host %s: %s", host,
                         strerror(rc))
              : 0;
}
