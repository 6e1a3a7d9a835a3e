/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <string.h>

#include "cmd/cmd.h"
#include "cmd/compile.h"
#include "view/style.h"

static void say_good(struct cmd_call *call, const struct cmd_compiled *c,
                     const char *path)
{
    if (call->json || call->quiet || strcmp(call->format, "github") == 0)
        return;
    size_t steps = plan_graph_count(c->graph);
    fprintf(stderr, "%s%s%s %s: %zu step%s\n", view_on(call->color_err, VIEW_GOOD),
            view_mark(STEP_SUCCEEDED), view_off(call->color_err), path, steps,
            steps == 1 ? "" : "s");
}

/* A file that cannot be read does not hide what is wrong with the others. */
static int check_one(struct cmd_call *call, const char *path, json_t *files,
                     struct rwf_err *err)
{
    struct cmd_compiled c;
    int code = cmd_compile(call, path, true, &c, err);

    json_t *item = json_pack("{s:o, s:b}", "file", cmd_string(path), "ok", code == 0);
    if (code == 0) {
        say_good(call, &c, path);
        json_object_set_new(item, "name", json_string(recipe_name(c.recipe)));
        json_object_set_new(item, "steps",
                            json_integer((json_int_t)plan_graph_count(c.graph)));
    }
    if (c.diags) {
        size_t errors = recipe_diags_errors(c.diags);
        json_object_set_new(item, "errors", json_integer((json_int_t)errors));
        json_object_set_new(
            item, "warnings",
            json_integer((json_int_t)(recipe_diags_count(c.diags) - errors)));
    }
    json_array_append_new(files, item);
    cmd_compiled_free(&c);
    return code;
}

static int check_run(struct cmd_call *call, struct rwf_err *err)
{
    json_t *files = json_array();
    int worst = 0;

    (void)err;
    for (size_t i = 0; i < call->operand_count; i++) {
        struct rwf_err one = RWF_ERR_INIT;
        int code = check_one(call, call->operands[i], files, &one);
        if (code < 0)
            code = cmd_keep_error(call, &one);
        worst = rwf_exit_worse(worst, code);
    }
    call->data = json_pack("{s:o}", "files", files);
    return worst;
}

static const struct cmd_option options[] = {
    {"format", 0, CMD_CHOICE, "text|json|github", false, "text",
     "json: one envelope; github: annotations for a workflow"},
    CMD_RECIPE_OPTIONS,
    {0},
};

const struct cmd cmd_check = {
    .name = "check",
    .alias = "validate",
    .group = CMD_WRITE,
    .summary = "find everything that is wrong with recipes, without running anything",
    .details =
        "Reads the recipe and what it includes, and checks the grammar, every key "
        "and value against the schema, all references and their types, and the "
        "graph. Nothing is executed and no network is used. - reads standard input.",
    .examples = "raywf check recipe.yaml\nraywf check recipes/*.yaml --format github",
    .exits = "0 2 3 6",
    .operands = {{"FILE", CMD_FILE, 1, CMD_MANY}},
    .options = options,
    .run = check_run,
};
