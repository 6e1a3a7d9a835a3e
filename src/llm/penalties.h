/* SPDX-License-Identifier: Apache-2.0
 *
 * What changes the logits of a sequence before a token is drawn: repetition (of prompt
 * and output), presence and frequency (of output), bias, ends that may not come yet.
 * Kept as a list of edits, one per id at most; a token more changes one of them.
 */
#ifndef RWF_LLM_PENALTIES_H
#define RWF_LLM_PENALTIES_H
#include <stdbool.h>
#include <stdint.h>
#include "kernels/kernels.h"

struct llm_penalties;

struct llm_penalties_options {
    double repetition, presence, frequency; /* 1, 0, 0: none */
    const struct kernel_edit *bias; /* id and add; one of two for an id: added up */
    int bias_count;
    const int32_t *ends; /* not to be drawn until llm_penalties_allow_ends */
    int end_count;
    const int32_t *prompt;
    int prompt_count;
};

/* NULL when there is nothing to change, which all functions take. */
struct llm_penalties *llm_penalties_create(const struct llm_penalties_options *o);
void llm_penalties_destroy(struct llm_penalties *p);
/* A token was drawn. */
void llm_penalties_accept(struct llm_penalties *p, int32_t id);
void llm_penalties_allow_ends(struct llm_penalties *p);
/* The edits depend on which tokens were drawn, not only on how many. */
bool llm_penalties_follow(const struct llm_penalties *p);
/* Valid until the next accept. Rows are 0. */
const struct kernel_edit *llm_penalties_edits(const struct llm_penalties *p,
                                              int *ret_count);

#endif
