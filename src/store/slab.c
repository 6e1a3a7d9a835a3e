/* SPDX-License-Identifier: Apache-2.0
 *
 * Small objects: a unit cut into blocks of one size. Only its owner allocates in it;
 * anybody gives back.
 *
 * Invariants:
 * - A block's word is the id of its object, or 0. It is given back by a
 * compare-and-swap from that id, which may be repeated; a word whose object does not
 * live is left over from a killed client, and free for that reason.
 * - The owner sets a block, then looks whether the unit is still its own; who takes an
 *   empty unit makes it an orphan, then looks whether it is still empty. One sees the
 *   other.
 */
#include "config.h"
#include <stdlib.h>
#include "base/mem.h"
#include "store/inside.h"

/* Units that are looked at before a new one is taken. */
#define LOOK_AT 64

static size_t block_count(int class_)
{
    return STORE_UNIT / store__class_bytes(class_);
}

bool store__slab_empty(const struct store *s, uint32_t unit, int class_)
{
    if (class_ < 0 || class_ >= CLASSES)
        return false;
    for (size_t b = 0; b < block_count(class_); b++)
        if (atomic_load(&s->slabs[unit].blocks[b]))
            return false;
    return true;
}

void store__slab_clean(struct store *s, uint32_t unit)
{
    for (size_t b = 0; b < BLOCKS_MAX; b++) {
        uint64_t o = atomic_load(&s->slabs[unit].blocks[b]);
        if (o && !store__object_lives(s, o))
            atomic_compare_exchange_strong(&s->slabs[unit].blocks[b], &o, 0);
    }
}

/* --- give --- */

static void free_if_orphan(struct store *s, uint32_t unit)
{
    uint64_t w = atomic_load(&s->unit_words[unit]);

    if (unit_kind(w) == UNIT_ORPHAN && store__slab_empty(s, unit, (int)unit_index(w)))
        store__unit_free(s, unit, w);
}

void store__slab_give(struct store *s, store_object o, uint64_t offset)
{
    uint64_t unit = offset / STORE_UNIT, w;
    uint32_t class_;

    if (unit >= s->units)
        return;
    w = atomic_load(&s->unit_words[unit]);
    class_ = unit_index(w);
    if ((unit_kind(w) != UNIT_SLAB && unit_kind(w) != UNIT_ORPHAN) || class_ >= CLASSES)
        return;
    size_t block = offset % STORE_UNIT / store__class_bytes((int)class_);
    if (!atomic_compare_exchange_strong(&s->slabs[unit].blocks[block], &o, 0))
        return;
    atomic_fetch_add_explicit(&s->slabs[unit].frees, 1, memory_order_relaxed);
    free_if_orphan(s, (uint32_t)unit);
}

/* --- take --- */

static bool owned(const struct store *s, const struct slab_item *it)
{
    return atomic_load(&s->unit_words[it->unit]) == it->word;
}

/* A free block at or after *cursor, round the end once; -1. */
static int64_t find_block(struct store *s, uint32_t unit, int class_, size_t *cursor)
{
    size_t count = block_count(class_);

    for (size_t i = 0; i < count; i++) {
        size_t b = *cursor + i < count ? *cursor + i : *cursor + i - count;
        if (!atomic_load_explicit(&s->slabs[unit].blocks[b], memory_order_relaxed)) {
            *cursor = b + 1 < count ? b + 1 : 0;
            return (int64_t)b;
        }
    }
    return -1;
}

static uint64_t take_in(struct store *s, store_object o, const struct slab_item *it,
                        size_t *cursor)
{
    int class_ = (int)unit_index(it->word);
    int64_t b;

    while (owned(s, it) && (b = find_block(s, it->unit, class_, cursor)) >= 0) {
        _Atomic uint64_t *word = &s->slabs[it->unit].blocks[b];
        uint64_t seen = 0;
        if (!atomic_compare_exchange_strong(word, &seen, o))
            continue;
        if (owned(s, it))
            return (uint64_t)it->unit * STORE_UNIT +
                   (uint64_t)b * store__class_bytes(class_);
        seen = o;
        atomic_compare_exchange_strong(word, &seen, 0);
        free_if_orphan(s, it->unit);
    }
    return NOWHERE;
}

static void forget(struct slab_list *list, size_t i)
{
    list->items[i] = list->items[--list->count];
    list->cursor = 0;
    if (list->at >= list->count)
        list->at = 0;
}

/* In the units that we have: the current one, then up to `most` others. */
static uint64_t take_in_list(struct store *s, store_object o, int class_, size_t most)
{
    struct slab_list *list = &s->lists[class_];

    for (size_t tries = 0; tries < most && list->count; tries++) {
        struct slab_item *it = &list->items[list->at];
        uint32_t frees = atomic_load(&s->slabs[it->unit].frees);
        uint64_t offset = NOWHERE;

        if (!it->full || frees != it->frees)
            offset = take_in(s, o, it, &list->cursor);
        if (offset != NOWHERE)
            return offset;
        if (!owned(s, it)) {
            forget(list, list->at);
            continue;
        }
        it->full = true;
        it->frees = frees;
        list->at = list->at + 1 < list->count ? list->at + 1 : 0;
        list->cursor = 0;
    }
    return NOWHERE;
}

static uint64_t take_in_new(struct store *s, store_object o, int class_,
                            struct rwf_err *err)
{
    struct slab_list *list = &s->lists[class_];
    struct slab_item it = {0};
    int64_t unit = store__unit_take_slab(s, class_, &it.word, err);

    if (unit < 0)
        return NOWHERE;
    /* Not zeroed: it may have been taken from us already, and be in use. */
    it.unit = (uint32_t)unit;
    store__slab_clean(s, it.unit);
    list->items = rwf_grow(list->items, list->count, &list->cap, sizeof(*list->items));
    list->at = list->count++;
    list->items[list->at] = it;
    list->cursor = 0;
    return take_in_list(s, o, class_, 1);
}

uint64_t store__slab_take(struct store *s, store_object o, int class_,
                          struct rwf_err *err)
{
    uint64_t offset = take_in_list(s, o, class_, LOOK_AT);

    if (offset == NOWHERE)
        offset = take_in_new(s, o, class_, err);
    if (offset == NOWHERE)
        offset = take_in_list(s, o, class_, s->lists[class_].count);
    return offset;
}
