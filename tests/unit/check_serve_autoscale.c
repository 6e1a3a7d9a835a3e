/* SPDX-License-Identifier: Apache-2.0
 *
 * The autoscaler in simulated time: a step, a spike shorter than the delay, flapping, a
 * replica that dies, zero and back, bounds; and for random loads what must always hold.
 */
#include "config.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "serve/autoscale.h"
#include "serve_random.h"

#define S RWF_NS_PER_S
#define TICK (S / 10)

static const struct serve_autoscaling ray = {
    .on = true,
    .min = 1,
    .max = 100,
    .initial = -1,
    .target = 2,
    .up_delay = 30 * S,
    .down_delay = 600 * S,
    .zero_delay = 600 * S,
    .look_back = 30 * S,
    .up_factor = 1,
    .down_factor = 1,
};

struct world {
    struct serve_scaler scaler;
    int64_t now;
    int replicas;
    int changes, ups, downs;
    int64_t last_change;
    char reason[200]; /* of the last change */
};

static struct world start(const struct serve_autoscaling *how, int replicas)
{
    struct world w = {.replicas = replicas, .now = 1000 * S};

    serve_scaler_init(&w.scaler, how);
    return w;
}

static void tick(struct world *w, double ongoing)
{
    struct serve_scale d;

    w->now += TICK;
    serve_scaler_see(&w->scaler, w->now, ongoing);
    serve_scaler_decide(&w->scaler, w->now, w->replicas, &d);
    if (d.replicas == w->replicas) {
        ck_assert_str_eq(d.reason, "");
        return;
    }
    ck_assert_str_ne(d.reason, "");
    strcpy(w->reason, d.reason);
    w->changes++;
    w->ups += d.replicas > w->replicas;
    w->downs += d.replicas < w->replicas;
    w->replicas = d.replicas;
    w->last_change = w->now;
}

static void hold(struct world *w, double ongoing, double seconds)
{
    for (int i = 0; i < (int)(seconds * 10 + 0.5); i++)
        tick(w, ongoing);
}

START_TEST(step)
{
    struct world w = start(&ray, 1);

    hold(&w, 2, 60);
    ck_assert_int_eq(w.changes, 0);
    hold(&w, 20, 29);
    ck_assert_int_eq(w.changes, 0); /* the delay */
    hold(&w, 20, 4);
    ck_assert_int_eq(w.ups, 1);
    ck_assert_int_ge(w.replicas, 9);
    ck_assert_ptr_nonnull(strstr(w.reason, "target 2 of a replica: 1 -> "));
    hold(&w, 20, 120);
    ck_assert_int_eq(w.replicas, 10);
    ck_assert_int_le(w.ups, 2);
    hold(&w, 4, 590);
    ck_assert_int_eq(w.replicas, 10);
    hold(&w, 4, 60);
    ck_assert_int_eq(w.downs, 1);
    /* It goes down only to the most that was wanted in that time: the mean still fell.
     */
    hold(&w, 4, 700);
    ck_assert_int_eq(w.replicas, 2);
    hold(&w, 0, 3000);
    ck_assert_int_eq(w.replicas, 1);
}
END_TEST

/* A spike that is over before the delay is. */
START_TEST(spike)
{
    struct serve_autoscaling how = ray;
    how.look_back = 5 * S;
    struct world w = start(&how, 2);

    for (int i = 0; i < 20; i++) {
        hold(&w, 3, 60);
        hold(&w, 100, 20);
    }
    ck_assert_int_eq(w.changes, 0);
}
END_TEST

/* A load that flaps faster than the delays: at most one change in any window of a
 * delay. */
START_TEST(flapping)
{
    static const double periods[] = {1, 7, 20, 31, 45, 100};
    struct serve_autoscaling how = ray;
    how.down_delay = 60 * S;
    struct world w = start(&how, 1);

    for (int i = 0; i < 200; i++) {
        int64_t before = w.last_change;
        int changes = w.changes;
        for (int k = 0; k < (int)(periods[_i] * 10); k++) {
            tick(&w, i % 2 ? 40 : 0);
            if (w.changes > changes) {
                ck_assert_msg(before == 0 || w.last_change - before >= 30 * S,
                              "two changes in %lld ms",
                              (long long)((w.last_change - before) / RWF_NS_PER_MS));
                before = w.last_change;
                changes = w.changes;
            }
        }
    }
    if (periods[_i] <= 20) /* the mean of 30 s is all that it sees: it settles */
        ck_assert_int_le(w.changes, 3);
}
END_TEST

/* A replica that dies changes nothing: its requests are still there, and it is
 * replaced. */
START_TEST(death)
{
    struct world w = start(&ray, 5);

    hold(&w, 10, 100);
    ck_assert_int_eq(w.changes, 0);
    /* Its two requests queue until it is back. */
    hold(&w, 10, 5);
    hold(&w, 10, 1000);
    ck_assert_int_eq(w.changes, 0);
    ck_assert_int_eq(w.replicas, 5);
}
END_TEST

START_TEST(zero_and_back)
{
    struct serve_autoscaling how = ray;
    how.min = 0;
    how.down_delay = 60 * S;
    how.zero_delay = 120 * S;
    struct world w = start(&how, 3);

    hold(&w, 6, 60);
    ck_assert_int_eq(w.replicas, 3);
    hold(&w, 0, 100);
    ck_assert_int_ge(w.replicas, 1); /* fewer, but not none before zero_delay */
    hold(&w, 0, 21);
    ck_assert_int_eq(w.replicas, 0);
    ck_assert_ptr_nonnull(strstr(w.reason, "nothing to do"));
    hold(&w, 0, 1000);
    ck_assert_int_eq(w.replicas, 0);
    tick(&w, 1); /* at once */
    ck_assert_int_eq(w.replicas, 1);
    ck_assert_ptr_nonnull(strstr(w.reason, "a request is there"));
    ck_assert_ptr_nonnull(strstr(w.reason, "0 -> 1"));
    hold(&w, 50, 20);
    ck_assert_int_eq(w.replicas, 1); /* more of them only after the delay */
    hold(&w, 50, 60);
    ck_assert_int_gt(w.replicas, 20);
}
END_TEST

/* A request once a minute keeps the last replica. */
START_TEST(not_idle)
{
    struct serve_autoscaling how = ray;
    how.min = 0;
    how.down_delay = how.zero_delay = 90 * S;
    struct world w = start(&how, 1);

    for (int i = 0; i < 60; i++) {
        hold(&w, 0, 59.9);
        tick(&w, 1);
    }
    ck_assert_int_eq(w.changes, 0);
    hold(&w, 0, 91);
    ck_assert_int_eq(w.replicas, 0);
}
END_TEST

START_TEST(bounds)
{
    struct serve_autoscaling how = ray;
    how.min = 2;
    how.max = 4;
    how.up_delay = 0;
    struct world w = start(&how, 1);

    tick(&w, 0);
    ck_assert_int_eq(w.replicas, 2);
    ck_assert_ptr_nonnull(strstr(w.reason, "outside of min and max"));
    hold(&w, 1e6, 60);
    ck_assert_int_eq(w.replicas, 4);
    how.max = 3; /* the recipe says less now: at once */
    serve_scaler_configure(&w.scaler, &how);
    tick(&w, 1e6);
    ck_assert_int_eq(w.replicas, 3);
    how.look_back = 10 * S;
    serve_scaler_configure(&w.scaler, &how);
    ck_assert_double_eq(serve_scaler_mean(&w.scaler, w.now), 1e6);
    ck_assert_int_eq(serve_scaler_initial(&how), 2);
    how.initial = 3;
    ck_assert_int_eq(serve_scaler_initial(&how), 3);
}
END_TEST

/* A factor makes steps larger or smaller. */
START_TEST(factors)
{
    struct serve_autoscaling how = ray;
    how.up_delay = how.down_delay = 0;
    how.look_back = 1;
    how.up_factor = 0.5;
    struct world w = start(&how, 2);
    struct serve_scale d;

    serve_scaler_see(&w.scaler, w.now, 20); /* 10 wanted, half of the way: 6 */
    serve_scaler_decide(&w.scaler, w.now, 2, &d);
    ck_assert_int_eq(d.replicas, 6);
    how.up_factor = 2;
    serve_scaler_init(&w.scaler, &how);
    serve_scaler_see(&w.scaler, w.now, 20);
    serve_scaler_decide(&w.scaler, w.now, 2, &d);
    ck_assert_int_eq(d.replicas, 18);
    how.down_factor = 0.5;
    serve_scaler_init(&w.scaler, &how);
    serve_scaler_see(&w.scaler, w.now, 4);
    serve_scaler_decide(&w.scaler, w.now, 10, &d);
    ck_assert_int_eq(d.replicas, 6);
}
END_TEST

/* The mean is that of the look-back period, however seldom or often it is told. */
START_TEST(means)
{
    struct serve_scaler s;

    serve_scaler_init(&s, &ray);
    ck_assert_double_eq(serve_scaler_mean(&s, 5 * S), 0);
    serve_scaler_see(&s, 10 * S, 4);
    ck_assert_double_eq(serve_scaler_mean(&s, 10 * S), 4);
    serve_scaler_see(&s, 20 * S, 0);
    ck_assert_double_eq_tol(serve_scaler_mean(&s, 20 * S), 4, 1e-9);
    ck_assert_double_eq_tol(serve_scaler_mean(&s, 30 * S), 2, 1e-9);
    serve_scaler_see(&s, 1000 * S, 8);
    ck_assert_double_eq_tol(serve_scaler_mean(&s, 1000 * S), 0, 1e-9);
    for (int i = 0; i < 1000; i++)
        serve_scaler_see(&s, 1000 * S + i * (S / 20), i % 2 ? 2 : 4);
    ck_assert_double_eq_tol(serve_scaler_mean(&s, 1050 * S), 3, 0.1);
    serve_scaler_see(&s, INT64_C(1) << 62, 1); /* a clock that jumps costs nothing */
    ck_assert_double_eq_tol(serve_scaler_mean(&s, INT64_C(1) << 62), 2, 1e-9);
}
END_TEST

/* Asking only when wake says so gives the same decisions as asking all the time. */
START_TEST(wakes)
{
    struct serve_autoscaling how = ray;
    how.min = 0;
    how.down_delay = how.zero_delay = 50 * S;
    struct serve_scaler s;
    struct serve_scale d;
    int64_t now = S;
    int replicas = 1, asked = 0;

    serve_scaler_init(&s, &how);
    serve_scaler_see(&s, now, 20);
    for (int64_t end = 300 * S; now < end; asked++) {
        serve_scaler_see(&s, now, 20);
        serve_scaler_decide(&s, now, replicas, &d);
        replicas = d.replicas;
        if (d.wake == 0)
            break;
        ck_assert_int_gt(d.wake, now);
        now = d.wake;
    }
    ck_assert_int_eq(replicas, 10);
    ck_assert_int_lt(asked, 20);
    serve_scaler_see(&s, now, 0);
    for (int64_t end = now + 400 * S; now < end; asked++) {
        serve_scaler_see(&s, now, 0);
        serve_scaler_decide(&s, now, replicas, &d);
        replicas = d.replicas;
        if (d.wake == 0)
            break;
        now = d.wake;
    }
    ck_assert_int_eq(replicas, 0);
    ck_assert_int_eq(d.wake, 0);
    ck_assert_int_lt(asked, 300);
}
END_TEST

/* Random loads and knobs: bounds hold, no change before its delay is over, up only when
 * more than the target is there, never to zero with a request. */
START_TEST(property)
{
    uint64_t chance = (uint64_t)_i;
    struct serve_autoscaling how = ray;
    how.min = random_below(&chance, 3);
    how.max = how.min + 1 + random_below(&chance, 20);
    how.target = 0.5 + random_unit(&chance) * 4;
    how.up_delay = random_below(&chance, 60) * S;
    how.down_delay = random_below(&chance, 120) * S;
    how.zero_delay = random_below(&chance, 120) * S;
    how.look_back = (1 + random_below(&chance, 60)) * S;
    struct world w = start(&how, how.min);
    double ongoing = 0;

    for (int i = 0; i < 20000; i++) {
        int before = w.replicas, changes = w.changes;
        int64_t last = w.last_change;
        if (random_below(&chance, 50) == 0)
            ongoing = random_below(&chance, 3) == 0 ? 0 : random_below(&chance, 60);
        tick(&w, ongoing);
        ck_assert_int_ge(w.replicas, how.min);
        ck_assert_int_le(w.replicas, how.max);
        ck_assert(w.replicas > 0 || ongoing == 0);
        if (w.changes == changes)
            continue;
        bool up = w.replicas > before, zero = w.replicas == 0 || before == 0;
        int64_t delay = up ? how.up_delay : how.down_delay;
        ck_assert_msg(zero || w.now - last >= delay, "seed %d", _i);
        ck_assert_msg(
            zero || (up == (serve_scaler_mean(&w.scaler, w.now) / how.target > before)),
            "seed %d", _i);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("serve autoscale");
    TCase *t = tcase_create("autoscale");

    tcase_add_test(t, step);
    tcase_add_test(t, spike);
    tcase_add_loop_test(t, flapping, 0, 6);
    tcase_add_test(t, death);
    tcase_add_test(t, zero_and_back);
    tcase_add_test(t, not_idle);
    tcase_add_test(t, bounds);
    tcase_add_test(t, factors);
    tcase_add_test(t, means);
    tcase_add_test(t, wakes);
    tcase_add_loop_test(t, property, 0, 30);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
