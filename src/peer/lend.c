/* SPDX-License-Identifier: Apache-2.0
 *
 * What is lent: an object of this node that a client handed to the plane's slot for
 * another node is held until that node gives it back, or is gone. What we got and need
 * no more is given back; that word must arrive, so it waits for a connection if it
 * must.
 */
#include "config.h"
#include <errno.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/mem.h"
#include "peer/bulk.h"

#define LATER (500 * RWF_NS_PER_MS)

/* --- ours, lent to others --- */

static struct peer__loan *loan_of(struct peer__item *it, uint64_t session)
{
    for (size_t i = 0; i < it->loan_count; i++)
        if (it->loans[i].session == session)
            return &it->loans[i];
    return NULL;
}

int peer_lend(struct peer *p, uint64_t session, store_object object)
{
    struct peer__item *it;
    struct peer__loan *loan;
    int rc = 0;

    pthread_mutex_lock(&p->lock);
    it = peer__item_find(p, p->options.session, object);
    if (!it)
        it = peer__item_add(p, p->options.session, object);
    if (!it->held)
        rc = peer__hold(p, object);
    if (rc == 0) {
        it->held = true;
        loan = loan_of(it, session);
        if (!loan) {
            loan = RWF_PUSH(it->loans, it->loan_count, it->loan_cap);
            *loan = (struct peer__loan){session, 0};
        }
        loan->count++;
    }
    pthread_mutex_unlock(&p->lock);
    peer__items_stir(p);
    return rc;
}

static void returned(struct peer__item *it, uint64_t session, bool all)
{
    struct peer__loan *loan = loan_of(it, session);

    if (!loan)
        return;
    if (!all && --loan->count > 0)
        return;
    *loan = it->loans[--it->loan_count];
    it->idle_since = rwf_clock_mono();
}

void peer_take_back(struct peer *p, uint64_t session, store_object object)
{
    struct peer__item *it;

    pthread_mutex_lock(&p->lock);
    it = peer__item_find(p, p->options.session, object);
    if (it)
        returned(it, session, false);
    pthread_mutex_unlock(&p->lock);
    peer__items_stir(p);
}

void peer__lend_given(struct peer *p, uint64_t session, store_object object)
{
    peer_take_back(p, session, object);
}

/* --- theirs, to be given back --- */

struct peer__gift {
    STAILQ_ENTRY(peer__gift) link;
    uint64_t session;
    store_object object;
    int64_t when;
};

void peer__lend_give(struct peer *p, uint64_t session, store_object theirs)
{
    if (session != p->options.session && !p->ending)
        peer__bulk_say(peer__bulk_to(p, session), PEER__GIVE, theirs, 0, 0, 0);
}

void peer__lend_give_later(struct peer *p, uint64_t session, store_object theirs)
{
    struct peer__gift *g = rwf_xmalloc(sizeof(*g));

    g->session = session;
    g->object = theirs;
    g->when = rwf_clock_mono() + LATER;
    STAILQ_INSERT_TAIL(&p->gifts, g, link);
    peer__loop_tick_by(&p->bulk, g->when);
}

/* Takes those of a session, or all that are due, out of the list. */
static void take_gifts(struct peer *p, uint64_t session, int64_t now, bool say)
{
    STAILQ_HEAD(, peer__gift) all = STAILQ_HEAD_INITIALIZER(all);
    struct peer__gift *g;

    STAILQ_CONCAT(&all, &p->gifts);
    while ((g = STAILQ_FIRST(&all))) {
        STAILQ_REMOVE_HEAD(&all, link);
        if ((session && g->session != session) || g->when > now) {
            STAILQ_INSERT_TAIL(&p->gifts, g, link);
            continue;
        }
        if (say)
            peer__lend_give(p, g->session, g->object);
        free(g);
    }
}

void peer__lend_tick(struct peer *p, int64_t now)
{
    take_gifts(p, 0, now, true);
}

void peer__lend_free(struct peer *p)
{
    take_gifts(p, 0, INT64_MAX, false);
}

struct refusal {
    struct peer *peer;
    uint64_t session;
    store_object theirs;
};

static void refuse(void *ctx)
{
    struct refusal *r = ctx;

    peer__lend_give(r->peer, r->session, r->theirs);
    free(r);
}

void peer_refuse(struct peer *p, uint64_t session, store_object theirs)
{
    struct refusal *r = rwf_xmalloc(sizeof(*r));

    *r = (struct refusal){p, session, theirs};
    peer__loop_post(&p->bulk, refuse, r);
}

/* --- a node is gone --- */

static void lost_loans(struct peer__item *it, void *ctx)
{
    pthread_mutex_lock(&it->peer->lock);
    returned(it, *(const uint64_t *)ctx, true);
    pthread_mutex_unlock(&it->peer->lock);
}

void peer__lend_gone(struct peer *p, uint64_t session)
{
    take_gifts(p, session, INT64_MAX, false);
    peer__items_each(p, lost_loans, &session);
}
