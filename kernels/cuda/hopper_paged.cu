/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention of sequences with more than one new token over a paged cache, for compute
 * capability 9.0a and heads of 128. A block has two warpgroups with 64 queries each,
 * and a warp that has the copy engine bring keys and values, one box for half a row of
 * each block of the cache. The warpgroups do not wait for each other: while one is at
 * its softmax, the other one's products run.
 */
#include "hopper_softmax.cuh"
#include "paged.cuh"

#define SIZE 128
#define QUERIES 128
#define STEP 128 /* keys */
#define STAGES 2
#define CONSUMERS 256
#define THREADS (CONSUMERS + 128)
#define HALF (STEP * 128) /* bytes of half the rows' elements of a step */
#define TILE (2 * HALF)   /* of keys, or of values */
#define QUERY_HALF (64 * 128)
#define QUERY_TILE (2 * QUERY_HALF)
#define BOX (KERNEL_BLOCK * 128)

#define AT_KEYS (2 * QUERY_TILE)
#define AT_VALUES (AT_KEYS + STAGES * TILE)
#define SHARED (AT_VALUES + STAGES * TILE + 1024)

/* Barriers, of STAGES each, and of the queries. */
enum { KEYS_FULL, VALUES_FULL, KEYS_FREE, VALUES_FREE, KINDS };
#define BARRIERS (KINDS * STAGES + 1)

__device__ __forceinline__ unsigned barrier_of(unsigned barriers, int kind, int i)
{
    return barriers + (unsigned)(kind * STAGES + i % STAGES) * 8;
}

/* A barrier of some of the block's threads. */
__device__ __forceinline__ void some_wait(int number, int threads)
{
    asm volatile("bar.sync %0, %1;" ::"r"(number), "r"(threads) : "memory");
}

/* Where a block's queries are, and what they see. */
struct paged_tile {
    int row, valid;     /* first of its new tokens; how many are there */
    int position;       /* of the first one in its sequence */
    int context, count; /* tokens there; steps */
    int head, kv;
    const int32_t *blocks;
};

__device__ __forceinline__ paged_tile tile_of(const paged_arrays &a,
                                              const paged_item &item)
{
    paged_tile t;
    int q0 = item.part * QUERIES;
    t.row = item.row + q0;
    t.valid = item.count - q0;
    t.context = item.context;
    t.position = item.context > 0 ? item.context - item.count + q0 : 0;
    t.count = (min(t.position + QUERIES, item.context) + STEP - 1) / STEP;
    t.head = (int)blockIdx.y;
    t.kv = t.head / (a.heads / a.kv_heads);
    t.blocks = a.s.blocks + (int64_t)item.sequence * a.s.stride;
    return t;
}

/* --- the warp that brings keys and values: lanes 0 to 15 have a box each --- */

__device__ __forceinline__ void bring(const CUtensorMap *map, const paged_arrays &a,
                                      const paged_tile &t, int i, unsigned to,
                                      unsigned full)
{
    int lane = threadIdx.x & 31, half = lane / 8, box = lane % 8;
    int last = (t.context + KERNEL_BLOCK - 1) / KERNEL_BLOCK;
    int there = min(STEP / KERNEL_BLOCK, last - i * (STEP / KERNEL_BLOCK));
    if (lane == 0)
        arrival_expect(full, (unsigned)there * 2 * BOX);
    __syncwarp();
    if (half < 2 && box < there) {
        int block = t.blocks[i * (STEP / KERNEL_BLOCK) + box];
        fetch_tile(to + (unsigned)(half * HALF + box * BOX), map, half * 64,
                   (block * a.kv_heads + t.kv) * KERNEL_BLOCK, 0, full);
    }
}

__device__ __forceinline__ void produce(const CUtensorMap *keys,
                                        const CUtensorMap *values,
                                        const paged_arrays &a, const paged_tile &t,
                                        unsigned base, unsigned barriers)
{
    for (int i = 0; i < t.count; i++) {
        unsigned stage = (unsigned)(i % STAGES) * TILE, turn = (i / STAGES & 1) ^ 1;
        if (i >= STAGES)
            arrival_wait(barrier_of(barriers, KEYS_FREE, i), turn);
        bring(keys, a, t, i, base + AT_KEYS + stage,
              barrier_of(barriers, KEYS_FULL, i));
        if (i >= STAGES)
            arrival_wait(barrier_of(barriers, VALUES_FREE, i), turn);
        bring(values, a, t, i, base + AT_VALUES + stage,
              barrier_of(barriers, VALUES_FULL, i));
    }
}

/* --- the warpgroups --- */

/* Values from the end of the context on may be anything: they become zeros, for no
 * probability makes a NaN one. Both warpgroups share the work. */
__device__ __forceinline__ void clear_values(unsigned char *values, int from)
{
    for (int i = (int)threadIdx.x; i < (STEP - from) * 16; i += CONSUMERS) {
        int row = from + i / 16, chunk = i % 16;
        *(uint4 *)(values + chunk / 8 * HALF + row * 128 + chunk % 8 * 16) =
            make_uint4(0, 0, 0, 0);
    }
    shared_publish();
    some_wait(1, CONSUMERS);
}

/* Through the warpgroup's tile of queries: whole 16-byte chunks. */
__device__ __forceinline__ void write_out(unsigned char *tile, const float (*o)[32],
                                          const float sum[2], bf16 *out, int64_t stride,
                                          int valid)
{
    int lane = threadIdx.x & 31, g = lane / 4, t = lane % 4;
    int row0 = (int)threadIdx.x / 32 % 4 * 16;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        float total = quad_sum(sum[r]), inverse = total > 0.0f ? 1.0f / total : 0.0f;
        int row = row0 + g + r * 8;
#pragma unroll
        for (int half = 0; half < 2; half++)
#pragma unroll
            for (int nt = 0; nt < 8; nt++)
                *(unsigned *)(tile + half * QUERY_HALF + tile_at<64>(row, nt) + t * 4) =
                    pack2(o[half][nt * 4 + 2 * r] * inverse,
                          o[half][nt * 4 + 2 * r + 1] * inverse);
    }
    __syncwarp();
#pragma unroll
    for (int i = lane; i < 16 * 16; i += 32) {
        int row = row0 + i / 16, chunk = i % 16;
        if (row < valid)
            *(uint4 *)(out + row * stride + chunk * 8) =
                *(const uint4 *)(tile + chunk / 8 * QUERY_HALF +
                                 tile_at<64>(row, chunk % 8));
    }
}

__device__ __forceinline__ void consume(const paged_arrays &a, const paged_tile &t,
                                        unsigned char *shared, unsigned barriers)
{
    unsigned base = shared_address(shared);
    int group = threadIdx.x / 128, lane = threadIdx.x & 31;
    int first = t.position + (int)threadIdx.x / 32 * 16; /* the warp's first query */
    float factor = a.scale * LOG2E;
    float o[2][32] = {}, most[2] = {-INFINITY, -INFINITY}, sum[2] = {}, rescale[2];
    uint64_t queries = tile_desc(base + (unsigned)group * QUERY_TILE);
    arrival_wait(barriers + KINDS * STAGES * 8, 0);
    for (int i = 0; i < t.count; i++) {
        unsigned stage = (unsigned)(i % STAGES) * TILE, turn = i / STAGES & 1;
        uint64_t keys = tile_desc(base + AT_KEYS + stage);
        uint64_t values = tile_desc(base + AT_VALUES + stage);
        float s[64];
        unsigned p[8][4];
        arrival_wait(barrier_of(barriers, KEYS_FULL, i), turn);
        wgmma_fence();
#pragma unroll
        for (int ks = 0; ks < 8; ks++)
            wgmma_128(s, queries + ks / 4 * (QUERY_HALF >> 4) + ks % 4 * 2,
                      keys + ks / 4 * (HALF >> 4) + ks % 4 * 2, ks > 0);
        wgmma_commit();
        wgmma_wait<0>();
        if (lane == 0)
            arrival_arrive(barrier_of(barriers, KEYS_FREE, i));
        int ahead = i * STEP - first;
        if (ahead + STEP - 1 > 0)
            mask<16>(s, ahead);
        softmax_step<16>(p, s, most, sum, rescale, factor);
#pragma unroll
        for (int j = 0; j < 32; j++) {
            o[0][j] *= rescale[j / 2 % 2];
            o[1][j] *= rescale[j / 2 % 2];
        }
        arrival_wait(barrier_of(barriers, VALUES_FULL, i), turn);
        if (t.context - i * STEP < STEP)
            clear_values(shared + AT_VALUES + stage, t.context - i * STEP);
        wgmma_fence();
#pragma unroll
        for (int ks = 0; ks < 8; ks++)
#pragma unroll
            for (int half = 0; half < 2; half++)
                wgmma_registers<1>(o[half], p[ks],
                                   values + half * (HALF >> 4) + ks * 128);
        wgmma_commit();
        wgmma_wait<0>();
        if (lane == 0)
            arrival_arrive(barrier_of(barriers, VALUES_FREE, i));
    }
    some_wait(2 + group, 128); /* the queries' tile is free */
    int64_t stride = (int64_t)a.heads * SIZE;
    write_out(shared + group * QUERY_TILE, o, sum,
              a.out + (t.row + group * 64) * stride + (int64_t)t.head * SIZE, stride,
              t.valid - group * 64);
}

__global__ void __launch_bounds__(THREADS, 1)
    hopper_paged_kernel(paged_arrays a, const __grid_constant__ CUtensorMap queries,
                        const __grid_constant__ CUtensorMap keys,
                        const __grid_constant__ CUtensorMap values)
{
    extern __shared__ unsigned char raw[];
    __shared__ uint64_t arrivals[BARRIERS];
    unsigned char *shared = raw + (-shared_address(raw) & 1023);
    unsigned base = shared_address(shared), barriers = shared_address(arrivals);
    /* The longest walks first. */
    paged_item item =
        paged_find(a.s, (int)(gridDim.x - 1 - blockIdx.x), [](int count, int) {
            return count > 1 ? (count + QUERIES - 1) / QUERIES : 0;
        });
    if (item.sequence < 0)
        return;
    paged_tile t = tile_of(a, item);
    if (threadIdx.x == 0) {
        for (int i = 0; i < STAGES; i++) {
            arrival_init(barrier_of(barriers, KEYS_FULL, i));
            arrival_init(barrier_of(barriers, VALUES_FULL, i));
            arrival_init_many(barrier_of(barriers, KEYS_FREE, i), CONSUMERS / 32);
            arrival_init_many(barrier_of(barriers, VALUES_FREE, i), CONSUMERS / 32);
        }
        arrival_init(barriers + KINDS * STAGES * 8);
        shared_publish();
    }
    __syncthreads();
    if (threadIdx.x >= CONSUMERS) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 24;");
        if (threadIdx.x < CONSUMERS + 32) {
            unsigned arrival = barriers + KINDS * STAGES * 8;
            if (threadIdx.x == CONSUMERS) {
                arrival_expect(arrival, 2 * QUERY_TILE);
                for (int i = 0; i < 4; i++)
                    fetch_tile(base + (unsigned)i * QUERY_HALF, &queries,
                               t.head * SIZE + i % 2 * 64, t.row + i / 2 * 64, 0,
                               arrival);
            }
            produce(&keys, &values, a, t, base, barriers);
        }
    } else {
        asm volatile("setmaxnreg.inc.sync.aligned.u32 240;");
        consume(a, t, shared, barriers);
    }
}

bool cuda__paged_prefill_hopper(struct kernel_context *c, const struct kernel_paged *a,
                                void *out, const void *q)
{
    const struct kernel_sequences *s = a->sequences;
    dim3 grid((unsigned)paged_tiles(s, QUERIES), (unsigned)a->heads);
    CUtensorMap queries, keys, values;
    /* How many blocks the caches have is not told: as many as a map takes. */
    const int rows = 1 << 30;
    if (!cuda__tile_map(c, &queries, q, a->heads * SIZE, s->tokens, 1, 64) ||
        !cuda__tile_map(c, &keys, a->keys, SIZE, rows, 1, KERNEL_BLOCK) ||
        !cuda__tile_map(c, &values, a->values, SIZE, rows, 1, KERNEL_BLOCK))
        return false;
    shared_allow(c, "paged_attention", hopper_paged_kernel, SHARED);
    hopper_paged_kernel<<<grid, THREADS, SHARED, c->stream>>>(
        paged_arrays_of(a, out, q), queries, keys, values);
    cuda__launched(c, "paged_attention");
    return true;
}
