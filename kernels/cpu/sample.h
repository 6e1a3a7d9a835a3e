/* SPDX-License-Identifier: Apache-2.0
 *
 * What every way of drawing a token computes for one of them, in double: who uses these
 * draws the same token as all others, in whatever order he looks at them.
 */
#ifndef RWF_KERNELS_CPU_SAMPLE_H
#define RWF_KERNELS_CPU_SAMPLE_H
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include "kernels/cpu/philox.h"
#include "kernels/kernels.h"

static inline bool sample_allowed(const uint32_t *mask, int64_t id)
{
    return mask == NULL || (mask[id / 32] >> (id % 32) & 1) != 0;
}

/* The mask of a row; NULL: everything is allowed. */
static inline const uint32_t *sample_mask(const struct kernel_sample *s, int64_t row)
{
    if (s->mask == NULL || s->mask_row == NULL || s->mask_row[row] < 0)
        return NULL;
    return s->mask + s->mask_row[row] * ((s->vocab + 31) / 32);
}

/* log(p / the largest p) */
static inline double sample_log(float logit, float most, float temperature)
{
    return ((double)logit - (double)most) / (double)temperature;
}

/* p / the largest p, as a whole number of 2^-44: sums of these do not depend on their
 * order, and those of 2^20 tokens fit 64 bits. */
#define SAMPLE_ONE 0x1p44
static inline uint64_t sample_weight(double log_p)
{
    return (uint64_t)(exp(log_p) * SAMPLE_ONE);
}

/* log(p / -log(u)), u being (word + 1/2) / 2^32: the largest one is drawn. */
static inline double sample_key(double log_p, uint32_t word)
{
    double u = ((double)word + 0.5) * 0x1p-32;
    return log_p - log(-log(u));
}

struct sample_token {
    float logit;
    int32_t id;
};

/* The larger logit first, of equal ones the first id; for qsort. */
int sample_order(const void *x, const void *y);
/* Of n tokens in this order as many stay as min_p and top_p leave. */
int64_t sample_keep(const struct kernel_sample *s, int64_t row,
                    const struct sample_token *t, int64_t n);
/* The one of the n tokens that is drawn. most: the largest logit. */
int32_t sample_draw(const struct kernel_sample *s, int64_t row,
                    const struct sample_token *t, int64_t n, float most);

static inline uint32_t sample_word(uint64_t seed, uint64_t step, int64_t id)
{
    uint32_t word[4];
    philox(word, seed, (uint64_t)id / 4, step);
    return word[id % 4];
}

#endif
