/* SPDX-License-Identifier: Apache-2.0
 *
 * Whole searches with an engine that is played here: processes that report, end, fail,
 * report again after they were told to end, and report nothing. Whatever happens, each
 * trial begins once, no more than max_concurrent run, and the search finishes once,
 * with all trials over. The events are then replayed, with the same orders.
 */
#include "config.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include "base/mem.h"
#include "tune/rng.h"
#include "tune/search.h"

enum { MOST_TRIALS = 64, MOST_EVENTS = 20000, LIMIT = 5 };

enum event_kind { REPORT, GONE, CLOSE };

struct event {
    enum event_kind kind;
    uint64_t trial;
    int64_t t;
    double metric;
    bool failed;
};

struct engine {
    const char *algorithm, *scheduler;
    uint64_t max_failed;
    struct tune_search *s;
    struct tune_rng rng;
    enum { NONE, RUNS, TOLD, SLEEPS, DONE } state[MOST_TRIALS];
    bool pausing[MOST_TRIALS];
    int64_t t[MOST_TRIALS];
    uint64_t begun, running;
    int finished, resumed, cloned, dropped, kept;
    struct event events[MOST_EVENTS];
    size_t count;
    uint64_t digest; /* of all orders */
};

static json_t *space_spec;
static struct tune_space *space;

static void set_up(void)
{
    space_spec = json_loads("{\"x\": {\"type\": \"uniform\", \"min\": 0, \"max\": 1},"
                            " \"n\": {\"type\": \"int\", \"min\": 1, \"max\": 9}}",
                            0, NULL);
    space = tune_space_create(space_spec, NULL);
}

static void tear_down(void)
{
    tune_space_destroy(space);
    json_decref(space_spec);
}

static struct tune_search *make(const struct engine *e)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *a = json_loads(e->algorithm, JSON_DECODE_ANY, NULL);
    json_t *b = json_loads(e->scheduler, JSON_DECODE_ANY, NULL);
    struct tune_search_options o = {.space = space,
                                    .algorithm = a,
                                    .scheduler = b,
                                    .num_samples = 40,
                                    .max_concurrent = LIMIT,
                                    .max_failed = e->max_failed,
                                    .max_steps = 9};
    struct tune_search *s = tune_search_create(&o, &err);
    ck_assert_msg(s, "%s", err.text);
    json_decref(a);
    json_decref(b);
    return s;
}

static void mix(uint64_t *digest, uint64_t x)
{
    *digest = (*digest ^ x) * 0x9E3779B97F4A7C15u;
    *digest ^= *digest >> 29;
}

static void start(struct engine *e, const struct tune_order *o)
{
    e->state[o->trial] = RUNS;
    e->pausing[o->trial] = false;
    ck_assert_uint_le(++e->running, LIMIT);
}

static void obey(struct engine *e, const struct tune_order *o)
{
    switch (o->kind) {
    case TUNE_ORDER_BEGIN:
        ck_assert_uint_eq(o->trial, e->begun++);
        ck_assert(o->config);
        start(e, o);
        break;
    case TUNE_ORDER_RESUME:
        ck_assert_int_eq(e->state[o->trial], SLEEPS);
        e->resumed++;
        start(e, o);
        break;
    case TUNE_ORDER_CLONE:
        ck_assert_int_eq(e->state[o->trial], RUNS);
        ck_assert(o->config && o->source < e->begun && o->source != o->trial);
        e->t[o->trial] = o->source_step;
        e->cloned++;
        break;
    case TUNE_ORDER_PAUSE:
    case TUNE_ORDER_END:
        ck_assert_int_eq(e->state[o->trial], RUNS);
        e->state[o->trial] = TOLD;
        e->pausing[o->trial] = o->kind == TUNE_ORDER_PAUSE;
        break;
    case TUNE_ORDER_DROP:
        ck_assert_int_eq(e->state[o->trial], SLEEPS);
        e->state[o->trial] = DONE;
        e->dropped++;
        break;
    case TUNE_ORDER_KEEP:
        e->kept++;
        break;
    case TUNE_ORDER_FINISH:
        e->finished++;
        break;
    }
}

static void take_orders(struct engine *e, struct tune_search *s, uint64_t *digest,
                        bool obeys)
{
    struct tune_order o;
    while (tune_search_order(s, &o)) {
        mix(digest, o.kind);
        mix(digest, o.trial * 64 + o.source);
        char *text = o.config ? json_dumps(o.config, JSON_COMPACT) : NULL;
        for (const char *c = text; c && *c; c++)
            mix(digest, (uint64_t)*c);
        free(text);
        if (obeys)
            obey(e, &o);
        json_decref(o.config);
    }
}

static void apply(struct tune_search *s, const struct event *v)
{
    struct rwf_err err = RWF_ERR_INIT;
    int rc = 0;
    if (v->kind == REPORT)
        rc = tune_search_report(s, v->trial, v->t, v->metric, &err);
    else if (v->kind == GONE)
        rc = tune_search_gone(s, v->trial, v->failed, &err);
    else
        tune_search_close(s);
    ck_assert_msg(!rc, "%s", err.text);
}

/* What a process does next. */
static struct event live(struct engine *e)
{
    uint64_t trial = tune_rng_below(&e->rng, e->begun);
    struct event v = {REPORT, trial, e->t[trial] + 1, tune_rng_uniform(&e->rng), false};
    uint64_t what = tune_rng_below(&e->rng, 100);
    bool there = e->state[trial] == RUNS || e->state[trial] == TOLD;
    if (what < 2)
        v.t -= 2; /* backwards */
    else if (what == 3 && e->state[trial] == RUNS)
        v.metric = NAN;
    else if (there && (what < 6 || (e->state[trial] == TOLD && what < 40)))
        v = (struct event){GONE, trial, 0, 0, what == 4};
    else if (what == 99 && e->count > 600)
        v.kind = CLOSE;
    /* All but a pause that worked out is the end of it. */
    if (v.kind == GONE) {
        e->running--;
        e->state[trial] =
            e->pausing[trial] && !v.failed && e->state[trial] == TOLD ? SLEEPS : DONE;
    }
    if (v.kind == REPORT && e->state[trial] == RUNS && v.t > e->t[trial])
        e->t[trial] = v.t;
    return v;
}

static void play(struct engine *e)
{
    e->s = make(e);
    take_orders(e, e->s, &e->digest, true);
    while (!e->finished) {
        ck_assert_uint_lt(e->count, MOST_EVENTS);
        struct event v = live(e);
        e->events[e->count++] = v;
        apply(e->s, &v);
        take_orders(e, e->s, &e->digest, true);
    }
    for (uint64_t i = 0; i < e->begun; i++)
        ck_assert_int_eq(e->state[i], DONE);
    ck_assert_int_eq(e->finished, 1);
    ck_assert_uint_eq(e->running, 0);
}

static void replay(struct engine *e)
{
    struct tune_search *s = make(e);
    uint64_t digest = 0, best[2] = {0, 0};
    double metric[2] = {0, 0};
    take_orders(e, s, &digest, false);
    for (size_t i = 0; i < e->count; i++) {
        apply(s, &e->events[i]);
        take_orders(e, s, &digest, false);
    }
    ck_assert_uint_eq(digest, e->digest);
    bool any = tune_search_best(s, &best[0], &metric[0]);
    ck_assert_int_eq(any, tune_search_best(e->s, &best[1], &metric[1]));
    ck_assert(best[0] == best[1] && metric[0] == metric[1]);
    tune_search_destroy(s);
}

static const char *const schedulers[] = {
    "\"none\"",
    "{\"type\": \"asha\", \"reduction_factor\": 3}",
    "{\"type\": \"asha\", \"reduction_factor\": 3, \"variant\": \"promote\"}",
    "\"hyperband\"",
    "\"median\"",
    "{\"type\": \"pbt\", \"perturbation_interval\": 2}",
};

START_TEST(searches_finish)
{
    int resumed = 0, cloned = 0, dropped = 0, begun = 0, too_many = 0;
    for (uint64_t round = 0; round < 12; round++) {
        struct engine *e = rwf_xcalloc(1, sizeof(*e));
        e->algorithm = round % 2 ? "{\"type\": \"tpe\", \"seed\": 4}" : "\"random\"";
        e->scheduler = schedulers[_i];
        e->max_failed = round % 3 ? 40 : 2;
        tune_rng_init(&e->rng, round, TUNE_FOR_USER, (uint64_t)_i);
        play(e);
        replay(e);
        ck_assert(!tune_search_too_many_failed(e->s) || e->max_failed == 2);
        too_many += tune_search_too_many_failed(e->s);
        resumed += e->resumed;
        cloned += e->cloned;
        dropped += e->dropped;
        begun += (int)e->begun;
        tune_search_destroy(e->s);
        free(e);
    }
    ck_assert_int_gt(begun, 100);
    ck_assert_int_gt(too_many, 0);
    ck_assert_int_eq(resumed > 0, _i == 2 || _i == 3);
    ck_assert_int_eq(dropped > 0, _i == 2 || _i == 3);
    ck_assert_int_eq(cloned > 0, _i == 5);
}
END_TEST

START_TEST(unknown_trials)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct engine e = {
        .algorithm = "\"random\"", .scheduler = "\"none\"", .max_failed = 9};
    struct tune_search *s = make(&e);
    uint64_t trial;
    double metric;
    ck_assert(tune_search_report(s, 5, 1, 1, &err));
    ck_assert_str_eq(err.text, "there is no trial 5");
    ck_assert(tune_search_gone(s, 99, false, &err));
    ck_assert(!tune_search_best(s, &trial, &metric));
    ck_assert(!tune_search_report(s, 3, 1, 0.5, &err));
    ck_assert(!tune_search_report(s, 2, 1, 0.7, &err));
    ck_assert(tune_search_best(s, &trial, &metric));
    ck_assert_uint_eq(trial, 3);
    tune_search_destroy(s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tune_search");
    TCase *t = tcase_create("search");
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, searches_finish, 0, (int)RWF_COUNT(schedulers));
    tcase_add_test(t, unknown_trials);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
