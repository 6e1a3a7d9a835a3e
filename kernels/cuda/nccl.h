/* SPDX-License-Identifier: Apache-2.0
 *
 * The part of NCCL 2 that is used, declared here because the library is opened at run
 * time.
 */
#ifndef KERNELS_CUDA_NCCL_H
#define KERNELS_CUDA_NCCL_H
#include <cuda_runtime_api.h>
#include <stddef.h>

enum {
    NCCL_SUCCESS = 0,
    NCCL_IN_PROGRESS = 7,
    NCCL_INT8 = 0,
    NCCL_FLOAT = 7,
    NCCL_SUM = 0
};

struct nccl_id {
    char bytes[128];
};

/* Each of the functions: name, its parameters. All return NCCL_SUCCESS when all is
 * well. */
#define NCCL_FUNCTIONS(X)                                                              \
    X(GetUniqueId, (struct nccl_id * ret))                                             \
    X(CommInitRank, (void **ret_comm, int size, struct nccl_id id, int rank))          \
    X(CommDestroy, (void *comm))                                                       \
    X(CommAbort, (void *comm))                                                         \
    X(CommGetAsyncError, (void *comm, int *ret))                                       \
    X(AllReduce, (const void *from, void *to, size_t count, int type, int op,          \
                  void *comm, cudaStream_t stream))                                    \
    X(ReduceScatter, (const void *from, void *to, size_t to_count, int type, int op,   \
                      void *comm, cudaStream_t stream))                                \
    X(AllGather, (const void *from, void *to, size_t from_count, int type, void *comm, \
                  cudaStream_t stream))                                                \
    X(Broadcast, (const void *from, void *to, size_t count, int type, int root,        \
                  void *comm, cudaStream_t stream))

struct nccl {
#define X(name, parameters) int(*name) parameters;
    NCCL_FUNCTIONS(X)
#undef X
    const char *(*error)(int code);
};

#endif
