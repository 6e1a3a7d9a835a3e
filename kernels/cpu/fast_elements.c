/* SPDX-License-Identifier: Apache-2.0
 *
 * What works element by element, and sums of columns.
 */
#include "kernels/cpu/fast.h"
#include "kernels/cpu/fast_math.h"
#include "kernels/cpu/philox.h"

struct elements {
    void *y;
    const void *x, *dy;
    enum kernel_type type;
    enum kernel_activation act;
    int64_t m, n; /* sum_rows and swiglu: rows and columns */
    float a;      /* factor, or p of dropout */
    uint64_t seed, offset;
    bool accumulate;
};

/* Calls body with activation and type as constants. */
#define BY_ACT(e, body, ...)                                                           \
    switch ((e)->act) {                                                                \
    case KERNEL_LINEAR:                                                                \
        BY_TYPE((e)->type, body, __VA_ARGS__, KERNEL_LINEAR);                          \
        break;                                                                         \
    case KERNEL_RELU:                                                                  \
        BY_TYPE((e)->type, body, __VA_ARGS__, KERNEL_RELU);                            \
        break;                                                                         \
    case KERNEL_GELU:                                                                  \
        BY_TYPE((e)->type, body, __VA_ARGS__, KERNEL_GELU);                            \
        break;                                                                         \
    case KERNEL_SILU:                                                                  \
        BY_TYPE((e)->type, body, __VA_ARGS__, KERNEL_SILU);                            \
        break;                                                                         \
    case KERNEL_TANH:                                                                  \
        BY_TYPE((e)->type, body, __VA_ARGS__, KERNEL_TANH);                            \
        break;                                                                         \
    case KERNEL_SIGMOID:                                                               \
        BY_TYPE((e)->type, body, __VA_ARGS__, KERNEL_SIGMOID);                         \
        break;                                                                         \
    }

/* --- sums of columns: cut by columns --- */

#define SUMS 8 /* vectors of columns summed at a time */

INLINE void sum_block(const struct elements *e, int64_t j, int64_t columns,
                      enum kernel_type type)
{
    vf sum[SUMS] = {{0}};
    float *into = e->y;
    for (int64_t i = 0; i < e->m; i++)
        if (columns == SUMS * LANES)
#pragma GCC unroll 8
            for (int v = 0; v < SUMS; v++)
                sum[v] += vget(e->x, i * e->n + j + v * LANES, LANES, type);
        else
            EACH(l, n, 0, columns)
                sum[l / LANES] += vget(e->x, i * e->n + j + l, n, type);
    EACH(l, n, 0, columns) {
        vf old = e->accumulate ? vget(into, j + l, n, KERNEL_F32) : (vf){0};
        vput(into, j + l, n, KERNEL_F32, old + sum[l / LANES]);
    }
}

static void sum_part(void *arg, int64_t from, int64_t to, int thread)
{
    const struct elements *e = arg;
    (void)thread;
    for (int64_t j = from; j < to; j += SUMS * LANES) {
        int64_t columns = to - j < SUMS * LANES ? to - j : SUMS * LANES;
        BY_TYPE(e->type, sum_block, e, j, columns);
    }
}

static void sum_rows(struct kernel_context *c, float *into, const void *x, int64_t m,
                     int64_t n, enum kernel_type type, bool accumulate)
{
    struct elements e = {
        .y = into, .x = x, .type = type, .m = m, .n = n, .accumulate = accumulate};
    int64_t blocks = rows_grain(m) / (SUMS * LANES);
    cpu__split(c, n, (blocks > 0 ? blocks : 1) * SUMS * LANES, sum_part, &e);
}

/* --- activations --- */

INLINE void activate_range(const struct elements *e, int64_t from, int64_t to,
                           enum kernel_activation act, enum kernel_type type)
{
    EACH(i, n, from, to)
        vput(e->y, i, n, type, vactivate(vget(e->x, i, n, type), act));
}

static void activate_part(void *arg, int64_t from, int64_t to, int thread)
{
    const struct elements *e = arg;
    (void)thread;
    BY_ACT(e, activate_range, e, from, to)
}

static void activate(struct kernel_context *c, void *y, const void *x, int64_t n,
                     enum kernel_activation act, enum kernel_type type)
{
    struct elements e = {.y = y, .x = x, .type = type, .act = act};
    cpu__split(c, n, GRAIN, activate_part, &e);
}

INLINE void back_range(const struct elements *e, int64_t from, int64_t to,
                       enum kernel_activation act, enum kernel_type type)
{
    EACH(i, n, from, to)
        vput(e->y, i, n, type,
             vget(e->dy, i, n, type) * vslope(vget(e->x, i, n, type), act));
}

static void back_part(void *arg, int64_t from, int64_t to, int thread)
{
    const struct elements *e = arg;
    (void)thread;
    BY_ACT(e, back_range, e, from, to)
}

static void activate_back(struct kernel_context *c, void *dx, const void *dy,
                          const void *x, int64_t n, enum kernel_activation act,
                          enum kernel_type type)
{
    struct elements e = {.y = dx, .x = x, .dy = dy, .type = type, .act = act};
    cpu__split(c, n, GRAIN, back_part, &e);
}

/* --- SwiGLU: cut by rows --- */

INLINE void swiglu_rows(const struct elements *e, int64_t from, int64_t to,
                        enum kernel_type type)
{
    for (int64_t i = from; i < to; i++)
        EACH(j, n, 0, e->n) {
            vf gate = vget(e->x, i * 2 * e->n + j, n, type);
            vf up = vget(e->x, i * 2 * e->n + e->n + j, n, type);
            vput(e->y, i * e->n + j, n, type, vactivate(gate, KERNEL_SILU) * up);
        }
}

static void swiglu_part(void *arg, int64_t from, int64_t to, int thread)
{
    const struct elements *e = arg;
    (void)thread;
    BY_TYPE(e->type, swiglu_rows, e, from, to);
}

static void swiglu(struct kernel_context *c, void *y, const void *x, int64_t rows,
                   int64_t n, enum kernel_type type)
{
    struct elements e = {.y = y, .x = x, .type = type, .n = n};
    cpu__split(c, rows, rows_grain(n), swiglu_part, &e);
}

INLINE void swiglu_back_rows(const struct elements *e, int64_t from, int64_t to,
                             enum kernel_type type)
{
    for (int64_t i = from; i < to; i++)
        EACH(j, n, 0, e->n) {
            int64_t low = i * 2 * e->n + j, high = low + e->n;
            vf d = vget(e->dy, i * e->n + j, n, type);
            vf gate = vget(e->x, low, n, type), up = vget(e->x, high, n, type);
            vf s = vsigmoid(gate);
            vput(e->y, low, n, type, d * up * vfma(gate * s, 1.0f - s, s));
            vput(e->y, high, n, type, d * gate * s);
        }
}

static void swiglu_back_part(void *arg, int64_t from, int64_t to, int thread)
{
    const struct elements *e = arg;
    (void)thread;
    BY_TYPE(e->type, swiglu_back_rows, e, from, to);
}

static void swiglu_back(struct kernel_context *c, void *dx, const void *dy,
                        const void *x, int64_t rows, int64_t n, enum kernel_type type)
{
    struct elements e = {.y = dx, .x = x, .dy = dy, .type = type, .n = n};
    cpu__split(c, rows, rows_grain(n), swiglu_back_part, &e);
}

/* --- dropout: LANES / 2 counters at a time, their words in lanes of 64 bits --- */

#define COUNTERS (LANES / 2)
typedef uint64_t vw __attribute__((vector_size(4 * LANES)));

/* Products of the lower halves. */
INLINE vw vwide(vw a, vw b)
{
#if LANES == 16
    return (vw)_mm512_mul_epu32((__m512i)a, (__m512i)b);
#elif LANES == 8
    return (vw)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#else
    return (a & 0xffffffffu) * (b & 0xffffffffu);
#endif
}

/* The words of counters from `counter`: pairs[0] words 0 and 1, pairs[1] words 2 and 3.
 */
INLINE void philox_many(vw pairs[2], uint64_t key, uint64_t counter, uint64_t offset)
{
    const vw low = (vw){0} + 0xffffffffu;
    vw at = (vw){0} + counter;
    for (int i = 0; i < COUNTERS; i++)
        at[i] += (uint64_t)i;
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    vw w0 = at & low, w1 = at >> 32;
    vw w2 = ((vw){0} + offset) & low, w3 = (vw){0} + (offset >> 32);
    for (int round = 0; round < 10; round++) {
        vw a = vwide(w0, (vw){0} + 0xd2511f53u), b = vwide(w2, (vw){0} + 0xcd9e8d57u);
        w0 = (b >> 32) ^ w1 ^ (uint64_t)k0;
        w2 = (a >> 32) ^ w3 ^ (uint64_t)k1;
        w1 = b & low;
        w3 = a & low;
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    pairs[0] = w0 | w1 << 32;
    pairs[1] = w2 | w3 << 32;
}

/* from is a multiple of what one call of philox_many decides. */
INLINE void dropout_range(const struct elements *e, int64_t from, int64_t to,
                          enum kernel_type type)
{
    const vf factor = vsplat((float)(1 / (1 - (double)e->a)));
    for (int64_t i = from; i < to; i += 4 * COUNTERS) {
        vw pairs[2];
        uint64_t words[2 * COUNTERS];
        philox_many(pairs, e->seed, (uint64_t)i / 4, e->offset);
        for (int j = 0; j < COUNTERS; j++) {
            words[2 * j] = pairs[0][j];
            words[2 * j + 1] = pairs[1][j];
        }
        int64_t end = to - i < 4 * COUNTERS ? to - i : 4 * COUNTERS;
        EACH(l, n, 0, end) {
            vi word;
            memcpy(&word, (const char *)words + l * 4, sizeof(word));
            vf u = __builtin_convertvector((vi)((vu)word >> 8), vf) * 0x1p-24f;
            vf x = vget(e->x, i + l, n, type) * factor;
            vput(e->y, i + l, n, type, vpick(u >= e->a, x, vsplat(0)));
        }
    }
}

static void dropout_part(void *arg, int64_t from, int64_t to, int thread)
{
    const struct elements *e = arg;
    (void)thread;
    BY_TYPE(e->type, dropout_range, e, from, to);
}

static void dropout(struct kernel_context *c, void *y, const void *x, int64_t n,
                    float p, uint64_t seed, uint64_t offset, enum kernel_type type)
{
    struct elements e = {
        .y = y, .x = x, .type = type, .a = p, .seed = seed, .offset = offset};
    cpu__split(c, n, GRAIN, dropout_part, &e);
}

/* --- sums, factors, types --- */

INLINE void add_range(const struct elements *e, int64_t from, int64_t to,
                      enum kernel_type type)
{
    EACH(i, n, from, to)
        vput(e->y, i, n, type,
             vfma(vsplat(e->a), vget(e->x, i, n, type), vget(e->y, i, n, type)));
}

static void add_part(void *arg, int64_t from, int64_t to, int thread)
{
    const struct elements *e = arg;
    (void)thread;
    BY_TYPE(e->type, add_range, e, from, to);
}

static void add(struct kernel_context *c, void *y, const void *x, float a, int64_t n,
                enum kernel_type type)
{
    struct elements e = {.y = y, .x = x, .type = type, .a = a};
    cpu__split(c, n, GRAIN, add_part, &e);
}

static void scale_part(void *arg, int64_t from, int64_t to, int thread)
{
    const struct elements *e = arg;
    (void)thread;
    EACH(i, n, from, to)
        vput(e->y, i, n, KERNEL_F32, vget(e->y, i, n, KERNEL_F32) * e->a);
}

static void scale(struct kernel_context *c, float *x, float a, int64_t n)
{
    struct elements e = {.y = x, .a = a};
    cpu__split(c, n, GRAIN, scale_part, &e);
}

INLINE void convert(const struct elements *e, int64_t from, int64_t to,
                    enum kernel_type from_type, enum kernel_type to_type)
{
    EACH(i, n, from, to)
        vput(e->y, i, n, to_type, vget(e->x, i, n, from_type));
}

static void to_float_part(void *arg, int64_t from, int64_t to, int thread)
{
    const struct elements *e = arg;
    (void)thread;
    if (e->type == KERNEL_BF16)
        convert(e, from, to, KERNEL_BF16, KERNEL_F32);
    else
        convert(e, from, to, KERNEL_F32, KERNEL_F32);
}

static void to_float(struct kernel_context *c, float *y, const void *x, int64_t n,
                     enum kernel_type type)
{
    struct elements e = {.y = y, .x = x, .type = type};
    cpu__split(c, n, GRAIN, to_float_part, &e);
}

static void from_float_part(void *arg, int64_t from, int64_t to, int thread)
{
    const struct elements *e = arg;
    (void)thread;
    BY_TYPE(e->type, convert, e, from, to, KERNEL_F32);
}

static void from_float(struct kernel_context *c, void *y, const float *x, int64_t n,
                       enum kernel_type type)
{
    struct elements e = {.y = y, .x = x, .type = type};
    cpu__split(c, n, GRAIN, from_float_part, &e);
}

void FAST(fill_elements)(struct kernels *k)
{
    k->sum_rows = sum_rows;
    k->activate = activate;
    k->activate_back = activate_back;
    k->swiglu = swiglu;
    k->swiglu_back = swiglu_back;
    k->dropout = dropout;
    k->add = add;
    k->scale = scale;
    k->to_float = to_float;
    k->from_float = from_float;
}
