/* SPDX-License-Identifier: Apache-2.0
 *
 * POST /v1/embeddings: the last token's state, or its first `dimensions` numbers, of length 1.
 */
#include "config.h"

#include "llm/api_impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/mem.h"

static void normalise(float *e, int width)
{
    double squares = 0;

    for (int i = 0; i < width; i++)
        squares += (double)e[i] * (double)e[i];
    double scale = squares > 0 ? 1 / sqrt(squares) : 0;
    for (int i = 0; i < width; i++)
        e[i] = (float)((double)e[i] * scale);
}

static void add_numbers(struct rwf_str *out, const float *e, int width)
{
    rwf_str_addc(out, '[');
    for (int i = 0; i < width; i++)
        rwf_str_addf(out, "%s%.9g", i > 0 ? "," : "", (double)e[i]);
    rwf_str_addc(out, ']');
}

/* Little-endian floats, as the official client asks for. */
static void add_base64(struct rwf_str *out, const float *e, int width)
{
    size_t bytes = (size_t)width * sizeof(*e);
    unsigned char *text = rwf_xmalloc(bytes * 4 / 3 + 8);

    EVP_EncodeBlock(text, (const unsigned char *)e, (int)bytes);
    rwf_str_addf(out, "\"%s\"", text);
    free(text);
}

static bool wants_base64(const struct job *j)
{
    const char *format =
        json_string_value(json_object_get(j->request, "encoding_format"));

    return format != NULL && strcmp(format, "base64") == 0;
}

static void whole(struct job *j, struct rwf_str *out)
{
    json_int_t wanted = json_integer_value(json_object_get(j->request, "dimensions"));
    int prompt = 0;

    rwf_str_add(out, "{\"object\":\"list\",\"data\":[");
    for (int i = 0; i < j->count; i++) {
        struct choice *c = &j->choices[i];
        if (wanted > 0 && wanted < c->embedding_width)
            c->embedding_width = (int)wanted;
        normalise(c->embedding, c->embedding_width);
        rwf_str_addf(out, "%s{\"object\":\"embedding\",\"index\":%d,\"embedding\":",
                     i > 0 ? "," : "", i);
        (wants_base64(j) ? add_base64 : add_numbers)(out, c->embedding,
                                                     c->embedding_width);
        rwf_str_addc(out, '}');
        prompt += c->times.prompt;
    }
    rwf_str_add(out, "],\"model\":");
    api__text(out, j->api->names[0], strlen(j->api->names[0]));
    rwf_str_addf(out, ",\"usage\":{\"prompt_tokens\":%d,\"total_tokens\":%d}}", prompt,
                 prompt);
}

static const struct job_ops embed_ops = {.name = "embedding", .whole = whole};

static int check(const struct llm_api *a, const json_t *request, const char **ret_param,
                 struct rwf_err *err)
{
    const json_t *width = json_object_get(request, "dimensions");
    json_int_t wanted = json_integer_value(width);
    const json_t *format = json_object_get(request, "encoding_format");
    const char *word = json_string_value(format);

    *ret_param = "dimensions";
    if (width != NULL && !json_is_null(width) &&
        (!json_is_integer(width) || wanted < 1 || wanted > a->config.hidden))
        return rwf_fail(err, RWF_E_USAGE,
                        "dimensions: this model gives %lld; fewer, from 1 on, are the first of "
                        "them",
                        (long long)a->config.hidden);
    *ret_param = "encoding_format";
    if (format != NULL && !json_is_null(format) &&
        (word == NULL || (strcmp(word, "float") != 0 && strcmp(word, "base64") != 0)))
        return rwf_fail(err, RWF_E_USAGE, "encoding_format: float or base64");
    return 0;
}

void api__embed(struct llm_api *a, struct http_request *r, json_t *request)
{
    struct job *j = api__job_create(a, &embed_ops, r, request, "embd");
    struct rwf_err err = RWF_ERR_INIT;
    struct job_prompt *prompts = NULL;
    const char *param = "input";
    int count = 0;

    if (api_params_read_embed(&j->params, request, &param, &err) != 0 ||
        check(a, request, &param, &err) != 0) {
        api__job_refuse(j, param, &err);
        return;
    }
    if (api__prompts(a, request, "input", &prompts, &count, &err) != 0)
        api__job_refuse(j, "input", &err);
    else
        api__job_start(j, &(struct job_plan){.prompts = prompts,
                                             .prompt_count = count,
                                             .embed = true});
    api__prompts_free(prompts, count);
}
