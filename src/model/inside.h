/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside of src/model: what its files share and nobody else sees.
 *
 *   model.c        the functions of model.h, each passed on through struct model_ops
 *   layout.c       parameters placed in units
 *   linear.c       one linear map, with LoRA beside it, forward and backward
 *   config.c       recipe -> config.json; presets.c: the sizes that have names
 *   family.c       names and shapes of a transformer's parameters
 *   gpt2.c, qwen3.c: the facts
 *   transformer.c  a transformer's memory and passes; layer.c: one layer; head.c: loss
 *   mlp.c          rows of features
 *   lora.c         targets, names, merging
 */
#ifndef RWF_MODEL_INSIDE_H
#define RWF_MODEL_INSIDE_H
#include "base/arena.h"
#include "model/model.h"

#define MODEL_ALIGN 64 /* offsets of parameters, in elements */

static inline int64_t model__round(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}

/* --- a kind of model --- */

struct model_ops {
    void (*destroy)(void *own);
    int (*begin)(struct model *m, struct rwf_err *err);
    void (*end)(struct model *m);
    int64_t (*activation_bytes)(struct model *m, const struct model_run *run,
                                json_t **ret);
    double (*flops)(const struct model *m, int length);
    void (*forward)(struct model *m, const struct model_batch *b, float scale,
                    uint64_t step);
    void (*backward)(struct model *m, const struct model_batch *b);
    const float *(*losses)(const struct model *m);
    const float *(*correct)(const struct model *m);
    const void *(*outputs)(const struct model *m, int64_t *ret_columns,
                           int64_t *ret_stride);
    /* Another name of the i-th parameter in files, or NULL. */
    const char *(*alias)(const struct model *m, size_t i);
};

struct lora;

struct model {
    const struct model_ops *ops;
    void *own; /* struct transformer, struct mlp */
    json_t *config;
    struct rwf_arena *arena; /* names */
    struct model_layout layout;
    struct lora *lora; /* NULL without an adapter */
    bool running;
    struct model_run run;     /* between begin and end */
    struct model_store store; /* likewise */
};

int model__mlp_create(struct model *m, struct rwf_err *err);
int model__gpt2_create(struct model *m, struct rwf_err *err);
int model__qwen3_create(struct model *m, struct rwf_err *err);

/* --- layout.c --- */

struct layout {
    struct rwf_arena *arena;
    struct model_param *params;
    size_t param_count, param_cap;
    struct model_unit *units;
    size_t unit_count, unit_cap;
};

struct layout_param {
    const char *name;
    int dims;
    int64_t shape[2];
    enum model_init init;
    float std;
};

/* Begins a unit; the parameters added next are its. */
int model__layout_unit(struct layout *l, const char *name, bool frozen);
/* The offset in the unit. */
int64_t model__layout_add(struct layout *l, const struct layout_param *p);
/* Room of zeros behind the last parameter: products may read and write it. */
void model__layout_pad(struct layout *l, int64_t elements);
void model__layout_finish(struct layout *l, struct model_layout *ret);

/* --- linear.c --- */

#define LINEAR_PARTS 3

struct linear_part {
    int64_t out;    /* its columns of the output */
    int64_t weight; /* offset in the unit */
    int64_t bias;   /* likewise, -1: none */
    int64_t a, b;   /* LoRA: offsets in the adapter's unit, -1: none */
};

/* y [n, stride] = x [n, in] W^T + bias, where W is stored [out, in], or [in, out] when
 * `inputs_first` (GPT-2's Conv1D). Parts share x and lie side by side in y. */
struct linear {
    int64_t in, out;
    int64_t stride; /* of y, at least out */
    bool inputs_first;
    bool fused; /* the parts' weights are contiguous: one product does all */
    int parts;
    struct linear_part part[LINEAR_PARTS];
};

/* What a linear map works with in one place of one pass. */
struct linear_run {
    struct device *device;
    enum kernel_type type;
    int64_t n;
    const void *weights; /* of the unit */
    float *grads;        /* NULL: frozen */
    const void *adapter; /* the adapter's unit, NULL: none */
    float *adapter_grads;
    void *middle; /* [n, rank] of each adapted part one after another, kept for backward
                   */
    void *dmiddle; /* [n, rank] scratch */
    int rank;
    float scale; /* alpha / rank */
};

/* After all parts are added: sets in, out, fused. stride 0: out. */
void model__linear_finish(struct linear *l, int64_t in, int64_t stride);
bool model__linear_adapted(const struct linear *l);
/* before: gets the value before act, NULL: not kept (but wanted where an adapter is).
 */
void model__linear_forward(const struct linear *l, const struct linear_run *r, void *y,
                           const void *x, enum kernel_activation act, void *before);
/* dx NULL: not wanted. */
void model__linear_backward(const struct linear *l, const struct linear_run *r,
                            void *dx, const void *dy, const void *x);

/* --- config.c, presets.c --- */

/* A transformer's sizes in the recipe's terms; 0: not said. */
struct sizes {
    const char *name; /* of the preset */
    const char *family;
    int64_t layers, hidden, heads, kv_heads, head_dim, inner, context, vocab;
    double theta, epsilon, dropout;
    bool tied;
};
/* NULL with did-you-mean when there is no such preset. */
const struct sizes *model__preset(const char *name, struct rwf_err *err);
json_t *model__gpt2_config(const struct sizes *s);
json_t *model__qwen3_config(const struct sizes *s);

/* --- lora.c --- */

struct lora_pair {
    const char *module; /* "self_attn.q_proj" */
    size_t base, a, b;  /* parameters */
    bool inputs_first;  /* of the base */
};

struct lora {
    int rank;
    double alpha;
    const json_t *targets; /* array of names, in the config */
    struct lora_pair *pairs;
    size_t count, cap;
};

/* NULL with *err untouched when config has no adapter; modules: the names there are. */
int model__lora_create(struct model *m, const char *const *modules, size_t count,
                       struct rwf_err *err);
void model__lora_destroy(struct lora *l);
/* module: "self_attn.q_proj" is meant by "q_proj" and by its whole name. */
bool model__lora_targets(const struct lora *l, const char *module);
/* Adds A and B for pair's base, a weight of module, and sets their offsets in part. */
void model__lora_add(struct lora *l, struct layout *to, struct lora_pair pair,
                     struct linear_part *part);

#endif
