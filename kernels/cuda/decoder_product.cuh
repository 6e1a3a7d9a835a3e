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
 * and those for the latter in the next. Two of the sums count. Weights of 4 bits are in
 * decoder_q4.cuh.
 */
#ifndef KERNELS_CUDA_DECODER_PRODUCT_CUH
#define KERNELS_CUDA_DECODER_PRODUCT_CUH
#include "decoder_stream.cuh"

#define PRODUCT_WARPS (DECODER_CONSUMERS / 32)
/* floats of 8 rows of weights and a sequence: [warps][8] */
#define PRODUCT_SUMS (PRODUCT_WARPS * 8)

/* Rows that products take, in shared memory. */
struct product_rows {
    unsigned x, stride; /* bytes of a row */
    unsigned groups;    /* of 4 bits: see q4_group */
    int first;          /* of them, in k */
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
template <typename F>
__device__ __forceinline__ void product_stages(const stream_ring &r, stream_place &at,
                                               int begin, int end, F use)
{
    unsigned team = threadIdx.x / 32 / STREAM_TEAM;
    for (int k0 = begin; k0 < end; k0 += STREAM_K) {
        if (at.number % DECODER_TEAMS == team) {
            arrival_wait(stream_full(r, at.slot), at.parity);
            use(r.base + (unsigned)at.slot * stream_stage(false), k0);
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
    product_stages(r, at, 0, k, [&](unsigned stage, int k0) {
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

/* done(8 rows' number, sequence, sum) is called by a warp, with the sum of row lane / 4
 * of the 8 in each lane. */
template <bool ONE, typename F>
__device__ __forceinline__ void
product_run(const stream_ring &r, stream_place &at, const stream_tiles &tiles,
            const decoder_product &p, const product_rows &rows, float *sums, F done)
{
    int count = ONE ? 1 : rows.count, warp = threadIdx.x >> 5;
    int each = count * PRODUCT_SUMS;                        /* of a tile */
    int most = DECODER_SUMS / 8 / PRODUCT_SUMS / 2 / count; /* tiles at a time */
    bool odd = false, alone = p.k <= STREAM_K;
#pragma unroll 1
    for (int i = 0; i < tiles.count; i += most) {
        int some = min(most, tiles.count - i);
        int first = tiles.first + i * (int)gridDim.x;
#pragma unroll 1
        for (int j = 0; j < some; j++)
            product_plain<!ONE>(sums + j * each, r, at, rows, p.k, alone);
        consumers_sync();
#pragma unroll 1
        for (int j = warp; j < some * count; j += PRODUCT_WARPS) {
            float sum = product_sum(sums + j * PRODUCT_SUMS, alone);
            done(first + j / count * (int)gridDim.x, j % count, sum);
        }
        /* Those of the next tiles go beside, and then there is another barrier. */
        sums += odd ? -(DECODER_SUMS / 8) : DECODER_SUMS / 8;
        odd = !odd;
    }
}

#endif
