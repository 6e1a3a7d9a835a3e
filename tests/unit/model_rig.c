/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "model_rig.h"

json_t *rig_json(const char *text)
{
    json_error_t error;
    char *copy = rwf_xstrdup(text);
    for (char *c = copy; *c != '\0'; c++)
        *c = *c == '\'' ? '"' : *c;
    json_t *v = json_loads(copy, 0, &error);
    ck_assert_msg(v != NULL, "%s: %s", text, error.text);
    free(copy);
    return v;
}

json_t *rig_config(const char *model, int vocab)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *m = rig_json(model);
    json_t *config = model_config(m, vocab, &err);
    ck_assert_msg(config != NULL, "%s: %s", model, err.text);
    json_decref(m);
    return config;
}

/* --- the store --- */

static const void *weights(void *ctx, int unit)
{
    struct rig *r = ctx;
    r->held++;
    if (r->asked_count < RIG_ASKED)
        r->asked[r->asked_count++] = unit;
    return r->type == KERNEL_F32 ? (const void *)r->weights[unit] : r->copies[unit];
}

static void release(void *ctx, int unit)
{
    struct rig *r = ctx;
    (void)unit;
    r->held--;
}

static float *grads(void *ctx, int unit)
{
    struct rig *r = ctx;
    return r->grads[unit];
}

static void grads_done(void *ctx, int unit)
{
    struct rig *r = ctx;
    ck_assert_int_lt(r->done_count, (int)r->layout->unit_count);
    r->done[r->done_count++] = unit;
}

static void begin(struct rig *r, const struct model_run *run)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct model_store store = {r, weights, release, grads, grads_done};
    r->run = *run;
    r->run.device = &r->device;
    r->type = run->type;
    ck_assert_msg(model_begin(r->m, &r->run, &store, &err) == 0, "%s", err.text);
}

float rig_random(struct rig *r)
{
    r->random = r->random * 6364136223846793005ULL + 1442695040888963407ULL;
    return (float)(r->random >> 40) / (float)(1 << 23) - 1;
}

static void fill_weights(struct rig *r)
{
    for (size_t u = 0; u < r->layout->unit_count; u++) {
        size_t count = (size_t)r->layout->units[u].count;
        r->weights[u] = rwf_xcalloc(count, sizeof(float));
        r->copies[u] = rwf_xcalloc(count, sizeof(uint16_t));
        if (!r->layout->units[u].frozen)
            r->grads[u] = rwf_xcalloc(count, sizeof(float));
    }
    for (size_t i = 0; i < r->layout->param_count; i++) {
        const struct model_param *p = &r->layout->params[i];
        float *to = rig_weight(r, i);
        for (int64_t n = 0; n < rig_count(r, i); n++)
            to[n] =
                p->init == MODEL_ONE ? 1 + 0.3f * rig_random(r) : 0.4f * rig_random(r);
    }
}

void rig_open(struct rig *r, const json_t *config, const struct model_run *run)
{
    struct rwf_err err = RWF_ERR_INIT;
    *r = (struct rig){.random = 12345};
    ck_assert_msg(device_open(&r->device, "cpu", 0, 1, &err) == 0, "%s", err.text);
    r->m = model_create(config, &err);
    ck_assert_msg(r->m != NULL, "%s", err.text);
    r->layout = model_layout(r->m);
    size_t units = r->layout->unit_count;
    r->weights = rwf_xcalloc(units, sizeof(*r->weights));
    r->copies = rwf_xcalloc(units, sizeof(*r->copies));
    r->grads = rwf_xcalloc(units, sizeof(*r->grads));
    r->done = rwf_xcalloc(units, sizeof(*r->done));
    fill_weights(r);
    begin(r, run);
}

void rig_again(struct rig *r, const struct model_run *run)
{
    model_end(r->m);
    begin(r, run);
}

void rig_close(struct rig *r)
{
    ck_assert_int_eq(r->held, 0);
    for (size_t u = 0; u < r->layout->unit_count; u++) {
        free(r->weights[u]);
        free(r->copies[u]);
        free(r->grads[u]);
    }
    free(r->weights);
    free(r->copies);
    free(r->grads);
    free(r->done);
    free(r->ids);
    free(r->order);
    free(r->targets);
    free(r->features);
    free(r->values);
    model_destroy(r->m);
    device_close(&r->device);
}

/* --- the batch --- */

void rig_sort(struct rig *r)
{
    int n = r->run.rows * r->run.length, count = 0;
    for (int32_t id = 0; count < n; id++)
        for (int i = 0; i < n; i++)
            if (r->ids[i] == id)
                r->order[count++] = i;
}

void rig_tokens(struct rig *r, int vocab)
{
    size_t n = (size_t)(r->run.rows * r->run.length);
    r->ids = rwf_xcalloc(n, sizeof(int32_t));
    r->order = rwf_xcalloc(n, sizeof(int32_t));
    r->targets = rwf_xcalloc(n, sizeof(int32_t));
    for (size_t i = 0; i < n; i++) {
        r->ids[i] = (int32_t)((rig_random(r) + 1) / 2 * (float)(vocab - 1));
        r->targets[i] =
            i % 7 == 3 ? -1 : (int32_t)((rig_random(r) + 1) / 2 * (float)(vocab - 1));
    }
    rig_sort(r);
    r->batch = (struct model_batch){
        .rows = r->run.rows, .ids = r->ids, .order = r->order, .targets = r->targets};
}

void rig_features(struct rig *r, int features, int outputs)
{
    size_t n = (size_t)r->run.rows;
    r->features = rwf_xcalloc(n * (size_t)features, sizeof(float));
    r->values = rwf_xcalloc(n * (size_t)outputs, sizeof(float));
    r->targets = rwf_xcalloc(n, sizeof(int32_t));
    for (size_t i = 0; i < n * (size_t)features; i++)
        r->features[i] = 2 * rig_random(r);
    for (size_t i = 0; i < n * (size_t)outputs; i++)
        r->values[i] = rig_random(r);
    for (size_t i = 0; i < n; i++)
        r->targets[i] = (int32_t)((size_t)outputs * i / n);
    r->batch = (struct model_batch){.rows = r->run.rows,
                                    .targets = r->targets,
                                    .features = r->features,
                                    .values = r->values};
}

/* --- passes --- */

static void copy_weights(struct rig *r)
{
    for (size_t u = 0; r->type == KERNEL_BF16 && u < r->layout->unit_count; u++)
        r->device.k->from_float(r->device.c, r->copies[u], r->weights[u],
                                r->layout->units[u].count, r->type);
}

double rig_loss(struct rig *r, float scale, uint64_t step)
{
    struct rwf_err err = RWF_ERR_INIT;
    double sum = 0;
    int length = r->batch.length > 0 ? r->batch.length : r->run.length;
    copy_weights(r);
    model_forward(r->m, &r->batch, scale, step);
    ck_assert_msg(device_sync(&r->device, &err) == 0, "%s", err.text);
    for (int i = 0; i < r->batch.rows * length; i++)
        sum += (double)model_losses(r->m)[i];
    return sum * (double)scale;
}

double rig_step(struct rig *r, float scale, uint64_t step)
{
    struct rwf_err err = RWF_ERR_INIT;
    for (size_t u = 0; u < r->layout->unit_count; u++)
        if (r->grads[u] != NULL)
            memset(r->grads[u], 0, (size_t)r->layout->units[u].count * sizeof(float));
    r->done_count = r->asked_count = 0;
    double loss = rig_loss(r, scale, step);
    model_backward(r->m, &r->batch);
    ck_assert_msg(device_sync(&r->device, &err) == 0, "%s", err.text);
    ck_assert_int_eq(r->held, 0);
    return loss;
}

float *rig_weight(struct rig *r, size_t param)
{
    const struct model_param *p = &r->layout->params[param];
    return r->weights[p->unit] + p->offset;
}

float *rig_grad(struct rig *r, size_t param)
{
    const struct model_param *p = &r->layout->params[param];
    return r->grads[p->unit] != NULL ? r->grads[p->unit] + p->offset : NULL;
}

int64_t rig_count(const struct rig *r, size_t param)
{
    const struct model_param *p = &r->layout->params[param];
    return p->shape[0] * p->shape[1];
}

size_t rig_find(const struct rig *r, const char *name)
{
    for (size_t i = 0; i < r->layout->param_count; i++)
        if (strcmp(r->layout->params[i].name, name) == 0)
            return i;
    ck_abort_msg("no parameter %s", name);
    return 0;
}

float rig_output(const struct rig *r, int64_t i)
{
    int64_t columns, stride;
    const void *y = model_outputs(r->m, &columns, &stride);
    int64_t at = i / columns * stride + i % columns;
    if (r->type == KERNEL_F32)
        return ((const float *)y)[at];
    uint32_t bits = (uint32_t)((const uint16_t *)y)[at] << 16;
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}
