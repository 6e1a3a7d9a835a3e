/* SPDX-License-Identifier: Apache-2.0
 *
 * A stand-in for llm/model.h with a deterministic rule: the logits of the next token
 * are a hash of all tokens before it, as they lie in the cache's slots by way of the
 * row's blocks. Each slot also keeps a hash of what went before; reading a context
 * whose slots do not follow one another is counted as bad, and so is what no caller may
 * do. Steps are done when they are told of, not when they begin; rows are copied when
 * they begin.
 */
#ifndef LLM_MOCK_H
#define LLM_MOCK_H
#include <stdatomic.h>
#include "llm/model.h"

/* What it shall be and do, set before it is opened. */
struct llm_mock {
    int blocks;
    atomic_int fail_begin, fail_finish; /* so many of the next ones do */
    atomic_bool numb;                   /* logits are no numbers */
    atomic_bool held;                   /* steps do not end */
    /* What it saw. */
    atomic_int open, bad;
    atomic_llong steps, rows, tokens, drawn, overlapped, copied_edits;
    char what[256]; /* the first bad thing */
};
extern struct llm_mock llm_mock;

/* --- the rule, for those who compute it without a cache --- */

uint64_t llm_mock_hash(uint64_t before, int32_t id); /* before: 0 at first */
float llm_mock_logit(uint64_t hash, int32_t id);
/* Of edited logits: temperature, top_k, seed and step as the row says, and the mask. */
int32_t llm_mock_draw(const float *logits, int vocab, const struct llm_row *row);
float llm_mock_embedding(uint64_t hash, int i);

#endif
