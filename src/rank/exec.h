/* SPDX-License-Identifier: Apache-2.0
 *
 * `raywf-rank exec GANG.json`: the parent of one rank of a gang (train/gang.h).
 */
#ifndef RWF_RANK_EXEC_H
#define RWF_RANK_EXEC_H

/* The exit code: that of a single rank's program; of several 0 once the end is told. Never initialises MPI: the program may. */
int rank_exec(const char *path);

#endif
