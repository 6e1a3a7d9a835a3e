/* SPDX-License-Identifier: Apache-2.0
 *
 * Waiting, and taking in what comes meanwhile. One thread at a time leads: it takes in
 * results, spins for a little while, then sleeps on the bell of the process. Others
 * that wait follow: the leader tells them when something has changed, and one of them
 * takes over when it leaves. While nobody waits a thread of our own looks after what is
 * outstanding: it ticks while the program keeps taking results in by itself, leads when
 * it does not, and sleeps deeply when there is nothing to do.
 *
 * For a loop (native_client_poll) it sleeps on the bell all the time. While the loop is
 * awake the bell is muted: workers see nobody asleep and wake nobody, so that to and fro
 * between loop and thread costs no system call.
 */
#include "config.h"
#include "native/internal.h"
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include "base/clock.h"
#include "base/mem.h"
#include "native/control.h"

#define TICK RWF_NS_PER_MS
#define QUIET_TICKS 20 /* then it sleeps deeply */
#define BLOCKED_AFTER RWF_NS_PER_MS

static void pause_cpu(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* --- one turn --- */

static void broken_line(struct native__client *c, struct native__line *l)
{
    Wire__Return m = WIRE__RETURN__INIT;
    m.lease = l->lease;
    m.broken = true;
    native__tell(c, WIRE_RETURN, &m.base);
    native__line_died(c, l, RAYWF_ON_EXIT, "wrote what is no message into its ring");
}

static bool receive_all(struct native__client *c)
{
    bool any = false;
    for (size_t i = c->line_count; i-- > 0;) {
        struct native__line *l = c->lines[i];
        any = native__receive(c, l) || any;
        if (l->broken)
            broken_line(c, l);
    }
    return any;
}

static void flush_all(struct native__client *c)
{
    for (size_t i = 0; i < c->line_count; i++)
        if (c->lines[i]->unflushed)
            native__flush(c->lines[i]);
}

static int64_t turn(struct native__client *c)
{
    uint64_t before = c->progress;
    c->turns++;
    c->now = rwf_clock_mono();
    receive_all(c);
    int64_t next = native__timers_run(c);
    if (c->dirty)
        native__lanes_settle(c);
    flush_all(c);
    if (c->followers && c->progress != before)
        pthread_cond_broadcast(&c->changed);
    return next;
}

void native__turn(struct native__client *c)
{
    turn(c);
}

void native__wake_leader(struct native__client *c)
{
    if (c->leader == NATIVE__NOBODY || !c->bell)
        return;
    if (c->muted)
        store_bell_prepare(c->bell); /* or it would not be heard */
    c->muted = false;
    store_bell_ring(c->bell);
}

void native__changed(struct native__client *c)
{
    if (c->followers)
        pthread_cond_broadcast(&c->changed);
    native__wake_leader(c);
}

static void wake_pump(struct native__client *c)
{
    c->deep = false;
    pthread_cond_signal(&c->stir);
    if (c->leader == NATIVE__THE_PUMP)
        native__wake_leader(c);
}

void native__stir(struct native__client *c)
{
    if (c->deep && !c->polling)
        wake_pump(c);
}

void native__news(struct native__client *c)
{
    c->progress++;
    if (c->ready && !c->polling)
        wake_pump(c);
}

void native__awake(struct native__client *c)
{
    if (!c->polling && c->leader == NATIVE__THE_PUMP) {
        store_bell_cancel(c->bell);
        c->muted = true;
    }
    c->polling = c->loops = true;
}

void native__poll(struct native__client *c)
{
    native__awake(c);
    turn(c);
    c->ready_seen = c->progress;
}

static bool something_came(const struct native__client *c)
{
    size_t size;
    for (size_t i = 0; i < c->line_count; i++)
        if (store_ring_peek(c->lines[i]->ring, &size))
            return true;
    return false;
}

bool native__rest(struct native__client *c)
{
    c->polling = false;
    if (!c->muted) { /* the pump is awake, or sleeps elsewhere */
        if (c->outstanding || c->timer_count)
            wake_pump(c);
        return true;
    }
    c->muted = false;
    store_bell_prepare(c->bell);
    if (something_came(c)) {
        store_bell_cancel(c->bell);
        c->muted = c->polling = true;
        return false;
    }
    if (c->timer_count && c->timers[0].when < c->pump_until)
        wake_pump(c);
    return true;
}

void native__job_add(struct native__client *c, struct native__job *j)
{
    j->next = NULL;
    *c->jobs_end = j;
    c->jobs_end = &j->next;
    wake_pump(c); /* whatever it does */
}

/* --- sleeping --- */

static void timed_wait(struct native__client *c, pthread_cond_t *cond, int64_t deadline)
{
    if (deadline == INT64_MAX) {
        pthread_cond_wait(cond, &c->lock);
        return;
    }
    struct timespec ts = {deadline / RWF_NS_PER_S, deadline % RWF_NS_PER_S};
    pthread_cond_timedwait(cond, &c->lock, &ts);
}

/* With the lock, which is given up; the bell is ours. */
static void sleep_on_bell(struct native__client *c, bool (*done)(void *ctx), void *ctx,
                          int64_t deadline)
{
    struct store_bell *bell = c->bell;
    uint32_t seen = store_bell_prepare(bell);
    if (something_came(c) || (done && done(ctx))) {
        store_bell_cancel(bell);
        return;
    }
    native__unlock(c);
    store_bell_wait(bell, seen, deadline);
    native__lock(c);
}

/* The same for a loop that polls; when it rests it lets the bell be heard again. */
static void sleep_muted(struct native__client *c, int64_t deadline)
{
    struct store_bell *bell = c->bell;
    uint32_t seen = store_bell_prepare(bell);
    store_bell_cancel(bell);
    c->muted = true;
    native__unlock(c);
    store_bell_wait(bell, seen, deadline);
    native__lock(c);
    c->muted = false;
}

/* true: done. Luck says whether spinning has paid of late; without it, it is tried only
 * now and then. */
static bool spin(struct native__client *c, bool (*done)(void *ctx), void *ctx)
{
    if (!c->spin)
        return false;
    int64_t budget = c->spin_luck > 0 || (c->turns & 15) == 0 ? c->spin : c->spin / 8;
    int64_t end = rwf_clock_mono() + budget;
    do {
        native__unlock(c);
        for (int i = 0; i < 4; i++)
            pause_cpu();
        native__lock(c);
        if (something_came(c))
            turn(c);
        if (done(ctx)) {
            if (c->spin_luck < 8)
                c->spin_luck++;
            return true;
        }
    } while (rwf_clock_mono() < end);
    if (c->spin_luck > -8)
        c->spin_luck--;
    return false;
}

/* --- awaiting --- */

static void tell_blocked(struct native__client *c, bool blocked)
{
    Wire__Blocked m = WIRE__BLOCKED__INIT;
    m.blocked = blocked;
    c->blocked = blocked;
    native__tell(c, WIRE_BLOCKED, &m.base);
}

static void lead(struct native__client *c, bool (*done)(void *ctx), void *ctx,
                 int64_t deadline, int64_t timer, bool *blocks)
{
    c->leader = NATIVE__A_THREAD;
    if (!spin(c, done, ctx)) {
        if (c->timer_count && c->timers[0].when < timer) /* one was added meanwhile */
            timer = c->timers[0].when;
        int64_t until = deadline < timer ? deadline : timer;
        int64_t block = INT64_MAX;
        if (*blocks && !c->blocked)
            block = rwf_clock_mono() + BLOCKED_AFTER;
        sleep_on_bell(c, done, ctx, until < block ? until : block);
        if (block != INT64_MAX && rwf_clock_mono() >= block && !done(ctx))
            tell_blocked(c, true);
    }
    c->leader = NATIVE__NOBODY;
}

static void follow(struct native__client *c, int64_t deadline)
{
    if (c->leader == NATIVE__THE_PUMP) /* it makes way */
        native__wake_leader(c);
    c->followers++;
    timed_wait(c, &c->changed, deadline);
    c->followers--;
}

/* The children of a call that was cancelled are not waited for. */
static void cancel_children(struct native__client *c)
{
    uint32_t call = c->call;
    if (!call || c->ended_tasks == c->next_task || !c->cancelled(c->cancelled_ctx))
        return;
    c->ended_tasks = c->next_task;
    native__cancel_children(c, call);
}

bool native__await(struct native__client *c, bool (*done)(void *ctx), void *ctx,
                   int64_t deadline, bool blocks)
{
    blocks = blocks && c->worker;
    bool ret;
    for (;;) {
        int64_t timer = turn(c);
        if ((ret = done(ctx)))
            break;
        if (c->now >= deadline)
            break;
        cancel_children(c);
        if (blocks && c->blocked && c->worker_ops.blocked &&
            pthread_equal(pthread_self(), c->caller))
            c->worker_ops.blocked(c->worker_ops.ctx);
        if ((ret = done(ctx)))
            break;
        if (c->leader == NATIVE__NOBODY)
            lead(c, done, ctx, deadline, timer, &blocks);
        else
            follow(c, deadline);
    }
    if (blocks && c->blocked)
        tell_blocked(c, false);
    if (c->followers && c->leader == NATIVE__NOBODY)
        pthread_cond_broadcast(&c->changed);
    if (c->outstanding && c->deep)
        native__stir(c);
    return ret;
}

/* --- the thread --- */

static void run_jobs(struct native__client *c)
{
    while (c->jobs) {
        struct native__job *j = c->jobs;
        c->jobs = j->next;
        if (!c->jobs)
            c->jobs_end = &c->jobs;
        native__unlock(c);
        j->fn(c, j);
        native__lock(c);
    }
}

static void pump_lead(struct native__client *c, int64_t timer)
{
    c->leader = NATIVE__THE_PUMP;
    c->pump_until = timer;
    if (!c->jobs && !c->followers && c->polling)
        sleep_muted(c, timer);
    else if (!c->jobs && !c->followers)
        sleep_on_bell(c, NULL, NULL, timer);
    c->muted = false;
    c->leader = NATIVE__NOBODY;
    if (c->followers)
        pthread_cond_broadcast(&c->changed);
}

/* What comes while fn is called finds nobody to wake: so it is looked for afterwards. */
static void tell_ready(struct native__client *c)
{
    while (c->ready && !c->polling && c->ready_seen != c->progress) {
        c->ready_seen = c->progress;
        void (*fn)(void *ctx) = c->ready;
        void *ctx = c->ready_ctx;
        native__unlock(c);
        fn(ctx);
        native__lock(c);
    }
}

/* Sleeps until there is something for it to do. */
static void rest(struct native__client *c, int64_t timer, int *quiet, uint64_t *turns)
{
    bool needed = c->outstanding && c->leader == NATIVE__NOBODY && !c->polling;
    bool alone = c->turns == *turns;
    *turns = c->turns;
    /* A thread that was let in meanwhile may have added one, and left it to this one. */
    if (c->timer_count && c->timers[0].when < timer)
        timer = c->timers[0].when;
    bool looped = c->loops && c->bell && c->leader == NATIVE__NOBODY;
    if (((needed && (alone || c->ready)) || looped) && !c->followers) {
        *quiet = 0;
        pump_lead(c, timer);
        return;
    }
    *quiet = needed ? 0 : c->polling ? QUIET_TICKS + 1 : *quiet + 1;
    int64_t until = rwf_clock_mono() + TICK;
    if (*quiet > QUIET_TICKS) {
        c->deep = true;
        until = timer;
    }
    timed_wait(c, &c->stir, until < timer ? until : timer);
    c->deep = false;
}

static void *pump_main(void *arg)
{
    struct native__client *c = arg;
    int quiet = 0;
    uint64_t turns = 0;
    prctl(PR_SET_NAME, "raywf-pump");
    native__lock(c);
    while (!c->stopping) {
        run_jobs(c);
        int64_t timer = INT64_MAX;
        if (c->leader == NATIVE__NOBODY) {
            bool fresh = c->turns != turns;
            timer = turn(c);
            turns = fresh ? c->turns - 1 : c->turns;
        }
        tell_ready(c);
        if (c->session_count > 1)
            native__sessions_sweep(c);
        if (!c->stopping && !c->jobs)
            rest(c, timer, &quiet, &turns);
    }
    native__unlock(c);
    return NULL;
}

int native__pump_start(struct native__client *c, struct rwf_err *err)
{
    int rc = pthread_create(&c->pump, NULL, pump_main, c);
    if (rc)
        return rwf_fail(err, rc, "cannot start a thread: %s", strerror(rc));
    c->pump_runs = true;
    return 0;
}

void native__pump_stop(struct native__client *c)
{
    native__lock(c);
    c->stopping = true;
    pthread_cond_broadcast(&c->stir);
    pthread_cond_broadcast(&c->changed);
    native__wake_leader(c);
    native__unlock(c);
    if (c->pump_runs)
        pthread_join(c->pump, NULL);
    c->pump_runs = false;
}
