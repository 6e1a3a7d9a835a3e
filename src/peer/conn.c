/* SPDX-License-Identifier: Apache-2.0
 *
 * Connections for records. Whoever sends writes at once when nothing waits before it,
 * so that no thread must be woken for that; the calls thread writes what a socket
 * refused.
 *
 * A connection ends on the calls thread only (end): it takes it out of the list, closes
 * the socket, tells of it, and gives up the plane's hold. Its memory goes by a job of
 * that thread, so that events that lie there still find it.
 */
#include "config.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/mem.h"
#include "peer/inside.h"

#define IN_BYTES ((size_t)256 << 10)
#define READS_PER_TURN 8
#define OUT_KEEP ((size_t)1 << 20) /* a buffer that grew above this is given back */
#define IOV_AT_ONCE 16

/* --- life --- */

static void conn_free(void *ctx)
{
    struct peer_conn *c = ctx;

    pthread_mutex_destroy(&c->lock);
    free(c->name);
    free(c->out);
    free(c->in);
    free(c);
}

void peer_conn_hold(struct peer_conn *c)
{
    atomic_fetch_add(&c->refs, 1);
}

void peer_conn_release(struct peer_conn *c)
{
    if (c && atomic_fetch_sub(&c->refs, 1) == 1)
        peer__loop_post(&c->peer->calls, conn_free, c);
}

uint64_t peer_conn_session(const struct peer_conn *c)
{
    return c->session;
}

struct ending {
    struct peer_conn *conn;
    struct rwf_err err; /* code 0: none */
};

static void unlist(struct peer_conn *c)
{
    struct peer *p = c->peer;

    pthread_mutex_lock(&p->lock);
    if (c->listed)
        LIST_REMOVE(c, link);
    c->listed = false;
    pthread_mutex_unlock(&p->lock);
}

static void end(void *ctx)
{
    struct ending *e = ctx;
    struct peer_conn *c = e->conn;
    struct peer *p = c->peer;
    bool was;

    unlist(c);
    pthread_mutex_lock(&c->lock);
    was = c->closed;
    c->closed = true;
    if (c->fd >= 0) {
        peer__loop_remove(&p->calls, c->fd);
        close(c->fd);
    }
    c->fd = -1;
    c->out_start = c->out_end = 0;
    pthread_mutex_unlock(&c->lock);
    if (!was) {
        if (p->handler.closed)
            p->handler.closed(p->handler.ctx, c, e->err.code ? &e->err : NULL);
        peer_conn_release(c); /* the plane's */
    }
    peer_conn_release(c); /* of this job */
    free(e);
}

static void end_soon(struct peer_conn *c, const struct rwf_err *err)
{
    struct ending *e = rwf_xcalloc(1, sizeof(*e));

    e->conn = c;
    if (err)
        e->err = *err;
    peer_conn_hold(c);
    peer__loop_post(&c->peer->calls, end, e);
}

/* With c's lock. */
static void end_locked(struct peer_conn *c, int code, const char *why)
{
    struct rwf_err err;

    if (c->ending || c->closed)
        return;
    c->ending = true;
    rwf_fail(&err, code, "the data connection with node %s: %s", c->name, why);
    end_soon(c, &err);
}

void peer_conn_close(struct peer_conn *c)
{
    bool first;

    pthread_mutex_lock(&c->lock);
    first = !c->ending && !c->closed;
    c->ending = true;
    pthread_mutex_unlock(&c->lock);
    if (first)
        end_soon(c, NULL);
}

/* --- out --- */

static void out_add(struct peer_conn *c, const void *bytes, size_t len)
{
    if (len == 0)
        return;
    if (c->out_cap - c->out_end < len && c->out_start) {
        memmove(c->out, c->out + c->out_start, c->out_end - c->out_start);
        c->out_end -= c->out_start;
        c->out_start = 0;
    }
    if (c->out_cap - c->out_end < len) {
        c->out_cap = c->out_cap * 2 > c->out_end + len ? c->out_cap * 2
                                                       : c->out_end + len + 4096;
        c->out = rwf_xrealloc(c->out, c->out_cap);
    }
    memcpy(c->out + c->out_end, bytes, len);
    c->out_end += len;
}

static void arm(struct peer_conn *c, bool write)
{
    if (c->armed == write || c->fd < 0)
        return;
    c->armed = write;
    peer__loop_want(&c->peer->calls, c->fd, &c->source, write);
}

/* What lies in the buffer, as far as the socket takes it. */
static void write_out(struct peer_conn *c)
{
    while (c->out_start < c->out_end) {
        ssize_t n = send(c->fd, c->out + c->out_start, c->out_end - c->out_start,
                         MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN)
            end_locked(c, errno, strerror(errno));
        if (n < 0)
            break;
        c->out_start += (size_t)n;
    }
    if (c->out_start == c->out_end) {
        c->out_start = c->out_end = 0;
        if (c->out_cap > OUT_KEEP) {
            free(c->out);
            c->out = NULL;
            c->out_cap = 0;
        }
    }
    arm(c, c->out_end > 0 && !c->ending);
}

/* A record that nothing waits before: returns how much of it was written. */
static size_t write_now(struct peer_conn *c, const struct peer_record *r,
                        const struct iovec *iov, int count)
{
    struct iovec all[IOV_AT_ONCE + 1] = {{(void *)(uintptr_t)r, sizeof(*r)}};
    struct msghdr m = {.msg_iov = all, .msg_iovlen = 1};

    for (int i = 0; i < count && i < IOV_AT_ONCE; i++)
        all[m.msg_iovlen++] = iov[i];
    for (;;) {
        ssize_t n = sendmsg(c->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n >= 0)
            return (size_t)n;
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN)
            end_locked(c, errno, strerror(errno));
        return 0;
    }
}

/* What is left of a record of which `done` bytes are written. */
static void add_rest(struct peer_conn *c, const struct peer_record *r,
                     const struct iovec *iov, int count, size_t done)
{
    struct iovec head = {(void *)(uintptr_t)r, sizeof(*r)};

    for (int i = -1; i < count; i++) {
        const struct iovec *v = i < 0 ? &head : &iov[i];
        size_t skip = done < v->iov_len ? done : v->iov_len;
        out_add(c, (const char *)v->iov_base + skip, v->iov_len - skip);
        done -= skip;
    }
}

static int state_of(struct peer_conn *c)
{
    if (c->closed || c->ending)
        return -1;
    if (c->out_end - c->out_start <= PEER_WINDOW)
        return 0;
    c->paused = true;
    return 1;
}

static int put(struct peer_conn *c, const struct peer_record *r,
               const struct iovec *iov, int count, bool now)
{
    size_t unsent, done = 0;
    int rc;

    pthread_mutex_lock(&c->lock);
    unsent = c->out_end - c->out_start;
    if (unsent + sizeof(*r) + r->size > PEER_UNSENT)
        end_locked(c, ENOBUFS, "it takes too little of what is sent");
    if (!c->closed && !c->ending) {
        if (now && unsent == 0 && c->fd >= 0)
            done = write_now(c, r, iov, count);
        add_rest(c, r, iov, count, done);
        if (now && c->fd >= 0 && c->out_start < c->out_end && !c->armed)
            write_out(c);
    }
    rc = state_of(c);
    pthread_mutex_unlock(&c->lock);
    if (rc >= 0)
        atomic_fetch_add_explicit(&c->peer->records_out, 1, memory_order_relaxed);
    return rc;
}

static int record_put(struct peer_conn *c, uint16_t kind, uint16_t flags,
                      uint64_t channel, const struct iovec *iov, int count, bool now)
{
    struct peer_record r = {.kind = kind, .flags = flags, .channel = channel};
    size_t size = 0;

    for (int i = 0; i < count; i++)
        size += iov[i].iov_len;
    rwf_assert(size <= PEER_RECORD_MAX);
    r.size = (uint32_t)size;
    return put(c, &r, iov, count, now);
}

int peer_send(struct peer_conn *c, uint16_t kind, uint16_t flags, uint64_t channel,
              const struct iovec *iov, int count)
{
    return record_put(c, kind, flags, channel, iov, count, true);
}

int peer_queue(struct peer_conn *c, uint16_t kind, uint16_t flags, uint64_t channel,
               const struct iovec *iov, int count)
{
    return record_put(c, kind, flags, channel, iov, count, false);
}

int peer_flush(struct peer_conn *c)
{
    int rc;

    pthread_mutex_lock(&c->lock);
    if (c->fd >= 0 && !c->armed && !c->ending)
        write_out(c);
    rc = state_of(c);
    pthread_mutex_unlock(&c->lock);
    return rc;
}

static void writable(struct peer_conn *c)
{
    struct peer *p = c->peer;
    bool drained;

    pthread_mutex_lock(&c->lock);
    if (c->fd >= 0 && !c->ending)
        write_out(c);
    drained = c->paused && c->out_end == 0 && !c->ending && !c->closed;
    if (drained)
        c->paused = false;
    pthread_mutex_unlock(&c->lock);
    if (drained && p->handler.drained)
        p->handler.drained(p->handler.ctx, c);
}

/* --- in; the calls thread --- */

static void fail(struct peer_conn *c, int code, const char *why)
{
    pthread_mutex_lock(&c->lock);
    end_locked(c, code, why);
    pthread_mutex_unlock(&c->lock);
}

static bool alive(struct peer_conn *c)
{
    bool yes;

    pthread_mutex_lock(&c->lock);
    yes = !c->ending && !c->closed;
    pthread_mutex_unlock(&c->lock);
    return yes;
}

/* Tells of the records that are whole. */
static void parse(struct peer_conn *c)
{
    struct peer *p = c->peer;
    struct peer_record r;
    uint64_t count = 0;

    while (c->in_end - c->in_start >= sizeof(r)) {
        memcpy(&r, c->in + c->in_start, sizeof(r));
        if (r.size > PEER_RECORD_MAX) {
            fail(c, EPROTO, "a record is too long");
            break;
        }
        if (c->in_end - c->in_start < sizeof(r) + r.size)
            break;
        if (p->handler.record)
            p->handler.record(p->handler.ctx, c, &r, c->in + c->in_start + sizeof(r));
        c->in_start += sizeof(r) + r.size;
        count++;
    }
    if (c->in_start == c->in_end)
        c->in_start = c->in_end = 0;
    atomic_fetch_add_explicit(&p->records_in, count, memory_order_relaxed);
}

/* Room for the rest of the record that has begun, at least. */
static void make_room(struct peer_conn *c)
{
    size_t have = c->in_end - c->in_start, need = IN_BYTES;
    struct peer_record r;

    if (have >= sizeof(r)) {
        memcpy(&r, c->in + c->in_start, sizeof(r));
        need = sizeof(r) + r.size > need ? sizeof(r) + r.size : need;
    }
    if (c->in_start && c->in_cap - c->in_start < need) {
        memmove(c->in, c->in + c->in_start, have);
        c->in_start = 0;
        c->in_end = have;
    }
    if (c->in_cap < need) {
        c->in = rwf_xrealloc(c->in, need);
        c->in_cap = need;
    }
}

static void readable(struct peer_conn *c)
{
    for (int i = 0; i < READS_PER_TURN && alive(c); i++) {
        make_room(c);
        size_t room = c->in_cap - c->in_end;
        ssize_t n = recv(c->fd, c->in + c->in_end, room, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0 && errno != EINTR)
            fail(c, errno, strerror(errno));
        if (n == 0 && c->in_end > c->in_start)
            fail(c, EPROTO, "it ended in the middle of a record");
        else if (n == 0)
            peer_conn_close(c);
        if (n > 0) {
            c->in_end += (size_t)n;
            parse(c);
        }
        if (n > 0 && (size_t)n < room)
            break;
    }
}

static void ready(struct peer__source *s, uint32_t events)
{
    struct peer_conn *c = (struct peer_conn *)s;

    if (events & EPOLLOUT)
        writable(c);
    if ((events & ~(uint32_t)EPOLLOUT) && alive(c))
        readable(c);
}

/* The socket is there: what was read of it already comes first. */
static void begin(void *ctx)
{
    struct peer_conn *c = ctx;

    parse(c);
    pthread_mutex_lock(&c->lock);
    if (!c->closed && !c->ending && c->fd >= 0) {
        if (peer__loop_add(&c->peer->calls, c->fd, &c->source) < 0)
            end_locked(c, errno, strerror(errno));
        c->armed = false;
        write_out(c);
    }
    pthread_mutex_unlock(&c->lock);
    peer_conn_release(c);
}

/* --- making them --- */

/* With the plane's lock. */
static struct peer_conn *add(struct peer *p, uint64_t session, const char *name)
{
    struct peer_conn *c = rwf_xcalloc(1, sizeof(*c));

    c->source.ready = ready;
    c->peer = p;
    c->session = session;
    c->name = rwf_xstrdup(name);
    c->refs = 1; /* the plane's */
    c->fd = -1;
    pthread_mutex_init(&c->lock, NULL);
    LIST_INSERT_HEAD(&p->conns, c, link);
    c->listed = true;
    return c;
}

/* With the plane's lock: unmade: one that waits for its socket. */
static struct peer_conn *find(struct peer *p, uint64_t session, bool unmade)
{
    struct peer_conn *c;
    bool fits;

    LIST_FOREACH(c, &p->conns, link)
    {
        if (c->session != session)
            continue;
        pthread_mutex_lock(&c->lock);
        fits = !c->ending && !c->closed && (!unmade || c->fd < 0);
        pthread_mutex_unlock(&c->lock);
        if (fits)
            return c;
    }
    return NULL;
}

struct peer_conn *peer_conn_to(struct peer *p, uint64_t session)
{
    struct peer_conn *c;
    bool made = false;

    pthread_mutex_lock(&p->lock);
    c = find(p, session, false);
    if (!c) {
        c = add(p, session, "?");
        made = true;
    }
    peer_conn_hold(c);
    pthread_mutex_unlock(&p->lock);
    if (made)
        p->options.connect(p->options.ctx, session, PEER_CALLS);
    return c;
}

void peer__conn_attach(struct peer *p, uint64_t session, const char *name, bool ours,
                       int fd, const void *bytes, size_t len)
{
    struct peer_conn *c;

    pthread_mutex_lock(&p->lock);
    c = ours ? find(p, session, true) : NULL;
    if (!c)
        c = add(p, session, name);
    peer_conn_hold(c); /* of the job */
    pthread_mutex_unlock(&p->lock);
    pthread_mutex_lock(&c->lock);
    free(c->name);
    c->name = rwf_xstrdup(name);
    if (c->closed || c->ending) {
        close(fd);
    } else {
        c->fd = fd;
        c->armed = true; /* until it is in the loop, nobody writes but begin */
        c->in_cap = len > IN_BYTES ? len : IN_BYTES;
        c->in = rwf_xmalloc(c->in_cap);
        if (len)
            memcpy(c->in, bytes, len);
        c->in_end = len;
    }
    pthread_mutex_unlock(&c->lock);
    peer__loop_post(&p->calls, begin, c);
}

void peer__conn_fail(struct peer *p, uint64_t session, bool all, const char *why)
{
    struct peer_conn *c;

    pthread_mutex_lock(&p->lock);
    LIST_FOREACH(c, &p->conns, link)
    {
        if (c->session != session)
            continue;
        pthread_mutex_lock(&c->lock);
        if (all || c->fd < 0)
            end_locked(c, EHOSTUNREACH, why);
        pthread_mutex_unlock(&c->lock);
    }
    pthread_mutex_unlock(&p->lock);
}

void peer__conns_close(struct peer *p)
{
    struct peer_conn *c;

    pthread_mutex_lock(&p->lock);
    LIST_FOREACH(c, &p->conns, link)
    peer_conn_close(c);
    pthread_mutex_unlock(&p->lock);
}
