/* SPDX-License-Identifier: Apache-2.0
 *
 * serve: applications behind HTTP. The spec is the complete JSON of spec.h; paths in it
 * are absolute when the step runs. Files that a deployment is made of count in keys;
 * how many replicas there are and how they are fed does, too, since what asks the
 * server may see it.
 */
#include "config.h"
#include "serve/op_serve.h"

#include <stdlib.h>
#include <string.h>
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "plan/graph.h"
#include "serve/route.h"
#include "serve/spec.h"

/* --- the address --- */

static char *url(const char *name, const json_t *said)
{
    const char *host = json_string_value(json_object_get(said, "host"));
    const json_t *port = json_object_get(said, "port");
    const char *route = json_string_value(json_object_get(said, "route_prefix"));
    char *prefix =
        route != NULL ? serve_route_normal(route) : rwf_xasprintf("/%s", name);
    char *out = serve_url(host != NULL ? host : "127.0.0.1",
                          json_is_integer(port) ? (int)json_integer_value(port) : 8000,
                          json_is_true(json_object_get(said, "tls")), prefix);

    free(prefix);
    return out;
}

/* --- the spec --- */

static const char *const not_said[] = {"help", "needs", "when"};

static void make_absolute(const struct plan_graph *g, json_t *map, const char *key)
{
    const char *path = json_string_value(json_object_get(map, key));

    if (path == NULL)
        return;
    char *full = rwf_fs_join(recipe_dir(plan_graph_recipe(g)), path);
    json_object_set_new(map, key, json_string(full));
    free(full);
}

static void locate_one(const struct plan_graph *g, json_t *one)
{
    make_absolute(g, json_object_get(one, "native"), "plugin");
    make_absolute(g, one, "model");
    if (json_object_get(one, "command") == NULL && json_object_get(one, "run") == NULL)
        return;
    if (json_object_get(one, "dir") == NULL)
        json_object_set_new(one, "dir", json_string("."));
    make_absolute(g, one, "dir");
}

static void locate(const struct plan_graph *g, json_t *body)
{
    json_t *tls = json_object_get(json_object_get(body, "http"), "tls"), *one;
    const char *name;

    make_absolute(g, tls, "cert");
    make_absolute(g, tls, "key");
    locate_one(g, body);
    json_object_foreach(json_object_get(body, "deployments"), name, one)
        locate_one(g, one);
}

static json_t *spec(const struct plan_graph *g, const struct plan_step *step,
                    struct rwf_err *err)
{
    json_t *body = plan_resolve(g, step, step->body, err), *out;

    if (body == NULL)
        return NULL;
    for (size_t i = 0; i < RWF_COUNT(not_said); i++)
        json_object_del(body, not_said[i]);
    if (plan_graph_mode(g) == PLAN_RUN)
        locate(g, body);
    out = serve_spec_complete(strchr(step->entry, '.') + 1, body, err);
    json_decref(body);
    if (out == NULL || plan_graph_mode(g) != PLAN_RUN)
        return out;
    /* All values are known: what is wrong with them is said before anything starts. */
    struct serve_app *a = serve_app_read(out, err);
    if (a == NULL) {
        json_decref(out);
        return NULL;
    }
    serve_app_free(a);
    return out;
}

/* --- what decides what is served --- */

static void add_texts(const struct plan_graph *g, const char *dir, const json_t *value,
                      json_t *files)
{
    const char *key;
    json_t *item;
    size_t i;

    if (json_is_string(value))
        plan_add_code_word(g, dir, json_string_value(value), files);
    json_array_foreach((json_t *)(uintptr_t)value, i, item)
        add_texts(g, dir, item, files);
    json_object_foreach((json_t *)(uintptr_t)value, key, item)
        add_texts(g, dir, item, files);
}

static void add_program(const struct plan_graph *g, const json_t *d, json_t *files)
{
    const json_t *argv = json_object_get(d, "argv");
    const char *first = json_string_value(json_array_get(argv, 0));
    const char *dir = json_string_value(json_object_get(d, "dir"));

    if (first != NULL && strcmp(first, "/bin/sh") == 0 && json_array_size(argv) == 3)
        plan_add_code_text(g, dir, json_string_value(json_array_get(argv, 2)), files);
    else
        add_texts(g, dir, argv, files);
}

static int inputs(const struct plan_graph *g, const struct plan_step *step,
                  const json_t *spec_json, json_t *files, struct rwf_err *err)
{
    static const char *const paths[] = {"plugin", "model"};
    const char *name;
    json_t *d;

    (void)step;
    json_object_foreach(json_object_get(spec_json, "deployments"), name, d) {
        for (size_t i = 0; i < RWF_COUNT(paths); i++) {
            const char *path = json_string_value(json_object_get(d, paths[i]));
            if (path != NULL && plan_add_path(g, path, files, err) < 0)
                return -1;
        }
        add_texts(g, NULL, json_object_get(d, "args"), files);
        add_program(g, d, files);
    }
    return 0;
}

/* --- for raywf plan --- */

/* A number, or the text that stands for one. */
static void add_number(struct rwf_str *out, const json_t *value)
{
    if (json_is_string(value))
        rwf_str_add(out, json_string_value(value));
    else
        rwf_str_addf(out, "%lld", (long long)json_integer_value(value));
}

static void add_replicas(struct rwf_str *out, const json_t *d)
{
    const json_t *scaling = json_object_get(d, "autoscaling");
    const json_t *count = json_object_get(d, "replicas");

    if (json_is_object(scaling)) {
        add_number(out, json_object_get(scaling, "min_replicas"));
        rwf_str_add(out, " to ");
        count = json_object_get(scaling, "max_replicas");
    }
    add_number(out, count);
    rwf_str_add(out, json_integer_value(count) == 1 ? " replica" : " replicas");
}

static char *describe(const struct plan_step *step, const json_t *spec_json)
{
    const json_t *http = json_object_get(spec_json, "http"), *all;
    const json_t *port = json_object_get(http, "port");
    const char *host = json_string_value(json_object_get(http, "host")), *name;
    struct rwf_str out = {0};
    json_t *d;

    (void)step;
    char *address = serve_url(host != NULL ? host : "?", (int)json_integer_value(port),
                              json_is_object(json_object_get(http, "tls")),
                              json_string_value(json_object_get(spec_json, "prefix")));
    rwf_str_add(&out, address);
    free(address);
    all = json_object_get(spec_json, "deployments");
    json_object_foreach((json_t *)(uintptr_t)all, name, d) {
        rwf_str_add(&out, out.data[out.len - 1] == ')' ? ", " : ": ");
        if (json_object_size(all) > 1)
            rwf_str_addf(&out, "%s ", name);
        rwf_str_addf(&out, "%s%s%s", json_object_size(all) > 1 ? "(" : "",
                     json_string_value(json_object_get(d, "kind")), ", ");
        add_replicas(&out, d);
        rwf_str_add(&out, json_object_size(all) > 1 ? ")" : "");
    }
    return rwf_str_take(&out);
}

/* --- what its replicas hold --- */

static double number_of(const json_t *map, const char *key)
{
    return json_number_value(json_object_get(map, key));
}

static void holds(const json_t *spec_json, struct op_held *ret)
{
    const char *name;
    json_t *d;

    json_object_foreach(json_object_get(spec_json, "deployments"), name, d) {
        const json_t *each = json_object_get(d, "resources");
        const json_t *scaling = json_object_get(d, "autoscaling");
        double count = json_is_object(scaling) ? number_of(scaling, "min_replicas")
                                               : number_of(d, "replicas");
        ret->cpu += count * number_of(each, "cpu");
        ret->gpu += count * number_of(each, "gpu");
        ret->memory += (int64_t)(count * number_of(each, "memory"));
    }
}

const struct op op_serve = {
    .name = "serve",
    .section = "serve",
    .summary = "an application behind HTTP: its deployments, and their graph",
    .version = 1,
    .service = true,
    .holds = holds,
    .url = url,
    .validate = serve_op_validate,
    .lower = plan_lower_one,
    .spec = spec,
    .inputs = inputs,
    .describe = describe,
    .run = serve_op_deploy,
};
