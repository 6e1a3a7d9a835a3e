/* SPDX-License-Identifier: Apache-2.0
 *
 * Slots: who the clients are, and taking back what a gone one had.
 *
 * Invariants: a slot is marked DEAD before the sweep, so that whoever gives it
 * something sees that, or the sweep finds what was given. The sweep only finishes what
 * the client had begun (entry.c) and clears its bits; it can be repeated, and so can
 * each step.
 */
#include "config.h"
#include <errno.h>
#include "store/inside.h"

static int claim(struct store *s, int slot, int pid)
{
    struct slot *it = store__slot(s, slot);

    if (atomic_load(&it->state) != SLOT_FREE)
        return -1;
    uint32_t epoch = atomic_load(&it->epoch) + 1;
    atomic_store(&it->epoch, epoch ? epoch : 1);
    atomic_store(&it->pid, pid);
    atomic_store(&it->bell.asleep, 0);
    atomic_store(&it->state, SLOT_ALIVE);
    return slot;
}

/* Round robin: a slot that somebody may still mean is used again as late as can be. */
int store_slot_claim(struct store *s, int pid, struct rwf_err *err)
{
    for (int i = 0; i < STORE_SLOTS - 1; i++) {
        s->slot_cursor = s->slot_cursor % (STORE_SLOTS - 1) + 1;
        if (claim(s, s->slot_cursor, pid) >= 0)
            return s->slot_cursor;
    }
    return rwf_fail(
        err, EAGAIN,
        "store: this node has %d clients already, which is the most; end some "
        "drivers or workers",
        STORE_SLOTS - 1);
}

bool store_slot_alive(const struct store *s, int slot)
{
    return slot >= 0 && slot < STORE_SLOTS &&
           atomic_load(&store__slot(s, slot)->state) == SLOT_ALIVE;
}

struct store_bell *store_slot_bell(struct store *s, int slot)
{
    struct slot *it;

    rwf_assert(slot >= 0 && slot < STORE_SLOTS);
    it = store__slot(s, slot);
    atomic_store(&s->epochs[slot], atomic_load(&it->epoch));
    return &it->bell;
}

static bool at_work(uint64_t w, int slot)
{
    enum entry_state state = word_state(w);

    return word_slot(w) == slot &&
           (state == ENTRY_CREATING || state == ENTRY_FREEING || state == ENTRY_DYING);
}

static void sweep(struct store *s, uint32_t index, int slot)
{
    struct entry *e = &s->entries[index];
    uint64_t w = atomic_load(&e->state);
    store_object o = object_make(index, word_generation(w));

    if (word_state(w) == ENTRY_FREE)
        return;
    if (at_work(w, slot)) {
        store__entry_finish(s, o, w);
        w = atomic_load(&e->state);
    }
    if (!store__set_has(&e->holders, slot) && !store__set_has(&e->pins, slot))
        return;
    store__set_remove(&e->holders, o, slot);
    store__set_remove(&e->pins, o, slot);
    store__entry_try_free(s, o);
}

void store_slot_release(struct store *s, int slot)
{
    struct slot *it;
    uint32_t top;

    rwf_assert(slot > 0 && slot < STORE_SLOTS);
    it = store__slot(s, slot);
    if (atomic_load(&it->state) == SLOT_FREE)
        return;
    atomic_store(&it->state, SLOT_DEAD);
    top = atomic_load(&s->table->top);
    for (uint32_t i = 0; i < top && i < s->objects; i++)
        sweep(s, i, slot);
    store__units_release(s, slot);
    atomic_store(&it->pid, 0);
    atomic_store(&it->state, SLOT_FREE);
}
