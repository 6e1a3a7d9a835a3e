/* SPDX-License-Identifier: Apache-2.0
 *
 * From client to client: a value that another one owns, its answer, a cancel. The node
 * gives every question a number of its own, and answers itself when the owner is gone.
 * What concerns clients of other nodes goes to the head. Reservations only pass
 * through.
 */
#include "config.h"
#include "node/inside.h"
#include <stdlib.h>
#include "base/mem.h"

#define ASKS_MAX 1000000 /* a million questions that nobody answers are enough */

struct ask {
    uint64_t number;
    uint64_t owner, client, request;
};

static void tell(struct node *n, const Wire__Tell *t)
{
    struct node__client *c = node__client_find(n, t->client);
    if (c)
        NODE__SEND(c->link, WIRE_TELL, t);
    else
        node__head_send(n, WIRE_TELL, &t->base);
}

static void tell_lost(struct node *n, uint64_t client, uint64_t request)
{
    static const char text[] = "the process that owned this value has ended, and its "
                               "values with it: keep it, or pass the value itself on";
    Wire__Tell t = WIRE__TELL__INIT;
    t.client = client;
    t.request = request;
    t.code = RAYWF_E_LOST;
    t.value.data = (uint8_t *)text;
    t.value.len = sizeof(text) - 1;
    tell(n, &t);
}

void node__forward_ask(struct node *n, const Wire__Ask *m)
{
    struct node__client *owner = node__client_find(n, m->owner);
    if (!owner || !owner->joined || n->asks.count >= ASKS_MAX) {
        tell_lost(n, m->client, m->request);
        return;
    }
    struct ask *a = rwf_xcalloc(1, sizeof(*a));
    *a = (struct ask){++n->last_ask, m->owner, m->client, m->request};
    node__table_add(&n->asks, a->number, a);
    Wire__Ask copy = *m;
    copy.request = a->number;
    NODE__SEND(owner->link, WIRE_ASK, &copy);
}

void node__forward_tell(struct node *n, const Wire__Tell *m)
{
    struct node__client *c = node__client_find(n, m->client);
    if (c)
        NODE__SEND(c->link, WIRE_TELL, m);
}

void node__forward_cancel(struct node *n, const Wire__CancelOwned *m)
{
    struct node__client *owner = node__client_find(n, m->owner);
    if (owner && owner->joined)
        NODE__SEND(owner->link, WIRE_CANCEL_OWNED, m);
}

/* Whether a client belongs to this node: the high half of its number says so, save for
 * those that brought one along. */
static bool is_ours(struct node *n, uint64_t client)
{
    return client >> 32 == n->boot || node__client_find(n, client);
}

void node__on_ask(struct node__client *c, struct wire_message *m)
{
    Wire__Ask *a = (Wire__Ask *)m->body;
    a->client = c->id;
    if (is_ours(c->node, a->owner) || !node__head_is_far(c->node))
        node__forward_ask(c->node, a);
    else
        node__head_send(c->node, WIRE_ASK, &a->base);
}

void node__on_tell(struct node__client *c, struct wire_message *m)
{
    Wire__Tell *t = (Wire__Tell *)m->body;
    struct ask *a = node__table_get(&c->node->asks, t->request);
    if (!a || a->owner != c->id)
        return; /* who asked is gone */
    node__table_remove(&c->node->asks, a->number);
    t->client = a->client;
    t->request = a->request;
    tell(c->node, t);
    free(a);
}

void node__on_cancel_owned(struct node__client *c, struct wire_message *m)
{
    const Wire__CancelOwned *o = (const Wire__CancelOwned *)m->body;
    if (is_ours(c->node, o->owner))
        node__forward_cancel(c->node, o);
    else
        node__head_send(c->node, WIRE_CANCEL_OWNED, m->body);
}

static void client_gone(void *ctx, void *item)
{
    struct node__client *c = ctx;
    struct ask *a = item;
    if (a->owner != c->id && a->client != c->id)
        return;
    node__table_remove(&c->node->asks, a->number);
    if (a->owner == c->id)
        tell_lost(c->node, a->client, a->request);
    free(a);
}

void node__forward_client_gone(struct node__client *c)
{
    node__table_each(&c->node->asks, client_gone, c);
}

static void free_one(void *ctx, void *item)
{
    (void)ctx;
    free(item);
}

void node__forward_free(struct node *n)
{
    node__table_each(&n->asks, free_one, NULL);
    node__table_free(&n->asks);
}

/* --- reservations --- */

void node__on_group_create(struct node__client *c, struct wire_message *m)
{
    Wire__GroupCreate *g = (Wire__GroupCreate *)m->body;
    node__client_announce(c);
    g->client = c->id;
    node__head_ask(c, g->request, WIRE_GROUP_CREATE, m->body, &g->request);
}

void node__on_group_remove(struct node__client *c, struct wire_message *m)
{
    node__head_send(c->node, WIRE_GROUP_REMOVE, m->body);
}
