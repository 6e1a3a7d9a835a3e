/* SPDX-License-Identifier: Apache-2.0
 *
 * The host's side of the decoder: which models and how many sequences it is for, its
 * memory, and its arguments.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "decoder.h"

struct kernel_decoder_state {
    struct decoder_arrays arrays; /* but for the step */
    int size;
    int stages[DECODER_SEQUENCES + 1]; /* for so many sequences; 0: they do not fit */
    unsigned input[DECODER_SEQUENCES + 1];
    void *layers, *words; /* the device's */
};

/* --- models it is for --- */

static bool linear_fits(const struct kernel_linear *l, int64_t n, int64_t k)
{
    return l->group == 0 && l->n == n && l->k == k && k % 64 == 0 && n % 8 == 0 &&
           ((uintptr_t)l->w & 15) == 0;
}

static bool layer_fits(const struct kernel_decoder *d,
                       const struct kernel_decoder_layer *l)
{
    int64_t q = (int64_t)d->heads * d->size;
    return linear_fits(&l->qkv, q + 2 * (int64_t)d->kv_heads * d->size, d->hidden) &&
           linear_fits(&l->o, d->hidden, q) &&
           linear_fits(&l->gate_up, 2 * d->inner, d->hidden) &&
           linear_fits(&l->down, d->hidden, d->inner);
}

static bool model_fits(const struct kernel_context *c, const struct kernel_decoder *d)
{
    if (c->capable != 90 || d->type != KERNEL_BF16 || d->layers <= 0 ||
        d->hidden > DECODER_HIDDEN || d->kv_heads <= 0 || d->heads % d->kv_heads != 0 ||
        d->heads / d->kv_heads > DECODER_HEADS || (d->size != 64 && d->size != 128) ||
        d->kv_heads > c->sms)
        return false;
    for (int i = 0; i < d->layers; i++)
        if (!layer_fits(d, &d->layer[i]))
            return false;
    return true;
}

/* --- what does not depend on the step --- */

static void arrays_fill(struct decoder_arrays *a, const struct kernel_decoder *d,
                        int blocks)
{
    int q = d->heads * d->size, k[] = {(int)d->hidden, q, (int)d->hidden, (int)d->inner};
    int n[] = {q + 2 * d->kv_heads * d->size, (int)d->hidden, 2 * (int)d->inner,
               (int)d->hidden};
    *a = (struct decoder_arrays){.layer_count = d->layers,
                                 .hidden = (int)d->hidden,
                                 .inner = (int)d->inner,
                                 .heads = d->heads,
                                 .kv_heads = d->kv_heads,
                                 .epsilon = d->epsilon,
                                 .scale = d->scale,
                                 .cosine = d->cosine,
                                 .sine = d->sine};
    for (int i = 0, first = 0; i < DECODER_PRODUCTS; i++) {
        a->products[i] = (struct decoder_product){n[i] / 8, k[i], first};
        first = (first + n[i] / 8) % blocks;
    }
}

/* Bytes of the largest input of a product, or of attention's scratch. */
static unsigned input_bytes(const struct kernel_decoder *d, int sequences)
{
    int64_t k = d->inner > d->hidden ? d->inner : d->hidden;
    k = k > (int64_t)d->heads * d->size ? k : (int64_t)d->heads * d->size;
    unsigned rows = (unsigned)sequences * (unsigned)(k * 2 + 64);
    unsigned scratch = cuda__decoder_scratch(d->heads / d->kv_heads, d->size);
    /* What warps leave of products is behind, and not in use then. */
    scratch = scratch > DECODER_SUMS ? scratch - DECODER_SUMS : 0;
    return rows > scratch ? rows : scratch;
}

/* Stages of the ring for as many sequences; 0: too many sequences. */
static int stages_of(struct decoder_arrays *a, const struct kernel_decoder *d,
                     int sequences, size_t shared)
{
    a->s.count = sequences;
    a->input = input_bytes(d, sequences);
    size_t beside = cuda__decoder_beside(a);
    int stages = beside < shared ? (int)((shared - beside) / DECODER_STAGE) : 0;
    return stages >= DECODER_LEAST_STAGES
               ? (stages < DECODER_MOST_STAGES ? stages : DECODER_MOST_STAGES)
               : 0;
}

/* --- memory --- */

static void words_place(uint64_t *base, size_t *at, uint64_t **ret, size_t count)
{
    *ret = base + *at;
    *at += (count + 31) / 32 * 32;
}

/* Words of all kinds, and behind them the epoch; how many. base NULL: only that. */
static size_t words_carve(struct decoder_arrays *a, const struct kernel_decoder *d,
                          uint64_t *base, int blocks)
{
    size_t s = DECODER_SEQUENCES, at = 0, size = (size_t)d->size;
    size_t items = (size_t)blocks + s * (size_t)d->kv_heads;
    struct decoder_words *w = &a->words;
    uint64_t *epoch;
    words_place(base, &at, &w->qkv,
                s * ((size_t)d->heads + 2 * (size_t)d->kv_heads) * size / 2);
    words_place(base, &at, &w->out, s * (size_t)d->heads * size / 2);
    words_place(base, &at, &w->act, s * (size_t)d->inner / 2);
    words_place(base, &at, &w->delta_o, s * (size_t)d->hidden / 2);
    words_place(base, &at, &w->delta_down, s * (size_t)d->hidden / 2);
    words_place(base, &at, &w->parts,
                items * (size_t)(d->heads / d->kv_heads) * (size + 2));
    words_place(base, &at, &epoch, 1);
    a->epoch = (unsigned *)epoch;
    return at;
}

static bool layers_upload(struct kernel_context *c, struct kernel_decoder_state *t,
                          const struct kernel_decoder *d)
{
    size_t bytes = (size_t)d->layers * sizeof(struct decoder_layer);
    struct decoder_layer *layers = calloc((size_t)d->layers, sizeof *layers);
    char error[8];
    t->layers = cuda__alloc(c, bytes);
    if (!layers || !t->layers) {
        free(layers);
        return false;
    }
    for (int i = 0; i < d->layers; i++) {
        const struct kernel_decoder_layer *l = &d->layer[i];
        layers[i] = (struct decoder_layer){
            l->norm1, l->norm2, l->q_norm, l->k_norm,
            {l->qkv.w, l->o.w, l->gate_up.w, l->down.w}, l->keys, l->values};
    }
    cuda__upload(c, t->layers, layers, bytes);
    bool done = cuda__sync(c, error, sizeof error) == 0;
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
    size_t bytes = words_carve(&t->arrays, d, NULL, c->sms) * sizeof(uint64_t);
    t->words = cuda__alloc(c, bytes);
    if (t->words)
        cuda__zero(c, t->words, bytes);
    if (!t->words || !layers_upload(c, t, d)) {
        cuda__decoder_close(c, t);
        return NULL;
    }
    words_carve(&t->arrays, d, t->words, c->sms);
#ifdef DECODER_TIMES
    t->arrays.times = cuda__alloc(c, (size_t)d->layers * 20 * 8);
#endif
    return t;
}

void cuda__decoder_close(struct kernel_context *c, struct kernel_decoder_state *t)
{
    if (!t)
        return;
#ifdef DECODER_TIMES
    int n = t->arrays.layer_count;
    long long *v = calloc((size_t)n * 20, 8);
    cudaMemcpy(v, t->arrays.times, (size_t)n * 160, cudaMemcpyDeviceToHost);
    for (int b = 0; b < 2; b++) {
        printf("block %s, clocks:", b ? "last" : "first");
        const char *names[] = {"x", "qkv", "attn", "out", "o", "x2", "gate_up", "act", "down"};
        for (int p = 0; p < 9; p++) {
            double sum = 0;
            for (int l = 1; l < n; l++)
                sum += (double)(v[(b * n + l) * 10 + p + 1] - v[(b * n + l) * 10 + p]);
            printf(" %s %.0f", names[p], sum / (n - 1));
        }
        printf("; layer %.0f\n", (double)(v[(b * n + n - 1) * 10] - v[b * n * 10 + 10]) / (n - 2));
    }
    free(v);
#endif
    cuda__free(c, t->layers);
    cuda__free(c, t->words);
    free(t);
}

bool cuda__decoder_fits(const struct kernel_decoder_state *t, int sequences)
{
    return sequences >= 1 && sequences <= DECODER_SEQUENCES && t->stages[sequences] > 0;
}

void cuda__decoder_run(struct kernel_context *c, const struct kernel_decoder_state *t,
                       void *x, void *delta, const struct kernel_sequences *s)
{
    struct decoder_arrays a = t->arrays;
    if (!cuda__decoder_fits(t, s->count) || s->tokens != s->count) {
        cuda__fail(c, "decoder", "not so many sequences");
        return;
    }
    a.s = *s;
    a.x = x;
    a.delta = delta;
    a.stages = t->stages[s->count];
    a.input = t->input[s->count];
    cuda__decoder_launch(c, &a, t->size);
}
