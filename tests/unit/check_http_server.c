/* SPDX-License-Identifier: Apache-2.0
 *
 * The server, asked through plain sockets: many requests on a connection; clients that are
 * slow, leave or do not read; streams.
 */
#include "config.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"
#include "http_rig.h"

/* --- keep-alive, pipelining, the order of replies --- */

START_TEST(test_pipeline)
{
    struct rig g;
    struct rwf_str text = {0}, want = {0};
    rig_open(&g, &(struct http_server_options){0});
    for (int i = 0; i < 60; i++) {
        if (i % 3 == 0)
            rwf_str_addf(&text, "GET /where/%d HTTP/1.1\r\n" H "\r\n", i);
        else if (i % 3 == 1)
            rwf_str_addf(&text, "GET /later/%d HTTP/1.1\r\n" H "\r\n", i % 2 * 5);
        else
            rwf_str_addf(&text, POST "Content-Length: 3\r\n\r\n%03d", i);
    }
    char *reply = rig_ask(&g, text.data, text.len, 60, NULL);
    const char *at = reply;
    for (int i = 0; i < 60; i++) {
        rwf_str_clear(&want);
        rwf_str_addf(&want,
                     i % 3 == 0   ? "/where/%d|"
                     : i % 3 == 1 ? "later"
                                  : "%03d",
                     i);
        at = strstr(at, "\r\n\r\n");
        ck_assert_ptr_nonnull(at);
        at += 4;
        ck_assert_msg(rwf_starts_with(at, want.data), "%d: %s is not %.30s", i,
                      want.data, at);
    }
    free(reply);
    rwf_str_free(&text);
    rwf_str_free(&want);
    rig_close(&g);
}
END_TEST

/* What is behind a chunked body is never read as a request. */
START_TEST(test_nothing_after_chunks)
{
    struct rig g;
    bool closed;
    rig_open(&g, &(struct http_server_options){0});
    char *reply =
        rig_ask(&g,
                BYTES(POST "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"
                           "GET /where/evil HTTP/1.1\r\n" H "\r\n"),
                0, &closed);
    ck_assert_int_eq(rig_status(reply), 200);
    ck_assert_ptr_nonnull(strcasestr(reply, "\r\nConnection: close\r\n"));
    ck_assert(!strstr(reply, "evil") && closed && g.told == 1);
    free(reply);
    rig_close(&g);
}
END_TEST

START_TEST(test_close)
{
    struct rig g;
    bool closed;
    rig_open(&g, &(struct http_server_options){0});
    char *reply =
        rig_ask(&g, BYTES(GET H "Connection: close\r\n\r\n" GET H "\r\n"), 0, &closed);
    ck_assert(rig_status(reply) == 200 && closed && g.told == 1);
    free(reply);
    reply = rig_ask(&g, BYTES("GET / HTTP/1.0\r\n\r\n"), 0, &closed);
    ck_assert(rig_status(reply) == 200 && closed);
    free(reply);
    rig_close(&g);
}
END_TEST

START_TEST(test_head)
{
    struct rig g;
    rig_open(&g, &(struct http_server_options){0});
    int fd = rig_connect(&g);
    rig_send(&g, fd,
             BYTES("HEAD / HTTP/1.1\r\n" H "\r\n"
                   "HEAD /head/10000000 HTTP/1.1\r\n" H "\r\n"
                   "HEAD /head/-1 HTTP/1.1\r\n" H "\r\n"
                   "HEAD /stream HTTP/1.1\r\n" H "Connection: close\r\n\r\n"));
    char *reply = rig_read(&g, fd, 0, NULL);
    ck_assert_ptr_nonnull(strstr(reply, "\r\nContent-Length: 5\r\n"));
    ck_assert(!strstr(reply, "hello") && !strstr(reply, "Vary"));
    ck_assert_ptr_nonnull(strstr(reply, "\r\nContent-Length: 10000000\r\n"));
    ck_assert_ptr_null(strstr(reply, "\r\nContent-Length: 0\r\n"));
    ck_assert_ptr_nonnull(strstr(reply, "text/event-stream"));
    ck_assert(rwf_ends_with(reply, "\r\n\r\n"));
    free(reply);
    ck_assert(g.stream && !http_gone(g.stream) && !g.gone);
    http_reply_write(g.stream, "dropped", 7);
    http_reply_end(g.stream, false);
    close(fd);
    rig_close(&g);
}
END_TEST

/* --- time-outs --- */

static char *ask_slowly(struct rig *g, const char *bytes, size_t len, bool *ret_closed)
{
    int fd = rig_connect(g);
    rig_send(g, fd, bytes, len);
    char *reply = rig_read(g, fd, 0, ret_closed);
    close(fd);
    return reply;
}

START_TEST(test_slow)
{
    struct rig g;
    bool closed;
    rig_open(&g, &(struct http_server_options){.header_timeout = 400 * RIG_MS,
                                               .idle_timeout = 2000 * RIG_MS});
    static const struct {
        const char *bytes;
        size_t len;
        int status;
    } cases[] = {
        {BYTES(GET "Hos"), 408},
        {BYTES(GET H), 408},
        {BYTES(POST "Content-Length: 3\r\n\r\na"), 408},
        {BYTES(POST "Transfer-Encoding: chunked\r\n\r\n5\r\na"), 408},
        {BYTES("GET / HT"), 408},
        {BYTES(""), 0},
    };
    for (size_t i = 0; i < RWF_COUNT(cases); i++) {
        char *reply = ask_slowly(&g, cases[i].bytes, cases[i].len, &closed);
        ck_assert_msg(rig_status(reply) == cases[i].status, "%zu: %s", i, reply);
        ck_assert(closed && g.told == 0);
        free(reply);
    }
    char *reply =
        ask_slowly(&g, BYTES(GET H "\r\n"), &closed); /* kept alive, for a while */
    ck_assert(rig_status(reply) == 200 && closed);
    free(reply);
    int fd = rig_connect(&g); /* part of a second request line */
    rig_send(&g, fd, BYTES(GET H "\r\n"));
    free(rig_read(&g, fd, 1, NULL));
    rig_turns(&g, 10);
    usleep(5000);
    rig_send(&g, fd, BYTES("GE"));
    reply = rig_read(&g, fd, 0, NULL);
    ck_assert_msg(rig_status(reply) == 408, "%s", reply);
    free(reply);
    close(fd);
    rig_close(&g);
}
END_TEST

/* A byte now and then does not help. */
START_TEST(test_dribble)
{
    struct rig g;
    rig_open(&g, &(struct http_server_options){.header_timeout = 60 * RIG_MS});
    int fd = rig_connect(&g), sent = 0;
    char byte;
    rig_send(&g, fd, BYTES(GET "X: "));
    while (recv(fd, &byte, 1, MSG_PEEK) < 0) {
        ck_assert_int_lt(sent++, 2000);
        rig_send(&g, fd, "a", 1);
        rig_turns(&g, 1);
        usleep(2000);
    }
    char *reply = rig_read(&g, fd, 1, NULL);
    ck_assert_int_eq(rig_status(reply), 408);
    free(reply);
    close(fd);
    rig_close(&g);
}
END_TEST

/* A handler may take as long as it likes. */
START_TEST(test_slow_handler)
{
    struct rig g;
    rig_open(&g, &(struct http_server_options){.header_timeout = 400 * RIG_MS,
                                               .idle_timeout = 400 * RIG_MS,
                                               .write_timeout = 400 * RIG_MS});
    char *reply = rig_get(&g, "/later/1000");
    ck_assert(rig_status(reply) == 200 && g.gone == 0);
    free(reply);
    rig_close(&g);
}
END_TEST

/* A client that reads nothing: by time when replies are whole, by bytes when streamed.
 */
START_TEST(test_no_reader)
{
    struct rig g;
    char bytes[10000] = "";
    rig_open(&g, &(struct http_server_options){.write_timeout = 100 * RIG_MS,
                                               .write_limit = 1u << 20});
    int fd = rig_connect(&g);
    rig_send(&g, fd, BYTES("GET /big/50000000 HTTP/1.1\r\n" H "\r\n"));
    ck_assert(rig_until(&g, rig_is_closed, &g));
    ck_assert_int_eq(g.told, 1);
    close(fd);
    fd = rig_connect(&g);
    rig_send(&g, fd, BYTES("GET /stream HTTP/1.1\r\n" H "\r\n"));
    ck_assert(rig_until(&g, rig_is_streaming, &g));
    for (int i = 0; !http_gone(g.stream); i++) {
        ck_assert_int_lt(i, 10000);
        ck_assert_uint_le(http_reply_waiting(g.stream), 1u << 20);
        http_reply_write(g.stream, bytes, sizeof(bytes));
        ck_assert_int_eq(g.gone, 0); /* not from within write */
        rig_turns(&g, !http_gone(g.stream));
    }
    http_reply_write(g.stream, bytes, sizeof(bytes));
    ck_assert(rig_until(&g, rig_is_gone, &g));
    http_reply_end(g.stream, false);
    ck_assert(rig_until(&g, rig_is_closed, &g));
    ck_assert_int_eq(g.gone, 1);
    close(fd);
    rig_close(&g);
}
END_TEST

/* A slow one that does read gets all. */
START_TEST(test_slow_reader)
{
    struct rig g;
    char buffer[200000];
    size_t got = 0;
    rig_open(&g, &(struct http_server_options){.write_timeout = 1000 * RIG_MS});
    int fd = rig_connect(&g);
    rig_send(&g, fd,
             BYTES("GET /big/8000000 HTTP/1.1\r\n" H "Connection: close\r\n\r\n"));
    for (ssize_t n; (n = recv(fd, buffer, sizeof(buffer), 0)) != 0;) {
        ck_assert(n > 0 || errno == EAGAIN);
        got += n > 0 ? (size_t)n : 0;
        for (int i = 0; i < 30; i++) { /* in all longer than the time-out */
            rig_turns(&g, 1);
            usleep(1000);
        }
    }
    ck_assert_uint_gt(got, 8000000);
    close(fd);
    rig_close(&g);
}
END_TEST

/* --- clients that leave --- */

static void leave(struct rig *g, int fd, bool reset)
{
    struct linger hard = {.l_onoff = 1};
    if (reset)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    close(fd);
    ck_assert(rig_until(g, rig_is_gone, g));
    ck_assert_int_eq(g->gone, 1);
}

static void check_leaving(bool reset, bool soon)
{
    struct rig g;
    struct http_server_stats stats;
    rig_open(&g, &(struct http_server_options){0});
    int fd = rig_connect(&g);
    rig_send(&g, fd, BYTES(POST "X-A: b\r\nContent-Length: 3\r\n\r\nabc"));
    free(rig_read(&g, fd, 1, NULL));
    rig_send(
        &g, fd,
        BYTES("POST /hold?q HTTP/1.1\r\n" H "X-A: b\r\nContent-Length: 3\r\n\r\nabc"));
    ck_assert(rig_until(&g, rig_is_held, &g));
    struct http_request *r = g.held[0];
    const char *path = http_path(r);
    rig_wait(&g, soon ? 0 : 20); /* so that it is suspended */
    leave(&g, fd, reset);
    size_t size;
    ck_assert(http_gone(r)); /* all that was told is still there */
    ck_assert_str_eq(path, "/hold");
    ck_assert_str_eq(http_query(r), "q");
    ck_assert_str_eq(http_header(r, "x-a"), "b");
    ck_assert_str_eq(http_body(r, &size), "abc");
    rig_turns(&g, 20);
    http_server_stats(g.server, &stats);
    ck_assert(stats.open == 0 && stats.ongoing == 1);
    http_reply(r, 200, NULL, "x", 1);
    http_server_stats(g.server, &stats);
    ck_assert(stats.ongoing == 0);
    rig_close(&g);
}

START_TEST(test_leaves)
{
    check_leaving(false, false);
    check_leaving(true, false);
    check_leaving(false, true);
    check_leaving(true, true);
}
END_TEST

/* The reply is made before the server has closed the connection. */
START_TEST(test_leaves_then_reply)
{
    struct rig g;
    rig_open(&g, &(struct http_server_options){0});
    int fd = rig_connect(&g);
    rig_send(&g, fd, BYTES("GET /hold HTTP/1.1\r\n" H "\r\n"));
    ck_assert(rig_until(&g, rig_is_held, &g));
    rig_wait(&g, 20);
    close(fd);
    while (!g.gone)
        uv_run(&g.loop, UV_RUN_ONCE);
    http_reply(g.held[0], 200, NULL, "x", 1);
    ck_assert(rig_until(&g, rig_is_closed, &g));
    rig_close(&g);
}
END_TEST

/* A client that has sent more requests and closed its side still gets its replies. */
START_TEST(test_half_closed)
{
    struct rig g;
    rig_open(&g, &(struct http_server_options){0});
    int fd = rig_connect(&g);
    rig_send(&g, fd, BYTES("GET /later/30 HTTP/1.1\r\n" H "\r\n" GET H "\r\n"));
    shutdown(fd, SHUT_WR);
    char *reply = rig_read(&g, fd, 2, NULL);
    ck_assert(strstr(reply, "later") && strstr(reply, "hello"));
    free(reply);
    close(fd);
    rig_close(&g);
}
END_TEST

START_TEST(test_leaves_stream)
{
    struct rig g;
    rig_open(&g, &(struct http_server_options){0});
    int fd = rig_connect(&g);
    rig_send(&g, fd, BYTES("GET /stream HTTP/1.1\r\n" H "\r\n"));
    ck_assert(rig_until(&g, rig_is_streaming, &g));
    http_reply_write(g.stream, "a", 1);
    rig_wait(&g, 10);
    leave(&g, fd, false);
    http_reply_write(g.stream, "b", 1);
    http_reply_end(g.stream, false);
    ck_assert(rig_until(&g, rig_is_closed, &g));
    rig_close(&g);
}
END_TEST

/* --- streams --- */

static void read_until(struct rig *g, int fd, struct rwf_str *text, const char *what)
{
    char buffer[4096];
    for (int i = 0; i < 2000000; i++) {
        ssize_t n = recv(fd, buffer, sizeof(buffer), 0);
        if (n > 0)
            rwf_str_addn(text, buffer, (size_t)n);
        if (text->len && strstr(text->data, what))
            return;
        rig_turns(g, 1);
        usleep(100);
    }
    ck_abort_msg("no '%s' in '%s'", what, text->data);
}

/* Each piece arrives before the next is made, whether the connection is hot or
 * suspended. */
START_TEST(test_stream)
{
    struct rig g;
    struct rwf_str text = {0};
    rig_open(&g, &(struct http_server_options){0});
    int fd = rig_connect(&g);
    rig_send(&g, fd, BYTES("GET /stream HTTP/1.1\r\n" H "\r\n" GET H "\r\n"));
    ck_assert(rig_until(&g, rig_is_streaming, &g));
    read_until(&g, fd, &text, "Transfer-Encoding: chunked\r\n");
    for (int i = 0; i < 6; i++) {
        char *event = rwf_xasprintf("data: %d\n\n", i);
        rig_wait(&g, i % 3 * 10);
        http_reply_write(g.stream, event, strlen(event));
        read_until(&g, fd, &text, event);
        free(event);
    }
    rig_wait(&g, 10);
    http_reply_end(g.stream, false);
    read_until(&g, fd, &text, "\r\n0\r\n\r\n");
    read_until(&g, fd, &text, "hello"); /* the one behind it */
    rwf_str_free(&text);
    close(fd);
    rig_close(&g);
}
END_TEST

START_TEST(test_stream_cut)
{
    struct rig g;
    bool closed;
    rig_open(&g, &(struct http_server_options){0});
    int older = rig_connect(&g); /* it is not the first of the server's */
    rig_turns(&g, 5);
    for (int suspended = 0; suspended < 2; suspended++) {
        g.stream = NULL;
        int fd = rig_connect(&g);
        rig_send(&g, fd, BYTES("GET /stream HTTP/1.1\r\n" H "\r\n"));
        ck_assert(rig_until(&g, rig_is_streaming, &g));
        http_reply_write(g.stream, "part", 4);
        rig_wait(&g, 2 + suspended * 10);
        ck_assert_uint_eq(http_reply_written(g.stream), 4);
        http_reply_end(g.stream, true);
        char *reply = rig_read(&g, fd, 0, &closed);
        ck_assert(closed && strstr(reply, "part"));
        ck_assert_ptr_null(strstr(reply, "\r\n0\r\n"));
        free(reply);
        close(fd);
    }
    close(older);
    rig_close(&g);
}
END_TEST

START_TEST(test_stream_old)
{
    struct rig g;
    bool closed;
    rig_open(&g, &(struct http_server_options){0});
    int fd = rig_connect(&g);
    rig_send(&g, fd, BYTES("GET /stream HTTP/1.0\r\n\r\n"));
    ck_assert(rig_until(&g, rig_is_streaming, &g));
    http_reply_write(g.stream, "part", 4);
    http_reply_end(g.stream, false);
    char *reply = rig_read(&g, fd, 0, &closed);
    ck_assert_str_eq(rig_body(reply), "part");
    ck_assert(closed && !strstr(reply, "chunked"));
    free(reply);
    close(fd);
    rig_close(&g);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("http_server");
    TCase *t = tcase_create("http_server");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, test_pipeline);
    tcase_add_test(t, test_nothing_after_chunks);
    tcase_add_test(t, test_close);
    tcase_add_test(t, test_head);
    tcase_add_test(t, test_slow);
    tcase_add_test(t, test_dribble);
    tcase_add_test(t, test_slow_handler);
    tcase_add_test(t, test_no_reader);
    tcase_add_test(t, test_slow_reader);
    tcase_add_test(t, test_leaves);
    tcase_add_test(t, test_leaves_then_reply);
    tcase_add_test(t, test_half_closed);
    tcase_add_test(t, test_leaves_stream);
    tcase_add_test(t, test_stream);
    tcase_add_test(t, test_stream_cut);
    tcase_add_test(t, test_stream_old);
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
