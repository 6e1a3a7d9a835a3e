/* SPDX-License-Identifier: Apache-2.0
 *
 * The state of a run: the replay of its event log. Pure: the only input is events.
 * Every view (status, progress, report, JUnit) and resume read this.
 */
#ifndef RWF_RUN_STATE_H
#define RWF_RUN_STATE_H
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "schedule/state.h"

struct run_step_state {
    const char *address;
    enum schedule_state state;
    int attempt;     /* of the last attempt started; 0: none */
    int failures;    /* attempts that failed since the step was last tried anew */
    int64_t started; /* wall ns of the last attempt; 0: never */
    int64_t ended;
    double progress;     /* 0..1, -1 unknown */
    int64_t rows, bytes; /* -1 unknown */
    const char *dir;     /* last attempt's folder, relative to the run's; or NULL */
    const char *cause;   /* of the last failure, or NULL */
    const char *message; /* of the last failure, or why skipped; or NULL */
    int pid;
    const char *node;      /* of the cluster, where it runs or ran last; or NULL */
    const json_t *metrics; /* last values, or NULL */
    const json_t *outputs; /* {name: {path,digest,size}}, or NULL */
    const char *key;       /* or NULL */
    const char *origin;    /* cached: "RUN/ADDRESS" */
    const json_t *usage;   /* or NULL */
};

struct run_state {
    char *id, *name, *recipe, *status; /* status: running, succeeded, failed, stopped */
    int64_t started, ended;            /* wall ns */
    int exit_code;                     /* -1 while running */
    int pid;
    int64_t seq;
    size_t total; /* steps in the graph */
    size_t counts[STEP_STATE_COUNT];
    char *message;
    bool stay; /* it goes on for what it serves, when all is done */
    json_t *options; /* with which it goes on; or NULL */
};

struct run_state *run_state_create(void);
void run_state_destroy(struct run_state *s);
/* 0, or -1 when the event contradicts the state (a damaged log): RWF_E_INPUT. */
int run_state_apply(struct run_state *s, const json_t *event, struct rwf_err *err);
/* Replays a whole log; RWF_E_NORUN when there is none. */
struct run_state *run_state_load(const char *log_path, struct rwf_err *err);

size_t run_state_step_count(const struct run_state *s); /* steps seen in events */
const struct run_step_state *run_state_step(const struct run_state *s,
                                            const char *address);
const struct run_step_state *run_state_step_at(const struct run_state *s, size_t i);

#endif
