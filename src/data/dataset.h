/* SPDX-License-Identifier: Apache-2.0
 *
 * The dataset op: one step per dataset; its relational steps are fused into one query.
 */
#ifndef RWF_DATA_DATASET_H
#define RWF_DATA_DATASET_H
#include "plan/op.h"

extern const struct op dataset_op;

#endif
