/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of the keeper: keeper.c has the jobs, their journal and what is due;
 * keeper_process.c their processes.
 */
#ifndef RWF_JOB_INSIDE_H
#define RWF_JOB_INSIDE_H
#include <sys/types.h>
#include "base/journal.h"
#include "job/keeper.h"

/* The process of a job that runs. */
struct job__process {
    struct job_keeper *keeper;
    struct job *job;
    pid_t pid; /* 0: it has not said which it is */
    int fd;    /* readable when it has ended */
    uv_poll_t poll;
};

struct job_keeper {
    uv_loop_t *loop;
    char *folder, *bundles, *program, *address, *key_path;
    size_t most;
    bool (*ready)(void *ctx);
    void *ctx;
    int64_t settled_at; /* monotonic */
    struct rwf_journal *journal;
    size_t lines; /* added to it since it was last written anew */
    struct job_list list;
    struct job__process **processes; /* in the order of list; NULL: none */
    size_t processes_cap;
    uv_timer_t timer;
    bool closing;
    int open; /* handles that libuv still knows, and one until job_keeper_close */
};

/* --- keeper.c --- */
size_t job__place(const struct job_keeper *k, const struct job *j); /* in the list */
/* Both in one line: they are there together, or not at all. b may be NULL. */
int job__record(struct job_keeper *k, const struct job *a, const struct job *b,
                struct rwf_err *err);
/* A change that was already made outside: it is kept in any case. */
void job__change(struct job_keeper *k, struct job *j, const struct job_change *c);
/* A change that is in the journal, or not made. */
int job__change_or_not(struct job_keeper *k, struct job *j, const struct job_change *c,
                       struct rwf_err *err);
/* Does all that is due. */
void job__turn(struct job_keeper *k);
void job__release(struct job_keeper *k); /* one of what is counted in open */

/* --- keeper_process.c --- */
/* Starts a job that waits: -1: not now, *err says why. */
int job__start(struct job_keeper *k, struct job *j, struct rwf_err *err);
/* A job that runs and whose process is not looked at: it lives, or it has ended. */
void job__look_for(struct job_keeper *k, struct job *j);
/* It has ended, or is not looked at any more. */
void job__forget(struct job_keeper *k, struct job *j);

#endif
