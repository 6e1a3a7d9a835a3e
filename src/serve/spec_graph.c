/* SPDX-License-Identifier: Apache-2.0
 *
 * The graph of an application -> nodes. Children stand behind their parents, so a tree
 * it is; how deep and how many are bounded.
 */
#include "config.h"
#include "serve/spec_impl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

struct grow {
    struct spec_read *read;
    size_t cap;
    int depth;
};

static int fail(struct grow *g, const char *what)
{
    return spec_wrong(g->read, "graph", what);
}

static int read_node(struct grow *g, const json_t *j);

/* A new node; its branches have no nodes yet. -1: too many. */
static int add(struct grow *g, enum serve_node_kind kind, size_t branches)
{
    struct serve_app *a = g->read->app;
    size_t count = (size_t)a->node_count;

    if (count >= SPEC_NODES_MAX || branches > SPEC_NODES_MAX)
        return fail(g, "has too many nodes");
    struct serve_node *node = RWF_PUSH(a->nodes, count, g->cap);
    *node = (struct serve_node){.kind = kind};
    if (branches > 0)
        node->branches = rwf_xcalloc(branches, sizeof(*node->branches));
    return a->node_count++;
}

/* Reads a branch of node `at`; the array of nodes may move meanwhile. */
static int add_branch(struct grow *g, int at, const json_t *j,
                      struct serve_branch branch)
{
    branch.node = read_node(g, j);
    if (branch.node < 0)
        return -1;
    struct serve_node *node = &g->read->app->nodes[at];
    node->branches[node->branch_count++] = branch;
    return 0;
}

static int read_call(struct grow *g, const json_t *j)
{
    int deployment = serve_app_deployment(g->read->app, json_string_value(j));
    char what[160];

    if (deployment < 0) {
        snprintf(what, sizeof(what), "calls '%.100s', which is no deployment",
                 json_string_value(j));
        return fail(g, what);
    }
    int at = add(g, SERVE_CALL, 0);
    if (at >= 0)
        g->read->app->nodes[at].deployment = deployment;
    return at;
}

/* sequence and fallback: a list. */
static int read_list(struct grow *g, enum serve_node_kind kind, const json_t *list)
{
    const json_t *item;
    size_t i;

    if (!json_is_array(list) || json_array_size(list) == 0)
        return fail(g, "has an empty sequence or fallback");
    int at = add(g, kind, json_array_size(list));
    json_array_foreach((json_t *)(uintptr_t)list, i, item)
        if (at < 0 || add_branch(g, at, item, (struct serve_branch){0}) < 0)
            return -1;
    return at;
}

static int read_fanout(struct grow *g, const json_t *map)
{
    const char *name;
    json_t *value;

    if (!json_is_object(map) || json_object_size(map) == 0)
        return fail(g, "has a fanout that is no map of branches");
    int at = add(g, SERVE_FANOUT, json_object_size(map));
    json_object_foreach((json_t *)(uintptr_t)map, name, value)
        if (at < 0 || add_branch(g, at, value, (struct serve_branch){.name = name}) < 0)
            return -1;
    return at;
}

static int read_switch(struct grow *g, const json_t *map)
{
    const json_t *cases = json_object_get(map, "cases");
    const json_t *otherwise = json_object_get(map, "otherwise");
    const char *value, *field = json_string_value(json_object_get(map, "field"));
    json_t *branch;

    if (field == NULL || *field == '\0' || !json_is_object(cases) ||
        json_object_size(cases) == 0)
        return fail(g, "has a switch without field or cases");
    int at = add(g, SERVE_SWITCH, json_object_size(cases) + 1);
    if (at < 0)
        return -1;
    g->read->app->nodes[at].field = field;
    json_object_foreach((json_t *)(uintptr_t)cases, value, branch)
        if (add_branch(g, at, branch, (struct serve_branch){.value = value}) < 0)
            return -1;
    if (otherwise != NULL && !json_is_null(otherwise) &&
        add_branch(g, at, otherwise, (struct serve_branch){0}) < 0)
        return -1;
    return at;
}

static int read_split(struct grow *g, const json_t *map)
{
    const json_t *weights = json_object_get(map, "weights");
    const char *name;
    json_t *value;
    double sum = 0;

    if (!json_is_object(weights) || json_object_size(weights) == 0)
        return fail(g, "has a split without weights");
    int at = add(g, SERVE_SPLIT, json_object_size(weights));
    if (at < 0)
        return -1;
    g->read->app->nodes[at].header = json_string_value(json_object_get(map, "by"));
    json_object_foreach((json_t *)(uintptr_t)weights, name, value) {
        double weight = json_number_value(value);
        json_t *call = json_string(name);
        int rc = !json_is_number(value) || !isfinite(weight) || weight < 0
                     ? fail(g, "has a weight that is no number of 0 or more")
                     : add_branch(g, at, call, (struct serve_branch){.weight = weight});
        json_decref(call);
        if (rc < 0)
            return -1;
        sum += weight;
    }
    return sum > 0 && isfinite(sum) ? at
                                    : fail(g, "has a split whose weights are all 0");
}

static int read_map(struct grow *g, const json_t *j)
{
    const char *key = json_object_iter_key(json_object_iter((json_t *)(uintptr_t)j));
    const json_t *value = key != NULL ? json_object_get(j, key) : NULL;

    if (json_object_size(j) != 1)
        return fail(g,
                    "has a node that is not exactly one of sequence, fanout, switch, "
                    "split, fallback");
    if (strcmp(key, "sequence") == 0)
        return read_list(g, SERVE_SEQUENCE, value);
    if (strcmp(key, "fallback") == 0)
        return read_list(g, SERVE_FALLBACK, value);
    if (strcmp(key, "fanout") == 0)
        return read_fanout(g, value);
    if (strcmp(key, "switch") == 0)
        return read_switch(g, value);
    if (strcmp(key, "split") == 0)
        return read_split(g, value);
    return fail(g,
                "has a node that is none of sequence, fanout, switch, split, fallback");
}

static int read_node(struct grow *g, const json_t *j)
{
    int at;

    if (g->depth >= SPEC_DEPTH_MAX)
        return fail(g, "is nested too deeply");
    g->depth++;
    if (json_is_string(j))
        at = read_call(g, j);
    else if (json_is_object(j))
        at = read_map(g, j);
    else
        at = fail(g, "has a node that is neither a name nor a map");
    g->depth--;
    return at;
}

int spec_read_graph(struct spec_read *r, const json_t *graph)
{
    struct grow g = {.read = r};
    struct serve_app *a = r->app;
    char what[160];
    bool *called;

    if (graph == NULL || json_is_null(graph))
        return spec_wrong(r, "graph", "is needed with several deployments");
    if (read_node(&g, graph) < 0)
        return -1;
    called = rwf_xcalloc((size_t)a->deployment_count, sizeof(*called));
    for (int i = 0; i < a->node_count; i++)
        if (a->nodes[i].kind == SERVE_CALL)
            called[a->nodes[i].deployment] = true;
    for (int i = 0; i < a->deployment_count; i++)
        if (!called[i]) {
            snprintf(what, sizeof(what), "does not call the deployment '%.100s'",
                     a->deployments[i].name);
            spec_wrong(r, "graph", what);
        }
    free(called);
    return r->failed ? -1 : 0;
}
