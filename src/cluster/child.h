/* SPDX-License-Identifier: Apache-2.0
 *
 * Programs that are run to their end, many at once: ssh, srun, raywf itself. Each gets
 * a text on its standard input, and what it prints is kept.
 */
#ifndef RWF_CLUSTER_CHILD_H
#define RWF_CLUSTER_CHILD_H
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/str.h"

struct cluster__child {
    char **argv; /* ends with NULL; its own, see cluster__child_arg */
    size_t argc, cap;
    char *input; /* NULL: nothing */
    size_t written;
    /* Afterwards: */
    struct rwf_str out, err; /* each at most 64 KiB */
    int status;              /* exit code; 128 + signal; 127: it is not there */
    bool timed_out;
    pid_t pid; /* the rest is child.c's */
    int in_fd, out_fd, err_fd;
};

void cluster__child_arg(struct cluster__child *c, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void cluster__child_free(struct cluster__child *c);
/* Runs all of them, until they end; after timeout (ns), or when *stop becomes true (set
 * by a signal's handler; may be NULL), what is left is killed. */
void cluster__children_run(struct cluster__child *list, size_t count, int64_t timeout,
                           volatile sig_atomic_t *stop);
/* What it says about its failure: the last line of stderr, without "raywf: error: ". */
char *cluster__child_why(const struct cluster__child *c);

#endif
