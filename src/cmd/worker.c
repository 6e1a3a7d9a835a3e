/* SPDX-License-Identifier: Apache-2.0
 *
 * A warm process that runs native functions: the node starts it with its socket on
 * descriptor 3.
 */
#include "config.h"

#include <sys/socket.h>
#include <stdlib.h>

#include "cmd/cmd.h"
#include "native/plugin.h"
#include "native/worker.h"
#include "serve/class_builtin.h"

static int worker_run(struct cmd_call *call, struct rwf_err *err)
{
    int type = 0;
    socklen_t len = sizeof(type);
    char *end;
    unsigned long long number = strtoull(call->operands[0], &end, 10);

    if (*end || number == 0)
        return rwf_fail(err, RWF_E_USAGE, "worker: '%s' is not the number of a worker",
                        call->operands[0]);
    if (getsockopt(NATIVE_WORKER_FD, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
        return rwf_fail(err, RWF_E_USAGE,
                        "worker: descriptor %d is not a socket: a node starts workers, "
                        "nobody else does",
                        NATIVE_WORKER_FD);
    native_plugin_builtins(serve_builtins);
    return native_worker_run(NATIVE_WORKER_FD, number, err);
}

const struct cmd cmd_worker = {
    .name = "worker",
    .group = CMD_MORE,
    .flags = CMD_HIDDEN | CMD_BARE,
    .summary = "run native functions (for a node's own use)",
    .exits = "0 7",
    .operands = {{"NUMBER", CMD_TEXT, 1, 1}},
    .run = worker_run,
};
