/* SPDX-License-Identifier: Apache-2.0
 *
 * TLS on TCP: both sides show a certificate of the cluster's CA. Who uses the stream knows
 * nothing of it: it has one end of a pair of sockets, and what goes through the other end
 * is carried to and from the network here. So a descriptor that leaves its link
 * (wire_link_detach) stays encrypted. The handshake with the cluster's key goes on inside.
 *
 * Invariants: at most a buffer of either way lies here; the end of one way is passed on, and
 * the other goes on; it ends with both, or when the near end is closed and what came from
 * there is sent, or with an error, which is told.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "wire/tls_impl.h"

#define TURNS 32 /* buffers at once, then others have their turn */

/* --- carrying --- */

struct half {
    char data[16384];
    size_t start, end;
};

struct wire__tls {
    struct wire__tls_link link; /* first; the thread's */
    wire__tls_failed_fn failed; /* NULL: nobody is told */
    void *ctx;
    struct wire__tls **owner; /* of whose pointer to this; may be NULL */
    char *name;               /* for the log, when nobody is told; may be NULL */
    uv_poll_t tcp, plain;
    int tcp_fd, plain_fd, handles;
    int tcp_events, plain_events;
    SSL *ssl;
    struct half up, down;
    bool connecting, greeted, blocked; /* blocked: TCP must be writable first */
    bool up_eof, up_done, down_eof, down_done, more, ended; /* done: passed on, too */
    bool moving; /* to a thread, once its handles are closed */
};

static void on_handle_closed(uv_handle_t *h)
{
    struct wire__tls *t = h->data;
    if (--t->handles)
        return;
    if (t->moving) {
        t->moving = false;
        wire__tls_give(&t->link);
        return;
    }
    wire__ssl.free(t->ssl);
    free(t->name);
    wire__tls_gone(&t->link);
    explicit_bzero(t, sizeof(*t));
    free(t);
}

static void close_handles(struct wire__tls *t)
{
    uv_close((uv_handle_t *)&t->tcp, on_handle_closed);
    uv_close((uv_handle_t *)&t->plain, on_handle_closed);
}

static void end(struct wire__tls *t)
{
    if (t->ended)
        return;
    t->ended = true;
    t->failed = NULL;
    if (t->owner)
        *t->owner = NULL;
    close_handles(t);
    close(t->tcp_fd);
    close(t->plain_fd);
}

static void fail(struct wire__tls *t, int code, const char *what, const char *hint)
{
    wire__tls_failed_fn failed = t->failed;
    bool connecting = t->connecting;
    char text[512];
    end(t);
    snprintf(text, sizeof(text), "%s%s", what, hint);
    if (failed)
        failed(t->ctx, connecting, code, text);
    else if (t->name)
        rwf_log(RWF_LOG_WARN, "wire", "%s: TLS: %s", t->name, text);
}

/* What the other side says of our certificate; NULL: something else. */
static const char *refusal(unsigned long e)
{
    switch (ERR_GET_REASON(e)) {
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
        return "the peer refuses this machine's certificate, which has expired by its "
               "clock";
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
        return "the peer refuses this machine's certificate, which is not of its CA";
    default:
        return NULL;
    }
}

static void refuse_peer(struct wire__tls *t, long verified)
{
    bool time = verified == X509_V_ERR_CERT_HAS_EXPIRED ||
                verified == X509_V_ERR_CERT_NOT_YET_VALID;
    fail(t, EACCES, X509_verify_cert_error_string(verified),
         time ? ": give the machine there another certificate (--tls-cert), or set the "
                "clocks"
              : ": its certificate must be of the cluster's CA (--tls-ca)");
}

/* What OpenSSL said of a call: 0: it waits for the network, 1: the peer has ended, -1:
 * the link is over. */
static int judge(struct wire__tls *t, int rc)
{
    int why = wire__ssl.get_error(t->ssl, rc);
    unsigned long e = ERR_peek_last_error();
    if (why == SSL_ERROR_WANT_WRITE)
        t->blocked = true;
    if (why == SSL_ERROR_WANT_WRITE || why == SSL_ERROR_WANT_READ)
        return 0;
    if (why == SSL_ERROR_ZERO_RETURN ||
        (t->greeted && (why == SSL_ERROR_SYSCALL ||
                        ERR_GET_REASON(e) == SSL_R_UNEXPECTED_EOF_WHILE_READING)))
        return 1;
    long verified = wire__ssl.verify_result(t->ssl);
    const char *refused = refusal(e);
    if (refused)
        fail(t, EACCES, refused,
             ": both need certificates of the cluster's CA (--tls-cert, --tls-ca)");
    else if (verified != X509_V_OK)
        refuse_peer(t, verified);
    else
        fail(t, EPROTO, e ? wire__tls_says() : "the peer has ended",
             ": do both sides use TLS, with certificates of one CA (--tls-cert)?");
    return -1;
}

static bool shake(struct wire__tls *t)
{
    int error = 0;
    socklen_t len = sizeof(error);
    if (t->connecting) {
        if (getsockopt(t->tcp_fd, SOL_SOCKET, SO_ERROR, &error, &len) || error) {
            fail(t, ECONNREFUSED, strerror(error ? error : errno), "");
            return false;
        }
        t->connecting = false;
    }
    ERR_clear_error();
    int rc = wire__ssl.handshake(t->ssl);
    t->greeted = rc == 1;
    if (rc != 1 && judge(t, rc) > 0)
        fail(t, EPROTO, "the peer has ended in the handshake", "");
    return t->greeted && !t->ended;
}

/* From the network; false: nothing moved. */
static bool carry_down(struct wire__tls *t)
{
    struct half *h = &t->down;
    bool moved = false;
    if (h->start == h->end && !t->down_eof) {
        ERR_clear_error();
        int rc = wire__ssl.read(t->ssl, h->data, sizeof(h->data));
        h->start = 0;
        h->end = rc > 0 ? (size_t)rc : 0;
        if (rc <= 0)
            t->down_eof = judge(t, rc) != 0;
        if (t->ended)
            return false;
    }
    if (h->start < h->end) {
        ssize_t n = send(t->plain_fd, h->data + h->start, h->end - h->start,
                         MSG_NOSIGNAL | MSG_DONTWAIT);
        h->start += n > 0 ? (size_t)n : 0;
        moved = n > 0;
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            h->start = h->end; /* nobody reads it any more */
            if (t->up_done)
                end(t);
        }
    } else if (t->down_eof && !t->down_done) {
        shutdown(t->plain_fd, SHUT_WR);
        t->down_done = true;
        if (t->up_done)
            end(t);
    }
    return moved && !t->ended;
}

/* The near end is closed, and not only for what goes up. */
static bool is_closed(const struct wire__tls *t)
{
    struct pollfd p = {.fd = t->plain_fd};
    return poll(&p, 1, 0) > 0 && p.revents & POLLHUP;
}

static void pass_end(struct wire__tls *t)
{
    ERR_clear_error();
    int rc = wire__ssl.shutdown(t->ssl);
    t->blocked = rc < 0 && wire__ssl.get_error(t->ssl, rc) == SSL_ERROR_WANT_WRITE;
    if (t->blocked)
        return;
    t->up_done = true;
    if (t->down_done || rc < 0 || is_closed(t))
        end(t);
}

/* To the network. */
static bool carry_up(struct wire__tls *t)
{
    struct half *h = &t->up;
    if (h->start == h->end && !t->up_eof) {
        ssize_t n = recv(t->plain_fd, h->data, sizeof(h->data), MSG_DONTWAIT);
        h->start = 0;
        h->end = n > 0 ? (size_t)n : 0;
        t->up_eof = n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
    }
    if (h->start == h->end) {
        if (t->up_eof && !t->up_done)
            pass_end(t);
        return false;
    }
    ERR_clear_error();
    int rc = wire__ssl.write(t->ssl, h->data + h->start, (int)(h->end - h->start));
    if (rc > 0)
        h->start += (size_t)rc;
    else if (judge(t, rc) > 0 && !t->ended)
        end(t);
    return rc > 0 && !t->ended;
}

static void on_poll(uv_poll_t *poll, int status, int events);

static void listen_to(uv_poll_t *poll, int *now, int events)
{
    if (*now == events)
        return;
    *now = events;
    if (events)
        uv_poll_start(poll, events, on_poll);
    else
        uv_poll_stop(poll);
}

static void update(struct wire__tls *t)
{
    bool read = !t->greeted || (t->down.start == t->down.end && !t->down_eof);
    bool write = t->connecting || t->blocked || t->up.start < t->up.end;
    int tcp = (read && !t->connecting ? UV_READABLE : 0) | (write ? UV_WRITABLE : 0);
    int plain = !t->greeted
                    ? UV_DISCONNECT
                    : (t->up.start == t->up.end && !t->up_eof ? UV_READABLE : 0) |
                          (t->down.start < t->down.end || t->more ? UV_WRITABLE : 0);
    listen_to(&t->tcp, &t->tcp_events, tcp);
    listen_to(&t->plain, &t->plain_events, plain);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct wire__tls *t = poll->data;
    bool moved = true;
    (void)status;
    if (poll == &t->plain && !t->greeted && (events & UV_DISCONNECT || status < 0)) {
        end(t); /* who had it has given up */
        return;
    }
    t->blocked = false;
    if (!t->greeted && !shake(t)) {
        if (!t->ended)
            update(t);
        return;
    }
    for (int i = 0; moved && i < TURNS; i++) {
        moved = carry_down(t);
        if (t->ended)
            return;
        moved |= carry_up(t);
        if (t->ended)
            return;
    }
    t->more = moved;
    update(t);
}

void wire__tls_forget(struct wire__tls *t, bool away)
{
    if (!t)
        return;
    t->failed = NULL;
    t->owner = NULL;
    if (!away)
        return;
    t->moving = true;
    close_handles(t);
}

static void resume(struct wire__tls *t, uv_loop_t *loop)
{
    t->tcp_events = t->plain_events = 0;
    uv_poll_init(loop, &t->tcp, t->tcp_fd);
    uv_poll_init(loop, &t->plain, t->plain_fd);
    t->tcp.data = t->plain.data = t;
    t->handles = 2;
    /* What OpenSSL has read already, no socket tells. */
    t->more = t->greeted;
    update(t);
}

/* Takes fd; *ret_fd is the end in the clear. */
static struct wire__tls *create(int fd, bool server, int *ret_fd, struct rwf_err *err)
{
    int pair[2];
    SSL *s = wire__tls_session(fd, server, err);
    if (!s)
        return NULL;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair)) {
        wire__ssl.free(s);
        rwf_fail(err, errno, "TLS: %s", strerror(errno));
        return NULL;
    }
    struct wire__tls *t = rwf_xcalloc(1, sizeof(*t));
    t->ssl = s;
    t->tcp_fd = fd;
    t->plain_fd = pair[0];
    t->connecting = !server;
    *ret_fd = pair[1];
    return t;
}

int wire__tls_wrap(uv_loop_t *loop, int fd, bool server, wire__tls_failed_fn failed,
                   void *ctx, struct wire__tls **ret, struct rwf_err *err)
{
    int plain;
    struct wire__tls *t = create(fd, server, &plain, err);
    if (!t)
        return -1;
    t->failed = failed;
    t->ctx = ctx;
    t->owner = ret;
    *ret = t;
    resume(t, loop);
    return plain;
}

int wire_tls_carry(int fd, bool server, const char *name, struct rwf_err *err)
{
    int plain, flags = fcntl(fd, F_GETFL);
    struct wire__tls *t = create(fd, server, &plain, err);
    if (!t)
        return -1;
    fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    t->name = rwf_xstrdup(name);
    wire__tls_give(&t->link);
    return plain;
}

/* --- of its thread --- */

void wire__tls_resume(struct wire__tls_link *l, uv_loop_t *loop)
{
    resume((struct wire__tls *)l, loop);
}

bool wire__tls_is_sent(const struct wire__tls_link *l)
{
    const struct wire__tls *t = (const struct wire__tls *)l;
    int waits = 0;
    if (!t->greeted || t->ended)
        return true;
    (void)ioctl(t->plain_fd, FIONREAD, &waits);
    return t->up.start == t->up.end && waits == 0 && t->up_eof == t->up_done;
}
