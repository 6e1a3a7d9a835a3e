/* SPDX-License-Identifier: Apache-2.0
 *
 * A text that grows token by token: its ids, when it ends, and where the schedule has
 * it. Shared by schedule and engine.
 */
#ifndef RWF_LLM_SEQUENCE_H
#define RWF_LLM_SEQUENCE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "llm/blocks.h"
#include "llm/engine.h"
#include "llm/penalties.h"

enum llm_place { LLM_PLACE_NONE, LLM_PLACE_WAITING, LLM_PLACE_RUNNING };

struct llm_sequence {
    int32_t *ids; /* known ones: the prompt, then what was drawn */
    int count, prompt;
    size_t cap;
    int pending;     /* drawn by steps under way, not known yet; come after ids */
    int most, least; /* to be drawn: at most; before an end may come */
    int32_t *ends;   /* ids that end it */
    int end_count;
    bool embed; /* nothing is drawn */
    bool every; /* the model tells of each token of the prompt: none comes from the
                   prefix cache, and a later piece begins with the one before it once
                   more */
    struct llm_penalties *penalties; /* or NULL */

    /* --- the schedule's --- */
    enum llm_place place;
    int priority;   /* higher first, then order */
    uint64_t order; /* given by llm_schedule_add */
    size_t at;      /* in the heap of those that wait */
    int computed;   /* tokens in the cache, or that get there by the steps under way */
    int32_t *blocks;
    int block_count;
    size_t block_cap;
    llm_prefix prefix; /* of the learned ones of its blocks */
    int learned;
    uint64_t step; /* the one that it was last part of, */
    int row;       /* and where */
    int cached;    /* of the prompt, found when it first ran; -1 before */
    int preemptions;
    uint64_t retry; /* until this step it waits for need blocks */
    int need;
};

struct llm_sequence_options {
    const int32_t *prompt; /* copied, as all here */
    int prompt_count, most, least, priority;
    const int32_t *ends;
    int end_count;
    bool embed, every;
    double repetition, presence, frequency;
    const struct kernel_edit *bias;
    int bias_count;
};

void llm_sequence_init(struct llm_sequence *s, const struct llm_sequence_options *o);
/* It must be in no schedule. */
void llm_sequence_free(struct llm_sequence *s);

/* Tokens that a step could compute now; 0 when all that it needs is under way. */
int llm_sequence_left(const struct llm_sequence *s);
/* The next draw depends on the token before it: that must be known first. */
bool llm_sequence_follows(const struct llm_sequence *s);
/* The edits for the draw of number `drawn`, from 0. */
const struct kernel_edit *llm_sequence_edits(struct llm_sequence *s, int drawn,
                                             int *ret_count);
/* The oldest pending token is known now. LLM_STOP: it ended the text and is no part of
 * it. */
enum llm_finish llm_sequence_accept(struct llm_sequence *s, int32_t id);

#endif
