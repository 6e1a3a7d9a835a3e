/* SPDX-License-Identifier: Apache-2.0
 *
 * Cutting text into the words that merges stay within: the two known patterns by hand,
 * any other through PCRE2. Text is well-formed UTF-8. Every byte belongs to exactly one
 * word.
 */
#ifndef RWF_TEXT_SPLIT_H
#define RWF_TEXT_SPLIT_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

/* The length (at least 1) of the word that starts at p < end. */
typedef size_t (*text__word_fn)(const uint8_t *p, const uint8_t *end);
size_t text__word_gpt2(const uint8_t *p, const uint8_t *end);
size_t text__word_qwen(const uint8_t *p, const uint8_t *end);

extern const char text__pattern_gpt2[];
extern const char text__pattern_qwen[];

/* One step of cutting: by a known pattern, or a compiled one. */
struct text__step {
    text__word_fn word; /* or NULL and */
    void *code;         /* pcre2_code */
};

/* literal: the pattern is a plain text. RWF_E_INPUT when the pattern is not understood
 * here as Oniguruma, which Hugging Face tokenizers uses, understands it. */
int text__step_init(struct text__step *step, const char *pattern, bool literal,
                    struct rwf_err *err);
void text__step_free(struct text__step *step);

/* Calls put for each word of p[0..len) after all steps. *match_data is kept between
 * calls for the caller, who frees it with text__match_free. */
typedef void (*text__put_fn)(void *ctx, const uint8_t *word, size_t len);
void text__split(const struct text__step *steps, size_t count, const uint8_t *p,
                 size_t len, void **match_data, text__put_fn put, void *ctx);
void text__match_free(void *match_data);

#endif
