/* SPDX-License-Identifier: Apache-2.0
 *
 * GitHub Actions: annotations at the recipe's lines, and the page of the job.
 */
#ifndef RWF_VIEW_GITHUB_H
#define RWF_VIEW_GITHUB_H
#include <stdbool.h>
#include <stdio.h>
#include "recipe/diag.h"
#include "recipe/recipe.h"
#include "view/run.h"

/* GITHUB_ACTIONS=true. */
bool view_github_active(void);
void view_github_diags(struct recipe_diags *d, const struct recipe_sources *sources,
                       FILE *out);
/* One annotation per failed step. */
void view_github_steps(const struct view_run *r, FILE *out);
/* Appends the Markdown summary to $GITHUB_STEP_SUMMARY, when that is set. */
int view_github_summary(const struct view_run *r, struct rwf_err *err);

#endif
