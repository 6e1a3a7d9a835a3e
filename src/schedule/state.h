/* SPDX-License-Identifier: Apache-2.0
 *
 * The states of a step and the table of transitions. Shared by the scheduler and by the
 * replay of an event log.
 */
#ifndef RWF_SCHEDULE_STATE_H
#define RWF_SCHEDULE_STATE_H
#include <stdbool.h>

enum schedule_state {
    STEP_PENDING,   /* waits for what it needs */
    STEP_PREPARING, /* `when` and the cache are being asked */
    STEP_QUEUED,    /* waits for resources */
    STEP_RUNNING,
    STEP_BACKOFF, /* waits before the next attempt, or until its search lets it go on */
    STEP_SUCCEEDED,
    STEP_CACHED, /* result taken from the cache */
    STEP_FAILED,
    STEP_SKIPPED,
    STEP_STOPPED,
    STEP_STATE_COUNT
};

enum schedule_event {
    SCHEDULE_EVENT_PREPARE,
    SCHEDULE_EVENT_SKIP,
    SCHEDULE_EVENT_HIT,
    SCHEDULE_EVENT_MISS,
    SCHEDULE_EVENT_START,
    SCHEDULE_EVENT_SUCCEEDED,
    SCHEDULE_EVENT_FAILED, /* for good */
    SCHEDULE_EVENT_RETRY,  /* failed, another attempt follows */
    SCHEDULE_EVENT_DUE,    /* back-off is over */
    SCHEDULE_EVENT_STOP,
    SCHEDULE_EVENT_LOST,  /* the head died while it ran: back to pending, not an attempt
                           */
    SCHEDULE_EVENT_DEFER, /* somebody else runs the same step: look again later */
    SCHEDULE_EVENT_PREEMPTED, /* ended for one of higher priority: not an attempt */
    SCHEDULE_EVENT_PAUSED,    /* its search holds it: DUE lets it go on */
    SCHEDULE_EVENT_CUT,       /* its search ends it while it waits, with what it has */
    SCHEDULE_EVENT_AGAIN, /* replay only: a resume runs a finished step once more */
    SCHEDULE_EVENT_COUNT
};

/* STEP_STATE_COUNT when state does not know event. */
enum schedule_state schedule_transition(enum schedule_state state,
                                        enum schedule_event event);
bool schedule_state_final(enum schedule_state state);
/* succeeded or cached */
bool schedule_state_good(enum schedule_state state);
const char *schedule_state_name(enum schedule_state state);
const char *schedule_event_name(enum schedule_event event);

#endif
