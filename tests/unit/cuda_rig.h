/* SPDX-License-Identifier: Apache-2.0
 *
 * One operation of raywf-cuda.so held against the reference: buffers by name, filled the same
 * way for both; the GPU runs it twice, and both runs must give the same bits.
 */
#ifndef TESTS_CUDA_RIG_H
#define TESTS_CUDA_RIG_H
#include "kernels/kernels.h"

#define RIG_BUFFERS 12

enum rig_kind {
    RIG_END,
    RIG_IN,      /* random numbers of type, in [-1, 1] */
    RIG_GIVEN,   /* copied from `from` */
    RIG_OUT,     /* poisoned; compared */
    RIG_BOTH,    /* random, or copied from `from`; compared, too */
    RIG_SCRATCH, /* poisoned; not compared */
};

struct rig_buffer {
    enum rig_kind kind;
    enum kernel_type type; /* of numbers; GIVEN: of what is compared, or ignored */
    int64_t count;         /* elements */
    const void *from;      /* GIVEN, BOTH */
    size_t bytes;          /* GIVEN and SCRATCH; 0: count elements of type */
    double tolerance;      /* 0: of the case */
};

/* What the operation gets: its table, its context, and where its buffers are there. */
typedef void (*rig_call)(const struct kernels *k, struct kernel_context *c, void *const *b,
                         const void *arguments);

struct rig_case {
    const char *name;
    rig_call call;
    const void *arguments;
    double tolerance; /* |difference| <= tolerance * (|value| + root mean square of all) */
    struct rig_buffer buffers[RIG_BUFFERS];
};

/* The module and a GPU; NULL and why in error. */
const struct kernels *rig_open(struct kernel_context **ret, char *error, size_t size);
/* What a buffer holds before the call; the caller frees. */
void *rig_fill(const struct rig_buffer *b);
/* Fails the test when they differ. */
void rig_check(const struct kernels *k, struct kernel_context *c, const struct rig_case *t);

#endif
