/* SPDX-License-Identifier: Apache-2.0
 *
 * The way of a request through a deployment: the queue, a batch, a replica, its answer.
 *
 * Callbacks of jobs may submit and cancel others, and call us again: a job is out of
 * all lists before its callback is called, and dispatching does not nest.
 */
#include "config.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "serve/deployment_inside.h"

#define UNRUN_TRIES 4 /* of a job that no replica ever began */
#define REST                                                                           \
    (50 * RWF_NS_PER_MS) /* of a replica that refuses: it dies, or gets over it */

static void on_answer(void *ctx, const struct serve_answer *a);
static void on_piece(void *ctx, const void *data, size_t size);
static void on_end(void *ctx);
static void on_lost(void *ctx, bool ran, const char *why);

static struct serve_job *job_of(struct serve_waiting *w)
{
    return (struct serve_job *)(void *)((char *)w - offsetof(struct serve_job, wait));
}

/* --- batches that are out --- */

static struct serve__sent *sent_new(struct serve_fleet *f, struct serve__member *m,
                                    int n)
{
    struct serve__sent *s = f->spare;
    if (s != NULL)
        f->spare = s->next;
    else
        s = rwf_xmalloc(sizeof(*s));
    *s = (struct serve__sent){.count = n, .left = n, .since = serve_now(f->pool)};
    m->batches++;
    return s;
}

/* One job of it is over; measured: by an answer. */
static void sent_done(struct serve_fleet *f, struct serve__member *m,
                      struct serve__sent *s, bool measured)
{
    if (--s->left > 0)
        return;
    m->batches--;
    if (measured && f->batch.how.latency > 0)
        serve_batch_done(&f->batch, s->count, serve_now(f->pool) - s->since);
    s->next = f->spare;
    f->spare = s;
}

/* --- a job comes and goes --- */

/* Out of its replica's hands; it is IDLE, and the caller tells. */
static void detach(struct serve_job *j, bool measured)
{
    struct serve__member *m = j->at;
    struct serve_fleet *f = j->fleet;
    struct serve__sent *s = j->sent;
    TAILQ_REMOVE(&m->jobs, j, link);
    serve_balance_give(m->set->balance, &m->load, 1);
    f->sent--;
    j->at = NULL;
    j->sent = NULL;
    j->state = SERVE_JOB_IDLE;
    if (s != NULL) {
        sent_done(f, m, s, measured);
        serve__member_balance(m);
    }
    if (m->state == SERVE__DRAINING && TAILQ_EMPTY(&m->jobs))
        serve__member_event(m, SERVE__EMPTY);
}

static void count_answer(struct serve_fleet *f, struct serve__member *m,
                         const struct serve_job *j, int status)
{
    int64_t now = serve_now(f->pool);
    serve_metrics_status(&f->metrics, status);
    serve_histogram_add(&f->metrics.latency, now - j->wait.arrived);
    if (m->d->health.path == NULL) { /* it lives, and was asked for no more */
        m->checked = now;
        m->misses = 0;
    }
    m->set->done++;
    m->set->bad += status >= 500;
}

static void fail(struct serve_fleet *f, struct serve_job *j, int status,
                 const char *why, int retry_after)
{
    serve_metrics_status(&f->metrics, status);
    f->metrics.expired += status == 504;
    f->metrics.refused += status == 503;
    j->state = SERVE_JOB_IDLE;
    j->failed(j, status, why, retry_after);
}

void serve_fleet_submit(struct serve_fleet *f, struct serve_job *j)
{
    const struct serve__set *s = f->current != NULL ? f->current : f->next;
    j->fleet = f;
    j->tries = 0;
    j->wait.arrived = serve_now(f->pool);
    j->draw = j->session != NULL
                  ? (double)(serve_hash(j->session, strlen(j->session)) >> 11) * 0x1p-53
                  : (double)(serve_random(&f->pool->chance) >> 11) * 0x1p-53;
    if (f->ending || s == NULL) {
        fail(f, j, 503, "the deployment is being stopped", 1);
        return;
    }
    if (serve__set_hopeless(s) && (f->next == NULL || serve__set_hopeless(f->next))) {
        fail(f, j, 503, s->why, 1);
        return;
    }
    if (!serve_queue_put(f->queue, &j->wait)) {
        fail(f, j, 503, "too many requests wait (max_queued_requests)", 1);
        return;
    }
    j->state = SERVE_JOB_QUEUED;
    if (j->wait.deadline > 0)
        f->pool->wake(f->pool, j->wait.deadline);
    if (f->wanted == 0) /* from zero at once */
        serve_fleet_scale(f, 1, "a request came when there was no replica");
    serve__dispatch(f);
}

void serve_fleet_cancel(struct serve_fleet *f, struct serve_job *j)
{
    if (j->state == SERVE_JOB_IDLE)
        return;
    f->metrics.gone++;
    if (j->state == SERVE_JOB_QUEUED) {
        serve_queue_remove(f->queue, &j->wait);
        j->state = SERVE_JOB_IDLE;
        return;
    }
    struct serve__member *m = j->at;
    if (m->r != NULL)
        m->ops->drop(m->r, &j->item);
    detach(j, false);
    serve__dispatch(f);
}

void serve_fleet_pause(struct serve_fleet *f, struct serve_job *j, bool paused)
{
    (void)f;
    if (j->state == SERVE_JOB_STREAMING && j->at->r != NULL &&
        j->at->ops->pause != NULL)
        j->at->ops->pause(j->at->r, &j->item, paused);
}

/* --- to a replica --- */

/* Which version answers. */
static struct serve__set *choose_set(const struct serve_fleet *f,
                                     const struct serve_job *j)
{
    struct serve__set *s = f->current, *n = f->next;
    bool next = n != NULL && serve_balance_count(n->balance) > 0;
    if (s == NULL || (next && j->draw < f->share))
        return n;
    /* None of the current one is there, or will be soon. */
    if (next && f->share > 0 && serve_balance_count(s->balance) == 0)
        return n;
    return s;
}

/* A replica with room. When those of its version are busy, a request without a session
 * may go to the other one rather than hold up all behind it. */
static struct serve_load *choose(const struct serve_fleet *f, const struct serve_job *j)
{
    struct serve__set *s = choose_set(f, j);
    struct serve__set *other = s == f->current ? f->next : f->current;
    struct serve_load *l =
        s != NULL ? serve_balance_pick(s->balance, j->session) : NULL;
    bool mixed = f->share > 0 && f->share < 1;
    if (l == NULL && other != NULL && mixed && j->session == NULL)
        l = serve_balance_pick(other->balance, NULL);
    return l;
}

static int room_of(const struct serve_fleet *f, const struct serve__member *m)
{
    int room = m->load.max - m->load.ongoing, most = f->batch.how.max_batch_size;
    return room < most ? room : most;
}

static void take(struct serve_fleet *f, struct serve__member *m, struct serve__sent *s,
                 int i)
{
    struct serve_job *j = job_of(serve_queue_take(f->queue));
    j->state = SERVE_JOB_SENT;
    j->at = m;
    j->sent = s;
    j->tries++;
    j->sent_at = s != NULL ? s->since : 0;
    j->item.answer = on_answer;
    j->item.piece = on_piece;
    j->item.end = on_end;
    j->item.lost = on_lost;
    j->item.ctx = j;
    TAILQ_INSERT_TAIL(&m->jobs, j, link);
    f->sent++;
    f->items[i] = &j->item;
}

static void send_batch(struct serve_fleet *f, struct serve__member *m, int n)
{
    struct serve__sent *s = NULL;
    if (n > f->item_cap) {
        f->item_cap = n;
        f->items = rwf_xrealloc(f->items, (size_t)n * sizeof(*f->items));
    }
    if (f->batch.how.max_batch_size > 1) {
        s = sent_new(f, m, n);
        serve_histogram_add(&f->metrics.batches, n);
    }
    for (int i = 0; i < n; i++)
        take(f, m, s, i);
    serve_balance_take(m->set->balance, &m->load, n);
    if (s != NULL)
        serve__member_balance(m);
    m->ops->send(m->r, f->items, n);
}

/* True when something was sent. */
static bool dispatch_one(struct serve_fleet *f)
{
    int64_t wake = 0;
    struct serve_waiting *w = serve_queue_first(f->queue);
    if (w == NULL)
        return false;
    struct serve_load *l = choose(f, job_of(w));
    if (l == NULL)
        return false;
    struct serve__member *m = (struct serve__member *)(void *)l;
    int n = 1;
    if (f->batch.how.max_batch_size > 1) {
        n = serve_batch_due(&f->batch, serve_queue_count(f->queue),
                            serve_queue_oldest(f->queue), room_of(f, m),
                            serve_now(f->pool), &wake);
        if (wake > 0)
            f->pool->wake(f->pool, wake);
    }
    if (n == 0)
        return false;
    send_batch(f, m, n);
    return true;
}

void serve__dispatch(struct serve_fleet *f)
{
    if (f->dispatching) {
        f->again = true;
        return;
    }
    f->dispatching = true;
    do {
        f->again = false;
        while (dispatch_one(f))
            continue;
    } while (f->again);
    f->dispatching = false;
}

/* --- what a replica says --- */

static void on_answer(void *ctx, const struct serve_answer *a)
{
    struct serve_job *j = ctx;
    struct serve_fleet *f = j->fleet;
    rwf_assert(j->state == SERVE_JOB_SENT);
    count_answer(f, j->at, j, a->status);
    if (a->more)
        j->state = SERVE_JOB_STREAMING;
    else
        detach(j, true);
    j->answer(j, a);
    serve__dispatch(f);
}

static void on_piece(void *ctx, const void *data, size_t size)
{
    struct serve_job *j = ctx;
    rwf_assert(j->state == SERVE_JOB_STREAMING);
    j->piece(j, data, size);
}

static void on_end(void *ctx)
{
    struct serve_job *j = ctx;
    struct serve_fleet *f = j->fleet;
    rwf_assert(j->state == SERVE_JOB_STREAMING);
    detach(j, true);
    j->end(j, NULL);
    serve__dispatch(f);
}

static bool may_try_again(const struct serve_fleet *f, const struct serve_job *j,
                          bool ran, const struct serve_deployment *d)
{
    if (f->ending || (j->wait.deadline > 0 && serve_now(f->pool) >= j->wait.deadline))
        return false;
    return ran ? d->idempotent && j->tries <= d->retries : j->tries < UNRUN_TRIES;
}

static void on_lost(void *ctx, bool ran, const char *why)
{
    struct serve_job *j = ctx;
    struct serve_fleet *f = j->fleet;
    struct serve__member *m = j->at;
    bool streaming = j->state == SERVE_JOB_STREAMING;
    bool again = !streaming && may_try_again(f, j, ran, m->set->d);
    char *text = rwf_xasprintf("replica %s: %s", m->id, why);
    rwf_assert(j->state == SERVE_JOB_SENT || streaming);
    if (ran) {
        m->set->done++, m->set->bad++;
    } else {
        m->rests = serve_now(f->pool) + REST;
        f->pool->wake(f->pool, m->rests);
        serve__member_balance(m);
    }
    detach(j, false);
    if (streaming) {
        f->metrics.cut++;
        j->end(j, text);
    } else if (again) {
        f->metrics.retries++;
        j->state = SERVE_JOB_QUEUED;
        serve_queue_put_back(f->queue, &j->wait);
    } else {
        fail(f, j, 502, text, 0);
    }
    free(text);
    /* Not at once: it may be dying, and say so next. */
    f->pool->wake(f->pool, 0);
}

/* --- time --- */

static void expire_queued(struct serve_fleet *f, int64_t now)
{
    struct serve_waiting *w;
    while ((w = serve_queue_expire(f->queue, now)) != NULL)
        fail(f, job_of(w), 504, "its deadline passed while it waited for a replica", 0);
}

static struct serve_job *expired_at(struct serve__member *m, int64_t now)
{
    struct serve_job *j;
    TAILQ_FOREACH(j, &m->jobs, link)
    if (j->wait.deadline > 0 && now >= j->wait.deadline && j->state == SERVE_JOB_SENT)
        return j;
    return NULL;
}

/* Members are freed by ticks alone, so that what callbacks do cannot pull them away
 * here. */
static void expire_sent(struct serve_fleet *f, struct serve__set *s, int64_t now)
{
    struct serve__member *m;
    TAILQ_FOREACH(m, &s->members, link)
    {
        struct serve_job *j;
        while ((j = expired_at(m, now)) != NULL) {
            if (m->r != NULL)
                m->ops->drop(m->r, &j->item);
            s->done++, s->bad++;
            detach(j, false);
            fail(f, j, 504, "its deadline passed while a replica worked on it", 0);
        }
    }
}

void serve__jobs_tick(struct serve_fleet *f)
{
    int64_t now = serve_now(f->pool);
    struct serve__set *s;
    expire_queued(f, now);
    if (f->sent > 0) {
        if (f->current != NULL)
            expire_sent(f, f->current, now);
        if (f->next != NULL)
            expire_sent(f, f->next, now);
        TAILQ_FOREACH(s, &f->old, link)
        expire_sent(f, s, now);
    }
    serve__dispatch(f);
}

void serve__jobs_fail(struct serve_fleet *f, int status, const char *why,
                      int retry_after)
{
    struct serve_waiting *w;
    /* Only those that are there now: callbacks may submit. */
    for (size_t n = serve_queue_count(f->queue); n > 0; n--)
        if ((w = serve_queue_take(f->queue)) != NULL)
            fail(f, job_of(w), status, why, retry_after);
}
