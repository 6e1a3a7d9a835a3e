/* SPDX-License-Identifier: Apache-2.0
 *
 * The ops of the recipe's section `train`: a built-in model, and a program of others.
 */
#ifndef RWF_TRAIN_OP_TRAIN_H
#define RWF_TRAIN_OP_TRAIN_H
#include "plan/op.h"

extern const struct op train_op;         /* model: … */
extern const struct op train_program_op; /* command: … or run: … */

#endif
