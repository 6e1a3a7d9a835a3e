/* SPDX-License-Identifier: Apache-2.0
 *
 * The loop of one of the plane's threads: sockets by epoll, work that other threads
 * post, a tick. It looks for a while before it sleeps when there was something to do
 * just now: being woken costs more than most of what it does.
 */
#ifndef RWF_PEER_LOOP_H
#define RWF_PEER_LOOP_H
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include "base/err.h"

/* Within what owns a socket; events are those of epoll. */
struct peer__source {
    void (*ready)(struct peer__source *s, uint32_t events);
};

struct peer__job {
    STAILQ_ENTRY(peer__job) link;
    void (*fn)(void *ctx);
    void *ctx;
};

/* Who spins in this process: one at a time. */
struct peer__spin {
    int64_t ns; /* 0: never */
    _Atomic int busy;
};

struct peer__loop {
    int epoll, event;
    pthread_t thread;
    bool runs;
    struct peer__spin *spin;
    pthread_mutex_t lock;
    STAILQ_HEAD(, peer__job) jobs; /* lock */
    _Atomic int posted, asleep, stopping;
    int64_t work_at; /* when there was something to do */
    int64_t tick_at; /* monotonic ns; INT64_MAX: no tick */
    void (*tick)(void *ctx, int64_t now);
    void *ctx;
};

/* A thread that no signal goes to; 0 or an errno value. */
int peer__thread_start(pthread_t *ret, const char *name, void *(*fn)(void *ctx),
                       void *ctx);

/* tick may be NULL. */
int peer__loop_start(struct peer__loop *l, const char *name, struct peer__spin *spin,
                     void (*tick)(void *ctx, int64_t now), void *ctx,
                     struct rwf_err *err);
/* Runs what was posted before, then ends the thread. */
void peer__loop_stop(struct peer__loop *l);
/* Frees what is left; after stop. */
void peer__loop_free(struct peer__loop *l);
/* Any thread. */
void peer__loop_post(struct peer__loop *l, void (*fn)(void *ctx), void *ctx);
int peer__loop_add(struct peer__loop *l, int fd, struct peer__source *s);
/* write: tell also when it can be written. */
void peer__loop_want(struct peer__loop *l, int fd, struct peer__source *s, bool write);
void peer__loop_remove(struct peer__loop *l, int fd);
/* The loop's thread: tick no later than then. */
void peer__loop_tick_by(struct peer__loop *l, int64_t when);

bool peer__spin_begin(struct peer__spin *s);
void peer__spin_end(struct peer__spin *s);

#endif
