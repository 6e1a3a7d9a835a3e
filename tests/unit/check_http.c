/* SPDX-License-Identifier: Apache-2.0
 *
 * Against a server of our own on loopback: a thread that answers each connection by a
 * rule for its path and keeps what it was asked.
 */
#include "config.h"
#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/digest.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "wire/http.h"

#define BODY_LEN 100000

static char body[BODY_LEN];
static char digest[RWF_DIGEST_LEN];

/* --- the server --- */

static struct server {
    int fd, port, hits;
    pthread_t thread;
    char request[8192]; /* the last one */
    char requests[65536]; /* all of them */
} server, second;

static void say(int fd, const char *text)
{
    rwf_fs_write_all(fd, text, strlen(text), NULL);
}

static long range_of(const char *request)
{
    const char *at = strcasestr(request, "\nRange: bytes=");
    return at != NULL ? strtol(at + 14, NULL, 10) : 0;
}

/* The body from `from`, cut after `len` bytes while the header promises all of it. */
static void send_body(int fd, long from, long len, const char *headers)
{
    char head[512];
    snprintf(head, sizeof(head),
             "HTTP/1.1 %s\r\nContent-Length: %ld\r\n%sConnection: close\r\n",
             from > 0 ? "206 Partial" : "200 OK", (long)BODY_LEN - from, headers);
    say(fd, head);
    if (from > 0) {
        snprintf(head, sizeof(head), "Content-Range: bytes %ld-%d/%d\r\n", from,
                 BODY_LEN - 1, BODY_LEN);
        say(fd, head);
    }
    say(fd, "\r\n");
    rwf_fs_write_all(fd, body + from, (size_t)(len < BODY_LEN - from ? len
                                                                    : BODY_LEN - from),
                     NULL);
}

static void redirect(int fd, const char *to)
{
    char head[600];
    snprintf(head, sizeof(head),
             "HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0"
             "\r\nConnection: close\r\n\r\n",
             to);
    say(fd, head);
}

static const char tag[] = "ETag: \"v1\"\r\n";

static void answer(struct server *s, int fd, const char *path, const char *request)
{
    char text[128];
    long from = range_of(request);
    bool same = strcasestr(request, "If-Range: \"v1\"") != NULL;
    int hit = ++s->hits;
    if (strcmp(path, "/good") == 0)
        send_body(fd, 0, BODY_LEN, "");
    else if (strcmp(path, "/ranges") == 0) /* three pieces */
        send_body(fd, same ? from : 0, 40000, tag);
    else if (strcmp(path, "/pieces") == 0) /* four pieces: more than there are tries */
        send_body(fd, same ? from : 0, 33000, tag);
    else if (strcmp(path, "/changed") == 0) /* cut, then another version of the file */
        send_body(fd, 0, hit == 1 ? 40000 : BODY_LEN,
                  hit == 1 ? "ETag: \"v0\"\r\n" : tag);
    else if (strcmp(path, "/no-tag") == 0) /* cut once, can do ranges, has no tag */
        send_body(fd, from, hit == 1 ? 40000 : BODY_LEN, "");
    else if (strcmp(path, "/cut") == 0) /* always cut at the same place */
        send_body(fd, 0, 100, "");
    else if (strcmp(path, "/busy") == 0 && hit <= 2)
        say(fd,
            "HTTP/1.1 503 Busy\r\nContent-Length: 5\r\nConnection: close\r\n\r\nlater");
    else if (strcmp(path, "/busy") == 0)
        send_body(fd, 0, BODY_LEN, "");
    else if (strcmp(path, "/chunked") == 0)
        say(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n"
                "\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n");
    else if (strcmp(path, "/empty") == 0)
        say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    else if (strcmp(path, "/secret") == 0)
        say(fd, "HTTP/1.1 401 No\r\nContent-Length: 9\r\nConnection: close\r\n\r\nno "
                "access");
    else if (strcmp(path, "/to-file") == 0)
        redirect(fd, "file:///etc/passwd");
    else if (strcmp(path, "/to-good") == 0)
        redirect(fd, "/good");
    else if (strcmp(path, "/circle") == 0)
        redirect(fd, "/circle");
    else if (strcmp(path, "/away") == 0) {
        snprintf(text, sizeof(text), "http://127.0.0.1:%d/good", second.port);
        redirect(fd, text);
    } else if (strcmp(path, "/garbage") == 0)
        say(fd, "this is no HTTP at all\r\n\r\n");
    else if (strcmp(path, "/hook") == 0)
        say(fd, "HTTP/1.1 204 Done\r\nConnection: close\r\n\r\n");
    else
        say(fd,
            "HTTP/1.1 404 Not Found\r\nContent-Length: 7\r\nConnection: close\r\n\r\n"
            "no file");
}

/* Reads the head and, for a POST, the body. */
static void read_request(struct server *s, int fd)
{
    size_t len = 0;
    for (;;) {
        ssize_t n = read(fd, s->request + len, sizeof(s->request) - 1 - len);
        if (n <= 0)
            break;
        len += (size_t)n;
        s->request[len] = '\0';
        const char *end = strstr(s->request, "\r\n\r\n");
        const char *size = strcasestr(s->request, "Content-Length: ");
        size_t rest = size != NULL ? strtoul(size + 16, NULL, 10) : 0;
        if (end != NULL && strlen(end + 4) >= rest)
            break;
    }
    size_t have = strlen(s->requests);
    ck_assert(have + len < sizeof(s->requests));
    memcpy(s->requests + have, s->request, len + 1);
}

static void *serve(void *arg)
{
    struct server *s = arg;
    for (;;) {
        char path[256] = "";
        int fd = accept(s->fd, NULL, NULL);
        if (fd < 0)
            return NULL;
        s->request[0] = '\0';
        read_request(s, fd);
        sscanf(s->request, "%*s %255s", path);
        answer(s, fd, path, s->request);
        shutdown(fd, SHUT_WR);
        close(fd);
    }
}

static void start(struct server *s)
{
    struct sockaddr_in a = { .sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(a);
    memset(s, 0, sizeof(*s));
    s->fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(s->fd, (struct sockaddr *)&a, len), 0);
    ck_assert_int_eq(listen(s->fd, 8), 0);
    ck_assert_int_eq(getsockname(s->fd, (struct sockaddr *)&a, &len), 0);
    s->port = ntohs(a.sin_port);
    ck_assert_int_eq(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void stop(struct server *s)
{
    shutdown(s->fd, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->fd);
}

/* --- the tests --- */

static char *dir, *path;

static void set_up(void)
{
    const char *base = getenv("TMPDIR");
    signal(SIGPIPE, SIG_IGN);
    unsetenv("http_proxy");
    for (size_t i = 0; i < BODY_LEN; i++)
        body[i] = (char)(i * 2654435761u >> 13);
    rwf_digest_bytes(body, BODY_LEN, digest);
    dir = rwf_xasprintf("%s/raywf-http-XXXXXX", base != NULL ? base : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    path = rwf_fs_join(dir, "file");
    start(&server);
    start(&second);
}

static void tear_down(void)
{
    stop(&server);
    stop(&second);
    rwf_fs_rmtree(dir, NULL);
    free(dir);
    free(path);
}

static int fetch(const char *what, const char *sha256, const char *const *headers,
                 struct rwf_err *err)
{
    char *url = rwf_xasprintf("http://127.0.0.1:%d%s", server.port, what);
    struct http_fetch f = { .url = url, .path = path, .sha256 = sha256,
                            .headers = headers };
    int r = http_fetch(&f, err);
    free(url);
    return r;
}

static bool is_there(const char *suffix)
{
    char *p = rwf_xasprintf("%s%s", path, suffix);
    bool there = rwf_fs_exists(p);
    free(p);
    return there;
}

static void expect_whole(void)
{
    char got[RWF_DIGEST_LEN];
    int64_t size;
    ck_assert_int_eq(rwf_digest_file(path, got, &size, NULL), 0);
    ck_assert_int_eq((int)size, BODY_LEN);
    ck_assert_str_eq(got, digest);
    ck_assert(!is_there(".part"));
    ck_assert(!is_there(".part.tag"));
}

static const struct {
    const char *what;
    bool sum; /* with the checksum */
    int hits;
} good[] = {
    { "/good", true, 1 },    { "/good", false, 1 },   { "/ranges", true, 3 },
    { "/pieces", true, 4 },
    { "/ranges", false, 3 }, { "/changed", true, 2 }, { "/changed", false, 2 },
    { "/no-tag", true, 2 },  { "/no-tag", false, 2 }, { "/busy", true, 3 },
    { "/to-good", true, 2 },
};

START_TEST(arrives_whole)
{
    struct rwf_err err = RWF_ERR_INIT;
    int r = fetch(good[_i].what, good[_i].sum ? digest : NULL, NULL, &err);
    ck_assert_msg(r == 0, "%s: %s", good[_i].what, err.text);
    expect_whole();
    ck_assert_int_eq(server.hits, good[_i].hits);
}
END_TEST

START_TEST(goes_on_where_another_process_stopped)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *part = rwf_fs_join(dir, "file.part"),
         *tagged = rwf_fs_join(dir, "file.part.tag");
    ck_assert_int_eq(rwf_fs_write(part, body, 60000, false, NULL), 0);
    ck_assert_int_eq(rwf_fs_write(tagged, "\"v1\"", 4, false, NULL), 0);
    ck_assert_msg(fetch("/ranges", digest, NULL, &err) == 0, "%s", err.text);
    expect_whole();
    ck_assert_int_eq(server.hits, 1);
    ck_assert_ptr_nonnull(strstr(server.requests, "Range: bytes=60000-"));
    free(part);
    free(tagged);
}
END_TEST

START_TEST(a_wrong_part_is_fetched_again)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *part = rwf_fs_join(dir, "file.part");
    ck_assert_int_eq(rwf_fs_write(part, "garbage", 7, false, NULL), 0);
    ck_assert_msg(fetch("/no-tag", digest, NULL, &err) == 0, "%s", err.text);
    expect_whole();
    free(part);
}
END_TEST

static const struct {
    const char *what, *sha256;
    int code;
    const char *says;
} bad[] = {
    { "/nosuch", NULL, RWF_E_INPUT, "answered 404: no file" },
    { "/secret", NULL, RWF_E_INPUT, "answered 401: it wants other headers: no access" },
    { "/good", "00000000000000000000000000000000000000000000000000000000000000ff",
      RWF_E_INPUT, "000000ff is expected" },
    { "/to-file", NULL, RWF_E_INPUT, "only http and https are followed" },
    { "/circle", NULL, RWF_E_INPUT, "more than 10 redirects" },
    { "/cut", NULL, RWF_E_ENV, "" },
    { "/garbage", NULL, RWF_E_ENV, "" },
};

START_TEST(what_is_wrong_is_said)
{
    struct rwf_err err = RWF_ERR_INIT;
    ck_assert_int_eq(fetch(bad[_i].what, bad[_i].sha256, NULL, &err), -1);
    ck_assert_msg(strstr(err.text, bad[_i].says) != NULL, "%s", err.text);
    ck_assert_msg(strstr(err.text, bad[_i].what) != NULL, "%s", err.text);
    ck_assert_msg(err.code == bad[_i].code, "%d: %s", err.code, err.text);
    ck_assert(!is_there(""));
}
END_TEST

START_TEST(both_checksums_are_named)
{
    struct rwf_err err = RWF_ERR_INIT;
    ck_assert_int_eq(fetch("/good", bad[2].sha256, NULL, &err), -1);
    ck_assert_ptr_nonnull(strstr(err.text, digest));
    ck_assert(!is_there(".part"));
}
END_TEST

START_TEST(small_and_empty)
{
    size_t len;
    ck_assert_int_eq(fetch("/chunked", NULL, NULL, NULL), 0);
    char *text = rwf_fs_read(path, 100, &len, NULL);
    ck_assert_str_eq(text, "abcdefg");
    free(text);
    ck_assert_int_eq(fetch("/empty", NULL, NULL, NULL), 0);
    text = rwf_fs_read(path, 100, &len, NULL);
    ck_assert_uint_eq(len, 0);
    free(text);
}
END_TEST

START_TEST(headers_go_to_their_host_only)
{
    static const char *const headers[] = { "X-Token: hush-hush", NULL };
    struct rwf_err err = RWF_ERR_INIT;
    ck_assert_int_eq(fetch("/to-good", digest, headers, &err), 0);
    const char *first = strstr(server.requests, "X-Token: hush-hush");
    ck_assert_ptr_nonnull(first);
    ck_assert_ptr_nonnull(strstr(first + 1, "X-Token: hush-hush"));
    ck_assert_int_eq(fetch("/away", digest, headers, &err), 0);
    ck_assert_int_eq(second.hits, 1);
    ck_assert_ptr_null(strstr(second.requests, "hush"));
    ck_assert_int_eq(fetch("/secret", digest, headers, &err), -1);
    ck_assert_ptr_null(strstr(err.text, "hush"));
}
END_TEST

static const char *const refused[] = { "file:///etc/passwd", "ftp://127.0.0.1/x", "",
                                       "httpx://127.0.0.1/", "/etc/passwd" };

START_TEST(only_http)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct http_fetch f = { .url = refused[_i], .path = path };
    ck_assert_int_eq(http_fetch(&f, &err), -1);
    ck_assert_int_eq(err.code, RWF_E_INPUT);
    ck_assert(!is_there(".part"));
}
END_TEST

START_TEST(nobody_listens)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct http_fetch f = { .url = "http://127.0.0.1:1/x", .path = path, .tries = 1 };
    ck_assert_int_eq(http_fetch(&f, &err), -1);
    ck_assert_msg(err.code == RWF_E_ENV, "%s", err.text);
}
END_TEST

static void on_progress(void *ctx, int64_t got, int64_t total)
{
    ck_assert_int_eq((int)total, BODY_LEN);
    ck_assert_int_ge((int)got, (int)*(int64_t *)ctx);
    *(int64_t *)ctx = got;
}

START_TEST(progress_ends_at_the_whole)
{
    int64_t last = 0;
    char *url = rwf_xasprintf("http://127.0.0.1:%d/ranges", server.port);
    struct http_fetch f = { .url = url, .path = path, .progress = on_progress,
                            .ctx = &last };
    ck_assert_int_eq(http_fetch(&f, NULL), 0);
    ck_assert_int_eq((int)last, BODY_LEN);
    free(url);
}
END_TEST

START_TEST(posts)
{
    static const char *const headers[] = { "X-Raywf-Signature: sha256=ab", NULL };
    struct rwf_err err = RWF_ERR_INIT;
    char *url = rwf_xasprintf("http://127.0.0.1:%d/hook", server.port);
    ck_assert_msg(http_post(url, "application/json", "{\"a\":1}", 7, headers,
                            5000000000, &err) == 0,
                  "%s", err.text);
    ck_assert(rwf_starts_with(server.request, "POST /hook HTTP/1.1\r\n"));
    ck_assert_ptr_nonnull(strstr(server.request, "Content-Type: application/json\r\n"));
    ck_assert_ptr_nonnull(strstr(server.request, "X-Raywf-Signature: sha256=ab\r\n"));
    ck_assert_ptr_nonnull(strstr(server.request, "\r\n\r\n{\"a\":1}"));
    free(url);
    url = rwf_xasprintf("http://127.0.0.1:%d/nosuch", server.port);
    ck_assert_int_eq(http_post(url, "text/plain", "x", 1, NULL, 0, &err), -1);
    ck_assert_ptr_nonnull(strstr(err.text, "404"));
    ck_assert_int_eq(server.hits, 2);
    free(url);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("http");
    TCase *t = tcase_create("http");
    tcase_set_timeout(t, 60);
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_loop_test(t, arrives_whole, 0, RWF_COUNT(good));
    tcase_add_test(t, goes_on_where_another_process_stopped);
    tcase_add_test(t, a_wrong_part_is_fetched_again);
    tcase_add_loop_test(t, what_is_wrong_is_said, 0, RWF_COUNT(bad));
    tcase_add_test(t, both_checksums_are_named);
    tcase_add_test(t, small_and_empty);
    tcase_add_test(t, headers_go_to_their_host_only);
    tcase_add_loop_test(t, only_http, 0, RWF_COUNT(refused));
    tcase_add_test(t, nobody_listens);
    tcase_add_test(t, progress_ends_at_the_whole);
    tcase_add_test(t, posts);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
