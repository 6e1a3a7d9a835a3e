/* SPDX-License-Identifier: Apache-2.0
 *
 * Where an entry of `serve` is reached. Entries with the same host and port share a
 * front: each is compared with those before it.
 */
#include "config.h"
#include "serve/op_serve.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/str.h"
#include "serve/op_said.h"
#include "serve/route.h"
#include "serve/spec.h"

struct place {
    const struct recipe *r;
    const char *name;
    const struct recipe_node *body, *http;
    const char *host, *port; /* NULL: known only later */
    char *prefix;            /* normal form; NULL: known only later, or wrong */
};

/* The node to blame for where it is: the key, else the nearest above that is there. */
static struct recipe_span span_of(const struct place *p, const char *key)
{
    const struct recipe_node *node = recipe_get(p->http, key);

    if (strcmp(key, "route_prefix") == 0)
        node = recipe_get(p->body, key);
    return node != NULL ? node->span : p->http != NULL ? p->http->span : p->body->span;
}

static const char *said_or(const struct recipe *r, const struct recipe_node *node,
                           const char *fallback)
{
    return node == NULL || node->null ? fallback : serve_said(r, node);
}

static struct place place_of(const struct recipe *r, const char *name,
                             const struct recipe_node *body)
{
    struct place p = {
        .r = r, .name = name, .body = body, .http = recipe_get(body, "http")};
    const struct recipe_node *route = recipe_get(body, "route_prefix");

    p.host = said_or(r, recipe_get(p.http, "host"), "127.0.0.1");
    p.port = said_or(r, recipe_get(p.http, "port"), "8000");
    if (route == NULL || route->null)
        p.prefix = rwf_xasprintf("/%s", name);
    else if (serve_said(r, route) != NULL &&
             serve_route_wrong(serve_said(r, route)) == NULL)
        p.prefix = serve_route_normal(serve_said(r, route));
    return p;
}

/* --- an entry by itself --- */

static void check_prefix(const struct place *p, struct recipe_diags *diags)
{
    const struct recipe_node *route = recipe_get(p->body, "route_prefix");
    const char *text = serve_said(p->r, route), *wrong;
    char *own = text == NULL ? rwf_xasprintf("/%s", p->name) : NULL;

    wrong = route != NULL && !route->null && text == NULL
                ? NULL
                : serve_route_wrong(text != NULL ? text : own);
    if (wrong != NULL) {
        struct recipe_diag *d = recipe_diag_add(
            diags, RECIPE_E0311, span_of(p, "route_prefix"),
            "serve.%s: the route '%s' %s", p->name, text != NULL ? text : own, wrong);
        recipe_diag_hint(d, "write it as in route_prefix: /%s%s", p->name,
                         text != NULL ? "" : "-app");
    }
    free(own);
}

static bool is_loopback(const char *host)
{
    return rwf_starts_with(host, "127.") || strcmp(host, "localhost") == 0 ||
           strcmp(host, "::1") == 0;
}

static void check_host(const struct place *p, struct recipe_diags *diags)
{
    const struct recipe_node *keys = recipe_get(p->http, "api_keys");

    if (p->host == NULL || is_loopback(p->host) ||
        (keys != NULL && keys->kind == RECIPE_LIST && keys->count > 0))
        return;
    struct recipe_diag *d = recipe_diag_add(
        diags, RECIPE_E0311, span_of(p, "host"),
        "serve.%s: '%s' can be reached from other machines, and no key is "
        "asked for",
        p->name, p->host);
    recipe_diag_hint(d, "add api_keys: [\"${secrets.NAME}\"], or listen at 127.0.0.1");
}

/* A deployment that asks its own application would ask for ever. */
static void check_loop(const struct place *p, const struct recipe_node *deployment,
                       struct recipe_diags *diags)
{
    const struct recipe_node *node = recipe_get(deployment, "url");
    const char *text = serve_said(p->r, node);
    bool tls = recipe_get(p->http, "tls") != NULL;

    if (text == NULL || p->host == NULL || p->port == NULL || p->prefix == NULL)
        return;
    char *own = serve_url(p->host, atoi(p->port), tls, p->prefix);
    if (rwf_starts_with(text, own) &&
        (text[strlen(own)] == '/' || text[strlen(own)] == '\0')) {
        struct recipe_diag *d = recipe_diag_add(
            diags, RECIPE_E0311, node->span,
            "serve.%s: this is the address of serve.%s itself", p->name, p->name);
        recipe_diag_hint(d, "name the address of the server that is to answer");
    }
    free(own);
}

/* --- two entries --- */

static bool same_front(const struct place *a, const struct place *b)
{
    return a->host != NULL && b->host != NULL && a->port != NULL && b->port != NULL &&
           strcmp(a->host, b->host) == 0 && strcmp(a->port, b->port) == 0;
}

static bool same_value(const struct recipe_node *a, const struct recipe_node *b)
{
    bool none_a = a == NULL || a->null, none_b = b == NULL || b->null;

    if (none_a || none_b)
        return none_a == none_b;
    json_t *one = recipe_to_json(a), *other = recipe_to_json(b);
    bool same = json_equal(one, other);
    json_decref(one);
    json_decref(other);
    return same;
}

static void check_same_http(const struct place *p, const struct place *before,
                            struct recipe_diags *diags)
{
    static const char *const keys[] = {"tls",          "cors",
                                       "api_keys",     "access_log",
                                       "max_body",     "request_timeout",
                                       "idle_timeout", "max_connections"};

    for (size_t i = 0; i < RWF_COUNT(keys); i++) {
        if (same_value(recipe_get(p->http, keys[i]), recipe_get(before->http, keys[i])))
            continue;
        struct recipe_diag *d = recipe_diag_add(
            diags, RECIPE_E0311, span_of(p, keys[i]),
            "serve.%s and serve.%s share the front at %s port %s, but not %s", p->name,
            before->name, p->host, p->port, keys[i]);
        recipe_diag_hint(d, "say the same of %s in both, or give one another port",
                         keys[i]);
        recipe_diag_relate(d, span_of(before, keys[i]), "the front of serve.%s",
                           before->name);
    }
}

static void check_clash(const struct place *p, const struct place *before,
                        struct recipe_diags *diags)
{
    if (p->prefix == NULL || before->prefix == NULL ||
        strcmp(p->prefix, before->prefix) != 0)
        return;
    struct recipe_diag *d =
        recipe_diag_add(diags, RECIPE_E0311, span_of(p, "route_prefix"),
                        "serve.%s and serve.%s have the same route '%s'", p->name,
                        before->name, *p->prefix != '\0' ? p->prefix : "/");
    recipe_diag_hint(d, "give one another route_prefix, or another port");
    recipe_diag_relate(d, span_of(before, "route_prefix"), "the route of serve.%s",
                       before->name);
}

static void check_others(const struct place *p, struct recipe_diags *diags)
{
    const struct recipe_node *all = recipe_get(recipe_root(p->r), "serve");

    for (size_t i = 0; all != NULL && all->kind == RECIPE_MAP && i < all->count; i++) {
        if (strcmp(all->pairs[i].key, p->name) == 0)
            return;
        if (all->pairs[i].value->kind != RECIPE_MAP ||
            rwf_starts_with(all->pairs[i].key, "x-"))
            continue;
        struct place before = place_of(p->r, all->pairs[i].key, all->pairs[i].value);
        if (same_front(p, &before)) {
            check_clash(p, &before, diags);
            check_same_http(p, &before, diags);
        }
        free(before.prefix);
    }
}

void serve_op_check_route(const struct recipe *r, const char *name,
                          const struct recipe_node *body, struct recipe_diags *diags)
{
    struct place p = place_of(r, name, body);
    const struct recipe_node *all = recipe_get(body, "deployments");

    check_prefix(&p, diags);
    check_host(&p, diags);
    check_loop(&p, body, diags);
    for (size_t i = 0; all != NULL && all->kind == RECIPE_MAP && i < all->count; i++)
        check_loop(&p, all->pairs[i].value, diags);
    check_others(&p, diags);
    free(p.prefix);
}
