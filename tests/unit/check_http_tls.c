/* SPDX-License-Identifier: Apache-2.0
 *
 * The server over TLS, asked by libcurl in a thread of its own.
 */
#include "config.h"

#include <check.h>
#include <curl/curl.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/dl.h"
#include "base/fs.h"
#include "base/mem.h"
#include "http_rig.h"
#include "tls_pair.h"

static struct {
    CURL *(*init)(void);
    CURLcode (*setopt)(CURL *, CURLoption, ...);
    CURLcode (*perform)(CURL *);
    CURLcode (*info)(CURL *, CURLINFO, ...);
    void (*cleanup)(CURL *);
} curl;

static const char *const curl_names[] = {"libcurl.so.4", NULL};

static const struct rwf_dl_symbol curl_symbols[] = {
    {"curl_easy_init", &curl.init},       {"curl_easy_setopt", &curl.setopt},
    {"curl_easy_perform", &curl.perform}, {"curl_easy_getinfo", &curl.info},
    {"curl_easy_cleanup", &curl.cleanup},
};

/* --- a client in a thread --- */

struct ask {
    const char *url, *body, *ca;
    size_t size, stop_at; /* stop_at: it hangs up after so many bytes */
    struct rwf_str reply;
    CURLcode code;
    long status, connects;
    atomic_bool ended;
};

static size_t take(char *data, size_t one, size_t count, void *ctx)
{
    struct ask *a = ctx;
    rwf_str_addn(&a->reply, data, one * count);
    return a->stop_at && a->reply.len >= a->stop_at ? 0 : one * count;
}

static void *ask(void *ctx)
{
    struct ask *a = ctx;
    CURL *c = curl.init();
    curl.setopt(c, CURLOPT_CAINFO, a->ca);
    curl.setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl.setopt(c, CURLOPT_TIMEOUT, 20L);
    curl.setopt(c, CURLOPT_WRITEFUNCTION, take);
    curl.setopt(c, CURLOPT_WRITEDATA, a);
    if (a->body) {
        curl.setopt(c, CURLOPT_POSTFIELDS, a->body);
        curl.setopt(c, CURLOPT_POSTFIELDSIZE, (long)a->size);
    }
    curl.setopt(c, CURLOPT_URL, a->url);
    for (int i = 0; i < 2 && a->code == CURLE_OK; i++) { /* on one connection */
        a->reply.len = 0;
        a->code = curl.perform(c);
        curl.info(c, CURLINFO_RESPONSE_CODE, &a->status);
        long connects = 0;
        curl.info(c, CURLINFO_NUM_CONNECTS, &connects);
        a->connects += connects;
    }
    curl.cleanup(c);
    atomic_store(&a->ended, true);
    return NULL;
}

static bool has_ended(void *ctx)
{
    return atomic_load(&((struct ask *)ctx)->ended);
}

static char cert_path[64], key_path[64];

static void open_tls(struct rig *g, struct http_server_options o)
{
    struct rwf_err err = RWF_ERR_INIT;
    ck_assert_msg(!rwf_dl_open(curl_names, curl_symbols, RWF_COUNT(curl_symbols), &err),
                  "%s", err.text);
    snprintf(cert_path, sizeof(cert_path), "tls-%d.cert", (int)getpid());
    snprintf(key_path, sizeof(key_path), "tls-%d.key", (int)getpid());
    ck_assert_int_eq(rwf_fs_write(cert_path, tls_cert, strlen(tls_cert), false, NULL), 0);
    ck_assert_int_eq(rwf_fs_write(key_path, tls_key, strlen(tls_key), false, NULL), 0);
    o.tls_cert = cert_path;
    o.tls_key = key_path;
    rig_open(g, &o);
}

static void close_tls(struct rig *g)
{
    rig_close(g);
    unlink(cert_path);
    unlink(key_path);
}

/* Two requests for path; the second reply is in a->reply. */
static void run(struct rig *g, struct ask *a, const char *path)
{
    pthread_t thread;
    char *url = rwf_xasprintf("https://127.0.0.1:%d%s", g->port, path);
    a->url = url;
    a->ca = cert_path;
    pthread_create(&thread, NULL, ask, a);
    ck_assert(rig_until(g, has_ended, a));
    pthread_join(thread, NULL);
    free(url);
}

static void check_ask(struct rig *g, const char *path, const char *body, size_t size,
                      const char *want)
{
    struct ask a = {.body = body, .size = size};
    run(g, &a, path);
    ck_assert_msg(a.code == CURLE_OK && a.status == 200, "%s: %d %ld", path,
                  (int)a.code, a.status);
    ck_assert_msg(a.connects == 1, "%s: %ld connections", path, a.connects);
    ck_assert(!want || !strcmp(a.reply.data, want));
    ck_assert(want || a.reply.len == (size_t)atol(path + 5));
    rwf_str_free(&a.reply);
}

START_TEST(test_requests)
{
    struct rig g;
    size_t size = 300000;
    char *body = rwf_xcalloc(1, size + 1);
    memset(body, 'b', size);
    open_tls(&g, (struct http_server_options){0});
    ck_assert(rwf_starts_with(http_server_url(g.server), "https://127.0.0.1:"));
    check_ask(&g, "/where?x", NULL, 0, "/where|x");
    check_ask(&g, "/later/1", NULL, 0, "later");
    check_ask(&g, "/later/20", NULL, 0, "later");
    check_ask(&g, "/", body, size, body);
    check_ask(&g, "/big/3000000", NULL, 0, NULL);
    free(body);
    close_tls(&g);
}
END_TEST

START_TEST(test_leaves)
{
    struct rig g;
    struct ask a = {.stop_at = 3};
    pthread_t thread;
    open_tls(&g, (struct http_server_options){0});
    char *url = rwf_xasprintf("https://127.0.0.1:%d/stream", g.port);
    a.url = url;
    a.ca = cert_path;
    pthread_create(&thread, NULL, ask, &a);
    ck_assert(rig_until(&g, rig_is_streaming, &g));
    http_reply_write(g.stream, "abc", 3);
    ck_assert(rig_until(&g, rig_is_gone, &g));
    pthread_join(thread, NULL);
    ck_assert_int_eq(a.code, CURLE_WRITE_ERROR);
    http_reply_end(g.stream, false);
    rwf_str_free(&a.reply);
    free(url);
    close_tls(&g);
}
END_TEST

/* Not TLS, and a handshake that never ends. */
START_TEST(test_plain)
{
    struct rig g;
    bool closed;
    open_tls(&g, (struct http_server_options){.idle_timeout = 100 * RWF_NS_PER_MS});
    static const char plain[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    char *reply = rig_ask(&g, plain, strlen(plain), 0, &closed);
    ck_assert(closed && !strstr(reply, "HTTP"));
    free(reply);
    reply = rig_ask(&g, "\x16\x03\x01", 3, 0, &closed);
    ck_assert(closed && !strstr(reply, "HTTP"));
    free(reply);
    ck_assert_int_eq(g.told, 0);
    close_tls(&g);
}
END_TEST

static void refuses(struct rig *g, const char *cert, const char *key, int code,
                    const char *path, const char *why)
{
    struct rwf_err err = RWF_ERR_INIT;
    ck_assert_ptr_null(http_server_create(
        &g->loop, &(struct http_server_options){.tls_cert = cert, .tls_key = key},
        &err));
    ck_assert_int_eq(err.code, code);
    ck_assert_msg(strstr(err.text, path) && strstr(err.text, why), "%s", err.text);
}

START_TEST(test_bad_files)
{
    static const char damaged[] =
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    struct rig g;
    open_tls(&g, (struct http_server_options){0});
    refuses(&g, key_path, key_path, RWF_E_INPUT, key_path, "holds no CERTIFICATE");
    refuses(&g, cert_path, cert_path, RWF_E_INPUT, cert_path, "holds no PRIVATE KEY");
    ck_assert_int_eq(rwf_fs_write(key_path, damaged, strlen(damaged), false, NULL), 0);
    refuses(&g, cert_path, key_path, RWF_E_ENV, key_path, "do not belong together");
    close_tls(&g);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("http_tls");
    TCase *t = tcase_create("tls");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, test_requests);
    tcase_add_test(t, test_leaves);
    tcase_add_test(t, test_plain);
    tcase_add_test(t, test_bad_files);
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
