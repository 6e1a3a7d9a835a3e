/* SPDX-License-Identifier: Apache-2.0
 *
 * Diagnostics of raywf itself on stderr: "raywf: warn: run: text key=value". The level
 * comes from RAYWF_LOG (error, warn, info, debug) and -v/-q. What a run does is in its
 * event log, never here.
 */
#ifndef RWF_BASE_LOG_H
#define RWF_BASE_LOG_H
#include <stdint.h>
#include "base/err.h"

enum rwf_log_level { RWF_LOG_ERROR, RWF_LOG_WARN, RWF_LOG_INFO, RWF_LOG_DEBUG };

void rwf_log_set_level(enum rwf_log_level level);
#define rwf_log(level, subsystem, ...) \
    (rwf_log_enabled(level) ? rwf_log_write(level, subsystem, __VA_ARGS__) : (void)0)
int rwf_log_enabled(enum rwf_log_level level);
void rwf_log_write(enum rwf_log_level level, const char *subsystem, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* From now on all that this process and its children write on stderr goes to the end of
 * path (0600), and each line of ours has its time. When a line makes it longer than max
 * bytes it becomes path.1, path.1 becomes path.2, and so on; path.KEEP is removed. */
int rwf_log_to_file(const char *path, int64_t max, int keep, struct rwf_err *err);
/* The last lines, kept in memory for a crash report, oldest first. */
void rwf_log_dump_last(int fd);

#endif
