/* SPDX-License-Identifier: Apache-2.0
 *
 * Tree-structured Parzen estimator (Bergstra et al. 2011). The best tenth or so of the
 * trials (at most 25) give a density l, all others a density g, for each group of
 * parameters that exist together; of some candidates drawn from l the one with the
 * largest l / g is taken. With `multivariate: false`, each parameter is a group of its
 * own.
 *
 * Trials rank by outcome (completed, then stopped, those that came farther first), then
 * value, then number. Pending trials count as bad, so that concurrent ones spread;
 * failed ones, too. Kept up to date at each event: the ranking, and for each parameter
 * its values in order.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "tune/options.h"
#include "tune/parzen.h"
#include "tune/sampler_internal.h"

enum { MOST_GOOD = 25 };

/* What differs by `multivariate`; measured with tests/bench/tune_quality. The usual
 * values are 24 candidates, a prior of 1, a tenth, and widths down to 1 / (n + 2) in
 * both densities; that leaves the last digits unsearched. */
static const struct defaults {
    int64_t candidates;
    double prior_weight;
    double good_fraction;
    double narrowing; /* the least width of a kernel in l is (n + 2)^-narrowing */
} defaults[2] = {{24, 1, 0.1, 1.2}, {48, 2, 0.08, 1.6}};

struct list {
    struct tune__trial **trials;
    size_t count, cap;
};

/* A parameter's values in order. What a suggestion reads of a trial lies in the entry.
 */
struct entry {
    double u;
    size_t index; /* the trial's, among all */
    const struct tune__trial *trial;
};

struct sorted {
    struct entry *entries;
    size_t count, cap;
};

struct tpe {
    int64_t startup_trials, candidates;
    bool multivariate;
    double prior_weight;
    const struct defaults *usual;
    struct list ranked; /* completed and stopped ones, best first */
    size_t failed;
    struct sorted *sorted; /* of each parameter, by unit coordinate */
    uint32_t param_count;
};

#define AT(field) offsetof(struct tpe, field)
static const struct tune__option table[] = {
    {"startup_trials", TUNE__INT, AT(startup_trials), 1, 1e6, NULL},
    {"candidates", TUNE__INT, AT(candidates), 1, 10000, NULL},
    {"multivariate", TUNE__BOOL, AT(multivariate), 0, 0, NULL},
    {"prior_weight", TUNE__REAL, AT(prior_weight), 1e-6, 1e6, NULL},
};

static void destroy(void *own)
{
    struct tpe *t = own;
    for (uint32_t i = 0; i < t->param_count; i++)
        free(t->sorted[i].entries);
    free(t->sorted);
    free(t->ranked.trials);
    free(t);
}

static int create(struct tune_sampler *s, const json_t *spec, struct rwf_err *err)
{
    struct tpe *t = s->own = rwf_xcalloc(1, sizeof(*t));
    t->startup_trials = 10;
    t->multivariate = true;
    t->param_count = tune_space_count(s->space);
    t->sorted = rwf_xcalloc(t->param_count + 1, sizeof(*t->sorted));
    if (tune__options_read("algorithm tpe", table, RWF_COUNT(table), spec, t, err))
        return -1;
    t->usual = &defaults[t->multivariate];
    t->candidates = t->candidates ? t->candidates : t->usual->candidates;
    t->prior_weight = t->prior_weight > 0 ? t->prior_weight : t->usual->prior_weight;
    return 0;
}

/* --- order, kept at each event --- */

static bool ranks_before(const struct tune__trial *a, const struct tune__trial *b)
{
    const struct tune_result *x = &a->result, *y = &b->result;
    if (x->outcome != y->outcome)
        return x->outcome < y->outcome;
    if (x->outcome == TUNE_STOPPED && x->step != y->step)
        return x->step > y->step;
    if (x->value != y->value)
        return x->value < y->value;
    return a->number < b->number;
}

static void insert_ranked(struct list *l, struct tune__trial *t)
{
    size_t low = 0, high = l->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (ranks_before(l->trials[mid], t))
            low = mid + 1;
        else
            high = mid;
    }
    (void)RWF_PUSH(l->trials, l->count, l->cap);
    memmove(&l->trials[low + 1], &l->trials[low],
            (l->count - 1 - low) * sizeof(*l->trials));
    l->trials[low] = t;
}

static void insert_sorted(struct sorted *l, const struct tune__trial *t, double u)
{
    size_t low = 0, high = l->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        const struct entry *e = &l->entries[mid];
        if (e->u < u || (e->u == u && e->trial->number < t->number))
            low = mid + 1;
        else
            high = mid;
    }
    (void)RWF_PUSH(l->entries, l->count, l->cap);
    memmove(&l->entries[low + 1], &l->entries[low],
            (l->count - 1 - low) * sizeof(*l->entries));
    l->entries[low] = (struct entry){u, t->index, t};
}

static void added(struct tune_sampler *s, struct tune__trial *trial)
{
    struct tpe *t = s->own;
    bool shifted = trial->index + 1 < s->trial_count; /* it came late: others moved */
    for (uint32_t i = 0; i < t->param_count; i++) {
        struct sorted *l = &t->sorted[i];
        for (size_t k = 0; shifted && k < l->count; k++)
            l->entries[k].index = l->entries[k].trial->index;
        if (!isnan(trial->u[i]))
            insert_sorted(l, trial, trial->u[i]);
    }
}

static void ended(struct tune_sampler *s, struct tune__trial *trial)
{
    struct tpe *t = s->own;
    if (trial->result.outcome == TUNE_FAILED) {
        t->failed++;
        return;
    }
    insert_ranked(&t->ranked, trial);
    double good =
        fmin(ceil(t->usual->good_fraction * (double)t->ranked.count), MOST_GOOD);
    for (size_t i = 0; i < t->ranked.count && i <= MOST_GOOD; i++)
        t->ranked.trials[i]->good = (double)i < good;
}

/* --- a suggestion --- */

struct search {
    const struct tune_sampler *s;
    const struct tpe *t;
    struct tune_rng rng;
    double *x;
    uint32_t *members; /* of the group at hand */
    const struct tune_param **params;
    uint32_t member_count;
    uint32_t
        *slots; /* of each trial, by index: twice its kernel's number, + 1 if good */
    struct tune__kernel_value *good, *bad;
    double *best, *candidate;
};

static void find_members(struct search *h, uint32_t i)
{
    const struct tune_space *space = h->s->space;
    const struct tune_param *p = tune_space_param(space, i);
    h->member_count = 0;
    for (uint32_t k = 0; k < tune_space_count(space); k++) {
        const struct tune_param *q = tune_space_param(space, k);
        bool in =
            h->t->multivariate ? q->group == p->group && q->type != TUNE_GRID : k == i;
        if (!in)
            continue;
        h->params[h->member_count] = q;
        h->members[h->member_count++] = k;
    }
}

/* Numbers the kernels of both estimators, the oldest trial first. */
static void number_kernels(struct search *h, uint32_t *good, uint32_t *bad)
{
    *good = *bad = 0;
    for (size_t i = 0; i < h->s->trial_count; i++) {
        const struct tune__trial *t = h->s->trials[i];
        if (!isnan(t->u[h->members[0]]))
            h->slots[i] = t->good ? 2 * (*good)++ + 1 : 2 * (*bad)++;
    }
}

static void fill_dimension(struct search *h, uint32_t d, struct tune__parzen *l,
                           struct tune__parzen *g)
{
    uint32_t i = h->members[d], goods = 0, bads = 0;
    const struct sorted *sorted = &h->t->sorted[i];
    for (size_t k = 0; k < sorted->count; k++) {
        const struct entry *e = &sorted->entries[k];
        uint32_t slot = h->slots[e->index];
        struct tune__kernel_value v = {e->u, slot / 2};
        if (slot % 2)
            h->good[goods++] = v;
        else
            h->bad[bads++] = v;
    }
    tune__parzen_dimension(l, d, h->good);
    tune__parzen_dimension(g, d, h->bad);
}

static void choose(struct search *h, struct tune__parzen *l, struct tune__parzen *g)
{
    double most = -INFINITY;
    for (int64_t c = 0; c < h->t->candidates; c++) {
        tune__parzen_draw(l, &h->rng, h->candidate);
        double gain =
            tune__parzen_log(l, h->candidate) - tune__parzen_log(g, h->candidate);
        if (gain > most || !c) {
            most = gain;
            memcpy(h->best, h->candidate, h->member_count * sizeof(double));
        }
    }
}

/* Sets the group of parameter i in x. */
static void sample_group(struct search *h, uint32_t i)
{
    uint32_t good, bad;
    find_members(h, i);
    number_kernels(h, &good, &bad);
    struct tune__parzen *l =
        tune__parzen_create(h->params, h->member_count, good, h->t->prior_weight,
                            pow(good + 2.0, -h->t->usual->narrowing));
    struct tune__parzen *g = tune__parzen_create(
        h->params, h->member_count, bad, h->t->prior_weight, 1 / fmin(100, bad + 2.0));
    for (uint32_t d = 0; d < h->member_count; d++)
        fill_dimension(h, d, l, g);
    tune__parzen_finish(l);
    tune__parzen_finish(g);
    choose(h, l, g);
    for (uint32_t d = 0; d < h->member_count; d++)
        h->x[h->members[d]] = h->best[d];
    tune__parzen_destroy(l);
    tune__parzen_destroy(g);
}

static double missing(void *arg, uint32_t i)
{
    struct search *h = arg;
    if (tune_space_param(h->s->space, i)->type == TUNE_GRID)
        return 0;
    sample_group(h, i);
    return h->x[i];
}

static void suggest(const struct tune_sampler *s, uint64_t trial, double *x)
{
    const struct tpe *t = s->own;
    if (!t->ranked.count || t->ranked.count + t->failed < (size_t)t->startup_trials) {
        tune__fill_random(s, trial, x);
        return;
    }
    size_t n = s->trial_count + 1, m = t->param_count + 1;
    struct search h = {
        .s = s,
        .t = t,
        .x = x,
        .members = rwf_xcalloc(m, sizeof(*h.members)),
        .params = rwf_xcalloc(m, sizeof(*h.params)),
        .slots = rwf_xcalloc(n, sizeof(*h.slots)),
        .good = rwf_xcalloc(n, sizeof(*h.good)),
        .bad = rwf_xcalloc(n, sizeof(*h.bad)),
        .best = rwf_xcalloc(m, sizeof(double)),
        .candidate = rwf_xcalloc(m, sizeof(double)),
    };
    tune_rng_init(&h.rng, (uint64_t)s->seed, TUNE_FOR_TPE, trial);
    tune_space_settle(s->space, x, missing, &h);
    free(h.members);
    free(h.params);
    free(h.slots);
    free(h.good);
    free(h.bad);
    free(h.best);
    free(h.candidate);
}

const struct tune_sampler_kind tune__tpe = {
    .name = "tpe",
    .help = "learns from the results so far where good values are",
    .create = create,
    .destroy = destroy,
    .suggest = suggest,
    .added = added,
    .ended = ended,
};
