/* SPDX-License-Identifier: Apache-2.0
 *
 * A run as the views see it: the replayed state, its graph, and its folder. Views only
 * read; whatever they print was redacted when it was logged, and is redacted again
 * here.
 */
#ifndef RWF_VIEW_RUN_H
#define RWF_VIEW_RUN_H
#include <jansson.h>
#include "base/str.h"
#include "plan/graph.h"
#include "run/state.h"

struct view_run {
    const char *root; /* .raywf */
    const char *dir;  /* the run's folder */
    const struct run_state *state;
    struct plan_graph *graph;
    const json_t *plan; /* as in plan.json, or NULL */
};

/* "recipe.yaml:12" of a step's entry; the caller's to free, here and below. *ret_file
 * and *ret_line may be NULL. */
char *view_where(const struct view_run *r, const struct plan_step *step);
const char *view_where_file(const struct view_run *r, const struct plan_step *step,
                            uint32_t *ret_line);
/* Path of "stdout" or "stderr" of the last attempt, short when beneath the working
 * folder; NULL when the step never started. */
char *view_log_path(const struct view_run *r, const struct run_step_state *s,
                    const char *stream);
/* The same of the stream that says most: stderr, else stdout; NULL when both are
 * silent. */
char *view_best_log(const struct view_run *r, const struct run_step_state *s);
/* What to do about a failure of step (may be NULL) with this cause; NULL when its message
 * says all. */
const char *view_cause_hint(const struct plan_step *step, const char *cause);
/* At most max bytes of the end of a file, from a line's start, as valid UTF-8,
 * redacted. *ret_cut: something stands before it. NULL when there is nothing. */
char *view_tail(const char *path, size_t max, bool *ret_cut);
/* Nanoseconds a step took over all its attempts: 0 when it never started. */
int64_t view_step_duration(const struct run_step_state *s);
/* [{address,name,value,op,than,actual,state,message,help}] of the recipe's checks. */
json_t *view_checks(const struct view_run *r);

/* What the state does not keep, read again from the log:
 * {"machine":{},"steps":{ADDRESS:{"attempts":[{n,start,end,cause,message}],
 *  "series":{METRIC:[[x,y],…]},"tail":text,"parts":{},"gpus":[]}}}; times in ms since
 * the start of the run. */
json_t *view_record(const char *log_path, struct rwf_err *err);

#endif
