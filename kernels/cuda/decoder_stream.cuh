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
 * meet in no bank; of 4 bits, 64 rows by some groups, and the scales behind. */
#define STREAM_K 1024
#define STREAM_ROW (STREAM_K * 2 + 64)
#define STREAM_Q4_GROUP 4096  /* bytes of a group of 64 rows */
#define STREAM_Q4_SCALES 256u /* and of its scales */

__host__ __device__ __forceinline__ constexpr unsigned stream_stage(bool q4)
{
    return q4 ? DECODER_GROUPS * (STREAM_Q4_GROUP + STREAM_Q4_SCALES) : 8 * STREAM_ROW;
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

/* By one thread, before all others use it. warps: that take a stage. */
__device__ __forceinline__ void stream_init(const stream_ring &r, int warps)
{
    for (int i = 0; i < r.stages; i++) {
        arrival_init(stream_full(r, i));
        arrival_init_many(stream_free(r, i), warps);
    }
    shared_publish();
}

/* The block's tiles of a product: first, first + step, …: count of them. */
struct stream_tiles {
    int first, step, count;
};
__device__ __forceinline__ stream_tiles stream_tiles_of(const decoder_product &p)
{
    int blocks = (int)gridDim.x, place = ((int)blockIdx.x - p.first + blocks) % blocks;
    int each = p.tiles / blocks, more = p.tiles % blocks;
    int first = p.step == 1 ? place * each + min(place, more) : place;
    return {first, p.step, each + (place < more)};
}

/* Of 4 bits: a part of a tile's groups of k, the block's; and which of them, of all
 * tiles' ones, tile by tile, the block has: some from group `in` of the part on. */
struct stream_cut {
    int number, first, width;
    int tile, in;
};
__device__ __forceinline__ stream_tiles stream_groups_of(const decoder_product &p,
                                                         stream_cut &cut)
{
    int block = (int)blockIdx.x, width = p.width / p.cuts, all = p.tiles * width;
    cut = {};
    if (block >= p.sharers * p.cuts)
        return {0, 1, 0};
    int number = block / p.sharers;
    block %= p.sharers;
    int begin = all * block / p.sharers;
    cut = {number, number * width, width, begin / width, begin % width};
    return {begin, 1, all * (block + 1) / p.sharers - begin};
}

/* No more than DECODER_FLYING of them are on their way: what is behind them in the
 * memory's queues, as other blocks' words are, would wait. */
__device__ __forceinline__ void stream_hold(const stream_ring &r,
                                            const stream_place &at, stream_place &past)
{
    if (at.number - past.number < min(DECODER_FLYING, (unsigned)r.stages))
        return;
    arrival_wait(stream_full(r, past.slot), past.parity);
    stream_next(r, past);
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
#pragma unroll 1
    for (int k0 = 0; k0 < k; k0 += STREAM_K) {
        unsigned bytes = (unsigned)min(STREAM_K, k - k0) * 2;
        unsigned full = stream_full(r, at.slot);
        arrival_wait(stream_free(r, at.slot), at.parity ^ 1);
        stream_hold(r, at, past);
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

/* A stage of a product of a layer, among all of the block's. */
struct stream_q4 {
    int number;      /* of the product, those of all layers counted */
    int in, left;    /* its first group, in the block's part of a tile; all to come */
    int width, jump; /* of a part; from its end to the next one */
    int64_t up;      /* groups from gate's to up's; or 0 */
    const char *tiles, *scales;
};

/* What the block has of a model of 4 bits. */
struct stream_source {
    const decoder_arrays *a;
    const decoder_layer *layers;
    const stream_tiles *tiles;
    const stream_cut *cuts;
};

/* The first one of product `number`, or of the next one that the block has some of. */
__device__ __forceinline__ void stream_q4_find(const stream_source &s, stream_q4 &b)
{
    for (; b.number < s.a->layer_count * DECODER_PRODUCTS; b.number++) {
        int i = b.number % DECODER_PRODUCTS;
        const decoder_product &p = s.a->products[i];
        const stream_cut &cut = s.cuts[i];
        b.left = s.tiles[i].count;
        if (b.left == 0)
            continue;
        int64_t all = (int64_t)p.tiles * p.width;
        int64_t group = (int64_t)cut.tile * p.width + cut.first + cut.in;
        b.in = cut.in;
        b.width = cut.width;
        b.jump = p.width - cut.width;
        b.up = i == DECODER_GATE_UP ? all : 0;
        b.tiles = (const char *)s.layers[b.number / DECODER_PRODUCTS].weights[i];
        b.scales = b.tiles + (all + b.up) * STREAM_Q4_GROUP + group * STREAM_Q4_SCALES;
        b.tiles += group * STREAM_Q4_GROUP;
        return;
    }
}
/* Groups of it. */
__device__ __forceinline__ int stream_q4_count(const stream_q4 &b)
{
    return min(DECODER_GROUPS, min(b.width - b.in, b.left));
}
__device__ __forceinline__ void stream_q4_next(const stream_source &s, stream_q4 &b,
                                               int count)
{
    b.in += count;
    b.left -= count;
    if (b.in == b.width) {
        b.in = 0;
        count += b.jump;
    }
    b.tiles += count * STREAM_Q4_GROUP;
    b.scales += count * (int)STREAM_Q4_SCALES;
    if (b.left > 0)
        return;
    b.number++;
    stream_q4_find(s, b);
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
}

/* Of gate and up, a stage of each by turns. before(number, at, past) is called before
 * the first weights of a product that the block has some of, and at the end. */
template <typename F>
__device__ __forceinline__ void stream_run_q4(const stream_source &s,
                                              const stream_ring &r, F before)
{
    stream_place at = {0, 0, 0}, past = at;
    stream_q4 here = {};
    stream_q4_find(s, here);
    int number = -1;
#pragma unroll 1
    while (here.number < s.a->layer_count * DECODER_PRODUCTS) {
        if (here.number != number) {
            number = here.number;
            before(number, at, past);
        }
        int count = stream_q4_count(here), bytes = count * STREAM_Q4_GROUP;
        int scales = count * (int)STREAM_Q4_SCALES;
#pragma unroll 1
        for (int64_t part = 0; part <= here.up; part += here.up > 0 ? here.up : 1) {
            arrival_wait(stream_free(r, at.slot), at.parity ^ 1);
            stream_hold(r, at, past);
            if ((threadIdx.x & 31) == 0) {
                unsigned full = stream_full(r, at.slot);
                unsigned to = r.base + (unsigned)at.slot * stream_stage(true);
                arrival_expect(full, (unsigned)(bytes + scales));
                fetch_bytes(to, here.tiles + part * STREAM_Q4_GROUP, (unsigned)bytes,
                            full);
                fetch_bytes(to + DECODER_GROUPS * STREAM_Q4_GROUP,
                            here.scales + part * STREAM_Q4_SCALES, (unsigned)scales,
                            full);
            }
            stream_next(r, at);
        }
        __syncwarp();
        stream_q4_next(s, here, count);
    }
    before(here.number, at, past);
}

template <typename F>
__device__ __forceinline__ void stream_run(const decoder_arrays &a,
                                           const decoder_layer *layers,
                                           const stream_ring &r, F before)
{
    stream_place at = {0, 0, 0}, past = at;
#pragma unroll 1
    for (int i = 0; i < a.layer_count * DECODER_PRODUCTS; i++) {
        int p = i % DECODER_PRODUCTS;
        before(i, at, past);
        const void *weights = layers[i / DECODER_PRODUCTS].weights[p];
        stream_tiles tiles = stream_tiles_of(a.products[p]);
#pragma unroll 1
        for (int j = 0; j < tiles.count; j++)
            stream_rows(a, r, at, past, weights, p, tiles.first + j * tiles.step);
    }
}

#endif
