/* SPDX-License-Identifier: Apache-2.0 */
#ifndef RWF_SERVE_DEPLOYMENT_INSIDE_H
#define RWF_SERVE_DEPLOYMENT_INSIDE_H
#include "serve/autoscale.h"
#include "serve/balance.h"
#include "serve/batch.h"
#include "serve/deployment.h"

enum serve__state {
    SERVE__STARTING,
    SERVE__HEALTHY,
    SERVE__UNHEALTHY, /* missed too many checks, or said that it died: is being ended */
    SERVE__DRAINING,  /* gets nothing new, finishes what it has */
    SERVE__STOPPING,
    SERVE__DEAD,
};
#define SERVE__STATES (SERVE__DEAD + 1)

enum serve__event {
    SERVE__READY,
    SERVE__DIED,
    SERVE__MISSED, /* the last of the misses that it may have */
    SERVE__LEAVE,  /* is no longer wanted */
    SERVE__EMPTY,  /* has no jobs any more, or no time left for them */
    SERVE__STOPPED,
};
#define SERVE__EVENTS (SERVE__STOPPED + 1)

/* A replica and its place. */
struct serve__member {
    struct serve_load load; /* first: balance gives it back */
    struct serve__set *set;
    struct serve_generation *generation; /* that it was started with */
    const struct serve_deployment *d;
    const struct serve_replica_ops *ops;
    struct serve_replica *r; /* NULL: not started, or gone */
    char id[96];
    enum serve__state state;
    int64_t since;   /* of its state */
    int64_t checked; /* last sign of life */
    int64_t rests;   /* until then it gets nothing: it refused something */
    int misses;
    bool checking, configuring, balanced;
    bool waits; /* it said that what it is of is not well yet */
    int batches; /* at it now */
    struct serve_jobs jobs;
    TAILQ_ENTRY(serve__member) link;
};
TAILQ_HEAD(serve__members, serve__member);

/* A batch that is out. */
struct serve__sent {
    int count, left;
    int64_t since;
    struct serve__sent *next; /* of the spare ones */
};

struct serve__set {
    struct serve_fleet *fleet;
    struct serve_generation *generation;
    const struct serve_deployment *d;
    struct serve_balance *balance;
    struct serve__members members;
    int wanted;
    int counts[SERVE__STATES];
    int fails;          /* deaths in a row, without a while of health between */
    int bad_starts;     /* in a row, of those that were never healthy */
    bool waits;         /* for a server that is not ours: why */
    bool absent;        /* and for so long that requests are not held any more */
    int64_t next_start; /* not before */
    char why[900];      /* of the last death, or what it waits for */
    uint64_t done, bad;
    TAILQ_ENTRY(serve__set) link;
};
TAILQ_HEAD(serve__sets, serve__set);

struct serve_fleet {
    struct serve_pool *pool;
    char *app, *name;
    struct serve_queue *queue;
    struct serve_batch batch;
    struct serve_scaler scaler;
    struct serve__set *current, *next; /* NULL: none */
    struct serve__sets old;            /* drain */
    double share;                      /* of the next */
    bool rolling;
    bool dispatching, again;
    bool ending;
    int wanted;  /* replicas, of whichever version */
    int number;  /* of the last replica */
    size_t sent; /* jobs at replicas */
    struct serve_metrics metrics;
    struct serve__sent *spare;
    struct serve_item **items; /* of a batch */
    int item_cap;
    void (*gone)(void *ctx);
    void *gone_ctx;
    void (*configured)(void *ctx, const char *wrong);
    void *configured_ctx;
    int configuring; /* replicas that are asked */
    char config_wrong[512];
};

/* --- sets and replicas (deployment_replicas.c) --- */

struct serve__set *serve__set_create(struct serve_fleet *f, struct serve_generation *g,
                                     const struct serve_deployment *d);
/* Starts, and lets go, until there is what is wanted. */
void serve__set_reconcile(struct serve__set *s);
/* From now on nobody is wanted; it frees itself when all are gone. */
void serve__set_retire(struct serve__set *s);
void serve__set_free(struct serve__set *s); /* without members */
/* So many start or are healthy. */
int serve__set_alive(const struct serve__set *s);
/* Nobody is healthy, or will be soon. */
bool serve__set_hopeless(const struct serve__set *s);
void serve__member_event(struct serve__member *m, enum serve__event e);
void serve__set_tick(struct serve__set *s);
/* It may get another batch, or not. */
void serve__member_balance(struct serve__member *m);
const char *serve__state_name(enum serve__state s);
/* {"event": name, "app", "deployment"}: to be filled and given to the pool. */
json_t *serve__event_json(const struct serve_fleet *f, const char *name);
void serve__emit(const struct serve_fleet *f, json_t *event);

/* --- jobs (deployment_jobs.c) --- */

void serve__dispatch(struct serve_fleet *f);
/* The deadlines of jobs, queued or not. */
void serve__jobs_tick(struct serve_fleet *f);
/* All that are queued fail. */
void serve__jobs_fail(struct serve_fleet *f, int status, const char *why,
                      int retry_after);

#endif
