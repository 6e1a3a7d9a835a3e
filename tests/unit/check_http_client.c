/* SPDX-License-Identifier: Apache-2.0
 *
 * The client against a scripted server: a socket of this very thread, which accepts,
 * reads and writes between turns of the loop.
 */
#include "config.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "http/client.h"

#define BYTES(text) (text), sizeof(text) - 1
#define OK "HTTP/1.1 200 OK\r\n"

/* --- the client --- */

struct rig {
    uv_loop_t loop;
    struct http_client *client;
    int listen_fd, fd; /* the last one accepted */
    char path[64];
};

/* What became of one call. */
struct seen {
    int status, done, pieces;
    int64_t length;
    struct rwf_str body, headers;
    struct rwf_err err;
    bool failed, sent;
    struct http_call *call;
    struct http_client *destroy; /* at the first piece */
    bool cancel;                 /* so */
};

static void head(void *ctx, const struct http_reply_head *h)
{
    struct seen *s = ctx;
    s->status = h->status;
    s->length = h->length;
    for (size_t i = 0; i < h->header_count; i++)
        rwf_str_addf(&s->headers, "%s=%s;", h->names[i], h->values[i]);
}

static void piece(void *ctx, const void *data, size_t size)
{
    struct seen *s = ctx;
    s->pieces++;
    rwf_str_addn(&s->body, data, size);
    if (s->cancel)
        http_call_cancel(s->call);
    if (s->destroy)
        http_client_destroy(s->destroy);
    s->destroy = NULL;
}

static void done(void *ctx, const struct rwf_err *err, bool sent)
{
    struct seen *s = ctx;
    s->done++;
    s->failed = err != NULL;
    s->sent = sent;
    if (err)
        s->err = *err;
}

static void clear(struct seen *s)
{
    rwf_str_free(&s->body);
    rwf_str_free(&s->headers);
    *s = (struct seen){0};
}

static void start(struct rig *g, struct seen *s, struct http_call_options o)
{
    clear(s);
    if (!o.method)
        o.method = "GET";
    if (!o.path)
        o.path = "/";
    o.head = head, o.piece = piece, o.done = done, o.ctx = s;
    s->call = http_client_call(g->client, &o);
    ck_assert_int_eq(s->done, 0);
}

static void open_rig(struct rig *g, bool tcp)
{
    struct rwf_err err = RWF_ERR_INIT;
    char target[128];
    *g = (struct rig){.fd = -1};
    uv_loop_init(&g->loop);
    g->listen_fd = socket(tcp ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (tcp) {
        struct sockaddr_in a = {.sin_family = AF_INET,
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t len = sizeof(a);
        ck_assert_int_eq(bind(g->listen_fd, (struct sockaddr *)&a, len), 0);
        getsockname(g->listen_fd, (struct sockaddr *)&a, &len);
        snprintf(target, sizeof(target), "http://127.0.0.1:%d", ntohs(a.sin_port));
    } else {
        struct sockaddr_un a = {.sun_family = AF_UNIX};
        snprintf(g->path, sizeof(g->path), "client-%d.sock", (int)getpid());
        strcpy(a.sun_path, g->path);
        unlink(g->path);
        ck_assert_int_eq(bind(g->listen_fd, (struct sockaddr *)&a, sizeof(a)), 0);
        snprintf(target, sizeof(target), "unix:%s", g->path);
    }
    ck_assert_int_eq(listen(g->listen_fd, 8), 0);
    fcntl(g->listen_fd, F_SETFL, O_NONBLOCK);
    g->client = http_client_create(
        &g->loop, &(struct http_client_options){.target = target, .max_idle = 2}, &err);
    ck_assert_msg(g->client != NULL, "%s", err.text);
}

static void close_rig(struct rig *g)
{
    http_client_destroy(g->client);
    uv_run(&g->loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&g->loop), 0);
    close(g->listen_fd);
    if (g->fd >= 0)
        close(g->fd);
    if (g->path[0])
        unlink(g->path);
}

static void turn(struct rig *g)
{
    uv_run(&g->loop, UV_RUN_NOWAIT);
    usleep(200);
}

static void take(struct rig *g)
{
    int64_t end = rwf_clock_mono() + 300 * RWF_NS_PER_S;
    int fd;
    while ((fd = accept4(g->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) < 0) {
        ck_assert_msg(rwf_clock_mono() < end, "nobody connects");
        turn(g);
    }
    g->fd = fd;
}

/* The request, once its header and `body` bytes are there. */
static char *hear(struct rig *g, size_t body)
{
    struct rwf_str text = {0};
    char buffer[65536];
    int64_t end = rwf_clock_mono() + 300 * RWF_NS_PER_S;
    for (;;) {
        ssize_t n = recv(g->fd, buffer, sizeof(buffer), 0);
        if (n > 0)
            rwf_str_addn(&text, buffer, (size_t)n);
        const char *at = text.len ? strstr(text.data, "\r\n\r\n") : NULL;
        if (at && text.len - (size_t)(at + 4 - text.data) >= body)
            return rwf_str_take(&text);
        ck_assert_msg(rwf_clock_mono() < end, "no whole request: %s", text.data);
        turn(g);
    }
}

static void say(struct rig *g, const char *text)
{
    ck_assert_int_eq(send(g->fd, text, strlen(text), MSG_NOSIGNAL), (int)strlen(text));
}

static void until_done(struct rig *g, struct seen *s)
{
    int64_t end = rwf_clock_mono() + 300 * RWF_NS_PER_S;
    while (!s->done) {
        ck_assert_msg(rwf_clock_mono() < end, "the call does not end");
        turn(g);
    }
}

/* No other connection was made. */
static void no_other(struct rig *g)
{
    turn(g);
    ck_assert_int_lt(accept(g->listen_fd, NULL, NULL), 0);
}

static void kept_alive(bool tcp)
{
    struct rig g;
    struct seen s = {0};
    const char *names[] = {"X-A", "Connection", "Content-Length"};
    const char *values[] = {"b", "upgrade", "99"};
    open_rig(&g, tcp);
    start(&g, &s,
          (struct http_call_options){.method = "POST",
                                     .path = "/a?b",
                                     .names = names,
                                     .values = values,
                                     .header_count = 3,
                                     .body = "hi",
                                     .size = 2});
    take(&g);
    char *text = hear(&g, 2);
    ck_assert_str_eq(text, "POST /a?b HTTP/1.1\r\nX-A: b\r\nHost: localhost\r\n"
                           "Content-Length: 2\r\n\r\nhi");
    free(text);
    say(&g,
        OK "Content-Length: 2\r\nX: y\r\nConnection: keep-alive, Z\r\nZ: z\r\n\r\nok");
    until_done(&g, &s);
    ck_assert_msg(!s.failed, "%s", s.err.text);
    ck_assert(s.sent && s.status == 200 && s.length == 2);
    ck_assert_str_eq(s.body.data, "ok");
    ck_assert_str_eq(s.headers.data, "X=y;");
    start(&g, &s, (struct http_call_options){.path = "/2"});
    text = hear(&g, 0);
    ck_assert(rwf_starts_with(text, "GET /2 HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    free(text);
    say(&g, OK "Content-Length: 0\r\n\r\n");
    until_done(&g, &s);
    ck_assert(!s.failed && s.length == 0);
    no_other(&g);
    clear(&s);
    close_rig(&g);
}

START_TEST(test_unix)
{
    kept_alive(false);
}
END_TEST

START_TEST(test_tcp)
{
    kept_alive(true);
}
END_TEST

START_TEST(test_stream)
{
    struct rig g;
    struct seen s = {0};
    open_rig(&g, false);
    start(&g, &s, (struct http_call_options){0});
    take(&g);
    free(hear(&g, 0));
    say(&g, OK "Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n");
    while (!s.pieces)
        turn(&g);
    ck_assert(!s.done && s.length == -1);
    ck_assert_str_eq(s.body.data, "one");
    say(&g, "3\r\ntwo\r\n0\r\n\r\n");
    until_done(&g, &s);
    ck_assert_str_eq(s.body.data, "onetwo");
    clear(&s);
    close_rig(&g);
}
END_TEST

/* A kept connection that the program closes is not used for the next call. */
START_TEST(test_stale)
{
    struct rig g;
    struct seen s = {0};
    open_rig(&g, false);
    for (int i = 0; i < 2; i++) {
        start(&g, &s, (struct http_call_options){0});
        take(&g);
        free(hear(&g, 0));
        say(&g, OK "Content-Length: 0\r\n\r\n");
        until_done(&g, &s);
        ck_assert(!s.failed);
        close(g.fd); /* no turn of the loop until the next call */
        g.fd = -1;
    }
    clear(&s);
    close_rig(&g);
}
END_TEST

/* A kept connection takes nothing any more: the request goes to another. */
START_TEST(test_moves)
{
    struct rig g;
    struct seen s = {0};
    open_rig(&g, false);
    start(&g, &s, (struct http_call_options){0});
    take(&g);
    free(hear(&g, 0));
    say(&g, OK "Content-Length: 0\r\n\r\n");
    until_done(&g, &s);
    shutdown(g.fd, SHUT_RD);
    int old = g.fd;
    start(&g, &s, (struct http_call_options){.method = "POST", .body = "x", .size = 1});
    take(&g);
    free(hear(&g, 1));
    say(&g, OK "Content-Length: 0\r\n\r\n");
    until_done(&g, &s);
    ck_assert_msg(!s.failed, "%s", s.err.text);
    close(old);
    clear(&s);
    close_rig(&g);
}
END_TEST

/* Bytes behind a reply, and "close": the connection is not kept. */
START_TEST(test_not_kept)
{
    static const char *const texts[] = {
        OK "Content-Length: 1\r\n\r\nab",
        OK "Content-Length: 1\r\nConnection: close\r\n\r\na",
        "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na",
    };
    struct rig g;
    struct seen s = {0};
    open_rig(&g, false);
    for (size_t i = 0; i < RWF_COUNT(texts); i++) {
        start(&g, &s, (struct http_call_options){0});
        take(&g);
        free(hear(&g, 0));
        say(&g, texts[i]);
        until_done(&g, &s);
        ck_assert(!s.failed);
        ck_assert_str_eq(s.body.data, "a");
        close(g.fd);
        g.fd = -1;
    }
    clear(&s);
    close_rig(&g);
}
END_TEST

static void fails(struct rig *g, struct seen *s, const char *what, bool sent)
{
    until_done(g, s);
    ck_assert_msg(s->failed && strstr(s->err.text, what), "%s: %s", what, s->err.text);
    ck_assert_int_eq(s->sent, sent);
}

START_TEST(test_failures)
{
    struct rig g;
    struct seen s = {0};
    open_rig(&g, false);
    start(&g, &s, (struct http_call_options){0});
    take(&g);
    free(hear(&g, 0));
    close(g.fd);
    fails(&g, &s, "before a reply", true);
    start(&g, &s, (struct http_call_options){0});
    take(&g);
    free(hear(&g, 0));
    say(&g, OK "Content-Length: 5\r\n\r\nab");
    close(g.fd);
    fails(&g, &s, "middle", true);
    ck_assert_int_eq(s.status, 200);
    start(&g, &s, (struct http_call_options){0});
    take(&g);
    say(&g, "220 smtp\r\n\r\n");
    fails(&g, &s, "status line", true);
    close(g.fd);
    start(&g, &s, (struct http_call_options){.timeout = 500 * RWF_NS_PER_MS});
    take(&g);
    fails(&g, &s, "did not answer", true);
    ck_assert_int_eq(s.err.code, ETIMEDOUT);
    close(g.fd);
    start(&g, &s, (struct http_call_options){.idle_timeout = 500 * RWF_NS_PER_MS});
    take(&g);
    say(&g, OK "Content-Length: 5\r\n\r\nab");
    fails(&g, &s, "nothing more", true);
    start(&g, &s, (struct http_call_options){.path = "/a b"});
    fails(&g, &s, "not a method and a path", false);
    const char *name = "X", *value = "a\r\nY: b";
    start(&g, &s,
          (struct http_call_options){
              .names = &name, .values = &value, .header_count = 1});
    fails(&g, &s, "not a header", false);
    unlink(g.path);
    start(&g, &s, (struct http_call_options){0});
    fails(&g, &s, "cannot connect to unix:client-", false);
    clear(&s);
    close_rig(&g);
}
END_TEST

START_TEST(test_no_tcp)
{
    struct rig g;
    struct seen s = {0};
    open_rig(&g, true);
    shutdown(g.listen_fd, SHUT_RDWR); /* from now on refused */
    start(&g, &s, (struct http_call_options){0});
    fails(&g, &s, "cannot connect to http://127.0.0.1:", false);
    clear(&s);
    close_rig(&g);
}
END_TEST

START_TEST(test_targets)
{
    static const char *const bad[] = {"",
                                      "unix:",
                                      "http://example.org:80",
                                      "http://127.0.0.1:0",
                                      "http://127.0.0.1:99999",
                                      "http://127.0.0.1:80x"};
    uv_loop_t loop;
    uv_loop_init(&loop);
    for (size_t i = 0; i < RWF_COUNT(bad); i++) {
        struct rwf_err err = RWF_ERR_INIT;
        ck_assert_ptr_null(http_client_create(
            &loop, &(struct http_client_options){.target = bad[i]}, &err));
        ck_assert_ptr_nonnull(strstr(err.text, "no place to call"));
    }
    uv_loop_close(&loop);
}
END_TEST

/* A program that does not read is written to as it does; one that reads nothing of a
 * large body but answers is heard. */
START_TEST(test_large)
{
    struct rig g;
    struct seen s = {0};
    size_t size = 8u << 20;
    char *body = rwf_xmalloc(size);
    memset(body, 'b', size);
    open_rig(&g, false);
    start(&g, &s,
          (struct http_call_options){.method = "POST", .body = body, .size = size});
    take(&g);
    char *text = hear(&g, size);
    ck_assert_int_eq(strstr(text, "\r\n\r\n")[4 + size - 1], 'b');
    free(text);
    say(&g, OK "Content-Length: 1\r\n\r\na");
    until_done(&g, &s);
    ck_assert(!s.failed);
    start(&g, &s,
          (struct http_call_options){.method = "POST", .body = body, .size = size});
    turn(&g);
    say(&g, "HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n");
    until_done(&g, &s);
    ck_assert(!s.failed && s.status == 413);
    free(body);
    clear(&s);
    close_rig(&g);
}
END_TEST

/* While it is paused the program's socket fills. */
START_TEST(test_pause)
{
    struct rig g;
    struct seen s = {0};
    char bytes[4096];
    size_t sent = 0, before;
    memset(bytes, 'x', sizeof(bytes));
    open_rig(&g, false);
    start(&g, &s, (struct http_call_options){.idle_timeout = 500 * RWF_NS_PER_MS});
    take(&g);
    free(hear(&g, 0));
    http_call_pause(s.call, true);
    say(&g, OK "Content-Length: 100000000\r\n\r\n");
    for (ssize_t n; (n = send(g.fd, bytes, sizeof(bytes), MSG_NOSIGNAL)) > 0;
         sent += (size_t)n)
        turn(&g);
    int64_t until = rwf_clock_mono() + 600 * RWF_NS_PER_MS; /* longer than the time-out */
    while (rwf_clock_mono() < until)
        turn(&g);
    ck_assert(!s.done && !s.body.len);
    http_call_pause(s.call, false);
    while (s.body.len < sent)
        turn(&g);
    http_call_pause(s.call, true);
    before = s.body.len;
    ck_assert_int_gt(send(g.fd, bytes, 10, MSG_NOSIGNAL), 0);
    turn(&g);
    ck_assert(s.body.len == before && !s.done);
    http_call_cancel(s.call);
    clear(&s);
    close_rig(&g);
}
END_TEST

START_TEST(test_cancel)
{
    struct rig g;
    struct seen s = {0};
    char byte;
    open_rig(&g, false);
    start(&g, &s, (struct http_call_options){0}); /* before anything */
    http_call_cancel(s.call);
    start(&g, &s,
          (struct http_call_options){.path = "bad"}); /* before its failure is told */
    http_call_cancel(s.call);
    take(&g);
    close(g.fd);
    start(&g, &s, (struct http_call_options){0}); /* in a callback */
    s.cancel = true;
    take(&g);
    free(hear(&g, 0));
    say(&g, OK "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n");
    while (!s.pieces)
        turn(&g);
    turn(&g);
    ck_assert(s.pieces == 1 && !s.done);
    ck_assert_int_eq(recv(g.fd, &byte, 1, 0), 0); /* the program sees it */
    clear(&s);
    close_rig(&g);
}
END_TEST

START_TEST(test_destroy)
{
    struct rig g;
    struct seen s = {0}, other = {0};
    open_rig(&g, false);
    start(&g, &other, (struct http_call_options){0});
    take(&g);
    close(g.fd);
    g.fd = -1;
    start(&g, &s, (struct http_call_options){0});
    s.destroy = g.client;
    take(&g);
    say(&g, OK "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n");
    until_done(&g, &s);
    ck_assert(s.failed && s.pieces == 1 && other.done);
    ck_assert_ptr_nonnull(strstr(s.err.text, "closed"));
    g.client = NULL;
    clear(&s);
    clear(&other);
    close_rig(&g);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("http_client");
    TCase *t = tcase_create("client");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, test_unix);
    tcase_add_test(t, test_tcp);
    tcase_add_test(t, test_stream);
    tcase_add_test(t, test_stale);
    tcase_add_test(t, test_moves);
    tcase_add_test(t, test_not_kept);
    tcase_add_test(t, test_failures);
    tcase_add_test(t, test_no_tcp);
    tcase_add_test(t, test_targets);
    tcase_add_test(t, test_large);
    tcase_add_test(t, test_pause);
    tcase_add_test(t, test_cancel);
    tcase_add_test(t, test_destroy);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    SRunner *r = srunner_create(suite());
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
