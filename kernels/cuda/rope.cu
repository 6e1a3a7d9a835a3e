/* SPDX-License-Identifier: Apache-2.0
 *
 * Rotary positions (rotate-half) with the RMSNorm of query and key heads before them. A
 * warp takes one head of one position at a time.
 */
#include "device.cuh"

#define WARPS 8
#define THREADS (WARPS * 32)
#define PAIRS 4 /* of a lane: sizes up to 256 */

struct rope_arrays {
    struct kernel_rope r;
    const void *x, *dy;
    void *y, *dx;
    float *stats, *partial;
    int64_t items; /* heads of all positions */
};

/* An item is head `head` of position `row`. */
struct rope_item {
    int64_t row, at; /* at: its first element in qkv */
    int head;
    bool query, value;
    const float *cosine, *sine;
};

__device__ __forceinline__ struct rope_item item_of(const struct kernel_rope &r,
                                                    int64_t i)
{
    struct rope_item t;
    int all = r.heads + 2 * r.kv_heads;
    t.row = i / all;
    t.head = (int)(i % all);
    t.at = i * r.size;
    t.query = t.head < r.heads;
    t.value = t.head >= r.heads + r.kv_heads;
    t.cosine = r.cosine + t.row % r.length * (r.size / 2);
    t.sine = r.sine + t.row % r.length * (r.size / 2);
    return t;
}

template <typename T>
__global__ void __launch_bounds__(THREADS) rope_kernel(struct rope_arrays a)
{
    int half = a.r.size / 2, lane = threadIdx.x & 31;
    int64_t i = (int64_t)blockIdx.x * WARPS + (threadIdx.x >> 5);
    if (i >= a.items)
        return;
    struct rope_item t = item_of(a.r, i);
    const T *x = (const T *)a.x + t.at;
    T *y = (T *)a.y + t.at;
    if (t.value) {
        if ((const void *)x != (const void *)y)
            for (int j = lane; j < a.r.size; j += 32)
                y[j] = x[j];
        return;
    }
    const T *weight = (const T *)(t.query ? a.r.q_weight : a.r.k_weight);
    float low[PAIRS], high[PAIRS], squares = 0.0f, inverse = 1.0f;
#pragma unroll
    for (int p = 0; p < PAIRS; p++) {
        int j = lane + 32 * p;
        low[p] = j < half ? to_f(x[j]) : 0.0f;
        high[p] = j < half ? to_f(x[j + half]) : 0.0f;
        squares += low[p] * low[p] + high[p] * high[p];
    }
    if (weight) {
        inverse = rsqrtf(warp_sum(squares) / a.r.size + a.r.epsilon);
        if (lane == 0)
            a.stats[t.row * (a.r.heads + a.r.kv_heads) + t.head] = inverse;
    }
#pragma unroll
    for (int p = 0; p < PAIRS; p++) {
        int j = lane + 32 * p;
        if (j >= half)
            continue;
        float u = low[p], v = high[p], cosine = t.cosine[j], sine = t.sine[j];
        if (weight) {
            u *= inverse * to_f(weight[j]);
            v *= inverse * to_f(weight[j + half]);
        }
        from_f(y[j], u * cosine - v * sine);
        from_f(y[j + half], v * cosine + u * sine);
    }
}

/* Weights' gradients: each warp keeps its lanes' columns, [query, key] of a partial
 * row. */
template <typename T>
__global__ void __launch_bounds__(THREADS) rope_back_kernel(struct rope_arrays a)
{
    extern __shared__ float sums[]; /* [WARPS][2][size] */
    int half = a.r.size / 2, lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    float low_sum[2][PAIRS] = {}, high_sum[2][PAIRS] = {};
    for (int64_t i = (int64_t)blockIdx.x * WARPS + warp; i < a.items;
         i += (int64_t)gridDim.x * WARPS) {
        struct rope_item t = item_of(a.r, i);
        const T *x = (const T *)a.x + t.at, *dy = (const T *)a.dy + t.at;
        T *dx = (T *)a.dx + t.at;
        if (t.value) {
            if ((const void *)dx != (const void *)dy)
                for (int j = lane; j < a.r.size; j += 32)
                    dx[j] = dy[j];
            continue;
        }
        const T *weight = (const T *)(t.query ? a.r.q_weight : a.r.k_weight);
        float inverse =
            weight ? a.stats[t.row * (a.r.heads + a.r.kv_heads) + t.head] : 1.0f;
        float low[PAIRS], high[PAIRS], dot = 0.0f;
#pragma unroll
        for (int p = 0; p < PAIRS; p++) {
            int j = lane + 32 * p;
            low[p] = high[p] = 0.0f;
            if (j >= half)
                continue;
            float u = to_f(dy[j]), v = to_f(dy[j + half]);
            float cosine = t.cosine[j], sine = t.sine[j];
            low[p] = u * cosine + v * sine;
            high[p] = v * cosine - u * sine;
            if (!weight)
                continue;
            float nl = to_f(x[j]) * inverse, nh = to_f(x[j + half]) * inverse;
            float gl = low[p] * nl, gh = high[p] * nh;
            low_sum[0][p] += t.query ? gl : 0.0f;
            high_sum[0][p] += t.query ? gh : 0.0f;
            low_sum[1][p] += t.query ? 0.0f : gl;
            high_sum[1][p] += t.query ? 0.0f : gh;
            low[p] *= to_f(weight[j]);
            high[p] *= to_f(weight[j + half]);
            dot += low[p] * nl + high[p] * nh;
        }
        if (weight)
            dot = warp_sum(dot) / a.r.size;
#pragma unroll
        for (int p = 0; p < PAIRS; p++) {
            int j = lane + 32 * p;
            if (j >= half)
                continue;
            float u = low[p], v = high[p];
            if (weight) {
                u = inverse * (u - to_f(x[j]) * inverse * dot);
                v = inverse * (v - to_f(x[j + half]) * inverse * dot);
            }
            from_f(dx[j], u);
            from_f(dx[j + half], v);
        }
    }
    if (!a.partial)
        return;
#pragma unroll
    for (int part = 0; part < 2; part++)
#pragma unroll
        for (int p = 0; p < PAIRS; p++) {
            int j = lane + 32 * p;
            if (j < half) {
                sums[(warp * 2 + part) * a.r.size + j] = low_sum[part][p];
                sums[(warp * 2 + part) * a.r.size + j + half] = high_sum[part][p];
            }
        }
    __syncthreads();
    for (int i = threadIdx.x; i < 2 * a.r.size; i += THREADS) {
        float sum = 0.0f;
        for (int w = 0; w < WARPS; w++)
            sum += sums[w * 2 * a.r.size + i];
        a.partial[(int64_t)blockIdx.x * 2 * a.r.size + i] = sum;
    }
}

static bool rope_begin(struct kernel_context *c, const struct kernel_rope *r,
                       struct rope_arrays *ret)
{
    *ret = rope_arrays{};
    ret->r = *r;
    ret->items = (int64_t)r->batch * r->length * (r->heads + 2 * r->kv_heads);
    if (r->size % 2 || r->size > 64 * PAIRS) {
        cuda__fail(c, "rope", "heads must have an even size, 256 at most");
        return false;
    }
    return ret->items > 0;
}

void cuda__rope(struct kernel_context *c, const struct kernel_rope *r, void *y,
                float *stats, const void *x)
{
    struct rope_arrays a;
    if (!rope_begin(c, r, &a))
        return;
    a.x = x, a.y = y, a.stats = stats;
    TYPED(r->type,
          (rope_kernel<T><<<blocks_for(a.items, WARPS), THREADS, 0, c->stream>>>(a)));
    cuda__launched(c, "rope");
}

static unsigned back_blocks(const struct kernel_rope *r)
{
    int64_t items = (int64_t)r->batch * r->length * (r->heads + 2 * r->kv_heads);
    return max(1u, min(blocks_for(items, WARPS * 8), 1024u));
}

size_t cuda__rope_scratch(struct kernel_context *c, const struct kernel_rope *r)
{
    (void)c;
    return r->q_weight ? (size_t)back_blocks(r) * 2 * (size_t)r->size * 4 : 0;
}

void cuda__rope_back(struct kernel_context *c, const struct kernel_rope *r, void *dx,
                     float *dq_weight, float *dk_weight, const void *dy, const void *x,
                     const float *stats, void *scratch)
{
    struct rope_arrays a;
    if (!rope_begin(c, r, &a))
        return;
    unsigned blocks = back_blocks(r);
    size_t shared = (size_t)WARPS * 2 * r->size * 4;
    a.x = x, a.dy = dy, a.dx = dx, a.stats = (float *)stats;
    a.partial = r->q_weight ? (float *)scratch : NULL;
    TYPED(r->type, (rope_back_kernel<T><<<blocks, THREADS, shared, c->stream>>>(a)));
    cuda__launched(c, "rope_back");
    if (r->q_weight && dq_weight)
        cuda__sum_partials(c, dq_weight, a.partial, (int)blocks, r->size, 2 * r->size,
                           true);
    if (r->q_weight && dk_weight)
        cuda__sum_partials(c, dk_weight, a.partial + r->size, (int)blocks, r->size,
                           2 * r->size, true);
}
