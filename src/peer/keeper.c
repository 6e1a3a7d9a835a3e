/* SPDX-License-Identifier: Apache-2.0
 *
 * The keeper: a thread for what may take long in the store, room for an object that
 * comes (others may have to be spilled) and reading in place one that lies on disk.
 * What cannot be had now is tried again in turn with the others, until it takes too
 * long.
 */
#include "config.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"
#include "peer/bulk.h"

#define AGAIN (20 * RWF_NS_PER_MS)

struct op {
    STAILQ_ENTRY(op) link;
    struct peer__item *item;
    bool make; /* else: pin */
    store_object object;
    size_t size;
    void *data;
    int64_t give_up;
    struct rwf_err err;
};

struct peer__keeper {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t news;
    STAILQ_HEAD(, op) ops;
    bool stopping;
};

/* --- the bulk thread: answers --- */

static void made(struct op *o)
{
    struct peer *p = o->item->peer;

    if (o->data && o->item->dead)
        store_object_abort(p->view, o->object);
    else if (!o->item->dead)
        peer__fetch_made(o->item, o->object, o->data, &o->err);
}

static void answer(void *ctx)
{
    struct op *o = ctx;
    struct peer__item *it = o->item;

    if (o->make) {
        made(o);
    } else {
        it->pinning = false;
        it->pinned = o->data != NULL;
        if (!o->data)
            peer__pin_drop(it->peer, o->object);
        if (!it->dead)
            peer__serve_pinned(it, o->data, o->size, &o->err);
    }
    it->ops--;
    peer__item_released(it);
    free(o);
}

/* --- the keeper's thread --- */

static bool attempt(struct peer *p, struct op *o)
{
    o->err = (struct rwf_err)RWF_ERR_INIT;
    if (o->make)
        o->data = store_object_create(p->view, o->size, 0, &o->object, &o->err);
    else
        o->data = (void *)(uintptr_t)store_object_pin(p->view, o->object, 0, &o->size,
                                                      &o->err);
    return o->data || o->err.code != ETIMEDOUT || rwf_clock_mono() > o->give_up;
}

static void nap(struct peer__keeper *k)
{
    int64_t until = rwf_clock_wall() + AGAIN;
    struct timespec t = {until / RWF_NS_PER_S, until % RWF_NS_PER_S};

    if (!k->stopping)
        pthread_cond_timedwait(&k->news, &k->lock, &t);
}

static void *run(void *ctx)
{
    struct peer *p = ctx;
    struct peer__keeper *k = p->keeper;
    struct op *o;

    pthread_mutex_lock(&k->lock);
    for (;;) {
        while (!(o = STAILQ_FIRST(&k->ops)) && !k->stopping)
            pthread_cond_wait(&k->news, &k->lock);
        if (!o)
            break;
        STAILQ_REMOVE_HEAD(&k->ops, link);
        bool stopping = k->stopping;
        pthread_mutex_unlock(&k->lock);
        bool done = stopping || attempt(p, o);
        if (stopping)
            rwf_fail(&o->err, ECANCELED, "this node ends");
        if (done)
            peer__loop_post(&p->bulk, answer, o);
        else
            peer__loop_post(&p->bulk, peer__items_squeeze, p);
        pthread_mutex_lock(&k->lock);
        if (!done) {
            STAILQ_INSERT_TAIL(&k->ops, o, link);
            nap(k);
        }
    }
    pthread_mutex_unlock(&k->lock);
    return NULL;
}

/* --- the bulk thread: questions --- */

static void ask(struct peer__item *it, struct op *o)
{
    struct peer__keeper *k = it->peer->keeper;

    o->item = it;
    o->give_up = rwf_clock_mono() + it->peer->options.patience;
    it->ops++;
    pthread_mutex_lock(&k->lock);
    STAILQ_INSERT_TAIL(&k->ops, o, link);
    pthread_cond_signal(&k->news);
    pthread_mutex_unlock(&k->lock);
}

void peer__keeper_make(struct peer__item *it)
{
    struct op *o = rwf_xcalloc(1, sizeof(*o));

    o->make = true;
    o->size = it->size;
    ask(it, o);
}

void peer__keeper_pin(struct peer__item *it)
{
    struct op *o = rwf_xcalloc(1, sizeof(*o));

    o->object = it->local;
    it->pinning = true;
    peer__pin_add(it->peer, it->local);
    ask(it, o);
}

/* --- life --- */

int peer__keeper_create(struct peer *p, struct rwf_err *err)
{
    struct peer__keeper *k = rwf_xcalloc(1, sizeof(*k));
    int rc;

    pthread_mutex_init(&k->lock, NULL);
    pthread_cond_init(&k->news, NULL);
    STAILQ_INIT(&k->ops);
    p->keeper = k;
    rc = peer__thread_start(&k->thread, "raywf-keeper", run, p);
    if (rc == 0)
        return 0;
    free(k);
    p->keeper = NULL;
    return rwf_fail(err, rc, "peer: no thread: %s", strerror(rc));
}

void peer__keeper_stop(struct peer *p)
{
    struct peer__keeper *k = p->keeper;

    if (!k)
        return;
    pthread_mutex_lock(&k->lock);
    k->stopping = true;
    pthread_cond_signal(&k->news);
    pthread_mutex_unlock(&k->lock);
    pthread_join(k->thread, NULL);
    pthread_mutex_destroy(&k->lock);
    pthread_cond_destroy(&k->news);
    free(k);
    p->keeper = NULL;
}
