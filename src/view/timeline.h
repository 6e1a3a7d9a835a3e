/* SPDX-License-Identifier: Apache-2.0
 *
 * A run as a trace in the Trace Event Format, for Perfetto and chrome://tracing:
 *
 *   process of a node  attempts of steps as slices ("X"), in as many rows as ran at
 *                      once; cached and skipped steps as instants ("i"); the number of
 *                      running steps as a counter ("C")
 *   GPUs of a node     a row for each card, or more where steps share it
 *   waits              from the end of what a step needs to its start, and between
 *                      attempts, as asynchronous slices ("b", "e")
 *
 * Times are microseconds since the run began.
 */
#ifndef RWF_VIEW_TIMELINE_H
#define RWF_VIEW_TIMELINE_H
#include <stdio.h>
#include "view/run.h"

/* Streams the trace of the log at log_path to out. r->graph may be NULL: then no waits
 * for other steps. *ret_events: how many were written. */
int view_timeline(const struct view_run *r, const char *log_path, FILE *out,
                  size_t *ret_events, struct rwf_err *err);

#endif
