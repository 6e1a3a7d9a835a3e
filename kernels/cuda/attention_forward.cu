/* SPDX-License-Identifier: Apache-2.0
 *
 * Causal attention in one pass over the keys (Dao et al., FlashAttention-2): a block
 * has some queries of one head, walks over the keys in steps of 64 with an online
 * softmax, and never writes scores. bf16, heads of 64 or 128.
 */
#include "flash.cuh"

template <int SIZE, int TILES, int WARPS>
__global__ void __launch_bounds__(WARPS * 32, SIZE == 64 ? 2 : 1)
    attention_kernel(struct kernel_attention a, bf16 *out, float *lse, const bf16 *qkv)
{
    using shape = forward_shape<SIZE, TILES, WARPS>;
    extern __shared__ __align__(128) unsigned char shared[];
    unsigned queries = shared_address(shared), steps = queries + shape::QUERY_BYTES;
    int warp = threadIdx.x >> 5, head = blockIdx.y % a.heads,
        batch = blockIdx.y / a.heads;
    /* The longest walks first. */
    int q0 = (int)(gridDim.x - 1 - blockIdx.x) * shape::QUERIES,
        row0 = warp * TILES * 16;
    int count = (min(q0 + shape::QUERIES, a.length) + STEP - 1) / STEP;
    int64_t stride = (int64_t)(a.heads + 2 * a.kv_heads) * SIZE;
    const bf16 *base = qkv + (int64_t)batch * a.length * stride;
    const bf16 *keys = base + (int64_t)(a.heads + head / (a.heads / a.kv_heads)) * SIZE;
    const bf16 *values = keys + (int64_t)a.kv_heads * SIZE;

    auto load_step = [&](int i) {
        unsigned to = steps + (unsigned)(i & 1) * 2 * shape::STEP_BYTES;
        int64_t from = (int64_t)i * STEP * stride;
        int valid = a.length - i * STEP;
        load_tile<STEP, SIZE, shape::THREADS>(to, keys + from, stride, valid);
        load_tile<STEP, SIZE, shape::THREADS>(to + shape::STEP_BYTES, values + from,
                                              stride, valid);
        copies_commit();
    };
    load_tile<shape::QUERIES, SIZE, shape::THREADS>(
        queries, base + q0 * stride + (int64_t)head * SIZE, stride, a.length - q0);
    load_step(0);

    unsigned q[TILES][SIZE / 16][4];
    float o[TILES][SIZE / 8][4] = {}, most[TILES][2], sum[TILES][2] = {};
#pragma unroll
    for (int mt = 0; mt < TILES; mt++)
        most[mt][0] = most[mt][1] = -INFINITY;
    for (int i = 0; i < count; i++) {
        copies_wait<0>();
        __syncthreads();
        if (i == 0)
#pragma unroll
            for (int mt = 0; mt < TILES; mt++)
#pragma unroll
                for (int ks = 0; ks < SIZE / 16; ks++)
                    load_a<SIZE>(q[mt][ks], queries, row0 + mt * 16, ks * 16);
        if (i + 1 < count)
            load_step(i + 1);
        int ahead = i * STEP - q0 - row0;
        if (ahead > TILES * 16 - 1)
            continue; /* all of these keys come after the warp's queries */
        unsigned step = steps + (unsigned)(i & 1) * 2 * shape::STEP_BYTES;
        float s[TILES][STEP / 8][4] = {};
        scores<SIZE, TILES>(s, q, step);
        if (ahead + STEP - 1 > 0)
            mask<TILES>(s, ahead);
        softmax_step<SIZE, TILES>(s, o, most, sum, a.scale * LOG2E);
        gather<SIZE, TILES>(o, s, step + shape::STEP_BYTES);
    }
    int64_t out_stride = (int64_t)a.heads * SIZE;
    write_out<SIZE, TILES>(
        shared, o, most, sum, a.scale, row0,
        out + ((int64_t)batch * a.length + q0) * out_stride + (int64_t)head * SIZE,
        out_stride, lse + (int64_t)blockIdx.y * a.length + q0, a.length - q0);
}

template <int SIZE, int TILES, int WARPS>
static void launch(struct kernel_context *c, const struct kernel_attention *a,
                   void *out, float *lse, const void *qkv)
{
    using shape = forward_shape<SIZE, TILES, WARPS>;
    auto kernel = attention_kernel<SIZE, TILES, WARPS>;
    dim3 grid(blocks_for(a->length, shape::QUERIES), (unsigned)(a->batch * a->heads));
    shared_allow(c, "attention", kernel, shape::SHARED);
    kernel<<<grid, shape::THREADS, shape::SHARED, c->stream>>>(*a, (bf16 *)out, lse,
                                                               (const bf16 *)qkv);
    cuda__launched(c, "attention");
}

void cuda__attention_bf16(struct kernel_context *c, const struct kernel_attention *a,
                          void *out, float *lse, const void *qkv)
{
    if (a->size == 64)
        launch<64, 2, 4>(c, a, out, lse, qkv);
    else
        launch<128, 1, 8>(c, a, out, lse, qkv);
}
