/* SPDX-License-Identifier: Apache-2.0
 *
 * A device that has memory and nothing else, 1 MiB of it: both a module (raywf-cuda.so's
 * stand-in) and, linked in, the CPU of check_device. FAKE_VERSION, FAKE_BROKEN and
 * FAKE_FAULT in the environment spoil it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"

enum { MEMORY = 1 << 20 };

struct kernel_context {
    struct kernel_options options;
    size_t used;
    struct {
        void *p;
        size_t bytes;
    } taken[16];
};

static struct kernel_context *fake_open(const struct kernel_options *o, char *error,
                                        size_t size)
{
    if (getenv("FAKE_BROKEN") != NULL) {
        snprintf(error, size, "no such device");
        return NULL;
    }
    struct kernel_context *c = calloc(1, sizeof(*c));
    c->options = *o;
    return c;
}

static void fake_close(struct kernel_context *c)
{
    free(c);
}

static void fake_info(struct kernel_context *c, struct kernel_info *ret)
{
    memset(ret, 0, sizeof(*ret));
    snprintf(ret->name, sizeof(ret->name), "fake %d", c->options.device);
    ret->total = MEMORY;
    ret->free = MEMORY - c->used;
}

static void *fake_alloc(struct kernel_context *c, size_t bytes)
{
    size_t padded = (bytes + 255) / 256 * 256;
    for (size_t i = 0; padded <= MEMORY - c->used && i < 16; i++) {
        if (c->taken[i].p != NULL)
            continue;
        c->taken[i].p = aligned_alloc(256, padded);
        c->taken[i].bytes = padded;
        c->used += padded;
        return c->taken[i].p;
    }
    return NULL;
}

static void fake_free(struct kernel_context *c, void *p)
{
    for (size_t i = 0; p != NULL && i < 16; i++)
        if (c->taken[i].p == p) {
            c->used -= c->taken[i].bytes;
            c->taken[i].p = NULL;
        }
    free(p);
}

static int fake_sync(struct kernel_context *c, char *error, size_t size)
{
    const char *fault = getenv("FAKE_FAULT");
    (void)c;
    if (fault != NULL)
        snprintf(error, size, "%s", fault);
    return fault != NULL ? -1 : 0;
}

static struct kernels table = {
    .name = "fake",
    .open = fake_open,
    .close = fake_close,
    .info = fake_info,
    .alloc = fake_alloc,
    .free = fake_free,
    .sync = fake_sync,
};

__attribute__((visibility("default"))) const struct kernels *raywf_kernels(void);
const struct kernels *raywf_kernels(void)
{
    const char *version = getenv("FAKE_VERSION");
    table.version = version != NULL ? atoi(version) : KERNELS_VERSION;
    return &table;
}
