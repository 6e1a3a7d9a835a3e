/* SPDX-License-Identifier: Apache-2.0
 *
 * Starting a program: finding it the way the child will see it, and one call that
 * returns only when the program runs or when it is known why it cannot.
 */
#ifndef RWF_NODE_SPAWN_H
#define RWF_NODE_SPAWN_H
#include <sys/types.h>
#include "base/err.h"

struct node__spawn {
    const char *program; /* from node__spawn_find */
    char *const *argv;
    char *const *envp;
    const char *cwd;
    int out, err, report; /* become descriptors 1, 2 and 3; each is 4 or higher */
    int join;             /* a cgroup.procs open for writing, or -1 */
};

/* Where name is, seen from cwd with that PATH (NULL: the system's default). Caller
 * frees. */
char *node__spawn_find(const char *name, const char *path, const char *cwd,
                      struct rwf_err *err);
/* The child leads a session of its own, has an empty stdin, default signals, no other
 * descriptor of ours, and dies with the thread that called this. */
int node__spawn(const struct node__spawn *s, pid_t *ret_pid, int *ret_pidfd,
               struct rwf_err *err);

#endif
