/* SPDX-License-Identifier: Apache-2.0
 *
 * The text of a reply while its tokens come: whole characters only, and never a piece of what
 * may become a stop string. Bytes that are no UTF-8 become U+FFFD, one for each maximal piece,
 * as Python's decoder has it.
 */
#ifndef RWF_LLM_TEXT_STREAM_H
#define RWF_LLM_TEXT_STREAM_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/str.h"
#include "text/tokenizer.h"

struct text_stream;

struct text_stream_options {
    const struct tokenizer *tokenizer; /* must live as long */
    const char *const *stops;          /* copied; empty ones are not looked for */
    size_t stop_count;
    bool include_stop;  /* the stop string stays in the text */
    bool keep_special;  /* special tokens are part of the text */
    size_t least;       /* tokens in whose text no stop string is looked for */
};

struct text_stream *text_stream_create(const struct text_stream_options *o);
void text_stream_destroy(struct text_stream *s);
/* Takes one token and adds to out what is now certain. True: a stop string is complete; what
 * follows it is not told, and nothing more is taken. */
bool text_stream_add(struct text_stream *s, int32_t id, struct rwf_str *out);
/* Adds what was held back. */
void text_stream_end(struct text_stream *s, struct rwf_str *out);
/* The stop string that was found, or NULL. */
const char *text_stream_stop(const struct text_stream *s);

#endif
