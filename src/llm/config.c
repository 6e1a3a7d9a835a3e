/* SPDX-License-Identifier: Apache-2.0
 *
 * Dense Qwen3's config.json, of transformers 4 (rope_theta, rope_scaling, torch_dtype)
 * and of 5 (rope_parameters, dtype, layer_types), with AWQ's quantization_config, and
 * generation_config.json. What would change the arithmetic and is not done is refused
 * by name.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/json_read.h"
#include "base/mem.h"
#include "llm/hf_config.h"
#include "model/model.h"

#define CONTEXT_MAX (1 << 24)

/* --- what it is --- */

static void check_family(struct rwf_reader *r)
{
    const char *type = rwf_read_text(r, "model_type", "");
    const json_t *list = json_object_get(r->object, "architectures");
    const char *name = json_string_value(json_array_get(list, 0));
    if (strcmp(type, "qwen3") != 0)
        rwf_read_fail(r, "model_type is '%s': only dense Qwen3 ('qwen3') is served",
                      type);
    else if (list != NULL && !json_is_null(list) &&
             (name == NULL || strcmp(name, "Qwen3ForCausalLM") != 0))
        rwf_read_fail(r, "architectures is '%s': only 'Qwen3ForCausalLM' is served",
                      name != NULL ? name : "?");
}

static void check_windows(struct rwf_reader *r)
{
    const json_t *types = json_object_get(r->object, "layer_types");
    for (size_t i = 0; i < json_array_size(types); i++) {
        const char *type = json_string_value(json_array_get(types, i));
        if (type == NULL || strcmp(type, "full_attention") != 0)
            rwf_read_fail(r, "'layer_types' has '%s': only full_attention is served",
                          type != NULL ? type : "something that is not text");
    }
    if (rwf_read_bool(r, "use_sliding_window", false))
        rwf_read_fail(r, "'use_sliding_window': sliding windows are not served");
}

static void check_arithmetic(struct rwf_reader *r)
{
    const char *act = rwf_read_text(r, "hidden_act", "silu");
    if (strcmp(act, "silu") != 0)
        rwf_read_fail(r, "'hidden_act' is '%s': only silu is served", act);
    if (rwf_read_bool(r, "attention_bias", false))
        rwf_read_fail(r, "'attention_bias' is true: biases are not served");
    check_windows(r);
}

/* --- sizes --- */

static void read_sizes(struct rwf_reader *r, struct llm_config *c)
{
    c->layers = (int)rwf_read_int(r, "num_hidden_layers", RWF_READ_REQUIRED, 1, 10000);
    c->hidden = rwf_read_int(r, "hidden_size", RWF_READ_REQUIRED, 1, 1 << 20);
    c->heads =
        (int)rwf_read_int(r, "num_attention_heads", RWF_READ_REQUIRED, 1, 1 << 16);
    c->kv_heads = (int)rwf_read_int(r, "num_key_value_heads", c->heads, 1, 1 << 16);
    /* transformers' own default is 128, whatever hidden and heads are */
    c->size = (int)rwf_read_int(r, "head_dim", 128, 2, 1 << 12);
    c->inner = rwf_read_int(r, "intermediate_size", RWF_READ_REQUIRED, 1, 1 << 24);
    c->vocab = rwf_read_int(r, "vocab_size", RWF_READ_REQUIRED, 1, 1 << 28);
    c->context = (int)rwf_read_int(r, "max_position_embeddings", 32768, 1, CONTEXT_MAX);
    c->epsilon = rwf_read_number(r, "rms_norm_eps", 1e-6, 0, 1);
    c->tied = rwf_read_bool(r, "tie_word_embeddings", false);
    if (!r->failed && c->heads % c->kv_heads != 0)
        rwf_read_fail(r,
                      "'num_attention_heads' %d is not a multiple of "
                      "'num_key_value_heads' %d",
                      c->heads, c->kv_heads);
    if (!r->failed && c->size % 2 != 0)
        rwf_read_fail(r, "'head_dim' %d is odd: rotary positions need pairs", c->size);
}

static void read_type(struct rwf_reader *r, struct llm_config *c)
{
    const char *type = rwf_read_text(r, "dtype", NULL);
    if (type == NULL)
        type = rwf_read_text(r, "torch_dtype", "bfloat16");
    if (strcmp(type, "float32") == 0)
        c->type = KERNEL_F32;
    else if (strcmp(type, "bfloat16") == 0 || strcmp(type, "float16") == 0)
        c->type = KERNEL_BF16;
    else
        rwf_read_fail(r, "dtype is '%s', not bfloat16, float16 or float32", type);
}

/* --- positions --- */

static void read_yarn(struct rwf_reader *r, struct llm_config *c)
{
    static const char *const refused[] = {"mscale", "mscale_all_dim"};
    c->yarn_original = (int)rwf_read_int(r, "original_max_position_embeddings",
                                         c->context, 1, CONTEXT_MAX);
    double factor = (double)c->context / c->yarn_original;
    c->yarn_factor = rwf_read_number(r, "factor", factor, 1, 1e4);
    c->yarn_fast = rwf_read_number(r, "beta_fast", 32, 1e-3, 1e6);
    c->yarn_slow = rwf_read_number(r, "beta_slow", 1, 1e-3, 1e6);
    c->yarn_attention = rwf_read_number(r, "attention_factor",
                                        0.1 * log(c->yarn_factor) + 1, 1e-3, 1e3);
    for (size_t i = 0; i < RWF_COUNT(refused); i++)
        if (rwf_read_number(r, refused[i], 0, -1e9, 1e9) != 0)
            rwf_read_fail(r, "yarn's '%s' is not served", refused[i]);
    if (!rwf_read_bool(r, "truncate", true))
        rwf_read_fail(r, "yarn's 'truncate': false is not served");
    double longest = c->yarn_factor * c->yarn_original;
    if (!r->failed && longest > CONTEXT_MAX)
        rwf_read_fail(r,
                      "yarn's 'factor' %g gives a context of %g tokens: more than %d",
                      c->yarn_factor, longest, CONTEXT_MAX);
    else if (!r->failed)
        c->context = (int)longest;
}

/* key: rope_parameters (version 5), rope_scaling (4). */
static void read_rope(struct rwf_reader *r, const char *key, struct llm_config *c)
{
    const json_t *rope = rwf_read_object(r, key);
    struct rwf_reader in = {rope, r->what, r->code, r->err, r->failed};
    if (rope == NULL)
        return;
    const char *type = rwf_read_text(&in, "rope_type", NULL);
    if (type == NULL)
        type = rwf_read_text(&in, "type", "default");
    c->theta = rwf_read_number(&in, "rope_theta", c->theta, 1, 1e12);
    if (rwf_read_number(&in, "partial_rotary_factor", 1, 0, 1) != 1)
        rwf_read_fail(&in, "'%s': a partial rotation is not served", key);
    if (strcmp(type, "yarn") == 0)
        read_yarn(&in, c);
    else if (strcmp(type, "default") != 0)
        rwf_read_fail(&in, "'%s' asks for '%s': default and yarn are served", key,
                      type);
    r->failed = in.failed;
}

static void read_positions(struct rwf_reader *r, struct llm_config *c)
{
    c->yarn_factor = c->yarn_attention = 1;
    c->theta = rwf_read_number(r, "rope_theta", 1e4, 1, 1e12);
    read_rope(r, "rope_scaling", c);
    read_rope(r, "rope_parameters", c);
}

/* --- quantisation --- */

/* Parts that are never quantised here may be named; others would be products of two
 * kinds. */
static void check_not_converted(struct rwf_reader *r)
{
    const json_t *list = json_object_get(r->object, "modules_to_not_convert");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(list, i));
        if (name == NULL ||
            (strcmp(name, "lm_head") != 0 && strcmp(name, "norm") != 0 &&
             strcmp(name, "embed_tokens") != 0 &&
             strcmp(name, "model.embed_tokens") != 0))
            rwf_read_fail(
                r,
                "quantization_config: modules_to_not_convert has '%s': layers "
                "that are quantised in part are not served",
                name != NULL ? name : "?");
    }
}

static void read_quantization(struct rwf_reader *r, struct llm_config *c)
{
    const json_t *q = rwf_read_object(r, "quantization_config");
    struct rwf_reader in = {q, r->what, r->code, r->err, r->failed};
    if (q == NULL)
        return;
    const char *method = rwf_read_text(&in, "quant_method", "?");
    const char *version = rwf_read_text(&in, "version", "gemm");
    c->bits = (int)rwf_read_int(&in, "bits", 4, 1, 64);
    c->group = (int)rwf_read_int(&in, "group_size", 128, -1, 1 << 20);
    if (strcmp(method, "awq") != 0)
        rwf_read_fail(&in, "quantization_config: quant_method '%s': only awq is served",
                      method);
    else if (strcasecmp(version, "gemm") != 0)
        rwf_read_fail(&in,
                      "quantization_config: awq's version '%s': only gemm is served",
                      version);
    else if (c->bits != 4)
        rwf_read_fail(&in, "quantization_config: %d bits: only 4 are served", c->bits);
    else if (c->group != 32 && c->group != 64 && c->group != 128)
        rwf_read_fail(&in,
                      "quantization_config: group_size %d: 128, 64 and 32 are served",
                      c->group);
    if (!rwf_read_bool(&in, "zero_point", true))
        rwf_read_fail(&in, "quantization_config: zero_point false is not served");
    check_not_converted(&in);
    r->failed = in.failed;
}

static void check_group(struct rwf_reader *r, const char *what, int64_t n)
{
    if (n % 64 != 0)
        rwf_read_fail(r, "%s is %lld: AWQ is served for multiples of 64", what,
                      (long long)n);
}

static void check_quantised(struct rwf_reader *r, const struct llm_config *c)
{
    if (c->bits == 0 || r->failed)
        return;
    int64_t width = (int64_t)c->heads * c->size;
    check_group(r, "num_attention_heads * head_dim", width);
    check_group(r, "num_key_value_heads * head_dim", (int64_t)c->kv_heads * c->size);
    check_group(r, "intermediate_size", c->inner);
    check_group(r, "hidden_size", c->hidden);
    if (c->hidden % c->group != 0 || c->inner % c->group != 0 || width % c->group != 0)
        rwf_read_fail(
            r,
            "hidden_size %lld, intermediate_size %lld and heads * head_dim %lld "
            "must be multiples of group_size %d",
            (long long)c->hidden, (long long)c->inner, (long long)width, c->group);
}

/* --- ends and the way to draw --- */

static void add_end(struct rwf_reader *r, struct llm_config *c, const json_t *v)
{
    json_int_t id = json_integer_value(v);
    if (!json_is_integer(v) || id < 0 || id >= c->vocab) {
        rwf_read_fail(r, "'eos_token_id' has what is no id of the vocabulary");
        return;
    }
    for (int i = 0; i < c->end_count; i++)
        if (c->ends[i] == id)
            return;
    if (c->end_count == LLM_ENDS_MAX)
        rwf_read_fail(r, "'eos_token_id' has more than %d ids", LLM_ENDS_MAX);
    else
        c->ends[c->end_count++] = (int32_t)id;
}

static void read_ends(struct rwf_reader *r, struct llm_config *c)
{
    const json_t *v = json_object_get(r->object, "eos_token_id");
    if (v == NULL || json_is_null(v))
        return;
    if (!json_is_array(v))
        add_end(r, c, v);
    for (size_t i = 0; i < json_array_size(v) && !r->failed; i++)
        add_end(r, c, json_array_get(v, i));
}

static void read_generation(struct rwf_reader *r, struct llm_config *c)
{
    c->temperature = rwf_read_number(r, "temperature", 1, 0, 1e3);
    c->top_p = rwf_read_number(r, "top_p", 1, 0, 1);
    c->min_p = rwf_read_number(r, "min_p", 0, 0, 1);
    c->repetition = rwf_read_number(r, "repetition_penalty", 1, 1e-3, 1e3);
    c->top_k = (int)rwf_read_int(r, "top_k", 0, -1, 1 << 28);
    if (c->top_k < 0)
        c->top_k = 0;
}

/* --- all of it --- */

static void read_config(struct rwf_reader *r, struct llm_config *c)
{
    check_family(r);
    check_arithmetic(r);
    read_sizes(r, c);
    read_type(r, c);
    read_positions(r, c);
    read_quantization(r, c);
    check_quantised(r, c);
    if (!r->failed)
        read_ends(r, c);
}

static int read_one(const char *folder, const char *name, bool optional,
                    void (*read)(struct rwf_reader *, struct llm_config *),
                    struct llm_config *c, struct rwf_err *err)
{
    struct rwf_err why = RWF_ERR_INIT;
    json_t *object = rwf_read_json(folder, name, optional, &why);
    if (object == NULL && why.code != 0)
        return rwf_fail(err, why.code, "%s", why.text);
    char *path = rwf_fs_join(folder, name);
    struct rwf_reader r = {object, path, RWF_E_INPUT, err, false};
    read(&r, c);
    free(path);
    json_decref(object);
    return r.failed ? -1 : 0;
}

static void read_generation_and_ends(struct rwf_reader *r, struct llm_config *c)
{
    read_generation(r, c);
    read_ends(r, c);
}

int llm_config_read(const char *folder, struct llm_config *ret, struct rwf_err *err)
{
    struct llm_config c = {0};
    if (read_one(folder, "config.json", false, read_config, &c, err) != 0 ||
        read_one(folder, "generation_config.json", true, read_generation_and_ends, &c,
                 err) != 0)
        return -1;
    *ret = c;
    return 0;
}

int llm_config_preset(const char *name, struct llm_config *ret, struct rwf_err *err)
{
    json_t *model = json_pack("{s:s, s:s}", "type", "transformer", "preset", name);
    json_t *config = model_config(model, 0, err);
    struct llm_config c = {0};
    struct rwf_reader r = {config, name, RWF_E_INPUT, err, false};

    json_decref(model);
    if (config == NULL)
        return -1;
    json_object_set_new(config, "torch_dtype", json_string("bfloat16"));
    read_config(&r, &c);
    if (!r.failed)
        read_generation(&r, &c);
    json_decref(config);
    if (r.failed)
        return -1;
    *ret = c;
    return 0;
}
