/* SPDX-License-Identifier: Apache-2.0
 *
 * What the API says: the shapes of replies, prompts' logprobs, echo, stop strings, seeds, calls,
 * and that streams say what whole replies say.
 */
#include "config.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "llm_api_rig.h"

#define LONG                                                                           \
    "\"The quick brown fox jumps over the lazy dog, and over the other one as well.\""
#define CALL "<tool_call>\\n{\\\"name\\\": \\\"f\\\"}\\n</tool_call>"
#define TEN "abcdefghij"

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

/* --- shapes --- */

/* want NULL: it must be there. Rows without a body are GET. */
static const struct {
    const char *path, *body, *place, *want;
} shapes[] = {
    {"/v1/models", NULL, "data.1.id", "\"other/name\""},
    {"/v1/models", NULL, "data.0.max_model_len", "1000"},
    {"/v1/models/other/name", NULL, "id", "\"other/name\""},
    {"/version", NULL, "version", NULL},
    {"/load", NULL, "server_load", "0"},
    {"/tokenize", "{\"prompt\":\"ab\"}", "tokens", "[97,98]"},
    {"/tokenize", "{\"prompt\":\"ab\",\"return_token_strs\":true}", "token_strs",
     "[\"a\",\"b\"]"},
    {"/tokenize", "{\"prompt\":\"\"}", "count", "0"},
    {"/tokenize", "{" HELLO "}", "count", NULL},
    {"/detokenize", "{\"tokens\":[97,98]}", "prompt", "\"ab\""},
    {"/detokenize", "{\"tokens\":[]}", "prompt", "\"\""},
    {"/detokenize", "{\"tokens\":[195]}", "prompt", "\"\xef\xbf\xbd\""},
    {API_TEXT, "{\"prompt\":\"a\",\"ignore_eos\":true}", "usage.completion_tokens",
     "16"},
    {API_TEXT, "{\"prompt\":\"a\",\"ignore_eos\":true}", "object",
     "\"text_completion\""},
    {API_TEXT, "{\"prompt\":\"a\",\"ignore_eos\":true,\"max_tokens\":3}",
     "choices.0.finish_reason", "\"length\""},
    {API_TEXT, "{\"prompt\":\"a\",\"max_tokens\":3}", "choices.0.logprobs", "null"},
    {API_TEXT, "{\"prompt\":[97,98,99],\"max_tokens\":1}", "usage.prompt_tokens", "3"},
    {API_TEXT, "{\"prompt\":[[97],[98,99]],\"max_tokens\":1}", "usage.prompt_tokens",
     "3"},
    {API_TEXT, "{\"prompt\":[\"a\",\"b\"],\"max_tokens\":1,\"n\":2}", "choices.3.index",
     "3"},
    {API_TEXT, "{\"prompt\":\"abcd\",\"truncate_prompt_tokens\":2,\"max_tokens\":1}",
     "usage.prompt_tokens", "2"},
    {API_TEXT,
     "{\"prompt\":\"a\",\"max_tokens\":5,\"stop_token_ids\":[1],\"logit_bias\":{\"1\":"
     "100},"
     "\"temperature\":0}",
     "choices.0.finish_reason", "\"stop\""},
    {API_TEXT,
     "{\"prompt\":\"a\",\"max_tokens\":3,\"logit_bias\":{\"65\":100},\"temperature\":"
     "0}",
     "choices.0.text", "\"AAA\""},
    {API_TEXT,
     "{\"prompt\":\"a\",\"max_tokens\":3,\"model\":\"other/name\",\"n\":1,"
     "\"best_of\":1,\"suffix\":\"\",\"user\":\"x\"}",
     "model", "\"tiny\""},
    {API_CHAT, "{" HELLO ",\"ignore_eos\":true,\"max_tokens\":3}", "object",
     "\"chat.completion\""},
    {API_CHAT, "{" HELLO ",\"ignore_eos\":true,\"max_completion_tokens\":3}",
     "usage.completion_tokens", "3"},
    {API_CHAT, "{" HELLO ",\"max_tokens\":3}", "choices.0.message.role",
     "\"assistant\""},
    {API_CHAT, "{" HELLO ",\"max_tokens\":3,\"top_logprobs\":0}", "choices.0.logprobs",
     "null"},
    /* Clients send what they do not say as null. */
    {API_CHAT,
     "{" HELLO ",\"max_tokens\":3,\"tools\":null,\"tool_choice\":null,\"stop\":null,"
     "\"chat_template_kwargs\":null,\"response_format\":null,\"guided_json\":null,"
     "\"guided_choice\":null,\"structured_outputs\":null}",
     "choices.0.index", "0"},
    {API_TEXT,
     "{\"prompt\":\"a\",\"max_tokens\":9,\"structured_outputs\":{\"json\":null,"
     "\"regex\":null,\"choice\":[\"no\"]}}",
     "choices.0.text", "\"no\""},
    {API_CHAT,
     "{" HELLO ",\"max_tokens\":3,\"logprobs\":true,\"top_logprobs\":2,"
     "\"ignore_eos\":true}",
     "choices.0.logprobs.content.2.top_logprobs.1.logprob", NULL},
    {API_CHAT,
     "{" HELLO ",\"guided_choice\":[\"yes\"],\"chat_template_kwargs\":{"
     "\"enable_thinking\":false}}",
     "choices.0.message.content", "\"yes\""},
    {API_CHAT, "{" HELLO ",\"guided_choice\":[\"yes\"],\"temperature\":0}",
     "choices.0.message.content", "\"yes\""}, /* though it might have thought */
    {API_CHAT,
     "{" HELLO
     ",\"max_tokens\":200,\"tool_choice\":\"required\",\"parallel_tool_calls\":"
     "false,\"tools\":[" TOOL "],\"chat_template_kwargs\":{\"enable_thinking\":false}}",
     "choices.0.finish_reason", "\"tool_calls\""},
    {API_CHAT,
     "{" HELLO
     ",\"max_tokens\":200,\"tool_choice\":\"required\",\"parallel_tool_calls\":"
     "false,\"tools\":[" TOOL "],\"chat_template_kwargs\":{\"enable_thinking\":false}}",
     "choices.0.message.tool_calls.0.function.name", "\"f\""},
    {API_CHAT,
     "{" HELLO ",\"max_tokens\":2,\"tool_choice\":\"none\",\"tools\":[" TOOL "]}",
     "choices.0.message.tool_calls", "[]"},
    {"/v1/embeddings", "{\"input\":[\"a\",\"b\"]}", "data.1.index", "1"},
    {"/v1/embeddings", "{\"input\":\"a\",\"dimensions\":8}", "data.0.embedding.7",
     NULL},
    {"/v1/embeddings", "{\"input\":\"abcdef\",\"truncate_prompt_tokens\":4}",
     "usage.prompt_tokens", "4"},
    {API_TEXT, "{\"prompt\":\"abc\",\"max_tokens\":0,\"echo\":true,\"logprobs\":1}", "choices.0.text",
     "\"abc\""},
    {API_TEXT, "{\"prompt\":\"abc\",\"max_tokens\":0,\"echo\":true,\"logprobs\":1}",
     "usage.completion_tokens", "0"},
    {API_TEXT, "{\"prompt\":\"abc\",\"max_tokens\":0,\"echo\":true,\"logprobs\":1}",
     "choices.0.logprobs.tokens", "[\"a\",\"b\",\"c\"]"},
    {API_TEXT,
     "{\"prompt\":\"ab\",\"max_tokens\":1,\"echo\":true,\"logprobs\":0,\"logit_bias\":{\"65\":100},"
     "\"temperature\":0,\"return_tokens_as_token_ids\":true}",
     "choices.0.logprobs.tokens", "[\"token_id:97\",\"token_id:98\",\"token_id:65\"]"},
    {API_CHAT,
     "{" HELLO ",\"max_tokens\":1,\"logprobs\":true,\"logit_bias\":{\"65\":100},\"temperature\":0,"
     "\"return_tokens_as_token_ids\":true}",
     "choices.0.logprobs.content.0.token", "\"token_id:65\""},
    {API_TEXT, "{\"prompt\":\"" TEN TEN "\",\"truncate_prompt_tokens\":-1,\"max_tokens\":990}",
     "usage.prompt_tokens", "10"},
    {API_CHAT,
     "{" HELLO ",\"guided_choice\":[\"yes\"],\"reasoning_effort\":\"none\",\"n\":2,\"metadata\":{},"
     "\"store\":true,\"service_tier\":\"auto\",\"modalities\":[\"text\"],\"parallel_tool_calls\":true}",
     "choices.1.message.content", "\"yes\""},
    {API_CHAT,
     "{" HELLO ",\"structured_outputs\":{\"json_object\":true,\"json\":null},\"max_tokens\":3,"
     "\"reasoning_effort\":\"high\"}",
     "choices.0.index", "0"},
    {API_CHAT, "{" HELLO ",\"max_tokens\":9,\"include_reasoning\":false}",
     "choices.0.message.reasoning_content", "null"},
    {"/tokenize", "{" HELLO ",\"reasoning_effort\":\"none\"}", "count", NULL},
    {"/v1/embeddings", "{\"input\":[97,98],\"encoding_format\":\"base64\"}", "usage",
     "{\"prompt_tokens\":2,\"total_tokens\":2}"},
};

START_TEST(replies_have_their_shapes)
{
    open_rig();
    for (size_t i = 0; i < RWF_COUNT(shapes); i++) {
        json_t *root = api_json(&g, shapes[i].path, shapes[i].body, 200);
        const json_t *at = api_at(root, shapes[i].place);
        char *text = at == NULL ? NULL : json_dumps(at, JSON_ENCODE_ANY | JSON_COMPACT);

        ck_assert_msg(text != NULL &&
                          (shapes[i].want == NULL || strcmp(text, shapes[i].want) == 0),
                      "%s %s: %s is %s, not %s", shapes[i].path, shapes[i].body,
                      shapes[i].place, text, shapes[i].want);
        free(text);
        json_decref(root);
    }
    close_rig();
}
END_TEST

START_TEST(metrics_and_health_are_text)
{
    static const char *const lines[] = {
        "vllm:request_success_total{engine=\"0\",model_name=\"tiny\",finished_reason="
        "\"length\"} 1\n",
        "vllm:request_success_total{engine=\"0\",model_name=\"tiny\",finished_reason="
        "\"stop\"} 1\n",
        "vllm:request_success_total{engine=\"0\",model_name=\"tiny\",finished_reason="
        "\"abort\"} 0\n",
        "vllm:generation_tokens_total{",
        "vllm:iteration_tokens_total_bucket{engine=\"0\",model_name=\"tiny\",le=\"16\"}",
        "vllm:request_max_num_generation_tokens_count{engine=\"0\",model_name=\"tiny\"}",
        "vllm:time_to_first_token_seconds_bucket{",
        "le=\"+Inf\"} 2\n",
    };
    open_rig();
    json_decref(api_json(
        &g, API_TEXT, "{\"prompt\":\"a\",\"ignore_eos\":true,\"max_tokens\":2}", 200));
    /* A stop string ends it before the engine does, and is no abort. */
    json_decref(
        api_json(&g, API_TEXT,
                 "{\"prompt\":\"a\",\"ignore_eos\":true,\"logit_bias\":{\"65\":100},"
                 "\"stop\":\"A\",\"temperature\":0}",
                 200));
    api_rig_until_idle(&g);
    struct answer *a = api_ask(&g, "/metrics", NULL);
    for (size_t i = 0; i < RWF_COUNT(lines); i++)
        ck_assert_msg(strstr(a->body.data, lines[i]) != NULL, "%s is not in\n%s",
                      lines[i], a->body.data);
    api_answer_free(a);
    a = api_ask(&g, "/health", NULL);
    ck_assert_int_eq(a->status, 200);
    api_answer_free(a);
    close_rig();
}
END_TEST

/* --- logprobs --- */

static size_t nulls(const json_t *list)
{
    size_t n = 0;

    for (size_t i = 0; i < json_array_size(list); i++)
        n += json_is_null(json_array_get(list, i));
    return n;
}

/* A prompt of 77 tokens in steps of 16: its logprobs come in several pieces. */
START_TEST(a_prompts_logprobs_are_one_list)
{
    static const char *const bodies[] = {
        "{\"prompt\":" LONG ",\"max_tokens\":1,\"prompt_logprobs\":2}",
        "{\"messages\":[{\"role\":\"user\",\"content\":" LONG "}],\"max_tokens\":1,"
        "\"prompt_logprobs\":2}",
    };
    api_rig_open(&g, &(struct api_rig_options){.max_tokens = 16});
    for (int i = 0; i < 2; i++) {
        json_t *root = api_json(&g, i == 0 ? API_TEXT : API_CHAT, bodies[i], 200);
        const json_t *list = api_at(root, "choices.0.prompt_logprobs");
        ck_assert_uint_eq(json_array_size(list), (size_t)json_integer_value(api_at(
                                                     root, "usage.prompt_tokens")));
        ck_assert_uint_eq(nulls(list), 1);
        ck_assert(json_is_null(json_array_get(list, 0)));
        ck_assert_uint_ge(json_object_size(json_array_get(list, 40)), 2);
        json_decref(root);
    }
    json_t *root = api_json(
        &g, API_TEXT, "{\"prompt\":[97],\"max_tokens\":1,\"prompt_logprobs\":0}", 200);
    ck_assert_uint_eq(json_array_size(api_at(root, "choices.0.prompt_logprobs")), 1);
    json_decref(root);
    close_rig();
}
END_TEST

/* As evaluations ask for likelihoods: the prompt's tokens are among the reply's. */
START_TEST(an_echo_has_the_prompts_logprobs)
{
    static const char *const bodies[] = {
        "{\"prompt\":\"h\xc3\xa9llo, world, once "
        "more\",\"echo\":true,\"logprobs\":1,\"max_tokens\":2,"
        "\"ignore_eos\":true,\"seed\":1}",
        "{\"prompt\":[104,195,169,108,108,111],\"echo\":true,\"logprobs\":1,\"max_"
        "tokens\":2,"
        "\"ignore_eos\":true,\"seed\":1}",
    };
    static const char *const texts[] = {"h\xc3\xa9llo, world", "h\xc3\xa9llo"};

    api_rig_open(&g, &(struct api_rig_options){.max_tokens = 8});
    for (int i = 0; i < 2; i++) {
        json_t *root = api_json(&g, API_TEXT, bodies[i], 200);
        const json_t *l = api_at(root, "choices.0.logprobs");
        size_t count =
            (size_t)json_integer_value(api_at(root, "usage.prompt_tokens")) + 2;
        ck_assert(rwf_starts_with(api_text_at(root, "choices.0.text"), texts[i]));
        ck_assert_uint_eq(json_array_size(json_object_get(l, "tokens")), count);
        ck_assert_uint_eq(json_array_size(json_object_get(l, "token_logprobs")), count);
        ck_assert_uint_eq(nulls(json_object_get(l, "token_logprobs")), 1);
        ck_assert_uint_eq(nulls(json_object_get(l, "top_logprobs")), 1);
        /* In characters: the two bytes of the second are one. */
        ck_assert_int_eq(json_integer_value(api_at(l, "text_offset.4")), 3);
        ck_assert_ptr_null(api_at(root, "choices.0.prompt_logprobs"));
        json_decref(root);
    }
    close_rig();
}
END_TEST

/* A token may be a NUL, which JSON writes like any other character. */
START_TEST(a_nul_is_a_token_like_others)
{
    open_rig();
    for (int stream = 0; stream < 2; stream++) {
        char *body = rwf_xasprintf(
            "{\"prompt\":\"a\",\"max_tokens\":1,\"temperature\":0,\"logprobs\":2,"
            "\"logit_bias\":{\"0\":100},\"stream\":%s}",
            stream ? "true" : "false");
        struct answer *a = api_post(&g, API_TEXT, body);
        api_wait(a);
        ck_assert_ptr_nonnull(strstr(a->body.data, "\"tokens\":[\"\\u0000\"]"));
        ck_assert_ptr_nonnull(strstr(a->body.data, "\"top_logprobs\":[{\"\\u0000\":"));
        ck_assert_ptr_nonnull(strstr(a->body.data, "\"text\":\"\\u0000\""));
        api_answer_free(a);
        free(body);
    }
    close_rig();
}
END_TEST

/* --- streams --- */

static const char *const streamed[] = {
    "\"prompt\":\"a\",\"max_tokens\":60,\"ignore_eos\":true,\"temperature\":0",
    "\"prompt\":\"abc\",\"max_tokens\":60,\"ignore_eos\":true,\"seed\":5,\"n\":3",
    "\"prompt\":\"abc\",\"max_tokens\":60,\"seed\":6,\"n\":2,\"echo\":true,"
    "\"logprobs\":2",
    "\"prompt\":[\"a\",\"b\"],\"max_tokens\":60,\"seed\":7,\"n\":2,\"stop\":[\"e\","
    "\"qz\"]",
    "\"prompt\":\"a\",\"max_tokens\":40,\"seed\":8,\"stop\":\"e\",\"include_stop_str_"
    "in_output\":true,"
    "\"min_tokens\":20,\"n\":4",
    "\"prompt\":\"a\",\"max_tokens\":60,\"ignore_eos\":true,\"seed\":9,\"skip_special_"
    "tokens\":false",
};

static json_t *whole_of(const char *path, const char *members)
{
    char *body = rwf_xasprintf("{%s}", members);
    json_t *root = api_json(&g, path, body, 200);

    free(body);
    return root;
}

static struct answer *stream_of(const char *path, const char *members)
{
    char *body =
        rwf_xasprintf("{%s,\"stream\":true,\"stream_options\":{\"include_usage\":true,"
                      "\"continuous_usage_stats\":true}}",
                      members);
    struct answer *a = api_ask(&g, path, body);

    ck_assert_msg(a->status == 200 && a->whole && !a->failed, "%s: %d %.1000s", body,
                  a->status, a->body.data);
    free(body);
    return a;
}

static void check_same(const struct answer *a, const json_t *root, const char *what)
{
    const json_t *choices = json_object_get(root, "choices");

    for (size_t i = 0; i < json_array_size(choices); i++) {
        const json_t *c = json_array_get(choices, i),
                     *m = json_object_get(c, "message");
        const json_t *text =
            m != NULL ? json_object_get(m, "content") : json_object_get(c, "text");
        ck_assert_msg(
            json_string_length(text) == a->text[i].len &&
                (a->text[i].len == 0 ||
                 memcmp(json_string_value(text), a->text[i].data, a->text[i].len) == 0),
            "%s, choice %zu: '%.300s', whole '%.300s'", what, i,
            a->text[i].data == NULL ? "" : a->text[i].data, json_string_value(text));
        ck_assert_str_eq(a->finish[i], api_text_at(c, "finish_reason"));
    }
    /* The prompt may be known by the second time. */
    ck_assert_int_eq(json_integer_value(json_object_get(a->usage, "completion_tokens")),
                     json_integer_value(api_at(root, "usage.completion_tokens")));
    ck_assert_int_eq(json_integer_value(json_object_get(a->usage, "prompt_tokens")),
                     json_integer_value(api_at(root, "usage.prompt_tokens")));
}

START_TEST(streams_say_what_whole_replies_say)
{
    open_rig();
    for (size_t i = 0; i < RWF_COUNT(streamed); i++) {
        json_t *root = whole_of(API_TEXT, streamed[i]);
        struct answer *a = stream_of(API_TEXT, streamed[i]);
        check_same(a, root, streamed[i]);
        api_answer_free(a);
        json_decref(root);
    }
    close_rig();
}
END_TEST

static const char *const chats[] = {
    "\"temperature\":0,\"max_tokens\":50,\"ignore_eos\":true",
    "\"seed\":1,\"n\":3,\"max_tokens\":50,\"logprobs\":true,\"top_logprobs\":1",
    "\"seed\":2,\"n\":4,\"max_tokens\":300,\"chat_template_kwargs\":{\"enable_"
    "thinking\":false},"
    "\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":{"
    "\"type\":\"object\","
    "\"properties\":{\"a\":{\"type\":\"string\",\"maxLength\":5},\"b\":{\"enum\":[1,"
    "\"x\"]}},"
    "\"required\":[\"a\",\"b\"],\"additionalProperties\":false}}}",
    "\"seed\":3,\"max_tokens\":60,\"tools\":[" TOOL "]",
};

START_TEST(chats_stream_alike)
{
    open_rig();
    for (size_t i = 0; i < RWF_COUNT(chats); i++) {
        char *members = rwf_xasprintf(HELLO ",%s", chats[i]);
        json_t *root = whole_of(API_CHAT, members);
        struct answer *a = stream_of(API_CHAT, members);
        check_same(a, root, chats[i]);
        ck_assert_int_eq(a->roles,
                         (int)json_array_size(json_object_get(root, "choices")));
        api_answer_free(a);
        json_decref(root);
        free(members);
    }
    close_rig();
}
END_TEST

/* Several choices share a grammar, which the engine uses while further ones are
 * submitted. */
START_TEST(constrained_choices_are_all_json)
{
    char *members = rwf_xasprintf(HELLO ",%s", chats[2]);

    open_rig();
    for (int round = 0; round < 20; round++) {
        json_t *root = whole_of(API_CHAT, members);
        for (size_t i = 0; i < 4; i++) {
            const json_t *c = json_array_get(json_object_get(root, "choices"), i);
            json_t *value = json_loads(api_text_at(c, "message.content"), 0, NULL);
            ck_assert_msg(json_object_size(value) == 2, "%s",
                          api_text_at(c, "message.content"));
            ck_assert_str_eq(api_text_at(c, "finish_reason"), "stop");
            json_decref(value);
        }
        json_decref(root);
    }
    close_rig();
    free(members);
}
END_TEST

/* --- stop strings --- */

START_TEST(a_stop_string_ends_only_its_choice)
{
    open_rig();
    json_t *plain =
        whole_of(API_TEXT, "\"prompt\":\"a\",\"seed\":4,\"n\":3,\"max_tokens\":40,"
                           "\"ignore_eos\":true");
    /* A letter that the first choice says, behind its beginning. */
    const char *first = api_text_at(plain, "choices.0.text"), *at = first + 5;
    while (*at != '\0' && !((*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z')))
        at++;
    ck_assert_int_ne(*at, '\0');
    char *members =
        rwf_xasprintf("\"prompt\":\"a\",\"seed\":4,\"n\":3,\"max_tokens\":40,"
                      "\"ignore_eos\":true,\"stop\":[\"%c\"]",
                      *at);
    json_t *root = whole_of(API_TEXT, members);
    for (size_t i = 0; i < 3; i++) {
        const json_t *c = json_array_get(json_object_get(root, "choices"), i);
        const json_t *all = json_object_get(
            json_array_get(json_object_get(plain, "choices"), i), "text");
        const char *begin = json_string_value(all);
        const char *stop = memchr(begin, *at, json_string_length(all));
        size_t len = stop == NULL ? json_string_length(all) : (size_t)(stop - begin);
        ck_assert_uint_eq(json_string_length(json_object_get(c, "text")), len);
        ck_assert(memcmp(begin, api_text_at(c, "text"), len) == 0);
        ck_assert_str_eq(api_text_at(c, "finish_reason"),
                         stop == NULL ? "length" : "stop");
        ck_assert(json_is_null(json_object_get(c, "stop_reason")) == (stop == NULL));
    }
    json_decref(root);
    json_decref(plain);
    free(members);
    close_rig();
}
END_TEST

/* What the prefix cache gave is told also when a stop string ends the reply. */
START_TEST(usage_tells_what_was_cached)
{
    static const char members[] =
        "\"prompt\":" LONG ",\"max_tokens\":4,\"logit_bias\":{\"65\":100},"
                           "\"temperature\":0,\"stop\":\"AA\"";
    open_rig();
    json_decref(whole_of(API_TEXT, members));
    json_t *root = whole_of(API_TEXT, members);
    ck_assert_int_ge(
        json_integer_value(api_at(root, "usage.prompt_tokens_details.cached_tokens")),
        48);
    ck_assert_str_eq(api_text_at(root, "choices.0.stop_reason"), "AA");
    json_decref(root);
    close_rig();
}
END_TEST

/* --- seeds and calls --- */

/* Two servers with a seed say the same, and each request something else. */
START_TEST(a_servers_seed_repeats)
{
    static const char body[] =
        "{\"prompt\":\"a\",\"max_tokens\":20,\"ignore_eos\":true,\"temperature\":1}";
    char *said[4];

    for (int i = 0; i < 4; i++) {
        if (i % 2 == 0)
            api_rig_open(&g, &(struct api_rig_options){.seeded = true, .seed = 5});
        json_t *root = api_json(&g, API_TEXT, body, 200);
        said[i] = rwf_xstrdup(api_text_at(root, "choices.0.text"));
        json_decref(root);
        if (i % 2 == 1)
            close_rig();
    }
    ck_assert_str_eq(said[0], said[2]);
    ck_assert_str_eq(said[1], said[3]);
    ck_assert_str_ne(said[0], said[1]);
    for (int i = 0; i < 4; i++)
        free(said[i]);
}
END_TEST

START_TEST(one_call_is_told_if_one_is_wanted)
{
    static const char form[] =
        HELLO ",\"max_tokens\":300,\"reasoning_effort\":\"none\",\"parallel_tool_calls\":%s,"
              "\"tools\":[" TOOL "],\"guided_choice\":[\"" CALL CALL "\"]";
    static const char *const words[] = {"true", "false"};

    open_rig();
    for (int i = 0; i < 2; i++) {
        char *members = rwf_xasprintf(form, words[i]);
        json_t *root = whole_of(API_CHAT, members);
        ck_assert_uint_eq(json_array_size(api_at(root, "choices.0.message.tool_calls")), i == 0 ? 2 : 1);
        ck_assert_str_eq(api_text_at(root, "choices.0.finish_reason"), "tool_calls");
        json_decref(root);
        free(members);
    }
    close_rig();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("llm_api");
    TCase *t = tcase_create("api");

    tcase_set_timeout(t, 120);
    tcase_add_test(t, replies_have_their_shapes);
    tcase_add_test(t, metrics_and_health_are_text);
    tcase_add_test(t, a_prompts_logprobs_are_one_list);
    tcase_add_test(t, an_echo_has_the_prompts_logprobs);
    tcase_add_test(t, a_nul_is_a_token_like_others);
    tcase_add_test(t, streams_say_what_whole_replies_say);
    tcase_add_test(t, chats_stream_alike);
    tcase_add_test(t, constrained_choices_are_all_json);
    tcase_add_test(t, a_stop_string_ends_only_its_choice);
    tcase_add_test(t, usage_tells_what_was_cached);
    tcase_add_test(t, a_servers_seed_repeats);
    tcase_add_test(t, one_call_is_told_if_one_is_wanted);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
