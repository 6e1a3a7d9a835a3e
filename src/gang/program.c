/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "gang/program.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/mem.h"
#include "gang/gang.h"
#include "gang/places.h"
#include "gang/stable.h"
#include "plan/graph.h"

void gang_program_find_files(const struct plan_graph *g, const struct plan_step *step,
                             json_t *argv)
{
    const struct recipe_node *dir = recipe_get(step->body, "dir");

    if (plan_graph_mode(g) != PLAN_RUN || (dir != NULL && !dir->null))
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

/* --- running --- */

struct program {
    struct op_run *run;
    const struct gang_program *given;
    struct gang_places places;
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
    json_t *env = json_copy(json_object_get(p->run->spec, "env"));
    char *from = newest(p);

    if (env == NULL)
        env = json_object();
    json_object_set_new(env, "RAYWF_RESUME_FROM", json_string(from));
    json_object_set_new(env, "RAYWF_CHECKPOINT_DIR", json_string(p->checkpoints));
    if (p->given->env != NULL)
        json_object_update(env, (json_t *)(uintptr_t)p->given->env);
    if (*from != '\0')
        fprintf(stderr, "goes on from the checkpoint %s\n", from);
    free(from);
    return env;
}

/* The argv of the ranks; raywf-rank is a program of ours. */
static json_t *make_argv(const struct program *p, const char *rank)
{
    json_t *argv = json_copy(json_object_get(p->run->spec, "argv"));
    const char *name = json_string_value(json_array_get(argv, 0));

    if (name != NULL && strcmp(name, "raywf-rank") == 0)
        json_array_set_new(argv, 0, json_string(rank));
    return argv;
}

static int run_gang(struct program *p, struct rwf_err *err)
{
    struct op_run *r = p->run;
    struct gang_result result;
    json_t *env = make_env(p);
    char *rank = gang_program(err);
    json_t *argv = rank == NULL ? NULL : make_argv(p, rank);
    struct gang gang = {.places = &p->places,
                        .dir = r->dir,
                        .program = rank,
                        .workers = p->places.ranks,
                        .argv = argv,
                        .env = env,
                        .cpu = r->cpu,
                        .memory = r->memory / p->places.ranks,
                        .shim = true,
                        .beats = p->given->heartbeat > 0,
                        .heartbeat_limit = p->given->heartbeat,
                        .report = report,
                        .ctx = p};
    int rc = rank == NULL ? -1 : gang_run(&gang, &result, err);

    if (rc == 0 && result.end != GANG_WELL) {
        gang_explain(&gang, &result, true, err);
        r->exit_code = gang_exit_code(&result);
        rc = -1;
    }
    free(rank);
    json_decref(argv);
    json_decref(env);
    return rc;
}

int gang_program_run(struct op_run *r, const struct gang_program *given,
                     struct rwf_err *err)
{
    struct program p = {
        .run = r, .given = given, .stable = stable_folder(r, false, err)};
    int rc = -1;

    if (p.stable == NULL)
        return -1;
    p.checkpoints = rwf_fs_join(p.stable, "checkpoints");
    p.resume = rwf_fs_join(p.stable, "resume.json");
    if (getcwd(p.cwd, sizeof(p.cwd)) == NULL)
        rwf_fail(err, errno, "the working folder: %s", strerror(errno));
    else if (rwf_fs_mkdirs(p.checkpoints, err) == 0 &&
             gang_places_read(&p.places, r->places,
                              r->ranks > 0 ? r->ranks : given->ranks, err) == 0)
        rc = run_gang(&p, err);
    gang_places_free(&p.places);
    if (rc == 0 && !given->keep)
        (void)rwf_fs_rmtree(p.stable, NULL);
    free(p.resume);
    free(p.checkpoints);
    free(p.stable);
    return rc;
}
