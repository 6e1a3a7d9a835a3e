/* SPDX-License-Identifier: Apache-2.0
 *
 * What a request says besides its prompt: OpenAI's parameters and vLLM's further ones, as one
 * table with their ranges.
 */
#ifndef RWF_LLM_API_PARAMS_H
#define RWF_LLM_API_PARAMS_H
#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "llm/engine.h"

#define PARAMS_STOPS_MAX 64

/* Codes of struct rwf_err for what OpenAI's clients tell apart, besides RWF_E_USAGE (a value that
 * is not allowed) and RWF_E_FIT (more tokens than there is room for). */
enum {
    API_UNSUPPORTED = ENOTSUP, /* it is known, but not here */
    API_MISSING = ENODATA,
    API_TYPE = EBADMSG, /* a text where a number should be, and the like */
};

struct api_params {
    double temperature, top_p, min_p, repetition, presence, frequency;
    int64_t top_k, seed, max_tokens, min_tokens, n; /* max_tokens < 0: not given */
    int64_t logprobs;        /* -1: none */
    int64_t prompt_logprobs; /* -1: none */
    int64_t priority;
    int64_t truncate; /* to the last tokens of the prompt; 0: not; -1: to what there is room for */
    bool stream, include_usage, continuous_usage;
    bool ignore_eos, echo, skip_special, include_stop;
    bool tokens_as_ids;     /* logprobs name tokens "token_id:N" */
    bool several_calls, thoughts; /* are told */
    const char *stops[PARAMS_STOPS_MAX]; /* borrowed from the request */
    int stop_count;
    int32_t *stop_ids;
    int stop_id_count;
    struct kernel_edit *bias;
    int bias_count;
};

struct api_defaults {
    const struct llm_config *config; /* what generation_config.json says holds unless a request
                                        says otherwise */
    int64_t max_tokens;              /* < 0: as many as there is room for */
    bool chat;                       /* logprobs is a flag, with top_logprobs beside it */
    const int64_t *seed; /* of a request that says none; NULL: any */
};

/* RWF_E_USAGE; *ret_param is the key that is wrong. On failure there is nothing to free. */
int api_params_read(struct api_params *p, const json_t *request, const struct api_defaults *d,
                    const char **ret_param, struct rwf_err *err);
/* Of embeddings: few. Nothing is to be freed. */
int api_params_read_embed(struct api_params *p, const json_t *request, const char **ret_param,
                          struct rwf_err *err);
void api_params_free(struct api_params *p);
/* For the engine; texts and arrays stay p's. number: of the choice among n. */
void api_params_sampling(const struct api_params *p, int number, struct llm_sampling *ret);

#endif
