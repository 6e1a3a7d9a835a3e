/* SPDX-License-Identifier: Apache-2.0
 *
 * Scheduling, pure: (graph, cluster, events) -> decisions. No I/O, no clock: time
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
#include "schedule/cluster.h"
#include "schedule/state.h"

#define SCHEDULE_FREE_RETRIES 3

enum schedule_verb {
    SCHEDULE_NONE, /* nothing now; *ret_wake is when to ask again (INT64_MAX: never) */
    SCHEDULE_PREPARE, /* all it needs is done: evaluate `when`, look into the cache;
                         answer with SCHEDULE_EVENT_SKIP, _HIT or _MISS */
    SCHEDULE_START,   /* resources are reserved: start an attempt; answer with
                         SCHEDULE_EVENT_START, _HIT, _FAILED or schedule_defer */
    SCHEDULE_PREEMPT, /* a step of higher priority waits: end this attempt; answer with
                         SCHEDULE_EVENT_PREEMPTED once it has (or with what came of it
                         before); it goes back to the queue, and it cost no attempt */
    SCHEDULE_SKIP,    /* something it needs failed or was skipped: record it */
    SCHEDULE_DONE,    /* every step is in a final state */
};

struct schedule_decision {
    enum schedule_verb verb;
    uint32_t step;
    uint32_t because; /* SKIP: the step it is due to; PREEMPT: the one that waits */
    int attempt;      /* START: 1, 2, … */
    uint32_t ranks;   /* START: how many; where each goes: schedule_rank */
    uint32_t node;    /* START: of rank 0, and its GPUs: */
    int gpus[SCHEDULE_MAX_GPUS];
    int gpu_count;
    double gpu_share; /* of that one card, when below 1 */
};

struct schedule;

/* Steps from anywhere; those of a graph have places in messages. */
struct schedule_steps {
    const struct plan_graph *graph; /* or NULL */
    const void *ctx;
    uint32_t count;
    const struct plan_step *(*at)(const void *ctx, uint32_t step);
    bool leases; /* what a policy that is leased asks for is taken by leases, not here */
    bool may_wait; /* nodes may still join: what none can hold waits */
};

/* Those of a graph. */
struct schedule_steps schedule_steps_of(const struct plan_graph *g);

/* cluster is the caller's and must outlive this; others may use it, too. RWF_E_FIT with
 * the step's place, the nearest node, the missing amount and the nearest knob when a step
 * can never run there. */
struct schedule *schedule_create(const struct plan_graph *g,
                                 struct schedule_cluster *cluster, struct rwf_err *err);
struct schedule *schedule_create_over(const struct schedule_steps *steps,
                                      struct schedule_cluster *cluster,
                                      struct rwf_err *err);
void schedule_destroy(struct schedule *s);

/* What happened to a step. cause is used by SCHEDULE_EVENT_FAILED: whether it is
 * retried follows from the step's policy. An event that the step's state does not know
 * is a bug (assertion): replay checks first with schedule_accepts. */
void schedule_event(struct schedule *s, uint32_t step, enum schedule_event event,
                    enum plan_cause cause, int64_t now);
bool schedule_accepts(const struct schedule *s, uint32_t step,
                      enum schedule_event event);
/* True when a FAILED event with this cause now would be retried; *ret_delay in ns. A lost
 * node is nothing that the step did: that is retried SCHEDULE_FREE_RETRIES times before it
 * counts. */
bool schedule_would_retry(const struct schedule *s, uint32_t step,
                          enum plan_cause cause, int64_t *ret_delay);

/* True and *err (RWF_E_FIT, as schedule_create) when no node that is there now can ever
 * hold the step. */
bool schedule_hopeless(const struct schedule *s, uint32_t step, struct rwf_err *err);
/* A rank of a granted step runs on another node, with these GPUs, than was decided: somebody
 * else knew better. False: there is no room for it, and it counts where it did. */
bool schedule_move(struct schedule *s, uint32_t step, uint32_t rank, uint32_t node,
                   uint64_t gpus);

/* Resources are reserved for it. */
bool schedule_granted(const struct schedule *s, uint32_t step);
/* How many ranks a started step got, of one with a range of them. */
uint32_t schedule_ranks(const struct schedule *s, uint32_t step);
/* False: it has no fewer ranks to do with. True: somebody else knows that there is no room for
 * all that it was granted; until it starts it is offered with fewer. */
bool schedule_fewer(struct schedule *s, uint32_t step);
/* How its ranks are placed now. */
enum plan_placement schedule_placement(const struct schedule *s, uint32_t step);
/* Where a rank of a started step runs. */
struct schedule_grant schedule_rank(const struct schedule *s, uint32_t step,
                                    uint32_t rank);

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
