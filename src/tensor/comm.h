/* SPDX-License-Identifier: Apache-2.0
 *
 * The ranks of a gang exchange tensors: one process alone, MPI between CPUs, NCCL between
 * GPUs (MPI then only tells the group's id). Operations begin in the order of the calls on
 * all ranks, work beside the computation, and are awaited with comm_wait.
 *
 * comm_mpi.c is linked into raywf-rank alone: nothing else links MPI.
 */
#ifndef RWF_TENSOR_COMM_H
#define RWF_TENSOR_COMM_H
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "tensor/device.h"

struct comm;

/* The other end of comm.h for a kind of group. */
struct comm_ops {
    const char *name; /* "alone", "mpi", "nccl" */
    void (*close)(void *ctx);
    /* to[count] = the sum over ranks of from[count]; in place when equal. */
    void (*sum)(void *ctx, float *to, const float *from, int64_t count);
    /* to[count] = the part of this rank of the sum; from has size * count. */
    void (*scatter)(void *ctx, float *to, const float *from, int64_t count);
    /* to has size * bytes, from bytes; in place when from is to + rank * bytes. */
    void (*gather)(void *ctx, void *to, const void *from, int64_t bytes);
    void (*broadcast)(void *ctx, void *buffer, int64_t bytes, int root);
    /* The device's stream goes on only after all of the above. */
    int (*wait)(void *ctx, struct rwf_err *err);
    /* Zeroed memory of which scatter, and gather in place, move nothing twice, for the life of
     * the group; all ranks ask alike. What was scattered from it stays as it is until all
     * ranks have issued another operation that this one has waited for. NULL: there is none
     * (NULL as a function: nowhere), any other will do. */
    void *(*memory)(void *ctx, int64_t bytes);
    /* Host memory, at once: for small control data. */
    void (*host_sum)(void *ctx, double *values, int count);
    void (*host_broadcast)(void *ctx, void *buffer, int64_t bytes, int root);
    void (*barrier)(void *ctx);
};

struct comm {
    int rank, size;
    int local_rank, local_size; /* on this machine */
    const struct comm_ops *ops;
    void *ctx;
};

/* A group of one: sums are copies. */
void comm_alone(struct comm *c, struct device *d);
/* All ranks of MPI_COMM_WORLD, which the caller has initialised with at least
 * MPI_THREAD_SERIALIZED; on CUDA their data moves through NCCL. */
int comm_mpi_open(struct comm *c, struct device *d, struct rwf_err *err);
void comm_close(struct comm *c);

#endif
