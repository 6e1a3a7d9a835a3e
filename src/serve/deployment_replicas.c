/* SPDX-License-Identifier: Apache-2.0
 *
 * Replicas: their states as a table, their health, their restarts.
 *
 * A member is freed by reap() alone, which ticks call: so nothing that a callback does
 * takes one away under somebody's feet.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "serve/deployment_inside.h"

#define STEADY                                                                         \
    (10 * RWF_NS_PER_S) /* healthy for so long: earlier deaths are forgotten */
#define BACKOFF_FIRST (100 * RWF_NS_PER_MS)
#define BACKOFF_MAX (10 * RWF_NS_PER_S)
#define HOPELESS 3 /* starts in a row that came to nothing, and nobody healthy */

/* --- states --- */

static const char *const names[] = {
    [SERVE__STARTING] = "starting",   [SERVE__HEALTHY] = "healthy",
    [SERVE__UNHEALTHY] = "unhealthy", [SERVE__DRAINING] = "draining",
    [SERVE__STOPPING] = "stopping",   [SERVE__DEAD] = "dead"};

#define SAME(state)                                                                    \
    {SERVE__##state, SERVE__##state, SERVE__##state,                                   \
     SERVE__##state, SERVE__##state, SERVE__DEAD}

/* Columns: READY, DIED, MISSED, LEAVE, EMPTY, STOPPED. */
static const unsigned char next_state[SERVE__STATES][SERVE__EVENTS] = {
    [SERVE__STARTING] = {SERVE__HEALTHY, SERVE__UNHEALTHY, SERVE__UNHEALTHY,
                         SERVE__STOPPING, SERVE__STARTING, SERVE__DEAD},
    [SERVE__HEALTHY] = {SERVE__HEALTHY, SERVE__UNHEALTHY, SERVE__UNHEALTHY,
                        SERVE__DRAINING, SERVE__HEALTHY, SERVE__DEAD},
    [SERVE__UNHEALTHY] = SAME(UNHEALTHY),
    [SERVE__DRAINING] = {SERVE__DRAINING, SERVE__UNHEALTHY, SERVE__UNHEALTHY,
                         SERVE__DRAINING, SERVE__STOPPING, SERVE__DEAD},
    [SERVE__STOPPING] = SAME(STOPPING),
    [SERVE__DEAD] = SAME(DEAD),
};

const char *serve__state_name(enum serve__state s)
{
    return names[s];
}

/* --- events for the world --- */

json_t *serve__event_json(const struct serve_fleet *f, const char *name)
{
    return json_pack("{s:s, s:s, s:s}", "event", name, "app", f->app, "deployment",
                     f->name);
}

void serve__emit(const struct serve_fleet *f, json_t *event)
{
    f->pool->event(f->pool, event);
}

static void emit_member(const struct serve__member *m, const char *name,
                        const char *reason, int64_t again)
{
    const struct serve_fleet *f = m->set->fleet;
    json_t *e = serve__event_json(f, name);
    json_object_set_new(e, "replica", json_string(m->id));
    json_object_set_new(e, "version", json_stringn(m->d->version, 12));
    if (reason != NULL) {
        json_t *text = json_string(reason);
        json_object_set_new(e, "reason", text != NULL ? text : json_string("?"));
        if (again >= 0)
            json_object_set_new(e, "restart_in_ms",
                                json_integer(again / RWF_NS_PER_MS));
    }
    serve__emit(f, e);
}

/* --- balance --- */

void serve__member_balance(struct serve__member *m)
{
    const struct serve_batch *b = &m->set->fleet->batch;
    /* One batch is worked on, the next one lies ready; with an objective for the time
     * of a batch, no waiting is wanted in it. */
    int most = b->how.max_batch_size <= 1 ? 1 : b->how.latency > 0 ? 1 : 2;
    bool wanted = m->state == SERVE__HEALTHY && m->batches < most &&
                  (m->rests == 0 || serve_now(m->set->fleet->pool) >= m->rests);
    if (wanted && !m->balanced)
        serve_balance_add(m->set->balance, &m->load);
    else if (!wanted && m->balanced)
        serve_balance_remove(m->set->balance, &m->load);
    m->balanced = wanted;
}

/* --- deaths --- */

static bool any_healthy(const struct serve__set *s)
{
    return s->counts[SERVE__HEALTHY] > 0;
}

bool serve__set_hopeless(const struct serve__set *s)
{
    return (s->bad_starts >= HOPELESS || s->absent) && !any_healthy(s);
}

/* m->state is still what it was when it died. */
static void note_death(struct serve__member *m, const char *why)
{
    struct serve__set *s = m->set;
    struct serve_fleet *f = s->fleet;
    int64_t now = serve_now(f->pool), delay = 0;
    bool steady = m->state == SERVE__HEALTHY && now - m->since >= STEADY;
    bool starting = m->state == SERVE__STARTING;
    bool slow = starting && m->d->health.start_grace > 0 &&
                now - m->since >= m->d->health.start_grace;
    s->fails = steady ? 1 : s->fails + 1;
    s->bad_starts += slow ? HOPELESS : starting;
    for (int i = 1; i < s->fails && delay < BACKOFF_MAX; i++)
        delay = delay == 0 ? BACKOFF_FIRST : delay * 2;
    delay = delay < BACKOFF_MAX ? delay : BACKOFF_MAX;
    s->next_start = now + delay;
    /* A server that was there and is gone: who asks for it is told so at once. */
    s->absent |= m->d->kind == SERVE_URL && m->state == SERVE__HEALTHY;
    snprintf(s->why, sizeof(s->why), "%s", why);
    f->metrics.died++;
    emit_member(m, "serve.replica_died", why, delay);
}

/* --- entering a state --- */

static void configured_late(void *ctx, const char *wrong)
{
    struct serve__member *m = ctx;
    m->configuring = false;
    if (wrong == NULL || m->state != SERVE__HEALTHY)
        return;
    note_death(m, wrong);
    serve__member_event(m, SERVE__MISSED);
}

/* The user_config changed while it started. */
static void catch_up(struct serve__member *m)
{
    const json_t *is = m->d->user_config, *wanted = m->set->d->user_config;
    if (m->d == m->set->d || wanted == NULL || m->ops->configure == NULL ||
        json_equal((json_t *)(uintptr_t)is, (json_t *)(uintptr_t)wanted))
        return;
    m->configuring = true;
    m->ops->configure(m->r, wanted, configured_late, m);
}

static void enter_healthy(struct serve__member *m)
{
    m->checked = serve_now(m->set->fleet->pool);
    m->misses = 0;
    m->set->bad_starts = 0;
    m->set->waits = m->set->absent = false;
    emit_member(m, "serve.replica_ready", NULL, 0);
    catch_up(m);
}

static void enter_draining(struct serve__member *m)
{
    struct serve_pool *p = m->set->fleet->pool;
    if (TAILQ_EMPTY(&m->jobs))
        serve__member_event(m, SERVE__EMPTY);
    else
        p->wake(p, serve_now(p) + m->d->drain_timeout);
}

static void end_replica(struct serve__member *m, int64_t grace)
{
    if (m->r != NULL)
        m->ops->stop(m->r, grace);
}

void serve__member_event(struct serve__member *m, enum serve__event e)
{
    enum serve__state before = m->state, to = (enum serve__state)next_state[before][e];
    if (to == before)
        return;
    m->set->counts[before]--;
    m->set->counts[to]++;
    m->state = to;
    m->since = serve_now(m->set->fleet->pool);
    serve__member_balance(m);
    switch (to) {
    case SERVE__HEALTHY:
        enter_healthy(m);
        break;
    case SERVE__DRAINING:
        enter_draining(m);
        break;
    case SERVE__UNHEALTHY:
        end_replica(m, 0);
        break;
    case SERVE__STOPPING:
        end_replica(m, m->d->drain_timeout);
        break;
    default:
        break;
    }
    m->set->fleet->pool->wake(m->set->fleet->pool, 0);
}

/* --- what replicas say --- */

static void on_ready(void *ctx, struct serve_replica *r)
{
    struct serve__member *m = ctx;
    (void)r;
    serve__member_event(m, SERVE__READY);
    serve__dispatch(m->set->fleet);
}

/* What is said again and again is an event once. */
static void on_waits(void *ctx, struct serve_replica *r, const char *why)
{
    struct serve__member *m = ctx;
    struct serve__set *s = m->set;
    (void)r;
    if (m->state != SERVE__STARTING)
        return;
    bool news = !m->waits || strcmp(s->why, why) != 0;
    m->waits = s->waits = true;
    snprintf(s->why, sizeof(s->why), "%s", why);
    if (news)
        emit_member(m, "serve.replica_waits", s->why, -1);
    s->fleet->pool->wake(s->fleet->pool, 0);
}

static void on_died(void *ctx, struct serve_replica *r, const char *why)
{
    struct serve__member *m = ctx;
    (void)r;
    if (m->state == SERVE__STARTING || m->state == SERVE__HEALTHY ||
        m->state == SERVE__DRAINING)
        note_death(m, why);
    serve__member_event(m, SERVE__DIED);
    serve__dispatch(m->set->fleet);
}

static void on_stopped(void *ctx, struct serve_replica *r)
{
    struct serve__member *m = ctx;
    (void)r;
    m->r = NULL;
    serve__member_event(m, SERVE__STOPPED);
}

/* --- sets --- */

struct serve__set *serve__set_create(struct serve_fleet *f, struct serve_generation *g,
                                     const struct serve_deployment *d)
{
    struct serve__set *s = rwf_xcalloc(1, sizeof(*s));
    s->fleet = f;
    s->generation = serve_generation_ref(g);
    s->d = d;
    s->balance = serve_balance_create(serve_random(&f->pool->chance));
    TAILQ_INIT(&s->members);
    return s;
}

int serve__set_alive(const struct serve__set *s)
{
    return s->counts[SERVE__STARTING] + s->counts[SERVE__HEALTHY];
}

static void free_member(struct serve__member *m)
{
    serve_generation_unref(m->generation);
    free(m);
}

/* False: it could not even begin. */
static bool start_one(struct serve__set *s)
{
    struct serve_fleet *f = s->fleet;
    struct rwf_err err = RWF_ERR_INIT;
    struct serve__member *m = rwf_xcalloc(1, sizeof(*m));
    m->set = s;
    m->d = s->d;
    m->ops = f->pool->kinds[s->d->kind];
    m->generation = serve_generation_ref(s->generation);
    m->since = serve_now(f->pool);
    TAILQ_INIT(&m->jobs);
    snprintf(m->id, sizeof(m->id), "%s.%s.%d", f->app, f->name, ++f->number);
    m->load = (struct serve_load){.name = serve_hash(m->id, strlen(m->id)),
                                  .max = s->d->max_ongoing,
                                  .local = true};
    struct serve_replica_events e = {
        .ready = on_ready,
        .waits = on_waits,
        .died = on_died,
        .stopped = on_stopped,
        .ctx = m};
    TAILQ_INSERT_TAIL(&s->members, m, link);
    s->counts[SERVE__STARTING]++;
    f->metrics.started++;
    struct serve_replica *r = m->ops->start(f->pool, s->d, m->id, &e, &err);
    if (r != NULL) {
        m->r = r;
        return true;
    }
    note_death(m, err.text);
    serve__member_event(m, SERVE__STOPPED);
    return false;
}

/* The one to go: one that only starts, else the one with the least to do, the newest.
 */
static struct serve__member *victim(const struct serve__set *s)
{
    struct serve__member *m, *best = NULL;
    TAILQ_FOREACH_REVERSE(m, &s->members, serve__members, link)
    {
        if (m->state == SERVE__STARTING)
            return m;
        if (m->state == SERVE__HEALTHY &&
            (best == NULL || m->load.ongoing < best->load.ongoing))
            best = m;
    }
    return best;
}

void serve__set_reconcile(struct serve__set *s)
{
    struct serve_pool *p = s->fleet->pool;
    struct serve__member *m;
    if (s->wanted == 0)
        s->waits = s->absent = false;
    while (serve__set_alive(s) < s->wanted) {
        if (serve_now(p) < s->next_start) {
            p->wake(p, s->next_start);
            break;
        }
        if (!start_one(s))
            break;
    }
    while (serve__set_alive(s) > s->wanted && (m = victim(s)) != NULL)
        serve__member_event(m, SERVE__LEAVE);
}

void serve__set_retire(struct serve__set *s)
{
    s->wanted = 0;
    TAILQ_INSERT_TAIL(&s->fleet->old, s, link);
    serve__set_reconcile(s);
}

void serve__set_free(struct serve__set *s)
{
    serve_balance_destroy(s->balance);
    serve_generation_unref(s->generation);
    free(s);
}

/* --- time --- */

static void on_checked(void *ctx, const char *wrong)
{
    struct serve__member *m = ctx;
    char why[700];
    m->checking = false;
    m->checked = serve_now(m->set->fleet->pool);
    if (wrong == NULL) {
        m->misses = 0;
        return;
    }
    if (++m->misses < m->d->health.misses || m->state != SERVE__HEALTHY)
        return;
    snprintf(why, sizeof(why), "missed %d health checks in a row, the last one: %.600s",
             m->misses, wrong);
    note_death(m, why);
    serve__member_event(m, SERVE__MISSED);
}

static void tick_member(struct serve__member *m, int64_t now)
{
    const struct serve_health *h = &m->d->health;
    if (m->state == SERVE__HEALTHY) {
        if (now - m->since >= STEADY)
            m->set->fails = 0;
        if (m->rests > 0) {
            serve__member_balance(m);
            m->rests = m->balanced ? 0 : m->rests;
        }
        if (m->checking || h->period <= 0 || now - m->checked < h->period ||
            m->ops->check == NULL)
            return;
        m->checking = true;
        m->ops->check(m->r, h->timeout, on_checked, m);
    } else if (m->state == SERVE__STARTING && m->waits) {
        m->set->absent |= now - m->since >= h->start_grace;
    } else if (m->state == SERVE__DRAINING && now - m->since >= m->d->drain_timeout) {
        serve__member_event(m, SERVE__EMPTY);
    }
}

static void reap(struct serve__set *s)
{
    struct serve__member *m, *after;
    for (m = TAILQ_FIRST(&s->members); m != NULL; m = after) {
        after = TAILQ_NEXT(m, link);
        if (m->state != SERVE__DEAD || !TAILQ_EMPTY(&m->jobs) || m->checking ||
            m->configuring)
            continue;
        TAILQ_REMOVE(&s->members, m, link);
        s->counts[SERVE__DEAD]--;
        free_member(m);
    }
}

void serve__set_tick(struct serve__set *s)
{
    int64_t now = serve_now(s->fleet->pool);
    struct serve__member *m;
    reap(s);
    TAILQ_FOREACH(m, &s->members, link)
    tick_member(m, now);
    serve__set_reconcile(s);
}
