/* SPDX-License-Identifier: Apache-2.0
 *
 * Lines end at LF, CR or CR LF, as in YAML 1.2. Their starts are found once per text.
 */
#include "config.h"

#include "recipe/sources.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "recipe/recipe.h"

struct source {
    char *shown;
    char *path;
    char *text;
    size_t len;
    uint32_t *starts; /* of lines */
    size_t lines, cap;
    size_t last_line; /* found last: places are asked for mostly in order */
};

struct recipe_sources {
    struct source *items;
    size_t count, cap;
};

struct recipe_sources *recipe__sources_create(void)
{
    return rwf_xcalloc(1, sizeof(struct recipe_sources));
}

void recipe__sources_destroy(struct recipe_sources *s)
{
    if (s == NULL)
        return;
    for (size_t i = 0; i < s->count; i++) {
        free(s->items[i].shown);
        free(s->items[i].path);
        free(s->items[i].text);
        free(s->items[i].starts);
    }
    free(s->items);
    free(s);
}

static void find_lines(struct source *source)
{
    *RWF_PUSH(source->starts, source->lines, source->cap) = 0;
    for (size_t i = 0; i < source->len; i++) {
        char c = source->text[i];
        if (c == '\n' || (c == '\r' && source->text[i + 1] != '\n'))
            *RWF_PUSH(source->starts, source->lines, source->cap) = (uint32_t)i + 1;
    }
}

uint32_t recipe__sources_add(struct recipe_sources *s, const char *shown,
                             const char *path, char *text, size_t len)
{
    struct source *source = RWF_PUSH(s->items, s->count, s->cap);
    *source = (struct source){.text = text, .len = len};
    source->shown = rwf_xstrdup(shown);
    source->path = path == NULL ? NULL : rwf_xstrdup(path);
    if (path != NULL)
        find_lines(source);
    return (uint32_t)s->count - 1;
}

size_t recipe__sources_count(const struct recipe_sources *s)
{
    return s->count;
}

const char *recipe__source_text(const struct recipe_sources *s, uint32_t file,
                                size_t *ret_len)
{
    *ret_len = s->items[file].len;
    return s->items[file].text;
}

const char *recipe__source_path(const struct recipe_sources *s, uint32_t file)
{
    return s->items[file].path;
}

static bool holds(const struct source *source, size_t line, size_t offset)
{
    return line < source->lines && source->starts[line] <= offset &&
           (line + 1 == source->lines || offset < source->starts[line + 1]);
}

/* The 0-based line that holds the byte at offset. */
static size_t line_of(struct source *source, size_t offset)
{
    size_t low = 0, high = source->lines;
    for (size_t line = source->last_line; line < source->last_line + 2; line++) {
        if (holds(source, line, offset))
            return source->last_line = line;
    }
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (source->starts[middle] <= offset)
            low = middle;
        else
            high = middle;
    }
    source->last_line = low;
    return low;
}

struct recipe_span recipe__source_span(const struct recipe_sources *s, uint32_t file,
                                       size_t start, size_t end)
{
    struct source *source = &s->items[file];
    struct recipe_span span = {.file = file};
    if (source->lines == 0)
        return span;
    size_t first = line_of(source, start);
    size_t last = line_of(source, end);
    span.line = (uint32_t)first + 1;
    span.col = (uint32_t)(start - source->starts[first]) + 1;
    span.end_line = (uint32_t)last + 1;
    span.end_col = (uint32_t)(end - source->starts[last]) + 1;
    return span;
}

const char *recipe_file_path(const struct recipe_sources *s, uint32_t file)
{
    return s == NULL || file >= s->count ? "recipe" : s->items[file].shown;
}

const char *recipe_source_line(const struct recipe_sources *s, uint32_t file,
                               uint32_t line, size_t *ret_len)
{
    if (s == NULL || file >= s->count || line == 0 || line > s->items[file].lines)
        return NULL;
    const struct source *source = &s->items[file];
    size_t start = source->starts[line - 1];
    size_t end = line < source->lines ? source->starts[line] : source->len;
    while (end > start &&
           (source->text[end - 1] == '\n' || source->text[end - 1] == '\r'))
        end--;
    *ret_len = end - start;
    return source->text + start;
}

char *recipe_where(const struct recipe_sources *s, struct recipe_span span)
{
    const char *path = recipe_file_path(s, span.file);
    if (span.line == 0)
        return rwf_xstrdup(path);
    return rwf_xasprintf("%s:%u:%u", path, span.line, span.col);
}
