/* SPDX-License-Identifier: Apache-2.0
 *
 * Somebody else's server, at http[s]://HOST[:PORT][/BASE]. It is there as long as it
 * answers checks; there is nothing to start, to place or to stop. One that does not answer
 * is asked again, more and more seldom, for as long as it is wanted.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/str.h"
#include "serve/pool.h"
#include "serve/replica_http.h"

#define FIRST_TIMEOUT (5 * RWF_NS_PER_S) /* of one of the first checks */
#define AGAIN_FIRST (200 * RWF_NS_PER_MS)
#define AGAIN_MAX (10 * RWF_NS_PER_S) /* between two of them, or the period of checks */

struct serve_replica {
    struct serve_pool *pool;
    struct serve_replica_events e;
    struct serve__proxy *proxy;
    char *health; /* path of checks, or NULL */
    int64_t again, again_max; /* until the next of the first checks */
    bool stopping;
    uv_timer_t timer; /* its close is the last thing */
};

/* --- its start --- */

static void first_check(struct serve_replica *r);

static void on_again(uv_timer_t *timer)
{
    first_check(timer->data);
}

static void on_first(void *ctx, const char *wrong)
{
    struct serve_replica *r = ctx;
    if (r->stopping)
        return;
    if (wrong == NULL) {
        r->e.ready(r->e.ctx, r);
        return;
    }
    r->again = r->again == 0 ? AGAIN_FIRST : r->again * 2;
    r->again = r->again < r->again_max ? r->again : r->again_max;
    uv_timer_start(&r->timer, on_again, (uint64_t)(r->again / RWF_NS_PER_MS), 0);
    r->e.waits(r->e.ctx, r, wrong);
}

/* Without a path, any answer but a broken server's will do. */
static void check(struct serve_replica *r, int64_t timeout,
                  void (*done)(void *ctx, const char *wrong), void *ctx)
{
    serve__proxy_check(r->proxy, r->health != NULL ? r->health : "/",
                       r->health != NULL ? 400 : 500, timeout, done, ctx);
}

static void first_check(struct serve_replica *r)
{
    if (!r->stopping)
        check(r, FIRST_TIMEOUT, on_first, r);
}

/* What is wrong with HOST[:PORT], or NULL. */
static const char *look_at(const char *host, size_t len)
{
    const char *end = host + len, *name = host;
    if (memchr(host, '@', len) != NULL)
        return "a user or password cannot be part of it; clients send their own";
    if (host[0] == '[') {
        name = memchr(host, ']', len);
        if (name == NULL)
            return "the ] of its IPv6 address is missing";
    }
    const char *port = memchr(name, ':', (size_t)(end - name));
    if (host == (port != NULL ? port : end))
        return "it names no host";
    if (host[0] == '[' && name + 1 != (port != NULL ? port : end))
        return "after ] a port or a path is to follow";
    if (port == NULL)
        return NULL;
    char *rest;
    long n = strtol(port + 1, &rest, 10);
    return port[1] >= '0' && port[1] <= '9' && rest == end && n > 0 && n < 65536
               ? NULL
               : "its port is no number from 1 to 65535";
}

static bool is_name(const char *authority, const char *name)
{
    size_t len = strlen(name);
    return strncmp(authority, name, len) == 0 &&
           (authority[len] == ':' || authority[len] == '\0');
}

/* Plain HTTP on this machine has a fast client of its own. */
static char *target_of(bool tls, const char *authority)
{
    if (tls || (!is_name(authority, "localhost") && !is_name(authority, "127.0.0.1")))
        return rwf_xasprintf("%s://%s", tls ? "https" : "http", authority);
    const char *port = strchr(authority, ':');
    return rwf_xasprintf("http://127.0.0.1%s", port != NULL ? port : ":80");
}

/* Takes http[s]://HOST[:PORT][/BASE] apart. */
static int open_url(struct serve_replica *r, const char *url, const char *content_type,
                    struct rwf_err *err)
{
    bool tls = strncasecmp(url, "https://", 8) == 0;
    if (!tls && strncasecmp(url, "http://", 7) != 0)
        return rwf_fail(err, RWF_E_RECIPE,
                        "url %s: it is to begin with http:// or https://", url);
    const char *host = url + (tls ? 8 : 7);
    if (strpbrk(host, "?# ") != NULL)
        return rwf_fail(err, RWF_E_RECIPE,
                        "url %s: a query, a fragment or a space cannot be part of it: "
                        "each request's own path and query are added",
                        url);
    size_t len = strcspn(host, "/");
    const char *wrong = look_at(host, len);
    if (wrong != NULL)
        return rwf_fail(err, RWF_E_RECIPE, "url %s: %s", url, wrong);
    char *authority = rwf_xstrndup(host, len), *base = rwf_xstrdup(host + len);
    char *target = target_of(tls, authority);
    size_t end = strlen(base);
    if (end > 0 && base[end - 1] == '/')
        base[end - 1] = '\0';
    r->proxy = serve__proxy_create(r->pool->loop, target, base, authority, content_type,
                                   err);
    free(authority);
    free(base);
    free(target);
    return r->proxy != NULL ? 0 : -1;
}

static void free_replica(struct serve_replica *r)
{
    free(r->health);
    free(r);
}

static struct serve_replica *url_start(struct serve_pool *p,
                                       const struct serve_deployment *d, const char *id,
                                       const struct serve_replica_events *e,
                                       struct rwf_err *err)
{
    struct serve_replica *r = rwf_xcalloc(1, sizeof(*r));
    (void)id;
    r->pool = p;
    r->e = *e;
    r->health = d->health.path != NULL ? rwf_xstrdup(d->health.path) : NULL;
    r->again_max = d->health.period > AGAIN_FIRST && d->health.period < AGAIN_MAX
                       ? d->health.period
                       : AGAIN_MAX;
    r->timer.data = r;
    if (open_url(r, d->url, d->content_type, err) != 0) {
        free_replica(r);
        return NULL;
    }
    uv_timer_init(p->loop, &r->timer);
    first_check(r);
    return r;
}

/* --- work --- */

static void url_send(struct serve_replica *r, struct serve_item *const *items,
                     int count)
{
    for (int i = 0; i < count; i++)
        if (!r->stopping)
            serve__proxy_send(r->proxy, items[i]);
        else
            items[i]->lost(items[i]->ctx, false, "the server does not answer");
}

static void url_drop(struct serve_replica *r, struct serve_item *item)
{
    serve__proxy_drop(r->proxy, item);
}

static void url_pause(struct serve_replica *r, struct serve_item *item, bool paused)
{
    serve__proxy_pause(r->proxy, item, paused);
}

static void url_check(struct serve_replica *r, int64_t timeout,
                      void (*done)(void *ctx, const char *wrong), void *ctx)
{
    if (r->stopping)
        done(ctx, "the server does not answer");
    else
        check(r, timeout, done, ctx);
}

static void url_configure(struct serve_replica *r, const json_t *config,
                          void (*done)(void *ctx, const char *wrong), void *ctx)
{
    (void)r, (void)config;
    done(ctx, "a URL has no user_config");
}

/* --- its end --- */

static void on_closed(uv_handle_t *timer)
{
    struct serve_replica *r = timer->data;
    r->e.stopped(r->e.ctx, r);
    serve__proxy_destroy(r->proxy);
    free_replica(r);
}

static void url_stop(struct serve_replica *r, int64_t grace)
{
    (void)grace;
    if (r->stopping)
        return;
    r->stopping = true;
    serve__proxy_lose(r->proxy, "it is no longer asked");
    uv_close((uv_handle_t *)&r->timer, on_closed);
}

const struct serve_replica_ops serve_replica_url = {
    .name = "url",
    .start = url_start,
    .send = url_send,
    .drop = url_drop,
    .configure = url_configure,
    .check = url_check,
    .stop = url_stop,
    .pause = url_pause,
};
