/* SPDX-License-Identifier: Apache-2.0
 *
 * What a folder of Hugging Face's layout says of a dense Qwen3 model: config.json in its old and
 * new spelling, quantization_config (AWQ, version gemm), generation_config.json. Anything else is
 * refused by name.
 */
#ifndef RWF_LLM_HF_CONFIG_H
#define RWF_LLM_HF_CONFIG_H
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "kernels/kernels.h"

#define LLM_ENDS_MAX 8

struct llm_config {
    int layers, heads, kv_heads, size; /* size: of a head; heads * size need not be hidden */
    int64_t hidden, inner, vocab;      /* vocab: rows of the embedding */
    int context;                       /* max_position_embeddings, longer with YaRN */
    double theta, epsilon;
    double yarn_factor; /* 1: none */
    int yarn_original;
    double yarn_fast, yarn_slow; /* beta_fast, beta_slow */
    double yarn_attention;       /* what cosine and sine are multiplied with; 1 without YaRN */
    bool tied;
    enum kernel_type type; /* that the file says; F16 counts as bf16 */
    int bits, group;       /* 0: not quantised */
    int32_t ends[LLM_ENDS_MAX]; /* ids that end a text */
    int end_count;
    /* generation_config.json; what is not said: temperature 1, top_p 1, top_k 0, min_p 0,
     * repetition 1. */
    double temperature, top_p, min_p, repetition;
    int top_k;
};

int llm_config_read(const char *folder, struct llm_config *ret, struct rwf_err *err);
/* Of a Qwen3 size by its name, "qwen3-8b", for questions about models that are not here; bf16.
 * RWF_E_RECIPE with the names there are. */
int llm_config_preset(const char *name, struct llm_config *ret, struct rwf_err *err);

#endif
