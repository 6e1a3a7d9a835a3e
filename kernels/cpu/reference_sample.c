/* SPDX-License-Identifier: Apache-2.0
 *
 * Reference: drawing a token, by sorting all that are allowed.
 */
#include "kernels/cpu/reference.h"
#include "kernels/cpu/sample.h"
#include <stdlib.h>

int sample_order(const void *x, const void *y)
{
    const struct sample_token *a = x, *b = y;
    if (a->logit != b->logit)
        return a->logit > b->logit ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}

/* The tokens that may be drawn, the largest first; -1: a logit is not a number. */
static int64_t collect(const struct kernel_sample *s, int64_t row,
                       struct sample_token *tokens)
{
    const float *logits = s->logits + row * s->stride;
    const uint32_t *mask = sample_mask(s, row);
    int64_t n = 0;
    for (int64_t i = 0; i < s->vocab; i++) {
        if (isnan(logits[i]) || logits[i] == INFINITY)
            return -1;
        if (logits[i] != -INFINITY && sample_allowed(mask, i))
            tokens[n++] = (struct sample_token){logits[i], (int32_t)i};
    }
    qsort(tokens, (size_t)n, sizeof(*tokens), sample_order);
    return n;
}

int64_t sample_keep(const struct kernel_sample *s, int64_t row,
                    const struct sample_token *t, int64_t n)
{
    const float temperature = s->temperature[row];
    double least = log((double)s->min_p[row]); /* of 0: all are above it */
    while (n > 1 && sample_log(t[n - 1].logit, t[0].logit, temperature) < least)
        n--;
    if (s->top_p[row] >= 1)
        return n;
    uint64_t all = 0, sum = 0;
    for (int64_t i = 0; i < n; i++)
        all += sample_weight(sample_log(t[i].logit, t[0].logit, temperature));
    for (int64_t i = 0; i < n; i++) {
        sum += sample_weight(sample_log(t[i].logit, t[0].logit, temperature));
        if ((double)sum >= (double)s->top_p[row] * (double)all)
            return i + 1;
    }
    return n;
}

int32_t sample_draw(const struct kernel_sample *s, int64_t row,
                    const struct sample_token *t, int64_t n, float most)
{
    int32_t best = -1;
    double largest = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        uint32_t word = sample_word(s->seed[row], s->step[row], t[i].id);
        double log_p = sample_log(t[i].logit, most, s->temperature[row]);
        double key = sample_key(log_p, word);
        if (best < 0 || key > largest || (key == largest && t[i].id < best)) {
            best = t[i].id;
            largest = key;
        }
    }
    return best;
}

static int32_t sample_row(const struct kernel_sample *s, int64_t row,
                          struct sample_token *t)
{
    int64_t n = collect(s, row, t);
    if (n <= 0)
        return -1;
    if (s->temperature[row] == 0)
        return t[0].id;
    if (s->top_k[row] > 0 && s->top_k[row] < n)
        n = s->top_k[row];
    return sample_draw(s, row, t, sample_keep(s, row, t, n), t[0].logit);
}

void reference__sample(struct kernel_context *c, const struct kernel_sample *s,
                       void *scratch)
{
    (void)c;
    for (int64_t row = 0; row < s->rows; row++)
        s->ids[row] = sample_row(s, row, scratch);
}

size_t reference__sample_scratch(struct kernel_context *c, int rows, int64_t vocab)
{
    (void)c;
    (void)rows;
    return (size_t)vocab * sizeof(struct sample_token);
}
