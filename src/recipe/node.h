/* SPDX-License-Identifier: Apache-2.0
 *
 * The tree of a recipe. Every node knows where it stands and keeps its source text: a
 * scalar's type comes from the schema (`type`, set by recipe_schema_check), never from
 * its look. Nodes live in the recipe's arena and are immutable once the recipe is
 * loaded.
 */
#ifndef RWF_RECIPE_NODE_H
#define RWF_RECIPE_NODE_H
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/arena.h"

/* 1-based lines and columns (columns count bytes); end is exclusive. file indexes
 * recipe_file_path(). A value given on the command line has line 0. */
struct recipe_span {
    uint32_t file;
    uint32_t line, col;
    uint32_t end_line, end_col;
};

enum recipe_kind { RECIPE_SCALAR, RECIPE_MAP, RECIPE_LIST };

/* The type that the schema gives a scalar. RECIPE_ANY: string, number or boolean by the
 * YAML 1.2 core look (plain scalars only), interpolated verbatim. */
enum recipe_type {
    RECIPE_UNTYPED,
    RECIPE_ANY,
    RECIPE_TEXT,
    RECIPE_INT,
    RECIPE_NUMBER,
    RECIPE_BOOL,
    RECIPE_SIZE, /* text with a unit: base/units.h */
    RECIPE_DURATION,
};

struct recipe_node;
struct recipe_index; /* of a map with many keys */
struct schema;

struct recipe_pair {
    const char *key;
    struct recipe_span key_span;
    struct recipe_node *value;
};

struct recipe_node {
    enum recipe_kind kind;
    enum recipe_type type; /* scalars */
    bool plain;            /* scalar without quotes or block style */
    bool null;             /* a plain scalar that is empty, ~ or null */
    struct recipe_span span;
    const char *text; /* scalar: its value as written, NUL-terminated */
    size_t len;
    size_t count; /* of pairs or items */
    struct recipe_index *index;
    const struct schema *schema; /* what it was checked by: see recipe_schema_value */
    union {
        struct recipe_pair *pairs;
        struct recipe_node **items;
    };
};

/* NULL when node is NULL, not a map, or has no such key. */
struct recipe_node *recipe_get(const struct recipe_node *node, const char *key);
const struct recipe_pair *recipe_pair_get(const struct recipe_node *node,
                                          const char *key);
/* By dotted path: "tasks.train.retry.max". A key that itself has dots is quoted by
 * nobody and cannot be reached this way. */
struct recipe_node *recipe_at(const struct recipe_node *node, const char *path);
/* The scalar's text, or fallback when node is NULL or not a scalar. */
const char *recipe_text(const struct recipe_node *node, const char *fallback);

/* New nodes in an arena; children are added in order. */
struct recipe_node *recipe_node_new(struct rwf_arena *a, enum recipe_kind kind,
                                    struct recipe_span span);
struct recipe_node *recipe_scalar_new(struct rwf_arena *a, const char *text,
                                      enum recipe_type type, struct recipe_span span);
void recipe_map_add(struct rwf_arena *a, struct recipe_node *map, const char *key,
                    struct recipe_span key_span, struct recipe_node *value);
void recipe_list_add(struct rwf_arena *a, struct recipe_node *list,
                     struct recipe_node *item);
/* A deep copy; spans, types and texts are those of node. */
struct recipe_node *recipe_node_copy(struct rwf_arena *a,
                                     const struct recipe_node *node);

/* The YAML 1.2 core schema, for RECIPE_ANY and for numeric fields. */
bool recipe_looks_bool(const char *text, bool *ret);   /* true | false */
bool recipe_looks_int(const char *text, int64_t *ret); /* [-+]?[0-9]+ 0o7 0xF */
bool recipe_looks_number(const char *text,
                         double *ret); /* ints, 1e-4, .5, .inf, .nan */

/* Typed JSON of a tree whose strings hold no ${…}; x-* keys are kept. */
json_t *recipe_to_json(const struct recipe_node *node);

#endif
