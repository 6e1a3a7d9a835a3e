/* SPDX-License-Identifier: Apache-2.0
 *
 * The patterns of GPT-2 and of Qwen2/Qwen3, written out. Alternatives are tried in the
 * pattern's order; comments name them. A class of a byte below 0x80 is one look-up.
 */
#include "config.h"
#include "text/split.h"

#include <string.h>
#include "text/unicode.h"

const char text__pattern_gpt2[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| "
                                  "?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const char text__pattern_qwen[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|"
    " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

static inline enum text_class class_at(const uint8_t *p, size_t *ret_len)
{
    return text__class(text__decode(p, ret_len));
}

/* Past all characters of the class. */
static inline const uint8_t *skip(const uint8_t *p, const uint8_t *end,
                                  enum text_class class)
{
    const uint8_t *ascii = text__classes.pages[text__classes.index[0]];
    size_t n;

    while (p < end) {
        if (*p < 0x80) {
            if (ascii[*p] != class)
                return p;
            p++;
        } else {
            if (class_at(p, &n) != class)
                return p;
            p += n;
        }
    }
    return p;
}

/* The whitespace at p: its last newline's end, or where it ends without its last
 * character when something follows. */
static size_t space_run(const uint8_t *p, const uint8_t *end, bool to_newline)
{
    const uint8_t *q = p, *last = p, *newline = NULL;
    enum text_class class;
    size_t n;

    while (q < end && (class = class_at(q, &n)) >= TEXT_SPACE) {
        last = q;
        q += n;
        if (class == TEXT_NEWLINE)
            newline = q;
    }
    if (to_newline && newline) /* \s*[\r\n]+ */
        return (size_t)(newline - p);
    if (q < end && last > p) /* \s+(?!\S) */
        return (size_t)(last - p);
    return (size_t)(q - p); /* \s+ */
}

/* The length of 's 't 're 've 'm 'll 'd at p, which is an apostrophe; 0: none of them.
 */
static size_t contraction(const uint8_t *p, const uint8_t *end, unsigned fold)
{
    size_t left = (size_t)(end - p);

    if (left < 2)
        return 0;
    unsigned a = p[1] | fold, b = left > 2 ? p[2] | fold : 0;
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return 2;
    if ((b == 'e' && (a == 'r' || a == 'v')) || (a == 'l' && b == 'l'))
        return 3;
    if (fold && left > 2 && p[1] == 0xC5 && p[2] == 0xBF) /* long s */
        return 3;
    return 0;
}

size_t text__word_gpt2(const uint8_t *p, const uint8_t *end)
{
    const uint8_t *q = p;
    size_t n;

    if (*p == '\'' && (n = contraction(p, end, 0)) > 0)
        return n;
    if (*p == ' ' && p + 1 < end)
        q++;
    enum text_class class = class_at(q, &n);
    if (class >= TEXT_SPACE) /* also a space at the end of the text */
        return space_run(p, end, false);
    return (size_t)(skip(q + n, end, class) - p);
}

/* [\r\n]* */
static const uint8_t *skip_newlines(const uint8_t *p, const uint8_t *end)
{
    while (p < end && (*p == '\r' || *p == '\n'))
        p++;
    return p;
}

size_t text__word_qwen(const uint8_t *p, const uint8_t *end)
{
    size_t n, m = 0;

    if (*p == '\'' && (n = contraction(p, end, 0x20)) > 0)
        return n;
    enum text_class class = class_at(p, &n), after = TEXT_SPACE;
    if (class == TEXT_LETTER)
        return (size_t)(skip(p + n, end, TEXT_LETTER) - p);
    if (class == TEXT_NUMBER)
        return n;
    if (p + n < end)
        after = class_at(p + n, &m);
    if (class != TEXT_NEWLINE && after == TEXT_LETTER)
        return (size_t)(skip(p + n + m, end, TEXT_LETTER) - p);
    if (class == TEXT_OTHER || (*p == ' ' && after == TEXT_OTHER))
        return (size_t)(skip_newlines(skip(p + n, end, TEXT_OTHER), end) - p);
    return space_run(p, end, true);
}
