/* SPDX-License-Identifier: Apache-2.0
 *
 * An optimizer's settings, and what it keeps beside each weight. The arithmetic is the
 * device's (kernels' update).
 */
#ifndef RWF_TRAIN_OPTIM_H
#define RWF_TRAIN_OPTIM_H
#include <jansson.h>
#include <stdbool.h>
#include "base/err.h"
#include "kernels/kernels.h"

struct optim {
    enum kernel_optimizer kind;
    double rate;
    float beta1, beta2, epsilon, decay;
    bool m, v; /* which state it has */
};

/* Of a job's "optimizer", which has every default filled in. */
int optim_parse(struct optim *o, const json_t *optimizer, struct rwf_err *err);

#endif
