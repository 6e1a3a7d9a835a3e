/* SPDX-License-Identifier: Apache-2.0
 *
 * Templates: scanning text for ${ref} and putting values in their place. A scanner by
 * hand: one pass, no recursion, no memory beyond the arena. What a name means is the
 * scope's business; conditions (condition.c) share the reference parser.
 *
 * Invariants: refs stand in the order of the text and do not overlap; every `parts` has
 * at least one element; offset and len always lie inside the text.
 */
#include "config.h"
#include "recipe/expr.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "base/mem.h"
#include "base/str.h"
#include "recipe/expr_parse.h"

#define PARTS_MAX 16

int expr__fail(struct expr_cursor *c, size_t at, const char *fmt, ...)
{
    char text[400];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    c->error_at = at;
    return rwf_fail(c->err, RWF_E_RECIPE, "%s", text);
}

void expr__skip_space(struct expr_cursor *c)
{
    while (isspace((unsigned char)c->text[c->at]))
        c->at++;
}

const char *expr__char_name(char ch, char out[EXPR_CHAR_NAME_LEN])
{
    if (ch == '\0')
        return "the end of the text";
    if ((unsigned char)ch < 0x20 || (unsigned char)ch >= 0x7f)
        snprintf(out, EXPR_CHAR_NAME_LEN, "byte 0x%02x", (unsigned char)ch);
    else
        snprintf(out, EXPR_CHAR_NAME_LEN, "'%c'", ch);
    return out;
}

static bool is_name_start(char ch)
{
    return isalpha((unsigned char)ch) || ch == '_';
}

static bool is_name(char ch)
{
    return isalnum((unsigned char)ch) || ch == '_' || ch == '-';
}

/* Bytes from an opening quote to its closing one; 0 when there is none. */
static size_t string_length(const char *s)
{
    size_t n = 1;

    for (; s[n] != s[0]; n++) {
        if (s[n] == '\\' && s[n + 1] != '\0')
            n++;
        if (s[n] == '\0')
            return 0;
    }
    return n;
}

/* Backslash keeps the next byte. */
char *expr__parse_string(struct expr_cursor *c)
{
    const char *s = c->text + c->at;
    size_t length = string_length(s), len = 0;
    char *out;

    if (length == 0) {
        expr__fail(c, c->at, "the string that starts here has no closing %c", s[0]);
        return NULL;
    }
    out = rwf_arena_alloc(c->arena, length);
    for (size_t i = 1; i < length; i++) {
        if (s[i] == '\\')
            i++;
        out[len++] = s[i];
    }
    c->at += length + 1;
    return out;
}

static int parse_name(struct expr_cursor *c, const char **ret)
{
    char seen[EXPR_CHAR_NAME_LEN];
    size_t start = c->at;

    if (!is_name_start(c->text[c->at]))
        return expr__fail(c, c->at, "expected a name, found %s",
                          expr__char_name(c->text[c->at], seen));
    while (is_name(c->text[c->at]))
        c->at++;
    *ret = rwf_arena_strndup(c->arena, c->text + start, c->at - start);
    return 0;
}

static int parse_index(struct expr_cursor *c, const char **ret)
{
    size_t start = ++c->at;

    while (isdigit((unsigned char)c->text[c->at]))
        c->at++;
    if (c->at == start || c->at - start > 9 || c->text[c->at] != ']')
        return expr__fail(c, start, "expected a number and ']' after '['");
    *ret = rwf_arena_strndup(c->arena, c->text + start, c->at - start);
    c->at++;
    return 0;
}

static int parse_parts(struct expr_cursor *c, struct expr_ref *ref)
{
    const char *parts[PARTS_MAX];
    size_t start = c->at;

    if (parse_name(c, &parts[ref->count++]) < 0)
        return -1;
    while (c->text[c->at] == '.' || c->text[c->at] == '[') {
        if (ref->count == PARTS_MAX)
            return expr__fail(c, c->at, "a reference has at most %d parts", PARTS_MAX);
        bool dot = c->text[c->at] == '.';
        c->at += dot;
        const char **part = &parts[ref->count++];
        if ((dot ? parse_name(c, part) : parse_index(c, part)) < 0)
            return -1;
    }
    ref->text = rwf_arena_strndup(c->arena, c->text + start, c->at - start);
    ref->parts = rwf_arena_alloc(c->arena, ref->count * sizeof(*parts));
    memcpy(ref->parts, parts, ref->count * sizeof(*parts));
    return 0;
}

static int parse_fallback(struct expr_cursor *c, struct expr_ref *ref)
{
    c->at += 2;
    expr__skip_space(c);
    if (c->text[c->at] != '"' && c->text[c->at] != '\'')
        return expr__fail(c, c->at,
                          "the default after ?? is a quoted string, "
                          "as in ${env.NAME ?? \"value\"}");
    ref->fallback = expr__parse_string(c);
    return ref->fallback ? 0 : -1;
}

int expr__parse_ref(struct expr_cursor *c, struct expr_ref *ret)
{
    char seen[EXPR_CHAR_NAME_LEN];
    struct expr_ref ref = {.offset = c->at};

    c->at += 2;
    expr__skip_space(c);
    if (parse_parts(c, &ref) < 0)
        return -1;
    expr__skip_space(c);
    if (strncmp(c->text + c->at, "??", 2) == 0 && parse_fallback(c, &ref) < 0)
        return -1;
    expr__skip_space(c);
    if (c->text[c->at] == '\0')
        return expr__fail(c, ref.offset, "this '${' has no closing '}'");
    if (c->text[c->at] != '}')
        return expr__fail(c, c->at,
                          "expected '}' after the reference '%.80s', found %s",
                          ref.text, expr__char_name(c->text[c->at], seen));
    c->at++;
    ref.len = c->at - ref.offset;
    *ret = ref;
    return 0;
}

/* Moves to the next "${" that is not escaped; false at the end. */
static bool seek_ref(struct expr_cursor *c)
{
    const char *p = c->text + c->at;

    for (; (p = strchr(p, '$')) != NULL; p++) {
        if (p[1] == '$' && p[2] == '{') {
            p += 2;
        } else if (p[1] == '{') {
            c->at = (size_t)(p - c->text);
            return true;
        }
    }
    return false;
}

/* An upper bound of the references in text. */
size_t expr__count_refs(const char *text)
{
    size_t n = 0;

    for (; *text; text++)
        n += text[0] == '$' && text[1] == '{';
    return n;
}

struct expr_template *expr_template_parse_at(struct rwf_arena *a, const char *text,
                                             size_t *ret_at, struct rwf_err *err)
{
    struct expr_template *t = rwf_arena_alloc(a, sizeof(*t));
    struct expr_cursor c = {.arena = a, .text = rwf_arena_strdup(a, text), .err = err};
    size_t most = expr__count_refs(text);

    t->text = c.text;
    t->refs = most ? rwf_arena_alloc(a, most * sizeof(*t->refs)) : NULL;
    while (seek_ref(&c)) {
        rwf_assert(t->count < most);
        if (expr__parse_ref(&c, &t->refs[t->count]) < 0) {
            *ret_at = c.error_at;
            return NULL;
        }
        t->count++;
    }
    t->whole = t->count == 1 && t->refs[0].offset == 0 && text[t->refs[0].len] == '\0';
    return t;
}

struct expr_template *expr_template_parse(struct rwf_arena *a, const char *text,
                                          struct rwf_err *err)
{
    size_t at = 0;
    struct expr_template *t = expr_template_parse_at(a, text, &at, err);

    if (!t)
        rwf_wrap(err, "column %zu", at + 1);
    return t;
}

/* Adds text[0..len) with $${ become ${. */
static void add_literal(struct rwf_str *out, const char *text, size_t len)
{
    size_t start = 0;

    for (size_t i = 0; i + 2 < len; i++) {
        if (text[i] == '$' && text[i + 1] == '$' && text[i + 2] == '{') {
            rwf_str_addn(out, text + start, i - start);
            start = i + 1;
            i += 2;
        }
    }
    rwf_str_addn(out, text + start, len - start);
}

static void add_value(struct rwf_str *out, const struct expr_value *v)
{
    if (v->type != EXPR_LIST) {
        rwf_str_add(out, v->text ? v->text : "");
        return;
    }
    for (size_t i = 0; i < v->count; i++) {
        if (i > 0)
            rwf_str_addc(out, ' ');
        rwf_str_add_shell(out, v->items[i].text ? v->items[i].text : "");
    }
}

/* The type of a text that a value of type b was put into. */
static enum expr_type taint(enum expr_type a, const struct expr_value *b)
{
    enum expr_type t = b->type;

    if (t == EXPR_LIST)
        t = b->count ? b->items[0].type : EXPR_STRING;
    if (a == EXPR_SECRET || t == EXPR_SECRET)
        return EXPR_SECRET;
    return a == EXPR_PENDING || t == EXPR_PENDING ? EXPR_PENDING : EXPR_STRING;
}

int expr_template_eval(const struct expr_template *t, const struct expr_scope *scope,
                       struct rwf_arena *a, struct expr_value *ret, struct rwf_err *err)
{
    struct expr_value value = {.type = EXPR_STRING};
    struct rwf_str out = {0};
    size_t at = 0;
    int rc = -1;

    if (t->whole)
        return scope->lookup(scope->ctx, a, &t->refs[0], ret, err);
    for (size_t i = 0; i < t->count; i++) {
        const struct expr_ref *ref = &t->refs[i];
        struct expr_value part = {.type = EXPR_STRING};
        add_literal(&out, t->text + at, ref->offset - at);
        if (scope->lookup(scope->ctx, a, ref, &part, err) < 0)
            goto out;
        add_value(&out, &part);
        value.type = taint(value.type, &part);
        at = ref->offset + ref->len;
    }
    add_literal(&out, t->text + at, strlen(t->text + at));
    value.text = rwf_arena_strndup(a, out.data ? out.data : "", out.len);
    *ret = value;
    rc = 0;
out:
    rwf_str_free(&out);
    return rc;
}
