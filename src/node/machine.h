/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RWF_NODE_MACHINE_H
#define RWF_NODE_MACHINE_H
#include "schedule/schedule.h"

/* What this machine has (cores and memory that the cgroup leaves us, GPUs). */
void node_machine(struct schedule_machine *ret);

#endif
