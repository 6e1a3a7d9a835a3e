/* SPDX-License-Identifier: Apache-2.0
 *
 * The attempt's folder (cmd.sh, env.txt, exit.json) and the environment they tell of.
 */
#ifndef RWF_NODE_ATTEMPT_H
#define RWF_NODE_ATTEMPT_H
#include <jansson.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/err.h"
#include "node/proc.h"

/* argv and envp for execve. */
struct node__command {
    char **argv;
    char **envp;
    size_t own; /* the first of envp: set by the step or by us; the rest is inherited */
};

int node__command_build(struct node__command *c, const struct proc_spec *spec,
                       struct rwf_err *err);
void node__command_free(struct node__command *c);
/* Value of a variable, or NULL. */
const char *node__command_env(const struct node__command *c, const char *name);

/* A file that is the same for many steps: made once, then linked: no new inode. */
struct node__shared {
    pthread_mutex_t lock;
    int fd;          /* of the newest, or -1 */
    uint64_t stamp;  /* of its content */
};
#define RUN__SHARED_INIT { PTHREAD_MUTEX_INITIALIZER, -1, 0 }
/* Makes path, with text unless a file of that stamp can be linked. */
int node__shared_link(struct node__shared *s, uint64_t stamp, const char *text,
                     size_t len, mode_t mode, const char *path, struct rwf_err *err);

/* cmd.sh (with what the step sets) and env.txt (what every step inherits). */
int node__attempt_begin(const struct proc_spec *spec, const struct node__command *c,
                       struct rwf_err *err);
/* exit.json. */
int node__attempt_end(const char *dir, const struct proc_exit *result,
                     struct rwf_err *err);

#endif
