/* SPDX-License-Identifier: Apache-2.0
 *
 * What a model says, taken apart while it comes: its thinking (<think>…</think>), calls of tools
 * in the Hermes format (<tool_call>{"name": …, "arguments": {…}}</tool_call>), and the rest.
 * Pieces of a text of any size give the same as the whole of it.
 */
#ifndef RWF_LLM_REPLY_H
#define RWF_LLM_REPLY_H
#include <stdbool.h>
#include <stddef.h>

struct reply;

struct reply_options {
    bool reasoning; /* thinking is told apart; else the tags stay in the content */
    bool thinks;    /* it begins within <think> */
    bool tools;     /* calls are told apart; one that is no JSON stays in the content, with its
                       tags */
    /* Text of len bytes, whole characters if what came was. Newlines around the thinking are no
     * part of it. */
    void (*thinking)(void *ctx, const char *text, size_t len);
    void (*content)(void *ctx, const char *text, size_t len);
    /* A call is complete; arguments: JSON as the model wrote it. number: from 0. */
    void (*call)(void *ctx, int number, const char *name, const char *arguments);
    void *ctx;
};

struct reply *reply_create(const struct reply_options *o);
void reply_destroy(struct reply *r);
void reply_add(struct reply *r, const char *text, size_t len);
/* Nothing more comes: what was held back is told. */
void reply_end(struct reply *r);
int reply_calls(const struct reply *r);

#endif
