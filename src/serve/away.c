/* SPDX-License-Identifier: Apache-2.0
 *
 * libcurl's multi interface on libuv: libcurl says which sockets and which time it waits
 * for, we tell it what came. It may not be called from within its callbacks, in which
 * ours run, so that what these ask for (calls, cancels, going on) waits for the timer
 * `work`, which also tells what has ended. Redirects go to the client as they are.
 */
#include "config.h"
#include "serve/away.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "http/text.h"
#include "wire/curl.h"

#define CONNECT_TIMEOUT 20000L /* ms: names, TCP and TLS */
#define HEADERS 256            /* of a reply; further ones are left out */

struct serve__away_call {
    struct serve__away *a;
    CURL *curl;
    struct curl_slist *headers;
    char why[CURL_ERROR_SIZE];
    bool added, cancelled, paused, held; /* held: libcurl keeps a piece back */
    bool bad, repeatable, bodiless;
    int sent; /* times that the request was begun */
    /* the reply */
    bool answered;
    int64_t length;
    char *names[HEADERS], *values[HEADERS];
    size_t count;
    void (*head)(void *ctx, const struct http_reply_head *head);
    void (*piece)(void *ctx, const void *data, size_t size);
    void (*done)(void *ctx, const struct rwf_err *err, bool sent);
    void *ctx;
    TAILQ_ENTRY(serve__away_call) link;
};
TAILQ_HEAD(calls, serve__away_call);

struct serve__away {
    uv_loop_t *loop;
    CURLM *multi;
    char *target;
    struct calls calls;
    uv_timer_t timer; /* libcurl's */
    uv_timer_t work;
    bool asked; /* something waits for `work` */
    int open;   /* handles */
};

/* A socket of libcurl's. */
struct waiter {
    struct serve__away *a;
    uv_poll_t poll;
    curl_socket_t fd;
};

/* --- the reply --- */

static void forget_headers(struct serve__away_call *call)
{
    for (size_t i = 0; i < call->count; i++) {
        free(call->names[i]);
        free(call->values[i]);
    }
    call->count = 0;
    call->length = -1;
}

static bool is_hop_by_hop(const char *name)
{
    static const char *const hop[] = {"connection", "keep-alive",        "te",
                                      "trailer",    "transfer-encoding", "upgrade"};
    for (size_t i = 0; i < RWF_COUNT(hop); i++)
        if (strcasecmp(name, hop[i]) == 0)
            return true;
    return strncasecmp(name, "proxy-", 6) == 0;
}

/* "Name: value", without its end. */
static void keep_header(struct serve__away_call *call, const char *line, size_t len)
{
    const char *colon = memchr(line, ':', len);
    if (colon == NULL || call->count == HEADERS)
        return;
    const char *value = colon + 1, *end = line + len;
    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    char *name = rwf_xstrndup(line, (size_t)(colon - line));
    char *text = rwf_xstrndup(value, (size_t)(end - value));
    if (strcasecmp(name, "content-length") == 0) {
        call->length = strtoll(text, NULL, 10);
    } else if (!is_hop_by_hop(name)) {
        call->names[call->count] = name;
        call->values[call->count++] = text;
        return;
    }
    free(name);
    free(text);
}

static void tell_head(struct serve__away_call *call)
{
    long status = 0;
    wire_curl.easy_getinfo(call->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status < 200)
        return; /* the answer proper follows */
    call->answered = true;
    bool empty = status == 204 || status == 304;
    struct http_reply_head head = {.status = (int)status,
                                   .length = empty ? 0 : call->length,
                                   .header_count = call->count,
                                   .names = (const char *const *)call->names,
                                   .values = (const char *const *)call->values};
    call->head(call->ctx, &head);
}

static size_t on_header(char *line, size_t size, size_t count, void *ctx)
{
    struct serve__away_call *call = ctx;
    size_t all = size * count, len = all;
    while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r'))
        len--;
    if (call->cancelled)
        return 0;
    if (call->answered)
        return all; /* trailers */
    if (len > 5 && strncasecmp(line, "HTTP/", 5) == 0)
        forget_headers(call);
    else if (len > 0)
        keep_header(call, line, len);
    else
        tell_head(call);
    return call->cancelled ? 0 : all;
}

static size_t on_body(char *data, size_t size, size_t count, void *ctx)
{
    struct serve__away_call *call = ctx;
    if (call->cancelled)
        return 0;
    if (call->paused) {
        call->held = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    call->piece(call->ctx, data, size * count);
    return call->cancelled ? 0 : size * count;
}

/* libcurl sends a request again, whatever it is, when a kept connection was closed: what
 * may not be done twice is not. */
static int on_send(void *ctx, char *ip, char *own, int port, int own_port)
{
    struct serve__away_call *call = ctx;
    (void)ip, (void)own, (void)port, (void)own_port;
    return call->sent++ > 0 && !call->repeatable ? CURL_PREREQFUNC_ABORT
                                                 : CURL_PREREQFUNC_OK;
}

/* --- the end of a call --- */

static void free_call(struct serve__away_call *call)
{
    struct serve__away *a = call->a;
    TAILQ_REMOVE(&a->calls, call, link);
    if (call->added)
        wire_curl.multi_remove_handle(a->multi, call->curl);
    wire_curl.easy_cleanup(call->curl);
    wire_curl.slist_free_all(call->headers);
    forget_headers(call);
    free(call);
}

static int failed(const struct serve__away_call *call, CURLcode code,
                  struct rwf_err *err)
{
    const char *target = call->a->target;
    const char *why =
        call->why[0] != '\0' ? call->why : wire_curl.easy_strerror(code);
    if (code == CURLE_PEER_FAILED_VERIFICATION)
        return rwf_fail(err, RWF_E_ENV,
                        "%s: its certificate is refused: %s (SSL_CERT_FILE may name "
                        "a file of authorities)",
                        target, why);
    if (code == CURLE_SSL_CONNECT_ERROR)
        return rwf_fail(err, RWF_E_ENV, "%s: no TLS is agreed on: %s", target, why);
    if (code == CURLE_ABORTED_BY_CALLBACK)
        why = "the connection was closed before an answer came";
    return rwf_fail(err, code == CURLE_OPERATION_TIMEDOUT ? ETIMEDOUT : RWF_E_ENV,
                    "%s: %s", target, why);
}

static void end_call(struct serve__away_call *call, CURLcode code)
{
    struct rwf_err err = RWF_ERR_INIT;
    void (*done)(void *, const struct rwf_err *, bool) = call->done;
    void *ctx = call->ctx;
    bool sent = call->sent > 0, told = !call->cancelled;
    if (code != CURLE_OK)
        failed(call, code, &err);
    free_call(call);
    if (told)
        done(ctx, code != CURLE_OK ? &err : NULL, sent);
}

/* --- what may not be done in callbacks --- */

/* One at a time: each may start, cancel and end others. */
static bool tell_ended(struct serve__away *a)
{
    int left;
    CURLMsg *m;
    while ((m = wire_curl.multi_info_read(a->multi, &left)) != NULL) {
        char *call = NULL; /* what libcurl calls its private pointer */
        if (m->msg != CURLMSG_DONE)
            continue;
        CURLcode code = m->data.result;
        wire_curl.easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &call);
        end_call((struct serve__away_call *)(void *)call, code);
        return true;
    }
    return false;
}

static void start_call(struct serve__away_call *call)
{
    CURLMcode code = CURLM_OK;
    if (call->bad) {
        snprintf(call->why, sizeof(call->why), "not a method, a path and headers");
        end_call(call, CURLE_URL_MALFORMAT);
        return;
    }
    code = wire_curl.multi_add_handle(call->a->multi, call->curl);
    call->added = code == CURLM_OK;
    if (!call->added) {
        snprintf(call->why, sizeof(call->why), "%s", wire_curl.multi_strerror(code));
        end_call(call, CURLE_FAILED_INIT);
    }
}

static bool do_asked(struct serve__away *a)
{
    struct serve__away_call *call;
    TAILQ_FOREACH(call, &a->calls, link) {
        if (call->cancelled) {
            free_call(call);
            return true;
        }
        if (!call->added) {
            start_call(call);
            return true;
        }
        if (call->held && !call->paused) {
            call->held = false;
            wire_curl.easy_pause(call->curl, CURLPAUSE_CONT);
            return true;
        }
    }
    a->asked = false;
    return false;
}

static void on_work(uv_timer_t *timer)
{
    struct serve__away *a = timer->data;
    while (tell_ended(a) || (a->asked && do_asked(a)))
        continue;
}

static void want_work(struct serve__away *a)
{
    a->asked = true;
    uv_timer_start(&a->work, on_work, 0, 0);
}

/* --- libcurl on the loop --- */

static void act(struct serve__away *a, curl_socket_t fd, int what)
{
    int running;
    wire_curl.multi_socket_action(a->multi, fd, what, &running);
    on_work(&a->work);
}

static void on_socket(uv_poll_t *poll, int status, int events)
{
    struct waiter *w = poll->data;
    int what = (events & UV_READABLE ? CURL_CSELECT_IN : 0) |
               (events & UV_WRITABLE ? CURL_CSELECT_OUT : 0);
    act(w->a, w->fd, status < 0 ? CURL_CSELECT_ERR : what);
}

static void on_timer(uv_timer_t *timer)
{
    act(timer->data, CURL_SOCKET_TIMEOUT, 0);
}

static int set_timer(CURLM *multi, long ms, void *ctx)
{
    struct serve__away *a = ctx;
    (void)multi;
    if (ms < 0)
        uv_timer_stop(&a->timer);
    else
        uv_timer_start(&a->timer, on_timer, (uint64_t)ms, 0);
    return 0;
}

static void release(struct serve__away *a)
{
    if (--a->open > 0)
        return;
    free(a->target);
    free(a);
}

static void waiter_closed(uv_handle_t *poll)
{
    struct waiter *w = poll->data;
    release(w->a);
    free(w);
}

static struct waiter *new_waiter(struct serve__away *a, curl_socket_t fd)
{
    struct waiter *w = rwf_xcalloc(1, sizeof(*w));
    w->a = a;
    w->fd = fd;
    if (uv_poll_init_socket(a->loop, &w->poll, fd) != 0) {
        free(w);
        return NULL;
    }
    w->poll.data = w;
    a->open++;
    wire_curl.multi_assign(a->multi, fd, w);
    return w;
}

static int set_socket(CURL *curl, curl_socket_t fd, int what, void *ctx, void *own)
{
    struct serve__away *a = ctx;
    struct waiter *w = own;
    (void)curl;
    if (what == CURL_POLL_REMOVE) {
        if (w != NULL) {
            wire_curl.multi_assign(a->multi, fd, NULL);
            uv_close((uv_handle_t *)&w->poll, waiter_closed);
        }
        return 0;
    }
    if (w == NULL && (w = new_waiter(a, fd)) == NULL)
        return -1;
    int events =
        (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
    return uv_poll_start(&w->poll, events, on_socket) == 0 ? 0 : -1;
}

/* --- life --- */

struct serve__away *serve__away_create(uv_loop_t *loop, const char *target, int max_idle,
                                       struct rwf_err *err)
{
    if (wire_curl_open(err) != 0)
        return NULL;
    struct serve__away *a = rwf_xcalloc(1, sizeof(*a));
    a->loop = loop;
    a->target = rwf_xstrdup(target);
    a->multi = wire_curl.multi_init();
    rwf_assert(a->multi != NULL);
    TAILQ_INIT(&a->calls);
    wire_curl.multi_setopt(a->multi, CURLMOPT_SOCKETFUNCTION, set_socket);
    wire_curl.multi_setopt(a->multi, CURLMOPT_SOCKETDATA, a);
    wire_curl.multi_setopt(a->multi, CURLMOPT_TIMERFUNCTION, set_timer);
    wire_curl.multi_setopt(a->multi, CURLMOPT_TIMERDATA, a);
    wire_curl.multi_setopt(a->multi, CURLMOPT_MAXCONNECTS, (long)max_idle);
    uv_timer_init(loop, &a->timer);
    uv_timer_init(loop, &a->work);
    a->timer.data = a->work.data = a;
    a->open = 2;
    return a;
}

static void timer_closed(uv_handle_t *timer)
{
    release(timer->data);
}

void serve__away_destroy(struct serve__away *a)
{
    struct serve__away_call *call;
    if (a == NULL)
        return;
    while ((call = TAILQ_FIRST(&a->calls)) != NULL)
        free_call(call);
    wire_curl.multi_cleanup(a->multi);
    uv_close((uv_handle_t *)&a->timer, timer_closed);
    uv_close((uv_handle_t *)&a->work, timer_closed);
}

/* --- calls --- */

/* Else it would be another request than was meant. */
static bool is_request(const struct http_call_options *o)
{
    for (const char *at = o->path; *at != '\0'; at++)
        if ((unsigned char)*at <= 0x20 || (unsigned char)*at >= 0x7f || *at == '#')
            return false;
    for (size_t i = 0; i < o->header_count; i++)
        if (!http__is_token(o->names[i]) ||
            !http__is_value(o->values[i], strlen(o->values[i])))
            return false;
    return o->path[0] == '/' && http__is_token(o->method);
}

static bool has_header(const struct http_call_options *o, const char *name)
{
    for (size_t i = 0; i < o->header_count; i++)
        if (strcasecmp(o->names[i], name) == 0)
            return true;
    return false;
}

/* What libcurl makes itself; and what it would add on its own is taken away. */
static void set_headers(struct serve__away_call *call, const struct http_call_options *o)
{
    static const char *const ours[] = {"Host", "Content-Length", "Expect"};
    static const char *const added[] = {"Accept", "Content-Type"};
    for (size_t i = 0; i < o->header_count; i++) {
        bool skip = is_hop_by_hop(o->names[i]);
        for (size_t k = 0; k < RWF_COUNT(ours); k++)
            skip |= strcasecmp(o->names[i], ours[k]) == 0;
        if (skip)
            continue;
        /* "Name;" is libcurl's way to say that the value is empty */
        bool empty = o->values[i][0] == '\0';
        char *line = rwf_xasprintf(empty ? "%s;" : "%s: %s", o->names[i], o->values[i]);
        call->headers = wire_curl.slist_append(call->headers, line);
        free(line);
    }
    for (size_t i = 0; i < RWF_COUNT(added); i++)
        if (!has_header(o, added[i]))
            call->headers =
                wire_curl.slist_append(call->headers, i == 0 ? "Accept:" : "Content-Type:");
    call->headers = wire_curl.slist_append(call->headers, "Expect:");
    wire_curl.easy_setopt(call->curl, CURLOPT_HTTPHEADER, call->headers);
}

static void set_request(struct serve__away_call *call, const struct http_call_options *o)
{
    static const char *const repeatable[] = {"GET", "HEAD", "OPTIONS", "PUT", "DELETE"};
    static const char *const empty[] = {"GET", "HEAD", "OPTIONS", "DELETE"};
    CURL *c = call->curl;
    bool body = o->size > 0;
    for (size_t i = 0; i < RWF_COUNT(repeatable); i++)
        call->repeatable |= strcmp(o->method, repeatable[i]) == 0;
    bool says_length = true;
    for (size_t i = 0; i < RWF_COUNT(empty); i++)
        says_length &= strcmp(o->method, empty[i]) != 0;
    call->bodiless = strcmp(o->method, "HEAD") == 0;
    if (body || says_length) {
        wire_curl.easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)o->size);
        wire_curl.easy_setopt(c, CURLOPT_COPYPOSTFIELDS, body ? o->body : "");
    }
    if (call->bodiless)
        wire_curl.easy_setopt(c, CURLOPT_NOBODY, 1L);
    wire_curl.easy_setopt(c, CURLOPT_CUSTOMREQUEST, o->method);
    char *url = rwf_xasprintf("%s%s", call->a->target, o->path);
    wire_curl.easy_setopt(c, CURLOPT_URL, url);
    free(url);
    if (o->timeout > 0)
        wire_curl.easy_setopt(c, CURLOPT_TIMEOUT_MS,
                              (long)((o->timeout + RWF_NS_PER_MS - 1) / RWF_NS_PER_MS));
}

static void set_rest(struct serve__away_call *call)
{
    CURL *c = call->curl;
    wire_curl_trust(c);
    wire_curl.easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    /* one request a connection: one that is paused holds up no other */
    wire_curl.easy_setopt(c, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    wire_curl.easy_setopt(c, CURLOPT_PATH_AS_IS, 1L);
    wire_curl.easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    wire_curl.easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT);
    wire_curl.easy_setopt(c, CURLOPT_ERRORBUFFER, call->why);
    wire_curl.easy_setopt(c, CURLOPT_PRIVATE, call);
    wire_curl.easy_setopt(c, CURLOPT_PREREQFUNCTION, on_send);
    wire_curl.easy_setopt(c, CURLOPT_PREREQDATA, call);
    wire_curl.easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    wire_curl.easy_setopt(c, CURLOPT_HEADERDATA, call);
    wire_curl.easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    wire_curl.easy_setopt(c, CURLOPT_WRITEDATA, call);
}

struct serve__away_call *serve__away_call(struct serve__away *a,
                                          const struct http_call_options *o)
{
    struct serve__away_call *call = rwf_xcalloc(1, sizeof(*call));
    call->a = a;
    call->curl = wire_curl.easy_init();
    rwf_assert(call->curl != NULL);
    call->length = -1;
    call->head = o->head;
    call->piece = o->piece;
    call->done = o->done;
    call->ctx = o->ctx;
    call->bad = !is_request(o);
    set_request(call, o);
    set_headers(call, o);
    set_rest(call);
    TAILQ_INSERT_TAIL(&a->calls, call, link);
    want_work(a);
    return call;
}

void serve__away_cancel(struct serve__away_call *call)
{
    call->cancelled = true;
    want_work(call->a);
}

void serve__away_pause(struct serve__away_call *call, bool paused)
{
    call->paused = paused;
    if (call->held && !paused)
        want_work(call->a);
}
