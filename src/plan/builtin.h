/* SPDX-License-Identifier: Apache-2.0
 *
 * The ops that need nothing but a recipe and a plan: a command, a comparison, and the
 * mock that tests the engine without any real work.
 */
#ifndef RWF_PLAN_BUILTIN_H
#define RWF_PLAN_BUILTIN_H
#include "plan/op.h"

extern const struct op plan_task_op;  /* tasks: a command per step */
extern const struct op plan_check_op; /* checks: a metric compared with a bound */
extern const struct op plan_mock_op;  /* tests: what a body says happens, in the head */

#endif
