/* SPDX-License-Identifier: Apache-2.0
 *
 * An attempt on a cluster:
 *
 *   WAITING --(the head has a place)--> FILES --(all is there)--> STARTING
 *   STARTING --(its process is there)--> RUNNING --(it ended well)--> FETCHING -->
 * finished
 *
 * Until RUNNING the step is queued for the schedule: an attempt that gets no further
 * costs none, and the step is offered again. One that is stopped before is gone as soon
 * as nothing is under way for it.
 */
#include "config.h"
#include "run/away.h"
#include "run/job_env.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"

#define AGAIN (100 * RWF_NS_PER_MS)
/* The head refused what fits by what we know: it may know of a lost node earlier. */
#define AGAIN_REFUSED (500 * RWF_NS_PER_MS)
#define REFUSED_MAX 20
/* Who waits for longer is told why. */
#define PATIENCE (RWF_NS_PER_S)
#define ASK_AGAIN (5 * RWF_NS_PER_S)
#define ASKED_MAX 20 /* at once, so that those who wait are no work for the head */

enum away_phase {
    AWAY_WAITING,
    AWAY_FILES,
    AWAY_STARTING,
    AWAY_RUNNING,
    AWAY_FETCHING
};

struct away_attempt {
    enum away_phase phase;
    struct schedule_decision decision;
    struct far_place *place; /* NULL: given back, or lost */
    struct far_step *step;   /* NULL: there is no process */
    struct op_command command;
    char *name;     /* of its node; NULL: none yet */
    bool marking;   /* a mark that it is to end is on its way */
    bool over;      /* stopped before it ran: it goes when it can */
    char *lost;     /* why its place is lost; NULL: it is not */
    int64_t ask_at; /* why it waits */
    char *why;      /* as last logged */
    struct proc_exit result;
    char *tail;
};

bool engine__away_runs(const struct engine *e, const struct plan_step *p)
{
    /* What stays where it is is looked at, or downloaded, where the run is; what is made of
     * another step's is work for a node. */
    bool named = p->op->points && p->need_count == 0;
    return e->away != NULL && p->op->call == NULL && p->op->decide == NULL &&
           !p->op->service && !named;
}

bool engine__attempt_runs(const struct engine__attempt *a)
{
    return a->away == NULL || a->away->phase >= AWAY_RUNNING;
}

static void give_place(struct away_attempt *w)
{
    if (w->place != NULL)
        far_place_give(w->place);
    w->place = NULL;
}

void engine__away_attempt_free(struct engine__attempt *a)
{
    struct away_attempt *w = a->away;
    if (w == NULL)
        return;
    give_place(w);
    engine__command_free(&w->command);
    free(w->name);
    free(w->lost);
    free(w->why);
    free(w->tail);
    free(w);
    a->away = NULL;
}

/* --- what comes of one that does not run --- */

/* The step may have been stopped, or ended by its search, meanwhile. */
static bool is_wanted(const struct engine__attempt *a)
{
    const struct schedule *s = a->engine->schedule;
    return !a->away->over && schedule_state(s, a->step->index) == STEP_QUEUED &&
           schedule_granted(s, a->step->index);
}

static void drop(struct engine__attempt *a)
{
    struct engine *e = a->engine;
    engine__attempt_free(a);
    engine__searches_poke(e);
}

/* It is offered again; no attempt was made. */
static void again(struct engine__attempt *a, int64_t delay)
{
    if (is_wanted(a))
        schedule_defer(a->engine->schedule, a->step->index, rwf_clock_mono(), delay);
    drop(a);
}

static void fail(struct engine__attempt *a, const struct rwf_err *err)
{
    struct engine *e = a->engine;
    uint32_t step = a->step->index;
    int number = a->number;
    bool wanted = is_wanted(a);
    drop(a);
    if (!wanted)
        return;
    if (engine__is_environment(err->code) && err->code != RWF_E_ENV)
        engine__fatal(e, err);
    else
        engine__failed_early(e, step, number, err);
}

/* --- the process --- */

/* Of a gang it may be any of its nodes. */
static void say_lost(const struct engine__attempt *a, struct proc_exit *r)
{
    char *which = a->step->op->gang ? engine__away_gang_lost(a) : NULL;

    if (which != NULL)
        snprintf(r->message, sizeof(r->message), "%s", which);
    else if (a->step->op->gang)
        snprintf(r->message, sizeof(r->message), "%s", a->away->lost);
    else
        snprintf(r->message, sizeof(r->message), "node %s: %s", a->away->name,
                 a->away->lost);
    free(which);
}

static void finish(struct engine__attempt *a)
{
    struct proc_exit *r = &a->away->result;
    /* What ended because its place was taken away is not the step's failure. */
    if (a->away->lost != NULL && r->cause != PLAN_CAUSE_NONE && !a->engine->stopping) {
        r->cause = PLAN_CAUSE_NODE_LOST;
        say_lost(a, r);
    } else if (r->cause != PLAN_CAUSE_NONE && r->cause != PLAN_CAUSE_NODE_LOST &&
               r->cause != PLAN_CAUSE_STOPPED) {
        size_t len = strlen(r->message);
        snprintf(r->message + len, sizeof(r->message) - len, " on node %s",
                 a->away->name);
    }
    struct proc_exit result = *r;
    char *tail = a->away->tail;
    a->away->tail = NULL;
    result.tail = tail;
    engine__finished(a, &result);
    free(tail);
}

static void fetched(void *ctx, const struct rwf_err *err)
{
    struct engine__attempt *a = ctx;
    struct proc_exit *r = &a->away->result;
    if (err != NULL && r->cause == PLAN_CAUSE_NONE) {
        bool gone = engine__away_find(a->engine, a->away->name) == NULL;
        r->cause = gone ? PLAN_CAUSE_NODE_LOST : PLAN_CAUSE_OUTPUT;
        snprintf(r->message, sizeof(r->message),
                 "its outputs cannot be had from %s: %.400s", a->away->name, err->text);
    }
    finish(a);
}

/* One that is through may have removed its folder. */
static void trial_fetched(void *ctx, const struct rwf_err *err)
{
    if (err != NULL && err->code != ENOENT)
        fetched(ctx, err);
    else
        engine__away_get(ctx, fetched, ctx);
}

static void on_report(void *ctx, const json_t *line)
{
    engine__report(ctx, line);
}

static void on_started(void *ctx, int pid)
{
    struct engine__attempt *a = ctx;
    if (!is_wanted(a)) {
        a->away->over = true;
        far_step_stop(a->away->step);
        return;
    }
    a->away->phase = AWAY_RUNNING;
    engine__log_started(a, &a->away->decision, pid, a->away->name);
}

static void never_ran(struct engine__attempt *a, const struct proc_exit *result)
{
    struct rwf_err err = RWF_ERR_INIT;
    if (result->cause == PLAN_CAUSE_NODE_LOST || a->away->lost != NULL ||
        !is_wanted(a)) {
        again(a, AGAIN);
        return;
    }
    rwf_fail(&err, ENOEXEC, "%s", result->message);
    fail(a, &err);
}

/* It has ended. */
static void fetch(struct engine__attempt *a)
{
    if (a->away->result.cause == PLAN_CAUSE_NODE_LOST)
        finish(a);
    else
        engine__away_trial_get(a, trial_fetched, a);
}

static void on_exited(void *ctx, const struct proc_exit *result)
{
    struct engine__attempt *a = ctx;
    struct away_attempt *w = a->away;
    bool ran = w->phase == AWAY_RUNNING;
    w->step = NULL;
    give_place(w);
    if (!ran) {
        never_ran(a, result);
        return;
    }
    w->result = *result;
    w->tail = result->tail == NULL ? NULL : rwf_xstrdup(result->tail);
    w->phase = AWAY_FETCHING;
    if (!w->marking) /* else it goes on when the mark is there */
        fetch(a);
}

static int start_there(struct engine__attempt *a, struct rwf_err *err)
{
    struct away_attempt *w = a->away;
    struct engine *e = a->engine;
    const struct far_step_handler handler = {a, on_started, NULL, on_report,
                                             on_exited};
    struct far_step_options options;
    struct proc_spec spec;
    engine__proc_spec(a, &w->command, &w->decision, &spec);
    char *cwd = engine__away_path(a, spec.cwd), *dir = engine__away_path(a, spec.dir);
    json_t *argv = engine__away_paths(a, spec.argv), *all = run__job_env_add(spec.env);
    json_t *env = engine__away_paths(a, all);
    const char *program = json_string_value(json_array_get(spec.argv, 0));
    if (program != NULL && strcmp(program, e->self) == 0)
        json_array_set_new(argv, 0, json_string(FAR_STEP_SELF));
    spec.cwd = cwd;
    spec.dir = dir;
    spec.argv = argv;
    spec.env = env;
    options.shared = engine__away_is_shared(a);
    options.local_dir = options.shared ? NULL : a->dir;
    w->step =
        far_step_start(engine__away_node(e), w->name, &spec, &options, &handler, err);
    json_decref(argv);
    json_decref(env);
    json_decref(all);
    free(cwd);
    free(dir);
    return w->step == NULL ? -1 : 0;
}

/* --- its files --- */

static bool is_gone(const struct engine__attempt *a)
{
    return engine__away_find(a->engine, a->away->name) == NULL;
}

static void put_done(void *ctx, const struct rwf_err *failed)
{
    struct engine__attempt *a = ctx;
    struct rwf_err err = RWF_ERR_INIT;
    if (!is_wanted(a) || a->away->lost != NULL || is_gone(a)) {
        again(a, AGAIN);
        return;
    }
    if (failed != NULL) {
        err = *failed;
        rwf_wrap(&err, "its files cannot be brought to node %s", a->away->name);
        fail(a, &err);
        return;
    }
    a->away->phase = AWAY_STARTING;
    if (start_there(a, &err) != 0)
        fail(a, &err);
}

static void needs_there(void *ctx, const struct rwf_err *failed)
{
    if (failed != NULL)
        put_done(ctx, failed);
    else
        engine__away_trial_put(ctx, put_done, ctx);
}

static void gathered(void *ctx, const struct rwf_err *failed)
{
    struct engine__attempt *a = ctx;
    struct rwf_err err = RWF_ERR_INIT;
    if (failed != NULL || !is_wanted(a) || a->away->lost != NULL || is_gone(a)) {
        put_done(a, failed);
        return;
    }
    if (engine__command(a, &a->away->command, &err) != 0)
        fail(a, &err);
    else
        engine__away_put(a, &a->away->command, needs_there, a);
}

static void known(void *ctx, const struct rwf_err *failed)
{
    if (failed != NULL)
        gathered(ctx, failed);
    else
        engine__away_gather(ctx, gathered, ctx);
}

/* --- its place --- */

/* The schedule counts it where it is, if it can. */
static void move(struct engine__attempt *a, const struct far_bundle *b, uint32_t rank)
{
    struct engine *e = a->engine;
    uint32_t node = schedule_cluster_find(e->cluster, b->node);
    uint64_t gpus = 0;
    for (size_t i = 0; i < b->gpu_count; i++)
        gpus |= b->gpus[i] < 64 ? UINT64_C(1) << b->gpus[i] : 0;
    if (node != SCHEDULE_NO_NODE)
        (void)schedule_move(e->schedule, a->step->index, rank, node, gpus);
}

/* The GPUs of all bundles that are on the node of the first. */
static void take_gpus(struct schedule_decision *d, const struct far_bundle *bundles,
                      uint32_t count)
{
    uint64_t seen = 0;
    d->gpu_count = 0;
    for (uint32_t i = 0; i < count; i++)
        for (size_t k = 0; k < bundles[i].gpu_count; k++) {
            uint32_t id = bundles[i].gpus[k];
            if (strcmp(bundles[i].node, bundles[0].node) != 0 || id >= 64 ||
                (seen >> id & 1))
                continue;
            seen |= UINT64_C(1) << id;
            d->gpus[d->gpu_count++] = (int)id;
        }
}

static void on_ready(void *ctx, const struct far_bundle *bundles, uint32_t count)
{
    struct engine__attempt *a = ctx;
    struct away_attempt *w = a->away;
    if (!is_wanted(a)) {
        drop(a);
        return;
    }
    for (uint32_t i = 0; i < count && i < w->decision.ranks; i++)
        move(a, &bundles[i], i);
    take_gpus(&w->decision, bundles, count);
    if (a->step->op->gang)
        a->places = engine__away_places(a->engine, a->step, bundles, count);
    w->name = rwf_xstrdup(bundles[0].node);
    w->phase = AWAY_FILES;
    engine__away_look(a, known, a);
}

/* Refused, or lost. */
static void on_over(void *ctx, const struct rwf_err *err)
{
    struct engine__attempt *a = ctx;
    struct away_attempt *w = a->away;
    struct engine *e = a->engine;
    struct rwf_err never = RWF_ERR_INIT;
    w->place = NULL;
    if (w->phase != AWAY_WAITING) {
        free(w->lost);
        w->lost = rwf_xstrdup(err->text);
        if (w->step != NULL)
            far_step_stop(w->step);
        return; /* what is under way for it ends, and looks */
    }
    if (err->code != RWF_E_FIT)
        fail(a, err);
    else if (schedule_hopeless(e->schedule, a->step->index, &never))
        fail(a, &never);
    else if (e->steps[a->step->index].refused++ < REFUSED_MAX)
        again(a, AGAIN_REFUSED);
    else
        fail(a, err);
}

static void log_why(struct engine__attempt *a, const char *text)
{
    struct away_attempt *w = a->away;
    const char *cut = strstr(text, " (for ");
    char *why =
        cut == NULL ? rwf_xstrdup(text) : rwf_xstrndup(text, (size_t)(cut - text));
    if (w->why != NULL && strcmp(w->why, why) == 0) {
        free(why);
        return;
    }
    free(w->why);
    w->why = why;
    run_log_append(a->engine->log, RUN_STEP_QUEUED,
                   json_pack("{s:s, s:o}", "step", a->step->address, "reason",
                             json_sprintf("%s", why)));
}

static void on_why(void *ctx, const char *text)
{
    struct engine__attempt *a = ctx;
    if (a->away->phase == AWAY_WAITING && is_wanted(a))
        log_why(a, text);
}

/* A gang with a range of ranks does not wait for more than there are: true, it is gone.
 */
static bool ask(struct engine__attempt *a)
{
    if (is_wanted(a) && schedule_fewer(a->engine->schedule, a->step->index)) {
        again(a, 0);
        return true;
    }
    far_place_why(a->away->place);
    return false;
}

void engine__away_say(struct engine *e, const char *why)
{
    struct engine__attempt *a;
    LIST_FOREACH(a, &e->running, link)
    if (a->away != NULL && a->away->phase == AWAY_WAITING && is_wanted(a))
        log_why(a, why);
}

void engine__away_ask(struct engine *e)
{
    struct engine__attempt *a, *next;
    int64_t now = rwf_clock_mono();
    int asked = 0;
    for (a = LIST_FIRST(&e->running); a != NULL && asked < ASKED_MAX; a = next) {
        struct away_attempt *w = a->away;
        next = LIST_NEXT(a, link);
        if (w == NULL || w->phase != AWAY_WAITING || w->place == NULL ||
            now < w->ask_at)
            continue;
        w->ask_at = now + ASK_AGAIN;
        asked++;
        next = ask(a) ? LIST_FIRST(&e->running) : next; /* others may be gone, too */
    }
}

void engine__away_start(struct engine__attempt *a, const struct schedule_decision *d)
{
    struct engine *e = a->engine;
    struct away_attempt *w = rwf_xcalloc(1, sizeof(*w));
    const struct plan_policy *policy = a->step->policy;
    const struct far_place_handler handler = {a, on_ready, on_over, on_why};
    struct schedule_need need = {0};
    struct schedule_node_view at;
    a->away = w;
    w->decision = *d;
    w->ask_at = rwf_clock_mono() + PATIENCE;
    if (!policy->leased) /* its workers' leases take what it needs */
        schedule_need_of(policy, &need);
    schedule_cluster_view(e->cluster, d->node, &at);
    const char *near = engine__away_near(a, at.name);
    const struct far_place_request request = {
        .need = &need,
        .bundles = d->ranks > 1 ? d->ranks : 1,
        .placement = schedule_placement(e->schedule, a->step->index),
        .priority = policy->priority,
        .prefer = near != NULL ? near : at.name,
        .may_wait = e->options->cluster_grows};
    w->place = far_place(engine__away_node(e), &request, &handler);
}

/* --- ending --- */

static void marked(void *ctx, const struct rwf_err *err)
{
    struct engine__attempt *a = ctx;
    if (err != NULL)
        rwf_log(RWF_LOG_WARN, "run", "%s is not told that it may end: %s",
                a->step->address, err->text);
    a->away->marking = false;
    if (a->away->step != NULL)
        far_step_stop(a->away->step);
    else
        fetch(a);
}

void engine__away_stop(struct engine__attempt *a, bool now)
{
    struct away_attempt *w = a->away;
    if (w->phase < AWAY_RUNNING)
        w->over = true;
    if (w->step != NULL && now)
        far_step_kill(w->step);
    else if (w->step != NULL && w->phase == AWAY_RUNNING && !w->marking &&
             engine__away_trial_mark(a, marked, a))
        w->marking = true;
    else if (w->step != NULL && !w->marking)
        far_step_stop(w->step);
    else if (w->phase == AWAY_WAITING)
        drop(a);
}

/* --- where it is --- */

const char *engine__away_env(const struct engine__attempt *a, const char *name)
{
    return json_string_value(json_object_get(a->away->command.env, name));
}

const char *engine__away_where(const struct engine__attempt *a)
{
    return a->away->name;
}

void engine__away_visit(struct engine__attempt *a, const char *name)
{
    char *copy = rwf_xstrdup(name); /* it may be of what it replaces */
    free(a->away->name);
    a->away->name = copy;
}
