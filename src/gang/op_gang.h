/* SPDX-License-Identifier: Apache-2.0
 *
 * The op of tasks with `gang`: a program as several ranks that start and end together.
 */
#ifndef RWF_GANG_OP_GANG_H
#define RWF_GANG_OP_GANG_H
#include "plan/op.h"

extern const struct op gang_op;

#endif
