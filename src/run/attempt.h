/* SPDX-License-Identifier: Apache-2.0
 *
 * The attempt's folder: cmd.sh, env.txt and exit.json; and the environment they tell of.
 */
#ifndef RWF_RUN_ATTEMPT_H
#define RWF_RUN_ATTEMPT_H
#include <jansson.h>
#include <stddef.h>
#include "base/err.h"
#include "run/proc.h"

/* argv and envp for execve. */
struct run__command {
    char **argv;
    char **envp;
    size_t own; /* the first of envp: set by the step or by us; the rest is inherited */
};

int run__command_build(struct run__command *c, const struct proc_spec *spec,
                       struct rwf_err *err);
void run__command_free(struct run__command *c);
/* Value of a variable, or NULL. */
const char *run__command_env(const struct run__command *c, const char *name);

/* cmd.sh and env.txt. */
int run__attempt_begin(const struct proc_spec *spec, const struct run__command *c,
                       struct rwf_err *err);
/* exit.json. */
int run__attempt_end(const char *dir, const struct proc_exit *result, struct rwf_err *err);

#endif
