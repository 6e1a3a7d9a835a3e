/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "cmd/cmd.h"
#include "cmd/opened.h"
#include "view/timeline.h"

static int write_trace(struct cmd_call *call, const struct cmd_opened *o,
                       struct rwf_err *err)
{
    const char *given = cmd_text(call, "output", NULL);
    bool to_stdout = given && strcmp(given, "-") == 0;
    char *path = given ? rwf_xstrdup(given) : rwf_fs_join(o->dir, "timeline.json");
    struct view_run r = cmd_opened_view(o);
    FILE *out = to_stdout ? stdout : fopen(path, "we");
    size_t events = 0;
    int code = -1;

    if (!out) {
        rwf_fail(err, RWF_E_ENV, "%s: %s", path, strerror(errno));
        goto done;
    }
    code = view_timeline(&r, o->log, out, &events, err);
    if (!to_stdout && fclose(out) != 0 && code == 0)
        code = rwf_fail(err, RWF_E_ENV, "%s: %s", path, strerror(errno));
    if (code != 0)
        goto done;
    call->data = json_pack("{s:s, s:o, s:I}", "run", o->id, "file", cmd_string(path),
                           "events", (json_int_t)events);
    if (!call->json && !call->quiet && !given)
        puts(path);
done:
    free(path);
    return code;
}

static int timeline_run(struct cmd_call *call, struct rwf_err *err)
{
    const char *name = cmd_operand(call, 0, "last");
    struct cmd_opened o;

    if (call->json && strcmp(cmd_text(call, "output", ""), "-") == 0)
        return rwf_fail(err, RWF_E_USAGE,
                        "--format json and -o - both want standard output");
    int code = cmd_open_run(call, name, true, &o, err);
    if (code != 0 && o.state != NULL) {
        cmd_opened_free(&o);
        rwf_log(RWF_LOG_WARN, "timeline",
                "without waits: the plan of this run cannot be read any more");
        code = cmd_open_run(call, name, false, &o, err);
    }
    if (code == 0)
        code = write_trace(call, &o, err);
    cmd_opened_free(&o);
    return code;
}

static const struct cmd_option options[] = {
    {"output", 'o', CMD_FILE, "FILE", false, "timeline.json in the run's folder",
     "write to FILE; - is standard output"},
    {0},
};

const struct cmd cmd_timeline = {
    .name = "timeline",
    .group = CMD_OBSERVE,
    .summary = "write a trace of a run for Perfetto or chrome://tracing",
    .details =
        "Attempts of steps as slices, one row for as many as ran at once and one for "
        "each GPU, with what they waited for and why they failed. Without "
        "-o its path is printed.",
    .examples = "raywf timeline -o trace.json",
    .exits = "0 2 7 12",
    .operands = {{"RUN", CMD_RUN, 0, 1}},
    .options = options,
    .run = timeline_run,
};
