/* SPDX-License-Identifier: Apache-2.0
 *
 * A deployment while it runs: its queue, and its replicas in one set per version.
 *
 *   job      queued -> at a replica -> answered (-> pieces -> end) | failed
 *   replica  STARTING -> HEALTHY -> DRAINING -> STOPPING -> gone, and from each of them to
 *            its death, see deployment_replicas.c
 *   set      the replicas of one version: the current one, and the next while it is updated
 *
 * Every job that was submitted and not cancelled ends exactly once: by an answer without
 * `more`, by end, or by failed. It goes to another replica after a loss only when it cannot
 * have run, or the deployment says that it is idempotent, and never once its answer has begun.
 * All on one thread; time comes from the pool.
 */
#ifndef RWF_SERVE_DEPLOYMENT_H
#define RWF_SERVE_DEPLOYMENT_H
#include <jansson.h>
#include <stdbool.h>
#include <sys/queue.h>
#include "serve/metrics.h"
#include "serve/pool.h"
#include "serve/queue.h"

struct serve_fleet;
struct serve__member;
struct serve__sent;

enum serve_job_state {
    SERVE_JOB_IDLE, /* not submitted, or ended */
    SERVE_JOB_QUEUED,
    SERVE_JOB_SENT,
    SERVE_JOB_STREAMING,
};

struct serve_job {
    struct serve_item item; /* the caller's, but for its callbacks */
    struct serve_waiting
        wait;            /* priority, and the deadline (0: none) are the caller's */
    const char *session; /* value of the affinity header, or NULL */
    void (*answer)(struct serve_job *j, const struct serve_answer *a);
    void (*piece)(struct serve_job *j, const void *data, size_t size);
    /* cut: NULL, or why what came is not all of it ("replica ID: it died"). */
    void (*end)(struct serve_job *j, const char *cut);
    /* retry_after: seconds, 0: no use in it. */
    void (*failed)(struct serve_job *j, int status, const char *why, int retry_after);
    void *ctx;
    /* The deployment's own. */
    enum serve_job_state state;
    struct serve_fleet *fleet;
    struct serve__member *at;
    struct serve__sent *sent; /* the batch it went with */
    int tries;
    int64_t sent_at;
    double draw; /* which version it is for */
    TAILQ_ENTRY(serve_job) link;
};
TAILQ_HEAD(serve_jobs, serve_job);

struct serve_fleet *serve_fleet_create(struct serve_pool *p, const char *app,
                                       const char *name);
/* Ends all: jobs fail with 503, replicas are stopped at once. gone is called when the
 * last one has stopped (it may be before this returns). */
void serve_fleet_destroy(struct serve_fleet *f, void (*gone)(void *ctx), void *ctx);

/* --- requests --- */

/* failed may be called before it returns. */
void serve_fleet_submit(struct serve_fleet *f, struct serve_job *j);
/* Nobody wants the answer any more: it ends without a word. */
void serve_fleet_cancel(struct serve_fleet *f, struct serve_job *j);
/* The client of a streaming job is slow, or quick again. */
void serve_fleet_pause(struct serve_fleet *f, struct serve_job *j, bool paused);

/* --- time --- */

/* Deadlines, health, restarts, scaling. Call every 100 ms, and when the pool's wake
 * says so. */
void serve_fleet_tick(struct serve_fleet *f);

/* --- versions --- */

/* Begins to start replicas of another version (or the first one): `first` of them, -1:
 * all that there should be. */
void serve_fleet_begin(struct serve_fleet *f, struct serve_generation *g,
                       const struct serve_deployment *d, int first);
/* The same version with other counts, limits and times: takes effect at once.
 * user_config is configured in all replicas; done(ctx, NULL or what is wrong) is called
 * once. */
void serve_fleet_adjust(struct serve_fleet *f, struct serve_generation *g,
                        const struct serve_deployment *d,
                        void (*done)(void *ctx, const char *wrong), void *ctx);
bool serve_fleet_configuring(const struct serve_fleet *f);

struct serve_progress {
    int wanted, healthy, starting; /* of the next version */
    bool failed;                   /* it does not come up: why */
    bool waits;                    /* for a server that is not ours: why */
    bool absent;                   /* longer than it may take to come up */
    const char *why;
    uint64_t done, bad; /* requests that it answered, and failed */
};
void serve_fleet_progress(const struct serve_fleet *f, struct serve_progress *ret);
bool serve_fleet_updating(const struct serve_fleet *f);
/* The share of the requests that go to the next version, when it has a healthy replica.
 */
void serve_fleet_weight(struct serve_fleet *f, double share);
/* Rolling: as many replicas of the next version as there should be, and for each that
 * is healthy one less of the current one, with its share of the requests. */
void serve_fleet_roll(struct serve_fleet *f);
void serve_fleet_commit(struct serve_fleet *f); /* the next is the current one */
void serve_fleet_abort(struct serve_fleet *f);  /* there is no next one */

/* --- by hand, and to see --- */

/* So many replicas from now on. With autoscaling: within its limits, and it goes on. */
void serve_fleet_scale(struct serve_fleet *f, int replicas, const char *reason);
const char *serve_fleet_name(const struct serve_fleet *f);
const struct serve_deployment *
serve_fleet_spec(const struct serve_fleet *f);           /* current */
size_t serve_fleet_ongoing(const struct serve_fleet *f); /* queued and at replicas */
void serve_fleet_row(const struct serve_fleet *f, struct serve_metrics_row *ret);
json_t *serve_fleet_json(const struct serve_fleet *f); /* for status */

#endif
