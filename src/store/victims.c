/* SPDX-License-Identifier: Apache-2.0
 *
 * A place is a row of units in which all that lies could be spilled: sealed and read by
 * nobody. Of all places the one is taken whose last use is oldest; among those the one
 * with the least in it. All of this is a guess while others go on: spilling itself
 * checks each object again.
 */
#include "config.h"
#include "store/victims.h"
#include <stdlib.h>
#include "base/mem.h"

struct candidate {
    store_object object;
    uint32_t first, units; /* where it lies */
};

struct unit_state {
    uint32_t things;    /* that lie there */
    uint32_t spillable; /* of them */
    uint32_t newest;    /* clock of the last use of any */
    uint32_t fill;
};

struct survey {
    struct unit_state *units;
    struct candidate *items;
    size_t count, cap;
};

bool store__units_fit(const struct store *s, uint32_t units)
{
    uint32_t row = 0;

    for (uint32_t u = 0; u < s->units && row < units; u++)
        row = unit_kind(atomic_load(&s->unit_words[u])) == UNIT_FREE ? row + 1 : 0;
    return row >= units;
}

static uint32_t things_in(const struct store *s, uint32_t unit)
{
    uint64_t w = atomic_load(&s->unit_words[unit]);
    uint32_t class_ = unit_index(w), count = 0;

    if (unit_kind(w) == UNIT_RUN)
        return 1;
    if ((unit_kind(w) != UNIT_SLAB && unit_kind(w) != UNIT_ORPHAN) || class_ >= CLASSES)
        return 0;
    for (size_t b = 0; b < STORE_UNIT / store__class_bytes((int)class_); b++)
        count +=
            atomic_load_explicit(&s->slabs[unit].blocks[b], memory_order_relaxed) != 0;
    return count;
}

static void add(struct survey *v, const struct store *s, const struct candidate *c,
                uint32_t used)
{
    for (uint32_t u = c->first; u < c->first + c->units && u < s->units; u++) {
        struct unit_state *it = &v->units[u];
        if (!it->spillable || (int32_t)(used - it->newest) > 0)
            it->newest = used;
        it->spillable++;
        it->fill++;
    }
    *RWF_PUSH(v->items, v->count, v->cap) = *c;
}

static void consider(struct survey *v, struct store *s, uint32_t index)
{
    struct entry *e = &s->entries[index];
    uint64_t w = atomic_load(&e->state), offset = atomic_load(&e->offset);
    struct room room;

    if (word_state(w) != ENTRY_SEALED || offset >= s->arena ||
        !store__set_empty(&e->pins))
        return;
    store__room_of(atomic_load(&e->size), &room);
    struct candidate c = {.object = object_make(index, word_generation(w)),
                          .first = (uint32_t)(offset / STORE_UNIT),
                          .units = room.class_ < 0 ? room.units : 1};
    add(v, s, &c, atomic_load(&e->used));
}

static void look_around(struct survey *v, struct store *s)
{
    uint32_t top = atomic_load(&s->table->top);

    v->units = rwf_xcalloc(s->units, sizeof(*v->units));
    for (uint32_t i = 0; i < top && i < s->objects; i++)
        consider(v, s, i);
    for (uint32_t u = 0; u < s->units; u++)
        v->units[u].things = things_in(s, u);
}

/* Of the place that begins at first; false: it is none. */
static bool rate(const struct survey *v, uint32_t first, uint32_t units, uint32_t now,
                 uint64_t *ret)
{
    uint32_t age = UINT32_MAX;
    uint64_t fill = 0;

    for (uint32_t u = first; u < first + units; u++) {
        const struct unit_state *it = &v->units[u];
        if (it->spillable < it->things)
            return false;
        if (it->spillable && now - it->newest < age)
            age = now - it->newest;
        fill += it->fill;
    }
    *ret = (uint64_t)age << 32 | (UINT32_MAX - (fill < UINT32_MAX ? fill : UINT32_MAX));
    return true;
}

static bool best_place(const struct survey *v, const struct store *s, uint32_t units,
                       uint32_t *ret)
{
    uint32_t now = atomic_load(&s->table->clock);
    uint64_t best = 0, rating;
    bool found = false;

    for (uint32_t first = 0; first + units <= s->units; first++)
        if (rate(v, first, units, now, &rating) && (!found || rating > best)) {
            best = rating;
            *ret = first;
            found = true;
        }
    return found;
}

store_object *store__victims(struct store *s, uint32_t units, size_t *ret_count)
{
    struct survey v = {0};
    store_object *victims = NULL;
    uint32_t place;
    size_t count = 0;

    look_around(&v, s);
    if (best_place(&v, s, units, &place)) {
        victims = rwf_xcalloc(v.count + 1, sizeof(*victims));
        for (size_t i = 0; i < v.count; i++)
            if (v.items[i].first < place + units &&
                v.items[i].first + v.items[i].units > place)
                victims[count++] = v.items[i].object;
    }
    *ret_count = count;
    free(v.units);
    free(v.items);
    return victims;
}
