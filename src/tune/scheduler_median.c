/* SPDX-License-Identifier: Apache-2.0
 *
 * The median stopping rule of scheduler.h. Each trial keeps its steps and the sums of
 * its metrics, so that its running mean up to a step is one binary search.
 */
#include "config.h"

#include <stdlib.h>
#include "base/mem.h"
#include "tune/options.h"
#include "tune/scheduler_internal.h"

struct point {
    int64_t t;
    double sum; /* of this metric and all before */
};

struct history {
    struct point *points;
    size_t count, cap;
    double best;
};

struct median {
    int64_t max_t, grace_period, min_samples;
    double *means; /* room for every trial's */
    size_t cap;
};

#define AT(field) offsetof(struct median, field)
static const struct tune__option table[] = {
    {"max_t", TUNE__INT, AT(max_t), 1, 0, NULL},
    {"grace_period", TUNE__INT, AT(grace_period), 1, 0, NULL},
    {"min_samples", TUNE__INT, AT(min_samples), 1, 1e9, NULL},
};

static int create(struct tune_scheduler *s, const json_t *spec, struct rwf_err *err)
{
    struct median *m = s->own = rwf_xcalloc(1, sizeof(*m));
    m->grace_period = 1;
    m->min_samples = 3;
    return tune__options_read("scheduler median", table, RWF_COUNT(table), spec, m,
                              err) ||
                   tune__max_t(s, "scheduler median", m->max_t, 0, m->grace_period, err)
               ? -1
               : 0;
}

static void destroy(struct tune_scheduler *s)
{
    struct median *m = s->own;
    for (size_t i = 0; i < s->run_count; i++) {
        struct history *h = s->runs[i]->own;
        free(h->points);
        free(h);
    }
    if (m)
        free(m->means);
}

static int start(struct tune_scheduler *s, struct tune__run *r, const json_t *config,
                 struct rwf_err *err)
{
    (void)s;
    (void)config;
    (void)err;
    r->own = rwf_xcalloc(1, sizeof(struct history));
    return 0;
}

static void keep(struct history *h, const struct tune__run *r)
{
    double before = h->count ? h->points[h->count - 1].sum : 0;
    if (!h->count || r->metric < h->best)
        h->best = r->metric;
    *RWF_PUSH(h->points, h->count, h->cap) = (struct point){r->t, before + r->metric};
}

/* The mean of the metrics up to step t; false when there is none. */
static bool mean_until(const struct history *h, int64_t t, double *ret)
{
    size_t low = 0, high = h->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (h->points[mid].t <= t)
            low = mid + 1;
        else
            high = mid;
    }
    if (!low)
        return false;
    *ret = h->points[low - 1].sum / (double)low;
    return true;
}

/* The k-th smallest (from 0) of n; reorders them. */
static double select_kth(double *v, size_t n, size_t k)
{
    size_t low = 0, high = n - 1;
    while (low < high) {
        double pivot = v[low + (high - low) / 2];
        size_t i = low, j = high;
        while (i <= j) {
            while (v[i] < pivot)
                i++;
            while (v[j] > pivot)
                j--;
            if (i <= j) {
                double swap = v[i];
                v[i++] = v[j];
                v[j] = swap;
                if (!j)
                    break;
                j--;
            }
        }
        if (k <= j)
            high = j;
        else if (k >= i)
            low = i;
        else
            break;
    }
    return v[k];
}

static double median_of(double *v, size_t n)
{
    double upper = select_kth(v, n, n / 2);
    return n % 2 ? upper : (select_kth(v, n, n / 2 - 1) + upper) / 2;
}

static size_t gather(struct tune_scheduler *s, const struct tune__run *r)
{
    struct median *m = s->own;
    size_t n = 0;
    for (size_t i = 0; i < s->run_count; i++) {
        const struct tune__run *other = s->runs[i];
        double mean;
        if (other == r || other->t < r->t || !mean_until(other->own, r->t, &mean))
            continue;
        *RWF_PUSH(m->means, n, m->cap) = mean;
    }
    return n;
}

static void report(struct tune_scheduler *s, struct tune__run *r,
                   struct tune_decision *d)
{
    struct median *m = s->own;
    struct history *h = r->own;
    keep(h, r);
    if (s->max_t && r->t >= s->max_t) {
        d->action = TUNE_STOP;
        d->reason = "max_t";
        return;
    }
    if (r->t < m->grace_period)
        return;
    size_t n = gather(s, r);
    if (n >= (size_t)m->min_samples && h->best > median_of(m->means, n)) {
        d->action = TUNE_STOP;
        d->reason = "worse than the median";
    }
}

const struct tune_scheduler_kind tune__median = {
    .name = "median",
    .help = "stops what is worse than the median of the others at the same step",
    .create = create,
    .destroy = destroy,
    .start = start,
    .report = report,
};
