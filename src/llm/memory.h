/* SPDX-License-Identifier: Apache-2.0
 *
 * How much memory a model takes and how many tokens its KV cache holds: one
 * calculation, of which the model itself allocates, and which needs no device when one
 * only wants to know.
 */
#ifndef RWF_LLM_MEMORY_H
#define RWF_LLM_MEMORY_H
#include <jansson.h>
#include <stdint.h>
#include "llm/hf_config.h"
#include "llm/model.h"

#define LLM_MEMORY_ROWS 12

struct llm_memory_row {
    const char *name; /* static */
    int64_t bytes;
};

/* What is asked. options.device NULL: what a GPU's kernels need for themselves is
 * estimated. */
struct llm_memory_ask {
    const struct llm_config *config;
    struct llm_model_options options;
    const char *device;  /* its name, for messages */
    int64_t total, free; /* bytes of its memory */
    bool host;           /* it is the CPU */
};

struct llm_memory {
    struct llm_memory_row rows[LLM_MEMORY_ROWS]; /* the last one: the KV cache */
    int count;
    int64_t bytes;  /* of all rows */
    int64_t budget; /* that they were to fit into */
    int64_t block;  /* bytes of KERNEL_BLOCK tokens in the cache */
    int blocks;     /* of the cache */
    int64_t tokens; /* likewise */
    int longest; /* sequence that would fit alone; less than max_length only on failure
                  */
};

/* What serving and fitting take where nothing was said of it (0): max_tokens and
 * max_sequences for a device of `total` bytes; host: it is the CPU. */
void llm_options_for(struct llm_model_options *o, bool host, int64_t total);
/* Options that were left at 0 get their defaults: max_tokens 2048, max_sequences 256,
 * max_length what the model was made for, memory_share 0.9. RWF_E_USAGE for what cannot
 * be (named). */
int llm_options_complete(struct llm_model_options *o, const struct llm_config *c,
                         struct rwf_err *err);
/* options must be complete. RWF_E_FIT when not even one sequence of max_length fits,
 * with the rows and what would; *ret is filled in then, too. */
int llm_memory_plan(const struct llm_memory_ask *ask, struct llm_memory *ret,
                    struct rwf_err *err);
/* [{"name", "bytes"}]; the caller decrefs. */
json_t *llm_memory_json(const struct llm_memory *m);

#endif
