/* SPDX-License-Identifier: Apache-2.0
 *
 * From a spec and the prepared data to a job (train/job.h): lengths in steps, every
 * default filled in. Pure.
 */
#ifndef RWF_TRAIN_SPEC_JOB_H
#define RWF_TRAIN_SPEC_JOB_H
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"

/* Global batches in a pass over the training rows of data.json; RWF_E_INPUT when there
 * is not one. */
int64_t spec_steps_per_epoch(const json_t *spec, const json_t *info,
                             struct rwf_err *err);
/* All of the job but paths, config, report and threads. NULL and *err. */
json_t *spec_job(const json_t *spec, const json_t *info, struct rwf_err *err);
/* Micro batches of a step on each rank. */
int64_t spec_accumulation(const json_t *spec);

#endif
