/* SPDX-License-Identifier: Apache-2.0
 *
 * What all schedulers share: the trials known, and reports that count for nothing.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "tune/options.h"
#include "tune/scheduler_internal.h"

static const struct tune_scheduler_kind *const kinds[] = {
    &tune__none, &tune__asha, &tune__hyperband, &tune__median, &tune__pbt,
};

const char *tune_scheduler_name(size_t i, const char **ret_help)
{
    if (i >= RWF_COUNT(kinds))
        return NULL;
    if (ret_help)
        *ret_help = kinds[i]->help;
    return kinds[i]->name;
}

static const struct tune_scheduler_kind *find_kind(const json_t *spec,
                                                   struct rwf_err *err)
{
    const char *names[RWF_COUNT(kinds) + 1] = {NULL};
    for (size_t i = 0; i < RWF_COUNT(kinds); i++)
        names[i] = kinds[i]->name;
    const char *type = tune__type_of("scheduler", spec, "none", err);
    int i = type ? tune__pick("scheduler", type, names, err) : -1;
    return i < 0 ? NULL : kinds[i];
}

struct tune_scheduler *
tune_scheduler_create(const struct tune_scheduler_options *options, struct rwf_err *err)
{
    const struct tune_scheduler_kind *kind = find_kind(options->scheduler, err);
    if (!kind)
        return NULL;
    struct tune_scheduler *s = rwf_xcalloc(1, sizeof(*s));
    s->kind = kind;
    s->space = options->space;
    s->seed = options->seed;
    s->maximize = options->maximize;
    s->max_steps = options->max_steps;
    const json_t *spec = json_is_object(options->scheduler) ? options->scheduler : NULL;
    if (kind->create(s, spec, err)) {
        tune_scheduler_destroy(s);
        return NULL;
    }
    return s;
}

void tune_scheduler_destroy(struct tune_scheduler *s)
{
    if (!s)
        return;
    if (s->kind->destroy)
        s->kind->destroy(s);
    for (size_t i = 0; i < s->run_count; i++)
        free(s->runs[i]);
    free(s->runs);
    free(s->own);
    free(s);
}

int tune__max_t(struct tune_scheduler *s, const char *what, int64_t given,
                int64_t otherwise, int64_t grace_period, struct rwf_err *err)
{
    s->max_t = given ? given : s->max_steps ? s->max_steps : otherwise;
    if (s->max_steps && s->max_t > s->max_steps)
        return rwf_fail(
            err, RWF_E_RECIPE,
            "%s: max_t is %lld, but the target ends after %lld steps: lower max_t "
            "or lengthen the target",
            what, (long long)s->max_t, (long long)s->max_steps);
    if (s->max_t && grace_period > s->max_t)
        return rwf_fail(err, RWF_E_RECIPE,
                        "%s: grace_period %lld is above max_t %lld: lower it", what,
                        (long long)grace_period, (long long)s->max_t);
    return 0;
}

/* --- trials --- */

static size_t place_of(const struct tune_scheduler *s, uint64_t number)
{
    size_t low = 0, high = s->run_count;
    if (high && s->runs[high - 1]->number < number)
        return high;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (s->runs[mid]->number < number)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

struct tune__run *tune__run_find(const struct tune_scheduler *s, uint64_t trial)
{
    size_t i = place_of(s, trial);
    return i < s->run_count && s->runs[i]->number == trial ? s->runs[i] : NULL;
}

void tune__run_set(struct tune_scheduler *s, struct tune__run *r,
                   enum tune__run_state state)
{
    s->running -= r->state == TUNE__RUNNING;
    s->running += state == TUNE__RUNNING;
    r->state = state;
}

int tune__run_compare(const struct tune__run *a, const struct tune__run *b)
{
    if (a->metric != b->metric)
        return a->metric < b->metric ? -1 : 1;
    return a->number < b->number ? -1 : a->number > b->number;
}

int tune_scheduler_start(struct tune_scheduler *s, uint64_t trial, const json_t *config,
                         struct rwf_err *err)
{
    size_t at = place_of(s, trial);
    if (at < s->run_count && s->runs[at]->number == trial)
        return rwf_fail(err, RWF_E_INPUT, "trial %llu began before",
                        (unsigned long long)trial);
    struct tune__run *r = rwf_xcalloc(1, sizeof(*r));
    r->number = trial;
    r->rung = -1;
    r->metric = NAN;
    if (s->kind->start && s->kind->start(s, r, config, err)) {
        free(r);
        return rwf_wrap(err, "trial %llu", (unsigned long long)trial);
    }
    s->running++;
    (void)RWF_PUSH(s->runs, s->run_count, s->run_cap);
    memmove(&s->runs[at + 1], &s->runs[at], (s->run_count - 1 - at) * sizeof(*s->runs));
    s->runs[at] = r;
    return 0;
}

/* Whether the report is for a running trial, and new; else *d is the answer. */
static bool counts(const struct tune__run *r, int64_t t, struct tune_decision *d)
{
    if (r->state == TUNE__RUNNING && t > r->t)
        return true;
    d->ignored = true;
    if (r->state == TUNE__PAUSED)
        d->action = TUNE_PAUSE;
    else if (r->state != TUNE__RUNNING)
        d->action = TUNE_STOP;
    return false;
}

int tune_scheduler_report(struct tune_scheduler *s, uint64_t trial, int64_t t,
                          double metric, struct tune_decision *ret, struct rwf_err *err)
{
    struct tune__run *r = tune__run_find(s, trial);
    struct tune_decision d = {.action = TUNE_CONTINUE, .trial = trial, .reason = ""};
    if (!r)
        return rwf_fail(err, RWF_E_INPUT, "trial %llu reports, but it never began",
                        (unsigned long long)trial);
    if (isnan(metric))
        return rwf_fail(err, RWF_E_FAILED, "trial %llu: the metric is not a number",
                        (unsigned long long)trial);
    if (counts(r, t, &d)) {
        r->t = t;
        r->metric = s->maximize ? -metric : metric;
        s->kind->report(s, r, &d);
        if (d.action == TUNE_STOP)
            tune__run_set(s, r, TUNE__STOPPED);
        else if (d.action == TUNE_PAUSE)
            tune__run_set(s, r, TUNE__PAUSED);
    }
    *ret = d;
    return 0;
}

void tune_scheduler_end(struct tune_scheduler *s, uint64_t trial)
{
    struct tune__run *r = tune__run_find(s, trial);
    if (!r || r->state == TUNE__ENDED)
        return;
    bool stopped = r->state == TUNE__STOPPED;
    tune__run_set(s, r, TUNE__ENDED);
    if (!stopped && s->kind->ended)
        s->kind->ended(s, r);
}

void tune_scheduler_close(struct tune_scheduler *s)
{
    if (s->closed)
        return;
    s->closed = true;
    if (s->kind->closed)
        s->kind->closed(s);
}

bool tune_scheduler_next(struct tune_scheduler *s, struct tune_decision *ret)
{
    struct tune_decision d = {.reason = ""};
    if (!s->kind->next || !s->kind->next(s, &d))
        return false;
    tune__run_set(s, tune__run_find(s, d.trial),
                  d.action == TUNE_RESUME ? TUNE__RUNNING : TUNE__STOPPED);
    *ret = d;
    return true;
}

/* --- preview --- */

void tune__preview_rung(json_t *rungs, uint32_t bracket, int64_t step, double trials)
{
    json_array_append_new(rungs,
                          json_pack("{s:I, s:I, s:f}", "bracket", (json_int_t)bracket,
                                    "step", (json_int_t)step, "trials", trials));
}

json_t *tune_scheduler_preview(const struct tune_scheduler_options *options,
                               uint64_t trials, struct rwf_err *err)
{
    struct tune_scheduler *s = tune_scheduler_create(options, err);
    if (!s)
        return NULL;
    json_t *rungs = json_array();
    json_t *out = json_pack("{s:o, s:I}", "rungs", rungs, "trials", (json_int_t)trials);
    double full = (double)s->max_t * (double)trials, steps = full;
    if (s->max_t && s->kind->preview)
        steps = s->kind->preview(s, trials, rungs);
    if (full > 0) {
        json_object_set_new(out, "trial_steps", json_real(steps));
        json_object_set_new(out, "full_trial_steps", json_real(full));
        json_object_set_new(out, "fraction", json_real(steps / full));
    }
    tune_scheduler_destroy(s);
    return out;
}

/* --- none --- */

static int create_none(struct tune_scheduler *s, const json_t *spec,
                       struct rwf_err *err)
{
    static const struct tune__option table[] = {
        {"max_t", TUNE__INT, 0, 1, 0, NULL},
    };
    int64_t max_t = 0;
    return tune__options_read("scheduler none", table, 1, spec, &max_t, err) ||
                   tune__max_t(s, "scheduler none", max_t, 0, 0, err)
               ? -1
               : 0;
}

static void report_none(struct tune_scheduler *s, struct tune__run *r,
                        struct tune_decision *d)
{
    if (s->max_t && r->t >= s->max_t) {
        d->action = TUNE_STOP;
        d->reason = "max_t";
    }
}

const struct tune_scheduler_kind tune__none = {
    .name = "none",
    .help = "every trial runs to its end",
    .create = create_none,
    .report = report_none,
};
