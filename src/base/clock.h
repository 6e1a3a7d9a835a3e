/* SPDX-License-Identifier: Apache-2.0
 *
 * Time in nanoseconds: monotonic for intervals, wall (since 1970, UTC) for records.
 */
#ifndef RWF_BASE_CLOCK_H
#define RWF_BASE_CLOCK_H
#include <stdint.h>

#define RWF_NS_PER_S INT64_C(1000000000)
#define RWF_NS_PER_MS INT64_C(1000000)
#define RWF_TIME_LEN 31 /* "2026-11-22T18:20:00.123456789Z" and its NUL */

int64_t rwf_clock_mono(void);
int64_t rwf_clock_wall(void);
/* RFC 3339 with nanoseconds, UTC. */
void rwf_clock_format(int64_t wall_ns, char out[RWF_TIME_LEN]);
/* Back from that text; -1 when it is not such a time. */
int64_t rwf_clock_parse(const char *text);

/* A new run id, sortable by time: "20261122-182000-3f9a1c". */
#define RWF_RUN_ID_LEN 23
void rwf_id_run(char out[RWF_RUN_ID_LEN]);

#endif
