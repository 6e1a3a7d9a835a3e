/* SPDX-License-Identifier: Apache-2.0
 *
 * The parameters of a model on this rank: weights of the run's type, and of what is trained
 * the float master, the gradient and the optimizer's state. `shard` says what the ranks
 * divide between them; each divided unit is padded to a multiple of ranks x 64 elements, and
 * rank r has the r-th part of each.
 *
 *                weights   gradients   master, m, v
 *   none         whole     whole       whole            sums of gradients
 *   optimizer    whole     whole       part             gradients scattered, weights gathered
 *   full         part      part        part             units gathered just in time
 *
 * In float runs the master is the weights themselves. Frozen units have weights only.
 *
 * A step: params_begin_step; for each micro batch params_begin_pass and the model's forward
 * and backward pass over params_store; params_finish_step. All is queued on the device.
 */
#ifndef RWF_TRAIN_PARAMS_H
#define RWF_TRAIN_PARAMS_H
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "model/model.h"
#include "tensor/comm.h"
#include "tensor/device.h"
#include "train/checkpoint.h"
#include "train/optim.h"

enum params_shard { PARAMS_NONE, PARAMS_OPTIMIZER, PARAMS_FULL };

struct params_options {
    struct device *device;
    struct comm *comm;
    const struct model_layout *layout; /* borrowed, as the two above */
    const struct model *model; /* knows other names of parameters; or NULL */
    enum kernel_type type;
    enum params_shard shard;
    struct optim optim;
    double clip;  /* most length of the gradient; 0: off */
    uint64_t seed;
    int threads;  /* of the host, for drawing weights */
    int extra;    /* floats of params_extra */
    void (*alive)(void *ctx); /* called now and then by what takes long; or NULL */
    void *alive_ctx;
};

/* What a pass does with gradients. */
enum params_pass {
    PARAMS_FORWARD, /* there are none */
    PARAMS_ADD,     /* adds them to what the step has */
    PARAMS_LAST,    /* the same, and the step needs no others */
    PARAMS_IGNORE = 4, /* or-ed: throws them away (a pass for the sake of other ranks) */
};

struct params;

/* "none", "optimizer", "full". */
int params_shard_parse(enum params_shard *ret, const char *name, struct rwf_err *err);
/* Allocates; rank 0 prints the table on stderr. Weights are undefined until one of params_draw,
 * params_from and params_resume. */
struct params *params_create(const struct params_options *o, struct rwf_err *err);
void params_destroy(struct params *p);
const struct model_store *params_store(struct params *p);

/* Draws all weights: a function of the seed and each parameter's name and shape alone. */
int params_draw(struct params *p, struct rwf_err *err);
/* Weights of a published or own checkpoint, by name; adapters that it lacks are drawn.
 * RWF_E_INPUT names what is missing, too much, or of another shape. */
int params_from(struct params *p, const char *path, struct rwf_err *err);
/* All that params_snapshot wrote, on any number of ranks. */
int params_resume(struct params *p, const char *folder, struct rwf_err *err);

void params_begin_step(struct params *p);
void params_begin_pass(struct params *p, int pass); /* enum params_pass */
/* Floats on the device that the caller may fill during the step: params_finish_step sums them
 * over the ranks. */
float *params_extra(struct params *p);
/* rate: of this step; step: from 1. */
int params_finish_step(struct params *p, double rate, int64_t step, struct rwf_err *err);
/* One float on the device: the squared length of the step's gradient (0 when clip is off). */
const float *params_squares(struct params *p);

/* Looks for values that are not finite: "the gradients of layers.3", into a text that stays
 * valid; NULL when there are none. Waits for the device. */
const char *params_not_finite(struct params *p);

/* --- checkpoints --- */

/* Makes room for snapshots on rank 0, so that none of them waits for it. */
int params_snapshot_prepare(struct params *p, struct rwf_err *err);
/* Queues a copy of everything to the host of rank 0; all ranks take part. The room of an earlier
 * one must be free again. params_snapshot_wait, then rank 0's content is valid (other ranks:
 * empty). */
int params_snapshot(struct params *p, struct rwf_err *err);
void params_snapshot_wait(struct params *p);
/* Its tensors: content->model and ->optimizer and their counts are set; the arrays are the
 * params'. */
void params_snapshot_content(struct params *p, struct checkpoint_content *content);

#endif
