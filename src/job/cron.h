/* SPDX-License-Identifier: Apache-2.0
 *
 * When a job comes again: cron's five fields (minute hour day month weekday), or six
 * with seconds first; "*", "a-b", "a,b", steps by "/n", names of months and weekdays,
 * and
 * "@hourly" and the like. As in cron, a day must fit one of day and weekday when both
 * are restricted. All times are UTC. Pure.
 */
#ifndef RWF_JOB_CRON_H
#define RWF_JOB_CRON_H
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"

/* One bit for each value that fits. */
struct job_cron {
    uint64_t second, minute, hour, day, month, weekday;
    bool any_day, any_weekday; /* "*" was given */
};

/* RWF_E_USAGE names the field and what it takes; also when there is no such day, ever.
 */
int job_cron_parse(const char *text, struct job_cron *ret, struct rwf_err *err);
/* The first time after `after` (both nanoseconds since 1970); -1: never. */
int64_t job_cron_next(const struct job_cron *c, int64_t after);

#endif
