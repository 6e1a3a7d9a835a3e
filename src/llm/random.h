/* SPDX-License-Identifier: Apache-2.0
 *
 * Makes folders of random Qwen3 models of any size, bf16 or AWQ: what a test or a
 * benchmark loads where no weights can be had. They say nothing sensible, at a real
 * model's cost.
 */
#ifndef RWF_LLM_RANDOM_H
#define RWF_LLM_RANDOM_H
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"

struct llm_random {
    const json_t
        *model; /* as a recipe says it: {"type":"transformer","preset":"qwen3-0.6b"}, or
                   "family":"qwen3" with sizes */
    bool awq;
    int group; /* AWQ's; 0: 128 */
    uint64_t seed;
    bool empty; /* config.json alone, for models that are opened with `dummy` */
};

/* config.json, generation_config.json, model.safetensors, and (vocabularies of 300 and
 * more) a tokenizer.json of single bytes with Qwen3's added tokens. folder is made. */
int llm_random_model(const char *folder, const struct llm_random *o,
                     struct rwf_err *err);

#endif
