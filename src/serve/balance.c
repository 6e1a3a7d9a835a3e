/* SPDX-License-Identifier: Apache-2.0
 *
 * Three lists of replicas: those of this node with room, those elsewhere with room, the
 * full ones. A change of load moves one between them; so picking never looks at a full
 * one.
 */
#include "config.h"
#include "serve/balance.h"

#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

enum { LOCAL, REMOTE, FULL, LISTS };

struct list {
    struct serve_load **items;
    size_t count, cap;
};

struct serve_balance {
    struct list lists[LISTS];
    size_t room;
    uint64_t chance;
};

uint64_t serve_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint64_t serve_hash(const void *bytes, size_t size)
{
    const unsigned char *at = bytes;
    uint64_t h = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < size; i++)
        h = (h ^ at[i]) * UINT64_C(0x100000001b3);
    return serve_random(&h);
}

struct serve_balance *serve_balance_create(uint64_t seed)
{
    struct serve_balance *b = rwf_xcalloc(1, sizeof(*b));

    b->chance = seed;
    return b;
}

void serve_balance_destroy(struct serve_balance *b)
{
    for (int i = 0; b != NULL && i < LISTS; i++)
        free(b->lists[i].items);
    free(b);
}

/* --- members --- */

static size_t room_of(const struct serve_load *l)
{
    return l->ongoing < l->max ? (size_t)(l->max - l->ongoing) : 0;
}

static struct list *list_of(struct serve_balance *b, const struct serve_load *l)
{
    return &b->lists[room_of(l) == 0 ? FULL : l->local ? LOCAL : REMOTE];
}

static void enter(struct serve_balance *b, struct serve_load *l)
{
    struct list *list = list_of(b, l);

    *RWF_PUSH(list->items, list->count, list->cap) = l;
    l->at = list->count;
    b->room += room_of(l);
}

static void leave(struct serve_balance *b, struct serve_load *l)
{
    struct list *list = list_of(b, l);
    struct serve_load *last = list->items[list->count - 1];

    list->items[l->at - 1] = last;
    last->at = l->at;
    list->count--;
    l->at = 0;
    b->room -= room_of(l);
}

void serve_balance_add(struct serve_balance *b, struct serve_load *l)
{
    rwf_assert(l->at == 0 && l->max > 0);
    enter(b, l);
}

void serve_balance_remove(struct serve_balance *b, struct serve_load *l)
{
    if (l->at != 0)
        leave(b, l);
}

size_t serve_balance_count(const struct serve_balance *b)
{
    return b->lists[LOCAL].count + b->lists[REMOTE].count + b->lists[FULL].count;
}

size_t serve_balance_room(const struct serve_balance *b)
{
    return b->room;
}

static void change(struct serve_balance *b, struct serve_load *l, int by)
{
    bool was_full = room_of(l) == 0, member = l->at != 0;

    rwf_assert(l->ongoing + by >= 0);
    if (member && was_full == (l->ongoing + by >= l->max)) { /* it stays where it is */
        b->room -= room_of(l);
        l->ongoing += by;
        b->room += room_of(l);
        return;
    }
    if (member)
        leave(b, l);
    l->ongoing += by;
    if (member)
        enter(b, l);
}

void serve_balance_take(struct serve_balance *b, struct serve_load *l, int n)
{
    change(b, l, n);
}

void serve_balance_give(struct serve_balance *b, struct serve_load *l, int n)
{
    change(b, l, -n);
}

/* --- choices --- */

static struct serve_load *pick_of_two(struct serve_balance *b, const struct list *list)
{
    if (list->count < 2)
        return list->count == 1 ? list->items[0] : NULL;
    uint64_t chance = serve_random(&b->chance);
    size_t i = (size_t)((chance & UINT32_MAX) % list->count);
    size_t j = (size_t)((chance >> 32) % (list->count - 1));
    struct serve_load *one = list->items[i], *other = list->items[j >= i ? j + 1 : j];
    return (int64_t)other->ongoing * one->max < (int64_t)one->ongoing * other->max
               ? other
               : one;
}

/* Rendezvous hashing: the highest of all hashes of (key, replica). */
static struct serve_load *pick_by_key(struct serve_balance *b, const char *key)
{
    uint64_t hash = serve_hash(key, strlen(key)), best = 0;
    struct serve_load *found = NULL;

    for (int i = LOCAL; i <= REMOTE; i++)
        for (size_t k = 0; k < b->lists[i].count; k++) {
            struct serve_load *l = b->lists[i].items[k];
            uint64_t state = hash ^ l->name, score = serve_random(&state);
            if (found == NULL || score > best ||
                (score == best && l->name > found->name)) {
                best = score;
                found = l;
            }
        }
    return found;
}

struct serve_load *serve_balance_pick(struct serve_balance *b, const char *key)
{
    if (key != NULL)
        return pick_by_key(b, key);
    return pick_of_two(b, &b->lists[b->lists[LOCAL].count > 0 ? LOCAL : REMOTE]);
}
