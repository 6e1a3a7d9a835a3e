/* SPDX-License-Identifier: Apache-2.0
 *
 * One process of a step: spawned with vfork semantics into its own session (so its own
 * process group), stdin closed, stdout and stderr captured (bounded, redacted), metrics
 * read from the descriptor in RAYWF_REPORT, watched for time and memory, and ended
 * with TERM, grace, KILL of the whole group. Dies with the head.
 *
 * This is the seam between head and node: the head gives a proc_spec and gets callbacks.
 */
#ifndef RWF_NODE_PROC_H
#define RWF_NODE_PROC_H
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>
#include "base/err.h"
#include "plan/graph.h"

struct proc_spec {
    const json_t *argv;        /* array of strings; argv[0] is searched in PATH */
    const json_t *env;         /* {NAME: value} on top of ours */
    const char *cwd;
    const char *dir;           /* attempt folder: raywf-cmd.sh stdout stderr exit.json; ../env-DIGEST.txt */
    const char *run_id;        /* RAYWF_RUN_ID, by which leftovers are found */
    const char *address;
    int64_t memory;            /* bytes, 0: no limit */
    int64_t timeout, grace;    /* ns, timeout 0: none */
    int64_t log_limit;
    const int *gpus;
    int gpu_count;             /* -1: leave CUDA_VISIBLE_DEVICES alone */
    double gpu_share;          /* of each of them; 0: all of it */
};

struct proc_usage {
    int64_t wall, cpu;         /* ns */
    int64_t max_rss;           /* bytes */
};

struct proc_exit {
    enum plan_cause cause;     /* PLAN_CAUSE_NONE: success */
    int exit_code;             /* -1 when it did not exit */
    int signal;                /* 0 when none */
    struct proc_usage usage;
    char message[512];         /* "exit code 3", "killed by signal 11 (SIGSEGV)",
                                  "over its memory limit of 64 MiB (peak 71 MiB)", … */
    const char *tail;          /* last lines of stderr, else stdout; redacted; borrowed */
};

struct proc;

struct proc_handler {
    void *ctx;
    /* A JSON object reported through RAYWF_REPORT. A line that is none is counted, and told
     * once as {"message": …}. */
    void (*report)(void *ctx, const json_t *line);
    /* All output is captured and the process gone. proc_free may be called from here. */
    void (*exited)(void *ctx, const struct proc_exit *result);
};

/* NULL and *err (code ENOENT, EACCES, … with what to do) when it cannot start. */
struct proc *proc_start(uv_loop_t *loop, const struct proc_spec *spec,
                        const struct proc_handler *handler, struct rwf_err *err);
/* From now on its output is also told, as it is captured. Right after the start, so that
 * nothing is missed. stream: 1 stdout, 2 stderr. */
void proc_tap(struct proc *p,
              void (*output)(void *ctx, int stream, const void *data, size_t size),
              void *ctx);
/* While it is held nothing is read of what it prints and reports, so that it has to wait;
 * once it has ended, what is left is read all the same. */
void proc_hold(struct proc *p, bool hold);
int proc_pid(const struct proc *p);
/* TERM now, KILL after the grace; exited follows with PLAN_CAUSE_STOPPED. */
void proc_stop(struct proc *p);
/* KILL now. */
void proc_kill(struct proc *p);
/* Only after exited. */
void proc_free(struct proc *p);

/* Ends every process that an earlier head of this run left behind (by RAYWF_RUN_ID in its
 * environment, own user only). Returns how many. */
int proc_sweep(const char *run_id);

/* How memory limits are enforced here: "cgroup v2 at /sys/fs/cgroup/…", the caller's to
 * free, or NULL: by watching what the processes use. For doctor. */
char *proc_memory_limits(void);

#endif
