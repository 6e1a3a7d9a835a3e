/* SPDX-License-Identifier: Apache-2.0
 *
 * For the tests of models: a store that keeps all parameters and gradients in plain
 * memory, and a batch of random data. On the CPU, device memory is the host's.
 */
#ifndef RWF_TESTS_MODEL_RIG_H
#define RWF_TESTS_MODEL_RIG_H
#include "model/model.h"

#define RIG_ASKED 128

struct rig {
    struct device device;
    struct model *m;
    const struct model_layout *layout;
    enum kernel_type type;
    float **weights;   /* of units */
    uint16_t **copies; /* the same as bf16, in bf16 runs */
    float **grads;
    int held;                          /* weights that were not released */
    int asked[RIG_ASKED], asked_count; /* units in the order of weights, of a step */
    int *done, done_count;             /* units in the order of grads_done */
    struct model_run run;
    struct model_batch batch;
    int32_t *ids, *order, *targets;
    float *features, *values;
    uint64_t random;
};

/* JSON with ' for ". */
json_t *rig_json(const char *text);
/* The config of a recipe's model, such JSON. */
json_t *rig_config(const char *model, int vocab);
/* Aborts the test on failure. The weights are random, also those initially 0 or 1. */
void rig_open(struct rig *r, const json_t *config, const struct model_run *run);
void rig_close(struct rig *r);
/* Ends and begins again in another shape; the batch stays. */
void rig_again(struct rig *r, const struct model_run *run);
/* Uniform within -1 to 1. */
float rig_random(struct rig *r);
/* Random ids below vocab and targets, every seventh of which does not count. */
void rig_tokens(struct rig *r, int vocab);
void rig_sort(struct rig *r);
void rig_features(struct rig *r, int features, int outputs);
/* The loss with this scale: the sum of losses times it. */
double rig_loss(struct rig *r, float scale, uint64_t step);
/* Forward and backward from zero gradients. */
double rig_step(struct rig *r, float scale, uint64_t step);
float *rig_weight(struct rig *r, size_t param);
float *rig_grad(struct rig *r, size_t param); /* NULL: frozen */
int64_t rig_count(const struct rig *r, size_t param);
/* The number of a parameter; aborts when there is none. */
size_t rig_find(const struct rig *r, const char *name);
/* The i-th output of the last forward as a float. */
float rig_output(const struct rig *r, int64_t i);

#endif
