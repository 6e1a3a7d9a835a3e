/* SPDX-License-Identifier: Apache-2.0
 *
 * From a file to a graph, the same way for check, plan, run and graph: load, report all
 * diagnostics, build. And the other way in: a run's own plan.
 */
#ifndef RWF_CMD_COMPILE_H
#define RWF_CMD_COMPILE_H
#include "cmd/cmd.h"
#include "plan/graph.h"
#include "plan/planfile.h"
#include "recipe/recipe.h"

/* All step kinds; NULL-terminated (ops.c). */
extern const struct op *const cmd_ops[];

struct cmd_compiled {
    struct recipe *recipe;
    struct recipe_diags *diags;
    struct plan_graph *graph; /* NULL when there were errors */
    struct plan_options options;
    json_t *plan; /* the plan file, when the input was one */
    const char **only, **from;
};

/* Options that shape a recipe: one set of rows for every command that takes them. */
#define CMD_RECIPE_OPTIONS                                                             \
    {"profile", 0, CMD_TEXT, "NAME", false, NULL, "lay this profile over the recipe"}, \
        {"param", 'p', CMD_SETTING, "NAME=VALUE", true, NULL, "value of a parameter"}, \
    {                                                                                  \
        "set", 0, CMD_SETTING, "PATH=VALUE", true, NULL,                               \
            "change a value of the recipe, such as tasks.train.retry.max=2"            \
    }
#define CMD_PART_OPTIONS                                                               \
    {                                                                                  \
        "only",                                                                        \
        0,                                                                             \
        CMD_STEP,                                                                      \
        "STEP",                                                                        \
        true,                                                                          \
        NULL,                                                                          \
        "this step or entry, and what it needs"},                                      \
    {                                                                                  \
        "from", 0, CMD_STEP, "STEP", true, NULL,                                       \
            "this step or entry, and all that depends on it"                           \
    }

/* Loads path and, if whole, builds its graph. Diagnostics are printed or put into the
 * call. 0, an exit code above 0, or -1 with *err. Free in every case. */
int cmd_compile(struct cmd_call *call, const char *path, bool whole,
                struct cmd_compiled *ret, struct rwf_err *err);
/* The same for a plan (borrowed), such as that of a run. */
int cmd_compile_plan(struct cmd_call *call, json_t *plan, struct cmd_compiled *ret,
                     struct rwf_err *err);
void cmd_compiled_free(struct cmd_compiled *c);

#endif
