/* SPDX-License-Identifier: Apache-2.0
 *
 * A decoder of tokens: an embedding, layers of attention and an mlp on a residual
 * stream, a head. GPT-2 and Qwen3 are two fillings of struct transformer_shape and
 * struct family.
 *
 *   residual  x1 -> norm -> qkv -> (rotate) -> attention -> out -> + x1 = x2
 *             x2 -> norm -> up -> activation -> down -> + x2 = x1 of the next layer
 *
 * Each sum is fused with the norm behind it.
 */
#ifndef RWF_MODEL_TRANSFORMER_H
#define RWF_MODEL_TRANSFORMER_H
#include "model/inside.h"

struct transformer_shape {
    int64_t vocab;
    int64_t table; /* rows of the embedding with its padding: a multiple of 128 */
    int64_t width; /* of the residual stream */
    int64_t inner; /* of the mlp */
    int layers, heads, kv_heads, head_size;
    int context; /* most positions */
    enum kernel_norm norm;
    float epsilon;
    double theta; /* of rotary positions; 0: a learned table */
    bool gated;   /* SwiGLU with q and k norms, else GELU */
    bool tied;    /* the head is the embedding's table */
    double embedding_dropout, residual_dropout;
    double std; /* of initial weights */
};

/* The four maps of a layer, in the order of the forward pass. */
enum layer_linear { LAYER_QKV, LAYER_OUT, LAYER_UP, LAYER_DOWN, LAYER_LINEARS };
enum extent { EXTENT_WIDTH, EXTENT_QUERY, EXTENT_KEY, EXTENT_QKV, EXTENT_INNER };

/* How a kind names its parameters. */
struct family {
    const char *model_type, *architecture;
    const char *prefix; /* "transformer.": what files may leave out; NULL: nothing */
    const char *embedding, *positions, *layers, *final_norm;
    const char *norms[2];              /* before attention, before the mlp */
    const char *query_norm, *key_norm; /* NULL: none */
    bool inputs_first, bias;           /* of all its linear maps */
    bool scaled_residual;              /* std / sqrt(2 layers) for out and down */
    struct family_linear {
        const char *module; /* "attn.c_attn" */
        enum layer_linear slot;
        enum extent in, out;
    } linears[7];
    size_t linear_count;
};

struct norm_map {
    int64_t weight, bias; /* -1: none */
};

/* Where things are in their units; all layers are alike. */
struct transformer_map {
    int embedding_unit, first_unit, unit_step, head_unit;
    int64_t table, positions;
    struct norm_map norms[2], final_norm;
    int64_t query_norm, key_norm;
    struct linear linears[LAYER_LINEARS];
    int middles[LAYER_LINEARS]; /* adapters before those of a map in BUF_MIDDLE */
    int middle_count;           /* all of them */
    int64_t head;               /* offset of lm_head in the head's unit */
};

/* --- memory --- */

enum buffer {
    /* one per layer that is kept, [tokens, …] */
    BUF_NORM1,
    BUF_QKV,
    BUF_ROTATED,
    BUF_ATTENTION,
    BUF_X2,
    BUF_NORM2,
    BUF_UP,
    BUF_ACTIVATED,
    BUF_MIDDLE,
    BUF_STATS1,
    BUF_STATS2,
    BUF_HEAD_STATS,
    BUF_LSE,
    /* one per layer */
    BUF_X1,
    /* one */
    BUF_BRANCH,
    BUF_FINAL,
    BUF_HIDDEN,
    BUF_FINAL_STATS,
    BUF_LOGITS,
    BUF_LOSSES,
    BUF_CORRECT,
    BUF_COSINE,
    BUF_SINE,
    BUF_DX,
    BUF_DY,
    BUF_DACTIVATED,
    BUF_DWIDE,
    BUF_DMIDDLE,
    BUF_SCRATCH,
    BUF_COUNT,
};

struct buffer_plan {
    const char *name;
    int64_t stride; /* bytes of one, a multiple of 256 */
    int count;      /* 0: not used */
};

struct transformer {
    struct model *m;
    const struct family *family;
    struct transformer_shape shape;
    struct transformer_map map;
    const char **aliases; /* of parameters */

    /* between begin and end */
    void *block;
    void *buffers[BUF_COUNT];
    int64_t strides[BUF_COUNT];
    int again;     /* the first layers, whose activations are computed again */
    int64_t chunk; /* rows of logits at a time */

    struct pass *pass;
};

/* One forward and backward pass, and the layer it is in. */
struct pass {
    struct transformer *t;
    const struct kernels *k;
    struct kernel_context *c;
    enum kernel_type type;
    int rows, length;
    int64_t n; /* tokens */
    bool dropout;
    uint64_t step;
    int layer, slot; /* slot: which of the per-layer buffers */
    bool again;      /* this forward is a repetition within the backward pass */
    const void *weights, *adapter;
    float *grads, *adapter_grads;
};

/* --- family.c --- */

/* Fills m: units, parameters, t->map. */
int model__family_create(struct model *m, const struct family *f,
                         const struct transformer_shape *s, struct rwf_err *err);

/* --- transformer.c --- */

extern const struct model_ops model__transformer_ops;

/* One of the buffers b. */
void *model__buffer(const struct transformer *t, enum buffer b, int slot);
/* Which of the per-layer buffers is a layer's. */
int model__slot(const struct transformer *t, int layer);
/* Elements of the pass's type into a unit's weights; NULL for -1. */
const void *model__weight(const struct pass *p, int64_t offset);
/* Rate > 0 and training: x (+ place) dropped in the same way in forward and backward.
 */
void model__drop(const struct pass *p, void *y, const void *x, double rate, int place);

/* --- layer.c --- */

void model__layer_forward(struct pass *p);
void model__layer_backward(struct pass *p);
/* The norm after the last layer. */
void model__final_norm(struct pass *p, const void *weights);
void model__final_norm_back(struct pass *p, const void *weights, float *grads);

/* --- head.c --- */

/* Logits and losses; scale > 0: also the gradients of the table, and of the hidden
 * states in BUF_DY, so that no more than a chunk of logits ever exists. */
void model__head(struct pass *p, const struct model_batch *b, float scale);

#endif
