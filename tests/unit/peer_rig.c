/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "peer_rig.h"
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"
#include "peer_rig.h"

static int node_of(struct rig *r, uint64_t session)
{
    for (int i = 0; i < r->count; i++)
        if (r->nodes[i].session == session)
            return i;
    return -1;
}

static void remember(struct rig *r, int fd)
{
    *RWF_PUSH(r->fds, r->fd_count, r->fd_cap) = fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

/* With the lock. */
static void join(struct rig *r, int from, int to, enum peer_class class)
{
    struct rig_node *a = &r->nodes[from], *b = &r->nodes[to];
    int fds[2];

    if (r->between)
        r->between(r, from, to, fds);
    else
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    remember(r, fds[0]);
    remember(r, fds[1]);
    peer_attach(b->peer, a->session, a->name, class, false, fds[1], "", 0);
    peer_attach(a->peer, b->session, b->name, class, true, fds[0], "", 0);
}

static void connect_(void *ctx, uint64_t session, enum peer_class class)
{
    struct rig_node *n = ctx;
    struct rig *r = n->rig;
    int to = node_of(r, session), from = (int)(n - r->nodes);

    atomic_fetch_add(&r->connects, 1);
    pthread_mutex_lock(&r->lock);
    if (n->peer && to >= 0 && r->nodes[to].peer && !r->refuse)
        join(r, from, to, class);
    else if (n->peer)
        peer_unreachable(n->peer, session, class, to < 0 || !r->nodes[to].peer,
                         "nobody is there");
    pthread_mutex_unlock(&r->lock);
}

static void open_node(struct rig *r, int i, const struct rig_options *o)
{
    struct rig_node *n = &r->nodes[i];
    struct rwf_err err = RWF_ERR_INIT;
    char folder[] = "/tmp/check_peer.XXXXXX";
    struct store_options so = {.arena = o->arena, .objects = 256};
    struct peer_options po = {.session = 100 + (uint64_t)i,
                              .connect = connect_,
                              .ctx = n,
                              .chunk = o->chunk,
                              .fan = o->fan,
                              .spin = o->spin,
                              .patience = o->patience};

    if (i == o->nodes - 1 && o->last_arena)
        so.arena = o->last_arena;
    n->rig = r;
    n->session = po.session;
    snprintf(n->name, sizeof(n->name), "n%d", i);
    po.name = n->name;
    if (o->spill) {
        ck_assert_ptr_nonnull(mkdtemp(folder));
        so.spill_dir = n->folder = rwf_xstrdup(folder);
        so.spill_quota = (int64_t)1 << 30;
    }
    n->store = store_create(&so, &err);
    ck_assert_msg(n->store != NULL, "%s", err.text);
    po.store = n->store;
    n->peer = peer_create(&po, &err);
    ck_assert_msg(n->peer != NULL, "%s", err.text);
}

void rig_open(struct rig *r, const struct rig_options *o)
{
    *r = (struct rig){.count = o->nodes};
    pthread_mutex_init(&r->lock, NULL);
    for (int i = 0; i < o->nodes; i++)
        open_node(r, i, o);
}

static struct peer *take(struct rig *r, int i)
{
    struct peer *p;

    pthread_mutex_lock(&r->lock);
    p = r->nodes[i].peer;
    r->nodes[i].peer = NULL;
    pthread_mutex_unlock(&r->lock);
    return p;
}

void rig_kill(struct rig *r, int i)
{
    peer_destroy(take(r, i));
    pthread_mutex_lock(&r->lock);
    for (int k = 0; k < r->count; k++)
        if (r->nodes[k].peer)
            peer_unreachable(r->nodes[k].peer, r->nodes[i].session, PEER_BULK, true,
                             "the node has left");
    pthread_mutex_unlock(&r->lock);
}

void rig_close(struct rig *r)
{
    for (int i = 0; i < r->count; i++)
        peer_destroy(take(r, i));
    for (int i = 0; i < r->count; i++) {
        store_destroy(r->nodes[i].store);
        if (r->nodes[i].folder)
            rmdir(r->nodes[i].folder);
        free(r->nodes[i].folder);
    }
    for (size_t i = 0; i < r->fd_count; i++)
        close(r->fds[i]);
    free(r->fds);
    pthread_mutex_destroy(&r->lock);
}

void rig_cut(struct rig *r)
{
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < r->fd_count; i++) {
        shutdown(r->fds[i], SHUT_RDWR);
        close(r->fds[i]);
    }
    r->fd_count = 0;
    pthread_mutex_unlock(&r->lock);
}

/* --- objects --- */

static uint32_t word_at(uint32_t seed, size_t i)
{
    uint32_t x = seed * 2654435761u + (uint32_t)i * 40503u;

    return x ^ x >> 15;
}

store_object rig_object(struct rig *r, int i, size_t size, uint32_t seed)
{
    struct rwf_err err = RWF_ERR_INIT;
    store_object o;
    unsigned char *data = store_object_create(r->nodes[i].store, size, 0, &o, &err);

    ck_assert_msg(data != NULL, "%s", err.text);
    for (size_t k = 0; k + 4 <= size; k += 4) {
        uint32_t w = word_at(seed, k);
        memcpy(data + k, &w, 4);
    }
    for (size_t k = size & ~(size_t)3; k < size; k++)
        data[k] = (unsigned char)(seed + k);
    ck_assert_int_eq(store_object_seal(r->nodes[i].store, o, &err), 0);
    return o;
}

bool rig_same(struct rig *r, int i, store_object o, size_t size, uint32_t seed)
{
    struct store *s = peer_store(r->nodes[i].peer);
    struct rwf_err err = RWF_ERR_INIT;
    size_t have;
    const unsigned char *data =
        store_object_pin(s, o, rwf_clock_mono() + 300 * RWF_NS_PER_S, &have, &err);
    bool same = data != NULL && have == size;

    for (size_t k = 0; same && k + 4 <= size; k += 4) {
        uint32_t w = word_at(seed, k);
        same = memcmp(data + k, &w, 4) == 0;
    }
    for (size_t k = size & ~(size_t)3; same && k < size; k++)
        same = data[k] == (unsigned char)(seed + k);
    if (data)
        store_object_unpin(s, o);
    return same;
}

/* --- fetches --- */

static void fetched(void *ctx, store_object local, size_t size,
                    const struct rwf_err *err)
{
    struct rig_fetch *f = ctx;

    pthread_mutex_lock(&f->lock);
    f->done = true;
    f->local = local;
    f->size = size;
    if (err)
        f->err = *err;
    pthread_cond_signal(&f->news);
    pthread_mutex_unlock(&f->lock);
}

void rig_fetch(struct rig *r, struct rig_fetch *f, int at, int of, store_object theirs,
               unsigned flags)
{
    *f = (struct rig_fetch){0};
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->news, NULL);
    peer_fetch(r->nodes[at].peer, r->nodes[of].session, theirs, flags, fetched, f);
}

store_object rig_wait(struct rig_fetch *f)
{
    pthread_mutex_lock(&f->lock);
    while (!f->done)
        pthread_cond_wait(&f->news, &f->lock);
    pthread_mutex_unlock(&f->lock);
    return f->local;
}
