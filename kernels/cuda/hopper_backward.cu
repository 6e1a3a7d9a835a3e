/* SPDX-License-Identifier: Apache-2.0
 *
 * attention_backward.cu's plan for compute capability 9.0a and heads of 64, where tensor cores
 * read shared memory themselves. A block is one warpgroup with 128 keys, two of them share a
 * multiprocessor, so that one's arithmetic hides behind the other's products.
 *
 * With enough heads a block walks over all keys of one key head, the last first, and so is
 * alone with its part of dq; with few heads each 128 keys are a block of their own, and blocks
 * take turns. dq is summed in the same order both ways.
 */
#include "hopper.cuh"

#define KEYS 128
#define QUERIES 64
#define SIZE 64
#define THREADS 128
#define WARPS 4
#define TILE (QUERIES * SIZE * 2) /* bytes of 64 rows */

/* Bytes from the start: keys, values, two stages of queries and dout, ds, two of lse, delta. */
#define AT_VALUES (2 * TILE)
#define AT_STEPS (4 * TILE)
#define AT_DS (8 * TILE)
#define AT_ROWS (10 * TILE)
#define SHARED (AT_ROWS + 4 * QUERIES * 4 + 1024)

struct hopper_arrays {
    struct kernel_attention a;
    const bf16 *qkv, *dout;
    bf16 *dqkv;
    const float *lse, *delta;
    float *dq;  /* [batch, heads, tiles of queries, warps, 32 * 32] */
    int *turns; /* [batch, heads, tiles of queries, warps], then the ticket */
    int64_t turn_count;
};

/* Of one key head: its group of query heads, where its rows are. */
struct place {
    int batch, key_head, group, tiles, key_blocks;
    int64_t stride, out_stride, row0;
};

__device__ __forceinline__ int turn_look(const int *p)
{
    int v;
    asm volatile("ld.relaxed.gpu.global.s32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
    return v;
}

__device__ __forceinline__ void turn_pass(int *turn, int next)
{
    __syncwarp();
    if ((threadIdx.x & 31) == 0)
        asm volatile("st.release.gpu.global.s32 [%0], %1;" ::"l"(turn), "r"(next) : "memory");
}

__device__ __forceinline__ void copy4(unsigned to, const void *from, bool there)
{
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from),
                 "r"(there ? 4 : 0)
                 : "memory");
}

/* Queries, dout, lse and delta of a tile into a stage. Rows that are not there are zeros: their
 * probabilities are 1, and all they are multiplied with is 0. */
__device__ __forceinline__ void load_step(const struct hopper_arrays &x, const struct place &w,
                                          unsigned shared, int stage, int head, int tile)
{
    int q0 = tile * QUERIES, valid = x.a.length - q0;
    unsigned to = shared + AT_STEPS + (unsigned)stage * 2 * TILE;
    load_tile<QUERIES, SIZE, THREADS>(
        to, x.qkv + (w.row0 + q0) * w.stride + (int64_t)head * SIZE, w.stride, valid);
    load_tile<QUERIES, SIZE, THREADS>(
        to + TILE, x.dout + (w.row0 + q0) * w.out_stride + (int64_t)head * SIZE, w.out_stride,
        valid);
    int row = threadIdx.x % QUERIES;
    const float *from = threadIdx.x < QUERIES ? x.lse : x.delta;
    int64_t at = ((int64_t)w.batch * x.a.heads + head) * x.a.length + q0;
    copy4(shared + AT_ROWS + (unsigned)(stage * 2 * QUERIES + threadIdx.x) * 4,
          from + at + (row < valid ? row : 0), row < valid);
    copies_commit();
}

/* p = exp2(s * factor - lse) of 64 keys and 64 queries, 0 where the key comes after; as
 * operands of the next product. ahead: the warp's first key minus the tile's first query. */
__device__ __forceinline__ void probabilities(unsigned p[4][4], const float s[32],
                                              const float *lse, float factor, int ahead)
{
    int lane = threadIdx.x & 31, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int nt = 0; nt < 8; nt++) {
        float2 l = *(const float2 *)(lse + nt * 8 + 2 * t);
        float v[4];
        l.x *= LOG2E;
        l.y *= LOG2E;
#pragma unroll
        for (int e = 0; e < 4; e++)
            v[e] = exp2_fast(fmaf(s[nt * 4 + e], factor, e & 1 ? -l.y : -l.x));
        if (ahead + 15 > 0)
#pragma unroll
            for (int e = 0; e < 4; e++)
                if (ahead + g + e / 2 * 8 > nt * 8 + 2 * t + (e & 1))
                    v[e] = 0.0f;
        p[nt / 2][nt % 2 * 2] = pack2(v[0], v[1]);
        p[nt / 2][nt % 2 * 2 + 1] = pack2(v[2], v[3]);
    }
}

/* p becomes ds = p * (dp - delta), also in the tile of ds, from row `key` on. */
__device__ __forceinline__ void slopes(unsigned p[4][4], const float dp[32], const float *delta,
                                       unsigned char *ds, int key)
{
    int lane = threadIdx.x & 31, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int nt = 0; nt < 8; nt++) {
        float2 d = *(const float2 *)(delta + nt * 8 + 2 * t);
#pragma unroll
        for (int r = 0; r < 2; r++) {
            unsigned *pair = &p[nt / 2][nt % 2 * 2 + r];
            float2 v = unpack2(*pair);
            *pair = pack2(v.x * (dp[nt * 4 + 2 * r] - d.x), v.y * (dp[nt * 4 + 2 * r + 1] - d.y));
            *(unsigned *)(ds + tile_at<64>(key + g + r * 8, nt) + t * 4) = *pair;
        }
    }
}

/* The warp's 16 rows of dq: stored by the first block, added by those between; the last one
 * writes the result. */
__device__ __forceinline__ void dq_add(float d[32], float *sum, bool first, bool last, bf16 *to,
                                       int64_t stride, int valid, float scale)
{
    int lane = threadIdx.x & 31, g = lane / 4, t = lane % 4;
    float4 *parts = reinterpret_cast<float4 *>(sum) + lane;
    if (!last && first) {
#pragma unroll
        for (int i = 0; i < 8; i++)
            __stcg(parts + i * 32,
                   make_float4(d[4 * i], d[4 * i + 1], d[4 * i + 2], d[4 * i + 3]));
        return;
    }
    if (!last) {
#pragma unroll
        for (int i = 0; i < 8; i++)
            asm volatile("red.relaxed.gpu.global.add.v4.f32 [%0], {%1,%2,%3,%4};" ::"l"(
                             parts + i * 32),
                         "f"(d[4 * i]), "f"(d[4 * i + 1]), "f"(d[4 * i + 2]), "f"(d[4 * i + 3])
                         : "memory");
        return;
    }
    if (!first)
#pragma unroll
        for (int i = 0; i < 8; i++) {
            float4 v = __ldcg(parts + i * 32);
            d[4 * i] += v.x, d[4 * i + 1] += v.y, d[4 * i + 2] += v.z, d[4 * i + 3] += v.w;
        }
#pragma unroll
    for (int r = 0; r < 2; r++)
        if (g + r * 8 < valid)
#pragma unroll
            for (int nt = 0; nt < 8; nt++)
                *(unsigned *)(to + (g + r * 8) * stride + nt * 8 + 2 * t) =
                    pack2(d[nt * 4 + 2 * r] * scale, d[nt * 4 + 2 * r + 1] * scale);
}

__device__ __forceinline__ void write_sums(const float d[32], bf16 *to, int64_t stride, int valid,
                                           float scale)
{
    int lane = threadIdx.x & 31, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int r = 0; r < 2; r++)
        if (g + r * 8 < valid)
#pragma unroll
            for (int nt = 0; nt < 8; nt++)
                *(unsigned *)(to + (g + r * 8) * stride + nt * 8 + 2 * t) =
                    pack2(d[nt * 4 + 2 * r] * scale, d[nt * 4 + 2 * r + 1] * scale);
}

/* 128 keys against all queries that see them. */
template <bool TURNS>
__device__ __forceinline__ void keys_walk(const struct hopper_arrays &x, const struct place &w,
                                          unsigned char *shared, int block)
{
    const struct kernel_attention &a = x.a;
    unsigned base = shared_address(shared);
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    int k0 = block * KEYS, first = k0 / QUERIES, steps = w.tiles - first, total = steps * w.group;
    int64_t key_at = (w.row0 + k0) * w.stride + (int64_t)(a.heads + w.key_head) * SIZE;
    int64_t value_at = key_at + (int64_t)a.kv_heads * SIZE;
    float factor = a.scale * LOG2E;

    load_tile<KEYS, SIZE, THREADS>(base, x.qkv + key_at, w.stride, a.length - k0);
    load_tile<KEYS, SIZE, THREADS>(base + AT_VALUES, x.qkv + value_at, w.stride, a.length - k0);
    load_step(x, w, base, 0, w.key_head * w.group, first);

    float dk[2][32] = {}, dv[2][32] = {};
    int *passed = nullptr, pass_next = 0;
    for (int i = 0; i < total; i++) {
        copies_wait<0>();
        shared_publish();
        __syncthreads();
        if (i + 1 < total)
            load_step(x, w, base, (i + 1) & 1, w.key_head * w.group + (i + 1) / steps,
                      first + (i + 1) % steps);
        int head = w.key_head * w.group + i / steps, tile = first + i % steps;
        int q0 = tile * QUERIES;
        unsigned stage = base + AT_STEPS + (unsigned)(i & 1) * 2 * TILE;
        const float *rows = (const float *)(shared + AT_ROWS) + (i & 1) * 2 * QUERIES;
        uint64_t keys = tile_desc(base), values = tile_desc(base + AT_VALUES);
        uint64_t queries = tile_desc(stage), dout = tile_desc(stage + TILE);
        int64_t slot = (((int64_t)w.batch * a.heads + head) * w.tiles + tile) * WARPS + warp;
        int last = min(w.key_blocks, (q0 + QUERIES - 1) / KEYS + 1) - 1, mine = last - block;
        int seen = TURNS && mine > 0 && lane == 0 ? turn_look(x.turns + slot) : mine;

        float s[2][32];
        unsigned p[2][4][4];
        wgmma_fence();
#pragma unroll
        for (int m = 0; m < 2; m++)
#pragma unroll
            for (int ks = 0; ks < 4; ks++)
                wgmma<0, 0>(s[m], keys + m * (TILE >> 4) + ks * 2, queries + ks * 2, ks > 0);
        wgmma_commit();
        wgmma_wait<0>();
#pragma unroll
        for (int m = 0; m < 2; m++)
            probabilities(p[m], s[m], rows, factor, k0 + m * 64 + warp * 16 - q0);
        wgmma_fence();
#pragma unroll
        for (int m = 0; m < 2; m++)
#pragma unroll
            for (int ks = 0; ks < 4; ks++)
                wgmma<0, 0>(s[m], values + m * (TILE >> 4) + ks * 2, dout + ks * 2, ks > 0);
        wgmma_commit();
#pragma unroll
        for (int m = 0; m < 2; m++)
#pragma unroll
            for (int ks = 0; ks < 4; ks++)
                wgmma_registers<1>(dv[m], p[m][ks], dout + ks * 128);
        wgmma_commit();
        wgmma_wait<0>();
#pragma unroll
        for (int m = 0; m < 2; m++)
            slopes(p[m], s[m], rows + QUERIES, shared + AT_DS, m * 64 + warp * 16);
        shared_publish();
        wgmma_fence();
#pragma unroll
        for (int m = 0; m < 2; m++)
#pragma unroll
            for (int ks = 0; ks < 4; ks++)
                wgmma_registers<1>(dk[m], p[m][ks], queries + ks * 128);
        wgmma_commit();
        __syncthreads();
        uint64_t ds = tile_desc(base + AT_DS);
        wgmma_fence();
#pragma unroll
        for (int ks = 0; ks < 8; ks++)
            wgmma<1, 1>(s[0], ds + ks * 128, keys + ks * 128, ks > 0);
        wgmma_commit();
        if (TURNS && passed)
            turn_pass(passed, pass_next);
        wgmma_wait<0>();
        if (TURNS) {
            while (lane == 0 && seen != mine)
                seen = turn_look(x.turns + slot);
            if (block == 0 && mine > 0)
                asm volatile("fence.acq_rel.gpu;" ::: "memory"); /* its loads come after */
            __syncwarp();
        }
        dq_add(s[0], x.dq + slot * 1024, mine == 0, block == 0,
               x.dqkv + (w.row0 + q0 + warp * 16) * w.stride + (int64_t)head * SIZE, w.stride,
               a.length - q0 - warp * 16, a.scale);
        passed = block > 0 ? x.turns + slot : nullptr;
        pass_next = mine + 1;
    }
    if (TURNS && passed)
        turn_pass(passed, pass_next);
#pragma unroll
    for (int m = 0; m < 2; m++) {
        int row = m * 64 + warp * 16;
        write_sums(dk[m], x.dqkv + key_at + row * w.stride, w.stride, a.length - k0 - row,
                   a.scale);
        write_sums(dv[m], x.dqkv + value_at + row * w.stride, w.stride, a.length - k0 - row,
                   1.0f);
    }
}

template <bool TURNS>
__global__ void __launch_bounds__(THREADS, 2) hopper_back_kernel(struct hopper_arrays x)
{
    extern __shared__ unsigned char raw[];
    __shared__ int ticket;
    unsigned char *shared = raw + (-shared_address(raw) & 1023);
    struct place w;
    int work = blockIdx.x;
    w.key_blocks = (x.a.length + KEYS - 1) / KEYS;
    w.tiles = (x.a.length + QUERIES - 1) / QUERIES;
    w.group = x.a.heads / x.a.kv_heads;
    w.stride = (int64_t)(x.a.heads + 2 * x.a.kv_heads) * SIZE;
    w.out_stride = (int64_t)x.a.heads * SIZE;
    if (TURNS) {
        if (threadIdx.x == 0)
            ticket = atomicAdd(x.turns + x.turn_count, 1);
        __syncthreads();
        work = ticket / w.key_blocks;
    }
    w.key_head = work % x.a.kv_heads;
    w.batch = work / x.a.kv_heads;
    w.row0 = (int64_t)w.batch * x.a.length;
    int from = TURNS ? w.key_blocks - 1 - ticket % w.key_blocks : w.key_blocks - 1;
    int to = TURNS ? from : 0;
    for (int block = from; block >= to; block--) {
        keys_walk<TURNS>(x, w, shared, block);
        __syncthreads();
    }
}

template <bool TURNS>
static void launch(struct kernel_context *c, const struct hopper_arrays &x, int64_t blocks)
{
    cuda__check(c, "attention_back",
                cudaFuncSetAttribute(hopper_back_kernel<TURNS>,
                                     cudaFuncAttributeMaxDynamicSharedMemorySize, SHARED));
    hopper_back_kernel<TURNS><<<(unsigned)blocks, THREADS, SHARED, c->stream>>>(x);
    cuda__launched(c, "attention_back");
}

void cuda__attention_back_hopper(struct kernel_context *c, const struct kernel_attention *a,
                                 void *dqkv, const void *dout, const float *lse, const void *qkv,
                                 const float *delta, void *scratch)
{
    struct hopper_arrays x;
    int64_t tiles = (a->length + QUERIES - 1) / QUERIES;
    int64_t heads = (int64_t)a->batch * a->kv_heads;
    x.a = *a;
    x.qkv = (const bf16 *)qkv, x.dout = (const bf16 *)dout, x.dqkv = (bf16 *)dqkv;
    x.lse = lse, x.delta = delta;
    x.turn_count = (int64_t)a->batch * a->heads * tiles * WARPS;
    x.dq = (float *)scratch;
    x.turns = (int *)(x.dq + x.turn_count * 1024);
    if (heads >= 4 * (int64_t)c->sms) {
        launch<false>(c, x, heads);
        return;
    }
    cuda__check(c, "attention_back",
                cudaMemsetAsync(x.turns, 0, (size_t)(x.turn_count + 1) * 4, c->stream));
    launch<true>(c, x, heads * ((a->length + KEYS - 1) / KEYS));
}
