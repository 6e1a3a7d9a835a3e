/* SPDX-License-Identifier: Apache-2.0
 *
 * The ops that need nothing but a recipe and a plan: a command, a comparison, and the
 * mock that tests the engine without any real work.
 */
#ifndef RWF_PLAN_BUILTIN_H
#define RWF_PLAN_BUILTIN_H
#include "plan/op.h"

extern const struct op plan_task_op;  /* tasks: a command per step */
extern const struct op plan_native_op; /* tasks with native: a function in a worker */
extern const struct op plan_actor_op;  /* actors: what such tasks call */
extern const struct op plan_check_op; /* checks: a metric compared with a bound */
extern const struct op plan_mock_op;  /* tests: what a body says happens, in the head */

/* Parts of the native op for the one that goes through rows (data/rows.c), which stands
 * before it in the array of ops. */
bool plan_native_has_rows(const struct recipe_node *body);
void plan_native_validate(const struct recipe *r, const char *name,
                          const struct recipe_node *body, struct recipe_diags *diags);
json_t *plan_native_outputs(const struct recipe_node *body);
json_t *plan_native_spec(const struct plan_graph *g, const struct plan_step *step,
                         struct rwf_err *err);
int plan_native_inputs(const struct plan_graph *g, const struct plan_step *step,
                       const json_t *spec, json_t *files, struct rwf_err *err);

/* Parts of the task op for programs that train (train/program.c): argv is `command` there. */
void plan_task_validate(const struct recipe *r, const char *name,
                        const struct recipe_node *body, struct recipe_diags *diags);
json_t *plan_task_outputs(const struct recipe_node *body);
json_t *plan_task_spec(const struct plan_graph *g, const struct plan_step *step,
                       struct rwf_err *err);
int plan_task_inputs(const struct plan_graph *g, const struct plan_step *step,
                     const json_t *spec, json_t *files, struct rwf_err *err);

#endif
