/* SPDX-License-Identifier: Apache-2.0
 *
 * What the kernels of attention over a paged cache share. How long sequences are is
 * known on the device alone, so a launch has as many blocks as there may be work items,
 * and each block finds out by itself which item is its own: sequence by sequence, in
 * order. Sequences with one new token are those of the decode kernel, all others the
 * prefill's.
 */
#ifndef KERNELS_CUDA_PAGED_CUH
#define KERNELS_CUDA_PAGED_CUH
#include "device.cuh"

struct paged_arrays {
    struct kernel_sequences s;
    const bf16 *keys, *values, *q;
    bf16 *out;
    int heads, kv_heads;
    float scale;
};

static inline paged_arrays paged_arrays_of(const struct kernel_paged *a, void *out,
                                           const void *q)
{
    return paged_arrays{*a->sequences,
                        (const bf16 *)a->keys,
                        (const bf16 *)a->values,
                        (const bf16 *)q,
                        (bf16 *)out,
                        a->heads,
                        a->kv_heads,
                        a->scale};
}

/* Item `part` of the `parts` that a sequence has; sequence < 0: there is no such item.
 * row: its first new token; count: of its new tokens; context: of its tokens. */
struct paged_item {
    int sequence, part, parts, row, count, context;
};

/* Inclusive sum over the lanes. */
__device__ __forceinline__ int warp_scan(int x)
{
#pragma unroll
    for (int i = 1; i < 32; i *= 2) {
        int y = __shfl_up_sync(0xffffffffu, x, i);
        if ((threadIdx.x & 31) >= i)
            x += y;
    }
    return x;
}

/* parts_of(new tokens, context): how many items a sequence has. All lanes of a warp
 * call it and get the same. */
template <typename F>
__device__ __forceinline__ paged_item paged_find(const struct kernel_sequences &s,
                                                 int item, F parts_of)
{
    int lane = threadIdx.x & 31, before = 0;
    for (int base = 0; base < s.count; base += 32) {
        int i = base + lane, row = 0, count = 0, context = 0, parts = 0;
        if (i < s.count) {
            row = s.first[i];
            count = s.first[i + 1] - row;
            context = s.context[i];
            parts = count > 0 ? parts_of(count, context) : 0;
        }
        int end = before + warp_scan(parts);
        unsigned after = __ballot_sync(0xffffffffu, item < end);
        if (after) {
            int from = __ffs(after) - 1;
            paged_item found = {base + from, item - (end - parts), parts, row, count,
                                context};
            found.part = __shfl_sync(0xffffffffu, found.part, from);
            found.parts = __shfl_sync(0xffffffffu, parts, from);
            found.row = __shfl_sync(0xffffffffu, row, from);
            found.count = __shfl_sync(0xffffffffu, count, from);
            found.context = __shfl_sync(0xffffffffu, context, from);
            return found;
        }
        before = __shfl_sync(0xffffffffu, end, 31);
    }
    return paged_item{-1, 0, 0, 0, 0, 0};
}

#endif
