/* SPDX-License-Identifier: Apache-2.0
 *
 * From messages to a prompt, as the chat template that comes with a model does it. Templates are
 * programs in Jinja; we know these by their content and do what they do, to the byte:
 *
 *   qwen3           the hybrid models: thinking on and off, tools, no thinking of earlier turns
 *   qwen3-instruct  Qwen3-2507 Instruct: no thinking
 *   qwen3-thinking  Qwen3-2507 Thinking: the reply begins within <think>
 *   plain           none: contents one after another, each with a newline (for models that were
 *                   not trained to chat)
 */
#ifndef RWF_LLM_CHAT_H
#define RWF_LLM_CHAT_H
#include <jansson.h>
#include <stdbool.h>
#include "base/err.h"
#include "base/str.h"
#include "text/tokenizer.h"

enum chat_template {
    CHAT_NONE, /* the model has none */
    CHAT_QWEN3,
    CHAT_QWEN3_INSTRUCT,
    CHAT_QWEN3_THINKING,
    CHAT_PLAIN,
};

/* Of a folder: chat_template.jinja, or chat_template in tokenizer_config.json. One that is not
 * known is RWF_E_INPUT, with what to do. */
int chat_template_find(const char *folder, enum chat_template *ret, struct rwf_err *err);
/* By its name; RWF_E_USAGE with the names there are. */
int chat_template_named(const char *name, enum chat_template *ret, struct rwf_err *err);

struct chat {
    enum chat_template template_;
    const json_t *messages; /* OpenAI's */
    const json_t *tools;    /* likewise; NULL or empty: none */
    bool no_thinking;       /* enable_thinking: false */
    bool go_on; /* continue_final_message: the last message is left open, and nothing is opened
                   for the model (add_generation_prompt: false) */
    bool no_prompt; /* add_generation_prompt: false */
};

/* Adds the prompt to out. RWF_E_USAGE for messages that make none: names the message ("messages[2]")
 * and what is wrong with it. ret_contents (or NULL) gets where in out the contents of users and
 * tools are, as far as the template kept them: all else is the template's, the system's and the
 * assistant's. */
int chat_prompt(const struct chat *c, struct rwf_str *out, struct tokenizer_ranges *ret_contents,
                struct rwf_err *err);
/* The reply begins within <think>, though it has no such tag. */
bool chat_reply_thinks(const struct chat *c);

#endif
