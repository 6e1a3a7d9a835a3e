/* SPDX-License-Identifier: Apache-2.0
 *
 * Applications for tests, from the text of a graph.
 */
#ifndef RWF_TESTS_SERVE_APP_H
#define RWF_TESTS_SERVE_APP_H
#include <check.h>
#include <jansson.h>
#include <string.h>
#include "serve/spec.h"

/* An application with this graph, and a deployment for each name in it. */
static inline void add_names(const json_t *node, json_t *all)
{
    const char *key;
    json_t *value;
    size_t i;

    if (json_is_string(node) && strlen(json_string_value(node)) == 1)
        json_object_set_new(all, json_string_value(node),
                            json_pack("{s:s}", "url", "http://127.0.0.1:1"));
    json_array_foreach((json_t *)(uintptr_t)node, i, value)
        add_names(value, all);
    json_object_foreach((json_t *)(uintptr_t)node, key, value) {
        if (strcmp(key, "weights") == 0) {
            const char *name;
            json_t *weight;
            json_object_foreach(value, name, weight) {
                json_t *text = json_string(name);
                add_names(text, all);
                json_decref(text);
            }
        } else if (strcmp(key, "field") != 0 && strcmp(key, "by") != 0) {
            add_names(value, all);
        }
    }
}

static inline struct serve_app *app_of(const char *graph)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *node = json_loads(graph, JSON_DECODE_ANY, NULL), *all = json_object();

    ck_assert_msg(node != NULL, "%s", graph);
    add_names(node, all);
    json_t *body = json_pack("{s:o, s:o}", "deployments", all, "graph", node);
    json_t *spec = serve_spec_complete("x", body, &err);
    struct serve_app *a = spec != NULL ? serve_app_read(spec, &err) : NULL;
    ck_assert_msg(a != NULL, "%s", err.text);
    json_decref(spec);
    json_decref(body);
    return a;
}

#endif
