/* SPDX-License-Identifier: Apache-2.0
 *
 * Products that cuBLASLt has no kernel for (odd strides and alignments of tiny models),
 * and what is left to do after those it computed without bias and activation.
 */
#include "device.cuh"

#define TILE 16

template <typename TC, int ACT>
__device__ __forceinline__ void finish(const struct kernel_matmul &m, int64_t row,
                                       int64_t column, float v)
{
    int64_t at = row * m.ldc + column;
    if (m.bias)
        v += m.type == KERNEL_BF16 ? to_f(((const bf16 *)m.bias)[column])
                                   : ((const float *)m.bias)[column];
    if (m.before) {
        from_f(((TC *)m.before)[at], v);
        v = rounded<TC>(v);
    }
    from_f(((TC *)m.c)[at], act_of<ACT, fast_of<TC>>(v));
}

template <typename T, typename TC, int ACT>
__global__ void plain_matmul_kernel(struct kernel_matmul m)
{
    __shared__ float as[TILE][TILE + 1], bs[TILE][TILE + 1];
    const T *a = (const T *)m.a, *b = (const T *)m.b;
    int x = threadIdx.x, y = threadIdx.y;
    int64_t row0 = (int64_t)blockIdx.y * TILE, column0 = (int64_t)blockIdx.x * TILE;
    int64_t row = row0 + y, column = column0 + x;
    float sum = 0.0f;
    for (int64_t k0 = 0; k0 < m.k; k0 += TILE) {
        /* Neighbouring threads read neighbouring elements, whichever way it is stored.
         */
        int64_t ar = row0 + (m.ta ? x : y), ak = k0 + (m.ta ? y : x);
        int64_t bk = k0 + (m.tb ? x : y), bn = column0 + (m.tb ? y : x);
        float va = ar < m.m && ak < m.k
                       ? to_f(m.ta ? a[ak * m.lda + ar] : a[ar * m.lda + ak])
                       : 0.0f;
        float vb = bn < m.n && bk < m.k
                       ? to_f(m.tb ? b[bn * m.ldb + bk] : b[bk * m.ldb + bn])
                       : 0.0f;
        as[m.ta ? x : y][m.ta ? y : x] = va;
        bs[m.tb ? x : y][m.tb ? y : x] = vb;
        __syncthreads();
#pragma unroll
        for (int i = 0; i < TILE; i++)
            sum += as[y][i] * bs[i][x];
        __syncthreads();
    }
    if (row >= m.m || column >= m.n)
        return;
    sum *= m.alpha;
    if (m.accumulate) {
        TC *c = (TC *)m.c + row * m.ldc + column;
        from_f(*c, to_f(*c) + sum);
    } else {
        finish<TC, ACT>(m, row, column, sum);
    }
}

template <typename TC, int ACT>
__global__ void __launch_bounds__(256) finish_kernel(struct kernel_matmul m)
{
    int64_t i = (int64_t)blockIdx.x * 256 + threadIdx.x;
    if (i >= m.m * m.n)
        return;
    int64_t row = i / m.n, column = i % m.n;
    finish<TC, ACT>(m, row, column, to_f(((const TC *)m.c)[row * m.ldc + column]));
}

template <typename T, typename TC>
static void plain_launch(struct kernel_context *c, const struct kernel_matmul *m)
{
    dim3 grid(blocks_for(m->n, TILE), blocks_for(m->m, TILE)), block(TILE, TILE);
    ACTIVATED(m->act,
              (plain_matmul_kernel<T, TC, ACT><<<grid, block, 0, c->stream>>>(*m)));
}

void cuda__plain_matmul(struct kernel_context *c, const struct kernel_matmul *m)
{
    if (m->m > (int64_t)65535 * TILE) {
        cuda__fail(c, "matmul",
                   "no kernel for more than a million rows in this layout");
        return;
    }
    if (m->type == KERNEL_BF16 && m->c_type == KERNEL_BF16)
        plain_launch<bf16, bf16>(c, m);
    else if (m->type == KERNEL_BF16)
        plain_launch<bf16, float>(c, m);
    else if (m->c_type == KERNEL_BF16)
        plain_launch<float, bf16>(c, m);
    else
        plain_launch<float, float>(c, m);
    cuda__launched(c, "matmul");
}

void cuda__finish_matmul(struct kernel_context *c, const struct kernel_matmul *m)
{
    unsigned blocks = blocks_for(m->m * m->n, 256);
    TYPED(m->c_type, ACTIVATED(m->act, (finish_kernel<T, ACT>
                                        <<<blocks, 256, 0, c->stream>>>(*m))));
    cuda__launched(c, "matmul's bias and activation");
}
