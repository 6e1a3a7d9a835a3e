/* SPDX-License-Identifier: Apache-2.0
 *
 * The body of a built-in step: the engine starts it as a process of its own.
 */
#include "config.h"

#include "cmd/cmd.h"
#include "cmd/compile.h"
#include "run/engine.h"

static int run_step_run(struct cmd_call *call, struct rwf_err *err)
{
    (void)err;
    return engine_run_step(cmd_ops, call->operands[0]);
}

const struct cmd cmd_run_step = {
    .name = "run-step",
    .group = CMD_MORE,
    .flags = CMD_HIDDEN | CMD_BARE,
    .summary = "run one built-in step (for the engine's own use)",
    .exits = "0 1",
    .operands = {{"DIR", CMD_DIR, 1, 1}},
    .run = run_step_run,
};
