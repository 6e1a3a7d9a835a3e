/* SPDX-License-Identifier: Apache-2.0
 *
 * A run of the past or the present, opened by the name that the user gave it.
 */
#ifndef RWF_CMD_OPENED_H
#define RWF_CMD_OPENED_H
#include "cmd/cmd.h"
#include "cmd/compile.h"
#include "run/state.h"
#include "view/run.h"

struct cmd_opened {
    char *root, *id, *dir, *log;
    json_t *plan; /* plan.json */
    struct run_state *state;
    struct cmd_compiled c; /* when asked for */
    int pid;               /* of the process that drives it; 0: none does */
};

/* graph: its recipe and graph are wanted too. 0, an exit code above 0 (its recipe no
 * longer compiles), or -1 with *err. Free in every case. */
int cmd_open_run(struct cmd_call *call, const char *name, bool graph,
                 struct cmd_opened *o, struct rwf_err *err);
/* Reads the log again. */
int cmd_reload_run(struct cmd_opened *o, struct rwf_err *err);
void cmd_opened_free(struct cmd_opened *o);
/* As the views want it; borrows. */
struct view_run cmd_opened_view(const struct cmd_opened *o);
/* "succeeded", …, or "interrupted" when it says running but nobody drives it. */
const char *cmd_run_status(const struct cmd_opened *o);
/* Splits "[RUN] [STEP]": one operand that is an address is the step. */
void cmd_run_and_step(const struct cmd_call *call, const char **ret_run,
                      const char **ret_step);
/* The full address for what was typed: "train" finds "tasks.train"; an entry finds its
 * only instance. NULL with RWF_E_NORUN and a did-you-mean. */
const struct plan_step *cmd_find_step(const struct cmd_opened *o, const char *name,
                                      struct rwf_err *err);
/* {run,name,status,…} for envelopes. */
json_t *cmd_run_json(const struct cmd_opened *o);

#endif
