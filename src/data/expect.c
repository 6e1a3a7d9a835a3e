/* SPDX-License-Identifier: Apache-2.0
 *
 * Each promise becomes a condition that its offending rows meet; one query counts them
 * all. NULL offends not_null and nothing else, as in SQL's own constraints. A pattern
 * may match anywhere in the value, as in JSON Schema: use ^ and $ for the whole.
 */
#include "config.h"
#include "data/expect.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/mem.h"
#include "data/sql.h"

#define EXPECT_SHOWN 5     /* rows */
#define EXPECT_COLUMNS 8   /* columns */
#define EXPECT_CELL 24     /* characters */

struct promise {
    char *what;      /* "columns.age.min: 0" */
    char *offends;   /* condition of offending rows; NULL: failed holds the reason */
    char *reason;    /* "is DOUBLE, not BIGINT" */
    char *column;    /* as it is spelled; NULL for rows */
    int64_t count;
};

struct expect {
    struct duck *duck;
    const json_t *columns;
    const char *rows, *number;
    struct promise *promises;
    size_t count, cap;
};

static struct promise *add(struct expect *e, const char *column, const char *key,
                           const json_t *value)
{
    struct promise *p = RWF_PUSH(e->promises, e->count, e->cap);
    char *text = json_dumps(value, JSON_ENCODE_ANY);
    memset(p, 0, sizeof(*p));
    p->what = rwf_xasprintf("columns.%s.%s: %.60s", column, key, text);
    p->column = rwf_xstrdup(column);
    free(text);
    return p;
}

/* --- promises of a column, each by its key --- */

struct column {
    struct expect *e;
    const char *name, *type;
    struct rwf_str quoted;
};

static void compare(struct column *c, const char *key, const json_t *value,
                    const char *offends)
{
    struct rwf_str s = { 0 };
    rwf_str_addf(&s, "%s %s ", c->quoted.data, offends);
    sql_add_value(&s, value);
    add(c->e, c->name, key, value)->offends = rwf_str_take(&s);
}

static int promise_min(struct column *c, const json_t *value, struct rwf_err *err)
{
    (void)err;
    compare(c, "min", value, "<");
    return 0;
}

static int promise_max(struct column *c, const json_t *value, struct rwf_err *err)
{
    (void)err;
    compare(c, "max", value, ">");
    return 0;
}

static int promise_not_null(struct column *c, const json_t *value, struct rwf_err *err)
{
    (void)err;
    if (json_is_true(value))
        add(c->e, c->name, "not_null", value)->offends =
            rwf_xasprintf("%s IS NULL", c->quoted.data);
    return 0;
}

static int promise_unique(struct column *c, const json_t *value, struct rwf_err *err)
{
    (void)err;
    if (json_is_true(value))
        add(c->e, c->name, "unique", value)->offends =
            rwf_xasprintf("%s IN (SELECT %s FROM %s GROUP BY ALL HAVING count(*) > 1)",
                          c->quoted.data, c->quoted.data, c->e->rows);
    return 0;
}

static int promise_values(struct column *c, const json_t *value, struct rwf_err *err)
{
    struct rwf_str s = { 0 };
    size_t i;
    json_t *item;
    if (json_array_size(value) == 0)
        return rwf_fail(err, RWF_E_FAILED, "values: the list is empty");
    rwf_str_addf(&s, "%s NOT IN (", c->quoted.data);
    json_array_foreach(value, i, item) {
        rwf_str_add(&s, i > 0 ? ", " : "");
        sql_add_value(&s, item);
    }
    rwf_str_add(&s, ")");
    add(c->e, c->name, "values", value)->offends = rwf_str_take(&s);
    return 0;
}

static int promise_pattern(struct column *c, const json_t *value, struct rwf_err *err)
{
    struct rwf_str s = { 0 };
    (void)err;
    rwf_str_addf(&s, "NOT regexp_matches(CAST(%s AS VARCHAR), ", c->quoted.data);
    sql_add_value(&s, value);
    rwf_str_add(&s, ")");
    add(c->e, c->name, "pattern", value)->offends = rwf_str_take(&s);
    return 0;
}

static int promise_type(struct column *c, const json_t *value, struct rwf_err *err)
{
    const char *text = json_string_value(value);
    if (text == NULL || sql_check(c->e->duck, text, SQL_TYPE, err) < 0)
        return text != NULL ? rwf_wrap(err, "type")
                            : rwf_fail(err, RWF_E_FAILED, "type: must be text");
    char *sql = rwf_xasprintf("SELECT typeof(CAST(NULL AS %s\n))", text);
    json_t *row = duck_row(c->e->duck, sql, err);
    free(sql);
    if (row == NULL)
        return rwf_wrap(err, "type");
    const char *wanted = json_string_value(json_array_get(row, 0));
    if (wanted == NULL || strcmp(wanted, c->type) != 0)
        add(c->e, c->name, "type", value)->reason =
            rwf_xasprintf("the column is %s", c->type);
    json_decref(row);
    return 0;
}

static const struct {
    const char *key;
    int (*promise)(struct column *c, const json_t *value, struct rwf_err *err);
} promises[] = {
    { "not_null", promise_not_null }, { "unique", promise_unique },
    { "min", promise_min },           { "max", promise_max },
    { "values", promise_values },     { "pattern", promise_pattern },
    { "type", promise_type },
};

static const json_t *find_column(const struct expect *e, const char *name)
{
    size_t i;
    json_t *column;
    json_array_foreach((json_t *)e->columns, i, column)
        if (strcasecmp(json_string_value(json_object_get(column, "name")), name) == 0)
            return column;
    return NULL;
}

static int add_column(struct expect *e, const char *name, const json_t *body,
                      struct rwf_err *err)
{
    const json_t *found = find_column(e, name);
    int r = 0;
    if (found == NULL) {
        add(e, name, "exists", json_true())->reason = rwf_xstrdup("there is no such "
                                                                  "column");
        return 0;
    }
    struct column c = { .e = e,
                        .name = json_string_value(json_object_get(found, "name")),
                        .type = json_string_value(json_object_get(found, "type")) };
    sql_add_name(&c.quoted, c.name);
    for (size_t i = 0; i < RWF_COUNT(promises) && r == 0; i++) {
        const json_t *value = json_object_get(body, promises[i].key);
        if (value != NULL && !json_is_null(value))
            r = promises[i].promise(&c, value, err);
    }
    rwf_str_free(&c.quoted);
    return r < 0 ? rwf_wrap(err, "columns.%s", name) : 0;
}

static void add_rows(struct expect *e, const json_t *rows, int64_t have)
{
    const json_t *min = json_is_object(rows) ? json_object_get(rows, "min") : rows;
    const json_t *max = json_is_object(rows) ? json_object_get(rows, "max") : rows;
    bool low = min != NULL && have < json_integer_value(min);
    bool high = max != NULL && have > json_integer_value(max);
    if (!low && !high)
        return;
    struct promise *p = RWF_PUSH(e->promises, e->count, e->cap);
    memset(p, 0, sizeof(*p));
    p->what = rwf_xasprintf("rows%s: %" JSON_INTEGER_FORMAT,
                            !json_is_object(rows) ? "" : low ? ".min" : ".max",
                            json_integer_value(low ? min : max));
    p->reason = rwf_xasprintf("there are %lld", (long long)have);
}

/* --- counting --- */

/* One row: all rows, then the offending ones of each promise that has a condition. */
static json_t *count_all(struct expect *e, struct rwf_err *err)
{
    struct rwf_str sql = { 0 };
    rwf_str_add(&sql, "SELECT count(*)");
    for (size_t i = 0; i < e->count; i++)
        if (e->promises[i].offends != NULL)
            rwf_str_addf(&sql, ", count(*) FILTER (WHERE %s)", e->promises[i].offends);
    rwf_str_addf(&sql, " FROM %s", e->rows);
    json_t *row = duck_row(e->duck, sql.data, err);
    rwf_str_free(&sql);
    return row;
}

/* Which promise is it that the query for all of them failed by? */
static void blame(struct expect *e, struct rwf_err *err)
{
    for (size_t i = 0; i < e->count; i++) {
        struct rwf_err why = RWF_ERR_INIT;
        if (e->promises[i].offends == NULL)
            continue;
        char *sql = rwf_xasprintf("SELECT count(*) FROM %s WHERE %s", e->rows,
                                  e->promises[i].offends);
        json_t *row = duck_row(e->duck, sql, &why);
        free(sql);
        json_decref(row);
        if (row == NULL) {
            rwf_fail(err, why.code, "%s: %s", e->promises[i].what, why.text);
            return;
        }
    }
}

static int count(struct expect *e, const json_t *rows_promise, struct rwf_err *err)
{
    json_t *row = count_all(e, err);
    size_t next = 1;
    if (row == NULL) {
        blame(e, err);
        return -1;
    }
    for (size_t i = 0; i < e->count; i++)
        if (e->promises[i].offends != NULL)
            e->promises[i].count = json_integer_value(json_array_get(row, next++));
    if (rows_promise != NULL && !json_is_null(rows_promise))
        add_rows(e, rows_promise, json_integer_value(json_array_get(row, 0)));
    json_decref(row);
    return 0;
}

/* --- the report --- */

static size_t width(const char *text)
{
    size_t n = 0;
    for (; *text != '\0'; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

/* A cell of at most EXPECT_CELL characters, on one line; the caller frees it. */
static char *cell_text(const json_t *value)
{
    struct rwf_str s = { 0 };
    const char *text = json_is_null(value) ? "NULL" : json_string_value(value);
    size_t n = 0;
    for (const char *p = text != NULL ? text : ""; *p != '\0'; p++) {
        bool starts = ((unsigned char)*p & 0xc0) != 0x80;
        if (starts && ++n == EXPECT_CELL && width(p) > 1) {
            rwf_str_add(&s, "…");
            break;
        }
        rwf_str_addc(&s, (unsigned char)*p < ' ' ? ' ' : *p);
    }
    return rwf_str_take(&s);
}

static void print_table(struct rwf_str *out, const json_t *rows)
{
    size_t widths[EXPECT_COLUMNS + 1] = { 0 }, i;
    json_t *row;
    for (int pass = 0; pass < 2; pass++) {
        json_array_foreach((json_t *)rows, i, row) {
            for (size_t c = 0; c < json_array_size(row) && c <= EXPECT_COLUMNS; c++) {
                char *text = cell_text(json_array_get(row, c));
                size_t w = width(text);
                bool last = c + 1 == json_array_size(row);
                if (pass == 0)
                    widths[c] = w > widths[c] ? w : widths[c];
                else
                    rwf_str_addf(out, "%s%s%*s", c > 0 ? "  " : "    ", text,
                                 last ? 0 : (int)(widths[c] - w), "");
                free(text);
            }
            if (pass == 1)
                rwf_str_addc(out, '\n');
        }
    }
}

/* The names, then the first offending rows as lists of texts; the promise's own column
 * stands first. */
static json_t *offending_rows(struct expect *e, const struct promise *p)
{
    struct rwf_str list = { 0 }, sql = { 0 };
    json_t *table = json_array(), *head = json_array();
    size_t shown = 0, i;
    json_array_append_new(head, json_string("row"));
    for (int own = 1; own >= 0; own--) {
        for (i = 0; i < json_array_size(e->columns) && shown < EXPECT_COLUMNS; i++) {
            const char *name = json_string_value(
                json_object_get(json_array_get(e->columns, i), "name"));
            if ((strcmp(name, p->column) == 0) != own)
                continue;
            rwf_str_add(&list, ", CAST(");
            sql_add_name(&list, name);
            rwf_str_add(&list, " AS VARCHAR)");
            json_array_append_new(head, json_string(name));
            shown++;
        }
    }
    json_array_append_new(table, head);
    rwf_str_addf(&sql, "SELECT CAST(%s + 1 AS VARCHAR)%s FROM %s WHERE %s ORDER BY %s "
                       "LIMIT %d",
                 e->number, list.data, e->rows, p->offends, e->number, EXPECT_SHOWN);
    json_t *rows = duck_lists(e->duck, sql.data, NULL);
    json_array_extend(table, rows);
    json_decref(rows);
    rwf_str_free(&list);
    rwf_str_free(&sql);
    return table;
}

static int report(struct expect *e, struct rwf_str *out, struct rwf_err *err)
{
    struct rwf_str line = { 0 };
    size_t broken = 0;
    for (size_t i = 0; i < e->count; i++) {
        const struct promise *p = &e->promises[i];
        if (p->count == 0 && p->reason == NULL)
            continue;
        char *what = p->reason != NULL
                         ? rwf_xasprintf("%s, but %s", p->what, p->reason)
                         : rwf_xasprintf("%s, but %lld row%s it", p->what,
                                         (long long)p->count,
                                         p->count == 1 ? " breaks" : "s break");
        rwf_str_addf(&line, "%s%s", broken++ > 0 ? "; " : "", what);
        rwf_str_addf(out, "expect.%s\n", what);
        free(what);
        if (p->offends != NULL) {
            json_t *table = offending_rows(e, p);
            print_table(out, table);
            json_decref(table);
        }
    }
    if (broken > 0)
        rwf_fail(err, RWF_E_FAILED, "%zu not met: %s", broken, line.data);
    rwf_str_free(&line);
    return broken > 0 ? -1 : 0;
}

int expect_check(struct duck *d, const json_t *expect, const json_t *columns,
                 const char *rows, const char *number, struct rwf_str *out,
                 struct rwf_err *err)
{
    struct expect e = { .duck = d, .columns = columns, .rows = rows, .number = number };
    const char *name;
    json_t *body;
    int r = 0;
    json_object_foreach(json_object_get(expect, "columns"), name, body)
        if (r == 0)
            r = add_column(&e, name, body, err);
    if (r == 0)
        r = count(&e, json_object_get(expect, "rows"), err);
    if (r == 0)
        r = report(&e, out, err);
    for (size_t i = 0; i < e.count; i++) {
        free(e.promises[i].what);
        free(e.promises[i].offends);
        free(e.promises[i].reason);
        free(e.promises[i].column);
    }
    free(e.promises);
    return r;
}
