/* SPDX-License-Identifier: Apache-2.0
 *
 * Servers somewhere in the world, which are our own one on the same loop, with TLS; and
 * one of plain sockets that closes a kept connection at the wrong moment.
 */
#include "config.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "http_rig.h"
#include "serve/away.h"
#include "tls_pair.h"

static struct rig g;
static struct serve__away *away;
static char cert_path[64], key_path[64];

/* --- a call --- */

struct got {
    struct serve__away_call *call;
    struct rwf_str body;
    char type[64], own[64];
    int status, pieces, heads;
    int64_t length;
    bool done, sent, pause_first, cancel_head, cancel_piece;
    struct rwf_err err;
};

static void on_head(void *ctx, const struct http_reply_head *h)
{
    struct got *o = ctx;
    o->heads++;
    o->status = h->status;
    o->length = h->length;
    for (size_t i = 0; i < h->header_count; i++) {
        if (strcasecmp(h->names[i], "content-type") == 0)
            snprintf(o->type, sizeof(o->type), "%s", h->values[i]);
        if (strcasecmp(h->names[i], "x-own") == 0)
            snprintf(o->own, sizeof(o->own), "%s", h->values[i]);
        ck_assert_str_ne(h->names[i], "Content-Length");
        ck_assert_str_ne(h->names[i], "Connection");
    }
    if (o->cancel_head)
        serve__away_cancel(o->call);
}

static void on_piece(void *ctx, const void *data, size_t size)
{
    struct got *o = ctx;
    ck_assert(!o->cancel_head && !o->done);
    rwf_str_addn(&o->body, data, size);
    if (o->pieces++ == 0 && o->pause_first)
        serve__away_pause(o->call, true);
    if (o->cancel_piece) {
        ck_assert_int_eq(o->pieces, 1);
        serve__away_cancel(o->call);
    }
}

static void on_done(void *ctx, const struct rwf_err *err, bool sent)
{
    struct got *o = ctx;
    ck_assert(!o->cancel_head && !o->cancel_piece && !o->done);
    o->done = true;
    o->sent = sent;
    if (err != NULL)
        o->err = *err;
}

static bool is_done(void *ctx)
{
    return ((struct got *)ctx)->done;
}

static bool has_piece(void *ctx)
{
    return ((struct got *)ctx)->pieces > 0;
}

static bool has_head(void *ctx)
{
    return ((struct got *)ctx)->heads > 0;
}

static void start(struct got *o, const char *method, const char *path, const char *body,
                  int64_t timeout)
{
    static const char *const names[] = {"Host", "X-Own", "X-Empty", "Connection"};
    static const char *const values[] = {"wrong", "mine", "", "close"};
    struct http_call_options options = {.method = method,
                                        .path = path,
                                        .names = names,
                                        .values = values,
                                        .header_count = RWF_COUNT(names),
                                        .body = body,
                                        .size = body != NULL ? strlen(body) : 0,
                                        .timeout = timeout,
                                        .head = on_head,
                                        .piece = on_piece,
                                        .done = on_done,
                                        .ctx = o};
    o->call = serve__away_call(away, &options);
    ck_assert(!o->done);
}

static void finish(struct got *o)
{
    ck_assert(rig_until(&g, is_done, o));
}

static void ask(struct got *o, const char *method, const char *path, const char *body)
{
    start(o, method, path, body, 0);
    finish(o);
    ck_assert_msg(o->err.code == 0, "%s %s: %s", method, path, o->err.text);
    rwf_str_add(&o->body, "");
}

static void is_asked(const char *method, const char *path, const char *body,
                     const char *want)
{
    struct got o = {0};
    ask(&o, method, path, body);
    ck_assert_msg(o.status == 200 && strcmp(o.body.data ? o.body.data : "", want) == 0,
                  "%s %s: %d '%s'", method, path, o.status, o.body.data);
    /* After a HEAD it is what a GET would get: "hello". */
    ck_assert_int_eq(o.length, strcmp(method, "HEAD") == 0 ? 5 : (int64_t)strlen(want));
    ck_assert_int_eq(o.heads, 1);
    rwf_str_free(&o.body);
}

/* --- the rig --- */

static void aim(const char *target)
{
    struct rwf_err err = RWF_ERR_INIT;
    serve__away_destroy(away);
    away = serve__away_create(&g.loop, target, 8, &err);
    ck_assert_msg(away != NULL, "%s", err.text);
}

static void aim_at(const char *scheme, const char *host)
{
    char target[128];
    snprintf(target, sizeof(target), "%s://%s:%d", scheme, host, g.port);
    aim(target);
}

static void write_pair(void)
{
    snprintf(cert_path, sizeof(cert_path), "away-%d.cert", (int)getpid());
    snprintf(key_path, sizeof(key_path), "away-%d.key", (int)getpid());
    ck_assert_int_eq(rwf_fs_write(cert_path, tls_cert, strlen(tls_cert), false, NULL), 0);
    ck_assert_int_eq(rwf_fs_write(key_path, tls_key, strlen(tls_key), false, NULL), 0);
    setenv("SSL_CERT_FILE", cert_path, 1);
    setenv("no_proxy", "*", 1);
}

static void open_at(const char *host, bool tls)
{
    write_pair();
    rig_open(&g, &(struct http_server_options){.host = host,
                                               .tls_cert = tls ? cert_path : NULL,
                                               .tls_key = tls ? key_path : NULL});
}

static void close_all(void)
{
    serve__away_destroy(away);
    away = NULL;
    rig_close(&g);
    unlink(cert_path);
    unlink(key_path);
}

/* --- tests --- */

START_TEST(test_requests)
{
    static const char *const hosts[] = {"127.0.0.1", "localhost"};
    open_at(NULL, true);
    for (size_t i = 0; i < RWF_COUNT(hosts); i++) {
        aim_at("https", hosts[i]);
        is_asked("GET", "/where/a%20b?x=1%202", NULL, "/where/a b|x=1%202");
        is_asked("GET", "/", NULL, "hello");
        is_asked("POST", "/", "some text", "some text");
        is_asked("PUT", "/", "put", "put");
        is_asked("POST", "/", NULL, "hello");
        is_asked("DELETE", "/", NULL, "hello");
        is_asked("HEAD", "/", NULL, "");
    }
    struct got o = {0};
    ask(&o, "GET", "/headers", NULL);
    ck_assert_str_eq(o.type, "text/plain");
    ck_assert_ptr_nonnull(strstr(o.body.data, "X-Own=mine\n"));
    ck_assert_ptr_nonnull(strstr(o.body.data, "X-Empty=\n"));
    ck_assert_ptr_nonnull(strstr(o.body.data, "Host=localhost:"));
    ck_assert_ptr_null(strstr(o.body.data, "wrong"));
    ck_assert_ptr_null(strstr(o.body.data, "Connection="));
    ck_assert_ptr_null(strstr(o.body.data, "Accept="));
    rwf_str_free(&o.body);
    o = (struct got){0};
    ask(&o, "GET", "/own", NULL);
    ck_assert_str_eq(o.own, "own");
    rwf_str_free(&o.body);
    struct http_server_stats stats;
    http_server_stats(g.server, &stats);
    ck_assert_int_eq(stats.connections, 2); /* kept */
    close_all();
}
END_TEST

/* IPv6 in brackets, and plain HTTP. */
START_TEST(test_ipv6)
{
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
    bool there = fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0;
    close(fd);
    if (!there)
        return; /* this machine has none */
    open_at("::1", false);
    aim_at("http", "[::1]");
    is_asked("GET", "/where?x", NULL, "/where|x");
    is_asked("POST", "/", "text", "text");
    close_all();
}
END_TEST

/* A piece is told when it comes, not at the end. */
START_TEST(test_stream)
{
    struct got o = {0};
    open_at(NULL, true);
    aim_at("https", "localhost");
    start(&o, "GET", "/stream", NULL, 0);
    ck_assert(rig_until(&g, rig_is_streaming, &g));
    http_reply_write(g.stream, "one", 3);
    ck_assert(rig_until(&g, has_piece, &o));
    ck_assert_int_eq(o.length, -1);
    ck_assert_str_eq(o.type, "text/event-stream");
    http_reply_write(g.stream, "two", 3);
    http_reply_end(g.stream, false);
    finish(&o);
    ck_assert_int_eq(o.err.code, 0);
    ck_assert(strncmp(o.body.data, "onetwo", 6) == 0 && o.body.len == 6);
    rwf_str_free(&o.body);
    /* its end is missing: that is no good answer */
    o = (struct got){0};
    g.stream = NULL;
    start(&o, "GET", "/stream", NULL, 0);
    ck_assert(rig_until(&g, rig_is_streaming, &g));
    http_reply_write(g.stream, "one", 3);
    ck_assert(rig_until(&g, has_piece, &o));
    http_reply_end(g.stream, true);
    finish(&o);
    ck_assert_int_eq(o.err.code, RWF_E_ENV);
    ck_assert(o.sent);
    rwf_str_free(&o.body);
    close_all();
}
END_TEST

START_TEST(test_pause)
{
    struct got o = {.pause_first = true}, other = {0};
    open_at(NULL, true);
    aim_at("https", "localhost");
    start(&o, "GET", "/big/3000000", NULL, 0);
    ck_assert(rig_until(&g, has_piece, &o));
    rig_wait(&g, 50);
    ck_assert_int_eq(o.pieces, 1);
    ask(&other, "GET", "/big/500000", NULL); /* goes past it */
    ck_assert_int_eq(other.body.len, 500000);
    ck_assert_int_eq(o.pieces, 1);
    ck_assert(!o.done);
    serve__away_pause(o.call, false);
    finish(&o);
    ck_assert_int_eq(o.err.code, 0);
    ck_assert_int_eq(o.body.len, 3000000);
    rwf_str_free(&o.body);
    rwf_str_free(&other.body);
    close_all();
}
END_TEST

/* At once, at the head, at a piece, while paused; and what is out at the end. */
START_TEST(test_cancel)
{
    struct got at_once = {.cancel_head = true}, head = {.cancel_head = true};
    struct got piece = {.cancel_piece = true}, paused = {.pause_first = true};
    struct got held = {.cancel_head = true}, last = {.cancel_head = true};
    open_at(NULL, true);
    aim_at("https", "localhost");
    start(&at_once, "GET", "/", NULL, 0);
    serve__away_cancel(at_once.call);
    start(&head, "GET", "/big/100000", NULL, 0);
    start(&piece, "GET", "/big/1000000", NULL, 0);
    start(&paused, "GET", "/big/1000000", NULL, 0);
    ck_assert(rig_until(&g, has_head, &head));
    ck_assert(rig_until(&g, has_piece, &piece));
    ck_assert(rig_until(&g, has_piece, &paused));
    serve__away_cancel(paused.call);
    ck_assert_int_eq(at_once.heads, 0);
    start(&held, "GET", "/hold", NULL, 0);
    ck_assert(rig_until(&g, rig_is_held, &g));
    serve__away_cancel(held.call);
    ck_assert(rig_until(&g, rig_is_gone, &g)); /* the server sees it */
    http_reply(g.held[0], 200, NULL, "", 0);
    is_asked("GET", "/", NULL, "hello");
    start(&last, "GET", "/later/1000", NULL, 0);
    rig_turns(&g, 20);
    rwf_str_free(&piece.body);
    rwf_str_free(&paused.body);
    close_all();
}
END_TEST

static void fails(const char *target, int64_t timeout, const char *path, int code,
                  bool sent, const char *why)
{
    struct got o = {0};
    if (target != NULL)
        aim(target);
    start(&o, "POST", path, "x", timeout);
    finish(&o);
    ck_assert_msg(o.err.code == code && strstr(o.err.text, why) != NULL, "%d '%s'",
                  o.err.code, o.err.text);
    ck_assert_msg(o.sent == sent, "%s", o.err.text);
}

START_TEST(test_failures)
{
    open_at(NULL, true);
    fails("http://nosuch.invalid", 0, "/", RWF_E_ENV, false, "nosuch.invalid");
    fails("https://127.0.0.1:1", 0, "/", RWF_E_ENV, false, "connect");
    aim_at("https", "127.0.0.1");
    fails(NULL, 100 * RWF_NS_PER_MS, "/hold", ETIMEDOUT, true, "timed out");
    ck_assert(rig_until(&g, rig_is_gone, &g));
    http_reply(g.held[0], 200, NULL, "", 0);
    setenv("SSL_CERT_FILE", "/no/such/file", 1);
    aim_at("https", "localhost");
    fails(NULL, 0, "/", RWF_E_ENV, false, "/no/such/file");
    unsetenv("SSL_CERT_FILE"); /* the system's store knows nothing of it */
    aim_at("https", "localhost");
    fails(NULL, 0, "/", RWF_E_ENV, false, "its certificate is refused");
    close_all();
}
END_TEST

/* A certificate for another name, and no TLS at all. */
START_TEST(test_wrong_server)
{
    open_at("127.0.0.2", true);
    aim_at("https", "127.0.0.2");
    fails(NULL, 0, "/", RWF_E_ENV, false, "127.0.0.2");
    ck_assert_int_eq(g.told, 0);
    close_all();
    open_at(NULL, false);
    aim_at("https", "127.0.0.1");
    fails(NULL, 0, "/", RWF_E_ENV, false, "no TLS is agreed on");
    ck_assert_int_eq(g.told, 0);
    close_all();
}
END_TEST

/* --- a kept connection that is closed when its second request has come --- */

static int listening;
static int requests;

static void take_request(int fd, bool answer)
{
    char in[2048];
    size_t n = 0;
    while (n == 0 || memmem(in, n, "\r\n\r\n", 4) == NULL) {
        ssize_t more = recv(fd, in + n, sizeof(in) - n, 0);
        if (more <= 0)
            return;
        n += (size_t)more;
    }
    requests++;
    static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    if (answer)
        ck_assert_int_eq(send(fd, ok, strlen(ok), MSG_NOSIGNAL), (ssize_t)strlen(ok));
}

static void *serve_closing(void *arg)
{
    int connections = *(int *)arg;
    for (int i = 0; i < connections; i++) {
        int fd = accept(listening, NULL, NULL);
        take_request(fd, true);
        if (i == 0)
            take_request(fd, false);
        close(fd);
    }
    return NULL;
}

static void check_closing(const char *method, int connections)
{
    pthread_t thread;
    char target[64];
    struct got first = {0}, second = {0};
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    listening = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(listening, (struct sockaddr *)&a, len), 0);
    ck_assert_int_eq(listen(listening, 8), 0);
    getsockname(listening, (struct sockaddr *)&a, &len);
    requests = 0;
    pthread_create(&thread, NULL, serve_closing, &connections);
    snprintf(target, sizeof(target), "http://127.0.0.1:%d", ntohs(a.sin_port));
    aim(target);
    ask(&first, "GET", "/", NULL);
    start(&second, method, "/", NULL, 0);
    finish(&second);
    pthread_join(thread, NULL);
    close(listening);
    ck_assert_int_eq(requests, connections + 1);
    ck_assert(second.sent);
    if (connections == 2)
        ck_assert_int_eq(second.status, 200);
    else
        ck_assert_msg(strstr(second.err.text, "closed before an answer") != NULL, "%s",
                      second.err.text);
    rwf_str_free(&first.body);
    rwf_str_free(&second.body);
}

START_TEST(test_repeats)
{
    open_at(NULL, false);
    check_closing("GET", 2);
    check_closing("POST", 1);
    check_closing("PATCH", 1);
    close_all();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("serve_away");
    TCase *t = tcase_create("away");
    rwf_mem_init();
    tcase_set_timeout(t, 60);
    tcase_add_test(t, test_requests);
    tcase_add_test(t, test_ipv6);
    tcase_add_test(t, test_stream);
    tcase_add_test(t, test_pause);
    tcase_add_test(t, test_cancel);
    tcase_add_test(t, test_failures);
    tcase_add_test(t, test_wrong_server);
    tcase_add_test(t, test_repeats);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int bad = srunner_ntests_failed(r);
    srunner_free(r);
    return bad ? EXIT_FAILURE : EXIT_SUCCESS;
}
