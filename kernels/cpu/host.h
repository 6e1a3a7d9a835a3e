/* SPDX-License-Identifier: Apache-2.0
 *
 * The CPU as a device: its context, memory, and the variants it can run.
 */
#ifndef RWF_KERNELS_CPU_HOST_H
#define RWF_KERNELS_CPU_HOST_H
#include "kernels/cpu/pool.h"
#include "kernels/kernels.h"

enum cpu_variant { CPU_PLAIN, CPU_AVX2, CPU_AVX512, CPU_AVX512BF16, CPU_VARIANTS };

struct kernel_context {
    struct pool *pool;
    const char *variant; /* for people */
    float **pack; /* each thread's room: packed panels, then what attention needs */
    char failure[160]; /* of the first kernel that failed since the last sync; or empty
                        */
};

/* Of each thread's room: for panels, and altogether. */
#define CPU_PACK_BYTES ((size_t)3 << 20)
#define CPU_ROOM_BYTES ((size_t)4 << 20)

/* "plain", "avx2", "avx512", "avx512bf16". */
const char *cpu__variant_name(enum cpu_variant v);
/* Whether this program has that variant and this processor can run it. */
bool cpu__variant_runs(enum cpu_variant v);
/* The table of one variant; NULL where it does not run. */
const struct kernels *cpu__variant_table(enum cpu_variant v);
/* Memory, copies and the like of every CPU table; `variant` is named in info. */
void cpu__host_fill(struct kernels *k);
struct kernel_context *cpu__host_open(const struct kernel_options *o,
                                      const char *variant, char *error, size_t size);

/* Remembers a failure for sync. */
void cpu__failed(struct kernel_context *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Runs fn for the pieces [from, to) of 0..n, of at most grain each. */
typedef void (*range_fn)(void *arg, int64_t from, int64_t to, int thread);
void cpu__split(struct kernel_context *c, int64_t n, int64_t grain, range_fn fn,
                void *arg);

#endif
