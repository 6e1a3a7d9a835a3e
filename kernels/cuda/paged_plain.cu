/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention over a paged cache by plain arithmetic, for types and sizes of heads that
 * have no kernel with tensor cores: a block has one query of one head, its warps take
 * the keys by turns.
 */
#include "paged.cuh"

#define WARPS 4
#define SPAN 8 /* elements of a head in a lane: sizes up to 256 */

/* The sequence of a row of new tokens; -1: of none. */
__device__ __forceinline__ int sequence_of(const struct kernel_sequences &s, int row)
{
    int low = 0, high = s.count; /* the last one that begins at row or before */
    while (low < high) {
        int middle = (low + high) / 2;
        if (s.first[middle] <= row)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 && row < s.first[low] ? low - 1 : -1;
}

template <typename T>
__global__ void __launch_bounds__(WARPS * 32)
    paged_plain_kernel(struct kernel_paged a, struct kernel_sequences s, T *out,
                       const T *q)
{
    __shared__ float most_of[WARPS], sum_of[WARPS], o_of[WARPS][32 * SPAN];
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    int row = (int)blockIdx.x, head = (int)blockIdx.y;
    int i = sequence_of(s, row), kv = head / (a.heads / a.kv_heads);
    if (i < 0)
        return;
    int context = s.context[i];
    int seen = context > 0 ? context - (s.first[i + 1] - 1 - row) : 0;
    const int32_t *blocks = s.blocks + (int64_t)i * s.stride;
    const T *keys = (const T *)a.keys, *values = (const T *)a.values;
    int64_t at = ((int64_t)row * a.heads + head) * a.size;
    float query[SPAN], o[SPAN] = {}, most = -INFINITY, sum = 0.0f;
#pragma unroll
    for (int e = 0; e < SPAN; e++)
        query[e] = lane + 32 * e < a.size ? to_f(q[at + lane + 32 * e]) : 0.0f;
    for (int t = warp; t < seen; t += WARPS) {
        int64_t from =
            (((int64_t)blocks[t / KERNEL_BLOCK] * a.kv_heads + kv) * KERNEL_BLOCK +
             t % KERNEL_BLOCK) *
            a.size;
        float dot = 0.0f;
#pragma unroll
        for (int e = 0; e < SPAN; e++)
            if (lane + 32 * e < a.size)
                dot += query[e] * to_f(keys[from + lane + 32 * e]);
        dot = warp_sum(dot) * a.scale;
        float now = fmaxf(most, dot), rescale = expf(most - now), p = expf(dot - now);
        most = now;
        sum = sum * rescale + p;
#pragma unroll
        for (int e = 0; e < SPAN; e++)
            if (lane + 32 * e < a.size)
                o[e] = o[e] * rescale + p * to_f(values[from + lane + 32 * e]);
    }
    if (lane == 0) {
        most_of[warp] = most;
        sum_of[warp] = sum;
    }
#pragma unroll
    for (int e = 0; e < SPAN; e++)
        o_of[warp][lane + 32 * e] = o[e];
    __syncthreads();
    most = -INFINITY;
    for (int w = 0; w < WARPS; w++)
        most = fmaxf(most, most_of[w]);
    for (int j = (int)threadIdx.x; j < a.size; j += WARPS * 32) {
        float all = 0.0f, total = 0.0f;
        for (int w = 0; w < WARPS; w++) {
            float factor = sum_of[w] > 0.0f ? expf(most_of[w] - most) : 0.0f;
            all += o_of[w][j] * factor;
            total += sum_of[w] * factor;
        }
        from_f(out[at + j], total > 0.0f ? all / total : 0.0f);
    }
}

void cuda__paged_plain(struct kernel_context *c, const struct kernel_paged *a,
                       void *out, const void *q)
{
    dim3 grid((unsigned)a->sequences->tokens, (unsigned)a->heads);
    TYPED(a->type, (paged_plain_kernel<T><<<grid, WARPS * 32, 0, c->stream>>>(
                       *a, *a->sequences, (T *)out, (const T *)q)));
    cuda__launched(c, "paged_attention");
}
