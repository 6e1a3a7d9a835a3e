/* SPDX-License-Identifier: Apache-2.0
 *
 * One group of weights in 4 bits: w = (q - zero) * scale, 0 <= q, zero <= 15. The range
 * always has 0 in it, so that 0 is exact; it is then tried how much of its ends is
 * better clipped.
 */
#include "config.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "llm/quantize.h"

#define TRIES 20
#define SHRINK 0.025f /* of the range, per try */

const uint8_t llm__awq_nibble[8] = {0, 4, 1, 5, 2, 6, 3, 7};

/* To the nearest, ties to even, subnormals included; what is too large becomes the
 * largest. */
uint16_t llm__to_half(float f)
{
    uint32_t bits, sign;
    memcpy(&bits, &f, sizeof(bits));
    sign = bits >> 16 & 0x8000;
    bits &= 0x7fffffff;
    if (bits >= 0x477ff000)
        return (uint16_t)(sign | 0x7bff);
    if (bits < 0x38800000) { /* subnormal: the addition rounds */
        float small, half = 0.5f;
        memcpy(&small, &bits, sizeof(small));
        small += half;
        memcpy(&bits, &small, sizeof(bits));
        return (uint16_t)(sign | (bits - 0x3f000000));
    }
    bits += 0xfff + (bits >> 13 & 1);
    return (uint16_t)(sign | (bits - 0x38000000) >> 13);
}

float llm__from_half(uint16_t half)
{
    uint32_t exponent = half >> 10 & 31, fraction = half & 0x3ff;
    float f = exponent == 0 ? ldexpf((float)fraction, -24)
                            : ldexpf((float)(fraction | 0x400), (int)exponent - 25);
    return half & 0x8000 ? -f : f;
}

/* Nearest whole number of a small one; unlike rintf it needs no call. */
static inline float whole(float x)
{
    const float magic = 12582912.0f; /* 1.5 * 2^23 */
    return (x + magic) - magic;
}

static inline float nibble(float w, float inverse, float zero)
{
    float q = whole(w * inverse) + zero;
    return q < 0 ? 0 : q > 15 ? 15 : q;
}

/* Sixteen sums beside each other: compilers make vectors of them. */
static float squared_error(const float *w, int group, float scale, float zero)
{
    float sums[16] = {0}, inverse = 1 / scale, sum = 0;
    for (int i = 0; i < group; i += 16)
        for (int j = 0; j < 16; j++) {
            float d = (nibble(w[i + j], inverse, zero) - zero) * scale - w[i + j];
            sums[j] += d * d;
        }
    for (int j = 0; j < 16; j++)
        sum += sums[j];
    return sum;
}

void llm__quantize_group(const float *w, int group, uint8_t *q, uint8_t *ret_zero,
                         uint16_t *ret_scale)
{
    float low = 0, high = 0, best = INFINITY, scale = 1, zero = 0;
    for (int i = 0; i < group; i++) {
        low = w[i] < low ? w[i] : low;
        high = w[i] > high ? w[i] : high;
    }
    *ret_scale = llm__to_half(1);
    for (int i = 0; i < TRIES && high > low; i++) {
        float part = 1 - SHRINK * (float)i;
        uint16_t half = llm__to_half((high - low) * part / 15);
        float s = llm__from_half(half > 0 ? half : (uint16_t)1);
        float z = whole(-low * part / s);
        z = z < 0 ? 0 : z > 15 ? 15 : z;
        float error = squared_error(w, group, s, z);
        if (error < best) {
            best = error;
            scale = s;
            zero = z;
            *ret_scale = half > 0 ? half : (uint16_t)1;
        }
    }
    for (int i = 0; i < group; i++)
        q[i] = (uint8_t)nibble(w[i], 1 / scale, zero);
    *ret_zero = (uint8_t)zero;
}
