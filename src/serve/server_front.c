/* SPDX-License-Identifier: Apache-2.0
 *
 * Fronts: who listens, and what belongs to nobody's application: /-/healthz, /-/routes
 * and /metrics. Applications that share host and port share a front, and have to agree
 * on how it listens; the only one there may change that: then another front takes over,
 * and the one before drains.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "serve/server_inside.h"

#define DRAIN (60 * RWF_NS_PER_S) /* of a front that another one replaces */

static const char *const open_paths[] = {"/-/healthz", NULL};

/* --- its own paths --- */

static void answer_health(struct serve__front *f, struct http_request *r)
{
    const struct serve__slot *slot;
    struct rwf_str ill = {0};
    TAILQ_FOREACH(slot, &f->server->slots, link)
    if (slot->at.front == f && !serve_application_is_healthy(slot->app))
        rwf_str_addf(&ill, "%s%s", ill.len > 0 ? ", " : "", slot->name);
    if (ill.len == 0)
        http_reply(r, 200, "text/plain", "success", 7);
    else
        http_reply_error(r, 503, NULL, 1, "not healthy: %s", ill.data);
    rwf_str_free(&ill);
}

static void add_route(void *ctx, const char *prefix, void *app)
{
    const struct serve__slot *slot = app;
    json_object_set_new(ctx, prefix[0] != '\0' ? prefix : "/", json_string(slot->name));
}

static void answer_routes(struct serve__front *f, struct http_request *r)
{
    json_t *routes = json_object();
    serve_routes_each(f->routes, add_route, routes);
    char *text = json_dumps(routes, JSON_COMPACT);
    http_reply(r, 200, "application/json", text, strlen(text));
    free(text);
    json_decref(routes);
}

struct rows {
    struct serve_metrics_row *items;
    size_t count, cap;
};

static void add_row(void *ctx, const struct serve_metrics_row *row)
{
    struct rows *rows = ctx;
    *RWF_PUSH(rows->items, rows->count, rows->cap) = *row;
}

static void add_front(struct rwf_str *to, const struct serve__front *f,
                      const char *name, const char *type, uint64_t value)
{
    rwf_str_addf(to, "# TYPE %s %s\n%s{front=\"%s:%d\"} %llu\n", name, type, name,
                 f->host, f->port, (unsigned long long)value);
}

static void answer_metrics(struct serve__front *f, struct http_request *r)
{
    struct rwf_str text = {0};
    struct rows rows = {0};
    struct http_server_stats s;
    const struct serve__slot *slot;
    TAILQ_FOREACH(slot, &f->server->slots, link)
    serve_application_rows(slot->app, add_row, &rows);
    serve_metrics_text(&text, rows.items, rows.count);
    http_server_stats(f->http, &s);
    add_front(&text, f, "raywf_serve_front_connections", "gauge", s.open);
    add_front(&text, f, "raywf_serve_front_connections_total", "counter",
              s.connections);
    add_front(&text, f, "raywf_serve_front_refused_total", "counter", s.refused);
    add_front(&text, f, "raywf_serve_front_ongoing_requests", "gauge", s.ongoing);
    add_front(&text, f, "raywf_serve_front_bad_requests_total", "counter", s.bad);
    add_front(&text, f, "raywf_serve_front_received_bytes_total", "counter",
              s.bytes_in);
    add_front(&text, f, "raywf_serve_front_sent_bytes_total", "counter", s.bytes_out);
    http_reply(r, 200, "text/plain; version=0.0.4; charset=utf-8", text.data, text.len);
    rwf_str_free(&text);
    free(rows.items);
}

static const struct {
    const char *path;
    void (*answer)(struct serve__front *f, struct http_request *r);
} own[] = {{"/-/healthz", answer_health},
           {"/-/routes", answer_routes},
           {"/metrics", answer_metrics}};

static bool answer_own(struct serve__front *f, struct http_request *r, const char *path)
{
    if (path[1] != '-' && path[1] != 'm')
        return false;
    for (size_t i = 0; i < RWF_COUNT(own); i++)
        if (strcmp(own[i].path, path) == 0) {
            http_set(r, NULL);
            own[i].answer(f, r);
            return true;
        }
    return false;
}

/* --- requests --- */

static void on_request(void *ctx, struct http_request *r)
{
    struct serve__front *f = ctx;
    const char *path = http_path(r), *rest;
    if (answer_own(f, r, path))
        return;
    struct serve__slot *slot = serve_routes_find(f->routes, path, &rest);
    http_set(r, NULL);
    if (slot != NULL)
        serve_application_request(slot->app, r, rest);
    else
        http_reply_error(
            r, 404, "not_found", 0,
            "no application is served at %.200s; /-/routes tells which are", path);
}

static void on_gone(void *ctx, struct http_request *r)
{
    (void)ctx;
    serve_application_gone(r);
}

/* --- life --- */

static char **texts_of(const json_t *list)
{
    size_t i;
    json_t *v;
    char **texts = rwf_xcalloc(json_array_size(list) + 1, sizeof(*texts));
    json_array_foreach((json_t *)(uintptr_t)list, i, v)
        texts[i] = rwf_xstrdup(json_is_string(v) ? json_string_value(v) : "");
    return texts;
}

static void free_texts(char **texts)
{
    for (size_t i = 0; texts != NULL && texts[i] != NULL; i++)
        free(texts[i]);
    free(texts);
}

static int listen_at(struct serve__front *f, const struct serve_http *h,
                     struct rwf_err *err)
{
    struct http_server_options o = {.host = f->host,
                                    .port = f->port,
                                    .tls_cert = h->cert,
                                    .tls_key = h->key,
                                    .api_keys = (const char *const *)f->keys,
                                    .open_paths = open_paths,
                                    .cors_origins = (const char *const *)f->origins,
                                    .max_body = (size_t)h->max_body,
                                    .max_connections = h->max_connections,
                                    .idle_timeout = h->idle_timeout,
                                    .access_log = f->access_log,
                                    .request = on_request,
                                    .gone = on_gone,
                                    .ctx = f};
    f->http = http_server_create(&f->server->loop, &o, err);
    return f->http != NULL ? 0 : -1;
}

static struct serve__front *
front_create(struct serve_server *s, const struct serve_app *app, struct rwf_err *err)
{
    const struct serve_http *h = &app->http;
    struct serve__front *f = rwf_xcalloc(1, sizeof(*f));
    f->server = s;
    f->routes = serve_routes_create();
    f->spec = json_incref(json_object_get(app->spec, "http"));
    f->host = rwf_xstrdup(h->host);
    f->port = h->port;
    f->keys = texts_of(h->api_keys);
    f->origins = texts_of(h->cors);
    if (h->access_log) {
        char *name = rwf_xasprintf("access-%d.log", h->port);
        f->access_log = rwf_fs_join(s->o.folder, name);
        free(name);
    }
    TAILQ_INSERT_TAIL(&s->fronts, f, link);
    if (listen_at(f, h, err) == 0)
        return f;
    serve__front_free(f);
    return NULL;
}

void serve__front_free(struct serve__front *f)
{
    TAILQ_REMOVE(&f->server->fronts, f, link);
    if (f->http != NULL)
        http_server_destroy(f->http);
    serve_routes_destroy(f->routes);
    json_decref(f->spec);
    free_texts(f->keys);
    free_texts(f->origins);
    free(f->access_log);
    free(f->host);
    free(f);
}

static void on_drained(void *ctx)
{
    struct serve__front *f = ctx;
    struct serve_server *s = f->server;
    f->drained = true; /* freed by a tick: we are in its own call */
    s->pool.wake(&s->pool, 0);
}

void serve__front_drain(struct serve__front *f, int64_t timeout)
{
    if (f->closed)
        return;
    f->closed = true;
    http_server_drain(f->http, timeout, on_drained, f);
}

/* Not as long as an application still has a request of it. */
void serve__fronts_tick(struct serve_server *s)
{
    struct serve__front *f, *after;
    for (f = TAILQ_FIRST(&s->fronts); f != NULL; f = after) {
        struct http_server_stats stats;
        after = TAILQ_NEXT(f, link);
        http_server_stats(f->http, &stats);
        if (f->drained && f->users == 0 && stats.ongoing == 0)
            serve__front_free(f);
    }
}

static struct serve__front *find(struct serve_server *s, const struct serve_http *h)
{
    struct serve__front *f;
    TAILQ_FOREACH(f, &s->fronts, link)
    if (!f->closed && f->port == h->port && strcmp(f->host, h->host) == 0)
        return f;
    return NULL;
}

static struct serve__slot *first_user(const struct serve__front *f)
{
    struct serve__slot *slot;
    TAILQ_FOREACH(slot, &f->server->slots, link)
    if (slot->at.front == f || slot->to.front == f)
        return slot;
    return NULL;
}

/* The application goes on where it was: its front is made anew. */
static void put_back(struct serve__slot *slot)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct serve__front *old = slot->at.front, *f = NULL;
    struct serve_app *app =
        slot->spec != NULL ? serve_app_read(slot->spec, &err) : NULL;
    if (app != NULL)
        f = front_create(slot->server, app, &err);
    serve_app_free(app);
    if (f == NULL || serve_routes_add(f->routes, slot->at.prefix, slot, &err) != 0) {
        rwf_log(RWF_LOG_ERROR, "serve", "serve.%s is served nowhere: %s", slot->name,
                err.text);
        return;
    }
    f->users = 1;
    serve_routes_remove(old->routes, slot->at.prefix);
    serve__front_put(old);
    slot->at.front = f;
}

/* The port is free for the next one at once; what this one has is answered. */
static struct serve__front *replace(struct serve__front *f, struct serve__slot *user,
                                    const struct serve_app *app, struct rwf_err *err)
{
    serve__front_drain(f, DRAIN);
    struct serve__front *next = front_create(f->server, app, err);
    if (next == NULL && user != NULL && user->at.front == f)
        put_back(user);
    return next;
}

struct serve__front *serve__front_get(struct serve_server *s,
                                      const struct serve_app *app, struct rwf_err *err)
{
    struct serve__front *f = find(s, &app->http);
    json_t *spec = json_object_get(app->spec, "http");
    if (f == NULL) {
        f = front_create(s, app, err);
    } else if (!json_equal(f->spec, spec)) {
        struct serve__slot *other = first_user(f);
        if (f->users > 1 || (other != NULL && strcmp(other->name, app->name) != 0)) {
            rwf_fail(err, RWF_E_RECIPE,
                     "serve.%s: shares %s:%d with serve.%s, but their `http` differs: "
                     "applications of one port agree on it",
                     app->name, f->host, f->port, other != NULL ? other->name : "?");
            return NULL;
        }
        f = replace(f, other, app, err);
    }
    if (f != NULL)
        f->users++;
    return f;
}

void serve__front_put(struct serve__front *f)
{
    if (--f->users == 0)
        serve__front_drain(f, DRAIN);
}
