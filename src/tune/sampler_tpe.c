/* SPDX-License-Identifier: Apache-2.0
 *
 * Tree-structured Parzen estimator (Bergstra et al. 2011). The best tenth of the trials (at
 * most 25) give a density l, all others a density g, for each group of parameters that exist
 * together; of some candidates drawn from l the one with the largest l / g is taken. With
 * `multivariate: false`, each parameter is a group of its own.
 *
 * Trials rank by outcome (completed, then stopped, those that came farther first), then value,
 * then number. Pending trials count as bad, so that concurrent ones spread; failed ones, too.
 * The least width of a kernel is (n + 2)^-1.5 in l and 1 / min(n + 2, 100) in g, with n
 * observations: the usual 1 / (n + 2) in l leaves the last digits unsearched (measured with
 * tests/bench/tune_quality).
 * Kept up to date at each event: the ranking, and for each parameter its values in order.
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

#define GOOD_FRACTION 0.1

struct list {
    struct tune__trial **trials;
    size_t count, cap;
};

struct tpe {
    int64_t startup_trials, candidates;
    bool multivariate;
    double prior_weight;
    struct list ranked;   /* completed and stopped ones, best first */
    size_t failed;
    struct list *sorted;  /* of each parameter: trials that have it, by unit coordinate */
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
        free(t->sorted[i].trials);
    free(t->sorted);
    free(t->ranked.trials);
    free(t);
}

static int create(struct tune_sampler *s, const json_t *spec, struct rwf_err *err)
{
    struct tpe *t = s->own = rwf_xcalloc(1, sizeof(*t));
    t->startup_trials = 10;
    t->candidates = 24;
    t->multivariate = true;
    t->prior_weight = 1;
    t->param_count = tune_space_count(s->space);
    t->sorted = rwf_xcalloc(t->param_count + 1, sizeof(*t->sorted));
    return tune__options_read("algorithm tpe", table, RWF_COUNT(table), spec, t, err);
}

/* --- order, kept at each event --- */

static void insert(struct list *l, size_t at, struct tune__trial *t)
{
    (void)RWF_PUSH(l->trials, l->count, l->cap);
    memmove(&l->trials[at + 1], &l->trials[at], (l->count - 1 - at) * sizeof(*l->trials));
    l->trials[at] = t;
}

static int by_coordinate(const struct tune__trial *a, const struct tune__trial *b, uint32_t i)
{
    if (a->u[i] != b->u[i])
        return a->u[i] < b->u[i] ? -1 : 1;
    return a->number < b->number ? -1 : a->number > b->number;
}

static int by_rank(const struct tune__trial *a, const struct tune__trial *b, uint32_t i)
{
    (void)i;
    const struct tune_result *x = &a->result, *y = &b->result;
    if (x->outcome != y->outcome)
        return x->outcome < y->outcome ? -1 : 1;
    if (x->outcome == TUNE_STOPPED && x->step != y->step)
        return x->step > y->step ? -1 : 1;
    if (x->value != y->value)
        return x->value < y->value ? -1 : 1;
    return a->number < b->number ? -1 : a->number > b->number;
}

typedef int (*compare_fn)(const struct tune__trial *, const struct tune__trial *, uint32_t);

static void insert_sorted(struct list *l, struct tune__trial *t, compare_fn compare,
                          uint32_t i)
{
    size_t low = 0, high = l->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (compare(l->trials[mid], t, i) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    insert(l, low, t);
}

static void added(struct tune_sampler *s, struct tune__trial *trial)
{
    struct tpe *t = s->own;
    for (uint32_t i = 0; i < t->param_count; i++)
        if (!isnan(trial->u[i]))
            insert_sorted(&t->sorted[i], trial, by_coordinate, i);
}

static void ended(struct tune_sampler *s, struct tune__trial *trial)
{
    struct tpe *t = s->own;
    if (trial->result.outcome == TUNE_FAILED) {
        t->failed++;
        return;
    }
    insert_sorted(&t->ranked, trial, by_rank, 0);
    double good = fmin(ceil(GOOD_FRACTION * (double)t->ranked.count), MOST_GOOD);
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
    uint32_t *slots;   /* of each trial, by index: the kernel's number in its estimator */
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
        bool in = h->t->multivariate ? q->group == p->group && q->type != TUNE_GRID
                                     : k == i;
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
            h->slots[t->index] = t->good ? (*good)++ : (*bad)++;
    }
}

static void fill_dimension(struct search *h, uint32_t d, struct tune__parzen *l,
                           struct tune__parzen *g)
{
    uint32_t i = h->members[d], goods = 0, bads = 0;
    const struct list *sorted = &h->t->sorted[i];
    for (size_t k = 0; k < sorted->count; k++) {
        const struct tune__trial *t = sorted->trials[k];
        struct tune__kernel_value v = {t->u[i], h->slots[t->index]};
        if (t->good)
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
        double gain = tune__parzen_log(l, h->candidate) - tune__parzen_log(g, h->candidate);
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
    struct tune__parzen *l = tune__parzen_create(h->params, h->member_count, good,
                                                 h->t->prior_weight, pow(good + 2.0, -1.5));
    struct tune__parzen *g = tune__parzen_create(h->params, h->member_count, bad,
                                                 h->t->prior_weight,
                                                 1 / fmin(100, bad + 2.0));
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
        .s = s, .t = t, .x = x,
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
