/* SPDX-License-Identifier: Apache-2.0
 *
 * Searches from the event log: suggestions are taken as they were logged, reports and
 * ends are told to the search again, in their order, and what it decided then it
 * decides again. A decision that is in the log was begun; what of it is not done yet is
 * done when the trial is prepared.
 */
#include "config.h"
#include "run/trials.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/map.h"
#include "base/mem.h"

struct replaying {
    struct engine *e;
    struct rwf_err *err;
    int64_t since; /* wall ns of the process that wrote what comes now; 0: not yet */
    int64_t last;
    bool failed;
};

static struct engine__trial *trial_in(const struct replaying *r, const json_t *event)
{
    const char *address = json_string_value(json_object_get(event, "step"));
    uint32_t step =
        address == NULL ? PLAN_NO_STEP : plan_graph_find(r->e->graph, address);
    return step == PLAN_NO_STEP ? NULL : engine__trial_of(r->e, step);
}

/* What is decided again was logged before; what was not (the head died in between) is
 * decided once more when the trial is prepared. one: what is decided of a trial that
 * waits counts, too, once. */
static void drain(struct engine__search *x, bool one)
{
    struct search_action act;
    while (search_next(x->s, one, &act)) {
        one = false;
        struct engine__trial *t = &x->trials[act.trial];
        if (act.verb == SEARCH_STOP || act.verb == SEARCH_FAIL)
            t->decided = act.verb == SEARCH_STOP ? ENDING_STOP : ENDING_FAIL;
        if (act.verb == SEARCH_FAIL) {
            free(t->why);
            t->why = rwf_xstrdup(act.why);
        }
        json_decref(act.config);
    }
}

/* --- one event --- */

static int on_suggested(struct replaying *r, struct engine__trial *t,
                        const json_t *event)
{
    const json_t *config = json_object_get(event, "config");
    if (!json_is_object(config))
        return 0;
    plan_trial_configure(r->e->graph, t->step->index, config);
    t->first = json_incref((json_t *)(uintptr_t)config);
    return search_begin(t->search->s, t->number, config, r->err);
}

static int on_started(struct replaying *r, struct engine__trial *t, const json_t *event)
{
    (void)r, (void)event;
    t->clone_from = -1;
    t->quiet = false;
    t->search->worked = true;
    search_attempt(t->search->s, t->number);
    return 0;
}

static int on_metric(struct replaying *r, struct engine__trial *t, const json_t *event)
{
    const json_t *at = json_object_get(event, "at");
    (void)r;
    if (t->quiet)
        return 0;
    json_t *line = json_copy(json_object_get(event, "metrics"));
    if (json_is_true(json_object_get(event, "last")))
        json_object_set_new(line, "progress", json_real(1));
    search_report(t->search->s, t->number, line,
                  json_is_number(at) ? json_number_value(at) : NAN);
    json_decref(line);
    return 0;
}

static int on_cloned(struct replaying *r, struct engine__trial *t, const json_t *event)
{
    (void)r;
    t->quiet = true;
    t->clone_from = json_integer_value(json_object_get(event, "from"));
    if (t->clone_from >= t->search->count)
        t->clone_from = 0;
    engine__trial_note_clone(t, (uint32_t)t->clone_from,
                             json_number_value(json_object_get(event, "at")),
                             json_object_get(event, "config"));
    plan_trial_configure(r->e->graph, t->step->index,
                         search_config(t->search->s, t->number));
    return 0;
}

static int on_stopped(struct replaying *r, struct engine__trial *t, const json_t *event)
{
    (void)r;
    if (search_result(t->search->s, t->number).status == SEARCH_PAUSED)
        drain(t->search, true);
    if (!json_is_true(json_object_get(event, "failed")))
        t->decided = ENDING_STOP;
    return 0;
}

static int on_resume(struct replaying *r, struct engine__trial *t, const json_t *event)
{
    (void)r, (void)event;
    drain(t->search, true);
    return 0;
}

static int on_good(struct replaying *r, struct engine__trial *t, const json_t *event)
{
    (void)r;
    bool stopped = json_is_true(json_object_get(event, "stopped"));
    t->decided = ENDING_NONE;
    engine__trial_note_key(t, json_string_value(json_object_get(event, "key")));
    search_ended(t->search->s, t->number, stopped ? SEARCH_STOPPED : SEARCH_COMPLETED,
                 json_object_get(event, "metrics"));
    return 0;
}

static int on_over(struct replaying *r, struct engine__trial *t, const json_t *event)
{
    const json_t *value = json_object_get(event, "value"),
                 *at = json_object_get(event, "at");
    (void)r;
    if (json_is_number(value))
        search_set_value(t->search->s, t->number, json_number_value(value),
                         json_is_number(at) ? json_number_value(at) : NAN);
    return 0;
}

static int on_failed(struct replaying *r, struct engine__trial *t, const json_t *event)
{
    (void)r, (void)event;
    search_ended(t->search->s, t->number, SEARCH_FAILED, NULL);
    return 0;
}

static int on_skipped(struct replaying *r, struct engine__trial *t, const json_t *event)
{
    (void)r, (void)event;
    search_ended(t->search->s, t->number, SEARCH_SKIPPED, NULL);
    return 0;
}

static int (*const rows[RUN_EVENT_COUNT])(struct replaying *, struct engine__trial *,
                                          const json_t *) = {
    [RUN_TRIAL_SUGGESTED] = on_suggested, [RUN_STEP_STARTED] = on_started,
    [RUN_STEP_METRIC] = on_metric,        [RUN_TRIAL_CLONED] = on_cloned,
    [RUN_TRIAL_STOPPED] = on_stopped,     [RUN_STEP_SUCCEEDED] = on_good,
    [RUN_STEP_CACHED] = on_good,          [RUN_STEP_FAILED] = on_failed,
    [RUN_STEP_SKIPPED] = on_skipped,      [RUN_TRIAL_RESUMED] = on_resume,
    [RUN_TRIAL_ENDED] = on_over,
};

static void on_ended(struct replaying *r, const json_t *event)
{
    const char *address = json_string_value(json_object_get(event, "search"));
    struct engine__search *x;
    LIST_FOREACH(x, &r->e->searches, link)
    if (address != NULL && strcmp(x->step->address, address) == 0) {
        const char *why = json_string_value(json_object_get(event, "reason"));
        search_end(x->s, why == NULL ? "it was over" : why);
        x->told_over = true;
        drain(x, false);
    }
}

/* --- the whole log --- */

static void count_time(struct replaying *r, enum run_event type, const json_t *event)
{
    const char *ts = json_string_value(json_object_get(event, "ts"));
    int64_t now = ts == NULL ? 0 : rwf_clock_parse(ts);
    struct engine__search *x;
    if (type == RUN_RUN_RESUMED)
        r->last = now;
    LIST_FOREACH(x, &r->e->searches, link)
    if (x->begun && r->last > 0 && now > r->last)
        x->spent += now - r->last;
    r->last = now;
}

/* What a resume of failed steps does to trials. */
static void try_again(struct replaying *r)
{
    struct engine__search *x;
    LIST_FOREACH(x, &r->e->searches, link)
    for (uint32_t i = 0; i < x->count; i++)
        search_again(x->s, i);
}

static int on_event(void *ctx, const json_t *event)
{
    struct replaying *r = ctx;
    enum run_event type =
        run_event_parse(json_string_value(json_object_get(event, "type")));
    if (type == RUN_EVENT_COUNT)
        return 0;
    count_time(r, type, event);
    if (type == RUN_SEARCH_ENDED)
        on_ended(r, event);
    if (type == RUN_RUN_RESUMED && json_is_true(json_object_get(event, "failed")))
        try_again(r);
    struct engine__trial *t = rows[type] == NULL ? NULL : trial_in(r, event);
    if (t == NULL)
        return 0;
    t->search->begun = true;
    r->failed = rows[type](r, t, event) != 0;
    if (!r->failed)
        drain(t->search, false);
    return r->failed;
}

int engine__searches_replay(struct engine *e, const char *path, struct rwf_err *err)
{
    struct replaying r = {.e = e, .err = err};
    if (LIST_EMPTY(&e->searches))
        return 0;
    if (run_log_read(path, 0, on_event, &r, NULL, err) != 0 || r.failed)
        return rwf_wrap(err, "%s", path), -1;
    return 0;
}
