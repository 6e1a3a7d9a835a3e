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
#include "decoder_attention.cuh"
#include "decoder_q4.cuh"

#define THREADS (DECODER_CONSUMERS + 32)
#define NORM_PAIRS (DECODER_HIDDEN / 4 / DECODER_CONSUMERS) /* of a thread, at most */

/* Where things are in a block's shared memory; first what is always in the same place.
 */
struct decoder_fixed {
    uint64_t barriers[2 * DECODER_MOST_STAGES];
    stream_tiles tiles[DECODER_PRODUCTS];
    stream_cut cuts[DECODER_PRODUCTS]; /* of 4 bits */
    attention_plan plan;
    alignas(16) float squares[DECODER_SEQUENCES][PRODUCT_WARPS];
};

struct decoder_space {
    decoder_fixed *fixed;
    decoder_layer *layers;
    uint2
        *residual; /* [sequences, hidden], pairs of words as their threads have them */
    unsigned char *input; /* rows of the product under way; or attention's scratch */
    float *sums;
    q4_group *groups; /* of the input, for weights of 4 bits */
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
           DECODER_SUMS + ALIGNED(a->groups);
}

unsigned cuda__decoder_stage(bool q4)
{
    return stream_stage(q4);
}

unsigned cuda__decoder_scratch(int heads, int size)
{
    unsigned sums = (unsigned)(ATTENTION_ENTRIES * heads * size * 4);
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
    m.groups = (q4_group *)(at += DECODER_SUMS);
    m.ring.base = shared_address(at + ALIGNED(a.groups));
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

/* Four elements from 4 * i on as products with bf16 take them: of eight in a row the
 * third and fourth change places with the fifth and sixth. */
__device__ __forceinline__ void put_pair(unsigned char *row, int i, uint2 x)
{
    unsigned *to = (unsigned *)row + i / 2 * 4 + i % 2;
    to[0] = x.x;
    to[2] = x.y;
}

/* Rows as they are, `all` long, of which k from `first` on are wanted. */
template <bool Q4, bool ONE>
__device__ __forceinline__ void
take_plain(const decoder_arrays &a, const decoder_space &m, const uint64_t *from,
           int all, int first, int k, unsigned epoch, bool likely)
{
    int count = ONE ? 1 : a.s.count;
    from += first / 2;
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
            words_take<4>(from + s * (all / 2), k / 4, epoch, likely, put);
        else
            words_take<8>(from + s * (all / 2), k / 4, epoch, likely, put);
    }
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

/* What the residual of a sequence is before the first layer. */
__device__ __forceinline__ const uint2 *begin_of(const decoder_arrays &a, int sequence)
{
    int64_t row = a.ids ? a.ids[sequence] : sequence;
    return (const uint2 *)(a.ids ? a.table : a.x) + row * (a.hidden / 4);
}

/* The residual of a sequence plus delta (NULL: x as the step begins with it); the sum
 * of this thread's squares. */
template <int U>
__device__ __forceinline__ float residual_take(const decoder_arrays &a, uint2 *residual,
                                               const uint64_t *delta, int sequence,
                                               unsigned epoch, bool likely)
{
    float squares = 0.0f;
    if (delta) {
        words_take<U>(delta, a.hidden / 4, epoch, likely, [&](int i, uint2 data) {
            residual[i] = residual_add(residual[i], data, &squares);
        });
        return squares;
    }
    const uint2 *x = begin_of(a, sequence);
#pragma unroll 1
    for (int i = (int)threadIdx.x; i < a.hidden / 4; i += DECODER_CONSUMERS)
        residual[i] = residual_add(x[i], make_uint2(0, 0), &squares);
    return squares;
}

__device__ __forceinline__ float inverse_of(const decoder_arrays &a,
                                            const float *squares)
{
    float x = product_sum(squares) * a.each + a.epsilon;
    asm("rsqrt.approx.ftz.f32 %0, %0;" : "+f"(x));
    return x;
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
__device__ __forceinline__ void
take_normed(const decoder_arrays &a, const decoder_space &m, const void *weight,
            const uint64_t *delta, unsigned epoch, bool likely)
{
    int pairs = a.hidden / 4, count = ONE ? 1 : a.s.count, warp = threadIdx.x >> 5;
    uint2 weights[U];
#pragma unroll
    for (int u = 0; u < U; u++) {
        int i = (int)threadIdx.x + u * DECODER_CONSUMERS;
        weights[u] = i < pairs ? ((const uint2 *)weight)[i] : make_uint2(0, 0);
    }
#pragma unroll 1
    for (int s = 0; s < count; s++) {
        float squares = warp_sum(residual_take<U>(
            a, m.residual + s * pairs, delta ? delta + s * (a.hidden / 2) : nullptr, s,
            epoch, likely));
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
                ((uint2 *)row)[i] = y;
            else
                put_pair(row, i, y);
        }
    }
}

/* Rows of k as products with 4 bits take them: each thread has put there what it reads.
 */
template <bool ONE>
__device__ __forceinline__ void take_bytes(const decoder_arrays &a,
                                           const decoder_space &m, int k)
{
    int count = ONE ? 1 : a.s.count;
#pragma unroll 1
    for (int s = 0; s < count; s++)
        q4_row(m.input + s * input_stride(k, true), k, m.groups + s);
}

/* --- products --- */

__device__ __forceinline__ float swiglu(float gate, float up)
{
    return act_of<KERNEL_SILU, false>(rounded<bf16>(gate)) * rounded<bf16>(up);
}

/* Where a lane's word of a tile of bf16 goes, or NULL: the first of eight lanes has
 * word lane / 8, which is of two rows; of gate and up, of two of the first four. */
struct told_place {
    uint64_t *word;
    unsigned *delta;
    int row, number; /* number: the tile's */
};
template <bool ONE>
__device__ __forceinline__ told_place told_place_of(const decoder_arrays &a,
                                                    int product, bool last,
                                                    const product_place &place)
{
    int lane = threadIdx.x & 31, words = 4;
    int row = a.products[product].columns / 2;
    if (product == DECODER_GATE_UP)
        words = 2;
    int n = lane / 8, at = place.sequence * row + place.tile * words + n;
    told_place there = {nullptr, nullptr, n % words * 2, place.tile};
    if (n >= words || lane % 8 > 0)
        return there;
    there.word = a.words.told[product] + at;
    if (product == DECODER_DOWN && last)
        there.delta = (unsigned *)a.delta + at;
    return there;
}

/* Which product takes what a product tells; attention is before that of o. */
__device__ __forceinline__ int taker_of(int product)
{
    return (product + 1) % DECODER_PRODUCTS;
}

/* What comes of a tile of bf16, to words; of gate and up, the four rows behind are
 * up's. */
__device__ __forceinline__ void tell_plain(const told_place &there, bool gates,
                                           const float *rows, unsigned epoch)
{
    rows += there.row * PRODUCT_WARPS;
    float low = product_sum(rows), high = product_sum(rows + PRODUCT_WARPS);
    if (gates) {
        low = swiglu(low, product_sum(rows + 4 * PRODUCT_WARPS));
        high = swiglu(high, product_sum(rows + 5 * PRODUCT_WARPS));
    }
    if (there.word)
        word_put(there.word, pack2(low, high), epoch);
    if (there.delta)
        *there.delta = pack2(low, high);
}

/* Eight rows of a product with 4 bits, to words: each lane has row lane / 4, of gate
 * and up's in other; the first of eight lanes writes what two rows have. */
__device__ __forceinline__ void tell_eight(const decoder_arrays &a, int product,
                                           bool last, int eight, int sequence, float y,
                                           float other, unsigned epoch)
{
    const decoder_product &p = a.products[product];
    int lane = threadIdx.x & 31;
    int at = sequence * (p.columns / 2) + eight * 4 + lane / 8;
    if (product == DECODER_GATE_UP)
        y = swiglu(y, other);
    float beside = __shfl_xor_sync(0xffffffffu, y, 4);
    if (lane % 8 > 0)
        return;
    unsigned data = pack2(y, beside);
    word_put(a.words.told[product] + at, data, epoch);
    if (product == DECODER_DOWN && last)
        ((unsigned *)a.delta)[at] = data;
}

/* Where blocks leave what they have of this lane's row, and of up's behind it: of part
 * `cut` of k, the first or the second one. */
__device__ __forceinline__ uint64_t *rest_at(const decoder_arrays &a, int product,
                                             int cut, int second, int eight,
                                             int sequence)
{
    return a.words.rest[product] +
           DECODER_REST(a.products[product].columns, cut, second, sequence) +
           2 * (eight * 8 + (int)(threadIdx.x & 31) / 4);
}

/* Adds what other blocks have, each lane of four what some of them have. */
__device__ __forceinline__ void rest_add(const decoder_arrays &a, int product,
                                         const q4_share &share, int eight, int sequence,
                                         float &sum, float &other, unsigned epoch)
{
    int cuts = a.products[product].cuts, own = share.tile & (cuts - 1);
    bool pairs = product == DECODER_GATE_UP;
    float2 all = make_float2(0, 0);
#pragma unroll 1
    for (int i = threadIdx.x % 4; i < cuts * share.blocks; i += 4) {
        uint2 data = make_uint2(__float_as_uint(sum), __float_as_uint(other));
        const uint64_t *from =
            rest_at(a, product, i & (cuts - 1), i >= cuts, eight, sequence);
        if (i != own && pairs) {
            uint2 both[1];
            words_wait<1>(both, from, 0, 1, epoch);
            data = both[0];
        } else if (i != own) {
            data.x = word_wait(from, epoch);
        }
        all.x += __uint_as_float(data.x);
        all.y += __uint_as_float(data.y);
    }
    __syncwarp();
    sum = quad_sum(all.x);
    other = quad_sum(all.y);
}

/* What comes of a product with 4 bits: this lane's row, and of up's. */
template <bool ONE>
__device__ __forceinline__ void
tell_q4(const decoder_arrays &a, int product, bool last, int cut, const q4_share &share,
        int eight, int sequence, float sum, float other, unsigned epoch)
{
    if (share.owns) {
        if (share.blocks > 1 || a.products[product].cuts > 1)
            rest_add(a, product, share, eight, sequence, sum, other, epoch);
        tell_eight(a, product, last, eight, sequence, sum, other, epoch);
        if (product != DECODER_QKV)
            gate_pass(a, taker_of(product), eight);
        return;
    }
    uint64_t *to = rest_at(a, product, cut, !share.first, eight, sequence);
    if (threadIdx.x % 4 == 0)
        word_put(to, __float_as_uint(sum), epoch);
    else if (threadIdx.x % 4 == 1 && product == DECODER_GATE_UP)
        word_put(to + 1, __float_as_uint(other), epoch);
}

/* Waits until what a product takes is likely told, for the `layers`th time. */
__device__ __forceinline__ void
take_wait(const decoder_arrays &a, const decoder_space &m, int product, int layers)
{
    if (threadIdx.x < 32) {
        const decoder_product &p =
            a.products[(product + DECODER_PRODUCTS - 1) % DECODER_PRODUCTS];
        if (product == DECODER_O)
            gate_wait(a, product, DECODER_GATES,
                      m.fixed->plan.first[a.s.count] * layers);
        else
            gate_wait(a, product, a.q4 ? p.columns / 8 : p.tiles, a.s.count * layers);
    }
    consumers_sync();
}

/* The input of a product, k from `first` on of it. keeps: the block needs the residual.
 */
template <bool Q4, bool ONE>
__device__ __forceinline__ void take(const decoder_arrays &a, const decoder_space &m,
                                     int l, int product, int first_k, int k,
                                     unsigned epoch, bool keeps)
{
    bool first = product == DECODER_QKV, normed = first || product == DECODER_GATE_UP;
    if (normed ? !keeps
               : m.fixed->tiles[product].count == 0 &&
                     (product != DECODER_DOWN || blockIdx.x > 0))
        return;
    bool gated = a.products[product].gated;
    if (gated && (!first || l > 0))
        take_wait(a, m, product, l + !first);
    if (normed) {
        const decoder_layer &layer = m.layers[l];
        const void *weight = first ? layer.norm1 : layer.norm2;
        const uint64_t *delta = a.words.told[first ? DECODER_DOWN : DECODER_O];
        if (first && l == 0)
            delta = nullptr;
        if (first)
            epoch--;
        if (a.hidden <= 4 * DECODER_CONSUMERS)
            take_normed<Q4, ONE, 1>(a, m, weight, delta, epoch, gated);
        else
            take_normed<Q4, ONE, NORM_PAIRS>(a, m, weight, delta, epoch, gated);
    } else {
        take_plain<Q4, ONE>(
            a, m, product == DECODER_O ? a.words.out : a.words.told[DECODER_GATE_UP],
            a.products[product].k, first_k, k, epoch, gated);
    }
    if (Q4)
        take_bytes<ONE>(a, m, k);
    consumers_sync();
}

/* There is one copy of all code: caches of instructions are small. */
template <int SIZE, bool Q4, bool ONE>
__device__ __forceinline__ void layer_run(const decoder_arrays &a,
                                          const decoder_space &m, stream_place &at,
                                          int l, unsigned epoch, bool keeps)
{
    bool last = l == a.layer_count - 1;
#pragma unroll 1
    for (int p = 0; p < DECODER_PRODUCTS; p++) {
        if (p == DECODER_O)
            attention_run<SIZE, Q4>(a, m.layers, l, m.fixed->plan, m.ring, at, m.input,
                                    epoch);
        bool cut = Q4 && DECODER_PLAIN(p);
        const stream_cut &part = m.fixed->cuts[p];
        int first = cut ? part.first : 0;
        int k = cut ? part.width * DECODER_GROUP : a.products[p].k;
        take<Q4, ONE>(a, m, l, p, first * DECODER_GROUP, k, epoch, keeps);
        product_rows rows = {shared_address(m.input), input_stride(k, Q4),
                             shared_address(m.groups), first, ONE ? 1 : a.s.count};
        if constexpr (Q4)
            product_run_q4<ONE>(
                m.ring, at, m.fixed->tiles[p], a.products[p], part,
                p == DECODER_GATE_UP, rows, m.sums,
                [&](const q4_share &share, int eight, int s, float sum, float other) {
                    tell_q4<ONE>(a, p, last, part.number, share, eight, s, sum, other,
                                 epoch);
                });
        else
            product_run<ONE>(
                m.ring, at, m.fixed->tiles[p], k, rows, m.sums,
                [&](const product_place &place) {
                    return told_place_of<ONE>(a, p, last, place);
                },
                [&](const told_place &there, const float *sums) {
                    tell_plain(there, p == DECODER_GATE_UP, sums, epoch);
                    if (p != DECODER_QKV)
                        gate_pass(a, taker_of(p), there.number);
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

/* The last block to end sets the epoch of the next step, and the gates. */
__device__ __forceinline__ void epoch_end(const decoder_arrays &a, unsigned next)
{
    __threadfence(); /* nobody adds to a gate after that */
    if (atomicAdd(a.epoch + 1, 1u) != gridDim.x - 1)
        return;
    for (int i = 0; i < DECODER_PRODUCTS * DECODER_GATES; i++)
        *gate_of(a, i / DECODER_GATES, i % DECODER_GATES) = 0;
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
    if (m.fixed->plan.turn < m.fixed->plan.first[a.s.count])
        attention_ask<SIZE>(m.fixed->plan, m.layers[0]);
#pragma unroll 1
    for (int l = 0; l < a.layer_count; l++)
        layer_run<SIZE, Q4, ONE>(a, m, at, l, base + (unsigned)l + 1, keeps);
    if (blockIdx.x == 0)
        residual_tell(a, m);
    consumers_sync();
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
        m.fixed->tiles[threadIdx.x] =
            Q4 ? stream_groups_of(a.products[threadIdx.x], m.fixed->cuts[threadIdx.x])
               : stream_tiles_of(a.products[threadIdx.x]);
    if (threadIdx.x == 32) {
        arrival_init(shared_address(&m.fixed->plan.norms_full[0]));
        arrival_init(shared_address(&m.fixed->plan.norms_full[1]));
        stream_init(m.ring, Q4 ? STREAM_TEAM : PRODUCT_WARPS);
    }
    if (threadIdx.x / 32 == 2) {
        attention_plan &plan = m.fixed->plan;
        if (threadIdx.x % 32 == 0)
            attention_plan_make(plan, a);
        __syncwarp();
        if (plan.turn < plan.first[a.s.count])
            attention_keep<SIZE>(plan, a);
    }
    __syncthreads();
    /* What a layer reads beside its weights comes with them. */
    int norms = 0, caches = 0; /* of so many layers are there */
    auto before = [&](int number, stream_place &at, stream_place &past) {
        for (; norms < a.layer_count && number >= norms * DECODER_PRODUCTS; norms++)
            stream_norms(a, m.layers[norms]);
        for (; caches < a.layer_count && number > caches * DECODER_PRODUCTS; caches++)
            attention_stream<SIZE, Q4>(a, m.layers[caches], m.fixed->plan, m.ring, at,
                                       past);
    };
    if (threadIdx.x < DECODER_CONSUMERS)
        consume<SIZE, Q4, ONE>(a, m, base);
    else if constexpr (Q4)
        stream_run_q4({&a, m.layers, m.fixed->tiles, m.fixed->cuts}, m.ring, before);
    else
        stream_run(a, m.layers, m.ring, before);
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
    shared_allow(c, "decoder", kernel, shared);
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
