/* SPDX-License-Identifier: Apache-2.0
 *
 * A node within an allocation of Slurm looks now and then what Slurm thinks of its
 * machine: drained there, it is drained here, and back when it is resumed.
 */
#ifndef RWF_CMD_SLURM_WATCH_H
#define RWF_CMD_SLURM_WATCH_H
#include "node/node.h"

struct cmd_slurm_watch;
/* NULL: this process was not started by Slurm. */
struct cmd_slurm_watch *cmd_slurm_watch_create(uv_loop_t *loop, struct node *n);
/* Before the node is destroyed; NULL is fine. */
void cmd_slurm_watch_close(struct cmd_slurm_watch *w);
/* Of what `scontrol show node -o` prints: the machine is to take no more work. */
bool cmd_slurm_is_drained(const char *text);

#endif
