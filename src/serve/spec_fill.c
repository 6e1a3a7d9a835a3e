/* SPDX-License-Identifier: Apache-2.0
 *
 * What a recipe says of an application -> its complete spec: every default is here, so
 * that a key, a state file and a server see what holds, not what was left out. A value
 * may be a text that stands for one that is not known yet; so nothing is judged here
 * but shapes.
 */
#include "config.h"
#include "serve/spec.h"

#include <errno.h>
#include <string.h>
#include "base/clock.h"
#include "base/json_text.h"
#include "base/mem.h"
#include "base/str.h"
#include "serve/route.h"

#define SECONDS(n) ((json_int_t)(n) * RWF_NS_PER_S)

/* --- small parts --- */

static const json_t *said(const json_t *body, const char *key)
{
    const json_t *value = json_object_get(body, key);
    return json_is_null(value) ? NULL : value;
}

/* out[key] = what is said, or the default, which is consumed. */
static void fill(json_t *out, const json_t *body, const char *key, json_t *fallback)
{
    json_t *value = json_object_get(body, key);

    if (value == NULL || json_is_null(value)) {
        json_object_set_new(out, key, fallback);
        return;
    }
    json_object_set(out, key, value);
    json_decref(fallback);
}

static int want_map(const json_t *value, const char *what, struct rwf_err *err)
{
    if (value == NULL || json_is_null(value) || json_is_object(value))
        return 0;
    return rwf_fail(err, RWF_E_RECIPE, "%s is not a map", what);
}

/* --- the front --- */

static json_t *fill_tls(const json_t *tls)
{
    json_t *out;

    if (!json_is_object(tls))
        return json_null();
    out = json_object();
    fill(out, tls, "cert", json_null());
    fill(out, tls, "key", json_null());
    return out;
}

static json_t *fill_http(const json_t *http, bool slow)
{
    json_t *out = json_object();

    fill(out, http, "host", json_string("127.0.0.1"));
    fill(out, http, "port", json_integer(8000));
    json_object_set_new(out, "tls", fill_tls(said(http, "tls")));
    fill(out, http, "cors", json_array());
    fill(out, http, "api_keys", json_array());
    fill(out, http, "access_log", json_true());
    fill(out, http, "max_body", json_integer(1 << 20));
    fill(out, http, "request_timeout", json_integer(SECONDS(slow ? 600 : 60)));
    fill(out, http, "idle_timeout", json_integer(SECONDS(90)));
    fill(out, http, "max_connections", json_integer(10000));
    return out;
}

/* --- how a deployment is fed and kept --- */

static json_t *fill_autoscaling(const json_t *body)
{
    const json_t *how = said(body, "autoscaling");
    json_t *out, *down;

    if (how == NULL)
        return json_null();
    out = json_object();
    fill(out, how, "min_replicas", json_integer(1));
    fill(out, how, "max_replicas", json_integer(1));
    fill(out, how, "initial_replicas", json_integer(-1));
    fill(out, how, "target_ongoing_requests", json_real(2));
    fill(out, how, "upscale_delay", json_integer(SECONDS(30)));
    fill(out, how, "downscale_delay", json_integer(SECONDS(600)));
    down = json_object_get(out, "downscale_delay");
    fill(out, how, "downscale_to_zero_delay", json_incref(down));
    fill(out, how, "look_back_period", json_integer(SECONDS(30)));
    fill(out, how, "upscaling_factor", json_real(1));
    fill(out, how, "downscaling_factor", json_real(1));
    return out;
}

/* A built-in model gains from each batch and loses nothing by it; others say so. */
static json_t *fill_batching(const json_t *body, const char *kind)
{
    const json_t *how = said(body, "batching");
    json_t *out = json_object();
    int most = how != NULL ? 16 : strcmp(kind, "model") == 0 ? 64 : 1;

    fill(out, how, "max_batch_size", json_integer(most));
    fill(out, how, "batch_wait_timeout", json_integer(0));
    fill(out, how, "latency_objective", json_integer(0));
    return out;
}

/* A server that is not ours is up or down; one that we start takes its time. */
static int initial_delay(const char *kind, bool openai)
{
    return openai ? 600 : strcmp(kind, "url") == 0 ? 5 : 60;
}

static json_t *fill_health(const json_t *body, const char *kind, bool openai)
{
    const json_t *how = said(body, "health_check");
    json_t *out = json_object();

    fill(out, how, "path", openai ? json_string("/health") : json_null());
    fill(out, how, "period", json_integer(SECONDS(10)));
    fill(out, how, "timeout", json_integer(SECONDS(30)));
    fill(out, how, "misses", json_integer(3));
    fill(out, how, "initial_delay", json_integer(SECONDS(initial_delay(kind, openai))));
    return out;
}

static void fill_feeding(json_t *out, const json_t *body, const char *kind, bool openai)
{
    bool ours = strcmp(kind, "native") == 0 || strcmp(kind, "model") == 0;
    bool streams = json_is_true(json_object_get(out, "stream"));

    fill(out, body, "replicas", json_integer(1));
    json_object_set_new(out, "autoscaling", fill_autoscaling(body));
    fill(out, body, "max_ongoing_requests",
         json_integer(streams ? 1 : ours || openai ? 256 : 5));
    fill(out, body, "max_queued_requests", json_integer(1000));
    fill(out, body, "timeout", json_integer(SECONDS(openai ? 600 : 30)));
    fill(out, body, "idempotent", json_false());
    fill(out, body, "retries", json_integer(2));
    fill(out, body, "affinity", json_null());
    json_object_set_new(out, "batching", fill_batching(body, kind));
    json_object_set_new(out, "health_check", fill_health(body, kind, openai));
    fill(out, body, "graceful_shutdown_timeout", json_integer(SECONDS(20)));
    fill(out, body, "user_config", json_null());
    fill(out, body, "resources", json_object());
    fill(out, body, "env", json_object());
    fill(out, body, "content_type", json_null());
    fill(out, body, "dir", json_null());
    fill(out, body, "content", json_null());
}

/* --- what its replicas are --- */

static void add_flag(json_t *argv, const char *key, json_t *value)
{
    char *flag = rwf_xasprintf("%s%s", json_is_false(value) ? "--no-" : "--", key);

    for (char *c = flag; *c != '\0'; c++)
        *c = *c == '_' ? '-' : *c;
    json_array_append_new(argv, json_string(flag));
    if (json_is_string(value)) {
        json_array_append(argv, value);
    } else if (!json_is_boolean(value)) {
        char *text = rwf_json_text(value);
        json_array_append_new(argv, json_string(text));
        free(text);
    }
    free(flag);
}

/* engine: {max_model_len: 8192, enforce_eager: true} -> --max-model-len 8192
 * --enforce-eager; of a list, a flag for each; null is as if it were not there. */
static void add_flags(json_t *argv, const json_t *engine)
{
    const char *key;
    json_t *value, *one;
    size_t i;

    json_object_foreach((json_t *)(uintptr_t)engine, key, value) {
        if (!json_is_array(value) && !json_is_null(value))
            add_flag(argv, key, value);
        json_array_foreach(value, i, one)
            add_flag(argv, key, one);
    }
}

static void fill_openai(json_t *out, const json_t *body)
{
    json_t *argv =
        json_pack("[s, s, O, s, s]", "raywf", "serve", json_object_get(body, "model"),
                  "--uds", "${replica.socket}");

    add_flags(argv, said(body, "engine"));
    json_object_set_new(out, "kind", json_string("program"));
    json_object_set_new(out, "argv", argv);
}

static int fill_native(json_t *out, const json_t *native, const char *name,
                       struct rwf_err *err)
{
    static const char *const keys[] = {"plugin", "function", "class", "method", "args"};

    if (!json_is_object(native))
        return rwf_fail(err, RWF_E_RECIPE, "deployment '%s': native is not a map",
                        name);
    json_object_set_new(out, "kind", json_string("native"));
    for (size_t i = 0; i < RWF_COUNT(keys); i++)
        fill(out, native, keys[i], json_null());
    fill(out, native, "stream", json_false());
    return 0;
}

static int fill_kind(json_t *out, const json_t *body, const char *name, bool openai,
                     struct rwf_err *err)
{
    const json_t *native = said(body, "native"), *run = said(body, "run");

    if (native != NULL)
        return fill_native(out, native, name, err);
    if (said(body, "model") != NULL && openai) {
        fill_openai(out, body);
    } else if (said(body, "model") != NULL) {
        json_object_set_new(out, "kind", json_string("model"));
        fill(out, body, "model", json_null());
    } else if (said(body, "command") != NULL) {
        json_object_set_new(out, "kind", json_string("program"));
        json_object_set(out, "argv", json_object_get(body, "command"));
    } else if (run != NULL) {
        json_object_set_new(out, "kind", json_string("program"));
        json_object_set_new(out, "argv", json_pack("[s, s, O]", "/bin/sh", "-c", run));
    } else if (said(body, "url") != NULL) {
        json_object_set_new(out, "kind", json_string("url"));
        fill(out, body, "url", json_null());
    } else {
        return rwf_fail(
            err, RWF_E_RECIPE,
            "deployment '%s' has none of model, native, command, run and url", name);
    }
    return 0;
}

static bool is_openai(const json_t *body)
{
    const char *api = json_string_value(json_object_get(body, "api"));
    return api != NULL && strcmp(api, "openai") == 0;
}

static json_t *fill_deployment(const char *name, const json_t *body,
                               struct rwf_err *err)
{
    static const char *const maps[] = {"autoscaling", "batching",  "health_check",
                                       "env",         "resources", "engine"};
    json_t *out = json_object();
    bool openai = is_openai(body);
    int rc = json_is_object(body)
                 ? 0
                 : rwf_fail(err, RWF_E_RECIPE, "deployment '%s' is not a map", name);

    for (size_t i = 0; rc == 0 && i < RWF_COUNT(maps); i++)
        rc = want_map(json_object_get(body, maps[i]), maps[i], err);
    if (rc == 0)
        rc = fill_kind(out, body, name, openai, err);
    if (rc < 0) {
        json_decref(out);
        return NULL;
    }
    fill_feeding(out, body, json_string_value(json_object_get(out, "kind")), openai);
    return out;
}

/* --- the application --- */

/* The application's environment beneath a deployment's own. */
static int lay_env(json_t *one, const json_t *env, struct rwf_err *err)
{
    json_t *own = json_object_get(one, "env"), *merged;

    if (want_map(env, "env", err) < 0)
        return -1;
    if (env == NULL || !json_is_object(own))
        return 0;
    merged = json_copy((json_t *)(uintptr_t)env);
    json_object_update(merged, own);
    return json_object_set_new(one, "env", merged);
}

static int fill_deployments(json_t *out, const json_t *body, struct rwf_err *err)
{
    const json_t *several = said(body, "deployments");
    json_t *all = json_object(), *one, *value;
    const char *key;

    json_object_set_new(out, "deployments", all);
    if (several == NULL) {
        one = fill_deployment("main", body, err);
        return one != NULL ? json_object_set_new(all, "main", one) : -1;
    }
    if (want_map(several, "deployments", err) < 0)
        return -1;
    json_object_foreach((json_t *)(uintptr_t)several, key, value) {
        one = fill_deployment(key, value, err);
        if (one == NULL)
            return -1;
        json_object_set_new(all, key, one);
        if (lay_env(one, said(body, "env"), err) < 0)
            return -1;
    }
    return 0;
}

/* Of one deployment the graph says itself. */
static void fill_graph(json_t *out, const json_t *body)
{
    const json_t *all = json_object_get(out, "deployments");
    const char *first =
        json_object_iter_key(json_object_iter((json_t *)(uintptr_t)all));

    fill(out, body, "graph",
         json_object_size(all) == 1 ? json_string(first) : json_null());
}

static json_t *fill_update(const json_t *how)
{
    json_t *out = json_object();

    fill(out, how, "canary", json_real(0));
    fill(out, how, "hold", json_integer(SECONDS(30)));
    fill(out, how, "max_error_rate", json_real(said(how, "canary") != NULL ? 0.05 : 1));
    return out;
}

static json_t *fill_prefix(const char *name, const json_t *body)
{
    const char *prefix = json_string_value(json_object_get(body, "route_prefix"));
    char *text =
        prefix != NULL ? serve_route_normal(prefix) : rwf_xasprintf("/%s", name);
    json_t *out = json_string(text);

    free(text);
    return out;
}

/* Whether an answer may take minutes: a language model writes it. */
static bool is_slow(const json_t *body)
{
    const char *key;
    json_t *value;

    json_object_foreach(json_object_get(body, "deployments"), key, value)
        if (is_openai(value))
            return true;
    return is_openai(body);
}

json_t *serve_spec_complete(const char *name, const json_t *body, struct rwf_err *err)
{
    json_t *out = json_object();

    json_object_set_new(out, "name", json_string(name));
    json_object_set_new(out, "prefix", fill_prefix(name, body));
    json_object_set_new(out, "http", fill_http(said(body, "http"), is_slow(body)));
    if (want_map(said(body, "http"), "http", err) < 0 ||
        want_map(said(body, "update"), "update", err) < 0 ||
        fill_deployments(out, body, err) < 0) {
        rwf_wrap(err, "serve.%s", name);
        json_decref(out);
        return NULL;
    }
    fill_graph(out, body);
    json_object_set_new(out, "update", fill_update(said(body, "update")));
    return out;
}
