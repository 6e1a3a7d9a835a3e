/* SPDX-License-Identifier: Apache-2.0
 *
 * Causal attention in one pass over the keys (Dao et al., FlashAttention-2), as warps
 * do it with mma.sync: a warp has TILES * 16 queries of one head, and walks over the
 * keys in steps of 64 with an online softmax. bf16, heads of 64 or 128.
 */
#ifndef KERNELS_CUDA_FLASH_CUH
#define KERNELS_CUDA_FLASH_CUH
#include "mma.cuh"

#define STEP 64 /* keys */

template <int SIZE, int TILES, int WARPS> struct forward_shape {
    static constexpr int THREADS = WARPS * 32, QUERIES = WARPS * TILES * 16;
    static constexpr int QUERY_BYTES = QUERIES * SIZE * 2, STEP_BYTES = STEP * SIZE * 2;
    static constexpr int SHARED = QUERY_BYTES + 4 * STEP_BYTES;
};

/* s becomes exp2((s - largest) * factor) for TILES * 16 rows; o and sum are rescaled.
 */
template <int SIZE, int TILES>
__device__ __forceinline__ void softmax_step(float (*s)[STEP / 8][4],
                                             float (*o)[SIZE / 8][4], float (*most)[2],
                                             float (*sum)[2], float factor)
{
#pragma unroll
    for (int mt = 0; mt < TILES; mt++)
#pragma unroll
        for (int r = 0; r < 2; r++) {
            float now = most[mt][r];
#pragma unroll
            for (int nt = 0; nt < STEP / 8; nt++)
                now = fmaxf(now, fmaxf(s[mt][nt][2 * r], s[mt][nt][2 * r + 1]));
            now = quad_max(now);
            float shift = now * factor, part = 0.0f;
            float rescale = exp2_fast(most[mt][r] * factor - shift);
            most[mt][r] = now;
#pragma unroll
            for (int nt = 0; nt < STEP / 8; nt++) {
                float a = exp2_fast(s[mt][nt][2 * r] * factor - shift);
                float b = exp2_fast(s[mt][nt][2 * r + 1] * factor - shift);
                s[mt][nt][2 * r] = a;
                s[mt][nt][2 * r + 1] = b;
                part += a + b;
            }
            sum[mt][r] = sum[mt][r] * rescale + part;
#pragma unroll
            for (int nt = 0; nt < SIZE / 8; nt++) {
                o[mt][nt][2 * r] *= rescale;
                o[mt][nt][2 * r + 1] *= rescale;
            }
        }
}

/* s = the warp's queries times the keys of a step. */
template <int SIZE, int TILES>
__device__ __forceinline__ void scores(float (*s)[STEP / 8][4],
                                       unsigned (*q)[SIZE / 16][4], unsigned keys)
{
#pragma unroll
    for (int ks = 0; ks < SIZE / 16; ks++)
#pragma unroll
        for (int nt = 0; nt < STEP / 16; nt++) {
            unsigned b[4];
            load_b<SIZE>(b, keys, nt * 16, ks * 16);
#pragma unroll
            for (int mt = 0; mt < TILES; mt++) {
                mma(s[mt][2 * nt], q[mt][ks], b[0], b[1]);
                mma(s[mt][2 * nt + 1], q[mt][ks], b[2], b[3]);
            }
        }
}

/* Keys after their query do not count. ahead: the step's first key minus the warp's
 * first query. */
template <int TILES>
__device__ __forceinline__ void mask(float (*s)[STEP / 8][4], int ahead)
{
    int lane = threadIdx.x & 31, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int mt = 0; mt < TILES; mt++)
#pragma unroll
        for (int nt = 0; nt < STEP / 8; nt++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                if (ahead + nt * 8 + 2 * t + (e & 1) > mt * 16 + g + (e / 2) * 8)
                    s[mt][nt][e] = -INFINITY;
}

/* o += probabilities times the values of a step. */
template <int SIZE, int TILES>
__device__ __forceinline__ void gather(float (*o)[SIZE / 8][4], float (*s)[STEP / 8][4],
                                       unsigned values)
{
#pragma unroll
    for (int ks = 0; ks < STEP / 16; ks++) {
        unsigned p[TILES][4];
#pragma unroll
        for (int mt = 0; mt < TILES; mt++)
            sums_to_a(p[mt], s[mt][2 * ks], s[mt][2 * ks + 1]);
#pragma unroll
        for (int nt = 0; nt < SIZE / 16; nt++) {
            unsigned b[4];
            load_b_t<SIZE>(b, values, nt * 16, ks * 16);
#pragma unroll
            for (int mt = 0; mt < TILES; mt++) {
                mma(o[mt][2 * nt], p[mt], b[0], b[1]);
                mma(o[mt][2 * nt + 1], p[mt], b[2], b[3]);
            }
        }
    }
}

/* The warp's rows, through its own rows of the queries' tile: whole 16-byte chunks.
 * row0: its first in the tile; out, lse: of the tile's first query; valid: queries that
 * are there. */
template <int SIZE, int TILES>
__device__ __forceinline__ void
write_out(unsigned char *shared, float (*o)[SIZE / 8][4], float (*most)[2],
          float (*sum)[2], float scale, int row0, bf16 *out, int64_t stride, float *lse,
          int valid)
{
    int lane = threadIdx.x & 31, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int mt = 0; mt < TILES; mt++)
#pragma unroll
        for (int r = 0; r < 2; r++) {
            int row = row0 + mt * 16 + g + r * 8;
            float total = quad_sum(sum[mt][r]);
            float inverse = total > 0.0f ? 1.0f / total : 0.0f;
            if (lse && t == 0 && row < valid)
                lse[row] = most[mt][r] * scale + __logf(total);
#pragma unroll
            for (int nt = 0; nt < SIZE / 8; nt++)
                *(unsigned *)(shared + tile_at<SIZE>(row, nt) + t * 4) =
                    pack2(o[mt][nt][2 * r] * inverse, o[mt][nt][2 * r + 1] * inverse);
        }
    __syncwarp();
#pragma unroll
    for (int i = lane; i < TILES * 16 * SIZE / 8; i += 32) {
        int row = row0 + i / (SIZE / 8), chunk = i % (SIZE / 8);
        if (row < valid)
            *(uint4 *)(out + row * stride + chunk * 8) =
                *(const uint4 *)(shared + tile_at<SIZE>(row, chunk));
    }
}

#endif
