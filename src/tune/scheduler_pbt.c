/* SPDX-License-Identifier: Apache-2.0
 *
 * Population-based training; scheduler.h states the rule. The quantiles are of the
 * running trials that have a score: n * quantile_fraction of them, rounded up, at most
 * half. A trial in the highest quantile at its interval has its checkpoint kept; who is
 * copied is drawn among those of the highest quantile that have one. Without any, the
 * trial goes on.
 *
 * Numbers for trial i at step t are keyed by (seed, i, t): they do not depend on other
 * trials.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "tune/options.h"
#include "tune/rng.h"
#include "tune/scheduler_internal.h"

struct member {
    double *x; /* its configuration */
    bool has_score;
    double score;
    int64_t last;       /* the step of its last interval */
    int64_t checkpoint; /* the step of its kept one; 0: none */
};

struct pbt {
    int64_t max_t, interval, burn_in;
    double quantile, resample;
};

#define AT(field) offsetof(struct pbt, field)
static const struct tune__option table[] = {
    {"max_t", TUNE__INT, AT(max_t), 1, 0, NULL},
    {"perturbation_interval", TUNE__INT, AT(interval), 1, 0, NULL},
    {"burn_in", TUNE__INT, AT(burn_in), 0, 0, NULL},
    {"quantile_fraction", TUNE__REAL, AT(quantile), 0, 0.5, NULL},
    {"resample_probability", TUNE__REAL, AT(resample), 0, 1, NULL},
};

static int create(struct tune_scheduler *s, const json_t *spec, struct rwf_err *err)
{
    struct pbt *p = s->own = rwf_xcalloc(1, sizeof(*p));
    p->quantile = p->resample = 0.25;
    if (tune__options_read("scheduler pbt", table, RWF_COUNT(table), spec, p, err) ||
        tune__max_t(s, "scheduler pbt", p->max_t, 0, 0, err))
        return -1;
    if (!p->interval)
        return rwf_fail(
            err, RWF_E_RECIPE,
            "scheduler pbt: needs 'perturbation_interval', the "
            "steps between two looks at a trial, e.g. a tenth of its length");
    if (s->max_t && p->interval >= s->max_t)
        return rwf_fail(
            err, RWF_E_RECIPE,
            "scheduler pbt: perturbation_interval %lld is not below max_t %lld, so "
            "nothing would ever be copied: lower it",
            (long long)p->interval, (long long)s->max_t);
    if (!s->space)
        return rwf_fail(err, RWF_E_RECIPE, "scheduler pbt: needs a space to explore");
    return 0;
}

static void destroy(struct tune_scheduler *s)
{
    for (size_t i = 0; i < s->run_count; i++) {
        struct member *m = s->runs[i]->own;
        free(m->x);
        free(m);
    }
}

static int start(struct tune_scheduler *s, struct tune__run *r, const json_t *config,
                 struct rwf_err *err)
{
    struct member *m = rwf_xcalloc(1, sizeof(*m));
    m->x = rwf_xcalloc(tune_space_count(s->space) + 1, sizeof(double));
    if (tune_space_read(s->space, config, false, m->x, err)) {
        free(m->x);
        free(m);
        return -1;
    }
    r->own = m;
    return 0;
}

/* --- exploit --- */

static int by_score(const void *x, const void *y)
{
    const struct tune__run *a = *(struct tune__run *const *)x;
    const struct tune__run *b = *(struct tune__run *const *)y;
    const struct member *m = a->own, *n = b->own;
    if (m->score != n->score)
        return m->score < n->score ? -1 : 1;
    return a->number < b->number ? -1 : a->number > b->number;
}

/* The running trials with a score, the best first; *k of them are a quantile. */
static struct tune__run **ranking(const struct tune_scheduler *s, size_t *count,
                                  size_t *k)
{
    const struct pbt *p = s->own;
    struct tune__run **v = rwf_xcalloc(s->run_count + 1, sizeof(*v));
    *count = *k = 0;
    for (size_t i = 0; i < s->run_count; i++) {
        const struct member *m = s->runs[i]->own;
        if (m->has_score && s->runs[i]->state == TUNE__RUNNING)
            v[(*count)++] = s->runs[i];
    }
    qsort(v, *count, sizeof(*v), by_score);
    if (*count >= 2)
        *k =
            (size_t)fmin(ceil((double)*count * p->quantile), floor((double)*count / 2));
    return v;
}

static size_t position(struct tune__run *const *v, const struct tune__run *r)
{
    size_t i = 0;
    while (v[i] != r)
        i++;
    return i;
}

/* One of the best k that has a checkpoint, or NULL. */
static const struct tune__run *draw_source(struct tune__run *const *v, size_t k,
                                           struct tune_rng *rng)
{
    size_t able = 0, i = 0;
    for (; i < k; i++)
        able += ((const struct member *)v[i]->own)->checkpoint > 0;
    if (!able)
        return NULL;
    size_t chosen = tune_rng_below(rng, able);
    for (i = 0;; i++)
        if (((const struct member *)v[i]->own)->checkpoint > 0 && !chosen--)
            return v[i];
}

/* --- explore --- */

struct explore {
    const struct tune_scheduler *s;
    struct tune_rng *rng;
};

static double fresh(void *arg, uint32_t i)
{
    struct explore *e = arg;
    return tune_param_at(tune_space_param(e->s->space, i), tune_rng_uniform(e->rng));
}

/* A neighbour: the next level up or down, staying within the ends. */
static double neighbour(const struct tune_param *p, double value, bool up)
{
    double step = p->values || p->type == TUNE_LOGINT ? 1 : p->step;
    double next = value + (up ? step : -step);
    if (next > p->max + step / 2 || next < p->min - step / 2)
        return value;
    return p->values ? next : tune_param_at(p, tune_param_unit(p, next));
}

static double perturbed(const struct tune_param *p, double value, bool up)
{
    if (p->values)
        return neighbour(p, value, up);
    double next = value * (up ? 1.2 : 0.8);
    next = fmin(fmax(next, p->min), p->max);
    if (!p->levels)
        return next;
    next = tune_param_at(p, tune_param_unit(p, next));
    return next == value ? neighbour(p, value, up) : next;
}

static void explore(const struct tune_scheduler *s, double *x, struct tune_rng *rng)
{
    const struct pbt *p = s->own;
    struct explore e = {s, rng};
    for (uint32_t i = 0; i < tune_space_count(s->space); i++) {
        bool again = tune_rng_uniform(rng) < p->resample;
        bool up = tune_rng_uniform(rng) < 0.5;
        if (!isnan(x[i]))
            x[i] = again ? fresh(&e, i)
                         : perturbed(tune_space_param(s->space, i), x[i], up);
    }
    tune_space_settle(s->space, x, fresh, &e);
}

static void key(struct tune_rng *rng, const struct tune_scheduler *s,
                const struct tune__run *r, enum tune_purpose purpose)
{
    tune_rng_init(rng, s->seed + (uint64_t)r->t * 0x9E3779B97F4A7C15u, purpose,
                  r->number);
}

static void clone(struct tune_scheduler *s, struct tune__run *r,
                  const struct tune__run *from, struct tune_decision *d)
{
    struct member *m = r->own;
    const struct member *n = from->own;
    struct tune_rng rng;
    key(&rng, s, r, TUNE_FOR_EXPLORE);
    memcpy(m->x, n->x, tune_space_count(s->space) * sizeof(double));
    explore(s, m->x, &rng);
    d->action = TUNE_CLONE;
    d->reason = "exploit";
    d->source = from->number;
    d->source_step = n->checkpoint;
    d->config = tune_space_config(s->space, m->x);
    m->score = n->score;
    m->checkpoint = 0;
    r->t = m->last = n->checkpoint;
}

static void report(struct tune_scheduler *s, struct tune__run *r,
                   struct tune_decision *d)
{
    const struct pbt *p = s->own;
    struct member *m = r->own;
    if (s->max_t && r->t >= s->max_t) {
        d->action = TUNE_STOP;
        d->reason = "max_t";
        return;
    }
    if (r->t < p->burn_in || r->t - m->last < p->interval)
        return;
    size_t count, k;
    struct tune_rng rng;
    m->last = r->t;
    m->score = r->metric;
    m->has_score = true;
    struct tune__run **v = ranking(s, &count, &k);
    size_t at = position(v, r);
    key(&rng, s, r, TUNE_FOR_EXPLOIT);
    const struct tune__run *source = at >= count - k ? draw_source(v, k, &rng) : NULL;
    if (at < k) {
        m->checkpoint = r->t;
        d->keep_checkpoint = true;
    } else if (source) {
        clone(s, r, source, d);
    }
    free(v);
}

const struct tune_scheduler_kind tune__pbt = {
    .name = "pbt",
    .help = "trials copy better ones as they train, and vary what they copied",
    .create = create,
    .destroy = destroy,
    .start = start,
    .report = report,
};
