/* SPDX-License-Identifier: Apache-2.0
 *
 * Reference: norms, embeddings, rotary positions, attention.
 */
#include "kernels/cpu/reference.h"
#include <math.h>

/* --- norms --- */

static void statistics(const struct kernel_norm_args *a, const void *x, int64_t row,
                       float stats[2])
{
    double mean = 0, squares = 0;
    if (a->kind == KERNEL_LAYERNORM) {
        for (int64_t j = 0; j < a->width; j++)
            mean += (double)get(x, row * a->width + j, a->type);
        mean /= (double)a->width;
    }
    for (int64_t j = 0; j < a->width; j++) {
        double d = (double)get(x, row * a->width + j, a->type) - mean;
        squares += d * d;
    }
    stats[0] = (float)mean;
    stats[1] = (float)(1 / sqrt(squares / (double)a->width + (double)a->epsilon));
}

void reference__norm(struct kernel_context *c, const struct kernel_norm_args *a,
                     void *y, void *sum, float *stats, const void *x, const void *add)
{
    (void)c;
    for (int64_t i = 0; add != NULL && i < a->rows * a->width; i++)
        put(sum, i, a->type, (double)get(x, i, a->type) + (double)get(add, i, a->type));
    const void *from = add != NULL ? sum : x;
    for (int64_t i = 0; i < a->rows; i++) {
        float *s = stats + 2 * i;
        statistics(a, from, i, s);
        for (int64_t j = 0; j < a->width; j++) {
            double value = (double)get(from, i * a->width + j, a->type);
            value = (value - (double)s[0]) * (double)s[1];
            value *= (double)get(a->weight, j, a->type);
            if (a->bias != NULL)
                value += (double)get(a->bias, j, a->type);
            put(y, i * a->width + j, a->type, value);
        }
    }
}

void reference__norm_back(struct kernel_context *c, const struct kernel_norm_args *a,
                          void *dx, float *dweight, float *dbias, const void *dy,
                          const void *x, const float *stats, const void *dsum,
                          void *scratch)
{
    (void)c;
    (void)scratch;
    for (int64_t j = 0; j < a->width; j++) {
        double weight = 0, bias = 0;
        for (int64_t i = 0; i < a->rows; i++) {
            double d = get(dy, i * a->width + j, a->type);
            double value = get(x, i * a->width + j, a->type);
            weight += d * (value - (double)stats[2 * i]) * (double)stats[2 * i + 1];
            bias += d;
        }
        if (dweight != NULL)
            dweight[j] = (float)((double)dweight[j] + weight);
        if (dbias != NULL)
            dbias[j] = (float)((double)dbias[j] + bias);
    }
    for (int64_t i = 0; i < a->rows; i++) {
        double mean = stats[2 * i], inverse = stats[2 * i + 1];
        double sum = 0,
               along = 0; /* of dy * weight, and of it times the normalised x */
        for (int64_t j = 0; j < a->width; j++) {
            double d = (double)get(dy, i * a->width + j, a->type) *
                       (double)get(a->weight, j, a->type);
            sum += d;
            along += d * ((double)get(x, i * a->width + j, a->type) - mean) * inverse;
        }
        sum = a->kind == KERNEL_LAYERNORM ? sum / (double)a->width : 0;
        along /= (double)a->width;
        for (int64_t j = 0; j < a->width; j++) {
            int64_t at = i * a->width + j;
            double hat = ((double)get(x, at, a->type) - mean) * inverse;
            double d =
                (double)get(dy, at, a->type) * (double)get(a->weight, j, a->type);
            double value = (d - sum - hat * along) * inverse;
            if (dsum != NULL)
                value += (double)get(dsum, at, a->type);
            put(dx, at, a->type, value);
        }
    }
}

size_t reference__norm_scratch(struct kernel_context *c,
                               const struct kernel_norm_args *a)
{
    (void)c;
    (void)a;
    return 0;
}

/* --- embeddings --- */

void reference__embed(struct kernel_context *c, const struct kernel_rows *r, void *out,
                      const void *table, const void *positions, int64_t length)
{
    (void)c;
    for (int64_t i = 0; i < r->count; i++)
        for (int64_t j = 0; j < r->width; j++) {
            double value = get(table, r->ids[i] * r->width + j, r->type);
            if (positions != NULL)
                value += (double)get(positions, i % length * r->width + j, r->type);
            put(out, i * r->width + j, r->type, value);
        }
}

void reference__embed_back(struct kernel_context *c, const struct kernel_rows *r,
                           float *dtable, float *dpositions, const void *d,
                           int64_t length)
{
    (void)c;
    for (int64_t n = 0; n < r->count; n++) {
        int64_t i = r->order[n];
        for (int64_t j = 0; j < r->width; j++)
            dtable[r->ids[i] * r->width + j] += get(d, i * r->width + j, r->type);
    }
    for (int64_t i = 0; dpositions != NULL && i < r->count; i++)
        for (int64_t j = 0; j < r->width; j++)
            dpositions[i % length * r->width + j] += get(d, i * r->width + j, r->type);
}

/* --- rotary positions --- */

/* Head h of a row: where it starts in qkv, and its weight. */
static int64_t head_at(const struct kernel_rope *r, int64_t row, int64_t h)
{
    return (row * (r->heads + 2 * r->kv_heads) + h) * r->size;
}

static const void *head_weight(const struct kernel_rope *r, int64_t h)
{
    return h < r->heads ? r->q_weight : r->k_weight;
}

static double head_inverse(const struct kernel_rope *r, const void *x, int64_t at)
{
    double squares = 0;
    for (int64_t j = 0; j < r->size; j++) {
        double value = get(x, at + j, r->type);
        squares += value * value;
    }
    return 1 / sqrt(squares / (double)r->size + (double)r->epsilon);
}

static void rope_head(const struct kernel_rope *r, void *y, const void *x, int64_t row,
                      int64_t h, double inverse)
{
    int64_t half = r->size / 2, at = head_at(r, row, h);
    const void *weight = head_weight(r, h);
    for (int64_t j = 0; j < half; j++) {
        double cosine = r->cosine[row % r->length * half + j];
        double sine = r->sine[row % r->length * half + j];
        double low = get(x, at + j, r->type), high = get(x, at + half + j, r->type);
        if (weight != NULL) {
            low *= inverse * (double)get(weight, j, r->type);
            high *= inverse * (double)get(weight, half + j, r->type);
        }
        put(y, at + j, r->type, low * cosine - high * sine);
        put(y, at + half + j, r->type, high * cosine + low * sine);
    }
}

void reference__rope(struct kernel_context *c, const struct kernel_rope *r, void *y,
                     float *stats, const void *x)
{
    int64_t rows = (int64_t)r->batch * r->length, turned = r->heads + r->kv_heads;
    (void)c;
    for (int64_t row = 0; row < rows; row++) {
        for (int64_t h = 0; h < turned; h++) {
            double inverse = 1;
            if (r->q_weight != NULL) {
                inverse = head_inverse(r, x, head_at(r, row, h));
                stats[row * turned + h] = (float)inverse;
            }
            rope_head(r, y, x, row, h, inverse);
        }
        int64_t values = head_at(r, row, turned);
        for (int64_t j = 0; j < (int64_t)r->kv_heads * r->size; j++)
            put(y, values + j, r->type, get(x, values + j, r->type));
    }
}

/* The gradient of element j of a head before the rotation. */
static double turned_back(const struct kernel_rope *r, const void *dy, int64_t row,
                          int64_t at, int64_t j)
{
    int64_t half = r->size / 2, t = row % r->length * half + j % half;
    double own = get(dy, at + j, r->type);
    double other = get(dy, at + (j + half) % r->size, r->type);
    return own * (double)r->cosine[t] +
           (j < half ? other : -other) * (double)r->sine[t];
}

/* Both elements of each pair are read before they are written: dx may be dy. */
static void rope_back_head(const struct kernel_rope *r, void *dx, const void *dy,
                           const void *x, int64_t row, int64_t h, double inverse)
{
    int64_t half = r->size / 2, at = head_at(r, row, h);
    const void *weight = head_weight(r, h);
    double along = 0;
    for (int64_t j = 0; weight != NULL && j < r->size; j++)
        along += turned_back(r, dy, row, at, j) * (double)get(weight, j, r->type) *
                 (double)get(x, at + j, r->type) * inverse;
    along /= (double)r->size;
    for (int64_t j = 0; j < half; j++) {
        double d[2] = {turned_back(r, dy, row, at, j),
                       turned_back(r, dy, row, at, half + j)};
        for (int64_t k = 0; k < 2; k++) {
            int64_t i = j + k * half;
            if (weight != NULL) {
                double hat = (double)get(x, at + i, r->type) * inverse;
                d[k] = (d[k] * (double)get(weight, i, r->type) - hat * along) * inverse;
            }
            put(dx, at + i, r->type, d[k]);
        }
    }
}

static void rope_back_weight(const struct kernel_rope *r, float *into, const void *dy,
                             const void *x, const float *stats, int64_t from,
                             int64_t to)
{
    int64_t rows = (int64_t)r->batch * r->length, turned = r->heads + r->kv_heads;
    for (int64_t j = 0; into != NULL && j < r->size; j++) {
        double sum = 0;
        for (int64_t row = 0; row < rows; row++)
            for (int64_t h = from; h < to; h++) {
                int64_t at = head_at(r, row, h);
                sum += turned_back(r, dy, row, at, j) *
                       (double)get(x, at + j, r->type) *
                       (double)stats[row * turned + h];
            }
        into[j] = (float)((double)into[j] + sum);
    }
}

void reference__rope_back(struct kernel_context *c, const struct kernel_rope *r,
                          void *dx, float *dq_weight, float *dk_weight, const void *dy,
                          const void *x, const float *stats, void *scratch)
{
    int64_t rows = (int64_t)r->batch * r->length, turned = r->heads + r->kv_heads;
    (void)c;
    (void)scratch;
    if (r->q_weight != NULL) {
        rope_back_weight(r, dq_weight, dy, x, stats, 0, r->heads);
        rope_back_weight(r, dk_weight, dy, x, stats, r->heads, turned);
    }
    for (int64_t row = 0; row < rows; row++) {
        for (int64_t h = 0; h < turned; h++)
            rope_back_head(r, dx, dy, x, row, h,
                           r->q_weight != NULL ? (double)stats[row * turned + h] : 1);
        int64_t values = head_at(r, row, turned);
        for (int64_t j = 0; j < (int64_t)r->kv_heads * r->size; j++)
            put(dx, values + j, r->type, get(dy, values + j, r->type));
    }
}

size_t reference__rope_scratch(struct kernel_context *c, const struct kernel_rope *r)
{
    (void)c;
    (void)r;
    return 0;
}
