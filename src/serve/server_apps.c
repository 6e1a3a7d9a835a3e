/* SPDX-License-Identifier: Apache-2.0
 *
 * The applications of a server: where they answer, and what becomes of a deploy.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "serve/server_inside.h"

#define AGAIN (5 * RWF_NS_PER_S) /* a restored application that does not come up */

struct serve__slot *serve__slot_find(struct serve_server *s, const char *name)
{
    struct serve__slot *slot;
    TAILQ_FOREACH(slot, &s->slots, link)
    if (strcmp(slot->name, name) == 0)
        return slot;
    return NULL;
}

/* --- places --- */

static void leave(struct serve__place *p)
{
    if (p->front != NULL) {
        serve_routes_remove(p->front->routes, p->prefix);
        serve__front_put(p->front);
    }
    free(p->prefix);
    *p = (struct serve__place){0};
}

static bool same_place(const struct serve__place *a, const struct serve__front *front,
                       const char *prefix)
{
    return a->front == front && strcmp(a->prefix, prefix) == 0;
}

/* Where the next version answers: from now on, beside where the present one does. */
static int take_place(struct serve__slot *slot, const struct serve_app *app,
                      struct rwf_err *err)
{
    struct serve__front *f = serve__front_get(slot->server, app, err);
    if (f == NULL)
        return -1;
    if (slot->at.front != NULL && same_place(&slot->at, f, app->prefix)) {
        f->users--; /* it is one already */
        return 0;
    }
    if (serve_routes_add(f->routes, app->prefix, slot, err) != 0) {
        serve__front_put(f);
        return rwf_wrap(err, "serve.%s", app->name);
    }
    slot->to = (struct serve__place){.front = f, .prefix = rwf_xstrdup(app->prefix)};
    return 0;
}

static void settle(struct serve__slot *slot, bool good)
{
    if (slot->to.front == NULL)
        return;
    /* Where another front took over, there is no way back. */
    if (!good && !(slot->at.front != NULL && slot->at.front->closed)) {
        leave(&slot->to);
        return;
    }
    leave(&slot->at);
    slot->at = slot->to;
    slot->to = (struct serve__place){0};
}

/* --- slots --- */

static struct serve__slot *slot_create(struct serve_server *s, const char *name)
{
    struct serve__slot *slot = rwf_xcalloc(1, sizeof(*slot));
    slot->server = s;
    slot->name = rwf_xstrdup(name);
    slot->app = serve_application_create(&s->pool, name);
    TAILQ_INSERT_TAIL(&s->slots, slot, link);
    return slot;
}

static void on_gone(void *ctx, struct serve_application *a)
{
    struct serve__slot *slot = ctx;
    struct serve_server *s = slot->server;
    (void)a;
    TAILQ_REMOVE(&s->slots, slot, link);
    if (slot->removed != NULL)
        slot->removed(slot->removed_ctx);
    json_decref(slot->spec);
    json_decref(slot->next);
    json_decref(slot->counts);
    free(slot->name);
    free(slot);
    s->pool.wake(&s->pool, 0);
}

void serve__slot_remove(struct serve__slot *slot, int64_t timeout)
{
    if (slot->removing)
        return;
    slot->removing = true;
    leave(&slot->to);
    leave(&slot->at);
    serve_application_remove(slot->app, timeout, on_gone, slot);
}

/* --- deploying --- */

static void restore_counts(struct serve__slot *slot)
{
    const char *name;
    json_t *n;
    struct rwf_err ignored = RWF_ERR_INIT;
    json_object_foreach(slot->counts, name, n)
        serve_application_scale(slot->app, name, (int)json_integer_value(n), &ignored);
    json_decref(slot->counts);
    slot->counts = NULL;
}

static void on_deployed(void *ctx, const struct rwf_err *err)
{
    struct serve__slot *slot = ctx;
    struct serve_server *s = slot->server;
    struct serve_deploy heard = slot->heard;
    json_t *next = slot->next;
    slot->heard = (struct serve_deploy){0};
    slot->next = NULL;
    settle(slot, err == NULL);
    if (err == NULL) {
        json_decref(slot->spec);
        slot->spec = next;
        if (slot->restored)
            restore_counts(slot);
        slot->restored = false;
        serve__state_dirty(s);
    } else {
        rwf_log(RWF_LOG_ERROR, "serve", "%s", err->text);
        if (slot->restored && !slot->removing) {
            slot->next = json_incref(next);
            slot->retry_at = serve_now(&s->pool) + AGAIN;
        } else if (slot->spec == NULL) {
            serve__slot_remove(slot, 0);
        }
        json_decref(next);
    }
    if (heard.done != NULL)
        heard.done(heard.ctx, err);
}

static void on_progress(void *ctx, double share, const char *text)
{
    struct serve__slot *slot = ctx;
    if (slot->heard.progress != NULL)
        slot->heard.progress(slot->heard.ctx, share, text);
}

/* An update goes on. One that nobody waits for any more may be waited for anew by
 * whoever wants the very same. */
static int join(struct serve__slot *slot, const json_t *spec,
                const struct serve_deploy *how, struct rwf_err *err)
{
    if (slot->removing)
        return rwf_fail(err, RWF_E_FAILED, "serve.%s is just being removed",
                        slot->name);
    if (slot->heard.done != NULL || !json_equal(slot->next, (json_t *)(uintptr_t)spec))
        return rwf_fail(err, RWF_E_FAILED,
                        "serve.%s is just being deployed by somebody else", slot->name);
    slot->heard = *how;
    return 0;
}

static int begin(struct serve__slot *slot, json_t *spec, struct serve_app *app,
                 const struct serve_deploy *how, struct rwf_err *err)
{
    struct serve_deploy mine = {on_progress, on_deployed, slot};
    if (take_place(slot, app, err) != 0) {
        serve_app_free(app);
        if (slot->spec == NULL && !slot->restored)
            serve__slot_remove(slot, 0);
        return -1;
    }
    json_incref(spec);
    json_decref(slot->next);
    slot->next = spec;
    slot->heard = *how;
    slot->retry_at = 0;
    serve_application_deploy(slot->app, app, &mine);
    return 0;
}

int serve__deploy(struct serve_server *s, json_t *spec, const struct serve_deploy *how,
                  struct rwf_err *err)
{
    if (s->life != SERVE__RUNS)
        return rwf_fail(err, RWF_E_STOPPED, "the server is being stopped");
    struct serve_app *app = serve_app_read(spec, err);
    if (app == NULL)
        return -1;
    struct serve__slot *slot = serve__slot_find(s, app->name);
    if (slot != NULL &&
        (slot->removing || (slot->next != NULL && slot->retry_at == 0))) {
        serve_app_free(app);
        return join(slot, spec, how, err);
    }
    if (slot == NULL)
        slot = slot_create(s, app->name);
    return begin(slot, spec, app, how, err);
}

int serve__restore(struct serve_server *s, json_t *spec, json_t *counts,
                   struct rwf_err *err)
{
    struct serve_deploy nobody = {0};
    struct serve_app *app = serve_app_read(spec, err);
    if (app == NULL)
        return -1;
    struct serve__slot *slot = slot_create(s, app->name);
    slot->restored = true;
    slot->counts = json_incref(counts);
    return begin(slot, spec, app, &nobody, err);
}

static void retry(struct serve__slot *slot)
{
    struct serve_server *s = slot->server;
    struct serve_deploy nobody = {0};
    struct rwf_err err = RWF_ERR_INIT;
    json_t *spec = json_incref(slot->next);
    struct serve_app *app = serve_app_read(spec, &err);
    if (app == NULL || begin(slot, spec, app, &nobody, &err) != 0) {
        rwf_log(RWF_LOG_ERROR, "serve", "%s", err.text);
        slot->retry_at = serve_now(&s->pool) + AGAIN;
    }
    json_decref(spec);
}

void serve__slots_tick(struct serve_server *s)
{
    struct serve__slot *slot, *after;
    for (slot = TAILQ_FIRST(&s->slots); slot != NULL; slot = after) {
        after = TAILQ_NEXT(slot, link);
        if (slot->retry_at > 0 && !slot->removing &&
            serve_now(&s->pool) >= slot->retry_at)
            retry(slot);
        serve_application_tick(slot->app); /* slot may be gone */
    }
}

/* --- by hand --- */

int serve__remove(struct serve_server *s, const char *name, int64_t timeout,
                  void (*removed)(void *ctx), void *ctx, struct rwf_err *err)
{
    struct serve__slot *slot = serve__slot_find(s, name);
    if (slot == NULL)
        return rwf_fail(err, RWF_E_NORUN, "no application '%s' is served", name);
    if (slot->removing)
        return rwf_fail(err, RWF_E_FAILED, "serve.%s is just being removed", name);
    slot->removed = removed;
    slot->removed_ctx = ctx;
    serve__slot_remove(slot, timeout);
    serve__state_dirty(s);
    return 0;
}

json_t *serve__status(struct serve_server *s)
{
    json_t *apps = json_array(), *fronts = json_array();
    struct serve__slot *slot;
    struct serve__front *f;
    TAILQ_FOREACH(slot, &s->slots, link)
    json_array_append_new(apps, serve_application_json(slot->app));
    TAILQ_FOREACH(f, &s->fronts, link)
    {
        struct http_server_stats x;
        http_server_stats(f->http, &x);
        json_array_append_new(
            fronts,
            json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:b}", "url",
                      http_server_url(f->http), "connections", (json_int_t)x.open,
                      "requests", (json_int_t)x.requests, "ongoing",
                      (json_int_t)x.ongoing, "bad", (json_int_t)x.bad, "refused",
                      (json_int_t)x.refused, "draining", f->closed));
    }
    return json_pack("{s:o, s:o}", "applications", apps, "fronts", fronts);
}

void serve__unhear(struct serve_server *s, void *ctx)
{
    struct serve__slot *slot;
    TAILQ_FOREACH(slot, &s->slots, link)
    {
        if (slot->heard.ctx == ctx)
            slot->heard = (struct serve_deploy){0};
        if (slot->removed_ctx == ctx)
            slot->removed = NULL;
    }
    if (s->ended_ctx == ctx)
        s->ended = NULL;
}
