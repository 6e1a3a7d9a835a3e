/* SPDX-License-Identifier: Apache-2.0
 *
 * Copies of a few bytes, also from and to the host's memory: a kernel that reads or
 * writes there is over sooner than the copy engine has started, and what is behind it
 * in the stream begins sooner. A step of a small model has three of them.
 */
#include "device.cuh"

#define THREADS 256
#define MOST 4096 /* bytes */

template <typename T>
__device__ __forceinline__ void copy_of(void *to, const void *from, int bytes)
{
    for (int i = (int)threadIdx.x; i < bytes / (int)sizeof(T); i += THREADS)
        ((T *)to)[i] =
            __ldcv((const T *)from + i); /* the host may have written there */
}

/* Started the plain way: it begins when all in front have ended, and ends before what
 * is behind it begins. */
__global__ void __launch_bounds__(THREADS)
    copy_kernel(void *to, const void *from, int bytes)
{
    uintptr_t all = (uintptr_t)to | (uintptr_t)from | (uintptr_t)bytes;
    if (all % 16 == 0)
        copy_of<uint4>(to, from, bytes);
    else if (all % 4 == 0)
        copy_of<unsigned>(to, from, bytes);
    else
        copy_of<unsigned char>(to, from, bytes);
}

/* Whether the device reads and writes there by itself. */
static bool reaches(const struct kernel_context *c, const void *p)
{
    cudaPointerAttributes a = {};
    if (cudaPointerGetAttributes(&a, p) != cudaSuccess) {
        (void)cudaGetLastError();
        return false;
    }
    return a.devicePointer == p &&
           (a.type == cudaMemoryTypeHost || a.device == c->device);
}

/* false: too many, or not where the device reaches them. */
bool cuda__copy_few(struct kernel_context *c, void *to, const void *from, size_t bytes)
{
    if (bytes > MOST || !reaches(c, to) || !reaches(c, from))
        return false;
    copy_kernel<<<1, THREADS, 0, c->stream>>>(to, from, (int)bytes);
    cuda__launched(c, "copy");
    return true;
}
