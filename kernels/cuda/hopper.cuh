/* SPDX-License-Identifier: Apache-2.0
 *
 * Tensor cores of compute capability 9.0a: wgmma, by the four warps of a warpgroup
 * together, with operands in shared memory. Tiles are those of mma.cuh with rows of 64
 * elements (128 bytes): their xor is the hardware's 128-byte swizzle when a tile begins
 * at a multiple of 1024 bytes.
 *
 * Sums of 64 x 64 in a lane: [4 n + e] is fragment n as in mma.cuh, in the rows from
 * 16 * warp on.
 */
#ifndef KERNELS_CUDA_HOPPER_CUH
#define KERNELS_CUDA_HOPPER_CUH
#include "mma.cuh"
#include "tensor_map.h"

/* A tile, or the part of it from there on, as wgmma wants it told: groups of 8 rows are
 * 1024 bytes apart, 128-byte swizzle. Serves both for tiles whose rows run along the
 * sum (16 elements of it are 32 bytes) and, transposed, for those whose columns do (16
 * rows are 2048 bytes). */
__device__ __forceinline__ uint64_t tile_desc(unsigned address)
{
    return (uint64_t)((address & 0x3ffff) >> 4) | (uint64_t)1 << 16 |
           (uint64_t)64 << 32 | (uint64_t)1 << 62;
}

/* Before the first wgmma, and after registers of its operands were written. */
__device__ __forceinline__ void wgmma_fence()
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void wgmma_commit()
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int N> __device__ __forceinline__ void wgmma_wait()
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}
/* What this thread wrote to shared memory is there for wgmma, after a barrier. */
__device__ __forceinline__ void shared_publish()
{
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

#define WGMMA_SUMS(d)                                                                  \
    "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]),            \
        "+f"(d[6]), "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]),      \
        "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]),  \
        "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]),  \
        "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]),  \
        "+f"(d[30]), "+f"(d[31])
#define WGMMA_LIST                                                                     \
    "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%" \
    "22,"                                                                              \
    "%23,%24,%25,%26,%27,%28,%29,%30,%31}"

/* d[64,64] = a[64,16] b[16,64] (+ d when add), both in shared memory; A_T, B_T: that
 * one's rows run along the sum's other way. */
template <int A_T, int B_T>
__device__ __forceinline__ void wgmma(float d[32], uint64_t a, uint64_t b, bool add)
{
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 " WGMMA_LIST
                 ", %32, %33, p, 1, 1, %35, %36;\n}"
                 : WGMMA_SUMS(d)
                 : "l"(a), "l"(b), "r"((int)add), "n"(A_T), "n"(B_T));
}
#define WGMMA_SUMS_32(d)                                                               \
    "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]),            \
        "+f"(d[6]), "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]),      \
        "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15])

/* d[64,32] = a[64,16] b[16,32] (+ d when add). */
template <int A_T, int B_T>
__device__ __forceinline__ void wgmma_32(float d[16], uint64_t a, uint64_t b, bool add)
{
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %18, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 "
                 "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15}"
                 ", %16, %17, p, 1, 1, %19, %20;\n}"
                 : WGMMA_SUMS_32(d)
                 : "l"(a), "l"(b), "r"((int)add), "n"(A_T), "n"(B_T));
}
#define WGMMA_SUMS_HALF(d, i)                                                          \
    "+f"(d[i + 0]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]),    \
        "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7]), "+f"(d[i + 8]),                \
        "+f"(d[i + 9]), "+f"(d[i + 10]), "+f"(d[i + 11]), "+f"(d[i + 12]),             \
        "+f"(d[i + 13]), "+f"(d[i + 14]), "+f"(d[i + 15])

/* d[64,128] = a[64,16] b[16,128] (+ d when add). */
__device__ __forceinline__ void wgmma_128(float d[64], uint64_t a, uint64_t b, bool add)
{
    asm volatile(
        "{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
        "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,"
        "%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,%32,%33,%34,%35,%36,%37,%38,%39,"
        "%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,"
        "%59,%60,%61,%62,%63}, %64, %65, p, 1, 1, 0, 0;\n}"
        : WGMMA_SUMS_HALF(d, 0), WGMMA_SUMS_HALF(d, 16), WGMMA_SUMS_HALF(d, 32),
          WGMMA_SUMS_HALF(d, 48)
        : "l"(a), "l"(b), "r"((int)add));
}
/* The same with a in registers, as sums_to_a makes it. */
template <int B_T>
__device__ __forceinline__ void wgmma_registers(float d[32], const unsigned a[4],
                                                uint64_t b)
{
    asm volatile("wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 " WGMMA_LIST
                 ", {%32,%33,%34,%35}, %36, 1, 1, 1, %37;"
                 : WGMMA_SUMS(d)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(B_T));
}

/* --- the copy engine: tiles arrive at a barrier in shared memory --- */

__device__ __forceinline__ void arrival_init(unsigned barrier)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(barrier) : "memory");
}
/* That many bytes are going to come; by the one thread that then asks for them. */
__device__ __forceinline__ void arrival_expect(unsigned barrier, unsigned bytes)
{
    asm volatile(
        "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier),
        "r"(bytes)
        : "memory");
}
/* parity: of the number of times that the barrier has been waited for before. */
__device__ __forceinline__ void arrival_wait(unsigned barrier, unsigned parity)
{
    asm volatile("{\n.reg .pred p;\nagain:\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n"
                 "@!p bra again;\n}" ::"r"(barrier),
                 "r"(parity)
                 : "memory");
}
/* That many threads or warps have to arrive. */
__device__ __forceinline__ void arrival_init_many(unsigned barrier, int count)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(count)
                 : "memory");
}
__device__ __forceinline__ void arrival_arrive(unsigned barrier)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}
/* The map's rows of 64 elements from (column, row) of a sequence; rows beyond its end
 * are zeros. */
__device__ __forceinline__ void fetch_tile(unsigned to, const CUtensorMap *map,
                                           int column, int row, int sequence,
                                           unsigned barrier)
{
    asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::"
                 "complete_tx::bytes"
                 " [%0], [%1, {%3, %4, %5}], [%2];" ::"r"(to),
                 "l"(map), "r"(barrier), "r"(column), "r"(row), "r"(sequence)
                 : "memory");
}
/* Plain bytes, a multiple of 16 at a multiple of 16. */
__device__ __forceinline__ void fetch_bytes(unsigned to, const void *from,
                                            unsigned bytes, unsigned barrier)
{
    asm volatile(
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], "
        "%2, [%3];" ::"r"(to),
        "l"(from), "r"(bytes), "r"(barrier)
        : "memory");
}

#endif
