/* SPDX-License-Identifier: Apache-2.0
 *
 * What a built-in model is known to report before it is trained, for searches.
 */
#ifndef RWF_TRAIN_REPORTS_H
#define RWF_TRAIN_REPORTS_H
#include "plan/op.h"

/* See struct op: metrics and length. */
const char *const *train_reports(const struct recipe_node *body);
int64_t train_length(const struct recipe_node *body, const char *metric,
                     const char *unit);

/* A trial (RAYWF_TRIAL_DIR) that its search has asked to end, and shall leave what it
 * has. */
bool train_is_stopped(const struct op_run *r);
bool train_is_trial(void);
/* Makes the outputs of what is in a folder of checkpoints. 0 also when that is nothing.
 */
int train_leave_partial(const struct op_run *r, const char *checkpoints,
                        struct rwf_err *err);

#endif
