/* SPDX-License-Identifier: Apache-2.0
 *
 * Starting an attempt: the lock on its key, its folder, its command, its process.
 *
 * Secrets never reach step.json: what would be a secret's value there is a mark, and
 * the value goes to the process in its environment (see step.c).
 */
#include "config.h"
#include "run/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include "base/fs.h"
#include "base/mem.h"
#include "run/away.h"
#include "run/layout.h"
#include "run/secrets.h"
#include "run/service.h"

#define DEFER_FIRST (20 * RWF_NS_PER_MS)
#define DEFER_MOST (250 * RWF_NS_PER_MS)
#define SERVER_LOOK (5 * RWF_NS_PER_MS)

/* --- steps that are decided in the head --- */

static int decide(struct engine *e, const struct plan_step *p, struct op_outcome *out,
                  struct rwf_err *err)
{
    engine__resolve_as(e, PLAN_RUN);
    json_t *spec = plan_step_spec(e->graph, p, err);
    if (spec == NULL)
        return -1;
    int result = p->op->decide(spec, out, err);
    json_decref(spec);
    return result;
}

/* a is NULL for what is decided in the head; node for what is on this machine. */
static void log_started(struct engine *e, const struct plan_step *p,
                        const struct engine__attempt *a,
                        const struct schedule_decision *d, int pid, const char *node)
{
    json_t *event = json_pack("{s:s, s:i, s:i}", "step", p->address, "attempt",
                              d->attempt, "pid", pid);
    if (a != NULL) {
        char *dir = run_attempt_dir(p->address, d->attempt);
        json_object_set_new(event, "dir", json_string(dir));
        free(dir);
    }
    if (node != NULL)
        json_object_set_new(event, "node", json_string(node));
    if (d->gpu_count > 0) {
        json_t *gpus = json_array();
        for (int i = 0; i < d->gpu_count; i++)
            json_array_append_new(gpus, json_integer(d->gpus[i]));
        json_object_set_new(event, "gpus", gpus);
    }
    run_log_append(e->log, RUN_STEP_STARTED, event);
    schedule_event(e->schedule, p->index, SCHEDULE_EVENT_START, 0, rwf_clock_mono());
}

void engine__log_started(struct engine__attempt *a, const struct schedule_decision *d,
                         int pid, const char *node)
{
    log_started(a->engine, a->step, a, d, pid, node);
}

static void launch_decide(struct engine *e, const struct plan_step *p,
                          const struct schedule_decision *d)
{
    struct op_outcome out = {.ok = false};
    struct rwf_err err = RWF_ERR_INIT;
    if (p->op->trials != NULL) {
        log_started(e, p, NULL, d, 0, NULL);
        engine__search_finish(e, p, d->attempt);
        return;
    }
    if (decide(e, p, &out, &err) != 0) {
        engine__failed_early(e, p->index, d->attempt, &err);
        return;
    }
    log_started(e, p, NULL, d, 0, NULL);
    if (out.ok) {
        engine__decided(e, p->index, d->attempt, out.metrics);
    } else {
        engine__failed(e, p->index, d->attempt, engine__cause_of(out.exit_code),
                       out.exit_code, out.message == NULL ? "failed" : out.message,
                       NULL);
        json_decref(out.metrics);
    }
    free(out.message);
}

/* --- a gang --- */

/* Ranks of a gang in one of those that are placed. */
static int block_of(const struct plan_step *p)
{
    return p->policy->block > 1 ? p->policy->block : 1;
}

static int64_t memory_of(const struct engine__attempt *a)
{
    return a->step->policy->memory * (a->ranks > 0 ? a->ranks / block_of(a->step) : 1);
}

/* What its process and those that it starts itself may use: of a gang over several
 * nodes the ranks of the first one. */
static int64_t memory_here(const struct engine__attempt *a)
{
    const json_t *first = json_array_get(a->places, 0), *place;
    size_t i, here = 0;

    json_array_foreach(a->places, i, place)
        here +=
            json_equal(json_object_get(place, "node"), json_object_get(first, "node"));
    return here == 0 ? memory_of(a) : memory_of(a) / a->ranks * (int64_t)here;
}

/* The GPUs of all ranks, in their order, instead of those of rank 0. */
static void add_gpus_of_ranks(struct engine *e, struct schedule_decision *d)
{
    uint64_t seen = 0;
    d->gpu_count = 0;
    for (uint32_t rank = 0; rank < d->ranks; rank++) {
        uint64_t gpus = schedule_rank(e->schedule, d->step, rank).gpus & ~seen;
        seen |= gpus;
        for (; gpus != 0; gpus &= gpus - 1)
            d->gpus[d->gpu_count++] = __builtin_ctzll(gpus);
    }
}

/* --- the folder --- */

static int make_dir(const char *dir, struct rwf_err *err)
{
    if (mkdir(dir, 0755) == 0)
        return 0;
    /* An earlier head died between making this folder and saying so. */
    if (errno == EEXIST && rwf_fs_rmtree(dir, err) != 0)
        return -1;
    return rwf_fs_mkdirs(dir, err); /* also "steps", for the first one of a run */
}

/* --- the command --- */

int engine__write_step(const struct engine *e, const struct engine__attempt *a,
                       json_t *spec, json_t *env, struct rwf_err *err)
{
    const struct plan_policy *policy = a->step->policy;
    json_t *marked = run__secrets_mark(plan_graph_recipe(e->graph), spec, env);
    json_t *custom = json_object();
    for (size_t i = 0; i < policy->custom_count; i++)
        json_object_set_new(custom, policy->custom_names[i],
                            json_real(policy->custom_amounts[i] / block_of(a->step)));
    json_t *step = json_pack("{s:s, s:s, s:o, s:I, s:f, s:{s:f, s:o}}", "op",
                             a->step->op->name, "address", a->step->address, "spec",
                             marked, "memory", (json_int_t)memory_of(a), "cpu",
                             policy->cpu / block_of(a->step), "resources", "gpu",
                             policy->gpu / block_of(a->step), "custom", custom);
    if (a->ranks > 0)
        json_object_set_new(step, "ranks", json_integer(a->ranks));
    if (a->places != NULL)
        json_object_set(step, "places", a->places);
    if (a->away != NULL) {
        json_t *there = engine__away_paths(a, step);
        json_decref(step);
        step = there;
    }
    char *text = json_dumps(step, JSON_INDENT(1)),
         *path = rwf_fs_join(a->dir, "step.json");
    int result = text == NULL ? rwf_fail(err, RWF_E_ENV,
                                         "%s: its spec cannot be written as JSON",
                                         a->step->address)
                              : rwf_fs_write(path, text, strlen(text), false, err);
    free(path);
    free(text);
    json_decref(step);
    return result;
}

static int make_command(struct engine *e, struct engine__attempt *a,
                        struct op_command *command, struct rwf_err *err)
{
    engine__resolve_as(e, PLAN_RUN);
    json_t *spec = plan_step_spec(e->graph, a->step, err);
    if (spec == NULL)
        return -1;
    int result = 0;
    if (a->step->op->command != NULL) {
        result = a->step->op->command(spec, command, err);
    } else {
        command->argv = json_pack("[s, s, s]", e->self, "run-step", a->dir);
        command->env = json_object();
        const char *dir = json_string_value(json_object_get(spec, "dir"));
        if (a->step->op->gang && dir != NULL)
            command->dir = rwf_xstrdup(dir);
        result = engine__write_step(e, a, spec, command->env, err);
    }
    json_decref(spec);
    return result;
}

/* The folder of raywf.h: where it was installed, or else where this was built. */
static const char *include_folder(void)
{
    return rwf_fs_is_file(RWF_INCLUDEDIR "/raywf.h") ? RWF_INCLUDEDIR
                                                     : RWF_SOURCE_INCLUDE;
}

static void add_env(const struct engine *e, const struct engine__attempt *a,
                    json_t *env)
{
    char number[16];
    snprintf(number, sizeof(number), "%d", a->number);
    json_object_set_new(env, "RAYWF_ATTEMPT", json_string(number));
    json_object_set_new(env, "RAYWF_STEP_DIR", run_text(a->dir));
    json_object_set_new(env, "RAYWF_INCLUDE", json_string(include_folder()));
    json_object_set_new(env, "RAYWF_RECIPE_DIR",
                        run_text(recipe_dir(plan_graph_recipe(e->graph))));
}

void engine__command_free(struct op_command *c)
{
    json_decref(c->argv);
    json_decref(c->env);
    free(c->dir);
    *c = (struct op_command){NULL, NULL, NULL};
}

int engine__command(struct engine__attempt *a, struct op_command *ret,
                    struct rwf_err *err)
{
    struct engine *e = a->engine;
    if (make_dir(a->dir, err) != 0)
        return -1;
    engine__trial_attempt(a);
    engine__trial_mark(a);
    if (make_command(e, a, ret, err) != 0)
        return -1;
    if (ret->env == NULL)
        ret->env = json_object();
    if (a->away == NULL && engine__runtime_wanted(e, err) != 0)
        return -1;
    if (a->step->op->service)
        engine__service_env(e, ret->env);
    add_env(e, a, ret->env);
    engine__trial_env(a, ret->env);
    if (a->away == NULL) /* another node has its own */
        engine__runtime_env(e, ret->env);
    free(a->cwd);
    a->cwd = rwf_xstrdup(ret->dir != NULL ? ret->dir : a->dir);
    return 0;
}

void engine__proc_spec(const struct engine__attempt *a, const struct op_command *c,
                       const struct schedule_decision *d, struct proc_spec *ret)
{
    const struct plan_policy *policy = a->step->policy;
    *ret = (struct proc_spec){.argv = c->argv,
                              .env = c->env,
                              .cwd = a->cwd,
                              .dir = a->dir,
                              .run_id = a->engine->id,
                              .address = a->step->address,
                              .memory = memory_here(a),
                              .timeout = policy->timeout,
                              .grace = policy->grace,
                              .log_limit = policy->log_limit,
                              .gpus = d->gpus,
                              .gpu_count = policy->gpu > 0 ? d->gpu_count : -1,
                              .gpu_share = policy->gpu < 1 ? policy->gpu : 1};
}

static int start_process(struct engine *e, struct engine__attempt *a,
                         const struct schedule_decision *d, struct rwf_err *err)
{
    struct op_command command = {NULL, NULL, NULL};
    struct proc_handler handler = {a, engine__report, engine__exited};
    struct proc_spec spec;
    int result = engine__command(a, &command, err);
    if (result == 0) {
        engine__proc_spec(a, &command, d, &spec);
        a->proc = proc_start(&e->loop, &spec, &handler, err);
        result = a->proc == NULL ? -1 : 0;
    }
    engine__command_free(&command);
    return result;
}

/* --- the attempt --- */

static struct engine__attempt *attempt_new(struct engine *e, const struct plan_step *p,
                                           int number, int lock)
{
    struct engine__attempt *a = rwf_xcalloc(1, sizeof(*a));
    a->engine = e;
    a->step = p;
    a->number = number;
    a->lock = lock;
    memcpy(a->key, e->steps[p->index].ready->key, sizeof(a->key));
    a->dir = engine__attempt_dir(e, p, number);
    LIST_INSERT_HEAD(&e->running, a, link);
    return a;
}

static int start(struct engine *e, struct engine__attempt *a,
                 const struct schedule_decision *d, struct rwf_err *err)
{
    if (a->step->op->call == NULL)
        return start_process(e, a, d, err);
    if (make_dir(a->dir, err) != 0)
        return -1;
    engine__trial_attempt(a);
    engine__trial_mark(a);
    return engine__call(e, a, err);
}

static void launch_attempt(struct engine *e, const struct plan_step *p, int lock,
                           const struct schedule_decision *decision)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct schedule_decision all = *decision, *d = &all;
    if (d->ranks > 1)
        add_gpus_of_ranks(e, d);
    struct engine__attempt *a = attempt_new(e, p, d->attempt, lock);
    if (p->op->gang)
        a->ranks = (int)(d->ranks > 1 ? d->ranks : 1) * block_of(p);
    if (engine__away_runs(e, p)) {
        engine__away_start(a, d);
        return;
    }
    if (start(e, a, d, &err) == 0) {
        log_started(e, p, a, d, a->proc != NULL ? proc_pid(a->proc) : 0, NULL);
        if (p->op->call != NULL)
            engine__called(a);
        return;
    }
    engine__attempt_free(a);
    if (engine__is_environment(err.code)) {
        rwf_wrap(&err, "%s", p->address);
        engine__fatal(e, &err);
    } else {
        engine__failed_early(e, p->index, d->attempt, &err);
    }
}

static void defer(struct engine *e, const struct plan_step *p)
{
    struct engine__step *s = &e->steps[p->index];
    int64_t delay = DEFER_FIRST << (s->deferred < 4 ? s->deferred : 4);
    s->deferred++;
    schedule_defer(e->schedule, p->index, rwf_clock_mono(),
                   delay > DEFER_MOST ? DEFER_MOST : delay);
}

/* A service step waits for the server to listen. */
static bool server_is_up(struct engine *e, const struct schedule_decision *d)
{
    struct rwf_err err = RWF_ERR_INIT;
    int up = engine__service_wanted(e, &err);

    if (up < 0 && engine__is_environment(err.code))
        engine__fatal(e, &err);
    else if (up < 0)
        engine__failed_early(e, d->step, d->attempt, &err);
    else if (up == 0)
        schedule_defer(e->schedule, d->step, rwf_clock_mono(), SERVER_LOOK);
    return up > 0;
}

void engine__launch(struct engine *e, const struct schedule_decision *d)
{
    const struct plan_step *p = engine__step_at(e, d->step);
    struct rwf_err err = RWF_ERR_INIT;
    char key[RWF_DIGEST_LEN];
    int lock = -1;
    if (p->op->decide != NULL) {
        launch_decide(e, p, d);
        return;
    }
    if (p->op->service && !server_is_up(e, d))
        return;
    rwf_assert(e->steps[d->step].ready != NULL);
    memcpy(key, e->steps[d->step].ready->key, sizeof(key));
    /* The key of a step that is not cached is nobody else's. */
    int locked = !p->policy->cache ? 1 : run_cache_trylock(e->cache, key, &lock, &err);
    if (locked < 0)
        engine__fatal(e, &err);
    else if (locked == 0)
        defer(e, p);
    /* Somebody may have finished the same step since it was prepared. */
    else if (engine__hit(e, d->step))
        run_cache_unlock(e->cache, key, lock);
    else
        launch_attempt(e, p, lock, d);
}
