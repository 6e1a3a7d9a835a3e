/* SPDX-License-Identifier: Apache-2.0
 *
 * The ring of stages in shared memory through which a block's weights come. One warp
 * has the copy engine bring them, of all products of all layers in their order, as
 * fast as stages get free: it waits for nothing else, so the memory is busy while the
 * blocks wait for each other.
 */
#ifndef KERNELS_CUDA_DECODER_STREAM_CUH
#define KERNELS_CUDA_DECODER_STREAM_CUH
#include "decoder.h"
#include "hopper.cuh"

/* A stage: 8 rows of weights by STREAM_K of k, each row a little longer so that rows
 * meet in no bank; of 4 bits, 16 rows by STREAM_Q4_K, and the scales behind. */
#define STREAM_K 1024
#define STREAM_ROW (STREAM_K * 2 + 64)
#define STREAM_Q4_K 2048
#define STREAM_Q4_TILES (STREAM_Q4_K / 64 * 512)
#define STREAM_Q4_SCALES (STREAM_Q4_K / DECODER_GROUP * 64)

__host__ __device__ __forceinline__ constexpr unsigned stream_stage(bool q4)
{
    return q4 ? STREAM_Q4_TILES + STREAM_Q4_SCALES : 8 * STREAM_ROW;
}

#define STREAM_TEAM (DECODER_CONSUMERS / 32 / DECODER_TEAMS) /* warps of a team */

struct stream_ring {
    unsigned base, barriers; /* of each stage: full; then, of each: free */
    int stages;              /* a multiple of the teams: each has its own ones */
};

/* Where one is in it. */
struct stream_place {
    int slot;
    unsigned parity, number;
};

__device__ __forceinline__ void stream_next(const stream_ring &r, stream_place &at)
{
    at.number++;
    if (++at.slot == r.stages) {
        at.slot = 0;
        at.parity ^= 1;
    }
}
__device__ __forceinline__ unsigned stream_full(const stream_ring &r, int slot)
{
    return r.barriers + (unsigned)slot * 8;
}
__device__ __forceinline__ unsigned stream_free(const stream_ring &r, int slot)
{
    return r.barriers + (unsigned)(r.stages + slot) * 8;
}

/* By one thread, before all others use it. */
__device__ __forceinline__ void stream_init(const stream_ring &r)
{
    for (int i = 0; i < r.stages; i++) {
        arrival_init(stream_full(r, i));
        arrival_init_many(stream_free(r, i), STREAM_TEAM);
    }
    shared_publish();
}

/* The block's tiles of a product: first, first + blocks, …: count of them. */
struct stream_tiles {
    int first, count;
};
__device__ __forceinline__ stream_tiles stream_tiles_of(const decoder_product &p)
{
    int blocks = (int)gridDim.x;
    int first = ((int)blockIdx.x - p.first + blocks) % blocks;
    return {first, first < p.tiles ? (p.tiles - 1 - first) / blocks + 1 : 0};
}

/* For a place to bring a stage to. No more than DECODER_FLYING of them are on their
 * way: what is behind them in the memory's queues, as other blocks' words are, would
 * wait. */
__device__ __forceinline__ void stream_wait(const stream_ring &r,
                                            const stream_place &at, stream_place &past)
{
    arrival_wait(stream_free(r, at.slot), at.parity ^ 1);
    if (at.number - past.number < DECODER_FLYING)
        return;
    arrival_wait(stream_full(r, past.slot), past.parity);
    stream_next(r, past);
}

/* A tile's number among the rows' tiles, and its part of k. */
struct stream_span {
    int tile, begin, end;
    bool rest; /* the other part's tile adds it */
};
__device__ __forceinline__ stream_span stream_span_of(const decoder_product &p,
                                                      int tile)
{
    if (p.cut == 0)
        return {tile, 0, p.k, false};
    int half = p.tiles / 2;
    return tile < half ? stream_span{tile, p.cut, p.k, true}
                       : stream_span{tile - half, 0, p.cut, false};
}

/* --- rows of bf16 --- */

/* Row r of a tile of 8. Of gate|up half of them are the gate's. */
__device__ __forceinline__ int64_t stream_row(const decoder_arrays &a, int product,
                                              int tile, int r)
{
    if (product != DECODER_GATE_UP)
        return (int64_t)tile * 8 + r;
    return (int64_t)tile * 4 + r % 4 + (r < 4 ? 0 : a.inner);
}

/* A lane brings a row. */
__device__ __forceinline__ void stream_rows(const decoder_arrays &a,
                                            const stream_ring &r, stream_place &at,
                                            stream_place &past, const void *weights,
                                            int product, int tile)
{
    int lane = threadIdx.x & 31, k = a.products[product].k;
    const bf16 *row =
        (const bf16 *)weights + stream_row(a, product, tile, lane & 7) * k;
    for (int k0 = 0; k0 < k; k0 += STREAM_K) {
        unsigned bytes = (unsigned)min(STREAM_K, k - k0) * 2;
        unsigned full = stream_full(r, at.slot);
        stream_wait(r, at, past);
        if (lane == 0)
            arrival_expect(full, 8 * bytes);
        __syncwarp();
        if (lane < 8)
            fetch_bytes(r.base + (unsigned)at.slot * stream_stage(false) +
                            (unsigned)lane * STREAM_ROW,
                        row + k0, bytes, full);
        stream_next(r, at);
    }
}

/* --- weights of 4 bits --- */

/* The map's box from there on; what is beyond its end is zeros. */
__device__ __forceinline__ void fetch_box(unsigned to, const CUtensorMap *map, int row,
                                          int along, unsigned barrier)
{
    asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::"
                 "complete_tx::bytes"
                 " [%0], [%1, {%3, %4, %5, %6}], [%2];" ::"r"(to),
                 "l"(map), "r"(barrier), "r"(0), "r"(row % 4), "r"(along), "r"(row / 4)
                 : "memory");
}

/* A row tile of 16. */
__device__ __forceinline__ void stream_q4(const stream_ring &r, stream_place &at,
                                          stream_place &past, const CUtensorMap *maps,
                                          const stream_span &span)
{
    for (int k0 = span.begin; k0 < span.end; k0 += STREAM_Q4_K) {
        unsigned full = stream_full(r, at.slot);
        unsigned to = r.base + (unsigned)at.slot * stream_stage(true);
        stream_wait(r, at, past);
        if ((threadIdx.x & 31) == 0) {
            arrival_expect(full, stream_stage(true));
            fetch_box(to, maps, span.tile, k0 / 64, full);
            fetch_box(to + STREAM_Q4_TILES, maps + 1, span.tile, k0 / DECODER_GROUP,
                      full);
        }
        stream_next(r, at);
    }
}

__device__ __forceinline__ void bring_near(const void *line)
{
    asm volatile("prefetch.global.L2 [%0];" ::"l"(line));
}
/* Asks for a layer's norms, all blocks together, into the second level's cache. */
__device__ __forceinline__ void stream_norms(const decoder_arrays &a,
                                             const decoder_layer &layer)
{
    int line = (int)blockIdx.x * 32 + (int)(threadIdx.x & 31), bytes = a.hidden * 2;
    if (line * 128 < bytes) {
        bring_near((const char *)layer.norm1 + line * 128);
        bring_near((const char *)layer.norm2 + line * 128);
    }
    if (line == (int)gridDim.x * 32 - 1 && layer.q_norm) { /* of 256 bytes at most */
        bring_near(layer.q_norm);
        bring_near((const char *)layer.q_norm + 128);
        bring_near(layer.k_norm);
        bring_near((const char *)layer.k_norm + 128);
    }
}

template <bool Q4>
__device__ __forceinline__ void
stream_run(const decoder_arrays &a, const decoder_layer *layers, const stream_ring &r)
{
    stream_place at = {0, 0, 0}, past = at;
#pragma unroll 1
    for (int i = 0; i < a.layer_count * DECODER_PRODUCTS; i++) {
        int p = i % DECODER_PRODUCTS;
        if (p == 0)
            stream_norms(a, layers[i / DECODER_PRODUCTS]);
        const void *weights = layers[i / DECODER_PRODUCTS].weights[p];
        stream_tiles tiles = stream_tiles_of(a.products[p]);
        int parts = Q4 && p == DECODER_GATE_UP ? 2 : 1;
#pragma unroll 1
        for (int j = 0; j < tiles.count * parts; j++) {
            int tile = tiles.first + j / parts * (int)gridDim.x;
            if (Q4) {
                stream_span span = stream_span_of(a.products[p], tile);
                span.tile += j % parts * (a.inner / 16); /* up's */
                stream_q4(r, at, past, (const CUtensorMap *)weights, span);
            } else {
                stream_rows(a, r, at, past, weights, p, tile);
            }
        }
    }
}

#endif
