/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <string.h>

#include "base/clock.h"
#include "cmd/cmd.h"
#include "cmd/opened.h"
#include "run/engine.h"

static int stop_run(struct cmd_call *call, struct rwf_err *err)
{
    struct cmd_opened o;
    int code = cmd_open_run(call, cmd_operand(call, 0, "last"), false, &o, err);

    if (code == 0)
        code = engine_stop(o.root, o.id,
                           cmd_duration(call, "timeout", 60 * RWF_NS_PER_S), err);
    if (code == 0)
        code = cmd_reload_run(&o, err);
    if (code == 0) {
        call->data = cmd_run_json(&o);
        bool done = strcmp(cmd_run_status(&o), "succeeded") == 0;
        if (!call->json && !call->quiet)
            fprintf(stderr, "run %s %s%s%s%s\n", o.id, done ? "has " : "is ",
                    cmd_run_status(&o), done ? "" : "; go on with: raywf resume ",
                    done ? "" : o.id);
    }
    cmd_opened_free(&o);
    return code;
}

static const struct cmd_option options[] = {
    {"timeout", 0, CMD_DURATION, "TIME", false, "60s", "how long to wait for its end"},
    {0},
};

const struct cmd cmd_stop = {
    .name = "stop",
    .group = CMD_EXECUTE,
    .summary = "ask a run to stop, and wait until it has",
    .details =
        "Running steps get TERM, and KILL after their grace. What is finished stays "
        "finished.",
    .exits = "0 2 7 8 12",
    .operands = {{"RUN", CMD_RUN, 0, 1}},
    .options = options,
    .run = stop_run,
};
