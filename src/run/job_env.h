/* SPDX-License-Identifier: Apache-2.0
 *
 * The environment that a job was submitted with: RAYWF_JOB_ENV names its variables, and
 * RAYWF_JOB_SECRETS those whose values must not be seen (both lists have commas). On this
 * machine steps inherit them; on another node they must be told.
 */
#ifndef RWF_RUN_JOB_ENV_H
#define RWF_RUN_JOB_ENV_H
#include <jansson.h>

/* Adds the values of the secret ones to the redaction set. */
void run_job_env_hide(void);
/* A copy of env (which may be NULL, and whose own values stay) with the job's. */
json_t *run__job_env_add(const json_t *env);

#endif
