/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs a resolved dataset spec: source, steps, programs, expect, split, write.
 */
#ifndef RWF_DATA_EXECUTE_H
#define RWF_DATA_EXECUTE_H
#include "plan/op.h"

int execute_dataset(struct op_run *r, struct rwf_err *err);

#endif
