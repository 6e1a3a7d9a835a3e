/* SPDX-License-Identifier: Apache-2.0
 *
 * AWQ by our own quantiser equals its dequantised product; the memory that is planned.
 */
#include "config.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/mem.h"
#include "llm/memory.h"
#include "llm/quantize.h"
#include "llm_rig.h"
#include "tensor/safetensors.h"

static const char small[] =
    "{'type':'transformer','family':'qwen3','layers':2,'hidden_size':128,'heads':4,"
    "'kv_heads':2,'head_dim':32,'intermediate_size':256,'vocab_size':320,'context':256,"
    "'tie_embeddings':false}";

/* --- quantising --- */

static double error_of(const float *w, int group)
{
    uint8_t q[128], zero;
    uint16_t scale;
    double sum = 0;
    llm__quantize_group(w, group, q, &zero, &scale);
    for (int i = 0; i < group; i++) {
        ck_assert_int_le(q[i], 15);
        double d = ((double)q[i] - zero) * (double)llm__from_half(scale) - (double)w[i];
        sum += d * d;
    }
    return sum;
}

START_TEST(a_group_is_as_near_as_four_bits_allow)
{
    float w[128];
    uint32_t x = 1;
    double sum = 0, plain = 0, low = 0, high = 0;
    for (int i = 0; i < 128; i++) {
        double u = 0;
        for (int j = 0; j < 12; j++) { /* nearly normal */
            x = x * 1664525 + 1013904223;
            u += (double)(x >> 8) / (1 << 24);
        }
        w[i] = (float)(u - 6);
        sum += (u - 6) * (u - 6);
        low = fmin(low, u - 6);
        high = fmax(high, u - 6);
    }
    double step = (high - low) / 15, zero = nearbyint(-low / step);
    for (int i = 0; i < 128; i++) {
        double q = fmin(15, fmax(0, nearbyint((double)w[i] / step) + zero));
        plain += pow((q - zero) * step - (double)w[i], 2);
    }
    ck_assert_double_lt(error_of(w, 128),
                        plain * 1.001); /* never worse than without clipping */
    ck_assert_double_lt(sqrt(error_of(w, 128) / sum), 0.12);
    memset(w, 0, sizeof(w));
    ck_assert_double_eq(error_of(w, 128), 0);
    for (int i = 0; i < 128; i++)
        w[i] = 3; /* one sign only: 0 is still in the range */
    ck_assert_double_lt(error_of(w, 128), 1e-3);
    for (int i = 0; i < 128; i++)
        w[i] = (float)(i % 16 - 5) * 0.25f; /* what four bits can say */
    ck_assert_double_lt(error_of(w, 128), 1e-9);
}
END_TEST

/* (q - zero) * scale of a module, as a plain weight [n, k]. */
static float *dequantised(const struct safetensors *s, const char *module,
                          int64_t *ret_n, int64_t *ret_k)
{
    char *names[3] = {rwf_xasprintf("%s.qweight", module),
                      rwf_xasprintf("%s.qzeros", module),
                      rwf_xasprintf("%s.scales", module)};
    const struct safetensors_entry *w = safetensors_find(s, names[0]);
    const struct safetensors_entry *z = safetensors_find(s, names[1]);
    const struct safetensors_entry *c = safetensors_find(s, names[2]);
    int64_t k = w->shape[0], n = c->shape[1], group = k / c->shape[0];
    float *out = rwf_xmalloc((size_t)(n * k) * sizeof(*out));
    float *scales = rwf_xmalloc((size_t)(n * k / group) * sizeof(*out));
    safetensors_floats(c, 0, n * k / group, scales, NULL);
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j < n; j++) {
            int shift = 4 * llm__awq_nibble[j % 8];
            uint32_t a = ((const uint32_t *)w->data)[i * (n / 8) + j / 8] >> shift & 15;
            uint32_t b =
                ((const uint32_t *)z->data)[i / group * (n / 8) + j / 8] >> shift & 15;
            out[j * k + i] = ((float)a - (float)b) * scales[i / group * n + j];
        }
    free(scales);
    for (int i = 0; i < 3; i++)
        free(names[i]);
    *ret_n = n;
    *ret_k = k;
    return out;
}

/* A folder of AWQ as a plain one of float. */
static char *dequantise_folder(const char *from)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *to = llm_rig_folder(), *path = llm_rig_weights(to),
         *config = rwf_fs_join(from, "config.json");
    struct safetensors *s = safetensors_open(from, &err);
    ck_assert_msg(s != NULL, "%s", err.text);
    struct safetensors_writer *w = safetensors_create(path, NULL, &err);
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < safetensors_count(s); i++) {
            const struct safetensors_entry *e = safetensors_at(s, i);
            char *name = rwf_xstrdup(e->name);
            char *dot = strrchr(name, '.');
            int64_t n = e->shape[0], k = e->dims > 1 ? e->shape[1] : 1;
            float *values = NULL;
            if (strcmp(dot, ".qzeros") != 0 && strcmp(dot, ".scales") != 0) {
                bool packed = strcmp(dot, ".qweight") == 0;
                *dot = '\0';
                if (packed)
                    values = dequantised(s, name, &n, &k);
                else {
                    values = rwf_xmalloc((size_t)(n * k) * sizeof(*values));
                    ck_assert_int_eq(safetensors_floats(e, 0, n * k, values, &err), 0);
                }
                char *full = rwf_xasprintf("%s.weight", name);
                const int64_t shape[] = {n, k};
                ck_assert_int_eq(
                    pass == 0 ? safetensors_declare(w, full, SAFETENSORS_F32, e->dims,
                                                    shape, &err)
                              : safetensors_write(
                                    w, values, (size_t)(n * k) * sizeof(*values), &err),
                    0);
                free(full);
            }
            free(values);
            free(name);
        }
    ck_assert_int_eq(safetensors_finish(w, NULL, &err), 0);
    safetensors_close(s);
    json_t *c = json_load_file(config, 0, NULL);
    json_object_del(c, "quantization_config");
    llm_rig_write_json(to, "config.json", c);
    json_decref(c);
    free(config);
    free(path);
    return to;
}

/* All log-probabilities after a text of 40 ids. */
static void logprobs_of(const char *folder, float *to, int vocab)
{
    struct llm_rig r;
    struct llm_text t;
    struct llm_drawn drawn;
    struct rwf_err err = RWF_ERR_INIT;
    int32_t ids[40];
    for (int i = 0; i < 40; i++)
        ids[i] = i * 37 % vocab;
    llm_rig_open_folder(&r, folder, "cpu", KERNEL_F32);
    llm_text_begin(&r, &t, ids, 40);
    struct llm_row row = llm_text_row(&t, 40);
    row.logprobs = vocab;
    ck_assert_msg(llm_model_step(r.m, &row, 1, &drawn, &err) == 0, "%s", err.text);
    for (int i = 1; i <= vocab; i++)
        to[drawn.logprobs[i].id] = drawn.logprobs[i].logprob;
    llm_rig_close(&r);
}

START_TEST(our_awq_equals_its_dequantised_product_and_is_near_the_original)
{
    static const int groups[] = {32, 64, 128};
    struct rwf_err err = RWF_ERR_INIT;
    char *from = llm_rig_random(small, false, 0, 3), *awq = llm_rig_folder();
    const struct llm_quantize q = {.from = from, .to = awq, .group = groups[_i]};
    ck_assert_msg(llm_quantize(&q, &err) == 0, "%s", err.text);
    char *plain = dequantise_folder(awq);
    float original[320], packed[320], product[320];
    logprobs_of(from, original, 320);
    logprobs_of(awq, packed, 320);
    logprobs_of(plain, product, 320);
    double far = 0;
    for (int i = 0; i < 320; i++) {
        ck_assert_double_eq_tol((double)packed[i], (double)product[i], 1e-4);
        far = fmax(far, fabs((double)packed[i] - (double)original[i]));
    }
    ck_assert_double_lt(far, 0.5);
    ck_assert_double_gt(far, 1e-6); /* it is quantised indeed */
    char *tokenizer = rwf_fs_join(awq, "tokenizer.json");
    ck_assert(rwf_fs_exists(tokenizer));
    free(tokenizer);
    llm_rig_remove(from);
    llm_rig_remove(awq);
    llm_rig_remove(plain);
}
END_TEST

/* Some channels become thirty times as large as the others, as in models that were
 * trained. */
static void make_outliers(const char *folder)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *path = llm_rig_weights(folder);
    size_t len = 0;
    char *bytes = rwf_fs_read(path, 1 << 24, &len, &err);
    ck_assert_msg(bytes != NULL, "%s", err.text);
    struct safetensors *s = safetensors_parse(bytes, len, path, &err);
    ck_assert_msg(s != NULL, "%s", err.text);
    for (size_t i = 0; i < safetensors_count(s); i++) {
        const struct safetensors_entry *e = safetensors_at(s, i);
        uint16_t *w = (void *)(bytes + ((const char *)e->data - bytes));
        for (int64_t j = 3; strstr(e->name, "layernorm") != NULL && j < e->shape[0];
             j += 31)
            w[j] = 0x41f0; /* 30 in bfloat16 */
    }
    safetensors_close(s);
    ck_assert_int_eq(rwf_fs_write(path, bytes, len, false, &err), 0);
    free(bytes);
    free(path);
}

/* Of a product behind its norm: what outputs are off by, squared, for inputs of one
 * size. */
static double product_error(const struct safetensors *plain,
                            const struct safetensors *awq, const char *module,
                            const char *norm)
{
    char *full = rwf_xasprintf("%s.weight", module);
    const struct safetensors_entry *n = safetensors_find(plain, norm);
    const struct safetensors_entry *m = safetensors_find(awq, norm);
    int64_t rows, k;
    float *got = dequantised(awq, module, &rows, &k), w, before, behind;
    double sum = 0;
    for (int64_t i = 0; i < rows * k; i++) {
        safetensors_floats(safetensors_find(plain, full), i, 1, &w, NULL);
        safetensors_floats(n, i % k, 1, &before, NULL);
        safetensors_floats(m, i % k, 1, &behind, NULL);
        sum += pow((double)w * (double)before - (double)got[i] * (double)behind, 2);
    }
    free(got);
    free(full);
    return sum;
}

static double quantised_error(const char *from, const int32_t *ids, int count,
                              const char *module, const char *norm)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *to = llm_rig_folder();
    const struct llm_quantize q = {
        .from = from, .to = to, .calibration = ids, .calibration_count = count};
    ck_assert_msg(llm_quantize(&q, &err) == 0, "%s", err.text);
    struct safetensors *plain = safetensors_open(from, &err);
    struct safetensors *awq = safetensors_open(to, &err);
    double error = product_error(plain, awq, module, norm);
    safetensors_close(plain);
    safetensors_close(awq);
    llm_rig_remove(to);
    return error;
}

START_TEST(calibration_makes_what_matters_more_exact)
{
    static const char *const pairs[][2] = {
        {"model.layers.0.self_attn.q_proj", "model.layers.0.input_layernorm.weight"},
        {"model.layers.1.mlp.up_proj",
         "model.layers.1.post_attention_layernorm.weight"}};
    struct rwf_err err = RWF_ERR_INIT;
    char *from = llm_rig_random(small, false, 0, 3);
    int32_t ids[200];
    make_outliers(from);
    for (int i = 0; i < 200; i++)
        ids[i] = (i * i * 7 + 5) % 320;
    for (size_t i = 0; i < RWF_COUNT(pairs); i++) {
        double without = quantised_error(from, NULL, 0, pairs[i][0], pairs[i][1]);
        double with = quantised_error(from, ids, 200, pairs[i][0], pairs[i][1]);
        ck_assert_msg(with < 0.9 * without, "%s: %g with, %g without", pairs[i][0],
                      with, without);
    }
    const struct llm_quantize q = {.from = from,
                                   .to = "/nonexistent",
                                   .calibration = (const int32_t[]){1, 320},
                                   .calibration_count = 2};
    ck_assert_int_eq(llm_quantize(&q, &err), -1);
    ck_assert_ptr_nonnull(strstr(err.text, "has the id 320"));
    llm_rig_remove(from);
}
END_TEST

START_TEST(what_cannot_be_quantised_is_said)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *odd = llm_rig_path("model/qwen3-wide"), *awq = llm_rig_path("llm/awq");
    struct llm_quantize q = {.from = odd, .to = "/nonexistent"};
    ck_assert_int_eq(llm_quantize(&q, &err), -1);
    ck_assert_ptr_nonnull(
        strstr(err.text, "hidden_size is 20, which is no multiple of 128"));
    q.from = awq;
    ck_assert_int_eq(llm_quantize(&q, &err), -1);
    ck_assert_ptr_nonnull(strstr(err.text, "is quantised already"));
    q.from = "/nonexistent";
    ck_assert_int_eq(llm_quantize(&q, &err), -1);
    ck_assert_int_eq(err.code, RWF_E_INPUT);
    free(odd);
    free(awq);
}
END_TEST

/* --- memory --- */

static struct llm_memory_ask ask_14b(struct llm_config *c)
{
    *c = (struct llm_config){.layers = 40,
                             .heads = 40,
                             .kv_heads = 8,
                             .size = 128,
                             .hidden = 5120,
                             .inner = 17408,
                             .vocab = 151936,
                             .context = 40960};
    return (struct llm_memory_ask){
        .config = c,
        .options = {.type = KERNEL_BF16, .max_tokens = 8192, .max_sequences = 256},
        .device = "a GPU",
        .total = (int64_t)80 << 30,
        .free = (int64_t)79 << 30,
    };
}

static int64_t row_of(const struct llm_memory *m, const char *name)
{
    for (int i = 0; i < m->count; i++)
        if (strcmp(m->rows[i].name, name) == 0)
            return m->rows[i].bytes;
    return 0;
}

/* What the library for GPUs allocates when it opens, and its decoder's words, maps and
 * layers. */
START_TEST(what_kernels_have_for_themselves_is_planned)
{
    struct llm_config c;
    struct llm_memory m;
    struct rwf_err err = RWF_ERR_INIT;
    struct llm_memory_ask ask = ask_14b(&c);
    const char *row = "kernels themselves";
    ck_assert_int_eq(llm_options_complete(&ask.options, &c, &err), 0);
    ck_assert_int_eq(llm_memory_plan(&ask, &m, &err), 0);
    int64_t plain = row_of(&m, row), library = 0;
    c.bits = 4;
    c.group = 128;
    ck_assert_int_eq(llm_memory_plan(&ask, &m, &err), 0);
    ck_assert_int_ge(row_of(&m, row), plain + 40 * 4 * 256); /* tensor maps */
    ask.options.eager = true;
    ck_assert_int_eq(llm_memory_plan(&ask, &m, &err), 0);
    library = row_of(&m, row);
    ck_assert_int_eq(library, (int64_t)(64 + 8) * 1048576 + 65536 * 4 + 132 * 131072);
    /* The words of 8 sequences that 17,408 columns fill, twice: one kind of them. */
    ck_assert_int_gt(plain, library + 2 * 8 * 17408 / 2 * 8);
    ck_assert_int_lt(plain, library + ((int64_t)16 << 20));
    ask.host = true;
    ck_assert_int_eq(llm_memory_plan(&ask, &m, &err), 0);
    ck_assert_int_eq(row_of(&m, row), 0);
}
END_TEST

START_TEST(memory_is_planned_without_a_device)
{
    struct llm_config c;
    struct llm_memory m;
    struct rwf_err err = RWF_ERR_INIT;
    struct llm_memory_ask ask = ask_14b(&c);
    ck_assert_int_eq(llm_options_complete(&ask.options, &c, &err), 0);
    ck_assert_msg(llm_memory_plan(&ask, &m, &err) == 0, "%s", err.text);
    int64_t weights = m.rows[0].bytes + m.rows[1].bytes + m.rows[2].bytes, sum = 0;
    ck_assert_int_eq(weights / 1000000,
                     29536); /* 14.768 G parameters of 2 bytes, and a row */
    ck_assert_int_eq(m.block, 16 * 160 * 1024); /* 160 KiB a token */
    for (int i = 0; i < m.count; i++)
        sum += m.rows[i].bytes;
    ck_assert_int_eq(sum, m.bytes);
    ck_assert_int_le(m.bytes, m.budget);
    ck_assert_int_lt(m.budget - m.bytes, m.block); /* all of it is used */
    ck_assert_int_gt(m.tokens, 200000);
    c.bits = 4;
    c.group = 128;
    struct llm_memory q;
    ck_assert_msg(llm_memory_plan(&ask, &q, &err) == 0, "%s", err.text);
    ck_assert_int_gt(q.tokens, m.tokens);
}
END_TEST

START_TEST(what_does_not_fit_says_what_would)
{
    struct llm_config c;
    struct llm_memory m;
    struct rwf_err err = RWF_ERR_INIT;
    struct llm_memory_ask ask = ask_14b(&c);
    ck_assert_int_eq(llm_options_complete(&ask.options, &c, &err), 0);
    ask.total = ask.free = (int64_t)38 << 30;
    ck_assert_int_eq(llm_memory_plan(&ask, &m, &err), -1);
    ck_assert_int_eq(err.code, RWF_E_FIT);
    ck_assert_ptr_nonnull(strstr(err.text, "Lower max_model_len to at most"));
    ck_assert_ptr_nonnull(strstr(err.text, "weights: layers"));
    ck_assert_int_gt(m.longest, 0);
    ask.options.max_length = m.longest;
    ck_assert_msg(llm_memory_plan(&ask, &m, &err) == 0, "%s", err.text);
    ask.total = ask.free = (int64_t)20 << 30;
    ck_assert_int_eq(llm_memory_plan(&ask, &m, &err), -1);
    ck_assert_ptr_nonnull(strstr(err.text, "quantised"));
    ck_assert_int_eq(m.longest, 0);
}
END_TEST

START_TEST(options_that_cannot_be_are_named)
{
    struct llm_config c;
    struct rwf_err err = RWF_ERR_INIT;
    struct llm_model_options o = ask_14b(&c).options;
    o.max_length = 40961;
    ck_assert_int_eq(llm_options_complete(&o, &c, &err), -1);
    ck_assert_int_eq(err.code, RWF_E_USAGE);
    ck_assert_ptr_nonnull(strstr(err.text, "max_model_len 40961"));
    o.max_length = 0;
    o.memory_share = 1.5;
    ck_assert_int_eq(llm_options_complete(&o, &c, &err), -1);
    ck_assert_ptr_nonnull(strstr(err.text, "gpu_memory_utilization"));
}
END_TEST

int main(void)
{
    rwf_mem_init();
    Suite *s = suite_create("llm_quantize");
    TCase *t = tcase_create("folders");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_group_is_as_near_as_four_bits_allow);
    tcase_add_loop_test(
        t, our_awq_equals_its_dequantised_product_and_is_near_the_original, 0, 3);
    tcase_add_test(t, calibration_makes_what_matters_more_exact);
    tcase_add_test(t, what_cannot_be_quantised_is_said);
    tcase_add_test(t, memory_is_planned_without_a_device);
    tcase_add_test(t, what_kernels_have_for_themselves_is_planned);
    tcase_add_test(t, what_does_not_fit_says_what_would);
    tcase_add_test(t, options_that_cannot_be_are_named);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
