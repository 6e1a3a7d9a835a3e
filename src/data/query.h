/* SPDX-License-Identifier: Apache-2.0
 *
 * One fused query: a source and the relational steps on it, each a CTE over the one
 * before. Every step is bound against the columns of the step before as it is added, so
 * an error belongs to its step and nothing was read yet.
 */
#ifndef RWF_DATA_QUERY_H
#define RWF_DATA_QUERY_H
#include <jansson.h>
#include "base/str.h"
#include "data/duck.h"

struct query;

/* source: a SELECT of ours. */
struct query *query_create(struct duck *d, const char *source, struct rwf_err *err);
void query_destroy(struct query *q);
/* step: {"where": …}, … (not run). Adds the bytes of files it reads to *ret_bytes. */
int query_add(struct query *q, const json_t *step, int64_t *ret_bytes,
              struct rwf_err *err);
/* [{"name", "type"}] of the rows so far; borrowed. */
const json_t *query_columns(const struct query *q);
/* True when q has a column of that name (as SQL compares names). */
bool query_has_column(const struct query *q, const char *name);
/* The query, as a complete statement that gives the columns of query_columns; with
 * extra (an expression) as one more column extra_name at the end when it is not NULL.
 * Whole numbers wider than 64 bits are cast to BIGINT, which files and their readers
 * know. The caller frees it. */
char *query_text(const struct query *q, const char *extra, const char *extra_name);

/* Which step (from 0, in order of query_add) wrote that line (from 1) of query_text;
 * -1: the source or none. */
int query_step_at(const struct query *q, int line);

/* Adds hash(columns) mixed with seed as a 64-bit expression: the same for the same
 * values and seed, on any number of threads. columns: names. */
void query_add_hash(struct rwf_str *out, const json_t *names, int64_t seed);
/* The names of query_columns; the caller decrefs. */
json_t *query_names(const struct query *q);

#endif
