/* SPDX-License-Identifier: Apache-2.0
 *
 * The live native runtime that a command asks: of a run, or the one at RAYWF_ADDRESS.
 */
#ifndef RWF_CMD_ALIVE_H
#define RWF_CMD_ALIVE_H
#include "cmd/cmd.h"

/* Of the run named by the operand; without one: RAYWF_ADDRESS, else the newest run that
 * is active and has one. The caller's to free; NULL: RWF_E_NORUN. */
char *cmd_alive_address(const struct cmd_call *call, struct rwf_err *err);
/* The address of an active run's runtime; NULL: it has none. The caller's to free. */
char *cmd_alive_of_run(const char *root, const char *id);
/* A list from the node at address or its head ("nodes", "workers", …); NULL and *err
 * when it cannot be asked. Caller decrefs. */
json_t *cmd_alive_list(const char *address, const char *what, const char *about,
                         struct rwf_err *err);

/* What is alive in the runtime of run id: {"address","workers","tasks","actors"}, or
 * NULL when it has none (or it went away meanwhile). Caller decrefs. */
json_t *cmd_alive_all(const char *root, const char *id);

/* A list as a table: columns of its objects' members. */
enum cmd_cell { CELL_TEXT, CELL_NUMBER, CELL_BYTES, CELL_TIME, CELL_LIST, CELL_COUNT };
struct cmd_column {
    const char *member, *title; /* NULL ends the table */
    enum cmd_cell cell;
};
void cmd_print_table(const struct cmd_call *call, const json_t *rows,
                     const struct cmd_column *columns, const char *when_empty);
/* The body of a command that shows one list: data is {"address", NAME: list}. */
int cmd_show_list(struct cmd_call *call, const char *what,
                  const struct cmd_column *columns, const char *when_empty,
                  struct rwf_err *err);

#endif
