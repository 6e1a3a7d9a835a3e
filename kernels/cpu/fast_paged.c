/* SPDX-License-Identifier: Apache-2.0
 *
 * Rotary positions into a paged cache, and attention over it. A part of the attention
 * is one key head of one sequence with a tile of its queries; the keys pass by in tiles
 * of KEYS, softmax as in fast_softmax.h. Few queries, as in decoding, meet keys and
 * values where they lie; for many these are gathered, and multiplied as matrices.
 */
#include "kernels/cpu/fast.h"
#include "kernels/cpu/fast_dot.h"
#include "kernels/cpu/fast_softmax.h"

#define KEYS 64      /* a multiple of KERNEL_BLOCK */
#define ROWS_MOST 64 /* queries of a tile: tokens times heads of a group */
#define ROWS_FEW 8
#define PART_BYTES (64 << 10) /* of the cache, that pay for waking a thread */
/* A thread's room beyond its packed panels. */
#define ROOM_FLOATS ((int64_t)((CPU_ROOM_BYTES - CPU_PACK_BYTES) / sizeof(float)))
#define SIZE_MOST ((ROOM_FLOATS - ROWS_MOST * (KEYS + 2)) / (2 * ROWS_MOST + 2 * KEYS))

struct paged {
    const struct kernel_paged *a;
    const struct kernel_sequences *s;
    const struct kernel_rope *r;
    struct kernel_context *c;
    void *out;
    const void *q, *qkv;
    int32_t *tiles; /* [count + 1] of the sequences before */
    int64_t group;  /* query heads of a key head */
};

static const void *element(const void *x, int64_t i, enum kernel_type type)
{
    return (const char *)x + i * (int64_t)kernel_size(type);
}

/* Where in a cache block b of sequence i starts, for a key head. */
static int64_t block_at(const struct paged *p, int64_t i, int64_t b, int64_t kv)
{
    int64_t block = p->s->blocks[i * p->s->stride + b];
    return (block * p->a->kv_heads + kv) * KERNEL_BLOCK * p->a->size;
}

/* --- rotary positions --- */

INLINE void turn_head(const struct kernel_rope *r, const void *weight, int64_t angle,
                      void *y, int64_t to, const void *x, int64_t from,
                      enum kernel_type type)
{
    const int64_t half = r->size / 2;
    vf squares = {0};
    EACH(j, n, 0, weight != NULL ? r->size : 0) {
        vf value = vget(x, from + j, n, type);
        squares = vfma(value, value, squares);
    }
    float inverse = 1 / sqrtf(vsum(squares) / (float)r->size + r->epsilon);
    EACH(j, n, 0, half) {
        vf cosine = vget(r->cosine, angle + j, n, KERNEL_F32);
        vf sine = vget(r->sine, angle + j, n, KERNEL_F32);
        vf low = vget(x, from + j, n, type), high = vget(x, from + half + j, n, type);
        if (weight != NULL) {
            low *= inverse * vget(weight, j, n, type);
            high *= inverse * vget(weight, half + j, n, type);
        }
        vput(y, to + j, n, type, low * cosine - high * sine);
        vput(y, to + half + j, n, type, high * cosine + low * sine);
    }
}

INLINE void rope_row(const struct paged *p, int64_t row, enum kernel_type type)
{
    const struct kernel_paged *a = p->a;
    int64_t size = a->size, angle = p->s->positions[row] * (size / 2);
    int64_t x = row * (a->heads + 2 * a->kv_heads) * size, slot = p->s->slots[row];
    void *q = (void *)(uintptr_t)p->q;
    for (int64_t h = 0; h < a->heads; h++)
        turn_head(p->r, p->r->q_weight, angle, q, (row * a->heads + h) * size, p->qkv,
                  x + h * size, type);
    for (int64_t h = 0; slot >= 0 && h < a->kv_heads; h++) {
        int64_t block = slot / KERNEL_BLOCK * a->kv_heads + h;
        int64_t to = (block * KERNEL_BLOCK + slot % KERNEL_BLOCK) * size;
        int64_t key = x + (a->heads + h) * size, value = key + a->kv_heads * size;
        turn_head(p->r, p->r->k_weight, angle, a->keys, to, p->qkv, key, type);
        EACH(j, n, 0, size)
            vput(a->values, to + j, n, type, vget(p->qkv, value + j, n, type));
    }
}

static void rope_part(void *arg, int64_t from, int64_t to, int thread)
{
    const struct paged *p = arg;
    (void)thread;
    for (int64_t row = from; row < to; row++)
        BY_TYPE(p->a->type, rope_row, p, row);
}

static void rope_paged(struct kernel_context *c, const struct kernel_rope *r,
                       const struct kernel_paged *a, void *q, const void *qkv)
{
    struct paged p = {.a = a, .s = a->sequences, .r = r, .q = q, .qkv = qkv};
    int64_t width = (int64_t)(a->heads + 2 * a->kv_heads) * a->size;
    cpu__split(c, p.s->tokens, rows_grain(width), rope_part, &p);
}

/* --- a tile of queries --- */

struct queries {
    int64_t sequence, kv;
    int64_t from, tokens; /* rows of q */
    int64_t position;     /* of the first one */
    int64_t rows;         /* tokens times group */
    void *q;              /* [rows, size] */
    float *scores;        /* [rows, KEYS] */
    float *sums;          /* [rows, size] */
    float *most, *total;  /* [rows] */
    void *keys, *values;  /* [KEYS, size], gathered */
};

/* A block where it lies: its elements start at `at` of a cache, and what is needed
 * after it, as much and in the same order, at `next`. */
struct place {
    int64_t at;
    const char *next;
    int64_t columns; /* keys of it that count */
};

/* Where row r of the tile is, in q and out. */
static int64_t row_at(const struct paged *p, const struct queries *t, int64_t r)
{
    int64_t head = t->kv * p->group + r % p->group;
    return ((t->from + r / p->group) * p->a->heads + head) * p->a->size;
}

/* floats: queries become them. */
INLINE void start_tile(const struct paged *p, struct queries *t, float *room,
                       const bool floats, enum kernel_type type)
{
    int64_t size = p->a->size;
    t->scores = room;
    t->most = t->scores + ROWS_MOST * KEYS;
    t->total = t->most + ROWS_MOST;
    t->sums = t->total + ROWS_MOST;
    t->q = t->sums + ROWS_MOST * size;
    t->keys = (float *)t->q + ROWS_MOST * size;
    t->values = (float *)t->keys + KEYS * size;
    for (int64_t r = 0; r < t->rows; r++) {
        int64_t at = row_at(p, t, r);
        t->most[r] = -INFINITY;
        t->total[r] = 0;
        EACH(j, n, 0, size) {
            vf x = vget(p->q, at + j, n, type);
            vput(t->q, r * size + j, n, floats ? KERNEL_F32 : type, x);
            vput(t->sums, r * size + j, n, KERNEL_F32, vsplat(0));
        }
    }
}

/* Scores of the keys from s become weights. */
static void soften_rows(const struct paged *p, const struct queries *t, int64_t s,
                        int64_t columns)
{
    for (int64_t r = 0; r < t->rows; r++) {
        float kept, *score = t->scores + r * KEYS, *sum = t->sums + r * p->a->size;
        int64_t seen = t->position + r / p->group - s + 1;
        if (seen <= 0) {
            memset(score, 0, KEYS * sizeof(*score));
            continue;
        }
        soften(score, seen < columns ? seen : columns, KEYS, &t->most[r], &t->total[r],
               &kept);
        if (kept != 1)
            EACH(j, n, 0, p->a->size)
                vput(sum, j, n, KERNEL_F32, vget(sum, j, n, KERNEL_F32) * kept);
    }
}

INLINE void end_tile(const struct paged *p, const struct queries *t,
                     enum kernel_type type)
{
    for (int64_t r = 0; r < t->rows; r++) {
        int64_t at = row_at(p, t, r);
        EACH(j, n, 0, p->a->size) {
            vf x = vget(t->sums, r * p->a->size + j, n, KERNEL_F32) / t->total[r];
            vput(p->out, at + j, n, type, x);
        }
    }
}

/* --- few queries --- */

#define SCORE_ROWS (LANES == 16 ? 4 : 2)
#define WEIGH_VECTORS (LANES == 16 ? 4 : 2)

/* Of `rows` queries from r and the four keys from element `key`. next: asked for. */
INLINE void score_four(const struct paged *p, const struct queries *t, int64_t key,
                       const char *next, int64_t r, float *scores, const int rows,
                       const enum dot dot)
{
    const int64_t size = p->a->size, step = DOT_STEP(dot);
    vf sum[4][4];
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++)
            sum[i][j] = (vf){0};
    for (int64_t l = 0; l < size; l += step) {
        vf k[4];
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++) {
            k[j] = dot_load(p->a->keys, key + j * size + l, size - l, dot);
            __builtin_prefetch(next + (j * size + l) * DOT_SIZE(dot));
        }
#pragma GCC unroll 4
        for (int i = 0; i < rows; i++) {
            vf q = dot_load(t->q, (r + i) * size + l, size - l, DOT_OTHER(dot));
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++)
                sum[i][j] = dot_add(q, k[j], sum[i][j], dot);
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++) {
        vf4 four = vsum4(sum[i][0], sum[i][1], sum[i][2], sum[i][3]);
        *(vf4_any *)(scores + (r + i) * KEYS) = four * p->a->scale;
    }
}

/* Scores of a block's keys. */
INLINE void score_block(const struct paged *p, const struct queries *t, struct place b,
                        float *scores, const enum dot dot)
{
    for (int64_t j = 0; j < b.columns; j += 4) {
        int64_t r = 0, key = b.at + j * p->a->size;
        const char *next = b.next + j * p->a->size * DOT_SIZE(dot);
        for (; r + SCORE_ROWS <= t->rows; r += SCORE_ROWS)
            score_four(p, t, key, next, r, scores + j, SCORE_ROWS, dot);
        for (; r + 2 <= t->rows; r += 2)
            score_four(p, t, key, next, r, scores + j, 2, dot);
        for (; r < t->rows; r++)
            score_four(p, t, key, next, r, scores + j, 1, dot);
    }
}

/* The sums of `rows` queries from r, elements l to l + n: += weights of the block's
 * values. */
INLINE void weigh(const struct paged *p, const struct queries *t, struct place b,
                  int64_t r, int64_t l, int64_t n, const float *weights, const int rows,
                  const int vectors, enum kernel_type type)
{
    const int64_t size = p->a->size;
    vf sum[4][WEIGH_VECTORS];
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            sum[i][v] = vget(t->sums, (r + i) * size + l + v * LANES, n - v * LANES,
                             KERNEL_F32);
    for (int64_t j = 0; j < b.columns; j++) {
        vf x[WEIGH_VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            int64_t at = j * size + l + v * LANES;
            x[v] = vget(p->a->values, b.at + at, n - v * LANES, type);
            __builtin_prefetch(b.next + at * (int64_t)kernel_size(type));
        }
#pragma GCC unroll 4
        for (int i = 0; i < rows; i++) {
            vf w = vsplat(weights[(r + i) * KEYS + j]);
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++)
                sum[i][v] = vfma(w, x[v], sum[i][v]);
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            vput(t->sums, (r + i) * size + l + v * LANES, n - v * LANES, KERNEL_F32,
                 sum[i][v]);
}

INLINE void weigh_rows(const struct paged *p, const struct queries *t, struct place b,
                       int64_t r, const float *weights, const int rows,
                       enum kernel_type type)
{
    const int64_t size = p->a->size, step = WEIGH_VECTORS * LANES;
    int64_t l = 0;
    for (; l + step <= size; l += step)
        weigh(p, t, b, r, l, step, weights, rows, WEIGH_VECTORS, type);
    for (; l < size; l += LANES)
        weigh(p, t, b, r, l, size - l, weights, rows, 1, type);
}

INLINE void weigh_block(const struct paged *p, const struct queries *t, struct place b,
                        const float *weights, enum kernel_type type)
{
    int64_t r = 0;
    for (; r + 4 <= t->rows; r += 4)
        weigh_rows(p, t, b, r, weights, 4, type);
    for (; r + 2 <= t->rows; r += 2)
        weigh_rows(p, t, b, r, weights, 2, type);
    for (; r < t->rows; r++)
        weigh_rows(p, t, b, r, weights, 1, type);
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* The block of key s of columns from it. next is of another cache, `ahead` keys on. */
static struct place place_of(const struct paged *p, const struct queries *t, int64_t s,
                             int64_t columns, const void *next, int64_t ahead)
{
    int64_t b = s / KERNEL_BLOCK, most = t->position + t->tokens - 1;
    int64_t then = least(s + ahead, most) / KERNEL_BLOCK;
    int64_t at = block_at(p, t->sequence, then, t->kv);
    return (struct place){block_at(p, t->sequence, b, t->kv),
                          element(next, at, p->a->type), least(KERNEL_BLOCK, columns)};
}

/* Keys s to s + columns where they lie. */
INLINE void meet_few(const struct paged *p, const struct queries *t, int64_t s,
                     int64_t columns, enum kernel_type type)
{
    const enum dot dot = type == KERNEL_F32 ? DOT_FLOATS
                         : PAIRS            ? DOT_PAIRS
                                            : DOT_HALVES;
    for (int64_t j = 0; j < columns; j += KERNEL_BLOCK)
        score_block(p, t, place_of(p, t, s + j, columns - j, p->a->values, 0),
                    t->scores + j, dot);
    soften_rows(p, t, s, columns);
    for (int64_t j = 0; j < columns; j += KERNEL_BLOCK)
        weigh_block(p, t, place_of(p, t, s + j, columns - j, p->a->keys, KEYS),
                    t->scores + j, type);
}

/* --- many queries --- */

/* Keys s to s + columns as matrices. */
static void meet_many(const struct paged *p, const struct queries *t, int64_t s,
                      int64_t columns, float *pack)
{
    const struct kernel_paged *a = p->a;
    size_t row = (size_t)a->size * kernel_size(a->type);
    for (int64_t j = 0; j < columns; j += KERNEL_BLOCK) {
        int64_t at = block_at(p, t->sequence, (s + j) / KERNEL_BLOCK, t->kv);
        size_t bytes = (size_t)least(KERNEL_BLOCK, columns - j) * row;
        memcpy((char *)t->keys + (size_t)j * row, element(a->keys, at, a->type), bytes);
        memcpy((char *)t->values + (size_t)j * row, element(a->values, at, a->type),
               bytes);
    }
    struct kernel_matmul scores = {.m = t->rows,
                                   .n = columns,
                                   .k = a->size,
                                   .tb = true,
                                   .a = t->q,
                                   .b = t->keys,
                                   .c = t->scores,
                                   .ldc = KEYS,
                                   .type = a->type,
                                   .alpha = a->scale};
    struct kernel_matmul sums = {.m = t->rows,
                                 .n = a->size,
                                 .k = columns,
                                 .a = t->scores,
                                 .lda = KEYS,
                                 .b = t->values,
                                 .c = t->sums,
                                 .type = a->type,
                                 .alpha = 1,
                                 .accumulate = true};
    FAST(matmul_mixed)(&scores, a->type, pack);
    soften_rows(p, t, s, columns);
    FAST(matmul_mixed)(&sums, KERNEL_F32, pack);
}

/* --- parts --- */

/* Tokens of a tile of sequence i. */
static int64_t tile_tokens(const struct paged *p, int64_t i)
{
    int64_t n = p->s->first[i + 1] - p->s->first[i];
    if (n * p->group <= ROWS_FEW || p->group >= ROWS_MOST)
        return n * p->group <= ROWS_FEW ? n : 1;
    return ROWS_MOST / p->group;
}

/* The sequence of a tile. */
static int64_t sequence_of(const struct paged *p, int64_t tile)
{
    int64_t low = 0, high = p->s->count;
    while (high - low > 1) {
        int64_t middle = (low + high) / 2;
        if (p->tiles[middle] <= tile)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static struct queries queries_of(const struct paged *p, int64_t part)
{
    const struct kernel_sequences *s = p->s;
    int64_t tile = part / p->a->kv_heads, i = sequence_of(p, tile);
    struct queries t = {.sequence = i, .kv = part % p->a->kv_heads};
    int64_t most = tile_tokens(p, i);
    t.from = s->first[i] + (tile - p->tiles[i]) * most;
    t.tokens = least(most, s->first[i + 1] - t.from);
    t.rows = t.tokens * p->group;
    t.position = s->context[i] - (s->first[i + 1] - t.from);
    return t;
}

INLINE void attend(const struct paged *p, struct queries *t, float *pack,
                   enum kernel_type type)
{
    const bool few = t->rows <= ROWS_FEW;
    int64_t seen = t->position + t->tokens;
    start_tile(p, t, pack + CPU_PACK_BYTES / sizeof(float),
               few && type == KERNEL_BF16 && !PAIRS, type);
    for (int64_t s = 0; s < seen; s += KEYS)
        if (few)
            meet_few(p, t, s, least(KEYS, seen - s), type);
        else
            meet_many(p, t, s, least(KEYS, seen - s), pack);
    end_tile(p, t, type);
}

static void zero_rows(const struct paged *p, const struct queries *t)
{
    for (int64_t r = 0; r < t->rows; r++)
        EACH(j, n, 0, p->a->size)
            vput(p->out, row_at(p, t, r) + j, n, p->a->type, vsplat(0));
}

static void attend_part(void *arg, int64_t from, int64_t to, int thread)
{
    const struct paged *p = arg;
    for (int64_t part = from; part < to; part++) {
        struct queries t = queries_of(p, part);
        if (p->s->context[t.sequence] == 0)
            zero_rows(p, &t);
        else
            BY_TYPE(p->a->type, attend, p, &t, p->c->pack[thread]);
    }
}

static void paged_attention(struct kernel_context *c, const struct kernel_paged *a,
                            void *out, const void *q, void *scratch)
{
    struct paged p = {.a = a, .s = a->sequences, .c = c, .out = out, .q = q};
    p.group = a->heads / a->kv_heads;
    if (a->size > SIZE_MOST || p.group > ROWS_MOST) {
        cpu__failed(
            c,
            "paged attention: heads of %d elements, %lld to a key head; at most "
            "%lld and %d",
            a->size, (long long)p.group, (long long)SIZE_MOST, ROWS_MOST);
        return;
    }
    int64_t tiles = 0, bytes = 1;
    p.tiles = scratch;
    for (int64_t i = 0; i < p.s->count; i++) {
        int64_t n = p.s->first[i + 1] - p.s->first[i], most = tile_tokens(&p, i);
        p.tiles[i] = (int32_t)tiles;
        tiles += n > 0 ? (n + most - 1) / most : 0;
        bytes += n * p.s->context[i] * a->kv_heads * a->size * 4;
    }
    p.tiles[p.s->count] = (int32_t)tiles;
    int64_t parts = tiles * a->kv_heads, grain = parts * PART_BYTES / bytes;
    cpu__split(c, parts, grain > 1 ? grain : 1, attend_part, &p);
}

static size_t paged_scratch(struct kernel_context *c, const struct kernel_paged *a)
{
    (void)c;
    return (size_t)(a->sequences->count + 1) * sizeof(int32_t);
}

void FAST(fill_paged)(struct kernels *k)
{
    k->rope_paged = rope_paged;
    k->paged_attention = paged_attention;
    k->paged_scratch = paged_scratch;
}
