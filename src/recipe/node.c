/* SPDX-License-Identifier: Apache-2.0
 *
 * The tree. Arrays of pairs and items double, so their capacity follows from the count;
 * a map of more than INDEX_FROM keys has an index of hashes beside its pairs, which
 * keeps both look-up and the search for duplicate keys linear for recipes of any size.
 */
#include "config.h"

#include "recipe/node.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"

#define FIRST_CAPACITY 4
#define INDEX_FROM 8

struct recipe_index {
    size_t mask;      /* slots - 1 */
    uint32_t slots[]; /* index of a pair + 1, 0: free */
};

static size_t key_slot(const struct recipe_node *map, const char *key)
{
    const struct recipe_index *index = map->index;
    size_t slot = rwf_map_hash(key, strlen(key)) & index->mask;
    while (index->slots[slot] != 0) {
        if (strcmp(map->pairs[index->slots[slot] - 1].key, key) == 0)
            break;
        slot = (slot + 1) & index->mask;
    }
    return slot;
}

const struct recipe_pair *recipe_pair_get(const struct recipe_node *node,
                                          const char *key)
{
    if (node == NULL || node->kind != RECIPE_MAP)
        return NULL;
    if (node->index != NULL) {
        uint32_t found = node->index->slots[key_slot(node, key)];
        return found == 0 ? NULL : &node->pairs[found - 1];
    }
    for (size_t i = 0; i < node->count; i++) {
        if (strcmp(node->pairs[i].key, key) == 0)
            return &node->pairs[i];
    }
    return NULL;
}

struct recipe_node *recipe_get(const struct recipe_node *node, const char *key)
{
    const struct recipe_pair *pair = recipe_pair_get(node, key);
    return pair == NULL ? NULL : pair->value;
}

struct recipe_node *recipe_at(const struct recipe_node *node, const char *path)
{
    struct recipe_node *found = NULL;
    for (;;) {
        size_t len = strcspn(path, ".");
        char *key = rwf_xstrndup(path, len);
        found = recipe_get(found == NULL ? node : found, key);
        free(key);
        if (found == NULL || path[len] == '\0')
            return found;
        path += len + 1;
    }
}

const char *recipe_text(const struct recipe_node *node, const char *fallback)
{
    return node == NULL || node->kind != RECIPE_SCALAR ? fallback : node->text;
}

struct recipe_node *recipe_node_new(struct rwf_arena *a, enum recipe_kind kind,
                                    struct recipe_span span)
{
    struct recipe_node *node = rwf_arena_alloc(a, sizeof(*node));
    node->kind = kind;
    node->span = span;
    node->text = "";
    return node;
}

struct recipe_node *recipe_scalar_new(struct rwf_arena *a, const char *text,
                                      enum recipe_type type, struct recipe_span span)
{
    struct recipe_node *node = recipe_node_new(a, RECIPE_SCALAR, span);
    node->type = type;
    node->len = strlen(text);
    node->text = rwf_arena_strndup(a, text, node->len);
    return node;
}

/* Room for one more of size bytes each: the array has room for the next power of two.
 */
static void *make_room(struct rwf_arena *a, void *old, size_t count, size_t size)
{
    size_t room = count == 0 ? FIRST_CAPACITY : 2 * count;
    if (count != 0 && (count < FIRST_CAPACITY || (count & (count - 1)) != 0))
        return old;
    void *bigger = rwf_arena_alloc(a, room * size);
    if (count != 0)
        memcpy(bigger, old, count * size);
    return bigger;
}

static void index_rebuild(struct rwf_arena *a, struct recipe_node *map)
{
    size_t slots = INDEX_FROM * 4;
    while (slots < map->count * 4)
        slots *= 2;
    map->index = rwf_arena_alloc(a, sizeof(*map->index) + slots * sizeof(uint32_t));
    map->index->mask = slots - 1;
    for (size_t i = 0; i < map->count; i++)
        map->index->slots[key_slot(map, map->pairs[i].key)] = (uint32_t)i + 1;
}

void recipe_map_add(struct rwf_arena *a, struct recipe_node *map, const char *key,
                    struct recipe_span key_span, struct recipe_node *value)
{
    rwf_assert(map->kind == RECIPE_MAP);
    map->pairs = make_room(a, map->pairs, map->count, sizeof(*map->pairs));
    struct recipe_pair *pair = &map->pairs[map->count++];
    pair->key = rwf_arena_strdup(a, key);
    pair->key_span = key_span;
    pair->value = value;
    if (map->count <= INDEX_FROM)
        return;
    if (map->index == NULL || map->count * 2 > map->index->mask + 1)
        index_rebuild(a, map);
    else
        map->index->slots[key_slot(map, pair->key)] = (uint32_t)map->count;
}

void recipe_list_add(struct rwf_arena *a, struct recipe_node *list,
                     struct recipe_node *item)
{
    rwf_assert(list->kind == RECIPE_LIST);
    list->items = make_room(a, list->items, list->count, sizeof(*list->items));
    list->items[list->count++] = item;
}

struct recipe_node *recipe_node_copy(struct rwf_arena *a,
                                     const struct recipe_node *node)
{
    struct recipe_node *copy = rwf_arena_alloc(a, sizeof(*copy));
    *copy = *node;
    if (node->kind == RECIPE_SCALAR)
        return copy;
    copy->count = 0;
    copy->index = NULL;
    copy->pairs = NULL;
    for (size_t i = 0; i < node->count; i++) {
        if (node->kind == RECIPE_LIST)
            recipe_list_add(a, copy, recipe_node_copy(a, node->items[i]));
        else
            recipe_map_add(a, copy, node->pairs[i].key, node->pairs[i].key_span,
                           recipe_node_copy(a, node->pairs[i].value));
    }
    return copy;
}

bool recipe_looks_bool(const char *text, bool *ret)
{
    bool yes = strcmp(text, "true") == 0;
    if (!yes && strcmp(text, "false") != 0)
        return false;
    if (ret != NULL)
        *ret = yes;
    return true;
}

static bool only(const char *text, const char *allowed)
{
    return text[0] != '\0' && text[strspn(text, allowed)] == '\0';
}

bool recipe_looks_int(const char *text, int64_t *ret)
{
    const char *digits = text;
    int base = 10;
    if (text[0] == '0' && (text[1] == 'o' || text[1] == 'x')) {
        base = text[1] == 'o' ? 8 : 16;
        digits = text + 2;
    } else if (text[0] == '-' || text[0] == '+') {
        digits++;
    }
    if (!only(digits, base == 8    ? "01234567"
                      : base == 10 ? "0123456789"
                                   : "0123456789abcdefABCDEF"))
        return false;
    errno = 0;
    long long value = strtoll(base == 10 ? text : digits, NULL, base);
    if (errno != 0)
        return false;
    if (ret != NULL)
        *ret = value;
    return true;
}

/* [-+]? ( .[0-9]+ | [0-9]+ (.[0-9]*)? ) ([eE][-+]?[0-9]+)? */
static bool decimal(const char *p)
{
    p += *p == '-' || *p == '+';
    size_t whole = strspn(p, "0123456789");
    p += whole;
    if (*p == '.') {
        size_t fraction = strspn(p + 1, "0123456789");
        if (whole + fraction == 0)
            return false;
        p += 1 + fraction;
    } else if (whole == 0) {
        return false;
    }
    if (*p == 'e' || *p == 'E') {
        p++;
        p += *p == '-' || *p == '+';
        return only(p, "0123456789");
    }
    return *p == '\0';
}

static bool special_number(const char *text, double *ret)
{
    static const char *const infinite[] = {".inf", ".Inf", ".INF"};
    static const char *const nan[] = {".nan", ".NaN", ".NAN"};
    const char *bare = text + (text[0] == '-' || text[0] == '+');
    for (size_t i = 0; i < RWF_COUNT(infinite); i++) {
        if (strcmp(bare, infinite[i]) == 0) {
            *ret = text[0] == '-' ? -INFINITY : INFINITY;
            return true;
        }
        if (strcmp(text, nan[i]) == 0) {
            *ret = NAN;
            return true;
        }
    }
    return false;
}

bool recipe_looks_number(const char *text, double *ret)
{
    double value = 0;
    int64_t whole = 0;
    if (recipe_looks_int(text, &whole))
        value = (double)whole;
    else if (decimal(text))
        value = strtod(text, NULL);
    else if (!special_number(text, &value))
        return false;
    if (ret != NULL)
        *ret = value;
    return true;
}

static json_t *text_json(const struct recipe_node *node)
{
    return json_stringn_nocheck(node->text, node->len);
}

/* A number that JSON can hold, else NULL. */
static json_t *number_json(const char *text)
{
    int64_t whole = 0;
    double value = 0;
    if (recipe_looks_int(text, &whole))
        return json_integer(whole);
    if (recipe_looks_number(text, &value) && isfinite(value))
        return json_real(value);
    return NULL;
}

static json_t *scalar_json(const struct recipe_node *node)
{
    bool any =
        node->plain && (node->type == RECIPE_ANY || node->type == RECIPE_UNTYPED);
    bool value = false;
    json_t *number = NULL;
    if (node->null)
        return json_null();
    if ((any || node->type == RECIPE_BOOL) && recipe_looks_bool(node->text, &value))
        return json_boolean(value);
    if (any || node->type == RECIPE_INT || node->type == RECIPE_NUMBER)
        number = number_json(node->text);
    return number != NULL ? number : text_json(node);
}

json_t *recipe_to_json(const struct recipe_node *node)
{
    if (node == NULL)
        return json_null();
    if (node->kind == RECIPE_SCALAR)
        return scalar_json(node);
    json_t *json = node->kind == RECIPE_MAP ? json_object() : json_array();
    for (size_t i = 0; i < node->count; i++) {
        if (node->kind == RECIPE_MAP)
            json_object_set_new_nocheck(json, node->pairs[i].key,
                                        recipe_to_json(node->pairs[i].value));
        else
            json_array_append_new(json, recipe_to_json(node->items[i]));
    }
    return json;
}
