/* SPDX-License-Identifier: Apache-2.0
 *
 * Losses with their gradients in place. Cross-entropy reads each row from memory once
 * when it fits into shared memory (about 110,000 classes in bf16): largest logit and
 * sum are kept online.
 */
#include "mma.cuh"

#define THREADS 512 /* two blocks of a GPT-2's rows fit on a multiprocessor */
#define SMALL 256   /* classes up to which a warp takes a row */

/* The largest of a row, where (the first such), and the sum of exp(x - largest). */
struct soft {
    float most, sum;
    int where;
};

__device__ __forceinline__ struct soft soft_join(struct soft a, struct soft b)
{
    struct soft r;
    bool first = a.most > b.most || (a.most == b.most && a.where <= b.where);
    r.most = fmaxf(a.most, b.most);
    r.where = first ? a.where : b.where;
    r.sum = (a.sum == 0.0f ? 0.0f : a.sum * __expf(a.most - r.most)) +
            (b.sum == 0.0f ? 0.0f : b.sum * __expf(b.most - r.most));
    return r;
}

__device__ __forceinline__ struct soft soft_warp(struct soft s)
{
#pragma unroll
    for (int i = 16; i > 0; i >>= 1) {
        struct soft o;
        o.most = __shfl_xor_sync(0xffffffffu, s.most, i);
        o.sum = __shfl_xor_sync(0xffffffffu, s.sum, i);
        o.where = __shfl_xor_sync(0xffffffffu, s.where, i);
        /* The lower lane first, on both sides: the same bits in all lanes. */
        s = (threadIdx.x & i) ? soft_join(o, s) : soft_join(s, o);
    }
    return s;
}

__device__ __forceinline__ void soft_add(struct soft &s, float x, int where)
{
    if (x > s.most) {
        s.sum = s.sum * __expf(s.most - x) + 1.0f; /* exp(-inf) is 0 */
        s.most = x;
        s.where = where;
    } else {
        s.sum += __expf(x - s.most);
    }
}

/* Eight at once, without the place: one rescaling, and exp as a power of two. */
__device__ __forceinline__ void soft_add8(float &most, float &sum, const float v[8])
{
    float now = fmaxf(fmaxf(fmaxf(v[0], v[1]), fmaxf(v[2], v[3])),
                      fmaxf(fmaxf(v[4], v[5]), fmaxf(v[6], v[7])));
    if (now > most) {
        sum *= exp2_fast((most - now) * LOG2E);
        most = now;
    }
    float shift = most * LOG2E, part[2] = {};
#pragma unroll
    for (int j = 0; j < 8; j++)
        part[j & 1] += exp2_fast(fmaf(v[j], LOG2E, -shift));
    sum += part[0] + part[1];
}

/* Largest and sum over the block, for all threads. */
__device__ __forceinline__ struct soft soft_block(float most, float sum)
{
    __shared__ struct soft softs[THREADS / 32];
    struct soft s = soft_warp({most, sum, 0});
    if ((threadIdx.x & 31) == 0)
        softs[threadIdx.x >> 5] = s;
    __syncthreads();
    s = softs[0];
#pragma unroll
    for (int i = 1; i < THREADS / 32; i++)
        s = soft_join(s, softs[i]);
    return s;
}

/* A row that does not count. */
template <typename T>
__device__ __forceinline__ void row_zero(const struct kernel_loss &l, T *x)
{
    float none[8] = {};
    for (int i = threadIdx.x * 8; l.gradient && i < l.stride; i += THREADS * 8)
        store8(x + i, none);
}

/* A block a row. KEPT: the row stays in shared memory between the two passes. */
template <typename T, bool KEPT>
__global__ void __launch_bounds__(THREADS)
    cross_entropy_kernel(struct kernel_loss l, float *losses, float *correct, T *logits)
{
    extern __shared__ uint4 kept_raw[];
    T *kept = reinterpret_cast<T *>(kept_raw);
    int64_t row = blockIdx.x;
    T *x = logits + row * l.stride;
    int classes = (int)l.classes, eights = classes / 8 * 8, target = l.targets[row];
    if (target < 0) {
        row_zero(l, x);
        if (threadIdx.x == 0) {
            losses[row] = 0.0f;
            if (correct)
                correct[row] = 0.0f;
        }
        return;
    }
    float most = -INFINITY, sum = 0.0f;
    if (KEPT) { /* a thread reads what it copied itself: no barrier */
        for (int i = threadIdx.x * 8; i < eights; i += THREADS * 8)
#pragma unroll
            for (int j = 0; j < (int)sizeof(T) / 2; j++)
                copy16(shared_address(kept + i) + j * 16, (const uint4 *)(x + i) + j,
                       true);
        copies_commit();
        copies_wait<0>();
    }
#pragma unroll 4
    for (int i = threadIdx.x * 8; i < eights; i += THREADS * 8) {
        float v[8];
        load8(v, (KEPT ? kept : x) + i);
        soft_add8(most, sum, v);
    }
    for (int i = eights + threadIdx.x; i < classes; i += THREADS) {
        struct soft s = {most, sum, 0};
        soft_add(s, to_f(x[i]), 0);
        most = s.most;
        sum = s.sum;
    }
    float aim = to_f(x[target]);
    struct soft s = soft_block(most, sum);
    float weight = l.class_weights ? l.class_weights[target] : 1.0f;
    if (threadIdx.x == 0)
        losses[row] = weight * (__logf(s.sum) + s.most - aim);
    if (correct) {
        /* The first of the largest counts. */
        int before = 0;
        if (aim == s.most)
            for (int i = threadIdx.x; i < target; i += THREADS)
                before |= to_f(x[i]) == aim;
        before = __syncthreads_or(before);
        if (threadIdx.x == 0)
            correct[row] = aim == s.most && !before ? 1.0f : 0.0f;
    }
    if (!l.gradient)
        return;
    if (!KEPT)
        __syncthreads(); /* all have read the target before it is overwritten */
    float factor = weight * l.scale, shift = s.most * LOG2E + __log2f(s.sum);
#pragma unroll 4
    for (int i = threadIdx.x * 8; i < eights; i += THREADS * 8) {
        float v[8];
        load8(v, (KEPT ? kept : x) + i);
#pragma unroll
        for (int j = 0; j < 8; j++)
            v[j] = exp2_fast(fmaf(v[j], LOG2E, -shift)) * factor;
        if ((target & ~7) == i)
#pragma unroll
            for (int j = 0; j < 8; j++)
                v[j] -= i + j == target ? factor : 0.0f;
        store8(x + i, v);
    }
    for (int i = eights + threadIdx.x; i < l.stride; i += THREADS) {
        float p =
            i < classes ? exp2_fast(fmaf(to_f(x[i]), LOG2E, -shift)) * factor : 0.0f;
        from_f(x[i], i == target ? p - factor : p);
    }
}

/* A warp a row, element by element: few classes, or odd strides. */
template <typename T>
__global__ void __launch_bounds__(256)
    cross_entropy_any_kernel(struct kernel_loss l, float *losses, float *correct,
                             T *logits)
{
    int64_t row = (int64_t)blockIdx.x * 8 + (threadIdx.x >> 5);
    int lane = threadIdx.x & 31;
    if (row >= l.rows)
        return;
    T *x = logits + row * l.stride;
    int target = l.targets[row];
    struct soft s = {-INFINITY, 0.0f, 0x7fffffff};
    if (target >= 0)
        for (int i = lane; i < (int)l.classes; i += 32)
            soft_add(s, to_f(x[i]), i);
    s = soft_warp(s);
    float aim = target < 0 ? 0.0f : to_f(x[target]);
    float weight = target < 0 ? 0.0f : l.class_weights ? l.class_weights[target] : 1.0f;
    __syncwarp();
    if (lane == 0) {
        losses[row] = target < 0 ? 0.0f : weight * (logf(s.sum) + s.most - aim);
        if (correct)
            correct[row] = target >= 0 && s.where == target ? 1.0f : 0.0f;
    }
    if (!l.gradient)
        return;
    float factor = weight * l.scale;
    for (int64_t i = lane; i < l.stride; i += 32) {
        float p = 0.0f;
        if (target >= 0 && i < l.classes)
            p = (__expf(to_f(x[i]) - s.most) / s.sum - (i == target ? 1.0f : 0.0f)) *
                factor;
        from_f(x[i], p);
    }
}

template <typename T>
static void cross_entropy_launch(struct kernel_context *c, const struct kernel_loss *l,
                                 float *losses, float *correct, T *logits)
{
    unsigned rows = (unsigned)l->rows;
    size_t bytes = ((size_t)l->stride * sizeof(T) + 15) & ~(size_t)15;
    if (l->classes <= SMALL || l->stride % 8 || !aligned16(logits)) {
        cross_entropy_any_kernel<T><<<blocks_for(l->rows, 8), 256, 0, c->stream>>>(
            *l, losses, correct, logits);
    } else if (bytes + 1024 <= c->shared) {
        shared_allow(c, "cross_entropy", cross_entropy_kernel<T, true>, bytes);
        cross_entropy_kernel<T, true>
            <<<rows, THREADS, bytes, c->stream>>>(*l, losses, correct, logits);
    } else {
        cross_entropy_kernel<T, false>
            <<<rows, THREADS, 0, c->stream>>>(*l, losses, correct, logits);
    }
}

void cuda__cross_entropy(struct kernel_context *c, const struct kernel_loss *l,
                         float *losses, float *correct, void *logits)
{
    if (l->rows <= 0)
        return;
    if (l->rows > 0x7fffffff || l->stride > 0x3fffffff) {
        cuda__fail(c, "cross_entropy", "more than 2^31 rows or 2^30 classes");
        return;
    }
    TYPED(l->type, (cross_entropy_launch<T>(c, l, losses, correct, (T *)logits)));
    cuda__launched(c, "cross_entropy");
}

template <typename T>
__global__ void __launch_bounds__(256)
    squared_error_kernel(float *losses, T *y, const float *target, int64_t rows,
                         int64_t width, float scale, bool gradient)
{
    int64_t row = (int64_t)blockIdx.x * 8 + (threadIdx.x >> 5);
    int lane = threadIdx.x & 31;
    float sum = 0.0f;
    if (row >= rows)
        return;
    for (int64_t i = row * width + lane; i < (row + 1) * width; i += 32) {
        float d = to_f(y[i]) - target[i];
        sum += d * d;
        if (gradient)
            from_f(y[i], 2.0f * d * scale);
    }
    sum = warp_sum(sum);
    if (lane == 0)
        losses[row] = sum;
}

void cuda__squared_error(struct kernel_context *c, float *losses, void *y,
                         const float *target, int64_t rows, int64_t width, float scale,
                         bool gradient, enum kernel_type type)
{
    if (rows <= 0)
        return;
    TYPED(type, (squared_error_kernel<T><<<blocks_for(rows, 8), 256, 0, c->stream>>>(
                    losses, (T *)y, target, rows, width, scale, gradient)));
    cuda__launched(c, "squared_error");
}
