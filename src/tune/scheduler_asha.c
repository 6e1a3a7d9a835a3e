/* SPDX-License-Identifier: Apache-2.0
 *
 * Asynchronous successive halving, stopping or promoting; scheduler.h states both
 * rules. A rung keeps its trials in the order of their metrics. A report past several
 * rungs counts in the highest one.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "tune/options.h"
#include "tune/rng.h"
#include "tune/scheduler_internal.h"

enum { STOP, PROMOTE };

struct entry {
    double metric;
    const struct tune__run *run;
    bool promoted;
};

struct rung {
    int64_t step;
    struct entry *entries; /* the best first */
    size_t count, cap;
};

struct bracket {
    struct rung *rungs;
    uint32_t count;
};

struct asha {
    int64_t max_t, grace_period, brackets;
    double factor;
    int variant;
    struct bracket *list;
};

static const char *const variants[] = {"stop", "promote", NULL};

#define AT(field) offsetof(struct asha, field)
static const struct tune__option table[] = {
    {"max_t", TUNE__INT, AT(max_t), 1, 0, NULL},
    {"grace_period", TUNE__INT, AT(grace_period), 1, 0, NULL},
    {"reduction_factor", TUNE__REAL, AT(factor), 1.0001, 1e6, NULL},
    {"brackets", TUNE__INT, AT(brackets), 1, 64, NULL},
    {"variant", TUNE__WORD, AT(variant), 0, 0, variants},
};

static void destroy(struct tune_scheduler *s)
{
    struct asha *a = s->own;
    for (int64_t b = 0; a && a->list && b < a->brackets; b++) {
        for (uint32_t k = 0; k < a->list[b].count; k++)
            free(a->list[b].rungs[k].entries);
        free(a->list[b].rungs);
    }
    if (a)
        free(a->list);
}

/* Of bracket b: rungs at grace_period * factor^k, k >= b, below max_t. */
static void make_rungs(const struct tune_scheduler *s, const struct asha *a, int64_t b,
                       struct bracket *to)
{
    size_t cap = 0, count = 0;
    double step = (double)a->grace_period * pow(a->factor, (double)b);
    int64_t last = 0;
    for (; llround(step) < s->max_t; step *= a->factor) {
        if (llround(step) == last)
            continue;
        last = llround(step);
        *RWF_PUSH(to->rungs, count, cap) = (struct rung){.step = last};
    }
    to->count = (uint32_t)count;
}

static int create(struct tune_scheduler *s, const json_t *spec, struct rwf_err *err)
{
    struct asha *a = s->own = rwf_xcalloc(1, sizeof(*a));
    a->grace_period = a->brackets = 1;
    a->factor = 4;
    if (tune__options_read("scheduler asha", table, RWF_COUNT(table), spec, a, err) ||
        tune__max_t(s, "scheduler asha", a->max_t, 100, a->grace_period, err))
        return -1;
    a->list = rwf_xcalloc((size_t)a->brackets, sizeof(*a->list));
    for (int64_t b = 0; b < a->brackets; b++) {
        make_rungs(s, a, b, &a->list[b]);
        if (!a->list[b].count && b)
            return rwf_fail(
                err, RWF_E_RECIPE,
                "scheduler asha: %lld brackets, but there are only %lld rungs below "
                "max_t %lld: write brackets: %lld, or raise max_t",
                (long long)a->brackets, (long long)b, (long long)s->max_t,
                (long long)b);
    }
    return 0;
}

/* Brackets take trials as HyperBand's do: those with more rungs take more, in
 * proportion to factor^(rungs - 1) / rungs. */
static double share(const struct asha *a, int64_t b)
{
    uint32_t n = a->list[b].count;
    return n ? pow(a->factor, n - 1.0) / n : 1;
}

static double share_sum(const struct asha *a)
{
    double sum = 0;
    for (int64_t b = 0; b < a->brackets; b++)
        sum += share(a, b);
    return sum;
}

static int start(struct tune_scheduler *s, struct tune__run *r, const json_t *config,
                 struct rwf_err *err)
{
    const struct asha *a = s->own;
    struct tune_rng rng;
    (void)config;
    (void)err;
    tune_rng_init(&rng, s->seed, TUNE_FOR_BRACKET, r->number);
    double q = tune_rng_uniform(&rng) * share_sum(a);
    while (r->bracket + 1 < a->brackets && q >= share(a, r->bracket))
        q -= share(a, r->bracket++);
    return 0;
}

static void record(struct rung *g, const struct tune__run *r)
{
    size_t low = 0, high = g->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        const struct entry *e = &g->entries[mid];
        if (e->metric < r->metric ||
            (e->metric == r->metric && e->run->number < r->number))
            low = mid + 1;
        else
            high = mid;
    }
    (void)RWF_PUSH(g->entries, g->count, g->cap);
    memmove(&g->entries[low + 1], &g->entries[low],
            (g->count - 1 - low) * sizeof(*g->entries));
    g->entries[low] = (struct entry){r->metric, r, false};
}

/* The 1/factor quantile of the metrics, interpolated between the two next to it. */
static double cutoff(const struct rung *g, double factor)
{
    double h = (double)(g->count - 1) / factor;
    size_t below = (size_t)h, above = below + 1 < g->count ? below + 1 : below;
    double low = g->entries[below].metric, high = g->entries[above].metric;
    return low == high ? low : low + (h - (double)below) * (high - low);
}

static void report(struct tune_scheduler *s, struct tune__run *r,
                   struct tune_decision *d)
{
    struct asha *a = s->own;
    struct bracket *b = &a->list[r->bracket];
    int32_t k = (int32_t)b->count - 1;
    if (r->t >= s->max_t) {
        d->action = TUNE_STOP;
        d->reason = "max_t";
        return;
    }
    while (k >= 0 && b->rungs[k].step > r->t)
        k--;
    if (k <= r->rung)
        return;
    struct rung *g = &b->rungs[k];
    r->rung = k;
    d->rung = g->step;
    if (a->variant == PROMOTE) {
        d->action = TUNE_PAUSE;
        d->reason = "waits for promotion";
    } else if (g->count && r->metric > cutoff(g, a->factor)) {
        d->action = TUNE_STOP;
        d->reason = "not among the best of its rung";
    }
    record(g, r);
}

/* --- promotion --- */

/* The best of the rung's best floor(n / factor) that is paused there. */
static struct entry *promotable(struct rung *g, double factor)
{
    size_t best = (size_t)((double)g->count / factor);
    for (size_t i = 0; i < best; i++) {
        struct entry *e = &g->entries[i];
        if (!e->promoted && e->run->state == TUNE__PAUSED)
            return e;
    }
    return NULL;
}

static bool resume(struct tune_scheduler *s, struct tune_decision *d)
{
    struct asha *a = s->own;
    for (int64_t b = 0; b < a->brackets; b++) {
        for (uint32_t k = a->list[b].count; k-- > 0;) {
            struct rung *g = &a->list[b].rungs[k];
            struct entry *e = promotable(g, a->factor);
            if (!e)
                continue;
            e->promoted = true;
            *d = (struct tune_decision){.action = TUNE_RESUME,
                                        .trial = e->run->number,
                                        .reason = "promoted",
                                        .rung = g->step};
            return true;
        }
    }
    return false;
}

static bool next(struct tune_scheduler *s, struct tune_decision *d)
{
    struct asha *a = s->own;
    if (a->variant != PROMOTE)
        return false;
    if (resume(s, d))
        return true;
    /* Nothing runs or will: who waits, waits in vain. */
    for (size_t i = 0; s->closed && !s->running && i < s->run_count; i++) {
        if (s->runs[i]->state != TUNE__PAUSED)
            continue;
        *d = (struct tune_decision){
            .action = TUNE_STOP, .trial = s->runs[i]->number, .reason = "not promoted"};
        return true;
    }
    return false;
}

/* --- preview --- */

/* How many of n trials in random order go on. The j-th lands in one of j gaps between
 * the m = j - 1 metrics before it; those above the interpolated quantile: m - (1 -
 * 1/factor)(m - 1) of them. */
static double passing(double n, double factor)
{
    double sum = n < 1 ? n : 1;
    for (double m = 1; m < n; m++)
        sum += (1 + (m - 1) / factor) / (m + 1) * fmin(1, n - m);
    return sum;
}

static double preview(struct tune_scheduler *s, uint64_t trials, json_t *rungs)
{
    const struct asha *a = s->own;
    double steps = 0;
    for (int64_t b = 0; b < a->brackets; b++) {
        double n = (double)trials * share(a, b) / share_sum(a);
        int64_t from = 0;
        for (uint32_t k = 0; k < a->list[b].count; k++) {
            int64_t to = a->list[b].rungs[k].step;
            tune__preview_rung(rungs, (uint32_t)b, to, n);
            steps += n * (double)(to - from);
            from = to;
            n = a->variant == STOP ? passing(n, a->factor) : floor(n / a->factor);
        }
        tune__preview_rung(rungs, (uint32_t)b, s->max_t, n);
        steps += n * (double)(s->max_t - from);
    }
    return steps;
}

const struct tune_scheduler_kind tune__asha = {
    .name = "asha",
    .help = "stops or pauses at rungs all but the best, without waiting for others",
    .create = create,
    .destroy = destroy,
    .start = start,
    .report = report,
    .next = next,
    .preview = preview,
};
