/* SPDX-License-Identifier: Apache-2.0
 *
 * Folders of models: what config.json may say and what is refused; files that lie;
 * random models; AWQ by our own quantiser equals its dequantised product; the memory
 * that is planned.
 */
#include "config.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "llm/random.h"
#include "llm_rig.h"
#include "tensor/safetensors.h"
#include "text/tokenizer.h"

/* --- config.json --- */

static const char qwen3[] =
    "{'model_type':'qwen3','architectures':['Qwen3ForCausalLM'],'num_hidden_layers':2,"
    "'hidden_size':64,'num_attention_heads':4,'num_key_value_heads':2,'head_dim':32,"
    "'intermediate_size':128,'vocab_size':300,'max_position_embeddings':40960,"
    "'rms_norm_eps':1e-6,'rope_theta':1000000,'rope_scaling':null,'hidden_act':'silu',"
    "'tie_word_embeddings':true,'torch_dtype':'bfloat16','eos_token_id':7}";

/* The config above with these keys instead (null: gone), and a generation_config or
 * none. */
static int read_changed(const char *changes, const char *generation,
                        struct llm_config *ret, struct rwf_err *err)
{
    char *folder = llm_rig_folder();
    json_t *config = llm_rig_json(qwen3), *some = llm_rig_json(changes), *value;
    const char *key;
    json_object_foreach(some, key, value) {
        if (json_is_null(value))
            json_object_del(config, key);
        else
            json_object_set(config, key, value);
    }
    llm_rig_write_json(folder, "config.json", config);
    if (generation != NULL) {
        json_t *g = llm_rig_json(generation);
        llm_rig_write_json(folder, "generation_config.json", g);
        json_decref(g);
    }
    int rc = llm_config_read(folder, ret, err);
    json_decref(config);
    json_decref(some);
    llm_rig_remove(folder);
    return rc;
}

START_TEST(old_and_new_spelling_mean_the_same)
{
    struct llm_config old, new;
    struct rwf_err err = RWF_ERR_INIT;
    ck_assert_msg(read_changed("{}", NULL, &old, &err) == 0, "%s", err.text);
    ck_assert_msg(
        read_changed("{'rope_theta':null,'rope_parameters':{'rope_theta':1000000,"
                     "'rope_type':'default'},'torch_dtype':null,'dtype':'bfloat16',"
                     "'layer_types':['full_attention','full_attention']}",
                     NULL, &new, &err) == 0,
        "%s", err.text);
    ck_assert_int_eq(old.layers, 2);
    ck_assert_int_eq(old.size, 32);
    ck_assert_int_eq(old.type, KERNEL_BF16);
    ck_assert_double_eq(old.theta, 1e6);
    ck_assert_int_eq(old.context, 40960);
    ck_assert_int_eq(old.end_count, 1);
    ck_assert_int_eq(old.ends[0], 7);
    ck_assert(old.tied);
    ck_assert_int_eq(memcmp(&old, &new, sizeof(old)), 0);
}
END_TEST

START_TEST(yarn_makes_the_context_longer)
{
    struct llm_config c;
    struct rwf_err err = RWF_ERR_INIT;
    ck_assert_msg(read_changed("{'rope_scaling':{'rope_type':'yarn','factor':4.0,"
                               "'original_max_position_embeddings':32768}}",
                               NULL, &c, &err) == 0,
                  "%s", err.text);
    ck_assert_int_eq(c.context, 131072);
    ck_assert_double_eq(c.yarn_factor, 4);
    ck_assert_double_eq_tol(c.yarn_attention, 0.1 * log(4) + 1, 1e-12);
}
END_TEST

START_TEST(generation_config_adds_ends_and_ways_to_draw)
{
    struct llm_config c;
    struct rwf_err err = RWF_ERR_INIT;
    ck_assert_msg(
        read_changed("{}",
                     "{'do_sample':true,'temperature':0.6,'top_p':0.95,'top_k':20,"
                     "'eos_token_id':[9,7]}",
                     &c, &err) == 0,
        "%s", err.text);
    ck_assert_int_eq(c.end_count, 2);
    ck_assert_int_eq(c.ends[1], 9);
    ck_assert_double_eq(c.temperature, 0.6);
    ck_assert_double_eq(c.top_p, 0.95);
    ck_assert_int_eq(c.top_k, 20);
    ck_assert_double_eq(c.repetition, 1);
}
END_TEST

static const struct {
    const char *changes, *says;
} refused[] = {
    {"{'model_type':'llama'}", "model_type is 'llama': only dense Qwen3"},
    {"{'architectures':['Qwen3MoeForCausalLM']}", "Qwen3MoeForCausalLM"},
    {"{'hidden_act':'gelu'}", "'hidden_act' is 'gelu'"},
    {"{'attention_bias':true}", "biases"},
    {"{'use_sliding_window':true}", "sliding"},
    {"{'layer_types':['sliding_attention']}", "sliding_attention"},
    {"{'num_hidden_layers':null}", "'num_hidden_layers' is missing"},
    {"{'hidden_size':'64'}", "'hidden_size' is not a whole number"},
    {"{'num_attention_heads':3}", "not a multiple"},
    {"{'head_dim':33}", "odd"},
    {"{'torch_dtype':'int8'}", "dtype is 'int8'"},
    {"{'rope_scaling':{'rope_type':'llama3','factor':8}}", "'llama3'"},
    {"{'rope_scaling':{'type':'yarn','factor':4,'mscale':1}}", "mscale"},
    {"{'rope_parameters':7}", "'rope_parameters' is not an object"},
    {"{'eos_token_id':300}", "no id of the vocabulary"},
    {"{'eos_token_id':'x'}", "no id of the vocabulary"},
    {"{'quantization_config':{'quant_method':'gptq','bits':4}}", "quant_method 'gptq'"},
    {"{'quantization_config':{'quant_method':'awq','version':'gemv'}}",
     "version 'gemv'"},
    {"{'quantization_config':{'quant_method':'awq','bits':8}}", "8 bits"},
    {"{'quantization_config':{'quant_method':'awq','group_size':16}}", "group_size 16"},
    {"{'quantization_config':{'quant_method':'awq','zero_point':false}}", "zero_point"},
    {"{'quantization_config':{'quant_method':'awq','modules_to_not_convert':['mlp']}}",
     "modules_to_not_convert has 'mlp'"},
    {"{'quantization_config':{'quant_method':'awq','group_size':128}}",
     "multiples of group_size 128"},
};

START_TEST(what_would_change_the_arithmetic_is_refused_by_name)
{
    struct llm_config c;
    struct rwf_err err = RWF_ERR_INIT;
    ck_assert_int_eq(read_changed(refused[_i].changes, NULL, &c, &err), -1);
    ck_assert_int_eq(err.code, RWF_E_INPUT);
    ck_assert_msg(strstr(err.text, refused[_i].says) != NULL, "%s: %s",
                  refused[_i].changes, err.text);
    ck_assert_ptr_nonnull(strstr(err.text, "config.json"));
}
END_TEST

/* --- folders --- */

static const char small[] =
    "{'type':'transformer','family':'qwen3','layers':2,'hidden_size':128,'heads':4,"
    "'kv_heads':2,'head_dim':32,'intermediate_size':256,'vocab_size':320,'context':256,"
    "'tie_embeddings':false}";

static void digest_of(const char *folder, char digest[RWF_DIGEST_LEN])
{
    char *path = llm_rig_weights(folder);
    struct rwf_err err = RWF_ERR_INIT;
    ck_assert_msg(rwf_digest_file(path, digest, NULL, &err) == 0, "%s", err.text);
    free(path);
}

START_TEST(a_random_model_is_its_seeds_and_speaks)
{
    char *one = llm_rig_random(small, _i == 1, 64, 5),
         *same = llm_rig_random(small, _i == 1, 64, 5);
    char *other = llm_rig_random(small, _i == 1, 64, 6);
    char a[RWF_DIGEST_LEN], b[RWF_DIGEST_LEN], c[RWF_DIGEST_LEN];
    struct rwf_err err = RWF_ERR_INIT;
    struct tokenizer_ids ids = {0};
    digest_of(one, a);
    digest_of(same, b);
    digest_of(other, c);
    ck_assert_str_eq(a, b);
    ck_assert_str_ne(a, c);
    struct tokenizer *t = tokenizer_open(one, &err);
    ck_assert_msg(t != NULL, "%s", err.text);
    tokenizer_encode(t, "Hi\xc3\xa4<|im_end|>", 12 + 2, &ids);
    struct llm_rig r;
    struct llm_text text;
    llm_rig_open_folder(&r, one, "cpu", KERNEL_BF16);
    ck_assert_uint_eq(ids.count, 5); /* four bytes and the end */
    ck_assert_int_eq(ids.ids[4], r.config.ends[0]);
    ck_assert_double_eq(r.config.temperature, 0.6);
    llm_text_begin(&r, &text, ids.ids, (int)ids.count);
    llm_text_run(&r, &text, RIG_LENGTH, 12);
    llm_rig_close(&r);
    tokenizer_close(t);
    free(ids.ids);
    llm_rig_remove(one);
    llm_rig_remove(same);
    llm_rig_remove(other);
}
END_TEST

/* Nothing but config.json is needed when weights are invented. */
START_TEST(invented_weights_need_no_file)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *folder = llm_rig_folder();
    json_t *m = llm_rig_json(small);
    const struct llm_random o = {
        .model = m, .awq = _i == 1, .group = 32, .empty = true};
    struct llm_rig r = {0};
    struct llm_text text;
    ck_assert_msg(llm_random_model(folder, &o, &err) == 0, "%s", err.text);
    ck_assert_int_eq(device_open(&r.device, "cpu", 0, 2, &err), 0);
    ck_assert_msg(llm_config_read(folder, &r.config, &err) == 0, "%s", err.text);
    struct llm_model_options options = {.device = &r.device,
                                        .type = KERNEL_BF16,
                                        .max_tokens = 64,
                                        .max_sequences = 2,
                                        .cache_bytes = 1 << 20,
                                        .dummy = true};
    r.m = llm_model_open(folder, &r.config, &options, &err);
    ck_assert_msg(r.m != NULL, "%s", err.text);
    llm_text_begin(&r, &text, (const int32_t[]){1, 2, 3}, 3);
    llm_text_run(&r, &text, RIG_LENGTH, 6);
    llm_rig_close(&r);
    json_decref(m);
    llm_rig_remove(folder);
}
END_TEST

/* --- files that lie --- */

/* The tensors of a folder written anew: skip is left out, bend gets a dimension more or
 * a type that is none of floats, extra is added. */
static void rewrite(const char *folder, const char *skip, const char *bend, bool type,
                    const char *extra)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *path = llm_rig_weights(folder), *copy = rwf_xasprintf("%s.new", path);
    struct safetensors *s = safetensors_open(path, &err);
    ck_assert_msg(s != NULL, "%s", err.text);
    struct safetensors_writer *w = safetensors_create(copy, NULL, &err);
    const int64_t one = 1;
    for (size_t i = 0; i < safetensors_count(s); i++) {
        const struct safetensors_entry *e = safetensors_at(s, i);
        int64_t shape[3] = {e->shape[0], e->dims > 1 ? e->shape[1] : 1, 1};
        bool bent = bend != NULL && strcmp(e->name, bend) == 0;
        if (skip != NULL && strcmp(e->name, skip) == 0)
            continue;
        if (bent && !type && e->dims == 2) {
            shape[0] /= 2;
            shape[1] *= 2;
        }
        ck_assert_int_eq(safetensors_declare(w, e->name,
                                             bent && type ? SAFETENSORS_I16 : e->type,
                                             e->dims, shape, &err),
                         0);
    }
    if (extra != NULL)
        ck_assert_int_eq(safetensors_declare(w, extra, SAFETENSORS_BF16, 1, &one, &err),
                         0);
    for (size_t i = 0; i < safetensors_count(s); i++) {
        const struct safetensors_entry *e = safetensors_at(s, i);
        if (skip == NULL || strcmp(e->name, skip) != 0)
            ck_assert_int_eq(safetensors_write(w, e->data, e->bytes, &err), 0);
    }
    if (extra != NULL)
        ck_assert_int_eq(safetensors_write(w, "\0", 2, &err), 0);
    ck_assert_int_eq(safetensors_finish(w, NULL, &err), 0);
    safetensors_close(s);
    ck_assert_int_eq(rename(copy, path), 0);
    free(path);
    free(copy);
}

static const struct {
    const char *skip, *bend;
    bool type;
    const char *extra, *says;
} lies[] = {
    {"model.norm.weight", NULL, false, NULL, "'model.norm.weight' is in none of"},
    {"lm_head.weight", NULL, false, NULL, "'lm_head.weight' is in none of"},
    {NULL, "model.layers.1.self_attn.k_proj.weight", false, NULL,
     "has the shape [32, 256], config.json asks for [64, 128]"},
    {NULL, "model.layers.0.mlp.up_proj.weight", true, NULL, "is I16, not BF16"},
    {NULL, NULL, false, "model.layers.0.self_attn.q_proj.bias",
     "'model.layers.0.self_attn.q_proj.bias' is none of a dense Qwen3 model"},
};

static int open_it(const char *folder, struct rwf_err *err)
{
    struct device device;
    struct llm_config c;
    ck_assert_int_eq(device_open(&device, "cpu", 0, 1, err), 0);
    ck_assert_msg(llm_config_read(folder, &c, err) == 0, "%s", err->text);
    const struct llm_model_options o = {.device = &device,
                                        .type = KERNEL_F32,
                                        .max_tokens = 64,
                                        .max_sequences = 2,
                                        .cache_bytes = 1 << 20};
    struct llm_model *m = llm_model_open(folder, &c, &o, err);
    llm_model_close(m);
    device_close(&device);
    return m != NULL ? 0 : -1;
}

START_TEST(a_file_that_lies_is_refused)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *folder = llm_rig_random(small, false, 0, 1);
    rewrite(folder, lies[_i].skip, lies[_i].bend, lies[_i].type, lies[_i].extra);
    ck_assert_int_eq(open_it(folder, &err), -1);
    ck_assert_int_eq(err.code, RWF_E_INPUT);
    ck_assert_msg(strstr(err.text, lies[_i].says) != NULL, "%s", err.text);
    llm_rig_remove(folder);
}
END_TEST

static const char small_tied[] =
    "{'type':'transformer','family':'qwen3','layers':1,'hidden_size':128,'heads':4,"
    "'kv_heads':2,'head_dim':32,'intermediate_size':256,'vocab_size':320,'context':256,"
    "'tie_embeddings':true}";

START_TEST(a_redundant_head_of_a_tied_model_is_not_looked_at)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *folder = llm_rig_random(small_tied, false, 0, 1);
    rewrite(folder, NULL, NULL, false, "lm_head.weight");
    ck_assert_msg(open_it(folder, &err) == 0, "%s", err.text);
    llm_rig_remove(folder);
}
END_TEST

/* As checkpoints of embedding models are saved. */
START_TEST(names_may_lack_their_first_part)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *folder = llm_rig_random(small_tied, false, 0, 1),
         *path = llm_rig_weights(folder);
    size_t len = 0;
    char *bytes = rwf_fs_read(path, 1 << 24, &len, &err), *at = bytes + 8;
    ck_assert_ptr_nonnull(bytes);
    for (; (at = strstr(at, "\"model.")) != NULL;
         at++) { /* the header keeps its length */
        char *end = strchr(at + 1, '"');
        memmove(at + 1, at + 7, (size_t)(end - at - 6));
        memset(end - 5, ' ', 6);
    }
    ck_assert_int_eq(rwf_fs_write(path, bytes, len, false, &err), 0);
    ck_assert_msg(open_it(folder, &err) == 0, "%s", err.text);
    free(bytes);
    free(path);
    llm_rig_remove(folder);
}
END_TEST

struct seen {
    double last;
    int count;
};

static void see(void *ctx, double done)
{
    struct seen *s = ctx;
    ck_assert(done >= s->last && done <= 1);
    s->last = done;
    s->count++;
}

START_TEST(progress_grows_to_one)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *folder = llm_rig_random(small, _i == 1, 64, 1);
    struct device device;
    struct llm_config c;
    struct seen seen = {0};
    ck_assert_int_eq(device_open(&device, "cpu", 0, 1, &err), 0);
    ck_assert_int_eq(llm_config_read(folder, &c, &err), 0);
    const struct llm_model_options o = {.device = &device,
                                        .type = KERNEL_BF16,
                                        .max_tokens = 64,
                                        .max_sequences = 2,
                                        .cache_bytes = 1 << 20,
                                        .progress = see,
                                        .ctx = &seen};
    struct llm_model *m = llm_model_open(folder, &c, &o, &err);
    ck_assert_msg(m != NULL, "%s", err.text);
    ck_assert_double_eq(seen.last, 1);
    ck_assert_int_gt(seen.count, 10);
    llm_model_close(m);
    device_close(&device);
    llm_rig_remove(folder);
}
END_TEST

int main(void)
{
    rwf_mem_init();
    Suite *s = suite_create("llm_weights");
    TCase *t = tcase_create("folders");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, old_and_new_spelling_mean_the_same);
    tcase_add_test(t, yarn_makes_the_context_longer);
    tcase_add_test(t, generation_config_adds_ends_and_ways_to_draw);
    tcase_add_loop_test(t, what_would_change_the_arithmetic_is_refused_by_name, 0,
                        (int)RWF_COUNT(refused));
    tcase_add_loop_test(t, a_random_model_is_its_seeds_and_speaks, 0, 2);
    tcase_add_loop_test(t, invented_weights_need_no_file, 0, 2);
    tcase_add_loop_test(t, a_file_that_lies_is_refused, 0, (int)RWF_COUNT(lies));
    tcase_add_test(t, a_redundant_head_of_a_tied_model_is_not_looked_at);
    tcase_add_test(t, names_may_lack_their_first_part);
    tcase_add_loop_test(t, progress_grows_to_one, 0, 2);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
