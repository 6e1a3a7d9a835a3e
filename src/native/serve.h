/* SPDX-License-Identifier: Apache-2.0
 *
 * A worker: its plugin, its actor, its clients, and the loop over their rings. Shared
 * by worker.c (its life, who comes and goes) and serve.c (the calls).
 */
#ifndef RWF_NATIVE_SERVE_H
#define RWF_NATIVE_SERVE_H
#include <pthread.h>
#include "native/call.h"
#include "native/internal.h"
#include "native/plugin.h"

struct native__worker {
    struct native__client *client;
    struct store *store;
    struct native_plugin *plugin;
    bool actor;                       /* it is one's */
    const struct raywf_class *class_; /* of it; NULL: none, or of plain functions */
    void *state;
    bool began; /* a plugin was named, and loaded or not */
    int code;   /* not 0: no call can run, and text says why */
    char text[1024];

    struct native__peer **peers;
    size_t peer_count, peer_cap, turn;
    struct raywf_call call;
    struct native__gate gate;
    int64_t now;               /* when the last call ended, or the loop woke up */
    int64_t flushed;           /* when all was published */
    bool dirty;                /* something is not published */
    uint64_t calls, max_calls; /* 0: no limit */
    bool retiring;             /* ends when there is nothing to do */
    bool ending;               /* ends now */

    /* From the reader of the control socket. */
    pthread_mutex_t lock;
    struct wire_message *inbox;
    size_t inbox_count, inbox_cap;
    _Atomic bool mail;
};

/* Runs what the client has sent, for a while. True: there was something. */
bool native__serve(struct native__worker *w, struct native__peer *p);
void native__serve_flush(struct native__worker *w);
/* The call that runs waits: its client takes back what it sent behind it. */
void native__serve_stall(struct native__worker *w);
/* Sets up the call; before the first. */
void native__serve_init(struct native__worker *w);
void native__serve_free(struct native__worker *w);
/* The constructor; args: a NATIVE_CALL. -1: w->code, text. */
int native__serve_construct(struct native__worker *w, const void *args, size_t size);
/* worker.c: takes in who came and went. */
void native__worker_mail(struct native__worker *w);

#endif
