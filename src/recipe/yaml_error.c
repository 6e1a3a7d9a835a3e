/* SPDX-License-Identifier: Apache-2.0
 *
 * libyaml says where it stumbled; the table says what people usually meant.
 */
#include "config.h"

#include "recipe/yaml_error.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "recipe/yaml.h"

static const struct {
    const char *problem, *hint;
} hints[] = {
    {"mapping values are not allowed",
     "text that holds ': ' is written in quotes; or this line is indented too far"},
    {"did not find expected key",
     "all keys of a map start in the same column: check this line and the one above"},
    {"could not find expected ':'",
     "a key is followed by ': '; text of several lines starts with | after its key"},
    {"did not find expected ',' or", "a bracket is not closed; inside [ ] and { } text "
                                     "with ${...} is written in quotes"},
    {"did not find expected '-' indicator",
     "all items of a list start in the same column, each with '- '"},
    {"did not find expected comment or line break",
     "'>' and '|' start text of several lines: write the value in quotes, as in "
     "\">=\""},
    {"found unexpected end of stream", "a quote or bracket is not closed"},
    {"found unknown escape character",
     "in double quotes a backslash is written twice; or use single quotes"},
    {"block sequence entries are not allowed", "a list starts on a line of its own"},
    {"did not find expected alphabetic or numeric character",
     "text that starts with '*' or '&' is written in quotes"},
    {"found character that cannot start any token",
     "text that starts with '@', '`' or '%' is written in quotes"},
    {"found undefined tag handle", "text that starts with '!' is written in quotes"},
    {"did not find expected <document start>",
     "the map ended on the line above: check the indentation"},
};

static const char *hint_for(const char *problem)
{
    for (size_t i = 0; i < RWF_COUNT(hints); i++) {
        if (strncmp(problem, hints[i].problem, strlen(hints[i].problem)) == 0)
            return hints[i].hint;
    }
    return "the cause is often a line above: a missing quote, colon or indent";
}

/* A tab in the indentation of the line that holds the byte at offset: its own offset in
 * *ret. libyaml often stumbles later in that line, over something else. */
static bool tab_indents(const char *text, size_t at, size_t *ret)
{
    while (at > 0 && text[at - 1] != '\n')
        at--;
    at += strspn(text + at, " ");
    *ret = at;
    return text[at] == '\t';
}

void recipe__syntax_report(struct recipe_diags *diags,
                           const struct recipe_sources *sources, uint32_t file,
                           const struct recipe__syntax_error *e)
{
    size_t tab = 0;
    const char *text = recipe__source_text(sources, file, &tab);
    struct recipe_diag *diag;
    if (tab_indents(text, e->at, &tab)) {
        diag = recipe_diag_add(diags, RECIPE_E0007,
                               recipe__source_span(sources, file, tab, tab + 1),
                               "this line is indented with a tab");
        recipe_diag_hint(diag, "YAML indents with spaces only");
        return;
    }
    struct recipe_span span = recipe__source_span(sources, file, e->at, e->at);
    diag = recipe_diag_add(diags, RECIPE_E0001, span, "this is not valid YAML: %s%s%s",
                           e->problem, e->context == NULL ? "" : ", ",
                           e->context == NULL ? "" : e->context);
    recipe_diag_hint(diag, "%s", hint_for(e->problem));
    if (e->context != NULL && e->context_at != e->at)
        recipe_diag_relate(
            diag, recipe__source_span(sources, file, e->context_at, e->context_at),
            "%s that starts here", e->context);
}

static size_t sequence_length(unsigned char c)
{
    return c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

static int bad_text(struct recipe_diags *diags, struct recipe_span span,
                    enum recipe_code code, const char *what, unsigned char byte)
{
    struct recipe_diag *diag =
        recipe_diag_add(diags, code, span, "%s (byte 0x%02x)", what, byte);
    if (code == RECIPE_E0002)
        recipe_diag_hint(diag,
                         "a recipe is UTF-8 text; convert it with iconv -t utf-8");
    else
        recipe_diag_hint(diag, "remove it, or write it as \"\\x%02x\" in quotes", byte);
    return -1;
}

/* libyaml compares each %TAG with all before it, so many of them would cost minutes. */
static int refuse_directives(struct recipe_diags *diags,
                             const struct recipe_sources *sources, uint32_t file)
{
    size_t len = 0, at = 0;
    const char *text = recipe__source_text(sources, file, &len);
    while (at < len) {
        if (strncmp(text + at, "%TAG", 4) == 0) {
            recipe_diag_add(diags, RECIPE_E0005,
                            recipe__source_span(sources, file, at, at + 4),
                            "a %%TAG directive has no meaning in a recipe");
            return -1;
        }
        if (text[at] != '%' && text[at] != '#' && strchr(" \t\r\n", text[at]) == NULL)
            return 0;
        at += strcspn(text + at, "\n");
        at += at < len;
    }
    return 0;
}

int recipe__text_check(struct recipe_diags *diags, const struct recipe_sources *sources,
                       uint32_t file)
{
    size_t len = 0;
    const char *text = recipe__source_text(sources, file, &len);
    bool whole = rwf_utf8_valid(text, len);
    for (size_t i = 0, step; i < len; i += step) {
        unsigned char c = (unsigned char)text[i];
        step = whole ? 1 : sequence_length(c);
        bool control = (c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7f;
        if (!control && (whole || (step <= len - i && rwf_utf8_valid(text + i, step))))
            continue;
        struct recipe_span span = recipe__source_span(sources, file, i, i + 1);
        if (c == 0)
            return bad_text(diags, span, RECIPE_E0002, "a NUL byte in the text", c);
        if (control)
            return bad_text(diags, span, RECIPE_E0001, "a control character", c);
        return bad_text(diags, span, RECIPE_E0002, "this is not UTF-8", c);
    }
    return refuse_directives(diags, sources, file);
}
