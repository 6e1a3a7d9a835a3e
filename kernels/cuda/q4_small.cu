/* SPDX-License-Identifier: Apache-2.0
 *
 * Products of few rows with weights of 4 bits, by mma.sync: skinny.cu's plan, but the
 * weights are the first operand, in the tiles of q4.cuh. A fragment holds 128 + q; what
 * is too much is taken off the sum over a group: sum (q - zero) x = sum (128 + q) x -
 * (128 + zero) sum x, the latter being one product more with a matrix of ones. Scales
 * are applied to sums of float.
 */
#include "q4.cuh"

struct small_arrays {
    q4_weights w;
    const bf16 *x;
    void *out;
    float *partial;
    unsigned *counters;
    int m, part; /* part: tiles of k in a block */
};

/* What a warp reads of weights at once: of RT row tiles, TILES of k. It has as much on
 * its way while it works on the one before. */
template <int RT, int TILES, int HALVES> struct small_load {
    static constexpr int GROUPS = TILES * 2 / HALVES;
    uint4 raw[RT][TILES];
    uint2 how[RT][GROUPS];

    __device__ __forceinline__ void load(const uint4 *const *tiles,
                                         const uint2 *const *scales, int at, int end,
                                         int groups)
    {
#pragma unroll
        for (int u = 0; u < TILES; u++)
#pragma unroll
            for (int rt = 0; rt < RT; rt++)
                raw[rt][u] =
                    at + u < end
                        ? stream16(tiles[rt] + (int64_t)(at + u) * Q4_NEXT_TILE)
                        : make_uint4(0, 0, 0, 0);
#pragma unroll
        for (int i = 0; i < GROUPS; i++)
#pragma unroll
            for (int rt = 0; rt < RT; rt++) {
                int group = at * 2 / HALVES + i;
                how[rt][i] = group < groups
                                 ? __ldg(scales[rt] + (int64_t)group * Q4_NEXT_GROUP)
                                 : make_uint2(0, 0);
            }
    }
};

/* c[16,8] = a[16,16] b[16,8] */
__device__ __forceinline__ void mma_first(float c[4], const unsigned a[4], unsigned b0,
                                          unsigned b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%10,%10,%10};"
                 : "=f"(c[0]), "=f"(c[1]), "=f"(c[2]), "=f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1),
                   "f"(0.0f));
}
/* The first product of a group starts its sums. */
__device__ __forceinline__ void mma_in(bool first, float c[4], const unsigned a[4],
                                       const unsigned b[2])
{
    if (first)
        mma_first(c, a, b[0], b[1]);
    else
        mma(c, a, b[0], b[1]);
}

/* The second operand of 32 of k: rows g of tiles of 8. */
template <int NT>
__device__ __forceinline__ void load_x(unsigned (*b)[NT][2], const bf16 *const *x,
                                       int offset)
{
#pragma unroll
    for (int j = 0; j < 2; j++)
#pragma unroll
        for (int nt = 0; nt < NT; nt++) {
            b[j][nt][0] = *(const unsigned *)(x[nt] + offset + 16 * j);
            b[j][nt][1] = *(const unsigned *)(x[nt] + offset + 16 * j + 8);
        }
}

/* A group's sums, scaled, to all sums. */
template <int NT>
__device__ __forceinline__ void add_group(float (*sum)[4], float (*part)[4],
                                          const float (*ones)[4], uint2 how)
{
    float low = q4_scale(how.x), high = q4_scale(how.y);
    float low_zero = -q4_zero(how.x), high_zero = -q4_zero(how.y);
#pragma unroll
    for (int nt = 0; nt < NT; nt++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
            sum[nt][e] =
                fmaf(low, fmaf(low_zero, ones[nt][e], part[nt][e]), sum[nt][e]);
            sum[nt][e + 2] = fmaf(high, fmaf(high_zero, ones[nt][e], part[nt][e + 2]),
                                  sum[nt][e + 2]);
        }
}

/* 32 of k: half a tile. first: of a group. */
template <int NT, int RT>
__device__ __forceinline__ void small_half(float (*part)[NT][4], float (*ones)[4],
                                           const unsigned (*low)[2],
                                           unsigned (*b)[NT][2], bool first)
{
    const unsigned one[4] = {0x3f803f80, 0x3f803f80, 0x3f803f80, 0x3f803f80};
#pragma unroll
    for (int nt = 0; nt < NT; nt++) {
        mma_in(first, ones[nt], one, b[0][nt]);
        mma_in(false, ones[nt], one, b[1][nt]);
    }
#pragma unroll
    for (int rt = 0; rt < RT; rt++) {
        unsigned p = low[rt][0], q = low[rt][1];
        unsigned front[4] = {q4_pair<0>(p), q4_pair<0>(q), q4_pair<1>(p),
                             q4_pair<1>(q)};
        unsigned back[4] = {q4_pair<2>(p), q4_pair<2>(q), q4_pair<3>(p), q4_pair<3>(q)};
#pragma unroll
        for (int nt = 0; nt < NT; nt++) {
            mma_in(first, part[rt][nt], front, b[0][nt]);
            mma_in(false, part[rt][nt], back, b[1][nt]);
        }
    }
}

/* x: at the step's first k, of which `left` are there. HALVES: of a group, 32 of k
 * each. */
template <int NT, int RT, int TILES, int HALVES>
__device__ __forceinline__ void small_step(float (*sum)[NT][4],
                                           const small_load<RT, TILES, HALVES> &w,
                                           const bf16 *const *x, int left)
{
    float part[RT][NT][4], ones[NT][4];
#pragma unroll
    for (int half = 0; half < TILES * 2; half++) {
        if (half * 32 >= left)
            break; /* groups are whole: none has begun */
        unsigned b[2][NT][2], words[RT][2];
        load_x<NT>(b, x, half * 32);
#pragma unroll
        for (int rt = 0; rt < RT; rt++) {
            const uint4 &raw = w.raw[rt][half / 2];
            words[rt][0] = half % 2 ? raw.z : raw.x;
            words[rt][1] = half % 2 ? raw.w : raw.y;
        }
        small_half<NT, RT>(part, ones, words, b, half % HALVES == 0);
        if (half % HALVES == HALVES - 1)
#pragma unroll
            for (int rt = 0; rt < RT; rt++)
                add_group<NT>(sum[rt], part[rt], ones, w.how[rt][half / HALVES]);
    }
}

template <int NT, int RT, int TILES, int HALVES, int WARPS>
__device__ __forceinline__ void small_walk(float (*sum)[NT][4], const small_arrays &a,
                                           int rows0, int token0, int begin, int end)
{
    constexpr int STEP = WARPS * TILES;
    int lane = threadIdx.x & 31, g = lane / 4, t = lane % 4;
    int at = begin + (int)(threadIdx.x >> 5) * TILES;
    const uint4 *tiles[RT];
    const uint2 *scales[RT];
    const bf16 *x[NT];
    small_load<RT, TILES, HALVES> even, odd;
#pragma unroll
    for (int rt = 0; rt < RT; rt++) {
        int rows = min(rows0 + rt, a.w.n / 16 - 1);
        tiles[rt] = q4_tiles_of(a.w, rows) + lane;
        scales[rt] = q4_scales_of(a.w, rows) + g;
    }
    /* Rows that are not there are the last one: what comes of them is not stored. */
#pragma unroll
    for (int nt = 0; nt < NT; nt++)
        x[nt] = a.x + (int64_t)min(token0 + nt * 8 + g, a.m - 1) * a.w.k +
                at * Q4_TILE + 2 * t;
    auto work = [&](const small_load<RT, TILES, HALVES> &w) {
        small_step<NT, RT, TILES, HALVES>(sum, w, x, a.w.k - at * Q4_TILE);
        at += STEP;
#pragma unroll
        for (int nt = 0; nt < NT; nt++)
            x[nt] += STEP * Q4_TILE;
    };
    if (at < end)
        even.load(tiles, scales, at, end, a.w.groups);
    early_wait();
    while (at < end) {
        if (at + STEP < end)
            odd.load(tiles, scales, at + STEP, end, a.w.groups);
        work(even);
        if (at >= end)
            break;
        if (at + STEP < end)
            even.load(tiles, scales, at + STEP, end, a.w.groups);
        work(odd);
    }
}

template <typename T, int NT, int RT, int TILES, int HALVES, int WARPS>
__global__ void __launch_bounds__(WARPS * 32) small_kernel(small_arrays a)
{
    constexpr int ROWS = RT * 16, TILE = ROWS * NT * 8;
    __shared__ float sums[WARPS][TILE]; /* [token][row] of each warp */
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane / 4, t = lane % 4;
    int row0 = (int)blockIdx.x * ROWS, begin = (int)blockIdx.y * a.part;
    int token0 = (int)blockIdx.z * NT * 8;
    float sum[RT][NT][4] = {};
    early_next();
    small_walk<NT, RT, TILES, HALVES, WARPS>(sum, a, (int)blockIdx.x * RT, token0,
                                             begin, min(begin + a.part, a.w.steps));
#pragma unroll
    for (int rt = 0; rt < RT; rt++)
#pragma unroll
        for (int nt = 0; nt < NT; nt++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                sums[warp][(nt * 8 + 2 * t + (e & 1)) * ROWS + rt * 16 + g +
                           e / 2 * 8] = sum[rt][nt][e];
    auto store = [&](int i, float all) {
        int row = row0 + i % ROWS;
        if (row < a.w.n)
            from_f(((T *)a.out)[(int64_t)(token0 + i / ROWS) * a.w.n + row], all);
    };
    int64_t tile = (int64_t)blockIdx.z * gridDim.x + blockIdx.x;
    parts_add<WARPS, TILE>(sums, a.partial + tile * gridDim.y * TILE, a.counters + tile,
                           min(a.m - token0, NT * 8) * ROWS, store);
}

template <int NT, int RT, int TILES, int HALVES, int WARPS>
static void launch(struct kernel_context *c, small_arrays &a, enum kernel_type type)
{
    constexpr int TILE = RT * 16 * NT * 8, STEP = WARPS * TILES;
    int rows = (a.w.n / 16 + RT - 1) / RT, columns = (a.m + NT * 8 - 1) / (NT * 8);
    int tiles = rows * columns, steps = (a.w.steps + STEP - 1) / STEP, splits = 1;
    if (tiles < c->sms && (size_t)(3 * c->sms) * TILE * 4 <= c->partials_size)
        splits = min(3 * c->sms / tiles, steps);
    a.part = (steps + splits - 1) / splits * STEP;
    dim3 grid((unsigned)rows, (unsigned)((a.w.steps + a.part - 1) / a.part),
              (unsigned)columns);
    TYPED(type, (launch_early(c, small_kernel<T, NT, RT, TILES, HALVES, WARPS>, grid,
                              WARPS * 32, 0, a)));
    cuda__launched(c, "q4_matmul");
}

template <int NT, int RT, int TILES, int WARPS>
static void launch_group(struct kernel_context *c, small_arrays &a, int group,
                         enum kernel_type type)
{
    if (group == 128)
        launch<NT, RT, TILES, 4, WARPS>(c, a, type);
    else if (group == 64)
        launch<NT, RT, TILES, 2, WARPS>(c, a, type);
    else
        launch<NT, RT, TILES, 1, WARPS>(c, a, type);
}

void cuda__q4_small(struct kernel_context *c, const struct kernel_q4 *w,
                    const void *packed, void *out, const void *x, int64_t m,
                    enum kernel_type c_type)
{
    small_arrays a = {q4_weights_of(w, packed),
                      (const bf16 *)x,
                      out,
                      c->partials,
                      c->counters,
                      (int)m,
                      0};
    int64_t rows = w->n / c->sms; /* of a multiprocessor */
    if (m > 8)
        launch_group<2, 2, 2, 4>(c, a, w->group, c_type);
    else if (rows >= 160)
        launch_group<1, 2, 2, 4>(c, a, w->group, c_type);
    else if (rows >= 64)
        launch_group<1, 1, 4, 4>(c, a, w->group, c_type);
    else
        launch_group<1, 1, 4, 8>(c, a, w->group, c_type);
}
