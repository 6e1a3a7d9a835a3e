/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include <signal.h>
#include <sys/stat.h>
#include "data/execute.h"
#include "tests/unit/data_help.h"

/* --- a dataset from JSON --- */

static json_t *reported;

static void on_report(const struct op_run *r, const json_t *line)
{
    const char *name;
    json_t *value;
    (void)r;
    json_object_foreach((json_t *)line, name, value)
        json_object_set(reported, name, value);
}

/* @ in spec is dir. */
static int run_with(const char *dir, const char *spec_text, int64_t memory,
                    struct rwf_err *err)
{
    struct rwf_str text = { 0 };
    for (const char *p = spec_text; *p != '\0'; p++)
        if (*p == '@')
            rwf_str_add(&text, dir);
        else
            rwf_str_addc(&text, *p);
    json_t *spec = json_of(text.data);
    struct op_run run = { .address = "datasets.t", .spec = spec, .dir = dir,
                          .memory = memory, .cpu = 2, .report = on_report,
                          .report_fd = -1 };
    json_decref(reported);
    reported = json_object();
    int r = execute_dataset(&run, err);
    json_decref(spec);
    rwf_str_free(&text);
    return r;
}

static void run_ok(const char *dir, const char *spec)
{
    struct rwf_err err = RWF_ERR_INIT;
    ck_assert_msg(run_with(dir, spec, 0, &err) == 0, "%s\n%s", spec, err.text);
}

static void run_fails(const char *dir, const char *spec, int code, const char *says)
{
    struct rwf_err err = RWF_ERR_INIT;
    ck_assert_int_eq(run_with(dir, spec, 0, &err), -1);
    ck_assert_msg(strstr(err.text, says) != NULL, "%s\n%s", says, err.text);
    ck_assert_int_eq(err.code, code);
}

/* The first row of a query, with @ for dir, as JSON text. */
static void expect_row(const char *dir, const char *query, const char *row)
{
    struct duck *d = open_duck();
    struct rwf_str sql = { 0 };
    for (const char *p = query; *p != '\0'; p++)
        if (*p == '@')
            rwf_str_add(&sql, dir);
        else
            rwf_str_addc(&sql, *p);
    char *got = row_text(d, sql.data);
    ck_assert_str_eq(got, row);
    free(got);
    rwf_str_free(&sql);
    duck_close(d);
}

static char *dir;

static void set_up(void)
{
    dir = make_dir();
    write_text(dir, "in.csv", "id,price,name\n1,2.5,a\n2,,b\n3,4.5,\"c,c\"\n");
}

static void tear_down(void)
{
    remove_dir(dir);
    json_decref(reported);
    reported = NULL;
}

/* --- formats --- */

START_TEST(csv_to_parquet)
{
    run_ok(dir, "{'read': {'path': '@/in.csv'}, 'steps': [{'where': 'id > 1'}]}");
    expect_row(dir, "SELECT count(*), count(price), max(name) FROM '@/data.parquet'",
               "[2,1,\"c,c\"]");
    ck_assert_int_eq((int)json_number_value(json_object_get(reported, "rows")), 2);
    ck_assert_int_eq((int)json_number_value(json_object_get(reported, "columns")), 3);
    ck_assert(json_number_value(json_object_get(reported, "bytes")) > 0);
    ck_assert(json_number_value(json_object_get(reported, "progress")) == 1);
    char *tmp = rwf_fs_join(dir, "tmp");
    ck_assert(!rwf_fs_exists(tmp));
    free(tmp);
}
END_TEST

static const char *const formats[] = { "csv", "jsonl", "parquet" };

START_TEST(every_format_both_ways)
{
    char *spec =
        rwf_xasprintf("{'read': {'path': '@/in.csv'}, 'write': {'format': '%s', "
                      "'path': '@/out/copy.%s'}}",
                      formats[_i], formats[_i]);
    run_ok(dir, spec);
    free(spec);
    spec = rwf_xasprintf("{'from': '@/out/copy.%s', 'write': {'format': 'csv'}}",
                         formats[_i]);
    run_ok(dir, spec);
    free(spec);
    char *path = rwf_fs_join(dir, "data.csv");
    char *text = rwf_fs_read(path, 1000, NULL, NULL);
    ck_assert_str_eq(text, "id,price,name\n1,2.5,a\n2,,b\n3,4.5,\"c,c\"\n");
    free(text);
    free(path);
}
END_TEST

START_TEST(options_of_csv)
{
    write_text(dir, "o.txt", "1;NA\n02;x\n");
    run_ok(dir, "{'read': {'path': '@/o.txt', 'format': 'csv', 'header': false, "
                "'delimiter': ';', 'null': 'NA', 'types': {'column0': 'VARCHAR'}}}");
    expect_row(dir,
               "SELECT string_agg(column0, '|'), count(column1) FROM '@/data.parquet'",
               "[\"1|02\",1]");
}
END_TEST

START_TEST(many_files_and_gzip)
{
    char *folder = rwf_fs_join(dir, "k=v");
    ck_assert_int_eq(mkdir(folder, 0755), 0);
    free(folder);
    write_text(dir, "k=v/b.csv", "id,extra\n7,x\n");
    write_text(dir, "k=v/a.csv", "id\n5\n");
    run_ok(dir, "{'read': {'path': '@/k=v/*.csv'}}");
    expect_row(dir, "SELECT string_agg(id, ','), string_agg(extra, ','), count(*) FROM "
                    "'@/data.parquet'", "[\"5,7\",\"x\",2]");
    expect_row(dir, "SELECT string_agg(column_name, ',') FROM (DESCRIBE FROM "
                    "'@/data.parquet')", "[\"id,extra\"]");
    run_ok(dir, "{'read': {'path': ['@/k=v']}}"); /* a folder */
    expect_row(dir, "SELECT count(*) FROM '@/data.parquet'", "[2]");
    expect_row(dir, "SELECT count(*) FROM (SELECT 1)", "[1]");
    struct duck *d = open_duck();
    char *sql = rwf_xasprintf("COPY (SELECT 1 AS id) TO '%s/z.csv.gz'", dir);
    ck_assert_int_eq(duck_exec(d, sql, NULL), 0);
    free(sql);
    duck_close(d);
    run_ok(dir, "{'read': {'path': '@/z.csv.gz'}}");
    expect_row(dir, "SELECT id FROM '@/data.parquet'", "[1]");
}
END_TEST

START_TEST(unicode_quotes_and_nothing)
{
    write_text(dir, "u.csv", "grün,it's \"x\"\n,\n");
    write_text(dir, "u.csv", "grün,\"it's \"\"x\"\"\"\n1,2\n");
    run_ok(dir, "{'read': {'path': '@/u.csv'}, 'steps': [{'where': 'grün = 1'}], "
                "'split': {'a': 0.5, 'b': 0.5}}");
    expect_row(dir, "SELECT count(*) FROM read_parquet(['@/a.parquet', '@/b.parquet'])",
               "[1]");
    run_ok(dir, "{'read': {'path': '@/in.csv'}, 'steps': [{'where': 'id > 99'}, "
                "{'shuffle': {'seed': 1}}], 'split': {'a': 0.5, 'b': 0.5}, "
                "'expect': {'rows': 0}}");
    expect_row(dir, "SELECT count(*) FROM '@/a.parquet'", "[0]");
}
END_TEST

START_TEST(a_query_makes_rows)
{
    run_ok(dir,
           "{'read': {'sql': 'SELECT range AS n, range * 2.0 AS d FROM range(1000)'},"
           "'steps': [{'sql': 'SELECT sum(n) AS s FROM input'}], "
           "'write': {'format': 'csv'}}");
    char *path = rwf_fs_join(dir, "data.csv");
    char *text = rwf_fs_read(path, 100, NULL, NULL);
    ck_assert_str_eq(text, "s\n499500\n"); /* not 499500.0 */
    free(text);
    free(path);
}
END_TEST

START_TEST(wide_numbers)
{
    run_ok(dir, "{'read': {'sql': 'SELECT sum(range) AS s FROM range(10)'}}");
    expect_row(dir, "SELECT typeof(s), s FROM '@/data.parquet'", "[\"BIGINT\",45]");
    run_fails(dir,
              "{'read': {'sql': 'SELECT 170141183460469231731687303715884105727 AS s'}"
              "}",
              RWF_E_FAILED, "cast the column");
}
END_TEST

/* --- what goes wrong --- */

static const struct {
    const char *spec;
    int code;
    const char *says;
} wrong[] = {
    {"{'read': {'path': '@/nosuch.csv'}, 'places': {'read': 'r.yaml:5:3'}}",
     RWF_E_INPUT, "read (r.yaml:5:3): there is no file"},
    {"{'read': {'path': '@/no*.csv'}}", RWF_E_INPUT, "no file matches"},
    {"{'read': {'path': []}}", RWF_E_INPUT, "empty"},
    {"{'from': '@/in.txt'}", RWF_E_INPUT, "from: there is no file"},
    {"{'read': {'path': '@/in.csv', 'types': {'nosuch': 'BIGINT'}}}", RWF_E_FAILED,
     "\"nosuch\""},
    {"{'read': {'path': '@/in.csv', 'types': {'id': 'NOSUCH'}}}", RWF_E_FAILED,
     "NOSUCH"},
    {"{'read': {'path': '@/in.csv', 'types': {'name': 'BIGINT'}}}", RWF_E_FAILED,
     "Line: 2"},
    {"{'read': {'sql': 'COPY x TO y'}}", RWF_E_FAILED, "one SELECT"},
    {"{'read': {'path': '@/in.csv'}, 'steps': [{'limit': 5}, {'where': 'idd = 1'}], "
     "'places': {'steps': ['r.yaml:7:9', 'r.yaml:8:9']}}",
     RWF_E_FAILED, "steps[1].where (r.yaml:8:9): Binder Error"},
    {"{'read': {'path': '@/in.csv'}, 'steps': [{'limit': 5}, {'where': 'id > 0\\nAND "
     "id\\n< 9'}, {'select': [{'n': 'CAST(name AS INTEGER)'}]}, {'limit': 3}], "
     "'places': {'steps': ['r:1', 'r:2', 'r:3', 'r:4']}}",
     RWF_E_FAILED, "steps[2].select (r:3): Conversion Error"},
    {"{'read': {'path': '@/in.csv'}, 'steps': [{'limit': 5}, {'run': {'run': 'cat'}}, "
     "{'select': [{'n': 'CAST(name AS INTEGER)'}]}]}",
     RWF_E_FAILED, "steps[2].select: Conversion Error"},
    {"{'read': {'path': '@/in.csv'}, 'split': {'a': 0.5, 'b': 0.4}}", RWF_E_FAILED,
     "add up to 0.9"},
    {"{'read': {'path': '@/in.csv'}, 'split': {'a': 1, 'by': ['nosuch']}}",
     RWF_E_FAILED, "no column nosuch"},
    {"{'read': {'path': '@/in.csv'}, 'steps': [{'select': ['id AS file_row_number']}], "
     "'split': {'a': 1}}",
     RWF_E_FAILED, "rename it"},
    {"{'read': {'path': '@/in.csv'}, 'steps': [{'run': {'argv': "
     "['/nosuch/program']}}]}",
     RWF_E_FAILED, "steps[0].run: there is no program /nosuch/program"},
    {"{'read': {'path': '@/in.csv'}, 'steps': [{'run': {'run': 'echo oh no >&2; exit "
     "3'}}]}",
     RWF_E_FAILED, "ended with exit code 3; it said: oh no (batch 1"},
    {"{'read': {'path': '@/in.csv'}, 'steps': [{'run': {'run': 'kill -SEGV $$'}}]}",
     RWF_E_FAILED, "killed by signal 11"},
    {"{'read': {'path': '@/in.csv'}, 'steps': [{'run': {'run': 'true', "
     "'format': 'parquet'}}]}",
     RWF_E_FAILED, "wrote no file RAYWF_OUTPUT"},
    {"{'read': {'path': '@/in.csv'}, 'steps': [{'run': {'run': 'echo {oops'}}]}",
     RWF_E_FAILED, "what the program gave"},
    {"{'read': {'path': '@/in.csv'}, 'expect': {'rows': 2}}", RWF_E_FAILED,
     "rows: 2, but there are 3"},
};

START_TEST(what_is_wrong_is_said)
{
    run_fails(dir, wrong[_i].spec, wrong[_i].code, wrong[_i].says);
}
END_TEST

START_TEST(late_bad_value_names_line_and_remedy)
{
    struct rwf_str s = { 0 };
    rwf_str_add(&s, "a,b\n");
    for (int i = 0; i < 30000; i++)
        rwf_str_addf(&s, "%d,x\n", i);
    rwf_str_add(&s, "oops,x\n");
    write_text(dir, "late.csv", s.data);
    rwf_str_free(&s);
    run_fails(dir, "{'read': {'path': '@/late.csv'}}", RWF_E_FAILED, "Line: 30002");
    run_fails(dir, "{'read': {'path': '@/late.csv'}}", RWF_E_FAILED, "read.types");
}
END_TEST

START_TEST(no_sql_writes_files)
{
    run_fails(dir, "{'read': {'path': '@/in.csv'}, 'steps': [{'sql': 'COPY input TO "
                   "@/evil.csv'}]}", RWF_E_FAILED, "steps[0].sql");
    run_fails(dir, "{'read': {'path': '@/in.csv'}, 'steps': [{'where': 'true) TO "
                   "@/evil.csv; --'}]}", RWF_E_FAILED, "steps[0].where");
    char *path = rwf_fs_join(dir, "evil.csv");
    ck_assert(!rwf_fs_exists(path));
    free(path);
}
END_TEST

/* --- programs --- */

static const struct {
    const char *name, *run, *row;
} programs[] = {
    { "jsonl by stdout", "'run': 'cat', 'batch_rows': 7", "[100,4950,true]" },
    { "jsonl by file", "'run': 'cat < $RAYWF_INPUT > $RAYWF_OUTPUT', 'batch_rows': 30",
      "[100,4950,true]" },
    { "csv", "'argv': ['cat'], 'format': 'csv', 'batch_rows': 13", "[100,4950,true]" },
    { "parquet", "'run': 'cp $RAYWF_INPUT $RAYWF_OUTPUT', 'format': 'parquet', "
      "'batch_rows': 40", "[100,4950,true]" },
    { "slow first batches", "'run': 'sleep 0.0$((9 - RAYWF_BATCH)); cat', "
      "'batch_rows': 12", "[100,4950,true]" },
    { "one batch", "'argv': ['cat']", "[100,4950,true]" },
    { "fewer rows", "'run': 'head -n 1', 'batch_rows': 10", "[10,450,true]" },
    { "a batch with nothing", "'run': 'test $RAYWF_BATCH = 2 || cat', 'batch_rows': 50",
      "[50,1225,true]" },
    { "csv, a batch of a header", "'run': 'test $RAYWF_BATCH = 1 && cat || head -n 1', "
      "'format': 'csv', 'batch_rows': 50", "[50,1225,true]" },
    { "nothing at all", "'run': 'true', 'batch_rows': 50", "[0,null,null]" },
};

START_TEST(programs_over_batches)
{
    char *spec = rwf_xasprintf("{'read': {'sql': 'SELECT range AS n, (range * "
                               "3)::VARCHAR AS t FROM range(100)'}, "
                               "'steps': [{'run': {%s}}, {'where': 'n >= 0'}]}",
                               programs[_i].run);
    run_ok(dir, spec);
    free(spec);
    expect_row(dir, "SELECT count(*), sum(n)::BIGINT, bool_and(ok) FROM (SELECT n, n > "
                    "coalesce(lag(n) OVER (), -1) AS ok FROM '@/data.parquet')",
               programs[_i].row);
}
END_TEST

START_TEST(a_failed_batch_can_be_replayed)
{
    struct rwf_err err = RWF_ERR_INIT;
    const char *spec =
        "{'read': {'sql': 'SELECT range AS n FROM range(30)'}, 'steps': ["
        "{'run': {'run': 'test $RAYWF_BATCH != 2; cat', 'batch_rows': 10}}]}";
    ck_assert_int_eq(run_with(dir, spec, 0, &err), -1);
    ck_assert_msg(strstr(err.text, "batch 2") != NULL, "%s", err.text);
    char *kept = rwf_fs_join(dir, "run-1/2.jsonl");
    ck_assert_msg(strstr(err.text, kept) != NULL, "%s", err.text);
    char *text = rwf_fs_read(kept, 1000, NULL, NULL);
    ck_assert(rwf_starts_with(text, "{\"n\":10}\n{\"n\":11}\n"));
    free(text);
    free(kept);
}
END_TEST

START_TEST(a_program_in_the_recipe_folder)
{
    write_text(dir, "add.awk", "{ sub(/}$/, \",\\\"two\\\":2}\"); print }");
    run_ok(dir, "{'read': {'path': '@/in.csv'}, 'dir': '@', 'steps': [{'run': {'argv': "
                "['awk', '-f', 'add.awk'], 'types': {'two': 'DOUBLE'}}}]}");
    expect_row(dir, "SELECT sum(two), typeof(any_value(two)), count(*) FROM "
                    "'@/data.parquet'", "[6.0,\"DOUBLE\",3]");
}
END_TEST

/* --- larger than memory, and the same bytes --- */

START_TEST(larger_than_memory)
{
    struct rwf_err err = RWF_ERR_INIT;
    /* about 400 MB of rows, sorted with 64 MiB for DuckDB */
    const char *spec = "{'read': {'sql': 'SELECT range AS n, md5(range::VARCHAR) AS a, "
                       "md5((range + 1)::VARCHAR) AS b FROM range(4000000)'}, "
                       "'steps': [{'shuffle': {'seed': 5}}], 'split': {'x': 0.5, 'y': "
                       "0.5}}";
    ck_assert_msg(run_with(dir, spec, 160 << 20, &err) == 0, "%s", err.text);
    expect_row(dir, "SELECT count(*), count(DISTINCT n) FROM "
                    "read_parquet(['@/x.parquet', '@/y.parquet'])",
               "[4000000,4000000]");
}
END_TEST

START_TEST(same_input_same_bytes)
{
    const char *spec =
        "{'read': {'sql': 'SELECT range AS n, md5(range::VARCHAR) AS a FROM "
        "range(500000)'}, 'steps': [{'where': 'n % 3 <> 0'}, {'select': "
        "[{'m': 'n * 2'}]}], 'split': {'x': 0.9, 'y': 0.1, 'seed': 4}}";
    struct duck *d = open_duck();
    char *sql =
        rwf_xasprintf("SELECT md5(content) FROM read_blob('%s/x.parquet')", dir);
    run_ok(dir, spec);
    char *one = row_text(d, sql);
    run_ok(dir, spec);
    char *two = row_text(d, sql);
    ck_assert_str_eq(one, two);
    free(one);
    free(two);
    free(sql);
    duck_close(d);
}
END_TEST

int main(void)
{
    need_duckdb();
    Suite *s = suite_create("dataset");
    TCase *t = tcase_create("dataset");
    tcase_set_timeout(t, 300);
    tcase_add_checked_fixture(t, set_up, tear_down);
    tcase_add_test(t, csv_to_parquet);
    tcase_add_loop_test(t, every_format_both_ways, 0, RWF_COUNT(formats));
    tcase_add_test(t, options_of_csv);
    tcase_add_test(t, many_files_and_gzip);
    tcase_add_test(t, unicode_quotes_and_nothing);
    tcase_add_test(t, a_query_makes_rows);
    tcase_add_test(t, wide_numbers);
    tcase_add_loop_test(t, what_is_wrong_is_said, 0, RWF_COUNT(wrong));
    tcase_add_test(t, late_bad_value_names_line_and_remedy);
    tcase_add_test(t, no_sql_writes_files);
    tcase_add_loop_test(t, programs_over_batches, 0, RWF_COUNT(programs));
    tcase_add_test(t, a_failed_batch_can_be_replayed);
    tcase_add_test(t, a_program_in_the_recipe_folder);
    tcase_add_test(t, larger_than_memory);
    tcase_add_test(t, same_input_same_bytes);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
