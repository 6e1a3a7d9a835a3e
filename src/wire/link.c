/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "wire/link.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "wire/link_impl.h"
#include "wire/tls_impl.h"

#define READS_PER_TURN 16
#define MESSAGES_PER_TURN 256

/* --- the end of a link --- */

static void free_out(struct wire__out *o)
{
    for (size_t i = o->mark_start; i < o->mark_end; i++)
        for (int k = 0; k < o->marks[i].count; k++)
            close(o->marks[i].fds[k]);
    free(o->marks);
    free(o->data);
    *o = (struct wire__out){0};
}

static void finish(struct wire_link *l)
{
    if (l->handled && l->handler.closed)
        l->handler.closed(l->handler.ctx, l, l->failed ? &l->err : NULL);
    else if (l->failed && !l->refused)
        rwf_log(RWF_LOG_INFO, "wire", "%s", l->err.text);
    wire__inbox_free(&l->in);
    free_out(&l->out);
    wire__auth_destroy(l->auth);
    free(l);
}

void wire__link_release(struct wire_link *l)
{
    if (--l->pending == 0)
        finish(l);
}

static void handle_closed(uv_handle_t *h)
{
    wire__link_release(h->data);
}

static void flush(struct wire_link *l);

static void shut(struct wire_link *l)
{
    if (l->state == WIRE__CLOSED)
        return;
    if (l->state == WIRE__OPEN && l->kind != WIRE__MEMORY && !l->failed)
        flush(l); /* what fits goes out */
    if (l->state == WIRE__CLOSED)
        return;
    l->state = WIRE__CLOSED;
    wire__tls_forget(l->tls, l->detached);
    l->tls = NULL;
    if (l->listener)
        wire__listener_forget(l, false);
    if (l->peer) {
        l->peer->peer = NULL;
        l->peer->eof = true;
        wire__link_kick(l->peer);
        l->peer = NULL;
    }
    uv_close((uv_handle_t *)&l->kick, handle_closed);
    if (l->kind != WIRE__MEMORY)
        uv_close((uv_handle_t *)&l->timer, handle_closed);
    if (l->polled)
        uv_close((uv_handle_t *)&l->poll, handle_closed);
    if (l->resolve.data)
        uv_cancel((uv_req_t *)&l->resolve);
    if (l->fd >= 0)
        close(l->fd);
    l->fd = -1;
}

void wire_link_close(struct wire_link *l)
{
    if (l)
        shut(l);
}

int wire_link_detach(struct wire_link *l, int *ret_fd, char **ret_bytes,
                     size_t *ret_len, struct rwf_err *err)
{
    struct wire__inbox *in = &l->in;

    if (l->state == WIRE__OPEN && l->kind != WIRE__MEMORY)
        flush(l);
    if (l->state != WIRE__OPEN || l->kind == WIRE__MEMORY || l->mute || l->eof ||
        l->out.start < l->out.end)
        return rwf_fail(err, EPROTO, "%s: the link is not open, or not idle", l->name);
    *ret_fd = l->fd;
    *ret_len = in->end - in->start;
    *ret_bytes = rwf_xmalloc(*ret_len + 1);
    memcpy(*ret_bytes, in->data + in->start, *ret_len);
    in->start = in->end;
    l->fd = -1; /* so it stays open */
    l->detached = true;
    shut(l);
    return 0;
}

void wire__link_fail(struct wire_link *l, const struct rwf_err *err)
{
    if (l->state == WIRE__CLOSED)
        return;
    l->failed = true;
    l->err = *err;
    l->refused = l->listener != NULL;
    if (l->refused)
        wire__listener_refused(l->listener, err);
    shut(l);
}

/* --- what comes in --- */

static void greet(struct wire_link *l, const struct wire_message *m)
{
    struct rwf_err err = RWF_ERR_INIT;
    int rc = wire__auth_take(l->auth, l->fd, m, &err);
    if (rc < 0) {
        rwf_wrap(&err, "%s", l->name);
        wire__link_fail(l, &err);
    } else if (rc > 0) {
        wire__link_opened(l);
    }
}

/* Whether what lies in the inbox may be looked at now. */
static bool deliverable(const struct wire_link *l)
{
    return (l->state == WIRE__WAITING && l->auth) ||
           (l->state == WIRE__OPEN && l->handled);
}

static void deliver(struct wire_link *l)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct wire_message m;
    int rc = 0, budget = MESSAGES_PER_TURN;
    while (deliverable(l) && budget-- > 0 &&
           (rc = wire__inbox_take(&l->in, &m, &err)) > 0) {
        if (l->state == WIRE__OPEN)
            l->handler.message(l->handler.ctx, l, &m);
        else
            greet(l, &m);
        wire_message_clear(&m);
    }
    if (l->state == WIRE__CLOSED)
        return;
    if (rc < 0) {
        rwf_wrap(&err, "%s", l->name);
        wire__link_fail(l, &err);
    } else if (rc > 0) {
        wire__link_kick(l);
    } else if (l->eof && deliverable(l)) {
        if (wire__inbox_partial(&l->in))
            rwf_fail(&err, EPROTO, "%s: the peer ended in the middle of a frame",
                     l->name);
        else if (l->state == WIRE__WAITING)
            rwf_fail(
                &err, ECONNRESET,
                "%s: the peer ended before it had proved who it is; does it use the "
                "same key?",
                l->name);
        if (err.code)
            wire__link_fail(l, &err);
        else
            shut(l);
    }
}

static void update_events(struct wire_link *l);

static void on_kick(uv_idle_t *idle)
{
    struct wire_link *l = idle->data;
    uv_idle_stop(idle);
    deliver(l);
    update_events(l);
}

void wire__link_kick(struct wire_link *l)
{
    if (l->state != WIRE__CLOSED)
        uv_idle_start(&l->kick, on_kick);
}

/* --- sockets --- */

static void on_poll(uv_poll_t *poll, int status, int events);

static void update_events(struct wire_link *l)
{
    if (!l->polled || l->state == WIRE__CLOSED)
        return;
    bool connecting = l->state == WIRE__WAITING && !l->auth;
    bool unsent = l->state == WIRE__OPEN && l->out.start < l->out.end;
    /* What lies here still goes first. */
    bool busy = uv_is_active((uv_handle_t *)&l->kick);
    int events = (deliverable(l) && !l->eof && !busy ? UV_READABLE : 0) |
                 (connecting || unsent ? UV_WRITABLE : 0);
    if (events == l->events)
        return;
    l->events = events;
    if (events)
        uv_poll_start(&l->poll, events, on_poll);
    else
        uv_poll_stop(&l->poll);
}

static void read_some(struct wire_link *l)
{
    struct rwf_err err = RWF_ERR_INIT;
    for (int i = 0; i < READS_PER_TURN; i++) {
        int rc = wire__inbox_read(&l->in, l->fd, &err);
        if (rc > 0)
            continue;
        if (rc == 0 || (err.code == ECONNRESET && l->kind == WIRE__UNIX)) {
            /* A peer that was killed before it had read all resets the socket. */
            l->eof = true;
        } else if (err.code != EAGAIN) {
            if (l->state == WIRE__WAITING)
                rwf_fail(&err, err.code,
                         "%s: the peer ended before it had proved who it is: do both "
                         "use TLS, or neither (--tls-cert)?",
                         l->name);
            else
                rwf_wrap(&err, "%s", l->name);
            wire__link_fail(l, &err);
        }
        break;
    }
}

void wire__link_stalled(uv_timer_t *timer)
{
    struct wire_link *l = timer->data;
    struct rwf_err err;
    if (l->state == WIRE__WAITING)
        rwf_fail(&err, ETIMEDOUT,
                 "%s: no connection within %d s: is the address right, does a firewall "
                 "drop it, or does the process there hang?",
                 l->name, WIRE__HANDSHAKE_MS / 1000);
    else
        rwf_fail(&err, ETIMEDOUT,
                 "%s: the peer has read nothing for %d s, and %zu bytes wait", l->name,
                 WIRE__STALL_MS / 1000, l->out.end - l->out.start);
    wire__link_fail(l, &err);
}

/* Drops the marks that have left; *ret_mark is that of the first unsent byte, or NULL.
 * Returns how many bytes may go in one piece. */
static size_t next_piece(struct wire__out *o, struct wire__mark **ret_mark)
{
    size_t len = o->end - o->start;
    struct wire__mark *m = o->marks + o->mark_start;
    size_t marks = o->mark_end - o->mark_start;
    *ret_mark = NULL;
    if (marks > 0 && m->at == o->sent) {
        *ret_mark = m++;
        marks--;
    }
    return marks > 0 && m->at - o->sent < len ? (size_t)(m->at - o->sent) : len;
}

static void sent_piece(struct wire__out *o, size_t len, struct wire__mark *m)
{
    o->start += len;
    o->sent += len;
    if (m) {
        for (int i = 0; i < m->count; i++)
            close(m->fds[i]);
        o->mark_start++;
    }
    if (o->start == o->end)
        o->start = o->end = 0;
    if (o->mark_start == o->mark_end)
        o->mark_start = o->mark_end = 0;
}

/* The peer takes nothing more; what it sent before is still to be read. */
static void silence(struct wire_link *l)
{
    l->mute = true;
    free_out(&l->out);
    uv_timer_stop(&l->timer);
}

static void flush(struct wire_link *l)
{
    struct wire__out *o = &l->out;
    bool moved = false;
    while (o->start < o->end) {
        struct wire__mark *m;
        size_t len = next_piece(o, &m);
        ssize_t sent = wire__send_some(l->fd, o->data + o->start, len,
                                       m ? m->fds : NULL, m ? m->count : 0);
        if (sent < 0 && errno == EAGAIN)
            break;
        if (sent < 0) {
            silence(l);
            break;
        }
        sent_piece(o, (size_t)sent, m);
        moved = true;
    }
    if (o->start == o->end)
        uv_timer_stop(&l->timer);
    else if (moved || !uv_is_active((uv_handle_t *)&l->timer))
        uv_timer_start(&l->timer, wire__link_stalled, WIRE__STALL_MS, 0);
    update_events(l);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct wire_link *l = poll->data;
    /* An error of the socket is read from it. */
    if (status < 0)
        events = UV_READABLE | UV_WRITABLE;
    if (l->state == WIRE__WAITING && !l->auth) {
        wire__tcp_writable(l);
        update_events(l);
        return;
    }
    if ((events & UV_WRITABLE) && l->state == WIRE__OPEN)
        flush(l);
    if ((events & UV_READABLE) && l->state != WIRE__CLOSED) {
        read_some(l);
        deliver(l);
    }
    update_events(l);
}

int wire__link_start(struct wire_link *l, int fd, struct rwf_err *err)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) ||
        uv_poll_init(l->loop, &l->poll, fd))
        return rwf_fail(err, errno, "cannot poll a socket: %s", strerror(errno));
    l->poll.data = l;
    l->polled = true;
    l->pending++;
    l->fd = fd;
    if (l->state == WIRE__WAITING)
        uv_timer_start(&l->timer, wire__link_stalled, WIRE__HANDSHAKE_MS, 0);
    update_events(l);
    return 0;
}

void wire__link_opened(struct wire_link *l)
{
    l->state = WIRE__OPEN;
    l->in.frame_max = 0;
    wire__auth_destroy(l->auth);
    l->auth = NULL;
    uv_timer_stop(&l->timer);
    if (l->listener)
        wire__listener_forget(l, true);
    if (l->state == WIRE__OPEN)
        flush(l);
}

/* --- what goes out --- */

static int dup_all(struct wire_link *l, const int *fds, int count, int *ret)
{
    for (int i = 0; i < count; i++) {
        ret[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
        if (ret[i] >= 0)
            continue;
        struct rwf_err err;
        rwf_fail(&err, errno, "%s: cannot pass a descriptor on: %s", l->name,
                 strerror(errno));
        while (i-- > 0)
            close(ret[i]);
        wire__link_fail(l, &err);
        return -1;
    }
    return 0;
}

static void queue(struct wire_link *l, const struct rwf_str *frame, const int *fds,
                  int count)
{
    struct wire__out *o = &l->out;
    if (o->cap - o->end < frame->len) {
        if (o->start)
            memmove(o->data, o->data + o->start, o->end - o->start);
        o->end -= o->start;
        o->start = 0;
        if (o->cap - o->end < frame->len)
            o->cap = o->cap * 2 + frame->len;
        o->data = rwf_xrealloc(o->data, o->cap);
    }
    if (count > 0) {
        struct wire__mark *m = RWF_PUSH(o->marks, o->mark_end, o->mark_cap);
        *m = (struct wire__mark){.at = o->sent + (o->end - o->start), .count = count};
        memcpy(m->fds, fds, sizeof(*fds) * (size_t)count);
    }
    memcpy(o->data + o->end, frame->data, frame->len);
    o->end += frame->len;
}

static void send_memory(struct wire_link *l, const struct rwf_str *frame,
                        const int *fds, int count)
{
    for (int i = 0; i < count; i++)
        wire__inbox_put_fd(&l->peer->in, fds[i]);
    wire__inbox_put(&l->peer->in, frame->data, frame->len);
    wire__link_kick(l->peer);
}

void wire_link_send(struct wire_link *l, enum wire_type type,
                    const ProtobufCMessage *body, const int *fds, int fd_count)
{
    struct rwf_str frame = {0};
    struct rwf_err err;
    int dups[WIRE_FDS_MAX];
    rwf_assert(fd_count <= WIRE_FDS_MAX && (!fd_count || l->kind != WIRE__TCP));
    if (l->state == WIRE__CLOSED || l->mute || (l->kind == WIRE__MEMORY && !l->peer))
        return;
    size_t size = wire_frame_size(body);
    if (size > WIRE_FRAME_MAX) {
        rwf_fail(&err, EMSGSIZE, "%s: message %s of %zu bytes; at most %zu are allowed",
                 l->name, wire_type_name(type), size, WIRE_FRAME_MAX);
        wire__link_fail(l, &err);
        return;
    }
    if (l->out.end - l->out.start + size > WIRE__QUEUE_MAX) {
        rwf_fail(&err, ENOBUFS, "%s: the peer does not read: %zu bytes wait for it",
                 l->name, l->out.end - l->out.start);
        wire__link_fail(l, &err);
        return;
    }
    if (dup_all(l, fds, fd_count, dups))
        return;
    wire_frame_add(&frame, type, body, fd_count);
    if (l->kind == WIRE__MEMORY) {
        send_memory(l, &frame, dups, fd_count);
    } else {
        bool first = l->out.start == l->out.end;
        queue(l, &frame, dups, fd_count);
        if (first && l->state == WIRE__OPEN)
            flush(l);
    }
    rwf_str_free(&frame);
}

size_t wire_link_queued(const struct wire_link *l)
{
    return l->state == WIRE__CLOSED ? 0 : l->out.end - l->out.start;
}

/* --- making links --- */

struct wire_link *wire__link_create(uv_loop_t *loop, enum wire__kind kind)
{
    struct wire_link *l = rwf_xcalloc(1, sizeof(*l));
    l->loop = loop;
    l->kind = kind;
    l->state = kind == WIRE__TCP ? WIRE__WAITING : WIRE__OPEN;
    l->fd = -1;
    l->pid = -1;
    uv_idle_init(loop, &l->kick);
    l->kick.data = l;
    l->pending = 1;
    if (kind != WIRE__MEMORY) {
        uv_timer_init(loop, &l->timer);
        l->timer.data = l;
        l->pending++;
    }
    snprintf(l->name, sizeof(l->name), "%s", kind == WIRE__MEMORY ? "memory" : "unix");
    return l;
}

void wire_link_pair(uv_loop_t *loop, struct wire_link **ret_a, struct wire_link **ret_b)
{
    struct wire_link *a = wire__link_create(loop, WIRE__MEMORY);
    struct wire_link *b = wire__link_create(loop, WIRE__MEMORY);
    a->peer = b;
    b->peer = a;
    a->pid = b->pid = (int)getpid();
    *ret_a = a;
    *ret_b = b;
}

struct wire_link *wire_link_open(uv_loop_t *loop, int fd, struct rwf_err *err)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len)) {
        rwf_fail(err, errno, "descriptor %d is no unix socket: %s", fd,
                 strerror(errno));
        return NULL;
    }
    struct wire_link *l = wire__link_create(loop, WIRE__UNIX);
    if (wire__link_start(l, fd, err)) {
        wire_link_close(l);
        return NULL;
    }
    l->pid = peer.pid;
    if (peer.pid > 0)
        snprintf(l->name, sizeof(l->name), "unix (process %d)", (int)peer.pid);
    return l;
}

void wire_link_handle(struct wire_link *l, const struct wire_handler *h)
{
    l->handled = h != NULL;
    l->handler = h ? *h : (struct wire_handler){0};
    if (l->state == WIRE__CLOSED)
        return;
    update_events(l);
    if (l->handled && (l->eof || wire__inbox_partial(&l->in)))
        wire__link_kick(l);
}

const char *wire_link_name(const struct wire_link *l)
{
    return l->name;
}

int wire_link_pid(const struct wire_link *l)
{
    return l->pid;
}
