/* SPDX-License-Identifier: Apache-2.0
 *
 * A GPU as one process uses it: its streams, and the first thing that went wrong.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cuda.h"

void cuda__fail(struct kernel_context *c, const char *what, const char *why)
{
    if (!c->failed[0])
        snprintf(c->failed, sizeof c->failed, "%s: %s", what, why);
}

void cuda__check(struct kernel_context *c, const char *what, cudaError_t code)
{
    if (code != cudaSuccess)
        cuda__fail(c, what, cudaGetErrorString(code));
}

void cuda__launched(struct kernel_context *c, const char *what)
{
    cuda__check(c, what, cudaGetLastError());
}

float *cuda__partials(struct kernel_context *c, size_t bytes)
{
    if (bytes <= c->partials_size)
        return c->partials;
    cudaFree(c->partials); /* waits for those who use it */
    c->partials = NULL;
    c->partials_size = 0;
    cudaError_t code = cudaMalloc((void **)&c->partials, bytes);
    cuda__check(c, "scratch", code);
    if (code == cudaSuccess)
        c->partials_size = bytes;
    return c->partials;
}

void *cuda__library(const char *const *names, const char *what, char *error,
                    size_t size)
{
    for (const char *const *name = names; *name; name++) {
        void *library = dlopen(*name, RTLD_NOW | RTLD_LOCAL);
        if (library)
            return library;
    }
    snprintf(error, size,
             "%s is not there (%s): install it, or put its folder into LD_LIBRARY_PATH",
             what, names[0]);
    return NULL;
}

static int streams_open(struct kernel_context *c)
{
    if (cudaStreamCreateWithFlags(&c->stream, cudaStreamNonBlocking) ||
        cudaStreamCreateWithFlags(&c->side, cudaStreamNonBlocking) ||
        cudaEventCreateWithFlags(&c->written, cudaEventDisableTiming))
        return -1;
    for (int i = 0; i < CUDA_MARKS; i++)
        if (cudaEventCreateWithFlags(&c->marks[i],
                                     cudaEventDisableTiming | cudaEventBlockingSync))
            return -1;
    c->partials_size = CUDA_PARTIALS;
    size_t counters = CUDA_COUNTERS * sizeof *c->counters;
    size_t mail = cuda_mail_bytes(c->sms, c->capable);
    return cudaMalloc((void **)&c->partials, CUDA_PARTIALS) ||
                   cudaMalloc((void **)&c->counters, counters) ||
                   cudaMemsetAsync(c->counters, 0, counters, c->stream) ||
                   cudaMalloc(&c->mail, mail) ||
                   cudaMemsetAsync(c->mail, 0xff, mail, c->stream)
               ? -1
               : 0;
}

static int device_choose(struct kernel_context *c, int device, char *error, size_t size)
{
    int count = 0, major = 0, minor = 0, shared = 0;
    cudaError_t code = cudaGetDeviceCount(&count);
    if (code || count == 0) {
        snprintf(error, size, "no GPU that CUDA can use: %s",
                 code ? cudaGetErrorString(code) : "none is visible");
        return -1;
    }
    if (device < 0 || device >= count) {
        snprintf(error, size,
                 "GPU %d is not there: %d visible (see CUDA_VISIBLE_DEVICES)", device,
                 count);
        return -1;
    }
    if ((code = cudaSetDevice(device)) ||
        (code = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor,
                                       device)) ||
        (code = cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor,
                                       device)) ||
        (code = cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin,
                                       device)) ||
        (code =
             cudaDeviceGetAttribute(&c->sms, cudaDevAttrMultiProcessorCount, device))) {
        snprintf(error, size, "GPU %d: %s", device, cudaGetErrorString(code));
        return -1;
    }
    /* A lower one runs what older GPUs run: for tests. */
    const char *lower = getenv("RAYWF_CUDA_CAPABLE");
    c->device = device;
    c->capable = 10 * major + minor;
    if (lower && atoi(lower) >= 80 && atoi(lower) < c->capable)
        c->capable = atoi(lower);
    c->shared = (size_t)shared;
    if (c->capable >= 80)
        return 0;
    snprintf(error, size, "GPU %d has compute capability %d.%d: 8.0 or later is needed",
             device, major, minor);
    return -1;
}

struct kernel_context *cuda__open(const struct kernel_options *o, char *error,
                                  size_t size)
{
    struct kernel_context *c = calloc(1, sizeof *c);
    if (!c) {
        snprintf(error, size, "no memory");
        return NULL;
    }
    if (device_choose(c, o->device, error, size) < 0) {
        free(c);
        return NULL;
    }
    if (streams_open(c) < 0) {
        snprintf(error, size, "GPU %d: %s", o->device,
                 cudaGetErrorString(cudaGetLastError()));
        cuda__close(c);
        return NULL;
    }
    c->products = cuda__products_open(error, size);
    if (!c->products) {
        cuda__close(c);
        return NULL;
    }
    return c;
}

void cuda__close(struct kernel_context *c)
{
    if (!c)
        return;
    if (c->stream)
        cudaStreamSynchronize(c->stream);
    if (c->products)
        cuda__products_close(c->products);
    for (int i = 0; i < CUDA_MARKS; i++)
        if (c->marks[i])
            cudaEventDestroy(c->marks[i]);
    if (c->written)
        cudaEventDestroy(c->written);
    cudaFree(c->partials);
    cudaFree(c->counters);
    cudaFree(c->mail);
    cudaFree(c->room);
    if (c->side)
        cudaStreamDestroy(c->side);
    if (c->stream)
        cudaStreamDestroy(c->stream);
    free(c);
}

size_t cuda__own_bytes(struct kernel_context *c, const struct kernel_decoder *d)
{
    return cuda_own_bytes(d, c->sms, c->capable);
}

/* Dense FLOP/s of the data sheets. The first row whose words are all in the name holds.
 */
static const struct peak {
    const char *words[2];
    double bf16, f32;
} peaks[] = {
    {{"H100", "PCIe"}, 756e12, 51e12},     {{"H100", "NVL"}, 835e12, 60e12},
    {{"H200", "NVL"}, 835e12, 60e12},      {{"GH200", ""}, 989e12, 67e12},
    {{"H100", ""}, 989e12, 67e12},         {{"H200", ""}, 989e12, 67e12},
    {{"B200", ""}, 2250e12, 75e12},        {{"A100", ""}, 312e12, 19.5e12},
    {{"L40S", ""}, 362e12, 91.6e12},       {{"L40", ""}, 181e12, 90.5e12},
    {{"L4", ""}, 121e12, 30.3e12},         {{"A40", ""}, 149.7e12, 37.4e12},
    {{"A30", ""}, 165e12, 10.3e12},        {{"A10G", ""}, 70e12, 31.5e12},
    {{"A10", ""}, 125e12, 31.2e12},        {{"RTX 5090", ""}, 209.5e12, 104.8e12},
    {{"RTX 4090", ""}, 165.2e12, 82.6e12}, {{"RTX 4080", ""}, 97.5e12, 48.7e12},
    {{"RTX 3090", ""}, 71e12, 35.6e12},    {{"RTX 3080", ""}, 59.5e12, 29.8e12},
};

void cuda__info(struct kernel_context *c, struct kernel_info *ret)
{
    struct cudaDeviceProp p;
    *ret = (struct kernel_info){.name = "CUDA device"};
    cuda__check(c, "info", cudaMemGetInfo(&ret->free, &ret->total));
    if (cudaGetDeviceProperties(&p, c->device))
        return;
    snprintf(ret->name, sizeof ret->name, "%.127s", p.name);
    for (size_t i = 0; i < sizeof peaks / sizeof *peaks; i++)
        if (strstr(p.name, peaks[i].words[0]) && strstr(p.name, peaks[i].words[1])) {
            ret->peak_bf16 = peaks[i].bf16;
            ret->peak_f32 = peaks[i].f32;
            return;
        }
}
