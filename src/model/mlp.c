/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of features through linear maps with an activation and dropout between them; the
 * last map's output is classes (softmax, cross-entropy) or values (squared error).
 *
 *   {"model_type":"mlp","features":F,"hidden":[…],"outputs":N,"activation","dropout","task",
 *    "class_weights":[…]?}
 *
 * Parameters are layers.N.weight [out, in] and layers.N.bias, one unit per layer,
 * initially uniform within 1/sqrt(in).
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_read.h"
#include "base/mem.h"
#include "base/suggest.h"
#include "model/inside.h"

#define LAYERS_MAX 1000

static const char *const activations[] = {"relu", "gelu", "silu", "tanh", "sigmoid"};
static const enum kernel_activation activation_of[] = {
    KERNEL_RELU, KERNEL_GELU, KERNEL_SILU, KERNEL_TANH, KERNEL_SIGMOID};
static const char *const tasks[] = {"classification", "regression"};

struct mlp_layer {
    struct linear map;
    void *before; /* the activation; NULL: not kept, as relu's slope shows behind it,
                     too */
    void *after;
};

struct mlp {
    int64_t features, outputs;
    int layers;
    struct mlp_layer *layer;
    bool regression;
    enum kernel_activation act;
    double dropout;
    float *class_weights; /* host, [outputs], or NULL */

    /* between begin and end */
    void *block, *input, *losses, *correct, *weights, *gradient[2];
    int rows; /* of the last forward */
    bool drop;
    uint64_t step;
    const void *x; /* what the first map got */
};

/* --- from the config --- */

static size_t read_choice(struct rwf_reader *r, const char *key, const char *fallback,
                          const char *const *names, size_t count)
{
    const char *name = rwf_read_text(r, key, fallback);
    for (size_t i = 0; i < count; i++)
        if (strcmp(name, names[i]) == 0)
            return i;
    char *choices = rwf_suggest_choices(name, names, count);
    rwf_read_fail(r, "'%s' is '%s'; %s", key, name, choices);
    free(choices);
    return 0;
}

static void read_class_weights(struct rwf_reader *r, struct mlp *p)
{
    const json_t *list = json_object_get(r->object, "class_weights");
    if (list == NULL || json_is_null(list))
        return;
    if (!json_is_array(list) || (int64_t)json_array_size(list) != p->outputs ||
        p->regression) {
        rwf_read_fail(r,
                      "'class_weights' is not a list of one number for each of %lld "
                      "classes",
                      (long long)p->outputs);
        return;
    }
    p->class_weights = rwf_xcalloc((size_t)p->outputs, sizeof(float));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);
        p->class_weights[i] = (float)json_number_value(v);
        if (!json_is_number(v) || !(p->class_weights[i] >= 0))
            rwf_read_fail(r, "'class_weights' has something that is no weight");
    }
}

static void read_config(struct rwf_reader *r, struct mlp *p)
{
    static const char *const keys[] = {"model_type", "architectures", "features",
                                       "hidden",     "outputs",       "activation",
                                       "dropout",    "task",          "class_weights"};
    rwf_read_known(r, keys, RWF_COUNT(keys));
    p->features = rwf_read_int(r, "features", RWF_READ_REQUIRED, 1, 1 << 24);
    p->outputs = rwf_read_int(r, "outputs", RWF_READ_REQUIRED, 1, 1 << 24);
    p->act = activation_of[read_choice(r, "activation", "relu", activations,
                                       RWF_COUNT(activations))];
    p->dropout = rwf_read_number(r, "dropout", 0, 0, 0.99);
    p->regression = read_choice(r, "task", "classification", tasks, 2) == 1;
    read_class_weights(r, p);
}

static void read_hidden(struct rwf_reader *r, struct mlp *p, const json_t *hidden)
{
    if (hidden != NULL && !json_is_array(hidden))
        rwf_read_fail(r, "'hidden' is not a list of sizes");
    size_t count = json_array_size(hidden);
    if (count >= LAYERS_MAX)
        rwf_read_fail(r, "'hidden' has %zu layers; at most %d", count, LAYERS_MAX - 1);
    for (size_t i = 0; i < count; i++) {
        const json_t *v = json_array_get(hidden, i);
        if (!json_is_integer(v) || json_integer_value(v) < 1 ||
            json_integer_value(v) > 1 << 24)
            rwf_read_fail(r, "'hidden' has a size that is not 1 to %d", 1 << 24);
    }
    p->layers = (int)count + 1;
}

/* Regressions have exactly their columns; classes are padded for aligned rows. */
static void add_layer(struct model *m, struct layout *l, int i, int64_t in, int64_t out)
{
    struct mlp *p = m->own;
    struct linear *map = &p->layer[i].map;
    float std = (float)(1 / sqrt((double)in));
    const char *stem = rwf_arena_printf(m->arena, "layers.%d", i);
    struct layout_param weight = {.name = rwf_arena_printf(m->arena, "%s.weight", stem),
                                  .dims = 2,
                                  .shape = {out, in},
                                  .init = MODEL_UNIFORM,
                                  .std = std};
    struct layout_param bias = {.name = rwf_arena_printf(m->arena, "%s.bias", stem),
                                .dims = 1,
                                .shape = {out, 1},
                                .init = MODEL_UNIFORM,
                                .std = std};
    bool pad = i == p->layers - 1 && !p->regression;
    model__layout_unit(l, stem, false);
    *map = (struct linear){.parts = 1, .part = {{.out = out, .a = -1, .b = -1}}};
    map->part[0].weight = model__layout_add(l, &weight);
    map->part[0].bias = model__layout_add(l, &bias);
    model__linear_finish(map, in, pad ? model__round(out, 8) : 0);
}

static const struct model_ops ops;

int model__mlp_create(struct model *m, struct rwf_err *err)
{
    struct rwf_reader r = {m->config, "config.json", RWF_E_INPUT, err, false};
    struct mlp *p = m->own = rwf_xcalloc(1, sizeof(*p));
    struct layout l = {.arena = m->arena};
    const json_t *hidden = json_object_get(m->config, "hidden");
    m->ops = &ops;
    read_config(&r, p);
    read_hidden(&r, p, hidden);
    if (json_object_get(m->config, "adapter") != NULL)
        rwf_read_fail(&r, "an adapter is for transformers");
    if (r.failed)
        return -1;
    p->layer = rwf_xcalloc((size_t)p->layers, sizeof(*p->layer));
    int64_t in = p->features;
    for (int i = 0; i < p->layers; i++) {
        int64_t out = i == p->layers - 1
                          ? p->outputs
                          : json_integer_value(json_array_get(hidden, (size_t)i));
        add_layer(m, &l, i, in, out);
        in = out;
    }
    model__layout_finish(&l, &m->layout);
    return 0;
}

static void destroy(void *own)
{
    struct mlp *p = own;
    free(p->class_weights);
    free(p->layer);
    free(p);
}

/* --- memory --- */

static size_t plan_rows(struct mlp *p, const struct model_run *run,
                        struct block_row *rows)
{
    size_t n = (size_t)run->rows, e = kernel_size(run->type), count = 0, widest = 0;
    for (int i = 0; i < p->layers; i++) {
        struct mlp_layer *l = &p->layer[i];
        size_t bytes = n * (size_t)l->map.stride * e;
        bool hidden = i < p->layers - 1;
        widest = bytes > widest ? bytes : widest;
        if (hidden && run->train && p->act != KERNEL_RELU)
            rows[count++] =
                (struct block_row){"layers: before the activation", bytes, &l->before};
        rows[count++] = (struct block_row){
            hidden ? "layers: after the activation" : "outputs", bytes, &l->after};
    }
    if (run->type != KERNEL_F32)
        rows[count++] =
            (struct block_row){"inputs", n * (size_t)p->features * e, &p->input};
    rows[count++] = (struct block_row){"losses", n * 4, &p->losses};
    rows[count++] = (struct block_row){"right answers", n * 4, &p->correct};
    if (p->class_weights != NULL)
        rows[count++] =
            (struct block_row){"class weights", (size_t)p->outputs * 4, &p->weights};
    for (int i = 0; i < 2 && run->train && p->layers > 1; i++)
        rows[count++] = (struct block_row){"gradients", widest, &p->gradient[i]};
    return count;
}

static struct block_row *rows_of(struct mlp *p, const struct model_run *run,
                                 size_t *ret_count)
{
    struct block_row *rows = rwf_xcalloc((size_t)p->layers * 2 + 8, sizeof(*rows));
    *ret_count = plan_rows(p, run, rows);
    return rows;
}

static int64_t activation_bytes(struct model *m, const struct model_run *run,
                                json_t **ret)
{
    size_t count;
    struct block_row *rows = rows_of(m->own, run, &count);
    int64_t bytes = (int64_t)block_size(rows, count);
    if (ret != NULL) {
        *ret = json_array();
        for (size_t i = 0; i < count; i++)
            json_array_append_new(*ret, json_pack("{s:s, s:I}", "name", rows[i].name,
                                                  "bytes", (json_int_t)rows[i].bytes));
    }
    free(rows);
    return bytes;
}

static void end(struct model *m)
{
    struct mlp *p = m->own;
    if (p->block != NULL)
        m->run.device->k->free(m->run.device->c, p->block);
    p->block = NULL;
}

static int begin(struct model *m, struct rwf_err *err)
{
    struct mlp *p = m->own;
    size_t count;
    for (int i = 0; i < p->layers; i++)
        p->layer[i].before = NULL;
    struct block_row *rows = rows_of(p, &m->run, &count);
    p->block = block_carve(m->run.device, rows, count, "micro_batch_size", err);
    free(rows);
    if (p->block == NULL)
        return -1;
    if (p->class_weights == NULL)
        return 0;
    m->run.device->k->upload(m->run.device->c, p->weights, p->class_weights,
                             (size_t)p->outputs * sizeof(float));
    if (device_sync(m->run.device, err) == 0)
        return 0;
    end(m);
    return -1;
}

/* --- the passes --- */

static struct linear_run linear_run(const struct model *m, const struct mlp *p)
{
    return (struct linear_run){
        .device = m->run.device, .type = m->run.type, .n = p->rows};
}

static void drop(const struct model *m, const struct mlp *p, void *x, int i)
{
    uint64_t place = p->step * (uint64_t)p->layers + (uint64_t)i;
    if (p->dropout > 0 && p->drop)
        m->run.device->k->dropout(m->run.device->c, x, x,
                                  p->rows * p->layer[i].map.stride, (float)p->dropout,
                                  m->run.seed, place, m->run.type);
}

static void loss(struct model *m, const struct model_batch *b, float scale)
{
    struct mlp *p = m->own;
    const struct kernels *k = m->run.device->k;
    struct mlp_layer *last = &p->layer[p->layers - 1];
    if (p->regression) {
        if (b->values != NULL)
            k->squared_error(m->run.device->c, p->losses, last->after, b->values,
                             p->rows, p->outputs, scale, scale > 0, m->run.type);
        return;
    }
    if (b->targets == NULL)
        return;
    struct kernel_loss l = {.type = m->run.type,
                            .rows = p->rows,
                            .classes = p->outputs,
                            .stride = last->map.stride,
                            .targets = b->targets,
                            .class_weights =
                                p->class_weights != NULL ? p->weights : NULL,
                            .scale = scale,
                            .gradient = scale > 0};
    k->cross_entropy(m->run.device->c, &l, p->losses, p->correct, last->after);
}

static void forward(struct model *m, const struct model_batch *b, float scale,
                    uint64_t step)
{
    struct mlp *p = m->own;
    rwf_assert(b->rows <= m->run.rows && (scale == 0 || m->run.train));
    p->rows = b->rows;
    p->drop = scale > 0;
    p->step = step;
    p->x = b->features;
    if (m->run.type != KERNEL_F32 && b->rows > 0) {
        m->run.device->k->from_float(m->run.device->c, p->input, b->features,
                                     p->rows * p->features, m->run.type);
        p->x = p->input;
    }
    const void *x = p->x;
    for (int i = 0; i < p->layers; i++) {
        struct mlp_layer *l = &p->layer[i];
        struct linear_run r = linear_run(m, p);
        bool hidden = i < p->layers - 1;
        r.weights = m->store.weights(m->store.ctx, i);
        if (p->rows > 0)
            model__linear_forward(&l->map, &r, l->after, x,
                                  hidden ? p->act : KERNEL_LINEAR, l->before);
        m->store.release(m->store.ctx, i);
        if (hidden && p->rows > 0)
            drop(m, p, l->after, i);
        x = l->after;
    }
    if (p->rows > 0)
        loss(m, b, scale);
}

/* dy: of layer i's map; returns that of the layer before, in to. */
static void layer_backward(struct model *m, int i, const void *dy, void *to)
{
    struct mlp *p = m->own;
    struct linear_run r = linear_run(m, p);
    const void *x = i > 0 ? p->layer[i - 1].after : p->x;
    r.weights = m->store.weights(m->store.ctx, i);
    r.grads = m->store.grads(m->store.ctx, i);
    if (p->rows > 0)
        model__linear_backward(&p->layer[i].map, &r, to, dy, x);
    m->store.release(m->store.ctx, i);
    if (i == 0 || p->rows == 0)
        return;
    const struct mlp_layer *below = &p->layer[i - 1];
    const void *act_x = below->before != NULL ? below->before : below->after;
    drop(m, p, to, i - 1);
    m->run.device->k->activate_back(m->run.device->c, to, to, act_x,
                                    p->rows * below->map.stride, p->act, m->run.type);
}

static void backward(struct model *m, const struct model_batch *b)
{
    struct mlp *p = m->own;
    const void *dy = p->layer[p->layers - 1].after;
    (void)b;
    for (int i = p->layers; i-- > 0;) {
        void *to = i > 0 ? p->gradient[i % 2] : NULL;
        layer_backward(m, i, dy, to);
        m->store.grads_done(m->store.ctx, i);
        dy = to;
    }
}

/* --- results --- */

static const float *losses(const struct model *m)
{
    const struct mlp *p = m->own;
    return p->losses;
}

static const float *correct(const struct model *m)
{
    const struct mlp *p = m->own;
    return p->regression ? NULL : p->correct;
}

static const void *outputs(const struct model *m, int64_t *ret_columns,
                           int64_t *ret_stride)
{
    const struct mlp *p = m->own;
    const struct mlp_layer *last = &p->layer[p->layers - 1];
    *ret_columns = p->outputs;
    *ret_stride = last->map.stride;
    return last->after;
}

/* The products: 2 forward, 4 backward, but for the first map's gradient of its input.
 */
static double flops(const struct model *m, int length)
{
    const struct mlp *p = m->own;
    double sum = 0;
    for (int i = 0; i < p->layers; i++)
        sum += (i > 0 ? 6.0 : 4.0) * (double)p->layer[i].map.in *
               (double)p->layer[i].map.out;
    return sum * length;
}

static const struct model_ops ops = {
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
};
