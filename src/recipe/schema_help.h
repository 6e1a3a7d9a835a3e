/* SPDX-License-Identifier: Apache-2.0
 *
 * Finding one's way in the schema: where a key may stand.
 */
#ifndef RWF_RECIPE_SCHEMA_HELP_H
#define RWF_RECIPE_SCHEMA_HELP_H
#include "base/str.h"
#include "base/suggest.h"
#include "recipe/schema_compile.h"

/* Calls found with the path of every map that knows key, written with NAME and [] for
 * names and items: "tasks.NAME.retry"; "" is the top level. Profiles repeat other
 * sections and are left out. */
void recipe__schema_places(const char *key, void (*found)(void *ctx, const char *path),
                           void *ctx);
/* Tries all keys of a map's schema. */
void recipe__schema_suggest(const struct schema *s, struct rwf_suggest *suggest);
/* "a, b, c": the keys of a map's schema, at most max of them. */
void recipe__schema_keys(const struct schema *s, struct rwf_str *out, size_t max);

#endif
