/* SPDX-License-Identifier: Apache-2.0
 *
 * The API of inference behind a real HTTP server, with its clients, on one loop: the engine
 * runs on the mock of the model, the tokenizer is a random model's (ids 0 to 255 are bytes).
 */
#ifndef RWF_TESTS_LLM_API_RIG_H
#define RWF_TESTS_LLM_API_RIG_H
#include <jansson.h>
#include <stdbool.h>
#include <uv.h>
#include "base/str.h"
#include "http/client.h"
#include "http/server.h"
#include "llm/api.h"
#include "llm_mock.h"

#define API_VOCAB 300
#define API_CHAT "/v1/chat/completions"
#define API_TEXT "/v1/completions"

/* Of bodies: a conversation, a tool whose one argument has at most three characters. */
#define HELLO "\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]"
#define TOOL                                                                           \
    "{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"type\":"    \
    "\"object\",\"properties\":{\"x\":{\"type\":\"string\",\"maxLength\":3}},"         \
    "\"required\":"                                                                    \
    "[\"x\"],\"additionalProperties\":false}}}"

/* What is 0 has its default. */
struct api_rig_options {
    int blocks, max_tokens, max_sequences, max_length; /* 256, 64, 32, 1000 */
    size_t write_limit;
    const char *const *api_keys;
    bool seeded, escape;
    int64_t seed;
};

struct api_rig {
    uv_loop_t loop;
    struct llm_api *api;
    struct http_server *http;
    struct http_client *client;
    char *folder;
    int threads; /* of this process before */
};

void api_rig_open(struct api_rig *g, const struct api_rig_options *o);
/* Ends what runs; nothing may be left: no job, no block in use, no thread. */
void api_rig_close(struct api_rig *g);
/* Turns of the loop until done says so, at most a minute. */
void api_rig_until(struct api_rig *g, bool (*done)(void *ctx), void *ctx);
/* Nothing runs or waits any more, and no request is open. */
void api_rig_until_idle(struct api_rig *g);

struct answer {
    struct api_rig *rig;
    struct http_call *call;
    int status;
    struct rwf_str body;
    bool done, failed; /* failed: without a proper end */
    size_t cut_at;     /* the client leaves when it has so many bytes; 0: never */
    bool cut;
    /* Of events. */
    struct rwf_str text[8], thought[8]; /* by choice */
    char finish[8][16];
    json_t *usage, *error;
    int events, roles;
    bool whole; /* [DONE] came last */
};

/* body NULL: GET. Returns at once. */
struct answer *api_post(struct api_rig *g, const char *path, const char *body);
void api_leave(struct answer *a); /* the client closes its connection */
void api_wait(struct answer *a);
void api_answer_free(struct answer *a);
/* Post and wait; a reply of status 200 of events is taken apart. */
struct answer *api_ask(struct api_rig *g, const char *path, const char *body);
/* The JSON of a reply with this status. */
json_t *api_json(struct api_rig *g, const char *path, const char *body, int status);
/* "choices.0.text"; NULL: not there. */
const json_t *api_at(const json_t *root, const char *place);
const char *api_text_at(const json_t *root, const char *place);

#endif
