/* SPDX-License-Identifier: Apache-2.0
 *
 * Starting what gang.c supervises.
 */
#ifndef RWF_GANG_START_H
#define RWF_GANG_START_H
#include <sys/types.h>
#include "gang/gang.h"

struct gang_child {
    pid_t pid;
    int pidfd;
    int out, err; /* read ends of its pipes, non-blocking */
    int fifo;     /* reports; never at its end */
    bool mpirun;  /* it is not the rank itself */
};

struct gang__run;

/* Makes FIFO and gang.json, finds mpirun if there are several ranks, and starts.
 * RWF_E_ENV with what to install when it is not here. */
int gang__start(struct gang__run *x, struct rwf_err *err);
/* The words that mpirun gets of a gang over several nodes, after its own name:
 * NULL-terminated, the caller's (gang__words_free). Writes mpirun.hosts. */
char **gang__mpi_words(const struct gang__run *x, struct rwf_err *err);
void gang__words_free(char **words);
/* "4.1.4" of the mpirun at path; "" when it does not say. The caller frees. */
char *gang__mpi_version(const char *mpirun);
/* Closes all that is open; the process must have been waited for. */
void gang__close(struct gang_child *c);

#endif
