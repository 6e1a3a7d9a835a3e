/* SPDX-License-Identifier: Apache-2.0
 *
 * The balancer: what it never does, how evenly it spreads, and that sessions stay.
 */
#include "config.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "serve/balance.h"
#include "serve_random.h"

static void add(struct serve_balance *b, struct serve_load *l, int n, int max,
                int locals)
{
    for (int i = 0; i < n; i++) {
        char id[20];
        snprintf(id, sizeof(id), "r#%d", i);
        l[i] = (struct serve_load){
            .name = serve_hash(id, strlen(id)), .max = max, .local = i < locals};
        serve_balance_add(b, &l[i]);
    }
}

START_TEST(room)
{
    struct serve_balance *b = serve_balance_create(1);
    struct serve_load l[2];

    ck_assert_ptr_null(serve_balance_pick(b, NULL));
    ck_assert_ptr_null(serve_balance_pick(b, "k"));
    add(b, l, 2, 2, 0);
    ck_assert_uint_eq(serve_balance_room(b), 4);
    for (int i = 0; i < 4; i++) {
        struct serve_load *got = serve_balance_pick(b, i % 2 ? "k" : NULL);
        ck_assert_ptr_nonnull(got);
        serve_balance_take(b, got, 1);
    }
    ck_assert_int_eq(l[0].ongoing, 2);
    ck_assert_int_eq(l[1].ongoing, 2);
    ck_assert_ptr_null(serve_balance_pick(b, NULL));
    ck_assert_ptr_null(serve_balance_pick(b, "k"));
    serve_balance_give(b, &l[1], 1);
    ck_assert_ptr_eq(serve_balance_pick(b, NULL), &l[1]);
    serve_balance_remove(b, &l[1]);
    ck_assert_ptr_null(serve_balance_pick(b, NULL));
    serve_balance_give(b, &l[1], 1); /* it drains */
    ck_assert_int_eq(l[1].ongoing, 0);
    ck_assert_uint_eq(serve_balance_room(b), 0);
    serve_balance_add(b, &l[1]);
    ck_assert_uint_eq(serve_balance_room(b), 2);
    ck_assert_uint_eq(serve_balance_count(b), 2);
    serve_balance_destroy(b);
}
END_TEST

START_TEST(locality)
{
    struct serve_balance *b = serve_balance_create(7);
    struct serve_load l[6];

    add(b, l, 6, 5, 2);
    for (int i = 0; i < 10; i++) {
        struct serve_load *got = serve_balance_pick(b, NULL);
        ck_assert(got->local);
        serve_balance_take(b, got, 1);
    }
    ck_assert(!serve_balance_pick(b, NULL)->local); /* those of the node are full */
    serve_balance_give(b, &l[0], 1);
    ck_assert_ptr_eq(serve_balance_pick(b, NULL), &l[0]);
    serve_balance_destroy(b);
}
END_TEST

/* Of two the less loaded: with one request of each of n replicas in flight on the
 * average, the most loaded has about log log n, where one random choice gives log n /
 * log log n. */
START_TEST(even)
{
    enum { N = 1000 };
    struct serve_balance *b = serve_balance_create((uint64_t)_i);
    struct serve_load *l = calloc(N, sizeof(*l));
    int most = 0;

    add(b, l, N, 100, 0);
    for (int i = 0; i < N; i++)
        serve_balance_take(b, serve_balance_pick(b, NULL), 1);
    for (int i = 0; i < N; i++)
        most = l[i].ongoing > most ? l[i].ongoing : most;
    ck_assert_int_ge(most, 2);
    ck_assert_int_le(most, 4);
    free(l);
    serve_balance_destroy(b);
}
END_TEST

/* Loads are compared as parts of what a replica can take. */
START_TEST(unequal)
{
    struct serve_balance *b = serve_balance_create(3);
    struct serve_load l[2];

    add(b, l, 2, 10, 0);
    serve_balance_remove(b, &l[1]);
    l[1].max = 100;
    serve_balance_add(b, &l[1]);
    serve_balance_take(b, &l[0], 2);
    serve_balance_take(b, &l[1], 10);
    for (int i = 0; i < 20; i++)
        ck_assert_ptr_eq(serve_balance_pick(b, NULL), &l[1]);
    serve_balance_destroy(b);
}
END_TEST

enum { SESSIONS = 2000 };

static void where(struct serve_balance *b, struct serve_load **ret)
{
    char key[20];

    for (int i = 0; i < SESSIONS; i++) {
        snprintf(key, sizeof(key), "session %d", i);
        ret[i] = serve_balance_pick(b, key);
    }
}

START_TEST(sessions)
{
    struct serve_balance *b = serve_balance_create(5);
    struct serve_load l[10], *before[SESSIONS], *after[SESSIONS];
    int moved = 0, counts[10] = {0};

    add(b, l, 10, 5, 5);
    where(b, before);
    where(b, after);
    ck_assert_mem_eq(before, after, sizeof(before));
    for (int i = 0; i < SESSIONS; i++)
        counts[before[i] - l]++;
    for (int i = 0; i < 10; i++) { /* 200 each; a standard deviation is 13 */
        ck_assert_int_ge(counts[i], 120);
        ck_assert_int_le(counts[i], 280);
    }
    serve_balance_remove(b, &l[3]);
    where(b, after);
    for (int i = 0; i < SESSIONS; i++) {
        ck_assert(before[i] == &l[3] || before[i] == after[i]);
        moved += before[i] != after[i];
    }
    ck_assert_int_eq(moved, counts[3]);
    serve_balance_add(b, &l[3]);
    where(b, after);
    ck_assert_mem_eq(before, after, sizeof(before));
    /* A full one: its sessions go where they would go without it, until it has room. */
    serve_balance_take(b, &l[3], 5);
    where(b, after);
    for (int i = 0; i < SESSIONS; i++)
        ck_assert(before[i] == &l[3] ? after[i] != &l[3] : after[i] == before[i]);
    serve_balance_destroy(b);
}
END_TEST

/* --- against a slow model --- */

enum { N = 12 };

static void compare(struct serve_balance *b, const struct serve_load *l, const bool *in)
{
    size_t count = 0, free_places = 0;
    bool local = false;

    for (int i = 0; i < N; i++) {
        int left = in[i] && l[i].ongoing < l[i].max ? l[i].max - l[i].ongoing : 0;
        count += in[i];
        free_places += (size_t)left;
        local = local || (left > 0 && l[i].local);
    }
    ck_assert_uint_eq(serve_balance_count(b), count);
    ck_assert_uint_eq(serve_balance_room(b), free_places);
    struct serve_load *got = serve_balance_pick(b, NULL);
    ck_assert((got == NULL) == (free_places == 0));
    if (got != NULL) {
        ck_assert(in[got - l] && got->ongoing < got->max);
        ck_assert(got->local == local);
    }
}

START_TEST(property)
{
    uint64_t chance = (uint64_t)_i;
    struct serve_balance *b = serve_balance_create(chance);
    struct serve_load l[N];
    bool in[N];

    add(b, l, N, 1 + random_below(&chance, 5), random_below(&chance, N + 1));
    memset(in, true, sizeof(in));
    for (int step = 0; step < 3000; step++) {
        int i = random_below(&chance, N), n = 1 + random_below(&chance, 3);
        switch (random_below(&chance, 4)) {
        case 0:
            in[i] ? serve_balance_remove(b, &l[i]) : serve_balance_add(b, &l[i]);
            in[i] = !in[i];
            break;
        case 1:
            if (l[i].ongoing >= n)
                serve_balance_give(b, &l[i], n);
            break;
        default: /* also beyond max: a batch that came back twice as big */
            serve_balance_take(b, &l[i], n);
            if (l[i].ongoing > 3 * l[i].max)
                serve_balance_give(b, &l[i], l[i].ongoing);
        }
        compare(b, l, in);
    }
    serve_balance_destroy(b);
}
END_TEST

/* What canaries and sessions go by may not change between versions. */
START_TEST(stable_hash)
{
    ck_assert_uint_eq(serve_hash("", 0), UINT64_C(0xc3817c016ba4ff30));
    ck_assert_uint_eq(serve_hash("user-17", 7), UINT64_C(0x4089d44d53714006));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("serve balance");
    TCase *t = tcase_create("balance");

    tcase_add_test(t, room);
    tcase_add_test(t, locality);
    tcase_add_loop_test(t, even, 1, 6);
    tcase_add_test(t, unequal);
    tcase_add_test(t, sessions);
    tcase_add_loop_test(t, property, 0, 20);
    tcase_add_test(t, stable_hash);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
