/* SPDX-License-Identifier: Apache-2.0
 *
 * The life of a run: its folder and log, the loop, its end.
 *
 * Each turn of the loop, before it waits, asks the schedule for decisions until there
 * are none, acts on them, and writes what happened to the log with one write.
 */
#include "config.h"
#include "node/machine.h"
#include "run/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "run/away.h"
#include "run/layout.h"
#include "run/notify.h"
#include "run/service.h"

/* Decisions in a turn, so that signals and ended processes are seen in time. */
#define TURN 64
#define FILES_WANTED 4096

/* --- parts --- */

static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= FILES_WANTED)
        return;
    limit.rlim_cur = limit.rlim_max < FILES_WANTED ? limit.rlim_max : FILES_WANTED;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

/* What is in ROOT is nobody's to commit. */
static int prepare_root(const char *root, struct rwf_err *err)
{
    if (!rwf_utf8_valid(root, strlen(root)))
        return rwf_fail(
            err, RWF_E_ENV,
            "%s: the name of this folder is not UTF-8, as the record of a run "
            "must be; rename it, or set RAYWF_DIR to another",
            root);
    char *runs = rwf_fs_join(root, "runs"), *ignore = rwf_fs_join(root, ".gitignore");
    int result = rwf_fs_mkdirs(runs, err);
    if (result == 0 && !rwf_fs_exists(ignore))
        result = rwf_fs_write(ignore, "*\n", 2, false, err);
    free(ignore);
    free(runs);
    return result;
}

/* Steps find this very program by name (raywf report-metric …): last in PATH, so that
 * it hides nothing. */
static void offer_ourselves(const char *self)
{
    const char *path = getenv("PATH");
    char *folder = rwf_fs_dirname(self);
    char *longer =
        rwf_xasprintf("%s:%s", path != NULL ? path : "/usr/bin:/bin", folder);
    char *listed = rwf_xasprintf(":%s:", path != NULL ? path : "");
    char *item = rwf_xasprintf(":%s:", folder);

    if (strstr(listed, item) == NULL)
        setenv("PATH", longer, 1);
    free(item);
    free(listed);
    free(longer);
    free(folder);
}

/* A gang starts its own ranks; nobody starts those of a command yet. */
static int refuse_ranks(const struct plan_graph *g, struct rwf_err *err)
{
    for (uint32_t i = 0; i < plan_graph_count(g); i++) {
        const struct plan_step *p = plan_graph_step(g, i);
        if (p->policy->ranks <= 1 || p->op->gang)
            continue;
        const struct recipe_node *at = recipe_at(p->body, "resources.ranks");
        char *where = recipe_where(recipe_sources(plan_graph_recipe(g)),
                                   at != NULL ? at->span : p->body->span);
        rwf_fail(
            err, RWF_E_RECIPE,
            "%s: %s asks for %d ranks, and its command is one process: write gang: "
            "{ranks: %d, command: […]} instead, or set ranks to 1",
            where, p->address, p->policy->ranks, p->policy->ranks);
        free(where);
        return -1;
    }
    return 0;
}

static int schedule_it(struct engine *e, struct rwf_err *err)
{
    struct schedule_cluster *c = e->options->cluster;
    if (e->options->cluster_address != NULL) {
        struct schedule_steps steps = schedule_steps_of(e->graph);
        steps.may_wait = e->options->cluster_grows;
        if (engine__away_join(e, err) != 0)
            return -1;
        e->schedule = schedule_create_over(&steps, e->cluster, err);
        return e->schedule == NULL ? -1 : 0;
    }
    if (e->options->machine != NULL)
        e->machine = *e->options->machine;
    else
        node_machine_for(e->graph, &e->machine);
    if (c == NULL)
        c = e->own_cluster = schedule_cluster_of(&e->machine);
    e->cluster = c;
    struct schedule_steps steps = schedule_steps_of(e->graph);
    steps.may_wait = e->options->all_cached;
    e->schedule = schedule_create_over(&steps, c, err);
    return e->schedule == NULL ? -1 : 0;
}

struct engine *engine__create(struct plan_graph *g,
                              const struct engine_options *options, struct rwf_err *err)
{
    struct engine *e = rwf_xcalloc(1, sizeof(*e));
    e->graph = g;
    e->options = options;
    e->root = options->root;
    e->stay = options->stay;
    e->started = rwf_clock_mono();
    e->self = rwf_fs_self();
    LIST_INIT(&e->running);
    LIST_INIT(&e->searches);
    e->steps = rwf_xcalloc(plan_graph_count(g) + 1, sizeof(*e->steps));
    e->is_native = engine__runtime_needed(g);
    engine__results_init(e);
    if (refuse_ranks(g, err) != 0 || schedule_it(e, err) != 0 ||
        engine__service_fits(e, err) != 0 || prepare_root(e->root, err) != 0 ||
        (e->cache = run_cache_open(e->root, err)) == NULL ||
        engine__searches_open(e, err) != 0) {
        engine__destroy(e);
        return NULL;
    }
    raise_file_limit();
    offer_ourselves(e->self);
    return e;
}

static void close_handle(uv_handle_t *handle, void *ctx)
{
    (void)ctx;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

void engine__destroy(struct engine *e)
{
    if (e == NULL)
        return;
    engine__away_free(e);
    if (e->has_loop) {
        uv_walk(&e->loop, close_handle, NULL);
        uv_run(&e->loop, UV_RUN_DEFAULT);
        int busy = uv_loop_close(&e->loop);
        rwf_assert(busy == 0);
    }
    engine__service_free(e);
    for (size_t i = 0; i < plan_graph_count(e->graph); i++) {
        json_decref(e->steps[i].outputs);
        json_decref(e->steps[i].metrics);
        engine__ready_free(&e->steps[i]);
        engine__away_made_free(&e->steps[i]);
    }
    engine__searches_close(e);
    run_log_close(e->log);
    run_cache_close(e->cache);
    schedule_destroy(e->schedule);
    schedule_cluster_destroy(e->own_cluster);
    rwf_str_free(&e->names);
    rwf_str_free(&e->step_dir);
    free(e->steps);
    free(e->self);
    free(e->dir);
    free(e);
}

void engine__blame(struct engine *e, int exit_code)
{
    e->exit_code = rwf_exit_worse(e->exit_code, exit_code);
}

void engine__fatal(struct engine *e, const struct rwf_err *err)
{
    if (e->fatal)
        return;
    e->fatal = true;
    e->error = *err;
    engine__stop(e, "error", rwf_exit_code(err));
}

/* --- a new run --- */

static int make_dir(struct engine *e, struct rwf_err *err)
{
    for (int tries = 0; tries < 100; tries++) {
        rwf_id_run(e->id);
        free(e->dir);
        e->dir = run_dir(e->root, e->id);
        if (mkdir(e->dir, 0755) == 0)
            return 0;
        if (errno != EEXIST)
            break;
    }
    return rwf_fail(err, RWF_E_ENV, "%s: %s", e->dir, strerror(errno));
}

static int write_plan(const struct engine *e, struct rwf_err *err)
{
    if (e->options->plan == NULL)
        return 0;
    char *text = json_dumps(e->options->plan, JSON_COMPACT);
    char *path = rwf_fs_join(e->dir, "plan.json");
    int result = text == NULL
                     ? rwf_fail(err, RWF_E_ENV, "%s: the plan is no JSON", path)
                     : rwf_fs_write(path, text, strlen(text), true, err);
    free(path);
    free(text);
    return result;
}

/* runs/last: a new link renamed over the old one, so that it is never absent. */
static void link_last(const struct engine *e)
{
    char *temporary = rwf_xasprintf("%s/runs/.last.%d", e->root, (int)getpid());
    char *last = run_dir(e->root, "last");
    (void)unlink(temporary);
    if (symlink(e->id, temporary) != 0 || rename(temporary, last) != 0)
        rwf_log(RWF_LOG_WARN, "run", "%s: %s", last, strerror(errno));
    free(last);
    free(temporary);
}

int engine__open_log(struct engine *e, struct rwf_err *err)
{
    char *path = run_log_path(e->root, e->id);
    e->log = run_log_open(path, err);
    free(path);
    if (e->log == NULL)
        return -1;
    if (e->options->on_event != NULL)
        run_log_subscribe(e->log, e->options->on_event, e->options->ctx);
    return 0;
}

static json_t *machine(const struct engine *e)
{
    struct schedule_machine here;
    const struct schedule_machine *m = e->options->machine;
    if (m == NULL) {
        node_machine_for(e->graph, &here);
        m = &here;
    }
    return json_pack("{s:o, s:f, s:I, s:i}", "name", run_text(m->name), "cpu", m->cpu,
                     "memory", (json_int_t)m->memory, "gpu", m->gpu_count);
}

void engine__add_asked(const struct engine *e, json_t *event)
{
    if (json_object_size(e->options->asked) > 0)
        json_object_set_new(event, "options", json_deep_copy(e->options->asked));
}

static void log_begin(struct engine *e)
{
    const struct recipe *r = plan_graph_recipe(e->graph);
    run_log_append(e->log, RUN_VERSION,
                   json_pack("{s:s, s:s, s:s, s:o, s:o, s:i}", "v", "1.0", "raywf",
                             PACKAGE_VERSION, "run", e->id, "recipe",
                             run_text(recipe_path(r)), "name", run_text(recipe_name(r)),
                             "pid", (int)getpid()));
    json_t *event =
        json_pack("{s:I, s:o}", "steps", (json_int_t)plan_graph_count(e->graph),
                  "machine", e->away != NULL ? engine__away_machine(e) : machine(e));
    if (e->stay)
        json_object_set_new(event, "stay", json_true());
    engine__add_asked(e, event);
    run_log_append(e->log, RUN_RUN_STARTED, event);
}

/* --- the loop --- */

/* "needs tasks.a, which failed" */
static json_t *skip_reason(struct engine *e, uint32_t because)
{
    enum schedule_state state = schedule_state(e->schedule, because);

    return json_sprintf("needs %s, which %s%s", engine__step_at(e, because)->address,
                        state == STEP_FAILED ? "" : "was ", schedule_state_name(state));
}

static void act(struct engine *e, const struct schedule_decision *d)
{
    const char *because;
    switch (d->verb) {
    case SCHEDULE_PREPARE:
        engine__prepare(e, d->step);
        break;
    case SCHEDULE_START:
        engine__launch(e, d);
        break;
    case SCHEDULE_PREEMPT:
        engine__preempt(e, d->step, d->because);
        break;
    case SCHEDULE_SKIP:
        because = engine__step_at(e, d->because)->address;
        run_log_append(e->log, RUN_STEP_SKIPPED,
                       json_pack("{s:s, s:o, s:s}", "step",
                                 engine__step_at(e, d->step)->address, "because",
                                 skip_reason(e, d->because), "because_step", because));
        schedule_event(e->schedule, d->step, SCHEDULE_EVENT_SKIP, 0, rwf_clock_mono());
        break;
    case SCHEDULE_NONE:
    case SCHEDULE_DONE:
        break;
    }
}

/* True when there is more to decide at once. */
static bool take_turn(struct engine *e, enum schedule_verb *ret_last, int64_t *ret_wake)
{
    for (int i = 0; i < TURN; i++) {
        struct schedule_decision d =
            schedule_next(e->schedule, rwf_clock_mono(), ret_wake);
        *ret_last = d.verb;
        if (d.verb == SCHEDULE_NONE || d.verb == SCHEDULE_DONE)
            return false;
        act(e, &d);
    }
    return true;
}

static void on_nothing(uv_timer_t *timer)
{
    (void)timer;
}

static void on_idle(uv_idle_t *idle)
{
    (void)idle;
}

static void set_wake(struct engine *e, int64_t wake)
{
    if (wake == INT64_MAX) {
        uv_timer_stop(&e->wake);
        return;
    }
    int64_t left = wake - rwf_clock_mono();
    uint64_t ms =
        left <= 0 ? 0 : (uint64_t)((left + RWF_NS_PER_MS - 1) / RWF_NS_PER_MS);
    uv_update_time(&e->loop);
    uv_timer_start(&e->wake, on_nothing, ms, 0);
}

static void on_pump(uv_prepare_t *pump)
{
    struct engine *e = pump->data;
    struct rwf_err err = RWF_ERR_INIT;
    enum schedule_verb last = SCHEDULE_NONE;
    int64_t wake = INT64_MAX;
    bool more = take_turn(e, &last, &wake);
    if (run_log_flush(e->log, &err) != 0 && !e->fatal) {
        engine__fatal(e, &err);
        more = true; /* what was decided may have changed */
    }
    if (more)
        uv_idle_start(&e->busy, on_idle);
    else
        uv_idle_stop(&e->busy);
    set_wake(e, wake);
    if (last == SCHEDULE_DONE && LIST_EMPTY(&e->running) && !engine__service_stays(e) &&
        engine__service_gone(e) && engine__runtime_gone(e))
        uv_stop(&e->loop);
}

static int loop_start(struct engine *e, struct rwf_err *err)
{
    int failed = e->has_loop ? 0 : uv_loop_init(&e->loop);
    if (failed != 0)
        return rwf_fail(err, RWF_E_ENV, "cannot make an event loop: %s",
                        uv_strerror(failed));
    e->has_loop = true;
    uv_prepare_init(&e->loop, &e->pump);
    uv_idle_init(&e->loop, &e->busy);
    uv_timer_init(&e->loop, &e->wake);
    e->pump.data = e;
    uv_prepare_start(&e->pump, on_pump);
    return engine__control_start(e, err);
}

/* --- the end --- */

static const char *status_of(const struct engine *e)
{
    if (e->exit_code == 0)
        return "succeeded";
    return e->exit_code == RWF_E_STOPPED - RWF_E_BASE ? "stopped" : "failed";
}

static json_t *counts(const struct engine *e)
{
    json_t *all = json_object();
    for (int i = 0; i < STEP_STATE_COUNT; i++)
        if (schedule_count(e->schedule, i) > 0)
            json_object_set_new(
                all, schedule_state_name(i),
                json_integer((json_int_t)schedule_count(e->schedule, i)));
    return all;
}

static void log_end(struct engine *e)
{
    double duration = (double)(rwf_clock_mono() - e->started) / 1e9;
    json_t *event =
        json_pack("{s:s, s:i, s:o, s:f}", "status", status_of(e), "exit_code",
                  e->exit_code, "counts", counts(e), "duration", duration);
    if (e->fatal)
        json_object_set_new(event, "message", run_text(e->error.text));
    json_t *copy = json_copy(event);
    run_log_append(e->log, RUN_RUN_FINISHED, event);
    if (!e->fatal)
        run_notify(e->options->notify, plan_graph_recipe(e->graph), e->id, copy,
                   e->log);
    json_decref(copy);
}

int engine__drive(struct engine *e, struct rwf_err *err)
{
    if (loop_start(e, err) != 0)
        return -1;
    uv_run(&e->loop, UV_RUN_DEFAULT);
    rwf_assert(LIST_EMPTY(&e->running));
    log_end(e);
    struct rwf_err sync = RWF_ERR_INIT;
    if (run_log_sync(e->log, &sync) != 0 && !e->fatal) {
        e->fatal = true;
        e->error = sync;
    }
    if (!e->fatal)
        return e->exit_code;
    if (err != NULL)
        *err = e->error;
    return -1;
}

int engine_run(struct plan_graph *g, const struct engine_options *options, char *ret_id,
               struct rwf_err *err)
{
    struct engine *e = engine__create(g, options, err);
    if (e == NULL)
        return -1;
    int result = -1;
    if (make_dir(e, err) == 0 && write_plan(e, err) == 0 &&
        (e->away == NULL || engine__away_remember(e, err) == 0) &&
        engine__open_log(e, err) == 0) {
        memcpy(ret_id, e->id, RWF_RUN_ID_LEN);
        link_last(e);
        log_begin(e);
        result = engine__drive(e, err);
    }
    engine__destroy(e);
    return result;
}

int engine_fits(struct plan_graph *g, const struct engine_options *options,
                struct schedule_totals *ret, struct rwf_err *err)
{
    struct engine *e = engine__create(g, options, err);
    if (e == NULL)
        return -1;
    schedule_cluster_totals(e->cluster, ret);
    engine__destroy(e);
    return 0;
}
