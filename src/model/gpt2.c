/* SPDX-License-Identifier: Apache-2.0
 *
 * GPT-2: LayerNorm, learned positions, one matrix for queries, keys and values, GELU
 * (its tanh approximation), weights stored [in, out], the head tied to the embedding.
 * Source: transformers, models/gpt2 (names, shapes, keys of config.json).
 *
 * attn_pdrop (dropout of attention's probabilities) is taken as 0: a fused kernel never
 * has the probabilities, and models are trained without it today. Configs made here say
 * 0; published ones say 0.1 and are used as if they said 0.
 */
#include "config.h"

#include <string.h>

#include "base/json_read.h"
#include "base/mem.h"
#include "model/transformer.h"

static const struct family gpt2 = {
    .model_type = "gpt2",
    .architecture = "GPT2LMHeadModel",
    .prefix = "transformer.",
    .embedding = "transformer.wte",
    .positions = "transformer.wpe",
    .layers = "transformer.h",
    .final_norm = "transformer.ln_f",
    .norms = {"ln_1", "ln_2"},
    .inputs_first = true,
    .bias = true,
    .scaled_residual = true,
    .linears =
        {
            {"attn.c_attn", LAYER_QKV, EXTENT_WIDTH, EXTENT_QKV},
            {"attn.c_proj", LAYER_OUT, EXTENT_QUERY, EXTENT_WIDTH},
            {"mlp.c_fc", LAYER_UP, EXTENT_WIDTH, EXTENT_INNER},
            {"mlp.c_proj", LAYER_DOWN, EXTENT_INNER, EXTENT_WIDTH},
        },
    .linear_count = 4,
};

/* What would change the arithmetic is refused by name. */
static void refuse(struct rwf_reader *r)
{
    const char *act = rwf_read_text(r, "activation_function", "gelu_new");
    if (strcmp(act, "gelu_new") != 0 && strcmp(act, "gelu_pytorch_tanh") != 0)
        rwf_read_fail(r, "'activation_function' is '%s'; only gelu_new is done", act);
    if (!rwf_read_bool(r, "scale_attn_weights", true))
        rwf_read_fail(r, "'scale_attn_weights': false is not done");
    static const char *const flags[] = {"scale_attn_by_inverse_layer_idx",
                                        "add_cross_attention"};
    for (size_t i = 0; i < RWF_COUNT(flags); i++)
        if (rwf_read_bool(r, flags[i], false))
            rwf_read_fail(r, "'%s': true is not done", flags[i]);
    if (json_object_get(r->object, "quantization_config") != NULL)
        rwf_read_fail(r, "'quantization_config': quantised weights cannot be trained");
}

int model__gpt2_create(struct model *m, struct rwf_err *err)
{
    struct rwf_reader r = {m->config, "config.json", RWF_E_INPUT, err, false};
    struct transformer_shape s = {.norm = KERNEL_LAYERNORM};
    s.width = rwf_read_int(&r, "n_embd", 768, 1, 1 << 20);
    s.layers = (int)rwf_read_int(&r, "n_layer", 12, 1, 10000);
    s.heads = s.kv_heads = (int)rwf_read_int(&r, "n_head", 12, 1, 1 << 16);
    s.context = (int)rwf_read_int(&r, "n_positions", 1024, 1, 1 << 30);
    s.vocab = rwf_read_int(&r, "vocab_size", 50257, 1, 1 << 30);
    s.inner = rwf_read_int(&r, "n_inner", 4 * s.width, 1, 1 << 24);
    s.epsilon = (float)rwf_read_number(&r, "layer_norm_epsilon", 1e-5, 0, 1);
    s.std = rwf_read_number(&r, "initializer_range", 0.02, 0, 10);
    s.embedding_dropout = rwf_read_number(&r, "embd_pdrop", 0.1, 0, 0.99);
    s.residual_dropout = rwf_read_number(&r, "resid_pdrop", 0.1, 0, 0.99);
    s.tied = rwf_read_bool(&r, "tie_word_embeddings", true);
    refuse(&r);
    if (!r.failed && s.width % s.heads != 0)
        rwf_read_fail(&r, "'n_embd' %lld is not a multiple of 'n_head' %d",
                      (long long)s.width, s.heads);
    if (r.failed)
        return -1;
    s.head_size = (int)(s.width / s.heads);
    return model__family_create(m, &gpt2, &s, err);
}

/* Ids of the end of a text are known for the published vocabulary only. */
json_t *model__gpt2_config(const struct sizes *s)
{
    json_t *end = s->vocab == 50257 ? json_integer(50256) : json_null();
    json_t *inner = s->inner > 0 ? json_integer(s->inner) : json_null();
    return json_pack(
        "{s:[s], s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:s, s:f, s:f, s:f, s:f, s:f, "
        "s:b, s:b, s:b, s:b, s:b, s:O, s:o}",
        "architectures", gpt2.architecture, "model_type", gpt2.model_type, "vocab_size",
        (json_int_t)s->vocab, "n_positions", (json_int_t)s->context, "n_ctx",
        (json_int_t)s->context, "n_embd", (json_int_t)s->hidden, "n_layer",
        (json_int_t)s->layers, "n_head", (json_int_t)s->heads, "n_inner", inner,
        "activation_function", "gelu_new", "layer_norm_epsilon", s->epsilon,
        "initializer_range", 0.02, "embd_pdrop", s->dropout, "resid_pdrop", s->dropout,
        "attn_pdrop", 0.0, "scale_attn_weights", 1, "scale_attn_by_inverse_layer_idx",
        0, "reorder_and_upcast_attn", 0, "tie_word_embeddings", (int)s->tied,
        "use_cache", 1, "bos_token_id", end, "eos_token_id", end);
}
