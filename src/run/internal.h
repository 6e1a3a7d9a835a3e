/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of the engine, shared by its files:
 *
 *   engine.c   life of a run: begin, loop, end       prepare.c  `when`, key, cache
 *   launch.c   starting an attempt                   finish.c   what came of an attempt
 *   resume.c   going on with a run                   control.c  stop, deadline, signals
 *   results.c  what finished steps gave              step.c     the other side:
 * run-step
 *
 * All of it runs in one thread, in the callbacks of one loop. What happens to a step is
 * told in this order: cache, log, schedule. An error that ends the run is kept by
 * engine__fatal; the loop then only waits for its processes to go.
 */
#ifndef RWF_RUN_INTERNAL_H
#define RWF_RUN_INTERNAL_H
#include <stdbool.h>
#include <sys/queue.h>
#include <uv.h>
#include "base/clock.h"
#include "base/digest.h"
#include "base/str.h"
#include "run/cache.h"
#include "run/engine.h"
#include "node/proc.h"

/* A step whose key is known and which was not in the cache. */
struct engine__ready {
    char key[RWF_DIGEST_LEN];
    json_t *parts;
};

struct engine__step {
    json_t *outputs, *metrics; /* once finished; NULL: none */
    struct engine__ready *ready;
    int deferred; /* times that somebody else held its key */
};

struct engine;

struct engine__keep;

/* An attempt while its process lives, and until its outputs are kept. */
struct engine__attempt {
    struct engine *engine;
    const struct plan_step *step;
    int number;
    struct proc *proc; /* NULL: gone */
    char *dir, *cwd;   /* absolute; cwd may be the user's own folder */
    char key[RWF_DIGEST_LEN];
    int lock; /* on the key */
    bool preempted; /* it was asked to end for a step of higher priority */
    json_t *metrics;
    int64_t last_progress;
    struct engine__keep *keep; /* while its outputs are being kept */
    LIST_ENTRY(engine__attempt) link;
};

struct engine {
    struct plan_graph *graph;
    const struct engine_options *options;
    const char *root;
    char id[RWF_RUN_ID_LEN];
    char *dir;  /* of the run */
    char *self; /* path of this program, for run-step */

    uv_loop_t loop;
    bool has_loop;
    uv_prepare_t pump;
    uv_idle_t busy;
    uv_timer_t wake, deadline;
    uv_signal_t signals[3];

    struct run_log *log;
    struct run_cache *cache;
    struct schedule_cluster *own_cluster; /* or NULL: the options' */
    struct schedule *schedule;
    struct engine__step *steps;
    LIST_HEAD(, engine__attempt) running;
    struct plan_results results;
    struct rwf_str names, step_dir; /* what results lends out */

    int64_t started; /* monotonic */
    int exit_code;
    bool stopping, fatal;
    int stop_signals;
    struct rwf_err error; /* the one that was fatal */
};

static inline const struct plan_step *engine__step_at(const struct engine *e,
                                                      uint32_t i)
{
    return plan_graph_step(e->graph, i);
}

/* engine.c */
struct engine *engine__create(struct plan_graph *g,
                              const struct engine_options *options,
                              struct rwf_err *err);
void engine__destroy(struct engine *e);
/* Of the run e->id; takes its lock. */
int engine__open_log(struct engine *e, struct rwf_err *err);
/* Runs the loop until all is done, then ends the run in its log. */
int engine__drive(struct engine *e, struct rwf_err *err);
void engine__fatal(struct engine *e, const struct rwf_err *err);
/* The cause counts for the exit code of the run. */
void engine__blame(struct engine *e, int exit_code);

/* results.c */
void engine__results_init(struct engine *e);
/* Takes both (may be NULL). */
void engine__results_set(struct engine *e, uint32_t step, json_t *outputs,
                         json_t *metrics);
/* Absolute folder of an attempt; the caller's to free. */
char *engine__attempt_dir(const struct engine *e, const struct plan_step *step,
                          int number);
void engine__resolve_as(struct engine *e, enum plan_mode mode);

/* prepare.c */
void engine__prepare(struct engine *e, uint32_t step);
/* Looks into the cache for a step that is ready: true when it had it (and all is done).
 */
bool engine__hit(struct engine *e, uint32_t step);
void engine__ready_free(struct engine__step *s);

/* launch.c */
void engine__launch(struct engine *e, const struct schedule_decision *d);

/* finish.c */
void engine__report(void *attempt, const json_t *line);
void engine__exited(void *attempt, const struct proc_exit *result);
void engine__attempt_free(struct engine__attempt *a);
/* A step ended well without a process. Takes metrics. */
void engine__decided(struct engine *e, uint32_t step, int number, json_t *metrics);
/* An attempt did not end well. result may be NULL: there was no process. */
void engine__failed(struct engine *e, uint32_t step, int number, enum plan_cause cause,
                    int exit_code, const char *message, const struct proc_exit *result);
/* The cause and the exit code that an error before any process means. */
void engine__failed_early(struct engine *e, uint32_t step, int number,
                          const struct rwf_err *err);
/* An error that is not the step's fault, and with which the next would fare no better.
 */
bool engine__is_environment(int code);
/* The cause that stands for an exit code of our own. */
enum plan_cause engine__cause_of(int exit_code);
/* The exit code of a run in which a step failed by cause, when nothing else is known.
 */
int engine__exit_of(enum plan_cause cause);

/* control.c */
int engine__control_start(struct engine *e, struct rwf_err *err);
void engine__stop(struct engine *e, const char *reason, int exit_code);
void engine__kill_all(struct engine *e);
/* Ends a step's attempt for a step of higher priority. */
void engine__preempt(struct engine *e, uint32_t step, uint32_t because);

#endif
