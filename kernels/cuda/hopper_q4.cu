/* SPDX-License-Identifier: Apache-2.0
 *
 * Products of some rows with weights of 4 bits, for compute capability 9.0a: the
 * weights are the first operand of wgmma, made bf16 in registers, the rows of x the
 * second one, in shared memory. A thread has the copy engine bring both, some units
 * ahead; each warpgroup has 64 weights' rows.
 *
 * A unit is 128 of k of a tile of sums; beyond k's end x and the scales are zeros. All
 * units, tile after tile, are cut into as many runs of like length as blocks are
 * resident: one wave, whatever the shape. Where a cut goes through a tile, blocks send
 * each other their parts of its sums.
 *
 * Up to 32 rows a block takes less than half of its share of a multiprocessor: the next
 * kernel's blocks start beside it and fetch their first weights before it has ended.
 *
 * (q - zero) / 64 is exact in bf16, scales are applied to a group's sums of float. q
 * comes without a shift for every nibble: up to eight low bits of a bf16 are a number
 * of steps of 2^-133, be it subnormal or not.
 */
#include "hopper.cuh"
#include "q4.cuh"

#define UNIT 128 /* of k: two of the weights' tiles */

/* N: rows of x. HALVES: of a group, 32 of k each. */
template <int N_, int HALVES_> struct hopper_q4_shape {
    static constexpr int N = N_, HALVES = HALVES_;
    static constexpr bool FEW = N <= 16;
    static constexpr int WARPGROUPS = FEW ? 2 : N == 32 ? 3 : 4;
    static constexpr int RESIDENT = FEW ? 2 : 1; /* blocks of a launch at once */
    static constexpr int BESIDE = FEW ? 2 : N == 32 ? 1 : 0; /* the next kernel's */
    static constexpr int ROWS = 64 * WARPGROUPS, WARPS = 4 * WARPGROUPS;
    static constexpr int THREADS = WARPS * 32 + 32;
    static constexpr int X = N * 128;                    /* bytes of 64 of k */
    static constexpr int SCALES_64 = 256 * (4 / HALVES); /* of 64 weights' rows */
    static constexpr int TILES_AT = 2 * X, SCALES_AT = TILES_AT + WARPGROUPS * 4096;
    static constexpr int BYTES = SCALES_AT + WARPGROUPS * SCALES_64;
    static constexpr int STAGE = (BYTES + 1023) / 1024 * 1024;
    /* A multiprocessor has 228 KB, of which a block takes one more, and some for
     * barriers and to begin at a multiple of 1024. */
    static constexpr int STAGES =
        ((228 << 10) / (RESIDENT + BESIDE) - 2048 - 256) / STAGE;
    static constexpr int SHARED = STAGES * STAGE + 1024;
    static constexpr int PIECES = N / 8; /* a lane's sums, four by four */
};

struct hopper_q4_maps {
    CUtensorMap tiles, scales, x;
};

struct hopper_q4_arrays {
    void *out;
    float4 *mail; /* [blocks][2][WARPS][PIECES][32], all bits set when there is none */
    int n, m, columns; /* columns: of tiles, N rows of x each */
    int steps, units;  /* of a tile; of all of them */
};

/* --- d[64,N] = a[64,16] b[16,N] (+ d when add), a in registers, b's rows along k ---
 */

#define SUMS_4(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define SUMS_8(d, i) SUMS_4(d, i), SUMS_4(d, i + 4)
/* The operands behind the sums have the numbers a0 to a3, low, high, add. */
#define ROWS_PRODUCT(n, sums, a0, a1, a2, a3, low, high, add)                          \
    "{\n.reg .pred p;\n.reg .b64 d;\nmov.b64 d, {%" #low ", %" #high "};\n"            \
    "setp.ne.b32 p, %" #add ", 0;\n"                                                   \
    "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32.bf16.bf16 " sums ", {%" #a0        \
    ", %" #a1 ", %" #a2 ", %" #a3 "}, d, p, 1, 1, 0;\n}"
/* The high half of a tile_desc is a constant. */
#define ROWS_OPERANDS(a, b, add)                                                       \
    "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b), "r"(0x40000040), "r"((int)add)

__device__ __forceinline__ void wgmma_rows(float (&d)[4], const unsigned a[4],
                                           unsigned b, bool add)
{
    asm volatile(ROWS_PRODUCT(8, "{%0,%1,%2,%3}", 4, 5, 6, 7, 8, 9, 10)
                 : SUMS_4(d, 0)
                 : ROWS_OPERANDS(a, b, add));
}
__device__ __forceinline__ void wgmma_rows(float (&d)[8], const unsigned a[4],
                                           unsigned b, bool add)
{
    asm volatile(ROWS_PRODUCT(16, "{%0,%1,%2,%3,%4,%5,%6,%7}", 8, 9, 10, 11, 12, 13, 14)
                 : SUMS_8(d, 0)
                 : ROWS_OPERANDS(a, b, add));
}
__device__ __forceinline__ void wgmma_rows(float (&d)[16], const unsigned a[4],
                                           unsigned b, bool add)
{
    asm volatile(ROWS_PRODUCT(32,
                              "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15}",
                              16, 17, 18, 19, 20, 21, 22)
                 : WGMMA_SUMS_HALF(d, 0)
                 : ROWS_OPERANDS(a, b, add));
}
__device__ __forceinline__ void wgmma_rows(float (&d)[32], const unsigned a[4],
                                           unsigned b, bool add)
{
    asm volatile(ROWS_PRODUCT(64, WGMMA_LIST, 32, 33, 34, 35, 36, 37, 38)
                 : WGMMA_SUMS_HALF(d, 0), WGMMA_SUMS_HALF(d, 16)
                 : ROWS_OPERANDS(a, b, add));
}

/* --- weights made bf16 --- */

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

/* --- a block's units, from the last one back --- */

struct q4_walk {
    int left, tile, step;

    __device__ __forceinline__ void next(int steps)
    {
        left--;
        if (--step < 0) {
            step = steps - 1;
            tile--;
        }
    }
};

__device__ __forceinline__ q4_walk walk_of(const hopper_q4_arrays &a)
{
    int64_t units = a.units, block = blockIdx.x, blocks = gridDim.x;
    int begin = (int)(block * units / blocks),
        end = (int)((block + 1) * units / blocks);
    return q4_walk{end - begin, (end - 1) / a.steps, (end - 1) % a.steps};
}
__device__ __forceinline__ int block_of(const hopper_q4_arrays &a, int unit)
{
    return (int)(((int64_t)(unit + 1) * gridDim.x - 1) / a.units);
}

/* Where a tile is: its strip of weights' rows, its first row of x. Mostly one column of
 * tiles is all, and need not be divided by. */
__device__ __forceinline__ int strip_of(const hopper_q4_arrays &a, int tile)
{
    return a.columns == 1 ? tile : tile / a.columns;
}
template <typename S>
__device__ __forceinline__ int token_of(const hopper_q4_arrays &a, int tile)
{
    return a.columns == 1 ? 0 : tile % a.columns * S::N;
}

template <int STAGES> struct q4_ring {
    unsigned slot = 0, parity = 0;

    __device__ __forceinline__ void next()
    {
        if (++slot == STAGES) {
            slot = 0;
            parity ^= 1;
        }
    }
};

/* --- the thread that brings them --- */

template <typename S>
__device__ __forceinline__ void
bring_weights(const hopper_q4_maps &maps, const hopper_q4_arrays &a, const q4_walk &k,
              unsigned stage, unsigned full)
{
    int group = strip_of(a, k.tile) * S::WARPGROUPS; /* of 64 rows */
    arrival_expect(full, S::BYTES);
    fetch_tile(stage + S::TILES_AT, &maps.tiles, 0, 2 * k.step, group, full);
    fetch_tile(stage + S::SCALES_AT, &maps.scales, 0, 4 / S::HALVES * k.step, group,
               full);
}
template <typename S>
__device__ __forceinline__ void bring_x(const hopper_q4_maps &maps,
                                        const hopper_q4_arrays &a, const q4_walk &k,
                                        unsigned stage, unsigned full)
{
    int token0 = token_of<S>(a, k.tile);
    fetch_tile(stage, &maps.x, k.step * UNIT, token0, 0, full);
    fetch_tile(stage + S::X, &maps.x, k.step * UNIT + Q4_TILE, token0, 0, full);
}

template <typename S>
__device__ __forceinline__ void bring_early(const hopper_q4_maps &maps,
                                            const hopper_q4_arrays &a, q4_walk k,
                                            unsigned base, unsigned barriers)
{
    for (int i = 0; i < S::STAGES; i++) {
        arrival_init(barriers + i * 8);
        arrival_init_many(barriers + (S::STAGES + i) * 8, S::WARPS);
    }
    shared_publish();
    for (int i = 0; i < S::STAGES && k.left > 0; i++, k.next(a.steps))
        bring_weights<S>(maps, a, k, base + i * S::STAGE, barriers + i * 8);
}

template <typename S>
__device__ __forceinline__ void bring(const hopper_q4_maps &maps,
                                      const hopper_q4_arrays &a, q4_walk k,
                                      unsigned base, unsigned barriers)
{
    q4_ring<S::STAGES> ring;
    early_wait();
    for (int i = 0; i < S::STAGES && k.left > 0; i++, k.next(a.steps))
        bring_x<S>(maps, a, k, base + i * S::STAGE, barriers + i * 8);
    for (; k.left > 0; k.next(a.steps), ring.next()) {
        unsigned stage = base + ring.slot * S::STAGE, full = barriers + ring.slot * 8;
        arrival_wait(full + S::STAGES * 8, ring.parity);
        bring_weights<S>(maps, a, k, stage, full);
        bring_x<S>(maps, a, k, stage, full);
    }
}

/* Weights before anything that kernels in front write. */
template <typename S>
__device__ __forceinline__ void produce(const hopper_q4_maps &maps,
                                        const hopper_q4_arrays &a, const q4_walk &k,
                                        unsigned base, unsigned barriers)
{
    bool first = (threadIdx.x & 31) == 0;
    if (first)
        bring_early<S>(maps, a, k, base, barriers);
    __syncwarp();
    __syncthreads(); /* the barriers are there */
    if (first)
        bring<S>(maps, a, k, base, barriers);
}

/* --- the warpgroups --- */

template <int COUNT>
__device__ __forceinline__ void add_scaled(float (&sum)[COUNT],
                                           const float (&part)[COUNT], uint2 how)
{
    float scale[2] = {q4_scale(how.x) * 64.0f, q4_scale(how.y) * 64.0f};
#pragma unroll
    for (int i = 0; i < COUNT; i++)
        sum[i] = fmaf(part[i], scale[i / 2 % 2], sum[i]);
}

/* A unit, whose weights and scales of this lane are there; x: low half of its
 * descriptor. */
template <typename S>
__device__ __forceinline__ void add_unit(float (&sum)[S::N / 2], const uint4 *tiles,
                                         const uint2 *scales, unsigned x)
{
    constexpr bool EARLY = S::N <= 32; /* there are registers to spare */
    float part[S::N / 2];
    uint4 raw[2];
    uint2 how, zeros;
    raw[0] = tiles[0];
    if (EARLY)
        raw[1] = tiles[Q4_NEXT_TILE];
#pragma unroll
    for (int half = 0; half < 4; half++) {
        unsigned operand[2][4];
        if (!EARLY && half == 2)
            raw[1] = tiles[Q4_NEXT_TILE];
        if (half % S::HALVES == 0) {
            how = scales[half / S::HALVES * Q4_NEXT_GROUP];
            zeros = make_uint2(zero_pair(how.x), zero_pair(how.y));
        }
        const uint4 &r = raw[half / 2];
        dequantize(operand, half % 2 ? r.z : r.x, half % 2 ? r.w : r.y, zeros);
        wgmma_fence();
#pragma unroll
        for (int j = 0; j < 2; j++)
            wgmma_rows(part, operand[j],
                       x + half / 2 * (S::X >> 4) + half % 2 * 4 + j * 2,
                       half % S::HALVES > 0 || j > 0);
        wgmma_commit();
        if (half % S::HALVES < S::HALVES - 1) {
            wgmma_wait<1>(); /* registers of the operand before are free */
            continue;
        }
        if (!EARLY)
            how = scales[half / S::HALVES * Q4_NEXT_GROUP];
        wgmma_wait<0>();
        add_scaled(sum, part, how);
    }
}

/* --- sums of a tile that several blocks have parts of --- */

/* A block has parts of two tiles at most: of one where it is the first, of another one
 * where it is not. */
template <typename S>
__device__ __forceinline__ float4 *mail_of(const hopper_q4_arrays &a, int block,
                                           int first, int piece)
{
    int warp = (2 * block + (block == first)) * S::WARPS + (threadIdx.x >> 5);
    return a.mail + (int64_t)(warp * S::PIECES + piece) * 32 + (threadIdx.x & 31);
}
__device__ __forceinline__ void mail_send(float4 *to, float4 v)
{
    asm volatile("st.relaxed.gpu.global.v4.f32 [%0], {%1,%2,%3,%4};" ::"l"(to),
                 "f"(v.x), "f"(v.y), "f"(v.z), "f"(v.w)
                 : "memory");
}
__device__ __forceinline__ float4 mail_look(const float4 *from)
{
    float4 v;
    asm volatile("ld.relaxed.gpu.global.v4.f32 {%0,%1,%2,%3}, [%4];"
                 : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
                 : "l"(from)
                 : "memory");
    return v;
}
/* Each word tells of itself that it is there: a NaN that comes of a sum has other bits.
 */
__device__ __forceinline__ bool mail_there(float4 v)
{
    return __float_as_uint(v.x) != ~0u && __float_as_uint(v.y) != ~0u &&
           __float_as_uint(v.z) != ~0u && __float_as_uint(v.w) != ~0u;
}

/* The blocks' parts of a piece, in their order, own among them. Leaves no mail. */
template <typename S>
__device__ __forceinline__ float4 gather(const hopper_q4_arrays &a, float4 own,
                                         int first, int last, int piece)
{
    constexpr int ONCE = 4; /* on their way */
    const float none = __uint_as_float(~0u);
    int block = (int)blockIdx.x;
    float4 all = make_float4(0.0f, 0.0f, 0.0f, 0.0f), v[ONCE];
    for (int from = first; from <= last; from += ONCE) {
        bool there;
        do {
            there = true;
#pragma unroll
            for (int i = 0; i < ONCE; i++) {
                bool other = from + i <= last && from + i != block;
                v[i] = other ? mail_look(mail_of<S>(a, from + i, first, piece)) : own;
                there = there && (!other || mail_there(v[i]));
            }
        } while (!__all_sync(0xffffffffu, there));
#pragma unroll
        for (int i = 0; i < ONCE; i++) {
            if (from + i > last)
                break;
            all.x += v[i].x;
            all.y += v[i].y;
            all.z += v[i].z;
            all.w += v[i].w;
            if (from + i != block)
                mail_send(mail_of<S>(a, from + i, first, piece),
                          make_float4(none, none, none, none));
        }
    }
    return all;
}

/* A piece of sums: rows row and row + 8 of two tokens each. */
template <typename T>
__device__ __forceinline__ void store_piece(const hopper_q4_arrays &a, int row,
                                            int token, float4 v)
{
    T *out = (T *)a.out + (int64_t)token * a.n + row;
    if (row < a.n && token < a.m) {
        from_f(out[0], v.x);
        from_f(out[8], v.z);
    }
    if (row < a.n && token + 1 < a.m) {
        from_f(out[a.n], v.y);
        from_f(out[a.n + 8], v.w);
    }
}

/* A tile's first block comes to it before any other tile, and only sends. The others
 * end with it, about at once: each adds up some of the pieces. None waits in vain: no
 * launch has more blocks than are resident, and a kernel that starts early does so
 * after all of them. */
template <typename T, typename S>
__device__ __forceinline__ void finish(const hopper_q4_arrays &a,
                                       const float (&sum)[S::N / 2], int tile)
{
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    int row = strip_of(a, tile) * S::ROWS + warp * 16 + lane / 4;
    int token = token_of<S>(a, tile) + lane % 4 * 2;
    int first = block_of(a, tile * a.steps);
    int last = block_of(a, tile * a.steps + a.steps - 1);
    int shares = max(last - first, 1), turn = 0; /* turn: whose piece it is */
    int mine = first == last ? 0 : (int)blockIdx.x - first - 1;
#pragma unroll
    for (int p = 0; p < S::PIECES; p++) {
        if (turn != mine)
            mail_send(mail_of<S>(a, (int)blockIdx.x, first, p),
                      make_float4(sum[4 * p], sum[4 * p + 1], sum[4 * p + 2],
                                  sum[4 * p + 3]));
        turn = turn + 1 == shares ? 0 : turn + 1;
    }
    turn = 0;
#pragma unroll
    for (int p = 0; p < S::PIECES; p++) {
        if (turn == mine) {
            float4 v =
                make_float4(sum[4 * p], sum[4 * p + 1], sum[4 * p + 2], sum[4 * p + 3]);
            if (first != last)
                v = gather<S>(a, v, first, last, p);
            store_piece<T>(a, row, token + p * 8, v);
        }
        turn = turn + 1 == shares ? 0 : turn + 1;
    }
}

template <typename T, typename S>
__device__ __forceinline__ void consume(const hopper_q4_arrays &a, q4_walk k,
                                        const unsigned char *shared, unsigned barriers)
{
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    const unsigned char *tiles =
        shared + S::TILES_AT + warp / 4 * 4096 + warp % 4 * 512 + lane * 16;
    const unsigned char *scales =
        shared + S::SCALES_AT + warp / 4 * S::SCALES_64 + warp % 4 * 64 + lane / 4 * 8;
    unsigned x = (unsigned)tile_desc(shared_address(shared));
    q4_ring<S::STAGES> ring;
    __syncthreads(); /* the barriers are there */
    early_wait();
    while (k.left > 0) {
        float sum[S::N / 2] = {};
        int here = min(k.left, k.step + 1);
        for (int i = 0; i < here; i++, ring.next()) {
            unsigned full = barriers + ring.slot * 8;
            arrival_wait(full, ring.parity);
            add_unit<S>(sum, (const uint4 *)(tiles + ring.slot * S::STAGE),
                        (const uint2 *)(scales + ring.slot * S::STAGE),
                        x + ring.slot * (S::STAGE >> 4));
            __syncwarp();
            if (lane == 0)
                arrival_arrive(full + S::STAGES * 8);
        }
        finish<T, S>(a, sum, k.tile);
        k = q4_walk{k.left - here, k.tile - 1, a.steps - 1};
    }
}

template <typename T, typename S>
__global__ void __launch_bounds__(S::THREADS, S::RESIDENT + S::BESIDE)
    hopper_q4_kernel(hopper_q4_arrays a, const __grid_constant__ hopper_q4_maps maps)
{
    extern __shared__ unsigned char raw[];
    __shared__ uint64_t arrivals[2 * S::STAGES]; /* full, then free */
    unsigned char *shared = raw + (-shared_address(raw) & 1023);
    unsigned base = shared_address(shared), barriers = shared_address(arrivals);
    /* The same in a warp, which the compiler is to know. */
    int warp = __shfl_sync(0xffffffffu, (int)threadIdx.x >> 5, 0);
    q4_walk k = walk_of(a);
    early_next();
    if (warp == S::WARPS)
        produce<S>(maps, a, k, base, barriers);
    else
        consume<T, S>(a, k, shared, barriers);
}

/* --- launch --- */

template <typename T, typename S>
static void launch(struct kernel_context *c, const q4_weights &w, void *out,
                   const bf16 *x, int m)
{
    auto kernel = hopper_q4_kernel<T, S>;
    hopper_q4_maps maps;
    if (!cuda__tile_map(c, &maps.x, x, w.k, m, 1, S::N) ||
        !cuda__block_map(c, &maps.tiles, w.tiles, 2048, w.steps, w.n / 64, 2,
                         S::WARPGROUPS) ||
        !cuda__block_map(c, &maps.scales, w.scales, 256, w.groups, w.n / 64,
                         4 / S::HALVES, S::WARPGROUPS))
        return;
    int steps = (w.steps + 1) / 2, columns = (m + S::N - 1) / S::N;
    int units = (w.n + S::ROWS - 1) / S::ROWS * columns * steps;
    hopper_q4_arrays a = {out, (float4 *)c->mail, w.n, m, columns, steps, units};
    static_assert(2 * S::RESIDENT * S::ROWS * S::N * 4 <= CUDA_MAIL);
    shared_allow(c, "q4_matmul", kernel, S::SHARED);
    launch_early(c, kernel, dim3((unsigned)min(units, c->sms * S::RESIDENT)),
                 S::THREADS, S::SHARED, a, maps);
    cuda__launched(c, "q4_matmul");
}

template <int N>
static void launch_group(struct kernel_context *c, const struct kernel_q4 *q,
                         const void *packed, void *out, const bf16 *x, int m,
                         enum kernel_type type)
{
    q4_weights w = q4_weights_of(q, packed);
    if (q->group == 128)
        TYPED(type, (launch<T, hopper_q4_shape<N, 4>>(c, w, out, x, m)));
    else if (q->group == 64)
        TYPED(type, (launch<T, hopper_q4_shape<N, 2>>(c, w, out, x, m)));
    else
        TYPED(type, (launch<T, hopper_q4_shape<N, 1>>(c, w, out, x, m)));
}

void cuda__q4_hopper(struct kernel_context *c, const struct kernel_q4 *w,
                     const void *packed, void *out, const void *x, int64_t m,
                     enum kernel_type c_type)
{
    if (m <= 8)
        launch_group<8>(c, w, packed, out, (const bf16 *)x, (int)m, c_type);
    else if (m <= 16)
        launch_group<16>(c, w, packed, out, (const bf16 *)x, (int)m, c_type);
    else if (m <= 32)
        launch_group<32>(c, w, packed, out, (const bf16 *)x, (int)m, c_type);
    else
        launch_group<64>(c, w, packed, out, (const bf16 *)x, (int)m, c_type);
}
