/* SPDX-License-Identifier: Apache-2.0
 *
 * All parameters, gradients and optimizer state of a model in a device's memory,
 * without checkpoints and ranks: for tests of models on a device, and for measuring
 * them.
 */
#ifndef RWF_TESTS_MODEL_PLACED_H
#define RWF_TESTS_MODEL_PLACED_H
#include "model/model.h"

struct placed {
    struct device *device;
    struct model *m;
    const struct model_layout *layout;
    enum kernel_type type;
    float **host;              /* initial weights of units */
    float **master;            /* on the device */
    void **copy;               /* bf16 of them; float runs: master */
    float **grads, **m1, **m2; /* NULL: frozen */
    float *squares, *scale;
    /* a batch */
    int rows, length;
    int32_t *ids, *order, *targets;
};

/* Weights from seed, the same on each device: those of the layout's init, or, with
 * `spread`, all of them random. -1 and *err when there is no room. */
int placed_open(struct placed *p, struct device *d, struct model *m,
                enum kernel_type type, bool spread, uint64_t seed, struct rwf_err *err);
void placed_close(struct placed *p);
struct model_store placed_store(struct placed *p);
/* Random tokens below vocab, uploaded; *ret is what model_forward takes. */
int placed_tokens(struct placed *p, int rows, int length, int vocab,
                  struct model_batch *ret, struct rwf_err *err);
void placed_zero(struct placed *p);
/* AdamW, with clipping to 1. */
void placed_update(struct placed *p, float rate, int64_t step);
/* The mean of the last forward's losses. */
double placed_loss(struct placed *p);
/* Gradients of a unit; the caller frees; NULL: frozen. */
float *placed_grads(struct placed *p, int unit);

#endif
