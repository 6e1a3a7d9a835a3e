/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RWF_SEARCH_OP_TUNE_H
#define RWF_SEARCH_OP_TUNE_H
#include "plan/op.h"

extern const struct op tune_op;

#endif
