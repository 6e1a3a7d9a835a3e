/* SPDX-License-Identifier: Apache-2.0
 *
 * How a run ended, for a terminal and as Markdown for a job's page.
 */
#ifndef RWF_VIEW_SUMMARY_H
#define RWF_VIEW_SUMMARY_H
#include <stdbool.h>
#include <stdio.h>
#include "view/run.h"

/* Counts, checks, failures, and what to do next. report: where the report is, or NULL.
 */
void view_summary(const struct view_run *r, const char *report, FILE *out, bool color);
void view_markdown(const struct view_run *r, struct rwf_str *out);

#endif
