/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cmd/change.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"

#define WHOLE 60   /* texts up to this length are shown whole */
#define CONTEXT 24 /* bytes kept around a difference */
#define LONGEST 240
#define DIGEST "sha256:"
#define DIGEST_KEPT 12

static bool continues(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

/* "sha256:" and 64 digits become "sha256:" and 12. */
static char *with_short_digests(const char *text)
{
    struct rwf_str out = {0};
    const char *at;

    while ((at = strstr(text, DIGEST))) {
        size_t head = (size_t)(at - text) + strlen(DIGEST);
        size_t digits = strspn(text + head, "0123456789abcdef");
        rwf_str_addn(&out, text, head + (digits > DIGEST_KEPT ? DIGEST_KEPT : digits));
        text += head + digits;
    }
    rwf_str_add(&out, text);
    return rwf_str_take(&out);
}

static char *as_text(const json_t *value)
{
    if (!value)
        return rwf_xstrdup("(absent)");
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    char *out = with_short_digests(text ? text : "?");
    free(text);
    return out;
}

/* The piece of text around [from, len - rest). */
static char *piece(const char *text, size_t from, size_t rest)
{
    size_t len = strlen(text), start = from > CONTEXT ? from - CONTEXT : 0;
    size_t end = rest > CONTEXT ? len - rest + CONTEXT : len;

    while (start > 0 && continues(text[start]))
        start--;
    if (end > start + LONGEST)
        end = start + LONGEST;
    while (end < len && continues(text[end]))
        end++;
    return rwf_xasprintf("%s%.*s%s", start ? "…" : "", (int)(end - start), text + start,
                         end < len ? "…" : "");
}

void cmd_change_words(const json_t *was, const json_t *now, char **ret_was,
                      char **ret_now)
{
    char *a = as_text(was), *b = as_text(now);
    size_t la = strlen(a), lb = strlen(b), head = 0, tail = 0;

    if (la <= WHOLE && lb <= WHOLE) {
        *ret_was = a;
        *ret_now = b;
        return;
    }
    while (head < la && head < lb && a[head] == b[head])
        head++;
    while (tail < la - head && tail < lb - head && a[la - tail - 1] == b[lb - tail - 1])
        tail++;
    *ret_was = piece(a, head, tail);
    *ret_now = piece(b, head, tail);
    free(a);
    free(b);
}
