/* SPDX-License-Identifier: Apache-2.0
 *
 * POST /v1/chat/completions.
 */
#include "config.h"

#include "llm/api_impl.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "llm/json_text.h"

/* --- writing --- */

static void add_text_member(struct rwf_str *out, const char *name,
                            const struct rwf_str *text)
{
    rwf_str_addf(out, "\"%s\":", name);
    api__text(out, text->data == NULL ? "" : text->data, text->len);
}

static void add_finish(struct rwf_str *out, const struct choice *c)
{
    if (c->over)
        rwf_str_addf(out, "\"finish_reason\":\"%s\"", c->finish_reason);
    else
        rwf_str_add(out, "\"finish_reason\":null");
    rwf_str_add(out, ",\"stop_reason\":");
    if (c->stop != NULL)
        api__text(out, c->stop, strlen(c->stop));
    else
        rwf_str_add(out, "null");
}

static void add_logprobs(const struct job *j, struct rwf_str *out,
                         const struct rwf_str *list)
{
    if (j->params.logprobs < 0)
        rwf_str_add(out, "\"logprobs\":null,");
    else
        rwf_str_addf(out, "\"logprobs\":{\"content\":[%s]},",
                     list->len > 0 ? list->data : "");
}

static void delta_event(struct job *j, const struct choice *c, const char *delta,
                        const struct rwf_str *logprobs, bool last)
{
    struct rwf_str out = {NULL, 0, 0};

    api__head(j, &out, j->ops->chunk);
    rwf_str_addf(&out, "\"choices\":[{\"index\":%d,\"delta\":{%s},", c->index, delta);
    add_logprobs(j, &out, logprobs);
    add_finish(&out, last ? c : &(struct choice){.over = false});
    rwf_str_add(&out, "}]");
    if (j->params.continuous_usage) {
        rwf_str_add(&out, ",\"usage\":");
        api__usage(j, &out);
    }
    rwf_str_addc(&out, '}');
    api__event(j, out.data, out.len);
    rwf_str_free(&out);
}

static void piece(struct job *j, struct choice *c, bool last)
{
    static const struct rwf_str none = {NULL, 0, 0};
    struct rwf_str delta = {NULL, 0, 0};

    if (!c->begun)
        delta_event(j, c, "\"role\":\"assistant\",\"content\":\"\"", &none, false);
    if (c->thought.len > 0)
        add_text_member(&delta, "reasoning_content", &c->thought);
    if (c->piece.len > 0) {
        rwf_str_add(&delta, delta.len > 0 ? "," : "");
        add_text_member(&delta, "content", &c->piece);
    }
    if (c->calls.len > 0)
        rwf_str_addf(&delta, "%s\"tool_calls\":[%s]", delta.len > 0 ? "," : "",
                     c->calls.data);
    if (delta.len > 0 || last || c->logprobs.len > 0)
        delta_event(j, c, delta.len > 0 ? delta.data : "", &c->logprobs, last);
    rwf_str_free(&delta);
}

static void add_message(const struct job *j, struct rwf_str *out,
                        const struct choice *c)
{
    rwf_str_addf(out, "{\"index\":%d,\"message\":{\"role\":\"assistant\",", c->index);
    if (c->whole.len == 0 && c->calls.len > 0)
        rwf_str_add(out, "\"content\":null");
    else
        add_text_member(out, "content", &c->whole);
    rwf_str_add(out, ",\"refusal\":null,");
    if (c->whole_thought.len > 0)
        add_text_member(out, "reasoning_content", &c->whole_thought);
    else
        rwf_str_add(out, "\"reasoning_content\":null");
    rwf_str_addf(out, ",\"tool_calls\":[%s]},", c->calls.len > 0 ? c->calls.data : "");
    add_logprobs(j, out, &c->whole_logprobs);
    api__prompt_member(j, out, c);
    add_finish(out, c);
    rwf_str_addc(out, '}');
}

static void whole(struct job *j, struct rwf_str *out)
{
    api__head(j, out, j->ops->object);
    rwf_str_add(out, "\"choices\":[");
    for (int i = 0; i < j->count; i++) {
        rwf_str_add(out, i > 0 ? "," : "");
        add_message(j, out, &j->choices[i]);
    }
    rwf_str_add(out, "],\"usage\":");
    api__usage(j, out);
    rwf_str_addc(out, '}');
}

static void logprobs(struct job *j, struct choice *c, const struct llm_logprob *l,
                     int count)
{
    struct rwf_str *out = &c->logprobs;

    rwf_str_add(out, out->len > 0 ? "," : "");
    api__token(j, out, &l[0]);
    rwf_str_add(out, ",\"top_logprobs\":[");
    for (int i = 1; i < count; i++) {
        rwf_str_add(out, i > 1 ? "," : "");
        api__token(j, out, &l[i]);
        rwf_str_addc(out, '}');
    }
    rwf_str_add(out, "]}");
}

static const struct job_ops chat_ops = {
    .name = "chat",
    .object = "chat.completion",
    .chunk = "chat.completion.chunk",
    .piece = piece,
    .whole = whole,
    .logprobs = logprobs,
};

/* --- the prompt --- */

/* Clients send what they do not say as null. */
static const json_t *member(const json_t *object, const char *name)
{
    const json_t *v = json_object_get(object, name);

    return json_is_null(v) ? NULL : v;
}

static int refuse_unless_list(const json_t *v, const char *name, const char **ret_param,
                              struct rwf_err *err)
{
    *ret_param = name;
    if (v == NULL || json_is_null(v) || json_is_array(v))
        return 0;
    return rwf_fail(err, API_TYPE, "%s: a list", name);
}

static int check_tools(const json_t *tools, struct rwf_err *err)
{
    for (size_t i = 0; i < json_array_size(tools); i++) {
        const json_t *tool = json_array_get(tools, i);
        const char *type = json_string_value(json_object_get(tool, "type"));
        const json_t *name = json_object_get(json_object_get(tool, "function"), "name");
        if (type == NULL || strcmp(type, "function") != 0 || !json_is_string(name))
            return rwf_fail(err, RWF_E_USAGE,
                            "tools[%zu]: {\"type\": \"function\", \"function\": "
                            "{\"name\": …, \"parameters\": …}} is the form",
                            i);
    }
    return 0;
}

static int check_kwargs(const json_t *kwargs, struct rwf_err *err)
{
    const json_t *thinking = json_object_get(kwargs, "enable_thinking");

    if (kwargs != NULL && !json_is_null(kwargs) && !json_is_object(kwargs))
        return rwf_fail(err, API_TYPE, "chat_template_kwargs: an object");
    if (thinking != NULL && !json_is_null(thinking) && !json_is_boolean(thinking))
        return rwf_fail(err, RWF_E_USAGE,
                        "chat_template_kwargs: enable_thinking is true or false");
    return 0;
}

static int check_flag(const json_t *request, const char *name, const char **ret_param,
                      struct rwf_err *err)
{
    const json_t *v = member(request, name);

    *ret_param = name;
    return v == NULL || json_is_boolean(v)
               ? 0
               : rwf_fail(err, API_TYPE, "%s: true or false", name);
}

static int check_turn(const json_t *request, const char **ret_param, struct rwf_err *err)
{
    if (check_flag(request, "add_generation_prompt", ret_param, err) != 0 ||
        check_flag(request, "continue_final_message", ret_param, err) != 0)
        return -1;
    if (json_is_true(member(request, "add_generation_prompt")) &&
        json_is_true(member(request, "continue_final_message")))
        return rwf_fail(err, RWF_E_USAGE,
                        "continue_final_message goes on with the last message, "
                        "add_generation_prompt begins another: one of them");
    return 0;
}

/* The models here think or do not: there are no degrees. enable_thinking is more exact, and
 * counts if both are there. */
static int read_effort(const json_t *request, bool *ret_none, const char **ret_param,
                       struct rwf_err *err)
{
    static const char *const words[] = {"none", "minimal", "low", "medium", "high", "xhigh"};
    const json_t *v = member(request, "reasoning_effort");
    bool known = v == NULL;

    *ret_param = "reasoning_effort";
    *ret_none = false;
    for (size_t i = 0; json_is_string(v) && i < RWF_COUNT(words); i++)
        known = known || strcmp(json_string_value(v), words[i]) == 0;
    if (!known)
        return rwf_fail(err, RWF_E_USAGE,
                        "reasoning_effort: none (no thinking), minimal, low, medium, high or xhigh");
    *ret_none = v != NULL && strcmp(json_string_value(v), words[0]) == 0;
    return 0;
}

static int encode_prompt(const struct llm_api *a, const struct chat *chat, struct tokenizer_ids *out,
                         struct rwf_err *err)
{
    struct tokenizer_ranges contents = {0};
    struct rwf_str text = {NULL, 0, 0};
    int rc = chat_prompt(chat, &text, a->escape ? &contents : NULL, err);

    if (rc == 0)
        tokenizer_encode_fenced(a->tokenizer, text.data, text.len, &contents, out);
    free(contents.items);
    rwf_str_free(&text);
    return rc;
}

int api__chat_prompt(struct llm_api *a, const json_t *request, struct chat *ret,
                     struct tokenizer_ids *out, const char **ret_param, struct rwf_err *err)
{
    const json_t *kwargs = json_object_get(request, "chat_template_kwargs");
    const json_t *thinking = json_object_get(kwargs, "enable_thinking");
    const json_t *choice = json_object_get(request, "tool_choice");
    bool none;

    *ret = (struct chat){
        .template_ = a->template_,
        .messages = json_object_get(request, "messages"),
        .tools = json_object_get(request, "tools"),
        .no_thinking = json_is_false(thinking),
        .no_prompt = json_is_false(json_object_get(request, "add_generation_prompt")),
        .go_on = json_is_true(json_object_get(request, "continue_final_message")),
    };
    *ret_param = "messages";
    if (member(request, "messages") == NULL)
        return rwf_fail(err, API_MISSING, "messages: a list with at least one message");
    if (refuse_unless_list(ret->messages, "messages", ret_param, err) != 0 ||
        refuse_unless_list(ret->tools, "tools", ret_param, err) != 0 ||
        check_tools(ret->tools, err) != 0)
        return -1;
    *ret_param = "chat_template_kwargs";
    if (check_kwargs(kwargs, err) != 0 || check_turn(request, ret_param, err) != 0 ||
        read_effort(request, &none, ret_param, err) != 0)
        return -1;
    if (thinking == NULL || json_is_null(thinking))
        ret->no_thinking = none;
    if (json_is_string(choice) && strcmp(json_string_value(choice), "none") == 0)
        ret->tools = NULL;
    *ret_param = "messages";
    return encode_prompt(a, ret, out, err);
}

/* --- what the reply must be --- */

static int response_format(const json_t *format, struct grammar **ret,
                           const char **ret_param, struct rwf_err *err)
{
    const char *type = json_string_value(json_object_get(format, "type"));
    const json_t *given = json_object_get(format, "json_schema");
    const json_t *schema = json_object_get(given, "schema");

    *ret_param = "response_format";
    if (format == NULL || json_is_null(format) ||
        (type != NULL && strcmp(type, "text") == 0))
        return 0;
    if (type != NULL && strcmp(type, "json_object") == 0)
        *ret = grammar_object();
    else if (type != NULL && strcmp(type, "json_schema") == 0 && schema != NULL)
        *ret = grammar_schema(schema, err);
    else
        return rwf_fail(
            err, RWF_E_USAGE,
            "response_format: {\"type\": \"text\"}, {\"type\": \"json_object\"} or "
            "{\"type\": \"json_schema\", \"json_schema\": {\"schema\": …}}");
    return *ret == NULL ? -1 : 0;
}

/* Exactly one of the ways to say it. */
static int check_one(const json_t *request, const json_t *outputs, const char **ret_param,
                     struct rwf_err *err)
{
    static const char *const known[] = {"json", "choice", "json_object"};
    const json_t *format = member(request, "response_format");
    const char *type = json_string_value(json_object_get(format, "type"));
    int ways = type != NULL && strcmp(type, "text") != 0;
    const char *key;
    json_t *value;

    ways += member(request, "guided_json") != NULL;
    ways += member(request, "guided_choice") != NULL;
    *ret_param = "structured_outputs";
    if (outputs != NULL && !json_is_object(outputs))
        return rwf_fail(err, API_TYPE, "structured_outputs: an object");
    json_object_foreach((json_t *)(uintptr_t)outputs, key, value) {
        bool is_known = false;
        for (size_t i = 0; i < RWF_COUNT(known); i++)
            is_known = is_known || strcmp(known[i], key) == 0;
        if (json_is_null(value) || json_is_false(value))
            continue;
        if (!is_known)
            return rwf_fail(err, API_UNSUPPORTED,
                            "structured_outputs: %s is not supported; json, json_object and "
                            "choice are",
                            key);
        ways++;
    }
    if (outputs == NULL)
        *ret_param = member(request, "guided_json") != NULL ? "guided_json" : "guided_choice";
    if (ways > 1)
        return rwf_fail(err, RWF_E_USAGE,
                        "the reply is held in %d ways: response_format, structured_outputs, "
                        "guided_json and guided_choice exclude each other",
                        ways);
    return 0;
}

/* vLLM's words for the same. */
static int guided(const json_t *request, struct grammar **ret, const char **ret_param,
                  struct rwf_err *err)
{
    const json_t *outputs = member(request, "structured_outputs");
    const json_t *schema = member(request, "guided_json");
    const json_t *choice = member(request, "guided_choice");

    schema = schema != NULL ? schema : member(outputs, "json");
    choice = choice != NULL ? choice : member(outputs, "choice");
    *ret_param = outputs != NULL  ? "structured_outputs"
                 : schema != NULL ? "guided_json"
                                  : "guided_choice";
    if (schema != NULL && json_is_string(schema)) {
        json_t *parsed = json_loads(json_string_value(schema), JSON_DECODE_ANY, NULL);
        *ret = grammar_schema(parsed, err);
        json_decref(parsed);
    } else if (schema != NULL) {
        *ret = grammar_schema(schema, err);
    } else if (choice != NULL) {
        *ret = grammar_choice(choice, err);
    } else if (json_is_true(member(outputs, "json_object"))) {
        *ret = grammar_object();
    } else {
        return 0;
    }
    return *ret == NULL ? -1 : 0;
}

static int tool_choice(const json_t *request, const json_t *tools, struct grammar **ret,
                       const char **ret_param, struct rwf_err *err)
{
    const json_t *choice = json_object_get(request, "tool_choice");
    const char *word = json_string_value(choice);
    const char *only =
        json_string_value(json_object_get(json_object_get(choice, "function"), "name"));
    bool several = !json_is_false(json_object_get(request, "parallel_tool_calls"));

    *ret_param = "tool_choice";
    if (choice == NULL || json_is_null(choice) ||
        (word != NULL && (strcmp(word, "auto") == 0 || strcmp(word, "none") == 0)))
        return 0;
    if (only == NULL && (word == NULL || strcmp(word, "required") != 0))
        return rwf_fail(err, RWF_E_USAGE,
                        "tool_choice: \"none\", \"auto\", \"required\" or "
                        "{\"type\": \"function\", \"function\": {\"name\": …}}");
    if (json_array_size(tools) == 0)
        return rwf_fail(err, RWF_E_USAGE, "tool_choice: needs tools");
    grammar_drop(*ret);
    *ret = grammar_calls(tools, only, only == NULL && several, err);
    return *ret == NULL ? -1 : 0;
}

int api__constraint(struct llm_api *a, const json_t *request, const json_t *tools,
                    struct grammar **ret, const char **ret_param, struct rwf_err *err)
{
    *ret = NULL;
    if (check_one(request, member(request, "structured_outputs"), ret_param, err) != 0 ||
        response_format(json_object_get(request, "response_format"), ret, ret_param,
                        err) != 0 ||
        (*ret == NULL && guided(request, ret, ret_param, err) != 0) ||
        tool_choice(request, tools, ret, ret_param, err) != 0) {
        grammar_drop(*ret);
        *ret = NULL;
        return -1;
    }
    if (*ret != NULL && a->vocabulary == NULL)
        a->vocabulary = vocabulary_create(a->tokenizer, a->config.vocab, a->config.ends,
                                          a->config.end_count);
    return 0;
}

/* --- the request --- */

static void start(struct job *j, const struct chat *chat, const struct tokenizer_ids *prompt,
                  struct grammar *grammar)
{
    bool may_think =
        j->api->template_ == CHAT_QWEN3 && !chat->no_thinking && !chat->go_on;

    struct job_prompt one = {prompt->ids, (int)prompt->count, NULL};
    api__job_start(j, &(struct job_plan){
                          .prompts = &one,
                          .prompt_count = 1,
                          .grammar = grammar,
                          .may_think = may_think,
                          .chat = true,
                          .thinks = chat_reply_thinks(chat),
                          .tools = j->api->tools && json_array_size(chat->tools) > 0,
                      });
}

void api__chat(struct llm_api *a, struct http_request *r, json_t *request)
{
    struct job *j = api__job_create(a, &chat_ops, r, request, "chatcmpl");
    const int64_t seed = api__seed(a);
    const struct api_defaults defaults = {&a->config, -1, true, a->seeded ? &seed : NULL};
    struct tokenizer_ids prompt = {0};
    struct rwf_err err = RWF_ERR_INIT;
    struct grammar *grammar = NULL;
    const char *param = NULL;
    struct chat chat;

    if (api_params_read(&j->params, request, &defaults, &param, &err) != 0 ||
        api__chat_prompt(a, request, &chat, &prompt, &param, &err) != 0 ||
        api__constraint(a, request, chat.tools, &grammar, &param, &err) != 0)
        api__job_refuse(j, param, &err);
    else
        start(j, &chat, &prompt, grammar);
    grammar_drop(grammar);
    free(prompt.ids);
}
