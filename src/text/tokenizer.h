/* SPDX-License-Identifier: Apache-2.0
 *
 * Byte-level BPE: text to ids and back, from a tokenizer.json of Hugging Face's layout
 * (Qwen3's, GPT-2's and those that bpe_train makes), exactly as their tokenizers do it:
 * added tokens first, NFC where the file says so, the pattern (PCRE2 or a hand-written
 * matcher of the two known ones), bytes, merges by rank. What a file asks for and we do not
 * do is refused by name: other normalizers than NFC, pre-tokenizers than ByteLevel and Split
 * (Isolated), post-processors than ByteLevel and TemplateProcessing, dropout. Truncation and padding
 * are not looked at. Programs that link libtext.a link $(TEXT_LIBS), too.
 */
#ifndef RWF_TEXT_TOKENIZER_H
#define RWF_TEXT_TOKENIZER_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "base/str.h"

struct tokenizer;

/* Of a tokenizer.json, or a folder that has one. RWF_E_INPUT with what is wrong. */
struct tokenizer *tokenizer_open(const char *path, struct rwf_err *err);
struct tokenizer *tokenizer_parse(const char *json, size_t len, const char *name,
                                  struct rwf_err *err);
void tokenizer_close(struct tokenizer *t);
/* Ids are 0 <= id < count; some may stand for nothing. */
int32_t tokenizer_count(const struct tokenizer *t);

/* Growing list of ids; zero-initialise. */
struct tokenizer_ids {
    int32_t *ids;
    size_t count, cap;
};
/* Adds the ids of text[0..len) to out. Thread-safe. Invalid UTF-8 is encoded byte by byte. */
void tokenizer_encode(const struct tokenizer *t, const char *text, size_t len,
                      struct tokenizer_ids *out);
/* Bytes [start, stop) of a text; of many a growing list, zero-initialise. */
struct tokenizer_range {
    size_t start, stop;
};
struct tokenizer_ranges {
    struct tokenizer_range *items;
    size_t count, cap;
};
/* As tokenizer_encode, but within the ranges (ascending, apart, at borders of characters) texts of
 * added tokens are plain text, and so are those that overlap one. A text that has none of these
 * has the same ids either way. */
void tokenizer_encode_fenced(const struct tokenizer *t, const char *text, size_t len,
                             const struct tokenizer_ranges *plain, struct tokenizer_ids *out);
/* With the tokens that its TemplateProcessing puts around a text (embedding models have some):
 * what Hugging Face's encode gives unless add_special_tokens is false. */
void tokenizer_encode_framed(const struct tokenizer *t, const char *text, size_t len,
                             struct tokenizer_ids *out);
/* The same, but texts of added tokens ("<|im_end|>") in it are plain text. */
void tokenizer_encode_plain(const struct tokenizer *t, const char *text, size_t len,
                            struct tokenizer_ids *out);
/* Adds the bytes of ids to out; may end within a character. Ids without a token: nothing. */
void tokenizer_decode(const struct tokenizer *t, const int32_t *ids, size_t count,
                      struct rwf_str *out);
/* An added token that its file calls special: no part of a text for people. */
bool tokenizer_special(const struct tokenizer *t, int32_t id);
/* The id of an added token's or a vocabulary's text; -1 when there is none. */
int32_t tokenizer_id(const struct tokenizer *t, const char *token);
/* The token that ends a text: <|endoftext|> or </s>; -1 when there is none. */
int32_t tokenizer_end(const struct tokenizer *t);

/* --- training --- */

struct bpe_trainer;

/* vocab_size: all ids, the 256 bytes and the special tokens included; there are fewer when
 * the text has no more pairs that occur twice (min_frequency is 2, as in Hugging Face's
 * ByteLevelBPETokenizer). The pattern is GPT-2's, ids of special tokens come first as their
 * trainer gives them; ties between pairs are decided as theirs, so that the same text gives
 * the same tokenizer.json. NULL and RWF_E_INPUT when vocab_size is too small for the bytes
 * and special tokens. */
struct bpe_trainer *bpe_trainer_create(int32_t vocab_size, const char *const *special,
                                       size_t special_count, struct rwf_err *err);
/* Memory grows with the number of distinct words only. No word goes from one text into the
 * next. */
void bpe_trainer_add(struct bpe_trainer *t, const char *text, size_t len);
/* The tokenizer.json, which the caller frees; NULL and *err when there was no text. */
char *bpe_trainer_finish(struct bpe_trainer *t, size_t *ret_len, struct rwf_err *err);
void bpe_trainer_destroy(struct bpe_trainer *t);

#endif
