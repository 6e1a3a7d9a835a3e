/* SPDX-License-Identifier: Apache-2.0
 *
 * The spec (every path absolute, see dataset.c):
 *
 *   {"read": {…} | "from": path, "steps": [{…}], "split": {…}, "expect": {…},
 *    "write": {"format", "path"}, "all_cores": true, "dir": the recipe's folder,
 *    "places": {"read": "file:line:column", "steps": […], …}}
 *
 * Without program, split and expect the whole dataset is one COPY: one pass, streaming.
 * A program, and split or expect, each cost one Parquet file in between. Output NAME
 * lies in NAME.FORMAT; NAME is "data" when there is no split.
 */
#include "config.h"
#include "data/execute.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "data/expect.h"
#include "data/job.h"
#include "data/split.h"
#include "data/sql.h"

struct execute {
    struct job job;
    const json_t *spec;
    struct query *query;
    struct download download;
    size_t first_step;       /* of the query: what stands before it is in files */
    int programs;            /* run so far */
    enum read_format format; /* of the outputs */
    json_t *metrics;
    int64_t rows;
};

/* --- errors: step, key, place; whoever shows them names the dataset --- */

static int wrap_at(struct execute *x, const char *key, size_t index, const char *step,
                   struct rwf_err *err)
{
    const json_t *places = json_object_get(x->spec, "places");
    const json_t *place = json_object_get(places, key);
    struct rwf_str where = { 0 };
    if (json_is_array(place))
        place = json_array_get(place, index);
    rwf_str_add(&where, key);
    if (step != NULL)
        rwf_str_addf(&where, "[%zu].%s", index, step);
    if (json_is_string(place))
        rwf_str_addf(&where, " (%s)", json_string_value(place));
    rwf_wrap(err, "%s", where.data);
    rwf_str_free(&where);
    return -1;
}

/* A query that failed while it ran: the step whose SQL DuckDB blames, the source for a
 * file that it cannot read, else the dataset as a whole. */
static int wrap_query(struct execute *x, struct rwf_err *err)
{
    const char *source = json_object_get(x->spec, "read") != NULL ? "read" : "from";
    int step = query_step_at(x->query, duck_error_line(x->job.duck));
    bool file = strstr(err->text, "CSV Error") != NULL ||
                strstr(err->text, "JSON in file") != NULL ||
                strstr(err->text, "Parquet") != NULL;
    if (step >= 0 && !file) {
        size_t index = x->first_step + (size_t)step;
        json_t *one = json_array_get(json_object_get(x->spec, "steps"), index);
        return wrap_at(x, "steps", index, json_object_iter_key(json_object_iter(one)),
                       err);
    }
    if (x->first_step == 0 && (file || json_object_get(x->spec, "steps") == NULL))
        return wrap_at(x, source, 0, NULL, err);
    return wrap_at(x, "steps", x->first_step, NULL, err);
}

/* What DuckDB's text leaves out: what to change in the recipe. */
static void add_advice(struct rwf_err *err)
{
    static const struct {
        const char *sign, *advice;
    } table[] = {
        { "auto-detected", "; set the column's type in read.types, for example "
                           "{COLUMN: VARCHAR}" },
        { "Out of Memory", "; give the dataset more resources.memory, or fewer cpu" },
        { "Type INT128", "; whole numbers are written with 64 bits: cast the column to "
                         "DOUBLE or VARCHAR in select" },
    };
    for (size_t i = 0; i < RWF_COUNT(table); i++) {
        size_t len = strlen(err->text);
        if (strstr(err->text, table[i].sign) != NULL)
            snprintf(err->text + len, sizeof(err->text) - len, "%s", table[i].advice);
    }
}

/* --- the job's tools --- */

void job__progress(struct job *j, double done, int64_t rows)
{
    double all = j->copies_all > 0 ? j->copies_all : 1;
    double share = (j->copies - 1 + fmin(fmax(done, 0), 1)) / all;
    json_t *line = json_pack("{s:f, s:I}", "progress", fmin(fmax(share, 0), 1), "bytes",
                             (json_int_t)((double)j->bytes * fmin(done, 1)));
    if (rows >= 0)
        json_object_set_new(line, "rows", json_integer((json_int_t)rows));
    if (line != NULL && j->run->report != NULL)
        j->run->report(j->run, line);
    json_decref(line);
}

/* DuckDB counts the rows of text files by a guess of its own that can be far off. */
static void on_tick(void *ctx, double done, int64_t rows)
{
    struct job *j = ctx;
    bool guess = j->copies == 1 && j->rows > 0;
    job__progress(j, done, guess ? (int64_t)(done * (double)j->rows) : rows);
}

char *job__rows(const char *path)
{
    struct rwf_str s = { 0 };
    rwf_str_add(&s, "read_parquet(");
    sql_add_text(&s, path);
    rwf_str_add(&s, ", hive_partitioning=false)");
    return rwf_str_take(&s);
}

int job__copy(struct job *j, const char *select, const char *path,
              enum read_format format, int64_t *ret_rows, struct rwf_err *err)
{
    static const char *const options[] = {
        [READ_CSV] = "FORMAT csv, HEADER true",
        [READ_JSONL] = "FORMAT json",
        [READ_PARQUET] = "FORMAT parquet, COMPRESSION snappy",
    };
    struct rwf_str sql = { 0 };
    rwf_str_addf(&sql, "COPY (%s\n) TO ", select);
    sql_add_text(&sql, path);
    rwf_str_addf(&sql, " (%s)", options[format]);
    int r = duck_exec_progress(j->duck, sql.data, on_tick, j, ret_rows, err);
    rwf_str_free(&sql);
    return r;
}

/* --- source and steps --- */

static int open_source(struct execute *x, const json_t *read, struct rwf_err *err)
{
    struct rwf_str sql = { 0 };
    const char *text = json_string_value(json_object_get(read, "sql"));
    int r = 0;
    if (text != NULL) {
        r = sql_check(x->job.duck, text, SQL_SELECT, err);
        rwf_str_addf(&sql, "SELECT * FROM (%s\n)", text);
    } else {
        r = read_add_sql(x->job.duck, read, &sql, &x->job.bytes, err);
        x->job.rows = read_guess_rows(read, x->job.bytes);
    }
    if (r == 0)
        x->query = query_create(x->job.duck, sql.data, err);
    rwf_str_free(&sql);
    return x->query != NULL ? 0 : -1;
}

static int open_first(struct execute *x, struct rwf_err *err)
{
    const json_t *given = json_object_get(x->spec, "read");
    const json_t *from = json_object_get(x->spec, "from");
    json_t *read = given != NULL ? json_copy((json_t *)given) : json_object();
    int r = 0;
    if (from != NULL)
        json_object_set(read, "path", (json_t *)from);
    if (json_object_get(read, "url") != NULL) {
        r = download__get(&x->job, read, &x->download, err);
        json_object_set_new(read, "path", json_string(x->download.path));
    }
    if (r == 0)
        r = open_source(x, read, err);
    json_decref(read);
    return r < 0 ? wrap_at(x, given != NULL ? "read" : "from", 0, NULL, err) : 0;
}

/* Columns that the files in between need for themselves. */
static int check_reserved(const struct query *q, struct rwf_err *err)
{
    static const char *const names[] = { JOB_ROW_NUMBER, JOB_HASH };
    for (size_t i = 0; i < RWF_COUNT(names); i++)
        if (query_has_column(q, names[i]))
            return rwf_fail(err, RWF_E_FAILED,
                            "a column may not be named %s here: rename it in a select "
                            "step", names[i]);
    return 0;
}

/* The rows so far as a Parquet file in tmp; extra as in query_text. */
static int materialise(struct execute *x, const char *path, const char *extra,
                       int64_t *ret_rows, struct rwf_err *err)
{
    if (check_reserved(x->query, err) < 0)
        return wrap_at(x, "steps", x->first_step, NULL, err);
    char *select = query_text(x->query, extra, JOB_HASH);
    x->job.copies++;
    int r = job__copy(&x->job, select, path, READ_PARQUET, ret_rows, err);
    free(select);
    return r < 0 ? wrap_query(x, err) : 0;
}

/* No rows with the columns there were, when the program gave nothing at all. */
static int open_nothing(struct execute *x, const char *rows, struct rwf_err *err)
{
    char *table = job__rows(rows);
    char *sql = rwf_xasprintf("SELECT * FROM %s LIMIT 0", table);
    x->query = query_create(x->job.duck, sql, err);
    free(sql);
    free(table);
    return x->query != NULL ? 0 : -1;
}

static int run_program(struct execute *x, size_t index, const json_t *step,
                       struct rwf_err *err)
{
    int number = ++x->programs;
    char *rows = rwf_xasprintf("%s/before-run-%d.parquet", x->job.tmp, number);
    json_t *read = NULL;
    int64_t count;
    int r = materialise(x, rows, NULL, &count, err);
    bool ready = r == 0;
    if (r == 0) {
        x->job.copies++;
        r = program__run(&x->job, step, rows, count, number, &read, err);
    }
    if (r == 0) {
        query_destroy(x->query);
        x->query = NULL;
        x->first_step = index + 1;
        r = json_object_get(read, "path") != NULL ? open_source(x, read, err)
                                                  : open_nothing(x, rows, err);
        if (r < 0)
            rwf_wrap(err, "what the program gave");
    }
    json_decref(read);
    free(rows);
    return r < 0 && ready ? wrap_at(x, "steps", index, "run", err) : r;
}

static int add_steps(struct execute *x, struct rwf_err *err)
{
    const json_t *steps = json_object_get(x->spec, "steps");
    size_t i;
    json_t *step;
    json_array_foreach((json_t *)steps, i, step) {
        const char *name = json_object_iter_key(json_object_iter(step));
        if (name != NULL && strcmp(name, "run") == 0) {
            if (run_program(x, i, json_object_get(step, name), err) < 0)
                return -1;
        } else if (query_add(x->query, step, &x->job.bytes, err) < 0) {
            return wrap_at(x, "steps", i, name != NULL ? name : "?", err);
        }
    }
    return 0;
}

/* --- outputs --- */

static char *output_path(const struct execute *x, const char *name)
{
    char *file = rwf_xasprintf("%s.%s", name, read_format_name(x->format));
    char *path = rwf_fs_join(x->job.run->dir, file);
    free(file);
    return path;
}

static void add_metric(struct execute *x, const char *name, const char *split, double v)
{
    char *key = split != NULL ? rwf_xasprintf("%s_%s", name, split) : rwf_xstrdup(name);
    json_object_set_new(x->metrics, key, json_real(v));
    free(key);
}

static int write_output(struct execute *x, const char *select, const char *name,
                        bool split, struct rwf_err *err)
{
    char *path = output_path(x, name);
    int64_t rows = 0;
    struct stat st = { 0 };
    int r = job__copy(&x->job, select, path, x->format, &rows, err);
    if (r == 0 && stat(path, &st) < 0)
        r = rwf_fail(err, errno, "%s: %s", path, strerror(errno));
    if (r == 0) {
        double bytes = json_number_value(json_object_get(x->metrics, "bytes"));
        x->rows += rows;
        add_metric(x, "bytes", NULL, bytes + (double)st.st_size);
        if (split)
            add_metric(x, "rows", name, (double)rows);
        if (split && rows == 0)
            fprintf(stderr, "warning: %s: split %s has no rows\n", x->job.run->address,
                    name);
    }
    free(path);
    return r;
}

static int check_expect(struct execute *x, const char *table, struct rwf_err *err)
{
    const json_t *expect = json_object_get(x->spec, "expect");
    struct rwf_str report = { 0 };
    if (json_object_size(expect) == 0)
        return 0;
    int r = expect_check(x->job.duck, expect, query_columns(x->query), table,
                         JOB_ROW_NUMBER, &report, err);
    if (report.len > 0)
        fprintf(stderr, "%s", report.data);
    rwf_str_free(&report);
    return r < 0 ? wrap_at(x, "expect", 0, NULL, err) : 0;
}

static int write_splits(struct execute *x, const char *table, struct rwf_err *err)
{
    const json_t *split = json_object_get(x->spec, "split");
    json_t *plan = split_plan(x->job.duck, split, table, JOB_HASH, err), *part;
    size_t i;
    int r = plan != NULL ? 0 : -1;
    json_array_foreach(plan, i, part) {
        if (r < 0)
            break;
        char *select = rwf_xasprintf(
            "SELECT * EXCLUDE (" JOB_HASH ") FROM %s WHERE %s", table,
            json_string_value(json_object_get(part, "where")));
        r = write_output(x, select, json_string_value(json_object_get(part, "name")),
                         true, err);
        free(select);
    }
    json_decref(plan);
    return r < 0 ? wrap_at(x, "split", 0, NULL, err) : 0;
}

/* Rows once in a file: promises are checked there, splits are taken from there. */
static int write_checked(struct execute *x, struct rwf_err *err)
{
    const json_t *split = json_object_get(x->spec, "split");
    struct rwf_str hash = { 0 };
    char *rows = rwf_xasprintf("%s/rows.parquet", x->job.tmp);
    char *table = job__rows(rows);
    int r = 0;
    if (split != NULL && split_add_hash(split, x->query, &hash, err) < 0)
        r = wrap_at(x, "split", 0, NULL, err);
    if (r == 0)
        r = materialise(x, rows, hash.data, NULL, err);
    if (r == 0)
        r = check_expect(x, table, err);
    x->job.copies++;
    if (r == 0 && split != NULL) {
        r = write_splits(x, table, err);
    } else if (r == 0) {
        char *select = rwf_xasprintf("SELECT * FROM %s", table);
        r = write_output(x, select, "data", false, err);
        free(select);
    }
    rwf_str_free(&hash);
    free(table);
    free(rows);
    return r;
}

static int write_all(struct execute *x, struct rwf_err *err)
{
    const json_t *split = json_object_get(x->spec, "split");
    if (split != NULL || json_object_size(json_object_get(x->spec, "expect")) > 0)
        return write_checked(x, err);
    char *select = query_text(x->query, NULL, NULL);
    x->job.copies++;
    int r = write_output(x, select, "data", false, err);
    free(select);
    return r < 0 ? wrap_query(x, err) : 0;
}

/* --- the copy that the user asked for --- */

static int copy_bytes(int from, int to, struct rwf_err *err)
{
    char buffer[1 << 16];
    ssize_t n;
    while ((n = copy_file_range(from, NULL, to, NULL, 1 << 30, 0)) > 0)
        continue;
    if (n == 0)
        return 0;
    if (lseek(from, 0, SEEK_SET) < 0 || lseek(to, 0, SEEK_SET) < 0)
        return rwf_fail(err, errno, "%s", strerror(errno));
    while ((n = read(from, buffer, sizeof(buffer))) > 0)
        if (rwf_fs_write_all(to, buffer, (size_t)n, err) < 0)
            return -1;
    return n == 0 ? 0 : rwf_fail(err, errno, "%s", strerror(errno));
}

/* Readers of path see the old file or the new one, whole. */
static int copy_file(const char *from, const char *path, struct rwf_err *err)
{
    char *folder = rwf_fs_dirname(path);
    char *tmp = rwf_xasprintf("%s.%d.tmp", path, (int)getpid());
    int in = -1, out = -1, r = rwf_fs_mkdirs(folder, err);
    if (r == 0) {
        in = open(from, O_RDONLY | O_CLOEXEC);
        out = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        r = in < 0 || out < 0 ? rwf_fail(err, errno, "%s", strerror(errno))
                              : copy_bytes(in, out, err);
    }
    if (in >= 0)
        close(in);
    if (out >= 0 && close(out) < 0 && r == 0)
        r = rwf_fail(err, errno, "%s", strerror(errno));
    if (r == 0 && rename(tmp, path) < 0)
        r = rwf_fail(err, errno, "%s", strerror(errno));
    if (r < 0) {
        unlink(tmp);
        rwf_wrap(err, "copying to %s", path);
    }
    free(tmp);
    free(folder);
    return r;
}

static int copy_output(struct execute *x, const char *name, const char *to,
                       struct rwf_err *err)
{
    char *path = output_path(x, name);
    int r = copy_file(path, to, err);
    free(path);
    return r;
}

/* write.path: the file, or with a split the folder of the files. */
static int copy_out(struct execute *x, struct rwf_err *err)
{
    const json_t *split = json_object_get(x->spec, "split");
    const char *to =
        json_string_value(json_object_get(json_object_get(x->spec, "write"), "path"));
    const char *name;
    json_t *value;
    int r = 0;
    if (to == NULL)
        return 0;
    if (split == NULL)
        r = copy_output(x, "data", to, err);
    json_object_foreach((json_t *)split, name, value) {
        if (r < 0 || split_is_option(name))
            continue;
        char *file = rwf_xasprintf("%s/%s.%s", to, name, read_format_name(x->format));
        r = copy_output(x, name, file, err);
        free(file);
    }
    return r < 0 ? wrap_at(x, "write", 0, NULL, err) : 0;
}

/* --- all of it --- */

static void count_phases(struct execute *x)
{
    const json_t *steps = json_object_get(x->spec, "steps");
    size_t i;
    json_t *step;
    x->job.copies_all = 1;
    json_array_foreach((json_t *)steps, i, step)
        if (json_object_get(step, "run") != NULL)
            x->job.copies_all += 2;
    if (json_object_get(x->spec, "split") != NULL ||
        json_object_size(json_object_get(x->spec, "expect")) > 0)
        x->job.copies_all++;
}

static int set_up(struct execute *x, struct op_run *run, struct rwf_err *err)
{
    const json_t *write = json_object_get(run->spec, "write");
    const char *format = json_string_value(json_object_get(write, "format"));
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    x->spec = run->spec;
    x->job.run = run;
    x->metrics = json_object();
    x->format = read_format_parse(format != NULL ? format : "parquet");
    if (x->format == READ_UNKNOWN) {
        rwf_fail(err, RWF_E_FAILED, "format: %s is none of parquet, csv, jsonl",
                 format);
        return wrap_at(x, "write", 0, NULL, err);
    }
    /* a dataset that states no cpu shares all cores with whatever else runs */
    bool all = json_is_true(json_object_get(run->spec, "all_cores"));
    x->job.cores = all ? (int)online : run->cpu >= 1 ? (int)run->cpu : 1;
    char *tmp = rwf_fs_join(run->dir, "tmp");
    x->job.tmp = rwf_fs_absolute(tmp);
    free(tmp);
    if (rwf_fs_mkdirs(x->job.tmp, err) < 0)
        return -1;
    struct duck_options options = { .temp_dir = x->job.tmp };
    if (duck_limit(&options, run->memory, x->job.cores, err) < 0)
        return -1;
    x->job.duck = duck_open(&options, err);
    return x->job.duck != NULL ? 0 : wrap_at(x, "read", 0, NULL, err);
}

static void report_metrics(struct execute *x)
{
    add_metric(x, "rows", NULL, (double)x->rows);
    add_metric(x, "columns", NULL, (double)json_array_size(query_columns(x->query)));
    if (x->job.run->report == NULL)
        return;
    job__progress(&x->job, 1, -1); /* rows read are not rows written */
    x->job.run->report(x->job.run, x->metrics);
}

int execute_dataset(struct op_run *run, struct rwf_err *err)
{
    struct execute x = { .rows = 0 };
    int r = set_up(&x, run, err);
    count_phases(&x);
    if (r == 0)
        r = open_first(&x, err);
    if (r == 0)
        r = add_steps(&x, err);
    if (r == 0)
        r = write_all(&x, err);
    if (r == 0)
        r = copy_out(&x, err);
    if (r == 0)
        report_metrics(&x);
    if (r < 0)
        add_advice(err);
    query_destroy(x.query);
    duck_close(x.job.duck);
    if (x.job.tmp != NULL)
        rwf_fs_rmtree(x.job.tmp, NULL);
    json_decref(x.metrics);
    download__done(&x.download, r == 0);
    free(x.job.tmp);
    return r;
}
