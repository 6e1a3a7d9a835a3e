/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "peer/loop.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"

#define EVENTS 64
#define RECENT (2 * RWF_NS_PER_MS) /* spins only when there was work so lately */

bool peer__spin_begin(struct peer__spin *s)
{
    int free_ = 0;

    return s->ns > 0 && atomic_compare_exchange_strong(&s->busy, &free_, 1);
}

void peer__spin_end(struct peer__spin *s)
{
    atomic_store(&s->busy, 0);
}

/* --- work of other threads --- */

static void wake(struct peer__loop *l)
{
    uint64_t one = 1;

    /* It can only fail when the count is so high that the loop is awake. */
    if (write(l->event, &one, sizeof(one)) < 0)
        rwf_assert(errno == EAGAIN || errno == EINTR);
}

void peer__loop_post(struct peer__loop *l, void (*fn)(void *ctx), void *ctx)
{
    struct peer__job *j = rwf_xmalloc(sizeof(*j));

    j->fn = fn;
    j->ctx = ctx;
    pthread_mutex_lock(&l->lock);
    STAILQ_INSERT_TAIL(&l->jobs, j, link);
    atomic_store(&l->posted, 1);
    pthread_mutex_unlock(&l->lock);
    if (atomic_load(&l->asleep))
        wake(l);
}

static bool run_jobs(struct peer__loop *l)
{
    STAILQ_HEAD(, peer__job) jobs = STAILQ_HEAD_INITIALIZER(jobs);
    struct peer__job *j;
    bool any = false;

    if (!atomic_load(&l->posted))
        return false;
    pthread_mutex_lock(&l->lock);
    STAILQ_CONCAT(&jobs, &l->jobs);
    atomic_store(&l->posted, 0);
    pthread_mutex_unlock(&l->lock);
    while ((j = STAILQ_FIRST(&jobs))) {
        STAILQ_REMOVE_HEAD(&jobs, link);
        j->fn(j->ctx);
        free(j);
        any = true;
    }
    return any;
}

/* --- sockets --- */

static int control(struct peer__loop *l, int op, int fd, struct peer__source *s,
                   bool write)
{
    struct epoll_event e = {.events = EPOLLIN | (write ? EPOLLOUT : 0)};

    e.data.ptr = s;
    return epoll_ctl(l->epoll, op, fd, &e);
}

int peer__loop_add(struct peer__loop *l, int fd, struct peer__source *s)
{
    return control(l, EPOLL_CTL_ADD, fd, s, false);
}

void peer__loop_want(struct peer__loop *l, int fd, struct peer__source *s, bool write)
{
    control(l, EPOLL_CTL_MOD, fd, s, write);
}

void peer__loop_remove(struct peer__loop *l, int fd)
{
    epoll_ctl(l->epoll, EPOLL_CTL_DEL, fd, NULL);
}

void peer__loop_tick_by(struct peer__loop *l, int64_t when)
{
    if (when < l->tick_at)
        l->tick_at = when;
}

/* --- the thread --- */

static int wait_ms(const struct peer__loop *l)
{
    int64_t left;

    if (l->tick_at == INT64_MAX)
        return -1;
    left = l->tick_at - rwf_clock_mono();
    return left <= 0 ? 0 : (int)(left / RWF_NS_PER_MS) + 1;
}

static int look(struct peer__loop *l, struct epoll_event *events)
{
    int n = epoll_wait(l->epoll, events, EVENTS, 0);

    return n > 0 ? n : 0;
}

/* Without sleeping: how many events, while nothing was posted. */
static int spin(struct peer__loop *l, struct epoll_event *events)
{
    int64_t now = rwf_clock_mono(), until = now + l->spin->ns;
    int n = 0;

    if (now - l->work_at > RECENT || !peer__spin_begin(l->spin))
        return 0;
    while (n == 0 && !atomic_load(&l->posted) && rwf_clock_mono() < until)
        n = look(l, events);
    peer__spin_end(l->spin);
    return n;
}

static int sleep_for(struct peer__loop *l, struct epoll_event *events)
{
    int n;

    atomic_store(&l->asleep, 1);
    n = atomic_load(&l->posted) ? look(l, events)
                                : epoll_wait(l->epoll, events, EVENTS, wait_ms(l));
    atomic_store(&l->asleep, 0);
    return n > 0 ? n : 0;
}

static int wait_for_events(struct peer__loop *l, struct epoll_event *events)
{
    int n = spin(l, events);

    return n || atomic_load(&l->posted) ? n : sleep_for(l, events);
}

/* The eventfd's source is NULL. */
static void deliver(struct peer__loop *l, const struct epoll_event *events, int n)
{
    uint64_t count;

    for (int i = 0; i < n; i++) {
        struct peer__source *s = events[i].data.ptr;
        if (s)
            s->ready(s, events[i].events);
        else if (read(l->event, &count, sizeof(count)) < 0)
            rwf_assert(errno == EAGAIN || errno == EINTR);
    }
}

static void tick(struct peer__loop *l)
{
    int64_t now;

    if (l->tick_at == INT64_MAX || (now = rwf_clock_mono()) < l->tick_at)
        return;
    l->tick_at = INT64_MAX;
    l->tick(l->ctx, now);
}

static void *run(void *ctx)
{
    struct peer__loop *l = ctx;
    struct epoll_event events[EVENTS];

    for (;;) {
        bool stopping = atomic_load(&l->stopping);
        bool any = run_jobs(l);
        if (stopping && !any)
            break;
        if (stopping)
            continue;
        tick(l);
        int n = wait_for_events(l, events);
        deliver(l, events, n);
        if (n > 0 || any)
            l->work_at = rwf_clock_mono();
    }
    return NULL;
}

int peer__thread_start(pthread_t *ret, const char *name, void *(*fn)(void *ctx),
                       void *ctx)
{
    sigset_t all, old;
    int rc;

    /* Signals are for the threads that know what to do with them. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = pthread_create(ret, NULL, fn, ctx);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc == 0)
        pthread_setname_np(*ret, name);
    return rc;
}

int peer__loop_start(struct peer__loop *l, const char *name, struct peer__spin *spin_,
                     void (*tick_)(void *ctx, int64_t now), void *ctx,
                     struct rwf_err *err)
{
    int rc;

    *l = (struct peer__loop){.epoll = epoll_create1(EPOLL_CLOEXEC),
                             .event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                             .spin = spin_,
                             .tick = tick_,
                             .ctx = ctx,
                             .tick_at = INT64_MAX};
    STAILQ_INIT(&l->jobs);
    pthread_mutex_init(&l->lock, NULL);
    if (l->epoll < 0 || l->event < 0 || peer__loop_add(l, l->event, NULL) < 0)
        return rwf_fail(err, errno, "peer: cannot poll: %s", strerror(errno));
    rc = peer__thread_start(&l->thread, name, run, l);
    if (rc)
        return rwf_fail(err, rc, "peer: no thread: %s", strerror(rc));
    l->runs = true;
    return 0;
}

void peer__loop_stop(struct peer__loop *l)
{
    if (!l->runs)
        return;
    atomic_store(&l->stopping, 1);
    wake(l);
    pthread_join(l->thread, NULL);
    l->runs = false;
}

void peer__loop_free(struct peer__loop *l)
{
    run_jobs(l);
    if (l->epoll > 0)
        close(l->epoll);
    if (l->event > 0)
        close(l->event);
    pthread_mutex_destroy(&l->lock);
}
