/* SPDX-License-Identifier: Apache-2.0
 *
 * Backward of causal attention, bf16, heads of 64 or 128. A block has 128 keys of one key head
 * and walks over the queries from its own position on, in steps of 64, for each query head of
 * the group. Scores are computed again, transposed ([keys, queries]), so that probabilities
 * and their gradients go from sums straight into the next product; only the gradients pass
 * through shared memory, for dq.
 *
 * dq is a sum over blocks. It is made in a fixed order, the last keys first: a block waits for
 * its turn at each tile of dq, which without delays has come by then, as the block of the last
 * keys begins with that tile. The first to come stores, the last writes the result, those
 * between add. Blocks take their work by a ticket, later keys first, so whoever is waited for
 * runs already. Each warp has its own part of each tile, and its own turns.
 */
#include "mma.cuh"

#define KEYS 128
#define QUERIES 64

template <int SIZE, int TILES> struct backward_shape {
    static constexpr int WARPS = KEYS / 16 / TILES, THREADS = WARPS * 32;
    static constexpr int KEY_BYTES = KEYS * SIZE * 2, QUERY_BYTES = QUERIES * SIZE * 2;
    static constexpr int DS_BYTES = KEYS * QUERIES * 2;
    /* keys, values, two stages of queries and dout, ds, two stages of lse and delta */
    static constexpr int AT_QUERIES = 2 * KEY_BYTES;
    static constexpr int AT_DS = AT_QUERIES + 4 * QUERY_BYTES;
    static constexpr int AT_ROWS = AT_DS + DS_BYTES;
    static constexpr int SHARED = AT_ROWS + 4 * QUERIES * 4;
    static constexpr int DQ_FLOATS = 32 * 32; /* of dq that a warp has of each tile */
};

struct backward_arrays {
    struct kernel_attention a;
    const bf16 *qkv, *dout;
    bf16 *dqkv;
    const float *lse, *delta;
    float *dq;   /* [batch, heads, tiles of queries, warps, 32 * 32] */
    int *turns;  /* [batch, heads, tiles of queries, warps], then the ticket */
    int64_t turn_count;
};

__device__ __forceinline__ int turn_read(const int *p)
{
    int v;
    asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
    return v;
}
__device__ __forceinline__ void turn_write(int *p, int v)
{
    asm volatile("st.release.gpu.global.s32 [%0], %1;" ::"l"(p), "r"(v) : "memory");
}

/* Lets the next one go on with a tile of dq; all lanes' writes come before. */
__device__ __forceinline__ void turn_pass(int *turn, int next)
{
    __threadfence();
    __syncwarp();
    if ((threadIdx.x & 31) == 0)
        turn_write(turn, next);
}

/* sums[TILES * 16 keys][32 queries] = rows of a_tile times rows of b_tile, over SIZE. */
template <int SIZE, int TILES>
__device__ __forceinline__ void scores(float (*sums)[4][4], unsigned a_tile, unsigned b_tile,
                                       int key, int query)
{
#pragma unroll
    for (int ks = 0; ks < SIZE / 16; ks++) {
        unsigned a[TILES][4], b[2][4];
#pragma unroll
        for (int mt = 0; mt < TILES; mt++)
            load_a<SIZE>(a[mt], a_tile, key + mt * 16, ks * 16);
        load_b<SIZE>(b[0], b_tile, query, ks * 16);
        load_b<SIZE>(b[1], b_tile, query + 16, ks * 16);
#pragma unroll
        for (int mt = 0; mt < TILES; mt++)
#pragma unroll
            for (int nt = 0; nt < 4; nt++)
                mma(sums[mt][nt], a[mt], b[nt / 2][nt % 2 * 2], b[nt / 2][nt % 2 * 2 + 1]);
    }
}

/* sums[TILES * 16 keys][SIZE] += p[keys][32 queries] times rows of b_tile. */
template <int SIZE, int TILES>
__device__ __forceinline__ void gather(float (*sums)[SIZE / 8][4], unsigned (*p)[2][4],
                                       unsigned b_tile, int query)
{
#pragma unroll
    for (int ks = 0; ks < 2; ks++)
#pragma unroll
        for (int nt = 0; nt < SIZE / 16; nt++) {
            unsigned b[4];
            load_b_t<SIZE>(b, b_tile, nt * 16, query + ks * 16);
#pragma unroll
            for (int mt = 0; mt < TILES; mt++) {
                mma(sums[mt][2 * nt], p[mt][ks], b[0], b[1]);
                mma(sums[mt][2 * nt + 1], p[mt][ks], b[2], b[3]);
            }
        }
}

/* The warp's 32 x 32 of dq from a tile of ds, over the keys up to the last that count. */
template <int SIZE>
__device__ __forceinline__ void dq_part(float (*dq)[4][4], unsigned ds_tile, unsigned key_tile,
                                        int query, int column, int steps)
{
#pragma unroll
    for (int mt = 0; mt < 2; mt++)
#pragma unroll
        for (int nt = 0; nt < 4; nt++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                dq[mt][nt][e] = 0.0f;
#pragma unroll 2
    for (int ks = 0; ks < steps; ks++) {
        unsigned a[2][4], b[2][4];
        load_a_t<QUERIES>(a[0], ds_tile, query, ks * 16);
        load_a_t<QUERIES>(a[1], ds_tile, query + 16, ks * 16);
        load_b_t<SIZE>(b[0], key_tile, column, ks * 16);
        load_b_t<SIZE>(b[1], key_tile, column + 16, ks * 16);
#pragma unroll
        for (int mt = 0; mt < 2; mt++)
#pragma unroll
            for (int nt = 0; nt < 4; nt++)
                mma(dq[mt][nt], a[mt], b[nt / 2][nt % 2 * 2], b[nt / 2][nt % 2 * 2 + 1]);
    }
}

/* Adds the warp's part when its turn has come. to: the part's first element in dqkv. */
__device__ __forceinline__ void dq_add(float (*dq)[4][4], float *sum, int *turn, int mine,
                                       int last, bf16 *to, int64_t stride, int valid, float scale)
{
    int lane = threadIdx.x & 31, g = lane / 4, t = lane % 4;
    float4 *parts = reinterpret_cast<float4 *>(sum) + lane;
    if (mine > 0) {
        if (lane == 0)
            while (turn_read(turn) != mine)
                __nanosleep(40);
        __syncwarp();
#pragma unroll
        for (int i = 0; i < 8; i++) {
            float4 v = __ldcg(parts + i * 32);
            float *d = dq[i / 4][i % 4];
            d[0] += v.x, d[1] += v.y, d[2] += v.z, d[3] += v.w;
        }
    }
    if (mine < last) {
#pragma unroll
        for (int i = 0; i < 8; i++) {
            float *d = dq[i / 4][i % 4];
            __stcg(parts + i * 32, make_float4(d[0], d[1], d[2], d[3]));
        }
        return;
    }
#pragma unroll
    for (int mt = 0; mt < 2; mt++)
#pragma unroll
        for (int r = 0; r < 2; r++) {
            int row = mt * 16 + g + r * 8;
            if (row < valid)
#pragma unroll
                for (int nt = 0; nt < 4; nt++)
                    *(unsigned *)(to + row * stride + nt * 8 + 2 * t) =
                        pack2(dq[mt][nt][2 * r] * scale, dq[mt][nt][2 * r + 1] * scale);
        }
}

/* The keys' or values' gradients of the warp. */
template <int SIZE, int TILES>
__device__ __forceinline__ void write_sums(float (*sums)[SIZE / 8][4], bf16 *to, int64_t stride,
                                           int valid, float scale)
{
    int lane = threadIdx.x & 31, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int mt = 0; mt < TILES; mt++)
#pragma unroll
        for (int r = 0; r < 2; r++) {
            int row = mt * 16 + g + r * 8;
            if (row < valid)
#pragma unroll
                for (int nt = 0; nt < SIZE / 8; nt++)
                    *(unsigned *)(to + row * stride + nt * 8 + 2 * t) = pack2(
                        sums[mt][nt][2 * r] * scale, sums[mt][nt][2 * r + 1] * scale);
        }
}

template <int SIZE, int TILES>
__global__ void __launch_bounds__(KEYS / 16 / TILES * 32, SIZE == 64 ? 2 : 1)
    attention_back_kernel(struct backward_arrays x)
{
    using shape = backward_shape<SIZE, TILES>;
    extern __shared__ __align__(128) unsigned char shared[];
    __shared__ int ticket;
    const struct kernel_attention &a = x.a;
    unsigned key_tile = shared_address(shared), value_tile = key_tile + shape::KEY_BYTES;
    unsigned ds_tile = key_tile + shape::AT_DS;
    float *row_values = reinterpret_cast<float *>(shared + shape::AT_ROWS);
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, g = lane / 4, t = lane % 4;
    if (threadIdx.x == 0)
        ticket = atomicAdd(x.turns + x.turn_count, 1);
    __syncthreads();
    int key_blocks = (a.length + KEYS - 1) / KEYS, query_tiles = (a.length + QUERIES - 1) / QUERIES;
    int block = key_blocks - 1 - ticket % key_blocks, rest = ticket / key_blocks;
    int key_head = rest % a.kv_heads, batch = rest / a.kv_heads;
    int group = a.heads / a.kv_heads, k0 = block * KEYS, first = k0 / QUERIES;
    int steps = query_tiles - first, total = steps * group;
    int64_t stride = (int64_t)(a.heads + 2 * a.kv_heads) * SIZE;
    int64_t out_stride = (int64_t)a.heads * SIZE, row0 = (int64_t)batch * a.length;
    int64_t key_at = (row0 + k0) * stride + (int64_t)(a.heads + key_head) * SIZE;
    int64_t value_at = key_at + (int64_t)a.kv_heads * SIZE;
    int key = warp * TILES * 16; /* the warp's first, in the tile */
    float factor = a.scale * LOG2E;

    /* Step i: which head, which queries. */
    auto load_step = [&](int i) {
        int head = key_head * group + i / steps, q0 = (first + i % steps) * QUERIES;
        unsigned to = key_tile + shape::AT_QUERIES + (unsigned)(i & 1) * 2 * shape::QUERY_BYTES;
        load_tile<QUERIES, SIZE, shape::THREADS>(
            to, x.qkv + (row0 + q0) * stride + (int64_t)head * SIZE, stride, a.length - q0);
        load_tile<QUERIES, SIZE, shape::THREADS>(
            to + shape::QUERY_BYTES, x.dout + (row0 + q0) * out_stride + (int64_t)head * SIZE,
            out_stride, a.length - q0);
        copies_commit();
        if (threadIdx.x < QUERIES) {
            int q = q0 + (int)threadIdx.x;
            int64_t at = ((int64_t)batch * a.heads + head) * a.length + q;
            float *to_rows = row_values + (i & 1) * 2 * QUERIES + threadIdx.x;
            /* Of rows that are not there probabilities are 0. */
            to_rows[0] = q < a.length ? x.lse[at] * LOG2E : INFINITY;
            to_rows[QUERIES] = q < a.length ? x.delta[at] : 0.0f;
        }
    };
    load_tile<KEYS, SIZE, shape::THREADS>(key_tile, x.qkv + key_at, stride, a.length - k0);
    load_tile<KEYS, SIZE, shape::THREADS>(value_tile, x.qkv + value_at, stride, a.length - k0);
    load_step(0);

    float dk[TILES][SIZE / 8][4] = {}, dv[TILES][SIZE / 8][4] = {};
    int *passed = nullptr, pass_next = 0;
    for (int i = 0; i < total; i++) {
        copies_wait<0>();
        __syncthreads();
        if (i + 1 < total)
            load_step(i + 1);
        int head = key_head * group + i / steps, tile = first + i % steps, q0 = tile * QUERIES;
        unsigned query_tile =
            key_tile + shape::AT_QUERIES + (unsigned)(i & 1) * 2 * shape::QUERY_BYTES;
        unsigned dout_tile = query_tile + shape::QUERY_BYTES;
        const float *rows = row_values + (i & 1) * 2 * QUERIES;
#pragma unroll 1
        for (int query = 0; query < QUERIES; query += 32) {
            unsigned p[TILES][2][4];
            bool none = k0 + key > q0 + query + 31; /* all keys come after all queries */
            if (!none) {
                float s[TILES][4][4] = {};
                scores<SIZE, TILES>(s, key_tile, query_tile, key, query);
#pragma unroll
                for (int nt = 0; nt < 4; nt++) {
                    float2 lse = *(const float2 *)(rows + query + nt * 8 + 2 * t);
#pragma unroll
                    for (int mt = 0; mt < TILES; mt++)
#pragma unroll
                        for (int e = 0; e < 4; e++)
                            s[mt][nt][e] = exp2_fast(s[mt][nt][e] * factor -
                                                     (e & 1 ? lse.y : lse.x));
                }
                if (k0 + key + TILES * 16 - 1 > q0 + query)
#pragma unroll
                    for (int mt = 0; mt < TILES; mt++)
#pragma unroll
                        for (int nt = 0; nt < 4; nt++)
#pragma unroll
                            for (int e = 0; e < 4; e++)
                                if (k0 + key + mt * 16 + g + e / 2 * 8 >
                                    q0 + query + nt * 8 + 2 * t + (e & 1))
                                    s[mt][nt][e] = 0.0f;
#pragma unroll
                for (int mt = 0; mt < TILES; mt++)
#pragma unroll
                    for (int ks = 0; ks < 2; ks++)
                        sums_to_a(p[mt][ks], s[mt][2 * ks], s[mt][2 * ks + 1]);
                gather<SIZE, TILES>(dv, p, dout_tile, query);
                float d[TILES][4][4] = {};
                scores<SIZE, TILES>(d, value_tile, dout_tile, key, query);
#pragma unroll
                for (int nt = 0; nt < 4; nt++) {
                    float2 delta =
                        *(const float2 *)(rows + QUERIES + query + nt * 8 + 2 * t);
#pragma unroll
                    for (int mt = 0; mt < TILES; mt++) {
                        /* Registers of p: [0] row g, [1] row g + 8 of the even n-tile, then
                         * those of the odd one. */
                        unsigned *pair = &p[mt][nt / 2][nt % 2 * 2];
                        float2 low = unpack2(pair[0]), high = unpack2(pair[1]);
                        pair[0] = pack2(low.x * (d[mt][nt][0] - delta.x),
                                        low.y * (d[mt][nt][1] - delta.y));
                        pair[1] = pack2(high.x * (d[mt][nt][2] - delta.x),
                                        high.y * (d[mt][nt][3] - delta.y));
                    }
                }
                gather<SIZE, TILES>(dk, p, query_tile, query);
            }
#pragma unroll
            for (int mt = 0; mt < TILES; mt++)
#pragma unroll
                for (int nt = 0; nt < 4; nt++)
#pragma unroll
                    for (int r = 0; r < 2; r++)
                        *(unsigned *)(shared + shape::AT_DS +
                                      tile_at<QUERIES>(key + mt * 16 + g + r * 8,
                                                       query / 8 + nt) +
                                      t * 4) = none ? 0u : p[mt][nt / 2][nt % 2 * 2 + r];
        }
        __syncthreads();
        if (passed)
            turn_pass(passed, pass_next);
        float dq[2][4][4];
        int query = warp % 2 * 32, column = warp / 2 * 32;
        dq_part<SIZE>(dq, ds_tile, key_tile, query, column,
                      min(KEYS / 16, (q0 + QUERIES - 1 - k0) / 16 + 1));
        int last = min(key_blocks, (q0 + QUERIES - 1) / KEYS + 1) - 1;
        int64_t slot = (((int64_t)batch * a.heads + head) * query_tiles + tile) *
                           shape::WARPS + warp;
        dq_add(dq, x.dq + slot * shape::DQ_FLOATS, x.turns + slot, last - block, last,
               x.dqkv + (row0 + q0 + query) * stride + (int64_t)head * SIZE + column, stride,
               a.length - q0 - query, a.scale);
        passed = block > 0 ? x.turns + slot : nullptr;
        pass_next = last - block + 1;
    }
    if (passed)
        turn_pass(passed, pass_next);
    int valid = a.length - k0 - key;
    write_sums<SIZE, TILES>(dk, x.dqkv + key_at + key * stride, stride, valid, a.scale);
    write_sums<SIZE, TILES>(dv, x.dqkv + value_at + key * stride, stride, valid, 1.0f);
}

template <int SIZE, int TILES>
static void launch(struct kernel_context *c, struct backward_arrays &x)
{
    using shape = backward_shape<SIZE, TILES>;
    auto kernel = attention_back_kernel<SIZE, TILES>;
    int64_t blocks = (int64_t)x.a.batch * x.a.kv_heads * ((x.a.length + KEYS - 1) / KEYS);
    cuda__check(c, "attention_back",
                cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                     shape::SHARED));
    kernel<<<(unsigned)blocks, shape::THREADS, shape::SHARED, c->stream>>>(x);
    cuda__launched(c, "attention_back");
}

/* Warps times tiles of queries; 64: four warps, 128: eight. */
static int64_t dq_parts(const struct kernel_attention *a)
{
    int64_t tiles = (a->length + QUERIES - 1) / QUERIES;
    return (int64_t)a->batch * a->heads * tiles * (a->size / 16);
}

size_t cuda__attention_back_scratch_bf16(const struct kernel_attention *a)
{
    return (size_t)dq_parts(a) * (32 * 32 * 4 + 4) + 256;
}

void cuda__attention_back_bf16(struct kernel_context *c, const struct kernel_attention *a,
                               void *dqkv, const void *dout, const float *lse, const void *qkv,
                               float *delta, void *scratch)
{
    struct backward_arrays x;
    x.a = *a;
    x.qkv = (const bf16 *)qkv, x.dout = (const bf16 *)dout, x.dqkv = (bf16 *)dqkv;
    x.lse = lse, x.delta = delta;
    x.turn_count = dq_parts(a);
    x.dq = (float *)scratch;
    x.turns = (int *)(x.dq + x.turn_count * 32 * 32);
    cuda__check(c, "attention_back",
                cudaMemsetAsync(x.turns, 0, (size_t)(x.turn_count + 1) * 4, c->stream));
    if (a->size == 64)
        launch<64, 2>(c, x);
    else
        launch<128, 1>(c, x);
}
