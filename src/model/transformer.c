/* SPDX-License-Identifier: Apache-2.0
 *
 * A transformer's memory and its passes.
 *
 * All activations are one block. A training run keeps what backward reads of every
 * layer; where that does not fit, the first layers keep their input alone and share one
 * set of buffers, which the backward pass fills again (`again` of them: as few as fit).
 * Evaluation has one set.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "model/transformer.h"

#define GPU_HEAD_MAX 256

#define LOGITS_BYTES                                                                   \
    ((int64_t)1 << 31) /* of one chunk, unless the run says otherwise */

void *model__buffer(const struct transformer *t, enum buffer b, int slot)
{
    return (char *)t->buffers[b] + t->strides[b] * slot;
}

int model__slot(const struct transformer *t, int layer)
{
    return layer < t->again ? 0 : layer - t->again + (t->again > 0);
}

const void *model__weight(const struct pass *p, int64_t offset)
{
    return offset < 0
               ? NULL
               : (const char *)p->weights + offset * (int64_t)kernel_size(p->type);
}

void model__drop(const struct pass *p, void *y, const void *x, double rate, int place)
{
    const struct transformer_shape *s = &p->t->shape;
    uint64_t places = (uint64_t)(1 + 2 * s->layers);
    if (rate > 0 && p->dropout)
        p->k->dropout(p->c, y, x, p->n * s->width, (float)rate, p->t->m->run.seed,
                      p->step * places + (uint64_t)place, p->type);
}

/* --- memory --- */

static int64_t max64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Rows of logits that are computed at a time: equal parts of all. */
static int64_t chunk_rows(const struct transformer *t, const struct model_run *run)
{
    int64_t n = (int64_t)run->rows * run->length;
    int64_t most = run->logits_bytes > 0 ? run->logits_bytes : LOGITS_BYTES;
    int64_t fit = max64(most / (t->shape.table * (int64_t)kernel_size(run->type)), 1);
    int64_t chunks = (n + fit - 1) / fit;
    int64_t even = (n + chunks - 1) / chunks;
    return even > 128 && model__round(even, 128) <= fit ? model__round(even, 128)
                                                        : even;
}

static int64_t scratch_bytes(const struct transformer *t, const struct model_run *run)
{
    const struct kernels *k = run->device->k;
    struct kernel_context *c = run->device->c;
    const struct transformer_shape *s = &t->shape;
    struct kernel_norm_args norm = {.kind = s->norm,
                                    .type = run->type,
                                    .rows = (int64_t)run->rows * run->length,
                                    .width = s->width};
    struct kernel_attention attention = {.type = run->type,
                                         .batch = run->rows,
                                         .length = run->length,
                                         .heads = s->heads,
                                         .kv_heads = s->kv_heads,
                                         .size = s->head_size};
    struct kernel_rope rope = {.type = run->type,
                               .batch = run->rows,
                               .length = run->length,
                               .heads = s->heads,
                               .kv_heads = s->kv_heads,
                               .size = s->head_size};
    int64_t bytes = max64((int64_t)k->norm_scratch(c, &norm),
                          (int64_t)k->attention_scratch(c, &attention));
    return s->theta > 0 ? max64(bytes, (int64_t)k->rope_scratch(c, &rope)) : bytes;
}

static void put(struct buffer_plan *plan, enum buffer b, const char *name,
                int64_t bytes, int count)
{
    plan[b] =
        (struct buffer_plan){name, model__round(bytes, 256), bytes > 0 ? count : 0};
}

/* Widths of a token's rows. */
static int64_t query_width(const struct transformer_shape *s)
{
    return (int64_t)s->heads * s->head_size;
}

static int64_t qkv_width(const struct transformer_shape *s)
{
    return (int64_t)(s->heads + 2 * s->kv_heads) * s->head_size;
}

static void plan_layers(const struct transformer *t, const struct model_run *run,
                        int again, struct buffer_plan *plan)
{
    const struct transformer_shape *s = &t->shape;
    int64_t n = (int64_t)run->rows * run->length, e = (int64_t)kernel_size(run->type);
    int slots = s->layers - again + (again > 0);
    bool rotary = s->theta > 0, adapted = t->m->lora != NULL;
    int64_t up = s->gated ? 2 * s->inner : run->train || adapted ? s->inner : 0;
    put(plan, BUF_X1, "layers: inputs", n * s->width * e, run->train ? s->layers : 1);
    put(plan, BUF_NORM1, "layers: norm before attention", n * s->width * e, slots);
    put(plan, BUF_QKV, "layers: queries, keys, values", n * qkv_width(s) * e, slots);
    put(plan, BUF_ROTATED, "layers: the same, rotated",
        rotary ? n * qkv_width(s) * e : 0, slots);
    put(plan, BUF_ATTENTION, "layers: attention", n * query_width(s) * e, slots);
    put(plan, BUF_X2, "layers: inputs of the mlp", n * s->width * e, slots);
    put(plan, BUF_NORM2, "layers: norm before the mlp", n * s->width * e, slots);
    put(plan, BUF_UP, "layers: mlp before the activation", n * up * e, slots);
    put(plan, BUF_ACTIVATED, "layers: mlp after the activation", n * s->inner * e,
        slots);
    if (adapted)
        put(plan, BUF_MIDDLE, "layers: adapters",
            n * t->map.middle_count * t->m->lora->rank * e, slots);
    put(plan, BUF_STATS1, "layers: statistics of the first norm", n * 8, slots);
    put(plan, BUF_STATS2, "layers: statistics of the second norm", n * 8, slots);
    put(plan, BUF_HEAD_STATS, "layers: statistics of heads",
        rotary ? n * (s->heads + s->kv_heads) * 4 : 0, slots);
    put(plan, BUF_LSE, "layers: statistics of attention", n * s->heads * 4, slots);
}

static void plan_rest(const struct transformer *t, const struct model_run *run,
                      struct buffer_plan *plan)
{
    const struct transformer_shape *s = &t->shape;
    int64_t n = (int64_t)run->rows * run->length, e = (int64_t)kernel_size(run->type);
    int64_t table = s->theta > 0 ? (int64_t)run->length * s->head_size / 2 * 4 : 0;
    int train = run->train ? 1 : 0;
    put(plan, BUF_BRANCH, "output of a branch", n * s->width * e, 1);
    put(plan, BUF_FINAL, "input of the final norm", n * s->width * e, 1);
    put(plan, BUF_HIDDEN, "hidden states", n * s->width * e, 1);
    put(plan, BUF_FINAL_STATS, "statistics of the final norm", n * 8, 1);
    put(plan, BUF_LOGITS, "logits", chunk_rows(t, run) * s->table * e, 1);
    put(plan, BUF_LOSSES, "losses", n * 4, 1);
    put(plan, BUF_CORRECT, "right answers", n * 4, 1);
    put(plan, BUF_COSINE, "cosines of positions", table, 1);
    put(plan, BUF_SINE, "sines of positions", table, 1);
    put(plan, BUF_DX, "gradient of the residual stream", n * s->width * e, train);
    put(plan, BUF_DY, "gradient of a branch", n * max64(s->width, query_width(s)) * e,
        train);
    put(plan, BUF_DACTIVATED, "gradient of the activation", n * s->inner * e, train);
    put(plan, BUF_DWIDE, "gradient of queries, keys, values and gates",
        n * max64(qkv_width(s), s->gated ? 2 * s->inner : 0) * e, train);
    if (t->m->lora != NULL)
        put(plan, BUF_DMIDDLE, "gradient of an adapter", n * t->m->lora->rank * e,
            train);
    put(plan, BUF_SCRATCH, "scratch", scratch_bytes(t, run), train);
}

static size_t plan_rows(const struct transformer *t, const struct model_run *run,
                        int again, struct block_row *rows, void **to, int64_t *strides)
{
    struct buffer_plan plan[BUF_COUNT] = {{0}};
    size_t count = 0;
    plan_layers(t, run, again, plan);
    plan_rest(t, run, plan);
    for (int b = 0; b < BUF_COUNT; b++) {
        if (strides != NULL)
            strides[b] = plan[b].count > 1 ? plan[b].stride : 0;
        if (plan[b].count > 0)
            rows[count++] = (struct block_row){
                plan[b].name, (size_t)(plan[b].stride * plan[b].count), &to[b]};
    }
    return count;
}

/* How many layers are computed again: as the run says, or as few as fit. */
static int choose_again(const struct transformer *t, const struct model_run *run)
{
    struct block_row rows[BUF_COUNT];
    void *to[BUF_COUNT];
    struct kernel_info info = {.free = 0};
    int layers = t->shape.layers;
    if (!run->train)
        return layers;
    if (run->recompute > 0)
        return run->recompute < layers ? run->recompute : layers;
    run->device->k->info(run->device->c, &info);
    size_t most = info.free - info.free / 32;
    for (int again = 0; again < layers; again++) {
        size_t bytes = block_size(rows, plan_rows(t, run, again, rows, to, NULL));
        if (info.free == 0 || bytes <= most) {
            if (again > 0)
                rwf_log(RWF_LOG_INFO, "model",
                        "activations of %d of %d layers are computed twice to fit",
                        again, layers);
            return again;
        }
    }
    return layers;
}

static int64_t activation_bytes(struct model *m, const struct model_run *run,
                                json_t **ret)
{
    const struct transformer *t = m->own;
    struct block_row rows[BUF_COUNT];
    void *to[BUF_COUNT];
    size_t count = plan_rows(t, run, choose_again(t, run), rows, to, NULL);
    if (ret != NULL) {
        *ret = json_array();
        for (size_t i = 0; i < count; i++)
            json_array_append_new(*ret, json_pack("{s:s, s:I}", "name", rows[i].name,
                                                  "bytes", (json_int_t)rows[i].bytes));
    }
    return (int64_t)block_size(rows, count);
}

/* --- begin and end --- */

static int check_run(const struct transformer *t, const struct model_run *run,
                     struct rwf_err *err)
{
    const struct transformer_shape *s = &t->shape;
    if (run->length > s->context)
        return rwf_fail(
            err, RWF_E_RECIPE,
            "sequence_length is %d, but the model has %d positions: lower it, "
            "or make the model with a larger context",
            run->length, s->context);
    if (strcmp(run->device->k->name, "cuda") == 0 && s->head_size > GPU_HEAD_MAX)
        return rwf_fail(
            err, RWF_E_RECIPE,
            "head_dim is %d: attention on a GPU goes up to %d; choose heads or head_dim "
            "accordingly, or device: cpu",
            s->head_size, GPU_HEAD_MAX);
    return 0;
}

/* Angles as Hugging Face computes them: float, position times frequency. */
static int fill_rotary(struct transformer *t, const struct model_run *run,
                       struct rwf_err *err)
{
    int half = t->shape.head_size / 2;
    size_t bytes = (size_t)run->length * (size_t)half * sizeof(float);
    float *cosine = rwf_alloc(bytes, err), *sine = rwf_alloc(bytes, err);
    int rc = -1;
    if (cosine == NULL || sine == NULL)
        goto out;
    for (int j = 0; j < half; j++) {
        float frequency =
            (float)(1.0 /
                    (double)(float)pow(t->shape.theta, 2.0 * j / t->shape.head_size));
        for (int i = 0; i < run->length; i++) {
            float angle = (float)i * frequency;
            cosine[i * half + j] = (float)cos(angle);
            sine[i * half + j] = (float)sin(angle);
        }
    }
    run->device->k->upload(run->device->c, t->buffers[BUF_COSINE], cosine, bytes);
    run->device->k->upload(run->device->c, t->buffers[BUF_SINE], sine, bytes);
    rc = device_sync(run->device, err);
out:
    free(cosine);
    free(sine);
    return rc;
}

static void end(struct model *m)
{
    struct transformer *t = m->own;
    free(t->pass);
    t->pass = NULL;
    if (t->block != NULL)
        m->run.device->k->free(m->run.device->c, t->block);
    t->block = NULL;
}

static int begin(struct model *m, struct rwf_err *err)
{
    struct transformer *t = m->own;
    struct block_row rows[BUF_COUNT];
    if (check_run(t, &m->run, err) != 0)
        return -1;
    t->again = choose_again(t, &m->run);
    t->chunk = chunk_rows(t, &m->run);
    memset(t->buffers, 0, sizeof(t->buffers));
    size_t count = plan_rows(t, &m->run, t->again, rows, t->buffers, t->strides);
    t->block = block_carve(m->run.device, rows, count,
                           "micro_batch_size or sequence_length", err);
    if (t->block == NULL)
        return -1;
    t->pass = rwf_xcalloc(1, sizeof(*t->pass));
    if (t->shape.theta > 0 && fill_rotary(t, &m->run, err) != 0) {
        end(m);
        return -1;
    }
    return 0;
}

/* --- the passes ---
 *
 * A rank without rows asks the store for the same units in the same order as the
 * others: the store may gather them from all ranks.
 */

static const void *weights_of(struct pass *p, int unit)
{
    const struct model_store *s = &p->t->m->store;
    return s->weights(s->ctx, unit);
}

static void release(struct pass *p, int unit)
{
    const struct model_store *s = &p->t->m->store;
    s->release(s->ctx, unit);
}

static float *grads_of(struct pass *p, int unit)
{
    const struct model_store *s = &p->t->m->store;
    return p->t->m->layout.units[unit].frozen ? NULL : s->grads(s->ctx, unit);
}

static void grads_done(struct pass *p, int unit)
{
    const struct model_store *s = &p->t->m->store;
    if (!p->t->m->layout.units[unit].frozen)
        s->grads_done(s->ctx, unit);
}

static void open_layer(struct pass *p, int layer, bool backward)
{
    const struct transformer_map *map = &p->t->map;
    int unit = map->first_unit + layer * map->unit_step;
    bool adapter = map->unit_step == 2;
    p->layer = layer;
    p->slot = model__slot(p->t, layer);
    p->weights = weights_of(p, unit);
    p->adapter = adapter ? weights_of(p, unit + 1) : NULL;
    p->grads = backward ? grads_of(p, unit) : NULL;
    p->adapter_grads = backward && adapter ? grads_of(p, unit + 1) : NULL;
}

static void close_layer(struct pass *p, bool backward)
{
    const struct transformer_map *map = &p->t->map;
    int unit = map->first_unit + p->layer * map->unit_step;
    for (int i = map->unit_step; i-- > 0;) {
        release(p, unit + i);
        if (backward)
            grads_done(p, unit + i);
    }
}

static struct kernel_rows embedding_rows(const struct pass *p,
                                         const struct model_batch *b)
{
    return (struct kernel_rows){.type = p->type,
                                .count = p->n,
                                .width = p->t->shape.width,
                                .table = p->t->shape.vocab,
                                .ids = b->ids,
                                .order = b->order};
}

static void embed(struct pass *p, const struct model_batch *b)
{
    struct transformer *t = p->t;
    struct kernel_rows r = embedding_rows(p, b);
    void *x = model__buffer(t, BUF_X1, 0);
    p->weights = weights_of(p, t->map.embedding_unit);
    if (p->n > 0) {
        p->k->embed(p->c, &r, x, model__weight(p, t->map.table),
                    model__weight(p, t->map.positions), p->length);
        model__drop(p, x, x, t->shape.embedding_dropout, 0);
    }
    release(p, t->map.embedding_unit);
}

static void embed_back(struct pass *p, const struct model_batch *b)
{
    const struct transformer_map *map = &p->t->map;
    struct kernel_rows r = embedding_rows(p, b);
    void *d = model__buffer(p->t, BUF_DX, 0);
    float *grads = grads_of(p, map->embedding_unit);
    if (grads == NULL || p->n == 0)
        return;
    model__drop(p, d, d, p->t->shape.embedding_dropout, 0);
    p->k->embed_back(p->c, &r, grads + map->table,
                     map->positions >= 0 ? grads + map->positions : NULL, d, p->length);
}

static void start(struct pass *p, struct model *m, const struct model_batch *b,
                  float scale, uint64_t step)
{
    int length = b->length > 0 ? b->length : m->run.length;
    rwf_assert(b->rows <= m->run.rows && length <= m->run.length);
    rwf_assert(scale == 0 || m->run.train);
    *p = (struct pass){.t = m->own,
                       .k = m->run.device->k,
                       .c = m->run.device->c,
                       .type = m->run.type,
                       .rows = b->rows,
                       .length = length,
                       .n = (int64_t)b->rows * length,
                       .dropout = scale > 0,
                       .step = step};
}

static void forward(struct model *m, const struct model_batch *b, float scale,
                    uint64_t step)
{
    struct transformer *t = m->own;
    struct pass *p = t->pass;
    start(p, m, b, scale, step);
    embed(p, b);
    for (int layer = 0; layer < t->shape.layers; layer++) {
        open_layer(p, layer, false);
        if (p->n > 0)
            model__layer_forward(p);
        close_layer(p, false);
    }
    const void *head = weights_of(p, t->map.head_unit);
    if (p->n > 0)
        model__final_norm(p, head);
    release(p, t->map.head_unit);
    model__head(p, b, scale);
}

static void layer_backward(struct pass *p, int layer)
{
    open_layer(p, layer, true);
    if (layer < p->t->again && p->n > 0) {
        p->again = true;
        model__layer_forward(p);
        p->again = false;
    }
    if (p->n > 0)
        model__layer_backward(p);
    close_layer(p, true);
}

static void head_backward(struct pass *p)
{
    int unit = p->t->map.head_unit;
    const void *weights = weights_of(p, unit);
    float *grads = grads_of(p, unit);
    if (p->n > 0)
        model__final_norm_back(p, weights, grads);
    release(p, unit);
    grads_done(p, unit);
}

static void backward(struct model *m, const struct model_batch *b)
{
    struct transformer *t = m->own;
    struct pass *p = t->pass;
    rwf_assert(p->dropout); /* the forward pass had a scale */
    head_backward(p);
    for (int layer = t->shape.layers; layer-- > 0;)
        layer_backward(p, layer);
    embed_back(p, b);
    grads_done(p, t->map.embedding_unit);
}

/* --- results --- */

static const float *losses(const struct model *m)
{
    return model__buffer(m->own, BUF_LOSSES, 0);
}

static const float *correct(const struct model *m)
{
    return model__buffer(m->own, BUF_CORRECT, 0);
}

static const void *outputs(const struct model *m, int64_t *ret_columns,
                           int64_t *ret_stride)
{
    const struct transformer *t = m->own;
    *ret_columns = t->shape.vocab;
    *ret_stride = t->shape.table;
    return model__buffer(t, BUF_LOGITS, 0);
}

/* 6 per trained parameter (forward, both gradients), 4 per frozen one; the position
 * table and an untied embedding are looked up, not multiplied. */
static double flops(const struct model *m, int length)
{
    const struct transformer *t = m->own;
    const struct transformer_shape *s = &t->shape;
    double frozen = (double)(m->layout.parameters - m->layout.trainable);
    double trained = (double)m->layout.trainable;
    double looked_up = (s->theta > 0 ? 0.0 : (double)s->context * (double)s->width) +
                       (s->tied ? 0.0 : (double)s->vocab * (double)s->width);
    *(m->lora != NULL ? &frozen : &trained) -= looked_up;
    double per_token =
        6 * trained + 4 * frozen + 12.0 * s->layers * (double)query_width(s) * length;
    return per_token * length;
}

static const char *alias(const struct model *m, size_t i)
{
    const struct transformer *t = m->own;
    return t->aliases[i];
}

static void destroy(void *own)
{
    struct transformer *t = own;
    free(t->aliases);
    free(t);
}

const struct model_ops model__transformer_ops = {
    .destroy = destroy,
    .begin = begin,
    .end = end,
    .activation_bytes = activation_bytes,
    .flops = flops,
    .forward = forward,
    .backward = backward,
    .losses = losses,
    .correct = correct,
    .outputs = outputs,
    .alias = alias,
};
