/* SPDX-License-Identifier: Apache-2.0
 *
 * For the files of the loop: a job as it was read, and the state of a training.
 *
 *   loop.c           the steps, in order
 *   loop_job.c       the job file
 *   loop_open.c      what a training stands on, opened and closed
 *   loop_batch.c     one micro batch through the model
 *   loop_report.c    what is told of a step
 *   loop_save.c      checkpoints: begun, written, exported, resumed
 *   evaluate.c, sample.c
 */
#ifndef RWF_TRAIN_LOOP_H
#define RWF_TRAIN_LOOP_H
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "model/model.h"
#include "tensor/comm.h"
#include "tensor/device.h"
#include "train/batches.h"
#include "train/checkpoint.h"
#include "train/heartbeat.h"
#include "train/metrics.h"
#include "train/optim.h"
#include "train/params.h"
#include "train/schedule.h"

/* --- loop_job.c: job.h's file; texts are the JSON's --- */

struct loop_job {
    const char *data, *work, *checkpoints, *result, *report, *tensorboard, *from, *tokenizer,
        *preprocess, *heartbeat;
    const json_t *config, *prompts;
    enum kernel_type type;
    enum params_shard shard;
    uint64_t seed;
    int64_t global, steps, steps_per_epoch, log_every;
    int micro, length, threads;
    double clip;
    struct optim optim;
    struct schedule schedule;
    int64_t eval_every, eval_batches;
    bool stops_early;
    const char *stop_metric;
    bool stop_max;
    int64_t patience;
    double min_delta;
    int64_t save_every;
    const char *best_metric; /* or NULL */
    bool best_max;
    int keep_best, keep_latest;
    int64_t sample_tokens;
    double temperature;
};

int loop__job(struct loop_job *j, const json_t *job, struct rwf_err *err);

/* --- the state --- */

/* A step that the device may still be at. */
struct loop_step {
    int64_t number;  /* from 1; 0: none */
    int slot;
    double rate;
    int64_t rows;    /* of the global batch */
    double loss;     /* once it is settled */
    double length;   /* of its gradient; NAN: not measured */
    bool settled, told;
};

/* Device memory of a micro batch, where it is not the host's. */
struct loop_upload {
    void *block;
    int32_t *ids, *order, *targets;
    float *features, *values;
    uint64_t count;
};

struct loop {
    struct loop_job j;
    struct device *d;
    struct comm *c;
    struct model *model;
    struct params *params;
    struct batches *train, *val;
    struct metrics *metrics;         /* rank 0 */
    struct checkpoints *checkpoints; /* rank 0 */
    struct heartbeat *beat;

    /* data.json's */
    bool tokens, classes;
    int features, outputs;
    int vocab;

    struct loop_upload upload, dummy;
    int micros;      /* most micro batches of a step */
    int sums;        /* floats of a step's sums: the losses of each, then votes to stop */
    float *host;     /* three times sums + 1: of two steps with the squared length of the
                        gradient, and this rank's own losses; and a 1 to vote with */

    /* progress */
    int64_t step;    /* steps that are done */
    struct loop_step pending;
    bool stop;       /* all ranks have agreed to */
    double best;     /* of the checkpoint's metric, NAN: none */
    int64_t best_step;
    double stop_best;
    int64_t bad;     /* evaluations since the best one */
    bool early;      /* stopped early */
    json_t *latest;  /* metrics, as of the last evaluation and step */
    int64_t evaluated; /* the step of that evaluation */
    json_t *result;  /* rank 0, at the end: the state of the checkpoint that is the result */
    int64_t saving;  /* step of a snapshot that is not given to the writer yet; 0: none */
    json_t *saving_state;
    struct checkpoint_content content;
    int64_t saved;   /* last step that was */

    /* rates */
    struct metrics_rate rate;
    int64_t started, told; /* times */
    double rows_done;
    double waited_before;
    int64_t waited_since;
};

/* --- loop_open.c --- */
int loop__open(struct loop *l, struct rwf_err *err);
void loop__close(struct loop *l);

/* --- loop_batch.c --- */
int loop__upload_open(struct loop *l, struct rwf_err *err);
void loop__upload_close(struct loop *l);
/* The micro batch as the model wants it, uploaded if need be; its rows may be 0. */
struct model_batch loop__batch(struct loop *l, const struct batches_micro *m);
/* A batch of one row that does not count, for ranks that have none: see params_pass. */
struct model_batch loop__dummy(struct loop *l);
/* What the sum of a global batch's losses is divided by. */
double loop__targets(const struct loop *l, int64_t rows);

/* --- loop_report.c --- */
/* Queues what is wanted of the step that was just queued, which becomes the pending one. */
void loop__pend(struct loop *l, int64_t rows, double rate);
/* Waits for the pending step, if it was not yet, and learns what came of it. */
int loop__settle(struct loop *l, struct rwf_err *err);
/* Of the settled step; values: more metrics of it (an evaluation's), or NULL. */
void loop__tell(struct loop *l, const json_t *values);
/* Whether the settled step is one that is told of in any case. */
bool loop__due(const struct loop *l);
/* Now and then, between what is logged. */
void loop__tell_progress(struct loop *l);
int loop__finish_report(struct loop *l, struct rwf_err *err);
/* "at step 12: the loss is not finite; first in the weights of layers.0: …" */
int loop__fail_not_finite(struct loop *l, int64_t step, const char *what,
                          struct rwf_err *err);

/* --- loop_save.c --- */
/* Where to go on: sets l->step and the rest of the state, and all weights. */
int loop__start(struct loop *l, struct rwf_err *err);
/* Snapshots after l->step steps; loop__save_write gives it to the writer once it has come. */
int loop__save(struct loop *l, struct rwf_err *err);
int loop__save_write(struct loop *l, struct rwf_err *err);
int loop__save_wait(struct loop *l, struct rwf_err *err);
int loop__export(struct loop *l, struct rwf_err *err);

/* --- evaluate.c --- */
/* Metrics of the validation split into *ret (an object). */
int loop__evaluate(struct loop *l, json_t **ret, struct rwf_err *err);
/* Of an evaluation, not of a step's training. */
bool loop__is_evaluated(const char *metric);
/* What an evaluation means for the best checkpoint and for stopping early; true when it is
 * the best so far. */
bool loop__judge(struct loop *l, const json_t *values);

/* --- sample.c --- */
int loop__sample(struct loop *l, struct rwf_err *err);

#endif
