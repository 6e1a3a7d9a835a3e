/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "llm/chat.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/mem.h"
#include "llm/json_text.h"

#define TEMPLATE_MAX (1 << 20)

/* --- which template --- */

static const struct {
    const char *name;
    enum chat_template template_;
} names[] = {
    {"qwen3", CHAT_QWEN3},
    {"qwen3-instruct", CHAT_QWEN3_INSTRUCT},
    {"qwen3-thinking", CHAT_QWEN3_THINKING},
    {"plain", CHAT_PLAIN},
};

int chat_template_named(const char *name, enum chat_template *ret, struct rwf_err *err)
{
    for (size_t i = 0; i < RWF_COUNT(names); i++)
        if (strcmp(names[i].name, name) == 0) {
            *ret = names[i].template_;
            return 0;
        }
    return rwf_fail(err, RWF_E_USAGE,
                    "there is no chat template '%s': qwen3, qwen3-instruct, "
                    "qwen3-thinking and plain are known (Jinja itself is not)",
                    name);
}

static bool has_any(const char *text, const char *const *words)
{
    while (*words != NULL && strstr(text, *words) == NULL)
        words++;
    return *words != NULL;
}

/* By what only they say: the tags of a turn, tools in Hermes' words, and what is done about
 * thinking. Relatives that say something else besides (Qwen2.5's own system prompt, the calls of
 * Qwen3-Coder, thinking that is begun for the model unless it is off) are others. */
static bool recognise(const char *text, enum chat_template *ret)
{
    static const char *const all[] = {"<|im_start|>", "<|im_end|>", "<tool_response>",
                                      "<tool_call>", "You may call one or more functions",
                                      "<function-name>"};
    static const char *const others[] = {"You are Qwen", "<function=", "'<think>\\n'",
                                         "\"<think>\\n\"", NULL};
    static const char *const begun[] = {"assistant\\n<think>\\n'", "assistant\\n<think>\\n\"", NULL};
    bool known = !has_any(text, others);

    for (size_t i = 0; i < RWF_COUNT(all); i++)
        known = known && strstr(text, all[i]) != NULL;
    if (strstr(text, "enable_thinking") != NULL) {
        known = known && !has_any(text, begun) && strstr(text, "last_query_index") != NULL &&
                strstr(text, "enable_thinking is defined and enable_thinking is false") != NULL;
        *ret = CHAT_QWEN3;
    } else if (has_any(text, begun)) {
        *ret = CHAT_QWEN3_THINKING;
    } else {
        known = known && strstr(text, "</think>") == NULL;
        *ret = CHAT_QWEN3_INSTRUCT;
    }
    return known;
}

static int recognise_file(const char *path, const char *text, enum chat_template *ret,
                          struct rwf_err *err)
{
    if (recognise(text, ret))
        return 0;
    return rwf_fail(
        err, RWF_E_INPUT,
        "%s: this chat template is not known (Qwen3's are): serve it with "
        "--chat-template NAME (qwen3, qwen3-instruct, qwen3-thinking, plain), "
        "or use /v1/completions",
        path);
}

/* chat_template of tokenizer_config.json: a text, or named ones of which "default"
 * counts. */
static const char *configured(const json_t *config)
{
    const json_t *given = json_object_get(config, "chat_template");
    size_t i;
    json_t *one;

    if (!json_is_array(given))
        return json_string_value(given);
    json_array_foreach((json_t *)(uintptr_t)given, i, one) {
        const char *name = json_string_value(json_object_get(one, "name"));
        if (name != NULL && strcmp(name, "default") == 0)
            return json_string_value(json_object_get(one, "template"));
    }
    return NULL;
}

static int find_configured(const char *path, enum chat_template *ret,
                           struct rwf_err *err)
{
    size_t len;
    char *text = rwf_fs_read(path, TEMPLATE_MAX * 16, &len, err);
    json_error_t why;
    int rc = -1;

    if (text == NULL)
        return -1;
    json_t *config = json_loadb(text, len, 0, &why);
    const char *given = configured(config);
    if (config == NULL)
        rwf_fail(err, RWF_E_INPUT, "%s:%d: %s", path, why.line, why.text);
    else if (given == NULL)
        rc = 0;
    else
        rc = recognise_file(path, given, ret, err);
    json_decref(config);
    free(text);
    return rc;
}

int chat_template_find(const char *folder, enum chat_template *ret, struct rwf_err *err)
{
    char *jinja = rwf_fs_join(folder, "chat_template.jinja");
    char *config = rwf_fs_join(folder, "tokenizer_config.json");
    size_t len;
    int rc = 0;

    *ret = CHAT_NONE;
    if (rwf_fs_exists(jinja)) {
        char *text = rwf_fs_read(jinja, TEMPLATE_MAX, &len, err);
        rc = text == NULL ? -1 : recognise_file(jinja, text, ret, err);
        free(text);
    } else if (rwf_fs_exists(config)) {
        rc = find_configured(config, ret, err);
    }
    free(jinja);
    free(config);
    return rc;
}

/* --- messages, checked and flattened --- */

struct message {
    const json_t *json;
    const char *role;
    char *content; /* "" when there is none */
    bool is_text;  /* content was a text, or parts of text */
};

static int bad(struct rwf_err *err, size_t i, const char *fmt, const char *what)
{
    rwf_fail(err, RWF_E_USAGE, fmt, what);
    return rwf_wrap(err, "messages[%zu]", i);
}

static int flatten(const json_t *parts, size_t index, struct rwf_str *out,
                   struct rwf_err *err)
{
    size_t i;
    json_t *part;

    json_array_foreach((json_t *)(uintptr_t)parts, i, part) {
        const char *type = json_string_value(json_object_get(part, "type"));
        const char *text = json_string_value(json_object_get(part, "text"));
        if (type == NULL || strcmp(type, "text") != 0 || text == NULL)
            return bad(err, index, "a part of type '%s': this model reads text only",
                       type == NULL ? "(none)" : type);
        rwf_str_addf(out, "%s%s", i > 0 ? "\n" : "", text);
    }
    return 0;
}

static int read_message(struct message *m, const json_t *json, size_t i,
                        struct rwf_err *err)
{
    static const char *const roles[] = {"system", "developer", "user", "assistant",
                                        "tool"};
    const json_t *content = json_object_get(json, "content");
    struct rwf_str text = {NULL, 0, 0};
    bool known = false;

    m->json = json;
    m->role = json_string_value(json_object_get(json, "role"));
    for (size_t r = 0; m->role != NULL && r < RWF_COUNT(roles); r++)
        known = known || strcmp(m->role, roles[r]) == 0;
    if (!known)
        return bad(err, i,
                   "role is '%s': system, user, assistant and tool are the roles",
                   m->role == NULL ? "(none)" : m->role);
    if (strcmp(m->role, "developer") == 0)
        m->role = "system";
    m->is_text = json_is_string(content) || json_is_array(content);
    if (json_is_string(content))
        rwf_str_addn(&text, json_string_value(content), json_string_length(content));
    else if (json_is_array(content) && flatten(content, i, &text, err) != 0) {
        rwf_str_free(&text);
        return -1;
    }
    m->content = rwf_str_take(&text);
    if (!m->is_text && content != NULL && !json_is_null(content))
        return bad(err, i, "content is %s", "neither a text nor a list of parts");
    if (!m->is_text && strcmp(m->role, "assistant") != 0)
        return bad(err, i, "a message of role '%s' needs a content", m->role);
    return 0;
}

static void free_messages(struct message *m, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(m[i].content);
    free(m);
}

static struct message *read_messages(const json_t *list, size_t *ret_count,
                                     struct rwf_err *err)
{
    size_t count = json_array_size(list);
    struct message *m;

    if (count == 0) {
        rwf_fail(err, RWF_E_USAGE, "messages: a list with at least one message");
        return NULL;
    }
    m = rwf_xcalloc(count, sizeof(*m));
    for (size_t i = 0; i < count; i++)
        if (read_message(&m[i], json_array_get(list, i), i, err) != 0) {
            free_messages(m, count);
            return NULL;
        }
    *ret_count = count;
    return m;
}

/* --- the template --- */

static bool is(const struct message *m, const char *role)
{
    return strcmp(m->role, role) == 0;
}

static void add_tools(struct rwf_str *out, const json_t *tools, const char *system)
{
    rwf_str_add(out, "<|im_start|>system\n");
    if (system != NULL)
        rwf_str_addf(out, "%s\n\n", system);
    rwf_str_add(out, "# Tools\n\nYou may call one or more functions to assist with the "
                     "user query.\n\nYou are provided with function signatures within "
                     "<tools></tools> XML tags:\n<tools>");
    for (size_t i = 0; i < json_array_size(tools); i++) {
        rwf_str_addc(out, '\n');
        json_text_add(out, json_array_get(tools, i));
    }
    rwf_str_add(out, "\n</tools>\n\nFor each function call, return a json object with "
                     "function name and arguments within <tool_call></tool_call> XML "
                     "tags:\n<tool_call>\n{\"name\": <function-name>, \"arguments\": "
                     "<args-json-object>}\n</tool_call><|im_end|>\n");
}

/* Notes where it is if a person or a tool said it. */
static void add_content(struct rwf_str *out, const struct message *m,
                        struct tokenizer_ranges *contents)
{
    size_t start = out->len;

    rwf_str_add(out, m->content);
    if (contents != NULL && out->len > start && (is(m, "user") || is(m, "tool")))
        *RWF_PUSH(contents->items, contents->count, contents->cap) =
            (struct tokenizer_range){start, out->len};
}

static void add_turn(struct rwf_str *out, const struct message *m,
                     struct tokenizer_ranges *contents)
{
    rwf_str_addf(out, "<|im_start|>%s\n", m->role);
    add_content(out, m, contents);
    rwf_str_add(out, "<|im_end|>\n");
}

/* The last thing that a person asked; answers of tools, which look like users, are
 * none. */
static size_t last_query(const struct message *m, size_t count)
{
    for (size_t i = count; i-- > 0;)
        if (is(&m[i], "user") && m[i].is_text &&
            !(rwf_starts_with(m[i].content, "<tool_response>") &&
              rwf_ends_with(m[i].content, "</tool_response>")))
            return i;
    return count - 1;
}

static const char *skip_newlines(const char *text)
{
    return text + strspn(text, "\n");
}

static size_t without_newlines(const char *text, size_t len)
{
    while (len > 0 && text[len - 1] == '\n')
        len--;
    return len;
}

struct said {
    bool thought; /* there was a reasoning, if only of newlines */
    const char *reasoning;
    size_t reasoning_len;
    const char *content;
};

static const char *last_of(const char *text, size_t len, const char *what)
{
    size_t n = strlen(what);

    for (size_t i = len < n ? 0 : len - n + 1; i-- > 0;)
        if (memcmp(text + i, what, n) == 0)
            return text + i;
    return NULL;
}

/* What an assistant thought and what it said: from reasoning_content, or from the tags
 * in its content. */
static struct said split_reasoning(const struct message *m)
{
    static const char open[] = "<think>", close[] = "</think>";
    const char *given =
        json_string_value(json_object_get(m->json, "reasoning_content"));
    const char *newer = json_string_value(json_object_get(m->json, "reasoning"));
    const char *end = strstr(m->content, close);
    struct said s = {false, "", 0, m->content};

    given = given != NULL ? given : newer; /* vLLM has renamed it */
    if (given != NULL) {
        s.thought = *given != '\0';
        s.reasoning = skip_newlines(given);
        s.reasoning_len = without_newlines(s.reasoning, strlen(s.reasoning));
    } else if (end != NULL) {
        size_t len = without_newlines(m->content, (size_t)(end - m->content));
        const char *begin = last_of(m->content, len, open);
        s.reasoning = begin == NULL ? m->content : begin + sizeof(open) - 1;
        const char *stop = m->content + len;
        while (s.reasoning < stop && *s.reasoning == '\n')
            s.reasoning++;
        s.reasoning_len = (size_t)(stop - s.reasoning);
        s.thought = s.reasoning_len > 0;
        s.content = skip_newlines(last_of(m->content, strlen(m->content), close) +
                                  sizeof(close) - 1);
    }
    return s;
}

static int add_call(struct rwf_str *out, const json_t *call, size_t i,
                    struct rwf_err *err)
{
    const json_t *function = json_object_get(call, "function");
    const json_t *of = function != NULL ? function : call;
    const char *name = json_string_value(json_object_get(of, "name"));
    const json_t *arguments = json_object_get(of, "arguments");

    if (name == NULL || arguments == NULL)
        return bad(err, i, "a tool call without %s",
                   name == NULL ? "a name" : "arguments");
    rwf_str_addf(out, "<tool_call>\n{\"name\": \"%s\", \"arguments\": ", name);
    if (json_is_string(arguments))
        rwf_str_add(out, json_string_value(arguments));
    else
        json_text_add(out, arguments);
    rwf_str_add(out, "}\n</tool_call>");
    return 0;
}

static int add_calls(struct rwf_str *out, const struct message *m, size_t index,
                     bool after, struct rwf_err *err)
{
    const json_t *calls = json_object_get(m->json, "tool_calls");

    for (size_t i = 0; i < json_array_size(calls); i++) {
        if (i > 0 || after)
            rwf_str_addc(out, '\n');
        if (add_call(out, json_array_get(calls, i), index, err) != 0)
            return -1;
    }
    return 0;
}

static int add_assistant(const struct chat *c, struct rwf_str *out,
                         const struct message *m, size_t i, size_t count, size_t query,
                         struct rwf_err *err)
{
    struct said s = {false, "", 0, m[i].content};
    bool last = i + 1 == count;

    if (c->template_ != CHAT_QWEN3_INSTRUCT)
        s = split_reasoning(&m[i]);
    rwf_str_add(out, "<|im_start|>assistant\n");
    if (c->template_ != CHAT_QWEN3_INSTRUCT && i > query && (last || s.thought)) {
        rwf_str_add(out, "<think>\n");
        rwf_str_addn(out, s.reasoning, s.reasoning_len);
        rwf_str_addf(out, "\n</think>\n\n%s", skip_newlines(s.content));
    } else {
        rwf_str_add(out, s.content);
    }
    if (add_calls(out, &m[i], i, *s.content != '\0', err) != 0)
        return -1;
    if (!(c->go_on && last))
        rwf_str_add(out, "<|im_end|>\n");
    return 0;
}

static void add_tool_result(struct rwf_str *out, const struct message *m, size_t i,
                            size_t count, struct tokenizer_ranges *contents)
{
    if (i == 0 || !is(&m[i - 1], "tool"))
        rwf_str_add(out, "<|im_start|>user");
    rwf_str_add(out, "\n<tool_response>\n");
    add_content(out, &m[i], contents);
    rwf_str_add(out, "\n</tool_response>");
    if (i + 1 == count || !is(&m[i + 1], "tool"))
        rwf_str_add(out, "<|im_end|>\n");
}

static int qwen3(const struct chat *c, const struct message *m, size_t count,
                 struct rwf_str *out, struct tokenizer_ranges *contents,
                 struct rwf_err *err)
{
    bool system = is(&m[0], "system");
    size_t query = last_query(m, count);

    if (json_array_size(c->tools) > 0)
        add_tools(out, c->tools, system ? m[0].content : NULL);
    else if (system)
        add_turn(out, &m[0], contents);
    for (size_t i = system ? 1 : 0; i < count; i++) {
        if (is(&m[i], "user") || is(&m[i], "system"))
            add_turn(out, &m[i], contents);
        else if (is(&m[i], "tool"))
            add_tool_result(out, m, i, count, contents);
        else if (add_assistant(c, out, m, i, count, query, err) != 0)
            return -1;
    }
    if (c->go_on || c->no_prompt)
        return 0;
    rwf_str_add(out, "<|im_start|>assistant\n");
    if (c->template_ == CHAT_QWEN3_THINKING)
        rwf_str_add(out, "<think>\n");
    else if (c->template_ == CHAT_QWEN3 && c->no_thinking)
        rwf_str_add(out, "<think>\n\n</think>\n\n");
    return 0;
}

static void plain(const struct chat *c, const struct message *m, size_t count,
                  struct rwf_str *out, struct tokenizer_ranges *contents)
{
    for (size_t i = 0; i < count; i++) {
        add_content(out, &m[i], contents);
        rwf_str_add(out, c->go_on && i + 1 == count ? "" : "\n");
    }
}

int chat_prompt(const struct chat *c, struct rwf_str *out, struct tokenizer_ranges *ret_contents,
                struct rwf_err *err)
{
    size_t count = 0;
    int rc = 0;

    if (c->template_ == CHAT_NONE)
        return rwf_fail(
            err, RWF_E_USAGE,
            "this model has no chat template: use /v1/completions, or serve "
            "it with --chat-template plain");
    struct message *m = read_messages(c->messages, &count, err);
    if (m == NULL)
        return -1;
    if (c->go_on && !is(&m[count - 1], "assistant"))
        rc = bad(err, count - 1, "continue_final_message goes on with %s",
                 "an assistant's message, and the last one is none");
    else if (c->template_ == CHAT_PLAIN)
        plain(c, m, count, out, ret_contents);
    else
        rc = qwen3(c, m, count, out, ret_contents, err);
    free_messages(m, count);
    return rc;
}

bool chat_reply_thinks(const struct chat *c)
{
    return c->template_ == CHAT_QWEN3_THINKING && !c->go_on && !c->no_prompt;
}
