/* SPDX-License-Identifier: Apache-2.0
 *
 * The arena by units of 1 MiB: who has which, and which of them this process can write.
 *
 * Invariants:
 * - A unit changes hands by a compare-and-swap of its whole word. A run is claimed unit
 *   by unit in the name of its object, and given back the same way; what a killed
 * client left half done is a unit whose object does not live, and free for that reason.
 * - We map a unit to write after its word is ours, and read its pages in with
 *   MADV_POPULATE_WRITE: when the machine has no memory for them, that is an error of
 *   create, where a page fault would be a SIGBUS.
 * - A unit of a freed object goes back to its creator (CACHED), which has it mapped and
 *   warm. Whoever needs it more takes it (reclaim), and counts that in the slot of the
 *   owner, who unmaps it before its next allocation.
 */
#include "config.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include "base/mem.h"
#include "store/bell.h"
#include "store/inside.h"
#include <limits.h>

/* Of a power of 2 and its red zones many fit: 31 of 32 KiB, 14 of 64, 7 of 128. From
 * 64 KiB on all are whole pages. */
static const uint32_t class_bytes[CLASSES] = {
    1024,       2 * 1024,   3 * 1024,   4 * 1024,   6 * 1024,   8 * 1024,
    12 * 1024,  16 * 1024,  24 * 1024,  33 * 1024,  48 * 1024,  72 * 1024,
    100 * 1024, 136 * 1024, 204 * 1024, 256 * 1024, 340 * 1024, 512 * 1024,
};

size_t store__class_bytes(int class_)
{
    return class_bytes[class_];
}

void store__room_of(size_t size, struct room *ret)
{
    size_t lines = (size + LINE - 1) & ~(size_t)(LINE - 1);
    size_t bytes = store__red_before(size) + lines + RED;

    for (int c = 0; c < CLASSES; c++)
        if (bytes <= class_bytes[c]) {
            *ret = (struct room){.bytes = class_bytes[c], .class_ = c};
            return;
        }
    size_t units = (bytes + STORE_UNIT - 1) / STORE_UNIT;
    *ret = (struct room){.bytes = units * STORE_UNIT, .class_ = -1};
    ret->units = units < UINT32_MAX ? (uint32_t)units : UINT32_MAX;
}

void store__space_given(struct store *s)
{
    if (!atomic_load(&s->table->space_wanted))
        return;
    atomic_store(&s->table->space_wanted, 0);
    atomic_fetch_add(&s->table->space, 1);
    store__futex_wake(&s->table->space, INT_MAX);
}

/* --- what this process can write --- */

static bool is_ours(const struct store *s, uint64_t w)
{
    return unit_slot(w) == s->slot && unit_kind(w) != UNIT_FREE;
}

static void unmap(struct store *s, uint32_t unit)
{
    char *at = s->rw + (size_t)unit * STORE_UNIT;

    if (mmap(at, STORE_UNIT, PROT_NONE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
             0) != MAP_FAILED)
        s->mapped[unit] = 0;
}

/* Lets go of the units that others have taken. */
static void refresh(struct store *s)
{
    uint32_t stolen = atomic_load(&store__slot(s, s->slot)->stolen);

    if (stolen == s->stolen)
        return;
    s->stolen = stolen;
    for (uint32_t u = 0; u < s->units; u++)
        if (s->mapped[u] && !is_ours(s, atomic_load(&s->unit_words[u])))
            unmap(s, u);
}

static int populate(struct store *s, uint32_t first, uint32_t count)
{
    size_t at = (size_t)first * STORE_UNIT, size = (size_t)count * STORE_UNIT;

    while (madvise(s->rw + at, size, MADV_POPULATE_WRITE) < 0) {
        if (errno == EINTR || errno == EAGAIN)
            continue;
        if (errno == EINVAL) /* before Linux 5.14 */
            return fallocate(s->arena_fd, 0, (off_t)at, (off_t)size);
        return -1;
    }
    return 0;
}

static int map_range(struct store *s, uint32_t first, uint32_t count,
                     struct rwf_err *err)
{
    size_t at = (size_t)first * STORE_UNIT, size = (size_t)count * STORE_UNIT;
    void *map = mmap(s->rw + at, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
                     s->arena_fd, (off_t)at);

    if (map != MAP_FAILED)
        memset(s->mapped + first, 1, count);
    if (map == MAP_FAILED || populate(s, first, count) < 0)
        return rwf_fail(err, errno == EFAULT ? ENOMEM : errno,
                        "store: no memory for %zu MiB of it: %s; give it less "
                        "(--store), or the machine more",
                        size >> 20, strerror(errno));
    return 0;
}

int store__units_map(struct store *s, uint32_t first, uint32_t count,
                     struct rwf_err *err)
{
    for (uint32_t u = first, n; u < first + count; u += n) {
        for (n = 1; u + n < first + count && s->mapped[u + n] == s->mapped[u];)
            n++;
        if (!s->mapped[u] && map_range(s, u, n, err) < 0)
            return -1;
    }
    return 0;
}

/* --- claims --- */

static void give_unit(struct store *s, uint32_t u, uint64_t from)
{
    int slot = unit_slot(from);
    uint64_t cached = unit_make(UNIT_CACHED, slot, 0, 0);

    if (!atomic_compare_exchange_strong(&s->unit_words[u], &from, cached))
        return;
    /* The node marks a slot dead, then takes what it has: one of us sees the other. */
    if (!store_slot_alive(s, slot))
        atomic_compare_exchange_strong(&s->unit_words[u], &cached, 0);
}

static bool usable(const struct store *s, uint64_t w, bool fresh)
{
    return (fresh && unit_kind(w) == UNIT_FREE) ||
           w == unit_make(UNIT_CACHED, s->slot, 0, 0);
}

/* Claims count units from first as `word`; the first that could not be, or first +
 * count. */
static uint32_t claim(struct store *s, uint32_t first, uint32_t count, uint64_t word,
                      bool fresh)
{
    for (uint32_t u = first; u < first + count; u++) {
        uint64_t w = atomic_load(&s->unit_words[u]);
        if (usable(s, w, fresh) &&
            atomic_compare_exchange_strong(&s->unit_words[u], &w, word))
            continue;
        for (uint32_t k = first; k < u; k++)
            give_unit(s, k, word);
        return u;
    }
    return first + count;
}

/* First fit: low units are the warm ones. fresh: also units that nobody has. */
static int64_t find(struct store *s, uint32_t count, uint64_t word, bool fresh)
{
    uint32_t first = 0;

    for (uint32_t u = 0; u < s->units; u++) {
        if (!usable(s, atomic_load(&s->unit_words[u]), fresh)) {
            first = u + 1;
            continue;
        }
        if (u + 1 - first < count)
            continue;
        uint32_t end = claim(s, first, count, word, fresh);
        if (end == first + count)
            return first;
        first = end + 1;
        u = end;
    }
    return -1;
}

static int64_t find_any(struct store *s, uint32_t count, uint64_t word)
{
    int64_t first = find(s, count, word, false);

    if (first < 0)
        first = find(s, count, word, true);
    if (first < 0 && store__units_reclaim(s))
        first = find(s, count, word, true);
    return first;
}

static int64_t take(struct store *s, uint32_t count, uint64_t word, struct rwf_err *err)
{
    int64_t first;

    refresh(s);
    first = find_any(s, count, word);
    if (first < 0 || store__units_map(s, (uint32_t)first, count, err) == 0)
        return first;
    for (uint32_t u = 0; u < count; u++) {
        uint64_t from = word;
        unmap(s, (uint32_t)first + u);
        atomic_compare_exchange_strong(&s->unit_words[first + u], &from, 0);
    }
    return -1;
}

int64_t store__unit_take_slab(struct store *s, int class_, uint64_t *ret_word,
                              struct rwf_err *err)
{
    uint32_t number = atomic_fetch_add(&s->table->slabs, 1);

    *ret_word = unit_make(UNIT_SLAB, s->slot, number, (uint32_t)class_);
    return take(s, 1, *ret_word, err);
}

static uint64_t run_word(int slot, store_object o)
{
    return unit_make(UNIT_RUN, slot, object_generation(o), object_index(o));
}

uint64_t store__room_take(struct store *s, store_object o, const struct room *room,
                          struct rwf_err *err)
{
    uint64_t offset = NOWHERE;

    pthread_mutex_lock(&s->lock);
    if (room->class_ >= 0) {
        refresh(s);
        offset = store__slab_take(s, o, room->class_, err);
    } else if (room->units <= s->units) {
        int64_t first = take(s, room->units, run_word(s->slot, o), err);
        if (first >= 0)
            offset = (uint64_t)first * STORE_UNIT;
    }
    pthread_mutex_unlock(&s->lock);
    return offset;
}

void store__room_give(struct store *s, store_object o, uint64_t offset, size_t size,
                      int creator)
{
    struct room room;

    store__room_of(size, &room);
    if (room.class_ >= 0) {
        store__slab_give(s, o, offset);
        return;
    }
    uint64_t first = offset / STORE_UNIT;
    for (uint64_t u = first; u < first + room.units && u < s->units; u++)
        give_unit(s, (uint32_t)u, run_word(creator, o));
}

/* --- reclaim --- */

bool store__unit_free(struct store *s, uint32_t u, uint64_t w)
{
    if (!atomic_compare_exchange_strong(&s->unit_words[u], &w, 0))
        return false;
    atomic_fetch_add(&store__slot(s, unit_slot(w))->stolen, 1);
    return true;
}

/* Nobody allocates in an orphan, so that it stays empty once it is. It still counts as
 * its owner's to write: one who was quicker may be filling a block. */
static uint64_t make_orphan(struct store *s, uint32_t u, uint64_t w)
{
    uint64_t orphan =
        w ^ unit_make(UNIT_SLAB, 0, 0, 0) ^ unit_make(UNIT_ORPHAN, 0, 0, 0);

    return atomic_compare_exchange_strong(&s->unit_words[u], &w, orphan) ? orphan : w;
}

static bool reclaim(struct store *s, uint32_t u)
{
    uint64_t w = atomic_load(&s->unit_words[u]);
    int class_ = (int)unit_index(w);

    if (unit_kind(w) == UNIT_CACHED)
        return store__unit_free(s, u, w);
    if (unit_kind(w) == UNIT_SLAB && store__slab_empty(s, u, class_))
        w = make_orphan(s, u, w);
    return unit_kind(w) == UNIT_ORPHAN && store__slab_empty(s, u, class_) &&
           store__unit_free(s, u, w);
}

bool store__units_reclaim(struct store *s)
{
    bool any = false;

    for (uint32_t u = 0; u < s->units; u++)
        if (reclaim(s, u))
            any = true;
    return any;
}

static bool run_lives(const struct store *s, uint64_t w)
{
    uint32_t index = unit_index(w);
    uint64_t state;

    if (index >= s->objects)
        return false;
    state = atomic_load(&s->entries[index].state);
    return word_state(state) != ENTRY_FREE && word_state(state) != ENTRY_DROPPED &&
           unit_make(UNIT_RUN, unit_slot(w), word_generation(state), index) == w;
}

void store__units_release(struct store *s, int slot)
{
    for (uint32_t u = 0; u < s->units; u++) {
        uint64_t w = atomic_load(&s->unit_words[u]);
        if (unit_kind(w) == UNIT_FREE || unit_slot(w) != slot)
            continue;
        if (unit_kind(w) == UNIT_CACHED ||
            (unit_kind(w) == UNIT_RUN && !run_lives(s, w)))
            store__unit_free(s, u, w);
        if (unit_kind(w) == UNIT_SLAB)
            w = make_orphan(s, u, w);
        if (unit_kind(w) == UNIT_ORPHAN) {
            store__slab_clean(s, u);
            reclaim(s, u);
        }
    }
    store__space_given(s);
}
