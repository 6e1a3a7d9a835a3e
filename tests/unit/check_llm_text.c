/* SPDX-License-Identifier: Apache-2.0
 * Prompts from messages, text from tokens, and replies taken apart: each as
 * transformers does it, and the same for pieces of any size. */
#include "config.h"

#include "text_support.h"
#include "llm/chat.h"
#include "llm/json_text.h"
#include "llm/reply.h"
#include "llm/text_stream.h"

/* --- JSON as Python writes it --- */

START_TEST(numbers_are_written_as_python_does)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = {
        {0, "0.0"},         {-0.0, "-0.0"},
        {1, "1.0"},         {-1.5, "-1.5"},
        {0.1, "0.1"},       {1e15, "1000000000000000.0"},
        {1e16, "1e+16"},    {123456789.125, "123456789.125"},
        {0.0001, "0.0001"}, {0.00001234, "1.234e-05"},
        {1e22, "1e+22"},    {1.7976931348623157e308, "1.7976931348623157e+308"},
        {5e-324, "5e-324"}, {1.0 / 3, "0.3333333333333333"},
        {100, "100.0"},     {2e-7, "2e-07"},
    };

    for (size_t i = 0; i < RWF_COUNT(cases); i++) {
        struct rwf_str out = {NULL, 0, 0};
        json_text_add_real(&out, cases[i].value);
        ck_assert_str_eq(out.data, cases[i].text);
        rwf_str_free(&out);
    }
}
END_TEST

/* --- prompts --- */

static json_t *chat_cases(void)
{
    const char *top = getenv("abs_top_srcdir");
    char *path = rwf_xasprintf("%s/tests/data/llm/chat.json", top ? top : "..");
    json_error_t why;
    json_t *cases = json_load_file(path, 0, &why);

    ck_assert_msg(cases != NULL, "%s: %s", path, why.text);
    free(path);
    return cases;
}

static char *content_of(const json_t *message)
{
    const json_t *content = json_object_get(message, "content");
    struct rwf_str text = {NULL, 0, 0};

    if (json_is_string(content))
        rwf_str_add(&text, json_string_value(content));
    for (size_t i = 0; i < json_array_size(content); i++)
        rwf_str_addf(&text, "%s%s", i > 0 ? "\n" : "",
                     json_string_value(json_object_get(json_array_get(content, i), "text")));
    return rwf_str_take(&text);
}

/* The ranges are what users and tools said, one after the other, and nothing else; returns how
 * many there are. */
static size_t check_contents(const json_t *messages, const struct rwf_str *prompt,
                             const struct tokenizer_ranges *ranges)
{
    size_t count = 0, behind = 0;

    for (size_t i = 0; i < json_array_size(messages); i++) {
        const json_t *m = json_array_get(messages, i);
        const char *role = json_string_value(json_object_get(m, "role"));
        char *content = content_of(m);
        if ((strcmp(role, "user") == 0 || strcmp(role, "tool") == 0) && *content != '\0') {
            ck_assert_uint_lt(count, ranges->count);
            const struct tokenizer_range *r = &ranges->items[count++];
            ck_assert_uint_ge(r->start, behind);
            ck_assert_uint_eq(r->stop - r->start, strlen(content));
            ck_assert_mem_eq(prompt->data + r->start, content, strlen(content));
            behind = r->stop;
        }
        free(content);
    }
    ck_assert_uint_eq(count, ranges->count);
    return count;
}

static size_t check_prompt(const json_t *one)
{
    const json_t *request = json_object_get(one, "request");
    struct chat c = {
        .template_ = CHAT_QWEN3,
        .messages = json_object_get(request, "messages"),
        .tools = json_object_get(request, "tools"),
        .no_thinking = json_is_false(json_object_get(request, "enable_thinking")),
        .no_prompt = json_is_false(json_object_get(request, "add_generation_prompt")),
    };
    struct rwf_err err = RWF_ERR_INIT;
    struct rwf_str out = {NULL, 0, 0};
    struct tokenizer_ranges contents = {NULL, 0, 0};

    ck_assert_msg(chat_prompt(&c, &out, &contents, &err) == 0, "%s", err.text);
    ck_assert_msg(
        strcmp(out.data, json_string_value(json_object_get(one, "prompt"))) == 0,
        "%s:\n%s\n--- instead of\n%s", json_string_value(json_object_get(one, "name")),
        out.data, json_string_value(json_object_get(one, "prompt")));
    size_t count = check_contents(c.messages, &out, &contents);
    rwf_str_free(&out);
    free(contents.items);
    return count;
}

START_TEST(prompts_are_those_of_the_template)
{
    json_t *cases = chat_cases(), *one;
    size_t i, contents = 0;

    ck_assert_uint_gt(json_array_size(cases), 50);
    json_array_foreach(cases, i, one)
        contents += check_prompt(one);
    ck_assert_uint_gt(contents, 50);
    json_decref(cases);
}
END_TEST

static const struct {
    enum chat_template template_;
    const char *messages, *prompt, *error;
    bool go_on;
} prompts[] = {
    {CHAT_PLAIN,
     "[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"user\",\"content\":\"b\"}]",
     "a\nb\n", NULL, false},
    {CHAT_QWEN3_THINKING, "[{\"role\":\"user\",\"content\":\"a\"}]",
     "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n<think>\n", NULL, false},
    {CHAT_QWEN3_INSTRUCT,
     "[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b</"
     "think>c\"}]",
     "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb</think>c", NULL, true},
    {CHAT_QWEN3,
     "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
     "{\"type\":\"text\",\"text\":\"b\"}]}]",
     "<|im_start|>user\na\nb<|im_end|>\n<|im_start|>assistant\n", NULL, false},
    {CHAT_QWEN3, "[]", NULL, "at least one message", false},
    {CHAT_QWEN3, "{}", NULL, "at least one message", false},
    {CHAT_QWEN3, "[{\"role\":\"robot\",\"content\":\"a\"}]", NULL,
     "messages[0]: role is 'robot'", false},
    {CHAT_QWEN3, "[{\"content\":\"a\"}]", NULL, "messages[0]: role is '(none)'", false},
    {CHAT_QWEN3, "[7]", NULL, "messages[0]: role is", false},
    {CHAT_QWEN3, "[{\"role\":\"user\"}]", NULL,
     "messages[0]: a message of role 'user' needs", false},
    {CHAT_QWEN3, "[{\"role\":\"user\",\"content\":5}]", NULL, "neither a text nor",
     false},
    {CHAT_QWEN3, "[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]}]", NULL,
     "type 'image_url'", false},
    {CHAT_QWEN3,
     "[{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{\"name\":\"f\"}}]}]",
     NULL, "without arguments", false},
    {CHAT_QWEN3, "[{\"role\":\"user\",\"content\":\"a\"}]", NULL,
     "continue_final_message", true},
    {CHAT_NONE, "[{\"role\":\"user\",\"content\":\"a\"}]", NULL, "no chat template",
     false},
};

START_TEST(other_templates_and_bad_messages)
{
    json_t *messages = json_loads(prompts[_i].messages, 0, NULL);
    struct chat c = {.template_ = prompts[_i].template_,
                     .messages = messages,
                     .go_on = prompts[_i].go_on};
    struct rwf_err err = RWF_ERR_INIT;
    struct rwf_str out = {NULL, 0, 0};
    struct tokenizer_ranges contents = {NULL, 0, 0};
    int rc = chat_prompt(&c, &out, &contents, &err);

    if (prompts[_i].error != NULL) {
        ck_assert_int_eq(rc, -1);
        ck_assert_int_eq(err.code, RWF_E_USAGE);
        ck_assert_msg(strstr(err.text, prompts[_i].error) != NULL, "%s", err.text);
    } else {
        ck_assert_msg(rc == 0, "%s", err.text);
        ck_assert_str_eq(out.data, prompts[_i].prompt);
        check_contents(messages, &out, &contents);
    }
    rwf_str_free(&out);
    free(contents.items);
    json_decref(messages);
}
END_TEST

static void write_file(const char *folder, const char *name, const char *text)
{
    char *path = rwf_fs_join(folder, name);
    ck_assert_int_eq(rwf_fs_write(path, text, strlen(text), false, NULL), 0);
    free(path);
}

#define HERMES                                                                                    \
    "<|im_start|><|im_end|><tool_response>You may call one or more functions<tool_call>"            \
    "<function-name>"
#define HYBRID                                                                                    \
    "last_query_index enable_thinking is defined and enable_thinking is false"

START_TEST(templates_are_known_by_their_content)
{
    static const struct {
        const char *file, *text;
        int found; /* -1: refused */
    } cases[] = {
        {"other.json", "x", CHAT_NONE},
        {"tokenizer_config.json", "{}", CHAT_NONE},
        {"tokenizer_config.json", "{", -1},
        {"tokenizer_config.json", "{\"chat_template\":\"" HERMES HYBRID "\"}", CHAT_QWEN3},
        {"tokenizer_config.json",
         "{\"chat_template\":[{\"name\":\"default\",\"template\":\"" HERMES "\"}]}",
         CHAT_QWEN3_INSTRUCT},
        {"tokenizer_config.json", "{\"chat_template\":\"[INST]\"}", -1},
        {"chat_template.jinja", HERMES "'<|im_start|>assistant\\n<think>\\n'", CHAT_QWEN3_THINKING},
        /* relatives */
        {"chat_template.jinja", HERMES "You are Qwen, created by Alibaba Cloud.", -1},
        {"chat_template.jinja", HERMES "<function=name>", -1},
        {"chat_template.jinja", HERMES HYBRID "{% else %}{{- '<think>\\n' }}", -1},
        {"chat_template.jinja", HERMES "last_query_index enable_thinking != false", -1},
        {"chat_template.jinja", HERMES "enable_thinking is defined and enable_thinking is false", -1},
        {"chat_template.jinja", HERMES "content.split('</think>')", -1},
        {"chat_template.jinja", "<|im_start|><|im_end|><tool_call><tool_response>", -1},
    };

    for (size_t i = 0; i < RWF_COUNT(cases); i++) {
        char folder[] = "/tmp/check_llm_text.XXXXXX";
        struct rwf_err err = RWF_ERR_INIT;
        enum chat_template found = CHAT_PLAIN;
        ck_assert_ptr_nonnull(mkdtemp(folder));
        write_file(folder, cases[i].file, cases[i].text);
        int rc = chat_template_find(folder, &found, &err);
        ck_assert_msg((rc == 0 ? (int)found : -1) == cases[i].found, "%zu: %s", i,
                      err.text);
        ck_assert_int_eq(rwf_fs_rmtree(folder, NULL), 0);
    }
}
END_TEST

/* --- text of tokens --- */

static struct tokenizer *small(void)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *root = golden_json("small.json");
    struct tokenizer *t = tokenizer_of(root, &err);

    ck_assert_msg(t != NULL, "%s", err.text);
    json_decref(root);
    return t;
}

/* Bytes as tokens of a byte each; what comes out step by step, with '|' between. */
static char *stream_bytes(const struct tokenizer *t, const char *bytes,
                          const char *const *stops, bool include)
{
    struct text_stream_options o = {
        .tokenizer = t, .stops = stops, .include_stop = include};
    struct rwf_str out = {NULL, 0, 0};

    for (; stops != NULL && stops[o.stop_count]; o.stop_count++)
        ;
    struct text_stream *s = text_stream_create(&o);
    for (const char *p = bytes; *p; p++) {
        struct tokenizer_ids ids = {0};
        tokenizer_encode(t, p, 1, &ids);
        ck_assert_uint_eq(ids.count, 1);
        bool stop = text_stream_add(s, ids.ids[0], &out);
        free(ids.ids);
        rwf_str_addc(&out, '|');
        if (stop)
            break;
    }
    text_stream_end(s, &out);
    text_stream_destroy(s);
    return rwf_str_take(&out);
}

START_TEST(only_whole_characters_are_told)
{
    static const char *const end[] = {"END", "EN", "x\xc3\xa9y", NULL};
    static const struct {
        const char *bytes;
        const char *const *stops;
        bool include;
        const char *want;
    } cases[] = {
        {"ab", NULL, false, "a|b|"},
        {"a\xc3\xa9z", NULL, false, "a||\xc3\xa9|z|"},
        {"\xf0\x9f\x98\x81", NULL, false, "|||\xf0\x9f\x98\x81|"},
        {"\xf0\x9f\x98", NULL, false, "|||\xef\xbf\xbd"},
        {"\xf0\x9f"
         "a",
         NULL, false,
         "||\xef\xbf\xbd"
         "a|"},
        {"\xff"
         "a\x80",
         NULL, false, "\xef\xbf\xbd|a|\xef\xbf\xbd|"},
        {"\xed\xa0\x80", NULL, false, "|\xef\xbf\xbd\xef\xbf\xbd|\xef\xbf\xbd|"},
        {"aEXENDb", end, false, "a||EX|||"},
        {"aEND", end, true, "a||EN|"},
        {"aE", end, false, "a||E"},
        {"ax\xc3\xa9y!", end, false, "a|||||"},
        {"ax\xc3\xa9z", end, false, "a||||x\xc3\xa9z|"},
    };
    struct tokenizer *t = small();

    for (size_t i = 0; i < RWF_COUNT(cases); i++) {
        char *got = stream_bytes(t, cases[i].bytes, cases[i].stops, cases[i].include);
        ck_assert_msg(strcmp(got, cases[i].want) == 0, "%zu: %s", i, got);
        free(got);
    }
    tokenizer_close(t);
}
END_TEST

START_TEST(special_tokens_are_no_text)
{
    struct tokenizer *t = small();
    struct text_stream *s =
        text_stream_create(&(struct text_stream_options){.tokenizer = t});
    struct text_stream *keep = text_stream_create(
        &(struct text_stream_options){.tokenizer = t, .keep_special = true});
    struct rwf_str out = {NULL, 0, 0};

    ck_assert(tokenizer_special(t, 0));
    ck_assert(!tokenizer_special(t, tokenizer_count(t)));
    ck_assert(!text_stream_add(s, 0, &out));
    ck_assert_uint_eq(out.len, 0);
    ck_assert(!text_stream_add(s, 1 << 30, &out));
    ck_assert_uint_eq(out.len, 0);
    ck_assert(!text_stream_add(keep, 0, &out));
    ck_assert_str_eq(out.data, "<|endoftext|>");
    rwf_str_free(&out);
    text_stream_destroy(s);
    text_stream_destroy(keep);
    tokenizer_close(t);
}
END_TEST

/* --- replies --- */

static void on_thinking(void *ctx, const char *text, size_t len)
{
    struct rwf_str *s = ctx;
    rwf_str_addn(&s[0], text, len);
}

static void on_content(void *ctx, const char *text, size_t len)
{
    struct rwf_str *s = ctx;
    rwf_str_addn(&s[1], text, len);
}

static void on_call(void *ctx, int number, const char *name, const char *arguments)
{
    struct rwf_str *s = ctx;
    rwf_str_addf(&s[2], "%d %s(%s);", number, name, arguments);
}

static const struct {
    const char *text, *thinking, *content, *calls;
    bool thinks;
} replies[] = {
    {"", "", "", "", false},
    {"hello", "", "hello", "", false},
    {"  hello", "", "  hello", "", false},
    {"<think>\nso\n\nit is\n</think>\n\nYes.\n", "so\n\nit is", "Yes.\n", "", false},
    {"\n<think>a</think>b", "a", "b", "", false},
    {"<think>\n\n</think>\n\nYes", "", "Yes", "", false},
    {"so\n</think>\nYes", "so", "Yes", "", true},
    {"<think>never ends", "never ends", "", "", false},
    {"<think>a</thin", "a</thin", "", "", false},
    {"<thin", "", "<thin", "", false},
    {"x<think>y</think>z", "", "x<think>y</think>z", "", false},
    {"<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1.0}}\n</tool_call>", "",
     "", "0 f({\"a\": 1.0});", false},
    {"ok\n<tool_call>{\"name\": \"f\", \"arguments\": "
     "{}}</tool_call>\n<tool_call>{\"name\": "
     "\"g\"}</tool_call>\n",
     "", "ok\n", "0 f({});1 g({});", false},
    {"<tool_call>{\"name\": \"f\", \"arguments\": \"{}\"}", "", "", "0 f({});", false},
    {"<tool_call>no json</tool_call> and", "", "<tool_call>no json</tool_call>and", "",
     false},
    {"a<tool_call>{\"name\":", "", "a<tool_call>{\"name\":", "", false},
    {"<think>t</think>\n\n<tool_call>{\"name\":\"f\",\"arguments\":{\"q\":\"é\"}}</"
     "tool_call>",
     "t", "", "0 f({\"q\": \"é\"});", false},
};

START_TEST(replies_are_taken_apart_in_pieces_of_any_size)
{
    size_t len = strlen(replies[_i].text);

    for (size_t step = 1; step <= (len > 0 ? len : 1); step++) {
        struct rwf_str got[3] = {{NULL, 0, 0}, {NULL, 0, 0}, {NULL, 0, 0}};
        struct reply *r =
            reply_create(&(struct reply_options){.reasoning = true,
                                                 .thinks = replies[_i].thinks,
                                                 .tools = true,
                                                 .thinking = on_thinking,
                                                 .content = on_content,
                                                 .call = on_call,
                                                 .ctx = got});
        for (size_t at = 0; at < len; at += step)
            reply_add(r, replies[_i].text + at, len - at < step ? len - at : step);
        reply_end(r);
        reply_destroy(r);
        const char *want[] = {replies[_i].thinking, replies[_i].content,
                              replies[_i].calls};
        for (int i = 0; i < 3; i++) {
            ck_assert_msg(strcmp(got[i].data ? got[i].data : "", want[i]) == 0,
                          "pieces of %zu, %d: '%s'", step, i,
                          got[i].data ? got[i].data : "");
            rwf_str_free(&got[i]);
        }
    }
}
END_TEST

START_TEST(without_parsers_all_is_content)
{
    struct rwf_str got[3] = {{NULL, 0, 0}, {NULL, 0, 0}, {NULL, 0, 0}};
    struct reply *r = reply_create(&(struct reply_options){
        .thinking = on_thinking, .content = on_content, .call = on_call, .ctx = got});
    static const char text[] =
        "<think>a</think><tool_call>{\"name\":\"f\"}</tool_call>";

    reply_add(r, text, strlen(text));
    ck_assert_str_eq(got[1].data, text);
    reply_end(r);
    ck_assert_int_eq(reply_calls(r), 0);
    reply_destroy(r);
    rwf_str_free(&got[1]);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("llm_text");
    TCase *t = tcase_create("text");

    tcase_add_test(t, numbers_are_written_as_python_does);
    tcase_add_test(t, prompts_are_those_of_the_template);
    tcase_add_loop_test(t, other_templates_and_bad_messages, 0, RWF_COUNT(prompts));
    tcase_add_test(t, templates_are_known_by_their_content);
    tcase_add_test(t, only_whole_characters_are_told);
    tcase_add_test(t, special_tokens_are_no_text);
    tcase_add_loop_test(t, replies_are_taken_apart_in_pieces_of_any_size, 0,
                        RWF_COUNT(replies));
    tcase_add_test(t, without_parsers_all_is_content);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
