/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cmd/cmd.h"
#include "cmd/compile.h"
#include "cmd/drive.h"
#include "run/layout.h"

const char **cmd_drive_keys(const json_t *plan)
{
    const json_t *steps = json_object_get(plan, "steps"), *step;
    const char **keys = rwf_xcalloc(json_array_size(steps) + 1, sizeof(*keys));
    size_t i;

    json_array_foreach((json_t *)steps, i, step)
        keys[i] = json_string_value(json_object_get(step, "key"));
    return keys;
}

static bool serves(const struct plan_graph *g)
{
    for (size_t i = 0; i < plan_graph_count(g); i++)
        if (plan_graph_step(g, (uint32_t)i)->op->service)
            return true;
    return false;
}

int cmd_run_file(struct cmd_call *call, const char *path, const struct cmd_drive *d,
                 struct rwf_err *err)
{
    struct cmd_compiled c;
    const char **keys = NULL;
    char *root = NULL;

    if (cmd_drive_check(call, err) < 0)
        return -1;
    int code = cmd_compile(call, path, true, &c, err);
    if (code != 0)
        goto out;
    if ((d->stay || d->serve_control) && !serves(c.graph)) {
        code = rwf_fail(err, RWF_E_USAGE,
                        "%s: nothing in it is to be served: it has no section `serve`",
                        path);
        goto out;
    }
    root = run_root(recipe_dir(c.recipe));
    if (c.plan)
        keys = cmd_drive_keys(c.plan);
    else
        c.plan = planfile_make(c.graph, &c.options, NULL);
    code = cmd_drive(call,
                     &(struct cmd_drive){.c = &c,
                                         .root = root,
                                         .plan = c.plan,
                                         .keys = keys,
                                         .stay = d->stay,
                                         .serve_control = d->serve_control},
                     err);
out:
    free(keys);
    free(root);
    cmd_compiled_free(&c);
    return code;
}

static int run_run(struct cmd_call *call, struct rwf_err *err)
{
    return cmd_run_file(call, call->operands[0], &(struct cmd_drive){0}, err);
}

static const struct cmd_option options[] = {
    CMD_PART_OPTIONS,
    CMD_DRIVE_OPTIONS,
    CMD_RECIPE_OPTIONS,
    {0},
};

const struct cmd cmd_run = {
    .name = "run",
    .group = CMD_EXECUTE,
    .summary = "run a recipe, or a plan, and wait for its end",
    .details =
        "Steps whose command, inputs and code did not change are taken from the "
        "cache. The run is kept beneath .raywf next to the recipe. Ctrl-C asks the "
        "steps to end; a second one kills them. A plan made by raywf plan -o runs "
        "exactly as planned, or ends with 4 when something changed since.",
    .examples =
        "raywf run recipe.yaml\nraywf run recipe.yaml --only tasks.train -p lr=3e-4\n"
        "raywf run recipe.yaml --junit out/junit.xml --report report.html",
    .exits = "0 1 2 3 4 5 6 7 8 9 11 12",
    .operands = {{"FILE", CMD_FILE, 1, 1}},
    .options = options,
    .run = run_run,
};
