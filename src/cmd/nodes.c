/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cmd/alive.h"

static const struct cmd_column columns[] = {
    {"node", "NODE", CELL_TEXT},      {"state", "STATE", CELL_TEXT},
    {"cpu", "CPU", CELL_NUMBER},      {"cpu_free", "FREE", CELL_NUMBER},
    {"memory", "MEMORY", CELL_BYTES}, {"memory_free", "FREE", CELL_BYTES},
    {"gpus", "GPUS", CELL_COUNT},     {"leases", "LEASES", CELL_NUMBER},
    {"link", "LINK", CELL_TEXT},      {0},
};

static int nodes_run(struct cmd_call *call, struct rwf_err *err)
{
    return cmd_show_list(call, "nodes", columns, "no nodes", err);
}

const struct cmd cmd_nodes = {
    .name = "nodes",
    .group = CMD_OBSERVE,
    .summary = "list the nodes of a native runtime and what is free on them",
    .details = "The runtime is that of RUN; without RUN the one at RAYWF_ADDRESS, else "
               "that of "
               "the newest active run here, else of raywf start's node.",
    .exits = "0 2 7 12",
    .operands = {{"RUN", CMD_RUN, 0, 1}},
    .run = nodes_run,
};
