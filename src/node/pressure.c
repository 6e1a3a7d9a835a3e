/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory, while workers work: each against the limit of its resources, and all of them
 * against what the machine (or our cgroup) has.
 *
 * Over a worker's own limit: that one is ended. Over the machine's threshold: idle
 * workers go first; then, one at a time, the youngest task that may run again, among
 * those that hold a fair part of the memory: ending a small one would help nobody.
 * Actors, tasks that may not be retried, and drivers are never ended for it.
 */
#include "config.h"
#include <stdlib.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/units.h"
#include "node/inside.h"
#include "node/memory.h"
#include "node/procfs.h"

#define LOOK_MS 250
#define LOOK_CLOSE_MS 20 /* when one is over half of its limit */
#define SESSIONS_EVERY RAYWF_S
#define RELIEF (RAYWF_S / 2) /* between two ends: memory comes back with a delay */
#define WARN_EVERY (10 * RAYWF_S)
#define FAIR_PART 4 /* of what the largest one holds */

static void on_watch(uv_timer_t *t);

static bool works(const struct node__worker *w)
{
    return w->state == WORKER_LEASED || w->state == WORKER_STARTING;
}

/* --- each against its limit --- */

static bool is_limited(const struct node__worker *w)
{
    return w->limit.kind == LIMIT_WATCH && works(w);
}

/* true: it is near its limit, and is to be looked at more often. */
static bool hold_to_limit(struct node__worker *w, int64_t now)
{
    char limit[RWF_UNITS_LEN], used[RWF_UNITS_LEN];
    if (now > w->limit.peak)
        w->limit.peak = now;
    if (now <= w->limit.bytes)
        return now > w->limit.bytes / 2;
    node__worker_kill(w, RAYWF_ON_OOM,
                      "went over its memory limit of %s (it had %s): raise "
                      "resources.memory or make it use less",
                      rwf_size_format(w->limit.bytes, limit),
                      rwf_size_format(now, used));
    return false;
}

/* With all that they started: one pass over /proc for all of them. */
static void look_at_sessions(struct node *n)
{
    struct node__session *all = rwf_xcalloc(n->worker_count + 1, sizeof(*all));
    struct node__worker *w;
    size_t count = 0, i = 0;
    LIST_FOREACH(w, &n->workers, link)
    if (is_limited(w))
        all[count++].sid = w->pid;
    if (count > 0)
        node__sessions_private(all, count);
    LIST_FOREACH(w, &n->workers, link)
    if (i < count && w->pid == all[i].sid)
        hold_to_limit(w, all[i++].bytes);
    free(all);
}

/* Returns when to look again. */
static uint64_t look_at_limits(struct node *n)
{
    uint64_t wait = LOOK_MS;
    struct node__worker *w;
    int64_t now = rwf_clock_mono();
    LIST_FOREACH(w, &n->workers, link)
    if (is_limited(w) && hold_to_limit(w, node__process_private(w->pid)))
        wait = LOOK_CLOSE_MS;
    if (now - n->last_sessions >= SESSIONS_EVERY) {
        n->last_sessions = now;
        look_at_sessions(n);
    }
    return wait;
}

/* --- all against the machine --- */

struct candidate {
    struct node__worker *worker;
    int64_t memory, started;
};

static size_t candidates(struct node *n, struct candidate *ret, int64_t *ret_most)
{
    struct node__worker *w;
    size_t count = 0;
    *ret_most = 0;
    LIST_FOREACH(w, &n->workers, link)
    {
        int64_t started;
        if (w->state != WORKER_LEASED || !w->lease || w->lease->actor ||
            !w->lease->wire->retriable || LIST_EMPTY(&w->rings) ||
            !node__ring_task(LIST_FIRST(&w->rings), &started))
            continue;
        int64_t memory = node__process_private(w->pid);
        ret[count++] = (struct candidate){w, memory, started};
        if (memory > *ret_most)
            *ret_most = memory;
    }
    return count;
}

static void end_youngest(struct node *n, const struct node__memory *m, double part)
{
    struct candidate *all = rwf_xmalloc((n->worker_count + 1) * sizeof(*all));
    const struct candidate *victim = NULL;
    char used[RWF_UNITS_LEN], total[RWF_UNITS_LEN], own[RWF_UNITS_LEN];
    int64_t most, now = rwf_clock_mono();
    size_t count = candidates(n, all, &most);
    for (size_t i = 0; i < count; i++)
        if (all[i].memory >= most / FAIR_PART &&
            (!victim || all[i].started > victim->started))
            victim = &all[i];
    rwf_size_format(m->used, used);
    rwf_size_format(m->total, total);
    if (victim) {
        rwf_size_format(victim->memory, own);
        node__worker_kill(
            victim->worker, RAYWF_ON_OOM,
            "was ended because memory ran low (%s of %s used, %.0f %%; limit "
            "%.0f %%): of the tasks that may run again it was the "
            "youngest with a fair part, it had %s",
            used, total, part * 100, n->options.pressure * 100, own);
        n->last_relief = now;
    } else if (now - n->last_warning > WARN_EVERY) {
        rwf_log(RWF_LOG_WARN, "node",
                "memory runs low (%s of %s used, %.0f %%), and no task that may run "
                "again could be ended for it",
                used, total, part * 100);
        n->last_warning = now;
    }
    free(all);
}

static void look_at_machine(struct node *n)
{
    struct node__memory m;
    int64_t now = rwf_clock_mono();
    node__memory(&m);
    double part = m.total > 0 ? (double)m.used / (double)m.total : 0;
    if (part <= n->options.pressure || now - n->last_relief < RELIEF)
        return;
    if (n->idle_count > 0) {
        node__pool_retire_idle(n, "memory runs low");
        n->last_relief = now;
        return;
    }
    end_youngest(n, &m, part);
}

/* --- when --- */

void node__pressure_watch(struct node *n)
{
    if (n->watching || n->destroyed)
        return;
    n->watching = true;
    uv_update_time(n->loop);
    uv_timer_start(&n->watch, on_watch, LOOK_MS, 0);
}

static void on_watch(uv_timer_t *t)
{
    struct node *n = t->data;
    struct node__worker *w;
    bool any = false;
    LIST_FOREACH(w, &n->workers, link)
    any |= works(w);
    if (!any) { /* the next lease starts it again */
        n->watching = false;
        return;
    }
    uint64_t wait = look_at_limits(n);
    look_at_machine(n);
    uv_timer_start(t, on_watch, wait, 0);
}
