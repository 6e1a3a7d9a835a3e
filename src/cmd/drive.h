/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs a graph to its end with everything that looks on: progress, events, and the
 * files that are written afterwards. Shared by run, resume and retry.
 */
#ifndef RWF_CMD_DRIVE_H
#define RWF_CMD_DRIVE_H
#include "cmd/cmd.h"
#include "cmd/compile.h"
#include "cmd/on_cluster.h"

#define CMD_DRIVE_OPTIONS                                                                \
    CMD_ON_CLUSTER_OPTIONS,                                                              \
    {"no-cache",                                                                         \
     0,                                                                                  \
     CMD_FLAG,                                                                           \
     NULL,                                                                               \
     false,                                                                              \
     NULL,                                                                               \
     "run everything; results are still kept"},                                          \
        {"fail-fast",                                                                        \
         0,                                                                              \
         CMD_FLAG,                                                                       \
         NULL,                                                                           \
         false,                                                                          \
         NULL,                                                                           \
         "stop everything at the first failure"},                                        \
        {"timeout",                                                                      \
         0,                                                                              \
         CMD_DURATION,                                                                   \
         "TIME",                                                                         \
         false,                                                                          \
         NULL,                                                                           \
         "end the run after this time, with exit code 8"},                               \
        {"progress",                                                                     \
         0,                                                                              \
         CMD_CHOICE,                                                                     \
         "auto|live|plain|none",                                                         \
         false,                                                                          \
         "auto",                                                                         \
         "auto: live on a terminal, else plain lines"},                                  \
        {"events",                                                                       \
         0,                                                                              \
         CMD_FILE,                                                                       \
         "FILE",                                                                         \
         false,                                                                          \
         NULL,                                                                           \
         "write each event as a line of JSON, as it happens; - is standard output"},     \
        {"report",                                                                       \
         0,                                                                              \
         CMD_FILE,                                                                       \
         "FILE",                                                                         \
         false,                                                                          \
         NULL,                                                                           \
         "write an HTML page about the run"},                                            \
        {"junit", 0, CMD_FILE, "FILE", false, NULL, "write JUnit XML: a case per step"}, \
    {                                                                                    \
        "summary", 0, CMD_FILE, "FILE", false, NULL, "write a summary in Markdown"       \
    }

/* run: NULL for a new one, else the id of the run to go on with. Returns an exit code,
 * or -1 with *err. */
struct cmd_drive {
    struct cmd_compiled *c;
    const char *root;
    const char *run;
    json_t *plan;            /* borrowed */
    const char *const *keys; /* expected, or NULL */
    bool retry_failed;
    size_t ended; /* steps that ended before */
    bool stay;    /* for what it serves */
    const char *serve_control; /* of another run's server, to deploy to; or NULL */
};
int cmd_drive(struct cmd_call *call, const struct cmd_drive *d, struct rwf_err *err);
/* Compiles the recipe or plan at path and runs it anew (run.c): d says stay and
 * serve_control. */
int cmd_run_file(struct cmd_call *call, const char *path, const struct cmd_drive *d,
                 struct rwf_err *err);
/* Keys that a plan promised, in the order of its steps. The array is the caller's. */
const char **cmd_drive_keys(const json_t *plan);
/* Options that a run was started with (run_state.options) and that this call does not
 * give; they live as long as the call. */
void cmd_drive_take_over(struct cmd_call *call, const json_t *options);
/* Refuses options that contradict each other; call it before anything is loaded. */
int cmd_drive_check(const struct cmd_call *call, struct rwf_err *err);

#endif
