/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "job/job.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/json_read.h"
#include "base/mem.h"
#include "job/cron.h"

enum { NAME_MAX_LEN = 100, RETRIES_MAX = 1000, BACKOFF_MAX_S = 60 };

static const char *const state_names[] = {
#define X(name, text, ended) text,
    JOB_STATES(X)
#undef X
};
static const bool state_ended[] = {
#define X(name, text, ended) ended,
    JOB_STATES(X)
#undef X
};
static const char *const event_names[] = {
#define X(name, text) text,
    JOB_EVENTS(X)
#undef X
};
static const char *const mode_names[] = {
#define X(name, text) text,
    JOB_MODES(X)
#undef X
};

const char *job_state_name(enum job_state s)
{
    return state_names[s];
}

bool job_state_ended(enum job_state s)
{
    return state_ended[s];
}

const char *job_mode_name(enum job_mode m)
{
    return mode_names[m];
}

/* --- the table --- */

enum after { KEEP_MODE, THEN_RESUME, THEN_RETRY };

/* From `from`, `event` leads to `to`; with retries left to `again` (where that is
 * another state), which takes one. `after`: how it would go on from there. */
static const struct transition {
    enum job_state from;
    enum job_event event;
    enum job_state to, again;
    enum after after;
} transitions[] = {
    {JOB_QUEUED, JOB_EVENT_START, JOB_RUNNING, JOB_RUNNING, KEEP_MODE},
    {JOB_QUEUED, JOB_EVENT_STOP, JOB_STOPPED, JOB_STOPPED, KEEP_MODE},
    {JOB_QUEUED, JOB_EVENT_GIVE_UP, JOB_FAILED, JOB_FAILED, KEEP_MODE},
    {JOB_SCHEDULED, JOB_EVENT_STOP, JOB_STOPPED, JOB_STOPPED, KEEP_MODE},
    {JOB_RUNNING, JOB_EVENT_SUCCEED, JOB_SUCCEEDED, JOB_SUCCEEDED, KEEP_MODE},
    {JOB_RUNNING, JOB_EVENT_FAIL, JOB_FAILED, JOB_QUEUED, THEN_RETRY},
    {JOB_RUNNING, JOB_EVENT_VANISH, JOB_FAILED, JOB_QUEUED, THEN_RESUME},
    {JOB_RUNNING, JOB_EVENT_INTERRUPT, JOB_QUEUED, JOB_QUEUED, THEN_RESUME},
    {JOB_RUNNING, JOB_EVENT_STOP, JOB_STOPPING, JOB_STOPPING, KEEP_MODE},
    {JOB_STOPPING, JOB_EVENT_SUCCEED, JOB_SUCCEEDED, JOB_SUCCEEDED, KEEP_MODE},
    {JOB_STOPPING, JOB_EVENT_FAIL, JOB_STOPPED, JOB_STOPPED, THEN_RESUME},
    {JOB_STOPPING, JOB_EVENT_VANISH, JOB_STOPPED, JOB_STOPPED, THEN_RESUME},
    {JOB_STOPPING, JOB_EVENT_INTERRUPT, JOB_STOPPED, JOB_STOPPED, THEN_RESUME},
    {JOB_FAILED, JOB_EVENT_RETRY, JOB_QUEUED, JOB_QUEUED, KEEP_MODE},
    {JOB_STOPPED, JOB_EVENT_RETRY, JOB_QUEUED, JOB_QUEUED, KEEP_MODE},
};

static const struct transition *find(enum job_state from, enum job_event event)
{
    for (size_t i = 0; i < RWF_COUNT(transitions); i++) {
        if (transitions[i].from == from && transitions[i].event == event)
            return &transitions[i];
    }
    return NULL;
}

/* 1 s, 2 s, 4 s … */
static int64_t back_off(int attempt)
{
    int64_t s =
        attempt < 7 ? INT64_C(1) << (attempt > 0 ? attempt - 1 : 0) : BACKOFF_MAX_S;
    return (s < BACKOFF_MAX_S ? s : BACKOFF_MAX_S) * RWF_NS_PER_S;
}

static int64_t retries(const struct job *j)
{
    return json_integer_value(json_object_get(j->spec, "retries"));
}

/* What a change of the state brings with it. */
static void settle(struct job *j, const struct job_change *c, bool again)
{
    bool begins = c->event == JOB_EVENT_START;
    if (begins) {
        j->attempt++;
        j->started = c->now;
    }
    if (again) {
        j->left--;
        j->not_before = c->now + back_off(j->attempt);
    } else {
        j->not_before = 0;
    }
    if (c->event == JOB_EVENT_RETRY)
        j->left = (int)retries(j);
    j->ended = state_ended[j->state] ? c->now : 0;
    if (c->event != JOB_EVENT_STOP || state_ended[j->state]) {
        j->exit_code = begins || c->event == JOB_EVENT_RETRY ? -1 : c->exit_code;
        free(j->cause);
        j->cause = c->cause ? rwf_xstrdup(c->cause) : NULL;
    }
}

int job_apply(struct job *j, const struct job_change *c, struct rwf_err *err)
{
    const struct transition *t = find(j->state, c->event);
    if (!t)
        return rwf_fail(err, RWF_E_USAGE, "job %s %s, but it is %s", j->id,
                        event_names[c->event], state_names[j->state]);
    bool again = t->again != t->to && c->retriable && j->left > 0;
    j->state = again ? t->again : t->to;
    if (c->event == JOB_EVENT_RETRY && job_text(j, "schedule"))
        j->state = JOB_SCHEDULED;
    if (t->after != KEEP_MODE)
        j->mode = t->after == THEN_RESUME ? JOB_MODE_RESUME : JOB_MODE_RETRY;
    settle(j, c, again);
    return 0;
}

/* --- life --- */

const char *job_text(const struct job *j, const char *key)
{
    const char *text = json_string_value(json_object_get(j->spec, key));
    return text && *text ? text : NULL;
}

int job_priority(const struct job *j)
{
    return (int)json_integer_value(json_object_get(j->spec, "priority"));
}

static bool texts_only(const json_t *list)
{
    const json_t *one;
    size_t i;
    if (list && !json_is_array(list))
        return false;
    json_array_foreach((json_t *)(uintptr_t)list, i, one) {
        if (!json_is_string(one))
            return false;
    }
    return true;
}

static bool env_ok(const json_t *env)
{
    const char *name;
    json_t *value;
    if (env && !json_is_object(env))
        return false;
    json_object_foreach((json_t *)(uintptr_t)env, name, value) {
        if (!*name || strpbrk(name, "=,") || !json_is_string(value))
            return false;
    }
    return true;
}

static bool digest_ok(const char *text)
{
    return text && strlen(text) == 64 && strspn(text, "0123456789abcdef") == 64;
}

/* Paths in it end up in the file system, so they are looked at again here. */
static int check_spec(const json_t *spec, struct rwf_err *err)
{
    struct rwf_reader r = {
        .object = spec, .what = "job", .code = RWF_E_USAGE, .err = err};
    const char *name = rwf_read_text(&r, "name", "");
    const char *recipe = rwf_read_text(&r, "recipe", "");
    const char *digest = rwf_read_text(&r, "digest", "");
    const char *schedule = rwf_read_text(&r, "schedule", "");
    struct job_cron cron;
    rwf_read_int(&r, "priority", 0, INT32_MIN, INT32_MAX);
    rwf_read_int(&r, "retries", 0, 0, RETRIES_MAX);
    if (!r.failed && (!*name || strlen(name) > NAME_MAX_LEN))
        rwf_read_fail(&r, "name: 1 to %d bytes are expected", NAME_MAX_LEN);
    if (!r.failed && !rwf_fs_is_beneath(recipe))
        rwf_read_fail(&r, "recipe '%s' is no path in the bundle", recipe);
    if (!r.failed && !digest_ok(digest))
        rwf_read_fail(&r, "digest '%s' is none", digest);
    if (!r.failed && (!texts_only(json_object_get(spec, "args")) ||
                      !texts_only(json_object_get(spec, "needs")) ||
                      !texts_only(json_object_get(spec, "secrets")) ||
                      !env_ok(json_object_get(spec, "env"))))
        rwf_read_fail(
            &r, "args, needs and secrets are lists of texts, env an object of them");
    if (r.failed)
        return -1;
    return *schedule ? job_cron_parse(schedule, &cron, err) : 0;
}

static bool id_ok(const char *id)
{
    return id && *id && strlen(id) < 64 &&
           strspn(id, "0123456789abcdefghijklmnopqrstuvwxyz-") == strlen(id) &&
           *id >= '0' && *id <= '9';
}

struct job *job_create(const char *id, const json_t *spec, int64_t now,
                       struct rwf_err *err)
{
    if (!id_ok(id)) {
        rwf_fail(err, RWF_E_USAGE, "job: '%s' is no id", id ? id : "");
        return NULL;
    }
    if (check_spec(spec, err))
        return NULL;
    struct job *j = rwf_xcalloc(1, sizeof(*j));
    j->id = rwf_xstrdup(id);
    j->spec = json_deep_copy(spec);
    j->name = rwf_xstrdup(job_text(j, "name"));
    j->state = job_text(j, "schedule") ? JOB_SCHEDULED : JOB_QUEUED;
    j->left = (int)retries(j);
    j->exit_code = -1;
    j->created = now;
    return j;
}

void job_free(struct job *j)
{
    if (!j)
        return;
    free(j->id);
    free(j->name);
    free(j->parent);
    free(j->cause);
    json_decref(j->spec);
    free(j);
}

/* --- records --- */

json_t *job_json(const struct job *j)
{
    return json_pack(
        "{s:s, s:s, s:s, s:O, s:i, s:i, s:i, s:s?, s:s?, s:I, s:I, s:I, s:I, "
        "s:I}",
        "id", j->id, "state", state_names[j->state], "mode", mode_names[j->mode],
        "spec", j->spec, "attempt", j->attempt, "left", j->left, "exit_code",
        j->exit_code, "cause", j->cause, "parent", j->parent, "created",
        (json_int_t)j->created, "started", (json_int_t)j->started, "ended",
        (json_int_t)j->ended, "not_before", (json_int_t)j->not_before, "next",
        (json_int_t)j->next);
}

static size_t index_of(const char *const *names, size_t count, const char *name)
{
    size_t i = 0;
    while (i < count && (!name || strcmp(names[i], name) != 0))
        i++;
    return i;
}

static int64_t number(const json_t *record, const char *key)
{
    return json_integer_value(json_object_get(record, key));
}

static char *text_of(const json_t *record, const char *key)
{
    const char *text = json_string_value(json_object_get(record, key));
    return text ? rwf_xstrdup(text) : NULL;
}

struct job *job_parse(const json_t *record)
{
    const char *id = json_string_value(json_object_get(record, "id"));
    size_t state = index_of(state_names, JOB_STATE_COUNT,
                            json_string_value(json_object_get(record, "state")));
    size_t mode = index_of(mode_names, JOB_MODE_COUNT,
                           json_string_value(json_object_get(record, "mode")));
    if (state == JOB_STATE_COUNT || mode == JOB_MODE_COUNT)
        return NULL;
    struct job *j = job_create(id, json_object_get(record, "spec"),
                               number(record, "created"), NULL);
    if (!j)
        return NULL;
    j->state = (enum job_state)state;
    j->mode = (enum job_mode)mode;
    j->attempt = (int)number(record, "attempt");
    j->left = (int)number(record, "left");
    j->exit_code = (int)number(record, "exit_code");
    j->cause = text_of(record, "cause");
    j->parent = text_of(record, "parent");
    j->started = number(record, "started");
    j->ended = number(record, "ended");
    j->not_before = number(record, "not_before");
    j->next = number(record, "next");
    return j;
}

static void show_time(json_t *out, const char *key, int64_t ns)
{
    char text[RWF_TIME_LEN];
    if (ns <= 0)
        return;
    rwf_clock_format(ns, text);
    json_object_set_new(out, key, json_string(text));
}

static json_t *names_of(const json_t *object)
{
    json_t *out = json_array(), *value;
    const char *name;
    json_object_foreach((json_t *)(uintptr_t)object, name, value)
        json_array_append_new(out, json_string(name));
    return out;
}

json_t *job_shown(const struct job *j)
{
    json_t *args = json_object_get(j->spec, "args"),
           *needs = json_object_get(j->spec, "needs");
    json_t *out = json_pack(
        "{s:s, s:s, s:s, s:s, s:i, s:i, s:o, s:O*, s:O*, s:s*, s:s*}", "job", j->id,
        "name", j->name, "state", state_names[j->state], "recipe",
        job_text(j, "recipe"), "priority", job_priority(j), "attempt", j->attempt,
        "env", names_of(json_object_get(j->spec, "env")), "args", args, "needs", needs,
        "schedule", job_text(j, "schedule"), "parent", j->parent);
    json_object_set_new(out, "retries", json_integer(retries(j)));
    json_object_set_new(out, "digest", json_string(job_text(j, "digest")));
    if (j->exit_code >= 0)
        json_object_set_new(out, "exit_code", json_integer(j->exit_code));
    if (j->cause)
        json_object_set_new(out, "cause", json_string(j->cause));
    show_time(out, "created", j->created);
    show_time(out, "started", j->started);
    show_time(out, "ended", j->ended);
    show_time(out, "not_before", j->not_before);
    show_time(out, "next", j->next);
    return out;
}
