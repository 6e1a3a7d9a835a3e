/* SPDX-License-Identifier: Apache-2.0
 *
 * Products. C is cut into tiles of MR rows and NR columns that are summed in registers
 * over at most KC of k at a time; what does not lie well for that is first packed into
 * panels: A in rows of MR (k after k), B in columns of NR. An element's sum runs over k
 * in order within each piece, and over these in order: the same whatever the tile it
 * falls into, so cutting C between threads changes nothing.
 */
#include "kernels/cpu/fast.h"
#include "kernels/cpu/fast_math.h"

#if LANES == 16
#define MR 12
#elif LANES == 8
#define MR 6
#else
#define MR 4
#endif
#define NV 2 /* vectors in a tile's row */
#define NR (NV * LANES)
#define KC 264               /* a panel of B and one of A fill the first cache */
#define MC (MR * (120 / MR)) /* rows of A packed at a time */
#define NC 2048              /* columns of B packed at a time */
#define SPREAD (1 << 20)     /* elements */
#define WAIT_ROWS 160        /* of sums that cannot wait in C */
#define WAIT_COLUMNS 512
_Static_assert((KC * NC + KC * MC + WAIT_ROWS * WAIT_COLUMNS) * sizeof(float) <=
                   CPU_PACK_BYTES,
               "pack");

/* One operand as the microkernel reads it: element (i, l) of A at i * step + l * next,
 * row l of B at l * next. */
struct operand {
    const float *p;
    int64_t step, next;
};

struct tile {
    struct operand a, b;
    int64_t k, columns;
    float *out; /* += alpha * sum when add, else = */
    int64_t stride;
    float alpha;
    bool add;
    bool pairs; /* elements of A and B are two bfloat16 each */
};

/* --- the microkernel: mr rows, nv vectors, the last of which may be a part --- */

INLINE vf multiply(vf a, vf b, vf sum, const bool pairs)
{
#if PAIRS
    if (pairs)
        return vpairs(a, b, sum);
#else
    (void)pairs;
#endif
    return vfma(a, b, sum);
}

INLINE void microkernel(const struct tile *t, const int mr, const int nv,
                        const bool part, const bool close, const bool pairs)
{
    const float *a = t->a.p, *b = t->b.p;
    const int64_t step = close ? 1 : t->a.step, a_next = t->a.next, b_next = t->b.next;
    const int64_t rest = t->columns - (nv - 1) * LANES;
    vf sum[MR][NV];
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) {
            sum[i][v] = (vf){0};
            __builtin_prefetch(t->out + i * t->stride + v * LANES, 1); /* for the end */
        }
    for (int64_t l = 0; l < t->k; l++) {
        vf row[NV];
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++)
            row[v] = part && v == nv - 1 ? vload_part(b + v * LANES, rest)
                                         : vload(b + v * LANES);
#pragma GCC unroll 16
        for (int i = 0; i < mr; i++) {
            vf x = vsplat(a[i * step]);
#pragma GCC unroll 4
            for (int v = 0; v < nv; v++)
                sum[i][v] = multiply(x, row[v], sum[i][v], pairs);
        }
        a += a_next;
        b += b_next;
    }
    vf alpha = vsplat(t->alpha);
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++)
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) {
            float *out = t->out + i * t->stride + v * LANES;
            if (part && v == nv - 1) {
                vf old = t->add ? vload_part(out, rest) : (vf){0};
                vstore_part(out, vfma(alpha, sum[i][v], old), rest);
            } else
                vstore(out, vfma(alpha, sum[i][v], t->add ? vload(out) : (vf){0}));
        }
}

typedef void (*tile_fn)(const struct tile *t);
#define KERNEL(mr, nv, part)                                                           \
    static void tile_##mr##_##nv##_##part(const struct tile *t)                        \
    {                                                                                  \
        if (PAIRS && t->pairs) /* whose A is packed */                                 \
            microkernel(t, mr, nv, part, true, true);                                  \
        else if (t->a.step == 1)                                                       \
            microkernel(t, mr, nv, part, true, false);                                 \
        else                                                                           \
            microkernel(t, mr, nv, part, false, false);                                \
    }
#define KERNELS(mr) KERNEL(mr, 1, 0) KERNEL(mr, 1, 1) KERNEL(mr, 2, 0) KERNEL(mr, 2, 1)
#define ENTRIES(mr)                                                                    \
    {                                                                                  \
        {tile_##mr##_1_0, tile_##mr##_1_1},                                            \
        {                                                                              \
            tile_##mr##_2_0, tile_##mr##_2_1                                           \
        }                                                                              \
    }
KERNELS(1)
KERNELS(2)
KERNELS(3)
KERNELS(4)
#if MR >= 6
KERNELS(5)
KERNELS(6)
#endif
#if MR >= 12
KERNELS(7)
KERNELS(8)
KERNELS(9) KERNELS(10) KERNELS(11) KERNELS(12)
#endif

    static const tile_fn kernels[MR][NV][2] = {
        ENTRIES(1), ENTRIES(2), ENTRIES(3), ENTRIES(4),
#if MR >= 6
        ENTRIES(5), ENTRIES(6),
#endif
#if MR >= 12
        ENTRIES(7), ENTRIES(8), ENTRIES(9), ENTRIES(10), ENTRIES(11), ENTRIES(12),
#endif
};

/* --- packing --- */

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* n in as few pieces of at most `most` as can be, all alike but the last. */
static int64_t even(int64_t n, int64_t most)
{
    int64_t pieces = (n + most - 1) / most;
    return pieces > 0 ? (n + pieces - 1) / pieces : 1;
}

/* to[l][j] = from[l * stride + j] for j < width, zero up to wide. */
static void pack_rows(float *to, int64_t wide, const void *from, int64_t at,
                      int64_t stride, int64_t k, int64_t width, enum kernel_type type)
{
    for (int64_t l = 0; l < k; l++)
        for (int64_t j = 0; j < wide; j += LANES) {
            vf x = {0};
            if (j < width)
                x = vget(from, at + l * stride + j, width - j, type);
            vput(to, l * wide + j, wide - j, KERNEL_F32, x);
        }
}

/* A block of it: rows j.., of which `have` exist, k from l. */
INLINE void turn_block(float *to, int64_t wide, const void *from, int64_t at,
                       int64_t stride, int64_t have, int64_t k, int64_t room,
                       enum kernel_type type)
{
    vf row[LANES];
#pragma GCC unroll 16
    for (int64_t i = 0; i < LANES; i++)
        row[i] = i < have ? vget(from, at + i * stride, k, type) : (vf){0};
    vturn(row);
#pragma GCC unroll 16
    for (int64_t i = 0; i < LANES; i++)
        if (i < k)
            vput(to, i * wide, room, KERNEL_F32, row[i]);
}

#if LANES == 16
/* A full block of floats: quarters of four rows are loaded into one vector, so that
 * only turning within quarters is left. */
INLINE void turn_full(float *to, int64_t wide, const float *from, int64_t stride)
{
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        __m512 row[4], pair[4];
#pragma GCC unroll 4
        for (int r = 0; r < 4; r++) {
            const float *p = from + r * stride + 4 * j;
            __m512 x = _mm512_broadcast_f32x4(_mm_loadu_ps(p));
            x = _mm512_mask_broadcast_f32x4(x, 0x00f0, _mm_loadu_ps(p + 4 * stride));
            x = _mm512_mask_broadcast_f32x4(x, 0x0f00, _mm_loadu_ps(p + 8 * stride));
            row[r] =
                _mm512_mask_broadcast_f32x4(x, 0xf000, _mm_loadu_ps(p + 12 * stride));
        }
        pair[0] = _mm512_unpacklo_ps(row[0], row[1]);
        pair[1] = _mm512_unpackhi_ps(row[0], row[1]);
        pair[2] = _mm512_unpacklo_ps(row[2], row[3]);
        pair[3] = _mm512_unpackhi_ps(row[2], row[3]);
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
            __m512d a = (__m512d)pair[h], b = (__m512d)pair[h + 2];
            float *out = to + (4 * j + 2 * h) * wide;
            _mm512_storeu_ps(out, (__m512)_mm512_unpacklo_pd(a, b));
            _mm512_storeu_ps(out + wide, (__m512)_mm512_unpackhi_pd(a, b));
        }
    }
}
#endif

/* to[l][j] = from[j * stride + l], in blocks that are turned in registers. */
INLINE void pack_turned(float *to, int64_t wide, const void *from, int64_t at,
                        int64_t stride, int64_t k, int64_t width, enum kernel_type type)
{
    for (int64_t j = 0; j < wide; j += LANES)
        for (int64_t l = 0; l < k; l += LANES) {
            int64_t first = at + j * stride + l, have = width - j, room = wide - j;
            float *block = to + l * wide + j;
            if (k - l < LANES)
                turn_block(block, wide, from, first, stride, have, k - l, room, type);
            else if (have < LANES || room < LANES)
                turn_block(block, wide, from, first, stride, have, LANES, room, type);
#if LANES == 16
            else if (type == KERNEL_F32)
                turn_full(block, wide, (const float *)from + first, stride);
#endif
            else
                turn_block(block, wide, from, first, stride, LANES, LANES, LANES, type);
        }
}

/* Panels of `wide` of columns (or rows of A) at..at+width, k from l. along: k runs
 * along the rows of what is stored. */
static void pack(float *to, int64_t wide, const void *from, int64_t stride, bool along,
                 int64_t l, int64_t k, int64_t at, int64_t width, enum kernel_type type)
{
    for (int64_t j = 0; j < width; j += wide, to += wide * k) {
        int64_t most = least(wide, width - j);
        if (along && type == KERNEL_BF16)
            pack_turned(to, wide, from, (at + j) * stride + l, stride, k, most,
                        KERNEL_BF16);
        else if (along)
            pack_turned(to, wide, from, (at + j) * stride + l, stride, k, most,
                        KERNEL_F32);
        else
            pack_rows(to, wide, from, l * stride + at + j, stride, k, most, type);
    }
}

/* --- what follows the sum: bias, activation, another type --- */

struct finish {
    const struct kernel_matmul *m;
    int64_t stride; /* of C */
    bool wanted;
};

INLINE void finish_row(const struct finish *f, const float *sum, int64_t i, int64_t j,
                       int64_t columns, enum kernel_activation act,
                       enum kernel_type c_type)
{
    const struct kernel_matmul *m = f->m;
    for (int64_t l = 0; l < columns; l += LANES) {
        int64_t n = columns - l, at = i * f->stride + j + l;
        vf x = vget(sum, l, n, KERNEL_F32);
        if (m->accumulate)
            x += vget(m->c, at, n, c_type);
        else if (m->bias != NULL)
            x += vget(m->bias, j + l, n, m->type);
        if (!m->accumulate && m->before != NULL)
            vput(m->before, at, n, c_type, x);
        vput(m->c, at, n, c_type, m->accumulate ? x : vactivate(x, act));
    }
}

static void finish_tile(const struct finish *f, const float *sum, int64_t stride,
                        int64_t i, int64_t j, int64_t rows, int64_t columns)
{
    for (int64_t r = 0; r < rows; r++, sum += stride, i++)
        if (f->m->c_type == KERNEL_BF16)
            finish_row(f, sum, i, j, columns, f->m->act, KERNEL_BF16);
        else if (f->m->act == KERNEL_RELU)
            finish_row(f, sum, i, j, columns, KERNEL_RELU, KERNEL_F32);
        else
            finish_row(f, sum, i, j, columns, f->m->act, KERNEL_F32);
}

/* --- the loops around --- */

struct product {
    const struct kernel_matmul *m;
    enum kernel_type a_type, b_type;
    bool pairs; /* of bfloat16 are what A and B have as elements, of type float */
    int64_t lda, ldb;
    int64_t height; /* of tiles: at most MR, and alike */
    int64_t depth;  /* of sums: at most KC, and alike */
    bool pack_a, pack_b;
    float *a, *b, *partial; /* room */
    bool in_c;              /* sums wait in C itself, else in partial */
    struct finish finish;
};

/* A block of rows i and columns j of C, k from l: all its tiles. */
static void block(const struct product *p, struct operand a, struct operand b,
                  int64_t i, int64_t rows, int64_t j, int64_t columns, int64_t l,
                  float *out, int64_t stride)
{
    const struct kernel_matmul *m = p->m;
    int64_t k = least(p->depth, m->k - l);
    bool last = l + k >= m->k && p->finish.wanted;
    struct tile t = {.k = k, .stride = stride, .alpha = m->alpha, .pairs = p->pairs};
    t.add = l > 0 || (m->accumulate && p->in_c);
    for (int64_t y = 0; y < columns; y += NR)
        for (int64_t x = 0; x < rows; x += p->height) {
            int64_t height = least(p->height, rows - x);
            t.columns = least(NR, columns - y);
            t.a = a;
            t.a.p += p->pack_a ? x * k : x * a.step;
            t.b = b;
            t.b.p += p->pack_b ? y * k : y;
            t.out = out + x * stride + y;
            int vectors = (int)((t.columns + LANES - 1) / LANES);
            kernels[height - 1][vectors - 1][t.columns % LANES != 0](&t);
            if (last)
                finish_tile(&p->finish, t.out, stride, i + x, j + y, height, t.columns);
        }
}

static struct operand operand_a(const struct product *p, int64_t i, int64_t rows,
                                int64_t l, int64_t k)
{
    const struct kernel_matmul *m = p->m;
    if (p->pack_a) {
        pack(p->a, p->height, m->a, p->lda, !m->ta, l, k, i, rows, p->a_type);
        return (struct operand){p->a, 1, p->height};
    }
    const float *a = m->a;
    return m->ta ? (struct operand){a + l * p->lda + i, 1, p->lda}
                 : (struct operand){a + i * p->lda + l, p->lda, 1};
}

static struct operand operand_b(const struct product *p, int64_t j, int64_t columns,
                                int64_t l, int64_t k)
{
    const struct kernel_matmul *m = p->m;
    if (p->pack_b) {
        int64_t wide = columns > LANES ? NR : LANES;
        pack(p->b, wide, m->b, p->ldb, m->tb, l, k, j, columns, p->b_type);
        return (struct operand){p->b, 0, wide};
    }
    return (struct operand){(const float *)m->b + l * p->ldb + j, 0, p->ldb};
}

/* The rows i.. and columns j.. of C whose sums have room together. */
static void region(const struct product *p, int64_t i, int64_t rows, int64_t j,
                   int64_t columns)
{
    const struct kernel_matmul *m = p->m;
    int64_t stride = p->in_c ? p->finish.stride : columns, l = 0;
    float *out = p->in_c ? (float *)m->c + i * stride + j : p->partial;
    do { /* also when k is 0 */
        int64_t k = least(p->depth, m->k - l);
        int64_t height = p->pack_a ? MC / p->height * p->height : rows;
        struct operand b = operand_b(p, j, columns, l, k);
        for (int64_t x = 0; x < rows; x += height) {
            int64_t most = least(height, rows - x);
            struct operand a = operand_a(p, i + x, most, l, k);
            block(p, a, b, i + x, most, j, columns, l, out + x * stride, stride);
        }
        l += k;
    } while (l < m->k);
}

/* Whether both operands lie along k in whole pairs. */
static bool in_pairs(const struct kernel_matmul *m, enum kernel_type a_type,
                     const struct product *p)
{
    return PAIRS && a_type == KERNEL_BF16 && m->type == KERNEL_BF16 && !m->ta &&
           m->tb && m->k % 2 == 0 && p->lda % 2 == 0 && p->ldb % 2 == 0 &&
           (uintptr_t)m->a % 4 == 0 && (uintptr_t)m->b % 4 == 0;
}

void FAST(matmul_mixed)(const struct kernel_matmul *m, enum kernel_type a_type,
                        float *room)
{
    struct kernel_matmul half;
    struct product p = {.m = m,
                        .a_type = a_type,
                        .b_type = m->type,
                        .lda = m->lda != 0 ? m->lda
                               : m->ta     ? m->m
                                           : m->k,
                        .ldb = m->ldb != 0 ? m->ldb
                               : m->tb     ? m->k
                                           : m->n,
                        .a = room,
                        .b = room + KC * MC,
                        .partial = room + KC * MC + KC * NC};
    p.pack_a = a_type == KERNEL_BF16 || m->n > 256;
    /* Rows of B are read where they lie unless they are spread over too many pages. */
    p.pack_b = m->type == KERNEL_BF16 || m->tb || (m->m > 64 && m->k * p.ldb > SPREAD);
    p.in_c = m->c_type == KERNEL_F32;
    p.finish.m = m;
    p.pairs = in_pairs(m, a_type, &p);
    if (p.pairs) {
        half = *m;
        half.k /= 2;
        p.lda /= 2;
        p.ldb /= 2;
        p.a_type = p.b_type = KERNEL_F32;
        p.m = m = &half;
    }
    p.height = even(m->m, MR);
    p.depth = even(m->k, KC);
    p.finish.stride = m->ldc != 0 ? m->ldc : m->n;
    p.finish.wanted =
        !p.in_c || (!m->accumulate &&
                    (m->bias != NULL || m->before != NULL || m->act != KERNEL_LINEAR));
    int64_t columns = !p.in_c ? WAIT_COLUMNS : p.pack_b ? NC : m->n;
    int64_t rows = p.in_c ? m->m : WAIT_ROWS;
    for (int64_t j = 0; j < m->n; j += columns)
        for (int64_t i = 0; i < m->m; i += rows)
            region(&p, i, least(rows, m->m - i), j, least(columns, m->n - j));
}

void FAST(matmul_finish)(const struct kernel_matmul *m, const float *sum,
                         int64_t stride, int64_t i, int64_t j, int64_t rows,
                         int64_t columns)
{
    struct finish f = {m, m->ldc != 0 ? m->ldc : m->n, true};
    finish_tile(&f, sum, stride, i, j, rows, columns);
}

/* --- between threads --- */

struct parts {
    const struct kernel_matmul *m;
    struct kernel_context *c;
};

/* The part of the product in rows from..to, or columns from..to. */
static void part_of(struct kernel_matmul *m, bool by_rows, int64_t from, int64_t to)
{
    int64_t lda = m->lda != 0 ? m->lda : m->ta ? m->m : m->k;
    int64_t ldb = m->ldb != 0 ? m->ldb : m->tb ? m->k : m->n;
    int64_t ldc = m->ldc != 0 ? m->ldc : m->n;
    int64_t in_a = by_rows ? (m->ta ? from : from * lda) : 0;
    int64_t in_b = by_rows ? 0 : (m->tb ? from * ldb : from);
    int64_t in_c = by_rows ? from * ldc : from;
    m->a = (const char *)m->a + in_a * (int64_t)kernel_size(m->type);
    m->b = (const char *)m->b + in_b * (int64_t)kernel_size(m->type);
    m->c = (char *)m->c + in_c * (int64_t)kernel_size(m->c_type);
    if (m->before != NULL)
        m->before = (char *)m->before + in_c * (int64_t)kernel_size(m->c_type);
    if (m->bias != NULL && !by_rows)
        m->bias = (const char *)m->bias + from * (int64_t)kernel_size(m->type);
    m->lda = lda;
    m->ldb = ldb;
    m->ldc = ldc;
    if (by_rows)
        m->m = to - from;
    else
        m->n = to - from;
}

static void rows_part(void *arg, int64_t from, int64_t to, int thread)
{
    struct parts *p = arg;
    struct kernel_matmul m = *p->m;
    part_of(&m, true, from, to);
    FAST(matmul_mixed)(&m, m.type, p->c->pack[thread]);
}

static void columns_part(void *arg, int64_t from, int64_t to, int thread)
{
    struct parts *p = arg;
    struct kernel_matmul m = *p->m;
    part_of(&m, false, from, to);
    FAST(matmul_mixed)(&m, m.type, p->c->pack[thread]);
}

static int64_t up_to(int64_t n, int64_t step)
{
    return (n + step - 1) / step * step;
}

#define WORTH 200000 /* multiplications that pay for waking a thread */

static void matmul(struct kernel_context *c, const struct kernel_matmul *m)
{
    struct parts p = {m, c};
    int threads = pool_threads(c->pool);
    int64_t work = m->m * m->n * (m->k + 1);
    if (FAST(matmul_few)(c, m))
        return;
    if (work < threads * WORTH)
        threads = (int)(work / WORTH);
    if (threads <= 1)
        FAST(matmul_mixed)(m, m->type, c->pack[0]);
    else if (m->n >= m->m && m->n >= threads * NR)
        cpu__split(c, m->n, up_to((m->n + threads - 1) / threads, NR), columns_part,
                   &p);
    else
        cpu__split(c, m->m, up_to((m->m + threads - 1) / threads, MR), rows_part, &p);
}

void FAST(fill_matmul)(struct kernels *k)
{
    k->matmul = matmul;
}
