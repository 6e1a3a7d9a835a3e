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

/* A warp's part of a stage, of its k. */
#define PRODUCT_PART (STREAM_K / PRODUCT_WARPS)
#define PRODUCT_STEPS (PRODUCT_PART / 32)

/* What goes into STEPS times 32 of k, of four sequences and, WIDE, four more. */
template <int STEPS, bool WIDE> struct product_input {
    uint2 of[STEPS][WIDE ? 2 : 1];
};
template <int STEPS, bool WIDE>
__device__ __forceinline__ void product_load(product_input<STEPS, WIDE> &in,
                                             const unsigned x[2], int column)
{
#pragma unroll
    for (int u = 0; u < STEPS; u++)
#pragma unroll
        for (int i = 0; i < (WIDE ? 2 : 1); i++)
            in.of[u][i] = shared_load8(x[i] + (unsigned)(column * 2 + u * 64));
}

/* What comes of a tile: two sums that do not wait for each other. */
template <bool WIDE> struct product_part {
    float sum[2][WIDE ? 2 : 1][4];
};
template <bool WIDE>
__device__ __forceinline__ float product_part_sum(const product_part<WIDE> &p, int i)
{
    return p.sum[0][i][0] + p.sum[0][i][3] + (p.sum[1][i][0] + p.sum[1][i][3]);
}

/* STAGES stages that follow each other; all their weights are asked for before the
 * first product. Those of a tile add to part[0] (ACROSS), or each is of a tile of its
 * own, and all meet the same input. */
template <int STAGES, int STEPS, bool WIDE, bool ACROSS>
__device__ __forceinline__ void product_add(product_part<WIDE> *part,
                                            const unsigned weights[STAGES],
                                            const product_input<STEPS, WIDE> *in)
{
    uint4 w[STAGES][STEPS];
#pragma unroll
    for (int s = 0; s < STAGES; s++)
#pragma unroll
        for (int u = 0; u < STEPS; u++)
            w[s][u] = shared_load16(weights[s] + u * 64);
#pragma unroll
    for (int s = 0; s < STAGES; s++)
#pragma unroll
        for (int u = 0; u < STEPS; u++) {
            const unsigned a[4] = {w[s][u].x, w[s][u].y, w[s][u].z, w[s][u].w};
            const product_input<STEPS, WIDE> &b = in[ACROSS ? s : 0];
#pragma unroll
            for (int i = 0; i < (WIDE ? 2 : 1); i++)
                mma(part[ACROSS ? 0 : s].sum[u % 2][i], a, b.of[u][i].x, b.of[u][i].y);
        }
}

/* Where a warp's parts of stages and of the input are, and where its sums go. */
struct product_here {
    unsigned weights, x[2];
    float *sums; /* of this lane's row and first sequence */
    int count;   /* of sequences */
};

/* Waits for STAGES stages; then they are passed, and freed by product_free. */
template <int STAGES>
__device__ __forceinline__ void product_wait(const stream_ring &r, stream_place &at,
                                             unsigned from, unsigned weights[STAGES],
                                             unsigned ends[STAGES])
{
#pragma unroll
    for (int s = 0; s < STAGES; s++) {
        arrival_wait(stream_full(r, at.slot), at.parity);
        weights[s] = from + (unsigned)at.slot * stream_stage(false);
        ends[s] = stream_free(r, at.slot);
        stream_next(r, at);
    }
}
template <int STAGES>
__device__ __forceinline__ void product_free(const unsigned ends[STAGES])
{
    __syncwarp();
    if ((threadIdx.x & 31) == 0)
#pragma unroll
        for (int s = 0; s < STAGES; s++)
            arrival_arrive(ends[s]);
}

template <bool WIDE>
__device__ __forceinline__ void product_leave(product_here &h,
                                              const product_part<WIDE> &part)
{
#pragma unroll
    for (int i = 0; i < (WIDE ? 2 : 1); i++)
        if (4 * i + (int)(threadIdx.x & 3) < h.count)
            h.sums[4 * i * PRODUCT_SUMS] = product_part_sum<WIDE>(part, i);
    h.sums += h.count * PRODUCT_SUMS;
}

/* STAGES tiles of one stage each, that meet the same input. */
template <int STAGES, bool WIDE>
__device__ __forceinline__ void
product_short(const stream_ring &r, stream_place &at, product_here &h,
              const product_input<PRODUCT_STEPS, WIDE> &in)
{
    unsigned weights[STAGES], ends[STAGES];
    product_part<WIDE> part[STAGES] = {};
    product_wait<STAGES>(r, at, h.weights, weights, ends);
    product_add<STAGES, PRODUCT_STEPS, WIDE, false>(part, weights, &in);
    product_free<STAGES>(ends);
#pragma unroll
    for (int s = 0; s < STAGES; s++)
        product_leave<WIDE>(h, part[s]);
}

/* STAGES stages of a tile from `column` of k on, of which there are `k` yet. */
template <int STAGES, bool WIDE>
__device__ __forceinline__ void
product_long(const stream_ring &r, stream_place &at, const product_here &h,
             product_part<WIDE> &part, int column, int k)
{
    unsigned weights[STAGES], ends[STAGES];
    product_wait<STAGES>(r, at, h.weights, weights, ends);
    if (STAGES > 1 || k >= STREAM_K) {
        product_input<PRODUCT_STEPS, WIDE> in[STAGES];
#pragma unroll
        for (int s = 0; s < STAGES; s++)
            product_load(in[s], h.x, column + s * STREAM_K);
        product_add<STAGES, PRODUCT_STEPS, WIDE, true>(&part, weights, in);
    } else {
        int width = min(PRODUCT_PART, k - (int)(threadIdx.x >> 5) * PRODUCT_PART);
#pragma unroll 1
        for (int i = 0; i < width; i += 32) {
            const unsigned from[1] = {weights[0] + (unsigned)i * 2};
            product_input<1, WIDE> in;
            product_load(in, h.x, column + i);
            product_add<1, 1, WIDE, true>(&part, from, &in);
        }
    }
    product_free<STAGES>(ends);
}

/* Tiles of 8 rows, so many of them: what this warp has of them goes to sums
 * [tiles][sequences][8][warps]. Stages are taken two at once. */
template <bool WIDE>
__device__ __forceinline__ void
product_tiles(float *sums, const stream_ring &r, stream_place &at,
              const product_rows &rows, int k, int tiles)
{
    int lane = threadIdx.x & 31, g = lane / 4, t = lane % 4, warp = threadIdx.x >> 5;
    int k1 = warp * PRODUCT_PART;
    unsigned in = rows.x + (unsigned)(k1 * 2 + t * 16 + (g & 1) * 8);
    /* Sequences that are not there are the last one: nobody looks at what comes of it.
     */
    product_here h = {r.base + (unsigned)(g * STREAM_ROW + k1 * 2 + t * 16),
                      {in + (unsigned)min(g / 2, rows.count - 1) * rows.stride,
                       in + (unsigned)min(4 + g / 2, rows.count - 1) * rows.stride},
                      sums + t * PRODUCT_SUMS + g * PRODUCT_WARPS + warp,
                      rows.count};
    if (k == STREAM_K) {
        product_input<PRODUCT_STEPS, WIDE> all;
        product_load(all, h.x, 0);
#pragma unroll 1
        for (; tiles > 1; tiles -= 2)
            product_short<2, WIDE>(r, at, h, all);
        if (tiles > 0)
            product_short<1, WIDE>(r, at, h, all);
        return;
    }
#pragma unroll 1
    for (; tiles > 0; tiles--) {
        product_part<WIDE> part = {};
        int column = 0;
#pragma unroll 1
        for (; column + 2 * STREAM_K <= k; column += 2 * STREAM_K)
            product_long<2, WIDE>(r, at, h, part, column, k - column);
#pragma unroll 1
        for (; column < k; column += STREAM_K)
            product_long<1, WIDE>(r, at, h, part, column, k - column);
        product_leave<WIDE>(h, part);
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
