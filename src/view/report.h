/* SPDX-License-Identifier: Apache-2.0
 *
 * One self-contained HTML page about a run: graph, timeline, metrics, checks, steps, logs.
 */
#ifndef RWF_VIEW_REPORT_H
#define RWF_VIEW_REPORT_H
#include "base/err.h"
#include "view/run.h"

int view_report(const struct view_run *r, struct rwf_str *out, struct rwf_err *err);

#endif
