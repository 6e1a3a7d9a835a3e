/* SPDX-License-Identifier: Apache-2.0
 *
 * A server's beginning, its limits and its end; and its log.
 */
#include "config.h"

#include <check.h>
#include <fcntl.h>
#include <jansson.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "http_rig.h"

/* --- places, limits, the end --- */

START_TEST(test_unix)
{
    struct rig g;
    struct stat st;
    struct rwf_err err = RWF_ERR_INIT;
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    char *path = rwf_xasprintf("server-%d.sock", (int)getpid());
    rig_open(&g, &(struct http_server_options){.unix_path = path});
    ck_assert(rwf_starts_with(http_server_url(g.server), "unix:server-"));
    ck_assert(!stat(path, &st) && S_ISSOCK(st.st_mode) && (st.st_mode & 0777) == 0600);
    strcpy(a.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    rig_send(&g, fd, BYTES("GET /hold HTTP/1.1\r\n" H "\r\n"));
    ck_assert(rig_until(&g, rig_is_held, &g));
    ck_assert_str_eq(http_peer(g.held[0]), "unix");
    http_reply(g.held[0], 200, NULL, "hello", 5);
    char *reply = rig_read(&g, fd, 1, NULL);
    ck_assert_str_eq(rig_body(reply), "hello");
    free(reply);
    ck_assert_ptr_null(http_server_create(
        &g.loop, &(struct http_server_options){.unix_path = path}, &err));
    ck_assert_ptr_nonnull(strstr(err.text, "listens on"));
    close(fd);
    rig_close(&g);
    ck_assert_int_ne(stat(path, &st), 0);
    fd = socket(AF_UNIX, SOCK_STREAM, 0); /* left by one that was killed */
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    close(fd);
    rig_open(&g, &(struct http_server_options){.unix_path = path, .unix_mode = 0660});
    ck_assert(!stat(path, &st) && (st.st_mode & 0777) == 0660);
    rig_close(&g);
    free(path);
}
END_TEST

static void cannot(uv_loop_t *loop, struct http_server_options o, int code,
                   const char *text)
{
    struct rwf_err err = RWF_ERR_INIT;
    ck_assert_ptr_null(http_server_create(loop, &o, &err));
    ck_assert_msg(err.code == code && strstr(err.text, text), "%d %s", err.code,
                  err.text);
}

START_TEST(test_cannot)
{
    struct rig g;
    char *mine = rwf_xasprintf("(process %d)", (int)getpid());
    rig_open(&g, &(struct http_server_options){0});
    uv_loop_t *l = &g.loop;
    cannot(l, (struct http_server_options){.port = g.port}, RWF_E_ENV, "in use by ");
    cannot(l, (struct http_server_options){.port = g.port}, RWF_E_ENV, mine);
    cannot(l, (struct http_server_options){.host = "0.0.0.0"}, RWF_E_USAGE, "api_keys");
    cannot(l,
           (struct http_server_options){.host = "192.0.2.1",
                                        .api_keys = (const char *[]){"k", NULL}},
           RWF_E_ENV, "192.0.2.1");
    cannot(l, (struct http_server_options){.unix_path = "/nowhere/x"}, RWF_E_ENV,
           "/nowhere/x");
    cannot(l, (struct http_server_options){.tls_cert = "/nowhere/cert"}, RWF_E_USAGE,
           "key");
    cannot(l,
           (struct http_server_options){.tls_cert = "/nowhere/cert",
                                        .tls_key = "/nowhere/key"},
           ENOENT, "/nowhere/cert");
    cannot(l, (struct http_server_options){.access_log = "/nowhere/log"}, RWF_E_ENV,
           "/nowhere/log");
    free(mine);
    rig_close(&g);
}
END_TEST

/* Turns the loop until the server has so many connections, and has refused so many. */
static void until_open(struct rig *g, unsigned open, unsigned refused)
{
    struct http_server_stats stats;
    for (int i = 0; i < 100000; i++) {
        http_server_stats(g->server, &stats);
        if (stats.open == open && stats.refused == refused)
            return;
        rig_wait(g, 1);
    }
    ck_abort_msg("%u are open, %u were refused", (unsigned)stats.open,
                 (unsigned)stats.refused);
}

START_TEST(test_limit)
{
    struct rig g;
    struct http_server_stats stats;
    int fds[4];
    char byte;
    rig_open(&g, &(struct http_server_options){.max_connections = 2});
    for (int i = 0; i < 4; i++) {
        fds[i] = rig_connect(&g);
        until_open(&g, i < 2 ? (unsigned)i + 1 : 2, i < 2 ? 0 : (unsigned)i - 1);
    }
    http_server_stats(g.server, &stats);
    ck_assert(stats.open == 2 && stats.refused == 2 && stats.connections == 2);
    ck_assert_int_eq(recv(fds[3], &byte, 1, 0), 0);
    close(fds[0]);
    until_open(&g, 1, 2);
    char *reply = rig_get(&g, "/");
    ck_assert_int_eq(rig_status(reply), 200);
    free(reply);
    for (int i = 1; i < 4; i++)
        close(fds[i]);
    rig_close(&g);
}
END_TEST

/* Many that idle do not hold up one that asks. */
START_TEST(test_idle_many)
{
    enum { MANY = 2000 };
    struct rlimit limit;
    struct rig g;
    static int fds[MANY];
    int many = MANY;
    rig_open(&g, &(struct http_server_options){0}); /* raises the limit */
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < 2 * MANY + 100)
        many = (int)limit.rlim_cur / 2 - 50;
    for (int i = 0; i < many; i++) {
        fds[i] = rig_connect(&g);
        if (i % 32 == 0)
            rig_turns(&g, 1);
    }
    for (int i = 0; i < many; i += 100) {
        rig_send(&g, fds[i], BYTES(GET H "\r\n"));
        char *reply = rig_read(&g, fds[i], 1, NULL);
        ck_assert_int_eq(rig_status(reply), 200);
        free(reply);
    }
    for (int i = 0; i < many; i++)
        close(fds[i]);
    ck_assert(rig_until(&g, rig_is_closed, &g));
    rig_close(&g);
}
END_TEST

static void drained(void *ctx)
{
    ((struct rig *)ctx)->drained++;
}

static bool is_drained(void *ctx)
{
    return ((struct rig *)ctx)->drained > 0;
}

START_TEST(test_drain)
{
    struct rig g;
    bool closed;
    rig_open(&g, &(struct http_server_options){0});
    int idle = rig_connect(&g), busy = rig_connect(&g);
    rig_send(&g, idle, BYTES(GET H "\r\n"));
    free(rig_read(&g, idle, 1, NULL));
    rig_send(&g, busy, BYTES("GET /hold HTTP/1.1\r\n" H "\r\n"));
    ck_assert(rig_until(&g, rig_is_held, &g));
    http_server_drain(g.server, 60 * RWF_NS_PER_S, drained, &g);
    rig_wait(&g, 5);
    ck_assert_int_eq(g.drained, 0);
    int late = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)g.port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    ck_assert_int_ne(connect(late, (struct sockaddr *)&a, sizeof(a)), 0);
    close(late);
    rig_send(&g, idle, BYTES(GET H "\r\n")); /* a kept one is served once more */
    char *reply = rig_read(&g, idle, 0, &closed);
    ck_assert(rig_status(reply) == 200 && closed);
    free(reply);
    http_reply(g.held[0], 200, NULL, "done", 4);
    reply = rig_read(&g, busy, 0, &closed);
    ck_assert(closed && !strcmp(rig_body(reply), "done"));
    ck_assert_ptr_nonnull(strcasestr(reply, "\r\nConnection: close\r\n"));
    free(reply);
    ck_assert(rig_until(&g, is_drained, &g));
    rig_wait(&g, 5);
    ck_assert(g.drained == 1 && g.gone == 0);
    close(idle);
    close(busy);
    rig_close(&g);
}
END_TEST

START_TEST(test_drain_late)
{
    struct rig g;
    bool closed;
    rig_open(&g, &(struct http_server_options){0});
    int fd = rig_connect(&g);
    rig_send(&g, fd, BYTES("GET /hold HTTP/1.1\r\n" H "\r\n"));
    ck_assert(rig_until(&g, rig_is_held, &g));
    http_server_drain(g.server, 30 * RIG_MS, drained, &g);
    ck_assert(rig_until(&g, is_drained, &g));
    ck_assert(g.gone == 1 && http_gone(g.held[0]));
    char *reply = rig_read(&g, fd, 0, &closed);
    ck_assert(closed && !*reply);
    free(reply);
    close(fd);
    rig_close(&g); /* with a request that was not ended */
}
END_TEST

START_TEST(test_drain_idle)
{
    struct rig g;
    rig_open(&g, &(struct http_server_options){0});
    http_server_drain(g.server, 60 * RWF_NS_PER_S, drained, &g);
    ck_assert_int_eq(g.drained, 0); /* never from within */
    ck_assert(rig_until(&g, is_drained, &g));
    rig_close(&g);
}
END_TEST

/* Requests that wait, hot and suspended, and streams, when the server is destroyed. */
START_TEST(test_destroy)
{
    struct rig g;
    int fds[3];
    rig_open(&g, &(struct http_server_options){0});
    for (int i = 0; i < 3; i++) {
        fds[i] = rig_connect(&g);
        if (i == 2)
            rig_send(&g, fds[i], BYTES("GET /stream HTTP/1.1\r\n" H "\r\n"));
        else
            rig_send(&g, fds[i], BYTES("GET /hold HTTP/1.1\r\n" H "\r\n"));
        rig_wait(&g, i < 2 ? 10 : 0);
    }
    ck_assert(rig_until(&g, rig_is_streaming, &g));
    rig_close(&g);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
}
END_TEST

/* More that wait than are asked at each turn. */
START_TEST(test_wait_many)
{
    enum { MANY = 400 };
    struct rig g;
    static int fds[MANY];
    rig_open(&g, &(struct http_server_options){0});
    for (int i = 0; i < MANY; i++) {
        fds[i] = rig_connect(&g);
        rig_send(&g, fds[i], BYTES("GET /later/20 HTTP/1.1\r\n" H "\r\n"));
    }
    for (int i = 0; i < MANY; i++) {
        char *reply = rig_read(&g, fds[i], 1, NULL);
        ck_assert_str_eq(rig_body(reply), "later");
        free(reply);
        close(fds[i]);
    }
    rig_close(&g);
}
END_TEST

/* --- the access log --- */

START_TEST(test_log)
{
    struct rig g;
    size_t len;
    char *path = rwf_xasprintf("access-%d.log", (int)getpid());
    rig_open(&g, &(struct http_server_options){.access_log = path});
    free(rig_ask(&g,
                 BYTES("POST /a%22b?secret HTTP/1.1\r\n" H
                       "X-Request-Id: one\r\nContent-Length: 3\r\n\r\nabc"),
                 1, NULL));
    free(rig_ask(&g, BYTES("GET /../x HTTP/1.1\r\n" H "\r\n"), 1, NULL));
    rig_close(&g);
    char *text = rwf_fs_read(path, 100000, &len, NULL);
    ck_assert_ptr_nonnull(text);
    char *second = strchr(text, '\n') + 1;
    json_t *j = json_loadb(text, (size_t)(second - text), 0, NULL);
    ck_assert_ptr_nonnull(j);
    ck_assert_str_eq(json_string_value(json_object_get(j, "id")), "one");
    ck_assert_str_eq(json_string_value(json_object_get(j, "method")), "POST");
    ck_assert_str_eq(json_string_value(json_object_get(j, "path")), "/a\"b");
    ck_assert_str_eq(json_string_value(json_object_get(j, "peer")), "127.0.0.1");
    ck_assert_str_eq(json_string_value(json_object_get(j, "note")), "echo");
    ck_assert_int_eq(json_integer_value(json_object_get(j, "status")), 200);
    ck_assert_int_eq(json_integer_value(json_object_get(j, "bytes_in")), 3);
    ck_assert_int_eq(json_integer_value(json_object_get(j, "bytes_out")), 3);
    const char *time = json_string_value(json_object_get(j, "time"));
    ck_assert(strlen(time) == 24 && time[10] == 'T' && time[23] == 'Z');
    ck_assert(json_is_integer(json_object_get(j, "us")));
    json_decref(j);
    j = json_loads(second, 0, NULL);
    ck_assert_ptr_nonnull(j);
    ck_assert_int_eq(json_integer_value(json_object_get(j, "status")), 400);
    json_decref(j);
    free(text);
    unlink(path);
    free(path);
}
END_TEST

/* The status is what the client got; that it is not the whole truth is said beside it. */
START_TEST(test_log_cut)
{
    struct rig g;
    bool closed;
    char *path = rwf_xasprintf("access-%d.log", (int)getpid());
    rig_open(&g, &(struct http_server_options){.access_log = path});
    int fd = rig_connect(&g);
    rig_send(&g, fd, BYTES("GET /stream HTTP/1.1\r\n" H "\r\n"));
    ck_assert(rig_until(&g, rig_is_streaming, &g));
    http_reply_write(g.stream, "part", 4);
    http_reason(g.stream, "it \"died\"");
    http_reply_end(g.stream, true);
    free(rig_read(&g, fd, 0, &closed));
    close(fd);
    rig_close(&g);
    json_t *j = json_load_file(path, 0, NULL);
    ck_assert_ptr_nonnull(j);
    ck_assert_int_eq(json_integer_value(json_object_get(j, "status")), 200);
    ck_assert_int_eq(json_integer_value(json_object_get(j, "bytes_out")), 4);
    ck_assert_str_eq(json_string_value(json_object_get(j, "reason")), "it \"died\"");
    json_decref(j);
    unlink(path);
    free(path);
}
END_TEST

START_TEST(test_log_rotates)
{
    struct rig g;
    struct stat st;
    char *path = rwf_xasprintf("access-%d.log", (int)getpid());
    char *old = rwf_xasprintf("%s.1", path);
    FILE *f = fopen(path, "w");
    ck_assert(f && !ftruncate(fileno(f), 16u << 20));
    fclose(f);
    rig_open(&g, &(struct http_server_options){.access_log = path});
    free(rig_get(&g, "/"));
    rig_close(&g);
    ck_assert(!stat(old, &st) && st.st_size == 16u << 20);
    ck_assert(!stat(path, &st) && st.st_size > 50 && st.st_size < 1000);
    unlink(path);
    unlink(old);
    free(path);
    free(old);
}
END_TEST

/* Errors are JSON. */
START_TEST(test_error_text)
{
    struct rig g;
    rig_open(&g, &(struct http_server_options){0});
    int fd = rig_connect(&g);
    rig_send(&g, fd, BYTES("GET /hold HTTP/1.1\r\n" H "\r\n"));
    ck_assert(rig_until(&g, rig_is_held, &g));
    http_reply_error(g.held[0], 503, "queue_full", 7, "a \"b\" %d\n\x01", 5);
    char *reply = rig_read(&g, fd, 1, NULL);
    ck_assert_int_eq(rig_status(reply), 503);
    ck_assert_ptr_nonnull(strstr(reply, "\r\nRetry-After: 7\r\n"));
    json_t *j = json_loads(rig_body(reply), 0, NULL), *e = json_object_get(j, "error");
    ck_assert_str_eq(json_string_value(json_object_get(e, "message")),
                     "a \"b\" 5\n\x01");
    ck_assert_str_eq(json_string_value(json_object_get(e, "code")), "queue_full");
    ck_assert_str_eq(json_string_value(json_object_get(e, "type")), "overloaded_error");
    json_decref(j);
    free(reply);
    close(fd);
    rig_close(&g);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("http_life");
    TCase *t = tcase_create("http_life");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, test_unix);
    tcase_add_test(t, test_cannot);
    tcase_add_test(t, test_limit);
    tcase_add_test(t, test_idle_many);
    tcase_add_test(t, test_drain);
    tcase_add_test(t, test_drain_late);
    tcase_add_test(t, test_drain_idle);
    tcase_add_test(t, test_destroy);
    tcase_add_test(t, test_wait_many);
    tcase_add_test(t, test_log);
    tcase_add_test(t, test_log_cut);
    tcase_add_test(t, test_log_rotates);
    tcase_add_test(t, test_error_text);
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
