/* SPDX-License-Identifier: Apache-2.0
 *
 * The worker's side of bridges: for each client of another node that has to do with
 * this one, a proxy. For the rest of this node it is a client as any other.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "far/bridge_impl.h"
#include "far/data.h"

/* --- what this node tells a proxy --- */

static struct bridge__end *far_find(struct bridge__proxy *x, uint64_t lease)
{
    struct bridge__end *e;
    LIST_FOREACH(e, &x->bridges->ends, link)
    if (e->proxy == x && e->lease == lease)
        return e;
    return NULL;
}

static void give_back(struct bridge__proxy *x, uint64_t lease, bool broken)
{
    Wire__Return r = WIRE__RETURN__INIT;
    r.lease = lease;
    r.broken = broken;
    NODE__SEND(x->link, WIRE_RETURN, &r);
}

static void on_grant(struct bridge__proxy *x, struct wire_message *m)
{
    const Wire__Grant *g = (const Wire__Grant *)m->body;
    struct far__bridges *b = x->bridges;
    struct rwf_err err = RWF_ERR_INIT;
    Wire__BridgeOpen o = WIRE__BRIDGE_OPEN__INIT;
    if (m->fd_count != 1 || !b->spans)
        return;
    struct bridge__end *e = bridge__end_add(b, x->peer, g->lease);
    e->proxy = x;
    e->worker = g->worker;
    e->actor = g->actor;
    e->span = far__span_open(b->spans, SPAN_OF_WORKER, x->session, g->lease, m->fds[0],
                             (int)g->slot, e, &err);
    if (!e->span) {
        rwf_log(RWF_LOG_WARN, "node", "a worker cannot be lent: %s", err.text);
        give_back(x, g->lease, false);
        bridge__end_free(e);
        return;
    }
    o.lease = g->lease;
    o.client = x->client;
    o.lane = g->lane;
    o.worker = g->worker;
    o.pid = g->pid;
    o.actor = g->actor;
    o.n_gpus = g->n_gpus;
    o.gpus = g->gpus;
    FAR__PEER_SEND(x->peer, WIRE_BRIDGE_OPEN, &o);
}

/* The span goes on until all that the worker had published is sent. */
static void died(struct bridge__end *e, unsigned cause, const char *text)
{
    Wire__Death d = WIRE__DEATH__INIT;
    char *where = rwf_xasprintf("on node %s %s", e->bridges->node->name, text);
    d.cause = cause;
    d.text = where;
    far__span_died(e->span, &d);
    e->span = NULL;
    bridge__end_free(e);
    free(where);
}

static void on_death(struct bridge__proxy *x, struct wire_message *m)
{
    const Wire__Death *d = (const Wire__Death *)m->body;
    struct bridge__end *e = far_find(x, d->lease);
    if (e)
        died(e, d->cause, d->text);
}

static void on_recall(struct bridge__proxy *x, struct wire_message *m)
{
    const Wire__Recall *r = (const Wire__Recall *)m->body;
    struct bridge__end *e = far_find(x, r->lease);
    if (e)
        bridge__say(x->peer, e->channel, WIRE_RECALL, &r->base);
}

static void on_refuse(struct bridge__proxy *x, struct wire_message *m)
{
    const Wire__Refuse *r = (const Wire__Refuse *)m->body;
    Wire__BridgeRefuse out = WIRE__BRIDGE_REFUSE__INIT;
    char *text = rwf_xasprintf("on node %s: %s", x->bridges->node->name, r->text);
    out.client = x->client;
    out.lane = r->lane;
    out.code = r->code;
    out.text = text;
    bridge__say(x->peer, 0, WIRE_REFUSE, &out.base);
    free(text);
}

static void on_message(void *ctx, struct wire_link *link, struct wire_message *m)
{
    struct bridge__proxy *x = ctx;
    (void)link;
    switch (m->type) {
    case WIRE_GRANT:
        on_grant(x, m);
        break;
    case WIRE_DEATH:
        on_death(x, m);
        break;
    case WIRE_RECALL:
        on_recall(x, m);
        break;
    case WIRE_REFUSE:
        on_refuse(x, m);
        break;
    case WIRE_ERROR:
        rwf_log(RWF_LOG_WARN, "node", "for a client of another node: %s",
                ((const Wire__Error *)m->body)->text);
        break;
    default: /* what becomes of actors the head tells their callers' nodes */
        break;
    }
}

void bridge__far_broken(struct bridge__end *e)
{
    give_back(e->proxy, e->lease, true);
    died(e, RAYWF_ON_EXIT, "wrote what is no message into its ring");
}

/* --- what the client's node says --- */

void bridge__far_do(struct bridge__end *e, uint32_t type, const ProtobufCMessage *m)
{
    struct bridge__proxy *x = e->proxy;
    Wire__End end;
    switch (type) {
    case WIRE_RETURN:
        give_back(x, e->lease, ((const Wire__Return *)m)->broken);
        bridge__end_free(e);
        break;
    case WIRE_END:
        end = *(const Wire__End *)m;
        end.worker = e->worker;
        NODE__SEND(x->link, WIRE_END, &end);
        break;
    default:
        break;
    }
}

void bridge__far_leave(struct far__peer *p, const Wire__ClientLeave *m)
{
    struct bridge__proxy *x;
    LIST_FOREACH(x, &p->node->far->bridges->proxies, link_all)
    if (x->peer == p && x->client == m->client) {
        bridge__proxy_close(x);
        return;
    }
}

/* --- proxies --- */

static void on_closed(void *ctx, struct wire_link *link, const struct rwf_err *err)
{
    (void)link;
    (void)err;
    node__closed(ctx);
}

static void on_no_message(void *ctx, struct wire_link *link, struct wire_message *m)
{
    (void)ctx;
    (void)link;
    (void)m;
}

void bridge__proxy_close(struct bridge__proxy *x)
{
    struct far__bridges *b = x->bridges;
    struct bridge__end *e, *next;
    for (e = LIST_FIRST(&b->ends); e; e = next) {
        next = LIST_NEXT(e, link);
        if (e->proxy == x)
            bridge__end_free(e);
    }
    wire_link_handle(x->link,
                     &(struct wire_handler){b->node, on_no_message, on_closed});
    wire_link_close(x->link); /* and so the client's end of it, in a later turn */
    LIST_REMOVE(x, link_all);
    free(x);
}

static void proxy_ended(void *ctx, struct wire_link *link, const struct rwf_err *err)
{
    struct bridge__proxy *x = ctx;
    struct node *n = x->bridges->node;
    struct bridge__end *e, *next;
    (void)link;
    (void)err;
    for (e = LIST_FIRST(&x->bridges->ends); e; e = next) {
        next = LIST_NEXT(e, link);
        if (e->proxy == x)
            bridge__end_free(e);
    }
    LIST_REMOVE(x, link_all);
    free(x);
    node__closed(n);
}

static struct bridge__proxy *proxy_for(struct node *n, struct far__member *m,
                                       uint64_t client, struct rwf_err *err)
{
    struct far__bridges *b = n->far->bridges;
    struct wire_link *theirs, *ours;
    struct bridge__proxy *x;
    LIST_FOREACH(x, &b->proxies, link_all)
    if (x->client == client && x->session == m->session)
        return x;
    if (bridge__is_bad(b, m->session)) {
        rwf_fail(err, EHOSTUNREACH, "node %s could not be reached", m->name);
        return NULL;
    }
    struct far__peer *p = far__plane(n, err) ? far__peer_to(n, m, err) : NULL;
    if (!p)
        return NULL;
    wire_link_pair(n->loop, &theirs, &ours);
    x = rwf_xcalloc(1, sizeof(*x));
    *x = (struct bridge__proxy){.bridges = b,
                                .client = client,
                                .session = m->session,
                                .peer = p,
                                .link = ours,
                                .local = node__client_proxy(n, theirs, b->slot)->id};
    LIST_INSERT_HEAD(&b->proxies, x, link_all);
    n->open++;
    wire_link_handle(ours, &(struct wire_handler){x, on_message, proxy_ended});
    return x;
}

/* Over the link, which is there: not both sides may know of it. */
static void say_lost(struct bridge__proxy *x)
{
    struct bridge__end *e;
    Wire__BridgeClose m = WIRE__BRIDGE_CLOSE__INIT;
    LIST_FOREACH(e, &x->bridges->ends, link)
    if (e->proxy == x) {
        m.lease = e->channel;
        FAR__PEER_SEND(x->peer, WIRE_BRIDGE_CLOSE, &m);
    }
}

void bridge__far_lost(struct far__bridges *b, uint64_t session, struct far__peer *p)
{
    struct bridge__proxy *x, *next;
    for (x = LIST_FIRST(&b->proxies); x; x = next) {
        next = LIST_NEXT(x, link_all);
        if (x->session != session || (p && x->peer != p))
            continue;
        if (!p)
            say_lost(x);
        bridge__proxy_close(x);
    }
}

/* --- leases --- */

static void late(struct far__bridges *b, uint64_t lease)
{
    struct bridge__late *l = rwf_xcalloc(1, sizeof(*l));
    l->lease = lease;
    LIST_INSERT_HEAD(&b->lates, l, link);
    bridge__again(b);
}

void bridge__lates_give(struct far__bridges *b)
{
    Wire__HeadReturn r = WIRE__HEAD_RETURN__INIT;
    struct bridge__late *l;
    while ((l = LIST_FIRST(&b->lates))) {
        LIST_REMOVE(l, link);
        r.lease = l->lease;
        node__head_send(b->node, WIRE_HEAD_RETURN, &r.base);
        free(l);
    }
}

void bridge__lates_free(struct far__bridges *b)
{
    struct bridge__late *l;
    while ((l = LIST_FIRST(&b->lates))) {
        LIST_REMOVE(l, link);
        free(l);
    }
}

void far__bridge_lend(struct node *n, const Wire__HeadLend *m)
{
    struct far__member *home = far__member_by_number(n, m->node);
    struct rwf_err err = RWF_ERR_INIT;
    struct bridge__proxy *x = NULL;
    if (!m->lease || m->lease->lease == 0)
        return;
    if (home && m->lease->shape &&
        far__plugin_bring(n, home->name, m->lease->shape->plugin, WIRE_HEAD_LEND,
                          &m->base))
        return;
    if (home && m->lease->shape)
        x = proxy_for(n, home, m->lease->client, &err);
    if (x) {
        node__lease_granted(n, m->lease, x->local);
        return;
    }
    rwf_log(RWF_LOG_WARN, "node", "nothing can be lent to node %s: %s",
            home ? home->name : m->lease->home,
            err.code ? err.text : "it is no member of the cluster");
    late(n->far->bridges, m->lease->lease);
}

/* --- actors --- */

void far__on_bridge_connect(struct far__peer *p, struct wire_message *wire)
{
    const Wire__ActorConnect *m = (const Wire__ActorConnect *)wire->body;
    struct far__member *from = far__member_by_session(p->node, p->session);
    struct rwf_err err = RWF_ERR_INIT;
    struct bridge__proxy *x =
        from && m->actor ? proxy_for(p->node, from, m->client, &err) : NULL;
    Wire__ActorConnect want = WIRE__ACTOR_CONNECT__INIT;
    want.actor = m->actor;
    if (x)
        NODE__SEND(x->link, WIRE_ACTOR_CONNECT, &want);
    else
        rwf_log(RWF_LOG_WARN, "node", "actor %llu is not for node %s: %s",
                (unsigned long long)m->actor, p->name,
                err.code ? err.text : "it is no member of the cluster");
}
