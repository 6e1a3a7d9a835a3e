/* SPDX-License-Identifier: Apache-2.0
 *
 * A JSON Schema document as structs: one per subschema, references resolved, so that a
 * check looks nothing up by name but the recipe's own keys. A keyword that is not in
 * the table of schema_compile.c is an error, never ignored.
 */
#ifndef RWF_RECIPE_SCHEMA_COMPILE_H
#define RWF_RECIPE_SCHEMA_COMPILE_H
#include <jansson.h>
#include <stdbool.h>
#include "base/err.h"
#include "recipe/node.h"
#include "recipe/pattern.h"

enum {
    SCHEMA_NULL = 1,
    SCHEMA_BOOL = 2,
    SCHEMA_INTEGER = 4,
    SCHEMA_NUMBER = 8, /* integers included */
    SCHEMA_STRING = 16,
    SCHEMA_LIST = 32,
    SCHEMA_MAP = 64,
    SCHEMA_SCALARS = 31,
    SCHEMA_ALL = 127,
};

struct schema_property {
    const char *key;
    const struct schema *schema;
};

struct schema_key_pattern {
    struct recipe__pattern *pattern;
    const struct schema *schema;
};

/* Zero and NULL mean that the keyword is absent. */
struct schema {
    const json_t *json;
    const struct schema *ref;
    unsigned types;
    bool never, look;
    struct schema_property *properties; /* sorted by key */
    size_t property_count;
    struct schema_key_pattern *key_patterns;
    size_t key_pattern_count;
    const struct schema *additional, *names, *items;
    const json_t *required,
        *forbidden; /* forbidden: keys that may not stand together */
    const json_t *allowed, *constant;
    const struct schema **branches; /* anyOf or oneOf */
    size_t branch_count;
    bool one;         /* oneOf */
    bool one_of_keys; /* every branch only says which key is required */
    struct recipe__pattern *pattern;
    const json_t *minimum, *maximum, *above;
    json_int_t min_items, max_items, min_length, max_length, min_keys,
        max_keys; /* -1 */
    bool unique;
    enum recipe_type unit; /* RECIPE_SIZE, RECIPE_DURATION or RECIPE_UNTYPED */
    const char *title, *hint;
};

struct schema_document;

/* Keeps a reference to json. NULL and *err on an unknown keyword or a bad value. */
struct schema_document *recipe__schema_compile(json_t *json, struct rwf_err *err);
void recipe__schema_free(struct schema_document *d);
const struct schema *recipe__schema_root(const struct schema_document *d);

/* The embedded one. */
const struct schema *recipe__schema(void);

const struct schema *recipe__schema_property(const struct schema *s, const char *key);
/* All types that the schema, its reference and its branches can accept. */
unsigned recipe__schema_types(const struct schema *s);

#endif
