/* SPDX-License-Identifier: Apache-2.0
 *
 * Courses of losses as one line each, for terminals.
 */
#ifndef RWF_VIEW_CURVE_H
#define RWF_VIEW_CURVE_H
#include "view/run.h"

/* Adds count values of [[x,y],…] as one character each: the mean of as many equal
 * parts. */
void view_curve_add(struct rwf_str *out, const json_t *points, size_t count);
/* Prints loss and val_loss of each step that has reported a course of them: nothing
 * when none has, and only a few of many. title: a heading before the first, or NULL. */
void view_curves(const struct view_run *r, const char *title, FILE *out, bool color);

#endif
