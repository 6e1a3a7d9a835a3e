/* SPDX-License-Identifier: Apache-2.0
 *
 * Functions of vectors, each within 5e-7 of its value over the whole range (the test
 * that says so is check_kernels' "accuracy"). exp is zero below -104 and infinity
 * above 88.73; NaN gives NaN.
 */
#ifndef RWF_KERNELS_CPU_FAST_MATH_H
#define RWF_KERNELS_CPU_FAST_MATH_H
#include <math.h>
#include "kernels/cpu/vec.h"

/* 2^n for -126 <= n <= 127. */
INLINE vf vpower(vi n)
{
    return (vf)((n + 127) << 23);
}

/* e^x = 2^n e^r with n = round(x / ln 2), |r| <= ln 2 / 2, and 1 + r + r^2 p(r) for
 * e^r, where p is a least-maximum fit (relative error 3e-9). 2^n is applied in two
 * halves, so that the ends of the range come out right. */
INLINE vf vexp(vf x)
{
    const vf round = vsplat(0x1.8p23f);
    x = vpick(x > 89.0f, vsplat(89.0f), x);
    x = vpick(x < -105.0f, vsplat(-105.0f), x);
    vf whole = vfma(x, vsplat(0x1.715476p0f), round);
    vi n = (vi)whole - (vi)round;
    whole -= round;
    vf r = vfma(whole, vsplat(-0x1.62e400p-1f), x);
    r = vfma(whole, vsplat(-0x1.7f7d1cp-20f), r);
    vf p = vsplat(0x1.6a2352p-10f);
    p = vfma(p, r, vsplat(0x1.123a6cp-7f));
    p = vfma(p, r, vsplat(0x1.5558f4p-5f));
    p = vfma(p, r, vsplat(0x1.555490p-3f));
    p = vfma(p, r, vsplat(0x1.fffffcp-2f));
    p = vfma(p * r, r, r) + 1.0f;
    vi half = n >> 1;
    return p * vpower(half) * vpower(n - half);
}

INLINE vf vsigmoid(vf x)
{
    return 1.0f / (1.0f + vexp(-x));
}

/* Near zero, where 1 - 2 / (1 + e^2x) cancels: x + x^3 p(x^2), a least-maximum fit
 * (relative error 5e-9) for |x| < 0.625. */
INLINE vf vtanh(vf x)
{
    vf z = x * x, p = vsplat(-0x1.75623ap-8f);
    p = vfma(p, z, vsplat(0x1.520b2cp-6f));
    p = vfma(p, z, vsplat(-0x1.b83854p-5f));
    p = vfma(p, z, vsplat(0x1.11070ap-3f));
    p = vfma(p, z, vsplat(-0x1.555532p-2f));
    vf near = vfma(p * z, x, x);
    vf far = 1.0f - 2.0f / (1.0f + vexp(x + x));
    return vpick(z < 0.390625f, near, far);
}

#define GELU_TWICE 1.5957691216057308f /* 2 sqrt(2 / pi) */
#define GELU_CUBIC 0.044715f

INLINE vf vactivate(vf x, enum kernel_activation act)
{
    switch (act) {
    case KERNEL_LINEAR:
        return x;
    case KERNEL_RELU:
        return vpick(x < 0.0f, vsplat(0), x);
    case KERNEL_GELU: /* (1 + tanh u) / 2 is the sigmoid of 2 u */
        return x * vsigmoid(GELU_TWICE * vfma(GELU_CUBIC * x * x, x, x));
    case KERNEL_SILU:
        return x * vsigmoid(x);
    case KERNEL_TANH:
        return vtanh(x);
    case KERNEL_SIGMOID:
        return vsigmoid(x);
    }
    return vsplat(NAN);
}

/* The derivative at x. */
INLINE vf vslope(vf x, enum kernel_activation act)
{
    vf s;
    switch (act) {
    case KERNEL_LINEAR:
        return vsplat(1);
    case KERNEL_RELU:
        return vpick(x > 0.0f, vsplat(1), vsplat(0));
    case KERNEL_GELU: /* 0 or 1 beyond 16, where the powers could overflow */
        x = vpick(x > 16.0f, vsplat(16), vpick(x < -16.0f, vsplat(-16), x));
        s = vsigmoid(GELU_TWICE * vfma(GELU_CUBIC * x * x, x, x));
        return vfma(x * s * (1.0f - s), GELU_TWICE * (1.0f + 3 * GELU_CUBIC * x * x),
                    s);
    case KERNEL_SILU:
        s = vsigmoid(x);
        return vfma(x * s, 1.0f - s, s);
    case KERNEL_TANH:
        s = vtanh(x);
        return 1.0f - s * s;
    case KERNEL_SIGMOID:
        s = vsigmoid(x);
        return s * (1.0f - s);
    }
    return vsplat(NAN);
}

#endif
