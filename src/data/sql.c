/* SPDX-License-Identifier: Apache-2.0
 *
 * The judge is DuckDB's own parser (json_serialize_sql), which takes nothing but SELECT
 * statements and returns their syntax tree. Text that, between SELECT and ", NULL",
 * gives one statement with two items and no clause at all can neither end our
 * statement, nor add another, nor read a table outside a subquery; a newline before
 * what we put behind it ends its comments. A whole SELECT must stand alone and inside
 * parentheses.
 */
#include "config.h"
#include "data/sql.h"
#include <math.h>
#include <string.h>

static void add_quoted(struct rwf_str *out, const char *text, char quote)
{
    rwf_str_addc(out, quote);
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == quote)
            rwf_str_addc(out, quote);
        rwf_str_addc(out, *p);
    }
    rwf_str_addc(out, quote);
}

void sql_add_name(struct rwf_str *out, const char *name)
{
    add_quoted(out, name, '"');
}

void sql_add_text(struct rwf_str *out, const char *text)
{
    add_quoted(out, text, '\'');
}

void sql_add_value(struct rwf_str *out, const json_t *value)
{
    if (json_is_string(value))
        sql_add_text(out, json_string_value(value));
    else if (json_is_boolean(value))
        rwf_str_add(out, json_is_true(value) ? "true" : "false");
    else if (json_is_integer(value))
        rwf_str_addf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value) && isfinite(json_real_value(value)))
        rwf_str_addf(out, "%.17g", json_real_value(value));
    else
        rwf_str_add(out, "NULL");
}

/* --- what a user wrote --- */

static const char *const use_names[] = {
    [SQL_EXPRESSION] = "one SQL expression",
    [SQL_ITEM] = "one column or one SQL expression",
    [SQL_TYPE] = "a type of DuckDB's, such as BIGINT, DOUBLE, VARCHAR or DATE",
    [SQL_SELECT] = "one SELECT",
};

/* The clauses that a bare "SELECT item" leaves empty. */
static bool has_clause(const json_t *node)
{
    static const char *const lists[] = { "modifiers", "group_expressions",
                                         "group_sets" };
    static const char *const values[] = { "where_clause", "having", "qualify",
                                          "sample" };
    const json_t *from = json_object_get(json_object_get(node, "from_table"), "type");
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
        if (json_array_size(json_object_get(node, lists[i])) > 0)
            return true;
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        const json_t *value = json_object_get(node, values[i]);
        if (value != NULL && !json_is_null(value))
            return true;
    }
    return !json_is_string(from) || strcmp(json_string_value(from), "EMPTY") != 0;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

/* The item when the statement is nothing but SELECT item, NULL; else NULL. */
static const json_t *only_item(const json_t *node)
{
    const json_t *items = json_object_get(node, "select_list");
    if (strcmp(text_of(node, "type"), "SELECT_NODE") != 0 || has_clause(node) ||
        json_array_size(items) != 2)
        return NULL;
    return json_array_get(items, 0);
}

static bool item_fits(const json_t *item, enum sql_use use)
{
    if (item == NULL || use == SQL_ITEM)
        return item != NULL;
    if (text_of(item, "alias")[0] != '\0' ||
        strcmp(text_of(item, "class"), "STAR") == 0)
        return false;
    const json_t *child = json_object_get(item, "child");
    return use == SQL_EXPRESSION || (strcmp(text_of(item, "class"), "CAST") == 0 &&
                                     strcmp(text_of(child, "class"), "CONSTANT") == 0);
}

static int judge(const json_t *tree, enum sql_use use, enum sql_use as,
                 struct rwf_err *err)
{
    const json_t *statements = json_object_get(tree, "statements");
    if (json_is_true(json_object_get(tree, "error"))) {
        const char *why = text_of(tree, "error_message");
        if (strstr(why, "Only SELECT") != NULL)
            return rwf_fail(err, RWF_E_FAILED, "this must be %s", use_names[use]);
        return rwf_fail(err, RWF_E_FAILED, "%s", why);
    }
    if (json_array_size(statements) != 1)
        return rwf_fail(err, RWF_E_FAILED, "this must be %s, not several statements",
                        use_names[use]);
    const json_t *node = json_object_get(json_array_get(statements, 0), "node");
    if (as != SQL_SELECT && !item_fits(only_item(node), as))
        return rwf_fail(err, RWF_E_FAILED, "this must be %s", use_names[use]);
    return 0;
}

/* Parses head text tail and judges the tree as the use `as`. */
static int check_as(struct duck *d, const char *head, const char *text,
                    const char *tail, enum sql_use use, enum sql_use as,
                    struct rwf_err *err)
{
    struct rwf_str statement = { 0 }, query = { 0 };
    rwf_str_addf(&statement, "%s%s%s", head, text, tail);
    rwf_str_add(&query, "SELECT json_serialize_sql(");
    sql_add_text(&query, statement.data);
    rwf_str_add(&query, ")::VARCHAR");
    json_t *row = duck_row(d, query.data, err), *tree = NULL;
    int r = -1;
    if (row != NULL) {
        /* locations of 2^64-1 do not fit jansson's integers */
        tree = json_loads(json_string_value(json_array_get(row, 0)),
                          JSON_DECODE_INT_AS_REAL, NULL);
        r = tree != NULL ? judge(tree, use, as, err)
                         : rwf_fail(err, RWF_E_FAILED, "DuckDB's parser gave no tree");
    }
    json_decref(row);
    json_decref(tree);
    rwf_str_free(&statement);
    rwf_str_free(&query);
    return r;
}

static const struct {
    const char *head, *tail;
} frames[] = {
    [SQL_EXPRESSION] = { "SELECT\n", "\n, NULL" },
    [SQL_ITEM] = { "SELECT\n", "\n, NULL" },
    [SQL_TYPE] = { "SELECT CAST(NULL AS\n", "\n), NULL" },
    [SQL_SELECT] = { "SELECT * FROM (\n", "\n)" },
};

int sql_check(struct duck *d, const char *text, enum sql_use use, struct rwf_err *err)
{
    size_t len = strlen(text);
    while (len > 0 && strchr(" \t\r\n", text[len - 1]) != NULL)
        len--;
    if (len == 0)
        return rwf_fail(err, RWF_E_FAILED, "this is empty; it must be %s",
                        use_names[use]);
    if (text[len - 1] == ';')
        return rwf_fail(err, RWF_E_FAILED, "this must be %s, without ; at its end",
                        use_names[use]);
    /* alone first: an error then speaks of nothing that the user did not write */
    if (check_as(d, use == SQL_SELECT ? "" : frames[use].head, text,
                 use == SQL_TYPE ? ")" : "", use, SQL_SELECT, err) < 0)
        return -1;
    return check_as(d, frames[use].head, text, frames[use].tail, use, use, err);
}
