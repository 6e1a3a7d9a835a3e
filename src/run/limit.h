/* SPDX-License-Identifier: Apache-2.0
 *
 * The memory limit of one step: a cgroup (v2, else v1) where we may make one, else a
 * watch over what its processes use. Swap is off where the cgroup allows it.
 */
#ifndef RWF_RUN_LIMIT_H
#define RWF_RUN_LIMIT_H
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum run__limit_kind { LIMIT_NONE, LIMIT_WATCH, LIMIT_CGROUP1, LIMIT_CGROUP2 };

struct run__limit {
    enum run__limit_kind kind;
    int64_t bytes;
    int64_t peak;  /* LIMIT_WATCH: the most seen */
    char *path;    /* of the cgroup */
};

/* bytes 0: no limit. Always succeeds: the watch needs nothing. */
void run__limit_begin(struct run__limit *l, const char *run_id, int64_t bytes);
/* For run__spawn: the open cgroup.procs, which the caller closes, or -1. */
int run__limit_join(const struct run__limit *l);
/* LIMIT_WATCH: looks at session sid; true when it is over the limit. */
bool run__limit_over(struct run__limit *l, pid_t sid);
/* After the end: true when the kernel (or the watch) found it over the limit. */
bool run__limit_was_hit(const struct run__limit *l);
/* The most it used, bytes; 0: not known. */
int64_t run__limit_peak(const struct run__limit *l);
/* Ends what is left in the cgroup and removes it; false when it is not empty yet. */
bool run__limit_end(struct run__limit *l);
void run__limit_free(struct run__limit *l);
/* Removes what dead heads of this run left. */
void run__limit_sweep(const char *run_id);
/* For tests: as if no cgroup could be made. */
void run__limit_force_watch(bool on);

#endif
