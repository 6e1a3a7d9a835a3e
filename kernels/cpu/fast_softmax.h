/* SPDX-License-Identifier: Apache-2.0
 *
 * Softmax as keys come, tile by tile.
 */
#ifndef RWF_KERNELS_CPU_FAST_SOFTMAX_H
#define RWF_KERNELS_CPU_FAST_SOFTMAX_H
#include "kernels/cpu/fast_math.h"

/* Turns `wide` scores of a query into weights against its largest one, of which `seen`
 * count, at least one. most and total: of all tiles so far; kept: by what factor the
 * sums of the tiles before are still right. */
INLINE void soften(float *score, int64_t seen, int64_t wide, float *most, float *total,
                   float *kept)
{
    vf top = vsplat(*most), sum = {0};
    EACH(j, n, 0, seen) {
        vf x = vget(score, j, n, KERNEL_F32);
        /* A NaN is passed on by the sum. */
        top = vmax(n < LANES ? vlanes(x, n, -INFINITY) : x, top);
    }
    float now = vmost(top);
    EACH(j, n, 0, seen) {
        vf e = vexp(vget(score, j, n, KERNEL_F32) - now);
        sum += n < LANES ? vlanes(e, n, 0) : e;
        vput(score, j, n, KERNEL_F32, e);
    }
    EACH(j, n, seen, wide)
        vput(score, j, n, KERNEL_F32, vsplat(0));
    *kept = vexp(vsplat(*most - now))[0];
    *total = *total * *kept + vsum(sum);
    *most = now;
}

#endif
