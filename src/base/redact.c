/* SPDX-License-Identifier: Apache-2.0
 *
 * A handful of secrets over short texts: a memchr for each first byte is enough.
 */
#include "config.h"

#include "base/redact.h"

#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { SHORTEST = 4 };

struct secret {
    char *name, *value;
    size_t len;
    size_t uses;
    bool derived; /* the JSON form of another */
};

static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
static struct secret *secrets;
static size_t count, cap, longest, added;

static struct secret *find(const char *name, const char *value, size_t len)
{
    for (size_t i = 0; i < count; i++) {
        struct secret *s = &secrets[i];
        if (s->len == len && memcmp(s->value, value, len) == 0 &&
            strcmp(s->name, name) == 0)
            return s;
    }
    return NULL;
}

static void keep(const char *name, const char *value, size_t len, bool derived)
{
    struct secret *s = find(name, value, len);
    if (s) {
        s->uses++;
        return;
    }
    s = RWF_PUSH(secrets, count, cap);
    *s = (struct secret){ rwf_xstrdup(name), rwf_xstrndup(value, len), len, 1, derived };
    added++;
    if (len > longest)
        longest = len;
}

static void wipe(struct secret *s)
{
    explicit_bzero(s->value, s->len);
    free(s->value);
    free(s->name);
}

static void let_go(const char *name, const char *value, size_t len, bool derived)
{
    struct secret *s = find(name, value, len);
    (void)derived;
    if (!s || --s->uses > 0)
        return;
    wipe(s);
    *s = secrets[--count];
    longest = 0;
    for (size_t i = 0; i < count; i++)
        if (secrets[i].len > longest)
            longest = secrets[i].len;
}

typedef void (*form_fn)(const char *name, const char *value, size_t len, bool derived);

/* Inside JSON a value with quotes or backslashes looks different. */
static void both_forms(const char *name, const char *value, form_fn fn)
{
    json_t *string = json_string(value);
    char *dump = string ? json_dumps(string, JSON_ENCODE_ANY) : NULL;
    fn(name, value, strlen(value), false);
    if (dump && strlen(dump) != strlen(value) + 2)
        fn(name, dump + 1, strlen(dump) - 2, true);
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
    pthread_rwlock_wrlock(&lock);
    both_forms(name, value, keep);
    pthread_rwlock_unlock(&lock);
    return 0;
}

void rwf_redact_drop(const char *name, const char *value)
{
    pthread_rwlock_wrlock(&lock);
    both_forms(name, value, let_go);
    pthread_rwlock_unlock(&lock);
}

void rwf_redact_each(void (*fn)(void *ctx, const char *name, const char *value),
                     void *ctx)
{
    pthread_rwlock_rdlock(&lock);
    for (size_t i = 0; i < count; i++)
        if (!secrets[i].derived)
            fn(ctx, secrets[i].name, secrets[i].value);
    pthread_rwlock_unlock(&lock);
}

size_t rwf_redact_count(void)
{
    pthread_rwlock_rdlock(&lock);
    size_t n = added;
    pthread_rwlock_unlock(&lock);
    return n;
}

bool rwf_redact_active(void)
{
    pthread_rwlock_rdlock(&lock);
    bool active = count > 0;
    pthread_rwlock_unlock(&lock);
    return active;
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

static void redact(struct rwf_str *out, const char *text, size_t len)
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

void rwf_redact(struct rwf_str *out, const char *text, size_t len)
{
    pthread_rwlock_rdlock(&lock);
    redact(out, text, len);
    pthread_rwlock_unlock(&lock);
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
    size_t n = len < longest ? len : longest ? longest - 1 : 0;
    while (n > 0 && !begins_secret(text + len - n, n))
        n--;
    return n;
}

void rwf_redact_stream(struct rwf_str *held, struct rwf_str *out, const char *bytes,
                       size_t len, bool final)
{
    pthread_rwlock_rdlock(&lock);
    rwf_str_addn(held, bytes, len);
    /* What may still grow into a secret waits; what stands before it goes. A secret that is
     * itself the beginning of a longer one waits too. */
    size_t keep = final ? 0 : open_end(held->data, held->len);
    redact(out, held->data, held->len - keep);
    pthread_rwlock_unlock(&lock);
    memmove(held->data, held->data + held->len - keep, keep);
    held->len = keep;
    held->data[keep] = '\0';
}

void rwf_redact_clear(void)
{
    pthread_rwlock_wrlock(&lock);
    for (size_t i = 0; i < count; i++)
        wipe(&secrets[i]);
    free(secrets);
    secrets = NULL;
    count = cap = longest = 0;
    pthread_rwlock_unlock(&lock);
}
