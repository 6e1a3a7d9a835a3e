/* SPDX-License-Identifier: Apache-2.0
 *
 * What is known of an ended process, put into words.
 */
#ifndef RWF_NODE_OUTCOME_H
#define RWF_NODE_OUTCOME_H
#include <stdint.h>
#include <sys/resource.h>
#include "node/limit.h"
#include "node/proc.h"

struct node__facts {
    int status;            /* wait4's */
    struct rusage rusage;
    enum plan_cause asked; /* why we ended it; PLAN_CAUSE_NONE: we did not */
    int64_t timeout;
    const struct node__limit *limit;
    int64_t head_peak;     /* our own memory when it was started */
    int64_t seen_peak;     /* the most the process was seen to have */
};

/* Fills all of r but usage.wall and tail. */
void node__outcome(const struct node__facts *f, struct proc_exit *r);

#endif
