/* SPDX-License-Identifier: Apache-2.0
 *
 * What a job prints, bounded: FOLDER/log.OFFSET files, named by where they begin in all
 * that was ever printed; the oldest go. One process writes, others read at any time.
 */
#ifndef RWF_JOB_LOG_H
#define RWF_JOB_LOG_H
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

#define JOB_LOG_FILE_BYTES (INT64_C(8) << 20)
#define JOB_LOG_FILES 4

struct job_log;
/* Goes on where the last one ended. file_bytes: 0 is JOB_LOG_FILE_BYTES. */
struct job_log *job_log_open(const char *folder, int64_t file_bytes,
                             struct rwf_err *err);
int job_log_add(struct job_log *l, const void *bytes, size_t len, struct rwf_err *err);
void job_log_close(struct job_log *l);

/* Up to size bytes from *offset on; when those are gone, *offset moves to the oldest
 * that are there. 0: nothing yet. */
int64_t job_log_read(const char *folder, int64_t *offset, void *buf, size_t size,
                     struct rwf_err *err);
/* Where the last `lines` lines begin. */
int64_t job_log_tail(const char *folder, int64_t lines);

#endif
