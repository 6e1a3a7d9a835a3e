/* SPDX-License-Identifier: Apache-2.0
 *
 * What the page shows of searches. Bounded: trials, and points of all their curves. A
 * trial is {n, state, value?, at?, last?, start?, end?, order?, rung?, from?, why?,
 * config, curve?: [x, y, …]}; times are ms since the start of the run.
 */
#include "config.h"
#include "view/report_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"
#include "view/search.h"

#define TRIALS_MAX 20000
#define POINTS_ALL 100000
#define POINTS_MAX 400
#define POINTS_MIN 8

/* More digits than a picture can show would be most of the page. */
static json_t *short_real(double value)
{
    char text[32];
    snprintf(text, sizeof(text), "%.7g", value);
    return json_real(strtod(text, NULL));
}

static void set_number(json_t *to, const char *name, double value)
{
    if (isfinite(value))
        json_object_set_new(to, name, short_real(value));
}

static void set_time(json_t *to, const char *name, const struct view_run *r, int64_t ns)
{
    if (ns > 0)
        set_number(to, name,
                   ns > r->state->started ? (double)(ns - r->state->started) /
                                                (double)RWF_NS_PER_MS
                                          : 0);
}

static json_t *curve_json(const struct view_trial *t)
{
    json_t *points = json_array();
    for (size_t i = 0; i < t->count; i++)
        json_array_append_new(points, short_real(t->points[i]));
    if (t->seen > 0 && (t->seen - 1) % t->stride != 0)
        for (int i = 0; i < 2; i++)
            json_array_append_new(points, short_real(t->newest[i]));
    return points;
}

static json_t *trial_json(const struct view_run *r, const struct view_trial *t)
{
    json_t *config = t->config == NULL ? json_object() : json_incref(t->config);
    json_t *json = json_pack("{s:i, s:s, s:o}", "n", (int)t->number, "state",
                             view_trial_state_name(t->state), "config", config);
    set_number(json, "value", t->value);
    set_number(json, "at", t->at);
    set_number(json, "last", t->last_at);
    set_time(json, "start", r, t->started);
    set_time(json, "end", r, t->ended);
    if (t->order > 0)
        json_object_set_new(json, "order", json_integer((json_int_t)t->order));
    if (t->rung > 0)
        set_number(json, "rung", t->rung);
    if (t->from >= 0)
        json_object_set_new(json, "from", json_integer(t->from));
    if (t->why != NULL)
        json_object_set_new(json, "why", run_text(t->why));
    if (t->seen > 0)
        json_object_set_new(json, "curve", curve_json(t));
    return json;
}

/* --- importance --- */

static bool is_listed(const json_t *param)
{
    const char *type = json_string_value(json_object_get(param, "type"));
    return type != NULL && (strcmp(type, "choice") == 0 || strcmp(type, "grid") == 0);
}

static double value_in(const json_t *param, const json_t *value)
{
    if (value == NULL)
        return NAN;
    if (!is_listed(param))
        return json_is_number(value) ? json_number_value(value) : NAN;
    size_t i;
    json_t *one;
    json_array_foreach(json_object_get(param, "values"), i, one)
        if (json_equal(one, value) ||
            (json_is_number(one) && json_is_number(value) &&
             json_number_value(one) == json_number_value(value)))
            return (double)i;
    return NAN;
}

static bool counts(const struct view_trial *t, bool completed)
{
    return isfinite(t->value) && (t->state == VIEW_TRIAL_COMPLETED ||
                                  (!completed && t->state == VIEW_TRIAL_STOPPED));
}

/* {KEY: share}: of completed trials, or of stopped ones too when those are few. */
static json_t *importance_json(const struct view_search *s, bool completed)
{
    double *x = rwf_xcalloc(s->count + 1, sizeof(*x));
    double *y = rwf_xcalloc(s->count + 1, sizeof(*y));
    json_t *out = json_object(), *param;
    const char *key;
    json_object_foreach(json_object_get(s->body, "space"), key, param) {
        size_t n = 0;
        for (size_t i = 0; i < s->count; i++)
            if (counts(s->trials[i], completed)) {
                x[n] = value_in(param, json_object_get(s->trials[i]->config, key));
                y[n++] = s->trials[i]->value;
            }
        set_number(out, key, view_importance(x, y, n, is_listed(param)));
    }
    free(x);
    free(y);
    return out;
}

/* --- a search --- */

static json_t *trials_json(const struct view_run *r, const struct view_search *s)
{
    json_t *list = json_array();
    size_t stride = (s->count + TRIALS_MAX - 1) / TRIALS_MAX;
    for (size_t i = 0; i < s->count; i++)
        if (i % stride == 0 || s->trials[i] == s->best)
            json_array_append_new(list, trial_json(r, s->trials[i]));
    return list;
}

static json_t *counts_json(const struct view_search *s)
{
    json_t *counts = json_object();
    for (int i = 0; i < VIEW_TRIAL_STATE_COUNT; i++)
        if (s->counts[i] > 0)
            json_object_set_new(counts,
                                view_trial_state_name((enum view_trial_state)i),
                                json_integer((json_int_t)s->counts[i]));
    return counts;
}

static void copy_body(json_t *to, const json_t *body)
{
    static const char *const names[] = {"target",    "help",        "space",
                                        "algorithm", "scheduler",   "num_samples",
                                        "stop",      "time_budget", "time_attr"};
    for (size_t i = 0; i < RWF_COUNT(names); i++) {
        json_t *value = json_object_get(body, names[i]);
        if (value != NULL)
            json_object_set(to, names[i], value);
    }
}

static json_t *search_json(const struct view_run *r, const struct view_search *s)
{
    bool completed = s->counts[VIEW_TRIAL_COMPLETED] >= 20;
    json_t *rungs = json_array();
    for (size_t i = 0; i < s->rung_count; i++)
        json_array_append_new(rungs, json_real(s->rungs[i]));
    json_t *json = json_pack(
        "{s:s, s:s, s:s, s:s, s:b, s:I, s:o, s:o, s:o, s:o, s:b}", "address",
        s->address, "metric", s->metric == NULL ? "metric" : s->metric, "mode",
        s->maximize ? "max" : "min", "unit", s->unit, "clones", s->clones, "total",
        (json_int_t)s->total, "counts", counts_json(s), "rungs", rungs, "trials",
        trials_json(r, s), "importance", importance_json(s, completed), "completed",
        completed);
    copy_body(json, s->body);
    if (s->best != NULL)
        json_object_set_new(json, "best", json_integer(s->best->number));
    if (s->over != NULL)
        json_object_set_new(json, "over", run_text(s->over));
    return json;
}

static size_t points_limit(const struct plan_graph *g)
{
    size_t trials = 1;
    for (size_t i = 0; g != NULL && i < plan_graph_count(g); i++)
        trials += plan_graph_step(g, (uint32_t)i)->is_trial;
    size_t share = POINTS_ALL / trials;
    return share > POINTS_MAX ? POINTS_MAX : share < POINTS_MIN ? POINTS_MIN : share;
}

json_t *view_search_report(const struct view_run *r, const char *log_path)
{
    struct view_searches *all = view_searches_create(r->graph, points_limit(r->graph));
    json_t *list = NULL;
    if (view_searches_read(all, log_path, NULL) == 0 && view_searches_count(all) > 0) {
        list = json_array();
        for (size_t i = 0; i < view_searches_count(all); i++)
            json_array_append_new(list, search_json(r, view_searches_at(all, i)));
    }
    view_searches_destroy(all);
    return list;
}
