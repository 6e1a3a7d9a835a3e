/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of the report, shared by its files:
 *
 *   report.c       the page: template, graph     report_history.c  the log
 *   report_data.c  all that it shows, as JSON    report_logs.c     files of attempts
 *
 * Everything is bounded: steps that are kept, points of a curve, bytes of logs. Steps
 * are kept by rank: what went wrong comes first. Times are ms since the run started.
 */
#ifndef RWF_VIEW_REPORT_PARTS_H
#define RWF_VIEW_REPORT_PARTS_H
#include <jansson.h>
#include <stdbool.h>
#include "base/map.h"
#include "view/run.h"

/* A curve: points of one metric of one step; each is three numbers: the step's own
 * counter (NaN: none), the time, the value. */
struct view__series {
    const char *name; /* owned */
    double *points;
    size_t count, cap;   /* of numbers */
    size_t seen, stride; /* every stride-th point is kept … */
    double last[3];      /* … and the newest */
};

struct view__step {
    const char *address;
    const struct plan_step *plan;       /* or NULL */
    const struct run_step_state *state; /* or NULL: nothing was heard of it */
    int rank;                           /* 0 comes first */
    bool kept;
    json_t *attempts; /* [{n,start,end,how,cause,message,exit,dir}] */
    json_t *told;     /* members of events that the state does not keep */
    json_t *logs;     /* [{attempt,name,text,size}] */
    char *command;
    struct view__series *series;
    size_t series_count, series_cap;
};

struct view__report {
    const struct view_run *run;
    const char *status;       /* as in the state, or "interrupted" */
    struct view__step *steps; /* in the order of the plan */
    size_t count, kept;
    struct rwf_map *by_address; /* kept ones */
    json_t *machine, *raywf;    /* as the log has them; may be NULL */
    json_t *segments;           /* [{start,end,how}]: while a head was alive */
    json_t *notices;            /* [{t,type,…}]: stops and notifications */
    json_t *served;             /* [{t,state,text}]: what the server decided */
    double last;                /* time of the newest event */
};

/* report_history.c: fills what the log knows. */
int view__history_read(struct view__report *r, const char *log_path,
                       struct rwf_err *err);
/* {name: {"x": "step"|"time", "p": [x,y,…]}} of curves with two points or more. */
json_t *view__history_series(const struct view__step *step);
/* Milliseconds since the start of the run, or 0. */
double view__since_start(const struct view__report *r, int64_t wall_ns);

/* report_logs.c: fills logs and commands, the steps of low rank first. */
void view__logs_read(struct view__report *r);

/* report_data.c */
json_t *view__report_data(const struct view__report *r);

#endif
