/* SPDX-License-Identifier: Apache-2.0
 *
 * Patterns that are not known by hand, through PCRE2. Only the syntax that means the
 * same to Oniguruma passes; \s is White_Space there, which PCRE2 spells \p{wspace}.
 */
#include "config.h"
#include "text/split.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <ctype.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "text/unicode.h"

/* \p{L}, \p{N} and \p{M}, with what came after the Unicode of an older PCRE2. */
static size_t translate_category(const char *p, bool in_class, struct rwf_str *out)
{
    if (strlen(p) < 5 || p[2] != '{' || !strchr("LNM", p[3]) || p[4] != '}' ||
        (in_class && p[1] == 'P'))
        return 0;
    rwf_str_add(out, in_class ? "" : p[1] == 'p' ? "[" : "[^");
    rwf_str_addf(out, "\\p{%c}", p[3]);
    text__add_new(p[3], out);
    rwf_str_add(out, in_class ? "" : "]");
    return 5;
}

/* Adds the escape at p ("\s") to out; returns its length, 0 when it is not understood.
 */
static size_t translate_escape(const char *p, bool in_class, struct rwf_str *out)
{
    size_t n = p[1] == 'p' || p[1] == 'P' ? translate_category(p, in_class, out) : 0;

    if (n)
        return n;
    if (p[1] == 's' || p[1] == 'S') {
        rwf_str_add(out, p[1] == 's' ? "\\p{wspace}" : "\\P{wspace}");
        return 2;
    }
    if (p[1] && (ispunct((unsigned char)p[1]) || strchr("pPdDrntx", p[1]))) {
        rwf_str_addn(out, p, 2);
        return 2;
    }
    return 0;
}

static int translate(const char *pattern, struct rwf_str *out, struct rwf_err *err)
{
    bool in_class = false;

    for (const char *p = pattern; *p;) {
        if (*p == '\\') {
            size_t n = translate_escape(p, in_class, out);
            if (n == 0)
                return rwf_fail(err, RWF_E_INPUT,
                                "the pattern's \\%c is not supported: %s", p[1],
                                pattern);
            p += n;
            continue;
        }
        if ((in_class && (*p == '[' || (p[0] == '&' && p[1] == '&'))) ||
            (!in_class && (strchr("^$.", *p) || (p[0] == '{' && p[1] == ','))))
            return rwf_fail(err, RWF_E_INPUT, "the pattern's %.1s is not supported: %s",
                            p, pattern);
        if (*p == '[') {
            in_class = true;
            rwf_str_addc(out, *p++);
            if (*p == '^')
                rwf_str_addc(out, *p++);
            continue;
        }
        if (*p == ']')
            in_class = false;
        rwf_str_addc(out, *p++);
    }
    return 0;
}

static int compile(struct text__step *step, const char *text, bool literal,
                   const char *pattern, struct rwf_err *err)
{
    uint32_t options = PCRE2_UTF | (literal ? PCRE2_LITERAL : PCRE2_UCP),
             may_be_empty = 0;
    PCRE2_UCHAR message[160];
    PCRE2_SIZE offset;
    int code;

    pcre2_code *re = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, options,
                                   &code, &offset, NULL);
    if (!re) {
        pcre2_get_error_message(code, message, sizeof(message));
        return rwf_fail(err, RWF_E_INPUT, "the pattern %s: %s", pattern,
                        (const char *)message);
    }
    pcre2_pattern_info(re, PCRE2_INFO_MATCHEMPTY, &may_be_empty);
    if (may_be_empty) {
        pcre2_code_free(re);
        return rwf_fail(err, RWF_E_INPUT, "the pattern can match nothing at all: %s",
                        pattern);
    }
    pcre2_jit_compile(re, PCRE2_JIT_COMPLETE); /* faster where there is one */
    step->code = re;
    return 0;
}

int text__step_init(struct text__step *step, const char *pattern, bool literal,
                    struct rwf_err *err)
{
    struct rwf_str text = {0};
    int ret = -1;

    memset(step, 0, sizeof(*step));
    if (!literal && strcmp(pattern, text__pattern_gpt2) == 0)
        step->word = text__word_gpt2;
    else if (!literal && strcmp(pattern, text__pattern_qwen) == 0)
        step->word = text__word_qwen;
    if (step->word)
        return 0;
    if (pattern[0] == '\0')
        return rwf_fail(err, RWF_E_INPUT, "the pattern is empty");
    if (literal)
        return compile(step, pattern, true, pattern, err);
    if (translate(pattern, &text, err) == 0)
        ret = compile(step, text.data, false, pattern, err);
    rwf_str_free(&text);
    return ret;
}

void text__step_free(struct text__step *step)
{
    pcre2_code_free(step->code);
}

void text__match_free(void *match_data)
{
    pcre2_match_data_free(match_data);
}

/* The next match in p[from..len); false when there is none. */
static bool next_match(const struct text__step *step, const uint8_t *p, size_t from,
                       size_t len, pcre2_match_data *match, size_t ret[2])
{
    int rc = pcre2_match(step->code, p, len, from, PCRE2_NO_UTF_CHECK, match, NULL);

    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(step->code, p, len, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                         match, NULL);
    if (rc < 0 && rc != PCRE2_ERROR_NOMATCH)
        rwf_log(RWF_LOG_WARN, "text",
                "a limit of PCRE2 (%d) keeps %zu bytes of text in one piece", rc,
                len - from);
    if (rc < 0)
        return false;
    const PCRE2_SIZE *found = pcre2_get_ovector_pointer(match);
    ret[0] = found[0];
    ret[1] = found[1];
    return true;
}

void text__split(const struct text__step *steps, size_t count, const uint8_t *p,
                 size_t len, void **match_data, text__put_fn put, void *ctx)
{
    size_t at = 0, found[2];

    if (count == 0) {
        if (len)
            put(ctx, p, len);
        return;
    }
    if (steps->word) {
        for (size_t n; at < len; at += n) {
            n = steps->word(p + at, p + len);
            text__split(steps + 1, count - 1, p + at, n, match_data, put, ctx);
        }
        return;
    }
    if (!*match_data) {
        *match_data = pcre2_match_data_create(1, NULL);
        if (!*match_data)
            rwf_out_of_memory(64);
    }
    while (at < len && next_match(steps, p, at, len, *match_data, found)) {
        /* What lies between two matches is a piece, too. */
        text__split(steps + 1, count - 1, p + at, found[0] - at, match_data, put, ctx);
        text__split(steps + 1, count - 1, p + found[0], found[1] - found[0], match_data,
                    put, ctx);
        at = found[1];
    }
    text__split(steps + 1, count - 1, p + at, len - at, match_data, put, ctx);
}
