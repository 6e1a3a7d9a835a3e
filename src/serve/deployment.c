/* SPDX-License-Identifier: Apache-2.0
 *
 * A deployment as a whole: how many replicas of which version there should be.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "serve/deployment_inside.h"

/* --- generations --- */

struct serve_generation *serve_generation_create(struct serve_app *app)
{
    struct serve_generation *g = rwf_xcalloc(1, sizeof(*g));
    g->app = app;
    g->refs = 1;
    return g;
}

struct serve_generation *serve_generation_ref(struct serve_generation *g)
{
    g->refs++;
    return g;
}

void serve_generation_unref(struct serve_generation *g)
{
    if (g == NULL || --g->refs > 0)
        return;
    serve_app_free(g->app);
    free(g);
}

/* --- life --- */

struct serve_fleet *serve_fleet_create(struct serve_pool *p, const char *app,
                                       const char *name)
{
    struct serve_fleet *f = rwf_xcalloc(1, sizeof(*f));
    f->pool = p;
    f->app = rwf_xstrdup(app);
    f->name = rwf_xstrdup(name);
    f->queue = serve_queue_create(0);
    TAILQ_INIT(&f->old);
    return f;
}

static void free_fleet(struct serve_fleet *f)
{
    void (*gone)(void *) = f->gone;
    void *ctx = f->gone_ctx;
    while (f->spare != NULL) {
        struct serve__sent *s = f->spare;
        f->spare = s->next;
        free(s);
    }
    serve_queue_destroy(f->queue);
    free(f->items);
    free(f->app);
    free(f->name);
    free(f);
    if (gone != NULL)
        gone(ctx);
}

void serve_fleet_destroy(struct serve_fleet *f, void (*gone)(void *ctx), void *ctx)
{
    f->ending = true;
    f->gone = gone;
    f->gone_ctx = ctx;
    serve__jobs_fail(f, 503, "the deployment is being stopped", 1);
    if (f->current != NULL)
        serve__set_retire(f->current);
    if (f->next != NULL)
        serve__set_retire(f->next);
    f->current = f->next = NULL;
    f->pool->wake(f->pool, 0);
}

/* --- how many --- */

static int clamp(int n, const struct serve_deployment *d)
{
    const struct serve_autoscaling *a = &d->autoscaling;
    if (n < 0)
        n = 0;
    if (!a->on)
        return n;
    return n < a->min ? a->min : n > a->max ? a->max : n;
}

/* What a version asks for; running: there are as many as f->wanted. */
static int target(const struct serve_fleet *f, const struct serve_deployment *d,
                  bool running)
{
    if (!d->autoscaling.on)
        return d->replicas;
    return clamp(running ? f->wanted : serve_scaler_initial(&d->autoscaling), d);
}

static int healthy(const struct serve__set *s)
{
    return s != NULL ? s->counts[SERVE__HEALTHY] : 0;
}

/* Shares what is wanted out to the versions. */
static void apply(struct serve_fleet *f)
{
    if (f->next != NULL && (f->rolling || f->current == NULL))
        f->next->wanted = f->wanted;
    if (f->current != NULL) {
        int rest = f->wanted;
        if (f->next != NULL && f->rolling)
            rest -= healthy(f->next) < rest ? healthy(f->next) : rest;
        f->current->wanted = rest;
        if (f->next != NULL && f->rolling && healthy(f->next) > 0)
            f->share = (double)healthy(f->next) / (healthy(f->next) + rest);
        serve__set_reconcile(f->current);
    }
    if (f->next != NULL)
        serve__set_reconcile(f->next);
}

static void feed(struct serve_fleet *f, const struct serve_deployment *d)
{
    serve_queue_limit(f->queue, d->max_queued);
    if (memcmp(&f->batch.how, &d->batching, sizeof(d->batching)) != 0)
        serve_batch_init(&f->batch, &d->batching);
    if (f->scaler.how.max == 0)
        serve_scaler_init(&f->scaler, &d->autoscaling);
    else
        serve_scaler_configure(&f->scaler, &d->autoscaling);
}

void serve_fleet_scale(struct serve_fleet *f, int replicas, const char *reason)
{
    const struct serve_deployment *d = serve_fleet_spec(f);
    int before = f->wanted;
    f->wanted = d != NULL ? clamp(replicas, d) : replicas;
    if (f->wanted == before || d == NULL)
        return;
    json_t *e = serve__event_json(f, "serve.scaled");
    json_object_set_new(e, "from", json_integer(before));
    json_object_set_new(e, "to", json_integer(f->wanted));
    json_object_set_new(e, "reason", json_string(reason));
    serve__emit(f, e);
    apply(f);
}

static void autoscale(struct serve_fleet *f, int64_t now)
{
    const struct serve_deployment *d = serve_fleet_spec(f);
    struct serve_scale s;
    if (d == NULL || !d->autoscaling.on)
        return;
    serve_scaler_see(&f->scaler, now, (double)serve_fleet_ongoing(f));
    serve_scaler_decide(&f->scaler, now, f->wanted, &s);
    if (s.replicas != f->wanted)
        serve_fleet_scale(f, s.replicas, s.reason);
    if (s.wake > 0)
        f->pool->wake(f->pool, s.wake);
}

/* --- time --- */

static void tick_old(struct serve_fleet *f)
{
    struct serve__set *s, *after;
    for (s = TAILQ_FIRST(&f->old); s != NULL; s = after) {
        after = TAILQ_NEXT(s, link);
        serve__set_tick(s);
        if (!TAILQ_EMPTY(&s->members))
            continue;
        TAILQ_REMOVE(&f->old, s, link);
        serve__set_free(s);
    }
}

/* Nobody comes up: those that wait need not wait for their deadline. */
static void give_up(struct serve_fleet *f)
{
    const struct serve__set *s = f->current != NULL ? f->current : f->next;
    if (s == NULL || serve_queue_count(f->queue) == 0 || !serve__set_hopeless(s) ||
        (f->next != NULL && !serve__set_hopeless(f->next)))
        return;
    serve__jobs_fail(f, 503, s->why, 1);
}

void serve_fleet_tick(struct serve_fleet *f)
{
    serve__jobs_tick(f);
    tick_old(f);
    if (f->ending) {
        if (TAILQ_EMPTY(&f->old))
            free_fleet(f);
        return;
    }
    autoscale(f, serve_now(f->pool));
    apply(f);
    if (f->current != NULL)
        serve__set_tick(f->current);
    if (f->next != NULL)
        serve__set_tick(f->next);
    give_up(f);
    serve__dispatch(f);
}

/* --- versions --- */

void serve_fleet_begin(struct serve_fleet *f, struct serve_generation *g,
                       const struct serve_deployment *d, int first)
{
    rwf_assert(f->next == NULL);
    f->next = serve__set_create(f, g, d);
    f->share = 0;
    f->rolling = false;
    if (f->current == NULL) {
        feed(f, d);
        f->wanted = target(f, d, false);
        f->share = 1;
    } else {
        /* A version is tried also where nothing runs now. */
        int n = target(f, d, true);
        f->next->wanted = n > 0 ? n : 1;
    }
    if (first >= 0 && first < f->next->wanted)
        f->next->wanted = first;
    apply(f);
}

bool serve_fleet_updating(const struct serve_fleet *f)
{
    return f->next != NULL;
}

void serve_fleet_progress(const struct serve_fleet *f, struct serve_progress *ret)
{
    const struct serve__set *s = f->next;
    *ret = (struct serve_progress){.why = ""};
    if (s == NULL)
        return;
    *ret = (struct serve_progress){.wanted = s->wanted,
                                   .healthy = s->counts[SERVE__HEALTHY],
                                   .starting = s->counts[SERVE__STARTING],
                                   .failed = serve__set_hopeless(s) && !s->absent,
                                   .waits = s->waits,
                                   .absent = s->absent && serve__set_hopeless(s),
                                   .why = s->why,
                                   .done = s->done,
                                   .bad = s->bad};
    /* One comes up and the next one does not, again and again. */
    ret->failed = ret->failed || s->fails >= 2 * 3;
}

void serve_fleet_weight(struct serve_fleet *f, double share)
{
    f->share = share;
    serve__dispatch(f);
}

void serve_fleet_roll(struct serve_fleet *f)
{
    if (f->next == NULL)
        return;
    if (!f->rolling && f->current != NULL)
        f->wanted = target(f, f->next->d, true);
    f->rolling = true;
    apply(f);
    serve__dispatch(f);
}

void serve_fleet_commit(struct serve_fleet *f)
{
    if (f->next == NULL)
        return;
    if (f->current != NULL)
        serve__set_retire(f->current);
    f->current = f->next;
    f->next = NULL;
    f->rolling = false;
    f->share = 0;
    f->wanted = target(f, f->current->d, true);
    feed(f, f->current->d);
    apply(f);
    serve__dispatch(f);
}

void serve_fleet_abort(struct serve_fleet *f)
{
    struct serve__set *s = f->next;
    char why[sizeof(s->why)];
    if (s == NULL)
        return;
    snprintf(why, sizeof(why), "%s", s->why);
    f->next = NULL;
    f->rolling = false;
    f->share = 0;
    serve__set_retire(s);
    if (f->current != NULL) {
        f->wanted = target(f, f->current->d, true);
        apply(f);
        serve__dispatch(f);
    } else {
        f->wanted = 0;
        serve__jobs_fail(f, 503, why, 1);
    }
}

/* --- the same version, fed otherwise --- */

static void configured(struct serve_fleet *f)
{
    void (*done)(void *, const char *) = f->configured;
    if (--f->configuring > 0 || done == NULL)
        return;
    f->configured = NULL;
    done(f->configured_ctx, f->config_wrong[0] != '\0' ? f->config_wrong : NULL);
}

static void on_configured(void *ctx, const char *wrong)
{
    struct serve__member *m = ctx;
    struct serve_fleet *f = m->set->fleet;
    m->configuring = false;
    /* Of one that died meanwhile nothing is wanted: its successor starts with it. */
    if (wrong != NULL && m->state == SERVE__HEALTHY)
        snprintf(f->config_wrong, sizeof(f->config_wrong), "%s: %s", m->id, wrong);
    configured(f);
}

static void configure_all(struct serve_fleet *f, const json_t *config)
{
    struct serve__member *m;
    TAILQ_FOREACH(m, &f->current->members, link)
    {
        if (m->state != SERVE__HEALTHY)
            continue;
        if (m->ops->configure == NULL) {
            snprintf(f->config_wrong, sizeof(f->config_wrong),
                     "a %s has no user_config that can change",
                     serve_kind_name(m->d->kind));
            return;
        }
        m->configuring = true;
        f->configuring++;
        m->ops->configure(m->r, config, on_configured, m);
    }
}

static bool same_config(const json_t *a, const json_t *b)
{
    return a == b || (a != NULL && b != NULL &&
                      json_equal((json_t *)(uintptr_t)a, (json_t *)(uintptr_t)b));
}

static void set_limits(struct serve__set *s)
{
    struct serve__member *m;
    TAILQ_FOREACH(m, &s->members, link)
    {
        if (m->balanced)
            serve_balance_remove(s->balance, &m->load);
        m->balanced = false;
        m->load.max = s->d->max_ongoing;
        serve__member_balance(m);
    }
}

void serve_fleet_adjust(struct serve_fleet *f, struct serve_generation *g,
                        const struct serve_deployment *d,
                        void (*done)(void *ctx, const char *wrong), void *ctx)
{
    struct serve__set *s = f->current;
    rwf_assert(s != NULL);
    if (f->configuring > 0) {
        if (done != NULL)
            done(ctx, "its replicas are still being given the one before");
        return;
    }
    bool same = same_config(s->d->user_config, d->user_config);
    struct serve_generation *old = s->generation;
    s->generation = serve_generation_ref(g);
    s->d = d;
    feed(f, d);
    f->wanted = target(f, d, true);
    set_limits(s);
    apply(f);
    f->config_wrong[0] = '\0';
    f->configured = done;
    f->configured_ctx = ctx;
    f->configuring = 1; /* ours, so that it is not done before all are asked */
    if (!same)
        configure_all(f, d->user_config);
    serve_generation_unref(old);
    configured(f);
    serve__dispatch(f);
}

bool serve_fleet_configuring(const struct serve_fleet *f)
{
    return f->configuring > 0;
}

/* --- to see --- */

const char *serve_fleet_name(const struct serve_fleet *f)
{
    return f->name;
}

const struct serve_deployment *serve_fleet_spec(const struct serve_fleet *f)
{
    const struct serve__set *s = f->current != NULL ? f->current : f->next;
    return s != NULL ? s->d : NULL;
}

size_t serve_fleet_ongoing(const struct serve_fleet *f)
{
    return serve_queue_count(f->queue) + f->sent;
}

static void add_counts(const struct serve__set *s, struct serve_metrics_row *to)
{
    to->starting += s->counts[SERVE__STARTING];
    to->healthy += s->counts[SERVE__HEALTHY];
    to->draining += s->counts[SERVE__DRAINING] + s->counts[SERVE__STOPPING] +
                    s->counts[SERVE__UNHEALTHY];
}

void serve_fleet_row(const struct serve_fleet *f, struct serve_metrics_row *ret)
{
    const struct serve__set *s;
    *ret = (struct serve_metrics_row){.app = f->app,
                                      .deployment = f->name,
                                      .m = &f->metrics,
                                      .queued = serve_queue_count(f->queue),
                                      .ongoing = f->sent,
                                      .wanted = f->wanted};
    if (f->current != NULL)
        add_counts(f->current, ret);
    if (f->next != NULL)
        add_counts(f->next, ret);
    TAILQ_FOREACH(s, &f->old, link)
    add_counts(s, ret);
}

static void list_members(const struct serve__set *s, int64_t now, json_t *to)
{
    const struct serve__member *m;
    TAILQ_FOREACH(m, &s->members, link)
    if (m->state != SERVE__DEAD)
        json_array_append_new(
            to, json_pack("{s:s, s:s, s:o, s:i, s:i, s:f}", "id", m->id, "state",
                          m->state == SERVE__STARTING && m->waits
                              ? "waiting"
                              : serve__state_name(m->state),
                          "version",
                          json_stringn(m->d->version, strnlen(m->d->version, 12)),
                          "ongoing", m->load.ongoing, "misses", m->misses, "since_s",
                          (double)(now - m->since) / 1e9));
}

json_t *serve_fleet_json(const struct serve_fleet *f)
{
    json_t *o = serve_metrics_json(&f->metrics), *replicas = json_array();
    const struct serve_deployment *d = serve_fleet_spec(f);
    const struct serve__set *s;
    int64_t now = serve_now(f->pool);
    if (f->current != NULL)
        list_members(f->current, now, replicas);
    if (f->next != NULL)
        list_members(f->next, now, replicas);
    TAILQ_FOREACH(s, &f->old, link)
    list_members(s, now, replicas);
    json_object_set_new(o, "name", json_string(f->name));
    json_object_set_new(o, "kind",
                        json_string(d != NULL ? serve_kind_name(d->kind) : "?"));
    json_object_set_new(o, "wanted", json_integer(f->wanted));
    json_object_set_new(o, "queued",
                        json_integer((json_int_t)serve_queue_count(f->queue)));
    json_object_set_new(o, "ongoing", json_integer((json_int_t)f->sent));
    json_object_set_new(o, "updating", json_boolean(f->next != NULL));
    json_object_set_new(o, "next_share", json_real(f->next != NULL ? f->share : 0));
    json_object_set_new(o, "replicas", replicas);
    s = f->next != NULL ? f->next : f->current;
    if (s != NULL && s->counts[SERVE__HEALTHY] < s->wanted && s->why[0] != '\0')
        json_object_set_new(o, "reason", json_string(s->why));
    return o;
}
