/* SPDX-License-Identifier: Apache-2.0
 *
 * Applications: every default, what is read of them, versions, and what is refused and
 * how.
 */
#include "config.h"

#include <check.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"
#include "serve/spec.h"

#define S RWF_NS_PER_S

static json_t *complete(const char *name, const char *body)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *said = json_loads(body, 0, NULL);

    ck_assert_msg(said != NULL, "%s", body);
    json_t *spec = serve_spec_complete(name, said, &err);
    ck_assert_msg(spec != NULL, "%s", err.text);
    json_decref(said);
    return spec;
}

static struct serve_app *read_app(const char *name, const char *body)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *spec = complete(name, body);
    struct serve_app *a = serve_app_read(spec, &err);

    ck_assert_msg(a != NULL, "%s: %s", body, err.text);
    json_decref(spec);
    return a;
}

START_TEST(defaults)
{
    struct serve_app *a =
        read_app("api", "{\"native\":{\"plugin\":\"p.so\",\"function\":\"f\"}}");
    const struct serve_deployment *d = a->deployments;

    ck_assert_str_eq(a->name, "api");
    ck_assert_str_eq(a->prefix, "/api");
    ck_assert_str_eq(a->http.host, "127.0.0.1");
    ck_assert_int_eq(a->http.port, 8000);
    ck_assert_ptr_null(a->http.cert);
    ck_assert(a->http.access_log);
    ck_assert_int_eq(a->http.max_body, 1 << 20);
    ck_assert_int_eq(a->http.request_timeout, 60 * S);
    ck_assert_int_eq(a->http.idle_timeout, 90 * S);
    ck_assert_int_eq(a->http.max_connections, 10000);
    ck_assert_int_eq(a->deployment_count, 1);
    ck_assert_int_eq(a->node_count, 1);
    ck_assert_int_eq(a->nodes[0].kind, SERVE_CALL);
    ck_assert_double_eq(a->canary, 0);
    ck_assert_double_eq(a->max_error_rate, 1);
    ck_assert_int_eq(a->canary_hold, 30 * S);
    ck_assert_str_eq(d->name, "main");
    ck_assert_int_eq(d->kind, SERVE_NATIVE);
    ck_assert_str_eq(d->plugin, "p.so");
    ck_assert_str_eq(d->function, "f");
    ck_assert_ptr_null(d->class_);
    ck_assert_int_eq(d->replicas, 1);
    ck_assert_int_eq(d->max_ongoing, 256);
    ck_assert_int_eq(d->max_queued, 1000);
    ck_assert_int_eq(d->timeout, 30 * S);
    ck_assert(!d->idempotent);
    ck_assert_int_eq(d->retries, 2);
    ck_assert_ptr_null(d->affinity);
    ck_assert_int_eq(d->batching.max_batch_size, 1);
    ck_assert(!d->autoscaling.on);
    ck_assert_ptr_null(d->health.path);
    ck_assert_int_eq(d->health.period, 10 * S);
    ck_assert_int_eq(d->health.timeout, 30 * S);
    ck_assert_int_eq(d->health.start_grace, 60 * S);
    ck_assert_int_eq(d->health.misses, 3);
    ck_assert_int_eq(d->drain_timeout, 20 * S);
    ck_assert_ptr_null(d->user_config);
    serve_app_free(a);
}
END_TEST

START_TEST(kinds)
{
    struct serve_app *a = read_app("m", "{\"model\":\"/ckpt\",\"route_prefix\":\"/\"}");

    ck_assert_str_eq(a->prefix, "");
    ck_assert_int_eq(a->deployments[0].kind, SERVE_MODEL);
    ck_assert_str_eq(a->deployments[0].model, "/ckpt");
    ck_assert_int_eq(a->deployments[0].batching.max_batch_size, 64);
    serve_app_free(a);
    a = read_app("p", "{\"run\":\"exec x --port $PORT\",\"route_prefix\":\"/p/q/\"}");
    ck_assert_str_eq(a->prefix, "/p/q");
    ck_assert_int_eq(a->deployments[0].kind, SERVE_PROGRAM);
    ck_assert_int_eq(a->deployments[0].max_ongoing, 5);
    ck_assert_str_eq(json_string_value(json_array_get(a->deployments[0].argv, 2)),
                     "exec x --port $PORT");
    serve_app_free(a);
    a = read_app("u", "{\"url\":\"http://h:1/x\",\"batching\":null}");
    ck_assert_int_eq(a->deployments[0].kind, SERVE_URL);
    ck_assert_str_eq(a->deployments[0].url, "http://h:1/x");
    serve_app_free(a);
    ck_assert_str_eq(serve_kind_name(SERVE_PROGRAM), "program");
}
END_TEST

/* A language model is a program: this one. */
START_TEST(openai)
{
    struct serve_app *a = read_app(
        "llm",
        "{\"model\":\"/m\",\"api\":\"openai\",\"engine\":{\"max_model_len\":8192,"
        "\"enable_prefix_caching\":true,\"enable_chunked_prefill\":false,"
        "\"dtype\":\"bfloat16\",\"gpu_memory_utilization\":0.5,"
        "\"served_model_name\":[\"a\",\"b\"],\"seed\":null}}");
    static const char *const want[] = {"raywf",
                                       "serve",
                                       "/m",
                                       "--uds",
                                       "${replica.socket}",
                                       "--max-model-len",
                                       "8192",
                                       "--enable-prefix-caching",
                                       "--no-enable-chunked-prefill",
                                       "--dtype",
                                       "bfloat16",
                                       "--gpu-memory-utilization",
                                       "0.5",
                                       "--served-model-name",
                                       "a",
                                       "--served-model-name",
                                       "b"};
    const struct serve_deployment *d = a->deployments;

    ck_assert_int_eq(d->kind, SERVE_PROGRAM);
    ck_assert_uint_eq(json_array_size(d->argv), RWF_COUNT(want));
    for (size_t i = 0; i < RWF_COUNT(want); i++)
        ck_assert_str_eq(json_string_value(json_array_get(d->argv, i)), want[i]);
    ck_assert_str_eq(d->health.path, "/health");
    ck_assert_int_eq(d->timeout, 600 * S);
    ck_assert_int_eq(d->max_ongoing, 256);
    ck_assert_int_eq(a->http.request_timeout, 600 * S);
    serve_app_free(a);
}
END_TEST

START_TEST(everything)
{
    struct serve_app *a = read_app(
        "x",
        "{\"http\":{\"host\":\"::1\",\"port\":443,\"tls\":{\"cert\":\"c\",\"key\":"
        "\"k\"},"
        "\"cors\":[\"*\"],\"api_keys\":[\"s3\"],\"access_log\":false,\"max_body\":77,"
        "\"request_timeout\":1,\"idle_timeout\":2,\"max_connections\":3},"
        "\"update\":{\"canary\":0.1,\"hold\":5},"
        "\"deployments\":{\"a\":{\"native\":{\"plugin\":\"p\",\"class\":\"c\","
        "\"method\":\"m\","
        "\"args\":{\"x\":1}},\"replicas\":2,\"max_ongoing_requests\":7,"
        "\"max_queued_requests\":-1,\"timeout\":9,\"idempotent\":true,\"retries\":1,"
        "\"affinity\":\"X-S\",\"batching\":{\"batch_wait_timeout\":4,\"latency_"
        "objective\":8},"
        "\"health_check\":{\"path\":\"/h\",\"period\":1,\"timeout\":2,\"misses\":4,"
        "\"initial_delay\":5},\"graceful_shutdown_timeout\":6,\"user_config\":{\"t\":1}"
        ","
        "\"resources\":{\"cpu\":2},\"env\":{\"A\":\"b\"},\"content_type\":\"text/"
        "plain\","
        "\"autoscaling\":{\"min_replicas\":0,\"max_replicas\":4,\"downscale_delay\":11}"
        "},"
        "\"b\":{\"url\":\"http://b\"}},"
        "\"graph\":{\"sequence\":[\"a\",{\"split\":{\"weights\":{\"a\":1,\"b\":3},"
        "\"by\":\"X-U\"}}]}}");
    const struct serve_deployment *d = a->deployments;

    ck_assert_str_eq(a->http.cert, "c");
    ck_assert_uint_eq(json_array_size(a->http.api_keys), 1);
    ck_assert_int_eq(a->http.max_body, 77);
    ck_assert_double_eq(a->canary, 0.1);
    ck_assert_double_eq(a->max_error_rate, 0.05);
    ck_assert_int_eq(a->canary_hold, 5);
    ck_assert_str_eq(d->class_, "c");
    ck_assert_str_eq(d->method, "m");
    ck_assert_int_eq(json_integer_value(json_object_get(d->args, "x")), 1);
    ck_assert_int_eq(d->max_queued, -1);
    ck_assert_str_eq(d->affinity, "X-S");
    ck_assert_int_eq(d->batching.max_batch_size, 16);
    ck_assert_int_eq(d->batching.wait, 4);
    ck_assert_int_eq(d->batching.latency, 8);
    ck_assert(d->autoscaling.on);
    ck_assert_int_eq(d->autoscaling.min, 0);
    ck_assert_int_eq(d->autoscaling.initial, -1);
    ck_assert_int_eq(d->autoscaling.zero_delay, 11); /* as downscale_delay */
    ck_assert_str_eq(d->content_type, "text/plain");
    ck_assert_int_eq(serve_app_deployment(a, "b"), 1);
    ck_assert_int_eq(serve_app_deployment(a, "c"), -1);
    ck_assert_int_eq(a->node_count, 5);
    ck_assert_int_eq(a->nodes[0].kind, SERVE_SEQUENCE);
    const struct serve_node *split = &a->nodes[a->nodes[0].branches[1].node];
    ck_assert_int_eq(split->kind, SERVE_SPLIT);
    ck_assert_str_eq(split->header, "X-U");
    ck_assert_double_eq(split->branches[1].weight, 3);
    ck_assert_int_eq(a->nodes[split->branches[1].node].deployment, 1);
    serve_app_free(a);
}
END_TEST

/* --- versions --- */

static char *version(const char *body)
{
    struct serve_app *a = read_app("v", body);
    char *out = rwf_xstrdup(a->deployments[0].version);

    serve_app_free(a);
    return out;
}

#define NATIVE(more) "{\"native\":{\"plugin\":\"p.so\",\"function\":\"f\"}" more "}"

static const struct {
    const char *one, *other;
    bool same;
} versions[] = {
    {NATIVE(""), NATIVE(",\"replicas\":3,\"timeout\":5,\"max_ongoing_requests\":9"),
     true},
    {NATIVE(""), NATIVE(",\"user_config\":{\"t\":1},\"batching\":{}"), true},
    {NATIVE(""), NATIVE(",\"env\":{\"A\":\"1\"}"), false},
    {NATIVE(""), NATIVE(",\"resources\":{\"cpu\":2}"), false},
    {NATIVE(""), NATIVE(",\"content_type\":\"text/plain\""), false},
    {NATIVE(""), "{\"native\":{\"plugin\":\"p.so\",\"function\":\"g\"}}", false},
    {NATIVE(""), "{\"native\":{\"plugin\":\"q.so\",\"function\":\"f\"}}", false},
    {NATIVE(",\"content\":\"1\""), NATIVE(",\"content\":\"2\""), false},
    {NATIVE(",\"content\":\"1\""),
     "{\"native\":{\"plugin\":\"q.so\",\"function\":\"f\"},\"content\":\"1\"}", true},
    {"{\"model\":\"/a\",\"content\":\"1\"}", "{\"model\":\"/b\",\"content\":\"1\"}",
     true},
    {"{\"command\":[\"a\"]}", "{\"command\":[\"a\",\"b\"]}", false},
    {"{\"url\":\"http://a\"}", "{\"url\":\"http://b\"}", false},
};

START_TEST(versioned)
{
    char *one = version(versions[_i].one), *other = version(versions[_i].other);

    ck_assert_uint_eq(strlen(one), 64);
    ck_assert_msg((strcmp(one, other) == 0) == versions[_i].same, "%s and %s",
                  versions[_i].one, versions[_i].other);
    free(one);
    free(other);
}
END_TEST

/* --- what is refused --- */

#define URL "{\"url\":\"http://a\"}"
#define AB "\"deployments\":{\"a\":" URL ",\"b\":" URL "}"
#define GRAPH(text) "{" AB ",\"graph\":" text "}"

static const struct {
    const char *body, *error;
} wrong[] = {
    {"{\"native\":[]}", "serve.x: deployment 'main': native is not a map"},
    {"{}",
     "serve.x: deployment 'main' has none of model, native, command, run and url"},
    {"{\"deployments\":[]}", "serve.x: deployments is not a map"},
    {"{\"deployments\":{\"a\":1}}", "serve.x: deployment 'a' is not a map"},
    {"{\"url\":\"u\",\"http\":1}", "serve.x: http is not a map"},
    {"{\"url\":\"u\",\"batching\":[]}", "serve.x: batching is not a map"},
    {"{\"deployments\":{}}", "serve.x: deployments are none, or too many"},
    {"{" AB "}", "serve.x: graph is needed with several deployments"},
    {"{\"url\":\"u\",\"replicas\":-1}",
     "serve.x: deployments.main.replicas is not between 0 and 10000"},
    {"{\"url\":\"u\",\"replicas\":\"2\"}",
     "serve.x: deployments.main.replicas is not a whole number"},
    {"{\"url\":\"u\",\"max_ongoing_requests\":0}",
     "serve.x: deployments.main.max_ongoing_requests is not between 1 and 1000000"},
    {"{\"url\":\"u\",\"idempotent\":1}",
     "serve.x: deployments.main.idempotent is not true or false"},
    {"{\"url\":3}", "serve.x: deployments.main.url is not a text"},
    {"{\"command\":[]}", "serve.x: deployments.main.argv is not a list of texts"},
    {"{\"command\":[1]}", "serve.x: deployments.main.argv is not a list of texts"},
    {"{\"command\":\"ls\"}", "serve.x: deployments.main.argv is not a list of texts"},
    {"{\"native\":{\"function\":\"f\"}}",
     "serve.x: deployments.main.plugin is not a text"},
    {"{\"native\":{\"plugin\":\"p\"}}",
     "serve.x: deployments.main.function or else class and method must be said"},
    {"{\"native\":{\"plugin\":\"p\",\"class\":\"c\"}}",
     "serve.x: deployments.main.function or else class and method must be said"},
    {"{\"native\":{\"plugin\":\"p\",\"class\":\"c\",\"method\":\"m\",\"function\":"
     "\"f\"}}",
     "serve.x: deployments.main.function or else class and method must be said"},
    {"{\"url\":\"u\",\"autoscaling\":{\"min_replicas\":3,\"max_replicas\":2}}",
     "serve.x: deployments.main.autoscaling.min_replicas is above max_replicas"},
    {"{\"url\":\"u\",\"autoscaling\":{\"initial_replicas\":2}}",
     "serve.x: deployments.main.autoscaling.initial_replicas is outside of min and "
     "max"},
    {"{\"url\":\"u\",\"autoscaling\":{\"target_ongoing_requests\":0}}",
     "serve.x: deployments.main.target_ongoing_requests is not a number between 0.001 "
     "and "
     "1e+06"},
    {"{\"url\":\"u\",\"http\":{\"port\":65536}}",
     "serve.x: http.port is not between 0 and 65535"},
    {"{\"url\":\"u\",\"http\":{\"cors\":\"*\"}}",
     "serve.x: http.cors is not a list of texts"},
    {"{\"url\":\"u\",\"route_prefix\":\"x\"}",
     "serve.x: prefix does not begin with '/'"},
    {"{\"url\":\"u\",\"route_prefix\":\"/-/y\"}",
     "serve.x: prefix is the front's own: it answers /metrics and what lies beneath "
     "/-"},
    {"{\"url\":\"u\",\"route_prefix\":\"/y//\"}", "serve.x: prefix ends with a slash"},
    {"{\"url\":\"u\",\"update\":{\"canary\":2}}",
     "serve.x: update.canary is not a number between 0 and 1"},
    {"{\"url\":\"u\\u0000v\"}", "serve.x: deployments.main.url has a NUL in it"},
    /* graphs */
    {GRAPH("\"c\""), "serve.x: graph calls 'c', which is no deployment"},
    {GRAPH("\"a\""), "serve.x: graph does not call the deployment 'b'"},
    {GRAPH("1"), "serve.x: graph has a node that is neither a name nor a map"},
    {GRAPH("{}"),
     "serve.x: graph has a node that is not exactly one of sequence, fanout, "
     "switch, split, fallback"},
    {GRAPH("{\"loop\":\"a\"}"),
     "serve.x: graph has a node that is none of sequence, fanout, "
     "switch, split, fallback"},
    {GRAPH("{\"sequence\":[]}"), "serve.x: graph has an empty sequence or fallback"},
    {GRAPH("{\"fanout\":[\"a\"]}"),
     "serve.x: graph has a fanout that is no map of branches"},
    {GRAPH("{\"switch\":{\"cases\":{\"1\":\"a\"}}}"),
     "serve.x: graph has a switch without field or cases"},
    {GRAPH("{\"switch\":{\"field\":\"f\",\"cases\":{}}}"),
     "serve.x: graph has a switch without field or cases"},
    {GRAPH("{\"split\":{\"weights\":{}}}"),
     "serve.x: graph has a split without weights"},
    {GRAPH("{\"split\":{\"weights\":{\"a\":-1}}}"),
     "serve.x: graph has a weight that is no number of 0 or more"},
    {GRAPH("{\"split\":{\"weights\":{\"a\":0,\"b\":0}}}"),
     "serve.x: graph has a split whose weights are all 0"},
    {GRAPH("{\"split\":{\"weights\":{\"z\":1}}}"),
     "serve.x: graph calls 'z', which is no deployment"},
};

START_TEST(refused)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *said = json_loads(wrong[_i].body, JSON_ALLOW_NUL, NULL);

    ck_assert_msg(said != NULL, "%s", wrong[_i].body);
    json_t *spec = serve_spec_complete("x", said, &err);
    struct serve_app *a = spec != NULL ? serve_app_read(spec, &err) : NULL;
    ck_assert_msg(a == NULL, "%s", wrong[_i].body);
    ck_assert_str_eq(err.text, wrong[_i].error);
    ck_assert_int_eq(err.code, RWF_E_RECIPE);
    json_decref(spec);
    json_decref(said);
}
END_TEST

/* Each key of a complete spec is needed, wherever it stands; and no type but its own
 * goes. */
static void each_key(json_t *spec, json_t *map, const char *path);

static void one_key(json_t *spec, json_t *map, const char *path, const char *key)
{
    static const char *const any[] = {"args", "user_config", "graph", "env",
                                      "resources"};
    struct rwf_err err = RWF_ERR_INIT;
    json_t *value = json_incref(json_object_get(map, key));
    bool free_form = false;

    for (size_t i = 0; i < RWF_COUNT(any); i++)
        free_form = free_form || strcmp(any[i], key) == 0;
    json_object_del(map, key);
    ck_assert_msg(strcmp(path, "deployments") == 0 ||
                      serve_app_read(spec, &err) == NULL,
                  "%s.%s is not missed", path, key);
    ck_assert(strcmp(path, "deployments") == 0 || strstr(err.text, key) != NULL);
    json_object_set_new(map, key, json_pack("[{}]"));
    ck_assert_msg(free_form || serve_app_read(spec, &err) == NULL,
                  "%s.%s may be a list", path, key);
    json_object_set(map, key, value);
    if (json_is_object(value) && !free_form)
        each_key(spec, value, key);
    json_decref(value);
}

static void each_key(json_t *spec, json_t *map, const char *path)
{
    json_t *keys = json_array(), *value;
    const char *key;
    size_t i;

    json_object_foreach(map, key, value)
        json_array_append_new(keys, json_string(key));
    json_array_foreach(keys, i, value)
        one_key(spec, map, path, json_string_value(value));
    json_decref(keys);
}

START_TEST(needed)
{
    static const char *const bodies[] = {
        "{\"native\":{\"plugin\":\"p\",\"function\":\"f\"},\"autoscaling\":{},"
        "\"http\":{\"tls\":{\"cert\":\"c\",\"key\":\"k\"}}}",
        "{\"url\":\"u\"}", "{\"model\":\"u\"}", "{\"run\":\"u\"}"};
    json_t *spec = complete("api", bodies[_i]);

    each_key(spec, spec, "");
    json_decref(spec);
}
END_TEST

START_TEST(no_map)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *spec = json_array();

    ck_assert_ptr_null(serve_app_read(spec, &err));
    ck_assert_ptr_nonnull(strstr(err.text, "the application is not a map"));
    json_decref(spec);
    serve_app_free(NULL);
}
END_TEST

/* A graph that is nested too deeply, or too large. */
START_TEST(deep)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *spec = complete("d", URL), *node = json_string("main"),
           *list = json_array();

    for (int i = 0; i < 40; i++)
        node = json_pack("{s:[o]}", i % 2 ? "sequence" : "fallback", node);
    json_object_set(spec, "graph", node);
    struct serve_app *a = serve_app_read(spec, &err);
    ck_assert_ptr_nonnull(a);
    serve_app_free(a);
    for (int i = 0; i < 40; i++)
        node = json_pack("{s:[o]}", "sequence", node);
    json_object_set_new(spec, "graph", node);
    ck_assert_ptr_null(serve_app_read(spec, &err));
    ck_assert_str_eq(err.text, "serve.d: graph is nested too deeply");
    for (int i = 0; i < 10001; i++)
        json_array_append_new(list, json_string("main"));
    json_object_set_new(spec, "graph", json_pack("{s:o}", "sequence", list));
    ck_assert_ptr_null(serve_app_read(spec, &err));
    ck_assert_str_eq(err.text, "serve.d: graph has too many nodes");
    json_decref(spec);
}
END_TEST

START_TEST(urls)
{
    char *url = serve_url("127.0.0.1", 8000, false, "/iris");

    ck_assert_str_eq(url, "http://127.0.0.1:8000/iris");
    free(url);
    url = serve_url("::1", 443, true, "");
    ck_assert_str_eq(url, "https://[::1]:443");
    free(url);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("serve spec");
    TCase *t = tcase_create("spec");

    tcase_add_test(t, defaults);
    tcase_add_test(t, kinds);
    tcase_add_test(t, openai);
    tcase_add_test(t, everything);
    tcase_add_loop_test(t, versioned, 0, RWF_COUNT(versions));
    tcase_add_loop_test(t, refused, 0, RWF_COUNT(wrong));
    tcase_add_loop_test(t, needed, 0, 4);
    tcase_add_test(t, no_map);
    tcase_add_test(t, deep);
    tcase_add_test(t, urls);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
