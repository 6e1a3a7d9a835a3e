/* SPDX-License-Identifier: Apache-2.0
 *
 * Anybody's program as the ranks of a gang: what ops of such steps share. Its spec is
 * that of a task with how many ranks it has. Each rank finds
 *
 *   RAYWF_CHECKPOINT_DIR  a folder that all attempts share
 *   RAYWF_RESUME_FROM     the newest checkpoint that an earlier attempt has registered,
 * or ""
 *
 * {"checkpoint": PATH, "step": N} on RAYWF_REPORT registers one.
 */
#ifndef RWF_GANG_PROGRAM_H
#define RWF_GANG_PROGRAM_H
#include "plan/op.h"

struct gang_program {
    const json_t *env; /* {NAME: value} for all ranks, beyond the spec's; or NULL */
    int ranks;         /* where the attempt says nothing of it */
    int64_t heartbeat; /* ns, 0: none */
    bool keep;         /* what attempts share is kept when it succeeds */
};

int gang_program_run(struct op_run *r, const struct gang_program *p,
                     struct rwf_err *err);
/* A step's folder is a new one: `python3 train.py` means the file beside the recipe, as
 * it does for the key. For specs in PLAN_RUN mode of entries without `dir`. */
void gang_program_find_files(const struct plan_graph *g, const struct plan_step *step,
                             json_t *argv);

#endif
