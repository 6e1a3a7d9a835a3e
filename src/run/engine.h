/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine: runs a graph on this machine, as the head and the node in one process.
 * update (event -> state) is run_state_apply, action is here and idempotent.
 */
#ifndef RWF_RUN_ENGINE_H
#define RWF_RUN_ENGINE_H
#include <jansson.h>
#include "base/err.h"
#include "plan/graph.h"
#include "run/log.h"
#include "run/state.h"
#include "schedule/schedule.h"

struct engine_options {
    const char *root;        /* .raywf */
    const json_t *plan;      /* planfile_make's; kept in the run's folder (new runs) */
    const char *const *keys; /* expected keys by step (run PLANFILE) or NULL: another
                                key at run time ends the run with RWF_E_LOCK */
    bool fail_fast;          /* stop everything at the first failure */
    bool no_cache;           /* run all, still keep results */
    bool all_cached;         /* nothing is to run, so that no step needs a place here: one
                                that is not in the cache ends the run with RWF_E_ENV */
    int64_t timeout;         /* of the whole run, ns; 0: none; then exit code 8 */
    const struct schedule_machine *machine; /* NULL: this one */
    /* Shared with a head in this process: `machine` is its node 0, or not looked at.
     * NULL: one of the engine's own, with that machine alone. */
    struct schedule_cluster *cluster;
    run_log_fn on_event;                    /* live views; may be NULL */
    void *ctx;
    const json_t *notify; /* resolved notify section, or NULL */
    /* Once all has succeeded, the run stays for what it serves, until it is stopped (it
     * has then succeeded) or its server is told to end. A resumed run does as before. */
    bool stay;
    /* What its caller is to know again when the run goes on; kept in its log. Or NULL. */
    const json_t *asked;
    /* The run is on a cluster: HOST:PORT of its head, and the file with its key. */
    const char *cluster_address, *cluster_key;
    int64_t cluster_wait; /* for its head to answer, ns; 0: 15 s */
    int cluster_priority; /* among runs there */
    bool cluster_grows;   /* nodes may still join: what none can hold now waits */
    /* Service steps deploy to the server of another run, at this control socket. */
    const char *serve_control;
};

/* Runs to the end. *ret_id (RWF_RUN_ID_LEN bytes) is filled as soon as the run exists.
 * Returns the exit code (0 ok, 1, 8, 9, 11, …); -1 and *err when the run could not be
 * driven on (disk full, …). SIGINT, SIGTERM: first drains (TERM to the steps), second
 * kills. */
int engine_run(struct plan_graph *g, const struct engine_options *options, char *ret_id,
               struct rwf_err *err);

/* Whether every step can run on the cluster of the options, as it is now: RWF_E_FIT with the
 * step and what is missing; RWF_E_ENV: it cannot be asked. Nothing runs. *ret: what there is. */
int engine_fits(struct plan_graph *g, const struct engine_options *options,
                struct schedule_totals *ret, struct rwf_err *err);

/* Continues run id: replays its log, keeps what is finished, ends leftovers of the dead
 * head, runs the rest. retry_failed: failed, skipped and stopped steps are tried again,
 * also when the run had ended. A run that succeeded is left alone (0). */
int engine_resume(struct plan_graph *g, const struct engine_options *options,
                  const char *id, bool retry_failed, struct rwf_err *err);

/* Asks the process that drives run id to stop and waits until it has (or timeout ns
 * passed). RWF_E_NORUN when the run is not active. */
int engine_stop(const char *root, const char *id, int64_t timeout, struct rwf_err *err);
/* Pid of the process that drives the run, 0 when none does. */
int engine_active(const char *root, const char *id);

/* The body of `raywf run-step DIR`: reads DIR/step.json and calls the op's run. Returns
 * the process's exit code. */
int engine_run_step(const struct op *const *ops, const char *dir);

#endif
