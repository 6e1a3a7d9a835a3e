/* SPDX-License-Identifier: Apache-2.0
 *
 * Causal attention in one pass over the keys (Dao et al., FlashAttention-2): a block
 * has some queries of one head, walks over the keys in steps of 64 with an online
 * softmax, and never writes scores. bf16, heads of 64 or 128.
 */
#include "mma.cuh"

#define STEP 64 /* keys */

template <int SIZE, int TILES, int WARPS> struct forward_shape {
    static constexpr int THREADS = WARPS * 32, QUERIES = WARPS * TILES * 16;
    static constexpr int QUERY_BYTES = QUERIES * SIZE * 2, STEP_BYTES = STEP * SIZE * 2;
    static constexpr int SHARED = QUERY_BYTES + 4 * STEP_BYTES;
};

/* Sums of the four lanes that share rows. */
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

/* s becomes exp2((s - largest) * factor) for TILES * 16 rows; o and sum are rescaled.
 */
template <int SIZE, int TILES>
__device__ __forceinline__ void softmax_step(float (*s)[STEP / 8][4],
                                             float (*o)[SIZE / 8][4], float (*most)[2],
                                             float (*sum)[2], float factor)
{
#pragma unroll
    for (int mt = 0; mt < TILES; mt++)
#pragma unroll
        for (int r = 0; r < 2; r++) {
            float now = most[mt][r];
#pragma unroll
            for (int nt = 0; nt < STEP / 8; nt++)
                now = fmaxf(now, fmaxf(s[mt][nt][2 * r], s[mt][nt][2 * r + 1]));
            now = quad_max(now);
            float shift = now * factor, part = 0.0f;
            float rescale = exp2_fast(most[mt][r] * factor - shift);
            most[mt][r] = now;
#pragma unroll
            for (int nt = 0; nt < STEP / 8; nt++) {
                float a = exp2_fast(s[mt][nt][2 * r] * factor - shift);
                float b = exp2_fast(s[mt][nt][2 * r + 1] * factor - shift);
                s[mt][nt][2 * r] = a;
                s[mt][nt][2 * r + 1] = b;
                part += a + b;
            }
            sum[mt][r] = sum[mt][r] * rescale + part;
#pragma unroll
            for (int nt = 0; nt < SIZE / 8; nt++) {
                o[mt][nt][2 * r] *= rescale;
                o[mt][nt][2 * r + 1] *= rescale;
            }
        }
}

/* s = the warp's queries times the keys of a step. */
template <int SIZE, int TILES>
__device__ __forceinline__ void scores(float (*s)[STEP / 8][4],
                                       unsigned (*q)[SIZE / 16][4], unsigned keys)
{
#pragma unroll
    for (int ks = 0; ks < SIZE / 16; ks++)
#pragma unroll
        for (int nt = 0; nt < STEP / 16; nt++) {
            unsigned b[4];
            load_b<SIZE>(b, keys, nt * 16, ks * 16);
#pragma unroll
            for (int mt = 0; mt < TILES; mt++) {
                mma(s[mt][2 * nt], q[mt][ks], b[0], b[1]);
                mma(s[mt][2 * nt + 1], q[mt][ks], b[2], b[3]);
            }
        }
}

/* Keys after their query do not count. ahead: the step's first key minus the warp's
 * first query. */
template <int TILES>
__device__ __forceinline__ void mask(float (*s)[STEP / 8][4], int ahead)
{
    int lane = threadIdx.x & 31, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int mt = 0; mt < TILES; mt++)
#pragma unroll
        for (int nt = 0; nt < STEP / 8; nt++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                if (ahead + nt * 8 + 2 * t + (e & 1) > mt * 16 + g + (e / 2) * 8)
                    s[mt][nt][e] = -INFINITY;
}

/* o += probabilities times the values of a step. */
template <int SIZE, int TILES>
__device__ __forceinline__ void gather(float (*o)[SIZE / 8][4], float (*s)[STEP / 8][4],
                                       unsigned values)
{
#pragma unroll
    for (int ks = 0; ks < STEP / 16; ks++) {
        unsigned p[TILES][4];
#pragma unroll
        for (int mt = 0; mt < TILES; mt++)
            sums_to_a(p[mt], s[mt][2 * ks], s[mt][2 * ks + 1]);
#pragma unroll
        for (int nt = 0; nt < SIZE / 16; nt++) {
            unsigned b[4];
            load_b_t<SIZE>(b, values, nt * 16, ks * 16);
#pragma unroll
            for (int mt = 0; mt < TILES; mt++) {
                mma(o[mt][2 * nt], p[mt], b[0], b[1]);
                mma(o[mt][2 * nt + 1], p[mt], b[2], b[3]);
            }
        }
    }
}

/* The warp's rows, through its own rows of the queries' tile: whole 16-byte chunks.
 * row0: its first in the tile; out, lse: of the tile's first query; valid: queries that
 * are there. */
template <int SIZE, int TILES>
__device__ __forceinline__ void
write_out(unsigned char *shared, float (*o)[SIZE / 8][4], float (*most)[2],
          float (*sum)[2], float scale, int row0, bf16 *out, int64_t stride, float *lse,
          int valid)
{
    int lane = threadIdx.x & 31, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int mt = 0; mt < TILES; mt++)
#pragma unroll
        for (int r = 0; r < 2; r++) {
            int row = row0 + mt * 16 + g + r * 8;
            float total = quad_sum(sum[mt][r]), inverse = 1.0f / total;
            if (t == 0 && row < valid)
                lse[row] = most[mt][r] * scale + __logf(total);
#pragma unroll
            for (int nt = 0; nt < SIZE / 8; nt++)
                *(unsigned *)(shared + tile_at<SIZE>(row, nt) + t * 4) =
                    pack2(o[mt][nt][2 * r] * inverse, o[mt][nt][2 * r + 1] * inverse);
        }
    __syncwarp();
#pragma unroll
    for (int i = lane; i < TILES * 16 * SIZE / 8; i += 32) {
        int row = row0 + i / (SIZE / 8), chunk = i % (SIZE / 8);
        if (row < valid)
            *(uint4 *)(out + row * stride + chunk * 8) =
                *(const uint4 *)(shared + tile_at<SIZE>(row, chunk));
    }
}

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
    cuda__check(c, "attention",
                cudaFuncSetAttribute(kernel,
                                     cudaFuncAttributeMaxDynamicSharedMemorySize,
                                     shape::SHARED));
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
