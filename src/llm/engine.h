/* SPDX-License-Identifier: Apache-2.0
 *
 * Continuous batching: requests come from any thread, one thread of the engine's own runs steps
 * over all of them (chunked prefill and decode mixed), and tells each request its tokens. Blocks
 * of the KV cache are shared by content (prefix cache); when they run out the youngest request
 * is put back and computed again later. Tokens only: text is the caller's.
 */
#ifndef RWF_LLM_ENGINE_H
#define RWF_LLM_ENGINE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "llm/model.h"

struct llm_engine;
struct llm_request; /* a name for one, never looked into */

enum llm_finish { LLM_RUNNING, LLM_STOP, LLM_LENGTH, LLM_CANCELLED, LLM_ERROR };

/* Decides which tokens may come next (constrained decoding); called by the engine's thread. */
struct llm_constraint {
    void *ctx;
    /* Bits of the allowed ids, [(vocab + 31) / 32]; false: no constraint at this place. */
    bool (*mask)(void *ctx, uint32_t *mask);
    void (*accept)(void *ctx, int32_t id);
    void (*free)(void *ctx);
};

struct llm_sampling {
    double temperature, top_p, min_p;
    int top_k;
    double repetition, presence, frequency; /* penalties; 1, 0, 0: none */
    const struct kernel_edit *bias;          /* row is not looked at; copied */
    int bias_count;
    uint64_t seed;
    int max_tokens, min_tokens;
    const int32_t *stops; /* ids that end it, besides the model's; copied */
    int stop_count;
    bool ignore_end;      /* the model's own end does not end it */
    int logprobs;         /* -1: none; 0 to 20 */
    int prompt_logprobs;  /* likewise, of the prompt */
};

/* One token, in order. logprobs live for the call. */
struct llm_token {
    int32_t id;
    const struct llm_logprob *logprobs;
    int logprob_count;
};

struct llm_submit {
    const int32_t *prompt; /* copied */
    int prompt_count;
    struct llm_sampling sampling;
    struct llm_constraint constraint; /* ctx NULL: none; taken when submit succeeds, freed
                                         before finish is told */
    bool embed;            /* no tokens: the last token's normed state */
    int priority;          /* higher first */
    /* By the engine's thread, after each step that gave it something: tokens, and at last finish
     * (not LLM_RUNNING) with a reason for LLM_ERROR; then the request is gone. The end token is
     * not told. Must be quick. */
    void (*tokens)(void *ctx, const struct llm_token *tokens, int count, enum llm_finish finish,
                   const char *reason);
    /* Or NULL. Of the prompt's tokens from the second on, in order, before the first token, in as many
     * calls as it takes: count tokens, each [1 + sampling.prompt_logprobs]: its own first. */
    void (*prompt_logprobs)(void *ctx, const struct llm_logprob *l, int each, int count);
    void (*embedding)(void *ctx, const float *e, int width); /* or NULL */
    void *ctx;
};

struct llm_engine_options {
    struct llm_model_options model;
    bool no_prefix_cache;
    /* By the engine's thread after each step, when something was told: to wake a loop once for all
     * of it. */
    void (*stepped)(void *ctx);
    void *ctx;
};

/* What a request used, when it is finished (prompt at once, cached with the first token); for usage
 * and metrics. Times monotonic, ns. */
struct llm_times {
    int64_t arrived, scheduled, first, last;
    int prompt, cached, generated; /* tokens; cached: of the prompt, from the prefix cache */
    int preemptions;
};

struct llm_engine *llm_engine_create(const char *folder, const struct llm_config *config,
                                     const struct llm_engine_options *o, struct rwf_err *err);
/* Requests that run are finished as cancelled. */
void llm_engine_destroy(struct llm_engine *e);
const struct llm_model *llm_engine_model(const struct llm_engine *e);
/* RWF_E_USAGE: a prompt too long (says by how much, and what would fit), a parameter out of range
 * (named). times (may be NULL) is filled in before
 * that, and must live as long. */
struct llm_request *llm_engine_submit(struct llm_engine *e, const struct llm_submit *s,
                                      struct llm_times *times, struct rwf_err *err);
/* From any thread, also within callbacks; its finish is told as LLM_CANCELLED (unless it already
 * was) and may come after this returns. Nothing happens when it is gone. */
void llm_engine_cancel(struct llm_engine *e, struct llm_request *r);

#define LLM_STEP_SIZES 14
struct llm_stats {
    int running, waiting;
    int blocks, blocks_used;
    uint64_t steps, prompt_tokens, generated_tokens, preemptions;
    uint64_t prefix_queries, prefix_hits; /* tokens */
    int64_t busy;                         /* ns in steps */
    uint64_t step_tokens; /* computed in all steps, of prompts and of replies */
    /* Steps of at most 1, 8, 16, 32, … 16384 tokens, and more: each counts once. */
    uint64_t step_sizes[LLM_STEP_SIZES];
};
#define LLM_STEP_SIZE(i) ((i) == 0 ? 1 : 4 << (i)) /* of the one with that number */
void llm_engine_stats(struct llm_engine *e, struct llm_stats *ret);

#endif
