/* SPDX-License-Identifier: Apache-2.0
 *
 * A transformer's head: hidden states times the table of the vocabulary, and the loss.
 * All logits of a batch may be larger than everything else together (GPT-2, 64 x 1024
 * tokens: 6.6 GB as bf16), so they are made, used and forgotten chunk by chunk: with a
 * scale, the gradients of the table and of the hidden states are complete when the
 * forward pass ends.
 *
 * Products take the table with its padding (rows of zeros up to a multiple of 128): the
 * loss ignores those columns and makes their gradients zero.
 */
#include "config.h"

#include "base/mem.h"
#include "model/transformer.h"

struct head {
    struct pass *p;
    const void *table;
    float *grads;         /* of the table; NULL: frozen */
    int64_t first, count; /* tokens of the chunk */
};

static void *token_row(const struct head *h, enum buffer b)
{
    const struct transformer *t = h->p->t;
    return (char *)model__buffer(t, b, 0) +
           h->first * t->shape.width * (int64_t)kernel_size(h->p->type);
}

static void multiply(const struct head *h, struct kernel_matmul m)
{
    m.type = h->p->type;
    m.alpha = 1;
    h->p->k->matmul(h->p->c, &m);
}

static void logits(const struct head *h)
{
    const struct transformer *t = h->p->t;
    multiply(h, (struct kernel_matmul){.m = h->count,
                                       .n = t->shape.table,
                                       .k = t->shape.width,
                                       .tb = true,
                                       .a = token_row(h, BUF_HIDDEN),
                                       .b = h->table,
                                       .c = model__buffer(t, BUF_LOGITS, 0),
                                       .c_type = h->p->type});
}

static void loss(const struct head *h, const struct model_batch *b, float scale)
{
    const struct transformer *t = h->p->t;
    struct kernel_loss l = {.type = h->p->type,
                            .rows = h->count,
                            .classes = t->shape.vocab,
                            .stride = t->shape.table,
                            .targets = b->targets + h->first,
                            .scale = scale,
                            .gradient = scale > 0};
    h->p->k->cross_entropy(h->p->c, &l,
                           (float *)model__buffer(t, BUF_LOSSES, 0) + h->first,
                           (float *)model__buffer(t, BUF_CORRECT, 0) + h->first,
                           model__buffer(t, BUF_LOGITS, 0));
}

/* The logits have become their gradients. */
static void gradients(const struct head *h)
{
    const struct transformer *t = h->p->t;
    const void *d = model__buffer(t, BUF_LOGITS, 0);
    multiply(h, (struct kernel_matmul){.m = h->count,
                                       .n = t->shape.width,
                                       .k = t->shape.table,
                                       .a = d,
                                       .b = h->table,
                                       .c = token_row(h, BUF_DY),
                                       .c_type = h->p->type});
    if (h->grads != NULL)
        multiply(h, (struct kernel_matmul){.m = t->shape.table,
                                           .n = t->shape.width,
                                           .k = h->count,
                                           .ta = true,
                                           .a = d,
                                           .b = token_row(h, BUF_HIDDEN),
                                           .c = h->grads,
                                           .c_type = KERNEL_F32,
                                           .accumulate = true});
}

void model__head(struct pass *p, const struct model_batch *b, float scale)
{
    struct transformer *t = p->t;
    const struct model_store *s = &t->m->store;
    int unit = t->shape.tied ? t->map.embedding_unit : t->map.head_unit;
    int64_t offset = t->shape.tied ? t->map.table : t->map.head;
    struct head h = {.p = p, .count = p->n};
    const char *weights = s->weights(s->ctx, unit);
    h.table = weights + offset * (int64_t)kernel_size(p->type);
    if (scale > 0 && !t->m->layout.units[unit].frozen)
        h.grads = s->grads(s->ctx, unit) + offset;
    if (b->targets == NULL && p->n > 0) {
        if (b->outputs_count > 0)
            h.first = b->outputs_first, h.count = b->outputs_count;
        rwf_assert(h.count <= t->chunk && h.first + h.count <= p->n);
        logits(&h);
    }
    for (; b->targets != NULL && h.first < p->n; h.first += h.count) {
        h.count = p->n - h.first < t->chunk ? p->n - h.first : t->chunk;
        logits(&h);
        loss(&h, b, scale);
        if (scale > 0)
            gradients(&h);
    }
    s->release(s->ctx, unit);
}
