/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine's promises one by one: what is refused and how, how requests end,
 * embeddings, logprobs, what runs beside what.
 */
#include "config.h"

#include "llm/engine.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "llm_engine_rig.h"

static const struct rig_options plain = {
    .blocks = 64, .max_tokens = 64, .max_sequences = 8, .max_length = 200};

/* --- what is refused --- */

enum field {
    PROMPT,
    PROMPT_ID,
    TEMPERATURE,
    TOP_P,
    MIN_P,
    TOP_K,
    REPETITION,
    PRESENCE,
    FREQUENCY,
    MAX_TOKENS,
    MIN_TOKENS,
    LOGPROBS,
    PROMPT_LOGPROBS,
    BIAS_ID,
    BIAS,
    STOP
};

static void set(struct rig_request *r, enum field field, double x)
{
    struct llm_sampling *p = &r->submit.sampling;

    switch (field) {
    case PROMPT:
        r->submit.prompt_count = (int)x;
        break;
    case PROMPT_ID:
        r->prompt[1] = (int32_t)x;
        break;
    case TEMPERATURE:
        p->temperature = x;
        break;
    case TOP_P:
        p->top_p = x;
        break;
    case MIN_P:
        p->min_p = x;
        break;
    case TOP_K:
        p->top_k = (int)x;
        break;
    case REPETITION:
        p->repetition = x;
        break;
    case PRESENCE:
        p->presence = x;
        break;
    case FREQUENCY:
        p->frequency = x;
        break;
    case MAX_TOKENS:
        p->max_tokens = (int)x;
        break;
    case MIN_TOKENS:
        p->min_tokens = (int)x;
        break;
    case LOGPROBS:
        p->logprobs = (int)x;
        break;
    case PROMPT_LOGPROBS:
        p->prompt_logprobs = (int)x;
        break;
    case BIAS_ID:
        p->bias_count = 1;
        r->bias[0].id = (int32_t)x;
        break;
    case BIAS:
        p->bias_count = 1;
        r->bias[0].add = (float)x;
        break;
    case STOP:
        p->stop_count = 1;
        r->stops[0] = (int32_t)x;
        break;
    }
    p->bias = r->bias;
    p->stops = r->stops;
}

static const struct {
    enum field field;
    double value;
    const char *text;
} refused[] = {
    {PROMPT, 0, "the prompt is empty: it needs at least one token"},
    {PROMPT, 210,
     "the prompt has 210 tokens, 11 too many: the longest context is 200 tokens "
     "with the answer, so a prompt of at most 199 fits"},
    {PROMPT_ID, -1, "prompt: there is no token -1; ids go from 0 to 60"},
    {PROMPT_ID, 61, "prompt: there is no token 61; ids go from 0 to 60"},
    {TEMPERATURE, -0.5, "temperature is -0.5, but must be 0 or more"},
    {TEMPERATURE, NAN, "temperature is nan, but must be 0 or more"},
    {TOP_P, 0, "top_p is 0, but must be above 0 and at most 1"},
    {TOP_P, 1.5, "top_p is 1.5, but must be above 0 and at most 1"},
    {MIN_P, 2, "min_p is 2, but must be from 0 to 1"},
    {TOP_K, -1, "top_k is -1, but must be at least 1, or 0 for all"},
    {REPETITION, 0, "repetition_penalty is 0, but must be above 0"},
    {PRESENCE, 3, "presence_penalty is 3, but must be from -2 to 2"},
    {FREQUENCY, -3, "frequency_penalty is -3, but must be from -2 to 2"},
    {MAX_TOKENS, 0, "max_tokens is 0, but must be at least 1"},
    {MIN_TOKENS, 17, "min_tokens is 17, but must be from 0 to max_tokens (16)"},
    {LOGPROBS, 21, "logprobs is 21, but must be from 0 to 20"},
    {PROMPT_LOGPROBS, -2, "prompt_logprobs is -2, but must be from 0 to 20"},
    {BIAS_ID, 61, "logit_bias: there is no token 61; ids go from 0 to 60"},
    {BIAS, INFINITY, "logit_bias is inf, but must be a finite number"},
    {STOP, 99, "stop_token_ids: there is no token 99; ids go from 0 to 60"},
};

START_TEST(test_refused)
{
    struct llm_engine *e = rig_create(&plain);
    struct rig_request *r = rig_simple(300, 0);
    struct rwf_err err = RWF_ERR_INIT;

    r->submit.prompt_count = 20;
    set(r, refused[_i].field, refused[_i].value);
    ck_assert_ptr_null(llm_engine_submit(e, &r->submit, NULL, &err));
    ck_assert_int_eq(err.code, strstr(err.text, "too many") ? RWF_E_FIT : RWF_E_USAGE);
    ck_assert_str_eq(err.text, refused[_i].text);
    rig_free(r);
    rig_destroy(e);
}
END_TEST

/* The cache is smaller than the longest context. */
START_TEST(test_never_fits)
{
    struct rig_options o = {
        .blocks = 4, .max_tokens = 64, .max_sequences = 8, .max_length = 200};
    struct llm_engine *e = rig_create(&o);
    struct rig_request *r = rig_simple(64, 0);
    struct rwf_err err = RWF_ERR_INIT;

    ck_assert_ptr_null(llm_engine_submit(e, &r->submit, NULL, &err));
    ck_assert_int_eq(err.code, RWF_E_FIT);
    ck_assert_str_eq(
        err.text, "the prompt has 64 tokens, 1 too many: the KV cache has room for 64 "
                  "tokens with the answer, so a prompt of at most 63 fits");
    r->submit.embed = true; /* has no answer */
    rig_submit(e, r);
    ck_assert_int_eq(rig_wait(r), LLM_STOP);
    rig_check(r, 64);
    rig_free(r);
    r = rig_simple(63, 0);
    rig_submit(e, r);
    rig_wait(r);
    ck_assert_int_le((int)r->count, 1);
    rig_check(r, 64);
    rig_free(r);
    rig_destroy(e);
}
END_TEST

START_TEST(test_options)
{
    static const struct {
        const char *folder;
        int max_tokens, max_sequences, max_length;
        const char *text;
    } cases[] = {
        {"model", 0, 1, 10, "max_num_batched_tokens is 0, but must be at least 1"},
        {"model", 1, 0, 10, "max_num_seqs is 0, but must be at least 1"},
        {"model", 1, 1, 1, "max_model_len is 1, but must be at least 2"},
        {"missing", 1, 1, 10, "there is no folder 'missing'"},
    };
    struct llm_config config = {.vocab = 10, .hidden = 1};

    for (size_t i = 0; i < RWF_COUNT(cases); i++) {
        struct rwf_err err = RWF_ERR_INIT;
        struct llm_engine_options o = {.model = {
                                           .max_tokens = cases[i].max_tokens,
                                           .max_sequences = cases[i].max_sequences,
                                           .max_length = cases[i].max_length,
                                       }};

        ck_assert_ptr_null(llm_engine_create(cases[i].folder, &config, &o, &err));
        ck_assert_str_eq(err.text, cases[i].text);
    }
    llm_engine_destroy(NULL);
}
END_TEST

/* --- how requests end --- */

START_TEST(test_ends)
{
    struct llm_engine *e = rig_create(&plain);
    int32_t tokens[64];
    struct rig_request *r = rig_simple(20, 1);
    int count;

    /* What it says when nothing ends it. */
    r->submit.sampling.ignore_end = true;
    rig_plain(r, 200, tokens, &count);
    ck_assert_int_eq(count, 16);
    rig_complete(e, r, LLM_LENGTH);

    r = rig_simple(20, 1); /* a stop id */
    r->submit.sampling.ignore_end = true;
    set(r, STOP, tokens[5]);
    rig_complete(e, r, LLM_STOP);

    r = rig_simple(20, 1); /* the model's end, wanted at once; not told */
    set(r, BIAS_ID, RIG_END);
    set(r, BIAS, 100);
    rig_submit(e, r);
    ck_assert_int_eq(rig_wait(r), LLM_STOP);
    ck_assert_uint_eq(r->count, 0);
    rig_check(r, 200);
    rig_free(r);

    r = rig_simple(20, 1); /* likewise, but not before 4 tokens */
    set(r, BIAS_ID, RIG_END);
    set(r, BIAS, 100);
    r->submit.sampling.min_tokens = 4;
    rig_submit(e, r);
    ck_assert_int_eq(rig_wait(r), LLM_STOP);
    ck_assert_uint_eq(r->count, 4);
    rig_check(r, 200);
    rig_free(r);

    r = rig_simple(190, 1); /* the context is full */
    r->submit.sampling.max_tokens = 100;
    r->submit.sampling.ignore_end = true;
    rig_submit(e, r);
    ck_assert_int_eq(rig_wait(r), LLM_LENGTH);
    ck_assert_uint_eq(r->count, 10);
    rig_check(r, 200);
    rig_free(r);
    rig_destroy(e);
}
END_TEST

static bool mask_end(void *ctx, uint32_t *mask)
{
    (void)ctx;
    memset(mask, 0, (RIG_VOCAB + 31) / 32 * sizeof(*mask));
    mask[RIG_END / 32] = UINT32_C(1) << RIG_END % 32;
    return true;
}

static bool mask_none(void *ctx, uint32_t *mask)
{
    (void)ctx;
    memset(mask, 0, (RIG_VOCAB + 31) / 32 * sizeof(*mask));
    return true;
}

static void count_freed(void *ctx)
{
    ++*(int *)ctx;
}

/* A constraint that is at its end goes before min_tokens; one that allows nothing is an
 * error. */
START_TEST(test_constraint_ends)
{
    struct llm_engine *e = rig_create(&plain);
    struct rig_request *r = rig_simple(20, 1);
    int freed = 0;

    r->submit.sampling.min_tokens = 4;
    r->submit.constraint =
        (struct llm_constraint){.ctx = &freed, .mask = mask_end, .free = count_freed};
    rig_submit(e, r);
    ck_assert_int_eq(rig_wait(r), LLM_STOP);
    ck_assert_uint_eq(r->count, 0);
    rig_free(r);
    r = rig_simple(20, 1);
    r->submit.constraint =
        (struct llm_constraint){.ctx = &freed, .mask = mask_none, .free = count_freed};
    rig_submit(e, r);
    ck_assert_int_eq(rig_wait(r), LLM_ERROR);
    ck_assert_msg(strstr(r->reason, "no token could be drawn"), "%s", r->reason);
    rig_free(r);
    ck_assert_int_eq(freed, 2);
    rig_destroy(e);
}
END_TEST

/* --- what is told --- */

START_TEST(test_told)
{
    struct llm_engine *e = rig_create(&plain);
    struct rig_request *r = rig_simple(150, 2);

    r->submit.embed = true;
    rig_complete(e, r, LLM_STOP);
    r = rig_simple(150, 3); /* in three pieces */
    r->submit.sampling.prompt_logprobs = 3;
    r->submit.sampling.logprobs = 5;
    rig_complete(e, r, LLM_LENGTH);
    r = rig_simple(1, 3); /* nothing is known of a first token */
    r->submit.sampling.prompt_logprobs = 3;
    r->submit.sampling.logprobs = 0;
    rig_complete(e, r, LLM_LENGTH);
    rig_destroy(e);
}
END_TEST

START_TEST(test_times)
{
    struct llm_engine *e = rig_create(&plain);
    struct rig_request *r = rig_simple(100, 2);
    struct llm_stats s;

    for (int i = 0; i < 2; i++) {
        r->submit.sampling.ignore_end = true;
        rig_submit(e, r);
        ck_assert_int_eq(rig_wait(r), LLM_LENGTH);
        ck_assert_int_gt(r->times.arrived, 0);
        ck_assert_int_ge(r->times.scheduled, r->times.arrived);
        ck_assert_int_ge(r->times.first, r->times.scheduled);
        ck_assert_int_ge(r->times.last, r->times.first);
        ck_assert_int_eq(r->times.cached, i ? 96 : 0);
        ck_assert_int_eq(r->times.generated, 16);
        ck_assert_int_eq(r->times.preemptions, 0);
        rig_free(r);
        r = rig_simple(100, 2);
    }
    do
        llm_engine_stats(e, &s);
    while (s.generated_tokens < 32 || s.running > 0);
    ck_assert_uint_eq(s.prompt_tokens, 200);
    ck_assert_uint_eq(s.generated_tokens, 32);
    ck_assert_uint_eq(s.prefix_queries, 200);
    ck_assert_uint_eq(s.prefix_hits, 96);
    ck_assert_uint_gt(s.steps, 31);
    ck_assert_int_gt(s.busy, 0);
    ck_assert_int_eq(s.blocks, 64);
    ck_assert_ptr_nonnull(llm_engine_model(e));
    rig_free(r);
    rig_destroy(e);
}
END_TEST

/* Several answers to one prompt: it is computed once. */
START_TEST(test_several_answers)
{
    struct llm_engine *e = rig_create(&plain);
    struct rig_request *r[6];

    atomic_store(&llm_mock.held, true);
    for (int i = 0; i < 6; i++) {
        r[i] = rig_simple(161, 2);
        r[i]->submit.sampling.max_tokens = 1;
        r[i]->submit.sampling.temperature = 1;
        r[i]->submit.sampling.seed = (uint64_t)i;
        rig_submit(e, r[i]);
    }
    atomic_store(&llm_mock.held, false);
    for (int i = 0; i < 6; i++) {
        rig_wait(r[i]);
        rig_check(r[i], 200);
        rig_free(r[i]);
    }
    ck_assert_int_eq(atomic_load(&llm_mock.tokens), 161 + 5 * 1);
    rig_destroy(e);
}
END_TEST

/* The next step begins before this one is told of, unless a draw depends on it. */
START_TEST(test_overlap)
{
    static const struct {
        enum field field;
        double value;
        bool constrained, overlaps;
    } cases[] = {
        {TEMPERATURE, 1, false, true}, {BIAS, 1, false, true},
        {MIN_TOKENS, 9, false, true},  {LOGPROBS, 2, false, true},
        {PRESENCE, 1, false, false},   {FREQUENCY, 1, false, false},
        {REPETITION, 2, false, false}, {TEMPERATURE, 1, true, false},
    };

    for (size_t i = 0; i < RWF_COUNT(cases); i++) {
        struct llm_engine *e = rig_create(&plain);
        struct rig_request *r = rig_simple(20, 2);

        r->submit.sampling.ignore_end = true;
        set(r, cases[i].field, cases[i].value);
        r->constrained = cases[i].constrained;
        rig_complete(e, r, LLM_LENGTH);
        if (cases[i].overlaps)
            ck_assert_int_ge(atomic_load(&llm_mock.overlapped), 14);
        else
            ck_assert_int_eq(atomic_load(&llm_mock.overlapped), 0);
        rig_destroy(e);
    }
}
END_TEST

static void add_tests(TCase *t)
{
    tcase_add_loop_test(t, test_refused, 0, RWF_COUNT(refused));
    tcase_add_test(t, test_never_fits);
    tcase_add_test(t, test_options);
    tcase_add_test(t, test_ends);
    tcase_add_test(t, test_constraint_ends);
    tcase_add_test(t, test_told);
    tcase_add_test(t, test_times);
    tcase_add_test(t, test_several_answers);
    tcase_add_test(t, test_overlap);
}

int main(void)
{
    Suite *s = suite_create("llm_engine");
    TCase *t = tcase_create("engine");
    SRunner *r;
    int failed;

    tcase_set_timeout(t, 60);
    add_tests(t);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
