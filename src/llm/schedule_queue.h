/* SPDX-License-Identifier: Apache-2.0
 *
 * Those that wait: a binary heap, the first in order at its top. Zero-initialise it.
 */
#ifndef RWF_LLM_SCHEDULE_QUEUE_H
#define RWF_LLM_SCHEDULE_QUEUE_H
#include <stdbool.h>
#include <stddef.h>
#include "llm/sequence.h"

struct llm__queue {
    struct llm_sequence **items;
    size_t count, cap;
};

/* a comes before b. */
bool llm__before(const struct llm_sequence *a, const struct llm_sequence *b);

void llm__queue_push(struct llm__queue *w, struct llm_sequence *q);
/* The first, or NULL. */
struct llm_sequence *llm__queue_first(const struct llm__queue *w);
void llm__queue_remove(struct llm__queue *w, struct llm_sequence *q);
void llm__queue_free(struct llm__queue *w);

#endif
