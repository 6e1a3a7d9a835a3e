/* SPDX-License-Identifier: Apache-2.0
 *
 * Entries: their states, who holds and who reads, and how an object ends.
 *
 * Invariants:
 * - Whoever wants an object sets its bit, then looks at the state; whoever frees it
 * sets FREEING, then looks at the bits. One sees the other: either the object goes back
 * to what it was, or the one who came too late takes its bit away. The bits lie in many
 *   words, so an all-empty look before FREEING proves nothing (a reference may move
 * from an unread word to one already read); the look after it does, because a new bit
 * only counts when its setter saw no FREEING.
 * - Whoever takes a bit away, or moves the object to a state from which it can be
 * freed, then looks whether it was the last (try_free); so does who backs out of
 * FREEING. The last one to do so sees all bits gone: nothing is left behind.
 * - DYING cannot go back. Its steps (memory, then the entry) can be repeated.
 *
 * Killed in CREATING, FREEING or DYING: the slot is in the word, and the node finishes
 * the work (store__entry_finish). Killed between two steps elsewhere: a bit of ours is
 * set or not, and the node clears it and looks whether it was the last.
 */
#include "config.h"
#include <limits.h>
#include <stdlib.h>
#include "base/clock.h"
#include "store/bell.h"
#include "store/inside.h"

#define SCAN_BUDGET 64
#define FRESH_BATCH 16

struct entry *store__entry(const struct store *s, store_object o)
{
    uint32_t index = object_index(o);

    return o && index < s->objects ? &s->entries[index] : NULL;
}

/* --- states --- */

static _Atomic uint32_t *low_half(struct entry *e)
{
    return (_Atomic uint32_t *)(void *)&e->state;
}

bool store__entry_move(struct entry *e, uint64_t from, uint64_t to)
{
    uint64_t seen = from & ~WORD_WAITED;

    if (atomic_compare_exchange_strong(&e->state, &seen, to))
        return true;
    seen = from | WORD_WAITED;
    if (!atomic_compare_exchange_strong(&e->state, &seen, to))
        return false;
    store__futex_wake(low_half(e), INT_MAX);
    return true;
}

/* No longer than this at a time: who should wake us may have been killed. */
static int64_t soon(int64_t deadline, int64_t ns)
{
    int64_t limit = rwf_clock_mono() + ns;

    return deadline < limit ? deadline : limit;
}

void store__entry_wait(struct entry *e, uint64_t w, int64_t deadline)
{
    uint64_t seen = w;

    if (!(w & WORD_WAITED) &&
        !atomic_compare_exchange_strong(&e->state, &seen, w | WORD_WAITED))
        return;
    store__futex_wait(low_half(e), (uint32_t)(w | WORD_WAITED),
                      soon(deadline, 100 * RWF_NS_PER_MS));
}

/* --- sets --- */

static uint64_t tag_of(store_object o)
{
    return (uint64_t)object_generation(o) << SET_BITS;
}

static uint64_t bit_of(int slot)
{
    return (uint64_t)1 << (slot % SET_BITS);
}

int store__set_add(struct slot_set *set, store_object o, int slot)
{
    _Atomic uint64_t *word = &set->word[slot / SET_BITS];
    uint64_t w = atomic_load(word), bit = bit_of(slot);

    do {
        if ((w & ~SET_MASK) != tag_of(o))
            return -1;
    } while (!atomic_compare_exchange_weak(word, &w, w | bit));
    return (w & bit) != 0;
}

void store__set_remove(struct slot_set *set, store_object o, int slot)
{
    _Atomic uint64_t *word = &set->word[slot / SET_BITS];
    uint64_t w = atomic_load(word), bit = bit_of(slot);

    do {
        if ((w & ~SET_MASK) != tag_of(o) || !(w & bit))
            return;
    } while (!atomic_compare_exchange_weak(word, &w, w & ~bit));
}

bool store__set_has(const struct slot_set *set, int slot)
{
    return (atomic_load(&set->word[slot / SET_BITS]) & bit_of(slot)) != 0;
}

bool store__set_empty(const struct slot_set *set)
{
    for (int i = 0; i < SET_WORDS; i++)
        if (atomic_load(&set->word[i]) & SET_MASK)
            return false;
    return true;
}

int store__set_count(const struct slot_set *set, store_object o)
{
    int count = 0;

    for (int i = 0; i < SET_WORDS; i++) {
        uint64_t w = atomic_load(&set->word[i]);
        if ((w & ~SET_MASK) == tag_of(o))
            count += __builtin_popcountll(w & SET_MASK);
    }
    return count;
}

static void set_start(struct slot_set *set, store_object o)
{
    for (int i = 0; i < SET_WORDS; i++)
        atomic_store_explicit(&set->word[i], tag_of(o), memory_order_relaxed);
}

/* --- claim --- */

static bool claim(struct store *s, uint32_t index, store_object *ret)
{
    struct entry *e = &s->entries[index];
    uint64_t w = atomic_load(&e->state);
    uint32_t generation = word_generation(w) + 1;

    if (word_state(w) != ENTRY_FREE)
        return false;
    if (generation == 0)
        generation = 1;
    if (!atomic_compare_exchange_strong(
            &e->state, &w, word_make(generation, ENTRY_CREATING, s->slot, 0)))
        return false;
    *ret = object_make(index, generation);
    atomic_store(&e->offset, NOWHERE);
    atomic_store(&e->size, 0);
    atomic_store(&e->creator, (uint32_t)s->slot);
    atomic_store(&e->used, atomic_load(&s->table->clock));
    set_start(&e->pins, *ret);
    set_start(&e->holders, *ret);
    store__set_add(&e->holders, *ret, s->slot);
    return true;
}

static bool claim_scanning(struct store *s, uint32_t budget, store_object *ret)
{
    uint32_t top = atomic_load(&s->table->top);

    top = top < s->objects ? top : s->objects;
    for (uint32_t i = 0; i < budget && i < top; i++) {
        s->entry_cursor = s->entry_cursor + 1 < top ? s->entry_cursor + 1 : 0;
        if (claim(s, s->entry_cursor, ret))
            return true;
    }
    return false;
}

static bool claim_fresh(struct store *s, store_object *ret)
{
    uint32_t top = atomic_load(&s->table->top);

    do {
        if (top >= s->objects)
            return false;
    } while (!atomic_compare_exchange_weak(&s->table->top, &top, top + FRESH_BATCH));
    for (uint32_t i = top; i < top + FRESH_BATCH && i < s->objects; i++)
        if (s->entry_cached < ENTRY_CACHE)
            s->entry_cache[s->entry_cached++] = i;
    return claim(s, s->entry_cache[--s->entry_cached], ret);
}

/* Entries that this process has seen free, then some look at used ones, then new ones:
 * the part of the table that is used stays small, and so does the node's work for a
 * client that has gone. */
struct entry *store__entry_claim(struct store *s, store_object *ret)
{
    bool found = false;

    pthread_mutex_lock(&s->entry_lock);
    while (!found && s->entry_cached)
        found = claim(s, s->entry_cache[--s->entry_cached], ret);
    found = found || claim_scanning(s, SCAN_BUDGET, ret) || claim_fresh(s, ret) ||
            claim_scanning(s, s->objects, ret);
    pthread_mutex_unlock(&s->entry_lock);
    return found ? store__entry(s, *ret) : NULL;
}

/* --- the end --- */

bool store__object_lives(const struct store *s, store_object o)
{
    struct entry *e = store__entry(s, o);
    uint64_t w = e ? atomic_load(&e->state) : 0;

    return e && word_generation(w) == object_generation(o) &&
           word_state(w) != ENTRY_FREE && word_state(w) != ENTRY_DROPPED;
}

static void remember_free(struct store *s, uint32_t index)
{
    pthread_mutex_lock(&s->entry_lock);
    if (s->entry_cached < ENTRY_CACHE)
        s->entry_cache[s->entry_cached++] = index;
    pthread_mutex_unlock(&s->entry_lock);
}

/* w: DYING, by us. */
static void die(struct store *s, struct entry *e, store_object o, uint64_t w)
{
    enum entry_state before = word_before(w);
    bool on_disk = before == ENTRY_SPILLED || before == ENTRY_DAMAGED;
    uint64_t offset = atomic_load(&e->offset);
    uint64_t end =
        word_make(object_generation(o), on_disk ? ENTRY_DROPPED : ENTRY_FREE, 0, 0);

    if (!on_disk && offset != NOWHERE)
        store__room_give(s, o, offset, atomic_load(&e->size),
                         (int)atomic_load(&e->creator));
    if (!store__entry_move(e, w, end))
        return;
    if (on_disk)
        atomic_fetch_add(&s->table->dropped, 1);
    else
        remember_free(s, object_index(o));
    store__space_given(s);
}

/* w: FREEING, by us. Whether it is to be looked at again. */
static bool decide(struct store *s, struct entry *e, store_object o, uint64_t w)
{
    uint32_t generation = object_generation(o);
    enum entry_state before = word_before(w);
    uint64_t dying = word_make(generation, ENTRY_DYING, s->slot, before);

    if (store__set_empty(&e->holders) && store__set_empty(&e->pins)) {
        if (store__entry_move(e, w, dying))
            die(s, e, o, dying);
        return false;
    }
    return store__entry_move(e, w, word_make(generation, before, 0, 0));
}

static bool can_be_freed(uint64_t w, store_object o)
{
    enum entry_state state = word_state(w);

    return word_generation(w) == object_generation(o) &&
           (state == ENTRY_SEALED || state == ENTRY_SPILLED || state == ENTRY_DAMAGED);
}

void store__entry_try_free(struct store *s, store_object o)
{
    struct entry *e = store__entry(s, o);

    for (;;) {
        uint64_t w = atomic_load(&e->state), freeing;
        if (!can_be_freed(w, o) || !store__set_empty(&e->holders) ||
            !store__set_empty(&e->pins))
            return;
        freeing =
            word_make(object_generation(o), ENTRY_FREEING, s->slot, word_state(w));
        if (store__entry_move(e, w, freeing) && !decide(s, e, o, freeing))
            return;
    }
}

void store__entry_finish(struct store *s, store_object o, uint64_t w)
{
    struct entry *e = store__entry(s, o);
    uint32_t generation = word_generation(w);
    bool freeing = word_state(w) == ENTRY_FREEING;
    enum entry_state before =
        word_state(w) == ENTRY_CREATING ? ENTRY_CREATING : word_before(w);
    uint64_t ours =
        word_make(generation, freeing ? ENTRY_FREEING : ENTRY_DYING, s->slot, before);

    /* DYING by us already: nothing to take over. */
    if ((w & ~WORD_WAITED) != ours && !store__entry_move(e, w, ours))
        return;
    if (!freeing)
        die(s, e, o, ours);
    else if (decide(s, e, o, ours))
        store__entry_try_free(s, o);
}
