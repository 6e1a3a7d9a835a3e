/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "far/bridge.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "far/bridge_impl.h"
#include "far/data.h"

#define AGAIN_MS 500                   /* what came to nothing is tried again */
#define BAD_NS (1 * RAYWF_S)           /* a node that could not be reached */
#define WORKER_FAR (UINT64_C(1) << 63) /* numbers of workers elsewhere, for clients */
#define RING_FAR (UINT64_C(3) << 61)   /* of their rings to actors */

/* --- ends --- */

struct bridge__end *bridge__end_add(struct far__bridges *b, struct far__peer *peer,
                                    uint64_t channel)
{
    struct bridge__end *e = rwf_xcalloc(1, sizeof(*e));
    e->bridges = b;
    e->peer = peer;
    e->channel = e->lease = channel;
    LIST_INSERT_HEAD(&b->ends, e, link);
    return e;
}

void bridge__end_free(struct bridge__end *e)
{
    if (e->span)
        far__span_close(e->span);
    LIST_REMOVE(e, link);
    free(e);
}

void bridge__say(struct far__peer *p, uint64_t channel, enum wire_type type,
                 const ProtobufCMessage *m)
{
    Wire__BridgeDo d = WIRE__BRIDGE_DO__INIT;
    d.lease = channel;
    d.type = type;
    d.message.len = protobuf_c_message_get_packed_size(m);
    d.message.data = rwf_xmalloc(d.message.len + 1);
    protobuf_c_message_pack(m, d.message.data);
    FAR__PEER_SEND(p, WIRE_BRIDGE_DO, &d);
    free(d.message.data);
}

/* --- a client here, its worker elsewhere --- */

static struct bridge__end *near_find(struct node__client *c, uint64_t lease,
                                     uint64_t worker)
{
    struct far__bridges *b = c->node->far->bridges;
    struct bridge__end *e;
    LIST_FOREACH(e, &b->ends, link)
    if (!e->proxy && e->client == c->id &&
        (worker ? e->worker == worker : e->lease == lease))
        return e;
    return NULL;
}

bool far__bridge_return(struct node__client *c, const Wire__Return *r)
{
    struct bridge__end *e = near_find(c, r->lease, 0);
    if (!e)
        return false;
    bridge__say(e->peer, e->channel, WIRE_RETURN, &r->base);
    bridge__end_free(e);
    return true;
}

bool far__bridge_end(struct node__client *c, const Wire__End *m)
{
    struct bridge__end *e;
    if (!(m->worker & WORKER_FAR))
        return false;
    e = near_find(c, 0, m->worker);
    if (e)
        bridge__say(e->peer, e->channel, WIRE_END, &m->base);
    return true;
}

static void say_gone(void *client, struct far__peer *p)
{
    Wire__ClientLeave leave = WIRE__CLIENT_LEAVE__INIT;
    leave.client = *(const uint64_t *)client;
    if (p->bridged)
        bridge__say(p, 0, WIRE_CLIENT_LEAVE, &leave.base);
}

void far__bridge_client_gone(struct node__client *c)
{
    struct far__bridges *b = c->node->far->bridges;
    struct bridge__end *e, *next;
    if (c->proxy)
        return;
    for (e = LIST_FIRST(&b->ends); e; e = next) {
        next = LIST_NEXT(e, link);
        if (!e->proxy && e->client == c->id)
            bridge__end_free(e);
    }
    far__peers_each(c->node, say_gone, &c->id);
}

static void grant(struct node__client *c, const struct bridge__end *e,
                  const Wire__BridgeOpen *m, int fd)
{
    const struct far__member *member =
        far__member_by_session(c->node, e->peer->session);
    Wire__Grant g = WIRE__GRANT__INIT;
    g.lane = m->lane;
    g.lease = e->lease;
    g.worker = e->worker;
    g.pid = m->pid;
    g.slot = (uint32_t)c->node->far->bridges->slot;
    g.n_gpus = m->n_gpus;
    g.gpus = m->gpus;
    g.actor = m->actor;
    g.far = true;
    g.node = member ? member->wire->node + 1 : 0;
    wire_link_send(c->link, WIRE_GRANT, &g.base, &fd, 1);
}

static int near_open(struct far__peer *p, struct node__client *c,
                     const Wire__BridgeOpen *m, struct rwf_err *err)
{
    struct far__bridges *b = p->node->far->bridges;
    if (!far__plane(p->node, err))
        return -1;
    int fd = store_ring_make(STORE_RING_BYTES, err);
    if (fd < 0)
        return -1;
    struct bridge__end *e = bridge__end_add(b, p, m->lease);
    e->client = c->id;
    e->actor = m->actor;
    e->worker = WORKER_FAR | ++b->last;
    if (m->actor)
        e->lease = RING_FAR | b->last;
    e->span = far__span_open(b->spans, SPAN_OF_CLIENT, p->session, m->lease, fd,
                             c->slot, e, err);
    if (e->span)
        grant(c, e, m, fd);
    else
        bridge__end_free(e);
    close(fd);
    return e->span ? 0 : -1;
}

void far__on_bridge_open(struct far__peer *p, struct wire_message *wire)
{
    const Wire__BridgeOpen *m = (const Wire__BridgeOpen *)wire->body;
    struct node__client *c = node__client_find(p->node, m->client);
    struct rwf_err err = RWF_ERR_INIT;
    Wire__BridgeClose close = WIRE__BRIDGE_CLOSE__INIT;
    p->bridged = true;
    if (c && c->joined && !c->proxy && near_open(p, c, m, &err) == 0)
        return;
    if (err.code)
        rwf_log(RWF_LOG_WARN, "node", "a worker of node %s is of no use: %s", p->name,
                err.text);
    close.lease = m->lease;
    FAR__PEER_SEND(p, WIRE_BRIDGE_CLOSE, &close);
}

/* --- what becomes of them --- */

static void tell_death(struct bridge__end *e, unsigned cause, const char *text)
{
    struct node *n = e->bridges->node;
    struct node__client *c = node__client_find(n, e->client);
    Wire__Death d = WIRE__DEATH__INIT;
    d.worker = e->worker;
    d.lease = e->lease;
    d.actor = e->actor;
    d.cause = cause;
    d.text = (char *)text;
    if (e->span)
        far__span_close(e->span); /* it has said what may have begun */
    e->span = NULL;
    if (c)
        NODE__SEND(c->link, WIRE_DEATH, &d);
    bridge__end_free(e);
}

static void on_over(void *ctx, void *owner, const Wire__Death *death)
{
    struct bridge__end *e = owner;
    (void)ctx;
    if (e->proxy)
        bridge__far_broken(e);
    else if (death)
        tell_death(e, death->cause, death->text);
    else
        tell_death(e, RAYWF_ON_EXIT, "or its client wrote what is no message");
}

static void say_broken(const struct bridge__end *e)
{
    Wire__Return r = WIRE__RETURN__INIT;
    r.broken = true;
    bridge__say(e->peer, e->channel, WIRE_RETURN, &r.base);
}

/* All that this node and that one had to do with each other is over. */
static void lose(struct far__bridges *b, uint64_t session, struct far__peer *p)
{
    struct bridge__end *e, *next;
    struct far__member *m = far__member_by_session(b->node, session);
    char *text = rwf_xasprintf("is out of reach: node %s, or the way to it, is gone",
                               m              ? m->name
                               : p && p->name ? p->name
                                              : "?");
    for (e = LIST_FIRST(&b->ends); e; e = next) {
        next = LIST_NEXT(e, link);
        if (e->proxy || e->peer->session != session || (p && e->peer != p))
            continue;
        bool again = e->actor != 0;
        if (!p) /* the link is there: not both may know of it */
            say_broken(e);
        tell_death(e, RAYWF_ON_NODE, text);
        if (again)
            bridge__again(b);
    }
    free(text);
}

/* Nothing is lent to it for a moment: else the head would lend the same at once. */
static void mark_bad(struct far__bridges *b, uint64_t session)
{
    struct bridge__bad *bad = rwf_xcalloc(1, sizeof(*bad));
    *bad = (struct bridge__bad){session, rwf_clock_mono() + BAD_NS, {0}};
    LIST_INSERT_HEAD(&b->bads, bad, link);
}

static void on_lost(void *ctx, uint64_t session)
{
    struct far__bridges *b = ctx;
    mark_bad(b, session);
    lose(b, session, NULL);
    bridge__far_lost(b, session, NULL);
}

void far__bridge_peer_closed(struct far__peer *p)
{
    struct far__bridges *b = p->node->far->bridges;
    if (!p->name)
        return;
    if (!p->ours) {
        lose(b, p->session, p);
        return;
    }
    mark_bad(b, p->session);
    bridge__far_lost(b, p->session, p);
    bridge__again(b); /* actors that were asked for over this link */
}

bool bridge__is_bad(struct far__bridges *b, uint64_t session)
{
    int64_t now = rwf_clock_mono();
    struct bridge__bad *x, *next;
    bool found = false;
    for (x = LIST_FIRST(&b->bads); x; x = next) {
        next = LIST_NEXT(x, link);
        if (x->until < now) {
            LIST_REMOVE(x, link);
            free(x);
        } else {
            found |= x->session == session;
        }
    }
    return found;
}

/* --- what the other side of a link says --- */

static struct bridge__end *end_of(struct far__peer *p, uint64_t channel)
{
    struct bridge__end *e;
    LIST_FOREACH(e, &p->node->far->bridges->ends, link)
    if (e->peer == p && e->channel == channel)
        return e;
    return NULL;
}

void far__on_bridge_close(struct far__peer *p, struct wire_message *m)
{
    struct bridge__end *e = end_of(p, ((const Wire__BridgeClose *)m->body)->lease);
    if (e && e->proxy)
        bridge__proxy_close(e->proxy); /* its client is gone */
    else if (e)
        tell_death(e, RAYWF_ON_NODE, "is out of reach: the way to its node is gone");
}

static void near_do(struct far__peer *p, struct bridge__end *e,
                    const Wire__BridgeDo *d, ProtobufCMessage *m)
{
    struct node__client *c;
    if (d->type == WIRE_REFUSE) {
        const Wire__BridgeRefuse *r = (const Wire__BridgeRefuse *)m;
        c = node__client_find(p->node, r->client);
        if (c && !c->proxy)
            node__wants_refuse(c, r->lane, r->code, r->text);
        return;
    }
    c = e ? node__client_find(p->node, e->client) : NULL;
    if (c && d->type == WIRE_RECALL) {
        Wire__Recall r = WIRE__RECALL__INIT;
        r.lease = e->lease;
        NODE__SEND(c->link, WIRE_RECALL, &r);
    }
}

static const ProtobufCMessageDescriptor *descriptor_of(uint32_t type)
{
    switch (type) {
    case WIRE_RETURN:
        return &wire__return__descriptor;
    case WIRE_END:
        return &wire__end__descriptor;
    case WIRE_CLIENT_LEAVE:
        return &wire__client_leave__descriptor;
    case WIRE_RECALL:
        return &wire__recall__descriptor;
    case WIRE_REFUSE:
        return &wire__bridge_refuse__descriptor;
    default:
        return NULL;
    }
}

void far__on_bridge_do(struct far__peer *p, struct wire_message *wire)
{
    const Wire__BridgeDo *d = (const Wire__BridgeDo *)wire->body;
    const ProtobufCMessageDescriptor *desc = descriptor_of(d->type);
    struct bridge__end *e = end_of(p, d->lease);
    ProtobufCMessage *m =
        desc ? protobuf_c_message_unpack(desc, NULL, d->message.len, d->message.data)
             : NULL;
    if (!m)
        rwf_log(RWF_LOG_WARN, "node", "node %s says what is not known here", p->name);
    else if (p->ours && d->type == WIRE_CLIENT_LEAVE)
        bridge__far_leave(p, (const Wire__ClientLeave *)m);
    else if (p->ours && e)
        bridge__far_do(e, d->type, m);
    else if (!p->ours)
        near_do(p, e, d, m);
    if (m)
        protobuf_c_message_free_unpacked(m, NULL);
}

/* --- actors --- */

void far__bridge_actor(struct node__client *c, uint64_t actor, const char *where)
{
    struct node *n = c->node;
    struct far__member *m = far__member_find(n, where);
    struct rwf_err err = RWF_ERR_INIT;
    Wire__ActorConnect want = WIRE__ACTOR_CONNECT__INIT;
    struct far__peer *p;
    struct bridge__end *e;
    LIST_FOREACH(e, &n->far->bridges->ends, link)
    if (!e->proxy && e->client == c->id && e->actor == actor && m &&
        e->peer->session == m->session)
        return;
    p = m && !bridge__is_bad(n->far->bridges, m->session) ? far__peer_to(n, m, &err) : NULL;
    if (!p) {
        bridge__again(n->far->bridges);
        return;
    }
    want.actor = actor;
    want.client = c->id;
    FAR__PEER_SEND(p, WIRE_ACTOR_CONNECT, &want);
}

/* --- time --- */

static void on_time(uv_timer_t *t)
{
    struct node *n = t->data;
    bridge__lates_give(n->far->bridges);
    node__actors_again(n);
}

void bridge__again(struct far__bridges *b)
{
    if (b->closing || uv_is_active((uv_handle_t *)&b->timer))
        return;
    uv_update_time(b->node->loop);
    uv_timer_start(&b->timer, on_time, AGAIN_MS, 0);
}

/* --- life --- */

void far__bridges_create(struct node *n)
{
    struct far__bridges *b = rwf_xcalloc(1, sizeof(*b));
    n->far->bridges = b;
    b->node = n;
    LIST_INIT(&b->ends);
    LIST_INIT(&b->proxies);
    LIST_INIT(&b->bads);
    LIST_INIT(&b->lates);
    node__timer(n, &b->timer);
}

void far__bridges_plane(struct node *n, struct peer *plane)
{
    struct far__bridges *b = n->far->bridges;
    b->slot = peer_slot(plane);
    b->spans =
        far__spans_create(n, plane, &(struct far__span_handler){b, on_over, on_lost});
}

void far__bridges_close(struct node *n)
{
    struct far__bridges *b = n->far->bridges;
    b->closing = true;
    while (!LIST_EMPTY(&b->proxies))
        bridge__proxy_close(LIST_FIRST(&b->proxies));
    node__close(&b->timer);
}

void far__bridges_stop(struct node *n)
{
    if (n->far->bridges)
        far__spans_stop(n->far->bridges->spans);
}

void far__bridges_free(struct node *n)
{
    struct far__bridges *b = n->far->bridges;
    if (!b)
        return;
    while (!LIST_EMPTY(&b->ends)) {
        struct bridge__end *e = LIST_FIRST(&b->ends);
        e->span = NULL; /* closed by stop */
        bridge__end_free(e);
    }
    while (!LIST_EMPTY(&b->bads)) {
        struct bridge__bad *x = LIST_FIRST(&b->bads);
        LIST_REMOVE(x, link);
        free(x);
    }
    bridge__lates_free(b);
    far__spans_destroy(b->spans);
    free(b);
    n->far->bridges = NULL;
}
