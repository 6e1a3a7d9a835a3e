/* SPDX-License-Identifier: Apache-2.0
 *
 * A Parzen estimator: a density over some parameters, as a mixture of one kernel for
 * each observation and a prior. A kernel is a product over the parameters: a normal
 * distribution cut to [0, 1] (real numbers), the mass of one over a level's interval
 * (int and the like), or counts (choice). A normal's width is the distance to the
 * farther neighbour, within limits.
 */
#ifndef RWF_TUNE_PARZEN_H
#define RWF_TUNE_PARZEN_H
#include "tune/rng.h"
#include "tune/space.h"

struct tune__kernel_value {
    double u;      /* unit coordinate */
    uint32_t slot; /* which kernel */
};

struct tune__parzen;

/* Over the given parameters, with `count` observations; the older weigh less, slot 0 is
 * the oldest. Then _dimension for each parameter, then _finish. */
struct tune__parzen *tune__parzen_create(const struct tune_param *const *params,
                                         uint32_t param_count, uint32_t count,
                                         double prior_weight, double least_width);
/* The observations in parameter d, sorted by u. */
void tune__parzen_dimension(struct tune__parzen *p, uint32_t d,
                            const struct tune__kernel_value *sorted);
void tune__parzen_finish(struct tune__parzen *p);
void tune__parzen_destroy(struct tune__parzen *p);

/* A draw: values in the inside form, one for each parameter. */
void tune__parzen_draw(const struct tune__parzen *p, struct tune_rng *r,
                       double *values);
/* The logarithm of the density at values, up to a constant that depends on the
 * parameters only. */
double tune__parzen_log(struct tune__parzen *p, const double *values);

#endif
