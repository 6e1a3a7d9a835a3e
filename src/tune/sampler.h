/* SPDX-License-Identifier: Apache-2.0
 *
 * What to try next: grid, random, sobol, tpe behind one interface.
 *
 *   {"type": "tpe", "seed": 7}          or just "tpe"
 *
 * tune_sampler_suggest proposes and changes nothing: it is a function of
 *   (space, algorithm with its seed, points_to_evaluate, num_samples, trial number)
 * and for tpe also of the SET of trials added so far with their results; the order in
 * which they came does not matter, nor when, nor how often anything was suggested. So
 * the engine logs what suggest answered ("trial 17 begins with …") and applies it by
 * tune_sampler_add, both when it happens and when it replays its log; a search that
 * goes on after a replay continues the identical sequence (with the same build: the
 * last bits are those of libm's exp and log).
 *
 * Adding a sampler is one file with a struct tune_sampler_kind, and a row in sampler.c.
 */
#ifndef RWF_TUNE_SAMPLER_H
#define RWF_TUNE_SAMPLER_H
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "tune/space.h"

enum tune_outcome {
    TUNE_COMPLETED, /* ran to its end: value is its final or best metric */
    TUNE_STOPPED,   /* by the scheduler at `step`; value is its last metric */
    TUNE_FAILED     /* crashed, or its metric was NaN or never came: value is ignored */
};

struct tune_result {
    enum tune_outcome outcome;
    double value; /* NaN makes it TUNE_FAILED */
    int64_t step;
};

struct tune_sampler_options {
    const json_t *algorithm; /* an object with "type", or the word; NULL: random */
    const json_t
        *points; /* points_to_evaluate: a list of partial configurations, or NULL */
    uint64_t num_samples; /* times each combination of grid values; 0: without end */
    bool maximize;
};

struct tune_sampler;

/* The space is borrowed until _destroy. */
struct tune_sampler *tune_sampler_create(const struct tune_space *space,
                                         const struct tune_sampler_options *options,
                                         struct rwf_err *err);
void tune_sampler_destroy(struct tune_sampler *s);

/* How many trials there will be: num_samples times the combinations of grid values
 * (with `algorithm: grid`: of all values); UINT64_MAX without end. */
uint64_t tune_sampler_total(const struct tune_sampler *s);

/* The configuration for a trial (0, 1, …), new; NULL when trial >= total. The first
 * trials take the points_to_evaluate, completed at random. */
json_t *tune_sampler_suggest(const struct tune_sampler *s, uint64_t trial);

/* The trial has begun with this configuration (which need not be the one suggested) and
 * is pending. The same trial again: -1 unless the configuration is the same. */
int tune_sampler_add(struct tune_sampler *s, uint64_t trial, const json_t *config,
                     struct rwf_err *err);
/* The trial has ended. The first result of a trial counts, later ones are ignored; -1
 * for a trial that was never added. */
int tune_sampler_observe(struct tune_sampler *s, uint64_t trial,
                         struct tune_result result, struct rwf_err *err);

/* The samplers there are: name and one line of help, until NULL. */
const char *tune_sampler_name(size_t i, const char **ret_help);

#endif
