/* SPDX-License-Identifier: Apache-2.0
 *
 * A step, wherever its process runs. Here it is a proc, with this node's name and
 * socket in its environment; elsewhere a call (step_far.c).
 *
 * Invariants: exited is called exactly once for each step that far_step_start
 * returned, never from within far_step_start, and then the step is freed; also when
 * the node is destroyed before. A node lives until all its steps are over.
 */
#include "config.h"
#include "far/step.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "far/steps.h"
#include "far/tree.h"

/* --- the end of a step --- */

void far__step_exited(struct far_step *s, const struct proc_exit *result)
{
    struct node *n = s->node;
    LIST_REMOVE(s, all);
    if (s->is_over)
        TAILQ_REMOVE(&n->far->steps->over, s, over);
    if (s->handler.exited)
        s->handler.exited(s->handler.ctx, result);
    free(s->dir);
    free(s);
    node__closed(n);
}

static void on_turn(uv_timer_t *t)
{
    struct node *n = t->data;
    struct far_step *s;
    uv_unref((uv_handle_t *)t);
    n->open++; /* it may go with the last of them */
    while ((s = TAILQ_FIRST(&n->far->steps->over)))
        far__step_exited(s, &s->result);
    node__closed(n);
}

void far__step_over(struct far_step *s)
{
    struct far__steps *all = s->node->far->steps;
    s->is_over = true;
    TAILQ_INSERT_TAIL(&all->over, s, over);
    if (uv_is_closing((uv_handle_t *)&all->turn))
        return;                        /* far__steps_close has seen to it */
    uv_ref((uv_handle_t *)&all->turn); /* the loop must not end before it is told */
    uv_timer_start(&all->turn, on_turn, 0, 0);
}

static void could_not_start(struct far_step *s, enum plan_cause cause,
                            const char *text)
{
    s->result = (struct proc_exit){.cause = cause, .exit_code = -1};
    far__exit_say(&s->result, "%s", text);
    far__step_over(s);
}

/* --- a process here --- */

static void on_report(void *ctx, const json_t *line)
{
    struct far_step *s = ctx;
    if (s->handler.report)
        s->handler.report(s->handler.ctx, line);
}

static void on_output(void *ctx, int stream, const void *data, size_t size)
{
    struct far_step *s = ctx;
    s->handler.output(s->handler.ctx, stream, data, size);
}

static void on_exited(void *ctx, const struct proc_exit *result)
{
    struct far_step *s = ctx;
    struct node *n = s->node;
    struct proc *proc = s->proc;
    struct proc_exit r = *result;
    if (s->node_stops && !s->asked && r.cause == PLAN_CAUSE_STOPPED) {
        /* Nobody wanted the step to end: it is to run somewhere else. */
        r.cause = PLAN_CAUSE_NODE_LOST;
        far__exit_say(&r, "node %s was stopped: it ended the step", n->name);
    }
    s->proc = NULL;
    n->far->steps->procs--;
    n->open++;
    far__step_exited(s, &r);
    proc_free(proc);
    if (n->stopping && n->far->steps->procs == 0)
        node__pool_say_stopped(n);
    node__closed(n);
}

/* Steps find this very program by name (raywf report-metric …): last in PATH, so that
 * it hides nothing. */
static char *path_with_us(const char *path, const char *self)
{
    char *folder = rwf_fs_dirname(self);
    char *listed = rwf_xasprintf(":%s:", path), *item = rwf_xasprintf(":%s:", folder);
    char *longer =
        strstr(listed, item) ? rwf_xstrdup(path) : rwf_xasprintf("%s:%s", path, folder);
    free(item);
    free(listed);
    free(folder);
    return longer;
}

static json_t *make_argv(const json_t *given, const char *self)
{
    json_t *argv = json_copy((json_t *)given);
    const char *first = json_string_value(json_array_get(argv, 0));
    if (first && strcmp(first, FAR_STEP_SELF) == 0)
        json_array_set_new(argv, 0, json_string(self));
    return argv;
}

static json_t *make_env(const struct node *n, const json_t *given, const char *self)
{
    json_t *env = given ? json_copy((json_t *)given) : json_object();
    const char *path = json_string_value(json_object_get(env, "PATH"));
    if (!path)
        path = getenv("PATH");
    char *longer = path_with_us(path ? path : "/usr/bin:/bin", self);
    json_object_set_new(env, "PATH", json_string(longer));
    free(longer);
    json_object_set_new(env, "RAYWF_ADDRESS", json_string(n->address));
    json_object_set_new(env, "RAYWF_NODE", json_string(n->name));
    return env;
}

/* Of a step that says none. */
static char *make_dir_name(struct node *n, const struct proc_spec *spec)
{
    bool plain = rwf_fs_is_beneath(spec->run_id) && !strchr(spec->run_id, '/');
    return rwf_xasprintf("%s/runs/%s/steps/%llu", n->folder,
                         plain ? spec->run_id : "none",
                         (unsigned long long)++n->far->steps->last_folder);
}

static void start_here(struct far_step *s, const struct proc_spec *given)
{
    struct node *n = s->node;
    struct proc_spec spec = *given;
    struct rwf_err err = RWF_ERR_INIT;
    char *dir = given->dir ? NULL : make_dir_name(n, given);
    char *self = rwf_fs_self();
    json_t *env = make_env(n, given->env, self), *argv = make_argv(given->argv, self);
    spec.env = env;
    spec.argv = argv;
    spec.dir = dir ? dir : given->dir;
    spec.cwd = given->cwd ? given->cwd : spec.dir;
    far__runs_touch(n, spec.dir);
    far__runs_touch(n, spec.cwd);
    if (rwf_fs_mkdirs(spec.dir, &err) == 0)
        s->proc = proc_start(n->loop, &spec,
                             &(struct proc_handler){s, on_report, on_exited}, &err);
    char *keep = rwf_xstrdup(spec.dir);
    json_decref(env);
    json_decref(argv);
    free(self);
    free(dir);
    if (!s->proc) {
        free(keep);
        could_not_start(s, PLAN_CAUSE_START, err.text);
        return;
    }
    n->far->steps->procs++;
    s->dir = keep;
    if (s->handler.output)
        proc_tap(s->proc, on_output, s);
    if (s->handler.started)
        s->handler.started(s->handler.ctx, proc_pid(s->proc));
}

/* --- what is asked of it --- */

struct far_step *far_step_start(struct node *n, const char *where,
                                const struct proc_spec *spec,
                                const struct far_step_options *options,
                                const struct far_step_handler *handler,
                                struct rwf_err *err)
{
    static const struct far_step_options none = {0};
    struct far__member *m = NULL;
    if (n->destroyed) {
        rwf_fail(err, ECANCELED, "this node ends");
        return NULL;
    }
    if (where && *where && strcmp(where, n->name) != 0) {
        m = far__member_find(n, where);
        if (!m) {
            rwf_fail(err, ENOENT,
                     "there is no node %s in the cluster (now): raywf nodes shows all",
                     where);
            return NULL;
        }
    }
    struct far_step *s = rwf_xcalloc(1, sizeof(*s));
    s->node = n;
    s->handler = *handler;
    if (m && far__call_start(s, m, spec, options ? options : &none, err) < 0) {
        free(s);
        return NULL;
    }
    n->open++;
    LIST_INSERT_HEAD(&n->far->steps->all, s, all);
    if (!m && n->stopping)
        could_not_start(s, PLAN_CAUSE_NODE_LOST,
                        "this node stops: nothing starts here");
    else if (!m)
        start_here(s, spec);
    return s;
}

void far_step_stop(struct far_step *s)
{
    s->asked = true;
    if (s->proc)
        proc_stop(s->proc);
    else if (s->call)
        far__call_stop(s->call, false);
}

void far_step_kill(struct far_step *s)
{
    s->asked = true;
    if (s->proc)
        proc_kill(s->proc);
    else if (s->call)
        far__call_stop(s->call, true);
}

void far__step_hold(struct far_step *s, bool hold)
{
    if (s->proc)
        proc_hold(s->proc, hold);
    else if (s->call)
        far__call_hold(s->call, hold);
}

/* --- life --- */

void far__steps_create(struct node *n)
{
    struct far__steps *all = rwf_xcalloc(1, sizeof(*all));
    n->far->steps = all;
    LIST_INIT(&all->all);
    TAILQ_INIT(&all->over);
    TAILQ_INIT(&all->served);
    node__timer(n, &all->turn);
    uv_check_init(n->loop, &all->check);
    all->check.data = n;
    uv_unref((uv_handle_t *)&all->check);
    n->open++;
}

bool far__steps_busy(const struct node *n)
{
    return n->far->steps->procs > 0;
}

void far__steps_stop(struct node *n)
{
    struct far_step *s;
    if (n->far->steps->procs > 0)
        rwf_log(RWF_LOG_INFO, "node", "%s stops: it ends %zu step%s first", n->name,
                n->far->steps->procs, n->far->steps->procs == 1 ? "" : "s");
    LIST_FOREACH(s, &n->far->steps->all, all)
    if (s->proc) {
        s->node_stops = true;
        proc_stop(s->proc);
    }
}

/* Those on other nodes end with the links to these. */
void far__steps_close(struct node *n)
{
    struct far__steps *all = n->far->steps;
    struct far_step *s;
    LIST_FOREACH(s, &all->all, all)
    if (s->proc) {
        s->node_stops = true;
        proc_kill(s->proc);
    }
    on_turn(&all->turn);
    uv_check_stop(&all->check);
    node__close(&all->turn);
    node__close(&all->check);
}

void far__steps_free(struct node *n)
{
    if (!n->far->steps)
        return;
    rwf_ids_free(&n->far->steps->calls);
    free(n->far->steps);
    n->far->steps = NULL;
}
