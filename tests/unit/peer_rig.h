/* SPDX-License-Identifier: Apache-2.0
 *
 * Some nodes in one process, each a plane and a store, with connections between them
 * that a test can cut, refuse, or spoil.
 */
#ifndef RWF_TESTS_PEER_RIG_H
#define RWF_TESTS_PEER_RIG_H
#include <pthread.h>
#include <stdatomic.h>
#include "peer/peer.h"

#define RIG_MAX 10

struct rig;

struct rig_node {
    struct rig *rig;
    struct store *store;
    struct peer *peer; /* NULL: it has died */
    uint64_t session;
    char name[16], *folder;
};

struct rig {
    struct rig_node nodes[RIG_MAX];
    int count;
    pthread_mutex_t lock; /* of who is alive, and of fds */
    int *fds;             /* of all connections ever made: dup'ed */
    size_t fd_count, fd_cap;
    /* What connections go through; NULL: a socketpair. Its two ends become those of a
     * connection from `from` to `to`. */
    void (*between)(struct rig *r, int from, int to, int ret_fds[2]);
    void *ctx;
    bool refuse; /* new connections, for now */
    _Atomic int connects;
};

struct rig_options {
    int nodes;
    size_t arena, chunk;
    size_t last_arena; /* of the last node; 0: as the others */
    unsigned fan;
    int64_t patience, spin;
    bool spill;
};

void rig_open(struct rig *r, const struct rig_options *o);
void rig_close(struct rig *r);
/* Node i dies: its connections are cut, the others are told. */
void rig_kill(struct rig *r, int i);
/* All connections there are now. */
void rig_cut(struct rig *r);

/* An object of node i with bytes that depend on seed, held by the node itself. */
store_object rig_object(struct rig *r, int i, size_t size, uint32_t seed);
bool rig_same(struct rig *r, int i, store_object o, size_t size, uint32_t seed);

/* A fetch that can be waited for. */
struct rig_fetch {
    pthread_mutex_t lock;
    pthread_cond_t news;
    bool done;
    store_object local;
    size_t size;
    struct rwf_err err;
};
void rig_fetch(struct rig *r, struct rig_fetch *f, int at, int of, store_object theirs,
               unsigned flags);
/* The object, or 0 and f->err. */
store_object rig_wait(struct rig_fetch *f);
/* Until cond, or for some minutes. */
#define RIG_UNTIL(cond)                                                                \
    do {                                                                               \
        for (int tries_ = 0; !(cond) && tries_ < 200000; tries_++)                     \
            usleep(1000);                                                              \
        ck_assert_msg(cond, "never: %s", #cond);                                       \
    } while (0)

#endif
