/* SPDX-License-Identifier: Apache-2.0
 *
 * After an end without a result: what is tried again, when, and what is given up; the
 * timers for it; calls that run for too long.
 */
#include "config.h"
#include "native/internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"

#define BACKOFF_MAX (10 * RAYWF_S)

/* --- timers: a heap by time --- */

void native__timer_add(struct native__client *c, int64_t when,
                       void (*fn)(struct native__client *c, void *ctx), void *ctx)
{
    (void)RWF_PUSH(c->timers, c->timer_count, c->timer_cap);
    size_t i = c->timer_count - 1;
    while (i && c->timers[(i - 1) / 2].when > when) {
        c->timers[i] = c->timers[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    c->timers[i] = (struct native__timer){when, fn, ctx};
    if (i > 0)
        return;
    native__stir(c); /* who sleeps knows of a later one */
    if (!c->polling) /* a loop sees to it itself */
        native__wake_leader(c);
}

static struct native__timer pop(struct native__client *c)
{
    struct native__timer ret = c->timers[0];
    struct native__timer last = c->timers[--c->timer_count];
    size_t i = 0;
    for (;;) {
        size_t k = 2 * i + 1;
        if (k >= c->timer_count)
            break;
        if (k + 1 < c->timer_count && c->timers[k + 1].when < c->timers[k].when)
            k++;
        if (c->timers[k].when >= last.when)
            break;
        c->timers[i] = c->timers[k];
        i = k;
    }
    if (c->timer_count)
        c->timers[i] = last;
    return ret;
}

int64_t native__timers_run(struct native__client *c)
{
    while (c->timer_count && c->timers[0].when <= c->now) {
        struct native__timer t = pop(c);
        t.fn(c, t.ctx);
    }
    return c->timer_count ? c->timers[0].when : INT64_MAX;
}

/* --- again, or not --- */

static void wake_up(struct native__client *c, void *ctx)
{
    struct native__task *t = ctx;
    if (t->flags & NATIVE__GONE)
        native__task_free(c, t);
    else
        native__hold(c, t);
}

void native__again(struct native__client *c, struct native__task *t)
{
    t->epoch++;
    t->missing = 0;
    native__hold(c, t);
}

static int64_t backoff(const struct native__task *t)
{
    int64_t ns = t->policy->retry.backoff;
    for (int i = 1; i < t->attempt && ns < BACKOFF_MAX; i++)
        ns *= 2;
    return ns < BACKOFF_MAX ? ns : BACKOFF_MAX;
}

static void give_up(struct native__client *c, struct native__task *t, int code,
                    const char *text)
{
    char all[1024];
    if (t->attempt > 1)
        snprintf(all, sizeof(all), "%s (after %d attempts)", text, t->attempt);
    else
        snprintf(all, sizeof(all), "%s", text);
    t->place = NATIVE__HELD;
    t->missing = 0;
    native__task_fail(c, t, code, all);
}

void native__retry(struct native__client *c, struct native__task *t,
                   enum raywf_cause cause, int code, const char *text)
{
    const struct raywf_retry *r = &t->policy->retry;
    bool own =
        code != RAYWF_E_PLUGIN && code != RAYWF_E_ARGUMENT && code != RAYWF_E_CANCELLED;
    if (!own || !(r->on & cause) || t->attempt > r->max) {
        give_up(c, t, code, text);
        return;
    }
    int64_t wait = backoff(t);
    t->epoch++;
    t->attempt++;
    t->place = NATIVE__ASLEEP;
    native__timer_add(c, rwf_clock_mono() + wait, wake_up, t);
}

/* --- the death of a worker --- */

static int code_of(const struct native__lane *lane, enum raywf_cause cause)
{
    if (lane->ordered && cause != RAYWF_ON_TIMEOUT)
        return RAYWF_E_ACTOR;
    switch (cause) {
    case RAYWF_ON_OOM:
        return RAYWF_E_OOM;
    case RAYWF_ON_TIMEOUT:
        return RAYWF_E_TIMEOUT;
    default:
        return RAYWF_E_WORKER;
    }
}

/* One that was in flight. begun: it ran, or may have run to its end with the result
 * lost; culprit: it was running. */
static void bereft(struct native__client *c, struct native__task *t, bool begun,
                   bool culprit, enum raywf_cause cause, const char *text)
{
    t->line = NULL;
    if (t->flags & NATIVE__GONE) {
        native__task_free(c, t);
        return;
    }
    int code = code_of(t->lane, cause);
    if (!begun || (!culprit && !t->policy->once && t->policy->retry.max)) {
        t->epoch++;
        t->place = NATIVE__QUEUED;
        native__list_unshift(&t->lane->queue, t);
        return;
    }
    t->flags |= NATIVE__RAN;
    char all[1024];
    snprintf(all, sizeof(all), "'%s': its %s %s", native__function_name(c, t->function),
             t->lane->ordered ? "actor" : "worker", text);
    if (t->policy->once) {
        size_t len = strlen(all);
        snprintf(all + len, sizeof(all) - len, "; the call may or may not have run");
        give_up(c, t, code, all);
    } else if (t->lane->ordered && t->attempt <= t->policy->retry.max) {
        t->epoch++; /* its actor has a back-off of its own, and the order is kept */
        t->attempt++;
        t->place = NATIVE__QUEUED;
        native__list_unshift(&t->lane->queue, t);
    } else {
        native__retry(c, t, cause, code, all);
    }
}

void native__line_died(struct native__client *c, struct native__line *l,
                       enum raywf_cause cause, const char *text)
{
    while (!l->broken && native__receive(c, l))
        ;
    uint64_t running = atomic_load(store_ring_word(l->ring, STORE_WORD_TASK));
    struct native__lane *lane = l->lane;
    native__line_detach(c, l);
    lane->in_flight -= l->flight.count;
    bool begun = false;
    /* From the last to the first, so that the queue keeps their order. */
    struct native__task *t;
    while ((t = l->flight.last)) {
        native__list_remove(&l->flight, t);
        bool culprit = t->id == running;
        begun = begun || culprit;
        bereft(c, t, begun, culprit, cause, text);
    }
    lane->retell = !lane->ordered; /* how many are of use now */
    native__lane_touch(c, lane);
    native__line_free(l);
}

/* --- time-outs --- */

static void end_worker(struct native__client *c, struct native__line *l,
                       struct native__task *t)
{
    char text[128];
    snprintf(text, sizeof(text), "was ended: the call ran for more than its %g s",
             (double)t->policy->timeout / 1e9);
    Wire__End m = WIRE__END__INIT;
    m.worker = l->worker;
    m.cause = RAYWF_ON_TIMEOUT;
    m.task = t->id;
    m.text = text;
    native__tell(c, WIRE_END, &m.base);
    l->ended = true;
}

static void look(struct native__client *c, void *ctx)
{
    struct native__line *l = native__line_find(c, (uint64_t)(uintptr_t)ctx);
    if (!l || l->check > c->now) /* an earlier look has seen to it */
        return;
    l->check = 0;
    uint64_t id = atomic_load(store_ring_word(l->ring, STORE_WORD_TASK));
    int64_t since = (int64_t)atomic_load(store_ring_word(l->ring, STORE_WORD_STARTED));
    int64_t next = INT64_MAX;
    for (struct native__task *t = l->flight.first; t; t = t->next) {
        if (!t->policy->timeout)
            continue;
        int64_t due = (t->id == id ? since : c->now) + t->policy->timeout;
        if (due <= c->now && !l->ended && t->id == id)
            end_worker(c, l, t);
        next = due < next ? due : next;
    }
    if (next == INT64_MAX || l->ended)
        return;
    l->check = next;
    native__timer_add(c, next, look, (void *)(uintptr_t)l->lease);
}

void native__line_watch(struct native__client *c, struct native__line *l,
                        int64_t timeout)
{
    int64_t when = rwf_clock_mono() + timeout;
    if (l->check && l->check <= when)
        return;
    l->check = when;
    native__timer_add(c, when, look, (void *)(uintptr_t)l->lease);
}
