/* SPDX-License-Identifier: Apache-2.0
 * Plan files: the same graph again, from the plan alone; and what is refused. */
#include "config.h"
#include "plan/planfile.h"
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

static const char text[] =
    "params: {n: 2}\n"
    "tasks:\n"
    "  a: {run: 'x ${env.RAYWF_TEST_VAR}', foreach: {glob: '*.csv'}, "
    "outputs: {o: o}}\n"
    "  b: {run: 'y ${tasks.a.outputs.o} ${params.n}'}\n"
    "  c: {run: z}\n";

/* A plan, through text as on disk. */
static json_t *make_plan(const struct plan_options *options, const char *const *keys)
{
    json_t *plan, *again;
    char *dump;

    setenv("RAYWF_TEST_VAR", "then", 1);
    write_file(&f, "1.csv", "");
    write_file(&f, "2.csv", "");
    fixture_build(&f, text, test_ops, options);
    assert_built(&f);
    plan = planfile_make(f.graph, options, keys);
    dump = json_dumps(plan, 0);
    ck_assert(planfile_is(dump, strlen(dump)));
    again = json_loads(dump, 0, NULL);
    free(dump);
    json_decref(plan);
    return again;
}

START_TEST(test_again)
{
    static const char *const only[] = {"tasks.b"};
    static const struct plan_options options = {.only = only, .only_count = 1};
    static const char *const keys[] = {"k0", NULL, "k2"};
    json_t *plan = make_plan(&options, keys), *spec;
    struct recipe *r = NULL;
    struct plan_graph *g;

    ck_assert_str_eq(json_string_value(json_object_get(
                         json_array_get(json_object_get(plan, "steps"), 0), "key")),
                     "k0");
    ck_assert(json_is_null(
        json_object_get(json_array_get(json_object_get(plan, "steps"), 1), "key")));
    setenv("RAYWF_TEST_VAR", "now", 1);
    write_file(&f, "3.csv", "");
    write_file(&f, "recipe.yaml", "not: [a recipe");
    g = planfile_open(plan, test_ops, &r, f.diags, &f.err);
    ck_assert_msg(g != NULL, "%s", f.err.text);
    ck_assert_uint_eq(plan_graph_count(g), 3);
    spec = plan_step_spec(g, plan_graph_step(g, 0), &f.err);
    ck_assert_str_eq(
        json_string_value(json_array_get(json_object_get(spec, "argv"), 2)), "x then");
    json_decref(spec);
    plan_graph_destroy(g);
    recipe_destroy(r);
    json_decref(plan);
}
END_TEST

static void expect_refusal(json_t *plan, int code, const char *part)
{
    struct recipe *r = NULL;
    struct plan_graph *g = planfile_open(plan, test_ops, &r, f.diags, &f.err);

    ck_assert_ptr_null(g);
    ck_assert_msg(f.err.code == code && strstr(f.err.text, part), "%d %s", f.err.code,
                  f.err.text);
    recipe_destroy(r);
    json_decref(plan);
}

START_TEST(test_refused)
{
    json_t *plan = make_plan(NULL, NULL);
    json_t *steps = json_object_get(plan, "steps");

    switch (_i) {
    case 0:
        json_array_remove(steps, 3);
        expect_refusal(plan, RWF_E_LOCK, "step 4");
        break;
    case 1:
        json_array_append_new(steps, json_pack("{ss}", "address", "tasks.evil"));
        expect_refusal(plan, RWF_E_LOCK, "has 5 steps");
        break;
    case 2:
        json_object_set_new(json_array_get(steps, 0), "address",
                            json_string("tasks.q"));
        expect_refusal(plan, RWF_E_LOCK, "make the plan anew");
        break;
    case 3:
        json_object_set_new(plan, "v", json_string("2.0"));
        expect_refusal(plan, RWF_E_LOCK, "format 2.0");
        break;
    case 4:
        json_object_set_new(plan, "kind", json_integer(3));
        expect_refusal(plan, RWF_E_INPUT, "not a plan");
        break;
    case 5:
        json_object_set_new(plan, "recipe", json_object());
        expect_refusal(plan, RWF_E_INPUT, "snapshot");
        break;
    case 6:
        json_object_set_new(plan, "only", json_pack("[i]", 3));
        expect_refusal(plan, RWF_E_INPUT, "damaged");
        break;
    case 7:
        json_object_set_new(plan, "steps", json_string("x"));
        expect_refusal(plan, RWF_E_INPUT, "damaged");
        break;
    default:
        json_object_set_new(plan, "only", json_pack("[s]", "tasks.nope"));
        expect_refusal(plan, RWF_E_NORUN, "tasks.nope");
    }
}
END_TEST

START_TEST(test_is)
{
    static const struct {
        const char *text;
        bool is;
    } rows[] = {
        {"{\"v\": \"1.0\", \"kind\": \"raywf-plan\"", true},
        {"\n  {\"kind\":\"raywf-plan\"}", true},
        {"recipe: raywf/v1 # \"raywf-plan\"", false},
        {"{recipe: raywf/v1}", false},
        {"", false},
        {"   ", false},
    };

    for (size_t i = 0; i < RWF_COUNT(rows); i++)
        ck_assert_msg(planfile_is(rows[i].text, strlen(rows[i].text)) == rows[i].is,
                      "%s", rows[i].text);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("planfile");
    TCase *tc = tcase_create("planfile");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_again);
    tcase_add_loop_test(tc, test_refused, 0, 9);
    tcase_add_test(tc, test_is);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
