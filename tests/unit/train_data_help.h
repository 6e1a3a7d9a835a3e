/* SPDX-License-Identifier: Apache-2.0
 *
 * A device of nothing but host memory, for what only needs that.
 */
#ifndef RWF_TESTS_TRAIN_DATA_HELP_H
#define RWF_TESTS_TRAIN_DATA_HELP_H
#include <stdlib.h>
#include "tensor/device.h"

static inline void *host_alloc(struct kernel_context *c, size_t bytes)
{
    (void)c;
    return aligned_alloc(256, (bytes + 255) / 256 * 256);
}

static inline void host_free(struct kernel_context *c, void *p)
{
    (void)c;
    free(p);
}

static const struct kernels host_kernels = { .version = KERNELS_VERSION,
                                             .name = "host",
                                             .alloc_host = host_alloc,
                                             .free_host = host_free };
static struct device host_device = { .k = &host_kernels };

#endif
