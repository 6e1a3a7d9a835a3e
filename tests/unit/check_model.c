/* SPDX-License-Identifier: Apache-2.0
 *
 * What a run of a model promises: the same gradients in chunks and with activations
 * computed twice, outputs where they are asked for, shorter batches, bf16 near float,
 * adapters that can be merged.
 */
#include "config.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/mem.h"
#include "tensor/safetensors.h"
#include "model_rig.h"

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
    json_t *config = rig_config(model, VOCAB);
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
    json_t *config = rig_config(
        "{'type':'mlp','features':5,'outputs':3,'hidden':[16],'dropout':0.2}", 0);
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
    json_t *config = rig_config("{'type':'transformer','preset':'gpt2-124m'}", 0);
    struct model *m = model_create(config, &err);
    double n = 124439808.0 - 1024 * 768, per_token = 6 * n + 12.0 * 12 * 768 * 1024;
    ck_assert_double_eq_tol(model_flops(m, 1024) / 1024, per_token, 1);
    model_destroy(m);
    json_decref(config);
    config = rig_config("{'type':'mlp','features':784,'outputs':10,'hidden':[128]}", 0);
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

static void save(struct rig *r, const char *folder, enum safetensors_type type)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *path = rwf_fs_join(folder, "model.safetensors");
    struct safetensors_writer *w = safetensors_create(path, NULL, &err);
    for (size_t i = 0; i < r->layout->param_count; i++) {
        const struct model_param *p = &r->layout->params[i];
        ck_assert_int_eq(safetensors_declare(w, p->name, type, p->dims, p->shape, &err),
                         0);
    }
    for (size_t i = 0; i < r->layout->param_count; i++) {
        size_t count = (size_t)rig_count(r, i), size = safetensors_type_size(type);
        uint16_t *half = rwf_xcalloc(count, sizeof(*half));
        r->device.k->from_float(r->device.c, half, rig_weight(r, i), (int64_t)count,
                                KERNEL_BF16);
        const void *bytes = size == 2 ? (const void *)half : rig_weight(r, i);
        ck_assert_int_eq(safetensors_write(w, bytes, count * size, &err), 0);
        free(half);
    }
    ck_assert_msg(safetensors_finish(w, NULL, &err) == 0, "%s", err.text);
    free(path);
    path = rwf_fs_join(folder, "config.json");
    ck_assert_int_eq(json_dump_file(model_config_json(r->m), path, 0), 0);
    free(path);
}

/* The base of the folder has what merging on the host gives, and no more. */
static void check_base(struct rig *r, const char *folder, enum safetensors_type type)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct safetensors *s = safetensors_open(folder, &err);
    size_t others = 0, a, b;
    ck_assert_msg(s != NULL, "%s", err.text);
    for (size_t i = 0; i < r->layout->param_count; i++) {
        const struct model_param *p = &r->layout->params[i];
        const struct safetensors_entry *e = safetensors_find(s, p->name);
        if (!r->layout->units[p->unit].frozen) {
            ck_assert_ptr_null(e);
            continue;
        }
        others++;
        ck_assert_ptr_nonnull(e);
        ck_assert_int_eq(e->type, type);
        int64_t count = rig_count(r, i);
        float *got = rwf_xcalloc((size_t)count, sizeof(float));
        float *want = rwf_xcalloc((size_t)count, sizeof(float));
        memcpy(want, rig_weight(r, i), (size_t)count * sizeof(float));
        if (model_adapter_of(r->m, i, &a, &b))
            model_merge(r->m, i, want, rig_weight(r, a), rig_weight(r, b));
        ck_assert_int_eq(safetensors_floats(e, 0, count, got, &err), 0);
        for (int64_t n = 0; n < count; n++)
            ck_assert_float_eq_tol(got[n], want[n],
                                   type == SAFETENSORS_BF16 ? 0.02f : 1e-6f);
        free(got);
        free(want);
    }
    ck_assert_uint_eq(safetensors_count(s), others);
    safetensors_close(s);
}

START_TEST(folders_with_adapters_are_merged)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct rig r;
    struct model_run run = {.train = false};
    char folder[] = "/tmp/check_model.XXXXXX";
    enum safetensors_type type = _i % 2 == 0 ? SAFETENSORS_F32 : SAFETENSORS_BF16;
    ck_assert_ptr_nonnull(mkdtemp(folder));
    open_tokens(&r, adapted[_i / 2], &run);
    save(&r, folder, type);
    for (int twice = 0; twice < 2; twice++) /* the second time there is nothing to do */
        ck_assert_msg(model_merge_folder(folder, &err) == 0, "%s", err.text);
    check_base(&r, folder, type);
    char *adapter = rwf_fs_join(folder, "adapter/adapter_model.safetensors");
    struct safetensors *s = safetensors_open(adapter, &err);
    ck_assert_msg(s != NULL, "%s", err.text);
    ck_assert_uint_eq(safetensors_count(s), _i / 2 == 0 ? 16 : 8);
    safetensors_close(s);
    free(adapter);
    char *config = rwf_fs_join(folder, "adapter/adapter_config.json");
    ck_assert(rwf_fs_is_file(config));
    free(config);
    rwf_fs_rmtree(folder, NULL);
    rig_close(&r);
}
END_TEST

START_TEST(folders_that_lack_a_tensor_are_named)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct rig r;
    struct model_run run = {.train = false};
    char folder[] = "/tmp/check_model.XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(folder));
    open_tokens(&r, gpt2, &run);
    save(&r, folder, SAFETENSORS_F32);
    json_t *config = rig_config(adapted[0], VOCAB);
    char *path = rwf_fs_join(folder, "config.json");
    ck_assert_int_eq(json_dump_file(config, path, 0), 0);
    ck_assert_int_eq(model_merge_folder(folder, &err), -1);
    ck_assert_msg(strstr(err.text, "lora_A.weight' is missing") != NULL, "%s",
                  err.text);
    ck_assert_msg(strstr(err.text, folder) != NULL, "%s", err.text);
    free(path);
    json_decref(config);
    rwf_fs_rmtree(folder, NULL);
    rig_close(&r);
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
    tcase_add_loop_test(t, folders_with_adapters_are_merged, 0, 4);
    tcase_add_test(t, folders_that_lack_a_tensor_are_named);
    tcase_add_loop_test(t, adapters_have_the_names_of_peft, 0, 2);
    tcase_add_loop_test(t, files_may_leave_out_the_prefix, 0, 2);
    tcase_set_timeout(t, 60);
    return t;
}

int main(void)
{
    rwf_mem_init();
    Suite *s = suite_create("model");
    suite_add_tcase(s, runs());
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
