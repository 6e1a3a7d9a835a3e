/* SPDX-License-Identifier: Apache-2.0
 *
 * The interpreter. A node is walked together with its schema; every mismatch is
 * reported and the walk goes on beside it. Of several branches (anyOf) the first that
 * fits in silence is walked again aloud; when none fits, the one nearest in kind and
 * keys is, so that one story is told and not one per branch.
 *
 * Kinds: JSON Schema knows numbers and strings, a recipe has only text. A plain scalar
 * is taken for what YAML 1.2 sees in it, because other validators do the same; what it
 * then becomes (`node->type`) is the schema's word.
 */
#include "config.h"

#include "recipe/schema_check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/str.h"
#include "recipe/schema_check_impl.h"

bool recipe__is_reference(const char *text)
{
    size_t len = strlen(text);
    return len > 3 && strncmp(text, "${", 2) == 0 && text[len - 1] == '}';
}

unsigned recipe__node_types(const struct recipe_node *n)
{
    if (n->kind == RECIPE_MAP)
        return SCHEMA_MAP;
    if (n->kind == RECIPE_LIST)
        return SCHEMA_LIST;
    if (!n->plain)
        return SCHEMA_STRING;
    if (n->null)
        return SCHEMA_NULL;
    if (strchr("tf+-.0123456789", n->text[0]) == NULL) /* most text ends here */
        return SCHEMA_STRING;
    if (recipe_looks_bool(n->text, NULL))
        return SCHEMA_BOOL;
    if (recipe_looks_int(n->text, NULL))
        return SCHEMA_INTEGER;
    return recipe_looks_number(n->text, NULL) ? SCHEMA_NUMBER : SCHEMA_STRING;
}

static bool check(struct recipe__check *c, const struct schema *s,
                  struct recipe_node *n, const struct recipe__place *at);

/* --- scalars --- */

static enum recipe_type type_for(const struct schema *s)
{
    if (s->unit != RECIPE_UNTYPED)
        return s->unit;
    if (s->look)
        return RECIPE_ANY;
    switch (s->types & ~(unsigned)SCHEMA_NULL) {
    case SCHEMA_BOOL:
        return RECIPE_BOOL;
    case SCHEMA_INTEGER:
        return RECIPE_INT;
    case SCHEMA_NUMBER | SCHEMA_INTEGER:
        return RECIPE_NUMBER;
    case 0:
        return RECIPE_UNTYPED;
    default:
        return RECIPE_TEXT;
    }
}

static bool is_reference_branch(const struct schema *s)
{
    return s->ref != NULL && s->ref->title != NULL &&
           strcmp(s->ref->title, "reference") == 0;
}

/* The type that a reference standing here must result in. */
static enum recipe_type wanted_type(const struct schema *s)
{
    enum recipe_type type = type_for(s);
    if (type == RECIPE_UNTYPED && s->ref != NULL)
        type = wanted_type(s->ref);
    for (size_t i = 0; type == RECIPE_UNTYPED && i < s->branch_count; i++) {
        if (!is_reference_branch(s->branches[i]) &&
            (recipe__schema_types(s->branches[i]) & SCHEMA_SCALARS))
            type = wanted_type(s->branches[i]);
    }
    return type;
}

static bool check_allowed(struct recipe__check *c, const struct schema *s,
                          const struct recipe_node *n, const struct recipe__place *at)
{
    size_t i;
    json_t *word;
    json_array_foreach(s->allowed, i, word) {
        if (strcmp(json_string_value(word), n->text) == 0)
            return true;
    }
    return recipe__say_allowed(c, s, n, at);
}

static bool equals_constant(const json_t *constant, const struct recipe_node *n,
                            unsigned types)
{
    double number = 0;
    if (json_is_string(constant))
        return types == SCHEMA_STRING &&
               strcmp(json_string_value(constant), n->text) == 0;
    if (json_is_boolean(constant))
        return types == SCHEMA_BOOL && (n->text[0] == 't') == json_is_true(constant);
    if (json_is_number(constant))
        return (types & (SCHEMA_INTEGER | SCHEMA_NUMBER)) != 0 &&
               recipe_looks_number(n->text, &number) &&
               number == json_number_value(constant);
    return json_is_null(constant) && types == SCHEMA_NULL;
}

static size_t characters(const char *text)
{
    size_t count = 0;
    for (; *text != '\0'; text++)
        count += ((unsigned char)*text & 0xc0) != 0x80;
    return count;
}

static bool check_string(struct recipe__check *c, const struct schema *s,
                         const struct recipe_node *n, const struct recipe__place *at)
{
    if (s->unit != RECIPE_UNTYPED)
        return recipe__say_unit(c, s, n, at);
    if (s->pattern != NULL && !recipe__pattern_matches(s->pattern, n->text, n->len))
        return recipe__say_pattern(c, s, n, at);
    if (s->min_length < 0 && s->max_length < 0)
        return true;
    json_int_t length = (json_int_t)characters(n->text);
    if (length < s->min_length || (s->max_length >= 0 && length > s->max_length))
        return recipe__say_length(c, s, n, at);
    return true;
}

static bool check_number(struct recipe__check *c, const struct schema *s,
                         const struct recipe_node *n, const struct recipe__place *at)
{
    double value = 0;
    recipe_looks_number(n->text, &value);
    bool low = s->minimum != NULL && !(value >= json_number_value(s->minimum));
    bool not_above = s->above != NULL && !(value > json_number_value(s->above));
    bool high = s->maximum != NULL && !(value <= json_number_value(s->maximum));
    return low || high || not_above ? recipe__say_range(c, s, n, at) : true;
}

static bool check_scalar(struct recipe__check *c, const struct schema *s,
                         struct recipe_node *n, const struct recipe__place *at,
                         unsigned types)
{
    bool ok = true;
    if (s->allowed != NULL)
        ok = check_allowed(c, s, n, at);
    if (s->constant != NULL && !equals_constant(s->constant, n, types))
        ok = recipe__say_constant(c, s, n, at);
    if (types == SCHEMA_STRING && (s->unit != RECIPE_UNTYPED || s->pattern != NULL ||
                                   s->min_length >= 0 || s->max_length >= 0))
        ok = check_string(c, s, n, at) && ok;
    if (types & (SCHEMA_INTEGER | SCHEMA_NUMBER))
        ok = check_number(c, s, n, at) && ok;
    if (c->quiet == 0 && type_for(s) != RECIPE_UNTYPED)
        n->type = type_for(s);
    return ok;
}

/* The first schema is the one that says most; others only add what must stand together.
 */
static void remember(const struct recipe__check *c, const struct schema *s,
                     struct recipe_node *n)
{
    if (c->quiet == 0 && n->schema == NULL)
        n->schema = s;
}

/* --- lists --- */

static bool check_unique(struct recipe__check *c, const struct recipe_node *n,
                         const struct recipe__place *at)
{
    bool ok = true;
    struct rwf_map *seen = rwf_map_create();
    for (size_t i = 0; i < n->count; i++) {
        const struct recipe_node *item = n->items[i];
        if (item->kind != RECIPE_SCALAR)
            continue;
        const struct recipe_node *first = rwf_map_set(seen, item->text, (void *)item);
        if (first != NULL && recipe__node_types(first) == recipe__node_types(item))
            ok = recipe__say_twice(c, item, first, at);
    }
    rwf_map_destroy(seen, NULL);
    return ok;
}

static bool check_list(struct recipe__check *c, const struct schema *s,
                       struct recipe_node *n, const struct recipe__place *at)
{
    json_int_t count = (json_int_t)n->count;
    bool ok = true;
    if (count < s->min_items || (s->max_items >= 0 && count > s->max_items))
        ok = recipe__say_count(c, s, n, at, "item", s->min_items, s->max_items);
    if (s->unique)
        ok = check_unique(c, n, at) && ok;
    for (size_t i = 0; s->items != NULL && i < n->count; i++) {
        struct recipe__place inner = {at, NULL, i, n->items[i]->span};
        remember(c, s->items, n->items[i]);
        ok = check(c, s->items, n->items[i], &inner) && ok;
    }
    return ok;
}

/* --- maps --- */

static bool check_required(struct recipe__check *c, const struct schema *s,
                           const struct recipe_node *n, const struct recipe__place *at)
{
    size_t i;
    json_t *key;
    bool ok = true;
    json_array_foreach(s->required, i, key) {
        if (recipe_pair_get(n, json_string_value(key)) == NULL)
            ok = recipe__say_missing(c, n, at, json_string_value(key));
    }
    return ok;
}

static bool check_forbidden(struct recipe__check *c, const struct schema *s,
                            const struct recipe_node *n, const struct recipe__place *at)
{
    size_t i;
    json_t *key;
    json_array_foreach(s->forbidden, i, key) {
        if (recipe_pair_get(n, json_string_value(key)) == NULL)
            return true;
    }
    return recipe__say_forbidden(c, s, n, at);
}

static bool check_name(struct recipe__check *c, const struct schema *s,
                       const struct recipe_pair *pair, const struct recipe__place *at)
{
    struct recipe_node name = {.kind = RECIPE_SCALAR,
                               .span = pair->key_span,
                               .text = pair->key,
                               .len = strlen(pair->key)};
    struct recipe__place inner = {at, pair->key, 0, pair->key_span};
    c->checking_name = true;
    bool ok = check(c, s->names, &name, &inner);
    c->checking_name = false;
    return ok;
}

static const struct schema *schema_for_key(const struct schema *s, const char *key)
{
    const struct schema *found = recipe__schema_property(s, key);
    for (size_t i = 0; found == NULL && i < s->key_pattern_count; i++) {
        if (recipe__pattern_matches(s->key_patterns[i].pattern, key, strlen(key)))
            found = s->key_patterns[i].schema;
    }
    return found;
}

static bool check_pair(struct recipe__check *c, const struct schema *s,
                       const struct recipe_node *n, const struct recipe_pair *pair,
                       const struct recipe__place *at)
{
    struct recipe__place inner = {at, pair->key, 0, pair->key_span};
    const struct schema *value = schema_for_key(s, pair->key);
    bool ok = true;
    if (value == NULL) {
        value = s->additional;
        if (value != NULL && value->never)
            return recipe__say_unknown(c, s, n, pair, at);
        if (s->names != NULL)
            ok = check_name(c, s, pair, at);
    }
    if (value == NULL)
        return ok;
    if (value->never)
        return recipe__say_unknown(c, s, n, pair, at);
    remember(c, value, pair->value);
    return check(c, value, pair->value, &inner) && ok;
}

static bool check_map(struct recipe__check *c, const struct schema *s,
                      struct recipe_node *n, const struct recipe__place *at)
{
    json_int_t count = (json_int_t)n->count;
    bool ok = true;
    if (count < s->min_keys || (s->max_keys >= 0 && count > s->max_keys))
        ok = recipe__say_count(c, s, n, at, "key", s->min_keys, s->max_keys);
    if (s->required != NULL)
        ok = check_required(c, s, n, at) && ok;
    if (s->forbidden != NULL)
        ok = check_forbidden(c, s, n, at) && ok;
    if (s->property_count == 0 && s->key_pattern_count == 0 && s->additional == NULL &&
        s->names == NULL)
        return ok;
    for (size_t i = 0; i < n->count; i++)
        ok = check_pair(c, s, n, &n->pairs[i], at) && ok;
    return ok;
}

/* --- branches --- */

static const char *branch_key(const struct schema *branch)
{
    return json_string_value(json_array_get(branch->required, 0));
}

static bool check_one_of_keys(struct recipe__check *c, const struct schema *s,
                              const struct recipe_node *n,
                              const struct recipe__place *at)
{
    size_t present = 0;
    for (size_t i = 0; i < s->branch_count; i++)
        present += recipe_pair_get(n, branch_key(s->branches[i])) != NULL;
    if (present == 1 || n->kind != RECIPE_MAP || (present > 1 && !s->one))
        return true;
    return recipe__say_one_of_keys(c, s, n, at, present);
}

static bool fits_quietly(struct recipe__check *c, const struct schema *s,
                         struct recipe_node *n, const struct recipe__place *at)
{
    c->quiet++;
    bool ok = check(c, s, n, at);
    c->quiet--;
    return ok;
}

/* How many keys of n a branch does not know, and of its required ones n does not have.
 */
static size_t distance(const struct schema *s, const struct recipe_node *n)
{
    size_t far = s->ref != NULL ? distance(s->ref, n) : 0, i;
    json_t *key;
    json_array_foreach(s->required, i, key)
        far += recipe_pair_get(n, json_string_value(key)) == NULL;
    if (s->additional == NULL || !s->additional->never)
        return far;
    for (i = 0; i < n->count; i++)
        far += schema_for_key(s, n->pairs[i].key) == NULL;
    return far;
}

/* The branch to report by: of the node's own kind if there is one. NULL: none. */
static const struct schema *nearest(const struct schema *s, const struct recipe_node *n)
{
    const struct schema *best = NULL, *scalar = NULL;
    size_t best_far = 0;
    unsigned types = recipe__node_types(n);
    for (size_t i = 0; i < s->branch_count; i++) {
        const struct schema *branch = s->branches[i];
        unsigned accepts = recipe__schema_types(branch);
        if (is_reference_branch(branch))
            continue;
        if (scalar == NULL && (accepts & SCHEMA_SCALARS) && n->kind == RECIPE_SCALAR)
            scalar = branch;
        if ((accepts & types) == 0)
            continue;
        size_t far = n->kind == RECIPE_MAP ? distance(branch, n) : 0;
        if (best == NULL || far < best_far) {
            best = branch;
            best_far = far;
        }
    }
    return best != NULL ? best : scalar;
}

static bool check_branches(struct recipe__check *c, const struct schema *s,
                           struct recipe_node *n, const struct recipe__place *at)
{
    unsigned types = recipe__node_types(n);
    if (s->one_of_keys)
        return check_one_of_keys(c, s, n, at);
    for (size_t i = 0; i < s->branch_count; i++) {
        const struct schema *branch = s->branches[i];
        if ((recipe__schema_types(branch) & types) == 0 ||
            !fits_quietly(c, branch, n, at))
            continue;
        bool ok = c->quiet > 0 || check(c, branch, n, at);
        if (c->quiet == 0 && is_reference_branch(branch))
            n->type = wanted_type(s) == RECIPE_UNTYPED ? RECIPE_ANY : wanted_type(s);
        return ok;
    }
    if (c->quiet > 0)
        return false;
    const struct schema *branch = nearest(s, n);
    if (branch != NULL)
        return check(c, branch, n, at);
    return recipe__say_type(c, s, n, at);
}

static bool check(struct recipe__check *c, const struct schema *s,
                  struct recipe_node *n, const struct recipe__place *at)
{
    unsigned types = recipe__node_types(n);
    bool ok = true;
    if (s->never)
        return recipe__say_type(c, s, n, at);
    if (s->types != 0 && (s->types & types) == 0)
        return recipe__say_type(c, s, n, at);
    if (s->ref != NULL)
        ok = check(c, s->ref, n, at);
    if (n->kind == RECIPE_SCALAR)
        ok = check_scalar(c, s, n, at, types) && ok;
    else if (n->kind == RECIPE_LIST)
        ok = check_list(c, s, n, at) && ok;
    else
        ok = check_map(c, s, n, at) && ok;
    if (s->branch_count > 0 && (ok || s->one_of_keys))
        ok = check_branches(c, s, n, at) && ok;
    return ok;
}

void recipe__schema_check(struct recipe_node *root, struct recipe_diags *diags,
                          bool incomplete)
{
    struct recipe__check c = {
        .diags = diags,
        .incomplete = incomplete,
        .said = rwf_map_create(),
    };
    struct recipe__place top = {NULL, NULL, 0, root->span};
    root->schema = recipe__schema();
    check(&c, recipe__schema(), root, &top);
    rwf_map_destroy(c.said, NULL);
}

void recipe_schema_check(struct recipe_node *root, struct recipe_diags *diags)
{
    recipe__schema_check(root, diags, false);
}

int recipe_schema_value(const struct recipe_node *node, const char *text,
                        struct rwf_err *err)
{
    struct recipe_node value = {.kind = RECIPE_SCALAR,
                                .plain = true,
                                .text = text,
                                .len = strlen(text),
                                .schema = node->schema};
    struct recipe_diags *diags = recipe_diags_create();
    struct recipe__check c = {.diags = diags, .said = rwf_map_create()};
    struct recipe__place at = {NULL, "value", 0, {0, 0, 0, 0, 0}};
    /* An empty result is empty text and not an absent value. */
    value.plain =
        text[0] != '\0' && !(node->type == RECIPE_TEXT || node->type == RECIPE_SIZE ||
                             node->type == RECIPE_DURATION);
    if (node->schema != NULL)
        check(&c, node->schema, &value, &at);
    int rc = 0;
    if (recipe_diags_count(diags) > 0)
        rc = rwf_fail(err, RWF_E_RECIPE, "%s", recipe_diags_at(diags, 0)->message);
    rwf_map_destroy(c.said, NULL);
    recipe_diags_destroy(diags);
    return rc;
}
