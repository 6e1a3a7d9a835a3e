/* SPDX-License-Identifier: Apache-2.0
 *
 * What the tokenizer asks of Unicode: UTF-8, the classes that the patterns name, and
 * NFC. Tables are made once, from utf8proc; differences in the version of Unicode
 * between it and Hugging Face tokenizers are levelled to theirs (classes of 16.0, NFC
 * of 9.0).
 */
#ifndef RWF_TEXT_UNICODE_H
#define RWF_TEXT_UNICODE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/str.h"

/* NEWLINE (CR, LF) is a SPACE, too: compare with >= TEXT_SPACE for \s. */
enum text_class { TEXT_OTHER, TEXT_LETTER, TEXT_NUMBER, TEXT_SPACE, TEXT_NEWLINE };

struct text__pages {
    uint16_t index[0x1100];
    uint8_t (*pages)[256];
    size_t count, cap;
};
extern struct text__pages text__classes;

/* Makes the tables; before anything below. Any number of times, from any thread. */
void text__unicode_init(void);

static inline enum text_class text__class(uint32_t c)
{
    return (enum text_class)text__classes.pages[text__classes.index[c >> 8]][c & 255];
}

/* \w of the regex crate of Rust. */
bool text__is_word(uint32_t c);

/* Adds the characters of class L, N or M that came between Unicode 14 and 16, as ranges
 * for a pattern of PCRE2. */
void text__add_new(char class, struct rwf_str *out);

/* The character at p, in well-formed UTF-8, and its length. */
static inline uint32_t text__decode(const uint8_t *p, size_t *ret_len)
{
    if (p[0] < 0x80) {
        *ret_len = 1;
        return p[0];
    }
    if (p[0] < 0xE0) {
        *ret_len = 2;
        return (p[0] & 0x1Fu) << 6 | (p[1] & 0x3Fu);
    }
    if (p[0] < 0xF0) {
        *ret_len = 3;
        return (p[0] & 0x0Fu) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu);
    }
    *ret_len = 4;
    return (p[0] & 0x07u) << 18 | (p[1] & 0x3Fu) << 12 | (p[2] & 0x3Fu) << 6 |
           (p[3] & 0x3Fu);
}

/* Writes c at out (4 bytes); returns the length. */
size_t text__encode(uint32_t c, uint8_t *out);
/* How many bytes from the start of p[0..len) are well-formed UTF-8. */
size_t text__valid_prefix(const uint8_t *p, size_t len);
/* How many bytes from the start of p[0..len) are ASCII. */
size_t text__ascii_prefix(const uint8_t *p, size_t len);

/* True when p[0..len), well-formed, is NFC already, as far as a quick check can say. */
bool text__nfc_quick(const uint8_t *p, size_t len);
/* Adds the NFC of p[0..len), well-formed, to out. */
void text__nfc(const uint8_t *p, size_t len, struct rwf_str *out);
/* The character at p leaves what precedes it alone: the NFC of a text is that of what is before p
 * and that of the rest. */
bool text__nfc_safe(const uint8_t *p);
/* Makes NFC's tables; part of text__unicode_init. */
void text__nfc_init(void);

/* The character that stands for a byte in tokenizer.json (GPT-2's map), and back: -1
 * when c stands for none. */
uint32_t text__byte_char(uint8_t byte);
int text__char_byte(uint32_t c);

#endif
