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

#define STREAM_TEAMS 4 /* of warps, that take stages by turns */
#define STREAM_TEAM (DECODER_CONSUMERS / 32 / STREAM_TEAMS) /* warps of a team */

struct stream_ring {
    unsigned base, barriers; /* of each stage: full; then, of each: free */
    int stages;
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

/* Row r of a tile of 8. Of gate|up half of them are the gate's. */
__device__ __forceinline__ int64_t stream_row(const decoder_arrays &a, int product,
                                              int tile, int r)
{
    if (product != DECODER_GATE_UP)
        return (int64_t)tile * 8 + r;
    return (int64_t)tile * 4 + r % 4 + (r < 4 ? 0 : a.inner);
}

/* A lane brings a row. */
__device__ __forceinline__ void stream_tile(const stream_ring &r, stream_place &at,
                                            const bf16 *row, int k)
{
    int lane = threadIdx.x & 31;
    for (int k0 = 0; k0 < k; k0 += DECODER_STAGE_K) {
        unsigned bytes = (unsigned)min(DECODER_STAGE_K, k - k0) * 2;
        unsigned full = stream_full(r, at.slot);
        arrival_wait(stream_free(r, at.slot), at.parity ^ 1);
        if (lane == 0)
            arrival_expect(full, 8 * bytes);
        __syncwarp();
        if (lane < 8)
            fetch_bytes(r.base + (unsigned)at.slot * DECODER_STAGE +
                            (unsigned)lane * DECODER_ROW,
                        row + k0, bytes, full);
        stream_next(r, at);
    }
}

__device__ __forceinline__ void stream_run(const decoder_arrays &a,
                                           const decoder_layer *layers,
                                           const stream_ring &r)
{
    int lane = threadIdx.x & 31;
    stream_place at = {0, 0, 0};
    for (int l = 0; l < a.layer_count; l++)
        for (int p = 0; p < DECODER_PRODUCTS; p++) {
            const decoder_product &product = a.products[p];
            const bf16 *weights = (const bf16 *)layers[l].weights[p];
            stream_tiles tiles = stream_tiles_of(product);
            for (int i = 0; i < tiles.count; i++) {
                int tile = tiles.first + i * (int)gridDim.x;
                stream_tile(r, at,
                            weights + stream_row(a, p, tile, lane & 7) * product.k,
                            product.k);
            }
        }
}

#endif
