/* SPDX-License-Identifier: Apache-2.0
 *
 * Which variant this processor runs, and its table: the reference's, with what the
 * variant does faster in its place.
 */
#include "config.h"
#include "kernels/cpu/host.h"
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

void plain__fill(struct kernels *k);
void avx2__fill(struct kernels *k);
void avx512__fill(struct kernels *k);
void avx512bf16__fill(struct kernels *k);

static struct kernels tables[CPU_VARIANTS];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static const char *const names[] = {"plain", "avx2", "avx512", "avx512bf16"};

const char *cpu__variant_name(enum cpu_variant v)
{
    return names[v];
}

bool cpu__variant_runs(enum cpu_variant v)
{
#if defined RWF_CPU_BF16
    if (v == CPU_AVX512BF16)
        return cpu__variant_runs(CPU_AVX512) && __builtin_cpu_supports("avx512bf16");
#endif
#if defined RWF_CPU_X86
    if (v == CPU_AVX2)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (v == CPU_AVX512)
        return __builtin_cpu_supports("avx512f") &&
               __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#endif
    return v == CPU_PLAIN;
}

#define OPEN(name)                                                                     \
    static struct kernel_context *open_##name(const struct kernel_options *o,          \
                                              char *error, size_t size)                \
    {                                                                                  \
        return cpu__host_open(o, #name, error, size);                                  \
    }
OPEN(plain)
#if defined RWF_CPU_X86
OPEN(avx2)
OPEN(avx512)
#endif
#if defined RWF_CPU_BF16
OPEN(avx512bf16)
#endif

static void fill_tables(void)
{
    for (int v = 0; v < CPU_VARIANTS; v++)
        tables[v] = *kernels_reference();
    plain__fill(&tables[CPU_PLAIN]);
    tables[CPU_PLAIN].open = open_plain;
#if defined RWF_CPU_X86
    avx2__fill(&tables[CPU_AVX2]);
    tables[CPU_AVX2].open = open_avx2;
    avx512__fill(&tables[CPU_AVX512]);
    tables[CPU_AVX512].open = open_avx512;
#endif
#if defined RWF_CPU_BF16
    avx512bf16__fill(&tables[CPU_AVX512BF16]);
    tables[CPU_AVX512BF16].open = open_avx512bf16;
#endif
}

const struct kernels *cpu__variant_table(enum cpu_variant v)
{
    if (!cpu__variant_runs(v))
        return NULL;
    pthread_once(&once, fill_tables);
    return &tables[v];
}

const struct kernels *kernels_cpu(void)
{
    const char *most = getenv("RAYWF_CPU");
    int v = CPU_VARIANTS - 1;
    for (int i = 0; most != NULL && i < CPU_VARIANTS; i++)
        if (strcmp(most, names[i]) == 0)
            v = i;
    while (!cpu__variant_runs((enum cpu_variant)v))
        v--;
    return cpu__variant_table((enum cpu_variant)v);
}

/* --- what the variants share --- */

struct split {
    int64_t n, grain;
    range_fn fn;
    void *arg;
};

static void split_part(void *arg, int part, int thread)
{
    struct split *s = arg;
    int64_t from = part * s->grain;
    int64_t to = from + s->grain < s->n ? from + s->grain : s->n;
    s->fn(s->arg, from, to, thread);
}

void cpu__split(struct kernel_context *c, int64_t n, int64_t grain, range_fn fn,
                void *arg)
{
    struct split s = {n, grain, fn, arg};
    pool_run(c->pool, (int)((n + grain - 1) / grain), split_part, &s);
}
