/* SPDX-License-Identifier: Apache-2.0
 *
 * A runtime for one driver: head and node in one process. The driver starts it with a
 * socket on descriptor 3, and it ends when that closes, however the driver ends.
 */
#include "config.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/scratch.h"
#include "cmd/cmd.h"
#include "cmd/runtime.h"

#define DRIVER_FD 3

static int session_run(struct cmd_call *call, struct rwf_err *err)
{
    struct schedule_machine machine;
    struct node_options node = {.machine = &machine,
                                .spill = cmd_text(call, "spill", NULL)};
    int type = 0;
    socklen_t len = sizeof(type);
    if (getsockopt(DRIVER_FD, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
        return rwf_fail(err, RWF_E_USAGE,
                        "session: descriptor %d is not a socket: raywf_init() starts "
                        "sessions, nobody else does",
                        DRIVER_FD);
    fcntl(DRIVER_FD, F_SETFD, FD_CLOEXEC);
    if (cmd_runtime_machine(call, &machine, err) ||
        cmd_runtime_size(call, "store", &node.store, err) ||
        cmd_runtime_size(call, "spill-quota", &node.spill_quota, err))
        return -1;
    struct rwf_scratch folder;
    if (rwf_scratch_make(&folder, "raywf-session-", err))
        return -1;
    node.folder = folder.path;
    struct cmd_runtime_options o = {.node = &node, .head = true, .driver = DRIVER_FD};
    int rc = cmd_runtime_run(&o, err);
    rwf_scratch_remove(&folder);
    return rc;
}

static const struct cmd_option options[] = {
    {"cpu", 0, CMD_TEXT, "N", false, "what the machine has", "cores to hand out"},
    {"store", 0, CMD_TEXT, "SIZE", false, "30 % of the memory, at most 8 GiB",
     "shared memory for objects"},
    {"spill", 0, CMD_DIR, "DIR", false, NULL, "where objects go that do not fit"},
    {"spill-quota", 0, CMD_TEXT, "SIZE", false, "10GiB", "how much may go there"},
    {0},
};

const struct cmd cmd_session = {
    .name = "session",
    .group = CMD_MORE,
    .flags = CMD_HIDDEN | CMD_BARE,
    .summary = "a runtime for one driver (for raywf_init's own use)",
    .exits = "0 2 7",
    .options = options,
    .run = session_run,
};
