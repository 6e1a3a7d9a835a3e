/* SPDX-License-Identifier: Apache-2.0
 *
 * What is in the store, for people: a look at what others change meanwhile.
 */
#include "config.h"
#include <sys/stat.h>
#include "store/inside.h"

static const char *const state_names[ENTRY_STATES] = {
    [ENTRY_FREE] = "free",       [ENTRY_CREATING] = "creating",
    [ENTRY_SEALED] = "sealed",   [ENTRY_SPILLING] = "spilling",
    [ENTRY_SPILLED] = "spilled", [ENTRY_RESTORING] = "restoring",
    [ENTRY_DAMAGED] = "damaged", [ENTRY_FREEING] = "freeing",
    [ENTRY_DYING] = "freeing",   [ENTRY_DROPPED] = "dropped",
};

static bool look(struct store *s, uint32_t index, struct store_info *ret)
{
    struct entry *e = &s->entries[index];
    uint64_t w = atomic_load(&e->state);
    store_object o = object_make(index, word_generation(w));

    if (word_state(w) == ENTRY_FREE || word_state(w) >= ENTRY_DROPPED)
        return false;
    ret->object = o;
    ret->state = state_names[word_state(w)];
    ret->size = atomic_load(&e->size);
    ret->creator = (int)atomic_load(&e->creator);
    ret->holders = store__set_count(&e->holders, o);
    ret->pins = store__set_count(&e->pins, o);
    return word_generation(atomic_load(&e->state)) == word_generation(w);
}

void store_each(struct store *s, void (*fn)(void *ctx, const struct store_info *info),
                void *ctx)
{
    uint32_t top = atomic_load(&s->table->top);

    for (uint32_t i = 0; i < top && i < s->objects; i++) {
        struct store_info info;
        if (look(s, i, &info))
            fn(ctx, &info);
    }
}

static size_t used_in(const struct store *s, uint32_t unit)
{
    uint64_t w = atomic_load(&s->unit_words[unit]);
    uint32_t class_ = unit_index(w);
    size_t used = 0;

    if (unit_kind(w) == UNIT_RUN)
        return STORE_UNIT;
    if ((unit_kind(w) != UNIT_SLAB && unit_kind(w) != UNIT_ORPHAN) || class_ >= CLASSES)
        return 0;
    for (size_t b = 0; b < STORE_UNIT / store__class_bytes((int)class_); b++)
        if (atomic_load_explicit(&s->slabs[unit].blocks[b], memory_order_relaxed))
            used += store__class_bytes((int)class_);
    return used;
}

void store_stats(struct store *s, struct store_stats *ret)
{
    uint32_t top = atomic_load(&s->table->top);
    struct store_info info;
    struct stat st;

    *ret = (struct store_stats){.arena = s->arena};
    for (uint32_t u = 0; u < s->units; u++)
        ret->used += used_in(s, u);
    if (fstat(s->arena_fd, &st) == 0)
        ret->warm = (size_t)st.st_blocks * 512;
    for (uint32_t i = 0; i < top && i < s->objects; i++)
        if (look(s, i, &info))
            ret->objects++;
    for (int i = 0; i < STORE_SLOTS; i++) {
        ret->created += atomic_load(&store__slot(s, i)->created);
        if (i > 0 && store_slot_alive(s, i))
            ret->slots++;
    }
    store__spill_stats(s, ret);
}
