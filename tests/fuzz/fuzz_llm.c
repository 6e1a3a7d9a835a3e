/* SPDX-License-Identifier: Apache-2.0
 *
 * The first line as JSON of any shape: a request's parameters, its messages, a schema,
 * choices and tools that a reply must obey. The rest as what a model says: every text
 * that a schema lets through is JSON, and a reply in pieces is taken apart as the whole
 * of it.
 */
#include "config.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/str.h"
#include "llm/api_names.h"
#include "llm/api_params.h"
#include "llm/chat.h"
#include "llm/grammar.h"
#include "llm/json_text.h"
#include "llm/reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { WALK_MAX = 2000, STATES_MAX = 20000 };

/* --- parameters and prompts --- */

static void read_params(const json_t *request)
{
    const struct llm_config config = {
        .vocab = 1000, .temperature = 1, .top_p = 1, .repetition = 1};

    for (int chat = 0; chat < 2; chat++) {
        const struct api_defaults d = {&config, chat ? -1 : 16, chat == 1, NULL};
        struct rwf_err err = RWF_ERR_INIT;
        struct api_params p;
        struct llm_sampling s;
        const char *param = NULL;

        if (api_params_read(&p, request, &d, &param, &err) != 0) {
            if (param == NULL || err.text[0] == '\0')
                abort();
            continue;
        }
        api_params_sampling(&p, 0, &s);
        if (!(s.temperature >= 0) || !(s.top_p > 0) || s.max_tokens < 1 || s.top_k < 0)
            abort();
        api_params_free(&p);
    }
}

static void check_names(const json_t *request)
{
    struct api_names *names = api_names_create();

    rwf_log_set_level(RWF_LOG_ERROR); /* what it tells is not for here */
    for (unsigned where = API_CHAT; where <= API_DETOKENIZE; where *= 2) {
        struct rwf_err err = RWF_ERR_INIT;
        const char *param = NULL;
        if (api_names_check(names, where, request, &param, &err) != 0 &&
            (param == NULL || err.text[0] == '\0' || json_object_get(request, param) == NULL))
            abort();
    }
    api_names_destroy(names);
}

static void make_prompts(const json_t *request)
{
    for (int t = CHAT_QWEN3; t <= CHAT_PLAIN; t++) {
        struct chat c = {
            .template_ = (enum chat_template)t,
            .messages = json_object_get(request, "messages"),
            .tools = json_object_get(request, "tools"),
            .no_thinking = json_is_true(json_object_get(request, "no_thinking")),
            .go_on = json_is_true(json_object_get(request, "go_on")),
        };
        struct rwf_err err = RWF_ERR_INIT;
        struct rwf_str out = {0};
        struct tokenizer_ranges contents = {0};

        if (!json_is_array(c.messages) || (c.tools != NULL && !json_is_array(c.tools)))
            return;
        if (chat_prompt(&c, &out, &contents, &err) != 0 && err.text[0] == '\0')
            abort();
        for (size_t i = 0, behind = 0; i < contents.count; behind = contents.items[i++].stop)
            if (contents.items[i].start < behind || contents.items[i].stop <= contents.items[i].start ||
                contents.items[i].stop > out.len)
                abort();
        rwf_str_free(&out);
        free(contents.items);
    }
}

/* --- grammars --- */

/* Bytes that may not come are left out. */
static void walk(struct grammar *g, const uint8_t *data, size_t size, bool json)
{
    struct rwf_str text = {0};
    int state = grammar_start(g);

    for (size_t i = 0; i < size && i < WALK_MAX && state != GRAMMAR_DEAD &&
                       grammar_states(g) < STATES_MAX;
         i++) {
        int next = grammar_next(g, state, data[i]);
        if (next == GRAMMAR_DEAD)
            continue;
        state = next;
        rwf_str_addc(&text, (char)data[i]);
        if (!json || !grammar_complete(g, state) || i % 16 != 0)
            continue;
        json_error_t why;
        json_t *value =
            json_loadb(text.data, text.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
        if (value == NULL && json_error_code(&why) != json_error_numeric_overflow &&
            json_error_code(&why) != json_error_stack_overflow)
            abort();
        json_decref(value);
    }
    rwf_str_free(&text);
}

static void obey(const json_t *root, const uint8_t *data, size_t size)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct grammar *g = grammar_schema(root, &err);

    if (g != NULL)
        walk(g, data, size, true);
    else if (err.text[0] == '\0')
        abort();
    grammar_drop(g);
    g = grammar_choice(root, &err);
    if (g != NULL)
        walk(g, data, size, false);
    grammar_drop(g);
    g = grammar_calls(json_object_get(root, "tools"), NULL, true, &err);
    if (g != NULL)
        walk(g, data, size, false);
    grammar_drop(g);
}

/* --- replies --- */

struct said {
    struct rwf_str thinking, content, calls;
};

static void on_thinking(void *ctx, const char *text, size_t len)
{
    rwf_str_addn(&((struct said *)ctx)->thinking, text, len);
}

static void on_content(void *ctx, const char *text, size_t len)
{
    rwf_str_addn(&((struct said *)ctx)->content, text, len);
}

static void on_call(void *ctx, int number, const char *name, const char *arguments)
{
    rwf_str_addf(&((struct said *)ctx)->calls, "%d %s %s\n", number, name, arguments);
}

static void take_apart(const char *text, size_t size, size_t piece, bool thinks,
                       struct said *s)
{
    struct reply *r = reply_create(&(struct reply_options){.reasoning = true,
                                                           .thinks = thinks,
                                                           .tools = true,
                                                           .thinking = on_thinking,
                                                           .content = on_content,
                                                           .call = on_call,
                                                           .ctx = s});
    for (size_t at = 0; at < size; at += piece)
        reply_add(r, text + at, size - at < piece ? size - at : piece);
    reply_end(r);
    reply_destroy(r);
}

static bool same(const struct rwf_str *a, const struct rwf_str *b)
{
    return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

static void reply_in_pieces(const char *text, size_t size)
{
    struct said whole = {{0}, {0}, {0}}, pieces = {{0}, {0}, {0}};
    bool thinks = size % 2 == 1;

    take_apart(text, size, size + 1, thinks, &whole);
    take_apart(text, size, 1 + size % 5, thinks, &pieces);
    if (!same(&whole.thinking, &pieces.thinking) ||
        !same(&whole.content, &pieces.content) || !same(&whole.calls, &pieces.calls))
        abort();
    struct rwf_str *all[] = {&whole.thinking,  &whole.content,  &whole.calls,
                             &pieces.thinking, &pieces.content, &pieces.calls};
    for (size_t i = 0; i < 6; i++)
        rwf_str_free(all[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = size > 0 ? memchr(data, '\n', size) : NULL;
    size_t head = end == NULL ? size : (size_t)(end - data);
    size_t rest = end == NULL ? 0 : size - head - 1;
    json_t *root = json_loadb((const char *)data, head, JSON_DECODE_ANY, NULL);

    if (root != NULL) {
        struct rwf_str text = {0};
        json_text_add(&text, root);
        rwf_str_free(&text);
        read_params(root);
        check_names(root);
        make_prompts(root);
        obey(root, end == NULL ? data : end + 1, rest);
    }
    json_decref(root);
    reply_in_pieces((const char *)data + (size - rest), rest);
    return 0;
}
