/* SPDX-License-Identifier: Apache-2.0
 *
 * The fast operations: each fast_*.c is compiled once per variant, VARIANT being its
 * name. Work is cut into parts by sizes alone, so that the number of threads changes no
 * bit.
 */
#ifndef RWF_KERNELS_CPU_FAST_H
#define RWF_KERNELS_CPU_FAST_H
#include "kernels/cpu/host.h"
#include "kernels/cpu/vec.h"

#define JOIN_(a, b) a##__##b
#define JOIN(a, b) JOIN_(a, b)
#define FAST(name) JOIN(VARIANT, name)

#define GRAIN 32768 /* elements of a part */

/* Rows of a part where a row takes `width` elements. */
static inline int64_t rows_grain(int64_t width)
{
    return width < GRAIN ? GRAIN / (width > 0 ? width : 1) : 1;
}

/* Calls body(…, type) with the type as a constant. */
#define BY_TYPE(type, body, ...)                                                       \
    do {                                                                               \
        if ((type) == KERNEL_BF16)                                                     \
            body(__VA_ARGS__, KERNEL_BF16);                                            \
        else                                                                           \
            body(__VA_ARGS__, KERNEL_F32);                                             \
    } while (0)

/* The product by this thread alone, A being of a_type. pack: CPU_PACK_BYTES of its own.
 */
void FAST(matmul_mixed)(const struct kernel_matmul *m, enum kernel_type a_type,
                        float *pack);

/* The product of a few rows with a matrix whose rows lie along k, which is read once;
 * false: not one of these, nothing was done. */
bool FAST(matmul_few)(struct kernel_context *c, const struct kernel_matmul *m);
/* What follows the sums of rows i.. and columns j..: alpha is in them. */
void FAST(matmul_finish)(const struct kernel_matmul *m, const float *sum,
                         int64_t stride, int64_t i, int64_t j, int64_t rows,
                         int64_t columns);

/* Each part of the table fills in its operations. */
void FAST(fill_matmul)(struct kernels *k);
void FAST(fill_elements)(struct kernels *k);
void FAST(fill_layers)(struct kernels *k);
void FAST(fill_attention)(struct kernels *k);
void FAST(fill_losses)(struct kernels *k);
void FAST(fill_q4)(struct kernels *k);
void FAST(fill_paged)(struct kernels *k);
void FAST(fill_sample)(struct kernels *k);
/* All of them; the variant's object files are reached through this one. */
void FAST(fill)(struct kernels *k);

#endif
