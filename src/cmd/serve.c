/* SPDX-License-Identifier: Apache-2.0
 *
 * raywf serve: a first word that is a verb is about the live server, a folder with a
 * config.json is a model, anything else is a recipe that is run and then stays up. (A
 * name that is also a verb: ./status.)
 */
#include "config.h"

#include "cmd/serve.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/suggest.h"
#include "cmd/compile.h"
#include "cmd/drive.h"
#include "run/layout.h"

static int update(struct cmd_call *call, struct rwf_err *err)
{
    const char *path = call->operands[1];
    char *dir = rwf_fs_dirname(path), *root = run_root(*dir ? dir : ".");
    struct cmd_live live = {0};
    int code = cmd_live_find(root, &live, err);

    if (code == 0)
        code = cmd_run_file(call, path,
                            &(struct cmd_drive){.serve_control = live.control}, err);
    cmd_live_free(&live);
    free(root);
    free(dir);
    return code;
}

/* A port that is in use is most often so by what the same folder serves already. */
static void say_live(const char *path)
{
    char *dir = rwf_fs_dirname(path), *root = run_root(*dir ? dir : ".");
    struct cmd_live live;

    if (cmd_live_find(root, &live, NULL) == 0)
        fprintf(stderr,
                "\nlive     run %s serves already: raywf serve update %s replaces what it "
                "serves, raywf serve down ends it\n",
                live.run, path);
    cmd_live_free(&live);
    free(root);
    free(dir);
}

static int recipe(struct cmd_call *call, struct rwf_err *err)
{
    const char *path = call->operands[0];
    int code = cmd_run_file(call, path, &(struct cmd_drive){.stay = true}, err);

    if (code == RWF_E_ENV - RWF_E_BASE && !call->quiet && !call->json && strcmp(path, "-") != 0)
        say_live(path);
    return code;
}

static const struct verb {
    const char *name, *takes; /* takes: for messages */
    size_t min, max;          /* further operands */
    int (*run)(struct cmd_call *call, struct rwf_err *err);
} verbs[] = {
    {"status", "nothing else", 0, 0, cmd_serve_status},
    {"scale", "APP or APP.DEPLOYMENT, and the number of replicas", 2, 2,
     cmd_serve_scale},
    {"update", "a recipe", 1, 1, update},
    {"down", "at most the name of an application", 0, 1, cmd_serve_down},
};

/* A word that is neither a file nor a verb may have been meant as one. */
static int unknown(const char *word, struct rwf_err *err)
{
    struct rwf_suggest near;

    rwf_suggest_init(&near, word);
    for (size_t i = 0; i < RWF_COUNT(verbs); i++)
        rwf_suggest_try(&near, verbs[i].name);
    const char *best = rwf_suggest_best(&near);
    if (best == NULL)
        return rwf_fail(
            err, RWF_E_INPUT,
            "serve: there is no file '%s', nor a folder: names of a hub are "
            "not looked up, but `models: {NAME: {url: …}}` in a recipe "
            "downloads a model",
            word);
    return rwf_fail(err, RWF_E_USAGE,
                    "serve: there is no file '%s'; did you mean raywf serve %s?", word,
                    best);
}

static bool is_folder(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* --model, as vLLM has it, stands for the first operand. */
static int take_model(struct cmd_call *call, struct rwf_err *err)
{
    const char *model = cmd_text(call, "model", NULL);

    if (model == NULL && call->operand_count == 0)
        return rwf_fail(err, RWF_E_USAGE,
                        "serve: a model's folder or a recipe is missing; see raywf serve --help");
    if (model != NULL && call->operand_count > 0)
        return rwf_fail(err, RWF_E_USAGE, "serve: --model %s, or %s: one of them", model,
                        call->operands[0]);
    if (model != NULL)
        call->operands[call->operand_count++] = model;
    return 0;
}

static int serve_run(struct cmd_call *call, struct rwf_err *err)
{
    if (take_model(call, err) != 0)
        return -1;
    const char *word = call->operands[0];
    size_t more = call->operand_count - 1;

    for (size_t i = 0; i < RWF_COUNT(verbs); i++) {
        const struct verb *v = &verbs[i];
        if (strcmp(v->name, word) != 0)
            continue;
        if (more < v->min || more > v->max)
            return rwf_fail(err, RWF_E_USAGE, "serve %s takes %s", v->name, v->takes);
        return v->run(call, err);
    }
    if (more > 0)
        return rwf_fail(err, RWF_E_USAGE,
                        "serve takes one model or recipe: '%s' is too much (an option "
                        "with several values is given several times)",
                        call->operands[1]);
    if (strcmp(word, "-") != 0 && !rwf_fs_exists(word))
        return unknown(word, err);
    if (cmd_serve_is_model(word))
        return cmd_serve_model(call, err);
    if (is_folder(word))
        return rwf_fail(err, RWF_E_INPUT,
                        "serve: folder '%s' has no config.json, so it is no model; a "
                        "recipe is a file",
                        word);
    return recipe(call, err);
}

static const struct cmd_option options[] = {
    CMD_PART_OPTIONS,
    {"drain", 0, CMD_DURATION, "TIME", false, "30s",
     "down: how long requests that are being answered may take"},
    CMD_DRIVE_OPTIONS,
    CMD_RECIPE_OPTIONS,
    CMD_MODEL_OPTIONS,
    {0},
};

const struct cmd cmd_serve = {
    .name = "serve",
    .group = CMD_EXECUTE,
    .summary = "serve a model, or run a recipe and keep serving what it serves",
    .details =
        "serve MODEL (a folder of Hugging Face's layout) answers OpenAI's API for it; "
        "options "
        "marked MODEL are for this form and have vLLM's names. serve FILE runs the "
        "recipe, then stays up until Ctrl-C, raywf stop or serve down: "
        "requests that are being answered are answered, and the run has succeeded. The "
        "other forms are about the server that is live in this folder: status lists "
        "applications, deployments and replicas with queues and latencies, and why some "
        "are missing; scale sets a number of replicas (autoscaling goes on from there); "
        "update FILE runs a recipe whose `serve` entries then replace those of the same "
        "name, without a lost request, or are added; down ends the server, or removes one "
        "application.",
    .examples = "raywf serve ./Qwen3-0.6B --port 8000\nraywf serve recipe.yaml\nraywf "
                "serve status\nraywf serve scale api 4\n"
                "raywf serve update recipe.yaml\nraywf serve down",
    .exits = "0 1 2 3 4 5 6 7 8 9 11 12",
    .operands = {{"MODEL|FILE|status|scale|update|down", CMD_FILE, 0, 1},
                 {"APP|FILE", CMD_FILE, 0, 1},
                 {"REPLICAS", CMD_TEXT, 0, 1}},
    .options = options,
    .run = serve_run,
};
