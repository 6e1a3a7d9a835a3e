/* SPDX-License-Identifier: Apache-2.0
 *
 * bfloat16 in memory: the upper half of a float. Rounds to nearest, ties to even; a NaN
 * stays one.
 */
#ifndef RWF_KERNELS_CPU_BF16_H
#define RWF_KERNELS_CPU_BF16_H
#include <stdint.h>
#include <string.h>

static inline float bf16_to_float(uint16_t half)
{
    uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static inline uint16_t bf16_from_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40); /* quiet, and never cut to infinity */
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

#endif
