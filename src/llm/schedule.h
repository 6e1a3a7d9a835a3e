/* SPDX-License-Identifier: Apache-2.0
 *
 * Which tokens of which sequences the next step computes, and in which blocks of the KV
 * cache. Pure: no device, no clock, no thread; the same calls give the same steps.
 *
 * Sequences are ordered by priority, then by when they came. Each step first goes on
 * with those that run: one token each of those that generate, then pieces of prompts
 * with what is left of the step's tokens; then it admits those that wait, in their
 * order, each when the cache has room for all that it is by now. When blocks run out,
 * the last one of those that run is put back (its blocks are let go, what they hold is
 * computed again later). So the first of all always gets on, and whoever waits becomes
 * the first.
 *
 * Blocks are learned as soon as a step that fills them is made: steps are done in the
 * order in which they were made, so a later one may use them. A sequence whose next
 * block is filled by the very step that is being made waits one step for it instead of
 * computing it, too.
 */
#ifndef RWF_LLM_SCHEDULE_H
#define RWF_LLM_SCHEDULE_H
#include <stdbool.h>
#include <stdint.h>
#include "llm/sequence.h"

struct llm_schedule;

struct llm_schedule_options {
    int max_tokens, max_sequences; /* of a step */
    int blocks;                    /* of the cache; enough for each sequence alone */
    bool no_prefix_cache;
};

/* What a step does with a sequence. */
struct llm_chosen {
    struct llm_sequence *sequence;
    int context, count; /* computes tokens context .. context + count - 1 */
    bool last;    /* the end of what it is: a token is drawn, or the embedding taken */
    bool unknown; /* its only token is the one drawn by row `from` of the step before */
    int from;
    int drawn; /* number of the token that is drawn, from 0 */
};

struct llm_schedule_stats {
    int running, waiting;
    int blocks, blocks_used;
    uint64_t preemptions, prefix_queries, prefix_hits;
};

struct llm_schedule *llm_schedule_create(const struct llm_schedule_options *o);
/* All sequences must have been removed. */
void llm_schedule_destroy(struct llm_schedule *s);
void llm_schedule_add(struct llm_schedule *s, struct llm_sequence *q);
/* Takes it out, wherever it is, and lets its blocks go; what they hold can be found. */
void llm_schedule_remove(struct llm_schedule *s, struct llm_sequence *q);
/* Any sequence that is in it, or NULL. */
struct llm_sequence *llm_schedule_any(const struct llm_schedule *s);

/* Makes the next step: chosen [max_sequences], count of them. 0: all that is to do
 * needs a step that is under way to be told of first, or there is nothing. Call it with
 * at most one step under way: the one made last. */
int llm_schedule_step(struct llm_schedule *s, struct llm_chosen *chosen);
/* A step failed: nothing that was learned is to be found. */
void llm_schedule_forget(struct llm_schedule *s);
void llm_schedule_stats(const struct llm_schedule *s, struct llm_schedule_stats *ret);

#endif
