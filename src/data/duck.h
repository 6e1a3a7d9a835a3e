/* SPDX-License-Identifier: Apache-2.0
 *
 * libduckdb, opened when a dataset needs it: from --with-duckdb=DIR, RAYWF_DUCKDB, the
 * installed pkglibdir, or the loader's path. The calls used are in one table.
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
    const char *temp_dir;   /* where it may spill */
};

/* RWF_E_ENV with what to do when the library is missing or of another version. */
struct duck *duck_open(const struct duck_options *options, struct rwf_err *err);
void duck_close(struct duck *d);
/* Runs statements; errors carry DuckDB's text, shortened, with RWF_E_FAILED. */
int duck_exec(struct duck *d, const char *sql, struct rwf_err *err);
/* Runs sql in a thread of its own and calls tick about five times a second with
 * progress 0..1 (-1 unknown) and rows so far. */
int duck_exec_progress(struct duck *d, const char *sql,
                       void (*tick)(void *ctx, double progress, int64_t rows), void *ctx,
                       struct rwf_err *err);
/* One row of one query as a JSON array; NULL and *err when it fails or gives no row. */
json_t *duck_row(struct duck *d, const char *sql, struct rwf_err *err);
/* Up to limit rows as [{column: value}]. */
json_t *duck_rows(struct duck *d, const char *sql, int limit, struct rwf_err *err);

/* The library's version, for doctor; NULL and *err when it cannot be opened. */
const char *duck_version(struct rwf_err *err);
/* Where it was found. */
const char *duck_library(void);

#endif
