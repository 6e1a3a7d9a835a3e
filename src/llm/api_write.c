/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "llm/api_impl.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "llm/json_text.h"

void api__text(struct rwf_str *out, const char *text, size_t len)
{
    json_text_add_string(out, text, len);
}

void api__head(const struct job *j, struct rwf_str *out, const char *object)
{
    rwf_str_addf(out,
                 "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%lld,\"model\":", j->id,
                 object, (long long)j->created);
    api__text(out, j->api->names[0], strlen(j->api->names[0]));
    rwf_str_addc(out, ',');
}

void api__usage(const struct job *j, struct rwf_str *out)
{
    int prompt = 0, cached = 0, generated = 0;

    /* Choices of one prompt share it. */
    for (int i = 0; i < j->count; i++) {
        generated += j->choices[i].tokens;
        if (i % (int)j->params.n == 0) {
            prompt += j->choices[i].times.prompt;
            cached += j->choices[i].cached;
        }
    }
    rwf_str_addf(out,
                 "{\"prompt_tokens\":%d,\"total_tokens\":%d,\"completion_tokens\":%d,"
                 "\"prompt_tokens_details\":{\"cached_tokens\":%d}}",
                 prompt, prompt + generated, generated, cached);
}

double api__logprob(float logprob)
{
    return isfinite(logprob) ? (double)logprob : -9999.0;
}

void api__prompt_member(const struct job *j, struct rwf_str *out,
                        const struct choice *c)
{
    if (j->params.prompt_logprobs >= 0)
        rwf_str_addf(out, "\"prompt_logprobs\":[null%s],",
                     c->prompt_logprobs.len > 0 ? c->prompt_logprobs.data : "");
}

void api__token_name(const struct job *j, struct rwf_str *out, int32_t id,
                     const struct rwf_str *text)
{
    if (j->params.tokens_as_ids)
        rwf_str_addf(out, "\"token_id:%d\"", id);
    else
        api__text(out, text->data == NULL ? "" : text->data, text->len);
}

void api__token(const struct job *j, struct rwf_str *out, const struct llm_logprob *l)
{
    struct rwf_str bytes = {NULL, 0, 0};

    tokenizer_decode(j->api->tokenizer, &l->id, 1, &bytes);
    rwf_str_add(out, "{\"token\":");
    api__token_name(j, out, l->id, &bytes);
    rwf_str_addf(out, ",\"logprob\":%.9g,\"bytes\":[", api__logprob(l->logprob));
    for (size_t i = 0; i < bytes.len; i++)
        rwf_str_addf(out, "%s%u", i > 0 ? "," : "", (uint8_t)bytes.data[i]);
    rwf_str_add(out, "]");
    rwf_str_free(&bytes);
}

void api__event(struct job *j, const char *json, size_t len)
{
    rwf_str_add(&j->out, "data: ");
    rwf_str_addn(&j->out, json, len);
    rwf_str_add(&j->out, "\n\n");
}

/* What OpenAI calls it; of others it says nothing. */
static const struct {
    int code, status;
    const char *name;
} kinds[] = {
    {RWF_E_USAGE, 400, "invalid_value"},
    {RWF_E_FIT, 400, "context_length_exceeded"},
    {API_UNSUPPORTED, 400, "unsupported_parameter"},
    {API_MISSING, 400, "missing_required_parameter"},
    {API_TYPE, 400, "invalid_type"},
    {RWF_E_ENV, 503, "server_unavailable"},
};

void api__refuse(struct http_request *r, const char *param, const struct rwf_err *err)
{
    for (size_t i = 0; i < RWF_COUNT(kinds); i++)
        if (kinds[i].code == err->code) {
            api__error(r, kinds[i].status, kinds[i].name, kinds[i].status < 500 ? param : NULL,
                       err->text);
            return;
        }
    api__error(r, 500, NULL, NULL, err->text);
}

void api__add_error(struct rwf_str *out, int status, const char *code, const char *param,
                    const char *message)
{
    rwf_str_add(out, "{\"error\":{\"message\":");
    api__text(out, message, strlen(message));
    rwf_str_addf(out, ",\"type\":\"%s\",\"param\":",
                 status < 500 ? "invalid_request_error" : "server_error");
    if (param != NULL)
        api__text(out, param, strlen(param));
    else
        rwf_str_add(out, "null");
    if (code != NULL)
        rwf_str_addf(out, ",\"code\":\"%s\"}}", code);
    else
        rwf_str_add(out, ",\"code\":null}}");
}

void api__error(struct http_request *r, int status, const char *code, const char *param,
                const char *message)
{
    struct rwf_str out = {NULL, 0, 0};

    api__add_error(&out, status, code, param, message);
    http_reply(r, status, "application/json", out.data, out.len);
    rwf_str_free(&out);
}
