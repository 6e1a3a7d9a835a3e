/* SPDX-License-Identifier: Apache-2.0
 *
 * Judging reports: at which time of its trial a report counts, what the scheduler
 * decides upon it (and then, whom it lets go on), and whether the whole may end.
 */
#include "config.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/mem.h"
#include "search/inside.h"

/* The checkpoint that it goes on from is the newest there was, so may be newer than
 * what the other had reported when that was decided: its steps are asked for only now.
 */
static void take_steps(struct search__trial *t, const struct search__trial *other, double before)
{
    t->count = 0;
    for (size_t i = 0; i < other->count && other->steps[i] < before; i++)
        *RWF_PUSH(t->steps, t->count, t->cap) = other->steps[i];
    t->source = -1;
}

/* The time of a report; 0: it does not count, -1: it cannot be told. */
static int64_t time_of(struct search *s, struct search__trial *t, const json_t *line,
                       double step)
{
    const json_t *epoch = json_object_get(line, "epoch");
    t->reports++;
    if (s->unit == UNIT_EPOCH)
        return json_is_number(epoch) ? (int64_t)json_number_value(epoch) : -1;
    if (isnan(step)) /* after reports with a step it sums up: of no time of its own */
        return t->stepped ? (int64_t)t->result.at : t->reports;
    t->stepped = true;
    if (s->unit == UNIT_STEP)
        return (int64_t)step;
    if (t->source >= 0)
        take_steps(t, &s->trials[t->source], step);
    if (t->count > 0 && step <= t->steps[t->count - 1])
        return 0;
    *RWF_PUSH(t->steps, t->count, t->cap) = step;
    return (int64_t)t->count;
}

static bool is_special(const char *name)
{
    static const char *const special[] = {"progress", "rows",    "bytes",
                                          "step",     "message", "checkpoint"};
    for (size_t i = 0; i < RWF_COUNT(special); i++)
        if (strcmp(special[i], name) == 0)
            return true;
    return false;
}

static bool has_metrics(const json_t *line)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)line, name, value)
        if (!is_special(name))
            return true;
    return false;
}

void search__add_names(struct rwf_str *out, const json_t *line)
{
    const char *name;
    json_t *value;
    size_t shown = 0;
    json_object_foreach((json_t *)(uintptr_t)line, name, value) {
        if (is_special(name) || shown == 8)
            continue;
        rwf_str_addf(out, "%s%.40s", shown++ > 0 ? ", " : "", name);
    }
    if (shown == 0)
        rwf_str_add(out, "nothing");
}

static void fail_trial(struct search *s, uint32_t trial, const char *before,
                       const char *after, const json_t *line)
{
    struct rwf_str seen = {0};
    search__add_names(&seen, line);
    s->trials[trial].ending = true;
    search__push(s, SEARCH_FAIL, trial, "%s '%.60s'%s; it reported: %.90s", before, s->metric,
         after, seen.data);
    rwf_str_free(&seen);
}

static void take_value(struct search__trial *t, double value, int64_t at)
{
    t->result.value = value;
    t->result.at = (double)at;
}

static bool is_reached(const struct search *s, const char *name, double value,
                       double bound)
{
    bool up = strcmp(name, s->metric) != 0 || s->maximize;
    return up ? value >= bound : value <= bound;
}

void search__check_stop(struct search *s, uint32_t trial, const json_t *metrics)
{
    const char *name;
    json_t *bound;
    char why[200];
    json_object_foreach(s->stop, name, bound) {
        const json_t *value = json_object_get(metrics, name);
        if (strcmp(name, "trials") == 0 || !json_is_number(value) ||
            !is_reached(s, name, json_number_value(value), json_number_value(bound)))
            continue;
        snprintf(why, sizeof(why), "trial %u has %.60s %.6g", (unsigned)trial, name,
                 json_number_value(value));
        search_end(s, why);
    }
}

static void clone(struct search *s, const struct tune_decision *d,
                  struct search_action *a)
{
    struct search__trial *t = &s->trials[d->trial];
    a->from = (uint32_t)d->source;
    a->config = json_deep_copy(d->config);
    json_decref(t->config);
    t->config = json_deep_copy(d->config);
    t->source = (int64_t)d->source;
    t->result.cloned = true;
    search__set_status(s, t, SEARCH_RUNNING);
}

static void decide(struct search *s, const struct tune_decision *d, double value,
                   int64_t at)
{
    static const enum search_verb verbs[] = {[TUNE_CONTINUE] = SEARCH_PROMOTE,
                                             [TUNE_STOP] = SEARCH_STOP,
                                             [TUNE_PAUSE] = SEARCH_PAUSE,
                                             [TUNE_RESUME] = SEARCH_RESUME,
                                             [TUNE_CLONE] = SEARCH_CLONE};
    struct search__trial *t = &s->trials[d->trial];
    struct search_action *a =
        search__push(s, verbs[d->action], (uint32_t)d->trial, "%s",
                     d->reason != NULL && *d->reason ? d->reason : "goes on");
    a->rung = d->rung > 0 ? (int)d->rung : -1;
    a->at = at > 0 ? (double)at : NAN;
    a->value = value;
    if (d->action == TUNE_STOP) {
        t->ending = true;
        t->at_max = d->reason != NULL && strcmp(d->reason, "max_t") == 0;
    } else if (d->action == TUNE_PAUSE) {
        search__set_status(s, t, SEARCH_PAUSED);
    } else if (d->action == TUNE_RESUME) {
        search__set_status(s, t, SEARCH_RUNNING);
    } else if (d->action == TUNE_CLONE) {
        clone(s, d, a);
    }
}

static void judge(struct search *s, uint32_t trial, int64_t at, double value, bool last)
{
    struct tune_decision d = {.action = TUNE_CONTINUE};
    struct rwf_err err = RWF_ERR_INIT;
    if (tune_scheduler_report(s->scheduler, trial, at, value, &d, &err) != 0)
        return;
    /* One that ends by itself now need not be ended, nor held. */
    bool acts = !d.ignored && !last && (d.action != TUNE_CONTINUE || d.rung > 0);
    if (acts)
        decide(s, &d, value, at);
    json_decref(d.config);
}

void search_report(struct search *s, uint32_t trial, const json_t *line, double step)
{
    struct search__trial *t = &s->trials[trial];
    const json_t *metric = json_object_get(line, s->metric);
    const json_t *progress = json_object_get(line, "progress");
    if (!search__is_open(t) || t->ending || !has_metrics(line))
        return;
    if (metric == NULL) {
        if (!s->late && isnan(t->result.value))
            fail_trial(s, trial, "its first report has no", "", line);
        return;
    }
    if (!json_is_number(metric) || !isfinite(json_number_value(metric))) {
        fail_trial(s, trial, "its", " is not a finite number", line);
        return;
    }
    int64_t at = time_of(s, t, line, step);
    if (at < 0) {
        fail_trial(s, trial, "time_attr is epoch, and beside", " there is none", line);
        return;
    }
    if (at == 0)
        return;
    take_value(t, json_number_value(metric), at);
    if (t->status == SEARCH_RUNNING)
        judge(s, trial, at, json_number_value(metric),
              json_is_number(progress) && json_number_value(progress) >= 1);
    search__check_stop(s, trial, line);
}

bool search_next(struct search *s, bool room, struct search_action *ret)
{
    struct tune_decision d;
    if (s->head == s->count && room && s->over == NULL &&
        tune_scheduler_next(s->scheduler, &d)) {
        decide(s, &d, NAN, 0);
        json_decref(d.config);
    }
    if (s->head == s->count)
        return false;
    *ret = s->queue[s->head++];
    if (s->head == s->count)
        s->head = s->count = 0;
    return true;
}
