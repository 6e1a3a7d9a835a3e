/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "http_rig.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

#define LONG (300 * RWF_NS_PER_S)

/* --- the handler --- */

static void add_header(void *ctx, const char *name, const char *value)
{
    rwf_str_addf(ctx, "%s=%s\n", name, value);
}

static void reply_text(struct http_request *r, struct rwf_str *text)
{
    http_reply(r, 200, "text/plain", text->data ? text->data : "", text->len);
    rwf_str_free(text);
}

static void reply_later(uv_timer_t *timer)
{
    struct http_request *r = timer->data;
    http_reply(r, 200, "text/plain", "later", 5);
    uv_close((uv_handle_t *)timer, (uv_close_cb)(void (*)(void))free);
}

static void start_later(struct rig *g, struct http_request *r)
{
    uv_timer_t *timer = rwf_xcalloc(1, sizeof(*timer));
    uv_timer_init(&g->loop, timer);
    timer->data = r;
    uv_timer_start(timer, reply_later, (uint64_t)atoi(http_path(r) + 6), 0);
}

static void reply_big(struct http_request *r, size_t size)
{
    char *bytes = rwf_xmalloc(size + 1);
    memset(bytes, 'x', size);
    http_reply(r, 200, "text/plain", bytes, size);
    free(bytes);
}

static void request(void *ctx, struct http_request *r)
{
    struct rig *g = ctx;
    const char *path = http_path(r);
    struct rwf_str text = {0};
    size_t size;
    g->told++;
    if (rwf_starts_with(path, "/hold")) {
        ck_assert_int_lt(g->held_count, RIG_HELD);
        g->held[g->held_count++] = r;
    } else if (rwf_starts_with(path, "/later")) {
        start_later(g, r);
    } else if (!strcmp(path, "/stream")) {
        http_reply_begin(r, 200, "text/event-stream");
        g->stream = r;
    } else if (rwf_starts_with(path, "/head/")) {
        http_reply_head(r, 200, "text/plain", atol(path + 6));
    } else if (rwf_starts_with(path, "/big/")) {
        reply_big(r, (size_t)atol(path + 5));
    } else if (!strcmp(path, "/own")) {
        http_reply_header(r, "X-Request-Id", "other");
        http_reply_header(r, "Access-Control-Allow-Origin", "other");
        http_reply_header(r, "X-Own", "own");
        http_reply_header(r, "X-Split", "a\r\nX-Evil: b");
        http_reply(r, 200, NULL, "own", 3);
    } else if (!strcmp(path, "/headers")) {
        http_headers(r, add_header, &text);
        reply_text(r, &text);
    } else if (rwf_starts_with(path, "/where")) {
        rwf_str_addf(&text, "%s|%s", path, http_query(r));
        reply_text(r, &text);
    } else {
        const char *body = http_body(r, &size);
        http_note(r, "echo");
        http_reply(r, 200, "text/plain", size ? body : "hello", size ? size : 5);
    }
}

static void gone(void *ctx, struct http_request *r)
{
    struct rig *g = ctx;
    g->gone++;
    ck_assert(http_gone(r));
}

/* --- the rig --- */

void rig_open(struct rig *g, const struct http_server_options *o)
{
    struct http_server_options all = *o;
    struct rwf_err err = RWF_ERR_INIT;
    *g = (struct rig){0};
    all.request = request;
    all.gone = gone;
    all.ctx = g;
    uv_loop_init(&g->loop);
    g->server = http_server_create(&g->loop, &all, &err);
    ck_assert_msg(g->server != NULL, "%s", err.text);
    const char *url = http_server_url(g->server);
    if (!all.unix_path)
        g->port = atoi(strrchr(url, ':') + 1);
}

void rig_close(struct rig *g)
{
    http_server_destroy(g->server);
    uv_run(&g->loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&g->loop), 0);
}

void rig_turns(struct rig *g, int turns)
{
    for (int i = 0; i < turns; i++)
        uv_run(&g->loop, UV_RUN_NOWAIT);
}

bool rig_until(struct rig *g, bool (*done)(void *ctx), void *ctx)
{
    int64_t end = rwf_clock_mono() + LONG;
    while (!done(ctx)) {
        if (rwf_clock_mono() > end)
            return false;
        uv_run(&g->loop, UV_RUN_NOWAIT);
        usleep(200);
    }
    return true;
}

int rig_connect(struct rig *g)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)g->port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    ck_assert_msg(connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0, "%s",
                  strerror(errno));
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

void rig_send(struct rig *g, int fd, const char *bytes, size_t len)
{
    int64_t end = rwf_clock_mono() + LONG;
    while (len) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            return; /* refused in the middle: what was replied is there to read */
        if (n > 0) {
            bytes += n;
            len -= (size_t)n;
        }
        uv_run(&g->loop, UV_RUN_NOWAIT);
        ck_assert_msg(rwf_clock_mono() < end, "the server takes no more bytes");
    }
}

/* The length of the first reply of text; 0: it is not whole. */
static size_t whole_reply(const char *text, size_t len)
{
    const char *end = memmem(text, len, "\r\n\r\n", 4);
    if (!end)
        return 0;
    const char *length = strcasestr(text, "\r\nContent-Length: ");
    const char *chunked = strcasestr(text, "\r\nTransfer-Encoding: chunked");
    size_t head = (size_t)(end - text) + 4, body = 0;
    if (length && length < end) {
        body = strtoul(length + 18, NULL, 10);
    } else if (chunked && chunked < end) {
        const char *last = memmem(end, len - head + 4, "\r\n0\r\n\r\n", 7);
        if (!last)
            return 0;
        body = (size_t)(last + 7 - text) - head;
    }
    return len >= head + body ? head + body : 0;
}

static int count_replies(const struct rwf_str *text)
{
    int count = 0;
    for (size_t at = 0, n; at < text->len; at += n, count++)
        if (!(n = whole_reply(text->data + at, text->len - at)))
            break;
    return count;
}

char *rig_read(struct rig *g, int fd, int replies, bool *ret_closed)
{
    struct rwf_str text = {0};
    char buffer[65536];
    int64_t end = rwf_clock_mono() + LONG;
    bool closed = false;
    rwf_str_add(&text, "");
    while (!closed && (!replies || count_replies(&text) < replies)) {
        ck_assert_msg(rwf_clock_mono() < end, "no end of: %s", text.data);
        uv_run(&g->loop, UV_RUN_NOWAIT);
        ssize_t n = recv(fd, buffer, sizeof(buffer), 0);
        if (n > 0)
            rwf_str_addn(&text, buffer, (size_t)n);
        else if (n == 0 || errno != EAGAIN)
            closed = true;
        else
            usleep(100);
    }
    if (ret_closed)
        *ret_closed = closed;
    return rwf_str_take(&text);
}

char *rig_ask(struct rig *g, const char *bytes, size_t len, int replies,
              bool *ret_closed)
{
    int fd = rig_connect(g);
    rig_send(g, fd, bytes, len);
    char *text = rig_read(g, fd, replies, ret_closed);
    close(fd);
    return text;
}

char *rig_get(struct rig *g, const char *path)
{
    char *text = rwf_xasprintf("GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path);
    char *reply = rig_ask(g, text, strlen(text), 1, NULL);
    free(text);
    return reply;
}

int rig_status(const char *reply)
{
    return rwf_starts_with(reply, "HTTP/1.") ? atoi(reply + 9) : 0;
}

const char *rig_body(const char *reply)
{
    const char *end = strstr(reply, "\r\n\r\n");
    return end ? end + 4 : "";
}

char *rig_text(const char *head, size_t size, const char *tail)
{
    struct rwf_str text = {0};
    rwf_str_add(&text, head);
    for (size_t i = 0; i < size; i++)
        rwf_str_addc(&text, 'a');
    rwf_str_add(&text, tail);
    return rwf_str_take(&text);
}

void rig_wait(struct rig *g, int ms)
{
    for (int i = 0; i < ms; i++) {
        rig_turns(g, 1);
        usleep(1000);
    }
}

/* --- what is waited for --- */
bool rig_is_gone(void *ctx)
{
    return ((struct rig *)ctx)->gone > 0;
}

bool rig_is_held(void *ctx)
{
    return ((struct rig *)ctx)->held_count > 0;
}

bool rig_is_streaming(void *ctx)
{
    return ((struct rig *)ctx)->stream != NULL;
}

bool rig_is_closed(void *ctx)
{
    struct http_server_stats stats;
    http_server_stats(((struct rig *)ctx)->server, &stats);
    return !stats.open && !stats.ongoing;
}
