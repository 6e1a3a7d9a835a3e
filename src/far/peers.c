/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "far/peers.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "far/bridge.h"
#include "far/data.h"
#include "far/inside.h"
#include "far/steps.h"
#include "far/tree.h"

/* A head that was started again does not know yet who comes back to it. */
#define GRACE_MS 5000

struct far__peers {
    uv_timer_t grace;
    struct wire_listener *listener; /* NULL: this node takes no links */
    char *address;                  /* of it, for others */
    LIST_HEAD(, far__member) members;
    LIST_HEAD(, far__peer) all;
    void (*changed)(void *ctx, const Wire__Member *m);
    void *changed_ctx;
};

/* --- what others say --- */

static void on_hello(struct far__peer *p, struct wire_message *m)
{
    const Wire__PeerHello *h = (const Wire__PeerHello *)m->body;
    free(p->name);
    p->name = rwf_xstrdup(h->name);
    p->session = h->session;
}

static void on_nothing(struct far__peer *p, struct wire_message *m)
{
    (void)p;
    (void)m;
}

static void (*const handlers[WIRE_TYPE_COUNT])(struct far__peer *p,
                                               struct wire_message *m) = {
    [WIRE_HELLO] = on_nothing,
    [WIRE_PEER_HELLO] = on_hello,
    [WIRE_BEAT] = far__on_peer_beat,
    [WIRE_STEP_START] = far__on_step_start,
    [WIRE_STEP_STARTED] = far__on_step_started,
    [WIRE_STEP_OUTPUT] = far__on_step_output,
    [WIRE_STEP_EXIT] = far__on_step_exit,
    [WIRE_STEP_STOP] = far__on_step_stop,
    [WIRE_STEP_HOLD] = far__on_step_hold,
    [WIRE_TREE_PUT] = far__on_tree_put,
    [WIRE_TREE_GET] = far__on_tree_get,
    [WIRE_TREE_DATA] = far__on_tree_data,
    [WIRE_TREE_ACK] = far__on_tree_ack,
    [WIRE_TREE_SEES] = far__on_tree_sees,
    [WIRE_BRIDGE_OPEN] = far__on_bridge_open,
    [WIRE_BRIDGE_CLOSE] = far__on_bridge_close,
    [WIRE_BRIDGE_DO] = far__on_bridge_do,
    [WIRE_ACTOR_CONNECT] = far__on_bridge_connect,
    [WIRE_DATA_HELLO] = far__on_data_hello,
    [WIRE_ASK] = far__on_peer_ask,
    [WIRE_TELL] = far__on_peer_tell,
    [WIRE_CANCEL_OWNED] = far__on_peer_cancel,
};

static void on_message(void *ctx, struct wire_link *link, struct wire_message *m)
{
    struct far__peer *p = ctx;
    bool known = m->type < WIRE_TYPE_COUNT && handlers[m->type];
    if (known && (p->name || p->ours || m->type <= WIRE_HELLO ||
                  m->type == WIRE_PEER_HELLO || m->type == WIRE_DATA_HELLO)) {
        handlers[m->type](p, m);
        return;
    }
    rwf_log(RWF_LOG_WARN, "node", "%s sent %s, which is not for a node%s",
            p->name ? p->name : wire_link_name(link), wire_type_name(m->type),
            known ? " before it has said who it is" : "");
    wire_link_close(link);
}

static void on_closed(void *ctx, struct wire_link *link, const struct rwf_err *err)
{
    struct far__peer *p = ctx;
    struct node *n = p->node;
    struct far__member *m;
    (void)link;
    if (err && !n->stopping)
        rwf_log(RWF_LOG_WARN, "node", "the link %s %s: %s", p->ours ? "to" : "from",
                p->name ? p->name : "a node", err->text);
    LIST_REMOVE(p, all);
    far__bridge_peer_closed(p);
    LIST_FOREACH(m, &n->far->peers->members, link)
    if (m->peer == p)
        m->peer = NULL;
    far__served_peer_closed(p);
    far__forward_peer_closed(p);
    far__calls_peer_closed(p, err);
    far__tree_serve_peer_closed(p);
    far__trees_peer_closed(p, err);
    free(p->name);
    free(p->gone);
    free(p);
    node__closed(n);
}

static struct far__peer *peer_add(struct node *n, struct wire_link *link, bool ours)
{
    struct far__peer *p = rwf_xcalloc(1, sizeof(*p));
    p->node = n;
    p->link = link;
    p->ours = ours;
    LIST_INSERT_HEAD(&n->far->peers->all, p, all);
    n->open++;
    wire_link_handle(link, &(struct wire_handler){p, on_message, on_closed});
    return p;
}

static void accepted(void *ctx, struct wire_link *link)
{
    peer_add(ctx, link, false);
}

struct far__peer *far__peer_to(struct node *n, struct far__member *m,
                               struct rwf_err *err)
{
    Wire__PeerHello h = WIRE__PEER_HELLO__INIT;
    if (m->peer)
        return m->peer;
    if (!m->host || strcmp(m->name, n->name) == 0) {
        rwf_fail(err, RWF_E_ENV, "node %s takes no links from other nodes", m->name);
        return NULL;
    }
    struct wire_link *link =
        wire_link_connect(n->loop, m->host, m->port, n->options.key, err);
    if (!link)
        return NULL;
    m->peer = peer_add(n, link, true);
    m->peer->name = rwf_xstrdup(m->name);
    m->peer->session = m->session;
    h.name = n->name;
    h.session = n->session;
    FAR__PEER_SEND(m->peer, WIRE_PEER_HELLO, &h);
    return m->peer;
}

void far__peers_each(struct node *n, void (*fn)(void *ctx, struct far__peer *p),
                     void *ctx)
{
    struct far__peer *p;
    LIST_FOREACH(p, &n->far->peers->all, all)
    fn(ctx, p);
}

/* --- who is there --- */

struct far__member *far__member_find(struct node *n, const char *name)
{
    struct far__member *m;
    LIST_FOREACH(m, &n->far->peers->members, link)
    if (strcmp(m->name, name) == 0)
        return m;
    return NULL;
}

struct far__member *far__member_by_session(struct node *n, uint64_t session)
{
    struct far__member *m;
    LIST_FOREACH(m, &n->far->peers->members, link)
    if (m->session == session)
        return m;
    return NULL;
}

struct far__member *far__members_first(struct node *n)
{
    return LIST_FIRST(&n->far->peers->members);
}

struct far__member *far__member_by_number(struct node *n, uint32_t number)
{
    struct far__member *m;
    LIST_FOREACH(m, &n->far->peers->members, link)
    if (m->number == number)
        return m;
    return NULL;
}

static void member_free(struct far__member *m)
{
    LIST_REMOVE(m, link);
    node__free(m->wire);
    free(m->name);
    free(m->host);
    free(m);
}

static void member_gone(struct node *n, struct far__member *m, const char *why)
{
    struct far__peer *p;
    LIST_FOREACH(p, &n->far->peers->all, all)
    if (p->name && p->session == m->session) {
        free(p->gone);
        p->gone = rwf_xstrdup(why);
        wire_link_close(p->link); /* closed is told in a later turn */
    }
    far__data_gone(n, m);
    if (n->far->peers->changed) {
        m->wire->gone = true;
        n->far->peers->changed(n->far->peers->changed_ctx, m->wire);
    }
    member_free(m);
}

static void member_said(struct node *n, const Wire__Member *w)
{
    struct far__member *m = far__member_find(n, w->name);
    if (m && (w->gone || m->session != w->session)) {
        member_gone(n, m, w->gone ? w->text : "it was started anew");
        m = NULL;
    }
    if (w->gone)
        return;
    if (!m) {
        m = rwf_xcalloc(1, sizeof(*m));
        m->name = rwf_xstrdup(w->name);
        m->session = w->session;
        (void)wire_address_split(w->peer, &m->host, &m->port); /* "": nowhere */
        LIST_INSERT_HEAD(&n->far->peers->members, m, link);
    }
    m->missing = false;
    m->number = w->node;
    m->draining = w->draining;
    m->driver = w->driver;
    node__free(m->wire);
    m->wire = node__copy(&w->base);
    if (n->far->peers->changed)
        n->far->peers->changed(n->far->peers->changed_ctx, m->wire);
}

static bool is_said(const Wire__Members *all, const struct far__member *m)
{
    for (size_t i = 0; i < all->n_members; i++)
        if (all->members[i]->session == m->session)
            return true;
    return false;
}

/* Who has not come back until now is gone. */
static void on_grace(uv_timer_t *timer)
{
    struct node *n = timer->data;
    struct far__member *m, *next;
    for (m = LIST_FIRST(&n->far->peers->members); m; m = next) {
        next = LIST_NEXT(m, link);
        if (m->missing)
            member_gone(n, m,
                        "it did not come back to the head, which was started again");
    }
}

void far__peers_members(struct node *n, const Wire__Members *w)
{
    struct far__member *m;
    bool missing = false;
    LIST_FOREACH(m, &n->far->peers->members, link)
    missing |= m->missing |= w->all && !is_said(w, m);
    if (w->all && missing) {
        uv_update_time(n->loop);
        uv_timer_start(&n->far->peers->grace, on_grace, GRACE_MS, 0);
    }
    for (size_t i = 0; i < w->n_members; i++)
        member_said(n, w->members[i]);
}

void far_on_members(struct node *n, void (*fn)(void *ctx, const Wire__Member *m),
                    void *ctx)
{
    struct far__member *m;
    n->far->peers->changed = fn;
    n->far->peers->changed_ctx = ctx;
    LIST_FOREACH(m, &n->far->peers->members, link)
    if (fn)
        fn(ctx, m->wire);
}

/* --- life --- */

int far__peers_create(struct node *n, struct rwf_err *err)
{
    const struct node_options *o = &n->options;
    struct far__peers *p = rwf_xcalloc(1, sizeof(*p));
    n->far->peers = p;
    if (o->peer_host) {
        p->listener =
            wire_listen_tcp(n->loop, o->peer_bind ? o->peer_bind : o->peer_host,
                            o->peer_port, o->key, accepted, n, err);
        if (!p->listener)
            return rwf_wrap(err, "the node cannot be reached by others");
        p->address = rwf_xasprintf(strchr(o->peer_host, ':') ? "[%s]:%d" : "%s:%d",
                                   o->peer_host, wire_listener_port(p->listener));
    }
    node__timer(n, &p->grace);
    return 0;
}

const char *far__peers_address(const struct node *n)
{
    return n->far->peers->address;
}

void far__peers_close(struct node *n)
{
    struct far__peer *p;
    if (!n->far->peers)
        return;
    wire_listener_close(n->far->peers->listener);
    n->far->peers->listener = NULL;
    n->far->peers->changed = NULL;
    node__close(&n->far->peers->grace);
    LIST_FOREACH(p, &n->far->peers->all, all)
    wire_link_close(p->link);
}

void far__peers_free(struct node *n)
{
    struct far__peers *p = n->far->peers;
    if (!p)
        return;
    while (!LIST_EMPTY(&p->members))
        member_free(LIST_FIRST(&p->members));
    free(p->address);
    free(p);
    n->far->peers = NULL;
}
