/* SPDX-License-Identifier: Apache-2.0
 *
 * Applications: their editions, their deployments, their end.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "serve/app_inside.h"

/* --- editions --- */

struct serve__edition *serve__edition_ref(struct serve__edition *e)
{
    e->refs++;
    return e;
}

void serve__edition_unref(struct serve__edition *e)
{
    if (e == NULL || --e->refs > 0)
        return;
    struct serve_application *a = e->a;
    serve_generation_unref(e->generation);
    free(e->fleets);
    free(e);
    a->pool->wake(a->pool, 0); /* to sweep */
}

/* --- deployments --- */

static void on_fleet_gone(void *ctx)
{
    struct serve_application *a = ctx;
    a->fleets_left--;
}

static void end_fleet(struct serve_application *a, struct serve__fleet_row *row)
{
    struct serve_fleet *f = row->fleet;
    row->fleet = NULL;
    if (f == NULL)
        return;
    a->fleets_left++;
    serve_fleet_destroy(f, on_fleet_gone, a);
    /* It is ticked until it is gone. */
    *RWF_PUSH(a->leaving, a->leaving_count, a->leaving_cap) = f;
}

static bool uses(const struct serve__edition *e, const struct serve_fleet *f)
{
    for (int i = 0; e != NULL && i < e->generation->app->deployment_count; i++)
        if (e->fleets[i] == f)
            return true;
    return false;
}

static bool in_use(const struct serve_application *a, const struct serve_fleet *f)
{
    const struct serve__request *q;
    if (uses(a->current, f) || uses(a->update.to, f) || uses(a->update.from, f))
        return true;
    TAILQ_FOREACH(q, &a->requests, link)
    if (uses(q->edition, f))
        return true;
    return false;
}

void serve__fleets_sweep(struct serve_application *a)
{
    for (size_t i = 0; i < rwf_map_count(a->fleets); i++) {
        struct serve__fleet_row *row = rwf_map_value_at(a->fleets, i);
        if (row->unused && row->fleet != NULL && !in_use(a, row->fleet))
            end_fleet(a, row);
    }
}

/* --- life --- */

struct serve_application *serve_application_create(struct serve_pool *p,
                                                   const char *name)
{
    struct serve_application *a = rwf_xcalloc(1, sizeof(*a));
    a->pool = p;
    a->name = rwf_xstrdup(name);
    a->fleets = rwf_map_create();
    a->chance = p->chance ^ 0x9e3779b97f4a7c15u;
    TAILQ_INIT(&a->requests);
    return a;
}

void serve_application_remove(struct serve_application *a, int64_t timeout,
                              void (*gone)(void *ctx, struct serve_application *a),
                              void *ctx)
{
    a->gone = gone;
    a->gone_ctx = ctx;
    a->ending = true;
    a->end_at = serve_now(a->pool) + (timeout > 0 ? timeout : 0);
    serve__update_back(a, "the application is removed");
    a->pool->wake(a->pool, 0);
}

static void destroy(struct serve_application *a)
{
    a->destroying = true;
    serve__requests_refuse(a, "the application is being stopped");
    serve__edition_unref(a->current);
    a->current = NULL;
    for (size_t i = 0; i < rwf_map_count(a->fleets); i++)
        end_fleet(a, rwf_map_value_at(a->fleets, i));
}

static void free_application(struct serve_application *a)
{
    if (a->gone != NULL)
        a->gone(a->gone_ctx, a);
    rwf_map_destroy(a->fleets, free);
    free(a->leaving);
    free(a->name);
    free(a);
}

static void tick_leaving(struct serve_application *a)
{
    size_t kept = 0, count = a->leaving_count;
    for (size_t i = 0; i < count; i++) {
        struct serve_fleet *f = a->leaving[i];
        int before = a->fleets_left;
        serve_fleet_tick(f);
        if (a->fleets_left == before)
            a->leaving[kept++] = f;
    }
    a->leaving_count = kept;
}

void serve_application_tick(struct serve_application *a)
{
    serve__requests_tick(a);
    for (size_t i = 0; i < rwf_map_count(a->fleets); i++) {
        struct serve__fleet_row *row = rwf_map_value_at(a->fleets, i);
        if (row->fleet != NULL)
            serve_fleet_tick(row->fleet);
    }
    serve__update_tick(a);
    serve__fleets_sweep(a);
    if (a->ending && !a->destroying &&
        (a->ongoing == 0 || serve_now(a->pool) >= a->end_at))
        destroy(a);
    tick_leaving(a);
    if (a->destroying && a->fleets_left == 0)
        free_application(a);
}

/* --- by hand --- */

static const struct serve__edition *shown(const struct serve_application *a)
{
    return a->current != NULL ? a->current : a->update.to;
}

int serve_application_scale(struct serve_application *a, const char *deployment,
                            int replicas, struct rwf_err *err)
{
    const struct serve__edition *e = shown(a);
    if (e == NULL)
        return rwf_fail(err, RWF_E_NORUN, "the application '%s' is not up", a->name);
    const struct serve_app *app = e->generation->app;
    if (deployment == NULL && app->deployment_count != 1)
        return rwf_fail(
            err, RWF_E_USAGE,
            "the application '%s' has %d deployments: say which one (%s.NAME)", a->name,
            app->deployment_count, a->name);
    int i = deployment != NULL ? serve_app_deployment(app, deployment) : 0;
    if (i < 0)
        return rwf_fail(err, RWF_E_NORUN, "the application '%s' has no deployment '%s'",
                        a->name, deployment);
    const struct serve_autoscaling *s = &app->deployments[i].autoscaling;
    if (s->on && (replicas < s->min || replicas > s->max))
        return rwf_fail(err, RWF_E_USAGE,
                        "%s.%s scales between min_replicas %d and max_replicas %d",
                        a->name, app->deployments[i].name, s->min, s->max);
    serve_fleet_scale(e->fleets[i], replicas, "asked for by hand");
    return 0;
}

/* --- to see --- */

const char *serve_application_name(const struct serve_application *a)
{
    return a->name;
}

const struct serve_app *serve_application_spec(const struct serve_application *a)
{
    const struct serve__edition *e = shown(a);
    return e != NULL ? e->generation->app : NULL;
}

bool serve_application_is_up(const struct serve_application *a)
{
    return a->current != NULL && !a->ending;
}

bool serve_application_is_healthy(const struct serve_application *a)
{
    struct serve_metrics_row row;
    if (!serve_application_is_up(a))
        return false;
    for (int i = 0; i < a->current->generation->app->deployment_count; i++) {
        serve_fleet_row(a->current->fleets[i], &row);
        if (row.wanted > 0 && row.healthy == 0)
            return false;
    }
    return true;
}

size_t serve_application_ongoing(const struct serve_application *a)
{
    return a->ongoing;
}

static const char *state_of(const struct serve_application *a)
{
    if (a->ending)
        return "stopping";
    if (a->current == NULL)
        return a->update.to != NULL ? "deploying" : "failed";
    if (a->update.to != NULL)
        return "updating";
    return serve_application_is_healthy(a) ? "running" : "unhealthy";
}

json_t *serve_application_json(const struct serve_application *a)
{
    const struct serve__edition *e = shown(a);
    json_t *list = json_array(), *o;
    for (int i = 0; e != NULL && i < e->generation->app->deployment_count; i++)
        json_array_append_new(list, serve_fleet_json(e->fleets[i]));
    o = json_pack("{s:s, s:s, s:I, s:o}", "name", a->name, "state", state_of(a),
                  "ongoing", (json_int_t)a->ongoing, "deployments", list);
    if (e != NULL) {
        const struct serve_app *app = e->generation->app;
        char *url = serve_url(app->http.host, app->http.port, app->http.cert != NULL,
                              app->prefix);
        json_object_set_new(o, "url", json_string(url));
        json_object_set_new(o, "route_prefix",
                            json_string(app->prefix[0] != '\0' ? app->prefix : "/"));
        free(url);
    }
    if (a->reason[0] != '\0')
        json_object_set_new(o, "reason", json_string(a->reason));
    if (e != NULL && e->only < 0)
        json_object_set_new(o, "requests", serve_metrics_json(&a->metrics));
    return o;
}

void serve_application_rows(const struct serve_application *a,
                            void (*each)(void *ctx,
                                         const struct serve_metrics_row *row),
                            void *ctx)
{
    const struct serve__edition *e = shown(a);
    struct serve_metrics_row row = {
        .app = a->name, .m = &a->metrics, .ongoing = a->ongoing};
    each(ctx, &row);
    if (e == NULL)
        return;
    for (int i = 0; i < e->generation->app->deployment_count; i++) {
        serve_fleet_row(e->fleets[i], &row);
        each(ctx, &row);
    }
}
