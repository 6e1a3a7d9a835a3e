/* SPDX-License-Identifier: Apache-2.0
 *
 * From client to client: a value that another one owns, its answer, a cancel. The node
 * gives every question a number of its own, and answers itself when the owner is gone.
 *
 * A question to a client of another node goes to that node over the link between the
 * two (a client's number begins with that of its node's boot), and only through the
 * head when the node cannot be told from the number. An object that comes as an answer
 * is lent by the owner's node, fetched into our store, and handed to who asked.
 * Reservations only pass through.
 */
#include "config.h"
#include "far/inside.h"
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "far/data.h"

#define ASKS_MAX 1000000 /* a million questions that nobody answers are enough */

struct ask {
    uint64_t number;
    uint64_t owner, client, request;
    uint64_t id; /* of the value; to ask again */
    /* Of a client of another node: which, and the link that it came over (NULL: the
     * head). */
    uint64_t session;
    struct far__peer *from;
    /* It went to that node, over that link. */
    uint64_t to;
    struct far__peer *over;
    bool again; /* for the second time */
};

/* Of the node that gave a client its number; NULL: not known. */
static struct far__member *member_of(struct node *n, uint64_t client)
{
    struct far__member *m = far__members_first(n);

    while (m && m->session >> 32 != client >> 32)
        m = LIST_NEXT(m, link);
    return m;
}

static void tell(struct node *n, const Wire__Tell *t)
{
    struct node__client *c = node__client_find(n, t->client);
    if (c)
        NODE__SEND(c->link, WIRE_TELL, t);
    else
        node__head_send(n, WIRE_TELL, &t->base);
}

/* The way that the question came. */
static void tell_back(struct node *n, const struct ask *a, const Wire__Tell *t)
{
    if (a->from)
        FAR__PEER_SEND(a->from, WIRE_TELL, t);
    else
        tell(n, t);
}

static void set_error(Wire__Tell *t, int code, const char *text)
{
    t->code = code;
    t->value.data = (uint8_t *)(uintptr_t)text;
    t->value.len = strlen(text);
    t->object = t->session = 0;
}

static void tell_lost(struct node *n, const struct ask *a, const char *text)
{
    Wire__Tell t = WIRE__TELL__INIT;
    t.client = a->client;
    t.request = a->request;
    set_error(&t, RAYWF_E_LOST,
              text ? text
                   : "the process that owned this value has ended, and its "
                     "values with it: keep it, or pass the value itself on");
    tell_back(n, a, &t);
}

/* --- questions --- */

static struct ask *ask_add(struct node *n, const struct ask *like)
{
    struct ask *a = rwf_xmalloc(sizeof(*a));
    *a = *like;
    a->number = ++n->far->last_ask;
    rwf_ids_add(&n->far->asks, a->number, a);
    return a;
}

static void ask_drop(struct node *n, struct ask *a)
{
    rwf_ids_remove(&n->far->asks, a->number);
    free(a);
}

/* To a client of this node; one that asks from another node gets what is handed to the
 * data plane. */
static void ask_here(struct node *n, const Wire__Ask *m, uint64_t session,
                     struct far__peer *from)
{
    const struct ask like = {.owner = m->owner,
                             .client = m->client,
                             .request = m->request,
                             .id = m->id,
                             .session = session,
                             .from = from};
    struct node__client *owner = node__client_find(n, m->owner);
    struct rwf_err err = RWF_ERR_INIT;
    struct peer *plane = session ? far__plane(n, &err) : NULL;
    if (!owner || !owner->joined || n->far->asks.count >= ASKS_MAX || (session && !plane)) {
        tell_lost(n, &like, err.code ? err.text : NULL);
        return;
    }
    Wire__Ask copy = *m;
    copy.request = ask_add(n, &like)->number;
    if (plane)
        copy.slot = (uint32_t)peer_slot(plane);
    NODE__SEND(owner->link, WIRE_ASK, &copy);
}

void far__forward_ask(struct node *n, const Wire__Ask *m)
{
    const struct far__member *who = member_of(n, m->client);
    ask_here(n, m, who && who->session != n->session ? who->session : 0, NULL);
}

void far__on_peer_ask(struct far__peer *p, struct wire_message *m)
{
    const Wire__Ask *a = (const Wire__Ask *)m->body;
    ask_here(p->node, a, p->session, p);
}

/* To the node of its owner, over a link. */
static void ask_there(struct node *n, struct ask *a)
{
    struct far__member *m = member_of(n, a->owner);
    struct rwf_err err = RWF_ERR_INIT;
    struct far__peer *p = m ? far__peer_to(n, m, &err) : NULL;
    if (!p) {
        tell_lost(n, a, m ? err.text : NULL);
        ask_drop(n, a);
        return;
    }
    a->to = m->session;
    a->over = p;
    Wire__Ask q = WIRE__ASK__INIT;
    q.owner = a->owner;
    q.id = a->id;
    q.client = a->client;
    q.request = a->number;
    FAR__PEER_SEND(p, WIRE_ASK, &q);
}

/* Whether a client belongs to this node: the high half of its number says so, save for
 * those that brought one along. */
static bool is_ours(struct node *n, uint64_t client)
{
    return client >> 32 == n->boot || node__client_find(n, client);
}

void far__on_ask(struct node__client *c, struct wire_message *m)
{
    Wire__Ask *a = (Wire__Ask *)m->body;
    struct node *n = c->node;
    a->client = c->id;
    if (is_ours(n, a->owner) || !node__head_is_far(n))
        ask_here(n, a, 0, NULL);
    else if (member_of(n, a->owner) && n->far->asks.count < ASKS_MAX)
        ask_there(n, ask_add(n, &(struct ask){.owner = a->owner,
                                              .client = c->id,
                                              .request = a->request,
                                              .id = a->id}));
    else
        node__head_send(n, WIRE_ASK, &a->base);
}

/* --- answers that come from another node --- */

/* An object on its way to who asked. */
struct coming {
    struct node *node;
    uint64_t client, request;
    store_object local;
    size_t size;
    int code; /* enum raywf_code */
    char *text;
};

static void hand_on(void *ctx)
{
    struct coming *g = ctx;
    struct node *n = g->node;
    struct peer *plane = far__plane_if(n);
    struct node__client *c = node__client_find(n, g->client);
    Wire__Tell t = WIRE__TELL__INIT;
    t.client = g->client;
    t.request = g->request;
    t.object = g->local;
    t.size = g->size;
    if (!g->local)
        set_error(&t, g->code, g->text);
    else if (c && plane && store_object_hand(peer_store(plane), g->local, c->slot) < 0)
        set_error(&t, RAYWF_E_LOST, "its object cannot be handed over");
    if (c)
        NODE__SEND(c->link, WIRE_TELL, &t);
    if (g->local && plane)
        peer_give_back(plane, g->local);
    free(g->text);
    free(g);
}

/* The bulk thread's. */
static void on_fetched(void *ctx, store_object local, size_t size,
                       const struct rwf_err *err)
{
    struct coming *g = ctx;
    g->local = local;
    g->size = size;
    if (!local) {
        g->code = err->code == ENOSPC || err->code == ENOMEM || err->code == ETIMEDOUT
                      ? RAYWF_E_FIT
                      : RAYWF_E_LOST;
        g->text = rwf_xstrdup(err->text);
    }
    far__data_post(g->node, hand_on, g);
}

/* To our client, under its own number of the request. */
static void take_in(struct node *n, const Wire__Tell *t)
{
    struct rwf_err err = RWF_ERR_INIT;
    struct peer *plane = t->object && t->session ? far__plane(n, &err) : NULL;
    struct node__client *c = node__client_find(n, t->client);
    if (plane && c) {
        struct coming *g = rwf_xcalloc(1, sizeof(*g));
        *g = (struct coming){.node = n, .client = t->client, .request = t->request};
        peer_fetch(plane, t->session, t->object, PEER_LENT, on_fetched, g);
        return;
    }
    if (plane)
        peer_refuse(plane, t->session, t->object);
    Wire__Tell copy = *t;
    if (t->object)
        set_error(&copy, RAYWF_E_LOST,
                  err.code ? err.text : "its object is on a node that is not known");
    if (c)
        NODE__SEND(c->link, WIRE_TELL, &copy);
}

void far__forward_tell(struct node *n, const Wire__Tell *m)
{
    take_in(n, m);
}

void far__on_peer_tell(struct far__peer *p, struct wire_message *m)
{
    Wire__Tell *t = (Wire__Tell *)m->body;
    struct node *n = p->node;
    struct ask *a = rwf_ids_get(&n->far->asks, t->request);
    struct peer *plane = far__plane_if(n);
    if (a && a->to == p->session) {
        t->client = a->client;
        t->request = a->request;
        ask_drop(n, a);
        take_in(n, t);
    } else if (t->object && plane) { /* who asked is gone */
        peer_refuse(plane, p->session, t->object);
    }
}

/* --- answers of our clients --- */

/* What was handed to the plane is lent to that node. */
static void lend(struct node *n, Wire__Tell *t, uint64_t session)
{
    struct peer *plane = far__plane_if(n);
    if (!plane || peer_lend(plane, session, t->object) < 0)
        set_error(t, RAYWF_E_LOST, "its object cannot be handed over");
    else
        t->session = n->session;
}

/* What was handed to the plane for somebody who is gone meanwhile. */
static void unlend(struct node *n, const Wire__Tell *t)
{
    struct peer *plane = far__plane_if(n);
    if (plane && t->object && peer_lend(plane, n->session, t->object) == 0)
        peer_take_back(plane, n->session, t->object);
}

void far__on_tell(struct node__client *c, struct wire_message *m)
{
    Wire__Tell *t = (Wire__Tell *)m->body;
    struct node *n = c->node;
    struct ask *a = rwf_ids_get(&n->far->asks, t->request);
    t->session = 0;
    if (!a || a->owner != c->id) { /* who asked is gone */
        unlend(n, t);
        return;
    }
    t->client = a->client;
    t->request = a->request;
    if (a->session && t->object)
        lend(n, t, a->session);
    if (a->from) /* it has numbers of its own */
        FAR__PEER_SEND(a->from, WIRE_TELL, t);
    else
        tell(n, t);
    ask_drop(n, a);
}

/* --- cancels --- */

void far__forward_cancel(struct node *n, const Wire__CancelOwned *m)
{
    struct node__client *owner = node__client_find(n, m->owner);
    if (owner && owner->joined)
        NODE__SEND(owner->link, WIRE_CANCEL_OWNED, m);
}

void far__on_peer_cancel(struct far__peer *p, struct wire_message *m)
{
    far__forward_cancel(p->node, (const Wire__CancelOwned *)m->body);
}

void far__on_cancel_owned(struct node__client *c, struct wire_message *m)
{
    const Wire__CancelOwned *o = (const Wire__CancelOwned *)m->body;
    struct far__member *of = member_of(c->node, o->owner);
    struct far__peer *p;
    if (is_ours(c->node, o->owner))
        far__forward_cancel(c->node, o);
    else if (of && (p = far__peer_to(c->node, of, NULL)))
        FAR__PEER_SEND(p, WIRE_CANCEL_OWNED, o);
    else
        node__head_send(c->node, WIRE_CANCEL_OWNED, m->body);
}

/* --- who is gone --- */

static void peer_closed(void *ctx, void *item)
{
    struct far__peer *p = ctx;
    struct ask *a = item;
    struct node *n = p->node;
    if (a->from == p) {
        ask_drop(n, a); /* it asks again when it still wants to know */
    } else if (a->over == p && !a->again && !n->stopping) {
        a->again = true;
        ask_there(n, a);
    } else if (a->over == p) {
        tell_lost(n, a,
                  "the node of the process that owns this value cannot be reached");
        ask_drop(n, a);
    }
}

void far__forward_peer_closed(struct far__peer *p)
{
    rwf_ids_each(&p->node->far->asks, peer_closed, p);
}

static void client_gone(void *ctx, void *item)
{
    struct node__client *c = ctx;
    struct ask *a = item;
    if (a->owner != c->id && a->client != c->id)
        return;
    if (a->owner == c->id)
        tell_lost(c->node, a, NULL);
    ask_drop(c->node, a);
}

void far__forward_client_gone(struct node__client *c)
{
    rwf_ids_each(&c->node->far->asks, client_gone, c);
}

static void free_one(void *ctx, void *item)
{
    (void)ctx;
    free(item);
}

void far__forward_free(struct node *n)
{
    rwf_ids_each(&n->far->asks, free_one, NULL);
    rwf_ids_free(&n->far->asks);
}

/* --- reservations --- */

void far__on_group_create(struct node__client *c, struct wire_message *m)
{
    Wire__GroupCreate *g = (Wire__GroupCreate *)m->body;
    node__client_announce(c);
    g->client = c->id;
    node__head_ask(c, g->request, WIRE_GROUP_CREATE, m->body, &g->request);
}

void far__on_group_remove(struct node__client *c, struct wire_message *m)
{
    node__head_send(c->node, WIRE_GROUP_REMOVE, m->body);
}
