/* SPDX-License-Identifier: Apache-2.0
 *
 * Giving objects to others: ours, and those of others that are here or on their way
 * here.
 *
 * Ours are held and pinned as long as somebody gets them (a puller that is connected
 * and has not said that it has all), or holds a loan. A chunk that is not here yet is
 * sent when it comes; so in a tree of pullers each passes on what it has.
 */
#include "config.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/mem.h"
#include "peer/bulk.h"

#define UNPIN (300 * RWF_NS_PER_MS) /* after so long without use */
#define WANTS_MAX 100000

static bool is_ours(const struct peer__item *it)
{
    return it->session == it->peer->options.session;
}

/* --- asked where it is --- */

/* The item of an object of ours that is held from now on, or NULL: it is gone. */
static struct peer__item *hold_ours(struct peer *p, store_object o)
{
    struct peer__item *it;
    int64_t size = store_object_size(p->view, o);

    pthread_mutex_lock(&p->lock);
    it = peer__item_find(p, p->options.session, o);
    if (!it && size >= 0)
        it = peer__item_add(p, p->options.session, o);
    if (it && !it->held)
        it->held = peer__hold(p, o) == 0;
    if (it && !it->held)
        it = NULL;
    pthread_mutex_unlock(&p->lock);
    if (it && !it->flags)
        peer__item_set_size(it, (size_t)size, p->options.chunk);
    return it;
}

void peer__serve_ask(struct peer__bulk *b, const struct peer__head *h)
{
    struct peer *p = b->peer;
    struct peer__item *it = hold_ours(p, h->object);
    uint64_t from;

    if (!it) {
        peer__bulk_say_none(b, h->object, p->options.session, ENOENT,
                            "there is no such object (any more)");
        return;
    }
    from = peer__tree_place(&it->tree, b->session, h->arg, p->options.fan);
    it->used_at = rwf_clock_mono();
    peer__loop_tick_by(&p->bulk, it->used_at + RWF_NS_PER_MS);
    peer__bulk_say_where(b, h->object, from ? from : p->options.session, it->size,
                         (uint32_t)it->chunk);
}

void peer__serve_done(struct peer__bulk *b, const struct peer__head *h)
{
    struct peer *p = b->peer;
    struct peer__item *it = peer__item_get(p, p->options.session, h->object);

    if (!it)
        return;
    if (h->flags & PEER__HAS) {
        peer__tree_done(&it->tree, b->session);
        atomic_fetch_add(&p->served, 1);
    } else {
        peer__tree_leave(&it->tree, b->session);
    }
    it->used_at = rwf_clock_mono();
}

/* --- chunks --- */

void peer__serve_chunk(struct peer__bulk *b, const struct peer__head *h)
{
    struct peer__item *it = peer__item_get(b->peer, h->owner, h->object);

    if (!it || it->count <= h->chunk) {
        peer__bulk_say_none(b, h->object, h->owner, ENOENT, "it is not here");
        return;
    }
    if (it->want_count >= WANTS_MAX) {
        peer__bulk_end_one(b, "it asks for too much at once");
        return;
    }
    it->used_at = rwf_clock_mono();
    *RWF_PUSH(it->wants, it->want_count, it->want_cap) =
        (struct peer__want){b, h->chunk};
    peer__serve(it);
}

/* Whether chunk i can be sent now, or is on its way to here. */
static bool is_there(const struct peer__item *it, uint32_t i)
{
    return it->state == PEER__HERE || (it->data && it->flags[i] & PEER__HAVE);
}

void peer__serve(struct peer__item *it)
{
    struct peer__bulk *b;
    size_t i = 0;

    if (it->want_count == 0)
        return;
    if (it->state == PEER__HERE && !it->data) {
        if (!it->pinning)
            peer__keeper_pin(it);
        return;
    }
    while (i < it->want_count) {
        struct peer__want w = it->wants[i];
        if (!is_there(it, w.chunk)) {
            i++;
            continue;
        }
        b = w.bulk;
        for (size_t k = i + 1; k < it->want_count; k++)
            it->wants[k - 1] = it->wants[k];
        it->want_count--;
        /* Ends b when it cannot be sent, and takes its other wants away: from the
         * start. */
        peer__bulk_say_data(b, it, w.chunk);
        if (b->closed)
            i = 0;
    }
}

void peer__serve_refuse(struct peer__item *it, int code, const char *text)
{
    while (it->want_count > 0) {
        struct peer__want w = it->wants[--it->want_count];
        peer__bulk_say_none(w.bulk, it->theirs, it->session, code, text);
    }
}

void peer__serve_pinned(struct peer__item *it, const void *data, size_t size,
                        const struct rwf_err *err)
{
    struct peer *p = it->peer;

    if (!data) {
        peer__serve_refuse(it, err->code, err->text);
        return;
    }
    rwf_assert(size == it->size);
    it->data = (char *)(uintptr_t)data;
    it->used_at = rwf_clock_mono();
    peer__serve(it);
    peer__bulk_go_on(p);
}

void peer__unpin(struct peer__item *it)
{
    if (!it->pinned)
        return;
    it->pinned = false;
    it->data = NULL;
    peer__pin_drop(it->peer, it->local);
}

static void forget(struct peer__item *it, void *ctx)
{
    const struct peer__bulk *b = ctx;
    size_t kept = 0;

    for (size_t i = 0; i < it->want_count; i++)
        if (it->wants[i].bulk != b)
            it->wants[kept++] = it->wants[i];
    it->want_count = kept;
    if (is_ours(it))
        peer__tree_leave(&it->tree, b->session);
}

void peer__serve_closed(struct peer__bulk *b)
{
    peer__items_each(b->peer, forget, b);
}

/* --- from time to time --- */

static struct peer__bulk *from_node(struct peer *p, uint64_t session)
{
    struct peer__bulk *b;

    LIST_FOREACH(b, &p->bulks, link)
    if (!b->ours && b->session == session)
        return b;
    return NULL;
}

/* It is freed: who keeps it need not do so any longer. */
static void tell_gone(struct peer__item *it)
{
    struct peer__bulk *b;

    for (size_t i = 0; i < it->tree.count; i++)
        if ((b = from_node(it->peer, it->tree.pullers[i].session)))
            peer__bulk_say(b, PEER__GONE, it->theirs, 0, 0, 0);
}

static void stop_holding(struct peer__item *it, int64_t now)
{
    struct peer *p = it->peer;

    pthread_mutex_lock(&p->lock);
    if (it->held && it->loan_count == 0 && it->users == 0 && !it->pinned &&
        now - it->used_at > UNPIN) {
        peer__drop(p, it->theirs);
        it->held = false;
    }
    pthread_mutex_unlock(&p->lock);
}

static bool needed(struct peer__item *it)
{
    bool yes;

    pthread_mutex_lock(&it->peer->lock);
    yes = it->held || it->users > 0 || it->loan_count > 0;
    pthread_mutex_unlock(&it->peer->lock);
    return yes || it->want_count > 0 || it->sends > 0 || it->ops > 0;
}

static void tick_ours(struct peer__item *it, int64_t now)
{
    if (peer__tree_active(&it->tree) == 0 && it->want_count == 0 && it->sends == 0)
        stop_holding(it, now);
    if (needed(it))
        return;
    if (it->tree.count > 0 && store_object_size(it->peer->view, it->theirs) >= 0)
        return; /* others have it, and may be told where to send who asks */
    tell_gone(it);
    peer__item_remove(it);
}

void peer__serve_tick(struct peer__item *it, int64_t now)
{
    if (it->pinned && it->sends == 0 && it->want_count == 0 && !it->pinning &&
        now - it->used_at > UNPIN)
        peer__unpin(it);
    if (is_ours(it))
        tick_ours(it, now);
}
