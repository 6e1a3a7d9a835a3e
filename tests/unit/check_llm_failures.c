/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine when things go wrong: requests are cancelled, the engine is destroyed
 * while it works, steps fail, the device is gone.
 */
#include "config.h"

#include "llm/engine.h"

#include <check.h>
#include <string.h>
#include <time.h>

#include "llm_engine_rig.h"

static const struct rig_options plain = {
    .blocks = 64, .max_tokens = 64, .max_sequences = 8, .max_length = 200};

static void set_held(bool held)
{
    atomic_store(&llm_mock.held, held);
}

static void wait_steps(long long steps)
{
    while (atomic_load(&llm_mock.steps) < steps)
        nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
}

/* --- cancelling --- */

START_TEST(test_cancel)
{
    struct rig_options o = {
        .blocks = 64, .max_tokens = 64, .max_sequences = 1, .max_length = 200};
    struct llm_engine *e = rig_create(&o);
    struct rig_request *runs = rig_simple(20, 1), *waits = rig_simple(20, 2),
                       *self = rig_simple(20, 3);
    struct llm_stats s;

    set_held(true);
    runs->submit.sampling.max_tokens = 150;
    runs->submit.sampling.ignore_end = true;
    rig_submit(e, runs);
    rig_submit(e, waits);
    wait_steps(1);
    rig_cancel(waits);
    rig_cancel(waits); /* once more is harmless */
    set_held(false);
    ck_assert_int_eq(rig_wait(waits), LLM_CANCELLED);
    ck_assert_uint_eq(waits->count, 0);
    rig_cancel(runs);
    rig_wait(runs);
    rig_check(runs, 200);
    self->submit.sampling.max_tokens = 100;
    self->submit.sampling.ignore_end = true;
    self->cancel_at = 3;
    rig_submit(e, self);
    ck_assert_int_eq(rig_wait(self), LLM_CANCELLED);
    ck_assert_uint_eq(self->count, 3);
    rig_check(self, 200);
    do
        llm_engine_stats(e, &s);
    while (s.blocks_used > 0);
    ck_assert_int_eq(s.running + s.waiting, 0);
    rig_free(runs);
    rig_free(waits);
    rig_free(self);
    rig_destroy(e);
}
END_TEST

/* One that is gone may be named: those that came after it do not mind. */
START_TEST(test_cancel_gone)
{
    struct llm_engine *e = rig_create(&plain);
    struct rig_request *gone = rig_simple(20, 1), *r[8];

    rig_submit(e, gone);
    rig_wait(gone);
    set_held(true);
    for (int i = 0; i < 8; i++) {
        r[i] = rig_simple(20, i);
        rig_submit(e, r[i]);
        rig_cancel(gone);
    }
    set_held(false);
    for (int i = 0; i < 8; i++) {
        ck_assert_int_ne(rig_wait(r[i]), LLM_CANCELLED);
        rig_check(r[i], 200);
        rig_free(r[i]);
    }
    rig_cancel(gone); /* may stay unread when the engine ends */
    rig_free(gone);
    rig_destroy(e);
}
END_TEST

/* What runs or waits when it is destroyed is told so. */
START_TEST(test_destroy)
{
    struct llm_engine *e = rig_create(&plain);
    struct rig_request *r[20];

    set_held(true);
    for (int i = 0; i < 20; i++) {
        r[i] = rig_simple(20, i);
        r[i]->submit.sampling.max_tokens = 150;
        r[i]->submit.sampling.ignore_end = true;
        rig_submit(e, r[i]);
    }
    wait_steps(2);
    set_held(false);
    rig_destroy(e);
    for (int i = 0; i < 20; i++) {
        enum llm_finish finish = rig_wait(r[i]);

        ck_assert(finish == LLM_CANCELLED || finish == LLM_LENGTH);
        rig_check(r[i], 200);
        rig_free(r[i]);
    }
}
END_TEST

/* --- failing steps --- */

static void fails_once(atomic_int *what, const char *text)
{
    struct llm_engine *e = rig_create(&plain);
    struct rig_request *r[3], *later;
    struct llm_stats s;

    set_held(true);
    for (int i = 0; i < 3; i++) {
        r[i] = rig_simple(
            40, 1); /* all alike: what a failed step left must not be taken over */
        r[i]->submit.sampling.ignore_end = true;
        r[i]->submit.sampling.max_tokens = 100;
    }
    atomic_store(what, 1);
    rig_submit(e, r[0]);
    if (what == &llm_mock.fail_finish)
        wait_steps(1);
    set_held(false);
    ck_assert_int_eq(rig_wait(r[0]), LLM_ERROR);
    ck_assert_str_eq(r[0]->reason, text);
    for (int i = 1; i < 3; i++)
        rig_submit(e, r[i]);
    for (int i = 1; i < 3; i++) {
        ck_assert_int_eq(rig_wait(r[i]), LLM_LENGTH);
        rig_check(r[i], 200);
    }
    later = rig_simple(50, 1);
    rig_complete(e, later, LLM_LENGTH);
    do
        llm_engine_stats(e, &s);
    while (s.blocks_used > 0);
    for (int i = 0; i < 3; i++)
        rig_free(r[i]);
    rig_destroy(e);
}

START_TEST(test_fail_begin)
{
    fails_once(&llm_mock.fail_begin,
               "the step failed: rope: the device could not begin");
}
END_TEST

START_TEST(test_fail_finish)
{
    fails_once(&llm_mock.fail_finish,
               "the step failed: paged_attention: the device failed");
}
END_TEST

/* Those that had nothing in the step go on. */
START_TEST(test_fail_others)
{
    struct rig_options o = plain;
    struct rig_request *r[6];
    struct llm_engine *e;
    int errors = 0;

    o.max_sequences = 2;
    e = rig_create(&o);
    set_held(true);
    for (int i = 0; i < 6; i++) {
        r[i] = rig_simple(30, i % 2);
        rig_submit(e, r[i]);
    }
    wait_steps(2);
    atomic_store(&llm_mock.fail_finish, 1);
    set_held(false);
    for (int i = 0; i < 6; i++) {
        errors += rig_wait(r[i]) == LLM_ERROR;
        if (atomic_load(&r[i]->finish) != LLM_ERROR)
            rig_check(r[i], 200);
        rig_free(r[i]);
    }
    ck_assert_int_ge(errors, 1);
    ck_assert_int_le(errors, 2);
    rig_destroy(e);
}
END_TEST

START_TEST(test_gone)
{
    struct rig_options o = plain;
    struct rig_request *r[8];
    struct rwf_err err = RWF_ERR_INIT;
    struct llm_engine *e;

    o.max_sequences = 1;
    e = rig_create(&o);
    set_held(true);
    for (int i = 0; i < 8; i++) {
        r[i] = rig_simple(30, i);
        rig_submit(e, r[i]);
    }
    atomic_store(&llm_mock.fail_finish, 100);
    set_held(false);
    for (int i = 0; i < 8; i++) {
        ck_assert_int_eq(rig_wait(r[i]), LLM_ERROR);
        if (i > 2)
            ck_assert_str_eq(r[i]->reason,
                             "the device is gone, 3 steps in a row failed: "
                             "paged_attention: the device failed");
    }
    ck_assert_ptr_null(llm_engine_submit(e, &r[0]->submit, NULL, &err));
    ck_assert_int_eq(err.code, RWF_E_ENV);
    for (int i = 0; i < 8; i++)
        rig_free(r[i]);
    rig_destroy(e);
}
END_TEST

START_TEST(test_numb)
{
    struct llm_engine *e = rig_create(&plain);
    struct rig_request *r = rig_simple(20, 1);

    atomic_store(&llm_mock.numb, true);
    rig_submit(e, r);
    ck_assert_int_eq(rig_wait(r), LLM_ERROR);
    ck_assert_msg(strstr(r->reason, "the logits are not numbers"), "%s", r->reason);
    atomic_store(&llm_mock.numb, false);
    rig_free(r);
    rig_complete(e, rig_simple(20, 1), LLM_LENGTH);
    rig_destroy(e);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("llm_failures");
    TCase *t = tcase_create("failures");
    SRunner *r;
    int failed;

    tcase_set_timeout(t, 60);
    tcase_add_test(t, test_cancel);
    tcase_add_test(t, test_cancel_gone);
    tcase_add_test(t, test_destroy);
    tcase_add_test(t, test_fail_begin);
    tcase_add_test(t, test_fail_finish);
    tcase_add_test(t, test_fail_others);
    tcase_add_test(t, test_gone);
    tcase_add_test(t, test_numb);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
