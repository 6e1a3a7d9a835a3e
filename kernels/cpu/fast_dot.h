/* SPDX-License-Identifier: Apache-2.0
 *
 * How elements are multiplied along a row: as floats, a float with a bfloat16, or
 * bfloat16 in pairs.
 */
#ifndef RWF_KERNELS_CPU_FAST_DOT_H
#define RWF_KERNELS_CPU_FAST_DOT_H
#include "kernels/cpu/vec.h"

enum dot { DOT_FLOATS, DOT_HALVES, DOT_PAIRS };

/* For rows of `type`; DOT_HALVES wants the other operand as floats. */
static inline enum dot dot_of(enum kernel_type type)
{
    return type == KERNEL_F32 ? DOT_FLOATS : PAIRS ? DOT_PAIRS : DOT_HALVES;
}

/* Of the other operand. */
#define DOT_OTHER(dot) ((dot) == DOT_PAIRS ? DOT_PAIRS : DOT_FLOATS)
/* Elements that a vector holds. */
#define DOT_STEP(dot) ((dot) == DOT_PAIRS ? 2 * LANES : LANES)
/* Bytes of an element. */
#define DOT_SIZE(dot) ((dot) == DOT_FLOATS ? 4 : 2)

/* n elements from i, zero beyond. */
INLINE vf dot_load(const void *p, int64_t i, int64_t n, const enum dot dot)
{
#if PAIRS
    if (dot == DOT_PAIRS) {
        const uint16_t *from = (const uint16_t *)p + i;
        if (n >= 2 * LANES)
            return (vf)_mm512_loadu_si512(from);
        return (vf)_mm512_maskz_loadu_epi16((__mmask32)((1u << n) - 1), from);
    }
#endif
    return vget(p, i, n, dot == DOT_FLOATS ? KERNEL_F32 : KERNEL_BF16);
}

INLINE vf dot_add(vf a, vf b, vf sum, const enum dot dot)
{
#if PAIRS
    if (dot == DOT_PAIRS)
        return vpairs(a, b, sum);
#else
    (void)dot;
#endif
    return vfma(a, b, sum);
}

#endif
