/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine as a client of the native runtime. A thread of its own owns the client,
 * because its calls may wait for the node, and the node lives in the engine's loop: a
 * queue in, a queue out, and the loop is woken by uv_async.
 *
 * All functions are for the loop's thread; handlers are called in it.
 */
#ifndef RWF_RUN_CALLER_H
#define RWF_RUN_CALLER_H
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>
#include "base/err.h"
#include "plan/graph.h"

/* Everything is copied. */
struct caller_spec {
    const char *plugin;
    const char *name;                 /* of the function, the method or the class */
    const char *args;                 /* JSON text */
    const json_t *env;                /* {NAME: value} of the worker, or NULL */
    int64_t timeout;                  /* of the call or the constructor; 0: none */
    const struct plan_policy *policy; /* its resources: the worker's lease takes them */
    int actor;              /* of caller_actor: a method is called; -1: a function */
    const char *actor_name; /* caller_actor only: unique, to be found by */
    int max_restarts;
    int64_t backoff;
};

struct caller_result {
    enum plan_cause cause; /* PLAN_CAUSE_NONE: value */
    const char *text;      /* of a failure */
    const char *value;     /* borrowed, not terminated */
    size_t size;
};

typedef void (*caller_fn)(void *ctx, const struct caller_result *result);

struct caller;
struct caller_call;

/* Takes fd, a socket whose other end the node has. */
struct caller *caller_start(uv_loop_t *loop, int fd, const char *job,
                            struct rwf_err *err);
/* fn is called once, in a later turn of the loop, and the call is gone after it. */
struct caller_call *caller_submit(struct caller *c, const struct caller_spec *spec,
                                  caller_fn fn, void *ctx);
/* The result follows: PLAN_CAUSE_STOPPED unless it was quicker. force: also end the
 * worker that runs it. */
void caller_cancel(struct caller *c, struct caller_call *call, bool force);
/* Makes an actor, whose number is returned at once; what goes wrong with it is told by
 * its calls. */
int caller_actor(struct caller *c, const struct caller_spec *spec);
/* Ends: actors too. done is called when the thread is gone and everything is freed;
 * calls that are not finished have no result. */
void caller_stop(struct caller *c, void (*done)(void *ctx), void *ctx);

#endif
