/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside data/: one dataset step while it runs. Rows between phases (before a program,
 * before expect and split) are one Parquet file, in order: any size, no memory.
 */
#ifndef RWF_DATA_JOB_H
#define RWF_DATA_JOB_H
#include <jansson.h>
#include <stdint.h>
#include "data/duck.h"
#include "data/query.h"
#include "data/read.h"
#include "plan/op.h"

/* DuckDB's numbering of a Parquet file's rows, from 0; no column may be named so. */
#define JOB_ROW_NUMBER "file_row_number"
#define JOB_HASH "rwf_hash" /* where a row goes when it is split */

struct job {
    const struct op_run *run;
    struct duck *duck;
    char *tmp;       /* absolute; removed at the end */
    int cores;       /* that it may use, at least 1 */
    int64_t bytes;   /* of the files read */
    int64_t rows;    /* about how many these have; 0: DuckDB's own count is better */
    int copies;      /* phases begun */
    int copies_all;  /* phases there will be, for the progress */
};

/* COPY (select) TO path; reports progress; *ret_rows may be NULL. */
int job__copy(struct job *j, const char *select, const char *path,
              enum read_format format, int64_t *ret_rows, struct rwf_err *err);
/* "read_parquet('path')"; the caller frees it. */
char *job__rows(const char *path);
/* {"progress":…} of `done` (0..1) of the phase that runs. */
void job__progress(struct job *j, double done, int64_t rows);

/* Runs the user's program over all batches of the Parquet file at rows (count rows,
 * with columns). *ret_read is a `read` of what it gave; the caller decrefs. */
int program__run(struct job *j, const json_t *step, const char *rows, int64_t count,
                 int number, json_t **ret_read, struct rwf_err *err);

/* A `read` with a url, downloaded: d->path, an own string, stays until done. */
struct download {
    char *path;
    int lock;
};
int download__get(struct job *j, const json_t *read, struct download *d,
                  struct rwf_err *err);
/* drop: the step has its result. Harmless on one that was never begun. */
void download__done(struct download *d, bool drop);

#endif
