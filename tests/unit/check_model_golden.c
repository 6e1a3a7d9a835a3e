/* SPDX-License-Identifier: Apache-2.0
 *
 * Models that transformers has saved (tests/data/model, made by make.py there): logits
 * to 1e-4 relative to the largest, the loss to 1e-5, and of each gradient, which
 * torch's autograd has made, its norm and its product with a wave to 1e-4 of the norm.
 */
#include "config.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/fs.h"
#include "base/mem.h"
#include "tensor/safetensors.h"
#include "model_rig.h"

static const char *const names[] = {"gpt2", "gpt2-inner", "qwen3-tied", "qwen3-untied",
                                    "qwen3-wide"};

static char *path_of(const char *name, const char *file)
{
    const char *top = getenv("srcdir");
    return rwf_xasprintf("%s/tests/data/model/%s/%s", top != NULL ? top : "..", name,
                         file);
}

static json_t *load(const char *name, const char *file)
{
    json_error_t error;
    char *path = path_of(name, file);
    json_t *v = json_load_file(path, 0, &error);
    ck_assert_msg(v != NULL, "%s: %s", path, error.text);
    free(path);
    return v;
}

/* All parameters of the model are in the file under their names and shapes, and no
 * others. */
static void load_weights(struct rig *r, const char *name)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *path = path_of(name, "model.safetensors");
    struct safetensors *s = safetensors_open(path, &err);
    ck_assert_msg(s != NULL, "%s", err.text);
    ck_assert_uint_eq(safetensors_count(s), r->layout->param_count);
    for (size_t i = 0; i < r->layout->param_count; i++) {
        const struct model_param *p = &r->layout->params[i];
        const struct safetensors_entry *e = safetensors_find(s, p->name);
        ck_assert_msg(e != NULL, "%s is not in %s", p->name, path);
        ck_assert_int_eq(e->dims, p->dims);
        for (int d = 0; d < p->dims; d++)
            ck_assert_msg(e->shape[d] == p->shape[d], "shape of %s", p->name);
        ck_assert_int_eq(p->offset % 64, 0);
        ck_assert_int_eq(
            safetensors_floats(e, 0, rig_count(r, i), rig_weight(r, i), &err), 0);
    }
    safetensors_close(s);
    free(path);
}

static void set_batch(struct rig *r, const json_t *golden)
{
    rig_tokens(r, 2);
    for (int i = 0; i < r->run.rows * r->run.length; i++) {
        r->ids[i] = (int32_t)json_integer_value(
            json_array_get(json_object_get(golden, "ids"), (size_t)i));
        r->targets[i] = (int32_t)json_integer_value(
            json_array_get(json_object_get(golden, "targets"), (size_t)i));
    }
    rig_sort(r);
}

static void open_golden(struct rig *r, const char *name, json_t **golden)
{
    json_t *config = load(name, "config.json");
    *golden = load(name, "golden.json");
    struct model_run run = {
        .rows = (int)json_integer_value(json_object_get(*golden, "rows")),
        .length = (int)json_integer_value(json_object_get(*golden, "length")),
        .train = true};
    rig_open(r, config, &run);
    load_weights(r, name);
    set_batch(r, *golden);
    json_decref(config);
}

START_TEST(logits_are_those_of_transformers)
{
    struct rig r;
    json_t *golden, *logits;
    open_golden(&r, names[_i], &golden);
    logits = json_object_get(golden, "logits");
    r.batch.targets = NULL;
    rig_loss(&r, 0, 0);
    double largest = 0, worst = 0;
    for (size_t i = 0; i < json_array_size(logits); i++) {
        double want = json_real_value(json_array_get(logits, i));
        largest = fmax(largest, fabs(want));
        worst = fmax(worst, fabs(want - (double)rig_output(&r, (int64_t)i)));
    }
    ck_assert_double_gt(largest, 1);
    ck_assert_msg(worst <= 1e-4 * largest, "%s: %g of %g", names[_i], worst, largest);
    json_decref(golden);
    rig_close(&r);
}
END_TEST

static int counted(const struct rig *r)
{
    int count = 0;
    for (int i = 0; i < r->run.rows * r->run.length; i++)
        count += r->targets[i] >= 0;
    return count;
}

START_TEST(gradients_are_those_of_torch)
{
    struct rig r;
    json_t *golden;
    open_golden(&r, names[_i], &golden);
    double want = json_real_value(json_object_get(golden, "loss"));
    double loss = rig_step(&r, 1.0f / (float)counted(&r), 0);
    ck_assert_double_eq_tol(loss, want, 1e-5 * want);
    for (size_t i = 0; i < r.layout->param_count; i++) {
        const char *name = r.layout->params[i].name;
        const json_t *two = json_object_get(json_object_get(golden, "gradients"), name);
        double norm = json_real_value(json_array_get(two, 0));
        double wave = json_real_value(json_array_get(two, 1)), squares = 0, product = 0;
        for (int64_t n = 0; n < rig_count(&r, i); n++) {
            double g = (double)rig_grad(&r, i)[n];
            squares += g * g;
            product += g * cos(0.7 * (double)n + 1);
        }
        ck_assert_double_gt(norm, 0);
        ck_assert_msg(fabs(sqrt(squares) - norm) <= 1e-4 * norm, "%s: norm %g, not %g",
                      name, sqrt(squares), norm);
        ck_assert_msg(fabs(product - wave) <= 1e-4 * norm, "%s: %g, not %g", name,
                      product, wave);
    }
    json_decref(golden);
    rig_close(&r);
}
END_TEST

int main(void)
{
    rwf_mem_init();
    Suite *s = suite_create("model_golden");
    TCase *t = tcase_create("golden");
    tcase_add_loop_test(t, logits_are_those_of_transformers, 0, (int)RWF_COUNT(names));
    tcase_add_loop_test(t, gradients_are_those_of_torch, 0, (int)RWF_COUNT(names));
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
