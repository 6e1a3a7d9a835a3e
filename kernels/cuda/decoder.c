/* SPDX-License-Identifier: Apache-2.0
 *
 * The host's side of the decoder: which models and how many sequences it is for, its
 * memory, and its arguments.
 */
#include <stdlib.h>
#include <string.h>
#include "cuda.h"

struct kernel_decoder_state {
    struct decoder_arrays arrays; /* but for the step */
    int size;
    int stages[DECODER_SEQUENCES + 1]; /* for so many sequences; 0: they do not fit */
    unsigned input[DECODER_SEQUENCES + 1];
    void *layers, *words; /* the device's */
};

/* --- models it is for --- */

static bool linear_fits(const struct kernel_linear *l, int64_t n, int64_t k, int group)
{
    if (l->group != group || l->n != n || l->k != k || !aligned16(l->w))
        return false;
    return group == 0 ? n % 8 == 0 && k % 64 == 0
                      : n % 64 == 0 && k % DECODER_GROUP == 0;
}

/* The copy engine brings all of it. */
static bool layer_fits(const struct kernel_decoder *d,
                       const struct kernel_decoder_layer *l, int group)
{
    int64_t q = (int64_t)d->heads * d->size;
    return aligned16(l->q_norm) && aligned16(l->k_norm) && aligned16(l->keys) &&
           aligned16(l->values) &&
           linear_fits(&l->qkv, q + 2 * (int64_t)d->kv_heads * d->size, d->hidden,
                       group) &&
           linear_fits(&l->o, d->hidden, q, group) &&
           linear_fits(&l->gate_up, 2 * d->inner, d->hidden, group) &&
           linear_fits(&l->down, d->hidden, d->inner, group);
}

static bool model_fits(const struct kernel_context *c, const struct kernel_decoder *d)
{
    if (c->capable != 90 || d->type != KERNEL_BF16 || d->layers <= 0 ||
        d->hidden > DECODER_HIDDEN || d->kv_heads <= 0 || d->kv_heads > c->sms ||
        d->heads % d->kv_heads != 0 || d->heads / d->kv_heads > DECODER_HEADS ||
        (d->size != 64 && d->size != 128))
        return false;
    int group = d->layer->qkv.group;
    /* With 4 bits, what is read of the last layer does not tell that all have read the
     * first one's input. */
    if (group != 0 && (group != DECODER_GROUP || d->layers == 1))
        return false;
    for (int i = 0; i < d->layers; i++)
        if (!layer_fits(d, &d->layer[i], group))
            return false;
    return true;
}

/* --- what does not depend on the step --- */

static void arrays_fill(struct decoder_arrays *a, const struct kernel_decoder *d,
                        int blocks)
{
    *a = (struct decoder_arrays){.layer_count = d->layers,
                                 .hidden = (int)d->hidden,
                                 .inner = (int)d->inner,
                                 .heads = d->heads,
                                 .kv_heads = d->kv_heads,
                                 .group = d->heads / d->kv_heads,
                                 .epsilon = d->epsilon,
                                 .scale = d->scale,
                                 .each = 1.0f / (float)d->hidden,
                                 .cosine = d->cosine,
                                 .sine = d->sine,
                                 .table = d->table,
                                 .q4 = decoder_q4(d)};
    decoder_products(a->products, d, blocks);
}

/* Of a product's input, as a block has it. */
static int64_t longest_row(const struct decoder_arrays *a)
{
    int64_t longest = a->hidden;
    for (int i = 0; i < DECODER_PRODUCTS; i++) {
        const struct decoder_product *p = &a->products[i];
        int64_t k = p->k;
        if (a->q4 && DECODER_PLAIN(i))
            k = p->width / p->cuts * DECODER_GROUP;
        longest = k > longest ? k : longest;
    }
    return longest;
}

/* Bytes of the largest input of a product, or of attention's scratch. */
static unsigned input_bytes(const struct decoder_arrays *a,
                            const struct kernel_decoder *d, int sequences)
{
    unsigned rows = (unsigned)sequences * cuda__decoder_row(longest_row(a), a->q4);
    unsigned scratch = cuda__decoder_scratch(d->heads / d->kv_heads, d->size);
    /* What warps leave of products is behind, and not in use then. */
    scratch = scratch > DECODER_SUMS ? scratch - DECODER_SUMS : 0;
    return rows > scratch ? rows : scratch;
}

/* Stages of the ring for as many sequences; 0: too many sequences. */
static int stages_of(struct decoder_arrays *a, const struct kernel_decoder *d,
                     int sequences, size_t shared)
{
    if (a->q4 && sequences > DECODER_SEQUENCES_Q4)
        return 0;
    a->s.count = sequences;
    a->input = input_bytes(a, d, sequences);
    a->groups = a->q4 ? (unsigned)(longest_row(a) / DECODER_GROUP) * 32 : 0;
    size_t beside = cuda__decoder_beside(a), stage = cuda__decoder_stage(a->q4);
    int stages = beside < shared ? (int)((shared - beside) / stage) : 0;
    stages = stages < DECODER_MOST_STAGES ? stages : DECODER_MOST_STAGES;
    if (a->q4)
        return stages / DECODER_TEAMS * DECODER_TEAMS;
    return stages < 2 ? 0 : stages; /* two are waited for at once */
}

/* --- memory --- */

static bool words_make(struct kernel_context *c, struct kernel_decoder_state *t,
                       const struct kernel_decoder *d)
{
    const struct decoder_layout l = decoder_layout(d, c->sms);
    struct decoder_words *w = &t->arrays.words;
    uint64_t *base = t->words = cuda__alloc(c, l.end * sizeof *base);
    if (!base)
        return false;
    cuda__zero(c, base, l.end * sizeof *base);
    for (int i = 0; i < DECODER_PRODUCTS; i++) {
        w->told[i] = base + l.told[i];
        w->rest[i] = base + l.rest[i];
    }
    w->out = base + l.out;
    w->parts = base + l.parts;
    w->gates = base + l.gates;
    t->arrays.epoch = (unsigned *)(base + l.epoch);
    return true;
}

static bool layers_make(struct kernel_context *c, struct kernel_decoder_state *t,
                        const struct kernel_decoder *d)
{
    size_t bytes = (size_t)d->layers * sizeof(struct decoder_layer);
    struct decoder_layer *layers = calloc((size_t)d->layers, sizeof *layers);
    char error[8];
    t->layers = cuda__alloc(c, bytes);
    bool done = layers && t->layers;
    for (int i = 0; done && i < d->layers; i++) {
        const struct kernel_decoder_layer *l = &d->layer[i];
        layers[i] = (struct decoder_layer){l->norm1,
                                           l->norm2,
                                           l->q_norm,
                                           l->k_norm,
                                           {l->qkv.w, l->o.w, l->gate_up.w, l->down.w},
                                           l->keys,
                                           l->values};
    }
    if (done) {
        cuda__upload(c, t->layers, layers, bytes);
        done = cuda__sync(c, error, sizeof error) == 0;
    }
    free(layers);
    t->arrays.layers = t->layers;
    return done;
}

struct kernel_decoder_state *cuda__decoder_open(struct kernel_context *c,
                                                const struct kernel_decoder *d)
{
    struct kernel_decoder_state *t = calloc(1, sizeof *t);
    if (!t || !model_fits(c, d)) {
        free(t);
        return NULL;
    }
    arrays_fill(&t->arrays, d, c->sms);
    t->size = d->size;
    for (int s = 1; s <= DECODER_SEQUENCES; s++) {
        t->stages[s] = stages_of(&t->arrays, d, s, c->shared);
        t->input[s] = t->arrays.input;
    }
    if (t->stages[1] == 0 || !words_make(c, t, d) || !layers_make(c, t, d)) {
        cuda__decoder_close(c, t);
        return NULL;
    }
    return t;
}

void cuda__decoder_close(struct kernel_context *c, struct kernel_decoder_state *t)
{
    if (!t)
        return;
    cuda__free(c, t->layers);
    cuda__free(c, t->words);
    free(t);
}

bool cuda__decoder_fits(const struct kernel_decoder_state *t, int sequences)
{
    return sequences >= 1 && sequences <= DECODER_SEQUENCES && t->stages[sequences] > 0;
}

void cuda__decoder_run(struct kernel_context *c, const struct kernel_decoder_state *t,
                       const int32_t *ids, void *x, void *delta,
                       const struct kernel_sequences *s)
{
    struct decoder_arrays a = t->arrays;
    if (!cuda__decoder_fits(t, s->count) || s->tokens != s->count) {
        cuda__fail(c, "decoder", "not so many sequences");
        return;
    }
    a.s = *s;
    a.ids = ids;
    a.x = x;
    a.delta = delta;
    a.stages = t->stages[s->count];
    a.input = t->input[s->count];
    cuda__decoder_launch(c, &a, t->size);
}
