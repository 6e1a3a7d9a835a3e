/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "gang/hub.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "wire/tls.h"

#define PROVE_WITHIN (10 * RWF_NS_PER_S)
#define STRANGERS_MAX 256 /* that have not proven anything yet */
#define READ_BYTES 65536

struct peer {
    struct gang_hub *hub;
    int fd;
    int rank; /* -1: not proven */
    int64_t since;
    char nonce[RWF_DIGEST_LEN];
    struct rwf_str in, out;
    bool writing; /* it is told when it can take more */
    LIST_ENTRY(peer) link;
};

struct gang_hub {
    struct gang_hub_handler handler;
    int epoll, listener, port, ranks, strangers, tls;
    int asked; /* the signal for all; 0: none */
    char key[RWF_DIGEST_LEN];
    struct peer **members; /* by rank; NULL: not here (any more) */
    LIST_HEAD(, peer) peers;
};

/* --- the listener --- */

/* Bound at host; -1: errno. */
static int bind_at(const char *host, int type)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICHOST | AI_PASSIVE},
                    *found = NULL;
    int fd = -1, saved = EADDRNOTAVAIL;

    if (getaddrinfo(host, NULL, &hints, &found) == 0) {
        fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | type, 0);
        if (fd >= 0 && bind(fd, found->ai_addr, found->ai_addrlen) != 0) {
            saved = errno;
            close(fd);
            fd = -1;
        }
        freeaddrinfo(found);
    }
    errno = saved;
    return fd;
}

static int port_of(int fd)
{
    struct sockaddr_storage address;
    socklen_t len = sizeof(address);

    if (getsockname(fd, (struct sockaddr *)&address, &len) != 0)
        return 0;
    return ntohs(address.ss_family == AF_INET6
                     ? ((struct sockaddr_in6 *)&address)->sin6_port
                     : ((struct sockaddr_in *)&address)->sin_port);
}

int gang_free_port(const char *host)
{
    int fd = bind_at(host, 0), port = fd < 0 ? 0 : port_of(fd);

    if (fd >= 0)
        close(fd);
    return port;
}

static void watch(struct gang_hub *h, int op, int fd, uint32_t events, void *what)
{
    struct epoll_event event = {.events = events, .data.ptr = what};

    epoll_ctl(h->epoll, op, fd, &event);
}

struct gang_hub *gang_hub_open(const char *host, int ranks,
                               const struct gang_hub_handler *handler,
                               struct rwf_err *err)
{
    struct gang_hub *h = rwf_xcalloc(1, sizeof(*h));

    h->handler = *handler;
    h->ranks = ranks;
    h->members = rwf_xcalloc((size_t)ranks, sizeof(struct peer *));
    h->epoll = epoll_create1(EPOLL_CLOEXEC);
    h->tls = wire_tls_wanted(err);
    h->listener = bind_at(host, SOCK_NONBLOCK);
    if (h->tls < 0) {
        rwf_wrap(err, "the ranks of other nodes");
    } else if (h->listener < 0 || h->epoll < 0 || listen(h->listener, 1024) != 0) {
        rwf_fail(
            err, RWF_E_ENV,
            "the ranks of other nodes cannot be heard at %s: %s (it is the address "
            "that this node has for others: see raywf nodes, and raywf start "
            "--interface)",
            host, strerror(errno));
    } else if (gang_nonce(h->key, err) == 0) {
        h->port = port_of(h->listener);
        watch(h, EPOLL_CTL_ADD, h->listener, EPOLLIN, NULL);
        return h;
    }
    gang_hub_close(h);
    return NULL;
}

int gang_hub_port(const struct gang_hub *h)
{
    return h->port;
}

const char *gang_hub_key(const struct gang_hub *h)
{
    return h->key;
}

int gang_hub_fd(const struct gang_hub *h)
{
    return h->epoll;
}

bool gang_hub_has(const struct gang_hub *h, int rank)
{
    return h->members[rank] != NULL;
}

/* --- one connection --- */

static void drop(struct peer *p)
{
    struct gang_hub *h = p->hub;
    int rank = p->rank;

    if (rank < 0)
        h->strangers--;
    else
        h->members[rank] = NULL;
    LIST_REMOVE(p, link);
    close(p->fd);
    rwf_str_free(&p->in);
    rwf_str_free(&p->out);
    free(p);
    if (rank >= 0)
        h->handler.gone(h->handler.ctx, rank);
}

/* False: it is gone. */
static bool flush(struct peer *p)
{
    size_t done = 0;

    while (done < p->out.len) {
        ssize_t n = send(p->fd, p->out.data + done, p->out.len - done, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN)
            return false;
        if (n < 0)
            break;
        done += (size_t)n;
    }
    p->out.len -= done;
    memmove(p->out.data, p->out.data + done, p->out.len);
    if (p->writing != (p->out.len > 0)) {
        p->writing = p->out.len > 0;
        watch(p->hub, EPOLL_CTL_MOD, p->fd, EPOLLIN | (p->writing ? EPOLLOUT : 0), p);
    }
    return true;
}

static bool send_json(struct peer *p, enum gang_frame type, json_t *json)
{
    char *text = json == NULL ? NULL : json_dumps(json, JSON_COMPACT);
    bool good = false;

    if (text != NULL) {
        gang_frame_add(&p->out, type, text, strlen(text));
        good = flush(p);
    }
    free(text);
    json_decref(json);
    return good;
}

static bool send_signal(struct peer *p, int signal)
{
    return send_json(p, GANG_KILL, json_pack("{s:i}", "signal", signal));
}

/* A rank that proves to be one, and is not here yet, gets what it is to run. */
static bool greet(struct peer *p, const char *body, size_t len)
{
    struct gang_hub *h = p->hub;
    json_t *hello = json_loadb(body, len, 0, NULL);
    const json_t *number = json_object_get(hello, "rank");
    const char *nonce = json_string_value(json_object_get(hello, "nonce"));
    json_int_t rank = json_is_integer(number) ? json_integer_value(number) : -1;
    char who[32], proof[RWF_DIGEST_LEN];
    bool good = false;

    snprintf(who, sizeof(who), "rank %lld", (long long)rank);
    if (nonce != NULL && strlen(nonce) < RWF_DIGEST_LEN && rank >= 0 &&
        rank < h->ranks && h->members[rank] == NULL) {
        gang_proof(h->key, who, p->nonce, nonce, proof);
        good = gang_proof_is(proof, json_string_value(json_object_get(hello, "proof")));
    }
    if (good) {
        json_t *welcome = h->handler.welcome(h->handler.ctx, (int)rank);
        p->rank = (int)rank;
        h->strangers--;
        h->members[rank] = p;
        gang_proof(h->key, "gang", p->nonce, nonce, proof);
        json_object_set_new(welcome, "proof", json_string(proof));
        good = send_json(p, GANG_WELCOME, welcome) &&
               (h->asked == 0 || send_signal(p, h->asked));
    }
    json_decref(hello);
    return good;
}

static void take_notice(struct peer *p, const char *body, size_t len)
{
    json_t *notice = json_loadb(body, len, 0, NULL);

    if (json_is_object(notice))
        p->hub->handler.notice(p->hub->handler.ctx, p->rank, notice);
    json_decref(notice);
}

static bool take(struct peer *p, enum gang_frame type, const char *body, size_t len)
{
    const struct gang_hub_handler *f = &p->hub->handler;

    if (p->rank < 0)
        return type == GANG_HELLO && greet(p, body, len);
    switch (type) {
    case GANG_OUT:
    case GANG_ERR:
        f->output(f->ctx, p->rank, type == GANG_ERR, body, len);
        return true;
    case GANG_REPORT:
        f->report(f->ctx, p->rank, body, len);
        return true;
    case GANG_NOTICE:
        take_notice(p, body, len);
        return true;
    default:
        return false;
    }
}

/* False: what came makes no sense, and the peer is to go. */
static bool take_all(struct peer *p)
{
    size_t at = 0, len, used;
    enum gang_frame type;
    const char *body;
    int got = 0;

    while ((got = gang_frame_take(p->in.data + at, p->in.len - at,
                                  p->rank < 0 ? GANG_HELLO_MAX : GANG_FRAME_MAX, &type,
                                  &body, &len, &used)) > 0) {
        if (!take(p, type, body, len))
            return false;
        at += used;
    }
    if (at > 0) {
        p->in.len -= at;
        memmove(p->in.data, p->in.data + at, p->in.len);
    }
    return got == 0;
}

static void on_peer(struct peer *p, uint32_t events)
{
    char bytes[READ_BYTES];
    ssize_t n = 1;

    if ((events & EPOLLOUT) && !flush(p)) {
        drop(p);
        return;
    }
    while ((n = recv(p->fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0 ||
           (n < 0 && errno == EINTR)) {
        if (n > 0)
            rwf_str_addn(&p->in, bytes, (size_t)n);
        if (n > 0 && !take_all(p)) {
            n = 0;
            break;
        }
    }
    if (n == 0 || errno != EAGAIN)
        drop(p);
}

/* -1: none waits. */
static int accept_one(struct gang_hub *h)
{
    struct rwf_err err = RWF_ERR_INIT;
    int on = 1, fd = accept4(h->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0)
        return -1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    if (h->tls == 0)
        return fd;
    int clear = wire_tls_carry(fd, true, "a rank of the gang", &err);
    if (clear < 0) {
        rwf_log(RWF_LOG_WARN, "gang", "a rank cannot join: %s", err.text);
        close(fd);
    }
    return clear;
}

static void on_connection(struct gang_hub *h)
{
    struct rwf_err err = RWF_ERR_INIT;
    int fd;

    while ((fd = accept_one(h)) >= 0) {
        struct peer *p = rwf_xcalloc(1, sizeof(*p));
        p->hub = h;
        p->fd = fd;
        p->rank = -1;
        p->since = rwf_clock_mono();
        h->strangers++;
        LIST_INSERT_HEAD(&h->peers, p, link);
        if (h->strangers > STRANGERS_MAX + h->ranks ||
            gang_nonce(p->nonce, &err) != 0) {
            drop(p);
            continue;
        }
        gang_frame_add(&p->out, GANG_CHALLENGE, p->nonce, strlen(p->nonce));
        watch(h, EPOLL_CTL_ADD, fd, EPOLLIN, p);
        if (!flush(p))
            drop(p);
    }
}

static void drop_strangers(struct gang_hub *h)
{
    int64_t now = rwf_clock_mono();
    struct peer *p, *next;

    for (p = LIST_FIRST(&h->peers); p != NULL && h->strangers > 0; p = next) {
        next = LIST_NEXT(p, link);
        if (p->rank < 0 && now - p->since > PROVE_WITHIN)
            drop(p);
    }
}

void gang_hub_turn(struct gang_hub *h)
{
    struct epoll_event events[64];
    int count = epoll_wait(h->epoll, events, RWF_COUNT(events), 0);

    for (int i = 0; i < count; i++)
        if (events[i].data.ptr == NULL)
            on_connection(h);
        else
            on_peer(events[i].data.ptr, events[i].events);
    drop_strangers(h);
}

void gang_hub_signal(struct gang_hub *h, int signal)
{
    h->asked = signal;
    for (int rank = 0; rank < h->ranks; rank++)
        if (h->members[rank] != NULL)
            (void)send_signal(h->members[rank], signal);
}

void gang_hub_close(struct gang_hub *h)
{
    if (h == NULL)
        return;
    for (struct peer *p; (p = LIST_FIRST(&h->peers)) != NULL;) {
        LIST_REMOVE(p, link);
        close(p->fd);
        rwf_str_free(&p->in);
        rwf_str_free(&p->out);
        free(p);
    }
    if (h->listener >= 0)
        close(h->listener);
    if (h->epoll >= 0)
        close(h->epoll);
    explicit_bzero(h->key, sizeof(h->key));
    free(h->members);
    free(h);
}
