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

/* Tiles of so many new tokens that there may be, of sequences with more than one: each
 * of these may have one that is not full. */
static inline int paged_tiles(const struct kernel_sequences *s, int size)
{
    return s->tokens / size + (s->prompts > 0 ? s->prompts : s->count);
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

#define PAGED_EACH 4 /* sequences of a lane at once: that much is loaded in one go */

/* parts_of(new tokens, context): how many items a sequence has. All lanes of a warp
 * call it and get the same. */
template <typename F>
__device__ __forceinline__ paged_item paged_find(const struct kernel_sequences &s,
                                                 int item, F parts_of)
{
    int lane = threadIdx.x & 31, before = 0;
    for (int base = 0; base < s.count; base += 32 * PAGED_EACH) {
        int first = base + lane * PAGED_EACH, all = 0;
        int row[PAGED_EACH + 1], context[PAGED_EACH], parts[PAGED_EACH];
#pragma unroll
        for (int e = 0; e <= PAGED_EACH; e++)
            row[e] = s.first[min(first + e, s.count)];
#pragma unroll
        for (int e = 0; e < PAGED_EACH; e++)
            context[e] = s.context[min(first + e, s.count - 1)];
#pragma unroll
        for (int e = 0; e < PAGED_EACH; e++) {
            int count = row[e + 1] - row[e]; /* 0 behind the last one */
            parts[e] = count > 0 ? parts_of(count, context[e]) : 0;
            all += parts[e];
        }
        int end = before + warp_scan(all);
        unsigned after = __ballot_sync(0xffffffffu, item < end);
        if (after) {
            int from = __ffs(after) - 1, at = item - (end - all);
            paged_item found = {-1, 0, 0, 0, 0, 0};
#pragma unroll
            for (int e = 0; e < PAGED_EACH; e++) {
                if (found.sequence < 0 && at < parts[e])
                    found = {first + e, at, parts[e], row[e], row[e + 1] - row[e],
                             context[e]};
                at -= parts[e];
            }
            found.sequence = __shfl_sync(0xffffffffu, found.sequence, from);
            found.part = __shfl_sync(0xffffffffu, found.part, from);
            found.parts = __shfl_sync(0xffffffffu, found.parts, from);
            found.row = __shfl_sync(0xffffffffu, found.row, from);
            found.count = __shfl_sync(0xffffffffu, found.count, from);
            found.context = __shfl_sync(0xffffffffu, found.context, from);
            return found;
        }
        before = __shfl_sync(0xffffffffu, end, 31);
    }
    return paged_item{-1, 0, 0, 0, 0, 0};
}

#endif
