/* SPDX-License-Identifier: Apache-2.0
 *
 * Log-probabilities from logits on the host, for the few rows that want them.
 */
#include "config.h"

#include <math.h>

#include "llm/model_inside.h"

/* log of the sum of exp(logits). */
static double log_sum(const float *logits, int64_t vocab)
{
    float most = -INFINITY;
    double sum = 0;
    for (int64_t i = 0; i < vocab; i++)
        most = logits[i] > most ? logits[i] : most;
    if (most == -INFINITY)
        return -INFINITY;
    for (int64_t i = 0; i < vocab; i++)
        sum += (double)expf(logits[i] - most);
    return (double)most + log(sum);
}

/* Keeps the largest, the first of equals first. */
static void insert(struct llm_logprob *best, int *count, int most, int32_t id,
                   float value)
{
    int at = *count < most ? (*count)++ : most - 1;
    while (at > 0 && best[at - 1].logprob < value) {
        best[at] = best[at - 1];
        at--;
    }
    best[at] = (struct llm_logprob){id, value};
}

void llm__logprobs(const float *logits, int64_t vocab, int32_t id, int most,
                   struct llm_logprob *ret)
{
    double sum = log_sum(logits, vocab);
    struct llm_logprob *best = ret + 1;
    int count = 0;
    for (int64_t i = 0; i < vocab && most > 0; i++)
        if (count < most || logits[i] > best[most - 1].logprob)
            insert(best, &count, most, (int32_t)i, logits[i]);
    for (int i = 0; i < count; i++)
        best[i].logprob = (float)((double)best[i].logprob - sum);
    for (int i = count; i < most; i++)
        best[i] = (struct llm_logprob){-1, -INFINITY};
    ret[0] = (struct llm_logprob){id, -INFINITY};
    if (id >= 0 && id < vocab)
        ret[0].logprob = (float)((double)logits[id] - sum);
}
