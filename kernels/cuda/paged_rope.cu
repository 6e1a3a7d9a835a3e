/* SPDX-License-Identifier: Apache-2.0
 *
 * What goes before attention over a paged cache: RMSNorm and rotary positions of query
 * and key heads, keys and values to their slots. A warp takes one head of one token.
 */
#include "device.cuh"

#define WARPS 4
#define THREADS (WARPS * 32)
#define TURNS 2 /* of a lane with two pairs each: sizes up to 256 */

struct paged_rope_arrays {
    struct kernel_rope r;
    const int32_t *positions, *slots;
    const void *qkv;
    void *q, *keys, *values;
    int64_t items; /* heads of all tokens */
};

template <typename T> __device__ __forceinline__ float2 load2(const T *p);
template <> __device__ __forceinline__ float2 load2(const bf16 *p)
{
    return unpack2(*reinterpret_cast<const unsigned *>(p));
}
template <> __device__ __forceinline__ float2 load2(const float *p)
{
    return *reinterpret_cast<const float2 *>(p);
}
__device__ __forceinline__ void store2(bf16 *p, float a, float b)
{
    *reinterpret_cast<unsigned *>(p) = pack2(a, b);
}
__device__ __forceinline__ void store2(float *p, float a, float b)
{
    *reinterpret_cast<float2 *>(p) = make_float2(a, b);
}

template <typename T>
__global__ void __launch_bounds__(THREADS) paged_rope_kernel(paged_rope_arrays a)
{
    const struct kernel_rope &r = a.r;
    int half = r.size / 2, lane = threadIdx.x & 31, all = r.heads + 2 * r.kv_heads;
    int64_t i = (int64_t)blockIdx.x * WARPS + (threadIdx.x >> 5);
    early_next();
    if (i >= a.items) {
        early_wait();
        return;
    }
    int64_t row = i / all;
    int head = (int)(i % all), kv = (head - r.heads) % r.kv_heads;
    const T *x = (const T *)a.qkv + i * r.size, *weight = nullptr;
    bool value = head >= r.heads + r.kv_heads;
    T *y = (T *)a.q + (row * r.heads + head) * r.size;
    if (head >= r.heads) {
        int slot = a.slots[row];
        if (slot < 0) {
            early_wait();
            return;
        }
        y = (T *)(value ? a.values : a.keys) +
            (((int64_t)(slot / KERNEL_BLOCK) * r.kv_heads + kv) * KERNEL_BLOCK +
             slot % KERNEL_BLOCK) *
                r.size;
    }
    float2 low[TURNS], high[TURNS];
    float squares = 0.0f;
    early_wait();
#pragma unroll
    for (int p = 0; p < TURNS; p++) {
        int j = (lane + 32 * p) * 2;
        low[p] = high[p] = make_float2(0.0f, 0.0f);
        if (j < half) {
            low[p] = load2<T>(x + j);
            high[p] = load2<T>(x + half + j);
        }
        squares += low[p].x * low[p].x + low[p].y * low[p].y + high[p].x * high[p].x +
                   high[p].y * high[p].y;
    }
    if (!value)
        weight = (const T *)(head < r.heads ? r.q_weight : r.k_weight);
    float inverse =
        weight ? rsqrtf(warp_sum(squares) / (float)r.size + r.epsilon) : 1.0f;
    int64_t angles = value ? 0 : (int64_t)a.positions[row] * half;
#pragma unroll
    for (int p = 0; p < TURNS; p++) {
        int j = (lane + 32 * p) * 2;
        if (j >= half)
            continue;
        float2 u = low[p], v = high[p];
        float2 cosine = make_float2(1.0f, 1.0f), sine = make_float2(0.0f, 0.0f);
        if (weight) {
            float2 wu = load2<T>(weight + j), wv = load2<T>(weight + half + j);
            u = make_float2(u.x * inverse * wu.x, u.y * inverse * wu.y);
            v = make_float2(v.x * inverse * wv.x, v.y * inverse * wv.y);
        }
        if (!value) {
            cosine = load2<float>(r.cosine + angles + j);
            sine = load2<float>(r.sine + angles + j);
        }
        store2(y + j, u.x * cosine.x - v.x * sine.x, u.y * cosine.y - v.y * sine.y);
        store2(y + half + j, v.x * cosine.x + u.x * sine.x,
               v.y * cosine.y + u.y * sine.y);
    }
}

void cuda__rope_paged(struct kernel_context *c, const struct kernel_rope *r,
                      const struct kernel_paged *a, void *q, const void *qkv)
{
    const struct kernel_sequences *s = a->sequences;
    paged_rope_arrays x = {*r, s->positions, s->slots, qkv, q, a->keys, a->values, 0};
    x.r.heads = a->heads, x.r.kv_heads = a->kv_heads, x.r.size = a->size;
    x.items = (int64_t)s->tokens * (a->heads + 2 * a->kv_heads);
    if (a->size % 4 || a->size > 128 * TURNS) {
        cuda__fail(c, "rope_paged", "heads must have a size of fours, 256 at most");
        return;
    }
    if (x.items <= 0)
        return;
    unsigned blocks = blocks_for(x.items, WARPS);
    TYPED(a->type, launch_early(c, paged_rope_kernel<T>, blocks, THREADS, 0, x));
    cuda__launched(c, "rope_paged");
}
