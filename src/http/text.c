/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "http/text.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

static bool is_tchar(unsigned char c)
{
    static const uint32_t set[8] = {
        0, 0x03ff6cfa, 0xc7fffffe, 0x57ffffff, 0, 0, 0, 0,
    };
    return set[c >> 5] >> (c & 31) & 1;
}

bool http__is_token(const char *text)
{
    if (!*text)
        return false;
    for (; *text; text++)
        if (!is_tchar((unsigned char)*text))
            return false;
    return true;
}

bool http__is_value(const char *text, size_t len)
{
    bool good = true;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        good &= (c >= 0x20 || c == '\t') && c != 0x7f;
    }
    return good;
}

int http__hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool http__has_word(const char *list, const char *word)
{
    size_t len = strlen(word);
    while (*list) {
        list += strspn(list, ", \t");
        size_t n = strcspn(list, ", \t");
        if (n == len && !strncasecmp(list, word, len))
            return true;
        list += n;
    }
    return false;
}
