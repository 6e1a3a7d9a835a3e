/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "tune/search.h"

#include <math.h>
#include <stdlib.h>
#include "base/mem.h"

enum state { RUNNING, PAUSING, PAUSED, ENDING, OVER };

struct trial {
    enum state state;
    bool resumes;  /* pausing, and to be resumed as soon as it is gone */
    bool drops;    /* pausing, and to be dropped then */
    bool complete; /* told to end because it has reached max_t */
    bool failed;
    int64_t t;
    double metric; /* the last; NaN before the first */
};

struct tune_search {
    struct tune_sampler *sampler;
    struct tune_scheduler *scheduler;
    uint64_t max_concurrent, max_failed;
    bool maximize, closed, ending, finished;
    struct trial *trials;
    size_t count, cap;
    uint64_t running, paused, failed;
    struct tune_order *orders;
    size_t order_count, order_cap, taken;
};

static void order(struct tune_search *s, struct tune_order o)
{
    *RWF_PUSH(s->orders, s->order_count, s->order_cap) = o;
}

static void over(struct tune_search *s, uint64_t number, enum tune_outcome outcome)
{
    struct trial *t = &s->trials[number];
    struct tune_result r = {outcome, t->metric, t->t};
    t->state = OVER;
    t->failed = outcome == TUNE_FAILED;
    s->failed += t->failed;
    tune_scheduler_end(s->scheduler, number);
    tune_sampler_observe(s->sampler, number, r, NULL);
}

static void begin(struct tune_search *s)
{
    uint64_t number = s->count;
    json_t *config = tune_sampler_suggest(s->sampler, number);
    *RWF_PUSH(s->trials, s->count, s->cap) = (struct trial){.metric = NAN};
    s->running++;
    /* Neither can fail: the number is new, and the configuration of the space. */
    rwf_assert(!tune_sampler_add(s->sampler, number, config, NULL));
    rwf_assert(!tune_scheduler_start(s->scheduler, number, config, NULL));
    order(s, (struct tune_order){TUNE_ORDER_BEGIN, number, "", 0, 0, 0, config});
}

static void resume(struct tune_search *s, uint64_t number, const char *reason,
                   int64_t rung)
{
    struct trial *t = &s->trials[number];
    if (t->state == PAUSING) { /* it still holds its place */
        t->resumes = true;
        return;
    }
    t->state = RUNNING;
    s->paused--;
    s->running++;
    order(s, (struct tune_order){TUNE_ORDER_RESUME, number, reason, rung, 0, 0, NULL});
}

static void drop(struct tune_search *s, uint64_t number, const char *reason,
                 int64_t rung)
{
    struct trial *t = &s->trials[number];
    if (t->state == PAUSING) {
        t->drops = true;
        return;
    }
    s->paused--;
    order(s, (struct tune_order){TUNE_ORDER_DROP, number, reason, rung, 0, 0, NULL});
    over(s, number, TUNE_STOPPED);
}

/* Gives free places to paused trials, then to new ones. */
static void fill(struct tune_search *s)
{
    struct tune_decision d;
    while (!s->ending && s->running < s->max_concurrent) {
        if (!s->closed && s->count >= tune_sampler_total(s->sampler))
            tune_search_close(s);
        if (tune_scheduler_next(s->scheduler, &d)) {
            if (d.action == TUNE_RESUME)
                resume(s, d.trial, d.reason, d.rung);
            else
                drop(s, d.trial, d.reason, d.rung);
        } else if (!s->closed && s->count < tune_sampler_total(s->sampler)) {
            begin(s);
        } else {
            break;
        }
    }
    if (s->running || s->paused || s->finished || !s->closed)
        return;
    s->finished = true;
    order(s, (struct tune_order){TUNE_ORDER_FINISH, 0, "", 0, 0, 0, NULL});
}

struct tune_search *tune_search_create(const struct tune_search_options *o,
                                       struct rwf_err *err)
{
    struct tune_sampler_options sampler = {o->algorithm, o->points, o->num_samples,
                                           o->maximize};
    const json_t *seed = json_object_get(o->algorithm, "seed");
    struct tune_scheduler_options scheduler = {.scheduler = o->scheduler,
                                               .space = o->space,
                                               .maximize = o->maximize,
                                               .seed =
                                                   (uint64_t)json_integer_value(seed),
                                               .max_steps = o->max_steps};
    struct tune_search *s = rwf_xcalloc(1, sizeof(*s));
    s->max_concurrent = o->max_concurrent;
    s->max_failed = o->max_failed;
    s->maximize = o->maximize;
    s->sampler = tune_sampler_create(o->space, &sampler, err);
    s->scheduler = s->sampler ? tune_scheduler_create(&scheduler, err) : NULL;
    if (!s->scheduler) {
        tune_search_destroy(s);
        return NULL;
    }
    fill(s);
    return s;
}

void tune_search_destroy(struct tune_search *s)
{
    if (!s)
        return;
    for (size_t i = s->taken; i < s->order_count; i++)
        json_decref(s->orders[i].config);
    tune_sampler_destroy(s->sampler);
    tune_scheduler_destroy(s->scheduler);
    free(s->orders);
    free(s->trials);
    free(s);
}

static int find(const struct tune_search *s, uint64_t trial, struct rwf_err *err)
{
    return trial < s->count ? 0
                            : rwf_fail(err, RWF_E_INPUT, "there is no trial %llu",
                                       (unsigned long long)trial);
}

static void end(struct tune_search *s, uint64_t trial, const char *reason, int64_t rung)
{
    s->trials[trial].state = ENDING;
    order(s, (struct tune_order){TUNE_ORDER_END, trial, reason, rung, 0, 0, NULL});
}

static void follow(struct tune_search *s, struct tune_decision *d, int64_t step)
{
    struct trial *t = &s->trials[d->trial];
    if (d->keep_checkpoint)
        order(s, (struct tune_order){TUNE_ORDER_KEEP, d->trial, d->reason, 0, 0, step,
                                     NULL});
    if (d->action == TUNE_STOP) {
        t->complete = d->complete;
        end(s, d->trial, d->reason, d->rung);
    } else if (d->action == TUNE_PAUSE) {
        t->state = PAUSING;
        order(s, (struct tune_order){TUNE_ORDER_PAUSE, d->trial, d->reason, d->rung, 0,
                                     0, NULL});
    } else if (d->action == TUNE_CLONE) {
        t->t = d->source_step;
        order(s, (struct tune_order){TUNE_ORDER_CLONE, d->trial, d->reason, 0,
                                     d->source, d->source_step, d->config});
    }
}

int tune_search_report(struct tune_search *s, uint64_t trial, int64_t step,
                       double metric, struct rwf_err *err)
{
    struct tune_decision d;
    if (find(s, trial, err))
        return -1;
    struct trial *t = &s->trials[trial];
    if (t->state != RUNNING || step <= t->t)
        return 0;
    if (isnan(metric)) {
        t->failed = true;
        end(s, trial, "its metric is missing or not a number", 0);
        return 0;
    }
    t->t = step;
    t->metric = metric;
    if (tune_scheduler_report(s->scheduler, trial, step, metric, &d, err))
        return -1;
    follow(s, &d, step);
    fill(s);
    return 0;
}

static void too_many(struct tune_search *s)
{
    s->ending = true;
    tune_search_close(s);
    for (uint64_t i = 0; i < s->count; i++) {
        if (s->trials[i].state == RUNNING)
            end(s, i, "too many trials have failed", 0);
        s->trials[i].resumes = false;
        if (s->trials[i].state == PAUSING || s->trials[i].state == PAUSED)
            drop(s, i, "too many trials have failed", 0);
    }
}

int tune_search_gone(struct tune_search *s, uint64_t trial, bool failed,
                     struct rwf_err *err)
{
    if (find(s, trial, err))
        return -1;
    struct trial *t = &s->trials[trial];
    if (t->state == PAUSED || t->state == OVER)
        return 0;
    s->running--;
    if (t->state == PAUSING && !failed) {
        t->state = PAUSED;
        s->paused++;
        if (t->drops)
            drop(s, trial, "not among the best of its rung", 0);
        else if (t->resumes)
            resume(s, trial, "promoted", 0);
        t->resumes = false;
    } else if (t->state == ENDING && !t->failed) {
        over(s, trial, t->complete ? TUNE_COMPLETED : TUNE_STOPPED);
    } else {
        bool bad = failed || t->failed || isnan(t->metric);
        over(s, trial, bad ? TUNE_FAILED : TUNE_COMPLETED);
    }
    if (tune_search_too_many_failed(s) && !s->ending)
        too_many(s);
    fill(s);
    return 0;
}

void tune_search_close(struct tune_search *s)
{
    if (s->closed)
        return;
    s->closed = true;
    tune_scheduler_close(s->scheduler);
    fill(s);
}

bool tune_search_order(struct tune_search *s, struct tune_order *ret)
{
    if (s->taken == s->order_count) {
        s->taken = s->order_count = 0;
        return false;
    }
    *ret = s->orders[s->taken++];
    return true;
}

bool tune_search_best(const struct tune_search *s, uint64_t *ret_trial,
                      double *ret_metric)
{
    bool any = false;
    for (uint64_t i = 0; i < s->count; i++) {
        const struct trial *t = &s->trials[i];
        if (t->failed || isnan(t->metric))
            continue;
        if (any && !(s->maximize ? t->metric > *ret_metric : t->metric < *ret_metric))
            continue;
        any = true;
        *ret_trial = i;
        *ret_metric = t->metric;
    }
    return any;
}

bool tune_search_too_many_failed(const struct tune_search *s)
{
    return s->failed > s->max_failed;
}
