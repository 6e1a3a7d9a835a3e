/* SPDX-License-Identifier: Apache-2.0
 *
 * For tests of the client: a node and workers, played by threads of the test over a
 * real socket, real rings and a real store. What a worker does is said by the name of
 * the function; a worker dies when its thread is told to end without a word.
 */
#ifndef RWF_TESTS_NATIVE_RIG_H
#define RWF_TESTS_NATIVE_RIG_H
#include <pthread.h>
#include <stdatomic.h>
#include "native/msg.h"
#include "native/raywf.h"
#include "store/store.h"
#include "wire/frame.h"

#define RIG_WORKERS 8

struct rig;

struct rig_worker {
    struct rig *rig;
    pthread_t thread;
    bool runs, joined, over;
    bool skips; /* calls, up to NATIVE_RESUME */
    uint64_t lease, number, lane;
    struct store_ring *ring;
    struct store *store; /* as slot */
    int slot;
    atomic_bool stop; /* killed, or given back */
    int cause;        /* enum raywf_cause of its death; 0: given back */
    char text[128];
    char *names[64];
};

struct rig {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t moved; /* any of the counters below */
    int fd, peer_fd;      /* the node's end; the client's, for native_client_open */
    struct wire_reader *reader;
    struct store *store;
    struct rig_worker workers[RIG_WORKERS];
    int most; /* workers granted to a lane */
    bool crash;
    bool hold;          /* grant nothing (yet) */
    const char *refuse; /* text: every want is refused */
    uint64_t lane, client, next_lease;
    int slot;
    uint32_t wanted;
    int started, runs, wants, returns, ends, deaths, cancels, forgets, blocked, tells;
    atomic_int done; /* calls that were answered */
    atomic_int gate; /* "gate" calls wait until it is 1, "gate2" until it is 2 */
    int end_cause;
    Wire__Tell *told;
    const char *path; /* where it listens, for reconnects; NULL: a socketpair */
    int listener;
};

/* Starts the node; the client's end of its socket is r->peer_fd. */
void rig_start(struct rig *r);
/* The same, but it listens on path. */
void rig_listen(struct rig *r, const char *path);
void rig_stop(struct rig *r);
/* Ends the worker that runs lease as if it had been killed; 0: any one. */
void rig_kill(struct rig *r, uint64_t lease, int cause, const char *text);
/* Lets go of hold, and grants what is wanted. */
void rig_grant(struct rig *r);
/* Waits until *counter >= n (all counters of r are told of). */
void rig_wait(struct rig *r, const int *counter, int n);
/* A message from the node. */
void rig_say(struct rig *r, enum wire_type type, const ProtobufCMessage *body);

#endif
