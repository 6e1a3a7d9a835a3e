/* SPDX-License-Identifier: Apache-2.0
 *
 * From what a recipe says of a model to its config.json: a preset, a family with free
 * sizes, another checkpoint's config (`from`), or an mlp; and the adapter that joins
 * it.
 *
 * The vocabulary is the tokenizer's. A preset or a checkpoint keeps the rows of its own
 * table for its own tokenizer, whose ids end a little before them (Qwen3: 151669 of
 * 151936).
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/json_read.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/suggest.h"
#include "model/inside.h"

#define OWN_SLACK 1024 /* rows of a table that its own tokenizer may leave free */
#define CONFIG_BYTES (1024 * 1024) /* of a config.json at most */

static const char *const families[] = {"gpt2", "qwen3"};
static const char *const types[] = {"mlp", "transformer"};

static bool has(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return v != NULL && !json_is_null(v);
}

/* --- sizes --- */

static void read_sizes(struct rwf_reader *r, struct sizes *s)
{
    bool qwen = strcmp(s->family, "qwen3") == 0;
    s->layers = rwf_read_int(r, "layers", s->layers, 1, 10000);
    s->hidden = rwf_read_int(r, "hidden_size", s->hidden, 1, 1 << 20);
    s->heads = rwf_read_int(r, "heads", s->heads, 1, 1 << 16);
    s->context = rwf_read_int(r, "context", s->context, 1, 1 << 30);
    s->inner = rwf_read_int(r, "intermediate_size", s->inner, 1, 1 << 24);
    s->epsilon = rwf_read_number(r, "norm_epsilon", s->epsilon, 0, 1);
    s->dropout = rwf_read_number(r, "dropout", s->dropout, 0, 0.99);
    s->tied = rwf_read_bool(r, "tie_embeddings", s->tied);
    if (qwen) {
        s->kv_heads = rwf_read_int(r, "kv_heads", s->kv_heads, 1, 1 << 16);
        s->head_dim = rwf_read_int(r, "head_dim", s->head_dim, 2, 1 << 16);
        s->theta = rwf_read_number(r, "rope_theta", s->theta, 1, 1e12);
        if (s->dropout > 0)
            rwf_read_fail(r, "'dropout' is not of qwen3, which has none: leave it out, "
                             "or take family: gpt2");
        return;
    }
    static const char *const rotary[] = {"kv_heads", "head_dim", "rope_theta"};
    for (size_t i = 0; i < RWF_COUNT(rotary); i++)
        if (has(r->object, rotary[i]))
            rwf_read_fail(r, "'%s' is not of gpt2: leave it out, or take family: qwen3",
                          rotary[i]);
}

/* What follows from other sizes, and what must fit together. */
static void finish_sizes(struct rwf_reader *r, struct sizes *s)
{
    static const char *const needed[] = {"layers", "hidden_size", "heads"};
    const int64_t values[] = {s->layers, s->hidden, s->heads};
    bool qwen = strcmp(s->family, "qwen3") == 0;
    for (size_t i = 0; i < RWF_COUNT(needed); i++)
        if (values[i] == 0)
            rwf_read_fail(r, "'%s' is missing; or take a preset", needed[i]);
    if (r->failed)
        return;
    if (s->head_dim == 0 && s->hidden % s->heads != 0)
        rwf_read_fail(r, "'hidden_size' %lld is not a multiple of 'heads' %lld",
                      (long long)s->hidden, (long long)s->heads);
    if (!qwen)
        return;
    if (s->head_dim == 0)
        s->head_dim = s->hidden / s->heads;
    if (s->kv_heads == 0)
        s->kv_heads = s->heads;
    if (s->inner == 0)
        s->inner = 3 * s->hidden;
    if (s->heads % s->kv_heads != 0)
        rwf_read_fail(r, "'heads' %lld is not a multiple of 'kv_heads' %lld",
                      (long long)s->heads, (long long)s->kv_heads);
    if (s->head_dim % 2 != 0)
        rwf_read_fail(r, "'head_dim' %lld is odd: rotary positions need pairs",
                      (long long)s->head_dim);
}

/* A table of `own` rows is kept for the tokenizer that it was made for. */
static int64_t choose_vocab(int64_t own, int64_t vocab)
{
    return vocab == 0 || (vocab <= own && own - vocab < OWN_SLACK) ? own : vocab;
}

static void read_vocab(struct rwf_reader *r, struct sizes *s, int vocab)
{
    int64_t said = rwf_read_int(r, "vocab_size", 0, 1, 1 << 30);
    if (said > 0 && said < vocab)
        rwf_read_fail(r, "'vocab_size' is %lld, but the tokenizer has %d ids",
                      (long long)said, vocab);
    s->vocab = said > 0 ? said : s->vocab > 0 ? choose_vocab(s->vocab, vocab) : vocab;
    if (s->vocab == 0)
        rwf_read_fail(r, "'vocab_size' is missing, and there is no tokenizer");
}

static const struct sizes free_sizes[] = {
    {.family = "gpt2", .context = 1024, .epsilon = 1e-5, .tied = true},
    {.family = "qwen3", .context = 32768, .epsilon = 1e-6, .theta = 1e6, .tied = true},
};

static void choose_family(struct rwf_reader *r, struct sizes *s)
{
    const char *name = rwf_read_text(r, "family", "");
    for (size_t i = 0; i < RWF_COUNT(free_sizes); i++)
        if (strcmp(name, free_sizes[i].family) == 0) {
            *s = free_sizes[i];
            return;
        }
    char *choices = rwf_suggest_choices(name, families, RWF_COUNT(families));
    if (has(r->object, "family"))
        rwf_read_fail(r, "there is no family '%s'; %s", name, choices);
    else
        rwf_read_fail(r, "one of 'preset', 'family' and 'from' says what it is");
    free(choices);
}

static json_t *config_of_sizes(const json_t *model, int vocab, struct rwf_err *err)
{
    struct rwf_reader r = {model, "model", RWF_E_RECIPE, err, false};
    struct sizes s = {0};
    const char *preset = rwf_read_text(&r, "preset", NULL);
    if (preset != NULL) {
        const struct sizes *known = model__preset(preset, err);
        if (known == NULL)
            return NULL;
        s = *known;
        if (has(model, "family"))
            rwf_read_fail(&r, "'family' is that of the preset: leave it out");
    } else {
        choose_family(&r, &s);
    }
    if (r.failed)
        return NULL;
    read_sizes(&r, &s);
    read_vocab(&r, &s, vocab);
    finish_sizes(&r, &s);
    if (r.failed)
        return NULL;
    return strcmp(s.family, "gpt2") == 0 ? model__gpt2_config(&s)
                                         : model__qwen3_config(&s);
}

/* --- from another checkpoint --- */

/* from: a folder, or a file in it. */
static char *config_path(const char *from)
{
    char *folder = rwf_fs_is_file(from) ? rwf_fs_dirname(from) : rwf_xstrdup(from);
    char *path = rwf_fs_join(folder, "config.json");
    free(folder);
    return path;
}

static json_t *read_config(const char *from, struct rwf_err *err)
{
    char *path = config_path(from);
    size_t len = 0;
    json_t *config = NULL;
    json_error_t error;
    char *text = rwf_fs_read(path, CONFIG_BYTES, &len, err);
    if (text == NULL) {
        if (err != NULL)
            err->code = RWF_E_INPUT;
        rwf_wrap(err, "from '%s'", from);
    } else {
        config = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
        if (config == NULL)
            rwf_fail(err, RWF_E_INPUT, "%s:%d:%d: %s", path, error.line, error.column,
                     error.text);
    }
    free(text);
    free(path);
    return config;
}

/* Of a checkpoint only dropout is the recipe's to say. */
static void check_from(struct rwf_reader *r, json_t *config, int vocab)
{
    static const char *const sizes[] = {
        "preset",    "family",         "layers",     "hidden_size",
        "heads",     "kv_heads",       "head_dim",   "intermediate_size",
        "context",   "tie_embeddings", "rope_theta", "norm_epsilon",
        "vocab_size"};
    int64_t rows = json_integer_value(json_object_get(config, "vocab_size"));
    for (size_t i = 0; i < RWF_COUNT(sizes); i++)
        if (has(r->object, sizes[i]))
            rwf_read_fail(r, "'%s' is given by 'from': leave it out", sizes[i]);
    if (rows > 0 && vocab > rows)
        rwf_read_fail(r,
                      "the tokenizer has %d ids, but the model of 'from' has a "
                      "vocabulary of %lld: take its own tokenizer",
                      vocab, (long long)rows);
    if (!has(r->object, "dropout"))
        return;
    double dropout = rwf_read_number(r, "dropout", 0, 0, 0.99);
    if (json_object_get(config, "n_embd") == NULL)
        rwf_read_fail(r, "'dropout' is not of this model, which has none");
    json_object_set_new(config, "embd_pdrop", json_real(dropout));
    json_object_set_new(config, "resid_pdrop", json_real(dropout));
}

/* Said before anything is read or allocated for it. */
static bool is_model(const json_t *config, struct rwf_err *err)
{
    struct model *m = model_create(config, err);
    bool ok = m != NULL;
    model_destroy(m);
    return ok;
}

static json_t *config_of_from(const json_t *model, int vocab, struct rwf_err *err)
{
    struct rwf_reader r = {model, "model", RWF_E_RECIPE, err, false};
    const char *from = rwf_read_text(&r, "from", NULL);
    json_t *config = from != NULL ? read_config(from, err) : NULL;
    if (config == NULL)
        return NULL;
    check_from(&r, config, vocab);
    if (!r.failed && !is_model(config, err)) {
        rwf_wrap(err, "from '%s'", from);
        r.failed = true;
    }
    if (json_number_value(json_object_get(config, "attn_pdrop")) > 0)
        rwf_log(RWF_LOG_INFO, "model",
                "attn_pdrop of '%s' is taken as 0: attention is one kernel", from);
    if (!r.failed)
        return config;
    json_decref(config);
    return NULL;
}

/* --- all of it --- */

static json_t *config_of_transformer(const json_t *model, int vocab,
                                     struct rwf_err *err)
{
    static const char *const keys[] = {
        "type",       "preset",       "family",    "layers",   "hidden_size",
        "heads",      "text",         "kv_heads",  "head_dim", "intermediate_size",
        "context",    "adapter",      "dropout",   "from",     "tie_embeddings",
        "rope_theta", "norm_epsilon", "vocab_size"};
    struct rwf_reader r = {model, "model", RWF_E_RECIPE, err, false};
    rwf_read_known(&r, keys, RWF_COUNT(keys));
    if (r.failed)
        return NULL;
    json_t *config = has(model, "from") ? config_of_from(model, vocab, err)
                                        : config_of_sizes(model, vocab, err);
    if (config != NULL && has(model, "adapter") &&
        model_config_adapter(config, json_object_get(model, "adapter"), err) != 0) {
        json_decref(config);
        return NULL;
    }
    return config;
}

/* The data has put numbers where a recipe names columns and weights. */
static json_t *config_of_mlp(const json_t *model, struct rwf_err *err)
{
    static const char *const recipe[] = {
        "type",   "task",       "target",  "features",      "categorical",
        "hidden", "activation", "dropout", "class_weights", "outputs"};
    static const char *const kept[] = {"features",     "hidden",  "outputs",
                                       "activation",   "dropout", "task",
                                       "class_weights"};
    struct rwf_reader r = {model, "model", RWF_E_RECIPE, err, false};
    rwf_read_known(&r, recipe, RWF_COUNT(recipe));
    if (r.failed)
        return NULL;
    json_t *config =
        json_pack("{s:s, s:[], s:s, s:f, s:s}", "model_type", "mlp", "hidden",
                  "activation", "relu", "dropout", 0.0, "task", "classification");
    for (size_t i = 0; i < RWF_COUNT(kept); i++)
        if (has(model, kept[i]))
            json_object_set(config, kept[i], json_object_get(model, kept[i]));
    return config;
}

json_t *model_config(const json_t *model, int vocab, struct rwf_err *err)
{
    const char *type = json_string_value(json_object_get(model, "type"));
    bool mlp = type != NULL && strcmp(type, types[0]) == 0;
    if (!mlp && (type == NULL || strcmp(type, types[1]) != 0)) {
        char *choices =
            rwf_suggest_choices(type != NULL ? type : "", types, RWF_COUNT(types));
        rwf_fail(err, RWF_E_RECIPE, "model: 'type' is '%s'; %s",
                 type != NULL ? type : "", choices);
        free(choices);
        return NULL;
    }
    json_t *config =
        mlp ? config_of_mlp(model, err) : config_of_transformer(model, vocab, err);
    if (config == NULL)
        return NULL;
    struct model *m = model_create(config, err); /* the rest of the checks */
    if (m == NULL) {
        json_decref(config);
        return NULL;
    }
    model_destroy(m);
    return config;
}

int model_config_adapter(json_t *config, const json_t *adapter, struct rwf_err *err)
{
    static const char *const keys[] = {"type", "rank", "alpha", "targets"};
    struct rwf_reader r = {adapter, "adapter", RWF_E_RECIPE, err, false};
    rwf_read_known(&r, keys, RWF_COUNT(keys));
    const char *type = rwf_read_text(&r, "type", "lora");
    if (strcmp(type, "lora") != 0)
        rwf_read_fail(&r, "'type' is '%s'; there is lora alone", type);
    int64_t rank = rwf_read_int(&r, "rank", 8, 1, 4096);
    double alpha = rwf_read_number(&r, "alpha", 2.0 * (double)rank, 1e-6, 1e6);
    if (r.failed)
        return -1;
    json_t *targets = json_object_get(adapter, "targets");
    targets = has(adapter, "targets") ? json_incref(targets)
              : has(config, "n_embd") ? json_pack("[s]", "c_attn")
                                      : json_pack("[s, s]", "q_proj", "v_proj");
    if (json_is_string(targets)) {
        json_t *list = json_array();
        json_array_append_new(list, targets);
        targets = list;
    }
    json_object_set_new(config, "adapter",
                        json_pack("{s:s, s:I, s:f, s:o}", "type", "lora", "rank",
                                  (json_int_t)rank, "alpha", alpha, "targets",
                                  targets));
    return 0;
}
