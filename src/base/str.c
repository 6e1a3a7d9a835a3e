/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/str.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static void reserve(struct rwf_str *s, size_t more)
{
    rwf_assert(more < SIZE_MAX - s->len - 1);
    size_t need = s->len + more + 1;
    if (need <= s->cap)
        return;
    size_t cap = s->cap ? s->cap : 64;
    while (cap < need)
        cap = cap < SIZE_MAX / 2 ? cap * 2 : need;
    s->data = rwf_xrealloc(s->data, cap);
    s->cap = cap;
}

void rwf_str_addn(struct rwf_str *s, const char *bytes, size_t len)
{
    reserve(s, len);
    if (len)
        memcpy(s->data + s->len, bytes, len);
    s->len += len;
    s->data[s->len] = '\0';
}

void rwf_str_add(struct rwf_str *s, const char *text)
{
    rwf_str_addn(s, text, strlen(text));
}

void rwf_str_addc(struct rwf_str *s, char c)
{
    rwf_str_addn(s, &c, 1);
}

void rwf_str_addf(struct rwf_str *s, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    reserve(s, 0);
    size_t room = s->cap - s->len;
    int len = vsnprintf(s->data + s->len, room, fmt, ap);
    rwf_assert(len >= 0);
    if ((size_t)len >= room) {
        reserve(s, (size_t)len);
        vsnprintf(s->data + s->len, (size_t)len + 1, fmt, again);
    }
    s->len += (size_t)len;
    va_end(again);
    va_end(ap);
}

void rwf_str_add_shell(struct rwf_str *s, const char *text)
{
    static const char harmless[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                   "0123456789_-./:=@%+,";
    if (*text && text[strspn(text, harmless)] == '\0') {
        rwf_str_add(s, text);
        return;
    }
    rwf_str_addc(s, '\'');
    for (; *text; text++) {
        if (*text == '\'')
            rwf_str_add(s, "'\\''");
        else
            rwf_str_addc(s, *text);
    }
    rwf_str_addc(s, '\'');
}

void rwf_str_add_xml(struct rwf_str *s, const char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        switch (c) {
        case '&': rwf_str_add(s, "&amp;"); break;
        case '<': rwf_str_add(s, "&lt;"); break;
        case '>': rwf_str_add(s, "&gt;"); break;
        case '"': rwf_str_add(s, "&quot;"); break;
        case '\'': rwf_str_add(s, "&#39;"); break;
        default:
            if (c < 0x20 && c != '\n' && c != '\t' && c != '\r')
                rwf_str_add(s, "\xef\xbf\xbd");
            else
                rwf_str_addc(s, (char)c);
        }
    }
}

void rwf_str_clear(struct rwf_str *s)
{
    s->len = 0;
    if (s->data)
        s->data[0] = '\0';
}

char *rwf_str_take(struct rwf_str *s)
{
    reserve(s, 0);
    s->data[s->len] = '\0';
    char *data = s->data;
    *s = (struct rwf_str){ 0 };
    return data;
}

void rwf_str_free(struct rwf_str *s)
{
    free(s->data);
    *s = (struct rwf_str){ 0 };
}

bool rwf_starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

bool rwf_ends_with(const char *text, const char *suffix)
{
    size_t n = strlen(text), m = strlen(suffix);
    return n >= m && memcmp(text + n - m, suffix, m) == 0;
}

/* Bytes of the well-formed character at s, 0 when there is none. RFC 3629, section 4. */
static size_t utf8_length(const unsigned char *s, size_t left)
{
    if (s[0] < 0x80)
        return 1;
    size_t n = s[0] >= 0xC2 && s[0] <= 0xDF ? 2 : (s[0] & 0xF0) == 0xE0 ? 3
             : s[0] >= 0xF0 && s[0] <= 0xF4 ? 4 : 0;
    if (n == 0 || n > left)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xC0) != 0x80)
            return 0;
    bool bad = (s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F)
            || (s[0] == 0xF0 && s[1] < 0x90) || (s[0] == 0xF4 && s[1] > 0x8F);
    return bad ? 0 : n;
}

bool rwf_utf8_valid(const char *text, size_t len)
{
    const unsigned char *s = (const unsigned char *)text;
    for (size_t i = 0; i < len;) {
        size_t n = utf8_length(s + i, len - i);
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}
