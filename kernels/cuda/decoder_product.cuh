/* SPDX-License-Identifier: Apache-2.0
 *
 * Products of the block's tiles of weights, which come through the ring, with rows in
 * shared memory. Each warp has a part of k of each stage; what they have of a tile is
 * added up some tiles at a time.
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
/* floats of 8 rows of weights and a sequence: [8][warps] */
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
#define PRODUCT_PART (STREAM_K / PRODUCT_WARPS)
template <bool WIDE>
__device__ __forceinline__ void product_part(float (*sum)[2][4], unsigned weights,
                                             const unsigned x[2], int width)
{
    if (width >= PRODUCT_PART) {
        product_steps<PRODUCT_PART / 32, WIDE>(sum, weights, x);
        return;
    }
#pragma unroll 1
    for (int u = 0; u < width / 32; u++) {
        const unsigned here[2] = {x[0] + u * 64, x[1] + u * 64};
        product_steps<1, WIDE>(sum, weights + u * 64, here);
    }
}

/* Tiles of 8 rows, so many of them: what this warp has of them goes to sums
 * [tiles][sequences][8][warps]. */
template <bool WIDE>
__device__ __forceinline__ void
product_tiles(float *sums, const stream_ring &r, stream_place &at,
              const product_rows &rows, int k, int tiles)
{
    int lane = threadIdx.x & 31, g = lane / 4, t = lane % 4, warp = threadIdx.x >> 5;
    int k1 = warp * PRODUCT_PART;
    unsigned mine = r.base + (unsigned)(g * STREAM_ROW + k1 * 2 + t * 16);
    unsigned in = rows.x + (unsigned)(k1 * 2 + t * 16 + (g & 1) * 8);
    /* Sequences that are not there are the last one: nobody looks at what comes of it.
     */
    unsigned x[2] = {in + (unsigned)min(g / 2, rows.count - 1) * rows.stride,
                     in + (unsigned)min(4 + g / 2, rows.count - 1) * rows.stride};
    sums += t * PRODUCT_SUMS + g * PRODUCT_WARPS + warp;
#pragma unroll 1
    for (int j = 0; j < tiles; j++) {
        float part[4][2][4] = {};
#pragma unroll 1
        for (int k0 = 0; k0 < k; k0 += STREAM_K) {
            const unsigned here[2] = {x[0] + (unsigned)k0 * 2, x[1] + (unsigned)k0 * 2};
            arrival_wait(stream_full(r, at.slot), at.parity);
            product_part<WIDE>(part, mine + (unsigned)at.slot * stream_stage(false),
                               here, k - k0 - k1);
            __syncwarp();
            if (lane == 0)
                arrival_arrive(stream_free(r, at.slot));
            stream_next(r, at);
        }
#pragma unroll
        for (int i = 0; i < (WIDE ? 2 : 1); i++)
            if (4 * i + t < rows.count)
                sums[4 * i * PRODUCT_SUMS] =
                    part[0][i][0] + part[0][i][3] + (part[1][i][0] + part[1][i][3]) +
                    (part[2][i][0] + part[2][i][3] + (part[3][i][0] + part[3][i][3]));
        sums += rows.count * PRODUCT_SUMS;
    }
}

/* A row's sum over the warps. */
__device__ __forceinline__ float product_sum(const float *row)
{
    static_assert(PRODUCT_WARPS == 8, "two of four floats");
    float4 a = *(const float4 *)row, b = *(const float4 *)(row + 4);
    return a.x + a.y + (a.z + a.w) + (b.x + b.y + (b.z + b.w));
}

/* A warp's place among sums: tile and sequence. */
struct product_place {
    int tile, sequence;
};
template <bool ONE>
__device__ __forceinline__ product_place product_place_of(const stream_tiles &tiles,
                                                          int j, int count)
{
    return {tiles.first + (ONE ? j : j / count) * tiles.step, ONE ? 0 : j % count};
}

/* Each warp calls done(where(place), rows) for tiles and sequences by turns; rows are 8
 * times the sums of all warps, [8][warps]. */
template <bool ONE, typename W, typename F>
__device__ __forceinline__ void
product_run(const stream_ring &r, stream_place &at, stream_tiles tiles, int k,
            const product_rows &rows, float *sums, W where, F done)
{
    int count = ONE ? 1 : rows.count, warp = threadIdx.x >> 5;
    int most = DECODER_SUMS / 8 / PRODUCT_SUMS / count; /* tiles at a time */
    bool odd = false;
#pragma unroll 1
    while (tiles.count > 0) {
        int some = min(most, tiles.count);
        if (ONE || count <= 4)
            product_tiles<false>(sums, r, at, rows, k, some);
        else
            product_tiles<true>(sums, r, at, rows, k, some);
        /* What can be known before the sums are there is. */
        product_place place = product_place_of<ONE>(tiles, warp, count);
        auto there = where(place);
        consumers_sync();
#pragma unroll 1
        for (int j = warp; j < some * count; j += PRODUCT_WARPS) {
            if (j != warp) {
                place = product_place_of<ONE>(tiles, j, count);
                there = where(place);
            }
            done(there, sums + j * PRODUCT_SUMS);
        }
        /* Those of the next tiles go beside, and then there is another barrier. */
        sums += odd ? -(DECODER_SUMS / 8) : DECODER_SUMS / 8;
        odd = !odd;
        tiles.first += some * tiles.step;
        tiles.count -= some;
    }
}

#endif
