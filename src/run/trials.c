/* SPDX-License-Identifier: Apache-2.0
 *
 * What happens to trials. The search (search/search.h) decides, this acts: an attempt
 * that shall end gets TERM and its grace like any other, and what it becomes then
 * stands in `ending`. Every decision is an event before it is done.
 */
#include "config.h"
#include "run/trials.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "run/layout.h"
#include "search/op_tune.h"

struct engine__trial *engine__trial_of(const struct engine *e, uint32_t step)
{
    return e->steps[step].trial;
}

/* --- life --- */

static void add_trials(struct engine *e, struct engine__search *x)
{
    x->count = search_total(x->s);
    x->trials = rwf_xcalloc((size_t)x->count + 1, sizeof(*x->trials));
    for (size_t i = 0; i < x->step->need_count; i++) {
        const struct plan_step *p = engine__step_at(e, x->step->needs[i]);
        if (!p->is_trial || strcmp(p->entry, x->step->entry) != 0 ||
            p->trial >= x->count)
            continue;
        x->trials[p->trial] = (struct engine__trial){
            .search = x, .step = p, .number = p->trial, .clone_from = -1};
        e->steps[p->index].trial = &x->trials[p->trial];
        if (p->op->metrics != NULL)
            search_metric_may_come_late(x->s);
    }
}

int engine__searches_open(struct engine *e, struct rwf_err *err)
{
    LIST_INIT(&e->searches);
    for (uint32_t i = 0; i < plan_graph_count(e->graph); i++) {
        const struct plan_step *p = engine__step_at(e, i);
        if (p->op->trials == NULL)
            continue;
        struct engine__search *x = rwf_xcalloc(1, sizeof(*x));
        x->e = e;
        x->step = p;
        LIST_INSERT_HEAD(&e->searches, x, link);
        x->s = search_open(e->graph, p, &x->body, err);
        if (x->s == NULL)
            return -1;
        add_trials(e, x);
    }
    return 0;
}

static void trial_free(struct engine__trial *t)
{
    free(t->why);
    json_decref(t->first);
    json_decref(t->lineage);
    json_decref(t->outputs);
    json_decref(t->metrics);
    json_decref(t->parts);
}

void engine__searches_close(struct engine *e)
{
    struct engine__search *x;
    while ((x = LIST_FIRST(&e->searches)) != NULL) {
        LIST_REMOVE(x, link);
        for (uint32_t i = 0; i < x->count; i++)
            trial_free(&x->trials[i]);
        search_destroy(x->s);
        json_decref(x->body);
        json_decref(x->parts);
        json_decref(x->record);
        free(x->budget); /* the loop is gone */
        free(x->trials);
        free(x);
    }
}

char *engine__trial_dir(const struct engine__trial *t)
{
    char *name = run_step_name(t->step->address);
    char *dir = rwf_xasprintf("%s/trials/%s", t->search->e->dir, name);
    free(name);
    return dir;
}

/* --- the time budget --- */

static void on_budget(uv_timer_t *timer)
{
    struct engine__search *x = timer->data;
    search_end(x->s, "its time budget is used up");
    engine__search_act(x);
}

void engine__search_budget(struct engine__search *x)
{
    int64_t budget = search_time_budget(x->s);
    if (budget == 0 || x->budget != NULL || !x->e->has_loop)
        return;
    int64_t left = budget > x->spent ? budget - x->spent : 0;
    x->budget = rwf_xcalloc(1, sizeof(*x->budget));
    uv_timer_init(&x->e->loop, x->budget);
    x->budget->data = x;
    uv_timer_start(x->budget, on_budget,
                   (uint64_t)((left + RWF_NS_PER_MS - 1) / RWF_NS_PER_MS), 0);
    uv_unref((uv_handle_t *)x->budget);
}

/* --- beginning --- */

static void skip(struct engine__trial *t, const char *why)
{
    struct engine *e = t->search->e;
    search_ended(t->search->s, t->number, SEARCH_SKIPPED, NULL);
    run_log_append(e->log, RUN_STEP_SKIPPED,
                   json_pack("{s:s, s:o}", "step", t->step->address, "because",
                             json_sprintf("its search is over: %s", why)));
    schedule_event(e->schedule, t->step->index, SCHEDULE_EVENT_SKIP, 0,
                   rwf_clock_mono());
}

/* 0: it has a configuration, 1: it is skipped. */
static int configure(struct engine__trial *t, struct rwf_err *err)
{
    struct engine__search *x = t->search;
    engine__search_budget(x);
    if (search_over(x->s) != NULL) {
        skip(t, search_over(x->s));
        return 1;
    }
    engine__search_look(x);
    json_t *config = engine__search_recorded(x, t->number);
    bool recorded = config != NULL;
    if (config == NULL)
        config = search_suggest(x->s, t->number);
    if (config == NULL) {
        skip(t, "there is nothing left to try");
        return 1;
    }
    int result = search_begin(x->s, t->number, config, err);
    if (result == 0) {
        x->begun = true;
        t->first = json_incref(config);
        run_log_append(x->e->log, RUN_TRIAL_SUGGESTED,
                       json_pack("{s:s, s:i, s:O, s:b}", "step", t->step->address,
                                 "trial", (int)t->number, "config", config, "recorded",
                                 recorded));
        plan_trial_configure(x->e->graph, t->step->index, config);
    }
    json_decref(config);
    return result;
}

bool engine__trial_begins(struct engine *e, const struct plan_step *p)
{
    struct engine__trial *t = engine__trial_of(e, p->index);
    struct rwf_err err = RWF_ERR_INIT;
    int result = 0;
    if (t == NULL)
        result = rwf_fail(&err, RWF_E_RECIPE, "a trial runs only with its search: %s",
                          p->entry);
    else if (search_config(t->search->s, t->number) == NULL)
        result = configure(t, &err);
    else if (t->clone_from >= 0)
        engine__trial_apply_clone(t);
    if (result == 0 && t != NULL && t->decided == ENDING_FAIL)
        result = rwf_fail(&err, RWF_E_FAILED, "%s", t->why);
    if (result < 0)
        engine__failed_early(e, p->index, schedule_attempt(e->schedule, p->index),
                             &err);
    return result == 0;
}

bool engine__trial_waits(struct engine *e, uint32_t step)
{
    struct engine__trial *t = engine__trial_of(e, step);
    if (t->decided == ENDING_STOP && t->step->op->run == NULL) {
        engine__trial_finish(t);
        return true;
    }
    if (t->decided == ENDING_STOP ||
        search_result(t->search->s, t->number).status != SEARCH_PAUSED)
        return false;
    t->held = true;
    schedule_event(e->schedule, step, SCHEDULE_EVENT_PAUSED, 0, rwf_clock_mono());
    return true;
}

/* --- while it runs --- */

void engine__trial_env(const struct engine__attempt *a, json_t *env)
{
    const struct engine__trial *t = engine__trial_of(a->engine, a->step->index);
    char number[16], *dir, *text;
    if (t == NULL)
        return;
    const json_t *config = search_config(t->search->s, t->number);
    snprintf(number, sizeof(number), "%u", (unsigned)t->number);
    text = json_dumps(config, JSON_COMPACT);
    dir = engine__trial_dir(t);
    char *checkpoints = rwf_fs_join(dir, "checkpoints");
    (void)rwf_fs_mkdirs(checkpoints, NULL);
    json_object_set_new(env, "RAYWF_TRIAL", json_string(number));
    json_object_set_new(env, "RAYWF_TRIAL_CONFIG", run_text(text));
    json_object_set_new(env, "RAYWF_CHECKPOINT_DIR", json_string(checkpoints));
    json_object_set_new(env, "RAYWF_TRIAL_DIR", json_string(dir));
    free(checkpoints);
    free(dir);
    free(text);
}

void engine__trial_attempt(struct engine__attempt *a)
{
    struct engine__trial *t = engine__trial_of(a->engine, a->step->index);
    if (t == NULL)
        return;
    t->search->worked = true;
    search_attempt(t->search->s, t->number);
    a->ending = t->decided;
}

/* A built-in step that is asked to end looks for this file: then it leaves what it has
 * as its outputs. */
static void mark(const struct engine__attempt *a)
{
    char *path = rwf_fs_join(a->dir, "stop");
    struct rwf_err err = RWF_ERR_INIT;
    if (rwf_fs_write(path, "", 0, false, &err) != 0)
        rwf_log(RWF_LOG_WARN, "run", "%s", err.text);
    free(path);
}

void engine__trial_mark(const struct engine__attempt *a)
{
    if (a->ending == ENDING_STOP || a->ending == ENDING_PAUSE)
        mark(a);
}

void engine__trial_report(struct engine__attempt *a, const json_t *line)
{
    struct engine__trial *t = engine__trial_of(a->engine, a->step->index);
    const json_t *step = json_object_get(line, "step");
    /* One that is to be held goes on reporting until it has ended: that counts. */
    if (t == NULL || (a->ending != ENDING_NONE && a->ending != ENDING_PAUSE))
        return;
    search_report(t->search->s, t->number, line,
                  json_is_number(step) ? json_number_value(step) : NAN);
    engine__search_act(t->search);
}

/* --- ends --- */

bool engine__trial_hit_stopped(const struct engine *e, uint32_t step)
{
    const struct engine__trial *t = engine__trial_of(e, step);
    return t != NULL && t->hit_stopped;
}

void engine__trial_again(struct engine *e, uint32_t step)
{
    struct engine__trial *t = engine__trial_of(e, step);
    if (t == NULL)
        return;
    t->decided = ENDING_NONE;
    search_again(t->search->s, t->number);
}

json_t *engine__trial_parts(const struct engine__attempt *a, char key[RWF_DIGEST_LEN])
{
    const struct engine__trial *t = engine__trial_of(a->engine, a->step->index);
    bool stopped = a->ending == ENDING_STOP || a->ending == ENDING_PAUSE;
    if (t == NULL || (!stopped && t->lineage == NULL))
        return NULL;
    return engine__trial_variant(t, a->engine->steps[a->step->index].ready->parts,
                                 stopped, key);
}

static void log_ended(const struct engine__trial *t)
{
    const struct engine__search *x = t->search;
    struct search_result r = search_result(x->s, t->number);
    int64_t best = search_best(x->s);
    json_t *event = json_pack("{s:s, s:i, s:s}", "step", t->step->address, "trial",
                              (int)t->number, "status", search_status_name(r.status));
    if (isfinite(r.value))
        json_object_set_new(event, "value", json_real(r.value));
    if (isfinite(r.at))
        json_object_set_new(event, "at", json_real(r.at));
    if (best >= 0)
        json_object_set_new(event, "best", json_integer(best));
    run_log_append(x->e->log, RUN_TRIAL_ENDED, event);
}

static void forget_folder(const struct engine__trial *t)
{
    char *dir = engine__trial_dir(t);
    if (!search_clones(t->search->s))
        (void)rwf_fs_rmtree(dir, NULL);
    free(dir);
}

void engine__trial_note_key(struct engine__trial *t, const char *key)
{
    snprintf(t->key, sizeof(t->key), "%s", key == NULL ? "" : key);
}

void engine__trial_over(struct engine *e, uint32_t step, bool good, bool stopped,
                        const char *key)
{
    struct engine__trial *t = engine__trial_of(e, step);
    if (t == NULL)
        return;
    engine__trial_note_key(t, key);
    t->decided = ENDING_NONE;
    search_ended(t->search->s, t->number,
                 !good     ? SEARCH_FAILED
                 : stopped ? SEARCH_STOPPED
                           : SEARCH_COMPLETED,
                 e->steps[step].metrics);
    log_ended(t);
    forget_folder(t);
    engine__search_act(t->search);
}

/* A trial that is stopped while it does not run. */
void engine__trial_finish(struct engine__trial *t)
{
    struct engine *e = t->search->e;
    uint32_t step = t->step->index;
    json_t *outputs = t->outputs != NULL ? json_incref(t->outputs) : json_object();
    json_t *metrics = t->metrics != NULL ? json_incref(t->metrics) : json_object();
    json_t *event = json_pack("{s:s, s:i, s:O, s:O, s:b}", "step", t->step->address,
                              "attempt", schedule_attempt(e->schedule, step), "outputs",
                              outputs, "metrics", metrics, "stopped", 1);
    if (t->parts != NULL) {
        json_object_set_new(event, "key", json_string(t->key));
        json_object_set(event, "parts", t->parts);
    }
    run_log_append(e->log, RUN_STEP_SUCCEEDED, event);
    engine__results_set(e, step, outputs, metrics);
    engine__ready_free(&e->steps[step]);
    t->held = false;
    schedule_event(e->schedule, step, SCHEDULE_EVENT_CUT, 0, rwf_clock_mono());
    engine__trial_over(e, step, true, true, t->parts != NULL ? t->key : NULL);
}

/* Its attempt has ended as its search wanted. */
static void wait_again(struct engine__attempt *a, bool hold)
{
    struct engine *e = a->engine;
    uint32_t step = a->step->index;
    run_log_append(e->log, RUN_STEP_PREEMPTED,
                   json_pack("{s:s, s:i, s:b}", "step", a->step->address, "attempt",
                             a->number, "paused", hold));
    schedule_event(e->schedule, step,
                   hold ? SCHEDULE_EVENT_PAUSED : SCHEDULE_EVENT_PREEMPTED, 0,
                   rwf_clock_mono());
}

void engine__trial_kept(struct engine__attempt *a, json_t *outputs, const char *key,
                        json_t *parts)
{
    struct engine__trial *t = engine__trial_of(a->engine, a->step->index);
    json_decref(t->outputs);
    json_decref(t->metrics);
    json_decref(t->parts);
    t->outputs = json_incref(outputs);
    t->metrics = a->metrics != NULL ? json_incref(a->metrics) : json_object();
    t->parts = json_incref(parts);
    memcpy(t->key, key, sizeof(t->key));
    bool over = t->decided == ENDING_STOP;
    t->decided = ENDING_NONE;
    t->held = over || !t->resume;
    wait_again(a, t->held);
    t->resume = false;
    if (over)
        engine__trial_finish(t);
}

void engine__trial_settle(struct engine__attempt *a)
{
    const struct engine__trial *t = engine__trial_of(a->engine, a->step->index);
    if (t != NULL && t->decided == ENDING_STOP)
        a->ending = ENDING_STOP;
}

void engine__trial_failed(struct engine__attempt *a)
{
    struct engine__trial *t = engine__trial_of(a->engine, a->step->index);
    engine__failed(a->engine, a->step->index, a->number, PLAN_CAUSE_OUTPUT,
                   RWF_E_FAILED - RWF_E_BASE, t->why, NULL);
}

void engine__trial_cloned(struct engine__attempt *a)
{
    struct engine__trial *t = engine__trial_of(a->engine, a->step->index);
    struct rwf_err err = RWF_ERR_INIT;
    t->decided = ENDING_NONE;
    engine__trial_apply_clone(t);
    if (engine__compute_key(a->engine, a->step, &err) != 0)
        engine__failed_early(a->engine, a->step->index, a->number, &err);
    else
        wait_again(a, false);
}

char *engine__trial_missing(const struct engine__attempt *a)
{
    const struct engine__trial *t = engine__trial_of(a->engine, a->step->index);
    return t == NULL ? NULL : search_missing(t->search->s, t->number, a->metrics);
}
