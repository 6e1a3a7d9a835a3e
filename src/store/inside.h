/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside of store: what lies in the table, and a process's view of it.
 *
 * Every word that tells who owns something names the owner in full, in one atomic: an
 * entry's state has its generation, a unit's word and a slab's block have the object
 * that they belong to. So each step is one compare-and-swap, can be repeated by whoever
 * cleans up after a killed process, and never hits what was given to somebody else
 * since.
 *
 *   entry   FREE -> CREATING -> SEALED <-> SPILLING -> SPILLED -> RESTORING -> SEALED
 *           SEALED, SPILLED, DAMAGED <-> FREEING -> DYING -> FREE  (or DROPPED: a file
 *           on disk is left, which the node removes)
 *   unit    FREE -> RUN (an object's) -> CACHED (its creator's again) -> RUN | FREE
 *           FREE | CACHED -> SLAB (a client's) -> ORPHAN (nobody allocates) -> FREE
 */
#ifndef RWF_STORE_INSIDE_H
#define RWF_STORE_INSIDE_H
#include <pthread.h>
#include "store/store.h"

#define LINE 64

/* --- entries --- */

enum entry_state {
    ENTRY_FREE,
    ENTRY_CREATING,
    ENTRY_SEALED,
    ENTRY_SPILLING, /* on disk, too; the node looks whether somebody reads it */
    ENTRY_SPILLED,
    ENTRY_RESTORING,
    ENTRY_DAMAGED, /* its file is */
    ENTRY_FREEING, /* seemed unused; may go back */
    ENTRY_DYING,   /* its memory is being given back */
    ENTRY_DROPPED, /* the node removes its file, then it is free */
    ENTRY_STATES
};

/* The state word: generation << 32 | before << 24 | waited << 16 | slot << 8 | state.
 * slot: who is at work on it in CREATING, FREEING, DYING. before: the state that
 * FREEING came from. waited: somebody sleeps on the low half. */
#define WORD_WAITED ((uint64_t)1 << 16)

static inline uint64_t word_make(uint32_t generation, enum entry_state state, int slot,
                                 enum entry_state before)
{
    return (uint64_t)generation << 32 | (uint64_t)before << 24 | (uint64_t)slot << 8 |
           (uint64_t)state;
}

static inline enum entry_state word_state(uint64_t w)
{
    return (enum entry_state)(w & 0xff);
}

static inline int word_slot(uint64_t w)
{
    return (int)(w >> 8 & 0xff);
}

static inline enum entry_state word_before(uint64_t w)
{
    return (enum entry_state)(w >> 24 & 0xff);
}

static inline uint32_t word_generation(uint64_t w)
{
    return (uint32_t)(w >> 32);
}

/* A set of slots: 48 in a word, under the low 16 bits of the generation, so that nobody
 * sets or clears a bit of an object that has gone. */
#define SET_BITS 48
#define SET_WORDS ((STORE_SLOTS + SET_BITS - 1) / SET_BITS)
#define SET_MASK (((uint64_t)1 << SET_BITS) - 1)

struct slot_set {
    _Atomic uint64_t word[SET_WORDS];
};

#define NOWHERE UINT64_MAX

struct entry {
    _Alignas(LINE) _Atomic uint64_t state;
    _Atomic uint64_t offset;  /* of its block in the arena; NOWHERE */
    _Atomic uint64_t size;    /* of its data */
    _Atomic uint32_t creator; /* slot: whose units these are */
    _Atomic uint32_t used;    /* the table's clock when it was last pinned */
    struct slot_set holders, pins;
};
_Static_assert(sizeof(struct entry) == 128, "layout in shared memory");

/* --- units --- */

enum unit_kind { UNIT_FREE, UNIT_CACHED, UNIT_RUN, UNIT_SLAB, UNIT_ORPHAN };

/* The unit word: kind << 60 | slot << 52 | generation (20 bits) << 32 | index.
 * RUN: generation and index of the object; SLAB, ORPHAN: index is the size class, and
 * generation a number of its own for each time that a unit becomes a slab: an empty
 * orphan may be freed, taken, filled and orphaned again between two looks. */
static inline uint64_t unit_make(enum unit_kind kind, int slot, uint32_t generation,
                                 uint32_t index)
{
    return (uint64_t)kind << 60 | (uint64_t)slot << 52 |
           (uint64_t)(generation & 0xfffff) << 32 | index;
}

static inline enum unit_kind unit_kind(uint64_t w)
{
    return (enum unit_kind)(w >> 60);
}

static inline int unit_slot(uint64_t w)
{
    return (int)(w >> 52 & 0xff);
}

static inline uint32_t unit_index(uint64_t w)
{
    return (uint32_t)w;
}

#define BLOCK_MIN ((size_t)1024)
#define BLOCKS_MAX (STORE_UNIT / BLOCK_MIN)
#define CLASSES 18

/* Beside each unit, for when it is a slab. */
struct slab {
    _Alignas(LINE) _Atomic uint32_t frees; /* grows when somebody gives a block back */
    char pad[LINE - sizeof(uint32_t)];
    _Atomic uint64_t blocks[BLOCKS_MAX]; /* store_object; 0: free */
};
_Static_assert(sizeof(struct slab) == LINE + 8 * BLOCKS_MAX, "layout in shared memory");

/* --- slots, header --- */

enum slot_state { SLOT_FREE, SLOT_ALIVE, SLOT_DEAD };

struct slot {
    _Alignas(LINE) _Atomic uint32_t state;
    _Atomic uint32_t epoch;
    _Atomic int32_t pid;
    _Atomic uint32_t stolen; /* grows when somebody takes a cached unit */
    _Atomic uint64_t created;
    _Alignas(LINE) struct store_bell bell;
};
_Static_assert(sizeof(struct slot) == 2 * LINE, "layout in shared memory");

struct table {
    uint64_t magic;
    uint64_t arena;
    uint32_t units, objects;
    _Alignas(LINE) _Atomic uint32_t space; /* futex: grows when room is given back */
    _Atomic uint32_t space_wanted;         /* somebody sleeps on it */
    _Atomic uint32_t exhausted;            /* grows when the node cannot spill more */
    _Atomic uint32_t clock;
    _Atomic uint32_t dropped;            /* grows with each DROPPED */
    _Atomic uint32_t slabs;              /* grows with each unit that becomes one */
    _Alignas(LINE) _Atomic uint32_t top; /* entries from here on were never used */
    _Alignas(LINE) struct slot slots[STORE_SLOTS];
};

/* --- a process's view --- */

#define ENTRY_CACHE 256

struct slab_item {
    uint64_t word;        /* of the unit, as long as it is ours */
    uint32_t unit, frees; /* frees: when it was last seen full */
    bool full;
};

struct slab_list {
    struct slab_item *items;
    size_t count, cap, at;
    size_t cursor; /* in items[at] */
};

struct spill;

struct store {
    struct table *table;
    size_t table_size;
    _Atomic uint64_t *unit_words;
    struct slab *slabs;
    struct entry *entries;
    uint32_t units, objects;
    size_t arena;
    const char *ro; /* the arena, to read */
    char *rw;       /* the same, to write: only units of ours are there */
    int table_fd, arena_fd, slot;
    struct store_hooks hooks;

    pthread_mutex_t lock; /* between threads of this process: units and slabs */
    uint8_t *mapped;      /* [units]: there to write */
    uint32_t stolen;      /* as last seen */
    struct slab_list lists[CLASSES];

    pthread_mutex_t entry_lock; /* the same: entries that seem free */
    uint32_t entry_cache[ENTRY_CACHE];
    size_t entry_cached;
    uint32_t entry_cursor;
    int slot_cursor; /* node */

    _Atomic uint32_t epochs[STORE_SLOTS]; /* of slots whose bell was asked for */
    struct spill *spill;                  /* node; NULL: never */
    struct prefault *prefault;
};

/* table.c */
static inline struct slot *store__slot(const struct store *s, int slot)
{
    return &s->table->slots[slot];
}

/* entry.c: states and sets; every function takes an id or an index from anywhere. */
static inline uint32_t object_index(store_object o)
{
    return (uint32_t)o - 1;
}

static inline uint32_t object_generation(store_object o)
{
    return (uint32_t)(o >> 32);
}

static inline store_object object_make(uint32_t index, uint32_t generation)
{
    return (uint64_t)generation << 32 | (index + 1);
}

/* NULL: no such index. */
struct entry *store__entry(const struct store *s, store_object o);
/* A free entry, now CREATING and held by this client; NULL: none is free. */
struct entry *store__entry_claim(struct store *s, store_object *ret);
/* From exactly `from` (waited or not) to `to`; wakes who waits. */
bool store__entry_move(struct entry *e, uint64_t from, uint64_t to);
/* Sleeps until the state is no longer w, deadline, or soon. */
void store__entry_wait(struct entry *e, uint64_t w, int64_t deadline);
/* -1: the object has gone; else whether the bit was set before. */
int store__set_add(struct slot_set *set, store_object o, int slot);
void store__set_remove(struct slot_set *set, store_object o, int slot);
int store__set_count(const struct slot_set *set, store_object o);
bool store__set_empty(const struct slot_set *set);
bool store__set_has(const struct slot_set *set, int slot);
/* Frees the object when nobody holds or reads it. Called by whoever took a bit away, or
 * brought the object into a state from which it can be freed. */
void store__entry_try_free(struct store *s, store_object o);
/* CREATING, FREEING or DYING, by a slot that is no more, or by us: to its end. */
void store__entry_finish(struct store *s, store_object o, uint64_t w);

/* The bytes after an object that tell whether somebody wrote there; before it as many,
 * or a page: large data begins on a page, because copies from malloc'ed memory (16
 * bytes into one) to any place a bit further into a page run at a third of the speed.
 */
#define RED ((size_t)64)
#define PAGE ((size_t)4096)

static inline size_t store__red_before(size_t size)
{
    return size > 32768 ? PAGE : RED;
}

/* unit.c */
struct room {
    size_t bytes;   /* of the whole block, red zones included */
    int class_;     /* of a slab; -1: a run */
    uint32_t units; /* of a run */
};
void store__room_of(size_t size, struct room *ret);
size_t store__class_bytes(int class_);
/* Memory for o: its offset, mapped to write; NOWHERE: none (code 0), or *err. */
uint64_t store__room_take(struct store *s, store_object o, const struct room *room,
                          struct rwf_err *err);
/* Gives back what o has there; may be repeated. */
void store__room_give(struct store *s, store_object o, uint64_t offset, size_t size,
                      int creator);
/* Cached and empty units of everybody become free; whether any did. */
bool store__units_reclaim(struct store *s);
/* From exactly w; its owner is told. */
bool store__unit_free(struct store *s, uint32_t unit, uint64_t w);
/* Everything that a dead slot had, and units of objects that are no more. */
void store__units_release(struct store *s, int slot);
/* One unit to be a slab of ours, mapped; -1: none. */
int64_t store__unit_take_slab(struct store *s, int class_, uint64_t *ret_word,
                              struct rwf_err *err);
int store__units_map(struct store *s, uint32_t first, uint32_t count,
                     struct rwf_err *err);
bool store__object_lives(const struct store *s, store_object o);

/* slab.c; lock is held by slab_take. */
uint64_t store__slab_take(struct store *s, store_object o, int class_,
                          struct rwf_err *err);
void store__slab_give(struct store *s, store_object o, uint64_t offset);
/* Blocks of objects that are no more. */
void store__slab_clean(struct store *s, uint32_t unit);
bool store__slab_empty(const struct store *s, uint32_t unit, int class_);

/* Somebody may allocate now. */
void store__space_given(struct store *s);

/* object.c: room for o, with back-pressure. */
uint64_t store__room_wait(struct store *s, store_object o, size_t size,
                          int64_t deadline, struct rwf_err *err);

/* spill.c */
struct spill *store__spill_create(const struct store_options *o, struct rwf_err *err);
void store__spill_destroy(struct store *s);
void store__spill_stats(struct store *s, struct store_stats *ret);

/* prefault.c */
struct prefault *store__prefault_start(int arena_fd, size_t bytes);
void store__prefault_stop(struct prefault *p);

#endif
