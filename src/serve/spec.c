/* SPDX-License-Identifier: Apache-2.0
 *
 * The complete JSON of an application -> struct serve_app. It may come from a file or
 * over a socket, so each key is looked at: the first that is missing or wrong is named
 * by its path. Nothing in the result can make its user fail: indexes are in range,
 * counts positive where they must be.
 */
#include "config.h"
#include "serve/spec_impl.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/digest.h"
#include "base/mem.h"
#include "base/str.h"
#include "serve/route.h"

/* --- reading keys --- */

static const json_t *get(struct spec_read *r, const json_t *map, const char *key)
{
    const json_t *value = json_object_get(map, key);

    if (value == NULL && !r->failed)
        spec_wrong(r, key, "is missing");
    return value;
}

int spec_wrong(struct spec_read *r, const char *key, const char *what)
{
    if (!r->failed)
        rwf_fail(r->err, RWF_E_RECIPE, "serve.%s: %s%s%s %s", r->app->name, r->where,
                 *r->where != '\0' ? "." : "", key, what);
    r->failed = true;
    return -1;
}

static const char *get_text(struct spec_read *r, const json_t *map, const char *key,
                            bool needed)
{
    const json_t *value = get(r, map, key);

    if (value == NULL || (!needed && json_is_null(value)))
        return NULL;
    if (!json_is_string(value)) {
        spec_wrong(r, key, "is not a text");
        return NULL;
    }
    if (strlen(json_string_value(value)) != json_string_length(value))
        spec_wrong(r, key, "has a NUL in it");
    return json_string_value(value);
}

static int64_t get_int(struct spec_read *r, const json_t *map, const char *key,
                       int64_t least, int64_t most)
{
    const json_t *value = get(r, map, key);
    char what[80];

    if (value == NULL)
        return least;
    if (!json_is_integer(value)) {
        spec_wrong(r, key, "is not a whole number");
        return least;
    }
    if (json_integer_value(value) >= least && json_integer_value(value) <= most)
        return json_integer_value(value);
    snprintf(what, sizeof(what), "is not between %lld and %lld", (long long)least,
             (long long)most);
    spec_wrong(r, key, what);
    return least;
}

static double get_number(struct spec_read *r, const json_t *map, const char *key,
                         double least, double most)
{
    const json_t *value = get(r, map, key);
    double number = json_number_value(value);
    char what[80];

    if (value == NULL)
        return least;
    if (json_is_number(value) && isfinite(number) && number >= least && number <= most)
        return number;
    snprintf(what, sizeof(what), "is not a number between %g and %g", least, most);
    spec_wrong(r, key, what);
    return least;
}

static int64_t get_duration(struct spec_read *r, const json_t *map, const char *key)
{
    return get_int(r, map, key, 0, INT64_MAX / 4);
}

static bool get_bool(struct spec_read *r, const json_t *map, const char *key)
{
    const json_t *value = get(r, map, key);

    if (value != NULL && !json_is_boolean(value))
        spec_wrong(r, key, "is not true or false");
    return json_is_true(value);
}

static const json_t *get_map(struct spec_read *r, const json_t *map, const char *key)
{
    const json_t *value = get(r, map, key);

    if (value != NULL && !json_is_object(value))
        spec_wrong(r, key, "is not a map");
    return value;
}

/* A list of texts; at least `least` of them. */
static const json_t *get_texts(struct spec_read *r, const json_t *map, const char *key,
                               size_t least)
{
    const json_t *value = get(r, map, key), *item;
    size_t i;

    if (value == NULL)
        return NULL;
    if (!json_is_array(value) || json_array_size(value) < least)
        spec_wrong(r, key, "is not a list of texts");
    json_array_foreach((json_t *)(uintptr_t)value, i, item)
        if (!json_is_string(item) ||
            strlen(json_string_value(item)) != json_string_length(item))
            spec_wrong(r, key, "is not a list of texts");
    return value;
}

/* --- a deployment --- */

static const struct {
    const char *name;
    enum serve_kind kind;
} kinds[] = {{"native", SERVE_NATIVE},
             {"model", SERVE_MODEL},
             {"program", SERVE_PROGRAM},
             {"url", SERVE_URL}};

const char *serve_kind_name(enum serve_kind kind)
{
    return kinds[kind].name;
}

static void read_native(struct spec_read *r, const json_t *j,
                        struct serve_deployment *d)
{
    d->plugin = get_text(r, j, "plugin", true);
    d->function = get_text(r, j, "function", false);
    d->class_ = get_text(r, j, "class", false);
    d->method = get_text(r, j, "method", false);
    d->stream = get_bool(r, j, "stream");
    d->args = json_is_null(get(r, j, "args")) ? NULL : json_object_get(j, "args");
    if ((d->function != NULL) == (d->class_ != NULL) ||
        (d->class_ != NULL) != (d->method != NULL))
        spec_wrong(r, "function", "or else class and method must be said");
}

static void read_kind(struct spec_read *r, const json_t *j, struct serve_deployment *d)
{
    const char *name = get_text(r, j, "kind", true);
    size_t i = 0;

    while (name != NULL && i < RWF_COUNT(kinds) && strcmp(kinds[i].name, name) != 0)
        i++;
    if (name == NULL || i == RWF_COUNT(kinds)) {
        spec_wrong(r, "kind", "is none of native, model, program, url");
        return;
    }
    d->kind = kinds[i].kind;
    if (d->kind == SERVE_NATIVE)
        read_native(r, j, d);
    else if (d->kind == SERVE_MODEL)
        d->model = get_text(r, j, "model", true);
    else if (d->kind == SERVE_PROGRAM)
        d->argv = get_texts(r, j, "argv", 1);
    else
        d->url = get_text(r, j, "url", true);
}

static void read_autoscaling(struct spec_read *r, const json_t *j,
                             struct serve_autoscaling *a)
{
    const json_t *how = get(r, j, "autoscaling");

    if (how == NULL || json_is_null(how))
        return;
    if (!json_is_object(how)) {
        spec_wrong(r, "autoscaling", "is not a map");
        return;
    }
    *a = (struct serve_autoscaling){
        .on = true,
        .min = (int)get_int(r, how, "min_replicas", 0, SERVE_REPLICAS_MAX),
        .max = (int)get_int(r, how, "max_replicas", 1, SERVE_REPLICAS_MAX),
        .initial = (int)get_int(r, how, "initial_replicas", -1, SERVE_REPLICAS_MAX),
        .target = get_number(r, how, "target_ongoing_requests", 1e-3, 1e6),
        .up_delay = get_duration(r, how, "upscale_delay"),
        .down_delay = get_duration(r, how, "downscale_delay"),
        .zero_delay = get_duration(r, how, "downscale_to_zero_delay"),
        .look_back = get_int(r, how, "look_back_period", 1, INT64_MAX / 4),
        .up_factor = get_number(r, how, "upscaling_factor", 1e-3, 1e3),
        .down_factor = get_number(r, how, "downscaling_factor", 1e-3, 1e3),
    };
    if (a->min > a->max)
        spec_wrong(r, "autoscaling.min_replicas", "is above max_replicas");
    if (a->initial > a->max || (a->initial >= 0 && a->initial < a->min))
        spec_wrong(r, "autoscaling.initial_replicas", "is outside of min and max");
}

static void read_feeding(struct spec_read *r, const json_t *j,
                         struct serve_deployment *d)
{
    const json_t *batching = get_map(r, j, "batching");
    const json_t *health = get_map(r, j, "health_check");

    d->replicas = (int)get_int(r, j, "replicas", 0, SERVE_REPLICAS_MAX);
    d->max_ongoing = (int)get_int(r, j, "max_ongoing_requests", 1, SPEC_ONGOING_MAX);
    d->max_queued = (int)get_int(r, j, "max_queued_requests", -1, INT32_MAX);
    d->timeout = get_duration(r, j, "timeout");
    d->idempotent = get_bool(r, j, "idempotent");
    d->retries = (int)get_int(r, j, "retries", 0, 100);
    d->affinity = get_text(r, j, "affinity", false);
    d->drain_timeout = get_duration(r, j, "graceful_shutdown_timeout");
    d->batching = (struct serve_batching){
        .max_batch_size =
            (int)get_int(r, batching, "max_batch_size", 1, SPEC_ONGOING_MAX),
        .wait = get_duration(r, batching, "batch_wait_timeout"),
        .latency = get_duration(r, batching, "latency_objective"),
    };
    if (d->stream && d->batching.max_batch_size > 1)
        spec_wrong(r, "batching", "and native.stream exclude each other");
    d->health = (struct serve_health){
        .path = get_text(r, health, "path", false),
        .period = get_int(r, health, "period", 1, INT64_MAX / 4),
        .timeout = get_int(r, health, "timeout", 1, INT64_MAX / 4),
        .start_grace = get_duration(r, health, "initial_delay"),
        .misses = (int)get_int(r, health, "misses", 1, 1000),
    };
    read_autoscaling(r, j, &d->autoscaling);
}

/* What replicas are made of. A new path of the same content is no other version. */
static void set_version(const json_t *j, struct serve_deployment *d)
{
    static const char *const keys[] = {"kind",   "plugin", "function", "class",
                                       "method", "args",   "stream",   "model",
                                       "argv",   "env",    "dir",      "url",
                                       "content_type", "resources"};
    json_t *made = json_object();

    for (size_t i = 0; i < RWF_COUNT(keys); i++)
        if (json_object_get(j, keys[i]) != NULL)
            json_object_set(made, keys[i], json_object_get(j, keys[i]));
    if (d->content != NULL) {
        json_object_set_new(made, "content", json_string(d->content));
        json_object_del(made, "plugin");
        json_object_del(made, "model");
        json_object_del(made, "dir");
    }
    rwf_digest_json(made, d->version);
    json_decref(made);
}

static int read_deployment(struct spec_read *r, const char *name, const json_t *j,
                           struct serve_deployment *d)
{
    const json_t *config;

    snprintf(r->where, sizeof(r->where), "deployments.%.100s", name);
    d->name = name;
    if (!json_is_object(j))
        return spec_wrong(r, "", "is not a map");
    read_kind(r, j, d);
    read_feeding(r, j, d);
    config = get(r, j, "user_config");
    d->user_config = json_is_null(config) ? NULL : config;
    d->env = get_map(r, j, "env");
    d->resources = get_map(r, j, "resources");
    d->dir = get_text(r, j, "dir", false);
    d->content_type = get_text(r, j, "content_type", false);
    d->content = get_text(r, j, "content", false);
    if (!r->failed)
        set_version(j, d);
    return r->failed ? -1 : 0;
}

static int read_deployments(struct spec_read *r, const json_t *all)
{
    size_t count = json_object_size(all);
    const char *name;
    json_t *value;

    if (all == NULL || count == 0 || count > SPEC_DEPLOYMENTS_MAX)
        return spec_wrong(r, "deployments", "are none, or too many");
    r->app->deployments = rwf_xcalloc(count, sizeof(*r->app->deployments));
    json_object_foreach((json_t *)(uintptr_t)all, name, value) {
        struct serve_deployment *d = &r->app->deployments[r->app->deployment_count++];
        if (read_deployment(r, name, value, d) < 0)
            return -1;
    }
    r->where[0] = '\0';
    return 0;
}

/* --- the application --- */

static void read_http(struct spec_read *r, const json_t *j)
{
    struct serve_http *h = &r->app->http;
    const json_t *tls = get(r, j, "tls");

    snprintf(r->where, sizeof(r->where), "http");
    h->host = get_text(r, j, "host", true);
    h->port = (int)get_int(r, j, "port", 0, 65535);
    if (tls != NULL && !json_is_null(tls)) {
        h->cert = get_text(r, tls, "cert", true);
        h->key = get_text(r, tls, "key", true);
    }
    h->cors = get_texts(r, j, "cors", 0);
    h->api_keys = get_texts(r, j, "api_keys", 0);
    h->access_log = get_bool(r, j, "access_log");
    h->max_body = get_int(r, j, "max_body", 0, INT64_MAX / 4);
    h->request_timeout = get_duration(r, j, "request_timeout");
    h->idle_timeout = get_duration(r, j, "idle_timeout");
    h->max_connections = (int)get_int(r, j, "max_connections", 1, 1000000);
    r->where[0] = '\0';
}

static void read_update(struct spec_read *r, const json_t *j)
{
    snprintf(r->where, sizeof(r->where), "update");
    r->app->canary = get_number(r, j, "canary", 0, 1);
    r->app->canary_hold = get_duration(r, j, "hold");
    r->app->max_error_rate = get_number(r, j, "max_error_rate", 0, 1);
    r->where[0] = '\0';
}

static int read_app(struct spec_read *r, const json_t *spec)
{
    const char *name = get_text(r, spec, "name", true), *wrong;

    if (name == NULL || *name == '\0')
        return spec_wrong(r, "name", "is empty");
    r->app->name = name;
    r->app->prefix = get_text(r, spec, "prefix", true);
    wrong = r->app->prefix != NULL ? serve_prefix_wrong(r->app->prefix) : NULL;
    if (wrong != NULL)
        return spec_wrong(r, "prefix", wrong);
    read_http(r, get_map(r, spec, "http"));
    read_update(r, get_map(r, spec, "update"));
    if (r->failed || read_deployments(r, get_map(r, spec, "deployments")) < 0)
        return -1;
    return spec_read_graph(r, get(r, spec, "graph"));
}

struct serve_app *serve_app_read(json_t *spec, struct rwf_err *err)
{
    struct spec_read r = {.app = rwf_xcalloc(1, sizeof(*r.app)), .err = err};

    r.app->name = "?";
    r.app->spec = json_incref(spec);
    if (!json_is_object(spec))
        spec_wrong(&r, "the application", "is not a map");
    else
        read_app(&r, spec);
    if (!r.failed)
        return r.app;
    serve_app_free(r.app);
    return NULL;
}

void serve_app_free(struct serve_app *a)
{
    if (a == NULL)
        return;
    for (int i = 0; i < a->node_count; i++)
        free(a->nodes[i].branches);
    free(a->nodes);
    free(a->deployments);
    json_decref(a->spec);
    free(a);
}

int serve_app_deployment(const struct serve_app *a, const char *name)
{
    for (int i = 0; i < a->deployment_count; i++)
        if (strcmp(a->deployments[i].name, name) == 0)
            return i;
    return -1;
}

char *serve_url(const char *host, int port, bool tls, const char *prefix)
{
    bool six = strchr(host, ':') != NULL && host[0] != '[';

    return rwf_xasprintf("%s://%s%s%s:%d%s", tls ? "https" : "http", six ? "[" : "",
                         host, six ? "]" : "", port, prefix);
}
