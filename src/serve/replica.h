/* SPDX-License-Identifier: Apache-2.0
 *
 * A replica: something that answers requests, and the table of what there is. It belongs to one
 * deployment, which decides when it gets work; all on the loop's thread.
 *
 *   start -> ready(0) -> send … -> stop -> stopped      (nothing is told before start returns)
 *                    \-> died (any time) -> stopped
 */
#ifndef RWF_SERVE_REPLICA_H
#define RWF_SERVE_REPLICA_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "serve/spec.h"

struct serve_replica;
struct serve_item;
struct serve_pool; /* what all replicas of a server share: loop, native client, folder */

/* What comes of an item; head and piece only where the kind streams (programs, URLs). */
struct serve_answer {
    int status;
    const char *content_type;
    const void *data; /* valid during the call */
    size_t size;
    bool more; /* pieces follow */
    bool head; /* the answer to a HEAD: length is what its body would have; -1: not known */
    int64_t length;
    const char *const *names, *const *values; /* further headers; NULL-terminated or NULL */
};

/* One request to one deployment. */
struct serve_item {
    const char *method, *path, *query; /* path beneath the prefix */
    const void *body;
    size_t size;
    const char *trace; /* the request's id */
    const char *host;  /* as the client called us; NULL: it did not say */
    const char *const *names, *const *values; /* headers to pass on; NULL-terminated */
    /* All on the loop's thread, after send has returned. */
    void (*answer)(void *ctx, const struct serve_answer *a);
    void (*piece)(void *ctx, const void *data, size_t size);
    void (*end)(void *ctx); /* after an answer with more */
    /* No answer will come (any more): its replica died or refused; ran: it may have been worked
     * on. */
    void (*lost)(void *ctx, bool ran, const char *why);
    void *ctx;
    void *own; /* the replica's */
};

struct serve_replica_events {
    void (*ready)(void *ctx, struct serve_replica *r);
    /* Before ready, any number of times: what it is of is not ours to start and is not well
     * yet; it goes on looking. */
    void (*waits)(void *ctx, struct serve_replica *r, const char *why);
    /* why: with the last lines of its log where it has one. It gets no work any more and is to be
     * stopped. Items that it had are told lost first. */
    void (*died)(void *ctx, struct serve_replica *r, const char *why);
    void (*stopped)(void *ctx, struct serve_replica *r); /* it is freed after this */
    void *ctx;
};

/* A kind of replica. */
struct serve_replica_ops {
    const char *name;
    struct serve_replica *(*start)(struct serve_pool *p, const struct serve_deployment *d,
                                   const char *id, const struct serve_replica_events *e,
                                   struct rwf_err *err);
    /* A batch of 1 to max_batch_size items; they stay valid until answered, lost or dropped. */
    void (*send)(struct serve_replica *r, struct serve_item *const *items, int count);
    /* The answer is no longer wanted. */
    void (*drop)(struct serve_replica *r, struct serve_item *item);
    /* A new user_config without a restart. done(ctx, NULL or what is wrong). */
    void (*configure)(struct serve_replica *r, const json_t *user_config,
                      void (*done)(void *ctx, const char *wrong), void *ctx);
    /* Checks its health; done(ctx, NULL or what is wrong), once. */
    void (*check)(struct serve_replica *r, int64_t timeout,
                  void (*done)(void *ctx, const char *wrong), void *ctx);
    /* Ends it: kindly, by force after grace ns. Items that it still has are told lost, and a
     * check or configure that is out is told, before stopped. */
    void (*stop)(struct serve_replica *r, int64_t grace);
    /* The pieces of an answer come faster than the client takes them, or no longer do. NULL: the
     * kind answers whole. */
    void (*pause)(struct serve_replica *r, struct serve_item *item, bool paused);
};

extern const struct serve_replica_ops serve_replica_native, /* also models: a built-in class */
    serve_replica_program, /* its actor starts it; requests go straight to its socket */
    serve_replica_url;

#endif
