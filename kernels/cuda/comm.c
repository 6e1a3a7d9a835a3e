/* SPDX-License-Identifier: Apache-2.0
 *
 * Groups of GPUs through NCCL, which is opened when the first group is wanted.
 * Operations run on a stream of their own, each after what the context's stream had
 * written when it was called.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cuda.h"
#include "nccl.h"

struct kernel_comm {
    struct kernel_context *c;
    void *comm;
    cudaStream_t stream;
    cudaEvent_t before, after;
};

static struct nccl nccl;
static bool nccl_found;

static int nccl_find(char *error, size_t size)
{
    static const char *const names[] = {"libnccl.so.2", "libnccl.so", NULL};
    static const struct {
        const char *name;
        size_t offset;
    } rows[] = {
#define X(function, parameters) {"nccl" #function, offsetof(struct nccl, function)},
        NCCL_FUNCTIONS(X)
#undef X
            {"ncclGetErrorString", offsetof(struct nccl, error)},
    };
    if (nccl_found)
        return 0;
    void *library = cuda__library(names, "NCCL", error, size);
    if (!library)
        return -1;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        void *symbol = dlsym(library, rows[i].name);
        if (!symbol) {
            snprintf(error, size, "NCCL has no function %s: version 2 is needed",
                     rows[i].name);
            return -1;
        }
        memcpy((char *)&nccl + rows[i].offset, &symbol, sizeof symbol);
    }
    nccl_found = true;
    return 0;
}

int cuda__comm_id(unsigned char id[128], char *error, size_t size)
{
    struct nccl_id made;
    if (nccl_find(error, size) < 0)
        return -1;
    int code = nccl.GetUniqueId(&made);
    if (code) {
        snprintf(error, size, "NCCL makes no id: %s", nccl.error(code));
        return -1;
    }
    memcpy(id, made.bytes, sizeof made.bytes);
    return 0;
}

struct kernel_comm *cuda__comm_open(struct kernel_context *c,
                                    const unsigned char id[128], int rank, int size,
                                    char *error, size_t error_size)
{
    struct nccl_id told;
    if (nccl_find(error, error_size) < 0)
        return NULL;
    struct kernel_comm *m = calloc(1, sizeof *m);
    if (!m) {
        snprintf(error, error_size, "no memory");
        return NULL;
    }
    m->c = c;
    memcpy(told.bytes, id, sizeof told.bytes);
    int code = NCCL_SUCCESS;
    if (cudaSetDevice(c->device) ||
        cudaStreamCreateWithFlags(&m->stream, cudaStreamNonBlocking) ||
        cudaEventCreateWithFlags(&m->before, cudaEventDisableTiming) ||
        cudaEventCreateWithFlags(&m->after, cudaEventDisableTiming))
        snprintf(error, error_size, "GPU %d: %s", c->device,
                 cudaGetErrorString(cudaGetLastError()));
    else if ((code = nccl.CommInitRank(&m->comm, size, told, rank)))
        snprintf(error, error_size, "NCCL, rank %d of %d: %s", rank, size,
                 nccl.error(code));
    else
        return m;
    m->comm = NULL;
    cuda__comm_close(m);
    return NULL;
}

void cuda__comm_close(struct kernel_comm *m)
{
    int state = NCCL_SUCCESS;
    if (!m)
        return;
    if (m->comm) {
        /* A group that lost a member would wait for it for ever. */
        nccl.CommGetAsyncError(m->comm, &state);
        if (state != NCCL_SUCCESS && state != NCCL_IN_PROGRESS) {
            nccl.CommAbort(m->comm);
        } else {
            cudaStreamSynchronize(m->stream);
            nccl.CommDestroy(m->comm);
        }
    }
    if (m->before)
        cudaEventDestroy(m->before);
    if (m->after)
        cudaEventDestroy(m->after);
    if (m->stream)
        cudaStreamDestroy(m->stream);
    free(m);
}

/* The group's stream goes on where the context's is now. */
static void follow(struct kernel_comm *m)
{
    cuda__check(m->c, "comm", cudaEventRecord(m->before, m->c->stream));
    cuda__check(m->c, "comm", cudaStreamWaitEvent(m->stream, m->before, 0));
}

static void check(struct kernel_comm *m, const char *what, int code)
{
    if (code != NCCL_SUCCESS && code != NCCL_IN_PROGRESS)
        cuda__fail(m->c, what, nccl.error(code));
}

void cuda__comm_sum(struct kernel_comm *m, float *to, const float *from, int64_t count)
{
    follow(m);
    check(m, "comm_sum",
          nccl.AllReduce(from, to, (size_t)count, NCCL_FLOAT, NCCL_SUM, m->comm,
                         m->stream));
}

void cuda__comm_scatter(struct kernel_comm *m, float *to, const float *from,
                        int64_t count)
{
    follow(m);
    check(m, "comm_scatter",
          nccl.ReduceScatter(from, to, (size_t)count, NCCL_FLOAT, NCCL_SUM, m->comm,
                             m->stream));
}

void cuda__comm_gather(struct kernel_comm *m, void *to, const void *from, int64_t bytes)
{
    follow(m);
    check(m, "comm_gather",
          nccl.AllGather(from, to, (size_t)bytes, NCCL_INT8, m->comm, m->stream));
}

void cuda__comm_broadcast(struct kernel_comm *m, void *buffer, int64_t bytes, int root)
{
    follow(m);
    check(m, "comm_broadcast",
          nccl.Broadcast(buffer, buffer, (size_t)bytes, NCCL_INT8, root, m->comm,
                         m->stream));
}

void cuda__comm_wait(struct kernel_comm *m)
{
    cuda__check(m->c, "comm_wait", cudaEventRecord(m->after, m->stream));
    cuda__check(m->c, "comm_wait", cudaStreamWaitEvent(m->c->stream, m->after, 0));
}

int cuda__comm_check(struct kernel_comm *m, char *error, size_t size)
{
    int state = NCCL_SUCCESS;
    int code = nccl.CommGetAsyncError(m->comm, &state);
    if (code == NCCL_SUCCESS && (state == NCCL_SUCCESS || state == NCCL_IN_PROGRESS))
        return 0;
    snprintf(error, size,
             "NCCL: %s: a member of the group is gone or its link is broken",
             nccl.error(code ? code : state));
    return -1;
}
