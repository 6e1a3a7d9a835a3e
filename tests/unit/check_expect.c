/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "data/expect.h"
#include "tests/unit/data_help.h"

#define ROWS                                                                           \
    "(SELECT (row_number() OVER () - 1) AS nr, * FROM (VALUES (1, 'anna', 10.5, DATE " \
    "'2024-01-01'), (2, 'bob', NULL, DATE '2024-06-01'), (2, NULL, -3, DATE "          \
    "'2025-01-01'), (4, 'Łukasz with a name that is long', 7, NULL)) t(id, \"na "     \
    "me\", "                                                                           \
    "price, day))"
#define COLUMNS \
    "[{'name': 'id', 'type': 'INTEGER'}, {'name': 'na me', 'type': 'VARCHAR'}, " \
    "{'name': 'price', 'type': 'DECIMAL(11,1)'}, {'name': 'day', 'type': 'DATE'}]"

static const struct {
    const char *expect;
    const char *says[3]; /* in the message, in the report; NULL says[0]: it holds */
} cases[] = {
    {"{}", {NULL}},
    {"{'rows': 4}", {NULL}},
    {"{'rows': {'min': 1, 'max': 4}}", {NULL}},
    {"{'rows': {'min': 5}}", {"rows.min: 5, but there are 4"}},
    {"{'rows': {'max': 3}}", {"rows.max: 3, but there are 4"}},
    {"{'rows': 3}", {"rows: 3, but there are 4"}},
    {"{'columns': {'id': {'not_null': true, 'min': 1, 'max': 4, 'type': 'INTEGER', "
     "'values': [1, 2, 4]}}}",
     {NULL}},
    {"{'columns': {'ID': {'type': 'int'}}}", {NULL}},
    {"{'columns': {'id': {'not_null': false, 'unique': false}}}", {NULL}},
    {"{'columns': {'id': {'unique': true}}}",
     {"columns.id.unique: true, but 2 rows break it", "    row  id  na me  price  day",
      "    3    2   NULL   -3.0   2025-01-01"}},
    {"{'columns': {'na me': {'not_null': true}}}",
     {"but 1 row breaks it", "    row  na me  id"}},
    {"{'columns': {'price': {'min': 0}}}", {"columns.price.min: 0, but 1 row"}},
    {"{'columns': {'price': {'max': 7.5}}}", {"columns.price.max: 7.5, but 1 row"}},
    {"{'columns': {'day': {'min': '2024-03-01'}}}", {"but 1 row"}},
    {"{'columns': {'na me': {'values': ['anna', 'x;--']}}}", {"but 2 rows"}},
    {"{'columns': {'na me': {'pattern': '^[a-z]+$'}}}",
     {"but 1 row", "Łukasz with a name that…"}},
    {"{'columns': {'na me': {'pattern': 'a'}}}", {"but 1 row", "bob"}},
    {"{'columns': {'na me': {'pattern': '['}}}", {"columns.na me.pattern"}},
    {"{'columns': {'id': {'min': 'x'}}}", {"columns.id.min: \"x\": Conversion"}},
    {"{'columns': {'id': {'type': 'BIGINT'}}}", {"but the column is INTEGER"}},
    {"{'columns': {'id': {'type': 'NOSUCH'}}}", {"columns.id: type"}},
    {"{'columns': {'id': {'type': 'INT) FROM x'}}}", {"columns.id: type"}},
    {"{'columns': {'nosuch': {'min': 1}}}", {"there is no such column"}},
    {"{'rows': 9, 'columns': {'id': {'unique': true, 'max': 3}, 'price': {'not_null': "
     "true}}}",
     {"4 not met: ", "expect.columns.id.max: 3, but 1 row", "expect.rows: 9"}},
};

START_TEST(promises)
{
    struct duck *d = open_duck();
    struct rwf_err err = RWF_ERR_INIT;
    struct rwf_str report = { 0 };
    json_t *expect = json_of(cases[_i].expect), *columns = json_of(COLUMNS);
    int r = expect_check(d, expect, columns, ROWS, "nr", &report, &err);
    const char *const *says = cases[_i].says;
    if (says[0] == NULL) {
        ck_assert_msg(r == 0, "%s", err.text);
        ck_assert_uint_eq(report.len, 0);
    } else {
        ck_assert_int_eq(r, -1);
        ck_assert_msg(strstr(err.text, says[0]) != NULL, "%s", err.text);
        for (int i = 1; i < 3 && says[i] != NULL; i++)
            ck_assert_msg(strstr(report.data, says[i]) != NULL, "%s", report.data);
    }
    rwf_str_free(&report);
    json_decref(expect);
    json_decref(columns);
    duck_close(d);
}
END_TEST

START_TEST(five_rows_are_shown)
{
    struct duck *d = open_duck();
    struct rwf_err err = RWF_ERR_INIT;
    struct rwf_str report = { 0 };
    json_t *expect = json_of("{'columns': {'n': {'min': 100}}}");
    json_t *columns = json_of("[{'name': 'n', 'type': 'BIGINT'}]");
    ck_assert_int_eq(expect_check(d, expect, columns,
                                  "(SELECT range AS n, range AS nr FROM range(1000))",
                                  "nr", &report, &err),
                     -1);
    ck_assert_str_eq(report.data,
                     "expect.columns.n.min: 100, but 100 rows break it\n"
                     "    row  n\n    1    0\n    2    1\n    3    2\n    4    3\n"
                     "    5    4\n");
    rwf_str_free(&report);
    json_decref(expect);
    json_decref(columns);
    duck_close(d);
}
END_TEST

int main(void)
{
    need_duckdb();
    Suite *s = suite_create("expect");
    TCase *t = tcase_create("expect");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, promises, 0, RWF_COUNT(cases));
    tcase_add_test(t, five_rows_are_shown);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
