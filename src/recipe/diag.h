/* SPDX-License-Identifier: Apache-2.0
 *
 * Diagnostics: collected, never printed where they arise. Each has a stable code from
 * diag.def, a place, a message, and where there is one a hint (what to do) and a fix
 * (the text that would replace the span).
 */
#ifndef RWF_RECIPE_DIAG_H
#define RWF_RECIPE_DIAG_H
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include "recipe/node.h"

enum recipe_code {
#define RECIPE_DIAG(code, severity, title, help) RECIPE_##code,
#include "recipe/diag.def"
#undef RECIPE_DIAG
    RECIPE_CODE_COUNT
};

enum recipe_severity { RECIPE_ERROR, RECIPE_WARNING };

struct recipe_code_info {
    const char *name; /* "E0101" */
    enum recipe_severity severity;
    const char *title;
    const char *help; /* a paragraph for `raywf explain E0101` */
};
const struct recipe_code_info *recipe_code_info(enum recipe_code code);
/* By name, case-insensitive; NULL when there is none. */
const struct recipe_code_info *recipe_code_find(const char *name);

struct recipe_diag {
    enum recipe_code code;
    struct recipe_span span;
    char *message;
    char *hint;                 /* or NULL */
    char *fix;                  /* or NULL */
    struct recipe_span related; /* line 0: none */
    char *related_text;
};

struct recipe_diags;

#define RECIPE_DIAGS_KEPT 200

struct recipe_diags *recipe_diags_create(void);
void recipe_diags_destroy(struct recipe_diags *d);
/* Adds one; returns it so that the caller may add hint, fix or related place. The same
 * code at the same place with the same message is kept once. After RECIPE_DIAGS_KEPT
 * the rest is counted, not kept. */
struct recipe_diag *recipe_diag_add(struct recipe_diags *d, enum recipe_code code,
                                    struct recipe_span span, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void recipe_diag_hint(struct recipe_diag *diag, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void recipe_diag_fix(struct recipe_diag *diag, const char *replacement);
void recipe_diag_relate(struct recipe_diag *diag, struct recipe_span span,
                        const char *fmt, ...) __attribute__((format(printf, 3, 4)));

size_t recipe_diags_count(const struct recipe_diags *d);
size_t recipe_diags_errors(const struct recipe_diags *d);
/* 0 without errors; 6 (input) when files are missing or their checksum is wrong and
 * nothing else is; else 3. */
int recipe_diags_exit_code(const struct recipe_diags *d);
/* In order of file, line, column. */
const struct recipe_diag *recipe_diags_at(struct recipe_diags *d, size_t i);

/* The lines of a source file, for carets: NULL where there is none. */
struct recipe_sources;

/* For people: "file:line:col: error[E0101]: message", the source line, a caret, hint
 * and related place; then one line that counts. */
void recipe_diags_print(struct recipe_diags *d, const struct recipe_sources *sources,
                        FILE *out, bool color);
/* [{code,severity,message,file,line,col,end_line,end_col,hint?,fix?,related?}] */
json_t *recipe_diags_json(struct recipe_diags *d, const struct recipe_sources *sources);

#endif
