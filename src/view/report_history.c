/* SPDX-License-Identifier: Apache-2.0
 *
 * What the state of a run does not keep, read from its log: each attempt, the course of
 * each metric, and when somebody drove the run.
 */
#include "config.h"
#include "view/report_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"
#include "run/log.h"
#include "view/serve.h"

#define SERIES_PER_STEP 64
#define POINTS_ALL 150000 /* of all curves, about */
#define POINTS_MAX 1000   /* of one */
#define POINTS_MIN 60
#define NOTICES_MAX 100
#define SERVED_MAX 500

double view__since_start(const struct view__report *r, int64_t wall_ns)
{
    int64_t since = wall_ns - r->run->state->started;
    return wall_ns <= 0 || since <= 0 ? 0 : (double)(since / 1000) / 1000;
}

static double time_of(const struct view__report *r, const json_t *event)
{
    const char *ts = json_string_value(json_object_get(event, "ts"));
    return ts == NULL ? 0 : view__since_start(r, rwf_clock_parse(ts));
}

static void copy_members(json_t *to, const json_t *event, const char *const *names)
{
    for (; *names != NULL; names++) {
        json_t *value = json_object_get(event, *names);
        if (value != NULL && !json_is_null(value))
            json_object_set(to, *names, value);
    }
}

/* --- attempts --- */

static json_t *open_attempt(const struct view__step *step)
{
    size_t count = json_array_size(step->attempts);
    json_t *last = count == 0 ? NULL : json_array_get(step->attempts, count - 1);
    return json_object_get(last, "end") == NULL ? last : NULL;
}

static void attempt_begins(const struct view__report *r, struct view__step *step,
                           const json_t *event)
{
    static const char *const names[] = {"dir", "gpus", "node", NULL};
    json_t *attempt = json_pack("{s:O?, s:f}", "n", json_object_get(event, "attempt"),
                                "start", time_of(r, event));
    copy_members(attempt, event, names);
    json_array_append_new(step->attempts, attempt);
}

static void attempt_ends(struct view__step *step, const json_t *event, double when,
                         const char *how)
{
    static const char *const names[] = {"cause", "message", "exit", "delay", NULL};
    json_t *attempt = open_attempt(step);
    if (attempt == NULL)
        return;
    json_object_set_new(attempt, "end", json_real(when));
    json_object_set_new(attempt, "how", json_string(how));
    copy_members(attempt, event, names);
}

/* --- metrics --- */

static struct view__series *series_of(struct view__step *step, const char *name)
{
    for (size_t i = 0; i < step->series_count; i++)
        if (strcmp(step->series[i].name, name) == 0)
            return &step->series[i];
    if (step->series_count == SERIES_PER_STEP)
        return NULL;
    struct view__series *s =
        RWF_PUSH(step->series, step->series_count, step->series_cap);
    *s = (struct view__series){.name = rwf_xstrdup(name), .stride = 1};
    return s;
}

static size_t points_limit(const struct view__report *r)
{
    size_t share = POINTS_ALL / (r->kept + 1);
    return share > POINTS_MAX ? POINTS_MAX : share < POINTS_MIN ? POINTS_MIN : share;
}

/* Halves the points when there are too many: the curve keeps its shape. */
static void thin_out(struct view__series *s)
{
    size_t kept = 0;
    for (size_t i = 0; i < s->count; i += 6, kept += 3)
        memmove(s->points + kept, s->points + i, 3 * sizeof(double));
    s->count = kept;
    s->stride *= 2;
}

static void add_point(struct view__series *s, const double point[3], size_t limit)
{
    memcpy(s->last, point, sizeof(s->last));
    if (s->seen++ % s->stride != 0)
        return;
    for (int i = 0; i < 3; i++)
        *RWF_PUSH(s->points, s->count, s->cap) = point[i];
    if (s->count / 3 >= limit)
        thin_out(s);
}

/* An attempt that goes on from a checkpoint does steps again. */
static void go_back(struct view__series *s, double step)
{
    while (s->count > 0 && s->points[s->count - 3] >= step)
        s->count -= 3;
}

static void metrics_come(const struct view__report *r, struct view__step *step,
                         const json_t *event)
{
    const json_t *at = json_object_get(event, "at");
    double point[3] = {json_is_number(at) ? json_number_value(at) : NAN,
                       time_of(r, event), 0};
    const char *name;
    json_t *value;
    json_object_foreach(json_object_get(event, "metrics"), name, value) {
        struct view__series *s = json_is_number(value) ? series_of(step, name) : NULL;
        point[2] = json_number_value(value);
        /* A value of the whole, after a curve over steps, is no point of it. */
        if (s == NULL || (isnan(point[0]) && s->seen > 0 && !isnan(s->last[0])))
            continue;
        go_back(s, point[0]);
        add_point(s, point, points_limit(r));
    }
}

static bool has_counter(const struct view__series *s)
{
    for (size_t i = 0; i < s->count; i += 3)
        if (isnan(s->points[i]))
            return false;
    return !isnan(s->last[0]);
}

static void put_point(json_t *to, const double *point, bool counter)
{
    json_array_append_new(to, json_real(point[counter ? 0 : 1]));
    json_array_append_new(to, json_real(point[2]));
}

json_t *view__history_series(const struct view__step *step)
{
    json_t *all = json_object();
    for (size_t i = 0; i < step->series_count; i++) {
        const struct view__series *s = &step->series[i];
        bool counter = has_counter(s);
        json_t *points = json_array();
        if (s->seen < 2)
            goto next;
        for (size_t k = 0; k < s->count; k += 3)
            put_point(points, s->points + k, counter);
        if ((s->seen - 1) % s->stride != 0)
            put_point(points, s->last, counter);
        json_object_set_new(
            all, s->name,
            json_pack("{s:s, s:O}", "x", counter ? "step" : "time", "p", points));
    next:
        json_decref(points);
    }
    return all;
}

/* --- the run --- */

static json_t *last_segment(const struct view__report *r)
{
    return json_array_get(r->segments, json_array_size(r->segments) - 1);
}

static void run_ends(const struct view__report *r, double when, const char *how)
{
    json_t *segment = last_segment(r);
    if (segment == NULL || json_object_get(segment, "end") != NULL)
        return;
    json_object_set_new(segment, "end", json_real(when));
    json_object_set_new(segment, "how", json_string(how));
}

static void run_begins(const struct view__report *r, const json_t *event)
{
    json_array_append_new(r->segments, json_pack("{s:f}", "start", time_of(r, event)));
}

/* Whoever drove the run before is gone, and its processes with it. */
static void run_resumes(struct view__report *r, const json_t *event)
{
    run_ends(r, r->last, "lost");
    for (size_t i = 0; i < r->count; i++)
        if (r->steps[i].kept)
            attempt_ends(&r->steps[i], NULL, r->last, "lost");
    run_begins(r, event);
}

static void notice(const struct view__report *r, const json_t *event)
{
    static const char *const names[] = {"type", "reason", "url", "ok", "message", NULL};
    if (json_array_size(r->notices) >= NOTICES_MAX)
        return;
    json_t *item = json_pack("{s:f}", "t", time_of(r, event));
    copy_members(item, event, names);
    json_array_append_new(r->notices, item);
}

static void served(const struct view__report *r, enum run_event type,
                   const json_t *event)
{
    struct rwf_str words = {0};
    enum schedule_state looks;
    if (json_array_size(r->served) < SERVED_MAX &&
        view_serve_words(type, event, &looks, &words))
        json_array_append_new(
            r->served, json_pack("{s:f, s:s, s:o}", "t", time_of(r, event), "state",
                                 schedule_state_name(looks), "text",
                                 run_text(words.data)));
    rwf_str_free(&words);
}

static void on_run(struct view__report *r, enum run_event type, const json_t *event)
{
    if (type == RUN_VERSION)
        r->raywf = json_incref(json_object_get(event, "raywf"));
    if (type == RUN_RUN_STARTED && r->machine == NULL)
        r->machine = json_incref(json_object_get(event, "machine"));
    if (type == RUN_RUN_STARTED)
        run_begins(r, event);
    else if (type == RUN_RUN_RESUMED)
        run_resumes(r, event);
    else if (type == RUN_RUN_FINISHED)
        run_ends(r, time_of(r, event), "ended");
    else if (type == RUN_RUN_STOPPING || type == RUN_NOTIFY)
        notice(r, event);
    else
        served(r, type, event);
}

static const char *outcome(enum run_event type)
{
    switch (type) {
    case RUN_STEP_RETRY:
        return "retry";
    case RUN_STEP_SUCCEEDED:
        return "succeeded";
    case RUN_STEP_FAILED:
        return "failed";
    case RUN_STEP_STOPPED:
        return "stopped";
    case RUN_STEP_PREEMPTED:
        return "preempted";
    default:
        return NULL;
    }
}

static void on_step(struct view__report *r, enum run_event type,
                    struct view__step *step, const json_t *event)
{
    static const char *const told[] = {"because_step", "where", "tail", "exit", NULL};
    const char *how = outcome(type);
    if (type == RUN_STEP_STARTED)
        attempt_begins(r, step, event);
    else if (type == RUN_STEP_METRIC)
        metrics_come(r, step, event);
    else if (how != NULL)
        attempt_ends(step, event, time_of(r, event), how);
    if (type == RUN_STEP_SUCCEEDED || type == RUN_STEP_CACHED)
        json_object_clear(step->told);
    copy_members(step->told, event, told);
}

static int on_event(void *ctx, const json_t *event)
{
    struct view__report *r = ctx;
    enum run_event type =
        run_event_parse(json_string_value(json_object_get(event, "type")));
    const char *address = json_string_value(json_object_get(event, "step"));
    struct view__step *step =
        address == NULL ? NULL : rwf_map_get(r->by_address, address);
    if (step != NULL)
        on_step(r, type, step, event);
    else if (address == NULL)
        on_run(r, type, event);
    double when = time_of(r, event);
    r->last = when > r->last ? when : r->last;
    return 0;
}

int view__history_read(struct view__report *r, const char *log_path,
                       struct rwf_err *err)
{
    return run_log_read(log_path, 0, on_event, r, NULL, err);
}
