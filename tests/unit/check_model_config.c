/* SPDX-License-Identifier: Apache-2.0
 *
 * Configs from recipes, what config.json may not ask for, and the sizes that have
 * names.
 */
#include "config.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"
#include "model_rig.h"

/* --- configs --- */

static const struct {
    const char *name;
    double millions; /* of parameters, as published */
} presets[] = {
    {"gpt2-124m", 124.44},  {"gpt2-355m", 354.82},  {"gpt2-774m", 774.03},
    {"gpt2-1.5b", 1557.6},  {"qwen3-0.6b", 596.05}, {"qwen3-1.7b", 1720.57},
    {"qwen3-4b", 4022.47},  {"qwen3-8b", 8190.74},  {"qwen3-14b", 14768.3},
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
    {"{'type':'transformer','preset':'gpt2-124m','dropout':0.25}", 0, "resid_pdrop",
     "0.25"},
    {"{'type':'transformer','preset':'gpt2-124m','layers':3}", 0, "n_layer", "3"},
    {"{'type':'transformer','preset':'qwen3-0.6b'}", 151669, "vocab_size", "151936"},
    {"{'type':'transformer','preset':'qwen3-0.6b'}", 0, "head_dim", "128"},
    {"{'type':'transformer','preset':'qwen3-8b'}", 0, "tie_word_embeddings", "false"},
    {"{'type':'transformer','family':'qwen3','layers':2,'hidden_size':64,'heads':4}",
     300, "head_dim", "16"},
    {"{'type':'transformer','family':'qwen3','layers':2,'hidden_size':64,'heads':4}",
     300, "num_key_value_heads", "4"},
    {"{'type':'transformer','family':'gpt2','layers':2,'hidden_size':64,'heads':4,"
     "'vocab_size':512}",
     300, "vocab_size", "512"},
    {"{'type':'transformer','family':'gpt2','layers':2,'hidden_size':64,'heads':4}",
     300, "architectures", "[\"GPT2LMHeadModel\"]"},
    {"{'type':'mlp','target':'y','features':4,'outputs':2,'hidden':[8]}", 0, "hidden",
     "[8]"},
    {"{'type':'mlp','features':4,'outputs':2}", 0, "activation", "\"relu\""},
    {"{'type':'transformer','preset':'qwen3-0.6b','adapter':{'type':'lora'}}", 0,
     "adapter",
     "{\"type\": \"lora\", \"rank\": 8, \"alpha\": 16.0, \"targets\": [\"q_proj\", "
     "\"v_proj\"]}"},
};

START_TEST(configs_say_what_recipes_say)
{
    json_t *config = rig_config(kept[_i].model, kept[_i].vocab);
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
    {"{}", 0, "ne of mlp, transformer"},
    {"{'type':'transformer'}", 0, "one of 'preset', 'family' and 'from'"},
    {"{'type':'transformer','preset':'gpt2-124'}", 0, "did you mean 'gpt2-124m'"},
    {"{'type':'transformer','preset':'qwen3-7b'}", 0, "ne of gpt2-124m, gpt2-355m"},
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
     "ne of c_attn, c_proj, c_fc"},
    {"{" FREE ",'family':'gpt2','adapter':{'type':'dora'}}", 9, "'type' is 'dora'"},
    {"{" FREE ",'family':'gpt2','adapter':{'rank':0}}", 9,
     "'rank' is 0, not 1 to 4096"},
    {"{" FREE ",'family':'gpt2','adapter':{'ranks':1}}", 9, "did you mean 'rank'"},
    {"{" FREE ",'family':'gpt2','adapter':'lora'}", 9, "adapter: is not a map of keys"},
    {"{'type':'mlp','features':['a'],'outputs':1}", 0,
     "'features' is not a whole number"},
    {"{'type':'mlp','features':4,'outputs':2,'activation':'rellu'}", 0,
     "did you mean 'relu'"},
    {"{'type':'mlp','features':4,'outputs':2,'hidden':[0]}", 0, "'hidden' has a size"},
    {"{'type':'mlp','features':4,'outputs':2,'class_weights':[1]}", 0,
     "one number for each of 2 classes"},
    {"{'type':'mlp','features':4,'outputs':2,'class_weights':[1,-1]}", 0, "no weight"},
    {"{'type':'mlp','features':4,'outputs':2,'layers':3}", 0,
     "there is no key 'layers'"},
};

START_TEST(wrong_recipes_are_told_why)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *model = rig_json(wrong_recipes[_i].model);
    ck_assert_ptr_null(model_config(model, wrong_recipes[_i].vocab, &err));
    ck_assert_msg(strstr(err.text, wrong_recipes[_i].says) != NULL, "%s: %s",
                  wrong_recipes[_i].model, err.text);
    ck_assert(err.code == RWF_E_RECIPE || err.code == RWF_E_INPUT);
    json_decref(model);
}
END_TEST

#define QWEN3                                                                          \
    "'model_type':'qwen3','hidden_size':8,'num_hidden_layers':1,"                      \
    "'num_attention_heads':2,'num_key_value_heads':1,'head_dim':4,"                    \
    "'intermediate_size':8,'vocab_size':9"

static const struct {
    const char *config;
    const char *says;
} refused[] = {
    {"{'model_type':'llama'}", "'model_type' is 'llama'; one of mlp, gpt2, qwen3"},
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
    {"{" QWEN3 ",'rope_parameters':{'rope_theta':'x'}}",
     "'rope_theta' is not a number"},
    {"{" QWEN3 ",'quantization_config':{}}", "quantised weights cannot be trained"},
    {"{" QWEN3 ",'vocab_size':2.5}", "'vocab_size' is not a whole number"},
};

START_TEST(what_is_not_done_is_refused_by_name)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *config = rig_json(refused[_i].config);
    ck_assert_ptr_null(model_create(config, &err));
    ck_assert_msg(strstr(err.text, refused[_i].says) != NULL, "%s: %s",
                  refused[_i].config, err.text);
    ck_assert_int_eq(err.code, RWF_E_INPUT);
    json_decref(config);
}
END_TEST

START_TEST(from_takes_the_config_of_a_checkpoint)
{
    struct rwf_err err = RWF_ERR_INIT;
    const char *top = getenv("srcdir");
    char *folder = rwf_xasprintf("%s/tests/data/model/gpt2", top != NULL ? top : "..");
    json_t *model =
        json_pack("{s:s, s:s, s:f, s:{s:i, s:s}}", "type", "transformer", "from",
                  folder, "dropout", 0.2, "adapter", "rank", 2, "targets", "all");
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

/* Before the data is prepared for it, and with its place. */
START_TEST(from_refuses_what_is_no_model_of_ours)
{
    struct rwf_err err = RWF_ERR_INIT;
    char folder[] = "/tmp/raywf-config.XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(folder));
    char *path = rwf_xasprintf("%s/config.json", folder);
    json_t *model = json_pack("{s:s, s:s}", "type", "transformer", "from", folder);
    json_t *config = json_pack("{s:s}", "model_type", "llama");
    ck_assert_int_eq(json_dump_file(config, path, 0), 0);
    ck_assert_ptr_null(model_config(model, 0, &err));
    ck_assert_msg(strstr(err.text, folder) != NULL && strstr(err.text, "'llama'") != NULL,
                  "%s", err.text);
    unlink(path);
    rmdir(folder);
    json_decref(config);
    json_decref(model);
    free(path);
}
END_TEST

static TCase *configs(void)
{
    TCase *t = tcase_create("configs");
    tcase_add_loop_test(t, presets_have_the_published_sizes, 0,
                        (int)RWF_COUNT(presets));
    tcase_add_loop_test(t, configs_say_what_recipes_say, 0, (int)RWF_COUNT(kept));
    tcase_add_loop_test(t, wrong_recipes_are_told_why, 0,
                        (int)RWF_COUNT(wrong_recipes));
    tcase_add_loop_test(t, what_is_not_done_is_refused_by_name, 0,
                        (int)RWF_COUNT(refused));
    tcase_add_test(t, from_takes_the_config_of_a_checkpoint);
    tcase_add_test(t, from_refuses_what_is_no_model_of_ours);
    return t;
}

int main(void)
{
    rwf_mem_init();
    Suite *s = suite_create("model_config");
    suite_add_tcase(s, configs());
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
