/* SPDX-License-Identifier: Apache-2.0
 *
 * Diagnostics for people and for programs:
 *
 *   recipe.yaml:7:5: error[E0101]: unknown key 'timout' in tasks.train
 *       7 |     timout: 10m
 *         |     ^~~~~~
 *         = help: did you mean 'timeout'?
 *         = recipe.yaml:3:5: first set here
 *
 * A column of a terminal is neither a byte nor a code point, so the line under the
 * source repeats tabs and counts the cells that each code point takes.
 */
#include "config.h"

#include "recipe/diag_print.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/redact.h"
#include "base/str.h"
#include "recipe/recipe.h"

#define SHOWN_BYTES 160 /* of a source line; more is cut around the caret */
#define MARKED_CELLS 120

struct paint {
    const char *error, *warning, *bold, *dim, *mark, *off;
};
static const struct paint colored = {"\033[1;31m", "\033[1;33m", "\033[1m",
                                     "\033[2m",    "\033[1;32m", "\033[0m"};
static const struct paint plain = {"", "", "", "", "", ""};

static uint32_t code_point(const char *p, size_t len, size_t *ret_len)
{
    unsigned char c = (unsigned char)p[0];
    size_t want = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    uint32_t point = want == 1 ? c : c & (0x7fu >> want);
    *ret_len = 1;
    if (want > len || (c >= 0x80 && c < 0xc2))
        return 0xfffd;
    for (size_t i = 1; i < want; i++) {
        if (((unsigned char)p[i] & 0xc0) != 0x80)
            return 0xfffd;
        point = point << 6 | ((unsigned char)p[i] & 0x3f);
    }
    *ret_len = want;
    return point;
}

static int cells_of(uint32_t point)
{
    static const struct {
        uint32_t first, last;
        int cells;
    } special[] = {
        {0x0300, 0x036f, 0},   {0x1100, 0x115f, 2},   {0x200b, 0x200f, 0},
        {0x20d0, 0x20ff, 0},   {0x2e80, 0xa4cf, 2},   {0xac00, 0xd7a3, 2},
        {0xf900, 0xfaff, 2},   {0xfe00, 0xfe0f, 0},   {0xfe30, 0xfe6f, 2},
        {0xff00, 0xff60, 2},   {0xffe0, 0xffe6, 2},   {0x1f300, 0x1faff, 2},
        {0x20000, 0x3fffd, 2}, {0xe0100, 0xe01ef, 0},
    };
    for (size_t i = 0; i < RWF_COUNT(special); i++) {
        if (point >= special[i].first && point <= special[i].last)
            return special[i].cells;
    }
    return 1;
}

static bool is_control(uint32_t point)
{
    return point < 0x20 || (point >= 0x7f && point < 0xa0);
}

/* The source line, what could move the cursor replaced. */
static void add_source(struct rwf_str *out, const char *text, size_t len)
{
    for (size_t i = 0, step; i < len; i += step) {
        uint32_t point = code_point(text + i, len - i, &step);
        if (point == '\t' || (!is_control(point) && point != 0xfffd))
            rwf_str_addn(out, text + i, step);
        else
            rwf_str_add(out, "\xef\xbf\xbd");
    }
}

/* Blanks as wide as text, tabs kept. */
static void add_blanks(struct rwf_str *out, const char *text, size_t len)
{
    for (size_t i = 0, step; i < len; i += step) {
        uint32_t point = code_point(text + i, len - i, &step);
        for (int n = point == '\t' ? 1 : cells_of(point); n > 0; n--)
            rwf_str_addc(out, point == '\t' ? '\t' : ' ');
    }
}

static void add_marks(struct rwf_str *out, const char *text, size_t len)
{
    int cells = 0;
    for (size_t i = 0, step; i < len && cells < MARKED_CELLS; i += step)
        cells += cells_of(code_point(text + i, len - i, &step));
    rwf_str_addc(out, '^');
    for (int i = 1; i < cells; i++)
        rwf_str_addc(out, '~');
}

/* The part of a line that is shown: bytes from start to end. */
struct window {
    size_t start, end;
};

static bool inside_character(const char *text, size_t at)
{
    return ((unsigned char)text[at] & 0xc0) == 0x80;
}

static struct window choose_window(const char *text, size_t len, size_t caret)
{
    struct window w = {0, len};
    if (len <= SHOWN_BYTES)
        return w;
    w.start = caret > SHOWN_BYTES / 2 ? caret - SHOWN_BYTES / 2 : 0;
    w.end = w.start + SHOWN_BYTES < len ? w.start + SHOWN_BYTES : len;
    while (w.start > 0 && inside_character(text, w.start))
        w.start--;
    while (w.end < len && inside_character(text, w.end))
        w.end++;
    return w;
}

static void add_excerpt(struct rwf_str *out, const struct recipe_span *span,
                        const struct recipe_sources *sources, const struct paint *paint)
{
    size_t len = 0;
    const char *text = recipe_source_line(sources, span->file, span->line, &len);
    if (text == NULL)
        return;
    size_t caret = span->col - 1 < len ? span->col - 1 : len;
    size_t end = span->end_line == span->line ? span->end_col - 1 : len;
    struct window w = choose_window(text, len, caret);
    end = end > w.end ? w.end : end < caret ? caret : end;
    const char *cut = w.start > 0 ? "..." : "";
    rwf_str_addf(out, "%s%5u |%s %s", paint->dim, span->line, paint->off, cut);
    add_source(out, text + w.start, w.end - w.start);
    rwf_str_addf(out, "%s\n%s      |%s ", w.end < len ? "..." : "", paint->dim,
                 paint->off);
    rwf_str_add(out, cut[0] != '\0' ? "   " : "");
    add_blanks(out, text + w.start, caret - w.start);
    rwf_str_add(out, paint->mark);
    add_marks(out, text + caret, end - caret);
    rwf_str_addf(out, "%s\n", paint->off);
}

static void add_diag(struct rwf_str *out, const struct recipe_diag *diag,
                     const struct recipe_sources *sources, const struct paint *paint)
{
    const struct recipe_code_info *info = recipe_code_info(diag->code);
    bool error = info->severity == RECIPE_ERROR;
    char *where = recipe_where(sources, diag->span);
    rwf_str_addf(out, "%s%s:%s %s%s[%s]:%s %s%s%s\n", paint->bold, where, paint->off,
                 error ? paint->error : paint->warning, error ? "error" : "warning",
                 info->name, paint->off, paint->bold, diag->message, paint->off);
    free(where);
    add_excerpt(out, &diag->span, sources, paint);
    if (diag->hint != NULL)
        rwf_str_addf(out, "      %s= help:%s %s\n", paint->dim, paint->off, diag->hint);
    if (diag->related_text == NULL)
        return;
    where = recipe_where(sources, diag->related);
    rwf_str_addf(out, "      %s= %s:%s %s\n", paint->dim, where, paint->off,
                 diag->related_text);
    free(where);
}

static void add_count(struct rwf_str *out, const struct recipe_diags *d)
{
    size_t errors = recipe_diags_errors(d), warnings = recipe__diags_warnings(d);
    size_t hidden = errors + warnings - recipe_diags_count(d);
    if (errors + warnings == 0)
        return;
    rwf_str_addf(out, "%zu error%s", errors, errors == 1 ? "" : "s");
    if (warnings > 0)
        rwf_str_addf(out, ", %zu warning%s", warnings, warnings == 1 ? "" : "s");
    if (hidden > 0)
        rwf_str_addf(out, ", %zu of them not shown", hidden);
    rwf_str_addc(out, '\n');
}

void recipe_diags_print(struct recipe_diags *d, const struct recipe_sources *sources,
                        FILE *out, bool color)
{
    struct rwf_str text = {0}, clean = {0};
    for (size_t i = 0; i < recipe_diags_count(d); i++)
        add_diag(&text, recipe_diags_at(d, i), sources, color ? &colored : &plain);
    add_count(&text, d);
    rwf_redact(&clean, text.len > 0 ? text.data : "", text.len);
    if (clean.len > 0)
        fwrite(clean.data, 1, clean.len, out);
    rwf_str_free(&clean);
    rwf_str_free(&text);
}

static void set_text(json_t *object, const char *key, const char *text)
{
    struct rwf_str clean = {0};
    rwf_redact(&clean, text, strlen(text));
    const char *value = clean.len > 0 ? clean.data : "";
    json_object_set_new(object, key,
                        rwf_utf8_valid(value, clean.len) ? json_string(value)
                                                         : json_string("(not UTF-8)"));
    rwf_str_free(&clean);
}

static void set_span(json_t *object, const struct recipe_sources *sources,
                     const struct recipe_span *span)
{
    set_text(object, "file", recipe_file_path(sources, span->file));
    json_object_set_new(object, "line", json_integer(span->line));
    json_object_set_new(object, "col", json_integer(span->col));
    json_object_set_new(object, "end_line", json_integer(span->end_line));
    json_object_set_new(object, "end_col", json_integer(span->end_col));
}

static json_t *diag_json(const struct recipe_diag *diag,
                         const struct recipe_sources *sources)
{
    const struct recipe_code_info *info = recipe_code_info(diag->code);
    json_t *object = json_object();
    set_text(object, "code", info->name);
    set_text(object, "severity", info->severity == RECIPE_ERROR ? "error" : "warning");
    set_text(object, "message", diag->message);
    set_span(object, sources, &diag->span);
    if (diag->hint != NULL)
        set_text(object, "hint", diag->hint);
    if (diag->fix != NULL)
        set_text(object, "fix", diag->fix);
    if (diag->related_text != NULL) {
        json_t *related = json_object();
        set_text(related, "message", diag->related_text);
        set_span(related, sources, &diag->related);
        json_object_set_new(object, "related", related);
    }
    return object;
}

json_t *recipe_diags_json(struct recipe_diags *d, const struct recipe_sources *sources)
{
    json_t *array = json_array();
    for (size_t i = 0; i < recipe_diags_count(d); i++)
        json_array_append_new(array, diag_json(recipe_diags_at(d, i), sources));
    return array;
}
