/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RWF_NODE_MACHINE_H
#define RWF_NODE_MACHINE_H
#include "schedule/schedule.h"

/* What this machine has (cores and memory that the cgroup leaves us, GPUs). */
void node_machine(struct schedule_machine *ret);
/* The same, with the GPUs guessed: the driver is not asked, which may take long. */
void node_machine_quick(struct schedule_machine *ret);
/* As much of it as the steps of g need to know. */
void node_machine_for(const struct plan_graph *g, struct schedule_machine *ret);

#endif
