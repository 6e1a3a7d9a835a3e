/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "llm/api_names.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/suggest.h"
#include "llm/api_params.h"

#define TOLD_MAX 256 /* clients choose the names */
#define NAME_MAX_TOLD 64

#define ASK (API_CHAT | API_COMPLETE)
#define ALL (ASK | API_EMBED)
#define TEXTS (API_CHAT | API_TOKENIZE)
#define EACH_ONE (ALL | API_TOKENIZE | API_DETOKENIZE)

enum treatment {
    READ, /* by whoever it belongs to */
    IDLE, /* what it asks for changes no answer here */
    REFUSED,
};

/* harmless: a value, as JSON, that asks for what is done anyway. */
static const struct name {
    const char *name;
    unsigned where;
    enum treatment treatment;
    const char *harmless, *instead; /* instead: what to do; or NULL */
} names[] = {
    {"model", EACH_ONE, READ, NULL, NULL},
    {"messages", TEXTS, READ, NULL, NULL},
    {"tools", TEXTS, READ, NULL, NULL},
    {"tool_choice", TEXTS, READ, NULL, NULL},
    {"add_generation_prompt", TEXTS, READ, NULL, NULL},
    {"continue_final_message", TEXTS, READ, NULL, NULL},
    {"chat_template_kwargs", TEXTS, READ, NULL, NULL},
    {"reasoning_effort", TEXTS, READ, NULL, NULL},
    {"prompt", API_COMPLETE | API_TOKENIZE, READ, NULL, NULL},
    {"return_token_strs", API_TOKENIZE, READ, NULL, NULL},
    {"tokens", API_DETOKENIZE, READ, NULL, NULL},
    {"input", API_EMBED, READ, NULL, NULL},
    {"encoding_format", API_EMBED, READ, NULL, NULL},
    {"dimensions", API_EMBED, READ, NULL, NULL},
    {"priority", ALL, READ, NULL, NULL},
    {"truncate_prompt_tokens", ALL, READ, NULL, NULL},
    {"temperature", ASK, READ, NULL, NULL},
    {"top_p", ASK, READ, NULL, NULL},
    {"top_k", ASK, READ, NULL, NULL},
    {"min_p", ASK, READ, NULL, NULL},
    {"repetition_penalty", ASK, READ, NULL, NULL},
    {"presence_penalty", ASK, READ, NULL, NULL},
    {"frequency_penalty", ASK, READ, NULL, NULL},
    {"logit_bias", ASK, READ, NULL, NULL},
    {"seed", ASK, READ, NULL, NULL},
    {"max_tokens", ASK, READ, NULL, NULL},
    {"max_completion_tokens", API_CHAT, READ, NULL, NULL},
    {"min_tokens", ASK, READ, NULL, NULL},
    {"n", ASK, READ, NULL, NULL},
    {"best_of", ASK, READ, NULL, NULL},
    {"stop", ASK, READ, NULL, NULL},
    {"stop_token_ids", ASK, READ, NULL, NULL},
    {"include_stop_str_in_output", ASK, READ, NULL, NULL},
    {"ignore_eos", ASK, READ, NULL, NULL},
    {"skip_special_tokens", ASK, READ, NULL, NULL},
    {"logprobs", ASK, READ, NULL, NULL},
    {"top_logprobs", API_CHAT, READ, NULL, NULL},
    {"prompt_logprobs", ASK, READ, NULL, NULL},
    {"return_tokens_as_token_ids", ASK, READ, NULL, NULL},
    {"stream", ASK, READ, NULL, NULL},
    {"stream_options", ASK, READ, NULL, NULL},
    {"response_format", ASK, READ, NULL, NULL},
    {"structured_outputs", ASK, READ, NULL, NULL},
    {"guided_json", ASK, READ, NULL, NULL},
    {"guided_choice", ASK, READ, NULL, NULL},
    {"parallel_tool_calls", API_CHAT, READ, NULL, NULL},
    {"include_reasoning", API_CHAT, READ, NULL, NULL},

    {"user", ALL, IDLE, NULL, NULL},
    {"safety_identifier", API_CHAT, IDLE, NULL, NULL},
    {"metadata", ASK, IDLE, NULL, NULL},
    {"store", API_CHAT, IDLE, NULL, NULL},
    {"service_tier", ASK, IDLE, NULL, NULL},
    {"prompt_cache_key", API_CHAT, IDLE, NULL, NULL},
    {"prompt_cache_retention", API_CHAT, IDLE, NULL, NULL},
    {"prediction", API_CHAT, IDLE, NULL, NULL},
    {"request_id", ALL, IDLE, NULL, NULL},
    {"guided_decoding_backend", ASK, IDLE, NULL, NULL},
    {"spaces_between_special_tokens", ASK, IDLE, NULL, NULL},
    {"add_special_tokens", API_COMPLETE | API_EMBED | API_TOKENIZE, READ, NULL, NULL},
    {"add_special_tokens", API_CHAT, REFUSED, "false", "a chat's template has them all"},
    {"length_penalty", ASK, IDLE, NULL, NULL}, /* of beam search, as the next is */
    {"early_stopping", ASK, IDLE, NULL, NULL},

    {"echo", API_COMPLETE, READ, NULL, NULL},
    {"echo", API_CHAT, REFUSED, "false", "it is for completions"},
    {"suffix", API_COMPLETE, REFUSED, "\"\"", "filling in the middle is not known"},
    {"use_beam_search", ASK, REFUSED, "false", NULL},
    {"guided_regex", ASK, REFUSED, NULL, "guided_json and guided_choice are there"},
    {"guided_grammar", ASK, REFUSED, NULL, "guided_json and guided_choice are there"},
    {"guided_whitespace_pattern", ASK, REFUSED, NULL, NULL},
    {"structural_tag", ASK, REFUSED, NULL, NULL},
    {"functions", API_CHAT, REFUSED, NULL, "tools is what took its place"},
    {"function_call", API_CHAT, REFUSED, NULL, "tool_choice is what took its place"},
    {"audio", API_CHAT, REFUSED, NULL, "the model writes text"},
    {"modalities", API_CHAT, REFUSED, "[\"text\"]", "the model writes text"},
    {"verbosity", API_CHAT, REFUSED, "\"medium\"", "say it in the prompt"},
    {"web_search_options", API_CHAT, REFUSED, NULL, NULL},
    {"documents", TEXTS, REFUSED, "[]", "put them into a message"},
    {"chat_template", TEXTS, REFUSED, NULL, "raywf serve --chat-template chooses one"},
    {"mm_processor_kwargs", TEXTS, REFUSED, "{}", NULL},
    {"prompt_embeds", API_COMPLETE, REFUSED, NULL, NULL},
    {"bad_words", ASK, REFUSED, "[]", "logit_bias can forbid tokens"},
    {"allowed_token_ids", ASK, REFUSED, NULL, "guided_choice can say what is allowed"},
    {"logits_processors", ASK, REFUSED, "[]", NULL},
    {"return_token_ids", ASK, REFUSED, "false", "return_tokens_as_token_ids is there"},
    {"thinking_token_budget", API_CHAT, REFUSED, NULL, "max_tokens holds for all"},
    {"cache_salt", ALL, REFUSED, NULL, "raywf serve --no-enable-prefix-caching shares none"},
    {"kv_transfer_params", ASK, REFUSED, NULL, NULL},
    {"vllm_xargs", ASK, REFUSED, "{}", NULL},
    {"normalize", API_EMBED, REFUSED, "true", "embeddings have the length 1"},
    {"use_activation", API_EMBED, REFUSED, "true", "embeddings have the length 1"},
    {"embed_dtype", API_EMBED, REFUSED, "\"float32\"", NULL},
    {"endianness", API_EMBED, REFUSED, "\"little\"", NULL},
};

struct api_names {
    char *told[TOLD_MAX];
    size_t count;
};

struct api_names *api_names_create(void)
{
    return rwf_xcalloc(1, sizeof(struct api_names));
}

void api_names_destroy(struct api_names *n)
{
    if (n == NULL)
        return;
    for (size_t i = 0; i < n->count; i++)
        free(n->told[i]);
    free(n);
}

static const struct name *find(unsigned where, const char *name)
{
    for (size_t i = 0; i < RWF_COUNT(names); i++)
        if ((names[i].where & where) != 0 && strcmp(names[i].name, name) == 0)
            return &names[i];
    return NULL;
}

/* True the first time; a client that makes names up fills no log. */
static bool is_new(struct api_names *n, const char *name)
{
    for (size_t i = 0; i < n->count; i++)
        if (strcmp(n->told[i], name) == 0)
            return false;
    if (n->count == TOLD_MAX)
        return false;
    n->told[n->count++] = rwf_xstrdup(name);
    return true;
}

static const char *near(unsigned where, const char *name)
{
    struct rwf_suggest s;

    rwf_suggest_init(&s, name);
    for (size_t i = 0; i < RWF_COUNT(names); i++)
        if ((names[i].where & where) != 0 && names[i].treatment != REFUSED)
            rwf_suggest_try(&s, names[i].name);
    return rwf_suggest_best(&s);
}

/* within: an object of the request; or NULL */
static void tell(struct api_names *n, const char *within, const char *given, const char *meant)
{
    char name[NAME_MAX_TOLD + 1];

    snprintf(name, sizeof(name), "%s%s%s", within != NULL ? within : "", within != NULL ? "." : "",
             given);
    for (char *at = name; *at != '\0'; at++)
        if ((unsigned char)*at < ' ' || *at == 0x7f) /* no line of its own in the log */
            *at = '?';
    if (!is_new(n, name))
        return;
    rwf_log(RWF_LOG_WARN, "llm",
            "a request's parameter '%s' is not known and changes nothing%s%s%s (told once)",
            name, meant != NULL ? "; did they mean " : "", meant != NULL ? meant : "",
            meant != NULL ? "?" : "");
}

static bool is_harmless(const struct name *n, const json_t *value)
{
    if (json_is_null(value))
        return true;
    json_t *harmless = json_loads(n->harmless == NULL ? "null" : n->harmless, JSON_DECODE_ANY, NULL);
    bool same = json_equal(harmless, value);
    json_decref(harmless);
    return same;
}

/* Objects within the request. */
static const struct {
    const char *name, *known[4];
} nested[] = {
    {"stream_options", {"include_usage", "continuous_usage_stats", "include_obfuscation"}},
    {"chat_template_kwargs", {"enable_thinking"}},
};

static void check_nested(struct api_names *n, const char *name, const json_t *object)
{
    const char *key;
    json_t *value;

    for (size_t i = 0; i < RWF_COUNT(nested); i++) {
        if (strcmp(nested[i].name, name) != 0)
            continue;
        json_object_foreach((json_t *)(uintptr_t)object, key, value) {
            struct rwf_suggest s;
            bool known = false;
            rwf_suggest_init(&s, key);
            for (size_t k = 0; k < RWF_COUNT(nested[i].known) && nested[i].known[k] != NULL; k++) {
                known = known || strcmp(nested[i].known[k], key) == 0;
                rwf_suggest_try(&s, nested[i].known[k]);
            }
            if (!known)
                tell(n, name, key, rwf_suggest_best(&s));
        }
    }
}

int api_names_check(struct api_names *n, unsigned where, const json_t *request,
                    const char **ret_param, struct rwf_err *err)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)request, key, value) {
        const struct name *known = find(where, key);
        check_nested(n, key, value);
        if (known == NULL) {
            tell(n, NULL, key, near(where, key));
        } else if (known->treatment == REFUSED && !is_harmless(known, value)) {
            *ret_param = known->name;
            return rwf_fail(err, API_UNSUPPORTED, "%s is not supported%s%s", known->name,
                            known->instead != NULL ? ": " : "",
                            known->instead != NULL ? known->instead : "");
        }
    }
    return 0;
}
