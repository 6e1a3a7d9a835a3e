/* SPDX-License-Identifier: Apache-2.0
 *
 * Leases: the head says that a client may use a worker of this node; the worker is
 * found or started, both get the ring, and what comes back is passed on.
 *
 *   HEAD_GRANT -> (start, SERVE, READY) -> GRANT … RETURN -> LEAVE, HEAD_RETURN
 *
 * Invariants: a lease has at most one worker, and that worker's lease is it. The head
 * hears of the end of every lease exactly once. A lease that no slot is free for waits
 * (parked), since its resources are its own already.
 */
#include "config.h"
#include "node/inside.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"

const Wire__Resources *node__lease_resources(const struct node__lease *l)
{
    if (l->actor)
        return node__actor_spec(l->actor)->resources;
    return l->wire->shape ? l->wire->shape->resources : NULL;
}

/* Number of the client that has it here: of another node's, its proxy. */
static uint64_t holder(const struct node__lease *l)
{
    return l->proxy ? l->proxy : l->wire->client;
}

static struct node__client *client_of(const struct node__lease *l)
{
    return node__client_find(l->node, holder(l));
}

static void give_back(struct node *n, uint64_t lease)
{
    Wire__HeadReturn r = WIRE__HEAD_RETURN__INIT;
    r.lease = lease;
    node__head_send(n, WIRE_HEAD_RETURN, &r.base);
}

void node__lease_end(struct node__lease *l)
{
    struct node *n = l->node;
    if (!l->worker)
        TAILQ_REMOVE(&n->parked, l, parked);
    rwf_ids_remove(&n->leases, l->wire->lease);
    give_back(n, l->wire->lease);
    node__free(l->wire);
    free(l);
}

/* The client's word, or its end. */
static void finish(struct node__lease *l, bool broken)
{
    struct node__worker *w = l->worker;
    if (w) {
        struct node__ring *r, *next;
        for (r = LIST_FIRST(&w->rings); r; r = next) {
            next = LIST_NEXT(r, link);
            node__ring_end(r, true);
        }
        node__pool_back(w, broken);
    }
    node__lease_end(l);
}

void node__lease_refuse(struct node__lease *l, int code, const char *text)
{
    struct node__client *c = client_of(l);
    struct node__worker *w = l->worker;
    if (c)
        node__wants_refuse(c, l->wire->lane, code, text);
    if (w) {
        while (!LIST_EMPTY(&w->rings))
            node__ring_end(LIST_FIRST(&w->rings), false);
        w->lease = NULL;
    }
    node__lease_end(l);
}

/* --- a worker for it --- */

static void park(struct node__lease *l, const char *why)
{
    struct node *n = l->node;
    if (TAILQ_EMPTY(&n->parked))
        rwf_log(RWF_LOG_WARN, "node", "a worker waits until another process leaves: %s",
                why);
    TAILQ_INSERT_TAIL(&n->parked, l, parked);
}

static void refuse(struct node__lease *l, int code, const char *text)
{
    if (l->actor)
        node__actor_failed(l, RAYWF_ON_EXIT, text);
    else
        node__lease_refuse(l, code, text);
}

/* Tells both sides; false: no ring could be made. */
static bool ring_for(struct node__lease *l)
{
    struct rwf_err err = RWF_ERR_INIT;
    if (!l->actor && client_of(l) &&
        !node__ring_make(client_of(l), l->worker, l->wire->lease, l->wire->lane,
                         &err)) {
        struct node__worker *w = l->worker;
        refuse(l, RAYWF_E_RUNTIME, err.text);
        node__worker_kill(w, 0, "was ended: it has no ring");
        return false;
    }
    return true;
}

void node__lease_place(struct node__lease *l)
{
    struct rwf_err err = RWF_ERR_INIT;
    if (node__pool_take(l->node, l, &err) < 0) {
        if (err.code == ENOSPC) {
            park(l, err.text);
            return;
        }
        l->worker = NULL;
        TAILQ_INSERT_TAIL(&l->node->parked, l,
                          parked); /* where its end takes it from */
        refuse(l, RAYWF_E_RUNTIME, err.text);
        return;
    }
    if (!ring_for(l) || l->worker->state != WORKER_LEASED)
        return; /* a new one says JOIN, then READY */
    node__ring_serve(LIST_FIRST(&l->worker->rings), false);
    node__lease_ready(l);
}

void node__lease_granted(struct node *n, const Wire__Lease *wire, uint64_t proxy)
{
    if (!wire || wire->lease == 0 || rwf_ids_get(&n->leases, wire->lease)) {
        rwf_log(RWF_LOG_WARN, "node", "the head sent a lease that makes no sense");
        return;
    }
    if (!wire->shape || !node__client_find(n, proxy ? proxy : wire->client)) {
        give_back(n, wire->lease); /* its client left meanwhile */
        return;
    }
    struct node__lease *l = rwf_xcalloc(1, sizeof(*l));
    l->node = n;
    l->proxy = proxy;
    l->wire = node__copy(&wire->base);
    rwf_ids_add(&n->leases, wire->lease, l);
    node__lease_place(l);
}

void node__leases_retry(struct node *n)
{
    struct node__lease *l = TAILQ_FIRST(&n->parked);
    if (!l || n->stopping)
        return;
    TAILQ_REMOVE(&n->parked, l, parked);
    node__lease_place(l);
}

/* --- a new worker has joined, and is ready --- */

void node__lease_serve(struct node__lease *l)
{
    node__client_announce(l->worker->client);
    if (l->actor)
        node__actor_serve(l);
    else
        node__ring_serve(LIST_FIRST(&l->worker->rings), true);
}

void node__lease_ready(struct node__lease *l)
{
    struct node__ring *r = LIST_FIRST(&l->worker->rings);
    l->granted = true;
    node__client_announce(l->worker->client);
    node__ring_grant(r, l);
}

void node__on_ready(struct node__client *c, struct wire_message *m)
{
    const Wire__Ready *ready = (const Wire__Ready *)m->body;
    struct node__worker *w = c->worker;
    struct node__lease *l = w->lease;
    if (w->state == WORKER_RETIRING)
        return;
    if (w->state != WORKER_STARTING) {
        node__client_drop(c, "it said READY twice");
        return;
    }
    node__worker_event(w, EVENT_READY);
    uv_timer_stop(&w->timer);
    if (ready->code == 0)
        node__crash_count(w->node, w->key, false);
    if (l && l->actor) {
        node__actor_ready(l, ready->code, ready->text);
    } else if (ready->code != 0) {
        if (l)
            node__lease_refuse(l, ready->code, ready->text);
        node__pool_retire(w, "its plugin is of no use");
    } else if (l) {
        node__lease_ready(l);
    } else {
        node__pool_back(w, false);
    }
}

/* --- given back, wanted back --- */

void node__on_return(struct node__client *c, struct wire_message *m)
{
    const Wire__Return *r = (const Wire__Return *)m->body;
    struct node__ring *ring = node__ring_find(c->node, c, r->lease);
    struct node__lease *l = rwf_ids_get(&c->node->leases, r->lease);
    if (c->node->options.far->returned(c, r))
        return; /* its worker is elsewhere */
    if (l && !l->actor && holder(l) == c->id)
        finish(l, r->broken);
    else if (ring)
        node__ring_end(ring, true); /* its handle on an actor */
    /* else: its worker died, and the two messages crossed */
}

void node__lease_recall(struct node *n, const Wire__HeadRecall *m)
{
    struct node__lease *l = rwf_ids_get(&n->leases, m->lease);
    const char *text = m->text && *m->text ? m->text : "pre-empted";
    if (!l)
        return;
    if (l->worker && (l->granted ? m->kill : l->actor != NULL)) {
        node__worker_kill(l->worker, RAYWF_ON_EXIT, "was ended: %s", text);
    } else if (!l->granted && l->actor) {
        node__actor_failed(l, RAYWF_ON_EXIT, text);
    } else if (!l->granted) {
        finish(l, false); /* its worker may go on loading the plugin, for others */
    } else if (client_of(l)) {
        Wire__Recall r = WIRE__RECALL__INIT;
        r.lease = m->lease;
        NODE__SEND(client_of(l)->link, WIRE_RECALL, &r);
    }
}

void node__on_blocked(struct node__client *c, struct wire_message *m)
{
    const Wire__Blocked *b = (const Wire__Blocked *)m->body;
    if (!c->worker->lease)
        return;
    Wire__HeadBlocked h = WIRE__HEAD_BLOCKED__INIT;
    h.lease = c->worker->lease->wire->lease;
    h.blocked = b->blocked;
    node__head_send(c->node, WIRE_HEAD_BLOCKED, &h.base);
}

/* --- a forced end --- */

void node__on_end(struct node__client *c, struct wire_message *m)
{
    const Wire__End *e = (const Wire__End *)m->body;
    struct node *n = c->node;
    struct node__worker *w;
    struct node__ring *r = NULL;
    if (n->options.far->ended(c, e))
        return;
    LIST_FOREACH(w, &n->workers, link)
    if (w->id == e->worker)
        break;
    if (w)
        LIST_FOREACH(r, &w->rings, link)
    if (r->client == c)
        break;
    /* It may have ended, or gone on to another task, while this was on its way. */
    if (!r || (e->task != 0 && node__ring_task(r, NULL) != e->task))
        return;
    node__worker_kill(w, e->cause, "%s", *e->text ? e->text : "was ended by request");
}

/* --- a client's end --- */

struct gone {
    struct node__client *client;
};

static void lease_gone(void *ctx, void *item)
{
    struct node__client *c = ((struct gone *)ctx)->client;
    struct node__lease *l = item;
    if (l->actor || holder(l) != c->id)
        return;
    struct node__worker *w = l->worker;
    bool quiet = true;
    if (w && l->granted && !LIST_EMPTY(&w->rings))
        quiet = node__ring_quiet(LIST_FIRST(&w->rings));
    if (!quiet) /* what it still works on is nobody's any more */
        node__worker_kill(w, 0, "was ended: its client has gone");
    finish(l, false);
}

void node__leases_client_gone(struct node__client *c)
{
    struct node__worker *w;
    struct node__ring *r, *next;
    c->node->options.far->give_back(c);
    rwf_ids_each(&c->node->leases, lease_gone, &(struct gone){c});
    LIST_FOREACH(w, &c->node->workers, link)
    for (r = LIST_FIRST(&w->rings); r; r = next) {
        next = LIST_NEXT(r, link);
        if (r->client == c)
            node__ring_end(r, true);
    }
}
