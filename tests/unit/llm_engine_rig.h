/* SPDX-License-Identifier: Apache-2.0
 *
 * For tests of the engine: an engine on the mock, requests that keep what they are
 * told, and the plain path, which computes the same tokens one by one, without cache,
 * batch or schedule.
 */
#ifndef LLM_RIG_H
#define LLM_RIG_H
#include <stdatomic.h>
#include "llm/engine.h"
#include "llm_mock.h"

#define RIG_VOCAB 61
#define RIG_HIDDEN 5
#define RIG_END 7

struct rig_options {
    int blocks, max_tokens, max_sequences, max_length;
    bool no_prefix_cache;
};

struct llm_engine *rig_create(const struct rig_options *o);
/* Destroys it; nothing bad may have been seen by the mock. */
void rig_destroy(struct llm_engine *e);

/* Sampling that changes nothing: greedy, max_tokens 16. */
struct llm_sampling rig_sampling(void);

/* Allows two of three ids, which ones depends on those before; every fourth time all.
 */
struct rig_constraint {
    int accepted;
    int32_t sum;
};

struct rig_request {
    struct llm_submit submit; /* what it was submitted with; ctx is this */
    int32_t *prompt;
    struct kernel_edit bias[4];
    int32_t stops[4];
    bool constrained;
    /* What it was told. */
    int32_t *tokens;
    size_t count, cap;
    float *logprobs; /* the drawn ones' */
    struct llm_logprob *prompt_logprobs;
    size_t prompt_logprob_count, prompt_logprob_cap;
    float embedding[RIG_HIDDEN];
    bool embedded;
    char reason[256];
    int cancel_at; /* cancels itself in the callback of this token; 0: never */
    struct llm_times times;
    struct llm_request *handle;
    struct llm_engine *engine;
    atomic_int finish; /* enum llm_finish */
    bool finished;     /* told by the engine's thread */
};

/* A request that copies prompt. */
struct rig_request *rig_request(const int32_t *prompt, int count);
/* With a prompt of so many ids, which depend on salt. */
struct rig_request *rig_simple(int count, int salt);
void rig_submit(struct llm_engine *e, struct rig_request *r);
/* Whether it is finished or not. */
void rig_cancel(struct rig_request *r);
enum llm_finish rig_wait(struct rig_request *r);
void rig_free(struct rig_request *r);

/* What the plain path says of it; ret [max_tokens]. */
enum llm_finish rig_plain(const struct rig_request *r, int limit, int32_t *ret,
                          int *ret_count);
/* It was told exactly that; one that was cancelled a beginning of it. */
void rig_check(const struct rig_request *r, int limit);
/* Submits it, waits, checks, frees; limit 200. */
void rig_complete(struct llm_engine *e, struct rig_request *r, enum llm_finish finish);

uint64_t rig_random(uint64_t *state);

#endif
