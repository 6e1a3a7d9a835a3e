/* SPDX-License-Identifier: Apache-2.0
 *
 * The server of what a run serves: the engine starts it, with the run's runtime in
 * RAYWF_ADDRESS and its control socket in RAYWF_SERVE_CONTROL.
 */
#include "config.h"

#include "cmd/cmd.h"
#include "serve/server.h"

static int serve_front_run(struct cmd_call *call, struct rwf_err *err)
{
    const struct serve_server_options options = {.folder = call->operands[0]};

    return serve_server_run(&options, err);
}

const struct cmd cmd_serve_front = {
    .name = "serve-front",
    .group = CMD_MORE,
    .flags = CMD_HIDDEN | CMD_BARE,
    .summary = "serve the applications of a run (for the engine's own use)",
    .exits = "0 2 7",
    .operands = {{"DIR", CMD_DIR, 1, 1}},
    .run = serve_front_run,
};
