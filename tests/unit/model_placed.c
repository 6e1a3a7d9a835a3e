/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "model_placed.h"

static uint64_t next(uint64_t *state)
{
    *state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
    return *state >> 33;
}

/* Uniform within -1 to 1. */
static float uniform(uint64_t *state)
{
    return (float)next(state) / (float)(1U << 30) - 1;
}

/* The sum of three has nearly a bell's shape; its variance is 1. */
static float normal(uint64_t *state)
{
    return uniform(state) + uniform(state) + uniform(state);
}

static float initial(const struct model_param *p, bool spread, uint64_t *state)
{
    if (spread) {
        float weight = normal(state) / sqrtf((float)p->shape[1]);
        return p->init == MODEL_ONE                   ? 1 + 0.3f * uniform(state)
               : p->dims == 1                         ? 0.1f * uniform(state)
               : p->init == MODEL_ZERO /* LoRA's B */ ? 0.2f * weight
                                                      : weight;
    }
    switch (p->init) {
    case MODEL_ONE:
        return 1;
    case MODEL_NORMAL:
        return p->std * normal(state);
    case MODEL_UNIFORM:
        return p->std * uniform(state);
    case MODEL_ZERO:
        break;
    }
    return 0;
}

static void fill(struct placed *p, bool spread, uint64_t seed)
{
    for (size_t u = 0; u < p->layout->unit_count; u++)
        p->host[u] = rwf_xcalloc((size_t)p->layout->units[u].count, sizeof(float));
    for (size_t i = 0; i < p->layout->param_count; i++) {
        const struct model_param *q = &p->layout->params[i];
        uint64_t state = seed * 1000003 + i;
        next(&state);
        for (int64_t n = 0; n < q->shape[0] * q->shape[1]; n++)
            p->host[q->unit][q->offset + n] = initial(q, spread, &state);
    }
}

static void *take(struct placed *p, size_t bytes, const char *what, struct rwf_err *err)
{
    void *to = device_alloc(p->device, bytes, what, err);
    if (to != NULL)
        p->device->k->zero(p->device->c, to, bytes);
    return to;
}

static int place_unit(struct placed *p, size_t u, struct rwf_err *err)
{
    size_t count = (size_t)p->layout->units[u].count, bytes = count * sizeof(float);
    const struct kernels *k = p->device->k;
    p->master[u] = take(p, bytes, "master weights", err);
    if (p->master[u] == NULL)
        return -1;
    k->upload(p->device->c, p->master[u], p->host[u], bytes);
    p->copy[u] = p->master[u];
    if (p->type == KERNEL_BF16) {
        p->copy[u] = take(p, bytes / 2, "weights", err);
        if (p->copy[u] == NULL)
            return -1;
        k->from_float(p->device->c, p->copy[u], p->master[u], (int64_t)count, p->type);
    }
    if (p->layout->units[u].frozen)
        return 0;
    p->grads[u] = take(p, bytes, "gradients", err);
    p->m1[u] = take(p, bytes, "first moments", err);
    p->m2[u] = take(p, bytes, "second moments", err);
    return p->grads[u] != NULL && p->m1[u] != NULL && p->m2[u] != NULL ? 0 : -1;
}

int placed_open(struct placed *p, struct device *d, struct model *m,
                enum kernel_type type, bool spread, uint64_t seed, struct rwf_err *err)
{
    *p = (struct placed){.device = d, .m = m, .layout = model_layout(m), .type = type};
    size_t units = p->layout->unit_count;
    p->host = rwf_xcalloc(units, sizeof(*p->host));
    p->master = rwf_xcalloc(units, sizeof(*p->master));
    p->copy = rwf_xcalloc(units, sizeof(*p->copy));
    p->grads = rwf_xcalloc(units, sizeof(*p->grads));
    p->m1 = rwf_xcalloc(units, sizeof(*p->m1));
    p->m2 = rwf_xcalloc(units, sizeof(*p->m2));
    fill(p, spread, seed);
    p->squares = take(p, sizeof(float), "clipping", err);
    p->scale = take(p, sizeof(float), "clipping", err);
    for (size_t u = 0; u < units; u++)
        if (p->scale == NULL || place_unit(p, u, err) != 0)
            return -1;
    return device_sync(d, err);
}

static void give(struct placed *p, void *what)
{
    if (what != NULL)
        p->device->k->free(p->device->c, what);
}

void placed_close(struct placed *p)
{
    for (size_t u = 0; u < p->layout->unit_count; u++) {
        if (p->copy[u] != p->master[u])
            give(p, p->copy[u]);
        give(p, p->master[u]);
        give(p, p->grads[u]);
        give(p, p->m1[u]);
        give(p, p->m2[u]);
        free(p->host[u]);
    }
    give(p, p->squares);
    give(p, p->scale);
    give(p, p->ids);
    give(p, p->order);
    give(p, p->targets);
    free(p->host);
    free(p->master);
    free(p->copy);
    free(p->grads);
    free(p->m1);
    free(p->m2);
}

/* --- the store --- */

static const void *weights(void *ctx, int unit)
{
    struct placed *p = ctx;
    return p->copy[unit];
}

static float *grads(void *ctx, int unit)
{
    struct placed *p = ctx;
    return p->grads[unit];
}

static void nothing(void *ctx, int unit)
{
    (void)ctx;
    (void)unit;
}

struct model_store placed_store(struct placed *p)
{
    return (struct model_store){p, weights, nothing, grads, nothing};
}

/* --- a batch --- */

/* Positions by id, then by position: counted, then placed. */
static void sort(const int32_t *ids, int32_t *order, int32_t n, int vocab)
{
    int32_t *starts = rwf_xcalloc((size_t)vocab + 1, sizeof(*starts));
    for (int32_t i = 0; i < n; i++)
        starts[ids[i] + 1]++;
    for (int id = 0; id < vocab; id++)
        starts[id + 1] += starts[id];
    for (int32_t i = 0; i < n; i++)
        order[starts[ids[i]]++] = i;
    free(starts);
}

int placed_tokens(struct placed *p, int rows, int length, int vocab,
                  struct model_batch *ret, struct rwf_err *err)
{
    int32_t n = rows * length;
    size_t bytes = (size_t)n * sizeof(int32_t);
    int32_t *ids = rwf_xmalloc(bytes), *order = rwf_xmalloc(bytes);
    int32_t *targets = rwf_xmalloc(bytes);
    uint64_t state = 77;
    int rc = -1;
    for (int32_t i = 0; i < n; i++) {
        ids[i] = (int32_t)(next(&state) % (uint64_t)vocab);
        targets[i] = (ids[i] + 1) % vocab; /* so that there is something to learn */
    }
    sort(ids, order, n, vocab);
    p->rows = rows;
    p->length = length;
    p->ids = take(p, bytes, "ids", err);
    p->order = take(p, bytes, "order", err);
    p->targets = take(p, bytes, "targets", err);
    if (p->ids != NULL && p->order != NULL && p->targets != NULL) {
        p->device->k->upload(p->device->c, p->ids, ids, bytes);
        p->device->k->upload(p->device->c, p->order, order, bytes);
        p->device->k->upload(p->device->c, p->targets, targets, bytes);
        rc = device_sync(p->device, err);
    }
    *ret = (struct model_batch){
        .rows = rows, .ids = p->ids, .order = p->order, .targets = p->targets};
    free(ids);
    free(order);
    free(targets);
    return rc;
}

/* --- steps --- */

void placed_zero(struct placed *p)
{
    for (size_t u = 0; u < p->layout->unit_count; u++)
        if (p->grads[u] != NULL)
            p->device->k->zero(p->device->c, p->grads[u],
                               (size_t)p->layout->units[u].count * sizeof(float));
}

void placed_update(struct placed *p, float rate, int64_t step)
{
    const struct kernels *k = p->device->k;
    bool more = false;
    for (size_t u = 0; u < p->layout->unit_count; u++) {
        if (p->grads[u] == NULL)
            continue;
        k->sum_squares(p->device->c, p->squares, p->grads[u], p->layout->units[u].count,
                       more);
        more = true;
    }
    k->clip(p->device->c, p->scale, p->squares, 1);
    for (size_t u = 0; u < p->layout->unit_count; u++) {
        struct kernel_update up = {
            .kind = KERNEL_ADAMW,
            .count = p->layout->units[u].count,
            .weight = p->master[u],
            .copy = p->type == KERNEL_BF16 ? p->copy[u] : NULL,
            .grad = p->grads[u],
            .m = p->m1[u],
            .v = p->m2[u],
            .scale = p->scale,
            .rate = rate,
            .beta1 = 0.9f,
            .beta2 = 0.95f,
            .epsilon = 1e-8f,
            .step = step,
        };
        if (p->grads[u] != NULL)
            k->update(p->device->c, &up);
    }
}

double placed_loss(struct placed *p)
{
    size_t n = (size_t)p->rows * (size_t)p->length;
    float *losses = rwf_xmalloc(n * sizeof(float));
    double sum = 0;
    p->device->k->download(p->device->c, losses, model_losses(p->m), n * sizeof(float));
    device_sync(p->device, NULL);
    for (size_t i = 0; i < n; i++)
        sum += (double)losses[i];
    free(losses);
    return sum / (double)n;
}

float *placed_grads(struct placed *p, int unit)
{
    size_t bytes = (size_t)p->layout->units[unit].count * sizeof(float);
    if (p->grads[unit] == NULL)
        return NULL;
    float *host = rwf_xmalloc(bytes);
    p->device->k->download(p->device->c, host, p->grads[unit], bytes);
    device_sync(p->device, NULL);
    return host;
}
