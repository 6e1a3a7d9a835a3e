/* SPDX-License-Identifier: Apache-2.0
 *
 * Reference: causal attention with grouped queries.
 *
 * p(t,s) = exp(scale q(t) k(s) - lse(t)) for s <= t, o(t) = sum p(t,s) v(s). Backward,
 * with D(t) = do(t) o(t): ds(t,s) = p (do(t) v(s) - D(t)), dv(s) += p do(t), dq(t) +=
 * scale ds k(s), dk(s) += scale ds q(t).
 */
#include "kernels/cpu/reference.h"
#include <math.h>
#include <stdlib.h>

/* Where the head's elements of a position are: in qkv, and in out. */
struct place {
    const struct kernel_attention *a;
    int64_t row, head;
};

static int64_t query(struct place p, int64_t t)
{
    int64_t width = p.a->heads + 2 * p.a->kv_heads;
    return ((p.row * p.a->length + t) * width + p.head) * p.a->size;
}

static int64_t key(struct place p, int64_t t)
{
    int64_t width = p.a->heads + 2 * p.a->kv_heads;
    int64_t head = p.a->heads + p.head / (p.a->heads / p.a->kv_heads);
    return ((p.row * p.a->length + t) * width + head) * p.a->size;
}

static int64_t value(struct place p, int64_t t)
{
    return key(p, t) + (int64_t)p.a->kv_heads * p.a->size;
}

static int64_t result(struct place p, int64_t t)
{
    return ((p.row * p.a->length + t) * p.a->heads + p.head) * p.a->size;
}

static double product(const struct kernel_attention *a, const void *x, int64_t i,
                      const void *y, int64_t j)
{
    double sum = 0;
    for (int64_t l = 0; l < a->size; l++)
        sum += (double)get(x, i + l, a->type) * (double)get(y, j + l, a->type);
    return sum;
}

static void attend(struct place p, void *out, float *lse, const void *qkv, int64_t t)
{
    const struct kernel_attention *a = p.a;
    double most = -INFINITY, total = 0;
    for (int64_t s = 0; s <= t; s++)
        most =
            fmax(most, (double)a->scale * product(a, qkv, query(p, t), qkv, key(p, s)));
    for (int64_t s = 0; s <= t; s++)
        total +=
            exp((double)a->scale * product(a, qkv, query(p, t), qkv, key(p, s)) - most);
    double log_sum = most + log(total);
    lse[(p.row * a->heads + p.head) * a->length + t] = (float)log_sum;
    for (int64_t l = 0; l < a->size; l++) {
        double sum = 0;
        for (int64_t s = 0; s <= t; s++) {
            double score =
                (double)a->scale * product(a, qkv, query(p, t), qkv, key(p, s));
            sum += exp(score - log_sum) * (double)get(qkv, value(p, s) + l, a->type);
        }
        put(out, result(p, t) + l, a->type, sum);
    }
}

void reference__attention(struct kernel_context *c, const struct kernel_attention *a,
                          void *out, float *lse, const void *qkv)
{
    (void)c;
    for (int64_t row = 0; row < a->batch; row++)
        for (int64_t head = 0; head < a->heads; head++)
            for (int64_t t = 0; t < a->length; t++)
                attend((struct place){a, row, head}, out, lse, qkv, t);
}

/* Adds one pair's part to d, doubles laid out as qkv is. */
static void attend_back(struct place p, double *d, const void *dout, const void *out,
                        const float *lse, const void *qkv, int64_t t, int64_t s)
{
    const struct kernel_attention *a = p.a;
    int64_t q = query(p, t), k = key(p, s), v = value(p, s), o = result(p, t);
    double score = (double)a->scale * product(a, qkv, q, qkv, k);
    double weight =
        exp(score - (double)lse[(p.row * a->heads + p.head) * a->length + t]);
    double ds = weight * (product(a, dout, o, qkv, v) - product(a, dout, o, out, o));
    for (int64_t l = 0; l < a->size; l++) {
        d[v + l] += weight * (double)get(dout, o + l, a->type);
        d[q + l] += (double)a->scale * ds * (double)get(qkv, k + l, a->type);
        d[k + l] += (double)a->scale * ds * (double)get(qkv, q + l, a->type);
    }
}

static int64_t elements(const struct kernel_attention *a)
{
    return (int64_t)a->batch * a->length * (a->heads + 2 * a->kv_heads) * a->size;
}

void reference__attention_back(struct kernel_context *c,
                               const struct kernel_attention *a, void *dqkv,
                               const void *dout, const void *out, const float *lse,
                               const void *qkv, void *scratch)
{
    double *d = scratch;
    (void)c;
    for (int64_t i = 0; i < elements(a); i++)
        d[i] = 0;
    for (int64_t row = 0; row < a->batch; row++)
        for (int64_t head = 0; head < a->heads; head++)
            for (int64_t t = 0; t < a->length; t++)
                for (int64_t s = 0; s <= t; s++)
                    attend_back((struct place){a, row, head}, d, dout, out, lse, qkv, t,
                                s);
    for (int64_t i = 0; i < elements(a); i++)
        put(dqkv, i, a->type, d[i]);
}

size_t reference__attention_scratch(struct kernel_context *c,
                                    const struct kernel_attention *a)
{
    (void)c;
    return (size_t)elements(a) * sizeof(double);
}
