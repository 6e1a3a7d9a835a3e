/* SPDX-License-Identifier: Apache-2.0
 *
 * The queue against a slow model: an array that is searched.
 */
#include "config.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "serve/queue.h"
#include "serve_random.h"

START_TEST(order)
{
    struct serve_queue *q = serve_queue_create(10);
    struct serve_waiting w[4] = {{.priority = 0, .arrived = 5},
                                 {.priority = 1, .arrived = 6},
                                 {.priority = 0, .arrived = 7},
                                 {.priority = 1, .arrived = 8}};
    static const int want[] = {1, 3, 0, 2};

    ck_assert_ptr_null(serve_queue_take(q));
    ck_assert_int_eq(serve_queue_oldest(q), 0);
    for (int i = 0; i < 4; i++)
        ck_assert(serve_queue_put(q, &w[i]));
    ck_assert_int_eq(serve_queue_oldest(q), 5);
    for (int i = 0; i < 4; i++) {
        ck_assert_ptr_eq(serve_queue_first(q), &w[want[i]]);
        ck_assert_ptr_eq(serve_queue_take(q), &w[want[i]]);
        ck_assert(!serve_waiting_queued(&w[want[i]]));
    }
    ck_assert_uint_eq(serve_queue_count(q), 0);
    serve_queue_destroy(q);
}
END_TEST

START_TEST(bounds)
{
    struct serve_queue *q = serve_queue_create(2);
    struct serve_waiting w[4] = {{0}};

    ck_assert(serve_queue_put(q, &w[0]));
    ck_assert(serve_queue_put(q, &w[1]));
    ck_assert(!serve_queue_put(q, &w[2]));
    ck_assert(!serve_waiting_queued(&w[2]));
    ck_assert_uint_eq(serve_queue_count(q), 2);
    /* One whose replica died comes back though it is full, and to its turn. */
    struct serve_waiting *taken = serve_queue_take(q);
    ck_assert(serve_queue_put(q, &w[2]));
    serve_queue_put_back(q, taken);
    ck_assert_uint_eq(serve_queue_count(q), 3);
    ck_assert_ptr_eq(serve_queue_take(q), taken);
    serve_queue_limit(q, 0);
    ck_assert(!serve_queue_put(q, &w[3]));
    serve_queue_limit(q, -1);
    ck_assert(serve_queue_put(q, &w[3]));
    serve_queue_destroy(q);
}
END_TEST

START_TEST(deadlines)
{
    struct serve_queue *q = serve_queue_create(-1);
    struct serve_waiting w[3] = {{.deadline = 30}, {.deadline = 0}, {.deadline = 20}};

    for (int i = 0; i < 3; i++)
        ck_assert(serve_queue_put(q, &w[i]));
    ck_assert_int_eq(serve_queue_deadline(q), 20);
    ck_assert_ptr_null(serve_queue_expire(q, 19));
    ck_assert_ptr_eq(serve_queue_expire(q, 40), &w[2]);
    ck_assert_ptr_eq(serve_queue_expire(q, 40), &w[0]);
    ck_assert_ptr_null(serve_queue_expire(q, 40));
    ck_assert_int_eq(serve_queue_deadline(q), 0);
    serve_queue_remove(q, &w[0]); /* it is not there: harmless */
    ck_assert_ptr_eq(serve_queue_take(q), &w[1]);
    serve_queue_destroy(q);
}
END_TEST

/* --- the slow model --- */

enum { ITEMS = 60 };

struct model {
    struct serve_waiting w[ITEMS];
    bool in[ITEMS], was[ITEMS];
    uint64_t turn[ITEMS];
};

static int model_first(const struct model *m, int by)
{
    int best = -1;

    for (int i = 0; i < ITEMS; i++) {
        const struct serve_waiting *a = &m->w[i], *b = best < 0 ? NULL : &m->w[best];
        if (!m->in[i] || (by == 1 && a->deadline == 0))
            continue;
        bool less = b == NULL || m->turn[i] < m->turn[best];
        if (b != NULL && by == 0 && a->priority != b->priority)
            less = a->priority > b->priority;
        if (b != NULL && by == 1 && a->deadline != b->deadline)
            less = a->deadline < b->deadline;
        if (less)
            best = i;
    }
    return best;
}

static size_t model_count(const struct model *m)
{
    size_t n = 0;

    for (int i = 0; i < ITEMS; i++)
        n += m->in[i];
    return n;
}

static void compare(const struct serve_queue *q, const struct model *m, int seed)
{
    int first = model_first(m, 0), due = model_first(m, 1), oldest = model_first(m, 2);

    ck_assert_msg(serve_queue_first(q) == (first < 0 ? NULL : &m->w[first]), "seed %d",
                  seed);
    ck_assert_msg(serve_queue_deadline(q) == (due < 0 ? 0 : m->w[due].deadline),
                  "seed %d", seed);
    ck_assert_msg(serve_queue_oldest(q) == (oldest < 0 ? 0 : m->w[oldest].arrived),
                  "seed %d", seed);
    ck_assert_msg(serve_queue_count(q) == model_count(m), "seed %d", seed);
}

static void put(struct serve_queue *q, struct model *m, int i, uint64_t *chance,
                uint64_t step)
{
    m->w[i] = (struct serve_waiting){
        .priority = random_below(chance, 4) - 1,
        .arrived = (int64_t)step,
        .deadline = random_below(chance, 2) * (1 + random_below(chance, 50)),
    };
    m->in[i] = serve_queue_put(q, &m->w[i]);
    ck_assert_int_eq(m->in[i], model_count(m) - (size_t)m->in[i] < 40);
    m->turn[i] = step;
}

static void act(struct serve_queue *q, struct model *m, uint64_t *chance, uint64_t step)
{
    int i = random_below(chance, ITEMS), first;

    switch (random_below(chance, 6)) {
    case 0: /* take, and sometimes bring it back later */
        first = model_first(m, 0);
        serve_queue_take(q);
        if (first >= 0) {
            m->in[first] = false;
            m->was[first] = true;
        }
        break;
    case 1:
        serve_queue_remove(q, &m->w[i]);
        m->in[i] = m->was[i] = false;
        break;
    case 2:
        first = model_first(m, 1);
        i = random_below(chance, 50);
        if (serve_queue_expire(q, i) != NULL)
            m->in[first] = false;
        else
            ck_assert(first < 0 || m->w[first].deadline > i);
        break;
    case 3:
        if (m->was[i] && !m->in[i]) {
            serve_queue_put_back(q, &m->w[i]);
            m->in[i] = true;
            m->was[i] = false;
        }
        break;
    default:
        if (!m->in[i]) {
            m->was[i] = false;
            put(q, m, i, chance, step);
        }
    }
}

START_TEST(property)
{
    uint64_t chance = (uint64_t)_i;
    struct serve_queue *q = serve_queue_create(40);
    struct model m;

    memset(&m, 0, sizeof(m));
    for (uint64_t step = 1; step < 3000; step++) {
        act(q, &m, &chance, step);
        compare(q, &m, _i);
    }
    serve_queue_destroy(q);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("serve queue");
    TCase *t = tcase_create("queue");

    tcase_add_test(t, order);
    tcase_add_test(t, bounds);
    tcase_add_test(t, deadlines);
    tcase_add_loop_test(t, property, 0, 20);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
