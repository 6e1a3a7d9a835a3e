/* SPDX-License-Identifier: Apache-2.0
 *
 * A search without an engine: what it decides about made-up reports, and that a replay
 * of the same calls decides the same.
 */
#include "config.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "search/search.h"
#include "tune/rng.h"

#define SPACE "\"space\":{\"x\":{\"type\":\"uniform\",\"min\":0,\"max\":1}}"
#define HEAD "{\"metric\":\"loss\",\"mode\":\"min\"," SPACE

static struct search *make(const char *text)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *body = json_loads(text, 0, NULL);
    ck_assert_msg(body != NULL, "%s", text);
    struct search *s = search_create(body, 0, &err);
    ck_assert_msg(s != NULL, "%s", err.text);
    json_decref(body);
    return s;
}

static void begin(struct search *s, uint32_t trial)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *config = search_suggest(s, trial);
    ck_assert_msg(config != NULL, "no suggestion for trial %u", (unsigned)trial);
    ck_assert_msg(search_begin(s, trial, config, &err) == 0, "%s", err.text);
    search_attempt(s, trial);
    json_decref(config);
}

static void report(struct search *s, uint32_t trial, const char *line)
{
    json_t *json = json_loads(line, 0, NULL);
    ck_assert_msg(json != NULL, "%s", line);
    const json_t *step = json_object_get(json, "step");
    search_report(s, trial, json, json_is_number(step) ? json_number_value(step) : NAN);
    json_decref(json);
}

static void loss(struct search *s, uint32_t trial, int step, double value)
{
    char line[100];
    snprintf(line, sizeof(line), "{\"step\":%d,\"loss\":%.17g}", step, value);
    report(s, trial, line);
}

/* "stop 2 pause 3 ", and the reason of the last one. */
static const char *actions(struct search *s, bool room, char why[200])
{
    static const char *const names[] = {"stop",  "pause",   "resume",
                                        "clone", "promote", "fail"};
    static char text[1000];
    struct search_action a;
    text[0] = '\0';
    while (search_next(s, room, &a)) {
        size_t len = strlen(text);
        snprintf(text + len, sizeof(text) - len, "%s %u ", names[a.verb],
                 (unsigned)a.trial);
        if (why != NULL)
            snprintf(why, 200, "%s", a.why);
        json_decref(a.config);
    }
    return text;
}

static void expect(struct search *s, const char *want)
{
    const char *got = actions(s, false, NULL);
    ck_assert_str_eq(got, want);
}

static void ended(struct search *s, uint32_t trial, enum search_status status)
{
    search_ended(s, trial, status, NULL);
}

/* --- reports --- */

START_TEST(first_reports)
{
    static const struct {
        const char *line, *want, *why;
    } cases[] = {
        {"{\"loss\":1}", "", NULL},
        {"{\"progress\":0.5,\"message\":\"hello\"}", "", NULL},
        {"{\"acc\":1,\"f1\":2}", "fail 0 ",
         "its first report has no 'loss'; it reported: acc, f1"},
        {"{\"loss\":null,\"acc\":1}", "fail 0 ",
         "its 'loss' is not a finite number; it reported: loss, acc"},
        {"{\"loss\":\"nan\"}", "fail 0 ",
         "its 'loss' is not a finite number; it reported: loss"},
    };
    for (size_t i = 0; i < RWF_COUNT(cases); i++) {
        struct search *s = make(HEAD ",\"num_samples\":2}");
        char why[200] = "";
        begin(s, 0);
        report(s, 0, cases[i].line);
        ck_assert_str_eq(actions(s, false, why), cases[i].want);
        if (cases[i].why != NULL)
            ck_assert_str_eq(why, cases[i].why);
        search_destroy(s);
    }
}
END_TEST

START_TEST(a_metric_may_come_late)
{
    struct search *s = make(HEAD "}");
    search_metric_may_come_late(s);
    begin(s, 0);
    report(s, 0, "{\"acc\":1}");
    expect(s, "");
    json_t *metrics = json_pack("{s:f}", "acc", 1.0);
    char *missing = search_missing(s, 0, metrics);
    ck_assert_str_eq(missing, "it reported no 'loss'; it reported: acc");
    free(missing);
    loss(s, 0, 1, 0.5);
    ck_assert_ptr_null(search_missing(s, 0, metrics));
    json_decref(metrics);
    search_destroy(s);
}
END_TEST

START_TEST(backwards_and_twice)
{
    struct search *s = make(HEAD ",\"num_samples\":2,\"scheduler\":{\"type\":\"none\","
                                 "\"max_t\":3}}");
    static const int steps[] = {10, 10, 5, 20, 1, 20, 15};
    begin(s, 0);
    for (size_t i = 0; i < RWF_COUNT(steps); i++)
        loss(s, 0, steps[i], (double)i);
    expect(s, "");
    ck_assert_double_eq(search_result(s, 0).at, 2);
    ck_assert_double_eq(search_result(s, 0).value, 3);
    report(s, 0, "{\"loss\":2.5}"); /* sums up */
    expect(s, "");
    ck_assert_double_eq(search_result(s, 0).at, 2);
    ck_assert_double_eq(search_result(s, 0).value, 2.5);
    loss(s, 0, 30, 9);
    expect(s, "stop 0 ");
    loss(s, 0, 40, 1); /* after its stop */
    expect(s, "");
    ck_assert_double_eq(search_result(s, 0).value, 9);
    ended(s, 0, SEARCH_STOPPED);
    ended(s, 0, SEARCH_FAILED);                                     /* twice */
    ck_assert_int_eq(search_result(s, 0).status, SEARCH_COMPLETED); /* max_t */
    search_destroy(s);
}
END_TEST

START_TEST(units_of_time)
{
    static const struct {
        const char *unit, *line;
        double at;
        const char *want;
    } cases[] = {
        {"report", "{\"step\":40,\"loss\":1}", 1, ""},
        {"step", "{\"step\":40,\"loss\":1}", 40, ""},
        {"step", "{\"loss\":1}", 1, ""},
        {"epoch", "{\"step\":40,\"epoch\":7,\"loss\":1}", 7, ""},
        {"epoch", "{\"step\":40,\"loss\":1}", NAN, "fail 0 "},
    };
    for (size_t i = 0; i < RWF_COUNT(cases); i++) {
        char body[300];
        snprintf(body, sizeof(body), HEAD ",\"time_attr\":\"%s\"}", cases[i].unit);
        struct search *s = make(body);
        begin(s, 0);
        report(s, 0, cases[i].line);
        expect(s, cases[i].want);
        double at = search_result(s, 0).at;
        ck_assert(at == cases[i].at || (isnan(at) && isnan(cases[i].at)));
        search_destroy(s);
    }
}
END_TEST

/* Without a step of their own reports are counted anew in each attempt: one that begins
 * from the start does not run ahead. */
START_TEST(attempts_count_anew)
{
    struct search *s = make(HEAD ",\"scheduler\":{\"type\":\"none\",\"max_t\":4}}");
    begin(s, 0);
    for (int i = 0; i < 3; i++)
        report(s, 0, "{\"loss\":1}");
    search_attempt(s, 0);
    for (int i = 0; i < 3; i++)
        report(s, 0, "{\"loss\":1}");
    expect(s, "");
    report(s, 0, "{\"loss\":1}");
    expect(s, "stop 0 ");
    search_destroy(s);
}
END_TEST

START_TEST(the_last_report_needs_no_stop)
{
    struct search *s = make(HEAD ",\"scheduler\":{\"type\":\"none\",\"max_t\":2}}");
    begin(s, 0);
    loss(s, 0, 1, 1);
    report(s, 0, "{\"step\":2,\"loss\":1,\"progress\":1}");
    expect(s, "");
    search_destroy(s);
}
END_TEST

/* --- ends --- */

START_TEST(failures_end_it)
{
    struct search *s = make(HEAD ",\"num_samples\":9,\"max_failed_trials\":1}");
    for (uint32_t i = 0; i < 4; i++)
        begin(s, i);
    ended(s, 1, SEARCH_FAILED);
    ck_assert_ptr_null(search_over(s));
    ended(s, 2, SEARCH_FAILED);
    ck_assert_str_eq(search_over(s), "2 trials failed, and max_failed_trials is 1");
    ck_assert(search_failed(s));
    expect(s, "stop 0 stop 3 ");
    ck_assert_ptr_null(search_suggest(s, 4));
    search_again(s, 2); /* raywf retry */
    ck_assert_ptr_null(search_over(s));
    ck_assert_int_eq(search_result(s, 2).status, SEARCH_RUNNING);
    search_destroy(s);
}
END_TEST

START_TEST(a_goal_ends_it)
{
    static const struct {
        const char *mode, *stop, *line;
        bool over;
    } cases[] = {
        {"min", "{\"loss\":0.5}", "{\"loss\":0.5}", true},
        {"min", "{\"loss\":0.5}", "{\"loss\":0.6}", false},
        {"max", "{\"loss\":0.5}", "{\"loss\":0.6}", true},
        {"max", "{\"loss\":0.5}", "{\"loss\":0.4}", false},
        {"min", "{\"acc\":0.9}", "{\"loss\":3,\"acc\":0.95}", true},
        {"min", "{\"acc\":0.9}", "{\"loss\":3,\"acc\":0.85}", false},
    };
    for (size_t i = 0; i < RWF_COUNT(cases); i++) {
        char body[300];
        snprintf(body, sizeof(body),
                 "{\"metric\":\"loss\",\"mode\":\"%s\"," SPACE
                 ",\"num_samples\":3,\"stop\":%s}",
                 cases[i].mode, cases[i].stop);
        struct search *s = make(body);
        begin(s, 0);
        begin(s, 1);
        report(s, 1, cases[i].line);
        ck_assert_msg((search_over(s) != NULL) == cases[i].over, "case %zu", i);
        expect(s, cases[i].over ? "stop 0 stop 1 " : "");
        search_destroy(s);
    }
}
END_TEST

START_TEST(a_number_of_trials_ends_it)
{
    struct search *s = make(HEAD ",\"num_samples\":9,\"stop\":{\"trials\":2}}");
    for (uint32_t i = 0; i < 3; i++)
        begin(s, i);
    loss(s, 0, 1, 2);
    loss(s, 1, 1, 1);
    ended(s, 0, SEARCH_COMPLETED);
    ck_assert_ptr_null(search_over(s));
    ended(s, 1, SEARCH_COMPLETED);
    ck_assert_str_eq(search_over(s), "2 trials are done");
    expect(s, "stop 2 ");
    ck_assert_int_eq(search_best(s), 1);
    search_destroy(s);
}
END_TEST

START_TEST(the_best_of_those_that_ended_well)
{
    struct search *s = make(HEAD ",\"num_samples\":5}");
    static const double values[] = {3, 1, 2, 1, 0.5};
    for (uint32_t i = 0; i < 5; i++) {
        begin(s, i);
        loss(s, i, 1, values[i]);
    }
    ck_assert_int_eq(search_best(s), -1);
    ended(s, 3, SEARCH_STOPPED);
    ck_assert_int_eq(search_best(s), 3);
    ended(s, 1, SEARCH_COMPLETED);
    ck_assert_int_eq(search_best(s), 1); /* of equals the first */
    ended(s, 4, SEARCH_FAILED);
    ended(s, 0, SEARCH_COMPLETED);
    ck_assert_int_eq(search_best(s), 1);
    search_set_value(s, 0, 0.1, 4); /* from a record */
    ck_assert_int_eq(search_best(s), 0);
    search_destroy(s);
}
END_TEST

/* --- schedulers --- */

START_TEST(trials_wait_for_room)
{
    struct search *s =
        make(HEAD ",\"num_samples\":3,\"scheduler\":{\"type\":\"asha\","
                  "\"max_t\":9,\"reduction_factor\":3,\"variant\":\"promote\"}}");
    for (uint32_t i = 0; i < 3; i++) {
        begin(s, i);
        loss(s, i, 1, (double)(3 - i));
    }
    ck_assert_str_eq(actions(s, false, NULL), "pause 0 pause 1 pause 2 ");
    ck_assert_int_eq(search_result(s, 2).status, SEARCH_PAUSED);
    ck_assert_str_eq(actions(s, true, NULL), "resume 2 ");
    ck_assert_int_eq(search_result(s, 2).status, SEARCH_RUNNING);
    loss(s, 2, 2, 0.5);
    loss(s, 2, 3, 0.5);
    ck_assert_str_eq(actions(s, false, NULL), "pause 2 ");
    ck_assert_str_eq(actions(s, true, NULL), "stop 0 stop 1 stop 2 ");
    search_destroy(s);
}
END_TEST

/* A clone goes on from the other's steps. */
START_TEST(clones_count_on)
{
    struct search *s = make(HEAD ",\"num_samples\":4,\"scheduler\":{\"type\":\"pbt\","
                                 "\"perturbation_interval\":2,\"max_t\":100}}");
    for (uint32_t i = 0; i < 4; i++)
        begin(s, i);
    struct search_action a = {.verb = SEARCH_PROMOTE};
    int step = 0;
    while (a.verb != SEARCH_CLONE && step++ < 10)
        for (uint32_t i = 0; i < 4 && a.verb != SEARCH_CLONE; i++) {
            loss(s, i, step * 10, (double)(i + 1));
            (void)search_next(s, false, &a);
        }
    ck_assert_int_eq(a.verb, SEARCH_CLONE);
    ck_assert_int_eq(a.from, 0);
    ck_assert(json_equal(a.config, (json_t *)(uintptr_t)search_config(s, a.trial)));
    json_decref(a.config);
    ck_assert(search_result(s, a.trial).cloned);
    loss(s, 0, step * 10 + 10, 0.5); /* the other goes on before it is copied */
    loss(s, a.trial, step * 10 + 20, 0.6);
    ck_assert_double_eq(search_result(s, a.trial).at, step + 2);
    search_destroy(s);
}
END_TEST

/* Random reports, told once to a search that is asked at once, and once from a log: the
 * same decisions, suggestions and results. */
struct entry {
    int what; /* 0 begin, 1 report, 2 end, 3 ask with room */
    uint32_t trial;
    int step;
    double value;
};

static void tell(struct search *s, const struct entry *e, char *out, size_t size)
{
    size_t len = strlen(out);
    if (e->what == 0) {
        begin(s, e->trial);
        char *config = json_dumps(search_config(s, e->trial), JSON_COMPACT);
        snprintf(out + len, size - len, "%s ", config);
        free(config);
    } else if (e->what == 1) {
        loss(s, e->trial, e->step, e->value);
    } else if (e->what == 2) {
        ended(s, e->trial, SEARCH_COMPLETED);
    }
    len = strlen(out);
    snprintf(out + len, size - len, "%s", actions(s, e->what == 3, NULL));
}

START_TEST(a_replay_is_the_same)
{
    static const char *const schedulers[] = {
        "{\"type\":\"none\"}",
        "{\"type\":\"asha\",\"max_t\":9,\"reduction_factor\":3}",
        "{\"type\":\"asha\",\"max_t\":9,\"reduction_factor\":3,\"variant\":"
        "\"promote\"}",
        "{\"type\":\"hyperband\",\"max_t\":9}",
        "{\"type\":\"median\"}",
        "{\"type\":\"pbt\",\"perturbation_interval\":2,\"max_t\":30}"};
    static const char *const algorithms[] = {"random", "sobol", "tpe"};
    enum { TRIALS = 12, LENGTH = 400 };
    for (size_t k = 0; k < RWF_COUNT(schedulers) * RWF_COUNT(algorithms); k++) {
        char body[500], *out[2];
        struct entry log[LENGTH];
        struct tune_rng rng;
        uint32_t begun = 0;
        snprintf(body, sizeof(body),
                 HEAD ",\"num_samples\":%d,\"algorithm\":{\"type\":\"%s\",\"seed\":5},"
                      "\"scheduler\":%s}",
                 TRIALS, algorithms[k % 3], schedulers[k / 3]);
        tune_rng_init(&rng, k, TUNE_FOR_USER, 0);
        for (int i = 0; i < LENGTH; i++) {
            int what = (int)tune_rng_below(&rng, 10);
            log[i] =
                (struct entry){what < 8    ? 1
                               : what == 8 ? 2
                                           : 3,
                               (uint32_t)tune_rng_below(&rng, begun + 1),
                               (int)tune_rng_below(&rng, 30), tune_rng_uniform(&rng)};
            if (begun < TRIALS && (begun == 0 || tune_rng_below(&rng, 8) == 0))
                log[i] = (struct entry){0, begun++, 0, 0};
            else if (log[i].trial >= begun)
                log[i].trial = begun - 1;
        }
        for (int round = 0; round < 2; round++) {
            struct search *s = make(body);
            out[round] = rwf_xcalloc(1, 1 << 16);
            for (int i = 0; i < LENGTH; i++)
                tell(s, &log[i], out[round], 1 << 16);
            search_destroy(s);
        }
        ck_assert_str_eq(out[0], out[1]);
        free(out[0]);
        free(out[1]);
    }
}
END_TEST

/* --- what cannot be --- */

START_TEST(bad_bodies)
{
    static const struct {
        const char *body, *text;
    } cases[] = {
        {"{\"metric\":\"a\",\"mode\":\"min\",\"space\":{}}", "space"},
        {"{\"metric\":\"a\",\"mode\":\"min\",\"space\":{\"x\":{\"type\":\"uniform\","
         "\"min\":2,"
         "\"max\":1}}}",
         "'x': the range is empty"},
        {HEAD ",\"scheduler\":\"asah\"}", "asha"},
        {HEAD ",\"algorithm\":{\"type\":\"grid\"}}", "x"},
        {HEAD ",\"scheduler\":{\"type\":\"asha\",\"max_t\":2,\"grace_period\":3}}",
         "grace_period 3 is above max_t 2"},
    };
    for (size_t i = 0; i < RWF_COUNT(cases); i++) {
        struct rwf_err err = RWF_ERR_INIT;
        json_t *body = json_loads(cases[i].body, 0, NULL);
        ck_assert_ptr_null(search_create(body, 0, &err));
        ck_assert_msg(strstr(err.text, cases[i].text) != NULL, "%s", err.text);
        json_decref(body);
    }
}
END_TEST

START_TEST(longer_than_the_target)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *body =
        json_loads(HEAD ",\"scheduler\":{\"type\":\"asha\",\"max_t\":20}}", 0, NULL);
    ck_assert_ptr_null(search_create(body, 9, &err));
    ck_assert_msg(strstr(err.text, "the target ends after 9") != NULL, "%s", err.text);
    json_decref(body);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("search");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 60);
    tcase_add_test(all, first_reports);
    tcase_add_test(all, a_metric_may_come_late);
    tcase_add_test(all, backwards_and_twice);
    tcase_add_test(all, units_of_time);
    tcase_add_test(all, attempts_count_anew);
    tcase_add_test(all, the_last_report_needs_no_stop);
    tcase_add_test(all, failures_end_it);
    tcase_add_test(all, a_goal_ends_it);
    tcase_add_test(all, a_number_of_trials_ends_it);
    tcase_add_test(all, the_best_of_those_that_ended_well);
    tcase_add_test(all, trials_wait_for_room);
    tcase_add_test(all, clones_count_on);
    tcase_add_test(all, a_replay_is_the_same);
    tcase_add_test(all, bad_bodies);
    tcase_add_test(all, longer_than_the_target);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
