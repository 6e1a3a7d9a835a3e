/* SPDX-License-Identifier: Apache-2.0
 *
 * The collection. Texts are made safe for a terminal when they come in: names in
 * messages are the user's bytes. Sorted when first read, by file, line, column and then
 * arrival.
 */
#include "config.h"

#include "recipe/diag.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/str.h"
#include "recipe/diag_print.h"

#define MESSAGE_MAX 600 /* bytes: a name in it may be a megabyte */

struct recipe_diags {
    struct recipe_diag **items;
    size_t count, cap;
    size_t errors[2];          /* by severity, those not kept included */
    size_t input_errors;       /* of them: about missing or changed files */
    struct rwf_map *known;     /* "code file line col message" -> diag */
    struct recipe_diag excess; /* what is beyond RECIPE_DIAGS_KEPT is written here */
    bool sorted;
};

static const struct recipe_code_info infos[] = {
#define RECIPE_DIAG(code, severity, title, help) {#code, severity, title, help},
#include "recipe/diag.def"
#undef RECIPE_DIAG
};

const struct recipe_code_info *recipe_code_info(enum recipe_code code)
{
    rwf_assert((size_t)code < RWF_COUNT(infos));
    return &infos[code];
}

const struct recipe_code_info *recipe_code_find(const char *name)
{
    for (size_t i = 0; i < RWF_COUNT(infos); i++) {
        if (strcasecmp(infos[i].name, name) == 0)
            return &infos[i];
    }
    return NULL;
}

struct recipe_diags *recipe_diags_create(void)
{
    struct recipe_diags *d = rwf_xcalloc(1, sizeof(*d));
    d->known = rwf_map_create();
    return d;
}

static void diag_clear(struct recipe_diag *diag)
{
    free(diag->message);
    free(diag->hint);
    free(diag->fix);
    free(diag->related_text);
    memset(diag, 0, sizeof(*diag));
}

void recipe_diags_destroy(struct recipe_diags *d)
{
    if (d == NULL)
        return;
    for (size_t i = 0; i < d->count; i++) {
        diag_clear(d->items[i]);
        free(d->items[i]);
    }
    free(d->items);
    diag_clear(&d->excess);
    rwf_map_destroy(d->known, NULL);
    free(d);
}

/* Control bytes as \xNN, so that a key cannot move the cursor of who reads the message.
 */
static char *safe_text(const char *fmt, va_list ap)
{
    struct rwf_str out = {0};
    char *text = rwf_xvasprintf(fmt, ap);
    for (const char *p = text; *p != '\0'; p++) {
        if (out.len >= MESSAGE_MAX && ((unsigned char)*p & 0xc0) != 0x80) {
            rwf_str_add(&out, "...");
            break;
        }
        unsigned char c = (unsigned char)*p;
        bool c1 =
            c == 0xc2 && (unsigned char)p[1] >= 0x80 && (unsigned char)p[1] < 0xa0;
        if (c1)
            rwf_str_addf(&out, "\\x%02x", (unsigned char)*++p);
        else if (c < 0x20 || c == 0x7f)
            rwf_str_addf(&out, "\\x%02x", c);
        else
            rwf_str_addc(&out, *p);
    }
    free(text);
    return rwf_str_take(&out);
}

static void count_one(struct recipe_diags *d, enum recipe_code code)
{
    d->errors[recipe_code_info(code)->severity]++;
    d->input_errors += code == RECIPE_E0401 || code == RECIPE_E0403;
}

static struct recipe_diag *add_new(struct recipe_diags *d, const char *known)
{
    if (d->count == RECIPE_DIAGS_KEPT) {
        diag_clear(&d->excess);
        rwf_map_set(d->known, known, &d->excess);
        return &d->excess;
    }
    struct recipe_diag *diag = rwf_xcalloc(1, sizeof(*diag));
    *RWF_PUSH(d->items, d->count, d->cap) = diag;
    rwf_map_set(d->known, known, diag);
    d->sorted = false;
    return diag;
}

struct recipe_diag *recipe_diag_add(struct recipe_diags *d, enum recipe_code code,
                                    struct recipe_span span, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *message = safe_text(fmt, ap);
    va_end(ap);
    char *known = rwf_xasprintf("%d %u %u %u %s", (int)code, span.file, span.line,
                                span.col, message);
    struct recipe_diag *diag = rwf_map_get(d->known, known);
    if (diag != NULL) {
        free(message);
    } else {
        count_one(d, code);
        diag = add_new(d, known);
        diag->code = code;
        diag->span = span;
        diag->message = message;
    }
    free(known);
    return diag;
}

void recipe_diag_hint(struct recipe_diag *diag, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    free(diag->hint);
    diag->hint = safe_text(fmt, ap);
    va_end(ap);
}

void recipe_diag_fix(struct recipe_diag *diag, const char *replacement)
{
    free(diag->fix);
    diag->fix = rwf_xstrdup(replacement);
}

void recipe_diag_relate(struct recipe_diag *diag, struct recipe_span span,
                        const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    free(diag->related_text);
    diag->related_text = safe_text(fmt, ap);
    diag->related = span;
    va_end(ap);
}

size_t recipe_diags_count(const struct recipe_diags *d)
{
    return d->count;
}

size_t recipe_diags_errors(const struct recipe_diags *d)
{
    return d->errors[RECIPE_ERROR];
}

size_t recipe__diags_warnings(const struct recipe_diags *d)
{
    return d->errors[RECIPE_WARNING];
}

int recipe_diags_exit_code(const struct recipe_diags *d)
{
    if (d->errors[RECIPE_ERROR] == 0)
        return 0;
    int code = d->input_errors == d->errors[RECIPE_ERROR] ? RWF_E_INPUT : RWF_E_RECIPE;
    return code - RWF_E_BASE;
}

static int compare_numbers(uint32_t a, uint32_t b)
{
    return a < b ? -1 : a > b;
}

static int compare_places(const struct recipe_span *a, const struct recipe_span *b)
{
    int order = compare_numbers(a->file, b->file);
    if (order == 0)
        order = compare_numbers(a->line, b->line);
    return order != 0 ? order : compare_numbers(a->col, b->col);
}

/* By insertion: stable, at most RECIPE_DIAGS_KEPT items, and mostly in order already.
 */
static void sort(struct recipe_diags *d)
{
    for (size_t i = 1; i < d->count; i++) {
        struct recipe_diag *moving = d->items[i];
        size_t to = i;
        while (to > 0 && compare_places(&d->items[to - 1]->span, &moving->span) > 0) {
            d->items[to] = d->items[to - 1];
            to--;
        }
        d->items[to] = moving;
    }
    d->sorted = true;
}

const struct recipe_diag *recipe_diags_at(struct recipe_diags *d, size_t i)
{
    rwf_assert(i < d->count);
    if (!d->sorted)
        sort(d);
    return d->items[i];
}
