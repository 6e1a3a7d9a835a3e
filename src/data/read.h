/* SPDX-License-Identifier: Apache-2.0
 *
 * Files as a table: a `read` of a spec becomes one SELECT over a reader of DuckDB's.
 */
#ifndef RWF_DATA_READ_H
#define RWF_DATA_READ_H
#include <jansson.h>
#include <stdint.h>
#include "base/str.h"
#include "data/duck.h"

enum read_format { READ_UNKNOWN, READ_CSV, READ_JSONL, READ_PARQUET };

/* "csv", "jsonl", "parquet"; READ_UNKNOWN for anything else. */
enum read_format read_format_parse(const char *name);
const char *read_format_name(enum read_format format);

/* {"path": text or list, "format", "types", "header", "delimiter", "null"}: paths are
 * absolute; each is a file, a folder (its files) or a glob. Adds the SELECT to sql and
 * the files' sizes to *ret_bytes. RWF_E_INPUT when a path matches nothing. */
int read_add_sql(struct duck *d, const json_t *read, struct rwf_str *sql,
                 int64_t *ret_bytes, struct rwf_err *err);

/* About how many rows that text has, by the lines in pieces of it; 0 when they do not
 * tell (Parquet, compressed text, a glob). For the progress only. */
int64_t read_guess_rows(const json_t *what, int64_t bytes);

#endif
