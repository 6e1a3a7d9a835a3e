/* SPDX-License-Identifier: Apache-2.0
 *
 * A growing byte string, always NUL-terminated once anything was added. Zero-initialise it.
 */
#ifndef RWF_BASE_STR_H
#define RWF_BASE_STR_H
#include <stdbool.h>
#include <stddef.h>

struct rwf_str {
    char *data;
    size_t len;
    size_t cap;
};

void rwf_str_add(struct rwf_str *s, const char *text);
void rwf_str_addn(struct rwf_str *s, const char *bytes, size_t len);
void rwf_str_addc(struct rwf_str *s, char c);
void rwf_str_addf(struct rwf_str *s, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* Adds text for a POSIX shell: as it is when harmless, else in single quotes. */
void rwf_str_add_shell(struct rwf_str *s, const char *text);
/* Adds text with & < > " ' escaped for HTML and XML; control bytes become U+FFFD. */
void rwf_str_add_xml(struct rwf_str *s, const char *text);
void rwf_str_clear(struct rwf_str *s);
/* The bytes, now the caller's to free; never NULL. *s is empty afterwards. */
char *rwf_str_take(struct rwf_str *s);
void rwf_str_free(struct rwf_str *s);

bool rwf_starts_with(const char *text, const char *prefix);
bool rwf_ends_with(const char *text, const char *suffix);
/* True when text[0..len) is well-formed UTF-8 (RFC 3629: no surrogates, no overlongs). */
bool rwf_utf8_valid(const char *text, size_t len);

#endif
