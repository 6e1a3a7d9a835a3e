/* SPDX-License-Identifier: Apache-2.0
 *
 * Objects from create to drop.
 *
 * A block is: red zone (64 bytes, or a page), data, red zone (what is left of the
 * data's last line, and 64 bytes). Killed at any instant of create: the entry is
 * CREATING in our name; memory that was taken but not yet noted there has the object's
 * id in its own words, and the object does not live.
 */
#include "config.h"
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include "base/clock.h"
#include "base/units.h"
#include "store/bell.h"
#include "store/inside.h"

#define RED_BYTE 0xd7
#define RETRY (100 * RWF_NS_PER_MS)

/* --- red zones --- */

static size_t red_after(size_t size)
{
    return (LINE - size % LINE) % LINE + RED;
}

static void red_write(struct store *s, uint64_t offset, size_t size)
{
    size_t before = store__red_before(size);

    memset(s->rw + offset + before - RED, RED_BYTE, RED);
    memset(s->rw + offset + before + size, RED_BYTE, red_after(size));
}

static bool red_intact(const struct store *s, uint64_t at, size_t size)
{
    const unsigned char *bytes = (const unsigned char *)s->ro + at;

    for (size_t i = 0; i < size; i++)
        if (bytes[i] != RED_BYTE)
            return false;
    return true;
}

/* --- create --- */

static int never_fits(struct store *s, size_t size, struct rwf_err *err)
{
    char want[RWF_UNITS_LEN], have[RWF_UNITS_LEN];

    return rwf_fail(
        err, ENOSPC,
        "store: an object of %s never fits: the store has %s in all; give it "
        "more (--store)",
        rwf_size_format((int64_t)size, want), rwf_size_format((int64_t)s->arena, have));
}

static int no_room(struct store *s, int code, size_t size, struct rwf_err *err)
{
    char want[RWF_UNITS_LEN], have[RWF_UNITS_LEN];

    rwf_size_format((int64_t)size, want);
    rwf_size_format((int64_t)s->arena, have);
    if (code == ENOSPC)
        return rwf_fail(
            err, code,
            "store: no room for %s in %s: nothing more can be spilled to disk "
            "(see `raywf status`); raise the spill quota, drop references, "
            "or give the store more (--store)",
            want, have);
    return rwf_fail(
        err, code,
        "store: no room for %s in %s in time: all of it is in use or read in "
        "place; drop references, or give the store more (--store)",
        want, have);
}

static void ask_for_room(struct store *s, size_t bytes)
{
    if (s->slot == 0)
        store_relieve(s, bytes, NULL);
    else if (s->hooks.full)
        s->hooks.full(s->hooks.ctx, bytes);
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Why to wait no longer, or a sleep until room was given, or for a while: who should
 * have woken us may have been killed. */
static int wait_for_room(struct store *s, size_t size, uint32_t seen,
                         uint32_t exhausted, int64_t deadline, struct rwf_err *err)
{
    int64_t now = rwf_clock_mono();

    if (atomic_load(&s->table->exhausted) != exhausted)
        return no_room(s, ENOSPC, size, err);
    if (now >= deadline)
        return no_room(s, ETIMEDOUT, size, err);
    store__futex_wait(&s->table->space, seen, earlier(deadline, now + RETRY));
    return 0;
}

uint64_t store__room_wait(struct store *s, store_object o, size_t size,
                          int64_t deadline, struct rwf_err *err)
{
    uint32_t exhausted = atomic_load(&s->table->exhausted);
    struct rwf_err local = RWF_ERR_INIT;
    struct room room;
    uint64_t offset;

    store__room_of(size, &room);
    offset = store__room_take(s, o, &room, &local);
    while (offset == NOWHERE && !local.code) {
        uint32_t seen = atomic_load(&s->table->space);
        atomic_store(&s->table->space_wanted, 1);
        ask_for_room(s, room.bytes);
        offset = store__room_take(s, o, &room, &local);
        if (offset == NOWHERE && !local.code)
            wait_for_room(s, size, seen, exhausted, deadline, &local);
    }
    if (local.code)
        rwf_fail(err, local.code, "%s", local.text);
    return offset;
}

/* Entries run out before memory when objects are small: the same back-pressure. */
static struct entry *claim_entry(struct store *s, int64_t deadline, store_object *ret,
                                 struct rwf_err *err)
{
    struct entry *e;

    while (!(e = store__entry_claim(s, ret))) {
        uint32_t seen = atomic_load(&s->table->space);
        int64_t now = rwf_clock_mono();
        atomic_store(&s->table->space_wanted, 1);
        if ((e = store__entry_claim(s, ret)))
            break;
        if (now >= deadline) {
            rwf_fail(err, ETIMEDOUT,
                     "store: all %u entries are in use; drop references", s->objects);
            break;
        }
        store__futex_wait(&s->table->space, seen, earlier(deadline, now + RETRY));
    }
    return e;
}

static uint64_t creating(const struct store *s, store_object o)
{
    return word_make(object_generation(o), ENTRY_CREATING, s->slot, 0);
}

void *store_object_create(struct store *s, size_t size, int64_t deadline,
                          store_object *ret, struct rwf_err *err)
{
    struct entry *e;
    uint64_t offset;
    store_object o;

    if (size > s->arena - PAGE - RED) {
        never_fits(s, size, err);
        return NULL;
    }
    e = claim_entry(s, deadline, &o, err);
    if (!e)
        return NULL;
    offset = store__room_wait(s, o, size, deadline, err);
    if (offset == NOWHERE) {
        store__entry_finish(s, o, creating(s, o));
        return NULL;
    }
    atomic_store(&e->size, size);
    atomic_store(&e->offset, offset);
    red_write(s, offset, size);
    atomic_fetch_add_explicit(&store__slot(s, s->slot)->created, 1,
                              memory_order_relaxed);
    *ret = o;
    return s->rw + offset + store__red_before(size);
}

static int damaged(struct store *s, store_object o, size_t size, bool before,
                   struct rwf_err *err)
{
    store__entry_finish(s, o, creating(s, o));
    return rwf_fail(err, EFAULT,
                    "store: somebody wrote %s object %" PRIx64 " of %zu bytes",
                    before ? "before the start of" : "past the end of", o, size);
}

int store_object_seal(struct store *s, store_object o, struct rwf_err *err)
{
    struct entry *e = store__entry(s, o);
    uint64_t offset = e ? atomic_load(&e->offset) : NOWHERE;
    size_t size = e ? atomic_load(&e->size) : 0, data;

    if (!e || (atomic_load(&e->state) & ~WORD_WAITED) != creating(s, o) ||
        offset == NOWHERE)
        return rwf_fail(err, EINVAL, "store: object %" PRIx64 " is not being written",
                        o);
    data = offset + store__red_before(size);
    if (!red_intact(s, data - RED, RED))
        return damaged(s, o, size, true, err);
    if (!red_intact(s, data + size, red_after(size)))
        return damaged(s, o, size, false, err);
    store__entry_move(e, creating(s, o),
                      word_make(object_generation(o), ENTRY_SEALED, 0, 0));
    if (!store__set_has(&e->holders, s->slot))
        store__entry_try_free(s, o);
    return 0;
}

void store_object_abort(struct store *s, store_object o)
{
    struct entry *e = store__entry(s, o);

    if (e && (atomic_load(&e->state) & ~WORD_WAITED) == creating(s, o))
        store__entry_finish(s, o, creating(s, o));
}

/* --- pin --- */

/* What a reader does about the state of an object whose pin bit it has set. */
enum verdict { READ, GONE, BROKEN, WAIT, ASK };

static enum verdict judge(uint64_t w, store_object o)
{
    static const enum verdict by_state[ENTRY_STATES] = {
        [ENTRY_FREE] = GONE,      [ENTRY_CREATING] = WAIT, [ENTRY_SEALED] = READ,
        [ENTRY_SPILLING] = WAIT,  [ENTRY_SPILLED] = ASK,   [ENTRY_RESTORING] = WAIT,
        [ENTRY_DAMAGED] = BROKEN, [ENTRY_FREEING] = WAIT,  [ENTRY_DYING] = GONE,
        [ENTRY_DROPPED] = GONE,
    };

    if (word_generation(w) != object_generation(o) || word_state(w) >= ENTRY_STATES)
        return GONE;
    return by_state[word_state(w)];
}

static int gone(store_object o, struct rwf_err *err)
{
    return rwf_fail(err, ENOENT, "store: there is no object %" PRIx64 " (any more)", o);
}

static int wait_for(struct store *s, struct entry *e, store_object o, uint64_t w,
                    int64_t deadline, struct rwf_err *err)
{
    if (judge(w, o) == ASK && s->slot == 0)
        store_restore(s, o, NULL);
    else if (judge(w, o) == ASK && s->hooks.restore)
        s->hooks.restore(s->hooks.ctx, o);
    if (atomic_load(&e->state) != w)
        return 0;
    if (rwf_clock_mono() >= deadline)
        return rwf_fail(err, ETIMEDOUT, "store: object %" PRIx64 " is not there yet",
                        o);
    store__entry_wait(e, w, deadline);
    return 0;
}

/* Until it can be read in place, or -1. */
static int settle(struct store *s, struct entry *e, store_object o, int64_t deadline,
                  struct rwf_err *err)
{
    for (;;) {
        uint64_t w = atomic_load(&e->state);
        switch (judge(w, o)) {
        case READ:
            return 0;
        case GONE:
            return gone(o, err);
        case BROKEN:
            return rwf_fail(err, EILSEQ,
                            "store: object %" PRIx64 " was damaged on disk", o);
        case WAIT:
        case ASK:
            if (wait_for(s, e, o, w, deadline, err) < 0)
                return -1;
        }
    }
}

static const void *place(struct store *s, struct entry *e, size_t *ret_size)
{
    uint64_t offset = atomic_load_explicit(&e->offset, memory_order_relaxed);
    uint64_t size = atomic_load_explicit(&e->size, memory_order_relaxed);
    uint32_t clock = atomic_load_explicit(&s->table->clock, memory_order_relaxed);

    if (offset >= s->arena || size > s->arena - offset ||
        offset + store__red_before(size) + size > s->arena)
        return NULL;
    if (atomic_load_explicit(&e->used, memory_order_relaxed) != clock)
        atomic_store_explicit(&e->used, clock, memory_order_relaxed);
    *ret_size = size;
    return s->ro + offset + store__red_before(size);
}

const void *store_object_pin(struct store *s, store_object o, int64_t deadline,
                             size_t *ret_size, struct rwf_err *err)
{
    struct entry *e = store__entry(s, o);
    const void *data = NULL;
    int was;

    if (!e || judge(atomic_load(&e->state), o) == GONE ||
        (was = store__set_add(&e->pins, o, s->slot)) < 0) {
        gone(o, err);
        return NULL;
    }
    if (settle(s, e, o, deadline, err) == 0) {
        data = place(s, e, ret_size);
        if (!data)
            rwf_fail(err, EPROTO, "store: the entry of object %" PRIx64 " is damaged",
                     o);
    }
    if (!data && !was) {
        store__set_remove(&e->pins, o, s->slot);
        store__entry_try_free(s, o);
    }
    return data;
}

void store_object_unpin(struct store *s, store_object o)
{
    struct entry *e = store__entry(s, o);

    if (!e)
        return;
    store__set_remove(&e->pins, o, s->slot);
    store__entry_try_free(s, o);
}

/* --- references --- */

/* Whether it lives, once the bit is set. FREEING is over soon, unless the one who does
 * it was killed: then the node ends it. */
static bool lives(struct entry *e, store_object o)
{
    int64_t deadline = rwf_clock_mono() + 10 * RWF_NS_PER_S;

    for (;;) {
        uint64_t w = atomic_load(&e->state);
        if (judge(w, o) == GONE)
            return false;
        if (word_state(w) != ENTRY_FREEING)
            return true;
        if (rwf_clock_mono() > deadline)
            return false;
        store__entry_wait(e, w, deadline);
    }
}

static int add_holder(struct store *s, store_object o, int slot)
{
    struct entry *e = store__entry(s, o);
    int was;

    if (!e || judge(atomic_load(&e->state), o) == GONE)
        return -1;
    was = store__set_add(&e->holders, o, slot);
    if (was < 0 || lives(e, o))
        return was;
    if (!was) {
        store__set_remove(&e->holders, o, slot);
        store__entry_try_free(s, o);
    }
    return -1;
}

int store_object_hold(struct store *s, store_object o)
{
    return add_holder(s, o, s->slot) < 0 ? -1 : 0;
}

static bool same_client(const struct store *s, int slot, uint32_t epoch)
{
    return store_slot_alive(s, slot) &&
           atomic_load(&store__slot(s, slot)->epoch) == epoch;
}

int store_object_hand(struct store *s, store_object o, int slot)
{
    uint32_t epoch;
    int was;

    if (slot < 0 || slot >= STORE_SLOTS)
        return -1;
    epoch = atomic_load(&s->epochs[slot]);
    if (!epoch)
        epoch = atomic_load(&store__slot(s, slot)->epoch);
    if (!same_client(s, slot, epoch))
        return -1;
    was = add_holder(s, o, slot);
    if (was < 0 || same_client(s, slot, epoch))
        return was;
    store__set_remove(&store__entry(s, o)->holders, o, slot);
    store__entry_try_free(s, o);
    return -1;
}

void store_object_drop(struct store *s, store_object o)
{
    struct entry *e = store__entry(s, o);

    if (!e)
        return;
    store__set_remove(&e->holders, o, s->slot);
    store__entry_try_free(s, o);
}

int64_t store_object_size(const struct store *s, store_object o)
{
    struct entry *e = store__entry(s, o);

    if (!e || judge(atomic_load(&e->state), o) == GONE)
        return -1;
    return (int64_t)atomic_load(&e->size);
}
