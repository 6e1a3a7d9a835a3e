/* SPDX-License-Identifier: Apache-2.0
 *
 * A load for a server of OpenAI's API, and what it measured: the requests, their arrival and
 * the numbers are those of `vllm bench serve`, so that results can be laid beside each other.
 */
#ifndef RWF_LLM_BENCH_H
#define RWF_LLM_BENCH_H
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "base/str.h"

struct bench_options {
    const char *target;    /* "http://127.0.0.1:8000" or "unix:PATH" */
    const char *prefix;    /* of all paths there: "/chat", or "" */
    bool chat;             /* the endpoint takes messages, not prompts */
    const char *endpoint;  /* "/v1/completions", "/v1/chat/completions" */
    const char *model;     /* NULL: the first that /v1/models names */
    const char *tokenizer; /* folder or tokenizer.json; of the model */
    const char *dataset;   /* a file: ShareGPT's JSON, or JSON lines with "prompt" (and
                              "output_len"); NULL: random prompts */
    const char *api_key;
    int input_len, output_len; /* of random prompts; output_len of a dataset: 0: what it says */
    double range_ratio;        /* lengths are uniform within (1 ± ratio); 0: exact */
    int prefix_len;            /* tokens that all random prompts begin with */
    int num_prompts;
    double request_rate;       /* per second, exponential gaps; 0: all at once */
    int max_concurrency;       /* 0: no limit */
    double temperature;        /* < 0: the server's */
    bool ignore_eos;
    uint64_t seed;
    int64_t timeout;           /* of a request, ns */
};

struct bench_latency {
    double mean, median, p99, sd; /* ms */
};

struct bench_result {
    int completed, failed;
    double duration; /* s */
    int64_t input_tokens, output_tokens;
    double peak_tokens;  /* in one second */
    int peak_concurrent;
    struct bench_latency ttft, tpot, itl, e2e;
    char error[256]; /* the first failure */
};

int bench_serve(const struct bench_options *o, struct bench_result *ret, struct rwf_err *err);
/* vLLM's block. */
void bench_text(const struct bench_result *r, const struct bench_options *o,
                struct rwf_str *out);
json_t *bench_json(const struct bench_result *r);

/* --- prompts (bench_prompts.c) --- */

struct bench_prompt {
    char *text;      /* chat; or NULL */
    int32_t *ids;    /* completions; or NULL */
    int count, output_len;
};
/* num_prompts of them. ids: rather than texts. */
struct bench_prompt *bench_prompts(const struct bench_options *o, bool ids, struct rwf_err *err);
void bench_prompts_free(struct bench_prompt *p, int count);

#endif
