/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "view/progress_inside.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/units.h"
#include "run/layout.h"
#include "view/live.h"
#include "view/run.h"
#include "view/search.h"
#include "view/serve.h"
#include "view/style.h"

#define MANY 60                       /* above: cached and started steps stay silent */
#define HEARTBEAT (30 * RWF_NS_PER_S) /* between plain lines about one step */
#define METRICS_SHOWN 4
#define MANY_TRIALS 1000 /* above: of trials only the best and failed ones are told */
#define FAILURES 3       /* of a search that are told in full */

static const char *text_of(const json_t *event, const char *name)
{
    const char *text = json_string_value(json_object_get(event, name));

    return text ? text : "";
}

static int64_t count_of(const json_t *event, const char *name)
{
    const json_t *v = json_object_get(event, name);

    return json_is_number(v) ? (int64_t)json_number_value(v) : -1;
}

/* --- model --- */

static struct running *find(struct view_progress *p, const char *address)
{
    for (size_t i = 0; i < p->count; i++)
        if (strcmp(p->running[i].address, address) == 0)
            return &p->running[i];
    return NULL;
}

static void forget(struct view_progress *p, struct running *r)
{
    size_t at = (size_t)(r - p->running);

    free(r->address);
    free(r->note);
    json_decref(r->metrics);
    memmove(r, r + 1, (p->count - at - 1) * sizeof(*r));
    p->count--;
}

static struct running *begin(struct view_progress *p, const char *address)
{
    struct running *r = find(p, address);

    if (!r) {
        r = RWF_PUSH(p->running, p->count, p->cap);
        memset(r, 0, sizeof(*r));
        r->address = rwf_xstrdup(address);
    }
    r->started = r->told = rwf_clock_mono();
    r->progress = -1;
    r->from = 0;
    r->began = r->started;
    r->rows = r->bytes = -1;
    r->waits = false;
    return r;
}

/* Those that people look for first; and those they look for last. */
static const char *const first_metrics[] = {"loss",       "val_loss",
                                            "val_accuracy", "val_r2",
                                            "perplexity", "tokens_per_second",
                                            "samples_per_second", "mfu"};
static const char *const last_metrics[] = {"rows",          "bytes",     "learning_rate",
                                           "gradient_norm", "data_wait", "steps", "result_step",
                                           "epochs",        "parameters"};

static bool is_among(const char *const *names, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

static void add_metric(struct rwf_str *out, const char *name, const json_t *value,
                       int *shown)
{
    if (!json_is_number(value) || *shown >= METRICS_SHOWN)
        return;
    (*shown)++;
    rwf_str_addf(out, "%s%s=", out->len ? " " : "", name);
    view_number(out, json_number_value(value));
}

static void note_metrics(struct running *r, const json_t *metrics)
{
    struct rwf_str text = {0};
    const char *name;
    json_t *value;
    int shown = 0;

    for (size_t i = 0; i < RWF_COUNT(first_metrics); i++)
        add_metric(&text, first_metrics[i], json_object_get(metrics, first_metrics[i]),
                   &shown);
    for (int pass = 0; pass < 2; pass++)
        json_object_foreach((json_t *)metrics, name, value)
            if (!is_among(first_metrics, RWF_COUNT(first_metrics), name) &&
                is_among(last_metrics, RWF_COUNT(last_metrics), name) == (pass == 1))
                add_metric(&text, name, value, &shown);
    free(r->note);
    r->note = rwf_str_take(&text);
}

/* --- lines --- */

static struct rwf_str *lines(struct view_progress *p)
{
    return p->live ? view_live_above(p->live) : &p->plain;
}

static void line_start(struct view_progress *p, enum schedule_state state)
{
    struct rwf_str *out = lines(p);

    if (!p->live && p->total) {
        char total[24];
        int digits = snprintf(total, sizeof(total), "%zu", p->total);
        rwf_str_addf(out, "[%*zu/%s] ", digits, p->ended, total);
    }
    rwf_str_addf(out, "%s%s%s ", view_on(p->o.color, view_state_style(state)),
                 view_mark(state), view_off(p->o.color));
}

static void add_safe(struct view_progress *p, const char *text)
{
    view_safe(lines(p), text, strlen(text), false);
}

static void add_tail(struct view_progress *p, const char *tail)
{
    struct rwf_str *out = lines(p);

    while (*tail) {
        size_t len = strcspn(tail, "\n");
        rwf_str_addf(out, "    %s%s%s ", view_on(p->o.color, VIEW_DIM),
                     view_utf8() ? "│" : "|", view_off(p->o.color));
        view_safe(out, tail, len, true);
        rwf_str_addc(out, '\n');
        tail += len + (tail[len] == '\n');
    }
}

/* Decided in the head, at once: neither its start nor its time is worth a word. */
static bool is_decided(const struct view_progress *p, const char *address)
{
    uint32_t at = plan_graph_find(p->o.graph, address);

    return at != PLAN_NO_STEP && plan_graph_step(p->o.graph, at)->op->decide;
}

static void add_places(struct view_progress *p, const char *address, int attempt,
                       const char *cause)
{
    struct view_run r = {.root = p->o.root, .graph = p->o.graph};
    uint32_t at = plan_graph_find(p->o.graph, address);
    const char *hint = view_cause_hint(
        at == PLAN_NO_STEP ? NULL : plan_graph_step(p->o.graph, at), cause);
    struct rwf_str *out = lines(p);

    rwf_str_add(out, view_on(p->o.color, VIEW_DIM));
    if (at != PLAN_NO_STEP) {
        char *where = view_where(&r, plan_graph_step(p->o.graph, at));
        rwf_str_addf(out, "    recipe  %s\n", where);
        free(where);
    }
    if (attempt > 0 && p->run_id && !is_decided(p, address)) {
        char *dir = run_dir(p->o.root, p->run_id);
        char *sub = run_attempt_dir(address, attempt);
        struct run_step_state s = {.dir = sub};
        r.dir = dir;
        char *path = view_best_log(&r, &s);
        if (path)
            rwf_str_addf(out, "    log     %s\n", path);
        free(path);
        free(sub);
        free(dir);
    }
    if (hint)
        rwf_str_addf(out, "    hint    %s\n", hint);
    rwf_str_add(out, view_off(p->o.color));
}

static void took(struct view_progress *p, struct running *r)
{
    char text[RWF_UNITS_LEN];

    if (r && !is_decided(p, r->address))
        rwf_str_addf(lines(p), "  %s",
                     rwf_duration_format(rwf_clock_mono() - r->started, text));
}

/* --- events --- */

static void on_version(struct view_progress *p, const json_t *e)
{
    free(p->run_id);
    p->run_id = rwf_xstrdup(text_of(e, "run"));
}

static void on_run_started(struct view_progress *p, const json_t *e)
{
    int64_t steps = count_of(e, "steps");

    p->total = steps > 0 ? (size_t)steps : plan_graph_count(p->o.graph);
    if (!p->o.quiet)
        rwf_str_addf(lines(p), "run %s%s%s: %zu step%s\n",
                     view_on(p->o.color, VIEW_NAME), p->run_id ? p->run_id : "",
                     view_off(p->o.color), p->total, p->total == 1 ? "" : "s");
}

static void on_resumed(struct view_progress *p, const json_t *e)
{
    /* They had succeeded, and are to be done again. */
    size_t lost = json_array_size(json_object_get(e, "lost"));

    p->ended -= lost < p->ended ? lost : p->ended;
    p->total = plan_graph_count(p->o.graph);
    if (!p->o.quiet)
        rwf_str_addf(lines(p), "run %s%s%s goes on\n", view_on(p->o.color, VIEW_NAME),
                     p->run_id ? p->run_id : "", view_off(p->o.color));
}

static void on_started(struct view_progress *p, const json_t *e)
{
    struct running *r = begin(p, text_of(e, "step"));

    r->attempt = (int)count_of(e, "attempt");
    if (p->live || p->o.quiet || p->total > MANY || is_decided(p, r->address) ||
        view__progress_is_trial(p, r->address))
        return;
    line_start(p, STEP_RUNNING);
    const char *node = text_of(e, "node");
    rwf_str_addf(lines(p), "%s%s", r->address, r->attempt > 1 ? " again" : "");
    if (node && *node) {
        rwf_str_add(lines(p), "  on ");
        add_safe(p, node);
    }
    rwf_str_addc(lines(p), '\n');
}

static void on_queued(struct view_progress *p, const json_t *e)
{
    /* The picture says enough as long as something runs in it. */
    if ((p->live && p->count > 0) || p->o.quiet || p->total > MANY)
        return;
    line_start(p, STEP_QUEUED);
    rwf_str_addf(lines(p), "%s  ", text_of(e, "step"));
    add_safe(p, text_of(e, "reason"));
    rwf_str_addc(lines(p), '\n');
}

/* The first one that is far from nothing, and one that falls back, begin a pass. */
static void set_progress(struct running *r, double share)
{
    bool begins = r->progress < 0 ? share > 0.05 : share < r->progress;

    if (begins) {
        r->from = share;
        r->began = rwf_clock_mono();
    }
    r->progress = share;
}

static void on_progress(struct view_progress *p, const json_t *e)
{
    struct running *r = find(p, text_of(e, "step"));
    const json_t *share = json_object_get(e, "progress");

    if (!r)
        return;
    if (json_is_number(share))
        set_progress(r, json_number_value(share));
    if (json_object_get(e, "rows"))
        r->rows = count_of(e, "rows");
    if (json_object_get(e, "bytes"))
        r->bytes = count_of(e, "bytes");
    if (json_object_get(e, "message")) {
        free(r->note);
        r->note = rwf_xstrdup(text_of(e, "message"));
    }
    int64_t now = rwf_clock_mono();
    if (p->live || p->o.quiet || now - r->told < HEARTBEAT ||
        view__progress_is_trial(p, r->address))
        return;
    r->told = now;
    line_start(p, STEP_RUNNING);
    rwf_str_add(lines(p), r->address);
    view__progress_facts(lines(p), r, now);
    rwf_str_addc(lines(p), '\n');
}

static void on_metric(struct view_progress *p, const json_t *e)
{
    struct running *r = find(p, text_of(e, "step"));

    const json_t *metrics = json_object_get(e, "metrics");

    if (!r)
        return;
    if (!r->metrics)
        r->metrics = json_object();
    json_object_update(r->metrics, (json_t *)(uintptr_t)metrics);
    note_metrics(r, r->metrics);
    /* It says its rate itself: what it has read before is none. */
    if (json_object_get(metrics, "samples_per_second") ||
        json_object_get(metrics, "tokens_per_second"))
        r->rows = r->bytes = -1;
}

static void on_retry(struct view_progress *p, const json_t *e)
{
    struct running *r = find(p, text_of(e, "step"));

    line_start(p, STEP_BACKOFF);
    rwf_str_addf(lines(p), "%s  ", text_of(e, "step"));
    add_safe(p, text_of(e, "message"));
    const json_t *delay = json_object_get(e, "delay");
    rwf_str_addf(lines(p), "; attempt %d in %.3gs\n", (int)count_of(e, "attempt") + 1,
                 json_number_value(delay));
    if (r)
        r->waits = true;
}

static void on_succeeded(struct view_progress *p, const json_t *e)
{
    const char *address = text_of(e, "step");
    struct running *r = find(p, address);

    p->ended++;
    p->good++;
    if (!p->o.quiet && !view__progress_is_trial(p, address)) {
        line_start(p, STEP_SUCCEEDED);
        rwf_str_add(lines(p), address);
        took(p, r);
        struct running last = {0};
        note_metrics(&last, json_object_get(e, "metrics"));
        rwf_str_addf(lines(p), "%s%s\n", *last.note ? "  " : "", last.note);
        free(last.note);
    }
    if (r)
        forget(p, r);
}

static void on_cached(struct view_progress *p, const json_t *e)
{
    p->ended++;
    p->cached++;
    if (p->o.quiet || p->total > MANY || view__progress_is_trial(p, text_of(e, "step")))
        return;
    line_start(p, STEP_CACHED);
    rwf_str_addf(lines(p), "%s  cached\n", text_of(e, "step"));
}

static void on_failed(struct view_progress *p, const json_t *e)
{
    const char *address = text_of(e, "step"), *message = text_of(e, "message");
    int64_t attempt = count_of(e, "attempt");
    struct running *r = find(p, address);

    p->ended++;
    p->failed++;
    line_start(p, STEP_FAILED);
    rwf_str_addf(lines(p), "%s  ", address);
    add_safe(p, message);
    took(p, r);
    rwf_str_addc(lines(p), '\n');
    const struct view_trial *t = view_searches_trial(p->searches, address);
    if (!t || t->search->counts[VIEW_TRIAL_FAILED] < FAILURES) {
        add_tail(p, text_of(e, "tail"));
        add_places(p, address, r || attempt > 0 ? (int)attempt : 0,
                   text_of(e, "cause"));
    }
    if (r)
        forget(p, r);
}

static void on_skipped(struct view_progress *p, const json_t *e)
{
    const char *because = text_of(e, "because");

    p->ended++;
    if (p->o.quiet || p->total > MANY || view__progress_is_trial(p, text_of(e, "step")))
        return;
    line_start(p, STEP_SKIPPED);
    rwf_str_addf(lines(p), "%s  skipped: ", text_of(e, "step"));
    add_safe(p, because);
    rwf_str_addc(lines(p), '\n');
}

static void on_step_stopped(struct view_progress *p, const json_t *e)
{
    struct running *r = find(p, text_of(e, "step"));

    p->ended++;
    if (r && !p->o.quiet) {
        line_start(p, STEP_STOPPED);
        rwf_str_addf(lines(p), "%s  stopped", r->address);
        took(p, r);
        rwf_str_addc(lines(p), '\n');
    }
    if (r)
        forget(p, r);
}

static void on_preempted(struct view_progress *p, const json_t *e)
{
    struct running *r = find(p, text_of(e, "step"));

    if (r && !p->o.quiet && !view__progress_is_trial(p, r->address)) {
        line_start(p, STEP_STOPPED);
        rwf_str_addf(lines(p), "%s  makes room for a step of higher priority",
                     r->address);
        took(p, r);
        rwf_str_addc(lines(p), '\n');
    }
    if (r)
        forget(p, r);
}

static void on_stopping(struct view_progress *p, const json_t *e)
{
    static const struct {
        const char *reason, *words;
    } known[] = {
        {"signal", "stopping: running steps are asked to end; again: kill them"},
        {"stop", "stopping: somebody asked for it with raywf stop"},
        {"deadline", "stopping: the time of the run is over"},
        {"fail_fast", "stopping: a step failed, and --fail-fast was given"}};
    const char *reason = text_of(e, "reason"), *words = NULL;

    p->stopping = true;
    for (size_t i = 0; i < RWF_COUNT(known); i++)
        if (strcmp(known[i].reason, reason) == 0)
            words = known[i].words;
    line_start(p, STEP_STOPPED);
    rwf_str_addf(lines(p), "%s%s\n", words ? words : "stopping: ", words ? "" : reason);
}

/* A failed one was told as a step. Above a table only what is new at its top is told. */
static void on_trial_ended(struct view_progress *p, const json_t *e)
{
    struct view_trial *t = view_searches_trial(p->searches, text_of(e, "step"));

    if (!t || p->o.quiet || t->state == VIEW_TRIAL_FAILED)
        return;
    if (t != t->search->best && (p->live || t->search->total > MANY_TRIALS))
        return;
    line_start(p, view_trial_looks(t->state));
    view_trial_words(t, lines(p), p->o.color);
    rwf_str_addc(lines(p), '\n');
}

static void on_search_ended(struct view_progress *p, const json_t *e)
{
    if (p->o.quiet)
        return;
    line_start(p, STEP_STOPPED);
    rwf_str_addf(lines(p), "%s  no further trial begins: ", text_of(e, "search"));
    add_safe(p, text_of(e, "reason"));
    rwf_str_addc(lines(p), '\n');
}

static void on_serve(struct view_progress *p, enum run_event type, const json_t *e)
{
    struct rwf_str words = {0};
    enum schedule_state looks;

    if (view_serve_words(type, e, &looks, &words) &&
        (!p->o.quiet || looks == STEP_FAILED)) {
        line_start(p, looks);
        add_safe(p, words.data);
        rwf_str_addc(lines(p), '\n');
    }
    rwf_str_free(&words);
}

static void on_notify(struct view_progress *p, const json_t *e)
{
    if (json_is_true(json_object_get(e, "ok")))
        return;
    line_start(p, STEP_SKIPPED);
    rwf_str_add(lines(p), "notification not sent: ");
    add_safe(p, text_of(e, "message"));
    rwf_str_addc(lines(p), '\n');
}

static void (*const handlers[RUN_EVENT_COUNT])(struct view_progress *,
                                               const json_t *) = {
    [RUN_VERSION] = on_version,           [RUN_RUN_STARTED] = on_run_started,
    [RUN_RUN_RESUMED] = on_resumed,       [RUN_RUN_STOPPING] = on_stopping,
    [RUN_STEP_STARTED] = on_started,      [RUN_STEP_PROGRESS] = on_progress,
    [RUN_STEP_METRIC] = on_metric,        [RUN_STEP_RETRY] = on_retry,
    [RUN_STEP_SUCCEEDED] = on_succeeded,  [RUN_STEP_CACHED] = on_cached,
    [RUN_STEP_FAILED] = on_failed,        [RUN_STEP_SKIPPED] = on_skipped,
    [RUN_STEP_STOPPED] = on_step_stopped, [RUN_NOTIFY] = on_notify,
    [RUN_STEP_PREEMPTED] = on_preempted,  [RUN_TRIAL_ENDED] = on_trial_ended,
    [RUN_SEARCH_ENDED] = on_search_ended, [RUN_STEP_QUEUED] = on_queued,
};

void view_progress_event(void *progress, enum run_event type, const json_t *event)
{
    struct view_progress *p = progress;

    if (type >= RUN_EVENT_COUNT)
        return;
    if (p->live)
        view_live_lock(p->live);
    view_searches_event(p->searches, type, event);
    if (type >= RUN_SERVE_UP && type <= RUN_SERVE_DOWN)
        on_serve(p, type, event);
    if (handlers[type])
        handlers[type](p, event);
    if (p->live) {
        view_live_unlock(p->live);
    } else if (p->plain.len) {
        fwrite(p->plain.data, 1, p->plain.len, p->o.out);
        fflush(p->o.out);
        rwf_str_clear(&p->plain);
    }
}

/* Of a run that goes on: what its trials came to so far. */
static void read_before(struct view_progress *p)
{
    char *dir = run_dir(p->o.root, p->run_id);
    char *path = rwf_fs_join(dir, "events.ndjson");

    (void)view_searches_read(p->searches, path, NULL);
    free(path);
    free(dir);
}

struct view_progress *view_progress_create(const struct view_progress_options *options)
{
    struct view_progress *p = rwf_xcalloc(1, sizeof(*p));

    p->o = *options;
    p->started = rwf_clock_mono();
    p->total = plan_graph_count(options->graph);
    p->ended = options->ended;
    p->run_id = options->run ? rwf_xstrdup(options->run) : NULL;
    p->searches = view_searches_create(options->graph, 0);
    if (options->run && view_searches_count(p->searches) > 0)
        read_before(p);
    if (options->live) {
        fflush(options->out);
        p->live = view_live_create(fileno(options->out), view__progress_draw, p);
    }
    return p;
}

void view_progress_destroy(struct view_progress *p)
{
    if (!p)
        return;
    view_live_destroy(p->live);
    while (p->count)
        forget(p, &p->running[p->count - 1]);
    free(p->running);
    view_searches_destroy(p->searches);
    free(p->run_id);
    rwf_str_free(&p->plain);
    free(p);
}
