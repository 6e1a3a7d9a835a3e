/* SPDX-License-Identifier: Apache-2.0
 *
 * From one version of an application to the next, without a lost request: new replicas start
 * and become healthy, requests move to them by weight, the old ones drain. What goes wrong
 * before the end brings the old version back, and its reason is told.
 *
 *   STARTING     deployments of another version have a healthy replica each (the first
 *                version of an application: all of them)
 *   CONFIGURING  deployments of the same version got a new user_config
 *   HOLDING      with update.canary: new replicas answer that share for update.hold
 *   ROLLING      for each new replica that is healthy, an old one goes
 *
 * In HOLDING and ROLLING the new version must not fail more than update.max_error_rate.
 */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/units.h"
#include "serve/app_inside.h"

#define ENOUGH 20 /* answers, before an error rate means something */
#define LONG (10 * RWF_NS_PER_S)

static const struct serve_app *app_of(const struct serve__edition *e)
{
    return e->generation->app;
}

/* --- events --- */

static void emit_app(struct serve_application *a, const char *state, const char *reason)
{
    const struct serve_app *app = serve_application_spec(a);
    char *url = app != NULL ? serve_url(app->http.host, app->http.port,
                                        app->http.cert != NULL, app->prefix)
                            : rwf_xstrdup("");
    json_t *e = json_pack("{s:s, s:s, s:s, s:s}", "event", "serve.app", "app", a->name,
                          "url", url, "state", state);
    if (reason != NULL)
        json_object_set_new(e, "reason", json_string(reason));
    a->pool->event(a->pool, e);
    free(url);
}

static void emit_update(struct serve_application *a, const char *state, double weight,
                        const char *reason)
{
    json_t *e = json_pack("{s:s, s:s, s:s}", "event", "serve.update", "app", a->name,
                          "state", state);
    if (weight >= 0)
        json_object_set_new(e, "weight", json_real(weight));
    if (reason != NULL)
        json_object_set_new(e, "reason", json_string(reason));
    a->pool->event(a->pool, e);
}

/* --- the rows of an update --- */

typedef void (*row_fn)(struct serve_application *a, struct serve__fleet_row *row);

static void each_row(struct serve_application *a, row_fn fn)
{
    for (size_t i = 0; i < rwf_map_count(a->fleets); i++)
        fn(a, rwf_map_value_at(a->fleets, i));
}

static struct serve__fleet_row *row_of(struct serve_application *a, const char *name)
{
    struct serve__fleet_row *row = rwf_map_get(a->fleets, name);
    if (row == NULL) {
        row = rwf_xcalloc(1, sizeof(*row));
        rwf_map_set(a->fleets, name, row);
    }
    if (row->fleet == NULL) {
        row->fleet = serve_fleet_create(a->pool, a->name, name);
        row->created = true;
    }
    return row;
}

static struct serve__edition *edition_create(struct serve_application *a,
                                             struct serve_app *app)
{
    struct serve__edition *e = rwf_xcalloc(1, sizeof(*e));
    e->refs = 1;
    e->a = a;
    e->generation = serve_generation_create(app);
    e->only = serve_graph_only(app);
    e->fleets = rwf_xcalloc((size_t)app->deployment_count + 1, sizeof(*e->fleets));
    for (int i = 0; i < app->deployment_count; i++)
        e->fleets[i] = row_of(a, app->deployments[i].name)->fleet;
    return e;
}

/* --- its end --- */

static void forget_row(struct serve_application *a, struct serve__fleet_row *row)
{
    (void)a;
    row->begun = row->created = row->adjusted = false;
}

static void mark_unused(struct serve_application *a, struct serve__fleet_row *row)
{
    row->unused = true;
    for (int i = 0; a->current != NULL && i < app_of(a->current)->deployment_count; i++)
        if (a->current->fleets[i] == row->fleet)
            row->unused = false;
}

static void over(struct serve_application *a, const struct rwf_err *err)
{
    struct serve__update u = a->update;
    each_row(a, forget_row);
    a->update = (struct serve__update){.phase = SERVE__IDLE};
    each_row(a, mark_unused);
    serve__edition_unref(u.to);
    serve__edition_unref(u.from);
    a->pool->wake(a->pool, 0);
    if (u.how.done != NULL)
        u.how.done(u.how.ctx, err);
}

static void commit_row(struct serve_application *a, struct serve__fleet_row *row)
{
    (void)a;
    if (row->begun)
        serve_fleet_commit(row->fleet);
}

static void swap_to(struct serve_application *a, struct serve__edition *e)
{
    struct serve__edition *old = a->current;
    a->current = e != NULL ? serve__edition_ref(e) : NULL;
    serve__edition_unref(old);
}

/* without: why a part of it does not answer yet, or NULL. */
static void finish(struct serve_application *a, const char *without)
{
    bool first = a->update.from == NULL;
    each_row(a, commit_row);
    a->reason[0] = '\0';
    if (!first)
        emit_update(a, "done", 1, NULL);
    emit_app(a, first ? "up" : "updated", without);
    over(a, NULL);
}

static const struct serve_deployment *deployment_of(const struct serve__edition *e,
                                                    const struct serve_fleet *f)
{
    for (int i = 0; e != NULL && i < app_of(e)->deployment_count; i++)
        if (e->fleets[i] == f)
            return &app_of(e)->deployments[i];
    return NULL;
}

static void back_row(struct serve_application *a, struct serve__fleet_row *row)
{
    struct serve__edition *from = a->update.from;
    if (row->begun)
        serve_fleet_abort(row->fleet);
    const struct serve_deployment *d =
        row->adjusted ? deployment_of(from, row->fleet) : NULL;
    /* One that is still asked for a user_config gets the old one when that is over. */
    if (d != NULL && !serve_fleet_configuring(row->fleet))
        serve_fleet_adjust(row->fleet, from->generation, d, NULL, NULL);
}

void serve__update_back(struct serve_application *a, const char *why)
{
    struct serve__update *u = &a->update;
    struct rwf_err err = RWF_ERR_INIT;
    if (u->to == NULL)
        return;
    bool first = u->from == NULL;
    rwf_fail(&err, RWF_E_FAILED, "serve.%s: %s%s", a->name, why,
             first ? "" : "; the version before goes on");
    snprintf(a->reason, sizeof(a->reason), "%.890s", err.text);
    if (u->swapped)
        swap_to(a, u->from);
    each_row(a, back_row);
    if (first)
        emit_app(a, "failed", why);
    else
        emit_update(a, "rolled_back", -1, why);
    over(a, &err);
}

/* --- its beginning --- */

static int first_of(const struct serve_app *app, const struct serve_deployment *d)
{
    int n = d->autoscaling.on ? d->autoscaling.max : d->replicas;
    if (app->canary <= 0)
        return -1;
    n = (int)ceil(app->canary * n);
    return n > 1 ? n : 1;
}

static void begin_deployment(struct serve_application *a, struct serve__edition *e,
                             int i)
{
    const struct serve_deployment *d = &app_of(e)->deployments[i];
    struct serve__fleet_row *row = rwf_map_get(a->fleets, d->name);
    const struct serve_deployment *old =
        row->created ? NULL : serve_fleet_spec(row->fleet);
    row->unused = false;
    if (old != NULL && old->kind == d->kind && strcmp(old->version, d->version) == 0)
        return; /* adjusted later */
    row->begun = true;
    serve_fleet_begin(row->fleet, e->generation, d,
                      old != NULL ? first_of(app_of(e), d) : -1);
}

void serve_application_deploy(struct serve_application *a, struct serve_app *app,
                              const struct serve_deploy *how)
{
    struct serve__update *u = &a->update;
    serve__update_back(a, "another version came before this one was up");
    struct serve__edition *e = edition_create(a, app);
    *u = (struct serve__update){
        .phase = SERVE__STARTING_UP,
        .to = e,
        .from = a->current != NULL ? serve__edition_ref(a->current) : NULL,
        .how = *how,
        .since = serve_now(a->pool)};
    if (u->from != NULL)
        emit_update(a, "begun", -1, NULL);
    for (int i = 0; i < app->deployment_count; i++)
        begin_deployment(a, e, i);
    a->pool->wake(a->pool, 0);
}

void serve_application_unhear(struct serve_application *a, void *ctx)
{
    if (a->update.how.ctx == ctx)
        a->update.how = (struct serve_deploy){0};
}

/* --- how it goes --- */

struct sum {
    int wanted, healthy, starved; /* starved: deployments without a healthy replica */
    int absent; /* replicas of servers that are not ours, and do not answer */
    uint64_t done, bad;
    const char *failed, *why;
    const char *waits, *waits_why; /* for such a server */
};

static struct sum sum_up(const struct serve_application *a)
{
    struct sum s = {0};
    for (size_t i = 0; i < rwf_map_count(a->fleets); i++) {
        const struct serve__fleet_row *row = rwf_map_value_at(a->fleets, i);
        struct serve_progress p;
        if (!row->begun)
            continue;
        serve_fleet_progress(row->fleet, &p);
        s.wanted += p.wanted;
        s.healthy += p.healthy < p.wanted ? p.healthy : p.wanted;
        s.starved += p.wanted > 0 && p.healthy == 0;
        s.done += p.done;
        s.bad += p.bad;
        s.absent += p.absent ? p.wanted : 0;
        if (p.waits && s.waits == NULL) {
            s.waits = serve_fleet_name(row->fleet);
            s.waits_why = p.why;
        }
        /* Instead of a version that serves it is no good. */
        if ((p.failed || (p.absent && a->update.from != NULL)) && s.failed == NULL) {
            s.failed = serve_fleet_name(row->fleet);
            s.why = p.why;
        }
    }
    return s;
}

/* The only deployment needs no name. */
static void name_cause(char *to, size_t size, const char *deployment, const char *why)
{
    bool only = strcmp(deployment, "main") == 0;
    snprintf(to, size, "%s%s%.900s", only ? "" : deployment, only ? "" : ": ", why);
}

static void tell(struct serve_application *a, const struct sum *s)
{
    struct serve__update *u = &a->update;
    static const char *const what[] = {
        [SERVE__STARTING_UP] = "are healthy",
        [SERVE__CONFIGURING] = "are healthy; configuring",
        [SERVE__HOLDING] = "are healthy; the canary is watched",
        [SERVE__ROLLING] = "are healthy"};
    char text[1200], reason[1000] = "";
    bool waits = s->healthy < s->wanted && serve_now(a->pool) - u->since > LONG;
    int64_t told =
        ((int64_t)s->wanted << 32) + s->healthy * 64 + u->phase * 4 + waits * 2 + 1 +
        (s->waits != NULL) * 32;
    if (u->how.progress == NULL || s->wanted == 0 || u->told == told)
        return;
    u->told = told;
    if (s->waits != NULL)
        name_cause(reason, sizeof(reason), s->waits, s->waits_why);
    snprintf(text, sizeof(text), "%d of %d replicas %s%s%s", s->healthy, s->wanted,
             what[u->phase], s->waits != NULL ? "; " : "",
             s->waits != NULL ? reason
             : waits          ? "; the others start, or wait for their resources"
                              : "");
    u->how.progress(u->how.ctx, s->wanted > 0 ? (double)s->healthy / s->wanted : 0,
                    text);
}

static void go_on(struct serve_application *a, enum serve__phase phase)
{
    a->update.phase = phase;
    a->update.since = serve_now(a->pool);
    a->pool->wake(a->pool, 0);
}

/* True: it was rolled back. */
static bool too_many_errors(struct serve_application *a, const struct sum *s, bool last)
{
    const struct serve_app *app = app_of(a->update.to);
    char why[160];
    double rate = s->done > 0 ? (double)s->bad / (double)s->done : 0;
    if (a->update.from == NULL || app->max_error_rate >= 1 ||
        rate <= app->max_error_rate || (s->done < ENOUGH && !last))
        return false;
    snprintf(why, sizeof(why),
             "%llu of %llu requests to the new version failed (max_error_rate %g)",
             (unsigned long long)s->bad, (unsigned long long)s->done,
             app->max_error_rate);
    serve__update_back(a, why);
    return true;
}

static void on_configured(void *ctx, const char *wrong)
{
    struct serve_application *a = ctx;
    struct serve__update *u = &a->update;
    if (u->phase != SERVE__CONFIGURING)
        return;
    u->configuring--;
    if (wrong != NULL)
        snprintf(u->wrong, sizeof(u->wrong), "user_config: %s", wrong);
    a->pool->wake(a->pool, 0);
}

static void adjust_row(struct serve_application *a, struct serve__fleet_row *row)
{
    struct serve__edition *to = a->update.to;
    const struct serve_deployment *d = deployment_of(to, row->fleet);
    if (row->fleet == NULL || row->begun || d == NULL)
        return;
    row->adjusted = true;
    a->update.configuring++;
    serve_fleet_adjust(row->fleet, to->generation, d, on_configured, a);
}

static void weigh_row(struct serve_application *a, struct serve__fleet_row *row)
{
    if (row->begun)
        serve_fleet_weight(row->fleet, app_of(a->update.to)->canary);
}

static void roll_row(struct serve_application *a, struct serve__fleet_row *row)
{
    (void)a;
    if (row->begun)
        serve_fleet_roll(row->fleet);
}

static bool any_begun(const struct serve_application *a)
{
    for (size_t i = 0; i < rwf_map_count(a->fleets); i++)
        if (((const struct serve__fleet_row *)rwf_map_value_at(a->fleets, i))->begun)
            return true;
    return false;
}

static void starting(struct serve_application *a, const struct sum *s)
{
    struct serve__update *u = &a->update;
    bool ready = u->from == NULL || app_of(u->to)->canary > 0
                     ? s->healthy + s->absent >= s->wanted
                     : s->starved == 0;
    if (!ready)
        return;
    go_on(a, SERVE__CONFIGURING);
    if (u->from != NULL)
        each_row(a, adjust_row);
}

static void configuring(struct serve_application *a, const struct sum *s)
{
    struct serve__update *u = &a->update;
    double canary = app_of(u->to)->canary;
    if (u->configuring > 0)
        return;
    if (u->wrong[0] != '\0') {
        char why[sizeof(u->wrong)];
        snprintf(why, sizeof(why), "%s", u->wrong);
        serve__update_back(a, why);
        return;
    }
    swap_to(a, u->to);
    u->swapped = true;
    if (u->from == NULL) {
        char without[1000];
        if (s->absent > 0)
            name_cause(without, sizeof(without), s->waits, s->waits_why);
        finish(a, s->absent > 0 ? without : NULL);
        return;
    }
    if (canary > 0 && any_begun(a)) {
        each_row(a, weigh_row);
        emit_update(a, "moved", canary, NULL);
        go_on(a, SERVE__HOLDING);
        a->pool->wake(a->pool, u->since + app_of(u->to)->canary_hold);
    } else {
        go_on(a, SERVE__ROLLING);
        each_row(a, roll_row);
    }
}

static void holding(struct serve_application *a, const struct sum *s)
{
    struct serve__update *u = &a->update;
    bool last = serve_now(a->pool) - u->since >= app_of(u->to)->canary_hold;
    if (too_many_errors(a, s, last) || !last)
        return;
    go_on(a, SERVE__ROLLING);
    each_row(a, roll_row);
}

static void rolling(struct serve_application *a, const struct sum *s)
{
    bool last = s->healthy >= s->wanted;
    if (!too_many_errors(a, s, false) && last)
        finish(a, NULL);
}

void serve__update_tick(struct serve_application *a)
{
    static void (*const turn[])(struct serve_application *, const struct sum *) = {
        [SERVE__STARTING_UP] = starting,
        [SERVE__CONFIGURING] = configuring,
        [SERVE__HOLDING] = holding,
        [SERVE__ROLLING] = rolling};
    char why[1000];
    if (a->update.to == NULL)
        return;
    struct sum s = sum_up(a);
    tell(a, &s);
    if (s.failed == NULL) {
        turn[a->update.phase](a, &s);
        return;
    }
    name_cause(why, sizeof(why), s.failed, s.why);
    serve__update_back(a, why);
}
