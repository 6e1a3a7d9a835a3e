/* SPDX-License-Identifier: Apache-2.0
 *
 * POST /v1/completions: prompts as texts or ids, one or many.
 */
#include "config.h"

#include "llm/api_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define PROMPTS_MAX 2048

/* --- prompts --- */

struct prompts {
    struct job_prompt *list;
    int count;
};

static void prompts_free(struct prompts *p)
{
    for (int i = 0; i < p->count; i++)
        free((void *)(uintptr_t)p->list[i].ids);
    free(p->list);
}

static int add_ids(struct llm_api *a, struct prompts *p, const json_t *ids,
                   const char *name, struct rwf_err *err)
{
    size_t count = json_array_size(ids);
    int32_t *out = rwf_xcalloc(count + 1, sizeof(*out));

    p->list[p->count++] = (struct job_prompt){out, (int)count, NULL};
    for (size_t i = 0; i < count; i++) {
        const json_t *id = json_array_get(ids, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) >= a->config.vocab)
            return rwf_fail(err, RWF_E_USAGE,
                            "%s: item %zu is no id of this model (0 to %lld)", name, i,
                            (long long)a->config.vocab - 1);
        out[i] = (int32_t)json_integer_value(id);
    }
    return 0;
}

void api__encode(const struct llm_api *a, const json_t *request, const char *text, size_t len,
                 struct tokenizer_ids *out)
{
    (json_is_false(json_object_get(request, "add_special_tokens")) ? tokenizer_encode
                                                                   : tokenizer_encode_framed)(
        a->tokenizer, text, len, out);
}

static void add_text(struct llm_api *a, const json_t *request, struct prompts *p, const json_t *text)
{
    struct tokenizer_ids ids = {0};

    api__encode(a, request, json_string_value(text), json_string_length(text), &ids);
    if (ids.ids == NULL)
        ids.ids = rwf_xcalloc(1, sizeof(*ids.ids));
    p->list[p->count++] =
        (struct job_prompt){ids.ids, (int)ids.count, json_string_value(text)};
}

int api__prompts(struct llm_api *a, const json_t *request, const char *name,
                 struct job_prompt **ret, int *ret_count, struct rwf_err *err)
{
    const json_t *given = json_object_get(request, name);
    bool many = json_is_array(given) && !json_is_integer(json_array_get(given, 0));
    size_t count = many ? json_array_size(given) : 1;
    struct prompts p = {NULL, 0};

    if (count == 0 || count > PROMPTS_MAX || !(json_is_string(given) || json_is_array(given)))
        return rwf_fail(err,
                        given == NULL                                  ? API_MISSING
                        : json_is_string(given) || json_is_array(given) ? RWF_E_USAGE
                                                                       : API_TYPE,
                        "%s: a text, a list of texts, a list of ids, or a list "
                        "of lists of ids (at most %d)",
                        name, PROMPTS_MAX);
    p.list = rwf_xcalloc(count, sizeof(*p.list));
    for (size_t i = 0; i < count; i++) {
        const json_t *one = many ? json_array_get(given, i) : given;
        int rc = 0;
        if (json_is_string(one))
            add_text(a, request, &p, one);
        else if (json_is_array(one))
            rc = add_ids(a, &p, one, name, err);
        else
            rc = rwf_fail(err, API_TYPE,
                          "%s: item %zu is neither a text nor a list of ids", name, i);
        if (rc == 0 && p.list[p.count - 1].count == 0)
            rc = rwf_fail(err, RWF_E_USAGE, "the prompt is empty");
        if (rc != 0) {
            prompts_free(&p);
            return -1;
        }
    }
    *ret = p.list;
    *ret_count = p.count;
    return 0;
}

void api__prompts_free(struct job_prompt *list, int count)
{
    prompts_free(&(struct prompts){list, count});
}

/* --- writing --- */

/* Logprobs of completions are four lists beside each other; c->logprobs keeps a line of
 * each for every token: {"t":token,"l":logprob,"o":offset,"p":"{top}"} is turned into
 * lists at the end. (top is a text of JSON, as its keys may hold a NUL.) */
static size_t characters(const struct rwf_str *text)
{
    size_t n = 0;

    for (size_t i = 0; i < text->len; i++)
        n += ((uint8_t)text->data[i] & 0xc0) != 0x80;
    return n;
}

/* What stands for the token into out; its text. */
static void add_token_text(struct job *j, struct rwf_str *out, int32_t id,
                           struct rwf_str *text)
{
    rwf_str_clear(text);
    tokenizer_decode(j->api->tokenizer, &id, 1, text);
    api__token_name(j, out, id, text);
}

static void logprobs(struct job *j, struct choice *c, const struct llm_logprob *l,
                     int count)
{
    struct rwf_str text = {NULL, 0, 0}, top = {NULL, 0, 0}, *out = &c->logprobs;
    bool known = !isnan(l[0].logprob), among = false;

    rwf_str_add(out, out->len > 0 ? "," : "");
    rwf_str_add(out, "{\"t\":");
    add_token_text(j, out, l[0].id, &text);
    rwf_str_addf(out, ",\"o\":%zu,", c->text_at);
    c->text_at += characters(&text);
    if (known)
        rwf_str_addf(out, "\"l\":%.9g,\"p\":", api__logprob(l[0].logprob));
    else
        rwf_str_add(out, "\"l\":null,\"p\":");
    for (int i = 1; i < count; i++)
        among = among || l[i].id == l[0].id;
    /* The token itself is there in any case. */
    for (int i = among ? 1 : 0; known && i < count; i++) {
        rwf_str_add(&top, i > among ? "," : "{");
        add_token_text(j, &top, l[i].id, &text);
        rwf_str_addf(&top, ":%.9g", api__logprob(l[i].logprob));
    }
    rwf_str_add(&top, known ? "}" : "null");
    api__text(out, top.data, top.len);
    rwf_str_addc(out, '}');
    rwf_str_free(&top);
    rwf_str_free(&text);
}

static void add_column(struct rwf_str *out, const json_t *rows, const char *name,
                       const char *key)
{
    rwf_str_addf(out, "\"%s\":[", name);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *value = json_object_get(json_array_get(rows, i), key);
        if (*key == 'p') {
            rwf_str_add(out, i > 0 ? "," : "");
            rwf_str_add(out, json_string_value(value));
            continue;
        }
        char *text =
            json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(9));
        rwf_str_addf(out, "%s%s", i > 0 ? "," : "", text == NULL ? "null" : text);
        free(text);
    }
    rwf_str_add(out, "]");
}

static void add_logprobs(const struct job *j, struct rwf_str *out,
                         const struct rwf_str *list)
{
    if (j->params.logprobs < 0) {
        rwf_str_add(out, "\"logprobs\":null,");
        return;
    }
    char *text = rwf_xasprintf("[%s]", list->len > 0 ? list->data : "");
    json_t *rows = json_loads(text, JSON_ALLOW_NUL, NULL);
    rwf_str_add(out, "\"logprobs\":{");
    add_column(out, rows, "text_offset", "o");
    rwf_str_addc(out, ',');
    add_column(out, rows, "token_logprobs", "l");
    rwf_str_addc(out, ',');
    add_column(out, rows, "tokens", "t");
    rwf_str_addc(out, ',');
    add_column(out, rows, "top_logprobs", "p");
    rwf_str_add(out, "},");
    json_decref(rows);
    free(text);
}

static void add_choice(const struct job *j, struct rwf_str *out, const struct choice *c,
                       const struct rwf_str *text, const struct rwf_str *list,
                       bool last)
{
    struct rwf_str said = {NULL, 0, 0};

    if (c->prompt_text != NULL && !c->begun)
        rwf_str_add(&said, c->prompt_text);
    if (text->len > 0)
        rwf_str_addn(&said, text->data, text->len);
    rwf_str_addf(out, "{\"index\":%d,\"text\":", c->index);
    api__text(out, said.data == NULL ? "" : said.data, said.len);
    rwf_str_addc(out, ',');
    add_logprobs(j, out, list);
    if (last)
        api__prompt_member(j, out, c);
    rwf_str_addf(out, "\"finish_reason\":%s%s%s,\"stop_reason\":", last ? "\"" : "",
                 last ? c->finish_reason : "null", last ? "\"" : "");
    if (last && c->stop != NULL)
        api__text(out, c->stop, strlen(c->stop));
    else
        rwf_str_add(out, "null");
    rwf_str_addc(out, '}');
    rwf_str_free(&said);
}

static void piece(struct job *j, struct choice *c, bool last)
{
    struct rwf_str out = {NULL, 0, 0};

    api__head(j, &out, j->ops->chunk);
    rwf_str_add(&out, "\"choices\":[");
    add_choice(j, &out, c, &c->piece, &c->logprobs, last);
    rwf_str_addc(&out, ']');
    if (j->params.continuous_usage) {
        rwf_str_add(&out, ",\"usage\":");
        api__usage(j, &out);
    }
    rwf_str_addc(&out, '}');
    api__event(j, out.data, out.len);
    rwf_str_free(&out);
}

static void whole(struct job *j, struct rwf_str *out)
{
    api__head(j, out, j->ops->object);
    rwf_str_add(out, "\"choices\":[");
    for (int i = 0; i < j->count; i++) {
        const struct choice *c = &j->choices[i];
        rwf_str_add(out, i > 0 ? "," : "");
        add_choice(j, out, c, &c->whole, &c->whole_logprobs, true);
    }
    rwf_str_add(out, "],\"usage\":");
    api__usage(j, out);
    rwf_str_addc(out, '}');
}

static const struct job_ops complete_ops = {
    .name = "completion",
    .object = "text_completion",
    .chunk = "text_completion",
    .piece = piece,
    .whole = whole,
    .logprobs = logprobs,
};

/* --- the request --- */

void api__complete(struct llm_api *a, struct http_request *r, json_t *request)
{
    struct job *j = api__job_create(a, &complete_ops, r, request, "cmpl");
    const int64_t seed = api__seed(a);
    const struct api_defaults defaults = {&a->config, 16, false, a->seeded ? &seed : NULL};
    struct rwf_err err = RWF_ERR_INIT;
    struct job_prompt *prompts = NULL;
    struct grammar *grammar = NULL;
    const char *param = NULL;
    int count = 0;

    if (api_params_read(&j->params, request, &defaults, &param, &err) != 0 ||
        api__constraint(a, request, NULL, &grammar, &param, &err) != 0) {
        api__job_refuse(j, param, &err);
        return;
    }
    if (api__prompts(a, request, "prompt", &prompts, &count, &err) != 0)
        api__job_refuse(j, "prompt", &err);
    else
        api__job_start(j, &(struct job_plan){.prompts = prompts,
                                             .prompt_count = count,
                                             .grammar = grammar});
    api__prompts_free(prompts, count);
    grammar_drop(grammar);
}
