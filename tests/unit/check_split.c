/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "data/query.h"
#include "data/split.h"
#include "tests/unit/data_help.h"

/* Splits source into table r and gives each row of r its split in column part. */
static struct duck *split_rows(const char *source, const char *split_text, int threads)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct duck_options options = { .threads = threads };
    struct duck *d = duck_open(&options, &err);
    ck_assert_msg(d != NULL, "%s", err.text);
    struct query *q = query_create(d, source, &err);
    ck_assert_msg(q != NULL, "%s", err.text);
    json_t *split = json_of(split_text), *part;
    struct rwf_str hash = { 0 }, parts = { 0 };
    ck_assert_msg(split_add_hash(split, q, &hash, &err) == 0, "%s", err.text);
    char *text = query_text(q, hash.data, "h");
    char *sql = rwf_xasprintf("CREATE TABLE t AS %s", text);
    ck_assert_msg(duck_exec(d, sql, &err) == 0, "%s", err.text);
    json_t *plan = split_plan(d, split, "t", "h", &err);
    ck_assert_msg(plan != NULL, "%s", err.text);
    size_t i;
    json_array_foreach(plan, i, part)
        rwf_str_addf(&parts, "%sSELECT *, '%s' AS part FROM t WHERE %s",
                     i > 0 ? " UNION ALL " : "",
                     json_string_value(json_object_get(part, "name")),
                     json_string_value(json_object_get(part, "where")));
    free(sql);
    sql = rwf_xasprintf("CREATE TABLE r AS %s", parts.data);
    ck_assert_msg(duck_exec(d, sql, &err) == 0, "%s\n%s", sql, err.text);
    free(sql);
    free(text);
    rwf_str_free(&hash);
    rwf_str_free(&parts);
    json_decref(plan);
    json_decref(split);
    query_destroy(q);
    return d;
}

static void expect_row(struct duck *d, const char *sql, const char *row)
{
    char *got = row_text(d, sql);
    ck_assert_str_eq(got, row);
    free(got);
}

#define SIZES                                                                          \
    "SELECT string_agg(part || ' ' || n, ', ' ORDER BY part) FROM (SELECT part, "      \
    "count(*) "                                                                        \
    "AS n FROM r GROUP BY part)"

static const struct {
    const char *source, *split, *sizes;
} sizes[] = {
    { "SELECT range AS b, 'x' AS h2 FROM range(1000)",
      "{'train': 0.8, 'val': 0.1, 'test': 0.1}", "[\"test 100, train 800, val 100\"]" },
    { "SELECT range AS n FROM range(10)", "{'a': 0.25, 'b': 0.25, 'c': 0.5, 'seed': 1}",
      "[\"a 3, b 2, c 5\"]" },
    { "SELECT range AS n FROM range(7)", "{'a': 0.3333333333, 'b': 0.3333333333, "
      "'c': 0.3333333334}", "[\"a 2, b 2, c 3\"]" },
    { "SELECT range AS n FROM range(150)", "{'train': 0.7, 'test': 0.3}",
      "[\"test 45, train 105\"]" },
    { "SELECT range AS n FROM range(300000)", "{'train': 0.999, 'test': 0.001}",
      "[\"test 300, train 299700\"]" },
    { "SELECT range AS n FROM range(5)", "{'all': 1.0}", "[\"all 5\"]" },
    { "SELECT range AS n FROM range(1)", "{'a': 0.5, 'b': 0.5}", NULL },
    { "SELECT range AS n FROM range(0)", "{'a': 0.5, 'b': 0.5}", "[null]" },
    { "SELECT 1 AS n FROM range(100)", "{'a': 0.5, 'b': 0.5}", NULL },
};

START_TEST(sizes_are_exact)
{
    struct duck *d = split_rows(sizes[_i].source, sizes[_i].split, 2);
    if (sizes[_i].sizes != NULL)
        expect_row(d, SIZES, sizes[_i].sizes);
    expect_row(d, "SELECT (SELECT count(*) FROM r) = (SELECT count(*) FROM t)",
               "[true]");
    duck_close(d);
}
END_TEST

/* rows with many duplicates, NULLs, text */
#define DUPLICATES                                                                     \
    "SELECT range % 50 AS k, CASE WHEN range % 5 = 0 THEN NULL ELSE 'v' || (range % "  \
    "7) END "                                                                          \
    "AS v FROM range(10000)"

START_TEST(equal_rows_stay_together)
{
    struct duck *d = split_rows(DUPLICATES, "{'a': 0.5, 'b': 0.3, 'c': 0.2}", 2);
    expect_row(
        d,
        "SELECT max(n)::BIGINT FROM (SELECT k, v, count(DISTINCT part) AS n FROM r "
        "GROUP BY k, v)",
        "[1]");
    expect_row(d, "SELECT count(*), (SELECT count(*) FROM (FROM t EXCEPT ALL (SELECT * "
                  "EXCLUDE (part) FROM r))) FROM r", "[10000,0]");
    duck_close(d);
}
END_TEST

START_TEST(by_keeps_keys_together)
{
    struct duck *d = split_rows("SELECT range % 997 AS k, range AS n FROM range(20000)",
                                "{'a': 0.8, 'b': 0.2, 'by': ['K'], 'seed': 9}", 2);
    expect_row(d,
               "SELECT max(n)::BIGINT FROM (SELECT k, count(DISTINCT part) AS n FROM r "
               "GROUP BY k)",
               "[1]");
    /* as near as groups of 20 or 21 allow */
    expect_row(d, "SELECT abs(count(*) - 16000) <= 11 FROM r WHERE part = 'a'",
               "[true]");
    duck_close(d);
}
END_TEST

static char *membership(const char *order, const char *split, int threads)
{
    char *source =
        rwf_xasprintf("SELECT * FROM (SELECT range AS n, 'x' || range AS s FROM "
                      "range(50000)) ORDER BY n %s",
                      order);
    struct duck *d = split_rows(source, split, threads);
    char *row = row_text(d, "SELECT md5(string_agg(n || part, ',' ORDER BY n)) FROM r");
    duck_close(d);
    free(source);
    return row;
}

START_TEST(seed_alone_decides)
{
    char *one = membership("ASC", "{'a': 0.7, 'b': 0.3, 'seed': 3}", 1);
    char *two = membership("DESC", "{'b': 0.3, 'seed': 3, 'a': 0.7}", 4);
    char *other = membership("ASC", "{'a': 0.7, 'b': 0.3, 'seed': 4}", 1);
    ck_assert_str_eq(one, two);
    ck_assert_str_ne(one, other);
    free(one);
    free(two);
    free(other);
}
END_TEST

/* Of two splits by near seeds, about 0.7 * 0.7 of the rows are in `a` of both. */
START_TEST(near_seeds_are_unrelated)
{
    struct duck *d = split_rows("SELECT range AS n FROM range(20000)",
                                "{'a': 0.7, 'b': 0.3, 'seed': 1}", 2);
    struct duck *e = split_rows("SELECT range AS n FROM range(20000)",
                                "{'a': 0.7, 'b': 0.3, 'seed': 2}", 2);
    json_t *one = duck_lists(d, "SELECT n FROM r WHERE part = 'a' ORDER BY n", NULL);
    json_t *two = duck_lists(e, "SELECT n FROM r WHERE part = 'a' ORDER BY n", NULL);
    size_t both = 0, j = 0;
    for (size_t i = 0; i < json_array_size(one); i++) {
        json_int_t n = json_integer_value(json_array_get(json_array_get(one, i), 0)),
                   m = -1;
        while (j < json_array_size(two) &&
               (m = json_integer_value(json_array_get(json_array_get(two, j), 0))) < n)
            j++;
        both += j < json_array_size(two) && m == n;
    }
    ck_assert_int_ge((int)both, 9500);
    ck_assert_int_le((int)both, 10100);
    json_decref(one);
    json_decref(two);
    duck_close(d);
    duck_close(e);
}
END_TEST

int main(void)
{
    need_duckdb();
    Suite *s = suite_create("split");
    TCase *t = tcase_create("split");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, sizes_are_exact, 0, RWF_COUNT(sizes));
    tcase_add_test(t, equal_rows_stay_together);
    tcase_add_test(t, by_keeps_keys_together);
    tcase_add_test(t, seed_alone_decides);
    tcase_add_test(t, near_seeds_are_unrelated);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
