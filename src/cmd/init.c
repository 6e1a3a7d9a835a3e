/* SPDX-License-Identifier: Apache-2.0
 *
 * A first recipe. Never overwrites, never asks.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "cmd/cmd.h"

extern const char cmd_template_start[], cmd_template_matrix[], cmd_template_dataset[],
    cmd_template_github[];

static const struct {
    const char *name, *text, *help;
} templates[] = {
    {"start", cmd_template_start, "two steps, a metric and a check"},
    {"matrix", cmd_template_matrix, "a grid of runs and the best of them"},
    {"dataset", cmd_template_dataset, "a dataset that is cleaned, checked and split"},
};

#define WORKFLOW ".github/workflows/raywf.yml"

/* O_EXCL: between looking and writing, nobody's file can come in between. */
static int write_new(const char *path, const char *text, struct rwf_err *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

    if (fd < 0 && errno == EEXIST)
        return rwf_fail(
            err, RWF_E_USAGE,
            "%s exists, and init never overwrites; choose another name with -o", path);
    if (fd < 0)
        return rwf_fail(err, RWF_E_ENV, "%s: cannot create: %s", path, strerror(errno));
    int status = rwf_fs_write_all(fd, text, strlen(text), err);
    if (close(fd) < 0 && status == 0)
        status = rwf_fail(err, RWF_E_ENV, "%s: %s", path, strerror(errno));
    return status;
}

static int write_workflow(const char *recipe, struct rwf_err *err)
{
    struct rwf_str out = {0};
    const char *at = cmd_template_github, *found;

    if (rwf_fs_mkdirs(".github/workflows", err) < 0)
        return -1;
    while ((found = strstr(at, "RECIPE"))) {
        rwf_str_addn(&out, at, (size_t)(found - at));
        rwf_str_add(&out, recipe);
        at = found + strlen("RECIPE");
    }
    rwf_str_add(&out, at);
    int status = write_new(WORKFLOW, out.data, err);
    rwf_str_free(&out);
    return status;
}

static int list(struct cmd_call *call)
{
    json_t *all = json_array();

    for (size_t i = 0; i < RWF_COUNT(templates); i++) {
        json_array_append_new(all, json_pack("{s:s, s:s}", "name", templates[i].name,
                                             "help", templates[i].help));
        if (!call->json)
            printf("%-10s %s\n", templates[i].name, templates[i].help);
    }
    call->data = json_pack("{s:o}", "templates", all);
    return 0;
}

static int init_run(struct cmd_call *call, struct rwf_err *err)
{
    const char *name = cmd_operand(call, 0, "start");
    const char *path = cmd_text(call, "output", "recipe.yaml");
    bool ci = cmd_given(call, "ci");
    size_t i = 0;

    if (cmd_given(call, "list"))
        return list(call);
    while (strcmp(templates[i].name, name) != 0)
        i++; /* the parser lets only these names through */
    if (ci && rwf_fs_exists(WORKFLOW))
        return rwf_fail(err, RWF_E_USAGE, "%s exists, and init never overwrites",
                        WORKFLOW);
    if (write_new(path, templates[i].text, err) < 0)
        return -1;
    if (ci && write_workflow(path, err) < 0)
        return -1;
    call->data = json_pack("{s:s, s:o, s:s?}", "template", name, "file",
                           cmd_string(path), "workflow", ci ? WORKFLOW : NULL);
    if (!call->json && !call->quiet) {
        fprintf(stderr, "wrote %s%s%s\nnext: raywf run %s\n", path, ci ? " and " : "",
                ci ? WORKFLOW : "", path);
    }
    return 0;
}

static const struct cmd_option options[] = {
    {"output", 'o', CMD_FILE, "FILE", false, "recipe.yaml",
     "where to write the recipe"},
    {"ci", 0, CMD_CHOICE, "github", false, NULL, "also write a workflow: " WORKFLOW},
    {"list", 0, CMD_FLAG, NULL, false, NULL, "list the templates"},
    {0},
};

const struct cmd cmd_init = {
    .name = "init",
    .group = CMD_WRITE,
    .summary = "write a first recipe that runs as it is",
    .details =
        "Templates: start, matrix, dataset. Existing files are never overwritten.",
    .examples = "raywf init && raywf run recipe.yaml\nraywf init matrix -o grid.yaml",
    .exits = "0 2 7",
    .operands = {{"start|matrix|dataset", CMD_CHOICE, 0, 1}},
    .options = options,
    .run = init_run,
};
