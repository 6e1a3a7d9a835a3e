/* SPDX-License-Identifier: Apache-2.0
 *
 * The way of one request through an application's graph: a state machine that asks its
 * driver to call deployments and is told what came of it. It knows no clock, no loop
 * and no network.
 *
 *   begin -> call … -> serve_flow_output | serve_flow_failed, each call once -> done
 *   serve_flow_cancel at any time: calls that are out are cancelled, done is not called
 *
 * An answer with a status below 400 is an output. One of 400 and above is a failure,
 * and that of the whole unless a fallback takes it: a fallback goes on to its next
 * branch unless the request itself is to blame (4xx other than 408 and 429). The first
 * failure of a fanout cancels its other branches. Driver functions may tell results
 * from within call. All memory of a flow dies with it. A graph that is one call needs
 * no flow: see serve_graph_only.
 */
#ifndef RWF_SERVE_GRAPH_H
#define RWF_SERVE_GRAPH_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "serve/spec.h"

struct serve_flow;

struct serve_data {
    const void *bytes;
    size_t size;
    const char *type; /* content type; NULL: application/json */
};

/* A call that is out. Valid until output, failed or cancel is over for it. */
struct serve_call {
    int deployment;
    struct serve_data input; /* valid as long as the flow */
    bool first; /* input is the request's own: method, path and headers go with it */
    bool last;  /* its output, as it is, is the application's: see serve_flow_passed */
    void *own;  /* the driver's */
    struct serve_flow *flow;
};

struct serve_flow_driver {
    void (*call)(void *ctx, struct serve_call *c);
    /* Its result is not wanted; c is dead afterwards. */
    void (*cancel)(void *ctx, struct serve_call *c);
    /* A header of the request, or NULL. */
    const char *(*header)(void *ctx, const char *name);
    /* The end, once, the last thing that happens: the flow may be freed in it. status
     * below 400: out is the output; else out is the body of the answer that failed
     * (empty when there was none) and why says what failed, with the deployment's name.
     */
    void (*done)(void *ctx, int status, const struct serve_data *out, const char *why);
};

/* The deployment that is the whole graph, or -1. */
int serve_graph_only(const struct serve_app *a);

/* A flow that has not begun. input is borrowed until it is freed. chance: state for
 * splits without a header, see serve_random. */
struct serve_flow *serve_flow_create(const struct serve_app *a,
                                     const struct serve_flow_driver *driver, void *ctx,
                                     const struct serve_data *input, uint64_t *chance);
/* Starts at the root. done may come before it returns. */
void serve_flow_begin(struct serve_flow *f);
/* The whole output of c, below 400; copied. */
void serve_flow_output(struct serve_call *c, int status, const struct serve_data *out);
/* It failed: its answer was 400 or above (body, copied, or NULL), or none came (502
 * when it was lost, 503 when the queue was full, 504 at the deadline). why: one line,
 * or NULL. */
void serve_flow_failed(struct serve_call *c, int status, const struct serve_data *body,
                       const char *why);
/* c->last, and its answer (below 400) goes to the client piece by piece from now on, by
 * the driver alone: the flow ends without done; free it. */
void serve_flow_passed(struct serve_call *c);
/* The client is gone. */
void serve_flow_cancel(struct serve_flow *f);
/* After done, passed or cancel; also within done, call and cancel. */
void serve_flow_free(struct serve_flow *f);

/* A header's or a seeded chance's branch of a split, the rule of all of them: x in [0,
 * 1). */
int serve_split_pick(const struct serve_node *split, double x);

#endif
