/* SPDX-License-Identifier: Apache-2.0
 *
 * The searches of a run as views show them: the replay of what the event log says of
 * trials, without the samplers and schedulers behind it. What a search looks for
 * (metric, space) stands in the plan; without one only ended trials have values.
 *
 * The value of a trial is the one that its search compares: the last that it reported.
 */
#ifndef RWF_VIEW_SEARCH_H
#define RWF_VIEW_SEARCH_H
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include "base/str.h"
#include "plan/graph.h"
#include "run/log.h"
#include "schedule/state.h"
#include "view/run.h"

enum view_trial_state {
    VIEW_TRIAL_WAITS, /* for resources */
    VIEW_TRIAL_RUNNING,
    VIEW_TRIAL_PAUSED,
    VIEW_TRIAL_COMPLETED,
    VIEW_TRIAL_STOPPED,
    VIEW_TRIAL_FAILED,
    VIEW_TRIAL_SKIPPED,
    VIEW_TRIAL_STATE_COUNT
};
const char *view_trial_state_name(enum view_trial_state state);
/* The state of a step that looks the same. */
enum schedule_state view_trial_looks(enum view_trial_state state);
bool view_trial_over(enum view_trial_state state);

struct view_search;

struct view_trial {
    struct view_search *search;
    char *address;
    uint32_t number;
    enum view_trial_state state;
    json_t *config;         /* the newest, or NULL */
    double value, at;       /* what it is compared by, and when; NaN: none yet */
    double last_at;         /* of its newest report, in the search's unit; NaN: none */
    double rung;            /* the highest that it came to; 0: none */
    int64_t started, ended; /* wall ns; 0: not yet */
    int64_t from;           /* whose checkpoint it goes on from; -1: nobody's */
    size_t order;           /* it ended as the n-th, from 1; 0: it has not */
    char *why;              /* of a stop or a failure, or NULL */
    double *points;         /* x, y of its reports, when curves are kept */
    size_t count, cap;      /* of numbers */
    size_t seen, stride;
    double newest[2];
    double counted, last_step, reports; /* for the time of a report */
};

struct view_search {
    char *address;
    json_t *body; /* the entry, resolved; or NULL */
    const char *metric, *unit; /* unit of time: report, step, epoch */
    bool maximize, clones;
    struct view_trial **trials; /* in the order in which they were suggested */
    size_t count, cap;
    size_t total; /* as planned */
    size_t counts[VIEW_TRIAL_STATE_COUNT];
    size_t ended;
    struct view_trial *best; /* of those that ended well, or NULL */
    double *rungs;           /* ascending */
    size_t rung_count, rung_cap;
    char *over; /* why no further trial begins, or NULL */
};

struct view_searches;

/* graph may be NULL. points: as many of each trial's curve are kept, about; 0: none. Of
 * a run that is being driven, call it before that begins. */
struct view_searches *view_searches_create(const struct plan_graph *graph,
                                           size_t points);
void view_searches_destroy(struct view_searches *s);
void view_searches_event(struct view_searches *s, enum run_event type,
                         const json_t *event);
/* Takes what is in a log already. */
int view_searches_read(struct view_searches *s, const char *log_path,
                       struct rwf_err *err);
size_t view_searches_count(const struct view_searches *s);
struct view_search *view_searches_at(const struct view_searches *s, size_t i);
/* The trial that is this step, or NULL. */
struct view_trial *view_searches_trial(const struct view_searches *s,
                                       const char *address);
/* Whether a is the better of two values; NaN is worse than any. */
bool view_search_better(const struct view_search *s, double a, double b);
/* The end of a key of the space that tells it from the others; borrowed. */
const char *view_search_short(const struct view_search *s, const char *key);

/* search_text.c: on a terminal */

/* A head and the best and the running trials: at most rows lines, cut to width. */
void view_search_draw(const struct view_search *s, struct rwf_str *out, size_t rows,
                      int width, bool color);
/* "trial 7  completed  val_loss=0.25 at 9  best so far  (lr=0.1)" */
void view_trial_words(const struct view_trial *t, struct rwf_str *out, bool color);
/* The outcome of each search of a run that has one. */
void view_search_summary(const struct view_run *r, FILE *out, bool color);

/* report_search.c */

/* [{address,metric,mode,space,trials,…}] for the page, or NULL when there is none. */
json_t *view_search_report(const struct view_run *r, const char *log_path);
/* How much of the differences of y one parameter explains, from 0 to 1: of trials that
 * have it (x is not NaN), by rank of y, in groups of equal x (categorical) or of about
 * equal size; corrected for the number of groups. NaN: too few trials. */
double view_importance(const double *x, const double *y, size_t count,
                       bool categorical);

#endif
