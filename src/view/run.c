/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "view/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/redact.h"
#include "base/mem.h"
#include "run/log.h"

#define SERIES_MAX 2000 /* points kept of one metric of one step */

/* The line with the entry's name; without one, where its body begins. */
static struct recipe_span entry_span(const struct recipe *recipe,
                                     const struct plan_step *step)
{
    const struct recipe_node *section =
        recipe_get(recipe_root(recipe), step->op->section);
    const char *dot = strchr(step->entry, '.');
    const struct recipe_pair *pair = dot ? recipe_pair_get(section, dot + 1) : NULL;

    return pair && pair->key_span.line ? pair->key_span : step->body->span;
}

const char *view_where_file(const struct view_run *r, const struct plan_step *step,
                            uint32_t *ret_line)
{
    const struct recipe *recipe = plan_graph_recipe(r->graph);
    struct recipe_span span = entry_span(recipe, step);

    *ret_line = span.line ? span.line : 1;
    return span.line ? recipe_file_path(recipe_sources(recipe), span.file)
                     : recipe_path(recipe);
}

char *view_where(const struct view_run *r, const struct plan_step *step)
{
    uint32_t line;
    const char *file = view_where_file(r, step, &line);

    return rwf_xasprintf("%s:%u", file, line);
}

/* A path beneath the working folder is shown, and can be typed, without it. */
static char *shorten(char *path)
{
    char cwd[4096];

    if (!getcwd(cwd, sizeof(cwd)))
        return path;
    size_t len = strlen(cwd);
    if (strncmp(path, cwd, len) == 0 && path[len] == '/')
        memmove(path, path + len + 1, strlen(path + len + 1) + 1);
    return path;
}

char *view_log_path(const struct view_run *r, const struct run_step_state *s,
                    const char *stream)
{
    if (!s || !s->dir)
        return NULL;
    return shorten(rwf_xasprintf("%s/%s/%s", r->dir, s->dir, stream));
}

char *view_best_log(const struct view_run *r, const struct run_step_state *s)
{
    static const char *const streams[] = {"stderr", "stdout"};
    struct stat st;

    for (size_t i = 0; i < RWF_COUNT(streams); i++) {
        char *path = view_log_path(r, s, streams[i]);
        if (path && stat(path, &st) == 0 && st.st_size > 0)
            return path;
        free(path);
    }
    return NULL;
}

const char *view_cause_hint(const struct plan_step *step, const char *cause)
{
    static const struct {
        enum plan_cause cause;
        const char *hint;
        enum { NO_CALLS = 1, NO_RUNS = 2 } not_for; /* native steps; those of our own */
    } hints[] = {
        {PLAN_CAUSE_SIGNAL, "the program crashed or was killed from outside", 0},
        {PLAN_CAUSE_OOM, "raise resources.memory of the step, or give it less to do", 0},
        {PLAN_CAUSE_TIMEOUT,
         "raise timeout of the step (of a gang: heartbeat), or find out what it waits for",
         0},
        {PLAN_CAUSE_START, "install the program or correct its name; one beside the "
                           "recipe is ${recipe.dir}/NAME",
         NO_CALLS | NO_RUNS},
        {PLAN_CAUSE_OUTPUT,
         "outputs are paths relative to the folder the step runs in", NO_CALLS},
        {PLAN_CAUSE_INPUT, "inputs are paths relative to the folder of the recipe",
         NO_RUNS},
    };
    enum plan_cause wanted = cause ? plan_cause_parse(cause) : PLAN_CAUSE_NONE;

    int kind = step == NULL ? 0
                            : (step->op->call != NULL || step->is_trial ? NO_CALLS : 0) |
                                  (step->op->run != NULL ? NO_RUNS : 0);

    for (size_t i = 0; i < RWF_COUNT(hints); i++)
        if (hints[i].cause == wanted && (hints[i].not_for & kind) == 0)
            return hints[i].hint;
    return NULL;
}

/* Bytes that are no UTF-8 become "?", so that JSON and browsers take the text. */
static void repair_utf8(char *text)
{
    size_t len = strlen(text);

    if (rwf_utf8_valid(text, len))
        return;
    for (size_t i = 0; i < len;) {
        unsigned char c = (unsigned char)text[i];
        size_t n = c < 0x80 ? 1 : c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
        if (c >= 0x80 && (i + n > len || !rwf_utf8_valid(text + i, n))) {
            text[i] = '?';
            n = 1;
        }
        i += n;
    }
}

char *view_tail(const char *path, size_t max, bool *ret_cut)
{
    FILE *f = path ? fopen(path, "re") : NULL;
    struct rwf_str out = {0};

    *ret_cut = false;
    if (!f)
        return NULL;
    fseek(f, 0, SEEK_END);
    long size = ftell(f);
    if (size > (long)max)
        *ret_cut = true;
    fseek(f, *ret_cut ? size - (long)max : 0, SEEK_SET);
    char *bytes = rwf_xmalloc(max + 1);
    size_t len = fread(bytes, 1, max, f);
    fclose(f);
    for (size_t i = 0; i < len; i++)
        if (bytes[i] == '\0')
            bytes[i] = '?';
    bytes[len] = '\0';
    char *start = *ret_cut ? strchr(bytes, '\n') : NULL;
    start = start ? start + 1 : bytes;
    repair_utf8(start);
    rwf_redact(&out, start, strlen(start));
    free(bytes);
    if (out.len == 0) {
        rwf_str_free(&out);
        return NULL;
    }
    return rwf_str_take(&out);
}

int64_t view_step_duration(const struct run_step_state *s)
{
    if (s->started <= 0)
        return 0;
    int64_t end = s->ended > 0 ? s->ended : rwf_clock_wall();
    return end > s->started ? end - s->started : 0;
}

/* A value of the body as it is known before the run; references to results stay names.
 */
static json_t *known_value(const struct view_run *r, const struct plan_step *step,
                           const char *name, const char *fallback)
{
    const struct recipe_node *node = recipe_get(step->body, name);
    json_t *value = node ? plan_resolve(r->graph, step, node, NULL) : NULL;

    return value ? value : json_string(recipe_text(node, fallback));
}

/* The metric that "${tasks.a.metrics.acc}" names, when that step has one instance. */
static const json_t *referenced(const struct view_run *r, const char *text)
{
    const char *metric = strstr(text, ".metrics.");
    const json_t *found = NULL;

    if (strncmp(text, "${", 2) != 0 || !metric)
        return NULL;
    char *address = rwf_xstrndup(text + 2, (size_t)(metric - text) - 2);
    metric += strlen(".metrics.");
    char *name = rwf_xstrndup(metric, strcspn(metric, " }"));
    const struct run_step_state *s =
        run_state_step(r->state, address + strspn(address, " "));
    if (s)
        found = json_object_get(s->metrics, name);
    free(name);
    free(address);
    return found;
}

static json_t *check_json(const struct view_run *r, const struct plan_step *step)
{
    const struct run_step_state *s = run_state_step(r->state, step->address);
    const char *value = recipe_text(recipe_get(step->body, "value"), "");
    const json_t *own = s ? json_object_get(s->metrics, "value") : NULL;
    const json_t *actual = own ? own : referenced(r, value);
    const char *dot = strchr(step->address, '.');
    char *where = view_where(r, step);
    json_t *out = json_pack(
        "{s:s, s:s, s:s, s:o, s:o, s:s, s:O?, s:s?, s:s?, s:s}", "address",
        step->address, "name", dot ? dot + 1 : step->address, "value", value, "op",
        known_value(r, step, "op", ">="), "than", known_value(r, step, "than", ""),
        "state", schedule_state_name(s ? s->state : STEP_PENDING), "actual", actual,
        "message", s ? s->message : NULL, "help",
        recipe_text(recipe_get(step->body, "help"), NULL), "where", where);

    free(where);
    return out;
}

json_t *view_checks(const struct view_run *r)
{
    json_t *out = json_array();

    plan_graph_resolve_as(r->graph, PLAN_SHOW, NULL);
    for (size_t i = 0; i < plan_graph_count(r->graph); i++) {
        const struct plan_step *step = plan_graph_step(r->graph, (uint32_t)i);
        if (strcmp(step->op->section, "checks") == 0)
            json_array_append_new(out, check_json(r, step));
    }
    return out;
}

/* --- the record --- */

struct record {
    json_t *all, *steps;
    int64_t start;
};

static json_t *step_record(struct record *rec, const char *address)
{
    json_t *step = json_object_get(rec->steps, address);

    if (!step) {
        step = json_pack("{s:[], s:{}}", "attempts", "series");
        json_object_set_new(rec->steps, address, step);
    }
    return step;
}

static double since_start(const struct record *rec, const json_t *event)
{
    int64_t ts = rwf_clock_parse(json_string_value(json_object_get(event, "ts")));

    return ts < 0 ? 0 : (double)(ts - rec->start) / (double)RWF_NS_PER_MS;
}

static void attempt_begins(struct record *rec, json_t *step, const json_t *event)
{
    json_array_append_new(json_object_get(step, "attempts"),
                          json_pack("{s:O?, s:f}", "n",
                                    json_object_get(event, "attempt"), "start",
                                    since_start(rec, event)));
    if (json_object_get(event, "gpus"))
        json_object_set(step, "gpus", json_object_get(event, "gpus"));
    if (json_object_get(event, "node"))
        json_object_set(step, "node", json_object_get(event, "node"));
}

static void attempt_ends(struct record *rec, json_t *step, const json_t *event)
{
    static const char *const kept[] = {"cause", "message", "exit"};
    json_t *attempts = json_object_get(step, "attempts");
    json_t *last = json_array_get(attempts, json_array_size(attempts) - 1);

    if (!last || json_object_get(last, "end"))
        return;
    json_object_set_new(last, "end", json_real(since_start(rec, event)));
    for (size_t i = 0; i < RWF_COUNT(kept); i++)
        if (json_object_get(event, kept[i]))
            json_object_set(last, kept[i], json_object_get(event, kept[i]));
}

/* Every second point goes when there are too many; what is left still shows the curve.
 */
static void thin_out(json_t *points)
{
    for (size_t i = json_array_size(points); i-- > 1;)
        if (i % 2)
            json_array_remove(points, i);
}

/* An attempt that goes on from a checkpoint does steps again. */
static void go_back(json_t *points, double x)
{
    size_t n;

    while ((n = json_array_size(points)) > 0 &&
           json_number_value(json_array_get(json_array_get(points, n - 1), 0)) >= x)
        json_array_remove(points, n - 1);
}

static bool over_steps(const json_t *step)
{
    const char *x = json_string_value(json_object_get(step, "x"));

    return x && strcmp(x, "step") == 0;
}

static void metrics_come(struct record *rec, json_t *step, const json_t *event)
{
    json_t *series = json_object_get(step, "series"), *value;
    json_t *at = json_object_get(event, "at");
    double x =
        json_is_number(at) ? json_number_value(at) : since_start(rec, event) / 1000;
    const char *name;

    if (!json_object_get(step, "x"))
        json_object_set_new(step, "x",
                            json_string(json_is_number(at) ? "step" : "time"));
    json_object_foreach(json_object_get(event, "metrics"), name, value) {
        if (!json_is_number(value))
            continue;
        json_t *points = json_object_get(series, name);
        if (!points) {
            points = json_array();
            json_object_set_new(series, name, points);
        }
        /* A value of the whole, after a curve over steps, is no point of it. */
        if (!json_is_number(at) && json_array_size(points) > 0 && over_steps(step))
            continue;
        if (json_is_number(at))
            go_back(points, x);
        json_array_append_new(points, json_pack("[f, f]", x, json_number_value(value)));
        if (json_array_size(points) > SERIES_MAX)
            thin_out(points);
    }
}

static void keep(json_t *step, const json_t *event, const char *name)
{
    if (json_object_get(event, name))
        json_object_set(step, name, json_object_get(event, name));
}

static int record_event(void *ctx, const json_t *event)
{
    struct record *rec = ctx;
    enum run_event type =
        run_event_parse(json_string_value(json_object_get(event, "type")));
    const char *address = json_string_value(json_object_get(event, "step"));
    json_t *step = address ? step_record(rec, address) : NULL;

    if (rec->start == 0)
        rec->start = rwf_clock_parse(json_string_value(json_object_get(event, "ts")));
    if (type == RUN_RUN_STARTED)
        json_object_set(rec->all, "machine", json_object_get(event, "machine"));
    if (!step)
        return 0;
    if (type == RUN_STEP_STARTED)
        attempt_begins(rec, step, event);
    else if (type == RUN_STEP_METRIC)
        metrics_come(rec, step, event);
    else if (type == RUN_STEP_RETRY || type == RUN_STEP_SUCCEEDED ||
             type == RUN_STEP_FAILED || type == RUN_STEP_STOPPED ||
             type == RUN_STEP_PREEMPTED)
        attempt_ends(rec, step, event);
    keep(step, event, "tail");
    keep(step, event, "parts");
    return 0;
}

json_t *view_record(const char *log_path, struct rwf_err *err)
{
    struct record rec = {.all = json_pack("{s:{}}", "steps")};

    rec.steps = json_object_get(rec.all, "steps");
    if (run_log_read(log_path, 0, record_event, &rec, NULL, err) < 0) {
        json_decref(rec.all);
        return NULL;
    }
    return rec.all;
}
