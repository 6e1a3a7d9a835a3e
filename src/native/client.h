/* SPDX-License-Identifier: Apache-2.0
 *
 * What raywf's own programs need of the client besides raywf.h: the engine is a client
 * of the node in its process, a worker is one over its inherited socket.
 */
#ifndef RWF_NATIVE_CLIENT_H
#define RWF_NATIVE_CLIENT_H
#include "native/raywf.h"

/* raywf_init over a connected socket, which is taken. */
int native_client_open(int fd, const struct raywf_options *options,
                       struct raywf_error *err);
/* From now on results are taken in as they come, by a thread, and fn is called by it
 * after each batch (to wake a loop; it must not call into the client). */
void native_client_on_ready(void (*fn)(void *ctx), void *ctx);

/* --- for a loop of one thread that makes many calls and never waits --- */

/* A value that a call returned. */
struct native_result {
    const void *data;
    size_t size;
    int status;               /* of raywf_reply; 0: a plain value */
    const char *content_type; /* of raywf_reply; NULL: it gave none */
};

/* How a call ended; valid while it is told. */
struct native_outcome {
    int code;         /* enum raywf_code; not RAYWF_OK: text says why, and */
    const char *text;
    bool ran;         /* it was run, or may have been */
    const struct native_result *results; /* RAYWF_OK: as many as it returns */
    size_t count;
};

typedef void (*native_call_fn)(void *ctx, const struct native_outcome *o);
struct native_watch;

/* Method "?NAME" asks an actor whether it has a method NAME: it is not called, and when
 * there is none the error says so.
 *
 * raywf_actor_call without refs: fn is called once by native_client_poll. The result
 * lives until then, or native_client_forget. NULL: error, fn is not called.
 */
struct native_watch *native_client_call(struct raywf_actor *actor, const char *method,
                                        const struct raywf_call_options *options,
                                        const struct raywf_arg *args, size_t n,
                                        native_call_fn fn, void *ctx,
                                        struct raywf_error *err);
/* The outcome is no longer wanted: fn is not called any more, and the call is cancelled
 * (raywf_cancel). Not after fn was called. */
void native_client_forget(struct native_watch *w);

/* A value of a stream; valid while it is told. */
typedef void (*native_piece_fn)(void *ctx, const void *data, size_t size);
/* The same, as a stream: piece is told each value that is yielded, in order, then fn how
 * it ended. A call that replied instead of yielding (raywf_reply) has that as its one
 * result. options->returns is not looked at; credit is how far it may run ahead. */
struct native_watch *native_client_stream(struct raywf_actor *actor, const char *method,
                                          const struct raywf_call_options *options,
                                          const struct raywf_arg *args, size_t n,
                                          native_piece_fn piece, native_call_fn fn,
                                          void *ctx, struct raywf_error *err);
/* Nothing more is told of a stream, so that its call waits once it is `credit` values
 * ahead; or it goes on. */
void native_client_hold(struct native_watch *w, bool held);

enum native_actor_event {
    NATIVE_ACTOR_UP,   /* its constructor has returned; again after each restart */
    NATIVE_ACTOR_AWAY, /* it died, and starts again (max_restarts) */
    NATIVE_ACTOR_DEAD, /* for good; text says why. Calls that it had are told before */
};
/* What becomes of an actor is told by native_client_poll, until the handle is released
 * or fn is NULL; its present state first. */
void native_client_watch(struct raywf_actor *actor,
                         void (*fn)(void *ctx, enum native_actor_event e,
                                    const char *text),
                         void *ctx);

/* Sends what was called, takes in what has come, and tells of it, without waiting; how
 * much was told. From now on this thread is the only one that takes results in (no other
 * one is woken for them), until native_client_rest: so call it again soon. */
size_t native_client_poll(void);
/* Before the loop sleeps: on_ready is called when there is something to poll for. false:
 * there is already. */
bool native_client_rest(void);
/* A list of live state from the node and the head (see node.h, head.h), as JSON text
 * for the caller to free. */
char *native_client_list(const char *what, const char *about, struct raywf_error *err);

#endif
