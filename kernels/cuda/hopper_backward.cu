/* SPDX-License-Identifier: Apache-2.0
 *
 * attention_backward.cu's plan for compute capability 9.0a and heads of 64, where
 * tensor cores read shared memory themselves. A block is one warpgroup with 128 keys,
 * two of them share a multiprocessor, so that one's arithmetic hides behind the other's
 * products.
 *
 * With enough heads a block walks over all keys of one key head, the last first, and so
 * is alone with its part of dq; with few heads each 128 keys are a block of their own,
 * and blocks take turns. dq is summed in the same order both ways.
 */
#include "hopper.cuh"

#define KEYS 128
#define QUERIES 64
#define SIZE 64
#define THREADS 128
#define WARPS 4
#define TILE (QUERIES * SIZE * 2) /* bytes of 64 rows */

#define ROWS (2 * QUERIES * 4) /* bytes of lse and delta of a tile */

/* Bytes from the start: keys, values, two stages of queries and dout, ds, two of lse,
 * delta. */
#define AT_VALUES (2 * TILE)
#define AT_STEPS (4 * TILE)
#define AT_DS (8 * TILE)
#define AT_ROWS (10 * TILE)
#define SHARED (AT_ROWS + 2 * ROWS + 1024)

struct hopper_arrays {
    struct kernel_attention a;
    bf16 *dqkv;
    const float *rows; /* [batch, heads, tiles of queries, 2, QUERIES]: lse in powers of
                          two, delta; 0 beyond the end */
    float *dq;         /* [batch, heads, tiles of queries, warps, 32 * 32] */
    int *turns;        /* [batch, heads, tiles of queries, warps], then the ticket */
    int64_t turn_count;
};

/* Of one key head: its group of query heads, where its rows are; and where its barriers
 * are, with how often they were waited for. */
struct place {
    int batch, key_head, group, tiles, key_blocks;
    int64_t stride, row0;
    unsigned arrivals; /* two of the stages, one of keys and values */
    unsigned steps_done, blocks_done;
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
        asm volatile("st.release.gpu.global.s32 [%0], %1;" ::"l"(turn), "r"(next)
                     : "memory");
}

/* Asks for queries, dout, lse and delta of a tile. Rows that are not there are zeros:
 * their probabilities are 1, and all they are multiplied with is 0. */
__device__ __forceinline__ void
fetch_step(const struct hopper_arrays &x, const struct place &w, const CUtensorMap *qkv,
           const CUtensorMap *dout, unsigned shared, unsigned stage, int head, int tile)
{
    unsigned to = shared + AT_STEPS + stage * 2 * TILE,
             arrival = w.arrivals + stage * 8;
    int64_t at = ((int64_t)w.batch * x.a.heads + head) * w.tiles + tile;
    arrival_expect(arrival, 2 * TILE + ROWS);
    fetch_tile(to, qkv, head * SIZE, tile * QUERIES, w.batch, arrival);
    fetch_tile(to + TILE, dout, head * SIZE, tile * QUERIES, w.batch, arrival);
    fetch_bytes(shared + AT_ROWS + stage * ROWS, x.rows + at * 2 * QUERIES, ROWS,
                arrival);
}

/* p = exp2(s * factor - lse) of 64 keys and 64 queries, 0 where the key comes after; as
 * operands of the next product. ahead: the warp's first key minus the tile's first
 * query. */
__device__ __forceinline__ void probabilities(unsigned p[4][4], float s[32],
                                              const float *lse, float factor, int ahead)
{
    int lane = threadIdx.x & 31, g = lane / 4, t = lane % 4;
    if (ahead + 15 > 0)
#pragma unroll
        for (int nt = 0; nt < 8; nt++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                if (ahead + g + e / 2 * 8 > nt * 8 + 2 * t + (e & 1))
                    s[nt * 4 + e] = -INFINITY;
#pragma unroll
    for (int nt = 0; nt < 8; nt++) {
        float2 l = *(const float2 *)(lse + nt * 8 + 2 * t);
        float v[4];
#pragma unroll
        for (int e = 0; e < 4; e++)
            v[e] = exp2_fast(fmaf(s[nt * 4 + e], factor, e & 1 ? -l.y : -l.x));
        p[nt / 2][nt % 2 * 2] = pack2(v[0], v[1]);
        p[nt / 2][nt % 2 * 2 + 1] = pack2(v[2], v[3]);
    }
}

/* p becomes ds = p * (dp - delta), also in the tile of ds, from row `key` on. */
__device__ __forceinline__ void slopes(unsigned p[4][4], const float dp[32],
                                       const float *delta, unsigned char *ds, int key)
{
    int lane = threadIdx.x & 31, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int nt = 0; nt < 8; nt++) {
        float2 d = *(const float2 *)(delta + nt * 8 + 2 * t);
#pragma unroll
        for (int r = 0; r < 2; r++) {
            unsigned *pair = &p[nt / 2][nt % 2 * 2 + r];
            float2 v = unpack2(*pair);
            *pair = pack2(v.x * (dp[nt * 4 + 2 * r] - d.x),
                          v.y * (dp[nt * 4 + 2 * r + 1] - d.y));
            *(unsigned *)(ds + tile_at<64>(key + g + r * 8, nt) + t * 4) = *pair;
        }
    }
}

/* The warp's 16 rows of dq: stored by the first block, added by those between; the last
 * one writes the result. */
__device__ __forceinline__ void dq_add(float d[32], float *sum, bool first, bool last,
                                       bf16 *to, int64_t stride, int valid, float scale)
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
                         "f"(d[4 * i]), "f"(d[4 * i + 1]), "f"(d[4 * i + 2]),
                         "f"(d[4 * i + 3])
                         : "memory");
        return;
    }
    if (!first)
#pragma unroll
        for (int i = 0; i < 8; i++) {
            float4 v = __ldcg(parts + i * 32);
            d[4 * i] += v.x, d[4 * i + 1] += v.y, d[4 * i + 2] += v.z,
                d[4 * i + 3] += v.w;
        }
#pragma unroll
    for (int r = 0; r < 2; r++)
        if (g + r * 8 < valid)
#pragma unroll
            for (int nt = 0; nt < 8; nt++)
                *(unsigned *)(to + (g + r * 8) * stride + nt * 8 + 2 * t) =
                    pack2(d[nt * 4 + 2 * r] * scale, d[nt * 4 + 2 * r + 1] * scale);
}

__device__ __forceinline__ void write_sums(const float d[32], bf16 *to, int64_t stride,
                                           int valid, float scale)
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

/* Scores again, probabilities, and their gradients against the 64 queries of a stage:
 * adds to dk and dv (still running when this returns), and leaves ds in its tile.
 * ahead: the warp's first key minus the first query. */
__device__ __forceinline__ void keys_step(float (*dk)[32], float (*dv)[32],
                                          unsigned char *shared, unsigned stage,
                                          float factor, int ahead)
{
    unsigned base = shared_address(shared), step = base + AT_STEPS + stage * 2 * TILE;
    const float *rows = (const float *)(shared + AT_ROWS + stage * ROWS);
    uint64_t keys = tile_desc(base), values = tile_desc(base + AT_VALUES);
    uint64_t queries = tile_desc(step), douts = tile_desc(step + TILE);
    float s[2][32];
    unsigned p[2][4][4];
    wgmma_fence();
#pragma unroll
    for (int m = 0; m < 2; m++)
#pragma unroll
        for (int ks = 0; ks < 4; ks++)
            wgmma<0, 0>(s[m], keys + m * (TILE >> 4) + ks * 2, queries + ks * 2,
                        ks > 0);
    wgmma_commit();
    wgmma_wait<0>();
#pragma unroll
    for (int m = 0; m < 2; m++)
        probabilities(p[m], s[m], rows, factor, ahead + m * 64);
    wgmma_fence();
#pragma unroll
    for (int m = 0; m < 2; m++)
#pragma unroll
        for (int ks = 0; ks < 4; ks++)
            wgmma<0, 0>(s[m], values + m * (TILE >> 4) + ks * 2, douts + ks * 2,
                        ks > 0);
    wgmma_commit();
#pragma unroll
    for (int m = 0; m < 2; m++)
#pragma unroll
        for (int ks = 0; ks < 4; ks++)
            wgmma_registers<1>(dv[m], p[m][ks], douts + ks * 128);
    wgmma_commit();
    wgmma_wait<0>();
#pragma unroll
    for (int m = 0; m < 2; m++)
        slopes(p[m], s[m], rows + QUERIES, shared + AT_DS,
               m * 64 + (int)(threadIdx.x >> 5) * 16);
    shared_publish();
    wgmma_fence();
#pragma unroll
    for (int m = 0; m < 2; m++)
#pragma unroll
        for (int ks = 0; ks < 4; ks++)
            wgmma_registers<1>(dk[m], p[m][ks], queries + ks * 128);
    wgmma_commit();
}

/* dq of the tile from ds and the keys, still running when this returns. */
__device__ __forceinline__ void dq_start(float dq[32], unsigned base)
{
    uint64_t ds = tile_desc(base + AT_DS), keys = tile_desc(base);
    wgmma_fence();
#pragma unroll
    for (int ks = 0; ks < KEYS / 16; ks++)
        wgmma<1, 1>(dq, ds + ks * 128, keys + ks * 128, ks > 0);
    wgmma_commit();
}

/* Asks for the keys and values of a block, and for its first step. */
__device__ __forceinline__ void fetch_keys(const struct hopper_arrays &x,
                                           const struct place &w,
                                           const CUtensorMap *qkv, unsigned base,
                                           int k0)
{
    unsigned arrival = w.arrivals + 16;
    int column = (x.a.heads + w.key_head) * SIZE;
    arrival_expect(arrival, 4 * TILE);
    for (int half = 0; half < 2; half++) {
        fetch_tile(base + half * TILE, qkv, column, k0 + half * 64, w.batch, arrival);
        fetch_tile(base + AT_VALUES + half * TILE, qkv, column + x.a.kv_heads * SIZE,
                   k0 + half * 64, w.batch, arrival);
    }
}

/* 128 keys against all queries that see them. */
template <bool TURNS>
__device__ __forceinline__ void
keys_walk(const struct hopper_arrays &x, struct place &w, const CUtensorMap *qkv,
          const CUtensorMap *dout, unsigned char *shared, int block)
{
    const struct kernel_attention &a = x.a;
    unsigned base = shared_address(shared);
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, k0 = block * KEYS;
    int first = k0 / QUERIES, head = w.key_head * w.group, heads_end = head + w.group;
    int tile = first;
    if (threadIdx.x == 0) {
        fetch_keys(x, w, qkv, base, k0);
        fetch_step(x, w, qkv, dout, base, w.steps_done & 1, head, tile);
    }
    arrival_wait(w.arrivals + 16, w.blocks_done++ & 1);

    float dk[2][32] = {}, dv[2][32] = {};
    int *passed = nullptr, pass_next = 0;
    while (head < heads_end) {
        unsigned stage = w.steps_done & 1;
        int next_tile = tile + 1 < w.tiles ? tile + 1 : first;
        int next_head = tile + 1 < w.tiles ? head : head + 1;
        arrival_wait(w.arrivals + stage * 8, w.steps_done >> 1 & 1);
        __syncthreads(); /* all have done the step before this one */
        if (threadIdx.x == 0 && next_head < heads_end)
            fetch_step(x, w, qkv, dout, base, stage ^ 1, next_head, next_tile);
        int q0 = tile * QUERIES;
        int64_t slot =
            (((int64_t)w.batch * a.heads + head) * w.tiles + tile) * WARPS + warp;
        int last = min(w.key_blocks, (q0 + QUERIES - 1) / KEYS + 1) - 1,
            mine = last - block;
        int seen = TURNS && mine > 0 && lane == 0 ? turn_look(x.turns + slot) : mine;
        keys_step(dk, dv, shared, stage, a.scale * LOG2E, k0 + warp * 16 - q0);
        __syncthreads();
        float dq[32];
        dq_start(dq, base);
        if (TURNS && passed)
            turn_pass(passed, pass_next);
        wgmma_wait<0>();
        if (TURNS) {
            while (lane == 0 && seen != mine)
                seen = turn_look(x.turns + slot);
            if (block == 0 && mine > 0)
                asm volatile("fence.acq_rel.gpu;" ::
                                 : "memory"); /* its loads come after */
            __syncwarp();
        }
        dq_add(dq, x.dq + slot * 1024, mine == 0, block == 0,
               x.dqkv + (w.row0 + q0 + warp * 16) * w.stride + (int64_t)head * SIZE,
               w.stride, a.length - q0 - warp * 16, a.scale);
        passed = block > 0 ? x.turns + slot : nullptr;
        pass_next = mine + 1;
        head = next_head;
        tile = next_tile;
        w.steps_done++;
    }
    if (TURNS && passed)
        turn_pass(passed, pass_next);
    bf16 *to =
        x.dqkv + (w.row0 + k0) * w.stride + (int64_t)(a.heads + w.key_head) * SIZE;
#pragma unroll
    for (int m = 0; m < 2; m++) {
        int row = m * 64 + warp * 16, valid = a.length - k0 - row;
        write_sums(dk[m], to + row * w.stride, w.stride, valid, a.scale);
        write_sums(dv[m], to + row * w.stride + a.kv_heads * SIZE, w.stride, valid,
                   1.0f);
    }
}

template <bool TURNS>
__global__ void __launch_bounds__(THREADS, 2)
    hopper_back_kernel(struct hopper_arrays x, const __grid_constant__ CUtensorMap qkv,
                       const __grid_constant__ CUtensorMap dout)
{
    extern __shared__ unsigned char raw[];
    __shared__ uint64_t arrivals[3];
    __shared__ int ticket;
    unsigned char *shared = raw + (-shared_address(raw) & 1023);
    struct place w;
    int work = blockIdx.x;
    w.key_blocks = (x.a.length + KEYS - 1) / KEYS;
    w.tiles = (x.a.length + QUERIES - 1) / QUERIES;
    w.group = x.a.heads / x.a.kv_heads;
    w.stride = (int64_t)(x.a.heads + 2 * x.a.kv_heads) * SIZE;
    w.arrivals = shared_address(arrivals);
    w.steps_done = w.blocks_done = 0;
    if (threadIdx.x == 0) {
        for (int i = 0; i < 3; i++)
            arrival_init(w.arrivals + i * 8);
        shared_publish();
        if (TURNS)
            ticket = atomicAdd(x.turns + x.turn_count, 1);
    }
    __syncthreads();
    if (TURNS)
        work = ticket / w.key_blocks;
    w.key_head = work % x.a.kv_heads;
    w.batch = work / x.a.kv_heads;
    w.row0 = (int64_t)w.batch * x.a.length;
    int from = TURNS ? w.key_blocks - 1 - ticket % w.key_blocks : w.key_blocks - 1;
    int to = TURNS ? from : 0;
    for (int block = from; block >= to; block--) {
        keys_walk<TURNS>(x, w, &qkv, &dout, shared, block);
        __syncthreads();
    }
}

/* rows: eight lanes a row of a head. */
__global__ void __launch_bounds__(256)
    rows_kernel(struct kernel_attention a, float *rows, const bf16 *dout,
                const bf16 *out, const float *lse, int tiles)
{
    int64_t i = (int64_t)blockIdx.x * 256 + threadIdx.x, item = i / 8;
    int head = (int)(item % a.heads);
    int64_t rest = item / a.heads;
    int q = (int)(rest % (tiles * QUERIES)), batch = (int)(rest / (tiles * QUERIES));
    float sum = 0.0f, v[8], d[8];
    bool there = batch < a.batch && q < a.length;
    if (there) {
        int64_t at =
            (((int64_t)batch * a.length + q) * a.heads + head) * SIZE + i % 8 * 8;
        load8(v, out + at);
        load8(d, dout + at);
#pragma unroll
        for (int j = 0; j < 8; j++)
            sum += v[j] * d[j];
    }
#pragma unroll
    for (int step = 4; step > 0; step /= 2)
        sum += __shfl_xor_sync(0xffffffffu, sum, step);
    if (i % 8 || batch >= a.batch)
        return;
    int64_t slot = ((int64_t)batch * a.heads + head) * tiles + q / QUERIES;
    float *to = rows + slot * 2 * QUERIES + q % QUERIES;
    to[0] =
        there ? lse[((int64_t)batch * a.heads + head) * a.length + q] * LOG2E : 0.0f;
    to[QUERIES] = sum;
}

template <bool TURNS>
static void launch(struct kernel_context *c, const struct hopper_arrays &x,
                   int64_t blocks, const CUtensorMap &qkv, const CUtensorMap &dout)
{
    shared_allow(c, "attention_back", hopper_back_kernel<TURNS>, SHARED);
    hopper_back_kernel<TURNS>
        <<<(unsigned)blocks, THREADS, SHARED, c->stream>>>(x, qkv, dout);
    cuda__launched(c, "attention_back");
}

static int64_t tiles_of(const struct kernel_attention *a)
{
    return (int64_t)a->batch * a->heads * ((a->length + QUERIES - 1) / QUERIES);
}

size_t cuda__attention_back_scratch_hopper(const struct kernel_attention *a)
{
    return (size_t)tiles_of(a) * (ROWS + WARPS * (32 * 32 * 4 + 4)) + 256;
}

void cuda__attention_back_hopper(struct kernel_context *c,
                                 const struct kernel_attention *a, void *dqkv,
                                 const void *dout, const void *out, const float *lse,
                                 const void *qkv, void *scratch)
{
    struct hopper_arrays x;
    CUtensorMap qkv_map, dout_map;
    int64_t heads = (int64_t)a->batch * a->kv_heads;
    int tiles = (a->length + QUERIES - 1) / QUERIES;
    float *rows = (float *)scratch;
    x.a = *a;
    x.dqkv = (bf16 *)dqkv;
    x.rows = rows;
    x.turn_count = tiles_of(a) * WARPS;
    x.dq = rows + tiles_of(a) * 2 * QUERIES;
    x.turns = (int *)(x.dq + x.turn_count * 1024);
    if (!cuda__tile_map(c, &qkv_map, qkv, (a->heads + 2 * a->kv_heads) * SIZE,
                        a->length, a->batch, 64) ||
        !cuda__tile_map(c, &dout_map, dout, a->heads * SIZE, a->length, a->batch,
                        64))
        return;
    rows_kernel<<<blocks_for(tiles_of(a) * QUERIES * 8, 256), 256, 0, c->stream>>>(
        *a, rows, (const bf16 *)dout, (const bf16 *)out, lse, tiles);
    if (heads >= 4 * (int64_t)c->sms) {
        launch<false>(c, x, heads, qkv_map, dout_map);
        return;
    }
    cuda__check(c, "attention_back",
                cudaMemsetAsync(x.turns, 0, (size_t)(x.turn_count + 1) * 4, c->stream));
    launch<true>(c, x, heads * ((a->length + KEYS - 1) / KEYS), qkv_map, dout_map);
}
