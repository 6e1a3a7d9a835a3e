/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "tune/grid.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"

struct tune_grid {
    const struct tune_space *space;
    uint32_t *listed; /* in the order of dependence */
    uint32_t count;
    double *rows; /* (combinations, count) */
    size_t row_count, cap;
};

/* The value of level k: an index, or the k-th number. */
static double level(const struct tune_param *p, uint64_t k)
{
    if (p->values)
        return (double)k;
    if (p->type == TUNE_LOGINT)
        return p->min + (double)k;
    return tune_param_at(p, ((double)k + 0.5) / (double)p->levels);
}

static bool is_listed(const struct tune_grid *g, uint32_t parent)
{
    for (uint32_t i = 0; i < g->count; i++)
        if (g->listed[i] == parent)
            return true;
    return false;
}

/* Known to be absent: a listed parent has a value that does not do. A sampled parent is
 * open. */
static bool absent(const struct tune_grid *g, const struct tune_param *p,
                   const double *x)
{
    for (size_t c = 0; c < p->when_count; c++) {
        const struct tune_condition *when = &p->when[c];
        bool holds = false;
        for (size_t i = 0; i < when->count; i++)
            holds |= x[when->parent] == when->allowed[i];
        if (is_listed(g, when->parent) && !holds)
            return true;
    }
    return false;
}

static int too_many(struct rwf_err *err)
{
    return rwf_fail(
        err, RWF_E_RECIPE,
        "space: the grid has more than %d combinations: list fewer values, or "
        "sample with {type: random}",
        TUNE_GRID_MOST);
}

static int push(struct tune_grid *g, const double *x, struct rwf_err *err)
{
    if (g->row_count == TUNE_GRID_MOST)
        return too_many(err);
    if (g->row_count == g->cap) {
        g->cap = g->cap ? 2 * g->cap : 64;
        g->rows = rwf_xrealloc(g->rows, g->cap * (g->count + 1) * sizeof(*g->rows));
    }
    for (uint32_t i = 0; i < g->count; i++)
        g->rows[g->row_count * g->count + i] = x[g->listed[i]];
    g->row_count++;
    return 0;
}

/* A combination like an odometer's reading: the next one, or false after the last. */
static bool advance(const struct tune_grid *g, double *x, uint64_t *digits)
{
    for (uint32_t i = g->count; i-- > 0;) {
        const struct tune_param *p = tune_space_param(g->space, g->listed[i]);
        if (isnan(x[g->listed[i]]) || digits[i] + 1 >= p->levels)
            continue;
        digits[i]++;
        x[g->listed[i]] = level(p, digits[i]);
        for (uint32_t k = i + 1; k < g->count; k++) {
            const struct tune_param *later = tune_space_param(g->space, g->listed[k]);
            digits[k] = 0;
            x[g->listed[k]] = absent(g, later, x) ? NAN : level(later, 0);
        }
        return true;
    }
    return false;
}

static int list_all(struct tune_grid *g, struct rwf_err *err)
{
    uint32_t n = tune_space_count(g->space);
    double *x = rwf_xcalloc(n + 1, sizeof(*x));
    uint64_t *digits = rwf_xcalloc(n + 1, sizeof(*digits));
    int rc;
    for (uint32_t i = 0; i < g->count; i++) {
        const struct tune_param *p = tune_space_param(g->space, g->listed[i]);
        x[g->listed[i]] = absent(g, p, x) ? NAN : level(p, 0);
    }
    do
        rc = push(g, x, err);
    while (!rc && advance(g, x, digits));
    free(x);
    free(digits);
    return rc;
}

static int choose_listed(struct tune_grid *g, bool all, struct rwf_err *err)
{
    uint32_t n = tune_space_count(g->space);
    for (uint32_t k = 0; k < n; k++) {
        uint32_t i = tune_space_order(g->space)[k];
        const struct tune_param *p = tune_space_param(g->space, i);
        if (p->type != TUNE_GRID && !all)
            continue;
        if (!p->levels)
            return rwf_fail(
                err, RWF_E_RECIPE,
                "space '%s': algorithm grid tries every value, and there is no "
                "list of these: use {type: grid, values: […]} or quniform, or "
                "another algorithm",
                p->key);
        if (p->levels > TUNE_GRID_MOST)
            return too_many(err);
        g->listed[g->count++] = i;
    }
    return 0;
}

struct tune_grid *tune_grid_create(const struct tune_space *space, bool all,
                                   struct rwf_err *err)
{
    struct tune_grid *g = rwf_xcalloc(1, sizeof(*g));
    g->space = space;
    g->listed = rwf_xcalloc(tune_space_count(space) + 1, sizeof(*g->listed));
    if (choose_listed(g, all, err) || list_all(g, err)) {
        tune_grid_destroy(g);
        return NULL;
    }
    return g;
}

void tune_grid_destroy(struct tune_grid *g)
{
    if (!g)
        return;
    free(g->listed);
    free(g->rows);
    free(g);
}

uint64_t tune_grid_count(const struct tune_grid *g)
{
    return g->row_count;
}

void tune_grid_get(const struct tune_grid *g, uint64_t i, double *x)
{
    for (uint32_t k = 0; k < tune_space_count(g->space); k++)
        x[k] = NAN;
    for (uint32_t k = 0; k < g->count; k++)
        x[g->listed[k]] = g->rows[i * g->count + k];
}
