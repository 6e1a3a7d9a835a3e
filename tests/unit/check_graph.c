/* SPDX-License-Identifier: Apache-2.0
 * From recipe to steps: references, defaults, policies, order, cycles, pruning,
 * resolving. */
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

/* Canonical JSON of a resolved spec. */
static char *spec_of(const char *address)
{
    json_t *spec = plan_step_spec(f.graph, step_at(&f, address), &f.err);
    char *text;

    ck_assert_msg(spec != NULL, "%s", f.err.text);
    text = json_dumps(spec, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(spec);
    return text;
}

START_TEST(test_order)
{
    build("tasks:\n"
          "  late: {run: 'cat ${tasks.b.outputs.x}'}\n"
          "  a: {run: 'true'}\n"
          "  b: {needs: [tasks.a], run: 'true', outputs: {x: x.txt}}\n"
          "  c: {run: 'true'}\n"
          "checks:\n"
          "  good: {value: '${tasks.c.metrics.acc}', op: '>=', than: 0.5}\n");
    assert_built(&f);
    ASSERT_TAKEN(addresses(&f), "tasks.a tasks.b tasks.late tasks.c checks.good");
    ASSERT_TAKEN(needs_of(&f, "tasks.late"), "tasks.b");
    ASSERT_TAKEN(needs_of(&f, "checks.good"), "tasks.c");
    ASSERT_TAKEN(spec_of("tasks.late"),
                 "{\"argv\":[\"sh\",\"-euc\",\"cat <tasks.b.outputs.x>\"],\"env\":{},"
                 "\"outputs\":{}}");
}
END_TEST

/* Each row: what is wrong, and a part of "CODE line:col-end message (hint)". */
static const struct {
    const char *text, *want;
} bad[] = {
    {"tasks:\n  a: {run: 'x ${params.lr} y'}\n",
     "E0202 3:15-27 there is no parameter 'lr'"},
    {"params: {rate: 1}\ntasks:\n  a: {run: 'x ${params.rat}'}\n",
     "did you mean 'rate'?"},
    {"tasks:\n  a: {run: 'echo ${HOME}'}\n", "E0202 3:18-25"},
    {"tasks:\n  a: {run: 'echo ${HOME}'}\n", "write $HOME or $${HOME}"},
    {"tasks:\n  a: {run: 'echo ${HOME:-x}'}\n", "E0201 3:24-25 expected '}'"},
    {"tasks:\n  a:\n    run: |\n      one\n      two ${params.q} three\n",
     "E0202 6:11-22 there is no parameter 'q'"},
    {"tasks:\n  a: {run: 'x'}\n  b: {run: '${tasks.aa.outputs.x}'}\n",
     "there is no tasks.aa (did you mean 'a'?)"},
    {"tasks:\n  a: {run: 'x', outputs: {model: m}}\n  b: {run: "
     "'${tasks.a.outputs.modle}'}\n",
     "did you mean 'model'?"},
    {"tasks:\n  a: {run: 'x', outputs: {model: m}}\n  b: {run: '${tasks.a}'}\n",
     "${tasks.a.outputs.model}"},
    {"tasks:\n  a: {run: 'x'}\n  b: {run: '${tasks.a.output.x}'}\n",
     "write ${tasks.a.outputs.NAME}"},
    {"tasks:\n  a: {run: 'x'}\n  b: {run: 'y', needs: [a]}\n",
     "E0302 4:25-26 there is no 'a' to wait for (needs takes addresses: write "
     "tasks.a)"},
    {"tasks:\n  a: {run: 'x'}\n  b: {run: 'y', needs: [tasks.b2]}\n", "E0302"},
    {"secrets: {K: {env: K}}\ntasks:\n  a: {run: 'x ${secrets.K}'}\n",
     "E0205 4:15-27 the secret 'K' may not stand here (put it in env: and use \"$K\""},
    {"tasks:\n  a: {run: 'x', env: {A: '${secrets.NO}'}}\n", "there is no secret 'NO'"},
    {"tasks:\n  a: {run: '${env.RAYWF_SURELY_NOT_SET}'}\n", "E0204"},
    {"tasks:\n  a: {run: '${matrix.x}'}\n", "there is no matrix here"},
    {"tasks:\n  a: {run: '${item}'}\n", "there is no foreach here"},
    {"tasks:\n  a: {run: '${inputs.x}'}\n", "E0202"},
    {"tasks:\n  a: {run: '${recipe.nam}'}\n", "there are recipe.name and recipe.dir"},
    {"tasks:\n  a: {run: 'x', when: '${params.x} == 1'}\n",
     "there is no parameter 'x'"},
    {"params: {n: 3}\ntasks:\n  a: {run: 'x', when: '${params.n}'}\n", "E0206 4:23-36"},
    {"params: {n: 3}\ntasks:\n  a: {run: 'x', when: '${params.n} = 3'}\n",
     "E0206 4:36-37"},
    {"params: {n: {type: string, default: '3'}}\ntasks:\n"
     "  a: {run: 'x', retry: {max: '${params.n}'}}\n",
     "E0203"},
    {"params: {n: three}\ntasks:\n  a: {run: 'x', timeout: '${params.n}'}\n", "E0203"},
    {"tasks:\n  b: {run: 'x'}\n  a: {run: 'x', timeout: '${tasks.b.metrics.t}'}\n",
     "must be known when planning"},
    {"tasks:\n  a: {needs: [tasks.a], run: 'x'}\n",
     "E0301 3:15-22 tasks.a (line 3) -> tasks.a"},
    {"tasks:\n  a: {run: 'x ${tasks.a.outputs.m}', outputs: {m: m}}\n", "E0301"},
    {"tasks:\n  a: {needs: [tasks.c], run: 'x'}\n  b: {needs: [tasks.a], run: 'x'}\n"
     "  c: {needs: [tasks.b], run: 'x'}\n",
     "tasks.a (line 3) -> tasks.c (line 5) -> tasks.b (line 4) -> tasks.a"},
    {"tasks:\n  a: {run: 'x', outputs: {m: ../m}}\n", "E0304"},
    {"tasks:\n  a: {run: 'x', outputs: {m: f, n: f}}\n", "are the same file"},
    {"params: {a: '${params.b}', b: '${params.a}'}\ntasks:\n  t: {run: "
     "'${params.a}'}\n",
     "E0201"},
    {"env: {A: '${matrix.x}'}\ntasks:\n  t: {run: 'x'}\n", "there is no matrix here"},
    {"notify: [{on: [failed], url: 'http://x/${params.no}'}]\ntasks:\n  t: {run: "
     "'x'}\n",
     "there is no parameter 'no'"},
    {"profiles: {p: {tasks: {t: {run: '${'}}}}\ntasks:\n  t: {run: 'x'}\n", "E0201"},
    {"checks:\n  c: {value: '${tasks.no.metrics.x}', than: 1}\ntasks:\n  t: {run: "
     "'x'}\n",
     "there is no tasks.no"},
};

START_TEST(test_bad)
{
    build(bad[_i].text);
    assert_diag(&f, bad[_i].want);
}
END_TEST

START_TEST(test_all_at_once)
{
    build("tasks:\n"
          "  a: {run: '${params.x} ${params.y} ${env.RAYWF_SURELY_NOT_SET}'}\n"
          "  b: {run: '${tasks.zz.outputs.o}', needs: [tasks.c]}\n"
          "  c: {needs: [tasks.b], run: 'x'}\n");
    ck_assert_ptr_null(f.graph);
    ck_assert_uint_eq(recipe_diags_errors(f.diags), 5);
    ck_assert_int_eq(f.err.code, RWF_E_RECIPE);
}
END_TEST

START_TEST(test_defaults)
{
    build(
        "env: {A: top, B: top}\n"
        "defaults:\n"
        "  timeout: 5m\n"
        "  env: {B: mid, C: mid}\n"
        "  retry: {max: 2, backoff: {initial: 2s, factor: 3, max: 9s}}\n"
        "  resources: {cpu: 2, custom: {disk: 4}}\n"
        "tasks:\n"
        "  a: {run: 'x', env: {C: own}, retry: {max: 5}}\n"
        "  b: {argv: [x], timeout: 1s, retry: 1, resources: {memory: 1GiB, gpu: 0.5}}\n"
        "checks:\n"
        "  c: {value: '${tasks.a.metrics.m}', than: 1}\n");
    assert_built(&f);
    ASSERT_TAKEN(spec_of("tasks.a"),
                 "{\"argv\":[\"sh\",\"-euc\",\"x\"],\"env\":{\"A\":"
                 "\"top\",\"B\":\"mid\",\"C\":\"own\"},\"outputs\":{}}");
    const struct plan_policy *a = step_at(&f, "tasks.a")->policy;
    const struct plan_policy *b = step_at(&f, "tasks.b")->policy;
    const struct plan_policy *c = step_at(&f, "checks.c")->policy;
    ck_assert_int_eq(a->retry_max, 5);
    ck_assert_int_eq(a->backoff_initial, INT64_C(2000000000));
    ck_assert_int_eq(a->backoff_max, INT64_C(9000000000));
    ck_assert_double_eq(a->backoff_factor, 3);
    ck_assert_int_eq(a->timeout, INT64_C(300000000000));
    ck_assert_double_eq(a->cpu, 2);
    ck_assert_int_eq(b->retry_max, 1);
    ck_assert_int_eq(b->timeout, INT64_C(1000000000));
    ck_assert_int_eq(b->memory, INT64_C(1) << 30);
    ck_assert_double_eq(b->gpu, 0.5);
    ck_assert_uint_eq(b->custom_count, 1);
    ck_assert_str_eq(b->custom_names[0], "disk");
    ck_assert_double_eq(b->custom_amounts[0], 4);
    ck_assert_int_eq(c->timeout, 0);
    ck_assert_double_eq(c->cpu, 1);
    ck_assert_int_eq(c->log_limit, INT64_C(64) << 20);
    ck_assert(c->cache);
}
END_TEST

START_TEST(test_typed)
{
    build(
        "params:\n"
        "  n: {type: int, default: 3}\n"
        "  mem: {type: size, default: 2GiB}\n"
        "  on: {type: bool, default: false}\n"
        "  derived: {type: string, default: 'n=${params.n}'}\n"
        "tasks:\n"
        "  a:\n"
        "    argv: [x, '${params.n}', '${params.derived}', 3.10, 1e-4, no, '$${HOME}', "
        "'${env.RAYWF_SURELY_NOT_SET ?? \"dflt\"}', '${recipe.name}']\n"
        "    retry: {max: '${params.n}'}\n"
        "    cache: ${params.on}\n"
        "    resources: {memory: '${params.mem}'}\n");
    assert_built(&f);
    ASSERT_TAKEN(spec_of("tasks.a"),
                 "{\"argv\":[\"x\",\"3\",\"n=3\",\"3.10\",\"1e-4\",\"no\",\"${HOME}\","
                 "\"dflt\",\"recipe\"],\"env\":{},\"outputs\":{}}");
    const struct plan_policy *p = step_at(&f, "tasks.a")->policy;
    ck_assert_int_eq(p->retry_max, 3);
    ck_assert(!p->cache);
    ck_assert_int_eq(p->memory, INT64_C(2) << 30);
}
END_TEST

START_TEST(test_bomb)
{
    struct rwf_str text = {0};

    rwf_str_add(&text, "params:\n  p0: {type: string, default: xxxxxxxxxxxxxxxx}\n");
    for (int i = 1; i < 30; i++)
        rwf_str_addf(&text,
                     "  p%d: {type: string, default: '${params.p%d}${params.p%d}"
                     "${params.p%d}'}\n",
                     i, i - 1, i - 1, i - 1);
    rwf_str_add(&text, "tasks:\n  a: {run: '${params.p29}'}\n");
    build(text.data);
    assert_diag(&f, "expand to more than");
    rwf_str_free(&text);
}
END_TEST

START_TEST(test_prune)
{
    static const char *const only[] = {"tasks.c"}, *const from[] = {"tasks.b"};
    static const struct plan_options only_c = {.only = only, .only_count = 1};
    static const struct plan_options from_b = {.from = from, .from_count = 1};
    static const char text[] =
        "tasks:\n"
        "  z: {run: 'x'}\n"
        "  a: {run: 'x', outputs: {o: o}}\n"
        "  b: {run: 'x'}\n"
        "  c: {run: 'x ${tasks.a.outputs.o}', outputs: {o: o}}\n"
        "  d: {run: 'x ${tasks.c.outputs.o}', needs: [tasks.b]}\n";

    fixture_build(&f, text, test_ops, &only_c);
    assert_built(&f);
    ASSERT_TAKEN(addresses(&f), "tasks.a tasks.c");
    ASSERT_TAKEN(needs_of(&f, "tasks.c"), "tasks.a");
    ck_assert_uint_eq(plan_graph_find(f.graph, "tasks.z"), PLAN_NO_STEP);
    ASSERT_TAKEN(spec_of("tasks.c"),
                 "{\"argv\":[\"sh\",\"-euc\",\"x <tasks.a.outputs.o>\"],"
                 "\"env\":{},\"outputs\":{\"o\":\"o\"}}");
    fixture_close(&f);
    fixture_open(&f);
    fixture_build(&f, text, test_ops, &from_b);
    assert_built(&f);
    ASSERT_TAKEN(addresses(&f), "tasks.a tasks.b tasks.c tasks.d");
}
END_TEST

START_TEST(test_prune_unknown)
{
    static const char *const only[] = {"tasks.trian"};
    static const struct plan_options options = {.only = only, .only_count = 1};

    fixture_build(&f, "tasks:\n  train: {run: 'x'}\n", test_ops, &options);
    ck_assert_ptr_null(f.graph);
    ck_assert_int_eq(f.err.code, RWF_E_NORUN);
    ck_assert_ptr_nonnull(strstr(f.err.text, "did you mean 'tasks.train'?"));
}
END_TEST

static const char *give_output(void *ctx, uint32_t step, const char *name,
                               enum plan_mode mode)
{
    static char text[100];

    (void)ctx;
    snprintf(text, sizeof(text), mode == PLAN_KEY ? "sha256:%u%s" : "/out/%u/%s", step,
             name);
    return step < 100 ? text : NULL;
}

static int give_metric(void *ctx, uint32_t step, const char *name, double *ret)
{
    (void)ctx;
    (void)step;
    *ret = 0.25;
    return strcmp(name, "acc") == 0 ? 0 : -1;
}

static const char *give_names(void *ctx, uint32_t step)
{
    (void)ctx;
    (void)step;
    return "acc, loss";
}

static const char *give_dir(void *ctx, uint32_t step)
{
    (void)ctx;
    (void)step;
    return "/attempt";
}

static const struct plan_results results = {
    .output = give_output,
    .metric = give_metric,
    .metric_names = give_names,
    .run_id = "R1",
    .dir = give_dir,
};

START_TEST(test_modes)
{
    setenv("RAYWF_TEST_SECRET", "canary-value", 1);
    build(
        "secrets: {K: {env: RAYWF_TEST_SECRET}}\n"
        "tasks:\n"
        "  a: {run: 'x', outputs: {o: o}}\n"
        "  b:\n"
        "    argv: [x, '${tasks.a.outputs.o}', '${tasks.a.metrics.acc}', '${run.id}', "
        "'${step.dir}', '${inputs.d}', '${recipe.dir}/s']\n"
        "    env: {K: '${secrets.K}'}\n"
        "    inputs: {d: d.csv}\n"
        "    dir: sub\n");
    assert_built(&f);
    ASSERT_TAKEN(
        spec_of("tasks.b"),
        rwf_arena_printf(
            recipe_arena(f.recipe),
            "{\"argv\":[\"x\",\"<tasks.a.outputs.o>\",\"<tasks.a.metrics.acc>\","
            "\"<run.id>\",\"<step.dir>\",\"d.csv\",\"%s/s\"],\"dir\":\"sub\",\"env\":"
            "{\"K\":\"[secret:K]\"},\"inputs\":{\"d\":\"d.csv\"},\"outputs\":{}}",
            f.dir));
    plan_graph_resolve_as(f.graph, PLAN_KEY, &results);
    ASSERT_TAKEN(
        spec_of("tasks.b"),
        "{\"argv\":[\"x\",\"sha256:0o\",\"0.25\",\"<run.id>\",\"<step.dir>\","
        "\"d.csv\",\"<recipe.dir>/s\"],\"dir\":\"sub\",\"env\":{\"K\":\"secret:K\"},"
        "\"inputs\":{\"d\":\"d.csv\"},\"outputs\":{}}");
    ck_assert_int_eq(recipe_secrets_read(f.recipe, &f.err), 0);
    plan_graph_resolve_as(f.graph, PLAN_RUN, &results);
    ASSERT_TAKEN(
        spec_of("tasks.b"),
        rwf_arena_printf(
            recipe_arena(f.recipe),
            "{\"argv\":[\"x\",\"/out/0/o\",\"0.25\",\"R1\",\"/attempt\","
            "\"%s/d.csv\",\"%s/s\"],\"dir\":\"%s/sub\",\"env\":{\"K\":"
            "\"canary-value\"},\"inputs\":{\"d\":\"%s/d.csv\"},\"outputs\":{}}",
            f.dir, f.dir, f.dir, f.dir));
}
END_TEST

START_TEST(test_missing_metric)
{
    build("tasks:\n  a: {run: 'x'}\n"
          "checks:\n  c: {value: '${tasks.a.metrics.f1}', than: 1}\n");
    assert_built(&f);
    plan_graph_resolve_as(f.graph, PLAN_RUN, &results);
    ck_assert_ptr_null(plan_step_spec(f.graph, step_at(&f, "checks.c"), &f.err));
    ck_assert_ptr_nonnull(strstr(f.err.text, "recipe.yaml:5:"));
    ck_assert_ptr_nonnull(strstr(f.err.text, "no metric 'f1'; it reported: acc, loss"));
}
END_TEST

START_TEST(test_when)
{
    build("params: {full: false}\n"
          "tasks:\n"
          "  a: {run: 'x', when: '${params.full}'}\n"
          "  b: {run: 'x', when: '${tasks.a.metrics.acc} < 0.5'}\n"
          "  c: {run: 'x'}\n"
          "  d: {run: 'x', when: true}\n");
    assert_built(&f);
    ck_assert_int_eq(plan_step_when(f.graph, step_at(&f, "tasks.a"), &f.err), 0);
    ck_assert_int_eq(plan_step_when(f.graph, step_at(&f, "tasks.c"), &f.err), 1);
    ck_assert_int_eq(plan_step_when(f.graph, step_at(&f, "tasks.d"), &f.err), 1);
    ck_assert(!plan_step_when_pending(f.graph, step_at(&f, "tasks.a")));
    ck_assert(plan_step_when_pending(f.graph, step_at(&f, "tasks.b")));
    ck_assert_int_eq(plan_step_when(f.graph, step_at(&f, "tasks.b"), &f.err), -1);
    plan_graph_resolve_as(f.graph, PLAN_RUN, &results);
    ck_assert_int_eq(plan_step_when(f.graph, step_at(&f, "tasks.b"), &f.err), 1);
    ASSERT_TAKEN(needs_of(&f, "tasks.b"), "tasks.a");
}
END_TEST

static char *outcome(const char *address, bool *ret_ok)
{
    const struct plan_step *s = step_at(&f, address);
    json_t *spec = plan_step_spec(f.graph, s, &f.err);
    struct op_outcome out = {0};

    ck_assert_msg(spec != NULL, "%s", f.err.text);
    ck_assert_int_eq(s->op->decide(spec, &out, &f.err), 0);
    *ret_ok = out.ok;
    ck_assert_int_eq(out.exit_code, out.ok ? 0 : 11);
    json_decref(out.metrics);
    json_decref(spec);
    return out.message;
}

START_TEST(test_check_op)
{
    bool ok;

    build("params: {mode: fast}\n"
          "tasks:\n  a: {run: 'x'}\n"
          "checks:\n"
          "  low: {value: '${tasks.a.metrics.acc}', op: '>=', than: 0.9}\n"
          "  fine: {value: '${tasks.a.metrics.acc}', op: '<', than: 0.9}\n"
          "  dflt: {value: '${tasks.a.metrics.acc}', than: 0.25}\n"
          "  text: {value: '${params.mode}', op: '==', than: fast}\n"
          "  other: {value: '${params.mode}', op: '!=', than: fast}\n"
          "  mixed: {value: '${params.mode}', op: '>', than: 3}\n");
    assert_built(&f);
    plan_graph_resolve_as(f.graph, PLAN_RUN, &results);
    ASSERT_TAKEN(outcome("checks.low", &ok), "acc = 0.25, expected >= 0.9");
    ck_assert(!ok);
    ASSERT_TAKEN(outcome("checks.fine", &ok), "acc = 0.25, expected < 0.9");
    ck_assert(ok);
    ASSERT_TAKEN(outcome("checks.dflt", &ok), "acc = 0.25, expected >= 0.25");
    ck_assert(ok);
    ASSERT_TAKEN(outcome("checks.text", &ok),
                 "params.mode = 'fast', expected == 'fast'");
    ck_assert(ok);
    ASSERT_TAKEN(outcome("checks.other", &ok),
                 "params.mode = 'fast', expected != 'fast'");
    ck_assert(!ok);
    ASSERT_TAKEN(outcome("checks.mixed", &ok),
                 "params.mode = 'fast', and > compares only numbers, not with 3");
    ck_assert(!ok);
}
END_TEST

START_TEST(test_mock_op)
{
    struct op_outcome out = {0};
    json_t *spec;

    fixture_build(&f, "tasks:\n  a: {run: 'acc=0.5 n=3'}\n  b: {argv: [fail]}\n",
                  mock_ops, NULL);
    assert_built(&f);
    spec = plan_step_spec(f.graph, step_at(&f, "tasks.a"), &f.err);
    ck_assert_int_eq(plan_mock_op.decide(spec, &out, &f.err), 0);
    ck_assert(out.ok);
    ck_assert_double_eq(json_number_value(json_object_get(out.metrics, "acc")), 0.5);
    json_decref(spec);
    json_decref(out.metrics);
    free(out.message);
    spec = plan_step_spec(f.graph, step_at(&f, "tasks.b"), &f.err);
    ck_assert_int_eq(plan_mock_op.decide(spec, &out, &f.err), 0);
    ck_assert(!out.ok);
    json_decref(spec);
    json_decref(out.metrics);
    free(out.message);
}
END_TEST

START_TEST(test_shell_and_command)
{
    struct op_command c = {0};
    json_t *spec;

    build("defaults: {shell: [bash, -c]}\n"
          "tasks:\n  a: {run: 'x', dir: sub}\n  b: {argv: [echo, hi]}\n");
    assert_built(&f);
    plan_graph_resolve_as(f.graph, PLAN_RUN, &results);
    spec = plan_step_spec(f.graph, step_at(&f, "tasks.a"), &f.err);
    ck_assert_int_eq(plan_task_op.command(spec, &c, &f.err), 0);
    ck_assert_str_eq(json_string_value(json_array_get(c.argv, 0)), "bash");
    ck_assert_str_eq(json_string_value(json_array_get(c.argv, 2)), "x");
    ck_assert(strncmp(c.dir, f.dir, strlen(f.dir)) == 0);
    json_decref(spec);
    json_decref(c.argv);
    json_decref(c.env);
    free(c.dir);
    ASSERT_TAKEN(spec_of("tasks.b"),
                 "{\"argv\":[\"echo\",\"hi\"],\"env\":{},\"outputs\":{}}");
}
END_TEST

START_TEST(test_long_chain)
{
    struct rwf_str text = {0};

    rwf_str_add(&text, "tasks:\n  t0: {run: 'x', outputs: {o: o}}\n");
    for (int i = 1; i < 3000; i++)
        rwf_str_addf(&text, "  t%d: {run: '${tasks.t%d.outputs.o}', outputs: {o: o}}\n",
                     i, i - 1);
    build(text.data);
    assert_built(&f);
    ck_assert_uint_eq(plan_graph_count(f.graph), 3000);
    rwf_str_free(&text);
}
END_TEST

START_TEST(test_long_cycle)
{
    struct rwf_str text = {0};

    rwf_str_add(&text, "tasks:\n");
    for (int i = 0; i < 2000; i++)
        rwf_str_addf(&text, "  t%d: {run: 'x', needs: [tasks.t%d]}\n", i,
                     (i + 1) % 2000);
    build(text.data);
    assert_diag(&f, "more …");
    rwf_str_free(&text);
}
END_TEST

START_TEST(test_schema_errors_do_not_crash)
{
    build("tasks: {a: 3, b: [x], c: {run: {}, outputs: [], needs: {}, matrix: 3, when: "
          "[], "
          "inputs: x, env: 3}, d: null, e: {argv: 3, retry: [], resources: 1, "
          "foreach: {items: {}}}}\nchecks: {x: {value: [], than: {}}}\nenv: 3\n"
          "defaults: 4\nnotify: {}\n");
    ck_assert_ptr_null(f.graph);
    ck_assert_uint_gt(recipe_diags_errors(f.diags), 3);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("graph");
    TCase *tc = tcase_create("graph");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, test_order);
    tcase_add_loop_test(tc, test_bad, 0, (int)RWF_COUNT(bad));
    tcase_add_test(tc, test_all_at_once);
    tcase_add_test(tc, test_defaults);
    tcase_add_test(tc, test_typed);
    tcase_add_test(tc, test_bomb);
    tcase_add_test(tc, test_prune);
    tcase_add_test(tc, test_prune_unknown);
    tcase_add_test(tc, test_modes);
    tcase_add_test(tc, test_missing_metric);
    tcase_add_test(tc, test_when);
    tcase_add_test(tc, test_check_op);
    tcase_add_test(tc, test_mock_op);
    tcase_add_test(tc, test_shell_and_command);
    tcase_add_test(tc, test_long_chain);
    tcase_add_test(tc, test_long_cycle);
    tcase_add_test(tc, test_schema_errors_do_not_crash);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
