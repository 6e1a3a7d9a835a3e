/* SPDX-License-Identifier: Apache-2.0
 *
 * Products of up to 16 rows with weights [n,k] of bf16: the weights are read once, and
 * nothing else takes long. They are the second operand of mma.sync, 8 rows of them at a
 * time, the rows of A the first one.
 *
 * Which of the sum's elements meet in a product is free as long as both operands agree:
 * a lane takes 8 of them in a row, which are two products' parts, so that all goes
 * straight from memory to registers in 16-byte loads. A block's warps take parts of k
 * by turns; where n is small, several blocks share the rows, and who ends last adds up
 * what they left, in their order. The first weights are asked for before the kernel in
 * front has ended.
 */
#include "mma.cuh"

#define SPAN 32 /* elements of k in one load of a warp */

struct skinny_arrays {
    const bf16 *x, *w, *bias;
    void *out;
    float *partial; /* [row tiles][splits][tile] */
    unsigned *counters;
    int64_t ldx, ldw, ldc;
    int m, n, k, part; /* part: of k in a block */
    float alpha;
};

/* U times 16 bytes of R rows, zeros from end on. */
template <int R, int U, bool STREAM>
__device__ __forceinline__ void rows_load(uint4 (*v)[U], const bf16 *const *rows,
                                          int at, int end)
{
    int t = threadIdx.x % 4;
    bool whole = at + U * SPAN <= end;
#pragma unroll
    for (int u = 0; u < U; u++)
#pragma unroll
        for (int r = 0; r < R; r++) {
            const bf16 *from = rows[r] + at + u * SPAN;
            if (whole || at + u * SPAN + t * 8 < end)
                v[r][u] = STREAM ? stream16(from) : *(const uint4 *)from;
            else
                v[r][u] = make_uint4(0, 0, 0, 0);
        }
}

/* WIDE: more than 8 rows of x; RT: tiles of 8 weights' rows; U: loads of a row in
 * flight. */
template <bool WIDE, int RT, int U, int WARPS>
__device__ __forceinline__ void skinny_walk(float (*sum)[4], const skinny_arrays &a,
                                            int row0, int begin, int end)
{
    constexpr int XT = WIDE ? 2 : 1;
    int g = (threadIdx.x & 31) / 4, t = threadIdx.x % 4;
    int at = begin + (int)(threadIdx.x >> 5) * U * SPAN;
    const bf16 *w[RT], *x[XT];
    uint4 wv[RT][U], xv[XT][U];
#pragma unroll
    for (int rt = 0; rt < RT; rt++)
        w[rt] = a.w + (int64_t)min(row0 + rt * 8 + g, a.n - 1) * a.ldw + t * 8;
        /* Rows that are not there are the last one: what comes of them is not stored.
         */
#pragma unroll
    for (int i = 0; i < XT; i++)
        x[i] = a.x + (int64_t)min(i * 8 + g, a.m - 1) * a.ldx + t * 8;
    if (at < end)
        rows_load<RT, U, true>(wv, w, at, end);
    early_wait();
    while (at < end) {
        rows_load<XT, U, false>(xv, x, at, end);
#pragma unroll
        for (int u = 0; u < U; u++) {
            unsigned low[4] = {xv[0][u].x, 0, xv[0][u].y, 0};
            unsigned high[4] = {xv[0][u].z, 0, xv[0][u].w, 0};
            if (WIDE) {
                low[1] = xv[XT - 1][u].x, low[3] = xv[XT - 1][u].y;
                high[1] = xv[XT - 1][u].z, high[3] = xv[XT - 1][u].w;
            }
#pragma unroll
            for (int rt = 0; rt < RT; rt++) {
                mma(sum[rt], low, wv[rt][u].x, wv[rt][u].y);
                mma(sum[rt], high, wv[rt][u].z, wv[rt][u].w);
            }
        }
        at += WARPS * U * SPAN;
        if (at < end)
            rows_load<RT, U, true>(wv, w, at, end);
    }
}

template <typename T, bool WIDE, int RT, int U, int WARPS>
__global__ void __launch_bounds__(WARPS * 32) skinny_kernel(skinny_arrays a)
{
    constexpr int ROWS = RT * 8, TOKENS = WIDE ? 16 : 8, TILE = ROWS * TOKENS;
    __shared__ __align__(8) float sums[WARPS][TILE]; /* [token][row] of each warp */
    int warp = threadIdx.x >> 5, g = (threadIdx.x & 31) / 4, t = threadIdx.x % 4;
    int row0 = (int)blockIdx.x * ROWS, begin = (int)blockIdx.y * a.part;
    float sum[RT][4] = {};
    early_next();
    skinny_walk<WIDE, RT, U, WARPS>(sum, a, row0, begin, min(begin + a.part, a.k));
#pragma unroll
    for (int rt = 0; rt < RT; rt++)
#pragma unroll
        for (int h = 0; h < (WIDE ? 2 : 1); h++)
            *(float2 *)&sums[warp][(g + 8 * h) * ROWS + rt * 8 + 2 * t] =
                make_float2(sum[rt][2 * h], sum[rt][2 * h + 1]);
    auto store = [&](int i, float all) {
        int token = i / ROWS, row = row0 + i % ROWS;
        if (row >= a.n)
            return;
        all *= a.alpha;
        if (a.bias)
            all += to_f(a.bias[row]);
        from_f(((T *)a.out)[token * a.ldc + row], all);
    };
    parts_add<WARPS, TILE>(sums, a.partial + (int64_t)blockIdx.x * gridDim.y * TILE,
                           a.counters + blockIdx.x, a.m * ROWS, store);
}

template <bool WIDE, int RT, int U, int WARPS>
static void launch(struct kernel_context *c, skinny_arrays &a, enum kernel_type type)
{
    constexpr int TILE = RT * 8 * (WIDE ? 16 : 8), STEP = WARPS * U * SPAN;
    int tiles = (a.n + RT * 8 - 1) / (RT * 8), steps = (a.k + STEP - 1) / STEP;
    int splits = 1;
    if (tiles < c->sms * 3 / 4 && (size_t)(2 * c->sms) * TILE * 4 <= c->partials_size)
        splits = min(2 * c->sms / tiles, steps);
    a.part = (steps + splits - 1) / splits * STEP;
    dim3 grid((unsigned)tiles, (unsigned)((a.k + a.part - 1) / a.part));
    TYPED(type, (launch_early(c, skinny_kernel<T, WIDE, RT, U, WARPS>, grid, WARPS * 32,
                              0, a)));
    cuda__launched(c, "matmul");
}

/* Up to 8 rows of x. Where n is small a multiprocessor gets one block with all of its
 * rows: as much as there is, on its way at once. */
static void launch_narrow(struct kernel_context *c, skinny_arrays &a,
                          enum kernel_type type)
{
    int tiles = (a.n / 8 + c->sms - 1) / c->sms; /* of 8 rows, of a multiprocessor */
    switch (tiles) {
    case 0:
    case 1:
        return launch<false, 1, 4, 16>(c, a, type);
    case 2:
        return launch<false, 2, 4, 16>(c, a, type);
    case 3:
        return launch<false, 3, 4, 16>(c, a, type);
    case 4:
        return launch<false, 4, 4, 16>(c, a, type);
    case 5:
        return launch<false, 5, 2, 16>(c, a, type);
    case 6:
        return launch<false, 6, 2, 16>(c, a, type);
    case 7:
        return launch<false, 7, 2, 16>(c, a, type);
    default:
        return launch<false, 2, 8, 4>(c, a, type);
    }
}

static void launch_wide(struct kernel_context *c, skinny_arrays &a,
                        enum kernel_type type)
{
    if (a.k <= 3072)
        launch<true, 2, 4, 8>(c, a, type);
    else if (a.n >= 96 * c->sms)
        launch<true, 4, 2, 8>(c, a, type);
    else if (a.n >= 48 * c->sms)
        launch<true, 2, 2, 8>(c, a, type);
    else
        launch<true, 8, 1, 8>(c, a, type);
}

bool cuda__skinny_matmul(struct kernel_context *c, const struct kernel_matmul *m)
{
    if (m->m > 16 || m->type != KERNEL_BF16 || m->ta || !m->tb || m->accumulate ||
        m->before || m->act != KERNEL_LINEAR || m->k % 8 || m->lda % 8 || m->ldb % 8 ||
        m->k > 1 << 24 || m->n > 1 << 28 || !aligned16(m->a) || !aligned16(m->b))
        return false;
    skinny_arrays a = {(const bf16 *)m->a,
                       (const bf16 *)m->b,
                       (const bf16 *)m->bias,
                       m->c,
                       c->partials,
                       c->counters,
                       m->lda,
                       m->ldb,
                       m->ldc,
                       (int)m->m,
                       (int)m->n,
                       (int)m->k,
                       0,
                       m->alpha};
    if (m->m > 8)
        launch_wide(c, a, m->c_type);
    else
        launch_narrow(c, a, m->c_type);
    return true;
}
