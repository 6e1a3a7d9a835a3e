/* SPDX-License-Identifier: Apache-2.0
 *
 * Objects on disk: written when room is needed, read back when they are.
 *
 * One file for each object in a folder of ours (0700, locked: one node at a time),
 * swept at start. What lies there is a cache of this process and dies with it: nothing
 * is synced. The checksum is kept in memory, not beside the data.
 *
 * Invariants:
 * - An object is written while SEALED, with a pin of the node's, so that it can neither
 *   change nor go. Then SPILLING, then a look at the pins: a reader sets its pin, then
 *   looks at the state, so one sees the other, and the node backs out.
 * - `bytes` never exceeds the quota. What clients drop on disk is DROPPED and counts
 *   until the node comes by (each call here).
 * - Calls of relieve and restore take turns (lock); they may be made by any thread.
 */
#include "config.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/mem.h"
#include "base/units.h"
#include "store/crc32c.h"
#include "store/inside.h"
#include "store/victims.h"

#define PREFIX "object-"
#define NAME_LEN 40

struct record {
    store_object object;
    size_t size;
    uint32_t crc;
};

struct spill {
    pthread_mutex_t lock;
    char *dir;
    int dir_fd;
    int64_t quota;
    _Atomic int64_t bytes;
    _Atomic uint64_t spilled, restored;
    uint32_t dropped; /* as last seen */
    struct record *records;
    size_t count, cap;
};

static void name_of(store_object o, char out[NAME_LEN])
{
    snprintf(out, NAME_LEN, PREFIX "%016" PRIx64, o);
}

/* --- the folder --- */

static int take_folder(struct spill *p, struct rwf_err *err)
{
    struct stat st;

    if (rwf_fs_mkdirs(p->dir, err) < 0)
        return -1;
    p->dir_fd = open(p->dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (p->dir_fd < 0 || fstat(p->dir_fd, &st) < 0)
        return rwf_fail(err, errno, "%s: cannot open it: %s", p->dir, strerror(errno));
    if (st.st_uid != geteuid())
        return rwf_fail(err, EPERM, "%s: it belongs to another user", p->dir);
    if (fchmod(p->dir_fd, 0700) < 0)
        return rwf_fail(err, errno, "%s: cannot make it private: %s", p->dir,
                        strerror(errno));
    if (flock(p->dir_fd, LOCK_EX | LOCK_NB) < 0)
        return rwf_fail(err, EBUSY,
                        "%s: another node spills there; give each a folder of its own",
                        p->dir);
    return 0;
}

static int sweep_folder(struct spill *p, struct rwf_err *err)
{
    int fd = openat(p->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);

    if (!dir) {
        rwf_fail(err, errno, "%s: cannot list it: %s", p->dir, strerror(errno));
        if (fd >= 0)
            close(fd);
        return -1;
    }
    for (struct dirent *e; (e = readdir(dir));)
        if (strncmp(e->d_name, PREFIX, strlen(PREFIX)) == 0)
            unlinkat(p->dir_fd, e->d_name, 0);
    closedir(dir);
    return 0;
}

static void destroy(struct spill *p)
{
    if (p->dir_fd >= 0)
        close(p->dir_fd);
    pthread_mutex_destroy(&p->lock);
    free(p->records);
    free(p->dir);
    free(p);
}

struct spill *store__spill_create(const struct store_options *o, struct rwf_err *err)
{
    struct spill *p = rwf_xcalloc(1, sizeof(*p));

    pthread_mutex_init(&p->lock, NULL);
    p->dir = rwf_xstrdup(o->spill_dir);
    p->dir_fd = -1;
    p->quota = o->spill_quota;
    if (take_folder(p, err) == 0 && sweep_folder(p, err) == 0)
        return p;
    rwf_wrap(err, "store: spill folder");
    destroy(p);
    return NULL;
}

void store__spill_destroy(struct store *s)
{
    if (!s->spill)
        return;
    sweep_folder(s->spill, NULL);
    destroy(s->spill);
    s->spill = NULL;
}

void store__spill_stats(struct store *s, struct store_stats *ret)
{
    struct spill *p = s->spill;

    if (!p)
        return;
    ret->spilled = atomic_load(&p->spilled);
    ret->restored = atomic_load(&p->restored);
    ret->spill_bytes = atomic_load(&p->bytes);
    ret->spill_quota = p->quota;
}

/* --- records --- */

static struct record *find(struct spill *p, store_object o)
{
    for (size_t i = 0; i < p->count; i++)
        if (p->records[i].object == o)
            return &p->records[i];
    return NULL;
}

static void forget(struct spill *p, struct record *r)
{
    char name[NAME_LEN];

    name_of(r->object, name);
    unlinkat(p->dir_fd, name, 0);
    atomic_fetch_sub(&p->bytes, (int64_t)r->size);
    *r = p->records[--p->count];
}

/* Removes the files of what clients have dropped meanwhile. */
static void collect(struct store *s)
{
    struct spill *p = s->spill;
    uint32_t dropped = atomic_load(&s->table->dropped);

    if (dropped == p->dropped)
        return;
    p->dropped = dropped;
    for (size_t i = p->count; i-- > 0;) {
        store_object o = p->records[i].object;
        uint32_t generation = object_generation(o);
        if (!store__entry_move(store__entry(s, o),
                               word_make(generation, ENTRY_DROPPED, 0, 0),
                               word_make(generation, ENTRY_FREE, 0, 0)))
            continue;
        forget(p, &p->records[i]);
        store__space_given(s);
    }
}

/* --- out --- */

static int write_file(struct spill *p, const char *name, const char *data, size_t size,
                      struct rwf_err *err)
{
    int fd = openat(p->dir_fd, name,
                    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    int rc;

    if (fd < 0)
        return rwf_fail(err, errno, "%s/%s: %s", p->dir, name, strerror(errno));
    rc = rwf_fs_write_all(fd, data, size, err);
    if (close(fd) < 0 && rc == 0)
        rc = rwf_fail(err, errno, "%s", strerror(errno));
    if (rc < 0) {
        unlinkat(p->dir_fd, name, 0);
        rwf_wrap(err, "%s/%s", p->dir, name);
    }
    return rc;
}

/* SEALED -> SPILLED, unless somebody reads it. The node's own pin is set. */
static bool take_from_memory(struct store *s, struct entry *e, store_object o,
                             size_t size)
{
    uint32_t generation = object_generation(o);
    uint64_t sealed = word_make(generation, ENTRY_SEALED, 0, 0);
    uint64_t spilling = word_make(generation, ENTRY_SPILLING, 0, 0);

    if (!store__entry_move(e, sealed, spilling))
        return false;
    if (store__set_count(&e->pins, o) != 1) {
        store__entry_move(e, spilling, sealed);
        return false;
    }
    store__room_give(s, o, atomic_load(&e->offset), size,
                     (int)atomic_load(&e->creator));
    atomic_store(&e->offset, NOWHERE);
    store__entry_move(e, spilling, word_make(generation, ENTRY_SPILLED, 0, 0));
    return true;
}

static int spill_pinned(struct store *s, store_object o, const char *data, size_t size,
                        struct rwf_err *err)
{
    struct spill *p = s->spill;
    char name[NAME_LEN], quota[RWF_UNITS_LEN];

    if ((int64_t)size > p->quota - atomic_load(&p->bytes))
        return rwf_fail(err, EDQUOT,
                        "store: the spill quota of %s is used up; raise it, or drop "
                        "references",
                        rwf_size_format(p->quota, quota));
    name_of(o, name);
    if (write_file(p, name, data, size, err) < 0)
        return rwf_wrap(err, "store: cannot spill to disk");
    p->records = rwf_grow(p->records, p->count, &p->cap, sizeof(*p->records));
    p->records[p->count++] =
        (struct record){.object = o, .size = size, .crc = store__crc32c(0, data, size)};
    atomic_fetch_add(&p->bytes, (int64_t)size);
    if (!take_from_memory(s, store__entry(s, o), o, size))
        forget(p, find(p, o));
    else
        atomic_fetch_add(&p->spilled, 1);
    return 0;
}

/* What has gone or is read meanwhile is passed over. */
static int spill_one(struct store *s, store_object o, struct rwf_err *err)
{
    size_t size;
    const void *data = store_object_pin(s, o, 0, &size, NULL);
    int rc;

    if (!data)
        return 0;
    rc = spill_pinned(s, o, data, size, err);
    store_object_unpin(s, o);
    return rc;
}

static int spill_victims(struct store *s, uint32_t units, struct rwf_err *err)
{
    size_t count;
    store_object *victims = store__victims(s, units, &count);
    int rc = 0;

    if (!victims)
        return rwf_fail(err, EAGAIN,
                        "store: all that could make room is being written or read");
    for (size_t i = 0; i < count && rc == 0; i++)
        rc = spill_one(s, victims[i], err);
    free(victims);
    return rc;
}

/* Several rounds: readers may come while we write, and others take what we gave. */
static int relieve(struct store *s, size_t bytes, struct rwf_err *err)
{
    uint32_t units = (uint32_t)((bytes + STORE_UNIT - 1) / STORE_UNIT);

    if (units > s->units)
        return rwf_fail(err, ENOSPC, "store: %zu bytes never fit", bytes);
    for (int rounds = 0; rounds < 4; rounds++) {
        store__units_reclaim(s);
        if (store__units_fit(s, units))
            return 0;
        if (!s->spill)
            return rwf_fail(err, EAGAIN,
                            "store: full, and it has no folder to spill to");
        if (spill_victims(s, units, err) < 0)
            return -1;
    }
    store__units_reclaim(s);
    if (store__units_fit(s, units))
        return 0;
    return rwf_fail(err, EAGAIN, "store: room is taken as fast as it is made");
}

static int relieve_locked(struct store *s, size_t bytes, struct rwf_err *err)
{
    struct rwf_err local = RWF_ERR_INIT;
    int rc;

    atomic_fetch_add(&s->table->clock, 1);
    rc = relieve(s, bytes, &local);
    /* Of those who wait, this one ends: there will be no more room. */
    if (rc < 0 && local.code != EAGAIN)
        atomic_fetch_add(&s->table->exhausted, 1);
    store__space_given(s);
    return rc < 0 ? rwf_fail(err, local.code, "%s", local.text) : 0;
}

int store_relieve(struct store *s, size_t bytes, struct rwf_err *err)
{
    int rc;

    if (!s->spill)
        return relieve_locked(s, bytes, err);
    pthread_mutex_lock(&s->spill->lock);
    collect(s);
    rc = bytes ? relieve_locked(s, bytes, err) : 0;
    pthread_mutex_unlock(&s->spill->lock);
    return rc;
}

/* --- back --- */

static int read_file(struct spill *p, const struct record *r, char *to,
                     struct rwf_err *err)
{
    char name[NAME_LEN];
    size_t got = 0;
    int fd;

    name_of(r->object, name);
    fd = openat(p->dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    while (fd >= 0 && got < r->size) {
        ssize_t n = read(fd, to + got, r->size - got);
        if (n == 0 || (n < 0 && errno != EINTR))
            break;
        got += n > 0 ? (size_t)n : 0;
    }
    if (fd >= 0)
        close(fd);
    if (got < r->size || store__crc32c(0, to, r->size) != r->crc)
        return rwf_fail(err, EILSEQ,
                        "store: object %" PRIx64 " (%s/%s) was damaged on disk",
                        r->object, p->dir, name);
    return 0;
}

static uint64_t room_for(struct store *s, store_object o, size_t size,
                         struct rwf_err *err)
{
    struct rwf_err local = RWF_ERR_INIT;
    struct room room;
    uint64_t offset;

    store__room_of(size, &room);
    offset = store__room_take(s, o, &room, &local);
    if (offset == NOWHERE && !local.code && relieve_locked(s, room.bytes, &local) == 0)
        offset = store__room_take(s, o, &room, &local);
    if (offset == NOWHERE)
        rwf_fail(err, local.code ? local.code : EAGAIN, "%s",
                 local.code ? local.text
                            : "store: room is taken as fast as it is made");
    return offset;
}

static int restore_to(struct store *s, struct entry *e, struct record *r,
                      uint64_t offset, struct rwf_err *err)
{
    struct spill *p = s->spill;
    uint32_t generation = object_generation(r->object);
    uint64_t restoring = word_make(generation, ENTRY_RESTORING, 0, 0);

    if (read_file(p, r, s->rw + offset + store__red_before(r->size), err) < 0) {
        store__room_give(s, r->object, offset, r->size, s->slot);
        store__entry_move(e, restoring, word_make(generation, ENTRY_DAMAGED, 0, 0));
        return -1;
    }
    atomic_store(&e->creator, (uint32_t)s->slot);
    atomic_store(&e->used, atomic_load(&s->table->clock));
    atomic_store(&e->offset, offset);
    forget(p, r);
    atomic_fetch_add(&p->restored, 1);
    store__entry_move(e, restoring, word_make(generation, ENTRY_SEALED, 0, 0));
    return 0;
}

static int restore(struct store *s, store_object o, struct rwf_err *err)
{
    struct entry *e = store__entry(s, o);
    struct record *r = find(s->spill, o);
    uint32_t generation = object_generation(o);
    uint64_t spilled = word_make(generation, ENTRY_SPILLED, 0, 0);
    uint64_t restoring = word_make(generation, ENTRY_RESTORING, 0, 0), offset;
    size_t size;
    int rc = -1;

    if (!r || !store__entry_move(e, spilled, restoring))
        return store__object_lives(s, o)
                   ? 0
                   : rwf_fail(err, ENOENT, "store: there is no object %" PRIx64, o);
    size = r->size;
    offset = room_for(s, o, size, err);
    if (offset == NOWHERE)
        store__entry_move(e, restoring, spilled);
    else
        rc = restore_to(s, e, find(s->spill, o), offset, err);
    store__entry_try_free(s, o);
    return rc;
}

int store_restore(struct store *s, store_object o, struct rwf_err *err)
{
    int rc;

    if (!s->spill || !store__entry(s, o))
        return rwf_fail(err, ENOENT, "store: there is no object %" PRIx64, o);
    pthread_mutex_lock(&s->spill->lock);
    collect(s);
    rc = restore(s, o, err);
    pthread_mutex_unlock(&s->spill->lock);
    return rc;
}
