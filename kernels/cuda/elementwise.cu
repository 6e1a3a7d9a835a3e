/* SPDX-License-Identifier: Apache-2.0
 *
 * Element by element: activations, SwiGLU, dropout, sums, casts. Eight elements a
 * thread where the pointers are aligned to 16 bytes; one else, and for the last few.
 */
#include "device.cuh"

#define THREADS 256

/* op is called with (values in and out, first index, how many) for eight elements or
 * one. */
template <typename Op>
__global__ void __launch_bounds__(THREADS) each_kernel(Op op, int64_t n, bool wide)
{
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    early_next();
    early_wait();
    if (!wide) {
        if (i < n)
            op.one(i);
    } else if (i * 8 + 8 <= n) {
        op.eight(i * 8);
    } else {
        for (int64_t j = i * 8; j < n; j++)
            op.one(j);
    }
}

template <typename Op>
static void each(struct kernel_context *c, const char *what, const Op &op, int64_t n,
                 bool wide)
{
    if (n <= 0)
        return;
    int64_t threads = wide ? (n + 7) / 8 : n;
    launch_early(c, each_kernel<Op>, blocks_for(threads, THREADS), THREADS, 0, op, n,
                 wide);
    cuda__launched(c, what);
}

template <typename T, int ACT> struct activate_op {
    T *y;
    const T *x;
    __device__ void one(int64_t i) const
    {
        from_f(y[i], act_of<ACT, fast_of<T>>(to_f(x[i])));
    }
    __device__ void eight(int64_t i) const
    {
        float v[8];
        load8(v, x + i);
#pragma unroll
        for (int j = 0; j < 8; j++)
            v[j] = act_of<ACT, fast_of<T>>(v[j]);
        store8(y + i, v);
    }
};

void cuda__activate(struct kernel_context *c, void *y, const void *x, int64_t n,
                    enum kernel_activation act, enum kernel_type type)
{
    bool wide = aligned16(y) && aligned16(x);
    TYPED(type,
          ACTIVATED(act, each(c, "activate",
                              (activate_op<T, ACT>{(T *)y, (const T *)x}), n, wide)));
}

template <typename T, int ACT> struct activate_back_op {
    T *dx;
    const T *dy, *x;
    __device__ void one(int64_t i) const
    {
        from_f(dx[i], to_f(dy[i]) * act_slope<ACT, fast_of<T>>(to_f(x[i])));
    }
    __device__ void eight(int64_t i) const
    {
        float v[8], d[8];
        load8(v, x + i);
        load8(d, dy + i);
#pragma unroll
        for (int j = 0; j < 8; j++)
            d[j] *= act_slope<ACT, fast_of<T>>(v[j]);
        store8(dx + i, d);
    }
};

void cuda__activate_back(struct kernel_context *c, void *dx, const void *dy,
                         const void *x, int64_t n, enum kernel_activation act,
                         enum kernel_type type)
{
    bool wide = aligned16(dx) && aligned16(dy) && aligned16(x);
    TYPED(type, ACTIVATED(act, each(c, "activate_back",
                                    (activate_back_op<T, ACT>{(T *)dx, (const T *)dy,
                                                              (const T *)x}),
                                    n, wide)));
}

/* i counts the elements of y; rows of x are twice as long. */
template <typename T> struct swiglu_op {
    T *y;
    const T *x;
    int64_t n;
    __device__ void one(int64_t i) const
    {
        const T *gate = x + i / n * 2 * n + i % n;
        from_f(y[i], act_of<KERNEL_SILU, false>(to_f(gate[0])) * to_f(gate[n]));
    }
    __device__ void eight(int64_t i) const
    {
        const T *gate = x + i / n * 2 * n + i % n;
        float g[8], u[8];
        load8(g, gate);
        load8(u, gate + n);
#pragma unroll
        for (int j = 0; j < 8; j++)
            g[j] = act_of<KERNEL_SILU, false>(g[j]) * u[j];
        store8(y + i, g);
    }
};

void cuda__swiglu(struct kernel_context *c, void *y, const void *x, int64_t rows,
                  int64_t n, enum kernel_type type)
{
    bool wide = aligned16(y) && aligned16(x) && n % 8 == 0;
    TYPED(type,
          each(c, "swiglu", (swiglu_op<T>{(T *)y, (const T *)x, n}), rows * n, wide));
}

template <typename T> struct swiglu_back_op {
    T *dx;
    const T *dy, *x;
    int64_t n;
    __device__ void one(int64_t i) const
    {
        int64_t at = i / n * 2 * n + i % n;
        float g = to_f(x[at]), u = to_f(x[at + n]), d = to_f(dy[i]);
        from_f(dx[at], d * u * act_slope<KERNEL_SILU, false>(g));
        from_f(dx[at + n], d * act_of<KERNEL_SILU, false>(g));
    }
    __device__ void eight(int64_t i) const
    {
        int64_t at = i / n * 2 * n + i % n;
        float g[8], u[8], d[8];
        load8(g, x + at);
        load8(u, x + at + n);
        load8(d, dy + i);
#pragma unroll
        for (int j = 0; j < 8; j++) {
            float s = sigmoid(g[j]);
            u[j] *= d[j] * s * (1.0f + g[j] * (1.0f - s));
            d[j] *= g[j] * s;
        }
        store8(dx + at, u);
        store8(dx + at + n, d);
    }
};

void cuda__swiglu_back(struct kernel_context *c, void *dx, const void *dy,
                       const void *x, int64_t rows, int64_t n, enum kernel_type type)
{
    bool wide = aligned16(dx) && aligned16(dy) && aligned16(x) && n % 8 == 0;
    TYPED(type, each(c, "swiglu_back",
                     (swiglu_back_op<T>{(T *)dx, (const T *)dy, (const T *)x, n}),
                     rows * n, wide));
}

template <typename T> struct dropout_op {
    T *y;
    const T *x;
    uint64_t seed, offset;
    float p, keep;
    __device__ float kept(float v, unsigned word) const
    {
        return (float)(word >> 8) * 0x1p-24f >= p ? v * keep : 0.0f;
    }
    __device__ void one(int64_t i) const
    {
        uint4 r = philox(seed, (uint64_t)i / 4, offset);
        unsigned words[4] = {r.x, r.y, r.z, r.w};
        from_f(y[i], kept(to_f(x[i]), words[i & 3]));
    }
    __device__ void eight(int64_t i) const
    {
        float v[8];
        load8(v, x + i);
#pragma unroll
        for (int half = 0; half < 2; half++) {
            uint4 r = philox(seed, (uint64_t)i / 4 + half, offset);
            v[4 * half + 0] = kept(v[4 * half + 0], r.x);
            v[4 * half + 1] = kept(v[4 * half + 1], r.y);
            v[4 * half + 2] = kept(v[4 * half + 2], r.z);
            v[4 * half + 3] = kept(v[4 * half + 3], r.w);
        }
        store8(y + i, v);
    }
};

void cuda__dropout(struct kernel_context *c, void *y, const void *x, int64_t n, float p,
                   uint64_t seed, uint64_t offset, enum kernel_type type)
{
    bool wide = aligned16(y) && aligned16(x);
    float keep = p < 1.0f ? 1.0f / (1.0f - p) : 0.0f;
    TYPED(type,
          each(c, "dropout",
               (dropout_op<T>{(T *)y, (const T *)x, seed, offset, p, keep}), n, wide));
}

template <typename T> struct add_op {
    T *y;
    const T *x;
    float a;
    __device__ void one(int64_t i) const
    {
        from_f(y[i], to_f(y[i]) + a * to_f(x[i]));
    }
    __device__ void eight(int64_t i) const
    {
        float v[8], u[8];
        load8(v, y + i);
        load8(u, x + i);
#pragma unroll
        for (int j = 0; j < 8; j++)
            v[j] += a * u[j];
        store8(y + i, v);
    }
};

void cuda__add(struct kernel_context *c, void *y, const void *x, float a, int64_t n,
               enum kernel_type type)
{
    bool wide = aligned16(y) && aligned16(x);
    TYPED(type, each(c, "add", (add_op<T>{(T *)y, (const T *)x, a}), n, wide));
}

/* y = a * x from one type to another. */
template <typename TY, typename TX> struct cast_op {
    TY *y;
    const TX *x;
    float a;
    __device__ void one(int64_t i) const
    {
        from_f(y[i], a * to_f(x[i]));
    }
    __device__ void eight(int64_t i) const
    {
        float v[8];
        load8(v, x + i);
#pragma unroll
        for (int j = 0; j < 8; j++)
            v[j] *= a;
        store8(y + i, v);
    }
};

void cuda__scale(struct kernel_context *c, float *x, float a, int64_t n)
{
    each(c, "scale", (cast_op<float, float>{x, x, a}), n, aligned16(x));
}

void cuda__to_float(struct kernel_context *c, float *y, const void *x, int64_t n,
                    enum kernel_type type)
{
    bool wide = aligned16(y) && aligned16(x);
    TYPED(type,
          each(c, "to_float", (cast_op<float, T>{y, (const T *)x, 1.0f}), n, wide));
}

void cuda__from_float(struct kernel_context *c, void *y, const float *x, int64_t n,
                      enum kernel_type type)
{
    bool wide = aligned16(y) && aligned16(x);
    TYPED(type, each(c, "from_float", (cast_op<T, float>{(T *)y, x, 1.0f}), n, wide));
}
