/* SPDX-License-Identifier: Apache-2.0
 *
 * Products through cuBLASLt. What it takes for a shape (descriptors, the algorithm its
 * heuristics name first) is kept per shape, so that a call is one search in a table.
 *
 * cuBLASLt's matrices are column-major: what lies there as C[m,n] row by row is for it
 * the transposed one, C'[n,m] = op(B)' op(A)'. So its A is our B.
 *
 * The same shape gives the same bits in every run: reductions that depend on the order
 * of arrival are not allowed, and the first answer of the heuristics is taken. Large
 * products try some more of its answers once they have come often (a prompt's length
 * may never come again), but only those whose result has the very bits of the first
 * one's.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cublaslt.h"
#include "cuda.h"

#define ENTRIES 1024     /* of the table, a power of two */
#define MOST_ENTRIES 768 /* shapes kept; then the table starts anew */
#define ANSWERS 8        /* of the heuristics */
#define LARGE 5e9        /* multiplications from which on they are tried */
#define OFTEN 100        /* calls after which they are */
#define TRIES 4          /* calls on which this may happen: results of 0 say nothing */

/* All that decides how a product is run. No padding: compared as bytes. */
struct product_key {
    int64_t m, n, k, lda, ldb, ldc;
    int32_t ta, tb, type, c_type, epilogue, accumulate;
    int32_t align_a, align_b, align_c, none;
};

struct product {
    struct product_key key;
    void *desc, *a, *b, *c;
    struct lt_algo algos[ANSWERS];
    bool used;
    int count; /* 0: cuBLASLt has no kernel for it */
    int chosen, tries, calls;
};

struct cuda_products {
    struct lt lt;
    void *library, *handle, *workspace;
    struct product entries[ENTRIES];
    int count;
};

static int functions_find(struct cuda_products *p, char *error, size_t size)
{
    static const struct {
        const char *name;
        size_t offset;
    } rows[] = {
#define X(function, parameters) {"cublasLt" #function, offsetof(struct lt, function)},
        LT_FUNCTIONS(X)
#undef X
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        void *symbol = dlsym(p->library, rows[i].name);
        if (!symbol) {
            snprintf(error, size,
                     "cuBLASLt has no function %s: version 12 or 13 is needed",
                     rows[i].name);
            return -1;
        }
        memcpy((char *)&p->lt + rows[i].offset, &symbol, sizeof symbol);
    }
    return 0;
}

struct cuda_products *cuda__products_open(char *error, size_t size)
{
    static const char *const names[] = {"libcublasLt.so.13", "libcublasLt.so.12",
                                        "libcublasLt.so",
                                        "/usr/local/cuda/lib64/libcublasLt.so", NULL};
    struct cuda_products *p = calloc(1, sizeof *p);
    if (!p) {
        snprintf(error, size, "no memory");
        return NULL;
    }
    p->library = cuda__library(names, "cuBLAS", error, size);
    if (!p->library || functions_find(p, error, size) < 0)
        goto failed;
    int code = p->lt.Create(&p->handle);
    if (code || cudaMalloc(&p->workspace, CUDA_WORKSPACE)) {
        snprintf(error, size,
                 "cuBLASLt does not start (status %d): is the GPU's memory full?",
                 code);
        goto failed;
    }
    return p;
failed:
    cuda__products_close(p);
    return NULL;
}

static void entries_drop(struct cuda_products *p)
{
    for (int i = 0; i < ENTRIES; i++) {
        struct product *e = &p->entries[i];
        if (!e->used)
            continue;
        e->used = false;
        if (e->desc)
            p->lt.MatmulDescDestroy(e->desc);
        void *layouts[] = {e->a, e->b, e->c};
        for (int j = 0; j < 3; j++)
            if (layouts[j])
                p->lt.MatrixLayoutDestroy(layouts[j]);
    }
    p->count = 0;
}

void cuda__products_close(struct cuda_products *p)
{
    entries_drop(p);
    cudaFree(p->workspace);
    if (p->handle)
        p->lt.Destroy(p->handle);
    /* The library stays: its threads and the driver's hooks may outlive us. */
    free(p);
}

/* The largest power of two up to 16 that divides it. */
static int32_t alignment(const void *pointer)
{
    uintptr_t p = (uintptr_t)pointer | 16;
    return (int32_t)(p & -p);
}

static int lt_type(enum kernel_type type)
{
    return type == KERNEL_BF16 ? LT_R_16BF : LT_R_32F;
}

static int heuristic_ask(struct cuda_products *p, struct product *e)
{
    const struct product_key *key = &e->key;
    uint64_t workspace = CUDA_WORKSPACE;
    uint32_t reductions = LT_REDUCTION_COMPUTE_TYPE;
    uint32_t aligned[4] = {(uint32_t)key->align_a, (uint32_t)key->align_b,
                           (uint32_t)key->align_c, (uint32_t)key->align_c};
    struct lt_heuristic results[ANSWERS];
    void *preference = NULL;
    int count = 0;
    int bad = p->lt.MatmulPreferenceCreate(&preference);
    if (bad)
        return -1;
    bad |= p->lt.MatmulPreferenceSetAttribute(preference, LT_PREF_WORKSPACE, &workspace,
                                              sizeof workspace);
    bad |= p->lt.MatmulPreferenceSetAttribute(preference, LT_PREF_REDUCTION,
                                              &reductions, sizeof reductions);
    for (int i = 0; i < 4; i++)
        bad |= p->lt.MatmulPreferenceSetAttribute(preference, LT_PREF_ALIGNMENT_A + i,
                                                  &aligned[i], sizeof aligned[i]);
    if (!bad)
        bad = p->lt.MatmulAlgoGetHeuristic(p->handle, e->desc, e->a, e->b, e->c, e->c,
                                           preference, ANSWERS, results, &count);
    p->lt.MatmulPreferenceDestroy(preference);
    for (int i = 0; !bad && i < count && results[i].state == 0; i++)
        e->algos[e->count++] = results[i].algo;
    return e->count > 0 ? 0 : -1;
}

static int desc_set(struct cuda_products *p, void *desc, int what, const void *value,
                    size_t size)
{
    return p->lt.MatmulDescSetAttribute(desc, what, value, size) ? -1 : 0;
}

static int desc_bias(struct cuda_products *p, struct product *e, const void *bias)
{
    int32_t type = lt_type((enum kernel_type)e->key.c_type);
    if (!(e->key.epilogue & LT_EPILOGUE_BIAS))
        return 0;
    return desc_set(p, e->desc, LT_DESC_BIAS_POINTER, &bias, sizeof bias) < 0 ||
                   desc_set(p, e->desc, LT_DESC_BIAS_TYPE, &type, sizeof type) < 0
               ? -1
               : 0;
}

static int product_make(struct cuda_products *p, struct product *e, const void *bias)
{
    const struct product_key *key = &e->key;
    int type = lt_type((enum kernel_type)key->type);
    int c_type = lt_type((enum kernel_type)key->c_type);
    int32_t op_a = key->tb ? LT_OP_T : LT_OP_N, op_b = key->ta ? LT_OP_T : LT_OP_N;
    uint64_t m = (uint64_t)key->m, n = (uint64_t)key->n, k = (uint64_t)key->k;
    if (p->lt.MatmulDescCreate(&e->desc, LT_COMPUTE_32F, LT_R_32F) ||
        p->lt.MatrixLayoutCreate(&e->a, type, key->tb ? k : n, key->tb ? n : k,
                                 key->ldb) ||
        p->lt.MatrixLayoutCreate(&e->b, type, key->ta ? m : k, key->ta ? k : m,
                                 key->lda) ||
        p->lt.MatrixLayoutCreate(&e->c, c_type, n, m, key->ldc))
        return -1;
    if (desc_set(p, e->desc, LT_DESC_TRANSA, &op_a, sizeof op_a) < 0 ||
        desc_set(p, e->desc, LT_DESC_TRANSB, &op_b, sizeof op_b) < 0 ||
        desc_set(p, e->desc, LT_DESC_EPILOGUE, &key->epilogue, sizeof key->epilogue) <
            0 ||
        desc_bias(p, e, bias) < 0)
        return -1;
    return heuristic_ask(p, e);
}

/* Where the shape is in the table, or would be. */
static struct product *product_place(struct cuda_products *p,
                                     const struct product_key *key)
{
    const unsigned char *bytes = (const unsigned char *)key;
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (size_t i = 0; i < sizeof *key; i++)
        hash = (hash ^ bytes[i]) * 1099511628211u;
    for (size_t i = (size_t)(hash ^ hash >> 32);; i++) {
        struct product *e = &p->entries[i % ENTRIES];
        if (!e->used || memcmp(&e->key, key, sizeof *key) == 0)
            return e;
    }
}

static struct product *product_find(struct cuda_products *p,
                                    const struct product_key *key, const void *bias)
{
    struct product *e = product_place(p, key);
    if (e->used)
        return e;
    if (p->count == MOST_ENTRIES) {
        entries_drop(p);
        e = product_place(p, key);
    }
    p->count++;
    *e = (struct product){.key = *key, .used = true};
    if (product_make(p, e, bias) < 0)
        e->count = 0;
    return e;
}

/* Whether cuBLASLt's own GELU serves: where its argument is kept, too, its kernels take
 * longer than two of ours. */
static bool gelu_fits(const struct kernel_matmul *m)
{
    return m->act == KERNEL_GELU && !m->before && m->type == KERNEL_BF16 &&
           m->c_type == KERNEL_BF16;
}

/* The epilogue that does all of m at once, or as much as there is one for; *ret_rest:
 * what is left is for cuda__finish_matmul. */
static int32_t epilogue_choose(const struct kernel_matmul *m, bool *ret_rest)
{
    bool bias_fits = m->bias && m->type == m->c_type;
    *ret_rest = false;
    if (m->accumulate)
        return LT_EPILOGUE_DEFAULT;
    if (gelu_fits(m))
        return LT_EPILOGUE_GELU | (m->bias ? LT_EPILOGUE_BIAS : 0);
    *ret_rest = m->act != KERNEL_LINEAR || m->before || (m->bias && !bias_fits);
    return bias_fits && !*ret_rest ? LT_EPILOGUE_BIAS : LT_EPILOGUE_DEFAULT;
}

static int product_launch(struct kernel_context *c, const struct kernel_matmul *m,
                          const struct product *e, int answer)
{
    struct cuda_products *p = c->products;
    float beta = m->accumulate ? 1 : 0;
    return p->lt.Matmul(p->handle, e->desc, &m->alpha, m->b, e->a, m->a, e->b, &beta,
                        m->c, e->c, m->c, e->c, &e->algos[answer], p->workspace,
                        CUDA_WORKSPACE, c->stream);
}

/* Seconds of a run of that answer, and a sum of the bits of its result. -1: it does not
 * run, or splits the sum. */
static double product_try(struct kernel_context *c, const struct kernel_matmul *m,
                          const struct product *e, int answer, cudaEvent_t timers[2],
                          uint64_t *ret_bits)
{
    int32_t splits = 0;
    float milliseconds = -1000;
    if (c->products->lt.MatmulAlgoConfigGetAttribute(
            &e->algos[answer], LT_CONFIG_SPLITS, &splits, sizeof splits, NULL) ||
        splits > 1 || product_launch(c, m, e, answer))
        return -1;
    *ret_bits = cuda__bits(c, m->c, (size_t)(m->m * m->ldc) * kernel_size(m->c_type));
    cudaEventRecord(timers[0], c->stream);
    for (int i = 0; i < 3; i++)
        product_launch(c, m, e, answer);
    cudaEventRecord(timers[1], c->stream);
    if (cudaEventSynchronize(timers[1]) ||
        cudaEventElapsedTime(&milliseconds, timers[0], timers[1]))
        return -1;
    return milliseconds / 1000;
}

/* The fastest answer whose result is that of the first. */
static void product_choose(struct kernel_context *c, const struct kernel_matmul *m,
                           struct product *e)
{
    uint64_t want = 0, bits = 0;
    cudaEvent_t timers[2] = {NULL, NULL};
    if (e->calls < OFTEN) {
        e->calls++;
        return;
    }
    if (c->recording || m->accumulate || e->count < 2 || e->tries == TRIES ||
        m->ldc % 2 != 0 || (double)m->m * (double)m->n * (double)m->k < LARGE)
        return;
    e->tries++;
    if (cudaEventCreate(&timers[0]) == cudaSuccess &&
        cudaEventCreate(&timers[1]) == cudaSuccess) {
        double best = product_try(c, m, e, 0, timers, &want);
        for (int i = 1; best > 0 && want != 0 && i < e->count; i++) {
            double time = product_try(c, m, e, i, timers, &bits);
            if (time > 0 && time < best * 0.98 && bits == want) {
                best = time;
                e->chosen = i;
            }
        }
        if (want != 0)
            e->tries = TRIES;
    }
    for (int i = 0; i < 2; i++)
        if (timers[i])
            cudaEventDestroy(timers[i]);
}

static int product_run(struct kernel_context *c, const struct kernel_matmul *m,
                       int32_t epilogue)
{
    struct product_key key = {
        .m = m->m,
        .n = m->n,
        .k = m->k,
        .lda = m->lda,
        .ldb = m->ldb,
        .ldc = m->ldc,
        .ta = m->ta,
        .tb = m->tb,
        .type = (int32_t)m->type,
        .c_type = (int32_t)m->c_type,
        .epilogue = epilogue,
        .accumulate = m->accumulate,
        .align_a = alignment(m->b),
        .align_b = alignment(m->a),
        .align_c = alignment(m->c),
    };
    struct product *e = product_find(c->products, &key, m->bias);
    if (e->count == 0 || desc_bias(c->products, e, m->bias) < 0)
        return -1;
    product_choose(c, m, e);
    int code = product_launch(c, m, e, e->chosen);
    if (code) {
        char why[48];
        snprintf(why, sizeof why, "cuBLASLt's status %d", code);
        cuda__fail(c, "matmul", why);
    }
    return 0;
}

void cuda__matmul(struct kernel_context *c, const struct kernel_matmul *arguments)
{
    struct kernel_matmul m = *arguments;
    bool rest;
    if (m.m <= 0 || m.n <= 0)
        return;
    m.lda = m.lda ? m.lda : (m.ta ? m.m : m.k);
    m.ldb = m.ldb ? m.ldb : (m.tb ? m.k : m.n);
    m.ldc = m.ldc ? m.ldc : m.n;
    if (m.k <= 0) {
        cuda__plain_matmul(c, &m);
        return;
    }
    if (m.act != KERNEL_LINEAR && !m.accumulate && m.ldc == m.n && m.type == m.c_type &&
        !gelu_fits(&m)) {
        struct kernel_matmul linear = m;
        linear.c = m.before ? m.before : m.c;
        linear.before = NULL;
        linear.act = KERNEL_LINEAR;
        cuda__matmul(c, &linear);
        cuda__activate(c, m.c, linear.c, m.m * m.n, m.act, m.c_type);
        return;
    }
    if (cuda__skinny_matmul(c, &m))
        return;
    int32_t epilogue = epilogue_choose(&m, &rest);
    if (product_run(c, &m, epilogue) == 0) {
        if (rest)
            cuda__finish_matmul(c, &m);
        return;
    }
    /* No kernel with that epilogue, or none at all. */
    if (epilogue != LT_EPILOGUE_DEFAULT && product_run(c, &m, LT_EPILOGUE_DEFAULT) == 0)
        cuda__finish_matmul(c, &m);
    else
        cuda__plain_matmul(c, &m);
}
