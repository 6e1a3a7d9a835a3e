/* SPDX-License-Identifier: Apache-2.0
 *
 * Causal attention without tensor cores: float, and heads of other sizes (up to 256). A
 * warp has one query (or, for the gradients of keys and values, one key); its lanes
 * share 32 keys (queries) at a time for the scores, and the elements of the head for
 * the sums.
 */
#include "device.cuh"

#define WARPS 8
#define THREADS (WARPS * 32)
#define PARTS 8 /* elements of a lane: sizes up to 256 */

struct plain_arrays {
    struct kernel_attention a;
    const void *qkv, *dout;
    void *out, *dqkv;
    float *lse_out;
    const float *lse, *delta;
    int64_t stride, out_stride;
};

/* The warp's item: position `at` of head `head` of a sequence. */
struct plain_item {
    int at, head, batch;
    bool there;
};

__device__ __forceinline__ struct plain_item item_of(const struct kernel_attention &a,
                                                     int heads)
{
    struct plain_item t;
    int64_t i = (int64_t)blockIdx.x * WARPS + (threadIdx.x >> 5);
    t.at = (int)(i % a.length);
    t.head = (int)(i / a.length % heads);
    t.batch = (int)(i / a.length / heads);
    t.there = t.batch < a.batch;
    return t;
}

template <typename T>
__device__ __forceinline__ float dot(const T *x, const T *y, int size)
{
    float sum = 0.0f;
    for (int i = 0; i < size; i++)
        sum += to_f(x[i]) * to_f(y[i]);
    return sum;
}

/* sums += factor of each lane times row of each lane. */
template <typename T>
__device__ __forceinline__ void add_rows(float sums[PARTS], float factor, const T *rows,
                                         int64_t stride, int count, int size)
{
    int lane = threadIdx.x & 31;
    for (int i = 0; i < count; i++) {
        float f = __shfl_sync(0xffffffffu, factor, i);
#pragma unroll
        for (int p = 0; p < PARTS; p++)
            if (lane + 32 * p < size)
                sums[p] += f * to_f(rows[i * stride + lane + 32 * p]);
    }
}

template <typename T>
__device__ __forceinline__ void write_row(T *row, const float sums[PARTS], float factor,
                                          int size)
{
    int lane = threadIdx.x & 31;
#pragma unroll
    for (int p = 0; p < PARTS; p++)
        if (lane + 32 * p < size)
            from_f(row[lane + 32 * p], sums[p] * factor);
}

template <typename T>
__global__ void __launch_bounds__(THREADS) plain_kernel(struct plain_arrays x)
{
    const struct kernel_attention &a = x.a;
    struct plain_item m = item_of(a, a.heads);
    int lane = threadIdx.x & 31;
    if (!m.there)
        return;
    int64_t row0 = (int64_t)m.batch * a.length;
    const T *base = (const T *)x.qkv + row0 * x.stride;
    const T *query = base + m.at * x.stride + m.head * a.size;
    const T *keys = base + (a.heads + m.head / (a.heads / a.kv_heads)) * a.size;
    const T *values = keys + a.kv_heads * a.size;
    float most = -INFINITY, sum = 0.0f, out[PARTS] = {};
    for (int k = 0; k <= m.at; k += 32) {
        bool mine = k + lane <= m.at;
        float s = mine ? a.scale * dot(query, keys + (k + lane) * x.stride, a.size)
                       : -INFINITY;
        float now = fmaxf(most, warp_max(s)), rescale = __expf(most - now);
        float p = mine ? __expf(s - now) : 0.0f;
        most = now;
        sum = sum * rescale + warp_sum(p);
#pragma unroll
        for (int i = 0; i < PARTS; i++)
            out[i] *= rescale;
        add_rows(out, p, values + k * x.stride, x.stride, min(32, m.at + 1 - k),
                 a.size);
    }
    write_row((T *)x.out + (row0 + m.at) * x.out_stride + m.head * a.size, out,
              1.0f / sum, a.size);
    if (lane == 0)
        x.lse_out[((int64_t)m.batch * a.heads + m.head) * a.length + m.at] =
            most + logf(sum);
}

template <typename T>
__global__ void __launch_bounds__(THREADS) plain_dq_kernel(struct plain_arrays x)
{
    const struct kernel_attention &a = x.a;
    struct plain_item m = item_of(a, a.heads);
    int lane = threadIdx.x & 31;
    if (!m.there)
        return;
    int64_t row0 = (int64_t)m.batch * a.length;
    int64_t at = ((int64_t)m.batch * a.heads + m.head) * a.length + m.at;
    const T *base = (const T *)x.qkv + row0 * x.stride;
    const T *query = base + m.at * x.stride + m.head * a.size;
    const T *keys = base + (a.heads + m.head / (a.heads / a.kv_heads)) * a.size;
    const T *values = keys + a.kv_heads * a.size;
    const T *dout = (const T *)x.dout + (row0 + m.at) * x.out_stride + m.head * a.size;
    float lse = x.lse[at], delta = x.delta[at], dq[PARTS] = {};
    for (int k = 0; k <= m.at; k += 32) {
        float ds = 0.0f;
        if (k + lane <= m.at) {
            int64_t row = (k + lane) * x.stride;
            float p = __expf(a.scale * dot(query, keys + row, a.size) - lse);
            ds = p * (dot(dout, values + row, a.size) - delta);
        }
        add_rows(dq, ds, keys + k * x.stride, x.stride, min(32, m.at + 1 - k), a.size);
    }
    write_row((T *)x.dqkv + (row0 + m.at) * x.stride + m.head * a.size, dq, a.scale,
              a.size);
}

template <typename T>
__global__ void __launch_bounds__(THREADS) plain_dkv_kernel(struct plain_arrays x)
{
    const struct kernel_attention &a = x.a;
    struct plain_item m = item_of(a, a.kv_heads);
    int lane = threadIdx.x & 31, group = a.heads / a.kv_heads;
    if (!m.there)
        return;
    int64_t row0 = (int64_t)m.batch * a.length;
    const T *base = (const T *)x.qkv + row0 * x.stride;
    int64_t key_at = m.at * x.stride + (a.heads + m.head) * a.size;
    int64_t value_at = key_at + a.kv_heads * a.size;
    float dk[PARTS] = {}, dv[PARTS] = {};
    for (int head = m.head * group; head < (m.head + 1) * group; head++) {
        const T *queries = base + head * a.size;
        const T *dout = (const T *)x.dout + row0 * x.out_stride + head * a.size;
        int64_t rows = ((int64_t)m.batch * a.heads + head) * a.length;
        for (int q = m.at; q < a.length; q += 32) {
            float p = 0.0f, ds = 0.0f;
            if (q + lane < a.length) {
                const T *query = queries + (q + lane) * x.stride;
                p = __expf(a.scale * dot(query, base + key_at, a.size) -
                           x.lse[rows + q + lane]);
                ds = p *
                     (dot(dout + (q + lane) * x.out_stride, base + value_at, a.size) -
                      x.delta[rows + q + lane]);
            }
            int count = min(32, a.length - q);
            add_rows(dk, ds, queries + q * x.stride, x.stride, count, a.size);
            add_rows(dv, p, dout + q * x.out_stride, x.out_stride, count, a.size);
        }
    }
    T *to = (T *)x.dqkv + row0 * x.stride;
    write_row(to + key_at, dk, a.scale, a.size);
    write_row(to + value_at, dv, 1.0f, a.size);
}

/* size / 8 lanes a head when that is 1, 2, 4, 8, 16 or 32; else a thread a head. */
template <typename T>
__global__ void __launch_bounds__(THREADS)
    delta_kernel(struct kernel_attention a, float *delta, const T *dout, const T *out,
                 int lanes)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    int64_t items = (int64_t)a.batch * a.length * a.heads, item = i / lanes;
    float sum = 0.0f;
    bool there = item < items;
    if (there && lanes > 1) {
        float v[8], d[8];
        load8(v, out + i * 8);
        load8(d, dout + i * 8);
#pragma unroll
        for (int j = 0; j < 8; j++)
            sum += v[j] * d[j];
    } else if (there) {
        sum = dot(out + item * a.size, dout + item * a.size, a.size);
    }
    for (int step = lanes / 2; step > 0; step /= 2)
        sum += __shfl_xor_sync(0xffffffffu, sum, step);
    if (!there || i % lanes)
        return;
    int64_t row = item / a.heads;
    delta[(row / a.length * a.heads + item % a.heads) * a.length + row % a.length] =
        sum;
}

void cuda__attention_delta(struct kernel_context *c, const struct kernel_attention *a,
                           float *delta, const void *dout, const void *out)
{
    bool wide = (a->size == 16 || a->size == 32 || a->size == 64 || a->size == 128 ||
                 a->size == 256) &&
                aligned16(dout) && aligned16(out);
    int lanes = wide ? a->size / 8 : 1;
    int64_t threads = (int64_t)a->batch * a->length * a->heads * lanes;
    TYPED(a->type,
          (delta_kernel<T><<<blocks_for(threads, THREADS), THREADS, 0, c->stream>>>(
              *a, delta, (const T *)dout, (const T *)out, lanes)));
    cuda__launched(c, "attention_back");
}

static struct plain_arrays arrays_of(const struct kernel_attention *a, const void *qkv)
{
    struct plain_arrays x = {};
    x.a = *a;
    x.qkv = qkv;
    x.stride = (int64_t)(a->heads + 2 * a->kv_heads) * a->size;
    x.out_stride = (int64_t)a->heads * a->size;
    return x;
}

void cuda__attention_plain(struct kernel_context *c, const struct kernel_attention *a,
                           void *out, float *lse, const void *qkv)
{
    struct plain_arrays x = arrays_of(a, qkv);
    unsigned blocks = blocks_for((int64_t)a->batch * a->heads * a->length, WARPS);
    x.out = out, x.lse_out = lse;
    TYPED(a->type, (plain_kernel<T><<<blocks, THREADS, 0, c->stream>>>(x)));
    cuda__launched(c, "attention");
}

void cuda__attention_back_plain(struct kernel_context *c,
                                const struct kernel_attention *a, void *dqkv,
                                const void *dout, const float *lse, const void *qkv,
                                const float *delta)
{
    struct plain_arrays x = arrays_of(a, qkv);
    int64_t rows = (int64_t)a->batch * a->length;
    x.dqkv = dqkv, x.dout = dout, x.lse = lse, x.delta = delta;
    TYPED(a->type,
          (plain_dq_kernel<T>
           <<<blocks_for(rows * a->heads, WARPS), THREADS, 0, c->stream>>>(x)));
    TYPED(a->type,
          (plain_dkv_kernel<T>
           <<<blocks_for(rows * a->kv_heads, WARPS), THREADS, 0, c->stream>>>(x)));
    cuda__launched(c, "attention_back");
}
