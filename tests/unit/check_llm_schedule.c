/* SPDX-License-Identifier: Apache-2.0
 *
 * The schedule alone: what is in which step, who waits, who is put back; and the edits
 * of a sequence. Nothing runs: a step's tokens are made up here.
 */
#include "config.h"

#include "llm/schedule.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "llm_engine_rig.h"

#define MANY 8

struct bench {
    struct llm_schedule *schedule;
    struct llm_sequence sequences[MANY];
    struct llm_chosen chosen[MANY];
    int count; /* of chosen */
};

static void create(struct bench *b, int max_tokens, int max_sequences, int blocks)
{
    memset(b, 0, sizeof(*b));
    b->schedule = llm_schedule_create(&(struct llm_schedule_options){
        .max_tokens = max_tokens, .max_sequences = max_sequences, .blocks = blocks});
}

static void destroy(struct bench *b)
{
    struct llm_schedule_stats s;

    for (int i = 0; i < MANY; i++) {
        if (!b->sequences[i].ids)
            continue;
        llm_schedule_remove(b->schedule, &b->sequences[i]);
        llm_sequence_free(&b->sequences[i]);
    }
    llm_schedule_stats(b->schedule, &s);
    ck_assert_int_eq(s.running + s.waiting + s.blocks_used, 0);
    llm_schedule_destroy(b->schedule);
}

/* Its prompt: salt + 0, 1, 2, … */
static struct llm_sequence *
add_with(struct bench *b, int i, struct llm_sequence_options o, int prompt, int salt)
{
    int32_t ids[1024];

    for (int k = 0; k < prompt; k++)
        ids[k] = salt + k;
    o.prompt = ids;
    o.prompt_count = prompt;
    o.repetition = 1;
    if (!o.most)
        o.most = 100;
    llm_sequence_init(&b->sequences[i], &o);
    llm_schedule_add(b->schedule, &b->sequences[i]);
    return &b->sequences[i];
}

static struct llm_sequence *add(struct bench *b, int i, int prompt)
{
    return add_with(b, i, (struct llm_sequence_options){0}, prompt, i * 1000);
}

static const struct llm_chosen *find(const struct bench *b, int i)
{
    for (int k = 0; k < b->count; k++)
        if (b->chosen[k].sequence == &b->sequences[i])
            return &b->chosen[k];
    return NULL;
}

static void make(struct bench *b)
{
    b->count = llm_schedule_step(b->schedule, b->chosen);
}

/* It is over: every row that draws got token 5. */
static void tell(struct bench *b)
{
    for (int k = 0; k < b->count; k++)
        if (b->chosen[k].last && !b->chosen[k].sequence->embed)
            llm_sequence_accept(b->chosen[k].sequence, 5);
}

static void step(struct bench *b)
{
    make(b);
    tell(b);
}

#define check_row(b, i, context_, count_, last_)                                       \
    do {                                                                               \
        const struct llm_chosen *c_ = find(b, i);                                      \
        ck_assert_msg(c_ != NULL, "sequence %d is not in the step", i);                \
        ck_assert_int_eq(c_->context, context_);                                       \
        ck_assert_int_eq(c_->count, count_);                                           \
        ck_assert_int_eq(c_->last, last_);                                             \
    } while (0)

START_TEST(test_pieces)
{
    struct bench b;

    create(&b, 32, 4, 100);
    add(&b, 0, 70);
    step(&b);
    check_row(&b, 0, 0, 32, false);
    step(&b);
    check_row(&b, 0, 32, 32, false);
    add(&b, 1, 40);
    step(&b); /* what the first leaves of the step is the second's */
    check_row(&b, 0, 64, 6, true);
    check_row(&b, 1, 0, 26, false);
    step(&b); /* one generates, the other's prompt goes on */
    check_row(&b, 0, 70, 1, true);
    check_row(&b, 1, 26, 14, true);
    ck_assert_int_eq(find(&b, 0)->drawn, 1);
    destroy(&b);
}
END_TEST

/* A long prompt that came first does not hold up those that generate. */
START_TEST(test_generating_first)
{
    struct bench b;

    create(&b, 16, 4, 100);
    add_with(&b, 0, (struct llm_sequence_options){.priority = 0}, 4, 0);
    step(&b);
    add_with(&b, 1, (struct llm_sequence_options){.priority = 5}, 200, 1000);
    for (int i = 0; i < 12; i++) {
        step(&b);
        check_row(&b, 0, 4 + i, 1, true);
        check_row(&b, 1, i * 15, 15, false);
    }
    destroy(&b);
}
END_TEST

/* The next step is made while one is under way: tokens not known yet, by row. */
START_TEST(test_under_way)
{
    struct bench b;
    struct llm_chosen before[MANY];
    int count;

    create(&b, 64, 4, 100);
    add_with(&b, 0, (struct llm_sequence_options){.most = 3}, 10, 0);
    add(&b, 1, 10);
    make(&b);
    memcpy(before, b.chosen, sizeof(before));
    count = b.count;
    make(&b);
    for (int i = 0; i < 2; i++) {
        check_row(&b, i, 10, 1, true);
        ck_assert(find(&b, i)->unknown);
        ck_assert_int_eq(find(&b, i)->drawn, 1);
        ck_assert_ptr_eq(before[find(&b, i)->from].sequence, &b.sequences[i]);
    }
    for (int k = 0; k < count; k++)
        llm_sequence_accept(before[k].sequence, 5);
    memcpy(before, b.chosen, sizeof(before));
    count = b.count;
    make(&b);
    ck_assert_int_eq(find(&b, 0)->drawn, 2);
    for (int k = 0; k < count; k++)
        llm_sequence_accept(before[k].sequence, 5);
    memcpy(before, b.chosen, sizeof(before));
    make(&b); /* all of its tokens are under way */
    ck_assert_ptr_null(find(&b, 0));
    check_row(&b, 1, 12, 1, true);
    destroy(&b);
}
END_TEST

START_TEST(test_order)
{
    struct bench b;

    create(&b, 64, 2, 100);
    add(&b, 0, 10);
    add(&b, 1, 10);
    add(&b, 2, 10);
    add_with(&b, 3, (struct llm_sequence_options){.priority = 1}, 10, 3000);
    step(&b);
    ck_assert(find(&b, 3) && find(&b, 0) && !find(&b, 1) && !find(&b, 2));
    ck_assert_int_lt((int)(find(&b, 3) - b.chosen), (int)(find(&b, 0) - b.chosen));
    llm_schedule_remove(b.schedule, &b.sequences[0]);
    step(&b);
    ck_assert(find(&b, 3) && find(&b, 1) && !find(&b, 2));
    destroy(&b);
}
END_TEST

/* Who does not fit is not overtaken by smaller ones that came later. */
START_TEST(test_no_overtaking)
{
    struct bench b;

    create(&b, 512, 4, 10);
    add(&b, 0, 60);  /* 4 blocks */
    add(&b, 1, 120); /* 8 */
    add(&b, 2, 10);
    for (int i = 0; i < 20; i++) {
        step(&b);
        ck_assert(find(&b, 0) && !find(&b, 1) && !find(&b, 2));
    }
    llm_schedule_remove(b.schedule, &b.sequences[0]);
    step(&b);
    ck_assert(find(&b, 1) && find(&b, 2));
    destroy(&b);
}
END_TEST

/* Blocks run out: the one that came last is put back, and computed anew when there is
 * room. */
START_TEST(test_put_back)
{
    struct llm_schedule_stats s;
    struct bench b;
    int before;

    create(&b, 64, 4, 4);
    add(&b, 0, 15);
    add(&b, 1, 15);
    for (int i = 0; i < 18; i++)
        step(&b);
    ck_assert_int_eq(b.count, 2); /* both have 32 tokens in 2 blocks */
    before = b.sequences[1].count;
    step(&b);
    ck_assert_int_eq(b.count, 1);
    check_row(&b, 0, 32, 1, true);
    ck_assert_int_eq(b.sequences[1].preemptions, 1);
    ck_assert_int_eq(b.sequences[1].place, LLM_PLACE_WAITING);
    for (int i = 0; i < 10; i++)
        step(&b);
    ck_assert_ptr_null(find(&b, 1));
    llm_schedule_remove(b.schedule, &b.sequences[0]);
    step(&b); /* its first block is still there */
    check_row(&b, 1, 16, before - 16, true);
    ck_assert_int_eq(find(&b, 1)->drawn, before - 15);
    llm_schedule_stats(b.schedule, &s);
    ck_assert_uint_eq(s.preemptions, 1);
    destroy(&b);
}
END_TEST

/* It is put back while its token is under way: it waits until that is known. */
START_TEST(test_put_back_under_way)
{
    struct bench b;

    create(&b, 64, 4, 3);
    add_with(&b, 0, (struct llm_sequence_options){.most = 1}, 10, 0);
    add(&b, 1, 31);
    step(&b);
    ck_assert_int_eq(b.count, 2);
    make(&b);
    ck_assert_int_eq(b.count, 1);
    make(&b); /* the first one is at its end, the other lacks a block */
    ck_assert_int_eq(b.count, 0);
    ck_assert_int_eq(b.sequences[1].preemptions, 1);
    llm_schedule_remove(b.schedule, &b.sequences[0]);
    make(&b);
    ck_assert_int_eq(b.count, 0);
    llm_sequence_accept(&b.sequences[1], 5);
    make(&b);
    check_row(&b, 1, 32, 1, true);
    ck_assert(!find(&b, 1)->unknown);
    destroy(&b);
}
END_TEST

/* One of higher priority that came last is not the one that goes. */
START_TEST(test_put_back_order)
{
    struct bench b;

    create(&b, 64, 4, 4);
    add(&b, 0, 15);
    add_with(&b, 1, (struct llm_sequence_options){.priority = 1}, 15, 1000);
    for (int i = 0; i < 19; i++)
        step(&b);
    ck_assert_int_eq(b.sequences[0].preemptions, 1);
    ck_assert_int_eq(b.sequences[1].preemptions, 0);
    destroy(&b);
}
END_TEST

START_TEST(test_prefix)
{
    static const struct {
        int prompt, context, count;
    } cases[] = {
        {48, 32, 16}, /* all of it is known: the last token is computed nevertheless */
        {49, 48, 1},  {47, 32, 15}, {16, 0, 16}, {17, 16, 1}, {80, 64, 16},
    };
    struct llm_sequence_options none = {0};

    for (size_t i = 0; i < RWF_COUNT(cases); i++) {
        struct bench b;
        struct llm_schedule_stats s;

        create(&b, 128, 4, 100);
        add_with(&b, 0, none, 70, 0); /* and what it generates */
        step(&b);
        add_with(&b, 1, none, cases[i].prompt, 0);
        b.sequences[1].ids[cases[i].prompt - 1] += cases[i].prompt > 70;
        step(&b);
        check_row(&b, 1, cases[i].context, cases[i].count, true);
        ck_assert_int_eq(b.sequences[1].cached, cases[i].context);
        llm_schedule_stats(b.schedule, &s);
        ck_assert_uint_eq(s.prefix_hits, (uint64_t)cases[i].context);
        ck_assert_uint_eq(s.prefix_queries, (uint64_t)(70 + cases[i].prompt));
        destroy(&b);
    }
}
END_TEST

/* Those with the same prompt that come together: one computes it, the others wait for
 * that and take it over; another one is not held up. */
START_TEST(test_together)
{
    struct llm_sequence_options none = {0};
    struct bench b;

    create(&b, 64, 8, 100);
    for (int i = 0; i < 3; i++)
        add_with(&b, i, none, 100, 0);
    add(&b, 3, 5);
    step(&b);
    ck_assert_int_eq(b.count, 1); /* the step is full */
    check_row(&b, 0, 0, 64, false);
    step(&b);
    check_row(&b, 0, 64, 36, true);
    check_row(&b, 3, 0, 5, true);
    ck_assert_int_eq(b.count, 2);
    step(&b);
    for (int i = 1; i < 3; i++)
        check_row(&b, i, 96, 4, true);
    ck_assert_int_eq(b.sequences[1].blocks[5], b.sequences[0].blocks[5]);
    ck_assert_int_ne(b.sequences[1].blocks[6], b.sequences[0].blocks[6]);
    destroy(&b);
}
END_TEST

/* Pieces of a prompt that is told of overlap by one, and none of it is taken over. */
START_TEST(test_every)
{
    struct llm_sequence_options every = {.every = true};
    struct bench b;

    create(&b, 16, 4, 100);
    for (int i = 0; i < 2; i++) {
        add_with(&b, i, every, 40, 0);
        step(&b);
        check_row(&b, i, 0, 16, false);
        step(&b);
        check_row(&b, i, 15, 16, false);
        step(&b);
        check_row(&b, i, 30, 10, true);
        llm_schedule_remove(b.schedule, &b.sequences[i]);
    }
    destroy(&b);
}
END_TEST

START_TEST(test_forget)
{
    struct llm_sequence_options none = {0};
    struct bench b;

    create(&b, 128, 4, 100);
    add_with(&b, 0, none, 40, 0);
    step(&b);
    llm_schedule_forget(b.schedule);
    llm_schedule_remove(b.schedule, &b.sequences[0]);
    add_with(&b, 1, none, 40, 0);
    step(&b);
    check_row(&b, 1, 0, 40, true);
    destroy(&b);
}
END_TEST

/* --- edits --- */

static struct kernel_edit edit_for(struct llm_sequence *q, int drawn, int32_t id)
{
    int count;
    const struct kernel_edit *e = llm_sequence_edits(q, drawn, &count);

    for (int i = 0; i < count; i++)
        if (e[i].id == id)
            return e[i];
    return (struct kernel_edit){.id = id, .repeat = 1};
}

START_TEST(test_edits)
{
    static const int32_t prompt[] = {1, 2, 2, 9}, ends[] = {7, 9};
    static const struct kernel_edit bias[] = {
        {.id = 2, .add = 3}, {.id = 4, .add = 1}, {.id = 4, .add = 1}};
    struct llm_sequence q;

    llm_sequence_init(&q, &(struct llm_sequence_options){.prompt = prompt,
                                                         .prompt_count = 4,
                                                         .most = 50,
                                                         .least = 3,
                                                         .ends = ends,
                                                         .end_count = 2,
                                                         .repetition = 1.5,
                                                         .presence = 0.5,
                                                         .frequency = 0.25,
                                                         .bias = bias,
                                                         .bias_count = 3});
    ck_assert(llm_sequence_follows(&q));
    ck_assert_float_eq(edit_for(&q, 0, 2).add, 3);
    ck_assert_float_eq(edit_for(&q, 0, 2).repeat, 1.5f);
    ck_assert_float_eq(edit_for(&q, 0, 4).add, 2);
    ck_assert_float_eq(edit_for(&q, 0, 4).repeat, 1);
    ck_assert(isinf(edit_for(&q, 0, 7).add) && isinf(edit_for(&q, 2, 9).add));
    for (int i = 0; i < 3; i++) {
        q.pending = 1;
        ck_assert_int_eq(llm_sequence_accept(&q, i < 2 ? 4 : 30), LLM_RUNNING);
    }
    ck_assert_float_eq(edit_for(&q, 3, 4).add, 2 - 0.5f - 2 * 0.25f);
    ck_assert_float_eq(edit_for(&q, 3, 4).repeat, 1.5f);
    ck_assert_float_eq(edit_for(&q, 3, 30).add, -0.75f);
    ck_assert_float_eq(edit_for(&q, 3, 7).add, 0);
    ck_assert_float_eq(edit_for(&q, 3, 9).repeat, 1.5f);
    q.pending = 1;
    ck_assert_int_eq(llm_sequence_accept(&q, 9), LLM_STOP);
    ck_assert_int_eq(q.count, 7);
    llm_sequence_free(&q);
}
END_TEST

/* Without penalties nothing is to be edited once an end may come, and no draw has to
 * wait for the one before it. */
START_TEST(test_no_edits)
{
    static const int32_t prompt[] = {1}, ends[] = {7};
    struct llm_sequence q;
    int count;

    llm_sequence_init(&q, &(struct llm_sequence_options){.prompt = prompt,
                                                         .prompt_count = 1,
                                                         .most = 2,
                                                         .least = 1,
                                                         .ends = ends,
                                                         .end_count = 1,
                                                         .repetition = 1});
    ck_assert(!llm_sequence_follows(&q));
    llm_sequence_edits(&q, 0, &count);
    ck_assert_int_eq(count, 1);
    llm_sequence_edits(&q, 1, &count);
    ck_assert_int_eq(count, 0);
    q.pending = 2;
    ck_assert_int_eq(llm_sequence_accept(&q, 3), LLM_RUNNING);
    ck_assert_int_eq(llm_sequence_accept(&q, 3), LLM_LENGTH);
    llm_sequence_free(&q);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("llm_schedule");
    TCase *t = tcase_create("schedule");
    SRunner *r;
    int failed;

    tcase_add_test(t, test_pieces);
    tcase_add_test(t, test_generating_first);
    tcase_add_test(t, test_under_way);
    tcase_add_test(t, test_order);
    tcase_add_test(t, test_no_overtaking);
    tcase_add_test(t, test_put_back);
    tcase_add_test(t, test_put_back_under_way);
    tcase_add_test(t, test_put_back_order);
    tcase_add_test(t, test_prefix);
    tcase_add_test(t, test_together);
    tcase_add_test(t, test_every);
    tcase_add_test(t, test_forget);
    tcase_add_test(t, test_edits);
    tcase_add_test(t, test_no_edits);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
