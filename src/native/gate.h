/* SPDX-License-Identifier: Apache-2.0
 *
 * Results are published in batches; so that none waits for the end of a long call, a
 * helper publishes them when the worker's thread is away in a function for too long.
 *
 * The rings to clients belong to the thread that runs the calls, except while it is
 * away: between native__gate_leave and native__gate_return the helper may flush them.
 * Cost for a call with nothing to publish: none; else two locked instructions.
 */
#ifndef RWF_NATIVE_GATE_H
#define RWF_NATIVE_GATE_H
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

struct native__gate {
    _Atomic int state;      /* enum in gate.c */
    _Atomic uint32_t turn;  /* counts departures */
    _Atomic uint32_t armed; /* the helper watches; futex */
    _Atomic int ending;
    void (*flush)(void *ctx);
    void *ctx;
    pthread_t thread;
};

/* flush is called by the helper. */
void native__gate_start(struct native__gate *g, void (*flush)(void *ctx), void *ctx);
void native__gate_stop(struct native__gate *g);
/* The thread goes away, and leaves something to publish. */
void native__gate_leave(struct native__gate *g);
/* It is back, and the rings are its own again. */
void native__gate_return(struct native__gate *g);

#endif
