/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RWF_SERVE_SERVER_INSIDE_H
#define RWF_SERVE_SERVER_INSIDE_H
#include <stdbool.h>
#include <sys/queue.h>
#include "base/str.h"
#include "http/server.h"
#include "serve/app.h"
#include "serve/control.h"
#include "serve/route.h"
#include "serve/server.h"

/* What listens: one per host and port, for all applications there. */
struct serve__front {
    struct serve_server *server;
    struct http_server *http;
    struct serve_routes *routes; /* prefix -> struct serve__slot */
    json_t *spec;                /* "http" of its applications */
    char *host, *access_log;
    int port;
    char **keys, **origins;
    int users;   /* applications */
    bool closed; /* drains; another one may listen there already */
    bool drained;
    TAILQ_ENTRY(serve__front) link;
};
TAILQ_HEAD(serve__fronts, serve__front);

/* Where an application answers. */
struct serve__place {
    struct serve__front *front; /* NULL: nowhere */
    char *prefix;
};

/* The place of an application. */
struct serve__slot {
    struct serve_server *server;
    struct serve_application *app;
    char *name;
    json_t *spec;               /* that is up; NULL: none yet */
    json_t *next;               /* that is being deployed */
    struct serve__place at, to; /* to: of the next */
    bool restored;              /* from state.json: tried until it is up */
    json_t *counts;             /* replicas that it had, by deployment */
    int64_t retry_at;           /* 0: no */
    struct serve_deploy heard;  /* who asked */
    bool removing;
    void (*removed)(void *ctx);
    void *removed_ctx;
    TAILQ_ENTRY(serve__slot) link;
};
TAILQ_HEAD(serve__slots, serve__slot);

enum serve__life { SERVE__RUNS, SERVE__DRAINS, SERVE__ENDS, SERVE__ENDED };

struct serve_server {
    struct serve_server_options o;
    uv_loop_t loop;
    struct serve_pool pool;
    char *sockets;
    bool own_sockets; /* a folder of our own, to be removed */
    struct serve__fronts fronts;
    struct serve__slots slots;
    struct serve_control *control;
    uv_timer_t timer;
    uv_async_t ready;
    uv_signal_t term, interrupt;
    int64_t wake_at;
    size_t calls_before; /* of the last turn */
    struct serve__look {
        unsigned tries;
        int luck;
    } looks[2], *look; /* for a request, for results; NULL: it does not look */
    int64_t look_until;
    int64_t state_at; /* state.json is to be written; 0: no */
    enum serve__life life;
    void (*ended)(void *ctx);
    void *ended_ctx;
};

/* --- fronts (server_front.c) --- */

/* The front of an application's host and port, made if need be, with one more user. */
struct serve__front *serve__front_get(struct serve_server *s,
                                      const struct serve_app *app, struct rwf_err *err);
void serve__front_put(struct serve__front *f);
void serve__front_drain(struct serve__front *f, int64_t timeout);
void serve__front_free(struct serve__front *f);
/* Frees those that are drained. */
void serve__fronts_tick(struct serve_server *s);

/* --- applications (server_apps.c) --- */

int serve__deploy(struct serve_server *s, json_t *spec, const struct serve_deploy *how,
                  struct rwf_err *err);
/* What was up when an earlier server ended: tried until it is. */
int serve__restore(struct serve_server *s, json_t *spec, json_t *counts,
                   struct rwf_err *err);
void serve__unhear(struct serve_server *s, void *ctx);
int serve__remove(struct serve_server *s, const char *name, int64_t timeout,
                  void (*removed)(void *ctx), void *ctx, struct rwf_err *err);
void serve__slot_remove(struct serve__slot *slot, int64_t timeout);
struct serve__slot *serve__slot_find(struct serve_server *s, const char *name);
json_t *serve__status(struct serve_server *s);
void serve__slots_tick(struct serve_server *s);
/* --- state.json (server_state.c) --- */
void serve__state_dirty(struct serve_server *s);
void serve__state_tick(struct serve_server *s);
int serve__state_restore(struct serve_server *s, struct rwf_err *err);

/* Drains: requests may take timeout. ended is called before the loop ends. */
void serve__down(struct serve_server *s, int64_t timeout, void (*ended)(void *ctx),
                 void *ctx);

#endif
