/* SPDX-License-Identifier: Apache-2.0
 * What characters HTTP allows where; for both sides. */
#ifndef RWF_HTTP_TEXT_H
#define RWF_HTTP_TEXT_H
#include <stdbool.h>
#include <stddef.h>

/* RFC 9110: not empty, letters, digits and !#$%&'*+-.^_`|~ */
bool http__is_token(const char *text);
/* No control characters but the tab. */
bool http__is_value(const char *text, size_t len);
/* Of a hexadecimal digit; -1: it is none. */
int http__hex(char c);
/* True when the list "a, b, c" has word; case does not matter. */
bool http__has_word(const char *list, const char *word);

#endif
