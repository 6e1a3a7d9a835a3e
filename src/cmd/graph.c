/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "cmd/cmd.h"
#include "cmd/compile.h"
#include "plan/picture.h"

static int draw(const struct cmd_call *call, const struct plan_graph *g,
                struct rwf_str *out, struct rwf_err *err)
{
    if (strcmp(call->format, "dot") == 0)
        plan_picture_dot(g, NULL, NULL, out);
    else if (strcmp(call->format, "mermaid") == 0)
        plan_picture_mermaid(g, out);
    else if (strcmp(call->format, "svg") == 0)
        return plan_picture_svg(g, NULL, NULL, out, err);
    else
        rwf_assert(!"a format of the table");
    return 0;
}

static int graph_json(struct cmd_call *call, const struct plan_graph *g,
                      const char *path, struct rwf_err *err)
{
    json_t *graph = plan_picture_json(g);

    if (!path) {
        call->data = graph;
        return 0;
    }
    char *text = json_dumps(graph, JSON_INDENT(2));
    int status = cmd_write(path, text, strlen(text), err);
    call->data = json_pack("{s:o}", "file", cmd_string(path));
    free(text);
    json_decref(graph);
    return status;
}

static int graph_run(struct cmd_call *call, struct rwf_err *err)
{
    const char *path = cmd_text(call, "output", NULL);
    struct cmd_compiled c;
    struct rwf_str out = {0};

    call->format = cmd_text(call, "format", "mermaid");
    int code = cmd_compile(call, call->operands[0], true, &c, err);
    if (code != 0)
        goto out;
    if (call->json) {
        code = graph_json(call, c.graph, path, err);
        goto out;
    }
    code = draw(call, c.graph, &out, err);
    if (code == 0)
        code = cmd_write(path ? path : "-", out.data, out.len, err);
out:
    rwf_str_free(&out);
    cmd_compiled_free(&c);
    return code;
}

static const struct cmd_option options[] = {
    {"format", 0, CMD_CHOICE, "svg|dot|mermaid|json", false, "mermaid",
     "svg is laid out by Graphviz; mermaid is what Markdown pages show"},
    {"output", 'o', CMD_FILE, "FILE", false, "standard output", "write to FILE"},
    CMD_PART_OPTIONS,
    CMD_RECIPE_OPTIONS,
    {0},
};

const struct cmd cmd_graph = {
    .name = "graph",
    .group = CMD_EXECUTE,
    .summary = "draw the graph of steps",
    .details = "Above 200 steps the instances of an entry are drawn as one box.",
    .examples = "raywf graph recipe.yaml --format svg -o graph.svg",
    .exits = "0 2 3 6 7 12",
    .operands = {{"FILE", CMD_FILE, 1, 1}},
    .options = options,
    .run = graph_run,
};
