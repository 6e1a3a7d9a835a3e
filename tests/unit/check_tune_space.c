/* SPDX-License-Identifier: Apache-2.0
 *
 * Search spaces: what is refused and how, values and their unit coordinates,
 * conditions, grids.
 */
#include "config.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "tune/grid.h"
#include "tune/space.h"

static struct tune_space *make(const char *text)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_error_t where;
    json_t *spec = json_loads(text, 0, &where);
    ck_assert_msg(spec, "%s: %s", where.text, text);
    struct tune_space *s = tune_space_create(spec, &err);
    ck_assert_msg(s, "%s", err.text);
    json_decref(spec);
    return s;
}

static const struct bad {
    const char *spec, *text;
} bads[] = {
    {"{}", "space: needs at least one parameter"},
    {"[]", "space: needs at least one parameter"},
    {"{'lr': 3}", "space 'lr': needs a map with a 'type'"},
    {"{'lr': {'min': 3}}", "space 'lr': needs a map with a 'type'"},
    {"{'lr': {'type': 'logunifrom'}}",
     "space 'lr': unknown type 'logunifrom': did you mean "
     "'loguniform'?"},
    {"{'lr': {'type': 'qwertyuiop'}}", "there are: choice, grid, uniform"},
    {"{'lr': {'type': 'uniform', 'min': 0}}", "space 'lr': uniform needs 'max'"},
    {"{'lr': {'type': 'uniform', 'mn': 0, 'max': 1}}",
     "unknown key 'mn': did you mean 'min'?"},
    {"{'lr': {'type': 'uniform', 'min': 0, 'max': 1, 'q': 1}}",
     "uniform has no key 'q'"},
    {"{'lr': {'type': 'uniform', 'min': 2, 'max': 1}}",
     "the range is empty: min 2 is above max 1; exchange them"},
    {"{'lr': {'type': 'uniform', 'min': 1, 'max': 1}}",
     "use {type: choice, values: [1]}"},
    {"{'lr': {'type': 'uniform', 'min': '0', 'max': 1}}", "'min' must be a number"},
    {"{'lr': {'type': 'uniform', 'min': -1.7e308, 'max': 1.7e308}}", "is too wide"},
    {"{'lr': {'type': 'loguniform', 'min': 0, 'max': 1}}",
     "min is 0, and the logarithm of that does not exist: loguniform needs min above "
     "0; raise "
     "it, or use uniform"},
    {"{'n': {'type': 'logint', 'min': 0, 'max': 8}}", "or use int"},
    {"{'n': {'type': 'int', 'min': 1.5, 'max': 8}}",
     "'min' of int must be a whole number"},
    {"{'n': {'type': 'int', 'min': 1, 'max': 10, 'step': 4}}", "write max: 9 or 13"},
    {"{'n': {'type': 'int', 'min': 1, 'max': 10, 'step': 0}}",
     "'step' must be above 0"},
    {"{'d': {'type': 'quniform', 'min': 0, 'max': 1, 'q': -1}}", "'q' must be above 0"},
    {"{'d': {'type': 'quniform', 'min': 0, 'max': 1, 'q': 0.3}}",
     "write max: 0.9 or 1.2"},
    {"{'d': {'type': 'quniform', 'min': 0, 'max': 1, 'q': 1e-300}}", "is too small"},
    {"{'d': {'type': 'normal', 'mean': 0, 'std': 0}}", "'std' must be above 0"},
    {"{'d': {'type': 'normal', 'mean': 0}}", "normal needs 'std'"},
    {"{'o': {'type': 'choice', 'values': []}}", "a list of at least one value"},
    {"{'o': {'type': 'choice', 'values': 'sgd'}}", "a list of at least one value"},
    {"{'o': {'type': 'choice', 'values': [1, 2, 1.0]}}", "'values' has 1.0 twice"},
    {"{'o': {'type': 'choice', 'values': [1], 'when': 3}}", "'when' must be a map"},
    {"{'o': {'type': 'choice', 'values': [1], 'when': {'p': 3}}}",
     "'when' names 'p', which is not in the space"},
    {"{'opt': {'type': 'choice', 'values': ['sgd', 'adam']},"
     " 'm': {'type': 'uniform', 'min': 0, 'max': 1, 'when': {'optt': 'sgd'}}}",
     "did you mean 'opt'?"},
    {"{'opt': {'type': 'choice', 'values': ['sgd', 'adam']},"
     " 'm': {'type': 'uniform', 'min': 0, 'max': 1, 'when': {'opt': 'sdg'}}}",
     "space 'm': 'when': 'opt' has no value \"sdg\": did you mean 'sgd'?"},
    {"{'opt': {'type': 'choice', 'values': ['sgd', 'adam']},"
     " 'm': {'type': 'uniform', 'min': 0, 'max': 1, 'when': {'opt': []}}}",
     "lists no value"},
    {"{'n': {'type': 'int', 'min': 1, 'max': 3},"
     " 'm': {'type': 'uniform', 'min': 0, 'max': 1, 'when': {'n': 4}}}",
     "'n' is 4, outside of its range 1 to 3"},
    {"{'a': {'type': 'uniform', 'min': 0, 'max': 1},"
     " 'm': {'type': 'uniform', 'min': 0, 'max': 1, 'when': {'a': 0.5}}}",
     "'when' names 'a', which is uniform and never takes one value"},
    {"{'x': {'type': 'choice', 'values': [1], 'when': {'a': 1}},"
     " 'a': {'type': 'choice', 'values': [1], 'when': {'b': 1}},"
     " 'b': {'type': 'choice', 'values': [1], 'when': {'a': 1}}}",
     "goes in a circle through"},
    {"{'a': {'type': 'choice', 'values': [1], 'when': {'a': 1}}}",
     "space 'a': 'when' goes in a circle through 'a'"},
};

/* Single quotes are easier to read in a table. */
static json_t *quoted(const char *text)
{
    char *copy = rwf_xstrdup(text);
    for (char *c = copy; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    json_t *j = json_loads(copy, 0, NULL);
    ck_assert_msg(j, "%s", copy);
    free(copy);
    return j;
}

START_TEST(bad_spaces)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *spec = quoted(bads[_i].spec);
    ck_assert_msg(!tune_space_create(spec, &err), "%s", bads[_i].spec);
    ck_assert_msg(strstr(err.text, bads[_i].text), "'%s' is not in: %s", bads[_i].text,
                  err.text);
    ck_assert_int_eq(rwf_exit_code(&err), 3);
    json_decref(spec);
}
END_TEST

static const char all_kinds[] =
    "{\"c\": {\"type\": \"choice\", \"values\": [\"a\", 2, null, {\"k\": [1]}, true]},"
    " \"g\": {\"type\": \"grid\", \"values\": [0.5, 1]},"
    " \"u\": {\"type\": \"uniform\", \"min\": -3, \"max\": 7},"
    " \"l\": {\"type\": \"loguniform\", \"min\": 1e-6, \"max\": 10},"
    " \"q\": {\"type\": \"quniform\", \"min\": 0.1, \"max\": 0.9, \"q\": 0.1},"
    " \"i\": {\"type\": \"int\", \"min\": -4, \"max\": 20, \"step\": 3},"
    " \"b\": {\"type\": \"logint\", \"min\": 1, \"max\": 300},"
    " \"n\": {\"type\": \"normal\", \"mean\": 5, \"std\": 2}}";

/* Every coordinate gives a value in range whose coordinate is in the same cell; JSON
 * and back changes nothing, through text, too. */
START_TEST(coordinates_and_back)
{
    struct tune_space *s = make(all_kinds);
    uint32_t n = tune_space_count(s);
    double x[8], back[8];
    for (int k = 0; k <= 1000; k++) {
        double u = k / 1000.0;
        for (uint32_t i = 0; i < n; i++) {
            const struct tune_param *p = tune_space_param(s, i);
            double low, high;
            x[i] = tune_param_at(p, u);
            ck_assert(x[i] >= p->min && x[i] <= p->max);
            tune_param_cell(p, x[i], &low, &high);
            ck_assert_msg(u >= low - 1e-9 && u <= high + 1e-9, "%s at %g", p->key, u);
            ck_assert(tune_param_at(p, tune_param_unit(p, x[i])) == x[i] || !p->levels);
        }
        json_t *config = tune_space_config(s, x);
        char *text = json_dumps(config, 0);
        json_t *again = json_loads(text, 0, NULL);
        ck_assert(!tune_space_read(s, again, false, back, NULL));
        for (uint32_t i = 0; i < n; i++)
            ck_assert(back[i] == x[i]);
        json_decref(config);
        json_decref(again);
        free(text);
    }
    tune_space_destroy(s);
}
END_TEST

START_TEST(ends_are_included)
{
    struct tune_space *s = make(all_kinds);
    for (uint32_t i = 0; i < tune_space_count(s); i++) {
        const struct tune_param *p = tune_space_param(s, i);
        if (p->type == TUNE_NORMAL)
            continue;
        ck_assert_double_eq(tune_param_at(p, 0), p->min);
        ck_assert_double_eq(tune_param_at(p, 1), p->max);
    }
    const struct tune_param *q = tune_space_param(s, (uint32_t)tune_space_find(s, "q"));
    ck_assert_uint_eq(q->levels, 9);
    ck_assert(tune_param_at(q, 0.3) == 0.3); /* not 0.30000000000000004 */
    const struct tune_param *normal =
        tune_space_param(s, (uint32_t)tune_space_find(s, "n"));
    ck_assert_double_eq_tol(tune_param_at(normal, 0.9772498680518208), 9, 1e-9);
    tune_space_destroy(s);
}
END_TEST

static const char conditions[] =
    "{\"opt\": {\"type\": \"choice\", \"values\": [\"sgd\", \"adam\", \"lion\"]},"
    " \"mom\": {\"type\": \"uniform\", \"min\": 0, \"max\": 1, \"when\": {\"opt\": "
    "\"sgd\"}},"
    " \"nes\": {\"type\": \"choice\", \"values\": [true, false], \"when\": {\"opt\": "
    "\"sgd\"}},"
    " \"beta\": {\"type\": \"uniform\", \"min\": 0, \"max\": 1,"
    "            \"when\": {\"opt\": [\"lion\", \"adam\"]}},"
    " \"beta2\": {\"type\": \"uniform\", \"min\": 0, \"max\": 1,"
    "            \"when\": {\"opt\": [\"adam\", \"lion\"]}},"
    " \"damp\": {\"type\": \"uniform\", \"min\": 0, \"max\": 1,"
    "            \"when\": {\"nes\": true, \"opt\": \"sgd\"}}}";

static double half(void *arg, uint32_t i)
{
    return tune_param_at(tune_space_param(arg, i), 0.4);
}

START_TEST(conditions_chain)
{
    struct tune_space *s = make(conditions);
    double x[6] = {NAN, NAN, NAN, NAN, NAN, NAN};
    ck_assert_uint_eq(tune_space_group_count(s), 4);
    x[tune_space_find(s, "opt")] = 0;
    x[tune_space_find(s, "beta")] = 0.3;
    tune_space_settle(s, x, half, s);
    json_t *config = tune_space_config(s, x);
    char *text = json_dumps(config, JSON_COMPACT);
    ck_assert_str_eq(text, "{\"damp\":0.40000000000000002,\"mom\":0.40000000000000002,"
                           "\"nes\":true,\"opt\":\"sgd\"}");
    free(text);
    x[tune_space_find(s, "nes")] = 1;
    tune_space_settle(s, x, half, s);
    ck_assert(isnan(x[tune_space_find(s, "damp")]));
    json_decref(config);
    tune_space_destroy(s);
}
END_TEST

static const struct bad bad_configs[] = {
    {"[]", "a configuration is a map"},
    {"{'opt': 'adam', 'beta': 0.5}", "'beta2' has no value"},
    {"{'opt': 'adam', 'beta': 2, 'beta2': 0}",
     "'beta' is 2, outside of its range 0 to 1"},
    {"{'opt': 'adam', 'bta': 2}", "did you mean 'beta'?"},
    {"{'opt': 'adam', 'zzzzzzzz': 2}", "is no parameter of the space: add it there"},
    {"{'opt': 'adam', 'beta': 0.5, 'beta2': 0.5, 'mom': 0.5}",
     "its 'when' does not hold"},
    {"{'opt': 'adma'}", "did you mean 'adam'?"},
    {"{'opt': 'adam', 'beta': 'x'}", "'beta' must be a number"},
};

START_TEST(bad_configurations)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct tune_space *s = make(conditions);
    double x[6];
    json_t *config = quoted(bad_configs[_i].spec);
    ck_assert(tune_space_read(s, config, false, x, &err));
    ck_assert_msg(strstr(err.text, bad_configs[_i].text), "'%s' is not in: %s",
                  bad_configs[_i].text, err.text);
    json_decref(config);
    tune_space_destroy(s);
}
END_TEST

/* The order in which a recipe lists parameters does not matter. */
START_TEST(numbers_are_canonical)
{
    struct tune_space *s = make("{\"b\": {\"type\": \"int\", \"min\": 1, \"max\": 2},"
                                " \"a\": {\"type\": \"int\", \"min\": 1, \"max\": 2}}");
    ck_assert_str_eq(tune_space_param(s, 0)->key, "a");
    ck_assert_int_eq(tune_space_find(s, "b"), 1);
    ck_assert_int_eq(tune_space_find(s, "c"), -1);
    tune_space_destroy(s);
}
END_TEST

/* --- grids --- */

START_TEST(grid_lists_each_once)
{
    struct tune_space *s =
        make("{\"opt\": {\"type\": \"grid\", \"values\": [\"sgd\", \"adam\"]},"
             " \"mom\": {\"type\": \"grid\", \"values\": [0.8, 0.9, 0.99],"
             "           \"when\": {\"opt\": \"sgd\"}},"
             " \"size\": {\"type\": \"choice\", \"values\": [1, 2]},"
             " \"n\": {\"type\": \"logint\", \"min\": 3, \"max\": 4}}");
    struct tune_grid *g = tune_grid_create(s, true, NULL);
    /* (sgd: 3, adam: 1) times 2 times 2 */
    ck_assert_uint_eq(tune_grid_count(g), 16);
    json_t *seen = json_object();
    for (uint64_t i = 0; i < 16; i++) {
        double x[4];
        tune_grid_get(g, i, x);
        json_t *config = tune_space_config(s, x);
        ck_assert(!tune_space_read(s, config, false, x, NULL));
        char *text = json_dumps(config, JSON_COMPACT);
        json_object_set_new(seen, text, json_true());
        free(text);
        json_decref(config);
    }
    ck_assert_uint_eq(json_object_size(seen), 16);
    tune_grid_destroy(g);
    g = tune_grid_create(s, false, NULL);
    ck_assert_uint_eq(tune_grid_count(g), 4);
    tune_grid_destroy(g);
    json_decref(seen);
    tune_space_destroy(s);
}
END_TEST

START_TEST(bad_grids)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct tune_space *s =
        make("{\"lr\": {\"type\": \"uniform\", \"min\": 0, \"max\": 1}}");
    ck_assert(!tune_grid_create(s, true, &err));
    ck_assert(strstr(err.text, "space 'lr': algorithm grid tries every value"));
    tune_space_destroy(s);
    s = make("{\"a\": {\"type\": \"int\", \"min\": 1, \"max\": 1001},"
             " \"b\": {\"type\": \"int\", \"min\": 1, \"max\": 1000}}");
    ck_assert(!tune_grid_create(s, true, &err));
    ck_assert(strstr(err.text, "more than 1000000 combinations"));
    tune_space_destroy(s);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tune_space");
    TCase *t = tcase_create("space");
    tcase_add_loop_test(t, bad_spaces, 0, (int)RWF_COUNT(bads));
    tcase_add_test(t, coordinates_and_back);
    tcase_add_test(t, ends_are_included);
    tcase_add_test(t, conditions_chain);
    tcase_add_loop_test(t, bad_configurations, 0, (int)RWF_COUNT(bad_configs));
    tcase_add_test(t, numbers_are_canonical);
    tcase_add_test(t, grid_lists_each_once);
    tcase_add_test(t, bad_grids);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
