/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "data/query.h"
#include "data/sql.h"
#include "tests/unit/data_help.h"

/* --- what users write is one expression, item, type, SELECT --- */

static const struct {
    enum sql_use use;
    bool good;
    const char *text;
} texts[] = {
    { SQL_EXPRESSION, true, "a > 1 AND b = 'x;y'" },
    { SQL_EXPRESSION, true, "a -- the end" },
    { SQL_EXPRESSION, true, "a IN (SELECT 1)" },
    { SQL_EXPRESSION, true, "CASE WHEN a THEN 1 ELSE 2 END" },
    { SQL_EXPRESSION, true, "\"we ird\" || 'it''s'" },
    { SQL_EXPRESSION, false, "" },
    { SQL_EXPRESSION, false, "  \n" },
    { SQL_EXPRESSION, false, "a; DROP TABLE t" },
    { SQL_EXPRESSION, false, "a;" },
    { SQL_EXPRESSION, false, "a) OR (b" },
    { SQL_EXPRESSION, false, "1) FROM read_csv('/etc/passwd') WHERE (true" },
    { SQL_EXPRESSION, false, "1 FROM read_csv('/etc/passwd')" },
    { SQL_EXPRESSION, false, "a, b" },
    { SQL_EXPRESSION, false, "a AS b" },
    { SQL_EXPRESSION, false, "*" },
    { SQL_EXPRESSION, false, "COLUMNS(*)" },
    { SQL_EXPRESSION, false, "a WHERE b" },
    { SQL_EXPRESSION, false, "a ORDER BY b" },
    { SQL_EXPRESSION, false, "a LIMIT 1" },
    { SQL_EXPRESSION, false, "DISTINCT a" },
    { SQL_EXPRESSION, false, "a USING SAMPLE 1" },
    { SQL_EXPRESSION, false, "a UNION SELECT 2" },
    { SQL_EXPRESSION, false, "a /* open" },
    { SQL_EXPRESSION, false, "'open" },
    { SQL_EXPRESSION, false, "a >" },
    { SQL_ITEM, true, "a" },
    { SQL_ITEM, true, "a + 1 AS b" },
    { SQL_ITEM, true, "* EXCLUDE (a)" },
    { SQL_ITEM, false, "a, b" },
    { SQL_ITEM, false, "a FROM t" },
    { SQL_ITEM, false, "a; SELECT b" },
    { SQL_TYPE, true, "BIGINT" },
    { SQL_TYPE, true, "DECIMAL(18, 3)" },
    { SQL_TYPE, true, "STRUCT(a INTEGER, \"b c\" VARCHAR[])" },
    { SQL_TYPE, false, "INTEGER) AS x, (SELECT 1" },
    { SQL_TYPE, false, "INTEGER), CAST(NULL AS INTEGER" },
    { SQL_TYPE, false, "1" },
    { SQL_SELECT, true, "SELECT * FROM input" },
    { SQL_SELECT, true, "WITH a AS (SELECT 1) SELECT * FROM a -- done" },
    { SQL_SELECT, true, "FROM input SELECT x" },
    { SQL_SELECT, false, "SELECT 1; SELECT 2" },
    { SQL_SELECT, false, "SELECT 1;" },
    { SQL_SELECT, false, "SELECT 1) AS a, (SELECT 2" },
    { SQL_SELECT, false, "COPY input TO '/tmp/raywf-must-not-be'" },
    { SQL_SELECT, false, "ATTACH '/tmp/raywf-must-not-be.db'" },
    { SQL_SELECT, false, "CREATE TABLE t (a INT)" },
    { SQL_SELECT, false, "INSERT INTO input VALUES (1)" },
    { SQL_SELECT, false, "SET memory_limit = '1TB'" },
    { SQL_SELECT, false, "INSTALL httpfs" },
    { SQL_SELECT, false, "PRAGMA version" },
    { SQL_SELECT, false, "SELEC 1" },
};

START_TEST(one_thing_only)
{
    struct duck *d = open_duck();
    struct rwf_err err = RWF_ERR_INIT;
    int r = sql_check(d, texts[_i].text, texts[_i].use, &err);
    ck_assert_msg((r == 0) == texts[_i].good, "%s: %s", texts[_i].text, err.text);
    ck_assert_msg(texts[_i].good || err.text[0] != '\0', "no reason");
    duck_close(d);
}
END_TEST

START_TEST(names_and_texts_are_quoted)
{
    struct duck *d = open_duck();
    struct rwf_str s = { 0 };
    rwf_str_add(&s, "SELECT ");
    sql_add_text(&s, "it's; -- \\ \"x\"");
    rwf_str_add(&s, " AS ");
    sql_add_name(&s, "a\"b'; DROP");
    json_t *rows = duck_rows(d, s.data, -1, NULL);
    ck_assert_str_eq(json_string_value(json_object_get(json_array_get(rows, 0),
                                                       "a\"b'; DROP")),
                     "it's; -- \\ \"x\"");
    json_decref(rows);
    rwf_str_free(&s);
    duck_close(d);
}
END_TEST

/* --- steps --- */

#define SOURCE                                                                         \
    "SELECT * FROM (VALUES (1, 'a', 1.5), (2, 'b', NULL), (3, 'a', 2.5), (3, 'a', "    \
    "2.5)) "                                                                           \
    "t(id, \"näme\", \"we ird\")"

static const struct {
    const char *step, *query, *row; /* a query on the result `r` and its first row */
} good[] = {
    {"{'where': 'id > 1'}", "SELECT count(*) FROM r", "[3]"},
    {"{'where': 'id > 1 -- all but one'}", "SELECT count(*) FROM r", "[3]"},
    {"{'select': ['id', 'we ird', 'näme']}", "SELECT * FROM (DESCRIBE FROM r) LIMIT 0",
     NULL},
    {"{'select': ['we ird', 'id * 2 AS two']}",
     "SELECT string_agg(column_name, '|') FROM (DESCRIBE FROM r)", "[\"we ird|two\"]"},
    {"{'select': [{'id': 'id + 10'}, {'new': 'id'}]}",
     "SELECT min(id)::BIGINT, max(new)::BIGINT FROM r", "[11,3]"},
    {"{'select': [{'new': 'upper(näme)'}]}",
     "SELECT string_agg(column_name, '|') FROM (DESCRIBE FROM r)",
     "[\"id|näme|we ird|new\"]"},
    {"{'select': [{'one': 1}, {'yes': true}]}", "SELECT sum(one)::BIGINT FROM r",
     "[4]"},
    {"{'sql': 'SELECT id, count(*) AS n FROM input GROUP BY id ORDER BY id DESC'}",
     "SELECT id, n FROM r", "[3,2]"},
    {"{'sql': 'SELECT a.id FROM input a JOIN input b USING (id)'}",
     "SELECT count(*) FROM r", "[6]"},
    {"{'sql': 'WITH input2 AS (FROM input) SELECT * FROM input2 -- end'}",
     "SELECT count(*) FROM r", "[4]"},
    {"{'distinct': true}", "SELECT count(*) FROM r", "[3]"},
    {"{'distinct': ['NÄME']}", NULL, NULL},
    {"{'distinct': ['näme']}", "SELECT string_agg(id, ',' ORDER BY id) FROM r",
     "[\"1,2\"]"},
    {"{'sample': {'rows': 2, 'seed': 7}}", "SELECT count(*) FROM r", "[2]"},
    {"{'sample': {'rows': 99}}", "SELECT count(*) FROM r", "[4]"},
    {"{'sample': {'fraction': 0}}", "SELECT count(*) FROM r", "[0]"},
    {"{'sample': {'fraction': 1}}", "SELECT count(*) FROM r", "[4]"},
    {"{'shuffle': {'seed': 3}}", "SELECT count(*) FROM r", "[4]"},
    {"{'limit': 2}", "SELECT max(id)::BIGINT FROM r", "[2]"},
    {"{'limit': 0}", "SELECT count(*) FROM r", "[0]"},
};

START_TEST(steps_do_what_they_say)
{
    struct duck *d = open_duck();
    struct rwf_err err = RWF_ERR_INIT;
    int64_t bytes = 0;
    struct query *q = query_create(d, SOURCE, &err);
    json_t *step = json_of(good[_i].step);
    ck_assert_msg(q != NULL, "%s", err.text);
    int r = query_add(q, step, &bytes, &err);
    if (good[_i].query == NULL) {
        ck_assert_int_eq(r, -1);
    } else {
        ck_assert_msg(r == 0, "%s: %s", good[_i].step, err.text);
        char *text = query_text(q, NULL, NULL);
        char *sql = rwf_xasprintf("CREATE TABLE r AS %s", text);
        ck_assert_msg(duck_exec(d, sql, &err) == 0, "%s\n%s", sql, err.text);
        if (good[_i].row != NULL) {
            char *row = row_text(d, good[_i].query);
            ck_assert_str_eq(row, good[_i].row);
            free(row);
        }
        free(sql);
        free(text);
    }
    json_decref(step);
    query_destroy(q);
    duck_close(d);
}
END_TEST

static const struct {
    const char *step, *says;
} bad[] = {
    { "{'where': 'idd > 1'}", "Candidate bindings: \"id\"" },
    { "{'where': 'id > '}", "syntax error" },
    { "{'where': 'id > 1; DROP TABLE x'}", "one SQL expression" },
    { "{'where': 'nosuch(id)'}", "nosuch" },
    { "{'select': []}", "empty" },
    { "{'select': ['idd']}", "Candidate bindings: \"id\"" },
    { "{'select': ['id', 'id id id']}", "item 2" },
    { "{'select': ['id', 'id']}", "two columns are named id" },
    { "{'select': [{'x': 'id, id'}]}", "one SQL expression" },
    { "{'sql': 'DROP TABLE input'}", "one SELECT" },
    { "{'sql': 'SELECT * FROM nosuch'}", "nosuch" },
    { "{'distinct': ['nosuch']}", "there are: id, näme, we ird" },
    { "{'sample': {'rows': 1, 'fraction': 0.5}}", "one of them" },
    { "{'sample': {}}", "one of them" },
    { "{'sample': {'rows': -1}}", "whole number" },
    { "{'sample': {'fraction': 1.5}}", "from 0 to 1" },
    { "{'limit': 'x'}", "whole number" },
    { "{'join': {'with': '/nosuch/file.csv', 'on': ['id']}}", "there is no file" },
    { "{'join': {'with': '/nosuch/file.csv', 'on': ['id'], 'how': 'sideways'}}",
      "sideways" },
    { "{'nosuch': 1}", "no step named nosuch" },
    { "{}", "empty" },
};

START_TEST(bad_steps_say_why)
{
    struct duck *d = open_duck();
    struct rwf_err err = RWF_ERR_INIT;
    int64_t bytes = 0;
    struct query *q = query_create(d, SOURCE, &err);
    json_t *step = json_of(bad[_i].step);
    ck_assert_int_eq(query_add(q, step, &bytes, &err), -1);
    ck_assert_msg(strstr(err.text, bad[_i].says) != NULL, "%s: %s", bad[_i].step,
                  err.text);
    ck_assert_msg(strchr(err.text, '\n') == NULL, "%s", err.text);
    /* a step that failed is not there */
    char *text = query_text(q, NULL, NULL);
    ck_assert_msg(duck_exec(d, text, &err) == 0, "%s", err.text);
    free(text);
    json_decref(step);
    query_destroy(q);
    duck_close(d);
}
END_TEST

/* --- the same for every number of threads and order of input --- */

static char *digest_of(int threads, const char *order, const char *step_text)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct duck_options options = { .threads = threads };
    struct duck *d = duck_open(&options, &err);
    char *source =
        rwf_xasprintf("SELECT * FROM (SELECT i AS id, 'n' || (i %% 97) AS name, "
                      "i / 7 AS x FROM range(200000) r(i)) ORDER BY id %s",
                      order);
    struct query *q = query_create(d, source, &err);
    json_t *step = json_of(step_text);
    int64_t bytes;
    ck_assert_msg(q != NULL, "%s", err.text);
    ck_assert_msg(query_add(q, step, &bytes, &err) == 0, "%s", err.text);
    char *text = query_text(q, NULL, NULL);
    char *sql = rwf_xasprintf("CREATE TABLE r AS %s", text);
    ck_assert_msg(duck_exec(d, sql, &err) == 0, "%s", err.text);
    char *row = row_text(d, "SELECT md5(string_agg(id || '.' || name || '.' || x, ',' "
                            "ORDER BY rowid)), count(*) FROM r");
    free(sql);
    free(text);
    json_decref(step);
    query_destroy(q);
    free(source);
    duck_close(d);
    return row;
}

static const char *const seeded[] = {
    "{'shuffle': {'seed': 11}}", "{'sample': {'rows': 1000, 'seed': 11}}",
    "{'distinct': ['name']}",    "{'distinct': true}",
};

START_TEST(seeds_alone_decide)
{
    char *one = digest_of(1, "ASC", seeded[_i]);
    char *two = digest_of(4, "DESC", seeded[_i]);
    ck_assert_str_eq(one, two);
    free(one);
    free(two);
}
END_TEST

START_TEST(another_seed_is_another_order)
{
    char *one = digest_of(2, "ASC", "{'shuffle': {'seed': 11}}");
    char *two = digest_of(2, "ASC", "{'shuffle': {'seed': 12}}");
    ck_assert_str_ne(one, two);
    free(one);
    free(two);
}
END_TEST

START_TEST(a_fraction_is_about_that)
{
    char *row = digest_of(2, "ASC", "{'sample': {'fraction': 0.25, 'seed': 1}}");
    long n = strtol(strrchr(row, ',') + 1, NULL, 10);
    ck_assert_int_ge(n, 48000);
    ck_assert_int_le(n, 52000);
    free(row);
}
END_TEST

/* --- joins --- */

static const struct {
    const char *join, *query, *row;
} joined[] = {
    {"'on': ['id']", "SELECT count(*), string_agg(DISTINCT color, '') FROM r",
     "[1,\"red\"]"},
    {"'on': ['id']", "SELECT string_agg(column_name, '|') FROM (DESCRIBE FROM r)",
     "[\"id|näme|we ird|color|other_näme\"]"},
    {"'on': ['id'], 'how': 'left'", "SELECT count(*), count(color) FROM r", "[4,1]"},
    {"'on': ['id'], 'how': 'right'", "SELECT count(*), max(id)::BIGINT FROM r",
     "[2,9]"},
    {"'on': ['id'], 'how': 'full'", "SELECT count(*) FROM r", "[5]"},
    {"'on': ['id'], 'how': 'semi'", "SELECT count(*) FROM r", "[1]"},
    {"'on': ['id'], 'how': 'anti'", "SELECT count(*) FROM r", "[3]"},
    {"'on': 'input.id > other.id'", "SELECT count(*) FROM r", "[3]"},
    {"'on': 'input.id > other.id'",
     "SELECT string_agg(column_name, '|') FROM (DESCRIBE FROM r)",
     "[\"id|näme|we ird|other_id|color|other_näme\"]"},
};

START_TEST(joins)
{
    struct duck *d = open_duck();
    struct rwf_err err = RWF_ERR_INIT;
    char *dir = make_dir();
    int64_t bytes = 0;
    write_text(dir, "other.csv", "id,color,näme\n1,red,x\n9,blue,y\n");
    char *text = rwf_xasprintf("{'join': {'with': '%s/other.csv', %s}}", dir,
                               joined[_i].join);
    json_t *step = json_of(text);
    struct query *q = query_create(d, SOURCE, &err);
    int r = query_add(q, step, &bytes, &err);
    ck_assert_msg(r == 0, "%s: %s", text, err.text);
    ck_assert_int_gt(bytes, 0);
    char *select = query_text(q, NULL, NULL);
    char *sql = rwf_xasprintf("CREATE TABLE r AS %s", select);
    ck_assert_msg(duck_exec(d, sql, &err) == 0, "%s", err.text);
    char *row = row_text(d, joined[_i].query);
    ck_assert_str_eq(row, joined[_i].row);
    free(row);
    free(sql);
    free(select);
    free(text);
    json_decref(step);
    query_destroy(q);
    remove_dir(dir);
    duck_close(d);
}
END_TEST

START_TEST(steps_are_one_query)
{
    struct duck *d = open_duck();
    struct rwf_err err = RWF_ERR_INIT;
    int64_t bytes = 0;
    struct query *q = query_create(d, "SELECT i AS id FROM range(1000) r(i)", &err);
    static const char *const steps[] = { "{'where': 'id % 2 = 0'}",
                                         "{'select': [{'twice': 'id * 2'}]}",
                                         "{'where': 'twice > 1000'}",
                                         "{'sql': 'SELECT twice FROM input'}",
                                         "{'limit': 3}" };
    for (size_t i = 0; i < RWF_COUNT(steps); i++) {
        json_t *step = json_of(steps[i]);
        ck_assert_msg(query_add(q, step, &bytes, &err) == 0, "%s", err.text);
        json_decref(step);
    }
    char *text = query_text(q, NULL, NULL);
    char *row = row_text(d, text);
    ck_assert_str_eq(row, "[1004]");
    char *sql = rwf_xasprintf("EXPLAIN %s", text);
    json_t *plan = duck_lists(d, sql, &err);
    char *shown = json_dumps(plan, 0);
    ck_assert_ptr_null(strstr(shown, "CTE"));
    free(shown);
    json_decref(plan);
    free(sql);
    free(row);
    free(text);
    query_destroy(q);
    duck_close(d);
}
END_TEST

int main(void)
{
    need_duckdb();
    Suite *s = suite_create("sql");
    TCase *t = tcase_create("sql");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, one_thing_only, 0, RWF_COUNT(texts));
    tcase_add_test(t, names_and_texts_are_quoted);
    tcase_add_loop_test(t, steps_do_what_they_say, 0, RWF_COUNT(good));
    tcase_add_loop_test(t, bad_steps_say_why, 0, RWF_COUNT(bad));
    tcase_add_loop_test(t, seeds_alone_decide, 0, RWF_COUNT(seeded));
    tcase_add_test(t, another_seed_is_another_order);
    tcase_add_test(t, a_fraction_is_about_that);
    tcase_add_loop_test(t, joins, 0, RWF_COUNT(joined));
    tcase_add_test(t, steps_are_one_query);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
