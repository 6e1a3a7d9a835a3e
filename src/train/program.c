/* SPDX-License-Identifier: Apache-2.0
 *
 * Anybody's program as a gang (a train entry with command or run). Its spec is that of
 * a task (plan/op_task.c) with
 *
 *   {…,"dataset":{"train":PATH,"val":PATH?},"workers":N}
 *
 * Each rank finds RAYWF_DATASET_TRAIN and RAYWF_DATASET_VAL beside what all such
 * programs find (gang/program.h).
 */
#include "config.h"
#include "train/op_train.h"

#include <stdlib.h>
#include "base/fs.h"
#include "gang/program.h"
#include "plan/builtin.h"
#include "plan/graph.h"
#include "train/reports.h"
#include "train/spec.h"

static bool serves(const struct recipe_node *body)
{
    return recipe_get(body, "command") != NULL || recipe_get(body, "run") != NULL;
}

static void validate(const struct recipe *r, const char *name,
                     const struct recipe_node *body, struct recipe_diags *diags)
{
    plan_task_validate(r, name, body, diags);
    spec_validate(name, body, diags, true);
}

/* --- the spec --- */

static int add_dataset(const struct plan_graph *g, const struct plan_step *step,
                       json_t *spec, struct rwf_err *err)
{
    const struct recipe_node *node = recipe_get(step->body, "dataset");
    json_t *dataset =
        node == NULL || node->null ? NULL : plan_resolve(g, step, node, err);
    const char *name;
    json_t *path;
    void *next;

    if (node == NULL || node->null)
        return 0;
    if (dataset == NULL)
        return -1;
    json_object_foreach_safe(dataset, next, name, path)
    {
        if (plan_graph_mode(g) != PLAN_RUN || !json_is_string(path))
            continue;
        char *real =
            rwf_fs_join(recipe_dir(plan_graph_recipe(g)), json_string_value(path));
        json_object_set_new(dataset, name, json_string(real));
        free(real);
    }
    return json_object_set_new(spec, "dataset", dataset);
}

static json_t *make_spec(const struct plan_graph *g, const struct plan_step *step,
                         struct rwf_err *err)
{
    json_t *spec = plan_task_spec(g, step, err);

    if (spec == NULL)
        return NULL;
    json_object_set_new(
        spec, "workers",
        json_integer(step->policy->ranks > 1 ? step->policy->ranks : 1));
    if (recipe_get(step->body, "command") != NULL)
        gang_program_find_files(g, step, json_object_get(spec, "argv"));
    if (add_dataset(g, step, spec, err) == 0)
        return spec;
    json_decref(spec);
    return NULL;
}

static int inputs(const struct plan_graph *g, const struct plan_step *step,
                  const json_t *spec, json_t *files, struct rwf_err *err)
{
    const char *train = spec_text(spec, "dataset.train"),
               *val = spec_text(spec, "dataset.val");

    if (train != NULL && plan_add_path(g, train, files, err) < 0)
        return -1;
    if (val != NULL && plan_add_path(g, val, files, err) < 0)
        return -1;
    return plan_task_inputs(g, step, spec, files, err);
}

/* --- running --- */

static int run(struct op_run *r, struct rwf_err *err)
{
    const char *val = spec_text(r->spec, "dataset.val");
    const char *train = spec_text(r->spec, "dataset.train");
    json_t *env = json_object();
    struct gang_program program = {.env = env,
                                   .ranks = (int)spec_int(r->spec, "workers", 1),
                                   .keep = train_is_trial()};

    if (train != NULL)
        json_object_set_new(env, "RAYWF_DATASET_TRAIN", json_string(train));
    if (val != NULL)
        json_object_set_new(env, "RAYWF_DATASET_VAL", json_string(val));
    int rc = gang_program_run(r, &program, err);
    json_decref(env);
    return rc;
}

const struct op train_program_op = {
    .name = "train-program",
    .section = "train",
    .summary =
        "a program of yours as one or several ranks, with checkpoints to go on from",
    .version = 1,
    .gang = true,
    .serves = serves,
    .validate = validate,
    .lower = plan_lower_one,
    .outputs = plan_task_outputs,
    .spec = make_spec,
    .inputs = inputs,
    .run = run,
};
