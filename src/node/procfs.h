/* SPDX-License-Identifier: Apache-2.0
 *
 * What /proc tells of the processes of a session. A step leads its own session, so
 * these are the step's processes, also those that left its process group.
 */
#ifndef RWF_NODE_PROCFS_H
#define RWF_NODE_PROCFS_H
#include <stdint.h>
#include <sys/types.h>

/* Live processes of session sid (zombies do not count). */
int node__session_count(pid_t sid);
/* Sends sig to each of them; returns how many. */
int node__session_kill(pid_t sid, int sig);
/* Memory of theirs that is not a file's: anonymous and shared. */
int64_t node__session_memory(pid_t sid);
/* The most memory pid had at once since it started its program; 0 when it is gone. */
int64_t node__process_peak(pid_t pid);

#endif
