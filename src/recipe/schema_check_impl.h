/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the interpreter and the part that words its findings: recipe__say_… report
 * (unless the check is quiet) and return false.
 */
#ifndef RWF_RECIPE_SCHEMA_CHECK_IMPL_H
#define RWF_RECIPE_SCHEMA_CHECK_IMPL_H
#include "base/map.h"
#include "recipe/schema_check.h"
#include "recipe/schema_compile.h"

struct recipe__check {
    struct recipe_diags *diags;
    struct rwf_map *said; /* "code file line col": one finding of a kind per place */
    int quiet;
    bool incomplete;
    bool checking_name;
};

/* Where a node stands: a key or, when that is NULL, an index in what is outer. */
struct recipe__place {
    const struct recipe__place *outer;
    const char *key;
    size_t index;
    struct recipe_span span; /* of the key or the item */
};

bool recipe__is_reference(const char *text);
unsigned recipe__node_types(const struct recipe_node *n);

#define SAY_ARGS                                                                       \
    struct recipe__check *c, const struct schema *s, const struct recipe_node *n,      \
        const struct recipe__place *at
bool recipe__say_type(SAY_ARGS);
bool recipe__say_allowed(SAY_ARGS);
bool recipe__say_constant(SAY_ARGS);
bool recipe__say_unit(SAY_ARGS); /* checks it, too */
bool recipe__say_pattern(SAY_ARGS);
bool recipe__say_length(SAY_ARGS);
bool recipe__say_range(SAY_ARGS);
bool recipe__say_forbidden(SAY_ARGS);
bool recipe__say_one_of_keys(SAY_ARGS, size_t present);
bool recipe__say_count(SAY_ARGS, const char *what, json_int_t min, json_int_t max);
bool recipe__say_twice(struct recipe__check *c, const struct recipe_node *item,
                       const struct recipe_node *first, const struct recipe__place *at);
bool recipe__say_missing(struct recipe__check *c, const struct recipe_node *n,
                         const struct recipe__place *at, const char *key);
bool recipe__say_unknown(struct recipe__check *c, const struct schema *s,
                         const struct recipe_node *n, const struct recipe_pair *pair,
                         const struct recipe__place *at);

#endif
