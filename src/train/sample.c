/* SPDX-License-Identifier: Apache-2.0
 *
 * Text from the trained model: each prompt is continued token by token, drawn from the
 * softmax of logits / temperature (temperature 0: the largest). All ranks compute, since
 * weights may be divided between them; rank 0 draws and prints.
 */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "text/tokenizer.h"
#include "train/loop.h"

enum { LENGTH_MAX = 1024 };

struct sampler {
    struct loop *l;
    struct tokenizer *tokenizer;
    int length; /* of the window that the model sees */
    int32_t *ids;          /* host */
    int32_t *device_ids;   /* the same, or on the device */
    void *row;             /* host: logits of the run's type */
    uint64_t random;
};

/* SplitMix64, in [0, 1). */
static double draw_uniform(struct sampler *s)
{
    uint64_t x = s->random += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (double)((x ^ (x >> 31)) >> 11) * 0x1p-53;
}

static float value_of(const void *row, int64_t i, enum kernel_type type)
{
    float v;
    if (type == KERNEL_F32)
        return ((const float *)row)[i];
    uint32_t bits = (uint32_t)((const uint16_t *)row)[i] << 16;
    memcpy(&v, &bits, sizeof(v));
    return v;
}

static int32_t choose(struct sampler *s, int64_t count)
{
    enum kernel_type type = s->l->j.type;
    double temperature = s->l->j.temperature, sum = 0;
    int64_t top = 0;
    for (int64_t i = 1; i < count; i++)
        if (value_of(s->row, i, type) > value_of(s->row, top, type))
            top = i;
    if (temperature <= 0)
        return (int32_t)top;
    double most = (double)value_of(s->row, top, type);
    for (int64_t i = 0; i < count; i++)
        sum += exp(((double)value_of(s->row, i, type) - most) / temperature);
    double left = draw_uniform(s) * sum;
    for (int64_t i = 0; i < count; i++) {
        left -= exp(((double)value_of(s->row, i, type) - most) / temperature);
        if (left < 0)
            return (int32_t)i;
    }
    return (int32_t)top;
}

/* The token after the first `count` of ids. */
static int next_token(struct sampler *s, int count, int32_t *ret, struct rwf_err *err)
{
    struct loop *l = s->l;
    struct model_batch b = { .rows = 1, .ids = s->device_ids, .length = s->length,
                             .outputs_first = count - 1, .outputs_count = 1 };
    int64_t columns, stride;
    if (s->device_ids != s->ids)
        l->d->k->upload(l->d->c, s->device_ids, s->ids,
                        (size_t)s->length * sizeof(int32_t));
    params_begin_pass(l->params, PARAMS_FORWARD);
    model_forward(l->model, &b, 0, 0);
    const void *logits = model_outputs(l->model, &columns, &stride);
    if (l->vocab > 0 && columns > l->vocab)
        columns = l->vocab;
    if (s->row == NULL)
        s->row = rwf_xmalloc((size_t)stride * kernel_size(l->j.type));
    l->d->k->download(l->d->c, s->row, logits, (size_t)columns * kernel_size(l->j.type));
    if (device_sync(l->d, err) != 0)
        return -1;
    *ret = choose(s, columns);
    l->c->ops->host_broadcast(l->c->ctx, ret, sizeof(*ret), 0);
    heartbeat_alive(l->beat);
    return 0;
}

static void print_sample(const struct sampler *s, const struct tokenizer_ids *ids)
{
    struct rwf_str text = { 0 };
    if (s->l->c->rank != 0)
        return;
    tokenizer_decode(s->tokenizer, ids->ids, ids->count, &text);
    printf("sample: %s\n", text.data != NULL ? text.data : "");
    fflush(stdout);
    rwf_str_free(&text);
}

/* The model sees the last `length` tokens; what follows them does not count. */
static int continue_prompt(struct sampler *s, const char *prompt, struct rwf_err *err)
{
    struct tokenizer_ids ids = { 0 };
    int32_t end = tokenizer_end(s->tokenizer), token = -1;
    int rc = 0;
    tokenizer_encode(s->tokenizer, prompt, strlen(prompt), &ids);
    if (ids.count == 0)
        *RWF_PUSH(ids.ids, ids.count, ids.cap) = end >= 0 ? end : 0;
    for (int64_t i = 0; i < s->l->j.sample_tokens && rc == 0; i++) {
        size_t seen = ids.count < (size_t)s->length ? ids.count : (size_t)s->length;
        memset(s->ids, 0, (size_t)s->length * sizeof(*s->ids));
        memcpy(s->ids, ids.ids + ids.count - seen, seen * sizeof(*s->ids));
        rc = next_token(s, (int)seen, &token, err);
        if (rc != 0 || token == end)
            break;
        *RWF_PUSH(ids.ids, ids.count, ids.cap) = token;
    }
    if (rc == 0)
        print_sample(s, &ids);
    free(ids.ids);
    return rc;
}

static int open_sampler(struct sampler *s, struct rwf_err *err)
{
    struct loop *l = s->l;
    struct model_run run = { .device = l->d, .type = l->j.type, .rows = 1,
                             .length = s->length };
    size_t bytes = (size_t)s->length * sizeof(int32_t);
    s->tokenizer = tokenizer_open(l->j.tokenizer, err);
    s->ids = l->d->k->alloc_host(l->d->c, bytes);
    s->device_ids = device_is_host(l->d) ? s->ids : l->d->k->alloc(l->d->c, bytes);
    if (s->tokenizer == NULL)
        return -1;
    if (s->ids == NULL || s->device_ids == NULL)
        return rwf_fail(err, RWF_E_FIT, "no memory for sampling");
    model_end(l->model);
    return model_begin(l->model, &run, params_store(l->params), err);
}

static void close_sampler(struct sampler *s)
{
    struct loop *l = s->l;
    model_end(l->model);
    if (s->device_ids != NULL && s->device_ids != s->ids)
        l->d->k->free(l->d->c, s->device_ids);
    if (s->ids != NULL)
        l->d->k->free_host(l->d->c, s->ids);
    tokenizer_close(s->tokenizer);
    free(s->row);
}

int loop__sample(struct loop *l, struct rwf_err *err)
{
    const json_t *prompt;
    size_t i;
    struct sampler s = { .l = l, .random = l->j.seed,
                         .length = l->j.length < LENGTH_MAX ? l->j.length : LENGTH_MAX };
    if (!l->tokens || l->j.tokenizer == NULL || json_array_size(l->j.prompts) == 0)
        return 0;
    int rc = open_sampler(&s, err);
    json_array_foreach (l->j.prompts, i, prompt)
        if (rc == 0 && json_is_string(prompt))
            rc = continue_prompt(&s, json_string_value(prompt), err);
    close_sampler(&s);
    return rc == 0 ? 0 : rwf_wrap(err, "sampling");
}
