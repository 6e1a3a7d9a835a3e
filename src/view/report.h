/* SPDX-License-Identifier: Apache-2.0
 *
 * One self-contained HTML page about a run: graph, timeline, metrics, checks, steps,
 * logs.
 */
#ifndef RWF_VIEW_REPORT_H
#define RWF_VIEW_REPORT_H
#include "base/str.h"
#include "view/run.h"

/* Adds the page. r->graph may be NULL: then without the picture, and with the steps
 * that the log names. Secrets are replaced in it; who writes it must leave it as it is,
 * for the page names its script by digest. */
int view_report(const struct view_run *r, struct rwf_str *out, struct rwf_err *err);

#endif
