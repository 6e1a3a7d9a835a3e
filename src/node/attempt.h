/* SPDX-License-Identifier: Apache-2.0
 *
 * The attempt's folder (raywf-cmd.sh, exit.json), what is beside it (env-DIGEST.txt), and
 * the environment that they tell of.
 */
#ifndef RWF_NODE_ATTEMPT_H
#define RWF_NODE_ATTEMPT_H
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/err.h"
#include "base/str.h"
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

/* With what the step sets, and the name of the file with what it inherits. */
#define NODE__COMMAND_FILE "raywf-cmd.sh"

/* What every step inherits now. */
struct node__inherited {
    char *name; /* of its file, beside the attempts' folders */
    struct rwf_str text;
};
const struct node__inherited *node__attempt_inherited(void);

/* Writes both. */
int node__attempt_begin(const struct proc_spec *spec, const struct node__command *c,
                       struct rwf_err *err);
/* The same for an attempt whose process runs elsewhere: what came from there. */
int node__attempt_put_command(const char *dir, const void *text, size_t len,
                              struct rwf_err *err);
int node__attempt_put_inherited(const char *dir, const void *text, size_t len,
                                struct rwf_err *err);
/* exit.json. */
int node__attempt_end(const char *dir, const struct proc_exit *result,
                     struct rwf_err *err);

#endif
