/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "far/span.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "far/data.h"
#include "far/inside.h"
#include "far/span_impl.h"

/* --- finding --- */

static uint64_t key_of(uint64_t session, uint64_t channel)
{
    uint64_t key = (channel ^ session) * UINT64_C(0x9e3779b97f4a7c15) ^ session;
    return key ? key : 1;
}

struct far__span *span__find(struct far__spans *set, enum far__span_side side,
                             uint64_t session, uint64_t channel)
{
    struct far__span *s = rwf_ids_get(&set->keys[side], key_of(session, channel));
    return s && s->channel == channel && s->road->session == session ? s : NULL;
}

/* --- what the loop's thread is told --- */

static void tell(void *ctx)
{
    struct span__event *e = ctx;
    struct far__spans *set = e->set;
    struct far__span *s = e->span;
    Wire__Death *death = NULL;
    void *owner = NULL;
    if (e->death)
        death = wire__death__unpack(NULL, e->size, e->death);
    pthread_mutex_lock(&set->lock);
    if (s && !s->closed)
        owner = s->owner;
    if (s)
        span__unref(s);
    pthread_mutex_unlock(&set->lock);
    if (owner)
        set->handler.over(set->handler.ctx, owner, death);
    else if (!s)
        set->handler.lost(set->handler.ctx, e->session);
    node__free(death);
    free(e->death);
    free(e);
}

void span__over(struct far__span *s, const void *death, size_t size)
{
    struct span__event *e = rwf_xcalloc(1, sizeof(*e));
    e->set = s->set;
    e->span = s;
    s->refs++;
    if (death) {
        e->death = rwf_xmalloc(size + 1);
        memcpy(e->death, death, size);
        e->size = size;
    }
    far__data_post(s->set->node, tell, e);
}

void span__lost(struct far__spans *set, uint64_t session)
{
    struct span__event *e = rwf_xcalloc(1, sizeof(*e));
    e->set = set;
    e->session = session;
    far__data_post(set->node, tell, e);
}

void span__break(struct far__span *s, const char *why)
{
    if (s->broken)
        return;
    s->broken = true;
    rwf_log(RWF_LOG_ERROR, "node", "a bridge is closed: %s channel=%llu", why,
            (unsigned long long)s->channel);
    span__over(s, NULL, 0);
}

/* --- roads --- */

static struct span__road *road_to(struct far__spans *set, uint64_t session)
{
    struct span__road *r;
    LIST_FOREACH(r, &set->roads, all)
    if (r->session == session)
        return r;
    r = rwf_xcalloc(1, sizeof(*r));
    r->session = session;
    r->conn = peer_conn_to(set->plane, session);
    LIST_INSERT_HEAD(&set->roads, r, all);
    return r;
}

static void road_leave(struct span__road *r)
{
    if (--r->spans > 0)
        return;
    if (!r->dead)
        LIST_REMOVE(r, all);
    peer_conn_release(r->conn);
    free(r);
}

/* --- life of one --- */

void span__unref(struct far__span *s)
{
    if (--s->refs == 0)
        free(s);
}

static int start_thread(struct far__spans *set, struct rwf_err *err)
{
    if (set->runs)
        return 0;
    int rc = pthread_create(&set->thread, NULL, span__main, set);
    if (rc)
        return rwf_fail(err, rc, "cannot start a thread: %s", strerror(rc));
    set->runs = true;
    return 0;
}

struct far__span *far__span_open(struct far__spans *set, enum far__span_side side,
                                 uint64_t session, uint64_t channel, int fd, int slot,
                                 void *owner, struct rwf_err *err)
{
    struct store_bell *bell = store_slot_bell(set->store, slot);
    struct store_ring *ring = store_ring_open(
        fd, side == SPAN_OF_CLIENT ? STORE_WORKER : STORE_CLIENT, bell, err);
    struct far__span *s = NULL;
    uint64_t key = key_of(session, channel);
    if (!ring)
        return NULL;
    pthread_mutex_lock(&set->lock);
    if (set->stopping || rwf_ids_get(&set->keys[side], key)) {
        rwf_fail(err, EEXIST, "a bridge of this number is there already");
    } else if (start_thread(set, err) == 0) {
        s = rwf_xcalloc(1, sizeof(*s));
        *s = (struct far__span){.set = set,
                                .road = road_to(set, session),
                                .side = side,
                                .channel = channel,
                                .key = key,
                                .slot = slot,
                                .owner = owner,
                                .ring = ring,
                                .bell = bell,
                                .refs = 1};
        s->road->spans++;
        TAILQ_INIT(&s->parcels);
        LIST_INSERT_HEAD(&set->all, s, all);
        rwf_ids_add(&set->keys[side], key, s);
    }
    pthread_mutex_unlock(&set->lock);
    if (!s)
        store_ring_close(ring);
    return s;
}

void span__finish(struct far__span *s)
{
    if (s->closed)
        return;
    s->closed = true;
    LIST_REMOVE(s, all);
    rwf_ids_remove(&s->set->keys[s->side], s->key);
    if (s->side == SPAN_OF_CLIENT && s->last_task && !s->death)
        atomic_store(store_ring_word(s->ring, STORE_WORD_TASK), s->last_task);
    atomic_store(store_ring_word(s->ring, STORE_WORD_CLOSED), 1);
    span__parcels_drop(s);
    span__held_drop(s, NULL, true);
    store_ring_close(s->ring);
    road_leave(s->road);
    free(s->death);
    span__unref(s);
}

void far__span_close(struct far__span *s)
{
    struct far__spans *set = s->set;
    pthread_mutex_lock(&set->lock);
    span__finish(s);
    pthread_mutex_unlock(&set->lock);
}

void far__span_died(struct far__span *s, const Wire__Death *death)
{
    struct far__spans *set = s->set;
    uint64_t task = atomic_load(store_ring_word(s->ring, STORE_WORD_TASK));
    size_t size = wire__death__get_packed_size(death);
    pthread_mutex_lock(&set->lock);
    s->owner = NULL;
    s->death_size = sizeof(task) + size;
    s->death = rwf_xmalloc(s->death_size);
    memcpy(s->death, &task, sizeof(task));
    wire__death__pack(death, s->death + sizeof(task));
    pthread_mutex_unlock(&set->lock);
    store_bell_ring(set->bell);
}

/* --- life of all --- */

/* Nothing more goes over it; spans that open now go another way. */
static void road_died(struct far__spans *set, struct span__road *r)
{
    struct far__span *s;
    r->dead = true;
    r->dirty = false; /* nobody flushes it any more, nor waits for that */
    LIST_REMOVE(r, all);
    LIST_FOREACH(s, &set->all, all)
    if (s->road == r)
        s->broken = true;
}

static void on_closed(void *ctx, struct peer_conn *c, const struct rwf_err *err)
{
    struct far__spans *set = ctx;
    struct span__road *r, *next;
    uint64_t session = peer_conn_session(c);
    (void)err;
    pthread_mutex_lock(&set->lock);
    for (r = LIST_FIRST(&set->roads); r; r = next) {
        next = LIST_NEXT(r, all);
        if (r->session == session)
            road_died(set, r);
    }
    pthread_mutex_unlock(&set->lock);
    span__lost(set, session);
    store_bell_ring(set->bell);
}

static void on_drained(void *ctx, struct peer_conn *c)
{
    struct far__spans *set = ctx;
    struct span__road *r;
    pthread_mutex_lock(&set->lock);
    LIST_FOREACH(r, &set->roads, all)
    if (r->conn == c)
        r->full = false;
    pthread_mutex_unlock(&set->lock);
    store_bell_ring(set->bell);
}

struct far__spans *far__spans_create(struct node *n, struct peer *plane,
                                     const struct far__span_handler *h)
{
    struct far__spans *set = rwf_xcalloc(1, sizeof(*set));
    set->node = n;
    set->plane = plane;
    set->store = peer_store(plane);
    set->eyes = n->store;
    set->bell = store_slot_bell(set->store, peer_slot(plane));
    set->handler = *h;
    set->tick = INT64_MAX;
    set->stage = rwf_xmalloc(SPAN__STAGE + STORE_FRAME_MAX + 64);
    LIST_INIT(&set->all);
    LIST_INIT(&set->roads);
    pthread_mutex_init(&set->lock, NULL);
    peer_handle(plane,
                &(struct peer_handler){set, span__on_record, on_drained, on_closed});
    return set;
}

void far__spans_stop(struct far__spans *set)
{
    if (!set)
        return;
    pthread_mutex_lock(&set->lock);
    set->stopping = true;
    bool runs = set->runs;
    pthread_mutex_unlock(&set->lock);
    store_bell_ring(set->bell);
    if (runs)
        pthread_join(set->thread, NULL);
    pthread_mutex_lock(&set->lock);
    while (!LIST_EMPTY(&set->all))
        span__finish(LIST_FIRST(&set->all));
    pthread_mutex_unlock(&set->lock);
}

void far__spans_destroy(struct far__spans *set)
{
    if (!set)
        return;
    for (int i = 0; i < 2; i++)
        rwf_ids_free(&set->keys[i]);
    pthread_mutex_destroy(&set->lock);
    free(set->stage);
    free(set);
}
