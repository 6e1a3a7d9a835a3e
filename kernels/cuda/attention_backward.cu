/* SPDX-License-Identifier: Apache-2.0
 *
 * Backward of causal attention, bf16, heads of 64 or 128. A block has 128 keys of one
 * key head and walks over the queries from its own position on, in steps of 64, for
 * each query head of the group. Scores are computed again, transposed ([keys,
 * queries]), so that probabilities and their gradients go from sums straight into the
 * next product; only the gradients pass through shared memory, for dq.
 *
 * dq is a sum over blocks. It is made in a fixed order, the last keys first: a block
 * waits for its turn at each tile of dq, which without delays has come by then, as the
 * block of the last keys begins with that tile. The first to come stores, the last
 * writes the result, those between add. Blocks take their work by a ticket, later keys
 * first, so whoever is waited for runs already. Each warp has its own part of each
 * tile, and its own turns.
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
    float *dq;  /* [batch, heads, tiles of queries, warps, 32 * 32] */
    int *turns; /* [batch, heads, tiles of queries, warps], then the ticket */
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
    __syncwarp();
    if ((threadIdx.x & 31) == 0)
        turn_write(turn, next);
}

/* sums[TILES * 16 keys][32 queries] = rows of a_tile times rows of b_tile, over SIZE.
 */
template <int SIZE, int TILES>
__device__ __forceinline__ void scores(float (*sums)[4][4], unsigned a_tile,
                                       unsigned b_tile, int key, int query)
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
                mma(sums[mt][nt], a[mt], b[nt / 2][nt % 2 * 2],
                    b[nt / 2][nt % 2 * 2 + 1]);
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

/* The warp's 32 x 32 of dq from a tile of ds, over the keys up to the last that count.
 */
template <int SIZE>
__device__ __forceinline__ void dq_part(float (*dq)[4][4], unsigned ds_tile,
                                        unsigned key_tile, int query, int column,
                                        int steps)
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
                mma(dq[mt][nt], a[mt], b[nt / 2][nt % 2 * 2],
                    b[nt / 2][nt % 2 * 2 + 1]);
    }
}

/* Adds the warp's part when its turn has come. to: the part's first element in dqkv. */
__device__ __forceinline__ void dq_add(float (*dq)[4][4], float *sum, int *turn,
                                       int mine, int last, bf16 *to, int64_t stride,
                                       int valid, float scale)
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
__device__ __forceinline__ void write_sums(float (*sums)[SIZE / 8][4], bf16 *to,
                                           int64_t stride, int valid, float scale)
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

/* s = exp2(s * factor - lse), 0 where the key comes after the query; as operands of the
 * next product. lse: of the lane's first query; ahead: the warp's first key minus the
 * first query. */
template <int TILES>
__device__ __forceinline__ void probabilities(unsigned (*p)[2][4], float (*s)[4][4],
                                              const float *lse, float factor, int ahead)
{
    int lane = threadIdx.x & 31, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int nt = 0; nt < 4; nt++) {
        float2 l = *(const float2 *)(lse + nt * 8);
#pragma unroll
        for (int mt = 0; mt < TILES; mt++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                s[mt][nt][e] =
                    exp2_fast(s[mt][nt][e] * factor - (e & 1 ? l.y : l.x) * LOG2E);
    }
    if (ahead + TILES * 16 - 1 > 0)
#pragma unroll
        for (int mt = 0; mt < TILES; mt++)
#pragma unroll
            for (int nt = 0; nt < 4; nt++)
#pragma unroll
                for (int e = 0; e < 4; e++)
                    if (ahead + mt * 16 + g + e / 2 * 8 > nt * 8 + 2 * t + (e & 1))
                        s[mt][nt][e] = 0.0f;
#pragma unroll
    for (int mt = 0; mt < TILES; mt++)
#pragma unroll
        for (int ks = 0; ks < 2; ks++)
            sums_to_a(p[mt][ks], s[mt][2 * ks], s[mt][2 * ks + 1]);
}

/* p becomes ds = p * (dp - delta). Registers of p: row g, row g + 8 of the even
 * fragment, then those of the odd one. */
template <int TILES>
__device__ __forceinline__ void slopes(unsigned (*p)[2][4], float (*dp)[4][4],
                                       const float *delta)
{
#pragma unroll
    for (int nt = 0; nt < 4; nt++) {
        float2 d = *(const float2 *)(delta + nt * 8);
#pragma unroll
        for (int mt = 0; mt < TILES; mt++) {
            unsigned *pair = &p[mt][nt / 2][nt % 2 * 2];
            float2 low = unpack2(pair[0]), high = unpack2(pair[1]);
            pair[0] =
                pack2(low.x * (dp[mt][nt][0] - d.x), low.y * (dp[mt][nt][1] - d.y));
            pair[1] =
                pack2(high.x * (dp[mt][nt][2] - d.x), high.y * (dp[mt][nt][3] - d.y));
        }
    }
}

/* ds of 32 queries from `query` on into its tile; zeros when none. */
template <int TILES>
__device__ __forceinline__ void write_ds(unsigned char *tile, unsigned (*p)[2][4],
                                         int key, int query, bool none)
{
    int lane = threadIdx.x & 31, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int mt = 0; mt < TILES; mt++)
#pragma unroll
        for (int nt = 0; nt < 4; nt++)
#pragma unroll
            for (int r = 0; r < 2; r++)
                *(unsigned *)(tile + t * 4 +
                              tile_at<QUERIES>(key + mt * 16 + g + r * 8,
                                               query / 8 + nt)) =
                    none ? 0u : p[mt][nt / 2][nt % 2 * 2 + r];
}

/* What a block works on: 128 keys of a key head. */
struct work {
    int batch, key_head, group, block, steps, first;
    int64_t stride, out_stride, row0;
};

template <int SIZE>
__device__ __forceinline__ struct work work_of(const struct kernel_attention &a,
                                               int ticket)
{
    struct work w;
    int blocks = (a.length + KEYS - 1) / KEYS, rest = ticket / blocks;
    w.block = blocks - 1 - ticket % blocks;
    w.key_head = rest % a.kv_heads;
    w.batch = rest / a.kv_heads;
    w.group = a.heads / a.kv_heads;
    w.first = w.block * KEYS / QUERIES;
    w.steps = (a.length + QUERIES - 1) / QUERIES - w.first;
    w.stride = (int64_t)(a.heads + 2 * a.kv_heads) * SIZE;
    w.out_stride = (int64_t)a.heads * SIZE;
    w.row0 = (int64_t)w.batch * a.length;
    return w;
}

/* Queries, dout, lse and delta of step i into its stage. */
template <int SIZE, int TILES>
__device__ __forceinline__ void load_step(const struct backward_arrays &x,
                                          const struct work &w, unsigned shared, int i)
{
    using shape = backward_shape<SIZE, TILES>;
    const struct kernel_attention &a = x.a;
    int head = w.key_head * w.group + i / w.steps,
        q0 = (w.first + i % w.steps) * QUERIES;
    unsigned to =
        shared + shape::AT_QUERIES + (unsigned)(i & 1) * 2 * shape::QUERY_BYTES;
    load_tile<QUERIES, SIZE, shape::THREADS>(
        to, x.qkv + (w.row0 + q0) * w.stride + (int64_t)head * SIZE, w.stride,
        a.length - q0);
    load_tile<QUERIES, SIZE, shape::THREADS>(to + shape::QUERY_BYTES,
                                             x.dout + (w.row0 + q0) * w.out_stride +
                                                 (int64_t)head * SIZE,
                                             w.out_stride, a.length - q0);
    /* Rows that are not there are zeros: their probabilities are 1, and all they are
     * multiplied with is 0. */
    int row = threadIdx.x % QUERIES;
    int64_t at = ((int64_t)w.batch * a.heads + head) * a.length + q0;
    if (threadIdx.x < 2 * QUERIES)
        copy4(shared + shape::AT_ROWS +
                  (unsigned)((i & 1) * 2 * QUERIES + threadIdx.x) * 4,
              (threadIdx.x < QUERIES ? x.lse : x.delta) + at +
                  (q0 + row < a.length ? row : 0),
              q0 + row < a.length);
    copies_commit();
}

/* Scores again, probabilities, and their gradients against 64 queries: adds to dk and
 * dv, and leaves ds in its tile. ahead: the block's first key minus the first query. */
template <int SIZE, int TILES>
__device__ __forceinline__ void
keys_step(float (*dk)[SIZE / 8][4], float (*dv)[SIZE / 8][4], unsigned char *shared,
          int stage, float factor, int ahead)
{
    using shape = backward_shape<SIZE, TILES>;
    unsigned keys = shared_address(shared), values = keys + shape::KEY_BYTES;
    unsigned queries =
        keys + shape::AT_QUERIES + (unsigned)stage * 2 * shape::QUERY_BYTES;
    unsigned dout = queries + shape::QUERY_BYTES;
    const float *rows = reinterpret_cast<const float *>(shared + shape::AT_ROWS) +
                        stage * 2 * QUERIES + (threadIdx.x & 3) * 2;
    int key = (threadIdx.x >> 5) * TILES * 16;
#pragma unroll 1
    for (int query = 0; query < QUERIES; query += 32) {
        unsigned p[TILES][2][4];
        bool none = ahead + key > query + 31; /* all keys come after all queries */
        if (!none) {
            float s[TILES][4][4] = {};
            scores<SIZE, TILES>(s, keys, queries, key, query);
            probabilities<TILES>(p, s, rows + query, factor, ahead + key - query);
            gather<SIZE, TILES>(dv, p, dout, query);
            float dp[TILES][4][4] = {};
            scores<SIZE, TILES>(dp, values, dout, key, query);
            slopes<TILES>(p, dp, rows + QUERIES + query);
            gather<SIZE, TILES>(dk, p, queries, query);
        }
        write_ds<TILES>(shared + shape::AT_DS, p, key, query, none);
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
    unsigned base = shared_address(shared);
    int warp = threadIdx.x >> 5;
    if (threadIdx.x == 0)
        ticket = atomicAdd(x.turns + x.turn_count, 1);
    __syncthreads();
    struct work w = work_of<SIZE>(a, ticket);
    int k0 = w.block * KEYS, key = warp * TILES * 16, total = w.steps * w.group;
    int64_t key_at = (w.row0 + k0) * w.stride + (int64_t)(a.heads + w.key_head) * SIZE;
    int64_t value_at = key_at + (int64_t)a.kv_heads * SIZE;
    load_tile<KEYS, SIZE, shape::THREADS>(base, x.qkv + key_at, w.stride,
                                          a.length - k0);
    load_tile<KEYS, SIZE, shape::THREADS>(base + shape::KEY_BYTES, x.qkv + value_at,
                                          w.stride, a.length - k0);
    load_step<SIZE, TILES>(x, w, base, 0);

    float dk[TILES][SIZE / 8][4] = {}, dv[TILES][SIZE / 8][4] = {};
    int *passed = nullptr, pass_next = 0;
    for (int i = 0; i < total; i++) {
        copies_wait<0>();
        __syncthreads();
        if (i + 1 < total)
            load_step<SIZE, TILES>(x, w, base, i + 1);
        int head = w.key_head * w.group + i / w.steps, tile = w.first + i % w.steps;
        int q0 = tile * QUERIES, query = warp % 2 * 32, column = warp / 2 * 32;
        keys_step<SIZE, TILES>(dk, dv, shared, i & 1, a.scale * LOG2E, k0 - q0);
        __syncthreads();
        if (passed)
            turn_pass(passed, pass_next);
        float dq[2][4][4];
        dq_part<SIZE>(dq, base + shape::AT_DS, base, query, column,
                      min(KEYS / 16, (q0 + QUERIES - 1 - k0) / 16 + 1));
        int last = min((a.length + KEYS - 1) / KEYS, (q0 + QUERIES - 1) / KEYS + 1) - 1;
        int64_t slot =
            (((int64_t)w.batch * a.heads + head) * (w.first + w.steps) + tile) *
                shape::WARPS +
            warp;
        dq_add(dq, x.dq + slot * shape::DQ_FLOATS, x.turns + slot, last - w.block, last,
               x.dqkv + (w.row0 + q0 + query) * w.stride + (int64_t)head * SIZE +
                   column,
               w.stride, a.length - q0 - query, a.scale);
        passed = w.block > 0 ? x.turns + slot : nullptr;
        pass_next = last - w.block + 1;
    }
    if (passed)
        turn_pass(passed, pass_next);
    int valid = a.length - k0 - key;
    write_sums<SIZE, TILES>(dk, x.dqkv + key_at + key * w.stride, w.stride, valid,
                            a.scale);
    write_sums<SIZE, TILES>(dv, x.dqkv + value_at + key * w.stride, w.stride, valid,
                            1.0f);
}

template <int SIZE, int TILES>
static void launch(struct kernel_context *c, struct backward_arrays &x)
{
    using shape = backward_shape<SIZE, TILES>;
    auto kernel = attention_back_kernel<SIZE, TILES>;
    int64_t blocks =
        (int64_t)x.a.batch * x.a.kv_heads * ((x.a.length + KEYS - 1) / KEYS);
    shared_allow(c, "attention_back", kernel, shape::SHARED);
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

void cuda__attention_back_bf16(struct kernel_context *c,
                               const struct kernel_attention *a, void *dqkv,
                               const void *dout, const float *lse, const void *qkv,
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
