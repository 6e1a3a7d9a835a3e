/* SPDX-License-Identifier: Apache-2.0
 *
 * The built-in model: rows in, predictions out. Weights are diagonal, so that what
 * comes out can be told by hand: features a (number, mean 1, std 2), color (blue, red),
 * ok (boolean).
 */
#include "config.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/mem.h"
#include "serve/class_model.h"
#include "tensor/safetensors.h"
#include "train/features.h"

static char *folder;

static void write_text(const char *name, const char *text)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *path = rwf_fs_join(folder, name);
    ck_assert_msg(rwf_fs_write(path, text, strlen(text), false, &err) == 0, "%s",
                  err.text);
    free(path);
}

static void write_weights(int64_t n, int64_t in)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *path = rwf_fs_join(folder, "model.safetensors");
    float *w = rwf_xcalloc((size_t)(n * in), sizeof(float));
    float *b = rwf_xcalloc((size_t)n, sizeof(float));
    int64_t shape[2] = {n, in};
    for (int64_t i = 0; i < n && i < in; i++)
        w[i * in + i] = (float)(i + 1);
    struct safetensors_writer *s = safetensors_create(path, NULL, &err);
    ck_assert_msg(s != NULL, "%s", err.text);
    ck_assert_int_eq(
        safetensors_declare(s, "layers.0.weight", SAFETENSORS_F32, 2, shape, &err), 0);
    ck_assert_int_eq(
        safetensors_declare(s, "layers.0.bias", SAFETENSORS_F32, 1, shape, &err), 0);
    ck_assert_int_eq(safetensors_write(s, w, (size_t)(n * in) * 4, &err), 0);
    ck_assert_int_eq(safetensors_write(s, b, (size_t)n * 4, &err), 0);
    ck_assert_msg(safetensors_finish(s, NULL, &err) == 0, "%s", err.text);
    free(w);
    free(b);
    free(path);
}

#define FEATURES                                                                       \
    "\"width\":5,\"features\":[{\"name\":\"a\",\"kind\":\"number\",\"mean\":1,"        \
    "\"std\":2},"                                                                      \
    "{\"name\":\"color\",\"kind\":\"category\",\"type\":\"text\",\"categories\":["     \
    "\"blue\","                                                                        \
    "\"red\"]},{\"name\":\"ok\",\"kind\":\"category\",\"type\":\"boolean\","           \
    "\"categories\":[false,true]}]"
#define CONFIG(outputs, task)                                                          \
    "{\"model_type\":\"mlp\",\"features\":5,\"hidden\":[],\"outputs\":" outputs        \
    ",\"task\":\"" task "\"}"
#define CLASSES                                                                        \
    "{\"v\":1,\"task\":\"classification\"," FEATURES                                   \
    ",\"targets\":[{\"name\":\"kind\","                                                \
    "\"type\":\"text\",\"classes\":[\"x\",\"y \\\"q\\\"\",\"z\"]}]}"
#define NUMBERS                                                                        \
    "{\"v\":1,\"task\":\"classification\"," FEATURES                                   \
    ",\"targets\":[{\"name\":\"kind\","                                                \
    "\"type\":\"number\",\"classes\":[1,2.5,7]}]}"
#define VALUE                                                                          \
    "{\"v\":1,\"task\":\"regression\"," FEATURES ",\"targets\":[{\"name\":\"price\","  \
    "\"mean\":10,\"std\":4}]}"
#define VALUES                                                                         \
    "{\"v\":1,\"task\":\"regression\"," FEATURES ",\"targets\":[{\"name\":\"price\","  \
    "\"mean\":10,\"std\":4},{\"name\":\"b\",\"mean\":0,\"std\":1}]}"

static struct serve_model *open_model(const char *config, const char *features,
                                      int outputs)
{
    struct rwf_err err = RWF_ERR_INIT;
    write_text("config.json", config);
    write_text("preprocess.json", features);
    write_weights(outputs, 5);
    struct serve_model *m = serve_model_open(folder, "cpu", 1, &err);
    ck_assert_msg(m != NULL, "%s", err.text);
    return m;
}

static struct serve_model *classes(void)
{
    return open_model(CONFIG("3", "classification"), CLASSES, 3);
}

static void setup(void)
{
    char name[] = "/tmp/serve-model-XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(name));
    folder = rwf_xstrdup(name);
}

static void teardown(void)
{
    struct rwf_err err = RWF_ERR_INIT;
    rwf_fs_rmtree(folder, &err);
    free(folder);
}

/* The reply to one body, as text; the caller's. */
static char *ask(struct serve_model *m, const char *body, int *ret_status)
{
    struct serve_model_body b = {body, strlen(body)};
    struct serve_model_reply r;
    serve_model_answer(m, &b, 1, &r);
    *ret_status = r.status;
    return rwf_xstrndup(r.data, r.size);
}

static const struct {
    const char *body;
    int status;
    const char *reply; /* begins with it, or with 400: has it */
} rows[] = {
    /* a = 3 -> 1; red -> 0, 1: outputs 1, 0, 3 */
    {"{\"a\":3,\"color\":\"red\",\"ok\":true}", 200,
     "{\"prediction\":\"z\",\"probabilities\":{\"x\":0.114195,\"y "
     "\\\"q\\\"\":0.04201,\"z\":"
     "0.843795}}"},
    {" { \"ok\" : true , \"a\" : 3.0e0 , \"color\" : \"red\" } ", 200,
     "{\"prediction\":\"z\","},
    {"{\"a\":3,\"color\":\"\\u0072ed\",\"ok\":true}", 200, "{\"prediction\":\"z\","},
    {"{\"a\":1,\"color\":\"blue\",\"ok\":false}", 200,
     "{\"prediction\":\"y \\\"q\\\"\","},
    {"{\"a\":5,\"color\":null,\"ok\":null}", 200, "{\"prediction\":\"x\","},
    {"{\"a\":5,\"color\":\"green\",\"ok\":null}", 200, "{\"prediction\":\"x\","},
    {"{\"a\":1e3,\"color\":null,\"ok\":null}", 200,
     "{\"prediction\":\"x\",\"probabilities\":{\"x\":1.0,\"y "
     "\\\"q\\\"\":0.0,\"z\":0.0}}"},
    {"{\"a\":0.30000000000000004,\"color\":\"red\",\"ok\":true}", 200,
     "{\"prediction\":\"z\""},
    {"[]", 200, "[]"},
    {"[{\"a\":3,\"color\":\"red\",\"ok\":true},{\"a\":5,\"color\":null,\"ok\":null}]",
     200, "[{\"prediction\":\"z\","},
    {"{\"rows\":[{\"a\":3,\"color\":\"red\",\"ok\":true}]}", 200,
     "{\"predictions\":[{\"prediction\":\"z\","},
    {"{\"rows\":[]}", 200, "{\"predictions\":[]}"},
    {"", 400, "no JSON"},
    {"{\"a\":3", 400, "no JSON"},
    {"{\"a\":3,\"color\":\"red\",\"ok\":true} x", 400, "no JSON"},
    {"{\"a\":03,\"color\":\"red\",\"ok\":true}", 400, "no JSON"},
    {"{\"a\":3,\"a\":4,\"color\":\"red\",\"ok\":true}", 400, "duplicate"},
    {"{\"a\":3,\"colour\":\"red\",\"ok\":true}", 400, "no 'color' but 'colour'"},
    {"{\"a\":3,\"color\":\"red\",\"ok\":true,\"okk\":1}", 400,
     "the model has no feature 'okk'; did you mean 'ok'?"},
    {"{\"a\":\"3\",\"color\":\"red\",\"ok\":true}", 400,
     "'a' must be a number or null"},
    {"{\"a\":3,\"color\":7,\"ok\":true}", 400, "'color' must be text or null"},
    {"{\"a\":3,\"color\":\"red\",\"ok\":1}", 400, "'ok' must be true or false"},
    {"7", 400, "a row must be an object"},
    {"[{\"a\":3,\"color\":\"red\",\"ok\":true},7]", 400,
     "row 1: a row must be an object"},
    {"{\"a\":3,\"color\":\"\xff\",\"ok\":true}", 400, "no JSON"},
    {"{\"a\":1e999,\"color\":\"red\",\"ok\":true}", 400, "overflow"},
};

START_TEST(test_rows)
{
    struct serve_model *m = classes();
    int status;
    char *reply = ask(m, rows[_i].body, &status);
    ck_assert_msg(status == rows[_i].status, "%s: %d %s", rows[_i].body, status, reply);
    if (status == 200)
        ck_assert_msg(strncmp(reply, rows[_i].reply, strlen(rows[_i].reply)) == 0,
                      "%s: %s", rows[_i].body, reply);
    else
        ck_assert_msg(strstr(reply, rows[_i].reply) != NULL &&
                          strstr(reply, "invalid_request_error") != NULL,
                      "%s: %s", rows[_i].body, reply);
    json_t *json = json_loads(reply, 0, NULL);
    ck_assert_msg(json != NULL, "%s", reply);
    json_decref(json);
    free(reply);
    serve_model_close(m);
}
END_TEST

/* One that is wrong does not spoil its batch; more rows than one pass holds come in
 * order. */
START_TEST(test_batch)
{
    struct serve_model *m = classes();
    const char *good = "{\"a\":5,\"color\":null,\"ok\":null}", *bad = "{}";
    struct rwf_str many = {0};
    enum { ROWS = 2 * SERVE_MODEL_ROWS + 7 };
    rwf_str_addc(&many, '[');
    for (int i = 0; i < ROWS; i++)
        rwf_str_addf(&many, "%s{\"a\":%d,\"color\":\"blue\",\"ok\":null}", i ? "," : "",
                     i % 2 ? 1 : 9);
    rwf_str_addc(&many, ']');
    struct serve_model_body bodies[] = {{good, strlen(good)},
                                        {bad, strlen(bad)},
                                        {many.data, many.len},
                                        {good, strlen(good)}};
    struct serve_model_reply r[4];
    serve_model_answer(m, bodies, 4, r);
    ck_assert_int_eq(r[0].status, 200);
    ck_assert_int_eq(r[1].status, 400);
    ck_assert_int_eq(r[2].status, 200);
    ck_assert_uint_eq(r[0].size, r[3].size);
    ck_assert_mem_eq(r[0].data, r[3].data, r[0].size);
    json_t *list = json_loadb(r[2].data, r[2].size, 0, NULL);
    ck_assert_uint_eq(json_array_size(list), ROWS);
    for (size_t i = 0; i < ROWS; i++)
        ck_assert_str_eq(
            json_string_value(json_object_get(json_array_get(list, i), "prediction")),
            i % 2 ? "y \"q\"" : "x");
    json_decref(list);
    rwf_str_free(&many);
    serve_model_close(m);
}
END_TEST

static const struct {
    const char *config, *features;
    int outputs;
    const char *reply;
} kinds[] = {
    {CONFIG("3", "classification"), NUMBERS, 3,
     "{\"prediction\":7,\"probabilities\":{\"1\":"},
    /* 1 * 4 + 10 */
    {CONFIG("1", "regression"), VALUE, 1, "{\"prediction\":14}"},
    {CONFIG("2", "regression"), VALUES, 2, "{\"prediction\":{\"price\":14,\"b\":0}}"},
};

START_TEST(test_kinds)
{
    struct serve_model *m =
        open_model(kinds[_i].config, kinds[_i].features, kinds[_i].outputs);
    int status;
    char *reply = ask(m, "{\"a\":3,\"color\":\"red\",\"ok\":true}", &status);
    ck_assert_msg(status == 200 &&
                      strncmp(reply, kinds[_i].reply, strlen(kinds[_i].reply)) == 0,
                  "%s", reply);
    free(reply);
    serve_model_close(m);
}
END_TEST

static const struct {
    const char *config, *features;
    int outputs; /* of the weights; 0: no file */
    const char *wrong;
} broken[] = {
    {"{", CLASSES, 3, "config.json:1"},
    {"{\"model_type\":\"gpt2\"}", CLASSES, 3, "api: openai"},
    {CONFIG("3", "classification"), "{}", 3, "preprocess.json"},
    {CONFIG("2", "classification"), CLASSES, 2, "not of one training"},
    {CONFIG("3", "classification"), CLASSES, 2, "of another shape"},
    {CONFIG("3", "classification"), CLASSES, 0, "model.safetensors"},
};

START_TEST(test_broken)
{
    struct rwf_err err = RWF_ERR_INIT;
    write_text("config.json", broken[_i].config);
    write_text("preprocess.json", broken[_i].features);
    if (broken[_i].outputs > 0)
        write_weights(broken[_i].outputs, 5);
    ck_assert_ptr_null(serve_model_open(folder, "cpu", 1, &err));
    ck_assert_msg(strstr(err.text, broken[_i].wrong) != NULL, "%s", err.text);
}
END_TEST

/* The quick reader and jansson make the same numbers of the same text. */
START_TEST(test_numbers)
{
    static const char *const texts[] = {
        "0",
        "-0",
        "1",
        "-1.5",
        "0.1",
        "123456789012345",
        "1e22",
        "1E-22",
        "3e5",
        "0.625",
        "1.7e-5",
        "5e+3",
        "2.2250738585072014e-308",
        "9007199254740993",
        "0.1234567890123456789",
        "1e-30",
    };
    struct rwf_err err = RWF_ERR_INIT;
    json_t *json = json_loads(CLASSES, 0, NULL);
    struct features *f = features_parse(json, "test", &err);
    ck_assert_msg(f != NULL, "%s", err.text);
    for (size_t i = 0; i < RWF_COUNT(texts); i++) {
        enum serve__rows_shape shape;
        struct serve__rows quick, slow;
        char *one = rwf_xasprintf("{\"a\":%s,\"color\":\"red\",\"ok\":true}", texts[i]);
        char *two =
            rwf_xasprintf("{\"a\":%s,\"color\":\"r\\u0065d\",\"ok\":true}", texts[i]);
        serve__rows_init(&quick, f);
        serve__rows_init(&slow, f);
        ck_assert_int_eq(serve__rows_read(&quick, one, strlen(one), &shape, &err), 0);
        ck_assert_int_eq(serve__rows_read(&slow, two, strlen(two), &shape, &err), 0);
        ck_assert_mem_eq(quick.x, slow.x, 5 * sizeof(float));
        serve__rows_free(&quick);
        serve__rows_free(&slow);
        free(one);
        free(two);
    }
    features_close(f);
    json_decref(json);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("serve_model");
    TCase *t = tcase_create("model");
    rwf_mem_init();
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, test_rows, 0, (int)RWF_COUNT(rows));
    tcase_add_test(t, test_batch);
    tcase_add_loop_test(t, test_kinds, 0, (int)RWF_COUNT(kinds));
    tcase_add_loop_test(t, test_broken, 0, (int)RWF_COUNT(broken));
    tcase_add_test(t, test_numbers);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
