/* SPDX-License-Identifier: Apache-2.0
 *
 * Daemons of a cluster on this machine: DIR/head and DIR/nodes/NAME, each with a file
 * "pid" that is locked while its process lives.
 */
#ifndef RWF_CMD_DAEMON_H
#define RWF_CMD_DAEMON_H
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/err.h"

/* DIR: given, else RAYWF_CLUSTER, else $XDG_STATE_HOME/raywf or ~/.local/state/raywf. */
char *cmd_daemon_dir(const char *given, struct rwf_err *err);
/* Makes folder (0700) and takes its lock for this process, for ever. Fails with EBUSY
 * when another has it. */
int cmd_daemon_claim(const char *folder, const char *what, struct rwf_err *err);
/* Whose it is now; 0: nobody's. */
pid_t cmd_daemon_owner(const char *folder);
/* The socket for drivers of the node of this machine that raywf start runs, of several
 * one of them; NULL: none. The caller's to free. */
char *cmd_daemon_node(void);
/* Ends the owner of folder and waits for it; force: kills it when it has not ended by then. 1 ended,
 * 2 killed, 0 there was none, -1. */
int cmd_daemon_end(const char *folder, int64_t timeout, bool force, struct rwf_err *err);

/* Forks: the child goes on in the background, with stderr in log, and has *ret_fd to
 * say "ok …" or an error; the parent waits for that. 1: the parent, all is well,
 * *ret_text is what was said; 0: the child; -1 *err: the child's error. */
int cmd_daemon_fork(const char *log, int *ret_fd, char **ret_text, struct rwf_err *err);
void cmd_daemon_say(int fd, const char *text);
void cmd_daemon_say_error(int fd, const struct rwf_err *err);

#endif
