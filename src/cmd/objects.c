/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cmd/alive.h"

static const struct cmd_column columns[] = {
    {"node", "NODE", CELL_TEXT},         {"object", "OBJECT", CELL_NUMBER},
    {"state", "STATE", CELL_TEXT},       {"size", "SIZE", CELL_BYTES},
    {"creator", "CREATOR", CELL_NUMBER}, {"holders", "HOLDERS", CELL_NUMBER},
    {"pins", "PINS", CELL_NUMBER},       {0},
};

static int objects_run(struct cmd_call *call, struct rwf_err *err)
{
    return cmd_show_list(call, "objects", columns, "no objects", err);
}

const struct cmd cmd_objects = {
    .name = "objects",
    .group = CMD_OBSERVE,
    .summary = "list what lies in the shared memory of a native runtime",
    .details =
        "Values above 32 KiB: who made one (its slot), how many processes hold it and "
        "how "
        "many read it in place. The runtime is that of RUN; without RUN the one at "
        "RAYWF_ADDRESS, else that of the newest active run here, else of raywf start's "
        "node.",
    .exits = "0 2 7 12",
    .operands = {{"RUN", CMD_RUN, 0, 1}},
    .run = objects_run,
};
