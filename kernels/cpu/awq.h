/* SPDX-License-Identifier: Apache-2.0
 *
 * AWQ's arrays: word c of a row of k holds columns 8c to 8c+7, column 8c+j in the bits
 * from 4 * awq_nibble[j] on. Weights and zero points alike.
 */
#ifndef RWF_KERNELS_CPU_AWQ_H
#define RWF_KERNELS_CPU_AWQ_H
#include <math.h>
#include "kernels/cpu/bf16.h"
#include "kernels/kernels.h"

static const int awq_nibble[8] = {0, 4, 1, 5, 2, 6, 3, 7};

/* Element (row, column) of words [rows, columns / 8]. */
static inline unsigned awq_value(const void *words, int64_t columns, int64_t row,
                                 int64_t column)
{
    uint32_t word = ((const uint32_t *)words)[row * (columns / 8) + column / 8];
    return word >> (4 * awq_nibble[column % 8]) & 15;
}

static inline float half_to_float(uint16_t half)
{
    float sign = half >> 15 ? -1.0f : 1.0f;
    int power = half >> 10 & 31, fraction = half & 1023;
    if (power == 31)
        return sign * (fraction != 0 ? NAN : INFINITY);
    if (power == 0)
        return sign * ldexpf((float)fraction, -24);
    return sign * ldexpf((float)(fraction + 1024), power - 25);
}

static inline float awq_scale(const struct kernel_q4_source *from, int64_t group,
                              int64_t column)
{
    uint16_t scale = ((const uint16_t *)from->scales)[group * from->n + column];
    return from->bf16 ? bf16_to_float(scale) : half_to_float(scale);
}

#endif
