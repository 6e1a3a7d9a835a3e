/* SPDX-License-Identifier: Apache-2.0
 *
 * Batches: when they are due, and in simulated time how a size follows a latency
 * objective: hardly any batch beyond it, also when the load steps up, and all of the
 * throughput that the objective allows.
 */
#include "config.h"

#include <check.h>
#include <math.h>
#include <string.h>
#include "base/clock.h"
#include "serve/batch.h"
#include "serve_random.h"

#define MS RWF_NS_PER_MS

static const struct {
    int max;
    int64_t wait;
    size_t queued;
    int64_t oldest;
    int room;
    int64_t now;
    int due;
    int64_t wake;
} moments[] = {
    /* without a wait an idle replica takes what is queued */
    {16, 0, 0, 0, 16, 100, 0, 0},
    {16, 0, 1, 100, 16, 100, 1, 0},
    {16, 0, 99, 1, 16, 100, 16, 0},
    {1, 0, 99, 1, 16, 100, 1, 0},
    /* a wait counts from the oldest */
    {16, 50, 3, 90, 16, 100, 0, 140},
    {16, 50, 3, 50, 16, 100, 3, 0},
    {16, 50, 3, 49, 16, 100, 3, 0},
    {16, 50, 16, 99, 16, 100, 16, 0},
    /* a replica with less room is full earlier; without room it gets nothing */
    {16, 50, 3, 90, 3, 100, 3, 0},
    {16, 50, 3, 90, 0, 100, 0, 0},
    {16, 50, 3, 90, -1, 100, 0, 0},
    {0, 50, 3, 90, 4, 100, 1, 0}, /* a size of 0 is one of 1 */
};

START_TEST(due)
{
    struct serve_batching how = {.max_batch_size = moments[_i].max,
                                 .wait = moments[_i].wait};
    struct serve_batch b;
    int64_t wake = -1;

    serve_batch_init(&b, &how);
    ck_assert_int_eq(serve_batch_due(&b, moments[_i].queued, moments[_i].oldest,
                                     moments[_i].room, moments[_i].now, &wake),
                     moments[_i].due);
    ck_assert_int_eq(wake, moments[_i].wake);
    ck_assert_int_eq(serve_batch_due(&b, moments[_i].queued, moments[_i].oldest,
                                     moments[_i].room, moments[_i].now, NULL),
                     moments[_i].due);
}
END_TEST

START_TEST(fixed)
{
    struct serve_batching how = {.max_batch_size = 8};
    struct serve_batch b;

    serve_batch_init(&b, &how);
    for (int i = 0; i < 100; i++)
        serve_batch_done(&b, 8, 1000 * MS);
    ck_assert_int_eq(b.size, 8); /* no objective, nothing to follow */
}
END_TEST

START_TEST(steps)
{
    struct serve_batching how = {.max_batch_size = 100, .latency = 10 * MS};
    struct serve_batch b;

    serve_batch_init(&b, &how);
    ck_assert_int_eq(b.size, 1);
    for (int i = 0; i < 200; i++)
        serve_batch_done(&b, 1, MS); /* only the first is a full one */
    ck_assert_int_eq(b.size, 2);
    for (int i = 0; i < 48; i++)
        serve_batch_done(&b, b.size, MS);
    ck_assert_int_eq(b.size, 50);
    serve_batch_done(&b, 50, 11 * MS);
    ck_assert_int_eq(b.size, 45); /* a tenth less */
    for (int i = 0; i < 20; i++)
        serve_batch_done(&b, b.size, MS);
    ck_assert_int_eq(b.size, 49); /* below what was too much */
    for (int i = 0; i < 300; i++)
        serve_batch_done(&b, b.size, MS);
    ck_assert_int_gt(b.size, 50); /* a probe went well */
    for (int i = 0; i < 10000; i++)
        serve_batch_done(&b, b.size, 11 * MS);
    ck_assert_int_eq(b.size, 1);
}
END_TEST

/* --- simulated time --- */

struct server {
    int64_t fixed, each; /* a batch of n takes fixed + n * each … */
    double noise;        /* … times 1 ± noise */
};

struct outcome {
    int batches, late, served, refused;
    double mean_size;
};

static int64_t cost(const struct server *m, int n, uint64_t *chance)
{
    double factor = 1 + m->noise * (2 * random_unit(chance) - 1);

    return (int64_t)((double)(m->fixed + n * m->each) * factor);
}

/* Poisson arrivals at `rate` a second for `length`, one replica, at most 1000 queued.
 */
static struct outcome simulate(struct serve_batch *b, const struct server *m,
                               double rate, int64_t length, uint64_t *chance)
{
    struct outcome o = {0};
    double next = random_wait(chance, 1e9 / rate);
    int64_t now = 0;
    size_t queued = 0;
    double sizes = 0;

    while (now < length) {
        for (; next <= (double)now; next += random_wait(chance, 1e9 / rate)) {
            o.refused += queued >= 1000;
            queued += queued < 1000;
        }
        int n = serve_batch_due(b, queued, 0, 1000, now, NULL);
        if (n == 0) {
            now = (int64_t)next + 1;
            continue;
        }
        int64_t took = cost(m, n, chance);
        queued -= (size_t)n;
        now += took;
        serve_batch_done(b, n, took);
        o.batches++;
        o.late += took > b->how.latency;
        o.served += n;
        sizes += n;
    }
    o.mean_size = sizes / (o.batches > 0 ? o.batches : 1);
    return o;
}

static const struct serve_batching adaptive = {.max_batch_size = 200,
                                               .latency = 20 * MS};

/* 1 ms and 0.2 ms each: 95 fit into 20 ms. First a light load, then three times as much
 * as the server can do. */
START_TEST(load_step)
{
    struct server m = {.fixed = MS, .each = MS / 5, .noise = 0.02};
    uint64_t chance = (uint64_t)_i;
    struct serve_batch b;

    serve_batch_init(&b, &adaptive);
    struct outcome light = simulate(&b, &m, 500, 60 * RWF_NS_PER_S, &chance);
    struct outcome heavy = simulate(&b, &m, 15000, 60 * RWF_NS_PER_S, &chance);
    ck_assert_int_eq(light.late, 0);
    ck_assert_int_eq(light.refused, 0);
    ck_assert_msg(heavy.late * 100 < heavy.batches, "%d of %d batches late", heavy.late,
                  heavy.batches);
    ck_assert_msg(heavy.mean_size > 80, "batches of %.1f only", heavy.mean_size);
    /* At least 95 % of what batches of 95 would give. */
    ck_assert_msg(heavy.served > 0.95 * 95 / 0.020 * 60, "%d served", heavy.served);
}
END_TEST

/* The server becomes slower (35 fit), then as fast as it was. */
START_TEST(server_step)
{
    struct server fast = {.fixed = MS, .each = MS / 5, .noise = 0.02};
    struct server slow = {.fixed = 2 * MS, .each = MS / 2, .noise = 0.02};
    uint64_t chance = (uint64_t)_i;
    struct serve_batch b;

    serve_batch_init(&b, &adaptive);
    simulate(&b, &fast, 15000, 30 * RWF_NS_PER_S, &chance);
    struct outcome o = simulate(&b, &slow, 15000, 60 * RWF_NS_PER_S, &chance);
    ck_assert_msg(o.late * 100 < o.batches, "%d of %d late", o.late, o.batches);
    ck_assert_int_le(b.size, 36);
    o = simulate(&b, &fast, 15000, 60 * RWF_NS_PER_S, &chance);
    ck_assert_msg(o.late * 100 < o.batches, "%d of %d late", o.late, o.batches);
    ck_assert_msg(b.size > 80, "%d only", b.size);
}
END_TEST

/* Small sizes, where a tenth is one: 4 fit. Plain AIMD would break it every other
 * batch. */
START_TEST(small)
{
    struct server m = {.fixed = 2 * MS, .each = 4 * MS, .noise = 0.02};
    uint64_t chance = (uint64_t)_i;
    struct serve_batch b;

    serve_batch_init(&b, &adaptive);
    struct outcome o = simulate(&b, &m, 1000, 120 * RWF_NS_PER_S, &chance);
    ck_assert_msg(o.late * 100 < o.batches, "%d of %d late", o.late, o.batches);
    ck_assert_msg(o.mean_size > 3.9, "batches of %.2f only", o.mean_size);
}
END_TEST

/* Even one is too much: it is served all the same, one by one. */
START_TEST(hopeless)
{
    struct server m = {.fixed = 30 * MS, .each = MS};
    uint64_t chance = 1;
    struct serve_batch b;

    serve_batch_init(&b, &adaptive);
    struct outcome o = simulate(&b, &m, 1000, 10 * RWF_NS_PER_S, &chance);
    ck_assert_int_eq(b.size, 1);
    ck_assert_int_gt(o.served, 300);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("serve batch");
    TCase *t = tcase_create("batch");

    tcase_add_loop_test(t, due, 0, sizeof(moments) / sizeof(*moments));
    tcase_add_test(t, fixed);
    tcase_add_test(t, steps);
    tcase_add_loop_test(t, load_step, 0, 5);
    tcase_add_loop_test(t, server_step, 0, 5);
    tcase_add_loop_test(t, small, 0, 5);
    tcase_add_test(t, hopeless);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
