/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs an operation with the reference and with every variant this processor has, for 1
 * to 4 threads each, and compares: the variant with the reference by a tolerance, the
 * numbers of threads bit by bit. Outputs are NaN before, and lie between guards.
 */
#ifndef RWF_TEST_KERNELS_RIG_H
#define RWF_TEST_KERNELS_RIG_H
#include <check.h>
#include "kernels/kernels.h"

/* One run of an operation by one table. The n-th input has the same values in every
 * run. */
struct trial {
    const struct kernels *k;
    struct kernel_context *c;
    struct piece *pieces;
    int count;
    double tolerance; /* of floats, relative to 1 + |value|; set by the operation */
};

/* n elements between -1 and 1. */
void *rig_input(struct trial *t, int64_t n, enum kernel_type type);
/* The same, and compared afterwards. */
void *rig_changed(struct trial *t, int64_t n, enum kernel_type type);
/* NaN everywhere; compared. */
void *rig_output(struct trial *t, int64_t n, enum kernel_type type);
/* -1 everywhere; compared, to the last bit. */
int32_t *rig_ids(struct trial *t, int64_t n);
/* NaN everywhere; not compared. */
void *rig_scratch(struct trial *t, size_t bytes);
/* Whole numbers from `from` to before `to`. */
int32_t *rig_numbers(struct trial *t, int64_t n, int from, int to);

typedef void (*rig_op_fn)(struct trial *t, const void *args);
/* what: named in failures. */
void rig_compare(rig_op_fn op, const void *args, const char *what);
/* A table by number: a variant, or (CPU_VARIANTS) the reference; NULL where it does not
 * run. Two threads. */
const struct kernels *rig_table(int i);
struct kernel_context *rig_open(const struct kernels *k);
/* For main: says which variants are left out here, and runs the tests; the exit code.
 */
int rig_run(Suite *suite);
/* Closes what rig_compare opened in this process. */
void rig_close(void);

#endif
