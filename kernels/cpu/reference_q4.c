/* SPDX-License-Identifier: Apache-2.0
 *
 * Reference: products with weights of 4 bits. Packed are, one after another: scales [n,
 * k / group] of float, weights [n, k] and zero points [n, k / group] of a byte each.
 */
#include "kernels/cpu/reference.h"
#include "kernels/cpu/awq.h"
#include "kernels/q4_check.h"

struct packed {
    float *scales;
    uint8_t *weights, *zeros;
    int64_t groups; /* of a row */
};

static struct packed parts(const struct kernel_q4 *w, void *packed)
{
    struct packed p = {.scales = packed, .groups = w->k / w->group};
    p.weights = (uint8_t *)(p.scales + w->n * p.groups);
    p.zeros = p.weights + w->n * w->k;
    return p;
}

size_t reference__q4_bytes(struct kernel_context *c, const struct kernel_q4 *w)
{
    (void)c;
    return (size_t)(w->n * w->k + w->n * (w->k / w->group) * 5);
}

int reference__q4_pack(struct kernel_context *c, const struct kernel_q4 *w,
                       void *packed, const struct kernel_q4_source *from, char *error,
                       size_t size)
{
    struct packed p = parts(w, packed);
    (void)c;
    if (kernel_q4_check(w, from, error, size) != 0)
        return -1;
    for (int64_t j = 0; j < from->n; j++) {
        int64_t row = from->first + j;
        for (int64_t l = 0; l < w->k; l++)
            p.weights[row * w->k + l] =
                (uint8_t)awq_value(from->weights, from->n, l, j);
        for (int64_t g = 0; g < p.groups; g++) {
            p.zeros[row * p.groups + g] =
                (uint8_t)awq_value(from->zeros, from->n, g, j);
            p.scales[row * p.groups + g] = awq_scale(from, g, j);
        }
    }
    return 0;
}

void reference__q4_matmul(struct kernel_context *c, const struct kernel_q4 *w,
                          const void *packed, void *out, const void *x, int64_t m,
                          enum kernel_type type, enum kernel_type c_type, void *scratch)
{
    const struct packed p = parts(w, (void *)(uintptr_t)packed);
    (void)c;
    (void)scratch;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < w->n; j++) {
            double sum = 0;
            for (int64_t l = 0; l < w->k; l++) {
                int64_t g = j * p.groups + l / w->group;
                int q = p.weights[j * w->k + l] - p.zeros[g];
                sum += (double)get(x, i * w->k + l, type) * q * (double)p.scales[g];
            }
            put(out, i * w->n + j, c_type, sum);
        }
}

size_t reference__q4_scratch(struct kernel_context *c, const struct kernel_q4 *w,
                             int64_t m)
{
    (void)c;
    (void)w;
    (void)m;
    return 0;
}
