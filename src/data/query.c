/* SPDX-License-Identifier: Apache-2.0
 *
 * Shape:  WITH rwf_0 AS (source), rwf_1 AS (SELECT … FROM rwf_0 AS input …), …
 *         SELECT … FROM rwf_N
 * Steps of ours read their input once and are inlined; a `sql` step may read `input`
 * several times, which DuckDB then computes once.
 *
 * Order: DuckDB keeps the order of rows through everything that streams. It does not in
 * a join, nor in a `sql` that groups: their order is nobody's promise. These steps
 * depend on the rows and the seed alone, never on threads or the order of their input:
 *   distinct true     all rows once, sorted by all columns
 *   distinct [cols]   of rows with equal cols the first by all columns
 *   sample rows       the n rows least by (hash(row, seed), row), in that order
 *   sample fraction   the rows with hash(row, seed) below fraction * 2^64
 *   shuffle           all rows, sorted by (hash(row, seed), row)
 * Equal rows have equal hashes: which of them is taken makes no difference.
 */
#include "config.h"
#include "data/query.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/mem.h"
#include "data/read.h"
#include "data/sql.h"

struct query {
    struct duck *duck;
    struct rwf_str ctes; /* "rwf_0 AS (…), rwf_1 AS (…)" */
    int count;           /* of CTEs */
    int *lines;          /* of query_text, on which each CTE begins */
    size_t lines_cap;
    json_t *columns;
};

/* A step being written: its SELECT reads `input`. */
struct writer {
    struct query *q;
    struct rwf_str out;
    bool reads_once;  /* input is named once, so it is inlined */
    int64_t bytes;    /* of files it reads */
    char *other;      /* SELECT that stands for `other` in a join, or NULL */
    json_t *other_columns;
};

static const char *name_at(const json_t *columns, size_t i)
{
    return json_string_value(json_object_get(json_array_get(columns, i), "name"));
}

/* The column's own spelling, or NULL. */
static const char *find_column(const json_t *columns, const char *name)
{
    for (size_t i = 0; i < json_array_size(columns); i++)
        if (strcasecmp(name_at(columns, i), name) == 0)
            return name_at(columns, i);
    return NULL;
}

bool query_has_column(const struct query *q, const char *name)
{
    return name != NULL && find_column(q->columns, name) != NULL;
}

const json_t *query_columns(const struct query *q)
{
    return q->columns;
}

json_t *query_names(const struct query *q)
{
    json_t *names = json_array();
    for (size_t i = 0; i < json_array_size(q->columns); i++)
        json_array_append_new(names, json_string(name_at(q->columns, i)));
    return names;
}

/* --- binding --- */

/* No rows with the same columns: what a step is bound against. */
static void add_empty(struct rwf_str *out, const json_t *columns)
{
    rwf_str_add(out, "SELECT ");
    for (size_t i = 0; i < json_array_size(columns); i++) {
        const json_t *type = json_object_get(json_array_get(columns, i), "type");
        rwf_str_addf(out, "%sCAST(NULL AS %s) AS ", i > 0 ? ", " : "",
                     json_string_value(type));
        sql_add_name(out, name_at(columns, i));
    }
    rwf_str_add(out, " LIMIT 0");
}

static int check_names(const json_t *columns, struct rwf_err *err)
{
    for (size_t i = 0; i < json_array_size(columns); i++)
        if (find_column(columns, name_at(columns, i)) != name_at(columns, i))
            return rwf_fail(err, RWF_E_FAILED,
                            "two columns are named %s: give one of them another name "
                            "with AS", name_at(columns, i));
    return 0;
}

/* The columns of a query, without running it. */
static json_t *describe(struct duck *d, const char *text, struct rwf_err *err)
{
    char *sql = rwf_xasprintf(
        "SELECT column_name AS name, column_type AS type FROM (DESCRIBE %s)", text);
    json_t *columns = duck_rows(d, sql, -1, err);
    free(sql);
    if (columns != NULL && check_names(columns, err) < 0) {
        json_decref(columns);
        return NULL;
    }
    return columns;
}

static json_t *bind_step(const struct writer *w, struct rwf_err *err)
{
    struct rwf_str text = { 0 };
    rwf_str_add(&text, "WITH input AS (");
    add_empty(&text, w->q->columns);
    rwf_str_add(&text, ")");
    if (w->other != NULL) {
        rwf_str_add(&text, ", other AS (");
        add_empty(&text, w->other_columns);
        rwf_str_add(&text, ")");
    }
    rwf_str_addf(&text, " %s", w->out.data);
    json_t *columns = describe(w->q->duck, text.data, err);
    rwf_str_free(&text);
    return columns;
}

static int count_lines(const char *text)
{
    int n = 1;
    for (; (text = strchr(text, '\n')) != NULL; text++)
        n++;
    return n;
}

static void add_cte(struct query *q, const struct writer *w)
{
    int n = q->count++;
    q->lines = rwf_grow(q->lines, (size_t)n, &q->lines_cap, sizeof(*q->lines));
    q->lines[n] = count_lines(q->ctes.data) + 1;
    rwf_str_addf(&q->ctes,
                 ",\nrwf_%d AS NOT MATERIALIZED (WITH input AS %s(FROM rwf_%d)", n,
                 w->reads_once ? "NOT MATERIALIZED " : "", n - 1);
    if (w->other != NULL)
        rwf_str_addf(&q->ctes, ", other AS NOT MATERIALIZED (%s)", w->other);
    rwf_str_addf(&q->ctes, " %s)", w->out.data);
}

struct query *query_create(struct duck *d, const char *source, struct rwf_err *err)
{
    json_t *columns = describe(d, source, err);
    if (columns == NULL)
        return NULL;
    struct query *q = rwf_xcalloc(1, sizeof(*q));
    q->duck = d;
    q->columns = columns;
    q->count = 1;
    q->lines = rwf_grow(NULL, 0, &q->lines_cap, sizeof(*q->lines));
    q->lines[0] = 1;
    rwf_str_addf(&q->ctes, "rwf_0 AS NOT MATERIALIZED (%s)", source);
    return q;
}

void query_destroy(struct query *q)
{
    if (q == NULL)
        return;
    rwf_str_free(&q->ctes);
    free(q->lines);
    json_decref(q->columns);
    free(q);
}

int query_step_at(const struct query *q, int line)
{
    int last = -1;
    for (int i = 0; i < q->count && q->lines[i] <= line; i++)
        last = i - 1;
    return last;
}

char *query_text(const struct query *q, const char *extra, const char *extra_name)
{
    struct rwf_str out = { 0 };
    rwf_str_addf(&out, "WITH %s\nSELECT ", q->ctes.data);
    for (size_t i = 0; i < json_array_size(q->columns); i++) {
        const json_t *type = json_object_get(json_array_get(q->columns, i), "type");
        bool wide = strcmp(json_string_value(type), "HUGEINT") == 0 ||
                    strcmp(json_string_value(type), "UHUGEINT") == 0;
        rwf_str_add(&out, i > 0 ? ", " : "");
        rwf_str_add(&out, wide ? "CAST(" : "");
        sql_add_name(&out, name_at(q->columns, i));
        if (!wide)
            continue;
        rwf_str_add(&out, " AS BIGINT) AS ");
        sql_add_name(&out, name_at(q->columns, i));
    }
    if (extra != NULL) {
        rwf_str_addf(&out, ", %s AS ", extra);
        sql_add_name(&out, extra_name);
    }
    rwf_str_addf(&out, " FROM rwf_%d", q->count - 1);
    return rwf_str_take(&out);
}

/* --- hashes --- */

/* splitmix64: spreads a seed over 64 bits, so that near seeds give unrelated orders. */
static uint64_t spread(int64_t seed)
{
    uint64_t z = (uint64_t)seed + 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void query_add_hash(struct rwf_str *out, const json_t *names, int64_t seed)
{
    rwf_str_add(out, "hash(xor(hash(");
    for (size_t i = 0; i < json_array_size(names); i++) {
        rwf_str_add(out, i > 0 ? ", " : "");
        sql_add_name(out, json_string_value(json_array_get(names, i)));
    }
    rwf_str_addf(out, "), %llu::UBIGINT))", (unsigned long long)spread(seed));
}

static void add_row_hash(struct writer *w, int64_t seed)
{
    json_t *names = query_names(w->q);
    query_add_hash(&w->out, names, seed);
    json_decref(names);
}

/* The hash, then all columns: rows that collide must not change places. */
static void add_hash_order(struct writer *w, int64_t seed)
{
    rwf_str_add(&w->out, "ORDER BY ");
    add_row_hash(w, seed);
    for (size_t i = 0; i < json_array_size(w->q->columns); i++) {
        rwf_str_add(&w->out, ", ");
        sql_add_name(&w->out, name_at(w->q->columns, i));
    }
}

/* --- what users write --- */

/* A column of that name as it is, else checked SQL. */
static int add_user_sql(struct writer *w, const json_t *value, enum sql_use use,
                        struct rwf_err *err)
{
    char *number = NULL;
    const char *text = json_string_value(value);
    if (text == NULL && (json_is_number(value) || json_is_boolean(value)))
        text = number = json_dumps(value, JSON_ENCODE_ANY);
    if (text == NULL)
        return rwf_fail(err, RWF_E_FAILED, "this must be %s", "text with SQL");
    const char *column = find_column(w->q->columns, text);
    int r = 0;
    if (column != NULL)
        sql_add_name(&w->out, column);
    else if ((r = sql_check(w->q->duck, text, use, err)) == 0)
        rwf_str_addf(&w->out, use == SQL_ITEM ? "%s\n" : "(%s\n)", text);
    free(number);
    return r;
}

/* [names] that must be columns, quoted and joined by ", ". */
static int add_names(struct writer *w, const json_t *names, struct rwf_err *err)
{
    size_t i;
    json_t *name;
    if (json_array_size(names) == 0)
        return rwf_fail(err, RWF_E_FAILED, "the list of columns is empty");
    json_array_foreach(names, i, name) {
        const char *text = json_string_value(name);
        const char *column = text != NULL ? find_column(w->q->columns, text) : NULL;
        if (column == NULL) {
            struct rwf_str have = { 0 };
            for (size_t c = 0; c < json_array_size(w->q->columns) && c < 20; c++)
                rwf_str_addf(&have, "%s%s", c > 0 ? ", " : "",
                             name_at(w->q->columns, c));
            rwf_fail(err, RWF_E_FAILED, "there is no column %s; there are: %s",
                     text != NULL ? text : "(not text)", have.data);
            rwf_str_free(&have);
            return -1;
        }
        rwf_str_add(&w->out, i > 0 ? ", " : "");
        sql_add_name(&w->out, column);
    }
    return 0;
}

/* --- the steps --- */

static int write_where(struct writer *w, const json_t *value, struct rwf_err *err)
{
    rwf_str_add(&w->out, "SELECT * FROM input WHERE ");
    return add_user_sql(w, value, SQL_EXPRESSION, err);
}

static int write_select_list(struct writer *w, const json_t *items, struct rwf_err *err)
{
    size_t i;
    json_t *item;
    if (json_array_size(items) == 0)
        return rwf_fail(err, RWF_E_FAILED, "the list of columns is empty");
    rwf_str_add(&w->out, "SELECT ");
    json_array_foreach(items, i, item) {
        rwf_str_add(&w->out, i > 0 ? ", " : "");
        if (add_user_sql(w, item, SQL_ITEM, err) < 0)
            return rwf_wrap(err, "item %zu", i + 1);
    }
    rwf_str_add(&w->out, " FROM input");
    return 0;
}

/* [{name: expression}, …]: replaces columns in place, adds new ones at the end. A list
 * of one-key maps, because the order of a map's keys is no part of a step's key. */
static int write_select_maps(struct writer *w, const json_t *maps, struct rwf_err *err)
{
    rwf_str_add(&w->out, "SELECT *");
    for (int fresh = 0; fresh <= 1; fresh++) {
        const char *sep = fresh ? ", " : " REPLACE (";
        size_t i;
        json_t *map;
        json_array_foreach(maps, i, map) {
            const char *name = json_object_iter_key(json_object_iter(map));
            const char *column = name != NULL ? find_column(w->q->columns, name) : NULL;
            if (name == NULL || (column == NULL) != fresh)
                continue;
            rwf_str_add(&w->out, sep);
            sep = ", ";
            if (add_user_sql(w, json_object_get(map, name), SQL_EXPRESSION, err) < 0)
                return rwf_wrap(err, "%s", name);
            rwf_str_add(&w->out, " AS ");
            sql_add_name(&w->out, column != NULL ? column : name);
        }
        if (!fresh && sep[0] == ',')
            rwf_str_add(&w->out, ")");
    }
    rwf_str_add(&w->out, " FROM input");
    return 0;
}

static int write_select(struct writer *w, const json_t *value, struct rwf_err *err)
{
    if (json_is_object(json_array_get(value, 0)))
        return write_select_maps(w, value, err);
    return write_select_list(w, value, err);
}

static int write_sql(struct writer *w, const json_t *value, struct rwf_err *err)
{
    const char *text = json_string_value(value);
    if (text == NULL)
        return rwf_fail(err, RWF_E_FAILED, "this must be text with SQL");
    if (sql_check(w->q->duck, text, SQL_SELECT, err) < 0)
        return -1;
    rwf_str_addf(&w->out, "SELECT * FROM (%s\n)", text);
    w->reads_once = false;
    return 0;
}

static int write_distinct(struct writer *w, const json_t *value, struct rwf_err *err)
{
    rwf_str_add(&w->out, "SELECT DISTINCT ");
    if (!json_is_array(value)) {
        rwf_str_add(&w->out, "* FROM input ORDER BY ALL");
        return 0;
    }
    rwf_str_add(&w->out, "ON (");
    if (add_names(w, value, err) < 0)
        return -1;
    rwf_str_add(&w->out, ") * FROM input ORDER BY ");
    if (add_names(w, value, err) < 0)
        return -1;
    for (size_t i = 0; i < json_array_size(w->q->columns); i++) {
        rwf_str_add(&w->out, ", ");
        sql_add_name(&w->out, name_at(w->q->columns, i));
    }
    return 0;
}

static int write_sample(struct writer *w, const json_t *value, struct rwf_err *err)
{
    const json_t *rows = json_object_get(value, "rows");
    const json_t *fraction = json_object_get(value, "fraction");
    int64_t seed = json_integer_value(json_object_get(value, "seed"));
    double f = json_number_value(fraction);
    if ((rows == NULL) == (fraction == NULL))
        return rwf_fail(err, RWF_E_FAILED, "give rows or fraction, one of them");
    rwf_str_add(&w->out, "SELECT * FROM input ");
    if (rows != NULL) {
        if (!json_is_integer(rows) || json_integer_value(rows) < 0)
            return rwf_fail(err, RWF_E_FAILED, "rows must be a whole number");
        add_hash_order(w, seed);
        rwf_str_addf(&w->out, " LIMIT %" JSON_INTEGER_FORMAT, json_integer_value(rows));
        return 0;
    }
    if (!(f >= 0 && f <= 1))
        return rwf_fail(err, RWF_E_FAILED, "fraction must be from 0 to 1");
    if (f < 1) {
        rwf_str_add(&w->out, "WHERE ");
        add_row_hash(w, seed);
        rwf_str_addf(&w->out, " < %.0f::UBIGINT", floor(ldexp(f, 64)));
    }
    return 0;
}

static int write_shuffle(struct writer *w, const json_t *value, struct rwf_err *err)
{
    int64_t seed = json_integer_value(json_object_get(value, "seed"));
    (void)err;
    rwf_str_add(&w->out, "SELECT * FROM input ");
    add_hash_order(w, seed);
    return 0;
}

static int write_limit(struct writer *w, const json_t *value, struct rwf_err *err)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return rwf_fail(err, RWF_E_FAILED, "this must be a whole number");
    rwf_str_addf(&w->out, "SELECT * FROM input LIMIT %" JSON_INTEGER_FORMAT,
                 json_integer_value(value));
    return 0;
}

/* --- join --- */

static const struct {
    const char *name, *sql;
    bool both; /* the result has the columns of both sides */
} joins[] = {
    { "inner", "INNER JOIN", true }, { "left", "LEFT JOIN", true },
    { "right", "RIGHT JOIN", true }, { "full", "FULL JOIN", true },
    { "semi", "SEMI JOIN", false },  { "anti", "ANTI JOIN", false },
};

static int find_join(const char *name, struct rwf_err *err)
{
    for (size_t i = 0; i < RWF_COUNT(joins); i++)
        if (strcmp(joins[i].name, name) == 0)
            return (int)i;
    return rwf_fail(err, RWF_E_FAILED,
                    "how: %s is none of inner, left, right, full, semi, anti", name);
}

static int open_other(struct writer *w, const json_t *with, struct rwf_err *err)
{
    struct rwf_str sql = { 0 };
    json_t *read = json_pack("{s:O}", "path", with);
    int r = read_add_sql(w->q->duck, read, &sql, &w->bytes, err);
    json_decref(read);
    w->other = rwf_str_take(&sql);
    if (r < 0)
        return rwf_wrap(err, "with");
    w->other_columns = describe(w->q->duck, w->other, err);
    return w->other_columns != NULL ? 0 : rwf_wrap(err, "with");
}

static bool is_key(const json_t *keys, const char *name)
{
    size_t i;
    json_t *key;
    json_array_foreach(keys, i, key)
        if (json_is_string(key) && strcasecmp(json_string_value(key), name) == 0)
            return true;
    return false;
}

/* All columns of input, then those of other that are no keys; a name that input has too
 * becomes other_NAME. */
static void add_joined(struct writer *w, const json_t *keys)
{
    for (size_t i = 0; i < json_array_size(w->q->columns); i++) {
        const char *name = name_at(w->q->columns, i);
        rwf_str_add(&w->out, i > 0 ? ", " : "");
        rwf_str_add(&w->out, is_key(keys, name) ? "" : "input.");
        sql_add_name(&w->out, name);
    }
    for (size_t i = 0; i < json_array_size(w->other_columns); i++) {
        const char *name = name_at(w->other_columns, i);
        if (is_key(keys, name))
            continue;
        rwf_str_add(&w->out, ", other.");
        sql_add_name(&w->out, name);
        if (!query_has_column(w->q, name))
            continue;
        char *fresh = rwf_xasprintf("other_%s", name);
        rwf_str_add(&w->out, " AS ");
        sql_add_name(&w->out, fresh);
        free(fresh);
    }
}

static int write_join(struct writer *w, const json_t *value, struct rwf_err *err)
{
    const json_t *on = json_object_get(value, "on");
    const char *name = json_string_value(json_object_get(value, "how"));
    int how = find_join(name != NULL ? name : "inner", err);
    if (how < 0 || open_other(w, json_object_get(value, "with"), err) < 0)
        return -1;
    rwf_str_add(&w->out, "SELECT ");
    if (joins[how].both)
        add_joined(w, json_is_array(on) ? on : NULL);
    else
        rwf_str_add(&w->out, "input.*");
    rwf_str_addf(&w->out, " FROM input %s other ", joins[how].sql);
    if (json_is_array(on)) {
        rwf_str_add(&w->out, "USING (");
        if (add_names(w, on, err) < 0)
            return rwf_wrap(err, "on");
        rwf_str_add(&w->out, ")");
        return 0;
    }
    const char *text = json_string_value(on);
    if (text == NULL)
        return rwf_fail(err, RWF_E_FAILED,
                        "on must be a list of columns or a condition");
    if (sql_check(w->q->duck, text, SQL_EXPRESSION, err) < 0)
        return rwf_wrap(err, "on");
    rwf_str_addf(&w->out, "ON (%s\n)", text);
    return 0;
}

static const struct {
    const char *name;
    int (*write)(struct writer *w, const json_t *value, struct rwf_err *err);
} steps[] = {
    { "where", write_where },   { "select", write_select }, { "sql", write_sql },
    { "join", write_join },     { "distinct", write_distinct },
    { "sample", write_sample }, { "shuffle", write_shuffle }, { "limit", write_limit },
};

int query_add(struct query *q, const json_t *step, int64_t *ret_bytes,
              struct rwf_err *err)
{
    struct writer w = { .q = q, .reads_once = true };
    json_t *columns = NULL;
    const char *name = json_object_iter_key(json_object_iter((json_t *)step));
    size_t i = 0;
    if (name == NULL)
        return rwf_fail(err, RWF_E_FAILED, "the step is empty");
    while (i < RWF_COUNT(steps) && strcmp(steps[i].name, name) != 0)
        i++;
    if (i == RWF_COUNT(steps))
        return rwf_fail(err, RWF_E_FAILED, "there is no step named %s", name);
    if (steps[i].write(&w, json_object_get(step, name), err) == 0)
        columns = bind_step(&w, err);
    if (columns != NULL) {
        add_cte(q, &w);
        json_decref(q->columns);
        q->columns = columns;
        *ret_bytes += w.bytes;
    }
    rwf_str_free(&w.out);
    free(w.other);
    json_decref(w.other_columns);
    return columns != NULL ? 0 : -1;
}
