/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "serve/replica_http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "serve/away.h"

#define NEAR "http://127.0.0.1:"
#define HERE "localhost" /* the Host of who gave none */

/* One item that is out. */
struct exchange {
    struct serve__proxy *p;
    void *call; /* of its client; NULL: it has ended */
    struct serve_item *item; /* NULL: told, or dropped */
    bool streaming, is_head;
    int64_t length; /* of a body that a HEAD does not get */
    struct rwf_str body; /* of a whole reply */
    int status;
    char *content_type;
    char **names, **values; /* NULL-terminated */
    TAILQ_ENTRY(exchange) link;
};
TAILQ_HEAD(exchanges, exchange);

struct serve__proxy {
    struct http_client *client; /* of what is on this machine */
    struct serve__away *away;   /* or of what is not */
    char *base, *host, *content_type;
    struct exchanges exchanges;
    struct {
        void *call; /* NULL: none is out */
        int status, good;
        void (*done)(void *ctx, const char *wrong);
        void *ctx;
    } check;
};

/* --- its client --- */

static void *call_client(struct serve__proxy *p, const struct http_call_options *o)
{
    if (p->away != NULL)
        return serve__away_call(p->away, o);
    return http_client_call(p->client, o);
}

static void cancel_call(const struct serve__proxy *p, void *call)
{
    if (p->away != NULL)
        serve__away_cancel(call);
    else
        http_call_cancel(call);
}

/* --- one exchange --- */

static void free_texts(char **texts)
{
    for (size_t i = 0; texts != NULL && texts[i] != NULL; i++)
        free(texts[i]);
    free(texts);
}

static void free_exchange(struct exchange *x)
{
    TAILQ_REMOVE(&x->p->exchanges, x, link);
    rwf_str_free(&x->body);
    free(x->content_type);
    free_texts(x->names);
    free_texts(x->values);
    free(x);
}

/* What the front makes itself. */
static bool is_ours(const char *name)
{
    static const char *const ours[] = {
        "content-length", "content-type", "date",         "server",
        "connection",     "keep-alive",   "x-request-id", "transfer-encoding"};
    for (size_t i = 0; i < RWF_COUNT(ours); i++)
        if (strcasecmp(name, ours[i]) == 0)
            return true;
    return false;
}

static void keep_headers(struct exchange *x, const struct http_reply_head *h)
{
    size_t n = 0;
    x->names = rwf_xcalloc(h->header_count + 1, sizeof(*x->names));
    x->values = rwf_xcalloc(h->header_count + 1, sizeof(*x->values));
    for (size_t i = 0; i < h->header_count; i++) {
        if (strcasecmp(h->names[i], "content-type") == 0 && x->content_type == NULL)
            x->content_type = rwf_xstrdup(h->values[i]);
        if (is_ours(h->names[i]))
            continue;
        x->names[n] = rwf_xstrdup(h->names[i]);
        x->values[n++] = rwf_xstrdup(h->values[i]);
    }
}

static void answer(struct exchange *x, bool more)
{
    struct serve_item *item = x->item;
    struct serve_answer a = {
        .status = x->status,
        .content_type = x->content_type != NULL ? x->content_type : x->p->content_type,
        .data = x->body.data != NULL ? x->body.data : "",
        .size = x->body.len,
        .more = more,
        .head = x->is_head,
        .length = x->length,
        .names = (const char *const *)x->names,
        .values = (const char *const *)x->values};
    if (!more)
        x->item = NULL;
    item->answer(item->ctx, &a);
}

static void on_head(void *ctx, const struct http_reply_head *h)
{
    struct exchange *x = ctx;
    if (x->item == NULL)
        return;
    x->status = h->status;
    keep_headers(x, h);
    bool events = x->content_type != NULL &&
                  rwf_starts_with(x->content_type, "text/event-stream");
    x->length = h->length;
    x->streaming = !x->is_head &&
                   (events || h->length < 0 || h->length > SERVE__PROXY_WHOLE);
    if (x->streaming)
        answer(x, true);
}

static void on_piece(void *ctx, const void *data, size_t size)
{
    struct exchange *x = ctx;
    if (x->item == NULL)
        return;
    if (x->streaming)
        x->item->piece(x->item->ctx, data, size);
    else
        rwf_str_addn(&x->body, data, size);
}

static void on_done(void *ctx, const struct rwf_err *err, bool sent)
{
    struct exchange *x = ctx;
    struct serve_item *item = x->item;
    x->call = NULL;
    if (item != NULL && err != NULL) {
        x->item = NULL;
        item->lost(item->ctx, sent, err->text);
    } else if (item != NULL && x->streaming) {
        x->item = NULL;
        item->end(item->ctx);
    } else if (item != NULL) {
        answer(x, false);
    }
    free_exchange(x);
}

/* --- sending --- */

static size_t count_of(const char *const *list)
{
    size_t n = 0;
    while (list != NULL && list[n] != NULL)
        n++;
    return n;
}

/* The front has decoded it: what may not be in a path as it is, is written as %XX again. */
static void add_path(struct rwf_str *out, const char *path)
{
    static const char plain[] = "-._~!$&'()*+,;=:@/";
    for (; *path != '\0'; path++) {
        char c = *path;
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
            strchr(plain, c) != NULL)
            rwf_str_addc(out, c);
        else
            rwf_str_addf(out, "%%%02X", (unsigned char)c);
    }
}

static char *path_of(const struct serve__proxy *p, const struct serve_item *item)
{
    struct rwf_str out = {0};
    rwf_str_add(&out, p->base);
    add_path(&out, item->path);
    if (item->query != NULL && item->query[0] != '\0')
        rwf_str_addf(&out, "?%s", item->query);
    return rwf_str_take(&out);
}

void serve__proxy_send(struct serve__proxy *p, struct serve_item *item)
{
    struct exchange *x = rwf_xcalloc(1, sizeof(*x));
    size_t n = count_of(item->names);
    const char **names = rwf_xcalloc(n + 2, sizeof(*names));
    const char **values = rwf_xcalloc(n + 2, sizeof(*values));
    char *path = path_of(p, item);
    memcpy(names, item->names, n * sizeof(*names));
    memcpy(values, item->values, n * sizeof(*values));
    names[n] = "Host";
    values[n++] = p->host != NULL ? p->host : item->host != NULL ? item->host : HERE;
    if (item->trace != NULL) {
        names[n] = "X-Request-Id";
        values[n++] = item->trace;
    }
    x->p = p;
    x->item = item;
    x->is_head = strcmp(item->method, "HEAD") == 0;
    item->own = x;
    TAILQ_INSERT_TAIL(&p->exchanges, x, link);
    struct http_call_options o = {.method = item->method,
                                  .path = path,
                                  .names = names,
                                  .values = values,
                                  .header_count = n,
                                  .body = item->body,
                                  .size = item->size,
                                  .head = on_head,
                                  .piece = on_piece,
                                  .done = on_done,
                                  .ctx = x};
    x->call = call_client(p, &o);
    free(path);
    free(names);
    free(values);
}

void serve__proxy_drop(struct serve__proxy *p, struct serve_item *item)
{
    struct exchange *x = item->own;
    x->item = NULL;
    if (x->call == NULL)
        return; /* its end is being told: it goes by itself */
    cancel_call(p, x->call);
    free_exchange(x);
}

void serve__proxy_pause(struct serve__proxy *p, struct serve_item *item, bool paused)
{
    struct exchange *x = item->own;
    if (x->call != NULL && p->away != NULL)
        serve__away_pause(x->call, paused);
    else if (x->call != NULL)
        http_call_pause(x->call, paused);
}

/* --- checks --- */

static void check_head(void *ctx, const struct http_reply_head *h)
{
    ((struct serve__proxy *)ctx)->check.status = h->status;
}

static void check_piece(void *ctx, const void *data, size_t size)
{
    (void)ctx, (void)data, (void)size;
}

static void tell_check(struct serve__proxy *p, const char *wrong)
{
    void (*done)(void *, const char *) = p->check.done;
    p->check.call = NULL;
    p->check.done = NULL;
    if (done != NULL)
        done(p->check.ctx, wrong);
}

static void check_done(void *ctx, const struct rwf_err *err, bool sent)
{
    struct serve__proxy *p = ctx;
    char text[64];
    (void)sent;
    snprintf(text, sizeof(text), "it answers with status %d", p->check.status);
    if (err != NULL)
        tell_check(p, err->text);
    else
        tell_check(p, p->check.status < p->check.good ? NULL : text);
}

void serve__proxy_check(struct serve__proxy *p, const char *path, int good,
                        int64_t timeout, void (*done)(void *ctx, const char *wrong),
                        void *ctx)
{
    static const char *const names[] = {"Host", "User-Agent"};
    const char *values[] = {p->host != NULL ? p->host : HERE, "raywf"};
    char *full = rwf_xasprintf("%s%s", p->base, path);
    struct http_call_options o = {.method = "GET",
                                  .path = full,
                                  .names = names,
                                  .values = values,
                                  .header_count = 2,
                                  .timeout = timeout,
                                  .idle_timeout = timeout,
                                  .head = check_head,
                                  .piece = check_piece,
                                  .done = check_done,
                                  .ctx = p};
    p->check.status = 0;
    p->check.good = good;
    p->check.done = done;
    p->check.ctx = ctx;
    p->check.call = call_client(p, &o);
    free(full);
}

/* --- life --- */

struct serve__proxy *serve__proxy_create(uv_loop_t *loop, const char *target,
                                         const char *base, const char *host,
                                         const char *content_type, struct rwf_err *err)
{
    struct http_client_options o = {.target = target, .max_idle = 256};
    struct serve__proxy *p = rwf_xcalloc(1, sizeof(*p));
    if (rwf_starts_with(target, "unix:") || rwf_starts_with(target, NEAR))
        p->client = http_client_create(loop, &o, err);
    else
        p->away = serve__away_create(loop, target, o.max_idle, err);
    if (p->client == NULL && p->away == NULL) {
        free(p);
        return NULL;
    }
    p->base = rwf_xstrdup(base);
    p->host = host != NULL ? rwf_xstrdup(host) : NULL;
    p->content_type =
        rwf_xstrdup(content_type != NULL ? content_type : "application/json");
    TAILQ_INIT(&p->exchanges);
    return p;
}

/* One whose end is not just being told: that one goes by itself. */
static struct exchange *any_exchange(const struct serve__proxy *p)
{
    struct exchange *x;
    TAILQ_FOREACH(x, &p->exchanges, link)
    if (x->call != NULL)
        return x;
    return NULL;
}

void serve__proxy_lose(struct serve__proxy *p, const char *why)
{
    struct exchange *x;
    while (p != NULL && (x = any_exchange(p)) != NULL) {
        struct serve_item *item = x->item;
        cancel_call(p, x->call);
        free_exchange(x);
        if (item != NULL)
            item->lost(item->ctx, true, why);
    }
    if (p != NULL && p->check.call != NULL) {
        cancel_call(p, p->check.call);
        tell_check(p, why);
    }
}

void serve__proxy_destroy(struct serve__proxy *p)
{
    if (p == NULL)
        return;
    rwf_assert(TAILQ_EMPTY(&p->exchanges));
    http_client_destroy(p->client);
    serve__away_destroy(p->away);
    free(p->base);
    free(p->host);
    free(p->content_type);
    free(p);
}
