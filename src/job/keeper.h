/* SPDX-License-Identifier: Apache-2.0
 *
 * The jobs of a head: their journal, their folders, their processes.
 *
 *   FOLDER/journal, lock        what must not be lost (base/journal.h)
 *   FOLDER/bundles/DIGEST/      recipes' folders as they came
 *   FOLDER/ID/task.json         what its process is to do      work/  the recipe's
 * folder lock              held while its process lives   out/   what comes back
 *             alive.json        {attempt,pid,start}            log.*  what it prints
 *             exit.json         {attempt,exit_code,…}          err    of the process
 * itself
 *
 * A job's process is in a session of its own and outlives the head: a new head finds by
 * the lock that it lives, and by exit.json how it ended.
 *
 * Invariants: a change is in the journal before anybody is told, or anything started;
 * never do two processes run for one job (the lock is held from before the start).
 */
#ifndef RWF_JOB_KEEPER_H
#define RWF_JOB_KEEPER_H
#include <uv.h>
#include "job/job.h"

struct job_keeper;

struct job_keeper_options {
    const char *folder;
    const char *program; /* raywf: its hidden command job-run is a job's process */
    size_t most;         /* jobs that run at once; 0: JOB_MOST */
    /* Whether there is a node for work; no job starts before. NULL: always. */
    bool (*ready)(void *ctx);
    void *ctx;
    /* A head that came back gives its nodes so long to come back, too. */
    int64_t settle;
};
#define JOB_MOST 8

struct job_keeper *job_keeper_open(uv_loop_t *loop, const struct job_keeper_options *o,
                                   struct rwf_err *err);
/* From now on jobs run; address: of the head, HOST:PORT, for them; key: its key's file.
 */
void job_keeper_start(struct job_keeper *k, const char *address, const char *key);
/* One that is not over. */
bool job_keeper_busy(const struct job_keeper *k);
/* interrupt: jobs that run are asked to end, and go on with the next head; else they
 * run on. The rest follows in later turns of the loop. */
void job_keeper_close(struct job_keeper *k, bool interrupt);

const struct job_list *job_keeper_list(const struct job_keeper *k);
bool job_keeper_has_bundle(const struct job_keeper *k, const char *digest);
/* Where a bundle of this digest belongs; the caller's to free. */
char *job_keeper_bundle(const struct job_keeper *k, const char *digest);
/* FOLDER/ID, or NAME in it; the caller's to free. */
char *job_keeper_path(const struct job_keeper *k, const struct job *j,
                      const char *name);

/* needs in spec may be names; they become ids. The same id with the same spec again is
 * the same job. NULL and *err. */
struct job *job_keeper_submit(struct job_keeper *k, const char *id, const json_t *spec,
                              struct rwf_err *err);
/* What a queued job waits for, in words; NULL: it does not. The caller's to free. */
char *job_keeper_waits(const struct job_keeper *k, const struct job *j);
/* force: what it runs is not waited for. */
int job_keeper_stop(struct job_keeper *k, struct job *j, bool force,
                    struct rwf_err *err);
int job_keeper_retry(struct job_keeper *k, struct job *j, struct rwf_err *err);
/* Only one that has ended, and that nobody queued needs. j is gone. */
int job_keeper_delete(struct job_keeper *k, struct job *j, struct rwf_err *err);

#endif
