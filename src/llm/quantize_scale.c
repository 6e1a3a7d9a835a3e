/* SPDX-License-Identifier: Apache-2.0
 *
 * See quantize_scale.h. A channel's factor is the root mean square of its input to a
 * power between 0 and 1; the power is searched, on a part of the rows. Inputs are taken
 * as independent of each other, so that an error is the sum of its channels' errors.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "llm/model_inside.h"
#include "llm/quantize.h"
#include "llm/quantize_scale.h"

#define WINDOW 512 /* ids that see each other */
#define POWERS 10  /* 0, 0.1, … 0.9 */
#define ROWS 64    /* of each product that are looked at */

/* --- measuring --- */

static float value_of(const void *x, enum kernel_type type, int64_t i)
{
    uint32_t bits;
    float f;
    if (type == KERNEL_F32)
        return ((const float *)x)[i];
    bits = (uint32_t)((const uint16_t *)x)[i] << 16;
    memcpy(&f, &bits, sizeof(f));
    return f;
}

struct measuring {
    struct llm_inputs *to;
    enum kernel_type type;
    int total;
};

static void add_squares(void *ctx, int layer, bool mlp, const void *x, int64_t rows)
{
    struct measuring *m = ctx;
    int64_t n = m->to->hidden;
    float *squares = m->to->squares + (2 * (int64_t)layer + mlp) * n;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < n; j++) {
            float v = value_of(x, m->type, i * n + j);
            squares[j] += v * v / (float)m->total;
        }
}

static int run_windows(struct llm_model *m, const int32_t *ids, int count, int window,
                       struct rwf_err *err)
{
    int32_t blocks[WINDOW / KERNEL_BLOCK];
    struct llm_drawn drawn;
    for (int i = 0; i < WINDOW / KERNEL_BLOCK; i++)
        blocks[i] = i;
    for (int at = 0; at < count; at += window) {
        const struct llm_row row = {.ids = ids + at,
                                    .count = count - at < window ? count - at : window,
                                    .blocks = blocks,
                                    .logprobs = -1};
        if (llm_model_step(m, &row, 1, &drawn, err) != 0)
            return -1;
    }
    return 0;
}

static int64_t cache_bytes(const struct llm_config *c)
{
    int64_t token =
        (int64_t)2 * c->layers * c->kv_heads * c->size * (int64_t)kernel_size(c->type);
    return token * (WINDOW + KERNEL_BLOCK);
}

int llm__inputs_measure(const char *folder, const struct llm_config *c,
                        const int32_t *ids, int count, struct llm_inputs *ret,
                        struct rwf_err *err)
{
    struct device device;
    struct measuring measuring = {ret, c->type, count};
    int longest = c->context < WINDOW ? c->context : WINDOW, rc = -1;
    if (device_open(&device, "cpu", 0, (int)sysconf(_SC_NPROCESSORS_ONLN), err) != 0)
        return -1;
    const struct llm_model_options o = {.device = &device,
                                        .type = c->type,
                                        .max_tokens = longest,
                                        .max_sequences = 1,
                                        .max_length = longest,
                                        .cache_bytes = cache_bytes(c)};
    struct llm_model *m = llm_model_open(folder, c, &o, err);
    ret->hidden = c->hidden;
    ret->squares = rwf_xcalloc((size_t)(2 * c->layers * c->hidden), sizeof(float));
    if (m != NULL) {
        m->observe = add_squares;
        m->observe_ctx = &measuring;
        rc = run_windows(m, ids, count, longest, err);
    }
    llm_model_close(m);
    device_close(&device);
    return rc;
}

/* --- choosing --- */

/* Of one row with these factors: what the products' outputs are off by, squared. */
static double row_error(const float *w, const float *factors, const float *squares,
                        int64_t k, int group)
{
    float scaled[128];
    uint8_t q[128], zero;
    uint16_t half;
    double sum = 0;
    for (int64_t g = 0; g < k; g += group) {
        for (int i = 0; i < group; i++)
            scaled[i] = w[g + i] * factors[g + i];
        llm__quantize_group(scaled, group, q, &zero, &half);
        float scale = llm__from_half(half);
        for (int i = 0; i < group; i++) {
            float d = ((float)q[i] - (float)zero) * scale / factors[g + i] - w[g + i];
            sum += (double)(d * d * squares[g + i]);
        }
    }
    return sum;
}

static double products_error(const struct safetensors_entry *const *products, int count,
                             const float *factors, const float *squares, int group,
                             float *w)
{
    double sum = 0;
    for (int p = 0; p < count; p++) {
        int64_t n = products[p]->shape[0], k = products[p]->shape[1];
        int64_t step = n > ROWS ? n / ROWS : 1;
        for (int64_t row = 0; row < n; row += step) {
            int rc = safetensors_floats(products[p], row * k, k, w, NULL);
            rwf_assert(rc == 0); /* its type was checked */
            sum += row_error(w, factors, squares, k, group);
        }
    }
    return sum;
}

static float rounded(const struct safetensors_entry *norm, float f)
{
    uint32_t bits;
    if (norm->type == SAFETENSORS_F16)
        return llm__from_half(llm__to_half(f));
    if (norm->type != SAFETENSORS_BF16)
        return f;
    memcpy(&bits, &f, sizeof(bits));
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
    memcpy(&f, &bits, sizeof(f));
    return f;
}

/* Powers of the inputs, around 1, and such that the norm can be divided by them. */
static void make_factors(const struct safetensors_entry *norm, const float *weights,
                         const float *squares, int64_t k, double power, float *factors)
{
    double least = INFINITY, most = 0;
    for (int64_t i = 0; i < k; i++) {
        double f = pow(sqrt((double)squares[i]) + 1e-8, power);
        least = f < least ? f : least;
        most = f > most ? f : most;
        factors[i] = (float)f;
    }
    for (int64_t i = 0; i < k; i++) {
        float f = factors[i] / (float)sqrt(least * most);
        float divided = rounded(norm, weights[i] / f);
        factors[i] = divided != 0 && weights[i] != 0 ? weights[i] / divided : 1;
    }
}

void llm__norm_divide(const struct safetensors_entry *norm, const float *factors,
                      void *to)
{
    for (int64_t i = 0; i < norm->shape[0]; i++) {
        float f;
        int rc = safetensors_floats(norm, i, 1, &f, NULL);
        rwf_assert(rc == 0); /* its type was checked */
        f = rounded(norm, f / factors[i]);
        if (norm->type == SAFETENSORS_F16)
            ((uint16_t *)to)[i] = llm__to_half(f);
        else if (norm->type == SAFETENSORS_BF16)
            memcpy((uint16_t *)to + i, (const char *)&f + 2, 2);
        else if (norm->type == SAFETENSORS_F32)
            ((float *)to)[i] = f;
        else
            ((double *)to)[i] = (double)f;
    }
}

void llm__factors_choose(const struct safetensors_entry *norm,
                         const struct safetensors_entry *const *products, int count,
                         const float *squares, int group, float *factors)
{
    int64_t k = norm->shape[0];
    float *weights = rwf_xmalloc((size_t)k * sizeof(*weights));
    float *w = rwf_xmalloc((size_t)k * sizeof(*w));
    float *tried = rwf_xmalloc((size_t)k * sizeof(*tried));
    double best = INFINITY;
    int rc = safetensors_floats(norm, 0, k, weights, NULL);
    rwf_assert(rc == 0); /* its type was checked */
    for (int i = 0; i < POWERS; i++) {
        make_factors(norm, weights, squares, k, (double)i / POWERS, tried);
        double error = products_error(products, count, tried, squares, group, w);
        if (error < best) {
            best = error;
            memcpy(factors, tried, (size_t)k * sizeof(*factors));
        }
    }
    free(tried);
    free(w);
    free(weights);
}
