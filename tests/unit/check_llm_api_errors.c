/* SPDX-License-Identifier: Apache-2.0
 *
 * What the API refuses, and how it says so: OpenAI's shape and codes, the parameter's name, and what
 * the log is told of parameters that nobody knows.
 */
#include "config.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "llm_api_rig.h"

static struct api_rig g;

static void open_rig(void)
{
    api_rig_open(&g, &(struct api_rig_options){0});
}

static void close_rig(void)
{
    api_rig_until_idle(&g);
    api_rig_close(&g);
}

#define P "\"prompt\":\"a\""
static const struct {
    const char *path, *body;
    int status;
    const char *param, *text; /* param NULL: null */
} errors[] = {
    {"/v1/nothing", NULL, 404, NULL, "there is no /v1/nothing"},
    {"/v1/models/none", NULL, 404, "model", "'none' is not served here; 'tiny' is"},
    {"/v1/models/", NULL, 404, NULL, "there is no /v1/models/"},
    {"/v1/models/tiny", "{}", 405, NULL, "answers GET, not POST"},
    {"/v1/models", "{}", 405, NULL, "answers GET, not POST"},
    {API_TEXT, NULL, 405, NULL, "answers POST, not GET"},
    {API_TEXT, "", 400, NULL, "no JSON object"},
    {API_TEXT, "[1]", 400, NULL, "the body is no JSON object, but another value"},
    {API_TEXT, "{\"prompt\":", 400, NULL, "no JSON object"},
    {API_TEXT, "{\"prompt\":\"a\\u0000\"}", 400, NULL, "the character \\u0000"},
    {API_TEXT, "{" P ",\"model\":\"gpt\"}", 404, "model",
     "'gpt' is not served here; 'tiny' is"},
    {API_TEXT, "{" P ",\"model\":5}", 404, "model", "is not served here"},
    {API_TEXT, "{}", 400, "prompt", "a text, a list"},
    {API_TEXT, "{\"prompt\":[]}", 400, "prompt", "a text, a list"},
    {API_TEXT, "{\"prompt\":\"\"}", 400, "prompt", "the prompt is empty"},
    {API_TEXT, "{\"prompt\":[\"a\",\"\"]}", 400, "prompt", "the prompt is empty"},
    {API_TEXT, "{\"prompt\":[[]]}", 400, "prompt", "the prompt is empty"},
    {API_TEXT, "{\"prompt\":[\"a\",5]}", 400, "prompt", "prompt: item 1 is neither"},
    {API_TEXT, "{\"prompt\":[1,\"a\"]}", 400, "prompt", "prompt: item 1 is no id"},
    {API_TEXT, "{\"prompt\":[300]}", 400, "prompt", "0 to 299"},
    {API_TEXT, "{\"prompt\":[-1]}", 400, "prompt", "0 to 299"},
    {API_TEXT, "{\"prompt\":{}}", 400, "prompt", "prompt: a text, a list"},
    {API_TEXT, "{" P ",\"temperature\":-1}", 400, "temperature", "out of range"},
    {API_TEXT, "{" P ",\"temperature\":\"hot\"}", 400, "temperature", "a number"},
    {API_TEXT, "{" P ",\"top_p\":0}", 400, "top_p", "above 0 and at most 1"},
    {API_TEXT, "{" P ",\"top_p\":1.5}", 400, "top_p", "out of range"},
    {API_TEXT, "{" P ",\"min_p\":2}", 400, "min_p", "out of range"},
    {API_TEXT, "{" P ",\"top_k\":-2}", 400, "top_k", "out of range"},
    {API_TEXT, "{" P ",\"top_k\":1.5}", 400, "top_k", "a whole number"},
    {API_TEXT, "{" P ",\"repetition_penalty\":0}", 400, "repetition_penalty",
     "above 0"},
    {API_TEXT, "{" P ",\"presence_penalty\":3}", 400, "presence_penalty",
     "out of range"},
    {API_TEXT, "{" P ",\"frequency_penalty\":-3}", 400, "frequency_penalty",
     "out of range"},
    {API_TEXT, "{" P ",\"seed\":1.5}", 400, "seed", "a whole number"},
    {API_TEXT, "{" P ",\"max_tokens\":0}", 400, "max_tokens",
     "at least 1 (0 with echo: true)"},
    {API_CHAT, "{" HELLO ",\"max_tokens\":0}", 400, "max_tokens", "at least 1"},
    {API_CHAT, "{" HELLO ",\"max_completion_tokens\":1000}", 400, "max_completion_tokens",
     "max_completion_tokens: 1000 is too much"},
    {API_TEXT, "{" P ",\"max_tokens\":1000}", 400, "max_tokens", "leaves 999"},
    {API_CHAT, "{" HELLO ",\"max_completion_tokens\":-1}", 400, "max_completion_tokens",
     "at least 1"},
    {API_TEXT, "{" P ",\"min_tokens\":17}", 400, "min_tokens", "more than max_tokens"},
    {API_TEXT, "{" P ",\"n\":0}", 400, "n", "at least 1"},
    {API_TEXT, "{" P ",\"n\":129}", 400, "n", "at most 128"},
    {API_TEXT, "{" P ",\"n\":2,\"temperature\":0}", 400, "n", "use n 1"},
    {API_TEXT, "{" P ",\"best_of\":3}", 400, "best_of", "not supported"},
    {API_TEXT, "{" P ",\"use_beam_search\":true}", 400, "use_beam_search",
     "not supported"},
    {API_TEXT, "{" P ",\"bad_words\":[\"a\"]}", 400, "bad_words", "not supported"},
    {API_TEXT, "{" P ",\"guided_regex\":\"a\"}", 400, "guided_regex", "not supported"},
    {API_TEXT, "{" P ",\"structured_outputs\":{\"grammar\":\"a\"}}", 400,
     "structured_outputs", "grammar is not supported"},
    {API_TEXT, "{" P ",\"structured_outputs\":5}", 400, "structured_outputs",
     "an object"},
    {API_TEXT, "{" P ",\"logprobs\":21}", 400, "logprobs", "at most 20"},
    {API_TEXT, "{" P ",\"logprobs\":true}", 400, "logprobs", "a whole number"},
    {API_CHAT, "{" HELLO ",\"logprobs\":3}", 400, "logprobs", "true or false"},
    {API_CHAT, "{" HELLO ",\"top_logprobs\":3}", 400, "top_logprobs",
     "needs logprobs: true"},
    {API_CHAT, "{" HELLO ",\"logprobs\":true,\"top_logprobs\":21}", 400, "top_logprobs",
     "at most 20"},
    {API_CHAT, "{" HELLO ",\"echo\":true}", 400, "echo", "is for completions"},
    {API_CHAT, "{" HELLO ",\"functions\":[]}", 400, "functions", "tools is what took"},
    {API_CHAT, "{" HELLO ",\"modalities\":[\"text\",\"audio\"]}", 400, "modalities",
     "the model writes text"},
    {API_CHAT, "{" HELLO ",\"reasoning_effort\":\"hard\"}", 400, "reasoning_effort",
     "none (no thinking)"},
    {API_CHAT, "{" HELLO ",\"add_generation_prompt\":\"no\"}", 400, "add_generation_prompt",
     "true or false"},
    {API_CHAT, "{" HELLO ",\"add_generation_prompt\":true,\"continue_final_message\":true}", 400,
     "continue_final_message", "one of them"},
    {API_CHAT, "{" HELLO ",\"response_format\":{\"type\":\"json_object\"},\"guided_choice\":[\"a\"]}",
     400, "guided_choice", "exclude each other"},
    {API_CHAT, "{" HELLO ",\"cache_salt\":\"x\"}", 400, "cache_salt", "not supported"},
    {API_TEXT, "{" P ",\"allowed_token_ids\":[65]}", 400, "allowed_token_ids", "not supported"},
    {API_TEXT, "{" P ",\"stop\":\"\"}", 400, "stop", "stops nothing"},
    {API_TEXT, "{" P ",\"stop\":[\"a\",\"\"]}", 400, "stop", "stops nothing"},
    {API_TEXT, "{" P ",\"prompt_logprobs\":21}", 400, "prompt_logprobs", "at most 20"},
    {API_TEXT, "{" P ",\"prompt_logprobs\":1,\"stream\":true}", 400, "prompt_logprobs",
     "not with stream"},
    {API_TEXT, "{" P ",\"stream\":1}", 400, "stream", "true or false"},
    {API_TEXT, "{" P ",\"stream_options\":{}}", 400, "stream_options",
     "only with stream"},
    {API_TEXT, "{" P ",\"stream\":true,\"stream_options\":[]}", 400, "stream_options",
     "an object"},
    {API_TEXT, "{" P ",\"stream\":true,\"stream_options\":{\"include_usage\":1}}", 400,
     "stream_options", "true or false"},
    {API_TEXT, "{" P ",\"stop\":5}", 400, "stop", "a text, or a list"},
    {API_TEXT, "{" P ",\"stop\":[\"a\",5]}", 400, "stop", "a list of texts"},
    {API_TEXT, "{" P ",\"stop_token_ids\":5}", 400, "stop_token_ids", "a list"},
    {API_TEXT, "{" P ",\"stop_token_ids\":[4294967297]}", 400, "stop_token_ids",
     "item 0 is no id of this model (0 to 299)"},
    {API_TEXT, "{" P ",\"logit_bias\":[]}", 400, "logit_bias", "an object"},
    {API_TEXT, "{" P ",\"logit_bias\":{\"300\":1}}", 400, "logit_bias",
     "'300' is no id"},
    {API_TEXT, "{" P ",\"logit_bias\":{\"1\":1,\"01\":1}}", 400, "logit_bias",
     "'01' is no id"},
    {API_TEXT, "{" P ",\"logit_bias\":{\" 1\":1}}", 400, "logit_bias", "' 1' is no id"},
    {API_TEXT, "{" P ",\"logit_bias\":{\"1\":101}}", 400, "logit_bias", "out of range"},
    {API_TEXT, "{" P ",\"suffix\":\"b\"}", 400, "suffix", "not supported"},
    {API_TEXT, "{" P ",\"truncate_prompt_tokens\":0}", 400, "truncate_prompt_tokens",
     "at least 1"},
    {API_TEXT, "{" P ",\"response_format\":{\"type\":\"xml\"}}", 400, "response_format",
     "json_schema"},
    {API_TEXT, "{" P ",\"response_format\":{\"type\":\"json_schema\"}}", 400,
     "response_format", "json_schema"},
    {API_TEXT,
     "{" P ",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":"
     "{\"type\":\"string\",\"pattern\":\"a\"}}}}",
     400, "response_format", "pattern is not supported"},
    {API_TEXT, "{" P ",\"guided_json\":\"{\"}", 400, "guided_json", "no schema"},
    {API_TEXT, "{" P ",\"guided_choice\":[]}", 400, "guided_choice", "a list of texts"},
    {API_CHAT, "{}", 400, "messages", "messages"},
    {API_CHAT, "{\"messages\":\"Hello\"}", 400, "messages", "a list"},
    {API_CHAT, "{\"messages\":[]}", 400, "messages", "messages"},
    {API_CHAT, "{\"messages\":[{\"role\":\"robot\",\"content\":\"a\"}]}", 400,
     "messages", "messages[0]"},
    {API_CHAT, "{\"messages\":[5]}", 400, "messages", "messages[0]"},
    {API_CHAT, "{" HELLO ",\"tools\":{}}", 400, "tools", "a list"},
    {API_CHAT, "{" HELLO ",\"tool_choice\":\"some\"}", 400, "tool_choice",
     "\"required\""},
    {API_CHAT,
     "{" HELLO ",\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"g\"}},"
     "\"tools\":[" TOOL "]}",
     400, "tool_choice", "there is no tool 'g'"},
    {API_CHAT, "{" HELLO ",\"tool_choice\":\"required\"}", 400, "tool_choice",
     "tool_choice: needs tools"},
    {API_CHAT, "{" HELLO ",\"tools\":[" TOOL ",{\"type\":\"browser\"}]}", 400, "tools",
     "tools[1]"},
    {API_CHAT, "{" HELLO ",\"tools\":[{\"type\":\"function\",\"function\":{}}]}", 400,
     "tools", "tools[0]"},
    {API_CHAT, "{" HELLO ",\"chat_template\":\"{{x}}\"}", 400, "chat_template",
     "not supported"},
    {API_CHAT, "{" HELLO ",\"chat_template_kwargs\":{\"enable_thinking\":\"no\"}}", 400,
     "chat_template_kwargs", "enable_thinking is true or false"},
    {API_CHAT, "{" HELLO ",\"chat_template_kwargs\":[]}", 400, "chat_template_kwargs",
     "an object"},
    {"/v1/embeddings", "{}", 400, "input", "input: a text, a list"},
    {"/v1/embeddings", "{\"input\":[\"a\",5]}", 400, "input", "input: item 1"},
    {"/v1/embeddings", "{\"input\":\"a\",\"dimensions\":9}", 400, "dimensions",
     "gives 8"},
    {"/v1/embeddings", "{\"input\":\"a\",\"dimensions\":0}", 400, "dimensions", "gives 8"},
    {"/v1/embeddings", "{\"input\":\"a\",\"truncate_prompt_tokens\":0}", 400,
     "truncate_prompt_tokens", "at least 1"},
    {"/v1/embeddings", "{\"input\":\"a\",\"normalize\":false}", 400, "normalize",
     "have the length 1"},
    {"/v1/embeddings", "{\"input\":\"a\",\"encoding_format\":\"hex\"}", 400,
     "encoding_format", "float or base64"},
    {"/tokenize", "{}", 400, "prompt", "is needed"},
    {"/tokenize", "{\"messages\":5}", 400, "messages", "a list"},
    {"/detokenize", "{}", 400, "tokens", "a list of ids"},
    {"/detokenize", "{\"tokens\":[\"a\"]}", 400, "tokens", "a list of ids"},
    {"/detokenize", "{\"tokens\":[1,300]}", 400, "tokens", "tokens: item 1"},
};

static void check_error(const json_t *root, const char *body, int status,
                        const char *param, const char *text)
{
    const json_t *e = json_object_get(root, "error");
    const char *said = json_string_value(json_object_get(e, "param"));

    ck_assert_msg(strstr(api_text_at(e, "message"), text) != NULL,
                  "%s: '%s' lacks '%s'", body, api_text_at(e, "message"), text);
    ck_assert_str_eq(api_text_at(e, "type"),
                     status < 500 ? "invalid_request_error" : "server_error");
    ck_assert_msg(param == NULL ? json_is_null(json_object_get(e, "param"))
                                : said != NULL && strcmp(said, param) == 0,
                  "%s: param is %s", body, said);
    ck_assert_ptr_nonnull(json_object_get(e, "code"));
}

/* Clients choose what to do by these. */
static const struct {
    const char *path, *body;
    int status;
    const char *code; /* NULL: null */
} codes[] = {
    {"/v1/nothing", NULL, 404, "unknown_url"},
    {"/v1/models/none", NULL, 404, "model_not_found"},
    {API_TEXT, "{" P ",\"model\":\"gpt\"}", 404, "model_not_found"},
    {API_TEXT, NULL, 405, "method_not_supported"},
    {API_TEXT, "[1]", 400, NULL},
    {API_TEXT, "{" P ",\"temperature\":-1}", 400, "invalid_value"},
    {API_TEXT, "{" P ",\"temperature\":\"hot\"}", 400, "invalid_type"},
    {API_TEXT, "{" P ",\"stream\":1}", 400, "invalid_type"},
    {API_TEXT, "{" P ",\"max_tokens\":1000}", 400, "context_length_exceeded"},
    {API_TEXT, "{" P ",\"best_of\":3}", 400, "unsupported_parameter"},
    {API_TEXT, "{" P ",\"guided_regex\":\"a\"}", 400, "unsupported_parameter"},
    {API_TEXT, "{}", 400, "missing_required_parameter"},
    {API_TEXT, "{\"prompt\":5}", 400, "invalid_type"},
    {API_CHAT, "{}", 400, "missing_required_parameter"},
    {API_CHAT, "{\"messages\":\"Hello\"}", 400, "invalid_type"},
    {"/v1/embeddings", "{}", 400, "missing_required_parameter"},
    {"/tokenize", "{}", 400, "missing_required_parameter"},
    {"/detokenize", "{}", 400, "missing_required_parameter"},
};

START_TEST(errors_have_openais_codes)
{
    open_rig();
    for (size_t i = 0; i < RWF_COUNT(codes); i++) {
        json_t *root = api_json(&g, codes[i].path, codes[i].body, codes[i].status);
        const char *code = json_string_value(api_at(root, "error.code"));
        ck_assert_msg(codes[i].code == NULL ? code == NULL
                                            : code != NULL && strcmp(code, codes[i].code) == 0,
                      "%s: code is %s", codes[i].body, code);
        json_decref(root);
    }
    close_rig();
}
END_TEST

START_TEST(a_prompt_that_is_too_long_says_so_by_its_code)
{
    struct rwf_str body = {NULL, 0, 0};

    open_rig();
    for (int i = 0; i < 1200; i++)
        rwf_str_addf(&body, "%s97", i > 0 ? "," : "{\"prompt\":[");
    rwf_str_add(&body, "]}");
    json_t *root = api_json(&g, API_TEXT, body.data, 400);
    check_error(root, "1200 tokens", 400, "prompt", "tokens");
    ck_assert_str_eq(api_text_at(root, "error.code"), "context_length_exceeded");
    json_decref(root);
    rwf_str_free(&body);
    close_rig();
}
END_TEST

/* The last lines that were logged. */
static char *logged(void)
{
    FILE *f = tmpfile();
    char *text = rwf_xcalloc(1, 65536);
    size_t len;

    rwf_log_dump_last(fileno(f));
    rewind(f);
    len = fread(text, 1, 65535, f);
    text[len] = '\0';
    fclose(f);
    return text;
}

static int occurrences(const char *text, const char *what)
{
    int n = 0;

    for (const char *at = text; (at = strstr(at, what)) != NULL; at++)
        n++;
    return n;
}

START_TEST(unknown_parameters_are_told_once_in_the_log)
{
    static const char body[] =
        "{" P ",\"max_tokens\":1,\"max_token\":5,\"zzz_other\":1,\"a\\nb\":2,\"user\":\"u\","
        "\"stream\":true,\"stream_options\":{\"include_usages\":true}}";

    open_rig();
    for (int i = 0; i < 2; i++)
        api_answer_free(api_ask(&g, API_TEXT, body));
    json_decref(api_json(&g, API_CHAT, "{" HELLO ",\"max_tokens\":1,\"store\":true,\"metadata\":{},"
                         "\"chat_template_kwargs\":{\"thinking\":false}}", 200));
    char *text = logged();
    ck_assert_int_eq(occurrences(text, "'max_token' is not known and changes nothing; "
                                       "did they mean max_tokens?"), 1);
    ck_assert_int_eq(occurrences(text, "'zzz_other' is not known and changes nothing (told"), 1);
    ck_assert_int_eq(occurrences(text, "'a?b'"), 1);
    ck_assert_int_eq(occurrences(text, "did they mean include_usage?"), 1);
    ck_assert_int_eq(occurrences(text, "'chat_template_kwargs.thinking'"), 1);
    ck_assert_int_eq(occurrences(text, "is not known"), 5);
    free(text);
    close_rig();
}
END_TEST

START_TEST(what_is_wrong_is_refused_by_name)
{
    open_rig();
    for (size_t i = 0; i < RWF_COUNT(errors); i++) {
        json_t *root = api_json(&g, errors[i].path, errors[i].body, errors[i].status);
        check_error(root, errors[i].body, errors[i].status, errors[i].param,
                    errors[i].text);
        json_decref(root);
    }
    close_rig();
}
END_TEST

/* The second of three prompts is too long: the first was submitted by then. */
START_TEST(one_wrong_prompt_refuses_all)
{
    char *words = rwf_xcalloc(1, 2000);
    memset(words, 'x', 1500);
    char *body = rwf_xasprintf(
        "{\"prompt\":[\"a\",\"%s\",\"b\"],\"n\":2,\"guided_choice\":[\"yes\"]}", words);
    open_rig();
    for (int i = 0; i < 5; i++) {
        json_t *root = api_json(&g, API_TEXT, body, 400);
        check_error(root, "three prompts", 400, "prompt", "1500 tokens");
        json_decref(root);
    }
    close_rig();
    free(body);
    free(words);
}
END_TEST

START_TEST(keys_are_asked_for)
{
    static const char *const keys[] = {"another", NULL}, *const right[] = {"key", NULL};

    api_rig_open(&g, &(struct api_rig_options){.api_keys = keys});
    json_t *root = api_json(&g, "/v1/models", NULL, 401);
    ck_assert_ptr_nonnull(api_at(root, "error.message"));
    ck_assert_str_eq(api_text_at(root, "error.code"), "invalid_api_key");
    ck_assert(json_is_null(api_at(root, "error.param")));
    json_decref(root);
    struct answer *a = api_ask(&g, "/health", NULL);
    ck_assert_int_eq(a->status, 200);
    api_answer_free(a);
    close_rig();
    api_rig_open(&g, &(struct api_rig_options){.api_keys = right});
    json_decref(api_json(&g, "/v1/models", NULL, 200));
    close_rig();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("llm_api_errors");
    TCase *t = tcase_create("errors");

    tcase_set_timeout(t, 120);
    tcase_add_test(t, what_is_wrong_is_refused_by_name);
    tcase_add_test(t, errors_have_openais_codes);
    tcase_add_test(t, a_prompt_that_is_too_long_says_so_by_its_code);
    tcase_add_test(t, unknown_parameters_are_told_once_in_the_log);
    tcase_add_test(t, one_wrong_prompt_refuses_all);
    tcase_add_test(t, keys_are_asked_for);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
