/* SPDX-License-Identifier: Apache-2.0
 *
 * The part of cuBLASLt that is used, declared here because the library is opened at run
 * time: building needs nothing but nvcc. Types are opaque pointers and plain numbers;
 * the numbers are those of cuBLAS 12 and 13.
 */
#ifndef KERNELS_CUDA_CUBLASLT_H
#define KERNELS_CUDA_CUBLASLT_H
#include <cuda_runtime_api.h>
#include <stddef.h>
#include <stdint.h>

enum {
    LT_R_32F = 0,
    LT_R_16BF = 14,
    LT_COMPUTE_32F = 68,
    LT_OP_N = 0,
    LT_OP_T = 1,
    LT_DESC_TRANSA = 3, /* int32_t */
    LT_DESC_TRANSB = 4,
    LT_DESC_EPILOGUE = 7,     /* uint32_t */
    LT_DESC_BIAS_POINTER = 8, /* void * */
    LT_DESC_BIAS_TYPE = 26,   /* int32_t */
    LT_PREF_WORKSPACE = 1,    /* uint64_t */
    LT_PREF_REDUCTION = 3,    /* uint32_t */
    LT_PREF_ALIGNMENT_A = 5,  /* uint32_t, bytes; B, C, D follow */
    LT_REDUCTION_COMPUTE_TYPE = 2,
    LT_CONFIG_SPLITS = 2, /* int32_t */
    LT_EPILOGUE_DEFAULT = 1,
    LT_EPILOGUE_BIAS = 4,
    LT_EPILOGUE_GELU = 32,
};

struct lt_algo {
    uint64_t data[8];
};

struct lt_heuristic {
    struct lt_algo algo;
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
};

/* Each of the functions: name, its parameters. All return 0 when all is well. */
#define LT_FUNCTIONS(X)                                                                \
    X(Create, (void **handle))                                                         \
    X(Destroy, (void *handle))                                                         \
    X(MatmulDescCreate, (void **desc, int compute, int scale_type))                    \
    X(MatmulDescDestroy, (void *desc))                                                 \
    X(MatmulDescSetAttribute, (void *desc, int what, const void *value, size_t size))  \
    X(MatrixLayoutCreate,                                                              \
      (void **layout, int type, uint64_t rows, uint64_t columns, int64_t ld))          \
    X(MatrixLayoutDestroy, (void *layout))                                             \
    X(MatmulPreferenceCreate, (void **preference))                                     \
    X(MatmulPreferenceDestroy, (void *preference))                                     \
    X(MatmulPreferenceSetAttribute,                                                    \
      (void *p, int what, const void *value, size_t size))                             \
    X(MatmulAlgoGetHeuristic,                                                          \
      (void *handle, void *desc, void *a, void *b, void *c, void *d, void *preference, \
       int wanted, struct lt_heuristic *results, int *ret_count))                      \
    X(MatmulAlgoConfigGetAttribute, (const struct lt_algo *algo, int what,             \
                                     void *value, size_t size, size_t *ret_size))      \
    X(Matmul,                                                                          \
      (void *handle, void *desc, const void *alpha, const void *a, void *a_layout,     \
       const void *b, void *b_layout, const void *beta, const void *c, void *c_layout, \
       void *d, void *d_layout, const struct lt_algo *algo, void *workspace,           \
       size_t workspace_size, cudaStream_t stream))

struct lt {
#define X(name, parameters) int(*name) parameters;
    LT_FUNCTIONS(X)
#undef X
};

#endif
