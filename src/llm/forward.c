/* SPDX-License-Identifier: Apache-2.0
 *
 * The layers of a step, written once against the device's table. The residual stream is
 * x; what the last product gave is delta, which the next norm adds on its way.
 *
 * A step of one token per sequence is so short on a GPU that the host could not queue
 * its kernels as fast as they run: such steps are recorded, once their shape came
 * twice, and replayed. A shape is the padded number of sequences and a bound of the
 * longest context. Steps of so few sequences that one kernel does them all are not.
 */
#include "config.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "llm/model_inside.h"

#define RECORDED_MAX 160

static size_t aligned(size_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

void *llm__cache(const struct llm_model *m, int layer, bool values)
{
    size_t half = (size_t)m->memory.block / 2 / (size_t)m->config.layers *
                  (size_t)m->memory.blocks;
    return (char *)m->cache + half * (2 * (size_t)layer + values);
}

/* --- parts of a layer --- */

static void multiply(struct llm_model *m, const struct llm_linear *l, void *y,
                     const void *x, int64_t rows)
{
    const struct kernels *k = m->d->k;
    if (l->q4.group > 0) {
        k->q4_matmul(m->d->c, &l->q4, l->w, y, x, rows, m->o.type, m->o.type, m->b.q4);
        return;
    }
    const struct kernel_matmul p = {.m = rows,
                                    .n = l->n,
                                    .k = l->k,
                                    .tb = true,
                                    .a = x,
                                    .b = l->w,
                                    .c = y,
                                    .type = m->o.type,
                                    .c_type = m->o.type,
                                    .alpha = 1};
    k->matmul(m->d->c, &p);
}

/* y = norm of x, after adding `add` to it (NULL: nothing). */
static void norm(struct llm_model *m, const void *weight, void *y, void *x,
                 const void *add, int64_t rows)
{
    const struct kernel_norm_args a = {.kind = KERNEL_RMSNORM,
                                       .type = m->o.type,
                                       .rows = rows,
                                       .width = m->config.hidden,
                                       .epsilon = (float)m->config.epsilon,
                                       .weight = weight};
    m->d->k->norm(m->d->c, &a, y, x, m->b.stats, x, add);
}

static struct kernel_sequences sequences_of(const struct llm_model *m,
                                            const struct llm_pass *p)
{
    const struct llm_layout *l = &p->at;
    char *in = m->b.in;
    return (struct kernel_sequences){
        .count = l->sequences,
        .tokens = l->rows,
        .first = (void *)(in + l->first),
        .context = (void *)(in + l->context),
        .positions = (void *)(in + l->positions),
        .slots = (void *)(in + l->slots),
        .blocks = (void *)(in + l->blocks),
        .stride = l->stride,
        .most = p->most,
        .longest = p->longest,
        .prompts = p->prompts,
    };
}

static struct kernel_paged paged_of(const struct llm_model *m, int layer,
                                    const struct kernel_sequences *s)
{
    const struct llm_config *c = &m->config;
    return (struct kernel_paged){
        .type = m->o.type,
        .heads = c->heads,
        .kv_heads = c->kv_heads,
        .size = c->size,
        .scale = 1.0f / __builtin_sqrtf((float)c->size),
        .keys = llm__cache(m, layer, false),
        .values = llm__cache(m, layer, true),
        .sequences = s,
    };
}

/* Where a layer's attention keeps its rows. */
struct attended {
    char *qkv, *q, *out;
};

static struct attended attended_of(const struct llm_model *m, int layer, int tokens)
{
    const struct llm_layer *y = &m->weights.layers[layer];
    size_t e = kernel_size(m->o.type), rows = (size_t)tokens;
    struct attended r = {.qkv = m->b.layer};
    r.q = r.qkv + aligned(rows * (size_t)y->qkv.n * e);
    r.out = r.q + aligned(rows * (size_t)y->o.k * e);
    return r;
}

/* normed -> q, and keys and values to the cache */
static void project(struct llm_model *m, int layer, const struct kernel_sequences *s,
                    const struct attended *r)
{
    const struct llm_config *c = &m->config;
    const struct llm_layer *y = &m->weights.layers[layer];
    struct kernel_paged a = paged_of(m, layer, s);
    const struct kernel_rope rope = {.type = m->o.type,
                                     .heads = c->heads,
                                     .kv_heads = c->kv_heads,
                                     .size = c->size,
                                     .cosine = m->b.cosine,
                                     .sine = m->b.sine,
                                     .q_weight = y->q_norm,
                                     .k_weight = y->k_norm,
                                     .epsilon = (float)c->epsilon};
    multiply(m, &y->qkv, r->qkv, m->b.normed, s->tokens);
    m->d->k->rope_paged(m->d->c, &rope, &a, r->q, r->qkv);
}

/* normed -> delta */
static void attend(struct llm_model *m, int layer, const struct kernel_sequences *s)
{
    const struct attended r = attended_of(m, layer, s->tokens);
    const struct kernel_paged a = paged_of(m, layer, s);
    project(m, layer, s, &r);
    m->d->k->paged_attention(m->d->c, &a, r.out, r.q, m->attention);
    multiply(m, &m->weights.layers[layer].o, m->b.delta, r.out, s->tokens);
}

/* normed -> delta */
static void feed_forward(struct llm_model *m, int layer, void *delta,
                         const void *normed, int64_t rows)
{
    const struct llm_layer *y = &m->weights.layers[layer];
    char *gate_up = m->b.layer;
    char *product =
        gate_up + aligned((size_t)rows * (size_t)y->gate_up.n * kernel_size(m->o.type));
    multiply(m, &y->gate_up, gate_up, normed, rows);
    m->d->k->swiglu(m->d->c, product, gate_up, rows, m->config.inner, m->o.type);
    multiply(m, &y->down, delta, product, rows);
}

static void embed(struct llm_model *m, const void *ids, int64_t rows)
{
    const struct kernel_rows r = {.type = m->o.type,
                                  .count = rows,
                                  .width = m->config.hidden,
                                  .table = m->config.vocab,
                                  .ids = ids};
    m->d->k->embed(m->d->c, &r, m->b.x, m->weights.embed, NULL, 0);
}

static void gather(struct llm_model *m, void *to, const void *from, int64_t width,
                   const int32_t *rows, int64_t n)
{
    const struct kernel_rows r = {.type = m->o.type,
                                  .count = n,
                                  .width = width,
                                  .table = m->sizes.rows,
                                  .ids = rows};
    m->d->k->embed(m->d->c, &r, to, from, NULL, 0);
}

/* normed -> some and some_delta: keys and values are those of all tokens, then the
 * layer goes on with the sequences' last ones alone. */
static void end_layer(struct llm_model *m, int layer, const struct llm_pass *p,
                      const struct kernel_sequences *s)
{
    const struct llm_layer *y = &m->weights.layers[layer];
    const struct attended r = attended_of(m, layer, s->tokens);
    const int32_t *last = (void *)(m->b.in + p->at.last);
    int64_t n = llm__padded(s->count);
    struct kernel_sequences ends = *s;
    ends.tokens = s->count;
    ends.first = (void *)(m->b.in + p->at.each);
    ends.most = 1;
    ends.fresh = true;
    const struct kernel_paged a = paged_of(m, layer, &ends);
    project(m, layer, s, &r);
    gather(m, r.out, r.q, y->o.k, last, n);
    gather(m, m->b.some, m->b.x, m->config.hidden, last, n);
    m->d->k->paged_attention(m->d->c, &a, r.qkv, r.out, m->attention);
    multiply(m, &y->o, m->b.some_delta, r.qkv, n);
    norm(m, y->norm2, m->b.some_normed, m->b.some, m->b.some_delta, n);
    feed_forward(m, layer, m->b.some_delta, m->b.some_normed, n);
}

static void observe(const struct llm_model *m, int layer, bool mlp, int64_t rows)
{
    if (m->observe != NULL)
        m->observe(m->observe_ctx, layer, mlp, m->b.normed, rows);
}

/* --- all layers as one kernel --- */

static struct kernel_linear linear_of(const struct llm_linear *l)
{
    return (struct kernel_linear){l->n, l->k, l->w, l->q4.group};
}

void llm__decoder_open(struct llm_model *m)
{
    const struct llm_config *c = &m->config;
    if (m->d->k->decoder_open == NULL || m->o.apart || m->o.eager)
        return;
    struct kernel_decoder_layer *layers =
        rwf_xcalloc((size_t)c->layers, sizeof(*layers));
    for (int i = 0; i < c->layers; i++) {
        const struct llm_layer *y = &m->weights.layers[i];
        layers[i] = (struct kernel_decoder_layer){.norm1 = y->norm1,
                                                  .norm2 = y->norm2,
                                                  .q_norm = y->q_norm,
                                                  .k_norm = y->k_norm,
                                                  .qkv = linear_of(&y->qkv),
                                                  .o = linear_of(&y->o),
                                                  .gate_up = linear_of(&y->gate_up),
                                                  .down = linear_of(&y->down),
                                                  .keys = llm__cache(m, i, false),
                                                  .values = llm__cache(m, i, true)};
    }
    struct kernel_decoder d = llm__decoder_shape(c, m->o.type);
    d.epsilon = (float)c->epsilon;
    d.scale = 1.0f / __builtin_sqrtf((float)c->size);
    d.cosine = m->b.cosine;
    d.sine = m->b.sine;
    d.table = m->weights.embed;
    d.layer = layers;
    m->decoder = m->d->k->decoder_open(m->d->c, &d);
    free(layers);
}

/* One token each of so few sequences that one kernel does it all, unseen. */
static bool decodes(const struct llm_model *m, const struct kernel_sequences *s)
{
    return m->decoder != NULL && m->observe == NULL && s->most == 1 &&
           s->tokens == s->count && s->count <= LLM_FUSED_MAX &&
           m->d->k->decoder_fits(m->decoder, s->count);
}

void llm__layers(struct llm_model *m, const struct llm_pass *p)
{
    const struct kernel_sequences s = sequences_of(m, p);
    const int32_t *ids = (void *)(m->b.in + p->at.ids);
    if (decodes(m, &s)) {
        m->d->k->decoder_run(m->d->c, m->decoder, ids, m->b.x, m->b.delta, &s);
        return;
    }
    embed(m, ids, s.tokens);
    for (int i = 0; i < m->config.layers; i++) {
        const struct llm_layer *y = &m->weights.layers[i];
        norm(m, y->norm1, m->b.normed, m->b.x, i > 0 ? m->b.delta : NULL, s.tokens);
        observe(m, i, false, s.tokens);
        if (p->ends && i + 1 == m->config.layers) {
            end_layer(m, i, p, &s);
            return;
        }
        attend(m, i, &s);
        norm(m, y->norm2, m->b.normed, m->b.x, m->b.delta, s.tokens);
        observe(m, i, true, s.tokens);
        feed_forward(m, i, m->b.delta, m->b.normed, s.tokens);
    }
}

int llm__attention_room(struct llm_model *m, const struct llm_pass *p,
                        struct rwf_err *err)
{
    const struct kernel_sequences s = sequences_of(m, p);
    const struct kernel_paged a = paged_of(m, 0, &s);
    int64_t bytes = (int64_t)m->d->k->paged_scratch(m->d->c, &a);
    if (bytes <= m->attention_bytes)
        return 0;
    if (device_sync(m->d, err) != 0)
        return -1;
    llm__recorded_free(m); /* they have the old one's address */
    m->d->k->free(m->d->c, m->attention);
    m->attention_bytes = 0;
    m->attention = device_alloc(m->d, (size_t)bytes, "the workspace of attention", err);
    if (m->attention == NULL)
        return -1;
    m->attention_bytes = bytes;
    return 0;
}

/* --- recorded steps --- */

/* NULL and no error: steps are not recorded. */
static struct llm_recorded *recorded_of(struct llm_model *m, const struct llm_pass *p,
                                        struct rwf_err *err)
{
    if (m->d->k->record == NULL || m->o.eager)
        return NULL;
    for (size_t i = 0; i < m->recorded_count; i++)
        if (m->recorded[i].sequences == p->at.sequences &&
            m->recorded[i].longest == p->longest)
            return &m->recorded[i];
    if (m->recorded_count ==
        RECORDED_MAX) { /* so many shapes: those that come are kept */
        if (device_sync(m->d, err) != 0)
            return NULL;
        llm__recorded_free(m);
    }
    struct llm_recorded *r = RWF_PUSH(m->recorded, m->recorded_count, m->recorded_cap);
    *r = (struct llm_recorded){p->at.sequences, p->longest, 0, NULL};
    return r;
}

void llm__recorded_free(struct llm_model *m)
{
    for (size_t i = 0; i < m->recorded_count; i++)
        if (m->recorded[i].graph != NULL)
            m->d->k->graph_free(m->d->c, m->recorded[i].graph);
    m->recorded_count = 0;
}

int llm__layers_decode(struct llm_model *m, const struct llm_pass *p,
                       struct rwf_err *err)
{
    const struct kernels *k = m->d->k;
    const struct kernel_sequences s = sequences_of(m, p);
    if (decodes(m, &s)) { /* one kernel starts sooner by itself */
        llm__layers(m, p);
        return 0;
    }
    if (llm__attention_room(m, p, err) != 0)
        return -1;
    struct rwf_err why = RWF_ERR_INIT;
    struct llm_recorded *r = recorded_of(m, p, &why);
    if (why.code != 0)
        return rwf_fail(err, why.code, "%s", why.text);
    if (r != NULL && r->seen++ == 1) {
        k->record(m->d->c);
        llm__layers(m, p);
        r->graph = k->record_end(m->d->c);
        if (r->graph == NULL)
            rwf_log(RWF_LOG_WARN, "llm", "a step of %d sequences could not be recorded",
                    p->at.sequences);
    }
    if (r != NULL && r->graph != NULL)
        k->replay(m->d->c, r->graph);
    else
        llm__layers(m, p);
    return 0;
}

/* --- the head --- */

const void *llm__head(struct llm_model *m, const struct llm_pass *p,
                      const int32_t *rows, int n, int logits)
{
    struct llm_buffers *b = &m->b;
    void *x = p->ends ? b->some : b->x, *delta = p->ends ? b->some_delta : b->delta;
    void *normed = p->ends || rows != NULL ? b->some_normed : b->normed;
    if (rows != NULL) {
        void *to = p->ends ? b->x : b->some;
        void *to_delta = p->ends ? b->delta : b->some_delta;
        gather(m, to, x, m->config.hidden, rows, n);
        gather(m, to_delta, delta, m->config.hidden, rows, n);
        x = to;
        delta = to_delta;
    }
    norm(m, m->weights.norm, normed, x, delta, n);
    if (logits > 0) {
        const struct kernel_matmul product = {.m = logits,
                                              .n = m->config.vocab,
                                              .k = m->config.hidden,
                                              .tb = true,
                                              .a = normed,
                                              .b = m->weights.head,
                                              .c = m->b.logits,
                                              .type = m->o.type,
                                              .c_type = KERNEL_F32,
                                              .alpha = 1};
        m->d->k->matmul(m->d->c, &product);
    }
    return normed;
}
