/* SPDX-License-Identifier: Apache-2.0
 *
 * What needs no engine: /v1/models, /tokenize, /detokenize.
 */
#include "config.h"

#include "llm/api_impl.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static void add_model(const struct llm_api *a, struct rwf_str *out, const char *name)
{
    rwf_str_add(out, "{\"id\":");
    api__text(out, name, strlen(name));
    rwf_str_addf(out,
                 ",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"raywf\","
                 "\"max_model_len\":%d}",
                 (long long)a->created, a->max_length);
}

void api__models(struct llm_api *a, struct http_request *r)
{
    struct rwf_str out = {NULL, 0, 0};

    rwf_str_add(&out, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; a->names[i] != NULL; i++) {
        rwf_str_add(&out, i > 0 ? "," : "");
        add_model(a, &out, a->names[i]);
    }
    rwf_str_add(&out, "]}");
    http_reply(r, 200, "application/json", out.data, out.len);
    rwf_str_free(&out);
}

void api__model(struct llm_api *a, struct http_request *r)
{
    struct rwf_str out = {NULL, 0, 0};

    add_model(a, &out, http_path(r) + strlen("/v1/models/"));
    http_reply(r, 200, "application/json", out.data, out.len);
    rwf_str_free(&out);
}

/* --- /tokenize --- */

static int ids_to_tell(struct llm_api *a, const json_t *request, struct tokenizer_ids *out,
                       const char **ret_param, struct rwf_err *err)
{
    const json_t *prompt = json_object_get(request, "prompt");
    struct chat chat;

    *ret_param = "prompt";
    if (json_object_get(request, "messages") != NULL && !json_is_null(json_object_get(request, "messages")))
        return api__chat_prompt(a, request, &chat, out, ret_param, err);
    if (!json_is_string(prompt))
        return rwf_fail(err, prompt == NULL ? API_MISSING : API_TYPE,
                        "a prompt (a text), or messages, is needed");
    api__encode(a, request, json_string_value(prompt), json_string_length(prompt), out);
    return 0;
}

static void add_tokens(struct llm_api *a, struct rwf_str *out,
                       const struct tokenizer_ids *ids, bool texts)
{
    struct rwf_str text = {NULL, 0, 0};

    rwf_str_addf(out, "{\"count\":%zu,\"max_model_len\":%d,\"tokens\":[", ids->count,
                 a->max_length);
    for (size_t i = 0; i < ids->count; i++)
        rwf_str_addf(out, "%s%d", i > 0 ? "," : "", ids->ids[i]);
    rwf_str_add(out, texts ? "],\"token_strs\":[" : "],\"token_strs\":null");
    for (size_t i = 0; texts && i < ids->count; i++) {
        rwf_str_clear(&text);
        tokenizer_decode(a->tokenizer, &ids->ids[i], 1, &text);
        rwf_str_add(out, i > 0 ? "," : "");
        api__text(out, text.data == NULL ? "" : text.data, text.len);
    }
    rwf_str_add(out, texts ? "]}" : "}");
    rwf_str_free(&text);
}

void api__tokenize(struct llm_api *a, struct http_request *r, json_t *request)
{
    struct rwf_str out = {NULL, 0, 0};
    struct rwf_err err = RWF_ERR_INIT;
    struct tokenizer_ids ids = {0};
    const char *param = NULL;

    if (ids_to_tell(a, request, &ids, &param, &err) != 0) {
        api__refuse(r, param, &err);
    } else {
        add_tokens(a, &out, &ids,
                   json_is_true(json_object_get(request, "return_token_strs")));
        http_reply(r, 200, "application/json", out.data, out.len);
    }
    free(ids.ids);
    rwf_str_free(&out);
    json_decref(request);
}

void api__detokenize(struct llm_api *a, struct http_request *r, json_t *request)
{
    struct rwf_str text = {NULL, 0, 0}, out = {NULL, 0, 0};
    const json_t *given = json_object_get(request, "tokens"), *tokens = given;
    struct rwf_err err = RWF_ERR_INIT;
    struct job_prompt *ids = NULL;
    int count = 0;

    if (json_is_array(tokens) && json_array_size(tokens) > 0 &&
        !json_is_integer(json_array_get(tokens, 0)))
        tokens = NULL;
    if (json_is_array(tokens) && json_array_size(tokens) == 0) {
        http_reply(r, 200, "application/json", "{\"prompt\":\"\"}", 13);
    } else if (!json_is_array(tokens) ||
               api__prompts(a, request, "tokens", &ids, &count, &err) != 0) {
        if (err.text[0] == '\0')
            rwf_fail(&err, given == NULL ? API_MISSING : API_TYPE, "tokens: a list of ids");
        api__refuse(r, "tokens", &err);
    } else {
        tokenizer_decode(a->tokenizer, ids[0].ids, (size_t)ids[0].count, &text);
        rwf_str_add(&out, "{\"prompt\":");
        api__text(&out, text.data == NULL ? "" : text.data, text.len);
        rwf_str_addc(&out, '}');
        http_reply(r, 200, "application/json", out.data, out.len);
    }
    api__prompts_free(ids, count);
    rwf_str_free(&text);
    rwf_str_free(&out);
    json_decref(request);
}
