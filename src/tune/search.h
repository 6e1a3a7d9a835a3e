/* SPDX-License-Identifier: Apache-2.0
 *
 * A whole search as a pure state machine: events in, orders out. It joins a sampler and
 * a scheduler, and counts what runs, failed and is left.
 *
 *   events  tune_search_create, _report, _gone, _close: logged in their order
 *   orders  what to do now, taken one by one after each event until there is none
 *
 * The orders are a function of the options and the events. To resume, the engine
 * replays the events into a new search and drops the orders that its log shows as done.
 *
 * A trial runs from `begin` or `resume` until it is gone; a `clone` keeps its place. Of
 * a trial that was told to end or to pause, reports may still come: they change
 * nothing. Those of an attempt before a clone or resume must not be passed in.
 */
#ifndef RWF_TUNE_SEARCH_H
#define RWF_TUNE_SEARCH_H
#include "tune/sampler.h"
#include "tune/scheduler.h"

struct tune_search_options {
    const struct tune_space *space; /* borrowed until _destroy */
    const json_t *algorithm, *scheduler, *points;
    uint64_t num_samples;    /* at least 1 */
    uint64_t max_concurrent; /* at least 1 */
    uint64_t max_failed;     /* one more ends the search */
    bool maximize;
    int64_t max_steps; /* see scheduler.h */
};

enum tune_order_kind {
    TUNE_ORDER_BEGIN,  /* start trial with config */
    TUNE_ORDER_RESUME, /* start its process again from its last checkpoint */
    TUNE_ORDER_CLONE,  /* start its process anew from source's checkpoint of source_step
                        */
    TUNE_ORDER_PAUSE,  /* end its process once it has written a checkpoint */
    TUNE_ORDER_END,    /* end its process */
    TUNE_ORDER_DROP,   /* a paused trial is over: its checkpoint may go */
    TUNE_ORDER_KEEP,   /* keep its checkpoint of source_step for clones */
    TUNE_ORDER_FINISH  /* the search is over; the last order */
};

struct tune_order {
    enum tune_order_kind kind;
    uint64_t trial;
    const char *reason; /* static text */
    int64_t rung;
    uint64_t source;
    int64_t source_step;
    json_t *config; /* begin, clone: the caller's */
};

struct tune_search;

struct tune_search *tune_search_create(const struct tune_search_options *options,
                                       struct rwf_err *err);
void tune_search_destroy(struct tune_search *s);

/* A running trial reported its metric after step t; NaN when it is missing: the trial
 * fails. */
int tune_search_report(struct tune_search *s, uint64_t trial, int64_t t, double metric,
                       struct rwf_err *err);
/* Its process is gone: as told, by itself, or failed. Without any report it has failed.
 */
int tune_search_gone(struct tune_search *s, uint64_t trial, bool failed,
                     struct rwf_err *err);
/* No more trials: the time budget is used up, or a person said so. Running ones go on.
 */
void tune_search_close(struct tune_search *s);

bool tune_search_order(struct tune_search *s, struct tune_order *ret);

/* The trial with the best last metric of those not failed; false when there is none. */
bool tune_search_best(const struct tune_search *s, uint64_t *ret_trial,
                      double *ret_metric);
bool tune_search_too_many_failed(const struct tune_search *s);

#endif
