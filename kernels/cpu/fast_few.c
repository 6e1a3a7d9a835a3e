/* SPDX-License-Identifier: Apache-2.0
 *
 * Products of a few rows with weights [n, k], as each step of decoding has them: what
 * counts is that the weights pass by once, at the memory's speed. A tile is a few rows
 * of both; lanes run along k and are summed up at its end. An element's sum depends
 * neither on the other rows nor on the tile.
 */
#include "kernels/cpu/fast.h"
#include "kernels/cpu/fast_dot.h"

/* More rows are worth packing the weights for. */
#define ROWS_MOST 64
#define ROWS_WORTH(kind) ((kind) == DOT_PAIRS ? 64 : LANES == 16 ? 32 : 16)
#if LANES == 16
#define TILE_ROWS 8
#define TILE_COLUMNS(rows) ((rows) > 6 ? 3 : 4)
#else
#define TILE_ROWS 4
#define TILE_COLUMNS(rows) ((rows) > 2 ? 2 : 4)
#endif
#define WIDE 48 /* columns whose sums wait for what follows; a multiple of tiles' */
#define STRIDE (WIDE + 4) /* tiles write four columns */
/* Elements of k whose rows of A stay in the first cache. */
#define DEPTH(kind) ((kind) == DOT_PAIRS ? 1024 : 512)
#define PART_BYTES (128 << 10) /* of weights, that pay for waking a thread */

struct few {
    const struct kernel_matmul *m;
    const void *a;
    int64_t lda, ldb;
    enum dot kind;
    int64_t rows, wide; /* of tiles */
};

/* A tile: k elements from l of rows i.. and columns j... */
struct tile {
    int64_t i, j, l, k;
    const char *next; /* where the next tile's columns start */
    float *out;       /* [rows, STRIDE]: += when it is not the first of k */
};

/* Adds the products of n elements from l. */
INLINE void add_step(const struct few *f, vf sum[TILE_ROWS][4], const struct tile *t,
                     int64_t l, int64_t n, const int rows, const int columns,
                     const enum dot kind)
{
    const enum dot a_kind = DOT_OTHER(kind);
    const int64_t size = DOT_SIZE(kind);
    vf weight[4];
#pragma GCC unroll 4
    for (int c = 0; c < columns; c++) {
        weight[c] = dot_load(f->m->b, (t->j + c) * f->ldb + t->l + l, n, kind);
        /* What one row needs for pairs is there in time without. */
        if ((rows > 1 || kind != DOT_PAIRS) && (l * size & 63) == 0)
            __builtin_prefetch(t->next + (c * f->ldb + l) * size);
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
        vf x = dot_load(f->a, (t->i + r) * f->lda + t->l + l, n, a_kind);
#pragma GCC unroll 4
        for (int c = 0; c < columns; c++)
            sum[r][c] = dot_add(x, weight[c], sum[r][c], kind);
    }
}

INLINE void tile(const struct few *f, const struct tile *t, const int rows,
                 const int columns, const enum dot kind)
{
    const int64_t k = t->k, step = DOT_STEP(kind);
    vf sum[TILE_ROWS][4];
    int64_t l = 0;
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int c = 0; c < 4; c++)
            sum[r][c] = (vf){0};
    for (; l + step <= k; l += step)
        add_step(f, sum, t, l, step, rows, columns, kind);
    if (l < k)
        add_step(f, sum, t, l, k - l, rows, columns, kind);
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
        vf4_any *out = (vf4_any *)(t->out + r * STRIDE);
        vf4 total = vsum4(sum[r][0], sum[r][1], sum[r][2], sum[r][3]);
        if (t->l > 0)
            total += *out;
        *out = total;
    }
}

INLINE void columns_of(const struct few *f, struct tile *t, int64_t columns,
                       const int rows, const enum dot kind)
{
    const int wide = TILE_COLUMNS(rows);
    if (columns == wide)
        tile(f, t, rows, wide, kind);
    else
        for (int64_t c = 0; c < columns; c++, t->j++, t->out++)
            tile(f, t, rows, 1, kind);
}

typedef void (*tile_fn)(const struct few *f, struct tile *t, int64_t columns);
#define KERNEL(rows, name, kind)                                                       \
    static void few_##rows##_##name(const struct few *f, struct tile *t,               \
                                    int64_t columns)                                   \
    {                                                                                  \
        columns_of(f, t, columns, rows, kind);                                         \
    }
#define KERNELS(rows)                                                                  \
    KERNEL(rows, floats, DOT_FLOATS)                                                   \
    KERNEL(rows, halves, PAIRS ? DOT_PAIRS : DOT_HALVES)
KERNELS(1)
KERNELS(2)
KERNELS(3)
KERNELS(4)
#if TILE_ROWS >= 8
KERNELS(5)
KERNELS(6)
KERNELS(7)
KERNELS(8)
#endif

#define ENTRY(rows)                                                                    \
    {                                                                                  \
        few_##rows##_floats, few_##rows##_halves                                       \
    }
static const tile_fn kernels[TILE_ROWS][2] = {
    ENTRY(1), ENTRY(2), ENTRY(3), ENTRY(4),
#if TILE_ROWS >= 8
    ENTRY(5), ENTRY(6), ENTRY(7), ENTRY(8),
#endif
};

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Sums of all rows and `columns` columns from j, over k from l. */
static void few_sums(const struct few *f, float *sums, int64_t j, int64_t columns,
                     int64_t l, int64_t k)
{
    int64_t m = f->m->m, size = (int64_t)kernel_size(f->m->type);
    for (int64_t x = 0; x < columns; x += f->wide)
        for (int64_t i = 0; i < m; i += f->rows) {
            struct tile t = {.i = i, .j = j + x, .l = l, .k = k};
            t.next = (const char *)f->m->b + ((t.j + f->wide) * f->ldb + l) * size;
            t.out = sums + i * STRIDE + x;
            kernels[least(f->rows, m - i) - 1][f->kind != DOT_FLOATS](
                f, &t, least(f->wide, columns - x));
        }
}

/* In pieces of k for which A stays in the first cache. */
static void few_part(void *arg, int64_t from, int64_t to, int thread)
{
    const struct few *f = arg;
    float sums[ROWS_MOST * STRIDE];
    int64_t m = f->m->m, k = f->m->k, depth = DEPTH(f->kind);
    (void)thread;
    for (int64_t j = from; j < to; j += WIDE) {
        int64_t columns = least(WIDE, to - j), l = 0;
        do { /* also when k is 0 */
            few_sums(f, sums, j, columns, l, least(depth, k - l));
            l += depth;
        } while (l < k);
        for (int64_t i = 0; f->m->alpha != 1 && i < m * STRIDE; i++)
            sums[i] *= f->m->alpha;
        FAST(matmul_finish)(f->m, sums, STRIDE, 0, j, m, columns);
    }
}

/* Rows of A as floats, in the first thread's room. */
static void to_floats(struct few *f, float *room)
{
    const struct kernel_matmul *m = f->m;
    for (int64_t i = 0; i < m->m; i++)
        EACH(l, n, 0, m->k)
            vput(room, i * m->k + l, n, KERNEL_F32,
                 vget(m->a, i * f->lda + l, n, KERNEL_BF16));
    f->a = room;
    f->lda = m->k;
}

bool FAST(matmul_few)(struct kernel_context *c, const struct kernel_matmul *m)
{
    struct few f = {.m = m, .a = m->a, .kind = dot_of(m->type)};
    if (m->ta || !m->tb || m->m > ROWS_WORTH(f.kind) || m->m == 0 || m->n < WIDE)
        return false;
    f.lda = m->lda != 0 ? m->lda : m->k;
    f.ldb = m->ldb != 0 ? m->ldb : m->k;
    if (f.kind == DOT_HALVES) {
        if ((size_t)(m->m * m->k) > CPU_PACK_BYTES / sizeof(float))
            return false;
        to_floats(&f, c->pack[0]);
    }
    int64_t blocks = (m->m + TILE_ROWS - 1) / TILE_ROWS;
    f.rows = (m->m + blocks - 1) / blocks;
    f.wide = TILE_COLUMNS(f.rows);
    int64_t bytes = (m->k + 1) * (int64_t)kernel_size(m->type);
    int64_t grain = m->n / (8 * (int64_t)pool_threads(c->pool));
    grain = grain > PART_BYTES / bytes ? grain : PART_BYTES / bytes;
    cpu__split(c, m->n, (grain + WIDE) / WIDE * WIDE, few_part, &f);
    return true;
}
