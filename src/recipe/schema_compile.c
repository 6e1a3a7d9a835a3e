/* SPDX-License-Identifier: Apache-2.0
 *
 * Compilation is driven by the table of keywords at the end. Subschemas are found again
 * by the address of their JSON, so a reference to a schema that is being compiled
 * works.
 */
#include "config.h"

#include "recipe/schema_compile.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/str.h"

struct schema_document {
    json_t *json;
    struct rwf_arena *arena;
    struct rwf_map *known; /* "address" of the JSON -> struct schema */
    struct recipe__pattern **patterns;
    size_t pattern_count, pattern_cap;
    const struct schema *root;
};

struct compile {
    struct schema_document *d;
    struct rwf_err *err;
};

static struct schema *compile(struct compile *c, const json_t *json);

static int bad(struct compile *c, const char *keyword, const char *what)
{
    return rwf_fail(c->err, EINVAL, "schema: keyword '%s' %s", keyword, what);
}

static int take_subschema(struct compile *c, const struct schema **place,
                          const json_t *value)
{
    *place = compile(c, value);
    return *place == NULL ? -1 : 0;
}

static int take_ref(struct compile *c, struct schema *s, const json_t *value)
{
    const char *text = json_string_value(value);
    if (text == NULL || !rwf_starts_with(text, "#/$defs/"))
        return bad(c, "$ref", "is not of the form #/$defs/NAME");
    const json_t *target = json_object_get(json_object_get(c->d->json, "$defs"),
                                           text + strlen("#/$defs/"));
    if (target == NULL)
        return bad(c, text, "names a schema that does not exist");
    return take_subschema(c, &s->ref, target);
}

/* Also those that nothing names: their keywords are checked as well. */
static int take_defs(struct compile *c, struct schema *s, const json_t *value)
{
    const char *key;
    json_t *sub;
    (void)s;
    json_object_foreach((json_t *)value, key, sub) {
        if (compile(c, sub) == NULL)
            return -1;
    }
    return 0;
}

static unsigned type_bit(const char *name)
{
    static const struct {
        const char *name;
        unsigned bit;
    } names[] = {
        {"null", SCHEMA_NULL},       {"boolean", SCHEMA_BOOL},
        {"integer", SCHEMA_INTEGER}, {"number", SCHEMA_NUMBER | SCHEMA_INTEGER},
        {"string", SCHEMA_STRING},   {"array", SCHEMA_LIST},
        {"object", SCHEMA_MAP},
    };
    for (size_t i = 0; name != NULL && i < RWF_COUNT(names); i++) {
        if (strcmp(names[i].name, name) == 0)
            return names[i].bit;
    }
    return 0;
}

static int take_type(struct compile *c, struct schema *s, const json_t *value)
{
    size_t i;
    json_t *name;
    s->types = type_bit(json_string_value(value));
    json_array_foreach(value, i, name)
        s->types |= type_bit(json_string_value(name));
    return s->types == 0 ? bad(c, "type", "names no known type") : 0;
}

static int compare_properties(const void *a, const void *b)
{
    return strcmp(((const struct schema_property *)a)->key,
                  ((const struct schema_property *)b)->key);
}

static int take_properties(struct compile *c, struct schema *s, const json_t *value)
{
    const char *key;
    json_t *sub;
    size_t i = 0;
    s->property_count = json_object_size(value);
    s->properties =
        rwf_arena_alloc(c->d->arena, (s->property_count + 1) * sizeof(*s->properties));
    json_object_foreach((json_t *)value, key, sub) {
        s->properties[i].key = key;
        if (take_subschema(c, &s->properties[i++].schema, sub) < 0)
            return -1;
    }
    qsort(s->properties, s->property_count, sizeof(*s->properties), compare_properties);
    return 0;
}

static struct recipe__pattern *take_regex(struct compile *c, const char *text)
{
    struct recipe__pattern *p = recipe__pattern_compile(text, false, c->err);
    if (p != NULL)
        *RWF_PUSH(c->d->patterns, c->d->pattern_count, c->d->pattern_cap) = p;
    return p;
}

static int take_key_patterns(struct compile *c, struct schema *s, const json_t *value)
{
    const char *key;
    json_t *sub;
    size_t i = 0;
    s->key_pattern_count = json_object_size(value);
    s->key_patterns = rwf_arena_alloc(c->d->arena, (s->key_pattern_count + 1) *
                                                       sizeof(*s->key_patterns));
    json_object_foreach((json_t *)value, key, sub) {
        s->key_patterns[i].pattern = take_regex(c, key);
        if (s->key_patterns[i].pattern == NULL ||
            take_subschema(c, &s->key_patterns[i++].schema, sub) < 0)
            return -1;
    }
    return 0;
}

static int take_additional(struct compile *c, struct schema *s, const json_t *value)
{
    return take_subschema(c, &s->additional, value);
}

static int take_names(struct compile *c, struct schema *s, const json_t *value)
{
    return take_subschema(c, &s->names, value);
}

static int take_items(struct compile *c, struct schema *s, const json_t *value)
{
    return take_subschema(c, &s->items, value);
}

static int take_required(struct compile *c, struct schema *s, const json_t *value)
{
    (void)c;
    s->required = value;
    return 0;
}

/* Of "not" two forms are understood: {} and {"required": [...]}. */
static int take_not(struct compile *c, struct schema *s, const json_t *value)
{
    s->forbidden = json_object_get(value, "required");
    s->never = json_is_object(value) && json_object_size(value) == 0;
    if (!s->never && (s->forbidden == NULL || json_object_size(value) != 1))
        return bad(c, "not", "has a form that is not interpreted");
    return 0;
}

static int take_enum(struct compile *c, struct schema *s, const json_t *value)
{
    size_t i;
    json_t *item;
    s->allowed = value;
    json_array_foreach(value, i, item) {
        if (!json_is_string(item))
            return bad(c, "enum", "holds something that is not a string");
    }
    return 0;
}

static int take_const(struct compile *c, struct schema *s, const json_t *value)
{
    if (json_is_object(value) || json_is_array(value))
        return bad(c, "const", "is not a scalar");
    s->constant = value;
    return 0;
}

static bool only_requires(const json_t *branch)
{
    return json_object_size(branch) == 1 &&
           json_array_size(json_object_get(branch, "required")) == 1;
}

static int take_branches(struct compile *c, struct schema *s, const json_t *value)
{
    size_t i;
    json_t *branch;
    if (s->branches != NULL)
        return bad(c, "oneOf", "stands beside anyOf");
    s->branch_count = json_array_size(value);
    s->branches =
        rwf_arena_alloc(c->d->arena, (s->branch_count + 1) * sizeof(*s->branches));
    s->one_of_keys = true;
    json_array_foreach(value, i, branch) {
        s->one_of_keys = s->one_of_keys && only_requires(branch);
        if (take_subschema(c, &s->branches[i], branch) < 0)
            return -1;
    }
    return 0;
}

static int take_any_of(struct compile *c, struct schema *s, const json_t *value)
{
    return take_branches(c, s, value);
}

static int take_one_of(struct compile *c, struct schema *s, const json_t *value)
{
    s->one = true;
    return take_branches(c, s, value);
}

static int take_pattern(struct compile *c, struct schema *s, const json_t *value)
{
    s->pattern = take_regex(c, json_string_value(value));
    return s->pattern == NULL ? -1 : 0;
}

static int take_unit(struct compile *c, struct schema *s, const json_t *value)
{
    const char *name = json_string_value(value);
    if (name != NULL && strcmp(name, "size") == 0)
        s->unit = RECIPE_SIZE;
    else if (name != NULL && strcmp(name, "duration") == 0)
        s->unit = RECIPE_DURATION;
    else
        return bad(c, "x-unit", "is neither size nor duration");
    return 0;
}

#define TAKE(name, member, from)                                                       \
    static int name(struct compile *c, struct schema *s, const json_t *value)          \
    {                                                                                  \
        (void)c;                                                                       \
        s->member = from;                                                              \
        return 0;                                                                      \
    }
TAKE(take_minimum, minimum, value)
TAKE(take_maximum, maximum, value)
TAKE(take_above, above, value)
TAKE(take_min_items, min_items, json_integer_value(value))
TAKE(take_max_items, max_items, json_integer_value(value))
TAKE(take_min_length, min_length, json_integer_value(value))
TAKE(take_max_length, max_length, json_integer_value(value))
TAKE(take_min_keys, min_keys, json_integer_value(value))
TAKE(take_max_keys, max_keys, json_integer_value(value))
TAKE(take_unique, unique, json_is_true(value))
TAKE(take_look, look, json_is_true(value))
TAKE(take_title, title, json_string_value(value))
TAKE(take_hint, hint, json_string_value(value))

/* NULL: says something to people only. Sorted by name. */
static const struct keyword {
    const char *name;
    int (*take)(struct compile *c, struct schema *s, const json_t *value);
} keywords[] = {
    {"$comment", NULL},
    {"$defs", take_defs},
    {"$id", NULL},
    {"$ref", take_ref},
    {"$schema", NULL},
    {"additionalProperties", take_additional},
    {"anyOf", take_any_of},
    {"const", take_const},
    {"default", NULL},
    {"description", NULL},
    {"enum", take_enum},
    {"examples", NULL},
    {"exclusiveMinimum", take_above},
    {"items", take_items},
    {"maxItems", take_max_items},
    {"maxLength", take_max_length},
    {"maxProperties", take_max_keys},
    {"maximum", take_maximum},
    {"minItems", take_min_items},
    {"minLength", take_min_length},
    {"minProperties", take_min_keys},
    {"minimum", take_minimum},
    {"not", take_not},
    {"oneOf", take_one_of},
    {"pattern", take_pattern},
    {"patternProperties", take_key_patterns},
    {"properties", take_properties},
    {"propertyNames", take_names},
    {"required", take_required},
    {"title", take_title},
    {"type", take_type},
    {"uniqueItems", take_unique},
    {"x-hint", take_hint},
    {"x-look", take_look},
    {"x-since", NULL},
    {"x-unit", take_unit},
};

static int compare_keyword(const void *name, const void *keyword)
{
    return strcmp(name, ((const struct keyword *)keyword)->name);
}

static int take_keywords(struct compile *c, struct schema *s, const json_t *json)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)json, name, value) {
        const struct keyword *k = bsearch(name, keywords, RWF_COUNT(keywords),
                                          sizeof(*keywords), compare_keyword);
        if (k == NULL)
            return bad(c, name, "is not interpreted");
        if (k->take != NULL && k->take(c, s, value) < 0)
            return -1;
    }
    return 0;
}

static struct schema *compile(struct compile *c, const json_t *json)
{
    char address[32];
    snprintf(address, sizeof(address), "%p", (const void *)json);
    /* true and false are singletons of jansson: any two are the same schema. */
    struct schema *s = rwf_map_get(c->d->known, address);
    if (s != NULL)
        return s;
    s = rwf_arena_alloc(c->d->arena, sizeof(*s));
    s->json = json;
    s->min_items = s->max_items = s->min_length = s->max_length = -1;
    s->min_keys = s->max_keys = -1;
    s->never = json_is_false(json);
    rwf_map_set(c->d->known, address, s);
    if (!json_is_object(json) && !json_is_boolean(json)) {
        bad(c, "?", "has a subschema that is neither an object nor a boolean");
        return NULL;
    }
    return json_is_object(json) && take_keywords(c, s, json) < 0 ? NULL : s;
}

struct schema_document *recipe__schema_compile(json_t *json, struct rwf_err *err)
{
    struct schema_document *d = rwf_xcalloc(1, sizeof(*d));
    struct compile c = {d, err};
    d->json = json_incref(json);
    d->arena = rwf_arena_create();
    d->known = rwf_map_create();
    d->root = compile(&c, json);
    if (d->root != NULL)
        return d;
    recipe__schema_free(d);
    return NULL;
}

void recipe__schema_free(struct schema_document *d)
{
    if (d == NULL)
        return;
    for (size_t i = 0; i < d->pattern_count; i++)
        recipe__pattern_free(d->patterns[i]);
    free(d->patterns);
    rwf_map_destroy(d->known, NULL);
    rwf_arena_destroy(d->arena);
    json_decref(d->json);
    free(d);
}

const struct schema *recipe__schema_root(const struct schema_document *d)
{
    return d->root;
}

static int compare_key(const void *key, const void *property)
{
    return strcmp(key, ((const struct schema_property *)property)->key);
}

const struct schema *recipe__schema_property(const struct schema *s, const char *key)
{
    const struct schema_property *found =
        s->property_count == 0 ? NULL
                               : bsearch(key, s->properties, s->property_count,
                                         sizeof(*s->properties), compare_key);
    return found == NULL ? NULL : found->schema;
}

unsigned recipe__schema_types(const struct schema *s)
{
    unsigned types = s->types != 0 ? s->types : SCHEMA_ALL;
    unsigned branches = 0;
    if (s->never)
        return 0;
    if (s->ref != NULL)
        types &= recipe__schema_types(s->ref);
    for (size_t i = 0; i < s->branch_count; i++)
        branches |= recipe__schema_types(s->branches[i]);
    return s->branch_count > 0 ? types & branches : types;
}
