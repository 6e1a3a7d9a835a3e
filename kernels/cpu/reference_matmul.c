/* SPDX-License-Identifier: Apache-2.0
 *
 * Reference: products, activations, and what works element by element.
 */
#include "kernels/cpu/reference.h"
#include "kernels/cpu/philox.h"
#include <math.h>

#define GELU_SCALE 0.79788456080286535588 /* sqrt(2 / pi) */
#define GELU_CUBIC 0.044715

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

double reference__activate(double x, enum kernel_activation act)
{
    switch (act) {
    case KERNEL_LINEAR:
        return x;
    case KERNEL_RELU:
        return x < 0 ? 0 : x; /* a NaN stays one */
    case KERNEL_GELU:
        return x / 2 * (1 + tanh(GELU_SCALE * (x + GELU_CUBIC * x * x * x)));
    case KERNEL_SILU:
        return x * sigmoid(x);
    case KERNEL_TANH:
        return tanh(x);
    case KERNEL_SIGMOID:
        return sigmoid(x);
    }
    return NAN;
}

static double gelu_slope(double x)
{
    double t = tanh(GELU_SCALE * (x + GELU_CUBIC * x * x * x));
    return (1 + t) / 2 +
           x / 2 * (1 - t * t) * GELU_SCALE * (1 + 3 * GELU_CUBIC * x * x);
}

double reference__slope(double x, enum kernel_activation act)
{
    double s = sigmoid(x), t = tanh(x);
    switch (act) {
    case KERNEL_LINEAR:
        return 1;
    case KERNEL_RELU:
        return x > 0 ? 1 : 0;
    case KERNEL_GELU:
        return gelu_slope(x);
    case KERNEL_SILU:
        return s * (1 + x * (1 - s));
    case KERNEL_TANH:
        return 1 - t * t;
    case KERNEL_SIGMOID:
        return s * (1 - s);
    }
    return NAN;
}

static double dot(const struct kernel_matmul *m, int64_t i, int64_t j)
{
    int64_t lda = m->lda != 0 ? m->lda : m->ta ? m->m : m->k;
    int64_t ldb = m->ldb != 0 ? m->ldb : m->tb ? m->k : m->n;
    double sum = 0;
    for (int64_t l = 0; l < m->k; l++)
        sum += (double)get(m->a, m->ta ? l * lda + i : i * lda + l, m->type) *
               (double)get(m->b, m->tb ? j * ldb + l : l * ldb + j, m->type);
    return sum;
}

void reference__matmul(struct kernel_context *c, const struct kernel_matmul *m)
{
    int64_t ldc = m->ldc != 0 ? m->ldc : m->n;
    (void)c;
    for (int64_t i = 0; i < m->m; i++)
        for (int64_t j = 0; j < m->n; j++) {
            double value = (double)m->alpha * dot(m, i, j);
            if (m->accumulate) {
                value += (double)get(m->c, i * ldc + j, m->c_type);
                put(m->c, i * ldc + j, m->c_type, value);
                continue;
            }
            if (m->bias != NULL)
                value += (double)get(m->bias, j, m->type);
            if (m->before != NULL)
                put(m->before, i * ldc + j, m->c_type, value);
            put(m->c, i * ldc + j, m->c_type, reference__activate(value, m->act));
        }
}

void reference__sum_rows(struct kernel_context *c, float *into, const void *x,
                         int64_t m, int64_t n, enum kernel_type type, bool accumulate)
{
    (void)c;
    for (int64_t j = 0; j < n; j++) {
        double sum = accumulate ? (double)into[j] : 0;
        for (int64_t i = 0; i < m; i++)
            sum += (double)get(x, i * n + j, type);
        into[j] = (float)sum;
    }
}

void reference__activate_all(struct kernel_context *c, void *y, const void *x,
                             int64_t n, enum kernel_activation act,
                             enum kernel_type type)
{
    (void)c;
    for (int64_t i = 0; i < n; i++)
        put(y, i, type, reference__activate(get(x, i, type), act));
}

void reference__activate_back(struct kernel_context *c, void *dx, const void *dy,
                              const void *x, int64_t n, enum kernel_activation act,
                              enum kernel_type type)
{
    (void)c;
    for (int64_t i = 0; i < n; i++)
        put(dx, i, type,
            (double)get(dy, i, type) * reference__slope(get(x, i, type), act));
}

void reference__swiglu(struct kernel_context *c, void *y, const void *x, int64_t rows,
                       int64_t n, enum kernel_type type)
{
    (void)c;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < n; j++) {
            double gate = get(x, i * 2 * n + j, type);
            double up = get(x, i * 2 * n + n + j, type);
            put(y, i * n + j, type, gate * sigmoid(gate) * up);
        }
}

void reference__swiglu_back(struct kernel_context *c, void *dx, const void *dy,
                            const void *x, int64_t rows, int64_t n,
                            enum kernel_type type)
{
    (void)c;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < n; j++) {
            double d = get(dy, i * n + j, type);
            double gate = get(x, i * 2 * n + j, type);
            double up = get(x, i * 2 * n + n + j, type);
            put(dx, i * 2 * n + j, type, d * up * reference__slope(gate, KERNEL_SILU));
            put(dx, i * 2 * n + n + j, type, d * gate * sigmoid(gate));
        }
}

void reference__dropout(struct kernel_context *c, void *y, const void *x, int64_t n,
                        float p, uint64_t seed, uint64_t offset, enum kernel_type type)
{
    uint32_t word[4];
    (void)c;
    for (int64_t i = 0; i < n; i++) {
        philox(word, seed, (uint64_t)i / 4, offset);
        put(y, i, type,
            philox_keeps(word[i % 4], p) ? (double)get(x, i, type) / (1 - (double)p)
                                         : 0);
    }
}

void reference__add(struct kernel_context *c, void *y, const void *x, float a,
                    int64_t n, enum kernel_type type)
{
    (void)c;
    for (int64_t i = 0; i < n; i++)
        put(y, i, type, (double)get(y, i, type) + (double)a * (double)get(x, i, type));
}

void reference__scale(struct kernel_context *c, float *x, float a, int64_t n)
{
    (void)c;
    for (int64_t i = 0; i < n; i++)
        x[i] *= a;
}

void reference__to_float(struct kernel_context *c, float *y, const void *x, int64_t n,
                         enum kernel_type type)
{
    (void)c;
    for (int64_t i = 0; i < n; i++)
        y[i] = get(x, i, type);
}

void reference__from_float(struct kernel_context *c, void *y, const float *x, int64_t n,
                           enum kernel_type type)
{
    (void)c;
    for (int64_t i = 0; i < n; i++)
        put(y, i, type, x[i]);
}
