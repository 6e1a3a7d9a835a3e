/* SPDX-License-Identifier: Apache-2.0
 *
 * Angles of rotary positions, plain and with YaRN (Peng et al., arXiv 2309.00071, as
 * transformers does it): dimensions that turn often within the original context keep
 * their frequency, those that turn less than once are stretched by the factor, between
 * them a ramp.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "llm/model_inside.h"

/* The dimension that turns so many times within the original context. */
static double dimension_of(const struct llm_config *c, double turns)
{
    return c->size * log(c->yarn_original / (turns * 2 * M_PI)) / (2 * log(c->theta));
}

/* 0: keeps its frequency, 1: stretched. */
static double stretched(const struct llm_config *c, int j)
{
    double low = floor(dimension_of(c, c->yarn_fast));
    double high = ceil(dimension_of(c, c->yarn_slow));
    low = low < 0 ? 0 : low;
    high = high > c->size - 1 ? c->size - 1 : high;
    if (low == high)
        high += 0.001;
    double ramp = (j - low) / (high - low);
    return ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
}

/* In float, as the reference keeps them: angles of far positions depend on their last
 * bit. */
static float frequency(const struct llm_config *c, int j)
{
    float plain = (float)(1.0 / pow(c->theta, (double)(2 * j) / c->size));
    if (c->yarn_factor <= 1)
        return plain;
    double share = stretched(c, j);
    return (float)(plain / c->yarn_factor * share + plain * (1 - share));
}

void llm__angles(const struct llm_config *c, int count, float *cosine, float *sine)
{
    int half = c->size / 2;
    float *step = rwf_xmalloc((size_t)half * sizeof(*step));
    for (int j = 0; j < half; j++)
        step[j] = frequency(c, j);
    for (int64_t i = 0; i < count; i++)
        for (int j = 0; j < half; j++) {
            float s, k;
            sincosf((float)i * step[j], &s, &k);
            cosine[i * half + j] = k * (float)c->yarn_attention;
            sine[i * half + j] = s * (float)c->yarn_attention;
        }
    free(step);
}
