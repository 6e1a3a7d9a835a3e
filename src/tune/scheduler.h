/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether a trial goes on: none, asha, hyperband, median, pbt behind one interface.
 *
 *   {"type": "asha", "max_t": 81, "reduction_factor": 3}          or just "asha"
 *
 *   none       max_t (0: until it ends by itself)
 *   asha       max_t 100, grace_period 1, reduction_factor 4, brackets 1,
 *              variant stop|promote. Rungs at grace_period * reduction_factor^k below
 *              max_t; bracket b lacks the first b. `stop`: a trial that reaches a rung
 *              goes on when its metric is at least as good as the best
 *              1/reduction_factor quantile (interpolated) of those that were there
 *              before; the first always does. `promote`: it pauses there, and whenever
 *              a trial may run, of the highest rung that has one among its best
 *              floor(n / factor) not yet promoted, the best is resumed
 *              (Li et al. 2018, Algorithm 2).
 *   hyperband  max_t 81, grace_period 1, reduction_factor 3. Brackets of successive
 *              halving, the most eager first: a rung's trials wait for each other, then
 *              the best floor(n / factor) (at least one) go on (Li et al. 2016).
 *   median     max_t, grace_period 1, min_samples 3. Stops a trial whose best metric so
 *              far is worse than the median of the others' running means up to the same
 *              step; others are all that came at least as far (Golovin et al. 2017).
 *   pbt        perturbation_interval, burn_in 0, quantile_fraction 0.25,
 *              resample_probability 0.25, max_t. Each interval a trial in the lowest
 *              quantile of those running becomes a copy of one in the highest: its
 *              checkpoint, and its configuration with each parameter times 1.2 or 0.8,
 *              or its neighbour in a list, or a new draw (Jaderberg et al. 2017).
 *
 * Every decision is a function of (scheduler, seed, space) and of the calls before it
 * in their order. The engine logs the calls, and replays them into a fresh object to
 * resume. Nothing here knows of time or processes.
 *
 * Reports: the steps of a trial increase. One that does not (twice the same, backwards)
 * changes nothing and is answered `continue`; one after a stop is answered `stop`, one
 * while paused `pause`. A report of an earlier attempt, from before a clone or a
 * resume, must not be passed in. A metric that is NaN or missing is the caller's: it
 * ends the trial as failed. Paused trials hold no resources and do not count as
 * running.
 */
#ifndef RWF_TUNE_SCHEDULER_H
#define RWF_TUNE_SCHEDULER_H
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "tune/space.h"

enum tune_action {
    TUNE_CONTINUE,
    TUNE_STOP,   /* ends it; a paused one, too */
    TUNE_PAUSE,  /* end its process with a checkpoint; _next may resume it */
    TUNE_RESUME, /* from _next only: run it on from its last checkpoint */
    TUNE_CLONE   /* end its process; start it from source's checkpoint with config */
};

struct tune_decision {
    enum tune_action action;
    uint64_t trial;
    const char *reason; /* static text for people; "max_t" says that a trial which stops
                         * is complete */
    int64_t rung;       /* the rung's step; 0: none */
    bool ignored;       /* the report was a repetition or came too late */
    /* The checkpoint of this step may be a clone's source: keep it until this trial's
     * next such, or until the search ends. */
    bool keep_checkpoint;
    uint64_t source; /* clone: whose checkpoint, of which step */
    int64_t source_step;
    json_t *config; /* clone: the caller's to free */
};

struct tune_scheduler_options {
    const json_t *scheduler;        /* an object with "type", or the word; NULL: none */
    const struct tune_space *space; /* pbt needs it; borrowed */
    uint64_t seed;
    bool maximize;
    int64_t max_steps; /* the target's own length in steps: the default of max_t, and
                        * its limit; 0: not known */
};

struct tune_scheduler;

struct tune_scheduler *
tune_scheduler_create(const struct tune_scheduler_options *options,
                      struct rwf_err *err);
void tune_scheduler_destroy(struct tune_scheduler *s);

/* A trial begins. Its number must be new. */
int tune_scheduler_start(struct tune_scheduler *s, uint64_t trial, const json_t *config,
                         struct rwf_err *err);
/* The trial reports its metric after step t >= 1. -1: unknown trial, or a NaN. */
int tune_scheduler_report(struct tune_scheduler *s, uint64_t trial, int64_t t,
                          double metric, struct tune_decision *ret,
                          struct rwf_err *err);
/* The trial has ended: by itself, by failure, or as told. Again: nothing. */
void tune_scheduler_end(struct tune_scheduler *s, uint64_t trial);
/* No trial will start any more: num_samples are reached, or time is up. */
void tune_scheduler_close(struct tune_scheduler *s);
/* Something to do about a paused trial (resume or stop)? Ask after every call above,
 * while there is room for a trial to run, and before starting a new one; until false.
 * The scheduler takes it as done. */
bool tune_scheduler_next(struct tune_scheduler *s, struct tune_decision *ret);

/* For `plan`: {"rungs": [{"bracket", "step", "trials"}…], "trials", "trial_steps",
 * "full_trial_steps", "fraction"}, with expected numbers when metrics are in random
 * order. Without max_t: no steps. New; NULL and *err when the scheduler is invalid. */
json_t *tune_scheduler_preview(const struct tune_scheduler_options *options,
                               uint64_t trials, struct rwf_err *err);

/* The schedulers there are: name and one line of help, until NULL. */
const char *tune_scheduler_name(size_t i, const char **ret_help);

#endif
