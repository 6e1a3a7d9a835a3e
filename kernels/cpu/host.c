/* SPDX-License-Identifier: Apache-2.0
 *
 * Work on the CPU is done when the call returns, so marks and waits have nothing to do.
 */
#include "kernels/cpu/host.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#if defined __x86_64__
#include <cpuid.h>
#endif

#define ALIGN ((size_t)256)
#define LARGE_PAGE                                                                     \
    ((size_t)2 << 20) /* a large page: fewer misses of the page tables' cache */

static size_t memory_total(void)
{
    return (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
}

/* What can be had without swapping: caches count as free. */
static size_t memory_free(void)
{
    unsigned long long kib = 0;
    char line[128];
    FILE *f = fopen("/proc/meminfo", "re");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL)
        if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
            break;
    if (f != NULL)
        fclose(f);
    return kib != 0 ? (size_t)kib << 10
                    : (size_t)sysconf(_SC_AVPHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
}

static void *host_alloc(struct kernel_context *c, size_t bytes)
{
    size_t align = bytes >= LARGE_PAGE ? LARGE_PAGE : ALIGN;
    (void)c;
    if (bytes > memory_total())
        return NULL;
    size_t size = bytes == 0 ? ALIGN : (bytes + ALIGN - 1) / ALIGN * ALIGN;
    void *p = NULL;
    if (posix_memalign(&p, align, size) != 0)
        return NULL;
    if (align == LARGE_PAGE)
        madvise(p, size, MADV_HUGEPAGE); /* a wish: ordinary pages work, too */
    return p;
}

static void host_free(struct kernel_context *c, void *p)
{
    (void)c;
    free(p);
}

static void host_close(struct kernel_context *c)
{
    if (c == NULL)
        return;
    for (int i = 0; c->pack != NULL && i < pool_threads(c->pool); i++)
        free(c->pack[i]);
    free(c->pack);
    pool_destroy(c->pool);
    free(c);
}

struct kernel_context *cpu__host_open(const struct kernel_options *o,
                                      const char *variant, char *error, size_t size)
{
    int threads = o->threads > 0 ? o->threads : 1;
    struct kernel_context *c = calloc(1, sizeof(*c));
    if (c == NULL)
        goto none;
    c->variant = variant;
    c->pool = pool_create(threads);
    if (c->pool == NULL)
        goto none;
    c->pack = calloc((size_t)pool_threads(c->pool), sizeof(*c->pack));
    if (c->pack == NULL)
        goto none;
    for (int i = 0; i < pool_threads(c->pool); i++)
        if ((c->pack[i] = host_alloc(c, CPU_ROOM_BYTES)) == NULL)
            goto none;
    return c;
none:
    snprintf(error, size, "cpu: no memory for a context of %d threads", threads);
    host_close(c);
    return NULL;
}

/* The processor's name as it gives it itself, without the blanks around it. */
static void processor_name(char name[64])
{
    char text[64] = "CPU";
#if defined __x86_64__
    unsigned r[12], most, unused;
    if (__get_cpuid(0x80000000u, &most, &unused, &unused, &unused) &&
        most >= 0x80000004u) {
        for (unsigned i = 0; i < 3; i++)
            __get_cpuid(0x80000002u + i, &r[4 * i], &r[4 * i + 1], &r[4 * i + 2],
                        &r[4 * i + 3]);
        memcpy(text, r, sizeof(r));
        text[sizeof(r)] = '\0';
    }
#endif
    size_t from = strspn(text, " "), n = strlen(text);
    while (n > from && text[n - 1] == ' ')
        n--;
    memcpy(name, text + from, n - from);
    name[n - from] = '\0';
}

static void host_info(struct kernel_context *c, struct kernel_info *ret)
{
    char name[64];
    processor_name(name);
    memset(ret, 0, sizeof(*ret));
    snprintf(ret->name, sizeof(ret->name), "%s (%s)", name, c->variant);
    ret->total = memory_total();
    ret->free = memory_free();
}

static void host_copy(struct kernel_context *c, void *to, const void *from,
                      size_t bytes)
{
    (void)c;
    if (bytes > 0)
        memmove(to, from, bytes);
}

static void host_zero(struct kernel_context *c, void *p, size_t bytes)
{
    (void)c;
    if (bytes > 0)
        memset(p, 0, bytes);
}

static int host_sync(struct kernel_context *c, char *error, size_t size)
{
    if (c->failure[0] == '\0')
        return 0;
    snprintf(error, size, "%s", c->failure);
    c->failure[0] = '\0';
    return -1;
}

void cpu__failed(struct kernel_context *c, const char *format, ...)
{
    va_list args;
    if (c->failure[0] != '\0')
        return;
    va_start(args, format);
    vsnprintf(c->failure, sizeof(c->failure), format, args);
    va_end(args);
}

static void host_slot(struct kernel_context *c, int slot)
{
    (void)c;
    (void)slot;
}

static void host_side_wait(struct kernel_context *c)
{
    (void)c;
}

void cpu__host_fill(struct kernels *k)
{
    k->version = KERNELS_VERSION;
    k->name = "cpu";
    k->close = host_close;
    k->info = host_info;
    k->alloc = k->alloc_host = host_alloc;
    k->free = k->free_host = host_free;
    k->upload = k->download = k->copy = k->side_download = host_copy;
    k->zero = host_zero;
    k->sync = host_sync;
    k->mark = k->wait = host_slot;
    k->side_wait = host_side_wait;
}
