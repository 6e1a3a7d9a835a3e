/* SPDX-License-Identifier: Apache-2.0
 *
 * AWQ's format of a checkpoint: the products of all layers in 4 bits with a scale and a
 * zero per group of inputs, version "gemm"; embedding, lm_head and norms stay as they
 * are. Scales are chosen for the least squared error of each group: the range is
 * clipped where that helps.
 */
#ifndef RWF_LLM_QUANTIZE_H
#define RWF_LLM_QUANTIZE_H
#include <stdint.h>
#include "base/err.h"

struct llm_quantize {
    const char *from; /* folder of a model that is not quantised */
    const char *to;   /* is made */
    int group;        /* 32, 64 or 128; 0: 128 */
    /* Ids of a text that is like what the model will read: weights of inputs that are
     * large in it become more exact. calibration_count 0: all count alike. */
    const int32_t *calibration;
    int calibration_count;
    void (*progress)(void *ctx, double done); /* 0 to 1; or NULL */
    void *ctx;
};

/* RWF_E_INPUT for a model that is no such one; the sizes must be multiples of group. */
int llm_quantize(const struct llm_quantize *q, struct rwf_err *err);

/* --- quantize_group.c --- */

/* The words of AWQ: column 8 c + j is this nibble of word c. */
extern const uint8_t llm__awq_nibble[8];

/* Quantises a group of w: its nibbles, zero, and scale as IEEE half. */
void llm__quantize_group(const float *w, int group, uint8_t *q, uint8_t *ret_zero,
                         uint16_t *ret_scale);
float llm__from_half(uint16_t half);
uint16_t llm__to_half(float f);

#endif
