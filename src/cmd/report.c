/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/str.h"
#include "cmd/cmd.h"
#include "cmd/opened.h"
#include "view/report.h"

static int write_report(struct cmd_call *call, const struct cmd_opened *o,
                        struct rwf_err *err)
{
    const char *given = cmd_text(call, "output", NULL);
    char *path = given ? NULL : rwf_fs_join(o->dir, "report.html");
    struct rwf_str page = {0};
    struct view_run r = cmd_opened_view(o);
    int code = view_report(&r, &page, err);

    if (code == 0)
        code = cmd_write(given ? given : path, page.data, page.len, err);
    if (code == 0)
        call->data =
            json_pack("{s:s, s:o, s:I}", "run", o->id, "file",
                      cmd_string(given ? given : path), "bytes", (json_int_t)page.len);
    if (code == 0 && !call->json && !call->quiet && !given)
        puts(path);
    rwf_str_free(&page);
    free(path);
    return code;
}

static int report_run(struct cmd_call *call, struct rwf_err *err)
{
    struct cmd_opened o;

    if (call->json && strcmp(cmd_text(call, "output", ""), "-") == 0)
        return rwf_fail(err, RWF_E_USAGE,
                        "--format json and -o - both want standard output");
    const char *name = cmd_operand(call, 0, "last");
    int code = cmd_open_run(call, name, true, &o, err);
    /* What happened can be told when the recipe of it can no longer be read. */
    if (code != 0 && o.state != NULL) {
        cmd_opened_free(&o);
        rwf_log(RWF_LOG_WARN, "report",
                "without the graph: the plan of this run cannot "
                "be read any more");
        code = cmd_open_run(call, name, false, &o, err);
    }
    if (code == 0)
        code = write_report(call, &o, err);
    cmd_opened_free(&o);
    return code;
}

static const struct cmd_option options[] = {
    {"output", 'o', CMD_FILE, "FILE", false, "report.html in the run's folder",
     "write to FILE; - is standard output"},
    {0},
};

const struct cmd cmd_report = {
    .name = "report",
    .group = CMD_OBSERVE,
    .summary = "write one self-contained HTML page about a run",
    .details =
        "Graph, timeline, metrics, checks, steps and logs in one file that needs no "
        "network. Without -o its path is printed.",
    .examples = "raywf report -o report.html",
    .exits = "0 2 7 12",
    .operands = {{"RUN", CMD_RUN, 0, 1}},
    .options = options,
    .run = report_run,
};
