/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "tests/unit/serve_rig.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

struct serve_replica {
    struct mock mock;
};

static struct rig *the;

static struct serve_replica *start(struct serve_pool *p,
                                   const struct serve_deployment *d, const char *id,
                                   const struct serve_replica_events *e,
                                   struct rwf_err *err)
{
    struct rig *r = p->own;
    bool bad = r->bad_version != NULL && d->model != NULL &&
               strcmp(d->model, r->bad_version) == 0;
    if (r->start == MOCK_FAILS) {
        rwf_fail(err, RWF_E_ENV, "the mock does not start");
        return NULL;
    }
    struct mock *m = rwf_xcalloc(1, sizeof(struct serve_replica));
    m->e = *e;
    snprintf(m->id, sizeof(m->id), "%s", id);
    snprintf(m->version, sizeof(m->version), "%s", d->model != NULL ? d->model : "");
    m->ready = r->start == MOCK_READY && !bad;
    m->dying = r->start == MOCK_DIES || bad;
    m->waits = r->start == MOCK_WAITS ||
               (r->waiting != NULL && strcmp(r->waiting, d->name) == 0);
    m->ready &= !m->waits;
    m->config = json_incref((json_t *)(uintptr_t)d->user_config);
    m->next = r->mocks;
    r->mocks = m;
    r->started++;
    return (struct serve_replica *)m;
}

static void send_items(struct serve_replica *r, struct serve_item *const *items,
                       int count)
{
    struct mock *m = &r->mock;
    ck_assert(!m->stopped);
    m->sends++;
    for (int i = 0; i < count; i++)
        m->items[m->count++] = items[i];
}

static struct serve_item *take(struct mock *m, int i)
{
    ck_assert_int_lt(i, m->count);
    struct serve_item *item = m->items[i];
    memmove(&m->items[i], &m->items[i + 1], (size_t)(--m->count - i) * sizeof(item));
    return item;
}

static void drop(struct serve_replica *r, struct serve_item *item)
{
    struct mock *m = &r->mock;
    for (int i = 0; i < m->count; i++)
        if (m->items[i] == item) {
            take(m, i);
            return;
        }
    ck_abort_msg("an item was dropped that is not there");
}

static void configure(struct serve_replica *r, const json_t *config,
                      void (*done)(void *ctx, const char *wrong), void *ctx)
{
    struct mock *m = &r->mock;
    m->configures++;
    if (the->refuses == NULL) {
        json_decref(m->config);
        m->config = json_incref((json_t *)(uintptr_t)config);
    }
    done(ctx, the->refuses);
}

static void check(struct serve_replica *r, int64_t timeout,
                  void (*done)(void *ctx, const char *wrong), void *ctx)
{
    struct mock *m = &r->mock;
    (void)timeout;
    m->check_done = done;
    m->check_ctx = ctx;
}

static void lose(struct mock *m, bool ran, const char *why)
{
    while (m->count > 0) {
        struct serve_item *item = take(m, 0);
        item->lost(item->ctx, ran, why);
    }
}

static void stop(struct serve_replica *r, int64_t grace)
{
    (void)grace;
    r->mock.stopped = true;
}

static void pause_item(struct serve_replica *r, struct serve_item *item, bool paused)
{
    (void)r, (void)item;
    the->paused += paused ? 1 : -1;
}

static const struct serve_replica_ops mock_ops = {
    "mock", start, send_items, drop, configure, check, stop, pause_item};
static const struct serve_replica_ops *const kinds[] = {&mock_ops, &mock_ops, &mock_ops,
                                                        &mock_ops};

/* --- the rig --- */

static int64_t rig_clock(const struct serve_pool *p)
{
    return ((const struct rig *)p->own)->now;
}

static void rig_wake(struct serve_pool *p, int64_t at)
{
    struct rig *r = p->own;
    if (at < r->woken)
        r->woken = at;
}

static void rig_event(struct serve_pool *p, json_t *event)
{
    json_array_append_new(((struct rig *)p->own)->events, event);
}

void rig_open(struct rig *r)
{
    *r = (struct rig){.now = 1000 * RWF_NS_PER_S, .woken = INT64_MAX};
    r->pool = (struct serve_pool){.folder = "/tmp",
                                  .kinds = kinds,
                                  .wake = rig_wake,
                                  .event = rig_event,
                                  .clock = rig_clock,
                                  .own = r,
                                  .chance = 1};
    r->events = json_array();
    the = r;
}

void rig_close(struct rig *r)
{
    rig_turn(r);
    ck_assert_ptr_null(r->mocks);
    json_decref(r->events);
}

struct serve_app *rig_app(const char *name, const char *text)
{
    struct rwf_err err = RWF_ERR_INIT;
    json_error_t why;
    char *copy = rwf_xstrdup(text);
    for (char *p = copy; *p != '\0'; p++)
        *p = *p == '\'' ? '"' : *p;
    json_t *body = json_loads(copy, 0, &why);
    ck_assert_msg(body != NULL, "%s: %s", copy, why.text);
    json_t *spec = serve_spec_complete(name, body, &err);
    ck_assert_msg(spec != NULL, "%s", err.text);
    struct serve_app *a = serve_app_read(spec, &err);
    ck_assert_msg(a != NULL, "%s", err.text);
    json_decref(spec);
    json_decref(body);
    free(copy);
    return a;
}

static bool end_stopped(struct rig *r)
{
    for (struct mock **at = &r->mocks; *at != NULL; at = &(*at)->next) {
        struct mock *m = *at;
        if (!m->stopped)
            continue;
        lose(m, true, "it was stopped");
        if (m->check_done != NULL)
            m->check_done(m->check_ctx, "it was stopped");
        *at = m->next;
        m->e.stopped(m->e.ctx, (struct serve_replica *)m);
        json_decref(m->config);
        free(m);
        return true;
    }
    return false;
}

static bool speak(struct rig *r)
{
    for (struct mock *m = r->mocks; m != NULL; m = m->next) {
        if (m->ready) {
            m->ready = false;
            m->e.ready(m->e.ctx, (struct serve_replica *)m);
            return true;
        }
        if (m->waits) {
            m->waits = false;
            m->e.waits(m->e.ctx, (struct serve_replica *)m, "nobody answers");
            return true;
        }
        if (m->dying) {
            m->dying = false;
            m->e.died(m->e.ctx, (struct serve_replica *)m, "it does not come up");
            return true;
        }
        if (m->check_done != NULL) {
            void (*done)(void *, const char *) = m->check_done;
            m->check_done = NULL;
            done(m->check_ctx, m->ill ? "it is ill" : NULL);
            return true;
        }
    }
    return false;
}

bool rig_turn(struct rig *r)
{
    bool any = false;
    while (end_stopped(r) || speak(r))
        any = true;
    return any;
}

static bool is_of(const struct mock *m, const char *version)
{
    return !m->stopped && (version == NULL || strcmp(m->version, version) == 0);
}

/* In order of their start. */
struct mock *rig_mock(struct rig *r, const char *version, int i)
{
    int n = rig_count(r, version);
    for (struct mock *m = r->mocks; m != NULL; m = m->next)
        if (is_of(m, version) && --n == i)
            return m;
    return NULL;
}

int rig_count(struct rig *r, const char *version)
{
    int n = 0;
    for (struct mock *m = r->mocks; m != NULL; m = m->next)
        n += is_of(m, version);
    return n;
}

void mock_status(struct mock *m, int i, int status)
{
    struct serve_item *item = take(m, i);
    struct serve_answer a = {.status = status, .data = "ok", .size = 2};
    item->answer(item->ctx, &a);
}

void mock_answer(struct mock *m, int i)
{
    mock_status(m, i, 200);
}

void mock_die(struct mock *m, bool ran)
{
    lose(m, ran, "the mock died");
    m->e.died(m->e.ctx, (struct serve_replica *)m, "the mock died");
}

int rig_events(const struct rig *r, const char *name)
{
    int n = 0;
    size_t i;
    json_t *e;
    json_array_foreach(r->events, i, e)
        n += strcmp(json_string_value(json_object_get(e, "event")), name) == 0;
    return n;
}
