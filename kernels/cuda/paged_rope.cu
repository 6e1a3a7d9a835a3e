/* SPDX-License-Identifier: Apache-2.0
 *
 * What goes before attention over a paged cache: RMSNorm and rotary positions of query
 * and key heads, keys and values to their slots. A lane has four elements of a head's
 * first half and those of the second one that are turned with them; a warp takes as
 * many heads of a token at once as it has lanes for, and several times as many where
 * tokens are many, so that enough is on its way. Sizes for which that does not come out
 * even are done two elements at a time, a head a warp.
 */
#include "device.cuh"

#define WARPS 4
#define THREADS (WARPS * 32)
#define TURNS 2 /* of a lane with two pairs each: sizes up to 256 */
#define MANY 4  /* times as many heads of a warp, */
#define MANY_TOKENS 1024 /* from so many on */

struct paged_rope_arrays {
    struct kernel_rope r;
    const int32_t *positions, *slots;
    const void *qkv;
    void *q, *keys, *values;
    int64_t items; /* warps */
    int parts;     /* of them, for a token */
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

__device__ __forceinline__ float4 load4(const bf16 *p)
{
    uint2 raw = *reinterpret_cast<const uint2 *>(p);
    float2 a = unpack2(raw.x), b = unpack2(raw.y);
    return make_float4(a.x, a.y, b.x, b.y);
}
__device__ __forceinline__ float4 load4(const float *p)
{
    return *reinterpret_cast<const float4 *>(p);
}
__device__ __forceinline__ void store4(bf16 *p, float4 v)
{
    *reinterpret_cast<uint2 *>(p) = make_uint2(pack2(v.x, v.y), pack2(v.z, v.w));
}
__device__ __forceinline__ void store4(float *p, float4 v)
{
    *reinterpret_cast<float4 *>(p) = v;
}
__device__ __forceinline__ float square_sum(float4 v)
{
    return v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
}
__device__ __forceinline__ float4 scaled(float4 v, float by, float4 weight)
{
    return make_float4(v.x * by * weight.x, v.y * by * weight.y, v.z * by * weight.z,
                       v.w * by * weight.w);
}
/* a * c + b * s */
__device__ __forceinline__ float4 turned(float4 a, float4 c, float4 b, float4 s)
{
    return make_float4(a.x * c.x + b.x * s.x, a.y * c.y + b.y * s.y,
                       a.z * c.z + b.z * s.z, a.w * c.w + b.w * s.w);
}
__device__ __forceinline__ float4 negative(float4 v)
{
    return make_float4(-v.x, -v.y, -v.z, -v.w);
}

/* Where a head of a row goes; NULL: nowhere. */
template <typename T>
__device__ __forceinline__ T *head_place(const paged_rope_arrays &a, int64_t row,
                                         int head, int slot)
{
    const struct kernel_rope &r = a.r;
    if (head < r.heads)
        return (T *)a.q + (row * r.heads + head) * r.size;
    int kv = head - r.heads;
    T *cache = (T *)(kv < r.kv_heads ? a.keys : a.values);
    int64_t block = (int64_t)(slot / KERNEL_BLOCK) * r.kv_heads + kv % r.kv_heads;
    if (slot < 0 || kv >= 2 * r.kv_heads)
        return nullptr;
    return cache + (block * KERNEL_BLOCK + slot % KERNEL_BLOCK) * r.size;
}

/* The lane's part of a head; all lanes call it. y NULL: what comes of it is not stored.
 */
template <typename T, int SIZE>
__device__ __forceinline__ void head_turn(T *y, float4 low, float4 high, int head,
                                          const struct kernel_rope &r, float4 cosine,
                                          float4 sine)
{
    int at = (int)threadIdx.x % (SIZE / 8) * 4;
    bool value = head >= r.heads + r.kv_heads;
    float squares = square_sum(low) + square_sum(high);
#pragma unroll
    for (int i = SIZE / 16; i > 0; i /= 2)
        squares += __shfl_xor_sync(0xffffffffu, squares, i);
    if (!y)
        return;
    if (value) {
        store4(y + at, low);
        store4(y + SIZE / 2 + at, high);
        return;
    }
    const T *weight = (const T *)(head < r.heads ? r.q_weight : r.k_weight);
    if (weight) {
        float inverse = rsqrtf(squares / (float)SIZE + r.epsilon);
        low = scaled(low, inverse, load4(weight + at));
        high = scaled(high, inverse, load4(weight + SIZE / 2 + at));
    }
    store4(y + at, turned(low, cosine, negative(high), sine));
    store4(y + SIZE / 2 + at, turned(high, cosine, low, sine));
}

template <typename T, int SIZE, int TIMES>
__global__ void __launch_bounds__(THREADS) wide_rope_kernel(paged_rope_arrays a)
{
    constexpr int LANES = SIZE / 8, HEADS = 32 / LANES; /* of a head; at once */
    const struct kernel_rope &r = a.r;
    int all = r.heads + 2 * r.kv_heads, at = (int)threadIdx.x % LANES * 4;
    int64_t i = (int64_t)blockIdx.x * WARPS + (threadIdx.x >> 5);
    early_next();
    if (i >= a.items) {
        early_wait();
        return;
    }
    int64_t row = i / a.parts;
    int first = (int)(i % a.parts) * HEADS * TIMES + (int)(threadIdx.x & 31) / LANES;
    int slot = a.slots[row];
    int64_t angles = (int64_t)a.positions[row] * (SIZE / 2) + at;
    float4 cosine = load4(r.cosine + angles), sine = load4(r.sine + angles);
    const T *x = (const T *)a.qkv + row * all * SIZE + at;
    float4 low[TIMES], high[TIMES];
    early_wait();
#pragma unroll
    for (int t = 0; t < TIMES; t++) {
        int head = min(first + t * HEADS, all - 1);
        low[t] = load4(x + head * SIZE);
        high[t] = load4(x + head * SIZE + SIZE / 2);
    }
#pragma unroll
    for (int t = 0; t < TIMES; t++) {
        int head = first + t * HEADS;
        head_turn<T, SIZE>(head_place<T>(a, row, head, slot), low[t], high[t], head, r,
                           cosine, sine);
    }
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

template <typename T, int SIZE>
static void launch_wide(struct kernel_context *c, paged_rope_arrays x, int64_t tokens)
{
    int times = tokens >= MANY_TOKENS ? MANY : 1, each = 32 / (SIZE / 8) * times;
    x.parts = (x.r.heads + 2 * x.r.kv_heads + each - 1) / each;
    x.items = tokens * x.parts;
    launch_early(c,
                 times == 1 ? wide_rope_kernel<T, SIZE, 1>
                            : wide_rope_kernel<T, SIZE, MANY>,
                 blocks_for(x.items, WARPS), THREADS, 0, x);
}

template <typename T>
static void launch(struct kernel_context *c, paged_rope_arrays x, int64_t tokens)
{
    x.parts = x.r.heads + 2 * x.r.kv_heads;
    x.items = tokens * x.parts;
    if (x.r.size == 64)
        launch_wide<T, 64>(c, x, tokens);
    else if (x.r.size == 128)
        launch_wide<T, 128>(c, x, tokens);
    else
        launch_early(c, paged_rope_kernel<T>, blocks_for(x.items, WARPS), THREADS, 0,
                     x);
    cuda__launched(c, "rope_paged");
}

void cuda__rope_paged(struct kernel_context *c, const struct kernel_rope *r,
                      const struct kernel_paged *a, void *q, const void *qkv)
{
    const struct kernel_sequences *s = a->sequences;
    paged_rope_arrays x = {*r, s->positions, s->slots, qkv, q, a->keys, a->values, 0,
                           0};
    x.r.heads = a->heads, x.r.kv_heads = a->kv_heads, x.r.size = a->size;
    if (a->size % 4 || a->size > 128 * TURNS) {
        cuda__fail(c, "rope_paged", "heads must have a size of fours, 256 at most");
        return;
    }
    if (s->tokens > 0)
        TYPED(a->type, launch<T>(c, x, s->tokens));
}
