/* SPDX-License-Identifier: Apache-2.0
 *
 * One end of a pair of rings: producer of one direction, consumer of the other.
 *
 * Layout: a page of header (words, indexes), then the bytes of both directions. A frame
 * is 8 bytes of header (its size) and its bytes, padded to 8; a frame that does not fit
 * before the end is preceded by a marker (WRAP) and starts at 0. Indexes only grow; a
 * position is index mod size. Both ends keep their own index in private memory and
 * never read it back, so the other side can harm nothing but what it says.
 *
 * Invariants, for input of any kind:
 * - the consumer reads a frame's size once, and gives out only what lies within the
 *   published part and within the ring; else the end is broken, for good;
 * - the producer believes a consumer index only between the last one and its own;
 * - tail is published seq_cst and read so before sleep (see bell.c). When the producer
 *   met a full ring it says so (starved), and is rung as soon as room is given back.
 * The consumer publishes its index every 1/16 of the ring and when it runs dry.
 */
#include "config.h"
#include "store/ring.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/mem.h"
#include "store/bell.h"

#define LINE 64
#define HEADER ((size_t)4096)
#define FRAME_HEADER 8
#define WRAP UINT64_MAX
#define MAGIC UINT64_C(0x0031676e69777972) /* "rywing1" */
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)
#define BYTES_MAX ((size_t)1 << 30)

struct word {
    _Alignas(LINE) _Atomic uint64_t value;
};

/* Of one direction. */
struct ring_shared {
    _Alignas(LINE) _Atomic uint64_t tail;    /* producer: published up to here */
    _Alignas(LINE) _Atomic uint64_t head;    /* consumer: given back up to here */
    _Alignas(LINE) _Atomic uint32_t starved; /* producer waits for room */
};

struct pair_header {
    uint64_t magic;
    struct ring_shared ring[2]; /* [side that produces] */
    struct word words[STORE_WORD_COUNT];
};
_Static_assert(sizeof(struct ring_shared) == 3 * LINE, "layout in shared memory");
_Static_assert(sizeof(struct pair_header) == LINE * (1 + 6 + STORE_WORD_COUNT),
               "layout in shared memory");
_Static_assert(sizeof(struct pair_header) <= HEADER, "layout in shared memory");

struct producer {
    struct ring_shared *shared;
    char *bytes;
    uint64_t tail;     /* committed */
    uint64_t flushed;  /* published */
    uint64_t head;     /* of the consumer, as last seen */
    uint64_t reserved; /* index of the reserved frame */
    size_t size;       /* its size */
    bool open;         /* there is one */
    bool broken;
};

struct consumer {
    struct ring_shared *shared;
    const char *bytes;
    uint64_t head;     /* consumed */
    uint64_t returned; /* published */
    uint64_t tail;     /* of the producer, as last seen */
    size_t taken;      /* bytes of the frame that was peeked at; 0: none */
    bool broken;
};

/* The two halves may be used by two threads. */
struct store_ring {
    _Alignas(LINE) struct producer out;
    _Alignas(LINE) struct consumer in;
    _Alignas(LINE) struct pair_header *map;
    size_t map_size, size, mask;
    struct store_bell *peer;
};

static size_t padded(size_t size)
{
    return (size + 7) & ~(size_t)7;
}

static bool size_ok(size_t bytes)
{
    return bytes >= HEADER && bytes <= BYTES_MAX && !(bytes & (bytes - 1));
}

int store_ring_make(size_t bytes, struct rwf_err *err)
{
    const uint64_t magic = MAGIC;
    int fd;

    rwf_assert(size_ok(bytes));
    fd = memfd_create("raywf-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return rwf_fail(err, errno, "ring: cannot make shared memory: %s",
                        strerror(errno));
    if (ftruncate(fd, (off_t)(HEADER + 2 * bytes)) < 0 ||
        pwrite(fd, &magic, sizeof(magic), 0) != sizeof(magic) ||
        fcntl(fd, F_ADD_SEALS, SEALS) < 0) {
        rwf_fail(err, errno, "ring: cannot make %zu bytes of shared memory: %s",
                 HEADER + 2 * bytes, strerror(errno));
        close(fd);
        return -1;
    }
    return fd;
}

/* The size of each direction; 0: not a pair. Unless it is sealed, the other side could
 * cut it off under our feet. */
static size_t pair_size(int fd)
{
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);

    if (seals < 0 || (seals & SEALS) != SEALS || fstat(fd, &st) < 0 ||
        st.st_size <= (off_t)HEADER)
        return 0;
    size_t bytes = ((size_t)st.st_size - HEADER) / 2;
    return size_ok(bytes) && HEADER + 2 * bytes == (size_t)st.st_size ? bytes : 0;
}

static bool indexes_ok(uint64_t head, uint64_t tail, size_t size)
{
    return tail - head <= size && !((head | tail) & 7);
}

static int start(struct store_ring *r, enum store_side side, struct rwf_err *err)
{
    struct ring_shared *out = &r->map->ring[side], *in = &r->map->ring[!side];
    char *bytes = (char *)r->map + HEADER;

    r->out.shared = out;
    r->out.bytes = bytes + (side ? r->size : 0);
    r->out.tail = r->out.flushed = atomic_load(&out->tail);
    r->out.head = atomic_load(&out->head);
    r->in.shared = in;
    r->in.bytes = bytes + (side ? 0 : r->size);
    r->in.head = r->in.returned = atomic_load(&in->head);
    r->in.tail = r->in.head;
    if (r->map->magic != MAGIC || !indexes_ok(r->out.head, r->out.tail, r->size) ||
        r->in.head & 7)
        return rwf_fail(err, EPROTO, "ring: what was passed is no pair of rings");
    return 0;
}

struct store_ring *store_ring_open(int fd, enum store_side side,
                                   struct store_bell *peer, struct rwf_err *err)
{
    struct store_ring *r = NULL;
    size_t bytes = pair_size(fd);
    void *map;

    if (!bytes) {
        rwf_fail(err, EPROTO, "ring: what was passed is no sealed pair of rings");
        return NULL;
    }
    map = mmap(NULL, HEADER + 2 * bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        rwf_fail(err, errno, "ring: cannot map %zu bytes: %s", HEADER + 2 * bytes,
                 strerror(errno));
        return NULL;
    }
    r = aligned_alloc(LINE, sizeof(*r));
    if (!r)
        rwf_out_of_memory(sizeof(*r));
    memset(r, 0, sizeof(*r));
    r->map = map;
    r->map_size = HEADER + 2 * bytes;
    r->size = bytes;
    r->mask = bytes - 1;
    r->peer = peer;
    if (start(r, side, err) < 0) {
        store_ring_close(r);
        return NULL;
    }
    return r;
}

void store_ring_close(struct store_ring *r)
{
    if (!r)
        return;
    munmap(r->map, r->map_size);
    free(r);
}

_Atomic uint64_t *store_ring_word(struct store_ring *r, enum store_ring_word word)
{
    return &r->map->words[word].value;
}

bool store_ring_broken(const struct store_ring *r)
{
    return r->out.broken || r->in.broken;
}

bool store_ring_idle(const struct store_ring *r)
{
    for (int side = 0; side < 2; side++) {
        struct ring_shared *shared = &r->map->ring[side];
        if (atomic_load(&shared->tail) != atomic_load(&shared->head))
            return false;
    }
    return true;
}

/* --- producer --- */

static bool look_for_room(struct store_ring *r, uint64_t end)
{
    struct producer *p = &r->out;
    uint64_t head = atomic_load(&p->shared->head);

    if (head - p->head > p->flushed - p->head || head & 7) {
        p->broken = true;
        return false;
    }
    p->head = head;
    return end - head <= r->size;
}

/* Says that it is starved before it looks again: the consumer gives back, then reads
 * that; one sees the other. */
static bool room_until(struct store_ring *r, uint64_t end)
{
    struct producer *p = &r->out;

    if (end - p->head <= r->size || look_for_room(r, end))
        return true;
    if (p->broken)
        return false;
    atomic_store(&p->shared->starved, 1);
    return look_for_room(r, end);
}

void *store_ring_reserve(struct store_ring *r, size_t size)
{
    struct producer *p = &r->out;
    size_t at = p->tail & r->mask, need = FRAME_HEADER + padded(size);
    uint64_t start = p->tail;

    rwf_assert(size <= r->size / 4);
    if (p->broken)
        return NULL;
    if (need > r->size - at)
        start += r->size - at;
    if (!room_until(r, start + need))
        return NULL;
    p->reserved = start;
    p->size = size;
    p->open = true;
    return p->bytes + (start & r->mask) + FRAME_HEADER;
}

void store_ring_commit(struct store_ring *r)
{
    struct producer *p = &r->out;
    uint64_t size = p->size;

    rwf_assert(p->open);
    if (p->reserved != p->tail) {
        const uint64_t wrap = WRAP;
        memcpy(p->bytes + (p->tail & r->mask), &wrap, sizeof(wrap));
    }
    memcpy(p->bytes + (p->reserved & r->mask), &size, sizeof(size));
    p->tail = p->reserved + FRAME_HEADER + padded(p->size);
    p->open = false;
}

void store_ring_flush(struct store_ring *r)
{
    struct producer *p = &r->out;

    if (p->flushed == p->tail)
        return;
    p->flushed = p->tail;
    atomic_store(&p->shared->tail, p->tail);
    if (r->peer)
        store__bell_published(r->peer);
}

bool store_ring_dirty(const struct store_ring *r)
{
    return r->out.flushed != r->out.tail;
}

/* --- consumer --- */

static void *broken(struct consumer *c)
{
    c->broken = true;
    return NULL;
}

static void give_back(struct store_ring *r)
{
    struct consumer *c = &r->in;

    if (c->returned == c->head)
        return;
    c->returned = c->head;
    atomic_store(&c->shared->head, c->head);
    if (!atomic_load(&c->shared->starved))
        return;
    atomic_store(&c->shared->starved, 0);
    if (r->peer)
        store_bell_ring(r->peer);
}

/* Whether anything was published beyond head. */
static bool more(struct store_ring *r)
{
    struct consumer *c = &r->in;

    if (c->tail != c->head)
        return true;
    uint64_t tail = atomic_load(&c->shared->tail);
    if (tail == c->head) {
        give_back(r);
        return false;
    }
    if (!indexes_ok(c->head, tail, r->size))
        return broken(c) != NULL;
    c->tail = tail;
    return true;
}

static uint64_t header_at(const struct consumer *c, size_t at)
{
    return *(const volatile uint64_t *)(const void *)(c->bytes + at);
}

const void *store_ring_peek(struct store_ring *r, size_t *ret_size)
{
    struct consumer *c = &r->in;
    size_t at = c->head & r->mask, skip = 0;
    uint64_t size;

    if (c->broken || !more(r))
        return NULL;
    size = header_at(c, at);
    if (size == WRAP) {
        skip = r->size - at;
        if (skip + FRAME_HEADER > c->tail - c->head)
            return broken(c);
        at = 0;
        size = header_at(c, 0);
    }
    if (size > r->size / 4 || FRAME_HEADER + padded(size) > r->size - at ||
        skip + FRAME_HEADER + padded(size) > c->tail - c->head)
        return broken(c);
    c->taken = skip + FRAME_HEADER + padded(size);
    *ret_size = size;
    return c->bytes + at + FRAME_HEADER;
}

void store_ring_consume(struct store_ring *r)
{
    struct consumer *c = &r->in;

    rwf_assert(c->taken);
    c->head += c->taken;
    c->taken = 0;
    if (c->head - c->returned >= r->size / 16)
        give_back(r);
}
