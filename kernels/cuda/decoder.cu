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

#define THREADS (DECODER_CONSUMERS + 32)
#define NORM_PAIRS (DECODER_HIDDEN / 4 / DECODER_CONSUMERS) /* of a thread, at most */

/* Where things are in a block's shared memory. */
struct decoder_space {
    decoder_layer *layers;
    attention_plan *plan;
    uint2 *residual; /* [sequences, hidden], pairs of words as their threads have them */
    float *squares;  /* [sequences][warps] */
    unsigned char *input; /* rows of the product under way; or attention's scratch */
    float *sums;
    stream_ring ring;
};

#define ALIGNED(bytes) (((unsigned)(bytes) + 127) / 128 * 128)

__host__ __device__ static inline unsigned layers_bytes(const decoder_arrays &a)
{
    return ALIGNED(a.layer_count * sizeof(decoder_layer));
}
__host__ __device__ static inline unsigned residual_bytes(const decoder_arrays &a)
{
    return ALIGNED(a.s.count * a.hidden * 2);
}
#define BARRIERS 512
#define PLAN ALIGNED(sizeof(attention_plan))
#define SQUARES (DECODER_SEQUENCES * PRODUCT_WARPS * 4)

unsigned cuda__decoder_beside(const struct decoder_arrays *a)
{
    return BARRIERS + PLAN + SQUARES + layers_bytes(*a) + residual_bytes(*a) +
           ALIGNED(a->input) + DECODER_SUMS;
}

unsigned cuda__decoder_scratch(int heads, int size)
{
    unsigned sums = (unsigned)(attention_warps(heads) * heads * size * 4);
    return sums + (size == 128 ? attention_space<128>::SUMS : attention_space<64>::SUMS);
}

__device__ __forceinline__ decoder_space space_of(const decoder_arrays &a,
                                                  unsigned char *shared)
{
    decoder_space m;
    unsigned char *at = shared;
    m.ring.stages = a.stages;
    m.ring.base = shared_address(at);
    at += a.stages * DECODER_STAGE;
    m.ring.barriers = shared_address(at);
    m.plan = (attention_plan *)(at += BARRIERS);
    m.squares = (float *)(at += PLAN);
    m.layers = (decoder_layer *)(at += SQUARES);
    m.residual = (uint2 *)(at += layers_bytes(a));
    m.input = at += residual_bytes(a);
    m.sums = (float *)(at += ALIGNED(a.input));
    return m;
}

/* --- what goes into products --- */

/* A row of the input; its bytes keep rows from meeting in a bank. */
__device__ __forceinline__ unsigned input_stride(int k)
{
    return (unsigned)(k * 2 + 64);
}

/* Rows of k as they are. */
__device__ __forceinline__ void take_plain(const decoder_arrays &a,
                                           const decoder_space &m, const uint64_t *from,
                                           int k, unsigned epoch)
{
    for (int s = 0; s < a.s.count; s++) {
        uint2 *to = (uint2 *)(m.input + s * input_stride(k));
        words_take<4>(from + (int64_t)s * k / 2, k / 4, epoch,
                      [&](int i, uint2 data) { to[i] = data; });
    }
    consumers_sync();
}

__device__ __forceinline__ uint2 residual_add(uint2 x, uint2 delta, float *squares)
{
    float2 a = unpack2(x.x), b = unpack2(x.y), c = unpack2(delta.x), d = unpack2(delta.y);
    uint2 sum = make_uint2(pack2(a.x + c.x, a.y + c.y), pack2(b.x + d.x, b.y + d.y));
    a = unpack2(sum.x), b = unpack2(sum.y);
    *squares += a.x * a.x + a.y * a.y + b.x * b.x + b.y * b.y;
    return sum;
}

/* The residual of a sequence plus delta (NULL: x as the step begins with it); the sum
 * of this thread's squares. */
__device__ __forceinline__ float residual_take(const decoder_arrays &a, uint2 *residual,
                                               const uint64_t *delta, const uint2 *x,
                                               unsigned epoch)
{
    float squares = 0.0f;
    if (delta) {
        words_take<NORM_PAIRS>(delta, a.hidden / 4, epoch, [&](int i, uint2 data) {
            residual[i] = residual_add(residual[i], data, &squares);
        });
        return squares;
    }
    for (int i = (int)threadIdx.x; i < a.hidden / 4; i += DECODER_CONSUMERS)
        residual[i] = residual_add(x[i], make_uint2(0, 0), &squares);
    return squares;
}

__device__ __forceinline__ float inverse_of(const decoder_arrays &a, const float *squares)
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

/* Adds delta to the residual, and norms it. */
__device__ __forceinline__ void take_normed(const decoder_arrays &a,
                                            const decoder_space &m, const void *weight,
                                            const uint64_t *delta, unsigned epoch)
{
    int pairs = a.hidden / 4, lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    uint2 weights[NORM_PAIRS];
#pragma unroll
    for (int u = 0; u < NORM_PAIRS; u++) {
        int i = (int)threadIdx.x + u * DECODER_CONSUMERS;
        weights[u] = i < pairs ? ((const uint2 *)weight)[i] : make_uint2(0, 0);
    }
    for (int s = 0; s < a.s.count; s++) {
        float squares = warp_sum(residual_take(
            a, m.residual + s * pairs, delta ? delta + s * (a.hidden / 2) : nullptr,
            (const uint2 *)a.x + s * pairs, epoch));
        if (lane == 0)
            m.squares[s * PRODUCT_WARPS + warp] = squares;
    }
    consumers_sync();
    for (int s = 0; s < a.s.count; s++) {
        float inverse = inverse_of(a, m.squares + s * PRODUCT_WARPS);
        uint2 *to = (uint2 *)(m.input + s * input_stride(a.hidden));
#pragma unroll
        for (int u = 0; u < NORM_PAIRS; u++) {
            int i = (int)threadIdx.x + u * DECODER_CONSUMERS;
            if (i < pairs)
                to[i] = scaled(m.residual[s * pairs + i], weights[u], inverse);
        }
    }
    consumers_sync();
}

/* --- products --- */

/* done of product_run: to [sequences, columns / 2] words. plain: bf16, too, or NULL. */
__device__ __forceinline__ void tell_rows(uint64_t *to, unsigned *plain, int columns,
                                          int tile, int sequence, float sum,
                                          unsigned epoch)
{
    int lane = threadIdx.x & 31, at = sequence * (columns / 2) + tile * 4 + lane / 8;
    unsigned data = pack2(sum, __shfl_down_sync(0xffffffffu, sum, 4));
    if (lane % 8)
        return;
    word_put(to + at, data, epoch);
    if (plain)
        plain[at] = data;
}

/* The same of gate and up. */
__device__ __forceinline__ void tell_swiglu(uint64_t *to, int columns, int tile,
                                            int sequence, float sum, unsigned epoch)
{
    int lane = threadIdx.x & 31;
    float gate = rounded<bf16>(sum);
    float up = __shfl_down_sync(0xffffffffu, gate, 16);
    float y = act_of<KERNEL_SILU, false>(gate) * up;
    unsigned data = pack2(y, __shfl_down_sync(0xffffffffu, y, 4));
    if (lane < 16 && lane % 8 == 0)
        word_put(to + sequence * (columns / 2) + tile * 2 + lane / 8, data, epoch);
}

#ifdef DECODER_TIMES
#define TIME(point)                                                                    \
    do {                                                                               \
        if (threadIdx.x == 0 && (blockIdx.x == 0 || blockIdx.x == gridDim.x - 1))      \
            a.times[((blockIdx.x > 0) * a.layer_count + l) * 10 + point] = clock64();  \
    } while (0)
#else
#define TIME(point)
#endif

template <int SIZE>
__device__ __forceinline__ void layer_run(const decoder_arrays &a, const decoder_space &m,
                                          stream_place &at, int l, unsigned epoch,
                                          bool keeps)
{
    const decoder_layer &layer = m.layers[l];
    const decoder_product *p = a.products;
    unsigned input = shared_address(m.input);
    bool last = l == a.layer_count - 1;
    int qkv = (a.heads + 2 * a.kv_heads) * SIZE;
    auto run = [&](int product, auto done) {
        product_run(m.ring, at, p[product], a.s.count, input,
                    input_stride(p[product].k), m.sums, done);
    };
    auto mine = [&](int product) { return stream_tiles_of(p[product]).count > 0; };

    TIME(0);
    if (keeps)
        take_normed(a, m, layer.norm1, l > 0 ? a.words.delta_down : nullptr, epoch - 1);
    TIME(1);
    run(DECODER_QKV, [&](int tile, int s, float sum) {
        tell_rows(a.words.qkv, nullptr, qkv, tile, s, sum, epoch);
    });
    TIME(2);
    attention_run<SIZE>(a, layer, *m.plan, m.input, epoch);
    TIME(3);
    if (mine(DECODER_O))
        take_plain(a, m, a.words.out, a.heads * SIZE, epoch);
    TIME(4);
    run(DECODER_O, [&](int tile, int s, float sum) {
        tell_rows(a.words.delta_o, nullptr, a.hidden, tile, s, sum, epoch);
    });
    TIME(5);
    if (keeps)
        take_normed(a, m, layer.norm2, a.words.delta_o, epoch);
    TIME(6);
    run(DECODER_GATE_UP, [&](int tile, int s, float sum) {
        tell_swiglu(a.words.act, a.inner, tile, s, sum, epoch);
    });
    TIME(7);
    if (mine(DECODER_DOWN) || (last && blockIdx.x == 0))
        take_plain(a, m, a.words.act, a.inner, epoch);
    TIME(8);
    run(DECODER_DOWN, [&](int tile, int s, float sum) {
        tell_rows(a.words.delta_down, last ? (unsigned *)a.delta : nullptr, a.hidden,
                  tile, s, sum, epoch);
    });
    TIME(9);
}

/* The first block tells what the residual has become, when all have read what it was:
 * it has had what came of that. */
__device__ __forceinline__ void residual_tell(const decoder_arrays &a,
                                              const decoder_space &m)
{
    for (int i = (int)threadIdx.x; i < a.s.count * (a.hidden / 4); i += DECODER_CONSUMERS)
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

template <int SIZE>
__device__ __forceinline__ void consume(const decoder_arrays &a, const decoder_space &m,
                                        unsigned base)
{
    stream_place at = {0, 0, 0};
    bool keeps = blockIdx.x == 0 || stream_tiles_of(a.products[DECODER_QKV]).count > 0 ||
                 stream_tiles_of(a.products[DECODER_GATE_UP]).count > 0;
    for (int l = 0; l < a.layer_count; l++)
        layer_run<SIZE>(a, m, at, l, base + (unsigned)l + 1, keeps);
    if (blockIdx.x == 0)
        residual_tell(a, m);
    if (threadIdx.x == 0)
        epoch_end(a, base + (unsigned)a.layer_count);
}

template <int SIZE>
__global__ void __launch_bounds__(THREADS, 1) decoder_kernel(const __grid_constant__
                                                             decoder_arrays a)
{
    extern __shared__ __align__(128) unsigned char shared[];
    decoder_space m = space_of(a, shared);
    unsigned base = *(volatile unsigned *)a.epoch;
    for (unsigned i = threadIdx.x; i < a.layer_count * sizeof(decoder_layer) / 8;
         i += THREADS)
        ((uint64_t *)m.layers)[i] = ((const uint64_t *)a.layers)[i];
    if (threadIdx.x == 0)
        stream_init(m.ring);
    if (threadIdx.x == 32)
        attention_plan_make(*m.plan, a);
    __syncthreads();
    if (threadIdx.x >= DECODER_CONSUMERS)
        stream_run(a, m.layers, m.ring);
    else
        consume<SIZE>(a, m, base);
}

template <int SIZE>
static void launch(struct kernel_context *c, const struct decoder_arrays *a)
{
    unsigned shared = (unsigned)a->stages * DECODER_STAGE + cuda__decoder_beside(a);
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
                cudaFuncSetAttribute(decoder_kernel<SIZE>,
                                     cudaFuncAttributeMaxDynamicSharedMemorySize,
                                     (int)shared));
    (void)cudaLaunchKernelEx(&config, decoder_kernel<SIZE>, *a);
    cuda__launched(c, "decoder");
}

void cuda__decoder_launch(struct kernel_context *c, const struct decoder_arrays *a,
                          int size)
{
    if (size == 64)
        launch<64>(c, a);
    else
        launch<128>(c, a);
}
