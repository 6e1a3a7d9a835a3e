/* SPDX-License-Identifier: Apache-2.0
 *
 * The decoder's attention within a warp: blocks of the cache in registers, scores and
 * sums. And what a block's shared memory holds of an item.
 *
 * Scores: queries (of up to 8 heads) are the first operand of mma.sync, keys the
 * second, a lane having 8 elements in a row of both. Values are the first operand of
 * the second product, dims its rows, and the scores as they are the second one.
 */
#ifndef KERNELS_CUDA_DECODER_CACHE_CUH
#define KERNELS_CUDA_DECODER_CACHE_CUH
#include "decoder_items.cuh"
#include "decoder_product.cuh"

/* What each warp has, and the step's own token. */
#define ATTENTION_ENTRIES (ATTENTION_WARPS + 1)

/* What it takes of shared memory. */
template <int SIZE> struct attention_space {
    static constexpr int ROW = SIZE * 2 + 64; /* of a query; rows meet in no bank */
    static constexpr int KEY = DECODER_HEADS * ROW, VALUE = KEY + SIZE * 2;
    static constexpr int ENDS = VALUE + SIZE * 2; /* float2 [entries][heads] */
    static constexpr int SUMS = ENDS + ATTENTION_ENTRIES * DECODER_HEADS * 8;
};
/* --- a block of the cache in a warp's registers --- */

template <int SIZE> struct attention_keys {
    uint4 of[2][SIZE / 32]; /* tokens g and g + 8: elements 32 j + 8 t on */
};
template <int SIZE> struct attention_values {
    uint4 of[4][SIZE / 64]; /* tokens of attention_token: elements 64 j + 8 g on */
};
__device__ __forceinline__ int attention_token(int i)
{
    return (int)(threadIdx.x & 3) * 2 + (i & 1) + (i >> 1) * 8;
}

/* All tokens of a block, also those that are not there yet. */
template <int SIZE>
__device__ __forceinline__ void attention_load(attention_keys<SIZE> &k,
                                               const bf16 *from)
{
    from += (threadIdx.x & 31) / 4 * SIZE + (threadIdx.x & 3) * 8;
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
        for (int j = 0; j < SIZE / 32; j++)
            k.of[i][j] = *(const uint4 *)(from + i * 8 * SIZE + j * 32);
}
template <int SIZE>
__device__ __forceinline__ void attention_load(attention_values<SIZE> &v,
                                               const bf16 *from)
{
    from += attention_token(0) * SIZE + (threadIdx.x & 31) / 4 * 8;
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < SIZE / 64; j++)
            v.of[i][j] =
                *(const uint4 *)(from + ((i & 1) + (i >> 1) * 8) * SIZE + j * 64);
}

/* Zeros are those from the block's token `left` on: what is there may be no number. */
template <int SIZE>
__device__ __forceinline__ void attention_clear(attention_values<SIZE> &v, int left)
{
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < SIZE / 64; j++)
            if (attention_token(i) >= left)
                v.of[i][j] = make_uint4(0, 0, 0, 0);
}

/* --- a warp's sums --- */

template <int SIZE> struct attention_sums {
    float o[SIZE / 16][4]; /* [i]: dims of attention_store, of heads 2t, 2t + 1 */
    float most, sum;       /* of head g: largest score, sum */
};

/* Scores of head g with tokens 8 i + 2t and 2t + 1. */
template <int SIZE>
__device__ __forceinline__ void attention_scores(float (*scores)[2],
                                                 const attention_keys<SIZE> &k,
                                                 unsigned scratch, bool there)
{
    int lane = threadIdx.x & 31;
    float s[2][2][4] = {};
#pragma unroll
    for (int j = 0; j < SIZE / 32; j++) {
        uint4 q = make_uint4(0, 0, 0, 0);
        if (there)
            q = shared_load16(scratch +
                              (unsigned)(lane / 4 * attention_space<SIZE>::ROW +
                                         j * 64 + lane % 4 * 16));
        unsigned low[4] = {q.x, 0, q.y, 0}, high[4] = {q.z, 0, q.w, 0};
#pragma unroll
        for (int i = 0; i < 2; i++) {
            mma(s[i][0], low, k.of[i][j].x, k.of[i][j].y);
            mma(s[i][1], high, k.of[i][j].z, k.of[i][j].w);
        }
    }
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
        for (int e = 0; e < 2; e++)
            scores[i][e] = s[i][0][e] + s[i][1][e];
}

/* The probabilities as the second operand; what was summed before is scaled. */
template <int SIZE>
__device__ __forceinline__ void
attention_soften(unsigned p[2], attention_sums<SIZE> &all, float (*scores)[2], int left,
                 float factor)
{
    int lane = threadIdx.x & 31, t = lane % 4;
    float now = all.most, part = 0.0f;
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
        for (int e = 0; e < 2; e++) {
            if (i * 8 + 2 * t + e >= left)
                scores[i][e] = -INFINITY;
            now = fmaxf(now, scores[i][e]);
        }
    now = quad_max(now);
    float shift = now * factor, rescale = exp2_fast(all.most * factor - shift);
#pragma unroll
    for (int i = 0; i < 2; i++) {
        float x = exp2_fast(scores[i][0] * factor - shift);
        float y = exp2_fast(scores[i][1] * factor - shift);
        part += x + y;
        p[i] = pack2(x, y);
    }
    all.most = now;
    all.sum = all.sum * rescale + part;
    float scale[2] = {__shfl_sync(0xffffffffu, rescale, t * 8),
                      __shfl_sync(0xffffffffu, rescale, t * 8 + 4)};
#pragma unroll
    for (int i = 0; i < SIZE / 16; i++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            all.o[i][e] *= scale[e & 1];
}

/* Element i of the eight that two lanes' chunks have. */
template <int I> __device__ __forceinline__ unsigned pair_of(uint4 a, uint4 b)
{
    unsigned x = I / 2 == 0 ? a.x : I / 2 == 1 ? a.y : I / 2 == 2 ? a.z : a.w;
    unsigned y = I / 2 == 0 ? b.x : I / 2 == 1 ? b.y : I / 2 == 2 ? b.z : b.w;
    return __byte_perm(x, y, I % 2 ? 0x7632 : 0x5410);
}

/* Rows g and g + 8 of product I are dims 8 g + I and 64 + 8 g + I; heads of 64: 8 g + I
 * and 8 g + 4 + I. */
template <int SIZE, int I>
__device__ __forceinline__ void attention_add(attention_sums<SIZE> &all,
                                              const attention_values<SIZE> &v,
                                              const unsigned p[2])
{
    constexpr int HIGH = SIZE == 128 ? I : I + 4, LAST = SIZE / 64 - 1;
    unsigned a[4] = {pair_of<I>(v.of[0][0], v.of[1][0]),
                     pair_of<HIGH>(v.of[0][LAST], v.of[1][LAST]),
                     pair_of<I>(v.of[2][0], v.of[3][0]),
                     pair_of<HIGH>(v.of[2][LAST], v.of[3][LAST])};
    mma(all.o[I], a, p[0], p[1]);
    if constexpr (I + 1 < SIZE / 16)
        attention_add<SIZE, I + 1>(all, v, p);
}

/* What the warp has to shared memory: [warp][heads][SIZE] sums, and their ends. */
template <int SIZE>
__device__ __forceinline__ void attention_leave(const attention_sums<SIZE> &all,
                                                unsigned char *scratch, int heads,
                                                float factor)
{
    using space = attention_space<SIZE>;
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane / 4, t = lane % 4;
    float total = quad_sum(all.sum);
    if (t == 0 && g < heads)
        ((float2 *)(scratch + space::ENDS))[warp * DECODER_HEADS + g] =
            make_float2(all.most * factor, total);
    float *o = (float *)(scratch + space::SUMS) + warp * heads * SIZE;
#pragma unroll
    for (int h = 0; h < 2; h++) {
        if (2 * t + h >= heads)
            continue;
        float4 *to = (float4 *)(o + (2 * t + h) * SIZE + 8 * g);
#pragma unroll
        for (int i = 0; i < SIZE / 16; i += 4) {
            to[i / 4] = make_float4(all.o[i][h], all.o[i + 1][h], all.o[i + 2][h],
                                    all.o[i + 3][h]);
            to[SIZE == 128 ? 16 + i / 4 : 1] =
                make_float4(all.o[i][2 + h], all.o[i + 1][2 + h], all.o[i + 2][2 + h],
                            all.o[i + 3][2 + h]);
        }
    }
}

#endif
