/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "serve/brought.h"
#include "serve/relay.h"

#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/mem.h"
#include "base/str.h"

/* An echo server on loopback: the program. */
struct echo {
    int fd, port, taken;
    uv_thread_t thread;
};

static void echo_turn(void *arg)
{
    struct echo *e = arg;
    char buf[4096];
    int fd;
    while ((fd = accept(e->fd, NULL, NULL)) >= 0) {
        ssize_t n;
        e->taken++;
        while ((n = read(fd, buf, sizeof(buf))) > 0)
            for (ssize_t at = 0, m; at < n; at += m)
                if ((m = write(fd, buf + at, (size_t)(n - at))) <= 0)
                    break;
        close(fd);
    }
}

static void echo_start(struct echo *e)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    *e = (struct echo){.fd = socket(AF_INET, SOCK_STREAM, 0)};
    ck_assert_int_eq(bind(e->fd, (struct sockaddr *)&a, len), 0);
    ck_assert_int_eq(listen(e->fd, 16), 0);
    ck_assert_int_eq(getsockname(e->fd, (struct sockaddr *)&a, &len), 0);
    e->port = ntohs(a.sin_port);
    ck_assert_int_eq(uv_thread_create(&e->thread, echo_turn, e), 0);
}

static void echo_end(struct echo *e)
{
    shutdown(e->fd, SHUT_RDWR);
    uv_thread_join(&e->thread);
    close(e->fd);
}

static struct serve__relay_thread *relay(const char *listen_at, const char *target,
                                         const char *token, bool checks)
{
    struct rwf_err err = RWF_ERR_INIT;
    const struct serve__relay_options o = {listen_at, target, token, checks};
    struct serve__relay_thread *t = serve__relay_start(&o, &err);
    ck_assert_msg(t != NULL, "%s", err.text);
    return t;
}

static int connect_to(const char *where)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    a.sin_port = htons((uint16_t)atoi(strrchr(where, ':') + 1));
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    return fd;
}

#define BIG (3 << 20)

static void write_big(void *arg)
{
    const int *fd = arg;
    char buf[8192];
    for (size_t at = 0; at < BIG; at += sizeof(buf)) {
        for (size_t i = 0; i < sizeof(buf); i++)
            buf[i] = (char)((at + i) * 31 >> 3);
        ck_assert_int_eq(send(*fd, buf, sizeof(buf), MSG_NOSIGNAL), sizeof(buf));
    }
    shutdown(*fd, SHUT_WR);
}

/* What goes through both relays comes back whole, and its end, too. */
START_TEST(test_through)
{
    struct echo e;
    uv_thread_t writer;
    char token[SERVE_RELAY_TOKEN + 1], target[64], path[64], at[80];
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    echo_start(&e);
    serve__relay_token(token);
    snprintf(target, sizeof(target), "http://127.0.0.1:%d", e.port);
    snprintf(path, sizeof(path), "/tmp/check-relay.%d", (int)getpid());
    snprintf(at, sizeof(at), "unix:%s", path);
    struct serve__relay_thread *far = relay("tcp:127.0.0.1", target, token, true);
    struct serve__relay_thread *near = relay(at, serve__relay_where(far), token, false);
    snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    ck_assert_int_eq(uv_thread_create(&writer, write_big, &fd), 0);
    size_t got = 0, wrong = 0;
    char buf[8192];
    for (ssize_t n; (n = read(fd, buf, sizeof(buf))) > 0; got += (size_t)n)
        for (ssize_t i = 0; i < n; i++)
            wrong += buf[i] != (char)((got + (size_t)i) * 31 >> 3);
    ck_assert_uint_eq(wrong, 0); /* one check: each is a message to the parent */
    ck_assert_uint_eq(got, BIG);
    uv_thread_join(&writer);
    close(fd);
    serve__relay_end(near);
    serve__relay_end(far);
    unlink(path);
    echo_end(&e);
    ck_assert_int_eq(e.taken, 1);
}
END_TEST

/* Who does not know the token reaches nobody. */
START_TEST(test_token)
{
    struct echo e;
    char token[SERVE_RELAY_TOKEN + 1], wrong[SERVE_RELAY_TOKEN + 1], target[64], c;
    echo_start(&e);
    serve__relay_token(token);
    strcpy(wrong, token);
    wrong[SERVE_RELAY_TOKEN - 1] ^= 1;
    snprintf(target, sizeof(target), "http://127.0.0.1:%d", e.port);
    struct serve__relay_thread *far = relay("tcp:127.0.0.1", target, token, true);
    int fd = connect_to(serve__relay_where(far));
    ck_assert_int_eq(send(fd, wrong, SERVE_RELAY_TOKEN, MSG_NOSIGNAL), SERVE_RELAY_TOKEN);
    ck_assert_int_le(read(fd, &c, 1), 0);
    close(fd);
    fd = connect_to(serve__relay_where(far));
    ck_assert_int_eq(send(fd, token, 10, MSG_NOSIGNAL), 10);
    shutdown(fd, SHUT_WR);
    ck_assert_int_le(read(fd, &c, 1), 0);
    close(fd);
    fd = connect_to(serve__relay_where(far));
    ck_assert_int_eq(send(fd, token, 10, MSG_NOSIGNAL), 10);
    ck_assert_int_eq(send(fd, token + 10, SERVE_RELAY_TOKEN - 10, MSG_NOSIGNAL),
                     SERVE_RELAY_TOKEN - 10);
    ck_assert_int_eq(send(fd, "x", 1, MSG_NOSIGNAL), 1);
    ck_assert_int_eq(read(fd, &c, 1), 1);
    ck_assert_int_eq(c, 'x');
    serve__relay_end(far); /* with a connection that lives */
    ck_assert_int_le(read(fd, &c, 1), 0);
    close(fd);
    echo_end(&e);
    ck_assert_int_eq(e.taken, 1);
}
END_TEST

START_TEST(test_bad)
{
    struct rwf_err err = RWF_ERR_INIT;
    char token[SERVE_RELAY_TOKEN + 1];
    serve__relay_token(token);
    const struct serve__relay_options o = {"tcp:192.0.2.1", "unix:/x", token, true};
    ck_assert_ptr_null(serve__relay_start(&o, &err));
    ck_assert_ptr_nonnull(strstr(err.text, "cannot listen at tcp:192.0.2.1"));
}
END_TEST

static const struct {
    const char *files, *text, *result;
} texts[] = {
    {"/w/run\n/w/recipe/\n", "{\"dir\":\"/w/recipe\"}", "{\"dir\":\"/w/recipe\"}"},
    {"/w\t/n/w\n", "{\"a\":\"/w\",\"b\":\"/wide\",\"c\":\"x /w/y:/w\"}",
     "{\"a\":\"/n/w\",\"b\":\"/wide\",\"c\":\"x /n/w/y:/n/w\"}"},
    {"/w\t/n/w\n/w/.raywf/cache/steps/k\t/n/k\n", "[\"/w/.raywf/cache/steps/k/model\"]",
     "[\"/n/k/model\"]"},
    {"", "[]", "[]"},
};

START_TEST(test_brought)
{
    setenv("RAYWF_FILES", texts[_i].files, 1);
    char *out = serve__brought(texts[_i].text, strlen(texts[_i].text));
    ck_assert_str_eq(out, texts[_i].result);
    free(out);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("serve_relay");
    TCase *t = tcase_create("relay");
    TCase *through = tcase_create("through"); /* also with TLS: t2057 */
    tcase_set_timeout(t, 30);
    tcase_set_timeout(through, 30);
    tcase_add_test(through, test_through);
    suite_add_tcase(s, through);
    tcase_add_test(t, test_token);
    tcase_add_test(t, test_bad);
    tcase_add_loop_test(t, test_brought, 0, RWF_COUNT(texts));
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
