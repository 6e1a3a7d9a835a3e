/* SPDX-License-Identifier: Apache-2.0
 *
 * The life of the API, its routes, and the way of tokens from the engine's thread to
 * the loop: the engine's callbacks only append to a list under a lock, and after each
 * step the loop is woken once, takes the list, and writes for each request what is new
 * as one piece.
 */
#include "config.h"

#include "llm/api_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"

/* --- from the engine's thread --- */

static struct news *append(struct llm_api *a, struct choice *c)
{
    struct news_batch *b = &a->news;
    struct news *n = RWF_PUSH(b->items, b->count, b->cap);

    *n = (struct news){.choice = c, .finish = LLM_RUNNING};
    return n;
}

static size_t keep_logprobs(struct news_batch *b, const struct llm_logprob *l,
                            size_t count)
{
    size_t at = b->logprob_count;

    for (size_t i = 0; i < count; i++)
        *RWF_PUSH(b->logprobs, b->logprob_count, b->logprob_cap) = l[i];
    return at;
}

void api__tokens(void *ctx, const struct llm_token *tokens, int count,
                 enum llm_finish finish, const char *reason)
{
    struct choice *c = ctx;
    struct llm_api *a = c->job->api;

    pthread_mutex_lock(&a->lock);
    for (int i = 0; i < count; i++) {
        struct news *n = append(a, c);
        n->id = tokens[i].id;
        n->cached = c->times.cached;
        n->logprob_count = (size_t)tokens[i].logprob_count;
        n->logprob = keep_logprobs(&a->news, tokens[i].logprobs, n->logprob_count);
    }
    if (finish != LLM_RUNNING) {
        struct news *n = append(a, c);
        n->finish = finish;
        n->reason = reason == NULL ? NULL : rwf_xstrdup(reason);
    }
    pthread_mutex_unlock(&a->lock);
}

void api__embedding(void *ctx, const float *e, int width)
{
    struct choice *c = ctx;
    struct llm_api *a = c->job->api;
    float *copy = rwf_xmalloc((size_t)width * sizeof(*copy));

    memcpy(copy, e, (size_t)width * sizeof(*copy));
    pthread_mutex_lock(&a->lock);
    append(a, c)->embedding = copy;
    pthread_mutex_unlock(&a->lock);
}

void api__prompt_logprobs(void *ctx, const struct llm_logprob *l, int each, int count)
{
    struct choice *c = ctx;
    struct llm_api *a = c->job->api;

    pthread_mutex_lock(&a->lock);
    struct news *n = append(a, c);
    n->prompt_each = (size_t)each;
    n->prompt_count = (size_t)count;
    n->logprob = keep_logprobs(&a->news, l, (size_t)each * (size_t)count);
    pthread_mutex_unlock(&a->lock);
}

static void stepped(void *ctx)
{
    struct llm_api *a = ctx;

    uv_async_send(a->wake);
}

/* --- on the loop --- */

static struct news_batch *take(struct llm_api *a)
{
    struct news_batch empty = a->taken;

    empty.count = empty.logprob_count = 0;
    pthread_mutex_lock(&a->lock);
    a->taken = a->news;
    a->news = empty;
    pthread_mutex_unlock(&a->lock);
    return &a->taken;
}

static void on_wake(uv_async_t *wake)
{
    struct llm_api *a = wake->data;
    const struct news_batch *b = take(a);
    struct job *j, *next;

    for (size_t i = 0; i < b->count; i++) {
        struct news *n = &b->items[i];
        n->choice->job->touched = true;
        api__job_news(n->choice->job, n->choice, n, b->logprobs);
        free(n->reason);
    }
    for (j = LIST_FIRST(&a->jobs); j != NULL; j = next) {
        next = LIST_NEXT(j, link);
        if (j->touched)
            api__job_turn(j);
    }
}

/* --- routes --- */

struct route {
    const char *method, *path;
    unsigned names; /* of its parameters */
    void (*posted)(struct llm_api *a, struct http_request *r, json_t *request);
    void (*got)(struct llm_api *a, struct http_request *r);
};

static void health(struct llm_api *a, struct http_request *r)
{
    (void)a;
    http_reply(r, 200, "text/plain", "", 0);
}

static void version(struct llm_api *a, struct http_request *r)
{
    (void)a;
    static const char text[] = "{\"version\":\"" PACKAGE_VERSION "\"}";
    http_reply(r, 200, "application/json", text, sizeof(text) - 1);
}

static void load(struct llm_api *a, struct http_request *r)
{
    struct llm_stats s;
    char text[64];

    llm_engine_stats(a->engine, &s);
    int n = snprintf(text, sizeof(text), "{\"server_load\":%d}", s.running + s.waiting);
    http_reply(r, 200, "application/json", text, (size_t)n);
}

static void metrics(struct llm_api *a, struct http_request *r)
{
    struct rwf_str out = {NULL, 0, 0};

    api__metrics_write(a, &out);
    http_reply(r, 200, "text/plain; version=0.0.4", out.data, out.len);
    rwf_str_free(&out);
}

#define ONE_MODEL "/v1/models/NAME"

static const struct route routes[] = {
    {"POST", "/v1/chat/completions", API_CHAT, api__chat, NULL},
    {"POST", "/v1/completions", API_COMPLETE, api__complete, NULL},
    {"POST", "/v1/embeddings", API_EMBED, api__embed, NULL},
    {"POST", "/tokenize", API_TOKENIZE, api__tokenize, NULL},
    {"POST", "/detokenize", API_DETOKENIZE, api__detokenize, NULL},
    {"GET", "/v1/models", 0, NULL, api__models},
    {"GET", ONE_MODEL, 0, NULL, api__model},
    {"GET", "/health", 0, NULL, health},
    {"GET", "/ping", 0, NULL, health},
    {"GET", "/version", 0, NULL, version},
    {"GET", "/load", 0, NULL, load},
    {"GET", "/metrics", 0, NULL, metrics},
};

static void no_route(struct http_request *r, const char *allowed)
{
    char text[256];

    if (allowed != NULL) {
        http_reply_header(r, "Allow", allowed);
        snprintf(text, sizeof(text), "%s answers %s, not %s", http_path(r), allowed,
                 http_method(r));
        api__error(r, 405, "method_not_supported", NULL, text);
        return;
    }
    snprintf(text, sizeof(text),
             "there is no %.150s: /v1/models lists what is served here", http_path(r));
    api__error(r, 404, "unknown_url", NULL, text);
}

static bool is_served(const struct llm_api *a, const char *name)
{
    for (size_t i = 0; a->names[i] != NULL; i++)
        if (strcmp(a->names[i], name) == 0)
            return true;
    return false;
}

static void no_model(const struct llm_api *a, struct http_request *r, const char *name)
{
    char text[400];

    snprintf(text, sizeof(text), "the model '%.150s' is not served here; '%.100s' is", name,
             a->names[0]);
    api__error(r, 404, "model_not_found", "model", text);
}

/* The body as an object that asks for a model of ours; NULL: answered. */
static json_t *read_body(struct llm_api *a, struct http_request *r)
{
    size_t size;
    const char *body = http_body(r, &size);
    json_error_t why;
    json_t *request = json_loadb(body, size, 0, &why);
    const json_t *model = json_object_get(request, "model");
    char text[400];

    if (request == NULL) {
        snprintf(text, sizeof(text),
                 "the body is no JSON object: %.200s (line %d, column %d)",
                 json_error_code(&why) == json_error_null_character
                     ? "texts cannot have the character \\u0000"
                     : why.text,
                 why.line, why.column);
        api__error(r, 400, NULL, NULL, text);
    } else if (!json_is_object(request)) {
        api__error(r, 400, NULL, NULL, "the body is no JSON object, but another value");
    } else if (model != NULL && !json_is_null(model) &&
               (!json_is_string(model) || !is_served(a, json_string_value(model)))) {
        no_model(a, r, json_is_string(model) ? json_string_value(model) : "");
    } else {
        return request;
    }
    json_decref(request);
    return NULL;
}

static void call(struct llm_api *a, const struct route *route, struct http_request *r)
{
    if (route->got != NULL) {
        route->got(a, r);
        return;
    }
    json_t *request = read_body(a, r);
    struct rwf_err err = RWF_ERR_INIT;
    const char *param = NULL;
    if (request == NULL)
        return;
    if (api_names_check(a->told, route->names, request, &param, &err) == 0) {
        route->posted(a, r, request);
        return;
    }
    api__refuse(r, param, &err);
    json_decref(request);
}

/* Who asks by HEAD, as balancers do, gets the head of what GET gives. */
static bool answers(const struct route *route, const char *method)
{
    return strcmp(route->method, method) == 0 ||
           (strcmp(method, "HEAD") == 0 && strcmp(route->method, "GET") == 0);
}

void llm_api_request(void *ctx, struct http_request *r)
{
    struct llm_api *a = ctx;
    const char *path = http_path(r), *allowed = NULL;

    if (rwf_starts_with(path, "/v1/models/") && path[11] != '\0') {
        if (!is_served(a, path + 11)) {
            no_model(a, r, path + 11);
            return;
        }
        path = ONE_MODEL;
    }
    for (size_t i = 0; i < RWF_COUNT(routes); i++) {
        if (strcmp(routes[i].path, path) != 0)
            continue;
        if (answers(&routes[i], http_method(r))) {
            call(a, &routes[i], r);
            return;
        }
        allowed = routes[i].method;
    }
    no_route(r, allowed);
}

void llm_api_gone(void *ctx, struct http_request *r)
{
    (void)ctx;
    if (http_get(r) != NULL)
        api__job_gone(http_get(r));
}

/* --- life --- */

static void keep_names(struct llm_api *a, const char *const *names)
{
    size_t count = 0;

    while (names[count] != NULL)
        count++;
    a->names = rwf_xcalloc(count + 1, sizeof(*a->names));
    for (size_t i = 0; i < count; i++)
        a->names[i] = rwf_xstrdup(names[i]);
}

static int open_text(struct llm_api *a, const struct llm_api_options *o,
                     struct rwf_err *err)
{
    a->tokenizer = tokenizer_open(o->folder, err);
    if (a->tokenizer == NULL)
        return -1;
    if (tokenizer_count(a->tokenizer) > a->config.vocab)
        return rwf_fail(
            err, RWF_E_INPUT,
            "%s: the tokenizer has %d ids, but the model knows %lld: they do not "
            "belong together",
            o->folder, tokenizer_count(a->tokenizer), (long long)a->config.vocab);
    if (o->template_ != NULL
            ? chat_template_named(o->template_, &a->template_, err) != 0
            : chat_template_find(o->folder, &a->template_, err) != 0)
        return -1;
    a->think_end = tokenizer_id(a->tokenizer, "</think>");
    a->think = a->think_end >= 0 ? tokenizer_id(a->tokenizer, "<think>") : -1;
    a->reasoning = !o->no_reasoning &&
                   (a->template_ == CHAT_QWEN3 || a->template_ == CHAT_QWEN3_THINKING);
    a->tools = !o->no_tools;
    a->escape = o->escape_special;
    return 0;
}

struct llm_api *llm_api_create(uv_loop_t *loop, const struct llm_config *config,
                               const struct llm_api_options *o, struct rwf_err *err)
{
    struct llm_api *a = rwf_xcalloc(1, sizeof(*a));
    struct llm_engine_options engine = o->engine;

    a->loop = loop;
    a->config = *config;
    a->max_length = engine.model.max_length;
    a->created = (int64_t)time(NULL);
    a->seeded = o->seeded;
    a->seed = o->seed;
    a->told = api_names_create();
    LIST_INIT(&a->jobs);
    pthread_mutex_init(&a->lock, NULL);
    keep_names(a, o->names);
    a->metrics = api__metrics_create(a->names[0], a->max_length);
    a->wake = rwf_xcalloc(1, sizeof(*a->wake));
    uv_async_init(loop, a->wake, on_wake);
    a->wake->data = a;
    engine.stepped = stepped;
    engine.ctx = a;
    if (open_text(a, o, err) == 0)
        a->engine = llm_engine_create(o->folder, config, &engine, err);
    if (a->engine == NULL) {
        llm_api_destroy(a);
        return NULL;
    }
    return a;
}

static void on_closed(uv_handle_t *h)
{
    free(h);
}

void llm_api_destroy(struct llm_api *a)
{
    struct job *j;

    if (a == NULL)
        return;
    LIST_FOREACH(j, &a->jobs, link)
    api__job_cut(j);
    llm_engine_destroy(a->engine); /* tells the end of all requests */
    on_wake(a->wake);
    rwf_assert(LIST_EMPTY(&a->jobs));
    uv_close((uv_handle_t *)a->wake, on_closed);
    for (int i = 0; i < 2; i++) {
        struct news_batch *b = i == 0 ? &a->news : &a->taken;
        free(b->items);
        free(b->logprobs);
    }
    vocabulary_destroy(a->vocabulary);
    tokenizer_close(a->tokenizer);
    api__metrics_destroy(a->metrics);
    api_names_destroy(a->told);
    for (size_t i = 0; a->names[i] != NULL; i++)
        free(a->names[i]);
    free(a->names);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

/* Choices of a request count up from its seed: some lie between those of two requests. */
int64_t api__seed(struct llm_api *a)
{
    int64_t seed = a->seed;

    a->seed += 1 << 8;
    return seed;
}

struct llm_engine *llm_api_engine(const struct llm_api *a)
{
    return a->engine;
}
