/* SPDX-License-Identifier: Apache-2.0
 *
 * Replies: whole ones from a copy that libmicrohttpd holds, large and streamed ones
 * from r->out, which it asks for as the client takes it.
 */
#include "config.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/mem.h"
#include "http/impl.h"

#define WHOLE_MAX 65536 /* larger ones go piece by piece, so that progress is seen */
#define PIECE 32768
#define EXTRA_MAX                                                                      \
    8192 /* bytes of a handler's headers: libmicrohttpd has room for them */

/* --- texts --- */

void http__add_json(struct rwf_str *out, const char *text)
{
    size_t len = strlen(text);
    bool utf8 = rwf_utf8_valid(text, len);
    rwf_str_addc(out, '"');
    for (size_t i = 0, n; i < len; i += n) {
        unsigned char c = (unsigned char)text[i];
        for (n = 0; i + n < len; n++) {
            c = (unsigned char)text[i + n];
            if (c < 0x20 || c == '"' || c == '\\' || c == 0x7f || (c >= 0x80 && !utf8))
                break;
        }
        rwf_str_addn(out, text + i, n);
        if (i + n == len)
            break;
        n++;
        if (c == '"' || c == '\\')
            rwf_str_addf(out, "\\%c", c);
        else if (c >= 0x80)
            rwf_str_addc(out, '?');
        else
            rwf_str_addf(out, "\\u%04x", c);
    }
    rwf_str_addc(out, '"');
}

static const char *type_of(int status)
{
    switch (status) {
    case 401:
        return "authentication_error";
    case 403:
        return "permission_error";
    case 408:
    case 504:
        return "timeout_error";
    case 429:
        return "rate_limit_error";
    case 503:
        return "overloaded_error";
    default:
        return status >= 500 ? "server_error" : "invalid_request_error";
    }
}

static void add_error(struct rwf_str *out, int status, const char *code,
                      const char *message)
{
    rwf_str_add(out, "{\"error\": {\"message\": ");
    http__add_json(out, message);
    rwf_str_addf(out, ", \"type\": \"%s\", \"param\": null, \"code\": ", type_of(status));
    if (code)
        http__add_json(out, code);
    else
        rwf_str_add(out, "null");
    rwf_str_add(out, "}}");
}

void http__reply_raw(struct http__conn *c, int status, const char *why)
{
    struct rwf_str body = {0}, text = {0};
    if (c->s->tls)
        return;
    add_error(&body, status, NULL, why);
    rwf_str_addf(&text,
                 "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\n"
                 "Content-Length: %zu\r\nConnection: close\r\n\r\n%s",
                 status,
                 status == 408   ? "Request Timeout"
                 : status == 413 ? "Content Too Large"
                                 : "Bad Request",
                 body.len, body.data);
    /* A short text on a socket that nothing was written to: it fits, or the client is
     * lost anyway. */
    if (send(c->fd, text.data, text.len, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
        shutdown(c->fd, SHUT_WR);
    rwf_str_free(&body);
    rwf_str_free(&text);
}

/* --- headers --- */

/* What Access-Control-Allow-Origin says; NULL: nothing. */
const char *http__reply_origin(const struct http_request *r)
{
    if (!r->origin)
        return NULL;
    for (const char *const *o = r->s->o.cors_origins; o && *o; o++) {
        if (!strcmp(*o, "*"))
            return "*";
        if (!strcmp(*o, r->origin))
            return r->origin;
    }
    return NULL;
}

void http__reply_header(struct http_request *r, const char *name, const char *value)
{
    rwf_str_addn(&r->extra, name, strlen(name) + 1);
    rwf_str_addn(&r->extra, value, strlen(value) + 1);
}

/* Those that are made here are not taken from a handler, which may pass on a program's.
 */
void http_reply_header(struct http_request *r, const char *name, const char *value)
{
    rwf_assert(!r->ended && !r->begun);
    if (!strcasecmp(name, "x-request-id") ||
        (r->s->o.cors_origins[0] && !strncasecmp(name, "access-control-", 15)))
        return;
    http__reply_header(r, name, value);
}

static void add_headers(struct http_request *r, struct MHD_Response *m,
                        const char *content_type)
{
    const struct http__mhd *mhd = r->s->mhd;
    const char *origin = http__reply_origin(r);
    if (r->id[0])
        mhd->header(m, "X-Request-Id", r->id);
    if (content_type)
        mhd->header(m, "Content-Type", content_type);
    if (origin) {
        mhd->header(m, "Access-Control-Allow-Origin", origin);
        mhd->header(m, "Access-Control-Expose-Headers", "X-Request-Id");
    }
    if (r->s->o.cors_origins[0] && (!origin || origin[0] != '*'))
        mhd->header(m, "Vary", "Origin");
    for (size_t at = 0; at < r->extra.len;) {
        const char *name = r->extra.data + at;
        const char *value = name + strlen(name) + 1;
        mhd->header(m, name, value);
        at = (size_t)(value + strlen(value) + 1 - r->extra.data);
    }
    if (r->close || r->s->draining)
        mhd->header(m, "Connection", "close");
}

/* --- whole replies --- */

/* Ends the connection: its socket is shut down, so that the next write fails. (An error
 * told to libmicrohttpd itself would close the connection, but leave it among those
 * that wait, and its socket open.) */
static ssize_t cut_off(struct http_request *r, char *to)
{
    if (!r->conn->killed)
        http__conn_kill(r->conn);
    *to = '\0';
    return 1;
}

/* libmicrohttpd asks for more: in a hurry (hot) while there is none. */
static ssize_t give(void *ctx, uint64_t at, char *to, size_t max)
{
    struct http_request *r = ctx;
    size_t there = r->out.len - r->out_at, n = there < max ? there : max;
    (void)at;
    if (r->conn->killed || (!n && r->cut))
        return cut_off(r, to);
    if (!n && r->ended)
        return MHD_CONTENT_READER_END_OF_STREAM;
    if (!n) {
        http__conn_hot(r->conn, true);
        return 0;
    }
    memcpy(to, r->out.data + r->out_at, n);
    r->out_at += n;
    if (r->out_at == r->out.len)
        r->out.len = r->out_at = 0;
    r->sent += n;
    r->s->stats.bytes_out += n;
    r->s->happened = true;
    r->conn->since = uv_now(r->s->loop);
    return (ssize_t)n;
}

/* Instead of a reply whose headers do not fit. */
static struct MHD_Response *too_large(struct http_request *r, struct MHD_Response *m)
{
    struct rwf_str body = {0};
    rwf_log(RWF_LOG_WARN, "http", "a reply's headers are too large: path=%s bytes=%zu",
            r->path, r->extra.len);
    add_error(&body, 500, NULL, "the reply's headers are larger than 8 KiB");
    r->s->mhd->response_free(m);
    r->extra.len = 0;
    m = r->s->mhd->response_buffer(body.len, body.data, MHD_RESPMEM_MUST_COPY);
    rwf_str_free(&body);
    return m;
}

/* Hands it over; the request may be finished (and gone) on return. */
static void queue(struct http_request *r, int status, struct MHD_Response *m,
                  const char *content_type)
{
    struct http__conn *c = r->conn;
    const struct http__mhd *mhd = r->s->mhd;
    struct http_server *s = r->s;
    if (r->extra.len > EXTRA_MAX) {
        m = too_large(r, m);
        status = 500;
        content_type = "application/json";
    }
    r->status = status;
    add_headers(r, m, content_type);
    bool outside = c->hot || c->suspended;
    http__conn_hot(c, false);
    http__conn_phase(c, HTTP__REPLY);
    if (mhd->queue(c->mhd, (unsigned)status, m) != MHD_YES)
        http__conn_kill(c);
    mhd->response_free(m);
    if (outside)
        http__conn_wake(c);
    s->happened = true;
}

static void end_unsent(struct http_request *r)
{
    r->ended = true;
    r->status = r->gone ? 499 : r->status;
    if (!r->conn)
        http__request_finish(r);
}

void http_reply(struct http_request *r, int status, const char *content_type,
                const void *data, size_t size)
{
    const struct http__mhd *mhd = r->s->mhd;
    struct MHD_Response *m;
    rwf_assert(!r->ended && !r->begun);
    if (r->gone || !r->conn) {
        end_unsent(r);
        return;
    }
    r->ended = true;
    if (size > WHOLE_MAX) {
        r->out.len = r->out_at = 0;
        rwf_str_addn(&r->out, data, size);
        m = mhd->response_callback(size, PIECE, give, r, NULL);
    } else {
        m = mhd->response_buffer(size, (void *)(uintptr_t)data, MHD_RESPMEM_MUST_COPY);
        r->sent = size;
        r->s->stats.bytes_out += size;
    }
    queue(r, status, m, content_type);
}

/* libmicrohttpd asks for no body after a HEAD. */
void http_reply_head(struct http_request *r, int status, const char *content_type,
                     int64_t length)
{
    rwf_assert(!r->ended && !r->begun);
    if (r->gone || !r->conn) {
        end_unsent(r);
        return;
    }
    r->ended = true;
    r->out.len = r->out_at = 0;
    queue(r, status,
          r->s->mhd->response_callback(length < 0 ? MHD_SIZE_UNKNOWN : (uint64_t)length,
                                       PIECE, give, r, NULL),
          content_type);
}

void http_reply_error(struct http_request *r, int status, const char *code,
                      int retry_after, const char *fmt, ...)
{
    struct rwf_str body = {0};
    char seconds[16];
    va_list ap;
    va_start(ap, fmt);
    char *message = rwf_xvasprintf(fmt, ap);
    va_end(ap);
    add_error(&body, status, code, message);
    if (retry_after > 0) {
        snprintf(seconds, sizeof(seconds), "%d", retry_after);
        http_reply_header(r, "Retry-After", seconds);
    }
    http_reply(r, status, "application/json", body.data, body.len);
    rwf_str_free(&body);
    free(message);
}

/* --- piece by piece --- */

void http_reply_begin(struct http_request *r, int status, const char *content_type)
{
    rwf_assert(!r->ended && !r->begun);
    r->begun = true;
    if (r->gone || !r->conn)
        return;
    queue(r, status,
          r->s->mhd->response_callback(MHD_SIZE_UNKNOWN, PIECE, give, r, NULL),
          content_type);
}

void http_reply_write(struct http_request *r, const void *data, size_t size)
{
    rwf_assert((r->begun || r->gone) && !r->ended);
    if (r->gone || !r->conn || !size)
        return;
    if (r->out.len - r->out_at + size > r->s->o.write_limit) {
        r->gone = true; /* told from the loop, not from in here */
        http__conn_kill(r->conn);
        return;
    }
    if (r->out_at > PIECE && r->out_at * 2 > r->out.len) {
        memmove(r->out.data, r->out.data + r->out_at, r->out.len - r->out_at);
        r->out.len -= r->out_at;
        r->out_at = 0;
    }
    rwf_str_addn(&r->out, data, size);
    if (r->conn->hot || r->conn->suspended)
        http__conn_wake(r->conn);
}

size_t http_reply_waiting(const struct http_request *r)
{
    return r->out.len - r->out_at;
}

uint64_t http_reply_written(const struct http_request *r)
{
    return r->sent + http_reply_waiting(r);
}

void http_reply_end(struct http_request *r, bool cut)
{
    rwf_assert((r->begun || r->gone) && !r->ended);
    if (r->gone || !r->conn) {
        end_unsent(r);
        return;
    }
    r->ended = true;
    r->cut = cut;
    if (r->conn->hot || r->conn->suspended)
        http__conn_wake(r->conn);
}
