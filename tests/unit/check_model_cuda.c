/* SPDX-License-Identifier: Apache-2.0
 *
 * Whole models on a GPU against the CPU in float: the loss, and each parameter's
 * gradient by its direction (cosine) and its length. Float: 1e-3 off a cosine of 1 and
 * 1 % of the length; bf16: 0.005 and 2 %. A second pass gives the same bits. Skipped
 * without a GPU.
 */
#include "config.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "model_placed.h"
#include "model_rig.h"

#define ROWS 3
#define LENGTH 72
#define VOCAB 515

static const char *const models[] = {
    "{'type':'transformer','family':'gpt2','layers':2,'hidden_size':128,'heads':2,"
    "'context':96,'dropout':0.1}",
    "{'type':'transformer','family':'gpt2','layers':3,'hidden_size':192,'heads':3,"
    "'context':72,'adapter':{'rank':8,'targets':['all']}}",
    "{'type':'transformer','family':'qwen3','layers':2,'hidden_size':192,'heads':4,"
    "'kv_heads':2,'head_dim':64}",
    "{'type':'transformer','family':'qwen3','layers':3,'hidden_size':256,'heads':4,"
    "'kv_heads':1,'head_dim':128,'tie_embeddings':false}",
    "{'type':'transformer','family':'qwen3','layers':2,'hidden_size':200,'heads':2,"
    "'kv_heads':2,'head_dim':128,'adapter':{'rank':4,'targets':['q_proj','up_proj']}}",
};

struct side {
    struct device device;
    struct model *m;
    struct placed placed;
    struct model_batch batch;
};

static void side_open(struct side *s, const char *device, const json_t *config,
                      enum kernel_type type)
{
    struct rwf_err err = RWF_ERR_INIT;
    ck_assert_msg(device_open(&s->device, device, 0, 1, &err) == 0, "%s", err.text);
    s->m = model_create(config, &err);
    ck_assert_msg(s->m != NULL, "%s", err.text);
    ck_assert_msg(placed_open(&s->placed, &s->device, s->m, type, true, 5, &err) == 0,
                  "%s", err.text);
    ck_assert_int_eq(placed_tokens(&s->placed, ROWS, LENGTH, VOCAB, &s->batch, &err),
                     0);
    struct model_run run = {.device = &s->device,
                            .type = type,
                            .rows = ROWS,
                            .length = LENGTH,
                            .train = true,
                            .seed = 9,
                            .logits_bytes = 100 * 1000,
                            .recompute = 2};
    struct model_store store = placed_store(&s->placed);
    ck_assert_msg(model_begin(s->m, &run, &store, &err) == 0, "%s", err.text);
}

static void side_close(struct side *s)
{
    model_end(s->m);
    placed_close(&s->placed);
    model_destroy(s->m);
    device_close(&s->device);
}

static double side_step(struct side *s)
{
    struct rwf_err err = RWF_ERR_INIT;
    placed_zero(&s->placed);
    model_forward(s->m, &s->batch, 1.0f / (ROWS * LENGTH), 4);
    model_backward(s->m, &s->batch);
    ck_assert_msg(device_sync(&s->device, &err) == 0, "%s", err.text);
    return placed_loss(&s->placed);
}

static void compare(const struct model_param *p, const float *a, const float *b,
                    enum kernel_type type)
{
    double xy = 0, xx = 0, yy = 0;
    double angle = type == KERNEL_BF16 ? 0.005 : 1e-3;
    double length = type == KERNEL_BF16 ? 0.02 : 0.01;
    for (int64_t i = 0; i < p->shape[0] * p->shape[1]; i++) {
        double x = (double)a[p->offset + i], y = (double)b[p->offset + i];
        xy += x * y, xx += x * x, yy += y * y;
    }
    ck_assert_msg(xx > 0, "%s has no gradient", p->name);
    ck_assert_msg(xy / sqrt(xx * yy) > 1 - angle, "%s: cosine %g", p->name,
                  xy / sqrt(xx * yy));
    ck_assert_msg(fabs(sqrt(yy / xx) - 1) < length, "%s: length %g of %g", p->name,
                  sqrt(yy), sqrt(xx));
}

static void compare_units(struct side *cpu, struct side *gpu, enum kernel_type type)
{
    const struct model_layout *l = model_layout(cpu->m);
    for (int u = 0; u < (int)l->unit_count; u++) {
        float *a = placed_grads(&cpu->placed, u), *b = placed_grads(&gpu->placed, u);
        for (size_t i = 0; a != NULL && i < l->param_count; i++)
            if (l->params[i].unit == u)
                compare(&l->params[i], a, b, type);
        free(a);
        free(b);
    }
}

static void check_same_bits(struct side *gpu)
{
    const struct model_layout *l = model_layout(gpu->m);
    float **first = rwf_xcalloc(l->unit_count, sizeof(*first));
    for (int u = 0; u < (int)l->unit_count; u++)
        first[u] = placed_grads(&gpu->placed, u);
    side_step(gpu);
    for (int u = 0; u < (int)l->unit_count; u++) {
        float *again = placed_grads(&gpu->placed, u);
        size_t bytes = (size_t)l->units[u].count * sizeof(float);
        ck_assert_msg(again == NULL || memcmp(again, first[u], bytes) == 0,
                      "%s: another pass gave other bits", l->units[u].name);
        free(again);
        free(first[u]);
    }
    free(first);
}

START_TEST(gradients_are_those_of_the_cpu)
{
    struct side cpu, gpu;
    enum kernel_type type = _i % 2 == 0 ? KERNEL_F32 : KERNEL_BF16;
    json_t *config = rig_config(models[_i / 2], VOCAB);
    side_open(&cpu, "cpu", config, KERNEL_F32);
    side_open(&gpu, "cuda", config, type);
    double want = side_step(&cpu), loss = side_step(&gpu);
    ck_assert_double_eq_tol(loss, want, (type == KERNEL_BF16 ? 0.02 : 1e-4) * want);
    compare_units(&cpu, &gpu, type);
    check_same_bits(&gpu);
    json_decref(config);
    side_close(&cpu);
    side_close(&gpu);
}
END_TEST

/* A few steps of AdamW on one batch: the loss falls by a half. */
START_TEST(a_batch_can_be_learnt)
{
    struct side gpu;
    struct rwf_err err = RWF_ERR_INIT;
    json_t *config = rig_config(models[2 * _i], VOCAB);
    side_open(&gpu, "cuda", config, KERNEL_BF16);
    double first = side_step(&gpu), last = first;
    for (int step = 1; step <= 40; step++) {
        placed_update(&gpu.placed, 3e-3f, step);
        last = side_step(&gpu);
    }
    ck_assert_msg(device_sync(&gpu.device, &err) == 0, "%s", err.text);
    ck_assert_msg(last < first / 2, "from %g to %g", first, last);
    json_decref(config);
    side_close(&gpu);
}
END_TEST

/* By the variable alone: a context opened here would be inherited by libcheck's
 * children. */
static bool has_gpu(void)
{
    const char *module = getenv("RAYWF_CUDA");
    return module != NULL && module[0] != '\0';
}

int main(void)
{
    if (!has_gpu())
        return 77; /* set RAYWF_CUDA to the module to run this */
    rwf_mem_init();
    Suite *s = suite_create("model_cuda");
    TCase *t = tcase_create("cuda");
    tcase_add_loop_test(t, gradients_are_those_of_the_cpu, 0,
                        2 * (int)RWF_COUNT(models));
    tcase_add_loop_test(t, a_batch_can_be_learnt, 0, 2);
    tcase_set_timeout(t, 120);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
