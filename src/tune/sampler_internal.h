/* SPDX-License-Identifier: Apache-2.0
 *
 * Between sampler.c (trials, points, grid values) and the kinds of sampler.
 */
#ifndef RWF_TUNE_SAMPLER_INTERNAL_H
#define RWF_TUNE_SAMPLER_INTERNAL_H
#include "tune/grid.h"
#include "tune/rng.h"
#include "tune/sampler.h"

enum tune__state { TUNE__PENDING, TUNE__DONE };

struct tune__trial {
    uint64_t number;
    size_t index; /* among the trials known, by number */
    enum tune__state state;
    struct tune_result result;
    bool good; /* tpe: among the best */
    double *x; /* the configuration, inside form */
    double *u; /* its unit coordinates */
};

struct tune_sampler_kind {
    const char *name;
    const char *help;
    /* Reads the options and makes s->own. */
    int (*create)(struct tune_sampler *s, const json_t *spec, struct rwf_err *err);
    void (*destroy)(void *own);
    /* Fills the NaNs of x: those of the parameters that exist once their parents are
     * known. */
    void (*suggest)(const struct tune_sampler *s, uint64_t trial, double *x);
    /* A trial came, or ended; NULL when that is nothing to it. */
    void (*added)(struct tune_sampler *s, struct tune__trial *t);
    void (*ended)(struct tune_sampler *s, struct tune__trial *t);
    bool lists_all; /* choice and int parameters are enumerated, like grid */
};

struct tune_sampler {
    const struct tune_sampler_kind *kind;
    const struct tune_space *space;
    struct tune_grid *grid;
    int64_t seed;
    uint64_t num_samples;
    bool maximize;
    double **points; /* inside form, partial */
    size_t point_count;
    struct tune__trial **trials; /* by number */
    size_t trial_count, trial_cap;
    void *own;
};

/* Values at random for the NaNs of x that exist: numbers keyed by (seed, trial,
 * parameter). */
void tune__fill_random(const struct tune_sampler *s, uint64_t trial, double *x);

extern const struct tune_sampler_kind tune__grid, tune__random, tune__sobol, tune__tpe;

#endif
