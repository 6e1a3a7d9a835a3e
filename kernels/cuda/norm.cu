/* SPDX-License-Identifier: Apache-2.0
 *
 * LayerNorm and RMSNorm, with the residual sum before, and their gradients.
 *
 * Rows of up to 1024 elements belong to a warp, those up to 8192 to a block, all others
 * (and widths that are no multiple of 8) to a block that goes element by element.
 * Backward leaves the sums for the weights' gradients as one row a block in scratch.
 */
#include "device.cuh"

#define WARPS 8
#define THREADS (WARPS * 32)
#define FULL 0xffffffffu

struct norm_arrays {
    const void *weight, *bias, *x, *add, *dy, *dsum;
    void *y, *sum, *dx;
    float *stats, *partial;
    int64_t rows;
    int width;
    float epsilon;
};

/* What a group of threads (a warp, or a block) sums. */
template <bool BLOCK> __device__ __forceinline__ float group_sum(float x)
{
    return BLOCK ? block_sum(x) : warp_sum(x);
}

/* Two sums at once. */
template <bool BLOCK> __device__ __forceinline__ float2 group_sum2(float a, float b)
{
    if (!BLOCK)
        return make_float2(warp_sum(a), warp_sum(b));
    __shared__ float2 sums[WARPS];
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    a = warp_sum(a);
    b = warp_sum(b);
    __syncthreads();
    if (lane == 0)
        sums[warp] = make_float2(a, b);
    __syncthreads();
    a = b = 0.0f;
#pragma unroll
    for (int i = 0; i < WARPS; i++) {
        a += sums[i].x;
        b += sums[i].y;
    }
    return make_float2(a, b);
}

/* A thread holds CHUNKS times 8 elements, those from (thread + chunk * threads) * 8. */
template <typename T, bool RMS, bool BLOCK, int CHUNKS>
__global__ void __launch_bounds__(THREADS) norm_kernel(struct norm_arrays a)
{
    early_next();
    early_wait();
    constexpr int GROUP = BLOCK ? THREADS : 32;
    int me = threadIdx.x % GROUP;
    int64_t row = (int64_t)blockIdx.x * (THREADS / GROUP) + threadIdx.x / GROUP;
    if (row >= a.rows)
        return;
    const T *x = (const T *)a.x + row * a.width,
            *add = (const T *)a.add + row * a.width;
    T *sum_out = (T *)a.sum + row * a.width, *y = (T *)a.y + row * a.width;
    float v[CHUNKS][8];
    float sum = 0.0f, squares = 0.0f;
#pragma unroll
    for (int i = 0; i < CHUNKS; i++) {
        int at = (me + i * GROUP) * 8;
        if (at >= a.width) {
#pragma unroll
            for (int j = 0; j < 8; j++)
                v[i][j] = 0.0f;
            continue;
        }
        load8(v[i], x + at);
        if (a.add) {
            float u[8];
            load8(u, add + at);
#pragma unroll
            for (int j = 0; j < 8; j++)
                v[i][j] = rounded<T>(v[i][j] + u[j]);
            store8(sum_out + at, v[i]);
        }
#pragma unroll
        for (int j = 0; j < 8; j++)
            sum += v[i][j];
    }
    float mean = RMS ? 0.0f : group_sum<BLOCK>(sum) / a.width;
#pragma unroll
    for (int i = 0; i < CHUNKS; i++)
        if ((me + i * GROUP) * 8 < a.width)
#pragma unroll
            for (int j = 0; j < 8; j++)
                squares += (v[i][j] - mean) * (v[i][j] - mean);
    float inverse = rsqrtf(group_sum<BLOCK>(squares) / a.width + a.epsilon);
    if (me == 0)
        *(float2 *)(a.stats + row * 2) = make_float2(mean, inverse);
#pragma unroll
    for (int i = 0; i < CHUNKS; i++) {
        int at = (me + i * GROUP) * 8;
        if (at >= a.width)
            continue;
        float w[8], b[8] = {};
        load8(w, (const T *)a.weight + at);
        if (!RMS && a.bias)
            load8(b, (const T *)a.bias + at);
#pragma unroll
        for (int j = 0; j < 8; j++)
            w[j] = (v[i][j] - mean) * inverse * w[j] + b[j];
        store8(y + at, w);
    }
}

/* Any width: a block a row, element by element. */
template <typename T, bool RMS>
__global__ void __launch_bounds__(THREADS) norm_any_kernel(struct norm_arrays a)
{
    early_next();
    early_wait();
    int64_t row = blockIdx.x;
    const T *x = (const T *)a.x + row * a.width,
            *add = (const T *)a.add + row * a.width;
    T *sum_out = (T *)a.sum + row * a.width, *y = (T *)a.y + row * a.width;
    float sum = 0.0f, squares = 0.0f;
    for (int i = threadIdx.x; i < a.width; i += THREADS) {
        float v = to_f(x[i]);
        if (a.add) {
            v = rounded<T>(v + to_f(add[i]));
            from_f(sum_out[i], v); /* read again by this thread alone */
        }
        sum += v;
    }
    const T *v = a.add ? sum_out : x;
    float mean = RMS ? 0.0f : block_sum(sum) / a.width;
    for (int i = threadIdx.x; i < a.width; i += THREADS)
        squares += (to_f(v[i]) - mean) * (to_f(v[i]) - mean);
    float inverse = rsqrtf(block_sum(squares) / a.width + a.epsilon);
    if (threadIdx.x == 0)
        *(float2 *)(a.stats + row * 2) = make_float2(mean, inverse);
    for (int i = threadIdx.x; i < a.width; i += THREADS) {
        float b = !RMS && a.bias ? to_f(((const T *)a.bias)[i]) : 0.0f;
        from_f(y[i],
               (to_f(v[i]) - mean) * inverse * to_f(((const T *)a.weight)[i]) + b);
    }
}

/* Eight elements as they lie in memory: half the registers of floats. */
template <typename T> struct raw8 {
    uint4 words[sizeof(T) / 2];
    __device__ void load(const T *p)
    {
#pragma unroll
        for (int i = 0; i < (int)sizeof(T) / 2; i++)
            words[i] = reinterpret_cast<const uint4 *>(p)[i];
    }
    __device__ void get(float v[8]) const
    {
        load8(v, reinterpret_cast<const T *>(words));
    }
};

/* The block's sums of what its groups summed for their columns. */
template <bool BLOCK, int CHUNKS>
__device__ __forceinline__ void write_sums(const float (*sums)[8], float *to, int width)
{
    constexpr int GROUP = BLOCK ? THREADS : 32, GROUPS = THREADS / GROUP;
    int me = threadIdx.x % GROUP, group = threadIdx.x / GROUP;
    extern __shared__ float shared[]; /* [GROUPS][width], unused by a block alone */
#pragma unroll
    for (int i = 0; i < CHUNKS; i++) {
        int at = (me + i * GROUP) * 8;
        if (at < width)
            store8((BLOCK ? to : shared + group * width) + at, sums[i]);
    }
    if (BLOCK)
        return;
    __syncthreads();
    for (int i = threadIdx.x; i < width; i += THREADS) {
        float sum = 0.0f;
        for (int g = 0; g < GROUPS; g++)
            sum += shared[g * width + i];
        to[i] = sum;
    }
    __syncthreads();
}

/* dx = inverse * (w dy - mean(w dy) - normal * mean(w dy normal)), normal = (x - mean)
 * * inverse; the second term only with a mean. */
template <typename T, bool RMS, bool BLOCK, int CHUNKS>
__global__ void __launch_bounds__(THREADS, sizeof(T) == 2 ? 2 : 1)
    norm_back_kernel(struct norm_arrays a)
{
    constexpr int GROUP = BLOCK ? THREADS : 32, GROUPS = THREADS / GROUP;
    int me = threadIdx.x % GROUP, group = threadIdx.x / GROUP;
    float dw[CHUNKS][8] = {}, db[RMS ? 1 : CHUNKS][8] = {};
    for (int64_t row = (int64_t)blockIdx.x * GROUPS + group; row < a.rows;
         row += (int64_t)gridDim.x * GROUPS) {
        const T *x = (const T *)a.x + row * a.width,
                *dy = (const T *)a.dy + row * a.width;
        const T *dsum = (const T *)a.dsum + row * a.width;
        T *dx = (T *)a.dx + row * a.width;
        float2 stats = *(const float2 *)(a.stats + row * 2);
        float mean = RMS ? 0.0f : stats.x, inverse = stats.y;
        raw8<T> xs[CHUNKS], dys[CHUNKS], extras[CHUNKS];
        float sum = 0.0f, dot = 0.0f;
#pragma unroll
        for (int i = 0; i < CHUNKS; i++) {
            int at = (me + i * GROUP) * 8;
            if (at >= a.width)
                continue;
            xs[i].load(x + at);
            dys[i].load(dy + at);
            if (a.dsum)
                extras[i].load(dsum + at);
        }
#pragma unroll
        for (int i = 0; i < CHUNKS; i++) {
            int at = (me + i * GROUP) * 8;
            float v[8], d[8], w[8];
            if (at >= a.width)
                continue;
            xs[i].get(v);
            dys[i].get(d);
            load8(w, (const T *)a.weight + at);
#pragma unroll
            for (int j = 0; j < 8; j++) {
                float normal = (v[j] - mean) * inverse;
                dw[i][j] += d[j] * normal;
                if (!RMS)
                    db[i][j] += d[j];
                sum += d[j] * w[j];
                dot += d[j] * w[j] * normal;
            }
        }
        float2 both = group_sum2<BLOCK>(sum, dot);
        sum = RMS ? 0.0f : both.x / a.width;
        dot = both.y / a.width;
#pragma unroll
        for (int i = 0; i < CHUNKS; i++) {
            int at = (me + i * GROUP) * 8;
            float v[8], d[8], w[8], extra[8] = {};
            if (at >= a.width)
                continue;
            xs[i].get(v);
            dys[i].get(d);
            load8(w, (const T *)a.weight + at);
            if (a.dsum)
                extras[i].get(extra);
#pragma unroll
            for (int j = 0; j < 8; j++) {
                float normal = (v[j] - mean) * inverse;
                d[j] = inverse * (d[j] * w[j] - sum - normal * dot) + extra[j];
            }
            store8(dx + at, d);
        }
    }
    /* [dweight, dbias] are a row of partial. */
    float *partial = a.partial + (int64_t)blockIdx.x * (RMS ? 1 : 2) * a.width;
    write_sums<BLOCK, CHUNKS>(dw, partial, a.width);
    if (!RMS)
        write_sums<BLOCK, RMS ? 1 : CHUNKS>(db, partial + a.width, a.width);
}

/* Any width; the sums for the weights are kept in partial itself, by the same thread
 * always. */
template <typename T, bool RMS>
__global__ void __launch_bounds__(THREADS) norm_back_any_kernel(struct norm_arrays a)
{
    float *dw = a.partial + (int64_t)blockIdx.x * (RMS ? 1 : 2) * a.width,
          *db = dw + a.width;
    for (int i = threadIdx.x; i < (RMS ? 1 : 2) * a.width; i += THREADS)
        dw[i] = 0.0f;
    __syncthreads();
    for (int64_t row = blockIdx.x; row < a.rows; row += gridDim.x) {
        const T *x = (const T *)a.x + row * a.width,
                *dy = (const T *)a.dy + row * a.width;
        const T *dsum = (const T *)a.dsum + row * a.width;
        T *dx = (T *)a.dx + row * a.width;
        float mean = RMS ? 0.0f : a.stats[row * 2], inverse = a.stats[row * 2 + 1];
        float sum = 0.0f, dot = 0.0f;
        for (int i = threadIdx.x; i < a.width; i += THREADS) {
            float normal = (to_f(x[i]) - mean) * inverse, d = to_f(dy[i]);
            dw[i] += d * normal;
            if (!RMS)
                db[i] += d;
            d *= to_f(((const T *)a.weight)[i]);
            sum += d;
            dot += d * normal;
        }
        float2 both = group_sum2<true>(sum, dot);
        sum = RMS ? 0.0f : both.x / a.width;
        dot = both.y / a.width;
        for (int i = threadIdx.x; i < a.width; i += THREADS) {
            float normal = (to_f(x[i]) - mean) * inverse;
            float d = to_f(dy[i]) * to_f(((const T *)a.weight)[i]);
            d = inverse * (d - sum - normal * dot);
            from_f(dx[i], a.dsum ? d + to_f(dsum[i]) : d);
        }
    }
}

/* The kernel of a width: a warp's with 1 to 4 chunks, a block's with 1, 2 or 4, or any.
 */
template <typename T, bool RMS>
static void norm_launch(struct kernel_context *c, const struct norm_arrays &a,
                        bool wide)
{
    unsigned rows = (unsigned)a.rows, warps = blocks_for(a.rows, WARPS);
    if (!wide || a.width > 8192)
        launch_early(c, norm_any_kernel<T, RMS>, rows, THREADS, 0, a);
    else if (a.width <= 256)
        launch_early(c, norm_kernel<T, RMS, false, 1>, warps, THREADS, 0, a);
    else if (a.width <= 768)
        launch_early(c, norm_kernel<T, RMS, false, 3>, warps, THREADS, 0, a);
    else if (a.width <= 1024)
        launch_early(c, norm_kernel<T, RMS, false, 4>, warps, THREADS, 0, a);
    else if (a.width <= 2048)
        launch_early(c, norm_kernel<T, RMS, true, 1>, rows, THREADS, 0, a);
    else
        launch_early(c, norm_kernel<T, RMS, true, 4>, rows, THREADS, 0, a);
}

template <typename T, bool RMS>
static void norm_back_launch(struct kernel_context *c, const struct norm_arrays &a,
                             unsigned blocks, bool wide)
{
    size_t shared = (size_t)WARPS * a.width * 4;
    cudaStream_t s = c->stream;
    if (!wide || a.width > 8192)
        norm_back_any_kernel<T, RMS><<<blocks, THREADS, 0, s>>>(a);
    else if (a.width <= 256)
        norm_back_kernel<T, RMS, false, 1><<<blocks, THREADS, shared, s>>>(a);
    else if (a.width <= 768)
        norm_back_kernel<T, RMS, false, 3><<<blocks, THREADS, shared, s>>>(a);
    else if (a.width <= 1024)
        norm_back_kernel<T, RMS, false, 4><<<blocks, THREADS, shared, s>>>(a);
    else if (a.width <= 2048)
        norm_back_kernel<T, RMS, true, 1><<<blocks, THREADS, 0, s>>>(a);
    else
        norm_back_kernel<T, RMS, true, 4><<<blocks, THREADS, 0, s>>>(a);
}

static bool norm_fits(struct kernel_context *c, const struct kernel_norm_args *n)
{
    if (n->rows <= 0x7fffffff && n->width <= 0x7fffffff)
        return true;
    cuda__fail(c, "norm", "more than 2^31 rows or columns");
    return false;
}

void cuda__norm(struct kernel_context *c, const struct kernel_norm_args *n, void *y,
                void *sum, float *stats, const void *x, const void *add)
{
    if (n->rows <= 0 || !norm_fits(c, n))
        return;
    struct norm_arrays a = {};
    a.weight = n->weight, a.bias = n->bias, a.x = x, a.add = add;
    a.y = y, a.sum = sum, a.stats = stats;
    a.rows = n->rows, a.width = (int)n->width, a.epsilon = n->epsilon;
    bool wide = n->width % 8 == 0 && aligned16(x) && aligned16(y) &&
                aligned16(n->weight) && aligned16(n->bias) && aligned16(add) &&
                aligned16(sum);
    if (n->kind == KERNEL_RMSNORM)
        TYPED(n->type, (norm_launch<T, true>(c, a, wide)));
    else
        TYPED(n->type, (norm_launch<T, false>(c, a, wide)));
    cuda__launched(c, "norm");
}

/* Depends on the rows and the device alone, so that the sums do: two blocks each, at
 * once. */
static unsigned back_blocks(const struct kernel_context *c,
                            const struct kernel_norm_args *n)
{
    return max(1u, min(blocks_for(n->rows, 16), 2u * (unsigned)c->sms));
}

size_t cuda__norm_scratch(struct kernel_context *c, const struct kernel_norm_args *n)
{
    return (size_t)back_blocks(c, n) * 2 * (size_t)n->width * 4;
}

void cuda__norm_back(struct kernel_context *c, const struct kernel_norm_args *n,
                     void *dx, float *dweight, float *dbias, const void *dy,
                     const void *x, const float *stats, const void *dsum, void *scratch)
{
    if (n->rows <= 0 || !norm_fits(c, n))
        return;
    struct norm_arrays a = {};
    bool rms = n->kind == KERNEL_RMSNORM;
    unsigned blocks = back_blocks(c, n);
    a.weight = n->weight, a.x = x, a.dy = dy, a.dsum = dsum, a.dx = dx;
    a.stats = (float *)stats, a.partial = (float *)scratch;
    a.rows = n->rows, a.width = (int)n->width;
    bool wide = n->width % 8 == 0 && aligned16(x) && aligned16(dx) && aligned16(dy) &&
                aligned16(n->weight) && aligned16(dsum);
    if (rms)
        TYPED(n->type, (norm_back_launch<T, true>(c, a, blocks, wide)));
    else
        TYPED(n->type, (norm_back_launch<T, false>(c, a, blocks, wide)));
    cuda__launched(c, "norm_back");
    int parts = rms ? 1 : 2;
    if (dweight)
        cuda__sum_partials(c, dweight, a.partial, (int)blocks, n->width,
                           parts * n->width, true);
    if (dbias && !rms)
        cuda__sum_partials(c, dbias, a.partial + n->width, (int)blocks, n->width,
                           parts * n->width, true);
}
