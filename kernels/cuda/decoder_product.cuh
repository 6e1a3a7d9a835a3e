/* SPDX-License-Identifier: Apache-2.0
 *
 * Products of the block's tiles of weights, which come through the ring, with rows in
 * shared memory. Teams of warps take stages by turns, the warps of a team a part of k
 * each; what they have of a tile is added up some tiles at a time.
 *
 * Weights of bf16 are the second operand of mma.sync. Which elements of k meet in a
 * product is free as long as both operands agree: a lane takes 8 of them in a row, see
 * skinny.cu. Weights of 4 bits are the first operand, in their places as numbers of
 * steps of 2^-133 and 2^-129, see hopper_q4.cu; the rows have been lifted to make up
 * for it, and what they sum up to, which the zero points multiply, is known.
 */
#ifndef KERNELS_CUDA_DECODER_PRODUCT_CUH
#define KERNELS_CUDA_DECODER_PRODUCT_CUH
#include "decoder_stream.cuh"
#include "q4.cuh"

#define PRODUCT_WARPS (DECODER_CONSUMERS / 32)
#define PRODUCT_SUMS 128 /* floats of 8 rows of weights and a sequence: [warps][8] */

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

/* 32 of k. there: this lane's row of x is one. */
__device__ __forceinline__ void product_step(float (*sum)[4], unsigned weights,
                                             unsigned x, bool there)
{
    uint4 w = shared_load16(weights), v = make_uint4(0, 0, 0, 0);
    if (there)
        v = shared_load16(x);
    unsigned low[4] = {v.x, 0, v.y, 0}, high[4] = {v.z, 0, v.w, 0};
    mma(sum[0], low, w.x, w.y);
    mma(sum[1], high, w.z, w.w);
}

/* A warp's part of a stage: k, of which there are `width`. */
template <int PART>
__device__ __forceinline__ void product_part(float (*sum)[4], unsigned weights,
                                             unsigned x, bool there, int width)
{
    if (width >= PART) {
#pragma unroll
        for (int u = 0; u < PART / 32; u++)
            product_step(sum + u % 2 * 2, weights + u * 64, x + u * 64, there);
        return;
    }
    for (int u = 0; u < width / 32; u++)
        product_step(sum, weights + u * 64, x + u * 64, there);
}

/* use(stage, k) for the stages of a row of k that are this warp's team's. */
template <bool Q4, typename F>
__device__ __forceinline__ void product_stages(const stream_ring &r, stream_place &at,
                                               int k, F use)
{
    unsigned team = threadIdx.x / 32 / STREAM_TEAM;
    for (int k0 = 0; k0 < k; k0 += Q4 ? STREAM_Q4_K : STREAM_K) {
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

/* A tile of 8 rows: what this warp has of it goes to sums [sequences][warps][8]. */
__device__ __forceinline__ void product_plain(float *sums, const stream_ring &r,
                                              stream_place &at, const product_rows &rows,
                                              int k)
{
    constexpr int PART = STREAM_K / STREAM_TEAM;
    int lane = threadIdx.x & 31, g = lane / 4, t = lane % 4, warp = threadIdx.x >> 5;
    int k1 = warp % STREAM_TEAM * PART;
    bool there = g < rows.count;
    float part[4][4] = {};
    product_stages<false>(r, at, k, [&](unsigned stage, int k0) {
        product_part<PART>(part, stage + (unsigned)(g * STREAM_ROW + k1 * 2 + t * 16),
                           rows.x + g * rows.stride + (unsigned)((k0 + k1) * 2 + t * 16),
                           there, k - k0 - k1);
    });
    if (there)
        *(float2 *)(sums + g * PRODUCT_SUMS + warp * 8 + t * 2) =
            make_float2(part[0][0] + part[1][0] + (part[2][0] + part[3][0]),
                        part[0][1] + part[1][1] + (part[2][1] + part[3][1]));
}

/* A group of k of 16 rows. tiles, x: this lane's in shared memory; how: scales and zero
 * points of rows g and g + 8; ones: of sequences 2t and 2t + 1. */
__device__ __forceinline__ void product_group(float sum[4], unsigned tiles, unsigned x,
                                              uint2 how, float2 ones)
{
    float part[2][4] = {};
#pragma unroll
    for (int step = 0; step < DECODER_GROUP / 64; step++) {
        uint4 w = shared_load16(tiles + step * 512);
#pragma unroll
        for (int half = 0; half < 2; half++) {
            unsigned b[4];
            load_matrices(b, x + step * 128 + half * 64);
#pragma unroll
            for (int j = 0; j < 2; j++) {
                unsigned low = (half ? w.z : w.x) >> (8 * j);
                unsigned high = (half ? w.w : w.y) >> (8 * j);
                unsigned a[4] = {low & 0x000f000f, high & 0x000f000f, low & 0x00f000f0,
                                 high & 0x00f000f0};
                mma(part[half], a, b[2 * j], b[2 * j + 1]);
            }
        }
    }
    float scale[2] = {q4_scale(how.x) * 0x1p69f, q4_scale(how.y) * 0x1p69f};
    /* As a float that is zero * 2^-133. */
    float zero[2] = {__uint_as_float((how.x & 15) << 16),
                     __uint_as_float((how.y & 15) << 16)};
#pragma unroll
    for (int e = 0; e < 4; e++)
        sum[e] = fmaf(
            scale[e / 2],
            fmaf(-zero[e / 2], e % 2 ? ones.y : ones.x, part[0][e] + part[1][e]), sum[e]);
}

/* A row tile of 16 of weights of 4 bits: sums [2][sequences][warps][8]. */
__device__ __forceinline__ void product_q4(float *sums, const stream_ring &r,
                                           stream_place &at, const product_rows &rows,
                                           int k)
{
    constexpr int PART = STREAM_Q4_K / STREAM_TEAM;
    int lane = threadIdx.x & 31, g = lane / 4, t = lane % 4, warp = threadIdx.x >> 5;
    int k1 = warp % STREAM_TEAM * PART;
    /* Rows that are not there are the last one: nobody looks at what comes of them. */
    unsigned x = rows.x + (unsigned)min(lane & 7, rows.count - 1) * rows.stride +
                 (unsigned)(lane >> 3) * 16;
    float sum[4] = {};
    product_stages<true>(r, at, k, [&](unsigned stage, int k0) {
        unsigned tiles = stage + (unsigned)(k1 / 64 * 512 + lane * 16);
        unsigned scales = stage + STREAM_Q4_TILES +
                          (unsigned)(k1 / DECODER_GROUP * 64 + g * 8);
        const float *ones = rows.ones + (k0 + k1) / DECODER_GROUP * 8 + 2 * t;
        int groups = min(PART, k - k0 - k1) / DECODER_GROUP;
#pragma unroll 2
        for (int i = 0; i < groups; i++) {
            uint2 how;
            asm volatile("ld.shared.v2.b32 {%0,%1}, [%2];"
                         : "=r"(how.x), "=r"(how.y)
                         : "r"(scales + i * 64)
                         : "memory");
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

/* Row lane / 4's sum over the warps. */
__device__ __forceinline__ float product_sum(const float *sums)
{
    int lane = threadIdx.x & 31;
    float all = 0.0f;
#pragma unroll
    for (int m = 0; m < PRODUCT_WARPS / 4; m++)
        all += sums[(m * 4 + lane % 4) * 8 + lane / 4];
    all += __shfl_xor_sync(0xffffffffu, all, 1);
    return all + __shfl_xor_sync(0xffffffffu, all, 2);
}

/* done(8 rows' number, sequence, sum, other) is called by a warp, with the sum of row
 * lane / 4 of the 8 in each lane. pairs: tiles are of gate and up (of 4 bits), whose
 * sums are in other. */
template <bool Q4, typename F>
__device__ __forceinline__ void
product_run(const stream_ring &r, stream_place &at, const decoder_product &p, bool pairs,
            const product_rows &rows, float *sums, F done)
{
    constexpr int EIGHTS = Q4 ? 2 : 1;
    int count = rows.count, warp = threadIdx.x >> 5, parts = pairs ? 2 : 1;
    int each = EIGHTS * count * PRODUCT_SUMS, whole = each * parts; /* of a tile */
    int most = DECODER_SUMS / 8 / whole; /* tiles at a time */
    stream_tiles tiles = stream_tiles_of(p);
#pragma unroll 1
    for (int i = 0; i < tiles.count; i += most) {
        int some = min(most, tiles.count - i);
#pragma unroll 1
        for (int j = 0; j < some * parts; j++)
            if constexpr (Q4)
                product_q4(sums + j * each, r, at, rows, p.k);
            else
                product_plain(sums + j * each, r, at, rows, p.k);
        consumers_sync();
#pragma unroll 1
        for (int j = warp; j < some * EIGHTS * count; j += PRODUCT_WARPS) {
            int tile = j / (EIGHTS * count), in = j % (EIGHTS * count);
            const float *from = sums + tile * whole + in * PRODUCT_SUMS;
            float sum = product_sum(from);
            float other = pairs ? product_sum(from + each) : 0.0f;
            done((tiles.first + (i + tile) * (int)gridDim.x) * EIGHTS + in / count,
                 in % count, sum, other);
        }
        /* Those of the next tiles go beside, and then there is another barrier. */
        sums += (i / most & 1) ? -(DECODER_SUMS / 8) : DECODER_SUMS / 8;
    }
}

#endif
