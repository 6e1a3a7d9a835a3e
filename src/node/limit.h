/* SPDX-License-Identifier: Apache-2.0
 *
 * The memory limit of one step: a cgroup (v2, else v1) where we may make one, else a
 * watch over what its processes use. Swap is off where the cgroup allows it.
 */
#ifndef RWF_NODE_LIMIT_H
#define RWF_NODE_LIMIT_H
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum node__limit_kind { LIMIT_NONE, LIMIT_WATCH, LIMIT_CGROUP1, LIMIT_CGROUP2 };

struct node__limit {
    enum node__limit_kind kind;
    int64_t bytes;
    int64_t peak;  /* LIMIT_WATCH: the most seen */
    char *path;    /* of the cgroup */
};

/* bytes 0: no limit. Always succeeds: the watch needs nothing. */
void node__limit_begin(struct node__limit *l, const char *run_id, int64_t bytes);
/* For node__spawn: the open cgroup.procs, which the caller closes, or -1. */
int node__limit_join(const struct node__limit *l);
/* LIMIT_WATCH: looks at session sid; true when it is over the limit. */
bool node__limit_over(struct node__limit *l, pid_t sid);
/* After the end: true when the kernel (or the watch) found it over the limit. */
bool node__limit_was_hit(const struct node__limit *l);
/* The most it used, bytes; 0: not known. */
int64_t node__limit_peak(const struct node__limit *l);
/* Ends what is left in the cgroup and removes it; false when it is not empty yet. */
bool node__limit_end(struct node__limit *l);
void node__limit_free(struct node__limit *l);
/* Removes what dead heads of this run left. */
void node__limit_sweep(const char *run_id);
/* For tests: as if no cgroup could be made. */
void node__limit_force_watch(bool on);

#endif
