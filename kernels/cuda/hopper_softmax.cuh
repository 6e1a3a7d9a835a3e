/* SPDX-License-Identifier: Apache-2.0
 *
 * What forward attention through wgmma does with a warp's scores: 16 queries by NT
 * fragments of eight keys, [4 n + e] as in hopper.cuh.
 */
#ifndef KERNELS_CUDA_HOPPER_SOFTMAX_CUH
#define KERNELS_CUDA_HOPPER_SOFTMAX_CUH
#include "hopper.cuh"

/* Keys after their query do not count. ahead: the step's first key minus the warp's
 * first query. */
template <int NT>
__device__ __forceinline__ void mask(float (&s)[4 * NT], int ahead)
{
    int lane = threadIdx.x & 31, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int nt = 0; nt < NT; nt++)
#pragma unroll
        for (int e = 0; e < 4; e++)
            if (ahead + nt * 8 + 2 * t + (e & 1) > g + e / 2 * 8)
                s[nt * 4 + e] = -INFINITY;
}

/* s becomes p = exp2((s - largest) * factor), as operands of the next product; rescale:
 * what the sums so far are multiplied with. */
template <int NT>
__device__ __forceinline__ void softmax_step(unsigned (&p)[NT / 2][4], float (&s)[4 * NT],
                                             float most[2], float sum[2],
                                             float rescale[2], float factor)
{
#pragma unroll
    for (int r = 0; r < 2; r++) {
        float now = most[r];
#pragma unroll
        for (int nt = 0; nt < NT; nt++)
            now = fmaxf(now, fmaxf(s[nt * 4 + 2 * r], s[nt * 4 + 2 * r + 1]));
        now = quad_max(now);
        float shift = now * factor, part = 0.0f;
        rescale[r] = exp2_fast(fmaf(most[r], factor, -shift));
        most[r] = now;
#pragma unroll
        for (int nt = 0; nt < NT; nt++) {
            float a = exp2_fast(fmaf(s[nt * 4 + 2 * r], factor, -shift));
            float b = exp2_fast(fmaf(s[nt * 4 + 2 * r + 1], factor, -shift));
            part += a + b;
            p[nt / 2][nt % 2 * 2 + r] = pack2(a, b);
        }
        sum[r] = fmaf(sum[r], rescale[r], part);
    }
}

#endif
