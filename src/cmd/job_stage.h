/* SPDX-License-Identifier: Apache-2.0
 *
 * What comes back from a job that has ended: JOB/out/
 *
 *   files/       what the run has written or changed in the recipe's folder
 *   outputs/     ADDRESS/NAME: the outputs of steps
 *   manifest.json  {"files": {PATH: digest that it came with, or null when it is new}}
 *
 * Links to the files themselves: nothing is copied where that can be.
 */
#ifndef RWF_CMD_JOB_STAGE_H
#define RWF_CMD_JOB_STAGE_H
#include "base/err.h"

/* In the job's folder: made when the recipe's folder had been unpacked. */
#define CMD_JOB_STAMP "unpacked"

/* job: its folder; bundle: the recipe's folder as it came; run_log: of its run, or
 * NULL. What was staged before is gone. */
int cmd_job_stage(const char *job, const char *bundle, const char *run_log,
                  struct rwf_err *err);

#endif
