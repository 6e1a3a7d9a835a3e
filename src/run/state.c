/* SPDX-License-Identifier: Apache-2.0
 *
 * Replay. Each event type is a row: the step event it stands for and a function that
 * takes over its members. Strings and values are borrowed from the events, which are
 * kept alive by reference; events of unknown type or with unknown members change
 * nothing.
 *
 * Invariant: counts[] sums to total; a step not seen yet counts as pending.
 */
#include "config.h"
#include "run/state.h"

#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/fs.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/str.h"
#include "run/log.h"

/* What a step holds on to; run_step_state's pointers point into these. */
enum held {
    HELD_DIR,
    HELD_CAUSE,
    HELD_MESSAGE,
    HELD_METRICS,
    HELD_OUTPUTS,
    HELD_KEY,
    HELD_ORIGIN,
    HELD_USAGE,
    HELD_NODE,
    HELD_COUNT
};

struct step {
    struct run_step_state public;
    json_t *held[HELD_COUNT];
};

struct replay {
    struct run_state public; /* first: the two are one object */
    struct rwf_map *by_address;
    struct step **steps;
    size_t count, cap;
};

static struct replay *replay_of(const struct run_state *s)
{
    return (struct replay *)(uintptr_t)s;
}

struct run_state *run_state_create(void)
{
    struct replay *r = rwf_xcalloc(1, sizeof(*r));
    r->by_address = rwf_map_create();
    r->public.exit_code = -1;
    r->public.status = rwf_xstrdup("running");
    return &r->public;
}

static void step_free(struct step *step)
{
    for (int i = 0; i < HELD_COUNT; i++)
        json_decref(step->held[i]);
    free(step);
}

void run_state_destroy(struct run_state *s)
{
    if (s == NULL)
        return;
    struct replay *r = replay_of(s);
    for (size_t i = 0; i < r->count; i++)
        step_free(r->steps[i]);
    free(r->steps);
    rwf_map_destroy(r->by_address, NULL);
    free(s->id);
    free(s->name);
    free(s->recipe);
    free(s->status);
    free(s->message);
    json_decref(s->options);
    free(r);
}

/* --- taking over members --- */

static const char *hold(struct step *step, enum held which, const json_t *value)
{
    json_decref(step->held[which]);
    step->held[which] = value == NULL || json_is_null(value)
                            ? NULL
                            : json_incref((json_t *)(uintptr_t)value);
    return json_string_value(step->held[which]);
}

static void set_text(char **slot, const json_t *value)
{
    if (!json_is_string(value))
        return;
    free(*slot);
    *slot = rwf_xstrdup(json_string_value(value));
}

static int64_t number(const json_t *event, const char *key, int64_t fallback)
{
    const json_t *value = json_object_get(event, key);
    if (json_is_integer(value))
        return json_integer_value(value);
    double real = json_real_value(value);
    return json_is_real(value) && real > -9e18 && real < 9e18 ? (int64_t)real
                                                              : fallback;
}

static int small(const json_t *event, const char *key, int fallback)
{
    int64_t value = number(event, key, fallback);
    return value < 0 || value > INT32_MAX ? fallback : (int)value;
}

static int64_t time_of(const json_t *event)
{
    const char *ts = json_string_value(json_object_get(event, "ts"));
    return ts == NULL ? 0 : rwf_clock_parse(ts);
}

static struct step *step_of(struct replay *r, const char *address)
{
    struct step *step = rwf_map_get(r->by_address, address);
    if (step != NULL)
        return step;
    step = rwf_xcalloc(1, sizeof(*step));
    step->public = (struct run_step_state){
        .state = STEP_PENDING, .progress = -1, .rows = -1, .bytes = -1};
    *RWF_PUSH(r->steps, r->count, r->cap) = step;
    rwf_map_set(r->by_address, address, step);
    step->public.address = rwf_map_key_at(r->by_address, r->count - 1);
    if (r->count > r->public.total) {
        r->public.total++;
        r->public.counts[STEP_PENDING]++;
    }
    return step;
}

/* The log records what happened, not every state passed through: a step may come from
 * pending to the event by way of preparing and queued. */
static int move(struct replay *r, struct step *step, enum schedule_event event,
                struct rwf_err *err)
{
    static const enum schedule_event ways[] = {SCHEDULE_EVENT_PREPARE,
                                               SCHEDULE_EVENT_MISS, SCHEDULE_EVENT_DUE};
    enum schedule_state from = step->public.state, to;
    for (size_t i = 0; (to = schedule_transition(from, event)) == STEP_STATE_COUNT;
         i++) {
        if (i == RWF_COUNT(ways))
            return rwf_fail(err, RWF_E_INPUT,
                            "damaged log: event %lld: %s cannot have %s "
                            "when %s",
                            (long long)r->public.seq, step->public.address,
                            schedule_event_name(event),
                            schedule_state_name(step->public.state));
        enum schedule_state next = schedule_transition(from, ways[i]);
        from = next == STEP_STATE_COUNT ? from : next;
    }
    r->public.counts[step->public.state]--;
    r->public.counts[to]++;
    step->public.state = to;
    return 0;
}

/* --- events of a step --- */

static void on_started(struct step *step, const json_t *event)
{
    step->public.attempt = small(event, "attempt", step->public.attempt + 1);
    step->public.started = time_of(event);
    step->public.ended = 0;
    step->public.progress = -1;
    step->public.rows = step->public.bytes = -1;
    step->public.pid = small(event, "pid", 0);
    step->public.dir = hold(step, HELD_DIR, json_object_get(event, "dir"));
    step->public.node = hold(step, HELD_NODE, json_object_get(event, "node"));
    step->public.message = hold(step, HELD_MESSAGE, NULL);
}

/* Why it has no place in the cluster yet. */
static void on_queued(struct step *step, const json_t *event)
{
    step->public.message = hold(step, HELD_MESSAGE, json_object_get(event, "reason"));
}

static void on_progress(struct step *step, const json_t *event)
{
    const json_t *progress = json_object_get(event, "progress");
    if (json_is_number(progress))
        step->public.progress = json_number_value(progress);
    step->public.rows = number(event, "rows", step->public.rows);
    step->public.bytes = number(event, "bytes", step->public.bytes);
}

static void on_metric(struct step *step, const json_t *event)
{
    json_t *metrics = json_object_get(event, "metrics");
    if (!json_is_object(metrics))
        return;
    json_t *all = step->held[HELD_METRICS] == NULL
                      ? json_object()
                      : json_copy(step->held[HELD_METRICS]);
    json_object_update(all, metrics);
    (void)hold(step, HELD_METRICS, all);
    json_decref(all);
    step->public.metrics = step->held[HELD_METRICS];
}

static bool is_lost(const json_t *event)
{
    const char *cause = json_string_value(json_object_get(event, "cause"));
    return cause != NULL && strcmp(cause, "node_lost") == 0;
}

static void on_failure(struct step *step, const json_t *event)
{
    /* A lost node is not the step's failure. */
    if (!is_lost(event))
        step->public.failures++;
    step->public.ended = time_of(event);
    step->public.attempt = small(event, "attempt", step->public.attempt);
    step->public.cause = hold(step, HELD_CAUSE, json_object_get(event, "cause"));
    step->public.message = hold(step, HELD_MESSAGE, json_object_get(event, "message"));
    (void)hold(step, HELD_USAGE, json_object_get(event, "usage"));
    step->public.usage = step->held[HELD_USAGE];
}

static void on_result(struct step *step, const json_t *event)
{
    step->public.ended = time_of(event);
    step->public.progress = 1;
    step->public.cause = hold(step, HELD_CAUSE, NULL);
    step->public.message = hold(step, HELD_MESSAGE, NULL);
    step->public.key = hold(step, HELD_KEY, json_object_get(event, "key"));
    step->public.origin = hold(step, HELD_ORIGIN, json_object_get(event, "origin"));
    (void)hold(step, HELD_METRICS, json_object_get(event, "metrics"));
    (void)hold(step, HELD_OUTPUTS, json_object_get(event, "outputs"));
    (void)hold(step, HELD_USAGE, json_object_get(event, "usage"));
    step->public.metrics = step->held[HELD_METRICS];
    step->public.outputs = step->held[HELD_OUTPUTS];
    step->public.usage = step->held[HELD_USAGE];
}

static void on_skipped(struct step *step, const json_t *event)
{
    step->public.message = hold(step, HELD_MESSAGE, json_object_get(event, "because"));
}

static void on_stopped(struct step *step, const json_t *event)
{
    if (step->public.started != 0 && step->public.ended == 0)
        step->public.ended = time_of(event);
}

/* --- events of the run --- */

static void try_again(struct replay *r, struct step *step)
{
    r->public.counts[step->public.state]--;
    r->public.counts[STEP_PENDING]++;
    step->public.state = STEP_PENDING;
    step->public.failures = 0;
}

static void take_options(struct replay *r, const json_t *event)
{
    json_decref(r->public.options);
    r->public.options = json_incref(json_object_get(event, "options"));
}

static void on_resumed(struct replay *r, const json_t *event)
{
    bool failed = json_is_true(json_object_get(event, "failed"));
    const json_t *lost = json_object_get(event, "lost");
    take_options(r, event);
    for (size_t i = 0; i < r->count; i++) {
        struct step *step = r->steps[i];
        enum schedule_state state = step->public.state;
        if (!schedule_state_final(state))
            (void)move(r, step, SCHEDULE_EVENT_LOST, NULL);
        else if (state == STEP_STOPPED || (failed && !schedule_state_good(state)))
            try_again(r, step);
    }
    for (size_t i = 0; i < json_array_size(lost); i++) {
        const char *address = json_string_value(json_array_get(lost, i));
        struct step *step =
            address == NULL ? NULL : rwf_map_get(r->by_address, address);
        if (step != NULL)
            try_again(r, step);
    }
    r->public.pid = small(event, "pid", 0);
    r->public.ended = 0;
    r->public.exit_code = -1;
    free(r->public.status);
    r->public.status = rwf_xstrdup("running");
}

static void on_version(struct replay *r, const json_t *event)
{
    set_text(&r->public.id, json_object_get(event, "run"));
    set_text(&r->public.name, json_object_get(event, "name"));
    set_text(&r->public.recipe, json_object_get(event, "recipe"));
    r->public.pid = small(event, "pid", 0);
    r->public.started = time_of(event);
}

static void on_run_started(struct replay *r, const json_t *event)
{
    size_t total = (size_t)small(event, "steps", 0);
    r->public.started = time_of(event);
    r->public.stay = json_is_true(json_object_get(event, "stay"));
    take_options(r, event);
    if (total > r->public.total) {
        r->public.counts[STEP_PENDING] += total - r->public.total;
        r->public.total = total;
    }
}

static void on_finished(struct replay *r, const json_t *event)
{
    set_text(&r->public.status, json_object_get(event, "status"));
    set_text(&r->public.message, json_object_get(event, "message"));
    r->public.exit_code = small(event, "exit_code", 70);
    r->public.ended = time_of(event);
}

/* --- the table --- */

static const struct {
    void (*on_run)(struct replay *r, const json_t *event);
    void (*on_step)(struct step *step, const json_t *event);
    enum schedule_event moves; /* SCHEDULE_EVENT_COUNT: the step stays where it is */
} rows[RUN_EVENT_COUNT] = {
    [RUN_VERSION] = {on_version, NULL, 0},
    [RUN_RUN_STARTED] = {on_run_started, NULL, 0},
    [RUN_RUN_RESUMED] = {on_resumed, NULL, 0},
    [RUN_RUN_FINISHED] = {on_finished, NULL, 0},
    [RUN_STEP_QUEUED] = {NULL, on_queued, SCHEDULE_EVENT_MISS},
    [RUN_STEP_STARTED] = {NULL, on_started, SCHEDULE_EVENT_START},
    [RUN_STEP_PROGRESS] = {NULL, on_progress, SCHEDULE_EVENT_COUNT},
    [RUN_STEP_METRIC] = {NULL, on_metric, SCHEDULE_EVENT_COUNT},
    [RUN_STEP_RETRY] = {NULL, on_failure, SCHEDULE_EVENT_RETRY},
    [RUN_STEP_SUCCEEDED] = {NULL, on_result, SCHEDULE_EVENT_SUCCEEDED},
    [RUN_STEP_CACHED] = {NULL, on_result, SCHEDULE_EVENT_HIT},
    [RUN_STEP_FAILED] = {NULL, on_failure, SCHEDULE_EVENT_FAILED},
    [RUN_STEP_SKIPPED] = {NULL, on_skipped, SCHEDULE_EVENT_SKIP},
    [RUN_STEP_STOPPED] = {NULL, on_stopped, SCHEDULE_EVENT_STOP},
    [RUN_STEP_PREEMPTED] = {NULL, on_stopped, SCHEDULE_EVENT_PREEMPTED},
};

static int apply_step(struct replay *r, enum run_event type, const json_t *event,
                      struct rwf_err *err)
{
    const char *address = json_string_value(json_object_get(event, "step"));
    if (address == NULL)
        return rwf_fail(err, RWF_E_INPUT, "damaged log: event %lld (%s) names no step",
                        (long long)r->public.seq, run_event_name(type));
    struct step *step = step_of(r, address);
    enum schedule_event moves = rows[type].moves;
    /* A trial that its search ended while it waited. */
    if (type == RUN_STEP_SUCCEEDED && step->public.state != STEP_RUNNING &&
        json_is_true(json_object_get(event, "stopped")))
        moves = SCHEDULE_EVENT_CUT;
    /* It may be told several reasons, one after the other. */
    if (type == RUN_STEP_QUEUED && step->public.state != STEP_PENDING)
        moves = step->public.state == STEP_BACKOFF ? SCHEDULE_EVENT_DUE
                                                   : SCHEDULE_EVENT_COUNT;
    if (moves != SCHEDULE_EVENT_COUNT && move(r, step, moves, err) != 0)
        return -1;
    rows[type].on_step(step, event);
    return 0;
}

int run_state_apply(struct run_state *s, const json_t *event, struct rwf_err *err)
{
    struct replay *r = replay_of(s);
    int64_t seq = json_integer_value(json_object_get(event, "seq"));
    if (seq != s->seq + 1)
        return rwf_fail(err, RWF_E_INPUT, "damaged log: event %lld follows event %lld",
                        (long long)seq, (long long)s->seq);
    s->seq = seq;
    enum run_event type =
        run_event_parse(json_string_value(json_object_get(event, "type")));
    if (type == RUN_EVENT_COUNT)
        return 0;
    if (rows[type].on_run != NULL)
        rows[type].on_run(r, event);
    return rows[type].on_step == NULL ? 0 : apply_step(r, type, event, err);
}

struct loading {
    struct run_state *state;
    struct rwf_err *err;
    bool failed;
};

static int load_event(void *ctx, const json_t *event)
{
    struct loading *l = ctx;
    l->failed = run_state_apply(l->state, event, l->err) != 0;
    return l->failed;
}

struct run_state *run_state_load(const char *log_path, struct rwf_err *err)
{
    struct loading l = {run_state_create(), err, false};
    if (run_log_read(log_path, 0, load_event, &l, NULL, err) != 0 || l.failed) {
        if (l.failed)
            rwf_wrap(err, "%s", log_path);
        run_state_destroy(l.state);
        return NULL;
    }
    return l.state;
}

size_t run_state_step_count(const struct run_state *s)
{
    return replay_of(s)->count;
}

const struct run_step_state *run_state_step(const struct run_state *s,
                                            const char *address)
{
    const struct step *step = rwf_map_get(replay_of(s)->by_address, address);
    return step == NULL ? NULL : &step->public;
}

const struct run_step_state *run_state_step_at(const struct run_state *s, size_t i)
{
    return i < replay_of(s)->count ? &replay_of(s)->steps[i]->public : NULL;
}
