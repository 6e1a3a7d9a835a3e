/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention of sequences with one new token over a paged cache (split-KV): contexts are
 * cut into chunks of about the same length over all sequences, a block takes one chunk
 * of one key head, and its warps blocks of the cache by turns. The query heads that
 * share the key head are the rows of the products, 16 of them. Who ends last of a
 * sequence's chunks adds them all up, in their order: the same bits in every run.
 */
#include "flash.cuh"
#include "paged.cuh"

#define WARPS 4
#define THREADS (WARPS * 32)
#define ROWS 16  /* query heads of a block */
#define STAGES 3 /* blocks of the cache on their way to a warp */
#ifndef LEAST
#define LEAST 256 /* tokens of a chunk: fewer are not worth adding it up */
#endif
#define RESIDENT 2 /* blocks of a multiprocessor */

template <int SIZE> struct decode_shape {
    static constexpr int TILE = KERNEL_BLOCK * SIZE * 2, STAGE = 2 * TILE;
    static constexpr int COPY = WARPS * STAGES * STAGE;
    static constexpr int MERGE = WARPS * ROWS * (SIZE + 4) * 4;
    static constexpr int SHARED = COPY > MERGE ? COPY : MERGE;
};

struct decode_arrays {
    struct paged_arrays a;
    float *o, *ends; /* [items, heads, SIZE], [items, heads, 2]: largest score, sum */
    unsigned *counters; /* [sequences, kv_heads * tiles] */
    int target;         /* chunks of all sequences, about */
    int tiles;          /* of up to 16 query heads that share a key head */
};

/* Tokens of a chunk, the same for all sequences. */
__device__ __forceinline__ int chunk_length(const struct kernel_sequences &s,
                                            int target)
{
    int lane = threadIdx.x & 31;
    long long total = 0;
    for (int base = 0; base < s.count; base += 32 * PAGED_EACH)
#pragma unroll
        for (int e = 0; e < PAGED_EACH; e++) {
            int i = min(base + e * 32 + lane, s.count);
            int count = s.first[min(i + 1, s.count)] - s.first[i];
            int context = s.context[min(i, s.count - 1)];
            total += count == 1 ? context : 0;
        }
#pragma unroll
    for (int i = 16; i > 0; i >>= 1)
        total += __shfl_xor_sync(0xffffffffu, total, i);
    int length = (int)((total + target - 1) / target);
    return max(LEAST, (length + 63) / 64 * 64);
}

/* Fragments of the queries: rows of 16 heads, from the first one of them. */
template <int SIZE>
__device__ __forceinline__ void load_queries(unsigned (*q)[4], const bf16 *from,
                                             int rows)
{
    int lane = threadIdx.x & 31, g = lane / 4, t = lane % 4;
#pragma unroll
    for (int ks = 0; ks < SIZE / 16; ks++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
            int row = g + (e & 1) * 8, column = ks * 16 + 2 * t + (e >> 1) * 8;
            q[ks][e] = row < rows ? *(const unsigned *)(from + row * SIZE + column) : 0;
        }
}

/* One block of 16 keys and values in shared memory; left: how many of them count. */
template <int SIZE>
__device__ __forceinline__ void decode_step(float (*o)[4], float most[2], float sum[2],
                                            const unsigned (*q)[4], unsigned stage,
                                            int left, float factor)
{
    int lane = threadIdx.x & 31, t = lane % 4;
    float s[2][4] = {};
    unsigned p[4];
#pragma unroll
    for (int ks = 0; ks < SIZE / 16; ks++) {
        unsigned b[4];
        load_b<SIZE>(b, stage, 0, ks * 16);
        mma(s[0], q[ks], b[0], b[1]);
        mma(s[1], q[ks], b[2], b[3]);
    }
    if (left < KERNEL_BLOCK)
#pragma unroll
        for (int nt = 0; nt < 2; nt++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                if (nt * 8 + 2 * t + (e & 1) >= left)
                    s[nt][e] = -INFINITY;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        float now = fmaxf(fmaxf(s[0][2 * r], s[0][2 * r + 1]),
                          fmaxf(s[1][2 * r], s[1][2 * r + 1]));
        now = fmaxf(most[r], quad_max(now));
        float shift = now * factor;
        float rescale = exp2_fast(most[r] * factor - shift), part = 0.0f;
        most[r] = now;
#pragma unroll
        for (int nt = 0; nt < 2; nt++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
                float x = exp2_fast(s[nt][2 * r + e] * factor - shift);
                s[nt][2 * r + e] = x;
                part += x;
            }
        sum[r] = sum[r] * rescale + part;
#pragma unroll
        for (int nt = 0; nt < SIZE / 8; nt++) {
            o[nt][2 * r] *= rescale;
            o[nt][2 * r + 1] *= rescale;
        }
    }
    sums_to_a(p, s[0], s[1]);
#pragma unroll
    for (int nt = 0; nt < SIZE / 16; nt++) {
        unsigned b[4];
        load_b_t<SIZE>(b, stage + KERNEL_BLOCK * SIZE * 2, nt * 16, 0);
        mma(o[2 * nt], p, b[0], b[1]);
        mma(o[2 * nt + 1], p, b[2], b[3]);
    }
}

/* The warp's part of tokens begin to end of a sequence. What lies before token `old`
 * was there before this step: it is asked for before the kernel in front has ended. */
template <int SIZE>
__device__ __forceinline__ void
decode_walk(float (*o)[4], float most[2], float sum[2], const paged_arrays &a,
            const int32_t *blocks, int kv, int begin, int end, int old,
            const bf16 *queries, int rows, unsigned stages)
{
    using shape = decode_shape<SIZE>;
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, numbers = 0;
    int first = begin / KERNEL_BLOCK + warp;
    int count = ((end + KERNEL_BLOCK - 1) / KERNEL_BLOCK - first + WARPS - 1) / WARPS;
    count = max(count, 0);
    int64_t stride = (int64_t)a.kv_heads * KERNEL_BLOCK * SIZE;
    auto fetch = [&](int i) {
        if (i < count) {
            if (i % 32 == 0 && i + lane < count)
                numbers = blocks[first + (i + lane) * WARPS];
            int number = __shfl_sync(0xffffffffu, numbers, i % 32);
            int64_t from = number * stride + (int64_t)kv * KERNEL_BLOCK * SIZE;
            int valid = end - (first + i * WARPS) * KERNEL_BLOCK;
            unsigned to = stages + (unsigned)(i % STAGES) * shape::STAGE;
#pragma unroll
            for (int e = 0; e < KERNEL_BLOCK * SIZE / 8 / 32; e++) {
                int at = lane + e * 32, row = at / (SIZE / 8), chunk = at % (SIZE / 8);
                unsigned place = to + tile_at<SIZE>(row, chunk);
                copy16(place, a.keys + from + at * 8, row < valid);
                copy16(place + shape::TILE, a.values + from + at * 8, row < valid);
            }
        }
        copies_commit();
    };
    int early = 0;
    while (early < STAGES - 1 &&
           (first + early * WARPS + 1) * KERNEL_BLOCK <= min(old, end))
        fetch(early++);
    early_wait();
    for (int i = early; i < STAGES - 1; i++)
        fetch(i);
    unsigned q[SIZE / 16][4];
    load_queries<SIZE>(q, queries, rows);
    for (int i = 0; i < count; i++) {
        copies_wait<STAGES - 2>();
        __syncwarp();
        fetch(i + STAGES - 1);
        decode_step<SIZE>(o, most, sum, q,
                          stages + (unsigned)(i % STAGES) * shape::STAGE,
                          end - (first + i * WARPS) * KERNEL_BLOCK, a.scale * LOG2E);
    }
    copies_wait<0>();
}

/* What the warps found goes to shared memory: [WARPS][ROWS][SIZE + 4], the last ones
 * being the largest score (times the factor) and the sum. */
template <int SIZE>
__device__ __forceinline__ void decode_leave(float *shared, float (*o)[4],
                                             const float most[2], float sum[2],
                                             float factor)
{
    int lane = threadIdx.x & 31, g = lane / 4, t = lane % 4;
    float *mine = shared + (threadIdx.x >> 5) * ROWS * (SIZE + 4);
#pragma unroll
    for (int r = 0; r < 2; r++) {
        float *row = mine + (g + 8 * r) * (SIZE + 4);
        float total = quad_sum(sum[r]);
        if (t == 0) {
            row[SIZE] = most[r] * factor;
            row[SIZE + 1] = total;
        }
#pragma unroll
        for (int nt = 0; nt < SIZE / 8; nt++)
            *(float2 *)(row + nt * 8 + 2 * t) =
                make_float2(o[nt][2 * r], o[nt][2 * r + 1]);
    }
}

/* Element j of a row over the warps: sum of o, and what belongs to it. */
template <int SIZE>
__device__ __forceinline__ float decode_merge(const float *shared, int row, int j,
                                              float *ret_most, float *ret_sum)
{
    const float *at = shared + row * (SIZE + 4);
    float most = -INFINITY, all = 0.0f, total = 0.0f;
#pragma unroll
    for (int w = 0; w < WARPS; w++)
        most = fmaxf(most, at[w * ROWS * (SIZE + 4) + SIZE]);
#pragma unroll
    for (int w = 0; w < WARPS; w++) {
        const float *part = at + w * ROWS * (SIZE + 4);
        float factor = part[SIZE + 1] > 0.0f ? exp2_fast(part[SIZE] - most) : 0.0f;
        all += part[j] * factor;
        total += part[SIZE + 1] * factor;
    }
    *ret_most = most;
    *ret_sum = total;
    return all;
}

/* All chunks of a sequence, from item `first` on, for `rows` heads. A warp adds up
 * every fourth chunk, a lane four elements of a row; then the warps' sums are added up.
 */
template <int SIZE>
__device__ __forceinline__ void decode_combine(const decode_arrays &d, int first,
                                               int parts, int head0, int rows,
                                               float *shared, bf16 *out)
{
    constexpr int LANES = SIZE / 4, EACH = 32 / LANES; /* rows of a warp at once */
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    for (int row = lane / LANES; row < rows; row += EACH) {
        const float *o =
            d.o + ((int64_t)first * d.a.heads + head0 + row) * SIZE + lane % LANES * 4;
        const float2 *ends =
            (const float2 *)d.ends + (int64_t)first * d.a.heads + head0 + row;
        float most = -INFINITY, total = 0.0f;
        float4 all = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll 4
        for (int part = warp; part < parts; part += WARPS) {
            int64_t at = (int64_t)part * d.a.heads;
            float2 end = __ldcg(ends + at);
            float4 v = __ldcg((const float4 *)(o + at * SIZE));
            float now = fmaxf(most, end.x);
            float old = exp2_fast(most - now), fresh = exp2_fast(end.x - now);
            most = now;
            total = total * old + end.y * fresh;
            all.x = all.x * old + v.x * fresh;
            all.y = all.y * old + v.y * fresh;
            all.z = all.z * old + v.z * fresh;
            all.w = all.w * old + v.w * fresh;
        }
        float *mine = shared + (warp * ROWS + row) * (SIZE + 4);
        *(float4 *)(mine + lane % LANES * 4) = all;
        if (lane % LANES == 0)
            *(float2 *)(mine + SIZE) = make_float2(most, total);
    }
    __syncthreads();
    for (int i = (int)threadIdx.x; i < rows * SIZE; i += THREADS) {
        float most, total;
        float all = decode_merge<SIZE>(shared, i / SIZE, i % SIZE, &most, &total);
        from_f(out[i], all / total);
    }
}

template <int SIZE>
__global__ void __launch_bounds__(THREADS, RESIDENT) decode_kernel(decode_arrays d)
{
    using shape = decode_shape<SIZE>;
    extern __shared__ __align__(128) unsigned char shared[];
    __shared__ bool last;
    const paged_arrays &a = d.a;
    early_next();
    int length = chunk_length(a.s, d.target), group = a.heads / a.kv_heads;
    paged_item item = paged_find(a.s, (int)blockIdx.x, [&](int count, int context) {
        return count == 1 ? max(1, (context + length - 1) / length) : 0;
    });
    if (item.sequence < 0) {
        early_wait();
        return;
    }
    int kv = (int)blockIdx.y / d.tiles, tile = (int)blockIdx.y % d.tiles;
    int head0 = kv * group + tile * ROWS, rows = min(ROWS, group - tile * ROWS);
    /* Chunks of a sequence are of the same length, in whole blocks of the cache. */
    int blocks = (item.context + KERNEL_BLOCK - 1) / KERNEL_BLOCK;
    int begin = blocks * item.part / item.parts * KERNEL_BLOCK;
    int end = min(blocks * (item.part + 1) / item.parts * KERNEL_BLOCK, item.context);
    bf16 *out = a.out + ((int64_t)item.row * a.heads + head0) * SIZE;
    float o[SIZE / 8][4] = {}, most[2] = {-INFINITY, -INFINITY}, sum[2] = {};
    decode_walk<SIZE>(
        o, most, sum, a, a.s.blocks + (int64_t)item.sequence * a.s.stride, kv, begin,
        end, a.s.fresh ? 0 : item.context - 1,
        a.q + ((int64_t)item.row * a.heads + head0) * SIZE, rows,
        shared_address(shared) + (threadIdx.x >> 5) * STAGES * shape::STAGE);
    __syncthreads();
    decode_leave<SIZE>((float *)shared, o, most, sum, a.scale * LOG2E);
    __syncthreads();
    for (int i = (int)threadIdx.x; i < rows * SIZE; i += THREADS) {
        float largest, total;
        float all =
            decode_merge<SIZE>((float *)shared, i / SIZE, i % SIZE, &largest, &total);
        if (item.parts == 1) {
            from_f(out[i], total > 0.0f ? all / total : 0.0f);
            continue;
        }
        int64_t at = (int64_t)blockIdx.x * a.heads + head0 + i / SIZE;
        __stcg(d.o + at * SIZE + i % SIZE, all);
        if (i % SIZE == 0)
            __stcg((float2 *)d.ends + at, make_float2(largest, total));
    }
    if (item.parts == 1)
        return;
    unsigned *counter = d.counters + (int64_t)item.sequence * gridDim.y + blockIdx.y;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0)
        last = atomicAdd(counter, 1u) == (unsigned)item.parts - 1;
    __syncthreads();
    if (!last)
        return;
    __threadfence();
    decode_combine<SIZE>(d, (int)blockIdx.x - item.part, item.parts, head0, rows,
                         (float *)shared, out);
    if (threadIdx.x == 0)
        *counter = 0;
}

static int head_tiles(const struct kernel_paged *a)
{
    return (a->heads / a->kv_heads + ROWS - 1) / ROWS;
}

/* Chunks of all sequences that fill the machine. */
static int chunks_wanted(const struct kernel_context *c, const struct kernel_paged *a)
{
    int columns = a->kv_heads * head_tiles(a);
    return (RESIDENT * c->sms + columns - 1) / columns;
}

/* Items there may be: each sequence may have a chunk that is not full. */
static size_t items_most(const struct kernel_context *c, const struct kernel_paged *a)
{
    return (size_t)chunks_wanted(c, a) + (size_t)a->sequences->count;
}

size_t cuda__paged_decode_scratch(struct kernel_context *c,
                                  const struct kernel_paged *a)
{
    return (items_most(c, a) + 3) / 4 * 4 * (size_t)a->heads * ((size_t)a->size + 2) *
           4;
}

template <int SIZE>
static void launch(struct kernel_context *c, const decode_arrays &d, dim3 grid)
{
    constexpr int shared = decode_shape<SIZE>::SHARED;
    shared_allow(c, "paged_attention", decode_kernel<SIZE>, shared);
    launch_early(c, decode_kernel<SIZE>, grid, THREADS, shared, d);
    cuda__launched(c, "paged_attention");
}

void cuda__paged_decode(struct kernel_context *c, const struct kernel_paged *a,
                        void *out, const void *q, void *scratch)
{
    size_t items = (items_most(c, a) + 3) / 4 * 4; /* so that all is aligned */
    float *partial = (float *)scratch;
    decode_arrays d = {paged_arrays_of(a, out, q),
                       partial + items * (size_t)a->heads * 2,
                       partial,
                       c->counters,
                       chunks_wanted(c, a),
                       head_tiles(a)};
    dim3 grid((unsigned)items, (unsigned)(a->kv_heads * d.tiles));
    if ((size_t)a->sequences->count * grid.y > CUDA_COUNTERS) {
        cuda__fail(c, "paged_attention", "too many sequences in one step");
        return;
    }
    if (a->size == 64)
        launch<64>(c, d, grid);
    else
        launch<128>(c, d, grid);
}
