/* SPDX-License-Identifier: Apache-2.0
 *
 * What the schema cannot say of an entry of `serve`: which keys go together. Values
 * that are references to more than a parameter are judged when they are known, by
 * spec.c.
 */
#include "config.h"
#include "serve/op_serve.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/str.h"
#include "serve/op_said.h"

struct check {
    const char *where; /* "serve.api", "serve.api: deployments.a" */
    const struct recipe *r;
    struct recipe_diags *diags;
};

const char *serve_said(const struct recipe *r, const struct recipe_node *node)
{
    size_t len =
        node != NULL && node->kind == RECIPE_SCALAR && !node->null ? node->len : 0;

    if (len == 0)
        return NULL;
    if (strstr(node->text, "${") == NULL)
        return node->text;
    if (!rwf_starts_with(node->text, "${params.") || node->text[len - 1] != '}')
        return NULL;
    char *name = rwf_xstrndup(node->text + 9, len - 10);
    const struct recipe_node *param = recipe_param(r, name);
    free(name);
    return param != NULL && param->kind == RECIPE_SCALAR &&
                   strstr(param->text, "${") == NULL
               ? param->text
               : NULL;
}

bool serve_said_number(const struct recipe *r, const struct recipe_node *node,
                       double *ret)
{
    const char *text = serve_said(r, node);

    return text != NULL && recipe_looks_number(text, ret);
}

static struct recipe_node *key_of(const struct recipe_node *map, const char *key)
{
    struct recipe_node *node = recipe_get(map, key);

    return node != NULL && !node->null ? node : NULL;
}

static void complain(struct check *c, const struct recipe_node *map, const char *key,
                     const char *what, const char *hint)
{
    const struct recipe_pair *p = recipe_pair_get(map, key);
    struct recipe_diag *d = recipe_diag_add(c->diags, RECIPE_E0309, p->key_span,
                                            "%s: %s %s", c->where, key, what);

    recipe_diag_hint(d, "%s", hint);
}

/* --- what a deployment is --- */

static const char *const kinds[] = {"model", "native", "command", "run", "url"};

static void check_kind(struct check *c, const struct recipe_node *body,
                       struct recipe_span span)
{
    int count = 0;

    for (size_t i = 0; i < RWF_COUNT(kinds); i++)
        count += recipe_get(body, kinds[i]) != NULL;
    if (count == 1)
        return;
    struct recipe_diag *d = recipe_diag_add(
        c->diags, RECIPE_E0108, span, "%s %s", c->where,
        count == 0
            ? "is nothing: it has none of model, native, command, run and url"
            : "is several things: it has more than one of model, native, command, "
              "run and url");
    recipe_diag_hint(d, "keep exactly one of them");
}

static bool is_ours(const struct recipe_node *body)
{
    return key_of(body, "native") != NULL ||
           (key_of(body, "model") != NULL && key_of(body, "api") == NULL);
}

static bool says_yes(const struct check *c, const struct recipe_node *node)
{
    const char *text = serve_said(c->r, node);
    bool yes = false;

    return text != NULL && recipe_looks_bool(text, &yes) && yes;
}

/* Keys that some kinds have, and no others. */
static void check_keys_of_kind(struct check *c, const struct recipe_node *body)
{
    bool model = key_of(body, "model") != NULL, native = key_of(body, "native") != NULL;
    bool program = key_of(body, "command") != NULL || key_of(body, "run") != NULL;

    if (key_of(body, "api") != NULL && !model)
        complain(c, body, "api", "is for a model", "remove it, or name a model");
    if (key_of(body, "engine") != NULL && key_of(body, "api") == NULL)
        complain(c, body, "engine", "is for a language model", "add api: openai");
    if (key_of(body, "user_config") != NULL &&
        key_of(key_of(body, "native"), "class") == NULL)
        complain(c, body, "user_config", "is for a class of a plugin",
                 "its method reconfigure takes it; give others what they need in env or "
                 "in arguments");
    if (key_of(body, "content_type") != NULL && !native)
        complain(c, body, "content_type", "is for native deployments",
                 "what others reply says its own type");
    if (key_of(body, "dir") != NULL && !program)
        complain(c, body, "dir", "is for command and run", "remove it");
    if (key_of(body, "batching") != NULL && !is_ours(body))
        complain(
            c, body, "batching", "is for native and model",
            "a program gets each request by itself; max_ongoing_requests says how many "
            "at once");
    if (key_of(body, "batching") != NULL &&
        says_yes(c, key_of(key_of(body, "native"), "stream")))
        complain(c, body, "batching", "and native.stream exclude each other",
                 "a stream answers one request");
    if (key_of(key_of(body, "health_check"), "path") != NULL && is_ours(body))
        complain(c, key_of(body, "health_check"), "path",
                 "is for programs and addresses",
                 "a worker is checked by itself; a class may have a method check_health");
}

/* --- counts --- */

static void check_order(struct check *c, const struct recipe_node *map, const char *low,
                        double low_default, const char *high, double high_default)
{
    const char *blamed = key_of(map, low) != NULL ? low : high;
    double least = low_default, most = high_default;

    if ((key_of(map, low) != NULL &&
         !serve_said_number(c->r, recipe_get(map, low), &least)) ||
        (key_of(map, high) != NULL &&
         !serve_said_number(c->r, recipe_get(map, high), &most)) ||
        least <= most || key_of(map, blamed) == NULL)
        return;
    struct recipe_diag *d = recipe_diag_add(
        c->diags, RECIPE_E0309, recipe_get(map, blamed)->span,
        "%s: %s is %g and above %s, which is %g", c->where, low, least, high, most);
    recipe_diag_hint(d, "raise %s or lower %s", high, low);
}

static void check_counts(struct check *c, const struct recipe_node *body)
{
    const struct recipe_node *scaling = key_of(body, "autoscaling");
    const struct recipe_node *batching = key_of(body, "batching");

    if (scaling != NULL && key_of(body, "replicas") != NULL)
        complain(c, body, "replicas", "and autoscaling exclude each other",
                 "autoscaling begins with its initial_replicas");
    check_order(c, scaling, "min_replicas", 1, "max_replicas", 1);
    check_order(c, scaling, "initial_replicas", 0, "max_replicas", 1);
    if (key_of(scaling, "initial_replicas") != NULL)
        check_order(c, scaling, "min_replicas", 1, "initial_replicas", 0);
    double size, ongoing;
    if (serve_said_number(c->r, key_of(batching, "max_batch_size"), &size) &&
        serve_said_number(c->r, key_of(body, "max_ongoing_requests"), &ongoing) &&
        size > ongoing)
        complain(c, batching, "max_batch_size", "is above max_ongoing_requests",
                 "a replica never has so many requests: raise max_ongoing_requests");
    if (key_of(body, "retries") != NULL && key_of(body, "idempotent") == NULL)
        complain(c, body, "retries", "changes nothing without idempotent",
                 "add idempotent: true if a request may be worked on twice");
}

static void check_deployment(struct check *c, const struct recipe_node *body)
{
    check_keys_of_kind(c, body);
    check_counts(c, body);
}

/* --- applications --- */

static const char *const of_deployments[] = {
    "api",         "engine",       "dir",        "replicas",
    "autoscaling", "timeout",      "idempotent", "max_ongoing_requests",
    "retries",     "affinity",     "batching",   "max_queued_requests",
    "user_config", "health_check", "resources",  "graceful_shutdown_timeout",
    "content_type"};

static void check_several(const struct recipe *r, const char *name,
                          const struct recipe_node *body, struct recipe_diags *diags)
{
    const struct recipe_node *all = key_of(body, "deployments");
    char *where = rwf_xasprintf("serve.%s", name);
    struct check c = {where, r, diags};

    for (size_t i = 0; i < RWF_COUNT(of_deployments); i++)
        if (key_of(body, of_deployments[i]) != NULL)
            complain(&c, body, of_deployments[i], "is a key of a deployment",
                     "move it into those of deployments: that it is meant for");
    for (size_t i = 0; all->kind == RECIPE_MAP && i < all->count; i++) {
        const struct recipe_pair *p = &all->pairs[i];
        if (p->value->kind != RECIPE_MAP || rwf_starts_with(p->key, "x-"))
            continue;
        char *one = rwf_xasprintf("serve.%s: deployments.%s", name, p->key);
        struct check d = {one, r, diags};
        check_kind(&d, p->value, p->key_span);
        check_deployment(&d, p->value);
        free(one);
    }
    free(where);
}

static void check_single(const struct recipe *r, const char *name,
                         const struct recipe_node *body, struct recipe_diags *diags)
{
    char *where = rwf_xasprintf("serve.%s", name);
    struct check c = {where, r, diags};

    check_deployment(&c, body);
    if (key_of(body, "graph") != NULL) {
        struct recipe_diag *d = recipe_diag_add(
            diags, RECIPE_E0310, recipe_pair_get(body, "graph")->key_span,
            "%s: there is one deployment only, so no graph", where);
        recipe_diag_hint(d, "remove it, or name several in deployments:");
    }
    free(where);
}

void serve_op_validate(const struct recipe *r, const char *name,
                       const struct recipe_node *body, struct recipe_diags *diags)
{
    if (key_of(body, "deployments") != NULL)
        check_several(r, name, body, diags);
    else
        check_single(r, name, body, diags);
    if (key_of(body, "deployments") != NULL)
        serve_op_check_graph(name, body, diags);
    serve_op_check_route(r, name, body, diags);
}
