/* SPDX-License-Identifier: Apache-2.0
 *
 * Weights of 4 bits from AWQ's arrays into the order of q4.cuh, back into a matrix of
 * bf16, and the plain product.
 */
#include "q4.cuh"
#include <cuda_fp16.h>

#define THREADS 256

/* Element (row, column) of AWQ's words [rows, columns / 8]. */
__device__ __forceinline__ unsigned awq_nibble(const uint32_t *words, int64_t columns,
                                               int64_t row, int column)
{
    int place = (column & 1) * 4 + (column & 7) / 2;
    return words[row * (columns / 8) + column / 8] >> (4 * place) & 15;
}

struct repack_arrays {
    struct kernel_q4 w;
    struct kernel_q4_source from;
    uint32_t *tiles, *scales;
    int steps, groups;
};

/* A thread makes the word of one row and 32 of k, of which it has every fourth pair.
 * Neighbours read neighbouring columns. */
__global__ void __launch_bounds__(THREADS) repack_kernel(repack_arrays a)
{
    const uint32_t *words = (const uint32_t *)a.from.weights;
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    int column = (int)(i % a.from.n);
    int64_t rest = i / a.from.n;
    int t = (int)(rest % 4), k0 = (int)(rest / 4) * 32;
    if (k0 >= a.steps * Q4_TILE)
        return;
    unsigned word = 0;
    for (int p = 0; p < 4; p++)
        for (int e = 0; e < 2; e++) {
            int k = k0 + 8 * p + 2 * t + e;
            if (k < a.w.k)
                word |= awq_nibble(words, a.from.n, k, column) << (4 * (p + 4 * e));
        }
    int64_t row = a.from.first + column;
    int64_t tile = (row / 64 * a.steps + k0 / Q4_TILE) * 4 + row / 16 % 4;
    int lane = (int)(row % 8) * 4 + t, part = k0 / 32 % 2 * 2 + (int)(row % 16) / 8;
    a.tiles[(tile * 32 + lane) * 4 + part] = word;
}

__global__ void __launch_bounds__(THREADS) repack_scales_kernel(repack_arrays a)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    int column = (int)(i % a.from.n), group = (int)(i / a.from.n);
    if (group >= a.groups)
        return;
    float scale = a.from.bf16 ? to_f(((const bf16 *)a.from.scales)[i])
                              : __half2float(((const __half *)a.from.scales)[i]);
    int64_t row = a.from.first + column;
    int64_t tile = (row / 64 * a.groups + group) * 4 + row / 16 % 4;
    a.scales[(tile * 8 + row % 8) * 2 + row % 16 / 8] =
        __float_as_uint(scale) |
        awq_nibble((const uint32_t *)a.from.zeros, a.from.n, group, column);
}

void cuda__q4_repack(struct kernel_context *c, const struct kernel_q4 *w, void *packed,
                     const struct kernel_q4_source *from)
{
    q4_weights to = q4_weights_of(w, packed);
    repack_arrays a = {*w,       *from,    (uint32_t *)to.tiles, (uint32_t *)to.scales,
                       to.steps, to.groups};
    int64_t words = (int64_t)from->n * to.steps * 8, scales = from->n * to.groups;
    repack_kernel<<<blocks_for(words, THREADS), THREADS, 0, c->stream>>>(a);
    cuda__launched(c, "q4_pack");
    repack_scales_kernel<<<blocks_for(scales, THREADS), THREADS, 0, c->stream>>>(a);
    cuda__launched(c, "q4_pack");
}

/* --- back to bf16: a warp takes a tile --- */

#define WARPS 8

/* (q - zero) * scale of nibbles P and P + 4. */
template <int P>
__device__ __forceinline__ unsigned unpacked(unsigned word, float scale, float zero)
{
    float2 q = unpack2(q4_pair<P>(word));
    return pack2((q.x - zero) * scale, (q.y - zero) * scale);
}

__global__ void __launch_bounds__(WARPS * 32)
    unpack_kernel(q4_weights w, int group, bf16 *out)
{
    __shared__ __align__(16) unsigned tile[WARPS][16][36]; /* rows of 32 words */
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane / 4, t = lane % 4;
    int64_t i = (int64_t)blockIdx.x * WARPS + warp;
    int rows = (int)(i / w.steps / 4 * 4 + i % 4),
        k0 = (int)(i / 4 % w.steps) * Q4_TILE;
    if (rows >= w.n / 16)
        return;
    uint4 raw = w.tiles[i * 32 + lane];
    const unsigned words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
    for (int j = 0; j < 2; j++) {
        if (k0 + 32 * j >= w.k)
            continue;
        uint2 pair = q4_scales_of(w, rows)[(k0 + 32 * j) / group * Q4_NEXT_GROUP + g];
#pragma unroll
        for (int h = 0; h < 2; h++) {
            unsigned word = words[2 * j + h], how = h ? pair.y : pair.x;
            float scale = q4_scale(how), zero = q4_zero(how);
            unsigned *to = &tile[warp][g + 8 * h][16 * j + t];
            to[0] = unpacked<0>(word, scale, zero);
            to[4] = unpacked<1>(word, scale, zero);
            to[8] = unpacked<2>(word, scale, zero);
            to[12] = unpacked<3>(word, scale, zero);
        }
    }
    __syncwarp();
#pragma unroll
    for (int e = lane; e < 16 * 8; e += 32)
        if (k0 + e % 8 * 8 < w.k)
            *(uint4 *)(out + ((int64_t)rows * 16 + e / 8) * w.k + k0 + e % 8 * 8) =
                *(const uint4 *)&tile[warp][e / 8][e % 8 * 4];
}

void cuda__q4_unpack(struct kernel_context *c, const struct kernel_q4 *w, void *weights,
                     const void *packed)
{
    q4_weights from = q4_weights_of(w, packed);
    unsigned blocks = blocks_for((int64_t)(w->n / 16) * from.steps, WARPS);
    unpack_kernel<<<blocks, WARPS * 32, 0, c->stream>>>(from, w->group,
                                                        (bf16 *)weights);
    cuda__launched(c, "q4_matmul");
}

/* --- rows of float: a warp has 16 weights' rows and one row of x --- */

template <typename T>
__global__ void __launch_bounds__(WARPS * 32)
    plain_kernel(q4_weights w, int group, const float *x, T *out)
{
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane / 4, t = lane % 4;
    int rows = (int)blockIdx.x * WARPS + warp;
    if (rows >= w.n / 16)
        return;
    x += (int64_t)blockIdx.y * w.k;
    const uint4 *tiles = q4_tiles_of(w, rows) + lane;
    const uint2 *scales = q4_scales_of(w, rows) + g;
    float sum[2] = {};
    for (int k0 = 0; k0 < w.k; k0 += 32) {
        const unsigned *words =
            (const unsigned *)&tiles[k0 / Q4_TILE * Q4_NEXT_TILE] + k0 / 32 % 2 * 2;
        uint2 pair = scales[k0 / group * Q4_NEXT_GROUP];
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float part = 0.0f, zero = q4_zero(h ? pair.y : pair.x) - 128.0f;
#pragma unroll
            for (int p = 0; p < 8; p++)
                part += ((float)(words[h] >> (4 * p) & 15) - zero) *
                        x[k0 + p % 4 * 8 + 2 * t + p / 4];
            sum[h] += part * q4_scale(h ? pair.y : pair.x);
        }
    }
#pragma unroll
    for (int h = 0; h < 2; h++) {
        sum[h] += __shfl_xor_sync(0xffffffffu, sum[h], 1);
        sum[h] += __shfl_xor_sync(0xffffffffu, sum[h], 2);
        if (t == 0)
            from_f(out[(int64_t)blockIdx.y * w.n + rows * 16 + g + 8 * h], sum[h]);
    }
}

void cuda__q4_plain(struct kernel_context *c, const struct kernel_q4 *w,
                    const void *packed, void *out, const void *x, int64_t m,
                    enum kernel_type c_type)
{
    for (int64_t done = 0; done < m; done += 65535) {
        int64_t rows = m - done < 65535 ? m - done : 65535;
        dim3 grid(blocks_for(w->n / 16, WARPS), (unsigned)rows);
        TYPED(c_type, (plain_kernel<T><<<grid, WARPS * 32, 0, c->stream>>>(
                          q4_weights_of(w, packed), w->group,
                          (const float *)x + done * w->k, (T *)out + done * w->n)));
        cuda__launched(c, "q4_matmul");
    }
}
