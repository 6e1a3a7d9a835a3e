/* SPDX-License-Identifier: Apache-2.0
 *
 * The two memfds and how a process sees them. Both are sealed against resizing, so that
 * no client can pull the pages from under the others.
 *
 *   table  header and slots | unit words | slabs | entries     read and written by all
 *   arena  data                                                mapped twice: to read as
 *          a whole, and to write where our units are (the rest of it is PROT_NONE)
 *
 * Both files are sparse: only what was used takes memory.
 */
#include "config.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/mem.h"
#include "store/inside.h"

#define MAGIC UINT64_C(0x3165726f74737972) /* "rystore1" */
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define UNITS_MAX ((size_t)1 << 24)

struct layout {
    size_t words, slabs, entries, size;
};

static size_t lines(size_t bytes)
{
    return (bytes + LINE - 1) & ~(size_t)(LINE - 1);
}

static struct layout layout_of(size_t units, size_t objects)
{
    struct layout l;

    l.words = lines(sizeof(struct table));
    l.slabs = l.words + lines(units * sizeof(uint64_t));
    l.entries = l.slabs + units * sizeof(struct slab);
    l.size = l.entries + objects * sizeof(struct entry);
    return l;
}

/* --- files --- */

static int make_file(const char *name, size_t size, struct rwf_err *err)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd >= 0 && ftruncate(fd, (off_t)size) == 0 &&
        fcntl(fd, F_ADD_SEALS, SEALS) == 0)
        return fd;
    rwf_fail(err, errno, "store: cannot make %zu bytes of shared memory: %s", size,
             strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

static int sealed_size(int fd, size_t *ret, struct rwf_err *err)
{
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);

    if (seals < 0 || (seals & SEALS) != SEALS || fstat(fd, &st) < 0)
        return rwf_fail(err, EPROTO, "store: what was passed is no store");
    *ret = (size_t)st.st_size;
    return 0;
}

/* --- maps --- */

static void *map_bytes(size_t size, int prot, int flags, int fd, struct rwf_err *err)
{
    void *map = mmap(NULL, size, prot, flags, fd, 0);

    if (map != MAP_FAILED)
        return map;
    rwf_fail(
        err, errno,
        "store: cannot map %zu bytes: %s; is the address space limited (ulimit -v)?",
        size, strerror(errno));
    return NULL;
}

static int map_table(struct store *s, struct rwf_err *err)
{
    s->table =
        map_bytes(s->table_size, PROT_READ | PROT_WRITE, MAP_SHARED, s->table_fd, err);
    return s->table ? 0 : -1;
}

static int map_arena(struct store *s, struct rwf_err *err)
{
    s->ro = map_bytes(s->arena, PROT_READ, MAP_SHARED, s->arena_fd, err);
    if (!s->ro)
        return -1;
    s->rw = map_bytes(s->arena, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                      -1, err);
    return s->rw ? 0 : -1;
}

static void set_places(struct store *s, uint32_t units, uint32_t objects)
{
    struct layout l = layout_of(units, objects);
    char *base = (char *)s->table;

    s->units = units;
    s->objects = objects;
    s->unit_words = (void *)(base + l.words);
    s->slabs = (void *)(base + l.slabs);
    s->entries = (void *)(base + l.entries);
    s->mapped = rwf_xcalloc(units, 1);
}

static struct store *new_store(int slot)
{
    struct store *s = rwf_xcalloc(1, sizeof(*s));

    s->table_fd = s->arena_fd = -1;
    s->slot = slot;
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->entry_lock, NULL);
    return s;
}

/* --- create --- */

static uint32_t objects_of(const struct store_options *o, size_t units)
{
    size_t objects = o->objects ? o->objects : units * (STORE_UNIT / 16384);

    if (objects < 1024 && !o->objects)
        objects = 1024;
    return (uint32_t)(objects < (1u << 26) ? objects : 1u << 26);
}

static int make_files(struct store *s, const struct store_options *o,
                      struct rwf_err *err)
{
    size_t units = (o->arena + STORE_UNIT - 1) / STORE_UNIT;
    uint32_t objects;

    if (units == 0 || units > UNITS_MAX)
        return rwf_fail(err, EINVAL, "store: its size must be from 1 MiB to 16 TiB");
    objects = objects_of(o, units);
    s->arena = units * STORE_UNIT;
    s->table_size = layout_of(units, objects).size;
    s->table_fd = make_file("raywf-table", s->table_size, err);
    if (s->table_fd < 0)
        return -1;
    s->arena_fd = make_file("raywf-arena", s->arena, err);
    if (s->arena_fd < 0 || map_table(s, err) < 0 || map_arena(s, err) < 0)
        return -1;
    set_places(s, (uint32_t)units, objects);
    s->table->arena = s->arena;
    s->table->units = s->units;
    s->table->objects = s->objects;
    s->table->magic = MAGIC;
    return 0;
}

struct store *store_create(const struct store_options *o, struct rwf_err *err)
{
    struct store *s = new_store(0);

    if (make_files(s, o, err) < 0)
        goto fail;
    atomic_store(&store__slot(s, 0)->epoch, 1);
    atomic_store(&store__slot(s, 0)->pid, getpid());
    atomic_store(&store__slot(s, 0)->state, SLOT_ALIVE);
    if (o->spill_dir && !(s->spill = store__spill_create(o, err)))
        goto fail;
    if (o->prefault)
        store_prefault(s, o->prefault);
    return s;
fail:
    store_destroy(s);
    return NULL;
}

void store_prefault(struct store *s, size_t bytes)
{
    if (!s->prefault)
        s->prefault =
            store__prefault_start(s->arena_fd, bytes < s->arena ? bytes : s->arena);
}

/* --- attach --- */

static int open_files(struct store *s, int table_fd, int arena_fd, struct rwf_err *err)
{
    s->table_fd = fcntl(table_fd, F_DUPFD_CLOEXEC, 0);
    s->arena_fd = fcntl(arena_fd, F_DUPFD_CLOEXEC, 0);
    if (s->table_fd < 0 || s->arena_fd < 0)
        return rwf_fail(err, errno, "store: cannot keep its descriptors: %s",
                        strerror(errno));
    if (sealed_size(s->table_fd, &s->table_size, err) < 0 ||
        sealed_size(s->arena_fd, &s->arena, err) < 0)
        return -1;
    if (s->table_size < sizeof(struct table) || s->arena < STORE_UNIT)
        return rwf_fail(err, EPROTO, "store: what was passed is no store");
    return map_table(s, err) < 0 || map_arena(s, err) < 0 ? -1 : 0;
}

static int check_table(struct store *s, struct rwf_err *err)
{
    uint32_t units = s->table->units, objects = s->table->objects;

    if (s->table->magic != MAGIC || s->table->arena != s->arena ||
        (size_t)units * STORE_UNIT != s->arena ||
        layout_of(units, objects).size != s->table_size)
        return rwf_fail(
            err, EPROTO,
            "store: it was made by another version of raywf, or is no store");
    set_places(s, units, objects);
    return 0;
}

struct store *store_attach(int table_fd, int arena_fd, int slot,
                           const struct store_hooks *hooks, struct rwf_err *err)
{
    struct store *s;

    rwf_assert(slot > 0 && slot < STORE_SLOTS);
    s = new_store(slot);
    if (hooks)
        s->hooks = *hooks;
    if (open_files(s, table_fd, arena_fd, err) < 0 || check_table(s, err) < 0) {
        store_destroy(s);
        return NULL;
    }
    return s;
}

void store_destroy(struct store *s)
{
    if (!s)
        return;
    store__prefault_stop(s->prefault);
    store__spill_destroy(s);
    if (s->rw)
        munmap(s->rw, s->arena);
    if (s->ro)
        munmap((void *)(uintptr_t)s->ro, s->arena);
    if (s->table)
        munmap(s->table, s->table_size);
    if (s->table_fd >= 0)
        close(s->table_fd);
    if (s->arena_fd >= 0)
        close(s->arena_fd);
    for (int c = 0; c < CLASSES; c++)
        free(s->lists[c].items);
    free(s->mapped);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->entry_lock);
    free(s);
}

int store_table_fd(const struct store *s)
{
    return s->table_fd;
}

int store_arena_fd(const struct store *s)
{
    return s->arena_fd;
}

int store_slot(const struct store *s)
{
    return s->slot;
}
