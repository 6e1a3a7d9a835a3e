/* SPDX-License-Identifier: Apache-2.0
 *
 * Gradients of whole small models against numeric derivatives of their loss, in float:
 * central differences with a step of 0.002, of every parameter as a whole along a
 * random direction, and of a few of its values. Tolerance: 1 % of the derivative, and
 * 1e-4 of the loss for what rounding does to a difference of two losses.
 */
#include "config.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "model_rig.h"

#define STEP 7 /* of dropout: the same masks each time */

struct subject {
    const char *name;
    const char *config;
    int rows, length;
    int vocab;             /* tokens */
    int features, outputs; /* rows of features */
};

#define GPT2                                                                           \
    "'model_type':'gpt2','n_embd':16,'n_layer':2,'n_head':4,'n_positions':8,"          \
    "'vocab_size':21,'n_inner':24,"
#define QWEN3                                                                          \
    "'model_type':'qwen3','hidden_size':12,'num_hidden_layers':2,"                     \
    "'num_attention_heads':4,'num_key_value_heads':2,'head_dim':4,"                    \
    "'intermediate_size':20,'vocab_size':19,'rope_theta':100,"
#define MLP "'model_type':'mlp','features':5,"

static const struct subject subjects[] = {
    {"gpt2", "{" GPT2 "'embd_pdrop':0,'resid_pdrop':0}", 2, 6, 21, 0, 0},
    {"gpt2 with dropout", "{" GPT2 "'embd_pdrop':0.2,'resid_pdrop':0.3}", 2, 6, 21, 0,
     0},
    {"gpt2 untied", "{" GPT2 "'tie_word_embeddings':false,'resid_pdrop':0}", 2, 6, 21,
     0, 0},
    {"gpt2 lora",
     "{" GPT2 "'embd_pdrop':0,'resid_pdrop':0.1,"
     "'adapter':{'rank':3,'alpha':6,'targets':['all']}}",
     2, 6, 21, 0, 0},
    {"qwen3", "{" QWEN3 "'tie_word_embeddings':true}", 2, 6, 19, 0, 0},
    {"qwen3 untied", "{" QWEN3 "'tie_word_embeddings':false}", 2, 6, 19, 0, 0},
    {"qwen3 lora of some",
     "{" QWEN3 "'tie_word_embeddings':true,"
     "'adapter':{'rank':2,'alpha':5,'targets':['q_proj','v_proj','mlp.up_proj']}}",
     2, 6, 19, 0, 0},
    {"qwen3 lora of all", "{" QWEN3 "'adapter':{'rank':2,'alpha':4,'targets':['all']}}",
     2, 6, 19, 0, 0},
    {"mlp", "{" MLP "'hidden':[7,6],'outputs':3,'activation':'gelu'}", 6, 1, 0, 5, 3},
    {"mlp with weights and dropout",
     "{" MLP "'hidden':[16],'outputs':3,'activation':'tanh','dropout':0.3,"
     "'class_weights':[1,0.5,3]}",
     6, 1, 0, 5, 3},
    {"mlp of many classes", "{" MLP "'hidden':[6],'outputs':11,'activation':'silu'}",
     12, 1, 0, 5, 11},
    {"mlp of relu with dropout", "{" MLP "'hidden':[9,9],'outputs':2,'dropout':0.2}", 6,
     1, 0, 5, 2},
    {"linear regression", "{" MLP "'hidden':[],'outputs':2,'task':'regression'}", 6, 1,
     0, 5, 2},
    {"mlp regression",
     "{" MLP "'hidden':[8,8,8],'outputs':2,'task':'regression','activation':'sigmoid'}",
     6, 1, 0, 5, 2},
};

static void open_subject(struct rig *r, const struct subject *s)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *config = rig_json(s->config);
    json_t *adapter = json_incref(json_object_get(config, "adapter"));
    if (adapter != NULL)
        ck_assert_msg(model_config_adapter(config, adapter, &err) == 0, "%s", err.text);
    struct model_run run = {
        .rows = s->rows, .length = s->length, .train = true, .seed = 5};
    rig_open(r, config, &run);
    if (s->vocab > 0)
        rig_tokens(r, s->vocab);
    else
        rig_features(r, s->features, s->outputs);
    json_decref(adapter);
    json_decref(config);
}

static float scale_of(const struct subject *s)
{
    return 1.0f / (float)(s->rows * s->length);
}

/* d loss / d t at 0 where the parameter is w + t direction. */
static double slope(struct rig *r, const struct subject *s, size_t param,
                    const float *direction, float step)
{
    int64_t count = rig_count(r, param);
    float *w = rig_weight(r, param);
    float *saved = rwf_xcalloc((size_t)count, sizeof(float));
    double loss[2];
    memcpy(saved, w, (size_t)count * sizeof(float));
    for (int side = 0; side < 2; side++) {
        for (int64_t i = 0; i < count; i++)
            w[i] = saved[i] + (side == 0 ? step : -step) * direction[i];
        loss[side] = rig_loss(r, scale_of(s), STEP);
    }
    memcpy(w, saved, (size_t)count * sizeof(float));
    free(saved);
    return (loss[0] - loss[1]) / (2 * (double)step);
}

static void compare(const struct subject *s, const char *param, double numeric,
                    double gradient, double loss)
{
    double tolerance = 0.01 * fabs(numeric) + 1e-4 * fmax(loss, 1);
    ck_assert_msg(fabs(numeric - gradient) <= tolerance, "%s: %s: %g, numerically %g",
                  s->name, param, gradient, numeric);
}

static void check_param(struct rig *r, const struct subject *s, size_t param,
                        const float *gradient, double loss)
{
    const char *name = r->layout->params[param].name;
    int64_t count = rig_count(r, param);
    float *direction = rwf_xcalloc((size_t)count, sizeof(float));
    double along = 0;
    for (int64_t i = 0; i < count; i++) {
        direction[i] = rig_random(r) / sqrtf((float)count);
        along += (double)direction[i] * (double)gradient[i];
    }
    compare(s, name, slope(r, s, param, direction, 0.002f), along, loss);
    for (int sample = 0; sample < 3; sample++) {
        int64_t at = count * (2 * sample + 1) / 6;
        memset(direction, 0, (size_t)count * sizeof(float));
        direction[at] = 1;
        compare(s, name, slope(r, s, param, direction, 0.002f), (double)gradient[at],
                loss);
    }
    free(direction);
}

/* A copy: every forward pass with a scale adds to the head's gradients. */
static float **copy_gradients(const struct rig *r)
{
    float **copies = rwf_xcalloc(r->layout->unit_count, sizeof(*copies));
    for (size_t u = 0; u < r->layout->unit_count; u++) {
        size_t bytes = (size_t)r->layout->units[u].count * sizeof(float);
        if (r->grads[u] != NULL)
            copies[u] = memcpy(rwf_xmalloc(bytes), r->grads[u], bytes);
    }
    return copies;
}

START_TEST(gradients_are_slopes_of_the_loss)
{
    const struct subject *s = &subjects[_i];
    struct rig r;
    open_subject(&r, s);
    double loss = rig_step(&r, scale_of(s), STEP), largest = 0;
    size_t checked = 0;
    float **copies = copy_gradients(&r);
    for (size_t i = 0; i < r.layout->param_count; i++) {
        const struct model_param *p = &r.layout->params[i];
        if (rig_grad(&r, i) == NULL)
            continue;
        const float *gradient = copies[p->unit] + p->offset;
        for (int64_t n = 0; n < rig_count(&r, i); n++)
            largest = fmax(largest, fabs((double)gradient[n]));
        check_param(&r, s, i, gradient, loss);
        checked++;
    }
    for (size_t u = 0; u < r.layout->unit_count; u++)
        free(copies[u]);
    free(copies);
    ck_assert_uint_gt(checked, 1);
    ck_assert_double_gt(largest, 0.01);
    rig_close(&r);
}
END_TEST

/* Every unit that is trained once, the later ones first; a rank without rows asks for
 * the same units in the same order. */
START_TEST(units_are_told_in_reverse_order)
{
    const struct subject *s = &subjects[_i];
    struct rig r;
    int asked[RIG_ASKED], asked_count = 0;
    open_subject(&r, s);
    for (int pass = 0; pass < 2; pass++) {
        if (pass == 1)
            r.batch = (struct model_batch){.rows = 0};
        rig_step(&r, scale_of(s), STEP);
        int expected = 0;
        for (int u = (int)r.layout->unit_count; u-- > 0;)
            if (!r.layout->units[u].frozen)
                ck_assert_int_eq(r.done[expected++], u);
        ck_assert_int_eq(r.done_count, expected);
        if (pass == 1)
            ck_assert_int_eq(r.asked_count, asked_count);
        for (int i = 0; pass == 1 && i < asked_count; i++)
            ck_assert_int_eq(r.asked[i], asked[i]);
        memcpy(asked, r.asked, sizeof(asked));
        asked_count = r.asked_count;
    }
    ck_assert(asked_count >= 2 && asked_count < RIG_ASKED);
    rig_close(&r);
}
END_TEST

/* What the vocabulary's padding got stays zero: weights there never move. */
START_TEST(padding_has_no_gradient)
{
    const struct subject *s = &subjects[_i];
    struct rig r;
    open_subject(&r, s);
    rig_step(&r, scale_of(s), STEP);
    for (size_t i = 0; i < r.layout->param_count; i++) {
        const struct model_param *p = &r.layout->params[i];
        int64_t end = p->offset + rig_count(&r, i);
        bool last = i + 1 == r.layout->param_count || p[1].unit != p->unit;
        int64_t next = last ? r.layout->units[p->unit].count : p[1].offset;
        ck_assert_int_ge(next, end);
        for (int64_t n = end; rig_grad(&r, i) != NULL && n < next; n++)
            ck_assert_float_eq(r.grads[p->unit][n], 0);
    }
    rig_close(&r);
}
END_TEST

int main(void)
{
    rwf_mem_init();
    Suite *s = suite_create("model_grad");
    TCase *t = tcase_create("gradients");
    int count = (int)RWF_COUNT(subjects);
    tcase_add_loop_test(t, gradients_are_slopes_of_the_loss, 0, count);
    tcase_add_loop_test(t, units_are_told_in_reverse_order, 0, count);
    tcase_add_loop_test(t, padding_has_no_gradient, 0, count);
    tcase_set_timeout(t, 60);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
