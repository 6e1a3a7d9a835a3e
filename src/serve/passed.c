/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "serve/passed.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/str.h"

struct filling {
    struct serve__headers *h;
    struct rwf_str connection; /* all values of Connection, each between commas */
    bool keys, program, trusted;
};

static bool is_one_of(const char *name, const char *const *names)
{
    for (; *names != NULL; names++)
        if (strcasecmp(name, *names) == 0)
            return true;
    return false;
}

/* Hop by hop, or made anew. */
static const char *const ours[] = {
    "connection",     "keep-alive", "proxy-connection", "proxy-authorization", "te",
    "content-length", "upgrade",    "trailer",          "transfer-encoding",   "expect",
    "host",           "x-request-id", NULL};
/* How the client reached a program. */
static const char *const route[] = {"x-forwarded-for", "x-forwarded-proto",
                                    "x-forwarded-host", "x-forwarded-prefix",
                                    "forwarded", NULL};

static void note_connection(void *ctx, const char *name, const char *value)
{
    struct filling *f = ctx;
    if (strcasecmp(name, "connection") == 0)
        rwf_str_addf(&f->connection, "%s,", value);
}

static bool is_nominated(const struct filling *f, const char *name)
{
    size_t len = strlen(name);
    const char *at = f->connection.len > 0 ? f->connection.data : "";
    while (*at != '\0') {
        at += strspn(at, " \t,");
        size_t n = strcspn(at, " \t,");
        if (n == len && strncasecmp(at, name, n) == 0)
            return true;
        at += n;
    }
    return false;
}

static void push(struct serve__headers *h, const char *name, const char *value)
{
    if (h->count + 2 > h->cap) {
        h->cap = h->cap > 0 ? h->cap * 2 : 16;
        h->names = rwf_xrealloc(h->names, h->cap * sizeof(*h->names));
        h->values = rwf_xrealloc(h->values, h->cap * sizeof(*h->values));
    }
    h->names[h->count] = name;
    h->values[h->count++] = value;
    h->names[h->count] = h->values[h->count] = NULL;
}

static void each_header(void *ctx, const char *name, const char *value)
{
    struct filling *f = ctx;
    if (is_one_of(name, ours) || is_nominated(f, name))
        return;
    if (f->keys && strcasecmp(name, "authorization") == 0)
        return;
    if (f->program && is_one_of(name, route) &&
        !(f->trusted && strcasecmp(name, "forwarded") == 0))
        return;
    push(f->h, name, value);
}

static bool is_near(const char *peer)
{
    return rwf_starts_with(peer, "127.") || rwf_starts_with(peer, "::ffff:127.") ||
           strcmp(peer, "::1") == 0 || strcmp(peer, "unix") == 0;
}

static void add_route(const struct filling *f, struct http_request *r, bool tls,
                      const char *prefix)
{
    struct serve__headers *h = f->h;
    const char *peer = http_peer(r), *host = http_header(r, "Host");
    const char *before = NULL, *proto = NULL, *name = NULL;
    if (f->trusted) {
        before = http_header(r, "X-Forwarded-For");
        proto = http_header(r, "X-Forwarded-Proto");
        name = http_header(r, "X-Forwarded-Host");
    }
    h->peers = before != NULL ? rwf_xasprintf("%s, %s", before, peer) : rwf_xstrdup(peer);
    push(h, "X-Forwarded-For", h->peers);
    push(h, "X-Forwarded-Proto", proto != NULL ? proto : tls ? "https" : "http");
    if (name != NULL || host != NULL)
        push(h, "X-Forwarded-Host", name != NULL ? name : host);
    if (prefix[0] != '\0')
        push(h, "X-Forwarded-Prefix", prefix);
}

void serve__headers_fill(struct serve__headers *h, struct http_request *r,
                         const struct serve_http *front, const char *prefix)
{
    struct filling f = {.h = h,
                        .keys = json_array_size(front->api_keys) > 0,
                        .program = prefix != NULL,
                        .trusted = is_near(http_peer(r))};
    http_headers(r, note_connection, &f);
    http_headers(r, each_header, &f);
    if (prefix != NULL)
        add_route(&f, r, front->cert != NULL, prefix);
    rwf_str_free(&f.connection);
}

void serve__headers_free(struct serve__headers *h)
{
    free(h->names);
    free(h->values);
    free(h->peers);
}
