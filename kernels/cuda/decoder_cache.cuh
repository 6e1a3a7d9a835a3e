/* SPDX-License-Identifier: Apache-2.0
 *
 * The decoder's attention within a warp: blocks of the cache, which come through the
 * ring of weights, scores and sums. And what a block's shared memory holds of an item.
 *
 * Scores: queries (of up to 8 heads) are the first operand of mma.sync, keys the
 * second, a lane having 8 elements in a row of both. Values are the first operand of
 * the second product, dims its rows, and the scores as they are the second one. Which
 * token counts as which column is free as long as keys and values agree.
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

/* --- blocks of the cache in a stage of the ring --- */

/* Two of them, first both one's keys, then values. Four tokens that follow each other
 * are one piece; pieces lie so that what eight lanes read is in all banks. */
template <int SIZE> struct cache_stage {
    static constexpr int BLOCKS = 2, PIECE = 4 * SIZE * 2;
    static constexpr int KEYS = 4 * PIECE + 128, VALUES = 4 * PIECE + 96;
    static_assert(BLOCKS * (KEYS + VALUES) <= stream_stage(false) &&
                      stream_stage(false) <= stream_stage(true),
                  "they fit into a stage");
    __device__ static __forceinline__ unsigned keys(int piece)
    {
        return (unsigned)(piece * PIECE + (piece + 1) / 2 * 64);
    }
    __device__ static __forceinline__ unsigned values(int piece)
    {
        return (unsigned)(piece * (PIECE + 32));
    }
};

/* The token that counts as column n of tile i of scores, and as k of the product with
 * values that these are: piece and number in it. Two columns that follow each other are
 * of different pieces for keys' banks, every second column for values'. */
struct cache_token {
    int piece, in;
};
__device__ __forceinline__ cache_token cache_token_of(int n, int i)
{
    return {n / 2 ^ n % 2, n % 2 * 2 + i};
}
/* This lane's column e of two. */
__device__ __forceinline__ int cache_token_mine(int e, int i)
{
    cache_token t = cache_token_of((int)(threadIdx.x & 3) * 2 + e, i);
    return t.piece * 4 + t.in;
}

/* Brings `count` blocks of the cache, of a key head, to a stage; a warp. */
template <int SIZE>
__device__ __forceinline__ void cache_fetch(unsigned stage, unsigned full,
                                            const void *keys, const void *values,
                                            const int64_t places[2], int count)
{
    using space = cache_stage<SIZE>;
    int lane = threadIdx.x & 31, block = lane / 8, piece = lane % 4;
    bool key = lane % 8 < 4;
    if (lane == 0)
        arrival_expect(full, (unsigned)(count * 8 * space::PIECE));
    __syncwarp();
    if (block >= count)
        return;
    const void *from = (const bf16 *)(key ? keys : values) +
                       (block ? places[1] : places[0]) + piece * (space::PIECE / 2);
    unsigned to = key ? (unsigned)(block * space::KEYS) + space::keys(piece)
                      : (unsigned)(2 * space::KEYS + block * space::VALUES) +
                            space::values(piece);
    fetch_bytes(stage + to, from, space::PIECE, full);
}

/* --- a block of the cache in a warp's registers --- */

template <int SIZE> struct attention_keys {
    uint4 of[2][SIZE / 32]; /* tokens of column g: elements 32 j + 8 t on */
};
template <int SIZE> struct attention_values {
    uint4 of[4][SIZE / 64]; /* [e + 2 i], this lane's tokens: elements 64 j + 8 g on */
};

/* All tokens of block `block` of a stage, also those that are not there yet. */
template <int SIZE>
__device__ __forceinline__ void attention_load(attention_keys<SIZE> &k, unsigned stage,
                                               int block)
{
    using space = cache_stage<SIZE>;
    int lane = threadIdx.x & 31;
    cache_token token = cache_token_of(lane / 4, 0);
    unsigned from = stage + (unsigned)(block * space::KEYS) + space::keys(token.piece) +
                    (unsigned)(token.in * SIZE * 2 + lane % 4 * 16);
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
        for (int j = 0; j < SIZE / 32; j++)
            k.of[i][j] = shared_load16(from + (unsigned)(i * SIZE * 2 + j * 64));
}
template <int SIZE>
__device__ __forceinline__ void attention_load(attention_values<SIZE> &v,
                                               unsigned stage, int block)
{
    using space = cache_stage<SIZE>;
    int lane = threadIdx.x & 31;
    stage += (unsigned)(2 * space::KEYS + block * space::VALUES + lane / 4 * 16);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        cache_token token = cache_token_of(lane % 4 * 2 + i % 2, i / 2);
#pragma unroll
        for (int j = 0; j < SIZE / 64; j++)
            v.of[i][j] = shared_load16(stage + space::values(token.piece) +
                                       (unsigned)(token.in * SIZE * 2 + j * 128));
    }
}

/* Zeros are those from the block's token `left` on: what is there may be no number. */
template <int SIZE>
__device__ __forceinline__ void attention_clear(attention_values<SIZE> &v, int left)
{
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < SIZE / 64; j++)
            if (cache_token_mine(i % 2, i / 2) >= left)
                v.of[i][j] = make_uint4(0, 0, 0, 0);
}

/* --- a warp's sums --- */

template <int SIZE> struct attention_sums {
    float o[SIZE / 16][4]; /* [i]: dims of attention_store, of heads 2t, 2t + 1 */
    float most, sum;       /* of head g: largest score, sum */
};

/* Scores of head g with this lane's tokens: [i][e]. */
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
            if (cache_token_mine(e, i) >= left)
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

/* What the warp has to shared memory, as entry `entry`: [entry][heads][SIZE] sums, and
 * their ends. */
template <int SIZE>
__device__ __forceinline__ void attention_leave(const attention_sums<SIZE> &all,
                                                unsigned char *scratch, int entry,
                                                int heads, float factor)
{
    using space = attention_space<SIZE>;
    int lane = threadIdx.x & 31, g = lane / 4, t = lane % 4;
    float total = quad_sum(all.sum);
    if (t == 0 && g < heads)
        ((float2 *)(scratch + space::ENDS))[entry * DECODER_HEADS + g] =
            make_float2(all.most * factor, total);
    float *o = (float *)(scratch + space::SUMS) + entry * heads * SIZE;
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
