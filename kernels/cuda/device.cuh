/* SPDX-License-Identifier: Apache-2.0
 *
 * What kernels share: eight elements at a time between memory and floats, sums over
 * warps and blocks in a fixed order, activations.
 */
#ifndef KERNELS_CUDA_DEVICE_CUH
#define KERNELS_CUDA_DEVICE_CUH
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include "cuda.h"

using bf16 = __nv_bfloat16;

/* f<<<>>> for either type: TYPED(type, launch<T>(…)). */
#define TYPED(type, call)                                                              \
    do {                                                                               \
        if ((type) == KERNEL_BF16) {                                                   \
            using T = bf16;                                                            \
            call;                                                                      \
        } else {                                                                       \
            using T = float;                                                           \
            call;                                                                      \
        }                                                                              \
    } while (0)

static inline unsigned blocks_for(int64_t n, int64_t per_block)
{
    int64_t blocks = (n + per_block - 1) / per_block;
    return (unsigned)(blocks > 0x7fffffff ? 0x7fffffff : blocks);
}

/* A kernel that may begin before the one in front of it has ended (compute capability
 * 9.0): in a chain of short kernels the next one's start is hidden. It calls early_next
 * first, and early_wait in all of its blocks before it reads what kernels write, or
 * writes anything. Before that it may read weights, the arrays of kernel_sequences, and
 * keys and values of steps before: a copy, which no kernel overtakes, lies between two
 * steps. */
template <typename... P, typename... A>
static inline void launch_early(struct kernel_context *c, void (*kernel)(P...),
                                dim3 grid, unsigned threads, size_t shared,
                                A &&...arguments)
{
    cudaLaunchAttribute early = {};
    early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    early.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = dim3(threads);
    config.dynamicSmemBytes = shared;
    config.stream = c->stream;
    config.attrs = &early;
    /* Later ones run code for 8.0, which does not wait. */
    config.numAttrs = c->capable == 90 ? 1 : 0;
    /* What it returns is the last error, which cuda__launched asks for. */
    (void)cudaLaunchKernelEx(&config, kernel, static_cast<P>(arguments)...);
}
/* Before a launch with more than 48 KiB of shared memory. */
template <typename... P>
static inline void shared_allow(struct kernel_context *c, const char *what,
                                void (*kernel)(P...), size_t bytes)
{
    cuda__check(c, what,
                cudaFuncSetAttribute(
                    kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
}

__device__ __forceinline__ void early_next()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
__device__ __forceinline__ void early_wait()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

__device__ __forceinline__ float to_f(float x)
{
    return x;
}
__device__ __forceinline__ float to_f(bf16 x)
{
    return __bfloat162float(x);
}
__device__ __forceinline__ void from_f(float &to, float x)
{
    to = x;
}
__device__ __forceinline__ void from_f(bf16 &to, float x)
{
    to = __float2bfloat16(x);
}
/* x as it will be read again after being stored as a T. */
template <typename T> __device__ __forceinline__ float rounded(float x)
{
    T t;
    from_f(t, x);
    return to_f(t);
}

__device__ __forceinline__ unsigned pack2(float low, float high)
{
    __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<unsigned *>(&pair);
}
__device__ __forceinline__ float2 unpack2(unsigned pair)
{
    return make_float2(__uint_as_float(pair << 16),
                       __uint_as_float(pair & 0xffff0000u));
}

/* 16 bytes that are read once. */
__device__ __forceinline__ uint4 stream16(const void *p)
{
    uint4 v;
    asm volatile("ld.global.nc.L1::no_allocate.L2::256B.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(p));
    return v;
}

/* Eight elements, 16-byte aligned (float: 32 bytes in two loads). */
__device__ __forceinline__ void unpack8(float v[8], uint4 raw)
{
    float2 a = unpack2(raw.x), b = unpack2(raw.y), c = unpack2(raw.z),
           d = unpack2(raw.w);
    v[0] = a.x, v[1] = a.y, v[2] = b.x, v[3] = b.y;
    v[4] = c.x, v[5] = c.y, v[6] = d.x, v[7] = d.y;
}
__device__ __forceinline__ void load8(float v[8], const bf16 *p)
{
    unpack8(v, *reinterpret_cast<const uint4 *>(p));
}
__device__ __forceinline__ void load8(float v[8], const float *p)
{
    float4 a = reinterpret_cast<const float4 *>(p)[0];
    float4 b = reinterpret_cast<const float4 *>(p)[1];
    v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w;
    v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
}
__device__ __forceinline__ void store8(bf16 *p, const float v[8])
{
    uint4 raw = {pack2(v[0], v[1]), pack2(v[2], v[3]), pack2(v[4], v[5]),
                 pack2(v[6], v[7])};
    *reinterpret_cast<uint4 *>(p) = raw;
}
__device__ __forceinline__ void store8(float *p, const float v[8])
{
    reinterpret_cast<float4 *>(p)[0] = make_float4(v[0], v[1], v[2], v[3]);
    reinterpret_cast<float4 *>(p)[1] = make_float4(v[4], v[5], v[6], v[7]);
}

__device__ __forceinline__ float warp_sum(float x)
{
#pragma unroll
    for (int i = 16; i > 0; i >>= 1)
        x += __shfl_xor_sync(0xffffffffu, x, i);
    return x;
}
__device__ __forceinline__ float warp_max(float x)
{
#pragma unroll
    for (int i = 16; i > 0; i >>= 1)
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, i));
    return x;
}

/* Of the four lanes that share a fragment's row. */
__device__ __forceinline__ float quad_sum(float x)
{
    x += __shfl_xor_sync(0xffffffffu, x, 1);
    return x + __shfl_xor_sync(0xffffffffu, x, 2);
}
__device__ __forceinline__ float quad_max(float x)
{
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
    return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}

/* The sum over the block's threads, for all of them. All threads call it. */
__device__ __forceinline__ float block_sum(float x)
{
    __shared__ float sums[32];
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    x = warp_sum(x);
    __syncthreads(); /* those who still read the sums of the call before */
    if (lane == 0)
        sums[warp] = x;
    __syncthreads();
    return warp_sum(lane < (int)(blockDim.x >> 5) ? sums[lane] : 0.0f);
}

/* store(i, sum) of the elements below count of a tile whose parts the block's warps
 * have in sums; where gridDim.y blocks share it, what they leave in partial
 * [blocks][TILE] is added up in their order by the one that ends last. counter: the
 * tile's. */
template <int WARPS, int TILE, typename F>
__device__ __forceinline__ void parts_add(const float (*sums)[TILE], float *partial,
                                          unsigned *counter, int count, F store)
{
    __shared__ bool last;
    __syncthreads();
    for (int i = (int)threadIdx.x; i < count; i += WARPS * 32) {
        float all = 0.0f;
#pragma unroll
        for (int w = 0; w < WARPS; w++)
            all += sums[w][i];
        if (gridDim.y == 1)
            store(i, all);
        else
            __stcg(partial + blockIdx.y * TILE + i, all);
    }
    if (gridDim.y == 1)
        return;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0)
        last = atomicAdd(counter, 1u) == gridDim.y - 1;
    __syncthreads();
    if (!last)
        return;
    __threadfence();
    for (int i = (int)threadIdx.x; i < count; i += WARPS * 32) {
        float all = 0.0f;
        for (unsigned s = 0; s < gridDim.y; s++)
            all += __ldcg(partial + s * TILE + i);
        store(i, all);
    }
    if (threadIdx.x == 0)
        *counter = 0;
}

__device__ __forceinline__ float exp2_fast(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* Philox4x32-10 (Salmon et al. 2011). */
__device__ __forceinline__ uint4 philox(uint64_t seed, uint64_t index, uint64_t step)
{
    uint4 v = {(unsigned)index, (unsigned)(index >> 32), (unsigned)step,
               (unsigned)(step >> 32)};
    unsigned k0 = (unsigned)seed, k1 = (unsigned)(seed >> 32);
#pragma unroll
    for (int round = 0; round < 10; round++) {
        unsigned h0 = __umulhi(0xD2511F53u, v.x), l0 = 0xD2511F53u * v.x;
        unsigned h1 = __umulhi(0xCD9E8D57u, v.z), l1 = 0xCD9E8D57u * v.z;
        v = {h1 ^ v.y ^ k0, l1, h0 ^ v.w ^ k1, l0};
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return v;
}

#define LOG2E 1.4426950408889634f

__device__ __forceinline__ float sigmoid(float x)
{
    return __fdividef(1.0f, 1.0f + __expf(-x));
}

/* tanh to a few units in the last place of float or, FAST, to 5e-4: finer than bf16. */
template <bool FAST> __device__ __forceinline__ float tanh_of(float x)
{
    if (FAST) {
        float y;
        asm("tanh.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
        return y;
    }
    float e = __expf(2.0f * fabsf(x)); /* infinity gives 1 */
    float t = 1.0f - 2.0f / (e + 1.0f);
    /* Near 0 the difference above loses digits. */
    float square = x * x;
    float small = fabsf(x) * (1.0f - square * (1.0f / 3.0f - square * (2.0f / 15.0f)));
    return copysignf(square < 0.01f ? small : t, x);
}

template <typename T> constexpr bool fast_of = sizeof(T) == 2;

template <int ACT, bool FAST> __device__ __forceinline__ float act_of(float x)
{
    if (ACT == KERNEL_RELU)
        return x < 0.0f ? 0.0f : x; /* a NaN stays one */
    if (ACT == KERNEL_GELU)
        return 0.5f * x *
               (1.0f +
                tanh_of<FAST>(0.7978845608028654f * (x + 0.044715f * x * x * x)));
    if (ACT == KERNEL_SILU)
        return x * sigmoid(x);
    if (ACT == KERNEL_TANH)
        return tanh_of<FAST>(x);
    if (ACT == KERNEL_SIGMOID)
        return sigmoid(x);
    return x;
}

template <int ACT, bool FAST> __device__ __forceinline__ float act_slope(float x)
{
    if (ACT == KERNEL_RELU)
        return x > 0.0f ? 1.0f : 0.0f;
    if (ACT == KERNEL_GELU) {
        float t = tanh_of<FAST>(0.7978845608028654f * (x + 0.044715f * x * x * x));
        return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * 0.7978845608028654f *
                                       (1.0f + 3.0f * 0.044715f * x * x);
    }
    if (ACT == KERNEL_SILU) {
        float s = sigmoid(x);
        return s * (1.0f + x * (1.0f - s));
    }
    if (ACT == KERNEL_TANH) {
        float t = tanh_of<FAST>(x);
        return 1.0f - t * t;
    }
    if (ACT == KERNEL_SIGMOID) {
        float s = sigmoid(x);
        return s * (1.0f - s);
    }
    return 1.0f;
}

/* call with ACT a constant. */
#define ACTIVATED(act, call)                                                           \
    do {                                                                               \
        switch (act) {                                                                 \
        case KERNEL_RELU: {                                                            \
            constexpr int ACT = KERNEL_RELU;                                           \
            call;                                                                      \
            break;                                                                     \
        }                                                                              \
        case KERNEL_GELU: {                                                            \
            constexpr int ACT = KERNEL_GELU;                                           \
            call;                                                                      \
            break;                                                                     \
        }                                                                              \
        case KERNEL_SILU: {                                                            \
            constexpr int ACT = KERNEL_SILU;                                           \
            call;                                                                      \
            break;                                                                     \
        }                                                                              \
        case KERNEL_TANH: {                                                            \
            constexpr int ACT = KERNEL_TANH;                                           \
            call;                                                                      \
            break;                                                                     \
        }                                                                              \
        case KERNEL_SIGMOID: {                                                         \
            constexpr int ACT = KERNEL_SIGMOID;                                        \
            call;                                                                      \
            break;                                                                     \
        }                                                                              \
        default: {                                                                     \
            constexpr int ACT = KERNEL_LINEAR;                                         \
            call;                                                                      \
            break;                                                                     \
        }                                                                              \
        }                                                                              \
    } while (0)

#endif
