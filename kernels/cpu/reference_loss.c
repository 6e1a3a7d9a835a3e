/* SPDX-License-Identifier: Apache-2.0
 *
 * Reference: losses and the optimizer.
 */
#include "kernels/cpu/reference.h"
#include <math.h>

/* The largest logit's place, the first of equals; -1 when one is NaN. */
static int64_t largest(const struct kernel_loss *l, const void *logits, int64_t row)
{
    int64_t best = 0;
    for (int64_t j = 0; j < l->classes; j++) {
        double value = get(logits, row * l->stride + j, l->type);
        if (isnan(value))
            return -1;
        if (value > (double)get(logits, row * l->stride + best, l->type))
            best = j;
    }
    return best;
}

static double log_sum(const struct kernel_loss *l, const void *logits, int64_t row,
                      int64_t best)
{
    double sum = 0;
    if (best < 0)
        return NAN;
    double most = get(logits, row * l->stride + best, l->type);
    for (int64_t j = 0; j < l->classes; j++)
        sum += exp((double)get(logits, row * l->stride + j, l->type) - most);
    return most + log(sum);
}

static void loss_gradient(const struct kernel_loss *l, void *logits, int64_t row,
                          double log_total, double weight)
{
    for (int64_t j = 0; j < l->stride; j++) {
        double value = 0;
        if (j < l->classes && l->targets[row] >= 0) {
            value = exp((double)get(logits, row * l->stride + j, l->type) - log_total);
            value = (value - (j == l->targets[row])) * weight * (double)l->scale;
        }
        put(logits, row * l->stride + j, l->type, value);
    }
}

void reference__cross_entropy(struct kernel_context *c, const struct kernel_loss *l,
                              float *losses, float *correct, void *logits)
{
    (void)c;
    for (int64_t i = 0; i < l->rows; i++) {
        int32_t target = l->targets[i];
        int64_t best = largest(l, logits, i);
        double log_total = log_sum(l, logits, i, best), weight = 0, loss = 0;
        if (target >= 0) {
            weight = l->class_weights != NULL ? (double)l->class_weights[target] : 1;
            loss = weight *
                   (log_total - (double)get(logits, i * l->stride + target, l->type));
        }
        losses[i] = (float)loss;
        if (correct != NULL)
            correct[i] = target >= 0 && best == target && !isnan(loss) ? 1 : 0;
        if (l->gradient)
            loss_gradient(l, logits, i, log_total, weight);
    }
}

void reference__squared_error(struct kernel_context *c, float *losses, void *y,
                              const float *target, int64_t rows, int64_t width,
                              float scale, bool gradient, enum kernel_type type)
{
    (void)c;
    for (int64_t i = 0; i < rows; i++) {
        double sum = 0;
        for (int64_t j = 0; j < width; j++) {
            double d =
                (double)get(y, i * width + j, type) - (double)target[i * width + j];
            sum += d * d;
            if (gradient)
                put(y, i * width + j, type, 2 * d * (double)scale);
        }
        losses[i] = (float)sum;
    }
}

/* --- the optimizer --- */

static double adamw(const struct kernel_update *u, int64_t i, double g)
{
    double beta1 = u->beta1, beta2 = u->beta2;
    u->m[i] = (float)(beta1 * (double)u->m[i] + (1 - beta1) * g);
    u->v[i] = (float)(beta2 * (double)u->v[i] + (1 - beta2) * g * g);
    double m = (double)u->m[i] / (1 - pow(beta1, (double)u->step));
    double v = (double)u->v[i] / (1 - pow(beta2, (double)u->step));
    return m / (sqrt(v) + (double)u->epsilon);
}

static double lion(const struct kernel_update *u, int64_t i, double g)
{
    double beta1 = u->beta1, beta2 = u->beta2, m = u->m[i];
    double mixed = beta1 * m + (1 - beta1) * g;
    u->m[i] = (float)(beta2 * m + (1 - beta2) * g);
    return isnan(mixed) ? mixed : (mixed > 0) - (mixed < 0);
}

static double sgd(const struct kernel_update *u, int64_t i, double g)
{
    if (u->m == NULL)
        return g;
    u->m[i] = (float)((double)u->beta1 * (double)u->m[i] + g);
    return u->m[i];
}

void reference__update(struct kernel_context *c, const struct kernel_update *u)
{
    double scale = u->scale != NULL ? (double)*u->scale : 1;
    (void)c;
    for (int64_t i = 0; i < u->count; i++) {
        double g = (double)u->grad[i] * scale;
        double step = u->kind == KERNEL_ADAMW  ? adamw(u, i, g)
                      : u->kind == KERNEL_LION ? lion(u, i, g)
                                               : sgd(u, i, g);
        double kept = (double)u->weight[i] * (1 - (double)u->rate * (double)u->decay);
        u->weight[i] = (float)(kept - (double)u->rate * step);
        if (u->copy != NULL)
            ((uint16_t *)u->copy)[i] = bf16_from_float((float)u->weight[i]);
    }
}

void reference__sum_squares(struct kernel_context *c, float *into, const float *x,
                            int64_t n, bool accumulate)
{
    double sum = accumulate ? (double)*into : 0;
    (void)c;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i] * (double)x[i];
    *into = (float)sum;
}

void reference__sum(struct kernel_context *c, float *into, const float *x, int64_t n)
{
    double sum = 0;
    (void)c;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i];
    *into = (float)sum;
}

void reference__clip(struct kernel_context *c, float *scale, const float *squares,
                     float most)
{
    double length = sqrt((double)*squares);
    (void)c;
    *scale = most == 0 || length <= (double)most ? 1 : (float)((double)most / length);
}
