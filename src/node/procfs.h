/* SPDX-License-Identifier: Apache-2.0
 *
 * What /proc tells of the processes of a session. A step leads its own session, so
 * these are the step's processes, also those that left its process group.
 */
#ifndef RWF_NODE_PROCFS_H
#define RWF_NODE_PROCFS_H
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Live processes of session sid (zombies do not count). */
int node__session_count(pid_t sid);
/* Sends sig to each of them; returns how many. */
int node__session_kill(pid_t sid, int sig);
/* Memory of theirs that is not a file's: anonymous and shared. */
int64_t node__session_memory(pid_t sid);
/* What pid alone has that is neither a file's nor shared. */
int64_t node__process_private(pid_t pid);
/* The same, of all processes of several sessions, in one pass. */
struct node__session {
    pid_t sid;
    int64_t bytes;
};
void node__sessions_private(struct node__session *sessions, size_t count);
/* The most memory pid had at once since it started its program; 0 when it is gone. */
int64_t node__process_peak(pid_t pid);

/* Ends what a step of an earlier node with this socket and name left behind. Returns how
 * many processes that were. */
int node__sweep(const char *address, const char *name);

#endif
