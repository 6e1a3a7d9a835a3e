/* SPDX-License-Identifier: Apache-2.0
 *
 * A handful of secrets over short texts: a memchr for each first byte is enough.
 */
#include "config.h"

#include "base/redact.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { SHORTEST = 4 };

struct secret {
    char *name, *value;
    size_t len;
};

static struct secret *secrets;
static size_t count, cap, longest;

static void keep(const char *name, const char *value, size_t len)
{
    struct secret *s = RWF_PUSH(secrets, count, cap);
    *s = (struct secret){ rwf_xstrdup(name), rwf_xstrndup(value, len), len };
    if (len > longest)
        longest = len;
}

/* Inside JSON a value with quotes or backslashes looks different. */
static void keep_json_form(const char *name, const char *value)
{
    json_t *string = json_string(value);
    char *dump = string ? json_dumps(string, JSON_ENCODE_ANY) : NULL;
    if (dump && strlen(dump) != strlen(value) + 2)
        keep(name, dump + 1, strlen(dump) - 2);
    if (dump)
        explicit_bzero(dump, strlen(dump));
    free(dump);
    json_decref(string);
}

int rwf_redact_add(const char *name, const char *value, struct rwf_err *err)
{
    size_t len = strlen(value);
    if (len < SHORTEST)
        return rwf_fail(err, RWF_E_INPUT,
                        "secret '%s' has fewer than %d characters: too short to be kept "
                        "out of logs",
                        name, SHORTEST);
    keep(name, value, len);
    keep_json_form(name, value);
    return 0;
}

size_t rwf_redact_count(void)
{
    return count;
}

bool rwf_redact_active(void)
{
    return count > 0;
}

/* The secret that starts first in text; of two at one place the longer. */
static const struct secret *find_first(const char *text, size_t len, size_t *ret_at)
{
    const struct secret *best = NULL;
    for (size_t i = 0; i < count; i++) {
        const struct secret *s = &secrets[i];
        const char *hit = memmem(text, len, s->value, s->len);
        if (!hit)
            continue;
        size_t at = (size_t)(hit - text);
        if (!best || at < *ret_at || (at == *ret_at && s->len > best->len)) {
            best = s;
            *ret_at = at;
        }
    }
    return best;
}

void rwf_redact(struct rwf_str *out, const char *text, size_t len)
{
    const struct secret *s;
    size_t at = 0;
    while (count && (s = find_first(text, len, &at))) {
        rwf_str_addn(out, text, at);
        rwf_str_addf(out, "[secret:%s]", s->name);
        text += at + s->len;
        len -= at + s->len;
    }
    rwf_str_addn(out, text, len);
}

/* True when all of text is the beginning of a longer secret. */
static bool begins_secret(const char *text, size_t len)
{
    for (size_t i = 0; i < count; i++)
        if (len < secrets[i].len && memcmp(text, secrets[i].value, len) == 0)
            return true;
    return false;
}

/* How many last bytes of text could be the beginning of a secret. */
static size_t open_end(const char *text, size_t len)
{
    size_t n = len < longest - 1 ? len : longest - 1;
    while (n > 0 && !begins_secret(text + len - n, n))
        n--;
    return n;
}

void rwf_redact_stream(struct rwf_str *held, struct rwf_str *out, const char *bytes,
                       size_t len, bool final)
{
    if (count == 0) {
        rwf_str_addn(out, bytes, len);
        return;
    }
    rwf_str_addn(held, bytes, len);
    /* What may still grow into a secret waits; what stands before it goes. A secret that is
     * itself the beginning of a longer one waits too. */
    size_t keep = final ? 0 : open_end(held->data, held->len);
    rwf_redact(out, held->data, held->len - keep);
    memmove(held->data, held->data + held->len - keep, keep);
    held->len = keep;
    held->data[keep] = '\0';
}

void rwf_redact_clear(void)
{
    for (size_t i = 0; i < count; i++) {
        explicit_bzero(secrets[i].value, secrets[i].len);
        free(secrets[i].value);
        free(secrets[i].name);
    }
    free(secrets);
    secrets = NULL;
    count = cap = longest = 0;
}
