/* SPDX-License-Identifier: Apache-2.0
 *
 * Which application a path belongs to: the one with the longest prefix, by whole
 * segments
 * ("/iris" holds "/iris" and "/iris/x", not "/irises"). A prefix is "" (the root: all
 * that nobody else holds) or "/a/b" without a slash at its end. What lies beneath "/-"
 * and
 * "/metrics" is the front's own and can be no prefix. Finding costs one lookup in a
 * hash table per segment of the deepest prefix at most, and no memory.
 */
#ifndef RWF_SERVE_ROUTE_H
#define RWF_SERVE_ROUTE_H
#include <stdbool.h>
#include <stddef.h>
#include "base/err.h"

struct serve_routes;

struct serve_routes *serve_routes_create(void);
void serve_routes_destroy(
    struct serve_routes *r); /* the applications are the caller's */

/* RWF_E_RECIPE: no prefix, the front's own, or another one's already. app is not NULL.
 */
int serve_routes_add(struct serve_routes *r, const char *prefix, void *app,
                     struct rwf_err *err);
/* The application that had it, or NULL. */
void *serve_routes_remove(struct serve_routes *r, const char *prefix);
/* NULL: nobody's. *ret_rest (may be NULL): the path beneath the prefix, which begins
 * with
 * '/'; it points into path or is "/". */
void *serve_routes_find(const struct serve_routes *r, const char *path,
                        const char **ret_rest);
size_t serve_routes_count(const struct serve_routes *r);
/* In order of prefixes. */
void serve_routes_each(const struct serve_routes *r,
                       void (*each)(void *ctx, const char *prefix, void *app),
                       void *ctx);

/* NULL, or what is wrong with a prefix as a recipe says it ("/" is the root there). */
const char *serve_route_wrong(const char *prefix);
/* The same of a prefix in the form above. */
const char *serve_prefix_wrong(const char *prefix);
/* The form above of a recipe's prefix: "/" -> "", "/a/" -> "/a". The caller's. */
char *serve_route_normal(const char *prefix);

#endif
