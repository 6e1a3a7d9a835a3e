/* SPDX-License-Identifier: Apache-2.0
 *
 * The CPU as a device: its context, memory, and the variants it can run.
 */
#ifndef RWF_KERNELS_CPU_HOST_H
#define RWF_KERNELS_CPU_HOST_H
#include "kernels/cpu/pool.h"
#include "kernels/kernels.h"

enum cpu_variant { CPU_PLAIN, CPU_AVX2, CPU_AVX512, CPU_VARIANTS };

struct kernel_context {
    struct pool *pool;
    const char *variant; /* for people */
    float **pack;        /* each thread's room for packed panels */
};

/* Bytes of each thread's pack. */
#define CPU_PACK_BYTES ((size_t)1 << 20)

/* "plain", "avx2", "avx512". */
const char *cpu__variant_name(enum cpu_variant v);
/* Whether this program has that variant and this processor can run it. */
bool cpu__variant_runs(enum cpu_variant v);
/* The table of one variant; NULL where it does not run. */
const struct kernels *cpu__variant_table(enum cpu_variant v);
/* Memory, copies and the like of every CPU table; `variant` is named in info. */
void cpu__host_fill(struct kernels *k);
struct kernel_context *cpu__host_open(const struct kernel_options *o, const char *variant,
                                      char *error, size_t size);

#endif
