/* SPDX-License-Identifier: Apache-2.0
 *
 * Connections: their life, their waiting, their time-outs. libmicrohttpd has time-outs
 * of its own, but they start anew with every byte and end a connection without a word;
 * so the server sweeps its connections itself.
 */
#include "config.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/mem.h"
#include "http/impl.h"
#include "http/tcp.h"

static void set_peer(struct http__conn *c)
{
    const union MHD_ConnectionInfo *info =
        c->s->mhd->info(c->mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *a = info->client_addr;
    if (a->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)a)->sin_addr, c->peer,
                  sizeof(c->peer));
    else if (a->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)a)->sin6_addr, c->peer,
                  sizeof(c->peer));
    else
        memcpy(c->peer, "unix", 5);
}

static struct http__conn *opened(struct http_server *s, struct MHD_Connection *mhd)
{
    struct http__conn *c = rwf_xcalloc(1, sizeof(*c));
    c->s = s;
    c->mhd = mhd;
    c->fd = s->mhd->info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    c->since = uv_now(s->loop);
    set_peer(c);
    c->next = s->conns;
    if (c->next)
        c->next->prev = c;
    s->conns = c;
    s->stats.connections++;
    s->stats.open++;
    return c;
}

static bool peer_left(const struct http__conn *c)
{
    char byte;
    ssize_t n = recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

/* libmicrohttpd closes without a word when a request line has no space in it. */
static void say_why(struct http__conn *c)
{
    struct http__tcp tcp;
    if (c->killed || c->failed || c->s->stopping || c->s->tls || c->phase != HTTP__IDLE ||
        (c->served && c->turn == c->s->turn) || peer_left(c) ||
        !http__tcp_ask(c->fd, &tcp))
        return;
    if (c->served ? tcp.since_sent > 0 : tcp.received && !tcp.sent_segments) {
        c->s->stats.bad++;
        http__reply_raw(c, 400, "the request line is malformed");
    }
}

static void closed(struct http__conn *c)
{
    struct http_server *s = c->s;
    say_why(c);
    http__conn_hot(c, false);
    if (c->watched)
        epoll_ctl(s->gone_fd, EPOLL_CTL_DEL, c->fd, NULL);
    http__conn_phase(c, HTTP__IDLE);
    if (c->prev)
        c->prev->next = c->next;
    else
        s->conns = c->next;
    if (c->next)
        c->next->prev = c->prev;
    s->stats.open--;
    free(c);
}

void http__conn_notify(void *ctx, struct MHD_Connection *mhd, void **socket,
                       enum MHD_ConnectionNotificationCode code)
{
    struct http_server *s = ctx;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        *socket = opened(s, mhd);
    } else if (*socket) {
        closed(*socket);
        *socket = NULL;
    }
}

void http__conn_phase(struct http__conn *c, enum http__phase phase)
{
    c->s->busy += (phase != HTTP__IDLE) - (c->phase != HTTP__IDLE);
    c->phase = phase;
    c->since = uv_now(c->s->loop);
}

/* --- waiting --- */

static void unlink_hot(struct http__conn *c)
{
    struct http_server *s = c->s;
    if (c->hot_prev)
        c->hot_prev->hot_next = c->hot_next;
    else
        s->hot_first = c->hot_next;
    if (c->hot_next)
        c->hot_next->hot_prev = c->hot_prev;
    else
        s->hot_last = c->hot_prev;
    c->hot_prev = c->hot_next = NULL;
    s->hot_count--;
}

static void link_hot(struct http__conn *c)
{
    struct http_server *s = c->s;
    c->hot_prev = s->hot_last;
    if (s->hot_last)
        s->hot_last->hot_next = c;
    else
        s->hot_first = c;
    s->hot_last = c;
    s->hot_count++;
    if (!uv_is_active((uv_handle_t *)&s->hot_timer))
        uv_timer_start(&s->hot_timer, http__conn_cool, HTTP__HOT_MS, 0);
}

static void watch(struct http__conn *c)
{
    struct epoll_event event = {.events = EPOLLRDHUP | EPOLLONESHOT, .data.ptr = c};
    if (!c->watched && !epoll_ctl(c->s->gone_fd, EPOLL_CTL_ADD, c->fd, &event))
        c->watched = true;
}

static void cool(struct http__conn *c)
{
    http__conn_hot(c, false);
    c->suspended = true;
    c->s->mhd->suspend(c->mhd);
    watch(c);
}

void http__conn_hot(struct http__conn *c, bool hot)
{
    if (c->hot == hot)
        return;
    c->hot = hot;
    if (!hot) {
        unlink_hot(c);
        return;
    }
    c->since = uv_now(c->s->loop);
    link_hot(c);
    if (c->s->hot_count > HTTP__HOT_MAX)
        cool(c);
}

void http__conn_wake(struct http__conn *c)
{
    int turns =
        c->suspended ? 2 : 1; /* it takes up a suspended one in a turn of its own */
    http__conn_hot(c, false);
    if (c->watched) {
        epoll_ctl(c->s->gone_fd, EPOLL_CTL_DEL, c->fd, NULL);
        c->watched = false;
    }
    if (c->suspended) {
        c->suspended = false;
        c->s->mhd->resume(c->mhd);
    }
    http__soon(c->s, turns);
}

void http__conn_cool(uv_timer_t *timer)
{
    struct http_server *s = timer->data;
    uint64_t now = uv_now(s->loop);
    while (s->hot_first && s->hot_first->since + HTTP__HOT_MS <= now)
        cool(s->hot_first);
    if (s->hot_first)
        uv_timer_start(timer, http__conn_cool, HTTP__HOT_MS, 0);
    http__soon(s, 1);
}

/* libmicrohttpd finds out from the socket, or when it asks for the reply. */
void http__conn_kill(struct http__conn *c)
{
    c->killed = true;
    shutdown(c->fd, SHUT_RDWR);
    http__conn_wake(c);
}

/* Of sockets that are watched: the client closed its side. Bytes that wait before that
 * are further requests: it may still want the replies. */
void http__conn_gone(uv_poll_t *poll, int status, int events)
{
    struct http_server *s = poll->data;
    struct epoll_event event[64];
    (void)status, (void)events;
    int n = epoll_wait(s->gone_fd, event, RWF_COUNT(event), 0);
    for (int i = 0; i < n; i++) {
        struct http__conn *c = event[i].data.ptr;
        bool broken = event[i].events & (EPOLLERR | EPOLLHUP);
        if (!broken && !s->tls && !peer_left(c))
            continue;
        struct http_request *r = c->r;
        http__conn_kill(c);
        if (r)
            http__request_lost(r);
    }
}

/* --- time-outs --- */

/* Part of a request line is there, which libmicrohttpd does not tell. */
static bool has_begun(const struct http__conn *c, uint64_t idle)
{
    struct http__tcp tcp;
    if (!http__tcp_ask(c->fd, &tcp))
        return false;
    return c->served ? tcp.since_received < idle : tcp.received > 0;
}

static void time_out(struct http__conn *c)
{
    c->s->stats.bad++;
    if (c->r && c->r->seen) { /* for the log */
        c->r->bad = true;
        c->r->status = 408;
    }
    http__reply_raw(c, 408, "the request took too long to come");
    http__conn_kill(c);
}

static uint64_t ms(int64_t ns)
{
    return (uint64_t)(ns / RWF_NS_PER_MS);
}

static void sweep_idle(struct http__conn *c, uint64_t waited)
{
    const struct http_server_options *o = &c->s->o;
    if (waited >= ms(o->header_timeout) && !c->s->tls && has_begun(c, waited))
        time_out(c);
    else if (waited >= ms(o->idle_timeout))
        http__conn_kill(c);
}

/* Does the client take what we send? */
static bool moves(struct http__conn *c)
{
    struct http__tcp tcp;
    uint64_t acked;
    int queued = 0;
    if (http__tcp_ask(c->fd, &tcp))
        acked = tcp.acked;
    else if (!ioctl(c->fd, SIOCOUTQ, &queued))
        acked = (uint64_t)queued;
    else
        return false;
    bool moved = acked != c->acked;
    c->acked = acked;
    return moved;
}

static void sweep_reply(struct http__conn *c, uint64_t waited)
{
    const struct http_request *r = c->r;
    if (c->hot || c->suspended || !r) /* it is we who have nothing to send */
        return;
    if (moves(c)) {
        c->since = uv_now(c->s->loop);
    } else if (waited >= ms(c->s->o.write_timeout)) {
        struct http_request *lost = c->r;
        http__conn_kill(c);
        if (lost->told && !lost->ended)
            http__request_lost(lost);
    }
}

static void sweep(struct http__conn *c, uint64_t now)
{
    uint64_t waited = now - c->since;
    if (c->killed) {
        http__soon(c->s, 1);
        return;
    }
    switch (c->phase) {
    case HTTP__IDLE:
        sweep_idle(c, waited);
        break;
    case HTTP__HEAD:
    case HTTP__BODY:
        if (waited >= ms(c->s->o.header_timeout))
            time_out(c);
        break;
    case HTTP__REPLY:
        sweep_reply(c, waited);
        break;
    case HTTP__TOLD:
        break;
    }
}

void http__conn_sweep(uv_timer_t *timer)
{
    struct http_server *s = timer->data;
    uint64_t now = uv_now(s->loop);
    for (struct http__conn *c = s->conns, *next; c; c = next) {
        next = c->next;
        sweep(c, now);
    }
}
