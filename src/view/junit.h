/* SPDX-License-Identifier: Apache-2.0
 *
 * JUnit XML: a test case per step and per check, with the recipe's file and line.
 */
#ifndef RWF_VIEW_JUNIT_H
#define RWF_VIEW_JUNIT_H
#include "view/run.h"

void view_junit(const struct view_run *r, struct rwf_str *out);

#endif
