/* SPDX-License-Identifier: Apache-2.0
 *
 * Small random models against transformers (tests/data/llm/model.py): log-probabilities
 * to 1e-4 of the largest logit's scale, the state, the greedy continuation; and every
 * other way through a step (chunks, batches, shared blocks, steps that overlap) gives
 * the tokens of the plain one; on the CPU, and on one whose calls are only done when
 * somebody waits for them.
 */
#include "config.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "llm_deferred.h"
#include "llm_rig.h"

static const char *const names[] = {"qwen3-tied", "qwen3-untied", "qwen3-wide", "yarn",
                                    "awq"};

static const char *const devices[] = {"cpu", "deferred"};
#define NAMES ((int)RWF_COUNT(names))

/* Every model on every device. */
static void open_case(struct llm_rig *r, int i)
{
    llm_rig_open(r, names[i % NAMES], devices[i / NAMES]);
}

static double golden_logprob(const struct llm_rig *r, int row, int32_t id)
{
    const json_t *all = json_object_get(r->golden, "logprobs");
    return json_real_value(
        json_array_get(json_array_get(all, (size_t)row), (size_t)id));
}

static void check_logprobs(const struct llm_rig *r, const struct llm_logprob *l,
                           int count, int row)
{
    for (int i = 0; i < count; i++) {
        double want = golden_logprob(r, row, l[i].id);
        ck_assert_msg(fabs(want - (double)l[i].logprob) < 1e-4 * fmax(1, fabs(want)),
                      "after token %d, id %d: %g, not %g", row, l[i].id,
                      (double)l[i].logprob, want);
        if (i > 1)
            ck_assert(l[i].logprob <= l[i - 1].logprob);
    }
}

START_TEST(log_probabilities_are_those_of_transformers)
{
    struct llm_rig r;
    struct llm_text t;
    struct llm_drawn drawn;
    struct rwf_err err = RWF_ERR_INIT;
    open_case(&r, _i);
    int vocab = (int)r.config.vocab;
    llm_text_begin(&r, &t, r.prompt, r.prompt_count);
    struct llm_row row = llm_text_row(&t, t.count);
    row.logprobs = vocab;
    row.all_logprobs = true;
    ck_assert_msg(llm_model_step(r.m, &row, 1, &drawn, &err) == 0, "%s", err.text);
    ck_assert_int_eq(drawn.logprob_count, 1 + vocab);
    ck_assert_int_eq(drawn.logprobs[0].id, drawn.id);
    ck_assert_int_eq(drawn.logprobs[1].id, drawn.id); /* greedy */
    check_logprobs(&r, drawn.logprobs, 1 + vocab, r.prompt_count - 1);
    ck_assert_int_eq(drawn.prompt[0].id, r.prompt[0]);
    ck_assert(isnan(drawn.prompt[0].logprob));
    for (int i = 1; i < r.prompt_count; i++) {
        const struct llm_logprob *l = drawn.prompt + i * (1 + vocab);
        ck_assert_int_eq(l[0].id, r.prompt[i]);
        check_logprobs(&r, l, 1 + vocab, i - 1);
    }
    llm_rig_close(&r);
}
END_TEST

/* Nobody looks at the other tokens, so they do not get to the end. */
START_TEST(log_probabilities_of_the_last_token_alone_are_the_same)
{
    struct llm_rig r;
    struct llm_text t, others[2];
    struct llm_drawn drawn[3];
    struct rwf_err err = RWF_ERR_INIT;
    open_case(&r, _i);
    int vocab = (int)r.config.vocab;
    llm_text_begin(&r, &t, r.prompt, r.prompt_count);
    llm_text_begin(&r, &others[0], r.prompt, 5); /* of which two are for later */
    llm_text_begin(&r, &others[1], r.prompt, 1);
    struct llm_row rows[] = {llm_text_row(&others[0], 3), llm_text_row(&t, t.count),
                             llm_text_row(&others[1], 1)};
    rows[1].logprobs = vocab;
    ck_assert_msg(llm_model_step(r.m, rows, 3, drawn, &err) == 0, "%s", err.text);
    ck_assert_int_eq(drawn[0].id, -1);
    ck_assert_int_ge(drawn[2].id, 0);
    ck_assert_int_eq(drawn[1].logprob_count, 1 + vocab);
    check_logprobs(&r, drawn[1].logprobs, 1 + vocab, r.prompt_count - 1);
    llm_rig_close(&r);
}
END_TEST

START_TEST(the_state_of_the_last_token_is_that_of_transformers)
{
    struct llm_rig r;
    struct llm_text t, other;
    struct llm_drawn drawn[2];
    float state[128];
    struct rwf_err err = RWF_ERR_INIT;
    open_case(&r, _i);
    const json_t *golden = json_object_get(r.golden, "state");
    ck_assert_int_eq(r.config.hidden, (int64_t)json_array_size(golden));
    llm_text_begin(&r, &t, r.prompt, r.prompt_count);
    llm_text_begin(&r, &other, r.prompt, 3);
    struct llm_row rows[] = {llm_text_row(&t, t.count), llm_text_row(&other, 3)};
    rows[0].embedding = state; /* and the other one is drawn, as ever */
    ck_assert_msg(llm_model_step(r.m, rows, 2, drawn, &err) == 0, "%s", err.text);
    ck_assert_int_eq(drawn[0].id, -1);
    ck_assert_int_ge(drawn[1].id, 0);
    for (size_t i = 0; i < json_array_size(golden); i++)
        ck_assert_double_eq_tol((double)state[i],
                                json_real_value(json_array_get(golden, i)), 1e-4);
    llm_rig_close(&r);
}
END_TEST

static void check_greedy(const struct llm_rig *r, const struct llm_text *t)
{
    ck_assert_int_ge(t->count, r->prompt_count + r->greedy_count);
    for (int i = 0; i < r->greedy_count; i++)
        ck_assert_msg(t->ids[r->prompt_count + i] == r->greedy[i],
                      "token %d is %d, not %d", i, t->ids[r->prompt_count + i],
                      r->greedy[i]);
}

/* chunk: of the prompt at a time */
static const int chunks[] = {RIG_LENGTH, 1, 5, 16, 17};

START_TEST(greedy_tokens_are_those_of_transformers_in_chunks_of_any_size)
{
    struct llm_rig r;
    struct llm_text t;
    open_case(&r, _i);
    for (size_t i = 0; i < RWF_COUNT(chunks); i++) {
        r.next_block = 0;
        llm_text_begin(&r, &t, r.prompt, r.prompt_count);
        llm_text_run(&r, &t, chunks[i], r.prompt_count + r.greedy_count);
        check_greedy(&r, &t);
    }
    llm_rig_close(&r);
}
END_TEST

/* Five texts of the golden prompt, each begun some steps later, in chunks of different
 * sizes: some are decoded while others still read their prompt. */
START_TEST(texts_in_one_batch_do_not_disturb_each_other)
{
    struct llm_rig r;
    struct llm_text texts[5], *now[5];
    int n[5];
    open_case(&r, _i);
    for (int i = 0; i < 5; i++)
        llm_text_begin(&r, &texts[i], r.prompt, r.prompt_count);
    int length = r.prompt_count + r.greedy_count;
    for (int step = 0, count = 1; count > 0; step++) {
        count = 0;
        for (int i = 0; i < 5; i++) {
            int left = texts[i].count - texts[i].computed, chunk = 2 + 3 * i;
            if (step < i || texts[i].count == length)
                continue;
            now[count] = &texts[i];
            n[count++] = left < chunk ? left : chunk;
        }
        if (count > 0)
            llm_texts_step(&r, now, n, count);
    }
    for (int i = 0; i < 5; i++)
        check_greedy(&r, &texts[i]);
    llm_rig_close(&r);
}
END_TEST

/* What an engine's prefix cache does: the second text begins with the first one's full
 * blocks. */
START_TEST(blocks_of_a_common_prefix_are_shared)
{
    struct llm_rig r;
    struct llm_text first, second;
    open_case(&r, _i);
    llm_text_begin(&r, &first, r.prompt, r.prompt_count);
    llm_text_run(&r, &first, 7, r.prompt_count + 2);
    llm_text_begin(&r, &second, r.prompt, r.prompt_count);
    second.computed = (r.prompt_count - 1) / KERNEL_BLOCK * KERNEL_BLOCK;
    ck_assert_int_gt(second.computed, 0);
    memcpy(second.blocks, first.blocks,
           (size_t)(second.computed / KERNEL_BLOCK) * sizeof(*first.blocks));
    llm_text_run(&r, &second, RIG_LENGTH, r.prompt_count + r.greedy_count);
    check_greedy(&r, &second);
    llm_text_run(&r, &first, RIG_LENGTH, r.prompt_count + r.greedy_count);
    check_greedy(&r, &first);
    llm_rig_close(&r);
}
END_TEST

static void begin(struct llm_rig *r, const struct llm_row *rows, int count)
{
    struct rwf_err err = RWF_ERR_INIT;
    ck_assert_msg(llm_model_begin(r->m, rows, count, &err) == 0, "%s", err.text);
}

static void finish(struct llm_rig *r, struct llm_text **texts, const int *to, int count)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct llm_drawn drawn[8];
    ck_assert_msg(llm_model_finish(r->m, drawn, &err) == 0, "%s", err.text);
    for (int i = 0; i < count; i++)
        texts[to[i]]->ids[texts[to[i]]->count++] = drawn[i].id;
}

/* Each step is begun before the tokens of the one before are known; the rows change
 * places. */
START_TEST(a_step_goes_on_from_tokens_that_are_still_being_drawn)
{
    struct llm_rig r;
    struct llm_text texts[3], *all[3] = {&texts[0], &texts[1], &texts[2]};
    struct llm_row rows[3];
    static const int orders[2][3] = {{0, 1, 2}, {2, 0, 1}};
    open_case(&r, _i);
    for (int i = 0; i < 3; i++) {
        llm_text_begin(&r, &texts[i], r.prompt, r.prompt_count);
        rows[i] = llm_text_row(&texts[i], r.prompt_count);
        texts[i].computed = r.prompt_count;
    }
    begin(&r, rows, 3);
    for (int step = 1; step < r.greedy_count; step++) {
        const int *order = orders[step % 2], *before = orders[1 - step % 2];
        for (int i = 0; i < 3; i++) {
            struct llm_text *t = &texts[order[i]];
            int from = 0;
            while (before[from] != order[i])
                from++;
            rows[i] = (struct llm_row){.from = from,
                                       .count = 1,
                                       .context = t->computed++,
                                       .blocks = t->blocks,
                                       .wanted = true,
                                       .top_p = 1,
                                       .logprobs = -1};
        }
        begin(&r, rows, 3);
        finish(&r, all, before, 3);
    }
    finish(&r, all, orders[(r.greedy_count - 1) % 2], 3);
    for (int i = 0; i < 3; i++)
        check_greedy(&r, &texts[i]);
    llm_rig_close(&r);
}
END_TEST

/* An edit that makes one token certain, a mask that allows but one, a seed that
 * repeats. */
START_TEST(edits_masks_and_seeds_decide_what_is_drawn)
{
    struct llm_rig r;
    struct llm_text t[4];
    struct llm_row rows[4];
    struct llm_drawn drawn[4];
    uint32_t mask[8] = {0};
    struct rwf_err err = RWF_ERR_INIT;
    const struct kernel_edit edit = {99, 11, 1, 1000};
    open_case(&r, _i);
    for (int i = 0; i < 4; i++) {
        llm_text_begin(&r, &t[i], r.prompt, r.prompt_count);
        rows[i] = llm_text_row(&t[i], r.prompt_count);
    }
    mask[40 / 32] |= UINT32_C(1) << 40 % 32;
    rows[0].edits = &edit;
    rows[0].edit_count = 1;
    rows[1].mask = mask;
    rows[2].temperature = rows[3].temperature = 5;
    rows[2].seed = rows[3].seed = 12345;
    rows[2].step = rows[3].step = 7;
    ck_assert_msg(llm_model_step(r.m, rows, 4, drawn, &err) == 0, "%s", err.text);
    ck_assert_int_eq(drawn[0].id, 11);
    ck_assert_int_eq(drawn[1].id, 40);
    ck_assert_int_eq(drawn[2].id, drawn[3].id);
    memset(mask, 0, sizeof(mask));
    ck_assert_msg(llm_model_step(r.m, rows, 4, drawn, &err) == 0, "%s", err.text);
    ck_assert_int_eq(drawn[1].id, -1);
    llm_rig_close(&r);
}
END_TEST

/* The first step of a shape is done, the second recorded, the others replayed; another
 * number of sequences within the same padding is the same shape. */
START_TEST(steps_of_a_shape_are_recorded_once)
{
    struct llm_rig r;
    struct llm_text texts[5], *all[5];
    const int one[5] = {1, 1, 1, 1, 1};
    llm_rig_open(&r, "qwen3-tied", "deferred");
    for (int i = 0; i < 5; i++) {
        int n = 8;
        all[i] = &texts[i];
        llm_text_begin(&r, &texts[i], r.prompt, n);
        llm_texts_step(&r, &all[i], &n, 1);
    }
    for (int step = 0; step < 6; step++)
        llm_texts_step(&r, all, one, step % 2 == 0 ? 4 : 3);
    ck_assert_int_eq(llm_deferred_recorded(), 1);
    ck_assert_int_eq(llm_deferred_replayed(), 5);
    llm_texts_step(&r, all, one, 5); /* padded to 8 */
    ck_assert_int_eq(llm_deferred_replayed(), 5);
    llm_rig_close(&r);
}
END_TEST

int main(void)
{
    rwf_mem_init();
    Suite *s = suite_create("llm_model");
    TCase *t = tcase_create("golden");
    int all = NAMES * (int)RWF_COUNT(devices);
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, log_probabilities_are_those_of_transformers, 0, all);
    tcase_add_loop_test(t, log_probabilities_of_the_last_token_alone_are_the_same, 0,
                        all);
    tcase_add_loop_test(t, the_state_of_the_last_token_is_that_of_transformers, 0, all);
    tcase_add_loop_test(
        t, greedy_tokens_are_those_of_transformers_in_chunks_of_any_size, 0, all);
    tcase_add_loop_test(t, texts_in_one_batch_do_not_disturb_each_other, 0, all);
    tcase_add_loop_test(t, blocks_of_a_common_prefix_are_shared, 0, all);
    tcase_add_loop_test(t, a_step_goes_on_from_tokens_that_are_still_being_drawn, 0,
                        all);
    tcase_add_loop_test(t, edits_masks_and_seeds_decide_what_is_drawn, 0, all);
    tcase_add_test(t, steps_of_a_shape_are_recorded_once);
    suite_add_tcase(s, t);
    SRunner *runner = srunner_create(s);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
