/* SPDX-License-Identifier: Apache-2.0
 *
 * A job's process: started by the head, found again by the next one.
 */
#ifndef RWF_JOB_PROCESS_H
#define RWF_JOB_PROCESS_H
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/err.h"

/* The descriptor on which the process has its job's lock. */
#define JOB_LOCK_FD 3

/* Takes the lock of the job's folder: its descriptor; -1 and *ret_held: a process has
 * it; -1 without: *err. */
int job_process_lock(const char *folder, bool *ret_held, struct rwf_err *err);
/* Starts `program job-run folder` in a session of its own, with SIGTERM and SIGUSR1
 * blocked; lock goes over to it. */
pid_t job_process_start(const char *program, const char *folder, int lock,
                        struct rwf_err *err);
/* A descriptor that is readable when the process has ended; -1: it is gone. */
int job_process_watch(pid_t pid);
/* Of the live process of this attempt, from alive.json; 0: it has not said yet. */
pid_t job_process_find(const char *folder, int attempt);
/* What it has left of this attempt: exit.json; NULL: nothing. */
json_t *job_process_result(const char *folder, int attempt);
/* When a process started, in clock ticks since boot; 0: there is none. With the pid it
 * names one process. */
uint64_t job_process_start_time(pid_t pid);

#endif
