/* SPDX-License-Identifier: Apache-2.0
 *
 * Items of the decoder's attention: one key head of a chunk of one sequence's context
 * each. Chunks depend on the contexts alone, so all blocks find the same ones, once for
 * all layers; a block knows its first item, and where its tokens are in the cache.
 */
#ifndef KERNELS_CUDA_DECODER_ITEMS_CUH
#define KERNELS_CUDA_DECODER_ITEMS_CUH
#include "decoder.h"
#include "device.cuh"

#define ATTENTION_WARPS (DECODER_CONSUMERS / 32)
#define ATTENTION_BLOCKS 128 /* of the cache, whose numbers are kept */
#define ATTENTION_SIZE 128   /* of a head, at most */

/* The chunks of all sequences, the same for all layers and blocks. */
struct attention_item {
    int sequence, kv, part, parts;
    int begin, end; /* blocks of the cache */
};
struct attention_plan {
    int turn;                         /* number of the block's first item */
    attention_item mine;              /* that, if there are so many */
    int32_t blocks[ATTENTION_BLOCKS]; /* numbers of its first blocks of the cache */
    int context[DECODER_SEQUENCES], position[DECODER_SEQUENCES],
        slot[DECODER_SEQUENCES];
    int first[DECODER_SEQUENCES + 1]; /* items before a sequence's */
    /* Of the first item's sequence; a layer's norms of heads, and their barriers. */
    alignas(16) float cosine[ATTENTION_SIZE / 2], sine[ATTENTION_SIZE / 2];
    alignas(16) bf16 q_norm[ATTENTION_SIZE], k_norm[ATTENTION_SIZE];
    uint64_t norms_full[2];
};

__device__ __forceinline__ attention_item attention_find(const attention_plan &p,
                                                         const decoder_arrays &a,
                                                         int item)
{
    attention_item i;
    i.sequence = 0;
    while (item >= p.first[i.sequence + 1])
        i.sequence++;
    int in = item - p.first[i.sequence];
    i.parts = (p.first[i.sequence + 1] - p.first[i.sequence]) / a.kv_heads;
    i.part = in / a.kv_heads;
    i.kv = in % a.kv_heads;
    int blocks = (p.context[i.sequence] + KERNEL_BLOCK - 1) / KERNEL_BLOCK;
    i.begin = blocks * i.part / i.parts;
    i.end = blocks * (i.part + 1) / i.parts;
    return i;
}

/* Keeps what the block's first item looks at in each layer: the first numbers, and the
 * sequence's angles; a warp. */
template <int SIZE>
__device__ __forceinline__ void attention_keep(attention_plan &p,
                                               const decoder_arrays &a)
{
    const attention_item &i = p.mine;
    const int32_t *blocks = a.s.blocks + (int64_t)i.sequence * a.s.stride + i.begin;
    int count = min(i.end - i.begin, ATTENTION_BLOCKS);
    for (int n = (int)(threadIdx.x & 31); n < count; n += 32)
        p.blocks[n] = blocks[n];
    int64_t from = (int64_t)p.position[i.sequence] * (SIZE / 2);
    for (int n = (int)(threadIdx.x & 31); n < SIZE / 2; n += 32) {
        p.cosine[n] = a.cosine[from + n];
        p.sine[n] = a.sine[from + n];
    }
}

/* The number of the block's first item, if there are so many: blocks with the fewest
 * tiles of o have the first ones. */
__device__ __forceinline__ int attention_turn_of(const decoder_arrays &a)
{
    int blocks = (int)gridDim.x;
    return (a.products[DECODER_O].first - 1 - (int)blockIdx.x + 2 * blocks) % blocks;
}

__device__ __forceinline__ void attention_plan_make(attention_plan &p,
                                                    const decoder_arrays &a)
{
    int total = 0;
    for (int s = 0; s < a.s.count; s++) {
        p.context[s] = a.s.context[s];
        p.position[s] = a.s.positions[s];
        p.slot[s] = a.s.slots[s];
        total += p.context[s];
    }
    int chunks = max(1, (int)gridDim.x / a.kv_heads - (a.s.count - 1));
    int length = max(a.group > 2 ? 2 * DECODER_CHUNK : DECODER_CHUNK,
                     (total + chunks - 1) / chunks);
    p.first[0] = 0;
    for (int s = 0; s < a.s.count; s++) {
        int parts = (p.context[s] + length - 1) / length;
        if (p.context[s] <= 2 * DECODER_CHUNK)
            parts = 1;
        p.first[s + 1] = p.first[s] + parts * a.kv_heads;
    }
    p.turn = attention_turn_of(a);
    if (p.turn < p.first[a.s.count])
        p.mine = attention_find(p, a, p.turn);
}

#endif
