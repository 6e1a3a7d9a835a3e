/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of the engine, shared by its files:
 *
 *   engine.c   life of a run: begin, loop, end       prepare.c  `when`, key, cache
 *   launch.c   starting an attempt                   finish.c   what came of an attempt
 *   native.c   native steps and actors               runtime.c  head and node for those
 *   service.h  the server of service steps
 *   resume.c   going on with a run                   control.c  stop, deadline, signals
 *   results.c  what finished steps gave              step.c     the other side:
 *   trials.h   searches: trials and what ends them              run-step
 *   away.h     a run on a cluster
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
    struct engine__trial *trial; /* of a search; else NULL */
    int deferred; /* times that somebody else held its key */
    int refused;  /* times that the cluster's head had no place that could ever do */
    bool nowhere; /* it has been said that no node can hold it yet */
    struct engine__made *made; /* where its outputs lie on the cluster; or NULL */
};

struct engine;
struct engine__trial;
struct engine__search;
struct engine__made;

/* What the end of an attempt means that its search wanted to end. */
enum engine__ending {
    ENDING_NONE,
    ENDING_STOP,  /* the trial is done, with what it has */
    ENDING_PAUSE, /* it waits */
    ENDING_CLONE, /* it goes on from another's checkpoint */
    ENDING_FAIL,
};

struct engine__away;
struct away_attempt;
struct engine__keep;
struct engine__runtime;
struct engine__service;
struct caller;
struct caller_call;

/* An attempt while its process or call lives, and until its outputs are kept. */
struct engine__attempt {
    struct engine *engine;
    const struct plan_step *step;
    int number;
    int ranks; /* of a gang; 0: it is none */
    struct proc *proc; /* NULL: gone, or a native step */
    struct caller_call *call; /* NULL: done, or no native step */
    struct away_attempt *away; /* it is on a cluster; else NULL */
    json_t *places;            /* of a gang on a cluster: where its ranks are; or NULL */
    int64_t started;          /* of call */
    uv_timer_t *grace;        /* until the worker of a stopped call is ended */
    char *dir, *cwd;   /* absolute; cwd may be the user's own folder */
    char key[RWF_DIGEST_LEN];
    int lock; /* on the key */
    enum engine__ending ending;
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

    struct engine__away *away;       /* NULL: it runs on this machine */
    bool is_native;                  /* the graph has native steps */
    struct engine__runtime *runtime; /* NULL: none of its steps has run */
    struct engine__service *service; /* NULL: no service step has run */
    /* It is to stay for what it serves; all is done, and it does; it was told to end. */
    bool stay, staying, leaving;

    struct run_log *log;
    struct run_cache *cache;
    struct schedule_machine machine;
    struct schedule_cluster *own_cluster; /* or NULL: the options' */
    struct schedule_cluster *cluster;     /* of steps and, in one process, of leases */
    struct schedule *schedule;
    struct engine__step *steps;
    LIST_HEAD(, engine__attempt) running;
    LIST_HEAD(, engine__search) searches;
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
/* Adds options.asked to what begins a run, or goes on with it. */
void engine__add_asked(const struct engine *e, json_t *event);
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

/* The key of a step, as ready. */
int engine__compute_key(struct engine *e, const struct plan_step *p, struct rwf_err *err);

/* trials*.c */
int engine__searches_open(struct engine *e, struct rwf_err *err);
void engine__searches_close(struct engine *e);
int engine__searches_replay(struct engine *e, const char *path, struct rwf_err *err);
/* A trial is prepared: false when that has ended it. */
bool engine__trial_begins(struct engine *e, const struct plan_step *p);
/* True when it had a cached result. */
bool engine__trial_hit(struct engine *e, uint32_t step);
/* It is queued: true when it does not go on now. */
bool engine__trial_waits(struct engine *e, uint32_t step);
void engine__trial_env(const struct engine__attempt *a, json_t *env);
/* An attempt of a trial: begins, and is to be marked as one that ends; reports. All do
 * nothing for other steps. */
void engine__trial_attempt(struct engine__attempt *a);
void engine__trial_mark(const struct engine__attempt *a);
void engine__trial_report(struct engine__attempt *a, const json_t *line);
/* It has ended well: NULL, or why that does not count. The caller's. */
char *engine__trial_missing(const struct engine__attempt *a);
/* The attempt ended as its search wanted: paused (what it had is kept), cloned, failed. */
void engine__trial_kept(struct engine__attempt *a, json_t *outputs, const char *key,
                        json_t *parts);
void engine__trial_cloned(struct engine__attempt *a);
void engine__trial_failed(struct engine__attempt *a);
/* Before that: what was decided since it was asked to end. */
void engine__trial_settle(struct engine__attempt *a);
/* Of a stopped or cloned trial: the parts of the key that its result has; NULL: as any step.
 * The caller's. */
json_t *engine__trial_parts(const struct engine__attempt *a, char key[RWF_DIGEST_LEN]);
/* A step has come to its end: its search is told. key: of its result, or NULL. */
void engine__trial_over(struct engine *e, uint32_t step, bool good, bool stopped,
                        const char *key);
bool engine__trial_hit_stopped(const struct engine *e, uint32_t step);
/* A failed or skipped trial is tried again. */
void engine__trial_again(struct engine *e, uint32_t step);
/* Something may have become free for trials. */
void engine__searches_poke(struct engine *e);
/* The step after all trials: true when an earlier run had the same search. */
bool engine__search_hit(struct engine *e, const struct plan_step *p);
void engine__search_finish(struct engine *e, const struct plan_step *p, int number);

/* launch.c */
void engine__launch(struct engine *e, const struct schedule_decision *d);
/* Makes the folder of an attempt, and its command with all of its environment. */
int engine__command(struct engine__attempt *a, struct op_command *ret,
                    struct rwf_err *err);
void engine__command_free(struct op_command *c);
/* How to start it; borrows from all. gpus: of d. */
void engine__proc_spec(const struct engine__attempt *a, const struct op_command *c,
                       const struct schedule_decision *d, struct proc_spec *ret);
/* It runs. node: where, or NULL. */
void engine__log_started(struct engine__attempt *a, const struct schedule_decision *d,
                         int pid, const char *node);
/* What a step gets, as DIR/step.json, with marks for secrets (their values: env). */
int engine__write_step(const struct engine *e, const struct engine__attempt *a,
                       json_t *spec, json_t *env, struct rwf_err *err);

/* native.c */
/* Submits the call of a native step; engine__called follows, once that is logged. */
int engine__call(struct engine *e, struct engine__attempt *a, struct rwf_err *err);
void engine__called(struct engine__attempt *a);
void engine__call_stop(struct engine__attempt *a, bool now);

/* runtime.c */
bool engine__runtime_needed(const struct plan_graph *g);
/* Starts it when the graph has native steps and it is not there yet. */
int engine__runtime_wanted(struct engine *e, struct rwf_err *err);
/* Adds what tells a program where the runtime is, if there is one. */
void engine__runtime_env(const struct engine *e, json_t *env);
struct caller *engine__runtime_caller(struct engine *e);
/* Its folder: the path is short enough for sockets in it. */
const char *engine__runtime_folder(const struct engine *e);
/* A step gave back what it held in the cluster: a lease may wait for it. */
void engine__runtime_poke(struct engine *e);
/* The replica of an actor that is next in turn; they are made with the first call. */
int engine__runtime_actor(struct engine *e, const char *address, int *ret,
                          struct rwf_err *err);
/* True when there is none (any more); else it is being ended, and the loop goes on. */
bool engine__runtime_gone(struct engine *e);

/* finish.c */
void engine__report(void *attempt, const json_t *line);
void engine__exited(void *attempt, const struct proc_exit *result);
/* The same for an attempt without a process; it is gone afterwards. */
void engine__finished(struct engine__attempt *a, const struct proc_exit *result);
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
/* False: it waits for a place in the cluster, or is on its way there. */
bool engine__attempt_runs(const struct engine__attempt *a);
/* TERM and its grace, or what comes nearest. */
void engine__attempt_stop(struct engine__attempt *a);
/* Ends a step's attempt for a step of higher priority. */
void engine__preempt(struct engine *e, uint32_t step, uint32_t because);

/* --- pointed.c --- */

/* Outputs that are links, {name: path relative to dir}: {name: {"path": where it leads, "digest",
 * "size", "files"}}, the digest being that of names, sizes and times. NULL: one leads nowhere. */
json_t *run__pointed(const char *dir, const json_t *declared, struct rwf_err *err);

#endif
