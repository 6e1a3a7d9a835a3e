/* SPDX-License-Identifier: Apache-2.0
 *
 * Configs from recipes, layouts of the named sizes, and what a run of a model promises: the
 * same gradients in chunks and with activations computed twice, outputs where they are asked
 * for, shorter batches, bf16 near float, adapters that can be merged.
 */
#include "config.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/fs.h"
#include "base/mem.h"
#include "model_rig.h"

/* JSON with ' for ". */
static json_t *parse(const char *text)
{
    json_error_t error;
    char *copy = rwf_xstrdup(text);
    for (char *c = copy; *c != '\0'; c++)
        *c = *c == '\'' ? '"' : *c;
    json_t *v = json_loads(copy, 0, &error);
    ck_assert_msg(v != NULL, "%s: %s", text, error.text);
    free(copy);
    return v;
}

/* The config of a recipe's model. */
static json_t *config_of(const char *model, int vocab)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *m = parse(model);
    json_t *config = model_config(m, vocab, &err);
    ck_assert_msg(config != NULL, "%s: %s", model, err.text);
    json_decref(m);
    return config;
}

/* --- configs --- */

static const struct {
    const char *name;
    double millions; /* of parameters, as published */
} presets[] = {
    {"gpt2-124m", 124.44}, {"gpt2-355m", 354.82},  {"gpt2-774m", 774.03},
    {"gpt2-1.5b", 1557.6}, {"qwen3-0.6b", 596.05}, {"qwen3-1.7b", 1720.57},
    {"qwen3-4b", 4022.47}, {"qwen3-8b", 8190.74},  {"qwen3-14b", 14768.3},
    {"qwen3-32b", 32762.1},
};

START_TEST(presets_have_the_published_sizes)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *model =
        json_pack("{s:s, s:s}", "type", "transformer", "preset", presets[_i].name);
    json_t *config = model_config(model, 0, &err);
    ck_assert_msg(config != NULL, "%s", err.text);
    struct model *m = model_create(config, &err);
    ck_assert_msg(m != NULL, "%s", err.text);
    double millions = (double)model_layout(m)->parameters / 1e6;
    ck_assert_msg(fabs(millions - presets[_i].millions) < 1e-4 * millions, "%s: %.2f",
                  presets[_i].name, millions);
    ck_assert_int_eq(model_layout(m)->parameters, model_layout(m)->trainable);
    model_destroy(m);
    json_decref(config);
    json_decref(model);
}
END_TEST

static const struct {
    const char *model;
    int vocab;
    const char *key, *value; /* of the config */
} kept[] = {
    {"{'type':'transformer','preset':'gpt2-124m'}", 0, "vocab_size", "50257"},
    {"{'type':'transformer','preset':'gpt2-124m'}", 50257, "vocab_size", "50257"},
    {"{'type':'transformer','preset':'gpt2-124m'}", 512, "vocab_size", "512"},
    {"{'type':'transformer','preset':'gpt2-124m'}", 512, "eos_token_id", "null"},
    {"{'type':'transformer','preset':'gpt2-124m'}", 0, "eos_token_id", "50256"},
    {"{'type':'transformer','preset':'gpt2-124m'}", 0, "attn_pdrop", "0.0"},
    {"{'type':'transformer','preset':'gpt2-124m','dropout':0.25}", 0, "resid_pdrop", "0.25"},
    {"{'type':'transformer','preset':'gpt2-124m','layers':3}", 0, "n_layer", "3"},
    {"{'type':'transformer','preset':'qwen3-0.6b'}", 151669, "vocab_size", "151936"},
    {"{'type':'transformer','preset':'qwen3-0.6b'}", 0, "head_dim", "128"},
    {"{'type':'transformer','preset':'qwen3-8b'}", 0, "tie_word_embeddings", "false"},
    {"{'type':'transformer','family':'qwen3','layers':2,'hidden_size':64,'heads':4}", 300,
     "head_dim", "16"},
    {"{'type':'transformer','family':'qwen3','layers':2,'hidden_size':64,'heads':4}", 300,
     "num_key_value_heads", "4"},
    {"{'type':'transformer','family':'gpt2','layers':2,'hidden_size':64,'heads':4,"
     "'vocab_size':512}",
     300, "vocab_size", "512"},
    {"{'type':'transformer','family':'gpt2','layers':2,'hidden_size':64,'heads':4}", 300,
     "architectures", "[\"GPT2LMHeadModel\"]"},
    {"{'type':'mlp','target':'y','features':4,'outputs':2,'hidden':[8]}", 0, "hidden",
     "[8]"},
    {"{'type':'mlp','features':4,'outputs':2}", 0, "activation", "\"relu\""},
    {"{'type':'transformer','preset':'qwen3-0.6b','adapter':{'type':'lora'}}", 0, "adapter",
     "{\"type\": \"lora\", \"rank\": 8, \"alpha\": 16.0, \"targets\": [\"q_proj\", "
     "\"v_proj\"]}"},
};

START_TEST(configs_say_what_recipes_say)
{
    json_t *config = config_of(kept[_i].model, kept[_i].vocab);
    char *value = json_dumps(json_object_get(config, kept[_i].key), JSON_ENCODE_ANY);
    ck_assert_ptr_nonnull(value);
    ck_assert_str_eq(value, kept[_i].value);
    free(value);
    json_decref(config);
}
END_TEST

#define FREE "'type':'transformer','layers':2,'hidden_size':64,'heads':4"

static const struct {
    const char *model;
    int vocab;
    const char *says;
} wrong_recipes[] = {
    {"{'type':'transfomer'}", 0, "did you mean 'transformer'"},
    {"{}", 0, "One of mlp, transformer"},
    {"{'type':'transformer'}", 0, "one of 'preset', 'family' and 'from'"},
    {"{'type':'transformer','preset':'gpt2-124'}", 0, "did you mean 'gpt2-124m'"},
    {"{'type':'transformer','preset':'qwen3-7b'}", 0, "One of gpt2-124m, gpt2-355m"},
    {"{" FREE ",'family':'gtp2'}", 9, "did you mean 'gpt2'"},
    {"{" FREE ",'family':'gpt2'}", 0, "'vocab_size' is missing"},
    {"{" FREE ",'family':'gpt2','vocab_size':9}", 10, "the tokenizer has 10 ids"},
    {"{" FREE ",'family':'gpt2','kv_heads':2}", 9, "'kv_heads' is not of gpt2"},
    {"{" FREE ",'family':'qwen3','kv_heads':3}", 9,
     "'heads' 4 is not a multiple of 'kv_heads' 3"},
    {"{" FREE ",'family':'qwen3','head_dim':5}", 9, "'head_dim' 5 is odd"},
    {"{" FREE ",'family':'qwen3','dropout':0.5}", 9, "'dropout' is not of qwen3"},
    {"{" FREE ",'family':'qwen3','hiden_size':64}", 9, "did you mean 'hidden_size'"},
    {"{" FREE ",'family':'gpt2','dropout':1.5}", 9, "'dropout' is 1.5, not 0 to 0.99"},
    {"{'type':'transformer','family':'gpt2','layers':2,'hidden_size':64}", 9,
     "'heads' is missing"},
    {"{'type':'transformer','family':'gpt2','layers':2,'hidden_size':65,'heads':4}", 9,
     "'hidden_size' 65 is not a multiple of 'heads' 4"},
    {"{'type':'transformer','from':'/nonexistent/model'}", 9, "/nonexistent/model"},
    {"{" FREE ",'family':'qwen3','adapter':{'targets':['k_prj']}}", 9,
     "did you mean 'k_proj'"},
    {"{" FREE ",'family':'gpt2','adapter':{'targets':['q_proj']}}", 9,
     "One of c_attn, c_proj, c_fc"},
    {"{" FREE ",'family':'gpt2','adapter':{'type':'dora'}}", 9, "'type' is 'dora'"},
    {"{" FREE ",'family':'gpt2','adapter':{'rank':0}}", 9, "'rank' is 0, not 1 to 4096"},
    {"{" FREE ",'family':'gpt2','adapter':{'ranks':1}}", 9, "did you mean 'rank'"},
    {"{'type':'mlp','features':['a'],'outputs':1}", 0, "'features' is not a whole number"},
    {"{'type':'mlp','features':4,'outputs':2,'activation':'rellu'}", 0,
     "did you mean 'relu'"},
    {"{'type':'mlp','features':4,'outputs':2,'hidden':[0]}", 0, "'hidden' has a size"},
    {"{'type':'mlp','features':4,'outputs':2,'class_weights':[1]}", 0,
     "one number for each of 2 classes"},
    {"{'type':'mlp','features':4,'outputs':2,'class_weights':[1,-1]}", 0, "no weight"},
    {"{'type':'mlp','features':4,'outputs':2,'layers':3}", 0, "there is no key 'layers'"},
};

START_TEST(wrong_recipes_are_told_why)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *model = parse(wrong_recipes[_i].model);
    ck_assert_ptr_null(model_config(model, wrong_recipes[_i].vocab, &err));
    ck_assert_msg(strstr(err.text, wrong_recipes[_i].says) != NULL, "%s: %s",
                  wrong_recipes[_i].model, err.text);
    ck_assert(err.code == RWF_E_RECIPE || err.code == RWF_E_INPUT);
    json_decref(model);
}
END_TEST

#define QWEN3                                                                          \
    "'model_type':'qwen3','hidden_size':8,'num_hidden_layers':1,"                     \
    "'num_attention_heads':2,'num_key_value_heads':1,'head_dim':4,"                   \
    "'intermediate_size':8,'vocab_size':9"

static const struct {
    const char *config;
    const char *says;
} refused[] = {
    {"{'model_type':'llama'}", "'model_type' is 'llama'; One of mlp, gpt2, qwen3"},
    {"{}", "'model_type' is missing"},
    {"{'model_type':'gpt2','activation_function':'relu'}", "only gelu_new is done"},
    {"{'model_type':'gpt2','scale_attn_weights':false}", "'scale_attn_weights'"},
    {"{'model_type':'gpt2','scale_attn_by_inverse_layer_idx':true}",
     "'scale_attn_by_inverse_layer_idx'"},
    {"{'model_type':'gpt2','add_cross_attention':true}", "'add_cross_attention'"},
    {"{'model_type':'gpt2','n_embd':10,'n_head':4}", "not a multiple of 'n_head' 4"},
    {"{'model_type':'gpt2','n_layer':'12'}", "'n_layer' is not a whole number"},
    {"{'model_type':'gpt2','n_layer':0}", "'n_layer' is 0, not 1 to 10000"},
    {"{'model_type':'qwen3','hidden_size':8}", "'num_hidden_layers' is missing"},
    {"{" QWEN3 ",'hidden_act':'gelu'}", "only silu is done"},
    {"{" QWEN3 ",'attention_bias':true}", "'attention_bias'"},
    {"{" QWEN3 ",'attention_dropout':0.1}", "'attention_dropout'"},
    {"{" QWEN3 ",'use_sliding_window':true}", "'use_sliding_window'"},
    {"{" QWEN3 ",'layer_types':['sliding_attention']}", "has 'sliding_attention'"},
    {"{" QWEN3 ",'rope_scaling':{'rope_type':'yarn','factor':4}}",
     "'rope_scaling' asks for yarn"},
    {"{" QWEN3 ",'rope_scaling':{'type':'linear','factor':4}}", "asks for linear"},
    {"{" QWEN3 ",'rope_parameters':{'rope_type':'dynamic'}}",
     "'rope_parameters' asks for dynamic"},
    {"{" QWEN3 ",'rope_parameters':{'rope_theta':'x'}}", "'rope_theta' is not a number"},
    {"{" QWEN3 ",'quantization_config':{}}", "quantised weights cannot be trained"},
    {"{" QWEN3 ",'vocab_size':2.5}", "'vocab_size' is not a whole number"},
};

START_TEST(what_is_not_done_is_refused_by_name)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *config = parse(refused[_i].config);
    ck_assert_ptr_null(model_create(config, &err));
    ck_assert_msg(strstr(err.text, refused[_i].says) != NULL, "%s: %s", refused[_i].config,
                  err.text);
    ck_assert_int_eq(err.code, RWF_E_INPUT);
    json_decref(config);
}
END_TEST

START_TEST(from_takes_the_config_of_a_checkpoint)
{
    struct rwf_err err = RWF_ERR_INIT;
    const char *top = getenv("srcdir");
    char *folder = rwf_xasprintf("%s/tests/data/model/gpt2", top != NULL ? top : "..");
    json_t *model = json_pack("{s:s, s:s, s:f, s:{s:i, s:s}}", "type", "transformer",
                              "from", folder, "dropout", 0.2, "adapter", "rank", 2,
                              "targets", "all");
    json_t *config = model_config(model, 60, &err);
    ck_assert_msg(config != NULL, "%s", err.text);
    ck_assert_int_eq(json_integer_value(json_object_get(config, "vocab_size")), 61);
    ck_assert_double_eq(json_number_value(json_object_get(config, "resid_pdrop")), 0.2);
    json_decref(config);
    ck_assert_ptr_null(model_config(model, 62, &err));
    ck_assert_ptr_nonnull(strstr(err.text, "take its own tokenizer"));
    json_object_set_new(model, "layers", json_integer(3));
    ck_assert_ptr_null(model_config(model, 61, &err));
    ck_assert_ptr_nonnull(strstr(err.text, "'layers' is given by 'from'"));
    json_decref(model);
    free(folder);
}
END_TEST

/* --- runs --- */

static const char gpt2[] =
    "{'type':'transformer','family':'gpt2','layers':3,'hidden_size':16,'heads':4,"
    "'context':8,'dropout':0.1}";
static const char qwen3[] =
    "{'type':'transformer','family':'qwen3','layers':3,'hidden_size':16,'heads':4,"
    "'kv_heads':2,'head_dim':8,'context':8}";
static const char *const both[] = {gpt2, qwen3};
#define VOCAB 40
#define SCALE (1.0f / 24)

static void open_tokens(struct rig *r, const char *model, struct model_run *run)
{
    json_t *config = config_of(model, VOCAB);
    run->rows = 3;
    run->length = 8;
    run->seed = 3;
    rig_open(r, config, run);
    rig_tokens(r, VOCAB);
    json_decref(config);
}

/* The largest difference of gradients, relative to the largest of each parameter. */
static double difference(struct rig *a, struct rig *b)
{
    double worst = 0;
    for (size_t i = 0; i < a->layout->param_count; i++) {
        double largest = 0, most = 0;
        for (int64_t n = 0; rig_grad(a, i) != NULL && n < rig_count(a, i); n++) {
            double x = (double)rig_grad(a, i)[n], y = (double)rig_grad(b, i)[n];
            largest = fmax(largest, fabs(x));
            most = fmax(most, fabs(x - y));
        }
        if (largest > 0)
            worst = fmax(worst, most / largest);
    }
    return worst;
}

static const struct {
    struct model_run run;
    double tolerance;
} variants[] = {
    {{.logits_bytes = 128 * 4 * 7}, 1e-5}, /* chunks of 6 rows */
    {{.logits_bytes = 1}, 1e-5},           /* of one row */
    {{.recompute = 1}, 0}, /* saves nothing: it needs a set for itself */
    {{.recompute = 2}, 0},
    {{.recompute = 9}, 0},
};

START_TEST(memory_does_not_change_gradients)
{
    for (size_t v = 0; v < RWF_COUNT(variants); v++) {
        struct rig a, b;
        struct model_run plain = {.train = true}, run = variants[v].run;
        run.train = true;
        open_tokens(&a, both[_i], &plain);
        open_tokens(&b, both[_i], &run);
        double loss = rig_step(&a, SCALE, 5);
        ck_assert_double_eq_tol(rig_step(&b, SCALE, 5), loss, 1e-6);
        ck_assert_double_le(difference(&a, &b), variants[v].tolerance);
        int64_t bytes = model_activation_bytes(a.m, &a.run, NULL);
        ck_assert_int_le(model_activation_bytes(b.m, &b.run, NULL),
                         bytes - (variants[v].run.recompute != 1));
        rig_close(&a);
        rig_close(&b);
    }
}
END_TEST

START_TEST(memory_is_named)
{
    struct rig r;
    struct model_run run = {.train = true};
    json_t *rows, *row;
    size_t i;
    int64_t sum = 0;
    open_tokens(&r, both[_i], &run);
    int64_t bytes = model_activation_bytes(r.m, &r.run, &rows);
    json_array_foreach(rows, i, row) {
        ck_assert_ptr_nonnull(json_string_value(json_object_get(row, "name")));
        sum += json_integer_value(json_object_get(row, "bytes"));
    }
    ck_assert_int_eq(sum, bytes);
    run = r.run;
    run.train = false;
    ck_assert_int_lt(model_activation_bytes(r.m, &run, NULL), bytes / 2);
    json_decref(rows);
    rig_close(&r);
}
END_TEST

/* Evaluation: the same loss as a training run without dropout, and in a run that cannot
 * train. */
START_TEST(evaluation_needs_little)
{
    struct rig r;
    struct model_run run = {.train = true}, small;
    open_tokens(&r, qwen3, &run);
    double loss = rig_loss(&r, SCALE, 0);
    model_forward(r.m, &r.batch, 0, 0);
    double sum = 0;
    for (int i = 0; i < 24; i++)
        sum += (double)model_losses(r.m)[i];
    ck_assert_double_eq_tol(sum * (double)SCALE, loss, 1e-6);
    small = r.run;
    small.train = false;
    small.logits_bytes = 4000;
    rig_again(&r, &small);
    model_forward(r.m, &r.batch, 0, 0);
    for (int i = 0; i < 24; i++)
        sum -= (double)model_losses(r.m)[i];
    ck_assert_double_eq_tol(sum, 0, 1e-5);
    rig_close(&r);
}
END_TEST

START_TEST(dropout_is_of_training_alone)
{
    struct rig r;
    struct model_run run = {.train = true};
    open_tokens(&r, gpt2, &run);
    double one = rig_loss(&r, SCALE, 1);
    ck_assert_double_eq(rig_loss(&r, SCALE, 1), one);
    ck_assert_double_ne(rig_loss(&r, SCALE, 2), one);
    float first[VOCAB];
    r.batch.targets = NULL;
    for (int pass = 0; pass < 2; pass++) {
        model_forward(r.m, &r.batch, 0, (uint64_t)pass);
        for (int i = 0; i < VOCAB; i++) {
            if (pass == 1)
                ck_assert_float_eq(rig_output(&r, i), first[i]);
            first[i] = rig_output(&r, i);
        }
    }
    rig_close(&r);
}
END_TEST

/* Some of the positions, of a shorter sequence; the model is causal. */
START_TEST(outputs_are_those_asked_for)
{
    struct rig r;
    struct model_run run = {.train = false};
    float whole[8 * VOCAB];
    open_tokens(&r, both[_i], &run);
    r.batch.targets = NULL;
    model_forward(r.m, &r.batch, 0, 0);
    for (int i = 0; i < 8 * VOCAB; i++)
        whole[i] = rig_output(&r, i);
    r.batch.rows = 1;
    r.batch.length = 5;
    r.batch.outputs_first = 3;
    r.batch.outputs_count = 2;
    model_forward(r.m, &r.batch, 0, 0);
    for (int i = 0; i < 2 * VOCAB; i++)
        ck_assert_float_eq_tol(rig_output(&r, i), whole[3 * VOCAB + i], 1e-5f);
    rig_close(&r);
}
END_TEST

/* A sum over two halves of a batch is the gradient of all of it. */
START_TEST(gradients_add_up)
{
    struct rig a, b;
    struct model_run run = {.train = true};
    open_tokens(&a, qwen3, &run);
    open_tokens(&b, qwen3, &run);
    rig_step(&a, SCALE, 0);
    struct model_batch all = b.batch;
    int32_t order[16];
    b.batch.rows = 1;
    for (int i = 0, n = 0; i < 24; i++)
        if (all.order[i] < 8)
            order[n++] = all.order[i];
    b.batch.order = order;
    rig_step(&b, SCALE, 0);
    b.batch.rows = 2;
    b.batch.ids += 8;
    b.batch.targets += 8;
    for (int i = 0, n = 0; i < 24; i++)
        if (all.order[i] >= 8)
            order[n++] = all.order[i] - 8;
    b.done_count = 0;
    model_forward(b.m, &b.batch, SCALE, 0);
    model_backward(b.m, &b.batch);
    ck_assert_double_le(difference(&a, &b), 1e-5);
    rig_close(&a);
    rig_close(&b);
}
END_TEST

/* bf16 has 8 bits: gradients point the same way. */
START_TEST(bf16_is_near_float)
{
    struct rig a, b;
    struct model_run run = {.train = true}, half = {.train = true, .type = KERNEL_BF16};
    open_tokens(&a, both[_i], &run);
    open_tokens(&b, both[_i], &half);
    double loss = rig_step(&a, SCALE, 5);
    ck_assert_double_eq_tol(rig_step(&b, SCALE, 5), loss, 0.02 * loss);
    for (size_t i = 0; i < a.layout->param_count; i++) {
        double xy = 0, xx = 0, yy = 0;
        for (int64_t n = 0; n < rig_count(&a, i); n++) {
            double x = (double)rig_grad(&a, i)[n], y = (double)rig_grad(&b, i)[n];
            xy += x * y, xx += x * x, yy += y * y;
        }
        ck_assert_msg(xy > 0.98 * sqrt(xx * yy), "%s: cosine %g",
                      a.layout->params[i].name, xy / sqrt(xx * yy));
    }
    rig_close(&a);
    rig_close(&b);
}
END_TEST

START_TEST(mlps_run_in_bf16)
{
    struct rig a, b;
    struct model_run run = {.rows = 6, .length = 1, .train = true}, half = run;
    half.type = KERNEL_BF16;
    json_t *config =
        config_of("{'type':'mlp','features':5,'outputs':3,'hidden':[16],'dropout':0.2}", 0);
    rig_open(&a, config, &run);
    rig_open(&b, config, &half);
    rig_features(&a, 5, 3);
    rig_features(&b, 5, 3);
    double loss = rig_step(&a, 1.0f / 6, 1);
    ck_assert_double_eq_tol(rig_step(&b, 1.0f / 6, 1), loss, 0.03 * loss);
    ck_assert_double_le(difference(&a, &b), 0.1);
    json_decref(config);
    rig_close(&a);
    rig_close(&b);
}
END_TEST

START_TEST(too_long_a_sequence_is_refused)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct rig r;
    struct model_run run = {.train = true};
    struct model_store none = {0};
    open_tokens(&r, both[_i], &run);
    model_end(r.m);
    run = r.run;
    run.length = 9;
    ck_assert_int_eq(model_begin(r.m, &run, &none, &err), -1);
    ck_assert_ptr_nonnull(strstr(err.text, "sequence_length is 9"));
    ck_assert_int_eq(err.code, RWF_E_RECIPE);
    rig_close(&r);
}
END_TEST

/* FLOPs of GPT-2 124M: 6 x (124.44M - positions) + 12 x 12 x 768 x 1024 per token. */
START_TEST(work_is_counted)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *config = config_of("{'type':'transformer','preset':'gpt2-124m'}", 0);
    struct model *m = model_create(config, &err);
    double n = 124439808.0 - 1024 * 768, per_token = 6 * n + 12.0 * 12 * 768 * 1024;
    ck_assert_double_eq_tol(model_flops(m, 1024) / 1024, per_token, 1);
    model_destroy(m);
    json_decref(config);
    config = config_of("{'type':'mlp','features':784,'outputs':10,'hidden':[128]}", 0);
    m = model_create(config, &err);
    ck_assert_double_eq(model_flops(m, 1), 4.0 * 784 * 128 + 6.0 * 128 * 10);
    model_destroy(m);
    json_decref(config);
}
END_TEST

/* --- adapters --- */

static const char *const adapted[] = {
    "{'type':'transformer','family':'gpt2','layers':2,'hidden_size':16,'heads':4,"
    "'context':8,'adapter':{'rank':3,'alpha':6,'targets':['all']}}",
    "{'type':'transformer','family':'qwen3','layers':2,'hidden_size':16,'heads':4,"
    "'kv_heads':2,'head_dim':8,'adapter':{'rank':3,'targets':['q_proj','down_proj']}}"};

/* A model without adapters and the merged weights computes the same. */
START_TEST(merged_weights_compute_the_same)
{
    struct rig a, b;
    struct model_run run = {.train = false};
    open_tokens(&a, adapted[_i], &run);
    json_t *config = json_deep_copy(model_config_json(a.m));
    json_object_del(config, "adapter");
    run = a.run;
    rig_open(&b, config, &run);
    rig_tokens(&b, VOCAB);
    memcpy(b.ids, a.ids, 24 * sizeof(int32_t));
    size_t merged = 0;
    for (size_t i = 0; i < b.layout->param_count; i++) {
        size_t from = rig_find(&a, b.layout->params[i].name), pa, pb;
        size_t bytes = (size_t)rig_count(&b, i) * sizeof(float);
        float *w = memcpy(rig_weight(&b, i), rig_weight(&a, from), bytes);
        if (!model_adapter_of(a.m, from, &pa, &pb))
            continue;
        model_merge(a.m, from, w, rig_weight(&a, pa), rig_weight(&a, pb));
        ck_assert_int_ne(memcmp(w, rig_weight(&a, from), bytes), 0);
        merged++;
    }
    ck_assert_uint_eq(merged, _i == 0 ? 8 : 4);
    a.batch.targets = b.batch.targets = NULL;
    model_forward(a.m, &a.batch, 0, 0);
    model_forward(b.m, &b.batch, 0, 0);
    for (int i = 0; i < 24 * VOCAB; i++)
        ck_assert_float_eq_tol(rig_output(&a, i), rig_output(&b, i), 2e-4f);
    json_decref(config);
    rig_close(&a);
    rig_close(&b);
}
END_TEST

START_TEST(adapters_have_the_names_of_peft)
{
    static const char *const names[] = {
        "base_model.model.transformer.h.1.mlp.c_fc.lora_A.weight",
        "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight"};
    struct rig r;
    struct model_run run = {.train = true};
    open_tokens(&r, adapted[_i], &run);
    size_t a = rig_find(&r, names[_i]);
    const struct model_param *p = &r.layout->params[a];
    ck_assert_int_eq(p->shape[0], 3);
    ck_assert_int_eq(p->shape[1], 16);
    ck_assert(p->init == MODEL_UNIFORM && p[1].init == MODEL_ZERO);
    ck_assert_float_eq(p->std, 0.25f);
    ck_assert_str_eq(r.layout->units[p->unit].name, "layers.1.adapter");
    for (size_t i = 0; i < r.layout->param_count; i++)
        ck_assert(r.layout->units[r.layout->params[i].unit].frozen ==
                  (strstr(r.layout->params[i].name, ".lora_") == NULL));
    ck_assert_int_lt(r.layout->trainable, r.layout->parameters);
    json_t *config = model_adapter_config(r.m, "base");
    ck_assert_int_eq(json_integer_value(json_object_get(config, "r")), 3);
    ck_assert_double_eq(json_number_value(json_object_get(config, "lora_alpha")), 6);
    ck_assert(json_is_true(json_object_get(config, "fan_in_fan_out")) == (_i == 0));
    ck_assert_uint_eq(json_array_size(json_object_get(config, "target_modules")),
                      _i == 0 ? 4 : 2);
    ck_assert_str_eq(
        json_string_value(json_array_get(json_object_get(config, "target_modules"), 1)),
        _i == 0 ? "attn.c_proj" : "mlp.down_proj");
    json_decref(config);
    rig_close(&r);
}
END_TEST

START_TEST(files_may_leave_out_the_prefix)
{
    struct rig r;
    struct model_run run = {.train = false};
    open_tokens(&r, both[_i], &run);
    const char *alias = model_param_alias(r.m, 0);
    if (_i == 0)
        ck_assert_str_eq(alias, "wte.weight");
    else
        ck_assert_ptr_null(alias);
    rig_close(&r);
}
END_TEST

static TCase *configs(void)
{
    TCase *t = tcase_create("configs");
    tcase_add_loop_test(t, presets_have_the_published_sizes, 0, (int)RWF_COUNT(presets));
    tcase_add_loop_test(t, configs_say_what_recipes_say, 0, (int)RWF_COUNT(kept));
    tcase_add_loop_test(t, wrong_recipes_are_told_why, 0, (int)RWF_COUNT(wrong_recipes));
    tcase_add_loop_test(t, what_is_not_done_is_refused_by_name, 0, (int)RWF_COUNT(refused));
    tcase_add_test(t, from_takes_the_config_of_a_checkpoint);
    return t;
}

static TCase *runs(void)
{
    TCase *t = tcase_create("runs");
    tcase_add_loop_test(t, memory_does_not_change_gradients, 0, 2);
    tcase_add_loop_test(t, memory_is_named, 0, 2);
    tcase_add_test(t, evaluation_needs_little);
    tcase_add_test(t, dropout_is_of_training_alone);
    tcase_add_loop_test(t, outputs_are_those_asked_for, 0, 2);
    tcase_add_test(t, gradients_add_up);
    tcase_add_loop_test(t, bf16_is_near_float, 0, 2);
    tcase_add_test(t, mlps_run_in_bf16);
    tcase_add_loop_test(t, too_long_a_sequence_is_refused, 0, 2);
    tcase_add_test(t, work_is_counted);
    tcase_add_loop_test(t, merged_weights_compute_the_same, 0, 2);
    tcase_add_loop_test(t, adapters_have_the_names_of_peft, 0, 2);
    tcase_add_loop_test(t, files_may_leave_out_the_prefix, 0, 2);
    tcase_set_timeout(t, 60);
    return t;
}

int main(void)
{
    rwf_mem_init();
    Suite *s = suite_create("model");
    suite_add_tcase(s, configs());
    suite_add_tcase(s, runs());
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
