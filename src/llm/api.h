/* SPDX-License-Identifier: Apache-2.0
 *
 * The OpenAI API of one model: text on one side, the engine's tokens on the other. It answers
 * the requests of an HTTP server; all but the engine's callbacks runs on the loop's thread.
 *
 *   POST /v1/chat/completions, /v1/completions, /v1/embeddings, /tokenize, /detokenize
 *   GET  /v1/models, /v1/models/NAME, /health, /ping, /version, /metrics, /load
 */
#ifndef RWF_LLM_API_H
#define RWF_LLM_API_H
#include <stdbool.h>
#include <uv.h>
#include "base/err.h"
#include "http/server.h"
#include "llm/chat.h"
#include "llm/engine.h"

struct llm_api;

struct llm_api_options {
    const char *folder;          /* tokenizer and chat template; the model's */
    const char *const *names;    /* served ones, the first is what replies say; NULL-terminated */
    const char *template_;       /* name of a chat template; NULL: the model's own */
    bool no_reasoning, no_tools; /* thinking and calls stay in the content */
    bool escape_special; /* texts of added tokens in what users and tools say are plain text */
    bool seeded;
    int64_t seed; /* if seeded: requests that say none have this one and so on, in their order */
    struct llm_engine_options engine; /* stepped and ctx are the API's own */
    int64_t max_length;               /* max_model_len, for messages; of engine.model */
};

/* Opens the tokenizer, then the engine. */
struct llm_api *llm_api_create(uv_loop_t *loop, const struct llm_config *config,
                               const struct llm_api_options *o, struct rwf_err *err);
/* Requests that run are ended. The loop must run once more before it is closed. */
void llm_api_destroy(struct llm_api *a);
/* For struct http_server_options; ctx: the API. */
void llm_api_request(void *ctx, struct http_request *r);
void llm_api_gone(void *ctx, struct http_request *r);
struct llm_engine *llm_api_engine(const struct llm_api *a);

#endif
