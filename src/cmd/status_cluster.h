/* SPDX-License-Identifier: Apache-2.0
 *
 * How a cluster stands: `raywf status --cluster`.
 */
#ifndef RWF_CMD_STATUS_CLUSTER_H
#define RWF_CMD_STATUS_CLUSTER_H
#include "cmd/cmd.h"

/* The command has CMD_HEAD_OPTIONS. */
int cmd_status_cluster(struct cmd_call *call, struct rwf_err *err);

#endif
