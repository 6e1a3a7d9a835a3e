/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory, copies, and waiting. Copies to the side run on a second stream that starts
 * where the first one is.
 */
#include <stdio.h>
#include "cuda.h"

void *cuda__alloc(struct kernel_context *c, size_t bytes)
{
    void *p = NULL;
    cudaError_t code = cudaMalloc(&p, bytes ? bytes : 1);
    if (code == cudaSuccess)
        return p;
    /* Too little memory is an answer, no failure. */
    if (cudaGetLastError() != cudaErrorMemoryAllocation)
        cuda__check(c, "alloc", code);
    return NULL;
}

void cuda__free(struct kernel_context *c, void *p)
{
    if (p)
        cuda__check(c, "free", cudaFree(p));
}

void *cuda__alloc_host(struct kernel_context *c, size_t bytes)
{
    void *p = NULL;
    cudaError_t code = cudaMallocHost(&p, bytes ? bytes : 1);
    if (code == cudaSuccess)
        return p;
    if (cudaGetLastError() != cudaErrorMemoryAllocation)
        cuda__check(c, "alloc_host", code);
    return NULL;
}

void cuda__free_host(struct kernel_context *c, void *p)
{
    if (p)
        cuda__check(c, "free_host", cudaFreeHost(p));
}

static void copy(struct kernel_context *c, const char *what, void *to, const void *from,
                 size_t bytes, enum cudaMemcpyKind kind, cudaStream_t stream)
{
    if (!bytes || (stream == c->stream && cuda__copy_few(c, to, from, bytes)))
        return;
    cuda__check(c, what, cudaMemcpyAsync(to, from, bytes, kind, stream));
}

void cuda__upload(struct kernel_context *c, void *to, const void *from_host,
                  size_t bytes)
{
    copy(c, "upload", to, from_host, bytes, cudaMemcpyHostToDevice, c->stream);
}

void cuda__download(struct kernel_context *c, void *to_host, const void *from,
                    size_t bytes)
{
    copy(c, "download", to_host, from, bytes, cudaMemcpyDeviceToHost, c->stream);
}

void cuda__copy(struct kernel_context *c, void *to, const void *from, size_t bytes)
{
    copy(c, "copy", to, from, bytes, cudaMemcpyDeviceToDevice, c->stream);
}

void cuda__zero(struct kernel_context *c, void *p, size_t bytes)
{
    if (bytes)
        cuda__check(c, "zero", cudaMemsetAsync(p, 0, bytes, c->stream));
}

int cuda__sync(struct kernel_context *c, char *error, size_t size)
{
    cuda__check(c, "a kernel", cudaStreamSynchronize(c->stream));
    if (!c->failed[0])
        return 0;
    snprintf(error, size, "GPU %d: %s", c->device, c->failed);
    return -1;
}

void cuda__mark(struct kernel_context *c, int slot)
{
    cuda__check(c, "mark", cudaEventRecord(c->marks[slot], c->stream));
    c->marked[slot] = true;
}

void cuda__wait(struct kernel_context *c, int slot)
{
    if (c->marked[slot])
        cuda__check(c, "wait", cudaEventSynchronize(c->marks[slot]));
}

void cuda__side_download(struct kernel_context *c, void *to_host, const void *from,
                         size_t bytes)
{
    cuda__check(c, "side_download", cudaEventRecord(c->written, c->stream));
    cuda__check(c, "side_download", cudaStreamWaitEvent(c->side, c->written, 0));
    copy(c, "side_download", to_host, from, bytes, cudaMemcpyDeviceToHost, c->side);
}

void cuda__side_wait(struct kernel_context *c)
{
    cuda__check(c, "side_wait", cudaStreamSynchronize(c->side));
}
