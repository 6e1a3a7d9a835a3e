/* SPDX-License-Identifier: Apache-2.0
 *
 * What happens to trials. The search (search/search.h) decides, this acts: an attempt that
 * shall end gets TERM and its grace like any other, and what it becomes then stands in
 * `ending`. Every decision is an event before it is done.
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

static const char *address_of(const struct engine__trial *t)
{
    return t->step->address;
}

/* --- life --- */

static void add_trials(struct engine *e, struct engine__search *x)
{
    x->count = search_total(x->s);
    x->trials = rwf_xcalloc((size_t)x->count + 1, sizeof(*x->trials));
    for (size_t i = 0; i < x->step->need_count; i++) {
        const struct plan_step *p = engine__step_at(e, x->step->needs[i]);
        if (!p->is_trial || strcmp(p->entry, x->step->entry) != 0 || p->trial >= x->count)
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
    char *name = run_step_name(address_of(t));
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

static void finish_without(struct engine__trial *t);

/* --- beginning --- */

static void skip(struct engine__trial *t, const char *why)
{
    struct engine *e = t->search->e;
    search_ended(t->search->s, t->number, SEARCH_SKIPPED, NULL);
    run_log_append(e->log, RUN_STEP_SKIPPED,
                   json_pack("{s:s, s:o}", "step", address_of(t), "because",
                             json_sprintf("its search is over: %s", why)));
    schedule_event(e->schedule, t->step->index, SCHEDULE_EVENT_SKIP, 0, rwf_clock_mono());
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
                       json_pack("{s:s, s:i, s:O, s:b}", "step", address_of(t), "trial",
                                 (int)t->number, "config", config, "recorded", recorded));
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
        engine__failed_early(e, p->index, schedule_attempt(e->schedule, p->index), &err);
    return result == 0;
}

bool engine__trial_waits(struct engine *e, uint32_t step)
{
    struct engine__trial *t = engine__trial_of(e, step);
    if (t->decided == ENDING_STOP && t->step->op->run == NULL) {
        finish_without(t);
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

static struct engine__attempt *attempt_of(const struct engine__trial *t)
{
    struct engine__attempt *a;
    LIST_FOREACH(a, &t->search->e->running, link)
    if (a->step == t->step && a->keep == NULL)
        return a;
    return NULL;
}

/* A built-in step that is asked to end looks for this file: then it leaves what it has as its
 * outputs. */
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

static void end_attempt(struct engine__trial *t, struct engine__attempt *a,
                        enum engine__ending ending)
{
    t->decided = ending;
    if (a == NULL || a->ending != ENDING_NONE)
        return;
    a->ending = ending;
    engine__trial_mark(a);
    if (a->proc != NULL)
        proc_stop(a->proc);
    engine__call_stop(a, false);
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
    return engine__trial_variant(t, a->engine->steps[a->step->index].ready->parts, stopped, key);
}

static void log_ended(const struct engine__trial *t)
{
    const struct engine__search *x = t->search;
    struct search_result r = search_result(x->s, t->number);
    int64_t best = search_best(x->s);
    json_t *event = json_pack("{s:s, s:i, s:s}", "step", address_of(t), "trial",
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
static void finish_without(struct engine__trial *t)
{
    struct engine *e = t->search->e;
    uint32_t step = t->step->index;
    json_t *outputs = t->outputs != NULL ? json_incref(t->outputs) : json_object();
    json_t *metrics = t->metrics != NULL ? json_incref(t->metrics) : json_object();
    json_t *event = json_pack("{s:s, s:i, s:O, s:O, s:b}", "step", address_of(t), "attempt",
                              schedule_attempt(e->schedule, step), "outputs", outputs,
                              "metrics", metrics, "stopped", 1);
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
                   json_pack("{s:s, s:i, s:b}", "step", a->step->address, "attempt", a->number,
                             "paused", hold));
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
        finish_without(t);
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

/* --- going on from another's checkpoint --- */

void engine__trial_apply_clone(struct engine__trial *t)
{
    struct engine__search *x = t->search;
    char *from = engine__trial_dir(&x->trials[t->clone_from]), *to = engine__trial_dir(t);
    struct rwf_err err = RWF_ERR_INIT;
    plan_trial_configure(x->e->graph, t->step->index, search_config(x->s, t->number));
    t->clone_from = -1;
    if (rwf_fs_exists(from) &&
        (rwf_fs_rmtree(to, &err) != 0 || run__copy_tree(from, to, &err) != 0))
        rwf_log(RWF_LOG_WARN, "run", "%s: its checkpoint cannot be copied: %s",
                address_of(t), err.text);
    free(from);
    free(to);
}

void engine__trial_note_clone(struct engine__trial *t, uint32_t from, double at,
                              const json_t *config)
{
    t->clone_from = from;
    if (t->lineage == NULL)
        t->lineage = json_array();
    json_array_append_new(t->lineage, json_pack("{s:i, s:f, s:O}", "from", (int)from, "at", at,
                                                "config", config));
}

/* --- acting --- */

static void log_action(const struct engine__trial *t, const struct search_action *act)
{
    static const enum run_event events[] = {
        [SEARCH_STOP] = RUN_TRIAL_STOPPED,     [SEARCH_PAUSE] = RUN_TRIAL_PAUSED,
        [SEARCH_RESUME] = RUN_TRIAL_RESUMED,   [SEARCH_CLONE] = RUN_TRIAL_CLONED,
        [SEARCH_PROMOTE] = RUN_TRIAL_PROMOTED, [SEARCH_FAIL] = RUN_TRIAL_STOPPED,
    };
    json_t *event = json_pack("{s:s, s:i, s:o}", "step", address_of(t), "trial",
                              (int)t->number, "reason", run_text(act->why));
    if (act->rung >= 0)
        json_object_set_new(event, "rung", json_integer(act->rung));
    if (isfinite(act->at))
        json_object_set_new(event, "at", json_real(act->at));
    if (isfinite(act->value))
        json_object_set_new(event, "value", json_real(act->value));
    if (act->verb == SEARCH_FAIL)
        json_object_set_new(event, "failed", json_true());
    if (act->verb == SEARCH_CLONE) {
        json_object_set_new(event, "from", json_integer(act->from));
        json_object_set(event, "config", act->config);
    }
    run_log_append(t->search->e->log, events[act->verb], event);
}

static void resume(struct engine__trial *t)
{
    struct engine *e = t->search->e;
    if (t->held) {
        t->held = false;
        schedule_event(e->schedule, t->step->index, SCHEDULE_EVENT_DUE, 0, rwf_clock_mono());
    } else if (t->decided == ENDING_PAUSE) {
        t->resume = true;
    }
}

static void stop(struct engine__trial *t, struct engine__attempt *a)
{
    enum schedule_state state = schedule_state(t->search->e->schedule, t->step->index);
    bool waits = a == NULL && (state == STEP_BACKOFF || state == STEP_QUEUED);
    /* A built-in step makes its outputs from the checkpoints of its attempts. */
    bool makes = t->step->op->run != NULL && t->outputs == NULL &&
                 schedule_attempt(t->search->e->schedule, t->step->index) > 0;
    if (waits && !makes)
        finish_without(t);
    else
        end_attempt(t, a, ENDING_STOP);
    if (waits && makes)
        resume(t);
}

static void act_on(struct engine__trial *t, const struct search_action *act)
{
    struct engine__attempt *a = attempt_of(t);
    log_action(t, act);
    switch (act->verb) {
    case SEARCH_STOP:
        stop(t, a);
        break;
    case SEARCH_PAUSE:
        t->resume = false;
        end_attempt(t, a, ENDING_PAUSE);
        break;
    case SEARCH_RESUME:
        resume(t);
        break;
    case SEARCH_CLONE:
        engine__trial_note_clone(t, act->from, act->at, act->config);
        end_attempt(t, a, ENDING_CLONE);
        break;
    case SEARCH_FAIL:
        free(t->why);
        t->why = rwf_xstrdup(act->why);
        end_attempt(t, a, ENDING_FAIL);
        break;
    case SEARCH_PROMOTE:
        break;
    }
}

static void tell_over(struct engine__search *x)
{
    if (x->told_over || search_over(x->s) == NULL)
        return;
    x->told_over = true;
    run_log_append(x->e->log, RUN_SEARCH_ENDED,
                   json_pack("{s:s, s:o}", "search", x->step->address, "reason",
                             run_text(search_over(x->s))));
}

/* Whether one more trial could run: none waits for resources, and not too many run. */
static bool has_room(struct engine__search *x)
{
    const struct schedule *s = x->e->schedule;
    int most = x->count > 0 && x->trials[0].step != NULL
                   ? x->trials[0].step->policy->max_parallel
                   : 0;
    int running = 0;
    while (x->first_open < x->count &&
           schedule_state_final(schedule_state(s, x->trials[x->first_open].step->index)))
        x->first_open++;
    for (uint32_t i = x->first_open; i < x->count; i++) {
        enum schedule_state state = schedule_state(s, x->trials[i].step->index);
        if (state == STEP_QUEUED)
            return false;
        running += state == STEP_RUNNING;
        if (state == STEP_PENDING)
            break; /* they begin in their order */
    }
    return most == 0 || running < most;
}

void engine__search_act(struct engine__search *x)
{
    struct search_action act;
    tell_over(x);
    while (!x->e->stopping &&
           search_next(x->s, search_may_stop(x->s) && has_room(x), &act)) {
        tell_over(x);
        act_on(&x->trials[act.trial], &act);
        json_decref(act.config);
    }
    tell_over(x);
}

void engine__searches_poke(struct engine *e)
{
    struct engine__search *x;
    LIST_FOREACH(x, &e->searches, link)
    engine__search_act(x);
}
