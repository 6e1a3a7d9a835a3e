/* SPDX-License-Identifier: Apache-2.0
 *
 * Shared by the parts of `raywf job`: job.c has the commands, job_submit.c sends one,
 * job_fetch.c brings back what it made.
 */
#ifndef RWF_CMD_JOB_H
#define RWF_CMD_JOB_H
#include "cmd/cmd.h"
#include "job/client.h"

/* Connects to the head that the call names (head_find.h). NULL and *err. */
struct job_client *cmd_job_connect(const struct cmd_call *call, struct rwf_err *err);
/* Prints what a job prints, or adds it to `into`, all of it or its last lines, until it
 * ends when follow is set. *ret_end, the last answer, is the caller's to decref. */
struct cmd_job_follow {
    const char *job;
    int64_t tail; /* -1: all */
    bool follow, silent;
    struct rwf_str *into; /* or NULL */
};
int cmd_job_logs(struct job_client *c, const struct cmd_job_follow *f, json_t **ret_end,
                 struct rwf_err *err);
/* The exit code of a job that has ended, from an answer with state and exit_code. */
int cmd_job_exit(const json_t *end);

/* job_submit.c */
int cmd_job_submit(struct cmd_call *call, struct rwf_err *err);

/* job_fetch.c: brings back what job made: files into folder, outputs of steps into
 * `outputs` beneath it. A file that was changed here meanwhile stays, the job's comes
 * beside it. *ret (may be NULL): {files: […], outputs, kept: […]}. */
int cmd_job_fetch(struct job_client *c, const char *job, const char *folder,
                  const char *outputs, json_t **ret, struct rwf_err *err);
/* Says to people what cmd_job_fetch has brought. */
void cmd_job_show_fetched(const struct cmd_call *call, const json_t *fetched);

#endif
