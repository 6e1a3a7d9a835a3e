/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of objects that have to do with other nodes.
 *
 * Only the bulk thread takes an item out of it and frees it; other threads find and
 * change items under the plane's lock, for as long as they have that.
 */
#include "config.h"
#include <stdlib.h>
#include "base/clock.h"
#include "base/ids.h"
#include "base/mem.h"
#include "peer/bulk.h"

#define BUCKETS 4096
#define TICK (100 * RWF_NS_PER_MS)
#define KEEP (10 * RWF_NS_PER_S) /* an object of another node that nobody uses */

struct peer__items {
    LIST_HEAD(, peer__item) buckets[BUCKETS];
    LIST_HEAD(, peer__item) all;
    struct rwf_ids copies; /* what was brought here, by number here */
    struct rwf_ids uses;   /* struct use, by number here */
    unsigned count;
};

static size_t bucket_of(uint64_t session, store_object theirs)
{
    uint64_t h = (session ^ theirs * UINT64_C(0x9e3779b97f4a7c15)) *
                 UINT64_C(0xff51afd7ed558ccd);

    return h >> 52;
}
_Static_assert(BUCKETS == 1 << 12, "as many as bucket_of gives");

struct peer__item *peer__item_find(struct peer *p, uint64_t session,
                                   store_object theirs)
{
    struct peer__item *it;

    LIST_FOREACH(it, &p->items->buckets[bucket_of(session, theirs)], bucket)
    if (it->session == session && it->theirs == theirs)
        return it;
    return NULL;
}

struct peer__item *peer__item_get(struct peer *p, uint64_t session, store_object theirs)
{
    struct peer__item *it;

    pthread_mutex_lock(&p->lock);
    it = peer__item_find(p, session, theirs);
    pthread_mutex_unlock(&p->lock);
    return it;
}

struct peer__item *peer__item_add(struct peer *p, uint64_t session, store_object theirs)
{
    struct peer__item *it = rwf_xcalloc(1, sizeof(*it));

    it->peer = p;
    it->session = session;
    it->theirs = theirs;
    it->used_at = it->idle_since = it->moved_at = rwf_clock_mono();
    STAILQ_INIT(&it->waiters);
    LIST_INSERT_HEAD(&p->items->buckets[bucket_of(session, theirs)], it, bucket);
    LIST_INSERT_HEAD(&p->items->all, it, all);
    p->items->count++;
    if (session == p->options.session) {
        it->local = theirs;
        it->state = PEER__HERE;
    }
    return it;
}

void peer__item_local_set(struct peer__item *it, store_object local)
{
    it->local = local;
    it->held = true;
    rwf_ids_add(&it->peer->items->copies, local, it);
    peer__hold_made(it->peer, local);
}

/* --- holds and pins: an object may be several items', but is held and pinned by the
 * slot once --- */

struct use {
    unsigned holds, pins;
};

static struct use *use_get(struct peer *p, store_object local)
{
    struct use *u = rwf_ids_get(&p->items->uses, local);

    if (!u) {
        u = rwf_xcalloc(1, sizeof(*u));
        rwf_ids_add(&p->items->uses, local, u);
    }
    return u;
}

static void use_put(struct peer *p, store_object local, const struct use *u)
{
    if (u->holds == 0 && u->pins == 0)
        free(rwf_ids_remove(&p->items->uses, local));
}

void peer__hold_made(struct peer *p, store_object local)
{
    use_get(p, local)->holds++;
}

int peer__hold(struct peer *p, store_object local)
{
    struct use *u = use_get(p, local);
    int rc = 0;

    /* Always: a client may have handed it, and its bit been taken away before. */
    if (u->holds == 0)
        rc = store_object_hold(p->view, local);
    if (rc == 0)
        u->holds++;
    use_put(p, local, u);
    return rc;
}

void peer__drop(struct peer *p, store_object local)
{
    struct use *u = use_get(p, local);

    rwf_assert(u->holds > 0);
    if (--u->holds == 0)
        store_object_drop(p->view, local);
    use_put(p, local, u);
}

void peer__pin_add(struct peer *p, store_object local)
{
    pthread_mutex_lock(&p->lock);
    use_get(p, local)->pins++;
    pthread_mutex_unlock(&p->lock);
}

void peer__pin_drop(struct peer *p, store_object local)
{
    struct use *u;

    pthread_mutex_lock(&p->lock);
    u = use_get(p, local);
    rwf_assert(u->pins > 0);
    if (--u->pins == 0)
        store_object_unpin(p->view, local);
    use_put(p, local, u);
    pthread_mutex_unlock(&p->lock);
}

/* --- the end of one --- */

static void item_free(struct peer__item *it)
{
    peer__tree_free(&it->tree);
    free(it->loans);
    free(it->flags);
    free(it->sums);
    free(it->wants);
    free(it);
}

void peer__item_released(struct peer__item *it)
{
    if (it->dead && it->ops == 0 && it->sends == 0) {
        peer__unpin(it);
        pthread_mutex_lock(&it->peer->lock);
        if (it->held)
            peer__drop(it->peer, it->local);
        pthread_mutex_unlock(&it->peer->lock);
        item_free(it);
    }
}

void peer__item_remove(struct peer__item *it)
{
    struct peer *p = it->peer;

    pthread_mutex_lock(&p->lock);
    LIST_REMOVE(it, bucket);
    LIST_REMOVE(it, all);
    p->items->count--;
    if (it->local && it->session != p->options.session)
        rwf_ids_remove(&p->items->copies, it->local);
    pthread_mutex_unlock(&p->lock);
    it->dead = true;
    peer__bulk_forget(p, it);
    peer__item_released(it);
}

void peer__item_set_size(struct peer__item *it, size_t size, size_t chunk)
{
    it->size = size;
    it->chunk = chunk;
    it->count = (uint32_t)((size + chunk - 1) / chunk);
    it->flags = rwf_xcalloc(it->count + 1, sizeof(*it->flags));
    it->sums = rwf_xcalloc(it->count + 1, sizeof(*it->sums));
}

size_t peer__chunk_len(const struct peer__item *it, uint32_t chunk)
{
    size_t at = (size_t)chunk * it->chunk;

    return it->size - at < it->chunk ? it->size - at : it->chunk;
}

void peer__items_each(struct peer *p, void (*fn)(struct peer__item *it, void *ctx),
                      void *ctx)
{
    struct peer__item *it, *next;

    pthread_mutex_lock(&p->lock);
    it = LIST_FIRST(&p->items->all);
    pthread_mutex_unlock(&p->lock);
    for (; it; it = next) {
        /* Others only add, at the front. */
        pthread_mutex_lock(&p->lock);
        next = LIST_NEXT(it, all);
        pthread_mutex_unlock(&p->lock);
        fn(it, ctx);
    }
}

/* --- what was brought here, and nobody uses --- */

static bool unused(struct peer__item *it, int64_t *ret_since)
{
    bool yes;

    pthread_mutex_lock(&it->peer->lock);
    yes = it->state == PEER__HERE && it->session != it->peer->options.session &&
          it->users == 0;
    *ret_since = it->idle_since;
    pthread_mutex_unlock(&it->peer->lock);
    return yes && it->sends == 0 && it->want_count == 0 && it->ops == 0;
}

static void drop_copy(struct peer__item *it)
{
    struct peer__bulk *b;

    /* Its owner need not send others to us; a connection is not made for that. */
    LIST_FOREACH(b, &it->peer->bulks, link)
    if (b->ours && b->session == it->session && !it->orphan)
        peer__bulk_say_done(b, it->theirs, false);
    peer__item_remove(it);
}

struct kept {
    int64_t now;
    size_t bytes;
    struct peer__item *oldest;
    int64_t oldest_since;
};

static void look(struct peer__item *it, void *ctx)
{
    struct kept *k = ctx;
    int64_t since;

    if (peer__fetching(it)) {
        peer__fetch_tick(it, k->now); /* it may be gone now */
        return;
    }
    if (!unused(it, &since))
        return;
    k->bytes += it->size;
    if (it->orphan || k->now - since > KEEP) {
        k->bytes -= it->size;
        drop_copy(it);
    } else if (!k->oldest || since < k->oldest_since) {
        k->oldest = it;
        k->oldest_since = since;
    }
}

static void serve_one(struct peer__item *it, void *ctx)
{
    peer__serve_tick(it, ((struct kept *)ctx)->now);
}

void peer__items_tick(struct peer *p, int64_t now)
{
    struct kept k = {.now = now};
    struct store_stats stats;
    bool any;

    peer__items_each(p, look, &k);
    if (k.oldest) {
        store_stats(p->view, &stats);
        if (k.bytes > stats.arena / 4)
            drop_copy(k.oldest);
    }
    peer__items_each(p, serve_one, &k);
    peer__lend_tick(p, now);
    pthread_mutex_lock(&p->lock);
    any = p->items->count > 0;
    pthread_mutex_unlock(&p->lock);
    if (any || !STAILQ_EMPTY(&p->gifts))
        peer__loop_tick_by(&p->bulk, now + TICK);
}

static void squeeze_one(struct peer__item *it, void *ctx)
{
    int64_t since;

    (void)ctx;
    if (unused(it, &since))
        drop_copy(it);
}

void peer__items_squeeze(void *plane)
{
    peer__items_each(plane, squeeze_one, NULL);
}

static void stir(void *ctx)
{
    struct peer *p = ctx;

    peer__loop_tick_by(&p->bulk, rwf_clock_mono() + TICK);
}

void peer__items_stir(struct peer *p)
{
    peer__loop_post(&p->bulk, stir, p);
}

/* --- life --- */

int peer__items_create(struct peer *p, struct rwf_err *err)
{
    p->items = rwf_xcalloc(1, sizeof(*p->items));
    LIST_INIT(&p->bulks);
    STAILQ_INIT(&p->gifts);
    return peer__keeper_create(p, err);
}

void peer__items_stop(struct peer *p)
{
    peer__keeper_stop(p);
}

static void free_one(struct peer__item *it, void *ctx)
{
    (void)ctx;
    it->ops = 0;
    it->sends = 0;
    peer__item_remove(it);
}

void peer__items_free(struct peer *p)
{
    if (!p->items)
        return;
    peer__items_each(p, free_one, NULL);
    peer__lend_free(p);
    rwf_ids_free(&p->items->copies);
    rwf_ids_free(&p->items->uses);
    free(p->items);
    p->items = NULL;
}

/* --- what others ask --- */

store_object peer_local(struct peer *p, uint64_t session, store_object theirs,
                        size_t *ret_size)
{
    struct peer__item *it;
    store_object local = 0;

    pthread_mutex_lock(&p->lock);
    it = peer__item_find(p, session, theirs);
    if (it && it->state == PEER__HERE && session != p->options.session) {
        it->users++;
        local = it->local;
        *ret_size = it->size;
    }
    pthread_mutex_unlock(&p->lock);
    return local;
}

bool peer_has(struct peer *p, uint64_t session, store_object theirs)
{
    struct peer__item *it;
    bool has;

    if (session == p->options.session)
        return store_object_size(p->view, theirs) >= 0;
    pthread_mutex_lock(&p->lock);
    it = peer__item_find(p, session, theirs);
    has = it && it->state == PEER__HERE;
    pthread_mutex_unlock(&p->lock);
    return has;
}

void peer_give_back(struct peer *p, store_object local)
{
    struct peer__item *it;

    pthread_mutex_lock(&p->lock);
    it = rwf_ids_get(&p->items->copies, local);
    if (!it || it->users == 0)
        it = peer__item_find(p, p->options.session, local);
    rwf_assert(it && it->users > 0);
    if (--it->users == 0)
        it->idle_since = rwf_clock_mono();
    pthread_mutex_unlock(&p->lock);
    peer__items_stir(p);
}

static void count_one(struct peer__item *it, struct peer_stats *s)
{
    bool ours = it->session == it->peer->options.session;

    for (size_t i = 0; i < it->loan_count; i++)
        s->lent += it->loans[i].count;
    s->fetching += it->state != PEER__HERE;
    s->kept += !ours && it->state == PEER__HERE;
}

void peer_stats(struct peer *p, struct peer_stats *ret)
{
    struct peer__item *it;
    struct peer_conn *c;

    *ret = (struct peer_stats){.fetched = atomic_load(&p->fetched),
                               .served = atomic_load(&p->served),
                               .bytes_in = atomic_load(&p->bytes_in),
                               .bytes_out = atomic_load(&p->bytes_out),
                               .again = atomic_load(&p->again),
                               .records_in = atomic_load(&p->records_in),
                               .records_out = atomic_load(&p->records_out)};
    pthread_mutex_lock(&p->lock);
    LIST_FOREACH(it, &p->items->all, all)
    count_one(it, ret);
    LIST_FOREACH(c, &p->conns, link)
    ret->conns++;
    pthread_mutex_unlock(&p->lock);
}
