/* SPDX-License-Identifier: Apache-2.0
 *
 * Products of the block's tiles of weights, which come through the ring, with rows in
 * shared memory. Teams of warps take stages by turns, the warps of a team a part of k
 * each; what they have of a tile is added up some tiles at a time.
 *
 * Weights are the second operand of mma.sync. Which elements of k meet in a product is
 * free as long as both operands agree: a lane takes 8 of them in a row, see skinny.cu.
 */
#ifndef KERNELS_CUDA_DECODER_PRODUCT_CUH
#define KERNELS_CUDA_DECODER_PRODUCT_CUH
#include "decoder_stream.cuh"

#define PRODUCT_WARPS (DECODER_CONSUMERS / 32)
#define PRODUCT_PART (DECODER_STAGE_K / STREAM_TEAM) /* of k, of a warp */
#define PRODUCT_SUMS 128 /* floats of a tile and a sequence: [warps][8] */

/* All threads but those of the stream. */
__device__ __forceinline__ void consumers_sync()
{
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

/* A warp's part of a stage. */
__device__ __forceinline__ void product_part(float (*sum)[4], unsigned weights,
                                             unsigned x, bool there, int width)
{
    constexpr int STEPS = PRODUCT_PART / 32;
    if (width >= PRODUCT_PART) {
#pragma unroll
        for (int u = 0; u < STEPS; u++)
            product_step(sum + u % 2 * 2, weights + u * 64, x + u * 64, there);
        return;
    }
    for (int u = 0; u < width / 32; u++)
        product_step(sum, weights + u * 64, x + u * 64, there);
}

/* A tile's sums as this warp has them, in the order of the rows: lanes of row g of x
 * have two of them. */
__device__ __forceinline__ void product_tile(float2 &sum, const stream_ring &r,
                                             stream_place &at, unsigned x, int k,
                                             bool there)
{
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    int team = warp / STREAM_TEAM, k1 = warp % STREAM_TEAM * PRODUCT_PART;
    unsigned mine = (unsigned)(lane / 4 * DECODER_ROW + k1 * 2 + lane % 4 * 16);
    float part[4][4] = {};
    for (int k0 = 0; k0 < k; k0 += DECODER_STAGE_K) {
        if (at.number % STREAM_TEAMS == (unsigned)team) {
            arrival_wait(stream_full(r, at.slot), at.parity);
            product_part(part, r.base + (unsigned)at.slot * DECODER_STAGE + mine,
                         x + (unsigned)(k0 + k1) * 2 + (unsigned)lane % 4 * 16, there,
                         k - k0 - k1);
            __syncwarp();
            if (lane == 0)
                arrival_arrive(stream_free(r, at.slot));
        }
        stream_next(r, at);
    }
    sum.x = part[0][0] + part[1][0] + (part[2][0] + part[3][0]);
    sum.y = part[0][1] + part[1][1] + (part[2][1] + part[3][1]);
}

/* Of a tile and a sequence: row lane / 4's sum over the warps. */
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

/* x: rows in shared memory, `stride` bytes apart. done(tile, sequence, sum) is called
 * by a warp, with the sum of row lane / 4 of the tile in each lane. */
template <typename F>
__device__ __forceinline__ void
product_run(const stream_ring &r, stream_place &at, const decoder_product &p,
            int sequences, unsigned x, unsigned stride, float *sums, F done)
{
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane / 4;
    int most = DECODER_SUMS / 2 / 4 / PRODUCT_SUMS / sequences; /* tiles at a time */
    stream_tiles tiles = stream_tiles_of(p);
    for (int i = 0; i < tiles.count; i += most) {
        int count = min(most, tiles.count - i);
        for (int j = 0; j < count; j++) {
            float2 sum;
            product_tile(sum, r, at, x + (unsigned)g * stride, p.k, g < sequences);
            if (g < sequences)
                *(float2 *)(sums + (j * sequences + g) * PRODUCT_SUMS + warp * 8 +
                            lane % 4 * 2) = sum;
        }
        consumers_sync();
        for (int j = warp; j < count * sequences; j += PRODUCT_WARPS)
            done(tiles.first + (i + j / sequences) * (int)gridDim.x, j % sequences,
                 product_sum(sums + j * PRODUCT_SUMS));
        /* Those of the next tiles go beside, and then there is another barrier. */
        sums += (i / most & 1) ? -(DECODER_SUMS / 8) : DECODER_SUMS / 8;
    }
}

#endif
