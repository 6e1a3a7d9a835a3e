/* SPDX-License-Identifier: Apache-2.0
 *
 * Searches as plan and engine see them: which steps there are, what a configuration
 * does to a body, keys, and runs of the mock op, which needs no process.
 */
#include "config.h"
#include "plan_support.h"

#include "base/clock.h"
#include "base/ids.h"
#include "plan/key.h"
#include "run/engine.h"
#include "run/layout.h"
#include "run/state.h"
#include "search/op_tune.h"

static struct fixture f;
static const struct op *const task_ops[] = {&plan_task_op, &plan_check_op, &tune_op,
                                            NULL};
static const struct op *const fake_ops[] = {&plan_mock_op, &plan_check_op, &tune_op,
                                            NULL};

static void setup(void)
{
    fixture_open(&f);
}

static void teardown(void)
{
    fixture_close(&f);
}

#define SEARCH(space)                                                                  \
    "tune:\n  s: {target: tasks.a, metric: loss, mode: min, num_samples: 3, space: "   \
    "{" space "}}\n"
#define X "x: {type: uniform, min: 1, max: 2}"

static char *spec_of(const char *address)
{
    json_t *spec = plan_step_spec(f.graph, step_at(&f, address), &f.err);
    char *text = json_dumps(spec, JSON_COMPACT | JSON_SORT_KEYS);

    ck_assert_msg(spec != NULL, "%s", f.err.text);
    json_decref(spec);
    return text;
}

static void configure(const char *address, const char *config)
{
    json_t *json = json_loads(config, 0, NULL);
    ck_assert_msg(json != NULL, "%s", config);
    plan_trial_configure(f.graph, step_at(&f, address)->index, json);
    json_decref(json);
}

/* --- which steps --- */

START_TEST(trials_are_steps)
{
    fixture_build(
        &f,
        "tasks:\n  d: {run: x, outputs: {o: o}}\n"
        "  a: {run: 'cat ${tasks.d.outputs.o} ${trial.x}', resources: {cpu: 0.5}}\n"
        "  z: {run: 'cat ${tune.s}'}\n" SEARCH(X),
        task_ops, NULL);
    assert_built(&f);
    ASSERT_TAKEN(
        addresses(&f),
        "tasks.d tune.s[trial=0] tune.s[trial=1] tune.s[trial=2] tune.s tasks.z");
    ASSERT_TAKEN(needs_of(&f, "tune.s[trial=1]"), "tasks.d");
    ASSERT_TAKEN(needs_of(&f, "tune.s"),
                 "tune.s[trial=0] tune.s[trial=1] tune.s[trial=2]");
    ASSERT_TAKEN(needs_of(&f, "tasks.z"), "tune.s");
    const struct plan_step *trial = step_at(&f, "tune.s[trial=2]");
    ck_assert(trial->is_trial && trial->trial == 2 && trial->policy->late);
    ck_assert_double_eq(trial->policy->cpu, 0.5);
    ck_assert_ptr_eq(trial->op, &plan_task_op);
    ck_assert(step_at(&f, "tune.s")->settles);
    ck_assert(!step_at(&f, "tasks.d")->is_trial);
}
END_TEST

/* The target is a step when somebody refers to it, or names it. */
START_TEST(targets)
{
    static const char *const named[] = {"tasks.a"};
    static const char *const trial[] = {"tune.s[trial=1]"};
    const struct plan_options only = {.only = named, .only_count = 1};
    const struct plan_options one = {.only = trial, .only_count = 1};
    const char *alone = "tasks:\n  a: {run: 'x ${trial.x ?? \"1\"}'}\n" SEARCH(X);

    fixture_build(&f, alone, task_ops, NULL);
    assert_built(&f);
    ck_assert_uint_eq(plan_graph_find(f.graph, "tasks.a"), PLAN_NO_STEP);
    teardown();
    setup();
    fixture_build(&f, alone, task_ops, &only);
    assert_built(&f);
    ASSERT_TAKEN(addresses(&f), "tasks.a");
    teardown();
    setup();
    fixture_build(&f, alone, task_ops, &one);
    assert_built(&f);
    ASSERT_TAKEN(addresses(&f),
                 "tune.s[trial=0] tune.s[trial=1] tune.s[trial=2] tune.s");
    teardown();
    setup();
    fixture_build(&f,
                  "tasks:\n  a: {run: 'x ${trial.x ?? \"1\"}', outputs: {o: o}}\n"
                  "  b: {run: '${tasks.a.outputs.o}'}\n" SEARCH(X),
                  task_ops, NULL);
    assert_built(&f);
    ck_assert_uint_ne(plan_graph_find(f.graph, "tasks.a"), PLAN_NO_STEP);
}
END_TEST

START_TEST(grid_values_multiply)
{
    fixture_build(
        &f,
        "tasks:\n  a: {run: '${trial.x} ${trial.y}'}\n" SEARCH(
            "x: {type: grid, values: [1, 2]}, y: {type: grid, values: [a, b]}"),
        task_ops, NULL);
    assert_built(&f);
    ck_assert_uint_eq(plan_graph_count(f.graph), 3 * 4 + 1);
}
END_TEST

/* --- configurations --- */

START_TEST(configurations)
{
    static const struct {
        const char *task, *space, *config, *want;
    } cases[] = {
        {"argv: ['x', '${trial.x}']", X, "{\"x\":1.5}", "[\"x\",\"1.5\"]"},
        {"argv: ['x=${trial.x}']", X, "{\"x\":0.1}", "[\"x=0.1\"]"},
        {"argv: ['x', '${trial.x}']", "x: {type: choice, values: [[1, 2], [3]]}",
         "{\"x\":[1,2]}", "[\"x\",\"1\",\"2\"]"},
        {"argv: ['x', '${trial.x}']", "x: {type: choice, values: [true, '$${y}']}",
         "{\"x\":\"${y}\"}", "[\"x\",\"${y}\"]"},
        {"argv: ['x', '${trial.x ?? \"none\"}']", X, "{}", "[\"x\",\"none\"]"},
        {"argv: ['x', 'y']", "tasks.a.argv: {type: choice, values: [[q, r], [s]]}",
         "{\"tasks.a.argv\":[\"s\"]}", "[\"s\"]"},
        {"argv: ['x', 'y']",
         "tasks.a.argv: {type: choice, values: [[q, '$${r}'], [s]]}",
         "{\"tasks.a.argv\":[\"q\",\"${r}\"]}", "[\"q\",\"${r}\"]"},
    };
    for (size_t i = 0; i < RWF_COUNT(cases); i++) {
        char *text =
            rwf_xasprintf("tasks:\n  a: {%s}\ntune:\n  s: {target: tasks.a, metric: "
                          "loss, mode: min, space: {%s}}\n",
                          cases[i].task, cases[i].space);
        if (i > 0)
            setup();
        fixture_build(&f, text, task_ops, NULL);
        free(text);
        assert_built(&f);
        configure("tune.s[trial=0]", cases[i].config);
        json_t *spec = plan_step_spec(f.graph, step_at(&f, "tune.s[trial=0]"), &f.err);
        ck_assert_msg(spec != NULL, "case %zu: %s", i, f.err.text);
        char *argv = json_dumps(json_object_get(spec, "argv"), JSON_COMPACT);
        ck_assert_str_eq(argv, cases[i].want);
        free(argv);
        json_decref(spec);
        if (i + 1 < RWF_COUNT(cases))
            teardown();
    }
}
END_TEST

/* Maps on the way are made; what others have stays theirs. */
START_TEST(laid_over)
{
    fixture_build(&f,
                  "tasks:\n  a: {argv: [x], env: {A: '1', B: '2'}}\n" SEARCH(
                      "tasks.a.env.A: {type: int, min: 3, max: 9}, "
                      "tasks.a.env.C: {type: uniform, min: 0, max: 1}"),
                  task_ops, NULL);
    assert_built(&f);
    configure("tune.s[trial=0]", "{\"tasks.a.env.A\":7,\"tasks.a.env.C\":0.25}");
    ASSERT_TAKEN(spec_of("tune.s[trial=0]"),
                 "{\"argv\":[\"x\"],\"env\":{\"A\":\"7\",\"B\":\"2\","
                 "\"C\":\"0.25\"},\"outputs\":{}}");
    ASSERT_TAKEN(spec_of("tune.s[trial=1]"),
                 "{\"argv\":[\"x\"],\"env\":{\"A\":\"1\",\"B\":\"2\"},\"outputs\":{}}");
    configure("tune.s[trial=0]",
              "{\"tasks.a.env.A\":8}"); /* once more, from the start */
    ASSERT_TAKEN(spec_of("tune.s[trial=0]"),
                 "{\"argv\":[\"x\"],\"env\":{\"A\":\"8\",\"B\":\"2\"},\"outputs\":{}}");
}
END_TEST

static int no_files(void *ctx, const char *path, char out[RWF_DIGEST_LEN],
                    struct rwf_err *err)
{
    (void)ctx, (void)path, (void)err;
    memset(out, '0', RWF_DIGEST_LEN - 1);
    out[RWF_DIGEST_LEN - 1] = '\0';
    return 0;
}

static void key_of(const char *address, char key[RWF_DIGEST_LEN])
{
    struct plan_results none = {.ctx = NULL};
    plan_graph_resolve_as(f.graph, PLAN_KEY, &none);
    ck_assert_msg(plan_step_key(f.graph, step_at(&f, address), no_files, NULL, key,
                                NULL, &f.err) == 0,
                  "%s", f.err.text);
}

/* A trial has the key of its target with that configuration written into it. */
START_TEST(keys_are_the_targets)
{
    char trial[RWF_DIGEST_LEN], plain[RWF_DIGEST_LEN], other[RWF_DIGEST_LEN];

    fixture_build(&f,
                  "tasks:\n  a: {argv: [x, '${trial.x}'], env: {A: '1'}}\n" SEARCH(
                      X ", tasks.a.env.A: {type: int, min: 0, max: 9}"),
                  task_ops, NULL);
    assert_built(&f);
    configure("tune.s[trial=0]", "{\"x\":1.5,\"tasks.a.env.A\":2}");
    configure("tune.s[trial=1]", "{\"x\":1.5,\"tasks.a.env.A\":3}");
    key_of("tune.s[trial=0]", trial);
    key_of("tune.s[trial=1]", other);
    teardown();
    setup();
    fixture_build(&f, "tasks:\n  b: {argv: [x, '1.5'], env: {A: '2'}}\n", task_ops,
                  NULL);
    assert_built(&f);
    key_of("tasks.b", plain);
    ck_assert_str_eq(trial, plain);
    ck_assert_str_ne(trial, other);
}
END_TEST

/* --- what is wrong --- */

static const struct {
    const char *tasks, *tune, *want;
} bad[] = {
    {"a: {run: x}", "target: tasks.b",
     "there is no tasks.b to try (did you mean 'tasks.a'?)"},
    {"a: {run: 'x ${matrix.i}', matrix: {i: [1, 2]}}", "target: tasks.a",
     "has a matrix"},
    {"a: {run: x}", "target: tasks.a, space: {y: {type: int, min: 1, max: 2}}",
     "nothing in tasks.a refers to ${trial.y}"},
    {"a: {run: '${trial.z}'}", "target: tasks.a",
     "the space of tune.s has no parameter 'z'"},
    {"a: {run: '${trial.x}'}",
     "target: tasks.a, space: {tasks.b.x: {type: int, min: 1, max: 2}}",
     "'tasks.b.x' is no part of the target tasks.a"},
    {"a: {run: '${trial.x}', resources: {cpu: '${trial.x}'}}", "target: tasks.a",
     "is known only when the trial begins"},
    {"a: {run: x}",
     "target: tasks.a, space: {tasks.a.timeout: {type: choice, values: [1s]}}",
     "'tasks.a.timeout' is the same for all trials"},
    {"a: {run: x}",
     "target: tasks.a, space: {tasks.a.run.x: {type: int, min: 1, max: 2}}", "no map"},
    {"a: {run: x}",
     "target: tasks.a, space: {tasks.a.rum: {type: int, min: 1, max: 2}}",
     "unknown key 'rum'"},
    {"a: {run: '${trial.x}'}",
     "target: tasks.a, space: {x: {type: uniform, min: 3, max: 1}}",
     "the range is empty"},
    {"a: {run: '${trial.x}'}",
     "target: tasks.a, space: {x: {type: loguniform, min: 0, max: 1}}",
     "the logarithm"},
    {"a: {run: '${trial.x}'}",
     "target: tasks.a, scheduler: {type: asha, max_t: 2, grace_period: 4}",
     "grace_period 4 is above max_t 2"},
    {"a: {run: '${trial.x} ${tune.s}', outputs: {o: o}}", "target: tasks.a", "E0301"},
    {"a: {run: x}\n  b: {run: '${trial.x}'}", "target: tasks.a",
     "there is no trial here"},
};

START_TEST(bad_searches)
{
    const char *space = strstr(bad[_i].tune, "space:") ? "" : ", space: {" X "}";
    char *text =
        rwf_xasprintf("tasks:\n  %s\ntune:\n  s: {metric: loss, mode: min, %s%s}\n",
                      bad[_i].tasks, bad[_i].tune, space);

    fixture_build(&f, text, task_ops, NULL);
    free(text);
    assert_diag(&f, bad[_i].want);
}
END_TEST

/* --- runs of the mock op --- */

static char *root;
static char id[RWF_RUN_ID_LEN];

static int run_fake(const char *text)
{
    static const struct schedule_machine machine = {
        .name = "here", .cpu = 4, .memory = 1LL << 34};
    root = rwf_fs_join(f.dir, ".raywf");
    const struct engine_options options = {.root = root, .machine = &machine};
    fixture_build(&f, text, fake_ops, NULL);
    assert_built(&f);
    int code = engine_run(f.graph, &options, id, &f.err);
    ck_assert_msg(code >= 0, "%s", f.err.text);
    return code;
}

static double metric_of(const char *address, const char *name)
{
    char *path = run_log_path(root, id);
    struct run_state *s = run_state_load(path, &f.err);
    ck_assert_msg(s != NULL, "%s", f.err.text);
    const struct run_step_state *step = run_state_step(s, address);
    ck_assert_msg(step != NULL, "%s", address);
    double value = json_number_value(json_object_get(step->metrics, name));
    run_state_destroy(s);
    free(path);
    return value;
}

START_TEST(the_best_is_found)
{
    int code = run_fake("tasks:\n  a: {run: 'loss=${trial.x}'}\n" SEARCH(
        "x: {type: grid, values: [4, 2, 3]}") "checks:\n  good: {value: "
                                              "'${tune.s.metrics.best}', op: '==', "
                                              "than: 2}\n");
    ck_assert_int_eq(code, 0);
    ck_assert_double_eq(metric_of("tune.s", "best"), 2);
    ck_assert_double_eq(metric_of("tune.s", "trials"), 9);
    ck_assert_double_eq(metric_of("tune.s[trial=4]", "loss"), 2);
    free(root);
}
END_TEST

/* Failed trials are no failure of the run, unless all fail, or too many. */
START_TEST(failures)
{
    static const struct {
        const char *values, *more;
        int code;
    } cases[] = {
        {"['loss=1', fail, 'fail 2']", "", 0},
        {"[fail, 'y=1', 'fail 2']", "", 1},
        {"['loss=1', fail, 'loss=3']", ", max_failed_trials: 1", 1},
    };
    for (size_t i = 0; i < RWF_COUNT(cases); i++) {
        char *text = rwf_xasprintf("tasks:\n  a: {run: '${trial.x}'}\ntune:\n  s: "
                                   "{target: tasks.a, metric: loss, mode: "
                                   "min, num_samples: 3, max_concurrent_trials: 1, "
                                   "space: {x: {type: grid, values: %s}}%s}\n",
                                   cases[i].values, cases[i].more);
        if (i > 0)
            setup();
        ck_assert_int_eq(run_fake(text), cases[i].code);
        free(text);
        free(root);
        if (i + 1 < RWF_COUNT(cases))
            teardown();
    }
}
END_TEST

START_TEST(ten_thousand_trials)
{
    int code = run_fake(
        "tasks:\n  a: {run: 'loss=${trial.x}'}\ntune:\n  s: {target: tasks.a, "
        "metric: loss, mode: max, num_samples: 10000, algorithm: sobol, space: {" X
        "}}\n");
    ck_assert_int_eq(code, 0);
    ck_assert_double_gt(metric_of("tune.s", "best"), 1.999);
    free(root);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("trials");
    TCase *tc = tcase_create("trials");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, trials_are_steps);
    tcase_add_test(tc, targets);
    tcase_add_test(tc, grid_values_multiply);
    tcase_add_test(tc, configurations);
    tcase_add_test(tc, laid_over);
    tcase_add_test(tc, keys_are_the_targets);
    tcase_add_loop_test(tc, bad_searches, 0, (int)RWF_COUNT(bad));
    tcase_add_test(tc, the_best_is_found);
    tcase_add_test(tc, failures);
    tcase_add_test(tc, ten_thousand_trials);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
