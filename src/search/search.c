/* SPDX-License-Identifier: Apache-2.0
 *
 * A search: a sampler that suggests, a scheduler that judges reports (judge.c), and the
 * rules by which the whole ends. What is to be done waits in a queue until search_next
 * fetches it.
 *
 * Invariant: every trial whose configuration is known was added to the sampler and
 * started in the scheduler once, and observed and ended once when it is over.
 */
#include "config.h"
#include "search/search.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/str.h"
#include "search/inside.h"

static const char *const names[SEARCH_STATUS_COUNT] = {
    [SEARCH_NEW] = "new",         [SEARCH_RUNNING] = "running",
    [SEARCH_PAUSED] = "paused",   [SEARCH_COMPLETED] = "completed",
    [SEARCH_STOPPED] = "stopped", [SEARCH_FAILED] = "failed",
    [SEARCH_SKIPPED] = "skipped",
};

const char *search_status_name(enum search_status status)
{
    return names[status];
}

enum search_status search_status_parse(const char *name)
{
    enum search_status i = SEARCH_NEW;
    while (i < SEARCH_STATUS_COUNT && (name == NULL || strcmp(names[i], name) != 0))
        i++;
    return i;
}

/* --- life --- */

static enum search__unit unit_of(const json_t *body)
{
    static const char *const units[] = {"report", "step", "epoch"};
    const char *name = json_string_value(json_object_get(body, "time_attr"));
    for (int i = 0; name != NULL && i < 3; i++)
        if (strcmp(units[i], name) == 0)
            return (enum search__unit)i;
    return UNIT_REPORT;
}

/* An option that may also be just the word. */
static const char *type_of(const json_t *spec, const char *otherwise)
{
    const json_t *type = json_is_object(spec) ? json_object_get(spec, "type") : spec;
    return json_is_string(type) ? json_string_value(type) : otherwise;
}

static void read_rules(struct search *s, const json_t *body)
{
    const json_t *failed = json_object_get(body, "max_failed_trials");
    const char *scheduler = type_of(json_object_get(body, "scheduler"), "none");
    const char *metric = json_string_value(json_object_get(body, "metric"));
    const char *mode = json_string_value(json_object_get(body, "mode"));
    s->metric = rwf_xstrdup(metric != NULL ? metric : "");
    s->maximize = mode != NULL && strcmp(mode, "max") == 0;
    s->unit = unit_of(body);
    s->time_budget = json_integer_value(json_object_get(body, "time_budget"));
    s->max_failed = json_is_integer(failed) ? json_integer_value(failed) : -1;
    s->stop = json_incref(json_object_get(body, "stop"));
    s->clones = strcmp(scheduler, "pbt") == 0;
    s->may_stop = strcmp(scheduler, "none") != 0;
    s->seed = (uint64_t)json_integer_value(
        json_object_get(json_object_get(body, "algorithm"), "seed"));
    s->scheduler_spec = json_incref(json_object_get(body, "scheduler"));
    s->rules =
        json_pack("{s:O?, s:s, s:s, s:s?, s:I}", "scheduler", s->scheduler_spec,
                  "metric", s->metric, "mode", s->maximize ? "max" : "min", "time_attr",
                  json_string_value(json_object_get(body, "time_attr")), "seed",
                  (json_int_t)s->seed);
}

static int64_t samples_of(const json_t *body)
{
    const json_t *samples = json_object_get(body, "num_samples");
    return json_is_integer(samples) ? json_integer_value(samples) : 1;
}

static struct tune_scheduler_options scheduler_options(const struct search *s)
{
    return (struct tune_scheduler_options){.scheduler = s->scheduler_spec,
                                           .space = s->space,
                                           .seed = s->seed,
                                           .maximize = s->maximize,
                                           .max_steps = s->length};
}

static int open_parts(struct search *s, const json_t *body, struct rwf_err *err)
{
    struct tune_sampler_options sampling = {
        .algorithm = json_object_get(body, "algorithm"),
        .points = json_object_get(body, "points_to_evaluate"),
        .num_samples = (uint64_t)samples_of(body),
        .maximize = s->maximize};
    struct tune_scheduler_options judging;
    s->space = tune_space_create(json_object_get(body, "space"), err);
    if (s->space == NULL)
        return -1;
    s->sampler = tune_sampler_create(s->space, &sampling, err);
    if (s->sampler == NULL)
        return -1;
    judging = scheduler_options(s);
    s->scheduler = tune_scheduler_create(&judging, err);
    if (s->scheduler == NULL)
        return -1;
    uint64_t total = tune_sampler_total(s->sampler);
    if (total > 1000000)
        return rwf_fail(err, RWF_E_RECIPE,
                        "more than 1000000 trials: lower num_samples");
    s->total = (uint32_t)total;
    return 0;
}

struct search *search_create(const json_t *body, int64_t length, struct rwf_err *err)
{
    struct search *s = rwf_xcalloc(1, sizeof(*s));
    s->length = length;
    s->best = -1;
    read_rules(s, body);
    if (open_parts(s, body, err) != 0) {
        search_destroy(s);
        return NULL;
    }
    s->trials = rwf_xcalloc((size_t)s->total + 1, sizeof(*s->trials));
    for (uint32_t i = 0; i < s->total; i++) {
        s->trials[i].source = -1;
        s->trials[i].result = (struct search_result){.value = NAN, .at = NAN};
    }
    s->counts[SEARCH_NEW] = s->total;
    return s;
}

void search_destroy(struct search *s)
{
    if (s == NULL)
        return;
    for (uint32_t i = 0; s->trials != NULL && i < s->total; i++) {
        json_decref(s->trials[i].config);
        free(s->trials[i].steps);
    }
    for (size_t i = s->head; i < s->count; i++)
        json_decref(s->queue[i].config);
    tune_scheduler_destroy(s->scheduler);
    tune_sampler_destroy(s->sampler);
    tune_space_destroy(s->space);
    json_decref(s->rules);
    json_decref(s->stop);
    json_decref(s->scheduler_spec);
    free(s->queue);
    free(s->trials);
    free(s->metric);
    free(s->over);
    free(s);
}

uint32_t search_total(const struct search *s)
{
    return s->total;
}

const char *search_metric(const struct search *s)
{
    return s->metric;
}

bool search_maximizes(const struct search *s)
{
    return s->maximize;
}

const json_t *search_rules(const struct search *s)
{
    return s->rules;
}

bool search_may_stop(const struct search *s)
{
    return s->may_stop;
}

bool search_clones(const struct search *s)
{
    return s->clones;
}

int64_t search_time_budget(const struct search *s)
{
    return s->time_budget;
}

void search_metric_may_come_late(struct search *s)
{
    s->late = true;
}

const struct tune_space *search_space(const struct search *s)
{
    return s->space;
}

json_t *search_preview(const struct search *s, struct rwf_err *err)
{
    struct tune_scheduler_options options = scheduler_options(s);
    return tune_scheduler_preview(&options, s->total, err);
}

/* --- what is to be done --- */

void search__set_status(struct search *s, struct search__trial *t,
                        enum search_status status)
{
    s->counts[t->status]--;
    s->counts[status]++;
    t->status = status;
    t->result.status = status;
}

struct search_action *search__push(struct search *s, enum search_verb verb,
                                   uint32_t trial, const char *fmt, ...)
{
    struct search_action *a = RWF_PUSH(s->queue, s->count, s->cap);
    va_list ap;
    *a = (struct search_action){
        .verb = verb, .trial = trial, .rung = -1, .at = NAN, .value = NAN};
    va_start(ap, fmt);
    vsnprintf(a->why, sizeof(a->why), fmt, ap);
    va_end(ap);
    return a;
}

bool search__is_open(const struct search__trial *t)
{
    return t->status == SEARCH_RUNNING || t->status == SEARCH_PAUSED;
}

static void close_scheduler(struct search *s)
{
    if (s->begun + s->counts[SEARCH_SKIPPED] >= s->total || s->over != NULL)
        tune_scheduler_close(s->scheduler);
}

void search_end(struct search *s, const char *why)
{
    if (s->over != NULL)
        return;
    s->over = rwf_xstrdup(why);
    for (uint32_t i = 0; i < s->total; i++) {
        struct search__trial *t = &s->trials[i];
        if (!search__is_open(t) || t->ending)
            continue;
        t->ending = true;
        search__push(s, SEARCH_STOP, i, "%s", why);
    }
    close_scheduler(s);
}

const char *search_over(const struct search *s)
{
    return s->over;
}

bool search_failed(const struct search *s)
{
    return s->failed;
}

/* --- beginning --- */

json_t *search_suggest(struct search *s, uint32_t trial)
{
    return s->over != NULL ? NULL : tune_sampler_suggest(s->sampler, trial);
}

int search_begin(struct search *s, uint32_t trial, const json_t *config,
                 struct rwf_err *err)
{
    struct search__trial *t = &s->trials[trial];
    if (t->config != NULL)
        return rwf_fail(err, RWF_E_INPUT, "trial %u began before", (unsigned)trial);
    if (tune_sampler_add(s->sampler, trial, config, err) != 0 ||
        tune_scheduler_start(s->scheduler, trial, config, err) != 0)
        return -1;
    t->config = json_deep_copy(config);
    search__set_status(s, t, SEARCH_RUNNING);
    s->begun++;
    close_scheduler(s);
    return 0;
}

const json_t *search_config(const struct search *s, uint32_t trial)
{
    return s->trials[trial].config;
}

static bool is_better(const struct search *s, double a, double b)
{
    return isnan(b) || (s->maximize ? a > b : a < b);
}

static bool is_good(const struct search__trial *t)
{
    return t->status == SEARCH_COMPLETED || t->status == SEARCH_STOPPED;
}

/* Of equals the first. */
static void take_best(struct search *s, uint32_t trial)
{
    const struct search__trial *t = &s->trials[trial];
    if (!is_good(t) || isnan(t->result.value))
        return;
    double best = s->best < 0 ? NAN : s->trials[s->best].result.value;
    if (is_better(s, t->result.value, best) ||
        (t->result.value == best && trial < s->best))
        s->best = trial;
}

void search_set_value(struct search *s, uint32_t trial, double value, double at)
{
    s->trials[trial].result.value = value;
    s->trials[trial].result.at = at;
    if (!is_good(&s->trials[trial]))
        return;
    s->best = -1;
    for (uint32_t i = 0; i < s->total; i++)
        take_best(s, i);
}

void search_set_config(struct search *s, uint32_t trial, const json_t *config)
{
    json_decref(s->trials[trial].config);
    s->trials[trial].config = json_deep_copy(config);
}

void search_again(struct search *s, uint32_t trial)
{
    struct search__trial *t = &s->trials[trial];
    if (t->status != SEARCH_FAILED && t->status != SEARCH_SKIPPED)
        return;
    search__set_status(s, t, t->config != NULL ? SEARCH_RUNNING : SEARCH_NEW);
    t->ending = false;
    s->failed = false;
    free(s->over);
    s->over = NULL;
}

void search_attempt(struct search *s, uint32_t trial)
{
    s->trials[trial].reports = 0;
}

/* --- the end --- */

char *search_missing(const struct search *s, uint32_t trial, const json_t *metrics)
{
    struct rwf_str text = {0};
    if (!isnan(s->trials[trial].result.value) ||
        json_is_number(json_object_get(metrics, s->metric)))
        return NULL;
    rwf_str_addf(&text, "it reported no '%s'; it reported: ", s->metric);
    search__add_names(&text, metrics);
    return rwf_str_take(&text);
}

static void observe(struct search *s, uint32_t trial)
{
    struct search__trial *t = &s->trials[trial];
    struct tune_result r = {.value = t->result.value,
                            .step = isnan(t->result.at) ? 0 : (int64_t)t->result.at};
    r.outcome = t->status == SEARCH_COMPLETED ? TUNE_COMPLETED
                : t->status == SEARCH_STOPPED ? TUNE_STOPPED
                                              : TUNE_FAILED;
    (void)tune_sampler_observe(s->sampler, trial, r, NULL);
    tune_scheduler_end(s->scheduler, trial);
}

static void end_by_count(struct search *s)
{
    const json_t *most = json_object_get(s->stop, "trials");
    size_t done = s->counts[SEARCH_COMPLETED] + s->counts[SEARCH_STOPPED];
    char why[100];
    if (s->max_failed >= 0 && s->counts[SEARCH_FAILED] > (size_t)s->max_failed) {
        s->failed = true;
        snprintf(why, sizeof(why), "%zu trials failed, and max_failed_trials is %lld",
                 s->counts[SEARCH_FAILED], (long long)s->max_failed);
        search_end(s, why);
    } else if (json_is_number(most) && (double)done >= json_number_value(most)) {
        snprintf(why, sizeof(why), "%zu trials are done", done);
        search_end(s, why);
    }
}

void search_ended(struct search *s, uint32_t trial, enum search_status status,
                  const json_t *metrics)
{
    struct search__trial *t = &s->trials[trial];
    const json_t *value = json_object_get(metrics, s->metric);
    if (!search__is_open(t) && t->status != SEARCH_NEW)
        return;
    if (isnan(t->result.value) && json_is_number(value))
        t->result.value = json_number_value(value);
    if (status == SEARCH_STOPPED && t->at_max)
        status = SEARCH_COMPLETED;
    bool begun = t->status != SEARCH_NEW;
    search__set_status(s, t, status);
    if (begun)
        observe(s, trial);
    take_best(s, trial);
    if (status != SEARCH_SKIPPED) {
        end_by_count(s);
        if (status != SEARCH_FAILED)
            search__check_stop(s, trial, metrics);
    }
    close_scheduler(s);
}

struct search_result search_result(const struct search *s, uint32_t trial)
{
    struct search_result r = s->trials[trial].result;
    r.status = s->trials[trial].status;
    return r;
}

int64_t search_best(const struct search *s)
{
    return s->best;
}

size_t search_count(const struct search *s, enum search_status status)
{
    return s->counts[status];
}
