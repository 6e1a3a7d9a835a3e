/* SPDX-License-Identifier: Apache-2.0
 *
 * The combinations of listed values in a space: of its grid parameters, or of all
 * parameters. Conditions count: a combination appears once, without the parameters that
 * it lacks. A grid parameter whose condition is on a sampled one is crossed always, and
 * dropped where it does not exist. The last parameter (in the order of dependence)
 * changes fastest.
 */
#ifndef RWF_TUNE_GRID_H
#define RWF_TUNE_GRID_H
#include "base/err.h"
#include "tune/space.h"

struct tune_grid;

enum { TUNE_GRID_MOST = 1000000 };

/* `all`: choice, int, quniform and logint are listed, too, and others are an error. */
struct tune_grid *tune_grid_create(const struct tune_space *space, bool all,
                                   struct rwf_err *err);
void tune_grid_destroy(struct tune_grid *g);
/* At least 1; at most TUNE_GRID_MOST. */
uint64_t tune_grid_count(const struct tune_grid *g);
/* Sets the listed parameters of the i-th combination in x; the others become NaN. */
void tune_grid_get(const struct tune_grid *g, uint64_t i, double *x);

#endif
