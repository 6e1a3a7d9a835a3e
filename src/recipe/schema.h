/* SPDX-License-Identifier: Apache-2.0
 *
 * schemas/recipe.schema.json (JSON Schema 2020-12), embedded and interpreted. It is the
 * one authority: keys, types, enums, ranges, defaults and help texts come from it.
 * Keywords beyond the standard that we use are annotations, prefixed "x-":
 * "x-unit": "size"|"duration" on strings, "x-since": "1.0", "x-look": true where the look
 * of a scalar decides its type, "x-hint": what to do when the value is wrong.
 */
#ifndef RWF_RECIPE_SCHEMA_H
#define RWF_RECIPE_SCHEMA_H
#include <jansson.h>
#include "base/err.h"
#include "recipe/diag.h"
#include "recipe/node.h"

/* The embedded schema document, parsed once; borrowed. */
const json_t *recipe_schema(void);
/* Its text, as shipped. */
const char *recipe_schema_text(void);

/* Checks a merged tree, reports everything and annotates every scalar with its type. */
void recipe_schema_check(struct recipe_node *root, struct recipe_diags *diags);

/* A reference's result for a scalar that the schema has checked: does text fit the same
 * field (type, unit, range, one of the allowed values)? The message says what is
 * wanted, without the place. */
int recipe_schema_value(const struct recipe_node *node, const char *text,
                        struct rwf_err *err);

/* The subschema for a dotted path with * for any name: "tasks.*.retry.max"; a concrete
 * name matches too ("tasks.train.retry.max"). $refs are followed. NULL when there is
 * none; then *ret_suggestion, if not NULL, is the nearest path that exists (caller
 * frees). */
const json_t *recipe_schema_at(const char *path, char **ret_suggestion);

#endif
