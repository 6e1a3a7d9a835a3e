/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RWF_SERVE_APP_INSIDE_H
#define RWF_SERVE_APP_INSIDE_H
#include "base/map.h"
#include "base/str.h"
#include "serve/app.h"
#include "serve/graph.h"
#include "serve/passed.h"

/* What a request runs in. */
struct serve__edition {
    int refs;
    struct serve_application *a;
    struct serve_generation *generation;
    struct serve_fleet **fleets; /* by number of the deployment */
    int only;                    /* the deployment that is all, or -1 */
};

/* A request at one deployment. */
struct serve__task {
    struct serve_job job; /* first */
    struct serve__request *q;
    struct serve_call *call; /* of the flow; NULL: the only one */
    struct rwf_str body;     /* collected */
    int status;
    char *type;
    TAILQ_ENTRY(serve__task) link;
};
TAILQ_HEAD(serve__tasks, serve__task);


struct serve__request {
    struct serve_application *a;
    struct serve__edition *edition;
    struct http_request *r;
    const char *rest;
    struct serve_flow *flow; /* NULL: the graph is one call */
    struct serve__tasks tasks;
    struct serve__headers headers[2]; /* for addresses, for programs */
    int64_t deadline;
    int priority, retry_after;
    struct serve__task *passing; /* its pieces go to the client */
    bool paused;
    bool writing, left; /* left: its client went while we wrote to it */
    TAILQ_ENTRY(serve__request) link;
};
TAILQ_HEAD(serve__requests, serve__request);

struct serve__fleet_row {
    struct serve_fleet *fleet;
    bool begun;    /* by the update that goes on */
    bool created;  /* for it */
    bool adjusted; /* by it */
    bool unused;   /* of no edition any more */
};

enum serve__phase {
    SERVE__IDLE,
    SERVE__STARTING_UP,
    SERVE__CONFIGURING,
    SERVE__HOLDING,
    SERVE__ROLLING,
};

struct serve__update {
    enum serve__phase phase;
    struct serve__edition *to;   /* NULL: none goes on */
    struct serve__edition *from; /* to go back to; NULL: the first one */
    struct serve_deploy how;
    int64_t since, told; /* told: what progress was last */
    int configuring;
    bool swapped;
    char wrong[600]; /* of configure */
};

struct serve_application {
    struct serve_pool *pool;
    char *name;
    struct serve__edition *current; /* NULL: none is up */
    struct rwf_map *fleets;         /* name -> struct serve__fleet_row */
    struct serve__update update;
    struct serve__requests requests;
    size_t ongoing, paused;
    struct serve_metrics metrics; /* of whole requests */
    uint64_t chance;
    char reason[900]; /* why the last deploy failed; "" */
    /* Its end. */
    bool ending, destroying;
    int64_t end_at;
    struct serve_fleet **leaving; /* deployments of no edition any more */
    size_t leaving_count, leaving_cap;
    int fleets_left;
    void (*gone)(void *ctx, struct serve_application *a);
    void *gone_ctx;
};

struct serve__edition *serve__edition_ref(struct serve__edition *e);
void serve__edition_unref(struct serve__edition *e);
/* Fleets of no edition are ended. */
void serve__fleets_sweep(struct serve_application *a);
void serve__requests_tick(struct serve_application *a);
/* All of them get this answer, now. */
void serve__requests_refuse(struct serve_application *a, const char *why);
void serve__update_tick(struct serve_application *a);
void serve__update_back(struct serve_application *a, const char *why);

#endif
