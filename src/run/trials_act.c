/* SPDX-License-Identifier: Apache-2.0
 *
 * Doing what a search has decided. Every decision is an event before it is done.
 */
#include "config.h"
#include "run/trials.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"

/* --- going on from another's checkpoint --- */

/* Where a program said its newest checkpoint is (train/program.c): now among the
 * copies. */
static int copy_resume(const char *from, const char *to, struct rwf_err *err)
{
    char *here = rwf_fs_join(from, "resume.json"),
         *there = rwf_fs_join(to, "resume.json");
    json_t *known = json_load_file(here, 0, NULL);
    const char *path = json_string_value(json_object_get(known, "path"));
    size_t len = strlen(from);
    int result = 0;
    if (path != NULL && strncmp(path, from, len) == 0 && path[len] == '/')
        json_object_set_new(known, "path", json_sprintf("%s%s", to, path + len));
    char *text = known == NULL ? NULL : json_dumps(known, JSON_COMPACT);
    if (text != NULL)
        result = rwf_fs_write(there, text, strlen(text), true, err);
    free(text);
    json_decref(known);
    free(there);
    free(here);
    return result;
}

static int copy_checkpoints(const char *from, const char *to, struct rwf_err *err)
{
    char *here = rwf_fs_join(from, "checkpoints"),
         *there = rwf_fs_join(to, "checkpoints");
    int result = 0;
    if (rwf_fs_exists(here))
        result = rwf_fs_rmtree(there, err) != 0 ||
                         run__copy_tree(here, there, err) != 0 ||
                         copy_resume(from, to, err) != 0
                     ? -1
                     : 0;
    free(there);
    free(here);
    return result;
}

void engine__trial_apply_clone(struct engine__trial *t)
{
    struct engine__search *x = t->search;
    char *from = engine__trial_dir(&x->trials[t->clone_from]),
         *to = engine__trial_dir(t);
    struct rwf_err err = RWF_ERR_INIT;
    plan_trial_configure(x->e->graph, t->step->index, search_config(x->s, t->number));
    t->clone_from = -1;
    if (copy_checkpoints(from, to, &err) != 0)
        rwf_log(RWF_LOG_WARN, "run", "%s: its checkpoint cannot be copied: %s",
                t->step->address, err.text);
    free(from);
    free(to);
}

void engine__trial_note_clone(struct engine__trial *t, uint32_t from, double at,
                              const json_t *config)
{
    t->clone_from = from;
    if (t->lineage == NULL)
        t->lineage = json_array();
    json_array_append_new(t->lineage, json_pack("{s:i, s:f, s:O}", "from", (int)from,
                                                "at", at, "config", config));
}

/* --- acting --- */

static struct engine__attempt *attempt_of(const struct engine__trial *t)
{
    struct engine__attempt *a;
    LIST_FOREACH(a, &t->search->e->running, link)
    if (a->step == t->step && a->keep == NULL && engine__attempt_runs(a))
        return a;
    return NULL;
}

static void end_attempt(struct engine__trial *t, struct engine__attempt *a,
                        enum engine__ending ending)
{
    t->decided = ending;
    if (a == NULL || a->ending != ENDING_NONE)
        return;
    a->ending = ending;
    engine__trial_mark(a);
    engine__attempt_stop(a);
}

static void log_action(const struct engine__trial *t, const struct search_action *act)
{
    static const enum run_event events[] = {
        [SEARCH_STOP] = RUN_TRIAL_STOPPED,     [SEARCH_PAUSE] = RUN_TRIAL_PAUSED,
        [SEARCH_RESUME] = RUN_TRIAL_RESUMED,   [SEARCH_CLONE] = RUN_TRIAL_CLONED,
        [SEARCH_PROMOTE] = RUN_TRIAL_PROMOTED, [SEARCH_FAIL] = RUN_TRIAL_STOPPED,
    };
    json_t *event = json_pack("{s:s, s:i, s:o}", "step", t->step->address, "trial",
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
        schedule_event(e->schedule, t->step->index, SCHEDULE_EVENT_DUE, 0,
                       rwf_clock_mono());
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
        engine__trial_finish(t);
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
    while (x->first_open < x->count && schedule_state_final(schedule_state(
                                           s, x->trials[x->first_open].step->index)))
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
