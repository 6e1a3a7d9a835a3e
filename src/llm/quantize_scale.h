/* SPDX-License-Identifier: Apache-2.0
 *
 * AWQ's own idea (Lin et al., arXiv 2306.00978): few channels of a product's input are
 * much larger than the others, and errors of their weights count as much more. Weights
 * of such a channel are multiplied by a factor before they are quantised, and the norm
 * in front is divided by it: the product stays, the error of what matters shrinks.
 */
#ifndef RWF_LLM_QUANTIZE_SCALE_H
#define RWF_LLM_QUANTIZE_SCALE_H
#include "llm/weights.h"

/* Mean squares of the inputs: of layer i's attention at [2 i * hidden], of its MLP
 * behind. */
struct llm_inputs {
    float *squares;
    int64_t hidden;
};

/* Runs the ids through the model on the CPU. The caller frees squares, also on
 * failure. */
int llm__inputs_measure(const char *folder, const struct llm_config *c,
                        const int32_t *ids, int count, struct llm_inputs *ret,
                        struct rwf_err *err);
/* Factors [hidden] of the channels for products that share this norm and input: those
 * that make the expected error of the products least, such that norm / factor is what
 * the norm's own type can say. */
void llm__factors_choose(const struct safetensors_entry *norm,
                         const struct safetensors_entry *const *products, int count,
                         const float *squares, int group, float *factors);
/* norm's bytes with each weight divided by its factor. */
void llm__norm_divide(const struct safetensors_entry *norm, const float *factors,
                      void *to);

#endif
