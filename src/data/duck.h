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

/* Sets threads and memory for a process that has cores and may take `memory` bytes in all
 * (0: no limit); a small limit also limits the threads. */
int duck_limit(struct duck_options *options, int64_t memory, int cores,
               struct rwf_err *err);
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

/* --- columns, as they come: any number of rows in little memory --- */

enum duck_type { DUCK_INT32, DUCK_INT64, DUCK_FLOAT, DUCK_DOUBLE, DUCK_BOOL, DUCK_TEXT };

struct duck_column {
    enum duck_type type;
    const void *data;      /* [rows] of int32_t, int64_t, float, double, bool; or duck_text */
    const uint64_t *valid; /* a bit for each row that is not null; NULL: none is */
};

static inline bool duck_is_null(const struct duck_column *c, int64_t row)
{
    return c->valid != NULL && (c->valid[row / 64] >> (row % 64) & 1) == 0;
}

/* The bytes of a text that is not null; valid until the callback returns. */
const char *duck_text(const struct duck_column *c, int64_t row, size_t *ret_len);

/* The next rows of a query, some thousand at most; -1 and *err ends it. */
typedef int (*duck_chunk_fn)(void *ctx, const struct duck_column *columns, int64_t rows,
                             struct rwf_err *err);
/* Runs one query and gives its rows, in order, to `each`. Types as above: cast others. */
int duck_stream(struct duck *d, const char *sql, duck_chunk_fn each, void *ctx,
                struct rwf_err *err);
/* Of the query that streams now, for use within `each`: 0..1, or -1 when DuckDB does not
 * know. */
double duck_progress(const struct duck *d);

/* The library's version, for doctor; NULL and *err when it cannot be opened. */
const char *duck_version(struct rwf_err *err);
/* Where it was found; NULL before it was opened. */
const char *duck_library(void);

#endif
