/* SPDX-License-Identifier: Apache-2.0
 * Keys: what changes them, what does not, and what they say when a file is missing. */
#include "config.h"
#include "plan/key.h"
#include "plan_support.h"

static struct fixture f;

static void setup(void)
{
    fixture_open(&f);
}

static void teardown(void)
{
    fixture_close(&f);
}

static int digest(void *ctx, const char *path, char out[RWF_DIGEST_LEN],
                  struct rwf_err *err)
{
    (void)ctx;
    return rwf_digest_file(path, out, NULL, err);
}

static const char *give_output(void *ctx, uint32_t step, const char *name,
                               enum plan_mode mode)
{
    (void)step;
    (void)name;
    (void)mode;
    return ctx;
}

/* The key of an address in a recipe, built anew; outputs of other steps have `given`.
 */
static void key_given(const char *text, const char *address, const char *given,
                      char out[RWF_DIGEST_LEN], json_t **parts)
{
    struct plan_results results = {.ctx = (void *)given, .output = give_output};

    plan_graph_destroy(f.graph);
    recipe_destroy(f.recipe);
    fixture_build(&f, text, test_ops, NULL);
    assert_built(&f);
    plan_graph_resolve_as(f.graph, PLAN_KEY, &results);
    ck_assert_msg(plan_step_key(f.graph, step_at(&f, address), digest, NULL, out, parts,
                                &f.err) == 0,
                  "%s", f.err.text);
}

static void key_of(const char *text, const char *address, char out[RWF_DIGEST_LEN])
{
    key_given(text, address, "sha256:00", out, NULL);
}

#define BASE "tasks:\n  t: {run: 'x 1', env: {A: b}, outputs: {o: o}}\n"

static const struct {
    const char *text;
    bool same;
} variants[] = {
    {BASE, true},
    {"# a comment\n" BASE, true},
    {"name: other\n" BASE, true},
    {"tasks:\n  u: {run: y}\n  t: {outputs: {o: o}, env: {A: b}, run: 'x 1'}\n", true},
    {"tasks:\n  t: {run: 'x 1', env: {A: b}, outputs: {o: o}, retry: 3, timeout: 9m, "
     "resources: {cpu: 4}, log_limit: 1MiB, help: h, x-note: n}\n",
     true},
    {"params: {n: 1}\ntasks:\n  t: {run: 'x ${params.n}', env: {A: b}, outputs: {o: "
     "o}}\n",
     true},
    {"tasks:\n  t: {run: 'x 2', env: {A: b}, outputs: {o: o}}\n", false},
    {"tasks:\n  t: {run: 'x 1', env: {A: c}, outputs: {o: o}}\n", false},
    {"env: {B: c}\n" BASE, false},
    {"tasks:\n  t: {run: 'x 1', env: {A: b}, outputs: {o: p}}\n", false},
    {"tasks:\n  t: {argv: [x, 1], env: {A: b}, outputs: {o: o}}\n", false},
    {"defaults: {shell: [bash, -c]}\n" BASE, false},
};

START_TEST(test_variants)
{
    char base[RWF_DIGEST_LEN], other[RWF_DIGEST_LEN];

    key_of(BASE, "tasks.t", base);
    key_of(variants[_i].text, "tasks.t", other);
    ck_assert_msg((strcmp(base, other) == 0) == variants[_i].same, "%s",
                  variants[_i].text);
}
END_TEST

START_TEST(test_code)
{
    static const char *const commands[] = {
        "tasks:\n  t: {run: 'python train.py --fast'}\n",
        "tasks:\n  t: {argv: [python, ./train.py]}\n",
        "tasks:\n  t: {argv: [python, '${recipe.dir}/train.py']}\n",
        "tasks:\n  t: {run: 'cd x && python \"${recipe.dir}/train.py\"; true'}\n",
        "tasks:\n  t: {run: 'cat <train.py>out'}\n",
        "tasks:\n  t: {argv: [tr, -c, 'train.py']}\n",
        "tasks:\n  t: {inputs: {s: train.py}, run: 'python ${inputs.s}'}\n",
        "tasks:\n  t: {inputs: {s: '*.py'}, run: 'python ${inputs.s}'}\n",
        "tasks:\n  t: {inputs: {s: .}, run: 'x', matrix: {q: [1]}}\n",
    };
    const char *address = _i == 8 ? "tasks.t[q=1]" : "tasks.t";
    char first[RWF_DIGEST_LEN], second[RWF_DIGEST_LEN], third[RWF_DIGEST_LEN];

    write_file(&f, "train.py", "one\n");
    key_of(commands[_i], address, first);
    key_of(commands[_i], address, second);
    ck_assert_str_eq(first, second);
    write_file(&f, "train.py", "two\n");
    key_of(commands[_i], address, third);
    ck_assert_str_ne(first, third);
}
END_TEST

START_TEST(test_elsewhere)
{
    static const char text[] =
        "tasks:\n"
        "  t: {run: 'python train.py ${recipe.dir}/d ${inputs.i}', "
        "inputs: {i: in.csv}, dir: .}\n";
    char here[RWF_DIGEST_LEN], there[RWF_DIGEST_LEN];

    write_file(&f, "train.py", "one\n");
    write_file(&f, "in.csv", "1\n");
    key_of(text, "tasks.t", here);
    fixture_close(&f);
    fixture_open(&f);
    write_file(&f, "train.py", "one\n");
    write_file(&f, "in.csv", "1\n");
    key_of(text, "tasks.t", there);
    ck_assert_str_eq(here, there);
}
END_TEST

START_TEST(test_upstream)
{
    static const char text[] = "tasks:\n  a: {run: x, outputs: {o: o}}\n"
                               "  b: {run: 'y ${tasks.a.outputs.o}'}\n";
    char one[RWF_DIGEST_LEN], two[RWF_DIGEST_LEN], again[RWF_DIGEST_LEN];

    key_given(text, "tasks.b", "sha256:01", one, NULL);
    key_given(text, "tasks.b", "sha256:02", two, NULL);
    key_given(text, "tasks.b", "sha256:01", again, NULL);
    ck_assert_str_ne(one, two);
    ck_assert_str_eq(one, again);
}
END_TEST

START_TEST(test_pending)
{
    char key[RWF_DIGEST_LEN];
    struct plan_results none = {.output = give_output};

    fixture_build(&f,
                  "tasks:\n  a: {run: x, outputs: {o: o}}\n"
                  "  b: {run: 'y ${tasks.a.outputs.o}'}\n",
                  test_ops, NULL);
    assert_built(&f);
    plan_graph_resolve_as(f.graph, PLAN_KEY, &none);
    ck_assert_int_eq(
        plan_step_key(f.graph, step_at(&f, "tasks.b"), digest, NULL, key, NULL, &f.err),
        -1);
    ck_assert_int_eq(f.err.code, PLAN_E_PENDING);
}
END_TEST

/* Inputs that are missing are named with their line and the right code. */
START_TEST(test_missing)
{
    static const struct {
        const char *text, *want;
    } rows[] = {
        {"tasks:\n  t:\n    run: x\n    inputs: {d: data.csv}\n",
         "recipe.yaml:5:17: input 'data.csv' does not exist"},
        {"tasks:\n  t:\n    run: x\n    inputs: {d: 'data/*.csv'}\n",
         "recipe.yaml:5:17: input 'data/*.csv' matches no file"},
    };
    struct plan_results none = {.output = give_output};
    char key[RWF_DIGEST_LEN];

    fixture_build(&f, rows[_i].text, test_ops, NULL);
    assert_built(&f);
    plan_graph_resolve_as(f.graph, PLAN_KEY, &none);
    ck_assert_int_eq(
        plan_step_key(f.graph, step_at(&f, "tasks.t"), digest, NULL, key, NULL, &f.err),
        -1);
    ck_assert_int_eq(f.err.code, RWF_E_INPUT);
    ck_assert_msg(strstr(f.err.text, rows[_i].want) != NULL, "%s", f.err.text);
}
END_TEST

START_TEST(test_secret)
{
    static const char text[] = "secrets: {K: {env: RAYWF_TEST_SECRET}}\n"
                               "tasks:\n  t: {run: x, env: {K: '${secrets.K}'}}\n";
    char one[RWF_DIGEST_LEN], two[RWF_DIGEST_LEN];
    json_t *parts = NULL;
    char *dump;

    setenv("RAYWF_TEST_SECRET", "canary-one", 1);
    key_given(text, "tasks.t", "", one, &parts);
    dump = json_dumps(parts, 0);
    ck_assert_ptr_null(strstr(dump, "canary"));
    free(dump);
    json_decref(parts);
    setenv("RAYWF_TEST_SECRET", "canary-two", 1);
    key_of(text, "tasks.t", two);
    ck_assert_str_eq(one, two);
}
END_TEST

START_TEST(test_diff)
{
    json_t *was = NULL, *now = NULL, *diff;
    char key[RWF_DIGEST_LEN];
    char *text;

    write_file(&f, "s.py", "1");
    key_given("tasks:\n  t: {argv: [python, s.py, a]}\n", "tasks.t", "", key, &was);
    write_file(&f, "s.py", "2");
    key_given("tasks:\n  t: {argv: [python, s.py, b], env: {N: 1}}\n", "tasks.t", "",
              key, &now);
    diff = plan_key_diff(was, now);
    ck_assert_uint_eq(json_array_size(diff), 3);
    text = json_dumps(diff, JSON_COMPACT);
    ck_assert_ptr_nonnull(
        strstr(text, "{\"part\":\"spec.argv[2]\",\"was\":\"a\",\"now\":\"b\"}"));
    ck_assert_ptr_nonnull(
        strstr(text, "{\"part\":\"spec.env.N\",\"was\":null,\"now\":\"1\"}"));
    ck_assert_ptr_nonnull(strstr(text, "\"part\":\"files.s.py\""));
    free(text);
    json_decref(diff);
    diff = plan_key_diff(was, was);
    ck_assert_uint_eq(json_array_size(diff), 0);
    json_decref(diff);
    json_decref(was);
    json_decref(now);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("key");
    TCase *tc = tcase_create("key");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, test_variants, 0, (int)RWF_COUNT(variants));
    tcase_add_loop_test(tc, test_code, 0, 9);
    tcase_add_test(tc, test_elsewhere);
    tcase_add_test(tc, test_upstream);
    tcase_add_test(tc, test_pending);
    tcase_add_loop_test(tc, test_missing, 0, 2);
    tcase_add_test(tc, test_secret);
    tcase_add_test(tc, test_diff);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
