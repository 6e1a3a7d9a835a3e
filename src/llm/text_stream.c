/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "llm/text_stream.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "llm/utf8.h"

struct text_stream {
    const struct tokenizer *tokenizer;
    char **stops;
    size_t stop_count;
    bool include_stop, keep_special;
    size_t least, taken;
    const char *stopped;
    struct rwf_str bytes; /* not yet whole characters */
    struct rwf_str held;  /* text that may begin a stop string */
};

struct text_stream *text_stream_create(const struct text_stream_options *o)
{
    struct text_stream *s = rwf_xcalloc(1, sizeof(*s));

    s->tokenizer = o->tokenizer;
    s->include_stop = o->include_stop;
    s->keep_special = o->keep_special;
    s->least = o->least;
    s->stops = rwf_xcalloc(o->stop_count + 1, sizeof(*s->stops));
    for (size_t i = 0; i < o->stop_count; i++)
        if (o->stops[i][0] != '\0')
            s->stops[s->stop_count++] = rwf_xstrdup(o->stops[i]);
    return s;
}

void text_stream_destroy(struct text_stream *s)
{
    if (s == NULL)
        return;
    for (size_t i = 0; i < s->stop_count; i++)
        free(s->stops[i]);
    free(s->stops);
    rwf_str_free(&s->bytes);
    rwf_str_free(&s->held);
    free(s);
}

const char *text_stream_stop(const struct text_stream *s)
{
    return s->stopped;
}

/* --- bytes to characters --- */

/* Moves characters from bytes to held; last: also what will never become one. */
static void take_characters(struct text_stream *s, bool last)
{
    size_t at = 0;

    while (at < s->bytes.len) {
        const uint8_t *p = (const uint8_t *)s->bytes.data + at;
        struct utf8_piece piece = utf8_piece(p, s->bytes.len - at);
        if (piece.opened && !last)
            break;
        if (piece.whole)
            rwf_str_addn(&s->held, (const char *)p, piece.len);
        else
            rwf_str_add(&s->held, UTF8_REPLACEMENT);
        at += piece.len;
    }
    size_t left = s->bytes.len - at;
    if (at > 0 && left > 0)
        memmove(s->bytes.data, s->bytes.data + at, left);
    s->bytes.len = left;
}

/* --- stop strings --- */

/* Where the first stop string begins in held, the longest of those that begin there. */
static bool find_stop(struct text_stream *s, size_t *ret_at)
{
    const char *first = NULL;

    for (size_t i = 0; i < s->stop_count; i++) {
        const char *at =
            memmem(s->held.data, s->held.len, s->stops[i], strlen(s->stops[i]));
        if (at == NULL || (first != NULL && at > first) ||
            (at == first && strlen(s->stops[i]) <= strlen(s->stopped)))
            continue;
        first = at;
        s->stopped = s->stops[i];
    }
    if (first == NULL)
        return false;
    *ret_at = (size_t)(first - s->held.data);
    return true;
}

/* How much of the end of held may be the beginning of a stop string. */
static size_t may_stop(const struct text_stream *s)
{
    size_t most = 0;

    for (size_t i = 0; i < s->stop_count; i++) {
        size_t n = strlen(s->stops[i]) - 1;
        n = n < s->held.len ? n : s->held.len;
        while (n > most && memcmp(s->held.data + s->held.len - n, s->stops[i], n) != 0)
            n--;
        most = n > most ? n : most;
    }
    return most;
}

static void give(struct text_stream *s, size_t len, struct rwf_str *out)
{
    rwf_str_addn(out, s->held.data, len);
    s->held.len -= len;
    memmove(s->held.data, s->held.data + len, s->held.len);
}

static bool settle(struct text_stream *s, struct rwf_str *out)
{
    size_t at;

    if (s->held.len == 0)
        return false;
    if (s->taken <= s->least) {
        give(s, s->held.len, out);
        return false;
    }
    if (find_stop(s, &at)) {
        rwf_str_addn(out, s->held.data, at);
        if (s->include_stop)
            rwf_str_add(out, s->stopped);
        rwf_str_clear(&s->held);
        rwf_str_clear(&s->bytes);
        return true;
    }
    give(s, s->held.len - may_stop(s), out);
    return false;
}

bool text_stream_add(struct text_stream *s, int32_t id, struct rwf_str *out)
{
    if (s->stopped != NULL)
        return true;
    s->taken++;
    if (s->keep_special || !tokenizer_special(s->tokenizer, id))
        tokenizer_decode(s->tokenizer, &id, 1, &s->bytes);
    take_characters(s, false);
    return settle(s, out);
}

void text_stream_end(struct text_stream *s, struct rwf_str *out)
{
    if (s->stopped != NULL)
        return;
    take_characters(s, true);
    if (!settle(s, out) && s->held.len > 0)
        give(s, s->held.len, out);
}
