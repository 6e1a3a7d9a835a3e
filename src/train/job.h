/* SPDX-License-Identifier: Apache-2.0
 *
 * What a training step is, on its way through three processes:
 *
 *   raywf           op_train.c   recipe -> spec (validated, digested, cached by the engine)
 *   raywf run-step  prepare.c    spec + dataset -> a folder of plain binary files; writes the
 *                   gang.c       job file, launches and supervises the ranks
 *   raywf-rank      loop.c       job file -> training; rank 0 reports and writes checkpoints
 *
 * The job is JSON (train.job.json in the attempt's folder), written by gang.c and read by
 * loop.c. All paths are absolute, durations ns, sizes bytes, every default filled in:
 *
 * {
 *  "v": 1, "address": "train.classifier",
 *  "data": DIR,                     made by prepare.c (prepared.h)
 *  "work": DIR,                     of this attempt: what ranks write
 *  "checkpoints": DIR,              shared by all attempts of the step
 *  "result": DIR,                   where the final checkpoint goes (an output of the step)
 *  "report": PATH | null,           a FIFO: JSON lines for RAYWF_REPORT
 *  "tensorboard": DIR | null,
 *  "config": {…},                   the model's config.json (model.h)
 *  "from": PATH | null,             weights to start from
 *  "tokenizer": PATH | null,        tokenizer.json, copied into checkpoints
 *  "preprocess": PATH | null,       preprocess.json, likewise (features.h)
 *  "device": "cpu" | "cuda", "threads": N,
 *  "precision": "fp32" | "bf16",
 *  "shard": "none" | "optimizer" | "full",
 *  "seed": N,
 *  "global_batch_size": N, "micro_batch_size": N, "sequence_length": N,
 *  "optimizer": {"type","learning_rate","weight_decay","beta1","beta2","epsilon","momentum"},
 *  "schedule": {"type","warmup_steps": N,"final": fraction of the rate},
 *  "clip": F,                       0: off
 *  "steps": N,                      all of them (max_length resolved against the data)
 *  "steps_per_epoch": N,
 *  "evaluate": {"every": steps, 0: at the end only, "batches": most, 0: all},
 *  "early_stopping": {"metric","mode","patience","min_delta"} | null,
 *  "checkpoint": {"every": steps, 0: at the end only, "metric","mode","keep_best","keep_latest"},
 *  "log_every": steps,
 *  "sample": {"prompts": [text], "tokens": N, "temperature": F} | null,
 *  "heartbeat": PATH                folder in which each rank touches a file "rank.N"
 * }
 */
#ifndef RWF_TRAIN_JOB_H
#define RWF_TRAIN_JOB_H
#include <jansson.h>
#include "base/err.h"

/* One rank's whole life: reads the job, trains, 0 or -1. RWF_E_STOPPED: SIGTERM or SIGUSR1 came,
 * and a checkpoint was written. */
struct comm;
struct device;
int train_loop(const json_t *job, struct device *d, struct comm *c, struct rwf_err *err);

#endif
