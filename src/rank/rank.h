/* SPDX-License-Identifier: Apache-2.0
 *
 * The ways in which raywf-rank can be called.
 */
#ifndef RWF_RANK_RANK_H
#define RWF_RANK_RANK_H
#include "base/err.h"

/* argv[0] is the name of the way. 0 or -1 and *err, which main prints and exits with.
 */
typedef int (*rank_fn)(int argc, char **argv, struct rwf_err *err);

int rank_train(int argc, char **argv, struct rwf_err *err);
int rank_allreduce(int argc, char **argv, struct rwf_err *err);
/* Exits by itself, as its program did, when it is the only rank. */
int rank_exec(int argc, char **argv, struct rwf_err *err);

#endif
