/* SPDX-License-Identifier: Apache-2.0
 *
 * A model: its parameters by name, its forward and its backward pass, written once against
 * the device's table. It owns no parameters: it asks a store for them unit by unit (the
 * embedding, each layer, the head), so that the store may keep them whole, or gathered from
 * other ranks just in time, and may send gradients while the backward pass goes on.
 *
 * Kinds: mlp.c (rows of features), gpt2.c and qwen3.c over transformer.c (tokens), lora.c
 * (adapters beside frozen units). Names and shapes of parameters are Hugging Face's.
 */
#ifndef RWF_MODEL_MODEL_H
#define RWF_MODEL_MODEL_H
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "tensor/device.h"

enum model_init { MODEL_ZERO, MODEL_ONE, MODEL_NORMAL /* mean 0, std */, MODEL_UNIFORM /* ±std */ };

struct model_param {
    const char *name;  /* "model.layers.0.self_attn.q_proj.weight" */
    int dims;          /* 1 or 2 */
    int64_t shape[2];  /* as it lies in memory and in the file, row-major */
    int unit;
    int64_t offset;    /* elements from the unit's start */
    bool decay;        /* weight decay applies */
    enum model_init init;
    float std;
};

struct model_unit {
    const char *name;  /* "layers.0" */
    int64_t count;     /* elements; offsets of parameters are multiples of 64 */
    bool frozen;       /* no gradient: LoRA's base */
};

/* What a model is made of; independent of devices. */
struct model_layout {
    const struct model_param *params;
    size_t param_count;
    const struct model_unit *units; /* in the order of the forward pass */
    size_t unit_count;
    int64_t parameters, trainable;  /* elements, without padding */
};

/* Where parameters are. Between weights and release a pointer stays valid; a unit may be asked
 * for several times in a pass (tied embeddings). */
struct model_store {
    void *ctx;
    const void *(*weights)(void *ctx, int unit); /* of the run's type */
    void (*release)(void *ctx, int unit);
    float *(*grads)(void *ctx, int unit);        /* added to; NULL for frozen units */
    /* The gradients of unit have got all of this backward pass; in reverse order of units,
     * those with tied parameters last. */
    void (*grads_done)(void *ctx, int unit);
};

/* What goes in. Tokens: rows sequences of `length`. Features: rows of `length` 1. On the
 * device, but for the host orders that are uploaded with it. */
struct model_batch {
    int rows;
    const int32_t *ids;       /* [rows * length] */
    const int32_t *order;     /* [rows * length], see kernel_rows; NULL: no backward */
    const int32_t *targets;   /* [rows * length] classes or next tokens; < 0: does not count */
    const float *features;    /* [rows, features] */
    const float *values;      /* [rows, outputs] of a regression */
};

struct model_run {
    struct device *device;
    enum kernel_type type;
    int rows;                 /* most rows of a batch (the micro batch) */
    int length;               /* of a sequence; features: 1 */
    bool train;               /* keep what backward needs */
    uint64_t seed;            /* of dropout */
};

struct model;

/* config: Hugging Face's config.json, see model_config. RWF_E_RECIPE or RWF_E_INPUT with the key
 * that is wrong. */
struct model *model_create(const json_t *config, struct rwf_err *err);
void model_destroy(struct model *m);
const struct model_layout *model_layout(const struct model *m);
/* The config.json, complete; borrowed. Its "model_type": "mlp", "gpt2", "qwen3". */
const json_t *model_config_json(const struct model *m);
/* Allocates the activations as one block. The model then runs in that shape until
 * model_end. */
int model_begin(struct model *m, const struct model_run *run, const struct model_store *store,
                struct rwf_err *err);
void model_end(struct model *m);
/* Bytes of activations model_begin would take, with its rows in *ret (may be NULL) for
 * people: [{"name":…,"bytes":…}]. */
int64_t model_activation_bytes(struct model *m, const struct model_run *run, json_t **ret);
/* FLOPs of forward and backward for one row of `length`: 6 N + 12 L C T per token, as in
 * llm.c (N: parameters without the position table). */
double model_flops(const struct model *m, int length);

/* One pass. scale: what gradients are multiplied with, 1 / (targets of the global batch);
 * 0: no gradients (evaluation). step: for dropout. Queued on the device; model_losses then has
 * the sums. */
void model_forward(struct model *m, const struct model_batch *b, float scale, uint64_t step);
void model_backward(struct model *m, const struct model_batch *b);
/* Device pointers: [rows * length] losses of the last forward, and 1 where the largest output
 * was right (NULL for regressions). */
const float *model_losses(const struct model *m);
const float *model_correct(const struct model *m);
/* Outputs of the last forward with scale 0 and no targets (targets NULL, values NULL):
 * [rows * length, stride] of the run's type. */
const void *model_outputs(const struct model *m, int64_t *ret_columns, int64_t *ret_stride);

/* config.json from what a recipe says of a model ({"type":"transformer","preset":…} or
 * {"type":"mlp",…} with "features" and "outputs" filled in by the data); vocab: of the
 * tokenizer, 0: none. The caller decrefs. RWF_E_RECIPE names the key and the choices. */
json_t *model_config(const json_t *model, int vocab, struct rwf_err *err);
/* {"rank","alpha","targets"} joins a config: model_create then adds LoRA's units. */
int model_config_adapter(json_t *config, const json_t *adapter, struct rwf_err *err);

#endif
