/* SPDX-License-Identifier: Apache-2.0
 *
 * Bytes taken apart into characters and what is none, as RFC 3629 has them: no overlongs, no
 * surrogates, nothing above U+10FFFF. What is none is cut into maximal pieces, each of which
 * stands for one U+FFFD.
 */
#ifndef RWF_LLM_UTF8_H
#define RWF_LLM_UTF8_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct utf8_piece {
    size_t len;  /* of the character, or of the bytes that are none */
    bool whole;  /* it is a character */
    bool opened; /* it may become one with more bytes */
};

#define UTF8_REPLACEMENT "\xef\xbf\xbd"

/* The first piece of p[0..len), len > 0. */
struct utf8_piece utf8_piece(const uint8_t *p, size_t len);

#endif
