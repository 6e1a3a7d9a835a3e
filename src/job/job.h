/* SPDX-License-Identifier: Apache-2.0
 *
 * A job: a recipe that somebody has sent to the head, and what has become of it. Pure:
 * time comes in, effects are the keeper's (keeper.h).
 *
 * Invariant: the state changes only by job_apply, along the table in job.c; what is
 * journaled is job_json, and job_parse gives the same job again.
 */
#ifndef RWF_JOB_JOB_H
#define RWF_JOB_JOB_H
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

/* X(NAME, "name", ended) */
#define JOB_STATES(X)                                                                  \
    X(QUEUED, "queued", false)       /* waits for its turn, or for who it needs */     \
    X(SCHEDULED, "scheduled", false) /* makes a job each time its schedule says so */  \
    X(RUNNING, "running", false)                                                       \
    X(STOPPING, "stopping", false) /* was asked to end */                              \
    X(SUCCEEDED, "succeeded", true)                                                    \
    X(FAILED, "failed", true)                                                          \
    X(STOPPED, "stopped", true)
enum job_state {
#define X(name, text, ended) JOB_##name,
    JOB_STATES(X)
#undef X
        JOB_STATE_COUNT
};

/* What happens to a job. */
#define JOB_EVENTS(X)                                                                  \
    X(START, "is started")                                                             \
    X(SUCCEED, "has succeeded")                                                        \
    X(FAIL, "has failed")                                                              \
    X(VANISH, "has vanished")       /* its process, without a word */                  \
    X(INTERRUPT, "was interrupted") /* the head ended, and asked it to */              \
    X(STOP, "is to stop")                                                              \
    X(RETRY, "is to be retried")                                                       \
    X(GIVE_UP, "cannot start") /* who it needs has failed */
enum job_event {
#define X(name, text) JOB_EVENT_##name,
    JOB_EVENTS(X)
#undef X
        JOB_EVENT_COUNT
};

/* How it starts the next time. */
#define JOB_MODES(X)                                                                   \
    X(RUN, "run")       /* from the beginning */                                       \
    X(RESUME, "resume") /* goes on where it was */                                     \
    X(RETRY, "retry")   /* what has failed, again */
enum job_mode {
#define X(name, text) JOB_MODE_##name,
    JOB_MODES(X)
#undef X
        JOB_MODE_COUNT
};

struct job {
    char *id, *name;
    char *parent; /* the schedule that made it; NULL: none */
    enum job_state state;
    enum job_mode mode;
    /* {recipe, args[], env{}, secrets[names in env], digest, priority, needs[ids],
     * retries, schedule} */
    json_t *spec;
    int attempt;   /* how often it was started */
    int left;      /* retries that are left */
    int exit_code; /* -1: none yet */
    char *cause;   /* why it ended so, in words; NULL: nothing to say */
    /* Wall ns; 0: not yet. not_before: a retry waits; next: a schedule fires. */
    int64_t created, started, ended, not_before, next;
};

const char *job_state_name(enum job_state s);
bool job_state_ended(enum job_state s);
const char *job_mode_name(enum job_mode m);

/* A new one from what a client sent (borrowed): RWF_E_USAGE says what is wrong in it.
 */
struct job *job_create(const char *id, const json_t *spec, int64_t now,
                       struct rwf_err *err);
void job_free(struct job *j);
json_t *job_json(const struct job *j);
/* NULL: this is no job's record. */
struct job *job_parse(const json_t *record);
/* For people: no values of the environment. */
json_t *job_shown(const struct job *j);

/* retriable: of a failure, that trying again may help. cause may be NULL. Fails with
 * RWF_E_USAGE, and changes nothing, when this cannot happen in the job's state. */
struct job_change {
    enum job_event event;
    bool retriable;
    int exit_code;
    const char *cause;
    int64_t now;
};
int job_apply(struct job *j, const struct job_change *c, struct rwf_err *err);

int job_priority(const struct job *j);
const char *job_text(const struct job *j, const char *key); /* of spec; NULL: none */

/* --- queue.c: decisions over all jobs (ids are unique, the order is any) --- */
struct job_list {
    struct job **items;
    size_t count, cap;
};
struct job *job_find(const struct job_list *l, const char *id);
/* By id, a unique piece at either end of one, or a name (the newest of it). NULL with
 * RWF_E_NORUN. */
struct job *job_resolve(const struct job_list *l, const char *name,
                        struct rwf_err *err);
/* The same for who is to be stopped: by a name the newest that is not over, if there is
 * one; so a schedule is found whose last job has ended. */
struct job *job_resolve_open(const struct job_list *l, const char *name,
                             struct rwf_err *err);
/* Who is to start now: of those whose needs have succeeded and whose time has come, the
 * highest priority, then the oldest. NULL: nobody, or as many run as may. */
struct job *job_next(const struct job_list *l, size_t most, int64_t now);
/* Who it still waits for (an id); NULL: nobody. */
const char *job_needs(const struct job_list *l, const struct job *j);
/* A queued job that can never start; *ret_need: who it needs (id). NULL: none. */
struct job *job_hopeless(const struct job_list *l, const char **ret_need);
/* Whether a queued job needs it. */
const struct job *job_needed_by(const struct job_list *l, const struct job *j);
/* When time alone changes something: the next not_before or next; INT64_MAX: never. */
int64_t job_wake(const struct job_list *l, int64_t now);
/* The run of a schedule that is not over; NULL: none. */
const struct job *job_child_active(const struct job_list *l,
                                   const struct job *schedule);
/* The oldest ended job of a schedule that has more than keep of them; NULL: none. */
struct job *job_child_old(const struct job_list *l, const struct job *schedule,
                          size_t keep);

#endif
