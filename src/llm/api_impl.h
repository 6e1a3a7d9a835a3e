/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside of the API, shared by its files:
 *
 *   api.c          life, routes, the way from the engine's thread to the loop
 *   api_job.c      a request while it runs: choices, their text, the reply whole or in pieces
 *   api_chat.c     chat completions         api_complete.c  completions
 *   api_embed.c    embeddings               api_plain.c     what needs no engine
 *   api_write.c    pieces of JSON           api_metrics.c   counters and histograms
 *   api_params.c   values of parameters     api_names.c     which there are
 */
#ifndef RWF_LLM_API_IMPL_H
#define RWF_LLM_API_IMPL_H
#include <pthread.h>
#include <sys/queue.h>
#include "llm/api.h"
#include "llm/api_names.h"
#include "llm/api_params.h"
#include "llm/grammar.h"
#include "llm/reply.h"
#include "llm/text_stream.h"

struct job;
struct choice;
struct api_metrics;

/* What the engine's thread told: one token, or the end. */
struct news {
    struct choice *choice;
    int32_t id;
    enum llm_finish finish; /* LLM_RUNNING: a token */
    int cached;             /* of the prompt, from the prefix cache */
    size_t logprob, logprob_count; /* in the pool of the same batch */
    char *reason;                  /* of LLM_ERROR; or NULL */
    float *embedding;              /* [width]; or NULL */
    size_t prompt_each, prompt_count; /* of prompt_logprobs, from logprob on */
};

struct news_batch {
    struct news *items;
    size_t count, cap;
    struct llm_logprob *logprobs;
    size_t logprob_count, logprob_cap;
};

struct llm_api {
    uv_loop_t *loop;
    struct llm_config config;
    struct llm_engine *engine;
    struct tokenizer *tokenizer;
    struct vocabulary *vocabulary; /* made with the first constraint */
    enum chat_template template_;
    bool reasoning, tools;
    bool escape; /* contents of users and tools become no added tokens */
    bool seeded;
    int64_t seed; /* of the next request that says none, if seeded */
    struct api_names *told;
    int32_t think, think_end; /* ids of <think> and </think>; -1: there is none, or no end */
    int max_length;
    char **names;
    int64_t created;
    struct api_metrics *metrics;

    uv_async_t *wake;
    pthread_mutex_t lock;
    struct news_batch news;  /* under lock */
    struct news_batch taken; /* the loop's, of the last turn */
    LIST_HEAD(, job) jobs;
};

/* --- a request while it runs --- */

/* One sequence of it: a prompt's i-th choice. */
struct choice {
    struct job *job;
    int index;
    struct llm_request *request; /* NULL: its end was told */
    struct llm_times times;      /* the engine's until its end was told */
    int cached;                  /* of these, as the engine told */
    struct text_stream *text;
    struct reply *reply; /* chat only */
    bool over;           /* what it says is complete; tokens that still come do not count */
    bool begun, closed;  /* its first piece, and its last, was sent */
    const char *finish_reason; /* once over */
    const char *stop;          /* the stop string or NULL */
    int tokens;
    int64_t last_at; /* when the newest one was taken, ns; 0: none */
    struct rwf_str piece, thought; /* new since the last piece that was sent */
    struct rwf_str whole, whole_thought, calls; /* calls: pieces of JSON, with commas */
    struct rwf_str logprobs; /* likewise, new ones */
    struct rwf_str whole_logprobs;
    struct rwf_str prompt_logprobs; /* from the second token of the prompt on, with commas */
    char *prompt_text;              /* echo */
    size_t text_at; /* of the next token, in characters, for text_offset */
    float *embedding;
    int embedding_width;
};

/* How a kind of request writes. */
struct job_ops {
    const char *name;  /* for the access log */
    const char *object, *chunk; /* what a reply calls itself, whole and in pieces */
    /* What is new in the choice, as one or more events; last: it is over. */
    void (*piece)(struct job *j, struct choice *c, bool last);
    /* The reply when nothing was streamed. */
    void (*whole)(struct job *j, struct rwf_str *out);
    /* Adds one token's logprobs to c->logprobs: its own, then the largest. A logprob that is
     * NaN: nothing is known of it. */
    void (*logprobs)(struct job *j, struct choice *c, const struct llm_logprob *l, int count);
};

struct job {
    struct llm_api *api;
    const struct job_ops *ops;
    struct http_request *http; /* NULL: ended */
    json_t *request;
    struct api_params params;
    char id[64];
    int64_t created;
    struct choice *choices;
    int count, told, over; /* choices; whose end the engine told; whose text is complete */
    bool streaming; /* the head was sent */
    bool failed;
    bool touched; /* there are news of this turn: its end lets the job go */
    struct rwf_str out;
    LIST_ENTRY(job) link;
};

/* api.c */
/* Callbacks for struct llm_submit; ctx: the choice. */
void api__tokens(void *ctx, const struct llm_token *tokens, int count, enum llm_finish finish,
                 const char *reason);
void api__embedding(void *ctx, const float *e, int width);
void api__prompt_logprobs(void *ctx, const struct llm_logprob *l, int each, int count);

int64_t api__seed(struct llm_api *a);

/* api_job.c */
/* Takes r and request. prefix: of the id. */
struct job *api__job_create(struct llm_api *a, const struct job_ops *ops,
                            struct http_request *r, json_t *request, const char *prefix);
/* Prompts of count ids each, params.n choices of each one; constraint may be NULL, else one
 * reference of the grammar is taken for each choice. Fails the job by itself. */
struct job_prompt {
    const int32_t *ids;
    int count;
    const char *text; /* for echo; NULL: what the ids stand for */
};
struct job_plan {
    const struct job_prompt *prompts;
    int prompt_count;
    struct grammar *grammar; /* borrowed; NULL: none */
    bool may_think;          /* the reply may begin with <think>: it holds behind that */
    bool thinks;             /* it is within it from the start */
    bool chat, tools, embed;
};
void api__job_start(struct job *j, const struct job_plan *plan);
/* Ends it with an error in OpenAI's shape, while nothing was submitted. */
void api__job_refuse(struct job *j, const char *param, const struct rwf_err *err);
void api__job_gone(struct job *j);
void api__job_news(struct job *j, struct choice *c, const struct news *n,
                   const struct llm_logprob *pool);
/* After all news of a turn. May free the job. */
void api__job_turn(struct job *j);
void api__job_cut(struct job *j); /* the API ends */

/* The kinds. Each takes the parsed request. */
void api__chat(struct llm_api *a, struct http_request *r, json_t *request);
void api__complete(struct llm_api *a, struct http_request *r, json_t *request);
void api__embed(struct llm_api *a, struct http_request *r, json_t *request);
void api__tokenize(struct llm_api *a, struct http_request *r, json_t *request);
void api__detokenize(struct llm_api *a, struct http_request *r, json_t *request);
void api__models(struct llm_api *a, struct http_request *r);
void api__model(struct llm_api *a, struct http_request *r);
/* The prompt of a chat's request as tokens into out; *ret tells how it was made. */
int api__chat_prompt(struct llm_api *a, const json_t *request, struct chat *ret,
                     struct tokenizer_ids *out, const char **ret_param, struct rwf_err *err);

/* What response_format, tool_choice and the like ask for; NULL in *ret: nothing. */
int api__constraint(struct llm_api *a, const json_t *request, const json_t *tools,
                    struct grammar **ret, const char **ret_param, struct rwf_err *err);
/* A text that is no chat, with the tokens that the tokenizer puts around it unless
 * add_special_tokens is false. */
void api__encode(const struct llm_api *a, const json_t *request, const char *text, size_t len,
                 struct tokenizer_ids *out);
/* The request's NAME: a text, texts, ids or lists of ids, as prompts of at least one token. */
int api__prompts(struct llm_api *a, const json_t *request, const char *name,
                 struct job_prompt **ret, int *ret_count, struct rwf_err *err);
void api__prompts_free(struct job_prompt *list, int count);

/* api_write.c */
void api__text(struct rwf_str *out, const char *text, size_t len); /* a JSON string */
/* {"id":…,"object":…,"created":…,"model":…, and further members follow. */
void api__head(const struct job *j, struct rwf_str *out, const char *object);
void api__usage(const struct job *j, struct rwf_str *out);         /* {"prompt_tokens":…} */
/* "prompt_logprobs":[…], if they were asked for. */
void api__prompt_member(const struct job *j, struct rwf_str *out, const struct choice *c);
double api__logprob(float logprob); /* JSON has no infinity */
/* {"token":…,"logprob":…,"bytes":[…]} without the closing brace. */
void api__token(const struct job *j, struct rwf_str *out, const struct llm_logprob *l);
/* Its text as a JSON string, or its id if the request wants that. */
void api__token_name(const struct job *j, struct rwf_str *out, int32_t id,
                     const struct rwf_str *text);
void api__event(struct job *j, const char *json, size_t len); /* "data: …\n\n" */
/* {"error":{"message","type","param","code"}}; code: a name that OpenAI has, param: of the
 * request; or NULL. */
void api__error(struct http_request *r, int status, const char *code, const char *param,
                const char *message);
void api__add_error(struct rwf_str *out, int status, const char *code, const char *param,
                    const char *message);
/* Likewise; status and code by err. */
void api__refuse(struct http_request *r, const char *param, const struct rwf_err *err);

/* api_metrics.c */
struct api_metrics *api__metrics_create(const char *model, int max_length);
void api__metrics_destroy(struct api_metrics *m);
void api__metrics_choice(struct api_metrics *m, const struct job *j, const struct choice *c,
                         enum llm_finish finish);
/* All its choices have ended. */
void api__metrics_job(struct api_metrics *m, const struct job *j);
void api__metrics_token(struct api_metrics *m, struct choice *c, int64_t now);
void api__metrics_write(struct llm_api *a, struct rwf_str *out);

#endif
