/* SPDX-License-Identifier: Apache-2.0
 *
 * All step kinds. A new kind of step is one row here.
 */
#include "config.h"

#include "cmd/compile.h"
#include "data/dataset.h"
#include "data/rows.h"
#include "gang/op_gang.h"
#include "llm/op_models.h"
#include "plan/builtin.h"
#include "search/op_tune.h"
#include "serve/op_serve.h"
#include "train/op_train.h"

const struct op *const cmd_ops[] = {
    &dataset_op,
    &rows_op,
    &plan_native_op,
    &gang_op,
    &plan_task_op,
    &plan_actor_op,
    &plan_check_op,
    &train_program_op,
    &train_op,
    &tune_op,
    &op_serve,
    &llm_model_path_op,
    &llm_model_op,
    NULL,
};
