/* SPDX-License-Identifier: Apache-2.0
 *
 * What the tests of data/ share: a folder of their own, DuckDB or a clear skip, and a
 * dataset run from JSON.
 */
#ifndef RWF_TESTS_DATA_HELP_H
#define RWF_TESTS_DATA_HELP_H
#include <check.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "data/duck.h"

/* Ends the program with 77 (skipped) when libduckdb is not there. */
static inline void need_duckdb(void)
{
    struct rwf_err err = RWF_ERR_INIT;
    if (duck_version(&err) != NULL)
        return;
    printf("skipped: %s\n", err.text);
    exit(77);
}

static inline struct duck *open_duck(void)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct duck_options options = { .threads = 2 };
    struct duck *d = duck_open(&options, &err);
    ck_assert_msg(d != NULL, "%s", err.text);
    return d;
}

/* A new folder; the caller removes it with remove_dir. */
static inline char *make_dir(void)
{
    const char *base = getenv("TMPDIR");
    char *dir = rwf_xasprintf("%s/raywf-data-XXXXXX", base != NULL ? base : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    return dir;
}

static inline void remove_dir(char *dir)
{
    ck_assert_int_eq(rwf_fs_rmtree(dir, NULL), 0);
    free(dir);
}

static inline void write_text(const char *dir, const char *name, const char *text)
{
    struct rwf_err err = RWF_ERR_INIT;
    char *path = rwf_fs_join(dir, name);
    ck_assert_msg(rwf_fs_write(path, text, strlen(text), false, &err) == 0, "%s",
                  err.text);
    free(path);
}

/* printf into JSON, with ' for " so that tests stay readable. */
static inline json_t *json_of(const char *text)
{
    json_error_t e;
    char *copy = rwf_xstrdup(text);
    for (char *p = copy; *p != '\0'; p++)
        if (*p == '\'')
            *p = '"';
    json_t *value = json_loads(copy, JSON_DECODE_ANY, &e);
    ck_assert_msg(value != NULL, "%s: %s", e.text, copy);
    free(copy);
    return value;
}

/* The first row of a query as text. */
static inline char *row_text(struct duck *d, const char *sql)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_t *row = duck_row(d, sql, &err);
    ck_assert_msg(row != NULL, "%s: %s", sql, err.text);
    char *text = json_dumps(row, JSON_COMPACT);
    json_decref(row);
    return text;
}

#endif
