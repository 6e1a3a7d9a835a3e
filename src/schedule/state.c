/* SPDX-License-Identifier: Apache-2.0
 *
 * The life of a step as one table. A cell that is not listed is 0, meaning that the
 * state does not know the event: so targets are stored plus one.
 */
#include "config.h"
#include "schedule/state.h"

#include <stddef.h>
#include "base/err.h"
#include "base/mem.h"

#define ON(event, target) [SCHEDULE_EVENT_##event] = STEP_##target + 1

static const unsigned char transitions[STEP_STATE_COUNT][SCHEDULE_EVENT_COUNT] = {
    [STEP_PENDING] = {ON(PREPARE, PREPARING), ON(SKIP, SKIPPED), ON(STOP, STOPPED),
                      ON(LOST, PENDING)},
    [STEP_PREPARING] = {ON(SKIP, SKIPPED), ON(HIT, CACHED), ON(MISS, QUEUED),
                        ON(FAILED, FAILED), ON(STOP, STOPPED), ON(LOST, PENDING)},
    [STEP_QUEUED] = {ON(HIT, CACHED), ON(START, RUNNING), ON(FAILED, FAILED),
                     ON(DEFER, BACKOFF), ON(STOP, STOPPED), ON(LOST, PENDING),
                     ON(PAUSED, BACKOFF), ON(CUT, SUCCEEDED)},
    [STEP_RUNNING] = {ON(SUCCEEDED, SUCCEEDED), ON(FAILED, FAILED), ON(RETRY, BACKOFF),
                      ON(STOP, STOPPED), ON(LOST, PENDING), ON(PREEMPTED, QUEUED),
                      ON(PAUSED, BACKOFF)},
    [STEP_BACKOFF] = {ON(DUE, QUEUED), ON(STOP, STOPPED), ON(LOST, PENDING),
                      ON(CUT, SUCCEEDED)},
    [STEP_SUCCEEDED] = {ON(AGAIN, PENDING)},
    [STEP_CACHED] = {ON(AGAIN, PENDING)},
    [STEP_FAILED] = {ON(AGAIN, PENDING)},
    [STEP_SKIPPED] = {ON(AGAIN, PENDING)},
    [STEP_STOPPED] = {ON(AGAIN, PENDING)},
};

static const struct {
    const char *name;
    bool final, good;
} states[STEP_STATE_COUNT] = {
    [STEP_PENDING] = {"pending", false, false},
    [STEP_PREPARING] = {"preparing", false, false},
    [STEP_QUEUED] = {"queued", false, false},
    [STEP_RUNNING] = {"running", false, false},
    [STEP_BACKOFF] = {"backoff", false, false},
    [STEP_SUCCEEDED] = {"succeeded", true, true},
    [STEP_CACHED] = {"cached", true, true},
    [STEP_FAILED] = {"failed", true, false},
    [STEP_SKIPPED] = {"skipped", true, false},
    [STEP_STOPPED] = {"stopped", true, false},
};

static const char *const event_names[SCHEDULE_EVENT_COUNT] = {
    [SCHEDULE_EVENT_PREPARE] = "prepare", [SCHEDULE_EVENT_SKIP] = "skip",
    [SCHEDULE_EVENT_HIT] = "hit",         [SCHEDULE_EVENT_MISS] = "miss",
    [SCHEDULE_EVENT_START] = "start",     [SCHEDULE_EVENT_SUCCEEDED] = "succeeded",
    [SCHEDULE_EVENT_FAILED] = "failed",   [SCHEDULE_EVENT_RETRY] = "retry",
    [SCHEDULE_EVENT_DUE] = "due",         [SCHEDULE_EVENT_STOP] = "stop",
    [SCHEDULE_EVENT_LOST] = "lost",       [SCHEDULE_EVENT_DEFER] = "defer",
    [SCHEDULE_EVENT_AGAIN] = "again",     [SCHEDULE_EVENT_PREEMPTED] = "preempted",
    [SCHEDULE_EVENT_PAUSED] = "paused",   [SCHEDULE_EVENT_CUT] = "cut",
};

enum schedule_state schedule_transition(enum schedule_state state,
                                        enum schedule_event event)
{
    rwf_assert(state < STEP_STATE_COUNT && event < SCHEDULE_EVENT_COUNT);
    unsigned char target = transitions[state][event];
    return target == 0 ? STEP_STATE_COUNT : (enum schedule_state)(target - 1);
}

bool schedule_state_final(enum schedule_state state)
{
    return states[state].final;
}

bool schedule_state_good(enum schedule_state state)
{
    return states[state].good;
}

const char *schedule_state_name(enum schedule_state state)
{
    return states[state].name;
}

const char *schedule_event_name(enum schedule_event event)
{
    return event_names[event];
}
