/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention of sequences with more than one new token over a paged cache: as
 * attention_forward.cu does it, keys and values being gathered block by block.
 */
#include "flash.cuh"
#include "paged.cuh"

#define WARPS 4
#define THREADS (WARPS * 32)
#define QUERIES (WARPS * 16)

template <int SIZE> struct prefill_shape {
    static constexpr int TILE = STEP * SIZE * 2, SHARED = 5 * TILE;
};

/* 64 keys or values of a sequence from token `at` on; those from `end` on are zeros. */
template <int SIZE>
__device__ __forceinline__ void gather_tile(unsigned to, const bf16 *cache,
                                            const int32_t *blocks, int kv_heads, int kv,
                                            int at, int end)
{
#pragma unroll
    for (int i = 0; i < STEP * SIZE / 8 / THREADS; i++) {
        int e = (int)threadIdx.x + i * THREADS, row = e / (SIZE / 8),
            chunk = e % (SIZE / 8);
        bool there = at + row < end;
        int64_t number = there ? blocks[(at + row) / KERNEL_BLOCK] : 0;
        int64_t from =
            ((number * kv_heads + kv) * KERNEL_BLOCK + row % KERNEL_BLOCK) * SIZE +
            chunk * 8;
        copy16(to + tile_at<SIZE>(row, chunk), cache + (there ? from : 0), there);
    }
}

template <int SIZE>
__global__ void __launch_bounds__(THREADS, 2) prefill_kernel(paged_arrays a)
{
    using shape = prefill_shape<SIZE>;
    extern __shared__ __align__(128) unsigned char shared[];
    unsigned queries = shared_address(shared), steps = queries + shape::TILE;
    /* The longest walks first. */
    paged_item item =
        paged_find(a.s, (int)(gridDim.x - 1 - blockIdx.x), [](int count, int) {
            return count > 1 ? (count + QUERIES - 1) / QUERIES : 0;
        });
    if (item.sequence < 0)
        return;
    int head = (int)blockIdx.y, kv = head / (a.heads / a.kv_heads);
    int warp = threadIdx.x >> 5, row0 = warp * 16;
    int q0 = item.part * QUERIES, valid = item.count - q0;
    int position = item.context > 0 ? item.context - item.count + q0 : 0;
    int end = min(position + QUERIES, item.context), count = (end + STEP - 1) / STEP;
    const int32_t *blocks = a.s.blocks + (int64_t)item.sequence * a.s.stride;
    int64_t stride = (int64_t)a.heads * SIZE;
    int64_t at = (item.row + q0) * stride + (int64_t)head * SIZE;
    auto load_step = [&](int i) {
        unsigned to = steps + (unsigned)(i & 1) * 2 * shape::TILE;
        gather_tile<SIZE>(to, a.keys, blocks, a.kv_heads, kv, i * STEP, end);
        gather_tile<SIZE>(to + shape::TILE, a.values, blocks, a.kv_heads, kv, i * STEP,
                          end);
        copies_commit();
    };
    load_tile<QUERIES, SIZE, THREADS>(queries, a.q + at, stride, valid);
    copies_commit();
    if (count > 0)
        load_step(0);
    unsigned q[1][SIZE / 16][4];
    float o[1][SIZE / 8][4] = {}, most[1][2] = {{-INFINITY, -INFINITY}}, sum[1][2] = {};
    for (int i = 0; i < count; i++) {
        copies_wait<0>();
        __syncthreads();
        if (i == 0)
#pragma unroll
            for (int ks = 0; ks < SIZE / 16; ks++)
                load_a<SIZE>(q[0][ks], queries, row0, ks * 16);
        if (i + 1 < count)
            load_step(i + 1);
        int ahead = i * STEP - position - row0;
        if (ahead > 15)
            continue; /* all of these keys come after the warp's queries */
        unsigned step = steps + (unsigned)(i & 1) * 2 * shape::TILE;
        float s[1][STEP / 8][4] = {};
        scores<SIZE, 1>(s, q, step);
        if (ahead + STEP - 1 > 0)
            mask<1>(s, ahead);
        softmax_step<SIZE, 1>(s, o, most, sum, a.scale * LOG2E);
        gather<SIZE, 1>(o, s, step + shape::TILE);
    }
    copies_wait<0>();
    __syncthreads();
    write_out<SIZE, 1>(shared, o, most, sum, a.scale, row0, a.out + at, stride, nullptr,
                       valid);
}

template <int SIZE>
static void launch(struct kernel_context *c, const paged_arrays &a, dim3 grid)
{
    constexpr int shared = prefill_shape<SIZE>::SHARED;
    shared_allow(c, "paged_attention", prefill_kernel<SIZE>, shared);
    prefill_kernel<SIZE><<<grid, THREADS, shared, c->stream>>>(a);
    cuda__launched(c, "paged_attention");
}

void cuda__paged_prefill(struct kernel_context *c, const struct kernel_paged *a,
                         void *out, const void *q)
{
    const struct kernel_sequences *s = a->sequences;
    dim3 grid((unsigned)paged_tiles(s, QUERIES), (unsigned)a->heads);
    paged_arrays x = paged_arrays_of(a, out, q);
    if (a->size == 64)
        launch<64>(c, x, grid);
    else
        launch<128>(c, x, grid);
}
