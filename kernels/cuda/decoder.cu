/* SPDX-License-Identifier: Apache-2.0
 *
 * A step of up to eight sequences, one token each, through all layers, as one kernel
 * for compute capability 9.0: a block per multiprocessor, all of them there at once. A
 * layer has five phases, and no block waits for another one but for the words it needs:
 *
 *   normed x -> qkv -> attention -> o -> normed x -> gate|up, SwiGLU -> down
 *
 * A block has the same tiles of weights' rows in all layers, and keeps the residual
 * stream for itself; what it computes goes to all others as words. Its weights come
 * through a ring that runs ahead as far as it has room. Numbers are rounded to bf16
 * where the kernels of single products round them; only sums of float may go in another
 * order.
 */
#include <cudaTypedefs.h>
#include <string.h>
#include "decoder_attention.cuh"

#define THREADS (DECODER_CONSUMERS + 32)
#define NORM_PAIRS (DECODER_HIDDEN / 4 / DECODER_CONSUMERS) /* of a thread, at most */

/* Where things are in a block's shared memory; first what is always in the same place.
 */
struct decoder_fixed {
    uint64_t barriers[2 * DECODER_MOST_STAGES];
    stream_tiles tiles[DECODER_PRODUCTS];
    attention_plan plan;
    float squares[DECODER_SEQUENCES][PRODUCT_WARPS];
};

struct decoder_space {
    decoder_fixed *fixed;
    decoder_layer *layers;
    uint2
        *residual; /* [sequences, hidden], pairs of words as their threads have them */
    unsigned char *input; /* rows of the product under way; or attention's scratch */
    float *sums;
    float *ones; /* [groups][8] of the input, for weights of 4 bits */
    stream_ring ring;
};

#define ALIGNED(bytes) (((unsigned)(bytes) + 127) / 128 * 128)
#define FIXED ALIGNED(sizeof(decoder_fixed))

__host__ __device__ static inline unsigned layers_bytes(const decoder_arrays &a)
{
    return ALIGNED(a.layer_count * sizeof(decoder_layer));
}
__host__ __device__ static inline unsigned residual_bytes(const decoder_arrays &a)
{
    return ALIGNED(a.s.count * a.hidden * 2);
}

unsigned cuda__decoder_beside(const struct decoder_arrays *a)
{
    return FIXED + layers_bytes(*a) + residual_bytes(*a) + ALIGNED(a->input) +
           DECODER_SUMS + ALIGNED(a->ones);
}

unsigned cuda__decoder_stage(bool q4)
{
    return stream_stage(q4);
}

unsigned cuda__decoder_scratch(int heads, int size)
{
    unsigned sums = (unsigned)(ATTENTION_WARPS * heads * size * 4);
    return sums +
           (size == 128 ? attention_space<128>::SUMS : attention_space<64>::SUMS);
}

__device__ __forceinline__ decoder_space space_of(const decoder_arrays &a,
                                                  unsigned char *shared)
{
    decoder_space m;
    m.fixed = (decoder_fixed *)shared;
    m.ring.barriers = shared_address(m.fixed->barriers);
    m.ring.stages = a.stages;
    unsigned char *at = shared + FIXED;
    m.layers = (decoder_layer *)at;
    m.residual = (uint2 *)(at += layers_bytes(a));
    m.input = at += residual_bytes(a);
    m.sums = (float *)(at += ALIGNED(a.input));
    m.ones = (float *)(at += DECODER_SUMS);
    m.ring.base = shared_address(at + ALIGNED(a.ones));
    return m;
}

/* --- what goes into products --- */

/* A row of the input; its bytes keep rows from meeting in a bank. */
__host__ __device__ __forceinline__ constexpr unsigned input_stride(int64_t k, bool q4)
{
    return (unsigned)(k * 2) + (q4 ? 16 : 64);
}

unsigned cuda__decoder_row(int64_t k, bool q4)
{
    return input_stride(k, q4);
}

/* Each bf16 times a power of two. */
__device__ __forceinline__ unsigned lifted(unsigned pair, unsigned factor)
{
    asm("fma.rn.bf16x2 %0, %0, %1, %2;" : "+r"(pair) : "r"(factor), "r"(0x80008000));
    return pair;
}

/* Four elements from 4 * i on as products with bf16 take them: of eight in a row the
 * third and fourth change places with the fifth and sixth. */
__device__ __forceinline__ void put_pair(unsigned char *row, int i, uint2 x)
{
    unsigned *to = (unsigned *)row + i / 2 * 4 + i % 2;
    to[0] = x.x;
    to[2] = x.y;
}

/* Four elements from 4 * i on as products with 4 bits take them, and the sum of the
 * group, which is what a warp has. Every other eight meet nibbles that are 16 times as
 * large. */
__device__ __forceinline__ uint2 lift(uint2 x, int i, float *ones)
{
    unsigned factor = i / 2 % 2 ? (127 + 60) << 7 : (127 + 64) << 7;
    float2 a = unpack2(x.x), b = unpack2(x.y);
    float sum = warp_sum(a.x + a.y + (b.x + b.y));
    factor |= factor << 16;
    if ((threadIdx.x & 31) == 0)
        ones[i / 32 * 8] = sum * 0x1p64f;
    return make_uint2(lifted(x.x, factor), lifted(x.y, factor));
}

/* Rows of k as they are. */
template <bool Q4, bool ONE>
__device__ __forceinline__ void take_plain(const decoder_arrays &a,
                                           const decoder_space &m, const uint64_t *from,
                                           int k, unsigned epoch)
{
    int count = ONE ? 1 : a.s.count;
    from += words_copy() * count * (k / 2);
#pragma unroll 1
    for (int s = 0; s < count; s++) {
        unsigned char *row = m.input + s * input_stride(k, Q4);
        auto put = [&](int i, uint2 data) {
            if (Q4)
                ((uint2 *)row)[i] = data;
            else
                put_pair(row, i, data);
        };
        if (k <= 16 * DECODER_CONSUMERS)
            words_take<4>(from + s * (k / 2), k / 4, epoch, put);
        else
            words_take<8>(from + s * (k / 2), k / 4, epoch, put);
        __syncwarp();
#pragma unroll 4
        for (int i = (int)threadIdx.x; Q4 && i < k / 4; i += DECODER_CONSUMERS)
            ((uint2 *)row)[i] = lift(((uint2 *)row)[i], i, m.ones + s);
    }
    consumers_sync();
}

__device__ __forceinline__ uint2 residual_add(uint2 x, uint2 delta, float *squares)
{
    float2 a = unpack2(x.x), b = unpack2(x.y), c = unpack2(delta.x),
           d = unpack2(delta.y);
    uint2 sum = make_uint2(pack2(a.x + c.x, a.y + c.y), pack2(b.x + d.x, b.y + d.y));
    a = unpack2(sum.x), b = unpack2(sum.y);
    *squares += a.x * a.x + a.y * a.y + b.x * b.x + b.y * b.y;
    return sum;
}

/* The residual of a sequence plus delta (NULL: x as the step begins with it); the sum
 * of this thread's squares. */
template <int U>
__device__ __forceinline__ float residual_take(const decoder_arrays &a, uint2 *residual,
                                               const uint64_t *delta, const uint2 *x,
                                               unsigned epoch)
{
    float squares = 0.0f;
    if (delta) {
        words_take<U>(delta, a.hidden / 4, epoch, [&](int i, uint2 data) {
            residual[i] = residual_add(residual[i], data, &squares);
        });
        return squares;
    }
#pragma unroll 1
    for (int i = (int)threadIdx.x; i < a.hidden / 4; i += DECODER_CONSUMERS)
        residual[i] = residual_add(x[i], make_uint2(0, 0), &squares);
    return squares;
}

__device__ __forceinline__ float inverse_of(const decoder_arrays &a,
                                            const float *squares)
{
    float all = 0.0f;
#pragma unroll
    for (int w = 0; w < PRODUCT_WARPS; w++)
        all += squares[w];
    return rsqrtf(all / (float)a.hidden + a.epsilon);
}

__device__ __forceinline__ uint2 scaled(uint2 x, uint2 weight, float inverse)
{
    float2 a = unpack2(x.x), b = unpack2(x.y), c = unpack2(weight.x),
           d = unpack2(weight.y);
    return make_uint2(pack2(a.x * inverse * c.x, a.y * inverse * c.y),
                      pack2(b.x * inverse * d.x, b.y * inverse * d.y));
}

/* Adds delta to the residual, and norms it; a thread has up to U pairs of words. */
template <bool Q4, bool ONE, int U>
__device__ __forceinline__ void take_normed(const decoder_arrays &a,
                                            const decoder_space &m, const void *weight,
                                            const uint64_t *delta, unsigned epoch)
{
    int pairs = a.hidden / 4, count = ONE ? 1 : a.s.count, warp = threadIdx.x >> 5;
    uint2 weights[U];
#pragma unroll
    for (int u = 0; u < U; u++) {
        int i = (int)threadIdx.x + u * DECODER_CONSUMERS;
        weights[u] = i < pairs ? ((const uint2 *)weight)[i] : make_uint2(0, 0);
    }
    if (delta)
        delta += words_copy() * count * (a.hidden / 2);
#pragma unroll 1
    for (int s = 0; s < count; s++) {
        float squares = warp_sum(residual_take<U>(
            a, m.residual + s * pairs, delta ? delta + s * (a.hidden / 2) : nullptr,
            (const uint2 *)a.x + s * pairs, epoch));
        if ((threadIdx.x & 31) == 0)
            m.fixed->squares[s][warp] = squares;
    }
    consumers_sync();
#pragma unroll 1
    for (int s = 0; s < count; s++) {
        float inverse = inverse_of(a, m.fixed->squares[s]);
        unsigned char *row = m.input + s * input_stride(a.hidden, Q4);
#pragma unroll
        for (int u = 0; u < U; u++) {
            int i = (int)threadIdx.x + u * DECODER_CONSUMERS;
            if (i >= pairs)
                continue;
            uint2 y = scaled(m.residual[s * pairs + i], weights[u], inverse);
            if (Q4)
                ((uint2 *)row)[i] = lift(y, i, m.ones + s);
            else
                put_pair(row, i, y);
        }
    }
    consumers_sync();
}

/* --- products --- */

__device__ __forceinline__ float swiglu(float gate, float up)
{
    return act_of<KERNEL_SILU, false>(rounded<bf16>(gate)) * rounded<bf16>(up);
}

/* What comes of a product, to words: each lane has row lane / 4 of eight, and writes
 * what two rows have to one of the copies. Of gate and up in one tile of bf16, the four
 * rows behind are up's. */
template <bool Q4, bool ONE>
__device__ __forceinline__ void tell(const decoder_arrays &a, int product, bool last,
                                     int eight, int sequence, float y, float other,
                                     unsigned epoch)
{
    const decoder_product &p = a.products[product];
    int lane = threadIdx.x & 31, row = p.columns / 2, copy = lane % 8, words = 4;
    if (product == DECODER_GATE_UP) {
        words = Q4 ? 4 : 2;
        y = swiglu(y, Q4 ? other : __shfl_down_sync(0xffffffffu, y, 16));
    }
    int at = sequence * row + eight * words + lane / 8;
    float beside = __shfl_xor_sync(0xffffffffu, y, 4);
    unsigned data = lane & 4 ? pack2(beside, y) : pack2(y, beside);
    if (lane / 8 >= words)
        return;
    if (copy < (product == DECODER_QKV ? 1 : DECODER_COPIES))
        word_put(a.words.told[product] + copy * (ONE ? 1 : a.s.count) * row + at, data,
                 epoch);
    if (product == DECODER_DOWN && last && copy == 0)
        ((unsigned *)a.delta)[at] = data;
}

/* The float of this lane's row, of a product whose k goes in two parts. Blocks have all
 * tiles of the part that nobody waits for before those that wait. */
__device__ __forceinline__ uint64_t *rest_at(const decoder_arrays &a, int product,
                                             int eight, int sequence)
{
    return a.words.rest[product] + sequence * a.products[product].columns + eight * 8 +
           (threadIdx.x & 31) / 4;
}
__device__ __forceinline__ void rest_put(uint64_t *to, float sum, unsigned epoch)
{
    if (threadIdx.x % 4 == 0)
        word_put(to, __float_as_uint(sum), epoch);
}

/* The input of a product. keeps: the block needs the residual. */
template <bool Q4, bool ONE>
__device__ __forceinline__ void take(const decoder_arrays &a, const decoder_space &m,
                                     int l, int product, unsigned epoch, bool keeps)
{
    bool first = product == DECODER_QKV;
    if (first || product == DECODER_GATE_UP) {
        const decoder_layer &layer = m.layers[l];
        const void *weight = first ? layer.norm1 : layer.norm2;
        const uint64_t *delta = a.words.told[first ? DECODER_DOWN : DECODER_O];
        if (first && l == 0)
            delta = nullptr;
        if (first)
            epoch--;
        if (keeps && a.hidden <= 4 * DECODER_CONSUMERS)
            take_normed<Q4, ONE, 1>(a, m, weight, delta, epoch);
        else if (keeps)
            take_normed<Q4, ONE, NORM_PAIRS>(a, m, weight, delta, epoch);
    } else if (m.fixed->tiles[product].count > 0 ||
               (product == DECODER_DOWN && blockIdx.x == 0)) {
        take_plain<Q4, ONE>(
            a, m, product == DECODER_O ? a.words.out : a.words.told[DECODER_GATE_UP],
            a.products[product].k, epoch);
    }
}

/* There is one copy of all code: caches of instructions are small. */
template <int SIZE, bool Q4, bool ONE>
__device__ __forceinline__ void layer_run(const decoder_arrays &a,
                                          const decoder_space &m, stream_place &at,
                                          int l, unsigned epoch, bool keeps)
{
    bool last = l == a.layer_count - 1;
    attention_near<SIZE>(a, m.layers[l], m.fixed->plan);
#pragma unroll 1
    for (int p = 0; p < DECODER_PRODUCTS; p++) {
        if (p == DECODER_O)
            attention_run<SIZE>(a, m.layers[l], m.fixed->plan, m.input, epoch);
        take<Q4, ONE>(a, m, l, p, epoch, keeps);
        int k = a.products[p].k;
        product_rows rows = {shared_address(m.input), input_stride(k, Q4), m.ones,
                             ONE ? 1 : a.s.count};
        product_run<Q4, ONE>(m.ring, at, m.fixed->tiles[p], a.products[p],
                             Q4 && p == DECODER_GATE_UP, rows, m.sums,
                             [&](int eight, int s, float sum, float other, bool rest) {
                                 if (Q4 && a.products[p].cut > 0) {
                                     uint64_t *word = rest_at(a, p, eight, s);
                                     if (rest) {
                                         rest_put(word, sum, epoch);
                                         return;
                                     }
                                     sum += __uint_as_float(word_wait(word, epoch));
                                 }
                                 tell<Q4, ONE>(a, p, last, eight, s, sum, other, epoch);
                             });
    }
}

/* The first block tells what the residual has become, when all have read what it was:
 * it has had what came of that. */
__device__ __forceinline__ void residual_tell(const decoder_arrays &a,
                                              const decoder_space &m)
{
    for (int i = (int)threadIdx.x; i < a.s.count * (a.hidden / 4);
         i += DECODER_CONSUMERS)
        ((uint2 *)a.x)[i] = m.residual[i];
}

/* The last block to end sets the epoch of the next step. */
__device__ __forceinline__ void epoch_end(const decoder_arrays &a, unsigned next)
{
    if (atomicAdd(a.epoch + 1, 1u) != gridDim.x - 1)
        return;
    a.epoch[0] = next;
    a.epoch[1] = 0;
}

template <int SIZE, bool Q4, bool ONE>
__device__ __forceinline__ void consume(const decoder_arrays &a, const decoder_space &m,
                                        unsigned base)
{
    stream_place at = {0, 0, 0};
    bool keeps = m.fixed->tiles[DECODER_QKV].count > 0 ||
                 m.fixed->tiles[DECODER_GATE_UP].count > 0;
#pragma unroll 1
    for (int l = 0; l < a.layer_count; l++)
        layer_run<SIZE, Q4, ONE>(a, m, at, l, base + (unsigned)l + 1, keeps);
    if (blockIdx.x == 0)
        residual_tell(a, m);
    if (threadIdx.x == 0)
        epoch_end(a, base + (unsigned)a.layer_count);
}

/* ONE: sequence alone. */
template <int SIZE, bool Q4, bool ONE>
__global__ void __launch_bounds__(THREADS, 1)
    decoder_kernel(const __grid_constant__ decoder_arrays a)
{
    extern __shared__ __align__(128) unsigned char shared[];
    decoder_space m = space_of(a, shared);
    unsigned base = *(volatile unsigned *)a.epoch;
    for (unsigned i = threadIdx.x; i < a.layer_count * sizeof(decoder_layer) / 8;
         i += THREADS)
        ((uint64_t *)m.layers)[i] = ((const uint64_t *)a.layers)[i];
    if (threadIdx.x < DECODER_PRODUCTS)
        m.fixed->tiles[threadIdx.x] = stream_tiles_of(a.products[threadIdx.x]);
    if (threadIdx.x == 32)
        stream_init(m.ring);
    if (threadIdx.x / 32 == 2) {
        attention_plan &plan = m.fixed->plan;
        if (threadIdx.x % 32 == 0)
            attention_plan_make(plan, a);
        __syncwarp();
        if ((int)(gridDim.x - 1 - blockIdx.x) < plan.first[a.s.count])
            attention_keep(plan, a, plan.mine, threadIdx.x % 32, 32);
    }
    __syncthreads();
    if (threadIdx.x >= DECODER_CONSUMERS)
        stream_run<Q4>(a, m.layers, m.ring);
    else
        consume<SIZE, Q4, ONE>(a, m, base);
}

template <int SIZE, bool Q4, bool ONE>
static void launch(struct kernel_context *c, const struct decoder_arrays *a)
{
    auto kernel = decoder_kernel<SIZE, Q4, ONE>;
    unsigned shared = (unsigned)a->stages * stream_stage(Q4) + cuda__decoder_beside(a);
    cudaLaunchAttribute together = {};
    together.id = cudaLaunchAttributeCooperative;
    together.val.cooperative = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3((unsigned)c->sms);
    config.blockDim = dim3(THREADS);
    config.dynamicSmemBytes = shared;
    config.stream = c->stream;
    config.attrs = &together;
    config.numAttrs = 1;
    cuda__check(c, "decoder",
                cudaFuncSetAttribute(
                    kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared));
    (void)cudaLaunchKernelEx(&config, kernel, *a);
    cuda__launched(c, "decoder");
}

template <int SIZE>
static void launch_size(struct kernel_context *c, const struct decoder_arrays *a)
{
    if (a->q4)
        a->s.count == 1 ? launch<SIZE, true, true>(c, a)
                        : launch<SIZE, true, false>(c, a);
    else
        a->s.count == 1 ? launch<SIZE, false, true>(c, a)
                        : launch<SIZE, false, false>(c, a);
}

void cuda__decoder_launch(struct kernel_context *c, const struct decoder_arrays *a,
                          int size)
{
    if (size == 64)
        launch_size<64>(c, a);
    else
        launch_size<128>(c, a);
}

/* --- tensor maps --- */

/* Of words [n / 64][along][4][words]: a box has all words of one of the four. */
static bool map_make(CUtensorMap *ret, const void *base, int n, int along, int words,
                     int box_along)
{
    cuuint64_t sizes[4] = {(cuuint64_t)words, 4, (cuuint64_t)along, (cuuint64_t)n / 64};
    cuuint64_t strides[3] = {sizes[0] * 4, sizes[0] * 16, sizes[0] * 16 * sizes[2]};
    cuuint32_t box[4] = {(cuuint32_t)words, 1, (cuuint32_t)box_along, 1};
    cuuint32_t steps[4] = {1, 1, 1, 1};
    enum cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
    void *encode = nullptr;
    if (cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &encode, 12000,
                                         cudaEnableDefault, &found) != cudaSuccess ||
        !encode)
        return false;
    return ((PFN_cuTensorMapEncodeTiled_v12000)encode)(
               ret, CU_TENSOR_MAP_DATA_TYPE_UINT32, 4, (void *)base, sizes, strides,
               box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_NONE,
               CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
               CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

bool cuda__decoder_maps(void *ret, const struct kernel_q4 *w, const void *packed)
{
    static_assert(2 * sizeof(CUtensorMap) == DECODER_MAPS, "two of them");
    CUtensorMap maps[2];
    q4_weights q = q4_weights_of(w, packed);
    bool made =
        map_make(maps, q.tiles, q.n, q.steps, 128, STREAM_Q4_K / Q4_TILE) &&
        map_make(maps + 1, q.scales, q.n, q.groups, 16, STREAM_Q4_K / DECODER_GROUP);
    memcpy(ret, maps, sizeof maps);
    return made;
}
