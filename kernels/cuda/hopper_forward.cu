/* SPDX-License-Identifier: Apache-2.0
 *
 * attention_forward.cu's plan for compute capability 9.0a and heads of 64: a block has
 * two warpgroups with 64 queries each, which share the keys and values; two blocks
 * share a multiprocessor.
 */
#include "hopper_softmax.cuh"

#define QUERIES 128
#define STEP 64 /* keys */
#define SIZE 64
#define THREADS 256
#define TILE (STEP * SIZE * 2) /* bytes of 64 rows */
#define STAGES                                                                         \
    4 /* one is read by the product that is still running, two are on their way */
#define EARLY 2

/* Queries, then stages of keys and values. */
#define AT_STEPS (2 * TILE)
#define SHARED (AT_STEPS + STAGES * 2 * TILE + 1024)

/* Through the warp's own rows of the queries' tile: whole 16-byte chunks. */
__device__ __forceinline__ void
write_out(unsigned char *shared, const struct kernel_attention &a, const float o[32],
          const float most[2], const float sum[2], bf16 *out, float *lse, int row)
{
    int lane = threadIdx.x & 31, g = lane / 4, t = lane % 4;
    int64_t stride = (int64_t)a.heads * SIZE;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        float total = quad_sum(sum[r]), inverse = 1.0f / total;
        if (t == 0 && row + g + r * 8 < a.length)
            lse[row + g + r * 8] = most[r] * a.scale + __logf(total);
#pragma unroll
        for (int nt = 0; nt < 8; nt++)
            *(unsigned *)(shared + tile_at<64>(row % QUERIES + g + r * 8, nt) + t * 4) =
                pack2(o[nt * 4 + 2 * r] * inverse, o[nt * 4 + 2 * r + 1] * inverse);
    }
    __syncwarp();
#pragma unroll
    for (int i = lane; i < 16 * 8; i += 32)
        if (row + i / 8 < a.length)
            *(uint4 *)(out + (row + i / 8) * stride + i % 8 * 8) =
                *(const uint4 *)(shared + tile_at<64>(row % QUERIES + i / 8, i % 8));
}

/* What a block reads: the queries of its head, and the keys and values that they share.
 */
struct tiles {
    const CUtensorMap *map;
    unsigned base,
        arrival; /* in shared memory: tiles; arrivals of steps, then queries */
    int head_column, key_column, value_column;
    int q0, batch, count; /* count: of steps */
};

/* By one thread; nothing where there are no more. */
__device__ __forceinline__ void fetch_step(const struct tiles &t, int i)
{
    unsigned stage = (unsigned)(i % STAGES), to = t.base + AT_STEPS + stage * 2 * TILE;
    if (threadIdx.x != 0 || i >= t.count)
        return;
    arrival_expect(t.arrival + stage * 8, 2 * TILE);
    fetch_tile(to, t.map, t.key_column, i * STEP, t.batch, t.arrival + stage * 8);
    fetch_tile(to + TILE, t.map, t.value_column, i * STEP, t.batch,
               t.arrival + stage * 8);
}

/* The queries, which it waits for, and the first steps. */
__device__ __forceinline__ void fetch_first(const struct tiles &t)
{
    unsigned queries = t.arrival + STAGES * 8;
    if (threadIdx.x == 0) {
        for (int i = 0; i <= STAGES; i++)
            arrival_init(t.arrival + i * 8);
        shared_publish();
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        arrival_expect(queries, 2 * TILE);
        fetch_tile(t.base, t.map, t.head_column, t.q0, t.batch, queries);
        fetch_tile(t.base + TILE, t.map, t.head_column, t.q0 + 64, t.batch, queries);
    }
#pragma unroll
    for (int i = 0; i < EARLY; i++)
        fetch_step(t, i);
    arrival_wait(queries, 0);
}

__global__ void __launch_bounds__(THREADS, 2)
    hopper_kernel(struct kernel_attention a, bf16 *out, float *lse,
                  const __grid_constant__ CUtensorMap map)
{
    extern __shared__ unsigned char raw[];
    __shared__ uint64_t arrivals[STAGES + 1]; /* of the steps, and of the queries */
    unsigned char *shared = raw + (-shared_address(raw) & 1023);
    unsigned base = shared_address(shared), arrival = shared_address(arrivals);
    int group = threadIdx.x / 128, warp = threadIdx.x / 32;
    int head = blockIdx.y % a.heads, batch = blockIdx.y / a.heads;
    int q0 = (int)(gridDim.x - 1 - blockIdx.x) * QUERIES; /* the longest walks first */
    int row = q0 + warp * 16;                             /* the warp's first query */
    int key_column = (a.heads + head / (a.heads / a.kv_heads)) * SIZE;
    int value_column = key_column + a.kv_heads * SIZE;
    int count = (min(q0 + QUERIES, a.length) + STEP - 1) / STEP;
    /* The last step's keys come after all of the first warpgroup's queries; by then
     * nothing is left to load. */
    int mine = min(count, q0 / STEP + group + 1);
    float factor = a.scale * LOG2E;
    const struct tiles tiles = {&map,         base, arrival, head * SIZE, key_column,
                                value_column, q0,   batch,   count};
    fetch_first(tiles);

    float o[32] = {}, most[2] = {-INFINITY, -INFINITY}, sum[2] = {}, rescale[2];
    uint64_t queries = tile_desc(base + (unsigned)group * TILE);
    for (int i = 0; i < mine; i++) {
        arrival_wait(arrival + i % STAGES * 8, i / STAGES & 1);
        __syncthreads(); /* all have done the step that the next one to fetch replaces
                          */
        fetch_step(tiles, i + EARLY);
        int ahead = i * STEP - row;
        uint64_t step = tile_desc(base + AT_STEPS + (unsigned)(i % STAGES) * 2 * TILE);
        float s[32];
        unsigned p[4][4];
        wgmma_fence();
#pragma unroll
        for (int ks = 0; ks < 4; ks++)
            wgmma<0, 0>(s, queries + ks * 2, step + ks * 2, ks > 0);
        wgmma_commit();
        wgmma_wait<0>(); /* the product before this one, too */
        if (ahead + STEP - 1 > 0)
            mask<8>(s, ahead);
        softmax_step<8>(p, s, most, sum, rescale, factor);
#pragma unroll
        for (int j = 0; j < 32; j++)
            o[j] *= rescale[j / 2 % 2];
        wgmma_fence();
#pragma unroll
        for (int ks = 0; ks < 4; ks++)
            wgmma_registers<1>(o, p[ks], step + (TILE >> 4) + ks * 128);
        wgmma_commit();
    }
    wgmma_wait<0>();
    for (int i = mine; i < count; i++)
        __syncthreads();
    __syncthreads(); /* the queries' tile is free */
    write_out(shared, a, o, most, sum,
              out + (int64_t)batch * a.length * a.heads * SIZE + (int64_t)head * SIZE,
              lse + ((int64_t)batch * a.heads + head) * a.length, row);
}

void cuda__attention_hopper(struct kernel_context *c, const struct kernel_attention *a,
                            void *out, float *lse, const void *qkv)
{
    dim3 grid(blocks_for(a->length, QUERIES), (unsigned)(a->batch * a->heads));
    CUtensorMap map;
    if (!cuda__tile_map(c, &map, qkv, (a->heads + 2 * a->kv_heads) * SIZE, a->length,
                        a->batch, 64))
        return;
    shared_allow(c, "attention", hopper_kernel, SHARED);
    hopper_kernel<<<grid, THREADS, SHARED, c->stream>>>(*a, (bf16 *)out, lse, map);
    cuda__launched(c, "attention");
}
