/* SPDX-License-Identifier: Apache-2.0
 *
 * Anybody's program as a gang (a train entry with command or run). Its spec is that of
 * a task (plan/op_task.c) with
 *
 *   {…,"dataset":{"train":PATH,"val":PATH?},"workers":N}
 *
 * Each rank finds RAYWF_DATASET_TRAIN, RAYWF_DATASET_VAL, RAYWF_CHECKPOINT_DIR (a
 * folder that all attempts share) and RAYWF_RESUME_FROM (the newest checkpoint that an
 * earlier attempt has registered, or nothing). {"checkpoint": PATH, "step": N} on
 * RAYWF_REPORT registers one.
 */
#include "config.h"
#include "train/op_train.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/mem.h"
#include "plan/builtin.h"
#include "plan/graph.h"
#include "train/gang.h"
#include "train/reports.h"
#include "train/spec.h"
#include "train/stable.h"

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

/* Its folder is a new one: `python3 train.py` means the file beside the recipe, as it
 * does for the key. */
static void find_files(const struct plan_graph *g, const struct plan_step *step,
                       json_t *argv)
{
    const struct recipe_node *dir = recipe_get(step->body, "dir");

    if (plan_graph_mode(g) != PLAN_RUN || recipe_get(step->body, "command") == NULL ||
        (dir != NULL && !dir->null))
        return;
    for (size_t i = 1; i < json_array_size(argv); i++) {
        const char *word = json_string_value(json_array_get(argv, i));
        if (word == NULL || !rwf_fs_is_beneath(word))
            continue;
        char *joined = rwf_fs_join(recipe_dir(plan_graph_recipe(g)), word);
        char *path = rwf_fs_absolute(joined);
        if (rwf_fs_is_file(path))
            json_array_set_new(argv, i, json_string(path));
        free(path);
        free(joined);
    }
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
    find_files(g, step, json_object_get(spec, "argv"));
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

struct program {
    const struct op_run *run;
    char *stable, *checkpoints,
        *resume; /* resume: the file that names the newest one */
    char cwd[PATH_MAX];
};

/* {"path":…,"step":N} of the newest checkpoint, as text of its path; "" when it is
 * gone. */
static char *newest(const struct program *p)
{
    json_t *known = json_load_file(p->resume, 0, NULL);
    const char *path = json_string_value(json_object_get(known, "path"));
    char *out = rwf_xstrdup(path != NULL && rwf_fs_exists(path) ? path : "");
    json_decref(known);
    return out;
}

static void register_checkpoint(const struct program *p, const json_t *line)
{
    struct rwf_err err = RWF_ERR_INIT;
    const char *given = json_string_value(json_object_get(line, "checkpoint"));
    char *path = rwf_fs_join(p->cwd, given);
    json_t *entry = json_pack("{s:s}", "path", path);
    char *text;

    if (json_is_number(json_object_get(line, "step")))
        json_object_set(entry, "step", json_object_get(line, "step"));
    text = json_dumps(entry, JSON_COMPACT);
    if (!rwf_fs_exists(path))
        fprintf(stderr, "the checkpoint %s that was reported does not exist\n", path);
    else if (rwf_fs_write(p->resume, text, strlen(text), true, &err) < 0)
        fprintf(stderr, "%s\n", err.text);
    free(text);
    json_decref(entry);
    free(path);
}

static void report(void *ctx, const json_t *line)
{
    const struct program *p = ctx;

    if (json_is_string(json_object_get(line, "checkpoint")))
        register_checkpoint(p, line);
    p->run->report(p->run, line);
}

static json_t *make_env(const struct program *p)
{
    const json_t *spec = p->run->spec;
    const char *val = spec_text(spec, "dataset.val"),
               *train = spec_text(spec, "dataset.train");
    json_t *env = json_copy(json_object_get(spec, "env"));
    char *from = newest(p);

    if (env == NULL)
        env = json_object();
    json_object_set_new(env, "RAYWF_RESUME_FROM", json_string(from));
    json_object_set_new(env, "RAYWF_CHECKPOINT_DIR", json_string(p->checkpoints));
    if (train != NULL)
        json_object_set_new(env, "RAYWF_DATASET_TRAIN", json_string(train));
    if (val != NULL)
        json_object_set_new(env, "RAYWF_DATASET_VAL", json_string(val));
    if (*from != '\0')
        fprintf(stderr, "goes on from the checkpoint %s\n", from);
    free(from);
    return env;
}

static int run_gang(struct program *p, struct op_run *r, struct rwf_err *err)
{
    struct gang_result result;
    json_t *env = make_env(p);
    char *rank = gang_program(err);
    struct gang gang = {.dir = r->dir,
                        .program = rank,
                        .workers = (int)spec_int(r->spec, "workers", 1),
                        .argv = json_object_get(r->spec, "argv"),
                        .env = env,
                        .cpu = r->cpu,
                        .shim = true,
                        .report = report,
                        .ctx = p};
    int rc = rank == NULL ? -1 : gang_run(&gang, &result, err);

    if (rc == 0 && result.end != GANG_WELL) {
        gang_explain(&gang, &result, true, err);
        r->exit_code = gang_exit_code(&result);
        rc = -1;
    }
    free(rank);
    json_decref(env);
    return rc;
}

static int run(struct op_run *r, struct rwf_err *err)
{
    struct program p = {.run = r, .stable = stable_folder(r, false, err)};
    int rc = -1;

    if (p.stable == NULL)
        return -1;
    p.checkpoints = rwf_fs_join(p.stable, "checkpoints");
    p.resume = rwf_fs_join(p.stable, "resume.json");
    if (getcwd(p.cwd, sizeof(p.cwd)) == NULL)
        rwf_fail(err, errno, "the working folder: %s", strerror(errno));
    else if (rwf_fs_mkdirs(p.checkpoints, err) == 0)
        rc = run_gang(&p, r, err);
    if (rc == 0 && !train_is_trial())
        (void)rwf_fs_rmtree(p.stable, NULL);
    free(p.resume);
    free(p.checkpoints);
    free(p.stable);
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
