/* SPDX-License-Identifier: Apache-2.0
 *
 * How things look on a terminal: colours by meaning, marks of states, columns of text.
 */
#ifndef RWF_VIEW_STYLE_H
#define RWF_VIEW_STYLE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include "base/str.h"
#include "schedule/state.h"

enum view_style {
    VIEW_PLAIN,
    VIEW_BOLD,
    VIEW_DIM,
    VIEW_NAME, /* of things one can type */
    VIEW_GOOD,
    VIEW_ERROR,
    VIEW_WARN,
    VIEW_BUSY,
};

/* The escape that turns a style on, or "" without colour. */
const char *view_on(bool color, enum view_style style);
const char *view_off(bool color);

/* One column wide: "✓", "✗", "↻", "⊘" …; ASCII when the locale is not UTF-8. */
const char *view_mark(enum schedule_state state);
enum view_style view_state_style(enum schedule_state state);
/* By name as in run_state ("succeeded", "failed", "stopped", "running"). */
enum view_style view_status_style(const char *status);
/* True when the locale's characters are UTF-8. */
bool view_utf8(void);

/* Adds a number as people write it: whole ones in full, others with six digits. */
void view_number(struct rwf_str *out, double value);
/* Columns text takes on a terminal; escapes count nothing. */
size_t view_columns(const char *text);
/* Adds at most width columns of text; what is cut ends in "…". Control bytes become
 * "?". */
void view_clip(struct rwf_str *out, const char *text, size_t width);
/* Adds text from outside: redacted, and with nothing in it that could move the cursor.
 * lines: newlines and tabs stay; else they become spaces. */
void view_safe(struct rwf_str *out, const char *text, size_t len, bool lines);
/* The same on one line, printed. */
void view_print_safe(FILE *out, const char *text);
/* Width of the terminal behind fd, or fallback. */
int view_width(int fd, int fallback);
int view_height(int fd, int fallback);

#endif
