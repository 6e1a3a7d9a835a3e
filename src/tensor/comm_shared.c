/* SPDX-License-Identifier: Apache-2.0
 *
 * All operations are cut into chunks, numbered from 0 over the life of the group; all ranks
 * issue the same operations in the same order, so a number means the same to all. Chunk n
 * uses slot n % SLOTS of every segment. A rank takes each chunk through three stages, each
 * in order of the numbers, and publishes how far it got in a counter of its segment:
 *
 *   post    copies its part into its slot       once all have finished n - SLOTS
 *   reduce  sums its share of the slots, in     once all have posted n; only sums of
 *           place, into its own slot            more than two ranks
 *   finish  copies the result out               once all have posted (or reduced) n
 *
 * Operations on a region go through no slot: "posted" says that a rank's part of it may be
 * read, and the result is made from all ranks' regions at the finish. Of these, rank k reads
 * share k alone when it scatters, and writes there; and it writes what is not its own share
 * when it gathers, which nobody else reads.
 *
 * A slot's share k of a sum is read and written by rank k alone until it has published
 * "reduced"; nothing of slot n is read after its reader has published "finished".
 */
#include "config.h"
#include "tensor/comm_shared.h"

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"

enum { SLOTS = 16, CHUNK = 256 << 10, LINE = 128, SPINS = 4096, YIELDS = 4096 };

enum kind { SUM, SCATTER, GATHER, BROADCAST };
enum stage { POST, REDUCE, FINISH, STAGES };

struct segment {
    struct {
        _Atomic uint64_t count; /* chunks that this rank has taken through the stage */
        char pad[LINE - sizeof(uint64_t)];
    } stage[STAGES];
    char slot[SLOTS][CHUNK];
};

/* An operation; sizes in bytes. Chunk i of it is [i * piece, …) of each part. */
struct op {
    enum kind kind;
    int root;
    char *to;
    const char *from;
    int64_t bytes; /* of a part: sum, broadcast: of all */
    int64_t piece;
    uint64_t first, end; /* numbers of its chunks */
    const struct region *region; /* NULL: through slots */
    int64_t offset;              /* in it, of what all ranks give (gather: of `to`) */
};

struct region {
    char **bases; /* by rank */
    int64_t bytes;
    struct region *next;
};

struct shared {
    int rank, size;
    struct segment **segments;
    uint64_t next[STAGES];   /* the chunk that comes next in each stage */
    uint64_t *seen[STAGES];  /* by rank: its counter as last read */
    size_t at[STAGES];       /* the operation of that chunk, in ops */
    struct op *ops;
    size_t count, cap;
    uint64_t end; /* the number of the next chunk to be made */
    struct region *regions;
};

size_t shared_segment_size(void)
{
    return sizeof(struct segment);
}

struct shared *shared_create(int rank, int size, void *const *segments)
{
    struct shared *s = rwf_xcalloc(1, sizeof(*s));
    rwf_assert(size > 1 && size <= SHARED_RANKS_MAX);
    s->rank = rank;
    s->size = size;
    s->segments = rwf_xcalloc((size_t)size, sizeof(*s->segments));
    for (int r = 0; r < size; r++)
        s->segments[r] = segments[r];
    for (int i = 0; i < STAGES; i++)
        s->seen[i] = rwf_xcalloc((size_t)size, sizeof(uint64_t));
    return s;
}

void shared_destroy(struct shared *s)
{
    if (s == NULL)
        return;
    for (int i = 0; i < STAGES; i++)
        free(s->seen[i]);
    while (s->regions != NULL) {
        struct region *r = s->regions;
        s->regions = r->next;
        free(r->bases);
        free(r);
    }
    free(s->segments);
    free(s->ops);
    free(s);
}

void shared_add_region(struct shared *s, void *const *regions, int64_t bytes)
{
    struct region *r = rwf_xcalloc(1, sizeof(*r));
    r->bases = rwf_xcalloc((size_t)s->size, sizeof(*r->bases));
    for (int i = 0; i < s->size; i++)
        r->bases[i] = regions[i];
    r->bytes = bytes;
    r->next = s->regions;
    s->regions = r;
}

/* --- the counters --- */

/* True when all ranks have taken chunks 0..count-1 through the stage. */
static bool all_reached(struct shared *s, enum stage stage, uint64_t count)
{
    for (int r = 0; r < s->size; r++) {
        uint64_t *seen = &s->seen[stage][r];
        if (*seen < count)
            *seen = atomic_load_explicit(&s->segments[r]->stage[stage].count,
                                         memory_order_acquire);
        if (*seen < count)
            return false;
    }
    return true;
}

static void publish(struct shared *s, enum stage stage)
{
    s->next[stage]++;
    atomic_store_explicit(&s->segments[s->rank]->stage[stage].count, s->next[stage],
                          memory_order_release);
}

/* --- sums --- */

/* Sixteen at a time, wherever they lie. */
typedef float vector __attribute__((vector_size(64), aligned(4), may_alias));

static void add_two(float *to, const float *a, const float *b, int64_t n)
{
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        *(vector *)(to + i) = *(const vector *)(a + i) + *(const vector *)(b + i);
    for (; i < n; i++)
        to[i] = a[i] + b[i];
}

/* Where rank has what it gives in chunk n. */
static const char *given(const struct shared *s, const struct op *op, uint64_t n, int rank)
{
    return op->region != NULL ? op->region->bases[rank] + op->offset
                              : s->segments[rank]->slot[n % SLOTS];
}

/* to = the sum of what all ranks have given at `offset`, added in rank order; to may be
 * this rank's own place there. */
static void add_given(struct shared *s, const struct op *op, uint64_t n, float *to,
                      int64_t offset, int64_t bytes)
{
    enum { BLOCK = 1024 };
    float sum[BLOCK];
    const char *first = given(s, op, n, 0) + offset, *other;
    int64_t count = bytes / (int64_t)sizeof(float);
    for (int64_t i = 0; i < count; i += BLOCK) {
        int64_t some = count - i < BLOCK ? count - i : BLOCK;
        for (int r = 1; r < s->size; r++) {
            other = given(s, op, n, r) + offset;
            add_two(r == s->size - 1 ? to + i : sum,
                    r == 1 ? (const float *)(const void *)first + i : sum,
                    (const float *)(const void *)other + i, some);
        }
    }
}

/* --- chunks --- */

/* Rank's share of a chunk of a sum, in whole lines so that no two ranks write to one. */
static void share(const struct shared *s, int rank, int64_t bytes, int64_t *ret_from,
                  int64_t *ret_bytes)
{
    int64_t lines = (bytes + LINE - 1) / LINE;
    int64_t from = lines * rank / s->size * LINE;
    int64_t to = lines * (rank + 1) / s->size * LINE;
    *ret_from = from < bytes ? from : bytes;
    *ret_bytes = (to < bytes ? to : bytes) - *ret_from;
}

/* Where chunk n of op is within a part, and its size. */
static int64_t place(const struct op *op, uint64_t n, int64_t *ret_offset)
{
    *ret_offset = (int64_t)(n - op->first) * op->piece;
    int64_t left = op->bytes - *ret_offset;
    return left < op->piece ? left : op->piece;
}

static bool two_stages(const struct shared *s, const struct op *op)
{
    return op->kind == SUM && s->size > 2;
}

static void post(struct shared *s, const struct op *op, uint64_t n)
{
    int64_t offset, bytes = place(op, n, &offset);
    char *slot = s->segments[s->rank]->slot[n % SLOTS];
    if (op->region != NULL)
        return;
    if (op->kind == SCATTER)
        for (int r = 0; r < s->size; r++)
            memcpy(slot + r * op->piece, op->from + r * op->bytes + offset, (size_t)bytes);
    else if (op->kind != BROADCAST || op->root == s->rank)
        memcpy(slot, op->from + offset, (size_t)bytes);
}

static void reduce(struct shared *s, const struct op *op, uint64_t n)
{
    int64_t offset, from, bytes = place(op, n, &offset);
    share(s, s->rank, bytes, &from, &bytes);
    char *mine = s->segments[s->rank]->slot[n % SLOTS] + from;
    add_given(s, op, n, (float *)(void *)mine, from, bytes);
}

static void finish(struct shared *s, const struct op *op, uint64_t n)
{
    int64_t offset, bytes = place(op, n, &offset), from, part;
    char *to = op->to + offset;
    if (op->kind == SCATTER) {
        add_given(s, op, n, (float *)(void *)to, s->rank * op->piece, bytes);
    } else if (op->kind == SUM && s->size == 2) {
        add_given(s, op, n, (float *)(void *)to, 0, bytes);
    } else if (op->kind == BROADCAST) {
        if (op->root != s->rank)
            memcpy(to, s->segments[op->root]->slot[n % SLOTS], (size_t)bytes);
    } else {
        for (int r = 0; r < s->size; r++) {
            const char *slot = given(s, op, n, r);
            if (op->region != NULL) {
                if (r != s->rank)
                    memcpy(to + r * op->bytes, slot + r * op->bytes, (size_t)bytes);
            } else if (op->kind == SUM) {
                share(s, r, bytes, &from, &part);
                memcpy(to + from, slot + from, (size_t)part);
            } else if (to + r * op->bytes != op->from + offset) {
                memcpy(to + r * op->bytes, slot, (size_t)bytes);
            }
        }
    }
}

/* Whether chunk n may go through the stage now. */
static bool may(struct shared *s, enum stage stage, const struct op *op, uint64_t n)
{
    switch (stage) {
    case POST:
        return n < SLOTS || all_reached(s, FINISH, n + 1 - SLOTS);
    case REDUCE:
        return !two_stages(s, op) || all_reached(s, POST, n + 1);
    default:
        return s->next[REDUCE] > n &&
               all_reached(s, two_stages(s, op) ? REDUCE : POST, n + 1);
    }
}

/* Takes chunks through one stage as far as they go; true when any went. */
static bool advance(struct shared *s, enum stage stage)
{
    uint64_t before = s->next[stage];
    while (s->next[stage] < s->end && (stage == POST || s->next[stage] < s->next[POST])) {
        uint64_t n = s->next[stage];
        while (s->ops[s->at[stage]].end <= n)
            s->at[stage]++;
        const struct op *op = &s->ops[s->at[stage]];
        if (!may(s, stage, op, n))
            break;
        if (stage == POST)
            post(s, op, n);
        else if (stage == FINISH)
            finish(s, op, n);
        else if (two_stages(s, op))
            reduce(s, op, n);
        publish(s, stage);
    }
    return s->next[stage] != before;
}

static bool progress(struct shared *s)
{
    bool any = advance(s, POST);
    any |= advance(s, REDUCE);
    any |= advance(s, FINISH);
    return any;
}

/* Others work on the cores that this one would spin on: first it spins, then it lets them,
 * then it sleeps. */
static void idle(unsigned *turns)
{
    ++*turns;
    if (*turns < SPINS)
#if defined(__x86_64__)
        __builtin_ia32_pause();
#else
        atomic_signal_fence(memory_order_seq_cst);
#endif
    else if (*turns < SPINS + YIELDS)
        sched_yield();
    else
        nanosleep(&(struct timespec){ .tv_nsec = 50000 }, NULL);
}

/* Scatters from a region, and gathers in place in one, are single chunks. */
static void find_region(const struct shared *s, struct op *op)
{
    const char *start = op->kind == SCATTER ? op->from : op->to;
    bool in_place = op->kind == GATHER && op->from == op->to + s->rank * op->bytes;
    for (const struct region *r = s->regions; r != NULL; r = r->next) {
        const char *base = r->bases[s->rank];
        if ((op->kind != SCATTER && !in_place) || start < base ||
            start + op->bytes * s->size > base + r->bytes)
            continue;
        op->region = r;
        op->offset = start - base;
        op->piece = op->bytes;
    }
}

static void add_op(struct shared *s, struct op op)
{
    if (op.bytes <= 0)
        return;
    find_region(s, &op);
    op.first = s->end;
    op.end = op.first + (uint64_t)((op.bytes + op.piece - 1) / op.piece);
    s->end = op.end;
    *RWF_PUSH(s->ops, s->count, s->cap) = op;
    progress(s);
}

void shared_sum(void *ctx, float *to, const float *from, int64_t count)
{
    add_op(ctx, (struct op){ .kind = SUM,
                             .to = (char *)to,
                             .from = (const char *)from,
                             .bytes = count * (int64_t)sizeof(float),
                             .piece = CHUNK });
}

void shared_scatter(void *ctx, float *to, const float *from, int64_t count)
{
    struct shared *s = ctx;
    add_op(s, (struct op){ .kind = SCATTER,
                           .to = (char *)to,
                           .from = (const char *)from,
                           .bytes = count * (int64_t)sizeof(float),
                           .piece = CHUNK / s->size / LINE * LINE });
}

void shared_gather(void *ctx, void *to, const void *from, int64_t bytes)
{
    add_op(ctx, (struct op){
                    .kind = GATHER, .to = to, .from = from, .bytes = bytes, .piece = CHUNK });
}

void shared_broadcast(void *ctx, void *buffer, int64_t bytes, int root)
{
    add_op(ctx, (struct op){ .kind = BROADCAST,
                             .root = root,
                             .to = buffer,
                             .from = buffer,
                             .bytes = bytes,
                             .piece = CHUNK });
}

int shared_wait(void *ctx, struct rwf_err *err)
{
    struct shared *s = ctx;
    unsigned turns = 0;
    (void)err;
    while (s->next[FINISH] < s->end)
        if (progress(s))
            turns = 0;
        else
            idle(&turns);
    s->count = 0;
    memset(s->at, 0, sizeof(s->at));
    return 0;
}
