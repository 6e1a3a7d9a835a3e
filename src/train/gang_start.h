/* SPDX-License-Identifier: Apache-2.0
 *
 * Starting what gang.c supervises.
 */
#ifndef RWF_TRAIN_GANG_START_H
#define RWF_TRAIN_GANG_START_H
#include <sys/types.h>
#include "train/gang.h"

struct gang_child {
    pid_t pid;
    int pidfd;
    int out, err; /* read ends of its pipes, non-blocking */
    int fifo;     /* reports; never at its end */
    bool mpirun;  /* it is not the rank itself */
};

/* Makes FIFO and gang.json, finds mpirun if there are several ranks, and starts.
 * RWF_E_ENV with what to install when it is not here. */
int gang__start(const struct gang *g, struct gang_child *ret, struct rwf_err *err);
/* Closes all that is open; the process must have been waited for. */
void gang__close(struct gang_child *c);

#endif
