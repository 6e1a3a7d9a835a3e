/* SPDX-License-Identifier: Apache-2.0
 *
 * One operation of raywf-cuda.so held against the reference: buffers by name, filled
 * the same way for both; the GPU runs it twice, and both runs must give the same bits.
 */
#ifndef TESTS_CUDA_RIG_H
#define TESTS_CUDA_RIG_H
#include <check.h>
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
typedef void (*rig_call)(const struct kernels *k, struct kernel_context *c,
                         void *const *b, const void *arguments);

struct rig_case {
    const char *name;
    rig_call call;
    const void *arguments;
    double
        tolerance; /* |difference| <= tolerance * (|value| + root mean square of all) */
    struct rig_buffer buffers[RIG_BUFFERS];
};

/* The module's table and a context of the first GPU, once rig_main has opened them. */
extern const struct kernels *rig_k;
extern struct kernel_context *rig_c;
extern const enum kernel_type rig_types[2];

/* Tolerances: float sums in another order 2e-5; a bf16 result may be one step of
 * rounding off, 2^-8. Where bf16 steps lie between (attention's probabilities, a kept
 * sum), cases say more. */
double rig_near(enum kernel_type type);

/* What scratch both tables need. */
#define SCRATCH(function, a)                                                           \
    (rig_k->function(rig_c, a) + kernels_reference()->function(NULL, a) + 4)

#define CALL(name)                                                                     \
    static void name(const struct kernels *on, struct kernel_context *at,              \
                     void *const *b, const void *arguments)

struct sizes {
    int64_t m, n;
    enum kernel_type type;
    int option;
    float value;
};

/* The next random number in [0, 1), and a whole one in [0, n). */
double rig_unit(void);
int rig_below(int n);

/* What a buffer holds before the call; the caller frees. */
void *rig_fill(const struct rig_buffer *b);
/* Fails the test when they differ. */
void rig_check(struct kernel_context *c, const struct rig_case *t);

/* A part of the tests; CK_RUN_CASE=NAME runs that one alone, for a memory checker. */
struct rig_part {
    const char *name;
    const TTest *test;
};
/* Runs them; the exit code, 77 without a GPU. */
int rig_main(const struct rig_part *parts, size_t count);

#endif
