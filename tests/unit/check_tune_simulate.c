/* SPDX-License-Identifier: Apache-2.0
 *
 * Schedulers with a virtual clock, as in appendix A of the ASHA paper: 25 workers, 256
 * trials on stored learning curves, workers that are slower by a factor of 1 + |z| with
 * z normal, and trials that are lost with some probability for each unit of time.
 * Synchronous halving is hyperband's bracket of just these 256.
 */
#include "config.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/mem.h"
#include "tune/rng.h"
#include "tune/scheduler.h"
#include "tune_curves.h"

enum { WORKERS = 25, TRIALS = 256, MAX_T = 256 };

struct world {
    const char *spec;
    double slowness, loss;
    uint64_t seed;
    struct tune_scheduler *s;
    struct {
        bool busy;
        uint64_t trial;
        double next; /* when its next report comes */
    } worker[WORKERS];
    int64_t t[TRIALS];
    double slow[TRIALS];
    uint64_t begun;
    double now, first, last; /* when a trial reached MAX_T first; when all was over */
    double work, best;       /* steps in all; the best final metric */
    int complete;
};

static double normal(uint64_t seed, uint64_t trial, uint64_t what)
{
    struct tune_rng r;
    tune_rng_init(&r, seed * 1000003 + what, TUNE_FOR_USER, trial);
    return tune_normal_quantile(tune_rng_uniform(&r));
}

static double loss_at(uint64_t trial, int64_t t)
{
    const struct curve *c = &curves[trial];
    return (double)c->floor + (double)c->height * pow((double)t, -(double)c->rate) +
           (double)c->noise * normal(77, trial, (uint64_t)t);
}

static void assign(struct world *w, uint64_t trial)
{
    int i = 0;
    while (w->worker[i].busy)
        i++;
    w->slow[trial] =
        1 + fabs(w->slowness * normal(w->seed, trial, (uint64_t)w->t[trial]));
    w->worker[i].busy = true;
    w->worker[i].trial = trial;
    w->worker[i].next = w->now + w->slow[trial];
}

static int busy(const struct world *w)
{
    int n = 0;
    for (int i = 0; i < WORKERS; i++)
        n += w->worker[i].busy;
    return n;
}

/* Gives free workers something to do: who may be resumed first, then new trials. */
static void fill(struct world *w)
{
    struct tune_decision d;
    while (busy(w) < WORKERS) {
        if (tune_scheduler_next(w->s, &d)) {
            if (d.action == TUNE_RESUME)
                assign(w, d.trial);
        } else if (w->begun < TRIALS) {
            tune_scheduler_start(w->s, w->begun, NULL, NULL);
            assign(w, w->begun++);
            if (w->begun == TRIALS)
                tune_scheduler_close(w->s);
        } else {
            return;
        }
    }
}

static bool is_lost(const struct world *w, uint64_t trial)
{
    struct tune_rng r;
    tune_rng_init(&r, w->seed * 31 + (uint64_t)w->t[trial], TUNE_FOR_USER,
                  trial + 10000);
    return tune_rng_uniform(&r) > pow(1 - w->loss, w->slow[trial]);
}

static void report(struct world *w, int i)
{
    uint64_t trial = w->worker[i].trial;
    struct tune_decision d;
    w->now = w->last = w->worker[i].next;
    w->work++;
    if (is_lost(w, trial)) {
        w->worker[i].busy = false;
        tune_scheduler_end(w->s, trial);
        return;
    }
    double metric = loss_at(trial, ++w->t[trial]);
    ck_assert(!tune_scheduler_report(w->s, trial, w->t[trial], metric, &d, NULL));
    if (w->t[trial] == MAX_T) {
        ck_assert_int_eq(d.action, TUNE_STOP);
        w->first = w->complete++ ? w->first : w->now;
        w->best = fmin(w->best, metric);
    }
    if (d.action == TUNE_CONTINUE)
        w->worker[i].next += w->slow[trial];
    else
        w->worker[i].busy = false;
    if (d.action == TUNE_STOP)
        tune_scheduler_end(w->s, trial);
}

static struct world simulate(const char *type, double slowness, double loss,
                             uint64_t seed)
{
    struct world w = {.slowness = slowness,
                      .loss = loss,
                      .seed = seed,
                      .best = INFINITY,
                      .first = INFINITY};
    json_t *spec = json_loads(type, JSON_DECODE_ANY, NULL);
    struct tune_scheduler_options o = {.scheduler = spec, .max_steps = MAX_T};
    w.s = tune_scheduler_create(&o, NULL);
    for (fill(&w); busy(&w); fill(&w)) {
        int next = -1;
        for (int i = 0; i < WORKERS; i++)
            if (w.worker[i].busy &&
                (next < 0 || w.worker[i].next < w.worker[next].next))
                next = i;
        report(&w, next);
    }
    tune_scheduler_destroy(w.s);
    json_decref(spec);
    return w;
}

#define ASHA "{\"type\": \"asha\", \"reduction_factor\": 4}"
#define PROMOTE                                                                        \
    "{\"type\": \"asha\", \"reduction_factor\": 4, \"variant\": \"promote\"}"
#define ASHA_4 "{\"type\": \"asha\", \"reduction_factor\": 4, \"grace_period\": 4}"
#define PROMOTE_4                                                                      \
    "{\"type\": \"asha\", \"reduction_factor\": 4, \"grace_period\": 4, \"variant\": " \
    "\"promote\"}"
#define HALVING "{\"type\": \"hyperband\", \"reduction_factor\": 4}"

/* Of all trained to the end, how many end at least as well. */
static int rank_of(double best)
{
    int better = 0;
    for (uint64_t trial = 0; trial < TRIALS; trial++)
        better += loss_at(trial, MAX_T) <= best;
    return better;
}

/* The very best is found, for a third of the work at most: of training all to the end;
 * and of training one after the other in any order until it comes, half of them on
 * average. */
START_TEST(asha_saves_work)
{
    const char *type = _i ? PROMOTE_4 : ASHA_4;
    double full = (double)TRIALS * MAX_T;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct world w = simulate(type, 0.3, 0, seed);
        int rank = rank_of(w.best);
        double to_reach = (TRIALS + 1.0) / (rank + 1) * MAX_T;
        printf(
            "asha%s: rank %d, %.1f %% of all work, %.1f %% of the work to reach it\n",
            _i ? " promote" : "", rank, 100 * w.work / full, 100 * w.work / to_reach);
        ck_assert_int_eq(rank, 1);
        ck_assert_double_le(w.work / full, 1 / 3.0);
        ck_assert_double_le(w.work / to_reach, 1 / 3.0);
    }
}
END_TEST

static const struct weather {
    double slowness, loss;
} weathers[] = {{0, 0},     {0.24, 0},     {0.56, 0},    {1.33, 0},
                {0, 0.001}, {0.56, 0.001}, {1.33, 0.003}};

/* Mean times over 20 seeds until a trial was trained to the end; one that loses all
 * counts the end of its search, and does it again. */
static void mean_times(const char *type, const struct weather *at, double *first,
                       double *last)
{
    *first = *last = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct world w = simulate(type, at->slowness, at->loss, seed);
        double before = 0;
        for (uint64_t again = 1; !w.complete && again < 20; again++) {
            before += w.last;
            w = simulate(type, at->slowness, at->loss, seed + 1000 * again);
        }
        *first += (before + w.first) / 20;
        *last += (before + w.last) / 20;
    }
}

START_TEST(asha_is_no_later_than_halving)
{
    double asha[2], promote[2], halving[2];
    const struct weather *at = &weathers[_i];
    mean_times(ASHA, at, &asha[0], &asha[1]);
    mean_times(PROMOTE, at, &promote[0], &promote[1]);
    mean_times(HALVING, at, &halving[0], &halving[1]);
    printf("slow %.2f lost %.3f: first %4.0f, promote %4.0f, halving %4.0f; all over "
           "%4.0f, "
           "%4.0f, %4.0f\n",
           at->slowness, at->loss, asha[0], promote[0], halving[0], asha[1], promote[1],
           halving[1]);
    /* Stopping trains several to the end, the first of them soon; promotion does as
     * much as halving. Where most are lost on the way, the fate of its one last trial
     * decides. */
    ck_assert_double_le(asha[0], halving[0]);
    if (at->slowness > 0 && at->loss < 0.002) {
        ck_assert_double_le(promote[0], halving[0]);
        ck_assert_double_le(promote[1], halving[1]);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tune_simulate");
    TCase *t = tcase_create("clock");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, asha_saves_work, 0, 2);
    tcase_add_loop_test(t, asha_is_no_later_than_halving, 0, (int)RWF_COUNT(weathers));
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
