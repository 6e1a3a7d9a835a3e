/* SPDX-License-Identifier: Apache-2.0
 *
 * A run while it happens. live: a line per running step at the bottom of a terminal;
 * plain: a line per thing that happened.
 */
#ifndef RWF_VIEW_PROGRESS_H
#define RWF_VIEW_PROGRESS_H
#include <stdbool.h>
#include <stdio.h>
#include "plan/graph.h"
#include "run/log.h"

struct view_progress;

struct view_progress_options {
    bool live;
    bool color;
    bool quiet; /* failures only */
    FILE *out;
    struct plan_graph *graph; /* borrowed */
    const char *root;         /* .raywf */
    const char *run;          /* id, when the run goes on; else NULL */
    size_t ended;             /* steps that ended before this process came */
};

struct view_progress *view_progress_create(const struct view_progress_options *options);
/* A run_log_fn; progress is its context. */
void view_progress_event(void *progress, enum run_event type, const json_t *event);
void view_progress_destroy(struct view_progress *p);

#endif
