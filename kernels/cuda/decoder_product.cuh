/* SPDX-License-Identifier: Apache-2.0
 *
 * Products of the block's tiles of weights, which come through the ring, with rows in
 * shared memory. Teams of warps take stages by turns, the warps of a team a part of k
 * each; what they have of a tile is added up some tiles at a time.
 *
 * Weights are the first operand of mma.sync. Those of bf16 are 8 rows that count as 16:
 * which elements of k meet in a product is free as long as both operands agree, so a
 * lane's 16 bytes, 8 elements of a row, are two of them for row g and two for row g + 8
 * and so on; the second operand has a sequence's elements for the former in one column
 * and those for the latter in the next. Two of the sums count. Weights of 4 bits are 16
 * rows, in their places as numbers of steps of 2^-133 and 2^-129, see hopper_q4.cu; the
 * rows of x have been lifted to make up for it, and what they sum up to, which the zero
 * points multiply, is known.
 */
#ifndef KERNELS_CUDA_DECODER_PRODUCT_CUH
#define KERNELS_CUDA_DECODER_PRODUCT_CUH
#include "decoder_stream.cuh"
#include "q4.cuh"

#define PRODUCT_WARPS (DECODER_CONSUMERS / 32)
/* floats of 8 rows of weights and a sequence: [warps][8] */
#define PRODUCT_SUMS (PRODUCT_WARPS * 8)

/* Rows that products take, in shared memory. */
struct product_rows {
    unsigned x, stride; /* bytes of a row */
    const float *ones;  /* [groups][8]: sums of the lifted rows; of 4 bits */
    int count;
};

/* All threads but those of the stream. */
__device__ __forceinline__ void consumers_sync()
{
    __syncwarp();
    asm volatile("bar.sync 1, %0;" ::"n"(DECODER_CONSUMERS) : "memory");
}

__device__ __forceinline__ uint4 shared_load16(unsigned from)
{
    uint4 v;
    asm volatile("ld.shared.v4.b32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "r"(from)
                 : "memory");
    return v;
}

__device__ __forceinline__ uint2 shared_load8(unsigned from)
{
    uint2 v;
    asm volatile("ld.shared.v2.b32 {%0,%1}, [%2];"
                 : "=r"(v.x), "=r"(v.y)
                 : "r"(from)
                 : "memory");
    return v;
}

/* COUNT times 32 of k, of four sequences and, WIDE, four more: all is asked for before
 * the first product. */
template <int COUNT, bool WIDE>
__device__ __forceinline__ void product_steps(float (*sum)[2][4], unsigned weights,
                                              const unsigned x[2])
{
    uint4 w[COUNT];
    uint2 b[COUNT][2];
#pragma unroll
    for (int u = 0; u < COUNT; u++) {
        w[u] = shared_load16(weights + u * 64);
#pragma unroll
        for (int i = 0; i < (WIDE ? 2 : 1); i++)
            b[u][i] = shared_load8(x[i] + u * 64);
    }
#pragma unroll
    for (int u = 0; u < COUNT; u++) {
        const unsigned a[4] = {w[u].x, w[u].y, w[u].z, w[u].w};
#pragma unroll
        for (int i = 0; i < (WIDE ? 2 : 1); i++)
            mma(sum[u % 4][i], a, b[u][i].x, b[u][i].y);
    }
}

/* A warp's part of a stage: k, of which there are `width`. */
template <int PART, bool WIDE>
__device__ __forceinline__ void product_part(float (*sum)[2][4], unsigned weights,
                                             const unsigned x[2], int width)
{
    constexpr int COUNT = WIDE ? 4 : 8;
#pragma unroll
    for (int u = 0; u < PART / 32; u += COUNT) {
        const unsigned here[2] = {x[0] + u * 64, x[1] + u * 64};
        if (width >= PART)
            product_steps<COUNT, WIDE>(sum, weights + u * 64, here);
    }
    if (width >= PART)
        return;
#pragma unroll 1
    for (int u = 0; u < width / 32; u++) {
        const unsigned here[2] = {x[0] + u * 64, x[1] + u * 64};
        product_steps<1, WIDE>(sum, weights + u * 64, here);
    }
}

/* use(stage, k) for the stages of a row's part of k that are this warp's team's. */
template <bool Q4, typename F>
__device__ __forceinline__ void product_stages(const stream_ring &r, stream_place &at,
                                               int begin, int end, F use)
{
    unsigned team = threadIdx.x / 32 / STREAM_TEAM;
    for (int k0 = begin; k0 < end; k0 += Q4 ? STREAM_Q4_K : STREAM_K) {
        if (at.number % DECODER_TEAMS == team) {
            arrival_wait(stream_full(r, at.slot), at.parity);
            use(r.base + (unsigned)at.slot * stream_stage(Q4), k0);
            __syncwarp();
            if ((threadIdx.x & 31) == 0)
                arrival_arrive(stream_free(r, at.slot));
        }
        stream_next(r, at);
    }
}

/* A tile of 8 rows: what this warp has of it goes to sums [sequences][warps][8]. alone:
 * it is but one stage, and one team's alone. */
template <bool WIDE>
__device__ __forceinline__ void
product_plain(float *sums, const stream_ring &r, stream_place &at,
              const product_rows &rows, int k, bool alone)
{
    if (alone && at.number % DECODER_TEAMS != threadIdx.x / 32 / STREAM_TEAM) {
        stream_next(r, at);
        return;
    }
    constexpr int PART = STREAM_K / STREAM_TEAM;
    int lane = threadIdx.x & 31, g = lane / 4, t = lane % 4, warp = threadIdx.x >> 5;
    int k1 = warp % STREAM_TEAM * PART, place = alone ? warp % STREAM_TEAM : warp;
    unsigned mine = (unsigned)(g * STREAM_ROW + k1 * 2 + t * 16);
    unsigned in = (unsigned)(k1 * 2 + t * 16 + (g & 1) * 8);
    float part[4][2][4] = {};
    /* Sequences that are not there are the last one: nobody looks at what comes of it.
     */
    product_stages<false>(r, at, 0, k, [&](unsigned stage, int k0) {
        const unsigned x[2] = {rows.x + in + (unsigned)k0 * 2 +
                                   (unsigned)min(g / 2, rows.count - 1) * rows.stride,
                               rows.x + in + (unsigned)k0 * 2 +
                                   (unsigned)min(4 + g / 2, rows.count - 1) *
                                       rows.stride};
        product_part<PART, WIDE>(part, stage + mine, x, k - k0 - k1);
    });
#pragma unroll
    for (int i = 0; i < (WIDE ? 2 : 1); i++)
        if (4 * i + t < rows.count)
            sums[(4 * i + t) * PRODUCT_SUMS + place * 8 + g] =
                part[0][i][0] + part[0][i][3] + (part[1][i][0] + part[1][i][3]) +
                (part[2][i][0] + part[2][i][3] + (part[3][i][0] + part[3][i][3]));
}

/* A group of k of 16 rows. tiles, x: this lane's in shared memory; how: scales and zero
 * points of rows g and g + 8; ones: of sequences 2t and 2t + 1. */
__device__ __forceinline__ void product_group(float sum[4], unsigned tiles, unsigned x,
                                              uint2 how, float2 ones)
{
    constexpr int STEPS = DECODER_GROUP / 64;
    float part[2 * STEPS][4] = {};
    uint4 w[STEPS];
    unsigned b[2 * STEPS][4];
#pragma unroll
    for (int step = 0; step < STEPS; step++) {
        w[step] = shared_load16(tiles + step * 512);
        load_matrices(b[2 * step], x + step * 128);
        load_matrices(b[2 * step + 1], x + step * 128 + 64);
    }
#pragma unroll
    for (int j = 0; j < 2; j++)
#pragma unroll
        for (int i = 0; i < 2 * STEPS; i++) {
            unsigned low = (i % 2 ? w[i / 2].z : w[i / 2].x) >> (8 * j);
            unsigned high = (i % 2 ? w[i / 2].w : w[i / 2].y) >> (8 * j);
            unsigned a[4] = {low & 0x000f000f, high & 0x000f000f, low & 0x00f000f0,
                             high & 0x00f000f0};
            mma(part[i], a, b[i][2 * j], b[i][2 * j + 1]);
        }
    float scale[2] = {q4_scale(how.x) * 0x1p69f, q4_scale(how.y) * 0x1p69f};
    /* As a float that is zero * 2^-133. */
    float zero[2] = {__uint_as_float((how.x & 15) << 16),
                     __uint_as_float((how.y & 15) << 16)};
#pragma unroll
    for (int e = 0; e < 4; e++)
        sum[e] = fmaf(scale[e / 2],
                      fmaf(-zero[e / 2], e % 2 ? ones.y : ones.x,
                           part[0][e] + part[1][e] + (part[2][e] + part[3][e])),
                      sum[e]);
}

/* A row tile of 16 of weights of 4 bits: sums [2][sequences][warps][8]. */
__device__ __forceinline__ void product_q4(float *sums, const stream_ring &r,
                                           stream_place &at, const product_rows &rows,
                                           const stream_span &span)
{
    constexpr int PART = STREAM_Q4_K / STREAM_TEAM;
    int lane = threadIdx.x & 31, g = lane / 4, t = lane % 4, warp = threadIdx.x >> 5;
    int k1 = warp % STREAM_TEAM * PART;
    /* Rows that are not there are the last one: nobody looks at what comes of them. */
    unsigned x = rows.x + (unsigned)min(lane & 7, rows.count - 1) * rows.stride +
                 (unsigned)(lane >> 3) * 16;
    float sum[4] = {};
    product_stages<true>(r, at, span.begin, span.end, [&](unsigned stage, int k0) {
        unsigned tiles = stage + (unsigned)(k1 / 64 * 512 + lane * 16);
        unsigned scales =
            stage + STREAM_Q4_TILES + (unsigned)(k1 / DECODER_GROUP * 64 + g * 8);
        const float *ones = rows.ones + (k0 + k1) / DECODER_GROUP * 8 + 2 * t;
        int groups = min(PART, span.end - k0 - k1) / DECODER_GROUP;
#pragma unroll 2
        for (int i = 0; i < groups; i++) {
            uint2 how = shared_load8(scales + i * 64);
            product_group(sum, tiles + i * (DECODER_GROUP / 64 * 512),
                          x + (unsigned)(k0 + k1 + i * DECODER_GROUP) * 2, how,
                          *(const float2 *)(ones + i * 8));
        }
    });
#pragma unroll
    for (int e = 0; e < 4; e++)
        if (2 * t + e % 2 < rows.count)
            sums[(e / 2 * rows.count + 2 * t + e % 2) * PRODUCT_SUMS + warp * 8 + g] =
                sum[e];
}

/* Row lane / 4's sum over the warps, or over the one team that had the tile. */
__device__ __forceinline__ float product_sum(const float *sums, bool alone)
{
    int lane = threadIdx.x & 31;
    float all = sums[lane % 4 * 8 + lane / 4];
    static_assert(PRODUCT_WARPS == 8 && STREAM_TEAM == 4, "four warps are a team");
    if (!alone)
        all += sums[(4 + lane % 4) * 8 + lane / 4];
    all += __shfl_xor_sync(0xffffffffu, all, 1);
    return all + __shfl_xor_sync(0xffffffffu, all, 2);
}

/* done(8 rows' number, sequence, sum, other, rest) is called by a warp, with the sum of
 * row lane / 4 of the 8 in each lane. pairs: tiles are of gate and up (of 4 bits),
 * whose sums are in other. rest: see stream_span. */
template <bool Q4, bool ONE, typename F>
__device__ __forceinline__ void
product_run(const stream_ring &r, stream_place &at, const stream_tiles &tiles,
            const decoder_product &p, bool pairs, const product_rows &rows, float *sums,
            F done)
{
    constexpr int EIGHTS = Q4 ? 2 : 1;
    int count = ONE ? 1 : rows.count, warp = threadIdx.x >> 5, parts = pairs ? 2 : 1;
    int each = EIGHTS * count * PRODUCT_SUMS, whole = each * parts; /* of a tile */
    int most =
        DECODER_SUMS / 8 / PRODUCT_SUMS / EIGHTS / 2 / count; /* tiles at a time */
    bool odd = false, alone = !Q4 && p.k <= STREAM_K;
#pragma unroll 1
    for (int i = 0; i < tiles.count; i += most) {
        int some = min(most, tiles.count - i);
        int first = tiles.first + i * (int)gridDim.x;
#pragma unroll 1
        for (int j = 0; j < some * parts; j++)
            if constexpr (Q4)
                product_q4(sums + j * each, r, at, rows,
                           stream_span_of(p, first + j / parts * (int)gridDim.x));
            else
                product_plain<!ONE>(sums + j * each, r, at, rows, p.k, alone);
        consumers_sync();
#pragma unroll 1
        for (int j = warp; j < some * EIGHTS * count; j += PRODUCT_WARPS) {
            int tile = j / (EIGHTS * count), in = j % (EIGHTS * count);
            const float *from = sums + tile * whole + in * PRODUCT_SUMS;
            float sum = product_sum(from, alone);
            float other = pairs ? product_sum(from + each, alone) : 0.0f;
            stream_span span = stream_span_of(p, first + tile * (int)gridDim.x);
            done(span.tile * EIGHTS + in / count, in % count, sum, other, span.rest);
        }
        /* Those of the next tiles go beside, and then there is another barrier. */
        sums += odd ? -(DECODER_SUMS / 8) : DECODER_SUMS / 8;
        odd = !odd;
    }
}

#endif
