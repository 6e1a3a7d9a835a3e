/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "cmd/alive.h"

static const struct cmd_column columns[] = {
    {"actor", "ACTOR", CELL_NUMBER},       {"name", "NAME", CELL_TEXT},
    {"class", "CLASS", CELL_TEXT},         {"state", "STATE", CELL_TEXT},
    {"node", "NODE", CELL_TEXT},           {"lease", "LEASE", CELL_NUMBER},
    {"restarts", "RESTARTS", CELL_NUMBER}, {0},
};

static int actors_run(struct cmd_call *call, struct rwf_err *err)
{
    return cmd_show_list(call, "actors", columns, "no actors", err);
}

const struct cmd cmd_actors = {
    .name = "actors",
    .group = CMD_OBSERVE,
    .summary = "list the actors of a native runtime",
    .details = "The runtime is that of RUN; without RUN the one at RAYWF_ADDRESS, else "
               "that of "
               "the newest active run here, else of raywf start's node.",
    .exits = "0 2 7 12",
    .operands = {{"RUN", CMD_RUN, 0, 1}},
    .run = actors_run,
};
