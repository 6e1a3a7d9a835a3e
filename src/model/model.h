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
    int64_t offset;    /* elements from the unit's start; between parameters are zeros, which
                          products may read and add zeros to: keep them zero */
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
     * those with tied parameters last. Not called for frozen units. Gradients of the head
     * come already in the forward pass (its logits are not kept). */
    void (*grads_done)(void *ctx, int unit);
};

/* What goes in. Tokens: rows sequences of `length`. Features: rows of `length` 1. On the
 * device, but for the host orders that are uploaded with it. */
struct model_batch {
    int rows;                 /* 0: nothing is done but to call the store as ever */
    int length;               /* of a sequence, at most the run's; 0: the run's */
    const int32_t *ids;       /* [rows * length] */
    const int32_t *order;     /* [rows * length], see kernel_rows; NULL: no backward */
    const int32_t *targets;   /* [rows * length] classes or next tokens; < 0: does not count */
    const float *features;    /* [rows, features] */
    const float *values;      /* [rows, outputs] of a regression */
    /* Tokens without targets: whose outputs are wanted, of rows * length; count 0: all. No
     * more than fit into the logits of a chunk (model_run). */
    int64_t outputs_first, outputs_count;
};

struct model_run {
    struct device *device;
    enum kernel_type type;
    int rows;                 /* most rows of a batch (the micro batch) */
    int length;               /* of a sequence; features: 1 */
    bool train;               /* keep what backward needs */
    uint64_t seed;            /* of dropout */
    int64_t logits_bytes;     /* most for the logits, made in chunks; 0: 2 GiB */
    int recompute;            /* layers whose activations are computed again in the backward
                                 pass; 0: as few as fit into what is free now, so allocate
                                 all else before model_begin */
};

struct model;

/* config: Hugging Face's config.json, see model_config. RWF_E_RECIPE or RWF_E_INPUT with the key
 * that is wrong. */
struct model *model_create(const json_t *config, struct rwf_err *err);
void model_destroy(struct model *m);
const struct model_layout *model_layout(const struct model *m);
/* The config.json, complete; borrowed. Its "model_type": "mlp", "gpt2", "qwen3". */
const json_t *model_config_json(const struct model *m);
/* Another name that files may have for a parameter (GPT-2's without "transformer."), or NULL. */
const char *model_param_alias(const struct model *m, size_t param);
/* Allocates the activations as one block. The model then runs in that shape until
 * model_end. */
int model_begin(struct model *m, const struct model_run *run, const struct model_store *store,
                struct rwf_err *err);
void model_end(struct model *m);
/* Bytes of activations model_begin would take, with its rows in *ret (may be NULL) for
 * people: [{"name":…,"bytes":…}]. */
int64_t model_activation_bytes(struct model *m, const struct model_run *run, json_t **ret);
/* FLOPs of forward and backward for one row of `length`: 6 N + 12 L C T per token, as PaLM
 * and nanoGPT count (N: parameters without tables that are only looked up; C: width of the
 * queries; attention as if not causal; frozen parameters 4). Work done twice is not counted. */
double model_flops(const struct model *m, int length);

/* One pass. scale: what gradients are multiplied with, 1 / (targets of the global batch);
 * 0: no gradients, no dropout (evaluation). step: for dropout, another one for each micro
 * batch. Queued on the device; model_losses then has the losses. */
void model_forward(struct model *m, const struct model_batch *b, float scale, uint64_t step);
void model_backward(struct model *m, const struct model_batch *b);
/* Device pointers: [rows * length] losses of the last forward, and 1 where the largest output
 * was right (NULL for regressions). */
const float *model_losses(const struct model *m);
const float *model_correct(const struct model *m);
/* Outputs of the last forward with scale 0 and no targets (targets NULL, values NULL):
 * [rows * length, stride] (or those asked for) of the run's type. */
const void *model_outputs(const struct model *m, int64_t *ret_columns, int64_t *ret_stride);

/* config.json from what a recipe says of a model ({"type":"transformer","preset":…} or "from":
 * a folder, or {"type":"mlp",…} with "features" and "outputs" as numbers and "class_weights" as
 * a list (or without) filled in by the data); vocab: of the tokenizer, 0: none. The caller decrefs. RWF_E_RECIPE names the key and the choices. */
json_t *model_config(const json_t *model, int vocab, struct rwf_err *err);
/* {"rank","alpha","targets"} joins a config as "adapter": model_create then adds LoRA's units
 * ("layers.0.adapter" behind the frozen "layers.0"), with PEFT's names of parameters.
 * model_config does it itself where the recipe's model has an adapter. */
int model_config_adapter(json_t *config, const json_t *adapter, struct rwf_err *err);

/* --- LoRA, on the host --- */

/* True when a frozen parameter has an adapter: the numbers of its A and B. */
bool model_adapter_of(const struct model *m, size_t param, size_t *ret_a, size_t *ret_b);
/* weight += alpha / rank * B A, all as floats of those parameters' shapes: the weight of a
 * checkpoint without adapters (drop "adapter" from its config). */
void model_merge(const struct model *m, size_t param, float *weight, const float *a,
                 const float *b);
/* A checkpoint's folder (model.safetensors, config.json) with adapters, made into what other
 * tools load: model.safetensors becomes the base with the adapters merged into it, config.json
 * loses "adapter", and adapter/ gets them as PEFT has them. A folder without: nothing. */
int model_merge_folder(const char *folder, struct rwf_err *err);
/* PEFT's adapter_config.json, for a folder with the trainable parameters as
 * adapter_model.safetensors; base: path or name of the frozen model, or NULL. The caller
 * decrefs; NULL without an adapter. */
json_t *model_adapter_config(const struct model *m, const char *base);

#endif
