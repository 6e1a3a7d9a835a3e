/* SPDX-License-Identifier: Apache-2.0
 *
 * Between scheduler.c (trials, repeated and late reports) and the kinds of scheduler.
 * In here, lower metrics are better.
 */
#ifndef RWF_TUNE_SCHEDULER_INTERNAL_H
#define RWF_TUNE_SCHEDULER_INTERNAL_H
#include "tune/scheduler.h"

enum tune__run_state { TUNE__RUNNING, TUNE__PAUSED, TUNE__STOPPED, TUNE__ENDED };

struct tune__run {
    uint64_t number;
    enum tune__run_state state;
    int64_t t;     /* of the last report */
    double metric; /* of the last report */
    uint32_t bracket;
    int32_t
        rung; /* asha: the highest recorded, -1: none; hyperband: the stage it is in */
    bool waiting; /* hyperband: at the end of its stage */
    void *own;    /* median, pbt */
};

struct tune_scheduler_kind {
    const char *name;
    const char *help;
    int (*create)(struct tune_scheduler *s, const json_t *spec, struct rwf_err *err);
    void (*destroy)(struct tune_scheduler *s);
    int (*start)(struct tune_scheduler *s, struct tune__run *r, const json_t *config,
                 struct rwf_err *err);
    /* A valid report of a running trial; d is `continue` and may be changed. */
    void (*report)(struct tune_scheduler *s, struct tune__run *r,
                   struct tune_decision *d);
    void (*ended)(struct tune_scheduler *s, struct tune__run *r);
    void (*closed)(struct tune_scheduler *s);
    bool (*next)(struct tune_scheduler *s, struct tune_decision *d);
    /* Adds rungs to `rungs` and returns the expected steps of all trials. */
    double (*preview)(struct tune_scheduler *s, uint64_t trials, json_t *rungs);
};

struct tune_scheduler {
    const struct tune_scheduler_kind *kind;
    const struct tune_space *space;
    uint64_t seed;
    bool maximize, closed;
    int64_t max_steps;
    int64_t max_t;           /* 0: none */
    struct tune__run **runs; /* by number */
    size_t run_count, run_cap;
    size_t running;
    void *own;
};

struct tune__run *tune__run_find(const struct tune_scheduler *s, uint64_t trial);
/* Sets the state, and the counts that depend on it. */
void tune__run_set(struct tune_scheduler *s, struct tune__run *r,
                   enum tune__run_state state);
/* Sets max_t: the given one, else the target's length, else `otherwise`; and checks it
 * against the target's length and grace_period. */
int tune__max_t(struct tune_scheduler *s, const char *what, int64_t given,
                int64_t otherwise, int64_t grace_period, struct rwf_err *err);
void tune__preview_rung(json_t *rungs, uint32_t bracket, int64_t step, double trials);
/* Rank by (metric, number): negative when a is better. */
int tune__run_compare(const struct tune__run *a, const struct tune__run *b);

extern const struct tune_scheduler_kind tune__none, tune__asha, tune__hyperband,
    tune__median, tune__pbt;

#endif
