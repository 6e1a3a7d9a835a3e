/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cmd/drive.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/redact.h"
#include "cmd/opened.h"
#include "cmd/preview.h"
#include "cmd/resolve.h"
#include "run/engine.h"
#include "run/job_env.h"
#include "run/layout.h"
#include "view/github.h"
#include "view/junit.h"
#include "view/progress.h"
#include "view/report.h"
#include "view/summary.h"

/* Everything that looks on while the run happens. */
struct audience {
    struct view_progress *progress;
    FILE *events;
    struct rwf_str line;
    struct run_state *state; /* of a new run; NULL when it must be read from the log */
};

static void write_event(struct audience *a, const json_t *event)
{
    char *text = json_dumps(event, JSON_COMPACT);

    rwf_str_clear(&a->line);
    rwf_redact(&a->line, text, strlen(text));
    rwf_str_addc(&a->line, '\n');
    fwrite(a->line.data, 1, a->line.len, a->events);
    fflush(a->events);
    free(text);
}

static void on_event(void *ctx, enum run_event type, const json_t *event)
{
    struct audience *a = ctx;

    if (a->state && run_state_apply(a->state, event, NULL) < 0) {
        run_state_destroy(a->state);
        a->state = NULL;
    }
    if (a->progress)
        view_progress_event(a->progress, type, event);
    if (a->events)
        write_event(a, event);
}

static bool wants_live(const struct cmd_call *call)
{
    const char *mode = cmd_text(call, "progress", "auto"), *term = getenv("TERM");

    if (strcmp(mode, "auto") != 0)
        return strcmp(mode, "live") == 0;
    return isatty(STDERR_FILENO) && !call->quiet && !view_github_active() &&
           !(term && strcmp(term, "dumb") == 0);
}

static int open_audience(const struct cmd_call *call, const struct cmd_drive *d,
                         struct audience *a, struct rwf_err *err)
{
    const char *path = cmd_text(call, "events", NULL);
    const struct view_progress_options options = {
        .live = wants_live(call),
        .color = call->color_err,
        .quiet = call->quiet,
        .out = stderr,
        .graph = d->c->graph,
        .root = d->root,
        .run = d->run,
        .ended = d->ended,
    };

    if (path) {
        a->events = strcmp(path, "-") == 0 ? stdout : fopen(path, "we");
        if (!a->events)
            return rwf_fail(err, errno, "--events %s: cannot write: %s", path,
                            strerror(errno));
    }
    if (!d->run)
        a->state = run_state_create();
    if (strcmp(cmd_text(call, "progress", "auto"), "none") != 0)
        a->progress = view_progress_create(&options);
    return 0;
}

static void close_audience(struct audience *a)
{
    view_progress_destroy(a->progress);
    a->progress = NULL;
    if (a->events && a->events != stdout)
        fclose(a->events);
    a->events = NULL;
    rwf_str_free(&a->line);
}

int cmd_drive_check(const struct cmd_call *call, struct rwf_err *err)
{
    const char *mode = cmd_text(call, "progress", NULL);

    if (call->json && strcmp(cmd_text(call, "events", ""), "-") == 0)
        return rwf_fail(err, RWF_E_USAGE,
                        "--format json and --events - both want standard output");
    if (mode && call->quiet && strcmp(mode, "none") != 0)
        return rwf_fail(err, RWF_E_USAGE,
                        "--quiet and --progress %s contradict each other", mode);
    return 0;
}

/* --- what a run that goes on is to know --- */

/* What changes how it runs; what only looks at it (--report, --junit …) is of one call. */
static const char *const kept[] = {"no-cache", "fail-fast", "timeout",       "address",
                                   "key",      "priority",  "wait-for-nodes"};

static json_t *kept_options(const struct cmd_call *call, const struct cmd_drive *d)
{
    json_t *out = json_object();

    for (size_t i = 0; i < RWF_COUNT(kept); i++) {
        const char *text = cmd_text(call, kept[i], NULL);
        if (!cmd_given(call, kept[i]))
            continue;
        char *path = text && strcmp(kept[i], "key") == 0 ? rwf_fs_absolute(text) : NULL;
        json_object_set_new(out, kept[i],
                            text ? cmd_string(path ? path : text) : json_true());
        free(path);
    }
    if (d->serve_control)
        json_object_set_new(out, "control", cmd_string(d->serve_control));
    return out;
}

void cmd_drive_take_over(struct cmd_call *call, const json_t *options)
{
    bool elsewhere = cmd_given(call, "address");

    for (size_t i = 0; i < RWF_COUNT(kept); i++) {
        const json_t *value = json_object_get(options, kept[i]);
        bool where = strcmp(kept[i], "address") == 0 || strcmp(kept[i], "key") == 0;
        if (value && !cmd_given(call, kept[i]) && !(where && elsewhere))
            cmd_give(call, kept[i], json_string_value(value));
    }
}

/* --- afterwards --- */

static int write_view(const struct cmd_call *call, const char *option,
                      struct rwf_str *text, struct rwf_err *err)
{
    struct rwf_str clean = {0};

    rwf_redact(&clean, text->data ? text->data : "", text->len);
    int status = cmd_write(cmd_text(call, option, NULL), clean.data, clean.len, err);
    rwf_str_free(&clean);
    if (status < 0)
        rwf_wrap(err, "--%s", option);
    return status;
}

static int write_files(const struct cmd_call *call, const struct view_run *r,
                       struct rwf_err *err)
{
    struct rwf_str text = {0};
    int status = 0;

    if (cmd_given(call, "junit")) {
        view_junit(r, &text);
        status = write_view(call, "junit", &text, err);
    }
    rwf_str_clear(&text);
    if (status == 0 && cmd_given(call, "summary")) {
        view_markdown(r, &text);
        status = write_view(call, "summary", &text, err);
    }
    rwf_str_clear(&text);
    if (status == 0 && cmd_given(call, "report")) {
        status = view_report(r, &text, err);
        if (status == 0)
            status =
                cmd_write(cmd_text(call, "report", NULL), text.data, text.len, err);
        if (status < 0)
            rwf_wrap(err, "--report");
    }
    rwf_str_free(&text);
    return status;
}

static json_t *failures_json(const struct view_run *r)
{
    json_t *out = json_array();

    for (size_t i = 0; i < run_state_step_count(r->state); i++) {
        const struct run_step_state *s = run_state_step_at(r->state, i);
        if (s->state != STEP_FAILED)
            continue;
        uint32_t at = plan_graph_find(r->graph, s->address);
        char *where =
            at == PLAN_NO_STEP ? NULL : view_where(r, plan_graph_step(r->graph, at));
        char *log = view_best_log(r, s);
        json_array_append_new(out, json_pack("{s:s, s:s?, s:s?, s:i, s:s?, s:s?}",
                                             "step", s->address, "cause", s->cause,
                                             "message", s->message, "attempts",
                                             s->attempt, "where", where, "log", log));
        free(where);
        free(log);
    }
    return out;
}

/* What is told when the run is over; a file that cannot be written is an error then. */
static int look_back(struct cmd_call *call, const struct cmd_drive *d,
                     struct audience *a, const char *id, struct rwf_err *err)
{
    struct cmd_opened o = {0};
    int status = -1;

    o.root = (char *)d->root;
    o.id = (char *)id;
    o.dir = run_dir(d->root, id);
    o.log = rwf_fs_join(o.dir, "events.ndjson");
    o.state = a->state;
    a->state = NULL;
    if (!o.state && cmd_reload_run(&o, err) < 0)
        goto out;
    struct view_run r = cmd_opened_view(&o);
    r.graph = d->c->graph;
    r.plan = d->plan;
    plan_graph_resolve_as(d->c->graph, PLAN_SHOW, NULL);
    if (!call->quiet && strcmp(cmd_text(call, "progress", "auto"), "none") != 0)
        view_summary(&r, cmd_text(call, "report", NULL), stderr, call->color_err);
    if (view_github_active())
        view_github_steps(&r, call->json ? stderr : stdout);
    call->data = cmd_run_json(&o);
    json_object_set_new(call->data, "failed", failures_json(&r));
    json_object_set_new(call->data, "checks", view_checks(&r));
    status = write_files(call, &r, err);
    if (status == 0 && view_github_active())
        status = view_github_summary(&r, err);
out:
    run_state_destroy(o.state);
    free(o.dir);
    free(o.log);
    return status;
}

static json_t *notify_section(const struct recipe *r)
{
    const struct recipe_node *notify = recipe_get(recipe_root(r), "notify");

    return notify && notify->kind == RECIPE_LIST ? cmd_resolve(r, notify, true) : NULL;
}

/* Nothing of it would run. What cannot be told is for the run to say. */
static bool is_cached(const struct cmd_call *call, const struct cmd_drive *d)
{
    const struct plan_graph *g = d->c->graph;
    struct preview *p =
        preview_create(d->c->graph, d->root, cmd_given(call, "no-cache"), NULL);
    bool all = p && preview_count(p, PREVIEW_RUN) == 0;

    for (uint32_t i = 0; all && i < plan_graph_count(g); i++) {
        const struct op *op = plan_graph_step(g, i)->op;
        all = !op->service && (op->decide || preview_at(p, i)->verdict != PREVIEW_DECIDE);
    }
    preview_destroy(p);
    return all;
}

/* Where it runs. The recipe's own cluster is not brought up for what is all cached. */
static int find_place(struct cmd_call *call, const struct cmd_drive *d,
                      struct cmd_on_cluster *ret, bool *ret_cached, struct rwf_err *err)
{
    if (cmd_on_cluster_at(call, d->c->recipe, ret, err) < 0)
        return -1;
    *ret_cached = ret->later && !d->run && is_cached(call, d);
    if (*ret_cached) {
        cmd_on_cluster_sweep(call, d->root);
        if (!call->quiet && !call->json)
            fprintf(stderr, "all of it is cached: no cluster is brought up\n");
        return 0;
    }
    cmd_on_cluster_free(ret);
    return cmd_on_cluster(call, d->c->recipe, d->root, d->run, ret, err);
}

static int execute(struct cmd_call *call, const struct cmd_drive *d, struct audience *a,
                   char *id, struct rwf_err *err)
{
    struct cmd_on_cluster on;
    bool cached;
    if (find_place(call, d, &on, &cached, err) < 0)
        return -1;
    json_t *notify = notify_section(d->c->recipe), *kept_here = kept_options(call, d);
    const struct engine_options options = {
        .root = d->root,
        .plan = d->plan,
        .keys = d->keys,
        .fail_fast = cmd_given(call, "fail-fast"),
        .no_cache = cmd_given(call, "no-cache"),
        .all_cached = cached,
        .timeout = cmd_duration(call, "timeout", 0),
        .on_event = on_event,
        .ctx = a,
        .notify = notify,
        .stay = d->stay,
        .serve_control = d->serve_control,
        .asked = kept_here,
        .cluster_address = on.address,
        .cluster_key = on.key,
        .cluster_grows = on.grows,
        .cluster_priority = on.priority,
    };
    int code;

    if (d->run)
        code = engine_resume(d->c->graph, &options, d->run, d->retry_failed, err);
    else
        code = engine_run(d->c->graph, &options, id, err);
    json_decref(notify);
    json_decref(kept_here);
    cmd_on_cluster_free(&on);
    return code;
}

int cmd_drive(struct cmd_call *call, const struct cmd_drive *d, struct rwf_err *err)
{
    char id[RWF_RUN_ID_LEN] = "";
    struct audience a = {0};
    struct rwf_err later = RWF_ERR_INIT;

    if (d->run)
        snprintf(id, sizeof(id), "%s", d->run);
    /* A reader of our output that goes away must not end the run. */
    signal(SIGPIPE, SIG_IGN);
    if (recipe_secrets_read(d->c->recipe, err) < 0)
        return -1;
    run_job_env_hide();
    if (open_audience(call, d, &a, err) < 0) {
        close_audience(&a);
        run_state_destroy(a.state);
        return -1;
    }
    int code = execute(call, d, &a, id, err);
    close_audience(&a);
    if (code < 0) {
        run_state_destroy(a.state);
        if (*id)
            rwf_fail(err, err->code, "%s; when that is mended: raywf resume %s",
                     strdupa(err->text), id);
        return -1;
    }
    if (look_back(call, d, &a, id, &later) < 0)
        code = rwf_exit_worse(code, cmd_keep_error(call, &later));
    return code;
}
