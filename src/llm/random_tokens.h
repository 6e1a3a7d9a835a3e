/* SPDX-License-Identifier: Apache-2.0
 *
 * The tokenizer of a random model.
 */
#ifndef RWF_LLM_RANDOM_TOKENS_H
#define RWF_LLM_RANDOM_TOKENS_H
#include <jansson.h>
#include <stdint.h>

#define LLM_RANDOM_VOCAB 300 /* the smallest that has a tokenizer */

/* tokenizer.json; the caller decrefs. */
json_t *llm__random_tokenizer(int64_t vocab);
/* The id of <|im_end|> in it. */
int64_t llm__random_end(int64_t vocab);

#endif
