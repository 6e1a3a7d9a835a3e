/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "view/search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/map.h"
#include "base/mem.h"

#define RUNGS_MAX 64

struct view_searches {
    const struct plan_graph *graph;
    struct rwf_map *searches; /* by address */
    struct rwf_map *trials;   /* by address */
    size_t points;
};

static const struct {
    const char *name;
    enum schedule_state looks;
    bool over;
} states[VIEW_TRIAL_STATE_COUNT] = {
    [VIEW_TRIAL_WAITS] = {"waits", STEP_QUEUED, false},
    [VIEW_TRIAL_RUNNING] = {"running", STEP_RUNNING, false},
    [VIEW_TRIAL_PAUSED] = {"paused", STEP_BACKOFF, false},
    [VIEW_TRIAL_COMPLETED] = {"completed", STEP_SUCCEEDED, true},
    [VIEW_TRIAL_STOPPED] = {"stopped", STEP_STOPPED, true},
    [VIEW_TRIAL_FAILED] = {"failed", STEP_FAILED, true},
    [VIEW_TRIAL_SKIPPED] = {"skipped", STEP_SKIPPED, true},
};

const char *view_trial_state_name(enum view_trial_state state)
{
    return states[state].name;
}

enum schedule_state view_trial_looks(enum view_trial_state state)
{
    return states[state].looks;
}

bool view_trial_over(enum view_trial_state state)
{
    return states[state].over;
}

bool view_search_better(const struct view_search *s, double a, double b)
{
    if (isnan(a) || isnan(b))
        return !isnan(a);
    return s->maximize ? a > b : a < b;
}

/* --- what is looked for --- */

static const char *text_of(const json_t *from, const char *name)
{
    return json_string_value(json_object_get(from, name));
}

static void describe(struct view_search *s, json_t *body)
{
    const json_t *scheduler = json_object_get(body, "scheduler");
    const char *mode = text_of(body, "mode"), *unit = text_of(body, "time_attr");
    const char *type = json_is_object(scheduler) ? text_of(scheduler, "type")
                                                 : json_string_value(scheduler);

    s->body = body;
    s->metric = text_of(body, "metric");
    s->unit = unit ? unit : "report";
    s->maximize = mode && strcmp(mode, "max") == 0;
    s->clones = type && strcmp(type, "pbt") == 0;
}

static struct view_search *search_new(struct view_searches *all, const char *address)
{
    struct view_search *s = rwf_xcalloc(1, sizeof(*s));

    s->address = rwf_xstrdup(address);
    s->unit = "report";
    rwf_map_set(all->searches, address, s);
    return s;
}

static void from_plan(struct view_searches *all)
{
    const struct plan_graph *g = all->graph;

    for (size_t i = 0; i < plan_graph_count(g); i++) {
        const struct plan_step *p = plan_graph_step(g, (uint32_t)i);
        if (p->op->trials)
            describe(search_new(all, p->address), plan_search_body(g, p, NULL));
    }
    for (size_t i = 0; i < plan_graph_count(g); i++) {
        const struct plan_step *p = plan_graph_step(g, (uint32_t)i);
        struct view_search *s =
            p->is_trial ? rwf_map_get(all->searches, p->entry) : NULL;
        if (s)
            s->total++;
    }
}

struct view_searches *view_searches_create(const struct plan_graph *graph,
                                           size_t points)
{
    struct view_searches *all = rwf_xcalloc(1, sizeof(*all));

    all->graph = graph;
    all->points = points;
    all->searches = rwf_map_create();
    all->trials = rwf_map_create();
    if (graph)
        from_plan(all);
    return all;
}

static void trial_free(void *value)
{
    struct view_trial *t = value;

    free(t->address);
    free(t->why);
    free(t->points);
    json_decref(t->config);
    free(t);
}

static void search_free(void *value)
{
    struct view_search *s = value;

    free(s->address);
    free(s->trials);
    free(s->rungs);
    free(s->over);
    json_decref(s->body);
    free(s);
}

void view_searches_destroy(struct view_searches *all)
{
    if (!all)
        return;
    rwf_map_destroy(all->trials, trial_free);
    rwf_map_destroy(all->searches, search_free);
    free(all);
}

size_t view_searches_count(const struct view_searches *all)
{
    return rwf_map_count(all->searches);
}

struct view_search *view_searches_at(const struct view_searches *all, size_t i)
{
    return rwf_map_value_at(all->searches, i);
}

struct view_trial *view_searches_trial(const struct view_searches *all,
                                       const char *address)
{
    return address ? rwf_map_get(all->trials, address) : NULL;
}

/* From the last dot but `dots`. */
static const char *tail_of(const char *key, int dots)
{
    const char *at = key + strlen(key);

    while (at > key && (at[-1] != '.' || dots-- > 0))
        at--;
    return at;
}

const char *view_search_short(const struct view_search *s, const char *key)
{
    const json_t *space = json_object_get(s->body, "space");
    const char *other, *found = key;
    json_t *value;

    for (int dots = 0; dots < 8; dots++) {
        size_t same = 0;
        found = tail_of(key, dots);
        json_object_foreach((json_t *)(uintptr_t)space, other, value)
            same += strcmp(other, key) != 0 && strcmp(tail_of(other, dots), found) == 0;
        if (same == 0)
            break;
    }
    return found;
}

/* --- events of a trial --- */

/* "tune.rate[trial=3]" without its end; the caller's. */
static char *entry_of(const char *address)
{
    return rwf_xstrndup(address, strcspn(address, "["));
}

static struct view_trial *trial_new(struct view_searches *all, const char *address,
                                    const json_t *event)
{
    char *entry = entry_of(address);
    struct view_search *s = rwf_map_get(all->searches, entry);
    struct view_trial *t = rwf_xcalloc(1, sizeof(*t));

    if (!s)
        s = search_new(all, entry);
    free(entry);
    t->search = s;
    t->address = rwf_xstrdup(address);
    t->number = (uint32_t)json_integer_value(json_object_get(event, "trial"));
    t->value = t->at = t->last_at = t->last_step = NAN;
    t->from = -1;
    t->stride = 1;
    s->counts[t->state]++;
    *RWF_PUSH(s->trials, s->count, s->cap) = t;
    if (s->total < s->count)
        s->total = s->count;
    rwf_map_set(all->trials, address, t);
    return t;
}

static void set_state(struct view_trial *t, enum view_trial_state state)
{
    t->search->counts[t->state]--;
    t->search->counts[state]++;
    t->state = state;
}

static void set_text(char **to, const char *text)
{
    free(*to);
    *to = text && *text ? rwf_xstrdup(text) : NULL;
}

static void set_config(struct view_trial *t, const json_t *event)
{
    json_t *config = json_object_get(event, "config");

    if (!json_is_object(config))
        return;
    json_decref(t->config);
    t->config = json_deep_copy(config); /* the thread that draws reads it */
}

static double number_of(const json_t *event, const char *name)
{
    const json_t *value = json_object_get(event, name);

    return json_is_number(value) ? json_number_value(value) : NAN;
}

static int64_t wall_of(const json_t *event)
{
    const char *ts = text_of(event, "ts");
    int64_t ns = ts ? rwf_clock_parse(ts) : 0;

    return ns > 0 ? ns : rwf_clock_wall();
}

/* --- reports --- */

/* When a report came, as its search counts; NaN: it does not count. */
static double time_of(struct view_trial *t, const json_t *event, const json_t *metrics)
{
    double step = number_of(event, "at");

    t->reports++;
    if (strcmp(t->search->unit, "epoch") == 0)
        return number_of(metrics, "epoch");
    if (isnan(step))
        return t->reports;
    if (strcmp(t->search->unit, "step") == 0)
        return step;
    if (!isnan(t->last_step) && step <= t->last_step)
        return NAN;
    t->last_step = step;
    return ++t->counted;
}

/* Every second point goes: the curve keeps its shape. */
static void thin_out(struct view_trial *t)
{
    size_t kept = 0;

    for (size_t i = 0; i < t->count; i += 4, kept += 2)
        memmove(t->points + kept, t->points + i, 2 * sizeof(double));
    t->count = kept;
    t->stride *= 2;
}

static void add_point(struct view_trial *t, double x, double y, size_t limit)
{
    t->newest[0] = x;
    t->newest[1] = y;
    if (limit == 0 || t->seen++ % t->stride != 0)
        return;
    *RWF_PUSH(t->points, t->count, t->cap) = x;
    *RWF_PUSH(t->points, t->count, t->cap) = y;
    if (t->count / 2 >= limit)
        thin_out(t);
}

static void on_metric(struct view_searches *all, struct view_trial *t,
                      const json_t *event)
{
    const json_t *metrics = json_object_get(event, "metrics");
    struct view_search *s = t->search;
    double y = s->metric ? number_of(metrics, s->metric) : NAN;
    double x = isnan(y) ? NAN : time_of(t, event, metrics);

    if (isnan(x) || view_trial_over(t->state))
        return;
    t->last_at = x;
    t->value = y;
    t->at = x;
    add_point(t, x, y, all->points);
}

/* --- what becomes of a trial --- */

static void on_started(struct view_searches *all, struct view_trial *t,
                       const json_t *event)
{
    (void)all;
    if (t->started == 0)
        t->started = wall_of(event);
    t->reports = 0;
    set_state(t, VIEW_TRIAL_RUNNING);
}

static void add_rung(struct view_search *s, double rung)
{
    size_t i = 0;

    while (i < s->rung_count && s->rungs[i] < rung)
        i++;
    if ((i < s->rung_count && s->rungs[i] == rung) || s->rung_count == RUNGS_MAX)
        return;
    *RWF_PUSH(s->rungs, s->rung_count, s->rung_cap) = rung;
    memmove(s->rungs + i + 1, s->rungs + i, (s->rung_count - 1 - i) * sizeof(double));
    s->rungs[i] = rung;
}

static void on_rung(struct view_searches *all, struct view_trial *t,
                    const json_t *event)
{
    double rung = number_of(event, "rung");

    (void)all;
    if (!(rung > 0))
        return;
    add_rung(t->search, rung);
    if (rung > t->rung)
        t->rung = rung;
}

static void on_stopped(struct view_searches *all, struct view_trial *t,
                       const json_t *event)
{
    on_rung(all, t, event);
    set_text(&t->why, text_of(event, "reason"));
}

static void on_paused(struct view_searches *all, struct view_trial *t,
                      const json_t *event)
{
    on_rung(all, t, event);
    set_state(t, VIEW_TRIAL_PAUSED);
}

static void on_resumed(struct view_searches *all, struct view_trial *t,
                       const json_t *event)
{
    on_rung(all, t, event);
    set_state(t, VIEW_TRIAL_WAITS);
}

/* It goes on where the other was. */
static void on_cloned(struct view_searches *all, struct view_trial *t,
                      const json_t *event)
{
    int64_t from = json_integer_value(json_object_get(event, "from"));
    struct view_search *s = t->search;

    (void)all;
    set_config(t, event);
    t->from = from;
    t->last_step = NAN;
    for (size_t i = 0; i < s->count; i++)
        if (s->trials[i]->number == from)
            t->counted = s->trials[i]->counted;
}

static void on_preempted(struct view_searches *all, struct view_trial *t,
                         const json_t *event)
{
    bool paused = json_is_true(json_object_get(event, "paused"));

    (void)all;
    set_state(t, paused ? VIEW_TRIAL_PAUSED : VIEW_TRIAL_WAITS);
}

static void on_failed(struct view_searches *all, struct view_trial *t,
                      const json_t *event)
{
    (void)all;
    if (!t->why)
        set_text(&t->why, text_of(event, "message"));
}

static void on_skipped(struct view_searches *all, struct view_trial *t,
                       const json_t *event)
{
    (void)all;
    set_text(&t->why, text_of(event, "because"));
    set_state(t, VIEW_TRIAL_SKIPPED);
}

/* Whoever stops the run does not end its trials. */
static void on_waits(struct view_searches *all, struct view_trial *t,
                     const json_t *event)
{
    (void)all, (void)event;
    set_state(t, VIEW_TRIAL_WAITS);
}

static struct view_trial *by_number(const struct view_search *s, int64_t number)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->trials[i]->number == number)
            return s->trials[i];
    return NULL;
}

static void take_best(struct view_search *s, struct view_trial *t, const json_t *event)
{
    const json_t *best = json_object_get(event, "best");

    if (!json_is_integer(best) ||
        (s->best && json_integer_value(best) == s->best->number))
        return;
    struct view_trial *now = json_integer_value(best) == t->number
                                 ? t
                                 : by_number(s, json_integer_value(best));
    if (!s->body && s->best && now && now != s->best)
        s->maximize = now->value > s->best->value;
    if (now)
        s->best = now;
}

static void on_ended(struct view_searches *all, struct view_trial *t,
                     const json_t *event)
{
    const char *status = text_of(event, "status");
    double value = number_of(event, "value"), at = number_of(event, "at");

    (void)all;
    for (int i = 0; i < VIEW_TRIAL_STATE_COUNT; i++)
        if (status && strcmp(states[i].name, status) == 0)
            set_state(t, (enum view_trial_state)i);
    if (!isnan(value))
        t->value = value;
    if (!isnan(at))
        t->at = at;
    if (t->state == VIEW_TRIAL_COMPLETED)
        set_text(&t->why, NULL);
    t->ended = wall_of(event);
    t->order = ++t->search->ended;
    take_best(t->search, t, event);
}

typedef void (*trial_fn)(struct view_searches *, struct view_trial *, const json_t *);
static const trial_fn rows[RUN_EVENT_COUNT] = {
    [RUN_STEP_STARTED] = on_started,     [RUN_STEP_METRIC] = on_metric,
    [RUN_STEP_PREEMPTED] = on_preempted, [RUN_STEP_FAILED] = on_failed,
    [RUN_STEP_SKIPPED] = on_skipped,     [RUN_STEP_STOPPED] = on_waits,
    [RUN_TRIAL_PROMOTED] = on_rung,      [RUN_TRIAL_STOPPED] = on_stopped,
    [RUN_TRIAL_PAUSED] = on_paused,      [RUN_TRIAL_RESUMED] = on_resumed,
    [RUN_TRIAL_CLONED] = on_cloned,      [RUN_TRIAL_ENDED] = on_ended,
};

/* --- events --- */

/* Nothing runs any more of what ran before. */
static void all_wait(struct view_searches *all)
{
    for (size_t i = 0; i < rwf_map_count(all->trials); i++) {
        struct view_trial *t = rwf_map_value_at(all->trials, i);
        if (t->state == VIEW_TRIAL_RUNNING)
            set_state(t, VIEW_TRIAL_WAITS);
    }
}

/* Suggested, or never so: a trial of a search that was over before it. */
static struct view_trial *trial_for(struct view_searches *all, enum run_event type,
                                    const char *address, const json_t *event)
{
    struct view_trial *t = rwf_map_get(all->trials, address);

    if (t || type != RUN_TRIAL_SUGGESTED)
        return t;
    return trial_new(all, address, event);
}

void view_searches_event(struct view_searches *all, enum run_event type,
                         const json_t *event)
{
    const char *address = text_of(event, "step"), *search = text_of(event, "search");
    struct view_search *s = search ? rwf_map_get(all->searches, search) : NULL;

    if (type >= RUN_EVENT_COUNT)
        return;
    if (type == RUN_RUN_RESUMED)
        all_wait(all);
    if (type == RUN_SEARCH_ENDED && s)
        set_text(&s->over, text_of(event, "reason"));
    struct view_trial *t = address ? trial_for(all, type, address, event) : NULL;
    if (!t)
        return;
    if (type == RUN_TRIAL_SUGGESTED)
        set_config(t, event);
    else if (rows[type])
        rows[type](all, t, event);
}

static int on_line(void *ctx, const json_t *event)
{
    view_searches_event(ctx, run_event_parse(text_of(event, "type")), event);
    return 0;
}

int view_searches_read(struct view_searches *all, const char *log_path,
                       struct rwf_err *err)
{
    return run_log_read(log_path, 0, on_line, all, NULL, err);
}
