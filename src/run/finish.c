/* SPDX-License-Identifier: Apache-2.0
 *
 * What a process reports, and what came of it. Outputs are digested and synced in a
 * thread of the pool, so that a large one does not hold up the loop.
 */
#include "config.h"
#include "run/internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "run/away.h"

#define PROGRESS_EVERY (RWF_NS_PER_S / 4)

struct engine__keep {
    uv_work_t work;
    struct engine__attempt *attempt;
    json_t *declared, *parts;
    const char *recipe;
    char *origin;
    struct proc_usage usage;
    /* the answer */
    json_t *outputs;
    char *missing;
    struct rwf_err err;
    char key[RWF_DIGEST_LEN]; /* of the result */
};

/* --- reports --- */

static bool is_special(const char *name)
{
    static const char *const names[] = {"progress", "rows", "bytes", "step"};
    for (size_t i = 0; i < RWF_COUNT(names); i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

static void report_metrics(struct engine__attempt *a, const json_t *line)
{
    json_t *metrics = json_object(), *value;
    const char *name;
    if (a->metrics == NULL)
        a->metrics = json_object();
    json_object_foreach((json_t *)(uintptr_t)line, name, value) {
        bool counter = strcmp(name, "rows") == 0 || strcmp(name, "bytes") == 0;
        if (!json_is_number(value) || (is_special(name) && !counter))
            continue;
        json_object_set(a->metrics, name, value);
        if (!counter)
            json_object_set(metrics, name, value);
    }
    if (json_object_size(metrics) == 0) {
        json_decref(metrics);
        return;
    }
    json_t *event =
        json_pack("{s:s, s:o}", "step", a->step->address, "metrics", metrics);
    if (json_is_number(json_object_get(line, "step")))
        json_object_set(event, "at", json_object_get(line, "step"));
    if (a->step->is_trial && json_number_value(json_object_get(line, "progress")) >= 1)
        json_object_set_new(event, "last", json_true());
    run_log_append(a->engine->log, RUN_STEP_METRIC, event);
}

static void report_progress(struct engine__attempt *a, const json_t *line)
{
    static const char *const numbers[] = {"progress", "rows", "bytes"};
    json_t *event = json_pack("{s:s}", "step", a->step->address);
    const json_t *message = json_object_get(line, "message");
    for (size_t i = 0; i < RWF_COUNT(numbers); i++)
        if (json_is_number(json_object_get(line, numbers[i])))
            json_object_set(event, numbers[i], json_object_get(line, numbers[i]));
    if (json_is_string(message))
        json_object_set_new(event, "message", run_text(json_string_value(message)));
    int64_t now = rwf_clock_mono();
    bool due = a->last_progress == 0 || now - a->last_progress >= PROGRESS_EVERY;
    if (json_object_size(event) == 1 || !(due || json_is_string(message))) {
        json_decref(event);
        return;
    }
    a->last_progress = now;
    run_log_append(a->engine->log, RUN_STEP_PROGRESS, event);
}

void engine__report(void *attempt, const json_t *line)
{
    report_metrics(attempt, line);
    report_progress(attempt, line);
    engine__trial_report(attempt, line);
}

/* --- ends --- */

static json_t *usage_json(const struct proc_usage *u)
{
    json_t *out = json_pack("{s:f}", "wall", (double)u->wall / 1e9);
    if (u->max_rss == 0) /* a native call: its worker runs others, too */
        return out;
    json_object_set_new(out, "cpu", json_real((double)u->cpu / 1e9));
    json_object_set_new(out, "max_rss", json_integer((json_int_t)u->max_rss));
    return out;
}

void engine__attempt_free(struct engine__attempt *a)
{
    LIST_REMOVE(a, link);
    engine__runtime_poke(a->engine);
    if (a->lock >= 0)
        run_cache_unlock(a->engine->cache, a->key, a->lock);
    if (a->keep != NULL) {
        json_decref(a->keep->declared);
        json_decref(a->keep->parts);
        json_decref(a->keep->outputs);
        free(a->keep->origin);
        free(a->keep->missing);
        free(a->keep);
    }
    if (a->grace != NULL)
        uv_close((uv_handle_t *)a->grace, (uv_close_cb)free);
    engine__away_attempt_free(a);
    json_decref(a->places);
    json_decref(a->metrics);
    free(a->dir);
    free(a->cwd);
    free(a);
}

static bool is_record(const char *name)
{
    static const char *const names[] = {".",      "..",     "raywf-cmd.sh",
                                        "stdout", "stderr", "exit.json", "step.json"};
    for (size_t i = 0; i < RWF_COUNT(names); i++)
        if (strcmp(names[i], name) == 0)
            return true;
    /* of a gang: what each rank has printed */
    return rwf_starts_with(name, "rank.") && rwf_ends_with(name, ".log");
}

/* What a task left besides its outputs is of no use once they are kept. */
static void remove_scratch(const char *dir)
{
    struct rwf_err err = RWF_ERR_INIT;
    DIR *d = opendir(dir);
    if (d == NULL)
        return;
    for (struct dirent *entry; (entry = readdir(d)) != NULL;) {
        if (is_record(entry->d_name))
            continue;
        char *path = rwf_fs_join(dir, entry->d_name);
        if (rwf_fs_rmtree(path, &err) != 0)
            rwf_log(RWF_LOG_WARN, "run", "%s", err.text);
        free(path);
    }
    closedir(d);
}

static void succeeded(struct engine__attempt *a)
{
    struct engine *e = a->engine;
    struct engine__keep *k = a->keep;
    uint32_t step = a->step->index;
    json_t *metrics = a->metrics != NULL ? json_incref(a->metrics) : json_object();
    json_t *event =
        json_pack("{s:s, s:i, s:s, s:O?, s:O, s:O, s:o}", "step", a->step->address,
                  "attempt", a->number, "key", k->key, "parts", k->parts, "outputs",
                  k->outputs, "metrics", metrics, "usage", usage_json(&k->usage));
    if (a->ending == ENDING_STOP)
        json_object_set_new(event, "stopped", json_true());
    run_log_append(e->log, RUN_STEP_SUCCEEDED, event);
    engine__results_set(e, step, json_incref(k->outputs), metrics);
    engine__ready_free(&e->steps[step]);
    schedule_event(e->schedule, step, SCHEDULE_EVENT_SUCCEEDED, 0, rwf_clock_mono());
    remove_scratch(a->dir);
    engine__trial_over(e, step, true, a->ending == ENDING_STOP, k->key);
}

void engine__decided(struct engine *e, uint32_t step, int number, json_t *metrics)
{
    json_t *given = metrics != NULL ? metrics : json_object();
    run_log_append(e->log, RUN_STEP_SUCCEEDED,
                   json_pack("{s:s, s:i, s:O}", "step",
                             engine__step_at(e, step)->address, "attempt", number,
                             "metrics", given));
    engine__results_set(e, step, NULL, given);
    schedule_event(e->schedule, step, SCHEDULE_EVENT_SUCCEEDED, 0, rwf_clock_mono());
    engine__trial_over(e, step, true, false, NULL);
}

/* --- keeping outputs --- */

static void keep_work(uv_work_t *work)
{
    struct engine__keep *k = work->data;
    struct engine__attempt *a = k->attempt;
    k->outputs = run_cache_put(a->engine->cache, k->key, k->parts, a->cwd, k->declared,
                               a->metrics, k->recipe, k->origin, &k->missing, &k->err);
}

static void keep_failed(struct engine__attempt *a)
{
    struct engine *e = a->engine;
    struct engine__keep *k = a->keep;
    struct proc_exit result = {
        .cause = PLAN_CAUSE_OUTPUT, .exit_code = 0, .usage = k->usage};
    if (k->missing == NULL && engine__is_environment(k->err.code)) {
        rwf_wrap(&k->err, "%s: its outputs cannot be kept", a->step->address);
        if (k->err.code < RWF_E_BASE)
            k->err.code = RWF_E_ENV;
        engine__fatal(e, &k->err);
        return;
    }
    engine__failed(e, a->step->index, a->number, PLAN_CAUSE_OUTPUT,
                   RWF_E_FAILED - RWF_E_BASE, k->err.text, &result);
}

static void keep_done(uv_work_t *work, int status)
{
    struct engine__keep *k = work->data;
    struct engine__attempt *a = k->attempt;
    (void)status;
    if (k->outputs != NULL && a->ending == ENDING_PAUSE)
        engine__trial_kept(a, k->outputs, k->key, k->parts);
    else if (k->outputs != NULL)
        succeeded(a);
    else
        keep_failed(a);
    struct engine *e = a->engine;
    engine__attempt_free(a);
    engine__searches_poke(e);
}

/* The output that ${section.name} alone means has another name as well. */
static json_t *named_outputs(const struct engine *e, const struct plan_step *p)
{
    json_t *declared = json_copy((json_t *)(uintptr_t)plan_step_outputs(e->graph, p));
    json_object_del(declared, "");
    return declared;
}

/* What ended before its time need not have left everything. */
static void drop_missing(const struct engine__attempt *a, json_t *declared)
{
    const char *name;
    json_t *value;
    void *next;
    json_object_foreach_safe(declared, next, name, value)
    {
        char *path = rwf_fs_join(a->cwd, json_string_value(value));
        if (!rwf_fs_exists(path))
            json_object_del(declared, name);
        free(path);
    }
}

static void keep(struct engine__attempt *a, const struct proc_exit *result)
{
    struct engine *e = a->engine;
    struct engine__keep *k = rwf_xcalloc(1, sizeof(*k));
    a->keep = k;
    k->attempt = a;
    k->work.data = k;
    k->usage = result->usage;
    k->declared = named_outputs(e, a->step);
    if (a->ending != ENDING_NONE && a->cwd != NULL)
        drop_missing(a, k->declared);
    k->parts = engine__trial_parts(a, k->key);
    if (k->parts == NULL) {
        memcpy(k->key, a->key, sizeof(k->key));
        k->parts = json_incref(e->steps[a->step->index].ready->parts);
    }
    if (a->step->op->points) {
        k->outputs = run__pointed(a->cwd, k->declared, &k->err);
        keep_done(&k->work, 0);
        return;
    }
    k->recipe = recipe_name(plan_graph_recipe(e->graph));
    k->origin = rwf_xasprintf("%s/%s", e->id, a->step->address);
    if (!a->step->policy->cache && json_object_size(k->declared) == 0) {
        k->outputs = json_object(); /* nothing to keep, and nobody would look for it */
        keep_done(&k->work, 0);
        return;
    }
    if (json_object_size(k->declared) > 0 &&
        uv_queue_work(&e->loop, &k->work, keep_work, keep_done) == 0)
        return;
    keep_work(&k->work);
    keep_done(&k->work, 0);
}

/* --- failures --- */

bool engine__is_environment(int code)
{
    static const int codes[] = {ENOSPC, EDQUOT, EIO,    EROFS,
                                EMFILE, ENFILE, EAGAIN, ENOMEM};
    for (size_t i = 0; i < RWF_COUNT(codes); i++)
        if (codes[i] == code)
            return true;
    return code == RWF_E_ENV;
}

/* Exit codes of our own steps that say more than "it failed". */
static const struct {
    int exit_code;
    enum plan_cause cause;
} causes[] = {
    {RWF_E_RECIPE - RWF_E_BASE, PLAN_CAUSE_START},
    {RWF_E_INPUT - RWF_E_BASE, PLAN_CAUSE_INPUT},
    {RWF_E_CHECK - RWF_E_BASE, PLAN_CAUSE_CHECK},
};

enum plan_cause engine__cause_of(int exit_code)
{
    for (size_t i = 0; i < RWF_COUNT(causes); i++)
        if (causes[i].exit_code == exit_code)
            return causes[i].cause;
    return PLAN_CAUSE_EXIT;
}

int engine__exit_of(enum plan_cause cause)
{
    for (size_t i = 0; i < RWF_COUNT(causes); i++)
        if (causes[i].cause == cause && cause != PLAN_CAUSE_START)
            return causes[i].exit_code;
    return RWF_E_FAILED - RWF_E_BASE;
}

static json_t *failure_event(const struct engine *e, const struct plan_step *p,
                             int number, enum plan_cause cause, const char *message,
                             const struct proc_exit *result)
{
    json_t *event =
        json_pack("{s:s, s:i, s:s, s:o}", "step", p->address, "attempt", number,
                  "cause", plan_cause_name(cause), "message", run_text(message));
    char *where =
        recipe_where(recipe_sources(plan_graph_recipe(e->graph)), p->body->span);
    json_object_set_new(event, "where", run_text(where));
    free(where);
    if (result == NULL)
        return event;
    if (result->exit_code >= 0)
        json_object_set_new(event, "exit", json_integer(result->exit_code));
    json_object_set_new(event, "usage", usage_json(&result->usage));
    if (result->tail != NULL && *result->tail != '\0')
        json_object_set_new(event, "tail", run_text(result->tail));
    return event;
}

void engine__failed(struct engine *e, uint32_t step, int number, enum plan_cause cause,
                    int exit_code, const char *message, const struct proc_exit *result)
{
    const struct plan_step *p = engine__step_at(e, step);
    int64_t delay;
    json_t *event = failure_event(e, p, number, cause, message, result);
    bool again = schedule_would_retry(e->schedule, step, cause, &delay);
    if (again)
        json_object_set_new(event, "delay", json_real((double)delay / 1e9));
    run_log_append(e->log, again ? RUN_STEP_RETRY : RUN_STEP_FAILED, event);
    schedule_event(e->schedule, step, SCHEDULE_EVENT_FAILED, cause, rwf_clock_mono());
    if (again)
        return;
    engine__ready_free(&e->steps[step]);
    if (p->is_trial && e->steps[step].trial != NULL) {
        engine__trial_over(e, step, false, false,
                           NULL); /* its search knows what that means */
        return;
    }
    engine__blame(e, exit_code);
    if (e->options->fail_fast)
        engine__stop(e, "fail_fast", 0);
}

void engine__failed_early(struct engine *e, uint32_t step, int number,
                          const struct rwf_err *err)
{
    bool ours = err->code >= RWF_E_BASE;
    int exit_code = ours ? rwf_exit_code(err) : RWF_E_FAILED - RWF_E_BASE;
    enum plan_cause cause = ours ? engine__cause_of(exit_code) : PLAN_CAUSE_START;
    if (cause == PLAN_CAUSE_EXIT)
        cause = PLAN_CAUSE_START;
    engine__failed(e, step, number, cause, exit_code, err->text, NULL);
}

static void stopped(struct engine__attempt *a)
{
    struct engine *e = a->engine;
    run_log_append(e->log, RUN_STEP_STOPPED,
                   json_pack("{s:s}", "step", a->step->address));
    engine__ready_free(&e->steps[a->step->index]);
    schedule_event(e->schedule, a->step->index, SCHEDULE_EVENT_STOP, 0,
                   rwf_clock_mono());
}

/* Its key stays known: it is started again when there is room. */
static void preempted(struct engine__attempt *a)
{
    struct engine *e = a->engine;
    run_log_append(
        e->log, RUN_STEP_PREEMPTED,
        json_pack("{s:s, s:i}", "step", a->step->address, "attempt", a->number));
    schedule_event(e->schedule, a->step->index, SCHEDULE_EVENT_PREEMPTED, 0,
                   rwf_clock_mono());
}

/* What an exit code of a built-in step means; of a gang, see op.h. */
static enum plan_cause builtin_cause(const struct op *op, int exit_code)
{
    if (op->gang && exit_code > 128)
        return PLAN_CAUSE_SIGNAL;
    if (op->gang && exit_code == 124)
        return PLAN_CAUSE_TIMEOUT;
    if (op->gang && exit_code == 123)
        return PLAN_CAUSE_NODE_LOST;
    return engine__cause_of(exit_code);
}

/* A built-in step says on its last line what went wrong; its number says which kind. */
static void failed_builtin(struct engine__attempt *a, const struct proc_exit *result)
{
    const char *tail = result->tail == NULL ? "" : result->tail;
    size_t end = strlen(tail);
    while (end > 0 && tail[end - 1] == '\n')
        end--;
    const char *nl = end > 0 ? memrchr(tail, '\n', end) : NULL;
    const char *start = nl == NULL ? tail : nl + 1;
    size_t len = (size_t)(tail + end - start);
    /* A gang says itself which node it was. */
    bool says_where = a->away != NULL && !a->step->op->gang;
    const char *node = says_where ? engine__away_where(a) : NULL;
    bool unseen = node != NULL && result->exit_code == RWF_E_INPUT - RWF_E_BASE &&
                  !engine__away_is_shared(a);
    char *message = len == 0 ? rwf_xstrdup(result->message)
                    : node != NULL
                        ? rwf_xasprintf("%.*s (on node %s%s)", (int)len, start, node,
                                        unseen ? ", which does not see the files here" : "")
                        : rwf_xstrndup(start, len);
    int code = rwf_exit_help(result->exit_code) != NULL ? result->exit_code : 1;
    engine__failed(a->engine, a->step->index, a->number,
                   builtin_cause(a->step->op, result->exit_code), code, message,
                   result);
    free(message);
}

/* An attempt that its search wanted to end, however it did. */
static void finished_trial(struct engine__attempt *a, const struct proc_exit *result)
{
    struct engine *e = a->engine;
    engine__trial_settle(a);
    if (a->ending == ENDING_STOP || a->ending == ENDING_PAUSE) {
        keep(a, result);
        return;
    }
    if (a->ending == ENDING_CLONE)
        engine__trial_cloned(a);
    else
        engine__trial_failed(a);
    engine__attempt_free(a);
    engine__searches_poke(e);
}

/* A trial without its metric has failed. */
static bool counts(struct engine__attempt *a, const struct proc_exit *result)
{
    char *missing = engine__trial_missing(a);
    if (missing != NULL)
        engine__failed(a->engine, a->step->index, a->number, PLAN_CAUSE_OUTPUT,
                       RWF_E_FAILED - RWF_E_BASE, missing, result);
    free(missing);
    return missing == NULL;
}

void engine__finished(struct engine__attempt *a, const struct proc_exit *result)
{
    struct engine *e = a->engine;
    if (a->ending != ENDING_NONE && !(e->stopping && a->ending != ENDING_STOP)) {
        finished_trial(a, result);
        return;
    }
    if (result->cause == PLAN_CAUSE_NONE && !counts(a, result)) {
        engine__attempt_free(a);
        return;
    }
    if (result->cause == PLAN_CAUSE_NONE) {
        keep(a, result);
        return;
    }
    if (result->cause == PLAN_CAUSE_STOPPED && e->stopping)
        stopped(a);
    else if (a->preempted)
        preempted(a);
    else if (result->cause == PLAN_CAUSE_EXIT && a->step->op->run != NULL)
        failed_builtin(a, result);
    else
        engine__failed(e, a->step->index, a->number, result->cause,
                       engine__exit_of(result->cause), result->message, result);
    engine__attempt_free(a);
}

void engine__exited(void *attempt, const struct proc_exit *result)
{
    struct engine__attempt *a = attempt;
    struct proc *proc = a->proc; /* owns result */
    a->proc = NULL;
    engine__finished(a, result);
    proc_free(proc);
}
