/* SPDX-License-Identifier: Apache-2.0
 * matrix and foreach: instances, their addresses, alignment of references, limits. */
#include "config.h"
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

static void build(const char *text)
{
    fixture_build(&f, text, test_ops, NULL);
}

/* Recipes and the steps they give. */
static const struct {
    const char *text, *want;
} good[] = {
    {"tasks:\n  t: {run: x, matrix: {a: [1, 2], b: [x, y]}}\n",
     "tasks.t[a=1,b=x] tasks.t[a=1,b=y] tasks.t[a=2,b=x] tasks.t[a=2,b=y]"},
    {"tasks:\n  t: {run: x, matrix: {a: [1, 2, 3], b: [x, y], exclude: [{a: 1}, {a: 2, "
     "b: y}]}}\n",
     "tasks.t[a=2,b=x] tasks.t[a=3,b=x] tasks.t[a=3,b=y]"},
    {"tasks:\n  t: {run: x, matrix: {a: [1, 2], include: [{a: 1, extra: e}, {a: "
     "9}]}}\n",
     "tasks.t[a=1] tasks.t[a=2] tasks.t[a=9]"},
    {"tasks:\n  t: {run: x, matrix: {include: [{os: a, v: 1}, {os: b, v: 2}]}}\n",
     "tasks.t[os=a,v=1] tasks.t[os=b,v=2]"},
    {"tasks:\n  t: {run: x, matrix: {a: [1, 2], exclude: [{a: 1}], include: [{a: 1, b: "
     "q}]}}\n",
     "tasks.t[a=2] tasks.t[a=1,b=q]"},
    {"tasks:\n  t: {run: x, matrix: {v: [3.10, 3.9, \"a,b\", \"x]\", \"q\\\"\", \"\", "
     "\" s\"]}}\n",
     "tasks.t[v=3.10] tasks.t[v=3.9] tasks.t[v=\"a,b\"] tasks.t[v=\"x]\"] "
     "tasks.t[v=\"q\\\"\"] tasks.t[v=\"\"] tasks.t[v=\" s\"]"},
    {"params: {lo: 1, hi: 2}\ntasks:\n  t: {run: x, matrix: {a: ['${params.lo}', "
     "'${params.hi}']}}\n",
     "tasks.t[a=1] tasks.t[a=2]"},
    {"tasks:\n  t: {run: x, foreach: [one, two]}\n", "tasks.t[one] tasks.t[two]"},
    {"tasks:\n  t: {run: 'x ${item.n}', foreach: [{n: 1}, {n: 2}]}\n",
     "tasks.t[0] tasks.t[1]"},
    {"tasks:\n  t: {run: x, foreach: {items: [a, b], max_parallel: 1}}\n",
     "tasks.t[a] tasks.t[b]"},
    {"tasks:\n  t: {run: x, foreach: {glob: 'data/*.csv'}}\n",
     "tasks.t[data/a.csv] tasks.t[data/b.csv]"},
    {"tasks:\n  t: {run: x, inputs: {all: 'data/*.csv'}, matrix: {f: "
     "'${inputs.all}'}}\n",
     "tasks.t[f=data/a.csv] tasks.t[f=data/b.csv]"},
};

START_TEST(test_good)
{
    write_file(&f, "data/a.csv", "1\n");
    write_file(&f, "data/b.csv", "2\n");
    build(good[_i].text);
    assert_built(&f);
    ASSERT_TAKEN(addresses(&f), good[_i].want);
}
END_TEST

static const struct {
    const char *text, *want;
} bad[] = {
    {"tasks:\n  t: {run: x, matrix: {a: [1, 1]}}\n",
     "E0303 3:31-32 the axis 'a' has the value '1' twice"},
    {"tasks:\n  t: {run: x, matrix: {a: [1], exclude: [{a: 1}]}}\n", "no instances"},
    {"tasks:\n  t: {run: x, matrix: {alpha: [1], exclude: [{alhpa: 1}]}}\n",
     "did you mean 'alpha'?"},
    {"tasks:\n  t: {run: x, matrix: {a: [1], exclude: [{a: 5}]}}\n", "does not have"},
    {"tasks:\n  t: {run: x, foreach: [a, a]}\n", "both named tasks.t[a]"},
    {"tasks:\n  t: {run: x, foreach: ['2', {n: 1}, {n: 2}]}\n",
     "both named tasks.t[2]"},
    {"tasks:\n  t: {run: x, matrix: {include: [{os: a}, {os: a}]}}\n", "both named"},
    {"tasks:\n  t: {run: x, foreach: {glob: 'no/*.csv'}}\n", "E0401"},
    {"tasks:\n  t: {run: x, foreach: [a], matrix: {a: [1]}}\n", "matrix"},
    {"tasks:\n  t: {run: '${matrix.b}', matrix: {a: [1]}}\n", "has no axis 'b'"},
    {"tasks:\n  t: {run: '${item.b}', foreach: [{a: 1}]}\n", "the item has no 'b'"},
    {"tasks:\n  t: {run: '${item}', foreach: [{a: 1}]}\n", "name one of its values"},
    {"tasks:\n  t: {run: x, matrix: {a: ['${params.q}']}}\n",
     "there is no parameter 'q'"},
    {"tasks:\n  t: {run: x, matrix: {a: ['${matrix.b}'], b: [1]}}\n", "E0303"},
    {"secrets: {K: {env: K}}\ntasks:\n  t: {run: x, matrix: {a: ['${secrets.K}']}}\n",
     "E0205"},
    {"tasks:\n  s: {run: x}\n  t: {run: x, matrix: {a: ['${tasks.s.metrics.m}']}}\n",
     "must be known when planning"},
    {"tasks:\n  s: {run: x, matrix: {a: [1, 2, 3, 4]}}\n"
     "checks:\n  c: {value: '${tasks.s.metrics.m}', than: 1}\n",
     "E0208 5:15-35 tasks.s has 4 instances (tasks.s[a=1], tasks.s[a=2], tasks.s[a=3], "
     "…)"},
    {"tasks:\n  s: {run: x, matrix: {a: [1, 2]}, outputs: {o: o}}\n"
     "  t: {run: '${tasks.s.outputs.o}', matrix: {a: [1, 3]}}\n",
     "E0303 4:13-33 tasks.t[a=3]: no instance of tasks.s has the same values"},
    {"tasks:\n  s: {run: x, matrix: {a: [1, 2]}, outputs: {o: o}}\n"
     "  t: {run: x, env: {O: '${tasks.s.outputs.o}'}}\n",
     "E0208"},
    {"tasks:\n  t: {run: x, matrix: {a: [1, b]}, retry: {max: '${matrix.a}'}}\n",
     "E0203"},
};

START_TEST(test_bad)
{
    build(bad[_i].text);
    assert_diag(&f, bad[_i].want);
}
END_TEST

static char *argv_of(const char *address)
{
    json_t *spec = plan_step_spec(f.graph, step_at(&f, address), &f.err);
    char *text;

    ck_assert_msg(spec != NULL, "%s", f.err.text);
    text = json_dumps(json_object_get(spec, "argv"), JSON_COMPACT);
    json_decref(spec);
    return text;
}

START_TEST(test_values)
{
    build("tasks:\n"
          "  t:\n"
          "    argv: ['${matrix.lr}', '${matrix.extra ?? \"none\"}']\n"
          "    matrix: {lr: [1e-4, 0.10], include: [{lr: 1e-4, extra: yes}]}\n"
          "    resources: {cpu: '${matrix.lr}'}\n"
          "  u: {argv: ['${item.path}', '${item.n}'], foreach: [{path: p, n: 1}, "
          "{path: q, n: 2}]}\n");
    assert_built(&f);
    ASSERT_TAKEN(argv_of("tasks.t[lr=1e-4]"), "[\"1e-4\",\"yes\"]");
    ASSERT_TAKEN(argv_of("tasks.t[lr=0.10]"), "[\"0.10\",\"none\"]");
    ASSERT_TAKEN(argv_of("tasks.u[1]"), "[\"q\",\"2\"]");
    ck_assert_double_eq(step_at(&f, "tasks.t[lr=1e-4]")->policy->cpu, 1e-4);
    ck_assert_double_eq(step_at(&f, "tasks.t[lr=0.10]")->policy->cpu, 0.1);
}
END_TEST

START_TEST(test_max_parallel)
{
    build(
        "tasks:\n  t: {run: x, matrix: {a: [1, 2], max_parallel: 1}}\n  u: {run: x}\n");
    assert_built(&f);
    ck_assert_int_eq(step_at(&f, "tasks.t[a=2]")->policy->max_parallel, 1);
    ck_assert_ptr_eq(step_at(&f, "tasks.t[a=1]")->policy,
                     step_at(&f, "tasks.t[a=2]")->policy);
    ck_assert_int_eq(step_at(&f, "tasks.u")->policy->max_parallel, 0);
}
END_TEST

START_TEST(test_alignment)
{
    build("tasks:\n"
          "  train: {run: x, matrix: {lr: [1, 2], seed: [a, b]}, outputs: {m: m}}\n"
          "  same: {argv: ['${tasks.train.outputs.m}'], matrix: {seed: [b, a], lr: [2, "
          "1]}}\n"
          "  bylr: {argv: [x, '${tasks.train.outputs.m}', y], matrix: {lr: [1, 2]}}\n"
          "  all: {run: 'sum ${tasks.train.outputs.m}'}\n"
          "  free: {argv: ['${tasks.train.outputs.m}'], matrix: {other: [1, 2]}}\n");
    assert_built(&f);
    ASSERT_TAKEN(needs_of(&f, "tasks.same[seed=a,lr=2]"), "tasks.train[lr=2,seed=a]");
    ASSERT_TAKEN(needs_of(&f, "tasks.bylr[lr=2]"),
                 "tasks.train[lr=2,seed=a] tasks.train[lr=2,seed=b]");
    ASSERT_TAKEN(argv_of("tasks.bylr[lr=1]"),
                 "[\"x\",\"<tasks.train[lr=1,seed=a].outputs.m>\","
                 "\"<tasks.train[lr=1,seed=b].outputs.m>\",\"y\"]");
    ASSERT_TAKEN(argv_of("tasks.same[seed=b,lr=1]"),
                 "[\"<tasks.train[lr=1,seed=b].outputs.m>\"]");
    ck_assert_uint_eq(step_at(&f, "tasks.all")->need_count, 4);
    ck_assert_uint_eq(step_at(&f, "tasks.free[other=1]")->need_count, 4);
    ck_assert_ptr_eq(step_at(&f, "tasks.free[other=1]")->needs,
                     step_at(&f, "tasks.free[other=2]")->needs);
}
END_TEST

START_TEST(test_aligned_foreach)
{
    build("tasks:\n"
          "  a: {run: x, foreach: [{n: 1, m: 2}, {n: 3, m: 4}], outputs: {o: "
          "'out-${item.n}'}}\n"
          "  b: {argv: ['${tasks.a.outputs.o}'], foreach: [{m: 4, n: 3}]}\n");
    assert_built(&f);
    ASSERT_TAKEN(needs_of(&f, "tasks.b[0]"), "tasks.a[1]");
    const json_t *outputs = plan_step_outputs(f.graph, step_at(&f, "tasks.a[1]"));
    ck_assert_str_eq(json_string_value(json_object_get(outputs, "o")), "out-3");
}
END_TEST

START_TEST(test_prune_instances)
{
    static const char *const only[] = {"tasks.b[x=2]"};
    static const struct plan_options options = {.only = only, .only_count = 1};

    fixture_build(&f,
                  "tasks:\n"
                  "  a: {run: x, matrix: {x: [1, 2, 3]}, outputs: {o: o}}\n"
                  "  b: {argv: ['${tasks.a.outputs.o}'], matrix: {x: [1, 2, 3]}}\n",
                  test_ops, &options);
    assert_built(&f);
    ASSERT_TAKEN(addresses(&f), "tasks.a[x=2] tasks.b[x=2]");
    ASSERT_TAKEN(needs_of(&f, "tasks.b[x=2]"), "tasks.a[x=2]");
    ASSERT_TAKEN(argv_of("tasks.b[x=2]"), "[\"<tasks.a[x=2].outputs.o>\"]");
}
END_TEST

static void add_axis(struct rwf_str *s, const char *name, int count)
{
    rwf_str_addf(s, "%s: [", name);
    for (int i = 0; i < count; i++)
        rwf_str_addf(s, "%s%d", i ? ", " : "", i);
    rwf_str_add(s, "]");
}

START_TEST(test_big)
{
    struct rwf_str text = {0};

    rwf_str_add(&text, "tasks:\n  a: {run: x, outputs: {o: o}, matrix: {");
    add_axis(&text, "p", 200);
    rwf_str_add(&text, ", ");
    add_axis(&text, "q", 250);
    rwf_str_add(&text, "}}\n  b: {argv: ['${tasks.a.outputs.o}'], matrix: {");
    add_axis(&text, "q", 250);
    rwf_str_add(&text, ", ");
    add_axis(&text, "p", 200);
    rwf_str_add(&text, "}}\n");
    build(text.data);
    assert_built(&f);
    ck_assert_uint_eq(plan_graph_count(f.graph), 100000);
    ASSERT_TAKEN(needs_of(&f, "tasks.b[q=7,p=199]"), "tasks.a[p=199,q=7]");
    rwf_str_free(&text);
}
END_TEST

static void build_cube(const char *after)
{
    struct rwf_str text = {0};

    rwf_str_add(&text, "tasks:\n  a: {run: x, matrix: {");
    add_axis(&text, "p", 1001);
    rwf_str_add(&text, ", ");
    add_axis(&text, "q", 1000);
    rwf_str_addf(&text, "%s}}\n", after);
    build(text.data);
    rwf_str_free(&text);
}

START_TEST(test_too_big)
{
    build_cube("");
    assert_diag(&f, "more than 1000000 instances");
}
END_TEST

/* Many includes over a big product: refused, not endured. */
START_TEST(test_include_bomb)
{
    struct rwf_str text = {0};

    rwf_str_add(&text, "tasks:\n  a: {run: x, matrix: {");
    add_axis(&text, "p", 1000);
    rwf_str_add(&text, ", ");
    add_axis(&text, "q", 900);
    rwf_str_add(&text, ", include: [");
    for (int i = 0; i < 5000; i++)
        rwf_str_addf(&text, "%s{e: %d}", i ? ", " : "", i);
    rwf_str_add(&text, "]}}\n");
    build(text.data);
    assert_diag(&f, "include and exclude touch more than");
    rwf_str_free(&text);
}
END_TEST

/* All with all, in both directions of sharing: edges are bounded. */
START_TEST(test_edge_bomb)
{
    struct rwf_str text = {0};

    rwf_str_add(&text, "tasks:\n  a: {run: x, matrix: {");
    add_axis(&text, "s", 10);
    rwf_str_add(&text, ", ");
    add_axis(&text, "p", 9000);
    rwf_str_add(&text, "}}\n  b: {run: x, needs: [tasks.a], matrix: {");
    add_axis(&text, "s", 10);
    rwf_str_add(&text, ", ");
    add_axis(&text, "q", 9000);
    rwf_str_add(&text, "}}\n");
    build(text.data);
    assert_built(&f); /* lists are shared by the instances with one s */
    ck_assert_uint_eq(step_at(&f, "tasks.b[s=3,q=5]")->need_count, 9000);
    rwf_str_free(&text);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("matrix");
    TCase *tc = tcase_create("matrix");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, test_good, 0, (int)RWF_COUNT(good));
    tcase_add_loop_test(tc, test_bad, 0, (int)RWF_COUNT(bad));
    tcase_add_test(tc, test_values);
    tcase_add_test(tc, test_max_parallel);
    tcase_add_test(tc, test_alignment);
    tcase_add_test(tc, test_aligned_foreach);
    tcase_add_test(tc, test_prune_instances);
    tcase_add_test(tc, test_big);
    tcase_add_test(tc, test_too_big);
    tcase_add_test(tc, test_include_bomb);
    tcase_add_test(tc, test_edge_bomb);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
