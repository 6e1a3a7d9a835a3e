/* SPDX-License-Identifier: Apache-2.0
 *
 * Weights of 4 bits as they are packed on CUDA: tiles of 16 rows by 64 of k, which a
 * warp reads in one 16-byte load of each lane, as fragments of the first operand of
 * mma.sync (and of wgmma). In lane 4 g + t, word 2 j + h is of row g + 8 h and of k
 * from 32 j on: nibble p (0 to 3) is k 8 p + 2 t, nibble p + 4 is k 8 p + 2 t + 1. The
 * four tiles of 64 rows follow each other, then those of the next 64 of k, zeros beyond
 * its end.
 *
 * Behind them lie scales and zero points, [rows / 64][groups][4][8] pairs (row g, row g
 * + 8) of a word each: the scale as float, whose last four bits, zeros in one that was
 * a half or a bf16, are the zero point.
 */
#ifndef KERNELS_CUDA_Q4_CUH
#define KERNELS_CUDA_Q4_CUH
#include "mma.cuh"

#define Q4_TILE 64 /* of k */

struct q4_weights {
    const uint4 *tiles;  /* [n / 64][steps][4][32] */
    const uint2 *scales; /* [n / 64][groups][4][8] */
    int n, k, steps, groups;
};

static inline size_t q4_tiles_bytes(const struct kernel_q4 *w)
{
    return (size_t)(w->n / 16) * (size_t)((w->k + Q4_TILE - 1) / Q4_TILE) * 512;
}

static inline q4_weights q4_weights_of(const struct kernel_q4 *w, const void *packed)
{
    return q4_weights{(const uint4 *)packed,
                      (const uint2 *)((const char *)packed + q4_tiles_bytes(w)),
                      (int)w->n,
                      (int)w->k,
                      (int)((w->k + Q4_TILE - 1) / Q4_TILE),
                      (int)(w->k / w->group)};
}

/* Of a row tile: its first tile, and its first scales; the next ones are Q4_NEXT_TILE
 * and Q4_NEXT_GROUP on. */
#define Q4_NEXT_TILE 128
#define Q4_NEXT_GROUP 32
__device__ __forceinline__ const uint4 *q4_tiles_of(const q4_weights &w, int rows)
{
    return w.tiles + ((int64_t)(rows / 4) * w.steps * 4 + rows % 4) * 32;
}
__device__ __forceinline__ const uint2 *q4_scales_of(const q4_weights &w, int rows)
{
    return w.scales + ((int64_t)(rows / 4) * w.groups * 4 + rows % 4) * 8;
}

__device__ __forceinline__ float q4_scale(unsigned word)
{
    return __uint_as_float(word & ~15u);
}
/* 128 + zero point */
__device__ __forceinline__ float q4_zero(unsigned word)
{
    return __uint_as_float(0x43000000u | (word & 15) << 16);
}
/* 128 + q of nibbles p and p + 4, as bf16: 128 is where a step of bf16 is 1. */
template <int P> __device__ __forceinline__ unsigned q4_pair(unsigned word)
{
    unsigned pair;
    asm("lop3.b32 %0, %1, 0x000f000f, 0x43004300, 0xea;"
        : "=r"(pair)
        : "r"(word >> (4 * P)));
    return pair;
}

#endif
