/* SPDX-License-Identifier: Apache-2.0
 *
 * What attempts of a training step share: RUN/train/DIGEST, by the spec and the files
 * of the dataset, so that an attempt on other data begins anew. It is removed when the
 * step has succeeded.
 */
#ifndef RWF_TRAIN_STABLE_H
#define RWF_TRAIN_STABLE_H
#include "plan/op.h"

/* The folder, which is made; the caller frees. */
char *stable_folder(const struct op_run *r, struct rwf_err *err);

#endif
