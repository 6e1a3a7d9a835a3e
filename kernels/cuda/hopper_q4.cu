/* SPDX-License-Identifier: Apache-2.0
 *
 * Products of some rows with weights of 4 bits, for compute capability 9.0a: the
 * weights are the first operand of wgmma, made bf16 in registers, the rows of x the
 * second one, in shared memory. A warp has the copy engine bring both, some steps
 * ahead; each warpgroup has 64 weights' rows. Blocks that share rows are a cluster, and
 * add up their sums through each other's shared memory, in their order.
 *
 * (q - zero) / 64 is exact in bf16, scales are applied to a group's sums of float. q
 * comes without a shift for every nibble: up to eight low bits of a bf16 are a number
 * of steps of 2^-133, be it subnormal or not.
 */
#include "hopper.cuh"
#include "q4.cuh"

#define STEP 128 /* of k: two tiles */
#define MOST_SPLITS 8

/* N: rows of x. Up to 16 of them mma.sync multiplies, a warp having 32 weights' rows.
 */
template <int N, int HALVES> struct hopper_q4_shape {
    static constexpr bool FEW = N <= 16;
    static constexpr int GROUPS = 2;                               /* of 64 rows */
    static constexpr int RESIDENT = N == 64 ? 2 : N == 32 ? 3 : 4; /* blocks at once */
    static constexpr int STAGES = 4;
    static constexpr int ROWS = 64 * GROUPS, CONSUMERS = ROWS * (FEW ? 1 : 2);
    static constexpr int THREADS = CONSUMERS + 32;
    static constexpr int X = 2 * N * 128, TILES = GROUPS * 4096;
    static constexpr int SCALES_64 = 256 * (4 / HALVES); /* of 64 rows */
    static constexpr int STAGE = (X + TILES + GROUPS * SCALES_64 + 1023) / 1024 * 1024;
    static constexpr int SUMS = N * ROWS * 4;
    static constexpr int SHARED =
        (STAGES * STAGE > SUMS ? STAGES * STAGE : SUMS) + 1024;
};

struct hopper_q4_arrays {
    q4_weights w;
    void *out;
    int m, part; /* part: steps of a block */
};

/* d[64,N] = a[64,16] b[16,N] (+ d when add), a in registers, b's rows along k. */
__device__ __forceinline__ void wgmma_rows(float (&d)[16], const unsigned a[4],
                                           uint64_t b, bool add)
{
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %21, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n32k16.f32.bf16.bf16 "
                 "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15}, "
                 "{%16,%17,%18,%19}, %20, p, 1, 1, 0;\n}"
                 : WGMMA_SUMS_HALF(d, 0)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"((int)add));
}
__device__ __forceinline__ void wgmma_rows(float (&d)[32], const unsigned a[4],
                                           uint64_t b, bool add)
{
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 " WGMMA_LIST
                 ", {%32,%33,%34,%35}, %36, p, 1, 1, 0;\n}"
                 : WGMMA_SUMS_HALF(d, 0), WGMMA_SUMS_HALF(d, 16)
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"((int)add));
}

/* word masked, times 2^power, plus add: each of its two bf16. */
template <unsigned MASK, int POWER>
__device__ __forceinline__ unsigned exact_pair(unsigned word, unsigned add)
{
    const unsigned factor = (127 + POWER) << 7 | (127 + POWER) << 23;
    unsigned pair = word & MASK;
    /* volatile: not ahead of the products before, registers are few */
    asm volatile("fma.rn.bf16x2 %0, %0, %1, %2;" : "+r"(pair) : "r"(factor), "r"(add));
    return pair;
}
/* -zero / 64 */
__device__ __forceinline__ unsigned zero_pair(unsigned how)
{
    unsigned pair = (how & 15) * 0x00010001u;
    asm("fma.rn.bf16x2 %0, %0, %1, %2;"
        : "+r"(pair)
        : "r"(0xff00ff00), "r"(0x80008000));
    return pair;
}

/* The first operand of 32 of k, of 16 each: rows g (low) and g + 8 (high). */
__device__ __forceinline__ void dequantize(unsigned (*a)[4], unsigned low,
                                           unsigned high, uint2 zeros)
{
    a[0][0] = exact_pair<0x000f000f, 127>(low, zeros.x);
    a[0][1] = exact_pair<0x000f000f, 127>(high, zeros.y);
    a[0][2] = exact_pair<0x00f000f0, 123>(low, zeros.x);
    a[0][3] = exact_pair<0x00f000f0, 123>(high, zeros.y);
    a[1][0] = exact_pair<0x000f000f, 127>(low >> 8, zeros.x);
    a[1][1] = exact_pair<0x000f000f, 127>(high >> 8, zeros.y);
    a[1][2] = exact_pair<0x00f000f0, 123>(low >> 8, zeros.x);
    a[1][3] = exact_pair<0x00f000f0, 123>(high >> 8, zeros.y);
}

/* --- the warp that brings steps --- */

struct q4_walk {
    int rows0, first, count; /* first row tile; first step; steps */
    int token0;
};

/* A lane brings what 64 rows have of a step. */
template <typename S, int HALVES>
__device__ __forceinline__ void bring_weights(const hopper_q4_arrays &a,
                                              const q4_walk &k, int i, unsigned stage,
                                              unsigned full)
{
    constexpr int GROUPS = 4 / HALVES; /* of a step */
    int lane = threadIdx.x & 31, step = k.first + i;
    int there = min(S::GROUPS, a.w.n / 64 - k.rows0 / 4);
    unsigned tiles = (unsigned)min(2, a.w.steps - 2 * step) * 2048;
    unsigned scales = (unsigned)min(GROUPS, a.w.groups - GROUPS * step) * 256;
    if (lane == 0)
        arrival_expect(full, (unsigned)there * (tiles + scales) + S::X);
    __syncwarp();
    if (lane >= there)
        return;
    fetch_bytes(stage + S::X + (unsigned)lane * 4096,
                q4_tiles_of(a.w, k.rows0 + 4 * lane) + 2 * step * Q4_NEXT_TILE, tiles,
                full);
    fetch_bytes(stage + S::X + S::TILES + (unsigned)lane * S::SCALES_64,
                q4_scales_of(a.w, k.rows0 + 4 * lane) + GROUPS * step * Q4_NEXT_GROUP,
                scales, full);
}

template <typename S, int N>
__device__ __forceinline__ void bring_x(const CUtensorMap *map, const q4_walk &k, int i,
                                        unsigned stage, unsigned full)
{
    if ((threadIdx.x & 31) == 0)
        for (int j = 0; j < 2; j++)
            fetch_tile(stage + (unsigned)(j * N * 128), map,
                       (k.first + i) * STEP + j * Q4_TILE, k.token0, 0, full);
}

template <typename S, int N, int HALVES>
__device__ __forceinline__ void produce(const CUtensorMap *map,
                                        const hopper_q4_arrays &a, const q4_walk &k,
                                        unsigned base, unsigned barriers)
{
    int early = min(k.count, S::STAGES);
    for (int i = 0; i < early; i++)
        bring_weights<S, HALVES>(a, k, i, base + (unsigned)i * S::STAGE,
                                 barriers + (unsigned)i * 8);
    early_wait();
    for (int i = 0; i < k.count; i++) {
        unsigned slot = (unsigned)(i % S::STAGES), full = barriers + slot * 8;
        if (i >= early) {
            arrival_wait(full + S::STAGES * 8, (i / S::STAGES & 1) ^ 1);
            bring_weights<S, HALVES>(a, k, i, base + slot * S::STAGE, full);
        }
        bring_x<S, N>(map, k, i, base + slot * S::STAGE, full);
    }
}

/* --- the warpgroups --- */

template <int N>
__device__ __forceinline__ void add_scaled(float (&sum)[N / 2],
                                           const float (&part)[N / 2], uint2 how)
{
    float scale[2] = {q4_scale(how.x) * 64.0f, q4_scale(how.y) * 64.0f};
#pragma unroll
    for (int i = 0; i < N / 2; i++)
        sum[i] = fmaf(part[i], scale[i / 2 % 2], sum[i]);
}

template <typename S, int N, int HALVES>
__device__ __forceinline__ void consume(float (&sum)[N / 2], const hopper_q4_arrays &a,
                                        const q4_walk &k, const unsigned char *shared,
                                        unsigned base, unsigned barriers)
{
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    for (int i = 0; i < k.count; i++) {
        unsigned slot = (unsigned)(i % S::STAGES), full = barriers + slot * 8;
        const unsigned char *stage = shared + slot * S::STAGE;
        const uint4 *tiles =
            (const uint4 *)(stage + S::X + warp / 4 * 4096 + warp % 4 * 512) + lane;
        const uint2 *scales = (const uint2 *)(stage + S::X + S::TILES +
                                              warp / 4 * S::SCALES_64 + warp % 4 * 64) +
                              lane / 4;
        uint64_t x = tile_desc(base + slot * S::STAGE);
        float part[N / 2];
        uint2 zeros;
        arrival_wait(full, i / S::STAGES & 1);
#pragma unroll
        for (int half = 0; half < 4; half++) {
            unsigned operand[2][4];
            uint2 r = *((const uint2 *)(tiles + half / 2 * Q4_NEXT_TILE) + half % 2);
            if (half % HALVES == 0) {
                uint2 how = scales[half / HALVES * Q4_NEXT_GROUP];
                zeros = make_uint2(zero_pair(how.x), zero_pair(how.y));
            }
            dequantize(operand, r.x, r.y, zeros);
            wgmma_fence();
#pragma unroll
            for (int j = 0; j < 2; j++)
                wgmma_rows(part, operand[j],
                           x + half / 2 * (N * 128 >> 4) + half % 2 * 4 + j * 2,
                           half % HALVES > 0 || j > 0);
            wgmma_commit();
            if (half % HALVES < HALVES - 1) {
                wgmma_wait<1>(); /* registers of the operand before are free */
                continue;
            }
            wgmma_wait<0>();
            /* Beyond the end of k there is no scale. */
            if ((k.first + i) * (4 / HALVES) + half / HALVES < a.w.groups)
                add_scaled<N>(sum, part, scales[half / HALVES * Q4_NEXT_GROUP]);
        }
        if (lane == 0)
            arrival_arrive(full + S::STAGES * 8);
    }
}

/* --- few rows: mma.sync, whose warps need not wait for each other --- */

/* Each bf16 times 2^POWER. */
template <int POWER> __device__ __forceinline__ unsigned lifted(unsigned pair)
{
    const unsigned factor = (127 + POWER) << 7 | (127 + POWER) << 23;
    asm("fma.rn.bf16x2 %0, %0, %1, %2;" : "+r"(pair) : "r"(factor), "r"(0x80008000));
    return pair;
}

/* The second operand of 32 of k, of 16 each, for 8 rows of x. What meets nibbles in
 * their places, q * 2^-133 and q * 2^-129, is lifted to make all products q * x *
 * 2^-69. */
__device__ __forceinline__ void load_lifted(unsigned (*b)[2], unsigned tile, int row0,
                                            int half)
{
    int lane = threadIdx.x & 31;
    unsigned raw[4];
    load_matrices(raw, tile + tile_at<64>(row0 + (lane & 7), half * 4 + (lane >> 3)));
#pragma unroll
    for (int j = 0; j < 2; j++) {
        b[j][0] = lifted<64>(raw[2 * j]);
        b[j][1] = lifted<60>(raw[2 * j + 1]);
    }
}

/* sum += scale * (part - zero * sum of x); ones: the latter times 2^64. */
__device__ __forceinline__ void add_few(float sum[4], const float part[4],
                                        const float ones[4], uint2 how)
{
    float scale[2] = {q4_scale(how.x) * 0x1p69f, q4_scale(how.y) * 0x1p69f};
    /* As a float that is zero * 2^-133. */
    float zero[2] = {__uint_as_float((how.x & 15) << 16),
                     __uint_as_float((how.y & 15) << 16)};
#pragma unroll
    for (int e = 0; e < 4; e++)
        sum[e] = fmaf(scale[e / 2], fmaf(-zero[e / 2], ones[e % 2], part[e]), sum[e]);
}

/* 32 of k of a warp's two row tiles. */
template <int NT>
__device__ __forceinline__ void few_half(float (*part)[NT][4], float (*ones)[4],
                                         const uint2 *words, unsigned (*b)[2][2])
{
    const unsigned one[4] = {0x3f803f80, 0x3f803f80, 0x41804180,
                             0x41804180}; /* 1, 16 */
#pragma unroll
    for (int nt = 0; nt < NT; nt++)
#pragma unroll
        for (int j = 0; j < 2; j++)
            mma(ones[nt], one, b[nt][j][0], b[nt][j][1]);
#pragma unroll
    for (int rt = 0; rt < 2; rt++)
#pragma unroll
        for (int j = 0; j < 2; j++) {
            unsigned low = words[rt].x >> (8 * j), high = words[rt].y >> (8 * j);
            unsigned a[4] = {low & 0x000f000f, high & 0x000f000f, low & 0x00f000f0,
                             high & 0x00f000f0};
#pragma unroll
            for (int nt = 0; nt < NT; nt++)
                mma(part[rt][nt], a, b[nt][j][0], b[nt][j][1]);
        }
}

template <typename S, int N, int HALVES>
__device__ __forceinline__ void
consume_few(float (*sum)[N / 2], const hopper_q4_arrays &a, const q4_walk &k,
            const unsigned char *shared, unsigned base, unsigned barriers)
{
    constexpr int NT = N / 8;
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    for (int i = 0; i < k.count; i++) {
        unsigned slot = (unsigned)(i % S::STAGES), full = barriers + slot * 8;
        const unsigned char *stage = shared + slot * S::STAGE;
        const uint4 *tiles =
            (const uint4 *)(stage + S::X + warp / 2 * 4096 + warp % 2 * 1024) + lane;
        const uint2 *scales =
            (const uint2 *)(stage + S::X + S::TILES + warp / 2 * S::SCALES_64 +
                            warp % 2 * 128) +
            lane / 4;
        unsigned x = base + slot * S::STAGE;
        float part[2][NT][4], ones[NT][4];
        uint4 raw[2];
        arrival_wait(full, i / S::STAGES & 1);
#pragma unroll
        for (int half = 0; half < 4; half++) {
            unsigned b[NT][2][2];
            if (half % 2 == 0)
#pragma unroll
                for (int rt = 0; rt < 2; rt++)
                    raw[rt] = tiles[half / 2 * Q4_NEXT_TILE + rt * 32];
            if (half % HALVES == 0)
#pragma unroll
                for (int nt = 0; nt < NT; nt++)
#pragma unroll
                    for (int e = 0; e < 4; e++)
                        part[0][nt][e] = part[1][nt][e] = ones[nt][e] = 0.0f;
#pragma unroll
            for (int nt = 0; nt < NT; nt++)
                load_lifted(b[nt], x + half / 2 * N * 128, nt * 8, half % 2);
            uint2 words[2];
#pragma unroll
            for (int rt = 0; rt < 2; rt++)
                words[rt] = half % 2 ? make_uint2(raw[rt].z, raw[rt].w)
                                     : make_uint2(raw[rt].x, raw[rt].y);
            few_half<NT>(part, ones, words, b);
            /* Beyond the end of k there is no scale. */
            if (half % HALVES == HALVES - 1 &&
                (k.first + i) * (4 / HALVES) + half / HALVES < a.w.groups)
#pragma unroll
                for (int rt = 0; rt < 2; rt++)
#pragma unroll
                    for (int nt = 0; nt < NT; nt++)
                        add_few(&sum[rt][nt * 4], part[rt][nt], ones[nt],
                                scales[half / HALVES * Q4_NEXT_GROUP + rt * 8]);
        }
        __syncwarp();
        if (lane == 0)
            arrival_arrive(full + S::STAGES * 8);
    }
}

/* --- sums of all blocks of the cluster --- */

/* Shared memory written before is there for the cluster after. */
__device__ __forceinline__ void cluster_publish()
{
    asm volatile("barrier.cluster.arrive.release.aligned;\n"
                 "barrier.cluster.wait.acquire.aligned;" ::
                     : "memory");
}
__device__ __forceinline__ void cluster_wait()
{
    asm volatile("barrier.cluster.arrive.relaxed.aligned;\n"
                 "barrier.cluster.wait.aligned;" ::
                     : "memory");
}
__device__ __forceinline__ float4 load_peer(unsigned address, int rank)
{
    float4 v;
    asm volatile("{\n.reg .b32 there;\nmapa.shared::cluster.u32 there, %4, %5;\n"
                 "ld.shared::cluster.v4.f32 {%0,%1,%2,%3}, [there];\n}"
                 : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
                 : "r"(address), "r"(rank)
                 : "memory");
    return v;
}
__device__ __forceinline__ void store4(bf16 *p, float4 v)
{
    *(uint2 *)p = make_uint2(pack2(v.x, v.y), pack2(v.z, v.w));
}
__device__ __forceinline__ void store4(float *p, float4 v)
{
    *(float4 *)p = v;
}

/* Sums to shared memory as [token][row], rows in groups of four that are xored with the
 * token, so that a fragment's stores meet in few banks. */
template <typename S> __device__ __forceinline__ int sum_at(int token, int row)
{
    return token * S::ROWS + ((row / 4 ^ (token / 2 % 4 * 2)) * 4 | row % 4);
}

/* Sums of 16 rows from row on, as fragments have them. */
template <typename S, int N>
__device__ __forceinline__ void leave(float *sums, const float *sum, int row)
{
    int lane = threadIdx.x & 31;
#pragma unroll
    for (int i = 0; i < N / 2; i++)
        sums[sum_at<S>(i / 4 * 8 + lane % 4 * 2 + i % 2,
                       row + lane / 4 + i / 2 % 2 * 8)] = sum[i];
}

template <typename T, typename S, int N>
__device__ __forceinline__ void finish(const hopper_q4_arrays &a, const q4_walk &k,
                                       unsigned base, int splits, int rank)
{
    int tokens = min(a.m - k.token0, N), row0 = k.rows0 * 16;
    int each = S::ROWS / 4;
    for (int i = rank * S::THREADS + (int)threadIdx.x; i < tokens * each;
         i += splits * S::THREADS) {
        int token = i / each, row = i % each * 4;
        if (row0 + row >= a.w.n)
            continue;
        unsigned at = base + (unsigned)sum_at<S>(token, row) * 4;
        float4 all = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        for (int s = 0; s < splits; s++) {
            float4 v = load_peer(at, s);
            all.x += v.x;
            all.y += v.y;
            all.z += v.z;
            all.w += v.w;
        }
        store4((T *)a.out + (int64_t)(k.token0 + token) * a.w.n + row0 + row, all);
    }
}

template <typename T, int N, int HALVES>
__global__ void __launch_bounds__((hopper_q4_shape<N, HALVES>::THREADS),
                                  (hopper_q4_shape<N, HALVES>::RESIDENT))
    hopper_q4_kernel(hopper_q4_arrays a, const __grid_constant__ CUtensorMap map)
{
    using S = hopper_q4_shape<N, HALVES>;
    extern __shared__ unsigned char raw[];
    __shared__ uint64_t arrivals[2 * S::STAGES]; /* full, then free */
    unsigned char *shared = raw + (-shared_address(raw) & 1023);
    unsigned base = shared_address(shared), barriers = shared_address(arrivals);
    int rank = (int)blockIdx.y, splits = (int)gridDim.y, steps = (a.w.steps + 1) / 2;
    q4_walk k;
    k.rows0 = (int)blockIdx.x * (S::ROWS / 16);
    k.first = rank * a.part;
    k.count = min(a.part, steps - k.first);
    k.token0 = (int)blockIdx.z * N;
    early_next();
    if (threadIdx.x == 0) {
        for (int i = 0; i < S::STAGES; i++) {
            arrival_init(barriers + i * 8);
            arrival_init_many(barriers + (S::STAGES + i) * 8, S::CONSUMERS / 32);
        }
        shared_publish();
    }
    __syncthreads();
    float sum[S::FEW ? 2 : 1][N / 2] = {};
    int warp = (int)threadIdx.x >> 5;
    if (threadIdx.x >= S::CONSUMERS)
        produce<S, N, HALVES>(&map, a, k, base, barriers);
    else if constexpr (S::FEW)
        consume_few<S, N, HALVES>(sum, a, k, shared, base, barriers);
    else
        consume<S, N, HALVES>(sum[0], a, k, shared, base, barriers);
    early_wait();
    __syncthreads(); /* the stages are free */
    if (threadIdx.x < S::CONSUMERS) {
        leave<S, N>((float *)shared, sum[0], S::FEW ? warp * 32 : warp * 16);
        if constexpr (S::FEW)
            leave<S, N>((float *)shared, sum[1], warp * 32 + 16);
    }
    if (splits > 1)
        cluster_publish();
    else
        __syncthreads();
    finish<T, S, N>(a, k, base, splits, rank);
    if (splits > 1)
        cluster_wait(); /* none ends while its sums are read */
}

/* Blocks that share rows: those with which the machine is best filled. */
static int splits_choose(int blocks, int slots, int steps)
{
    int best = 1;
    double least = 1e30;
    for (int splits = 1; splits <= MOST_SPLITS && splits <= steps; splits++) {
        int waves = (blocks * splits + slots - 1) / slots;
        int part = (steps + splits - 1) / splits;
        double cost = waves * (part + 6.0);
        if ((splits - 1) * part < steps && cost < least) {
            least = cost;
            best = splits;
        }
    }
    return best;
}

template <typename T, int N, int HALVES>
static void launch(struct kernel_context *c, hopper_q4_arrays &a,
                   const CUtensorMap &map)
{
    using S = hopper_q4_shape<N, HALVES>;
    auto kernel = hopper_q4_kernel<T, N, HALVES>;
    int rows = (a.w.n + S::ROWS - 1) / S::ROWS, columns = (a.m + N - 1) / N;
    int steps = (a.w.steps + 1) / 2;
    int splits = splits_choose(rows * columns, c->sms * S::RESIDENT, steps);
    a.part = (steps + splits - 1) / splits;
    cudaLaunchAttribute how[2] = {};
    how[0].id = cudaLaunchAttributeClusterDimension;
    how[0].val.clusterDim.x = how[0].val.clusterDim.z = 1;
    how[0].val.clusterDim.y = (unsigned)splits;
    how[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    how[1].val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3((unsigned)rows, (unsigned)splits, (unsigned)columns);
    config.blockDim = dim3(S::THREADS);
    config.dynamicSmemBytes = S::SHARED;
    config.stream = c->stream;
    config.attrs = how;
    config.numAttrs = 2;
    cuda__check(c, "q4_matmul",
                cudaFuncSetAttribute(
                    kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, S::SHARED));
    (void)cudaLaunchKernelEx(&config, kernel, a, map);
    cuda__launched(c, "q4_matmul");
}

template <int N>
static void launch_group(struct kernel_context *c, hopper_q4_arrays &a, const bf16 *x,
                         int group, enum kernel_type type)
{
    CUtensorMap map;
    if (!cuda__tile_map(c, &map, x, a.w.k, a.m, 1, N))
        return;
    if (group == 128)
        TYPED(type, (launch<T, N, 4>(c, a, map)));
    else if (group == 64)
        TYPED(type, (launch<T, N, 2>(c, a, map)));
    else
        TYPED(type, (launch<T, N, 1>(c, a, map)));
}

void cuda__q4_hopper(struct kernel_context *c, const struct kernel_q4 *w,
                     const void *packed, void *out, const void *x, int64_t m,
                     enum kernel_type c_type)
{
    hopper_q4_arrays a = {q4_weights_of(w, packed), out, (int)m, 0};
    if (m <= 8)
        launch_group<8>(c, a, (const bf16 *)x, w->group, c_type);
    else if (m <= 16)
        launch_group<16>(c, a, (const bf16 *)x, w->group, c_type);
    else if (m <= 32)
        launch_group<32>(c, a, (const bf16 *)x, w->group, c_type);
    else
        launch_group<64>(c, a, (const bf16 *)x, w->group, c_type);
}
