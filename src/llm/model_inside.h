/* SPDX-License-Identifier: Apache-2.0
 *
 * What the parts of a model share: weights.c puts them on the device, forward.c queues
 * the layers of a step, model_step.c packs what goes in and takes what comes out,
 * memory.c knows all sizes.
 */
#ifndef RWF_LLM_MODEL_INSIDE_H
#define RWF_LLM_MODEL_INSIDE_H
#include <stdbool.h>
#include "llm/memory.h"
#include "llm/model.h"

/* --- weights.c --- */

/* y [m, n] = x [m, k] W^T. */
struct llm_linear {
    int64_t n, k;
    void *w;             /* [n, k] of the run's type, or packed */
    struct kernel_q4 q4; /* group 0: plain */
};

struct llm_layer {
    void *norm1, *norm2;   /* [hidden] */
    void *q_norm, *k_norm; /* [size] */
    struct llm_linear qkv, o, gate_up, down;
};

struct llm_weights {
    void *
        table; /* the embedding, and a row of zeros before it: that of "no token", -1 */
    void *embed; /* [vocab, hidden] in it */
    void *head;  /* [vocab, hidden]; tied: embed */
    void *norm;  /* [hidden] */
    struct llm_layer *layers;
    void *block; /* all of them on the device */
};

struct llm_weight_sizes {
    int64_t embedding, head, layers; /* layers: with all norms */
};

void llm__weight_sizes(const struct llm_config *c, enum kernel_type type,
                       struct device *d, struct llm_weight_sizes *ret);
int llm__weights_load(struct llm_weights *w, const char *folder,
                      const struct llm_config *c, const struct llm_model_options *o,
                      struct rwf_err *err);
void llm__weights_free(struct llm_weights *w, struct device *d);

/* --- memory.c --- */

/* Bytes of the buffers of a step, each of them for the largest one. */
struct llm_sizes {
    int rows, sequences; /* of a step at most, padding included */
    int stride;          /* blocks of a sequence at most */
    int64_t x;           /* [rows, hidden]: residual, normed, delta */
    int64_t layer;       /* attention's qkv, q, out; or the MLP's gate|up and product */
    int64_t stats;       /* [rows, 2] float */
    int64_t gathered;    /* [sequences, hidden] of x, delta, normed */
    int64_t logits;      /* [sequences, vocab] float */
    int64_t angles;      /* [max_length, size / 2] float, of cosine and sine */
    int64_t in;          /* what goes in, packed */
    int64_t drawn;       /* ids that come out */
    int64_t attention, q4, sample; /* scratch of kernels */
    int64_t edits;
};

#define LLM_EDITS 65536 /* room for so many at first */

/* Sequences of a step without prompts are padded to as many. */
int llm__padded(int sequences);
void llm__sizes(const struct llm_config *c, const struct llm_model_options *o,
                struct llm_sizes *ret);
/* Without pointers, and what goes with them. */
struct kernel_decoder llm__decoder_shape(const struct llm_config *c,
                                         enum kernel_type type);

/* --- forward.c, model_step.c --- */

/* Where things are in what goes in; offsets in bytes. The first part is all that the
 * layers look at, and depends only on rows, sequences and stride; what is drawn
 * follows. */
struct llm_layout {
    int rows, sequences, stride;
    size_t ids, positions, slots, first, context, blocks;
    size_t last, each; /* of the sequences: last rows, padded; 0, 1, 2 … count */
    size_t
        gather; /* rows whose state is wanted; behind them room for those of prompts */
    size_t temperature, top_p, min_p, top_k, seed, step, mask_row, mask;
    size_t end;
};

/* Layout of the part that the layers look at, and of the rest for so many rows drawn
 * (and gathered) and masks. */
void llm__layout(struct llm_layout *l, int rows, int sequences, int stride);
void llm__layout_draws(struct llm_layout *l, int gathered, int draws, int masks,
                       int64_t vocab);

/* What the layers of a step look at. */
struct llm_pass {
    struct llm_layout at;
    int most, longest, prompts; /* see kernel_sequences */
    bool ends;         /* only the states after the sequences' last tokens are wanted */
};

/* A step as it was begun, until the one after the next begins. */
struct llm_step {
    struct llm_pass pass;
    bool begun;
    int count; /* rows of the caller */
    int gathered,
        draws;  /* rows whose state is wanted, first those whose successor is, too */
    bool whole; /* these are all rows in their order: nothing is gathered */
    int masks, edits;
    struct llm_placed *rows; /* [max sequences] of the caller's rows */
    char *in;                /* host: what goes in */
    int32_t *drawn;          /* host: what comes out */
    float *logits;           /* host: of the rows with logprobs; grows */
    int64_t logits_rows;
    char *states; /* host [sequences, hidden] of type, when embeddings were wanted */
    struct kernel_edit *edit; /* host; grows */
    int64_t edit_room;
    struct llm_logprob *logprobs; /* what finish and prompts tell; grows */
    size_t logprob_count, logprob_cap;
};

/* What became of a row of the caller. */
struct llm_placed {
    int last;     /* its last token's row in the step */
    int gathered; /* of the rows whose state is wanted; -1: not */
    int draw;     /* of those drawn; -1: not */
    int logits;   /* of those downloaded; -1: not */
    int logprobs; /* as asked for */
    float *embedding;
    size_t prompt; /* 1 + where its prompt's logprobs begin; 0: none */
};

struct llm_recorded {
    int sequences, longest;
    int seen;
    struct kernel_graph *graph;
};

struct llm_buffers {
    void *x, *normed, *delta; /* [rows, hidden] */
    char *layer;
    float *stats;
    void *some, *some_delta, *some_normed; /* [sequences, hidden] */
    float *logits;                         /* [sequences, vocab] */
    float *cosine, *sine;
    char *in;
    int32_t *drawn;
    void *q4, *sample;
};

struct llm_model {
    struct llm_config config;
    struct llm_model_options o;
    struct device *d;
    struct llm_memory memory;
    struct llm_sizes sizes;
    struct llm_weights weights;
    struct llm_buffers b;
    void *block, *cache;
    void *attention; /* scratch, may grow */
    int64_t attention_bytes;
    struct kernel_edit *edits; /* on the device, may grow */
    int64_t edit_room;
    struct llm_step steps[2];
    int current; /* the step that is begun next */
    struct llm_recorded *recorded;
    size_t recorded_count, recorded_cap;
    struct kernel_decoder_state *decoder; /* NULL: not for this model or device */
    /* For calibration, on the CPU: the input of a layer's attention, then of its MLP,
     * [rows, hidden] of type, while a step runs. NULL: nobody looks. */
    void (*observe)(void *ctx, int layer, bool mlp, const void *x, int64_t rows);
    void *observe_ctx;
};

/* Keys (second false) or values of a layer in the cache. */
void *llm__cache(const struct llm_model *m, int layer, bool values);
/* Embeds and goes through all layers: x and delta, whose sum is the last layer's
 * output. With ends, `some` and some_delta: a row for each sequence. */
void llm__layers(struct llm_model *m, const struct llm_pass *p);
/* Opens m->decoder, where there is one; weights, cache and buffers are there. */
void llm__decoder_open(struct llm_model *m);
/* The same for one token of each of the sequences: recorded, when they come often. */
int llm__layers_decode(struct llm_model *m, const struct llm_pass *p,
                       struct rwf_err *err);
/* Logits of n rows of what the layers left: those of `rows` on the device, or (NULL)
 * all n. The states are in the result, [n, hidden] of type. logits: of so many of them.
 */
const void *llm__head(struct llm_model *m, const struct llm_pass *p,
                      const int32_t *rows, int n, int logits);
/* Room for the attention of such a pass. */
int llm__attention_room(struct llm_model *m, const struct llm_pass *p,
                        struct rwf_err *err);
void llm__recorded_free(struct llm_model *m);

/* --- model_rope.c --- */

/* Cosines and sines of positions 0 .. count - 1, [count, size / 2] each, on the host.
 */
void llm__angles(const struct llm_config *c, int count, float *cosine, float *sine);

/* --- model_logprobs.c --- */

/* Of logits [vocab]: into ret[0] that of id, into ret[1 .. most] the largest in their
 * order. */
void llm__logprobs(const float *logits, int64_t vocab, int32_t id, int most,
                   struct llm_logprob *ret);

#endif
