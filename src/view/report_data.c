/* SPDX-License-Identifier: Apache-2.0
 *
 * All that the page shows, as one JSON document:
 *
 *   run     id, name, status, times, exit code, counts      segments, notices, machine
 *   steps   those kept: state, attempts, metrics, curves, outputs, logs …
 *   checks  value, bound and verdict of each       config   parameters, recipe's text
 *   searches  those of report_search.c             served  decisions of the server
 *
 * Text of other people goes through run_text: it is always UTF-8, never markup.
 */
#include "config.h"
#include "view/report_parts.h"

#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/redact.h"
#include "base/str.h"
#include "run/log.h"
#include "view/search.h"

#define NEEDS_MAX 50
#define OUTPUTS_MAX 100
#define TEXT_MAX (1024 * 1024) /* of one file of the recipe */

/* Leaves a member out rather than have it null. */
static void set(json_t *to, const char *name, json_t *value)
{
    if (value != NULL && !json_is_null(value))
        json_object_set_new(to, name, value);
    else
        json_decref(value);
}

static void set_text(json_t *to, const char *name, const char *text)
{
    if (text != NULL && *text != '\0')
        json_object_set_new(to, name, run_text(text));
}

static void set_ref(json_t *to, const char *name, const json_t *value)
{
    set(to, name, json_incref((json_t *)(uintptr_t)value));
}

static json_t *wall_ms(int64_t ns)
{
    return ns <= 0 ? NULL : json_integer(ns / RWF_NS_PER_MS);
}

/* --- the run --- */

static json_t *counts_json(const struct run_state *s)
{
    json_t *counts = json_object();
    for (int i = 0; i < STEP_STATE_COUNT; i++)
        if (s->counts[i] > 0)
            json_object_set_new(counts, schedule_state_name((enum schedule_state)i),
                                json_integer((json_int_t)s->counts[i]));
    return counts;
}

static json_t *run_json(const struct view__report *r)
{
    const struct run_state *s = r->run->state;
    json_t *run = json_pack(
        "{s:s, s:o, s:I, s:I, s:I, s:f}", "status", r->status, "counts", counts_json(s),
        "total", (json_int_t)s->total, "events", (json_int_t)s->seq, "made",
        (json_int_t)(rwf_clock_wall() / RWF_NS_PER_MS), "last", r->last);
    set_text(run, "id", s->id);
    set_text(run, "name", s->name);
    set_text(run, "recipe", s->recipe);
    set_text(run, "message", s->message);
    set(run, "started", wall_ms(s->started));
    set(run, "ended", wall_ms(s->ended));
    set_ref(run, "raywf", r->raywf);
    if (s->exit_code >= 0) {
        json_object_set_new(run, "exit_code", json_integer(s->exit_code));
        set_text(run, "exit_help", rwf_exit_help(s->exit_code));
    }
    return run;
}

/* --- steps --- */

static json_t *outputs_json(const json_t *outputs)
{
    json_t *list = json_array(), *one;
    const char *name;
    json_object_foreach((json_t *)(uintptr_t)outputs, name, one) {
        if (json_array_size(list) == OUTPUTS_MAX)
            break;
        json_t *item = json_pack("{s:s}", "name", name);
        set_ref(item, "path", json_object_get(one, "path"));
        set_ref(item, "digest", json_object_get(one, "digest"));
        set_ref(item, "size", json_object_get(one, "size"));
        set_ref(item, "files", json_object_get(one, "files"));
        json_array_append_new(list, item);
    }
    return list;
}

static json_t *needs_json(const struct view__report *r, const struct plan_step *plan)
{
    json_t *list = json_array();
    for (size_t i = 0; i < plan->need_count && i < NEEDS_MAX; i++)
        json_array_append_new(
            list, run_text(plan_graph_step(r->run->graph, plan->needs[i])->address));
    return list;
}

static void add_plan(const struct view__report *r, json_t *json,
                     const struct plan_step *plan)
{
    const struct plan_policy *policy = plan->policy;
    uint32_t line;
    set_text(json, "help", recipe_text(recipe_get(plan->body, "help"), NULL));
    set_text(json, "file", view_where_file(r->run, plan, &line));
    json_object_set_new(json, "line", json_integer(line));
    if (plan->need_count > 0) {
        json_object_set_new(json, "needs", needs_json(r, plan));
        json_object_set_new(json, "need_count",
                            json_integer((json_int_t)plan->need_count));
    }
    if (policy == NULL)
        return;
    json_t *asked = json_pack("{s:f}", "cpu", policy->cpu);
    if (policy->memory > 0)
        json_object_set_new(asked, "memory", json_integer(policy->memory));
    if (policy->gpu > 0)
        json_object_set_new(asked, "gpu", json_real(policy->gpu));
    if (policy->timeout > 0)
        json_object_set_new(asked, "timeout",
                            json_integer(policy->timeout / RWF_NS_PER_MS));
    json_object_set_new(asked, "retries", json_integer(policy->retry_max));
    json_object_set_new(json, "asked", asked);
}

static void add_state(const struct view__report *r, json_t *json,
                      const struct run_step_state *s)
{
    if (s->started > 0)
        json_object_set_new(json, "start", json_real(view__since_start(r, s->started)));
    if (s->ended > 0)
        json_object_set_new(json, "end", json_real(view__since_start(r, s->ended)));
    if (!schedule_state_final(s->state) && s->progress >= 0)
        json_object_set_new(json, "progress", json_real(s->progress));
    if (s->rows >= 0)
        json_object_set_new(json, "rows", json_integer(s->rows));
    if (s->bytes >= 0)
        json_object_set_new(json, "bytes", json_integer(s->bytes));
    set_text(json, "cause", s->cause);
    set_text(json, "message", s->message);
    set_text(json, "key", s->key);
    set_text(json, "origin", s->origin);
    set_text(json, "dir", s->dir);
    set_text(json, "node", s->node);
    set_ref(json, "metrics", s->metrics);
    set_ref(json, "usage", s->usage);
    if (json_object_size(s->outputs) > 0)
        json_object_set_new(json, "outputs", outputs_json(s->outputs));
}

static json_t *step_json(const struct view__report *r, const struct view__step *step)
{
    enum schedule_state state = step->state == NULL ? STEP_PENDING : step->state->state;
    json_t *json =
        json_pack("{s:o, s:s, s:O}", "address", run_text(step->address), "state",
                  schedule_state_name(state), "attempts", step->attempts);
    if (step->plan != NULL)
        add_plan(r, json, step->plan);
    if (step->state != NULL)
        add_state(r, json, step->state);
    json_t *series = view__history_series(step);
    if (json_object_size(series) > 0)
        json_object_set(json, "series", series);
    json_decref(series);
    if (json_array_size(step->logs) > 0)
        json_object_set(json, "logs", step->logs);
    if (step->plan == NULL || step->plan->op->command != NULL)
        set_text(json, "command", step->command);
    json_object_update_missing(json, step->told);
    return json;
}

/* --- checks --- */

/* Without a graph all that is known of a check is what the log says. */
static json_t *told_checks(const struct view__report *r)
{
    json_t *list = json_array();
    for (size_t i = 0; i < r->count; i++) {
        const struct view__step *step = &r->steps[i];
        if (!step->kept || !rwf_starts_with(step->address, "checks."))
            continue;
        json_t *check = json_pack("{s:o, s:o, s:s}", "address", run_text(step->address),
                                  "name", run_text(strchr(step->address, '.') + 1),
                                  "state", schedule_state_name(step->state->state));
        set_text(check, "message", step->state->message);
        json_array_append_new(list, check);
    }
    return list;
}

static json_t *checks_json(const struct view__report *r)
{
    return r->run->graph == NULL ? told_checks(r) : view_checks(r->run);
}

/* --- configuration --- */

static bool was_given(const json_t *given, const char *name)
{
    size_t i;
    json_t *pair;
    json_array_foreach(json_object_get(given, "params"), i, pair) {
        const char *other = json_string_value(json_array_get(pair, 0));
        if (other != NULL && strcmp(other, name) == 0)
            return true;
    }
    return false;
}

static json_t *params_json(const struct view__report *r, const json_t *given)
{
    json_t *list = json_array(), *pair;
    size_t k;
    if (r->run->graph == NULL) {
        json_array_foreach(json_object_get(given, "params"), k, pair)
            json_array_append_new(list, json_pack("{s:O?, s:O?, s:b}", "name",
                                                  json_array_get(pair, 0), "value",
                                                  json_array_get(pair, 1), "given", 1));
        return list;
    }
    const struct recipe *recipe = plan_graph_recipe(r->run->graph);
    const char *name;
    for (size_t i = 0; (name = recipe_param_at(recipe, i)) != NULL; i++) {
        const struct recipe_node *value = recipe_param(recipe, name);
        json_t *param = json_pack("{s:o, s:b}", "name", run_text(name), "given",
                                  (int)was_given(given, name));
        set_text(param, "value", recipe_text(value, NULL));
        json_array_append_new(list, param);
    }
    return list;
}

static json_t *files_json(const json_t *snapshot)
{
    json_t *list = json_array(), *file;
    size_t i;
    json_array_foreach(json_object_get(snapshot, "files"), i, file) {
        const char *text = json_string_value(json_object_get(file, "text"));
        json_t *item = json_object();
        set_ref(item, "path", json_object_get(file, "path"));
        set_ref(item, "shown", json_object_get(file, "shown"));
        set_ref(item, "sha256", json_object_get(file, "sha256"));
        if (text != NULL && strlen(text) <= TEXT_MAX)
            set_text(item, "text", text);
        json_array_append_new(list, item);
    }
    return list;
}

static json_t *config_json(const struct view__report *r)
{
    const json_t *snapshot = json_object_get(r->run->plan, "recipe");
    const json_t *given = json_object_get(snapshot, "given");
    json_t *config = json_pack("{s:o, s:o}", "params", params_json(r, given), "files",
                               files_json(snapshot));
    set_ref(config, "profile", json_object_get(given, "profile"));
    set_ref(config, "sets", json_object_get(given, "sets"));
    set_ref(config, "only", json_object_get(r->run->plan, "only"));
    set_ref(config, "from", json_object_get(r->run->plan, "from"));
    return config;
}

json_t *view__report_data(const struct view__report *r)
{
    json_t *steps = json_array();
    for (size_t i = 0; i < r->count; i++)
        if (r->steps[i].kept)
            json_array_append_new(steps, step_json(r, &r->steps[i]));
    json_t *data = json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:O, s:O, s:O}", "v", "1.0",
                             "version", PACKAGE_VERSION, "run", run_json(r), "steps",
                             steps, "checks", checks_json(r), "config", config_json(r),
                             "segments", r->segments, "notices", r->notices,
                             "served", r->served);
    set_ref(data, "machine", r->machine);
    char *log = rwf_fs_join(r->run->dir, "events.ndjson");
    set(data, "searches", view_search_report(r->run, log));
    free(log);
    if (!rwf_redact_active())
        return data;
    json_t *clean = run_redacted(data);
    json_decref(data);
    return clean;
}
