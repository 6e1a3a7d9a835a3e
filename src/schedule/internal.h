/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of a schedule, shared by schedule.c (decisions) and why.c (explanations).
 *
 * Steps with the same demand share a class, and every queue belongs to a class: a
 * decision looks at the heads of at most SCHEDULE__WINDOW classes and never at all
 * steps.
 */
#ifndef RWF_SCHEDULE_INTERNAL_H
#define RWF_SCHEDULE_INTERNAL_H
#include <sys/queue.h>
#include "schedule/heap.h"
#include "schedule/ledger.h"
#include "schedule/schedule.h"

#define SCHEDULE__WINDOW 64
/* A class prepares this many steps ahead of those that run: enough to find cached
 * results behind a busy machine, few enough to hold little in memory. */
#define SCHEDULE__AHEAD 32
/* So often may smaller steps go before an older one that does not fit. */
#define SCHEDULE__PATIENCE 64

struct schedule__item {
    uint8_t state;
    bool granted; /* resources are held */
    bool offered; /* SCHEDULE_SKIP was decided */
    bool deferred;
    uint32_t class;
    uint32_t waiting; /* needs that are not good yet */
    uint32_t because; /* the need that went wrong, or PLAN_NO_STEP */
    int attempt, failures;
    int64_t due;
    uint64_t gpus;
};

struct schedule__class {
    struct schedule__demand demand;
    int max_parallel, running, passed;
    size_t queued; /* in STEP_QUEUED and not granted */
    struct schedule__heap ready, queue;
    bool in_active, in_hungry;
    TAILQ_ENTRY(schedule__class) active, hungry;
};
TAILQ_HEAD(schedule__class_list, schedule__class);

struct schedule {
    const struct plan_graph *graph;
    struct schedule__ledger ledger;
    struct schedule__item *items;
    uint32_t count;
    uint32_t *dependents; /* of step i: [first[i], first[i + 1]) */
    uint32_t *first;
    struct schedule__class **classes;
    size_t class_count, class_cap;
    struct schedule__class_list active; /* something queued, and not at max_parallel */
    struct schedule__class_list hungry; /* something ready, and few queued */
    struct schedule__heap backoff, skips;
    size_t counts[STEP_STATE_COUNT];
    bool full; /* nothing active fits until something is given back */
    bool stopping;
};

#endif
