/* SPDX-License-Identifier: Apache-2.0
 *
 * The whole server in a thread of this process, spoken to over its real sockets; its
 * replicas echo what they are asked, on its own loop.
 */
#include "config.h"

#include <arpa/inet.h>
#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "serve/class_program.h"
#include "serve/pool.h"
#include "serve/server.h"
#include "tls_pair.h"
#include "wire/frame.h"

/* --- replicas that echo --- */

#define ITEMS 4096

struct serve_replica {
    struct serve_replica_events e;
    uv_timer_t timer;
    char version[32];
    struct serve_item *items[ITEMS];
    int count;
    struct serve_item *streams; /* one at most: answered piece by piece */
    int pieces;
    bool up, bad, stopping, dying;
};

static void turn(uv_timer_t *timer);

static struct serve_replica *start(struct serve_pool *p,
                                   const struct serve_deployment *d, const char *id,
                                   const struct serve_replica_events *e,
                                   struct rwf_err *err)
{
    struct serve_replica *r = rwf_xcalloc(1, sizeof(*r));
    (void)id, (void)err;
    r->e = *e;
    snprintf(r->version, sizeof(r->version), "%s", d->model);
    r->bad = strcmp(d->model, "bad") == 0;
    uv_timer_init(p->loop, &r->timer);
    r->timer.data = r;
    uv_timer_start(&r->timer, turn, 1, 1);
    return r;
}

static void lose(struct serve_replica *r, const char *why)
{
    struct serve_item *streamed = r->streams;
    r->streams = NULL;
    if (streamed != NULL)
        streamed->lost(streamed->ctx, true, why);
    while (r->count > 0) {
        struct serve_item *item = r->items[--r->count];
        item->lost(item->ctx, true, why);
    }
}

static bool says(const struct serve_item *item, const char *word)
{
    return item->size == strlen(word) && memcmp(item->body, word, item->size) == 0;
}

/* Five pieces, one a turn; "cut": it dies after the third. */
static void stream(struct serve_replica *r)
{
    struct serve_item *item = r->streams;
    if (r->pieces == 3 && says(item, "cut")) {
        r->streams = NULL;
        r->dying = true;
        item->lost(item->ctx, true, "it was told to die");
    } else if (r->pieces < 5) {
        r->pieces++;
        item->piece(item->ctx, "piece ", 6);
    } else {
        r->streams = NULL;
        item->end(item->ctx);
    }
}

static void answer(struct serve_replica *r, struct serve_item *item)
{
    char text[256];
    if (says(item, "stream") || says(item, "cut")) {
        struct serve_answer a = {
            .status = 200, .content_type = "text/event-stream", .more = true};
        r->streams = item;
        r->pieces = 0;
        item->answer(item->ctx, &a);
        return;
    }
    int n = snprintf(text, sizeof(text), "%s %s %.*s", r->version, item->path,
                     (int)item->size, (const char *)item->body);
    struct serve_answer a = {
        .status = 200, .content_type = "text/plain", .data = text, .size = (size_t)n};
    r->dying |= says(item, "die");
    item->answer(item->ctx, &a);
}

static void turn(uv_timer_t *timer)
{
    struct serve_replica *r = timer->data;
    if (!r->up && !r->stopping) {
        r->up = true;
        if (r->bad)
            r->e.died(r->e.ctx, r, "it is a bad one");
        else
            r->e.ready(r->e.ctx, r);
    }
    if (r->streams != NULL && !r->stopping)
        stream(r);
    while (r->count > 0 && r->streams == NULL && !r->dying && !r->stopping)
        answer(r, r->items[--r->count]);
    if (r->dying && !r->stopping) {
        lose(r, "it was told to die");
        r->e.died(r->e.ctx, r, "it was told to die");
    }
}

static void send_items(struct serve_replica *r, struct serve_item *const *items,
                       int count)
{
    for (int i = 0; i < count; i++) {
        ck_assert_int_lt(r->count, ITEMS);
        r->items[r->count++] = items[i];
    }
}

static void drop(struct serve_replica *r, struct serve_item *item)
{
    if (r->streams == item)
        r->streams = NULL;
    for (int i = 0; i < r->count; i++)
        if (r->items[i] == item) {
            r->items[i] = r->items[--r->count];
            return;
        }
}

static void configure(struct serve_replica *r, const json_t *config,
                      void (*done)(void *ctx, const char *wrong), void *ctx)
{
    (void)r, (void)config;
    done(ctx, NULL);
}

static void check(struct serve_replica *r, int64_t timeout,
                  void (*done)(void *ctx, const char *wrong), void *ctx)
{
    (void)r, (void)timeout;
    done(ctx, NULL);
}

static void closed(uv_handle_t *timer)
{
    struct serve_replica *r = timer->data;
    r->e.stopped(r->e.ctx, r);
    free(r);
}

static void stop(struct serve_replica *r, int64_t grace)
{
    (void)grace;
    if (r->stopping)
        return;
    r->stopping = true;
    lose(r, "it was stopped");
    uv_close((uv_handle_t *)&r->timer, closed);
}

static const struct serve_replica_ops echo = {.name = "echo",
                                              .start = start,
                                              .send = send_items,
                                              .drop = drop,
                                              .configure = configure,
                                              .check = check,
                                              .stop = stop};
static const struct serve_replica_ops *const kinds[] = {&echo, &echo, &echo,
                                                        &serve_replica_url};

/* --- the server --- */

static char *folder, *control;
static int port;
static pthread_t thread;
static struct rwf_err server_err;
static int server_rc;

static void *run(void *arg)
{
    struct serve_server_options o = {
        .folder = folder, .control = control, .kinds = kinds};
    (void)arg;
    server_rc = serve_server_run(&o, &server_err);
    return NULL;
}

static void begin(void)
{
    pthread_create(&thread, NULL, run, NULL);
}

static void setup(void)
{
    char name[] = "/tmp/serve-server-XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(name));
    folder = rwf_xstrdup(name);
    control = rwf_fs_join(folder, "c");
    port = serve__probe_free_port();
    char *cert = rwf_fs_join(folder, "cert"); /* of test_https */
    setenv("SSL_CERT_FILE", cert, 1);
    setenv("no_proxy", "*", 1);
    free(cert);
    begin();
}

/* --- its control socket --- */

static int connect_control(void)
{
    struct rwf_err err = RWF_ERR_INIT;
    for (int i = 0; i < 60000; i++) {
        int fd = wire_unix_connect(control, &err);
        if (fd >= 0)
            return fd;
        usleep(5000);
    }
    ck_abort_msg("%s", err.text);
}

static char *read_line(int fd)
{
    struct rwf_str line = {0};
    char c;
    while (read(fd, &c, 1) == 1 && c != '\n')
        rwf_str_addc(&line, c);
    return rwf_str_take(&line);
}

/* The last line of the answer; the caller's. */
static json_t *tell(const char *text)
{
    int fd = connect_control();
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    ck_assert_int_eq(write(fd, "\n", 1), 1);
    for (;;) {
        char *line = read_line(fd);
        json_t *answer = json_loads(line, 0, NULL);
        ck_assert_msg(answer != NULL, "'%s' -> '%s'", text, line);
        free(line);
        if (json_object_get(answer, "ok") != NULL) {
            close(fd);
            return answer;
        }
        json_decref(answer);
    }
}

static void tell_well(const char *text)
{
    json_t *answer = tell(text);
    ck_assert_msg(json_is_true(json_object_get(answer, "ok")), "%s: %s", text,
                  json_string_value(json_object_get(answer, "error")));
    json_decref(answer);
}

static void tell_badly(const char *text, const char *why)
{
    json_t *answer = tell(text);
    const char *error = json_string_value(json_object_get(answer, "error"));
    ck_assert_msg(error != NULL && strstr(error, why) != NULL, "%s: %s", text, error);
    ck_assert_int_ne(json_integer_value(json_object_get(answer, "code")), 0);
    json_decref(answer);
}

/* The text of a deploy: body is of a recipe, with ' for " and 0 for the port. */
static char *deploy_text(const char *name, const char *body)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_error_t why;
    char *copy = rwf_xstrdup(body);
    for (char *p = copy; *p != '\0'; p++)
        *p = *p == '\'' ? '"' : *p;
    json_t *b = json_loads(copy, 0, &why);
    ck_assert_msg(b != NULL, "%s: %s", copy, why.text);
    json_t *http = json_object_get(b, "http");
    if (http == NULL)
        json_object_set_new(b, "http", http = json_object());
    if (json_object_get(http, "port") == NULL)
        json_object_set_new(http, "port", json_integer(port));
    json_t *spec = serve_spec_complete(name, b, &err);
    ck_assert_msg(spec != NULL, "%s", err.text);
    json_t *request = json_pack("{s:s, s:o}", "do", "deploy", "app", spec);
    char *text = json_dumps(request, JSON_COMPACT);
    json_decref(request);
    json_decref(b);
    free(copy);
    return text;
}

static void deploy(const char *name, const char *body)
{
    char *text = deploy_text(name, body);
    tell_well(text);
    free(text);
}

static void deploy_badly(const char *name, const char *body, const char *why)
{
    char *text = deploy_text(name, body);
    tell_badly(text, why);
    free(text);
}

static void down(void)
{
    tell_well("{\"do\":\"down\",\"timeout\":5000000000}");
    pthread_join(thread, NULL);
    ck_assert_msg(server_rc == 0, "%s", server_err.text);
}

static void teardown(void)
{
    struct rwf_err err = RWF_ERR_INIT;
    rwf_fs_rmtree(folder, &err);
    free(folder);
    free(control);
}

/* --- its front --- */

/* One request; the whole reply, head and body, the caller's. */
static char *ask(const char *path, const char *body)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                            .sin_port = htons((uint16_t)port)};
    struct rwf_str reply = {0};
    char data[4096];
    ssize_t n;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&a, sizeof(a)) != 0) {
        close(fd);
        return rwf_xstrdup("refused");
    }
    char *text = rwf_xasprintf("POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                               "Content-Length: %zu\r\n\r\n%s",
                               path, strlen(body), body);
    if (send(fd, text, strlen(text), MSG_NOSIGNAL) > 0)
        while ((n = recv(fd, data, sizeof(data), 0)) > 0)
            rwf_str_addn(&reply, data, (size_t)n);
    free(text);
    close(fd);
    return rwf_str_take(&reply);
}

static void expect(const char *path, const char *body, int status, const char *has)
{
    char *reply = ask(path, body);
    char head[32];
    snprintf(head, sizeof(head), "HTTP/1.1 %d ", status);
    ck_assert_msg(strncmp(reply, head, strlen(head)) == 0 && strstr(reply, has) != NULL,
                  "%s: %s", path, reply);
    free(reply);
}

/* Nobody answers at url: it is up without, and says why. */
static void deploy_away(const char *name, const char *url, const char *why)
{
    char *body = rwf_xasprintf(
        "{'url':'%s','health_check':{'initial_delay':300000000,'period':1000000000}}", url);
    char *path = rwf_xasprintf("/%s", name);
    deploy(name, body);
    expect(path, "x", 503, why);
    json_t *status = tell("{\"do\":\"status\"}");
    char *text = json_dumps(status, 0);
    ck_assert_msg(strstr(text, "\"waiting\"") != NULL && strstr(text, why) != NULL, "%s",
                  text);
    free(text);
    json_decref(status);
    free(path);
    free(body);
}

START_TEST(test_serves)
{
    deploy("one", "{'model':'m1','replicas':2}");
    deploy("two", "{'model':'m2','route_prefix':'/'}");
    expect("/one/a/b?q=1", "hello", 200, "m1 /a/b hello");
    expect("/one", "x", 200, "m1 / x");
    expect("/other", "y", 200, "m2 /other y");
    expect("/-/healthz", "", 200, "success");
    expect("/-/routes", "", 200, "{\"/\":\"two\",\"/one\":\"one\"}");
    expect("/metrics", "", 200,
           "raywf_serve_requests_total{application=\"one\",deployment=\"main\",status="
           "\"200\"} 2");
    expect("/metrics", "", 200,
           "raywf_serve_application_requests_total{application=\"one\",status=\"200\"} 2");
    tell_well("{\"do\":\"scale\",\"app\":\"one\",\"replicas\":3}");
    json_t *status = tell("{\"do\":\"status\"}");
    json_t *apps = json_object_get(json_object_get(status, "data"), "applications");
    ck_assert_uint_eq(json_array_size(apps), 2);
    json_decref(status);
    tell_well("{\"do\":\"remove\",\"app\":\"two\"}");
    expect("/other", "y", 404, "no application is served at /other");
    down();
}
END_TEST

START_TEST(test_bad_requests)
{
    deploy("one", "{'model':'m1'}");
    tell_badly("{", "a line is no JSON");
    tell_badly("{\"do\":\"dance\"}", "there is no request 'dance'");
    tell_badly("{\"do\":\"deploy\"}", "");
    tell_badly("{\"do\":\"remove\",\"app\":\"nobody\"}", "no application 'nobody'");
    tell_badly("{\"do\":\"scale\",\"app\":\"one\",\"replicas\":-2}",
               "must be a number");
    tell_badly("{\"do\":\"scale\",\"app\":\"one\",\"replicas\":10001}",
               "from 0 to 10000");
    tell_badly("{\"do\":\"scale\",\"app\":\"one\",\"replicas\":4294967298}",
               "from 0 to 10000");
    tell_badly("{\"do\":\"scale\",\"app\":\"one\",\"deployment\":\"x\",\"replicas\":1}",
               "no deployment 'x'");
    deploy_badly("two", "{'model':'m1','route_prefix':'/one'}", "serve.two");
    deploy_badly("two", "{'model':'m1','http':{'max_body':99}}",
                 "their `http` differs");
    deploy_badly("two", "{'model':'bad'}", "serve.two: it is a bad one");
    deploy_badly("one", "{'model':'bad'}", "the version before goes on");
    expect("/one", "x", 200, "m1");
    expect("/two", "x", 404, "");
    down();
}
END_TEST

/* How a front listens may change while it serves, and a change that cannot be is
 * undone. */
START_TEST(test_front_changes)
{
    deploy("one", "{'model':'m1'}");
    deploy("one", "{'model':'m1','http':{'max_body':16}}");
    expect("/one", "x", 200, "m1");
    expect("/one", "more than sixteen bytes", 413, "");
    deploy_badly("one",
                 "{'model':'m1','http':{'tls':{'cert':'/no/cert','key':'/no/key'}}}",
                 "/no/cert");
    expect("/one", "x", 200, "m1");
    expect("/one", "more than sixteen bytes", 413, "");
    deploy("one", "{'model':'m2','route_prefix':'/two','http':{'max_body':64}}");
    expect("/two", "more than sixteen bytes", 200, "m2");
    expect("/one", "x", 404, "");
    down();
}
END_TEST

START_TEST(test_port_in_use)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                            .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    listen(fd, 1);
    deploy_badly("one", "{'model':'m1'}", "in use");
    close(fd);
    deploy("one", "{'model':'m1'}");
    expect("/one", "x", 200, "m1");
    down();
}
END_TEST

/* The next server begins with what the last one had. */
START_TEST(test_restored)
{
    deploy("one", "{'model':'m1','replicas':1}");
    tell_well("{\"do\":\"scale\",\"app\":\"one\",\"replicas\":3}");
    char *path = rwf_fs_join(folder, "state.json"), *text = NULL;
    size_t len;
    for (int i = 0; i < 60000 && (text == NULL || strstr(text, "\"main\":3") == NULL);
         i++) {
        free(text);
        usleep(5000);
        text = rwf_fs_is_file(path) ? rwf_fs_read(path, 1 << 20, &len, NULL) : NULL;
    }
    ck_assert_ptr_nonnull(text);
    down();
    begin();
    for (int i = 0; i < 60000; i++) {
        char *reply = ask("/one", "x");
        bool up = strstr(reply, "m1 / x") != NULL;
        free(reply);
        if (up)
            break;
        usleep(5000);
    }
    expect("/one", "x", 200, "m1 / x");
    json_t *status = tell("{\"do\":\"status\"}");
    json_t *apps = json_object_get(json_object_get(status, "data"), "applications");
    json_t *d =
        json_array_get(json_object_get(json_array_get(apps, 0), "deployments"), 0);
    ck_assert_int_eq(json_integer_value(json_object_get(d, "wanted")), 3);
    json_decref(status);
    free(text);
    free(path);
    down();
}
END_TEST

START_TEST(test_events)
{
    int fd = connect_control();
    bool up = false, scaled = false;
    ck_assert_int_eq(write(fd, "{\"do\":\"events\"}\n", 16), 16);
    deploy("one", "{'model':'m1'}");
    tell_well("{\"do\":\"scale\",\"app\":\"one\",\"replicas\":2}");
    while (!up || !scaled) {
        char *line = read_line(fd);
        ck_assert_str_ne(line, "");
        up |= strstr(line, "\"serve.app\"") != NULL && strstr(line, "\"up\"") != NULL;
        scaled |=
            strstr(line, "\"serve.scaled\"") != NULL && strstr(line, "by hand") != NULL;
        free(line);
    }
    close(fd);
    down();
}
END_TEST

/* It is asked again until it answers. */
START_TEST(test_url_comes_back)
{
    char url[64];
    int other = serve__probe_free_port();
    snprintf(url, sizeof(url), "http://127.0.0.1:%d", other);
    deploy_away("far", url, "cannot connect");
    snprintf(url, sizeof(url), "{'model':'m1','http':{'port':%d},'route_prefix':'/'}",
             other);
    deploy("one", url);
    char *reply = NULL;
    do {
        free(reply);
        usleep(20000);
        reply = ask("/far", "x");
    } while (strncmp(reply, "HTTP/1.1 503", 12) == 0);
    ck_assert_msg(strstr(reply, "m1 / x") != NULL, "%s", reply);
    free(reply);
    down();
}
END_TEST

/* A server somewhere else, which is this very one: what goes over the wire comes back.
 */
START_TEST(test_url)
{
    char body[128];
    char *reply;
    deploy("one", "{'model':'m1'}");
    snprintf(body, sizeof(body), "{'url':'http://localhost:%d/one/'}", port);
    deploy("far", body);
    expect("/far/a/b?x=1", "hi", 200, "m1 /a/b hi");
    expect("/far", "x", 200, "m1 / x");
    expect("/far/a%20b%23%25%3F%C3%A9", "x", 200, "m1 /a b#%?\xc3\xa9 x");
    expect("/far", "stream", 200, "piece \r\n");
    reply = ask("/far", "stream");
    ck_assert_ptr_nonnull(strstr(reply, "\r\n0\r\n"));
    free(reply);
    reply = ask("/far", "cut"); /* its end is missing, and that can be seen */
    ck_assert_ptr_nonnull(strstr(reply, "piece "));
    ck_assert_ptr_null(strstr(reply, "\r\n0\r\n"));
    free(reply);
    tell_well("{\"do\":\"remove\",\"app\":\"one\"}");
    expect("/far", "x", 404, "no application is served");
    deploy_away("away", "http://127.0.0.1:1", "cannot connect");
    expect("/one", "x", 404, "no application is served");
    down();
}
END_TEST

/* The same over TLS, by name. */
START_TEST(test_https)
{
    char body[300], url[64];
    char *cert = rwf_fs_join(folder, "cert"), *key = rwf_fs_join(folder, "key");
    int other = serve__probe_free_port();
    ck_assert_int_eq(rwf_fs_write(cert, tls_cert, strlen(tls_cert), false, NULL), 0);
    ck_assert_int_eq(rwf_fs_write(key, tls_key, strlen(tls_key), false, NULL), 0);
    snprintf(body, sizeof(body),
             "{'model':'m1','http':{'port':%d,'tls':{'cert':'%s','key':'%s'}}}", other,
             cert, key);
    deploy("one", body);
    snprintf(url, sizeof(url), "https://localhost:%d", other);
    snprintf(body, sizeof(body), "{'url':'%s/one/'}", url);
    deploy("far", body);
    expect("/far/a/b?x=1", "hi", 200, "m1 /a/b hi");
    expect("/far/a%20b%23%25%3F%C3%A9", "x", 200, "m1 /a b#%?\xc3\xa9 x");
    expect("/far", "stream", 200, "piece \r\n");
    char *reply = ask("/far", "cut");
    ck_assert_ptr_nonnull(strstr(reply, "piece "));
    ck_assert_ptr_null(strstr(reply, "\r\n0\r\n"));
    free(reply);
    snprintf(url, sizeof(url), "https://127.0.0.1:%d", port);
    deploy_away("plain", url, "no TLS is agreed on");
    deploy_away("nowhere", "http://no.invalid", "no.invalid");
    expect("/far/a", "hi", 200, "m1 /a hi"); /* the rest serves */
    free(cert);
    free(key);
    down();
}
END_TEST

START_TEST(test_bad_urls)
{
    static const char *const cases[][2] = {
        {"ftp://h/x", "it is to begin with http:// or https://"},
        {"h:80", "it is to begin with http:// or https://"},
        {"http://", "it names no host"},
        {"https://:80/x", "it names no host"},
        {"https://u:p@h/x", "a user or password cannot be part of it"},
        {"https://h/x?y=1", "a query, a fragment or a space cannot be part of it"},
        {"https://h:", "its port is no number from 1 to 65535"},
        {"https://h:65536", "its port is no number from 1 to 65535"},
        {"https://h:80x/y", "its port is no number from 1 to 65535"},
        {"http://[::1", "the ] of its IPv6 address is missing"},
        {"http://[::1]80", "after ] a port or a path is to follow"},
    };
    for (size_t i = 0; i < RWF_COUNT(cases); i++) {
        char *body = rwf_xasprintf("{'url':'%s'}", cases[i][0]);
        deploy_badly("bad", body, cases[i][1]);
        free(body);
    }
    down();
}
END_TEST

/* --- under load --- */

static _Atomic bool loading;

struct load {
    pthread_t thread;
    int good, bad;
    char first_bad[300];
};

static void *load(void *arg)
{
    struct load *l = arg;
    while (atomic_load(&loading)) {
        char *reply = ask("/one", "x");
        bool good = strncmp(reply, "HTTP/1.1 200 ", 13) == 0;
        l->good += good;
        if (!good && l->bad++ == 0)
            snprintf(l->first_bad, sizeof(l->first_bad), "%s", reply);
        free(reply);
    }
    return NULL;
}

/* Updates, a roll-back, restarts of replicas, another front: no request is lost. */
START_TEST(test_load)
{
    struct load l[4] = {0};
    deploy("one", "{'model':'m1','replicas':2,'idempotent':true,'retries':5}");
    atomic_store(&loading, true);
    for (int i = 0; i < 4; i++)
        pthread_create(&l[i].thread, NULL, load, &l[i]);
    for (int i = 0; i < 3; i++) {
        usleep(50000);
        deploy("one", "{'model':'m2','replicas':2,'idempotent':true,'retries':5,"
                      "'update':{'canary':0.5,'hold':50000000}}");
        usleep(50000);
        deploy_badly("one", "{'model':'bad','idempotent':true,'retries':5}",
                     "the version before goes on");
        free(ask("/one", "die"));
        usleep(50000);
        deploy("one", "{'model':'m1','replicas':3,'idempotent':true,'retries':5}");
    }
    atomic_store(&loading, false);
    for (int i = 0; i < 4; i++) {
        pthread_join(l[i].thread, NULL);
        ck_assert_msg(l[i].bad == 0, "%d of %d: %s", l[i].bad, l[i].good,
                      l[i].first_bad);
        ck_assert_int_gt(l[i].good, 0);
    }
    down();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("serve_server");
    TCase *t = tcase_create("server");
    rwf_mem_init();
    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_serves);
    tcase_add_test(t, test_bad_requests);
    tcase_add_test(t, test_front_changes);
    tcase_add_test(t, test_port_in_use);
    tcase_add_test(t, test_restored);
    tcase_add_test(t, test_events);
    tcase_add_test(t, test_url);
    tcase_add_test(t, test_url_comes_back);
    tcase_add_test(t, test_https);
    tcase_add_test(t, test_bad_urls);
    tcase_add_test(t, test_load);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int bad = srunner_ntests_failed(r);
    srunner_free(r);
    return bad ? EXIT_FAILURE : EXIT_SUCCESS;
}
