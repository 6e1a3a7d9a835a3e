/* SPDX-License-Identifier: Apache-2.0
 *
 * What attempts of a training step share: RUN/train/DIGEST, by the spec and the files
 * of the dataset, so that an attempt on other data begins anew. It is removed when the
 * step has succeeded. A lock in it tells whose it is: a run that finds none of its own
 * takes over what an earlier run of the same step has left, so that an edited number of
 * workers, or a second `raywf run`, goes on from the last checkpoint.
 */
#ifndef RWF_GANG_STABLE_H
#define RWF_GANG_STABLE_H
#include <stdbool.h>
#include "plan/op.h"

/* The folder, which is made and this process's until it ends; the caller frees.
 * from_runs: or taken from an earlier run, if nothing in it has a path of its own. */
char *stable_folder(const struct op_run *r, bool from_runs, struct rwf_err *err);

#endif
