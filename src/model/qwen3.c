/* SPDX-License-Identifier: Apache-2.0
 *
 * Qwen3, the dense ones: RMSNorm, rotary positions after a norm of each query and key
 * head, grouped keys and values, SwiGLU, no biases, weights stored [out, in]. The width
 * of the queries is heads * head_dim, which need not be the hidden size. Source:
 * transformers, models/qwen3 (names, shapes, keys of config.json, of version 4 and,
 * with rope_parameters, of 5).
 */
#include "config.h"

#include <string.h>

#include "base/json_read.h"
#include "base/mem.h"
#include "model/transformer.h"

static const struct family qwen3 = {
    .model_type = "qwen3",
    .architecture = "Qwen3ForCausalLM",
    .embedding = "model.embed_tokens",
    .layers = "model.layers",
    .final_norm = "model.norm",
    .norms = {"input_layernorm", "post_attention_layernorm"},
    .query_norm = "self_attn.q_norm.weight",
    .key_norm = "self_attn.k_norm.weight",
    .linears =
        {
            {"self_attn.q_proj", LAYER_QKV, EXTENT_WIDTH, EXTENT_QUERY},
            {"self_attn.k_proj", LAYER_QKV, EXTENT_WIDTH, EXTENT_KEY},
            {"self_attn.v_proj", LAYER_QKV, EXTENT_WIDTH, EXTENT_KEY},
            {"self_attn.o_proj", LAYER_OUT, EXTENT_QUERY, EXTENT_WIDTH},
            {"mlp.gate_proj", LAYER_UP, EXTENT_WIDTH, EXTENT_INNER},
            {"mlp.up_proj", LAYER_UP, EXTENT_WIDTH, EXTENT_INNER},
            {"mlp.down_proj", LAYER_DOWN, EXTENT_INNER, EXTENT_WIDTH},
        },
    .linear_count = 7,
};

/* "default" positions only. rope_scaling is version 4's key, rope_parameters 5's. */
static void refuse_scaling(struct rwf_reader *r, const char *key)
{
    const json_t *rope = rwf_read_object(r, key);
    struct rwf_reader inside = {rope, r->what, r->code, r->err, r->failed};
    if (rope == NULL)
        return;
    const char *type = rwf_read_text(&inside, "rope_type", NULL);
    if (type == NULL)
        type = rwf_read_text(&inside, "type", "default");
    if (strcmp(type, "default") != 0)
        rwf_read_fail(&inside, "'%s' asks for %s: scaled positions are not done", key,
                      type);
    if (rwf_read_number(&inside, "partial_rotary_factor", 1, 0, 1) != 1)
        rwf_read_fail(&inside, "'%s': partial rotation is not done", key);
    r->failed = inside.failed;
}

static void refuse_windows(struct rwf_reader *r)
{
    const json_t *types = json_object_get(r->object, "layer_types");
    for (size_t i = 0; i < json_array_size(types); i++) {
        const char *type = json_string_value(json_array_get(types, i));
        if (type == NULL || strcmp(type, "full_attention") != 0)
            rwf_read_fail(r, "'layer_types' has '%s'; only full_attention is done",
                          type != NULL ? type : "something that is not text");
    }
    if (rwf_read_bool(r, "use_sliding_window", false))
        rwf_read_fail(r, "'use_sliding_window': sliding windows are not done");
}

/* What would change the arithmetic is refused by name. */
static void refuse(struct rwf_reader *r)
{
    const char *act = rwf_read_text(r, "hidden_act", "silu");
    if (strcmp(act, "silu") != 0)
        rwf_read_fail(r, "'hidden_act' is '%s'; only silu is done", act);
    if (rwf_read_bool(r, "attention_bias", false))
        rwf_read_fail(r, "'attention_bias': true is not done");
    if (rwf_read_number(r, "attention_dropout", 0, 0, 1) != 0)
        rwf_read_fail(r, "'attention_dropout' is not done: set it to 0");
    if (json_object_get(r->object, "quantization_config") != NULL)
        rwf_read_fail(r, "'quantization_config': quantised weights cannot be trained");
    refuse_scaling(r, "rope_scaling");
    refuse_scaling(r, "rope_parameters");
    refuse_windows(r);
}

static double theta(struct rwf_reader *r)
{
    const json_t *rope = json_object_get(r->object, "rope_parameters");
    double top = rwf_read_number(r, "rope_theta", 10000, 1, 1e12);
    if (!json_is_object(rope))
        return top;
    struct rwf_reader inside = {rope, r->what, r->code, r->err, r->failed};
    double value = rwf_read_number(&inside, "rope_theta", top, 1, 1e12);
    r->failed = inside.failed;
    return value;
}

static void check(struct rwf_reader *r, const struct transformer_shape *s)
{
    if (!r->failed && s->heads % s->kv_heads != 0)
        rwf_read_fail(
            r, "'num_attention_heads' %d is not a multiple of 'num_key_value_heads' %d",
            s->heads, s->kv_heads);
    if (!r->failed && s->head_size % 2 != 0)
        rwf_read_fail(r, "'head_dim' %d is odd: rotary positions need pairs",
                      s->head_size);
}

int model__qwen3_create(struct model *m, struct rwf_err *err)
{
    struct rwf_reader r = {m->config, "config.json", RWF_E_INPUT, err, false};
    struct transformer_shape s = {.norm = KERNEL_RMSNORM, .gated = true};
    s.width = rwf_read_int(&r, "hidden_size", RWF_READ_REQUIRED, 1, 1 << 20);
    s.layers = (int)rwf_read_int(&r, "num_hidden_layers", RWF_READ_REQUIRED, 1, 10000);
    s.heads =
        (int)rwf_read_int(&r, "num_attention_heads", RWF_READ_REQUIRED, 1, 1 << 16);
    s.kv_heads = (int)rwf_read_int(&r, "num_key_value_heads", s.heads, 1, 1 << 16);
    s.head_size = (int)rwf_read_int(&r, "head_dim", 128, 1, 1 << 16);
    s.inner = rwf_read_int(&r, "intermediate_size", RWF_READ_REQUIRED, 1, 1 << 24);
    s.context = (int)rwf_read_int(&r, "max_position_embeddings", 32768, 1, 1 << 30);
    s.vocab = rwf_read_int(&r, "vocab_size", RWF_READ_REQUIRED, 1, 1 << 30);
    s.epsilon = (float)rwf_read_number(&r, "rms_norm_eps", 1e-6, 0, 1);
    s.std = rwf_read_number(&r, "initializer_range", 0.02, 0, 10);
    s.tied = rwf_read_bool(&r, "tie_word_embeddings", false);
    refuse(&r);
    s.theta = theta(&r);
    check(&r, &s);
    return r.failed ? -1 : model__family_create(m, &qwen3, &s, err);
}

/* Version 4's spelling, which version 5 reads as well. Ids of the published vocabulary.
 */
json_t *model__qwen3_config(const struct sizes *s)
{
    bool own = s->vocab != 151936;
    return json_pack(
        "{s:[s], s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:f, s:f, s:f, s:n, "
        "s:b, s:f, s:b, s:n, s:I, s:b, s:b, s:o, s:o}",
        "architectures", qwen3.architecture, "model_type", qwen3.model_type,
        "vocab_size", (json_int_t)s->vocab, "hidden_size", (json_int_t)s->hidden,
        "intermediate_size", (json_int_t)s->inner, "num_hidden_layers",
        (json_int_t)s->layers, "num_attention_heads", (json_int_t)s->heads,
        "num_key_value_heads", (json_int_t)s->kv_heads, "head_dim",
        (json_int_t)s->head_dim, "max_position_embeddings", (json_int_t)s->context,
        "hidden_act", "silu", "initializer_range", 0.02, "rms_norm_eps", s->epsilon,
        "rope_theta", s->theta, "rope_scaling", "attention_bias", 0,
        "attention_dropout", 0.0, "use_sliding_window", 0, "sliding_window",
        "max_window_layers", (json_int_t)s->layers, "tie_word_embeddings", (int)s->tied,
        "use_cache", 1, "bos_token_id", own ? json_null() : json_integer(151643),
        "eos_token_id", own ? json_null() : json_integer(151645));
}
