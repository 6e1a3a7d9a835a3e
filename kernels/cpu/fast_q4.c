/* SPDX-License-Identifier: Apache-2.0
 *
 * Products with weights of 4 bits. They are packed in panels of LANES columns: scales
 * [groups, LANES] of float, zero points less 8 [groups, LANES] of a byte, then from the
 * next 64 bytes on words [k / 8, LANES]: the weights less 8 of eight elements of k,
 * those of 0, 2, 4, 6 in the lower half, of 1, 3, 5, 7 in the upper one, from the
 * lowest bits on. So a shift and a look into a table give a vector of weights, or of
 * pairs of them.
 *
 * A column's sum over a group is scale * (sum of (q - 8) x - (zero - 8) * sum of x):
 * the weights stay whole numbers, which bfloat16 holds exactly, and the sums of x are
 * made once. An element's sum depends neither on the other rows nor on the tile.
 */
#include "kernels/cpu/awq.h"
#include "kernels/cpu/fast.h"
#include "kernels/q4_check.h"

#if LANES == 16
#define TILE_ROWS 12
#define TILE_PANELS(rows) ((rows) > 4 ? 2 : 4)
#else
#define TILE_ROWS 4
#define TILE_PANELS(rows) ((rows) > 1 ? 2 : 4)
#endif
/* Sums of an element that do not wait for each other. */
#define CHAINS(rows, pairs) ((rows) > 2 || (pairs) ? 1 : 2)
#define PART_COLUMNS 64
#define AHEAD 384 /* elements of k */
#define PART_BYTES                                                                     \
    (64 << 10) /* of weights for one row, that pay for waking a thread                 \
                */

struct q4 {
    const struct kernel_q4 *w;
    const unsigned char *packed;
    const void *x; /* floats [m, k], or bfloat16 for pairs */
    float *floats; /* where they are made; NULL: need not */
    float *sums;   /* of x: [m, groups] */
    void *out;
    int64_t m, groups, heading, panel; /* bytes before a panel's words, of a panel */
    enum kernel_type type, c_type;
    int64_t rows; /* of tiles */
};

typedef int8_t vb __attribute__((vector_size(LANES)));
typedef int8_t vb_any __attribute__((vector_size(LANES), aligned(1), may_alias));
typedef uint32_t vu_any __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

static void layout(struct q4 *q, const struct kernel_q4 *w)
{
    q->w = w;
    q->groups = w->k / w->group;
    q->heading = (q->groups * LANES * 5 + 63) / 64 * 64;
    q->panel = q->heading + w->k / 8 * LANES * 4;
}

static size_t q4_bytes(struct kernel_context *c, const struct kernel_q4 *w)
{
    struct q4 q;
    (void)c;
    layout(&q, w);
    return (size_t)(w->n / LANES * q.panel);
}

/* --- packing --- */

struct source {
    struct q4 q;
    unsigned char *packed;
    const struct kernel_q4_source *from;
};

/* Where column j of the source has its panel, and which lane it is. */
static unsigned char *panel_of(const struct source *s, int64_t j, int64_t *lane)
{
    int64_t row = s->from->first + j;
    *lane = row % LANES;
    return s->packed + row / LANES * s->q.panel;
}

/* Eight elements of k from 8 l of the eight columns of word c. */
static void pack_block(const struct source *s, int64_t c, int64_t l)
{
    const uint32_t *words = (const uint32_t *)s->from->weights + c;
    uint32_t to[8] = {0};
    for (int t = 0; t < 8; t++) {
        uint32_t word = words[(8 * l + t) * (s->from->n / 8)] ^ 0x88888888u;
        int at = t / 2 * 4 + t % 2 * 16;
        for (int j = 0; j < 8; j++)
            to[j] |= (word >> (4 * awq_nibble[j]) & 15) << at;
    }
    for (int j = 0; j < 8; j++) {
        int64_t lane;
        unsigned char *p = panel_of(s, 8 * c + j, &lane) + s->q.heading;
        ((uint32_t *)p)[l * LANES + lane] = to[j];
    }
}

static void pack_part(void *arg, int64_t from, int64_t to, int thread)
{
    const struct source *s = arg;
    const struct q4 *q = &s->q;
    (void)thread;
    for (int64_t l = 0; l < q->w->k / 8; l++)
        for (int64_t c = from; c < to; c++)
            pack_block(s, c, l);
    for (int64_t g = 0; g < q->groups; g++)
        for (int64_t j = 8 * from; j < 8 * to; j++) {
            int64_t lane;
            unsigned char *p = panel_of(s, j, &lane);
            unsigned zero = awq_value(s->from->zeros, s->from->n, g, j);
            ((float *)p)[g * LANES + lane] = awq_scale(s->from, g, j);
            ((int8_t *)p)[q->groups * LANES * 4 + g * LANES + lane] =
                (int8_t)((int)zero - 8);
        }
}

static int q4_pack(struct kernel_context *c, const struct kernel_q4 *w, void *packed,
                   const struct kernel_q4_source *from, char *error, size_t size)
{
    struct source s = {.packed = packed, .from = from};
    if (kernel_q4_check(w, from, error, size) != 0)
        return -1;
    layout(&s.q, w);
    cpu__split(c, from->n / 8, 16, pack_part, &s);
    return 0;
}

/* --- the product --- */

#if LANES == 16
#define LESS 8 /* what a weight, and so a zero point, has less */
#define FLOATS_ALWAYS false

INLINE vu words_of(vu words)
{
    return words;
}

/* The weights in bits from `shift` on. */
INLINE vf weights_at(vu words, int shift)
{
    const __m512 table =
        _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1);
    return (vf)_mm512_permutexvar_ps((__m512i)(words >> shift), table);
}
#else
/* Without a table it is cheapest to leave the bits where they are: a weight, which is
 * not less 8 then, is 2^shift too large, and its x made smaller by as much. That
 * doubles the rounding: 3e-7 of the outputs (rms) for 1.6e-7. */
#define LESS 0
#define FLOATS_ALWAYS true
static const float factors[8] = {1,       0x1p-16f, 0x1p-4f,  0x1p-20f,
                                 0x1p-8f, 0x1p-24f, 0x1p-12f, 1};

INLINE vu words_of(vu words)
{
    return words ^ 0x88888888u;
}

INLINE vf weights_at(vu words, int shift)
{
    vu bits = shift < 28 ? words & (15u << shift) : words >> 28;
    return __builtin_convertvector((vi)bits, vf);
}
#endif

#if PAIRS
/* As bfloat16, in both halves of a lane. An index has five bits that count, so that the
 * table is there twice. */
INLINE vf pairs_at(vu words, int shift)
{
    const __m512i table = _mm512_set_epi16(
        (short)0xbf80, (short)0xc000, (short)0xc040, (short)0xc080, (short)0xc0a0,
        (short)0xc0c0, (short)0xc0e0, (short)0xc100, 0x40e0, 0x40c0, 0x40a0, 0x4080,
        0x4040, 0x4000, 0x3f80, 0, (short)0xbf80, (short)0xc000, (short)0xc040,
        (short)0xc080, (short)0xc0a0, (short)0xc0c0, (short)0xc0e0, (short)0xc100,
        0x40e0, 0x40c0, 0x40a0, 0x4080, 0x4040, 0x4000, 0x3f80, 0);
    __m512i at = _mm512_srli_epi16((__m512i)words, (unsigned)shift);
    return (vf)_mm512_permutexvar_epi16(at, table);
}

/* Two elements of k from element i, in both halves of each lane. */
INLINE vf two_of(const void *x, int64_t i)
{
    float both;
    memcpy(&both, (const uint16_t *)x + i, sizeof(both));
    return vsplat(both);
}
#endif

/* sum += the products of elements 2 j and 2 j + 1 of k from l. */
INLINE void add_two(const struct q4 *q, vf sum[TILE_ROWS][8], const vu words[4],
                    int64_t i, int64_t l, int j, const int rows, const int panels,
                    const bool pairs)
{
    const int other = CHAINS(rows, pairs) > 1 ? 4 : 0;
    vf even[4], odd[4];
    (void)pairs;
#pragma GCC unroll 4
    for (int v = 0; v < panels; v++) {
#if PAIRS
        if (pairs)
            even[v] = pairs_at(words[v], 4 * j);
        else
#endif
        {
            even[v] = weights_at(words[v], 4 * j);
            odd[v] = weights_at(words[v], 4 * j + 16);
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++) {
        int64_t at = (i + r) * q->w->k + l + 2 * j;
#if PAIRS
        if (pairs) {
            vf x = two_of(q->x, at);
#pragma GCC unroll 4
            for (int v = 0; v < panels; v++)
                sum[r][v] = vpairs(x, even[v], sum[r][v]);
            continue;
        }
#endif
        vf x = vsplat(((const float *)q->x)[at]);
        vf y = vsplat(((const float *)q->x)[at + 1]);
#pragma GCC unroll 4
        for (int v = 0; v < panels; v++) {
            sum[r][v] = vfma(x, even[v], sum[r][v]);
            sum[r][v + other] = vfma(y, odd[v], sum[r][v + other]);
        }
    }
}

/* total += what a group's sums are worth. */
INLINE void add_group(const struct q4 *q, vf total[TILE_ROWS][4], vf sum[TILE_ROWS][8],
                      const unsigned char *p, int64_t i, int64_t g, const int rows,
                      const int panels, const int chains)
{
#pragma GCC unroll 4
    for (int v = 0; v < panels; v++) {
        const unsigned char *panel = p + v * q->panel;
        vf scale = vload((const float *)panel + g * LANES);
        vb byte = *(const vb_any *)(panel + q->groups * LANES * 4 + g * LANES);
        vf zero =
            __builtin_convertvector(__builtin_convertvector(byte, vi), vf) + (8 - LESS);
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++) {
            vf x = vsplat(-q->sums[(i + r) * q->groups + g]);
            vf all = chains > 1 ? sum[r][v] + sum[r][v + 4] : sum[r][v];
            total[r][v] = vfma(scale, vfma(zero, x, all), total[r][v]);
        }
    }
}

/* The words to ask for while those of group g are multiplied, in the next tile behind
 * the last ones. */
INLINE const unsigned char *group_ahead(const struct q4 *q, const unsigned char *p,
                                        int64_t g, int64_t panels)
{
    g += AHEAD / q->w->group;
    if (g >= q->groups) {
        p += panels * q->panel;
        g = g - q->groups < q->groups ? g - q->groups : 0;
    }
    return p + q->heading + g * q->w->group / 2 * LANES;
}

/* Rows i.. and the panels from `panel` on. */
INLINE void tile(const struct q4 *q, int64_t panel, int64_t i, const int rows,
                 const int panels, const bool pairs)
{
    const unsigned char *p = q->packed + panel * q->panel;
    const int64_t group = q->w->group;
    vf total[TILE_ROWS][4];
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < panels; v++)
            total[r][v] = (vf){0};
    for (int64_t g = 0; g < q->groups; g++) {
        vf sum[TILE_ROWS][8];
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
            for (int v = 0; v < panels; v++)
                sum[r][v] = sum[r][v + 4] = (vf){0};
        const unsigned char *from = p + q->heading + g * group / 2 * LANES;
        const unsigned char *ahead = group_ahead(q, p, g, panels);
        for (int64_t l = g * group; l < (g + 1) * group; l += 8) {
            vu words[4];
#pragma GCC unroll 4
            for (int v = 0; v < panels; v++) {
                words[v] = words_of(*(const vu_any *)(from + v * q->panel));
                __builtin_prefetch(ahead + v * q->panel);
            }
            from += LANES * 4;
            ahead += LANES * 4;
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++)
                add_two(q, sum, words, i, l, j, rows, panels, pairs);
        }
        add_group(q, total, sum, p, i, g, rows, panels, CHAINS(rows, pairs));
    }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < panels; v++)
            vput(q->out, (i + r) * q->w->n + (panel + v) * LANES, LANES, q->c_type,
                 total[r][v]);
}

typedef void (*tile_fn)(const struct q4 *q, int64_t panel, int64_t i);
#define KERNEL(rows, name, pairs)                                                      \
    static void q4_##rows##_##name(const struct q4 *q, int64_t panel, int64_t i)       \
    {                                                                                  \
        tile(q, panel, i, rows, TILE_PANELS(rows), pairs);                             \
    }
#if PAIRS
#define KERNELS(rows) KERNEL(rows, floats, false) KERNEL(rows, pairs, true)
#define ENTRY(rows)                                                                    \
    {                                                                                  \
        q4_##rows##_floats, q4_##rows##_pairs                                          \
    }
#else
#define KERNELS(rows) KERNEL(rows, floats, false)
#define ENTRY(rows)                                                                    \
    {                                                                                  \
        q4_##rows##_floats                                                             \
    }
#endif
KERNELS(1)
KERNELS(2)
KERNELS(3)
KERNELS(4)
#if TILE_ROWS >= 12
KERNELS(5)
KERNELS(6)
KERNELS(7)
KERNELS(8)
KERNELS(9)
KERNELS(10)
KERNELS(11)
KERNELS(12)
#endif

static const tile_fn kernels[TILE_ROWS][1 + PAIRS] = {
    ENTRY(1), ENTRY(2), ENTRY(3), ENTRY(4),
#if TILE_ROWS >= 12
    ENTRY(5), ENTRY(6), ENTRY(7), ENTRY(8), ENTRY(9), ENTRY(10), ENTRY(11), ENTRY(12),
#endif
};

/* --- rows of x --- */

INLINE void prepare_row(const struct q4 *q, int64_t i, enum kernel_type type)
{
    const struct kernel_q4 *w = q->w;
    for (int64_t g = 0; g < q->groups; g++) {
        vf sum = {0};
        EACH(l, n, i * w->k + g * w->group, i * w->k + (g + 1) * w->group) {
            vf x = vget(q->x, l, n, type);
            sum += x;
            if (q->floats == NULL)
                continue;
#if LANES < 16
            x *= vload(factors + l % 8);
#endif
            vput(q->floats, l, n, KERNEL_F32, x);
        }
        q->sums[i * q->groups + g] = vsum(sum);
    }
}

static void prepare_part(void *arg, int64_t from, int64_t to, int thread)
{
    const struct q4 *q = arg;
    (void)thread;
    for (int64_t i = from; i < to; i++)
        BY_TYPE(q->type, prepare_row, q, i);
}

static void multiply_part(void *arg, int64_t from, int64_t to, int thread)
{
    const struct q4 *q = arg;
    const bool pairs = PAIRS && q->type == KERNEL_BF16;
    /* The last rows may be few, whose tile is wider: all widths divide this one. */
    const int64_t panels = TILE_PANELS(1);
    (void)thread;
    for (int64_t p = from / LANES; p < to / LANES; p += panels)
        for (int64_t i = 0; i < q->m; i += q->rows) {
            int64_t rows = q->m - i < q->rows ? q->m - i : q->rows;
            for (int64_t v = 0; v < panels; v += TILE_PANELS(rows))
                kernels[rows - 1][pairs](q, p + v, i);
        }
}

static void q4_matmul(struct kernel_context *c, const struct kernel_q4 *w,
                      const void *packed, void *out, const void *x, int64_t m,
                      enum kernel_type type, enum kernel_type c_type, void *scratch)
{
    struct q4 q = {.packed = packed, .x = x, .out = out, .m = m};
    if (m <= 0)
        return;
    layout(&q, w);
    q.type = type;
    q.c_type = c_type;
    q.sums = scratch;
    if (FLOATS_ALWAYS || (type == KERNEL_BF16 && !PAIRS))
        q.floats = q.sums + m * q.groups;
    cpu__split(c, m, rows_grain(w->k), prepare_part, &q);
    if (q.floats != NULL)
        q.x = q.floats;
    int64_t blocks = (m + TILE_ROWS - 1) / TILE_ROWS;
    q.rows = (m + blocks - 1) / blocks;
    int64_t grain = w->n / (4 * (int64_t)pool_threads(c->pool));
    int64_t least = PART_BYTES / (w->k / 2 * m);
    grain = grain > least ? grain : least;
    cpu__split(c, w->n, (grain + PART_COLUMNS) / PART_COLUMNS * PART_COLUMNS,
               multiply_part, &q);
}

static size_t q4_scratch(struct kernel_context *c, const struct kernel_q4 *w, int64_t m)
{
    (void)c;
    return (size_t)(m * (w->k + w->k / w->group)) * sizeof(float);
}

void FAST(fill_q4)(struct kernels *k)
{
    k->q4_bytes = q4_bytes;
    k->q4_pack = q4_pack;
    k->q4_matmul = q4_matmul;
    k->q4_scratch = q4_scratch;
}
