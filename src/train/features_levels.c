/* SPDX-License-Identifier: Apache-2.0
 *
 * An open-addressed table of indexes into an array of levels; never more than half
 * full.
 */
#include "config.h"
#include "train/features_levels.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/map.h"
#include "base/mem.h"

#define LEVELS_FIRST 32 /* slots; a power of 2 */

struct level {
    struct levels_value value; /* its text is ours */
    uint32_t hash;
    int64_t seen;
};

struct levels {
    enum levels_kind kind;
    struct level *items;
    size_t count, cap;
    int32_t *slots; /* index + 1, 0: free */
    size_t size;
};

struct levels *levels_create(enum levels_kind kind)
{
    struct levels *l = rwf_xcalloc(1, sizeof(*l));
    l->kind = kind;
    l->size = LEVELS_FIRST;
    l->slots = rwf_xcalloc(l->size, sizeof(*l->slots));
    return l;
}

void levels_destroy(struct levels *l)
{
    if (l == NULL)
        return;
    for (size_t i = 0; i < l->count; i++)
        free((char *)(uintptr_t)l->items[i].value.text);
    free(l->items);
    free(l->slots);
    free(l);
}

enum levels_kind levels_kind(const struct levels *l)
{
    return l->kind;
}

int levels_count(const struct levels *l)
{
    return (int)l->count;
}

int64_t levels_seen(const struct levels *l, int i)
{
    return l->items[i].seen;
}

/* --- values --- */

struct levels_value levels_text(const char *text, size_t len)
{
    return (struct levels_value){ .text = text, .len = len };
}

struct levels_value levels_whole(int64_t number)
{
    return (struct levels_value){ .whole = number };
}

struct levels_value levels_real(double number)
{
    if (number >= -0x1p63 && number < 0x1p63 && number == floor(number))
        return levels_whole((int64_t)number);
    return (struct levels_value){ .real = number, .is_real = true };
}

static bool same(const struct levels_value *a, const struct levels_value *b)
{
    if (a->text != NULL)
        return a->len == b->len && memcmp(a->text, b->text, a->len) == 0;
    return a->is_real == b->is_real && a->whole == b->whole &&
           memcmp(&a->real, &b->real, sizeof(a->real)) == 0;
}

static uint32_t hash_of(const struct levels_value *v)
{
    uint64_t bits = (uint64_t)v->whole;
    if (v->text != NULL)
        return rwf_map_hash(v->text, v->len);
    if (v->is_real)
        memcpy(&bits, &v->real, sizeof(bits));
    bits ^= bits >> 32;
    bits *= UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)(bits >> 32);
}

static double number_of(const struct levels_value *v)
{
    return v->is_real ? v->real : (double)v->whole;
}

static int compare(const void *a, const void *b)
{
    const struct levels_value *x = &((const struct level *)a)->value;
    const struct levels_value *y = &((const struct level *)b)->value;
    if (x->text != NULL) {
        int order = memcmp(x->text, y->text, x->len < y->len ? x->len : y->len);
        return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
    }
    if (!x->is_real && !y->is_real)
        return (x->whole > y->whole) - (x->whole < y->whole);
    return (number_of(x) > number_of(y)) - (number_of(x) < number_of(y));
}

/* --- the table --- */

/* The slot that has v, or the free one where it goes. */
static size_t slot_of(const struct levels *l, const struct levels_value *v,
                      uint32_t hash)
{
    size_t at = hash & (l->size - 1);
    for (; l->slots[at] != 0; at = (at + 1) & (l->size - 1)) {
        const struct level *item = &l->items[l->slots[at] - 1];
        if (item->hash == hash && same(&item->value, v))
            break;
    }
    return at;
}

static void rebuild(struct levels *l, size_t size)
{
    free(l->slots);
    l->size = size;
    l->slots = rwf_xcalloc(size, sizeof(*l->slots));
    for (size_t i = 0; i < l->count; i++)
        l->slots[slot_of(l, &l->items[i].value, l->items[i].hash)] = (int32_t)i + 1;
}

int levels_find(const struct levels *l, const struct levels_value *v)
{
    return l->slots[slot_of(l, v, hash_of(v))] - 1;
}

int levels_add(struct levels *l, const struct levels_value *v)
{
    uint32_t hash = hash_of(v);
    size_t at = slot_of(l, v, hash);
    if (l->slots[at] == 0) {
        struct level *item = RWF_PUSH(l->items, l->count, l->cap);
        *item = (struct level){ .value = *v, .hash = hash };
        if (v->text != NULL) {
            char *copy = rwf_xmalloc(v->len + 1);
            memcpy(copy, v->text, v->len);
            copy[v->len] = '\0';
            item->value.text = copy;
        }
        l->slots[at] = (int32_t)l->count;
        if (2 * l->count > l->size) {
            rebuild(l, 2 * l->size);
            at = slot_of(l, v, hash);
        }
    }
    l->items[l->slots[at] - 1].seen++;
    return l->slots[at] - 1;
}

void levels_sort(struct levels *l)
{
    if (l->count > 0)
        qsort(l->items, l->count, sizeof(*l->items), compare);
    rebuild(l, l->size);
}

/* --- JSON --- */

json_t *levels_json(const struct levels *l, int i)
{
    const struct levels_value *v = &l->items[i].value;
    if (l->kind == LEVELS_TEXT)
        return json_stringn(v->text, v->len);
    if (l->kind == LEVELS_BOOLEAN)
        return json_boolean(v->whole != 0);
    return v->is_real ? json_real(v->real) : json_integer((json_int_t)v->whole);
}

char *levels_name(const struct levels *l, int i)
{
    const struct levels_value *v = &l->items[i].value;
    if (l->kind == LEVELS_TEXT)
        return rwf_xstrndup(v->text, v->len);
    json_t *value = levels_json(l, i);
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
    json_decref(value);
    return text;
}

bool levels_of_json(const struct levels *l, const json_t *value,
                    struct levels_value *ret)
{
    if (l->kind == LEVELS_TEXT && json_is_string(value))
        *ret = levels_text(json_string_value(value), json_string_length(value));
    else if (l->kind == LEVELS_BOOLEAN && json_is_boolean(value))
        *ret = levels_whole(json_is_true(value));
    else if (l->kind == LEVELS_NUMBER && json_is_integer(value))
        *ret = levels_whole((int64_t)json_integer_value(value));
    else if (l->kind == LEVELS_NUMBER && json_is_real(value))
        *ret = levels_real(json_real_value(value));
    else
        return false;
    return true;
}
