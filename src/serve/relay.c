/* SPDX-License-Identifier: Apache-2.0
 *
 * A pair of streams for each connection. Of each direction one piece is under way at
 * most, so that who is slow holds the other one up. The end of one direction is passed
 * on; both ends, or an error, close the pair.
 */
#include "config.h"
#include "serve/relay.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/random.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "wire/tls.h"

#define BACKLOG 128
#define SAY_MS 5000 /* so long who connects may take to say the token */
#define UNKNOWN 64  /* connections at once that have not said it */

union stream {
    uv_handle_t handle;
    uv_stream_t stream;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
};

struct side {
    union stream s; /* its data: the side */
    struct pair *pair;
    struct side *other;
    bool open, over;
};

struct pair {
    struct serve__relay *relay;
    struct side near, far; /* far: to the target */
    uv_timer_t timer;      /* until the token is said */
    char said[SERVE_RELAY_TOKEN];
    size_t said_len;
    bool known, closing;
    int open;
    uv_connect_t connect;
    LIST_ENTRY(pair) link;
};

struct serve__relay {
    uv_loop_t *loop;
    union stream listener;
    char *target, *address, *path; /* path: of a Unix socket that it listens at */
    char token[SERVE_RELAY_TOKEN + 1];
    bool checks, tls, closing;
    int unknown, open;
    LIST_HEAD(, pair) pairs;
};

void serve__relay_token(char ret[SERVE_RELAY_TOKEN + 1])
{
    uint8_t bytes[SERVE_RELAY_TOKEN / 2];
    ssize_t n = getrandom(bytes, sizeof(bytes), 0);
    rwf_assert(n == (ssize_t)sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++)
        snprintf(ret + 2 * i, 3, "%02x", bytes[i]);
}

/* --- the end --- */

static void release(struct serve__relay *r)
{
    if (--r->open > 0)
        return;
    explicit_bzero(r->token, sizeof(r->token));
    free(r->target);
    free(r->address);
    free(r->path);
    free(r);
}

static void pair_closed(struct pair *p)
{
    if (--p->open > 0)
        return;
    struct serve__relay *r = p->relay;
    LIST_REMOVE(p, link);
    free(p);
    release(r);
}

static void side_closed(uv_handle_t *h)
{
    pair_closed(((struct side *)h->data)->pair);
}

static void timer_closed(uv_handle_t *h)
{
    pair_closed(h->data);
}

static void close_pair(struct pair *p)
{
    if (p->closing)
        return;
    p->closing = true;
    p->relay->unknown -= !p->known;
    uv_close((uv_handle_t *)&p->timer, timer_closed);
    if (p->near.open)
        uv_close(&p->near.s.handle, side_closed);
    if (p->far.open)
        uv_close(&p->far.s.handle, side_closed);
}

/* --- bytes --- */

struct piece {
    uv_write_t write;
    struct side *from; /* NULL: it is our own word */
    char data[];
};

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf);

/* Before the token is said not a byte more than it is taken. */
static void on_room(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
    const struct side *s = h->data;
    size_t size = s->pair->known ? suggested : SERVE_RELAY_TOKEN - s->pair->said_len;
    struct piece *piece = rwf_xmalloc(sizeof(*piece) + size);
    *buf = uv_buf_init(piece->data, (unsigned)size);
}

static struct piece *piece_of(char *data)
{
    return (struct piece *)(void *)(data - offsetof(struct piece, data));
}

static void on_written(uv_write_t *write, int status)
{
    struct piece *piece = write->data;
    struct side *from = piece->from;
    free(piece);
    if (from == NULL || from->pair->closing)
        return;
    if (status != 0 || uv_read_start(&from->s.stream, on_room, on_read) != 0)
        close_pair(from->pair);
}

static int send_piece(struct side *to, struct piece *piece, size_t size)
{
    uv_buf_t buf = uv_buf_init(piece->data, (unsigned)size);
    piece->write.data = piece;
    int rc = uv_write(&piece->write, &to->s.stream, &buf, 1, on_written);
    if (rc != 0)
        free(piece);
    return rc;
}

static void on_shut(uv_shutdown_t *request, int status)
{
    (void)status;
    free(request);
}

static void pass_end(struct side *s)
{
    s->over = true;
    uv_shutdown_t *request = rwf_xmalloc(sizeof(*request));
    if (s->other->over || uv_shutdown(request, &s->other->s.stream, on_shut) != 0) {
        free(request);
        close_pair(s->pair);
    }
}

static void connect_target(struct pair *p);

static void take_token(struct pair *p, const char *data, size_t size)
{
    unsigned char differs = 0;
    memcpy(p->said + p->said_len, data, size);
    p->said_len += size;
    if (p->said_len < SERVE_RELAY_TOKEN)
        return;
    for (size_t i = 0; i < SERVE_RELAY_TOKEN; i++)
        differs |= (unsigned char)(p->said[i] ^ p->relay->token[i]);
    uv_read_stop(&p->near.s.stream);
    if (differs != 0) {
        close_pair(p);
        return;
    }
    p->known = true;
    p->relay->unknown--;
    uv_timer_stop(&p->timer);
    connect_target(p);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct side *s = stream->data;
    struct pair *p = s->pair;
    struct piece *piece = buf->base != NULL ? piece_of(buf->base) : NULL;
    if (n > 0 && p->known) {
        uv_read_stop(stream);
        piece->from = s;
        if (send_piece(s->other, piece, (size_t)n) != 0)
            close_pair(p);
        return;
    }
    if (n > 0)
        take_token(p, buf->base, (size_t)n);
    else if (n == UV_EOF && p->known)
        pass_end(s);
    else if (n < 0)
        close_pair(p);
    free(piece);
}

/* --- connecting --- */

static void say_token(struct pair *p)
{
    struct piece *piece = rwf_xmalloc(sizeof(*piece) + SERVE_RELAY_TOKEN);
    piece->from = NULL;
    memcpy(piece->data, p->relay->token, SERVE_RELAY_TOKEN);
    if (send_piece(&p->far, piece, SERVE_RELAY_TOKEN) != 0)
        close_pair(p);
}

/* What goes on when both sides are there. */
static void connected(struct pair *p)
{
    if (!p->relay->checks)
        say_token(p);
    if (!p->closing && (uv_read_start(&p->near.s.stream, on_room, on_read) != 0 ||
                        uv_read_start(&p->far.s.stream, on_room, on_read) != 0))
        close_pair(p);
}

static void on_connected(uv_connect_t *connect, int status)
{
    struct pair *p = connect->data;
    if (p->closing)
        return;
    if (status != 0)
        close_pair(p);
    else
        connected(p);
}

/* "HOST:PORT" */
static int parse(const char *text, struct sockaddr_storage *ret)
{
    const char *colon = strrchr(text, ':');
    if (colon == NULL)
        return UV_EINVAL;
    char *host = rwf_xstrndup(text, (size_t)(colon - text));
    int port = atoi(colon + 1);
    int rc = uv_ip4_addr(host, port, (struct sockaddr_in *)ret);
    if (rc != 0)
        rc = uv_ip6_addr(host, port, (struct sockaddr_in6 *)ret);
    free(host);
    return rc;
}

static void open_side(struct pair *p, struct side *s, struct side *other, bool is_unix)
{
    s->pair = p;
    s->other = other;
    if (is_unix)
        uv_pipe_init(p->relay->loop, &s->s.pipe, 0);
    else
        uv_tcp_init(p->relay->loop, &s->s.tcp);
    s->s.handle.data = s;
    s->open = true;
    p->open++;
}

/* With TLS a side is the end in the clear, which is a Unix socket. Takes fd. */
static int open_clear(struct side *s, int fd, bool server)
{
    const struct serve__relay *r = s->pair->relay;
    struct rwf_err err = RWF_ERR_INIT;
    char *name = server ? rwf_xasprintf("a front that asks %s", r->target)
                        : rwf_xasprintf("the way to the replica at %s", r->target);
    int clear = wire_tls_carry(fd, server, name, &err);
    int rc = clear < 0 ? UV_EPROTO : uv_pipe_open(&s->s.pipe, clear);
    if (clear < 0)
        rwf_log(RWF_LOG_WARN, "serve", "%s: %s", name, err.text);
    if (rc != 0)
        close(clear < 0 ? fd : clear);
    free(name);
    return rc;
}

static int connect_tls(struct pair *p, const struct sockaddr *at)
{
    socklen_t len = at->sa_family == AF_INET ? sizeof(struct sockaddr_in)
                                             : sizeof(struct sockaddr_in6);
    int on = 1, fd = socket(at->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(fd, at, len) != 0 && errno != EINPROGRESS) {
        close(fd);
        return UV_ECONNREFUSED;
    }
    int rc = open_clear(&p->far, fd, false);
    if (rc == 0)
        connected(p);
    return rc;
}

static void connect_target(struct pair *p)
{
    const char *to = p->relay->target;
    struct sockaddr_storage at;
    bool is_unix = rwf_starts_with(to, "unix:");
    if (p->relay->tls && rwf_starts_with(to, "tcp:")) {
        open_side(p, &p->far, &p->near, true);
        if (parse(to + strlen("tcp:"), &at) != 0 ||
            connect_tls(p, (const struct sockaddr *)&at) != 0)
            close_pair(p);
        return;
    }
    open_side(p, &p->far, &p->near, is_unix);
    p->connect.data = p;
    if (is_unix) {
        uv_pipe_connect(&p->connect, &p->far.s.pipe, to + strlen("unix:"),
                        on_connected);
        return;
    }
    uv_tcp_nodelay(&p->far.s.tcp, 1);
    to += strlen(rwf_starts_with(to, "tcp:") ? "tcp:" : "http://");
    if (parse(to, &at) != 0 ||
        uv_tcp_connect(&p->connect, &p->far.s.tcp, (struct sockaddr *)&at,
                       on_connected) != 0)
        close_pair(p);
}

/* --- those who connect --- */

static void on_time(uv_timer_t *timer)
{
    close_pair(timer->data);
}

static void raw_closed(uv_handle_t *raw)
{
    free(raw);
}

/* A handle of its own takes the connection, and leaves us the descriptor. */
static int accept_tls(struct pair *p, uv_stream_t *listener)
{
    uv_tcp_t *raw = rwf_xmalloc(sizeof(*raw));
    uv_os_fd_t fd = -1;
    uv_tcp_init(p->relay->loop, raw);
    int rc = uv_accept(listener, (uv_stream_t *)raw);
    if (rc == 0)
        rc = uv_tcp_nodelay(raw, 1);
    if (rc == 0)
        rc = uv_fileno((uv_handle_t *)raw, &fd);
    if (rc == 0 && (fd = fcntl(fd, F_DUPFD_CLOEXEC, 3)) < 0)
        rc = -errno;
    uv_close((uv_handle_t *)raw, raw_closed);
    return rc == 0 ? open_clear(&p->near, fd, true) : rc;
}

static int accept_near(struct pair *p, uv_stream_t *listener)
{
    const struct serve__relay *r = p->relay;
    if (r->path == NULL && r->tls)
        return accept_tls(p, listener);
    int rc = uv_accept(listener, &p->near.s.stream);
    if (rc == 0 && r->path == NULL)
        uv_tcp_nodelay(&p->near.s.tcp, 1);
    return rc;
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct serve__relay *r = listener->data;
    if (status != 0)
        return;
    struct pair *p = rwf_xcalloc(1, sizeof(*p));
    p->relay = r;
    p->known = !r->checks;
    r->unknown += r->checks;
    r->open++;
    LIST_INSERT_HEAD(&r->pairs, p, link);
    uv_timer_init(r->loop, &p->timer);
    p->timer.data = p;
    p->open = 1;
    open_side(p, &p->near, &p->far, r->path != NULL || r->tls);
    if (accept_near(p, listener) != 0 || r->unknown > UNKNOWN) {
        close_pair(p);
        return;
    }
    if (!r->checks) {
        connect_target(p);
        return;
    }
    uv_timer_start(&p->timer, on_time, SAY_MS, 0);
    if (uv_read_start(&p->near.s.stream, on_room, on_read) != 0)
        close_pair(p);
}

/* --- its life --- */

static int listen_unix(struct serve__relay *r, const char *path)
{
    r->path = rwf_xstrdup(path);
    (void)unlink(path);
    uv_pipe_init(r->loop, &r->listener.pipe, 0);
    return uv_pipe_bind(&r->listener.pipe, path);
}

static int listen_tcp(struct serve__relay *r, const char *host)
{
    struct sockaddr_storage at;
    int len = sizeof(at);
    char *text = rwf_xasprintf("%s:0", host);
    uv_tcp_init(r->loop, &r->listener.tcp);
    int rc = parse(text, &at);
    free(text);
    if (rc == 0)
        rc = uv_tcp_bind(&r->listener.tcp, (struct sockaddr *)&at, 0);
    if (rc == 0)
        rc = uv_tcp_getsockname(&r->listener.tcp, (struct sockaddr *)&at, &len);
    if (rc == 0) /* the port is at the same place in both kinds */
        r->address = rwf_xasprintf("tcp:%s:%d", host,
                                   ntohs(((struct sockaddr_in *)&at)->sin_port));
    return rc;
}

static void listener_closed(uv_handle_t *h)
{
    release(h->data);
}

void serve__relay_close(struct serve__relay *r)
{
    struct pair *p;
    if (r == NULL || r->closing)
        return;
    r->closing = true;
    LIST_FOREACH(p, &r->pairs, link)
    close_pair(p);
    uv_close(&r->listener.handle, listener_closed);
}

struct serve__relay *serve__relay_open(uv_loop_t *loop,
                                       const struct serve__relay_options *o,
                                       struct rwf_err *err)
{
    int tls = wire_tls_wanted(err);
    if (tls < 0)
        return NULL;
    struct serve__relay *r = rwf_xcalloc(1, sizeof(*r));
    bool is_unix = rwf_starts_with(o->listen, "unix:");
    r->tls = tls > 0;
    r->loop = loop;
    r->target = rwf_xstrdup(o->target);
    r->checks = o->checks;
    r->open = 1;
    LIST_INIT(&r->pairs);
    rwf_assert(strlen(o->token) == SERVE_RELAY_TOKEN);
    memcpy(r->token, o->token, sizeof(r->token));
    int rc = is_unix ? listen_unix(r, o->listen + strlen("unix:"))
                     : listen_tcp(r, o->listen + strlen("tcp:"));
    r->listener.handle.data = r;
    if (rc == 0)
        rc = uv_listen(&r->listener.stream, BACKLOG, on_connection);
    if (rc == 0)
        return r;
    rwf_fail(err, -rc, "cannot listen at %s: %s", o->listen, uv_strerror(rc));
    serve__relay_close(r);
    return NULL;
}

const char *serve__relay_address(const struct serve__relay *r)
{
    return r->address;
}

/* --- with a thread --- */

struct serve__relay_thread {
    uv_loop_t loop;
    uv_thread_t thread;
    uv_async_t end;
    struct serve__relay *relay;
    char *where;
};

static void on_end(uv_async_t *end)
{
    struct serve__relay_thread *t = end->data;
    serve__relay_close(t->relay);
    uv_close((uv_handle_t *)&t->end, NULL);
}

static void turn(void *arg)
{
    struct serve__relay_thread *t = arg;
    uv_run(&t->loop, UV_RUN_DEFAULT);
}

struct serve__relay_thread *serve__relay_start(const struct serve__relay_options *o,
                                               struct rwf_err *err)
{
    struct serve__relay_thread *t = rwf_xcalloc(1, sizeof(*t));
    uv_loop_init(&t->loop);
    uv_async_init(&t->loop, &t->end, on_end);
    t->end.data = t;
    t->relay = serve__relay_open(&t->loop, o, err);
    if (t->relay != NULL) {
        const char *where = serve__relay_address(t->relay);
        t->where = where != NULL ? rwf_xstrdup(where) : NULL;
        if (uv_thread_create(&t->thread, turn, t) == 0)
            return t;
        rwf_fail(err, EAGAIN, "cannot start a thread");
    }
    on_end(&t->end);
    turn(t);
    uv_loop_close(&t->loop);
    free(t->where);
    free(t);
    return NULL;
}

const char *serve__relay_where(const struct serve__relay_thread *t)
{
    return t->where;
}

void serve__relay_end(struct serve__relay_thread *t)
{
    if (t == NULL)
        return;
    uv_async_send(&t->end);
    uv_thread_join(&t->thread);
    uv_loop_close(&t->loop);
    free(t->where);
    free(t);
}
