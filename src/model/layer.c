/* SPDX-License-Identifier: Apache-2.0
 *
 * One layer of a transformer as a table of steps, forward and backward. Each step reads
 * and writes buffers of transformer.h; the gradient of the residual stream is BUF_DX,
 * that of a branch BUF_DY.
 */
#include "config.h"

#include <math.h>

#include "base/mem.h"
#include "model/transformer.h"

static void *here(const struct pass *p, enum buffer b)
{
    return model__buffer(p->t, b, b == BUF_X1 ? p->layer : b < BUF_X1 ? p->slot : 0);
}

/* Places of dropout in a pass: 0 the embedding, then two for each layer. */
static int place(const struct pass *p, int which)
{
    return 1 + 2 * p->layer + which;
}

static double residual_dropout(const struct pass *p)
{
    return p->t->shape.residual_dropout;
}

/* --- norms, fused with the sums before them --- */

static struct kernel_norm_args norm_args(const struct pass *p, const struct norm_map *m,
                                         const void *weights)
{
    const struct transformer_shape *s = &p->t->shape;
    int64_t size = (int64_t)kernel_size(p->type);
    return (struct kernel_norm_args){
        .kind = s->norm,
        .type = p->type,
        .rows = p->n,
        .width = s->width,
        .epsilon = s->epsilon,
        .weight = (const char *)weights + m->weight * size,
        .bias = m->bias >= 0 ? (const char *)weights + m->bias * size : NULL,
    };
}

static void norm_back(struct pass *p, const struct norm_map *m, const void *weights,
                      float *grads, const void *x, const float *stats, const void *dsum)
{
    struct kernel_norm_args a = norm_args(p, m, weights);
    p->k->norm_back(p->c, &a, here(p, BUF_DX), grads != NULL ? grads + m->weight : NULL,
                    grads != NULL && m->bias >= 0 ? grads + m->bias : NULL,
                    here(p, BUF_DY), x, stats, dsum, here(p, BUF_SCRATCH));
}

/* x1 is the embedding's, or the sum of the layer before's x2 and its mlp. */
static void attention_norm(struct pass *p)
{
    struct transformer *t = p->t;
    struct kernel_norm_args a = norm_args(p, &t->map.norms[0], p->weights);
    bool sum = p->layer > 0 && !p->again;
    const void *x =
        sum ? model__buffer(t, BUF_X2, model__slot(t, p->layer - 1)) : here(p, BUF_X1);
    p->k->norm(p->c, &a, here(p, BUF_NORM1), sum ? here(p, BUF_X1) : NULL,
               here(p, BUF_STATS1), x, sum ? here(p, BUF_BRANCH) : NULL);
}

static void attention_norm_back(struct pass *p)
{
    norm_back(p, &p->t->map.norms[0], p->weights, p->grads, here(p, BUF_X1),
              here(p, BUF_STATS1), here(p, BUF_DX));
}

static void mlp_norm(struct pass *p)
{
    struct kernel_norm_args a = norm_args(p, &p->t->map.norms[1], p->weights);
    p->k->norm(p->c, &a, here(p, BUF_NORM2), here(p, BUF_X2), here(p, BUF_STATS2),
               here(p, BUF_X1), here(p, BUF_BRANCH));
}

static void mlp_norm_back(struct pass *p)
{
    norm_back(p, &p->t->map.norms[1], p->weights, p->grads, here(p, BUF_X2),
              here(p, BUF_STATS2), here(p, BUF_DX));
}

void model__final_norm(struct pass *p, const void *weights)
{
    struct kernel_norm_args a = norm_args(p, &p->t->map.final_norm, weights);
    p->k->norm(p->c, &a, here(p, BUF_HIDDEN), here(p, BUF_FINAL),
               here(p, BUF_FINAL_STATS), here(p, BUF_X2), here(p, BUF_BRANCH));
}

void model__final_norm_back(struct pass *p, const void *weights, float *grads)
{
    norm_back(p, &p->t->map.final_norm, weights, grads, here(p, BUF_FINAL),
              here(p, BUF_FINAL_STATS), NULL);
}

/* --- linear maps --- */

static struct linear_run linear_run(const struct pass *p, enum layer_linear which)
{
    const struct transformer *t = p->t;
    struct linear_run r = {.device = t->m->run.device,
                           .type = p->type,
                           .n = p->n,
                           .weights = p->weights,
                           .grads = p->grads};
    if (p->adapter == NULL)
        return r;
    const struct lora *l = t->m->lora;
    r.adapter = p->adapter;
    r.adapter_grads = p->adapter_grads;
    r.rank = l->rank;
    r.scale = (float)(l->alpha / l->rank);
    r.middle = (char *)here(p, BUF_MIDDLE) +
               (int64_t)kernel_size(p->type) * p->n * l->rank * t->map.middles[which];
    r.dmiddle = here(p, BUF_DMIDDLE);
    return r;
}

static void linear(struct pass *p, enum layer_linear which, enum buffer y,
                   enum buffer x, enum kernel_activation act, void *before)
{
    struct linear_run r = linear_run(p, which);
    model__linear_forward(&p->t->map.linears[which], &r, here(p, y), here(p, x), act,
                          before);
}

static void linear_back(struct pass *p, enum layer_linear which, enum buffer dx,
                        const void *dy, enum buffer x)
{
    struct linear_run r = linear_run(p, which);
    model__linear_backward(&p->t->map.linears[which], &r, here(p, dx), dy, here(p, x));
}

/* The gradient of a branch that was dropped before it joined the residual stream. */
static const void *branch_gradient(struct pass *p, int which)
{
    if (!p->dropout || residual_dropout(p) == 0)
        return here(p, BUF_DX);
    model__drop(p, here(p, BUF_BRANCH), here(p, BUF_DX), residual_dropout(p),
                place(p, which));
    return here(p, BUF_BRANCH);
}

static void qkv(struct pass *p)
{
    linear(p, LAYER_QKV, BUF_QKV, BUF_NORM1, KERNEL_LINEAR, NULL);
}

static void qkv_back(struct pass *p)
{
    linear_back(p, LAYER_QKV, BUF_DY, here(p, BUF_DWIDE), BUF_NORM1);
}

static void out(struct pass *p)
{
    linear(p, LAYER_OUT, BUF_BRANCH, BUF_ATTENTION, KERNEL_LINEAR, NULL);
    model__drop(p, here(p, BUF_BRANCH), here(p, BUF_BRANCH), residual_dropout(p),
                place(p, 0));
}

static void out_back(struct pass *p)
{
    linear_back(p, LAYER_OUT, BUF_DY, branch_gradient(p, 0), BUF_ATTENTION);
}

/* --- attention --- */

static struct kernel_rope rope_args(const struct pass *p)
{
    const struct transformer *t = p->t;
    const struct transformer_shape *s = &t->shape;
    return (struct kernel_rope){
        .type = p->type,
        .batch = p->rows,
        .length = p->length,
        .heads = s->heads,
        .kv_heads = s->kv_heads,
        .size = s->head_size,
        .cosine = here(p, BUF_COSINE),
        .sine = here(p, BUF_SINE),
        .q_weight = model__weight(p, t->map.query_norm),
        .k_weight = model__weight(p, t->map.key_norm),
        .epsilon = s->epsilon,
    };
}

static void rotate(struct pass *p)
{
    if (p->t->shape.theta == 0)
        return;
    struct kernel_rope r = rope_args(p);
    p->k->rope(p->c, &r, here(p, BUF_ROTATED), here(p, BUF_HEAD_STATS),
               here(p, BUF_QKV));
}

static void rotate_back(struct pass *p)
{
    const struct transformer_map *m = &p->t->map;
    if (p->t->shape.theta == 0)
        return;
    struct kernel_rope r = rope_args(p);
    bool norms = p->grads != NULL && m->query_norm >= 0;
    p->k->rope_back(p->c, &r, here(p, BUF_DWIDE),
                    norms ? p->grads + m->query_norm : NULL,
                    norms ? p->grads + m->key_norm : NULL, here(p, BUF_DWIDE),
                    here(p, BUF_QKV), here(p, BUF_HEAD_STATS), here(p, BUF_SCRATCH));
}

static struct kernel_attention attention_args(const struct pass *p)
{
    const struct transformer_shape *s = &p->t->shape;
    return (struct kernel_attention){.type = p->type,
                                     .batch = p->rows,
                                     .length = p->length,
                                     .heads = s->heads,
                                     .kv_heads = s->kv_heads,
                                     .size = s->head_size,
                                     .scale = 1.0f / sqrtf((float)s->head_size)};
}

static enum buffer attended(const struct pass *p)
{
    return p->t->shape.theta == 0 ? BUF_QKV : BUF_ROTATED;
}

static void attend(struct pass *p)
{
    struct kernel_attention a = attention_args(p);
    p->k->attention(p->c, &a, here(p, BUF_ATTENTION), here(p, BUF_LSE),
                    here(p, attended(p)));
}

static void attend_back(struct pass *p)
{
    struct kernel_attention a = attention_args(p);
    p->k->attention_back(p->c, &a, here(p, BUF_DWIDE), here(p, BUF_DY),
                         here(p, BUF_ATTENTION), here(p, BUF_LSE), here(p, attended(p)),
                         here(p, BUF_SCRATCH));
}

/* --- the mlp --- */

static void up(struct pass *p)
{
    const struct transformer_shape *s = &p->t->shape;
    if (!s->gated) {
        bool keep = p->t->m->run.train || p->adapter != NULL;
        linear(p, LAYER_UP, BUF_ACTIVATED, BUF_NORM2, KERNEL_GELU,
               keep ? here(p, BUF_UP) : NULL);
        return;
    }
    linear(p, LAYER_UP, BUF_UP, BUF_NORM2, KERNEL_LINEAR, NULL);
    p->k->swiglu(p->c, here(p, BUF_ACTIVATED), here(p, BUF_UP), p->n, s->inner,
                 p->type);
}

static void up_back(struct pass *p)
{
    const struct transformer_shape *s = &p->t->shape;
    void *d = here(p, BUF_DACTIVATED);
    if (s->gated)
        p->k->swiglu_back(p->c, here(p, BUF_DWIDE), d, here(p, BUF_UP), p->n, s->inner,
                          p->type);
    else
        p->k->activate_back(p->c, d, d, here(p, BUF_UP), p->n * s->inner, KERNEL_GELU,
                            p->type);
    linear_back(p, LAYER_UP, BUF_DY, s->gated ? here(p, BUF_DWIDE) : d, BUF_NORM2);
}

static void down(struct pass *p)
{
    if (p->again)
        return; /* its result is part of the next layer's x1, which was kept */
    linear(p, LAYER_DOWN, BUF_BRANCH, BUF_ACTIVATED, KERNEL_LINEAR, NULL);
    model__drop(p, here(p, BUF_BRANCH), here(p, BUF_BRANCH), residual_dropout(p),
                place(p, 1));
}

static void down_back(struct pass *p)
{
    linear_back(p, LAYER_DOWN, BUF_DACTIVATED, branch_gradient(p, 1), BUF_ACTIVATED);
}

/* --- the layer --- */

static const struct {
    void (*forward)(struct pass *p);
    void (*backward)(struct pass *p);
} steps[] = {
    {attention_norm, attention_norm_back},
    {qkv, qkv_back},
    {rotate, rotate_back},
    {attend, attend_back},
    {out, out_back},
    {mlp_norm, mlp_norm_back},
    {up, up_back},
    {down, down_back},
};

void model__layer_forward(struct pass *p)
{
    for (size_t i = 0; i < RWF_COUNT(steps); i++)
        steps[i].forward(p);
}

void model__layer_backward(struct pass *p)
{
    for (size_t i = RWF_COUNT(steps); i-- > 0;)
        steps[i].backward(p);
}
