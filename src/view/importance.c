/* SPDX-License-Identifier: Apache-2.0
 *
 * How much a parameter matters: a one-way analysis of variance of the metric's ranks
 * over groups of the parameter's values. Ranks, because one trial that diverged would be
 * all of the variance; epsilon squared, because more groups explain more by chance alone.
 */
#include "config.h"

#include "view/search.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"

#define TRIALS_MIN 12
#define GROUPS_MAX 5     /* of numbers */
#define GROUP_MIN 4      /* trials in each of those */
#define CATEGORIES_MAX 64

struct item {
    double x, y, rank;
    size_t at;
};

static int order(double a, double b)
{
    return (a > b) - (a < b);
}

static int by_y(const void *a, const void *b)
{
    const struct item *p = a, *q = b;
    int way = order(p->y, q->y);

    return way ? way : (p->at > q->at) - (p->at < q->at);
}

static int by_x(const void *a, const void *b)
{
    const struct item *p = a, *q = b;
    int way = order(p->x, q->x);

    return way ? way : (p->at > q->at) - (p->at < q->at);
}

/* Equal values have the mean of their ranks. */
static void set_ranks(struct item *items, size_t count)
{
    qsort(items, count, sizeof(*items), by_y);
    for (size_t i = 0, end; i < count; i = end) {
        for (end = i + 1; end < count && items[end].y == items[i].y; end++)
            ;
        for (size_t k = i; k < end; k++)
            items[k].rank = (double)(i + end - 1) / 2;
    }
}

/* Where the group that begins at i ends; equal x stay together. */
static size_t group_end(const struct item *items, size_t count, size_t i,
                        bool categorical, size_t size)
{
    size_t end = categorical ? i + 1 : i + size;

    if (end >= count || (!categorical && count - end < size))
        end = categorical ? (end > count ? count : end) : count;
    while (end < count && items[end].x == items[end - 1].x)
        end++;
    return end;
}

double view_importance(const double *x, const double *y, size_t count,
                       bool categorical)
{
    struct item *items = rwf_xcalloc(count + 1, sizeof(*items));
    size_t n = 0, groups = 0;

    for (size_t i = 0; i < count; i++)
        if (!isnan(x[i]) && isfinite(y[i])) {
            items[n] = (struct item){.x = x[i], .y = y[i], .at = i};
            n++;
        }
    set_ranks(items, n);
    qsort(items, n, sizeof(*items), by_x);
    size_t parts = n / GROUP_MIN < GROUPS_MAX ? n / GROUP_MIN : GROUPS_MAX;
    size_t size = parts > 0 ? n / parts : 1;
    double mean = ((double)n - 1) / 2, between = 0, all = 0;
    for (size_t i = 0, end; i < n; i = end, groups++) {
        double sum = 0;
        end = group_end(items, n, i, categorical, size);
        for (size_t k = i; k < end; k++) {
            sum += items[k].rank - mean;
            all += (items[k].rank - mean) * (items[k].rank - mean);
        }
        between += sum * sum / (double)(end - i);
    }
    free(items);
    if (n < TRIALS_MIN || groups >= n || groups > CATEGORIES_MAX)
        return NAN;
    if (groups < 2 || all <= 0)
        return 0;
    double within = (all - between) / (double)(n - groups);
    double share = (between - (double)(groups - 1) * within) / all;
    return share > 0 ? share : 0;
}
