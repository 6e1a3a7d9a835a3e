/* SPDX-License-Identifier: Apache-2.0
 *
 * HyperBand: brackets of synchronous successive halving. With R = max_t / grace_period
 * and S = floor(log_factor R), the bracket s = S … 0 takes n = ceil((S + 1) / (s + 1) *
 * factor^s) trials, whose stages end at max_t / factor^s, …, max_t / factor, max_t.
 * Trials fill the brackets in the order of their start: S first, after 0 again S.
 *
 * A stage is over when all its trials that have not failed wait at its end, and no more
 * will come (the bracket is full, or no trial will start any more). A bracket with
 * fewer trials than its n halves what it has.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include "base/mem.h"
#include "tune/options.h"
#include "tune/scheduler_internal.h"

struct bracket {
    uint32_t s;                 /* its number of halvings */
    uint32_t stage;             /* 0 … s */
    uint64_t size;              /* n */
    struct tune__run **members; /* of this stage; the failed ones, too */
    size_t count, cap;
};

struct hyperband {
    int64_t max_t, grace_period;
    double factor;
    uint32_t most; /* S */
    struct bracket **brackets;
    size_t count, cap;
    struct tune_decision *queue; /* for _next */
    size_t queued, taken, queue_cap;
};

#define AT(field) offsetof(struct hyperband, field)
static const struct tune__option table[] = {
    {"max_t", TUNE__INT, AT(max_t), 1, 0, NULL},
    {"grace_period", TUNE__INT, AT(grace_period), 1, 0, NULL},
    {"reduction_factor", TUNE__REAL, AT(factor), 1.0001, 1e6, NULL},
};

static void destroy(struct tune_scheduler *sch)
{
    struct hyperband *h = sch->own;
    for (size_t i = 0; h && i < h->count; i++) {
        free(h->brackets[i]->members);
        free(h->brackets[i]);
    }
    if (!h)
        return;
    free(h->brackets);
    free(h->queue);
}

static int create(struct tune_scheduler *sch, const json_t *spec, struct rwf_err *err)
{
    struct hyperband *h = sch->own = rwf_xcalloc(1, sizeof(*h));
    h->grace_period = 1;
    h->factor = 3;
    if (tune__options_read("scheduler hyperband", table, RWF_COUNT(table), spec, h,
                           err) ||
        tune__max_t(sch, "scheduler hyperband", h->max_t, 81, h->grace_period, err))
        return -1;
    double r = (double)sch->max_t / (double)h->grace_period;
    h->most = (uint32_t)floor(log(r) / log(h->factor) + 1e-9);
    return 0;
}

static uint64_t size_of(const struct hyperband *h, uint32_t s)
{
    return (uint64_t)ceil((h->most + 1.0) / (s + 1.0) * pow(h->factor, s) - 1e-9);
}

/* The step at which a stage of a bracket with s halvings ends. */
static int64_t end_of(const struct tune_scheduler *sch, uint32_t s, uint32_t stage)
{
    const struct hyperband *h = sch->own;
    int64_t t = llround((double)sch->max_t / pow(h->factor, (double)s - stage));
    return t < h->grace_period ? h->grace_period : t;
}

static int start(struct tune_scheduler *sch, struct tune__run *r, const json_t *config,
                 struct rwf_err *err)
{
    struct hyperband *h = sch->own;
    struct bracket *last = h->count ? h->brackets[h->count - 1] : NULL;
    (void)config;
    (void)err;
    if (!last || last->stage || last->count == last->size) {
        struct bracket *b = rwf_xcalloc(1, sizeof(*b));
        b->s = !last || !last->s ? h->most : last->s - 1;
        b->size = size_of(h, b->s);
        *RWF_PUSH(h->brackets, h->count, h->cap) = last = b;
    }
    r->bracket = (uint32_t)h->count - 1;
    r->rung = 0;
    *RWF_PUSH(last->members, last->count, last->cap) = r;
    return 0;
}

static bool over(const struct tune_scheduler *sch, const struct bracket *b)
{
    if (!b->stage && b->count < b->size && !sch->closed)
        return false;
    for (size_t i = 0; i < b->count; i++)
        if (!b->members[i]->waiting && b->members[i]->state != TUNE__ENDED)
            return false;
    return true;
}

static int by_rank(const void *x, const void *y)
{
    const struct tune__run *a = *(struct tune__run *const *)x;
    const struct tune__run *b = *(struct tune__run *const *)y;
    if (a->waiting != b->waiting)
        return a->waiting ? -1 : 1;
    return tune__run_compare(a, b);
}

static void queue(struct hyperband *h, const struct tune__run *r,
                  enum tune_action action, int64_t rung)
{
    *RWF_PUSH(h->queue, h->queued, h->queue_cap) = (struct tune_decision){
        .action = action,
        .trial = r->number,
        .rung = rung,
        .reason = action == TUNE_RESUME ? "among the best of its rung"
                                        : "not among the best of its rung"};
}

/* Halves the bracket when its stage is over. The one that reports now has not paused
 * yet: its answer is in d; all others' go into the queue. */
static void advance(struct tune_scheduler *sch, struct bracket *b,
                    struct tune__run *now, struct tune_decision *d)
{
    struct hyperband *h = sch->own;
    if (!b->count || !over(sch, b))
        return;
    size_t kept = (size_t)fmax(1, floor((double)b->count / h->factor + 1e-9)), left = 0;
    int64_t rung = end_of(sch, b->s, b->stage);
    qsort(b->members, b->count, sizeof(*b->members), by_rank);
    for (size_t i = 0; i < b->count && b->members[i]->waiting; i++) {
        struct tune__run *r = b->members[i];
        bool goes_on = i < kept;
        r->waiting = false;
        r->rung += goes_on;
        left += goes_on;
        if (r != now)
            queue(h, r, goes_on ? TUNE_RESUME : TUNE_STOP, rung);
        else if (!goes_on)
            d->reason = "not among the best of its rung";
        if (r == now)
            d->action = goes_on ? TUNE_CONTINUE : TUNE_STOP;
    }
    b->count = left;
    b->stage++;
}

static void report(struct tune_scheduler *sch, struct tune__run *r,
                   struct tune_decision *d)
{
    struct hyperband *h = sch->own;
    struct bracket *b = h->brackets[r->bracket];
    if (r->t >= sch->max_t) {
        d->action = TUNE_STOP;
        d->reason = "max_t";
        return;
    }
    int64_t end = end_of(sch, b->s, b->stage);
    if (r->t < end)
        return;
    r->waiting = true;
    d->rung = end;
    d->action = TUNE_PAUSE;
    d->reason = "waits for its rung";
    advance(sch, b, r, d);
}

static void ended(struct tune_scheduler *sch, struct tune__run *r)
{
    struct hyperband *h = sch->own;
    r->waiting = false;
    advance(sch, h->brackets[r->bracket], NULL, NULL);
}

static void closed(struct tune_scheduler *sch)
{
    struct hyperband *h = sch->own;
    if (h->count)
        advance(sch, h->brackets[h->count - 1], NULL, NULL);
}

static bool next(struct tune_scheduler *sch, struct tune_decision *d)
{
    struct hyperband *h = sch->own;
    while (h->taken < h->queued) {
        *d = h->queue[h->taken++];
        if (tune__run_find(sch, d->trial)->state == TUNE__PAUSED)
            return true;
    }
    h->taken = h->queued = 0;
    return false;
}

static double preview(struct tune_scheduler *sch, uint64_t trials, json_t *rungs)
{
    const struct hyperband *h = sch->own;
    double steps = 0;
    uint32_t s = h->most;
    for (uint32_t number = 0; trials; number++, s = s ? s - 1 : h->most) {
        uint64_t n = size_of(h, s) < trials ? size_of(h, s) : trials;
        double left = (double)n;
        int64_t from = 0;
        trials -= n;
        for (uint32_t stage = 0; stage <= s; stage++) {
            int64_t to = end_of(sch, s, stage);
            tune__preview_rung(rungs, number, to, left);
            steps += left * (double)(to - from);
            from = to;
            left = fmax(1, floor(left / h->factor + 1e-9));
        }
    }
    return steps;
}

const struct tune_scheduler_kind tune__hyperband = {
    .name = "hyperband",
    .help = "brackets of halving, whose trials wait for each other at rungs",
    .create = create,
    .destroy = destroy,
    .start = start,
    .report = report,
    .ended = ended,
    .closed = closed,
    .next = next,
    .preview = preview,
};
