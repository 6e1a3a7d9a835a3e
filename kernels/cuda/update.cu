/* SPDX-License-Identifier: Apache-2.0
 *
 * Optimizers: one pass over the float master weights, their gradient and state, which
 * also leaves the bf16 copy for products.
 */
#include "device.cuh"

#define THREADS 256

struct update_step {
    struct kernel_update u;
    float correct1,
        correct2; /* AdamW: 1 / (1 - beta1^step), 1 / sqrt(1 - beta2^step) */
};

/* One weight; m and v are its state. */
template <int KIND>
__device__ __forceinline__ float step_of(const struct update_step &s, float w, float g,
                                         float &m, float &v)
{
    const struct kernel_update &u = s.u;
    w -= u.rate * u.decay * w;
    if (KIND == KERNEL_ADAMW) {
        m = u.beta1 * m + (1.0f - u.beta1) * g;
        v = u.beta2 * v + (1.0f - u.beta2) * g * g;
        return w - u.rate * (m * s.correct1) / (sqrtf(v) * s.correct2 + u.epsilon);
    }
    if (KIND == KERNEL_LION) {
        float toward = u.beta1 * m + (1.0f - u.beta1) * g;
        m = u.beta2 * m + (1.0f - u.beta2) * g;
        float sign = toward > 0.0f   ? 1.0f
                     : toward < 0.0f ? -1.0f
                                     : toward; /* NaN stays */
        return w - u.rate * sign;
    }
    if (u.m)
        g = m = u.beta1 * m + g;
    return w - u.rate * g;
}

template <int KIND>
__device__ __forceinline__ void step_one(const struct update_step &s, int64_t i,
                                         float scale)
{
    const struct kernel_update &u = s.u;
    float m = u.m ? u.m[i] : 0.0f, v = u.v ? u.v[i] : 0.0f;
    float w = step_of<KIND>(s, u.weight[i], u.grad[i] * scale, m, v);
    u.weight[i] = w;
    if (u.m)
        u.m[i] = m;
    if (u.v)
        u.v[i] = v;
    if (u.copy)
        from_f(((bf16 *)u.copy)[i], w);
}

template <int KIND>
__global__ void __launch_bounds__(THREADS)
    update_kernel(struct update_step s, bool wide)
{
    const struct kernel_update &u = s.u;
    float scale = u.scale ? *u.scale : 1.0f;
    int64_t i = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * 4;
    if (!wide || i + 4 > u.count) {
        for (int64_t j = i; j < min(i + 4, u.count); j++)
            step_one<KIND>(s, j, scale);
        return;
    }
    float4 none = {};
    float4 g = *(const float4 *)(u.grad + i), w = *(const float4 *)(u.weight + i);
    float4 m = u.m ? *(const float4 *)(u.m + i) : none;
    float4 v = u.v ? *(const float4 *)(u.v + i) : none;
    w.x = step_of<KIND>(s, w.x, g.x * scale, m.x, v.x);
    w.y = step_of<KIND>(s, w.y, g.y * scale, m.y, v.y);
    w.z = step_of<KIND>(s, w.z, g.z * scale, m.z, v.z);
    w.w = step_of<KIND>(s, w.w, g.w * scale, m.w, v.w);
    *(float4 *)(u.weight + i) = w;
    if (u.m)
        *(float4 *)(u.m + i) = m;
    if (u.v)
        *(float4 *)(u.v + i) = v;
    if (u.copy)
        *(uint2 *)((bf16 *)u.copy + i) = make_uint2(pack2(w.x, w.y), pack2(w.z, w.w));
}

void cuda__update(struct kernel_context *c, const struct kernel_update *u)
{
    if (u->count <= 0)
        return;
    struct update_step s = {*u, 1.0f, 1.0f};
    unsigned blocks = blocks_for(u->count, THREADS * 4);
    bool wide = aligned16(u->weight) && aligned16(u->grad) && aligned16(u->m) &&
                aligned16(u->v) && ((uintptr_t)u->copy & 7) == 0;
    if (u->kind == KERNEL_ADAMW) {
        s.correct1 = (float)(1.0 / (1.0 - pow((double)u->beta1, (double)u->step)));
        s.correct2 = (float)(1.0 / sqrt(1.0 - pow((double)u->beta2, (double)u->step)));
        update_kernel<KERNEL_ADAMW><<<blocks, THREADS, 0, c->stream>>>(s, wide);
    } else if (u->kind == KERNEL_LION) {
        update_kernel<KERNEL_LION><<<blocks, THREADS, 0, c->stream>>>(s, wide);
    } else {
        update_kernel<KERNEL_SGD><<<blocks, THREADS, 0, c->stream>>>(s, wide);
    }
    cuda__launched(c, "update");
}

__global__ void clip_kernel(float *scale, const float *squares, float most)
{
    *scale = most > 0.0f ? most / fmaxf(sqrtf(*squares), most) : 1.0f;
}

void cuda__clip(struct kernel_context *c, float *scale, const float *squares,
                float most)
{
    clip_kernel<<<1, 1, 0, c->stream>>>(scale, squares, most);
    cuda__launched(c, "clip");
}
