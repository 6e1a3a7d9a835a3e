/* SPDX-License-Identifier: Apache-2.0
 *
 * Tensor cores through mma.sync (compute capability 8.0 on): bf16 in, float sums.
 *
 * A tile in shared memory has rows of WIDTH bf16 elements (64 or 128) in 16-byte
 * chunks; the number of a chunk is xored with the row's low three bits, so that neither
 * the rows of a ldmatrix nor the stores of a fragment meet in a bank.
 *
 * A fragment of 16 x 8 sums in a lane: [0], [1] at (g, 2t), (g, 2t + 1), [2], [3] at (g
 * + 8, …), where g = lane / 4, t = lane % 4.
 */
#ifndef KERNELS_CUDA_MMA_CUH
#define KERNELS_CUDA_MMA_CUH
#include "device.cuh"

__device__ __forceinline__ unsigned shared_address(const void *p)
{
    return (unsigned)__cvta_generic_to_shared(p);
}

/* 16 bytes to shared memory beside the computation; zeros when there is nothing. */
__device__ __forceinline__ void copy16(unsigned to, const void *from, bool there)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
                 "r"(there ? 16 : 0)
                 : "memory");
}
/* The same with 4 bytes. */
__device__ __forceinline__ void copy4(unsigned to, const void *from, bool there)
{
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from),
                 "r"(there ? 4 : 0)
                 : "memory");
}
__device__ __forceinline__ void copies_commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}
/* Until at most N groups of this thread are on their way. */
template <int N> __device__ __forceinline__ void copies_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

__device__ __forceinline__ void load_matrices(unsigned r[4], unsigned from)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(from)
                 : "memory");
}
__device__ __forceinline__ void load_transposed(unsigned r[4], unsigned from)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(from)
                 : "memory");
}

/* c[16,8] += a[16,16] b[16,8] */
__device__ __forceinline__ void mma(float c[4], const unsigned a[4], unsigned b0,
                                    unsigned b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* Where a 16-byte chunk lies in a tile. */
template <int WIDTH> __device__ __forceinline__ unsigned tile_at(int row, int chunk)
{
    return (unsigned)(row * (WIDTH * 2) + ((chunk ^ (row & 7)) << 4));
}

/* Fragments of A[16,16] from a tile stored [m][k], or [k][m]; m0, k0: multiples of 16.
 */
template <int WIDTH>
__device__ __forceinline__ void load_a(unsigned a[4], unsigned tile, int m0, int k0)
{
    int lane = threadIdx.x & 31;
    load_matrices(a, tile + tile_at<WIDTH>(m0 + (lane & 15), k0 / 8 + (lane >> 4)));
}
template <int WIDTH>
__device__ __forceinline__ void load_a_t(unsigned a[4], unsigned tile, int m0, int k0)
{
    int lane = threadIdx.x & 31;
    load_transposed(a, tile + tile_at<WIDTH>(k0 + (lane & 7) + ((lane >> 4) << 3),
                                             m0 / 8 + ((lane >> 3) & 1)));
}
/* Fragments of B[16,16] (n-tile 0: b[0], b[1]; n-tile 1: b[2], b[3]) stored [n][k], or
 * [k][n]. */
template <int WIDTH>
__device__ __forceinline__ void load_b(unsigned b[4], unsigned tile, int n0, int k0)
{
    int lane = threadIdx.x & 31;
    load_matrices(b, tile + tile_at<WIDTH>(n0 + (lane & 7) + ((lane >> 4) << 3),
                                           k0 / 8 + ((lane >> 3) & 1)));
}
template <int WIDTH>
__device__ __forceinline__ void load_b_t(unsigned b[4], unsigned tile, int n0, int k0)
{
    int lane = threadIdx.x & 31;
    load_transposed(b, tile + tile_at<WIDTH>(k0 + (lane & 15), n0 / 8 + (lane >> 4)));
}

/* Two fragments of sums side by side become a fragment of A. */
__device__ __forceinline__ void sums_to_a(unsigned a[4], const float low[4],
                                          const float high[4])
{
    a[0] = pack2(low[0], low[1]);
    a[1] = pack2(low[2], low[3]);
    a[2] = pack2(high[0], high[1]);
    a[3] = pack2(high[2], high[3]);
}

/* ROWS rows of WIDTH elements, `stride` elements apart, those from `valid` on as zeros.
 */
template <int ROWS, int WIDTH, int THREADS>
__device__ __forceinline__ void load_tile(unsigned tile, const bf16 *from,
                                          int64_t stride, int valid)
{
    constexpr int CHUNKS = WIDTH / 8;
#pragma unroll
    for (int i = 0; i < ROWS * CHUNKS / THREADS; i++) {
        int at = (int)threadIdx.x + i * THREADS, row = at / CHUNKS, chunk = at % CHUNKS;
        bool there = row < valid;
        copy16(tile + tile_at<WIDTH>(row, chunk),
               from + (there ? row * stride + chunk * 8 : 0), there);
    }
}

#endif
