/* SPDX-License-Identifier: Apache-2.0
 *
 * From files to the numbers that training reads. Golden values: prepare_golden.py.
 */
#include "config.h"
#include "train/prepared.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "tests/unit/data_help.h"
#include "text/tokenizer.h"
#include "train/features.h"

static char *folder, *to;
static double last_progress;
static int reports;

static void setup(void)
{
    folder = make_dir();
    to = rwf_fs_join(folder, "prepared");
    last_progress = 0;
    reports = 0;
}

static void teardown(void)
{
    free(to);
    remove_dir(folder);
}

static void on_report(const struct op_run *r, const json_t *line)
{
    double progress = json_real_value(json_object_get(line, "progress"));
    (void)r;
    ck_assert_double_ge(progress, last_progress);
    ck_assert_double_le(progress, 1);
    ck_assert(json_is_string(json_object_get(line, "message")));
    last_progress = progress;
    reports++;
}

/* A spec over files of the folder: model and tokenizer are JSON with ' for ". */
static json_t *spec_of(const char *train, const char *val, const char *model,
                       const char *tokenizer)
{
    json_t *spec = json_object(), *data = json_object();
    char *path = rwf_fs_join(folder, train);
    json_object_set_new(data, "train", json_string(path));
    free(path);
    path = val != NULL ? rwf_fs_join(folder, val) : NULL;
    if (path != NULL)
        json_object_set_new(data, "val", json_string(path));
    free(path);
    json_object_set_new(spec, "dataset", data);
    json_object_set_new(spec, "model", json_of(model));
    if (tokenizer != NULL)
        json_object_set_new(spec, "tokenizer", json_of(tokenizer));
    return spec;
}

static int prepare_with(json_t *spec, double cpu, json_t **ret, struct rwf_err *err)
{
    struct op_run run = { .address = "train.t",
                          .spec = spec,
                          .dir = folder,
                          .cpu = cpu,
                          .report = on_report };
    last_progress = 0;
    return prepare_data(&run, spec, to, ret, err);
}

static json_t *prepared(json_t *spec)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *info = NULL;
    ck_assert_msg(prepare_with(spec, 2, &info, &err) == 0, "%s", err.text);
    json_decref(spec);
    return info;
}

static void *bytes_of(const char *name, size_t *ret_len)
{
    char *path = rwf_fs_join(to, name);
    void *bytes = rwf_fs_read(path, 1 << 28, ret_len, NULL);
    ck_assert_msg(bytes != NULL, "%s is missing", path);
    free(path);
    return bytes;
}

static struct features *open_features(void)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *path = rwf_fs_join(to, "preprocess.json");
    struct features *f = features_open(path, &err);
    ck_assert_msg(f != NULL, "%s", err.text);
    free(path);
    return f;
}

/* JSON of info[key] in one line. */
static void info_is(const json_t *info, const char *key, const char *want)
{
    char *text = json_dumps(json_object_get(info, key), JSON_COMPACT | JSON_ENCODE_ANY |
                                                            JSON_SORT_KEYS |
                                                            JSON_REAL_PRECISION(6));
    json_t *expected = json_of(want);
    char *wanted = json_dumps(expected, JSON_COMPACT | JSON_ENCODE_ANY |
                                            JSON_SORT_KEYS | JSON_REAL_PRECISION(6));
    ck_assert_str_eq(text, wanted);
    json_decref(expected);
    free(wanted);
    free(text);
}

static void values_are(const char *name, const float *want, size_t count)
{
    size_t len;
    float *got = bytes_of(name, &len);
    ck_assert_uint_eq(len, count * sizeof(*got));
    for (size_t i = 0; i < count; i++)
        ck_assert_msg(fabsf(got[i] - want[i]) < 1e-5f, "%s[%zu] is %g, not %g", name, i,
                      (double)got[i], (double)want[i]);
    free(got);
}

/* Each row of the file of a split, as JSON, gives through features_row the very bytes
 * that prepare_data wrote. */
static void rows_agree(const char *file, const char *split)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct features *f = open_features();
    struct duck *d = open_duck();
    size_t len, width = (size_t)features_width(f);
    char name[32];
    snprintf(name, sizeof(name), "%s.x", split);
    float *x = bytes_of(name, &len), *row = rwf_xcalloc(width, sizeof(*row));
    char *sql = rwf_xasprintf("SELECT * FROM '%s/%s'", folder, file);
    json_t *rows = duck_rows(d, sql, -1, &err);
    ck_assert_msg(rows != NULL, "%s", err.text);
    ck_assert_uint_eq(len, json_array_size(rows) * width * sizeof(*x));
    for (size_t i = 0; i < json_array_size(rows); i++) {
        ck_assert_msg(features_row(f, json_array_get(rows, i), row, &err) == 0, "%s",
                      err.text);
        ck_assert_msg(memcmp(row, x + i * width, width * sizeof(*x)) == 0,
                      "row %zu differs", i);
    }
    json_decref(rows);
    free(sql);
    free(row);
    free(x);
    duck_close(d);
    features_close(f);
}

/* --- rows --- */

static const char iris_model[] = "{'type':'mlp','task':'classification',"
                                 "'target':'species'}";

static void copy_iris(const char *as)
{
    const char *top = getenv("abs_top_srcdir");
    char *from =
        rwf_xasprintf("%s/recipes/quickstart/iris.csv", top != NULL ? top : ".");
    size_t len;
    char *text = rwf_fs_read(from, 1 << 20, &len, NULL);
    ck_assert_msg(text != NULL, "no %s", from);
    write_text(folder, as, text);
    free(text);
    free(from);
}

START_TEST(test_iris)
{
    static const float first[] = { -0.9006812f, 1.0190044f, -1.3402265f, -1.3154443f };
    static const float last[] = { 0.0686618f, -0.1319795f, 0.7627583f, 0.7906707f };
    copy_iris("iris.csv");
    json_t *info = prepared(spec_of("iris.csv", "iris.csv", iris_model, NULL));
    info_is(info, "kind", "'rows'");
    info_is(info, "features", "4");
    info_is(info, "outputs", "3");
    info_is(info, "task", "'classification'");
    info_is(info, "classes", "['setosa','versicolor','virginica']");
    info_is(info, "splits", "{'train':{'rows':150},'val':{'rows':150}}");
    size_t len;
    float *x = bytes_of("train.x", &len);
    ck_assert_uint_eq(len, 150 * 4 * sizeof(*x));
    for (int i = 0; i < 4; i++) {
        ck_assert_float_eq_tol(x[i], first[i], 1e-6f);
        ck_assert_float_eq_tol(x[149 * 4 + i], last[i], 1e-6f);
    }
    free(x);
    int32_t *y = bytes_of("train.y", &len);
    ck_assert_uint_eq(len, 150 * sizeof(*y));
    for (int i = 0; i < 150; i++)
        ck_assert_int_eq(y[i], i / 50);
    free(y);
    rows_agree("iris.csv", "train");
    json_decref(info);
}
END_TEST

/* All kinds of columns, with nulls and values that train does not have; in three
 * formats. */
START_TEST(test_kinds)
{
    static const char *const files[][2] = { { "t.csv", "v.csv" },
                                            { "t.jsonl", "v.jsonl" },
                                            { "t.parquet", "v.parquet" } };
    static const float train[] = {
        /* size, colour blue green red, door -1 2 10, wet no yes, constant */
        -1.224745f, 0, 0, 1, 0, 1, 0, 0, 1, 0, 0,       1, 0, 0, 0, 0, 1, 1, 0, 0,
        1.224745f,  0, 1, 0, 1, 0, 0, 0, 0, 0, 0.0000f, 0, 0, 0, 0, 1, 0, 0, 1, 0,
    };
    static const float val[] = { 2.449490f, 0, 0, 0, 0, 0, 0, 1, 0, 0,
                                 0,         0, 0, 1, 1, 0, 0, 0, 0, 0 };
    struct duck *d = open_duck();
    struct rwf_err err = RWF_ERR_INIT;
    write_text(folder, "t.csv",
               "size,colour,door,wet,same,out\n1.0,red,2,true,7,a\n"
               "2.0,blue,10,false,7,b\n3.0,green,-1,,7,b\n,,2,true,7,b\n");
    write_text(folder, "v.csv",
               "out,size,colour,door,wet,same\nb,4.0,mauve,3,false,8\n"
               "a,2.0,red,-1,,7\n");
    for (int i = 1; i < 3; i++)
        for (int k = 0; k < 2; k++) {
            char *sql = rwf_xasprintf(
                "COPY (SELECT * FROM '%s/%s') TO '%s/%s' (FORMAT %s)", folder,
                files[0][k], folder, files[i][k], i == 1 ? "json" : "parquet");
            ck_assert_msg(duck_exec(d, sql, &err) == 0, "%s", err.text);
            free(sql);
        }
    duck_close(d);
    json_t *info =
        prepared(spec_of(files[_i][0], files[_i][1],
                         "{'type':'mlp','target':'out','categorical':['door'],"
                         "'class_weights':'balanced'}",
                         NULL));
    info_is(info, "features", "10");
    info_is(info, "classes", "['a','b']");
    info_is(info, "class_weights", "[2.0,0.666667]");
    values_are("train.x", train, RWF_COUNT(train));
    values_are("val.x", val, RWF_COUNT(val));
    rows_agree(files[_i][0], "train");
    rows_agree(files[_i][1], "val");
    json_decref(info);
}
END_TEST

/* Named features, in that order; several targets, standardised, and back. */
START_TEST(test_regression)
{
    static const float y[] = { -1.224745f, 0, 0, 0, 1.224745f, 0 };
    static const float x[] = { -1.224745f, 0, 1.224745f };
    write_text(folder, "t.csv", "b,a,c,d\n10,1,4,9\n20,2,4,9\n30,3,4,9\n");
    json_t *info = prepared(spec_of(
        "t.csv", NULL,
        "{'type':'mlp','task':'regression','target':['b','c'],'features':['a']}",
        NULL));
    info_is(info, "outputs", "2");
    info_is(info, "task", "'regression'");
    info_is(info, "targets",
            "[{'name':'b','mean':20.0,'std':8.16497},"
            "{'name':'c','mean':4.0,'std':1.0}]");
    values_are("train.x", x, 3);
    values_are("train.y", y, 6);
    struct features *f = open_features();
    ck_assert_int_eq(features_outputs(f), 2);
    ck_assert_str_eq(features_target(f, 1), "c");
    ck_assert_double_eq_tol(features_value(f, 0, 1.224745f), 30, 1e-4);
    ck_assert_double_eq_tol(features_value(f, 1, 0.5f), 4.5, 1e-9);
    features_close(f);
    json_decref(info);
}
END_TEST

/* Classes that are numbers sort as numbers and stay numbers; weights by name have
 * mean 1. */
START_TEST(test_number_classes)
{
    write_text(folder, "t.csv", "x,y\n1,10\n2,9\n3,10\n4,-1\n");
    json_t *info = prepared(spec_of(
        "t.csv", NULL, "{'type':'mlp','target':'y','class_weights':{'10':3}}", NULL));
    info_is(info, "classes", "['-1','9','10']");
    info_is(info, "class_weights", "[0.5,0.5,1.5]");
    size_t len;
    int32_t *y = bytes_of("train.y", &len);
    ck_assert(len == 16 && y[0] == 2 && y[1] == 1 && y[2] == 2 && y[3] == 0);
    free(y);
    struct features *f = open_features();
    json_t *class = features_class(f, 2);
    ck_assert(json_is_integer(class) && json_integer_value(class) == 10);
    json_decref(class);
    features_close(f);
    json_decref(info);
}
END_TEST

/* --- what is refused --- */

static const struct {
    const char *train, *val, *model, *message;
} refused[] = {
    { "a,y\n1,p\n2,q\n", NULL, "'target':'species'",
      "model.target: dataset.train has no column 'species'; its columns: a, y" },
    { "petal_length,y\n1,p\n2,q\n", NULL, "'target':'y','features':['petal_lenght']",
      "model.features: dataset.train has no column 'petal_lenght': did you mean "
      "'petal_length'?" },
    { "a,y\n1,p\n2,q\n", NULL, "'target':'y','features':['a','y']",
      "model.features: y is the target" },
    { "a,y\n1,p\n2,q\n", NULL, "'target':'y','features':['a','a']",
      "a is named twice" },
    { "a,y\n1,p\n2,q\n", NULL, "'target':'y','categorical':['b']",
      "model.categorical: b is none of the features" },
    { "a,y\n1,p\n2,q\n", NULL, "'x':1", "model.target must name one column" },
    { "y\np\nq\n", NULL, "'target':'y'", "model.features: there is none" },
    { "a,y\n1,p\n2,p\n", NULL, "'target':'y'",
      "dataset.train: column y has one class only, p" },
    { "a,y\n", NULL, "'target':'y'", "dataset.train has no rows" },
    { "a,y\n1,p\n2,q\n", "a,y\n", "'target':'y'", "dataset.val has no rows" },
    { "a,y\n1,p\n2,q\n", "a,y\n1,p\n7,r\n", "'target':'y'",
      "dataset.val: column y, row 2: the training split has no class 'r'; it has: p, "
      "q" },
    { "a,y\n1,p\n2,q\n", "b,y\n1,p\n", "'target':'y'",
      "dataset.val has no column 'a'" },
    { "a,y\n1.5,p\nnan,q\n", NULL, "'target':'y'",
      "dataset.train: column a, row 2: NaN is no number" },
    { "a,y\n1.5,p\n2,q\n", "a,y\n1.0,p\n2.0,p\n-inf,p\n", "'target':'y'",
      "dataset.val: column a, row 3: -infinity is no number" },
    { "a,y\n1.5,p\n2.5,q\n", "a,y\n1.5,p\nx7,p\n", "'target':'y'",
      "CSV Error on Line: 3; Original Line: x7,p; Error when converting column \"a\"" },
    { "a,y\n1,p\n2,\n", NULL, "'target':'y'",
      "dataset.train: column y, row 2: the target is null" },
    { "a,y\n1,p\n2,q\n", "a,y\n1,p\n2,\n", "'target':'y'",
      "dataset.val: column y, row 2: the target is null" },
    { "a,y\n1,p\n2,q\n", NULL, "'target':'y','task':'regression'",
      "y is VARCHAR, and task regression learns numbers" },
    { "a,b,y\n1,2020-01-01,p\n2,2020-01-02,q\n", NULL, "'target':'y'",
      "column b: is DATE in the files" },
    { "a,y\n1e300,p\n-1e300,q\n", NULL, "'target':'y'",
      "column a: its numbers, up to 1e+300, are too large" },
    { "a,y\n1,p\n2,q\n", NULL, "'target':'y','class_weights':{'pp':1}",
      "model.class_weights: no row of train has the class 'pp': did you mean 'p'?" },
    { "a,y\n1,p\n2,q\n", NULL, "'target':'y','class_weights':{'p':-1}",
      "model.class_weights.p must be a number" },
    { "a,y\n1,p\n2,q\n", NULL, "'target':'y','class_weights':{'p':0,'q':0}",
      "all of them are 0" },
    { "a,y\n,p\n,q\n", NULL, "'target':'y','categorical':['a']",
      "no feature has any value" },
};

START_TEST(test_refused)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *model = rwf_xasprintf("{'type':'mlp',%s}", refused[_i].model);
    json_t *info = NULL;
    write_text(folder, "t.csv", refused[_i].train);
    if (refused[_i].val != NULL)
        write_text(folder, "v.csv", refused[_i].val);
    json_t *spec =
        spec_of("t.csv", refused[_i].val != NULL ? "v.csv" : NULL, model, NULL);
    ck_assert_int_eq(prepare_with(spec, 1, &info, &err), -1);
    ck_assert_msg(strstr(err.text, refused[_i].message) != NULL, "%s\nhas no: %s",
                  err.text, refused[_i].message);
    ck_assert_int_eq(rwf_exit_code(&err), 6);
    char *half = rwf_xasprintf("%s.tmp", to);
    ck_assert(!rwf_fs_exists(to) && !rwf_fs_exists(half));
    free(half);
    json_decref(spec);
    free(model);
}
END_TEST

START_TEST(test_many)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *info = NULL;
    struct rwf_str csv = { 0 };
    rwf_str_add(&csv, "c,y\n");
    for (int i = 0; i < 10001; i++)
        rwf_str_addf(&csv, "c%d,%d\n", i, i % 2);
    write_text(folder, "t.csv", csv.data);
    rwf_str_free(&csv);
    json_t *spec = spec_of("t.csv", NULL, "{'type':'mlp','target':'y'}", NULL);
    ck_assert_int_eq(prepare_with(spec, 1, &info, &err), -1);
    ck_assert_ptr_nonnull(strstr(err.text, "column c has more than 10000 categories"));
    json_decref(spec);
    spec = spec_of("t.csv", NULL, "{'type':'mlp','target':'c'}", NULL);
    ck_assert_int_eq(prepare_with(spec, 1, &info, &err), -1);
    ck_assert_ptr_nonnull(strstr(err.text, "column c has more than 10000 classes"));
    json_decref(spec);
    spec = spec_of("t.csv", "nothing.csv", "{'type':'mlp','target':'c'}", NULL);
    ck_assert_int_eq(prepare_with(spec, 1, &info, &err), -1);
    ck_assert_ptr_nonnull(strstr(err.text, "dataset.val: there is no file"));
    json_decref(spec);
}
END_TEST

/* --- preprocess.json --- */

static const struct {
    const char *json, *message;
} broken[] = {
    { "{'v':2}", "another version" },
    { "{'v':1}", "task must be" },
    { "{'v':1,'task':'regression'}", "features must be a list" },
    { "{'v':1,'task':'regression','features':[{}]}", "features[0] has no name" },
    { "{'v':1,'task':'regression','features':[{'name':'a'}]}", "kind must be" },
    { "{'v':1,'task':'regression','features':[{'name':'a','kind':'number','mean':1}]}",
      "mean and std" },
    { "{'v':1,'task':'regression','features':[{'name':'a','kind':'number','mean':1,"
      "'std':-1}]}",
      "mean and std" },
    { "{'v':1,'task':'regression','features':[{'name':'a','kind':'category'}]}",
      "type" },
    { "{'v':1,'task':'regression','features':[{'name':'a','kind':'category','type':'"
      "text',"
      "'categories':['x',1]}]}",
      "features[0] (a): value 1 is not of its type" },
    { "{'v':1,'task':'regression','features':[{'name':'a','kind':'category','type':'"
      "text',"
      "'categories':['x','x']}]}",
      "value 1 is there twice" },
    { "{'v':1,'task':'regression','features':[{'name':'a','kind':'number','mean':1,"
      "'std':1}],'targets':[{'name':'t','mean':0,'std':1}],'width':2}",
      "width is not" },
    { "{'v':1,'task':'classification','features':[{'name':'a','kind':'number','mean':1,"
      "'std':1}],'targets':[{'name':'t'}],'width':1}",
      "type" },
};

START_TEST(test_broken)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *json = json_of(broken[_i].json);
    ck_assert_ptr_null(features_parse(json, "preprocess.json", &err));
    ck_assert_msg(strstr(err.text, broken[_i].message) != NULL, "%s\nhas no: %s",
                  err.text, broken[_i].message);
    json_decref(json);
}
END_TEST

static const struct {
    const char *row, *message;
} bad_rows[] = {
    { "[1]", "a row must be an object" },
    { "{'colour':'red','siz':1}", "the row has no 'size' but 'siz'" },
    { "{'size':1}", "the row has no 'colour'" },
    { "{'size':'1','colour':'red'}", "'size' must be a number or null" },
    { "{'size':1,'colour':2}", "'colour' must be text or null" },
};

START_TEST(test_bad_rows)
{
    struct rwf_err err = RWF_ERR_INIT;
    float x[3];
    json_t *json =
        json_of("{'v':1,'task':'regression','width':3,'features':[{'name':'size','kind'"
                ":'number',"
                "'mean':1,'std':2},{'name':'colour','kind':'category','type':'text','"
                "categories':"
                "['blue','red']}],'targets':[{'name':'t','mean':0,'std':1}]}");
    struct features *f = features_parse(json, "p", &err);
    ck_assert_msg(f != NULL, "%s", err.text);
    json_t *again = features_json(f);
    ck_assert(json_equal(json_object_get(json, "features"),
                         json_object_get(again, "features")) ||
              json_array_size(json_object_get(again, "features")) == 2);
    json_decref(again);
    json_t *row = json_of(bad_rows[_i].row);
    ck_assert_int_eq(features_row(f, row, x, &err), -1);
    ck_assert_msg(strstr(err.text, bad_rows[_i].message) != NULL, "%s", err.text);
    json_decref(row);
    row = json_of("{'size':3,'colour':'red','other':[]}");
    ck_assert_int_eq(features_row(f, row, x, &err), 0);
    ck_assert(x[0] == 1 && x[1] == 0 && x[2] == 1);
    json_decref(row);
    json_decref(json);
    features_close(f);
}
END_TEST

/* --- the folder --- */

static ino_t inode_of(const char *name)
{
    struct stat st = { 0 };
    char *path = rwf_fs_join(to, name);
    ck_assert_int_eq(stat(path, &st), 0);
    free(path);
    return st.st_ino;
}

/* Kept when it is whole and of the same; made again when it is not. */
START_TEST(test_reuse)
{
    copy_iris("iris.csv");
    json_t *first = prepared(spec_of("iris.csv", NULL, iris_model, NULL));
    ino_t made = inode_of("train.x");
    size_t len;
    json_t *second = prepared(spec_of("iris.csv", NULL, iris_model, NULL));
    ck_assert_uint_eq(inode_of("train.x"), made);
    ck_assert(json_equal(first, second));
    json_decref(second);
    second = prepared(
        spec_of("iris.csv", NULL,
                "{'type':'mlp','target':'species','features':['petal_width']}", NULL));
    info_is(second, "features", "1");
    json_decref(second);
    char *cut = rwf_fs_join(to, "train.x"); /* one that was cut short is no finished one */
    ck_assert_int_eq(truncate(cut, 100), 0);
    second = prepared(
        spec_of("iris.csv", NULL,
                "{'type':'mlp','target':'species','features':['petal_width']}", NULL));
    json_decref(second);
    free(bytes_of("train.x", &len));
    ck_assert_uint_eq(len, 150 * sizeof(float));
    free(cut);
    char *path = rwf_fs_join(to, "data.json"), *half = rwf_xasprintf("%s.tmp", to);
    ck_assert_int_eq(unlink(path), 0); /* a half one, and another one beside it */
    ck_assert_int_eq(rwf_fs_mkdirs(half, NULL), 0);
    write_text(half, "train.x", "rest of an attempt that was killed");
    second = prepared(spec_of("iris.csv", NULL, iris_model, NULL));
    ck_assert(json_equal(first, second));
    ck_assert(!rwf_fs_exists(half));
    json_decref(first);
    json_decref(second);
    free(path);
    free(half);
}
END_TEST

/* Numbers of which one is none are text, and text is a category: that is told. */
START_TEST(test_many_categories)
{
    struct rwf_str csv = { 0 };
    rwf_str_add(&csv, "size,out\n");
    for (int i = 0; i < 80; i++)
        rwf_str_addf(&csv, i == 40 ? "n/a,%d\n" : "%d.5,%d\n", i == 40 ? 0 : i, i % 2);
    write_text(folder, "t.csv", csv.data);
    rwf_str_free(&csv);
    char *path = rwf_fs_join(folder, "notes");
    int kept = dup(STDERR_FILENO), fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    dup2(fd, STDERR_FILENO);
    json_t *info = prepared(spec_of("t.csv", NULL, "{'type':'mlp','target':'out'}", NULL));
    dup2(kept, STDERR_FILENO);
    close(kept);
    close(fd);
    size_t len;
    char *notes = rwf_fs_read(path, 1 << 16, &len, NULL);
    ck_assert_msg(strstr(notes, "size is a category with 80 values in 80 rows") != NULL, "%s",
                  notes);
    free(notes);
    free(path);
    json_decref(info);
}
END_TEST

/* Many rows keep their order, and neither threads nor chunks change a bit. */
START_TEST(test_large)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct duck *d = open_duck();
    char *sql =
        rwf_xasprintf("COPY (SELECT range AS a, (range * 7919) %% 1000 / 8 AS b, "
                      "'c' || range %% 50 AS c, range %% 3 AS y FROM range(100000)) "
                      "TO '%s/t.csv'",
                      folder);
    ck_assert_msg(duck_exec(d, sql, &err) == 0, "%s", err.text);
    free(sql);
    duck_close(d);
    size_t len;
    char *texts[2];
    for (int i = 0; i < 2; i++) {
        json_t *info = NULL,
               *spec = spec_of("t.csv", "t.csv", "{'type':'mlp','target':'y'}", NULL);
        ck_assert_msg(prepare_with(spec, i + 1, &info, &err) == 0, "%s", err.text);
        json_decref(info);
        json_decref(spec);
        texts[i] = bytes_of("preprocess.json", &len);
        ck_assert_int_eq(rwf_fs_rmtree(i == 0 ? to : "/nonexistent", NULL), 0);
    }
    ck_assert_str_eq(texts[0], texts[1]);
    float *x = bytes_of("train.x", &len);
    int32_t *y = bytes_of("val.y", NULL);
    ck_assert_uint_eq(len, 100000 * 52 * sizeof(*x));
    for (int i = 0; i < 100000; i++) {
        ck_assert_int_eq(y[i], i % 3);
        ck_assert(i == 0 || x[(size_t)i * 52] > x[(size_t)(i - 1) * 52]);
    }
    ck_assert_int_gt(reports, 0);
    free(x);
    free(y);
    free(texts[0]);
    free(texts[1]);
}
END_TEST

/* A file that cannot grow: told with its name, and nothing is left. */
START_TEST(test_no_room)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct rwf_str csv = { 0 };
    json_t *info = NULL;
    rwf_str_add(&csv, "a,b,y\n");
    for (int i = 0; i < 20000; i++)
        rwf_str_addf(&csv, "%d,%d,%d\n", i, i % 7, i % 2);
    write_text(folder, "t.csv", csv.data);
    rwf_str_free(&csv);
    json_t *spec = spec_of("t.csv", NULL, "{'type':'mlp','target':'y'}", NULL);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit limit = { 50000, RLIM_INFINITY };
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    int r = prepare_with(spec, 1, &info, &err);
    limit.rlim_cur = RLIM_INFINITY;
    setrlimit(RLIMIT_FSIZE, &limit);
    ck_assert_int_eq(r, -1);
    ck_assert_int_eq(err.code, EFBIG);
    ck_assert_ptr_nonnull(strstr(err.text, "prepared.tmp/train.x"));
    char *half = rwf_xasprintf("%s.tmp", to);
    ck_assert(!rwf_fs_exists(to) && !rwf_fs_exists(half));
    free(half);
    json_decref(spec);
}
END_TEST

/* --- duck_stream --- */

struct seen {
    int64_t rows, sum, nulls, texts, stop_at;
};

static int on_chunk(void *ctx, const struct duck_column *c, int64_t rows,
                    struct rwf_err *err)
{
    struct seen *s = ctx;
    ck_assert_int_eq(c[0].type, DUCK_INT64);
    ck_assert_int_eq(c[1].type, DUCK_TEXT);
    ck_assert_int_eq(c[2].type, DUCK_DOUBLE);
    ck_assert_int_eq(c[3].type, DUCK_BOOL);
    ck_assert_int_eq(c[4].type, DUCK_FLOAT);
    ck_assert_int_eq(c[5].type, DUCK_INT32);
    for (int64_t i = 0; i < rows; i++, s->rows++) {
        size_t len;
        ck_assert_int_eq(((const int64_t *)c[0].data)[i], s->rows);
        s->nulls += duck_is_null(&c[1], i);
        if (!duck_is_null(&c[1], i)) {
            const char *text = duck_text(&c[1], i, &len);
            ck_assert(len >= 2 && text[0] == 't');
            s->texts++;
        }
        ck_assert_double_eq(((const double *)c[2].data)[i], (double)s->rows / 2);
        ck_assert_int_eq(((const bool *)c[3].data)[i], s->rows % 2 == 0);
        ck_assert_float_eq(((const float *)c[4].data)[i], 1.5f);
        s->sum += ((const int32_t *)c[5].data)[i];
        if (s->rows == s->stop_at)
            return rwf_fail(err, EINVAL, "enough");
    }
    return 0;
}

static const char stream_sql[] =
    "SELECT range, CASE WHEN range % 10 <> 0 THEN 't' || range || ' of a longer text' "
    "END, "
    "range / 2, range % 2 = 0, 1.5::FLOAT, 3::INTEGER FROM range(100000)";

START_TEST(test_stream)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct duck *d = open_duck();
    struct seen s = { .stop_at = -1 };
    ck_assert_msg(duck_stream(d, stream_sql, on_chunk, &s, &err) == 0, "%s", err.text);
    ck_assert(s.rows == 100000 && s.nulls == 10000 && s.texts == 90000 &&
              s.sum == 300000);
    s = (struct seen){ .stop_at = 50000 };
    ck_assert_int_eq(duck_stream(d, stream_sql, on_chunk, &s, &err), -1);
    ck_assert_str_eq(err.text, "enough");
    ck_assert_int_eq(duck_stream(d, "SELECT nothing FROM nowhere", on_chunk, &s, &err),
                     -1);
    ck_assert_ptr_nonnull(strstr(err.text, "nowhere"));
    ck_assert_int_eq(
        duck_stream(d, "SELECT DATE '2020-01-01' AS d", on_chunk, &s, &err), -1);
    ck_assert_ptr_nonnull(strstr(err.text, "column d is of a type"));
    /* breaks off in the middle */
    s = (struct seen){ .stop_at = -1 };
    ck_assert_int_eq(
        duck_stream(d,
                    "SELECT range, 't' || range, range / 2, range % 2 = 0, "
                    "1.5::FLOAT, CASE WHEN range < 90000 THEN 1 ELSE "
                    "error('broken row') END::INTEGER FROM range(100000)",
                    on_chunk, &s, &err),
        -1);
    ck_assert_msg(strstr(err.text, "broken row") != NULL, "%s", err.text);
    ck_assert_int_gt(s.rows, 0);
    duck_close(d);
}
END_TEST

/* --- tokens --- */

static const char text_model[] = "{'type':'transformer'}";
static const char bpe[] = "{'type':'bpe','vocab_size':300}";

static const char *const texts[] = { "The cat sat on the mat.", "",
                                     "\\u00fcber den Wolken", "The cat sat." };

static void write_texts(const char *name)
{
    struct rwf_str jsonl = { 0 };
    for (size_t i = 0; i < RWF_COUNT(texts); i++)
        rwf_str_addf(&jsonl, "{\"id\":%zu,\"text\":\"%s\"}\n", i, texts[i]);
    rwf_str_add(&jsonl, "{\"id\":9,\"text\":null}\n");
    write_text(folder, name, jsonl.data);
    rwf_str_free(&jsonl);
}

/* The ids of a split decode to the texts, each ended. */
static void decodes(const char *split, int width)
{
    struct rwf_err err = RWF_ERR_INIT;
    char name[32];
    size_t len;
    struct rwf_str text = { 0 };
    struct tokenizer *t = tokenizer_open(to, &err);
    ck_assert_msg(t != NULL, "%s", err.text);
    int32_t end = tokenizer_end(t), id;
    snprintf(name, sizeof(name), "%s.ids", split);
    char *ids = bytes_of(name, &len);
    for (size_t i = 0; i < len / (size_t)width; i++) {
        id = width == 2 ? ((uint16_t *)(void *)ids)[i] : ((int32_t *)(void *)ids)[i];
        ck_assert(id >= 0 && id < tokenizer_count(t));
        if (id == end)
            rwf_str_add(&text, "|");
        else
            tokenizer_decode(t, &id, 1, &text);
    }
    ck_assert_str_eq(text.data, "The cat sat on the mat.||\xc3\xbc"
                                "ber den Wolken|The cat sat.|");
    rwf_str_free(&text);
    free(ids);
    tokenizer_close(t);
}

START_TEST(test_tokens)
{
    write_texts("t.jsonl");
    json_t *info = prepared(spec_of("t.jsonl", "t.jsonl", text_model, bpe));
    info_is(info, "kind", "'tokens'");
    info_is(info, "width", "2");
    decodes("train", 2);
    decodes("val", 2);
    /* the same tokenizer, by its path, and beside a model */
    size_t len, other_len;
    char *ids = bytes_of("train.ids", &len), *old = rwf_fs_join(folder, "old");
    ck_assert_int_eq(rename(to, old), 0);
    json_decref(info);
    for (int i = 0; i < 3; i++) {
        char *tokenizer =
            rwf_xasprintf("{'path':'%s%s'}", old, i == 0 ? "" : "/tokenizer.json");
        char *model = rwf_xasprintf("{'type':'transformer','from':'%s'}", old);
        info = prepared(spec_of("t.jsonl", NULL, i == 2 ? model : text_model,
                                i == 2 ? NULL : tokenizer));
        char *other = bytes_of("train.ids", &other_len);
        ck_assert(len == other_len && memcmp(ids, other, len) == 0);
        free(other);
        free(tokenizer);
        free(model);
        json_decref(info);
    }
    free(ids);
    free(old);
}
END_TEST

/* Ids of a vocabulary that 16 bits cannot hold. */
START_TEST(test_wide)
{
    write_texts("t.jsonl");
    json_decref(prepared(spec_of("t.jsonl", NULL, text_model, bpe)));
    char *path = rwf_fs_join(to, "tokenizer.json"), key[16];
    json_t *json = json_load_file(path, 0, NULL);
    json_t *vocab = json_object_get(json_object_get(json, "model"), "vocab");
    for (int id = (int)json_object_size(vocab); id < 70000; id++) {
        snprintf(key, sizeof(key), "<%d>", id);
        json_object_set_new(vocab, key, json_integer(id));
    }
    free(path);
    char *other = rwf_fs_join(folder, "wide.json");
    ck_assert_int_eq(json_dump_file(json, other, 0), 0);
    char *tokenizer = rwf_xasprintf("{'path':'%s'}", other);
    json_t *info = prepared(spec_of("t.jsonl", "t.jsonl", text_model, tokenizer));
    info_is(info, "vocab", "70000");
    info_is(info, "width", "4");
    decodes("train", 4);
    decodes("val", 4);
    free(other);
    free(tokenizer);
    json_decref(info);
    json_decref(json);
}
END_TEST

/* More texts than fit into a batch, on one thread and on four: the same ids. */
START_TEST(test_token_threads)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct rwf_str csv = { 0 };
    size_t len[2];
    char *ids[2];
    rwf_str_add(&csv, "body\n");
    for (int i = 0; i < 6000; i++) {
        rwf_str_addf(&csv, "word%d", i % 97);
        for (int k = 0; k < i % 211; k++)
            rwf_str_addf(&csv, " and %d", i * k % 1009);
        rwf_str_add(&csv, "\n");
    }
    write_text(folder, "t.csv", csv.data);
    rwf_str_free(&csv);
    for (int i = 0; i < 2; i++) {
        json_t *info = NULL;
        json_t *spec =
            spec_of("t.csv", NULL, "{'type':'transformer','text':'body'}", bpe);
        ck_assert_msg(prepare_with(spec, i == 0 ? 1 : 4, &info, &err) == 0, "%s",
                      err.text);
        ids[i] = bytes_of("train.ids", &len[i]);
        ck_assert_int_eq(rwf_fs_rmtree(to, NULL), 0);
        json_decref(info);
        json_decref(spec);
    }
    ck_assert(len[0] == len[1] && memcmp(ids[0], ids[1], len[0]) == 0);
    free(ids[0]);
    free(ids[1]);
}
END_TEST

static const struct {
    const char *train, *model, *tokenizer, *message;
} refused_texts[] = {
    { "text\nhello\n", "'x':1", NULL, "tokenizer: there is none" },
    { "text\nhello\n", "'x':1", "{'type':'unigram'}", "unigram is not known" },
    { "text\nhello\n", "'x':1", "{'type':'bpe','vocab_size':10}", "must be above 256" },
    { "text\nhello\n", "'x':1", "{'path':'/nowhere.json'}",
      "tokenizer.path: there is no file /nowhere.json" },
    { "text\nhello\n", "'from':'/nowhere'", NULL, "model.from: there is no file" },
    { "txt\nhello\n", "'x':1", bpe,
      "model.text: dataset.train has no column 'text': did "
      "you mean 'txt'?" },
    { "text\n1\n2\n", "'x':1", bpe,
      "column text of dataset.train is BIGINT, not text" },
};

START_TEST(test_refused_texts)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *info = NULL;
    char *model = rwf_xasprintf("{'type':'transformer',%s}", refused_texts[_i].model);
    write_text(folder, "t.csv", refused_texts[_i].train);
    json_t *spec = spec_of("t.csv", NULL, model, refused_texts[_i].tokenizer);
    ck_assert_int_eq(prepare_with(spec, 1, &info, &err), -1);
    ck_assert_msg(strstr(err.text, refused_texts[_i].message) != NULL, "%s\nhas no: %s",
                  err.text, refused_texts[_i].message);
    ck_assert_int_eq(rwf_exit_code(&err), 6);
    json_decref(spec);
    free(model);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("prepare");
    TCase *t = tcase_create("prepare");
    need_duckdb();
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, test_stream);
    tcase_add_test(t, test_iris);
    tcase_add_loop_test(t, test_kinds, 0, 3);
    tcase_add_test(t, test_regression);
    tcase_add_test(t, test_number_classes);
    tcase_add_loop_test(t, test_refused, 0, (int)RWF_COUNT(refused));
    tcase_add_test(t, test_many);
    tcase_add_loop_test(t, test_broken, 0, (int)RWF_COUNT(broken));
    tcase_add_loop_test(t, test_bad_rows, 0, (int)RWF_COUNT(bad_rows));
    tcase_add_test(t, test_reuse);
    tcase_add_test(t, test_many_categories);
    tcase_add_test(t, test_large);
    tcase_add_test(t, test_no_room);
    tcase_add_test(t, test_tokens);
    tcase_add_test(t, test_wide);
    tcase_add_test(t, test_token_threads);
    tcase_add_loop_test(t, test_refused_texts, 0, (int)RWF_COUNT(refused_texts));
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
