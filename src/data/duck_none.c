/* SPDX-License-Identifier: Apache-2.0
 *
 * duck.h when duckdb.h was not there at build time: opening fails with what to do.
 */
#include "config.h"
#include "data/duck.h"

#ifndef HAVE_DUCKDB

static int missing(struct rwf_err *err)
{
    return rwf_fail(err, RWF_E_ENV,
                    "datasets need DuckDB, and raywf was built without it: run "
                    "./bootstrap, or configure with --with-duckdb=DIR");
}

struct duck *duck_open(const struct duck_options *options, struct rwf_err *err)
{
    (void)options;
    missing(err);
    return NULL;
}

void duck_close(struct duck *d)
{
    (void)d;
}

int duck_exec(struct duck *d, const char *sql, struct rwf_err *err)
{
    (void)d, (void)sql;
    return missing(err);
}

int duck_exec_progress(struct duck *d, const char *sql,
                       void (*tick)(void *ctx, double progress, int64_t rows),
                       void *ctx, int64_t *ret_rows, struct rwf_err *err)
{
    (void)d, (void)sql, (void)tick, (void)ctx, (void)ret_rows;
    return missing(err);
}

json_t *duck_row(struct duck *d, const char *sql, struct rwf_err *err)
{
    (void)d, (void)sql;
    missing(err);
    return NULL;
}

json_t *duck_lists(struct duck *d, const char *sql, struct rwf_err *err)
{
    return duck_row(d, sql, err);
}

json_t *duck_rows(struct duck *d, const char *sql, int limit, struct rwf_err *err)
{
    (void)limit;
    return duck_row(d, sql, err);
}

int duck_stream(struct duck *d, const char *sql, duck_chunk_fn each, void *ctx,
                struct rwf_err *err)
{
    (void)d, (void)sql, (void)each, (void)ctx;
    return missing(err);
}

const char *duck_text(const struct duck_column *c, int64_t row, size_t *ret_len)
{
    (void)c, (void)row;
    *ret_len = 0;
    return "";
}

double duck_progress(const struct duck *d)
{
    (void)d;
    return -1;
}

int duck_error_line(const struct duck *d)
{
    (void)d;
    return 0;
}

const char *duck_version(struct rwf_err *err)
{
    missing(err);
    return NULL;
}

const char *duck_library(void)
{
    return NULL;
}
#endif
