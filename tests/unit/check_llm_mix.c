/* SPDX-License-Identifier: Apache-2.0
 *
 * Many requests at once: whatever the size of the cache and of the steps, whoever
 * shares a prefix with whom, is put back or cancelled, each is told exactly the tokens
 * of the plain path.
 */
#include "config.h"

#include "llm/engine.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "llm_engine_rig.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MIXES 30
#else
#define MIXES 60
#endif
#define SOAK 10000
#define AT_ONCE 64

static int below(uint64_t *state, int n)
{
    return (int)(rig_random(state) % (uint64_t)n);
}

/* Prompts begin with a piece of one of four texts, often a long one; in two of them all
 * blocks are alike, but for what comes before. */
static struct rig_request *random_request(uint64_t *state, int limit)
{
    int count = 1 + below(state, limit - 1);
    int shared = below(state, count + 1), text = below(state, 4);
    int32_t prompt[4096];
    struct rig_request *r;

    for (int i = 0; i < count; i++)
        prompt[i] = i < shared
                        ? (int32_t)(((text < 2 ? i % KERNEL_BLOCK : i) * 7 + text * 3) %
                                    RIG_VOCAB)
                        : (int32_t)below(state, RIG_VOCAB);
    r = rig_request(prompt, count);
    r->submit.priority = below(state, 3) == 0 ? below(state, 3) : 0;
    if (below(state, 10) == 0)
        r->submit.embed = true;
    return r;
}

static void random_sampling(uint64_t *state, struct rig_request *r)
{
    struct llm_sampling *p = &r->submit.sampling;

    p->max_tokens = 1 + below(state, 40);
    p->seed = rig_random(state);
    p->ignore_end = below(state, 2);
    if (below(state, 3) == 0)
        p->min_tokens = below(state, p->max_tokens + 1);
    if (below(state, 2))
        p->temperature = 0.5 + below(state, 10) / 10.0;
    if (below(state, 4) == 0)
        p->top_k = 1 + below(state, 8);
    if (below(state, 4) == 0)
        p->repetition = 1 + below(state, 8) / 16.0;
    if (below(state, 4) == 0)
        p->presence = below(state, 8) / 8.0;
    if (below(state, 4) == 0)
        p->frequency = -below(state, 8) / 8.0;
    if (below(state, 4) == 0)
        p->logprobs = below(state, 4);
    if (below(state, 10) == 0)
        p->prompt_logprobs = below(state, 4);
    r->constrained = below(state, 6) == 0;
}

static void random_lists(uint64_t *state, struct rig_request *r)
{
    struct llm_sampling *p = &r->submit.sampling;

    p->bias = r->bias;
    p->stops = r->stops;
    if (below(state, 4) == 0)
        p->bias_count = below(state, 5);
    for (int i = 0; i < p->bias_count; i++)
        r->bias[i] = (struct kernel_edit){.id = below(state, RIG_VOCAB),
                                          .repeat = 1,
                                          .add = (float)(below(state, 17) - 8) / 2};
    if (below(state, 2))
        p->stop_count = below(state, 5);
    for (int i = 0; i < p->stop_count; i++)
        r->stops[i] = below(state, RIG_VOCAB);
}

static struct rig_request *submit_random(struct llm_engine *e, uint64_t *state,
                                         const struct rig_options *o)
{
    struct rig_request *r = random_request(state, o->max_length);

    random_sampling(state, r);
    random_lists(state, r);
    if (r->submit.sampling.prompt_logprobs >= 0 && o->max_tokens < 2)
        r->submit.sampling.prompt_logprobs = -1;
    if (below(state, 12) == 0)
        r->cancel_at = 1 + below(state, 8);
    rig_submit(e, r);
    return r;
}

static struct rig_options random_options(uint64_t *state)
{
    struct rig_options o = {
        .max_tokens = below(state, 2) ? 1 + below(state, 12) : 16 + below(state, 200),
        .max_sequences = 1 + below(state, 20),
        .max_length = 8 + below(state, 150),
        .no_prefix_cache = below(state, 4) == 0,
    };

    /* From just enough for the longest to enough for all. */
    o.blocks = (o.max_length + KERNEL_BLOCK - 1) / KERNEL_BLOCK +
               below(state, 3) * below(state, 40);
    return o;
}

/* Nothing runs or waits any more, and all blocks are there again. */
static void check_idle(struct llm_engine *e)
{
    struct llm_stats s;

    /* The last finish is told before its step is counted. */
    do
        llm_engine_stats(e, &s);
    while (s.running > 0 || s.waiting > 0 || s.blocks_used > 0);
}

START_TEST(test_mix)
{
    uint64_t state = (uint64_t)_i * 1000;
    struct rig_options o = random_options(&state);
    struct llm_engine *e = rig_create(&o);
    struct rig_request *requests[AT_ONCE];

    for (int i = 0; i < AT_ONCE; i++) {
        requests[i] = submit_random(e, &state, &o);
        if (below(&state, 8) == 0)
            rig_cancel(requests[below(&state, i + 1)]);
    }
    for (int i = 0; i < AT_ONCE; i++) {
        rig_wait(requests[i]);
        rig_check(requests[i], o.max_length);
        rig_free(requests[i]);
    }
    check_idle(e);
    rig_destroy(e);
}
END_TEST

static int threads(void)
{
    char line[256];
    int count = -1;
    FILE *f = fopen("/proc/self/status", "r");

    ck_assert(f != NULL);
    while (fgets(line, sizeof(line), f))
        sscanf(line, "Threads: %d", &count);
    fclose(f);
    return count;
}

/* All at once, while a step is held up. */
static void soak_burst(struct llm_engine *e, uint64_t *state,
                       const struct rig_options *o)
{
    struct rig_request *requests[AT_ONCE];

    atomic_store(&llm_mock.held, true);
    for (int i = 0; i < AT_ONCE; i++)
        requests[i] = submit_random(e, state, o);
    atomic_store(&llm_mock.held, false);
    for (int i = 0; i < AT_ONCE / 8; i++)
        rig_cancel(requests[below(state, AT_ONCE)]);
    for (int i = 0; i < AT_ONCE; i++) {
        rig_wait(requests[i]);
        rig_check(requests[i], o->max_length);
        rig_free(requests[i]);
    }
}

START_TEST(test_soak)
{
    struct rig_options o = {
        .blocks = 60, .max_tokens = 256, .max_sequences = 32, .max_length = 160};
    uint64_t state = 4711;
    struct llm_engine *e = rig_create(&o);
    struct llm_stats s;
    int before;

    rig_destroy(e); /* a sanitizer starts a thread of its own with the first one */
    before = threads();
    e = rig_create(&o);
    for (int i = 0; i < SOAK; i += AT_ONCE)
        soak_burst(e, &state, &o);
    check_idle(e);
    llm_engine_stats(e, &s);
    ck_assert_uint_gt(s.preemptions, 0);
    ck_assert_uint_gt(s.prefix_hits, 0);
    ck_assert_int_gt((int)atomic_load(&llm_mock.overlapped), 0);
    rig_destroy(e);
    /* One that was joined may still be counted for an instant. */
    for (int i = 0; i < 10000 && threads() != before; i++)
        usleep(1000);
    ck_assert_int_eq(threads(), before);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("llm_mix");
    TCase *t = tcase_create("mix");
    SRunner *r;
    int failed;

    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, test_mix, 0, MIXES);
    tcase_add_test(t, test_soak);
    suite_add_tcase(s, t);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
