/* SPDX-License-Identifier: Apache-2.0
 *
 * A device that tensors live on: the CPU, or a GPU through raywf-cuda.so, which is opened
 * only when it is asked for (RAYWF_CUDA, then beside this program, then the installed
 * pkglibdir). The functions are those of kernels.h: device->k->matmul(device->c, …).
 */
#ifndef RWF_TENSOR_DEVICE_H
#define RWF_TENSOR_DEVICE_H
#include "base/err.h"
#include "kernels/kernels.h"

struct device {
    const struct kernels *k;
    struct kernel_context *c;
    struct kernel_info info;
};

/* name: "cpu" or "cuda"; index: which GPU of those visible; threads: of the CPU. RWF_E_ENV
 * with what to do when there is none. */
int device_open(struct device *d, const char *name, int index, int threads,
                struct rwf_err *err);
/* Harmless on a zeroed one. */
void device_close(struct device *d);
/* The device's memory is the host's: what is there need not be copied. */
bool device_is_host(const struct device *d);
/* RWF_E_FIT with what was asked for, what is free, and `what` it was for. */
void *device_alloc(struct device *d, size_t bytes, const char *what, struct rwf_err *err);
/* Waits; RWF_E_FAILED with the kernel that failed. */
int device_sync(struct device *d, struct rwf_err *err);

/* --- one block of memory per lifetime, carved by a table --- */

struct block_row {
    const char *name; /* "activations: attention outputs" */
    size_t bytes;
    void **to;        /* where the pointer goes */
};
/* Allocates all rows as one block, each aligned to 256 bytes, and sets the pointers. The block
 * is the result, for k->free. NULL and *err (RWF_E_FIT, with the largest rows and `knob`, what
 * the user can lower) when it is too large. */
void *block_carve(struct device *d, const struct block_row *rows, size_t count,
                  const char *knob, struct rwf_err *err);
/* The bytes of it. */
size_t block_size(const struct block_row *rows, size_t count);
/* Prints who uses what, one line a row, to stderr. */
void block_print(const char *title, const struct block_row *rows, size_t count);

#endif
