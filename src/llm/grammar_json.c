/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "llm/grammar_json.h"

#include <string.h>

#include "base/mem.h"

#define INDENT 20

/* --- small words --- */

void rules_text(struct rules *w, struct grammar__seq *s, const char *bytes)
{
    grammar__text(w->g, s, bytes, strlen(bytes));
}

static void range(struct rules *w, struct grammar__seq *s, const char *pairs)
{
    grammar__range(w->g, s, pairs, strlen(pairs));
}

void rules_end(struct rules *w, int rule, struct grammar__seq *s)
{
    grammar__alternative(w->g, rule, s);
}

void rules_empty(struct rules *w, int rule)
{
    rules_end(w, rule, &(struct grammar__seq){NULL, 0, 0});
}

int rules_of_text(struct rules *w, const char *bytes, size_t len)
{
    int r = grammar__rule(w->g);
    struct grammar__seq s = {NULL, 0, 0};

    grammar__text(w->g, &s, bytes, len);
    rules_end(w, r, &s);
    return r;
}

/* rule may be left out. */
static int rules_optional(struct rules *w, int rule)
{
    int r = grammar__rule(w->g);
    struct grammar__seq s = {NULL, 0, 0};

    rules_empty(w, r);
    grammar__call(&s, rule);
    rules_end(w, r, &s);
    return r;
}

/* From least to most (-1: any number) of rule. */
int rules_repeated(struct rules *w, int rule, int least, int most)
{
    int tail = -1;
    struct grammar__seq s = {NULL, 0, 0};

    if (most < 0) {
        tail = grammar__rule(w->g);
        rules_empty(w, tail);
        grammar__call(&s, rule);
        grammar__call(&s, tail);
        rules_end(w, tail, &s);
    } else {
        for (int i = least; i < most; i++) {
            int r = grammar__rule(w->g);
            rules_empty(w, r);
            grammar__call(&s, rule);
            if (tail >= 0)
                grammar__call(&s, tail);
            rules_end(w, r, &s);
            tail = r;
        }
    }
    int all = grammar__rule(w->g);
    for (int i = 0; i < least; i++)
        grammar__call(&s, rule);
    if (tail >= 0)
        grammar__call(&s, tail);
    rules_end(w, all, &s);
    return all;
}

/* --- JSON itself --- */

static void write_space(struct rules *w)
{
    int blank = grammar__rule(w->g);
    struct grammar__seq s = {NULL, 0, 0};

    range(w, &s, "  \t\t");
    rules_end(w, blank, &s);
    int indent = rules_repeated(w, blank, 0, INDENT);
    w->space = grammar__rule(w->g);
    rules_empty(w, w->space);
    rules_text(w, &s, " ");
    rules_end(w, w->space, &s);
    rules_text(w, &s, "\n");
    grammar__call(&s, indent);
    rules_end(w, w->space, &s);
}

/* One character of a string: well-formed UTF-8 (RFC 3629) or an escape. */
static void write_character(struct rules *w)
{
    static const char *const forms[][4] = {
        {" !#[]\x7f"},
        {"\xc2\xdf", "\x80\xbf"},
        {"\xe0\xe0", "\xa0\xbf", "\x80\xbf"},
        {"\xe1\xec\xee\xef", "\x80\xbf", "\x80\xbf"},
        {"\xed\xed", "\x80\x9f", "\x80\xbf"},
        {"\xf0\xf0", "\x90\xbf", "\x80\xbf", "\x80\xbf"},
        {"\xf1\xf3", "\x80\xbf", "\x80\xbf", "\x80\xbf"},
        {"\xf4\xf4", "\x80\x8f", "\x80\xbf", "\x80\xbf"},
        {"\\\\", "\"\"//\\\\bbffnnrrtt"},
    };
    struct grammar__seq s = {NULL, 0, 0};

    w->character = grammar__rule(w->g);
    for (size_t i = 0; i < RWF_COUNT(forms); i++) {
        for (int k = 0; k < 4 && forms[i][k] != NULL; k++)
            range(w, &s, forms[i][k]);
        rules_end(w, w->character, &s);
    }
    /* \uXXXX of no surrogate, so that the text stays whole. */
    rules_text(w, &s, "\\u");
    range(w, &s, "09ACEFacef");
    for (int i = 0; i < 3; i++)
        range(w, &s, "09AFaf");
    rules_end(w, w->character, &s);
    rules_text(w, &s, "\\u");
    range(w, &s, "DDdd");
    range(w, &s, "07");
    for (int i = 0; i < 2; i++)
        range(w, &s, "09AFaf");
    rules_end(w, w->character, &s);
}

int rules_quoted(struct rules *w, int inside)
{
    int r = grammar__rule(w->g);
    struct grammar__seq s = {NULL, 0, 0};

    rules_text(w, &s, "\"");
    grammar__call(&s, inside);
    rules_text(w, &s, "\"");
    rules_end(w, r, &s);
    return r;
}

static int digits(struct rules *w)
{
    int digit = grammar__rule(w->g);
    struct grammar__seq s = {NULL, 0, 0};

    range(w, &s, "09");
    rules_end(w, digit, &s);
    return rules_repeated(w, digit, 0, 15);
}

static void write_numbers(struct rules *w)
{
    int more = digits(w), minus = rules_optional(w, rules_of_text(w, "-", 1));
    int fraction = grammar__rule(w->g), exponent = grammar__rule(w->g);
    struct grammar__seq s = {NULL, 0, 0};

    w->integer = grammar__rule(w->g);
    grammar__call(&s, minus);
    rules_text(w, &s, "0");
    rules_end(w, w->integer, &s);
    grammar__call(&s, minus);
    range(w, &s, "19");
    grammar__call(&s, more);
    rules_end(w, w->integer, &s);
    rules_empty(w, fraction);
    rules_text(w, &s, ".");
    range(w, &s, "09");
    grammar__call(&s, more);
    rules_end(w, fraction, &s);
    rules_empty(w, exponent);
    for (const char *sign = "+-"; *sign; sign++) {
        range(w, &s, "EEee");
        grammar__range(w->g, &s, (const char[]){*sign, *sign}, 2);
        range(w, &s, "09");
        grammar__call(&s, rules_optional(w, more));
        rules_end(w, exponent, &s);
    }
    w->number = grammar__rule(w->g);
    grammar__call(&s, w->integer);
    grammar__call(&s, fraction);
    grammar__call(&s, exponent);
    rules_end(w, w->number, &s);
}

/* open items close, where items may be nothing; all with white space. */
int rules_brackets(struct rules *w, const char *open, int items, const char *close)
{
    int r = grammar__rule(w->g);
    struct grammar__seq s = {NULL, 0, 0};

    rules_text(w, &s, open);
    grammar__call(&s, w->space);
    grammar__call(&s, items);
    grammar__call(&s, w->space);
    rules_text(w, &s, close);
    rules_end(w, r, &s);
    return r;
}

void rules_comma(struct rules *w, struct grammar__seq *s)
{
    grammar__call(s, w->space);
    rules_text(w, s, ",");
    grammar__call(s, w->space);
}

/* item of least to most, with commas. */
int rules_list(struct rules *w, int item, int least, int most)
{
    int further = grammar__rule(w->g), r = grammar__rule(w->g);
    struct grammar__seq s = {NULL, 0, 0};

    rules_comma(w, &s);
    grammar__call(&s, item);
    rules_end(w, further, &s);
    if (least == 0)
        rules_empty(w, r);
    if (most == 0)
        return r;
    grammar__call(&s, item);
    grammar__call(&s, rules_repeated(w, further, least > 0 ? least - 1 : 0,
                                     most < 0 ? -1 : most - 1));
    rules_end(w, r, &s);
    return r;
}

int rules_pair(struct rules *w, int key, int value)
{
    int r = grammar__rule(w->g);
    struct grammar__seq s = {NULL, 0, 0};

    grammar__call(&s, key);
    grammar__call(&s, w->space);
    rules_text(w, &s, ":");
    grammar__call(&s, w->space);
    grammar__call(&s, value);
    rules_end(w, r, &s);
    return r;
}

void rules_one_of(struct rules *w, int rule, int alternative)
{
    struct grammar__seq s = {NULL, 0, 0};

    grammar__call(&s, alternative);
    rules_end(w, rule, &s);
}

static void write_json(struct rules *w)
{
    write_space(w);
    write_character(w);
    write_numbers(w);
    w->string = rules_quoted(w, rules_repeated(w, w->character, 0, -1));
    w->value = grammar__rule(w->g);
    w->array = rules_brackets(w, "[", rules_list(w, w->value, 0, -1), "]");
    w->object = rules_brackets(
        w, "{", rules_list(w, rules_pair(w, w->string, w->value), 0, -1), "}");
    rules_one_of(w, w->value, w->string);
    rules_one_of(w, w->value, w->number);
    rules_one_of(w, w->value, w->object);
    rules_one_of(w, w->value, w->array);
    rules_one_of(w, w->value, rules_of_text(w, "true", 4));
    rules_one_of(w, w->value, rules_of_text(w, "false", 5));
    rules_one_of(w, w->value, rules_of_text(w, "null", 4));
}

void rules_open(struct rules *w, const json_t *root, struct rwf_err *err)
{
    *w = (struct rules){.g = grammar__create(), .root = root, .err = err};
    w->refs = rwf_map_create();
    (void)grammar__rule(w->g); /* the start */
    write_json(w);
}

struct grammar *rules_close(struct rules *w, bool good)
{
    struct grammar *g = w->g;

    rwf_map_destroy(w->refs, NULL);
    if (good && grammar__sound(g))
        return g;
    if (good)
        rwf_fail(w->err, RWF_E_USAGE,
                 "schema: a $ref comes back to itself and says nothing");
    grammar_drop(g);
    return NULL;
}
