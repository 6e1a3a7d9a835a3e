/* SPDX-License-Identifier: Apache-2.0
 *
 * libduckdb, opened when a dataset needs it: from RAYWF_DUCKDB, --with-duckdb=DIR, the
 * installed pkglibdir, or the loader's path. The calls used are in one table.
 *
 * A connection never loads an extension from the network, thinks in UTC, and keeps the
 * order of rows, so that the same input gives the same bytes.
 */
#ifndef RWF_DATA_DUCK_H
#define RWF_DATA_DUCK_H
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"

struct duck;

struct duck_options {
    int64_t memory;         /* bytes, 0: DuckDB's own default */
    int threads;            /* 0: all */
    const char *temp_dir;   /* where it may spill; NULL: it may not */
};

/* RWF_E_ENV with what to do when the library is missing or of another version. */
struct duck *duck_open(const struct duck_options *options, struct rwf_err *err);
void duck_close(struct duck *d);
/* Runs statements; errors carry DuckDB's text, shortened, with RWF_E_FAILED, or
 * RWF_E_INPUT when a file is missing. */
int duck_exec(struct duck *d, const char *sql, struct rwf_err *err);
/* Runs sql in a thread of its own and calls tick about five times a second with
 * progress 0..1 and rows so far. tick (may be NULL) runs in the caller's thread.
 * *ret_rows (may be NULL): rows that a COPY wrote. */
int duck_exec_progress(struct duck *d, const char *sql,
                       void (*tick)(void *ctx, double progress, int64_t rows),
                       void *ctx, int64_t *ret_rows, struct rwf_err *err);
/* The line (from 1) of the last statement that failed on which DuckDB saw the cause;
 * 0 when it did not say. */
int duck_error_line(const struct duck *d);
/* One row of one query as a JSON array; NULL and *err when it fails or gives no row.
 * Columns are booleans, integers, floating-point numbers or text: cast others. */
json_t *duck_row(struct duck *d, const char *sql, struct rwf_err *err);
/* Up to limit rows (limit < 0: all) as [{column: value}], with the same types. */
json_t *duck_rows(struct duck *d, const char *sql, int limit, struct rwf_err *err);
/* All rows as [[value]], with the same types. */
json_t *duck_lists(struct duck *d, const char *sql, struct rwf_err *err);
/* One integer. */
int duck_int(struct duck *d, const char *sql, int64_t *ret, struct rwf_err *err);

/* The library's version, for doctor; NULL and *err when it cannot be opened. */
const char *duck_version(struct rwf_err *err);
/* Where it was found; NULL before it was opened. */
const char *duck_library(void);

#endif
