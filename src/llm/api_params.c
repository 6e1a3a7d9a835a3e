/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "llm/api_params.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/mem.h"

/* --- plain values --- */

enum kind { REAL, WHOLE, FLAG };

#define AT(field) offsetof(struct api_params, field)

static const struct {
    const char *name;
    enum kind kind;
    size_t at;
    double least, most;
    bool above; /* least itself is too little */
} fields[] = {
    {"temperature", REAL, AT(temperature), 0, 100, false},
    {"top_p", REAL, AT(top_p), 0, 1, true},
    {"min_p", REAL, AT(min_p), 0, 1, false},
    {"repetition_penalty", REAL, AT(repetition), 0, 100, true},
    {"presence_penalty", REAL, AT(presence), -2, 2, false},
    {"frequency_penalty", REAL, AT(frequency), -2, 2, false},
    {"top_k", WHOLE, AT(top_k), -1, INT32_MAX, false},
    {"seed", WHOLE, AT(seed), -9.3e18, 9.3e18, false},
    {"max_tokens", WHOLE, AT(max_tokens), 0, INT32_MAX, false},
    {"max_completion_tokens", WHOLE, AT(max_tokens), 1, INT32_MAX, false},
    {"min_tokens", WHOLE, AT(min_tokens), 0, INT32_MAX, false},
    {"n", WHOLE, AT(n), 1, 128, false},
    {"prompt_logprobs", WHOLE, AT(prompt_logprobs), 0, 20, false},
    {"priority", WHOLE, AT(priority), -1e9, 1e9, false},
    {"truncate_prompt_tokens", WHOLE, AT(truncate), -1, INT32_MAX, false},
    {"stream", FLAG, AT(stream), 0, 0, false},
    {"ignore_eos", FLAG, AT(ignore_eos), 0, 0, false},
    {"echo", FLAG, AT(echo), 0, 0, false},
    {"skip_special_tokens", FLAG, AT(skip_special), 0, 0, false},
    {"include_stop_str_in_output", FLAG, AT(include_stop), 0, 0, false},
    {"return_tokens_as_token_ids", FLAG, AT(tokens_as_ids), 0, 0, false},
    {"parallel_tool_calls", FLAG, AT(several_calls), 0, 0, false},
    {"include_reasoning", FLAG, AT(thoughts), 0, 0, false},
};

static int bad(struct rwf_err *err, const char *name, const char *what)
{
    return rwf_fail(err, RWF_E_USAGE, "%s: %s", name, what);
}

static int bad_type(struct rwf_err *err, const char *name, const char *what)
{
    return rwf_fail(err, API_TYPE, "%s: %s", name, what);
}

static int read_number(const char *name, const json_t *v, double least, double most,
                       bool above, bool whole, struct rwf_err *err)
{
    double x = json_number_value(v);

    if (!json_is_number(v) || (whole && !json_is_integer(v)))
        return bad_type(err, name, whole ? "a whole number" : "a number");
    if (x < least || x > most || (above && x <= least) || isnan(x))
        return rwf_fail(err, RWF_E_USAGE,
                        "%s: %.17g is out of range: %s %.10g and at most %.10g", name,
                        x, above ? "above" : "at least", least, most);
    return 0;
}

static int read_field(struct api_params *p, size_t i, const json_t *v,
                      struct rwf_err *err)
{
    char *to = (char *)p + fields[i].at;

    if (fields[i].kind == FLAG) {
        if (!json_is_boolean(v))
            return bad_type(err, fields[i].name, "true or false");
        *(bool *)to = json_is_true(v);
        return 0;
    }
    if (read_number(fields[i].name, v, fields[i].least, fields[i].most, fields[i].above,
                    fields[i].kind == WHOLE, err) != 0)
        return -1;
    if (fields[i].kind == REAL)
        *(double *)to = json_number_value(v);
    else
        *(int64_t *)to = json_integer_value(v);
    return 0;
}

/* only: the names that count; NULL: all. */
static int read_fields(struct api_params *p, const json_t *request, const char *const *only,
                       const char **ret_param, struct rwf_err *err)
{
    for (size_t i = 0; i < RWF_COUNT(fields); i++) {
        const json_t *v = json_object_get(request, fields[i].name);
        const char *const *name = only;
        while (name != NULL && *name != NULL && strcmp(*name, fields[i].name) != 0)
            name++;
        if (name != NULL && *name == NULL)
            continue;
        *ret_param = fields[i].name;
        if (v != NULL && !json_is_null(v) && read_field(p, i, v, err) != 0)
            return -1;
    }
    return 0;
}

/* --- lists --- */

static int add_stop(struct api_params *p, const json_t *v, struct rwf_err *err)
{
    if (!json_is_string(v))
        return bad_type(err, "stop", "a text, or a list of texts");
    if (json_string_length(v) == 0)
        return bad(err, "stop", "a text that is empty stops nothing");
    p->stops[p->stop_count++] = json_string_value(v);
    return 0;
}

static int read_stop(struct api_params *p, const json_t *v, struct rwf_err *err)
{
    if (v == NULL || json_is_null(v))
        return 0;
    if (json_is_string(v))
        return add_stop(p, v, err);
    if (!json_is_array(v))
        return bad_type(err, "stop", "a text, or a list of texts");
    if (json_array_size(v) > PARAMS_STOPS_MAX)
        return bad(err, "stop", "a text, or a list of at most 64");
    for (size_t i = 0; i < json_array_size(v); i++)
        if (add_stop(p, json_array_get(v, i), err) != 0)
            return -1;
    return 0;
}

static int read_stop_ids(struct api_params *p, const json_t *v, int64_t vocab,
                         struct rwf_err *err)
{
    if (v == NULL || json_is_null(v))
        return 0;
    if (!json_is_array(v) || json_array_size(v) > 4096)
        return bad(err, "stop_token_ids", "a list of at most 4096 ids");
    p->stop_ids = rwf_xcalloc(json_array_size(v) + 1, sizeof(*p->stop_ids));
    for (size_t i = 0; i < json_array_size(v); i++) {
        const json_t *id = json_array_get(v, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) >= vocab)
            return rwf_fail(
                err, RWF_E_USAGE,
                "stop_token_ids: item %zu is no id of this model (0 to %lld)", i,
                (long long)vocab - 1);
        p->stop_ids[p->stop_id_count++] = (int32_t)json_integer_value(id);
    }
    return 0;
}

/* In its one spelling, so that no two keys are the same id; -1: it is none. */
static int64_t read_id(const char *text)
{
    size_t len = strlen(text);

    if (len == 0 || len > 10 || strspn(text, "0123456789") != len ||
        (len > 1 && *text == '0'))
        return -1;
    return strtoll(text, NULL, 10);
}

static int read_bias(struct api_params *p, const json_t *v, int64_t vocab,
                     struct rwf_err *err)
{
    const char *key;
    json_t *value;

    if (v == NULL || json_is_null(v))
        return 0;
    if (!json_is_object(v))
        return bad_type(err, "logit_bias", "an object {\"id\": bias}");
    p->bias = rwf_xcalloc(json_object_size(v) + 1, sizeof(*p->bias));
    json_object_foreach((json_t *)(uintptr_t)v, key, value) {
        int64_t id = read_id(key);
        if (id < 0 || id >= vocab)
            return rwf_fail(err, RWF_E_USAGE,
                            "logit_bias: '%.40s' is no id of this model", key);
        if (read_number("logit_bias", value, -100, 100, false, false, err) != 0)
            return -1;
        p->bias[p->bias_count++] =
            (struct kernel_edit){0, (int32_t)id, 1, (float)json_number_value(value)};
    }
    return 0;
}

static int read_logprobs(struct api_params *p, const json_t *request, bool chat,
                         const char **ret_param, struct rwf_err *err)
{
    const json_t *v = json_object_get(request, "logprobs");
    const json_t *top = json_object_get(request, "top_logprobs");

    *ret_param = "logprobs";
    if (chat && v != NULL && !json_is_null(v) && !json_is_boolean(v))
        return bad_type(err, "logprobs", "true or false (top_logprobs says how many)");
    if (chat && json_is_true(v))
        p->logprobs = 0;
    *ret_param = chat ? "top_logprobs" : "logprobs";
    const json_t *count = chat ? top : v;
    if (count == NULL || json_is_null(count))
        return 0;
    if (read_number(*ret_param, count, 0, 20, false, true, err) != 0)
        return -1;
    if (chat && p->logprobs < 0)
        return json_integer_value(count) == 0
                   ? 0
                   : bad(err, "top_logprobs", "needs logprobs: true");
    p->logprobs = json_integer_value(count);
    return 0;
}

static int read_stream_options(struct api_params *p, const json_t *v,
                               struct rwf_err *err)
{
    if (v == NULL || json_is_null(v))
        return 0;
    if (!json_is_object(v) || !p->stream)
        return bad(err, "stream_options",
                   p->stream ? "an object" : "only with stream: true");
    const json_t *usage = json_object_get(v, "include_usage");
    const json_t *always = json_object_get(v, "continuous_usage_stats");
    if ((usage != NULL && !json_is_null(usage) && !json_is_boolean(usage)) ||
        (always != NULL && !json_is_null(always) && !json_is_boolean(always)))
        return bad(err, "stream_options",
                   "include_usage and continuous_usage_stats are true or false");
    p->include_usage = json_is_true(usage);
    p->continuous_usage = json_is_true(always);
    return 0;
}

static int refuse_best_of(const struct api_params *p, const json_t *request,
                          const char **ret_param, struct rwf_err *err)
{
    const json_t *best = json_object_get(request, "best_of");

    *ret_param = "best_of";
    if (best != NULL && !json_is_null(best) && json_integer_value(best) != p->n)
        return rwf_fail(err, API_UNSUPPORTED,
                        "best_of is not supported: n says how many replies are made");
    return 0;
}

static int check_truncate(const struct api_params *p, const char **ret_param,
                          struct rwf_err *err)
{
    *ret_param = "truncate_prompt_tokens";
    return p->truncate == 0
               ? bad(err, "truncate_prompt_tokens",
                     "at least 1, or -1 for as many as there is room for")
               : 0;
}

static int check_together(const struct api_params *p, const char **ret_param,
                          struct rwf_err *err)
{
    *ret_param = "max_tokens";
    if (p->max_tokens == 0 && !p->echo)
        return bad(err, "max_tokens", "0 is out of range: at least 1 (0 with echo: true)");
    if (check_truncate(p, ret_param, err) != 0)
        return -1;
    *ret_param = "min_tokens";
    if (p->max_tokens >= 0 && p->min_tokens > p->max_tokens)
        return bad(err, "min_tokens", "more than max_tokens");
    *ret_param = "prompt_logprobs";
    if (p->prompt_logprobs >= 0 && p->stream)
        return bad(err, "prompt_logprobs", "not with stream: true");
    *ret_param = "n";
    if (p->n > 1 && p->temperature == 0)
        return bad(err, "n", "temperature 0 gives the same every time: use n 1");
    return 0;
}

static int read_all(struct api_params *p, const json_t *request,
                    const struct api_defaults *d, const char **ret_param,
                    struct rwf_err *err)
{
    if (read_fields(p, request, NULL, ret_param, err) != 0 ||
        read_logprobs(p, request, d->chat, ret_param, err) != 0)
        return -1;
    *ret_param = "stop";
    if (read_stop(p, json_object_get(request, "stop"), err) != 0)
        return -1;
    *ret_param = "stop_token_ids";
    if (read_stop_ids(p, json_object_get(request, "stop_token_ids"), d->config->vocab,
                      err) != 0)
        return -1;
    *ret_param = "logit_bias";
    if (read_bias(p, json_object_get(request, "logit_bias"), d->config->vocab, err) !=
        0)
        return -1;
    *ret_param = "stream_options";
    if (read_stream_options(p, json_object_get(request, "stream_options"), err) != 0)
        return -1;
    if (refuse_best_of(p, request, ret_param, err) != 0)
        return -1;
    return check_together(p, ret_param, err);
}

int api_params_read(struct api_params *p, const json_t *request,
                    const struct api_defaults *d, const char **ret_param,
                    struct rwf_err *err)
{
    const struct llm_config *c = d->config;

    *p = (struct api_params){
        .temperature = c->temperature,
        .top_p = c->top_p,
        .min_p = c->min_p,
        .top_k = c->top_k,
        .repetition = c->repetition,
        .seed = INT64_MIN,
        .max_tokens = d->max_tokens,
        .n = 1,
        .logprobs = -1,
        .prompt_logprobs = -1,
        .truncate = INT64_MAX,
        .skip_special = true,
        .several_calls = true,
        .thoughts = true,
    };
    if (read_all(p, request, d, ret_param, err) != 0) {
        api_params_free(p);
        return -1;
    }
    if (p->seed == INT64_MIN && d->seed != NULL)
        p->seed = *d->seed;
    else if (p->seed == INT64_MIN && getrandom(&p->seed, sizeof(p->seed), 0) < 0)
        p->seed = 1;
    return 0;
}

int api_params_read_embed(struct api_params *p, const json_t *request, const char **ret_param,
                          struct rwf_err *err)
{
    static const char *const only[] = {"priority", "truncate_prompt_tokens", NULL};

    *p = (struct api_params){
        .n = 1,
        .logprobs = -1,
        .prompt_logprobs = -1,
        .top_p = 1,
        .repetition = 1,
        .truncate = INT64_MAX,
    };
    return read_fields(p, request, only, ret_param, err) != 0 ? -1
                                                              : check_truncate(p, ret_param, err);
}

void api_params_free(struct api_params *p)
{
    free(p->stop_ids);
    free(p->bias);
    p->stop_ids = NULL;
    p->bias = NULL;
}

void api_params_sampling(const struct api_params *p, int number,
                         struct llm_sampling *ret)
{
    *ret = (struct llm_sampling){
        .temperature = p->temperature,
        .top_p = p->top_p,
        .min_p = p->min_p,
        .top_k = p->top_k > 0 ? (int)p->top_k : 0,
        .repetition = p->repetition,
        .presence = p->presence,
        .frequency = p->frequency,
        .bias = p->bias,
        .bias_count = p->bias_count,
        .seed = (uint64_t)p->seed + (uint64_t)number,
        /* With 0 the one that is made is not told. */
        .max_tokens = p->max_tokens < 0    ? INT32_MAX
                      : p->max_tokens == 0 ? 1
                                           : (int)p->max_tokens,
        .min_tokens = (int)p->min_tokens,
        .stops = p->stop_ids,
        .stop_count = p->stop_id_count,
        .ignore_end = p->ignore_eos,
        .logprobs = (int)p->logprobs,
        .prompt_logprobs =
            (int)(p->echo && p->logprobs > p->prompt_logprobs ? p->logprobs
                                                              : p->prompt_logprobs),
    };
}
