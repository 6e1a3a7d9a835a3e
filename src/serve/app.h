/* SPDX-License-Identifier: Apache-2.0
 *
 * An application while it runs: from a request of the front, over the graph and its
 * deployments, to the reply; and from one version of it to the next.
 *
 *   edition   an application as it was deployed once, with the deployments that it calls;
 *             requests end in the one in which they began
 *   update    STARTING -> CONFIGURING -> HOLDING (canary) -> ROLLING -> done, from each of
 *             which it may be rolled back (update.c)
 */
#ifndef RWF_SERVE_APP_H
#define RWF_SERVE_APP_H
#include <jansson.h>
#include "http/server.h"
#include "serve/deployment.h"

struct serve_application;

struct serve_deploy {
    void (*progress)(void *ctx, double share, const char *text); /* may be NULL */
    /* Once, never before deploy has returned; err NULL: it is up. */
    void (*done)(void *ctx, const struct rwf_err *err);
    void *ctx;
};

struct serve_application *serve_application_create(struct serve_pool *p,
                                                   const char *name);
/* The first or another version; app is taken. One that goes on is rolled back before.
 */
void serve_application_deploy(struct serve_application *a, struct serve_app *app,
                              const struct serve_deploy *how);
/* Nobody waits for it any more: it goes on, unheard. */
void serve_application_unhear(struct serve_application *a, void *ctx);
/* No more requests come; those that are there may take `timeout`. gone: a is freed. */
void serve_application_remove(struct serve_application *a, int64_t timeout,
                              void (*gone)(void *ctx, struct serve_application *a),
                              void *ctx);

/* A request of the front; rest: its path beneath the prefix. */
void serve_application_request(struct serve_application *a, struct http_request *r,
                               const char *rest);
/* The client of a request that was given here left. */
void serve_application_gone(struct http_request *r);
/* Every 100 ms, and when the pool's wake says so. a may be freed by it (removed). */
void serve_application_tick(struct serve_application *a);

/* Deployment NULL: the only one. RWF_E_NORUN: there is none of that name, RWF_E_USAGE.
 */
int serve_application_scale(struct serve_application *a, const char *deployment,
                            int replicas, struct rwf_err *err);
const char *serve_application_name(const struct serve_application *a);
/* What is deployed, or is being deployed for the first time; NULL: nothing. */
const struct serve_app *serve_application_spec(const struct serve_application *a);
bool serve_application_is_up(
    const struct serve_application *a); /* some version answers */
/* Replicas are there for all deployments that want some. */
bool serve_application_is_healthy(const struct serve_application *a);
size_t serve_application_ongoing(const struct serve_application *a);
/* For status. */
json_t *serve_application_json(const struct serve_application *a);
/* A row for the application (deployment NULL), and one for each deployment. */
void serve_application_rows(const struct serve_application *a,
                            void (*each)(void *ctx,
                                         const struct serve_metrics_row *row),
                            void *ctx);

#endif
