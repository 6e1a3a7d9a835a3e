/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls and their connections. A call has a connection of its own from its start to its
 * end; then the connection goes to the pool when its reply was complete and allows it,
 * and is read from also there, so that its closing is seen at once. Callbacks may
 * start, pause and cancel calls, and destroy the client: after each one `closing` is
 * asked before going on.
 *
 * A connection from the pool may be closed by the program at the very moment of its
 * use. When not one byte was taken from us, the call goes to a new one; otherwise the
 * program may have begun with it, and the caller decides.
 */
#include "config.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "http/client_impl.h"
#include "http/compose.h"

#define READ_SIZE 65536
#define MAX_IDLE 64
#define MAX_HEADER 32768

static void start_call(struct http_call *call);

/* --- lists --- */

static void push_call(struct http_client *c, struct http_call *call)
{
    call->next = c->calls;
    if (call->next)
        call->next->prev = call;
    c->calls = call;
}

static void free_call(struct http_call *call)
{
    struct http_client *c = call->client;
    if (call->prev)
        call->prev->next = call->next;
    else
        c->calls = call->next;
    if (call->next)
        call->next->prev = call->prev;
    rwf_str_free(&call->request);
    free(call);
}

/* --- the end of things --- */

static void release_client(struct http_client *c)
{
    if (!c->destroyed || c->open || c->depth)
        return;
    free(c->path);
    free(c->buffer);
    free(c);
}

static void link_closed(uv_handle_t *handle)
{
    struct http__link *l = handle->data;
    struct http_client *c = l->client;
    if (--l->open)
        return;
    http__parser_free(&l->parser);
    rwf_str_free(&l->rest);
    free(l);
    c->open--;
    release_client(c);
}

void http__link_close(struct http__link *l)
{
    if (l->closing)
        return;
    l->closing = true;
    if (l->call || !l->kept) {
        http__link_pull(&l->client->links, l);
    } else {
        http__link_pull(&l->client->idle, l);
        l->client->idle_count--;
    }
    if (l->call)
        l->call->link = NULL;
    l->call = NULL;
    uv_close(&l->u.handle, link_closed);
    uv_close((uv_handle_t *)&l->timer, link_closed);
}

static void tell_failed(uv_timer_t *timer);

void http__call_end(struct http_call *call, const struct rwf_err *err)
{
    struct http_client *c = call->client;
    void (*done)(void *, const struct rwf_err *, bool) = call->done;
    void *ctx = call->ctx;
    bool sent = call->sent;
    if (call->link)
        http__link_close(call->link);
    if (call->starting) {
        call->failed = true;
        call->err = *err;
        uv_timer_start(&c->starter, tell_failed, 0, 0);
        return;
    }
    free_call(call);
    c->depth++;
    if (done)
        done(ctx, err, sent);
    c->depth--;
    release_client(c);
}

static void fail_call(struct http_call *call, int code, const char *text)
{
    struct rwf_err err = RWF_ERR_INIT;
    rwf_fail(&err, code, "%s", text);
    http__call_end(call, &err);
}

static struct http_call *next_failed(const struct http_client *c)
{
    struct http_call *call = c->calls;
    while (call && !call->failed)
        call = call->next;
    return call;
}

static void tell_failed(uv_timer_t *timer)
{
    struct http_client *c = timer->data;
    c->depth++;
    for (struct http_call *call; (call = next_failed(c));) {
        struct rwf_err err = call->err;
        http__call_end(call, &err);
    }
    c->depth--;
    release_client(c);
}

/* --- reading --- */

static void idle_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    (void)n, (void)buf; /* an end, or bytes that nobody asked for */
    if (n)
        http__link_close(stream->data);
}

static void give_buffer(uv_handle_t *handle, size_t wanted, uv_buf_t *buf)
{
    struct http__link *l = handle->data;
    (void)wanted;
    *buf = uv_buf_init(l->client->buffer, READ_SIZE);
}

static void make_idle(struct http__link *l)
{
    struct http_client *c = l->client;
    uv_timer_stop(&l->timer);
    l->call->link = NULL;
    l->call = NULL;
    l->kept = true;
    http__link_pull(&c->links, l);
    http__link_push(&c->idle, l);
    c->idle_count++;
    uv_read_stop(&l->u.stream);
    l->reading = false;
    if (c->idle_count > c->max_idle ||
        uv_read_start(&l->u.stream, give_buffer, idle_read))
        http__link_close(l);
}

static void complete(struct http__link *l, bool more)
{
    struct http_call *call = l->call;
    if (l->parser.keep && !more && !l->writing && !l->client->destroyed)
        make_idle(l);
    http__call_end(call, NULL);
}

static void timed_out(uv_timer_t *timer);

static void start_timer(struct http__link *l, int64_t ns)
{
    if (ns > 0)
        uv_timer_start(&l->timer, timed_out,
                       (uint64_t)((ns + RWF_NS_PER_MS - 1) / RWF_NS_PER_MS), 0);
    else
        uv_timer_stop(&l->timer);
}

static void timed_out(uv_timer_t *timer)
{
    struct http__link *l = timer->data;
    struct http_call *call = l->call;
    fail_call(call, ETIMEDOUT,
              call->answered ? "the program sent nothing more for too long"
                             : "the program did not answer in time");
}

static void tell_head(struct http_call *call, const struct http__parser *p)
{
    struct http_reply_head head = {
        .status = p->status,
        .length = p->state == HTTP__IN_END && !p->head ? 0 : p->length,
        .header_count = p->count,
        .names = p->names,
        .values = p->values,
    };
    call->answered = true;
    start_timer(call->link, call->idle_timeout);
    if (call->head)
        call->head(call->ctx, &head);
}

static void tell_piece(struct http_call *call, const struct http__parser *p)
{
    start_timer(call->link, call->paused ? 0 : call->idle_timeout);
    if (call->piece)
        call->piece(call->ctx, p->piece, p->piece_size);
}

/* Everything that the bytes hold; `l` may be closed by a callback. */
static void take_bytes(struct http__link *l, const char *data, size_t size)
{
    struct http_client *c = l->client;
    struct rwf_err err = RWF_ERR_INIT;
    enum http__event e = HTTP__MORE;
    c->depth++;
    do {
        e = http__parse(&l->parser, &data, &size, &err);
        if (e == HTTP__HEADER)
            tell_head(l->call, &l->parser);
        else if (e == HTTP__PIECE)
            tell_piece(l->call, &l->parser);
    } while (!l->closing && (e == HTTP__HEADER || e == HTTP__PIECE));
    if (!l->closing && e == HTTP__END)
        complete(l, size > 0);
    else if (!l->closing && e == HTTP__WRONG)
        http__call_end(l->call, &err);
    c->depth--;
    release_client(c);
}

static void read_ended(struct http__link *l, ssize_t code)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct http_call *call = l->call;
    if (code == UV_EOF && http__parse_eof(&l->parser, &err) == HTTP__END) {
        http__call_end(call, NULL);
        return;
    }
    if (code != UV_EOF)
        rwf_fail(&err, (int)-code, "the connection broke: %s", uv_strerror((int)code));
    http__call_end(call, &err);
}

static void read_some(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct http__link *l = stream->data;
    if (n > 0)
        take_bytes(l, buf->base, (size_t)n);
    else if (n < 0)
        read_ended(l, n);
}

static void set_reading(struct http__link *l, bool on)
{
    if (l->reading == on)
        return;
    l->reading = on;
    if (on)
        uv_read_start(&l->u.stream, give_buffer, read_some);
    else
        uv_read_stop(&l->u.stream);
}

/* --- writing --- */

static void written(uv_write_t *write, int status)
{
    struct http__link *l = write->data;
    l->writing = false;
    /* A program may answer before it has read all, and close: what it said is read
     * first. */
    if (status && !l->closing && l->call && !l->reading)
        fail_call(l->call, -status, uv_strerror(status));
}

static void write_rest(struct http__link *l, size_t from)
{
    struct http_call *call = l->call;
    rwf_str_clear(&l->rest);
    rwf_str_addn(&l->rest, call->request.data + from, call->request.len - from);
    uv_buf_t buf = uv_buf_init(l->rest.data, (unsigned)l->rest.len);
    l->write.data = l;
    l->writing = uv_write(&l->write, &l->u.stream, &buf, 1, written) == 0;
}

/* Nothing of the request was taken: it may go to another connection. */
static void move_to_new(struct http_call *call)
{
    http__link_close(call->link);
    start_call(call);
}

void http__link_send(struct http__link *l)
{
    struct http_call *call = l->call;
    uv_buf_t buf = uv_buf_init(call->request.data, (unsigned)call->request.len);
    int n = uv_try_write(&l->u.stream, &buf, 1);
    if (n < 0 && n != UV_EAGAIN) {
        if (l->kept)
            move_to_new(call);
        else
            fail_call(call, -n, uv_strerror(n));
        return;
    }
    call->sent = true;
    if (n < 0 || (size_t)n < call->request.len)
        write_rest(l, n < 0 ? 0 : (size_t)n);
    set_reading(l, !call->paused);
}

/* --- the start --- */

static void start_call(struct http_call *call)
{
    struct http_client *c = call->client;
    struct http__link *l = http__link_take(c);
    struct rwf_err err = RWF_ERR_INIT;
    bool kept = l != NULL;
    if (kept) {
        l->call = call;
        call->link = l;
    } else {
        l = http__link_new(c, call);
    }
    http__parser_start(&l->parser, call->is_head, c->max_header);
    start_timer(l, call->timeout);
    if (kept)
        http__link_send(l);
    else if (http__link_connect(l, &err))
        http__call_end(call, &err);
}

/* --- the interface --- */

static void starter_closed(uv_handle_t *handle)
{
    struct http_client *c = handle->data;
    c->open--;
    release_client(c);
}

/* libuv writes without MSG_NOSIGNAL: a program that has gone must not end us. */
static void ignore_sigpipe(void)
{
    struct sigaction now;
    if (!sigaction(SIGPIPE, NULL, &now) && now.sa_handler == SIG_DFL)
        signal(SIGPIPE, SIG_IGN);
}

struct http_client *http_client_create(uv_loop_t *loop,
                                       const struct http_client_options *o,
                                       struct rwf_err *err)
{
    struct http_client *c = rwf_xcalloc(1, sizeof(*c));
    c->loop = loop;
    c->max_idle = o->max_idle ? o->max_idle : MAX_IDLE;
    c->max_header = o->max_header ? o->max_header : MAX_HEADER;
    if (http__client_target(c, o->target, err)) {
        free(c);
        return NULL;
    }
    ignore_sigpipe();
    c->buffer = rwf_xmalloc(READ_SIZE);
    uv_timer_init(loop, &c->starter);
    c->starter.data = c;
    c->open = 1;
    return c;
}

void http_client_destroy(struct http_client *c)
{
    if (!c)
        return;
    c->destroyed = true;
    c->depth++;
    while (c->calls)
        fail_call(c->calls, ECANCELED, "the client was closed");
    while (c->idle)
        http__link_close(c->idle);
    uv_close((uv_handle_t *)&c->starter, starter_closed);
    c->depth--;
}

/* --- calls --- */

struct http_call *http_client_call(struct http_client *c,
                                   const struct http_call_options *o)
{
    struct http_call *call = rwf_xcalloc(1, sizeof(*call));
    struct rwf_err err = RWF_ERR_INIT;
    call->client = c;
    call->is_head = !strcmp(o->method, "HEAD");
    call->timeout = o->timeout;
    call->idle_timeout = o->idle_timeout;
    call->head = o->head;
    call->piece = o->piece;
    call->done = o->done;
    call->ctx = o->ctx;
    push_call(c, call);
    call->starting = true;
    if (http__compose(&call->request, o, &err))
        http__call_end(call, &err);
    else
        start_call(call);
    call->starting = false;
    return call;
}

void http_call_cancel(struct http_call *call)
{
    if (call->link)
        http__link_close(call->link);
    free_call(call);
}

void http_call_pause(struct http_call *call, bool paused)
{
    struct http__link *l = call->link;
    if (call->paused == paused)
        return;
    call->paused = paused;
    if (!l || !call->sent)
        return;
    set_reading(l, !paused);
    if (call->answered)
        start_timer(l, paused ? 0 : call->idle_timeout);
}
