/* SPDX-License-Identifier: Apache-2.0
 *
 * On a GPU in bfloat16, against the CPU in float: random models of head sizes 64 and
 * 128, tied and not, plain and AWQ. The log-probabilities after each token of a fixed
 * text are the CPU's to TOLERANCE, whichever way the text goes through: whole, in
 * chunks, token by token (recorded steps), beside others. Without RAYWF_CUDA it is
 * skipped.
 */
#include "config.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "llm_rig.h"

#define LENGTH 100
#define VOCAB 512
#define TOLERANCE 0.05 /* of a log-probability; logits deviate by about 0.5 */

static const struct {
    const char *model;
    bool awq;
} models[] = {
    {"{'type':'transformer','family':'qwen3','layers':3,'hidden_size':256,'heads':4,"
     "'kv_heads':2,'head_dim':128,'intermediate_size':512,'vocab_size':512,'context':"
     "256,"
     "'tie_embeddings':false}",
     false},
    {"{'type':'transformer','family':'qwen3','layers':3,'hidden_size':256,'heads':8,"
     "'kv_heads':1,'head_dim':64,'intermediate_size':768,'vocab_size':512,'context':"
     "256,"
     "'tie_embeddings':true}",
     false},
    {"{'type':'transformer','family':'qwen3','layers':2,'hidden_size':256,'heads':4,"
     "'kv_heads':2,'head_dim':128,'intermediate_size':512,'vocab_size':512,'context':"
     "256,"
     "'tie_embeddings':false}",
     true},
};

static void fill_ids(int32_t *ids)
{
    for (int i = 0; i < LENGTH; i++)
        ids[i] = (i * i * 31 + i * 7 + 3) % VOCAB;
}

/* found[at][id]; -1 where nothing is known. */
struct table {
    float found[LENGTH][VOCAB];
    bool known[LENGTH];
};

static void note(struct table *t, int at, const struct llm_drawn *d)
{
    ck_assert_int_eq(d->logprob_count, 1 + VOCAB);
    for (int i = 1; i <= VOCAB; i++) {
        ck_assert_int_ge(d->logprobs[i].id, 0);
        t->found[at][d->logprobs[i].id] = d->logprobs[i].logprob;
    }
    t->known[at] = true;
}

/* Steps of n tokens of `copies` texts, whose ids do not come from what is drawn. */
static void go(struct llm_rig *r, struct table *t, int chunk, int copies)
{
    struct llm_text texts[5];
    struct llm_row rows[5];
    struct llm_drawn drawn[5];
    struct rwf_err err = RWF_ERR_INIT;
    int32_t ids[LENGTH];
    fill_ids(ids);
    memset(t, 0, sizeof(*t));
    r->next_block = 0;
    for (int i = 0; i < copies; i++)
        llm_text_begin(r, &texts[i], ids, LENGTH);
    for (int at = 0; at < LENGTH; at += chunk) {
        int n = LENGTH - at < chunk ? LENGTH - at : chunk;
        for (int i = 0; i < copies; i++) {
            rows[i] = llm_text_row(&texts[i], n);
            rows[i].wanted = true;
            rows[i].logprobs = VOCAB;
            texts[i].computed += n;
        }
        ck_assert_msg(llm_model_step(r->m, rows, copies, drawn, &err) == 0, "%s",
                      err.text);
        note(t, at + n - 1, &drawn[copies - 1]);
    }
}

static void compare(const struct table *want, const struct table *got, const char *way)
{
    double worst = 0, sum = 0;
    int count = 0;
    for (int at = 0; at < LENGTH; at++)
        for (int id = 0; got->known[at] && id < VOCAB; id++, count++) {
            double d = fabs((double)want->found[at][id] - (double)got->found[at][id]);
            ck_assert_msg(d < TOLERANCE, "%s: after token %d, id %d: %g, not %g", way,
                          at, id, (double)got->found[at][id],
                          (double)want->found[at][id]);
            worst = fmax(worst, d);
            sum += d;
        }
    fprintf(stderr, "%-10s worst %.4f, mean %.5f\n", way, worst, sum / count);
}

START_TEST(all_ways_give_what_the_cpu_gives)
{
    static const struct {
        const char *name;
        int chunk, copies;
    } ways[] = {{"whole", LENGTH, 1},
                {"chunks", 33, 1},
                {"decode", 1, 1},
                {"batch", 1, 5},
                {"mixed", 17, 3}};
    static struct table want, got;
    struct llm_rig cpu, gpu;
    char *folder = llm_rig_random(models[_i].model, models[_i].awq, 0, 11);
    llm_rig_open_folder(&cpu, folder, "cpu", KERNEL_F32);
    go(&cpu, &want, 1, 1);
    llm_rig_close(&cpu);
    llm_rig_open_folder(&gpu, folder, "cuda", KERNEL_BF16);
    for (size_t i = 0; i < RWF_COUNT(ways); i++) {
        go(&gpu, &got, ways[i].chunk, ways[i].copies);
        compare(&want, &got, ways[i].name);
    }
    llm_rig_close(&gpu);
    llm_rig_remove(folder);
}
END_TEST

/* What a step draws goes into the next on the GPU itself. */
START_TEST(overlapping_steps_give_what_single_ones_give)
{
    struct llm_rig r;
    struct llm_text one, two;
    struct llm_drawn drawn;
    struct rwf_err err = RWF_ERR_INIT;
    int32_t ids[LENGTH];
    char *folder = llm_rig_random(models[_i].model, models[_i].awq, 0, 11);
    fill_ids(ids);
    llm_rig_open_folder(&r, folder, "cuda", KERNEL_BF16);
    llm_text_begin(&r, &one, ids, 20);
    llm_text_run(&r, &one, LENGTH, 60);
    llm_text_begin(&r, &two, ids, 20);
    struct llm_row row = llm_text_row(&two, 20);
    ck_assert_msg(llm_model_begin(r.m, &row, 1, &err) == 0, "%s", err.text);
    for (int at = 20; at < 60; at++) {
        row.ids = NULL;
        row.from = 0;
        row.count = 1;
        row.context = at;
        row.wanted = true;
        if (at < 59)
            ck_assert_msg(llm_model_begin(r.m, &row, 1, &err) == 0, "%s", err.text);
        ck_assert_msg(llm_model_finish(r.m, &drawn, &err) == 0, "%s", err.text);
        ck_assert_msg(drawn.id == one.ids[at], "token %d is %d, not %d", at, drawn.id,
                      one.ids[at]);
    }
    llm_rig_close(&r);
    llm_rig_remove(folder);
}
END_TEST

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
    Suite *s = suite_create("llm_cuda");
    TCase *t = tcase_create("cuda");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, all_ways_give_what_the_cpu_gives, 0, (int)RWF_COUNT(models));
    tcase_add_loop_test(t, overlapping_steps_give_what_single_ones_give, 0,
                        (int)RWF_COUNT(models));
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
