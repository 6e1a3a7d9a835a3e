/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of a schedule, shared by schedule.c (decisions) and why.c (explanations).
 *
 * Steps with the same demand share a class, and every queue belongs to a class: a
 * decision looks at classes and never at all steps; a class that did not fit is not
 * asked again before something became free.
 */
#ifndef RWF_SCHEDULE_INTERNAL_H
#define RWF_SCHEDULE_INTERNAL_H
#include <sys/queue.h>
#include "schedule/heap.h"
#include "schedule/schedule.h"

#define SCHEDULE__WINDOW 64
/* A class prepares this many steps ahead of those that run: enough to find cached
 * results behind a busy machine, few enough to hold little in memory. */
#define SCHEDULE__AHEAD 32
/* So often (and once more per further node) may others go before one that comes first
 * and does not fit; then nodes are kept for it. */
#define SCHEDULE__PATIENCE 64
/* A class that found nothing to pre-empt looks again after so much became free. */
#define SCHEDULE__HUNT_AGAIN 64

struct schedule__item {
    uint8_t state;
    bool granted; /* resources are held */
    bool offered; /* SCHEDULE_SKIP was decided */
    bool deferred;
    bool preempted; /* SCHEDULE_PREEMPT was decided */
    uint32_t class;
    uint32_t waiting; /* needs that are not good yet */
    uint32_t because; /* the need that went wrong, or PLAN_NO_STEP */
    int attempt, failures;
    int lost; /* times that its node was, since it was last tried anew */
    uint32_t grant; /* while granted: in the cluster, or of a gang: in gangs */
    uint32_t ranks; /* of a gang, while granted: how many it got */
    uint32_t most;  /* ranks that it may get; 0: all */
    int64_t due;
};

struct schedule__class {
    uint32_t number, shape, ranks;
    uint32_t least;   /* ranks that are enough to start, at most `ranks` */
    uint32_t *shapes; /* the shape, ranks times */
    enum plan_placement placement;
    const struct plan_policy *near; /* see plan_policy; NULL: not near */
    uint64_t near_at; /* schedule_cluster_members when that was looked at */
    int priority;
    bool retriable;
    bool late;       /* see plan_policy */
    bool holds;      /* nodes are kept for its head */
    uint64_t missed; /* version of the cluster, + 1, when it did not fit */
    uint64_t hunted; /* the same, when nothing was found to pre-empt */
    uint32_t owed;   /* steps that end for it */
    int max_parallel, running, passed;
    size_t queued; /* in STEP_QUEUED and not granted */
    struct schedule__heap ready, queue;
    bool in_active, in_hungry;
    TAILQ_ENTRY(schedule__class) active, hungry;
};
TAILQ_HEAD(schedule__class_list, schedule__class);

/* A step that ends for a class. */
struct schedule__end {
    uint32_t step, class;
    bool told;
};

struct schedule {
    struct schedule_steps steps;
    struct schedule_cluster *cluster;
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
    uint32_t **gangs; /* grants by rank; NULL: free */
    size_t gang_count, gang_cap;
    struct schedule__end *ends;
    size_t end_count, end_cap;
    bool priorities; /* not all are the same */
    uint64_t full;   /* version of the cluster, + 1, at which nothing active fits */
    bool stopping;
};

static inline const struct plan_step *schedule__step(const struct schedule *s,
                                                     uint32_t i)
{
    return s->steps.at(s->steps.ctx, i);
}

static inline uint32_t schedule__ranks_of(const struct plan_policy *p)
{
    return p->ranks > 1 ? (uint32_t)p->ranks : 1;
}

/* Ranks that it cannot do without. */
static inline uint32_t schedule__least_of(const struct plan_policy *p)
{
    return p->ranks_min > 0 && p->ranks_min < p->ranks ? (uint32_t)p->ranks_min
                                                       : schedule__ranks_of(p);
}

/* pick.c */
/* A step and the resources for it; false: none can start now. */
bool schedule__pick_start(struct schedule *s, struct schedule_decision *d);
bool schedule__pick_preempt(struct schedule *s, struct schedule_decision *d);
/* The step's resources go back. */
void schedule__give(struct schedule *s, uint32_t step);
void schedule__unhold(struct schedule *s, struct schedule__class *c);
/* why.c */
/* RWF_E_FIT when no node can ever hold it: where it stands, and which knob to turn. */
int schedule__fail_fit(const struct schedule *s, const struct plan_step *step,
                       const struct schedule_need *need, struct rwf_err *err);
/* schedule.c */
void schedule__update_class(struct schedule *s, struct schedule__class *c);
bool schedule__waits_to_start(const struct schedule__item *it);
bool schedule__heap_clean(struct schedule *s, struct schedule__heap *h,
                          bool (*valid)(const struct schedule__item *));

#endif
