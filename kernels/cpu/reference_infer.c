/* SPDX-License-Identifier: Apache-2.0
 *
 * Reference: rotary positions into a paged cache, attention over it, edits of logits.
 */
#include "kernels/cpu/reference.h"
#include <math.h>

static int64_t place(const struct kernel_paged *a, int64_t slot, int64_t head)
{
    int64_t block = slot / KERNEL_BLOCK, at = slot % KERNEL_BLOCK;
    return ((block * a->kv_heads + head) * KERNEL_BLOCK + at) * a->size;
}

/* --- rotary positions --- */

/* One head of x from element `from` to y from element `to`. weight NULL: not normed. */
static void turn_head(const struct kernel_rope *r, const void *weight, int64_t position,
                      void *y, int64_t to, const void *x, int64_t from)
{
    int64_t half = r->size / 2;
    double squares = 0;
    for (int64_t j = 0; j < r->size; j++)
        squares += pow((double)get(x, from + j, r->type), 2);
    double inverse = 1 / sqrt(squares / (double)r->size + (double)r->epsilon);
    for (int64_t j = 0; j < half; j++) {
        double cosine = r->cosine[position * half + j];
        double sine = r->sine[position * half + j];
        double low = get(x, from + j, r->type), high = get(x, from + half + j, r->type);
        if (weight != NULL) {
            low *= inverse * (double)get(weight, j, r->type);
            high *= inverse * (double)get(weight, half + j, r->type);
        }
        put(y, to + j, r->type, low * cosine - high * sine);
        put(y, to + half + j, r->type, high * cosine + low * sine);
    }
}

void reference__rope_paged(struct kernel_context *c, const struct kernel_rope *r,
                           const struct kernel_paged *a, void *q, const void *qkv)
{
    const struct kernel_sequences *s = a->sequences;
    int64_t width = (int64_t)(a->heads + 2 * a->kv_heads) * a->size;
    (void)c;
    for (int64_t row = 0; row < s->tokens; row++) {
        int64_t x = row * width, keys = x + (int64_t)a->heads * a->size;
        int64_t position = s->positions[row], slot = s->slots[row];
        for (int64_t h = 0; h < a->heads; h++)
            turn_head(r, r->q_weight, position, q, (row * a->heads + h) * a->size, qkv,
                      x + h * a->size);
        for (int64_t h = 0; slot >= 0 && h < a->kv_heads; h++) {
            int64_t to = place(a, slot, h), key = keys + h * a->size;
            int64_t value = key + (int64_t)a->kv_heads * a->size;
            turn_head(r, r->k_weight, position, a->keys, to, qkv, key);
            for (int64_t j = 0; j < a->size; j++)
                put(a->values, to + j, a->type, get(qkv, value + j, a->type));
        }
    }
}

/* --- attention --- */

/* The query from element `at` of q, which is one of head h, sees `seen` keys. scores:
 * room for as many. */
static void attend(const struct kernel_paged *a, const int32_t *blocks, int64_t seen,
                   int64_t h, void *out, const void *q, int64_t at, double *scores)
{
    int64_t kv = h / (a->heads / a->kv_heads);
    double most = -INFINITY, total = 0;
    for (int64_t t = 0; t < seen; t++) {
        int64_t slot = (int64_t)blocks[t / KERNEL_BLOCK] * KERNEL_BLOCK;
        int64_t key = place(a, slot + t % KERNEL_BLOCK, kv);
        double sum = 0;
        for (int64_t j = 0; j < a->size; j++)
            sum += (double)get(q, at + j, a->type) *
                   (double)get(a->keys, key + j, a->type);
        scores[t] = (double)a->scale * sum;
        most = fmax(most, scores[t]);
    }
    for (int64_t t = 0; t < seen; t++)
        total += exp(scores[t] - most);
    for (int64_t j = 0; j < a->size; j++) {
        double sum = 0;
        for (int64_t t = 0; t < seen; t++) {
            int64_t slot = (int64_t)blocks[t / KERNEL_BLOCK] * KERNEL_BLOCK;
            int64_t value = place(a, slot + t % KERNEL_BLOCK, kv);
            sum += exp(scores[t] - most) * (double)get(a->values, value + j, a->type);
        }
        put(out, at + j, a->type, seen > 0 ? sum / total : 0);
    }
}

void reference__paged_attention(struct kernel_context *c, const struct kernel_paged *a,
                                void *out, const void *q, void *scratch)
{
    const struct kernel_sequences *s = a->sequences;
    (void)c;
    for (int64_t i = 0; i < s->count; i++)
        for (int64_t row = s->first[i]; row < s->first[i + 1]; row++) {
            int64_t seen = s->context[i] - (s->first[i + 1] - 1 - row);
            if (s->context[i] == 0)
                seen = 0;
            for (int64_t h = 0; h < a->heads; h++)
                attend(a, s->blocks + i * s->stride, seen, h, out, q,
                       (row * a->heads + h) * a->size, scratch);
        }
}

size_t reference__paged_scratch(struct kernel_context *c, const struct kernel_paged *a)
{
    (void)c;
    return (size_t)a->sequences->longest * sizeof(double);
}

/* --- edits --- */

void reference__edit(struct kernel_context *c, float *logits, int64_t stride,
                     const struct kernel_edit *edits, int64_t count)
{
    (void)c;
    for (int64_t i = 0; i < count; i++) {
        float *x = &logits[edits[i].row * stride + edits[i].id];
        float repeated = *x > 0 ? *x / edits[i].repeat : *x * edits[i].repeat;
        *x = (float)((double)repeated + (double)edits[i].add);
    }
}
