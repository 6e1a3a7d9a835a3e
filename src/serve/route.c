/* SPDX-License-Identifier: Apache-2.0
 *
 * Routes change seldom and are asked for all the time: a change sorts and indexes anew.
 */
#include "config.h"
#include "serve/route.h"

#include <stdlib.h>
#include <string.h>
#include "base/map.h"
#include "base/mem.h"
#include "base/str.h"

struct route {
    char *prefix;
    size_t depth; /* segments */
    void *app;
};

struct serve_routes {
    struct route *all; /* in order of prefixes */
    size_t count, cap;
    struct rwf_map *index; /* prefix -> application */
    size_t deepest;
};

struct serve_routes *serve_routes_create(void)
{
    struct serve_routes *r = rwf_xcalloc(1, sizeof(*r));

    r->index = rwf_map_create();
    return r;
}

void serve_routes_destroy(struct serve_routes *r)
{
    if (r == NULL)
        return;
    for (size_t i = 0; i < r->count; i++)
        free(r->all[i].prefix);
    free(r->all);
    rwf_map_destroy(r->index, NULL);
    free(r);
}

/* --- prefixes --- */

static bool is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("-._~!$&'()*+,;=:@", c) != NULL);
}

/* "/-" and "/metrics" and what lies beneath. */
static bool is_the_fronts(const char *prefix)
{
    static const char *const own[] = {"/-", "/metrics"};

    for (size_t i = 0; i < RWF_COUNT(own); i++) {
        size_t len = strlen(own[i]);
        if (strncmp(prefix, own[i], len) == 0 &&
            (prefix[len] == '\0' || prefix[len] == '/'))
            return true;
    }
    return false;
}

const char *serve_route_wrong(const char *prefix)
{
    if (prefix[0] != '/')
        return "does not begin with '/'";
    if (strlen(prefix) > 1024)
        return "is longer than 1024 characters";
    if (is_the_fronts(prefix))
        return "is the front's own: it answers /metrics and what lies beneath /-";
    for (const char *at = prefix; *at == '/';) {
        size_t len = strcspn(at + 1, "/");
        if (len == 0 && at[1] == '/')
            return "has an empty segment ('//')";
        if (strncmp(at + 1, ".", len) == 0 || strncmp(at + 1, "..", len) == 0)
            if (len > 0)
                return "has a segment '.' or '..'";
        for (size_t i = 1; i <= len; i++)
            if (!is_plain(at[i]))
                return "has a character that is not allowed: it takes letters, digits "
                       "and "
                       "-._~!$&'()*+,;=:@ between slashes";
        at += 1 + len;
    }
    return NULL;
}

const char *serve_prefix_wrong(const char *prefix)
{
    const char *wrong = *prefix != '\0' ? serve_route_wrong(prefix) : NULL;

    return wrong == NULL && rwf_ends_with(prefix, "/") ? "ends with a slash" : wrong;
}

char *serve_route_normal(const char *prefix)
{
    size_t len = strlen(prefix);

    if (len > 0 && prefix[len - 1] == '/')
        len--;
    return rwf_xstrndup(prefix, len);
}

/* --- changes --- */

static int by_prefix(const void *a, const void *b)
{
    return strcmp(((const struct route *)a)->prefix, ((const struct route *)b)->prefix);
}

static void settle(struct serve_routes *r)
{
    if (r->count > 0)
        qsort(r->all, r->count, sizeof(*r->all), by_prefix);
    rwf_map_destroy(r->index, NULL);
    r->index = rwf_map_create();
    r->deepest = 0;
    for (size_t i = 0; i < r->count; i++) {
        rwf_map_set(r->index, r->all[i].prefix, r->all[i].app);
        if (r->all[i].depth > r->deepest)
            r->deepest = r->all[i].depth;
    }
}

int serve_routes_add(struct serve_routes *r, const char *prefix, void *app,
                     struct rwf_err *err)
{
    const char *wrong = serve_prefix_wrong(prefix);
    size_t depth = 0;

    if (wrong != NULL)
        return rwf_fail(err, RWF_E_RECIPE, "the route prefix '%.200s' %s", prefix,
                        wrong);
    if (rwf_map_get(r->index, prefix) != NULL)
        return rwf_fail(err, RWF_E_RECIPE,
                        "the route prefix '%.200s' is another application's already",
                        *prefix != '\0' ? prefix : "/");
    for (const char *c = prefix; *c != '\0'; c++)
        depth += *c == '/';
    struct route *route = RWF_PUSH(r->all, r->count, r->cap);
    *route = (struct route){rwf_xstrdup(prefix), depth, app};
    settle(r);
    return 0;
}

void *serve_routes_remove(struct serve_routes *r, const char *prefix)
{
    for (size_t i = 0; i < r->count; i++) {
        if (strcmp(r->all[i].prefix, prefix) != 0)
            continue;
        void *app = r->all[i].app;
        free(r->all[i].prefix);
        r->all[i] = r->all[--r->count];
        settle(r);
        return app;
    }
    return NULL;
}

/* --- the hot path --- */

void *serve_routes_find(const struct serve_routes *r, const char *path,
                        const char **ret_rest)
{
    void *found = NULL;
    size_t end = 0, best = 0;

    /* Each end of a segment ends a candidate, the empty one first; the last match wins.
     */
    for (size_t depth = 0; depth <= r->deepest; depth++) {
        void *app = rwf_map_getn(r->index, path, end);
        if (app != NULL) {
            found = app;
            best = end;
        }
        if (path[end] != '/')
            break;
        end += 1 + strcspn(path + end + 1, "/");
    }
    if (found != NULL && ret_rest != NULL)
        *ret_rest = path[best] != '\0' ? path + best : "/";
    return found;
}

size_t serve_routes_count(const struct serve_routes *r)
{
    return r->count;
}

void serve_routes_each(const struct serve_routes *r,
                       void (*each)(void *ctx, const char *prefix, void *app),
                       void *ctx)
{
    for (size_t i = 0; i < r->count; i++)
        each(ctx, r->all[i].prefix, r->all[i].app);
}
