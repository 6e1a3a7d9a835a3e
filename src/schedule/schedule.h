/* SPDX-License-Identifier: Apache-2.0
 *
 * Scheduling, pure: (graph, resources, events) -> decisions. No I/O, no clock: time
 * comes in as an argument. The same events give the same decisions.
 *
 * A step's life is a table (state.h): pending -> ready -> queued -> running -> done,
 * with retry and skip. The engine asks for decisions until there are none, acts, and
 * reports back what happened.
 */
#ifndef RWF_SCHEDULE_SCHEDULE_H
#define RWF_SCHEDULE_SCHEDULE_H
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "plan/graph.h"
#include "schedule/machine.h"
#include "schedule/state.h"

enum schedule_verb {
    SCHEDULE_NONE, /* nothing now; *ret_wake is when to ask again (INT64_MAX: never) */
    SCHEDULE_PREPARE, /* all it needs is done: evaluate `when`, look into the cache;
                         answer with SCHEDULE_EVENT_SKIP, _HIT or _MISS */
    SCHEDULE_START,   /* resources are reserved: start an attempt; answer with
                         SCHEDULE_EVENT_START, _HIT, _FAILED or schedule_defer */
    SCHEDULE_SKIP,    /* something it needs failed or was skipped: record it */
    SCHEDULE_DONE,    /* every step is in a final state */
};

struct schedule_decision {
    enum schedule_verb verb;
    uint32_t step;
    uint32_t because; /* SKIP: the step it is due to */
    int attempt;      /* START: 1, 2, … */
    int gpus[16];     /* START: ids of the GPUs granted */
    int gpu_count;
};

struct schedule;

/* RWF_E_FIT with the step's place, the missing amount and the nearest knob when a step
 * can never run on machine. */
struct schedule *schedule_create(const struct plan_graph *g,
                                 const struct schedule_machine *machine,
                                 struct rwf_err *err);
void schedule_destroy(struct schedule *s);

/* What happened to a step. cause is used by SCHEDULE_EVENT_FAILED: whether it is
 * retried follows from the step's policy. An event that the step's state does not know
 * is a bug (assertion): replay checks first with schedule_accepts. */
void schedule_event(struct schedule *s, uint32_t step, enum schedule_event event,
                    enum plan_cause cause, int64_t now);
bool schedule_accepts(const struct schedule *s, uint32_t step,
                      enum schedule_event event);
/* True when a FAILED event with this cause now would be retried; *ret_delay in ns. */
bool schedule_would_retry(const struct schedule *s, uint32_t step,
                          enum plan_cause cause, int64_t *ret_delay);

/* Answer to SCHEDULE_START: not now; its resources are free again and it is offered
 * once more after delay ns. No attempt was made. */
void schedule_defer(struct schedule *s, uint32_t step, int64_t now, int64_t delay);

/* Before the first decision, steps in ascending order: puts a step where the log of an
 * earlier head left it. state: final, or PENDING (it runs again; attempt and failures
 * count on). */
void schedule_restore(struct schedule *s, uint32_t step, enum schedule_state state,
                      int attempt, int failures);

/* The next decision. Call until SCHEDULE_NONE or SCHEDULE_DONE. */
struct schedule_decision schedule_next(struct schedule *s, int64_t now,
                                       int64_t *ret_wake);

/* No further steps start; what waits becomes stopped. Running ones are the engine's. */
void schedule_stop(struct schedule *s);

enum schedule_state schedule_state(const struct schedule *s, uint32_t step);
int schedule_attempt(const struct schedule *s, uint32_t step);
size_t schedule_count(const struct schedule *s, enum schedule_state state);
/* One line: why a step that is not running does not run ("waits for tasks.a",
 * "waits for 2 of 4 cpu", "retries in 3s"). The caller's to free. */
char *schedule_why(const struct schedule *s, uint32_t step, int64_t now);

#endif
