/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "view/timeline.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/map.h"
#include "base/mem.h"
#include "run/log.h"

#define GPU_PROCESS 1000 /* the process of a node's GPUs is its own number and this */
#define GPU_ROWS 64      /* rows that one card may have */
#define GPUS_MAX 64

/* Rows of a process or of a card: a bit for each that is taken. */
struct rows {
    bool *taken;
    size_t count, cap;
};

struct place {  /* a node */
    int number; /* from 1: its process */
    struct rows rows, gpus[GPUS_MAX];
    int running;
};

struct track { /* a step */
    bool open, ended;
    double start, end;
    int attempt;
    struct place *place;
    size_t row;
    int gpus[GPUS_MAX], gpu_count;
    size_t gpu_rows[GPUS_MAX];
};

struct timeline {
    const struct view_run *run;
    FILE *out;
    size_t written;
    struct rwf_map *places, *tracks;
    const char *machine; /* name of the only node, when events name none */
    char *machine_text;
    int64_t origin;
    double began, last; /* of this head; of the last event */
};

/* --- writing --- */

static void write_event(struct timeline *t, json_t *event)
{
    fputs(t->written++ == 0 ? "\n" : ",\n", t->out);
    json_dumpf(event, t->out, JSON_COMPACT);
    json_decref(event);
}

static void name_row(struct timeline *t, const char *what, int pid, size_t tid,
                     const char *name)
{
    write_event(t, json_pack("{s:s, s:s, s:i, s:I, s:{s:o}}", "ph", "M", "name", what,
                             "pid", pid, "tid", (json_int_t)tid, "args", "name",
                             run_text(name)));
}

static void write_counter(struct timeline *t, const struct place *p, double at)
{
    write_event(t, json_pack("{s:s, s:s, s:i, s:f, s:{s:i}}", "ph", "C", "name",
                             "running steps", "pid", p->number, "ts", at, "args",
                             "running", p->running));
}

static void write_wait(struct timeline *t, const char *address, const char *why,
                       int pid, double from, double to)
{
    if (to <= from)
        return;
    for (int end = 0; end < 2; end++)
        write_event(t, json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:f, s:{s:s}}", "ph",
                                 end ? "e" : "b", "cat", "wait", "id", address, "name",
                                 why, "pid", pid, "tid", 0, "ts", end ? to : from,
                                 "args", "step", address));
}

static void write_instant(struct timeline *t, const char *name, int pid, size_t tid,
                          double at, json_t *args)
{
    write_event(t, json_pack("{s:s, s:s, s:s, s:s, s:i, s:I, s:f, s:o}", "ph", "i", "s",
                             "t", "cat", "event", "name", name, "pid", pid, "tid",
                             (json_int_t)tid, "ts", at, "args", args));
}

/* --- rows --- */

static size_t row_take(struct rows *rows, bool *ret_new)
{
    size_t i = 0;

    while (i < rows->count && rows->taken[i])
        i++;
    *ret_new = i == rows->count;
    if (*ret_new)
        (void)RWF_PUSH(rows->taken, rows->count, rows->cap);
    rows->taken[i] = true;
    return i;
}

static struct place *place_of(struct timeline *t, const char *name)
{
    struct place *p;

    if (name == NULL)
        name = t->machine != NULL ? t->machine : "node";
    p = rwf_map_get(t->places, name);
    if (p != NULL)
        return p;
    p = rwf_xcalloc(1, sizeof(*p));
    p->number = (int)rwf_map_count(t->places) + 1;
    rwf_map_set(t->places, name, p);
    char *title = rwf_xasprintf("node %s", name);
    name_row(t, "process_name", p->number, 0, title);
    free(title);
    return p;
}

static void place_free(void *item)
{
    struct place *p = item;

    free(p->rows.taken);
    for (size_t i = 0; i < GPUS_MAX; i++)
        free(p->gpus[i].taken);
    free(p);
}

static void take_row(struct timeline *t, struct track *k)
{
    bool fresh;
    char title[64];

    k->row = row_take(&k->place->rows, &fresh) + 1;
    snprintf(title, sizeof(title), "steps %zu", k->row);
    if (fresh)
        name_row(t, "thread_name", k->place->number, k->row, title);
}

static void take_gpus(struct timeline *t, struct track *k, const json_t *gpus)
{
    int pid = GPU_PROCESS + k->place->number;
    json_t *id;
    size_t i;
    char title[64];

    k->gpu_count = 0;
    json_array_foreach((json_t *)(uintptr_t)gpus, i, id) {
        json_int_t n = json_integer_value(id);
        bool fresh;
        if (n < 0 || n >= GPUS_MAX || k->gpu_count == GPUS_MAX)
            continue;
        size_t row = row_take(&k->place->gpus[n], &fresh);
        if (row >= GPU_ROWS)
            continue;
        k->gpus[k->gpu_count] = (int)n;
        k->gpu_rows[k->gpu_count++] = row;
        if (!fresh)
            continue;
        snprintf(title, sizeof(title), "GPU %d", (int)n);
        name_row(t, "process_name", pid, 0, "GPUs");
        name_row(t, "thread_name", pid, (size_t)n * GPU_ROWS + row + 1, title);
    }
}

static void give_rows(struct track *k)
{
    k->place->rows.taken[k->row - 1] = false;
    for (int i = 0; i < k->gpu_count; i++)
        k->place->gpus[k->gpus[i]].taken[k->gpu_rows[i]] = false;
}

/* --- steps --- */

static struct track *track_of(struct timeline *t, const char *address)
{
    struct track *k = rwf_map_get(t->tracks, address);

    if (k == NULL) {
        k = rwf_xcalloc(1, sizeof(*k));
        rwf_map_set(t->tracks, address, k);
    }
    return k;
}

/* When the last of what it needs had ended, in this run. */
static double ready_at(const struct timeline *t, const char *address)
{
    const struct plan_graph *g = t->run->graph;
    uint32_t index = g == NULL ? PLAN_NO_STEP : plan_graph_find(g, address);
    double ready = t->began;

    if (index == PLAN_NO_STEP)
        return -1;
    const struct plan_step *step = plan_graph_step(g, index);
    for (size_t i = 0; i < step->need_count; i++) {
        const char *need = plan_graph_step(g, step->needs[i])->address;
        const struct track *k = rwf_map_get(t->tracks, need);
        if (k != NULL && k->ended && k->end > ready)
            ready = k->end;
    }
    return ready;
}

static void begin(struct timeline *t, const char *address, const json_t *event,
                  double now)
{
    struct track *k = track_of(t, address);

    if (k->open)
        return;
    k->place = place_of(t, json_string_value(json_object_get(event, "node")));
    k->attempt = (int)json_integer_value(json_object_get(event, "attempt"));
    if (k->ended && k->end > t->began) {
        write_wait(t, address, "backs off", k->place->number, k->end, now);
    } else {
        double ready = ready_at(t, address);
        if (ready >= 0)
            write_wait(t, address, "waits", k->place->number, ready, now);
    }
    k->open = true;
    k->ended = false;
    k->start = now;
    take_row(t, k);
    take_gpus(t, k, json_object_get(event, "gpus"));
    k->place->running++;
    write_counter(t, k->place, now);
}

static json_t *slice_args(const struct track *k, const json_t *event, const char *how)
{
    static const char *const kept[] = {"cause", "message", "exit", "usage", "metrics"};
    json_t *args = json_pack("{s:i, s:s}", "attempt", k->attempt, "result", how);

    for (size_t i = 0; event != NULL && i < RWF_COUNT(kept); i++)
        if (json_object_get(event, kept[i]) != NULL)
            json_object_set(args, kept[i], json_object_get(event, kept[i]));
    return args;
}

static void write_slice(struct timeline *t, const char *address, const struct track *k,
                        int pid, size_t tid, json_t *args)
{
    write_event(t,
                json_pack("{s:s, s:s, s:s, s:i, s:I, s:f, s:f, s:o}", "ph", "X", "cat",
                          "step", "name", address, "pid", pid, "tid", (json_int_t)tid,
                          "ts", k->start, "dur", k->end - k->start, "args", args));
}

static void finish(struct timeline *t, const char *address, const json_t *event,
                   const char *how, double now)
{
    struct track *k = track_of(t, address);

    if (!k->open)
        return;
    k->open = false;
    k->ended = true;
    k->end = now > k->start ? now : k->start;
    write_slice(t, address, k, k->place->number, k->row, slice_args(k, event, how));
    for (int i = 0; i < k->gpu_count; i++)
        write_slice(t, address, k, GPU_PROCESS + k->place->number,
                    (size_t)k->gpus[i] * GPU_ROWS + k->gpu_rows[i] + 1,
                    slice_args(k, NULL, how));
    give_rows(k);
    k->place->running--;
    write_counter(t, k->place, now);
}

/* A step that ended without an attempt of this run. */
static void mark(struct timeline *t, const char *address, const json_t *event,
                 const char *how, double now)
{
    struct track *k = track_of(t, address);
    json_t *args = json_pack("{s:s}", "step", address);
    const json_t *because = json_object_get(event, "because");

    k->ended = true;
    k->end = now;
    if (because != NULL)
        json_object_set(args, "because", (json_t *)(uintptr_t)because);
    write_instant(t, how, place_of(t, NULL)->number, 0, now, args);
}

/* --- events --- */

/* What an earlier head left running. */
static void finish_all(struct timeline *t, const char *how)
{
    for (size_t i = 0; i < rwf_map_count(t->tracks); i++)
        finish(t, rwf_map_key_at(t->tracks, i), NULL, how, t->last);
}

static void start_run(struct timeline *t, const json_t *event)
{
    const json_t *machine = json_object_get(event, "machine");
    const char *name = json_string_value(json_object_get(machine, "name"));

    free(t->machine_text);
    t->machine_text = name == NULL ? NULL : rwf_xstrdup(name);
    t->machine = t->machine_text;
}

static const struct {
    enum run_event type;
    const char *how;
    bool ends; /* an attempt; else the step ends without one */
} endings[] = {
    {RUN_STEP_RETRY, "failed, is tried again", true},
    {RUN_STEP_SUCCEEDED, "succeeded", true},
    {RUN_STEP_FAILED, "failed", true},
    {RUN_STEP_STOPPED, "stopped", true},
    {RUN_STEP_CACHED, "cached", false},
    {RUN_STEP_SKIPPED, "skipped", false},
};

static void take_step(struct timeline *t, enum run_event type, const json_t *event,
                      double now)
{
    const char *address = json_string_value(json_object_get(event, "step"));

    if (address == NULL)
        return;
    if (type == RUN_STEP_STARTED)
        begin(t, address, event, now);
    for (size_t i = 0; i < RWF_COUNT(endings); i++) {
        if (endings[i].type != type)
            continue;
        if (endings[i].ends)
            finish(t, address, event, endings[i].how, now);
        else
            mark(t, address, event, endings[i].how, now);
    }
}

static int take_event(void *ctx, const json_t *event)
{
    struct timeline *t = ctx;
    int64_t ts = rwf_clock_parse(json_string_value(json_object_get(event, "ts")));
    enum run_event type =
        run_event_parse(json_string_value(json_object_get(event, "type")));

    if (t->origin == 0)
        t->origin = ts;
    double now = (double)(ts - t->origin) / 1e3;
    if (type == RUN_RUN_STARTED)
        start_run(t, event);
    if (type == RUN_RUN_RESUMED) {
        finish_all(t, "lost with its head");
        t->began = now;
    }
    take_step(t, type, event, now);
    t->last = now;
    return ferror(t->out);
}

int view_timeline(const struct view_run *r, const char *log_path, FILE *out,
                  size_t *ret_events, struct rwf_err *err)
{
    struct timeline t = {.run = r, .out = out};
    int rc;

    t.places = rwf_map_create();
    t.tracks = rwf_map_create();
    fputs("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[", out);
    rc = run_log_read(log_path, 0, take_event, &t, NULL, err) < 0 ? -1 : 0;
    if (rc == 0)
        finish_all(&t, "still running");
    fputs("\n]}\n", out);
    if (rc == 0 && (fflush(out) != 0 || ferror(out)))
        rc = rwf_fail(err, errno != 0 ? errno : EIO, "the trace cannot be written: %s",
                      strerror(errno != 0 ? errno : EIO));
    *ret_events = t.written;
    rwf_map_destroy(t.tracks, free);
    rwf_map_destroy(t.places, place_free);
    free(t.machine_text);
    return rc;
}
