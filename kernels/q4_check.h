/* SPDX-License-Identifier: Apache-2.0
 *
 * Which weights of 4 bits can be packed: all kernels take the same.
 */
#ifndef KERNELS_Q4_CHECK_H
#define KERNELS_Q4_CHECK_H
#include <stdio.h>
#include "kernels/kernels.h"

/* 0, or -1 and a line that says what is wrong with the shape. */
static inline int kernel_q4_check(const struct kernel_q4 *w,
                                  const struct kernel_q4_source *from, char *error,
                                  size_t size)
{
    if (w->group != 32 && w->group != 64 && w->group != 128) {
        snprintf(error, size, "weights of 4 bits: groups of %d; known are 32, 64, 128",
                 w->group);
        return -1;
    }
    if (w->n <= 0 || w->k <= 0 || w->n % 64 != 0 || w->k % w->group != 0) {
        snprintf(error, size,
                 "weights of 4 bits [%lld, %lld]: the first must be a multiple of 64, "
                 "the second one of the group's %d",
                 (long long)w->n, (long long)w->k, w->group);
        return -1;
    }
    if (from->first < 0 || from->n <= 0 || from->first % 8 != 0 || from->n % 8 != 0 ||
        from->n > w->n || from->first > w->n - from->n) {
        snprintf(error, size,
                 "weights of 4 bits: rows %lld to %lld of %lld cannot be packed",
                 (long long)from->first, (long long)(from->first + from->n),
                 (long long)w->n);
        return -1;
    }
    return 0;
}

#endif
